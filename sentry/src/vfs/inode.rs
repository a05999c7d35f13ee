//! What a file system provides: inodes. Everything above (dentries, mounts, path walk, permission checks) is the VFS's.
//!
//! An inode method does what its file system does and no more: permissions, sticky bits, read-only mounts and name
//! lengths have been checked by the VFS before the call (path_resolution(7)).

use std::any::Any;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::file::FileOps;
use super::path::VfsPath;

/// A shared inode.
pub type InodeRef = Arc<dyn Inode>;

/// The type of an inode; the values are `S_IFMT` bits of inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileKind {
    /// Anonymous inodes (eventfd, epoll, …) have no type bits.
    Anon = 0,
    Fifo = 0o010000,
    Char = 0o020000,
    Dir = 0o040000,
    Block = 0o060000,
    Regular = 0o100000,
    Symlink = 0o120000,
    Socket = 0o140000,
}

impl FileKind {
    /// From the `S_IFMT` bits of a mode.
    pub fn from_mode(mode: u32) -> Option<FileKind> {
        Some(match mode & 0o170000 {
            0o010000 => FileKind::Fifo,
            0o020000 => FileKind::Char,
            0o040000 => FileKind::Dir,
            0o060000 => FileKind::Block,
            0o100000 => FileKind::Regular,
            0o120000 => FileKind::Symlink,
            0o140000 => FileKind::Socket,
            _ => return None,
        })
    }
    /// `d_type` of getdents64(2).
    pub fn d_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    pub sec: i64,
    pub nsec: u32,
}

/// What statx(2) tells of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Attrs {
    pub dev: u64,
    pub ino: u64,
    pub kind: FileKind,
    /// Permission bits with set-id and sticky bits (07777).
    pub perm: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: FileTime,
    pub mtime: FileTime,
    pub ctime: FileTime,
    pub btime: FileTime,
}

impl Attrs {
    pub fn mode(&self) -> u32 {
        self.kind as u32 | self.perm
    }
}

/// What chmod, chown, truncate and utimensat change; `None` leaves as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttrs {
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<FileTime>,
    pub mtime: Option<FileTime>,
}

/// What to make in a directory.
#[derive(Clone, Debug)]
pub enum NewNode {
    Regular,
    Dir,
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Char(u64),
    Block(u64),
}

/// Owner and permission bits (umask applied) of something new.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub perm: u32,
}

/// An entry that a directory lists. `cookie` is what `d_off` says: where to go on behind it.
#[derive(Clone, Debug)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u64,
    pub kind: FileKind,
    pub cookie: u64,
}

/// How long what a directory said of a name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// Nobody else changes it (tmpfs): until we change it ourselves.
    Forever,
    /// Ask [`Inode::revalidate`] before a cached name (present or absent) is used.
    Ask,
    /// Never cached (proc).
    Never,
}

/// Where a magic link of proc leads.
pub enum LinkTarget {
    /// A text to walk on with, as any symbolic link.
    Text(Vec<u8>),
    /// A place, whatever its name now is.
    Place(VfsPath),
    /// An open file that has no place (a pipe): opening it gives a new description of the same inode.
    Node(InodeRef),
}

/// One file of a file system.
pub trait Inode: Send + Sync + Any {
    /// stat(2). May ask the gofer.
    fn attrs(&self) -> Result<Attrs>;
    /// The type alone; never changes and never blocks.
    fn kind(&self) -> FileKind;
    /// chmod, chown, truncate, utimensat; sets ctime.
    fn set_attrs(&self, _set: &SetAttrs) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// The inode of a name in this directory; `ENOENT`.
    fn lookup(&self, _name: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOTDIR)
    }
    /// Tells that the walk is about to look up these names in a row, so that a file system behind a socket may fetch
    /// them in one message. A hint.
    fn prefetch(&self, _names: &[&[u8]]) {}
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Forever
    }
    /// Whether a cached answer for `name` (`child`, or absent) still holds. Asked only under [`CachePolicy::Ask`].
    fn revalidate(&self, _name: &[u8], _child: Option<&InodeRef>) -> bool {
        false
    }
    fn create(&self, _name: &[u8], _node: &NewNode, _owner: Owner) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// Whether device nodes, which open nothing of the host's, may be made in this directory.
    fn keeps_devices(&self) -> bool {
        false
    }
    /// A regular file without a name (`O_TMPFILE`).
    fn create_unnamed(&self, _owner: Owner) -> Result<InodeRef> {
        Err(Errno::EOPNOTSUPP)
    }
    fn link(&self, _name: &[u8], _target: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves `name` of this directory to `new_name` of `new_dir` (same file system). `flags` of renameat2(2):
    /// `RENAME_NOREPLACE`, `RENAME_EXCHANGE`; other flags give `EINVAL`.
    fn rename(&self, _name: &[u8], _new_dir: &InodeRef, _new_name: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// The text of a symbolic link.
    fn readlink(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    /// Where following the link leads; differs from `readlink` for magic links only.
    fn follow(&self) -> Result<LinkTarget> {
        self.readlink().map(LinkTarget::Text)
    }
    /// Opens it: `flags` are those of open(2), truncation and permission already done by the VFS.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>>;
    fn getxattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `flags`: `XATTR_CREATE`, `XATTR_REPLACE`.
    fn setxattr(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn removexattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// statfs(2) of the file system that it lives in.
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs::default())
    }
    /// syncfs(2): brings what its file system holds to where it is safe. What lives in memory is as safe as it gets.
    fn sync_all(&self) -> Result<()> {
        Ok(())
    }
    /// For the overlay and for file systems that look into their own kind.
    fn as_any(&self) -> &dyn Any;
}

/// statfs(2), in units of `bsize`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatFs {
    pub magic: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
    pub flags: u64,
}

/// A file system that can be mounted.
pub trait FileSystem: Send + Sync {
    /// The type's name in `/proc/mounts`.
    fn name(&self) -> &'static str;
    fn root(&self) -> InodeRef;
}
