//! `devpts`: the names of pseudo-terminals (`/dev/pts/N`), and how they are made (`ptmx`). A number is free again when
//! its master is closed. The donated terminal keeps its number of the host, so that ttyname(3) finds it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{End, Pty, PTS_MAJOR};
use crate::cred::Cred;
use crate::fsimpl::clock::{anonymous_dev, make_dev, now};
use crate::kernel::terminal::Tty;
use crate::kernel::Kernel;
use crate::vfs::inode::{Attrs, CachePolicy, DirEntry, FileTime, SetAttrs, StatFs};
use crate::vfs::{File, FileKind, FileOps, FileSystem, Inode, InodeRef};

/// The most pseudo-terminals (`kernel.pty.max`): each may hold some tens of kilobytes.
pub const MAX: usize = 1024;
/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: u64 = 0x1cd1;
/// Group `tty`, and the mode that lets it write: as Debian mounts it (`gid=5,mode=620`).
const TTY_GID: u32 = 5;
const PERM: u32 = 0o620;

static THE: OnceLock<Arc<DevPts>> = OnceLock::new();

/// The file system, of which there is one.
pub struct DevPts {
    me: Weak<DevPts>,
    kernel: Weak<Kernel>,
    dev: u64,
    made: FileTime,
    table: Mutex<BTreeMap<u32, InodeRef>>,
    root: Arc<Root>,
    ptmx: Arc<Ptmx>,
}

impl DevPts {
    /// Made once, at boot.
    pub fn set_up(kernel: &Arc<Kernel>) -> Arc<DevPts> {
        let new = || {
            Arc::new_cyclic(|me: &Weak<DevPts>| DevPts {
                me: me.clone(),
                kernel: Arc::downgrade(kernel),
                dev: anonymous_dev(),
                made: now(),
                table: Mutex::default(),
                root: Arc::new(Root(me.clone())),
                ptmx: Arc::new(Ptmx(me.clone())),
            })
        };
        THE.get_or_init(new).clone()
    }

    /// The one that there is.
    pub fn get() -> Option<&'static Arc<DevPts>> {
        THE.get()
    }

    /// How many pseudo-terminals there are (`kernel.pty.nr`).
    pub fn count(&self) -> usize {
        self.table.lock().len()
    }

    /// The node of the donated terminal, `/dev/pts/N` as on the host; `None` where it has no such number there.
    pub fn add_donated(&self, host: &Attrs, ops: Arc<dyn FileOps>) -> Option<(InodeRef, String)> {
        let index = index_of(host.rdev)?;
        let attrs = self.attrs(u64::from(index) + 3, FileKind::Char, host.perm, host.rdev);
        let attrs = Mutex::new(Attrs { uid: host.uid, gid: host.gid, ..attrs });
        let new = || Arc::new(Slave { line: Line::Donated(ops), attrs }) as InodeRef;
        let inode = self.table.lock().entry(index).or_insert_with(new).clone();
        Some((inode, format!("/dev/pts/{index}")))
    }

    /// open(2) of `ptmx`: a new pair, with the lowest free number. `ENOSPC` where there are too many.
    pub fn create(&self, cred: &Cred) -> Result<Arc<End>> {
        let mut table = self.table.lock();
        if table.len() >= MAX {
            return Err(Errno::ENOSPC);
        }
        let index = (0..).zip(table.keys()).find(|(i, k)| i != *k).map_or(table.len() as u32, |(i, _)| i);
        let pty = Pty::new(index, self.kernel.clone(), self.me.clone());
        let attrs = self.attrs(u64::from(index) + 3, FileKind::Char, PERM, pty.tty.number());
        let attrs = Mutex::new(Attrs { uid: cred.fsuid, gid: TTY_GID, ..attrs });
        table.insert(index, Arc::new(Slave { line: Line::Pty(Arc::downgrade(&pty)), attrs }));
        Ok(pty.open_master())
    }

    /// The master is gone.
    pub(super) fn remove(&self, index: u32) {
        let gone = self.table.lock().remove(&index);
        drop(gone);
    }

    fn attrs(&self, ino: u64, kind: FileKind, perm: u32, rdev: u64) -> Attrs {
        let at = if ino < 3 { self.made } else { now() };
        let nlink = if kind == FileKind::Dir { 2 } else { 1 };
        Attrs {
            dev: self.dev,
            ino,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev,
            size: 0,
            blksize: 1024,
            blocks: 0,
            atime: at,
            mtime: at,
            ctime: at,
            btime: FileTime::default(),
        }
    }

    /// The pseudo-terminal whose slave this is, from among those that have a name.
    pub fn of_tty(&self, tty: &Arc<Tty>) -> Option<Arc<Pty>> {
        let inodes: Vec<InodeRef> = self.table.lock().values().cloned().collect();
        inodes.iter().filter_map(pty_of).find(|p| Arc::ptr_eq(&p.tty, tty))
    }
}

