//! Directories of the overlay: what a name leads to, and how that changes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::{Change, DirState, OvlInode, Place};
use crate::vfs::inode::{DirEntry, NewNode, Owner};
use crate::vfs::{File, InodeRef};

/// How many lower entries are read at a time.
const BATCH: usize = 1024;
/// The most names of one inode (`LINK_MAX` of ext4).
const LINK_MAX: i64 = 65_000;

impl OvlInode {
    /// What a name leads to.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<OvlInode>> {
        match self.dir_state()?.lock().changes.get(name) {
            Some(Change::Entry { inode, .. }) => return Ok(inode.clone()),
            Some(Change::Whiteout) => return Err(Errno::ENOENT),
            None => {}
        }
        let lower = self.lower.as_ref().ok_or(Errno::ENOENT)?;
        match lower.lookup(name) {
            Ok(found) => OvlInode::over(&self.fs, found, Place::Lower(self.me()?, name.to_vec())),
            Err(e) => {
                if e == Errno::ENOENT {
                    let mut st = self.dir_state()?.lock();
                    st.absent.clear();
                    st.absent.extend_from_slice(name);
                }
                Err(e)
            }
        }
    }

    pub(super) fn still_holds(&self, name: &[u8], child: Option<&InodeRef>) -> bool {
        let Ok(dir) = self.dir_state() else { return false };
        let child = match child.map(OvlInode::cast) {
            Some(None) => return false,
            Some(c) => c,
            None => None,
        };
        match (dir.lock().changes.get(name), child) {
            (Some(Change::Entry { inode, .. }), Some(c)) => return std::ptr::eq(&**inode, c),
            (Some(Change::Whiteout), c) => return c.is_none(),
            (Some(_), None) => return false,
            (None, _) => {}
        }
        match (&self.lower, child) {
            (None, c) => c.is_none(),
            (Some(lower), None) => lower.revalidate(name, None),
            (Some(lower), Some(c)) => c.lower.as_ref().is_some_and(|l| lower.revalidate(name, Some(l))),
        }
    }

    /// Whether the lower directory has a name that the table does not mention.
    fn lower_has(&self, st: &mut DirState, name: &[u8]) -> Result<bool> {
        let Some(lower) = &self.lower else { return Ok(false) };
        if !st.absent.is_empty() && st.absent == name {
            st.absent.clear();
            return Ok(false);
        }
        match lower.lookup(name) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// For a name that is to be made: whether a whiteout lies there. `EEXIST`, `ENOENT`.
    fn vacant(&self, st: &mut DirState, name: &[u8]) -> Result<bool> {
        if st.dead {
            return Err(Errno::ENOENT);
        }
        match st.changes.get(name) {
            Some(Change::Entry { .. }) => return Err(Errno::EEXIST),
            Some(Change::Whiteout) => return Ok(true),
            None => {}
        }
        if self.lower_has(st, name)? {
            Err(Errno::EEXIST)
        } else {
            Ok(false)
        }
    }

    pub(super) fn create_ovl(&self, name: &[u8], node: &NewNode, owner: Owner) -> Result<Arc<OvlInode>> {
        let upper = self.to_upper()?;
        let mut st = self.dir_state()?.lock();
        let covers = self.vacant(&mut st, name)?;
        let place = Place::Listed(self.me.clone(), name.to_vec());
        let new = OvlInode::fresh(&self.fs, self.dev, node, owner, place)?;
        if new.is_dir() {
            self.count(1);
        } else {
            new.count(1);
        }
        st.changes.insert(name.to_vec(), Change::Entry { inode: new.clone(), covers });
        upper.touch_modified();
        Ok(new)
    }

    pub(super) fn link_ovl(&self, name: &[u8], target: &OvlInode) -> Result<()> {
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        let upper = self.to_upper()?;
        let target_upper = target.to_upper()?;
        if target.links.load(Ordering::Relaxed) >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        let mut st = self.dir_state()?.lock();
        let covers = self.vacant(&mut st, name)?;
        st.changes.insert(name.to_vec(), Change::Entry { inode: target.me()?, covers });
        target.count(1);
        target_upper.touch_changed();
        upper.touch_modified();
        Ok(())
    }

    /// Takes a name out of the table, or covers the lower one.
    fn drop_name(&self, st: &mut DirState, name: &[u8]) {
        match st.changes.get(name) {
            Some(Change::Entry { covers: false, .. }) => {
                st.changes.remove(name);
            }
            _ => {
                st.changes.insert(name.to_vec(), Change::Whiteout);
            }
        }
    }

    /// One name (`name` in this directory) less.
    fn lose_name(&self, child: &OvlInode, name: &[u8]) {
        let mut place = child.place.lock();
        let here = match &*place {
            Place::Lower(p, n) => std::ptr::eq(&**p, self) && n == name,
            Place::Listed(p, n) => std::ptr::eq(p.as_ptr(), self) && n == name,
            _ => false,
        };
        let before = here.then(|| std::mem::replace(&mut *place, Place::Nowhere));
        drop(place);
        drop(before);
        if !child.is_dir() {
            child.keep_linked();
            child.count(-1);
            if let (Some(key), Ok(0)) = (child.key, crate::vfs::Inode::attrs(child).map(|a| a.nlink)) {
                let gone = self.fs.kept.lock().remove(&key);
                drop(gone);
            }
        }
        if let Some(upper) = child.upper.get() {
            upper.touch_changed();
        }
    }

    fn count(&self, n: i64) {
        self.links.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn unlink_ovl(&self, name: &[u8]) -> Result<()> {
        let upper = self.to_upper()?;
        let child = self.find(name)?;
        if child.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.drop_name(&mut self.dir_state()?.lock(), name);
        self.lose_name(&child, name);
        upper.touch_modified();
        Ok(())
    }

    pub(super) fn rmdir_ovl(&self, name: &[u8]) -> Result<()> {
        let upper = self.to_upper()?;
        let child = self.find(name)?;
        let _moves = self.fs.moves.lock();
        child.bury()?;
        self.drop_name(&mut self.dir_state()?.lock(), name);
        self.lose_name(&child, name);
        child.count(-2);
        self.count(-1);
        upper.touch_modified();
        Ok(())
    }

    /// Marks a directory as removed, if it is empty.
    fn bury(&self) -> Result<()> {
        let mut st = self.dir_state()?.lock();
        if st.changes.values().any(|c| matches!(c, Change::Entry { .. })) {
            return Err(Errno::ENOTEMPTY);
        }
        let hidden = |e: &DirEntry| st.changes.contains_key(&e.name);
        let mut full = false;
        self.each_lower(&mut |batch| {
            full |= batch.iter().any(|e| !hidden(e));
            !full
        })?;
        if full {
            return Err(Errno::ENOTEMPTY);
        }
        st.dead = true;
        Ok(())
    }

    /// Shows the lower directory's entries in batches, until the visitor has had enough.
    pub(super) fn each_lower(&self, visit: &mut dyn FnMut(Vec<DirEntry>) -> bool) -> Result<()> {
        let Some(lower) = &self.lower else { return Ok(()) };
        let flags = (libc::O_RDONLY | libc::O_DIRECTORY) as u32;
        let file = File::new(lower.clone().open(flags)?, None, Some(lower.clone()), flags);
        let mut cookie = 0;
        loop {
            let batch = file.ops.readdir(&file, cookie, BATCH)?;
            let Some(last) = batch.last() else { return Ok(()) };
            cookie = last.cookie;
            if !visit(batch) {
                return Ok(());
            }
        }
    }

    /// What lies in the directory now: lower names first, then those of the table. The flag tells the latter.
    pub(super) fn entries(&self) -> Result<Vec<(DirEntry, bool)>> {
        let (mut listed, mut taken) = (Vec::new(), BTreeSet::new());
        for (name, change) in &self.dir_state()?.lock().changes {
            taken.insert(name.clone());
            if let Change::Entry { inode, .. } = change {
                let (ino, kind) = (inode.ino, inode.kind);
                listed.push((DirEntry { name: name.clone(), ino, kind, cookie: 0 }, true));
            }
        }
        let mut all = Vec::new();
        self.each_lower(&mut |batch| {
            all.extend(batch.into_iter().filter(|e| !taken.contains(&e.name)).map(|e| (e, false)));
            true
        })?;
        all.append(&mut listed);
        Ok(all)
    }

    /// Whether `self` is `other` or lies above it. Only under `moves`.
    fn is_above(&self, other: Arc<OvlInode>) -> bool {
        let mut at = Some(other);
        while let Some(dir) = at {
            if std::ptr::eq(&*dir, self) {
                return true;
            }
            at = match &*dir.place.lock() {
                Place::Lower(p, _) => Some(p.clone()),
                Place::Listed(p, _) => p.upgrade(),
                _ => None,
            };
        }
        false
    }

    /// Enters an inode under a name, whatever the name led to before.
    fn put(&self, name: &[u8], inode: &Arc<OvlInode>) -> Result<()> {
        let mut st = self.dir_state()?.lock();
        let covers = match st.changes.get(name) {
            Some(Change::Entry { covers, .. }) => *covers,
            Some(Change::Whiteout) => true,
            None => self.lower_has(&mut st, name).unwrap_or(true),
        };
        let before = st.changes.insert(name.to_vec(), Change::Entry { inode: inode.clone(), covers });
        let was = std::mem::replace(&mut *inode.place.lock(), Place::Listed(self.me.clone(), name.to_vec()));
        drop(st);
        drop((before, was));
        Ok(())
    }

    pub(super) fn rename_ovl(
        &self,
        name: &[u8],
        new_dir: &OvlInode,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let (noreplace, exchange) = (libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE);
        if flags & !(noreplace | exchange) != 0 || flags == noreplace | exchange {
            return Err(Errno::EINVAL);
        }
        self.to_upper()?;
        new_dir.to_upper()?;
        let source = self.find(name)?;
        let target = match new_dir.find(new_name) {
            Ok(t) => Some(t),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        let _moves = self.fs.moves.lock();
        if source.is_above(new_dir.me()?) {
            return Err(Errno::EINVAL);
        }
        let swap = flags == exchange;
        match &target {
            None if swap || new_dir.dir_state()?.lock().dead => return Err(Errno::ENOENT),
            None => {}
            Some(_) if flags == noreplace => return Err(Errno::EEXIST),
            Some(t) if Arc::ptr_eq(t, &source) => return Ok(()),
            Some(t) if t.is_above(self.me()?) => {
                return Err(if swap { Errno::EINVAL } else { Errno::ENOTEMPTY });
            }
            Some(_) if swap => {}
            Some(t) => match (source.is_dir(), t.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => t.bury()?,
                (false, false) => {}
            },
        }
        // A lower file with other names is found by them, too, from now on by its identity.
        source.keep_linked();
        new_dir.put(new_name, &source)?;
        match &target {
            Some(t) if swap => {
                t.keep_linked();
                self.put(name, t)?;
                self.count(t.is_dir() as i64 - source.is_dir() as i64);
                new_dir.count(source.is_dir() as i64 - t.is_dir() as i64);
            }
            _ => {
                self.drop_name(&mut self.dir_state()?.lock(), name);
                self.count(-(source.is_dir() as i64));
                new_dir.count(source.is_dir() as i64);
            }
        }
        if let (Some(t), false) = (&target, swap) {
            new_dir.lose_name(t, new_name);
            if t.is_dir() {
                t.count(-2);
                new_dir.count(-1);
            }
        }
        for dir in [self, new_dir] {
            dir.to_upper()?.touch_modified();
        }
        if let Some(upper) = source.upper.get() {
            upper.touch_changed();
        }
        Ok(())
    }
}
