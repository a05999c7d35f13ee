//! The host calls of the gofer. Every open is of one name in an open directory, with `O_NOFOLLOW`; every file that
//! is opened by name is compared with what the name stood for before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{Attr, FileKind, Timestamp};
use linux_abi::Errno;
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};

pub type Result<T> = std::result::Result<T, Errno>;

/// rustix's error number as ours.
pub fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

/// Which file it is: device, number, type, and when it was made (numbers are used again; zero where the file system
/// does not say). What a name stood for is compared with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub dev: (u32, u32),
    pub ino: u64,
    pub kind: u32,
    pub made: (i64, u32),
}

impl FileId {
    pub fn of(attr: &Attr) -> FileId {
        FileId {
            dev: (attr.dev_major, attr.dev_minor),
            ino: attr.ino,
            kind: attr.mode & libc::S_IFMT,
            made: (attr.btime.sec, attr.btime.nsec),
        }
    }
    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.kind)
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// The attributes of `name` in `dir`, of the link itself where it is one.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Attr> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, WANTED).map(|s| attr(&s)).map_err(errno)
}

/// The attributes of an open file, `O_PATH` or not.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Attr> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED).map(|s| attr(&s)).map_err(errno)
}

fn attr(s: &Statx) -> Attr {
    let time = |t: rustix::fs::StatxTimestamp| Timestamp { sec: t.tv_sec, nsec: t.tv_nsec.min(999_999_999) };
    Attr {
        ino: s.stx_ino,
        size: s.stx_size,
        blocks: s.stx_blocks,
        attributes: s.stx_attributes.bits(),
        dev_major: s.stx_dev_major,
        dev_minor: s.stx_dev_minor,
        rdev_major: s.stx_rdev_major,
        rdev_minor: s.stx_rdev_minor,
        mode: u32::from(s.stx_mode),
        nlink: s.stx_nlink,
        uid: s.stx_uid,
        gid: s.stx_gid,
        blksize: s.stx_blksize,
        atime: time(s.stx_atime),
        mtime: time(s.stx_mtime),
        ctime: time(s.stx_ctime),
        btime: time(s.stx_btime),
    }
}

/// A name that was to be opened is gone, or something else stands there.
pub fn swapped(e: Errno) -> Errno {
    match e {
        Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR => Errno::ESTALE,
        e => e,
    }
}

/// Opens `name` in `dir`, which must be the file `id`. `O_NONBLOCK` keeps a FIFO that was put there meanwhile from
/// stopping the gofer; [`clear_nonblock`] takes it off what is handed over.
pub fn open_same(dir: BorrowedFd<'_>, name: &[u8], id: &FileId, flags: OFlags) -> Result<(OwnedFd, Attr)> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let nonblock = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK };
    let fd = rustix::fs::openat(dir, name, flags | always | nonblock, Mode::empty())
        .map_err(|e| swapped(errno(e)))?;
    let attr = stat_fd(fd.as_fd())?;
    if FileId::of(&attr) == *id {
        Ok((fd, attr))
    } else {
        Err(Errno::ESTALE)
    }
}

/// Opens the directory itself for listing or for its attributes.
pub fn open_self(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, c".", flags, Mode::empty()).map_err(errno)
}

/// Makes the descriptor blocking, as the program that gets it expects (open(2) of a regular file).
pub fn clear_nonblock(fd: BorrowedFd<'_>, flags: OFlags) -> Result<()> {
    let keep = OFlags::APPEND | OFlags::DIRECT | OFlags::NOATIME;
    rustix::fs::fcntl_setfl(fd, flags & keep).map_err(errno)
}

/// File systems whose content is the kernel's, not files: they are shown as empty directories, since what they say
/// is about the host's processes and devices (statfs(2) for the numbers).
pub fn is_pseudo_fs(dir: BorrowedFd<'_>) -> bool {
    const MAGIC: &[u64] = &[
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x27e0eb,    // cgroup
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
        0x6165_676c, // pstore
        0xde5e_81e4, // efivarfs
        0x6265_6570, // configfs
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0x4249_4e4d, // binfmt_misc
        0x6573_5546, // fusectl
    ];
    match rustix::fs::fstatfs(dir) {
        Ok(s) => MAGIC.contains(&(s.f_type as u64)),
        // What cannot be told is not shown.
        Err(_) => true,
    }
}
