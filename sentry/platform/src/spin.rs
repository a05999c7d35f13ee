//! The spinning worker: where a thread calls again and again and a processor would idle, a worker polls its slot, so
//! that a call costs no switch.
//!
//! It sleeps until the doorbell worker sees a burst. It spins only while fewer guest threads are runnable than there
//! are processors, for 100 µs after the last post, and not for a while after it found that
//! somebody else wanted its processor (it did not run for a moment though it never slept).
//!
//! Guest and worker are kept apart: schedulers like to put a woken thread next to its waker, where the two would
//! take turns at the end of their time slices. So the guest stays on the processor on which it rang, and the worker
//! on another one, as long as the slot is watched. A child inherits where its parent may run: `release` comes before
//! every clone.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{fence, AtomicBool, AtomicI32, AtomicU32, AtomicU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::core::Core;
use crate::slot::ANSWERED;
use crate::Thread;

/// This many doorbells, each so soon after the last, are a burst.
const BURST: u32 = 16;
const BURST_GAP: Duration = Duration::from_micros(60);
/// Slots watched at a time.
const HOT: usize = 8;
/// Without a post for so long, a slot is watched no more; without any, the worker sleeps.
const PATIENCE: Duration = Duration::from_micros(100);
/// So soon after a slot came under watch, a doorbell does not mean that the stub spun in vain: less than it spins.
const SETTLING: Duration = Duration::from_micros(150);
/// A gap in our own running that means that somebody else works on our processor: no time slice is shorter; an
/// interrupt, a short errand of another process, or a hypervisor's pause mostly is.
const PREEMPTED: Duration = Duration::from_millis(1);
/// How long we keep away then, doubled each time until spinning has paid.
const BACK_OFF: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_millis(250);
/// With fewer events than this in one go, spinning has cost more than it saved.
const WORTH: u64 = 32;
/// So many events in one go mean that it has paid.
const PAID: u64 = 2000;

/// When a thread's recent doorbells were.
#[derive(Default)]
pub(crate) struct Rings {
    last: AtomicU64,
    count: AtomicU32,
    /// The worker watches the slot (it alone sets this).
    watched: AtomicBool,
    /// When that began.
    since: AtomicU64,
    /// The host thread may not run everywhere.
    pinned: AtomicBool,
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
    /// The worker's host TID, once it runs.
    tid: AtomicI32,
    /// The worker's processor; -1 while it sleeps.
    cpu: AtomicI32,
    /// Where our threads may run.
    allowed: libc::cpu_set_t,
}

impl Spinner {
    pub(crate) fn new() -> Spinner {
        Spinner {
            started: Instant::now(),
            offered: Mutex::default(),
            wake: Condvar::new(),
            news: AtomicBool::new(false),
            not_before: AtomicU64::new(0),
            tid: AtomicI32::new(0),
            cpu: AtomicI32::new(-1),
            allowed: allowed(),
        }
    }

    /// Whether there is a second processor to spin on.
    pub(crate) fn possible(&self) -> bool {
        // SAFETY: counts the bits of a set of ours.
        unsafe { libc::CPU_COUNT(&self.allowed) > 1 }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    pub(crate) fn stop(&self) {
        self.wake.notify_all();
    }
}

/// `thread` rings, and waits for what we shall do: is it worth watching?
pub(crate) fn rang(core: &Core, thread: &Arc<Thread>) {
    let spinner = &core.spinner;
    let now = spinner.now();
    let rings = &thread.rings;
    let gap = now.wrapping_sub(rings.last.swap(now, Relaxed));
    if rings.watched.load(Relaxed) {
        if now.saturating_sub(rings.since.load(Relaxed)) < SETTLING.as_nanos() as u64 {
            // It looked at the flag before we set it, so it has not spun at all.
            return;
        }
        // It was spun for, in vain: the worker is slow with this call, or does not run at all.
        if thread.posted() {
            spinner.not_before.store(now + BACK_OFF.as_nanos() as u64, Relaxed);
        }
        thread.slot().watched.store(0, SeqCst);
        rings.watched.store(false, Relaxed);
        release(core, thread);
        rings.count.store(0, Relaxed);
        return;
    }
    if thread.slot().watched.load(Relaxed) != 0 {
        // Left over, or the guest's own doing: nobody watches, so it shall not spin.
        thread.slot().watched.store(0, SeqCst);
    }
    if gap > BURST_GAP.as_nanos() as u64 {
        rings.count.store(0, Relaxed);
        return;
    }
    if rings.count.fetch_add(1, Relaxed) < BURST {
        return;
    }
    rings.count.store(0, Relaxed);
    if now < spinner.not_before.load(Relaxed) || !core.processor_idle() {
        return;
    }
    let mut offered = spinner.offered.lock();
    if offered.len() < HOT && spinner.part(thread) {
        offered.push(thread.clone());
        spinner.news.store(true, Relaxed);
        spinner.wake.notify_one();
    }
}

impl Spinner {
    /// Sees to it that the worker and `thread`, which waits in its doorbell, run on different processors.
    fn part(&self, thread: &Thread) -> bool {
        let (tid, spins_on) = (self.tid.load(Relaxed), self.cpu.load(Relaxed));
        // SAFETY: asks only.
        let here = unsafe { libc::sched_getcpu() };
        if tid == 0 || here < 0 {
            return false;
        }
        let guest = if spins_on < 0 {
            run_on(tid, &without(&self.allowed, here));
            only(here)
        } else {
            without(&self.allowed, spins_on)
        };
        thread.rings.pinned.store(true, Relaxed);
        run_on(thread.tid(), &guest)
    }
}

/// Lets the host thread run everywhere again.
pub(crate) fn release(core: &Core, thread: &Thread) {
    if thread.rings.pinned.load(Relaxed) && thread.rings.pinned.swap(false, Relaxed) {
        run_on(thread.tid(), &core.spinner.allowed);
    }
}

/// As long as it lives, this worker and the host thread of a guest run on one processor.
pub(crate) struct Together<'a>(&'a Core, i32);

