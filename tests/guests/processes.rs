//! Processes: fork, exec, wait, groups and sessions.

use std::ffi::CString;

use libc::*;

use crate::kit::{
    c, child, end_of, errno_name, get, get_fd, handle, nap, ok, open, pipe, put, put_fd, rest, ret, say,
    show, status_text, vfork_and, z,
};

/// What `guests helper …` does: the program that exec tests start.
pub fn helper(args: &[String]) {
    match args.first().map(String::as_str) {
        Some("args") => {
            let all: Vec<String> = args[1..].to_vec();
            show("args", all);
        }
        Some("env") => {
            let mut all: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
            all.sort();
            show("env", all);
        }
        Some("who") => crate::exec_creds::report(),
        Some("exit") => std::process::exit(args.get(1).and_then(|a| a.parse().ok()).unwrap_or(0)),
        Some("fds") => {
            let open: Vec<i32> = (0..64).filter(|&fd| unsafe { fcntl(fd, F_GETFD) } >= 0).collect();
            show("open", open);
        }
        Some("aux") => unsafe {
            show("page size", getauxval(AT_PAGESZ));
            show("secure", getauxval(AT_SECURE));
            show("uid", getauxval(AT_UID) == getuid().into());
            show("random", getauxval(AT_RANDOM) != 0);
            show("vdso", getauxval(AT_SYSINFO_EHDR) != 0);
            show("clock ticks", getauxval(AT_CLKTCK));
            let name = std::ffi::CStr::from_ptr(getauxval(AT_EXECFN) as *const c_char);
            show("execfn ends", name.to_string_lossy().ends_with("guests"));
            let platform = std::ffi::CStr::from_ptr(getauxval(AT_PLATFORM) as *const c_char);
            show("platform", platform);
        },
        Some("place") => println!("{:p} {:p}", &args, helper as *const ()),
        Some("caps") => unsafe { crate::process_facts::helper_caps() },
        Some(what @ ("named" | "left")) => unsafe { crate::processes_more::helper(what) },
        Some("fresh") => unsafe { fresh() },
        Some("again") => unsafe {
            let left: u32 = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(0);
            if left == 0 {
                return say("last of its programs", args.len().to_string());
            }
            let (exe, left) = (me(), c(&(left - 1).to_string()));
            let argv =
                [c"x".as_ptr(), c"helper".as_ptr(), c"again".as_ptr(), left.as_ptr(), std::ptr::null()];
            execve(exe.as_ptr(), argv.as_ptr(), [std::ptr::null()].as_ptr());
            say("exec again", errno_name());
        },
        other => say("helper", format!("{other:?}")),
    }
}

/// Where the program before [`fresh`] had memory.
const BEFORE: usize = 0x3000_0000_0000;

/// What a program must not find of the one that was there before it.
unsafe fn fresh() {
    let mut vec = 0u8;
    ret("memory of the last program", mincore(BEFORE as *mut c_void, 4096, &raw mut vec));
    ret("read by a call", write(pipe().1, BEFORE as *const c_void, 1));
    let (mut gs, mut mxcsr, mut control) = (1u64, 0u32, 0u16);
    syscall(SYS_arch_prctl, 0x1004, &raw mut gs);
    std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
    std::arch::asm!("fnstcw [{}]", in(reg) &raw mut control);
    show("gs, mxcsr, x87 control", (gs, mxcsr, control));
    let mut stack: stack_t = std::mem::zeroed();
    sigaltstack(std::ptr::null(), &raw mut stack);
    show("alternate stack", stack.ss_flags);
    let mut now: timespec = std::mem::zeroed();
    show("clock", (clock_gettime(CLOCK_MONOTONIC, &raw mut now), now.tv_sec > 0));
}

