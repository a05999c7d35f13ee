//! The sandbox's way out: the connection to the net broker, and the host sockets that it hands over. They never wait
//! (the broker makes them so), and what goes over them does not pass through the broker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use gofer_protocol::net::{self, NetReply, NetRequest, MAX_DNS, MAX_NET_MESSAGE, NET_VERSION};
use gofer_protocol::{Channel, Fds, Received, Writer};
use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::convert::errno;
use super::poller::{self, HostPoller, Watch};
use crate::denials::{Cause, Denial, Kind};
use crate::guard::Action;
use crate::kernel::{current, Kernel};
use crate::mm::{Sink, Source};
use crate::net::outside::{self, Answer, Asked, Got, Outside, Settings, Take, Transport, Way};
use crate::net::socket::{SHUT_BOTH, SHUT_READ};
use crate::net::Socket;
use crate::wait_queue::{PollEvents, WaitQueue};

/// The most host sockets at a time, and no more than half of the descriptors that this process may have.
const MAX_SOCKETS: u64 = 16_384;
/// How many questions for names are under way at a time; one more is lost, as messages are.
const MAX_QUESTIONS: usize = 256;
/// How much is taken from or given to a guest at once.
const PIECE: usize = 64 << 10;

/// The connection to the broker.
pub struct Broker {
    channel: Arc<Channel>,
    poller: Arc<HostPoller>,
    pending: Mutex<Pending>,
    next: AtomicU64,
    sockets: Arc<AtomicUsize>,
    max_sockets: usize,
    loopback: Loopback,
    kernel: Weak<Kernel>,
}

#[derive(Default)]
struct Pending {
    connects: HashMap<u64, Connect>,
    questions: HashMap<u64, Question>,
    /// The broker is gone.
    over: bool,
}

struct Connect {
    asked: Weak<Asked>,
    queue: WaitQueue,
    transport: Transport,
    place: Place,
}

struct Question {
    from: Weak<Socket>,
    pid: i32,
    comm: Vec<u8>,
}

/// Whether the policy names the host's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    Reached,
    Closed,
}

/// One of the host sockets that there may be; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// Greets the broker, and listens to it on a thread of its own. `after` is called when waiters have been told.
    pub fn start(
        socket: OwnedFd,
        poller: &Arc<HostPoller>,
        kernel: &Arc<Kernel>,
        loopback: Loopback,
        after: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Arc<Broker>> {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let max = descriptors.map_or(MAX_SOCKETS, |most| (most / 2).min(MAX_SOCKETS));
        let broker = Arc::new(Broker {
            channel: Arc::new(Channel::new(socket)),
            poller: poller.clone(),
            pending: Mutex::default(),
            next: AtomicU64::new(1),
            sockets: Arc::default(),
            max_sockets: usize::try_from(max).unwrap_or(usize::MAX),
            loopback,
            kernel: Arc::downgrade(kernel),
        });
        broker
            .send(&NetRequest::Hello { version: NET_VERSION })
            .map_err(|e| std::io::Error::from_raw_os_error(e.0))?;
        let listener = broker.clone();
        std::thread::Builder::new()
            .name("net-broker".into())
            .stack_size(128 << 10)
            .spawn(move || listener.listen(&*after))?;
        Ok(broker)
    }

    fn send(&self, request: &NetRequest<'_>) -> Result<()> {
        let mut w = Writer::default();
        request.encode(&mut w);
        self.channel.send(w.as_bytes(), &[])
    }

    fn place(&self) -> Option<Place> {
        let before = self.sockets.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.sockets.clone());
        (before < self.max_sockets).then_some(place)
    }

    /// Hears the broker until it is gone.
    fn listen(&self, after: &(dyn Fn() + Send + Sync)) {
        let mut buffer = vec![0; MAX_NET_MESSAGE].into_boxed_slice();
        let mut fds = Fds::new();
        loop {
            let len = match self.channel.recv(&mut buffer, &mut fds) {
                Ok(Received::Message(len)) => len,
                Ok(Received::Closed) => break,
                Err(e) => {
                    tracing::error!("the net broker cannot be heard: {e}");
                    break;
                }
            };
            match NetReply::decode(buffer.get(..len).unwrap_or_default()) {
                Ok(reply) if reply.descriptors() == fds.len() => self.heard(&reply, fds.pop()),
                Ok(_) => {
                    tracing::error!("the net broker's message lacks a descriptor, or has one too many");
                    break;
                }
                Err(e) => {
                    tracing::error!("the net broker's message is none: {e}");
                    break;
                }
            }
            after();
        }
        let gone = {
            let mut pending = self.pending.lock();
            pending.over = true;
            pending.questions.clear();
            std::mem::take(&mut pending.connects)
        };
        for connect in gone.into_values() {
            if let Some(asked) = connect.asked.upgrade() {
                asked.answer(Answer::Failed(Errno::ENETUNREACH));
            }
        }
        after();
    }

    fn heard(&self, reply: &NetReply<'_>, fd: Option<OwnedFd>) {
        match (reply, fd) {
            (NetReply::Connected { id }, Some(fd)) => {
                let Some(connect) = self.take_connect(*id) else { return };
                let Some(asked) = connect.asked.upgrade() else { return };
                let socket =
                    OutsideSocket::new(fd, connect.transport, connect.queue, connect.place, &self.poller);
                asked.answer(Answer::Connected(socket));
            }
            (NetReply::Failed { id, errno }, _) => self.answer(*id, Answer::Failed(*errno)),
            (NetReply::Denied { id, name }, _) => self.answer(*id, Answer::Denied(name.to_vec())),
            (NetReply::Resolved { id, answer, denied }, _) => {
                let Some(question) = self.pending.lock().questions.remove(id) else { return };
                if !denied.is_empty() {
                    self.tell_denied(&question, denied);
                }
                if let Some(socket) = question.from.upgrade() {
                    socket.resolved(answer.to_vec());
                }
            }
            (NetReply::Incoming { port, from }, Some(fd)) => {
                let Some(place) = self.place() else { return };
                let fd = Arc::new(fd);
                let taken = outside::arrive(*port, *from, |queue| {
                    OutsideSocket::sharing(fd.clone(), Transport::Tcp, queue, place, &self.poller)
                });
                if !taken {
                    // As if nobody listened on the host: a reset.
                    let _ = rustix::net::sockopt::set_socket_linger(&fd, Some(std::time::Duration::ZERO));
                }
            }
            (NetReply::Connected { .. } | NetReply::Incoming { .. }, None) => {}
        }
    }

    fn take_connect(&self, id: u64) -> Option<Connect> {
        self.pending.lock().connects.remove(&id)
    }

    fn answer(&self, id: u64, answer: Answer) {
        if let Some(asked) = self.take_connect(id).and_then(|connect| connect.asked.upgrade()) {
            asked.answer(answer);
        }
    }

    /// A guest asked for a name that the policy does not have.
    fn tell_denied(&self, question: &Question, name: &[u8]) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let kind = Kind {
            call: libc::SYS_sendto as u64,
            cause: Cause::Name,
            action: Action::Errno(Errno::ENETUNREACH.0),
        };
        kernel.denials.tell(kind, crate::time::monotonic(), |kind| Denial {
            kind,
            name: "sendto".into(),
            shown: vec![format!("{:?}", String::from_utf8_lossy(name))],
            args: [0; 6],
            place: None,
            path: name.to_vec(),
            pid: question.pid,
            comm: question.comm.clone(),
        });
    }
}

