//! Memory: mmap(2) and its family. Flags and arguments are checked here; what they mean for the map is `mm::plan`'s.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::cred::cap;
use crate::kernel::{mm_ops, Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::plan::{self, MemLimits, NewMap, Remap, Where};
use crate::mm::vma::{page_up, Backing, VmFlags, VmName, Vma, PAGE, PROT_ALL};
use crate::mm::{Mappable, UserPtr};
use crate::syscalls::args::Fd;

/// Flags that mmap(2) knows; `MAP_SHARED_VALIDATE` refuses others.
const KNOWN_FLAGS: i32 = 0x0f
    | libc::MAP_FIXED
    | libc::MAP_ANONYMOUS
    | libc::MAP_32BIT
    | libc::MAP_GROWSDOWN
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_LOCKED
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_NONBLOCK
    | libc::MAP_STACK
    | libc::MAP_HUGETLB
    | libc::MAP_FIXED_NOREPLACE;
/// `PROT_SEM`, which has no effect on x86.
const PROT_SEM: i32 = 8;

fn limits(cx: &Ctx<'_>) -> MemLimits {
    MemLimits { address_space: cx.limit(resource::AS), data: cx.limit(resource::DATA) }
}

fn aligned(v: u64) -> bool {
    v.is_multiple_of(PAGE)
}

/// mmap(2).
pub fn mmap(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: i32, flags: i32, fd: Fd, offset: u64) -> SysResult {
    if !aligned(offset) || len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = page_up(len).filter(|l| *l <= platform::GUEST_HIGHEST).ok_or(Errno::ENOMEM)?;
    let prot = prot & (PROT_ALL | PROT_SEM) & !PROT_SEM;
    let shared = match flags & 0x0f {
        libc::MAP_PRIVATE => false,
        libc::MAP_SHARED => true,
        libc::MAP_SHARED_VALIDATE if flags & !KNOWN_FLAGS != 0 => return Err(Errno::EOPNOTSUPP.into()),
        libc::MAP_SHARED_VALIDATE => true,
        _ => return Err(Errno::EINVAL.into()),
    };
    let at = place(addr, flags)?;
    let mut vma = Vma::anonymous(0, len, prot);
    vma.flags.set(VmFlags::SHARED, shared);
    vma.flags.set(VmFlags::NORESERVE, flags & libc::MAP_NORESERVE != 0);
    if flags & libc::MAP_LOCKED != 0 {
        check_lock(cx, len)?;
        vma.flags |= VmFlags::LOCKED;
    }
    let mut host_file = None;
    if flags & libc::MAP_ANONYMOUS != 0 {
        if flags & libc::MAP_HUGETLB != 0 {
            // As with an empty pool of huge pages.
            return Err(Errno::ENOMEM.into());
        }
        if shared {
            let (backing, memfd) = plan::shared_anonymous(len)?.backing();
            vma.file = Some(backing);
            host_file = Some((memfd, true));
        }
    } else {
        let file = cx.file(fd.0)?;
        if flags & libc::MAP_HUGETLB != 0 {
            return Err(Errno::EINVAL.into());
        }
        if offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::EOVERFLOW.into());
        }
        if !file.readable() || (shared && prot & libc::PROT_WRITE != 0 && !file.writable()) {
            return Err(Errno::EACCES.into());
        }
        let map = file.ops.mappable(&file)?;
        // What may only be read is mapped privately on the host: the same pages, and no rights to win.
        let host_shared = shared && file.writable();
        host_file = Some((map.descriptor(host_shared, host_shared)?, host_shared));
        vma.max_prot = plan::max_prot(shared, file.writable());
        vma.file = Some(Backing { map, offset, anonymous: false });
    }
    let limits = limits(cx);
    mm_ops::run(cx, move |t| {
        t.plan_map(NewMap { vma: vma.clone(), at, host_file: host_file.clone() }, &limits)
    })
}

/// Where the flags want the mapping.
fn place(addr: u64, flags: i32) -> Result<Where> {
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE);
    if fixed != 0 && !aligned(addr) {
        return Err(Errno::EINVAL);
    }
    Ok(if flags & libc::MAP_FIXED_NOREPLACE != 0 {
        Where::FixedFree(addr)
    } else if fixed != 0 {
        Where::Fixed(addr)
    } else if flags & libc::MAP_32BIT != 0 {
        Where::Low(addr)
    } else {
        Where::Hint(addr)
    })
}