/// A program that leaves much behind, then another one in its place.
pub unsafe fn exec_in_place() {
    for unmaps_vdso in [false, true] {
        let pid = child(|| {
            let rw = PROT_READ | PROT_WRITE;
            let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            let p = mmap(BEFORE as *mut c_void, 1 << 20, rw, flags, -1, 0);
            std::ptr::write_bytes(p.cast::<u8>(), 7, 1 << 20);
            let stack = stack_t { ss_sp: p, ss_flags: 0, ss_size: 65536 };
            sigaltstack(&raw const stack, std::ptr::null_mut());
            syscall(SYS_arch_prctl, 0x1001, BEFORE);
            let (mxcsr, control) = (0x5f80u32, 0x027fu16);
            std::arch::asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &raw const mxcsr, in(reg) &raw const control);
            let exe = me();
            if unmaps_vdso {
                munmap(getauxval(AT_SYSINFO_EHDR) as *mut c_void, 4096);
            }
            let argv = [c"x".as_ptr(), c"helper".as_ptr(), c"fresh".as_ptr(), std::ptr::null()];
            execve(exe.as_ptr(), argv.as_ptr(), [std::ptr::null()].as_ptr());
            99
        });
        say("a program after another", end_of(pid));
    }
    let exe = me();
    exec("many after each other", exe.to_str().unwrap_or_default(), &["x", "helper", "again", "20"], &[]);
}

fn me() -> CString {
    c(&std::env::current_exe().unwrap_or_default().to_string_lossy())
}

/// execve of `path` with these, in a child; says how it ended.
unsafe fn exec(step: &str, path: &str, args: &[&str], env: &[&str]) {
    let pid = child(|| {
        let args: Vec<CString> = args.iter().map(|a| c(a)).collect();
        let env: Vec<CString> = env.iter().map(|a| c(a)).collect();
        let mut argv: Vec<*const c_char> = args.iter().map(|a| a.as_ptr()).collect();
        let mut envp: Vec<*const c_char> = env.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        envp.push(std::ptr::null());
        execve(c(path).as_ptr(), argv.as_ptr(), envp.as_ptr());
        say(step, errno_name());
        99
    });
    say(step, end_of(pid));
}

pub unsafe fn forks() {
    let mut x = 1;
    let pid = child(|| {
        x += 1;
        show("child's x", x);
        show("parent", getppid() > 0);
        x
    });
    say("child", end_of(pid));
    show("own x", x);
    ret("nothing to wait for", waitpid(-1, std::ptr::null_mut(), 0));
    for code in [0, 1, 127, 128, 255, 256, -1] {
        let pid = child(|| code);
        say(&format!("exit {code}"), end_of(pid));
    }
    put("f", b"0123456789");
    let fd = open("f", O_RDONLY);
    let pid = child(|| {
        get_fd(fd, 4);
        close(fd);
        0
    });
    end_of(pid);
    say("offset shared with the child", get_fd(fd, 2));
    let raw = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if raw == 0 {
        _exit(11);
    }
    say("raw clone", end_of(raw as i32));
    say("vfork", end_of(vfork_and(&mut 0, SYS_exit, 12, 0, 0)));
    let two = child(|| {
        let inner = child(|| 5);
        say("grandchild", end_of(inner));
        6
    });
    say("child", end_of(two));
}

pub unsafe fn thousands() {
    const COUNT: usize = 2000;
    let (gate, open) = pipe();
    let (there, tell) = pipe();
    let pids: Vec<i32> = (0..COUNT)
        .map(|i| {
            child(|| {
                close(open);
                put_fd(tell, "x");
                get_fd(gate, 1);
                (i % 7) as i32
            })
        })
        .collect();
    show("made", pids.iter().filter(|p| **p > 0).count());
    for _ in &pids {
        get_fd(there, 1);
    }
    close(open);
    let mut sum = 0;
    for pid in pids {
        let mut status = 0;
        waitpid(pid, &mut status, 0);
        sum += WEXITSTATUS(status);
    }
    show("sum", sum);
}

