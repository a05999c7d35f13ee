//! Filters that a program puts upon itself: seccomp(2) and its forms of prctl(2).

use std::sync::mpsc;
use std::thread;

use libc::*;

use crate::kit::{child, end_of, errno_name, get, handle, ret, say, set_of, show, takes};

const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const NOTIFY: u32 = 0x7fc0_0000;

const TSYNC: u64 = 1;
const TSYNC_ESRCH: u64 = 16;

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
const NR: sock_filter = op(0x20, 0, 0, 0);
const fn load(at: u32) -> sock_filter {
    op(0x20, 0, 0, at)
}
/// Goes on behind the next instruction unless A is `k`.
const fn unless(k: u32) -> sock_filter {
    op(0x15, 0, 1, k)
}
const fn answer(k: u32) -> sock_filter {
    op(0x06, 0, 0, k)
}

unsafe fn add_flags(flags: u64, filter: &[sock_filter]) -> i64 {
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)
}
unsafe fn add(filter: &[sock_filter]) -> i64 {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    add_flags(0, filter)
}
/// Answers one call with `k`, allows the others.
unsafe fn on(nr: i64, k: u32) -> i64 {
    add(&[NR, unless(nr as u32), answer(k), answer(ALLOW)])
}
fn status_lines() -> Vec<String> {
    let wanted = ["NoNewPrivs", "Seccomp"];
    let status = get("/proc/self/status");
    status.lines().filter(|l| wanted.iter().any(|w| l.starts_with(w))).map(str::to_owned).collect()
}

pub unsafe fn questions() {
    ret("mode", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    show("status", status_lines());
    let actions = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW];
    for action in actions {
        ret("available", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    }
    for odd in [ERRNO | 1, 0x0001_0000, 0xffff_0000, 1] {
        ret("odd", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &odd));
    }
    ret("flags", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &ALLOW));
    ret("nowhere", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, 8));
    let mut sizes = [0u16; 3];
    ret("sizes", syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sizes.as_mut_ptr()));
    show("are", sizes);
    ret("sizes, flags", syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 1, sizes.as_mut_ptr()));
    ret("no such operation", syscall(SYS_seccomp, 4, 0, 0));
    ret("no such operation", syscall(SYS_seccomp, -1, 0, 0));
    for mode in [0, 3, -1] {
        ret("no such mode", prctl(PR_SET_SECCOMP, mode, 0, 0, 0));
    }
}

