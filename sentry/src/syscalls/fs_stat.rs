//! stat(2), statx(2), access(2), statfs(2), readlink(2): what is asked about files.

use std::sync::Arc;

use linux_abi::fs::{Stat, Statfs, Statx, StatxTime, Timespec};
use linux_abi::Errno;

use crate::cred::ALL_CAPS;
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::syscalls::Fd;
use crate::vfs::inode::{FileTime, StatFs};
use crate::vfs::permission::permission_at;
use crate::vfs::{Access, Attrs, File, FileKind, Mount, MountFlags, VfsPath};

const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
const AT_SYMLINK_NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;
const AT_NO_AUTOMOUNT: u32 = libc::AT_NO_AUTOMOUNT as u32;
const AT_EACCESS: u32 = libc::AT_EACCESS as u32;
const AT_STATX_SYNC_TYPE: u32 = libc::AT_STATX_SYNC_TYPE as u32;

fn timespec(t: FileTime) -> Timespec {
    Timespec { sec: t.sec, nsec: t.nsec as i64 }
}

fn to_stat(a: &Attrs) -> Stat {
    Stat {
        dev: a.dev,
        ino: a.ino,
        nlink: a.nlink,
        mode: a.mode(),
        uid: a.uid,
        gid: a.gid,
        pad: 0,
        rdev: a.rdev,
        size: a.size as i64,
        blksize: a.blksize as i64,
        blocks: a.blocks as i64,
        atime: timespec(a.atime),
        mtime: timespec(a.mtime),
        ctime: timespec(a.ctime),
        unused: [0; 3],
    }
}

/// Attributes of an open file; those without an inode look like an anonymous one.
fn file_attrs(file: &File) -> Result<Attrs, Errno> {
    match file.inode() {
        Some(i) => i.attrs(),
        None => Ok(Attrs {
            dev: 15,
            ino: 1,
            kind: FileKind::Anon,
            perm: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: FileTime::default(),
            mtime: FileTime::default(),
            ctime: FileTime::default(),
            btime: FileTime::default(),
        }),
    }
}

/// What the `*at` calls name: a place, or an open file that needs none (`AT_EMPTY_PATH`).
pub enum Named {
    Place(VfsPath),
    File(Arc<File>),
}

impl Named {
    pub fn attrs(&self) -> Result<Attrs, Errno> {
        match self {
            Named::Place(p) => p.inode().attrs(),
            Named::File(f) => file_attrs(f),
        }
    }
    /// The place; `EBADF` for files that have none.
    pub fn place(self) -> Result<VfsPath, Errno> {
        match self {
            Named::Place(p) => Ok(p),
            Named::File(f) => f.path.clone().ok_or(Errno::EBADF),
        }
    }
}

/// Looks up what a descriptor, a path and `AT_EMPTY_PATH`, `AT_SYMLINK_NOFOLLOW` name.
pub fn named(cx: &Ctx<'_>, dirfd: i32, path: u64, flags: u32) -> Result<Named, Errno> {
    let text = if path == 0 && flags & AT_EMPTY_PATH != 0 { Vec::new() } else { cx.path(path)? };
    if text.is_empty() && flags & AT_EMPTY_PATH != 0 {
        if dirfd == libc::AT_FDCWD {
            return Ok(Named::Place(cx.task.fs().get().cwd));
        }
        return Ok(Named::File(cx.file_any(dirfd)?));
    }
    let look = cx.lookup_at(dirfd, &text)?;
    look.resolve(&text, flags & AT_SYMLINK_NOFOLLOW == 0).map(Named::Place)
}

fn stat_at(cx: &mut Ctx<'_>, dirfd: i32, path: u64, out: u64, flags: u32) -> SysResult {
    let a = named(cx, dirfd, path, flags)?.attrs()?;
    UserPtr::<Stat>::new(out).write(&cx.mem, &to_stat(&a))?;
    Ok(0)
}

pub fn stat(cx: &mut Ctx<'_>, path: u64, out: u64) -> SysResult {
    stat_at(cx, libc::AT_FDCWD, path, out, 0)
}

