//! Permission checks of path_resolution(7) and capabilities(7).

use linux_abi::{Errno, Result};

use super::inode::{Attrs, FileKind};
use super::notes;
use super::path::VfsPath;
use crate::cred::{cap, Cred};

bitflags::bitflags! {
    /// What is to be done with a file; the values are those of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        const EXEC = 1;
        const WRITE = 2;
        const READ = 4;
    }
}

/// Whether these credentials may do that to a file with these attributes, else `EACCES`.
pub fn permission(attrs: &Attrs, cred: &Cred, want: Access) -> Result<()> {
    let class = if cred.fsuid == attrs.uid {
        attrs.perm >> 6
    } else if cred.in_group(attrs.gid) {
        attrs.perm >> 3
    } else {
        attrs.perm
    };
    if want.bits() & !class == 0 {
        return Ok(());
    }
    let is_dir = attrs.kind == FileKind::Dir;
    let exec_ok = is_dir || !want.contains(Access::EXEC) || attrs.perm & 0o111 != 0;
    if exec_ok && cred.has(cap::DAC_OVERRIDE) {
        return Ok(());
    }
    let only_looks = want == Access::READ || (is_dir && !want.contains(Access::WRITE));
    if only_looks && cred.has(cap::DAC_READ_SEARCH) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// As [`permission`], with the mount's word on writing.
pub fn permission_at(place: &VfsPath, cred: &Cred, want: Access) -> Result<()> {
    let inode = place.inode();
    if want.contains(Access::WRITE)
        && matches!(inode.kind(), FileKind::Regular | FileKind::Dir | FileKind::Symlink)
    {
        place.check_writable()?;
    }
    if want.is_empty() {
        return Ok(());
    }
    permission(&inode.attrs()?, cred, want)
}

/// Whether a directory may be searched.
pub fn search(place: &VfsPath, cred: &Cred) -> Result<()> {
    if place.inode().kind() != FileKind::Dir {
        return Err(Errno::ENOTDIR);
    }
    if cred.has(cap::DAC_OVERRIDE) || cred.has(cap::DAC_READ_SEARCH) {
        return Ok(());
    }
    let searched = permission(&place.inode().attrs()?, cred, Access::EXEC);
    if searched.is_err() {
        // What is hidden would say another errno.
        notes::used(place, notes::Use::Read);
    }
    searched
}

/// Whether these credentials own the file, or may act as if.
pub fn owner_or_capable(attrs: &Attrs, cred: &Cred) -> bool {
    attrs.uid == cred.fsuid || cred.has(cap::FOWNER)
}

/// Whether a name may be taken out of a directory: in a sticky one only by who owns the file or the directory.
pub fn sticky_allows(dir: &Attrs, child: &Attrs, cred: &Cred) -> bool {
    dir.perm & libc::S_ISVTX == 0 || child.uid == cred.fsuid || dir.uid == cred.fsuid || cred.has(cap::FOWNER)
}
