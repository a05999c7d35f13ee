//! What `/proc/PID` shows besides `fd`, `fdinfo`, `net` and `task`.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use linux_abi::{Errno, Result};

use super::{life, status, Subject};
use crate::limits::resource;
use crate::vfs::VfsPath;

pub(super) enum Kind {
    Text(fn(&Subject) -> Result<Vec<u8>>),
    Link(fn(&Subject) -> Result<VfsPath>),
    Memory,
}

type SetText = fn(&Subject, &[u8]) -> Result<()>;

pub(super) struct Entry {
    pub name: &'static str,
    pub perm: u32,
    pub kind: Kind,
    pub write: Option<SetText>,
    /// Opening needs the right to look into the process (ptrace(2)).
    pub private: bool,
    /// Only below `task`.
    pub of_threads: bool,
}

const fn text(name: &'static str, make: fn(&Subject) -> Result<Vec<u8>>) -> Entry {
    Entry { name, perm: 0o444, kind: Kind::Text(make), write: None, private: false, of_threads: false }
}
const fn private(name: &'static str, perm: u32, make: fn(&Subject) -> Result<Vec<u8>>) -> Entry {
    Entry { name, perm, kind: Kind::Text(make), write: None, private: true, of_threads: false }
}
const fn link(name: &'static str, place: fn(&Subject) -> Result<VfsPath>) -> Entry {
    Entry { name, perm: 0o777, kind: Kind::Link(place), write: None, private: true, of_threads: false }
}
const fn both(
    name: &'static str,
    make: fn(&Subject) -> Result<Vec<u8>>,
    write: fn(&Subject, &[u8]) -> Result<()>,
) -> Entry {
    Entry { name, perm: 0o644, kind: Kind::Text(make), write: Some(write), private: false, of_threads: false }
}

const ALL_IDS: &[u8] = b"         0          0 4294967295\n";

pub(super) static ENTRIES: &[Entry] = &[
    private("auxv", 0o400, |s| Ok(s.task().map_or_else(|_| Vec::new(), |t| t.mm().auxv()))),
    Entry { of_threads: true, ..text("children", life::children) },
    text("cgroup", |_| Ok(b"0::/\n".to_vec())),
    text("cmdline", |s| Ok(s.task().map_or_else(|_| Vec::new(), |t| t.mm().cmdline()))),
    both("comm", comm, set_comm),
    text("coredump_filter", |_| Ok(b"00000033\n".to_vec())),
    text("cpuset", |_| Ok(b"/\n".to_vec())),
    link("cwd", |s| Ok(s.task().map_err(|_| Errno::ENOENT)?.fs().get().cwd)),
    private("environ", 0o400, |s| Ok(s.task().map_or_else(|_| Vec::new(), |t| t.mm().environ()))),
    link("exe", status::exe),
    text("gid_map", |_| Ok(ALL_IDS.to_vec())),
    private("io", 0o400, |_| {
        let zero = "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n";
        Ok(format!("{zero}cancelled_write_bytes: 0\n").into_bytes())
    }),
    text("limits", limits),
    text("loginuid", |_| Ok(b"4294967295".to_vec())),
    private("maps", 0o444, |s| Ok(s.task().map_or_else(|_| Vec::new(), |t| t.mm().maps_text().into_bytes()))),
    Entry { perm: 0o600, kind: Kind::Memory, private: true, ..text("mem", |_| Err(Errno::EIO)) },
    text("mountinfo", |s| mounts(s, true)),
    text("mounts", |s| mounts(s, false)),
    text("oom_adj", |s| {
        Ok(format!("{}\n", s.group()?.oom_score_adj.load(Ordering::Relaxed) * 17 / 1000).into())
    }),
    text("oom_score", |s| {
        let adj = s.group()?.oom_score_adj.load(Ordering::Relaxed);
        Ok(format!("{}\n", (666 + adj * 2 / 3).max(0)).into_bytes())
    }),
    both("oom_score_adj", oom_score_adj, set_oom_score_adj),
    private("personality", 0o400, |s| {
        Ok(format!("{:08x}\n", s.group()?.extras.personality.load(Ordering::Relaxed)).into_bytes())
    }),
    link("root", |s| Ok(s.task().map_err(|_| Errno::ENOENT)?.fs().get().root)),
    text("sched", life::sched),
    text("schedstat", life::schedstat),
    text("sessionid", |_| Ok(b"4294967295".to_vec())),
    text("setgroups", |_| Ok(b"allow\n".to_vec())),
    private("smaps", 0o444, |s| {
        Ok(s.task().map_or_else(|_| Vec::new(), |t| t.mm().smaps_text().into_bytes()))
    }),
    private("smaps_rollup", 0o444, status::smaps_rollup),
    // There is no kernel stack to show.
    private("stack", 0o400, |_| Err(Errno::EPERM)),
    text("stat", status::stat),
    text("statm", status::statm),
    text("status", status::status),
    private("syscall", 0o400, life::syscall),
    Entry { perm: 0o666, ..both("timerslack_ns", life::timer_slack, life::set_timer_slack) },
    text("uid_map", |_| Ok(ALL_IDS.to_vec())),
    text("wchan", |_| Ok(b"0".to_vec())),
];

