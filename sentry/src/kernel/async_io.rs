//! Signals for descriptions that become ready (fcntl(2): `O_ASYNC`, `F_SETOWN`, `F_SETSIG`).
//!
//! What a description knows of it hangs at the `vfs::File`; while `O_ASYNC` is set it is a waiter like any other, that
//! answers with a signal to the owner. It is told with locks of the file held, so it calls into no file.

use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::signals::{self, Sent};
use super::thread_group::ThreadGroup;
use super::{Kernel, Task};
use crate::cred::Cred;
use crate::signal::{SigInfo, Signo, NSIG};
use crate::vfs::File;
use crate::wait_queue::{PollEvents, Registration, WaitQueue, Waiter};

/// Whom the signals are for (`F_OWNER_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    Thread,
    #[default]
    Process,
    Group,
}

/// `si_code` of the signals: what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    In = 1,
    Out = 2,
    Error = 4,
    HangUp = 6,
}

impl Reason {
    /// `si_band`, as Linux has it for each reason.
    fn band(self) -> i64 {
        let events = match self {
            Reason::In => PollEvents::IN | PollEvents::RDNORM,
            Reason::Out => PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND,
            Reason::Error => PollEvents::ERR,
            Reason::HangUp => PollEvents::HUP | PollEvents::ERR,
        };
        events.bits().into()
    }
}

/// How a file tells of its other end's going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// Sockets and terminals say so.
    Told,
    /// A pipe's ends are ready to read (nothing), or to write (in vain).
    AsReady,
}

#[derive(Default)]
struct State {
    kind: Kind,
    owner: Owner,
    signal: Signo,
    /// The real and effective user who set the owner: signals are sent in their name.
    users: (u32, u32),
    /// The descriptor that `O_ASYNC` was set by.
    fd: i32,
    watch: Option<Registration>,
}

#[derive(Clone, Default)]
enum Owner {
    #[default]
    Nobody,
    Thread(Weak<Task>),
    Process(Weak<ThreadGroup>),
    Group(i32),
}

/// What fcntl(2) has set of this for one description.
pub struct AsyncIo {
    me: Weak<AsyncIo>,
    kernel: Weak<Kernel>,
    reads: bool,
    writes: bool,
    hang_up: HangUp,
    state: Mutex<State>,
}

/// The description's part, made when it is first asked for.
pub fn of(kernel: &Arc<Kernel>, file: &File, hang_up: HangUp) -> Arc<AsyncIo> {
    let mut slot = file.async_io.lock();
    if let Some(there) = slot.as_ref().and_then(|s| s.clone().downcast::<AsyncIo>().ok()) {
        return there;
    }
    let new = Arc::new_cyclic(|me| AsyncIo {
        me: me.clone(),
        kernel: Arc::downgrade(kernel),
        reads: file.readable(),
        writes: file.writable(),
        hang_up,
        state: Mutex::default(),
    });
    *slot = Some(new.clone());
    new
}

impl AsyncIo {
    /// `F_SETOWN`, `F_SETOWN_EX`; 0 is nobody. `ESRCH` where there is no such task.
    pub fn set_owner(&self, kind: Kind, id: i32, by: &Cred) -> Result<()> {
        let kernel = self.kernel.upgrade().ok_or(Errno::ESRCH)?;
        let owner = match kind {
            _ if id == 0 => Owner::Nobody,
            Kind::Thread => Owner::Thread(Arc::downgrade(&kernel.task(id).ok_or(Errno::ESRCH)?)),
            Kind::Process => Owner::Process(Arc::downgrade(&kernel.group_of(id).ok_or(Errno::ESRCH)?)),
            Kind::Group if kernel.groups_where(|s| s.pgid == id).is_empty() => return Err(Errno::ESRCH),
            Kind::Group => Owner::Group(id),
        };
        let mut s = self.state.lock();
        (s.kind, s.owner, s.users) = (kind, owner, (by.uid, by.euid));
        Ok(())
    }

    /// `F_GETOWN_EX`: 0 where the owner has ended.
    pub fn owner(&self) -> (Kind, i32) {
        let (kind, owner) = {
            let s = self.state.lock();
            (s.kind, s.owner.clone())
        };
        let Some(kernel) = self.kernel.upgrade() else { return (kind, 0) };
        let id = match owner {
            Owner::Nobody => 0,
            Owner::Group(id) if kernel.groups_where(|s| s.pgid == id).is_empty() => 0,
            Owner::Group(id) => id,
            Owner::Thread(t) => t.upgrade().filter(|t| kernel.task(t.tid()).is_some()).map_or(0, |t| t.tid()),
            Owner::Process(g) => {
                let known = |g: &Arc<ThreadGroup>| kernel.group(g.pid).is_some_and(|k| Arc::ptr_eq(&k, g));
                g.upgrade().filter(known).map_or(0, |g| g.pid)
            }
        };
        (kind, id)
    }