/// munmap(2).
pub fn munmap(cx: &mut Ctx<'_>, addr: u64, len: u64) -> SysResult {
    if !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let len = page_up(len).ok_or(Errno::EINVAL)?;
    mm_ops::run(cx, |t| t.plan_unmap(addr, len))
}

/// mprotect(2).
pub fn mprotect(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: i32) -> SysResult {
    let grows = prot & (libc::PROT_GROWSDOWN | libc::PROT_GROWSUP);
    let prot = prot & !(libc::PROT_GROWSDOWN | libc::PROT_GROWSUP);
    if grows == libc::PROT_GROWSDOWN | libc::PROT_GROWSUP || !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    if prot & !(PROT_ALL | PROT_SEM) != 0 || grows & libc::PROT_GROWSUP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = page_up(len).ok_or(Errno::ENOMEM)?;
    let limits = limits(cx);
    // PROT_GROWSDOWN reaches to the start of a mapping that grows (mprotect(2)): of ours only the stack does.
    let start = if grows != 0 { growing_start(cx, addr)? } else { addr };
    mm_ops::run(cx, |t| t.plan_protect(start, len + (addr - start), prot & PROT_ALL, &limits))
}

/// pkey_mprotect(2) without a key; keys there are none.
pub fn pkey_mprotect(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: i32, pkey: i32) -> SysResult {
    if pkey == -1 {
        mprotect(cx, addr, len, prot)
    } else {
        Err(Errno::EINVAL.into())
    }
}

/// pkey_alloc(2): the processor's keys are not offered.
pub fn pkey_alloc(_cx: &mut Ctx<'_>, _flags: u32, _rights: u32) -> SysResult {
    Err(Errno::ENOSPC.into())
}

/// pkey_free(2).
pub fn pkey_free(_cx: &mut Ctx<'_>, _pkey: i32) -> SysResult {
    Err(Errno::EINVAL.into())
}

fn growing_start(cx: &Ctx<'_>, addr: u64) -> Result<u64> {
    match cx.task.mm().find(addr) {
        Some(v) if v.name == VmName::Stack => Ok(v.start),
        Some(_) => Err(Errno::EINVAL),
        None => Err(Errno::ENOMEM),
    }
}

/// mremap(2).
pub fn mremap(cx: &mut Ctx<'_>, old: u64, old_len: u64, new_len: u64, flags: i32, new: u64) -> SysResult {
    let may_move = flags & libc::MREMAP_MAYMOVE != 0;
    let fixed = flags & libc::MREMAP_FIXED != 0;
    let keep_old = flags & libc::MREMAP_DONTUNMAP != 0;
    let known = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    if flags & !known != 0 || !aligned(old) || ((fixed || keep_old) && !may_move) {
        return Err(Errno::EINVAL.into());
    }
    let (Some(old_len), Some(new_len)) = (page_up(old_len), page_up(new_len)) else {
        return Err(Errno::EINVAL.into());
    };
    if new_len == 0 || (keep_old && old_len != new_len) || (fixed && !aligned(new)) || old_len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let r = Remap {
        old,
        old_len,
        new_len,
        may_move,
        fixed: fixed.then_some(new),
        keep_old,
        hint: if keep_old && !fixed { new } else { 0 },
    };
    let limits = limits(cx);
    mm_ops::run_or(
        cx,
        |t| t.plan_remap(&r, true, &limits),
        // The host could not grow it where it is (its own map may be cut finer than ours): move it.
        Box::new(move |cx, e| {
            if may_move && !fixed && !keep_old && new_len > old_len {
                cx.block.scratch = None;
                mm_ops::run(cx, |t| t.plan_remap(&r, false, &limits))
            } else {
                Err(e.into())
            }
        }),
    )
}

const MADV_COLD: i32 = 20;
const MADV_PAGEOUT: i32 = 21;
const MADV_POPULATE_READ: i32 = 22;
const MADV_POPULATE_WRITE: i32 = 23;

