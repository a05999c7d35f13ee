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
    affine(tid)?;
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
    // The length is an `unsigned int`, and so is the product.
    let len = len as u32;
    if !len.is_multiple_of(8) || (len.wrapping_mul(8) as usize) < cx.kernel.cpus {
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
const SCHED_DEADLINE: i32 = 6;

fn is_realtime(policy: i32) -> bool {
    matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR)
}

/// What a task is to be scheduled by.
#[derive(Clone, Copy)]
struct Wanted {
    policy: i32,
    priority: i32,
    /// `None` leaves it.
    nice: Option<i32>,
    reset_on_fork: bool,
    /// Only asks whether it could be.
    keep: bool,
}

/// Checks and sets, in the order of Linux (`__sched_setscheduler`).
fn set_policy(cx: &Ctx<'_>, task: &Task, want: Wanted) -> Result<()> {
    let Wanted { policy, priority, .. } = want;
    let known = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
    let fits = if is_realtime(policy) { (1..=99).contains(&priority) } else { known && priority == 0 };
    if !fits {
        return Err(Errno::EINVAL);
    }
    let x = &task.extras;
    let (now, nice) = (x.policy.load(Relaxed), x.nice.load(Relaxed));
    if !cx.task.cred().has(cap::SYS_NICE) {
        let rises = is_realtime(policy)
            && (policy != now && cx.limit(resource::RTPRIO) == 0
                || priority > x.priority.load(Relaxed) && priority as u64 > cx.limit(resource::RTPRIO));
        let floor = 20 - cx.limit(resource::NICE).min(40) as i32;
        let nicer = !is_realtime(policy) && want.nice.is_some_and(|n| n < nice && n < floor);
        let leaves_idle = now == libc::SCHED_IDLE && policy != libc::SCHED_IDLE && nice < floor;
        let keeps_children = x.reset_on_fork.load(Relaxed) && !want.reset_on_fork;
        if rises || nicer || leaves_idle || keeps_children {
            return Err(Errno::EPERM);
        }
    }
    may_schedule(cx, task)?;
    if want.keep {
        return Ok(());
    }
    x.policy.store(policy, Relaxed);
    x.priority.store(priority, Relaxed);
    x.reset_on_fork.store(want.reset_on_fork, Relaxed);
    if let Some(nice) = want.nice.filter(|_| !is_realtime(policy)) {
        x.nice.store(nice, Relaxed);
    }
    Ok(())
}

/// sched_setscheduler(2).
pub fn sched_setscheduler(cx: &mut Ctx<'_>, tid: i32, policy: i32, param: UserPtr<i32>) -> SysResult {
    if param.is_null() || policy < 0 || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read(&cx.mem)?;
    let task = task_of(cx, tid)?;
    let reset_on_fork = policy & RESET_ON_FORK != 0;
    set_policy(
        cx,
        &task,
        Wanted { policy: policy & !RESET_ON_FORK, priority, nice: None, reset_on_fork, keep: false },
    )?;
    Ok(0)
}

/// sched_getscheduler(2).
pub fn sched_getscheduler(cx: &mut Ctx<'_>, tid: i32) -> SysResult {
    let (policy, resets) = ask(cx, tid, |x| (x.policy.load(Relaxed), x.reset_on_fork.load(Relaxed)))?;
    Ok((policy | if resets { RESET_ON_FORK } else { 0 }) as u64)
}

