//! Terminals and processes: controlling terminals, foreground and background, signals from the keyboard, hang-up
//! (credentials(7), tty_ioctl(4)).

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{c, child, end_of, get_fd, handle, name, nap, pipe, put_fd, ret, say, show, status_text, z};
use crate::terminals::{drain, name_of, nonblocking, pair, set_modes, settle, slave_of};

const TIOCSIG: u64 = 0x4004_5436;

static LAST: AtomicI32 = AtomicI32::new(0);

unsafe extern "C" fn note(signal: i32) {
    LAST.store(LAST.load(SeqCst) * 100 + signal, SeqCst);
}

/// Runs `f` as the leader of a session of its own.
unsafe fn session(f: impl FnOnce() -> i32) -> i32 {
    child(|| {
        setsid();
        f()
    })
}

/// A leader with this terminal.
unsafe fn on(slave: i32, f: impl FnOnce() -> i32) -> i32 {
    session(|| {
        if ioctl(slave, TIOCSCTTY, 0) != 0 {
            return 99;
        }
        f()
    })
}

unsafe fn status_of(pid: i32) -> String {
    let mut status = 0;
    waitpid(pid, &mut status, WUNTRACED | WCONTINUED);
    status_text(status)
}

/// `tty_nr` (whether it is that of a pts) and `tpgid` (in words) of /proc/self/stat.
fn proc_stat() -> String {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<i32>().ok()).unwrap_or(-99);
    let group = match number(5) {
        n if n == unsafe { getpgrp() } => "own".to_owned(),
        n if n > 0 => "another".to_owned(),
        n => n.to_string(),
    };
    format!("tty {} group {group}", number(4) >> 8)
}

pub unsafe fn acquiring() {
    let (master, slave) = pair();
    let path = name_of(master);
    say(
        "end",
        end_of(session(|| {
            say("none", proc_stat());
            ret("pgrp of it", tcgetpgrp(slave));
            ret("sid of it", tcgetsid(slave));
            ret("give up what one has not", ioctl(slave, TIOCNOTTY));
            ret("/dev/tty", crate::kit::open("/dev/tty", O_RDWR));
            let fd = open(c(&path).as_ptr(), O_RDWR | O_NOCTTY);
            say("NOCTTY", proc_stat());
            close(fd);
            let fd = open(c(&path).as_ptr(), O_WRONLY);
            say("write only", proc_stat());
            close(fd);
            let fd = open(c(&path).as_ptr(), O_RDWR);
            say("opened", proc_stat());
            show("pgrp", tcgetpgrp(fd) == getpgrp());
            show("sid", tcgetsid(fd) == getpid());
            let mut of_master = 0;
            ret("by the master", ioctl(master, TIOCGPGRP, &mut of_master));
            show("same", of_master == getpgrp());
            ret("again", ioctl(fd, TIOCSCTTY, 0));
            let other = pair();
            ret("a second one", ioctl(other.1, TIOCSCTTY, 0));
            ret("pgrp of the second", tcgetpgrp(other.1));
            let tty = crate::kit::open("/dev/tty", O_RDWR);
            show("/dev/tty", tty >= 0);
            show("its name", std::ffi::CStr::from_ptr(ttyname(tty)).to_str() == Ok("/dev/tty"));
            let mut s: stat = z();
            fstat(tty, &mut s);
            show("its number", (major(s.st_rdev), minor(s.st_rdev)));
            put_fd(tty, "by tty");
            nap(20);
            say("shown", drain(master, 100));
            let pid = child(|| {
                say("inherited", proc_stat());
                ret("no leader", ioctl(fd, TIOCSCTTY, 0));
                setsid();
                say("a new session", proc_stat());
                ret("that of another session", ioctl(fd, TIOCSCTTY, 0));
                ret("pgrp", tcgetpgrp(fd));
                ret("/dev/tty", crate::kit::open("/dev/tty", O_RDWR));
                0
            });
            say("child", end_of(pid));
            let pid = child(|| {
                ret("given up by a member", ioctl(fd, TIOCNOTTY));
                say("then", proc_stat());
                0
            });
            say("child", end_of(pid));
            say("the leader keeps it", proc_stat());
            handle(SIGHUP, note as usize, 0);
            handle(SIGCONT, note as usize, 0);
            ret("given up", ioctl(fd, TIOCNOTTY));
            show("signals", LAST.swap(0, SeqCst));
            say("then", proc_stat());
            ret("free for others", ioctl(other.1, TIOCSCTTY, 0));
            0
        })),
    );
    // Stolen by an administrator, in a way that any other is refused.
    let (r, w) = pipe();
    let (back_r, back_w) = pipe();
    let owner = on(slave, || {
        put_fd(w, "x");
        get_fd(back_r, 1);
        say("robbed", proc_stat());
        0
    });
    get_fd(r, 1);
    let thief = session(|| {
        ret("not stolen", ioctl(slave, TIOCSCTTY, 0));
        if getuid() == 0 {
            ret("stolen", ioctl(slave, TIOCSCTTY, 1));
            say("thief", proc_stat());
        }
        0
    });
    say("thief", end_of(thief));
    put_fd(back_w, "x");
    say("owner", end_of(owner));
}

