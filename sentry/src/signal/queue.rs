//! Pending signals of a thread or a thread group: standard ones once each, real-time ones in order (signal(7)).

use std::collections::VecDeque;

use super::{SigInfo, SigSet, Signo};

/// The most real-time signals that wait in one queue (a stand-in for `RLIMIT_SIGPENDING`, which counts by user).
pub const MAX_QUEUED: usize = 4096;

#[derive(Default)]
pub struct PendingQueue {
    set: SigSet,
    list: VecDeque<SigInfo>,
}

impl PendingQueue {
    pub fn set(&self) -> SigSet {
        self.set
    }
    /// Adds a signal. `false` where the queue is full (`EAGAIN` for sigqueue(3)); a second standard one is merged.
    pub fn push(&mut self, info: SigInfo) -> bool {
        if info.signo < 32 && self.set.contains(info.signo) {
            return true;
        }
        if self.list.len() >= MAX_QUEUED {
            return false;
        }
        self.set.insert(info.signo);
        self.list.push_back(info);
        true
    }
    /// Takes the first signal of the lowest number in `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signo = SigSet(self.set.0 & wanted.0).first()?;
        self.take_signo(signo)
    }
    fn take_signo(&mut self, signo: Signo) -> Option<SigInfo> {
        let at = self.list.iter().position(|i| i.signo == signo)?;
        let info = self.list.remove(at);
        if !self.list.iter().any(|i| i.signo == signo) {
            self.set.remove(signo);
        }
        info
    }
    /// Drops all of these (a stop clears SIGCONT, a continue clears stops, ignoring clears).
    pub fn discard(&mut self, which: SigSet) {
        self.list.retain(|i| !which.contains(i.signo));
        self.set = self.set.minus(which);
    }
}
