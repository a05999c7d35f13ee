//! Signals, first part: handlers, masks, interruption, restarting.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, errno_name, handle, nap, pipe, put_fd, ret, say, set_of, show, takes, z};

static COUNT: AtomicI32 = AtomicI32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);

extern "C" fn count(signal: i32) {
    COUNT.fetch_add(1, SeqCst);
    LAST.store(signal, SeqCst);
}
fn counted() -> i32 {
    COUNT.swap(0, SeqCst)
}

pub unsafe fn actions() {
    let mut old: sigaction = z();
    ret("default", sigaction(SIGUSR1, std::ptr::null(), &mut old));
    show("handler", old.sa_sigaction);
    let mut new: sigaction = z();
    new.sa_sigaction = count as usize;
    new.sa_flags = SA_RESTART | SA_NODEFER;
    new.sa_mask = set_of(&[SIGUSR2, SIGKILL]);
    ret("set", sigaction(SIGUSR1, &new, &mut old));
    ret("read back", sigaction(SIGUSR1, std::ptr::null(), &mut old));
    show("same handler", old.sa_sigaction == count as usize);
    say("flags", format!("{:#x}", old.sa_flags & !0x0400_0000));
    show("mask has USR2", sigismember(&old.sa_mask, SIGUSR2));
    show("mask has KILL", sigismember(&old.sa_mask, SIGKILL));
    ret("raise", raise(SIGUSR1));
    show("ran", counted());
    show("which", LAST.load(SeqCst));
    ret("KILL", sigaction(SIGKILL, &new, std::ptr::null_mut()));
    ret("STOP", sigaction(SIGSTOP, &new, std::ptr::null_mut()));
    ret("KILL asked", sigaction(SIGKILL, std::ptr::null(), &mut old));
    ret("65", sigaction(65, &new, std::ptr::null_mut()));
    ret("0", sigaction(0, &new, std::ptr::null_mut()));
    ret("raw size", syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4));
    handle(SIGUSR1, SIG_IGN, 0);
    raise(SIGUSR1);
    show("ignored", counted());
    handle(SIGRTMAX(), count as usize, 0);
    raise(SIGRTMAX());
    show("real-time", counted());
}

pub unsafe fn masks() {
    handle(SIGUSR1, count as usize, 0);
    handle(SIGUSR2, count as usize, 0);
    let set = set_of(&[SIGUSR1]);
    let mut old = z();
    ret("block", sigprocmask(SIG_BLOCK, &set, &mut old));
    raise(SIGUSR1);
    raise(SIGUSR1);
    show("held back", counted());
    let mut pending = z();
    ret("sigpending", sigpending(&mut pending));
    show("pending", sigismember(&pending, SIGUSR1));
    show("not pending", sigismember(&pending, SIGUSR2));
    ret("unblock", sigprocmask(SIG_UNBLOCK, &set, &mut old));
    show("was blocked", sigismember(&old, SIGUSR1));
    show("once for two", counted());
    let all = {
        let mut s = z();
        sigfillset(&mut s);
        s
    };
    ret("block all", sigprocmask(SIG_SETMASK, &all, std::ptr::null_mut()));
    sigprocmask(SIG_SETMASK, std::ptr::null(), &mut old);
    show("KILL cannot be blocked", sigismember(&old, SIGKILL));
    ret("bad how", sigprocmask(77, &set, std::ptr::null_mut()));
    ret("raw size", syscall(SYS_rt_sigprocmask, 0, &set, 0, 4));
    raise(SIGUSR2);
    let pid = child(|| {
        let mut mine = z();
        sigpending(&mut mine);
        show("child has no pending", sigismember(&mine, SIGUSR2));
        sigprocmask(SIG_SETMASK, std::ptr::null(), &mut mine);
        show("child inherits the mask", sigismember(&mine, SIGUSR2));
        0
    });
    end_of(pid);
    handle(SIGUSR2, SIG_IGN, 0);
    sigpending(&mut pending);
    show("ignoring drops it", sigismember(&pending, SIGUSR2));
}

static mut ORDER: [i32; 8] = [0; 8];
extern "C" fn nested(signal: i32) {
    let at = COUNT.fetch_add(1, SeqCst) as usize;
    unsafe {
        ORDER[at] = signal;
        if signal == SIGUSR1 {
            raise(SIGUSR1); // waits until we return
            raise(SIGUSR2); // in the action's mask or not
        }
        ORDER[COUNT.fetch_add(1, SeqCst) as usize] = -signal;
        if at > 0 && signal == SIGUSR1 {
            handle(SIGUSR1, SIG_IGN, 0);
        }
    }
}

