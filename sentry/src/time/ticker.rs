//! Interval timers: what setitimer(2) and timer_create(2) have in common. A ticker counts by any clock; those that run
//! with processor time are looked at again when they may have come due at the earliest.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{monotonic, Armed, Timers};
use crate::wait_queue::{PollEvents, Waiter};

/// How soon a clock of processor time is looked at again.
const CPU_POLL: u64 = 1_000_000;

/// Reads a clock in nanoseconds.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;
/// How a timer goes on once it has told of an expiration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoesOn,
    /// It is not armed before somebody has taken notice ([`Ticker::taken`]).
    Waits,
    /// Nobody is interested any more.
    Ends,
}

/// Told of expirations, how many since the last time.
pub type Fire = Box<dyn Fn(u64) -> Next + Send + Sync>;

/// How soon after an expiration the next one is told of: those in between are counted.
const SOONEST: u64 = 100_000;

/// A timer that fires once or again and again.
pub struct Ticker {
    me: Weak<Ticker>,
    timers: Arc<Timers>,
    clock: Clock,
    /// The clock stands while nothing runs.
    by_cpu: bool,
    fire: Fire,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the ticker's clock.
    deadline: Option<u64>,
    interval: u64,
    armed: Option<Armed>,
}

/// Time left until the next expiration (0 where disarmed), and the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub left: u64,
    pub interval: u64,
}

impl Ticker {
    pub fn new(timers: Arc<Timers>, clock: Clock, by_cpu: bool, fire: Fire) -> Arc<Ticker> {
        Arc::new_cyclic(|me| Ticker { me: me.clone(), timers, clock, by_cpu, fire, state: Mutex::default() })
    }

    /// The clock's reading.
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// What is left.
    pub fn get(&self) -> Setting {
        let now = self.now();
        let s = self.state.lock();
        // A timer that is due but has not fired yet has a moment left: nought would say that it is disarmed.
        let left = s.deadline.map_or(0, |d| match now.checked_sub(d) {
            Some(past) if s.interval > 0 => s.interval - past % s.interval,
            _ => d.saturating_sub(now).max(1),
        });
        Setting { left, interval: s.interval }
    }

    /// Arms it for a reading of its clock, or disarms it; returns what was left.
    pub fn set(&self, deadline: Option<u64>, interval: u64) -> Setting {
        let before = self.get();
        let gone = {
            let mut s = self.state.lock();
            s.deadline = deadline;
            s.interval = interval;
            s.armed.take()
        };
        drop(gone);
        if deadline.is_some() {
            self.arm(0);
        }
        before
    }

    /// Somebody has taken notice of the last expiration: arms the next one. How many there were since.
    pub fn taken(&self) -> u64 {
        let now = self.now();
        let missed = {
            let mut s = self.state.lock();
            let Some(d) = s.deadline.filter(|d| s.interval > 0 && *d <= now) else {
                drop(s);
                self.arm(0);
                return 0;
            };
            let missed = 1 + (now - d) / s.interval;
            s.deadline = Some(d.saturating_add(s.interval.saturating_mul(missed)));
            missed
        };
        self.arm(0);
        missed
    }

    fn arm(&self, soonest: u64) {
        let deadline = self.state.lock().deadline;
        let (Some(deadline), Some(me)) = (deadline, self.me.upgrade()) else { return };
        let mut wait = deadline.saturating_sub(self.now()).max(soonest);
        if self.by_cpu {
            wait = wait.max(CPU_POLL);
        }
        let armed = self.timers.arm(monotonic().saturating_add(wait), me);
        let before = self.state.lock().armed.replace(armed);
        drop(before);
    }
}

impl Waiter for Ticker {
    fn notify(&self, _events: PollEvents) {
        let now = self.now();
        let mut fired = 0;
        let again = {
            let mut s = self.state.lock();
            match s.deadline {
                Some(d) if d <= now => {
                    fired = 1;
                    let missed = (now - d).checked_div(s.interval);
                    fired += missed.unwrap_or(0);
                    s.deadline = missed.map(|_| d.saturating_add(s.interval.saturating_mul(fired)));
                }
                _ => {}
            }
            s.deadline.is_some()
        };
        if fired == 0 {
            self.arm(0);
        } else if (self.fire)(fired) == Next::GoesOn && again {
            self.arm(SOONEST);
        }
    }
}
