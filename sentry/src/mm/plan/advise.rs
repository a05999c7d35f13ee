//! madvise(2), mlock(2) and mseal(2): what they mark in the table, and what the host is told.

use linux_abi::{Errno, Result};
use platform::Action;

use super::{fill, range_end, MemLimits, MADV_POPULATE_READ, MADV_POPULATE_WRITE};
use crate::mm::space::{Fill, Plan};
use crate::mm::vma::{VmFlags, Vma, VmaTable, PROT_WRITE};

pub const MADV_COLD: i32 = 20;
pub const MADV_PAGEOUT: i32 = 21;
pub const MADV_DONTNEED_LOCKED: i32 = 24;
pub const MADV_GUARD_INSTALL: i32 = 102;
pub const MADV_GUARD_REMOVE: i32 = 103;

/// Whether it is an advice that we give. Those that take pages of the machine away, or make its pages common
/// (`HWPOISON`, `SOFT_OFFLINE`, `COLLAPSE`), are not: as on a kernel without them.
pub fn is_known(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_NORMAL
            | libc::MADV_RANDOM
            | libc::MADV_SEQUENTIAL
            | libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_FREE
            | libc::MADV_REMOVE
            | libc::MADV_DONTFORK
            | libc::MADV_DOFORK
            | libc::MADV_MERGEABLE
            | libc::MADV_UNMERGEABLE
            | libc::MADV_HUGEPAGE
            | libc::MADV_NOHUGEPAGE
            | libc::MADV_DONTDUMP
            | libc::MADV_DODUMP
            | libc::MADV_WIPEONFORK
            | libc::MADV_KEEPONFORK
            | MADV_COLD
            | MADV_PAGEOUT
            | MADV_POPULATE_READ
            | MADV_POPULATE_WRITE
            | MADV_DONTNEED_LOCKED
            | MADV_GUARD_INSTALL
            | MADV_GUARD_REMOVE
    )
}

/// What the host hears of an advice. It does not hear of those about fork: it could not take `DONTFORK` back, since what
/// keeps the platform's slots out of fork children must not be undone. A fork child gets rid of the memory itself.
fn told(advice: i32) -> Option<i32> {
    match advice {
        libc::MADV_DONTFORK | libc::MADV_DOFORK | libc::MADV_DONTDUMP | libc::MADV_DODUMP => None,
        libc::MADV_MERGEABLE | libc::MADV_UNMERGEABLE | libc::MADV_REMOVE => None,
        // On the host nothing is locked.
        MADV_DONTNEED_LOCKED => Some(libc::MADV_DONTNEED),
        other => Some(other),
    }
}

/// The mark that an advice leaves.
fn mark(advice: i32) -> Option<(VmFlags, bool)> {
    match advice {
        libc::MADV_DONTFORK => Some((VmFlags::DONTFORK, true)),
        libc::MADV_DOFORK => Some((VmFlags::DONTFORK, false)),
        libc::MADV_DONTDUMP => Some((VmFlags::DONTDUMP, true)),
        libc::MADV_DODUMP => Some((VmFlags::DONTDUMP, false)),
        libc::MADV_WIPEONFORK => Some((VmFlags::WIPEONFORK, true)),
        libc::MADV_KEEPONFORK => Some((VmFlags::WIPEONFORK, false)),
        _ => None,
    }
}

fn discards(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_FREE
            | libc::MADV_DONTNEED
            | MADV_DONTNEED_LOCKED
            | libc::MADV_REMOVE
            | libc::MADV_DONTFORK
            | libc::MADV_WIPEONFORK
            | MADV_GUARD_INSTALL
    )
}

/// Why a mapping does not take an advice.
fn refusal(v: &Vma, advice: i32) -> Option<Errno> {
    let locked = v.flags.contains(VmFlags::LOCKED);
    // mseal(2): what cannot be written must not be emptied either.
    if v.flags.contains(VmFlags::SEALED) && discards(advice) && v.file.is_none() && v.prot & PROT_WRITE == 0 {
        return Some(Errno::EPERM);
    }
    match advice {
        libc::MADV_DONTNEED | MADV_COLD | MADV_PAGEOUT | MADV_GUARD_INSTALL if locked => Some(Errno::EINVAL),
        libc::MADV_FREE if locked || v.file.is_some() => Some(Errno::EINVAL),
        libc::MADV_WIPEONFORK if v.file.is_some() => Some(Errno::EINVAL),
        libc::MADV_REMOVE if locked || v.file.is_none() => Some(Errno::EINVAL),
        libc::MADV_REMOVE if !v.shared() || v.max_prot & PROT_WRITE == 0 => Some(Errno::EACCES),
        _ => None,
    }
}

/// How memory is to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Now,
    /// As its pages come (`MLOCK_ONFAULT`).
    OnFault,
    Off,
}

impl Lock {
    /// The marks of a mapping locked so.
    pub fn marks(self) -> VmFlags {
        match self {
            Lock::Now => VmFlags::LOCKED,
            Lock::OnFault => VmFlags::LOCKED | VmFlags::LOCKONFAULT,
            Lock::Off => VmFlags::empty(),
        }
    }
}

/// What a range takes of an advice: the pieces that it is for, neighbours joined, and what the call then answers.
pub struct Advised {
    pub pieces: Vec<(u64, u64)>,
    pub result: Result<()>,
}

