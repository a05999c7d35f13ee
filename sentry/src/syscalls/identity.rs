//! Who a process is, and what it may use: user and group ids, capabilities (credentials(7), capabilities(7)), limits,
//! priorities, times.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::sched::task_of;
use crate::cred::{cap, Cred, ALL_CAPS};
use crate::kernel::{clone, cpu, Ctx, SysResult, Task, ThreadGroup, INIT_PID};
use crate::limits::{resource, Limit};
use crate::mm::UserPtr;
use crate::time::NSEC;

/// "Leave as it is".
const KEEP: u32 = u32::MAX;

pub const SECBIT_NOROOT: u32 = 1;
pub const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;

/// The capabilities that follow the file-system user id (capabilities(7)).
const FS_CAPS: u64 = 1 << cap::CHOWN | 1 << cap::DAC_OVERRIDE | 1 << cap::DAC_READ_SEARCH | 1 << cap::FOWNER | 1 << cap::FSETID
        | 1 << 9 // LINUX_IMMUTABLE
        | 1 << cap::MKNOD
        | 1 << 32; // MAC_OVERRIDE

/// Changes the caller's credentials as a whole.
pub fn change(cx: &Ctx<'_>, f: impl FnOnce(&mut Cred) -> Result<()>) -> SysResult {
    let mut new = (*cx.task.cred()).clone();
    f(&mut new)?;
    if cx.task.cred().is_other(&new) {
        let group = &cx.task.group;
        group.extras.undumpable.store(true, std::sync::atomic::Ordering::Relaxed);
        group.state.lock().pdeath_signal = 0;
    }
    *cx.task.cred.write() = Arc::new(new);
    Ok(0)
}

/// What becomes of capabilities when user ids change (capabilities(7), "Effect of user ID changes").
fn fix_caps(old: &Cred, new: &mut Cred) {
    if new.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = [old.uid, old.euid, old.suid].contains(&0);
    let has_root = [new.uid, new.euid, new.suid].contains(&0);
    if had_root && !has_root {
        if new.securebits & SECBIT_KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    match (old.euid == 0, new.euid == 0) {
        (true, false) => new.effective = 0,
        (false, true) => new.effective = new.permitted,
        _ => {}
    }
}

fn change_uids(cx: &Ctx<'_>, f: impl FnOnce(&mut Cred) -> Result<()>) -> SysResult {
    let before = cx.task.cred();
    let done = change(cx, |new| {
        let old = new.clone();
        f(new)?;
        new.fsuid = new.euid;
        fix_caps(&old, new);
        Ok(())
    })?;
    let mighty = before.has(cap::SYS_RESOURCE) || before.has(cap::SYS_ADMIN);
    if cx.task.cred().uid != before.uid && !mighty {
        // The change is no error, but exec may be one (setuid(2) of Linux, "EAGAIN" of execve(2)).
        cx.task.extras.over_nproc.store(clone::over_nproc(cx, 1), Relaxed);
    }
    Ok(done)
}

/// getuid(2).
pub fn getuid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.cred().uid.into())
}
/// geteuid(2).
pub fn geteuid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.cred().euid.into())
}
/// getgid(2).
pub fn getgid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.cred().gid.into())
}
/// getegid(2).
pub fn getegid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.cred().egid.into())
}

/// setuid(2).
pub fn setuid(cx: &mut Ctx<'_>, uid: u32) -> SysResult {
    if uid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    change_uids(cx, |c| {
        if c.has(cap::SETUID) {
            (c.uid, c.suid) = (uid, uid);
        } else if uid != c.uid && uid != c.suid {
            return Err(Errno::EPERM);
        }
        c.euid = uid;
        Ok(())
    })
}

/// setgid(2).
pub fn setgid(cx: &mut Ctx<'_>, gid: u32) -> SysResult {
    if gid == KEEP {
        return Err(Errno::EINVAL.into());
    }
    change(cx, |c| {
        if c.has(cap::SETGID) {
            (c.gid, c.sgid) = (gid, gid);
        } else if gid != c.gid && gid != c.sgid {
            return Err(Errno::EPERM);
        }
        (c.egid, c.fsgid) = (gid, gid);
        Ok(())
    })
}

