//! Directories: getdents64(2), getcwd(2), chdir(2), chroot(2).

use linux_abi::Errno;

use crate::cred::cap;
use crate::kernel::{Ctx, SysResult};
use crate::syscalls::Fd;
use crate::vfs::inode::DirEntry;
use crate::vfs::notify;
use crate::vfs::path::{locate, PathText};
use crate::vfs::permission;
use crate::vfs::{File, FileKind, VfsPath};

/// The entries that one question to a file system asks for at most.
const BATCH: usize = 512;

/// The two layouts of a directory entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct linux_dirent64`: the type before the name.
    Dirent64,
    /// `struct linux_dirent`: the type in the record's last byte.
    Old,
}

/// One record, padded to eight bytes.
fn record(e: &DirEntry, layout: Layout) -> Vec<u8> {
    let head = if layout == Layout::Dirent64 { 19 } else { 18 };
    let tail = if layout == Layout::Dirent64 { 1 } else { 2 };
    let len = (head + e.name.len() + tail).next_multiple_of(8);
    let mut r = Vec::with_capacity(len);
    r.extend_from_slice(&e.ino.to_le_bytes());
    r.extend_from_slice(&e.cookie.to_le_bytes());
    r.extend_from_slice(&(len as u16).to_le_bytes());
    if layout == Layout::Dirent64 {
        r.push(e.kind.d_type());
    }
    r.extend_from_slice(&e.name);
    r.resize(len, 0);
    if layout == Layout::Old {
        if let Some(last) = r.last_mut() {
            *last = e.kind.d_type();
        }
    }
    r
}

/// `.` and `..`, which the file systems leave to us.
fn dot(name: &[u8], place: &VfsPath, cookie: u64) -> Result<DirEntry, Errno> {
    Ok(DirEntry { name: name.to_vec(), ino: place.inode().attrs()?.ino, kind: FileKind::Dir, cookie })
}

/// The entries from a position on; empty at the end.
fn entries(file: &File, place: &VfsPath, pos: u64, max: usize) -> Result<Vec<DirEntry>, Errno> {
    match pos {
        0 => Ok(vec![dot(b".", place, 1)?]),
        1 => Ok(vec![dot(b"..", &place.up(), 2)?]),
        _ => file.ops.readdir(file, if pos == 2 { 0 } else { pos }, max),
    }
}

fn list(cx: &mut Ctx<'_>, fd: Fd, out: u64, size: u32, layout: Layout) -> SysResult {
    let file = cx.file(fd.0)?;
    let place = file.path.as_ref().ok_or(Errno::ENOTDIR)?;
    if file.inode().is_none_or(|i| i.kind() != FileKind::Dir) {
        return Err(Errno::ENOTDIR.into());
    }
    if place.dentry.unlinked() {
        return Err(Errno::ENOENT.into());
    }
    // Linux counts down what is left as an `int`.
    let size = usize::try_from(size as i32).unwrap_or(0).min(1 << 20);
    let mut buf = Vec::with_capacity(size.min(32 << 10));
    let mut pos = file.pos.lock();
    let mut at = *pos;
    'fill: loop {
        let max = ((size - buf.len()) / 24 + 1).min(BATCH);
        let batch = entries(&file, place, at, max)?;
        if batch.is_empty() {
            break;
        }
        for e in batch {
            if place.dentry.hides(&e.name) {
                at = e.cookie;
                continue;
            }
            let r = record(&e, layout);
            if buf.len() + r.len() > size {
                if buf.is_empty() {
                    return Err(Errno::EINVAL.into());
                }
                break 'fill;
            }
            buf.extend_from_slice(&r);
            at = e.cookie;
        }
    }
    cx.mem.write(out, &buf)?;
    *pos = at;
    drop(pos);
    notify::on_file(&file, notify::ACCESS);
    Ok(buf.len() as u64)
}

pub fn getdents64(cx: &mut Ctx<'_>, fd: Fd, out: u64, size: u32) -> SysResult {
    list(cx, fd, out, size, Layout::Dirent64)
}

pub fn getdents(cx: &mut Ctx<'_>, fd: Fd, out: u64, size: u32) -> SysResult {
    list(cx, fd, out, size, Layout::Old)
}

/// getcwd(2): returns the length with the NUL.
pub fn getcwd(cx: &mut Ctx<'_>, out: u64, size: usize) -> SysResult {
    let fs = cx.task.fs().get();
    let mut text = match locate(&fs.cwd, &fs.root) {
        PathText::Live(t) => t,
        PathText::Outside(t) => [b"(unreachable)", &t[..]].concat(),
        PathText::Deleted(_) => return Err(Errno::ENOENT.into()),
    };
    text.push(0);
    if text.len() > size {
        return Err(Errno::ERANGE.into());
    }
    cx.mem.write(out, &text)?;
    Ok(text.len() as u64)
}

fn enter(cx: &mut Ctx<'_>, place: VfsPath) -> SysResult {
    permission::search(&place, &cx.task.cred())?;
    let fs = cx.task.fs();
    let old = std::mem::replace(&mut fs.inner.lock().cwd, place);
    drop(old);
    Ok(0)
}

pub fn chdir(cx: &mut Ctx<'_>, path: u64) -> SysResult {
    let text = cx.path(path)?;
    let place = cx.lookup().resolve(&text, true)?;
    enter(cx, place)
}

pub fn fchdir(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let place = cx.file_any(fd.0)?.path.clone().ok_or(Errno::ENOTDIR)?;
    enter(cx, place)
}

pub fn chroot(cx: &mut Ctx<'_>, path: u64) -> SysResult {
    let text = cx.path(path)?;
    let place = cx.lookup().resolve(&text, true)?;
    permission::search(&place, &cx.task.cred())?;
    cx.task.cred().require(cap::SYS_CHROOT)?;
    let fs = cx.task.fs();
    let old = std::mem::replace(&mut fs.inner.lock().root, place);
    drop(old);
    Ok(0)
}
