//! What a process may use: scheduling, priorities, limits with their effects.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{
    child, end_of, errno_name, get, handle, nap, open, pipe, put_fd, ret, say, set_of, show, z,
};

static COUNT: AtomicI32 = AtomicI32::new(0);
extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, SeqCst);
}

const fn limit(cur: u64, max: u64) -> rlimit {
    rlimit { rlim_cur: cur, rlim_max: max }
}

/// `struct sched_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

unsafe fn attr(step: &str, pid: i32) {
    let mut a = Attr::default();
    let r = syscall(SYS_sched_getattr, pid, &mut a, std::mem::size_of::<Attr>(), 0);
    if r < 0 {
        return say(step, errno_name());
    }
    show(step, (a.size, a.policy, a.flags, a.nice, a.priority));
}

pub unsafe fn scheduling() {
    setpriority(PRIO_PROCESS, 0, 0);
    let param = |p: i32| sched_param { sched_priority: p };
    for (name, policy) in [
        ("OTHER", SCHED_OTHER),
        ("FIFO", SCHED_FIFO),
        ("RR", SCHED_RR),
        ("BATCH", SCHED_BATCH),
        ("4", 4),
        ("IDLE", SCHED_IDLE),
        ("DEADLINE", 6),
        ("8", 8),
        ("-1", -1),
    ] {
        ret(&format!("{name}: most"), sched_get_priority_max(policy));
        ret(&format!("{name}: least"), sched_get_priority_min(policy));
        for priority in [-1, 0, 1, 99, 100] {
            ret(&format!("{name} {priority}"), sched_setscheduler(0, policy, &param(priority)));
        }
        ret("policy", sched_getscheduler(0));
        let mut p = param(-5);
        ret("param", sched_getparam(0, &mut p));
        show("priority", p.sched_priority);
        attr("attr", 0);
        sched_setscheduler(0, SCHED_OTHER, &param(0));
    }
    ret("null", sched_setscheduler(0, SCHED_OTHER, std::ptr::null()));
    ret("nowhere", sched_setscheduler(0, SCHED_OTHER, 8 as *const sched_param));
    ret("nobody", sched_setscheduler(99_999_999, SCHED_OTHER, &param(0)));
    ret("negative", sched_setscheduler(-1, SCHED_OTHER, &param(0)));
    ret("getscheduler of nobody", sched_getscheduler(99_999_999));
    ret("getscheduler, negative", sched_getscheduler(-1));
    ret("setparam", sched_setparam(0, &param(1)));
    ret("setparam 0", sched_setparam(0, &param(0)));
    ret("setparam, null", sched_setparam(0, std::ptr::null()));
    ret("getparam, null", sched_getparam(0, std::ptr::null_mut()));
    ret("getparam, nobody", sched_getparam(99_999_999, &mut param(0)));
    const RESET: i32 = 0x4000_0000;
    ret("reset on fork", sched_setscheduler(0, SCHED_BATCH | RESET, &param(0)));
    ret("policy", sched_getscheduler(0));
    attr("attr", 0);
    setpriority(PRIO_PROCESS, 0, 5);
    let pid = child(|| {
        ret("child's policy", sched_getscheduler(0));
        ret("child's priority", getpriority(PRIO_PROCESS, 0));
        0
    });
    end_of(pid);
    sched_setscheduler(0, SCHED_RR | RESET, &param(5));
    let pid = child(|| {
        ret("child of a real-time one", sched_getscheduler(0));
        0
    });
    end_of(pid);
    sched_setscheduler(0, SCHED_FIFO, &param(5));
    let mut t: timespec = z();
    ret("interval of FIFO", sched_rr_get_interval(0, &mut t));
    show("slice", (t.tv_sec, t.tv_nsec));
    sched_setscheduler(0, SCHED_RR, &param(5));
    ret("interval of RR", sched_rr_get_interval(0, &mut t));
    show("slice", (t.tv_sec, t.tv_nsec > 0));
    let pid = child(|| {
        ret("inherited", sched_getscheduler(0));
        0
    });
    end_of(pid);
    sched_setscheduler(0, SCHED_OTHER, &param(0));
    ret("interval of nobody", sched_rr_get_interval(99_999_999, &mut t));
    ret("interval, negative", sched_rr_get_interval(-1, &mut t));
    ret("interval nowhere", sched_rr_get_interval(0, 16 as *mut timespec));
    ret("yield", sched_yield());
}

