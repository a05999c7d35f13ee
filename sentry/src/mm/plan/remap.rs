//! mremap(2): growing, shrinking, moving, and mapping the same memory twice.

use linux_abi::{Errno, Result};
use platform::{Action, GUEST_HIGHEST};

use super::{fill, is_guest_range, MemLimits};
use crate::mm::space::{Fill, Plan};
use crate::mm::vma::{VmFlags, VmName, Vma, VmaTable, PROT_WRITE};

/// The arguments of mremap(2), rounded and checked for alignment.
#[derive(Clone, Copy, Debug)]
pub struct Remap {
    pub old: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub may_move: bool,
    pub fixed: Option<u64>,
    pub keep_old: bool,
    pub hint: u64,
}

impl VmaTable {
    /// mremap(2). With `try_in_place` a mapping that has room behind it grows there.
    pub fn plan_remap(&mut self, r: &Remap, try_in_place: bool, limits: &MemLimits) -> Result<Plan> {
        let (old, old_len, new_len) = (r.old, r.old_len, r.new_len);
        let old_end = old.checked_add(old_len).ok_or(Errno::EFAULT)?;
        let target = r.fixed.map(|new| (new, new.saturating_add(new_len)));
        // Linux looks at the hint of DONTUNMAP, too.
        let named = target.or(r.keep_old.then_some((r.hint, r.hint.saturating_add(new_len))));
        if new_len > GUEST_HIGHEST || named.is_some_and(|named| overlaps(named, (old, old_end))) {
            return Err(Errno::EINVAL);
        }
        if self.is_busy(old, old_end.max(old + 1)) {
            return Ok(Plan { ranges: vec![(old, old_end.max(old + 1))], ..Plan::done(0) });
        }
        if target.is_some_and(|(new, _)| !is_guest_range(new, new_len)) {
            return Err(Errno::EINVAL);
        }
        let vma = self.find(old).ok_or(Errno::EFAULT)?.clone();
        if let Some((new, end)) = target {
            if old_len == new_len && vma.end < old_end {
                return self.plan_move_many(r, new);
            }
            self.check_unsealed(new, end)?;
        }
        if vma.flags.contains(VmFlags::SEALED) {
            return Err(Errno::EPERM);
        }
        if old_len == 0 {
            return self.plan_second(r, vma, limits);
        }
        if r.fixed.is_none() && !r.keep_old && new_len <= old_len {
            return self.plan_shrink(r);
        }
        // What is cut off need not be of the same mapping.
        if vma.end < old + old_len.min(new_len) || is_platforms(&vma) {
            return Err(Errno::EFAULT);
        }
        self.check_unsealed(old, old_end)?;
        let grown = if r.keep_old { new_len } else { new_len.saturating_sub(old_len) };
        if vma.flags.contains(VmFlags::LOCKED) {
            self.check_lock(new_len.saturating_sub(old_len), limits)?;
        }
        self.check_room(grown, 3, limits.address_space)?;
        if vma.is_data() {
            self.check_data(grown, limits)?;
        }
        let cost = if vma.charge() > 0 { grown } else { 0 };
        let room_behind = || {
            vma.end == old_end
                && is_guest_range(old, new_len)
                && self.overlapping(old_end, old + new_len).next().is_none()
                && !self.is_busy(old_end, old + new_len)
        };
        if r.fixed.is_none() && !r.keep_old && try_in_place && room_behind() {
            let mut whole = vma.from(old);
            whole.end = old + new_len;
            let mut actions = vec![Action::Remap { old, old_len, new: old, new_len, keep_old: false }];
            actions.extend(fill_grown(&whole, old_end));
            return Ok(Plan {
                ranges: vec![(old, old + new_len)],
                fill: Fill { count: actions.len() - 1, failed: None },
                actions,
                cost,
                commit: Box::new(move |t| {
                    t.insert(whole);
                    Ok(old)
                }),
            });
        }
        let new = match r.fixed {
            Some(new) => new,
            None if r.may_move => self.place(r.hint, new_len, false).ok_or(Errno::ENOMEM)?,
            None => return Err(Errno::ENOMEM),
        };
        let mut actions = Vec::new();
        let kept_len = old_len.min(new_len);
        if kept_len < old_len {
            actions.push(Action::Unmap { addr: old + kept_len, len: old_len - kept_len });
        }
        actions.push(Action::Remap { old, old_len: kept_len, new, new_len, keep_old: r.keep_old });
        let sure = actions.len();
        let mut moved = vma.from(old);
        (moved.start, moved.end) = (new, new + new_len);
        if new_len > old_len {
            actions.extend(fill_grown(&moved, new + old_len));
        }
        let keep_old = r.keep_old;
        // What stays is no longer locked, and Linux means all of the mapping by that.
        let (left, left_end) = if keep_old { (vma.start, vma.end) } else { (old, old_end) };
        Ok(Plan {
            ranges: vec![(old, old_end), (new, new + new_len)],
            fill: Fill { count: actions.len() - sure, failed: None },
            actions,
            cost,
            commit: Box::new(move |t| {
                t.leave(left, left_end, keep_old);
                t.insert(moved);
                Ok(new)
            }),
        })
    }