pub fn lstat(cx: &mut Ctx<'_>, path: u64, out: u64) -> SysResult {
    stat_at(cx, libc::AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW)
}

pub fn newfstatat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, out: u64, flags: u32) -> SysResult {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    stat_at(cx, dirfd.0, path, out, flags)
}

pub fn fstat(cx: &mut Ctx<'_>, fd: Fd, out: u64) -> SysResult {
    let a = file_attrs(&*cx.file_any(fd.0)?)?;
    UserPtr::<Stat>::new(out).write(&cx.mem, &to_stat(&a))?;
    Ok(0)
}

pub fn statx(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, flags: u32, mask: u32, out: u64) -> SysResult {
    let known = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
    if flags & !known != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
        || mask & libc::STATX__RESERVED as u32 != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let what = named(cx, dirfd.0, path, flags)?;
    let a = what.attrs()?;
    let place = match &what {
        Named::Place(p) => Some(p),
        Named::File(f) => f.path.as_ref(),
    };
    let time = |t: FileTime| StatxTime { sec: t.sec, nsec: t.nsec, pad: 0 };
    // What was not asked for, and would not come by itself, is not told.
    let born = a.btime != FileTime::default() && mask & libc::STATX_BTIME != 0;
    let mount_id =
        if mask & libc::STATX_MNT_ID_UNIQUE != 0 { libc::STATX_MNT_ID_UNIQUE } else { libc::STATX_MNT_ID };
    let is_root = place.is_some_and(|p| Arc::ptr_eq(&p.dentry, p.mount.root()));
    // Nor are the two times that take trouble to tell (fill_mg_cmtime of Linux).
    let changed = libc::STATX_CTIME | libc::STATX_MTIME;
    let unasked = if place.is_some() && mask & changed == 0 { changed } else { 0 };
    let told = |t: FileTime| if unasked == 0 { time(t) } else { StatxTime::default() };
    let x = Statx {
        mask: libc::STATX_BASIC_STATS & !unasked | if born { libc::STATX_BTIME } else { 0 } | mount_id,
        blksize: a.blksize,
        attributes: if is_root { libc::STATX_ATTR_MOUNT_ROOT as u64 } else { 0 },
        nlink: a.nlink as u32,
        uid: a.uid,
        gid: a.gid,
        mode: a.mode() as u16,
        ino: a.ino,
        size: a.size,
        blocks: a.blocks,
        attributes_mask: libc::STATX_ATTR_MOUNT_ROOT as u64,
        atime: time(a.atime),
        btime: if born { time(a.btime) } else { StatxTime::default() },
        ctime: told(a.ctime),
        mtime: told(a.mtime),
        rdev_major: libc::major(a.rdev),
        rdev_minor: libc::minor(a.rdev),
        dev_major: libc::major(a.dev),
        dev_minor: libc::minor(a.dev),
        mnt_id: place.map_or(0, |p| p.mount.id),
        ..Default::default()
    };
    UserPtr::<Statx>::new(out).write(&cx.mem, &x)?;
    Ok(0)
}

fn access_at(cx: &mut Ctx<'_>, dirfd: i32, path: u64, mode: u32, flags: u32) -> SysResult {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let want = Access::from_bits_truncate(mode);
    let text = if path == 0 && flags & AT_EMPTY_PATH != 0 { Vec::new() } else { cx.path(path)? };
    let mut look = cx.lookup_at(dirfd, &text)?;
    if flags & AT_EACCESS == 0 {
        // access(2) asks for the real ids, with the capabilities that they would have.
        let mut cred = (*look.cred).clone();
        cred.fsuid = cred.uid;
        cred.fsgid = cred.gid;
        cred.effective = if cred.uid == 0 { cred.permitted & ALL_CAPS } else { 0 };
        look.cred = Arc::new(cred);
    }
    if text.is_empty() && flags & AT_EMPTY_PATH != 0 {
        let place = match dirfd {
            libc::AT_FDCWD => look.fs.cwd.clone(),
            fd => {
                let file = cx.file_any(fd)?;
                match &file.path {
                    Some(p) => p.clone(),
                    None => {
                        crate::vfs::permission(&file_attrs(&file)?, &look.cred, want)?;
                        return Ok(0);
                    }
                }
            }
        };
        permission_at(&place, &look.cred, want)?;
        return Ok(0);
    }
    let place = look.resolve(&text, flags & AT_SYMLINK_NOFOLLOW == 0)?;
    if want.contains(Access::EXEC) && place.noexec() && place.inode().kind() == FileKind::Regular {
        return Err(Errno::EACCES.into());
    }
    permission_at(&place, &look.cred, want)?;
    Ok(0)
}