pub unsafe fn scheduling_attributes() {
    setpriority(PRIO_PROCESS, 0, 0);
    let good = Attr { size: 48, ..Default::default() };
    let set = |step: &str, pid: i32, a: &Attr, flags: u32| {
        let mut a = *a;
        let r = syscall(SYS_sched_setattr, pid, &mut a, flags);
        if r < 0 {
            return say(step, format!("{} (size {})", errno_name(), a.size));
        }
        attr(step, pid);
    };
    set("plain", 0, &good, 0);
    for size in [0, 1, 47, 48, 56, 57, 64, 4095, 4096, 4097] {
        // Room enough behind for what is read.
        let mut room = [0u8; 8192];
        room[..4].copy_from_slice(&(size as u32).to_le_bytes());
        let r = syscall(SYS_sched_setattr, 0, room.as_mut_ptr(), 0);
        let told = u32::from_le_bytes([room[0], room[1], room[2], room[3]]);
        say(
            &format!("size {size}"),
            if r < 0 { errno_name() } else { "ok".into() } + &format!(" told {told}"),
        );
    }
    let mut room = [0u8; 128];
    room[0] = 100;
    room[90] = 1;
    ret("something behind", syscall(SYS_sched_setattr, 0, room.as_mut_ptr(), 0));
    set("flags", 0, &good, 1);
    set("nobody", 99_999_999, &good, 0);
    set("negative", -1, &good, 0);
    ret("null", syscall(SYS_sched_setattr, 0, 0, 0));
    ret("nowhere", syscall(SYS_sched_setattr, 0, 8, 0));
    set("nice 3", 0, &Attr { nice: 3, ..good }, 0);
    ret("priority", getpriority(PRIO_PROCESS, 0));
    set("nice 40", 0, &Attr { nice: 40, ..good }, 0);
    set("nice -40", 0, &Attr { nice: -40, ..good }, 0);
    set("nice 0", 0, &good, 0);
    set("priority without real time", 0, &Attr { priority: 1, ..good }, 0);
    set("FIFO 0", 0, &Attr { policy: 1, ..good }, 0);
    set("FIFO 10", 0, &Attr { policy: 1, priority: 10, ..good }, 0);
    set("FIFO 100", 0, &Attr { policy: 1, priority: 100, ..good }, 0);
    set("keep policy", 0, &Attr { policy: 3, flags: 8, priority: 11, ..good }, 0);
    set("keep parameters", 0, &Attr { policy: 2, flags: 0x10, priority: 7, ..good }, 0);
    set("keep all", 0, &Attr { policy: 2, flags: 0x18, priority: 7, ..good }, 0);
    set("reset on fork", 0, &Attr { flags: 1, ..good }, 0);
    set("unknown flag", 0, &Attr { flags: 0x100, ..good }, 0);
    set("negative policy", 0, &Attr { policy: u32::MAX, ..good }, 0);
    set("no policy", 0, &Attr { policy: 4, ..good }, 0);
    set("deadline of nought", 0, &Attr { policy: 6, ..good }, 0);
    let late = Attr { policy: 6, runtime: 20_000_000, deadline: 10_000_000, period: 30_000_000, ..good };
    set("runtime beyond the deadline", 0, &late, 0);
    set("back", 0, &good, 0);
    for (step, size, flags) in
        [("small", 47u32, 0), ("large", 4097, 0), ("flags", 48, 1), ("first version", 48, 0)]
    {
        let mut room = [0u8; 8192];
        let r = syscall(SYS_sched_getattr, 0, room.as_mut_ptr(), size, flags);
        let told = u32::from_le_bytes([room[0], room[1], room[2], room[3]]);
        say(&format!("get, {step}"), if r < 0 { errno_name() } else { format!("told {told}") });
    }
    ret("get, null", syscall(SYS_sched_getattr, 0, 0, 48, 0));
    ret("get, nobody", syscall(SYS_sched_getattr, 99_999_999, &mut Attr::default(), 48, 0));
    if geteuid() != 0 {
        return;
    }
    let pid = child(|| {
        setresuid(1000, 1000, 1000);
        set("a user's nice 5", 0, &Attr { nice: 5, ..good }, 0);
        set("a user's nice 0", 0, &good, 0);
        set("a user's FIFO", 0, &Attr { policy: 1, priority: 1, ..good }, 0);
        set("of root", getppid(), &good, 0);
        set("idle", 0, &Attr { policy: 5, nice: 5, ..good }, 0);
        set("no longer idle", 0, &Attr { policy: 0, nice: 5, ..good }, 0);
        0
    });
    end_of(pid);
}