    /// The same length, or less, where it is.
    fn plan_shrink(&mut self, r: &Remap) -> Result<Plan> {
        let old = r.old;
        if r.new_len == r.old_len {
            return Ok(Plan::done(old));
        }
        let mut plan = self.plan_unmap(old + r.new_len, r.old_len - r.new_len)?;
        let inner = plan.commit;
        plan.commit = Box::new(move |t| inner(t).map(|_| old));
        Ok(plan)
    }

    /// An old length of 0: shared memory is mapped a second time (mremap(2)).
    fn plan_second(&mut self, r: &Remap, vma: Vma, limits: &MemLimits) -> Result<Plan> {
        if !vma.shared() {
            return Err(Errno::EINVAL);
        }
        if is_platforms(&vma) {
            return Err(Errno::EFAULT);
        }
        if !r.may_move {
            return Err(Errno::ENOMEM);
        }
        if r.fixed.is_some_and(|new| (new..new + r.new_len).contains(&r.old)) {
            // Room is made first, and then there is nothing left to map.
            let mut plan = self.plan_unmap(r.fixed.unwrap_or(r.old), r.new_len)?;
            let inner = plan.commit;
            plan.commit = Box::new(move |t| inner(t).and(Err(Errno::EFAULT)));
            return Ok(plan);
        }
        if vma.flags.contains(VmFlags::LOCKED) {
            self.check_lock(r.new_len, limits)?;
        }
        self.check_room(r.new_len, 3, limits.address_space)?;
        let new = match r.fixed {
            Some(new) => new,
            None => self.place(0, r.new_len, false).ok_or(Errno::ENOMEM)?,
        };
        let mut second = vma.from(r.old);
        (second.start, second.end) = (new, new + r.new_len);
        let backing = second.file.as_ref().ok_or(Errno::EINVAL)?;
        let action = if second.max_prot & PROT_WRITE != 0 {
            Action::Remap { old: r.old, old_len: 0, new, new_len: r.new_len, keep_old: false }
        } else {
            // What may only be read is a private mapping on the host, which has no second one.
            Action::Map {
                addr: new,
                len: r.new_len,
                prot: second.prot,
                flags: libc::MAP_PRIVATE,
                file: Some((backing.map.descriptor(false, false)?, backing.offset)),
            }
        };
        Ok(Plan {
            ranges: vec![(r.old, r.old + 1), (new, new + r.new_len)],
            actions: vec![action],
            commit: Box::new(move |t| {
                t.insert(second);
                Ok(new)
            }),
            ..Plan::done(0)
        })
    }

    /// Several mappings, with holes between them, go to a fixed place as they are (since Linux 6.17).
    fn plan_move_many(&mut self, r: &Remap, new: u64) -> Result<Plan> {
        let (old, old_end) = (r.old, r.old + r.old_len);
        let parts: Vec<Vma> = self
            .overlapping(old, old_end)
            .map(|v| {
                let mut part = v.from(v.start.max(old));
                part.end = part.end.min(old_end);
                part
            })
            .collect();
        for part in &parts {
            if is_platforms(part) {
                return Err(Errno::EFAULT);
            }
            let to = part.start - old + new;
            if part.flags.contains(VmFlags::SEALED) {
                return Err(Errno::EPERM);
            }
            self.check_unsealed(to, to + part.len())?;
        }
        self.check_room(0, 2 * parts.len() + 2, u64::MAX)?;
        let actions = parts
            .iter()
            .map(|p| Action::Remap {
                old: p.start,
                old_len: p.len(),
                new: p.start - old + new,
                new_len: p.len(),
                keep_old: r.keep_old,
            })
            .collect();
        let keep_old = r.keep_old;
        let cost = if keep_old { parts.iter().map(Vma::charge).sum() } else { 0 };
        Ok(Plan {
            ranges: vec![(old, old_end), (new, new + r.new_len)],
            actions,
            cost,
            commit: Box::new(move |t| {
                for mut part in parts {
                    t.leave(part.start, part.end, keep_old);
                    (part.start, part.end) = (part.start - old + new, part.end - old + new);
                    t.insert(part);
                }
                Ok(new)
            }),
            ..Plan::done(0)
        })
    }

    /// What stays behind of a mapping that went elsewhere.
    fn leave(&mut self, start: u64, end: u64, keep: bool) {
        if keep {
            self.change(start, end, |v| v.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT));
        } else {
            drop(self.remove(start, end));
        }
    }
}

fn overlaps(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

fn is_platforms(v: &Vma) -> bool {
    v.name == VmName::Vdso || v.name == VmName::Vvar
}

/// What has come to a locked mapping behind `from` is filled in.
fn fill_grown(v: &Vma, from: u64) -> Option<Action> {
    let locked = v.flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED;
    fill(v, from, v.end).filter(|_| locked)
}

impl Vma {
    /// A copy that begins at `at`, which lies inside.
    fn from(&self, at: u64) -> Vma {
        let mut v = self.clone();
        if let Some(f) = &mut v.file {
            f.offset = f.offset.wrapping_add(at - self.start);
        }
        v.start = at;
        v
    }
}
