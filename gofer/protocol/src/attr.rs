//! What statx(2) says about a file.

use crate::wire::{Malformed, Reader, Wire, Writer};

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    pub sec: i64,
    /// Below 1,000,000,000.
    pub nsec: u32,
}

/// A file's attributes, as the host's statx(2) gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    /// `STATX_ATTR_*`.
    pub attributes: u64,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    /// Type and permissions.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub blksize: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Zero where the file system keeps none.
    pub btime: Timestamp,
}

/// The type bits of a mode (inode(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Unknown,
}

impl FileKind {
    pub fn from_mode(mode: u32) -> FileKind {
        match mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::Regular,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            _ => FileKind::Unknown,
        }
    }
    /// `d_type` of readdir(3).
    pub fn d_type(self) -> u8 {
        match self {
            FileKind::Regular => libc::DT_REG,
            FileKind::Directory => libc::DT_DIR,
            FileKind::Symlink => libc::DT_LNK,
            FileKind::Fifo => libc::DT_FIFO,
            FileKind::Socket => libc::DT_SOCK,
            FileKind::CharDevice => libc::DT_CHR,
            FileKind::BlockDevice => libc::DT_BLK,
            FileKind::Unknown => libc::DT_UNKNOWN,
        }
    }
}

impl Attr {
    /// Bytes on the wire.
    pub const SIZE: usize = 4 * 8 + 9 * 4 + 4 * 12;

    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode)
    }
    pub fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }
    /// `st_dev` as stat(2) encodes it.
    pub fn dev(&self) -> u64 {
        libc::makedev(self.dev_major, self.dev_minor)
    }
    /// `st_rdev` as stat(2) encodes it.
    pub fn rdev(&self) -> u64 {
        libc::makedev(self.rdev_major, self.rdev_minor)
    }
    /// Whether both were read from the same file: device, number and type agree. (A number that was given to a new
    /// file of the same type after the old one was deleted passes; such a file is in the exposed tree as well.)
    pub fn same_file(&self, other: &Attr) -> bool {
        self.ino == other.ino
            && self.dev_major == other.dev_major
            && self.dev_minor == other.dev_minor
            && self.kind() == other.kind()
    }
}

impl Timestamp {
    fn encode(self, w: &mut Writer) {
        w.i64(self.sec);
        w.u32(self.nsec);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
        let t = Timestamp { sec: r.i64()?, nsec: r.u32()? };
        if t.nsec < 1_000_000_000 {
            Ok(t)
        } else {
            Err(Malformed("nanoseconds"))
        }
    }
}

impl Wire for Attr {
    fn encode(&self, w: &mut Writer) {
        for v in [self.ino, self.size, self.blocks, self.attributes] {
            w.u64(v);
        }
        for v in [
            self.dev_major,
            self.dev_minor,
            self.rdev_major,
            self.rdev_minor,
            self.mode,
            self.nlink,
            self.uid,
            self.gid,
            self.blksize,
        ] {
            w.u32(v);
        }
        for t in [self.atime, self.mtime, self.ctime, self.btime] {
            t.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Attr, Malformed> {
        let attr = Attr {
            ino: r.u64()?,
            size: r.u64()?,
            blocks: r.u64()?,
            attributes: r.u64()?,
            dev_major: r.u32()?,
            dev_minor: r.u32()?,
            rdev_major: r.u32()?,
            rdev_minor: r.u32()?,
            mode: r.u32()?,
            nlink: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            blksize: r.u32()?,
            atime: Timestamp::decode(r)?,
            mtime: Timestamp::decode(r)?,
            ctime: Timestamp::decode(r)?,
            btime: Timestamp::decode(r)?,
        };
        if attr.size > i64::MAX as u64 || attr.kind() == FileKind::Unknown {
            return Err(Malformed("attributes"));
        }
        Ok(attr)
    }
}
