//! Memory: mmap(2) and its family. Flags and arguments are checked here; what they mean for the map is `mm::plan`'s.
//! Advice and locks are in `memory_advice`, other processes' memory in `memory_peer`.

use linux_abi::{Errno, Result};

use crate::cred::cap;
use crate::kernel::extras::personality::READ_IMPLIES_EXEC;
use crate::kernel::mm_ops::{self, limits};
use crate::kernel::{Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::plan::remap::Remap;
use crate::mm::plan::{self, NewMap, Where};
use crate::mm::vma::{page_down, page_up, Backing, VmFlags, Vma, PAGE, PROT_ALL};
use crate::syscalls::args::Fd;
use crate::vfs::VfsPath;

/// Flags that mmap(2) has always ignored where it did not know them; `MAP_SHARED_VALIDATE` refuses all others
/// (`LEGACY_MAP_MASK`).
const LEGACY_FLAGS: i32 = libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_FIXED
    | libc::MAP_ANONYMOUS
    | libc::MAP_32BIT
    | MAP_ABOVE4G
    | libc::MAP_GROWSDOWN
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_LOCKED
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_NONBLOCK
    | libc::MAP_STACK
    | libc::MAP_HUGETLB
    | MAP_UNINITIALIZED
    | libc::MAP_HUGE_2MB
    | libc::MAP_HUGE_1GB;
const MAP_ABOVE4G: i32 = 0x80;
const MAP_UNINITIALIZED: i32 = 0x400_0000;
const MAP_TYPE: i32 = 0x0f;
/// `PROT_SEM`, which has no effect on x86.
const PROT_SEM: i32 = 8;

/// What may be read may be executed, where personality(2) says so.
fn implied(cx: &Ctx<'_>, prot: i32) -> i32 {
    let persona = cx.task.group.extras.personality.load(std::sync::atomic::Ordering::Relaxed);
    if persona & READ_IMPLIES_EXEC != 0 && prot & libc::PROT_READ != 0 {
        prot | libc::PROT_EXEC
    } else {
        prot
    }
}

/// Up to a whole page as Linux does it: the last page of all numbers becomes nought.
pub(super) fn page_up_or_wrap(len: u64) -> u64 {
    len.wrapping_add(PAGE - 1) & !(PAGE - 1)
}

pub(super) fn aligned(v: u64) -> bool {
    v.is_multiple_of(PAGE)
}

/// mmap(2).
pub fn mmap(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: i32, flags: i32, fd: Fd, offset: u64) -> SysResult {
    if !aligned(offset) {
        return Err(Errno::EINVAL.into());
    }
    let file = if flags & libc::MAP_ANONYMOUS == 0 { Some(cx.file(fd.0)?) } else { None };
    if flags & libc::MAP_HUGETLB != 0 {
        // As with an empty pool of huge pages, of 2 MiB and of 1 GiB.
        let known = file.is_none() && len != 0 && matches!(flags as u32 >> 26, 0 | 21 | 30);
        return Err(if known { Errno::ENOMEM } else { Errno::EINVAL }.into());
    }
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = page_up(len).filter(|l| *l <= platform::GUEST_HIGHEST).ok_or(Errno::ENOMEM)?;
    let noexec = file.as_ref().and_then(|f| f.path.as_ref()).is_some_and(VfsPath::noexec);
    let prot = if noexec { prot } else { implied(cx, prot) };
    let at = place(addr, flags)?;
    let locked = flags & libc::MAP_LOCKED != 0;
    if locked {
        may_lock(cx)?;
    }
    let mut vma = Vma::anonymous(0, len, prot & PROT_ALL);
    vma.flags.set(VmFlags::NORESERVE, flags & libc::MAP_NORESERVE != 0);
    vma.flags.set(VmFlags::LOCKED, locked);
    vma.flags.set(VmFlags::STACK, flags & libc::MAP_GROWSDOWN != 0);
    let host_file = match file {
        Some(file) => {
            if offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
                return Err(Errno::EOVERFLOW.into());
            }
            let shared = match flags & MAP_TYPE {
                libc::MAP_PRIVATE => false,
                libc::MAP_SHARED => true,
                libc::MAP_SHARED_VALIDATE if flags & !LEGACY_FLAGS != 0 => {
                    return Err(Errno::EOPNOTSUPP.into());
                }
                libc::MAP_SHARED_VALIDATE => true,
                _ => return Err(Errno::EINVAL.into()),
            };
            if !file.readable() || (shared && prot & libc::PROT_WRITE != 0 && !file.writable()) {
                return Err(Errno::EACCES.into());
            }
            // What lies on a mount without programs never becomes one by being mapped.
            let noexec = file.path.as_ref().is_some_and(VfsPath::noexec);
            if noexec && prot & libc::PROT_EXEC != 0 {
                return Err(Errno::EPERM.into());
            }
            // Pipes and their like lie where no program is, which is said before that they cannot be mapped at all.
            let nowhere = prot & libc::PROT_EXEC != 0 && file.path.is_none();
            let map = file.ops.mappable(&file);
            let map = map.map_err(|e| if nowhere && e == Errno::ENODEV { Errno::EPERM } else { e })?;
            if vma.flags.contains(VmFlags::STACK) {
                return Err(Errno::EINVAL.into());
            }
            let sealed = shared && file.ops.seals().is_ok_and(|seals| seals & NO_WRITES != 0);
            if sealed && prot & libc::PROT_WRITE != 0 {
                return Err(Errno::EPERM.into());
            }
            // What may only be read is mapped privately on the host: the same pages, and no rights to win.
            let host_shared = shared && file.writable() && !sealed;
            let fd = map.descriptor(host_shared, host_shared)?;
            vma.flags.set(VmFlags::SHARED, shared);
            vma.max_prot = plan::max_prot(shared, file.writable() && !sealed);
            if noexec {
                vma.max_prot &= !libc::PROT_EXEC;
            }
            vma.file = Some(Backing { map, offset, anonymous: false });
            Some((fd, host_shared))
        }
        None => match flags & MAP_TYPE {
            libc::MAP_PRIVATE => None,
            libc::MAP_SHARED if !vma.flags.contains(VmFlags::STACK) => {
                let (backing, memfd) = plan::shared_anonymous(len)?.backing();
                vma.flags |= VmFlags::SHARED;
                vma.file = Some(backing);
                Some((memfd, true))
            }
            _ => return Err(Errno::EINVAL.into()),
        },
    };
    let populate = flags & (libc::MAP_POPULATE | libc::MAP_NONBLOCK) == libc::MAP_POPULATE;
    let limits = limits(cx.task);
    mm_ops::run(cx, move |t| {
        t.plan_map(NewMap { vma: vma.clone(), at, host_file: host_file.clone(), populate }, &limits)
    })
}

