//! ptrace: a parent that traces its children as strace and debuggers do.

use libc::*;

use crate::kit::{c, child, end_of, errno_name, handle, nap, ret, say, show, status_text, z};

const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;

unsafe fn request(r: u32, pid: i32, addr: u64, data: u64) -> i64 {
    syscall(SYS_ptrace, u64::from(r), pid, addr, data)
}

/// The next stop, with its event.
unsafe fn next(pid: i32) -> String {
    let mut status = 0;
    match waitpid(pid, &mut status, __WALL) {
        -1 => errno_name(),
        _ if WIFSTOPPED(status) => format!("stop {:#x}", status >> 8),
        _ => status_text(status),
    }
}

unsafe fn regs(pid: i32) -> user_regs_struct {
    let mut r: user_regs_struct = z();
    request(PTRACE_GETREGS, pid, 0, &raw mut r as u64);
    r
}

unsafe fn stopped_child(f: impl FnOnce() -> i32) -> i32 {
    let pid = child(|| {
        request(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        f()
    });
    say("first", next(pid));
    pid
}

pub unsafe fn calls() {
    let pid = stopped_child(|| {
        syscall(SYS_getppid);
        syscall(SYS_close, 99);
        syscall(SYS_getpgid, 0);
        7
    });
    ret("options", request(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD as u64));
    ret("bad options", request(PTRACE_SETOPTIONS, pid, 0, 1 << 30));
    let mut seen = Vec::new();
    loop {
        request(PTRACE_SYSCALL, pid, 0, 0);
        let stop = next(pid);
        if stop != "stop 0x85" {
            say("end", stop);
            break;
        }
        let r = regs(pid);
        let wanted = [SYS_getppid, SYS_close, SYS_getpgid, SYS_exit_group].contains(&(r.orig_rax as i64));
        if !wanted {
            continue;
        }
        let mut info = [0u8; 88];
        let n = request(PTRACE_GET_SYSCALL_INFO, pid, 88, info.as_mut_ptr() as u64);
        let value = match r.orig_rax as i64 {
            n if n == SYS_close || n == SYS_exit_group => r.rax as i64,
            _ if r.rax as i64 == -38 => -38,
            _ => i64::from(r.rax as i64 > 0),
        };
        seen.push((r.orig_rax, value, n, info[0]));
    }
    for s in seen {
        show("call", s);
    }
}

pub unsafe fn changed_calls() {
    let pid = stopped_child(|| {
        let made = syscall(SYS_getpgid, 0);
        let faked = syscall(SYS_getppid);
        i32::from(made == -1 && *__errno_location() == ESRCH) + 2 * i32::from(faked == 4242)
    });
    loop {
        request(PTRACE_SYSCALL, pid, 0, 0);
        let stop = next(pid);
        if stop != "stop 0x5" {
            say("end", stop);
            break;
        }
        let mut r = regs(pid);
        let entry = r.rax as i64 == -38;
        if r.orig_rax as i64 == SYS_getpgid && entry {
            r.rdi = 0x7fff_0000;
            ret("other argument", request(PTRACE_SETREGS, pid, 0, &raw mut r as u64));
        } else if r.orig_rax as i64 == SYS_getppid && !entry {
            r.rax = 4242;
            ret("other result", request(PTRACE_SETREGS, pid, 0, &raw mut r as u64));
        }
    }
}

extern "C" fn leave_5(_: i32) {
    unsafe { _exit(5) };
}

pub unsafe fn signals() {
    let pid = stopped_child(|| {
        handle(SIGUSR1, leave_5 as usize, 0);
        raise(SIGUSR2);
        raise(SIGCHLD);
        raise(SIGUSR1);
        6
    });
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("deadly", next(pid));
    let mut info: siginfo_t = z();
    ret("info", request(PTRACE_GETSIGINFO, pid, 0, &raw mut info as u64));
    show("info", (info.si_signo, info.si_code, info.si_pid() == pid));
    ret("kept away", request(PTRACE_CONT, pid, 0, 0));
    say("ignored", next(pid));
    ret("through", request(PTRACE_CONT, pid, 0, SIGCHLD as u64));
    say("handled", next(pid));
    ret("through", request(PTRACE_CONT, pid, 0, SIGUSR1 as u64));
    say("end", next(pid));
    let pid = stopped_child(|| 3);
    ret("killed by what it was given", request(PTRACE_CONT, pid, 0, SIGTERM as u64));
    say("end", next(pid));
    ret("gone", request(PTRACE_CONT, pid, 0, 0));
}

static mut CELL: u64 = 11;

#[inline(never)]
extern "C" fn broken(n: i32) -> i32 {
    std::hint::black_box(n) + 1
}

pub unsafe fn memory() {
    let pid = stopped_child(|| {
        let before = (&raw const CELL).read_volatile();
        broken(before as i32)
    });
    let mut word = 0u64;
    let cell = &raw const CELL as u64;
    ret("peek", request(PTRACE_PEEKDATA, pid, cell, &raw mut word as u64));
    show("word", word);
    ret("poke", request(PTRACE_POKEDATA, pid, cell, 30));
    ret("peek nowhere", request(PTRACE_PEEKDATA, pid, 8, &raw mut word as u64));
    ret("poke nowhere", request(PTRACE_POKEDATA, pid, 8, 1));
    // A breakpoint in text.
    let at = broken as usize as u64;
    ret("text", request(PTRACE_PEEKTEXT, pid, at, &raw mut word as u64));
    ret("breakpoint", request(PTRACE_POKETEXT, pid, at, word & !0xff | 0xcc));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("hit", next(pid));
    let mut r = regs(pid);
    show("behind it", r.rip == at + 1);
    show("argument", r.rdi);
    ret("text back", request(PTRACE_POKETEXT, pid, at, word));
    r.rip = at;
    r.rdi = 40;
    ret("registers", request(PTRACE_SETREGS, pid, 0, &raw mut r as u64));
    ret("step", request(PTRACE_SINGLESTEP, pid, 0, 0));
    say("stepped", next(pid));
    let r = regs(pid);
    show("one instruction", r.rip > at && r.rip < at + 16);
    let mut user = 0u64;
    ret("user", request(PTRACE_PEEKUSER, pid, 16 * 8, &raw mut user as u64));
    show("rip", user == r.rip);
    let mut fp: user_fpregs_struct = z();
    ret("fp", request(PTRACE_GETFPREGS, pid, 0, &raw mut fp as u64));
    show("mxcsr", fp.mxcsr);
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("end", next(pid));
}

pub unsafe fn steps() {
    let pid = stopped_child(|| {
        std::arch::asm!("nop", "nop", "mov eax, 39", "syscall", "nop", "ud2", out("rax") _, out("rcx") _, out("r11") _);
        0
    });
    // To the illegal instruction, one by one; then backwards: what the last ones were.
    let mut lengths = std::collections::VecDeque::new();
    let mut last = regs(pid).rip;
    for _ in 0..20_000 {
        request(PTRACE_SINGLESTEP, pid, 0, 0);
        let stop = next(pid);
        if stop != "stop 0x5" {
            say("stop", stop);
            break;
        }
        let rip = regs(pid).rip;
        lengths.push_back(rip.wrapping_sub(last) as i64);
        last = rip;
        if lengths.len() > 5 {
            lengths.pop_front();
        }
    }
    show("lengths", lengths);
    ret("kill", request(PTRACE_KILL, pid, 0, 0));
    say("end", next(pid));
}

pub unsafe fn events() {
    let pid = stopped_child(|| {
        let inner = child(|| 4);
        end_of(inner);
        let path = c("/bin/true");
        execv(path.as_ptr(), [path.as_ptr(), std::ptr::null()].as_ptr());
        1
    });
    let options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_TRACECLONE;
    ret("options", request(PTRACE_SETOPTIONS, pid, 0, options as u64));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("fork", next(pid));
    let mut message = 0u64;
    ret("message", request(PTRACE_GETEVENTMSG, pid, 0, &raw mut message as u64));
    let inner = message as i32;
    show("another", inner != pid && inner > 0);
    say("child", next(inner));
    ret("child goes", request(PTRACE_CONT, inner, 0, 0));
    say("child ends", next(inner));
    ret("message", request(PTRACE_GETEVENTMSG, inner, 0, &raw mut message as u64));
    show("status", message);
    ret("child goes", request(PTRACE_CONT, inner, 0, 0));
    say("child gone", next(inner));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    let mut stop = next(pid);
    if stop == "stop 0x11" {
        request(PTRACE_CONT, pid, 0, SIGCHLD as u64);
        stop = next(pid);
    }
    say("exec", stop);
    ret("message", request(PTRACE_GETEVENTMSG, pid, 0, &raw mut message as u64));
    show("same number", message as i32 == pid);
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("ends", next(pid));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("end", next(pid));
}

pub unsafe fn seizing() {
    let pid = child(|| {
        for _ in 0..400 {
            nap(10);
        }
        0
    });
    nap(50);
    ret("seize", request(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD as u64));
    ret("twice", request(PTRACE_SEIZE, pid, 0, 0));
    let mut word = 0u64;
    ret("runs", request(PTRACE_PEEKDATA, pid, &raw const CELL as u64, &raw mut word as u64));
    ret("interrupt", request(PTRACE_INTERRUPT, pid, 0, 0));
    say("interrupted", next(pid));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    kill(pid, SIGSTOP);
    say("signal", next(pid));
    ret("through", request(PTRACE_CONT, pid, 0, SIGSTOP as u64));
    say("group stop", next(pid));
    ret("listen", request(PTRACE_LISTEN, pid, 0, 0));
    kill(pid, SIGCONT);
    say("continued", next(pid));
    ret("go", request(PTRACE_CONT, pid, 0, 0));
    say("its signal", next(pid));
    ret("detach", request(PTRACE_DETACH, pid, 0, 0));
    ret("detached", request(PTRACE_CONT, pid, 0, 0));
    kill(pid, SIGTERM);
    say("end", end_of(pid));
    let pid = child(|| {
        nap(5000);
        9
    });
    nap(50);
    ret("attach", request(PTRACE_ATTACH, pid, 0, 0));
    say("attached", next(pid));
    kill(pid, SIGKILL);
    say("killed", next(pid));
    ret("nobody", request(PTRACE_ATTACH, 0x7fff_0000, 0, 0));
    ret("itself", request(PTRACE_ATTACH, getpid(), 0, 0));
}