impl VmaTable {
    /// Goes through a range as Linux does: holes are passed over and told at the end, what refuses ends it.
    pub fn advised(&self, start: u64, end: u64, advice: i32) -> Advised {
        let (mut pieces, mut result): (Vec<(u64, u64)>, _) = (Vec::new(), Ok(()));
        let mut at = start;
        for v in self.overlapping(start, end) {
            let (a, b) = (v.start.max(start), v.end.min(end));
            if a > at {
                result = Err(Errno::ENOMEM);
                if matches!(advice, MADV_POPULATE_READ | MADV_POPULATE_WRITE) {
                    return Advised { pieces, result };
                }
            }
            if let Some(e) = refusal(v, advice) {
                return Advised { pieces, result: Err(e) };
            }
            match pieces.last_mut() {
                Some(p) if p.1 == a => p.1 = b,
                _ => pieces.push((a, b)),
            }
            at = b;
        }
        if at < end {
            result = Err(Errno::ENOMEM);
        }
        Advised { pieces, result }
    }

    /// madvise(2), and process_madvise(2) on one's own memory: the value is the length of the ranges that took it, or the
    /// error where the first did not.
    pub fn plan_advise(&mut self, ranges: &[(u64, u64)], advice: i32) -> Result<Plan> {
        let mut plan = Plan::done(0);
        let mut pieces = Vec::new();
        let (mut taken, mut failed) = (0, None);
        for &(start, len) in ranges {
            let end = range_end(start, len).ok_or(Errno::EINVAL)?;
            if self.is_busy(start, end) {
                return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
            }
            let advised = self.advised(start, end, advice);
            pieces.extend(advised.pieces);
            match advised.result {
                Ok(()) => taken += end - start,
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        if let Some(advice) = told(advice) {
            let tell = |p: &(u64, u64)| Action::Advise { addr: p.0, len: p.1 - p.0, advice };
            plan.actions = pieces.iter().map(tell).collect();
            plan.ranges = pieces.clone();
        }
        plan.commit = Box::new(move |t| {
            if let Some((flag, on)) = mark(advice) {
                for (start, end) in pieces {
                    t.change(start, end, |v| v.flags.set(flag, on));
                }
            }
            match failed {
                Some(e) if taken == 0 => Err(e),
                _ => Ok(taken),
            }
        });
        Ok(plan)
    }

    /// mlock(2), mlock2(2), munlock(2). What comes before a hole is locked, then it fails.
    pub fn plan_lock(&mut self, start: u64, end: u64, how: Lock, limits: &MemLimits) -> Result<Plan> {
        let marks = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        if how != Lock::Off && limits.lock != u64::MAX {
            let mut total = self.totals().locked.saturating_add(end - start);
            if total > limits.lock {
                let again = self.overlapping(start, end).filter(|v| v.flags.contains(VmFlags::LOCKED));
                let again: u64 = again.map(|v| v.end.min(end) - v.start.max(start)).sum();
                total -= again;
            }
            if total > limits.lock {
                return Err(Errno::ENOMEM);
            }
        }
        if self.is_busy(start, end) {
            return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
        }
        let to = self.covered_to(start, end);
        let mut result = if to < end { Err(Errno::ENOMEM) } else { Ok(0) };
        let mut actions = Vec::new();
        if how == Lock::Now && result.is_ok() {
            for v in self.overlapping(start, to) {
                match fill(v, v.start.max(start), v.end.min(to)) {
                    Some(action) => actions.push(action),
                    // What nobody may touch cannot be filled in, but it is locked.
                    None if v.prot == libc::PROT_NONE => {
                        result = Err(Errno::ENOMEM);
                        break;
                    }
                    None => {}
                }
            }
        }
        Ok(Plan {
            ranges: vec![(start, to)],
            fill: Fill { count: actions.len(), failed: Some(Errno::ENOMEM) },
            actions,
            cost: 0,
            commit: Box::new(move |t| {
                t.change(start, to, |v| v.flags = (v.flags - marks) | how.marks());
                result
            }),
        })
    }

    /// mlockall(2), munlockall(2). `current`: what is mapped now; `future`: what will be.
    pub fn plan_lock_all(&mut self, current: Option<Lock>, future: Lock, limits: &MemLimits) -> Result<Plan> {
        let marks = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        if current.is_some_and(|how| how != Lock::Off) && self.total() > limits.lock {
            return Err(Errno::ENOMEM);
        }
        let mut plan = Plan::done(0);
        if current == Some(Lock::Now) {
            plan.actions = self.iter().filter_map(|v| fill(v, v.start, v.end)).collect();
            // Only what is filled in is busy: others may map meanwhile, and that is not current.
            plan.ranges =
                self.iter().filter(|v| fill(v, v.start, v.end).is_some()).map(|v| (v.start, v.end)).collect();
            plan.fill = Fill { count: plan.actions.len(), failed: None };
        }
        plan.commit = Box::new(move |t| {
            t.lock_future = future.marks();
            if let Some(how) = current {
                t.change(0, u64::MAX, |v| v.flags = (v.flags - marks) | how.marks());
            }
            Ok(0)
        });
        Ok(plan)
    }

    /// mseal(2).
    pub fn seal(&mut self, start: u64, end: u64) -> Result<u64> {
        if !self.is_covered(start, end) {
            return Err(Errno::ENOMEM);
        }
        self.change(start, end, |v| v.flags |= VmFlags::SEALED);
        Ok(0)
    }
}
