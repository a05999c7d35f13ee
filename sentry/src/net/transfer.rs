//! Sending and receiving.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::addr::{canonical, Addr};
use super::names;
use super::outside::{self, Take};
use super::queue::{Received, Segment, Ucred};
use super::socket::{Socket, Status, SHUT_READ, SHUT_WRITE};
use crate::mm::{Sink, Source};
use crate::vfs::File;
use crate::wait_queue::{PollEvents, WaitQueue};

/// The largest piece that a stream is cut into.
const PIECE: usize = 32 << 10;
/// `net.unix.max_dgram_qlen`.
const DGRAM_QUEUE: usize = 10;
/// The largest UDP payload.
const UDP_MAX: usize = 65507;

/// Where a message goes and what goes with it.
pub struct Outgoing {
    pub cred: Ucred,
    pub files: Vec<Arc<File>>,
    pub to: Destination,
}

pub enum Destination {
    /// The peer.
    Connected,
    Unix(Arc<Socket>),
    Inet(SocketAddr),
}

/// Why nothing was sent.
pub enum NotSent {
    Errno(Errno),
    /// The receiver has no room; wait on its queue.
    Full(WaitQueue),
}

impl From<Errno> for NotSent {
    fn from(e: Errno) -> NotSent {
        NotSent::Errno(e)
    }
}

impl Socket {
    /// Sends what it can without waiting.
    pub fn send(&self, from: &mut dyn Source, out: &mut Outgoing) -> std::result::Result<usize, NotSent> {
        if self.kind == libc::SOCK_DGRAM || self.kind == libc::SOCK_SEQPACKET {
            self.send_message(from, out)
        } else {
            Ok(self.send_stream(from, out)?)
        }
    }

