//! `tmpfs`: a file system in the sentry's memory (tmpfs(5)). Small files lie on the heap, larger and mapped ones in
//! memfds, or on disk where the overlay keeps its files there ([`Store`]); also memfd_create(2) files and what the overlay keeps of changed files are inodes of this kind.
//!
//! Locks: `Shared::rename` > the entries of directories, by inode number > `TmpInode::meta`, `Content::state`; no lock
//! is held over a call out of this module but reads and writes of bytes.

pub mod content;
mod dir;
mod file;
mod store;
#[cfg(test)]
mod tests;
mod xattr;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use self::content::{Content, Quota};
use self::dir::Entries;
pub use self::store::{bound_all_files, Scratch, Store};
use super::clock::{anonymous_dev, now};
use crate::vfs::inode::{Attrs, FileTime, NewNode, Owner, SetAttrs, StatFs};
use crate::vfs::{FileKind, FileOps, FileSystem, Inode, InodeRef};

/// `TMPFS_MAGIC` of statfs(2).
const MAGIC: u64 = 0x0102_1994;

/// What a tmpfs is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Room for data in bytes, `None` for as much as the machine gives.
    pub size: Option<u64>,
    /// The most inodes, which bounds what names and attributes cost the sentry.
    pub inodes: u64,
    pub owner: Owner,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: None, inodes: 4 << 20, owner: Owner { uid: 0, gid: 0, perm: 0o1777 } }
    }
}

/// What all inodes of one tmpfs share.
pub struct Shared {
    dev: u64,
    next_ino: AtomicU64,
    pub quota: Arc<Quota>,
    /// Held while a name moves between directories, so that no loop can be made.
    rename: Mutex<()>,
    store: Store,
}

impl Shared {
    pub fn new(size: Option<u64>, inodes: u64, store: Store) -> Arc<Shared> {
        let pages = size.map_or(u64::MAX / 8192, |s| s / 4096);
        Arc::new(Shared {
            dev: anonymous_dev(),
            next_ino: AtomicU64::new(1),
            quota: Arc::new(Quota::new(pages, inodes, store.place())),
            rename: Mutex::new(()),
            store,
        })
    }

    pub fn statfs(&self) -> StatFs {
        let q = &self.quota;
        let limited = q.pages < u64::MAX / 8192;
        let free = if limited { q.free_pages() } else { 0 };
        StatFs {
            magic: MAGIC,
            bsize: 4096,
            blocks: if limited { q.pages } else { 0 },
            bfree: free,
            bavail: free,
            files: q.inodes,
            ffree: q.inodes.saturating_sub(q.used_inodes()),
            namelen: 255,
            flags: 0,
        }
    }
}

/// A mountable tmpfs.
pub struct TmpFs {
    root: Arc<TmpInode>,
}

impl TmpFs {
    pub fn new(options: Options) -> Result<Arc<TmpFs>> {
        let shared = Shared::new(options.size, options.inodes, Store::Memory);
        let root = TmpInode::make(&shared, &NewNode::Dir, options.owner)?;
        root.meta.lock().nlink = 2;
        Ok(Arc::new(TmpFs { root }))
    }
    /// The root as its own type, to fill it at boot.
    pub fn tmp_root(&self) -> &Arc<TmpInode> {
        &self.root
    }
}

impl FileSystem for TmpFs {
    fn name(&self) -> &'static str {
        "tmpfs"
    }
    fn root(&self) -> InodeRef {
        self.root.clone()
    }
}

/// What changes of an inode.
pub(super) struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    nlink: u64,
    atime: FileTime,
    mtime: FileTime,
    ctime: FileTime,
    btime: FileTime,
    xattrs: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

pub(super) enum Body {
    Dir(Mutex<Entries>),
    Regular(Content),
    Symlink(Vec<u8>),
    Special,
}

/// An inode of a tmpfs, and at the same time the operations of its open descriptions: none has state of its own.
pub struct TmpInode {
    me: Weak<TmpInode>,
    shared: Arc<Shared>,
    ino: u64,
    kind: FileKind,
    rdev: u64,
    meta: Mutex<Meta>,
    body: Body,
}

