//! Where new mappings go. The sentry chooses every address: hints are honoured where free, everything else is placed
//! top-down below a randomised base, outside of the platform's own range and of what operations under way have.

use platform::{GUEST_HIGHEST, GUEST_LOWEST, STUB_RANGE};

use super::vma::{page_down, VmFlags, Vma, VmaTable, PAGE};

/// `MAP_32BIT` places in the second gigabyte (mmap(2)).
const LOW_RANGE: (u64, u64) = (0x4000_0000, 0x8000_0000);

/// What others keep free below a mapping that grows down (`stack_guard_gap`).
pub const GUARD_GAP: u64 = 256 * PAGE;

/// Whether `[start, start + len)` lies in guest addresses and outside the platform's own range.
pub fn is_guest_range(start: u64, len: u64) -> bool {
    let Some(end) = start.checked_add(len) else { return false };
    start >= GUEST_LOWEST && end <= GUEST_HIGHEST && !(start < STUB_RANGE.end && STUB_RANGE.start < end)
}

fn gap_below(v: &Vma) -> u64 {
    v.start.saturating_sub(GUARD_GAP)
}

impl VmaTable {
    /// A free range for `len` bytes: at `hint` where that is free, else the highest that fits below the base.
    pub fn place(&mut self, hint: u64, len: u64, low: bool) -> Option<u64> {
        // A hint below what may be mapped is one for the lowest that may (round_hint_to_min).
        let hint = match page_down(hint) {
            0 => 0,
            hint => hint.max(GUEST_LOWEST),
        };
        if low {
            if hint >= LOW_RANGE.0
                && hint.checked_add(len)? <= LOW_RANGE.1
                && self.is_free(hint, hint.checked_add(len)?)
                && self.growing_above(hint + len).is_none()
            {
                return Some(hint);
            }
            return self.search(LOW_RANGE.0, LOW_RANGE.1, len);
        }
        if hint != 0
            && is_guest_range(hint, len)
            && self.is_free(hint, hint + len)
            && self.growing_above(hint + len).is_none()
        {
            return Some(hint);
        }
        let top = self.mmap_top();
        let from = if len <= self.largest_above || self.search_from == 0 || self.search_from > top {
            self.largest_above = 0;
            top
        } else {
            self.search_from
        };
        if let Some(at) = self.search_noting(GUEST_LOWEST, from, len) {
            return Some(at);
        }
        // Nothing below the base: what is left above it, as Linux falls back to bottom-up.
        self.search(GUEST_LOWEST, GUEST_HIGHEST, len)
    }

    /// Like [`VmaTable::place`] with an alignment (programs whose segments ask for it).
    pub fn place_aligned(&mut self, len: u64, align: u64) -> Option<u64> {
        if align <= PAGE || !align.is_power_of_two() {
            return self.place(0, len, false);
        }
        let at = self.place(0, len.checked_add(align)?, false)?;
        at.checked_add(align - 1).map(|v| v & !(align - 1))
    }

    fn mmap_top(&self) -> u64 {
        match self.layout.mmap_top {
            0 => GUEST_HIGHEST,
            top => top,
        }
    }

    /// The highest free range of `len` in `[low, high)`.
    fn search(&self, low: u64, high: u64, len: u64) -> Option<u64> {
        let mut top = high;
        loop {
            let at = top.checked_sub(len).filter(|at| *at >= low)?;
            match self.highest_obstacle(at, top) {
                None => return Some(at),
                Some(start) => top = start,
            }
        }
    }

    /// [`VmaTable::search`], which remembers how large the holes are that it passed.
    fn search_noting(&mut self, low: u64, high: u64, len: u64) -> Option<u64> {
        let mut top = high;
        loop {
            let at = top.checked_sub(len).filter(|at| *at >= low)?;
            match self.highest_obstacle(at, top) {
                None => {
                    self.search_from = at;
                    return Some(at);
                }
                Some(start) => {
                    // The hole above the obstacle is shorter than `len`; how long exactly does not matter much.
                    self.largest_above = self.largest_above.max(len - PAGE);
                    top = start;
                }
            }
        }
    }