/// The pseudo-terminal behind a slave's inode.
pub fn pty_of(inode: &InodeRef) -> Option<Arc<Pty>> {
    match &inode.as_any().downcast_ref::<Slave>()?.line {
        Line::Pty(pty) => pty.upgrade(),
        Line::Donated(_) => None,
    }
}

impl FileSystem for DevPts {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn root(&self) -> InodeRef {
        self.root.clone()
    }
}

fn statfs() -> StatFs {
    StatFs { magic: MAGIC, bsize: 4096, namelen: 255, ..StatFs::default() }
}

struct Root(Weak<DevPts>);

impl Root {
    fn fs(&self) -> Result<Arc<DevPts>> {
        self.0.upgrade().ok_or(Errno::EIO)
    }
}

impl Inode for Root {
    fn attrs(&self) -> Result<Attrs> {
        Ok(self.fs()?.attrs(1, FileKind::Dir, 0o755, 0))
    }
    fn kind(&self) -> FileKind {
        FileKind::Dir
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let fs = self.fs()?;
        if name == b"ptmx" {
            return Ok(fs.ptmx.clone());
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        // One name a terminal: no leading noughts or signs.
        if index.to_string() != text {
            return Err(Errno::ENOENT);
        }
        let found = fs.table.lock().get(&index).cloned();
        found.ok_or(Errno::ENOENT)
    }
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(self)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(statfs())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileOps for Root {
    fn readdir(&self, _file: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let fs = self.fs()?;
        // Cookie 3 is ptmx's, those of the terminals follow.
        let entry = |name: String, ino| DirEntry {
            name: name.into_bytes(),
            ino,
            kind: FileKind::Char,
            cookie: ino + 2,
        };
        let first = (cookie <= 3).then(|| entry("ptmx".into(), 2));
        let from = u32::try_from(cookie.saturating_sub(4)).unwrap_or(u32::MAX);
        let table = fs.table.lock();
        let rest = table.range(from..).map(|(i, _)| entry(i.to_string(), u64::from(*i) + 3));
        Ok(first.into_iter().chain(rest).take(max).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `/dev/pts/ptmx`: that anybody may open it is the mount's `ptmxmode`.
struct Ptmx(Weak<DevPts>);

impl Inode for Ptmx {
    fn attrs(&self) -> Result<Attrs> {
        let fs = self.0.upgrade().ok_or(Errno::EIO)?;
        Ok(fs.attrs(2, FileKind::Char, 0o666, make_dev(5, 2)))
    }
    fn kind(&self) -> FileKind {
        FileKind::Char
    }
    /// Who opens it must be known: `syscalls::terminal` does.
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(statfs())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a name in `/dev/pts` stands for.
enum Line {
    Pty(Weak<Pty>),
    Donated(Arc<dyn FileOps>),
}

/// The name of a slave.
struct Slave {
    line: Line,
    attrs: Mutex<Attrs>,
}

impl Inode for Slave {
    fn attrs(&self) -> Result<Attrs> {
        Ok(*self.attrs.lock())
    }
    fn kind(&self) -> FileKind {
        FileKind::Char
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        if set.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut a = self.attrs.lock();
        a.perm = set.perm.unwrap_or(a.perm);
        a.uid = set.uid.unwrap_or(a.uid);
        a.gid = set.gid.unwrap_or(a.gid);
        a.atime = set.atime.unwrap_or(a.atime);
        a.mtime = set.mtime.unwrap_or(a.mtime);
        a.ctime = now();
        Ok(())
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        match &self.line {
            Line::Pty(pty) => Ok(pty.upgrade().ok_or(Errno::EIO)?.open_slave()?),
            Line::Donated(ops) => Ok(ops.clone()),
        }
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(statfs())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The number in `/dev/pts` that a device number stands for.
fn index_of(rdev: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    match major.checked_sub(PTS_MAJOR) {
        Some(block @ 0..=7) if minor < 256 => Some(block << 8 | minor),
        _ => None,
    }
}
