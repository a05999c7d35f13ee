//! A question on its way through the host's name servers: over UDP from a port and with a number of its own, over TCP
//! where the answer does not fit. Nothing waits: the loop asks what a lookup waits for, and tells it when that is there.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::dns::{Answer, Question};
use crate::socket::{self, Kind};

/// How long one server may take, and all together: less than the five seconds of a usual resolver twice over.
const ONE_SERVER: Duration = Duration::from_millis(2500);
const ALL: Duration = Duration::from_secs(9);
/// The longest answer over UDP (we ask for no more) and over TCP.
const UDP_ANSWER: usize = 1500;
const TCP_ANSWER: usize = 16 * 1024;

/// One question being asked.
#[derive(Debug)]
pub struct Lookup {
    /// What the sentry calls it.
    pub request: u64,
    pub question: Question,
    stage: Stage,
    id: u16,
    /// Which of the servers is asked; counts on through all of them twice.
    turn: usize,
    turn_ends: Instant,
    ends: Instant,
}

#[derive(Debug)]
enum Stage {
    /// No socket could be had for this server.
    Idle,
    Udp(OwnedFd),
    Tcp {
        socket: OwnedFd,
        out: Vec<u8>,
        sent: usize,
        got: Vec<u8>,
    },
}

/// How far a lookup has come.
#[derive(Debug)]
pub enum Progress {
    Waiting,
    Done(Answer),
}

impl Lookup {
    /// Begins to ask.
    pub fn start(request: u64, question: Question, servers: &[SocketAddr], now: Instant) -> Lookup {
        let ends = now + ALL;
        let mut lookup =
            Lookup { request, question, stage: Stage::Idle, id: 0, turn: 0, turn_ends: now, ends };
        lookup.ask(servers, now);
        lookup
    }

    fn server(&self, servers: &[SocketAddr]) -> Option<SocketAddr> {
        servers.get(self.turn % servers.len().max(1)).copied()
    }

    /// Asks the server whose turn it is over UDP.
    fn ask(&mut self, servers: &[SocketAddr], now: Instant) {
        self.turn_ends = (now + ONE_SERVER).min(self.ends);
        self.id = random_id();
        self.stage = Stage::Idle;
        let sent = self.server(servers).and_then(|server| {
            let socket = socket::connected(Kind::Udp, server).ok()?;
            rustix::net::send(&socket, &self.question.to_ask(self.id), SendFlags::NOSIGNAL).ok()?;
            Some(socket)
        });
        match sent {
            Some(socket) => self.stage = Stage::Udp(socket),
            // Nobody to wait for.
            None => self.turn_ends = now,
        }
    }

    fn ask_over_tcp(&mut self, servers: &[SocketAddr]) -> Progress {
        let socket = self.server(servers).and_then(|server| socket::connected(Kind::Tcp, server).ok());
        let Some(socket) = socket else { return Progress::Done(Answer::Failure) };
        self.id = random_id();
        let question = self.question.to_ask(self.id);
        let mut out = (question.len() as u16).to_be_bytes().to_vec();
        out.extend_from_slice(&question);
        self.stage = Stage::Tcp { socket, out, sent: 0, got: Vec::new() };
        Progress::Waiting
    }

    /// What it waits for, if for any descriptor.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Udp(socket) => Some((socket.as_fd(), PollFlags::IN)),
            Stage::Tcp { socket, out, sent, .. } => {
                let wanted = if *sent < out.len() { PollFlags::OUT } else { PollFlags::IN };
                Some((socket.as_fd(), wanted))
            }
        }
    }

    /// When it does something by itself.
    pub fn deadline(&self) -> Instant {
        self.turn_ends
    }

    /// Its time has come: the next server, or the end.
    pub fn time_is_up(&mut self, servers: &[SocketAddr], now: Instant) -> Progress {
        if now < self.turn_ends {
            return Progress::Waiting;
        }
        self.turn += 1;
        if now >= self.ends || self.turn >= servers.len().saturating_mul(2) {
            return Progress::Done(Answer::Failure);
        }
        self.ask(servers, now);
        Progress::Waiting
    }

    /// Its descriptor is ready.
    pub fn ready(&mut self, servers: &[SocketAddr], now: Instant) -> Progress {
        match &mut self.stage {
            Stage::Idle => Progress::Waiting,
            Stage::Udp(socket) => {
                let mut buffer = [0; UDP_ANSWER];
                let got = match rustix::net::recv(&*socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                    Ok((got, _)) => got,
                    Err(Errno::INTR | Errno::AGAIN) => return Progress::Waiting,
                    // Nobody is there.
                    Err(_) => {
                        self.turn_ends = now;
                        return self.time_is_up(servers, now);
                    }
                };
                let message = buffer.get(..got).unwrap_or_default();
                match self.question.read_answer(self.id, message) {
                    // Somebody else's: the right one may yet come.
                    Err(_) => Progress::Waiting,
                    Ok(Answer::CutShort) => self.ask_over_tcp(servers),
                    Ok(Answer::Failure) => {
                        self.turn_ends = now;
                        self.time_is_up(servers, now)
                    }
                    Ok(answer) => Progress::Done(answer),
                }
            }
            Stage::Tcp { socket, out, sent, got } => match exchange(socket, out, sent, got) {
                Ok(None) => Progress::Waiting,
                Ok(Some(message)) => {
                    Progress::Done(self.question.read_answer(self.id, &message).unwrap_or(Answer::Failure))
                }
                Err(_) => Progress::Done(Answer::Failure),
            },
        }
    }
}

/// Goes on sending the question or receiving the answer; the whole answer once it is there.
fn exchange(
    socket: &OwnedFd,
    out: &[u8],
    sent: &mut usize,
    got: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, Errno> {
    if let Some(rest) = out.get(*sent..).filter(|rest| !rest.is_empty()) {
        match rustix::net::send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(n) => *sent += n,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error),
        }
        return Ok(None);
    }
    let mut buffer = [0; 2048];
    match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Err(Errno::CONNRESET),
        Ok((n, _)) => got.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some((len, rest)) = got.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if len > TCP_ANSWER {
        return Err(Errno::MSGSIZE);
    }
    Ok(rest.get(..len).map(<[u8]>::to_vec))
}

/// A number that a stranger cannot guess.
fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // Fails only where the kernel has no such call (getrandom(2)).
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}