/// sched_setparam(2).
pub fn sched_setparam(cx: &mut Ctx<'_>, tid: i32, param: UserPtr<i32>) -> SysResult {
    if param.is_null() || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = param.read(&cx.mem)?;
    let task = task_of(cx, tid)?;
    let policy = task.extras.policy.load(Relaxed);
    let reset_on_fork = task.extras.reset_on_fork.load(Relaxed);
    set_policy(cx, &task, Wanted { policy, priority, nice: None, reset_on_fork, keep: false })?;
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
    const SCHED_EXT: i32 = 7;
    match policy {
        p if is_realtime(p) => Ok(realtime),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | SCHED_DEADLINE | SCHED_EXT => Ok(0),
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

/// `struct sched_attr`, its first version and the one with the bounds of utilisation.
const ATTR_FIRST: usize = 48;
const ATTR_LEN: usize = 56;

/// `SCHED_FLAG_*`.
mod flag {
    pub const RESET_ON_FORK: u64 = 1;
    pub const KEEP_POLICY: u64 = 8;
    pub const KEEP_PARAMS: u64 = 0x10;
    pub const UTIL_CLAMP: u64 = 0x60;
    pub const ALL: u64 = 0x7f;
}

/// sched_setattr(2). No processor time can be promised here: a deadline is refused as on a machine whose is given away.
pub fn sched_setattr(cx: &mut Ctx<'_>, tid: i32, attr: u64, flags: u32) -> SysResult {
    if attr == 0 || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let raw = read_attr(cx, attr)?;
    let int = |at: usize| i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let long = |at: usize| u64::from(int(at) as u32) | u64::from(int(at + 4) as u32) << 32;
    let (mut policy, mut nice, mut priority) = (int(4), int(16).clamp(-20, 19), int(20));
    let attr_flags = long(8);
    if policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = task_of(cx, tid)?;
    let x = &task.extras;
    let mut reset_on_fork = attr_flags & flag::RESET_ON_FORK != 0;
    // Neither policy nor parameters change then.
    let keep = attr_flags & flag::KEEP_PARAMS != 0;
    if keep {
        (priority, nice) = (x.priority.load(Relaxed), x.nice.load(Relaxed));
    }
    if attr_flags & flag::KEEP_POLICY != 0 {
        (policy, reset_on_fork) = (x.policy.load(Relaxed), x.reset_on_fork.load(Relaxed));
    }
    if attr_flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if attr_flags & flag::UTIL_CLAMP != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if policy == SCHED_DEADLINE {
        let (runtime, deadline, period) = (long(24), long(32), long(40));
        let fits = priority == 0 && deadline != 0 && runtime >= 1024 && runtime <= deadline;
        if !fits || period != 0 && period < deadline {
            return Err(Errno::EINVAL.into());
        }
        cx.task.cred().require(cap::SYS_NICE)?;
        return Err(Errno::EBUSY.into());
    }
    set_policy(cx, &task, Wanted { policy, priority, nice: Some(nice), reset_on_fork, keep })?;
    Ok(0)
}

/// A `struct sched_attr` of any size that says so itself; what follows what we know must be zero.
fn read_attr(cx: &Ctx<'_>, attr: u64) -> Result<[u8; ATTR_LEN]> {
    let size = match UserPtr::<u32>::new(attr).read(&cx.mem)? as usize {
        0 => ATTR_FIRST,
        n => n,
    };
    let mut raw = vec![0; size.clamp(ATTR_LEN, 4096)];
    let good = (ATTR_FIRST..=4096).contains(&size) && {
        cx.mem.read(attr, &mut raw[..size])?;
        raw[ATTR_LEN..].iter().all(|b| *b == 0)
    };
    if !good {
        UserPtr::<u32>::new(attr).write(&cx.mem, &(ATTR_LEN as u32))?;
        return Err(Errno::E2BIG);
    }
    let mut known = [0; ATTR_LEN];
    known.copy_from_slice(&raw[..ATTR_LEN]);
    Ok(known)
}

/// sched_getattr(2).
pub fn sched_getattr(cx: &mut Ctx<'_>, tid: i32, attr: u64, size: u32, flags: u32) -> SysResult {
    let size = size as usize;
    if attr == 0 || tid < 0 || flags != 0 || !(ATTR_FIRST..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let task = task_of(cx, tid)?;
    let x = &task.extras;
    let told = size.min(ATTR_LEN);
    let mut out = [0u8; ATTR_LEN];
    let mut put = |at: usize, v: i32| out[at..at + 4].copy_from_slice(&v.to_le_bytes());
    let policy = x.policy.load(Relaxed);
    put(0, told as i32);
    put(4, policy);
    put(8, i32::from(x.reset_on_fork.load(Relaxed)));
    put(16, if is_realtime(policy) { 0 } else { x.nice.load(Relaxed) });
    put(20, x.priority.load(Relaxed));
    cx.mem.write(attr, &out[..told])?;
    Ok(0)
}

/// The tasks that ioprio_set(2) and ioprio_get(2) mean.
fn io_tasks(cx: &Ctx<'_>, which: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    match which {
        // One more than what getpriority(2) calls them.
        1..=3 => super::identity::tasks_of(cx, which - 1, who),
        _ => Err(Errno::EINVAL),
    }
}

/// ioprio_set(2): remembered.
pub fn ioprio_set(cx: &mut Ctx<'_>, which: i32, who: i32, ioprio: i32) -> SysResult {
    let (class, level) = (ioprio >> 13 & 7, ioprio & 7);
    let good = match class {
        0 => level == 0,
        // Real time is not for everybody.
        1 if !(cx.task.cred().has(cap::SYS_ADMIN) || cx.task.cred().has(cap::SYS_NICE)) => {
            return Err(Errno::EPERM.into());
        }
        1..=3 => true,
        _ => false,
    };
    if !good {
        return Err(Errno::EINVAL.into());
    }
    for task in io_tasks(cx, which, who)? {
        may_schedule(cx, &task)?;
        task.extras.ioprio.store(ioprio & 0xffff, Relaxed);
    }
    Ok(0)
}

/// ioprio_get(2): of several the best.
pub fn ioprio_get(cx: &mut Ctx<'_>, which: i32, who: i32) -> SysResult {
    let all = io_tasks(cx, which, who)?;
    let best =
        all.iter()
            .map(|t| t.extras.ioprio.load(Relaxed))
            .min_by_key(|p| if *p == 0 { 2 << 13 | 4 } else { *p });
    Ok(best.unwrap_or(0) as u64)
}
