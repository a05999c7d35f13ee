//! Another process's memory: process_vm_readv(2), process_vm_writev(2).

use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::cred::cap;
use crate::kernel::{Ctx, SysResult};
use crate::syscalls::args::user_range;

/// `struct iovec`s of a process_vm call: at most `IOV_MAX`.
pub(super) fn iovecs(cx: &Ctx<'_>, addr: u64, count: u64) -> Result<Vec<(u64, u64)>> {
    if count > 1024 {
        return Err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; count as usize * 16];
    if count > 0 {
        cx.mem.read(addr, &mut raw)?;
    }
    let word = |c: &[u8]| c.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let list: Vec<(u64, u64)> = raw.chunks_exact(16).map(|c| (word(&c[..8]), word(&c[8..]))).collect();
    if list.iter().any(|(_, len)| *len > i64::MAX as u64) {
        return Err(Errno::EINVAL);
    }
    Ok(list)
}

/// As [`iovecs`] of the caller itself: the count is an `unsigned int`, and no range may reach where no program can.
pub(super) fn own_iovecs(cx: &Ctx<'_>, addr: u64, count: u64) -> Result<Vec<(u64, u64)>> {
    let list = iovecs(cx, addr, u64::from(count as u32))?;
    list.iter().try_for_each(|(base, len)| user_range(*base, *len))?;
    Ok(list)
}

/// The other process of a process_vm call, if the caller may look into it (ptrace(2), "Ptrace access mode checking").
pub(super) fn peer(cx: &Ctx<'_>, pid: i32) -> Result<Arc<crate::mm::AddressSpace>> {
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
    let some = |list: &[(u64, u64)]| list.iter().any(|(_, len)| *len > 0);
    let ours = own_iovecs(cx, local[0], local[1])?;
    if !some(&ours) {
        return Ok(0);
    }
    let theirs = iovecs(cx, remote[0], remote[1])?;
    if !some(&theirs) {
        return Ok(0);
    }
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
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
