//! A set of signals: bit `n - 1` is signal `n`, as in the kernel's `sigset_t`.

use super::Signo;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

/// SIGKILL and SIGSTOP, which nothing blocks.
pub const UNBLOCKABLE: SigSet = SigSet(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

impl SigSet {
    pub const EMPTY: SigSet = SigSet(0);

    pub fn of(signo: Signo) -> SigSet {
        if (1..=64).contains(&signo) {
            SigSet(1 << (signo - 1))
        } else {
            SigSet(0)
        }
    }
    pub fn contains(self, signo: Signo) -> bool {
        self.0 & SigSet::of(signo).0 != 0
    }
    pub fn insert(&mut self, signo: Signo) {
        self.0 |= SigSet::of(signo).0;
    }
    pub fn remove(&mut self, signo: Signo) {
        self.0 &= !SigSet::of(signo).0;
    }
    pub fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
    pub fn minus(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The lowest signal in the set.
    pub fn first(self) -> Option<Signo> {
        if self.0 == 0 {
            None
        } else {
            Some(self.0.trailing_zeros() as Signo + 1)
        }
    }
    /// A mask as a guest may set it: without SIGKILL and SIGSTOP.
    pub fn as_mask(self) -> SigSet {
        self.minus(UNBLOCKABLE)
    }
}
