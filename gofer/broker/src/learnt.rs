//! Which addresses the broker has told a guest for which names, and until when they may be connected to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many pairs of address and name are kept.
const MAX: usize = 4096;
/// The time that an address is good for at least: programs resolve once and connect for as long as they run. A day at
/// most, whatever the server says.
const LEAST: Duration = Duration::from_secs(300);
const MOST: Duration = Duration::from_secs(86_400);

/// The table.
#[derive(Debug, Default)]
pub struct Learnt {
    by_address: BTreeMap<IpAddr, Vec<Entry>>,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// For ever where there is none.
    until: Option<Instant>,
}

impl Learnt {
    /// `name` has this address, as its server said, for so many seconds.
    pub fn learn(&mut self, ip: IpAddr, name: &str, ttl: u32, now: Instant) {
        let time = Duration::from_secs(ttl.into()).clamp(LEAST, MOST);
        self.enter(ip, name, now.checked_add(time), now);
    }

    /// `name` has this address, as the host's own file said.
    pub fn learn_for_ever(&mut self, ip: IpAddr, name: &str, now: Instant) {
        self.enter(ip, name, None, now);
    }

    fn enter(&mut self, ip: IpAddr, name: &str, until: Option<Instant>, now: Instant) {
        let list = self.by_address.entry(ip).or_default();
        if let Some(entry) = list.iter_mut().find(|entry| entry.name == name) {
            // Another server's shorter word takes nothing back.
            entry.until = entry.until.zip(until).map(|(old, new)| old.max(new));
            return;
        }
        if self.count >= MAX {
            self.make_room(now);
            if self.count >= MAX {
                return;
            }
        }
        self.by_address.entry(ip).or_default().push(Entry { name: name.to_owned(), until });
        self.count += 1;
    }

    /// Drops what is over, and where that is nothing what ends first.
    fn make_room(&mut self, now: Instant) {
        let live = |entry: &Entry| entry.until.is_none_or(|until| until > now);
        self.retain(live);
        if self.count < MAX {
            return;
        }
        let first = self.by_address.values().flatten().filter_map(|entry| entry.until).min();
        self.retain(|entry| entry.until.is_none() || entry.until != first);
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.by_address.retain(|_, list| {
            list.retain(&keep);
            !list.is_empty()
        });
        self.count = self.by_address.values().map(Vec::len).sum();
    }

    /// The names that this address is good for now.
    pub fn names(&self, ip: IpAddr, now: Instant) -> impl Iterator<Item = &str> {
        let list = self.by_address.get(&ip).map(Vec::as_slice).unwrap_or_default();
        let live = move |entry: &&Entry| entry.until.is_none_or(|until| until > now);
        list.iter().filter(live).map(|entry| entry.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_good_for_a_while() {
        let (mut table, now) = (Learnt::default(), Instant::now());
        let ip: IpAddr = "203.0.113.1".parse().unwrap();
        table.learn(ip, "a.example", 1, now);
        table.learn(ip, "b.example", 3600, now);
        let names = |table: &Learnt, after| {
            let then = now + Duration::from_secs(after);
            table.names(ip, then).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(&table, 299), ["a.example", "b.example"]);
        assert_eq!(names(&table, 301), ["b.example"]);
        assert!(names(&table, 3601).is_empty());
        table.learn(ip, "b.example", u32::MAX, now);
        assert!(names(&table, 86_401).is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut table, now) = (Learnt::default(), Instant::now());
        table.learn_for_ever("203.0.113.1".parse().unwrap(), "kept", now);
        for n in 0..3 * MAX as u32 {
            table.learn(std::net::Ipv4Addr::from_bits(n).into(), "x", 400 + n, now);
            assert!(table.count <= MAX);
        }
        assert_eq!(table.names("203.0.113.1".parse().unwrap(), now).next(), Some("kept"));
        assert_eq!(
            table.names(std::net::Ipv4Addr::from_bits(3 * MAX as u32 - 1).into(), now).next(),
            Some("x")
        );
    }
}
