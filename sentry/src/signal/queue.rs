//! Pending signals of a thread or a thread group: standard ones once each, real-time ones in order (signal(7)).
//!
//! A signal whose queue is full may still be pending: then only its number is known.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use super::info::SI_USER;
use super::{SigInfo, SigSet, Signo};

/// The most signals that wait for one user where `RLIMIT_SIGPENDING` sets no limit.
pub const MAX_QUEUED: u64 = 4096;

/// How many signals wait for whom.
#[derive(Default)]
pub struct Users(Mutex<BTreeMap<u32, Arc<AtomicU64>>>);

/// One place in a user's queues, given back when it is dropped.
pub struct Charge(Arc<AtomicU64>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Users {
    fn counter(&self, uid: u32) -> Arc<AtomicU64> {
        let mut all = self.0.lock();
        // Users come and go; nobody holds what nothing waits for.
        if all.len() > 64 {
            all.retain(|_, n| Arc::strong_count(n) > 1);
        }
        all.entry(uid).or_default().clone()
    }

    /// A place for one more signal; `None` where the user has no more.
    pub fn charge(&self, uid: u32, limit: u64) -> Option<Charge> {
        let counter = self.counter(uid);
        let limit = limit.min(MAX_QUEUED);
        let take = |n: u64| (n < limit).then_some(n + 1);
        counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Charge(counter))
    }

    /// How many wait for a user.
    pub fn count(&self, uid: u32) -> u64 {
        self.0.lock().get(&uid).map_or(0, |n| n.load(Ordering::Relaxed))
    }
}

/// Where a signal comes from, if that wants to know when it is taken: a timer, which counts what it missed meanwhile.
pub trait Origin: Send + Sync {
    /// The signal as it is to be seen now; `None` where it is void by now.
    fn taken(&self, info: SigInfo) -> Option<SigInfo>;
}

struct Queued {
    info: SigInfo,
    /// Its place, and whom to tell.
    _charge: Option<Charge>,
    origin: Option<Arc<dyn Origin>>,
}

#[derive(Default)]
pub struct PendingQueue {
    set: SigSet,
    list: VecDeque<Queued>,
}

impl PendingQueue {
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal that takes no place of anybody's; a second standard one is merged.
    pub fn push(&mut self, info: SigInfo) {
        self.queue(info, None, None);
    }

    /// Adds a signal with its place.
    pub fn queue(&mut self, info: SigInfo, charge: Option<Charge>, origin: Option<Arc<dyn Origin>>) {
        if info.signo < 32 && self.set.contains(info.signo) {
            return;
        }
        self.set.insert(info.signo);
        self.list.push_back(Queued { info, _charge: charge, origin });
    }

    /// Marks a signal as pending of which nothing more is remembered.
    pub fn mark(&mut self, signo: Signo) {
        self.set.insert(signo);
    }

    /// Takes the first signal of the lowest number in `wanted`; those that faults raise come first (signal(7) does not
    /// say so, Linux does).
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        loop {
            let set = SigSet(self.set.0 & wanted.0);
            let synchronous = SigSet(set.0 & SYNCHRONOUS.0);
            let signo = synchronous.first().or_else(|| set.first())?;
            if let Some(info) = self.take_signo(signo) {
                return Some(info);
            }
        }
    }

    fn take_signo(&mut self, signo: Signo) -> Option<SigInfo> {
        let at = self.list.iter().position(|q| q.info.signo == signo);
        let Some(queued) = at.and_then(|at| self.list.remove(at)) else {
            self.set.remove(signo);
            return Some(SigInfo::user(signo, SI_USER, 0, 0));
        };
        if !self.list.iter().any(|q| q.info.signo == signo) {
            self.set.remove(signo);
        }
        match queued.origin {
            Some(origin) => origin.taken(queued.info),
            None => Some(queued.info),
        }
    }

    /// Drops all of these (a stop clears SIGCONT, a continue clears stops, ignoring clears).
    pub fn discard(&mut self, which: SigSet) {
        self.list.retain(|q| !which.contains(q.info.signo));
        self.set = self.set.minus(which);
    }
}

/// What faults raise is taken before all else.
const SYNCHRONOUS: SigSet = SigSet(
    1 << (libc::SIGSEGV - 1)
        | 1 << (libc::SIGBUS - 1)
        | 1 << (libc::SIGILL - 1)
        | 1 << (libc::SIGTRAP - 1)
        | 1 << (libc::SIGFPE - 1)
        | 1 << (libc::SIGSYS - 1),
);