impl TmpInode {
    /// An inode without a name (`nlink` 0).
    pub fn make(shared: &Arc<Shared>, node: &NewNode, owner: Owner) -> Result<Arc<TmpInode>> {
        TmpInode::make_sealed(shared, node, owner, libc::F_SEAL_SEAL as u32)
    }

    fn make_sealed(shared: &Arc<Shared>, node: &NewNode, owner: Owner, seals: u32) -> Result<Arc<TmpInode>> {
        shared.quota.take_inode()?;
        let (kind, rdev, body) = match node {
            NewNode::Regular => (
                FileKind::Regular,
                0,
                Body::Regular(Content::new(shared.quota.clone(), seals, shared.store.clone())),
            ),
            NewNode::Dir => (FileKind::Dir, 0, Body::Dir(Mutex::new(Entries::default()))),
            NewNode::Symlink(text) => (FileKind::Symlink, 0, Body::Symlink(text.clone())),
            NewNode::Fifo => (FileKind::Fifo, 0, Body::Special),
            NewNode::Socket => (FileKind::Socket, 0, Body::Special),
            NewNode::Char(rdev) => (FileKind::Char, *rdev, Body::Special),
            NewNode::Block(rdev) => (FileKind::Block, *rdev, Body::Special),
        };
        let t = now();
        Ok(Arc::new_cyclic(|me| TmpInode {
            me: me.clone(),
            shared: shared.clone(),
            ino: shared.next_ino.fetch_add(1, Ordering::Relaxed),
            kind,
            rdev,
            meta: Mutex::new(Meta {
                perm: if kind == FileKind::Symlink { 0o777 } else { owner.perm & 0o7777 },
                uid: owner.uid,
                gid: owner.gid,
                nlink: 0,
                atime: t,
                mtime: t,
                ctime: t,
                btime: t,
                xattrs: None,
            }),
            body,
        }))
    }

    /// The inode as a shared one.
    pub fn me(&self) -> Result<Arc<TmpInode>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// The content of a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::Regular(c) => Some(c),
            _ => None,
        }
    }

    /// Owner, times and mode of another inode (copy-up of the overlay).
    pub fn copy_attrs(&self, from: &Attrs) {
        let mut m = self.meta.lock();
        m.perm = from.perm;
        m.uid = from.uid;
        m.gid = from.gid;
        m.nlink = from.nlink;
        m.atime = from.atime;
        m.mtime = from.mtime;
        m.ctime = from.ctime;
        m.btime = from.btime;
    }

    /// Puts extended attributes in as they are (copy-up of the overlay).
    pub fn copy_xattrs(&self, all: BTreeMap<Vec<u8>, Vec<u8>>) {
        if !all.is_empty() {
            self.meta.lock().xattrs = Some(all);
        }
    }

    /// Sets the count of names, which only the overlay keeps from outside.
    pub fn set_nlink(&self, nlink: u64) {
        self.meta.lock().nlink = nlink;
    }

    /// mtime and ctime are now.
    pub fn touch_modified(&self) {
        let t = now();
        let mut m = self.meta.lock();
        m.mtime = t;
        m.ctime = t;
    }

    /// ctime is now.
    pub fn touch_changed(&self) {
        self.meta.lock().ctime = now();
    }

    /// atime is now, where `relatime` of mount(8) has it changed.
    pub(super) fn touch_read(&self) {
        let mut m = self.meta.lock();
        if m.atime <= m.mtime || m.atime <= m.ctime {
            m.atime = now();
        }
    }

    fn dir_ref(&self) -> Result<&Mutex<Entries>> {
        match &self.body {
            Body::Dir(d) => Ok(d),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.shared.quota.give_inode();
        // A deep tree is taken apart here in a loop: drops within drops would use up the stack.
        let mut doomed = Vec::new();
        if let Body::Dir(d) = &mut self.body {
            doomed.extend(d.get_mut().take_all());
        }
        while let Some(inode) = doomed.pop() {
            if let (1, Body::Dir(d)) = (Arc::strong_count(&inode), &inode.body) {
                doomed.extend(d.lock().take_all());
            }
        }
    }
}

