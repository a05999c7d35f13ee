//! Host calls, copies that survive a fault, and the few instructions that Rust does not name.

use core::arch::{asm, global_asm};

pub const MMAP: u64 = 9;
pub const MPROTECT: u64 = 10;
pub const MUNMAP: u64 = 11;
pub const RT_SIGACTION: u64 = 13;
pub const RT_SIGPROCMASK: u64 = 14;
pub const SCHED_YIELD: u64 = 24;
pub const MREMAP: u64 = 25;
pub const MINCORE: u64 = 27;
pub const MADVISE: u64 = 28;
pub const CLOSE: u64 = 3;
pub const NANOSLEEP: u64 = 35;
pub const EXIT: u64 = 60;
pub const SIGALTSTACK: u64 = 131;
pub const ARCH_PRCTL: u64 = 158;
pub const PRCTL: u64 = 157;
pub const FUTEX: u64 = 202;
pub const CLOCK_GETTIME: u64 = 228;
pub const CLOCK_NANOSLEEP: u64 = 230;
pub const EXIT_GROUP: u64 = 231;
pub const SECCOMP: u64 = 317;
pub const MEMBARRIER: u64 = 324;
pub const FUTEX_WAITV: u64 = 449;

pub const EINTR: i64 = 4;
pub const EPERM: i64 = 1;
pub const EFAULT: i64 = 14;
pub const EAGAIN: i64 = 11;
pub const EINVAL: i64 = 22;
pub const ENOSYS: i64 = 38;

global_asm!(
    // stub_copy(dst, src, n) -> bytes not copied. A fault at stub_copy_at continues at stub_copy_fix.
    ".globl stub_copy, stub_copy_at, stub_copy_fix",
    "stub_copy:",
    "mov rcx, rdx",
    "stub_copy_at:",
    "rep movsb",
    "stub_copy_fix:",
    "mov rax, rcx",
    "ret",
    // stub_zero(dst, n) -> bytes not cleared.
    ".globl stub_zero, stub_zero_at",
    "stub_zero:",
    "mov rcx, rsi",
    "xor eax, eax",
    "stub_zero_at:",
    "rep stosb",
    "mov rax, rcx",
    "ret",
    // stub_str(dst, src, max) -> bytes copied with the NUL, max where there is none, -1 after a fault.
    ".globl stub_str, stub_str_at, stub_str_fix",
    "stub_str:",
    "xor eax, eax",
    "2:",
    "cmp rax, rdx",
    "je 3f",
    "stub_str_at:",
    "mov cl, [rsi + rax]",
    "mov [rdi + rax], cl",
    "inc rax",
    "test cl, cl",
    "jne 2b",
    "3:",
    "ret",
    "stub_str_fix:",
    "mov rax, -1",
    "ret",
    // stub_cas(addr, old, new) -> the word found there, -1 after a fault.
    ".globl stub_cas, stub_cas_at, stub_cas_fix",
    "stub_cas:",
    "mov eax, esi",
    "stub_cas_at:",
    "lock cmpxchg [rdi], edx",
    "mov eax, eax",
    "ret",
    "stub_cas_fix:",
    "mov rax, -1",
    "ret",
    // stub_clone(flags, stack, child_tid, tls) -> pid. A child with a stack of its own goes on in stub_child with
    // the word on top of that stack; one without returns here with 0.
    ".globl stub_clone",
    "stub_clone:",
    "mov r10, rdx",
    "mov r8, rcx",
    "xor edx, edx",
    "mov r9, rsi",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jne 4f",
    "test r9, r9",
    "je 4f",
    "xor ebp, ebp",
    "pop rdi",
    "call stub_child",
    "4:",
    "ret",
    // stub_sigreturn(ucontext): never returns.
    ".globl stub_sigreturn",
    "stub_sigreturn:",
    "mov rsp, rdi",
    ".globl stub_restorer",
    "stub_restorer:",
    "mov eax, 15",
    "syscall",
    "ud2",
);

mod labels {
    extern "C" {
        pub fn stub_copy(dst: *mut u8, src: *const u8, n: usize) -> usize;
        pub fn stub_copy_at();
        pub fn stub_copy_fix();
        pub fn stub_zero(dst: *mut u8, n: usize) -> usize;
        pub fn stub_zero_at();
        pub fn stub_str(dst: *mut u8, src: *const u8, max: usize) -> isize;
        pub fn stub_str_at();
        pub fn stub_str_fix();
        pub fn stub_cas(addr: *mut u32, old: u32, new: u32) -> i64;
        pub fn stub_cas_at();
        pub fn stub_cas_fix();
        pub fn stub_clone(flags: u64, stack: u64, child_tid: u64, tls: u64) -> i64;
        pub fn stub_sigreturn(uc: *mut u8) -> !;
        pub fn stub_restorer();
    }
}

/// Where a fault at `rip` goes on, if it is one of the guarded copies.
pub fn fixup(rip: u64) -> Option<u64> {
    if rip == labels::stub_copy_at as *const () as u64 || rip == labels::stub_zero_at as *const () as u64 {
        Some(labels::stub_copy_fix as *const () as u64)
    } else if rip == labels::stub_str_at as *const () as u64 {
        Some(labels::stub_str_fix as *const () as u64)
    } else if rip == labels::stub_cas_at as *const () as u64 {
        Some(labels::stub_cas_fix as *const () as u64)
    } else {
        None
    }
}