    /// The start of what stands highest in the way of a range.
    fn highest_obstacle(&self, start: u64, end: u64) -> Option<u64> {
        let mapped = self.map.range(..end).next_back().map(|(_, v)| v).filter(|v| v.end > start);
        let busy = self.busy.iter().filter(|b| b.1 < end && start < b.2).max_by_key(|b| b.2);
        let stub = (STUB_RANGE.start < end && start < STUB_RANGE.end).then_some(STUB_RANGE.start);
        // Where something below it comes too near, a mapping that grows begins so much further down.
        let growing = self.growing_above(end);
        let mapped = mapped.map(|v| if v.flags.contains(VmFlags::STACK) { gap_below(v) } else { v.start });
        [mapped, growing, busy.map(|b| b.1), stub].into_iter().flatten().max()
    }

    /// Where the distance begins that a mapping which grows down asks for, if that is before `end`, which it lies behind.
    fn growing_above(&self, end: u64) -> Option<u64> {
        let (_, v) = self.map.range(end..).next()?;
        Some(gap_below(v)).filter(|at| v.flags.contains(VmFlags::STACK) && *at < end)
    }

    /// A range has become free: placement must not pass it by.
    pub(super) fn note_hole(&mut self, start: u64, end: u64) {
        if end > self.search_from {
            let below = self.map.range(..start).next_back().map_or(GUEST_LOWEST, |(_, v)| v.end);
            let above = self.map.range(end..).next().map_or(GUEST_HIGHEST, |(k, _)| *k);
            self.largest_above = self.largest_above.max(above.saturating_sub(below));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vma::PROT_READ;
    use super::*;

    #[test]
    fn places_top_down_and_fills_holes_again() {
        let mut t = VmaTable::default();
        t.layout.mmap_top = 0x7fff_0000_0000;
        let a = t.place(0, 0x3000, false).unwrap();
        t.insert(Vma::anonymous(a, a + 0x3000, PROT_READ));
        assert_eq!(a, 0x7fff_0000_0000 - 0x3000);
        let b = t.place(0, 0x1000, false).unwrap();
        t.insert(Vma::anonymous(b, b + 0x1000, PROT_READ | 4));
        assert_eq!(b, a - 0x1000);
        t.remove(a, a + 0x2000);
        assert_eq!(t.place(0, 0x2000, false), Some(a));
        assert_eq!(t.place(0, 0x4000, false), Some(b - 0x4000));
        assert_eq!(t.place(0, 0x1000, false), Some(a + 0x1000));
    }

    #[test]
    fn never_in_the_platforms_range() {
        let mut t = VmaTable::default();
        t.layout.mmap_top = STUB_RANGE.end + 0x1000;
        assert_eq!(t.place(0, 0x2000, false), Some(STUB_RANGE.start - 0x2000));
        let inside = STUB_RANGE.start + 0x1000;
        assert_ne!(t.place(inside, 0x1000, false), Some(inside));
        assert!(!is_guest_range(inside, 0x1000));
        assert!(!is_guest_range(u64::MAX - 10, 100));
    }

    #[test]
    fn below_a_stack_there_is_room() {
        let mut t = VmaTable::default();
        t.layout.mmap_top = 0x7000_0000_0000;
        let mut stack = Vma::anonymous(0x6fff_ffff_0000, 0x7000_0000_0000, PROT_READ);
        stack.flags |= VmFlags::STACK;
        t.insert(stack);
        let at = t.place(0, 0x1000, false).unwrap();
        assert_eq!(at, 0x6fff_ffff_0000 - GUARD_GAP - 0x1000);
        assert_ne!(t.place(0x6fff_fffe_0000, 0x1000, false), Some(0x6fff_fffe_0000));
    }

    #[test]
    fn low_addresses_where_asked() {
        let mut t = VmaTable::default();
        t.layout.mmap_top = 0x7fff_0000_0000;
        assert_eq!(t.place(0, 0x1000, true), Some(0x8000_0000 - 0x1000));
        assert_eq!(t.place(0x5000_0000, 0x1000, false), Some(0x5000_0000));
    }
}