pub fn access(cx: &mut Ctx<'_>, path: u64, mode: u32) -> SysResult {
    access_at(cx, libc::AT_FDCWD, path, mode, 0)
}

pub fn faccessat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32) -> SysResult {
    access_at(cx, dirfd.0, path, mode, 0)
}

pub fn faccessat2(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, mode: u32, flags: u32) -> SysResult {
    access_at(cx, dirfd.0, path, mode, flags)
}

pub fn readlink(cx: &mut Ctx<'_>, path: u64, out: u64, size: i32) -> SysResult {
    readlinkat(cx, Fd(libc::AT_FDCWD), path, out, size)
}

pub fn readlinkat(cx: &mut Ctx<'_>, dirfd: Fd, path: u64, out: u64, size: i32) -> SysResult {
    let size = usize::try_from(size).ok().filter(|s| *s > 0).ok_or(Errno::EINVAL)?;
    // An empty path means the descriptor itself, which must be one of a link (O_PATH | O_NOFOLLOW).
    let text = cx.path(path)?;
    let place = if text.is_empty() && dirfd.0 != libc::AT_FDCWD {
        cx.file_any(dirfd.0)?.path.clone().ok_or(Errno::ENOENT)?
    } else {
        cx.lookup_at(dirfd.0, &text)?.resolve(&text, false)?
    };
    if place.inode().kind() != FileKind::Symlink {
        return Err(if text.is_empty() { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let link = place.inode().readlink()?;
    let n = link.len().min(size);
    cx.mem.write(out, &link[..n])?;
    Ok(n as u64)
}

fn to_statfs(s: &StatFs, mount: Option<&Mount>) -> Statfs {
    const ST_VALID: u64 = 0x20;
    let flags = mount.map_or(MountFlags::empty(), Mount::flags);
    let shown = [
        (mount.is_some_and(Mount::read_only), 1),
        (flags.contains(MountFlags::NOSUID), 2),
        (flags.contains(MountFlags::NODEV), 4),
        (flags.contains(MountFlags::NOEXEC), 8),
        (flags.contains(MountFlags::NOATIME), 1024),
        (flags.contains(MountFlags::NODIRATIME), 2048),
        (flags.contains(MountFlags::RELATIME), 4096),
        (flags.contains(MountFlags::NOSYMFOLLOW), 8192),
    ];
    let shown: u64 = shown.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
    Statfs {
        kind: s.magic,
        bsize: s.bsize,
        blocks: s.blocks,
        bfree: s.bfree,
        bavail: s.bavail,
        files: s.files,
        ffree: s.ffree,
        fsid: [0, 0],
        namelen: s.namelen,
        frsize: s.bsize,
        flags: s.flags | ST_VALID | shown,
        spare: [0; 4],
    }
}

pub fn statfs(cx: &mut Ctx<'_>, path: u64, out: u64) -> SysResult {
    let text = cx.path(path)?;
    let place = cx.lookup().resolve(&text, true)?;
    let s = to_statfs(&place.inode().statfs()?, Some(&place.mount));
    UserPtr::<Statfs>::new(out).write(&cx.mem, &s)?;
    Ok(0)
}

pub fn fstatfs(cx: &mut Ctx<'_>, fd: Fd, out: u64) -> SysResult {
    let file = cx.file_any(fd.0)?;
    let mount = file.path.as_ref().map(|p| &*p.mount);
    let s = match file.inode() {
        Some(i) => i.statfs()?,
        None => StatFs { magic: 0x0904_1934, bsize: 4096, namelen: 255, ..Default::default() },
    };
    UserPtr::<Statfs>::new(out).write(&cx.mem, &to_statfs(&s, mount))?;
    Ok(0)
}
