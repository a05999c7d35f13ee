//! System V message queues (msgsnd(2), msgrcv(2), msgctl(2)).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{seconds, Perm};
use crate::wait_queue::{PollEvents, WaitQueue};

/// `MSGMNI`, `MSGMAX`, `MSGMNB`.
pub const MOST: usize = 32000;
pub const MAX_SIZE: usize = 8192;
pub const DEFAULT_BYTES: u64 = 16384;
/// All bytes in queues together, each message with some overhead: a bound on the sentry's memory.
const MAX_ALL: usize = 64 << 20;
const OVERHEAD: usize = 64;

static ALL: AtomicUsize = AtomicUsize::new(0);

/// A message; counted as long as it lives.
pub struct Message {
    pub kind: i64,
    pub data: Vec<u8>,
}

impl Message {
    /// `ENOMEM` where all queues together are too large.
    pub fn new(kind: i64, data: Vec<u8>) -> Result<Message> {
        let cost = data.len() + OVERHEAD;
        let message = Message { kind, data };
        // The message's drop takes back what is added here.
        if ALL.fetch_add(cost, SeqCst) + cost > MAX_ALL {
            return Err(Errno::ENOMEM);
        }
        Ok(message)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        ALL.fetch_sub(self.data.len() + OVERHEAD, SeqCst);
    }
}

/// A queue.
pub struct Queue {
    pub state: Mutex<State>,
    pub queue: WaitQueue,
}

/// What changes of a queue.
pub struct State {
    pub perm: Perm,
    pub list: VecDeque<Message>,
    pub bytes: u64,
    pub max_bytes: u64,
    pub sent_at: i64,
    pub received_at: i64,
    pub changed_at: i64,
    pub sender: i32,
    pub receiver: i32,
    pub removed: bool,
}

impl Queue {
    pub fn new(perm: Perm) -> Arc<Queue> {
        let state = State {
            perm,
            list: VecDeque::new(),
            bytes: 0,
            max_bytes: DEFAULT_BYTES,
            sent_at: 0,
            received_at: 0,
            changed_at: seconds(),
            sender: 0,
            receiver: 0,
            removed: false,
        };
        Arc::new(Queue { state: Mutex::new(state), queue: WaitQueue::new() })
    }

    pub fn remove(&self) {
        self.state.lock().removed = true;
        self.wake();
    }

    /// Whoever waits tries again.
    pub fn wake(&self) {
        self.queue.wake(PollEvents::IN);
    }
}

impl State {
    pub fn has_room(&self, size: usize) -> bool {
        self.bytes + size as u64 <= self.max_bytes && (self.list.len() as u64) < self.max_bytes
    }

    pub fn push(&mut self, message: Message, pid: i32) {
        self.bytes += message.data.len() as u64;
        self.list.push_back(message);
        (self.sent_at, self.sender) = (seconds(), pid);
    }

    /// Which message a receiver wants (msgrcv(2)): the first, the first of a type, the first of another type, or the
    /// lowest type up to a bound.
    pub fn wanted(&self, kind: i64, except: bool) -> Option<usize> {
        if kind == 0 {
            return (!self.list.is_empty()).then_some(0);
        }
        if kind > 0 {
            return self.list.iter().position(|m| (m.kind == kind) != except);
        }
        let most = kind.checked_neg().unwrap_or(i64::MAX);
        let lowest = self.list.iter().map(|m| m.kind).filter(|k| *k <= most).min()?;
        self.list.iter().position(|m| m.kind == lowest)
    }

    pub fn take(&mut self, at: usize, pid: i32) -> Option<Message> {
        let m = self.list.remove(at)?;
        self.bytes = self.bytes.saturating_sub(m.data.len() as u64);
        (self.received_at, self.receiver) = (seconds(), pid);
        Some(m)
    }
}