pub unsafe fn mistakes() {
    let good = [answer(ALLOW)];
    let program = |len: u16, filter: *const sock_filter| sock_fprog { len, filter: filter.cast_mut() };
    let set = |flags: u64, p: *const sock_fprog| syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, p);
    end_of(child(|| {
        if geteuid() == 0 {
            setresuid(1000, 1000, 1000);
        }
        ret("without the right", set(0, &program(1, good.as_ptr())));
        ret("too long comes first", set(0, &program(5000, good.as_ptr())));
        ret("pointer comes later", set(0, &program(1, std::ptr::null())));
        ret("by prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program(1, good.as_ptr())));
        0
    }));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    ret("unknown flag", set(1 << 20, &program(1, good.as_ptr())));
    ret("listener's flag alone", set(32, &program(1, good.as_ptr())));
    ret("no program", set(0, std::ptr::null()));
    ret("program nowhere", set(0, 16 as *const sock_fprog));
    ret("empty", set(0, &program(0, good.as_ptr())));
    ret("too long", set(0, &program(4097, good.as_ptr())));
    ret("no instructions", set(0, &program(1, std::ptr::null())));
    ret("instructions nowhere", set(0, &program(1, 16 as *const sock_filter)));
    ret("no return", add_flags(0, &[NR]));
    ret("load not aligned", add_flags(0, &[load(2), answer(ALLOW)]));
    ret("load behind", add_flags(0, &[load(64), answer(ALLOW)]));
    ret("jump behind", add_flags(0, &[op(0x15, 1, 0, 0), answer(ALLOW)]));
    ret("modulo", add_flags(0, &[op(0x94, 0, 0, 3), answer(ALLOW)]));
    ret("strict with an argument", syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, &good));
    ret("strict with a flag", syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0));
    show("still none", status_lines());
    ret("good", add_flags(0, &good));
    ret("with flags", add_flags(2 | 4 | TSYNC_ESRCH, &good));
    ret("by prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program(1, good.as_ptr())));
    ret("mode", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    show("status", status_lines());
    ret("strict now", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
}

pub unsafe fn strict() {
    for how in 0..4 {
        let pid = child(|| {
            if how == 0 {
                ret("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0));
            } else {
                ret("prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 7, 7, 7));
            }
            // What is printed is formatted in memory that is there already.
            let line = b"strict: writes\n";
            syscall(SYS_write, 1, line.as_ptr(), line.len());
            match how {
                0 | 1 => syscall(SYS_exit, 3),
                2 => syscall(SYS_getpid),
                _ => syscall(SYS_exit_group, 4),
            };
            5
        });
        say("end", end_of(pid));
    }
    let pid = child(|| {
        let t = thread::spawn(|| {
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
            syscall(SYS_sched_yield);
        });
        // The thread dies alone, so that nothing tells of its end but its entry.
        while std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) > 1 {
            crate::kit::nap(1);
        }
        drop(t);
        ret("the others go on", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
        0
    });
    say("end", end_of(pid));
}

pub unsafe fn errnos() {
    for value in [0, 1, 38, 95, 4095, 4096, 0xffff] {
        let pid = child(|| {
            on(SYS_getppid, ERRNO | value);
            // Past the C library, which makes errno of it.
            let r: i64;
            std::arch::asm!("syscall", inlateout("rax") SYS_getppid => r, lateout("rcx") _, lateout("r11") _);
            show("returned", r);
            0
        });
        end_of(pid);
    }
    on(SYS_getppid, TRACE | 5);
    ret("trace without a tracer", syscall(SYS_getppid));
    on(SYS_getpgrp, NOTIFY);
    ret("notify without a listener", syscall(SYS_getpgrp));
    on(SYS_sched_get_priority_max, LOG);
    ret("log", syscall(SYS_sched_get_priority_max, SCHED_FIFO));
    // A call that no kernel has, and one of the x32 table: numbers are compared whole.
    on(0x4000_0027, ERRNO | 71);
    on(5000, ERRNO | 72);
    ret("x32", syscall(0x4000_0027));
    ret("none", syscall(5000));
    ret("not those", syscall(5001));
}

pub unsafe fn arguments() {
    // Upper and lower half of the third argument of lseek, and both bounds of an int.
    add(&[
        NR,
        op(0x15, 0, 7, SYS_lseek as u32),
        load(16 + 8 + 4),
        unless(0xdead_beef),
        answer(ERRNO | 11),
        load(16 + 8),
        op(0x25, 0, 2, 0x8000_0000),
        answer(ERRNO | 12),
        answer(ERRNO | 13),
        answer(ALLOW),
    ]);
    ret("upper half", syscall(SYS_lseek, -1, 0xdead_beef_0000_0000u64, 0));
    ret("lower half", syscall(SYS_lseek, -1, 0xffff_ffffu64, 0));
    ret("neither", syscall(SYS_lseek, -1, 5, 0));
    // The architecture, and the address behind the instruction.
    add(&[
        NR,
        op(0x15, 0, 3, SYS_getppid as u32),
        load(4),
        unless(0xc000_003e),
        answer(ERRNO | 14),
        answer(ALLOW),
    ]);
    ret("architecture", syscall(SYS_getppid));
    let at = syscall as *const () as u64;
    add(&[
        NR,
        op(0x15, 0, 4, SYS_getpgrp as u32),
        load(12),
        op(0x15, 0, 2, (at >> 32) as u32),
        load(8),
        op(0x35, 1, 0, at as u32),
        answer(ALLOW),
        answer(ERRNO | 15),
    ]);
    ret("address", syscall(SYS_getpgrp));
}

static mut SEEN: [i64; 8] = [0; 8];

extern "C" fn on_sys(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    unsafe {
        let words = info.cast::<u8>();
        let uc = &*context.cast::<ucontext_t>();
        let at = |n: usize| words.add(n).cast::<i32>().read();
        let call_addr = words.add(16).cast::<i64>().read();
        SEEN = [
            signal.into(),
            at(4).into(),
            at(8).into(),
            at(24).into(),
            i64::from(at(28) as u32),
            uc.uc_mcontext.gregs[REG_RAX as usize],
            i64::from(call_addr == uc.uc_mcontext.gregs[REG_RIP as usize]),
            uc.uc_mcontext.gregs[REG_RDI as usize],
        ];
        // What the handler leaves in rax is what the call returns.
        (*context.cast::<ucontext_t>()).uc_mcontext.gregs[REG_RAX as usize] = 4711;
    }
}

pub unsafe fn traps() {
    let end = end_of(child(|| {
        on(SYS_getppid, TRAP | 1);
        syscall(SYS_getppid);
        0
    }));
    say("by default", end);
    handle(SIGSYS, on_sys as usize, SA_SIGINFO);
    for data in [0, 7, 0xffff] {
        end_of(child(|| {
            on(SYS_getppid, TRAP | data);
            ret("handled", syscall(SYS_getppid, 42));
            show("seen", SEEN);
            0
        }));
    }
    let end = end_of(child(|| {
        on(SYS_getppid, TRAP);
        sigprocmask(SIG_BLOCK, &set_of(&[SIGSYS]), std::ptr::null_mut());
        syscall(SYS_getppid);
        0
    }));
    say("blocked", end);
    let end = end_of(child(|| {
        on(SYS_getppid, TRAP);
        handle(SIGSYS, SIG_IGN, 0);
        syscall(SYS_getppid);
        0
    }));
    say("ignored", end);
}

pub unsafe fn kills() {
    handle(SIGSYS, on_sys as usize, SA_SIGINFO);
    for k in [KILL_PROCESS, KILL_PROCESS | 5, KILL_THREAD, KILL_THREAD | 5, 0x0001_0000, 0x7000_0000] {
        let pid = child(|| {
            on(SYS_getppid, k);
            syscall(SYS_getppid);
            0
        });
        say("alone", end_of(pid));
    }
    let pid = child(|| {
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            on(SYS_getppid, KILL_PROCESS);
            tx.send(()).ok();
            syscall(SYS_getppid);
        });
        rx.recv().ok();
        pause()
    });
    say("all threads", end_of(pid));
    let pid = child(|| {
        thread::spawn(|| {
            on(SYS_getppid, KILL_THREAD);
            syscall(SYS_getppid);
        });
        while std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) > 1 {
            crate::kit::nap(1);
        }
        say("kill", "the others go on");
        9
    });
    say("one thread", end_of(pid));
    // The first thread goes, and the process ends when the last one does, with the first one's status.
    let pid = child(|| {
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            tx.send(()).ok();
            while std::fs::read_to_string(format!("/proc/self/task/{}/status", getpid()))
                .is_ok_and(|s| !s.contains("State:\tZ"))
            {
                crate::kit::nap(1);
            }
            syscall(SYS_exit, 3);
        });
        rx.recv().ok();
        on(SYS_getppid, KILL_THREAD);
        syscall(SYS_getppid);
        0
    });
    say("the first thread", end_of(pid));
}

