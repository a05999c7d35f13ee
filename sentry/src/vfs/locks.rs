//! Advisory locks: flock(2), and the record locks of fcntl(2) in their two kinds.
//!
//! A file's locks are one [`FileLocks`], found by [`Attached`]; whoever holds a lock there keeps it alive through
//! [`HELD`]. A lock belongs to a descriptor table (`F_SETLK`) or to a description (`F_OFD_SETLK`, flock), and goes with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::attached::Attached;
use super::inode::InodeRef;
use crate::wait_queue::{PollEvents, WaitQueue};

/// Record locks of one owner on one file; a named limit on what a guest can make the kernel keep.
const MAX_RANGES: usize = 4096;

/// Whose lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A descriptor table, by number.
    Table(u64),
    /// A description, by address.
    File(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Shared,
    Exclusive,
}

/// A record lock: bytes `start..end` (`u64::MAX`: to the end whatever it is).
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub owner: Owner,
    pub kind: Kind,
    pub start: u64,
    pub end: u64,
    /// For `F_GETLK`; -1 for locks of descriptions.
    pub pid: i32,
}

#[derive(Default)]
struct State {
    flocks: Vec<(Owner, Kind)>,
    ranges: Vec<Range>,
}

/// The locks of one file.
#[derive(Default)]
pub struct FileLocks {
    state: Mutex<State>,
    /// Told when a lock goes.
    pub queue: WaitQueue,
}

static TABLE: LazyLock<Attached<FileLocks>> = LazyLock::new(Attached::default);
/// Which files an owner has locks on.
static HELD: LazyLock<Mutex<HashMap<Owner, Vec<Arc<FileLocks>>>>> = LazyLock::new(Mutex::default);
/// Owners that are descriptor tables: closing a descriptor looks for locks only while there are any.
static TABLES: AtomicUsize = AtomicUsize::new(0);
/// Who waits for whom, to find deadlocks (`EDEADLK`): a number for each wait, since threads of one table may wait at once.
static WAITING: LazyLock<Mutex<Vec<(u64, Owner, Owner)>>> = LazyLock::new(Mutex::default);

/// The locks of a file.
pub fn of(inode: &InodeRef) -> Result<Arc<FileLocks>> {
    TABLE.get_or_make(inode, Arc::default)
}

fn hold(owner: Owner, locks: &Arc<FileLocks>) {
    let mut held = HELD.lock();
    let list = held.entry(owner).or_insert_with(|| {
        if matches!(owner, Owner::Table(_)) {
            TABLES.fetch_add(1, Ordering::Relaxed);
        }
        Vec::new()
    });
    if !list.iter().any(|l| Arc::ptr_eq(l, locks)) {
        list.push(locks.clone());
    }
}

/// Releases all that an owner holds (its last descriptor is gone).
pub fn release_owner(owner: Owner) {
    let gone = HELD.lock().remove(&owner);
    let Some(gone) = gone else { return };
    if matches!(owner, Owner::Table(_)) {
        TABLES.fetch_sub(1, Ordering::Relaxed);
    }
    for l in gone {
        l.drop_owner(owner);
    }
}

/// A descriptor of this file was closed: the table's record locks on the file go, whichever descriptor set them.
pub fn on_close(table: u64, inode: Option<&InodeRef>) {
    if TABLES.load(Ordering::Relaxed) == 0 {
        return;
    }
    let owner = Owner::Table(table);
    if !HELD.lock().contains_key(&owner) {
        return;
    }
    if let Some(Ok(Some(l))) = inode.map(|i| TABLE.get(i)) {
        l.drop_owner(owner);
    }
}

/// A wait for somebody's lock. Over when dropped, however the wait ends.
pub struct Waiting(u64);

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.lock().retain(|w| w.0 != self.0);
    }
}

