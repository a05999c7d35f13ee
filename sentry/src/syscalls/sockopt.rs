//! getsockopt(2), setsockopt(2).

use std::sync::atomic::{AtomicBool, Ordering};

use linux_abi::Errno;

use super::args::Fd;
use super::socket::open_socket;
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::net::socket::Status;
use crate::net::Socket;
use crate::time::NSEC;

/// The smallest and largest buffer (`SOCK_MIN_SNDBUF`, `net.core.wmem_max`); a set value counts twice (socket(7)).
const MIN_BUFFER: usize = 4608;
const MAX_BUFFER: usize = 212_992;
const IPV6_V6ONLY: i32 = 26;
const TCP_INFO: i32 = 11;

fn switch(s: &Socket, level: i32, name: i32) -> Option<&AtomicBool> {
    let o = &s.options;
    Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => &o.reuse_addr,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => &o.reuse_port,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => &o.keep_alive,
        (libc::SOL_SOCKET, libc::SO_BROADCAST) => &o.broadcast,
        (libc::SOL_SOCKET, libc::SO_PASSCRED) => &o.pass_cred,
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) if s.protocol == libc::IPPROTO_TCP => &o.no_delay,
        (libc::IPPROTO_IPV6, IPV6_V6ONLY) if s.family == libc::AF_INET6 => &o.v6_only,
        _ => return None,
    })
}

/// Options of TCP and IP that are taken and change nothing over loopback, with what they read as.
fn ignored(s: &Socket, level: i32, name: i32) -> Option<i32> {
    if s.is_unix() {
        return None;
    }
    match (level, name) {
        (libc::IPPROTO_TCP, _) if s.protocol != libc::IPPROTO_TCP => None,
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => Some(536),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => Some(7200),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => Some(75),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => Some(9),
        (libc::IPPROTO_TCP, libc::TCP_CORK | libc::TCP_DEFER_ACCEPT | libc::TCP_USER_TIMEOUT) => Some(0),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => Some(1),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => Some(0),
        (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_RECVERR | libc::IP_PKTINFO | libc::IP_MTU_DISCOVER) => {
            Some(0)
        }
        (libc::IPPROTO_IP, libc::IP_TTL) => Some(64),
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => Some(64),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO | libc::IPV6_RECVERR | libc::IPV6_TCLASS) => Some(0),
        _ => None,
    }
}

pub fn setsockopt(cx: &mut Ctx<'_>, fd: Fd, level: i32, name: i32, at: u64, len: u32) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    if len > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    if level == libc::SOL_SOCKET && (name == libc::SO_RCVTIMEO || name == libc::SO_SNDTIMEO) {
        return set_timeout(cx, &s, name, at, len);
    }
    if level == libc::SOL_SOCKET && name == libc::SO_LINGER {
        if len < 8 {
            return Err(Errno::EINVAL.into());
        }
        let [on, seconds] = UserPtr::<[i32; 2]>::new(at).read(&cx.mem)?;
        *s.options.linger.lock() = (i32::from(on != 0), seconds);
        s.settings_changed();
        return Ok(0);
    }
    let known = switch(&s, level, name).is_some() || ignored(&s, level, name).is_some();
    if level != libc::SOL_SOCKET && !known {
        let e = if s.is_unix() { Errno::EOPNOTSUPP } else { Errno::ENOPROTOOPT };
        return Err(e.into());
    }
    if len < 4 {
        return Err(Errno::EINVAL.into());
    }
    let v = UserPtr::<i32>::new(at).read(&cx.mem)?;
    if let Some(flag) = switch(&s, level, name) {
        flag.store(v != 0, Ordering::Relaxed);
        s.settings_changed();
        return Ok(0);
    }
    if known {
        return Ok(0);
    }
    let buffer =
        || usize::try_from(v).unwrap_or(MAX_BUFFER).min(MAX_BUFFER).saturating_mul(2).max(MIN_BUFFER);
    match name {
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => s.set_send_limit(buffer()),
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
            s.options.receive_buffer.store(buffer().max(2304), Ordering::Relaxed);
        }
        libc::SO_PRIORITY => s.options.priority.store(v, Ordering::Relaxed),
        libc::SO_DONTROUTE | libc::SO_OOBINLINE | libc::SO_TIMESTAMP | libc::SO_RCVLOWAT => {}
        _ => return Err(Errno::ENOPROTOOPT.into()),
    }
    Ok(0)
}

