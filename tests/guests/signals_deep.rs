//! Signals, third part: what faults tell, what handlers keep, queues in order, every way to send.

use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, get_fd, handle, nap, open, pipe, put_fd, ret, say, set_of, show, z};

static COUNT: AtomicI32 = AtomicI32::new(0);
static KEPT: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, SeqCst);
}

unsafe extern "C" fn report(signal: i32, info: *mut siginfo_t, context: *mut c_void) {
    let gregs = &mut (*(context as *mut ucontext_t)).uc_mcontext.gregs;
    let addr = (*info).si_addr() as u64;
    let base = KEPT.load(SeqCst);
    let place = if addr == gregs[REG_RIP as usize] as u64 {
        "at ip".to_owned()
    } else if base != 0 && (base..base + (1 << 20)).contains(&addr) {
        format!("at {:#x}", addr - base)
    } else {
        format!("{addr:#x}")
    };
    let (trap, err) = (gregs[REG_TRAPNO as usize], gregs[REG_ERR as usize] & 0x17);
    let cr2 = if signal == SIGSEGV && trap == 14 { gregs[REG_CR2 as usize] as u64 == addr } else { true };
    say(
        "fault",
        format!("signal {signal} code {} {place} trap {trap} err {err:#x} cr2 {cr2}", (*info).si_code),
    );
    gregs[REG_RIP as usize] = gregs[REG_RBX as usize];
}

macro_rules! faulting {
    ($step:expr, $reg:expr, $code:expr) => {{
        asm!("mov r12, rbx", "lea rbx, [rip + 2f]", $code, "2:", "mov rbx, r12",
            in("rcx") $reg, out("rdx") _, out("rax") _, out("r12") _, out("r11") _, out("r10") _);
        say("after", $step);
    }};
}

pub unsafe fn fault_codes() {
    for signal in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP] {
        handle(signal, report as usize, SA_SIGINFO);
    }
    let map = |prot: i32, flags: i32, fd: i32, len: usize| {
        let p = mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) as u64;
        KEPT.store(p, SeqCst);
        p
    };
    let anon = MAP_PRIVATE | MAP_ANONYMOUS;
    let p = map(PROT_NONE, anon, -1, 4096);
    faulting!("read without rights", p, "mov rax, [rcx + 16]");
    let p = map(PROT_READ, anon, -1, 4096);
    faulting!("write without the right", p, "mov [rcx + 24], rcx");
    let p = map(PROT_READ | PROT_WRITE, anon, -1, 4096);
    faulting!("execute without the right", p, "jmp rcx");
    munmap(p as *mut c_void, 4096);
    faulting!("read of nothing", p, "mov rax, [rcx]");
    faulting!("write of nothing", p, "mov [rcx], rcx");
    let fd = open("f", O_CREAT | O_RDWR);
    ftruncate(fd, 100);
    let p = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8192);
    faulting!("past the end of a file", p + 4096, "mov rax, [rcx + 8]");
    faulting!("write past the end", p + 4096, "mov [rcx + 8], rcx");
    let p = map(PROT_READ, MAP_PRIVATE, fd, 8192);
    faulting!("past the end, private", p + 4096, "mov rax, [rcx]");
    KEPT.store(0, SeqCst);
    faulting!("divide", 0u64, "xor edx, edx\nmov eax, 1\ndiv ecx");
    faulting!("overflowing divide", 1u64, "mov edx, 5\nmov eax, 1\ndiv ecx");
    faulting!("undefined", 0u64, "ud2");
    faulting!("ud0", 0u64, ".byte 0x0f, 0xff, 0xc0");
    faulting!("privileged", 0u64, "hlt");
    faulting!("in", 0u64, "in al, 0x80");
    faulting!("cli", 0u64, "cli");
    faulting!("bad segment", 0u64, "mov ax, 0x1234\nmov ds, ax");
    faulting!("int 0x20", 0u64, "int 0x20");
    faulting!("breakpoint", 0u64, "int3");
    faulting!("long breakpoint", 0u64, ".byte 0xcd, 0x03");
    // The same for floating point, by which exceptions are let through.
    for (step, unmask) in
        [("divide", 0x4u16), ("invalid", 0x1), ("overflow", 0x8), ("underflow", 0x10), ("inexact", 0x20)]
    {
        let pid = child(|| {
            let mxcsr: u32 = 0x1f80 & !(u32::from(unmask) << 7);
            let (a, b): (f64, f64) = match unmask {
                0x4 => (1.0, 0.0),
                0x1 => (0.0, 0.0),
                0x8 => (1e308, 1e-308),
                0x10 => (1e-308, 1e308),
                _ => (1.0, 3.0),
            };
            faulting_float(mxcsr, a, b);
            0
        });
        say(step, end_of(pid));
        let pid = child(|| {
            let control: u16 = 0x37f & !unmask;
            let (a, b): (f64, f64) = match unmask {
                0x4 => (1.0, 0.0),
                0x1 => (0.0, 0.0),
                0x8 => (1e308, 1e-308),
                0x10 => (1e-308, 1e308),
                _ => (1.0, 3.0),
            };
            let mut out = 0f64;
            let (pa, pb, pc, po) = (&raw const a, &raw const b, &raw const control, &raw mut out);
            asm!("mov r12, rbx", "lea rbx, [rip + 2f]", "fldcw [{c}]", "fld qword ptr [{a}]", "fdiv qword ptr [{b}]",
                "fstp qword ptr [{o}]", "fwait", "2:", "fninit", "mov rbx, r12",
                a = in(reg) pa, b = in(reg) pb, c = in(reg) pc, o = in(reg) po, out("r12") _);
            0
        });
        say(&format!("{step}, x87"), end_of(pid));
    }
}

