//! Maps, unmaps, protects and moves over the range that the sandbox keeps for itself.

use crate::try_in_child;

pub unsafe fn attack() {
    for address in
        [0x7000_0000_0000usize, 0x7000_0000_1000, 0x7000_1000_0000, 0x7000_2000_0000, 0x6fff_ffff_f000]
    {
        let at = address as *mut libc::c_void;
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        for step in 0..7 {
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
                    _ => {
                        libc::mremap(at, 4096, 8192, libc::MREMAP_MAYMOVE);
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
