//! What mmap, munmap, mprotect, brk and a growing stack mean for the table: checks in the order of Linux, then a
//! [`Plan`]. mremap is in [`remap`], madvise and mlock in [`advise`].

pub mod advise;
pub mod remap;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::{Action, GUEST_HIGHEST, STUB_RANGE};

use super::account;
use super::placement::{is_guest_range, GUARD_GAP};
use super::space::{Fill, Plan};
use super::vma::{
    page_down, page_up, Backing, VmFlags, VmName, Vma, VmaTable, PAGE, PROT_ALL, PROT_NONE, PROT_READ,
    PROT_WRITE,
};

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
    /// What may be locked; `u64::MAX` also for who may lock all.
    pub lock: u64,
    pub stack: u64,
}

/// A mapping to make. `start` and `end` of `vma` are filled in by the plan: give it as `0..len`.
pub struct NewMap {
    pub vma: Vma,
    pub at: Where,
    /// The descriptor that the host maps, and whether the host's mapping is shared too.
    pub host_file: Option<(Arc<OwnedFd>, bool)>,
    /// Its pages are to be there at once (`MAP_POPULATE`).
    pub populate: bool,
}

/// How far the stack grows beyond what is asked for.
const STACK_STEP: u64 = 1 << 20;

/// The advice by which the host fills pages in.
const MADV_POPULATE_READ: i32 = 22;
const MADV_POPULATE_WRITE: i32 = 23;

