//! What tasks and thread groups remember for calls that only ask for it back: scheduling, timers, personality.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::signal::queue::Charge;
use crate::time::ticker::Ticker;

/// Bits of personality(2) that have an effect here.
pub mod personality {
    pub const UNAME26: u32 = 0x0002_0000;
    pub const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;
    pub const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    /// Execution domains; 32-bit ones show another machine's name.
    pub const PER_MASK: u32 = 0xff;
    pub const PER_LINUX32: u32 = 8;
}

/// Of a thread group.
#[derive(Default)]
pub struct GroupExtras {
    /// `prctl(PR_SET_DUMPABLE)`, kept as "not dumpable" so that nought is the default.
    pub undumpable: AtomicBool,
    pub personality: AtomicU32,
    pub thp_disabled: AtomicBool,
    /// setitimer(2): real, virtual, profiling.
    pub itimers: Mutex<[Option<Arc<Ticker>>; 3]>,
    /// Watches over `RLIMIT_CPU`.
    pub cpu_limit: Mutex<Option<Arc<Ticker>>>,
    /// What it traces (ptrace(2)).
    pub tracer: super::ptrace::Tracer,
    /// What is given back to System V semaphores at the end.
    pub sem_undo: Mutex<super::ipc::sem::Undo>,
    /// timer_create(2).
    pub timers: Mutex<PosixTimers>,
}

/// Timers by number.
#[derive(Default)]
pub struct PosixTimers {
    pub next: i32,
    pub list: BTreeMap<i32, Arc<PosixTimer>>,
}

/// A timer of timer_create(2).
pub struct PosixTimer {
    pub ticker: Arc<Ticker>,
    /// Expirations beyond the one that the last signal told of; those before, that it will tell of when it is taken.
    pub overrun: AtomicI32,
    pub missed: AtomicU64,
    /// Counts settings: a signal of an earlier one is void, as is one of a timer that is no more.
    pub setting: AtomicU64,
    /// Its place in the queue of its user's signals.
    pub place: Charge,
}

impl PosixTimer {
    /// A signal of setting `of` is taken: the timer is armed again. What its overrun is then; `None` where it is void.
    pub fn taken(&self, of: u64) -> Option<i32> {
        if self.setting.load(Relaxed) != of {
            return None;
        }
        let missed = self.missed.swap(0, Relaxed).saturating_add(self.ticker.taken());
        let overrun = i32::try_from(missed).unwrap_or(i32::MAX);
        self.overrun.store(overrun, Relaxed);
        Some(overrun)
    }

    /// Its signals are void.
    pub fn renew(&self) -> u64 {
        self.overrun.store(0, Relaxed);
        self.missed.store(0, Relaxed);
        self.setting.fetch_add(1, Relaxed) + 1
    }
}

/// Of a task.
#[derive(Default)]
pub struct TaskExtras {
    pub nice: AtomicI32,
    pub policy: AtomicI32,
    pub priority: AtomicI32,
    pub reset_on_fork: AtomicBool,
    /// `PR_SET_TIMERSLACK`, in nanoseconds; 0 is its default.
    pub slack: AtomicU64,
    /// What that default is: the creator's slack (prctl(2)); 0 is the first process's.
    pub default_slack: AtomicU64,
    pub ioprio: AtomicI32,
    /// It became a user who had more tasks than its limit allows.
    pub over_nproc: AtomicBool,
    /// The processors of sched_setaffinity(2); 0 is all.
    pub affinity: AtomicU64,
}

impl GroupExtras {
    /// What a fork child takes over; timers it has none (timer_create(2), setitimer(2)).
    pub fn inherit(&self, from: &GroupExtras) {
        self.personality.store(from.personality.load(Relaxed), Relaxed);
        self.undumpable.store(from.undumpable.load(Relaxed), Relaxed);
        self.thp_disabled.store(from.thp_disabled.load(Relaxed), Relaxed);
    }

    /// exec: the timers of timer_create(2) are deleted, and the process can be dumped again.
    pub fn on_exec(&self) {
        self.undumpable.store(false, Relaxed);
        let gone = std::mem::take(&mut self.timers.lock().list);
        for t in gone.values() {
            t.renew();
            t.ticker.set(None, 0);
        }
    }

    /// The group has ended.
    pub fn stop_timers(&self) {
        self.on_exec();
        let gone = std::mem::take(&mut *self.itimers.lock());
        for t in gone.into_iter().flatten() {
            t.set(None, 0);
        }
        let gone = self.cpu_limit.lock().take();
        if let Some(t) = gone {
            t.set(None, 0);
        }
    }
}

/// The timer slack of the first process: 50 µs (prctl(2)).
const FIRST_SLACK: u64 = 50_000;

impl TaskExtras {
    /// The timer slack in force.
    pub fn slack(&self) -> u64 {
        [&self.slack, &self.default_slack]
            .map(|s| s.load(Relaxed))
            .into_iter()
            .find(|s| *s != 0)
            .unwrap_or(FIRST_SLACK)
    }

    /// What a child or a new thread starts with (sched(7)).
    pub fn inherit(&self, from: &TaskExtras) {
        let (nice, policy) = (from.nice.load(Relaxed), from.policy.load(Relaxed));
        let realtime = matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR);
        let resets = from.reset_on_fork.load(Relaxed);
        self.nice.store(if resets && (realtime || nice < 0) { 0 } else { nice }, Relaxed);
        if !(resets && realtime) {
            self.policy.store(policy, Relaxed);
            self.priority.store(from.priority.load(Relaxed), Relaxed);
        }
        self.default_slack.store(from.slack(), Relaxed);
        self.ioprio.store(from.ioprio.load(Relaxed), Relaxed);
        self.affinity.store(from.affinity.load(Relaxed), Relaxed);
    }
}
