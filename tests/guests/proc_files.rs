//! `/proc` as programs read it: that files are there, and what stands in them that does not change.

use libc::*;

use crate::kit::{child, end_of, errno_name, get, get_fd, nap, open, pipe, put_fd, rest, ret, say, show, z};

/// Field `n` (as proc(5) counts them) of a `stat` line.
fn field(stat: &str, n: usize) -> &str {
    stat.rsplit(") ").next().unwrap_or("").split(' ').nth(n - 3).unwrap_or("none").trim()
}

fn shape(text: &str) -> String {
    // Numbers differ; what kind of a line it is does not.
    text.lines()
        .map(|l| {
            l.split_whitespace()
                .map(|w| if w.parse::<f64>().is_ok() { "N" } else { w })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
        .join(" | ")
}

pub unsafe fn own() {
    setpriority(PRIO_PROCESS, 0, 0);
    let stat = get("/proc/self/stat");
    show("fields", stat.rsplit(") ").next().unwrap_or("").split_whitespace().count() + 2);
    show("pid", stat.starts_with(&format!("{} (", getpid())));
    for (name, n, value) in [
        ("state", 3, "R".to_owned()),
        ("parent", 4, getppid().to_string()),
        ("group", 5, getpgrp().to_string()),
        ("session", 6, getsid(0).to_string()),
        ("priority", 18, "20".to_owned()),
        ("nice", 19, "0".to_owned()),
        ("threads", 20, "1".to_owned()),
        ("alarm", 21, "0".to_owned()),
        ("exit signal", 38, "17".to_owned()),
        ("real-time priority", 40, "0".to_owned()),
        ("policy", 41, "0".to_owned()),
    ] {
        show(name, field(&stat, n) == value);
    }
    let number = |n: usize| field(&stat, n).parse::<u64>().unwrap_or(0);
    show("start", number(22) > 0);
    show("size and resident", number(23) > number(24) && number(24) > 100);
    show("code", number(26) > 0 && number(27) > number(26));
    show("stack", number(28) > 0);
    show("data, break, arguments, environment", (45..=51).all(|n| number(n) > 0));
    let cpu = number(39);
    show("processor", cpu < 1024);
    let status = get("/proc/self/status");
    let keys: Vec<&str> = status.lines().filter_map(|l| l.split(':').next()).collect();
    let wanted = [
        "Name",
        "Umask",
        "State",
        "Tgid",
        "Ngid",
        "Pid",
        "PPid",
        "TracerPid",
        "Uid",
        "Gid",
        "FDSize",
        "Groups",
        "NStgid",
        "NSpid",
        "NSpgid",
        "NSsid",
        "VmPeak",
        "VmSize",
        "VmLck",
        "VmPin",
        "VmHWM",
        "VmRSS",
        "RssAnon",
        "RssFile",
        "RssShmem",
        "VmData",
        "VmStk",
        "VmExe",
        "VmLib",
        "VmSwap",
        "Threads",
        "SigQ",
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
        "Cpus_allowed_list",
        "Mems_allowed",
        "Mems_allowed_list",
        "voluntary_ctxt_switches",
        "nonvoluntary_ctxt_switches",
    ];
    show("missing", wanted.iter().filter(|w| !keys.contains(w)).collect::<Vec<_>>());
    let of = |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap_or("").replace('\t', " ");
    for key in [
        "Name",
        "Umask",
        "State",
        "Ngid",
        "TracerPid",
        "Threads",
        "SigPnd",
        "VmLck",
        "Seccomp:",
        "CapInh",
        "CapAmb",
    ] {
        say(key, of(key));
    }
    let kb = |key: &str| of(key).split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    show("resident parts", kb("VmRSS:") == kb("RssAnon:") + kb("RssFile:") + kb("RssShmem:"));
    show("peaks", kb("VmPeak:") >= kb("VmSize:") && kb("VmHWM:") >= kb("VmRSS:") && kb("VmRSS:") > 100);
    show("text and libraries", kb("VmExe:") > 0 && kb("VmLib:") > 0);
    let statm = get("/proc/self/statm");
    let pages: Vec<u64> = statm.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
    show("statm", (pages.len(), pages[0] > pages[1], pages[1] > pages[2], pages[3] > 0, pages[5] > 0));
    show("agrees with status", pages[0] * 4 == kb("VmSize:"));
    let maps = get("/proc/self/maps");
    for name in ["[heap]", "[stack]", "[vdso]"] {
        show(name, maps.contains(name));
    }
    let smaps = get("/proc/self/smaps");
    let mut keys: Vec<&str> = smaps
        .lines()
        .skip(1)
        .map_while(|l| l.split_once(": ").map(|k| k.0))
        .take_while(|k| !k.contains('-'))
        .collect();
    keys.sort_unstable();
    let wanted = [
        "Size",
        "KernelPageSize",
        "MMUPageSize",
        "Rss",
        "Pss",
        "Shared_Clean",
        "Shared_Dirty",
        "Private_Clean",
        "Private_Dirty",
        "Referenced",
        "Anonymous",
        "Swap",
        "Locked",
    ];
    show(
        "missing in smaps",
        wanted.iter().filter(|w| !smaps.contains(&format!("\n{w}:"))).collect::<Vec<_>>(),
    );
    let rollup = get("/proc/self/smaps_rollup");
    show("rollup", rollup.lines().next().is_some_and(|l| l.ends_with("[rollup]")));
    show(
        "missing in the rollup",
        ["Rss", "Pss", "Shared_Clean", "Private_Dirty", "Anonymous", "Swap"]
            .iter()
            .filter(|w| !rollup.contains(&format!("\n{w}:")))
            .collect::<Vec<_>>(),
    );
    show("io", shape(&get("/proc/self/io")));
    say("limits", shape(get("/proc/self/limits").lines().next().unwrap_or("")));
    show("limits", get("/proc/self/limits").lines().count());
    say("oom_score_adj", get("/proc/self/oom_score_adj").trim());
    say("wchan", get("/proc/self/wchan"));
    show("schedstat", shape(&get("/proc/self/schedstat")));
    show(
        "sched",
        get("/proc/self/sched").starts_with("guests (") || get("/proc/self/sched").contains(", #threads: 1)"),
    );
    show("syscall", get("/proc/self/syscall").starts_with("0 0x"));
    show(
        "auxv",
        std::fs::read("/proc/self/auxv").map(|b| b.len() % 16 == 0 && b.len() > 200).unwrap_or(false),
    );
    show("cgroup", get("/proc/self/cgroup").lines().all(|l| l.split(':').count() >= 3));
    show(
        "mountinfo",
        get("/proc/self/mountinfo").lines().all(|l| l.contains(" - ") && l.split(' ').count() >= 10),
    );
    show("personality", get("/proc/self/personality"));
    show("slack", get("/proc/self/timerslack_ns"));
    show("coredump_filter", get("/proc/self/coredump_filter"));
    show("loginuid", get("/proc/self/loginuid"));
    for name in ["mem", "ns", "stack"] {
        show(
            name,
            std::fs::symlink_metadata(format!("/proc/self/{name}"))
                .map(|m| {
                    use std::os::unix::fs::PermissionsExt;
                    format!("{:o}", m.permissions().mode())
                })
                .map_err(|e| e.raw_os_error()),
        );
    }
    let mut names: Vec<_> = std::fs::read_dir("/proc/self/ns")
        .map(|d| d.flatten().map(|e| e.file_name()).collect())
        .unwrap_or_default();
    names.sort();
    show("namespaces", names);
    show(
        "a namespace",
        std::fs::read_link("/proc/self/ns/pid").map(|p| p.to_string_lossy().starts_with("pid:[")).ok(),
    );
    show("thread's files", std::fs::read_dir("/proc/thread-self").is_ok());
    say("thread's name", get("/proc/thread-self/comm").trim());
    let children = get(&format!("/proc/self/task/{}/children", getpid()));
    show("no children", children);
}

pub unsafe fn others() {
    let (r, w) = pipe();
    let (ready, tell) = pipe();
    let pid = child(|| {
        prctl(PR_SET_NAME, c"a (strange) nam".as_ptr());
        setpriority(PRIO_PROCESS, 0, 7);
        put_fd(tell, "x");
        get_fd(r, 1);
        0
    });
    get_fd(ready, 1);
    nap(50);
    let stat = get(&format!("/proc/{pid}/stat"));
    show("name", stat.contains("(a (strange) nam) S"));
    show("nice", (field(&stat, 18), field(&stat, 19)));
    show("parent", field(&stat, 4) == getpid().to_string());
    show("children", get(&format!("/proc/self/task/{}/children", getpid())).trim() == pid.to_string());
    say("state", get(&format!("/proc/{pid}/status")).lines().find(|l| l.starts_with("State")).unwrap_or(""));
    show("syscall", get(&format!("/proc/{pid}/syscall")).starts_with("0 0x"));
    show("wchan", !get(&format!("/proc/{pid}/wchan")).is_empty());
    kill(pid, SIGSTOP);
    waitpid(pid, std::ptr::null_mut(), WUNTRACED);
    show("stopped", field(&get(&format!("/proc/{pid}/stat")), 3).to_owned());
    kill(pid, SIGCONT);
    put_fd(w, "x");
    let mut info: siginfo_t = z();
    waitid(P_PID, pid as id_t, &mut info, WEXITED | WNOWAIT);
    let stat = get(&format!("/proc/{pid}/stat"));
    show("zombie", (field(&stat, 3), field(&stat, 23), field(&stat, 24), field(&stat, 52)));
    show("its command line", get(&format!("/proc/{pid}/cmdline")));
    show("its statm", get(&format!("/proc/{pid}/statm")));
    show("its maps", get(&format!("/proc/{pid}/maps")));
    show(
        "its descriptors",
        std::fs::read_dir(format!("/proc/{pid}/fd")).map(|d| d.count()).map_err(|e| e.raw_os_error()),
    );
    show("its program", std::fs::read_link(format!("/proc/{pid}/exe")).map_err(|e| e.raw_os_error()));
    show("its place", std::fs::read_link(format!("/proc/{pid}/cwd")).map_err(|e| e.raw_os_error()));
    let status = get(&format!("/proc/{pid}/status"));
    show("no memory", status.contains("VmSize"));
    say("State", status.lines().find(|l| l.starts_with("State")).unwrap_or(""));
    end_of(pid);
    say("gone", get(&format!("/proc/{pid}/stat")));
    let fd = open("/proc/self/stat", O_RDONLY);
    ret("write to stat", put_fd(fd, "x"));
    ret("open for writing", open("/proc/self/stat", O_WRONLY));
    if geteuid() == 0 {
        // What another user may see.
        let (r, w) = pipe();
        let pid = child(|| {
            get_fd(r, 1);
            0
        });
        let kid = child(|| {
            setgroups(0, std::ptr::null());
            setresgid(1000, 1000, 1000);
            setresuid(1000, 1000, 1000);
            for name in [
                "stat",
                "status",
                "cmdline",
                "environ",
                "maps",
                "io",
                "limits",
                "wchan",
                "syscall",
                "auxv",
                "mem",
                "personality",
                "stack",
                "smaps",
                "comm",
                "statm",
                "oom_score",
            ] {
                let fd = open(&format!("/proc/{pid}/{name}"), O_RDONLY);
                say(name, if fd < 0 { errno_name() } else { "open".into() });
            }
            let mut t = [0u8; 100];
            for name in ["exe", "cwd", "root"] {
                let path = crate::kit::c(&format!("/proc/{pid}/{name}"));
                ret(name, readlink(path.as_ptr(), t.as_mut_ptr().cast(), 100).min(0));
            }
            show(
                "fd",
                std::fs::read_dir(format!("/proc/{pid}/fd")).map(|_| ()).map_err(|e| e.raw_os_error()),
            );
            let stat = get(&format!("/proc/{pid}/stat"));
            show(
                "addresses are hidden",
                (field(&stat, 26), field(&stat, 28), field(&stat, 29), field(&stat, 45)),
            );
            0
        });
        end_of(kid);
        put_fd(w, "x");
        end_of(pid);
        // One that may not be dumped belongs to root.
        let pid = child(|| {
            setresgid(1000, 1000, 1000);
            setresuid(1000, 1000, 1000);
            let own = |step: &str| {
                let mut s: stat = z();
                libc::stat(c"/proc/self/stat".as_ptr(), &mut s);
                show(step, (s.st_uid, s.st_gid));
            };
            prctl(PR_SET_DUMPABLE, 1);
            own("dumpable");
            prctl(PR_SET_DUMPABLE, 0);
            own("not dumpable");
            say(
                "its environment",
                if open("/proc/self/environ", O_RDONLY) < 0 { errno_name() } else { "open".into() },
            );
            0
        });
        end_of(pid);
    }
}

/// `/proc/PID/mem`: one's own and a child's.
pub unsafe fn memory() {
    let mut word = 0x1122_3344u32;
    let fd = open("/proc/self/mem", O_RDWR);
    let at = &raw mut word as i64;
    let mut copy = 0u32;
    ret("read", pread(fd, (&raw mut copy).cast(), 4, at));
    show("same", copy == word);
    let new = 0x5566_7788u32;
    ret("write", pwrite(fd, (&raw const new).cast(), 4, at));
    show("changed", (&raw const word).read_volatile() == new);
    word = 1;
    ret("nowhere", pread(fd, (&raw mut copy).cast(), 4, 8));
    ret("write nowhere", pwrite(fd, (&raw mut copy).cast(), 4, 8));
    ret("seek", i32::from(lseek(fd, at, SEEK_SET) == at));
    ret("read on", read(fd, (&raw mut copy).cast(), 4));
    show("moved", lseek(fd, 0, SEEK_CUR) == at + 4);
    ret("from the end", lseek(fd, 0, SEEK_END));
    // Across the end of a mapping: as much as there is.
    let p = mmap(std::ptr::null_mut(), 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        as *mut u8;
    munmap(p.add(8192).cast(), 4096);
    let mut b = vec![0u8; 12288];
    ret("up to the end", pread(fd, b.as_mut_ptr().cast(), 12288, p as i64));
    // What the process itself may not do, a write here does.
    mprotect(p.cast(), 4096, PROT_READ);
    ret("read-only", pwrite(fd, c"new".as_ptr().cast(), 3, p as i64));
    show("there", std::slice::from_raw_parts(p, 3));
    mprotect(p.cast(), 4096, PROT_NONE);
    let file = open("f", O_CREAT | O_RDWR);
    put_fd(file, "content");
    let m = mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_SHARED, open("f", O_RDONLY), 0);
    ret("shared and read-only", pwrite(fd, c"new".as_ptr().cast(), 3, m as i64));
    let m = mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_PRIVATE, file, 0);
    ret("private and read-only", pwrite(fd, c"new".as_ptr().cast(), 3, m as i64));
    say("mapping", String::from_utf8_lossy(std::slice::from_raw_parts(m.cast(), 7)));
    say("file", get("f"));
    // Another's: its parent may, and sees its memory, not its own.
    let (r, w) = pipe();
    let (ready, tell) = pipe();
    let pid = child(|| {
        word = 77;
        put_fd(tell, "x");
        get_fd(r, 1);
        (&raw const word).read_volatile() as i32
    });
    get_fd(ready, 1);
    let theirs = open(&format!("/proc/{pid}/mem"), O_RDWR);
    ret("child's", pread(theirs, (&raw mut copy).cast(), 4, at));
    show("value", copy);
    let new = 44u32;
    ret("write", pwrite(theirs, (&raw const new).cast(), 4, at));
    put_fd(w, "x");
    say("it has", end_of(pid));
    ret("after its end", pread(theirs, (&raw mut copy).cast(), 4, at));
    // A descriptor stays with the memory it was opened for: exec leaves it.
    let (ready, tell) = pipe();
    let pid = child(|| {
        put_fd(tell, "x");
        nap(60);
        let argv = [c"sleep".as_ptr(), c"1".as_ptr(), std::ptr::null()];
        execv(c"/bin/sleep".as_ptr(), argv.as_ptr());
        0
    });
    get_fd(ready, 1);
    let theirs = open(&format!("/proc/{pid}/mem"), O_RDWR);
    nap(200);
    ret("of the program before", pread(theirs, (&raw mut copy).cast(), 4, at));
    kill(pid, SIGKILL);
    end_of(pid);
}

pub unsafe fn globals() {
    for name in [
        "diskstats",
        "stat",
        "meminfo",
        "loadavg",
        "uptime",
        "vmstat",
        "version",
        "cpuinfo",
        "interrupts",
        "filesystems",
        "partitions",
        "swaps",
        "devices",
        "cmdline",
        "mounts",
        "tty/drivers",
    ] {
        show(name, std::fs::symlink_metadata(format!("/proc/{name}")).is_ok());
    }
    let stat = get("/proc/stat");
    let cpus = stat.lines().filter(|l| l.starts_with("cpu")).count();
    show("a line a processor", cpus as i64 == sysconf(_SC_NPROCESSORS_ONLN) + 1);
    for key in ["intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked", "softirq"] {
        show(key, stat.lines().any(|l| l.starts_with(key)));
    }
    let value = |key: &str| {
        stat.lines()
            .find_map(|l| l.strip_prefix(key)?.trim().split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    show(
        "counts",
        value("ctxt") > 0
            && value("processes") > 0
            && value("procs_running") > 0
            && value("btime") > 1_000_000_000,
    );
    show("ten columns", stat.lines().next().map(|l| l.split_whitespace().count()));
    let info = get("/proc/meminfo");
    let wanted = [
        "MemTotal",
        "MemFree",
        "MemAvailable",
        "Buffers",
        "Cached",
        "SwapCached",
        "Active",
        "Inactive",
        "SwapTotal",
        "SwapFree",
        "Dirty",
        "Writeback",
        "AnonPages",
        "Mapped",
        "Shmem",
        "Slab",
        "SReclaimable",
        "SUnreclaim",
        "PageTables",
        "CommitLimit",
        "Committed_AS",
        "VmallocTotal",
        "HugePages_Total",
        "Hugepagesize",
    ];
    show(
        "missing in meminfo",
        wanted.iter().filter(|w| !info.contains(&format!("{w}:"))).collect::<Vec<_>>(),
    );
    show("loadavg", shape(&get("/proc/loadavg")).replace('/', " ").split(' ').count());
    show("uptime", shape(&get("/proc/uptime")));
    let vmstat = get("/proc/vmstat");
    let wanted = ["nr_free_pages", "pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault"];
    show("missing in vmstat", wanted.iter().filter(|w| !vmstat.contains(*w)).collect::<Vec<_>>());
    show("version", get("/proc/version").starts_with("Linux version "));
    show(
        "cpuinfo",
        get("/proc/cpuinfo").lines().filter(|l| l.starts_with("processor")).count() as i64
            == sysconf(_SC_NPROCESSORS_ONLN),
    );
    show("interrupts", get("/proc/interrupts").lines().next().is_some_and(|l| l.contains("CPU0")));
    for name in [
        "kernel/pid_max",
        "kernel/threads-max",
        "kernel/osrelease",
        "kernel/hostname",
        "kernel/core_pattern",
        "kernel/random/uuid",
        "kernel/random/boot_id",
        "kernel/sched_rr_timeslice_ms",
        "kernel/sched_rt_runtime_us",
        "kernel/sched_rt_period_us",
        "kernel/ngroups_max",
        "kernel/cap_last_cap",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmmax",
        "kernel/randomize_va_space",
        "fs/file-max",
        "fs/nr_open",
        "fs/pipe-max-size",
        "fs/inotify/max_user_watches",
        "fs/epoll/max_user_watches",
        "vm/overcommit_memory",
        "vm/max_map_count",
        "vm/swappiness",
        "vm/mmap_min_addr",
        "kernel/perf_event_paranoid",
        "kernel/print-fatal-signals",
        "kernel/sched_autogroup_enabled",
        "kernel/numa_balancing",
        "kernel/auto_msgmni",
        "kernel/panic",
        "kernel/printk",
        "kernel/sysctl_writes_strict",
        "fs/file-nr",
        "vm/dirty_ratio",
        "vm/dirty_background_ratio",
        "vm/dirty_writeback_centisecs",
        "vm/dirty_expire_centisecs",
        "vm/vfs_cache_pressure",
        "vm/page-cluster",
        "vm/panic_on_oom",
        "vm/oom_kill_allocating_task",
        "vm/overcommit_ratio",
        "vm/nr_hugepages",
    ] {
        let text = get(&format!("/proc/sys/{name}"));
        show(name, !text.is_empty() && !text.starts_with('E'));
    }
    for name in [
        "kernel/ngroups_max",
        "kernel/cap_last_cap",
        "kernel/ostype",
        "kernel/sched_rr_timeslice_ms",
        "kernel/randomize_va_space",
        "kernel/msgmni",
        "vm/max_map_count",
        "kernel/core_uses_pid",
    ] {
        show(name, get(&format!("/proc/sys/{name}")));
    }
    // What reads in pieces reads the same.
    let whole = get("/proc/cpuinfo").len();
    let fd = open("/proc/cpuinfo", O_RDONLY);
    let mut n = 0;
    while !get_fd(fd, 17).is_empty() {
        n += 1;
    }
    show("in pieces", n == whole.div_ceil(17));
    let fd = open("/proc/self/status", O_RDONLY);
    let a = rest(fd);
    lseek(fd, 0, SEEK_SET);
    let b = rest(fd);
    show("again", (a.lines().count() > 20, a.lines().next() == b.lines().next()));
    let mut s: stat = z();
    ret("stat", libc::stat(c"/proc/self/status".as_ptr(), &mut s));
    show("size and kind", (s.st_size, s.st_mode & S_IFMT == S_IFREG));
}