pub unsafe fn chains() {
    // Each call meets all filters; the strictest wins, of equals the newest.
    let order =
        [("allow", ALLOW), ("log", LOG), ("trace", TRACE | 1), ("errno", ERRNO | 61), ("errno", ERRNO | 62)];
    for (a, first) in order {
        for (b, second) in order {
            end_of(child(|| {
                on(SYS_sched_get_priority_max, first);
                on(SYS_sched_get_priority_max, second);
                ret(&format!("{a}, then {b}"), syscall(SYS_sched_get_priority_max, SCHED_OTHER));
                0
            }));
        }
    }
    for k in [ERRNO | 5, TRAP, KILL_PROCESS] {
        let pid = child(|| {
            on(SYS_getppid, KILL_THREAD);
            on(SYS_getppid, k);
            syscall(SYS_getppid);
            0
        });
        say("killed all the same", end_of(pid));
    }
    end_of(child(|| {
        let filter = [vec![NR; 600], vec![answer(ALLOW)]].concat();
        let mut n = 0;
        while add(&filter) == 0 {
            n += 1;
        }
        say("the last one", errno_name());
        show("long ones", n);
        show("status", status_lines());
        while add(&[answer(ALLOW)]) == 0 {
            n += 1;
        }
        show("and short ones", n);
        0
    }));
    // One may forbid to add more.
    on(SYS_seccomp, ERRNO | 63);
    ret("no more", add_flags(0, &[answer(ALLOW)]));
    ret("but by prctl", on_by_prctl());
    show("status", status_lines());
}

unsafe fn on_by_prctl() -> i32 {
    let filter = [answer(ALLOW)];
    let program = sock_fprog { len: 1, filter: filter.as_ptr().cast_mut() };
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
}

