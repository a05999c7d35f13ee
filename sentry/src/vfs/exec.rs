//! Opening a file to run it: execute permission instead of read permission (execve(2)).

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::file::File;
use super::inode::FileKind;
use super::notify;
use super::open::open_inode;
use super::path::VfsPath;
use super::permission::{permission, Access};
use super::text_busy;
use super::walk::Lookup;
use crate::cred::Cred;

impl Lookup {
    /// The program at a path, opened for the kernel to read. `flags` may have `O_NOFOLLOW` (then a link is `ELOOP`).
    pub fn open_exec(&self, path: &[u8], flags: u32) -> Result<Arc<File>> {
        let place = self.resolve(path, flags & libc::O_NOFOLLOW as u32 == 0)?;
        open_to_run(place, &self.cred)
    }
}

/// The program behind a descriptor (`AT_EMPTY_PATH`, `fexecve`), which may be an `O_PATH` one.
pub fn reopen_exec(held: &Arc<File>, cred: &Cred) -> Result<Arc<File>> {
    match (&held.path, held.inode()) {
        (Some(place), _) => open_to_run(place.clone(), cred),
        // A file of memfd_create(2), which lies nowhere: it may be open for writing, too.
        (None, Some(inode)) if inode.kind() == FileKind::Regular => {
            permission(&inode.attrs()?, cred, Access::EXEC)?;
            let ops = inode.clone().open(libc::O_RDONLY as u32)?;
            Ok(File::anonymous(ops, Some(inode.clone()), libc::O_RDONLY as u32, held.label.clone()))
        }
        _ => Err(Errno::EACCES),
    }
}

fn open_to_run(place: VfsPath, cred: &Cred) -> Result<Arc<File>> {
    match place.inode().kind() {
        FileKind::Symlink => return Err(Errno::ELOOP),
        FileKind::Regular => {}
        _ => return Err(Errno::EACCES),
    }
    if place.noexec() {
        return Err(Errno::EACCES);
    }
    permission(&place.inode().attrs()?, cred, Access::EXEC)?;
    if place.is_detached() {
        return open_inode(place, libc::O_RDONLY as u32);
    }
    let claim = text_busy::running(place.inode())?;
    let file = open_inode(place, libc::O_RDONLY as u32)?;
    file.keep(claim);
    file.opened();
    notify::on_file(&file, notify::ACCESS);
    Ok(file)
}
