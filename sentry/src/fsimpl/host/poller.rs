//! One thread that waits on host descriptors where a guest waits for them: epoll(7), each descriptor armed for one
//! event at a time, so that a terminal nobody reads costs nothing however much is typed.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::convert::errno;
use crate::wait_queue::{PollEvents, WaitQueue};

/// How many events one wait brings.
const BATCH: usize = 32;

/// The poller; shared by all donated streams.
pub struct HostPoller {
    epoll: OwnedFd,
    watched: Mutex<Table>,
    after: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    by_token: HashMap<u64, Watched>,
}

struct Watched {
    fd: Arc<OwnedFd>,
    queue: WaitQueue,
    /// What epoll(7) will report next, once.
    armed: PollEvents,
    /// Whether the descriptor is in the epoll set.
    added: bool,
}

/// A descriptor's place in the poller; dropping it takes the descriptor out.
pub struct Watch {
    poller: Arc<HostPoller>,
    token: u64,
}

impl HostPoller {
    /// Makes the epoll set; [`HostPoller::start`] makes the thread.
    pub fn new() -> Result<Arc<HostPoller>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(errno)?;
        Ok(Arc::new(HostPoller { epoll, watched: Mutex::default(), after: OnceLock::new() }))
    }

    /// Starts the thread. `after` is called when waiters have been told (to run tasks that became ready).
    pub fn start(self: &Arc<HostPoller>, after: Box<dyn Fn() + Send + Sync>) -> std::io::Result<()> {
        let _ = self.after.set(after);
        let me = self.clone();
        std::thread::Builder::new()
            .name("host-poller".into())
            .stack_size(128 << 10)
            .spawn(move || me.run())
            .map(drop)
    }

    /// Notes a descriptor and whom to tell; it is not waited for until [`Watch::arm`].
    pub fn watch(self: &Arc<HostPoller>, fd: Arc<OwnedFd>, queue: WaitQueue) -> Watch {
        let mut table = self.watched.lock();
        let token = table.next;
        table.next += 1;
        table.by_token.insert(token, Watched { fd, queue, armed: PollEvents::empty(), added: false });
        Watch { poller: self.clone(), token }
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => {
                    tracing::error!("waiting for the standard streams failed: {e}");
                    return;
                }
            }
            for event in &events {
                // By value: the structure is packed.
                let (data, flags) = (event.data, event.flags);
                self.fired(data.u64(), PollEvents::from_bits_truncate(flags.bits()));
            }
            if let Some(after) = self.after.get() {
                after();
            }
        }
    }

    fn fired(&self, token: u64, events: PollEvents) {
        let queue = {
            let mut table = self.watched.lock();
            let Some(w) = table.by_token.get_mut(&token) else { return };
            // What did not come is still waited for, except where an end of the stream comes again and again.
            let rest = w.armed - events;
            w.armed = PollEvents::empty();
            if !rest.is_empty() && !events.intersects(PollEvents::HUP | PollEvents::ERR) {
                self.set(token, w, rest);
            }
            w.queue.clone()
        };
        queue.wake(events);
    }

    /// Puts `events` into the epoll set. `false` where the descriptor is one that is always ready (epoll_ctl(2),
    /// `EPERM`).
    fn set(&self, token: u64, w: &mut Watched, events: PollEvents) -> bool {
        let flags = EventFlags::from_bits_retain(events.bits()) | EventFlags::ONESHOT;
        let data = EventData::new_u64(token);
        let done = if w.added {
            epoll::modify(&self.epoll, &w.fd, data, flags)
        } else {
            epoll::add(&self.epoll, &w.fd, data, flags)
        };
        if done.is_ok() {
            w.added = true;
            w.armed = events;
        }
        done.is_ok()
    }
}

impl Watch {
    /// Has the queue told once of each of `events`.
    pub fn arm(&self, events: PollEvents) {
        let always_ready = {
            let mut table = self.poller.watched.lock();
            let Some(w) = table.by_token.get_mut(&self.token) else { return };
            if w.armed.contains(events) {
                return;
            }
            let all = w.armed | events;
            (!self.poller.set(self.token, w, all)).then(|| w.queue.clone())
        };
        if let Some(queue) = always_ready {
            queue.wake(events);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let gone = self.poller.watched.lock().by_token.remove(&self.token);
        if let Some(w) = gone.filter(|w| w.added) {
            // Fails only where the descriptor is out already.
            let _ = epoll::delete(&self.poller.epoll, &w.fd);
        }
    }
}

/// What is ready now, without waiting (poll(2)).
pub(super) fn ready(fd: BorrowedFd<'_>, wanted: PollEvents) -> Result<PollEvents> {
    use rustix::event::{PollFd, PollFlags};
    let wanted = PollFlags::from_bits_retain(wanted.bits() as u16);
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut fds, Some(&zero)) {
            Ok(_) => {
                let [polled] = &fds;
                return Ok(PollEvents::from_bits_truncate(u32::from(polled.revents().bits())));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Errno(e.raw_os_error())),
        }
    }
}
