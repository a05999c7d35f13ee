//! The way out of the sandbox. Where the policy lets guests out there is a broker ([`Way`]), which makes sockets of the
//! host that are connected to one address each; such a one ([`Outside`]) is a *leg* of a guest's socket. A TCP socket
//! has at most one; a UDP socket that sends to several addresses has one for each.
//!
//! What the broker answers is waited for as everything else: [`Asked`] has a queue. Legs share the socket's own, so that
//! whoever waits for the socket hears of them too.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::addr::{canonical, Addr};
use super::names;
use super::queue::{Received, Segment, Ucred};
use super::socket::{unbound, Socket, Status, SHUT_READ};
use super::transfer::{Destination, Outgoing};
use crate::mm::{Sink, Source};
use crate::wait_queue::{PollEvents, WaitQueue};

/// How many addresses one UDP socket sends to at a time; the oldest is forgotten for one more.
const MAX_LEGS: usize = 16;
/// How many questions to the broker one socket has under way.
const MAX_ASKING: usize = 16;
/// How many answers of the resolver wait in one socket.
const MAX_ANSWERS: usize = 64;
/// Where guests find their resolver, in `/etc/resolv.conf`.
pub const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);

/// What is spoken over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Whether what is received stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Away,
    Peek,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    pub count: usize,
    /// The whole length of the message.
    pub full: usize,
}

/// What a guest sets on its socket that matters outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub no_delay: bool,
    pub keep_alive: bool,
    pub linger: Option<Duration>,
}

/// A connected socket of the host. Nothing in it waits: `EAGAIN`, and the socket's queue is told later.
pub trait Outside: Send + Sync {
    /// `None` is the end of the stream.
    fn receive(&self, to: &mut dyn Sink, take: Take) -> Result<Option<Got>>;
    fn send(&self, from: &mut dyn Source) -> Result<usize>;
    fn poll(&self) -> PollEvents;
    /// Directions as [`super::socket::SHUT_READ`] and the others.
    fn shutdown(&self, directions: u8) -> Result<()>;
    /// `SO_ERROR`.
    fn take_error(&self) -> Option<Errno>;
    fn local(&self) -> Option<SocketAddr>;
    /// Whether the other side has answered.
    fn is_connected(&self) -> bool;
    /// `FIONREAD`.
    fn available(&self) -> usize;
    fn set(&self, settings: Settings);
}

/// What the broker answered.
pub enum Answer {
    Connected(Arc<dyn Outside>),
    Failed(Errno),
    /// The policy does not have it. The name that the address was resolved from, if any.
    Denied(Vec<u8>),
}

/// A question to the broker.
#[derive(Default)]
pub struct Asked {
    answer: Mutex<Option<Answer>>,
    pub queue: WaitQueue,
}

impl Asked {
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        self.queue.wake(PollEvents::IN);
    }
    fn take(&self) -> Option<Answer> {
        self.answer.lock().take()
    }
}

/// The broker.
pub trait Way: Send + Sync {
    /// Asks for a socket; `queue` is to be told of what happens on it.
    fn connect(&self, transport: Transport, to: SocketAddr, queue: WaitQueue) -> Arc<Asked>;
    /// Hands a question for names on; the answer comes as [`Socket::resolved`].
    fn resolve(&self, query: Vec<u8>, from: Weak<Socket>);
    /// Whether the host's loopback can be reached, where nobody inside has the port.
    fn reaches_loopback(&self) -> bool;
}

static WAY: OnceLock<Box<dyn Way>> = OnceLock::new();

/// Opens the way out, once and before the first guest.
pub fn open(way: Box<dyn Way>) {
    let _ = WAY.set(way);
}

/// The way out, where there is one.
pub fn way() -> Option<&'static dyn Way> {
    WAY.get().map(Box::as_ref)
}

/// A connected host socket and to whom.
#[derive(Clone)]
struct Leg {
    to: SocketAddr,
    socket: Arc<dyn Outside>,
}

