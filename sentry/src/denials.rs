//! What the policy refused, told to the launcher: every refusal is counted, and the first of each kind are described.
//!
//! A guest can be refused millions of times a second. So a description is sent only while few of its kind have been,
//! only at a bounded rate, and only where there is room on the way; the counts, which are told at the end, are exact.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use platform::CALLS;
use serde::{Deserialize, Serialize};

use crate::config::byte_string;
use crate::guard::Action;

/// How many of one kind are described, and how many of those that are allowed and logged.
const OF_ONE_KIND: u64 = 16;
/// As [`OF_ONE_KIND`], where each may be about another path.
const OF_ONE_PATH_KIND: u64 = 128;
/// How many are described in one second, and in all.
const IN_A_SECOND: u32 = 200;
const IN_ALL: u32 = 5000;
/// How many counts go into one packet.
const COUNTS_IN_PACKET: usize = 64;

/// What refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The rules on calls.
    Rules,
    /// The path is hidden.
    Hidden,
    /// The place is mounted read-only.
    ReadOnly,
    /// The address, which is told as the path, is none that may be reached.
    Network,
    /// A name that may not be asked for, which is told as the path.
    Name,
}

/// Calls of one kind that were refused for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// The call's number; those that no table knows are one.
    pub call: u64,
    pub cause: Cause,
    pub action: Action,
}

/// How often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub kind: Kind,
    /// The call's name.
    pub name: String,
    pub times: u64,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    pub kind: Kind,
    /// The call's name.
    pub name: String,
    /// The arguments, as in a trace.
    pub shown: Vec<String>,
    pub args: [u64; 6],
    /// What in the rules decided, as [`crate::guard::place`] numbers it.
    pub place: Option<u32>,
    /// The file that it is about, where there is one.
    #[serde(with = "byte_string")]
    pub path: Vec<u8>,
    pub pid: i32,
    #[serde(with = "byte_string")]
    pub comm: Vec<u8>,
}

/// Where descriptions go; `false` where there was no room for it.
pub type Sink = Box<dyn Fn(Denial) -> bool + Send + Sync>;

/// All that was refused in a sandbox.
pub struct Denials {
    counts: Mutex<HashMap<Kind, u64>>,
    described: Mutex<Described>,
    /// `None` where nobody wants to hear of each.
    sink: Option<Sink>,
    /// Descriptions that found no room.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Described {
    all: u32,
    second: u64,
    in_second: u32,
}

impl Denials {
    #[must_use]
    pub fn new(sink: Option<Sink>) -> Denials {
        Denials { counts: Mutex::default(), described: Mutex::default(), sink, dropped: AtomicU64::new(0) }
    }

    /// Counts one, and describes it where that is wanted and not too much. `now` is a clock in nanoseconds.
    pub fn tell(&self, kind: Kind, now: u64, describe: impl FnOnce(Kind) -> Denial) {
        let kind = Kind { call: kind.call.min(CALLS as u64), ..kind };
        let times = {
            let mut counts = self.counts.lock();
            let times = counts.entry(kind).or_insert(0);
            *times = times.saturating_add(1);
            *times
        };
        let Some(sink) = &self.sink else { return };
        let most = match (kind.action, kind.cause) {
            (Action::Log, _) => 1,
            (_, Cause::Rules) => OF_ONE_KIND,
            _ => OF_ONE_PATH_KIND,
        };
        if times > most {
            return;
        }
        if !self.described.lock().may(now) || !sink(describe(kind)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts, in portions that fit a packet.
    #[must_use]
    pub fn counts(&self, name: impl Fn(u64) -> String) -> Vec<Vec<Count>> {
        let counts: Vec<Count> = self
            .counts
            .lock()
            .iter()
            .map(|(kind, times)| Count { kind: *kind, name: name(kind.call), times: *times })
            .collect();
        counts.chunks(COUNTS_IN_PACKET).map(<[Count]>::to_vec).collect()
    }
}

impl Described {
    fn may(&mut self, now: u64) -> bool {
        let second = now / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.in_second = 0;
        }
        if self.in_second >= IN_A_SECOND || self.all >= IN_ALL {
            return false;
        }
        self.in_second += 1;
        self.all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    use super::{Cause, Denial, Denials, Kind, IN_ALL, OF_ONE_KIND};
    use crate::guard::Action;

    fn denial(kind: Kind) -> Denial {
        Denial {
            kind,
            name: "x".into(),
            shown: Vec::new(),
            args: [0; 6],
            place: None,
            path: Vec::new(),
            pid: 2,
            comm: b"\xff".to_vec(),
        }
    }

    #[test]
    fn a_flood_is_counted_and_not_described() {
        let heard = Arc::new(AtomicU32::new(0));
        let count = heard.clone();
        let denials = Denials::new(Some(Box::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            true
        })));
        let kind = |call| Kind { call, cause: Cause::Rules, action: Action::Errno(1) };
        for _ in 0..100_000 {
            denials.tell(kind(41), 5, denial);
        }
        assert_eq!(u64::from(heard.load(Ordering::Relaxed)), OF_ONE_KIND);
        // Numbers that no table knows do not make the list of counts grow.
        for call in 0..100_000 {
            denials.tell(kind(1 << 20 | call), call << 30, denial);
        }
        assert!(heard.load(Ordering::Relaxed) <= IN_ALL);
        let counts: Vec<_> = denials.counts(|_| String::new()).concat();
        assert_eq!(counts.iter().map(|count| count.times).collect::<Vec<_>>(), [100_000, 100_000]);
    }
}
