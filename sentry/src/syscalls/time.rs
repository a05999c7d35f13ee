//! Clocks and sleeps (time(7)). Reading the host's clocks, and sleeping by them, is the stub's, on the host kernel.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::kernel::{Ctx, Restart, Stop, SysResult};
use crate::mm::UserPtr;
use crate::time::ticker::Clock;
use crate::time::{monotonic, realtime, NSEC};

/// `struct timespec`, `struct timeval`: seconds and a fraction.
pub type Pair = [i64; 2];

const USEC: i64 = 1_000_000;
/// A clock number whose low three bits are this names a descriptor (clock_getres(2), "dynamic clocks").
const CLOCK_FD: i32 = 3;
const CLOCK_TAI: i32 = 11;
pub const TIMER_ABSTIME: i32 = 1;

/// Nanoseconds of a timespec; `EINVAL` for what is none.
pub fn nanoseconds(t: Pair) -> Result<u64> {
    if t[0] < 0 || !(0..NSEC as i64).contains(&t[1]) {
        return Err(Errno::EINVAL);
    }
    Ok((t[0] as u64).saturating_mul(NSEC).saturating_add(t[1] as u64))
}

pub fn pair(ns: u64) -> Pair {
    [(ns / NSEC) as i64, (ns % NSEC) as i64]
}

pub fn micro_pair(ns: u64) -> Pair {
    [(ns / NSEC) as i64, (ns % NSEC / 1000) as i64]
}

pub fn micro_nanoseconds(t: Pair) -> Result<u64> {
    if t[0] < 0 || !(0..USEC).contains(&t[1]) {
        return Err(Errno::EINVAL);
    }
    Ok((t[0] as u64).saturating_mul(NSEC).saturating_add(t[1] as u64 * 1000))
}

/// The clock of the task or group that a negative number names (clock_getcpuclockid(3)).
pub fn cpu_clock(cx: &Ctx<'_>, id: i32) -> Result<Clock> {
    const PER_THREAD: i32 = 4;
    let pid = !(id >> 3);
    let kind = id & 3;
    if kind == CLOCK_FD {
        return Err(Errno::EINVAL);
    }
    // Profiling, virtual, scheduler's.
    let pick = move |(user, system): (u64, u64)| if kind == 1 { user } else { user + system };
    if id & PER_THREAD != 0 {
        let task = if pid == 0 { cx.task.clone() } else { cx.kernel.task(pid).ok_or(Errno::EINVAL)? };
        if !Arc::ptr_eq(&task.group, &cx.task.group) {
            return Err(Errno::EINVAL);
        }
        let task = Arc::downgrade(&task);
        return Ok(Box::new(move || task.upgrade().map_or(0, |t| pick(t.thread().cpu_time()))));
    }
    let group = if pid == 0 { cx.task.group.clone() } else { cx.kernel.group(pid).ok_or(Errno::EINVAL)? };
    let group = Arc::downgrade(&group);
    Ok(Box::new(move || group.upgrade().map_or(0, |g| pick(g.cpu_times()))))
}

fn is_host_clock(id: i32) -> bool {
    (0..=9).contains(&id) || id == CLOCK_TAI
}

/// clock_gettime(2).
pub fn clock_gettime(cx: &mut Ctx<'_>, id: i32, out: UserPtr<Pair>) -> SysResult {
    if is_host_clock(id) {
        return Err(Stop::Local);
    }
    if id >= 0 {
        return Err(Errno::EINVAL.into());
    }
    let now = cpu_clock(cx, id)?();
    out.write(&cx.mem, &pair(now))?;
    Ok(0)
}

/// clock_getres(2).
pub fn clock_getres(cx: &mut Ctx<'_>, id: i32, out: UserPtr<Pair>) -> SysResult {
    let ns = match id {
        libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE => {
            let r = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
            r.tv_nsec as u64
        }
        // As on a machine without a clock that could wake it.
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => return Err(Errno::EINVAL.into()),
        id if is_host_clock(id) => 1,
        id if id >= 0 => return Err(Errno::EINVAL.into()),
        id => cpu_clock(cx, id).map(|_| 1)?,
    };
    out.write_opt(&cx.mem, &pair(ns))?;
    Ok(0)
}

/// clock_settime(2), clock_adjtime(2) with changes: the clock is the host's.
pub fn clock_settime(cx: &mut Ctx<'_>, id: i32, time: UserPtr<Pair>) -> SysResult {
    // Of the clocks with a number of their own only this can be set at all; those of processes look at the time first.
    if id >= 0 && id != libc::CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    nanoseconds(time.read(&cx.mem)?)?;
    if id < 0 {
        let _its = cpu_clock(cx, id)?;
    }
    Err(Errno::EPERM.into())
}

/// settimeofday(2).
pub fn settimeofday(cx: &mut Ctx<'_>, time: UserPtr<Pair>, zone: UserPtr<[i32; 2]>) -> SysResult {
    if let Some([_, usec]) = time.read_opt(&cx.mem)? {
        if !(0..=USEC).contains(&usec) {
            return Err(Errno::EINVAL.into());
        }
    }
    zone.read_opt(&cx.mem)?;
    Err(Errno::EPERM.into())
}

