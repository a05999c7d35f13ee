//! Processes, second part: what clone accepts, the forms of exec and of wait.

use std::ffi::CString;

use libc::*;

use crate::kit::{
    c, child, end_of, errno_name, get, handle, nap, open, pipe, put, put_fd, ret, say, set_of, show,
    status_text, z,
};

fn me() -> CString {
    c(&std::env::current_exe().unwrap_or_default().to_string_lossy())
}

/// `struct clone_args`, as far as we use it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

unsafe fn clone3(step: &str, args: &CloneArgs, size: usize) {
    let pid = syscall(SYS_clone3, args, size);
    if pid == 0 {
        _exit(21);
    }
    if pid < 0 {
        return say(step, errno_name());
    }
    let mut status = 0;
    let got = waitpid(pid as i32, &mut status, __WALL);
    say(step, if got == pid as i32 { status_text(status) } else { errno_name() });
}

pub unsafe fn clone_forms() {
    // Children end with all kinds of signals.
    let mut all: sigset_t = z();
    sigfillset(&mut all);
    sigprocmask(SIG_BLOCK, &all, std::ptr::null_mut());
    let plain = CloneArgs { exit_signal: SIGCHLD as u64, ..Default::default() };
    for size in [0, 63, 64, 72, 80, 87, 88, 89, 96, 4096, 4097] {
        let mut room = [0u64; 1024];
        std::ptr::copy_nonoverlapping((&raw const plain).cast(), room.as_mut_ptr(), 11);
        clone3(&format!("size {size}"), &*room.as_ptr().cast(), size);
    }
    let mut room = [0u64; 16];
    std::ptr::copy_nonoverlapping((&raw const plain).cast(), room.as_mut_ptr(), 11);
    room[12] = 1;
    clone3("something behind", &*room.as_ptr().cast(), 104);
    ret("bad pointer", syscall(SYS_clone3, 8, 88));
    let all = [
        ("no signal", CloneArgs { exit_signal: 0, ..plain }),
        ("signal 64", CloneArgs { exit_signal: 64, ..plain }),
        ("signal 65", CloneArgs { exit_signal: 65, ..plain }),
        ("signal 200", CloneArgs { exit_signal: 200, ..plain }),
        ("signal in the flags", CloneArgs { flags: SIGCHLD as u64, exit_signal: 0, ..plain }),
        ("detached", CloneArgs { flags: CLONE_DETACHED as u64, ..plain }),
        ("handlers without memory", CloneArgs { flags: CLONE_SIGHAND as u64, ..plain }),
        (
            "thread without handlers",
            CloneArgs { flags: (CLONE_THREAD | CLONE_VM) as u64, exit_signal: 0, ..plain },
        ),
        (
            "thread with a signal",
            CloneArgs { flags: (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND) as u64, ..plain },
        ),
        ("sibling with a signal", CloneArgs { flags: CLONE_PARENT as u64, ..plain }),
        (
            "handlers shared and cleared",
            CloneArgs { flags: (CLONE_SIGHAND | CLONE_VM) as u64 | 1 << 32, ..plain },
        ),
        ("cleared handlers", CloneArgs { flags: 1 << 32, ..plain }),
        ("into a control group", CloneArgs { flags: 1 << 33, cgroup: 99, ..plain }),
        ("control group, no flag", CloneArgs { cgroup: 99, ..plain }),
        ("beyond", CloneArgs { flags: 1 << 40, ..plain }),
        ("stack without a size", CloneArgs { stack: 0x10000, ..plain }),
        ("size without a stack", CloneArgs { stack_size: 0x10000, ..plain }),
        ("stack in the kernel", CloneArgs { stack: u64::MAX - 8191, stack_size: 8192, ..plain }),
        ("ids without a list", CloneArgs { set_tid_size: 1, ..plain }),
        ("list without ids", CloneArgs { set_tid: 0x1000, ..plain }),
        ("too many ids", CloneArgs { set_tid: (&raw const room) as u64, set_tid_size: 33, ..plain }),
        ("filesystem and new mounts", CloneArgs { flags: (CLONE_FS | CLONE_NEWNS) as u64, ..plain }),
        ("pidfd and detached", CloneArgs { flags: (CLONE_PIDFD | CLONE_DETACHED) as u64, ..plain }),
        ("pidfd to nowhere", CloneArgs { flags: CLONE_PIDFD as u64, pidfd: 8, ..plain }),
        ("id to nowhere", CloneArgs { flags: CLONE_PARENT_SETTID as u64, parent_tid: 8, ..plain }),
        (
            "files, io, sysv",
            CloneArgs { flags: (CLONE_FILES | CLONE_IO | CLONE_SYSVSEM | CLONE_FS) as u64, ..plain },
        ),
    ];
    for (step, args) in &all {
        clone3(step, args, 88);
    }
    for (step, flags) in [
        ("clone: nothing", 0),
        ("clone: detached", CLONE_DETACHED),
        ("clone: handlers without memory", CLONE_SIGHAND | SIGCHLD),
        ("clone: thread alone", CLONE_THREAD),
        ("clone: pidfd and tid", CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD),
        ("clone: pidfd and detached", CLONE_PIDFD | CLONE_DETACHED | SIGCHLD),
        ("clone: signal 65", 65),
        ("clone: signal 255", 255),
    ] {
        let mut word = 0i32;
        let word = &raw mut word;
        let pid = syscall(SYS_clone, flags, 0, word, word, 0);
        if pid == 0 {
            _exit(22);
        }
        if pid < 0 {
            say(step, errno_name());
            continue;
        }
        let mut status = 0;
        waitpid(pid as i32, &mut status, __WALL);
        say(step, status_text(status));
    }
    // Whose parent is whose.
    let (r, w) = pipe();
    let middle = child(|| {
        let args = CloneArgs { flags: CLONE_PARENT as u64, exit_signal: 0, ..Default::default() };
        let pid = syscall(SYS_clone3, &args, 88) as i32;
        if pid == 0 {
            nap(30);
            _exit(23);
        }
        write(w, (&raw const pid).cast(), 4);
        0
    });
    let mut sibling = 0i32;
    read(r, (&raw mut sibling).cast(), 4);
    say("middle", end_of(middle));
    say("sibling is ours", end_of(sibling));
    // What a wait sees of children without SIGCHLD.
    let args = CloneArgs { exit_signal: SIGUSR1 as u64, ..Default::default() };
    handle(SIGUSR1, SIG_IGN, 0);
    let pid = syscall(SYS_clone3, &args, 88) as i32;
    if pid == 0 {
        _exit(24);
    }
    let mut status = 0;
    ret("plain wait", waitpid(pid, &mut status, 0));
    show("for clone children", waitpid(pid, &mut status, __WCLONE) == pid);
    let pid = child(|| 25);
    ret("clone wait for a plain one", waitpid(pid, &mut status, __WCLONE));
    show("for all", waitpid(pid, &mut status, __WALL) == pid);
}