pub unsafe fn many_forks() {
    let mut total = 0;
    for round in 0..20 {
        let pids: Vec<i32> = (0..10).map(|i| child(|| (round + i) % 50)).collect();
        for pid in pids {
            let mut status = 0;
            waitpid(pid, &mut status, 0);
            total += WEXITSTATUS(status);
        }
    }
    show("sum of exit codes", total);
    fn nest(n: i32) -> i32 {
        if n == 0 {
            return 1;
        }
        let pid = child(|| nest(n - 1));
        let mut status = 0;
        unsafe { waitpid(pid, &mut status, 0) };
        WEXITSTATUS(status) + 1
    }
    show("nested 20 deep", nest(20));
}

pub unsafe fn vforks() {
    let exe = me();
    let argv = [exe.as_ptr(), c"helper".as_ptr(), c"exit".as_ptr(), c"21".as_ptr(), std::ptr::null()];
    let envp: [*const c_char; 1] = [std::ptr::null()];
    for _ in 0..5 {
        let at = [exe.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize];
        let pid = vfork_and(&mut 0, SYS_execve, at[0], at[1], at[2]);
        say("vfork and exec", end_of(pid));
    }
    let mut flag = 0;
    end_of(vfork_and(&mut flag, SYS_exit, 0, 0, 0));
    show("memory is shared", flag);
    let mut spawned = 0;
    let r = posix_spawn(
        &mut spawned,
        exe.as_ptr(),
        std::ptr::null(),
        std::ptr::null(),
        argv.as_ptr() as *const *mut c_char,
        envp.as_ptr() as *const *mut c_char,
    );
    ret("posix_spawn", r);
    say("ended", end_of(spawned));
    let r = posix_spawn(
        &mut spawned,
        c"/nonexistent".as_ptr(),
        std::ptr::null(),
        std::ptr::null(),
        argv.as_ptr() as *const *mut c_char,
        envp.as_ptr() as *const *mut c_char,
    );
    say("posix_spawn of nothing", crate::kit::name(r));
    let out = std::process::Command::new("/bin/echo").arg("through Command").output();
    show("Command", out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).ok());
}

pub unsafe fn execs() {
    let exe = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
    exec("args", &exe, &["name", "helper", "args", "a b", "", "ü"], &["A=1"]);
    exec("env", &exe, &["x", "helper", "env"], &["B=2", "A=", "C=x=y"]);
    exec("aux", &exe, &[&exe, "helper", "aux"], &[]);
    exec("exit", &exe, &["x", "helper", "exit", "33"], &[]);
    exec("through /proc/self/exe", "/proc/self/exe", &["x", "helper", "exit", "34"], &[]);
    std::os::unix::fs::symlink(&exe, "link").ok();
    exec("through a link", "link", &["x", "helper", "exit", "35"], &[]);
    exec("no arguments", "/bin/true", &[], &[]);
    let fd = open("f", O_CREAT | O_RDWR);
    fcntl(dup(fd), F_SETFD, FD_CLOEXEC);
    dup2(fd, 30);
    exec("descriptors", &exe, &["x", "helper", "fds"], &[]);
    let pid = child(|| {
        let file = libc::open(me().as_ptr(), O_RDONLY | O_CLOEXEC);
        let argv = [c"x".as_ptr(), c"helper".as_ptr(), c"exit".as_ptr(), c"36".as_ptr(), std::ptr::null()];
        fexecve(file, argv.as_ptr(), [std::ptr::null()].as_ptr());
        99
    });
    say("fexecve", end_of(pid));
}

