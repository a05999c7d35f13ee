//! Socket addresses (unix(7), ip(7), ipv6(7)) and their bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use linux_abi::{Errno, Result};

/// An address of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addr {
    /// `AF_UNSPEC`: dissolves an association.
    Unspec,
    /// A path, or an abstract name (first byte zero), or nothing (unnamed).
    Unix(Vec<u8>),
    Inet(SocketAddr),
}

/// Length of `sun_path`.
const SUN_PATH: usize = 108;
/// The longest address that a call takes (`struct sockaddr_storage`).
pub const MAX_LEN: usize = 128;

impl Addr {
    /// Parses what a guest gave to a socket of `family`.
    pub fn parse(raw: &[u8], family: i32) -> Result<Addr> {
        let (&[lo, hi], rest) = raw.split_first_chunk().ok_or(Errno::EINVAL)?;
        let given = i32::from(u16::from_le_bytes([lo, hi]));
        if given == libc::AF_UNSPEC && family != libc::AF_UNIX {
            return Ok(Addr::Unspec);
        }
        match family {
            libc::AF_UNIX => Addr::parse_unix(given, rest),
            libc::AF_INET => {
                let b: &[u8; 6] = rest.first_chunk().ok_or(Errno::EINVAL)?;
                if raw.len() < 16 {
                    return Err(Errno::EINVAL);
                }
                if given != libc::AF_INET {
                    return Err(Errno::EAFNOSUPPORT);
                }
                let port = u16::from_be_bytes([b[0], b[1]]);
                Ok(Addr::Inet(SocketAddr::new(Ipv4Addr::new(b[2], b[3], b[4], b[5]).into(), port)))
            }
            libc::AF_INET6 => {
                if given != libc::AF_INET6 {
                    return Err(if given == libc::AF_INET { Errno::EAFNOSUPPORT } else { Errno::EINVAL });
                }
                let b: &[u8; 22] = rest.first_chunk().ok_or(Errno::EINVAL)?;
                let port = u16::from_be_bytes([b[0], b[1]]);
                let mut ip = [0; 16];
                ip.copy_from_slice(&b[6..22]);
                Ok(Addr::Inet(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, 0))))
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn parse_unix(given: i32, path: &[u8]) -> Result<Addr> {
        if given == libc::AF_UNSPEC {
            return Ok(Addr::Unspec);
        }
        if given != libc::AF_UNIX || path.len() > SUN_PATH {
            return Err(Errno::EINVAL);
        }
        Ok(Addr::Unix(match path.first() {
            // Abstract: every byte counts. Else a C string, which need not be terminated.
            Some(0) => path.to_vec(),
            _ => path.split(|b| *b == 0).next().unwrap_or_default().to_vec(),
        }))
    }

    /// The bytes for a guest, as a socket of `family` shows them.
    pub fn to_bytes(&self, family: i32) -> Vec<u8> {
        let mut out = (family as u16).to_le_bytes().to_vec();
        match self {
            Addr::Unspec => {}
            Addr::Unix(name) => {
                out.extend_from_slice(name);
                if name.first().is_some_and(|b| *b != 0) {
                    out.push(0);
                }
            }
            Addr::Inet(a) => {
                out.extend_from_slice(&a.port().to_be_bytes());
                match (family, a.ip()) {
                    (libc::AF_INET6, ip) => {
                        let ip = match ip {
                            IpAddr::V6(ip) => ip,
                            IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED,
                            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                        };
                        out.extend_from_slice(&[0; 4]);
                        out.extend_from_slice(&ip.octets());
                        out.extend_from_slice(&[0; 4]);
                    }
                    (_, IpAddr::V4(ip)) => {
                        out.extend_from_slice(&ip.octets());
                        out.extend_from_slice(&[0; 8]);
                    }
                    (_, IpAddr::V6(_)) => out.extend_from_slice(&[0; 12]),
                }
            }
        }
        out
    }
}

/// The address without the IPv6 clothes of an IPv4 one.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_names_go_round() {
        for name in [&b"/tmp/x"[..], b"\0abs\0tract", b""] {
            let a = Addr::Unix(name.to_vec());
            assert_eq!(Addr::parse(&a.to_bytes(libc::AF_UNIX), libc::AF_UNIX), Ok(a));
        }
        assert_eq!(Addr::parse(&[1], libc::AF_UNIX), Err(Errno::EINVAL));
        assert_eq!(Addr::parse(&[2, 0, 47], libc::AF_UNIX), Err(Errno::EINVAL));
    }

    #[test]
    fn inet_addresses_go_round() {
        for (text, family) in [("127.0.0.1:80", libc::AF_INET), ("[::1]:443", libc::AF_INET6)] {
            let a = Addr::Inet(text.parse().unwrap());
            let raw = a.to_bytes(family);
            assert_eq!(raw.len(), if family == libc::AF_INET { 16 } else { 28 });
            assert_eq!(Addr::parse(&raw, family), Ok(a));
            for cut in 0..raw.len() - 4 {
                let _ = Addr::parse(&raw[..cut], family);
            }
        }
    }
}
