//! What `/proc` shows of the whole sandbox: one line for each file, by path. Directories are those that the paths name.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use linux_abi::{Errno, Result};

use super::{net, random_uuid, Shared};
use crate::fsimpl::inotify;
use crate::fsimpl::tty::{self, DevPts};
use crate::host_facts;
use crate::kernel::{Kernel, PID_MAX};
use crate::mm::account;
use crate::time;

pub(super) enum Source {
    Text(fn(&Kernel, &Shared) -> Vec<u8>),
    Fixed(&'static str),
    Link(&'static str),
}

type SetText = fn(&Kernel, &[u8]) -> Result<()>;

pub(super) struct Global {
    pub path: &'static str,
    pub perm: u32,
    pub source: Source,
    pub write: Option<SetText>,
}

const fn text(path: &'static str, make: fn(&Kernel, &Shared) -> Vec<u8>) -> Global {
    Global { path, perm: 0o444, source: Source::Text(make), write: None }
}
const fn fixed(path: &'static str, text: &'static str) -> Global {
    Global { path, perm: 0o444, source: Source::Fixed(text), write: None }
}
/// A setting that has one value here.
const fn setting(path: &'static str, text: &'static str) -> Global {
    Global { path, perm: 0o644, source: Source::Fixed(text), write: None }
}
const fn link(path: &'static str, to: &'static str) -> Global {
    Global { path, perm: 0o777, source: Source::Link(to), write: None }
}

pub(super) static ENTRIES: &[Global] = &[
    text("cgroups", |_, _| cgroups()),
    text("cmdline", |_, _| b"\n".to_vec()),
    text("cpuinfo", cpuinfo),
    fixed(
        "devices",
        "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/ptmx\n128 ptm\n136 pts\n\nBlock devices:\n",
    ),
    text("filesystems", |_, _| {
        crate::fsimpl::FILE_SYSTEMS.iter().map(|n| format!("nodev\t{n}\n")).collect::<String>().into_bytes()
    }),
    text("loadavg", loadavg),
    text("meminfo", |_, _| meminfo()),
    fixed("modules", ""),
    text("interrupts", |k, _| interrupts(k)),
    link("mounts", "self/mounts"),
    link("net", "self/net"),
    fixed("partitions", "major minor  #blocks  name\n\n"),
    fixed("diskstats", ""),
    text("stat", stat),
    fixed("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    fixed("tty/drivers", TTY_DRIVERS),
    fixed("tty/ldiscs", "n_tty       0\n"),
    text("uptime", uptime),
    text("version", version),
    text("vmstat", |_, _| vmstat()),
    text("net/dev", net::dev),
    fixed("net/tcp", net::TCP),
    fixed("net/tcp6", net::TCP6),
    fixed("net/udp", net::UDP),
    fixed("net/udp6", net::UDP6),
    fixed("net/unix", net::UNIX),
    fixed("net/route", net::ROUTE),
    fixed("net/arp", net::ARP),
    fixed("net/if_inet6", net::IF_INET6),
    setting("sys/fs/aio-max-nr", "65536\n"),
    fixed("sys/fs/aio-nr", "0\n"),
    setting("sys/fs/file-max", "9223372036854775807\n"),
    text("sys/fs/file-nr", |_, _| b"0\t0\t9223372036854775807\n".to_vec()),
    Global {
        path: "sys/fs/inotify/max_queued_events",
        perm: 0o644,
        source: Source::Text(|_, _| number(&inotify::MAX_QUEUED)),
        write: Some(|_, text| set_number(&inotify::MAX_QUEUED, text)),
    },
    Global {
        path: "sys/fs/inotify/max_user_instances",
        perm: 0o644,
        source: Source::Text(|_, _| number(&inotify::MAX_INSTANCES)),
        write: Some(|_, text| set_number(&inotify::MAX_INSTANCES, text)),
    },
    Global {
        path: "sys/fs/inotify/max_user_watches",
        perm: 0o644,
        source: Source::Text(|_, _| number(&inotify::MAX_WATCHES)),
        write: Some(|_, text| set_number(&inotify::MAX_WATCHES, text)),
    },
    setting("sys/fs/epoll/max_user_watches", "1048576\n"),
    setting("sys/fs/mqueue/msg_default", "10\n"),
    setting("sys/fs/mqueue/msg_max", "10\n"),
    setting("sys/fs/mqueue/msgsize_default", "8192\n"),
    setting("sys/fs/mqueue/msgsize_max", "8192\n"),
    setting("sys/fs/mqueue/queues_max", "256\n"),
    text("sys/fs/nr_open", |k, _| format!("{}\n", k.limits.open_files.unwrap_or(1 << 20)).into_bytes()),
    setting("sys/fs/overflowgid", "65534\n"),
    setting("sys/fs/overflowuid", "65534\n"),
    setting("sys/fs/pipe-max-size", "1048576\n"),
    setting("sys/fs/pipe-user-pages-hard", "0\n"),
    setting("sys/fs/pipe-user-pages-soft", "16384\n"),
    setting("sys/fs/protected_fifos", "0\n"),
    setting("sys/fs/protected_hardlinks", "1\n"),
    setting("sys/fs/protected_regular", "0\n"),
    setting("sys/fs/protected_symlinks", "1\n"),
    setting("sys/fs/suid_dumpable", "0\n"),
    fixed("sys/kernel/cap_last_cap", "40\n"),
    setting("sys/kernel/core_pattern", "core\n"),
    setting("sys/kernel/core_uses_pid", "0\n"),
    setting("sys/kernel/domainname", "(none)\n"),
    setting("sys/kernel/dmesg_restrict", "1\n"),
    Global {
        path: "sys/kernel/hostname",
        perm: 0o644,
        source: Source::Text(hostname),
        write: Some(set_hostname),
    },
    setting("sys/kernel/kptr_restrict", "1\n"),
    setting("sys/kernel/auto_msgmni", "0\n"),
    setting("sys/kernel/msgmax", "8192\n"),
    setting("sys/kernel/msgmnb", "16384\n"),
    setting("sys/kernel/msgmni", "32000\n"),
    fixed("sys/kernel/ngroups_max", "65536\n"),
    setting("sys/kernel/numa_balancing", "0\n"),
    text("sys/kernel/ns_last_pid", |k, _| format!("{}\n", k.pids.lock().last).into_bytes()),
    text("sys/kernel/osrelease", |_, _| format!("{}\n", host_facts::get().release).into_bytes()),
    fixed("sys/kernel/ostype", "Linux\n"),
    setting("sys/kernel/overflowgid", "65534\n"),
    setting("sys/kernel/overflowuid", "65534\n"),
    setting("sys/kernel/panic", "0\n"),
    setting("sys/kernel/perf_event_paranoid", "4\n"),
    text("sys/kernel/pid_max", |_, _| format!("{PID_MAX}\n").into_bytes()),
    setting("sys/kernel/print-fatal-signals", "0\n"),
    setting("sys/kernel/printk", "4\t4\t1\t7\n"),
    text("sys/kernel/pty/max", |_, _| format!("{}\n", tty::MAX).into_bytes()),
    text("sys/kernel/pty/nr", |_, _| format!("{}\n", DevPts::get().map_or(0, |p| p.count())).into_bytes()),
    fixed("sys/kernel/pty/reserve", "0\n"),
    text("sys/kernel/random/boot_id", |_, s| format!("{}\n", s.boot_id).into_bytes()),
    fixed("sys/kernel/random/entropy_avail", "256\n"),
    fixed("sys/kernel/random/poolsize", "256\n"),
    text("sys/kernel/random/uuid", |_, _| format!("{}\n", random_uuid()).into_bytes()),
    setting("sys/kernel/randomize_va_space", "2\n"),
    setting("sys/kernel/sched_autogroup_enabled", "0\n"),
    setting("sys/kernel/sched_rr_timeslice_ms", "100\n"),
    setting("sys/kernel/sched_rt_period_us", "1000000\n"),
    setting("sys/kernel/sched_rt_runtime_us", "950000\n"),
    fixed(
        "sys/kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno user_notif trace log allow\n",
    ),
    setting("sys/kernel/sem", "32000\t1024000000\t500\t32000\n"),
    setting("sys/kernel/shmall", "18446744073692774399\n"),
    setting("sys/kernel/shmmax", "18446744073692774399\n"),
    setting("sys/kernel/shmmni", "4096\n"),
    setting("sys/kernel/sysctl_writes_strict", "1\n"),
    fixed("sys/kernel/tainted", "0\n"),
    text("sys/kernel/threads-max", |k, _| {
        format!("{}\n", k.limits.pids.unwrap_or(32768).min(32768)).into_bytes()
    }),
    setting("sys/kernel/unprivileged_bpf_disabled", "2\n"),
    text("sys/kernel/version", |_, _| format!("{}\n", host_facts::get().version).into_bytes()),
    setting("sys/kernel/yama/ptrace_scope", "0\n"),
    setting("sys/net/core/rmem_default", "212992\n"),
    setting("sys/net/core/rmem_max", "212992\n"),
    setting("sys/net/core/somaxconn", "4096\n"),
    setting("sys/net/core/wmem_default", "212992\n"),
    setting("sys/net/core/wmem_max", "212992\n"),
    setting("sys/net/ipv4/ip_forward", "0\n"),
    setting("sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    setting("sys/net/ipv4/ip_unprivileged_port_start", "1024\n"),
    setting("sys/net/ipv4/tcp_fin_timeout", "60\n"),
    setting("sys/net/ipv4/tcp_keepalive_time", "7200\n"),
    setting("sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
    setting("sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    setting("sys/net/ipv6/conf/all/disable_ipv6", "0\n"),
    setting("sys/net/unix/max_dgram_qlen", "512\n"),
    setting("sys/vm/dirty_background_ratio", "10\n"),
    setting("sys/vm/dirty_expire_centisecs", "3000\n"),
    setting("sys/vm/dirty_ratio", "20\n"),
    setting("sys/vm/dirty_writeback_centisecs", "500\n"),
    setting("sys/vm/max_map_count", "65530\n"),
    setting("sys/vm/memfd_noexec", "0\n"),
    setting("sys/vm/mmap_min_addr", "65536\n"),
    setting("sys/vm/mmap_rnd_bits", "28\n"),
    setting("sys/vm/nr_hugepages", "0\n"),
    setting("sys/vm/oom_kill_allocating_task", "0\n"),
    text(
        "sys/vm/overcommit_memory",
        |_, _| if account::strict() { b"2\n".to_vec() } else { b"0\n".to_vec() },
    ),
    setting("sys/vm/overcommit_ratio", "50\n"),
    setting("sys/vm/page-cluster", "3\n"),
    setting("sys/vm/panic_on_oom", "0\n"),
    setting("sys/vm/swappiness", "60\n"),
    setting("sys/vm/vfs_cache_pressure", "100\n"),
];

/// Name, node, major number, minor numbers, kind; ps(1) finds a terminal's name by it.
const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

pub(super) enum Child {
    Dir(&'static str),
    Leaf(usize),
}

/// What follows a directory in a path that lies below it.
fn below(path: &'static str, dir: &str) -> Option<&'static str> {
    if dir.is_empty() {
        return Some(path);
    }
    path.strip_prefix(dir)?.strip_prefix('/')
}

/// What a name in a directory is.
pub(super) fn child(dir: &str, name: &str) -> Option<Child> {
    let named = |i: &usize| {
        ENTRIES.get(*i).and_then(|e| below(e.path, dir)).and_then(|r| r.split('/').next()) == Some(name)
    };
    // A link wins over the directory that it leads to elsewhere ("net").
    let i = (0..ENTRIES.len()).find(named)?;
    let path = ENTRIES.get(i)?.path;
    let rest = below(path, dir)?;
    if rest == name {
        return Some(Child::Leaf(i));
    }
    path.get(..path.len() - rest.len() + name.len()).map(Child::Dir)
}

/// The names in a directory.
pub(super) fn names(dir: &str) -> Vec<&'static str> {
    let mut out: Vec<&'static str> = Vec::new();
    for e in ENTRIES {
        if let Some(name) = below(e.path, dir).and_then(|r| r.split('/').next()) {
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }
    out
}

/// The first entry below a directory, which tells directories apart.
pub(super) fn first_below(dir: &str) -> usize {
    ENTRIES.iter().position(|e| below(e.path, dir).is_some()).unwrap_or(0)
}

/// The host's, cut to the processors that guests see.
fn cpuinfo(k: &Kernel, _s: &Shared) -> Vec<u8> {
    let text = host_facts::get().read("cpuinfo");
    let blocks = text.split_inclusive("\n\n").take(k.cpus);
    blocks.collect::<String>().into_bytes()
}

/// Controllers, all in the one hierarchy that `/sys/fs/cgroup` shows (cgroups(7), `/proc/cgroups`).
fn cgroups() -> Vec<u8> {
    let mut out = String::from("#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    for name in ["cpuset", "cpu", "cpuacct", "memory", "pids"] {
        let _ = writeln!(out, "{name}\t0\t1\t1");
    }
    out.into_bytes()
}

/// The host's; under a limit (`--memory`) the sandbox is the machine.
fn meminfo() -> Vec<u8> {
    let text = host_facts::get().read("meminfo");
    if let Some(m) = host_facts::get().limited_memory() {
        let (total, used) = (m.total >> 10, m.used >> 10);
        let (free, files) = (total.saturating_sub(used), account::file_bytes() >> 10);
        let mut out = String::new();
        let mut row = |name: &str, kib: u64| {
            let _ = writeln!(out, "{:<16}{kib:>8} kB", format!("{name}:"));
        };
        row("MemTotal", total);
        row("MemFree", free);
        row("MemAvailable", free);
        row("Buffers", 0);
        row("Cached", files);
        row("SwapCached", 0);
        row("Active", used);
        row("Inactive", 0);
        row("SwapTotal", 0);
        row("SwapFree", 0);
        row("Dirty", 0);
        row("Writeback", 0);
        row("AnonPages", used.saturating_sub(files));
        row("Mapped", 0);
        row("Shmem", files);
        for name in ["KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "KernelStack", "PageTables"] {
            row(name, 0);
        }
        row("CommitLimit", total);
        row("Committed_AS", used);
        row("VmallocTotal", 34_359_738_367);
        row("VmallocUsed", 0);
        row("VmallocChunk", 0);
        let _ = writeln!(out, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0");
        let _ = writeln!(
            out,
            "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB"
        );
        return out.into_bytes();
    }
    if !text.is_empty() {
        return text.into_bytes();
    }
    let info = rustix::system::sysinfo();
    let kb = |v: u64| v.saturating_mul(info.mem_unit as u64) / 1024;
    let (total, free) = (kb(info.totalram), kb(info.freeram));
    format!("MemTotal:       {total:>8} kB\nMemFree:        {free:>8} kB\nMemAvailable:   {free:>8} kB\n")
        .into_bytes()
}

fn loadavg(k: &Kernel, _s: &Shared) -> Vec<u8> {
    let text = host_facts::get().read("loadavg");
    let mut three: Vec<&str> = text.split(' ').take(3).collect();
    three.resize(3, "0.00");
    let pids = k.pids.lock();
    let (tasks, last) = (pids.tasks.len(), pids.last);
    drop(pids);
    format!("{} {}/{tasks} {last}\n", three.join(" "), running(k)).into_bytes()
}

/// The host's times of the processors that guests see; the counts of processes are ours.
fn stat(k: &Kernel, _s: &Shared) -> Vec<u8> {
    let text = host_facts::get().read("stat");
    let seen = |l: &&str| {
        l.strip_prefix("cpu")
            .and_then(|r| r.split(' ').next())
            .is_some_and(|n| n.is_empty() || n.parse().is_ok_and(|n: usize| n < k.cpus))
    };
    let mut out = String::new();
    for line in text.lines().filter(seen) {
        out.push_str(line);
        out.push('\n');
    }
    if out.is_empty() {
        out.push_str("cpu  0 0 0 0 0 0 0 0 0 0\n");
        for n in 0..k.cpus {
            let _ = writeln!(out, "cpu{n} 0 0 0 0 0 0 0 0 0 0");
        }
    }
    let started = (time::realtime() - time::boottime().min(time::realtime())) / time::NSEC;
    // Init and the command were not forked.
    let forks = k.forks.load(Ordering::Relaxed) + 2;
    // Switches and interrupts are the machine's, as the times above are.
    let count = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
        line.and_then(|l| l.split(' ').next()).unwrap_or("0").to_owned()
    };
    let _ = write!(
        out,
        "intr {}\nctxt {}\nbtime {started}\nprocesses {forks}\nprocs_running {}\nprocs_blocked 0\nsoftirq {} 0 0 0 0 0 0 0 0 0 0\n",
        count("intr"),
        count("ctxt"),
        running(k),
        count("softirq"),
    );
    out.into_bytes()
}

/// Threads that do not wait in a call: at least the asker.
fn running(k: &Kernel) -> usize {
    let tasks: Vec<_> = k.pids.lock().tasks.values().cloned().collect();
    tasks.iter().filter(|t| !t.is_blocked()).count().max(1)
}

/// No device interrupts anybody here; the table has its processors all the same.
fn interrupts(k: &Kernel) -> Vec<u8> {
    let mut out = String::from("     ");
    for cpu in 0..k.cpus {
        let _ = write!(out, "{:>11}", format!("CPU{cpu}"));
    }
    out.push_str("     \n");
    for (name, what) in [("ERR", ""), ("MIS", "")] {
        let _ = writeln!(out, "{name}:{what:>11}0");
    }
    out.into_bytes()
}

fn uptime(k: &Kernel, _s: &Shared) -> Vec<u8> {
    let up = time::boottime() / (time::NSEC / 100);
    let stat = host_facts::get().read("stat");
    let idle: u64 = stat
        .lines()
        .filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "))
        .take(k.cpus)
        .filter_map(|l| l.split(' ').nth(4)?.parse::<u64>().ok())
        .sum();
    format!("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100).into_bytes()
}

fn version(_k: &Kernel, _s: &Shared) -> Vec<u8> {
    let f = host_facts::get();
    format!("Linux version {} (runsc@sandbox) (rustc) {}\n", f.release, f.version).into_bytes()
}

fn vmstat() -> Vec<u8> {
    let facts = host_facts::get();
    let free = match facts.limited_memory() {
        Some(m) => m.total.saturating_sub(m.used) >> 12,
        None => facts.meminfo("MemFree").unwrap_or(0) / 4,
    };
    format!("nr_free_pages {free}\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n")
        .into_bytes()
}

fn number(setting: &inotify::Setting) -> Vec<u8> {
    format!("{}\n", setting.get()).into_bytes()
}

fn set_number(setting: &inotify::Setting, text: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    setting.set(text.trim().parse().map_err(|_| Errno::EINVAL)?)
}

fn hostname(k: &Kernel, _s: &Shared) -> Vec<u8> {
    let mut name = k.hostname.lock().clone();
    name.push(b'\n');
    name
}

fn set_hostname(k: &Kernel, text: &[u8]) -> Result<()> {
    let name = text.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    if name.len() > 64 {
        return Err(Errno::EINVAL);
    }
    *k.hostname.lock() = name.to_vec();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_make_a_tree() {
        assert!(matches!(child("", "net"), Some(Child::Leaf(_))));
        assert!(matches!(child("", "sys"), Some(Child::Dir("sys"))));
        assert!(matches!(child("sys", "kernel"), Some(Child::Dir("sys/kernel"))));
        assert!(matches!(child("sys/kernel", "random"), Some(Child::Dir("sys/kernel/random"))));
        assert!(matches!(child("sys/kernel/random", "uuid"), Some(Child::Leaf(_))));
        assert!(child("sys", "kern").is_none() && child("sys/kernel/random", "x").is_none());
        assert_eq!(names("sys/net"), ["core", "ipv4", "ipv6", "unix"]);
        assert!(matches!(child("net", "dev"), Some(Child::Leaf(_))));
    }
}
