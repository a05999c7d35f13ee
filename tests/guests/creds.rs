//! Who we are: ids, limits, names, the machine.

use libc::*;

use crate::kit::{child, end_of, errno_name, get, ok, ret, say, show, z};

pub unsafe fn ids() {
    show("ids", (getuid(), geteuid(), getgid(), getegid()));
    let (mut r, mut e, mut s) = (0, 0, 0);
    ret("getresuid", getresuid(&mut r, &mut e, &mut s));
    show("all", (r, e, s));
    let root = geteuid() == 0;
    let pid = child(|| {
        ret("setgroups", setgroups(2, [10, 20].as_ptr()));
        let mut groups = [0; 8];
        if root {
            let n = ret("getgroups", getgroups(8, groups.as_mut_ptr()));
            show("groups", &groups[..n.max(0) as usize]);
            ret("count only", getgroups(0, groups.as_mut_ptr()));
            ret("too few", getgroups(1, groups.as_mut_ptr()));
        }
        ret("setresgid", setresgid(100, 101, 102));
        ret("setresuid", setresuid(1000, 1001, 1002));
        getresuid(&mut r, &mut e, &mut s);
        show("all", (r, e, s));
        ret("to the saved", seteuid(1002));
        ret("to the real", setreuid(u32::MAX, 1000));
        ret("to root", setuid(0));
        ret("to another", setuid(4));
        show("now", (getuid(), geteuid(), getgid(), getegid()));
        ret("setgroups", setgroups(0, std::ptr::null()));
        ret("setgid", setgid(0));
        ret("fsuid", setfsuid(1000));
        0
    });
    say("child", end_of(pid));
    show("own stay", (getuid(), geteuid()));
    ret("bad id", setresuid(u32::MAX, u32::MAX, u32::MAX));
}

pub unsafe fn capabilities() {
    let status = get("/proc/self/status");
    let field = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or("").to_owned();
    show("any effective", !field("CapEff:").ends_with("0000000000000000"));
    let mut header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    ret("capget", syscall(SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()));
    header[0] = 1;
    ret("bad version", syscall(SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()));
    say("version given", format!("{:#x}", header[0]));
    if geteuid() == 0 {
        let pid = child(|| {
            setresuid(5, 5, 5);
            data = [0; 6];
            header = [0x2008_0522, 0];
            syscall(SYS_capget, header.as_mut_ptr(), data.as_mut_ptr());
            show("lost with the id", (data[0], data[1]));
            0
        });
        end_of(pid);
    }
}

pub unsafe fn limits() {
    for (name, which) in [
        ("CORE", RLIMIT_CORE),
        ("STACK", RLIMIT_STACK),
        ("CPU", RLIMIT_CPU),
        ("DATA", RLIMIT_DATA),
        ("NOFILE", RLIMIT_NOFILE),
    ] {
        let mut l: rlimit = z();
        ret(name, getrlimit(which, &mut l));
        show("values", (l.rlim_cur, l.rlim_max));
    }
    let mut l: rlimit = z();
    ret("unknown", getrlimit(99, &mut l));
    let limit = |cur, max| rlimit { rlim_cur: cur, rlim_max: max };
    ret("lower", setrlimit(RLIMIT_NOFILE, &limit(100, 200)));
    ret("soft above hard", setrlimit(RLIMIT_NOFILE, &limit(300, 200)));
    getrlimit(RLIMIT_NOFILE, &mut l);
    show("now", (l.rlim_cur, l.rlim_max));
    let pid = child(|| {
        getrlimit(RLIMIT_NOFILE, &mut l);
        show("inherited", (l.rlim_cur, l.rlim_max));
        setresuid(1000, 1000, 1000);
        ret("raise as an ordinary user", setrlimit(RLIMIT_NOFILE, &limit(100, 300)));
        0
    });
    end_of(pid);
    let mut old: rlimit = z();
    ret("prlimit", prlimit(0, RLIMIT_NOFILE, &limit(50, 60), &mut old));
    show("old", (old.rlim_cur, old.rlim_max));
    ret("of nobody", prlimit(99_999_999, RLIMIT_NOFILE, std::ptr::null(), &mut old));
    let pid = child(|| {
        setrlimit(RLIMIT_CORE, &limit(0, 0));
        setrlimit(RLIMIT_CPU, &limit(1, 2));
        loop {
            std::hint::spin_loop();
        }
    });
    say("out of processor time", end_of(pid));
}