/// A socket's legs, and what it has asked for.
#[derive(Default)]
pub(super) struct Legs {
    list: Vec<Leg>,
    asking: Vec<(SocketAddr, Arc<Asked>)>,
}

/// What came of asking.
pub enum Asking {
    Done(Answer),
    /// Wait on this queue.
    Wait(Arc<Asked>),
}

fn plain(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(to.ip()), to.port())
}

impl Socket {
    /// Whether a way to `to` leads out of the sandbox, for this socket.
    pub fn leads_out(&self, to: SocketAddr) -> bool {
        let Some(way) = way() else { return false };
        let to = plain(names::destination(to));
        if self.is_unix() || self.v6_only() && to.is_ipv4() {
            return false;
        }
        match to.ip().is_loopback() {
            false => true,
            true => {
                way.reaches_loopback()
                    && to != RESOLVER
                    && names::find_port(self.kind, to, |_| true).is_none()
            }
        }
    }

    /// The transport that it speaks.
    fn transport(&self) -> Transport {
        if self.is_dgram() {
            Transport::Udp
        } else {
            Transport::Tcp
        }
    }

    /// Asks the broker for a leg to `to`, or whether it has answered.
    pub fn ask(&self, to: SocketAddr) -> Asking {
        let to = plain(names::destination(to));
        let Some(way) = way() else { return Asking::Done(Answer::Failed(Errno::ENETUNREACH)) };
        let mut legs = self.legs.lock();
        if let Some(at) = legs.asking.iter().position(|(asked, _)| *asked == to) {
            let asked = legs.asking[at].1.clone();
            return match asked.take() {
                Some(answer) => {
                    legs.asking.remove(at);
                    Asking::Done(answer)
                }
                None => Asking::Wait(asked),
            };
        }
        let forgotten = (legs.asking.len() >= MAX_ASKING).then(|| legs.asking.remove(0));
        let asked = way.connect(self.transport(), to, self.queue.clone());
        legs.asking.push((to, asked.clone()));
        drop(legs);
        drop(forgotten);
        Asking::Wait(asked)
    }

    /// A connect that has come so far that the host socket is there.
    pub fn connect_leg(&self, to: SocketAddr, socket: Arc<dyn Outside>) {
        let to = plain(names::destination(to));
        socket.set(self.settings());
        let local = socket.local();
        let leg = socket.clone();
        let old = {
            let mut legs = self.legs.lock();
            std::mem::replace(&mut legs.list, vec![Leg { to, socket }])
        };
        drop(old);
        self.has_legs.store(true, Ordering::SeqCst);
        let mut s = self.state.lock();
        if let Some(local) = local {
            s.local = Addr::Inet(local);
        }
        s.remote = Addr::Inet(to);
        if self.is_dgram() {
            s.status = Status::Connected;
        }
        drop(s);
        self.announce(&*leg);
    }

    /// Who has waited for this socket since before it had this leg (an epoll item, say) is to hear of it.
    fn announce(&self, leg: &dyn Outside) {
        let ready = leg.poll();
        if !ready.is_empty() {
            self.queue.wake(ready);
        }
    }

    /// One more address that a UDP socket sends to.
    pub fn add_leg(&self, to: SocketAddr, socket: Arc<dyn Outside>) {
        // The first is that to the peer, where there is one.
        let first = usize::from(self.status() == Status::Connected);
        let mut legs = self.legs.lock();
        let oldest = (legs.list.len() >= MAX_LEGS).then(|| legs.list.remove(first));
        legs.list.push(Leg { to: plain(names::destination(to)), socket: socket.clone() });
        drop(legs);
        drop(oldest);
        self.has_legs.store(true, Ordering::SeqCst);
        self.announce(&*socket);
    }

    /// Whether a UDP socket can send to `to` without asking.
    pub fn has_leg_to(&self, to: SocketAddr) -> bool {
        let to = plain(names::destination(to));
        self.has_legs() && self.legs.lock().list.iter().any(|leg| leg.to == to)
    }

    pub(super) fn has_legs(&self) -> bool {
        self.has_legs.load(Ordering::Relaxed)
    }

