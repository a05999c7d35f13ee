//! New names: what open(2) with `O_CREAT`, mkdir(2), mknod(2), symlink(2), link(2) do to a directory.

use linux_abi::{Errno, Result};

use super::dentry::Naming;
use super::inode::{CachePolicy, FileKind, NewNode, Owner};
use super::notify;
use super::path::VfsPath;
use super::permission::{self, Access};
use super::walk::Lookup;
use crate::cred::cap;

/// Who owns something new in a directory, and with which bits (mode without type; umask not yet applied).
fn owner_in(look: &Lookup, dir: &VfsPath, node: &NewNode, mode: u32) -> Result<Owner> {
    let d = dir.inode().attrs()?;
    let is_dir = matches!(node, NewNode::Dir);
    // mkdir(2) keeps the sticky bit of the mode, but no set-id bits.
    let mut perm = mode & if is_dir { 0o1777 } else { 0o7777 } & !look.fs.umask;
    if matches!(node, NewNode::Symlink(_)) {
        perm = 0o777;
    }
    let mut gid = look.cred.fsgid;
    if d.perm & libc::S_ISGID != 0 {
        gid = d.gid;
        if is_dir {
            perm |= libc::S_ISGID;
        } else if perm & (libc::S_ISGID | 0o010) == libc::S_ISGID | 0o010
            && !look.cred.in_group(gid)
            && !look.cred.has(cap::FSETID)
        {
            perm &= !libc::S_ISGID;
        }
    }
    Ok(Owner { uid: look.cred.fsuid, gid, perm })
}

/// Whether names may be added to a directory.
pub(super) fn check_add(look: &Lookup, dir: &VfsPath, name: &[u8]) -> Result<()> {
    if dir.dentry.unlinked() {
        return Err(Errno::ENOENT);
    }
    dir.check_writable()?;
    if dir.dentry.refuses(name) {
        return Err(Errno::EACCES);
    }
    permission::permission_at(dir, &look.cred, Access::WRITE | Access::EXEC)
}

/// Makes a node of this name in a directory; `EEXIST`.
pub fn make_in(look: &Lookup, dir: &VfsPath, name: &[u8], node: &NewNode, mode: u32) -> Result<VfsPath> {
    // Where names are made up on the fly (proc), one that is not there is never made: the look-up has the last word.
    if dir.inode().cache_policy() == CachePolicy::Never {
        return Err(Errno::ENOENT);
    }
    check_add(look, dir, name)?;
    let owner = owner_in(look, dir, node, mode)?;
    let _dir = dir.dentry.lock_dir();
    if dir.dentry.unlinked() {
        return Err(Errno::ENOENT);
    }
    // What a directory said is asked anew by the file system itself, which gives EEXIST.
    let inode = dir.inode().create(name, node, owner)?;
    let policy = dir.inode().cache_policy();
    let dentry = dir.dentry.found(name, inode, policy);
    notify::in_dir(&dir.dentry, notify::CREATE, name, dentry.inode());
    Ok(VfsPath { mount: dir.mount.clone(), dentry })
}

/// Makes a regular file without a name (`O_TMPFILE`).
pub fn make_unnamed(look: &Lookup, dir: &VfsPath, mode: u32, naming: Naming) -> Result<VfsPath> {
    check_add(look, dir, b"")?;
    let owner = owner_in(look, dir, &NewNode::Regular, mode)?;
    let inode = dir.inode().create_unnamed(owner)?;
    let label = format!("#{}", inode.attrs()?.ino);
    Ok(VfsPath { mount: dir.mount.clone(), dentry: dir.dentry.unnamed(inode, label.as_bytes(), naming) })
}

impl Lookup {
    /// mkdir(2), mknod(2), symlink(2) and the binding of UNIX sockets.
    pub fn make(&self, path: &[u8], node: &NewNode, mode: u32) -> Result<VfsPath> {
        let (dir, name, trailing) = self.parent(path)?;
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Errno::EEXIST);
        }
        if let Some(there) = dir.dentry.child(&name, Vec::new)? {
            drop(there);
            return Err(Errno::EEXIST);
        }
        // A trailing slash is fine for a directory only.
        if trailing && !matches!(node, NewNode::Dir) {
            return Err(Errno::ENOENT);
        }
        make_in(self, &dir, &name, node, mode)
    }

    /// link(2): a new name for what is at `old`.
    pub fn link(&self, old: &VfsPath, path: &[u8]) -> Result<()> {
        let (dir, name, trailing) = self.parent(path)?;
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Errno::EEXIST);
        }
        if dir.dentry.child(&name, Vec::new)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if trailing {
            return Err(Errno::ENOENT);
        }
        if !std::sync::Arc::ptr_eq(&old.mount, &dir.mount) {
            return Err(Errno::EXDEV);
        }
        check_add(self, &dir, &name)?;
        if old.inode().kind() == FileKind::Dir {
            return Err(Errno::EPERM);
        }
        if old.inode().attrs()?.nlink == 0 && !old.dentry.linkable() {
            return Err(Errno::ENOENT);
        }
        let _dir = dir.dentry.lock_dir();
        dir.inode().link(&name, old.inode())?;
        let policy = dir.inode().cache_policy();
        dir.dentry.found(&name, old.inode().clone(), policy);
        notify::on_inode(old.inode(), notify::ATTRIB);
        notify::in_dir(&dir.dentry, notify::CREATE, &name, old.inode());
        Ok(())
    }
}
