//! The spinning worker: where a thread calls again and again and a processor would idle, a worker polls its slot, so
//! that a call costs no switch.
//!
//! It sleeps until the doorbell worker sees a burst. It spins only while fewer guest threads are runnable than there
//! are processors, for some tens of microseconds after the last post, and not for a while after it found that
//! somebody else wanted its processor (it did not run for a moment though it never slept).

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::core::Core;
use crate::slot::ANSWERED;
use crate::Thread;

/// This many doorbells, each so soon after the last, are a burst.
const BURST: u32 = 16;
const BURST_GAP: Duration = Duration::from_micros(30);
/// Slots watched at a time.
const HOT: usize = 8;
/// Without a post for so long, a slot is watched no more; without any, the worker sleeps.
const PATIENCE: Duration = Duration::from_micros(50);
/// A gap in our own running that means that we were preempted.
const PREEMPTED: Duration = Duration::from_micros(20);
/// How long we keep away then, doubled each time until spinning has paid.
const BACK_OFF: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// With fewer events than this in one go, spinning has cost more than it saved.
const WORTH: u64 = 32;
/// So many events in one go mean that it has paid.
const PAID: u64 = 2000;

/// When a thread's recent doorbells were.
#[derive(Default)]
pub(crate) struct Rings {
    last: AtomicU64,
    count: AtomicU32,
}

pub(crate) struct Spinner {
    started: Instant,
    /// Threads that a burst was seen of, for the worker to watch.
    offered: Mutex<Vec<Arc<Thread>>>,
    wake: Condvar,
    /// Whether the list is not empty: looked at while spinning, without lock.
    news: AtomicBool,
    /// Nanoseconds since `started` before which nothing is offered.
    not_before: AtomicU64,
}

impl Spinner {
    pub(crate) fn new() -> Spinner {
        Spinner {
            started: Instant::now(),
            offered: Mutex::default(),
            wake: Condvar::new(),
            news: AtomicBool::new(false),
            not_before: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    pub(crate) fn stop(&self) {
        self.wake.notify_all();
    }
}

/// A doorbell of `thread` brought an event, which has been handled: is it worth watching?
pub(crate) fn rang(core: &Core, thread: &Arc<Thread>) {
    let spinner = &core.spinner;
    let now = spinner.now();
    let rings = &thread.rings;
    if now.wrapping_sub(rings.last.swap(now, Relaxed)) > BURST_GAP.as_nanos() as u64 {
        rings.count.store(0, Relaxed);
        return;
    }
    if rings.count.fetch_add(1, Relaxed) < BURST || now < spinner.not_before.load(Relaxed) {
        return;
    }
    rings.count.store(0, Relaxed);
    if core.processor_idle() {
        let mut offered = spinner.offered.lock();
        if offered.len() < HOT {
            offered.push(thread.clone());
            spinner.news.store(true, Relaxed);
            spinner.wake.notify_one();
        }
    }
}

/// A slot under watch.
struct Hot {
    thread: Arc<Thread>,
    last: u64,
}

/// The worker's life.
pub(crate) fn run(core: &Arc<Core>) {
    let spinner = &core.spinner;
    let mut back_off = BACK_OFF;
    while !core.stop.load(Relaxed) {
        {
            let mut offered = spinner.offered.lock();
            if offered.is_empty() {
                spinner.wake.wait(&mut offered);
            }
        }
        let mut hot = Vec::with_capacity(HOT);
        let (events, preempted) = watch(core, &mut hot);
        for h in hot.drain(..) {
            unwatch(core, &h.thread);
        }
        if events >= PAID {
            back_off = BACK_OFF;
        }
        // Few events: the thread had ended its burst, or it shares this very processor with us and cannot run.
        if preempted || events < WORTH {
            spinner.not_before.store(spinner.now() + back_off.as_nanos() as u64, Relaxed);
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }
}

/// Polls until it no longer pays: how many events there were, and whether we lost the processor.
fn watch(core: &Arc<Core>, hot: &mut Vec<Hot>) -> (u64, bool) {
    let spinner = &core.spinner;
    let mut events = 0;
    let mut before = spinner.now();
    loop {
        if spinner.news.load(Relaxed) {
            adopt(spinner, hot, before);
        }
        let mut ran = false;
        let mut i = 0;
        while let Some(h) = hot.get_mut(i) {
            if h.thread.posted() {
                core.run(&h.thread, None);
                core.run_ready();
                ran = true;
                events += 1;
                h.last = spinner.now();
                if h.thread.slot().state.load(Acquire) != ANSWERED && !h.thread.posted() {
                    // It waits for something else: it shall sleep in its doorbell, and not spin.
                    let h = hot.swap_remove(i);
                    unwatch(core, &h.thread);
                    continue;
                }
            }
            i += 1;
        }
        let now = spinner.now();
        if !ran {
            if now - before > PREEMPTED.as_nanos() as u64 {
                return (events, true);
            }
            let patience = PATIENCE.as_nanos() as u64;
            if let Some(i) = hot.iter().position(|h| now.saturating_sub(h.last) > patience) {
                let h = hot.swap_remove(i);
                unwatch(core, &h.thread);
            }
            std::hint::spin_loop();
        }
        before = now;
        if hot.is_empty() && !spinner.news.load(Relaxed) || core.stop.load(Relaxed) {
            return (events, false);
        }
        if events & 63 == 63 && !core.processor_idle() {
            return (events, false);
        }
    }
}

/// Takes over what was offered.
fn adopt(spinner: &Spinner, hot: &mut Vec<Hot>, now: u64) {
    let mut offered = spinner.offered.lock();
    spinner.news.store(false, Relaxed);
    for thread in offered.drain(..) {
        if hot.len() < HOT && !hot.iter().any(|h| h.thread.id() == thread.id()) {
            thread.slot().watched.store(1, SeqCst);
            hot.push(Hot { thread, last: now });
        }
    }
}

/// Stops watching a slot. What was posted just before is still taken: its stub saw the flag and spins.
fn unwatch(core: &Arc<Core>, thread: &Arc<Thread>) {
    thread.slot().watched.store(0, SeqCst);
    fence(SeqCst);
    if thread.posted() {
        core.run(thread, None);
        core.run_ready();
    }
}
