//! connect(2), accept(2), shutdown(2).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::addr::{canonical, Addr};
use super::names;
use super::queue::Ucred;
use super::socket::{unbound, Socket, Status, Waiting, MAX_WAITING, SHUT_BOTH, SHUT_READ, SHUT_WRITE};
use crate::wait_queue::{PollEvents, WaitQueue};

/// What came of a connect.
pub enum Connecting {
    Done,
    /// The listener's backlog is full: wait on this queue and try again.
    Full(WaitQueue),
}

impl Socket {
    /// Connects a UNIX socket to the one that a name led to.
    pub fn connect_unix(&self, other: Arc<Socket>, cred: Ucred) -> Result<Connecting> {
        if other.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        if self.is_dgram() {
            // A connected datagram socket takes messages of its peer only.
            if other.peer().is_some_and(|p| !std::ptr::eq(&*p, self)) {
                return Err(Errno::EPERM);
            }
            let remote = other.local();
            let mut s = self.state.lock();
            s.peer = Arc::downgrade(&other);
            s.remote = remote;
            s.status = Status::Connected;
            return Ok(Connecting::Done);
        }
        self.check_may_connect()?;
        let local = self.local();
        self.join(&other, local, other.local(), cred)
    }

    fn check_may_connect(&self) -> Result<()> {
        match self.status() {
            Status::Idle => Ok(()),
            Status::Connected => Err(Errno::EISCONN),
            Status::Listening if self.is_unix() => Err(Errno::EINVAL),
            Status::Listening => Err(Errno::EISCONN),
        }
    }

    /// Makes the other end and puts it into the listener's backlog.
    fn join(&self, listener: &Arc<Socket>, local: Addr, remote: Addr, cred: Ucred) -> Result<Connecting> {
        let server = Socket::new(listener.family, listener.kind, listener.protocol);
        server.options.pass_cred.store(listener.passes_cred(), Ordering::Relaxed);
        server.options.no_delay.store(listener.options.no_delay.load(Ordering::Relaxed), Ordering::Relaxed);
        {
            let mut s = server.state.lock();
            s.status = Status::Connected;
            s.local = remote.clone();
            s.remote = local.clone();
            s.peer = self.me.clone();
            s.peer_cred = cred;
        }
        let listener_cred = {
            let mut l = listener.state.lock();
            if l.status != Status::Listening || listener.is_shut(SHUT_READ) {
                return Err(Errno::ECONNREFUSED);
            }
            if l.pending.len() > l.backlog {
                return Ok(Connecting::Full(listener.queue.clone()));
            }
            l.pending.push_back(server.clone());
            l.peer_cred
        };
        {
            let mut s = self.state.lock();
            s.status = Status::Connected;
            s.local = local;
            s.remote = remote;
            s.peer = Arc::downgrade(&server);
            s.peer_cred = listener_cred;
        }
        listener.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
        Ok(Connecting::Done)
    }

    /// Connects over loopback. `nonblocking`: TCP answers `EINPROGRESS` although the outcome is there at once, as on
    /// Linux, where the reply comes a moment later.
    pub fn connect_inet(&self, to: SocketAddr, nonblocking: bool, cred: Ucred) -> Result<Connecting> {
        if self.waits.load(Ordering::SeqCst) {
            return Err(Errno::EALREADY);
        }
        if self.in_progress.swap(false, Ordering::SeqCst) {
            return match self.take_error() {
                Some(e) => Err(e),
                None => Ok(Connecting::Done),
            };
        }
        if !self.is_dgram() {
            self.check_may_connect()?;
        }
        let to = names::destination(to);
        if self.family == libc::AF_INET6 && self.v6_only() && to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        if !names::reachable(to.ip()) {
            return Err(Errno::ENETUNREACH);
        }
        let local = self.source_for(to)?;
        if self.is_dgram() {
            let mut s = self.state.lock();
            s.local = Addr::Inet(local);
            s.remote = Addr::Inet(to);
            s.status = Status::Connected;
            return Ok(Connecting::Done);
        }
        let listener = names::find_port(self.kind, to, |s| s.status() == Status::Listening);
        let joined = match &listener {
            Some(l) => self.join(l, Addr::Inet(local), Addr::Inet(to), cred),
            None => Err(Errno::ECONNREFUSED),
        };
        match (joined, listener) {
            (Ok(Connecting::Full(_)), Some(l)) if nonblocking => {
                self.wait_for_room(&l, Addr::Inet(local), Addr::Inet(to), cred)?;
                Err(Errno::EINPROGRESS)
            }
            (joined, _) => self.answered(joined, nonblocking),
        }
    }

    /// What a connect says whose outcome is known.
    fn answered(&self, joined: Result<Connecting>, nonblocking: bool) -> Result<Connecting> {
        match joined {
            Ok(Connecting::Done) if nonblocking => {
                self.in_progress.store(true, Ordering::SeqCst);
                Err(Errno::EINPROGRESS)
            }
            Err(e) if nonblocking => {
                self.in_progress.store(true, Ordering::SeqCst);
                self.set_error(e);
                self.queue.wake(PollEvents::all());
                Err(Errno::EINPROGRESS)
            }
            other => other,
        }
    }