unsafe fn execat(step: &str, dir: i32, path: &str, flags: i32, args: &[&str]) {
    let pid = child(|| {
        let args: Vec<CString> = args.iter().map(|a| c(a)).collect();
        let mut argv: Vec<*const c_char> = args.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        let envp = [std::ptr::null::<c_char>()];
        syscall(SYS_execveat, dir, c(path).as_ptr(), argv.as_ptr(), envp.as_ptr(), flags);
        say(step, errno_name());
        99
    });
    say(step, end_of(pid));
}

pub unsafe fn exec_forms() {
    put("script", b"#!/bin/sh\necho \"script $# $1\"; exit 4\n");
    chmod(c"script".as_ptr(), 0o755);
    symlink(c"/bin/true".as_ptr(), c"link".as_ptr());
    let dir = open(".", O_RDONLY | O_DIRECTORY);
    let shut = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    let bin = open("/bin", O_PATH | O_DIRECTORY);
    let empty = AT_EMPTY_PATH;
    execat("relative", bin, "true", 0, &["true"]);
    execat("absolute", -1, "/bin/true", 0, &["true"]);
    execat("working directory", AT_FDCWD, "./script", 0, &["script", "one"]);
    execat("script below a directory", dir, "script", 0, &["script", "one"]);
    execat("script below one that closes", shut, "script", 0, &["script", "one"]);
    execat("bad descriptor", 77, "true", 0, &["true"]);
    execat("bad flags", bin, "true", 1, &["true"]);
    execat("empty without the flag", bin, "", 0, &["true"]);
    execat("a directory", dir, "", empty, &["true"]);
    execat("link", dir, "link", 0, &["true"]);
    execat("link not followed", dir, "link", AT_SYMLINK_NOFOLLOW, &["true"]);
    execat("program not followed", bin, "true", AT_SYMLINK_NOFOLLOW, &["true"]);
    let program = open("/bin/true", O_RDONLY | O_CLOEXEC);
    execat("descriptor that closes", program, "", empty, &["true"]);
    let program = open("/bin/true", O_PATH);
    execat("path descriptor", program, "", empty, &["true"]);
    execat("path below a program", program, "x", 0, &["true"]);
    let script = open("script", O_RDONLY);
    execat("script by descriptor", script, "", empty, &["script", "one"]);
    let script = open("script", O_RDONLY | O_CLOEXEC);
    execat("script by one that closes", script, "", empty, &["script", "one"]);
    put("plain", b"nothing");
    let plain = open("plain", O_RDONLY);
    execat("not executable", plain, "", empty, &["true"]);
    // A program that is in no directory.
    let text = std::fs::read(me().to_str().unwrap_or_default()).unwrap_or_default();
    for (step, flags) in [("memory", 0), ("memory, closing", MFD_CLOEXEC)] {
        let fd = memfd_create(c"prog".as_ptr(), flags);
        write(fd, text.as_ptr().cast(), text.len());
        execat(&format!("{step}, open for writing"), fd, "", empty, &["g", "helper", "exit", "7"]);
        let again = open(&format!("/proc/self/fd/{fd}"), O_RDONLY | if flags != 0 { O_CLOEXEC } else { 0 });
        close(fd);
        execat(step, again, "", empty, &["g", "helper", "exit", "7"]);
        let pid = child(|| {
            let argv = [c"g".as_ptr(), c"helper".as_ptr(), c"named".as_ptr(), std::ptr::null()];
            let envp = [std::ptr::null::<c_char>()];
            // A number that is the same everywhere.
            let high = fcntl(again, if flags != 0 { F_DUPFD_CLOEXEC } else { F_DUPFD }, 50);
            syscall(SYS_execveat, high, c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), empty);
            99
        });
        say(&format!("{step}: names"), end_of(pid));
        close(again);
    }
    let fd = memfd_create(c"prog".as_ptr(), 0);
    put_fd(fd, "#!/bin/cat\nshown\n");
    let again = open(&format!("/proc/self/fd/{fd}"), O_RDONLY);
    close(fd);
    execat("script in memory", again, "", empty, &["g"]);
    let (r, _w) = pipe();
    execat("a pipe", r, "", empty, &["g"]);
    // No arguments at all: the kernel gives one that is empty.
    let pid = child(|| {
        execve(c"/bin/true".as_ptr(), std::ptr::null(), std::ptr::null());
        99
    });
    say("null argv", end_of(pid));
    // What is pending and what is blocked outlive a program, in threads too.
    let pid = child(|| {
        sigprocmask(SIG_BLOCK, &set_of(&[SIGUSR1]), std::ptr::null_mut());
        raise(SIGUSR1);
        alarm(100);
        let thread = std::thread::spawn(|| {
            let argv = [c"g".as_ptr(), c"helper".as_ptr(), c"left".as_ptr(), std::ptr::null()];
            execv(me().as_ptr(), argv.as_ptr());
        });
        drop(thread.join());
        99
    });
    say("from a thread", end_of(pid));
}