/// setreuid(2).
pub fn setreuid(cx: &mut Ctx<'_>, ruid: u32, euid: u32) -> SysResult {
    change_uids(cx, |c| {
        let (old_uid, old_euid, old_suid) = (c.uid, c.euid, c.suid);
        let all = c.has(cap::SETUID);
        if ruid != KEEP {
            if !all && ruid != old_uid && ruid != old_euid {
                return Err(Errno::EPERM);
            }
            c.uid = ruid;
        }
        if euid != KEEP {
            if !all && ![old_uid, old_euid, old_suid].contains(&euid) {
                return Err(Errno::EPERM);
            }
            c.euid = euid;
        }
        if ruid != KEEP || (euid != KEEP && euid != old_uid) {
            c.suid = c.euid;
        }
        Ok(())
    })
}

/// setregid(2).
pub fn setregid(cx: &mut Ctx<'_>, rgid: u32, egid: u32) -> SysResult {
    change(cx, |c| {
        let (old_gid, old_egid, old_sgid) = (c.gid, c.egid, c.sgid);
        let all = c.has(cap::SETGID);
        if rgid != KEEP {
            if !all && rgid != old_gid && rgid != old_egid {
                return Err(Errno::EPERM);
            }
            c.gid = rgid;
        }
        if egid != KEEP {
            if !all && ![old_gid, old_egid, old_sgid].contains(&egid) {
                return Err(Errno::EPERM);
            }
            c.egid = egid;
        }
        if rgid != KEEP || (egid != KEEP && egid != old_gid) {
            c.sgid = c.egid;
        }
        c.fsgid = c.egid;
        Ok(())
    })
}

/// setresuid(2).
pub fn setresuid(cx: &mut Ctx<'_>, ruid: u32, euid: u32, suid: u32) -> SysResult {
    change_uids(cx, |c| {
        let own = [c.uid, c.euid, c.suid];
        let allowed = |id: u32| id == KEEP || own.contains(&id);
        if !c.has(cap::SETUID) && ![ruid, euid, suid].into_iter().all(allowed) {
            return Err(Errno::EPERM);
        }
        for (to, id) in [(&mut c.uid, ruid), (&mut c.euid, euid), (&mut c.suid, suid)] {
            if id != KEEP {
                *to = id;
            }
        }
        Ok(())
    })
}

/// setresgid(2).
pub fn setresgid(cx: &mut Ctx<'_>, rgid: u32, egid: u32, sgid: u32) -> SysResult {
    change(cx, |c| {
        let own = [c.gid, c.egid, c.sgid];
        let allowed = |id: u32| id == KEEP || own.contains(&id);
        if !c.has(cap::SETGID) && ![rgid, egid, sgid].into_iter().all(allowed) {
            return Err(Errno::EPERM);
        }
        for (to, id) in [(&mut c.gid, rgid), (&mut c.egid, egid), (&mut c.sgid, sgid)] {
            if id != KEEP {
                *to = id;
            }
        }
        c.fsgid = c.egid;
        Ok(())
    })
}

/// getresuid(2).
pub fn getresuid(cx: &mut Ctx<'_>, ruid: UserPtr<u32>, euid: UserPtr<u32>, suid: UserPtr<u32>) -> SysResult {
    let c = cx.task.cred();
    ruid.write(&cx.mem, &c.uid)?;
    euid.write(&cx.mem, &c.euid)?;
    suid.write(&cx.mem, &c.suid)?;
    Ok(0)
}

/// getresgid(2).
pub fn getresgid(cx: &mut Ctx<'_>, rgid: UserPtr<u32>, egid: UserPtr<u32>, sgid: UserPtr<u32>) -> SysResult {
    let c = cx.task.cred();
    rgid.write(&cx.mem, &c.gid)?;
    egid.write(&cx.mem, &c.egid)?;
    sgid.write(&cx.mem, &c.sgid)?;
    Ok(0)
}

/// setfsuid(2): returns the old value, whether it changed or not.
pub fn setfsuid(cx: &mut Ctx<'_>, uid: u32) -> SysResult {
    let old = cx.task.cred();
    if uid != KEEP && (old.has(cap::SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid)) {
        change(cx, |c| {
            c.fsuid = uid;
            if c.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
                if old.fsuid == 0 && uid != 0 {
                    c.effective &= !FS_CAPS;
                } else if old.fsuid != 0 && uid == 0 {
                    c.effective |= c.permitted & FS_CAPS;
                }
            }
            Ok(())
        })?;
    }
    Ok(old.fsuid.into())
}

