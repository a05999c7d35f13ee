//! Changes of attributes: chmod(2), chown(2), utimensat(2), truncate(2), and what a write does to set-id bits.

use linux_abi::{Errno, Result};

use super::file::{File, Mark};
use super::inode::{Attrs, FileKind, FileTime, InodeRef, SetAttrs};
use super::notify;
use super::path::VfsPath;
use super::permission::{self, Access};
use crate::cred::exec::FileCaps;
use crate::cred::{cap, Cred};

/// chmod(2).
pub fn chmod(place: &VfsPath, cred: &Cred, mode: u32) -> Result<()> {
    place.check_writable()?;
    let inode = place.inode();
    if inode.kind() == FileKind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let a = inode.attrs()?;
    if !permission::owner_or_capable(&a, cred) {
        return Err(Errno::EPERM);
    }
    let mut perm = mode & 0o7777;
    if !cred.in_group(a.gid) && !cred.has(cap::FSETID) {
        perm &= !libc::S_ISGID;
    }
    inode.set_attrs(&SetAttrs { perm: Some(perm), ..Default::default() })?;
    notify::on_place(place, notify::ATTRIB);
    Ok(())
}

/// The bits that stay of a file whose owner or content changes: set-user-id goes, set-group-id where it means that.
fn without_set_ids(a: &Attrs) -> u32 {
    let mut perm = a.perm & !libc::S_ISUID;
    if a.perm & 0o010 != 0 {
        perm &= !libc::S_ISGID;
    }
    perm
}

/// chown(2); `None` leaves as it is.
pub fn chown(place: &VfsPath, cred: &Cred, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    place.check_writable()?;
    let inode = place.inode();
    let a = inode.attrs()?;
    if !cred.has(cap::CHOWN) {
        let owner = a.uid == cred.fsuid;
        if uid.is_some_and(|u| !owner || u != a.uid)
            || gid.is_some_and(|g| !owner || (g != a.gid && !cred.in_group(g)))
        {
            return Err(Errno::EPERM);
        }
    }
    let kept = without_set_ids(&a);
    let drop_bits = inode.kind() != FileKind::Dir && kept != a.perm;
    inode.set_attrs(&SetAttrs { uid, gid, perm: drop_bits.then_some(kept), ..Default::default() })?;
    drop_capabilities(inode);
    if uid.is_some() || gid.is_some() || drop_bits {
        notify::on_place(place, notify::ATTRIB);
    }
    Ok(())
}

/// A time of utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    Now,
    Omit,
    At(FileTime),
}

/// utimensat(2): access and modification time.
pub fn utimes(place: &VfsPath, cred: &Cred, atime: NewTime, mtime: NewTime) -> Result<()> {
    if atime == NewTime::Omit && mtime == NewTime::Omit {
        return Ok(());
    }
    place.check_writable()?;
    let inode = place.inode();
    let a = inode.attrs()?;
    if !permission::owner_or_capable(&a, cred) {
        if atime != NewTime::Now || mtime != NewTime::Now {
            return Err(Errno::EPERM);
        }
        permission::permission(&a, cred, Access::WRITE)?;
    }
    let now = crate::time::realtime();
    let now = FileTime { sec: (now / crate::time::NSEC) as i64, nsec: (now % crate::time::NSEC) as u32 };
    let pick = |t| match t {
        NewTime::Now => Some(now),
        NewTime::Omit => None,
        NewTime::At(t) => Some(t),
    };
    inode.set_attrs(&SetAttrs { atime: pick(atime), mtime: pick(mtime), ..Default::default() })?;
    notify::on_place(
        place,
        match (atime, mtime) {
            (_, NewTime::Omit) => notify::ACCESS,
            (NewTime::Omit, _) => notify::MODIFY,
            _ => notify::ATTRIB,
        },
    );
    Ok(())
}

/// truncate(2).
pub fn truncate(place: &VfsPath, cred: &Cred, size: u64) -> Result<()> {
    match place.inode().kind() {
        FileKind::Dir => return Err(Errno::EISDIR),
        FileKind::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    permission::permission_at(place, cred, Access::WRITE)?;
    let a = place.inode().attrs()?;
    let perm = kept_after_write(&a, cred);
    place.inode().set_attrs(&SetAttrs { size: Some(size), perm, ..Default::default() })?;
    drop_capabilities(place.inode());
    notify::on_place(place, notify::MODIFY | if perm.is_some() { notify::ATTRIB } else { 0 });
    Ok(())
}

/// A program whose owner or content changes is not the one that was given capabilities (capabilities(7), "File
/// capabilities").
fn drop_capabilities(inode: &InodeRef) {
    if inode.kind() == FileKind::Regular && inode.getxattr(FileCaps::NAME).is_ok() {
        // Where it cannot go the file cannot be written either.
        let _ = inode.removexattr(FileCaps::NAME);
    }
}

/// The new bits where a write by these credentials takes some away.
fn kept_after_write(a: &Attrs, cred: &Cred) -> Option<u32> {
    if cred.has(cap::FSETID) || a.perm & 0o6000 == 0 {
        return None;
    }
    let kept = without_set_ids(a);
    (kept != a.perm).then_some(kept)
}

/// Takes set-id bits and capabilities away at the first write through a description (write(2): "clears set-user-ID").
pub fn on_write(file: &File, cred: &Cred) -> Result<()> {
    let Some(inode) = file.inode() else { return Ok(()) };
    if inode.kind() != FileKind::Regular || file.mark(Mark::SetIdsDropped) {
        return Ok(());
    }
    if !file.marked(Mark::Created) {
        drop_capabilities(inode);
    }
    if cred.has(cap::FSETID) {
        return Ok(());
    }
    match kept_after_write(&inode.attrs()?, cred) {
        Some(perm) => {
            inode.set_attrs(&SetAttrs { perm: Some(perm), ..Default::default() })?;
            notify::on_file(file, notify::ATTRIB);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Whether an extended attribute of this name may be read or written (xattr(7)); what it may not be read as is absent.
pub fn xattr_permission(
    place_attrs: &Attrs,
    inode: &InodeRef,
    cred: &Cred,
    name: &[u8],
    write: bool,
) -> Result<()> {
    let want = if write { Access::WRITE } else { Access::READ };
    if name.starts_with(b"user.") {
        if !matches!(inode.kind(), FileKind::Regular | FileKind::Dir) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        let sticky = inode.kind() == FileKind::Dir && place_attrs.perm & libc::S_ISVTX != 0;
        if write && sticky && !permission::owner_or_capable(place_attrs, cred) {
            return Err(Errno::EPERM);
        }
        return permission::permission(place_attrs, cred, want);
    }
    if name.starts_with(b"trusted.") {
        return match (cred.has(cap::SYS_ADMIN), write) {
            (true, _) => Ok(()),
            (false, true) => Err(Errno::EPERM),
            (false, false) => Err(Errno::ENODATA),
        };
    }
    if name.starts_with(b"security.") {
        if write {
            cred.require(cap::SYS_ADMIN)?;
        }
        return Ok(());
    }
    Err(Errno::EOPNOTSUPP)
}
