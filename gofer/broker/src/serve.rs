//! The loop: requests of the sentry, answers of name servers, connections by published ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use gofer_protocol::net::{NetReply, NetRequest, Transport, MAX_NET_MESSAGE, NET_VERSION};
use gofer_protocol::{Channel, Fds, Received, Writer};
use linux_abi::Errno;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::SocketFlags;

use crate::allow::{AllowList, Everything, Port};
use crate::dns::{self, Answer, Code, Kind, Question};
use crate::host::HostNames;
use crate::learnt::Learnt;
use crate::lookup::{Lookup, Progress};
use crate::{socket, BrokerConfig};

/// How many questions are under way at a time; one more fails.
const MAX_LOOKUPS: usize = 128;
/// How long a guest may keep what is not about to change: an address of the host's own table, that there is no name.
const TABLE_TTL: u32 = 60;

/// A port of the host that is listened on.
#[derive(Debug)]
pub struct Listener {
    pub socket: OwnedFd,
    /// Who is to get its connections inside.
    pub port: u16,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    allow: AllowList,
    host: HostNames,
    learnt: Learnt,
    lookups: Vec<Lookup>,
    listeners: Vec<Listener>,
}

/// The connection to the sentry is of no use any more.
struct Hopeless;

/// Why there is no socket.
enum Refusal {
    /// The host's reason.
    Host(Errno),
    /// The list does not have it, by this name or any.
    Denied(Option<String>),
}

impl Broker {
    /// Reads what the host knows of names: the last files that it opens.
    pub fn new(config: &BrokerConfig, listeners: Vec<Listener>) -> Broker {
        Broker::with(config, listeners, HostNames::read())
    }

