//! The socket: one type for UNIX and loopback sockets of every kind, since they differ in names and in errnos, hardly in
//! what they do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::addr::Addr;
use super::names::{self, Binding};
use super::outside::Legs;
use super::queue::{ReceiveQueue, SendBuffer, Ucred, DEFAULT_BUFFER};
use crate::vfs::InodeRef;
use crate::wait_queue::{PollEvents, WaitQueue};

/// Directions of shutdown(2), as bits.
pub const SHUT_READ: u8 = 1;
pub const SHUT_WRITE: u8 = 2;
pub const SHUT_BOTH: u8 = 3;
/// `net.core.somaxconn`.
const SOMAXCONN: usize = 4096;
/// Connects that wait for room in one backlog (`net.ipv4.tcp_max_syn_backlog`).
pub(super) const MAX_WAITING: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Idle,
    Listening,
    Connected,
}

/// Addresses and standing; changed under one lock.
pub(super) struct State {
    pub status: Status,
    pub local: Addr,
    /// Whom a connected socket talks to, by name.
    pub remote: Addr,
    pub binding: Option<Binding>,
    pub peer: Weak<Socket>,
    pub peer_cred: Ucred,
    /// Connections that have come and not been accepted.
    pub pending: VecDeque<Arc<Socket>>,
    pub backlog: usize,
    /// Connections under way that found no room in the backlog.
    pub waiting: VecDeque<Waiting>,
}

/// A TCP connect that was answered `EINPROGRESS` and goes on once its listener has room, as a SYN that is sent again.
pub(super) struct Waiting {
    pub client: Weak<Socket>,
    pub local: Addr,
    pub remote: Addr,
    pub cred: Ucred,
}

/// What setsockopt(2) keeps.
#[derive(Default)]
pub struct Options {
    pub pass_cred: AtomicBool,
    pub reuse_addr: AtomicBool,
    pub reuse_port: AtomicBool,
    pub keep_alive: AtomicBool,
    pub broadcast: AtomicBool,
    pub no_delay: AtomicBool,
    pub v6_only: AtomicBool,
    /// Nanoseconds; 0 is for ever.
    pub receive_timeout: AtomicU64,
    pub send_timeout: AtomicU64,
    pub receive_buffer: AtomicUsize,
    pub priority: AtomicI32,
    /// `SO_LINGER`: on, seconds.
    pub linger: Mutex<(i32, i32)>,
}

pub struct Socket {
    pub family: i32,
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    pub kind: i32,
    pub protocol: i32,
    pub options: Options,
    pub queue: WaitQueue,
    pub(super) me: Weak<Socket>,
    pub(super) state: Mutex<State>,
    pub(super) received: Mutex<ReceiveQueue>,
    pub(super) send_buffer: Arc<SendBuffer>,
    /// Directions that are shut down.
    pub(super) shut: AtomicU8,
    /// Sockets of the host that lead out, and whether there are any.
    pub(super) legs: Mutex<Legs>,
    pub(super) has_legs: AtomicBool,
    /// `SO_ERROR`.
    pub(super) error: AtomicI32,
    /// A connect that was answered `EINPROGRESS`, its outcome not yet collected by a second connect.
    pub(super) in_progress: AtomicBool,
    /// That connect waits for room in a listener's backlog (the state `SYN_SENT`).
    pub(super) waits: AtomicBool,
    /// This TCP socket has written to a peer that was gone: the next write is `EPIPE`.
    pub(super) reset: AtomicBool,
}

impl Socket {
    pub fn new(family: i32, kind: i32, protocol: i32) -> Arc<Socket> {
        Arc::new_cyclic(|me| {
            let queue = WaitQueue::new();
            Socket {
                family,
                kind,
                protocol,
                options: Options::default(),
                send_buffer: SendBuffer::new(queue.clone()),
                queue,
                me: me.clone(),
                state: Mutex::new(State {
                    status: Status::Idle,
                    local: unbound(family),
                    remote: Addr::Unspec,
                    binding: None,
                    peer: Weak::new(),
                    peer_cred: Ucred::NOBODY,
                    pending: VecDeque::new(),
                    backlog: 0,
                    waiting: VecDeque::new(),
                }),
                received: Mutex::default(),
                shut: AtomicU8::new(0),
                legs: Mutex::default(),
                has_legs: AtomicBool::new(false),
                error: AtomicI32::new(0),
                in_progress: AtomicBool::new(false),
                waits: AtomicBool::new(false),
                reset: AtomicBool::new(false),
            }
        })
    }

