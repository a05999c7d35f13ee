//! Descriptor tables: small numbers to file descriptions, with the close-on-exec flag (fcntl(2)).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::RwLock;

use super::file::File;
use super::locks;

/// The most descriptors a table ever has, whatever `RLIMIT_NOFILE` says (`fs.nr_open`).
pub const MAX_FDS: usize = 1 << 20;

#[derive(Clone)]
struct Entry {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Clone, Default)]
struct Slots {
    list: Vec<Option<Entry>>,
    /// Every number below is taken.
    first_free: usize,
}

/// A descriptor table, shared by tasks made with `CLONE_FILES`.
pub struct FdTable {
    slots: RwLock<Slots>,
    /// A number never given twice: the owner of record locks.
    id: u64,
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::with(Slots::default())
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        locks::release_owner(locks::Owner::Table(self.id));
    }
}

impl FdTable {
    pub fn new() -> FdTable {
        FdTable::default()
    }
    fn with(slots: Slots) -> FdTable {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        FdTable { slots: RwLock::new(slots), id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
    /// A number never given twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file behind a number, or `EBADF`.
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let slots = self.slots.read();
        usize::try_from(fd)
            .ok()
            .and_then(|i| slots.list.get(i))
            .and_then(|e| e.as_ref())
            .map(|e| e.file.clone())
            .ok_or(Errno::EBADF)
    }

    /// The lowest free number at or above `min`, below `limit` (`RLIMIT_NOFILE`); `EMFILE`.
    pub fn insert(&self, file: Arc<File>, cloexec: bool, min: usize, limit: u64) -> Result<i32> {
        let mut slots = self.slots.write();
        let limit = usize::try_from(limit).unwrap_or(MAX_FDS).min(MAX_FDS);
        let mut at = min.max(slots.first_free);
        while slots.list.get(at).is_some_and(|e| e.is_some()) {
            at += 1;
        }
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        if slots.list.len() <= at {
            slots.list.resize(at + 1, None);
        }
        slots.list[at] = Some(Entry { file, cloexec });
        if min <= slots.first_free {
            slots.first_free = at + 1;
        }
        Ok(at as i32)
    }

    /// Puts the file at exactly `fd` (dup2); returns what was there.
    pub fn replace(&self, fd: i32, file: Arc<File>, cloexec: bool, limit: u64) -> Result<Option<Arc<File>>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at as u64 >= limit || at >= MAX_FDS {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.write();
        if slots.list.len() <= at {
            slots.list.resize(at + 1, None);
        }
        let old = slots.list[at].replace(Entry { file, cloexec }).map(|e| e.file);
        drop(slots);
        if let Some(f) = &old {
            locks::on_close(self.id, f.inode());
        }
        Ok(old)
    }

    /// Takes a number out; the caller drops the file with no lock held.
    pub fn remove(&self, fd: i32) -> Result<Arc<File>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let mut slots = self.slots.write();
        let gone = slots.list.get_mut(at).and_then(|e| e.take()).ok_or(Errno::EBADF)?;
        slots.first_free = slots.first_free.min(at);
        drop(slots);
        locks::on_close(self.id, gone.file.inode());
        Ok(gone.file)
    }

    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        let slots = self.slots.read();
        usize::try_from(fd)
            .ok()
            .and_then(|i| slots.list.get(i))
            .and_then(|e| e.as_ref())
            .map(|e| e.cloexec)
            .ok_or(Errno::EBADF)
    }

    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<()> {
        let mut slots = self.slots.write();
        let e = usize::try_from(fd).ok().and_then(|i| slots.list.get_mut(i)).and_then(|e| e.as_mut());
        e.ok_or(Errno::EBADF)?.cloexec = on;
        Ok(())
    }

    /// A copy for fork (or unshare).
    pub fn duplicate(&self) -> FdTable {
        FdTable::with(self.slots.read().clone())
    }

    /// Takes out all that exec closes; the caller drops them.
    pub fn take_cloexec(&self) -> Vec<Arc<File>> {
        self.take_where(|_, e| e.cloexec)
    }

    /// Takes out everything (exit) or a range (close_range); the caller drops the files.
    pub fn take_range(&self, first: usize, last: usize) -> Vec<Arc<File>> {
        self.take_where(|i, _| i >= first && i <= last)
    }

    fn take_where(&self, pick: impl Fn(usize, &Entry) -> bool) -> Vec<Arc<File>> {
        let mut slots = self.slots.write();
        let mut gone = Vec::new();
        let mut lowest = usize::MAX;
        for (i, e) in slots.list.iter_mut().enumerate() {
            if e.as_ref().is_some_and(|e| pick(i, e)) {
                lowest = lowest.min(i);
                gone.extend(e.take().map(|e| e.file));
            }
        }
        slots.first_free = slots.first_free.min(lowest);
        drop(slots);
        for f in &gone {
            locks::on_close(self.id, f.inode());
        }
        gone
    }

    /// Sets close-on-exec on a range (close_range with `CLOSE_RANGE_CLOEXEC`).
    pub fn cloexec_range(&self, first: usize, last: usize) {
        let mut slots = self.slots.write();
        for e in slots.list.iter_mut().take(last.saturating_add(1)).skip(first).flatten() {
            e.cloexec = true;
        }
    }

    /// The open numbers, in order.
    pub fn numbers(&self) -> Vec<i32> {
        let slots = self.slots.read();
        slots.list.iter().enumerate().filter(|(_, e)| e.is_some()).map(|(i, _)| i as i32).collect()
    }
}
