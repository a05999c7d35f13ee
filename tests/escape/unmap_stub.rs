//! Maps, unmaps, protects and moves over the range that the sandbox keeps for itself.

use crate::try_in_child;

pub unsafe fn attack() {
    for address in
        [0x7000_0000_0000usize, 0x7000_0000_1000, 0x7000_1000_0000, 0x7000_2000_0000, 0x6fff_ffff_f000]
    {
        let at = address as *mut libc::c_void;
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        for step in 0..14 {
            let status = try_in_child(|| {
                match step {
                    0 => {
                        libc::munmap(at, 1 << 24);
                    }
                    1 => {
                        libc::mmap(at, 1 << 24, all, anonymous | libc::MAP_FIXED, -1, 0);
                    }
                    2 => {
                        libc::mprotect(at, 1 << 20, all);
                    }
                    3 => {
                        libc::mprotect(at, 1 << 20, libc::PROT_NONE);
                    }
                    4 => {
                        libc::madvise(at, 1 << 20, libc::MADV_DONTNEED);
                    }
                    5 => {
                        let own = libc::mmap(std::ptr::null_mut(), 8192, all, anonymous, -1, 0);
                        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                        {
                            libc::mremap(own, 8192, 8192, flags, at);
                        }
                    }
                    6 => {
                        libc::mremap(at, 4096, 8192, libc::MREMAP_MAYMOVE);
                    }
                    // MADV_GUARD_INSTALL
                    7 => {
                        libc::madvise(at, 1 << 20, 102);
                    }
                    8 => {
                        libc::mlock(at, 1 << 20);
                    }
                    // mseal
                    9 => {
                        libc::syscall(462, at, 1 << 20, 0);
                    }
                    10 => {
                        libc::syscall(libc::SYS_remap_file_pages, at, 4096, 0, 0, 0);
                    }
                    // Several mappings around it, onto themselves a page further, and away.
                    11 => {
                        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                        let low = (address - (1 << 24)) as *mut libc::c_void;
                        libc::mmap(low, 4096, all, anonymous | libc::MAP_FIXED, -1, 0);
                        libc::mremap(low, 1 << 30, 1 << 30, flags, 0x2000_0000_0000usize);
                        libc::mremap(low, 1 << 25, 4096, flags, 0x2000_0000_0000usize);
                    }
                    12 => {
                        let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                        let own = libc::mmap(std::ptr::null_mut(), 8192, all, shared, -1, 0);
                        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                        libc::mremap(own, 0, 8192, flags, at);
                    }
                    // A mapping that grows down to it.
                    _ => {
                        let top = (address + (1 << 31)) as *mut libc::c_void;
                        let flags = anonymous | libc::MAP_FIXED | libc::MAP_GROWSDOWN;
                        libc::mmap(top, 4096, all, flags, -1, 0);
                        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE);
                        let mut byte = 0u8;
                        libc::process_vm_readv(
                            libc::getpid(),
                            &libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 },
                            1,
                            &libc::iovec { iov_base: at, iov_len: 1 },
                            1,
                            0,
                        );
                        libc::mincore(at, 4096, &mut byte);
                    }
                }
                // What follows must still be answered by the sandbox, and rightly.
                if libc::getppid() <= 0 || libc::access(c"/etc/passwd".as_ptr(), libc::R_OK) != 0 {
                    println!("wrong answers after step {step} at {address:#x}");
                }
            });
            if status != 0 {
                println!("step {step} at {address:#x}: died, {status:#x}");
            }
        }
    }
    println!("tried");
}
