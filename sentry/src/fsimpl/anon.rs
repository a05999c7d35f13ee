//! Inodes of files that have no name: pipes, sockets, and the anonymous-inode kinds (eventfd, epoll, …). They exist so
//! that fstat(2) and `/proc/PID/fd` have something to tell.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::Cred;
use crate::vfs::inode::{FileTime, SetAttrs};
use crate::vfs::{Attrs, FileKind, FileOps, Inode, InodeRef};

/// Device numbers of the file systems that Linux keeps such inodes on; any small ones do.
pub const DEV_SOCK: u64 = 0x9;
pub const DEV_PIPE: u64 = 0xf;
pub const DEV_ANON: u64 = 0x10;
pub const DEV_MQUEUE: u64 = 0x13;

/// The next inode number, shared by all kinds, as on Linux.
pub fn next_ino() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(4096);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The attributes of a nameless inode, and what chmod and chown make of them.
pub struct NodeAttrs(Mutex<Attrs>);

impl NodeAttrs {
    pub fn new(kind: FileKind, perm: u32, dev: u64, cred: &Cred) -> NodeAttrs {
        let now = crate::time::realtime();
        let now = FileTime { sec: (now / crate::time::NSEC) as i64, nsec: (now % crate::time::NSEC) as u32 };
        NodeAttrs(Mutex::new(Attrs {
            dev,
            ino: next_ino(),
            kind,
            perm,
            nlink: 1,
            uid: cred.fsuid,
            gid: cred.fsgid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: FileTime::default(),
        }))
    }
    pub fn get(&self) -> Attrs {
        *self.0.lock()
    }
    pub fn ino(&self) -> u64 {
        self.0.lock().ino
    }
    pub fn set(&self, set: &SetAttrs) -> Result<()> {
        if set.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut a = self.0.lock();
        a.perm = set.perm.unwrap_or(a.perm);
        a.uid = set.uid.unwrap_or(a.uid);
        a.gid = set.gid.unwrap_or(a.gid);
        a.atime = set.atime.unwrap_or(a.atime);
        a.mtime = set.mtime.unwrap_or(a.mtime);
        Ok(())
    }
}

/// An inode that can be told about but not opened again.
pub struct AnonInode(NodeAttrs);

impl AnonInode {
    /// One of the `anon_inode:` kinds: mode 0600 and no type.
    pub fn plain(cred: &Cred) -> InodeRef {
        Arc::new(AnonInode(NodeAttrs::new(FileKind::Anon, 0o600, DEV_ANON, cred)))
    }
    /// A socket's, with its number for the label.
    pub fn socket(cred: &Cred) -> (InodeRef, u64) {
        let attrs = NodeAttrs::new(FileKind::Socket, 0o777, DEV_SOCK, cred);
        let ino = attrs.ino();
        (Arc::new(AnonInode(attrs)), ino)
    }
}

impl Inode for AnonInode {
    fn attrs(&self) -> Result<Attrs> {
        Ok(self.0.get())
    }
    fn kind(&self) -> FileKind {
        self.0.get().kind
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        self.0.set(set)
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