/// setfsgid(2).
pub fn setfsgid(cx: &mut Ctx<'_>, gid: u32) -> SysResult {
    let old = cx.task.cred();
    if gid != KEEP && (old.has(cap::SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid)) {
        change(cx, |c| {
            c.fsgid = gid;
            Ok(())
        })?;
    }
    Ok(old.fsgid.into())
}

/// `NGROUPS_MAX`.
const MAX_GROUPS: usize = 65536;

/// getgroups(2).
pub fn getgroups(cx: &mut Ctx<'_>, size: i32, list: u64) -> SysResult {
    let c = cx.task.cred();
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if size > 0 {
        if size < c.groups.len() {
            return Err(Errno::EINVAL.into());
        }
        let raw: Vec<u8> = c.groups.iter().flat_map(|g| g.to_le_bytes()).collect();
        if !raw.is_empty() {
            cx.mem.write(list, &raw)?;
        }
    }
    Ok(c.groups.len() as u64)
}

/// setgroups(2).
pub fn setgroups(cx: &mut Ctx<'_>, size: u32, list: u64) -> SysResult {
    cx.task.cred().require(cap::SETGID)?;
    let size = size as usize;
    if size > MAX_GROUPS {
        return Err(Errno::EINVAL.into());
    }
    let mut raw = vec![0u8; size * 4];
    if size > 0 {
        cx.mem.read(list, &mut raw)?;
    }
    let groups = raw.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    change(cx, |c| {
        c.groups = groups;
        Ok(())
    })
}

const CAP_VERSION_1: u32 = 0x1998_0330;
const CAP_VERSION_2: u32 = 0x2007_1026;
const CAP_VERSION_3: u32 = 0x2008_0522;