/// Takes note that `who` waits for `whom`; `EDEADLK` where that closes a circle.
pub fn wait_for(who: Owner, whom: Owner) -> Result<Waiting> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut all = WAITING.lock();
    let (mut todo, mut seen) = (vec![whom], Vec::new());
    while let Some(at) = todo.pop() {
        if at == who {
            return Err(Errno::EDEADLK);
        }
        if !seen.contains(&at) {
            seen.push(at);
            todo.extend(all.iter().filter(|w| w.1 == at).map(|w| w.2));
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    all.push((number, who, whom));
    Ok(Waiting(number))
}

impl FileLocks {
    fn drop_owner(&self, owner: Owner) {
        {
            let mut s = self.state.lock();
            s.flocks.retain(|f| f.0 != owner);
            s.ranges.retain(|r| r.owner != owner);
        }
        self.queue.wake(PollEvents::IN);
    }

    /// flock(2): `None` unlocks. `EAGAIN` where another description's lock is in the way.
    pub fn flock(self: &Arc<FileLocks>, owner: Owner, kind: Option<Kind>) -> Result<()> {
        let mut s = self.state.lock();
        let had = s.flocks.iter().position(|f| f.0 == owner);
        let Some(kind) = kind else {
            if let Some(i) = had {
                s.flocks.remove(i);
                drop(s);
                self.queue.wake(PollEvents::IN);
            }
            return Ok(());
        };
        if had.is_some_and(|i| s.flocks[i].1 == kind) {
            return Ok(());
        }
        // A conversion gives the old lock up first (flock(2): "not guaranteed to be atomic").
        if let Some(i) = had {
            s.flocks.remove(i);
        }
        let free = s.flocks.iter().all(|f| kind == Kind::Shared && f.1 == Kind::Shared);
        if free {
            s.flocks.push((owner, kind));
        }
        drop(s);
        if had.is_some() {
            self.queue.wake(PollEvents::IN);
        }
        if !free {
            return Err(Errno::EAGAIN);
        }
        hold(owner, self);
        Ok(())
    }

    /// The first record lock that stands in the way of this one (`F_GETLK`).
    pub fn conflict(&self, want: &Range) -> Option<Range> {
        self.state.lock().conflict(want)
    }

    /// Sets a record lock, over what its owner had there; the lock in the way comes back as the error.
    pub fn set(self: &Arc<FileLocks>, want: Range) -> Result<std::result::Result<(), Range>> {
        let mut s = self.state.lock();
        if let Some(c) = s.conflict(&want) {
            return Ok(Err(c));
        }
        if s.ranges.iter().filter(|r| r.owner == want.owner).count() >= MAX_RANGES {
            return Err(Errno::ENOLCK);
        }
        s.cut(want.owner, want.start, want.end);
        s.ranges.push(want);
        s.join(want.owner);
        drop(s);
        hold(want.owner, self);
        // A write lock made a read lock may let others in.
        self.queue.wake(PollEvents::IN);
        Ok(Ok(()))
    }

    /// Unlocks a range.
    pub fn unset(&self, owner: Owner, start: u64, end: u64) {
        self.state.lock().cut(owner, start, end);
        self.queue.wake(PollEvents::IN);
    }
}

impl State {
    fn conflict(&self, want: &Range) -> Option<Range> {
        let clash = |r: &&Range| {
            r.owner != want.owner
                && r.start < want.end
                && want.start < r.end
                && (r.kind == Kind::Exclusive || want.kind == Kind::Exclusive)
        };
        self.ranges.iter().filter(clash).min_by_key(|r| r.start).copied()
    }

    /// Takes a range out of an owner's locks, splitting what reaches over it.
    fn cut(&mut self, owner: Owner, start: u64, end: u64) {
        let mut rest = Vec::new();
        self.ranges.retain(|r| {
            if r.owner != owner || r.end <= start || r.start >= end {
                return true;
            }
            if r.start < start {
                rest.push(Range { end: start, ..*r });
            }
            if r.end > end {
                rest.push(Range { start: end, ..*r });
            }
            false
        });
        self.ranges.append(&mut rest);
    }

    /// Joins an owner's neighbouring locks of one kind.
    fn join(&mut self, owner: Owner) {
        let (mut mine, others): (Vec<Range>, Vec<Range>) =
            self.ranges.drain(..).partition(|r| r.owner == owner);
        mine.sort_by_key(|r| r.start);
        self.ranges = others;
        for r in mine {
            match self.ranges.last_mut() {
                Some(l) if l.owner == owner && l.end == r.start && l.kind == r.kind => l.end = r.end,
                _ => self.ranges.push(r),
            }
        }
    }
}
