//! Interval timers: setitimer(2), alarm(2), timer_create(2) and what belongs to it.
//!
//! A timer of timer_create(2) whose signal waits is not armed: what it misses meanwhile is counted when the signal is
//! taken, so that a short interval costs nothing.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};

use super::time::{cpu_clock, micro_nanoseconds, micro_pair, nanoseconds, pair, Pair, TIMER_ABSTIME};
use crate::kernel::extras::PosixTimer;
use crate::kernel::signals::{self, Sent};
use crate::kernel::{Ctx, SysResult, Task, ThreadGroup};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::signal::queue::Origin;
use crate::signal::SigInfo;
use crate::time::ticker::{Clock, Next, Setting, Ticker};
use crate::time::{boottime, monotonic, realtime, NSEC};

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
            Next::GoesOn
        }
        None => Next::Ends,
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
const SIGEV_THREAD: i32 = 2;
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

/// The signal of one expiration, until it is taken.
struct Expiry {
    timer: Weak<PosixTimer>,
    /// Which of the timer's settings it belongs to.
    setting: u64,
    signo: i32,
    id: i32,
    value: u64,
}

impl Origin for Expiry {
    fn taken(&self, _: SigInfo) -> Option<SigInfo> {
        let overrun = self.timer.upgrade()?.taken(self.setting)?;
        Some(SigInfo::timer(self.signo, self.id, overrun, self.value))
    }
}

impl Target {
    /// Sends the signal of an expiration.
    fn tell(&self, timer: &Arc<PosixTimer>, event: &SigEvent, id: i32, times: u64) -> Next {
        let expiry = Arc::new(Expiry {
            timer: Arc::downgrade(timer),
            setting: timer.setting.load(Ordering::Relaxed),
            signo: event.signo,
            id,
            value: event.value,
        });
        timer.missed.fetch_add(times - 1, Ordering::Relaxed);
        let info = SigInfo::timer(event.signo, id, 0, event.value);
        let sent = match self {
            // Nobody waits for it; what it has missed is counted when somebody asks.
            Target::Nobody => return Next::Waits,
            Target::Group(g) => match g.upgrade() {
                Some(g) => signals::send_to_process(&g, info, Some(expiry)),
                None => return Next::Ends,
            },
            Target::Thread(t) => match t.upgrade() {
                Some(t) => signals::send_to_thread(&t, info, Some(expiry)),
                None => return Next::Ends,
            },
        };
        match sent {
            Sent::Queued => Next::Waits,
            Sent::Nothing | Sent::Full => Next::GoesOn,
        }
    }
}

/// The clock of a timer, and whether it stands while nothing runs.
fn timer_clock(cx: &Ctx<'_>, clock: i32) -> Result<(Clock, bool)> {
    let steady: Clock = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_TAI => Box::new(realtime),
        libc::CLOCK_MONOTONIC => Box::new(monotonic),
        libc::CLOCK_BOOTTIME => Box::new(boottime),
        libc::CLOCK_PROCESS_CPUTIME_ID => return Ok((cpu_clock(cx, !0 << 3 | 2)?, true)),
        libc::CLOCK_THREAD_CPUTIME_ID => return Ok((crate::kernel::cpu::thread_clock(cx.task), true)),
        // As on a machine without a clock that could wake it (alarm_timer_create).
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => return Err(Errno::EOPNOTSUPP),
        id if id < 0 && id & 7 == 3 => return Err(Errno::EOPNOTSUPP),
        id if id < 0 => return Ok((cpu_clock(cx, id)?, true)),
        libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP);
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok((steady, false))
}

/// timer_create(2).
pub fn timer_create(cx: &mut Ctx<'_>, clock: i32, event: UserPtr<[u8; 64]>, out: UserPtr<i32>) -> SysResult {
    let group = &cx.task.group;
    let given = event.read_opt(&cx.mem)?;
    // Whether there is a process behind a clock is found out last, once the number is told.
    let found = timer_clock(cx, clock);
    let nobodys = clock < 0 && matches!(found, Err(Errno::EINVAL));
    let (read, by_cpu): (Clock, bool) = if nobodys { (Box::new(|| 0), false) } else { found? };
    // Each has its place among the signals that wait (timer_create(2), "EAGAIN"), whether one does or not.
    let limit = group.limit(resource::SIGPENDING);
    let place = cx.kernel.queued_signals.charge(cx.task.cred().uid, limit).ok_or(Errno::EAGAIN)?;
    let id = {
        let mut timers = group.extras.timers.lock();
        let id = timers.next;
        timers.next = timers.next.wrapping_add(1).max(0);
        id
    };
    let event = match given {
        Some(raw) => SigEvent::parse(&raw),
        None => SigEvent { value: id as u64, signo: libc::SIGALRM, notify: SIGEV_SIGNAL, tid: 0 },
    };
    let target = match event.notify {
        SIGEV_NONE => Target::Nobody,
        SIGEV_SIGNAL | SIGEV_THREAD => Target::Group(Arc::downgrade(group)),
        SIGEV_THREAD_ID => {
            let task = cx.kernel.task(event.tid).filter(|t| Arc::ptr_eq(&t.group, group));
            Target::Thread(Arc::downgrade(&task.ok_or(Errno::EINVAL)?))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if event.notify != SIGEV_NONE && !(1..=64).contains(&event.signo) {
        return Err(Errno::EINVAL.into());
    }
    let timers = cx.kernel.timers.clone();
    let timer = Arc::new_cyclic(|me: &Weak<PosixTimer>| {
        let me = me.clone();
        let fire = move |times| match me.upgrade() {
            Some(timer) => target.tell(&timer, &event, id, times),
            None => Next::Ends,
        };
        PosixTimer {
            ticker: Ticker::new(timers, read, by_cpu, Box::new(fire)),
            overrun: AtomicI32::new(0),
            missed: AtomicU64::new(0),
            setting: AtomicU64::new(0),
            place,
        }
    });
    out.write(&cx.mem, &id)?;
    if nobodys {
        return Err(Errno::EINVAL.into());
    }
    group.extras.timers.lock().list.insert(id, timer);
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
    // Disarmed first: an expiration on its way belongs to the setting before.
    let before = timer.ticker.set(None, 0);
    timer.renew();
    timer.ticker.set((value > 0).then_some(deadline), interval);
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
    gone.renew();
    gone.ticker.set(None, 0);
    Ok(0)
}
