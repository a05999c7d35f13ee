//! Scheduling, and robust lists. Scheduling parameters are remembered and told back, since how guests share the
//! processors is the host's business.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::cred::cap;
use crate::kernel::extras::TaskExtras;
use crate::kernel::{Ctx, Stop, SysResult, Task, INIT_PID};
use crate::limits::resource;
use crate::mm::UserPtr;

/// `sizeof(struct robust_list_head)`.
const ROBUST_HEAD: u64 = 24;

/// set_robust_list(2).
pub fn set_robust_list(cx: &mut Ctx<'_>, head: u64, len: u64) -> SysResult {
    if len != ROBUST_HEAD {
        return Err(Errno::EINVAL.into());
    }
    cx.task.robust_list.store(head, std::sync::atomic::Ordering::SeqCst);
    Ok(0)
}

/// get_robust_list(2).
pub fn get_robust_list(cx: &mut Ctx<'_>, tid: i32, head: UserPtr<u64>, len: UserPtr<u64>) -> SysResult {
    let task = task_of(cx, tid)?;
    let me = cx.task.cred();
    if me.uid != task.cred().uid && !me.has(cap::SYS_PTRACE) {
        return Err(Errno::EPERM.into());
    }
    len.write(&cx.mem, &ROBUST_HEAD)?;
    head.write(&cx.mem, &task.robust_list.load(std::sync::atomic::Ordering::SeqCst))?;
    Ok(0)
}

/// sched_yield(2).
pub fn sched_yield(_cx: &mut Ctx<'_>) -> SysResult {
    Err(Stop::Local)
}