/// `guests helper named` and `helper left`: what the started program finds.
pub unsafe fn helper(what: &str) {
    match what {
        "named" => {
            let name = std::ffi::CStr::from_ptr(getauxval(AT_EXECFN) as *const c_char);
            show("execfn", name);
            say("comm", get("/proc/self/comm").trim());
            let mut text = [0u8; 200];
            let n = readlink(c"/proc/self/exe".as_ptr(), text.as_mut_ptr().cast(), 200);
            say("exe", String::from_utf8_lossy(&text[..n.max(0) as usize]));
        }
        _ => {
            let mut pending: sigset_t = z();
            sigpending(&mut pending);
            show("pending", sigismember(&pending, SIGUSR1));
            show("leads", syscall(SYS_gettid) == syscall(SYS_getpid));
            show("alarm goes on", alarm(0) > 90);
            show("threads", std::fs::read_dir("/proc/self/task").map(|d| d.count()).unwrap_or(0));
        }
    }
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

pub unsafe fn wait_forms() {
    let pid = child(|| loop {
        pause();
    });
    waited("nothing yet", P_PID, pid, WEXITED | WSTOPPED | WCONTINUED | WNOHANG);
    kill(pid, SIGSTOP);
    waited("stopped, left", P_PID, pid, WSTOPPED | WNOWAIT);
    waited("only the end", P_PID, pid, WEXITED | WNOHANG);
    waited("stopped", P_PID, pid, WSTOPPED);
    waited("told already", P_PID, pid, WSTOPPED | WNOHANG);
    kill(pid, SIGCONT);
    waited("continued, left", P_PID, pid, WCONTINUED | WNOWAIT);
    waited("continued", P_PID, pid, WCONTINUED);
    kill(pid, SIGTSTP);
    waited("by another", P_PID, pid, WSTOPPED);
    kill(pid, SIGCONT);
    let mut status = 0;
    show("wait4 continued", waitpid(pid, &mut status, WCONTINUED) == pid);
    say("status", status_text(status));
    kill(pid, SIGTERM);
    waited("end, left", P_PID, pid, WEXITED | WNOWAIT);
    waited("no stop", P_PID, pid, WSTOPPED | WNOHANG);
    waited("end", P_PID, pid, WEXITED);
    waited("gone", P_PID, pid, WEXITED | WNOHANG);
    waited("bad kind", 77, 1, WEXITED);
    waited("pid 0", P_PID, 0, WEXITED);
    waited("pid -1", P_PID, -1, WEXITED);
    waited("group -1", P_PGID, -1, WEXITED);
    waited("unknown option", P_ALL, 0, WEXITED | 0x10);
    waited("no state", P_ALL, 0, WNOHANG);
    waited("pidfd that is none", P_PIDFD, 0, WEXITED);
    waited("bad pidfd", P_PIDFD, 77, WEXITED);
    waited("negative pidfd", P_PIDFD, -1, WEXITED);
    // By group: one's own is 0.
    let own = child(|| 3);
    waited("own group", P_PGID, 0, WEXITED);
    ret("that was it", waitpid(own, &mut status, 0));
    let other = child(|| {
        setpgid(0, 0);
        nap(50);
        5
    });
    setpgid(other, other);
    waited("own group, none", P_PGID, 0, WEXITED | WNOHANG);
    waited("other group", P_PGID, other, WEXITED);
    // Without a place for what is found.
    let pid = child(|| 6);
    ret("no info", syscall(SYS_waitid, P_PID, pid, 0, WEXITED, 0));
    let pid = child(|| 6);
    let mut usage: rusage = z();
    usage.ru_maxrss = -1;
    let mut info: siginfo_t = z();
    ret("usage", syscall(SYS_waitid, P_PID, pid, &mut info, WEXITED, &mut usage));
    show("filled", usage.ru_maxrss >= 0);
    let pid = child(|| 6);
    ret("info to nowhere", syscall(SYS_waitid, P_PID, pid, 8, WEXITED, 0));
    ret("and lost", waitpid(pid, &mut status, 0));
    let pid = child(|| 6);
    ret("status to nowhere", wait4(pid, 8 as *mut i32, 0, std::ptr::null_mut()));
    ret("and lost", waitpid(pid, &mut status, 0));
    ret("least number", syscall(SYS_wait4, i32::MIN, 0, 0, 0));
    // A thread's children are the process's, unless it asks for its own alone.
    let pid = child(|| 7);
    let theirs = std::thread::spawn(move || {
        let mut status = 0;
        ret("not this thread's", waitpid(pid, &mut status, __WNOTHREAD));
        waitpid(pid, &mut status, 0) == pid
    });
    show("another thread waits", theirs.join().unwrap_or(false));
    // SIGCHLD ignored: nothing is left to wait for.
    handle(SIGCHLD, SIG_IGN, 0);
    let pid = child(|| 8);
    ret("ignored", waitpid(pid, &mut status, 0));
    let mut action: sigaction = z();
    action.sa_flags = SA_NOCLDWAIT;
    sigaction(SIGCHLD, &action, std::ptr::null_mut());
    let pid = child(|| 8);
    ret("no zombies", waitpid(pid, &mut status, 0));
    handle(SIGCHLD, SIG_DFL, 0);
    // Times of children that were waited for add up.
    let pid = child(|| {
        let mut used: timespec = z();
        while used.tv_sec == 0 && used.tv_nsec < 60_000_000 {
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut used);
        }
        0
    });
    let mut usage: rusage = z();
    wait4(pid, &mut status, 0, &mut usage);
    let micros = |u: &rusage| {
        (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1_000_000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec
    };
    show("its time", (10_000..2_000_000).contains(&micros(&usage)));
    let mut all: rusage = z();
    getrusage(RUSAGE_CHILDREN, &mut all);
    show("in the sum", micros(&all) >= micros(&usage));
}