    fn legs(&self) -> Vec<Leg> {
        self.legs.lock().list.clone()
    }

    /// The one leg of a TCP socket.
    pub(super) fn tcp_leg(&self) -> Option<Arc<dyn Outside>> {
        if !self.has_legs() || self.is_dgram() {
            return None;
        }
        self.legs.lock().list.first().map(|leg| leg.socket.clone())
    }

    /// Lets go of all legs.
    pub(super) fn drop_legs(&self) {
        if self.has_legs.swap(false, Ordering::SeqCst) {
            let gone = std::mem::take(&mut self.legs.lock().list);
            drop(gone);
        }
        let asked = std::mem::take(&mut self.legs.lock().asking);
        drop(asked);
    }

    /// Whether a TCP socket is on its way out and not there yet; notes that it has arrived.
    pub fn connecting_out(&self) -> bool {
        let Some(leg) = self.tcp_leg() else { return false };
        self.settle(&*leg, leg.poll());
        self.state.lock().status == Status::Idle
    }

    /// What a TCP socket's connect has come to: `None` while it is under way. A failed one can be tried again.
    pub fn outcome_of_connect(&self) -> Option<Result<()>> {
        let Some(leg) = self.tcp_leg() else { return Some(Err(Errno::ECONNABORTED)) };
        let events = leg.poll();
        self.settle(&*leg, events);
        if self.status() == Status::Connected {
            return Some(Ok(()));
        }
        if !events.intersects(PollEvents::OUT | PollEvents::ERR | PollEvents::HUP) {
            return None;
        }
        let error = leg.take_error().unwrap_or(Errno::ECONNREFUSED);
        self.drop_legs();
        Some(Err(error))
    }

    fn settle(&self, leg: &dyn Outside, events: PollEvents) {
        if events.contains(PollEvents::OUT) && !events.contains(PollEvents::ERR) {
            let mut s = self.state.lock();
            if s.status == Status::Idle && leg.is_connected() {
                s.status = Status::Connected;
            }
        }
    }

    pub(super) fn poll_legs(&self) -> PollEvents {
        if let Some(leg) = self.tcp_leg() {
            let events = leg.poll();
            self.settle(&*leg, events);
            return events;
        }
        let wanted = PollEvents::IN | PollEvents::RDNORM | PollEvents::ERR;
        self.heard_legs().iter().fold(PollEvents::empty(), |all, leg| all | leg.socket.poll() & wanted)
    }

    /// The legs whose messages a UDP socket takes: a connected one listens to its peer only.
    fn heard_legs(&self) -> Vec<Leg> {
        let peer = match self.remote() {
            Ok(Addr::Inet(to)) => Some(plain(to)),
            _ => None,
        };
        let mut legs = self.legs();
        legs.retain(|leg| peer.is_none_or(|peer| leg.to == peer));
        legs
    }

    /// What has come from outside; `None` where the socket is to be looked at as one without legs.
    pub(super) fn receive_from_legs(
        &self,
        to: &mut dyn Sink,
        take: Take,
    ) -> Option<Result<Option<Received>>> {
        if let Some(leg) = self.tcp_leg() {
            if let Some(e) = self.take_own_error() {
                return Some(Err(e));
            }
            return Some(leg.receive(to, take).map(|got| got.map(|got| received(got, Addr::Unspec))));
        }
        if !self.received.lock().is_empty() {
            return None;
        }
        let connected = self.status() == Status::Connected;
        for leg in self.heard_legs() {
            match leg.socket.receive(to, take) {
                Ok(Some(got)) => return Some(Ok(Some(received(got, Addr::Inet(leg.to))))),
                Err(Errno::EAGAIN) | Ok(None) => {}
                // Nobody tells an unconnected socket that a message did not arrive.
                Err(e) if connected || e == Errno::EFAULT => return Some(Err(e)),
                Err(_) => {}
            }
        }
        None
    }