/// The task of a number, 0 for the caller.
pub fn task_of(cx: &Ctx<'_>, tid: i32) -> Result<Arc<Task>> {
    match tid {
        0 => Ok(cx.task.clone()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => cx.kernel.task(tid).ok_or(Errno::ESRCH),
    }
}

/// Asks how a task is scheduled. Init has no thread of its own here, and is scheduled as anything is by default.
fn ask<R>(cx: &Ctx<'_>, tid: i32, question: impl FnOnce(&TaskExtras) -> R) -> Result<R> {
    if tid == INIT_PID {
        return Ok(question(&TaskExtras::default()));
    }
    Ok(question(&task_of(cx, tid)?.extras))
}

/// As [`task_of`], for the calls that take a negative number for a task that does not exist.
fn affine(tid: i32) -> Result<()> {
    if tid < 0 {
        return Err(Errno::ESRCH);
    }
    Ok(())
}

/// Whether the caller may change how another task is scheduled: same user, or CAP_SYS_NICE.
pub fn may_schedule(cx: &Ctx<'_>, task: &Task) -> Result<()> {
    let (me, they) = (cx.task.cred(), task.cred());
    if me.euid == they.uid || me.euid == they.euid || me.has(cap::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn all_cpus(cx: &Ctx<'_>) -> u64 {
    match cx.kernel.cpus.max(1) {
        n if n >= 64 => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// sched_setaffinity(2): remembered.
pub fn sched_setaffinity(cx: &mut Ctx<'_>, tid: i32, len: usize, mask: u64) -> SysResult {
    let mut raw = [0u8; 8];
    let n = len.min(raw.len());
    cx.mem.read(mask, &mut raw[..n])?;
    affine(tid)?;
    let task = task_of(cx, tid)?;
    may_schedule(cx, &task)?;
    let wanted = u64::from_le_bytes(raw) & all_cpus(cx);
    if wanted == 0 {
        return Err(Errno::EINVAL.into());
    }
    task.extras.affinity.store(wanted, Relaxed);
    Ok(0)
}

/// sched_getaffinity(2): returns how many bytes the mask has.
pub fn sched_getaffinity(cx: &mut Ctx<'_>, tid: i32, len: usize, mask: u64) -> SysResult {
    if !len.is_multiple_of(8) || len * 8 < cx.kernel.cpus {
        return Err(Errno::EINVAL.into());
    }
    affine(tid)?;
    let set = match ask(cx, tid, |x| x.affinity.load(Relaxed))? {
        0 => all_cpus(cx),
        set => set,
    };
    cx.mem.write(mask, &set.to_le_bytes())?;
    Ok(8)
}

const RESET_ON_FORK: i32 = 0x4000_0000;

fn is_realtime(policy: i32) -> bool {
    matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR)
}

fn set_policy(cx: &Ctx<'_>, task: &Task, policy: i32, priority: i32) -> Result<()> {
    let known = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
    let fits = if is_realtime(policy) { (1..=99).contains(&priority) } else { known && priority == 0 };
    if !fits {
        return Err(Errno::EINVAL);
    }
    may_schedule(cx, task)?;
    let rises = is_realtime(policy) && priority as u64 > cx.limit(resource::RTPRIO);
    if rises && !cx.task.cred().has(cap::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    task.extras.policy.store(policy, Relaxed);
    task.extras.priority.store(priority, Relaxed);
    Ok(())
}

/// sched_setscheduler(2).
pub fn sched_setscheduler(cx: &mut Ctx<'_>, tid: i32, policy: i32, param: UserPtr<i32>) -> SysResult {
    if param.is_null() || policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read(&cx.mem)?;
    let task = task_of(cx, tid)?;
    set_policy(cx, &task, policy & !RESET_ON_FORK, priority)?;
    task.extras.reset_on_fork.store(policy & RESET_ON_FORK != 0, Relaxed);
    Ok(0)
}

/// sched_getscheduler(2).
pub fn sched_getscheduler(cx: &mut Ctx<'_>, tid: i32) -> SysResult {
    let (policy, resets) = ask(cx, tid, |x| (x.policy.load(Relaxed), x.reset_on_fork.load(Relaxed)))?;
    Ok((policy | if resets { RESET_ON_FORK } else { 0 }) as u64)
}

/// sched_setparam(2).
pub fn sched_setparam(cx: &mut Ctx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    if param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read(&cx.mem)?;
    let task = task_of(cx, tid)?;
    let policy = task.extras.policy.load(Relaxed);
    set_policy(cx, &task, policy, priority)?;
    Ok(0)
}

/// sched_getparam(2).
pub fn sched_getparam(cx: &mut Ctx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    if param.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = ask(cx, tid, |x| x.priority.load(Relaxed))?;
    param.write(&cx.mem, &priority)?;
    Ok(0)
}

/// sched_get_priority_max(2).
pub fn sched_get_priority_max(_cx: &mut Ctx<'_>, policy: i32) -> SysResult {
    priority_bound(policy, 99)
}

/// sched_get_priority_min(2).
pub fn sched_get_priority_min(_cx: &mut Ctx<'_>, policy: i32) -> SysResult {
    priority_bound(policy, 1)
}

fn priority_bound(policy: i32, realtime: u64) -> SysResult {
    const SCHED_DEADLINE: i32 = 6;
    match policy {
        p if is_realtime(p) => Ok(realtime),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sched_rr_get_interval(2).
pub fn sched_rr_get_interval(cx: &mut Ctx<'_>, tid: i32, out: UserPtr<[i64; 2]>) -> SysResult {
    let slice = match ask(cx, tid, |x| x.policy.load(Relaxed))? {
        libc::SCHED_RR => 100_000_000,
        libc::SCHED_FIFO => 0,
        _ => 4_000_000,
    };
    out.write(&cx.mem, &[0, slice])?;
    Ok(0)
}

/// The first version of `struct sched_attr`.
const ATTR_LEN: usize = 48;

/// sched_setattr(2).
pub fn sched_setattr(cx: &mut Ctx<'_>, tid: i32, attr: u64, flags: u32) -> SysResult {
    if attr == 0 || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = UserPtr::<u32>::new(attr).read(&cx.mem)? as usize;
    if size != 0 && size < ATTR_LEN {
        UserPtr::<u32>::new(attr).write(&cx.mem, &(ATTR_LEN as u32))?;
        return Err(Errno::E2BIG.into());
    }
    let raw = UserPtr::<[u8; ATTR_LEN]>::new(attr).read(&cx.mem)?;
    let int = |at: usize| i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let (policy, nice, priority, attr_flags) = (int(4), int(16), int(20), int(8));
    let task = task_of(cx, tid)?;
    set_policy(cx, &task, policy, priority)?;
    task.extras.reset_on_fork.store(attr_flags & 1 != 0, Relaxed);
    if !is_realtime(policy) {
        super::identity::set_nice(cx, &task, nice)?;
    }
    Ok(0)
}

/// sched_getattr(2).
pub fn sched_getattr(cx: &mut Ctx<'_>, tid: i32, attr: u64, size: u32, flags: u32) -> SysResult {
    if attr == 0 || tid < 0 || flags != 0 || !(ATTR_LEN as u32..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let task = task_of(cx, tid)?;
    let x = &task.extras;
    let mut out = [0u8; ATTR_LEN];
    let mut put = |at: usize, v: i32| out[at..at + 4].copy_from_slice(&v.to_le_bytes());
    put(0, ATTR_LEN as i32);
    put(4, x.policy.load(Relaxed));
    put(8, i32::from(x.reset_on_fork.load(Relaxed)));
    put(16, x.nice.load(Relaxed));
    put(20, x.priority.load(Relaxed));
    cx.mem.write(attr, &out)?;
    Ok(0)
}

const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_WHO_USER: i32 = 3;
/// Best effort, level 4: what nice 0 gives.
const IOPRIO_DEFAULT: i32 = 2 << 13 | 4;

/// ioprio_set(2): remembered.
pub fn ioprio_set(cx: &mut Ctx<'_>, which: i32, who: i32, ioprio: i32) -> SysResult {
    if !(0..=3).contains(&(ioprio >> 13)) || !(IOPRIO_WHO_PROCESS..=IOPRIO_WHO_USER).contains(&which) {
        return Err(Errno::EINVAL.into());
    }
    if ioprio >> 13 == 1 && !cx.task.cred().has(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if which == IOPRIO_WHO_PROCESS {
        let task = task_of(cx, who)?;
        may_schedule(cx, &task)?;
        task.extras.ioprio.store(ioprio, Relaxed);
    }
    Ok(0)
}

/// ioprio_get(2).
pub fn ioprio_get(cx: &mut Ctx<'_>, which: i32, who: i32) -> SysResult {
    if !(IOPRIO_WHO_PROCESS..=IOPRIO_WHO_USER).contains(&which) {
        return Err(Errno::EINVAL.into());
    }
    let task = if which == IOPRIO_WHO_PROCESS { task_of(cx, who)? } else { cx.task.clone() };
    Ok(match task.extras.ioprio.load(Relaxed) {
        0 => IOPRIO_DEFAULT,
        set => set,
    } as u64)
}