/// The version of a capability header, as words of 32 capabilities; an unknown one is answered with the newest.
fn cap_words(cx: &Ctx<'_>, header: UserPtr<[u32; 2]>) -> Result<usize> {
    let version = UserPtr::<u32>::new(header.addr());
    match version.read(&cx.mem)? {
        CAP_VERSION_1 => Ok(1),
        CAP_VERSION_2 | CAP_VERSION_3 => Ok(2),
        _ => {
            version.write(&cx.mem, &CAP_VERSION_3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// Whom a capability header means.
fn cap_pid(cx: &Ctx<'_>, header: UserPtr<[u32; 2]>) -> Result<i32> {
    UserPtr::<i32>::new(header.addr().wrapping_add(4)).read(&cx.mem)
}

/// capget(2).
pub fn capget(cx: &mut Ctx<'_>, header: UserPtr<[u32; 2]>, data: u64) -> SysResult {
    let words = match cap_words(cx, header) {
        // Without a place for the answer only the version is asked for.
        Ok(_) | Err(Errno::EINVAL) if data == 0 => return Ok(0),
        r => r?,
    };
    let cred = match cap_pid(cx, header)? {
        // Init has no thread of its own here; it is root's.
        INIT_PID => Arc::new(Cred::login(0, 0, Vec::new())),
        pid => task_of(cx, pid)?.cred(),
    };
    let mut raw = Vec::new();
    for word in 0..words {
        for set in [cred.effective, cred.permitted, cred.inheritable] {
            raw.extend_from_slice(&((set >> (32 * word)) as u32).to_le_bytes());
        }
    }
    cx.mem.write(data, &raw)?;
    Ok(0)
}

/// capset(2).
pub fn capset(cx: &mut Ctx<'_>, header: UserPtr<[u32; 2]>, data: u64) -> SysResult {
    let words = cap_words(cx, header)?;
    let pid = cap_pid(cx, header)?;
    if pid != 0 && pid != cx.task.tid() {
        return Err(Errno::EPERM.into());
    }
    let mut raw = vec![0u8; words * 12];
    cx.mem.read(data, &mut raw)?;
    let (mut effective, mut permitted, mut inheritable) = (0u64, 0u64, 0u64);
    for (word, group) in raw.chunks_exact(12).enumerate() {
        let part = |at: usize| {
            u64::from(u32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]]))
                << (32 * word)
        };
        effective |= part(0);
        permitted |= part(4);
        inheritable |= part(8);
    }
    let (effective, permitted, inheritable) =
        (effective & ALL_CAPS, permitted & ALL_CAPS, inheritable & ALL_CAPS);
    change(cx, |c| {
        let may_inherit = c.inheritable | if c.has(cap::SETPCAP) { c.bounding } else { c.permitted };
        let bounded = c.inheritable | c.bounding;
        if permitted & !c.permitted != 0
            || effective & !permitted != 0
            || inheritable & !(may_inherit & bounded) != 0
        {
            return Err(Errno::EPERM);
        }
        (c.effective, c.permitted, c.inheritable) = (effective, permitted, inheritable);
        c.ambient &= permitted & inheritable;
        Ok(())
    })
}

/// The limits of RLIMIT_NOFILE end here whoever asks (`fs.nr_open`).
const NR_OPEN: u64 = crate::vfs::fd_table::MAX_FDS as u64;

fn swap_limit(cx: &Ctx<'_>, group: &Arc<ThreadGroup>, which: u32, new: Option<Limit>) -> Result<Limit> {
    let which = which as usize;
    let mut limits = group.limits.write();
    let slot = limits.0.get_mut(which).ok_or(Errno::EINVAL)?;
    let old = *slot;
    if let Some(new) = new {
        if new.soft > new.hard {
            return Err(Errno::EINVAL);
        }
        // Who asked for a limit on open files meant it for all, root inside too.
        let most = cx.kernel.limits.open_files.map_or(NR_OPEN, |most| most.min(NR_OPEN));
        if which == resource::NOFILE && new.hard > most {
            return Err(Errno::EPERM);
        }
        if new.hard > old.hard {
            cx.task.cred().require(cap::SYS_RESOURCE)?;
        }
        *slot = new;
        drop(limits);
        if which == resource::CPU {
            cpu::watch_limit(cx.kernel, group);
        }
    }
    Ok(old)
}

/// getrlimit(2).
pub fn getrlimit(cx: &mut Ctx<'_>, which: u32, out: UserPtr<[u64; 2]>) -> SysResult {
    let now = swap_limit(cx, &cx.task.group, which, None)?;
    out.write(&cx.mem, &[now.soft, now.hard])?;
    Ok(0)
}

/// setrlimit(2).
pub fn setrlimit(cx: &mut Ctx<'_>, which: u32, new: UserPtr<[u64; 2]>) -> SysResult {
    let [soft, hard] = new.read(&cx.mem)?;
    swap_limit(cx, &cx.task.group, which, Some(Limit { soft, hard }))?;
    Ok(0)
}

/// prlimit64(2).
pub fn prlimit64(
    cx: &mut Ctx<'_>,
    pid: i32,
    which: u32,
    new: UserPtr<[u64; 2]>,
    old: UserPtr<[u64; 2]>,
) -> SysResult {
    let new = new.read_opt(&cx.mem)?.map(|[soft, hard]| Limit { soft, hard });
    let group = if pid == 0 {
        cx.task.group.clone()
    } else if pid == INIT_PID {
        // Its limits may be seen by who may see all, and change for nobody.
        cx.task.cred().require(cap::SYS_RESOURCE)?;
        if new.is_some() {
            return Err(Errno::EPERM.into());
        }
        cx.kernel.group(INIT_PID).ok_or(Errno::ESRCH)?
    } else {
        let task = cx.kernel.task(pid).ok_or(Errno::ESRCH)?;
        let (me, they) = (cx.task.cred(), task.cred());
        let same = [they.uid, they.euid, they.suid].iter().all(|u| *u == me.uid)
            && [they.gid, they.egid, they.sgid].iter().all(|g| *g == me.gid);
        if !same && !Arc::ptr_eq(&task.group, &cx.task.group) {
            me.require(cap::SYS_RESOURCE)?;
        }
        task.group.clone()
    };
    let before = swap_limit(cx, &group, which, new)?;
    old.write_opt(&cx.mem, &[before.soft, before.hard])?;
    Ok(0)
}

const PRIO_PROCESS: i32 = 0;
const PRIO_PGRP: i32 = 1;
const PRIO_USER: i32 = 2;

/// The tasks that getpriority(2) and setpriority(2) mean.
pub fn tasks_of(cx: &Ctx<'_>, which: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    let all = || -> Vec<Arc<Task>> { cx.kernel.pids.lock().tasks.values().cloned().collect() };
    let found: Vec<Arc<Task>> = match which {
        PRIO_PROCESS if who == 0 => vec![cx.task.clone()],
        PRIO_PROCESS => cx.kernel.task(who).into_iter().collect(),
        PRIO_PGRP => {
            let pgid = if who == 0 { cx.task.group.state.lock().pgid } else { who };
            all().into_iter().filter(|t| t.group.state.lock().pgid == pgid).collect()
        }
        PRIO_USER => {
            let uid = if who == 0 { cx.task.cred().uid } else { who as u32 };
            all().into_iter().filter(|t| t.cred().uid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() {
        return Err(Errno::ESRCH);
    }
    Ok(found)
}

/// getpriority(2): the raw call gives 20 minus the nice value.
pub fn getpriority(cx: &mut Ctx<'_>, which: i32, who: i32) -> SysResult {
    if (which, who) == (PRIO_PROCESS, INIT_PID) {
        return Ok(20);
    }
    let best = tasks_of(cx, which, who)?.iter().map(|t| 20 - t.extras.nice.load(Relaxed)).max();
    Ok(best.unwrap_or(20) as u64)
}

/// setpriority(2).
pub fn setpriority(cx: &mut Ctx<'_>, which: i32, who: i32, nice: i32) -> SysResult {
    for task in tasks_of(cx, which, who)? {
        set_nice(cx, &task, nice)?;
    }
    Ok(0)
}

/// Sets a nice value, as setpriority(2) allows it.
pub fn set_nice(cx: &Ctx<'_>, task: &Task, nice: i32) -> Result<()> {
    let nice = nice.clamp(-20, 19);
    super::sched::may_schedule(cx, task)?;
    let lower = nice < task.extras.nice.load(Relaxed);
    let floor = 20 - cx.limit(resource::NICE).min(40) as i32;
    if lower && nice < floor && !cx.task.cred().has(cap::SYS_NICE) {
        return Err(Errno::EACCES);
    }
    task.extras.nice.store(nice, Relaxed);
    Ok(())
}

const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const RUSAGE_THREAD: i32 = 1;
/// `sizeof(struct rusage)`.
const RUSAGE_LEN: usize = 144;

/// A `struct rusage` of times in nanoseconds and resident kilobytes; what we do not count is nought.
pub fn rusage(times: (u64, u64), max_rss: u64) -> [u8; RUSAGE_LEN] {
    let mut out = [0u8; RUSAGE_LEN];
    let words = [times.0 / NSEC, times.0 % NSEC / 1000, times.1 / NSEC, times.1 % NSEC / 1000, max_rss];
    for (i, w) in words.iter().enumerate() {
        out[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
    }
    out
}

/// getrusage(2).
pub fn getrusage(cx: &mut Ctx<'_>, who: i32, out: UserPtr<[u8; RUSAGE_LEN]>) -> SysResult {
    let group = &cx.task.group;
    let rss = || cx.task.mm().rss().all * 4;
    let usage = match who {
        RUSAGE_SELF => rusage(group.cpu_times(), rss()),
        RUSAGE_THREAD => rusage(cx.task.thread().cpu_time(), rss()),
        RUSAGE_CHILDREN => rusage(group.state.lock().child_times, 0),
        _ => return Err(Errno::EINVAL.into()),
    };
    out.write(&cx.mem, &usage)?;
    Ok(0)
}

/// times(2), in clock ticks of 10 ms.
pub fn times(cx: &mut Ctx<'_>, out: UserPtr<[i64; 4]>) -> SysResult {
    const TICK: u64 = NSEC / 100;
    let own = cx.task.group.cpu_times();
    let children = cx.task.group.state.lock().child_times;
    let t = [own.0, own.1, children.0, children.1].map(|v| (v / TICK) as i64);
    out.write_opt(&cx.mem, &t)?;
    Ok(crate::time::monotonic() / TICK)
}

/// personality(2): of its bits those have an effect that `extras::personality` names.
pub fn personality(cx: &mut Ctx<'_>, persona: u32) -> SysResult {
    let x = &cx.task.group.extras;
    let old = x.personality.load(Relaxed);
    if persona != u32::MAX {
        x.personality.store(persona, Relaxed);
    }
    Ok(old.into())
}
