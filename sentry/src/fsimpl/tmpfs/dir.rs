//! Directories: names in the order in which they were made. A name's cookie never changes, so a reader goes on where
//! it was while entries come and go.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::MutexGuard;

use super::TmpInode;
use crate::vfs::inode::{DirEntry, NewNode, Owner};
use crate::vfs::{FileKind, InodeRef};

/// Cookies below this are the VFS's.
const FIRST: u64 = 3;

/// The most names of one inode (`LINK_MAX` of ext4).
const LINK_MAX: u64 = 65_000;

/// The entries of one directory.
#[derive(Default)]
pub(in crate::fsimpl) struct Entries {
    by_name: HashMap<Arc<[u8]>, u64>,
    in_order: BTreeMap<u64, (Arc<[u8]>, Arc<TmpInode>)>,
    next: u64,
    parent: Weak<TmpInode>,
    /// Removed: nothing can be made in it any more.
    dead: bool,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }
    pub(super) fn end(&self) -> u64 {
        self.next + FIRST
    }
    pub(super) fn get(&self, name: &[u8]) -> Result<Arc<TmpInode>> {
        let key = self.by_name.get(name).ok_or(Errno::ENOENT)?;
        self.in_order.get(key).map(|e| e.1.clone()).ok_or(Errno::ENOENT)
    }
    fn insert(&mut self, name: &[u8], inode: Arc<TmpInode>) {
        let name: Arc<[u8]> = name.into();
        let key = self.next + FIRST;
        self.next += 1;
        self.by_name.insert(name.clone(), key);
        self.in_order.insert(key, (name, inode));
    }
    fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let key = self.by_name.remove(name)?;
        self.in_order.remove(&key).map(|e| e.1)
    }
    /// Puts another inode under an existing name; the old one comes back.
    fn replace(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Option<Arc<TmpInode>> {
        let key = self.by_name.get(name)?;
        self.in_order.get_mut(key).map(|e| std::mem::replace(&mut e.1, inode))
    }
    fn vacant(&self, name: &[u8]) -> Result<()> {
        if self.dead {
            Err(Errno::ENOENT)
        } else if self.by_name.contains_key(name) {
            Err(Errno::EEXIST)
        } else {
            Ok(())
        }
    }
    pub(super) fn list(&self, cookie: u64, max: usize) -> Vec<DirEntry> {
        let entry = |(key, (name, inode)): (&u64, &(Arc<[u8]>, Arc<TmpInode>))| DirEntry {
            name: name.to_vec(),
            ino: inode.ino,
            kind: inode.kind,
            cookie: key + 1,
        };
        self.in_order.range(cookie..).take(max).map(entry).collect()
    }
    pub(super) fn take_all(&mut self) -> Vec<Arc<TmpInode>> {
        self.by_name.clear();
        std::mem::take(&mut self.in_order).into_values().map(|e| e.1).collect()
    }
}

