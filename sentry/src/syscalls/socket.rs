//! Making, naming and joining sockets: socket(2), socketpair(2), bind(2), listen(2), connect(2), accept(2),
//! getsockname(2), getpeername(2), shutdown(2).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;

use super::args::Fd;
use super::pipe::install_pair;
use super::socket_outside;
use crate::cred::cap;
use crate::fsimpl::socket;
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::net::addr::{Addr, MAX_LEN};
use crate::net::connect::Connecting;
use crate::net::socket::{SHUT_BOTH, SHUT_READ, SHUT_WRITE};
use crate::net::{names, Socket, Ucred};
use crate::vfs::inode::NewNode;
use crate::vfs::permission::{permission_at, Access};
use crate::vfs::{File, FileKind};
use crate::wait_queue::PollEvents;

const NONBLOCK: i32 = libc::SOCK_NONBLOCK;
const CLOEXEC: i32 = libc::SOCK_CLOEXEC;

/// The caller as peers see it.
pub(super) fn ucred(cx: &Ctx<'_>) -> Ucred {
    let c = cx.task.cred();
    Ucred { pid: cx.task.group.pid, uid: c.euid, gid: c.egid }
}

/// Family, type and protocol as a socket can have them.
fn checked(family: i32, kind: i32, protocol: i32) -> Result<(i32, i32), Errno> {
    if kind & !(0xf | NONBLOCK | CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = kind & 0xf;
    if kind > 10 {
        return Err(Errno::EINVAL);
    }
    let (stream, dgram) = (libc::SOCK_STREAM, libc::SOCK_DGRAM);
    match family {
        libc::AF_UNIX => {
            if protocol != 0 && protocol != libc::PF_UNIX {
                return Err(Errno::EPROTONOSUPPORT);
            }
            match kind {
                libc::SOCK_RAW => Ok((dgram, 0)),
                k if k == stream || k == dgram || k == libc::SOCK_SEQPACKET => Ok((k, 0)),
                _ => Err(Errno::ESOCKTNOSUPPORT),
            }
        }
        libc::AF_INET | libc::AF_INET6 => match (kind, protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok((stream, libc::IPPROTO_TCP)),
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok((dgram, libc::IPPROTO_UDP)),
            (libc::SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
            (libc::SOCK_RAW, _) => Err(Errno::EPERM),
            (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        },
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn file_for(cx: &Ctx<'_>, socket: Arc<Socket>, flags: i32) -> Arc<File> {
    let flags = if flags & NONBLOCK != 0 { libc::O_NONBLOCK as u32 } else { 0 };
    socket::create(cx.kernel, &cx.task.cred(), socket, flags)
}

pub fn socket(cx: &mut Ctx<'_>, family: i32, kind: i32, protocol: i32) -> SysResult {
    let (base, protocol) = checked(family, kind, protocol)?;
    let file = file_for(cx, Socket::new(family, base, protocol), kind);
    Ok(cx.install(file, kind & CLOEXEC != 0)? as u64)
}

pub fn socketpair(
    cx: &mut Ctx<'_>,
    family: i32,
    kind: i32,
    protocol: i32,
    at: UserPtr<[i32; 2]>,
) -> SysResult {
    if kind & !(0xf | NONBLOCK | CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    // The numbers are told before there are sockets: what is there is written back.
    let before = at.read(&cx.mem)?;
    at.write(&cx.mem, &before)?;
    let (base, protocol) = checked(family, kind, protocol)?;
    if family != libc::AF_UNIX {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let (a, b) = Socket::pair(base, protocol, ucred(cx));
    let (a, b) = (file_for(cx, a, kind), file_for(cx, b, kind));
    install_pair(cx, a, b, kind & CLOEXEC != 0, at)
}

/// The socket behind a descriptor, with its description.
pub(super) fn open_socket(cx: &Ctx<'_>, fd: Fd) -> Result<(Arc<File>, Arc<Socket>), Errno> {
    let file = cx.file(fd.0)?;
    let socket = socket::of(&file)?.clone();
    Ok((file, socket))
}

/// Copies an address in.
pub(super) fn read_addr(cx: &Ctx<'_>, family: i32, at: u64, len: u32) -> Result<Addr, Errno> {
    Addr::parse(&copy_addr(cx, at, len)?, family)
}

fn copy_addr(cx: &Ctx<'_>, at: u64, len: u32) -> Result<Vec<u8>, Errno> {
    let len = len as usize;
    if len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let mut raw = vec![0; len];
    if len > 0 {
        cx.mem.read(at, &mut raw)?;
    }
    Ok(raw)
}

/// Copies an address out, cut to the room there is; the length tells the whole.
pub(super) fn write_addr(cx: &Ctx<'_>, raw: &[u8], at: u64, len_at: UserPtr<i32>) -> Result<(), Errno> {
    let room = usize::try_from(len_at.read(&cx.mem)?).map_err(|_| Errno::EINVAL)?;
    let n = room.min(raw.len());
    if n > 0 {
        cx.mem.write(at, &raw[..n])?;
    }
    len_at.write(&cx.mem, &(raw.len() as i32))
}

pub fn bind(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: u32) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    match read_addr(cx, s.family, addr, len)? {
        Addr::Unix(name) if name.first().is_some_and(|b| *b != 0) => {
            let umask = cx.task.fs().get().umask;
            let mode = 0o777 & !umask;
            if let Err(e) = s.check_unbound() {
                // A name that is taken is said first.
                let taken = cx.lookup().resolve(&name, false).is_ok();
                return Err(if taken { Errno::EADDRINUSE } else { e }.into());
            }
            let place = match cx.lookup().make(&name, &NewNode::Socket, mode) {
                Err(Errno::EEXIST) => return Err(Errno::EADDRINUSE.into()),
                other => other?,
            };
            s.bind_inode(&name, place.inode().clone())?;
        }
        Addr::Unix(name) => s.bind_abstract(&name)?,
        Addr::Inet(at) => {
            if at.port() != 0 && at.port() < 1024 {
                let cred = cx.task.cred();
                if !cred.has(cap::NET_BIND_SERVICE) {
                    return Err(Errno::EACCES.into());
                }
            }
            s.bind_port(at)?;
        }
        Addr::Unspec => {
            let e = if s.family == libc::AF_UNIX { Errno::EINVAL } else { Errno::EAFNOSUPPORT };
            return Err(e.into());
        }
    }
    Ok(0)
}

pub fn listen(cx: &mut Ctx<'_>, fd: Fd, backlog: i32) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    s.listen(backlog, ucred(cx))?;
    Ok(0)
}

/// The socket that a UNIX name leads to.
pub(super) fn find_unix(cx: &Ctx<'_>, name: &[u8]) -> Result<Arc<Socket>, Errno> {
    if name.is_empty() {
        return Err(Errno::EINVAL);
    }
    if name.first() == Some(&0) {
        return names::find_abstract(name).ok_or(Errno::ECONNREFUSED);
    }
    let look = cx.lookup();
    let place = look.resolve(name, true)?;
    permission_at(&place, &look.cred, Access::WRITE)?;
    if place.inode().kind() != FileKind::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    names::find_inode(place.inode())?.ok_or(Errno::ECONNREFUSED)
}

pub fn connect(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: u32) -> SysResult {
    // A descriptor, then the address, then a socket.
    let file = cx.file(fd.0)?;
    let raw = copy_addr(cx, addr, len)?;
    let s = socket::of(&file)?.clone();
    let to = Addr::parse(&raw, s.family)?;
    let cred = ucred(cx);
    if cx.block.runs == 0 {
        let ns = s.options.send_timeout.load(Ordering::Relaxed);
        cx.block.deadline = (ns > 0).then(|| crate::time::monotonic().saturating_add(ns));
    }
    loop {
        let queue = match &to {
            Addr::Unspec => return Ok(s.disconnect().map(|()| 0)?),
            Addr::Unix(name) => {
                let other = find_unix(cx, name)?;
                s.connect_unix(other, cred)?
            }
            Addr::Inet(at) if s.leads_out(*at) => return socket_outside::connect(cx, &file, &s, *at),
            Addr::Inet(at) => {
                socket_outside::denied(&s, *at, b"");
                s.connect_inet(*at, file.nonblocking(), cred)?
            }
        };
        match queue {
            Connecting::Done => return Ok(0),
            Connecting::Full(_) if file.nonblocking() || cx.timed_out() => return Err(Errno::EAGAIN.into()),
            Connecting::Full(q) => {
                let restart = cx.socket_restart();
                cx.wait(&[(&q, PollEvents::OUT)], restart)?
            }
        }
    }
}

pub fn accept(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: UserPtr<i32>) -> SysResult {
    accept4(cx, fd, addr, len, 0)
}

pub fn accept4(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: UserPtr<i32>, flags: i32) -> SysResult {
    let file = cx.file(fd.0)?;
    if flags & !(NONBLOCK | CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let s = socket::of(&file)?.clone();
    if cx.block.runs == 0 {
        let ns = s.options.receive_timeout.load(Ordering::Relaxed);
        cx.block.deadline = (ns > 0).then(|| crate::time::monotonic().saturating_add(ns));
    }
    loop {
        match s.accept() {
            Ok(new) => {
                let remote = new.remote().unwrap_or(Addr::Unspec).to_bytes(s.family);
                // Made a file first: if anything fails it is closed with it, and the client learns of it.
                let new = file_for(cx, new, flags);
                if addr != 0 {
                    write_addr(cx, &remote, addr, len)?;
                }
                return Ok(cx.install(new, flags & CLOEXEC != 0)? as u64);
            }
            Err(Errno::EAGAIN) if !file.nonblocking() && !cx.timed_out() => {
                let restart = cx.socket_restart();
                cx.wait(&[(&s.queue, PollEvents::READABLE)], restart)?;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

pub fn getsockname(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: UserPtr<i32>) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    write_addr(cx, &s.local().to_bytes(s.family), addr, len)?;
    Ok(0)
}

pub fn getpeername(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: UserPtr<i32>) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    write_addr(cx, &s.remote()?.to_bytes(s.family), addr, len)?;
    Ok(0)
}

pub fn shutdown(cx: &mut Ctx<'_>, fd: Fd, how: i32) -> SysResult {
    let (_file, s) = open_socket(cx, fd)?;
    let directions = match how {
        libc::SHUT_RD => SHUT_READ,
        libc::SHUT_WR => SHUT_WRITE,
        libc::SHUT_RDWR => SHUT_BOTH,
        _ => return Err(Errno::EINVAL.into()),
    };
    s.shutdown(directions)?;
    Ok(0)
}