/// madvise(2).
pub fn madvise(cx: &mut Ctx<'_>, addr: u64, len: u64, advice: i32) -> SysResult {
    if !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let len = page_up(len).ok_or(Errno::EINVAL)?;
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    let mark = |flag: VmFlags, on: bool| (flag, on);
    let marked = match advice {
        // The host hears of neither: it could not take the first one back, since what keeps the platform's slots out
        // of fork children must not be undone. A fork child keeps the memory.
        libc::MADV_DONTFORK => Some(mark(VmFlags::DONTFORK, true)),
        libc::MADV_DOFORK => Some(mark(VmFlags::DONTFORK, false)),
        libc::MADV_DONTDUMP => Some(mark(VmFlags::DONTDUMP, true)),
        libc::MADV_DODUMP => Some(mark(VmFlags::DONTDUMP, false)),
        libc::MADV_MERGEABLE | libc::MADV_UNMERGEABLE => Some(mark(VmFlags::empty(), true)),
        libc::MADV_NORMAL
        | libc::MADV_RANDOM
        | libc::MADV_SEQUENTIAL
        | libc::MADV_WILLNEED
        | libc::MADV_DONTNEED
        | libc::MADV_FREE
        | libc::MADV_HUGEPAGE
        | libc::MADV_NOHUGEPAGE
        | libc::MADV_WIPEONFORK
        | libc::MADV_KEEPONFORK
        | MADV_COLD
        | MADV_PAGEOUT
        | MADV_POPULATE_READ
        | MADV_POPULATE_WRITE => None,
        libc::MADV_REMOVE => return remove_pages(cx, addr, len),
        _ => return Err(Errno::EINVAL.into()),
    };
    if len == 0 {
        return Ok(0);
    }
    if let Some((flag, on)) = marked {
        let mm = cx.task.mm();
        let covered = mm.change_table(|t| {
            t.change(addr, end, |v| v.flags.set(flag, on));
            t.is_covered(addr, end)
        });
        return if covered { Ok(0) } else { Err(Errno::ENOMEM.into()) };
    }
    mm_ops::run(cx, |t| t.plan_advise(addr, len, advice))
}

/// `MADV_REMOVE`: a hole in the shared object behind the mapping.
fn remove_pages(cx: &Ctx<'_>, addr: u64, len: u64) -> SysResult {
    let v = cx.task.mm().find(addr).ok_or(Errno::ENOMEM)?;
    let file = v.file.as_ref().filter(|_| v.shared()).ok_or(Errno::EINVAL)?;
    if v.max_prot & libc::PROT_WRITE == 0 {
        return Err(Errno::EACCES.into());
    }
    if v.end < addr + len {
        return Err(Errno::ENOMEM.into());
    }
    let fd = file.map.descriptor(true, true)?;
    let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&*fd, mode, file.offset + (addr - v.start), len)
        .map_err(|e| Errno(e.raw_os_error()))?;
    Ok(0)
}

/// brk(2).
pub fn brk(cx: &mut Ctx<'_>, to: u64) -> SysResult {
    let limits = limits(cx);
    let unmoved = |cx: &Ctx<'_>| Ok(cx.task.mm().with_table(|t| t.layout.brk));
    let moved = mm_ops::run_or(cx, |t| t.plan_brk(to, &limits), Box::new(move |cx, _| unmoved(cx)));
    match moved {
        // No memory left: the break stays where it is, which is how brk(2) fails.
        Err(Stop::Errno(Errno::ENOMEM)) => unmoved(cx),
        other => other,
    }
}

