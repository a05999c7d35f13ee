//! Sending and receiving: sendto(2), recvfrom(2), sendmsg(2), recvmsg(2) and their many-message forms; the ancillary
//! data of unix(7).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;

use super::args::Fd;
use super::fs_io::{raise, Ranges, MAX_RW};
use super::socket::{find_unix, open_socket, read_addr, ucred, write_addr};
use super::socket_outside;
use crate::cred::cap;
use crate::kernel::{Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::net::addr::Addr;
use crate::net::in_flight;
use crate::net::transfer::{Destination, NotSent, Outgoing};
use crate::net::{Socket, Ucred};
use crate::vfs::File;
use crate::wait_queue::PollEvents;

/// `struct msghdr`: name, its length, iovec, its count, control, its length, flags.
type MsgHdr = [u64; 7];
/// The most files in one message (`SCM_MAX_FD`).
const MAX_FILES: usize = 253;
/// The most messages of sendmmsg(2) (`UIO_MAXIOV`).
const MAX_MESSAGES: u32 = 1024;
const CONTROL_MAX: u64 = 1 << 16;
const MSG_CMSG_CLOEXEC: i32 = 0x4000_0000;

pub fn sendto(
    cx: &mut Ctx<'_>,
    fd: Fd,
    buf: u64,
    len: usize,
    flags: i32,
    addr: u64,
    addr_len: u32,
) -> SysResult {
    let ranges = Ranges::cut(buf, len)?;
    let (file, s) = open_socket(cx, fd)?;
    // An address of no bytes is none.
    let to = if addr == 0 || addr_len == 0 { None } else { Some(read_addr(cx, s.family, addr, addr_len)?) };
    no_urgent(&s, flags)?;
    let out = outgoing(cx, &s, to, Vec::new(), None)?;
    send(cx, &file, &s, &ranges, out, flags)
}

/// `EOPNOTSUPP` for `MSG_OOB` on sockets without urgent data, whomever it is for.
fn no_urgent(s: &Socket, flags: i32) -> Result<(), Errno> {
    if flags & libc::MSG_OOB != 0 && (!s.is_stream() || s.is_unix()) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// `MSG_CMSG_COMPAT` is the kernel's own mark of a 32-bit call.
fn no_compat(flags: i32) -> Result<(), Errno> {
    if flags & (1 << 31) == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

pub fn sendmsg(cx: &mut Ctx<'_>, fd: Fd, msg: UserPtr<MsgHdr>, flags: i32) -> SysResult {
    no_compat(flags)?;
    let (file, s) = open_socket(cx, fd)?;
    send_one(cx, &file, &s, msg, flags)
}

fn send_one(
    cx: &mut Ctx<'_>,
    file: &Arc<File>,
    s: &Arc<Socket>,
    msg: UserPtr<MsgHdr>,
    flags: i32,
) -> SysResult {
    let [name, name_len, iov, count, control, control_len, _] = msg.read(&cx.mem)?;
    let ranges = iovec(cx, iov, count)?;
    let to = if name == 0 || name_len as u32 == 0 {
        None
    } else {
        Some(read_addr(cx, s.family, name, name_len as u32)?)
    };
    let (files, cred) = read_control(cx, s, control, control_len)?;
    no_urgent(s, flags)?;
    let out = outgoing(cx, s, to, files, cred)?;
    send(cx, file, s, &ranges, out, flags)
}

fn iovec(cx: &Ctx<'_>, iov: u64, count: u64) -> Result<Ranges, Errno> {
    let count = usize::try_from(count).ok().filter(|c| *c <= super::fs_io::IOV_MAX).ok_or(Errno::EMSGSIZE)?;
    Ranges::many(&cx.mem, iov, count)
}

pub fn sendmmsg(cx: &mut Ctx<'_>, fd: Fd, vec: u64, count: u32, flags: i32) -> SysResult {
    no_compat(flags)?;
    let (file, s) = open_socket(cx, fd)?;
    several(cx, vec, count, |cx, _, at| send_one(cx, &file, &s, at, flags))
}

/// Goes through an array of `struct mmsghdr`, noting each message's length, until one fails or all are done; how many
/// were done, unless it was none. Each run of the call may wait at one message; those before it are counted in the
/// scratch.
fn several(
    cx: &mut Ctx<'_>,
    vec: u64,
    count: u32,
    mut one: impl FnMut(&mut Ctx<'_>, u32, UserPtr<MsgHdr>) -> SysResult,
) -> SysResult {
    let mut done = cx.block.scratch.take().and_then(|b| b.downcast::<u32>().ok()).map_or(0, |n| *n);
    while done < count.min(MAX_MESSAGES) {
        let at = vec.wrapping_add(u64::from(done) * 64);
        match one(cx, done, UserPtr::new(at)) {
            Ok(n) => {
                cx.mem.write(at.wrapping_add(56), &(n as u32).to_le_bytes())?;
                cx.block.progress = 0;
                done += 1;
            }
            Err(Stop::Errno(_)) if done > 0 => break,
            Err(Stop::Block(r)) => {
                cx.block.scratch = Some(Box::new(done));
                return Err(Stop::Block(r));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(done.into())
}

fn outgoing(
    cx: &Ctx<'_>,
    s: &Socket,
    to: Option<Addr>,
    files: Vec<Arc<File>>,
    cred: Option<Ucred>,
) -> Result<Outgoing, Errno> {
    let to = match to {
        // Stream sockets say EISCONN or EOPNOTSUPP without looking at the name.
        Some(Addr::Unix(name)) if s.is_dgram() => Destination::Unix(find_unix(cx, &name)?),
        Some(Addr::Unix(_)) if s.is_stream() => {
            Destination::Inet(std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
        }
        Some(Addr::Inet(a)) if s.is_dgram() => Destination::Inet(a),
        _ => Destination::Connected,
    };
    let real = |cx: &Ctx<'_>| {
        let c = cx.task.cred();
        Ucred { uid: c.uid, gid: c.gid, ..ucred(cx) }
    };
    Ok(Outgoing { cred: cred.unwrap_or_else(|| real(cx)), files, to })
}

/// `SCM_RIGHTS` and `SCM_CREDENTIALS`.
fn read_control(
    cx: &Ctx<'_>,
    s: &Socket,
    at: u64,
    len: u64,
) -> Result<(Vec<Arc<File>>, Option<Ucred>), Errno> {
    let (mut files, mut cred) = (Vec::new(), None);
    if at == 0 || len == 0 {
        return Ok((files, cred));
    }
    if len > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut raw = vec![0; len as usize];
    cx.mem.read(at, &mut raw)?;
    let mut rest = &raw[..];
    while let Some((head, _)) = rest.split_first_chunk::<16>() {
        let word = |i: usize| i32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let size =
            u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let data = rest.get(16..size).ok_or(Errno::EINVAL)?;
        if word(8) == libc::SOL_SOCKET && s.is_unix() {
            match word(12) {
                libc::SCM_RIGHTS => {
                    if files.len() + data.len() / 4 > MAX_FILES {
                        return Err(Errno::EINVAL);
                    }
                    if in_flight::full(data.len() / 4, cx.limit(resource::NOFILE)) {
                        return Err(Errno::ETOOMANYREFS);
                    }
                    for fd in data.chunks_exact(4) {
                        let fd = i32::from_le_bytes([fd[0], fd[1], fd[2], fd[3]]);
                        files.push(cx.file_any(fd)?);
                    }
                }
                libc::SCM_CREDENTIALS => cred = Some(check_cred(cx, data)?),
                _ => return Err(Errno::EINVAL),
            }
        } else if word(8) == libc::SOL_SOCKET {
            return Err(Errno::EINVAL);
        }
        rest = rest.get(size.checked_next_multiple_of(8).unwrap_or(usize::MAX)..).unwrap_or_default();
    }
    Ok((files, cred))
}

/// A sender may claim what it is; more needs a capability (unix(7)).
fn check_cred(cx: &Ctx<'_>, data: &[u8]) -> Result<Ucred, Errno> {
    let raw: &[u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *raw;
    let u = Ucred {
        pid: i32::from_le_bytes([a, b, c, d]),
        uid: u32::from_le_bytes([e, f, g, h]),
        gid: u32::from_le_bytes([i, j, k, l]),
    };
    let me = cx.task.cred();
    let pid_ok = u.pid == cx.task.group.pid || me.has(cap::SYS_ADMIN);
    let uid_ok = [me.uid, me.euid, me.suid].contains(&u.uid) || me.has(cap::SETUID);
    let gid_ok = [me.gid, me.egid, me.sgid].contains(&u.gid) || me.has(cap::SETGID);
    if !(pid_ok && uid_ok && gid_ok) {
        return Err(Errno::EPERM);
    }
    Ok(u)
}

fn set_deadline(cx: &mut Ctx<'_>, ns: u64) {
    if cx.block.deadline.is_none() && ns > 0 {
        cx.block.deadline = Some(crate::time::monotonic().saturating_add(ns));
    }
}

fn send(
    cx: &mut Ctx<'_>,
    file: &Arc<File>,
    s: &Arc<Socket>,
    ranges: &Ranges,
    mut out: Outgoing,
    flags: i32,
) -> SysResult {
    // As where `net.ipv4.tcp_fastopen` has no client's bit: who wants to connect calls connect(2).
    if flags & libc::MSG_FASTOPEN != 0 && s.is_stream() && !s.is_unix() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if let Destination::Inet(to) = &out.to {
        socket_outside::prepare_send(cx, s, *to)?;
    }
    let nowait = flags & libc::MSG_DONTWAIT != 0 || file.nonblocking();
    set_deadline(cx, s.options.send_timeout.load(Ordering::Relaxed));
    let len = ranges.total();
    // What went before this run took the files with it.
    if cx.block.progress > 0 {
        out.files.clear();
    }
    loop {
        let done = cx.block.progress as usize;
        let tried = s.send(&mut ranges.buf(&cx.mem, done, MAX_RW), &mut out);
        let other;
        let queue = match tried {
            Ok(n) if s.is_stream() && n > 0 && done + n < len && !nowait => {
                cx.block.progress += n as u64;
                continue;
            }
            Ok(n) => return Ok((done + n) as u64),
            Err(NotSent::Errno(Errno::EAGAIN)) if !nowait && !cx.timed_out() => &s.queue,
            Err(NotSent::Full(q)) if !nowait && !cx.timed_out() => {
                other = q;
                &other
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(NotSent::Full(_)) => return Err(Errno::EAGAIN.into()),
            Err(NotSent::Errno(e)) => {
                if e == Errno::EPIPE && s.is_stream() && flags & libc::MSG_NOSIGNAL == 0 {
                    raise(cx, libc::SIGPIPE);
                }
                return Err(e.into());
            }
        };
        let restart = cx.socket_restart();
        cx.wait(&[(queue, PollEvents::WRITABLE)], restart)?;
    }
}

/// What a receive brought, ready to be written out.
struct Message {
    count: usize,
    full: usize,
    from: Addr,
    cred: Ucred,
    files: Vec<Arc<File>>,
    end: bool,
}

fn receive(
    cx: &mut Ctx<'_>,
    file: &Arc<File>,
    s: &Arc<Socket>,
    ranges: &Ranges,
    flags: i32,
) -> Result<Message, Stop> {
    if flags & libc::MSG_OOB != 0 {
        return Err(if s.is_stream() { Errno::EINVAL } else { Errno::EOPNOTSUPP }.into());
    }
    if flags & libc::MSG_ERRQUEUE != 0 && !s.is_unix() {
        // No packets, so no errors about them: the queue is always empty, and never waited for (recv(2)).
        return Err(Errno::EAGAIN.into());
    }
    let nowait = flags & libc::MSG_DONTWAIT != 0 || file.nonblocking();
    let peek = flags & libc::MSG_PEEK != 0;
    set_deadline(cx, s.options.receive_timeout.load(Ordering::Relaxed));
    let whole = flags & libc::MSG_WAITALL != 0 && s.is_stream() && !peek;
    let len = ranges.total();
    loop {
        let done = cx.block.progress as usize;
        let tried = s.receive(&mut ranges.buf(&cx.mem, done, MAX_RW), peek);
        match tried {
            Ok(Some(got)) => {
                let files = !got.files.is_empty();
                if whole && done + got.count < len && !files {
                    cx.block.progress += got.count as u64;
                    continue;
                }
                return Ok(Message {
                    count: done + got.count,
                    full: done + got.full,
                    from: got.from,
                    cred: got.cred,
                    files: got.files,
                    end: false,
                });
            }
            Err(Errno::EAGAIN) if !nowait && !cx.timed_out() => {
                let restart = cx.socket_restart();
                cx.wait(&[(&s.queue, PollEvents::READABLE)], restart)?;
            }
            Err(e) if done == 0 => return Err(e.into()),
            Ok(None) | Err(_) => {
                let cred = Ucred::NOBODY;
                return Ok(Message {
                    count: done,
                    full: done,
                    from: Addr::Unspec,
                    cred,
                    files: vec![],
                    end: true,
                });
            }
        }
    }
}

/// The address that a receive tells: streams tell none but for UNIX ones, which tell an unnamed one's family.
fn source(s: &Socket, m: &Message) -> Vec<u8> {
    match &m.from {
        _ if m.end || s.is_stream() => Vec::new(),
        Addr::Unix(name) if name.is_empty() => Vec::new(),
        a => a.to_bytes(s.family),
    }
}

/// What the call returns: with `MSG_TRUNC` the length the message had.
fn returned(s: &Socket, m: &Message, flags: i32) -> u64 {
    (if flags & libc::MSG_TRUNC != 0 && !s.is_stream() { m.full } else { m.count }) as u64
}

pub fn recvfrom(
    cx: &mut Ctx<'_>,
    fd: Fd,
    buf: u64,
    len: usize,
    flags: i32,
    addr: u64,
    addr_len: UserPtr<i32>,
) -> SysResult {
    let ranges = Ranges::cut(buf, len)?;
    let (file, s) = open_socket(cx, fd)?;
    let m = receive(cx, &file, &s, &ranges, flags)?;
    if addr != 0 {
        write_addr(cx, &source(&s, &m), addr, addr_len)?;
    }
    Ok(returned(&s, &m, flags))
}

pub fn recvmsg(cx: &mut Ctx<'_>, fd: Fd, msg: UserPtr<MsgHdr>, flags: i32) -> SysResult {
    no_compat(flags)?;
    let (file, s) = open_socket(cx, fd)?;
    receive_one(cx, &file, &s, msg, flags)
}

fn receive_one(
    cx: &mut Ctx<'_>,
    file: &Arc<File>,
    s: &Arc<Socket>,
    msg: UserPtr<MsgHdr>,
    flags: i32,
) -> SysResult {
    let [name, name_len, iov, count, control, control_len, _] = msg.read(&cx.mem)?;
    if name != 0 && (name_len as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ranges = iovec(cx, iov, count)?;
    let m = receive(cx, file, s, &ranges, flags)?;
    let mut out_flags = flags & MSG_CMSG_CLOEXEC;
    if m.full > m.count {
        out_flags |= libc::MSG_TRUNC;
    }
    if s.kind == libc::SOCK_SEQPACKET && !m.end {
        out_flags |= libc::MSG_EOR;
    }
    let from = source(s, &m);
    if name != 0 {
        let n = from.len().min(name_len as u32 as usize);
        if n > 0 {
            cx.mem.write(name, &from[..n])?;
        }
    }
    let room = if control == 0 { 0 } else { control_len };
    let (bytes, cut) = control_bytes(cx, s, &m, room, flags & MSG_CMSG_CLOEXEC != 0);
    if cut {
        out_flags |= libc::MSG_CTRUNC;
    }
    if !bytes.is_empty() {
        cx.mem.write(control, &bytes)?;
    }
    let at = |offset: u64| msg.addr().wrapping_add(offset);
    if name != 0 {
        cx.mem.write(at(8), &(from.len() as u32).to_le_bytes())?;
    }
    cx.mem.write(at(40), &(bytes.len() as u64).to_le_bytes())?;
    cx.mem.write(at(48), &out_flags.to_le_bytes())?;
    Ok(returned(s, &m, flags))
}

/// Control messages for the guest; files get their numbers here. The flag says that something did not fit.
fn control_bytes(cx: &mut Ctx<'_>, s: &Socket, m: &Message, room: u64, cloexec: bool) -> (Vec<u8>, bool) {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut out = Vec::new();
    let mut cut = false;
    let add = |out: &mut Vec<u8>, kind: i32, data: &[u8]| {
        out.extend_from_slice(&(16 + data.len() as u64).to_le_bytes());
        out.extend_from_slice(&libc::SOL_SOCKET.to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(data);
        // Padding only as far as there is room.
        out.resize(out.len().next_multiple_of(8).min(room), 0);
    };
    if s.is_unix() && s.passes_cred() && !m.end {
        if room >= 16 + 12 {
            add(&mut out, libc::SCM_CREDENTIALS, &m.cred.to_bytes());
        } else {
            cut = true;
        }
    }
    if !m.files.is_empty() {
        let fit = room.saturating_sub(out.len() + 16) / 4;
        let mut numbers = Vec::new();
        for f in m.files.iter().take(fit) {
            match cx.install(f.clone(), cloexec) {
                Ok(fd) => numbers.extend_from_slice(&fd.to_le_bytes()),
                Err(_) => break,
            }
        }
        cut |= numbers.len() / 4 < m.files.len();
        if !numbers.is_empty() {
            add(&mut out, libc::SCM_RIGHTS, &numbers);
        }
    }
    (out, cut)
}

pub fn recvmmsg(
    cx: &mut Ctx<'_>,
    fd: Fd,
    vec: u64,
    count: u32,
    flags: i32,
    timeout: UserPtr<[i64; 2]>,
) -> SysResult {
    no_compat(flags)?;
    if cx.block.runs == 0 {
        let ns = timeout.read_opt(&cx.mem)?.map(super::readiness::timespec).transpose()?;
        super::readiness::set_timeout(cx, ns);
    }
    let (file, s) = open_socket(cx, fd)?;
    const MSG_WAITFORONE: i32 = 0x10000;
    several(cx, vec, count, |cx, done, at| {
        let patient = done == 0 || flags & MSG_WAITFORONE == 0;
        let now = if patient { flags } else { flags | libc::MSG_DONTWAIT };
        receive_one(cx, &file, &s, at, now & !MSG_WAITFORONE)
    })
}