pub unsafe fn nesting() {
    let mut action: sigaction = z();
    action.sa_sigaction = nested as usize;
    sigaction(SIGUSR2, &action, std::ptr::null_mut());
    action.sa_mask = set_of(&[SIGUSR2]);
    sigaction(SIGUSR1, &action, std::ptr::null_mut());
    let block = set_of(&[SIGUSR1, SIGUSR2]);
    sigprocmask(SIG_BLOCK, &block, std::ptr::null_mut());
    raise(SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &block, std::ptr::null_mut());
    show("first", (&raw const ORDER).read());
    ORDER = [0; 8];
    COUNT.store(0, SeqCst);
    action.sa_mask = set_of(&[]);
    sigaction(SIGUSR1, &action, std::ptr::null_mut());
    let pid = child(|| {
        let mut plain: sigaction = z();
        plain.sa_sigaction = one_level as usize;
        sigaction(SIGUSR1, &plain, std::ptr::null_mut());
        raise(SIGUSR1);
        show("order", (&raw const ORDER).read());
        0
    });
    end_of(pid);
    let mut mask = z();
    sigprocmask(SIG_SETMASK, std::ptr::null(), &mut mask);
    show("mask is back", sigismember(&mask, SIGUSR1));
}

extern "C" fn one_level(_: i32) {
    unsafe {
        ORDER[COUNT.fetch_add(1, SeqCst) as usize] = 1;
        raise(SIGUSR2);
        ORDER[COUNT.fetch_add(1, SeqCst) as usize] = 2;
    }
}

/// A child that signals the parent after 60 ms, `times` times.
unsafe fn signaller(signal: i32) -> i32 {
    let parent = getpid();
    child(|| {
        nap(60);
        kill(parent, signal);
        nap(60);
        0
    })
}

pub unsafe fn interrupts() {
    handle(SIGUSR1, count as usize, 0);
    let (r, w) = pipe();
    let mut b = [0u8; 4];
    let pid = signaller(SIGUSR1);
    ret("read", read(r, b.as_mut_ptr().cast(), 4));
    show("handler", counted());
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let mut left: timespec = z();
    let ask = timespec { tv_sec: 5, tv_nsec: 0 };
    ret("nanosleep", nanosleep(&ask, &mut left));
    show("rest", left.tv_sec);
    end_of(pid);
    let pid = signaller(SIGUSR1);
    ret("pause", pause());
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let mut p = pollfd { fd: r, events: POLLIN, revents: 0 };
    ret("poll", poll(&mut p, 1, 5000));
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let e = epoll_create1(0);
    let mut event: epoll_event = z();
    ret("epoll_wait", epoll_wait(e, &mut event, 1, 5000));
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let mut tv = timeval { tv_sec: 5, tv_usec: 0 };
    ret("select", select(0, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), &mut tv));
    end_of(pid);
    let sleeper = child(|| {
        nap(400);
        0
    });
    let pid = signaller(SIGUSR1);
    let mut status = 0;
    ret("waitpid", waitpid(sleeper, &mut status, 0));
    end_of(pid);
    end_of(sleeper);
    let full = vec![b'x'; 65536];
    write(w, full.as_ptr().cast(), 65536);
    let pid = signaller(SIGUSR1);
    ret("write to a full pipe", write(w, full.as_ptr().cast(), 10));
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let word = 0u32;
    ret("futex", syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ask, 0, 0));
    end_of(pid);
    show("all ran", counted());
}

pub unsafe fn restarts() {
    handle(SIGUSR1, count as usize, SA_RESTART);
    let (r, w) = pipe();
    let mut b = [0u8; 4];
    let parent = getpid();
    let pid = child(|| {
        nap(60);
        kill(parent, SIGUSR1);
        nap(60);
        put_fd(w, "late");
        0
    });
    ret("read goes on", read(r, b.as_mut_ptr().cast(), 4));
    show("handler", counted());
    end_of(pid);
    let sleeper = child(|| {
        nap(200);
        3
    });
    let pid = signaller(SIGUSR1);
    say("waitpid goes on", end_of(sleeper));
    show("handler", counted());
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let mut p = pollfd { fd: r, events: POLLIN, revents: 0 };
    ret("poll does not", poll(&mut p, 1, 5000));
    end_of(pid);
    let pid = signaller(SIGUSR1);
    let ask = timespec { tv_sec: 5, tv_nsec: 0 };
    ret("nanosleep does not", nanosleep(&ask, std::ptr::null_mut()));
    end_of(pid);
    let pid = signaller(SIGUSR1);
    ret("pause does not", pause());
    end_of(pid);
    handle(SIGUSR2, SIG_IGN, 0);
    let pid = signaller(SIGUSR2);
    let took = takes(200, || {
        let ask = timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        ret("nanosleep under an ignored one", nanosleep(&ask, std::ptr::null_mut()));
    });
    say("slept", took);
    end_of(pid);
    let (a, mut buffer) = (pipe(), [0u8; 1]);
    let pid = signaller(SIGUSR2);
    let writer = child(|| {
        nap(150);
        put_fd(a.1, "x");
        0
    });
    ret("read under an ignored one", read(a.0, buffer.as_mut_ptr().cast(), 1));
    end_of(pid);
    end_of(writer);
    // A stop and continue during a wait does not end it.
    let stopped = child(|| {
        let ask = timespec { tv_sec: 0, tv_nsec: 150_000_000 };
        i32::from(nanosleep(&ask, std::ptr::null_mut()) != 0)
    });
    nap(30);
    kill(stopped, SIGSTOP);
    nap(30);
    kill(stopped, SIGCONT);
    say("sleep across a stop", end_of(stopped));
}

