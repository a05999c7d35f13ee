//! What the sentry and the net broker say to each other: the same kind of messages on a connection of its own
//! ([`crate::Channel`]). The sentry asks for a connected socket, or hands on what a guest asked its resolver; the broker
//! answers in any order, and tells of connections that came in by a published port. Both take each other for hostile.

use std::net::{IpAddr, SocketAddr};

use linux_abi::Errno;

use crate::wire::{Malformed, Reader, Writer};

/// The version that both sides must have.
pub const NET_VERSION: u32 = 1;
/// The longest question or answer of a name server that is carried.
pub const MAX_DNS: usize = 4096;
/// The longest name in the text form of the name system.
pub const MAX_DOMAIN: usize = 253;
/// The largest message of either side.
pub const MAX_NET_MESSAGE: usize = MAX_DNS + 512;

/// What is spoken over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// What the sentry asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetRequest<'a> {
    /// The first message.
    Hello { version: u32 },
    /// A socket that is connected, or on its way to be, to this address.
    Connect { id: u64, transport: Transport, to: SocketAddr },
    /// The bytes that a guest sent to its name server.
    Resolve { id: u64, query: &'a [u8] },
}

/// What the broker answers and tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetReply<'a> {
    /// The socket comes with it.
    Connected { id: u64 },
    /// The host would not.
    Failed { id: u64, errno: Errno },
    /// The allow-list does not have it. The name that the address was learnt by, if any.
    Denied { id: u64, name: &'a [u8] },
    /// The bytes for the guest. `denied` is the name that was asked for where the allow-list does not have it.
    Resolved { id: u64, answer: &'a [u8], denied: &'a [u8] },
    /// A connection by a published port, for who listens at this port inside. The socket comes with it.
    Incoming { port: u16, from: SocketAddr },
}

const HELLO: u8 = 1;
const CONNECT: u8 = 2;
const RESOLVE: u8 = 3;
const CONNECTED: u8 = 1;
const FAILED: u8 = 2;
const DENIED: u8 = 3;
const RESOLVED: u8 = 4;
const INCOMING: u8 = 5;

fn put_address(w: &mut Writer, at: SocketAddr) {
    let v6 = match at.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    w.u64(v6.to_bits() as u64);
    w.u64((v6.to_bits() >> 64) as u64);
    w.u16(at.port());
}

/// IPv4 travels as a mapped address, so that there is one form of it and it comes out as IPv4.
fn take_address(r: &mut Reader<'_>) -> Result<SocketAddr, Malformed> {
    let (low, high) = (r.u64()?, r.u64()?);
    let ip = std::net::Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    Ok(SocketAddr::new(ip.to_canonical(), r.u16()?))
}

fn end<T>(r: Reader<'_>, value: T) -> Result<T, Malformed> {
    r.end()?;
    Ok(value)
}

impl<'a> NetRequest<'a> {
    pub fn encode(&self, w: &mut Writer) {
        w.clear();
        match self {
            NetRequest::Hello { version } => {
                w.u8(HELLO);
                w.u32(*version);
            }
            NetRequest::Connect { id, transport, to } => {
                w.u8(CONNECT);
                w.u64(*id);
                w.u8(match transport {
                    Transport::Tcp => 0,
                    Transport::Udp => 1,
                });
                put_address(w, *to);
            }
            NetRequest::Resolve { id, query } => {
                w.u8(RESOLVE);
                w.u64(*id);
                w.bytes(query);
            }
        }
    }

    pub fn decode(message: &'a [u8]) -> Result<NetRequest<'a>, Malformed> {
        let mut r = Reader::new(message);
        let request = match r.u8()? {
            HELLO => NetRequest::Hello { version: r.u32()? },
            CONNECT => {
                let id = r.u64()?;
                let transport = match r.u8()? {
                    0 => Transport::Tcp,
                    1 => Transport::Udp,
                    _ => return Err(Malformed("unknown transport")),
                };
                NetRequest::Connect { id, transport, to: take_address(&mut r)? }
            }
            RESOLVE => NetRequest::Resolve { id: r.u64()?, query: r.bytes(MAX_DNS)? },
            _ => return Err(Malformed("unknown request")),
        };
        end(r, request)
    }
}

impl<'a> NetReply<'a> {
    pub fn encode(&self, w: &mut Writer) {
        w.clear();
        match self {
            NetReply::Connected { id } => {
                w.u8(CONNECTED);
                w.u64(*id);
            }
            NetReply::Failed { id, errno } => {
                w.u8(FAILED);
                w.u64(*id);
                w.u32(errno.0.unsigned_abs());
            }
            NetReply::Denied { id, name } => {
                w.u8(DENIED);
                w.u64(*id);
                w.bytes(name);
            }
            NetReply::Resolved { id, answer, denied } => {
                w.u8(RESOLVED);
                w.u64(*id);
                w.bytes(answer);
                w.bytes(denied);
            }
            NetReply::Incoming { port, from } => {
                w.u8(INCOMING);
                w.u16(*port);
                put_address(w, *from);
            }
        }
    }