    fn with(config: &BrokerConfig, listeners: Vec<Listener>, host: HostNames) -> Broker {
        let everything = if config.everything { Everything::Reachable } else { Everything::ByRule };
        let allow = AllowList::new(&config.allow, everything);
        let (mut learnt, now) = (Learnt::default(), Instant::now());
        // A guest reads that table itself, and asks nobody.
        for (name, ip) in
            host.table().filter(|(name, ip)| allow.name(name, Port::Any) && allow.may_answer(*ip))
        {
            learnt.learn_for_ever(ip, name, now);
        }
        Broker { allow, host, learnt, lookups: Vec::new(), listeners }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(config: &BrokerConfig, servers: Vec<SocketAddr>) -> Broker {
        Broker::with(config, Vec::new(), HostNames { servers, ..HostNames::default() })
    }

    /// Serves until the sentry is gone, or talks nonsense.
    pub fn serve(mut self, sentry: OwnedFd) -> Result<(), Errno> {
        let channel = Channel::new(sentry);
        let mut buffer = vec![0; MAX_NET_MESSAGE].into_boxed_slice();
        let mut greeted = false;
        loop {
            let ready = self.wait(&channel)?;
            let mut flags = ready.iter();
            let mut next = || flags.next().is_some_and(|ready| *ready);
            let (request, lookups, listeners) = (
                next(),
                (0..self.lookups.len()).map(|_| next()).collect::<Vec<_>>(),
                (0..self.listeners.len()).map(|_| next()).collect::<Vec<_>>(),
            );
            let done = self.go_on(&channel, &lookups).and_then(|()| self.accept(&channel, &listeners));
            if done.is_err() {
                return Ok(());
            }
            if request {
                match self.one_request(&channel, &mut buffer, &mut greeted) {
                    Ok(true) => {}
                    Ok(false) | Err(Hopeless) => return Ok(()),
                }
            }
        }
    }

    /// Which of the sentry, the lookups and the listeners have something.
    fn wait(&self, channel: &Channel) -> Result<Vec<bool>, Errno> {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(channel, PollFlags::IN)];
        for lookup in &self.lookups {
            let (fd, flags) = lookup.waits_for().unwrap_or((channel.as_fd(), PollFlags::empty()));
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        fds.extend(self.listeners.iter().map(|listener| PollFd::new(&listener.socket, PollFlags::IN)));
        let rest = self.lookups.iter().map(|lookup| lookup.deadline().saturating_duration_since(now)).min();
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        match poll(&mut fds, rest.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Errno(error.raw_os_error())),
        }
        Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// `false` where the sentry is gone.
    fn one_request(
        &mut self,
        channel: &Channel,
        buffer: &mut [u8],
        greeted: &mut bool,
    ) -> Result<bool, Hopeless> {
        let mut fds = Fds::new();
        let len = match channel.recv(buffer, &mut fds) {
            Ok(Received::Message(len)) => len,
            Ok(Received::Closed) => return Ok(false),
            Err(error) => {
                tracing::warn!("connection given up: {error}");
                return Err(Hopeless);
            }
        };
        let request = match NetRequest::decode(buffer.get(..len).unwrap_or_default()) {
            Ok(request) if fds.is_empty() => request,
            Ok(_) => {
                tracing::warn!("connection given up: a request with a descriptor");
                return Err(Hopeless);
            }
            Err(error) => {
                tracing::warn!("connection given up: {error}");
                return Err(Hopeless);
            }
        };
        match (&request, *greeted) {
            (NetRequest::Hello { version: NET_VERSION }, false) => *greeted = true,
            (NetRequest::Hello { .. }, _) | (_, false) => {
                tracing::warn!("connection given up: no greeting of this version");
                return Err(Hopeless);
            }
            (NetRequest::Connect { id, transport, to }, true) => {
                let made = self.connect(*transport, *to, Instant::now());
                answer_connect(channel, *id, made)?;
            }
            (NetRequest::Resolve { id, query }, true) => self.resolve(channel, *id, query)?,
        }
        Ok(true)
    }

    /// Makes a socket to `to`, should the list have it.
    fn connect(&self, transport: Transport, to: SocketAddr, now: Instant) -> Result<OwnedFd, Refusal> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let port = match (transport, to.port()) {
            // Nothing can be sent there; programs ask which address of theirs would be used (getaddrinfo(3) does).
            (Transport::Udp, 0) => Port::Any,
            (_, port) => Port::Of(port),
        };
        if !self.allow.address(to.ip(), port) {
            let mut known = None;
            let allowed = self.learnt.names(to.ip(), now).any(|name| {
                known = Some(name.to_owned());
                self.allow.name(name, port)
            });
            if !allowed {
                return Err(Refusal::Denied(known));
            }
        }
        let kind = match transport {
            Transport::Tcp => socket::Kind::Tcp,
            Transport::Udp => socket::Kind::Udp,
        };
        socket::connected(kind, to).map_err(|error| Refusal::Host(Errno(error.raw_os_error())))
    }

    /// Answers a guest's question, or asks on.
    fn resolve(&mut self, channel: &Channel, id: u64, query: &[u8]) -> Result<(), Hopeless> {
        let question = match dns::question(query) {
            Ok(question) => question,
            Err(answer) => return resolved(channel, id, &answer.unwrap_or_default(), ""),
        };
        let Some(name) = question.name.text() else {
            return resolved(channel, id, &question.to_answer(Code::FormatError, &[], 0), "");
        };
        if name == "localhost" || name.ends_with(".localhost") {
            // The sandbox's own (RFC 6761, 6.3).
            let own: &[IpAddr] = match question.kind {
                Kind::V4 => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
                Kind::V6 => &[IpAddr::V6(Ipv6Addr::LOCALHOST)],
                Kind::Other => &[],
            };
            return resolved(channel, id, &question.to_answer(Code::NoError, own, TABLE_TTL), "");
        }
        if !self.allow.name(&name, Port::Any) {
            let denied = if question.kind == Kind::Other { "" } else { &name };
            return resolved(channel, id, &question.to_answer(Code::NoSuchName, &[], 0), denied);
        }
        if question.kind == Kind::Other {
            return resolved(channel, id, &question.to_answer(Code::NoError, &[], 0), "");
        }
        let known = self.host.find(&name);
        if !known.is_empty() {
            let mut list = known;
            list.retain(|ip| ip.is_ipv4() == (question.kind == Kind::V4) && self.allow.may_answer(*ip));
            return resolved(channel, id, &question.to_answer(Code::NoError, &list, TABLE_TTL), "");
        }
        if self.lookups.len() >= MAX_LOOKUPS {
            return resolved(channel, id, &question.to_answer(Code::ServerFailure, &[], 0), "");
        }
        self.lookups.push(Lookup::start(id, question, &self.host.servers, Instant::now()));
        Ok(())
    }

