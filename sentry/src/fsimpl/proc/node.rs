//! The inodes: which names there are where, and what each shows of itself.

use std::any::Any;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::fd;
use super::global::{self, Global};
use super::life::{self, NAMESPACES};
use super::mem::ProcMem;
use super::process::{self, Entry, Kind};
use super::text::{ProcDir, ProcText};
use super::{Shared, Subject};
use crate::kernel::current::current_tid;
use crate::vfs::inode::{Attrs, CachePolicy, DirEntry, LinkTarget, SetAttrs, StatFs};
use crate::vfs::{FileKind, FileOps, Inode, InodeRef};

/// `PROC_SUPER_MAGIC` of statfs(2).
const MAGIC: u64 = 0x9fa0;
/// Cookies below this are the VFS's.
const FIRST: u64 = 3;
/// Cookies of processes in the root begin here, above those of fixed names.
const PIDS: u64 = 1 << 12;

/// What an inode is.
#[derive(Clone)]
pub(super) enum Node {
    Root,
    /// `self` and `thread-self`.
    OwnLink {
        thread: bool,
    },
    /// A directory of the fixed tree, by its path.
    GlobalDir(&'static str),
    Global(usize),
    /// `/proc/PID`, `/proc/PID/task/TID`.
    Process(Subject),
    Tasks(Subject),
    /// A file or link of [`process::ENTRIES`].
    Entry(Subject, usize),
    FdDir(Subject),
    Fd(Subject, i32),
    FdInfoDir(Subject),
    FdInfo(Subject, i32),
    /// `/proc/PID/ns`, a link in it, and what that leads to.
    Namespaces(Subject),
    Namespace(Subject, usize),
    NamespaceFile(usize),
}

pub(super) struct ProcInode {
    pub shared: Arc<Shared>,
    pub node: Node,
}

impl ProcInode {
    pub fn new(shared: &Arc<Shared>, node: Node) -> Arc<ProcInode> {
        Arc::new(ProcInode { shared: shared.clone(), node })
    }

    fn child(&self, node: Node) -> Arc<ProcInode> {
        ProcInode::new(&self.shared, node)
    }

    fn subject(&self) -> Option<&Subject> {
        match &self.node {
            Node::Process(s) | Node::Tasks(s) | Node::Entry(s, _) => Some(s),
            Node::FdDir(s) | Node::FdInfoDir(s) | Node::Fd(s, _) | Node::FdInfo(s, _) => Some(s),
            Node::Namespaces(s) | Node::Namespace(s, _) => Some(s),
            _ => None,
        }
    }

    fn entry(&self) -> Option<&'static Entry> {
        match &self.node {
            Node::Entry(_, i) => process::ENTRIES.get(*i),
            _ => None,
        }
    }

