//! Jumps to each `syscall` instruction in the stub's text with forged registers: the host may do none of it.

use std::arch::asm;

use crate::{stub_sites, try_for};

pub unsafe fn attack(directory: &str) {
    let sites = stub_sites();
    println!("sites: {}", if sites.is_empty() { "none found" } else { "found" });
    let made = format!("{directory}/escaped\0");
    let victim = format!("{directory}/victim\0");
    let touch = [c"/usr/bin/touch".as_ptr(), made.as_ptr().cast(), std::ptr::null()];
    let none = [std::ptr::null::<u8>()];
    // (number, four arguments): what would show on the host.
    let calls: Vec<(i64, [u64; 4])> = vec![
        (libc::SYS_open, [made.as_ptr() as u64, (libc::O_CREAT | libc::O_WRONLY) as u64, 0o644, 0]),
        (
            libc::SYS_openat,
            [-100i64 as u64, made.as_ptr() as u64, (libc::O_CREAT | libc::O_WRONLY) as u64, 0o644],
        ),
        (libc::SYS_mkdir, [made.as_ptr() as u64, 0o755, 0, 0]),
        (libc::SYS_creat, [made.as_ptr() as u64, 0o644, 0, 0]),
        (libc::SYS_unlink, [victim.as_ptr() as u64, 0, 0, 0]),
        (libc::SYS_execve, [touch[0] as u64, touch.as_ptr() as u64, none.as_ptr() as u64, 0]),
        (libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0]),
        (libc::SYS_fork, [0, 0, 0, 0]),
        (libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0]),
        (libc::SYS_ptrace, [libc::PTRACE_TRACEME as u64, 0, 0, 0]),
        (0x3f00, [0, 0, 0, 0]),
        (0x3f00, [u64::MAX, u64::MAX, u64::MAX, u64::MAX]),
        (libc::SYS_mmap, [0, 4096, 7, 2]),
        (0x4000_0002, [made.as_ptr() as u64, 0o102, 0o644, 0]),
    ];
    let mut tried = 0;
    for &site in &sites {
        for (number, args) in &calls {
            // Many of them hang the child in a wait of the stub's own: its own harm, and short here.
            try_for(20, || {
                // No handler may turn the stub's own fault into something else; a wild return ends us.
                asm!("xor ebx, ebx", "xor ebp, ebp", "jmp {site}", site = in(reg) site, in("rax") *number,
                    in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3],
                    in("r8") -1i64, in("r9") 0i64, options(noreturn));
            });
            tried += 1;
        }
        if tried > 600 {
            break;
        }
    }
    println!("tried: {}", if sites.is_empty() == (tried == 0) { "all" } else { "none" });
}
