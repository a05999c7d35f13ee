//! Processor time of a thread group, and the end that `RLIMIT_CPU` puts to it (getrlimit(2)).
//!
//! The host counts by process, that is by address space: the time of one is counted once however many threads share
//! it, and not at all for a vfork child that only borrows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::signals;
use super::task::Task;
use super::thread_group::{ExitStatus, ThreadGroup};
use super::Kernel;
use crate::limits::{resource, Limit};
use crate::signal::info::SI_KERNEL;
use crate::signal::SigInfo;
use crate::time::ticker::{Clock, Next, Ticker};
use crate::time::{Armed, NSEC};
use crate::wait_queue::{PollEvents, Waiter};

impl ThreadGroup {
    /// User and system time in nanoseconds, of programs before exec too.
    pub fn cpu_times(&self) -> (u64, u64) {
        let mut sum = (self.dead_utime.load(Ordering::Relaxed), self.dead_stime.load(Ordering::Relaxed));
        let mut counted = Vec::new();
        for task in self.threads() {
            let thread = task.thread();
            let space = thread.space().id();
            if counted.contains(&space) || task.vfork_done.lock().is_some() {
                continue;
            }
            counted.push(space);
            let (user, system) = thread.cpu_time();
            sum = (sum.0 + user, sum.1 + system);
        }
        sum
    }

    /// The last thread of the group leaves its address space: its time is kept.
    pub fn keep_cpu_time(&self, task: &Task) {
        if task.vfork_done.lock().is_none() {
            let (user, system) = task.thread().cpu_time();
            self.dead_utime.fetch_add(user, Ordering::Relaxed);
            self.dead_stime.fetch_add(system, Ordering::Relaxed);
        }
    }

    fn cpu_limit(&self) -> Option<Limit> {
        let limit = self.limits.read().0.get(resource::CPU).copied()?;
        (limit.soft != u64::MAX || limit.hard != u64::MAX).then_some(limit)
    }
}

/// Begins, changes or ends the watch over a group's processor time, as its limit now says.
pub fn watch_limit(kernel: &Kernel, group: &Arc<ThreadGroup>) {
    let mut watch = group.extras.cpu_limit.lock();
    let Some(limit) = group.cpu_limit() else {
        if let Some(t) = watch.take() {
            t.set(None, 0);
        }
        return;
    };
    let ticker = watch.get_or_insert_with(|| {
        let (clock, fire) = (Arc::downgrade(group), Arc::downgrade(group));
        Ticker::new(
            kernel.timers.clone(),
            Box::new(move || clock.upgrade().map_or(0, |g| total(&g))),
            true,
            Box::new(move |_| match fire.upgrade() {
                Some(g) if over_limit(&g) => Next::GoesOn,
                _ => Next::Ends,
            }),
        )
    });
    // A limit of nought is one of a second (setrlimit(2) of Linux).
    let seconds = limit.soft.min(limit.hard).max(1);
    ticker.set(Some(seconds.saturating_mul(NSEC)), NSEC);
}

/// Ends the sandbox when all its guests together have used this much processor time.
pub fn watch_sandbox(kernel: &Arc<Kernel>, limit: Duration) {
    let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let watch = Arc::new(SandboxWatch {
        kernel: Arc::downgrade(kernel),
        limit,
        warned: AtomicBool::new(false),
        armed: Mutex::default(),
    });
    watch.arm(kernel, limit);
}

/// Processor time left over after SIGXCPU, for whoever handles it.
const LAST_WORDS: u64 = NSEC;
/// No look is sooner than this after the last.
const SOONEST: u64 = 2_000_000;

struct SandboxWatch {
    kernel: Weak<Kernel>,
    limit: u64,
    warned: AtomicBool,
    armed: Mutex<Option<Armed>>,
}