pub unsafe fn keyboard_signals() {
    let (master, slave) = pair();
    for (key, flags) in [("\x03", 0), ("\x1c", 0), ("\x1a", 0), ("\x03", NOFLSH)] {
        set_modes(slave, |t| t.c_lflag = t.c_lflag & !NOFLSH | flags);
        let pid = on(slave, || {
            setrlimit(RLIMIT_CORE, &rlimit { rlim_cur: 0, rlim_max: 0 });
            for s in [SIGINT, SIGQUIT, SIGTSTP] {
                handle(s, note as usize, 0);
            }
            let mut info: siginfo_t = z();
            let set = crate::kit::set_of(&[SIGINT, SIGQUIT, SIGTSTP]);
            sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
            put_fd(master, "typed before");
            settle(slave);
            put_fd(master, key);
            settle(slave);
            ret("signal", sigwaitinfo(&set, &mut info));
            show("code", (info.si_code, info.si_pid()));
            sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
            put_fd(master, " after\n");
            settle(slave);
            say("left", drain(slave, 100));
            say("shown", drain(master, 100));
            // In a read: EINTR, or the read goes on under SA_RESTART.
            let me = getpid();
            let typist = child(|| {
                setpgid(0, 0);
                nap(60);
                put_fd(master, key);
                nap(60);
                put_fd(master, "line\n");
                show("reader lives", kill(me, 0));
                0
            });
            say("interrupted", get_fd(slave, 100));
            show("handler", LAST.swap(0, SeqCst));
            end_of(typist);
            drain(slave, 100);
            handle(SIGINT, note as usize, SA_RESTART);
            handle(SIGQUIT, note as usize, SA_RESTART);
            handle(SIGTSTP, note as usize, SA_RESTART);
            let typist = child(|| {
                setpgid(0, 0);
                nap(60);
                put_fd(master, key);
                nap(60);
                put_fd(master, "line\n");
                0
            });
            say("restarted", get_fd(slave, 100));
            show("handler", LAST.swap(0, SeqCst));
            end_of(typist);
            drain(master, 1000);
            0
        });
        say("end", end_of(pid));
        drain(master, 1000);
        tcflush(slave, TCIOFLUSH);
    }
    let pid = on(slave, || {
        let killed = child(|| {
            setpgid(0, 0);
            pause();
            0
        });
        setpgid(killed, killed);
        ret("foreground", tcsetpgrp(slave, killed));
        nap(30);
        put_fd(master, "\x03");
        settle(slave);
        say("only the foreground", end_of(killed));
        handle(SIGTTOU, SIG_IGN, 0);
        ret("own again", tcsetpgrp(slave, getpgrp()));
        handle(SIGINT, note as usize, 0);
        ret("signal of the master", ioctl(master, TIOCSIG, SIGINT));
        show("handler", LAST.swap(0, SeqCst));
        ret("only these", ioctl(master, TIOCSIG, SIGKILL));
        ret("not by the slave", ioctl(slave, TIOCSIG, SIGINT));
        set_modes(slave, |t| t.c_cc[VINTR] = 0);
        put_fd(master, "\x03\0\n");
        settle(slave);
        show("switched off", LAST.swap(0, SeqCst));
        say("data", drain(slave, 100));
        set_modes(slave, |t| t.c_lflag &= !ISIG);
        put_fd(master, "\x1c\n");
        settle(slave);
        say("no signals", drain(slave, 100));
        0
    });
    say("end", end_of(pid));
}