/// What fills a part of a mapping in as mlock(2) does; `None` where there is nothing to fill.
fn fill(v: &Vma, start: u64, end: u64) -> Option<Action> {
    let advice = match v.prot {
        // Reserved whole, and filled as it is used.
        _ if v.name == VmName::Stack => return None,
        prot if prot & PROT_WRITE != 0 && !v.shared() => MADV_POPULATE_WRITE,
        prot if prot & PROT_READ != 0 => MADV_POPULATE_READ,
        _ => return None,
    };
    Some(Action::Advise { addr: start, len: end - start, advice })
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

    /// `EAGAIN` where `more` bytes of locked memory are too many.
    fn check_lock(&self, more: u64, limits: &MemLimits) -> Result<()> {
        if limits.lock != u64::MAX && self.totals().locked.saturating_add(more) > limits.lock {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// mmap(2). The value is the address.
    pub fn plan_map(&mut self, new: NewMap, limits: &MemLimits) -> Result<Plan> {
        let NewMap { mut vma, at, host_file, populate } = new;
        vma.flags |= self.lock_future;
        let len = vma.end;
        let replaced = match at {
            Where::Fixed(a) => self.overlapping(a, a.saturating_add(len)).map(Vma::len).sum(),
            _ => 0,
        };
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
        if vma.flags.contains(VmFlags::LOCKED) {
            self.check_lock(len, limits)?;
        }
        self.check_room(len.saturating_sub(replaced), 2, limits.address_space)?;
        self.check_unsealed(start, start + len)?;
        if vma.is_data() {
            self.check_data(len, limits)?;
        }
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
        let locked = vma.flags & (VmFlags::LOCKED | VmFlags::LOCKONFAULT) == VmFlags::LOCKED;
        let mut actions = vec![action];
        actions.extend(if populate || locked { fill(&vma, start, start + len) } else { None });
        Ok(Plan {
            ranges: vec![(start, start + len)],
            fill: Fill { count: actions.len() - 1, failed: None },
            actions,
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
        self.check_unsealed(start, end)?;
        let parts = outside_stub(start, end);
        Ok(Plan {
            actions: parts.iter().map(|p| Action::Unmap { addr: p.0, len: p.1 - p.0 }).collect(),
            ranges: parts,
            cost: 0,
            fill: Fill::default(),
            commit: Box::new(move |t| {
                drop(t.remove(start, end));
                Ok(0)
            }),
        })
    }

    /// mprotect(2). What comes before a hole, or before a mapping that refuses, is changed; then it fails.
    pub fn plan_protect(&mut self, start: u64, len: u64, prot: i32, limits: &MemLimits) -> Result<Plan> {
        if len == 0 {
            return Ok(Plan::done(0));
        }
        let end = range_end(start, len).ok_or(Errno::ENOMEM)?;
        if self.is_busy(start, end) {
            return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
        }
        let (mut to, mut result) = (self.covered_to(start, end), Ok(0));
        if to < end {
            result = Err(Errno::ENOMEM);
        }
        let mut data = 0;
        for v in self.overlapping(start, to) {
            let more = v.end.min(to) - v.start.max(start);
            let becomes_data =
                prot & PROT_WRITE != 0 && !v.shared() && !v.is_data() && !v.flags.contains(VmFlags::STACK);
            let refused = if prot & !v.max_prot != 0 {
                Some(Errno::EACCES)
            } else if v.flags.contains(VmFlags::SEALED) {
                Some(Errno::EPERM)
            } else if becomes_data && self.check_data(data + more, limits).is_err() {
                Some(Errno::ENOMEM)
            } else {
                None
            };
            if let Some(e) = refused {
                (to, result) = (v.start.max(start), Err(e));
                break;
            }
            data += if becomes_data { more } else { 0 };
        }
        if to <= start || self.overlapping(start, to).all(|v| v.prot == prot) {
            return result.map(Plan::done);
        }
        self.check_room(0, 2, u64::MAX)?;
        Ok(Plan {
            ranges: vec![(start, to)],
            actions: vec![Action::Protect { addr: start, len: to - start, prot }],
            cost: if account::strict() && prot & PROT_WRITE != 0 { self.uncharged(start, to) } else { 0 },
            fill: Fill::default(),
            commit: Box::new(move |t| {
                t.change(start, to, |v| v.prot = prot);
                result
            }),
        })
    }

    /// Where mprotect(2) with `PROT_GROWSDOWN` begins.
    pub fn growing_start(&self, addr: u64, end: u64) -> Result<u64> {
        let v = self.find_after(addr).filter(|v| v.start < end).ok_or(Errno::ENOMEM)?;
        if v.flags.contains(VmFlags::STACK) {
            Ok(v.start)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// A fault at `addr`, where nothing is mapped: the mapping behind it grows down to it, if it is one that does. As
    /// `expand_downwards` of Linux, with the same distance to what lies below.
    pub fn plan_growth(&mut self, addr: u64, limits: &MemLimits) -> Result<Plan> {
        let start = page_down(addr);
        let above = self.find_after(addr).filter(|v| v.start > addr && v.flags.contains(VmFlags::STACK));
        let above = above.ok_or(Errno::EFAULT)?;
        // The stack of a program whose limit was raised grows by more than is asked for, so that signal frames and the
        // kernel's own stores, which do not make it grow, seldom meet its end.
        let ahead = start.saturating_sub(STACK_STEP);
        if above.name == VmName::Stack && ahead > 0 {
            let wide = self.plan_growth_to(ahead, addr, limits);
            if wide.is_ok() {
                return wide;
            }
        }
        self.plan_growth_to(start, addr, limits)
    }

    fn plan_growth_to(&self, start: u64, addr: u64, limits: &MemLimits) -> Result<Plan> {
        let above = self.find_after(addr).ok_or(Errno::EFAULT)?;
        if self.find_after(start).is_none_or(|v| v.start != above.start) {
            return Err(Errno::ENOMEM);
        }
        let (end, top) = (above.start, above.end);
        if self.is_busy(start, end) {
            return Ok(Plan { ranges: vec![(start, end)], ..Plan::done(0) });
        }
        let mut vma = above.clone();
        if vma.file.is_some() || !is_guest_range(start, end - start) || top - start > limits.stack {
            return Err(Errno::ENOMEM);
        }
        let near = self.find_before(start).filter(|v| start - v.end.min(start) < GUARD_GAP);
        if near.is_some_and(|v| v.prot != PROT_NONE && !v.flags.contains(VmFlags::STACK)) {
            return Err(Errno::ENOMEM);
        }
        self.check_room(end - start, 1, limits.address_space)?;
        if vma.flags.contains(VmFlags::LOCKED) {
            self.check_lock(end - start, limits)?;
        }
        (vma.start, vma.end) = (start, end);
        Ok(Plan {
            ranges: vec![(start, end)],
            actions: vec![Action::Map {
                addr: start,
                len: end - start,
                prot: vma.prot,
                flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                file: None,
            }],
            cost: if vma.costs() { end - start } else { 0 },
            fill: Fill::default(),
            commit: Box::new(move |t| {
                t.insert(vma);
                Ok(0)
            }),
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
            if self.check_unsealed(end, from).is_err() {
                return Ok(Plan::done(old));
            }
            return Ok(Plan {
                ranges,
                actions: vec![Action::Unmap { addr: end, len: from - end }],
                cost: 0,
                fill: Fill::default(),
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
            && self.overlapping(from, end + PAGE).next().is_none()
            && (self.lock_future.is_empty() || self.check_lock(end - from, limits).is_ok());
        if !room {
            return Ok(Plan::done(old));
        }
        let mut vma = Vma::anonymous(from, end, libc::PROT_READ | PROT_WRITE);
        vma.name = VmName::Heap;
        vma.flags |= self.lock_future;
        let mut actions = vec![Action::Map {
            addr: from,
            len: end - from,
            prot: vma.prot,
            flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            file: None,
        }];
        actions.extend(if vma.flags == VmFlags::LOCKED { fill(&vma, from, end) } else { None });
        Ok(Plan {
            ranges,
            fill: Fill { count: actions.len() - 1, failed: None },
            actions,
            cost: end - from,
            commit: Box::new(move |t| {
                t.insert(vma);
                t.layout.brk = to;
                Ok(to)
            }),
        })
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
    fn in_memory(&self) -> bool {
        true
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
