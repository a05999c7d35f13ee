//! `/proc/PID/fd` and `fdinfo`.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::Subject;
use crate::kernel::current::current_tid;
use crate::vfs::inode::LinkTarget;
use crate::vfs::{path_text, File, VfsPath};

fn file(s: &Subject, n: i32) -> Result<Arc<File>> {
    s.check_access()?;
    s.task()?.files().get(n).map_err(|_| Errno::ENOENT)
}

/// Read and write bits say how it was opened (proc(5)).
pub(super) fn link_perm(s: &Subject, n: i32) -> u32 {
    match s.task().and_then(|t| t.files().get(n)) {
        Ok(f) => (if f.readable() { 0o500 } else { 0o100 }) | (if f.writable() { 0o300 } else { 0o100 }),
        Err(_) => 0o700,
    }
}

/// A place as seen from the root of who asks.
pub(super) fn place_text(s: &Subject, place: &VfsPath) -> Result<Vec<u8>> {
    let task = s.task()?;
    let kernel = task.kernel.upgrade().ok_or(Errno::ESRCH)?;
    let asker = current_tid().and_then(|t| kernel.task(t)).unwrap_or(task);
    let root = asker.fs().get().root;
    Ok(path_text(place, &root))
}

pub(super) fn link_text(s: &Subject, n: i32) -> Result<Vec<u8>> {
    let f = file(s, n)?;
    match &f.path {
        Some(place) => place_text(s, place),
        None if f.label.is_empty() => Ok(b"anon_inode:[unknown]".to_vec()),
        None => Ok(f.label.clone().into_bytes()),
    }
}

pub(super) fn follow(s: &Subject, n: i32) -> Result<LinkTarget> {
    let f = file(s, n)?;
    match (&f.path, f.inode()) {
        (Some(place), _) => Ok(LinkTarget::Place(place.clone())),
        (None, Some(inode)) => Ok(LinkTarget::Node(inode.clone())),
        (None, None) => Err(Errno::ENXIO),
    }
}

pub(super) fn info(s: &Subject, n: i32) -> Result<Vec<u8>> {
    let f = file(s, n)?;
    let mut flags = f.flags();
    if s.task()?.files().cloexec(n).unwrap_or(false) {
        flags |= libc::O_CLOEXEC as u32;
    }
    let pos = *f.pos.lock();
    let mount = f.path.as_ref().map_or(0, |p| p.mount.id);
    let ino = f.inode().and_then(|i| i.attrs().ok()).map_or(0, |a| a.ino);
    let more = f.ops.fdinfo();
    Ok(format!("pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n{more}").into_bytes())
}