/// Keeps a worker and a thread that waits in a notification on the processor where they are. Installing a descriptor
/// takes the host a turn of each, and it wakes both wherever a processor idles, which takes that one many times as long
/// as the work.
pub(crate) fn together<'a>(core: &'a Core, thread: &Thread) -> Option<Together<'a>> {
    let spinner = &core.spinner;
    // Where the spinner has the other processor, nobody is woken there.
    let taken = spinner.cpu.load(Relaxed) >= 0 || !core.processor_idle();
    if taken || !spinner.possible() || thread.rings.pinned.load(Relaxed) {
        return None;
    }
    // SAFETY: asks only.
    let here = unsafe { libc::sched_getcpu() };
    let both = here >= 0 && run_on(thread.tid(), &only(here)) && run_on(0, &only(here));
    both.then_some(Together(core, thread.tid()))
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        let allowed = &self.0.spinner.allowed;
        run_on(self.1, allowed);
        run_on(0, allowed);
    }
}

fn allowed() -> libc::cpu_set_t {
    // SAFETY: all zero is an empty set, which the host fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, std::mem::size_of_val(&set), &raw mut set);
        set
    }
}

fn only(cpu: i32) -> libc::cpu_set_t {
    // SAFETY: all zero is an empty set; the macro checks the number.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        set
    }
}

fn without(set: &libc::cpu_set_t, cpu: i32) -> libc::cpu_set_t {
    let mut set = *set;
    // SAFETY: the macro checks the number.
    unsafe { libc::CPU_CLR(cpu as usize, &mut set) };
    set
}

/// Says where a thread of ours, or one of a stub, may run. Where the host refuses, it merely runs slower.
fn run_on(tid: i32, set: &libc::cpu_set_t) -> bool {
    // SAFETY: the host reads the set. A thread that has gone is ESRCH; its number is not given out again before its
    // process is reaped, and then the worst is that a thread of ours may run on fewer processors.
    unsafe { libc::sched_setaffinity(tid, std::mem::size_of_val(set), set) == 0 }
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
    // SAFETY: asks only.
    spinner.tid.store(unsafe { libc::gettid() }, Relaxed);
    while !core.stop.load(Relaxed) {
        {
            let mut offered = spinner.offered.lock();
            if offered.is_empty() {
                spinner.wake.wait(&mut offered);
            }
            if !offered.is_empty() {
                // SAFETY: asks only.
                let here = unsafe { libc::sched_getcpu() };
                run_on(0, &only(here));
                spinner.cpu.store(here, Relaxed);
            }
        }
        let mut hot = Vec::with_capacity(HOT);
        let (events, preempted) = watch(core, &mut hot);
        for h in hot.drain(..) {
            unwatch(core, &h.thread);
        }
        {
            // What was offered meanwhile is parted from where we stand now.
            let _offered = spinner.offered.lock();
            spinner.cpu.store(-1, Relaxed);
        }
        if events >= PAID && !preempted {
            back_off = BACK_OFF;
        }
        // Few events: the thread had ended its burst, or cannot run.
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
            adopt(core, hot, before);
        }
        let mut ran = false;
        let mut i = 0;
        while let Some(h) = hot.get_mut(i) {
            if !h.thread.rings.watched.load(Relaxed) {
                // Given up by the doorbell worker, perhaps while we were about to set the flag.
                let h = hot.swap_remove(i);
                unwatch(core, &h.thread);
                continue;
            }
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
fn adopt(core: &Core, hot: &mut Vec<Hot>, now: u64) {
    let spinner = &core.spinner;
    let mut offered = spinner.offered.lock();
    spinner.news.store(false, Relaxed);
    for thread in offered.drain(..) {
        if hot.len() < HOT && !hot.iter().any(|h| h.thread.id() == thread.id()) {
            thread.rings.since.store(spinner.now(), Relaxed);
            thread.rings.watched.store(true, Relaxed);
            thread.slot().watched.store(1, SeqCst);
            hot.push(Hot { thread, last: now });
        } else {
            release(core, &thread);
        }
    }
}

/// Stops watching a slot. What was posted just before is still taken: its stub saw the flag and spins.
fn unwatch(core: &Arc<Core>, thread: &Arc<Thread>) {
    thread.slot().watched.store(0, SeqCst);
    thread.rings.watched.store(false, Relaxed);
    release(core, thread);
    fence(SeqCst);
    if thread.posted() {
        core.run(thread, None);
        core.run_ready();
    }
}