impl Inode for TmpInode {
    fn attrs(&self) -> Result<Attrs> {
        let (size, blocks) = match &self.body {
            // Linux counts 20 bytes for each entry (BOGO_DIRENT_SIZE), `.` and `..` included.
            Body::Dir(d) => ((d.lock().len() as u64 + 2) * 20, 0),
            Body::Regular(c) => (c.size(), c.pages() * 8),
            Body::Symlink(text) => (text.len() as u64, 0),
            Body::Special => (0, 0),
        };
        let m = self.meta.lock();
        Ok(Attrs {
            dev: self.shared.dev,
            ino: self.ino,
            kind: self.kind,
            perm: m.perm,
            nlink: m.nlink,
            uid: m.uid,
            gid: m.gid,
            rdev: self.rdev,
            size,
            blksize: 4096,
            blocks,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: m.btime,
        })
    }
    fn kind(&self) -> FileKind {
        self.kind
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        if let Some(size) = set.size {
            match &self.body {
                Body::Regular(c) => c.truncate(size)?,
                Body::Dir(_) => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
        }
        let t = now();
        let mut m = self.meta.lock();
        if let Some(perm) = set.perm {
            let sealed = self.content().is_some_and(|c| c.seals() & content::SEAL_EXEC != 0);
            if sealed && (perm ^ m.perm) & 0o111 != 0 {
                return Err(Errno::EPERM);
            }
            m.perm = perm & 0o7777;
        }
        m.uid = set.uid.unwrap_or(m.uid);
        m.gid = set.gid.unwrap_or(m.gid);
        if set.size.is_some() {
            m.mtime = t;
        }
        m.atime = set.atime.unwrap_or(m.atime);
        m.mtime = set.mtime.unwrap_or(m.mtime);
        m.ctime = t;
        Ok(())
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let found = self.dir_ref()?.lock().get(name)?;
        Ok(found)
    }
    fn create(&self, name: &[u8], node: &NewNode, owner: Owner) -> Result<InodeRef> {
        self.create_tmp(name, node, owner).map(|i| i as InodeRef)
    }
    fn keeps_devices(&self) -> bool {
        true
    }
    fn create_unnamed(&self, owner: Owner) -> Result<InodeRef> {
        self.dir_ref()?;
        Ok(TmpInode::make(&self.shared, &NewNode::Regular, owner)?)
    }
    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        self.link_tmp(name, target)
    }
    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.unlink_tmp(name)
    }
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.rmdir_tmp(name)
    }
    fn rename(&self, name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: u32) -> Result<()> {
        let new_dir = new_dir.as_any().downcast_ref::<TmpInode>().ok_or(Errno::EXDEV)?;
        self.rename_tmp(name, new_dir, new_name, flags)
    }
    fn readlink(&self) -> Result<Vec<u8>> {
        match &self.body {
            Body::Symlink(text) => Ok(text.clone()),
            _ => Err(Errno::EINVAL),
        }
    }
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            FileKind::Regular | FileKind::Dir => Ok(self),
            FileKind::Char => super::dev::open_char(self.rdev, flags),
            FileKind::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }
    fn getxattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.get_xattr(name)
    }
    fn setxattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.set_xattr(name, value, flags)
    }
    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.list_xattr())
    }
    fn removexattr(&self, name: &[u8]) -> Result<()> {
        self.remove_xattr(name)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.shared.statfs())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The file of memfd_create(2), with mode 0777 and, with `MFD_ALLOW_SEALING`, open to seals. The caller makes the
/// description: `File::anonymous(inode.clone(), …)` with the label `/memfd:NAME (deleted)`.
pub fn memfd(uid: u32, gid: u32, flags: u32) -> Result<Arc<TmpInode>> {
    static SHARED: std::sync::OnceLock<Arc<Shared>> = std::sync::OnceLock::new();
    let shared = SHARED.get_or_init(|| Shared::new(None, 1 << 20, Store::Memory));
    let no_exec = flags & libc::MFD_NOEXEC_SEAL != 0;
    let seals = if no_exec {
        content::SEAL_EXEC
    } else if flags & libc::MFD_ALLOW_SEALING != 0 {
        0
    } else {
        libc::F_SEAL_SEAL as u32
    };
    let owner = Owner { uid, gid, perm: if no_exec { 0o666 } else { 0o777 } };
    TmpInode::make_sealed(shared, &NewNode::Regular, owner, seals)
}
