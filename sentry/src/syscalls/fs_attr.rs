//! Calls that change attributes: chmod(2), chown(2), utimensat(2), truncate(2), umask(2).

use linux_abi::fs::{Timespec, Timeval};
use linux_abi::Errno;

use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::syscalls::fs_io::check_size;
use crate::syscalls::fs_stat::named;
use crate::syscalls::Fd;
use crate::vfs::attr::{self, NewTime};
use crate::vfs::inode::{FileTime, SetAttrs};
use crate::vfs::{text_busy, File, FileKind};

const CWD: Fd = Fd(libc::AT_FDCWD);
const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;
const EMPTY: u32 = libc::AT_EMPTY_PATH as u32;

pub fn chmod(cx: &mut Ctx<'_>, path: u64, mode: u32) -> SysResult {
    fchmodat2(cx, CWD, path, mode, 0)
}

pub fn fchmodat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32) -> SysResult {
    fchmodat2(cx, dirfd, path, mode, 0)
}

pub fn fchmodat2(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32, flags: u32) -> SysResult {
    if flags & !(NOFOLLOW | EMPTY) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = named(cx, dirfd.0, path, flags)?.place()?;
    attr::chmod(&place, &cx.task.cred(), mode)?;
    Ok(0)
}

pub fn fchmod(cx: &mut Ctx<'_>, fd: Fd, mode: u32) -> SysResult {
    let file = cx.file(fd.0)?;
    match &file.path {
        Some(p) => attr::chmod(p, &cx.task.cred(), mode)?,
        None => set_unplaced(&file, SetAttrs { perm: Some(mode & 0o7777), ..Default::default() })?,
    }
    Ok(0)
}

/// Changes a file that has an inode but no place (a pipe, a memfd).
fn set_unplaced(file: &File, set: SetAttrs) -> Result<(), Errno> {
    let inode = file.inode().ok_or(Errno::EOPNOTSUPP)?;
    if inode.kind() == FileKind::Anon {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.set_attrs(&set)
}

/// An id argument: -1 leaves as it is.
fn id(raw: u32) -> Option<u32> {
    (raw != u32::MAX).then_some(raw)
}

pub fn chown(cx: &mut Ctx<'_>, path: u64, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, CWD, path, uid, gid, 0)
}

pub fn lchown(cx: &mut Ctx<'_>, path: u64, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, CWD, path, uid, gid, NOFOLLOW)
}

pub fn fchownat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, uid: u32, gid: u32, flags: u32) -> SysResult {
    if flags & !(NOFOLLOW | EMPTY) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = named(cx, dirfd.0, path, flags)?.place()?;
    attr::chown(&place, &cx.task.cred(), id(uid), id(gid))?;
    Ok(0)
}

pub fn fchown(cx: &mut Ctx<'_>, fd: Fd, uid: u32, gid: u32) -> SysResult {
    let file = cx.file(fd.0)?;
    match &file.path {
        Some(p) => attr::chown(p, &cx.task.cred(), id(uid), id(gid))?,
        None => set_unplaced(&file, SetAttrs { uid: id(uid), gid: id(gid), ..Default::default() })?,
    }
    Ok(0)
}

/// A time of utimensat(2), `UTIME_NOW` and `UTIME_OMIT` among them.
fn new_time(t: Timespec) -> Result<NewTime, Errno> {
    match t.nsec {
        libc::UTIME_NOW => Ok(NewTime::Now),
        libc::UTIME_OMIT => Ok(NewTime::Omit),
        0..1_000_000_000 => Ok(NewTime::At(FileTime { sec: t.sec, nsec: t.nsec as u32 })),
        _ => Err(Errno::EINVAL),
    }
}

fn from_timeval(t: Timeval) -> Result<NewTime, Errno> {
    if !(0..1_000_000).contains(&t.usec) {
        return Err(Errno::EINVAL);
    }
    Ok(NewTime::At(FileTime { sec: t.sec, nsec: t.usec as u32 * 1000 }))
}

/// Times that are none are said so only once the file is found.
type Times = Result<(NewTime, NewTime), Errno>;

fn set_times(cx: &mut Ctx<'_>, dirfd: i32, path: u64, times: Times, flags: u32) -> SysResult {
    let cred = cx.task.cred();
    // utimensat(2): a null path means the descriptor itself.
    if path == 0 && flags & EMPTY == 0 && dirfd != libc::AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        let file = cx.file(dirfd)?;
        let place = file.path.as_ref().ok_or(Errno::EINVAL)?;
        let times = times?;
        attr::utimes(place, &cred, times.0, times.1)?;
        return Ok(0);
    }
    let place = named(cx, dirfd, path, flags)?.place()?;
    let times = times?;
    attr::utimes(&place, &cred, times.0, times.1)?;
    Ok(0)
}

pub fn utimensat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, times: UserPtr<Timespec>, flags: u32) -> SysResult {
    let t = match times.is_null() {
        true => None,
        false => Some((times.read(&cx.mem)?, times.nth(1).read(&cx.mem)?)),
    };
    // Nothing to do: not even the path is looked at.
    if t.is_some_and(|(a, b)| a.nsec == libc::UTIME_OMIT && b.nsec == libc::UTIME_OMIT) {
        return Ok(0);
    }
    if flags & !(NOFOLLOW | EMPTY) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let times = t.map_or(Ok((NewTime::Now, NewTime::Now)), |(a, b)| Ok((new_time(a)?, new_time(b)?)));
    set_times(cx, dirfd.0, path, times, flags)
}

pub fn futimesat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, times: UserPtr<Timeval>) -> SysResult {
    let t = match times.is_null() {
        true => (NewTime::Now, NewTime::Now),
        false => (from_timeval(times.read(&cx.mem)?)?, from_timeval(times.nth(1).read(&cx.mem)?)?),
    };
    set_times(cx, dirfd.0, path, Ok(t), 0)
}

pub fn utimes(cx: &mut Ctx<'_>, path: u64, times: UserPtr<Timeval>) -> SysResult {
    futimesat(cx, CWD, path, times)
}

/// utime(2): the two fields of `struct utimbuf` are whole seconds.
pub fn utime(cx: &mut Ctx<'_>, path: u64, times: UserPtr<Timeval>) -> SysResult {
    let whole = |sec| NewTime::At(FileTime { sec, nsec: 0 });
    let t = match times.read_opt(&cx.mem)? {
        None => (NewTime::Now, NewTime::Now),
        Some(b) => (whole(b.sec), whole(b.usec)),
    };
    set_times(cx, libc::AT_FDCWD, path, Ok(t), 0)
}

pub fn truncate(cx: &mut Ctx<'_>, path: u64, size: i64) -> SysResult {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let text = cx.path(path)?;
    let place = cx.lookup().resolve(&text, true)?;
    check_size(cx, size)?;
    let _claim = text_busy::writing(place.inode())?;
    attr::truncate(&place, &cx.task.cred(), size)?;
    Ok(0)
}

pub fn umask(cx: &mut Ctx<'_>, mask: u32) -> SysResult {
    let fs = cx.task.fs();
    let old = std::mem::replace(&mut fs.inner.lock().umask, mask & 0o777);
    Ok(old as u64)
}
