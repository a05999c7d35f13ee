//! What a program says of its memory besides mapping it: madvise(2), mlock(2), msync(2), mincore(2), membarrier(2) and
//! memory policies.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::args::user_range;
use super::event_fds::pidfd_group;
use super::memory::{aligned, may_lock, page_up_or_wrap};
use super::memory_peer::{own_iovecs, peer};
use crate::cred::cap;
use crate::kernel::mm_ops::{self, limits};
use crate::kernel::{Ctx, Stop, SysResult};
use crate::mm::plan::advise::{self, Lock};
use crate::mm::vma::{page_up, VmFlags, PAGE};
use crate::mm::{Mappable, UserPtr};

/// An aligned range whose length is rounded up (`EINVAL`).
fn range(addr: u64, len: u64) -> Result<(u64, u64)> {
    if !aligned(addr) {
        return Err(Errno::EINVAL);
    }
    let len = page_up(len).ok_or(Errno::EINVAL)?;
    addr.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok((addr, len))
}

/// madvise(2).
pub fn madvise(cx: &mut Ctx<'_>, addr: u64, len: u64, advice: i32) -> SysResult {
    if !advise::is_known(advice) {
        return Err(Errno::EINVAL.into());
    }
    let (addr, len) = range(addr, len)?;
    if len == 0 {
        return Ok(0);
    }
    if advice == libc::MADV_REMOVE {
        return remove_pages(cx, addr, addr + len);
    }
    mm_ops::run(cx, |t| {
        let mut plan = t.plan_advise(&[(addr, len)], advice)?;
        let inner = plan.commit;
        plan.commit = Box::new(move |t| inner(t).map(|_| 0));
        Ok(plan)
    })
}

/// `MADV_REMOVE`: holes in the shared objects behind the mappings.
fn remove_pages(cx: &Ctx<'_>, addr: u64, end: u64) -> SysResult {
    let mm = cx.task.mm();
    let (advised, files) = mm.with_table(|t| {
        let advised = t.advised(addr, end, libc::MADV_REMOVE);
        let mut files: Vec<(Arc<dyn Mappable>, u64, u64)> = Vec::new();
        for (from, to) in &advised.pieces {
            for v in t.overlapping(*from, *to) {
                if let Some(f) = &v.file {
                    let (a, b) = (v.start.max(*from), v.end.min(*to));
                    files.push((f.map.clone(), f.offset + (a - v.start), b - a));
                }
            }
        }
        (advised, files)
    });
    for (map, offset, len) in files {
        let fd = map.descriptor(true, true)?;
        let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&*fd, mode, offset, len).map_err(|e| Errno(e.raw_os_error()))?;
    }
    advised.result?;
    Ok(0)
}

