//! The allow-list: which addresses, and which names, a guest may reach at which ports.
//!
//! Addresses that mean the machine itself or the network around it (*special* ones) are reached only by a rule that
//! names such a network: `0.0.0.0/0` is the public network, not the cloud's metadata service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policies::model::{Destination, DestinationHost};

/// What may be reached.
#[derive(Debug, Default)]
pub struct AllowList {
    rules: Vec<Rule>,
    everything: bool,
}

#[derive(Debug)]
struct Rule {
    target: Target,
    /// Any where there is none.
    port: Option<u16>,
}

#[derive(Debug)]
enum Target {
    /// Lower case, no dot at the end.
    Name(String),
    /// `*.` and this; a dot before it is included.
    Below(String),
    Net(Net),
}

/// A network; IPv4 is never in IPv6 clothes here.
#[derive(Clone, Copy, Debug)]
struct Net {
    address: IpAddr,
    bits: u8,
}

/// Which port is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// One that some rule has.
    Any,
    Of(u16),
}

impl Port {
    fn meets(self, rule: Option<u16>) -> bool {
        match (self, rule) {
            (Port::Any, _) | (_, None) => true,
            (Port::Of(port), Some(allowed)) => port == allowed,
        }
    }
}

impl AllowList {
    /// `everything` lets all addresses and names be reached, whatever the rules.
    pub fn new(allow: &[Destination], everything: Everything) -> AllowList {
        let rule = |destination: &Destination| Rule {
            target: match &destination.host {
                DestinationHost::Name(name) => Target::of_name(name),
                DestinationHost::Net(address, bits) => Target::Net(Net::new(*address, *bits)),
            },
            port: destination.port,
        };
        AllowList { rules: allow.iter().map(rule).collect(), everything: everything == Everything::Reachable }
    }

    /// Whether a rule about addresses lets this one be reached. The unspecified address never is: what it means depends
    /// on who is asked.
    pub fn address(&self, ip: IpAddr, port: Port) -> bool {
        let ip = ip.to_canonical();
        if ip.is_unspecified() {
            return false;
        }
        let special = is_special(ip);
        self.everything
            || self.rules.iter().any(|rule| match &rule.target {
                Target::Net(net) => {
                    port.meets(rule.port) && net.contains(ip) && (!special || net.is_special())
                }
                _ => false,
            })
    }

    /// Whether a rule has this name. `name` is in lower case and without a dot at the end.
    pub fn name(&self, name: &str, port: Port) -> bool {
        self.everything
            || self.rules.iter().any(|rule| {
                port.meets(rule.port)
                    && match &rule.target {
                        Target::Name(own) => own == name,
                        Target::Below(end) => name.len() > end.len() && name.ends_with(end.as_str()),
                        Target::Net(_) => false,
                    }
            })
    }

    /// Whether a name server's answer may be believed as far as to tell a guest of this address.
    pub fn may_answer(&self, ip: IpAddr) -> bool {
        !is_special(ip.to_canonical()) || self.address(ip, Port::Any)
    }
}

/// Whether the list is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Everything {
    /// For trusted programs.
    Reachable,
    /// Only what the rules name.
    ByRule,
}

impl Target {
    fn of_name(name: &str) -> Target {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(below) => Target::Below(below.to_owned()),
            None => Target::Name(name),
        }
    }
}

