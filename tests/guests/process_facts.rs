//! Processes, third part: descriptors of processes, families, what prctl(2), set-user-ID and personality(2) do.

use std::ffi::CString;

use libc::*;

use crate::kit::{
    c, child, end_of, errno_name, get, get_fd, nap, ok, open, pipe, put_fd, rest, ret, say, set_of, show, z,
};
use crate::processes_more::CloneArgs;

fn me() -> CString {
    c(&std::env::current_exe().unwrap_or_default().to_string_lossy())
}

unsafe fn waited(step: &str, kind: idtype_t, id: i32, options: i32) {
    let mut info: siginfo_t = z();
    info.si_signo = 99;
    let r = waitid(kind, id as id_t, &mut info, options);
    if r < 0 {
        return say(step, errno_name());
    }
    say(step, format!("signal {} code {} status {}", info.si_signo, info.si_code, info.si_status()));
}

pub unsafe fn pidfds() {
    ret("of nobody", syscall(SYS_pidfd_open, 99_999_999, 0));
    ret("of 0", syscall(SYS_pidfd_open, 0, 0));
    ret("negative", syscall(SYS_pidfd_open, -5, 0));
    ret("bad flags", syscall(SYS_pidfd_open, getpid(), 1));
    let (r, w) = pipe();
    let pid = child(|| {
        close(w);
        get_fd(r, 1);
        7
    });
    let fd = syscall(SYS_pidfd_open, pid, O_NONBLOCK) as i32;
    show("closes on exec", fcntl(fd, F_GETFD));
    show("flags", fcntl(fd, F_GETFL) & O_NONBLOCK != 0);
    let info = get(&format!("/proc/self/fdinfo/{fd}"));
    show("knows whom", info.lines().any(|l| l == format!("Pid:\t{pid}")));
    let mut byte = 0u8;
    ret("read", read(fd, (&raw mut byte).cast(), 1));
    ret("write", write(fd, (&raw const byte).cast(), 1));
    let mut p = pollfd { fd, events: POLLIN, revents: 0 };
    ret("runs", poll(&mut p, 1, 0));
    let mut seen: siginfo_t = z();
    ret("wait would block", waitid(P_PIDFD, fd as id_t, &mut seen, WEXITED));
    ret("signal 0", syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
    ret("bad signal", syscall(SYS_pidfd_send_signal, fd, 65, 0, 0));
    ret("bad flags", syscall(SYS_pidfd_send_signal, fd, 0, 0, 8));
    ret("two scopes", syscall(SYS_pidfd_send_signal, fd, 0, 0, 3));
    ret("to its thread", syscall(SYS_pidfd_send_signal, fd, 0, 0, 1));
    ret("to its group", syscall(SYS_pidfd_send_signal, fd, 0, 0, 4));
    ret("no pidfd", syscall(SYS_pidfd_send_signal, r, 0, 0, 0));
    ret("bad descriptor", syscall(SYS_pidfd_send_signal, 77, 0, 0, 0));
    let mut given: siginfo_t = z();
    given.si_signo = SIGUSR2;
    ret("another signal in the info", syscall(SYS_pidfd_send_signal, fd, SIGUSR1, &given, 0));
    given.si_signo = SIGUSR1;
    ret("as if from the kernel", syscall(SYS_pidfd_send_signal, fd, SIGUSR1, &given, 0));
    // Descriptors of another process.
    ret("getfd of none", syscall(SYS_pidfd_getfd, fd, 77, 0));
    ret("getfd flags", syscall(SYS_pidfd_getfd, fd, r, 1));
    let copy = syscall(SYS_pidfd_getfd, fd, r, 0) as i32;
    show("getfd closes on exec", fcntl(copy, F_GETFD));
    put_fd(w, "y");
    close(w);
    ret("ends", poll(&mut p, 1, 5000));
    show("events", p.revents);
    ret("getfd of a zombie", syscall(SYS_pidfd_getfd, fd, r, 0));
    ret("signal to a zombie", syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
    ret("waits", waitid(P_PIDFD, fd as id_t, &mut seen, WEXITED | WNOWAIT));
    ret("waits", waitid(P_PIDFD, fd as id_t, &mut seen, WEXITED));
    show("status", (seen.si_status(), seen.si_code));
    ret("once", waitid(P_PIDFD, fd as id_t, &mut seen, WEXITED));
    ret("polls", poll(&mut p, 1, 0));
    show("hung up", p.revents & POLLHUP != 0);
    ret("signal to nobody", syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
    ret("opened once more", syscall(SYS_pidfd_open, pid, 0));
    let info = get(&format!("/proc/self/fdinfo/{fd}"));
    show("knows that", info.lines().any(|l| l == "Pid:\t-1"));
    // Made with the process.
    let mut made = -1i32;
    let args = CloneArgs {
        flags: CLONE_PIDFD as u64,
        pidfd: (&raw mut made) as u64,
        exit_signal: SIGCHLD as u64,
        ..Default::default()
    };
    let pid = syscall(SYS_clone3, &args, 88) as i32;
    if pid == 0 {
        nap(50);
        _exit(9);
    }
    show("closes on exec", fcntl(made, F_GETFD));
    waited("by it", P_PIDFD, made, WEXITED);
    // In an epoll set.
    let pid = child(|| {
        nap(50);
        0
    });
    let fd = syscall(SYS_pidfd_open, pid, 0) as i32;
    let e = epoll_create1(0);
    let mut event = epoll_event { events: EPOLLIN as u32, u64: 5 };
    ret("epoll", epoll_ctl(e, EPOLL_CTL_ADD, fd, &mut event));
    ret("epoll_wait", epoll_wait(e, &mut event, 1, 5000));
    end_of(pid);
    // With a signal and a value.
    let block = set_of(&[SIGRTMIN()]);
    sigprocmask(SIG_BLOCK, &block, std::ptr::null_mut());
    let own = syscall(SYS_pidfd_open, getpid(), 0) as i32;
    let mut given: siginfo_t = z();
    given.si_signo = SIGRTMIN();
    given.si_code = SI_QUEUE;
    *(&raw mut given).cast::<u64>().add(3) = 1234;
    ret("with a value", syscall(SYS_pidfd_send_signal, own, SIGRTMIN(), &given, 0));
    let now: timespec = z();
    let mut got: siginfo_t = z();
    show("came", sigtimedwait(&block, &mut got, &now) == SIGRTMIN());
    show("value", got.si_value().sival_ptr as usize);
    // A thread by its own descriptor (PIDFD_THREAD).
    let fd = syscall(SYS_pidfd_open, getpid(), O_EXCL);
    ok("of a thread", fd);
    let tid = std::thread::spawn(|| {
        let fd = syscall(SYS_pidfd_open, syscall(SYS_gettid), 0);
        say("a thread as a process", if fd < 0 { errno_name() } else { "ok".into() });
        syscall(SYS_pidfd_open, syscall(SYS_gettid), O_EXCL) as i32
    })
    .join()
    .unwrap_or(-1);
    let mut p = pollfd { fd: tid, events: POLLIN, revents: 0 };
    ret("a thread's end", poll(&mut p, 1, 2000));
}

pub unsafe fn families() {
    // pdeathsig: sent when the thread that made the child ends; lost over fork; kept over exec.
    let (r, w) = pipe();
    let middle = child(|| {
        child(|| {
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set_of(&[SIGUSR1]), std::ptr::null_mut());
            let inner = child(|| {
                let mut s = -1;
                prctl(PR_GET_PDEATHSIG, &mut s);
                s
            });
            put_fd(w, &format!("child's own {}, ", end_of(inner)));
            let mut info: siginfo_t = z();
            let long = timespec { tv_sec: 5, tv_nsec: 0 };
            let got = sigtimedwait(&set_of(&[SIGUSR1]), &mut info, &long);
            put_fd(w, &format!("got {} code {}", got == SIGUSR1, info.si_code));
            0
        });
        nap(100);
        0
    });
    end_of(middle);
    close(w);
    say("parent's end", rest(r));
    ret("bad signal", prctl(PR_SET_PDEATHSIG, 65));
    ret("nowhere", prctl(PR_GET_PDEATHSIG, 8));
    // Subreapers: the nearest one above takes the orphan; the mark is not inherited.
    ret("mark", prctl(PR_SET_CHILD_SUBREAPER, 5));
    let mut on = -1;
    ret("read", prctl(PR_GET_CHILD_SUBREAPER, &mut on));
    show("marked", on);
    let pid = child(|| {
        let mut on = -1;
        prctl(PR_GET_CHILD_SUBREAPER, &mut on);
        on
    });
    say("child is not", end_of(pid));
    let me = getpid();
    let (r, w) = pipe();
    let middle = child(|| {
        child(|| {
            let parent = getpid();
            child(|| {
                while getppid() == parent {
                    nap(5);
                }
                put_fd(w, if getppid() == me { "ours" } else { "not ours" });
                11
            });
            0
        });
        nap(60);
        0
    });
    close(w);
    say("middle", end_of(middle));
    say("orphan of an orphan", rest(r));
    let mut codes = Vec::new();
    let mut status = 0;
    while wait(&mut status) > 0 {
        codes.push(WEXITSTATUS(status));
    }
    codes.sort_unstable();
    show("waited for", codes);
    ret("unmark", prctl(PR_SET_CHILD_SUBREAPER, 0));
    // A session leader's children after its end: their session goes on.
    let (r, w) = pipe();
    let leader = child(|| {
        setsid();
        let sid = getsid(0);
        child(|| {
            nap(80);
            put_fd(w, if getsid(0) == sid && getpgrp() == sid { "kept" } else { "lost" });
            0
        });
        0
    });
    close(w);
    say("leader", end_of(leader));
    say("session of the orphan", rest(r));
    show("group of a leader that left", getpgid(leader));
    // A thread's children are those of its process, whoever ends first.
    let pid = child(|| {
        let made = std::thread::spawn(|| {
            child(|| {
                nap(60);
                5
            })
        });
        let pid = made.join().unwrap_or(-1);
        say("child of a thread that left", end_of(pid));
        0
    });
    end_of(pid);
    // The first thread leaves, the process goes on.
    let pid = child(|| {
        std::thread::spawn(|| {
            nap(80);
            let state = get("/proc/self/stat");
            let letter = state.rsplit(") ").next().unwrap_or("").chars().next();
            show("state of the first", letter);
            show("group answers", kill(getpid(), 0));
            exit_group(6)
        });
        syscall(SYS_exit, 4);
        0
    });
    nap(30);
    let mut status = 0;
    ret("not over yet", waitpid(pid, &mut status, WNOHANG));
    say("over", end_of(pid));
}

unsafe fn exit_group(code: i32) -> ! {
    syscall(SYS_exit_group, code);
    std::process::abort()
}

pub unsafe fn prctl_forms() {
    // Names of other threads, by /proc.
    let (r, w) = pipe();
    let (ready, go) = pipe();
    let thread = std::thread::spawn(move || {
        prctl(PR_SET_NAME, c"first name".as_ptr());
        let tid = syscall(SYS_gettid);
        write(w, (&raw const tid).cast(), 8);
        get_fd(ready, 1);
        let mut name = [0u8; 16];
        prctl(PR_GET_NAME, name.as_mut_ptr());
        String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
    });
    let mut tid = 0i64;
    read(r, (&raw mut tid).cast(), 8);
    let path = format!("/proc/self/task/{tid}/comm");
    say("its name", get(&path).trim());
    let fd = open(&path, O_RDWR);
    ret("write", put_fd(fd, "a name that is too long to keep\n"));
    say("its name", get(&path).trim());
    ret("newline", put_fd(fd, "short\n"));
    show("its name", get(&path));
    ret("nothing", put_fd(fd, ""));
    close(fd);
    put_fd(go, "x");
    show("it sees", thread.join().unwrap_or_default());
    let pid = child(|| {
        nap(200);
        0
    });
    let fd = open(&format!("/proc/{pid}/comm"), O_WRONLY);
    ret("another process's", put_fd(fd, "thief"));
    end_of(pid);
    // Arguments that must be nought, or may be anything.
    ret("no_new_privs extra", prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    ret("get extra", prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ret("dumpable 2", prctl(PR_SET_DUMPABLE, 2));
    ret("keepcaps 2", prctl(PR_SET_KEEPCAPS, 2));
    ret("name nowhere", prctl(PR_SET_NAME, 8));
    ret("securebits", prctl(PR_GET_SECUREBITS));
    ret("bounding beyond", prctl(PR_CAPBSET_READ, 64));
    ret("bounding", prctl(PR_CAPBSET_READ, 0));
    ret("timing", prctl(PR_GET_TIMING));
    ret("other timing", prctl(PR_SET_TIMING, 1));
    ret("endian", prctl(19, 8));
    ret("fpemu", prctl(9, 8));
    ret("unalign", prctl(5, 8));
    let mut word = -1i32;
    ret("tsc", prctl(PR_GET_TSC, &mut word));
    show("tsc", word);
    ret("bad tsc", prctl(PR_SET_TSC, 9));
    ret("thp", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    ret("thp off", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    ret("thp", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    ret("mce policy", prctl(34, 0, 0, 0, 0));
    ret("slack", prctl(PR_GET_TIMERSLACK));
    ret("slack 1", prctl(PR_SET_TIMERSLACK, 1));
    ret("slack", prctl(PR_GET_TIMERSLACK));
    ret("slack 0", prctl(PR_SET_TIMERSLACK, 0));
    ret("slack", prctl(PR_GET_TIMERSLACK));
    if geteuid() != 0 {
        return;
    }
    // Capabilities when user ids change.
    let caps = || {
        let mut header = [0x2008_0522u32, 0];
        let mut data = [0u32; 6];
        syscall(SYS_capget, header.as_mut_ptr(), data.as_mut_ptr());
        format!("effective {} permitted {}", data[0] != 0, data[1] != 0)
    };
    let pid = child(|| {
        ret("keepcaps", prctl(PR_SET_KEEPCAPS, 1));
        setresuid(1000, 1000, 1000);
        say("kept", caps());
        ret("keepcaps still", prctl(PR_GET_KEEPCAPS));
        say("again", {
            execv(
                me().as_ptr(),
                [c"g".as_ptr(), c"helper".as_ptr(), c"caps".as_ptr(), std::ptr::null()].as_ptr(),
            );
            errno_name()
        });
        0
    });
    end_of(pid);
    let pid = child(|| {
        ret("set bits", prctl(PR_SET_SECUREBITS, 1 << 2 | 1 << 3));
        ret("bits", prctl(PR_GET_SECUREBITS));
        ret("locked", prctl(PR_SET_SECUREBITS, 0));
        ret("unknown bits", prctl(PR_SET_SECUREBITS, 1 << 9));
        setresuid(1000, 1000, 1000);
        say("no fixup", caps());
        setresuid(0, 0, 0);
        0
    });
    end_of(pid);
    let pid = child(|| {
        ret("no root", prctl(PR_SET_SECUREBITS, 1 | 2));
        execv(
            me().as_ptr(),
            [c"g".as_ptr(), c"helper".as_ptr(), c"caps".as_ptr(), std::ptr::null()].as_ptr(),
        );
        0
    });
    end_of(pid);
    let pid = child(|| {
        ret("drop", prctl(PR_CAPBSET_DROP, 21));
        ret("read", prctl(PR_CAPBSET_READ, 21));
        execv(
            me().as_ptr(),
            [c"g".as_ptr(), c"helper".as_ptr(), c"caps".as_ptr(), std::ptr::null()].as_ptr(),
        );
        0
    });
    end_of(pid);
    let pid = child(|| {
        let mut header = [0x2008_0522u32, 0];
        let mut data = [0u32; 6];
        syscall(SYS_capget, header.as_mut_ptr(), data.as_mut_ptr());
        data[2] = 1 << 12;
        ret("inheritable", syscall(SYS_capset, header.as_mut_ptr(), data.as_ptr()));
        ret("raise", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 12, 0, 0));
        ret("raise another", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 13, 0, 0));
        prctl(PR_SET_KEEPCAPS, 1);
        // Ambient ones are lost with root, unless the fix-up is off.
        prctl(PR_SET_SECUREBITS, 1 << 2);
        setresgid(1000, 1000, 1000);
        setresuid(1000, 1000, 1000);
        execv(
            me().as_ptr(),
            [c"g".as_ptr(), c"helper".as_ptr(), c"caps".as_ptr(), std::ptr::null()].as_ptr(),
        );
        0
    });
    end_of(pid);
    let pid = child(|| {
        setresgid(1000, 1000, 1000);
        setresuid(1000, 1000, 1000);
        show("dumpable after", prctl(PR_GET_DUMPABLE));
        ret("securebits of a user", prctl(PR_SET_SECUREBITS, 1));
        ret("bounding of a user", prctl(PR_CAPBSET_DROP, 1));
        0
    });
    end_of(pid);
}

/// `guests helper caps`: what is left of the capabilities.
pub unsafe fn helper_caps() {
    let status = get("/proc/self/status");
    for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"] {
        let line = status.lines().find(|l| l.starts_with(key)).unwrap_or("none");
        // Not every machine's root may go beyond limits (CAP_SYS_RESOURCE).
        let set = u64::from_str_radix(line.split('\t').nth(1).unwrap_or(""), 16).unwrap_or(0) & !(1 << 24);
        say("caps", format!("{key} {set:x}"));
    }
    ret("securebits", prctl(PR_GET_SECUREBITS));
    ret("keepcaps", prctl(PR_GET_KEEPCAPS));
    show("dumpable", prctl(PR_GET_DUMPABLE));
    show("secure", getauxval(AT_SECURE));
    show("ids", (getuid(), geteuid(), getgid(), getegid()));
    let (mut r, mut e, mut s) = (0, 0, 0);
    getresuid(&mut r, &mut e, &mut s);
    show("saved", s);
}

pub unsafe fn set_ids() {
    if geteuid() != 0 {
        return;
    }
    // Where programs may be started by anybody.
    chmod(c".".as_ptr(), 0o755);
    std::fs::copy(me().to_str().unwrap_or_default(), "own").ok();
    let start = |step: &str, mode: u32, owner: (u32, u32), nnp: bool, caller: u32| {
        chown(c"own".as_ptr(), owner.0, owner.1);
        chmod(c"own".as_ptr(), mode);
        say(step, "");
        let pid = child(|| {
            setgroups(0, std::ptr::null());
            setresgid(caller, caller, caller);
            setresuid(caller, caller, caller);
            if nnp {
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            }
            execv(
                c"./own".as_ptr(),
                [c"own".as_ptr(), c"helper".as_ptr(), c"caps".as_ptr(), std::ptr::null()].as_ptr(),
            );
            say("failed", errno_name());
            0
        });
        end_of(pid);
    };
    start("plain", 0o755, (0, 0), false, 1000);
    start("set-uid root, no_new_privs", 0o4755, (0, 0), true, 1000);
    start("set-gid, no_new_privs", 0o2755, (0, 1234), true, 1000);
    start("set-uid root", 0o4755, (0, 0), false, 1000);
    start("set-uid other", 0o4755, (1001, 1001), false, 1000);
    start("set-gid", 0o2755, (0, 1234), false, 1000);
    start("set-gid without execution", 0o2745, (0, 1234), false, 1000);
    start("both", 0o6755, (1001, 1234), false, 1000);
    start("by root", 0o4755, (1001, 1001), false, 0);
    start("own", 0o4755, (1000, 1000), false, 1000);
}

pub unsafe fn personalities() {
    const QUERY: c_ulong = 0xffff_ffff;
    const NO_RANDOM: i32 = 0x0040000;
    const READ_EXEC: i32 = 0x0400000;
    ret("first", personality(QUERY));
    ret("no randomisation", personality(NO_RANDOM as c_ulong));
    ret("now", personality(QUERY));
    say("proc", get("/proc/self/personality").trim());
    let pid = child(|| {
        ret("inherited", personality(QUERY));
        0
    });
    end_of(pid);
    // The same places twice.
    let place = || {
        let (r, w) = pipe();
        let pid = child(|| {
            dup2(w, 1);
            close(r);
            execv(
                me().as_ptr(),
                [c"g".as_ptr(), c"helper".as_ptr(), c"place".as_ptr(), std::ptr::null()].as_ptr(),
            );
            0
        });
        close(w);
        let text = rest(r);
        end_of(pid);
        text
    };
    show("places stay", place() == place());
    personality(0);
    show("places change", place() != place());
    // What may be read may be executed.
    let page =
        || mmap(std::ptr::null_mut(), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    let rights = |p: *mut c_void| {
        let start = format!("{:x}-", p as usize);
        let maps = get("/proc/self/maps");
        let at = |l: &&str| {
            let (a, rest) = l.split_once('-').unwrap_or(("0", "0 "));
            let b = rest.split(' ').next().unwrap_or("0");
            let parse = |t: &str| usize::from_str_radix(t, 16).unwrap_or(0);
            (parse(a)..parse(b)).contains(&(p as usize))
        };
        let _ = start;
        maps.lines().find(at).and_then(|l| l.split(' ').nth(1)).unwrap_or("none").to_owned()
    };
    let before = page();
    ret("read implies exec", personality(READ_EXEC as c_ulong));
    let after = page();
    say("before", rights(before));
    say("after", rights(after));
    mprotect(before, 4096, PROT_READ);
    say("protected", rights(before));
    let none = mmap(std::ptr::null_mut(), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("no rights", rights(none));
    let pid = child(|| {
        say("child's", rights(page()));
        0
    });
    end_of(pid);
    personality(0);
    say("plain again", rights(page()));
    ret("32 bits", personality(8));
    let mut u: utsname = z();
    uname(&mut u);
    say("machine", std::ffi::CStr::from_ptr(u.machine.as_ptr()).to_string_lossy());
    personality(0x0020000);
    uname(&mut u);
    say("old release", std::ffi::CStr::from_ptr(u.release.as_ptr()).to_string_lossy().starts_with("2.6."));
    ret("all bits", personality(0x0fff_ff08));
    ret("read", personality(QUERY));
}