unsafe fn faulting_float(mxcsr: u32, a: f64, b: f64) {
    let m = &raw const mxcsr;
    asm!("mov r12, rbx", "lea rbx, [rip + 2f]", "ldmxcsr [{m}]", "divsd {a}, {b}", "2:", "mov rbx, r12",
        m = in(reg) m, a = inout(xmm_reg) a => _, b = in(xmm_reg) b, out("r12") _);
}

static WIDE: [u8; 64] = {
    let mut w = [0; 64];
    let mut i = 0;
    while i < 64 {
        w[i] = i as u8 * 3 + 1;
        i += 1;
    }
    w
};

extern "C" fn spoil(_: i32) {
    COUNT.fetch_add(1, SeqCst);
    unsafe {
        if std::arch::is_x86_feature_detected!("avx512f") {
            asm!("vpternlogd zmm0, zmm0, zmm0, 0xff", "vpternlogd zmm7, zmm7, zmm7, 0xff",
                "vpternlogd zmm31, zmm31, zmm31, 0xff", "kxnorw k3, k3, k3",
                out("zmm0") _, out("zmm7") _, out("zmm31") _, out("k3") _);
        }
        let none = 0x1fa0u32;
        asm!("ldmxcsr [{}]", in(reg) &raw const none);
    }
}

/// The widest registers there are, across handlers and calls.
pub unsafe fn wide_registers() {
    if !std::arch::is_x86_feature_detected!("avx512f") {
        return say("none", "here");
    }
    handle(SIGUSR1, spoil as usize, 0);
    let me = getpid();
    let mut out = [[0u8; 64]; 3];
    let mut mask = 0u64;
    let wide = WIDE.as_ptr();
    let at = out.as_mut_ptr();
    // kill(2) to itself with values in registers that no call may change.
    asm!("vmovdqu64 zmm0, [{w}]", "vmovdqu64 zmm7, [{w}]", "vmovdqu64 zmm31, [{w}]", "mov r9d, 0xa5",
        "kmovw k3, r9d", "syscall",
        "vmovdqu64 [{o}], zmm0", "vmovdqu64 [{o} + 64], zmm7", "vmovdqu64 [{o} + 128], zmm31", "kmovw {m:e}, k3",
        w = in(reg) wide, o = in(reg) at, m = lateout(reg) mask,
        inout("rax") SYS_kill => _, in("rdi") me, in("rsi") SIGUSR1, out("rcx") _, out("r11") _, out("r9") _,
        out("zmm0") _, out("zmm7") _, out("zmm31") _, out("k3") _);
    show("handled", COUNT.load(SeqCst));
    show("kept", (out.iter().map(|o| *o == WIDE).collect::<Vec<_>>(), mask & 0xffff));
    let mut mxcsr = 0u32;
    asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
    show("control", mxcsr & 0xffc0);
    // While a timer interrupts at random.
    handle(SIGALRM, spoil as usize, SA_RESTART);
    let v = itimerval {
        it_interval: timeval { tv_sec: 0, tv_usec: 1000 },
        it_value: timeval { tv_sec: 0, tv_usec: 1000 },
    };
    setitimer(ITIMER_REAL, &v, std::ptr::null_mut());
    let start = std::time::Instant::now();
    let mut good = true;
    COUNT.store(0, SeqCst);
    while start.elapsed().as_millis() < 200 || COUNT.load(SeqCst) < 20 && start.elapsed().as_secs() < 5 {
        asm!("vmovdqu64 zmm31, [{w}]", "vmovdqu64 zmm7, [{w}]", "mov ecx, 20000", "3:", "dec ecx", "jnz 3b",
            "vmovdqu64 [{o}], zmm31", "vmovdqu64 [{o} + 64], zmm7",
            w = in(reg) wide, o = in(reg) at, out("rcx") _, out("zmm7") _, out("zmm31") _);
        good &= out[0] == WIDE && out[1] == WIDE;
    }
    setitimer(ITIMER_REAL, &z(), std::ptr::null_mut());
    show("kept across timers", good && COUNT.load(SeqCst) >= 20);
    // A child and a thread start with what there was.
    let mut theirs = [0u8; 64];
    asm!("vmovdqu64 zmm31, [{w}]", "syscall", "test rax, rax", "jnz 3f",
        "vmovdqu64 [{o}], zmm31", "vpcmpeqb k1, zmm31, [{w}]", "kmovq rdi, k1", "not rdi", "test rdi, rdi",
        "setnz dil", "movzx edi, dil", "mov eax, 60", "syscall", "3:",
        w = in(reg) wide, o = in(reg) theirs.as_mut_ptr(), inout("rax") SYS_fork => mask,
        out("rdi") _, out("rcx") _, out("r11") _, out("zmm31") _, out("k1") _);
    say("in a child", end_of(mask as i32));
}

