//! Signals, second part: faults, stacks, default actions, children, frames.

use std::arch::asm;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, handle, nap, pipe, put_fd, ret, say, set_of, show, status_text, z};

static SEEN: AtomicI32 = AtomicI32::new(0);
static WHERE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    SEEN.fetch_add(1, SeqCst);
}

extern "C" fn on_stack(_: i32) {
    let here = 0u8;
    WHERE.store(&raw const here as usize, SeqCst);
    let mut s: stack_t = z();
    unsafe {
        sigaltstack(std::ptr::null(), &mut s);
        SEEN.store(s.ss_flags, SeqCst);
        let mut new: stack_t = z();
        new.ss_flags = SS_DISABLE;
        ret("change while on it", sigaltstack(&new, std::ptr::null_mut()));
    }
}

pub unsafe fn altstack() {
    let size = 65536;
    let p = mmap(std::ptr::null_mut(), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    let inside = || (p as usize..p as usize + size).contains(&WHERE.load(SeqCst));
    let mut s: stack_t = z();
    s.ss_sp = p;
    s.ss_size = size;
    ret("set", sigaltstack(&s, std::ptr::null_mut()));
    let mut old: stack_t = z();
    sigaltstack(std::ptr::null(), &mut old);
    show("read back", (old.ss_sp == p, old.ss_size, old.ss_flags));
    handle(SIGUSR1, on_stack as usize, SA_ONSTACK);
    raise(SIGUSR1);
    show("on it", (inside(), SEEN.load(SeqCst)));
    handle(SIGUSR1, on_stack as usize, 0);
    raise(SIGUSR1);
    show("without the flag", (inside(), SEEN.load(SeqCst)));
    s.ss_size = 100;
    ret("too small", sigaltstack(&s, std::ptr::null_mut()));
    s.ss_size = size;
    s.ss_flags = 77;
    ret("bad flags", sigaltstack(&s, std::ptr::null_mut()));
    s.ss_flags = SS_DISABLE;
    ret("disable", sigaltstack(&s, std::ptr::null_mut()));
    sigaltstack(std::ptr::null(), &mut old);
    show("disabled", old.ss_flags);
}

unsafe extern "C" fn report(signal: i32, info: *mut siginfo_t, context: *mut c_void) {
    let context = context as *mut ucontext_t;
    let gregs = &mut (*context).uc_mcontext.gregs;
    let addr = (*info).si_addr() as i64;
    let at_ip = addr == gregs[REG_RIP as usize];
    let shown = if at_ip { "at ip".to_owned() } else { format!("{addr:#x}") };
    let trap = gregs[REG_TRAPNO as usize];
    let err = gregs[REG_ERR as usize] & 0x17;
    say("fault", format!("signal {signal} code {} {shown} trap {trap} err {err:#x}", (*info).si_code));
    // Every faulting instruction below is followed by a jump target in rbx.
    gregs[REG_RIP as usize] = gregs[REG_RBX as usize];
    gregs[REG_RAX as usize] = 77;
}

macro_rules! faulting {
    ($step:expr, $code:expr) => {{
        let rax: u64;
        asm!("mov r12, rbx", "lea rbx, [rip + 2f]", $code, "2:", "mov rbx, r12",
            out("rax") rax, out("rdx") _, out("rcx") _, out("r12") _, out("r11") _);
        show($step, rax == 77);
    }};
}

pub unsafe fn faults() {
    for signal in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP] {
        handle(signal, report as usize, SA_SIGINFO);
    }
    faulting!("read of null", "xor ecx, ecx\nmov rax, [rcx]");
    faulting!("write of null", "xor ecx, ecx\nmov [rcx + 8], rcx");
    faulting!("non-canonical", "mov rcx, 0x8000000000000000\nmov rax, [rcx]");
    faulting!("kernel address", "mov rcx, 0xffffffff80000000\nmov rax, [rcx]");
    faulting!("divide by zero", "xor ecx, ecx\nxor edx, edx\nmov eax, 1\ndiv ecx");
    faulting!("undefined", "ud2");
    faulting!("privileged", "hlt");
    faulting!("jump to null", "xor ecx, ecx\njmp rcx");
    // The trap comes after the instruction: return address is past int3 and `at ip` fails by one; print only that.
    let pid = child(|| {
        handle(SIGTRAP, SIG_DFL, 0);
        asm!("int3");
        0
    });
    say("int3", end_of(pid));
}

