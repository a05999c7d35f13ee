//! System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::ipc::{put, put_perm};
use crate::kernel::ipc::shm::{self, Entry, Segment};
use crate::kernel::ipc::{seconds, Perm, READ, WRITE};
use crate::kernel::{mm_ops, Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::plan::{self, NewMap, Where};
use crate::mm::vma::{page_up, Backing, VmFlags, Vma, PAGE};
use crate::mm::Mappable;

const EXEC: u32 = 0o111;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;
/// `SHMALL` in pages.
const ALL_PAGES: u64 = u64::MAX - (1 << 24);

/// shmget(2).
pub fn shmget(cx: &mut Ctx<'_>, key: i32, size: u64, flags: i32) -> SysResult {
    let cred = cx.task.cred();
    let pid = cx.task.group.pid;
    if flags & libc::SHM_HUGETLB != 0 && flags & libc::IPC_CREAT != 0 && size <= ALL_PAGES {
        // As with an empty pool of huge pages.
        return Err(Errno::ENOMEM.into());
    }
    let fits = |found: &Entry| {
        let (segment, _) = found.segment()?;
        segment.state.lock().perm.check(&cred, flags as u32)?;
        if size > segment.size {
            return Err(Errno::EINVAL);
        }
        Ok(())
    };
    let mut table = cx.kernel.ipc.shm.lock();
    sweep(&mut table);
    let id = table.open(key, flags, shm::MOST, fits, |id, seq| {
        if size == 0 || size > ALL_PAGES {
            return Err(Errno::EINVAL);
        }
        if size > shm::MAX_SIZE {
            return Err(if i64::try_from(size).is_ok() { Errno::ENOMEM } else { Errno::EINVAL });
        }
        let perm = Perm { seq, ..Perm::new(key, &cred, flags) };
        Ok(Entry::Alive(Segment::new(id, perm, size, pid)?))
    })?;
    Ok(id as u64)
}

/// Removed segments that nobody has attached any more lose their place.
fn sweep(table: &mut crate::kernel::ipc::Table<Entry>) {
    let gone: Vec<i32> = table
        .all()
        .into_iter()
        .filter(|(_, e)| matches!(e, Entry::Removed(s) if s.strong_count() == 0))
        .map(|(id, _)| id)
        .collect();
    gone.into_iter().for_each(|id| drop(table.remove(id)));
}

fn find(cx: &Ctx<'_>, id: i32) -> Result<(Arc<Segment>, u64)> {
    let entry = cx.kernel.ipc.shm.lock().get(id)?;
    entry.segment()
}

/// shmat(2).
pub fn shmat(cx: &mut Ctx<'_>, id: i32, addr: u64, flags: i32) -> SysResult {
    let at = if addr == 0 {
        if flags & libc::SHM_REMAP != 0 {
            return Err(Errno::EINVAL.into());
        }
        Where::Hint(0)
    } else {
        let rounded = if flags & libc::SHM_RND != 0 { addr & !(PAGE - 1) } else { addr };
        if !rounded.is_multiple_of(PAGE) || rounded == 0 && flags & libc::SHM_REMAP != 0 {
            return Err(Errno::EINVAL.into());
        }
        if flags & libc::SHM_REMAP != 0 {
            Where::Fixed(rounded)
        } else {
            Where::FixedFree(rounded)
        }
    };
    let (segment, _) = find(cx, id)?;
    let read_only = flags & libc::SHM_RDONLY != 0;
    let exec = flags & libc::SHM_EXEC != 0;
    let want = READ | if read_only { 0 } else { WRITE } | if exec { EXEC } else { 0 };
    {
        let mut s = segment.state.lock();
        s.perm.check(&cx.task.cred(), want)?;
        (s.attached_at, s.last) = (seconds(), cx.task.group.pid);
    }
    let len = page_up(segment.size).ok_or(Errno::EINVAL)?;
    let prot = libc::PROT_READ
        | if read_only { 0 } else { libc::PROT_WRITE }
        | if exec { libc::PROT_EXEC } else { 0 };
    let mut vma = Vma::anonymous(0, len, prot);
    vma.flags |= VmFlags::SHARED;
    vma.max_prot = plan::max_prot(true, !read_only);
    // What may only be read is mapped privately on the host: the same pages, and no rights to win.
    let host_file = Some((segment.descriptor(true, !read_only)?, !read_only));
    vma.file = Some(Backing { map: segment, offset: 0, anonymous: false });
    let limits = mm_ops::limits(cx.task);
    mm_ops::run(cx, move |t| {
        let new = NewMap { vma: vma.clone(), at, host_file: host_file.clone(), populate: false };
        t.plan_map(new, &limits).map_err(|e| if e == Errno::EEXIST { Errno::EINVAL } else { e })
    })
}

/// shmdt(2).
pub fn shmdt(cx: &mut Ctx<'_>, addr: u64) -> SysResult {
    let mm = cx.task.mm();
    let is_segment = |v: &Vma| v.file.as_ref().is_some_and(|f| f.map.identity().0 == shm::DEVICE);
    let first = mm.find(addr).filter(|v| v.start == addr && is_segment(v)).ok_or(Errno::EINVAL)?;
    let file = first.file.as_ref().filter(|f| f.offset == 0).ok_or(Errno::EINVAL)?;
    let (segment, _) = find(cx, file.map.identity().1 as i32)?;
    let end = addr + page_up(segment.size).ok_or(Errno::EINVAL)?;
    // What was mapped over a part of it is not the segment's.
    let same = |v: &Vma| {
        is_segment(v)
            && v.file.as_ref().is_some_and(|f| Arc::ptr_eq(&f.map, &file.map) && f.offset == v.start - addr)
    };
    let upto = mm.with_table(|t| {
        t.overlapping(addr, end).take_while(|v| same(v)).last().map_or(first.end, |v| v.end.min(end))
    });
    {
        let mut s = segment.state.lock();
        (s.detached_at, s.last) = (seconds(), cx.task.group.pid);
    }
    drop(segment);
    drop(first);
    mm_ops::run(cx, |t| t.plan_unmap(addr, upto - addr))
}

/// `struct shmid64_ds`.
fn stat(segment: &Segment, attached: u64, mode: u32) -> [u8; 112] {
    let s = segment.state.lock();
    let mut b = [0; 112];
    put_perm(&mut b, &Perm { mode: s.perm.mode | mode, ..s.perm });
    for (at, v) in [
        (48, segment.size as i64),
        (56, s.attached_at),
        (64, s.detached_at),
        (72, s.changed_at),
        (88, attached as i64),
    ] {
        put(&mut b, at, &v.to_le_bytes());
    }
    put(&mut b, 80, &segment.creator.to_le_bytes());
    put(&mut b, 84, &s.last.to_le_bytes());
    b
}

/// shmctl(2).
pub fn shmctl(cx: &mut Ctx<'_>, id: i32, command: i32, buf: u64) -> SysResult {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let cred = cx.task.cred();
    match command {
        libc::IPC_INFO => {
            let info = [ALL_PAGES, 1, shm::MOST as u64, shm::MOST as u64, ALL_PAGES, 0, 0, 0, 0];
            cx.mem.write(buf, &info.map(u64::to_le_bytes).concat())?;
            Ok(cx.kernel.ipc.shm.lock().highest() as u64)
        }
        SHM_INFO => {
            let (all, highest) = {
                let mut table = cx.kernel.ipc.shm.lock();
                sweep(&mut table);
                (table.all(), table.highest())
            };
            let pages: u64 =
                all.iter().filter_map(|e| e.1.segment().ok()).map(|s| s.0.size.div_ceil(PAGE)).sum();
            cx.mem.write(buf, &[all.len() as u64, pages, 0, 0, 0, 0].map(u64::to_le_bytes).concat())?;
            Ok(highest as u64)
        }
        libc::IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let (id, entry) = {
                let table = cx.kernel.ipc.shm.lock();
                if command == libc::IPC_STAT {
                    (0, table.get(id)?)
                } else {
                    table.at(id)?
                }
            };
            let (segment, attached) = entry.segment()?;
            if command != SHM_STAT_ANY {
                segment.state.lock().perm.check(&cred, READ)?;
            }
            let removed = matches!(entry, Entry::Removed(_));
            cx.mem.write(buf, &stat(&segment, attached, if removed { shm::DEST } else { 0 }))?;
            Ok(id as u64)
        }
        libc::IPC_SET => {
            let mut raw = [0; 48];
            cx.mem.read(buf, &mut raw)?;
            let (segment, _) = find(cx, id)?;
            let mut s = segment.state.lock();
            s.perm.check_owner(&cred)?;
            s.perm.set(&raw);
            s.changed_at = seconds();
            Ok(0)
        }
        libc::IPC_RMID => remove(cx, id),
        libc::SHM_LOCK | libc::SHM_UNLOCK => {
            let (segment, _) = find(cx, id)?;
            let mut s = segment.state.lock();
            if !cred.has(crate::cred::cap::IPC_LOCK) {
                s.perm.check_owner(&cred)?;
                if command == libc::SHM_LOCK && cx.limit(resource::MEMLOCK) == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
            s.perm.mode =
                s.perm.mode & !shm::LOCKED | if command == libc::SHM_LOCK { shm::LOCKED } else { 0 };
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn remove(cx: &Ctx<'_>, id: i32) -> std::result::Result<u64, Stop> {
    let mut table = cx.kernel.ipc.shm.lock();
    let (segment, _) = table.get(id)?.segment()?;
    {
        let mut s = segment.state.lock();
        s.perm.check_owner(&cx.task.cred())?;
        // No key leads to it any more (shmctl(2)).
        s.perm.key = 0;
    }
    table.replace(id, Entry::Removed(Arc::downgrade(&segment)));
    drop(segment);
    sweep(&mut table);
    Ok(0)
}
