//! Clocks, sleeps, interval timers (time(7)). Sleeping and reading clocks is the stub's, on the host kernel.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};

use crate::kernel::extras::PosixTimer;
use crate::kernel::{signals, Ctx, Stop, SysResult, Task, ThreadGroup};
use crate::mm::UserPtr;
use crate::signal::SigInfo;
use crate::time::ticker::{Clock, Setting, Ticker};
use crate::time::{boottime, monotonic, realtime, NSEC};

/// `struct timespec`, `struct timeval`: seconds and a fraction.
pub type Pair = [i64; 2];

const USEC: i64 = 1_000_000;
const CLOCK_TAI: i32 = 11;
const TIMER_ABSTIME: i32 = 1;
/// The most timers of one process (in place of `RLIMIT_SIGPENDING`, which Linux counts them against).
const MAX_TIMERS: usize = 4096;

/// Nanoseconds of a timespec; `EINVAL` for what is none.
pub fn nanoseconds(t: Pair) -> Result<u64> {
    if t[0] < 0 || !(0..NSEC as i64).contains(&t[1]) {
        return Err(Errno::EINVAL);
    }
    Ok((t[0] as u64).saturating_mul(NSEC).saturating_add(t[1] as u64))
}

fn pair(ns: u64) -> Pair {
    [(ns / NSEC) as i64, (ns % NSEC) as i64]
}

fn micro_pair(ns: u64) -> Pair {
    [(ns / NSEC) as i64, (ns % NSEC / 1000) as i64]
}

fn micro_nanoseconds(t: Pair) -> Result<u64> {
    if t[0] < 0 || !(0..USEC).contains(&t[1]) {
        return Err(Errno::EINVAL);
    }
    Ok((t[0] as u64).saturating_mul(NSEC).saturating_add(t[1] as u64 * 1000))
}

/// The task or group that a negative clock number names (clock_getcpuclockid(3)).
fn cpu_clock(cx: &Ctx<'_>, id: i32) -> Result<u64> {
    const PER_THREAD: i32 = 4;
    let pid = !(id >> 3);
    let kind = id & 3;
    if kind == 3 {
        return Err(Errno::EINVAL);
    }
    let (user, system) = if id & PER_THREAD != 0 {
        let task = if pid == 0 { cx.task.clone() } else { cx.kernel.task(pid).ok_or(Errno::EINVAL)? };
        if !Arc::ptr_eq(&task.group, &cx.task.group) {
            return Err(Errno::EINVAL);
        }
        task.thread().cpu_time()
    } else {
        let group =
            if pid == 0 { cx.task.group.clone() } else { cx.kernel.group(pid).ok_or(Errno::EINVAL)? };
        group.cpu_times()
    };
    // Profiling, virtual, scheduler's.
    Ok(if kind == 1 { user } else { user + system })
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
    let now = cpu_clock(cx, id)?;
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
        id if is_host_clock(id) => 1,
        id if id >= 0 => return Err(Errno::EINVAL.into()),
        id => cpu_clock(cx, id).map(|_| 1)?,
    };
    out.write_opt(&cx.mem, &pair(ns))?;
    Ok(0)
}

/// clock_settime(2), clock_adjtime(2) with changes: the clock is the host's.
pub fn clock_settime(cx: &mut Ctx<'_>, id: i32, time: UserPtr<Pair>) -> SysResult {
    nanoseconds(time.read(&cx.mem)?)?;
    Err(if id == libc::CLOCK_REALTIME { Errno::EPERM } else { Errno::EINVAL }.into())
}

