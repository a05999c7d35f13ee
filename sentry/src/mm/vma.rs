//! The VMA table: which guest addresses are mapped, to what, with which rights. The truth about an address space; the
//! host's own map follows it. Pure data: nothing here asks the stub to do anything.
//!
//! The table holds no entry inside the platform's own range, so that no call can name it. Linux analogue: `mm_struct`
//! with its tree of `vm_area_struct`.

use std::collections::BTreeMap;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::Mappable;

pub const PAGE: u64 = 4096;
/// `vm.max_map_count`.
pub const MAX_MAPS: usize = 65530;

pub const PROT_NONE: i32 = libc::PROT_NONE;
pub const PROT_READ: i32 = libc::PROT_READ;
pub const PROT_WRITE: i32 = libc::PROT_WRITE;
pub const PROT_EXEC: i32 = libc::PROT_EXEC;
/// All rights that a mapping can have.
pub const PROT_ALL: i32 = PROT_READ | PROT_WRITE | PROT_EXEC;

/// Rounds down to a page.
pub fn page_down(v: u64) -> u64 {
    v & !(PAGE - 1)
}

/// Rounds up to a page; `None` past the end of the address space.
pub fn page_up(v: u64) -> Option<u64> {
    v.checked_add(PAGE - 1).map(page_down)
}

bitflags::bitflags! {
    /// What a mapping is besides its rights.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct VmFlags: u32 {
        /// `MAP_SHARED`; without it private.
        const SHARED = 1;
        const NORESERVE = 2;
        /// Locked by mlock(2): counted against `RLIMIT_MEMLOCK`.
        const LOCKED = 4;
        /// `MADV_DONTFORK`.
        const DONTFORK = 8;
        /// `MADV_DONTDUMP`.
        const DONTDUMP = 16;
        /// `MAP_GROWSDOWN`, and the stack: a fault below it makes it longer, and others keep their distance.
        const STACK = 32;
        /// `MADV_WIPEONFORK`.
        const WIPEONFORK = 64;
        /// Paid for in the sandbox's memory account, once and for all: what was writable once may hold pages.
        const CHARGED = 128;
        /// mseal(2): it stays what it is.
        const SEALED = 256;
        /// `MLOCK_ONFAULT`: locked, but not filled in.
        const LOCKONFAULT = 512;
    }
}

/// What `/proc/PID/maps` shows in the last column.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum VmName {
    /// The file's name, or nothing.
    #[default]
    None,
    Heap,
    Stack,
    Vvar,
    Vdso,
    /// `prctl(PR_SET_VMA_ANON_NAME)`.
    Anon(Arc<str>),
}

/// The file behind a mapping.
#[derive(Clone)]
pub struct Backing {
    pub map: Arc<dyn Mappable>,
    /// The offset of the first byte of the mapping.
    pub offset: u64,
    /// Shared anonymous memory: a memfd of ours, shown as `/dev/zero (deleted)`.
    pub anonymous: bool,
}

/// One mapping.
#[derive(Clone)]
pub struct Vma {
    pub start: u64,
    pub end: u64,
    pub prot: i32,
    /// What mprotect may raise `prot` to.
    pub max_prot: i32,
    pub flags: VmFlags,
    pub file: Option<Backing>,
    pub name: VmName,
}

impl Vma {
    /// A private anonymous mapping.
    pub fn anonymous(start: u64, end: u64, prot: i32) -> Vma {
        Vma { start, end, prot, max_prot: PROT_ALL, flags: VmFlags::empty(), file: None, name: VmName::None }
    }
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }
    /// Counts against `RLIMIT_DATA`: private, writable, not the stack.
    pub fn is_data(&self) -> bool {
        !self.shared() && self.prot & PROT_WRITE != 0 && !self.flags.contains(VmFlags::STACK)
    }

    /// Whether it is private memory that its owner can fill: what a memory limit counts.
    pub fn costs(&self) -> bool {
        !self.shared() && self.prot & PROT_WRITE != 0
    }
    /// What it takes of the sandbox's memory.
    pub fn charge(&self) -> u64 {
        if self.flags.contains(VmFlags::CHARGED) {
            self.len()
        } else {
            0
        }
    }
    fn mark_charged(&mut self) {
        if self.costs() && super::account::limit().is_some() {
            self.flags |= VmFlags::CHARGED;
        }
    }

    fn merges_with(&self, next: &Vma) -> bool {
        if self.end != next.start
            || self.prot != next.prot
            || self.max_prot != next.max_prot
            || self.flags != next.flags
            || self.name != next.name
        {
            return false;
        }
        match (&self.file, &next.file) {
            (None, None) => !matches!(self.name, VmName::Vvar | VmName::Vdso),
            (Some(a), Some(b)) => {
                Arc::ptr_eq(&a.map, &b.map) && a.offset.wrapping_add(self.len()) == b.offset
            }
            _ => false,
        }
    }

    /// Cuts off and returns what lies at and behind `at`.
    fn split_off(&mut self, at: u64) -> Vma {
        let mut tail = self.clone();
        tail.start = at;
        if let Some(f) = &mut tail.file {
            f.offset = f.offset.wrapping_add(at - self.start);
        }
        self.end = at;
        tail
    }
}