    /// socketpair(2).
    pub fn pair(kind: i32, protocol: i32, cred: Ucred) -> (Arc<Socket>, Arc<Socket>) {
        let (a, b) = (Socket::new(libc::AF_UNIX, kind, protocol), Socket::new(libc::AF_UNIX, kind, protocol));
        for (one, other) in [(&a, &b), (&b, &a)] {
            let mut s = one.state.lock();
            s.status = Status::Connected;
            s.peer = Arc::downgrade(other);
            s.remote = Addr::Unix(Vec::new());
            s.peer_cred = cred;
        }
        (a, b)
    }

    pub fn is_unix(&self) -> bool {
        self.family == libc::AF_UNIX
    }
    pub fn is_stream(&self) -> bool {
        self.kind == libc::SOCK_STREAM
    }
    /// Datagrams: there is no connection, only a default destination.
    pub fn is_dgram(&self) -> bool {
        self.kind == libc::SOCK_DGRAM
    }
    pub(super) fn is_tcp(&self) -> bool {
        self.is_stream() && !self.is_unix()
    }
    pub fn status(&self) -> Status {
        self.state.lock().status
    }
    pub fn v6_only(&self) -> bool {
        self.options.v6_only.load(Ordering::Relaxed)
    }
    pub fn passes_cred(&self) -> bool {
        self.options.pass_cred.load(Ordering::Relaxed)
    }
    pub fn peer_cred(&self) -> Ucred {
        self.state.lock().peer_cred
    }
    pub(super) fn peer(&self) -> Option<Arc<Socket>> {
        self.state.lock().peer.upgrade()
    }
    pub(super) fn is_shut(&self, direction: u8) -> bool {
        self.shut.load(Ordering::SeqCst) & direction != 0
    }

    /// getsockname(2).
    pub fn local(&self) -> Addr {
        self.state.lock().local.clone()
    }
    /// getpeername(2).
    pub fn remote(&self) -> Result<Addr> {
        // Whether a connect that leads out has arrived shows when it is looked at.
        self.connecting_out();
        let s = self.state.lock();
        if s.status != Status::Connected {
            return Err(Errno::ENOTCONN);
        }
        Ok(s.remote.clone())
    }

    /// `SO_ERROR`, which reading clears. A connect to the outside that has failed is over with it.
    pub fn take_error(&self) -> Option<Errno> {
        let Some(leg) = self.tcp_leg() else { return self.take_own_error() };
        let error = self.take_own_error().or_else(|| leg.take_error());
        if error.is_some() && self.status() == Status::Idle {
            self.drop_legs();
        }
        error
    }
    pub(super) fn take_own_error(&self) -> Option<Errno> {
        match self.error.swap(0, Ordering::SeqCst) {
            0 => None,
            n => Some(Errno(n)),
        }
    }
    pub(super) fn set_error(&self, e: Errno) {
        self.error.store(e.0, Ordering::SeqCst);
    }

    pub fn send_limit(&self) -> usize {
        self.send_buffer.limit()
    }
    pub fn set_send_limit(&self, n: usize) {
        self.send_buffer.set_limit(n);
    }
    pub fn receive_limit(&self) -> usize {
        match self.options.receive_buffer.load(Ordering::Relaxed) {
            0 => DEFAULT_BUFFER,
            n => n,
        }
    }

    /// `FIONREAD`.
    pub fn available(&self) -> usize {
        if let Some(leg) = self.tcp_leg() {
            return leg.available();
        }
        self.received.lock().available(self.is_stream())
    }
    /// `TIOCOUTQ`.
    pub fn unsent(&self) -> usize {
        self.send_buffer.used()
    }