/// settimeofday(2).
pub fn settimeofday(_cx: &mut Ctx<'_>, _time: u64, _zone: u64) -> SysResult {
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
    _rest: UserPtr<Pair>,
) -> SysResult {
    if id < 0 || id == libc::CLOCK_THREAD_CPUTIME_ID || !is_host_clock(id) {
        return Err(Errno::EINVAL.into());
    }
    if matches!(id, libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    nanoseconds(time.read(&cx.mem)?)?;
    if flags & !TIMER_ABSTIME != 0 {
        // Other bits are ignored by Linux, but not known to the stub.
        return Err(Errno::EINVAL.into());
    }
    Err(Stop::Local)
}

const ITIMER_REAL: i32 = 0;
const ITIMER_VIRTUAL: i32 = 1;
const ITIMER_PROF: i32 = 2;

/// The interval timer of a group, made when it is first set.
fn itimer(cx: &Ctx<'_>, which: i32) -> Result<Arc<Ticker>> {
    let at = usize::try_from(which).ok().filter(|w| *w < 3).ok_or(Errno::EINVAL)?;
    let group = &cx.task.group;
    let mut timers = group.extras.itimers.lock();
    if let Some(t) = &timers[at] {
        return Ok(t.clone());
    }
    let signo = [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF][at];
    let owner = Arc::downgrade(group);
    let fire = move |_| match owner.upgrade() {
        Some(g) => {
            signals::send_to_group(&g, signals::kernel_signal(signo));
            true
        }
        None => false,
    };
    let clock: Clock = match which {
        ITIMER_VIRTUAL => group_clock(group, |t| t.0),
        ITIMER_PROF => group_clock(group, |t| t.0 + t.1),
        _ => Box::new(monotonic),
    };
    let by_cpu = which != ITIMER_REAL;
    let ticker = Ticker::new(cx.kernel.timers.clone(), clock, by_cpu, Box::new(fire));
    timers[at] = Some(ticker.clone());
    Ok(ticker)
}

fn group_clock(group: &Arc<ThreadGroup>, pick: fn((u64, u64)) -> u64) -> Clock {
    let group = Arc::downgrade(group);
    Box::new(move || group.upgrade().map_or(0, |g| pick(g.cpu_times())))
}

/// `struct itimerval` or `struct itimerspec`: interval, value.
type Spec = [Pair; 2];

fn micro_spec(s: Setting) -> Spec {
    // What is left is rounded up, so that a running timer never reads as nought.
    [micro_pair(s.interval), micro_pair(s.left.saturating_add(999))]
}

/// getitimer(2).
pub fn getitimer(cx: &mut Ctx<'_>, which: i32, out: UserPtr<Spec>) -> SysResult {
    let now = itimer(cx, which)?.get();
    out.write(&cx.mem, &micro_spec(now))?;
    Ok(0)
}

/// setitimer(2).
pub fn setitimer(cx: &mut Ctx<'_>, which: i32, new: UserPtr<Spec>, old: UserPtr<Spec>) -> SysResult {
    let [interval, value] = new.read_opt(&cx.mem)?.unwrap_or_default();
    let (interval, value) = (micro_nanoseconds(interval)?, micro_nanoseconds(value)?);
    let timer = itimer(cx, which)?;
    let deadline = (value > 0).then(|| timer.now().saturating_add(value));
    let before = timer.set(deadline, interval);
    old.write_opt(&cx.mem, &micro_spec(before))?;
    Ok(0)
}

/// alarm(2): the seconds that were left, rounded, but never down to nought.
pub fn alarm(cx: &mut Ctx<'_>, seconds: u32) -> SysResult {
    let timer = itimer(cx, ITIMER_REAL)?;
    let deadline = (seconds > 0).then(|| timer.now().saturating_add(u64::from(seconds) * NSEC));
    let left = timer.set(deadline, 0).left;
    Ok(if left == 0 { 0 } else { ((left + NSEC / 2) / NSEC).max(1) })
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD_ID: i32 = 4;

/// `struct sigevent`: value, signal, how, thread.
struct SigEvent {
    value: u64,
    signo: i32,
    notify: i32,
    tid: i32,
}

impl SigEvent {
    fn parse(raw: &[u8; 64]) -> SigEvent {
        let int = |at: usize| i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let value = u64::from(int(0) as u32) | u64::from(int(4) as u32) << 32;
        SigEvent { value, signo: int(8), notify: int(12), tid: int(16) }
    }
}

/// Who is told of an expiration.
enum Target {
    Nobody,
    Group(Weak<ThreadGroup>),
    Thread(Weak<Task>),
}

impl Target {
    /// Sends the signal unless one of its kind still waits; `None` where the target is gone, else whether it was sent.
    fn send(&self, info: impl FnOnce() -> SigInfo, signo: i32) -> Option<bool> {
        match self {
            Target::Nobody => Some(true),
            Target::Group(g) => {
                let g = g.upgrade()?;
                let waits = g.pending.lock().set().contains(signo);
                Some(!waits && signals::send_to_group(&g, info()))
            }
            Target::Thread(t) => {
                let t = t.upgrade()?;
                let waits = t.sig.lock().pending.set().contains(signo);
                Some(!waits && signals::send_to_task(&t, info()))
            }
        }
    }
}

/// timer_create(2).
pub fn timer_create(cx: &mut Ctx<'_>, clock: i32, event: UserPtr<[u8; 64]>, out: UserPtr<i32>) -> SysResult {
    let group = &cx.task.group;
    let read: Clock = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_TAI => Box::new(realtime),
        libc::CLOCK_MONOTONIC => Box::new(monotonic),
        libc::CLOCK_BOOTTIME => Box::new(boottime),
        libc::CLOCK_PROCESS_CPUTIME_ID => group_clock(group, |t| t.0 + t.1),
        libc::CLOCK_THREAD_CPUTIME_ID => {
            let task = Arc::downgrade(cx.task);
            Box::new(move || {
                let t = task.upgrade().map_or((0, 0), |t| t.thread().cpu_time());
                t.0 + t.1
            })
        }
        // As on a machine without a clock that could wake it (alarm_timer_create).
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let id = {
        let mut timers = group.extras.timers.lock();
        if timers.list.len() >= MAX_TIMERS {
            return Err(Errno::EAGAIN.into());
        }
        let id = timers.next;
        timers.next = timers.next.wrapping_add(1).max(0);
        id
    };
    let event = match event.read_opt(&cx.mem)? {
        Some(raw) => SigEvent::parse(&raw),
        None => SigEvent { value: id as u64, signo: libc::SIGALRM, notify: SIGEV_SIGNAL, tid: 0 },
    };
    let target = match event.notify {
        SIGEV_NONE => Target::Nobody,
        SIGEV_SIGNAL => Target::Group(Arc::downgrade(group)),
        SIGEV_THREAD_ID => {
            let task = cx.kernel.task(event.tid).filter(|t| Arc::ptr_eq(&t.group, group));
            Target::Thread(Arc::downgrade(&task.ok_or(Errno::EINVAL)?))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if event.notify != SIGEV_NONE && !(1..=64).contains(&event.signo) {
        return Err(Errno::EINVAL.into());
    }
    let overrun = Arc::new(AtomicI32::new(0));
    let missed = overrun.clone();
    let fire = move |times: u64| {
        let extra = i32::try_from(times - 1).unwrap_or(i32::MAX);
        let sent = target.send(|| SigInfo::timer(event.signo, id, extra, event.value), event.signo);
        match sent {
            None => return false,
            Some(true) => missed.store(extra, Ordering::Relaxed),
            Some(false) => {
                let sum = missed.load(Ordering::Relaxed).saturating_add(extra).saturating_add(1);
                missed.store(sum, Ordering::Relaxed);
            }
        }
        true
    };
    let by_cpu = matches!(clock, libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID);
    let ticker = Ticker::new(cx.kernel.timers.clone(), read, by_cpu, Box::new(fire));
    out.write(&cx.mem, &id)?;
    group.extras.timers.lock().list.insert(id, Arc::new(PosixTimer { ticker, clock, overrun }));
    Ok(0)
}

fn posix_timer(cx: &Ctx<'_>, id: i32) -> Result<Arc<PosixTimer>> {
    cx.task.group.extras.timers.lock().list.get(&id).cloned().ok_or(Errno::EINVAL)
}

fn spec(s: Setting) -> Spec {
    [pair(s.interval), pair(s.left)]
}

/// timer_settime(2).
pub fn timer_settime(
    cx: &mut Ctx<'_>,
    id: i32,
    flags: i32,
    new: UserPtr<Spec>,
    old: UserPtr<Spec>,
) -> SysResult {
    if new.addr() == 0 {
        return Err(Errno::EINVAL.into());
    }
    let [interval, value] = new.read(&cx.mem)?;
    let (interval, value) = (nanoseconds(interval)?, nanoseconds(value)?);
    let timer = posix_timer(cx, id)?;
    let now = timer.ticker.now();
    let absolute = flags & TIMER_ABSTIME != 0;
    let deadline = if absolute { value } else { now.saturating_add(value) };
    timer.overrun.store(0, Ordering::Relaxed);
    let before = timer.ticker.set((value > 0).then_some(deadline), interval);
    old.write_opt(&cx.mem, &spec(before))?;
    Ok(0)
}

/// timer_gettime(2).
pub fn timer_gettime(cx: &mut Ctx<'_>, id: i32, out: UserPtr<Spec>) -> SysResult {
    let now = posix_timer(cx, id)?.ticker.get();
    out.write(&cx.mem, &spec(now))?;
    Ok(0)
}

/// timer_getoverrun(2).
pub fn timer_getoverrun(cx: &mut Ctx<'_>, id: i32) -> SysResult {
    Ok(posix_timer(cx, id)?.overrun.load(Ordering::Relaxed) as u64)
}

/// timer_delete(2).
pub fn timer_delete(cx: &mut Ctx<'_>, id: i32) -> SysResult {
    let gone = cx.task.group.extras.timers.lock().list.remove(&id).ok_or(Errno::EINVAL)?;
    gone.ticker.set(None, 0);
    Ok(0)
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
    match id {
        libc::CLOCK_REALTIME => adjtimex(cx, buf),
        id if is_host_clock(id) => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
