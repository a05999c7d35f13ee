//! Forged signal frames: every register, selector and pointer wild. Only this process may die.

use std::arch::asm;

use crate::try_in_child;

pub unsafe fn attack() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..40 {
        let mut frame = [0u64; 160];
        for word in &mut frame {
            *word = match next() % 4 {
                0 => 0,
                1 => next(),
                2 => next() & 0x7fff_ffff_ffff,
                _ => 0x7000_0000_0000 + (next() & 0xffff),
            };
        }
        let status = try_in_child(|| {
            let stack = frame.as_mut_ptr().add(8);
            asm!("mov rsp, {0}", "mov eax, 15", "syscall", "ud2", in(reg) stack, options(noreturn));
        });
        if round == 0 {
            println!("first: {}", if libc::WIFSIGNALED(status) { "died" } else { "went on" });
        }
    }
    println!("forged");
}