pub unsafe fn window_sizes() {
    let (master, slave) = pair();
    let size = |rows| winsize { ws_row: rows, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pid = on(slave, || {
        handle(SIGWINCH, note as usize, SA_RESTART);
        ret("by the master", ioctl(master, TIOCSWINSZ, &size(10)));
        show("told", LAST.swap(0, SeqCst));
        ret("the same again", ioctl(master, TIOCSWINSZ, &size(10)));
        show("not told", LAST.swap(0, SeqCst));
        ret("by the slave", ioctl(slave, TIOCSWINSZ, &size(11)));
        show("told", LAST.swap(0, SeqCst));
        let pid = child(|| {
            setpgid(0, 0);
            ret("in the background", ioctl(slave, TIOCSWINSZ, &size(12)));
            show("not told", LAST.swap(0, SeqCst));
            0
        });
        say("child", end_of(pid));
        show("told", LAST.swap(0, SeqCst));
        0
    });
    say("end", end_of(pid));
}

pub unsafe fn background() {
    let (master, slave) = pair();
    let pid = on(slave, || {
        let in_background = |step: &str, f: &dyn Fn() -> i32| {
            let pid = child(|| {
                setpgid(0, 0);
                f()
            });
            say(step, status_of(pid));
            kill(-pid, SIGKILL);
            say("then", end_of(pid));
        };
        in_background("read", &|| get_fd(slave, 10).len() as i32);
        in_background("read of /dev/tty", &|| get_fd(crate::kit::open("/dev/tty", O_RDWR), 10).len() as i32);
        in_background("nonblocking read", &|| {
            nonblocking(slave, true);
            get_fd(slave, 10).len() as i32
        });
        nonblocking(slave, false);
        in_background("read with SIGTTIN ignored", &|| {
            handle(SIGTTIN, SIG_IGN, 0);
            say("read", get_fd(slave, 10));
            0
        });
        in_background("read with SIGTTIN blocked", &|| {
            sigprocmask(SIG_BLOCK, &crate::kit::set_of(&[SIGTTIN]), std::ptr::null_mut());
            say("read", get_fd(slave, 10));
            0
        });
        in_background("read with a handler", &|| {
            handle(SIGTTIN, note as usize, 0);
            say("read", get_fd(slave, 10));
            show("handler", LAST.swap(0, SeqCst));
            0
        });
        in_background("write", &|| put_fd(slave, "x") as i32);
        in_background("modes", &|| tcsetattr(slave, TCSANOW, &crate::terminals::modes(slave)));
        in_background("flush", &|| tcflush(slave, TCIFLUSH));
        in_background("flow", &|| tcflow(slave, TCOON));
        in_background("drain", &|| tcdrain(slave));
        in_background("foreground", &|| tcsetpgrp(slave, getpgrp()));
        in_background("modes by the master", &|| tcsetattr(master, TCSANOW, &crate::terminals::modes(slave)));
        in_background("flush by the master", &|| tcflush(master, TCIFLUSH));
        in_background("modes with SIGTTOU ignored", &|| {
            handle(SIGTTOU, SIG_IGN, 0);
            tcsetattr(slave, TCSANOW, &crate::terminals::modes(slave))
        });
        in_background("modes with SIGTTOU blocked", &|| {
            sigprocmask(SIG_BLOCK, &crate::kit::set_of(&[SIGTTOU]), std::ptr::null_mut());
            tcsetattr(slave, TCSANOW, &crate::terminals::modes(slave))
        });
        in_background("get modes", &|| tcgetattr(slave, &mut z()));
        set_modes(slave, |t| t.c_lflag |= TOSTOP);
        in_background("write under TOSTOP", &|| put_fd(slave, "x") as i32);
        in_background("ignored", &|| {
            handle(SIGTTOU, SIG_IGN, 0);
            put_fd(slave, "x") as i32
        });
        set_modes(slave, |t| t.c_lflag &= !TOSTOP);
        // Stopped for reading, brought to the foreground, continued.
        let pid = child(|| {
            setpgid(0, 0);
            get_fd(slave, 10).len() as i32
        });
        say("stopped", status_of(pid));
        ret("foreground", tcsetpgrp(slave, pid));
        put_fd(master, "line\n");
        settle_ignoring(slave);
        kill(-pid, SIGCONT);
        say("continued", status_of(pid));
        say("end", end_of(pid));
        handle(SIGTTOU, SIG_IGN, 0);
        tcsetpgrp(slave, getpgrp());
        // Ctrl-Z, then fg.
        let pid = child(|| {
            setpgid(0, 0);
            handle(SIGTTOU, SIG_IGN, 0);
            tcsetpgrp(slave, getpgrp());
            put_fd(slave, "ready");
            get_fd(slave, 10).len() as i32
        });
        while !drain(master, 100).contains("ready") {
            nap(5);
        }
        put_fd(master, "\x1a");
        say("Ctrl-Z", status_of(pid));
        kill(-pid, SIGCONT);
        say("goes on", status_of(pid));
        put_fd(master, "four\n");
        say("end", end_of(pid));
        tcsetpgrp(slave, getpgrp());
        ret("no such group", tcsetpgrp(slave, 99_999));
        ret("negative", tcsetpgrp(slave, -5));
        ret("of another session", {
            let pid = session(|| {
                nap(100);
                0
            });
            nap(30);
            let r = tcsetpgrp(slave, pid);
            kill(pid, SIGKILL);
            end_of(pid);
            r
        });
        ret("bad pointer", ioctl(slave, TIOCSPGRP, 8));
        0
    });
    say("end", end_of(pid));
}

/// [`settle`] from the background.
unsafe fn settle_ignoring(slave: i32) {
    let old = signal(SIGTTOU, SIG_IGN);
    settle(slave);
    signal(SIGTTOU, old);
}

pub unsafe fn orphans() {
    let (_master, slave) = pair();
    // A background group whose last tie to the session ends while one of it is stopped: SIGHUP, SIGCONT.
    let (r, w) = pipe();
    let (go_r, go_w) = pipe();
    let pid = on(slave, || {
        let middle = child(|| {
            let job = child(|| {
                setpgid(0, 0);
                handle(SIGHUP, note as usize, 0);
                handle(SIGCONT, note as usize, 0);
                put_fd(w, "s");
                raise(SIGSTOP);
                nap(100);
                say("after its parent's end", LAST.swap(0, SeqCst));
                handle(SIGTTIN, SIG_DFL, 0);
                say("orphans do not stop: read", get_fd(slave, 10));
                say("orphans do not stop: modes", {
                    let r = tcsetattr(slave, TCSANOW, &crate::terminals::modes(slave));
                    if r == 0 {
                        "ok".to_owned()
                    } else {
                        name(*__errno_location())
                    }
                });
                handle(SIGTSTP, SIG_DFL, 0);
                ret("SIGTSTP", raise(SIGTSTP));
                put_fd(w, "e");
                0
            });
            let mut status = 0;
            waitpid(job, &mut status, WUNTRACED);
            get_fd(go_r, 1);
            0
        });
        get_fd(r, 1);
        put_fd(go_w, "g");
        say("middle", end_of(middle));
        get_fd(r, 1);
        0
    });
    say("end", end_of(pid));
}

pub unsafe fn hang_ups() {
    // The master goes: the leader hears of it, the rest does not.
    let (master, slave) = pair();
    let (r, w) = pipe();
    let leader = session(|| {
        ioctl(slave, TIOCSCTTY, 0);
        close(master);
        handle(SIGHUP, note as usize, 0);
        handle(SIGCONT, note as usize, 0);
        let member = child(|| {
            put_fd(w, "m");
            nap(200);
            show("member", LAST.load(SeqCst));
            say("member has", proc_stat());
            0
        });
        let mut p = pollfd { fd: slave, events: POLLIN, revents: 0 };
        put_fd(w, "r");
        poll(&mut p, 1, 5000);
        nap(50);
        show("leader", LAST.swap(0, SeqCst));
        say("leader has", proc_stat());
        say("read", get_fd(slave, 10));
        ret("write", put_fd(slave, "x"));
        ret("/dev/tty", crate::kit::open("/dev/tty", O_RDWR));
        say("member", end_of(member));
        0
    });
    get_fd(r, 1);
    get_fd(r, 1);
    nap(50);
    close(master);
    say("end", end_of(leader));
    close(slave);
    // By default the leader dies of it.
    let (master, slave) = pair();
    let leader = session(|| {
        ioctl(slave, TIOCSCTTY, 0);
        close(master);
        put_fd(w, "r");
        pause();
        0
    });
    get_fd(r, 1);
    close(master);
    say("killed", end_of(leader));
    close(slave);
    // The leader goes: the foreground gets SIGHUP, and the terminal is free.
    let (master, slave) = pair();
    let path = name_of(master);
    let leader = on(slave, || {
        let foreground = child(|| {
            setpgid(0, 0);
            handle(SIGHUP, note as usize, 0);
            handle(SIGTTOU, SIG_IGN, 0);
            tcsetpgrp(slave, getpgrp());
            put_fd(w, "f");
            for _ in 0..400 {
                if LAST.load(SeqCst) != 0 {
                    break;
                }
                nap(5);
            }
            nap(20);
            show("foreground", LAST.load(SeqCst));
            say("has", proc_stat());
            ret("write", put_fd(slave, "x"));
            put_fd(w, "d");
            0
        });
        get_fd(r, 1);
        let _ = foreground;
        0
    });
    say("leader", end_of(leader));
    get_fd(r, 1);
    let next = session(|| {
        let fd = open(c(&path).as_ptr(), O_RDWR);
        show("opened", fd >= 0);
        say("free for the next", proc_stat());
        0
    });
    say("next", end_of(next));
    close(slave);
    // A reader that waits when the line goes.
    let (master, slave) = pair();
    let reader = child(|| {
        close(master);
        put_fd(w, "r");
        let text = get_fd(slave, 10);
        // Which of the two it sees is a matter of time on Linux.
        show("woken", text.is_empty() || text == "EIO");
        0
    });
    get_fd(r, 1);
    nap(50);
    close(master);
    say("reader", end_of(reader));
    // vhangup(2): dead for those who have it open, not for those who come.
    let (master, slave) = pair();
    let path = name_of(master);
    let pid = on(slave, || {
        handle(SIGHUP, note as usize, 0);
        handle(SIGCONT, note as usize, 0);
        if getuid() != 0 {
            return 0;
        }
        ret("vhangup", vhangup());
        show("signals", LAST.swap(0, SeqCst));
        say("has", proc_stat());
        say("read", get_fd(slave, 10));
        let again = open(c(&path).as_ptr(), O_RDWR);
        show("opened again", again >= 0);
        say("has", proc_stat());
        ret("alive", put_fd(again, "alive") as i32);
        nap(20);
        0
    });
    say("end", end_of(pid));
    drain(master, 100);
    let _ = slave_of(master);
}

/// Two who read one terminal; one who waits for it in select while another types.
pub unsafe fn sharing() {
    let (master, slave) = pair();
    let (r, w) = pipe();
    let readers: Vec<i32> = (0..2)
        .map(|_| {
            child(|| {
                put_fd(w, &get_fd(slave, 10));
                0
            })
        })
        .collect();
    nap(50);
    put_fd(master, "a\n");
    say("first", get_fd(r, 10));
    put_fd(master, "b\n");
    say("second", get_fd(r, 10));
    for pid in readers {
        say("end", end_of(pid));
    }
    drain(master, 100);
    let pid = child(|| {
        nap(50);
        put_fd(master, "late\n");
        0
    });
    let mut set: fd_set = z();
    FD_SET(slave, &mut set);
    let mut limit = timeval { tv_sec: 5, tv_usec: 0 };
    ret("select", select(slave + 1, &mut set, std::ptr::null_mut(), std::ptr::null_mut(), &mut limit));
    say("typed", get_fd(slave, 10));
    say("end", end_of(pid));
    // Between terminals: splice and sendfile go through them as through any stream.
    let (in_r, in_w) = pipe();
    put_fd(in_w, "spliced\n");
    ret("splice", splice(in_r, std::ptr::null_mut(), slave, std::ptr::null_mut(), 100, 0));
    nap(20);
    drain(master, 100);
}