pub unsafe fn fault_masks() {
    // A fault while its signal is blocked or ignored kills.
    for (step, ignore) in [("blocked", false), ("ignored", true)] {
        let pid = child(|| {
            if ignore {
                handle(SIGSEGV, SIG_IGN, 0);
            } else {
                handle(SIGSEGV, report as usize, SA_SIGINFO);
                sigprocmask(SIG_BLOCK, &set_of(&[SIGSEGV]), std::ptr::null_mut());
            }
            std::ptr::read_volatile(8 as *const u8).into()
        });
        say(step, end_of(pid));
    }
    let pid = child(|| {
        handle(SIGSEGV, SIG_IGN, 0);
        kill(getpid(), SIGSEGV);
        5
    });
    say("a sent one can be ignored", end_of(pid));
    let pid = child(|| {
        // No stack left for the frame.
        handle(SIGSEGV, report as usize, SA_SIGINFO);
        asm!("mov rsp, 64", "push rax");
        0
    });
    say("bad stack", end_of(pid));
}

unsafe extern "C" fn child_info(_: i32, info: *mut siginfo_t, _: *mut c_void) {
    SEEN.fetch_add(1, SeqCst);
    let (code, status) = ((*info).si_code, (*info).si_status());
    say("SIGCHLD", format!("code {code} status {status} uid {}", (*info).si_uid() == getuid()));
}

pub unsafe fn sigchld() {
    handle(SIGCHLD, child_info as usize, SA_SIGINFO | SA_RESTART);
    let end = |f: &dyn Fn() -> i32| {
        let before = SEEN.load(SeqCst);
        let pid = child(f);
        for _ in 0..500 {
            if SEEN.load(SeqCst) != before {
                break;
            }
            nap(2);
        }
        say("reaped", end_of(pid));
    };
    end(&|| 7);
    end(&|| {
        raise(SIGKILL);
        0
    });
    end(&|| {
        setrlimit(RLIMIT_CORE, &rlimit { rlim_cur: 0, rlim_max: 0 });
        handle(SIGSEGV, SIG_DFL, 0);
        raise(SIGSEGV);
        0
    });
    let pid = child(|| {
        raise(SIGSTOP);
        nap(200);
        3
    });
    let mut status = 0;
    waitpid(pid, &mut status, WUNTRACED);
    say("stopped", status_text(status));
    // The word of it comes from the child once it runs, so it is waited for: what comes first is nobody's promise.
    let before = SEEN.load(SeqCst);
    kill(pid, SIGCONT);
    for _ in 0..500 {
        if SEEN.load(SeqCst) != before {
            break;
        }
        nap(2);
    }
    waitpid(pid, &mut status, WCONTINUED);
    say("continued", status_text(status));
    say("end", end_of(pid));
    handle(SIGCHLD, child_info as usize, SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP);
    let pid = child(|| {
        raise(SIGSTOP);
        4
    });
    waitpid(pid, &mut status, WUNTRACED);
    say("no word of the stop", status_text(status));
    handle(SIGCHLD, SIG_DFL, 0);
    kill(pid, SIGCONT);
    say("end", end_of(pid));
    handle(SIGCHLD, SIG_IGN, 0);
    let pid = child(|| 5);
    say("ignored children leave nothing", end_of(pid));
    handle(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
    let pid = child(|| 5);
    say("NOCLDWAIT", end_of(pid));
}

pub unsafe fn sigpipe() {
    handle(SIGPIPE, SIG_IGN, 0);
    let (r, w) = pipe();
    close(r);
    ret("ignored", put_fd(w, "x"));
    let pid = child(|| {
        handle(SIGPIPE, SIG_DFL, 0);
        put_fd(w, "x") as i32
    });
    say("default", end_of(pid));
    handle(SIGPIPE, count as usize, 0);
    ret("handled", put_fd(w, "x"));
    show("ran", SEEN.swap(0, SeqCst));
    let mut pair = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr());
    close(pair[0]);
    ret("socket", put_fd(pair[1], "x"));
    show("ran", SEEN.swap(0, SeqCst));
    ret("NOSIGNAL", send(pair[1], c"x".as_ptr().cast(), 1, MSG_NOSIGNAL));
    show("ran", SEEN.swap(0, SeqCst));
}

