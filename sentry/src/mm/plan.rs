//! What mmap, munmap, mprotect, mremap, madvise and brk mean for the table: checks in the order of Linux, then a
//! [`Plan`].

use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::{Action, GUEST_HIGHEST, STUB_RANGE};

use super::account;
use super::placement::is_guest_range;
use super::space::Plan;
use super::vma::{page_up, Backing, VmFlags, VmName, Vma, VmaTable, PAGE, PROT_ALL, PROT_WRITE};

/// Where a mapping is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// At the address if it is free, else anywhere.
    Hint(u64),
    /// In the low 2 GiB (`MAP_32BIT`).
    Low(u64),
    /// There, in place of what is there (`MAP_FIXED`).
    Fixed(u64),
    /// There, or `EEXIST` (`MAP_FIXED_NOREPLACE`).
    FixedFree(u64),
}

/// The limits that count for an operation.
#[derive(Clone, Copy, Debug)]
pub struct MemLimits {
    pub address_space: u64,
    pub data: u64,
}

/// A mapping to make. `start` and `end` of `vma` are filled in by the plan: give it as `0..len`.
pub struct NewMap {
    pub vma: Vma,
    pub at: Where,
    /// The descriptor that the host maps, and whether the host's mapping is shared too.
    pub host_file: Option<(Arc<OwnedFd>, bool)>,
}

/// Splits a range around the platform's own.
fn outside_stub(start: u64, end: u64) -> Vec<(u64, u64)> {
    let parts = [(start, end.min(STUB_RANGE.start)), (start.max(STUB_RANGE.end), end)];
    if start < STUB_RANGE.end && STUB_RANGE.start < end {
        parts.into_iter().filter(|p| p.0 < p.1).collect()
    } else {
        vec![(start, end)]
    }
}

