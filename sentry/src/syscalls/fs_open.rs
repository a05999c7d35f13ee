//! open(2) and its kin, close(2), the dup(2) family.

use std::sync::Arc;

use linux_abi::fs::OpenHow;
use linux_abi::Errno;

use crate::fsimpl::host::stream::is_donated;
use crate::kernel::{Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::syscalls::Fd;
use crate::vfs::file::Mark;
use crate::vfs::open::{describe, Located};
use crate::vfs::{File, FileKind, Resolve};

const O_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
/// All flags that open(2) knows; openat2(2) refuses others.
const KNOWN: u64 = (libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_ASYNC
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | libc::O_TMPFILE) as u64
    | 0o100000;

pub fn open(cx: &mut Ctx<'_>, path: u64, flags: u32, mode: u32) -> SysResult {
    open_in(cx, libc::AT_FDCWD, path, flags, mode, Resolve::empty())
}

pub fn creat(cx: &mut Ctx<'_>, path: u64, mode: u32) -> SysResult {
    let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
    open_in(cx, libc::AT_FDCWD, path, flags, mode, Resolve::empty())
}

pub fn openat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, flags: u32, mode: u32) -> SysResult {
    open_in(cx, dirfd.0, path, flags, mode, Resolve::empty())
}

pub fn openat2(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, how: u64, size: usize) -> SysResult {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let h = UserPtr::<OpenHow>::new(how).read(&cx.mem)?;
    let mut rest = vec![0; size - size_of::<OpenHow>()];
    cx.mem.read(how.wrapping_add(size_of::<OpenHow>() as u64), &mut rest)?;
    if rest.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let makes = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
    let mode_ok = if h.flags & makes != 0 { h.mode & !0o7777 == 0 } else { h.mode == 0 };
    let path_flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64;
    if h.flags & !KNOWN != 0 || !mode_ok || h.flags & libc::O_PATH as u64 != 0 && h.flags & !path_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let resolve = Resolve::from_bits(h.resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL.into());
    }
    let changes = (libc::O_TRUNC | libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
    if resolve.contains(Resolve::CACHED) && h.flags & changes != 0 {
        return Err(Errno::EAGAIN.into());
    }
    open_in(cx, dirfd.0, path, h.flags as u32, h.mode as u32, resolve)
}

fn open_in(cx: &mut Ctx<'_>, dirfd: i32, path: u64, flags: u32, mode: u32, how: Resolve) -> SysResult {
    let path = cx.path(path)?;
    let look = if how.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
        // Absolute paths too begin at the descriptor.
        cx.lookup_at(dirfd, b".")?
    } else {
        cx.lookup_at(dirfd, &path)?
    };
    let found = look.locate(&path, flags, mode & 0o7777, how)?;
    let file = open_located(cx, found)?;
    Ok(cx.install(file, flags & O_CLOEXEC != 0)? as u64)
}

/// Makes the description; a FIFO waits for its other side.
pub fn open_located(cx: &mut Ctx<'_>, found: Located) -> Result<Arc<File>, Stop> {
    let path_only = found.flags & libc::O_PATH as u32 != 0;
    let inode = found.place.inode().clone();
    if !path_only && inode.kind() == FileKind::Fifo && !is_donated(&inode) {
        let ops = crate::fsimpl::pipe::open_fifo(cx, &inode, found.flags)?;
        let file = describe(found.place, ops, found.flags);
        file.opened();
        return Ok(file);
    }
    if !path_only && inode.kind() == FileKind::Char {
        let file = super::terminal::open(cx, found)?;
        if !file.marked(Mark::Opened) {
            file.opened();
        }
        return Ok(file);
    }
    Ok(found.open()?)
}

pub fn close(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let file = cx.task.files().remove(fd.0)?;
    drop(file);
    Ok(0)
}

pub fn close_range(cx: &mut Ctx<'_>, first: u32, last: u32, flags: u32) -> SysResult {
    if flags & !(libc::CLOSE_RANGE_UNSHARE | libc::CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & libc::CLOSE_RANGE_UNSHARE != 0 {
        let own = Arc::new(cx.task.files().duplicate());
        *cx.task.files.write() = own;
    }
    let (first, last) = (first as usize, last as usize);
    if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
        cx.task.files().cloexec_range(first, last);
    } else {
        drop(cx.task.files().take_range(first, last));
    }
    Ok(0)
}

pub fn dup(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let file = cx.file_any(fd.0)?;
    Ok(cx.install(file, false)? as u64)
}

pub fn dup2(cx: &mut Ctx<'_>, old: Fd, new: Fd) -> SysResult {
    if old == new {
        cx.file_any(old.0)?;
        return Ok(new.0 as u64);
    }
    replace(cx, old, new, false)
}

pub fn dup3(cx: &mut Ctx<'_>, old: Fd, new: Fd, flags: u32) -> SysResult {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    replace(cx, old, new, flags & O_CLOEXEC != 0)
}

fn replace(cx: &mut Ctx<'_>, old: Fd, new: Fd, cloexec: bool) -> SysResult {
    let file = cx.file_any(old.0)?;
    let limit = cx.limit(resource::NOFILE);
    let gone = cx.task.files().replace(new.0, file, cloexec, limit)?;
    drop(gone);
    Ok(new.0 as u64)
}