pub unsafe fn names() {
    let mut u: utsname = z();
    ret("uname", uname(&mut u));
    let text = |b: &[c_char]| std::ffi::CStr::from_ptr(b.as_ptr()).to_string_lossy().into_owned();
    say("system", text(&u.sysname));
    say("machine", text(&u.machine));
    show("release", text(&u.release).split('.').count() >= 2);
    let mut b = [0; 65];
    ret("gethostname", gethostname(b.as_mut_ptr(), 65));
    show("same", text(&b) == text(&u.nodename));
    show("proc agrees", get("/proc/sys/kernel/hostname").trim() == text(&u.nodename));
    show("ostype", get("/proc/sys/kernel/ostype").trim());
    let mut info: sysinfo = z();
    ret("sysinfo", sysinfo(&mut info));
    show("memory", info.totalram > 0 && info.freeram <= info.totalram);
    show("page", sysconf(_SC_PAGESIZE));
    show("processors", sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    let mut set: cpu_set_t = z();
    ret("affinity", sched_getaffinity(0, std::mem::size_of::<cpu_set_t>(), &mut set));
    show("same count", CPU_COUNT(&set) as i64 == sysconf(_SC_NPROCESSORS_ONLN));
    ret("scheduler", sched_getscheduler(0));
    ret("priority", getpriority(PRIO_PROCESS, 0));
    ret("nice", nice(5));
    ret("priority", getpriority(PRIO_PROCESS, 0));
    let mut cpu = 99u32;
    ret("getcpu", syscall(SYS_getcpu, &mut cpu, 0, 0));
    show("a real one", i64::from(cpu) < sysconf(_SC_NPROCESSORS_CONF));
    ret("personality", personality(0xffff_ffff));
}

pub unsafe fn random() {
    let (mut a, mut b) = ([0u8; 64], [0u8; 64]);
    ret("getrandom", getrandom(a.as_mut_ptr().cast(), 64, 0));
    getrandom(b.as_mut_ptr().cast(), 64, GRND_RANDOM);
    show("differs", a != b && a != [0; 64]);
    ret("NONBLOCK", getrandom(a.as_mut_ptr().cast(), 1, GRND_NONBLOCK));
    ret("nothing", getrandom(a.as_mut_ptr().cast(), 0, 0));
    ret("bad flags", getrandom(a.as_mut_ptr().cast(), 1, 0x100));
    ret("bad pointer", getrandom(8 as *mut c_void, 64, 0));
    let pid = child(|| {
        let before = a;
        getrandom(a.as_mut_ptr().cast(), 64, 0);
        i32::from(before == a)
    });
    say("child", end_of(pid));
    ok("a megabyte", getrandom(vec![0u8; 1 << 20].as_mut_ptr().cast(), 1 << 20, 0) - (1 << 20));
}

pub unsafe fn unknown_calls() {
    // Numbers without a call.
    for number in [340, 400, 423, 1000, 4095, 0x7fff_ffff] {
        ret(&format!("call {number}"), syscall(number));
    }
    ret("minus one", syscall(-1));
    // x32 numbers on a 64-bit kernel without x32.
    for number in [0x4000_0000i64, 0x4000_0027, 0x4000_003b] {
        ret(&format!("x32 {:#x}", number), syscall(number, 0, 0, 0));
    }
    say("errno", errno_name());
}