fn set_timeout(cx: &Ctx<'_>, s: &Socket, name: i32, at: u64, len: u32) -> SysResult {
    if len < 16 {
        return Err(Errno::EINVAL.into());
    }
    let [sec, usec] = UserPtr::<[i64; 2]>::new(at).read(&cx.mem)?;
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM.into());
    }
    // A negative time is none at all; zero waits for ever.
    let ns = match u64::try_from(sec) {
        Ok(sec) => sec.saturating_mul(NSEC).saturating_add(usec as u64 * 1000),
        Err(_) => 1,
    };
    let place = if name == libc::SO_RCVTIMEO { &s.options.receive_timeout } else { &s.options.send_timeout };
    place.store(ns, Ordering::Relaxed);
    Ok(0)
}

pub fn getsockopt(
    cx: &mut Ctx<'_>,
    fd: Fd,
    level: i32,
    name: i32,
    at: u64,
    len_at: UserPtr<i32>,
) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    if s.is_unix() && level != libc::SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let room = usize::try_from(len_at.read(&cx.mem)?).map_err(|_| Errno::EINVAL)?;
    let value = value(&s, level, name)?;
    let n = room.min(value.len());
    if n > 0 {
        cx.mem.write(at, &value[..n])?;
    }
    len_at.write(&cx.mem, &(n as i32))?;
    Ok(0)
}

fn value(s: &Socket, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let int = |v: i32| Ok(v.to_le_bytes().to_vec());
    if let Some(flag) = switch(s, level, name) {
        return int(flag.load(Ordering::Relaxed).into());
    }
    if let Some(v) = ignored(s, level, name) {
        return int(v);
    }
    if level != libc::SOL_SOCKET {
        if level == libc::IPPROTO_TCP && name == TCP_INFO && s.protocol == libc::IPPROTO_TCP {
            // Only the state, which is what programs look at: ESTABLISHED, LISTEN or CLOSE.
            let mut info = vec![0; 104];
            info[0] = match s.status() {
                Status::Connected => 1,
                Status::Listening => 10,
                Status::Idle => 7,
            };
            return Ok(info);
        }
        // A level that ends up with IPv4's code and is not its own (do_ip_getsockopt; the setter says ENOPROTOOPT).
        let mine = level == libc::IPPROTO_IP || level == s.protocol || s.family == libc::AF_INET6;
        return Err(if s.is_unix() || !mine { Errno::EOPNOTSUPP } else { Errno::ENOPROTOOPT });
    }
    let time = |ns: u64| {
        let pair = [(ns / NSEC) as i64, (ns % NSEC / 1000) as i64];
        Ok(pair.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    match name {
        libc::SO_TYPE => int(s.kind),
        libc::SO_DOMAIN => int(s.family),
        libc::SO_PROTOCOL => int(s.protocol),
        libc::SO_ERROR => int(s.take_error().map_or(0, |e| e.0)),
        libc::SO_ACCEPTCONN => int((s.status() == Status::Listening).into()),
        libc::SO_SNDBUF => int(s.send_limit() as i32),
        libc::SO_RCVBUF => int(s.receive_limit() as i32),
        libc::SO_PRIORITY => int(s.options.priority.load(Ordering::Relaxed)),
        libc::SO_RCVLOWAT | libc::SO_SNDLOWAT => int(1),
        libc::SO_DONTROUTE | libc::SO_OOBINLINE | libc::SO_TIMESTAMP => int(0),
        libc::SO_RCVTIMEO => time(s.options.receive_timeout.load(Ordering::Relaxed)),
        libc::SO_SNDTIMEO => time(s.options.send_timeout.load(Ordering::Relaxed)),
        libc::SO_LINGER => {
            let (on, seconds) = *s.options.linger.lock();
            Ok([on.to_le_bytes(), seconds.to_le_bytes()].concat())
        }
        libc::SO_PEERCRED => Ok(s.peer_cred().to_bytes().to_vec()),
        _ => Err(Errno::ENOPROTOOPT),
    }
}