impl SandboxWatch {
    /// Looks again when all processors could have used up what is left.
    fn arm(self: &Arc<SandboxWatch>, kernel: &Kernel, left: u64) {
        let wait = (left / kernel.cpus.max(1) as u64).max(SOONEST);
        let look = Arc::new(SandboxLook(self.clone()));
        let next = kernel.timers.arm(crate::time::monotonic().saturating_add(wait), look);
        let before = self.armed.lock().replace(next);
        drop(before);
    }
}

struct SandboxLook(Arc<SandboxWatch>);

impl Waiter for SandboxLook {
    fn notify(&self, _: PollEvents) {
        let watch = &self.0;
        let Some(kernel) = watch.kernel.upgrade() else { return };
        let used = kernel.platform.cpu_time();
        let end = watch.limit.saturating_add(LAST_WORDS);
        if used < watch.limit {
            return watch.arm(&kernel, watch.limit - used);
        }
        if !watch.warned.swap(true, Ordering::Relaxed) {
            let limit = Duration::from_nanos(watch.limit);
            tracing::warn!("the processor time of {limit:?} is used up (--cpu-time); the command is ended");
            for group in kernel.groups_where(|s| s.zombie.is_none()) {
                signals::send_to_group(&group, signals::kernel_signal(libc::SIGXCPU));
            }
        }
        if used < end {
            return watch.arm(&kernel, end - used);
        }
        kernel.platform.shutdown();
        kernel.ended(ExitStatus::Signal(libc::SIGXCPU, false));
    }
}

/// The thread that a signal of an interval timer of processor time is for: one that uses it, as on Linux, where the tick
/// interrupts the thread that runs. Where several do, each has its turn.
pub fn who_runs<'a>(threads: &'a [Arc<Task>], info: &SigInfo) -> Option<&'a Arc<Task>> {
    let by_cpu = matches!(info.signo, libc::SIGPROF | libc::SIGVTALRM) && info.code == SI_KERNEL;
    if !by_cpu || threads.len() < 2 {
        return None;
    }
    let running: Vec<&Arc<Task>> = threads.iter().filter(|t| t.thread().in_guest()).collect();
    let turn = crate::time::monotonic() / TURN;
    running.get((turn % running.len().max(1) as u64) as usize).copied()
}

/// Nanoseconds after which another of the running threads is chosen.
const TURN: u64 = 1_000_000;

/// A clock that stands while the thread does not run. The host tells what a process has used, not its threads
/// (clock_getcpuclockid(3) serves those of the caller alone): what was used while the thread was seen running is its own.
pub fn thread_clock(task: &Arc<Task>) -> Clock {
    let seen = Mutex::new((0, 0));
    let task = Arc::downgrade(task);
    Box::new(move || {
        let Some(task) = task.upgrade() else { return 0 };
        let (user, system) = task.thread().cpu_time();
        let alone = task.group.threads().len() < 2;
        let mut seen = seen.lock();
        let (last, own) = *seen;
        let used = (user + system).saturating_sub(last);
        let own = if alone || last == 0 || task.thread().in_guest() { own + used } else { own };
        *seen = (user + system, own);
        own
    })
}

fn total(group: &ThreadGroup) -> u64 {
    let (user, system) = group.cpu_times();
    user + system
}

/// SIGXCPU at the soft limit and every second from then on, SIGKILL at the hard one. Whether to go on watching.
fn over_limit(group: &Arc<ThreadGroup>) -> bool {
    let Some(limit) = group.cpu_limit() else { return false };
    let used = total(group) / NSEC;
    if used >= limit.hard {
        signals::send_to_group(group, signals::kernel_signal(libc::SIGKILL));
        return false;
    }
    if used >= limit.soft {
        signals::send_to_group(group, signals::kernel_signal(libc::SIGXCPU));
        // As Linux has it: the soft limit moves on with what was told.
        if let Some(l) = group.limits.write().0.get_mut(resource::CPU) {
            l.soft = (used + 1).min(l.hard);
        }
    }
    true
}
