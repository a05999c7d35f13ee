//! Who is bound to what: abstract UNIX names, UNIX names in the file system, and ports.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::addr::canonical;
use super::socket::Socket;
use crate::vfs::attached::Attached;
use crate::vfs::InodeRef;

static ABSTRACT: LazyLock<Mutex<HashMap<Vec<u8>, Weak<Socket>>>> = LazyLock::new(Default::default);
static PATHS: LazyLock<Attached<Socket>> = LazyLock::new(Default::default);
static PORTS: LazyLock<Mutex<BTreeMap<Port, Vec<Bound>>>> = LazyLock::new(Default::default);

/// Ports are apart for TCP and UDP.
type Port = (i32, u16);

struct Bound {
    ip: IpAddr,
    socket: Weak<Socket>,
}

/// A name that is held; given back when dropped.
pub enum Binding {
    Abstract(Vec<u8>, Weak<Socket>),
    /// The name in the file system stays (unix(7)); its inode is held.
    Path {
        _inode: InodeRef,
    },
    Port(Port, Weak<Socket>),
}

impl Drop for Binding {
    fn drop(&mut self) {
        match self {
            Binding::Abstract(name, me) => {
                let mut names = ABSTRACT.lock();
                if names.get(name).is_some_and(|w| w.ptr_eq(me)) {
                    names.remove(name);
                }
            }
            Binding::Path { .. } => {}
            Binding::Port(port, me) => {
                let mut ports = PORTS.lock();
                if let Some(list) = ports.get_mut(port) {
                    list.retain(|b| !b.socket.ptr_eq(me));
                    if list.is_empty() {
                        ports.remove(port);
                    }
                }
            }
        }
    }
}

/// Binds an abstract name; an empty one asks for any free name (unix(7), "Autobind feature").
pub fn bind_abstract(socket: &Arc<Socket>, name: &[u8]) -> Result<(Vec<u8>, Binding)> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut names = ABSTRACT.lock();
    let taken =
        |names: &HashMap<Vec<u8>, Weak<Socket>>, n: &[u8]| names.get(n).is_some_and(|w| w.strong_count() > 0);
    let name = if name.is_empty() {
        let mut free = None;
        for _ in 0..=0xfffff {
            let n = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfffff;
            let candidate = format!("\0{n:05x}").into_bytes();
            if !taken(&names, &candidate) {
                free = Some(candidate);
                break;
            }
        }
        free.ok_or(Errno::ENOSPC)?
    } else {
        if taken(&names, name) {
            return Err(Errno::EADDRINUSE);
        }
        name.to_vec()
    };
    names.insert(name.clone(), Arc::downgrade(socket));
    Ok((name.clone(), Binding::Abstract(name, Arc::downgrade(socket))))
}

pub fn find_abstract(name: &[u8]) -> Option<Arc<Socket>> {
    ABSTRACT.lock().get(name)?.upgrade()
}

/// Ties a socket to the inode that was made for its name.
pub fn bind_inode(socket: &Arc<Socket>, inode: InodeRef) -> Result<Binding> {
    PATHS.get_or_make(&inode, || socket.clone())?;
    Ok(Binding::Path { _inode: inode })
}

pub fn find_inode(inode: &InodeRef) -> Result<Option<Arc<Socket>>> {
    PATHS.get(inode)
}

/// Whether packets to this address would come back to this machine.
pub fn is_local(ip: IpAddr) -> bool {
    let ip = canonical(ip);
    ip.is_unspecified() || reachable(ip)
}

static OFFLINE: AtomicBool = AtomicBool::new(false);

/// From now on there is no network, not even loopback.
pub fn go_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// Whether not even loopback is there.
pub fn offline() -> bool {
    OFFLINE.load(Ordering::Relaxed)
}

/// Whether there is a way to an address.
pub fn reachable(ip: IpAddr) -> bool {
    canonical(ip).is_loopback() && !offline()
}

/// Where a packet to the unspecified address goes: loopback, as on Linux.
pub fn destination(to: SocketAddr) -> SocketAddr {
    let ip = match canonical(to.ip()) {
        IpAddr::V4(a) if a.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(a) if a.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, to.port())
}

fn overlap(a: IpAddr, a_socket: &Socket, b: IpAddr, b_socket: &Socket) -> bool {
    if a.is_ipv4() == b.is_ipv4() {
        return a == b || a.is_unspecified() || b.is_unspecified();
    }
    // An unspecified IPv6 address takes IPv4 in too, unless IPV6_V6ONLY.
    let dual = |ip: IpAddr, s: &Socket| ip.is_ipv6() && ip.is_unspecified() && !s.v6_only();
    dual(a, a_socket) || dual(b, b_socket)
}

/// Binds an address; port 0 asks for any free one.
pub fn bind_port(socket: &Arc<Socket>, at: SocketAddr) -> Result<(SocketAddr, Binding)> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let ip = canonical(at.ip());
    let mut ports = PORTS.lock();
    let free = |ports: &BTreeMap<Port, Vec<Bound>>, port: u16| {
        let others = ports.get(&(socket.kind, port)).map(Vec::as_slice).unwrap_or_default();
        !others.iter().any(|b| {
            b.socket.upgrade().is_some_and(|s| overlap(b.ip, &s, ip, socket) && !socket.may_share_with(&s))
        })
    };
    let port = if at.port() != 0 {
        if !free(&ports, at.port()) {
            return Err(Errno::EADDRINUSE);
        }
        at.port()
    } else {
        // net.ipv4.ip_local_port_range
        const FIRST: u16 = 32768;
        const COUNT: u16 = 28232;
        let start = NEXT.fetch_add(1, Ordering::Relaxed);
        (0..COUNT)
            .map(|i| FIRST + start.wrapping_add(i) % COUNT)
            .find(|p| !ports.contains_key(&(socket.kind, *p)))
            .ok_or(Errno::EADDRINUSE)?
    };
    ports.entry((socket.kind, port)).or_default().push(Bound { ip, socket: Arc::downgrade(socket) });
    Ok((SocketAddr::new(at.ip(), port), Binding::Port((socket.kind, port), Arc::downgrade(socket))))
}

/// The socket that gets what is sent to an address: an exact match before a general one, `wanted` alone.
pub fn find_port(kind: i32, to: SocketAddr, wanted: impl Fn(&Socket) -> bool) -> Option<Arc<Socket>> {
    let to = destination(to);
    let ports = PORTS.lock();
    let list = ports.get(&(kind, to.port()))?;
    let found: Vec<(IpAddr, Arc<Socket>)> =
        list.iter().filter_map(|b| Some((b.ip, b.socket.upgrade()?))).collect();
    drop(ports);
    let exact = found.iter().find(|(ip, s)| *ip == to.ip() && wanted(s));
    let general = || {
        found.iter().find(|(ip, s)| {
            let same_family = ip.is_ipv4() == to.is_ipv4() || (ip.is_ipv6() && !s.v6_only());
            ip.is_unspecified() && same_family && wanted(s)
        })
    };
    exact.or_else(general).map(|(_, s)| s.clone())
}
