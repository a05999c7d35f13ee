//! Wait queues: who wants to know when something changes. No thread ever sleeps on one; a waiter is told, and what it
//! does then (put a task on the ready list, mark an epoll item) must be short and must not take kernel locks but its own.
//!
//! A waiter registers first and looks at the condition afterwards, so that a change in between is not lost.

use std::sync::Arc;

use parking_lot::Mutex;

bitflags::bitflags! {
    /// Readiness, with the values of poll(2) and epoll(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct PollEvents: u32 {
        const IN = 0x1;
        const PRI = 0x2;
        const OUT = 0x4;
        const ERR = 0x8;
        const HUP = 0x10;
        const NVAL = 0x20;
        const RDNORM = 0x40;
        const RDBAND = 0x80;
        const WRNORM = 0x100;
        const WRBAND = 0x200;
        const MSG = 0x400;
        const RDHUP = 0x2000;
        /// What a reader and a writer wait for, errors and hang-up included.
        const READABLE = 0x1 | 0x40 | 0x8 | 0x10 | 0x2000;
        const WRITABLE = 0x4 | 0x100 | 0x8 | 0x10;
    }
}

/// Someone who is told of a change.
pub trait Waiter: Send + Sync {
    /// `events` is what may have become true. Called with the queue's lock released.
    fn notify(&self, events: PollEvents);
}

#[derive(Default)]
struct Inner {
    next: u64,
    waiters: Vec<(u64, PollEvents, Arc<dyn Waiter>)>,
}

/// A wait queue; clones are handles to the same queue.
#[derive(Clone, Default)]
pub struct WaitQueue(Arc<Mutex<Inner>>);

/// A waiter's place in a queue; dropping it leaves the queue.
pub struct Registration {
    queue: WaitQueue,
    id: u64,
}

impl WaitQueue {
    pub fn new() -> WaitQueue {
        WaitQueue::default()
    }

    /// Tells `waiter` of every later change that touches `mask` (errors and hang-up always count).
    pub fn register(&self, mask: PollEvents, waiter: Arc<dyn Waiter>) -> Registration {
        let mut q = self.0.lock();
        let id = q.next;
        q.next += 1;
        q.waiters.push((id, mask | PollEvents::ERR | PollEvents::HUP, waiter));
        Registration { queue: self.clone(), id }
    }

    /// Tells all waiters whose mask meets `events`.
    pub fn wake(&self, events: PollEvents) {
        self.wake_some(events, usize::MAX);
    }

    /// Tells at most `n` waiters, those that came first before the others.
    pub fn wake_some(&self, events: PollEvents, n: usize) {
        let told: Vec<Arc<dyn Waiter>> = {
            let q = self.0.lock();
            if q.waiters.is_empty() {
                return;
            }
            q.waiters.iter().filter(|w| w.1.intersects(events)).take(n).map(|w| w.2.clone()).collect()
        };
        for w in told {
            w.notify(events);
        }
    }

    /// Whether somebody waits for all of `events`. Only a lasting waiter (an epoll item) asks for every event, since it
    /// hears of changes long after it has looked.
    pub fn waits_for_all(&self, events: PollEvents) -> bool {
        self.0.lock().waiters.iter().any(|w| w.1.contains(events))
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        !self.0.lock().waiters.is_empty()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let gone = {
            let mut q = self.queue.0.lock();
            q.waiters.iter().position(|w| w.0 == self.id).map(|i| q.waiters.remove(i))
        };
        drop(gone);
    }
}
