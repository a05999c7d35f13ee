//! Between what the gofer says and what the VFS wants to hear.

use gofer_protocol::{Attr, SetAttr, SetTime, Statfs, Timestamp};
use linux_abi::{Errno, Result};

use crate::vfs::inode::{Attrs, FileKind, FileTime, SetAttrs, StatFs};

/// rustix's error number as ours.
pub fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

fn time(t: Timestamp) -> FileTime {
    FileTime { sec: t.sec, nsec: t.nsec }
}

/// The protocol lets only known types through, so an unknown one is a broken gofer.
pub fn kind(attr: &Attr) -> Result<FileKind> {
    FileKind::from_mode(attr.mode).ok_or(Errno::EIO)
}

pub fn attrs(a: &Attr) -> Result<Attrs> {
    Ok(Attrs {
        dev: a.dev(),
        ino: a.ino,
        kind: kind(a)?,
        perm: a.mode & 0o7777,
        nlink: u64::from(a.nlink),
        uid: a.uid,
        gid: a.gid,
        rdev: a.rdev(),
        size: a.size,
        blksize: a.blksize,
        blocks: a.blocks,
        atime: time(a.atime),
        mtime: time(a.mtime),
        ctime: time(a.ctime),
        btime: time(a.btime),
    })
}

/// Brings attributes up to date with fstat(2) of an open descriptor of the file. It tells no birth time, and the owner
/// only as our own user namespace maps it, so that both stay as the gofer said.
pub fn refresh(a: &mut Attr, s: &rustix::fs::Stat) {
    a.size = s.st_size as u64;
    a.blocks = s.st_blocks as u64;
    a.mode = s.st_mode;
    a.nlink = s.st_nlink as u32;
    a.blksize = s.st_blksize as u32;
    a.atime = stat_time(s.st_atime, s.st_atime_nsec);
    a.mtime = stat_time(s.st_mtime, s.st_mtime_nsec);
    a.ctime = stat_time(s.st_ctime, s.st_ctime_nsec);
}

fn stat_time(sec: i64, nsec: u64) -> Timestamp {
    Timestamp { sec, nsec: nsec as u32 }
}

/// Attributes of a descriptor that is no file of a tree (a donated stream).
pub fn attrs_of_stat(s: &rustix::fs::Stat) -> Result<Attrs> {
    let at = |sec: i64, nsec: u64| FileTime { sec, nsec: nsec as u32 };
    Ok(Attrs {
        dev: s.st_dev,
        ino: s.st_ino,
        kind: FileKind::from_mode(s.st_mode).ok_or(Errno::EIO)?,
        perm: s.st_mode & 0o7777,
        nlink: s.st_nlink,
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        size: s.st_size as u64,
        blksize: s.st_blksize as u32,
        blocks: s.st_blocks as u64,
        atime: at(s.st_atime, s.st_atime_nsec),
        mtime: at(s.st_mtime, s.st_mtime_nsec),
        ctime: at(s.st_ctime, s.st_ctime_nsec),
        btime: FileTime::default(),
    })
}

pub fn set_attr(set: &SetAttrs) -> SetAttr {
    let time = |t: Option<FileTime>| t.map_or(SetTime::Omit, |t| SetTime::To(t.sec, t.nsec));
    SetAttr {
        mode: set.perm,
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: time(set.atime),
        mtime: time(set.mtime),
    }
}

pub fn statfs(s: &Statfs) -> StatFs {
    StatFs {
        magic: s.kind,
        bsize: s.bsize,
        blocks: s.blocks,
        bfree: s.bfree,
        bavail: s.bavail,
        files: s.files,
        ffree: s.ffree,
        namelen: s.namelen,
        flags: s.flags,
    }
}
