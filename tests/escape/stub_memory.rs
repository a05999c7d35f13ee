//! Memory behind the kernel's back: calls the stub's own `syscall` instruction to map, to make writable, and to grow
//! far more than the sandbox may have, and then fills it.

use std::arch::asm;

use crate::stub_sites;

/// What is tried to be had, four times the 64 MiB that the test gives.
const WANTED: usize = 256 << 20;
const PAGE: usize = 4096;

/// A host call from the stub's text: a `syscall` with a `ret` behind it is a function.
unsafe fn host_call(site: u64, number: i64, args: [u64; 6]) -> i64 {
    let result: i64;
    asm!("call {site}", site = in(reg) site, inlateout("rax") number => result, in("rdi") args[0],
        in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
        lateout("rcx") _, lateout("r11") _);
    result
}

/// Fills what there is, and says so if all of it could be had.
unsafe fn fill(how: &str, at: i64) {
    if (-4095..0).contains(&at) {
        println!("{how}: refused");
        return;
    }
    for page in (0..WANTED).step_by(PAGE) {
        std::ptr::write_volatile((at as usize + page) as *mut u8, 1);
    }
    println!("ESCAPED: {how}: {WANTED} bytes");
}

unsafe fn in_child(how: &str, f: impl FnOnce() -> i64) {
    let status = crate::try_for(4000, || fill(how, f()));
    if libc::WIFSIGNALED(status) {
        println!("{how}: ended by signal {}", libc::WTERMSIG(status));
    }
}

pub unsafe fn attack() {
    let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let Some(site) =
        stub_sites().into_iter().find(|at| std::ptr::read_volatile((at + 2) as *const u8) == 0xc3)
    else {
        println!("no site");
        return;
    };
    println!("site found");
    in_child("mmap", || host_call(site, libc::SYS_mmap, [0, WANTED as u64, rw, anonymous, u64::MAX, 0]));
    in_child("shared mmap", || {
        let shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
        host_call(site, libc::SYS_mmap, [0, WANTED as u64, rw, shared, u64::MAX, 0])
    });
    // Promised to nobody, so it may be had; and then made writable without a word.
    let reserve = |len: usize| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) as i64
    };
    in_child("mprotect", || {
        let at = reserve(WANTED);
        match host_call(site, libc::SYS_mprotect, [at as u64, WANTED as u64, rw, 0, 0, 0]) {
            0 => at,
            error => error,
        }
    });
    in_child("mremap", || {
        let small = libc::mmap(std::ptr::null_mut(), PAGE, rw as i32, anonymous as i32, -1, 0);
        let may_move = libc::MREMAP_MAYMOVE as u64;
        host_call(site, libc::SYS_mremap, [small as u64, PAGE as u64, WANTED as u64, may_move, 0, 0])
    });
    in_child("many processes", || {
        // Each takes a part that it could have alone.
        let part = WANTED / 8;
        for _ in 0..7 {
            if libc::fork() == 0 {
                let at = host_call(site, libc::SYS_mmap, [0, part as u64, rw, anonymous, u64::MAX, 0]);
                if at < 0 {
                    libc::_exit(1);
                }
                for page in (0..part).step_by(PAGE) {
                    std::ptr::write_volatile((at as usize + page) as *mut u8, 1);
                }
                libc::usleep(500_000);
                libc::_exit(0);
            }
        }
        let mut all = true;
        for _ in 0..7 {
            let mut status = 0;
            all &= libc::wait(&mut status) > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if all {
            println!("ESCAPED: many processes had {} bytes", part * 7);
        }
        -1
    });
}