    /// The leg that a message goes by, if by any.
    pub(super) fn leg_for(&self, out: &Outgoing) -> Option<Arc<dyn Outside>> {
        if !self.has_legs() {
            return None;
        }
        let to = match (&out.to, self.remote()) {
            (Destination::Inet(to), _) => plain(names::destination(*to)),
            (_, Ok(Addr::Inet(to))) => plain(to),
            _ => return None,
        };
        self.legs.lock().list.iter().find(|leg| leg.to == to).map(|leg| leg.socket.clone())
    }

    /// Whether a message goes to the resolver.
    pub(super) fn asks_resolver(&self, out: &Outgoing) -> bool {
        let to = match (&out.to, self.remote()) {
            (Destination::Inet(to), _) => *to,
            (_, Ok(Addr::Inet(to))) => to,
            _ => return false,
        };
        way().is_some() && plain(to) == RESOLVER
    }

    /// The resolver has answered.
    pub fn resolved(&self, answer: Vec<u8>) {
        if answer.is_empty() || self.is_shut(SHUT_READ) || self.received.lock().len() >= MAX_ANSWERS {
            return;
        }
        let segment =
            Segment::new(answer, Addr::Inet(RESOLVER), Ucred::NOBODY, Vec::new(), &self.send_buffer);
        if self.take_in(segment).is_ok() {
            self.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        }
    }

    /// A connect was answered `EINPROGRESS`; its outcome is still to be told.
    pub fn note_in_progress(&self) {
        self.in_progress.store(true, Ordering::SeqCst);
    }
    pub fn collect_in_progress(&self) -> bool {
        self.in_progress.swap(false, Ordering::SeqCst)
    }

    fn settings(&self) -> Settings {
        let o = &self.options;
        let (on, seconds) = *o.linger.lock();
        Settings {
            no_delay: self.is_tcp() && o.no_delay.load(Ordering::Relaxed),
            keep_alive: o.keep_alive.load(Ordering::Relaxed),
            linger: (on != 0).then(|| Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(3600))),
        }
    }

    /// The guest has set options: they hold outside, too.
    pub fn settings_changed(&self) {
        if self.has_legs() {
            let settings = self.settings();
            self.legs().iter().for_each(|leg| leg.socket.set(settings));
        }
    }
}

fn received(got: Got, from: Addr) -> Received {
    Received {
        count: got.count,
        full: got.full,
        from,
        cred: Ucred::NOBODY,
        files: Vec::new(),
        done: Vec::new(),
    }
}

/// A connection has come in by a published port: it goes to who listens at `port` inside. `false` where nobody does.
pub fn arrive(port: u16, from: SocketAddr, make: impl FnOnce(WaitQueue) -> Arc<dyn Outside>) -> bool {
    let loopbacks = [std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), std::net::Ipv6Addr::LOCALHOST.into()];
    let at = loopbacks.map(|ip| SocketAddr::new(ip, port));
    let listening = |to| names::find_port(libc::SOCK_STREAM, to, |s| s.status() == Status::Listening);
    let Some((to, listener)) = at.into_iter().find_map(|to| Some((to, listening(to)?))) else { return false };
    let server = Socket::new(listener.family, listener.kind, listener.protocol);
    server.options.no_delay.store(listener.options.no_delay.load(Ordering::Relaxed), Ordering::Relaxed);
    server.connect_leg(from, make(server.queue.clone()));
    {
        let mut s = server.state.lock();
        s.status = Status::Connected;
        s.local = Addr::Inet(to);
        s.remote = Addr::Inet(from);
    }
    let mut l = listener.state.lock();
    if l.status != Status::Listening || listener.is_shut(SHUT_READ) || l.pending.len() > l.backlog {
        return false;
    }
    l.pending.push_back(server);
    drop(l);
    listener.queue.wake(PollEvents::IN | PollEvents::RDNORM);
    true
}

/// As connect(2) with `AF_UNSPEC`: a socket without a peer, and without legs.
pub(super) fn forget(socket: &Socket) {
    if socket.has_legs() {
        socket.drop_legs();
        let mut s = socket.state.lock();
        s.status = Status::Idle;
        s.remote = Addr::Unspec;
        if s.binding.is_none() {
            s.local = unbound(socket.family);
        }
    }
}
