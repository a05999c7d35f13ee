//! The workers that answer the doorbell: one, the leader, sleeps in it and handles what comes; the others stand by for
//! an event that takes long (a gofer that hangs, a slow disk), so that it holds up nobody but its own guest.
//!
//! Promoting another worker for every event would wake another processor each time. Instead a watcher looks now and
//! then, only while events come, whether the leader is still at the event it was at before, and takes its place then.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::core::Core;

/// So many events may take long at a time before guests have to wait for one of them to end.
pub(crate) const WORKERS: u64 = 4;
/// How often the watcher looks; an event that is the same at two looks takes long.
const LOOK: Duration = Duration::from_millis(10);

/// Who leads, and how far it is.
#[derive(Default)]
pub(crate) struct Doorbell {
    /// Who leads, in the low byte, and above it a count that goes up when the leader takes an event (then it is odd)
    /// and when it is done: one word, so that the leader's being done and another's taking over exclude each other.
    state: AtomicU64,
    /// The watcher sleeps until there is an event.
    resting: AtomicBool,
    /// Whether there is a watcher; its lock is that of all who stand by.
    watched: Mutex<bool>,
    /// For the next watcher, once the last has become the leader.
    watch: Condvar,
    /// For the watcher that rests.
    stir: Condvar,
}

const COUNT: u64 = 1 << 8;

impl Doorbell {
    fn leads(&self, me: u64) -> bool {
        self.state.load(SeqCst) % COUNT == me
    }

    /// The leader has an event; the word then is what [`Doorbell::done`] wants.
    fn begin(&self) -> u64 {
        let state = self.state.fetch_add(COUNT, SeqCst) + COUNT;
        if self.resting.load(SeqCst) {
            let _watched = self.watched.lock();
            self.stir.notify_one();
        }
        state
    }

    /// Whether the leader still leads.
    fn done(&self, state: u64) -> bool {
        self.state.compare_exchange(state, state + COUNT, SeqCst, SeqCst).is_ok()
    }

    /// Takes over from a leader that is still at the event at which `state` was read.
    fn take_over(&self, state: u64, me: u64) -> bool {
        self.state.compare_exchange(state, state - state % COUNT + COUNT + me, SeqCst, SeqCst).is_ok()
    }

    /// Wakes all that sleep here, so that they see the end.
    pub(crate) fn stop(&self) {
        let _watched = self.watched.lock();
        self.watch.notify_all();
        self.stir.notify_all();
    }
}

/// The life of worker number `me`.
pub(crate) fn run(core: &Arc<Core>, me: u64) {
    while !core.stop.load(Relaxed) {
        if core.doorbell.leads(me) {
            lead(core);
        } else {
            stand_by(core, me);
        }
    }
}

/// Sleeps until a stub rings; handles the event on the stub's own processor, and then what became ready by it. Comes
/// back when an event took so long that another leads now.
fn lead(core: &Arc<Core>) {
    while !core.stop.load(Relaxed) {
        match core.listener.receive() {
            Ok(notif) => {
                let state = core.doorbell.begin();
                core.notified(&notif);
                core.run_ready();
                if !core.doorbell.done(state) {
                    return;
                }
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ENOENT)) => {}
            // No process has the filter any more: the zygote is gone.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Waits to be the watcher, then watches until it leads itself.
fn stand_by(core: &Arc<Core>, me: u64) {
    let doorbell = &core.doorbell;
    let mut watched = doorbell.watched.lock();
    while *watched && !core.stop.load(Relaxed) {
        doorbell.watch.wait(&mut watched);
    }
    *watched = true;
    let mut last = doorbell.state.load(SeqCst);
    while !core.stop.load(Relaxed) {
        doorbell.stir.wait_for(&mut watched, LOOK);
        let now = doorbell.state.load(SeqCst);
        if now != last {
            last = now;
        } else if now / COUNT % 2 == 1 {
            if doorbell.take_over(now, me) {
                break;
            }
        } else {
            // Nothing came since the last look: no more looking until something does.
            doorbell.resting.store(true, SeqCst);
            if doorbell.state.load(SeqCst) == last && !core.stop.load(Relaxed) {
                doorbell.stir.wait(&mut watched);
            }
            doorbell.resting.store(false, SeqCst);
        }
    }
    *watched = false;
    doorbell.watch.notify_one();
}