    /// The connect goes on when the listener has room.
    fn wait_for_room(&self, listener: &Arc<Socket>, local: Addr, remote: Addr, cred: Ucred) -> Result<()> {
        self.state.lock().local = local.clone();
        self.waits.store(true, Ordering::SeqCst);
        self.in_progress.store(true, Ordering::SeqCst);
        {
            let mut l = listener.state.lock();
            l.waiting.retain(|w| w.client.upgrade().is_some_and(|c| c.waits.load(Ordering::SeqCst)));
            if l.waiting.len() >= MAX_WAITING {
                drop(l);
                self.waits.store(false, Ordering::SeqCst);
                self.in_progress.store(false, Ordering::SeqCst);
                return Err(Errno::ENOBUFS);
            }
            l.waiting.push_back(Waiting { client: self.me.clone(), local, remote, cred });
        }
        // Room that came before we were in the list.
        listener.admit_waiting();
        Ok(())
    }

    /// Joins those that wait, in their order, while there is room.
    fn admit_waiting(&self) {
        let Ok(me) = self.arc() else { return };
        loop {
            let next = {
                let mut s = self.state.lock();
                if s.status == Status::Listening && s.pending.len() > s.backlog {
                    return;
                }
                s.waiting.pop_front()
            };
            let Some(w) = next else { return };
            let Some(client) = w.client.upgrade() else { continue };
            if !client.waits.load(Ordering::SeqCst) {
                continue;
            }
            match client.join(&me, w.local.clone(), w.remote.clone(), w.cred) {
                Ok(Connecting::Done) => client.waits.store(false, Ordering::SeqCst),
                Ok(Connecting::Full(_)) => {
                    self.state.lock().waiting.push_front(w);
                    return;
                }
                Err(e) => client.refused(e),
            }
            client.queue.wake(PollEvents::all());
        }
    }

    /// The listener is gone: whoever waits for it is refused.
    pub(super) fn refuse_waiting(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for client in waiting.iter().filter_map(|w| w.client.upgrade()) {
            if client.waits.load(Ordering::SeqCst) {
                client.refused(Errno::ECONNREFUSED);
            }
        }
    }

    fn refused(&self, e: Errno) {
        self.set_error(e);
        self.waits.store(false, Ordering::SeqCst);
        self.queue.wake(PollEvents::all());
    }

    /// The address that packets to `to` come from; binds a port where none is bound yet.
    pub(super) fn source_for(&self, to: SocketAddr) -> Result<SocketAddr> {
        let bound = self.state.lock().binding.is_some();
        if !bound {
            if let Addr::Inet(any) = unbound(self.family) {
                self.bind_port(any)?;
            }
        }
        match self.local() {
            Addr::Inet(a) if a.ip().is_unspecified() => Ok(SocketAddr::new(loopback_for(to), a.port())),
            Addr::Inet(a) => Ok(a),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// connect(2) with `AF_UNSPEC`: forgets the peer of a datagram socket.
    pub fn disconnect(&self) -> Result<()> {
        super::outside::forget(self);
        if !self.is_dgram() {
            return if self.is_unix() { Err(Errno::EINVAL) } else { Ok(()) };
        }
        let mut s = self.state.lock();
        s.status = Status::Idle;
        s.remote = Addr::Unspec;
        s.peer = Default::default();
        Ok(())
    }

    /// accept(2).
    pub fn accept(&self) -> Result<Arc<Socket>> {
        if self.is_dgram() {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut s = self.state.lock();
        if s.status != Status::Listening {
            return Err(Errno::EINVAL);
        }
        let new = s.pending.pop_front();
        drop(s);
        match new {
            Some(n) => {
                // Connecting tasks wait here for room in the backlog.
                self.admit_waiting();
                self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
                Ok(n)
            }
            None if self.is_shut(SHUT_READ) => Err(Errno::EINVAL),
            None => Err(Errno::EAGAIN),
        }
    }

    /// shutdown(2); `directions` of `SHUT_READ` and `SHUT_WRITE`.
    pub fn shutdown(&self, directions: u8) -> Result<()> {
        if let Some(leg) = self.tcp_leg() {
            leg.shutdown(directions)?;
            self.queue.wake(PollEvents::all());
            return Ok(());
        }
        let (status, peer) = {
            let s = self.state.lock();
            (s.status, s.peer.upgrade())
        };
        if status != Status::Connected && !self.is_unix() && !(self.is_tcp() && status == Status::Listening) {
            return Err(Errno::ENOTCONN);
        }
        self.shut.fetch_or(directions, Ordering::SeqCst);
        if status == Status::Listening && directions & SHUT_READ != 0 {
            self.refuse_waiting();
        }
        if let Some(peer) = peer.filter(|_| !self.is_dgram() || self.is_unix()) {
            let mut theirs = 0;
            if directions & SHUT_WRITE != 0 {
                theirs |= SHUT_READ;
            }
            // A TCP peer learns nothing of our no longer reading.
            if directions & SHUT_READ != 0 && self.is_unix() {
                theirs |= SHUT_WRITE;
            }
            if !self.is_dgram() {
                peer.shut.fetch_or(theirs & SHUT_BOTH, Ordering::SeqCst);
                peer.queue.wake(PollEvents::all());
            }
        }
        self.queue.wake(PollEvents::all());
        Ok(())
    }
}

fn loopback_for(to: SocketAddr) -> std::net::IpAddr {
    match canonical(to.ip()) {
        ip if ip.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
        _ => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}