static ORDER: std::sync::Mutex<Vec<(i32, i32, usize)>> = std::sync::Mutex::new(Vec::new());
unsafe extern "C" fn note(signal: i32, info: *mut siginfo_t, _: *mut c_void) {
    let value = (*info).si_value().sival_ptr as usize;
    if let Ok(mut o) = ORDER.try_lock() {
        o.push((signal - SIGRTMIN(), (*info).si_code, value));
    }
}

pub unsafe fn queues() {
    let first = SIGRTMIN();
    let all = [first, first + 1, first + 2, SIGUSR1];
    let mut action: sigaction = z();
    action.sa_sigaction = note as usize;
    action.sa_flags = SA_SIGINFO;
    action.sa_mask = set_of(&all);
    all.iter().for_each(|s| drop(sigaction(*s, &action, std::ptr::null_mut())));
    let set = set_of(&all);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let value = |v: usize| sigval { sival_ptr: v as *mut c_void };
    for (signal, v) in
        [(first + 2, 1), (first, 2), (first + 1, 3), (first, 4), (SIGUSR1, 5), (SIGUSR1, 6), (first + 2, 7)]
    {
        sigqueue(getpid(), signal, value(v));
    }
    sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
    show("order", ORDER.lock().map(|mut o| std::mem::take(&mut *o)).unwrap_or_default());
    // To the thread and to the process: the thread's come first, of one number.
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    sigqueue(getpid(), first, value(1));
    let mut info: siginfo_t = z();
    info.si_code = SI_QUEUE;
    *(&raw mut info).cast::<u64>().add(3) = 2;
    ret("to the thread", syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), first, &info));
    sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
    show("order", ORDER.lock().map(|mut o| std::mem::take(&mut *o)).unwrap_or_default());
    // Who may pretend what.
    let pid = child(|| {
        nap(5000);
        0
    });
    for code in [0, -1, -2, -6, 1, 0x80, -60] {
        info.si_code = code;
        ret(&format!("code {code} to a child"), syscall(SYS_rt_sigqueueinfo, pid, SIGCONT, &info));
        ret(&format!("code {code} to itself"), syscall(SYS_rt_sigqueueinfo, getpid(), SIGCONT, &info));
        ret(&format!("code {code} to its thread"), syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGCONT, &info));
    }
    kill(pid, SIGKILL);
    end_of(pid);
    ret("to nobody", syscall(SYS_rt_sigqueueinfo, 99_999_999, SIGCONT, &info));
    ret("signal 65", syscall(SYS_rt_sigqueueinfo, getpid(), 65, &info));
    ret("signal 0", syscall(SYS_rt_sigqueueinfo, getpid(), 0, &info));
    ret("nowhere", syscall(SYS_rt_sigqueueinfo, getpid(), SIGCONT, 8));
    ret("negative", syscall(SYS_rt_sigqueueinfo, -1, SIGCONT, &info));
    ret("tgkill group 0", syscall(SYS_tgkill, 0, getpid(), 0));
    ret("tgkill thread 0", syscall(SYS_tgkill, getpid(), 0, 0));
    ret("tgkill another's", syscall(SYS_tgkill, getpid(), getppid(), 0));
    ret("tgkill nobody", syscall(SYS_tgkill, getpid(), 99_999_999, 0));
    ret("tgkill 65", syscall(SYS_tgkill, getpid(), getpid(), 65));
    ret("tkill", syscall(SYS_tkill, getpid(), 0));
    ret("tkill -1", syscall(SYS_tkill, -1, 0));
    ret("kill no group", kill(-99_999_999, 0));
    ret("kill 65", kill(getpid(), 65));
    ret("kill -1", kill(getpid(), -1));
    // A zombie can be signalled.
    let pid = child(|| 0);
    let mut seen: siginfo_t = z();
    waitid(P_PID, pid as id_t, &mut seen, WEXITED | WNOWAIT);
    ret("zombie", kill(pid, SIGTERM));
    ret("zombie's thread", syscall(SYS_tgkill, pid, pid, SIGTERM));
    end_of(pid);
    if geteuid() == 0 {
        let pid = child(|| {
            setresuid(1000, 1000, 1000);
            ret("root's", kill(getppid(), 0));
            ret("root's thread", syscall(SYS_tgkill, getppid(), getppid(), 0));
            let inner = child(|| {
                nap(3000);
                0
            });
            ret("own child", kill(inner, SIGTERM));
            end_of(inner);
            0
        });
        end_of(pid);
        // SIGCONT within a session.
        let pid = child(|| {
            setresuid(1000, 1000, 1000);
            ret("SIGCONT to root's of this session", kill(getppid(), SIGCONT));
            ret("SIGTERM", kill(getppid(), SIGTERM));
            0
        });
        end_of(pid);
    }
}