    /// `F_SETSIG`: 0 is SIGIO without details.
    pub fn set_signal(&self, signal: u64) -> Result<()> {
        let signal = i32::try_from(signal).ok().filter(|s| (0..=NSIG as i32).contains(s));
        self.state.lock().signal = signal.ok_or(Errno::EINVAL)?;
        Ok(())
    }

    pub fn signal(&self) -> Signo {
        self.state.lock().signal
    }

    /// Begins to tell of what happens at a queue, in the name of a descriptor.
    pub fn begin(&self, queue: &WaitQueue, fd: i32) {
        let mut mask = PollEvents::empty();
        if self.reads {
            mask |= PollEvents::READABLE;
        }
        if self.writes {
            mask |= PollEvents::WRITABLE | PollEvents::WRBAND;
        }
        let watch = queue.register(mask, Arc::new(Watcher(self.me.clone())));
        let before = {
            let mut s = self.state.lock();
            s.fd = fd;
            s.watch.replace(watch)
        };
        drop(before);
    }

    pub fn end(&self) {
        let gone = self.state.lock().watch.take();
        drop(gone);
    }

    fn reason(&self, events: PollEvents) -> Option<Reason> {
        let gone = events.intersects(PollEvents::HUP);
        match self.hang_up {
            HangUp::AsReady if self.reads && (gone || events.intersects(PollEvents::IN)) => Some(Reason::In),
            HangUp::AsReady => Some(Reason::Out),
            HangUp::Told if gone => Some(Reason::HangUp),
            HangUp::Told if events.intersects(PollEvents::IN) => self.reads.then_some(Reason::In),
            // Room that a reader made comes with this bit; what else wakes writers is between sockets.
            HangUp::Told if events.intersects(PollEvents::WRBAND) => self.writes.then_some(Reason::Out),
            HangUp::Told => events.intersects(PollEvents::ERR).then_some(Reason::Error),
        }
    }
}

/// What the queue holds. Weakly, since the description's part has its place in the queue: it ends with the description.
struct Watcher(Weak<AsyncIo>);

impl Waiter for Watcher {
    fn notify(&self, events: PollEvents) {
        if let Some(io) = self.0.upgrade() {
            io.tell(events);
        }
    }
}

impl AsyncIo {
    fn tell(&self, events: PollEvents) {
        let Some(reason) = self.reason(events) else { return };
        let (owner, signal, users, fd) = {
            let s = self.state.lock();
            (s.owner.clone(), s.signal, s.users, s.fd)
        };
        let to = |group: &ThreadGroup| may_tell(group, users);
        let parcel = Parcel { signal, reason, fd };
        match owner {
            Owner::Nobody => {}
            Owner::Thread(t) => {
                if let Some(t) = t.upgrade().filter(|t| to(&t.group)) {
                    parcel.send(|info| signals::send_to_thread(&t, info, None));
                }
            }
            Owner::Process(g) => {
                if let Some(g) = g.upgrade().filter(|g| to(g)) {
                    parcel.send(|info| signals::send_to_process(&g, info, None));
                }
            }
            Owner::Group(pgid) => {
                let Some(kernel) = self.kernel.upgrade() else { return };
                for g in kernel.groups_where(|s| s.pgid == pgid).iter().filter(|g| to(g)) {
                    parcel.send(|info| signals::send_to_process(g, info, None));
                }
            }
        }
    }
}

/// Whether these users may send a process such a signal (fcntl(2): as with kill(2)).
fn may_tell(group: &ThreadGroup, (uid, euid): (u32, u32)) -> bool {
    let Some(they) = group.threads().first().map(|t| t.cred()) else { return false };
    euid == 0 || [uid, euid].iter().any(|u| *u == they.suid || *u == they.uid)
}

/// What is to be told.
struct Parcel {
    signal: Signo,
    reason: Reason,
    fd: i32,
}

impl Parcel {
    /// A real-time signal whose queue is full is told by SIGIO instead, which says the less.
    fn send(&self, send: impl Fn(SigInfo) -> Sent) {
        let sent = match self.signal {
            0 => Sent::Full,
            signo => send(SigInfo::poll(signo, self.reason as i32, self.reason.band(), self.fd)),
        };
        if sent == Sent::Full {
            send(signals::kernel_signal(libc::SIGIO));
        }
    }
}