impl VmaTable {
    fn check_data(&self, more: u64, limits: &MemLimits) -> Result<()> {
        if limits.data != u64::MAX && self.totals().data.saturating_add(more) > limits.data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// mmap(2). The value is the address.
    pub fn plan_map(&mut self, new: NewMap, limits: &MemLimits) -> Result<Plan> {
        let NewMap { mut vma, at, host_file } = new;
        let len = vma.end;
        let replaced = match at {
            Where::Fixed(a) => self.overlapping(a, a.saturating_add(len)).map(Vma::len).sum(),
            _ => 0,
        };
        self.check_room(len.saturating_sub(replaced), 2, limits.address_space)?;
        if vma.is_data() {
            self.check_data(len, limits)?;
        }
        let start = match at {
            Where::Hint(a) => self.place(a, len, false).ok_or(Errno::ENOMEM)?,
            Where::Low(a) => self.place(a, len, true).ok_or(Errno::ENOMEM)?,
            Where::Fixed(a) | Where::FixedFree(a) => {
                if !is_guest_range(a, len) {
                    return Err(if a < platform::GUEST_LOWEST { Errno::EPERM } else { Errno::ENOMEM });
                }
                if matches!(at, Where::FixedFree(_)) && self.overlapping(a, a + len).next().is_some() {
                    return Err(Errno::EEXIST);
                }
                a
            }
        };
        (vma.start, vma.end) = (start, start + len);
        let host_shared = host_file.as_ref().is_some_and(|f| f.1);
        let mut flags = if host_shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        if host_file.is_none() {
            flags |= libc::MAP_ANONYMOUS;
        }
        if vma.flags.contains(VmFlags::NORESERVE) {
            flags |= libc::MAP_NORESERVE;
        }
        let offset = vma.file.as_ref().map_or(0, |f| f.offset);
        // Memory that is not to be reserved is promised to nobody, unless nothing but promises is counted.
        let costs = vma.costs() && (account::strict() || !vma.flags.contains(VmFlags::NORESERVE));
        let cost = if costs { len.saturating_sub(self.charged_in(start, start + len)) } else { 0 };
        let action = Action::Map {
            addr: start,
            len,
            prot: vma.prot,
            flags,
            file: host_file.map(|(fd, _)| (fd, offset)),
        };
        Ok(Plan {
            ranges: vec![(start, start + len)],
            actions: vec![action],
            cost,
            commit: Box::new(move |t| {
                t.insert(vma);
                Ok(start)
            }),
        })
    }

    /// munmap(2).
    pub fn plan_unmap(&mut self, start: u64, len: u64) -> Result<Plan> {
        let end = range_end(start, len).ok_or(Errno::EINVAL)?;
        if len == 0 || end > GUEST_HIGHEST {
            return Err(Errno::EINVAL);
        }
        if self.overlapping(start, end).next().is_none() && !self.is_busy(start, end) {
            return Ok(Plan::done(0));
        }
        self.check_room(0, 1, u64::MAX)?;
        let parts = outside_stub(start, end);
        Ok(Plan {
            actions: parts.iter().map(|p| Action::Unmap { addr: p.0, len: p.1 - p.0 }).collect(),
            ranges: parts,
            cost: 0,
            commit: Box::new(move |t| {
                drop(t.remove(start, end));
                Ok(0)
            }),
        })
    }

    /// mprotect(2). Up to a hole it takes effect, then it is `ENOMEM`.
    pub fn plan_protect(&mut self, start: u64, len: u64, prot: i32, limits: &MemLimits) -> Result<Plan> {
        if len == 0 {
            return Ok(Plan::done(0));
        }
        let end = range_end(start, len).ok_or(Errno::ENOMEM)?;
        if self.is_busy(start, end) {
            return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
        }
        let to = self.covered_to(start, end);
        if to <= start {
            return Err(Errno::ENOMEM);
        }
        if self.overlapping(start, to).any(|v| prot & !v.max_prot != 0) {
            return Err(Errno::EACCES);
        }
        if self.overlapping(start, to).all(|v| v.prot == prot) && to == end {
            return Ok(Plan::done(0));
        }
        self.check_room(0, 2, u64::MAX)?;
        if prot & PROT_WRITE != 0 && limits.data != u64::MAX {
            let more = self
                .overlapping(start, to)
                .filter(|v| !v.shared() && !v.is_data())
                .map(|v| v.end.min(to) - v.start.max(start))
                .sum();
            self.check_data(more, limits)?;
        }
        Ok(Plan {
            ranges: vec![(start, to)],
            actions: vec![Action::Protect { addr: start, len: to - start, prot }],
            cost: if account::strict() && prot & PROT_WRITE != 0 { self.uncharged(start, to) } else { 0 },
            commit: Box::new(move |t| {
                t.change(start, to, |v| v.prot = prot);
                if to < end {
                    Err(Errno::ENOMEM)
                } else {
                    Ok(0)
                }
            }),
        })
    }

    /// madvise(2), for advice that the host is to hear.
    pub fn plan_advise(&mut self, start: u64, len: u64, advice: i32) -> Result<Plan> {
        let end = range_end(start, len).ok_or(Errno::EINVAL)?;
        if self.is_busy(start, end) {
            return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
        }
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for v in self.overlapping(start, end) {
            let (a, b) = (v.start.max(start), v.end.min(end));
            if v.flags.contains(VmFlags::LOCKED) && matches!(advice, libc::MADV_DONTNEED | libc::MADV_FREE) {
                return Err(Errno::EINVAL);
            }
            match parts.last_mut() {
                Some(p) if p.1 == a => p.1 = b,
                _ => parts.push((a, b)),
            }
        }
        let whole = parts == [(start, end)];
        let result = if whole { Ok(0) } else { Err(Errno::ENOMEM) };
        Ok(Plan {
            actions: parts.iter().map(|p| Action::Advise { addr: p.0, len: p.1 - p.0, advice }).collect(),
            ranges: parts,
            cost: 0,
            commit: Box::new(move |_| result),
        })
    }

    /// brk(2): the value is the new break, or the old one where it cannot be moved.
    pub fn plan_brk(&mut self, to: u64, limits: &MemLimits) -> Result<Plan> {
        let (start, old) = (self.layout.brk_start, self.layout.brk);
        if to < start || to == old || start == 0 {
            return Ok(Plan::done(old));
        }
        let (Some(from), Some(end)) = (page_up(old), page_up(to)) else { return Ok(Plan::done(old)) };
        // All moves of the break meet on its first page, and so one after the other.
        let ranges = vec![(start, from.max(end).max(start + 1))];
        if self.is_busy(ranges[0].0, ranges[0].1) {
            return Ok(Plan { ranges, ..Plan::done(old) });
        }
        if end == from {
            self.layout.brk = to;
            return Ok(Plan::done(to));
        }
        if to < old {
            return Ok(Plan {
                ranges,
                actions: vec![Action::Unmap { addr: end, len: from - end }],
                cost: 0,
                commit: Box::new(move |t| {
                    drop(t.remove(end, from));
                    t.layout.brk = to;
                    Ok(to)
                }),
            });
        }
        let room = self.check_room(end - from, 1, limits.address_space).is_ok()
            && (limits.data == u64::MAX || to - start <= limits.data)
            && is_guest_range(from, end - from)
            && self.overlapping(from, end + PAGE).next().is_none();
        if !room {
            return Ok(Plan::done(old));
        }
        let mut vma = Vma::anonymous(from, end, libc::PROT_READ | PROT_WRITE);
        vma.name = VmName::Heap;
        Ok(Plan {
            ranges,
            actions: vec![Action::Map {
                addr: from,
                len: end - from,
                prot: vma.prot,
                flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                file: None,
            }],
            cost: end - from,
            commit: Box::new(move |t| {
                t.insert(vma);
                t.layout.brk = to;
                Ok(to)
            }),
        })
    }

    /// mremap(2). With `try_in_place` a mapping that has room behind it grows there.
    pub fn plan_remap(&mut self, r: &Remap, try_in_place: bool, limits: &MemLimits) -> Result<Plan> {
        let (old, old_len, new_len) = (r.old, r.old_len, r.new_len);
        let old_end = old.checked_add(old_len).ok_or(Errno::EINVAL)?;
        if self.is_busy(old, old_end) {
            return Ok(Plan { ranges: vec![(old, old_end)], ..Plan::done(0) });
        }
        let vma = self.find(old).ok_or(Errno::EFAULT)?.clone();
        if r.fixed.is_none() && !r.keep_old && new_len <= old_len {
            if !self.is_covered(old, old_end) {
                return Err(Errno::EFAULT);
            }
            if new_len == old_len {
                return Ok(Plan::done(old));
            }
            let mut plan = self.plan_unmap(old + new_len, old_len - new_len)?;
            let inner = plan.commit;
            plan.commit = Box::new(move |t| inner(t).map(|_| old));
            return Ok(plan);
        }
        if vma.end < old_end || vma.name == VmName::Vdso || vma.name == VmName::Vvar {
            return Err(Errno::EFAULT);
        }
        if r.keep_old && vma.file.is_some() && !vma.shared() {
            return Err(Errno::EINVAL);
        }
        let grown = if r.keep_old { new_len } else { new_len.saturating_sub(old_len) };
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
            let mut whole = vma.split_at_copy(old);
            whole.end = old + new_len;
            return Ok(Plan {
                ranges: vec![(old, old + new_len)],
                actions: vec![Action::Remap { old, old_len, new: old, new_len, keep_old: false }],
                cost,
                commit: Box::new(move |t| {
                    t.insert(whole);
                    Ok(old)
                }),
            });
        }
        let new = match r.fixed {
            Some(new) => {
                if !is_guest_range(new, new_len) || (new < old_end && old < new.saturating_add(new_len)) {
                    return Err(Errno::EINVAL);
                }
                new
            }
            None if r.may_move => self.place(r.hint, new_len, false).ok_or(Errno::ENOMEM)?,
            None => return Err(Errno::ENOMEM),
        };
        let mut actions = Vec::new();
        let kept_len = old_len.min(new_len);
        if kept_len < old_len {
            actions.push(Action::Unmap { addr: old + kept_len, len: old_len - kept_len });
        }
        actions.push(Action::Remap { old, old_len: kept_len, new, new_len, keep_old: r.keep_old });
        let mut moved = vma.split_at_copy(old);
        (moved.start, moved.end) = (new, new + new_len);
        let keep_old = r.keep_old;
        Ok(Plan {
            ranges: vec![(old, old_end), (new, new + new_len)],
            actions,
            cost,
            commit: Box::new(move |t| {
                if keep_old {
                    t.change(old, old_end, |v| v.flags.remove(VmFlags::LOCKED));
                } else {
                    drop(t.remove(old, old_end));
                }
                t.insert(moved);
                Ok(new)
            }),
        })
    }
}

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