pub unsafe fn affinities() {
    let size = std::mem::size_of::<cpu_set_t>();
    let mut all: cpu_set_t = z();
    ret("get", sched_getaffinity(0, size, &mut all));
    let raw = syscall(SYS_sched_getaffinity, 0, size, &mut all);
    show("bytes", raw >= 8);
    for len in [0, 1, 7, 8, 9, 16] {
        let r = syscall(SYS_sched_getaffinity, 0, len, &mut all);
        say(&format!("get {len}"), if r < 0 { errno_name() } else { (r > 0).to_string() });
    }
    ret("get nowhere", syscall(SYS_sched_getaffinity, 0, size, 8));
    let mut one: cpu_set_t = z();
    let first = (0..1024).find(|i| CPU_ISSET(*i, &all)).unwrap_or(0);
    CPU_SET(first, &mut one);
    ret("one", sched_setaffinity(0, size, &one));
    let mut now: cpu_set_t = z();
    sched_getaffinity(0, size, &mut now);
    show("one", CPU_EQUAL(&now, &one));
    let status = get("/proc/self/status");
    let of = |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap_or("").replace('\t', " ");
    show("status", of("Cpus_allowed_list:") == format!("Cpus_allowed_list: {first}"));
    let pid = child(|| {
        let mut now: cpu_set_t = z();
        sched_getaffinity(0, size, &mut now);
        i32::from(CPU_EQUAL(&now, &one))
    });
    say("inherited", end_of(pid));
    let none: cpu_set_t = z();
    ret("none", sched_setaffinity(0, size, &none));
    ret("empty", syscall(SYS_sched_setaffinity, 0, 0, &all));
    ret("short", syscall(SYS_sched_setaffinity, 0, 1, &all));
    ret("nowhere", syscall(SYS_sched_setaffinity, 0, 8, 8));
    ret("nobody", sched_setaffinity(99_999_999, size, &all));
    ret("all", sched_setaffinity(0, size, &all));
    sched_getaffinity(0, size, &mut now);
    show("all", CPU_EQUAL(&now, &all));
}