/// gettimeofday(2).
pub fn gettimeofday(cx: &mut Ctx<'_>, time: UserPtr<Pair>, zone: UserPtr<[i32; 2]>) -> SysResult {
    time.write_opt(&cx.mem, &micro_pair(realtime()))?;
    zone.write_opt(&cx.mem, &[0, 0])?;
    Ok(0)
}

/// time(2).
pub fn time(cx: &mut Ctx<'_>, out: UserPtr<i64>) -> SysResult {
    let now = (realtime() / NSEC) as i64;
    out.write_opt(&cx.mem, &now)?;
    Ok(now as u64)
}

/// nanosleep(2).
pub fn nanosleep(cx: &mut Ctx<'_>, time: UserPtr<Pair>, _rest: UserPtr<Pair>) -> SysResult {
    nanoseconds(time.read(&cx.mem)?)?;
    Err(Stop::Local)
}

/// clock_nanosleep(2).
pub fn clock_nanosleep(
    cx: &mut Ctx<'_>,
    id: i32,
    flags: i32,
    time: UserPtr<Pair>,
    rest: UserPtr<Pair>,
) -> SysResult {
    let sleepless = [
        libc::CLOCK_THREAD_CPUTIME_ID,
        libc::CLOCK_MONOTONIC_RAW,
        libc::CLOCK_REALTIME_COARSE,
        libc::CLOCK_MONOTONIC_COARSE,
    ];
    if id >= 0 && !is_host_clock(id) {
        return Err(Errno::EINVAL.into());
    }
    if sleepless.contains(&id) || id < 0 && id & 7 == CLOCK_FD {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let span = nanoseconds(time.read(&cx.mem)?)?;
    if id < 0 || id == libc::CLOCK_PROCESS_CPUTIME_ID {
        // The process clock by its other name.
        return sleep_by_cpu(cx, if id < 0 { id } else { !0 << 3 | 2 }, flags, span, rest);
    }
    // Other flags are ignored: the stub leaves them out.
    Err(Stop::Local)
}

/// How soon a clock of processor time is looked at again.
const CPU_POLL: u64 = 1_000_000;

/// Sleeps until a process or thread has used so much processor time. What is left is told as of the last look.
fn sleep_by_cpu(cx: &mut Ctx<'_>, id: i32, flags: i32, span: u64, rest: UserPtr<Pair>) -> SysResult {
    const OWN_THREAD: i32 = 4;
    let own = !(id >> 3);
    if id & OWN_THREAD != 0 && (own == 0 || own == cx.task.tid()) {
        return Err(Errno::EINVAL.into());
    }
    let now = cpu_clock(cx, id)?();
    let absolute = flags & TIMER_ABSTIME != 0;
    let begun = cx.block.scratch.as_ref().and_then(|s| s.downcast_ref::<u64>()).copied();
    let until = begun.unwrap_or(if absolute { span } else { now.saturating_add(span) });
    cx.block.scratch = Some(Box::new(until));
    if now >= until {
        return Ok(0);
    }
    let left = until - now;
    if !absolute && rest.addr() != 0 && cx.block.runs > 0 {
        let _ = rest.write(&cx.mem, &pair(left));
    }
    // Several threads may use it up together.
    let wait = (left / cx.kernel.cpus.max(1) as u64).max(CPU_POLL);
    cx.block.deadline = Some(monotonic().saturating_add(wait));
    cx.wait(&[], Restart::NoHand)?;
    Err(Stop::Block(Restart::NoHand))
}

/// `sizeof(struct timex)`.
const TIMEX: usize = 208;
const TIME_ERROR: u64 = 5;
const STA_UNSYNC: i32 = 0x40;

/// adjtimex(2): read-only.
pub fn adjtimex(cx: &mut Ctx<'_>, buf: UserPtr<[u8; TIMEX]>) -> SysResult {
    let mut t = buf.read(&cx.mem)?;
    let modes = u32::from_le_bytes([t[0], t[1], t[2], t[3]]);
    const ADJ_OFFSET_SS_READ: u32 = 0xa001;
    if modes != 0 && modes != ADJ_OFFSET_SS_READ {
        return Err(Errno::EPERM.into());
    }
    let mut put = |at: usize, v: &[u8]| t[at..at + v.len()].copy_from_slice(v);
    let now = micro_pair(realtime());
    put(24, &16_000_000i64.to_le_bytes());
    put(32, &16_000_000i64.to_le_bytes());
    put(40, &STA_UNSYNC.to_le_bytes());
    put(48, &2i64.to_le_bytes());
    put(56, &1i64.to_le_bytes());
    put(64, &32_768_000i64.to_le_bytes());
    put(72, &now[0].to_le_bytes());
    put(80, &now[1].to_le_bytes());
    put(88, &10_000i64.to_le_bytes());
    buf.write(&cx.mem, &t)?;
    Ok(TIME_ERROR)
}

/// clock_adjtime(2).
pub fn clock_adjtime(cx: &mut Ctx<'_>, id: i32, buf: UserPtr<[u8; TIMEX]>) -> SysResult {
    buf.read(&cx.mem)?;
    match id {
        libc::CLOCK_REALTIME => adjtimex(cx, buf),
        id if id < 0 || is_host_clock(id) => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
