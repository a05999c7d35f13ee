//! `/sys/fs/cgroup`: the sandbox as one control group of the second version (cgroups(7), "cgroup-v2.rst" of the kernel),
//! as the root of a namespace of its own. Language runtimes, init scripts and tools read their limits here. It shows and
//! takes nothing: limits are the user's, outside.

use std::any::Any;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::clock::{anonymous_dev, now};
use crate::fsimpl::sys::cpu_list;
use crate::kernel::{Kernel, INIT_PID};
use crate::mm::{account, Sink};
use crate::vfs::inode::{Attrs, DirEntry, FileTime, StatFs};
use crate::vfs::{File, FileKind, FileOps, FileSystem, Inode, InodeRef};

/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const MAGIC: u64 = 0x6367_7270;
/// Cookies below this are the VFS's.
const FIRST: u64 = 3;
/// The period of `cpu.max`, in microseconds.
const PERIOD: u64 = 100_000;

type Text = fn(&Kernel) -> String;

/// Every file with what it says.
static FILES: [(&str, Text); 34] = [
    ("cgroup.controllers", |_| "cpuset cpu memory pids\n".into()),
    ("cgroup.events", |_| "populated 1\nfrozen 0\n".into()),
    ("cgroup.freeze", |_| "0\n".into()),
    ("cgroup.max.depth", |_| "max\n".into()),
    ("cgroup.max.descendants", |_| "max\n".into()),
    ("cgroup.procs", processes),
    ("cgroup.stat", |_| "nr_descendants 0\nnr_dying_descendants 0\n".into()),
    ("cgroup.subtree_control", |_| "\n".into()),
    ("cgroup.threads", |k| lines(k.pids.lock().tasks.keys())),
    ("cgroup.type", |_| "domain\n".into()),
    ("cpu.max", |k| match k.limits.cpus {
        Some(_) => format!("{} {PERIOD}\n", k.cpus as u64 * PERIOD),
        None => format!("max {PERIOD}\n"),
    }),
    ("cpu.max.burst", |_| "0\n".into()),
    ("cpu.stat", cpu_stat),
    ("cpu.weight", |_| "100\n".into()),
    ("cpu.weight.nice", |_| "0\n".into()),
    ("cpuset.cpus", |k| format!("{}\n", cpu_list(k.cpus))),
    ("cpuset.cpus.effective", |k| format!("{}\n", cpu_list(k.cpus))),
    ("cpuset.mems", |_| "0\n".into()),
    ("cpuset.mems.effective", |_| "0\n".into()),
    ("memory.current", |_| format!("{}\n", account::used())),
    ("memory.events", memory_events),
    ("memory.events.local", memory_events),
    ("memory.high", |_| "max\n".into()),
    ("memory.low", |_| "0\n".into()),
    ("memory.max", |_| limit(account::limit())),
    ("memory.min", |_| "0\n".into()),
    ("memory.oom.group", |_| "0\n".into()),
    ("memory.peak", |_| format!("{}\n", account::peak())),
    ("memory.stat", memory_stat),
    ("memory.swap.current", |_| "0\n".into()),
    ("memory.swap.max", |_| limit(account::limit().map(|_| 0))),
    ("pids.current", |k| format!("{}\n", k.task_count())),
    ("pids.events", |k| format!("max {}\n", k.clones_refused.load(Relaxed))),
    ("pids.max", |k| limit(k.limits.pids)),
];

fn limit(most: Option<u64>) -> String {
    most.map_or("max\n".to_owned(), |most| format!("{most}\n"))
}

fn lines<'a>(numbers: impl Iterator<Item = &'a i32>) -> String {
    numbers.map(|n| format!("{n}\n")).collect()
}

fn processes(k: &Kernel) -> String {
    lines(k.pids.lock().groups.keys().filter(|pid| **pid != INIT_PID))
}