pub unsafe fn exec_errors() {
    exec("missing", "/nonexistent", &["x"], &[]);
    exec("directory", "/tmp", &["x"], &[]);
    exec("below a file", "/etc/passwd/x", &["x"], &[]);
    put("plain", b"hello");
    exec("not executable", "./plain", &["x"], &[]);
    let mode = |name: &str| chmod(c(name).as_ptr(), 0o755);
    mode("plain");
    exec("no format", "./plain", &["x"], &[]);
    put("empty", b"");
    mode("empty");
    exec("empty", "./empty", &["x"], &[]);
    let elf = std::fs::read("/bin/true").unwrap_or_default();
    put("cut", &elf[..elf.len().min(40)]);
    mode("cut");
    exec("cut in its header", "./cut", &["x"], &[]);
    let mut bad = elf.clone();
    if bad.len() > 20 {
        bad[18] = 0xb7;
    }
    put("foreign", &bad);
    mode("foreign");
    exec("another machine's", "./foreign", &["x"], &[]);
    put("class", &{
        let mut b = elf.clone();
        b[4] = 1;
        b
    });
    mode("class");
    exec("32-bit class", "./class", &["x"], &[]);
    exec("empty path", "", &["x"], &[]);
    symlink(c"loop".as_ptr(), c"loop".as_ptr());
    exec("loop", "./loop", &["x"], &[]);
    ret("bad pointer", execve(8 as *const c_char, std::ptr::null(), std::ptr::null()));
    ret("bad argv", execve(c"/bin/true".as_ptr(), 16 as *const *const c_char, std::ptr::null()));
    let fd = open("writable", O_CREAT | O_WRONLY);
    std::fs::write("writable", &elf).ok();
    mode("writable");
    exec("open for writing", "./writable", &["x"], &[]);
    close(fd);
    exec("closed", "./writable", &["x"], &[]);
}

pub unsafe fn scripts() {
    let script = |name: &str, text: &str| {
        put(name, text.as_bytes());
        chmod(c(name).as_ptr(), 0o755);
    };
    script("plain", "#!/bin/sh\necho \"$0 $1 $2\"\nexit 3\n");
    exec("plain", "./plain", &["zero", "one", "two"], &[]);
    script("arg", "#! /bin/echo  one argument \n");
    exec("argument", "./arg", &["zero", "one"], &[]);
    script("nested", "#!./arg\n");
    exec("nested", "./nested", &["zero", "one"], &[]);
    script("missing", "#!/nonexistent\n");
    exec("missing interpreter", "./missing", &["x"], &[]);
    script("none", "#!\n");
    exec("no interpreter", "./none", &["x"], &[]);
    script("spaces", "#!    \n");
    exec("only spaces", "./spaces", &["x"], &[]);
    script("self", "#!./self\n");
    exec("itself", "./self", &["x"], &[]);
    script("long", &format!("#!/{}\n", "x".repeat(300)));
    exec("too long", "./long", &["x"], &[]);
    script("fits", &format!("#!/bin/echo {}\n", "x".repeat(200)));
    exec("long argument", "./fits", &["x"], &[]);
    script("cr", "#!/bin/sh\r\n");
    exec("carriage return", "./cr", &["x"], &[]);
    script("eof", "#!/bin/echo");
    exec("no newline", "./eof", &["x"], &[]);
    script("n1", "#!./nested\n");
    script("n2", "#!./n1\n");
    script("n3", "#!./n2\n");
    exec("four deep", "./n2", &["x"], &[]);
    exec("five deep", "./n3", &["x"], &[]);
}

pub unsafe fn too_big() {
    let exe = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
    let one = "a".repeat(131_071);
    exec("string of 128 KiB less one", &exe, &["x", "helper", "exit", "1", &one], &[]);
    let two = "a".repeat(131_072);
    exec("string of 128 KiB", &exe, &["x", "helper", "exit", "1", &two], &[]);
    let part = "b".repeat(100_000);
    let mut many = vec!["x", "helper", "exit", "2"];
    many.extend(std::iter::repeat_n(part.as_str(), 15));
    exec("1.5 MB", &exe, &many, &[]);
    many.extend(std::iter::repeat_n(part.as_str(), 10));
    exec("2.5 MB", &exe, &many, &[]);
}