impl Way for Arc<Broker> {
    fn connect(&self, transport: Transport, to: SocketAddr, queue: WaitQueue) -> Arc<Asked> {
        let asked = Arc::new(Asked::default());
        let Some(place) = self.place() else {
            asked.answer(Answer::Failed(Errno::ENOBUFS));
            return asked;
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connect = Connect { asked: Arc::downgrade(&asked), queue, transport, place };
        {
            let mut pending = self.pending.lock();
            if pending.over {
                drop(pending);
                asked.answer(Answer::Failed(Errno::ENETUNREACH));
                return asked;
            }
            pending.connects.insert(id, connect);
        }
        let transport = match transport {
            Transport::Tcp => net::Transport::Tcp,
            Transport::Udp => net::Transport::Udp,
        };
        if self.send(&NetRequest::Connect { id, transport, to }).is_err() {
            self.answer(id, Answer::Failed(Errno::ENETUNREACH));
        }
        asked
    }

    fn resolve(&self, query: Vec<u8>, from: Weak<Socket>) {
        if query.len() > MAX_DNS {
            return;
        }
        let task = current::current_tid().and_then(|tid| self.kernel.upgrade()?.task(tid));
        let (pid, comm) = task.map_or((0, Vec::new()), |t| (t.group.pid, t.name.lock().clone()));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut pending = self.pending.lock();
            if pending.over || pending.questions.len() >= MAX_QUESTIONS {
                return;
            }
            pending.questions.insert(id, Question { from, pid, comm });
        }
        if self.send(&NetRequest::Resolve { id, query: &query }).is_err() {
            self.pending.lock().questions.remove(&id);
        }
    }

    fn reaches_loopback(&self) -> bool {
        self.loopback == Loopback::Reached
    }
}

/// A host socket that the broker connected.
struct OutsideSocket {
    fd: Arc<OwnedFd>,
    transport: Transport,
    queue: WaitQueue,
    watch: Watch,
    _place: Place,
}

impl OutsideSocket {
    fn new(
        fd: OwnedFd,
        transport: Transport,
        queue: WaitQueue,
        place: Place,
        poller: &Arc<HostPoller>,
    ) -> Arc<OutsideSocket> {
        OutsideSocket::sharing(Arc::new(fd), transport, queue, place, poller)
    }

    fn sharing(
        fd: Arc<OwnedFd>,
        transport: Transport,
        queue: WaitQueue,
        place: Place,
        poller: &Arc<HostPoller>,
    ) -> Arc<OutsideSocket> {
        let watch = poller.watch(fd.clone(), queue.clone());
        Arc::new(OutsideSocket { fd, transport, queue, watch, _place: place })
    }