impl Vma {
    /// A copy that begins at `at`, which lies inside.
    fn split_at_copy(&self, at: u64) -> Vma {
        let mut v = self.clone();
        if let Some(f) = &mut v.file {
            f.offset = f.offset.wrapping_add(at - self.start);
        }
        v.start = at;
        v
    }
}

/// The end of a range whose length is rounded up to pages.
pub fn range_end(start: u64, len: u64) -> Option<u64> {
    start.checked_add(page_up(len)?)
}

/// A new shared anonymous object: a memfd of ours, so that fork children share it.
pub fn shared_anonymous(len: u64) -> Result<Arc<SharedAnonymous>> {
    let paid =
        if account::strict() { account::reserve(len).ok_or(Errno::ENOMEM)? } else { Default::default() };
    let fd = rustix::fs::memfd_create("shared-anonymous", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|e| Errno(e.raw_os_error()))?;
    rustix::fs::ftruncate(&fd, len).map_err(|e| Errno(e.raw_os_error()))?;
    Ok(Arc::new(SharedAnonymous { fd: Arc::new(fd), _paid: paid }))
}

/// Memory of `MAP_SHARED | MAP_ANONYMOUS`.
pub struct SharedAnonymous {
    fd: Arc<OwnedFd>,
    /// Where mappings are paid for in advance: its whole length, once, however many map it.
    _paid: account::Reserved,
}

impl SharedAnonymous {
    /// It as the backing of a mapping, with its descriptor.
    pub fn backing(self: &Arc<Self>) -> (Backing, Arc<OwnedFd>) {
        (Backing { map: self.clone(), offset: 0, anonymous: true }, self.fd.clone())
    }
}

impl super::Mappable for SharedAnonymous {
    fn descriptor(&self, _shared: bool, _writable: bool) -> Result<Arc<OwnedFd>> {
        Ok(self.fd.clone())
    }
    fn identity(&self) -> (u64, u64) {
        (1, 1024)
    }
    fn name(&self) -> String {
        "/dev/zero (deleted)".to_owned()
    }
}

/// The rights that a mapping of a file may ever have: a shared one of a file not open for writing never gets them.
pub fn max_prot(shared: bool, file_writable: bool) -> i32 {
    if shared && !file_writable {
        PROT_ALL & !PROT_WRITE
    } else {
        PROT_ALL
    }
}
