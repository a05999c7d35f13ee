//! Scribbles over all memory that the sandbox keeps in our address space, and goes on making calls: this process may
//! die of it, nothing else may.

use crate::try_in_child;

extern "C" {
    fn __sigsetjmp(env: *mut libc::c_void, save: libc::c_int) -> libc::c_int;
    fn siglongjmp(env: *mut libc::c_void, value: libc::c_int) -> !;
}
static mut JUMP: [u64; 64] = [0; 64];

unsafe extern "C" fn back(_: libc::c_int) {
    siglongjmp((&raw mut JUMP).cast(), 1);
}

#[inline(never)]
unsafe fn poke(address: u64, value: u64) -> bool {
    if __sigsetjmp((&raw mut JUMP).cast(), 1) != 0 {
        return false;
    }
    std::ptr::write_volatile(address as *mut u64, value);
    true
}

pub unsafe fn attack() {
    let patterns = [0u64, u64::MAX, 0x7fff_ffff_ffff_fff8, 1, 0xffff_ffff_8000_0000];
    for pattern in patterns {
        let status = try_in_child(|| {
            libc::signal(libc::SIGSEGV, back as usize);
            libc::signal(libc::SIGBUS, back as usize);
            let mut written = 0u32;
            // The reserved range is sparse: look at the start of each 64 KiB, then within what is there.
            let mut at = 0x7000_0000_0000u64;
            while at < 0x7000_4000_0000 && written < 200_000 {
                if poke(at, pattern) {
                    for inner in (0..0x1_0000u64).step_by(8) {
                        if !poke(at + inner, pattern) {
                            break;
                        }
                        written += 1;
                    }
                    // A call in between, over the forged slot.
                    libc::getppid();
                    let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY);
                    libc::close(fd);
                }
                at += 0x1_0000;
            }
            println!("scribbled");
        });
        println!("pattern {pattern:#x}: {}", if status == 0 { "survived" } else { "died" });
    }
}
