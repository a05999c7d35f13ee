//! Names that go or move: unlink(2), rmdir(2), rename(2).

use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::create;
use super::dentry::{same_inode, Dentry};
use super::inode::{FileKind, NewNode, Owner};
use super::notify;
use super::path::VfsPath;
use super::permission::{self, Access};
use super::walk::Lookup;

pub const RENAME_NOREPLACE: u32 = 1;
pub const RENAME_EXCHANGE: u32 = 2;
/// Leaves a character device 0:0 under the old name, which an overlay takes for "nothing here".
pub const RENAME_WHITEOUT: u32 = 4;

/// Held over every rename, so that two of them never tie a directory into itself.
static RENAMES: Mutex<()> = Mutex::new(());

/// Whether this name may be taken out of its directory.
fn check_remove(look: &Lookup, dir: &VfsPath, child: &Arc<Dentry>) -> Result<()> {
    dir.check_writable()?;
    let d = dir.inode().attrs()?;
    permission::permission(&d, &look.cred, Access::WRITE | Access::EXEC)?;
    if !permission::sticky_allows(&d, &child.inode().attrs()?, &look.cred) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn is_dir(d: &Dentry) -> bool {
    d.inode().kind() == FileKind::Dir
}

impl Lookup {
    /// unlink(2).
    pub fn unlink(&self, path: &[u8]) -> Result<()> {
        let (dir, name, trailing) = self.parent(path)?;
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Errno::EISDIR);
        }
        let _dir = dir.dentry.lock_dir();
        let child = dir.dentry.child_locked(&name)?.ok_or(Errno::ENOENT)?;
        if trailing {
            return Err(if is_dir(&child) { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        check_remove(self, &dir, &child)?;
        if is_dir(&child) {
            return Err(Errno::EISDIR);
        }
        if child.mounted() {
            return Err(Errno::EBUSY);
        }
        dir.inode().unlink(&name)?;
        let inode = child.inode().clone();
        notify::on_inode(&inode, notify::ATTRIB);
        dir.dentry.forget(&name);
        // Its end is told of before that of its name.
        drop(child);
        notify::in_dir(&dir.dentry, notify::DELETE, &name, &inode);
        Ok(())
    }

    /// rmdir(2).
    pub fn rmdir(&self, path: &[u8]) -> Result<()> {
        let (dir, name, _) = self.parent(path)?;
        match &name[..] {
            b"" => return Err(Errno::EBUSY),
            b"." => return Err(Errno::EINVAL),
            b".." => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        let _dir = dir.dentry.lock_dir();
        let child = dir.dentry.child_locked(&name)?.ok_or(Errno::ENOENT)?;
        check_remove(self, &dir, &child)?;
        if !is_dir(&child) {
            return Err(Errno::ENOTDIR);
        }
        if child.mounted() {
            return Err(Errno::EBUSY);
        }
        if child.covers_hidden() {
            return Err(Errno::ENOTEMPTY);
        }
        // Nothing is added to it any more: additions take its lock and look whether it is still linked.
        let inner = child.lock_dir();
        dir.inode().rmdir(&name)?;
        child.set_unlinked();
        drop(inner);
        let inode = child.inode().clone();
        dir.dentry.forget(&name);
        drop(child);
        notify::in_dir(&dir.dentry, notify::DELETE, &name, &inode);
        Ok(())
    }

    /// renameat2(2); `to` is looked up by its own start (`newdirfd`).
    pub fn rename(&self, path: &[u8], to: &Lookup, new_path: &[u8], flags: u32) -> Result<()> {
        let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
        let alone = flags & RENAME_EXCHANGE == 0 || flags == RENAME_EXCHANGE;
        if flags & !known != 0 || !alone {
            return Err(Errno::EINVAL);
        }
        let (dir, name, slash) = self.parent(path)?;
        let (new_dir, new_name, new_slash) = to.parent(new_path)?;
        if !Arc::ptr_eq(&dir.mount, &new_dir.mount) {
            return Err(Errno::EXDEV);
        }
        let special = |n: &[u8]| n.is_empty() || n == b"." || n == b"..";
        if special(&name) || special(&new_name) {
            let replaces = flags & RENAME_NOREPLACE != 0 && special(&new_name) && !special(&name);
            return Err(if replaces { Errno::EEXIST } else { Errno::EBUSY });
        }
        let _renames = RENAMES.lock();
        let _dirs = lock_both(&dir.dentry, &new_dir.dentry);
        let child = dir.dentry.child_locked(&name)?.ok_or(Errno::ENOENT)?;
        let target = new_dir.dentry.child_locked(&new_name)?;
        if target.is_some() && flags & RENAME_NOREPLACE != 0 {
            return Err(Errno::EEXIST);
        }
        if target.is_none() && flags & RENAME_EXCHANGE != 0 {
            return Err(Errno::ENOENT);
        }
        let exchange = flags & RENAME_EXCHANGE != 0;
        if !is_dir(&child) && (slash || (!exchange && new_slash)) {
            return Err(Errno::ENOTDIR);
        }
        if exchange && new_slash && target.as_ref().is_some_and(|t| !is_dir(t)) {
            return Err(Errno::ENOTDIR);
        }
        if child.is_ancestor_of(&new_dir.dentry) {
            return Err(Errno::EINVAL);
        }
        if target.as_ref().is_some_and(|t| t.is_ancestor_of(&dir.dentry)) {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        self.check_rename(&dir, &child, &new_dir, &new_name, target.as_ref(), exchange)?;
        if target.as_ref().is_some_and(|t| same_inode(t.inode(), child.inode())) {
            // Two names of one file: nothing is to be done (rename(2)).
            return Ok(());
        }
        if flags & RENAME_WHITEOUT != 0 && !dir.inode().keeps_devices() {
            return Err(Errno::EINVAL);
        }
        dir.inode().rename(&name, new_dir.inode(), &new_name, flags & !RENAME_WHITEOUT)?;
        notify::moved(&dir.dentry, &name, &new_dir.dentry, &new_name, child.inode());
        if let (Some(t), false) = (&target, exchange) {
            if !is_dir(t) {
                notify::on_inode(t.inode(), notify::ATTRIB);
            }
        }
        notify::on_inode(child.inode(), notify::MOVE_SELF);
        match target {
            Some(t) if exchange => {
                notify::moved(&new_dir.dentry, &new_name, &dir.dentry, &name, t.inode());
                notify::on_inode(t.inode(), notify::MOVE_SELF);
                Dentry::exchanged(&child, &t);
            }
            Some(t) => {
                t.set_unlinked();
                dir.dentry.moved(&child, &new_dir.dentry, &new_name);
            }
            None => dir.dentry.moved(&child, &new_dir.dentry, &new_name),
        }
        if flags & RENAME_WHITEOUT != 0 {
            let owner = Owner { uid: self.cred.fsuid, gid: self.cred.fsgid, perm: 0 };
            let inode = dir.inode().create(&name, &NewNode::Char(0), owner)?;
            dir.dentry.found(&name, inode, dir.inode().cache_policy());
        }
        Ok(())
    }

    fn check_rename(
        &self,
        dir: &VfsPath,
        child: &Arc<Dentry>,
        new_dir: &VfsPath,
        new_name: &[u8],
        target: Option<&Arc<Dentry>>,
        exchange: bool,
    ) -> Result<()> {
        check_remove(self, dir, child)?;
        match target {
            Some(t) => {
                check_remove(self, new_dir, t)?;
                match (is_dir(child), is_dir(t)) {
                    (true, false) if !exchange => return Err(Errno::ENOTDIR),
                    (false, true) if !exchange => return Err(Errno::EISDIR),
                    _ => {}
                }
            }
            None => create::check_add(self, new_dir, new_name)?,
        }
        let busy = |d: &Dentry| d.mounted() || d.covers_hidden();
        if busy(child) || target.is_some_and(|t| busy(t)) {
            return Err(Errno::EBUSY);
        }
        // A directory that changes its parent has its `..` written.
        if !Arc::ptr_eq(&dir.dentry, &new_dir.dentry) {
            let movers = [Some(child), target.filter(|_| exchange)];
            for d in movers.into_iter().flatten().filter(|d| is_dir(d)) {
                permission::permission(&d.inode().attrs()?, &self.cred, Access::WRITE)?;
            }
        }
        Ok(())
    }
}

/// Locks two directories, in one order for all; one lock where they are the same.
fn lock_both<'a>(
    a: &'a Arc<Dentry>,
    b: &'a Arc<Dentry>,
) -> (parking_lot::MutexGuard<'a, ()>, Option<parking_lot::MutexGuard<'a, ()>>) {
    if Arc::ptr_eq(a, b) {
        return (a.lock_dir(), None);
    }
    // rmdir locks a directory and then one below it, so the upper one comes first here too.
    let (first, second) = if a.is_ancestor_of(b) || (!b.is_ancestor_of(a) && Arc::as_ptr(a) < Arc::as_ptr(b))
    {
        (a, b)
    } else {
        (b, a)
    };
    (first.lock_dir(), Some(second.lock_dir()))
}