/// Copies between this thread's memory and the guest's; false where either faulted.
pub fn copy(dst: u64, src: u64, n: usize) -> bool {
    // SAFETY: guarded: a fault ends the copy. What is overwritten is the guest's own process either way.
    unsafe { labels::stub_copy(dst as *mut u8, src as *const u8, n) == 0 }
}

pub fn zero(dst: u64, n: usize) -> bool {
    // SAFETY: as in `copy`.
    unsafe { labels::stub_zero(dst as *mut u8, n) == 0 }
}

/// Copies a string; `None` after a fault, else how many bytes (with the NUL if there is one within `max`).
pub fn copy_str(dst: u64, src: u64, max: usize) -> Option<usize> {
    // SAFETY: as in `copy`.
    let n = unsafe { labels::stub_str(dst as *mut u8, src as *const u8, max) };
    usize::try_from(n).ok()
}

/// Replaces a word of the guest's that is `old`; the word that was found, or `None` after a fault.
pub fn compare_exchange(addr: u64, old: u32, new: u32) -> Option<u32> {
    // SAFETY: as in `copy`; a word that is not aligned is the guest's own loss, and the sentry sends none.
    let found = unsafe { labels::stub_cas(addr as *mut u32, old, new) };
    u32::try_from(found).ok()
}

/// # Safety
/// `stack`, if not 0, is the top of a child stack whose first word is the argument of `stub_child`.
pub unsafe fn clone(flags: u64, stack: u64, child_tid: u64, tls: u64) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { labels::stub_clone(flags, stack, child_tid, tls) }
}

/// # Safety
/// `uc` is a complete signal context.
pub unsafe fn sigreturn(uc: *mut u8) -> ! {
    // SAFETY: the caller's promise.
    unsafe { labels::stub_sigreturn(uc) }
}

pub fn restorer() -> u64 {
    labels::stub_restorer as *const () as u64
}

/// A host call.
///
/// # Safety
/// As the call itself.
#[inline(always)]
pub unsafe fn call6(nr: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64 {
    let ret: i64;
    // SAFETY: the caller's promise; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") nr as i64 => ret, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

/// # Safety
/// As the call itself.
#[inline(always)]
pub unsafe fn call(nr: u64, a: u64, b: u64, c: u64) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { call6(nr, a, b, c, 0, 0, 0) }
}

pub fn exit_group(code: u64) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { call(EXIT_GROUP, code, 0, 0) };
    }
}

pub fn exit_thread() -> ! {
    loop {
        // SAFETY: ends the thread.
        unsafe { call(EXIT, 0, 0, 0) };
    }
}

/// Kills this process when the sentry's thread that made the zygote ends. Not inherited by fork (prctl(2),
/// PR_SET_PDEATHSIG), so each process asks for itself.
pub fn die_with_parent() {
    // SAFETY: SIGKILL at the parent's death.
    unsafe { call(PRCTL, 1, 9, 0) };
}

pub fn close(fd: u64) {
    // SAFETY: the stub holds no descriptor that anything else rests on.
    unsafe { call(CLOSE, fd, 0, 0) };
}

/// Sets the signal mask of this thread.
pub fn set_mask(mask: u64) {
    // SAFETY: SIG_SETMASK (2) with a mask that lives through the call.
    unsafe { call6(RT_SIGPROCMASK, 2, &raw const mask as u64, 0, 8, 0, 0) };
}

/// The FS base. `fsgsbase` says whether the instruction may be used.
pub fn fs_base(fsgsbase: bool) -> u64 {
    let mut base = 0u64;
    if fsgsbase {
        // SAFETY: the processor has it and the kernel allows it (AT_HWCAP2).
        unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: ARCH_GET_FS writes to the local.
        unsafe { call(ARCH_PRCTL, 0x1003, &raw mut base as u64, 0) };
    }
    base
}

pub fn gs_base(fsgsbase: bool) -> u64 {
    let mut base = 0u64;
    if fsgsbase {
        // SAFETY: as in `fs_base`.
        unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: ARCH_GET_GS writes to the local.
        unsafe { call(ARCH_PRCTL, 0x1004, &raw mut base as u64, 0) };
    }
    base
}

/// Linux refuses addresses outside of user space (arch_prctl(2), EPERM), which also keeps `wrfsbase` from trapping.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

pub fn set_fs_base(fsgsbase: bool, base: u64) -> i64 {
    if base >= TASK_SIZE {
        return -EPERM;
    }
    if fsgsbase {
        // SAFETY: canonical; the stub itself does not use FS.
        unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags)) };
        return 0;
    }
    // SAFETY: ARCH_SET_FS; the stub itself does not use FS.
    unsafe { call(ARCH_PRCTL, 0x1002, base, 0) }
}

pub fn set_gs_base(fsgsbase: bool, base: u64) -> i64 {
    if base >= TASK_SIZE {
        return -EPERM;
    }
    if fsgsbase {
        // SAFETY: canonical; the stub itself does not use GS.
        unsafe { asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags)) };
        return 0;
    }
    // SAFETY: ARCH_SET_GS; the stub itself does not use GS.
    unsafe { call(ARCH_PRCTL, 0x1001, base, 0) }
}

/// The time stamp counter, to bound a spin.
pub fn ticks() -> u64 {
    // SAFETY: reads the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}
