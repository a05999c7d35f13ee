//! What has arrived at a socket and not been read, and what a sender has under way. As on Linux the *sender* is
//! charged for a message until the receiver has taken it whole (socket(7), `SO_SNDBUF`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use linux_abi::Result;

use super::addr::Addr;
use super::in_flight::InFlight;
use crate::mm::Sink;
use crate::vfs::File;
use crate::wait_queue::{PollEvents, WaitQueue};

/// `net.core.wmem_default` and `rmem_default`.
pub const DEFAULT_BUFFER: usize = 212_992;

/// Who sent something (`struct ucred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Ucred {
    /// What a socket without a peer answers.
    pub const NOBODY: Ucred = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };

    pub fn to_bytes(self) -> [u8; 12] {
        let mut b = [0; 12];
        b[0..4].copy_from_slice(&self.pid.to_le_bytes());
        b[4..8].copy_from_slice(&self.uid.to_le_bytes());
        b[8..12].copy_from_slice(&self.gid.to_le_bytes());
        b
    }
}

/// What a sender has under way.
pub struct SendBuffer {
    used: AtomicUsize,
    limit: AtomicUsize,
    queue: WaitQueue,
}

impl SendBuffer {
    pub fn new(queue: WaitQueue) -> Arc<SendBuffer> {
        Arc::new(SendBuffer { used: AtomicUsize::new(0), limit: AtomicUsize::new(DEFAULT_BUFFER), queue })
    }
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
    pub fn set_limit(&self, n: usize) {
        self.limit.store(n, Ordering::Relaxed);
        self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
    }
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
    /// Whether another message may start.
    pub fn has_room(&self) -> bool {
        self.used() < self.limit()
    }
    /// Whether poll(2) says writable: a quarter is used at most (unix_writable).
    pub fn mostly_free(&self) -> bool {
        self.used().saturating_mul(4) <= self.limit()
    }
    fn charge(self: &Arc<SendBuffer>, len: usize) -> Charge {
        // The size of the kernel's own packet buffer for so many bytes, about.
        let n = if len < 3000 { (len + 320).next_power_of_two().max(512) + 256 } else { len + 1280 };
        self.used.fetch_add(n, Ordering::SeqCst);
        Charge { to: self.clone(), n }
    }
}

/// Gives back what was charged when it goes. Must not be dropped under a socket's lock.
struct Charge {
    to: Arc<SendBuffer>,
    n: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.to.used.fetch_sub(self.n, Ordering::SeqCst);
        if self.to.mostly_free() {
            self.to.queue.wake(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND);
        }
    }
}

/// One message, or one piece of a stream.
pub struct Segment {
    data: Vec<u8>,
    /// How much of it has been read (streams).
    start: usize,
    pub from: Addr,
    pub cred: Ucred,
    pub files: InFlight,
    _charge: Charge,
}

impl Segment {
    pub fn new(
        data: Vec<u8>,
        from: Addr,
        cred: Ucred,
        files: Vec<Arc<File>>,
        sender: &Arc<SendBuffer>,
    ) -> Segment {
        let charge = sender.charge(data.len());
        Segment { data, start: 0, from, cred, files: InFlight::new(files), _charge: charge }
    }
    fn left(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }
}

/// What a receive gave besides bytes.
pub struct Received {
    pub count: usize,
    /// The whole length of the message.
    pub full: usize,
    pub from: Addr,
    pub cred: Ucred,
    pub files: Vec<Arc<File>>,
    /// Taken off the queue: dropped by whoever holds no lock.
    pub done: Vec<Segment>,
}

/// The receive queue.
#[derive(Default)]
pub struct ReceiveQueue {
    list: VecDeque<Segment>,
    /// The socket is closed: nothing more is taken in.
    pub closed: bool,
}

impl ReceiveQueue {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    pub fn len(&self) -> usize {
        self.list.len()
    }
    pub fn push(&mut self, s: Segment) {
        self.list.push_back(s);
    }
    /// All that is left, to be dropped with no lock held.
    pub fn take_all(&mut self) -> VecDeque<Segment> {
        std::mem::take(&mut self.list)
    }
    /// Bytes to read: of the next message, or of the whole stream (`FIONREAD`).
    pub fn available(&self, stream: bool) -> usize {
        if stream {
            self.list.iter().map(|s| s.left().len()).sum()
        } else {
            self.list.front().map_or(0, |s| s.left().len())
        }
    }

    /// Reads one message; what does not fit is lost. The queue must not be empty.
    pub fn take_message(&mut self, to: &mut dyn Sink, peek: bool) -> Option<Result<Received>> {
        let front = self.list.front()?;
        let n = front.left().len().min(to.remaining());
        if n > 0 {
            if let Err(e) = to.put(&front.left()[..n]) {
                return Some(Err(e));
            }
        }
        let mut got = Received {
            count: n,
            full: front.left().len(),
            from: front.from.clone(),
            cred: front.cred,
            files: if peek { front.files.list().to_vec() } else { Vec::new() },
            done: Vec::new(),
        };
        if !peek {
            if let Some(mut s) = self.list.pop_front() {
                got.files = s.files.take();
                got.done.push(s);
            }
        }
        Some(Ok(got))
    }

    /// Reads from a stream as far as there is data of one sender; a piece with files ends a read. With `split_creds`
    /// so does a change of credentials (`SO_PASSCRED`).
    pub fn take_stream(
        &mut self,
        to: &mut dyn Sink,
        peek: bool,
        split_creds: bool,
    ) -> Option<Result<Received>> {
        let front = self.list.front()?;
        let mut got = Received {
            count: 0,
            full: 0,
            from: front.from.clone(),
            cred: front.cred,
            files: Vec::new(),
            done: Vec::new(),
        };
        let mut at = 0;
        while to.remaining() > 0 {
            let Some(s) = self.list.get_mut(at) else { break };
            if split_creds && s.cred != got.cred {
                break;
            }
            let n = s.left().len().min(to.remaining());
            let put = match to.put(&s.left()[..n]) {
                Ok(k) => k,
                Err(e) if got.count == 0 => return Some(Err(e)),
                Err(_) => break,
            };
            got.count += put;
            let has_files = !s.files.list().is_empty();
            if peek {
                got.files.extend_from_slice(s.files.list());
                at += 1;
            } else {
                got.files.append(&mut s.files.take());
                s.start += put;
                if s.left().is_empty() {
                    got.done.extend(self.list.pop_front());
                }
            }
            if has_files || put < n {
                break;
            }
        }
        got.full = got.count;
        Some(Ok(got))
    }
}