    pub fn decode(message: &'a [u8]) -> Result<NetReply<'a>, Malformed> {
        let mut r = Reader::new(message);
        let reply = match r.u8()? {
            CONNECTED => NetReply::Connected { id: r.u64()? },
            FAILED => {
                let id = r.u64()?;
                let errno = r.u32()?;
                if !(1..4096).contains(&errno) {
                    return Err(Malformed("no error number"));
                }
                NetReply::Failed { id, errno: Errno(errno as i32) }
            }
            DENIED => NetReply::Denied { id: r.u64()?, name: r.bytes(MAX_DOMAIN)? },
            RESOLVED => {
                NetReply::Resolved { id: r.u64()?, answer: r.bytes(MAX_DNS)?, denied: r.bytes(MAX_DOMAIN)? }
            }
            INCOMING => NetReply::Incoming { port: r.u16()?, from: take_address(&mut r)? },
            _ => return Err(Malformed("unknown reply")),
        };
        end(r, reply)
    }

    /// How many descriptors must have come with it.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, NetReply::Connected { .. } | NetReply::Incoming { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<NetRequest<'static>> {
        vec![
            NetRequest::Hello { version: 1 },
            NetRequest::Connect { id: 7, transport: Transport::Tcp, to: "203.0.113.5:443".parse().unwrap() },
            NetRequest::Connect { id: 8, transport: Transport::Udp, to: "[2001:db8::1]:53".parse().unwrap() },
            NetRequest::Resolve { id: u64::MAX, query: b"abc" },
        ]
    }

    fn replies() -> Vec<NetReply<'static>> {
        vec![
            NetReply::Connected { id: 7 },
            NetReply::Failed { id: 7, errno: Errno::ECONNREFUSED },
            NetReply::Denied { id: 7, name: b"example.org" },
            NetReply::Resolved { id: 7, answer: b"xyz", denied: b"" },
            NetReply::Incoming { port: 80, from: "[::1]:4000".parse().unwrap() },
        ]
    }

    #[test]
    fn messages_go_round_and_no_other_bytes_do() {
        let mut w = Writer::default();
        for request in requests() {
            request.encode(&mut w);
            assert_eq!(NetRequest::decode(w.as_bytes()), Ok(request));
            cut_and_bent(w.as_bytes(), |bytes| NetRequest::decode(bytes).is_err());
        }
        for reply in replies() {
            reply.encode(&mut w);
            assert_eq!(NetReply::decode(w.as_bytes()), Ok(reply));
            cut_and_bent(w.as_bytes(), |bytes| NetReply::decode(bytes).is_err());
        }
    }

    /// Every shorter and every longer message is refused; a bent one must only not panic.
    fn cut_and_bent(good: &[u8], refused: impl Fn(&[u8]) -> bool) {
        for len in 0..good.len() {
            assert!(refused(&good[..len]), "{len} of {good:?}");
        }
        assert!(refused(&[good, b"x"].concat()));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bent = good.to_vec();
                bent[at] ^= 1 << bit;
                let _ = refused(&bent);
            }
        }
    }

    #[test]
    fn a_mapped_address_comes_out_as_ipv4() {
        let mut w = Writer::default();
        let to = "[::ffff:10.0.0.1]:80".parse().unwrap();
        NetRequest::Connect { id: 1, transport: Transport::Tcp, to }.encode(&mut w);
        let to = "10.0.0.1:80".parse().unwrap();
        assert_eq!(
            NetRequest::decode(w.as_bytes()),
            Ok(NetRequest::Connect { id: 1, transport: Transport::Tcp, to })
        );
    }
}