/// Where a program's pieces lie (`/proc/PID/{cmdline,environ,stat}`).
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub code: (u64, u64),
    pub data: (u64, u64),
    pub stack_top: u64,
    pub args: (u64, u64),
    pub env: (u64, u64),
    /// `/proc/PID/auxv`.
    pub auxv: Vec<u8>,
    pub brk_start: u64,
    pub brk: u64,
    /// Below this, new mappings are placed (top down).
    pub mmap_top: u64,
}

/// Sums over the table, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub all: u64,
    pub data: u64,
    pub exec: u64,
    pub stack: u64,
    pub shared: u64,
    pub locked: u64,
}

/// All mappings of an address space, with the ranges that operations under way have reserved.
#[derive(Clone, Default)]
pub struct VmaTable {
    pub(super) map: BTreeMap<u64, Vma>,
    pub layout: Layout,
    total: u64,
    /// The most that `total` has been.
    peak: u64,
    charged: u64,
    /// Ranges whose host map an operation is changing: (operation, start, end).
    pub(super) busy: Vec<(u64, u64, u64)>,
    /// What new mappings are besides what they ask for: `MCL_FUTURE`'s marks.
    pub lock_future: VmFlags,
    /// The commands of membarrier(2) that the process has registered for.
    pub barriers: i32,
    /// All holes above this address are at most `largest_above` long: placement starts its search here.
    pub(super) search_from: u64,
    pub(super) largest_above: u64,
}