unsafe extern "C" fn on_alt(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    let mut s: stack_t = z();
    sigaltstack(std::ptr::null(), &mut s);
    let kept = (*(context as *mut ucontext_t)).uc_stack;
    show("inside", (s.ss_flags, s.ss_size, kept.ss_flags, kept.ss_size));
}

pub unsafe fn stacks() {
    const AUTODISARM: i32 = 1 << 31;
    let size = 65536;
    let p = mmap(std::ptr::null_mut(), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    let mut s = stack_t { ss_sp: p, ss_flags: AUTODISARM, ss_size: size };
    ret("autodisarm", sigaltstack(&s, std::ptr::null_mut()));
    let mut old: stack_t = z();
    sigaltstack(std::ptr::null(), &mut old);
    show("flags", old.ss_flags);
    handle(SIGUSR1, on_alt as usize, SA_SIGINFO | SA_ONSTACK);
    raise(SIGUSR1);
    sigaltstack(std::ptr::null(), &mut old);
    show("armed again", (old.ss_flags, old.ss_size));
    s.ss_flags = 0;
    ret("plain", sigaltstack(&s, std::ptr::null_mut()));
    raise(SIGUSR1);
    s.ss_flags = SS_ONSTACK;
    ret("on stack", sigaltstack(&s, std::ptr::null_mut()));
    s.ss_flags = SS_ONSTACK | SS_DISABLE;
    ret("both", sigaltstack(&s, std::ptr::null_mut()));
    s.ss_flags = SS_DISABLE | AUTODISARM;
    ret("disabled and autodisarm", sigaltstack(&s, std::ptr::null_mut()));
    sigaltstack(std::ptr::null(), &mut old);
    show("flags", (old.ss_flags, old.ss_size));
    ret("nowhere", sigaltstack(16 as *const stack_t, std::ptr::null_mut()));
    s.ss_flags = 0;
    sigaltstack(&s, std::ptr::null_mut());
    ret("old nowhere", sigaltstack(std::ptr::null(), 16 as *mut stack_t));
    // A child keeps it, a thread does not, a program neither.
    let pid = child(|| {
        let mut s: stack_t = z();
        sigaltstack(std::ptr::null(), &mut s);
        show("child", (s.ss_flags, s.ss_size));
        0
    });
    end_of(pid);
    // Overflow of the stack, caught on the other.
    let pid = child(|| {
        handle(SIGSEGV, overflowed as usize, SA_SIGINFO | SA_ONSTACK);
        let l = rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        setrlimit(RLIMIT_STACK, &l);
        deeper(1);
        0
    });
    say("overflow", end_of(pid));
    let pid = child(|| {
        handle(SIGSEGV, overflowed as usize, SA_SIGINFO);
        let l = rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        setrlimit(RLIMIT_STACK, &l);
        deeper(1);
        0
    });
    say("overflow without another", end_of(pid));
}

unsafe extern "C" fn overflowed(signal: i32, info: *mut siginfo_t, _: *mut c_void) {
    say("caught", format!("signal {signal} code {}", (*info).si_code));
    _exit(33);
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn deeper(n: u64) -> u64 {
    let room = [n; 512];
    std::hint::black_box(&room);
    deeper(n + 1) + room[(n % 512) as usize]
}

pub unsafe fn flags() {
    // What is kept of the flags, and that unknown bits are told by being cleared.
    let all = -1i32;
    let raw = |flags: u64| {
        let new = [count as usize as u64, flags | 0x0400_0000, restorer as usize as u64, !0];
        let mut old = [0u64; 4];
        syscall(SYS_rt_sigaction, SIGUSR1, &new, 0, 8);
        syscall(SYS_rt_sigaction, SIGUSR1, 0, &mut old, 8);
        format!("{:#x} mask {:#x}", old[1], old[3])
    };
    say("all flags", raw(all as u32 as u64));
    say("high flags", raw(!0));
    say("expose tags", raw(0x800));
    say("unsupported", raw(0x400));
    ret("KILL", syscall(SYS_rt_sigaction, SIGKILL, [0u64; 4].as_ptr(), 0, 8));
    ret("KILL, read", syscall(SYS_rt_sigaction, SIGKILL, 0, [0u64; 4].as_mut_ptr(), 8));
    ret("signal 0", syscall(SYS_rt_sigaction, 0, 0, 0, 8));
    ret("signal 65", syscall(SYS_rt_sigaction, 65, 0, 0, 8));
    ret("size 16", syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 16));
    ret("nowhere", syscall(SYS_rt_sigaction, SIGUSR1, 8, 0, 8));
    ret("old nowhere", syscall(SYS_rt_sigaction, SIGUSR1, 0, 8, 8));
    for (name, nr) in
        [("pending", SYS_rt_sigpending), ("suspend", SYS_rt_sigsuspend), ("procmask", SYS_rt_sigprocmask)]
    {
        ret(&format!("{name}, bad size"), syscall(nr, 0, 0, 0, 16));
    }
    ret("sigpending of 4", syscall(SYS_rt_sigpending, &mut 0u64, 4));
    ret("sigpending nowhere", syscall(SYS_rt_sigpending, 8, 8));
    ret("sigsuspend nowhere", syscall(SYS_rt_sigsuspend, 8, 8));
    ret("sigtimedwait nowhere", syscall(SYS_rt_sigtimedwait, 8, 0, 0, 8));
    ret("procmask nowhere", syscall(SYS_rt_sigprocmask, 0, 8, 0, 8));
    // One without a restorer dies of it.
    let pid = child(|| {
        let new = [count as usize as u64, 0, 0, 0];
        syscall(SYS_rt_sigaction, SIGUSR1, &new, 0, 8);
        let l = rlimit { rlim_cur: 0, rlim_max: 0 };
        setrlimit(RLIMIT_CORE, &l);
        raise(SIGUSR1);
        0
    });
    say("no restorer", end_of(pid));
    // SA_NOCLDSTOP, SA_NOCLDWAIT, and both signals' infos.
    let mut action: sigaction = z();
    action.sa_sigaction = note as usize;
    action.sa_flags = SA_SIGINFO | SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, std::ptr::null_mut());
    let pid = child(|| loop {
        pause();
    });
    kill(pid, SIGSTOP);
    waitpid(pid, std::ptr::null_mut(), WUNTRACED);
    kill(pid, SIGCONT);
    waitpid(pid, std::ptr::null_mut(), WCONTINUED);
    show("stops are not told", ORDER.lock().map(|o| o.len()).unwrap_or(9));
    kill(pid, SIGKILL);
    end_of(pid);
    show("ends are", ORDER.lock().map(|mut o| std::mem::take(&mut *o).len()).unwrap_or(9));
    // A signal for a process with several threads goes to one that does not block it.
    handle(SIGUSR2, count as usize, 0);
    COUNT.store(0, SeqCst);
    let set = set_of(&[SIGUSR2]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let (r, w) = pipe();
    let (ready, tell) = pipe();
    let taker = std::thread::spawn(move || {
        sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
        put_fd(tell, "x");
        let text = get_fd(r, 1);
        (text, COUNT.load(SeqCst))
    });
    get_fd(ready, 1);
    nap(50);
    kill(getpid(), SIGUSR2);
    let got = taker.join().unwrap_or_default();
    show("taken by the other", got);
    close(w);
    // All threads block it: it waits until one does not.
    kill(getpid(), SIGUSR2);
    let mut pending: sigset_t = z();
    sigpending(&mut pending);
    show("waits", sigismember(&pending, SIGUSR2));
    let other = std::thread::spawn(move || {
        let mut pending: sigset_t = z();
        sigpending(&mut pending);
        let seen = sigismember(&pending, SIGUSR2);
        sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
        (seen, COUNT.load(SeqCst))
    });
    show("seen and taken by another", other.join().unwrap_or_default());
}

std::arch::global_asm!(".globl guest_restorer", "guest_restorer:", "mov eax, 15", "syscall");
extern "C" {
    #[link_name = "guest_restorer"]
    fn restorer();
}

/// signalfd(2), all of it.
pub unsafe fn signal_descriptors() {
    let first = SIGRTMIN();
    let set = set_of(&[SIGUSR1, SIGUSR2, first, SIGCHLD, SIGALRM]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    let mut r: [signalfd_siginfo; 4] = z();
    let one = std::mem::size_of::<signalfd_siginfo>();
    let mut take = |n: usize| read(fd, r.as_mut_ptr().cast(), n);
    ret("nothing", take(one));
    ret("too small", take(one - 1));
    raise(SIGUSR1);
    sigqueue(getpid(), first, sigval { sival_ptr: 99 as *mut c_void });
    sigqueue(getpid(), first, sigval { sival_ptr: 98 as *mut c_void });
    let n = ret("several", take(4 * one));
    let got: Vec<_> = r[..(n.max(0) as usize / one)]
        .iter()
        .map(|i| (i.ssi_signo, i.ssi_code, i.ssi_pid == getpid() as u32, i.ssi_ptr, i.ssi_int))
        .collect();
    show("records", got);
    let pid = child(|| 5);
    nap(50);
    ret("child", read(fd, r.as_mut_ptr().cast(), one));
    show("record", (r[0].ssi_signo, r[0].ssi_code, r[0].ssi_status, r[0].ssi_pid == pid as u32));
    end_of(pid);
    let mut id: timer_t = z();
    timer_create(CLOCK_MONOTONIC, std::ptr::null_mut(), &mut id);
    let v = itimerspec { it_interval: z(), it_value: timespec { tv_sec: 0, tv_nsec: 1 } };
    timer_settime(id, 0, &v, std::ptr::null_mut());
    let mut p = pollfd { fd, events: POLLIN, revents: 0 };
    ret("poll", poll(&mut p, 1, 2000));
    ret("timer", read(fd, r.as_mut_ptr().cast(), one));
    show("record", (r[0].ssi_signo, r[0].ssi_code, r[0].ssi_overrun));
    ret("new set", i32::from(signalfd(fd, &set_of(&[SIGUSR2]), 0) == fd));
    raise(SIGUSR1);
    ret("no longer", read(fd, r.as_mut_ptr().cast(), one));
    raise(SIGUSR2);
    ret("this", read(fd, r.as_mut_ptr().cast(), one));
    ret("bad flags", signalfd(-1, &set, 1));
    ret("not one", signalfd(0, &set, 0));
    ret("bad size", syscall(SYS_signalfd4, -1, &set, 4, 0));
    ret("bad descriptor", signalfd(77, &set, 0));
    let info = crate::kit::get(&format!("/proc/self/fdinfo/{fd}"));
    show("mask", info.lines().find(|l| l.starts_with("sigmask")));
    ret("write", put_fd(fd, "12345678"));
    // A descriptor that a child inherits reads the child's.
    let pid = child(|| {
        sigprocmask(SIG_BLOCK, &set_of(&[SIGUSR2]), std::ptr::null_mut());
        let empty = read(fd, r.as_mut_ptr().cast(), one);
        raise(SIGUSR2);
        let full = read(fd, r.as_mut_ptr().cast(), one);
        show("child reads its own", (empty, full));
        0
    });
    end_of(pid);
}