fn comm(s: &Subject) -> Result<Vec<u8>> {
    let mut name = s.task().map_or_else(|_| b"exited".to_vec(), |t| t.name.lock().clone());
    name.push(b'\n');
    Ok(name)
}

/// Only a thread of the same process may set it (proc(5)).
fn set_comm(s: &Subject, text: &[u8]) -> Result<()> {
    let task = s.task()?;
    let kernel = task.kernel.upgrade().ok_or(Errno::ESRCH)?;
    let asker = crate::kernel::current::current_tid().and_then(|t| kernel.task(t));
    if !asker.is_some_and(|a| std::sync::Arc::ptr_eq(&a.group, &task.group)) {
        return Err(Errno::EINVAL);
    }
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len()).min(15);
    *task.name.lock() = text[..end].to_vec();
    Ok(())
}

fn mounts(s: &Subject, info: bool) -> Result<Vec<u8>> {
    let task = s.task().map_err(|_| Errno::EINVAL)?;
    let fs = task.fs();
    let (mounts, root) = (fs.mounts(), fs.get().root);
    let text = if info { mounts.mountinfo_text(&root) } else { mounts.mounts_text(&root) };
    Ok(text.into_bytes())
}

fn oom_score_adj(s: &Subject) -> Result<Vec<u8>> {
    Ok(format!("{}\n", s.group()?.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

fn set_oom_score_adj(s: &Subject, text: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    s.check_access()?;
    let group = s.group()?;
    let asker = crate::kernel::current::current_tid();
    let kernel = group.kernel.upgrade().ok_or(Errno::ESRCH)?;
    let cred = asker.and_then(|t| kernel.task(t)).map(|t| t.cred());
    // Lowering it needs the capability (proc(5)).
    let lowers = value < group.oom_score_adj.load(Ordering::Relaxed);
    if lowers && cred.is_some_and(|c| !c.has(crate::cred::cap::SYS_RESOURCE)) {
        return Err(Errno::EACCES);
    }
    group.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

fn limits(s: &Subject) -> Result<Vec<u8>> {
    const ROWS: [(&str, usize, &str); resource::COUNT] = [
        ("Max cpu time", resource::CPU, "seconds"),
        ("Max file size", resource::FSIZE, "bytes"),
        ("Max data size", resource::DATA, "bytes"),
        ("Max stack size", resource::STACK, "bytes"),
        ("Max core file size", resource::CORE, "bytes"),
        ("Max resident set", resource::RSS, "bytes"),
        ("Max processes", resource::NPROC, "processes"),
        ("Max open files", resource::NOFILE, "files"),
        ("Max locked memory", resource::MEMLOCK, "bytes"),
        ("Max address space", resource::AS, "bytes"),
        ("Max file locks", resource::LOCKS, "locks"),
        ("Max pending signals", resource::SIGPENDING, "signals"),
        ("Max msgqueue size", resource::MSGQUEUE, "bytes"),
        ("Max nice priority", resource::NICE, ""),
        ("Max realtime priority", resource::RTPRIO, ""),
        ("Max realtime timeout", resource::RTTIME, "us"),
    ];
    let group = s.group()?;
    let all = group.limits.read().clone();
    let mut out = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |v: u64| if v == u64::MAX { "unlimited".to_owned() } else { v.to_string() };
    for (name, i, unit) in ROWS {
        let Some(l) = all.0.get(i) else { continue };
        let _ = write!(out, "{name:<25} {:<20} {:<20} ", show(l.soft), show(l.hard));
        let _ = if unit.is_empty() { writeln!(out) } else { writeln!(out, "{unit:<10}") };
    }
    Ok(out.into_bytes())
}