    /// Goes on with the lookups whose socket is ready or whose time is up.
    fn go_on(&mut self, channel: &Channel, ready: &[bool]) -> Result<(), Hopeless> {
        let now = Instant::now();
        let mut at = 0;
        for index in 0..ready.len() {
            let Some(lookup) = self.lookups.get_mut(at) else { break };
            let progress = match ready.get(index) {
                Some(true) => lookup.ready(&self.host.servers, now),
                _ => lookup.time_is_up(&self.host.servers, now),
            };
            match progress {
                Progress::Waiting => at += 1,
                Progress::Done(answer) => {
                    let lookup = self.lookups.remove(at);
                    let bytes = self.believe(&lookup.question, answer, now);
                    resolved(channel, lookup.request, &bytes, "")?;
                }
            }
        }
        Ok(())
    }

    /// Notes an answer's addresses, without those that a stranger's server has no word in.
    fn believe(&mut self, question: &Question, answer: Answer, now: Instant) -> Vec<u8> {
        match answer {
            Answer::NoSuchName => question.to_answer(Code::NoSuchName, &[], 0),
            Answer::Failure | Answer::CutShort => question.to_answer(Code::ServerFailure, &[], 0),
            Answer::Addresses { mut list, ttl } => {
                let name = question.name.text().unwrap_or_default();
                list.retain(|ip| {
                    let may = self.allow.may_answer(*ip);
                    if !may {
                        tracing::info!(
                            "{name} resolves to {ip}, which the allow-list does not name: left out"
                        );
                    }
                    may
                });
                list.iter().for_each(|ip| self.learnt.learn(ip.to_canonical(), &name, ttl, now));
                question.to_answer(Code::NoError, &list, ttl)
            }
        }
    }

    /// Takes connections by published ports, one of each at a time.
    fn accept(&self, channel: &Channel, ready: &[bool]) -> Result<(), Hopeless> {
        for (listener, _) in self.listeners.iter().zip(ready).filter(|(_, ready)| **ready) {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok((socket, from)) = rustix::net::acceptfrom_with(&listener.socket, flags) else { continue };
            let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
            send(channel, &NetReply::Incoming { port: listener.port, from }, &[socket.as_fd()])?;
        }
        Ok(())
    }
}

fn answer_connect(channel: &Channel, id: u64, made: Result<OwnedFd, Refusal>) -> Result<(), Hopeless> {
    match made {
        Ok(socket) => send(channel, &NetReply::Connected { id }, &[socket.as_fd()]),
        Err(Refusal::Host(errno)) => send(channel, &NetReply::Failed { id, errno }, &[]),
        Err(Refusal::Denied(name)) => {
            let name = name.unwrap_or_default();
            send(channel, &NetReply::Denied { id, name: name.as_bytes() }, &[])
        }
    }
}

fn resolved(channel: &Channel, id: u64, answer: &[u8], denied: &str) -> Result<(), Hopeless> {
    send(channel, &NetReply::Resolved { id, answer, denied: denied.as_bytes() }, &[])
}

fn send(channel: &Channel, reply: &NetReply<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Hopeless> {
    let mut w = Writer::default();
    reply.encode(&mut w);
    channel.send(w.as_bytes(), fds).map_err(|_| Hopeless)
}