extern "C" fn again(_: i32) {
    if COUNT.fetch_add(1, SeqCst) < 2 {
        unsafe { raise(SIGUSR1) };
        LAST.fetch_add(COUNT.load(SeqCst) * 10, SeqCst);
    }
}

pub unsafe fn nodefer() {
    LAST.store(0, SeqCst);
    handle(SIGUSR1, again as usize, SA_NODEFER);
    raise(SIGUSR1);
    show("nested", (counted(), LAST.swap(0, SeqCst)));
    handle(SIGUSR1, again as usize, 0);
    raise(SIGUSR1);
    show("deferred", (counted(), LAST.swap(0, SeqCst)));
}

pub unsafe fn resethand() {
    handle(SIGUSR1, count as usize, SA_RESETHAND);
    raise(SIGUSR1);
    show("once", counted());
    let mut old: sigaction = z();
    sigaction(SIGUSR1, std::ptr::null(), &mut old);
    show("default again", old.sa_sigaction == SIG_DFL);
    let pid = child(|| {
        raise(SIGUSR1);
        0
    });
    say("second", end_of(pid));
}

pub unsafe fn suspend() {
    handle(SIGUSR1, count as usize, 0);
    handle(SIGUSR2, count as usize, 0);
    let block = set_of(&[SIGUSR1, SIGUSR2]);
    sigprocmask(SIG_BLOCK, &block, std::ptr::null_mut());
    raise(SIGUSR1);
    let only = set_of(&[SIGUSR2]);
    ret("sigsuspend takes the pending one", sigsuspend(&only));
    show("ran", (counted(), LAST.load(SeqCst)));
    let pid = signaller(SIGUSR1);
    ret("sigsuspend waits", sigsuspend(&only));
    show("ran", (counted(), LAST.load(SeqCst)));
    end_of(pid);
    let mut mask = z();
    sigprocmask(SIG_SETMASK, std::ptr::null(), &mut mask);
    show("mask is back", (sigismember(&mask, SIGUSR1), sigismember(&mask, SIGUSR2)));
    raise(SIGUSR2);
    let zero = timespec { tv_sec: 0, tv_nsec: 0 };
    let none = set_of(&[]);
    ret("ppoll with an open mask", ppoll(std::ptr::null_mut(), 0, &zero, &none));
    let long = timespec { tv_sec: 5, tv_nsec: 0 };
    ret("ppoll with an open mask, waiting", ppoll(std::ptr::null_mut(), 0, &long, &none));
    show("ran", counted());
}

pub unsafe fn timedwait() {
    let set = set_of(&[SIGUSR1, SIGRTMIN()]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let mut info: siginfo_t = z();
    let short = timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    ret("nothing", sigtimedwait(&set, &mut info, &short));
    let zero = timespec { tv_sec: 0, tv_nsec: 0 };
    ret("nothing, at once", sigtimedwait(&set, &mut info, &zero));
    let bad = timespec { tv_sec: 0, tv_nsec: -1 };
    ret("bad time", sigtimedwait(&set, &mut info, &bad));
    raise(SIGUSR1);
    ret("pending", sigtimedwait(&set, &mut info, &short));
    show("code", info.si_code == SI_TKILL);
    let value = sigval { sival_ptr: 1234 as *mut c_void };
    for _ in 0..3 {
        sigqueue(getpid(), SIGRTMIN(), value);
    }
    let mut n = 0;
    while sigtimedwait(&set, &mut info, &zero) == SIGRTMIN() {
        n += 1;
        show("value", info.si_value().sival_ptr as usize);
        show("code", info.si_code);
    }
    ret("queued", n);
    let pid = signaller(SIGUSR1);
    ret("waits", sigwaitinfo(&set, &mut info));
    show("sender is the child", (info.si_pid() == pid, info.si_code, info.si_uid() == getuid()));
    end_of(pid);
    handle(SIGUSR2, count as usize, 0);
    let pid = signaller(SIGUSR2);
    ret("another signal interrupts", sigwaitinfo(&set, &mut info));
    end_of(pid);
    say("errno", errno_name());
}