fn cpu_stat(k: &Kernel) -> String {
    let used = k.platform.cpu_time() / 1000;
    format!("usage_usec {used}\nuser_usec {used}\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
}

fn memory_events(_: &Kernel) -> String {
    let kills = account::kills();
    format!("low 0\nhigh 0\nmax {kills}\noom {kills}\noom_kill {kills}\noom_group_kill 0\n")
}

fn memory_stat(_: &Kernel) -> String {
    let (used, files) = (account::used(), account::file_bytes());
    let mut out = String::new();
    let _ = writeln!(out, "anon {}\nfile {files}", used.saturating_sub(files));
    for name in ["kernel", "kernel_stack", "pagetables", "sock"] {
        let _ = writeln!(out, "{name} 0");
    }
    let _ = writeln!(out, "shmem {files}");
    for name in
        ["file_mapped", "file_dirty", "file_writeback", "inactive_anon", "active_anon", "inactive_file"]
    {
        let _ = writeln!(out, "{name} 0");
    }
    out.push_str("active_file 0\nunevictable 0\nslab_reclaimable 0\nslab_unreclaimable 0\nslab 0\n");
    out
}

/// The mountable hierarchy.
pub struct CgroupFs(Arc<Node>);

impl CgroupFs {
    pub fn new(kernel: &Arc<Kernel>) -> Arc<CgroupFs> {
        let shared = Arc::new(Shared { kernel: Arc::downgrade(kernel), dev: anonymous_dev(), made: now() });
        Arc::new(CgroupFs(Arc::new(Node { shared, file: None })))
    }
}

impl FileSystem for CgroupFs {
    fn name(&self) -> &'static str {
        "cgroup2"
    }
    fn root(&self) -> InodeRef {
        self.0.clone()
    }
}

struct Shared {
    kernel: Weak<Kernel>,
    dev: u64,
    made: FileTime,
}

/// The directory, or a file by its place in [`FILES`].
struct Node {
    shared: Arc<Shared>,
    file: Option<usize>,
}

impl Node {
    fn ino(&self) -> u64 {
        self.file.map_or(1, |i| i as u64 + 2)
    }
}

impl Inode for Node {
    fn attrs(&self) -> Result<Attrs> {
        let (perm, nlink) = if self.file.is_some() { (0o444, 1) } else { (0o555, 2) };
        let t = self.shared.made;
        Ok(Attrs {
            dev: self.shared.dev,
            ino: self.ino(),
            kind: self.kind(),
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: t,
            mtime: t,
            ctime: t,
            btime: t,
        })
    }
    fn kind(&self) -> FileKind {
        if self.file.is_some() {
            FileKind::Regular
        } else {
            FileKind::Dir
        }
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        if self.file.is_some() {
            return Err(Errno::ENOTDIR);
        }
        let file = FILES.iter().position(|(n, _)| n.as_bytes() == name).ok_or(Errno::ENOENT)?;
        Ok(Arc::new(Node { shared: self.shared.clone(), file: Some(file) }))
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(Open { node: self, text: Mutex::default() }))
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: MAGIC, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open one. A file's text is made when it is read from its start.
struct Open {
    node: Arc<Node>,
    text: Mutex<Option<String>>,
}

impl FileOps for Open {
    fn read(&self, _file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let (_, make) = self.node.file.and_then(|i| FILES.get(i)).ok_or(Errno::EISDIR)?;
        let mut text = self.text.lock();
        if pos == 0 || text.is_none() {
            *text = Some(make(&*self.node.shared.kernel.upgrade().ok_or(Errno::ENODEV)?));
        }
        let all = text.as_deref().unwrap_or_default().as_bytes();
        match usize::try_from(pos).ok().and_then(|p| all.get(p..)).unwrap_or_default() {
            [] => Ok(0),
            rest => to.put(rest),
        }
    }
    fn readdir(&self, _file: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        if self.node.file.is_some() {
            return Err(Errno::ENOTDIR);
        }
        let entry = |(i, (name, _)): (usize, &(&str, Text))| DirEntry {
            name: name.as_bytes().to_vec(),
            ino: i as u64 + 2,
            kind: FileKind::Regular,
            cookie: FIRST + i as u64 + 1,
        };
        let from = usize::try_from(cookie.saturating_sub(FIRST)).unwrap_or(usize::MAX);
        Ok(FILES.iter().enumerate().skip(from).take(max).map(entry).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
