//! Time: the host's clocks, and one thread that tells waiters when a deadline has come.

pub mod ticker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::wait_queue::{PollEvents, Waiter};

pub const NSEC: u64 = 1_000_000_000;

fn clock(id: rustix::time::ClockId) -> u64 {
    let t = rustix::time::clock_gettime(id);
    (t.tv_sec as u64).wrapping_mul(NSEC).wrapping_add(t.tv_nsec as u64)
}

/// `CLOCK_MONOTONIC` in nanoseconds. All deadlines are in this clock.
pub fn monotonic() -> u64 {
    clock(rustix::time::ClockId::Monotonic)
}

/// `CLOCK_REALTIME` in nanoseconds.
pub fn realtime() -> u64 {
    clock(rustix::time::ClockId::Realtime)
}

/// `CLOCK_BOOTTIME` in nanoseconds.
pub fn boottime() -> u64 {
    clock(rustix::time::ClockId::Boottime)
}

type Key = (u64, u64);

#[derive(Default)]
struct Heap {
    due: BTreeMap<Key, Arc<dyn Waiter>>,
}

/// The timer thread's table. A waiter is told once, with [`PollEvents::IN`], at or after its deadline.
#[derive(Default)]
pub struct Timers {
    heap: Mutex<Heap>,
    changed: Condvar,
    next: AtomicU64,
    after: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// An armed deadline; dropping it disarms.
pub struct Armed {
    timers: Arc<Timers>,
    key: Key,
}

impl Timers {
    pub fn new() -> Arc<Timers> {
        Arc::new(Timers::default())
    }

    /// Starts the thread. `after` is called when waiters have been told (to run tasks that became ready).
    pub fn start(self: &Arc<Timers>, after: Box<dyn Fn() + Send + Sync>) -> std::io::Result<()> {
        let _ = self.after.set(after);
        let me = self.clone();
        std::thread::Builder::new()
            .name("timers".into())
            .stack_size(128 << 10)
            .spawn(move || me.run())
            .map(drop)
    }

    /// Tells `waiter` at `deadline` (monotonic nanoseconds).
    pub fn arm(self: &Arc<Timers>, deadline: u64, waiter: Arc<dyn Waiter>) -> Armed {
        let key = (deadline, self.next.fetch_add(1, Ordering::Relaxed));
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let first = heap.due.keys().next().is_none_or(|k| key < *k);
        heap.due.insert(key, waiter);
        drop(heap);
        if first {
            self.changed.notify_one();
        }
        Armed { timers: self.clone(), key }
    }

    fn run(&self) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = monotonic();
            let mut told = Vec::new();
            while let Some(first) = heap.due.first_entry() {
                if first.key().0 > now {
                    break;
                }
                told.push(first.remove());
            }
            if !told.is_empty() {
                drop(heap);
                for w in told {
                    w.notify(PollEvents::IN);
                }
                if let Some(after) = self.after.get() {
                    after();
                }
                heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            heap = match heap.due.keys().next() {
                Some(k) => {
                    let wait = Duration::from_nanos(k.0 - now);
                    self.changed.wait_timeout(heap, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(heap).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let mut heap = self.timers.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = heap.due.remove(&self.key);
        drop(heap);
        drop(gone);
    }
}
