//! Extended attributes (xattr(7)).

use linux_abi::Errno;

use crate::kernel::{Ctx, SysResult};
use crate::syscalls::fs_stat::{named, Named};
use crate::syscalls::Fd;
use crate::vfs::attr::xattr_permission;
use crate::vfs::notify;

const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65536;
const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;

fn by_path(cx: &Ctx<'_>, path: u64, flags: u32) -> Result<Named, Errno> {
    named(cx, libc::AT_FDCWD, path, flags)
}

fn by_fd(cx: &Ctx<'_>, fd: Fd) -> Result<Named, Errno> {
    cx.file(fd.0).map(Named::File)
}

/// The attribute's name: 1 to 255 bytes, else `ERANGE`.
fn name(cx: &Ctx<'_>, addr: u64) -> Result<Vec<u8>, Errno> {
    match cx.mem.read_cstr(addr, NAME_MAX + 1) {
        Ok(n) if n.is_empty() => Err(Errno::ERANGE),
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        other => other,
    }
}

fn get(cx: &Ctx<'_>, what: Named, name: &[u8], out: u64, size: usize) -> SysResult {
    let a = what.attrs()?;
    let inode = match &what {
        Named::Place(p) => p.inode(),
        Named::File(f) => f.inode().ok_or(Errno::EOPNOTSUPP)?,
    };
    xattr_permission(&a, inode, &cx.task.cred(), name, false)?;
    let value = inode.getxattr(name)?;
    if size == 0 {
        return Ok(value.len() as u64);
    }
    if value.len() > size {
        return Err(Errno::ERANGE.into());
    }
    cx.mem.write(out, &value)?;
    Ok(value.len() as u64)
}

/// What setxattr(2) is given: all of it is looked at before the file is.
struct New {
    name: Vec<u8>,
    value: Vec<u8>,
    flags: u32,
}

impl New {
    fn read(cx: &Ctx<'_>, attr: u64, value: u64, size: usize, flags: u32) -> Result<New, Errno> {
        if flags & !3 != 0 {
            return Err(Errno::EINVAL);
        }
        let name = name(cx, attr)?;
        if size > VALUE_MAX {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; size];
        if size > 0 {
            cx.mem.read(value, &mut bytes)?;
        }
        Ok(New { name, value: bytes, flags })
    }
    fn set(&self, cx: &Ctx<'_>, what: Named) -> SysResult {
        change(cx, what, &self.name, |i| i.setxattr(&self.name, &self.value, self.flags))
    }
}

fn change(
    cx: &Ctx<'_>,
    what: Named,
    name: &[u8],
    run: impl FnOnce(&crate::vfs::InodeRef) -> Result<(), Errno>,
) -> SysResult {
    let a = what.attrs()?;
    let (inode, place) = match &what {
        Named::Place(p) => (p.inode(), Some(p)),
        Named::File(f) => (f.inode().ok_or(Errno::EOPNOTSUPP)?, f.path.as_ref()),
    };
    if let Some(place) = place {
        place.check_writable()?;
    }
    xattr_permission(&a, inode, &cx.task.cred(), name, true)?;
    run(inode)?;
    match &what {
        Named::Place(p) => notify::on_place(p, notify::ATTRIB),
        Named::File(f) => notify::on_file(f, notify::ATTRIB),
    }
    Ok(0)
}

fn list(cx: &Ctx<'_>, what: Named, out: u64, size: usize) -> SysResult {
    let inode = match &what {
        Named::Place(p) => p.inode(),
        Named::File(f) => f.inode().ok_or(Errno::EOPNOTSUPP)?,
    };
    let admin = cx.task.cred().has(crate::cred::cap::SYS_ADMIN);
    let mut text = Vec::new();
    for n in inode.listxattr()? {
        if admin || !n.starts_with(b"trusted.") {
            text.extend_from_slice(&n);
            text.push(0);
        }
    }
    if text.len() > VALUE_MAX {
        return Err(Errno::E2BIG.into());
    }
    if size == 0 {
        return Ok(text.len() as u64);
    }
    if text.len() > size {
        return Err(Errno::ERANGE.into());
    }
    cx.mem.write(out, &text)?;
    Ok(text.len() as u64)
}

pub fn getxattr(cx: &mut Ctx<'_>, path: u64, attr: u64, out: u64, size: usize) -> SysResult {
    let n = name(cx, attr)?;
    get(cx, by_path(cx, path, 0)?, &n, out, size)
}
pub fn lgetxattr(cx: &mut Ctx<'_>, path: u64, attr: u64, out: u64, size: usize) -> SysResult {
    let n = name(cx, attr)?;
    get(cx, by_path(cx, path, NOFOLLOW)?, &n, out, size)
}
pub fn fgetxattr(cx: &mut Ctx<'_>, fd: Fd, attr: u64, out: u64, size: usize) -> SysResult {
    let n = name(cx, attr)?;
    get(cx, by_fd(cx, fd)?, &n, out, size)
}

pub fn setxattr(cx: &mut Ctx<'_>, path: u64, attr: u64, value: u64, size: usize, flags: u32) -> SysResult {
    New::read(cx, attr, value, size, flags)?.set(cx, by_path(cx, path, 0)?)
}
pub fn lsetxattr(cx: &mut Ctx<'_>, path: u64, attr: u64, value: u64, size: usize, flags: u32) -> SysResult {
    New::read(cx, attr, value, size, flags)?.set(cx, by_path(cx, path, NOFOLLOW)?)
}
pub fn fsetxattr(cx: &mut Ctx<'_>, fd: Fd, attr: u64, value: u64, size: usize, flags: u32) -> SysResult {
    New::read(cx, attr, value, size, flags)?.set(cx, by_fd(cx, fd)?)
}

pub fn listxattr(cx: &mut Ctx<'_>, path: u64, out: u64, size: usize) -> SysResult {
    list(cx, by_path(cx, path, 0)?, out, size)
}
pub fn llistxattr(cx: &mut Ctx<'_>, path: u64, out: u64, size: usize) -> SysResult {
    list(cx, by_path(cx, path, NOFOLLOW)?, out, size)
}
pub fn flistxattr(cx: &mut Ctx<'_>, fd: Fd, out: u64, size: usize) -> SysResult {
    list(cx, by_fd(cx, fd)?, out, size)
}

pub fn removexattr(cx: &mut Ctx<'_>, path: u64, attr: u64) -> SysResult {
    let n = name(cx, attr)?;
    change(cx, by_path(cx, path, 0)?, &n, |i| i.removexattr(&n))
}
pub fn lremovexattr(cx: &mut Ctx<'_>, path: u64, attr: u64) -> SysResult {
    let n = name(cx, attr)?;
    change(cx, by_path(cx, path, NOFOLLOW)?, &n, |i| i.removexattr(&n))
}
pub fn fremovexattr(cx: &mut Ctx<'_>, fd: Fd, attr: u64) -> SysResult {
    let n = name(cx, attr)?;
    change(cx, by_fd(cx, fd)?, &n, |i| i.removexattr(&n))
}