pub unsafe fn priorities() {
    setpgid(0, 0);
    setpriority(PRIO_PROCESS, 0, 0);
    for (step, which, who) in [
        ("own", PRIO_PROCESS, 0),
        ("group", PRIO_PGRP, 0),
        ("nobody", PRIO_PROCESS, 99_999_999),
        ("no group", PRIO_PGRP, 99_999_999),
        ("no user", PRIO_USER, 77_777),
        ("negative", PRIO_PROCESS, -1i32 as u32),
        ("bad kind", 7, 0),
    ] {
        ret(step, syscall(SYS_getpriority, which, who));
        ret(step, syscall(SYS_setpriority, which, who, 3));
        ret(step, syscall(SYS_getpriority, which, who));
    }
    ret("far", setpriority(PRIO_PROCESS, 0, 100));
    ret("read", syscall(SYS_getpriority, PRIO_PROCESS, 0));
    ret("near", setpriority(PRIO_PROCESS, 0, -100));
    ret("read", syscall(SYS_getpriority, PRIO_PROCESS, 0));
    setpriority(PRIO_PROCESS, 0, 4);
    let pid = child(|| {
        ret("inherited", syscall(SYS_getpriority, PRIO_PROCESS, 0));
        let stat = get("/proc/self/stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        show("stat", (fields[15], fields[16]));
        0
    });
    end_of(pid);
    // Each thread has its own.
    let other = std::thread::spawn(|| {
        setpriority(PRIO_PROCESS, 0, 9);
        getpriority(PRIO_PROCESS, 0)
    });
    show("thread's", other.join().unwrap_or(-1));
    ret("own", getpriority(PRIO_PROCESS, 0));
    if geteuid() == 0 {
        let pid = child(|| {
            setresuid(1000, 1000, 1000);
            ret("user: higher", setpriority(PRIO_PROCESS, 0, 6));
            ret("user: lower again", setpriority(PRIO_PROCESS, 0, 5));
            ret("of root", setpriority(PRIO_PROCESS, getppid() as u32, 10));
            0
        });
        end_of(pid);
    }
    // I/O priorities.
    let io = |class: i32, level: i32| class << 13 | level;
    ret("io get", syscall(SYS_ioprio_get, 1, 0));
    ret("io best effort", syscall(SYS_ioprio_set, 1, 0, io(2, 6)));
    ret("io get", syscall(SYS_ioprio_get, 1, 0));
    ret("io idle", syscall(SYS_ioprio_set, 1, 0, io(3, 0)));
    ret("io get", syscall(SYS_ioprio_get, 1, 0));
    ret("io level 8", syscall(SYS_ioprio_set, 1, 0, io(2, 8)));
    ret("io none with a level", syscall(SYS_ioprio_set, 1, 0, io(0, 3)));
    ret("io class 4", syscall(SYS_ioprio_set, 1, 0, io(4, 0)));
    ret("io bad kind", syscall(SYS_ioprio_set, 9, 0, io(2, 0)));
    ret("io nobody", syscall(SYS_ioprio_get, 1, 99_999_999));
    ret("io no group", syscall(SYS_ioprio_get, 2, 99_999_999));
}

pub unsafe fn limit_calls() {
    for which in 0..=16 {
        let mut l: rlimit = z();
        ret(&format!("get {which}"), syscall(SYS_prlimit64, 0, which, 0, &mut l));
        let lower = limit(l.rlim_cur.min(1 << 40) / 2, l.rlim_max);
        let mut now: rlimit = z();
        let pid = child(|| {
            ret("set", syscall(SYS_prlimit64, 0, which, &lower, 0));
            syscall(SYS_prlimit64, 0, which, 0, &mut now);
            show("as set", now.rlim_cur == lower.rlim_cur && now.rlim_max == lower.rlim_max);
            ret("soft above hard", syscall(SYS_prlimit64, 0, which, &limit(2, 1), 0));
            0
        });
        end_of(pid);
    }
    ret("unknown", syscall(SYS_prlimit64, 0, 99, 0, 0));
    ret("new nowhere", syscall(SYS_prlimit64, 0, 7, 8, 0));
    ret("old nowhere", syscall(SYS_prlimit64, 0, 7, 0, 8));
    ret("more than may be open", syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit(1 << 40, 1 << 40)));
    let pid = child(|| {
        nap(300);
        0
    });
    let mut l: rlimit = z();
    ret("another's", prlimit(pid, RLIMIT_CORE, &limit(0, 5), &mut l));
    ret("read back", prlimit(pid, RLIMIT_CORE, std::ptr::null(), &mut l));
    show("limits", (l.rlim_cur, l.rlim_max));
    let text = get(&format!("/proc/{pid}/limits"));
    let row = text.lines().find(|l| l.starts_with("Max core")).unwrap_or("").to_owned();
    show("in proc", row.split_whitespace().collect::<Vec<_>>());
    kill(pid, SIGKILL);
    end_of(pid);
    ret("of a zombie", prlimit(pid, RLIMIT_CORE, std::ptr::null(), &mut l));
}