impl TmpInode {
    fn entries(&self) -> Result<MutexGuard<'_, Entries>> {
        Ok(self.dir_ref()?.lock())
    }

    fn adopt(&self, child: &TmpInode) -> Result<()> {
        if let Ok(d) = child.dir_ref() {
            d.lock().parent = self.me.clone();
        }
        Ok(())
    }

    fn add_links(&self, n: i64) {
        let mut m = self.meta.lock();
        m.nlink = m.nlink.saturating_add_signed(n);
        m.ctime = super::now();
    }

    /// Makes a node under a name.
    pub fn create_tmp(&self, name: &[u8], node: &NewNode, owner: Owner) -> Result<Arc<TmpInode>> {
        let mut entries = self.entries()?;
        entries.vacant(name)?;
        let inode = TmpInode::make(&self.shared, node, owner)?;
        let dir = inode.kind == FileKind::Dir;
        inode.meta.lock().nlink = if dir { 2 } else { 1 };
        self.adopt(&inode)?;
        entries.insert(name, inode.clone());
        drop(entries);
        if dir {
            self.add_links(1);
        }
        self.touch_modified();
        Ok(inode)
    }

    pub(super) fn link_tmp(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let target = target.as_any().downcast_ref::<TmpInode>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&target.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        if target.kind == FileKind::Dir {
            return Err(Errno::EPERM);
        }
        let target = target.me()?;
        let mut entries = self.entries()?;
        entries.vacant(name)?;
        if target.meta.lock().nlink >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        target.add_links(1);
        entries.insert(name, target);
        drop(entries);
        self.touch_modified();
        Ok(())
    }

    pub(super) fn unlink_tmp(&self, name: &[u8]) -> Result<()> {
        let mut entries = self.entries()?;
        if entries.get(name)?.kind == FileKind::Dir {
            return Err(Errno::EISDIR);
        }
        let gone = entries.remove(name);
        drop(entries);
        if let Some(inode) = gone {
            inode.add_links(-1);
        }
        self.touch_modified();
        Ok(())
    }

    pub(super) fn rmdir_tmp(&self, name: &[u8]) -> Result<()> {
        let _moves = self.shared.rename.lock();
        let mut entries = self.entries()?;
        let child = entries.get(name)?;
        {
            let mut inner = child.entries()?;
            if inner.len() > 0 {
                return Err(Errno::ENOTEMPTY);
            }
            inner.dead = true;
        }
        entries.remove(name);
        drop(entries);
        child.add_links(-2);
        self.add_links(-1);
        self.touch_modified();
        Ok(())
    }

    /// Whether `self` is `other` or lies above it. Only under the rename lock.
    fn is_above(&self, other: &Arc<TmpInode>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dir) = at {
            if std::ptr::eq(&*dir, self) {
                return true;
            }
            at = dir.entries().ok().and_then(|e| e.parent.upgrade());
        }
        false
    }

    pub(super) fn rename_tmp(
        &self,
        name: &[u8],
        new_dir: &TmpInode,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let (noreplace, exchange) = (libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE);
        if flags & !(noreplace | exchange) != 0 || flags == noreplace | exchange {
            return Err(Errno::EINVAL);
        }
        if !Arc::ptr_eq(&self.shared, &new_dir.shared) {
            return Err(Errno::EXDEV);
        }
        let _moves = self.shared.rename.lock();
        let source = self.entries()?.get(name)?;
        let target = new_dir.entries()?.get(new_name).ok();
        if source.is_above(&new_dir.me()?) {
            return Err(Errno::EINVAL);
        }
        match &target {
            None if exchange == flags => return Err(Errno::ENOENT),
            None if new_dir.entries()?.dead => return Err(Errno::ENOENT),
            Some(_) if noreplace == flags => return Err(Errno::EEXIST),
            Some(t) if Arc::ptr_eq(t, &source) => return Ok(()),
            Some(t) if exchange == flags => {
                if t.is_above(&self.me()?) {
                    return Err(Errno::EINVAL);
                }
                self.entries()?.replace(name, t.clone());
                new_dir.entries()?.replace(new_name, source.clone());
                self.adopt(t)?;
                new_dir.adopt(&source)?;
                let moved = |i: &TmpInode| (i.kind == FileKind::Dir) as i64;
                new_dir.add_links(moved(&source) - moved(t));
                self.add_links(moved(t) - moved(&source));
                t.touch_changed();
                self.moved(new_dir, &source);
                return Ok(());
            }
            Some(t) if t.is_above(&self.me()?) => return Err(Errno::ENOTEMPTY),
            Some(t) => match (source.kind == FileKind::Dir, t.kind == FileKind::Dir) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => {
                    let mut inner = t.entries()?;
                    if inner.len() > 0 {
                        return Err(Errno::ENOTEMPTY);
                    }
                    inner.dead = true;
                }
                (false, false) => {}
            },
            None => {}
        }
        self.entries()?.remove(name).ok_or(Errno::ENOENT)?;
        let dir = source.kind == FileKind::Dir;
        let mut entries = new_dir.entries()?;
        let gone = entries.replace(new_name, source.clone());
        if gone.is_none() {
            entries.insert(new_name, source.clone());
        }
        drop(entries);
        new_dir.adopt(&source)?;
        if dir {
            self.add_links(-1);
            new_dir.add_links(1);
        }
        if let Some(t) = gone {
            t.add_links(if dir { -2 } else { -1 });
            if dir {
                new_dir.add_links(-1);
            }
        }
        self.moved(new_dir, &source);
        Ok(())
    }

    fn moved(&self, new_dir: &TmpInode, source: &TmpInode) {
        self.touch_modified();
        new_dir.touch_modified();
        source.touch_changed();
    }
}