    fn send_stream(&self, from: &mut dyn Source, out: &mut Outgoing) -> Result<usize> {
        if let Some(leg) = self.tcp_leg() {
            return leg.send(from);
        }
        if let Some(e) = self.take_error() {
            return Err(e);
        }
        let connected = self.status() == Status::Connected;
        if self.is_unix() && !matches!(out.to, Destination::Connected) {
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        if !connected {
            return Err(if self.is_unix() { Errno::ENOTCONN } else { Errno::EPIPE });
        }
        if self.is_shut(SHUT_WRITE) || self.reset.load(Ordering::SeqCst) {
            return Err(Errno::EPIPE);
        }
        let Some(peer) = self.peer() else {
            return self.send_to_the_gone(from);
        };
        if self.is_unix() && peer.is_shut(SHUT_READ) {
            return Err(Errno::EPIPE);
        }
        let mut done = 0;
        while from.remaining() > 0 && self.send_buffer.has_room() {
            let mut data = vec![0; from.remaining().min(PIECE)];
            let n = match from.take(&mut data) {
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            let short = n < data.len();
            data.truncate(n);
            if n == 0 {
                break;
            }
            let files = std::mem::take(&mut out.files);
            let segment = Segment::new(data, Addr::Unspec, out.cred, files, &self.send_buffer);
            if let Err(back) = peer.take_in(segment) {
                drop(back);
                return if done > 0 { Ok(done) } else { self.send_to_the_gone(from) };
            }
            done += n;
            if short {
                break;
            }
        }
        if done == 0 && from.remaining() > 0 {
            return Err(Errno::EAGAIN);
        }
        peer.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        Ok(done)
    }

    /// The peer is closed. The first bytes to a TCP peer still go out; what comes back makes the next write fail.
    fn send_to_the_gone(&self, from: &mut dyn Source) -> Result<usize> {
        if self.is_unix() || self.reset.swap(true, Ordering::SeqCst) {
            return Err(Errno::EPIPE);
        }
        self.set_error(Errno::EPIPE);
        self.shut.fetch_or(super::socket::SHUT_BOTH, Ordering::SeqCst);
        let n = from.remaining();
        self.queue.wake(PollEvents::all());
        Ok(n)
    }

    fn send_message(&self, from: &mut dyn Source, out: &mut Outgoing) -> std::result::Result<usize, NotSent> {
        if let Some(e) = self.take_error() {
            return Err(e.into());
        }
        if self.is_shut(SHUT_WRITE) {
            return Err(Errno::EPIPE.into());
        }
        if let Some(leg) = self.leg_for(out) {
            return Ok(leg.send(from)?);
        }
        let limit = if self.is_unix() { self.send_buffer.limit().saturating_sub(32) } else { UDP_MAX };
        if from.remaining() > limit {
            return Err(Errno::EMSGSIZE.into());
        }
        let first = self.is_unix() && self.is_dgram();
        if first && !self.send_buffer.has_room() {
            return Err(Errno::EAGAIN.into());
        }
        // unix(7) datagrams take the data before they ask for whom it is.
        let early = if first { Some(take_all(from)?) } else { None };
        let (target, source) = self.message_target(out)?;
        if !self.send_buffer.has_room() {
            return Err(Errno::EAGAIN.into());
        }
        let Some(target) = target else {
            if let Some(way) = outside::way().filter(|_| self.asks_resolver(out)) {
                let mut query = vec![0; from.remaining()];
                let n = from.take(&mut query)?;
                if n < query.len() {
                    return Err(Errno::EFAULT.into());
                }
                way.resolve(query, self.me.clone());
                return Ok(n);
            }
            // Nobody listens: an ICMP message comes back, which a connected socket learns of.
            if self.status() == Status::Connected {
                self.set_error(Errno::ECONNREFUSED);
                self.queue.wake(PollEvents::ERR);
            }
            return Ok(from.remaining());
        };
        if target.is_shut(SHUT_READ) && self.is_unix() {
            return Err(Errno::EPIPE.into());
        }
        if self.is_unix()
            && self.is_dgram()
            && !target.talks_to(self)
            && target.received.lock().len() > DGRAM_QUEUE
        {
            return Err(NotSent::Full(target.queue.clone()));
        }
        let data = match early {
            Some(data) => data,
            None => take_all(from)?,
        };
        let n = data.len();
        // A full UDP receiver loses messages.
        if !self.is_unix() && target.available_total() > target.receive_limit() {
            return Ok(n);
        }
        let files = std::mem::take(&mut out.files);
        let segment = Segment::new(data, source, out.cred, files, &self.send_buffer);
        if let Err(back) = target.take_in(segment) {
            drop(back);
            let e = if self.is_dgram() { Errno::ECONNREFUSED } else { Errno::EPIPE };
            return Err(e.into());
        }
        target.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        Ok(n)
    }

    /// Who gets a message (`None`: nobody is there, and UDP does not mind), and from whom it comes.
    fn message_target(&self, out: &Outgoing) -> Result<(Option<Arc<Socket>>, Addr)> {
        let connected = self.status() == Status::Connected;
        if self.is_unix() {
            return match &out.to {
                _ if !self.is_dgram() && !connected => Err(Errno::ENOTCONN),
                Destination::Unix(t) if self.is_dgram() => {
                    if t.kind != self.kind {
                        return Err(Errno::EPROTOTYPE);
                    }
                    if t.peer().is_some_and(|p| !std::ptr::eq(&*p, self)) {
                        return Err(Errno::EPERM);
                    }
                    Ok((Some(t.clone()), self.local()))
                }
                _ if !connected => Err(Errno::ENOTCONN),
                _ => match self.peer() {
                    Some(p) => Ok((Some(p), self.local())),
                    None if self.is_dgram() => Err(Errno::ECONNREFUSED),
                    None => Err(Errno::EPIPE),
                },
            };
        }
        let to = match &out.to {
            Destination::Inet(to) => names::destination(*to),
            _ => match self.remote() {
                Ok(Addr::Inet(to)) => to,
                _ => return Err(Errno::EDESTADDRREQ),
            },
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        if !names::reachable(to.ip()) {
            return Err(Errno::ENETUNREACH);
        }
        let source = self.source_for(to)?;
        let from_me = |s: &Socket| match s.remote() {
            Ok(Addr::Inet(r)) => canonical(r.ip()) == canonical(source.ip()) && r.port() == source.port(),
            _ => true,
        };
        Ok((names::find_port(self.kind, to, from_me), Addr::Inet(source)))
    }

    fn talks_to(&self, other: &Socket) -> bool {
        self.peer().is_some_and(|p| std::ptr::eq(&*p, other))
    }

    fn available_total(&self) -> usize {
        self.received.lock().available(true)
    }

    /// Puts a piece into the receive queue; gives it back where the socket is closed.
    pub(super) fn take_in(&self, segment: Segment) -> std::result::Result<(), Segment> {
        let mut r = self.received.lock();
        if r.closed {
            return Err(segment);
        }
        r.push(segment);
        Ok(())
    }

    /// Receives what is there; `Ok(None)` is the end of the stream. The caller drops what it returns with no lock held.
    pub fn receive(&self, to: &mut dyn Sink, peek: bool) -> Result<Option<Received>> {
        if self.has_legs() {
            let take = if peek { Take::Peek } else { Take::Away };
            if let Some(result) = self.receive_from_legs(to, take) {
                return result;
            }
        }
        let status = self.status();
        if !self.is_dgram() && status != Status::Connected {
            if let Some(e) = self.take_error() {
                return Err(e);
            }
            let unix_stream = self.is_unix() && self.is_stream();
            return Err(if unix_stream { Errno::EINVAL } else { Errno::ENOTCONN });
        }
        let got = {
            let mut r = self.received.lock();
            if self.is_stream() {
                r.take_stream(to, peek, self.passes_cred())
            } else {
                r.take_message(to, peek)
            }
        };
        if let Some(got) = got {
            let got = got?;
            // Senders of datagrams wait on this queue for room in it.
            if !got.done.is_empty() && self.is_dgram() {
                self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
            }
            return Ok(Some(got));
        }
        if self.reset.load(Ordering::SeqCst) {
            return Ok(None);
        }
        if let Some(e) = self.take_error() {
            return Err(e);
        }
        if self.is_shut(SHUT_READ) {
            return Ok(None);
        }
        Err(Errno::EAGAIN)
    }
}

/// A whole message; `EFAULT` where some of it is not there.
fn take_all(from: &mut dyn Source) -> Result<Vec<u8>> {
    let mut data = vec![0; from.remaining()];
    let n = if data.is_empty() { 0 } else { from.take(&mut data)? };
    if n < data.len() {
        return Err(Errno::EFAULT);
    }
    Ok(data)
}