pub unsafe fn limit_effects() {
    // RLIMIT_FSIZE: what fits is written, then SIGXFSZ and EFBIG.
    let pid = child(|| {
        setrlimit(RLIMIT_FSIZE, &limit(100, 200));
        let fd = open("f", O_CREAT | O_RDWR);
        ret("up to the limit", write(fd, [b'x'; 150].as_ptr().cast(), 150));
        handle(SIGXFSZ, count as usize, 0);
        ret("beyond", write(fd, [b'x'; 1].as_ptr().cast(), 1));
        show("signals", COUNT.load(SeqCst));
        ret("pwrite beyond", pwrite(fd, [b'x'; 1].as_ptr().cast(), 1, 500));
        ret("truncate beyond", ftruncate(fd, 101));
        ret("truncate below", ftruncate(fd, 50));
        ret("allocate beyond", posix_fallocate(fd, 0, 200));
        show("signals", COUNT.load(SeqCst));
        ret("inside", pwrite(fd, [b'x'; 10].as_ptr().cast(), 10, 95));
        let (r, w) = pipe();
        ret("not a pipe", write(w, [b'x'; 300].as_ptr().cast(), 300));
        close(r);
        let m = memfd_create(c"m".as_ptr(), 0);
        ret("memory", write(m, [b'x'; 300].as_ptr().cast(), 300));
        signal(SIGXFSZ, SIG_IGN);
        ret("ignored", pwrite(fd, [b'x'; 1].as_ptr().cast(), 1, 500));
        signal(SIGXFSZ, SIG_DFL);
        write(fd, [b'x'; 300].as_ptr().cast(), 300);
        ret("last", write(fd, [b'x'; 300].as_ptr().cast(), 300));
        0
    });
    say("file size", end_of(pid));
    // RLIMIT_NOFILE.
    let pid = child(|| {
        for fd in 3..64 {
            close(fd);
        }
        setrlimit(RLIMIT_NOFILE, &limit(5, 10));
        let fds: Vec<i32> = (0..4).map(|_| open("/dev/null", O_RDONLY)).collect();
        show("numbers", fds);
        ret("dup2 beyond", dup2(0, 5));
        ret("dup2 below", dup2(0, 4));
        ret("dupfd beyond", fcntl(0, F_DUPFD, 5));
        ret("pipe", libc::pipe([0; 2].as_mut_ptr()));
        ret("socket", socket(AF_UNIX, SOCK_STREAM, 0));
        ret("epoll", epoll_create1(0));
        let mut p: [pollfd; 6] = z();
        ret("poll of more", poll(p.as_mut_ptr(), 6, 0));
        setrlimit(RLIMIT_NOFILE, &limit(2, 10));
        ret("what is open works", fcntl(4, F_GETFD));
        ret("none", open("/dev/null", O_RDONLY));
        ret("close and open", {
            close(1);
            dup(2)
        });
        0
    });
    say("open files", end_of(pid));
    // RLIMIT_CPU: SIGXCPU at the soft one and each second, then SIGKILL.
    let pid = child(|| {
        setrlimit(RLIMIT_CORE, &limit(0, 0));
        handle(SIGXCPU, count as usize, 0);
        setrlimit(RLIMIT_CPU, &limit(1, 2));
        let start = std::time::Instant::now();
        while COUNT.load(SeqCst) == 0 && start.elapsed().as_secs() < 10 {
            std::hint::spin_loop();
        }
        show("told", COUNT.load(SeqCst));
        while start.elapsed().as_secs() < 15 {
            std::hint::spin_loop();
        }
        0
    });
    say("processor time", end_of(pid));
    // RLIMIT_AS, RLIMIT_DATA.
    let pid = child(|| {
        let map = |len: usize, flags: i32| {
            let p = mmap(std::ptr::null_mut(), len, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, -1, 0);
            if p == MAP_FAILED {
                errno_name()
            } else {
                munmap(p, len);
                "ok".to_owned()
            }
        };
        setrlimit(RLIMIT_DATA, &limit(64 << 20, RLIM_INFINITY));
        say("data: small", map(1 << 20, MAP_ANONYMOUS));
        say("data: large", map(65 << 20, MAP_ANONYMOUS));
        say("data: brk", {
            let p = sbrk(65 << 20);
            if p as isize == -1 {
                errno_name()
            } else {
                "ok".into()
            }
        });
        setrlimit(RLIMIT_DATA, &limit(RLIM_INFINITY, RLIM_INFINITY));
        setrlimit(RLIMIT_AS, &limit(256 << 20, RLIM_INFINITY));
        say("space: large", map(257 << 20, MAP_ANONYMOUS));
        say("space: reserved", map(257 << 20, MAP_ANONYMOUS | MAP_NORESERVE));
        0
    });
    say("memory", end_of(pid));
    // RLIMIT_STACK for a new program: arguments.
    let pid = child(|| {
        setrlimit(RLIMIT_STACK, &limit(600 << 10, RLIM_INFINITY));
        let part = "b".repeat(100_000);
        let e = std::process::Command::new("/bin/true").args([&part, &part]).status();
        show("too much for a quarter", e.map_err(|e| e.raw_os_error()).map(|s| s.code()));
        let e = std::process::Command::new("/bin/true").args([&part]).status();
        show("fits", e.map_err(|e| e.raw_os_error()).map(|s| s.code()));
        0
    });
    say("stack", end_of(pid));
    if geteuid() != 0 {
        return;
    }
    // RLIMIT_NPROC: counted by user.
    let pid = child(|| {
        setrlimit(RLIMIT_NPROC, &limit(3, 3));
        let pid = child(|| 0);
        say("root does not care", end_of(pid));
        setresuid(54_321, 54_321, 54_321);
        let kids: Vec<i32> = (0..4)
            .map(|_| {
                child(|| {
                    nap(200);
                    0
                })
            })
            .collect();
        show("made", kids.iter().map(|k| *k > 0).collect::<Vec<_>>());
        let thread = std::thread::Builder::new().spawn(|| ());
        show("thread", thread.map(drop).map_err(|e| e.raw_os_error()));
        for k in kids.iter().filter(|k| **k > 0) {
            end_of(*k);
        }
        0
    });
    say("processes", end_of(pid));
    // More than allowed after a change of user: exec says so.
    let pid = child(|| {
        let held = child(|| {
            setresuid(54_322, 54_322, 54_322);
            nap(300);
            0
        });
        nap(50);
        setrlimit(RLIMIT_NPROC, &limit(1, 1));
        setresuid(54_322, 54_322, 54_322);
        let argv = [c"true".as_ptr(), std::ptr::null()];
        ret("exec", execv(c"/bin/true".as_ptr(), argv.as_ptr()));
        end_of(held);
        7
    });
    say("too many of that user", end_of(pid));
}