pub unsafe fn waits() {
    let mut status = 0;
    let slow = child(|| {
        nap(150);
        4
    });
    ret("WNOHANG", waitpid(slow, &mut status, WNOHANG));
    ret("not a child", waitpid(getppid(), &mut status, 0));
    ret("bad options", waitpid(slow, &mut status, 0x40));
    let mut usage: rusage = z();
    show("wait4", wait4(slow, &mut status, 0, &mut usage) == slow);
    say("status", status_text(status));
    let mut info: siginfo_t = z();
    ret("waitid without children", waitid(P_ALL, 0, &mut info, WEXITED));
    let pid = child(|| 8);
    ret("waitid NOWAIT", waitid(P_PID, pid as u32, &mut info, WEXITED | WNOWAIT));
    show("info", (info.si_pid() == pid, info.si_code, info.si_status(), info.si_signo));
    ret("waitid", waitid(P_PID, pid as u32, &mut info, WEXITED));
    ret("gone", waitid(P_PID, pid as u32, &mut info, WEXITED));
    ret("no states asked", waitid(P_ALL, 0, &mut info, 0));
    let hang = child(|| {
        pause();
        0
    });
    info = z();
    ret("waitid NOHANG", waitid(P_PID, hang as u32, &mut info, WEXITED | WNOHANG));
    show("nothing filled in", info.si_pid());
    kill(hang, SIGKILL);
    waitid(P_PID, hang as u32, &mut info, WEXITED);
    show("killed", (info.si_code, info.si_status()));
    let pids: Vec<i32> = (0..3).map(|i| child(move || i)).collect();
    let mut got: Vec<i32> = (0..3).map(|_| wait(std::ptr::null_mut())).collect();
    got.sort_unstable();
    show(
        "each once",
        got == {
            let mut p = pids.clone();
            p.sort_unstable();
            p
        },
    );
    let group = child(|| {
        setpgid(0, 0);
        7
    });
    setpgid(group, group);
    show("by group", waitpid(-group, &mut status, 0) == group);
    ret("own group, none", waitpid(0, &mut status, 0));
    let fd = syscall(SYS_pidfd_open, getpid(), 0);
    ok("pidfd of itself", fd);
    let dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
    ret("signal through /proc", syscall(SYS_pidfd_send_signal, dir, 0, 0, 0));
    close(dir);
    let dir = open("/proc/sys", O_RDONLY | O_DIRECTORY);
    ret("signal through no process", syscall(SYS_pidfd_send_signal, dir, 0, 0, 0));
    close(dir);
    let mut cpus: cpu_set_t = std::mem::zeroed();
    ret("affinity of nobody", sched_getaffinity(-1, std::mem::size_of_val(&cpus), &mut cpus));
    ret("setting it", sched_setaffinity(-1, std::mem::size_of_val(&cpus), &cpus));
    ret("scheduler of init", sched_getscheduler(1));
    let pid = child(|| 9);
    let fd = syscall(SYS_pidfd_open, pid, 0) as i32;
    let mut p = pollfd { fd, events: POLLIN, revents: 0 };
    ret("pidfd polls", poll(&mut p, 1, 5000));
    ret("waitid by pidfd", waitid(P_PIDFD, fd as u32, &mut info, WEXITED));
    show("status", info.si_status());
}