/// process_madvise(2). Another process's memory takes only advice that shows in nothing but speed: it is checked, and the
/// host is not told.
pub fn process_madvise(
    cx: &mut Ctx<'_>,
    pidfd: i32,
    list: u64,
    count: u64,
    advice: i32,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let list = own_iovecs(cx, list, count)?;
    let group = pidfd_group(cx, pidfd)?;
    let mm = peer(cx, group.pid).map_err(|e| if e == Errno::ESRCH { e } else { Errno::EPERM })?;
    let own = Arc::ptr_eq(&mm, &cx.task.mm());
    if !own && !matches!(advice, advise::MADV_COLD | advise::MADV_PAGEOUT | libc::MADV_WILLNEED) {
        return Err(Errno::EINVAL.into());
    }
    if !own && !cx.task.cred().has(cap::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let mut ranges = Vec::new();
    let mut wrong = None;
    for (addr, len) in list {
        match range(addr, len).and_then(|r| advise::is_known(advice).then_some(r).ok_or(Errno::EINVAL)) {
            Ok(r) => ranges.push(r),
            Err(e) => {
                wrong = Some(e);
                break;
            }
        }
    }
    if let (true, Some(e)) = (ranges.is_empty(), wrong) {
        return Err(e.into());
    }
    if own && advice != libc::MADV_REMOVE {
        return mm_ops::run(cx, |t| t.plan_advise(&ranges, advice));
    }
    let mut taken = 0;
    for (addr, len) in ranges {
        let done = if own {
            remove_pages(cx, addr, addr + len)
        } else {
            mm.with_table(|t| t.advised(addr, addr + len, advice)).result.map(|()| 0).map_err(Stop::from)
        };
        match done {
            Ok(_) => taken += len,
            Err(e) if taken == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(taken)
}

/// msync(2). Shared mappings are the host's own page cache, so only `MS_SYNC` has anything to do.
pub fn msync(cx: &mut Ctx<'_>, addr: u64, len: u64, flags: i32) -> SysResult {
    let known = libc::MS_ASYNC | libc::MS_INVALIDATE | libc::MS_SYNC;
    if flags & !known != 0 || flags & libc::MS_ASYNC != 0 && flags & libc::MS_SYNC != 0 || !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = addr.checked_add(page_up_or_wrap(len)).ok_or(Errno::ENOMEM)?;
    let mm = cx.task.mm();
    let (covered, locked, files) = mm.with_table(|t| {
        let files: Vec<Arc<dyn Mappable>> = t
            .overlapping(addr, end)
            .filter(|v| v.shared() && v.max_prot & libc::PROT_WRITE != 0)
            .filter_map(|v| v.file.as_ref().filter(|f| !f.anonymous).map(|f| f.map.clone()))
            .collect();
        let locked = t.overlapping(addr, end).any(|v| v.flags.contains(VmFlags::LOCKED));
        (t.is_covered(addr, end), locked, files)
    });
    if flags & libc::MS_INVALIDATE != 0 && locked {
        return Err(Errno::EBUSY.into());
    }
    if flags & libc::MS_SYNC != 0 {
        for f in files {
            let fd = f.descriptor(true, true)?;
            rustix::fs::fdatasync(&*fd).map_err(|e| Errno(e.raw_os_error()))?;
        }
    }
    if covered {
        Ok(0)
    } else {
        Err(Errno::ENOMEM.into())
    }
}

/// Locks are counted, and the pages filled in; the host locks nothing, since it has nowhere to put them out to that the
/// guest could see.
fn lock(cx: &mut Ctx<'_>, addr: u64, len: u64, how: Lock) -> SysResult {
    if how != Lock::Off {
        may_lock(cx)?;
    }
    let start = addr & !(PAGE - 1);
    let len = page_up_or_wrap(len.wrapping_add(addr - start));
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if start == end {
        return Ok(0);
    }
    let limits = limits(cx.task);
    mm_ops::run(cx, |t| t.plan_lock(start, end, how, &limits))
}

/// mlock(2).
pub fn mlock(cx: &mut Ctx<'_>, addr: u64, len: u64) -> SysResult {
    lock(cx, addr, len, Lock::Now)
}

/// mlock2(2).
pub fn mlock2(cx: &mut Ctx<'_>, addr: u64, len: u64, flags: u32) -> SysResult {
    const MLOCK_ONFAULT: u32 = 1;
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock(cx, addr, len, if flags == 0 { Lock::Now } else { Lock::OnFault })
}

/// munlock(2).
pub fn munlock(cx: &mut Ctx<'_>, addr: u64, len: u64) -> SysResult {
    lock(cx, addr, len, Lock::Off)
}

/// mlockall(2).
pub fn mlockall(cx: &mut Ctx<'_>, flags: i32) -> SysResult {
    let known = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    if flags == 0 || flags & !known != 0 || flags == libc::MCL_ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    may_lock(cx)?;
    let how = if flags & libc::MCL_ONFAULT == 0 { Lock::Now } else { Lock::OnFault };
    let current = (flags & libc::MCL_CURRENT != 0).then_some(how);
    let future = if flags & libc::MCL_FUTURE == 0 { Lock::Off } else { how };
    let limits = limits(cx.task);
    mm_ops::run(cx, |t| t.plan_lock_all(current, future, &limits))
}

/// munlockall(2).
pub fn munlockall(cx: &mut Ctx<'_>) -> SysResult {
    let limits = limits(cx.task);
    mm_ops::run(cx, |t| t.plan_lock_all(Some(Lock::Off), Lock::Off, &limits))
}

/// mincore(2).
pub fn mincore(cx: &mut Ctx<'_>, addr: u64, len: u64, vec: UserPtr<u8>) -> SysResult {
    /// Pages looked at in one go.
    const CHUNK: u64 = 4096;
    if !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if end > platform::GUEST_HIGHEST {
        return Err(Errno::ENOMEM.into());
    }
    user_range(vec.addr(), (end - addr) / PAGE)?;
    let mm = cx.task.mm();
    let (mut from, mut at) = (addr, vec.addr());
    while from < end {
        let to = end.min(from + CHUNK * PAGE);
        let bytes = mm.resident(from, to)?;
        cx.mem.write(at, &bytes)?;
        at = at.wrapping_add(bytes.len() as u64);
        from = to;
    }
    Ok(0)
}

/// Commands of membarrier(2).
mod barrier {
    pub const QUERY: i32 = 0;
    pub const GLOBAL: i32 = 1;
    pub const GLOBAL_EXPEDITED: i32 = 2;
    pub const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
    pub const PRIVATE_EXPEDITED: i32 = 8;
    pub const REGISTER_PRIVATE_EXPEDITED: i32 = 16;
    pub const PRIVATE_EXPEDITED_SYNC_CORE: i32 = 32;
    pub const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: i32 = 64;
    pub const GET_REGISTRATIONS: i32 = 512;
    /// All of these; those for restartable sequences are not among them, as on a kernel without.
    pub const ALL: i32 = 639;
}

/// membarrier(2). The stub makes the private ones; the expedited global one is made as the plain global one, which is
/// slower and stronger, and sends no interrupt to processors of others.
pub fn membarrier(cx: &mut Ctx<'_>, command: i32, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let register = |bit: i32| cx.task.mm().change_table(|t| t.barriers |= bit);
    match command {
        barrier::QUERY => Ok(barrier::ALL as u64),
        barrier::REGISTER_GLOBAL_EXPEDITED => {
            register(command);
            Ok(0)
        }
        barrier::REGISTER_PRIVATE_EXPEDITED | barrier::REGISTER_PRIVATE_EXPEDITED_SYNC_CORE => {
            register(command);
            Err(Stop::Local)
        }
        barrier::GLOBAL
        | barrier::GLOBAL_EXPEDITED
        | barrier::PRIVATE_EXPEDITED
        | barrier::PRIVATE_EXPEDITED_SYNC_CORE => Err(Stop::Local),
        barrier::GET_REGISTRATIONS => Ok(cx.task.mm().with_table(|t| t.barriers) as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}

const MPOL_DEFAULT: i32 = 0;
const MPOL_MAX: i32 = 6;
const MPOL_MF_MOVE_ALL: u32 = 4;
const MPOL_F_NODE: u64 = 1;
const MPOL_F_ADDR: u64 = 2;
const MPOL_F_MEMS_ALLOWED: u64 = 4;

/// get_mempolicy(2) on a machine with one node.
pub fn get_mempolicy(
    cx: &mut Ctx<'_>,
    mode: UserPtr<i32>,
    mask: u64,
    max_node: u64,
    addr: u64,
    flags: u64,
) -> SysResult {
    if flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0 || (mask != 0 && max_node < 1) {
        return Err(Errno::EINVAL.into());
    }
    if flags & MPOL_F_ADDR != 0 {
        cx.task.mm().find(addr).ok_or(Errno::EFAULT)?;
    } else if addr != 0 {
        return Err(Errno::EINVAL.into());
    }
    mode.write_opt(&cx.mem, &MPOL_DEFAULT)?;
    if mask != 0 {
        let bytes = (max_node.min(4096).div_ceil(64) * 8) as usize;
        let mut nodes = vec![0u8; bytes.max(8)];
        if flags & MPOL_F_MEMS_ALLOWED != 0 {
            nodes[0] = 1;
        }
        cx.mem.write(mask, &nodes)?;
    }
    Ok(0)
}

/// A policy and its nodes, of which there is one: `EINVAL` where they do not go together (mm/mempolicy.c).
fn check_policy(cx: &Ctx<'_>, mode: i32, mask: u64, max_node: u64) -> Result<()> {
    const MODE_FLAGS: i32 = 0xe000;
    const MPOL_PREFERRED: i32 = 1;
    const MPOL_LOCAL: i32 = 4;
    const MAX_BITS: u64 = PAGE * 8;
    let mode = mode & !MODE_FLAGS;
    if !(0..=MPOL_MAX).contains(&mode) {
        return Err(Errno::EINVAL);
    }
    // The mask has one bit less than its length says.
    let bits = max_node.wrapping_sub(1);
    let mut nodes = Vec::new();
    if bits != 0 && mask != 0 {
        if bits > MAX_BITS {
            return Err(Errno::EINVAL);
        }
        nodes = vec![0u8; bits.div_ceil(64) as usize * 8];
        cx.mem.read(mask, &mut nodes)?;
    }
    let first = nodes.first().is_some_and(|b| b & 1 != 0);
    let others = nodes.iter().enumerate().any(|(i, b)| b & if i == 0 { 0xfe } else { 0xff } != 0);
    let fits = match mode {
        MPOL_DEFAULT | MPOL_LOCAL => !first && !others,
        MPOL_PREFERRED => first || !others,
        _ => first,
    };
    fits.then_some(()).ok_or(Errno::EINVAL)
}

/// set_mempolicy(2): every policy is the same on one node.
pub fn set_mempolicy(cx: &mut Ctx<'_>, mode: i32, mask: u64, max_node: u64) -> SysResult {
    check_policy(cx, mode, mask, max_node)?;
    Ok(0)
}

/// mbind(2).
pub fn mbind(
    cx: &mut Ctx<'_>,
    addr: u64,
    len: u64,
    mode: i32,
    mask: u64,
    max_node: u64,
    flags: u32,
) -> SysResult {
    check_policy(cx, mode, mask, max_node)?;
    if flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !cx.task.cred().has(cap::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    if !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = addr.checked_add(page_up_or_wrap(len)).ok_or(Errno::EINVAL)?;
    if cx.task.mm().with_table(|t| t.is_covered(addr, end)) {
        Ok(0)
    } else {
        Err(Errno::EFAULT.into())
    }
}