impl VmaTable {
    /// How many mappings there are.
    pub fn count(&self) -> usize {
        self.map.len()
    }
    pub fn total(&self) -> u64 {
        self.total
    }
    /// The most that it has been (`VmPeak`).
    pub fn peak(&self) -> u64 {
        self.peak
    }
    /// What all mappings take of the sandbox's memory.
    pub fn charged(&self) -> u64 {
        self.charged
    }
    /// What the mappings of a range would cost more, were they writable.
    pub fn uncharged(&self, start: u64, end: u64) -> u64 {
        let free = |v: &&Vma| !v.shared() && !v.flags.contains(VmFlags::CHARGED);
        self.overlapping(start, end).filter(free).map(|v| v.end.min(end) - v.start.max(start)).sum()
    }
    /// What the mappings of a range have been charged.
    pub fn charged_in(&self, start: u64, end: u64) -> u64 {
        let paid = |v: &&Vma| v.flags.contains(VmFlags::CHARGED);
        self.overlapping(start, end).filter(paid).map(|v| v.end.min(end) - v.start.max(start)).sum()
    }
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.map.values()
    }
    /// The mapping that holds an address.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..=addr).next_back().map(|(_, v)| v).filter(|v| v.end > addr)
    }
    /// The first mapping that ends behind an address.
    pub fn find_after(&self, addr: u64) -> Option<&Vma> {
        self.find(addr).or_else(|| self.map.range(addr..).next().map(|(_, v)| v))
    }
    /// The last mapping that starts below an address.
    pub fn find_before(&self, addr: u64) -> Option<&Vma> {
        self.map.range(..addr).next_back().map(|(_, v)| v)
    }
    /// `EPERM` where a part of a range is sealed (mseal(2)).
    pub fn check_unsealed(&self, start: u64, end: u64) -> Result<()> {
        if self.overlapping(start, end).any(|v| v.flags.contains(VmFlags::SEALED)) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
    /// The mappings that meet a range, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let from = self.find(start).map_or(start, |v| v.start);
        self.map.range(from..end.max(from)).map(|(_, v)| v)
    }
    /// Whether nothing is mapped in a range and no operation has it.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none() && !self.is_busy(start, end)
    }
    /// Whether an operation under way has a part of the range.
    pub fn is_busy(&self, start: u64, end: u64) -> bool {
        self.busy.iter().any(|b| b.1 < end && start < b.2)
    }
    /// Whether every page of a range is mapped.
    pub fn is_covered(&self, start: u64, end: u64) -> bool {
        self.covered_to(start, end) >= end
    }
    /// How far a range is mapped without a hole.
    pub fn covered_to(&self, start: u64, end: u64) -> u64 {
        let mut at = start;
        for v in self.overlapping(start, end) {
            if v.start > at {
                break;
            }
            at = v.end;
        }
        at.min(end)
    }

    /// Puts a mapping in place of whatever is there.
    pub fn insert(&mut self, mut vma: Vma) {
        if vma.is_empty() {
            return;
        }
        vma.mark_charged();
        self.remove(vma.start, vma.end);
        let (start, end) = (vma.start, vma.end);
        self.total += vma.len();
        self.peak = self.peak.max(self.total);
        self.charged += vma.charge();
        self.map.insert(start, vma);
        self.merge_at(start);
        self.merge_at(end);
    }

    /// Takes a range out; returns what was there.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        self.split_at(start);
        self.split_at(end);
        let keys: Vec<u64> = self.map.range(start..end.max(start)).map(|(k, _)| *k).collect();
        let gone: Vec<Vma> = keys.iter().filter_map(|k| self.map.remove(k)).collect();
        if !gone.is_empty() {
            self.total -= gone.iter().map(Vma::len).sum::<u64>();
            self.charged -= gone.iter().map(Vma::charge).sum::<u64>();
            self.note_hole(start, end);
        }
        gone
    }

    /// Changes every mapping in a range, which is split at its ends first.
    pub fn change(&mut self, start: u64, end: u64, mut f: impl FnMut(&mut Vma)) {
        self.split_at(start);
        self.split_at(end);
        let keys: Vec<u64> = self.map.range(start..end.max(start)).map(|(k, _)| *k).collect();
        for k in &keys {
            if let Some(v) = self.map.get_mut(k) {
                let before = v.charge();
                f(v);
                v.mark_charged();
                self.charged += v.charge() - before;
            }
        }
        for k in keys {
            self.merge_at(k);
        }
        self.merge_at(end);
    }

    fn split_at(&mut self, at: u64) {
        let Some((_, v)) = self.map.range_mut(..at).next_back() else { return };
        if v.end > at {
            let tail = v.split_off(at);
            self.map.insert(at, tail);
        }
    }

    /// Joins the mapping that starts at `at` with the one that ends there, if they are alike.
    fn merge_at(&mut self, at: u64) {
        let Some(next) = self.map.get(&at) else { return };
        let Some((_, prev)) = self.map.range(..at).next_back() else { return };
        if !prev.merges_with(next) {
            return;
        }
        let end = next.end;
        self.map.remove(&at);
        if let Some((_, prev)) = self.map.range_mut(..at).next_back() {
            prev.end = end;
        }
    }

    /// `ENOMEM` where `more` bytes or `maps` mappings more would pass a limit.
    pub fn check_room(&self, more: u64, maps: usize, as_limit: u64) -> Result<()> {
        if self.map.len() + maps > MAX_MAPS || self.total.saturating_add(more) > as_limit {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Sums for limits and proc.
    pub fn totals(&self) -> Totals {
        let mut t = Totals { all: self.total, ..Totals::default() };
        for v in self.map.values() {
            let n = v.len();
            if v.flags.contains(VmFlags::STACK) {
                t.stack += n;
            } else if v.is_data() {
                t.data += n;
            }
            if v.prot & PROT_EXEC != 0 {
                t.exec += n;
            }
            if v.shared() {
                t.shared += n;
            }
            if v.flags.contains(VmFlags::LOCKED) {
                t.locked += n;
            }
        }
        t
    }

    /// What a fork child is not to have (`MADV_DONTFORK`): the host copies it, so the child's first act is to unmap it.
    pub fn not_forked(&self) -> Vec<(u64, u64)> {
        self.iter().filter(|v| v.flags.contains(VmFlags::DONTFORK)).map(|v| (v.start, v.end)).collect()
    }

    /// The table of a fork child: without what operations reserve (fork waits for them).
    pub fn for_child(&self) -> VmaTable {
        let mut child = self.clone();
        child.busy.clear();
        for (start, end) in self.not_forked() {
            child.remove(start, end);
        }
        // Memory locks are not inherited (mlock(2), mlockall(2)).
        for v in child.map.values_mut() {
            v.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT);
        }
        child.lock_future = VmFlags::empty();
        child.peak = child.total;
        child
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_are_alike_are_one_mapping() {
        let mut t = VmaTable::default();
        t.insert(Vma::anonymous(0x10000, 0x12000, PROT_READ));
        t.insert(Vma::anonymous(0x14000, 0x16000, PROT_READ));
        assert_eq!(t.count(), 2);
        t.insert(Vma::anonymous(0x12000, 0x14000, PROT_READ));
        assert_eq!(t.count(), 1);
        assert_eq!(t.total(), 0x6000);
    }

    #[test]
    fn a_hole_splits_and_protection_splits_and_joins_again() {
        let mut t = VmaTable::default();
        t.insert(Vma::anonymous(0x10000, 0x16000, PROT_READ));
        t.remove(0x12000, 0x13000);
        assert_eq!(t.count(), 2);
        assert!(!t.is_covered(0x10000, 0x16000));
        assert_eq!(t.covered_to(0x10000, 0x16000), 0x12000);
        t.insert(Vma::anonymous(0x12000, 0x13000, PROT_READ));
        t.change(0x11000, 0x12000, |v| v.prot = PROT_ALL);
        assert_eq!(t.count(), 3);
        t.change(0x11000, 0x12000, |v| v.prot = PROT_READ);
        assert_eq!(t.count(), 1);
    }
}