/// msync(2). Shared mappings are the host's own page cache, so only `MS_SYNC` has anything to do.
pub fn msync(cx: &mut Ctx<'_>, addr: u64, len: u64, flags: i32) -> SysResult {
    let known = libc::MS_ASYNC | libc::MS_INVALIDATE | libc::MS_SYNC;
    if flags & !known != 0 || flags & libc::MS_ASYNC != 0 && flags & libc::MS_SYNC != 0 || !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(Errno::ENOMEM)?;
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

/// Whether `more` bytes can be locked (mlock(2)); they are counted, the host locks nothing.
fn check_lock(cx: &Ctx<'_>, more: u64) -> Result<()> {
    if cx.task.cred().has(cap::IPC_LOCK) {
        return Ok(());
    }
    let limit = cx.limit(resource::MEMLOCK);
    if limit == 0 {
        return Err(Errno::EPERM);
    }
    if cx.task.mm().totals().locked.saturating_add(more) > limit {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

fn set_locked(cx: &Ctx<'_>, addr: u64, len: u64, on: bool) -> SysResult {
    let start = addr & !(PAGE - 1);
    let len = page_up(len.checked_add(addr - start).ok_or(Errno::EINVAL)?).ok_or(Errno::EINVAL)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    let mm = cx.task.mm();
    if on {
        let more = mm.with_table(|t| {
            let new = t.overlapping(start, end).filter(|v| !v.flags.contains(VmFlags::LOCKED));
            new.map(|v| v.end.min(end) - v.start.max(start)).sum()
        });
        check_lock(cx, more)?;
    }
    let covered = mm.change_table(|t| {
        t.change(start, end, |v| v.flags.set(VmFlags::LOCKED, on));
        t.is_covered(start, end)
    });
    if covered {
        Ok(0)
    } else {
        Err(Errno::ENOMEM.into())
    }
}

/// mlock(2).
pub fn mlock(cx: &mut Ctx<'_>, addr: u64, len: u64) -> SysResult {
    set_locked(cx, addr, len, true)
}

/// mlock2(2).
pub fn mlock2(cx: &mut Ctx<'_>, addr: u64, len: u64, flags: u32) -> SysResult {
    if flags & !1 != 0 {
        return Err(Errno::EINVAL.into());
    }
    set_locked(cx, addr, len, true)
}

/// munlock(2).
pub fn munlock(cx: &mut Ctx<'_>, addr: u64, len: u64) -> SysResult {
    set_locked(cx, addr, len, false)
}

/// mlockall(2).
pub fn mlockall(cx: &mut Ctx<'_>, flags: i32) -> SysResult {
    let known = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    if flags == 0 || flags & !known != 0 || flags == libc::MCL_ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let mm = cx.task.mm();
    let t = mm.totals();
    check_lock(cx, t.all - t.locked)?;
    if flags & libc::MCL_CURRENT != 0 {
        mm.change_table(|t| t.change(0, u64::MAX, |v| v.flags |= VmFlags::LOCKED));
    }
    Ok(0)
}

/// munlockall(2).
pub fn munlockall(cx: &mut Ctx<'_>) -> SysResult {
    cx.task.mm().change_table(|t| t.change(0, u64::MAX, |v| v.flags.remove(VmFlags::LOCKED)));
    Ok(0)
}

/// mincore(2): which pages are resident only the host knows; all that is mapped is said to be.
pub fn mincore(cx: &mut Ctx<'_>, addr: u64, len: u64, vec: UserPtr<u8>) -> SysResult {
    if !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if !cx.task.mm().with_table(|t| t.is_covered(addr, end)) {
        return Err(Errno::ENOMEM.into());
    }
    let mut pages = (end - addr) / PAGE;
    let mut at = vec.addr();
    let ones = [1u8; 4096];
    while pages > 0 {
        let n = pages.min(ones.len() as u64);
        cx.mem.write(at, &ones[..n as usize])?;
        at = at.wrapping_add(n);
        pages -= n;
    }
    Ok(0)
}

/// `struct iovec`s of a process_vm call: at most `IOV_MAX`.
fn iovecs(cx: &Ctx<'_>, addr: u64, count: u64) -> Result<Vec<(u64, u64)>> {
    if count > 1024 {
        return Err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; count as usize * 16];
    cx.mem.read(addr, &mut raw)?;
    let word = |c: &[u8]| c.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let list: Vec<(u64, u64)> = raw.chunks_exact(16).map(|c| (word(&c[..8]), word(&c[8..]))).collect();
    if list.iter().any(|(_, len)| *len > i64::MAX as u64) {
        return Err(Errno::EINVAL);
    }
    Ok(list)
}

/// The other process of a process_vm call, if the caller may look into it (ptrace(2), "Ptrace access mode checking").
fn peer(cx: &Ctx<'_>, pid: i32) -> Result<Arc<crate::mm::AddressSpace>> {
    let task = cx.kernel.task(pid).ok_or(Errno::ESRCH)?;
    let (me, they) = (cx.task.cred(), task.cred());
    let same_group = Arc::ptr_eq(&task.group, &cx.task.group);
    let same_user = [they.uid, they.euid, they.suid].iter().all(|u| *u == me.uid)
        && [they.gid, they.egid, they.sgid].iter().all(|g| *g == me.gid)
        && they.permitted & !me.permitted == 0;
    if same_group || same_user || me.has(cap::SYS_PTRACE) {
        Ok(task.mm())
    } else {
        Err(Errno::EPERM)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    Read,
    Write,
}

/// The most that one process_vm call moves; more is a short count, which callers handle (process_vm_readv(2)).
const MAX_TRANSFER: usize = 16 << 20;

fn transfer(
    cx: &Ctx<'_>,
    way: Transfer,
    pid: i32,
    local: [u64; 2],
    remote: [u64; 2],
    flags: u64,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut ours = iovecs(cx, local[0], local[1])?.into_iter();
    let mut theirs = iovecs(cx, remote[0], remote[1])?.into_iter();
    let mm = peer(cx, pid)?;
    let (mut done, mut failed) = (0usize, None);
    let (mut here, mut there) = ((0u64, 0u64), (0u64, 0u64));
    let mut buf = vec![0u8; 64 << 10];
    while done < MAX_TRANSFER {
        while here.1 == 0 {
            match ours.next() {
                Some(v) => here = v,
                None => return Ok(done as u64),
            }
        }
        while there.1 == 0 {
            match theirs.next() {
                Some(v) => there = v,
                None => return Ok(done as u64),
            }
        }
        let want = (here.1.min(there.1) as usize).min(buf.len());
        let chunk = &mut buf[..want];
        let moved = match way {
            Transfer::Read => mm.space.read(there.0, chunk).and_then(|n| {
                cx.mem.write(here.0, &chunk[..n])?;
                Ok(n)
            }),
            Transfer::Write => cx.mem.read(here.0, chunk).and_then(|()| mm.space.write(there.0, chunk)),
        };
        match moved {
            Ok(0) => failed = Some(Errno::EFAULT),
            Err(e) => failed = Some(e),
            Ok(n) => {
                done += n;
                here = (here.0.wrapping_add(n as u64), here.1 - n as u64);
                there = (there.0.wrapping_add(n as u64), there.1 - n as u64);
                if n < want {
                    failed = Some(Errno::EFAULT);
                }
            }
        }
        if let Some(e) = failed {
            return if done > 0 { Ok(done as u64) } else { Err(e.into()) };
        }
    }
    Ok(done as u64)
}

/// process_vm_readv(2).
pub fn process_vm_readv(
    cx: &mut Ctx<'_>,
    pid: i32,
    local: u64,
    local_count: u64,
    remote: u64,
    remote_count: u64,
    flags: u64,
) -> SysResult {
    transfer(cx, Transfer::Read, pid, [local, local_count], [remote, remote_count], flags)
}

/// process_vm_writev(2).
pub fn process_vm_writev(
    cx: &mut Ctx<'_>,
    pid: i32,
    local: u64,
    local_count: u64,
    remote: u64,
    remote_count: u64,
    flags: u64,
) -> SysResult {
    transfer(cx, Transfer::Write, pid, [local, local_count], [remote, remote_count], flags)
}

/// membarrier(2): the stub makes it; forms that its filter does not allow are those of a kernel without them.
pub fn membarrier(cx: &mut Ctx<'_>, command: i32, flags: u32) -> SysResult {
    if flags == 0 && matches!(command, 0 | 1 | 8 | 16 | 32 | 64) {
        return Err(Stop::Local);
    }
    let _ = cx;
    Err(Errno::EINVAL.into())
}

const MPOL_DEFAULT: i32 = 0;
const MPOL_MAX: i32 = 6;
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

/// set_mempolicy(2): every policy is the same on one node.
pub fn set_mempolicy(_cx: &mut Ctx<'_>, mode: i32, _mask: u64, _max_node: u64) -> SysResult {
    if (mode & 0xff) > MPOL_MAX {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// mbind(2).
pub fn mbind(
    cx: &mut Ctx<'_>,
    addr: u64,
    len: u64,
    mode: i32,
    _mask: u64,
    _max_node: u64,
    flags: u32,
) -> SysResult {
    if !aligned(addr) || (mode & 0xff) > MPOL_MAX || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(Errno::EINVAL)?;
    if cx.task.mm().with_table(|t| t.is_covered(addr, end)) {
        Ok(0)
    } else {
        Err(Errno::EFAULT.into())
    }
}
