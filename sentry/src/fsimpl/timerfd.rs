//! timerfd_create(2). As on Linux an interval timer that nobody reads is not armed again; what it missed is counted
//! when somebody asks, so that a guest with a short interval does not keep the timer thread busy.

use std::any::Any;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::mm::Sink;
use crate::time::{boottime, monotonic, realtime, Armed, Timers};
use crate::vfs::{File, FileOps, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue, Waiter};

#[derive(Default)]
struct State {
    /// The next expiry, or the last one while `expired`; monotonic nanoseconds, which may lie before the machine's start.
    /// `None`: disarmed.
    deadline: Option<i64>,
    interval: u64,
    ticks: u64,
    /// Went off and is not armed again yet.
    expired: bool,
    armed: Option<Armed>,
}

pub struct TimerFd {
    me: Weak<TimerFd>,
    clock: i32,
    timers: Arc<Timers>,
    state: Mutex<State>,
    queue: WaitQueue,
}

/// Remaining (or first) time and interval, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub value: u64,
    pub interval: u64,
}

/// The clock is one of `CLOCK_REALTIME`, `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME` and the two alarm clocks.
pub fn create(cred: &Cred, timers: &Arc<Timers>, clock: i32, flags: u32) -> Arc<File> {
    let ops = Arc::new_cyclic(|me| TimerFd {
        me: me.clone(),
        clock,
        timers: timers.clone(),
        state: Mutex::default(),
        queue: WaitQueue::new(),
    });
    let flags = libc::O_RDWR as u32 | flags;
    File::anonymous(ops, Some(AnonInode::plain(cred)), flags, "anon_inode:[timerfd]".into())
}

impl TimerFd {
    /// timerfd_settime(2); returns the old setting. A value of zero disarms.
    pub fn set(&self, new: Setting, absolute: bool) -> Setting {
        let now = monotonic();
        let mut s = self.state.lock();
        let old = self.remaining(&mut s, now);
        let gone = s.armed.take();
        s.ticks = 0;
        s.expired = false;
        s.interval = new.interval;
        s.deadline = (new.value > 0).then(|| {
            if absolute {
                self.to_monotonic(new.value, now)
            } else {
                signed(now.saturating_add(new.value))
            }
        });
        self.arm(&mut s);
        drop(s);
        drop(gone);
        old
    }

    /// timerfd_gettime(2).
    pub fn get(&self) -> Setting {
        self.remaining(&mut self.state.lock(), monotonic())
    }

    fn remaining(&self, s: &mut State, now: u64) -> Setting {
        self.catch_up(s, now);
        let value = match s.deadline {
            Some(d) if !s.expired => u64::try_from(d.saturating_sub(signed(now))).unwrap_or(0),
            _ => 0,
        };
        Setting { value, interval: s.interval }
    }

    /// Counts what an interval timer has missed and arms it again.
    fn catch_up(&self, s: &mut State, now: u64) {
        let Some(last) = s.deadline.filter(|_| s.expired && s.interval > 0) else { return };
        let past = u64::try_from(signed(now).saturating_sub(last)).unwrap_or(0);
        let missed = past / s.interval;
        s.ticks = s.ticks.saturating_add(missed);
        s.deadline = Some(last.saturating_add(signed((missed + 1).saturating_mul(s.interval))));
        s.expired = false;
        self.arm(s);
    }

    fn arm(&self, s: &mut State) {
        if let (Some(d), Some(me)) = (s.deadline, self.me.upgrade()) {
            s.armed = Some(self.timers.arm(u64::try_from(d).unwrap_or(0), me));
        }
    }

    fn to_monotonic(&self, at: u64, now: u64) -> i64 {
        let clock_now = match self.clock {
            libc::CLOCK_MONOTONIC => now,
            libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => boottime(),
            _ => realtime(),
        };
        signed(now).saturating_add(signed(at).saturating_sub(signed(clock_now)))
    }
}

/// Nanoseconds that may be negative; what is too far is as far as can be.
fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

impl Waiter for TimerFd {
    fn notify(&self, _events: PollEvents) {
        let mut s = self.state.lock();
        // The setting may have changed while the timer thread was on its way.
        if s.expired || s.deadline.is_none_or(|d| d > signed(monotonic())) {
            return;
        }
        s.expired = true;
        s.ticks = s.ticks.saturating_add(1);
        let gone = s.armed.take();
        drop(s);
        drop(gone);
        self.queue.wake(PollEvents::IN);
    }
}

impl FileOps for TimerFd {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if to.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut s = self.state.lock();
        if s.ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        self.catch_up(&mut s, monotonic());
        let ticks = std::mem::take(&mut s.ticks);
        drop(s);
        to.put(&ticks.to_le_bytes())
    }

    fn poll(&self, _file: &File) -> PollEvents {
        if self.state.lock().ticks > 0 {
            PollEvents::IN
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
