//! What the policy refused, as the user reads it: one line each with `-v` or as JSON, else one line at the end.
//!
//! All that comes from a guest (names, paths, arguments) is shown without control characters.

use std::collections::{BTreeMap, BTreeSet};

use policies::model::Action;
use sentry::denials::{Cause, Count, Denial};

use super::rules::{By, Place};
use super::tip::{self, Context};
use crate::log;

/// How many calls the last line names.
const NAMED: usize = 6;
/// How many different tips are given.
const MAX_TIPS: usize = 256;
/// How many counts are kept: more would be a sentry that lies.
const MAX_COUNTS: usize = 1 << 16;

/// Hears of refusals, and sums them up.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    places: Vec<Place>,
    context: Context,
    counts: Vec<Count>,
    /// Tips that were given: each is worth reading once.
    tips: BTreeSet<String>,
}

impl Denied {
    pub(crate) fn new(places: Vec<Place>, context: Context) -> Denied {
        Denied { places, context, ..Denied::default() }
    }

    /// One refusal.
    pub(crate) fn one(&mut self, denial: &Denial) {
        let logged = denial.kind.action == Action::Log;
        let place = denial.place.and_then(|at| self.places.get(usize::try_from(at).ok()?));
        let tip = if logged { None } else { tip::of(denial, place, &self.context) };
        let comm = text(&denial.comm);
        let path = (!denial.path.is_empty()).then(|| text(&denial.path));
        let call = format!("{}({})", denial.name, denial.shown.join(", "));
        let rule = match denial.kind.cause {
            Cause::Rules => place.map(described),
            Cause::Hidden => Some("the path is hidden".to_owned()),
            Cause::ReadOnly => Some("mounted read-only".to_owned()),
            Cause::Network => Some("the network policy does not name the address".to_owned()),
            Cause::Name => Some("the network policy does not name the host".to_owned()),
        };
        let (word, result) = match denial.kind.action {
            Action::Allow | Action::Log => ("logged", None),
            Action::Errno(number) => ("denied", Some(linux_abi::Errno(number).name())),
            Action::Trap => ("denied", Some("SIGSYS")),
            Action::Kill => ("killed", Some("SIGSYS")),
        };
        if log::is_json() {
            log::json(&serde_json::json!({
                "level": if logged { "INFO" } else { "WARN" },
                "message": format!("{word}: {}", denial.name),
                "event": word,
                "call": denial.name,
                "args": denial.shown,
                "path": path,
                "pid": denial.pid,
                "comm": comm,
                "result": result,
                "by": rule,
                "tip": tip.as_ref().map(|tip| tip.lines.as_str()),
                "tip-place": tip.as_ref().map(|tip| tip.place.as_str()),
            }));
            return;
        }
        let result = result.map(|result| format!(" = {result}")).unwrap_or_default();
        let about = path.filter(|_| denial.kind.cause != Cause::Hidden || !denial.shown.is_empty());
        let about = about.map(|path| format!(" {path}")).unwrap_or_default();
        let rule = rule.map(|rule| format!(": {rule}")).unwrap_or_default();
        let mut lines = format!("{word}: {call}{result} by {comm} ({}){about}{rule}", denial.pid);
        if let Some(tip) = tip.filter(|tip| self.tips.len() < MAX_TIPS && self.tips.insert(tip.lines.clone()))
        {
            lines.push_str(&format!("\n  to allow it, add {}:", tip.place));
            tip.lines.lines().for_each(|line| lines.push_str(&format!("\n    {line}")));
        }
        log::info(&lines);
    }

    /// Counts, told at the end.
    pub(crate) fn add(&mut self, counts: Vec<Count>) {
        if self.counts.len() < MAX_COUNTS {
            self.counts.extend(counts);
        }
    }

    /// How many calls were refused.
    pub(crate) fn total(&self) -> u64 {
        self.refused().map(|count| count.times).fold(0, u64::saturating_add)
    }

    /// The last line.
    pub(crate) fn sum_up(&self) {
        let total = self.total();
        if total == 0 {
            return;
        }
        let mut by_call: BTreeMap<&str, u64> = BTreeMap::new();
        for count in self.refused() {
            let times = by_call.entry(&count.name).or_insert(0);
            *times = times.saturating_add(count.times);
        }
        if log::is_json() {
            log::json(&serde_json::json!({
                "level": "WARN",
                "message": "calls were denied",
                "event": "denials",
                "total": total,
                "calls": by_call,
            }));
            return;
        }
        let mut calls: Vec<(&str, u64)> = by_call.into_iter().collect();
        calls.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let more = calls.len().saturating_sub(NAMED);
        let mut named: Vec<String> =
            calls.iter().take(NAMED).map(|(name, times)| format!("{name} {times}")).collect();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        let details = if log::is_verbose() { "" } else { "; run with -v for details" };
        let calls = if total == 1 { "call" } else { "calls" };
        log::notice(&format!("{total} {calls} denied ({}){details}", named.join(", ")));
    }

    fn refused(&self) -> impl Iterator<Item = &Count> {
        self.counts.iter().filter(|count| !count.kind.action.permits())
    }
}

/// What decided, and where it is written.
fn described(place: &Place) -> String {
    let by = match &place.by {
        By::Rule => "rule".to_owned(),
        By::Group(name) => format!("group {name}"),
        By::Default => "default".to_owned(),
    };
    match &place.origin {
        Some(origin) => format!("{by} at {}:{}", origin.file, origin.line),
        None => by,
    }
}

/// Bytes of a guest as text.
fn text(bytes: &[u8]) -> String {
    log::plain(&String::from_utf8_lossy(bytes)).into_owned()
}