    /// A transfer's end: the poller is told where somebody waits, or hears of every change (as in [`super::stream`]).
    fn done<T>(&self, wanted: PollEvents, result: rustix::io::Result<T>) -> Result<T> {
        let waits = match &result {
            Err(rustix::io::Errno::AGAIN) => self.queue.has_waiters(),
            _ => self.queue.waits_for_all(PollEvents::all()),
        };
        if waits {
            self.watch.arm(wanted);
        }
        result.map_err(errno)
    }

    fn recv(&self, buffer: &mut [u8], take: Take) -> Result<(usize, usize)> {
        let mut flags = RecvFlags::DONTWAIT;
        if take == Take::Peek {
            flags |= RecvFlags::PEEK;
        }
        if self.transport == Transport::Udp {
            flags |= RecvFlags::TRUNC;
        }
        loop {
            match rustix::net::recv(&*self.fd, &mut *buffer, flags) {
                Err(rustix::io::Errno::INTR) => {}
                result => return self.done(PollEvents::IN, result),
            }
        }
    }
}

impl Outside for OutsideSocket {
    fn receive(&self, to: &mut dyn Sink, take: Take) -> Result<Option<Got>> {
        let wanted = to.remaining();
        if wanted == 0 && self.transport == Transport::Tcp {
            return Ok(Some(Got { count: 0, full: 0 }));
        }
        let mut buffer = vec![0; wanted.min(PIECE)];
        let (count, full) = self.recv(&mut buffer, take)?;
        if count == 0 && self.transport == Transport::Tcp {
            return Ok(None);
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        let mut put = 0;
        while !rest.is_empty() {
            match to.put(rest) {
                Ok(0) => break,
                Ok(n) => {
                    put += n;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Err(e) if put == 0 => return Err(e),
                Err(_) => break,
            }
        }
        let full = if self.transport == Transport::Udp { full } else { put };
        Ok(Some(Got { count: put, full }))
    }

    fn send(&self, from: &mut dyn Source) -> Result<usize> {
        let all = from.remaining();
        let len = match self.transport {
            Transport::Tcp if all == 0 => return Ok(0),
            Transport::Tcp => all.min(PIECE),
            Transport::Udp if all > 65_535 => return Err(Errno::EMSGSIZE),
            Transport::Udp => all,
        };
        // What is taken from the guest and does not go out would be lost.
        if self.transport == Transport::Tcp
            && !self.poll_for(PollEvents::OUT)?.intersects(PollEvents::WRITABLE)
        {
            return self.done(PollEvents::OUT, Err(rustix::io::Errno::AGAIN));
        }
        let mut data = vec![0; len];
        let taken = if len == 0 { 0 } else { from.take(&mut data)? };
        if taken < len && self.transport == Transport::Udp {
            return Err(Errno::EFAULT);
        }
        data.truncate(taken);
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&*self.fd, &data, flags) {
                Err(rustix::io::Errno::INTR) => {}
                result => return self.done(PollEvents::OUT, result),
            }
        }
    }

    fn poll(&self) -> PollEvents {
        let wanted = PollEvents::IN
            | PollEvents::OUT
            | PollEvents::PRI
            | PollEvents::RDNORM
            | PollEvents::WRNORM
            | PollEvents::RDHUP;
        let Ok(ready) = self.poll_for(wanted) else { return PollEvents::ERR };
        let missing = (PollEvents::IN | PollEvents::OUT | PollEvents::RDHUP) - ready;
        let over = ready.intersects(PollEvents::HUP | PollEvents::ERR);
        if !missing.is_empty() && !over && self.queue.has_waiters() {
            self.watch.arm(missing);
        }
        ready
    }

    fn shutdown(&self, directions: u8) -> Result<()> {
        let how = match directions {
            SHUT_BOTH => Shutdown::Both,
            SHUT_READ => Shutdown::Read,
            _ => Shutdown::Write,
        };
        rustix::net::shutdown(&*self.fd, how).map_err(errno)
    }

    fn take_error(&self) -> Option<Errno> {
        match rustix::net::sockopt::socket_error(&*self.fd) {
            Ok(Ok(())) => None,
            Ok(Err(e)) | Err(e) => Some(errno(e)),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        let at = rustix::net::getsockname(&*self.fd).ok()?;
        SocketAddr::try_from(at).ok()
    }

    fn is_connected(&self) -> bool {
        rustix::net::getpeername(&*self.fd).is_ok()
    }

    fn available(&self) -> usize {
        rustix::io::ioctl_fionread(&*self.fd).map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn set(&self, settings: Settings) {
        use rustix::net::sockopt;
        // What the host does not take is of no consequence to the guest, who was told that it is set.
        let _ = sockopt::set_socket_keepalive(&*self.fd, settings.keep_alive);
        let _ = sockopt::set_socket_linger(&*self.fd, settings.linger);
        if self.transport == Transport::Tcp {
            let _ = sockopt::set_tcp_nodelay(&*self.fd, settings.no_delay);
        }
    }
}

impl OutsideSocket {
    fn poll_for(&self, wanted: PollEvents) -> Result<PollEvents> {
        poller::ready(self.fd.as_fd(), wanted)
    }
}