pub unsafe fn queued_signals() {
    let first = SIGRTMIN();
    let block = set_of(&[first, SIGUSR1, SIGUSR2]);
    sigprocmask(SIG_BLOCK, &block, std::ptr::null_mut());
    let value = sigval { sival_ptr: std::ptr::null_mut() };
    let pid = child(|| {
        if geteuid() == 0 {
            // Of a user who has nothing pending elsewhere.
            setresuid(54_323, 54_323, 54_323);
        }
        ret("limit", setrlimit(RLIMIT_SIGPENDING, &limit(3, 3)));
        let queued: Vec<i32> = (0..5).map(|_| sigqueue(getpid(), first, value)).collect();
        show("queued", queued);
        say("then", errno_name());
        ret("tgkill of a real-time one", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), first));
        ret("kill of a real-time one", kill(getpid(), first));
        ret("a standard one by sigqueue", sigqueue(getpid(), SIGUSR1, value));
        ret("a standard one by kill", kill(getpid(), SIGUSR2));
        let status = get("/proc/self/status");
        show("SigQ", status.lines().find(|l| l.starts_with("SigQ")));
        let now: timespec = z();
        let mut info: siginfo_t = z();
        let mut got = Vec::new();
        while sigtimedwait(&block, &mut info, &now) > 0 {
            got.push((info.si_signo, info.si_code));
        }
        show("taken", got);
        show("again", sigqueue(getpid(), first, value));
        sigtimedwait(&block, &mut info, &now);
        // Timers hold a place each.
        let mut timers = Vec::new();
        for _ in 0..5 {
            let mut id: timer_t = z();
            timers.push(timer_create(CLOCK_MONOTONIC, std::ptr::null_mut(), &mut id));
        }
        show("timers", timers);
        say("then", errno_name());
        0
    });
    say("child", end_of(pid));
    // A child's own queue counts for the same user.
    let pid = child(|| {
        if geteuid() == 0 {
            setresuid(54_324, 54_324, 54_324);
        }
        setrlimit(RLIMIT_SIGPENDING, &limit(3, 3));
        sigqueue(getpid(), first, value);
        sigqueue(getpid(), first, value);
        let inner = child(|| {
            let queued: Vec<i32> = (0..3).map(|_| sigqueue(getpid(), first, value)).collect();
            show("child queued", queued);
            0
        });
        end_of(inner);
        show("after its end", (sigqueue(getpid(), first, value), sigqueue(getpid(), first, value)));
        0
    });
    say("shared", end_of(pid));
    let (r, w) = pipe();
    close(r);
    put_fd(w, "");
}