pub unsafe fn kills() {
    ret("probe", kill(getpid(), 0));
    ret("missing", kill(99_999_999, 0));
    ret("bad signal", kill(getpid(), 65));
    ret("negative signal", kill(getpid(), -1));
    handle(SIGUSR1, count as usize, 0);
    ret("tgkill", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
    ret("tgkill of nothing", syscall(SYS_tgkill, -1, -1, 0));
    ret("tkill", syscall(SYS_tkill, syscall(SYS_gettid), SIGUSR1));
    show("ran", SEEN.swap(0, SeqCst));
    setpgid(0, 0);
    ret("own group", kill(0, SIGUSR1));
    ret("own group by number", kill(-getpgrp(), SIGUSR1));
    show("ran", SEEN.swap(0, SeqCst));
    ret("missing group", kill(-99_999_999, 0));
    let pid = child(|| {
        pause();
        0
    });
    ret("child", kill(pid, SIGTERM));
    say("end", end_of(pid));
    ret("reaped", kill(pid, 0));
    let zombie = child(|| 0);
    nap(50);
    ret("zombie", kill(zombie, SIGTERM));
    say("end", end_of(zombie));
}

pub unsafe fn defaults() {
    for signal in (1..32).chain([SIGRTMIN(), SIGRTMAX()]) {
        let pid = child(|| {
            setrlimit(RLIMIT_CORE, &rlimit { rlim_cur: 0, rlim_max: 0 });
            if signal != SIGKILL && signal != SIGSTOP {
                handle(signal, SIG_DFL, 0);
            }
            raise(signal);
            0
        });
        let mut status = 0;
        waitpid(pid, &mut status, WUNTRACED);
        say(&format!("signal {signal}"), status_text(status));
        if WIFSTOPPED(status) {
            kill(pid, SIGKILL);
            say("then", end_of(pid));
        }
    }
}

pub unsafe fn stop_and_continue() {
    let (r, w) = pipe();
    let pid = child(|| {
        for i in 0..3 {
            put_fd(w, &i.to_string());
            raise(SIGSTOP);
        }
        9
    });
    for _ in 0..3 {
        let mut status = 0;
        waitpid(pid, &mut status, WUNTRACED);
        say("child", status_text(status));
        say("wrote", crate::kit::get_fd(r, 10));
        kill(pid, SIGCONT);
    }
    say("end", end_of(pid));
    let pid = child(|| {
        raise(SIGSTOP);
        0
    });
    let mut status = 0;
    waitpid(pid, &mut status, WUNTRACED);
    kill(pid, SIGTERM);
    ret("a stopped one does not die of TERM", waitpid(pid, &mut status, WNOHANG));
    kill(pid, SIGCONT);
    say("until continued", end_of(pid));
    let ((r, w), (answers, answer)) = (pipe(), pipe());
    let pid = child(|| {
        put_fd(answer, &crate::kit::get_fd(r, 5));
        0
    });
    nap(30);
    kill(pid, SIGSTOP);
    waitpid(pid, &mut status, WUNTRACED);
    put_fd(w, "go");
    ret("stopped in a read", poll(&mut pollfd { fd: answers, events: POLLIN, revents: 0 }, 1, 100));
    kill(pid, SIGCONT);
    say("which goes on", crate::kit::get_fd(answers, 5));
    say("end", end_of(pid));
    handle(SIGCONT, count as usize, 0);
    raise(SIGCONT);
    show("SIGCONT handler", SEEN.swap(0, SeqCst));
}

unsafe extern "C" fn spoil(_: i32) {
    asm!("vpcmpeqd ymm0, ymm0, ymm0", "vpcmpeqd ymm7, ymm7, ymm7", "vpcmpeqd ymm15, ymm15, ymm15", "fninit", "fldpi",
        "std", "cld", out("ymm0") _, out("ymm7") _, out("ymm15") _);
    SEEN.fetch_add(1, SeqCst);
}

pub unsafe fn float_state() {
    if !std::is_x86_feature_detected!("avx") {
        say("avx", "missing");
        return;
    }
    handle(SIGUSR1, spoil as usize, 0);
    let (pid, tid) = (getpid(), syscall(SYS_gettid));
    let (mut a, mut b) = ([1.5f64; 4], [2.5f64; 4]);
    a[3] = -7.25;
    b[0] = 1e300;
    let (mut x, mut y) = ([0f64; 4], [0f64; 4]);
    let r: i64;
    asm!("vmovupd ymm7, [{a}]", "vmovupd ymm15, [{b}]", "syscall", "vmovupd [{x}], ymm7", "vmovupd [{y}], ymm15",
        a = in(reg) &raw const a, b = in(reg) &raw const b, x = in(reg) &raw mut x, y = in(reg) &raw mut y,
        inlateout("rax") SYS_tgkill => r, in("rdi") pid as i64, in("rsi") tid, in("rdx") SIGUSR1 as i64,
        out("rcx") _, out("r11") _, out("ymm7") _, out("ymm15") _, out("ymm0") _);
    ret("tgkill", r);
    show("ran", SEEN.swap(0, SeqCst));
    show("ymm7 kept", a == x);
    show("ymm15 kept", b == y);
    // Across a plain call, too, and in a new process.
    let r: i64;
    asm!("vmovupd ymm7, [{a}]", "syscall", "vmovupd [{x}], ymm7",
        a = in(reg) &raw const b, x = in(reg) &raw mut x,
        inlateout("rax") SYS_fork => r, out("rcx") _, out("r11") _, out("ymm7") _);
    if r == 0 {
        show("child's ymm7", x == b);
        _exit(0);
    }
    end_of(r as i32);
    show("parent's ymm7", x == b);
    // Every register but rax, rcx, r11 survives a call.
    let (d, s, e, f, g, h, i, j): (u64, u64, u64, u64, u64, u64, u64, u64);
    asm!("syscall", inlateout("rax") SYS_getppid => _, inlateout("rdi") 1u64 => d, inlateout("rsi") 2u64 => s,
        inlateout("rdx") 3u64 => e, inlateout("r8") 4u64 => f, inlateout("r9") 5u64 => g, inlateout("r10") 6u64 => h,
        inlateout("r12") 7u64 => i, inlateout("r15") 8u64 => j, out("rcx") _, out("r11") _);
    show("registers", (d, s, e, f, g, h, i, j));
}

unsafe extern "C" fn change(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    let context = context as *mut ucontext_t;
    (*context).uc_mcontext.gregs[REG_R12 as usize] = 0xabcd;
    sigaddset(&mut (*context).uc_sigmask, SIGUSR2);
}

pub unsafe fn frames() {
    handle(SIGUSR1, change as usize, SA_SIGINFO);
    let (pid, tid) = (getpid() as i64, syscall(SYS_gettid));
    let r12: u64;
    asm!("xor r12d, r12d", "syscall", in("rdi") pid, in("rsi") tid, in("rdx") SIGUSR1 as i64,
        inlateout("rax") SYS_tgkill => _, out("rcx") _, out("r11") _, out("r12") r12);
    say("register changed by the handler", format!("{r12:#x}"));
    let mut mask = z();
    sigprocmask(SIG_SETMASK, std::ptr::null(), &mut mask);
    show("mask changed by the handler", sigismember(&mask, SIGUSR2));
    let pid = child(|| {
        setrlimit(RLIMIT_CORE, &rlimit { rlim_cur: 0, rlim_max: 0 });
        handle(SIGSEGV, SIG_DFL, 0);
        // No frame there: sigreturn kills.
        asm!("mov rsp, 4096", "mov eax, 15", "syscall", options(noreturn));
    });
    say("sigreturn from nowhere", end_of(pid));
    // The red zone below the stack pointer survives a handler.
    handle(SIGUSR2, count as usize, 0);
    let parent = getpid();
    sigprocmask(SIG_UNBLOCK, &set_of(&[SIGUSR2]), std::ptr::null_mut());
    let sender = child(|| {
        nap(30);
        kill(parent, SIGUSR2);
        0
    });
    let kept: u64;
    asm!("mov qword ptr [rsp - 8], 0x1234", "mov qword ptr [rsp - 128], 0x99",
        "3:", "cmp dword ptr [{seen}], 0", "pause", "je 3b",
        "mov rax, [rsp - 8]", "add rax, [rsp - 128]", seen = in(reg) SEEN.as_ptr(), out("rax") kept);
    say("red zone", format!("{kept:#x}"));
    end_of(sender);
}

pub unsafe fn exec_keeps() {
    handle(SIGUSR1, SIG_IGN, 0);
    handle(SIGUSR2, count as usize, 0);
    sigprocmask(SIG_BLOCK, &set_of(&[SIGTERM, SIGURG]), std::ptr::null_mut());
    raise(SIGURG);
    raise(SIGTERM);
    let argv = [
        c"grep".as_ptr(),
        c"-E".as_ptr(),
        c"^(Sig(Blk|Ign|Cgt|Pnd)|ShdPnd)".as_ptr(),
        c"/proc/self/status".as_ptr(),
        std::ptr::null(),
    ];
    execvp(c"grep".as_ptr(), argv.as_ptr());
    say("exec", "failed");
}

pub unsafe fn signal_fd() {
    let set = set_of(&[SIGUSR1]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let fd = signalfd(-1, &set, SFD_NONBLOCK);
    let mut info: signalfd_siginfo = z();
    let size = std::mem::size_of_val(&info);
    ret("empty", read(fd, (&raw mut info).cast(), size));
    raise(SIGUSR1);
    let mut p = pollfd { fd, events: POLLIN, revents: 0 };
    ret("poll", poll(&mut p, 1, 1000));
    ret("read", read(fd, (&raw mut info).cast(), size));
    show("signal", info.ssi_signo);
    ret("again", read(fd, (&raw mut info).cast(), size));
    ret("small", read(fd, (&raw mut info).cast(), 8));
    let waiting = signalfd(-1, &set, 0);
    let pid = child(|| read(waiting, (&raw mut info).cast(), size) as i32);
    nap(30);
    kill(pid, SIGUSR1);
    say("a child's own, through what it inherited", end_of(pid));
}