/// Seals of a memfd under which no new mapping may write.
const NO_WRITES: u32 = (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) as u32;

/// `EPERM` for who may lock nothing at all (mlock(2)).
pub(super) fn may_lock(cx: &Ctx<'_>) -> Result<()> {
    if cx.limit(resource::MEMLOCK) == 0 && !cx.task.cred().has(cap::IPC_LOCK) {
        return Err(Errno::EPERM);
    }
    Ok(())
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
pub fn mprotect(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: u64) -> SysResult {
    pkey_mprotect(cx, addr, len, prot, -1)
}

/// pkey_mprotect(2) without a key; keys there are none.
pub fn pkey_mprotect(cx: &mut Ctx<'_>, addr: u64, len: u64, prot: u64, pkey: i32) -> SysResult {
    let up = libc::PROT_GROWSUP as u64;
    let both = libc::PROT_GROWSDOWN as u64 | up;
    let grows = prot & both;
    let prot = prot & !both;
    if grows == both || !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let len = page_up(len).ok_or(Errno::ENOMEM)?;
    let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
    if prot & !((PROT_ALL | PROT_SEM) as u64) != 0 || pkey != -1 || grows == up {
        return Err(Errno::EINVAL.into());
    }
    let prot = implied(cx, prot as i32 & PROT_ALL);
    let limits = limits(cx.task);
    mm_ops::run(cx, |t| {
        // PROT_GROWSDOWN reaches to the start of a mapping that grows (mprotect(2)).
        let start = if grows != 0 { t.growing_start(addr, end)? } else { addr };
        t.plan_protect(start, end - start, prot, &limits)
    })
}

/// pkey_alloc(2): the processor's keys are not offered, as where all are taken.
pub fn pkey_alloc(_cx: &mut Ctx<'_>, flags: u64, rights: u64) -> SysResult {
    const ACCESS_MASK: u64 = 3;
    if flags != 0 || rights & !ACCESS_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

/// pkey_free(2).
pub fn pkey_free(_cx: &mut Ctx<'_>, _pkey: i32) -> SysResult {
    Err(Errno::EINVAL.into())
}

/// mremap(2).
pub fn mremap(cx: &mut Ctx<'_>, old: u64, old_len: u64, new_len: u64, flags: u64, new: u64) -> SysResult {
    let flags = i32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let may_move = flags & libc::MREMAP_MAYMOVE != 0;
    let fixed = flags & libc::MREMAP_FIXED != 0;
    let keep_old = flags & libc::MREMAP_DONTUNMAP != 0;
    let known = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    if flags & !known != 0 || !aligned(old) || ((fixed || keep_old) && !may_move) {
        return Err(Errno::EINVAL.into());
    }
    let (old_len, new_len) = (page_up_or_wrap(old_len), page_up_or_wrap(new_len));
    if new_len == 0
        || new_len > platform::GUEST_HIGHEST
        || (keep_old && old_len != new_len)
        || ((fixed || keep_old) && !aligned(new))
    {
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
    let limits = limits(cx.task);
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

/// brk(2).
pub fn brk(cx: &mut Ctx<'_>, to: u64) -> SysResult {
    let limits = limits(cx.task);
    let unmoved = |cx: &Ctx<'_>| Ok(cx.task.mm().with_table(|t| t.layout.brk));
    let moved = mm_ops::run_or(cx, |t| t.plan_brk(to, &limits), Box::new(move |cx, _| unmoved(cx)));
    match moved {
        // No memory left: the break stays where it is, which is how brk(2) fails.
        Err(Stop::Errno(Errno::ENOMEM)) => unmoved(cx),
        other => other,
    }
}

/// remap_file_pages(2), as Linux has had it since 4.0: the pages are mapped anew.
pub fn remap_file_pages(
    cx: &mut Ctx<'_>,
    start: u64,
    size: u64,
    prot: i32,
    page: u64,
    flags: i32,
) -> SysResult {
    let (start, size) = (page_down(start), page_down(size));
    let end = start.checked_add(size).filter(|end| *end > start).ok_or(Errno::EINVAL)?;
    let offset = page.checked_mul(PAGE).ok_or(Errno::EINVAL)?;
    if prot != 0 || offset.checked_add(size).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Errno::EINVAL.into());
    }
    let limits = limits(cx.task);
    let populate = flags & libc::MAP_NONBLOCK == 0;
    mm_ops::run(cx, move |t| {
        let first = t.find(start).ok_or(Errno::EINVAL)?;
        let writable = |v: &Vma| v.shared() && v.max_prot & libc::PROT_WRITE != 0;
        let file = first.file.clone().filter(|_| writable(first)).ok_or(Errno::EINVAL)?;
        let (is, rights) = (file.map.identity(), (first.flags, first.prot));
        let same =
            |v: &Vma| (v.flags, v.prot) == rights && v.file.as_ref().is_some_and(|f| f.map.identity() == is);
        if !t.is_covered(start, end) || !t.overlapping(start, end).all(same) {
            return Err(Errno::EINVAL);
        }
        let mut vma = first.clone();
        (vma.start, vma.end) = (0, size);
        let fd = file.map.descriptor(true, true)?;
        vma.file = Some(Backing { offset, ..file });
        let new = NewMap { vma, at: Where::Fixed(start), host_file: Some((fd, true)), populate };
        let mut plan = t.plan_map(new, &limits)?;
        let inner = plan.commit;
        plan.commit = Box::new(move |t| inner(t).map(|_| 0));
        Ok(plan)
    })
}

/// mseal(2): only the table knows of it, and whoever asks for a change asks the table.
pub fn mseal(cx: &mut Ctx<'_>, addr: u64, len: u64, flags: u64) -> SysResult {
    if flags != 0 || !aligned(addr) {
        return Err(Errno::EINVAL.into());
    }
    let end = page_up(len).and_then(|len| addr.checked_add(len)).ok_or(Errno::EINVAL)?;
    if end == addr {
        return Ok(0);
    }
    Ok(cx.task.mm().change_table(|t| t.seal(addr, end))?)
}