pub unsafe fn inherited() {
    on(SYS_getppid, ERRNO | 44);
    end_of(child(|| {
        ret("forked", syscall(SYS_getppid));
        show("status", status_lines());
        on(SYS_getpgrp, ERRNO | 45);
        show("more", status_lines());
        end_of(child(|| {
            ret("child's child", syscall(SYS_getppid));
            ret("its own", syscall(SYS_getpgrp));
            0
        }));
        0
    }));
    ret("not the parent", (syscall(SYS_getpgrp) > 0) as i32);
    let t = thread::spawn(|| {
        ret("thread", syscall(SYS_getppid));
        on(SYS_getpgrp, ERRNO | 46);
        ret("thread's own", syscall(SYS_getpgrp));
    });
    t.join().ok();
    ret("not the first thread's", (syscall(SYS_getpgrp) > 0) as i32);
    let sh = c"/bin/sh".as_ptr();
    let script = c"grep Seccomp /proc/self/status; grep NoNew /proc/$$/status".as_ptr();
    let pid = child(|| {
        execv(sh, [sh, c"-c".as_ptr(), script, std::ptr::null()].as_ptr());
        1
    });
    say("program", end_of(pid));
    let pid = child(|| {
        on(SYS_execve, ERRNO | 13);
        execv(sh, [sh, std::ptr::null()].as_ptr());
        say("exec", errno_name());
        let mut poke = 0;
        show("vfork", end_of(crate::kit::vfork_and(&mut poke, SYS_exit, 6, 0, 0)));
        0
    });
    end_of(pid);
}

/// Calls that a sandbox might make without asking anybody.
pub unsafe fn shortcuts() {
    let mut word = 5u32;
    let half = timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut now: timespec = std::mem::zeroed();
    // Filters that let them through, but look at an argument.
    for nr in
        [SYS_futex, SYS_nanosleep, SYS_clock_nanosleep, SYS_sched_yield, SYS_clock_gettime, SYS_arch_prctl]
    {
        add(&[
            NR,
            op(0x15, 0, 3, nr as u32),
            load(16 + 5 * 8),
            unless(0x1234_5678),
            answer(KILL_PROCESS),
            answer(ALLOW),
        ]);
    }
    let mut futex = |op: i32, val: u32, t: *const timespec| syscall(SYS_futex, &raw mut word, op, val, t);
    ret("futex changed", futex(FUTEX_WAIT, 4, std::ptr::null()));
    say("futex waits", takes(20, || drop(ret("timeout", futex(FUTEX_WAIT, 5, &half)))));
    ret("futex wake", futex(FUTEX_WAKE, 1, std::ptr::null()));
    say("sleep", takes(20, || drop(ret("nanosleep", syscall(SYS_nanosleep, &half, 0)))));
    ret("clock", syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &mut now));
    ret("yield", syscall(SYS_sched_yield));
    let handles: Vec<_> = (0..3).map(|i| thread::spawn(move || i)).collect();
    show("threads", handles.into_iter().filter_map(|h| h.join().ok()).sum::<i32>());
    for (name, nr) in [
        ("futex", SYS_futex),
        ("nanosleep", SYS_nanosleep),
        ("clock_nanosleep", SYS_clock_nanosleep),
        ("sched_yield", SYS_sched_yield),
        ("clock_gettime", SYS_clock_gettime),
        ("membarrier", SYS_membarrier),
        ("arch_prctl", SYS_arch_prctl),
    ] {
        end_of(child(|| {
            on(nr, ERRNO | 39);
            ret(name, syscall(nr, 0, 0, 0, 0, 0, 0));
            0
        }));
    }
}

pub unsafe fn all_threads() {
    let (tell, told) = mpsc::channel::<()>();
    let (answer_to, answers) = mpsc::channel();
    let t = thread::spawn(move || {
        let mut seen = vec![];
        while told.recv().is_ok() {
            let r = syscall(SYS_getppid);
            seen = vec![
                if r < 0 { errno_name() } else { "ok".to_owned() },
                prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).to_string(),
            ];
            answer_to.send(seen.clone()).ok();
        }
        seen
    });
    let ask = |step: &str| {
        tell.send(()).ok();
        show(step, answers.recv().ok());
    };
    ask("before");
    on(SYS_getppid, ERRNO | 51);
    ask("own alone");
    let filter = [NR, unless(SYS_getppid as u32), answer(ERRNO | 52), answer(ALLOW)];
    ret("sync", add_flags(TSYNC, &filter));
    ask("after");
    // A thread that has gone another way.
    let (ready, is_ready) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        on(SYS_getpgrp, ERRNO | 53);
        ready.send(syscall(SYS_gettid)).ok();
        ended.recv().ok();
    });
    let tid = is_ready.recv().unwrap_or(0);
    show("in the way", add_flags(TSYNC, &filter) == tid);
    ret("in the way, errno", add_flags(TSYNC | TSYNC_ESRCH, &filter));
    show("none was added", status_lines());
    end.send(()).ok();
    other.join().ok();
    ret("out of the way", add_flags(TSYNC | TSYNC_ESRCH, &filter));
    drop(tell);
    t.join().ok();
    let t = thread::spawn(|| show("born with", status_lines()));
    t.join().ok();
}