    fn global(&self) -> Option<&'static Global> {
        match &self.node {
            Node::Global(i) => global::ENTRIES.get(*i),
            _ => None,
        }
    }

    fn ino(&self) -> u64 {
        let of = |s: &Subject, what: u64| (s.tid as u64) << 32 | (s.thread as u64) << 31 | what;
        match &self.node {
            Node::Root => 1,
            Node::OwnLink { thread } => 2 + *thread as u64,
            Node::GlobalDir(path) => 1 << 20 | global::first_below(path) as u64 | (path.len() as u64) << 12,
            Node::Global(i) => 1 << 16 | *i as u64,
            Node::Process(s) => of(s, 1),
            Node::Tasks(s) => of(s, 2),
            Node::FdDir(s) => of(s, 3),
            Node::FdInfoDir(s) => of(s, 4),
            Node::Entry(s, i) => of(s, 16 + *i as u64),
            Node::Fd(s, n) => of(s, 1 << 24 | *n as u64),
            Node::FdInfo(s, n) => of(s, 1 << 25 | *n as u64),
            Node::Namespaces(s) => of(s, 5),
            Node::Namespace(s, i) => of(s, 6 + *i as u64),
            Node::NamespaceFile(i) => NAMESPACES.get(*i).map_or(0, |n| n.2),
        }
    }

    fn perm(&self) -> u32 {
        match &self.node {
            Node::OwnLink { .. } | Node::Namespace(..) => 0o777,
            Node::Namespaces(_) => 0o511,
            Node::NamespaceFile(_) => 0o444,
            Node::FdDir(_) | Node::FdInfoDir(_) => 0o500,
            Node::Fd(s, n) => fd::link_perm(s, *n),
            Node::FdInfo(..) => 0o400,
            Node::Global(_) => self.global().map_or(0o444, |g| g.perm),
            Node::Entry(..) => self.entry().map_or(0o444, |e| e.perm),
            _ => 0o555,
        }
    }

    /// The text of a regular file.
    pub fn text(&self) -> Result<Vec<u8>> {
        match &self.node {
            Node::Global(i) => match global::ENTRIES.get(*i).map(|g| &g.source) {
                Some(global::Source::Text(make)) => Ok(make(&*self.shared.kernel()?, &self.shared)),
                Some(global::Source::Fixed(text)) => Ok(text.as_bytes().to_vec()),
                _ => Err(Errno::EINVAL),
            },
            Node::Entry(s, i) => match process::ENTRIES.get(*i).map(|e| &e.kind) {
                Some(Kind::Text(make)) => make(s),
                _ => Err(Errno::EINVAL),
            },
            Node::FdInfo(s, n) => fd::info(s, *n),
            _ => Err(Errno::EISDIR),
        }
    }

    /// Takes what was written to a regular file.
    pub fn accept(&self, text: &[u8]) -> Result<()> {
        match &self.node {
            Node::Global(_) => match self.global().and_then(|g| g.write) {
                Some(write) => write(&*self.shared.kernel()?, text),
                None => Err(Errno::EPERM),
            },
            Node::Entry(s, _) => match self.entry().and_then(|e| e.write) {
                Some(write) => write(s, text),
                None => Err(Errno::EINVAL),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    fn global_child(&self, dir: &'static str, name: &str) -> Option<Arc<ProcInode>> {
        match global::child(dir, name)? {
            global::Child::Dir(path) => Some(self.child(Node::GlobalDir(path))),
            global::Child::Leaf(i) => Some(self.child(Node::Global(i))),
        }
    }

    fn process_child(&self, s: &Subject, name: &str) -> Result<Arc<ProcInode>> {
        s.group()?;
        let node = match name {
            "fd" => Node::FdDir(s.clone()),
            "fdinfo" => Node::FdInfoDir(s.clone()),
            "net" => Node::GlobalDir("net"),
            "ns" => Node::Namespaces(s.clone()),
            "task" if !s.thread => Node::Tasks(s.clone()),
            _ => {
                let here = |e: &Entry| e.name == name && (s.thread || !e.of_threads);
                let i = process::ENTRIES.iter().position(here).ok_or(Errno::ENOENT)?;
                Node::Entry(s.clone(), i)
            }
        };
        Ok(self.child(node))
    }

    /// What a directory lists, from a cookie on.
    pub fn list(&self, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let mut out = Vec::new();
        let mut put = |key: u64, name: String, inode: Arc<ProcInode>| {
            if key >= cookie && out.len() < max {
                out.push(DirEntry {
                    name: name.into_bytes(),
                    ino: inode.ino(),
                    kind: inode.kind(),
                    cookie: key + 1,
                });
            }
        };
        let fixed = |i: usize| i as u64 + FIRST;
        match &self.node {
            Node::Root => {
                let mut next = 0;
                for name in global::names("") {
                    if let Some(inode) = self.global_child("", name) {
                        put(fixed(next), name.to_owned(), inode);
                        next += 1;
                    }
                }
                for (name, thread) in [("self", false), ("thread-self", true)] {
                    put(fixed(next), name.to_owned(), self.child(Node::OwnLink { thread }));
                    next += 1;
                }
                let kernel = self.shared.kernel()?;
                let first = i32::try_from(cookie.saturating_sub(PIDS)).unwrap_or(i32::MAX);
                let pids: Vec<i32> =
                    kernel.pids.lock().groups.range(first..).take(max).map(|(pid, _)| *pid).collect();
                for pid in pids {
                    if let Some(s) = Subject::find(&kernel, pid) {
                        put(PIDS + pid as u64, pid.to_string(), self.child(Node::Process(s)));
                    }
                }
            }
            Node::GlobalDir(dir) => {
                for (i, name) in global::names(dir).into_iter().enumerate() {
                    if let Some(inode) = self.global_child(dir, name) {
                        put(fixed(i), name.to_owned(), inode);
                    }
                }
            }
            Node::Process(s) => {
                let dirs =
                    ["fd", "fdinfo", "net", "ns", "task"].into_iter().filter(|n| !(s.thread && *n == "task"));
                let entries = process::ENTRIES.iter().filter(|e| s.thread || !e.of_threads);
                let names = dirs.chain(entries.map(|e| e.name));
                for (i, name) in names.enumerate() {
                    put(fixed(i), name.to_owned(), self.process_child(s, name)?);
                }
            }
            Node::Tasks(s) => {
                for t in s.group()?.threads() {
                    let thread = Subject { group: s.group.clone(), tid: t.tid(), thread: true };
                    put(FIRST + t.tid() as u64, t.tid().to_string(), self.child(Node::Process(thread)));
                }
            }
            Node::Namespaces(s) => {
                s.group()?;
                for (i, (name, ..)) in NAMESPACES.iter().enumerate() {
                    put(fixed(i), (*name).to_owned(), self.child(Node::Namespace(s.clone(), i)));
                }
            }
            Node::FdDir(s) | Node::FdInfoDir(s) => {
                // A zombie has none.
                let Ok(task) = s.task() else { return s.group().map(|_| out) };
                s.check_access()?;
                let info = matches!(self.node, Node::FdInfoDir(_));
                for n in task.files().numbers() {
                    let node = if info { Node::FdInfo(s.clone(), n) } else { Node::Fd(s.clone(), n) };
                    put(FIRST + n as u64, n.to_string(), self.child(node));
                }
            }
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(out)
    }
}

/// A number as a directory's name: no sign, no leading zero.
fn number(name: &str) -> Option<i32> {
    let plain = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    name.parse().ok().filter(|_| plain)
}

impl Inode for ProcInode {
    fn attrs(&self) -> Result<Attrs> {
        let (mut uid, mut gid, mut nlink) = (0, 0, 1);
        if let Some(s) = self.subject() {
            s.group()?;
            // What may not be looked into is root's, but for the directory itself.
            let hidden = s.group()?.extras.undumpable.load(Relaxed) && !matches!(self.node, Node::Process(_));
            if let (Ok(t), false) = (s.task(), hidden) {
                let cred = t.cred();
                (uid, gid) = (cred.euid, cred.egid);
            }
        }
        let mut size = 0;
        match &self.node {
            Node::FdDir(s) => size = s.task().map_or(0, |t| t.files().numbers().len() as u64),
            Node::Fd(..) => size = 64,
            Node::Tasks(s) => nlink = 2 + s.group()?.threads().len() as u64,
            _ => {}
        }
        if self.kind() == FileKind::Dir {
            nlink = nlink.max(2);
        }
        let t = self.shared.made;
        Ok(Attrs {
            dev: self.shared.dev,
            ino: self.ino(),
            kind: self.kind(),
            perm: self.perm(),
            nlink,
            uid,
            gid,
            rdev: 0,
            size,
            blksize: 1024,
            blocks: 0,
            atime: t,
            mtime: t,
            ctime: t,
            btime: t,
        })
    }
    fn kind(&self) -> FileKind {
        match &self.node {
            Node::OwnLink { .. } | Node::Fd(..) | Node::Namespace(..) => FileKind::Symlink,
            Node::Global(_) => match self.global().map(|g| &g.source) {
                Some(global::Source::Link(_)) => FileKind::Symlink,
                _ => FileKind::Regular,
            },
            Node::Entry(..) => match self.entry().map(|e| &e.kind) {
                Some(Kind::Link(_)) => FileKind::Symlink,
                _ => FileKind::Regular,
            },
            Node::FdInfo(..) | Node::NamespaceFile(_) => FileKind::Regular,
            _ => FileKind::Dir,
        }
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        // open(2) with O_TRUNC of a file that takes writes is no error.
        let only_size = set.perm.or(set.uid).or(set.gid).is_none() && set.atime.or(set.mtime).is_none();
        if only_size && self.kind() == FileKind::Regular {
            return Ok(());
        }
        Err(Errno::EPERM)
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let found = match &self.node {
            Node::Root => match name {
                "self" | "thread-self" => self.child(Node::OwnLink { thread: name != "self" }),
                _ => match number(name) {
                    Some(tid) => {
                        let s = Subject::find(&*self.shared.kernel()?, tid).ok_or(Errno::ENOENT)?;
                        self.child(Node::Process(s))
                    }
                    None => self.global_child("", name).ok_or(Errno::ENOENT)?,
                },
            },
            Node::GlobalDir(dir) => self.global_child(dir, name).ok_or(Errno::ENOENT)?,
            Node::Process(s) => self.process_child(s, name).map_err(|_| Errno::ENOENT)?,
            Node::Tasks(s) => {
                let tid = number(name).ok_or(Errno::ENOENT)?;
                self.child(Node::Process(s.thread(tid).map_err(|_| Errno::ENOENT)?))
            }
            Node::Namespaces(s) => {
                let i = NAMESPACES.iter().position(|n| n.0 == name).ok_or(Errno::ENOENT)?;
                self.child(Node::Namespace(s.clone(), i))
            }
            Node::FdDir(s) | Node::FdInfoDir(s) => {
                let n = number(name).ok_or(Errno::ENOENT)?;
                s.check_access()?;
                s.task()?.files().get(n).map_err(|_| Errno::ENOENT)?;
                let info = matches!(self.node, Node::FdInfoDir(_));
                self.child(if info { Node::FdInfo(s.clone(), n) } else { Node::Fd(s.clone(), n) })
            }
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(found)
    }
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
    fn readlink(&self) -> Result<Vec<u8>> {
        match &self.node {
            Node::OwnLink { thread } => {
                let kernel = self.shared.kernel()?;
                let me = current_tid().and_then(|t| kernel.task(t)).ok_or(Errno::ENOENT)?;
                Ok(if *thread {
                    format!("{}/task/{}", me.group.pid, me.tid()).into_bytes()
                } else {
                    me.group.pid.to_string().into_bytes()
                })
            }
            Node::Global(_) => match self.global().map(|g| &g.source) {
                Some(global::Source::Link(text)) => Ok(text.as_bytes().to_vec()),
                _ => Err(Errno::EINVAL),
            },
            Node::Entry(s, _) => match self.entry().map(|e| &e.kind) {
                Some(Kind::Link(place)) => {
                    s.check_access()?;
                    fd::place_text(s, &place(s)?)
                }
                _ => Err(Errno::EINVAL),
            },
            Node::Fd(s, n) => fd::link_text(s, *n),
            Node::Namespace(s, i) => {
                s.check_access()?;
                life::namespace_text(*i)
            }
            _ => Err(Errno::EINVAL),
        }
    }
    fn follow(&self) -> Result<LinkTarget> {
        match &self.node {
            Node::Entry(s, _) => match self.entry().map(|e| &e.kind) {
                Some(Kind::Link(place)) => {
                    s.check_access()?;
                    place(s).map(LinkTarget::Place)
                }
                _ => Err(Errno::EINVAL),
            },
            Node::Fd(s, n) => fd::follow(s, *n),
            Node::Namespace(s, i) => {
                s.check_access()?;
                Ok(LinkTarget::Node(self.child(Node::NamespaceFile(*i))))
            }
            _ => self.readlink().map(LinkTarget::Text),
        }
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        if let Some(s) = self.subject() {
            s.group()?;
            if self.entry().is_some_and(|e| e.private) {
                s.check_access()?;
            }
        }
        if let (Some(Kind::Memory), Some(s)) = (self.entry().map(|e| &e.kind), self.subject()) {
            return Ok(Arc::new(ProcMem::open(s)?));
        }
        match self.kind() {
            FileKind::Dir => Ok(Arc::new(ProcDir(self))),
            FileKind::Regular => Ok(Arc::new(ProcText::new(self))),
            _ => Err(Errno::ELOOP),
        }
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: MAGIC, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