pub unsafe fn orphans() {
    let (r, w) = pipe();
    let parent = getpid();
    let pid = child(|| {
        let middle = getpid();
        child(|| {
            nap(100);
            let new = getppid();
            put_fd(w, if new != middle && new != parent { "adopted" } else { "not adopted" });
            0
        });
        0
    });
    say("middle", end_of(pid));
    close(w);
    say("orphan", rest(r));
    ret("not ours", waitpid(-1, std::ptr::null_mut(), 0));
    ret("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1));
    let pid = child(|| {
        child(|| {
            nap(60);
            13
        });
        0
    });
    say("middle", end_of(pid));
    say("orphan comes to us", end_of(-1));
    let pid = child(|| {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        let mut s = 0;
        prctl(PR_GET_PDEATHSIG, &mut s);
        s
    });
    say("pdeathsig", end_of(pid));
}

pub unsafe fn groups() {
    let pid = child(|| {
        ret("setsid", i32::from(setsid() != getpid()));
        show("leader", getsid(0) == getpid() && getpgrp() == getpid());
        ret("setsid again", setsid());
        ret("setpgid of a leader", setpgid(0, 0));
        let inner = child(|| {
            show("inherited", getpgrp() == getppid() && getsid(0) == getppid());
            ret("own group", setpgid(0, 0));
            show("leader", getpgrp() == getpid());
            ret("back", setpgid(0, getppid()));
            ret("foreign group", setpgid(0, 1));
            0
        });
        end_of(inner);
        let tty = open("/dev/tty", O_RDWR);
        say("no terminal", if tty < 0 { errno_name() } else { "has one".into() });
        0
    });
    say("child", end_of(pid));
    ret("negative", setpgid(0, -1));
    ret("missing", getpgid(99_999_999));
    ret("sid of missing", getsid(99_999_999));
    let pid = child(|| {
        nap(2000);
        0
    });
    ret("child from outside", setpgid(pid, pid));
    show("seen", getpgid(pid) == pid);
    kill(-pid, SIGTERM);
    say("by group", end_of(pid));
    let leader = child(|| {
        setpgid(0, 0);
        for _ in 0..3 {
            child(|| {
                pause();
                0
            });
        }
        pause();
        0
    });
    setpgid(leader, leader);
    nap(30);
    kill(-leader, SIGKILL);
    say("whole group", end_of(leader));
}

pub unsafe fn prctls() {
    ret("set name", prctl(PR_SET_NAME, c"a-rather-long-process-name".as_ptr()));
    let mut b = [0u8; 17];
    ret("get name", prctl(PR_GET_NAME, b.as_mut_ptr()));
    say("name", String::from_utf8_lossy(&b[..15]));
    say("comm", get("/proc/self/comm").trim());
    ret("dumpable", prctl(PR_GET_DUMPABLE));
    ret("set dumpable", prctl(PR_SET_DUMPABLE, 0));
    ret("dumpable", prctl(PR_GET_DUMPABLE));
    ret("bad dumpable", prctl(PR_SET_DUMPABLE, 7));
    ret("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    ret("get", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    ret("cannot be taken back", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    ret("keepcaps", prctl(PR_GET_KEEPCAPS));
    ret("unknown", prctl(987_654));
}

pub unsafe fn pipelines() {
    // cat | tr | wc by hand.
    let (a, b, d) = (pipe(), pipe(), pipe());
    let run = |from: i32, to: i32, path: &std::ffi::CStr, args: &[&std::ffi::CStr]| {
        child(|| {
            dup2(from, 0);
            dup2(to, 1);
            for fd in 3..40 {
                close(fd);
            }
            let mut argv: Vec<*const c_char> = args.iter().map(|a| a.as_ptr()).collect();
            argv.push(std::ptr::null());
            execvp(path.as_ptr(), argv.as_ptr());
            99
        })
    };
    let pids = [run(a.0, b.1, c"cat", &[c"cat"]), run(b.0, d.1, c"tr", &[c"tr", c"a-z", c"A-Z"])];
    for fd in [a.0, b.0, b.1, d.1] {
        close(fd);
    }
    put_fd(a.1, "through two programs\n");
    close(a.1);
    say("result", rest(d.0).trim());
    for pid in pids {
        say("ended", end_of(pid));
    }
    let (r, w) = pipe();
    let pid = child(|| {
        close(r);
        let block = [b'x'; 10_000];
        for _ in 0..100 {
            write(w, block.as_ptr().cast(), block.len());
        }
        0
    });
    close(w);
    let mut total = 0;
    let mut buffer = [0u8; 7777];
    loop {
        let n = read(r, buffer.as_mut_ptr().cast(), buffer.len());
        if n <= 0 {
            break;
        }
        total += n;
    }
    show("a megabyte", total);
    say("writer", end_of(pid));
    let yes = child(|| {
        handle(SIGPIPE, SIG_DFL, 0);
        let (r, w) = pipe();
        let inner = child(|| {
            close(r);
            loop {
                put_fd(w, "y\n");
            }
        });
        close(w);
        get_fd(r, 10);
        close(r);
        say("writer without reader", end_of(inner));
        0
    });
    say("done", end_of(yes));
}
