//! Calls that make, remove and move names.

use linux_abi::Errno;

use crate::cred::cap;
use crate::kernel::{Ctx, SysResult};
use crate::syscalls::fs_stat::named;
use crate::syscalls::Fd;
use crate::vfs::inode::NewNode;
use crate::vfs::remove::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use crate::vfs::FileKind;

const CWD: Fd = Fd(libc::AT_FDCWD);

pub fn mkdir(cx: &mut Ctx<'_>, path: u64, mode: u32) -> SysResult {
    mkdirat(cx, CWD, path, mode)
}

pub fn mkdirat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32) -> SysResult {
    let path = cx.path(path)?;
    cx.lookup_at(dirfd.0, &path)?.make(&path, &NewNode::Dir, mode)?;
    Ok(0)
}

pub fn mknod(cx: &mut Ctx<'_>, path: u64, mode: u32, dev: u32) -> SysResult {
    mknodat(cx, CWD, path, mode, dev)
}

pub fn mknodat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32, dev: u32) -> SysResult {
    let rdev = decode_dev(dev);
    let node = match FileKind::from_mode(mode) {
        None if mode & libc::S_IFMT == 0 => NewNode::Regular,
        Some(FileKind::Regular) => NewNode::Regular,
        Some(FileKind::Fifo) => NewNode::Fifo,
        Some(FileKind::Socket) => NewNode::Socket,
        Some(FileKind::Char) => NewNode::Char(rdev),
        Some(FileKind::Block) => NewNode::Block(rdev),
        Some(FileKind::Dir) => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let path = cx.path(path)?;
    let look = cx.lookup_at(dirfd.0, &path)?;
    // A whiteout is no device: anybody may make one.
    if matches!(node, NewNode::Char(1..) | NewNode::Block(_)) {
        look.cred.require(cap::MKNOD)?;
    }
    look.make(&path, &node, mode & 0o7777)?;
    Ok(0)
}

/// The number of mknod(2): 12 bits major, 20 bits minor, in the order of `new_encode_dev`.
fn decode_dev(dev: u32) -> u64 {
    libc::makedev((dev >> 8) & 0xfff, (dev & 0xff) | (dev >> 12 & 0xf_ff00))
}

pub fn symlink(cx: &mut Ctx<'_>, text: u64, path: u64) -> SysResult {
    symlinkat(cx, text, CWD, path)
}

pub fn symlinkat(cx: &mut Ctx<'_>, text: u64, dirfd: Fd, path: u64) -> SysResult {
    let text = cx.path(text)?;
    if text.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = cx.path(path)?;
    cx.lookup_at(dirfd.0, &path)?.make(&path, &NewNode::Symlink(text), 0o777)?;
    Ok(0)
}

pub fn link(cx: &mut Ctx<'_>, old: u64, new: u64) -> SysResult {
    linkat(cx, CWD, old, CWD, new, 0)
}

pub fn linkat(cx: &mut Ctx<'_>, olddir: Fd, old: u64, newdir: Fd, new: u64, flags: u32) -> SysResult {
    const FOLLOW: u32 = libc::AT_SYMLINK_FOLLOW as u32;
    const EMPTY: u32 = libc::AT_EMPTY_PATH as u32;
    if flags & !(FOLLOW | EMPTY) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let how = flags & EMPTY | if flags & FOLLOW == 0 { libc::AT_SYMLINK_NOFOLLOW as u32 } else { 0 };
    let from = named(cx, olddir.0, old, how)?;
    if matches!(from, crate::syscalls::fs_stat::Named::File(_)) && !cx.task.cred().has(cap::DAC_READ_SEARCH) {
        return Err(Errno::ENOENT.into());
    }
    let from = from.place()?;
    let path = cx.path(new)?;
    cx.lookup_at(newdir.0, &path)?.link(&from, &path)?;
    Ok(0)
}

pub fn unlink(cx: &mut Ctx<'_>, path: u64) -> SysResult {
    unlinkat(cx, CWD, path, 0)
}

pub fn rmdir(cx: &mut Ctx<'_>, path: u64) -> SysResult {
    unlinkat(cx, CWD, path, libc::AT_REMOVEDIR as u32)
}

pub fn unlinkat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, flags: u32) -> SysResult {
    if flags & !(libc::AT_REMOVEDIR as u32) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = cx.path(path)?;
    let look = cx.lookup_at(dirfd.0, &path)?;
    if flags != 0 {
        look.rmdir(&path)?;
    } else {
        look.unlink(&path)?;
    }
    Ok(0)
}

pub fn rename(cx: &mut Ctx<'_>, old: u64, new: u64) -> SysResult {
    renameat2(cx, CWD, old, CWD, new, 0)
}

pub fn renameat(cx: &mut Ctx<'_>, olddir: Fd, old: u64, newdir: Fd, new: u64) -> SysResult {
    renameat2(cx, olddir, old, newdir, new, 0)
}

pub fn renameat2(cx: &mut Ctx<'_>, olddir: Fd, old: u64, newdir: Fd, new: u64, flags: u32) -> SysResult {
    let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
    if flags & !known != 0
        || flags & RENAME_EXCHANGE != 0 && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let old = cx.path(old)?;
    let from = cx.lookup_at(olddir.0, &old)?;
    // What is wrong with the old name is said before anything about the new one.
    let old_first = |e: Errno| from.resolve(&old, false).map_or_else(|old| old, |_| e);
    let new = match cx.path(new) {
        Ok(new) => new,
        Err(e) => return Err(from.parent(&old).err().unwrap_or(e).into()),
    };
    let to = match cx.lookup_at(newdir.0, &new) {
        Ok(to) => to,
        Err(e) => return Err(from.parent(&old).err().unwrap_or(e).into()),
    };
    from.rename(&old, &to, &new, flags)
        .map_err(|e| if e == Errno::ENAMETOOLONG { old_first(e) } else { e })?;
    Ok(0)
}

/// name_to_handle_at(2): no file system here gives handles.
pub fn no_handles(_cx: &mut Ctx<'_>) -> SysResult {
    Err(Errno::EOPNOTSUPP.into())
}
