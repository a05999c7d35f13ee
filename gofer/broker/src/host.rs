//! What the host says about names: its own table (hosts(5)) and its name servers (resolv.conf(5)), read at the start.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How much of either file is read.
const MAX_FILE: u64 = 1 << 20;
/// `MAXNS` (resolv.conf(5)).
const MAX_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

/// What is known of names without asking anybody.
#[derive(Debug, Default)]
pub struct HostNames {
    pub hosts: Vec<(String, IpAddr)>,
    pub servers: Vec<SocketAddr>,
}

impl HostNames {
    /// Reads both files; one that is missing says nothing.
    pub fn read() -> HostNames {
        HostNames::parse(&text("/etc/hosts"), &text("/etc/resolv.conf"))
    }

    fn parse(hosts: &str, resolv: &str) -> HostNames {
        let mut servers: Vec<SocketAddr> = lines(resolv)
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let ip: IpAddr = (words.next()? == "nameserver").then(|| words.next())??.parse().ok()?;
                Some(SocketAddr::new(ip, DNS_PORT))
            })
            .take(MAX_SERVERS)
            .collect();
        if servers.is_empty() {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        let hosts =
            lines(hosts)
                .filter_map(|line| {
                    let mut words = line.split_ascii_whitespace();
                    let ip: IpAddr = words.next()?.parse().ok()?;
                    Some(words.map(move |name| {
                        (name.trim_end_matches('.').to_ascii_lowercase(), ip.to_canonical())
                    }))
                })
                .flatten()
                .collect();
        HostNames { hosts, servers }
    }

    /// Every name in the table with its addresses, one by one.
    pub fn table(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.hosts.iter().map(|(name, ip)| (name.as_str(), *ip))
    }

    /// The addresses of a name, if the table has it.
    pub fn find(&self, name: &str) -> Vec<IpAddr> {
        self.table().filter(|(known, _)| *known == name).map(|(_, ip)| ip).collect()
    }
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // As much as could be read.
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lines without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split(['#', ';']).next().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_host() {
        let hosts = "127.0.0.1 localhost\n203.0.113.9  Build.Example. b # the builder\n# 1.2.3.4 x\nnonsense\n::1 localhost\n";
        let resolv = "# made by hand\nsearch example\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\noptions rotate\n";
        let names = HostNames::parse(hosts, resolv);
        assert_eq!(names.servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()]);
        assert_eq!(names.find("build.example"), ["203.0.113.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(names.find("b").len(), 1);
        assert_eq!(names.find("localhost").len(), 2);
        assert!(names.find("x").is_empty());
        assert_eq!(HostNames::parse("", "").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