    /// Whether two sockets may be bound to one port (socket(7), `SO_REUSEADDR`, `SO_REUSEPORT`).
    pub(super) fn may_share_with(&self, other: &Socket) -> bool {
        let both = |pick: fn(&Options) -> &AtomicBool| {
            pick(&self.options).load(Ordering::Relaxed) && pick(&other.options).load(Ordering::Relaxed)
        };
        let listening = self.is_stream() && other.status() == Status::Listening;
        both(|o| &o.reuse_port) || both(|o| &o.reuse_addr) && !listening
    }

    /// Binds an abstract UNIX name; an empty one takes any.
    pub fn bind_abstract(&self, name: &[u8]) -> Result<()> {
        let me = self.arc()?;
        self.check_unbound()?;
        let (name, binding) = names::bind_abstract(&me, name)?;
        self.set_bound(Addr::Unix(name), binding);
        Ok(())
    }

    /// `EINVAL` where it has a name already.
    pub fn check_unbound(&self) -> Result<()> {
        if self.state.lock().binding.is_some() {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Binds the inode that was made under `path`.
    pub fn bind_inode(&self, path: &[u8], inode: InodeRef) -> Result<()> {
        let binding = names::bind_inode(&self.arc()?, inode)?;
        self.set_bound(Addr::Unix(path.to_vec()), binding);
        Ok(())
    }

    /// Binds an address and a port.
    pub fn bind_port(&self, at: SocketAddr) -> Result<()> {
        self.check_unbound()?;
        if !names::is_local(at.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let (at, binding) = names::bind_port(&self.arc()?, at)?;
        self.set_bound(Addr::Inet(at), binding);
        Ok(())
    }

    fn set_bound(&self, local: Addr, binding: Binding) {
        let mut s = self.state.lock();
        s.local = local;
        s.binding = Some(binding);
    }

    pub(super) fn arc(&self) -> Result<Arc<Socket>> {
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    /// listen(2).
    pub fn listen(&self, backlog: i32, cred: Ucred) -> Result<()> {
        if self.is_dgram() {
            return Err(Errno::EOPNOTSUPP);
        }
        let bound = self.state.lock().binding.is_some();
        if !bound {
            if self.is_unix() {
                return Err(Errno::EINVAL);
            }
            if let Addr::Inet(any) = unbound(self.family) {
                self.bind_port(any)?;
            }
        }
        let mut s = self.state.lock();
        if s.status == Status::Connected {
            return Err(Errno::EINVAL);
        }
        s.status = Status::Listening;
        s.backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        s.peer_cred = cred;
        drop(s);
        self.queue.wake(PollEvents::OUT);
        Ok(())
    }

    /// The last descriptor is gone.
    pub fn close(&self) {
        self.drop_legs();
        let (peer, binding, pending, connected) = {
            let mut s = self.state.lock();
            let connected = s.status == Status::Connected;
            s.status = Status::Idle;
            (std::mem::take(&mut s.peer), s.binding.take(), std::mem::take(&mut s.pending), connected)
        };
        let unread = {
            let mut r = self.received.lock();
            r.closed = true;
            r.take_all()
        };
        self.waits.store(false, Ordering::SeqCst);
        self.refuse_waiting();
        self.shut.store(SHUT_BOTH, Ordering::SeqCst);
        if let Some(peer) = peer.upgrade().filter(|_| connected && !self.is_dgram()) {
            if !unread.is_empty() {
                peer.set_error(Errno::ECONNRESET);
            }
            let gone = if self.is_tcp() && unread.is_empty() { SHUT_READ } else { SHUT_BOTH };
            peer.shut.fetch_or(gone, Ordering::SeqCst);
            peer.queue.wake(PollEvents::all());
        }
        drop(unread);
        drop(binding);
        for p in pending {
            if let Some(client) = p.peer() {
                client.set_error(Errno::ECONNRESET);
            }
            p.close();
        }
        self.queue.wake(PollEvents::all());
    }
}

/// The address of a socket without one.
pub(super) fn unbound(family: i32) -> Addr {
    match family {
        libc::AF_INET => Addr::Inet(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0)),
        libc::AF_INET6 => Addr::Inet(SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0)),
        _ => Addr::Unix(Vec::new()),
    }
}