impl Net {
    fn new(address: IpAddr, bits: u8) -> Net {
        match address {
            IpAddr::V6(v6) if bits >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => Net { address: v4.into(), bits: bits - 96 },
                None => Net { address, bits },
            },
            _ => Net { address, bits },
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether it lies in a special network as a whole.
    fn is_special(&self) -> bool {
        let single = matches!((self.address, self.bits), (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128));
        single && is_special(self.address)
            || special().any(|special| self.bits >= special.bits && special.contains(self.address))
    }
}

/// Networks that are not the public one (IANA's registries of special-purpose addresses), but those for documentation,
/// which lead nowhere.
const SPECIAL_V4: [([u8; 4], u8); 11] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
/// The first 96 bits zero are loopback, unspecified and addresses that hold an IPv4 one, as do 6to4 (`2002::`) and Teredo
/// (`2001::`), behind which any IPv4 address may stand.
const SPECIAL_V6: [([u16; 2], u8); 8] = [
    ([0, 0], 96),
    ([0x100, 0], 64),
    ([0x2001, 0], 32),
    ([0x2002, 0], 16),
    ([0xfc00, 0], 7),
    ([0xfe80, 0], 10),
    ([0xfec0, 0], 10),
    ([0xff00, 0], 8),
];

fn special() -> impl Iterator<Item = Net> {
    let v4 = SPECIAL_V4
        .iter()
        .map(|(address, bits)| Net { address: Ipv4Addr::from(*address).into(), bits: *bits });
    let v6 = SPECIAL_V6
        .iter()
        .map(|([a, b], bits)| Net { address: Ipv6Addr::new(*a, *b, 0, 0, 0, 0, 0, 0).into(), bits: *bits });
    v4.chain(v6)
}

fn is_special(ip: IpAddr) -> bool {
    if let IpAddr::V6(v6) = ip {
        // Translated to IPv4 on the way (RFC 6052): what counts is where it leads to. Other translators' prefixes
        // (RFC 8215) are local affairs.
        match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
                return is_special(v4.into());
            }
            [0x64, 0xff9b, ..] => return true,
            _ => {}
        }
    }
    special().any(|net| net.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[&str]) -> AllowList {
        let rules: Vec<_> =
            rules.iter().map(|rule| policies::read::destination(rule).expect("a destination")).collect();
        AllowList::new(&rules, Everything::ByRule)
    }

    fn reached(list: &AllowList, to: &str) -> bool {
        let to: std::net::SocketAddr = to.parse().expect("an address");
        list.address(to.ip(), Port::Of(to.port()))
    }

    #[test]
    fn addresses_and_networks() {
        let l = list(&["203.0.113.7:443", "198.51.100.0/24", "[2001:db8::1]:53", "2001:db8:1::/48"]);
        for yes in [
            "203.0.113.7:443",
            "[::ffff:203.0.113.7]:443",
            "198.51.100.255:1",
            "[2001:db8::1]:53",
            "[2001:db8:1::7]:9",
        ] {
            assert!(reached(&l, yes), "{yes}");
        }
        for no in [
            "203.0.113.7:80",
            "203.0.113.8:443",
            "198.51.101.0:1",
            "[2001:db8::1]:54",
            "[2001:db8:2::7]:9",
            "0.0.0.0:443",
            "[::]:53",
            "127.0.0.1:443",
        ] {
            assert!(!reached(&l, no), "{no}");
        }
    }

    #[test]
    fn a_wide_network_is_the_public_one() {
        let special = [
            "127.0.0.1:80",
            "10.1.2.3:80",
            "169.254.169.254:80",
            "192.168.0.1:80",
            "172.31.255.255:80",
            "100.64.0.1:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::1]:80",
            "[fe80::1]:80",
            "[fd00::1]:80",
            "[::ffff:10.0.0.1]:80",
            "[::10.0.0.1]:80",
            "[64:ff9b::a00:1]:80",
            "[2002:a00:1::1]:80",
        ];
        let l = list(&["0.0.0.0/0", "::/0"]);
        assert!(reached(&l, "8.8.8.8:80") && reached(&l, "[2606:4700::1]:80"));
        assert!(reached(&l, "[64:ff9b::808:808]:80"));
        for no in special {
            assert!(!reached(&l, no), "{no}");
            assert!(!l.may_answer(no.parse::<std::net::SocketAddr>().unwrap().ip()), "{no}");
        }
        let l = list(&["10.0.0.0/8", "169.254.169.254:80", "[::1]:80", "::ffff:192.168.0.1"]);
        for yes in ["10.1.2.3:80", "169.254.169.254:80", "[::1]:80", "192.168.0.1:80"] {
            assert!(reached(&l, yes), "{yes}");
        }
        assert!(!reached(&l, "169.254.169.253:80"));
        assert!(l.may_answer("10.0.0.1".parse().unwrap()));
        // Half of a special network is special; what holds one is not.
        assert!(!reached(&list(&["8.0.0.0/6"]), "10.0.0.1:1"));
    }

    #[test]
    fn names() {
        let l = list(&["Example.ORG.:443", "*.example.net", "any.example.com"]);
        for (name, port, may) in [
            ("example.org", 443, true),
            ("example.org", 80, false),
            ("www.example.org", 443, false),
            ("notexample.org", 443, false),
            ("a.example.net", 1, true),
            ("a.b.example.net", 1, true),
            ("example.net", 1, false),
            ("badexample.net", 1, false),
            ("any.example.com", 65535, true),
        ] {
            assert_eq!(l.name(name, Port::Of(port)), may, "{name}:{port}");
        }
        assert!(l.name("example.org", Port::Any));
        assert!(!reached(&l, "203.0.113.7:443"));
    }

    #[test]
    fn everything_is_everything_but_nowhere() {
        let l = AllowList::new(&[], Everything::Reachable);
        assert!(reached(&l, "127.0.0.1:80") && reached(&l, "10.0.0.1:1"));
        assert!(l.name("x", Port::Of(1)));
        assert!(!reached(&l, "0.0.0.0:80") && !reached(&l, "[::]:80"));
    }
}