/// Whether a core was written is told with the end.
pub unsafe fn core_dumps() {
    let end = |step: &str, signal: i32, core: u64, dumpable: i32| {
        let pid = child(|| {
            setrlimit(RLIMIT_CORE, &limit(core, core));
            prctl(PR_SET_DUMPABLE, dumpable);
            signal_self(signal);
            0
        });
        let mut info: siginfo_t = z();
        waitid(P_PID, pid as id_t, &mut info, WEXITED | WNOWAIT);
        let mut status = 0;
        waitpid(pid, &mut status, 0);
        show(step, (WTERMSIG(status), WCOREDUMP(status), info.si_code, info.si_status()));
        let file = std::fs::metadata("core").map(|m| m.len() > 0);
        show("a file", (file.is_ok(), file.unwrap_or(false)));
        drop(std::fs::remove_file("core"));
    };
    end("none allowed", SIGABRT, 0, 1);
    end("allowed", SIGABRT, RLIM_INFINITY, 1);
    end("by a fault", SIGSEGV, RLIM_INFINITY, 1);
    end("no core by this signal", SIGTERM, RLIM_INFINITY, 1);
    end("killed", SIGKILL, RLIM_INFINITY, 1);
    end("not dumpable", SIGQUIT, RLIM_INFINITY, 0);
    end("too small for anything", SIGQUIT, 1, 1);
    end("small", SIGQUIT, 8192, 1);
    // One that is there already, of a user who may not write there.
    std::fs::create_dir("d").ok();
    chdir(c"d".as_ptr());
    if geteuid() == 0 {
        chmod(c".".as_ptr(), 0o555);
        let pid = child(|| {
            setresuid(1000, 1000, 1000);
            setrlimit(RLIMIT_CORE, &limit(RLIM_INFINITY, RLIM_INFINITY));
            prctl(PR_SET_DUMPABLE, 1);
            abort()
        });
        let mut status = 0;
        waitpid(pid, &mut status, 0);
        show("no place", (WTERMSIG(status), WCOREDUMP(status)));
    }
}

unsafe fn signal_self(signal: i32) {
    handle(signal, SIG_DFL, 0);
    if signal == SIGSEGV {
        std::ptr::read_volatile(8 as *const u8);
    }
    raise(signal);
}
