//! A policy that lets through more than what it extends: often meant, never by accident.

use std::collections::BTreeMap;

use crate::calls;
use crate::diagnostic::Diagnostic;
use crate::load::Loaded;
use crate::model::{Action, Located, NetworkMode, Origin, Overlay, Policy, Syscalls};

/// How many calls are named.
const NAMED: usize = 6;

pub(super) fn than(loaded: &Loaded, base: &Policy) -> Vec<Diagnostic> {
    let name = base.sources.first().map_or("what it extends", |name| name);
    let mut found: Vec<_> = calls(&loaded.policy.syscalls, &base.syscalls)
        .into_iter()
        .map(|(origin, calls)| (origin, format!("allows {}, which `{name}` refuses", listed(&calls))))
        .collect();
    let mut note = |origin: &Origin, what: String| found.push((origin.clone(), what));
    if let Some(mode) = milder(&loaded.policy.network.mode, &base.network.mode, NetworkMode::Loopback, reach)
    {
        note(mode, format!("reaches more of the network than `{name}`"));
    }
    if let Some(overlay) = milder(&loaded.policy.files.overlay, &base.files.overlay, Overlay::Memory, writes)
    {
        note(overlay, format!("the root can be written, which `{name}` makes read-only"));
    }
    if let (Some(clear), Some(before)) = (&loaded.policy.env.clear, &base.env.clear) {
        if before.value && !clear.value {
            note(&clear.origin, format!("passes the whole environment, which `{name}` clears"));
        }
    }
    for (what, own, before) in limits(&loaded.policy, base) {
        if let (Some((value, origin)), Some((bound, _))) = (own, before) {
            if value > bound {
                note(origin, format!("a higher limit on {what} than in `{name}`"));
            }
        }
    }
    let warning =
        |(origin, what)| Diagnostic::warning(loaded.sources.place(&origin), format!("wider: {what}"));
    found.into_iter().map(warning).collect()
}

/// Where a later value reaches further than the earlier one.
fn milder<'p, T: Copy>(
    own: &'p Option<Located<T>>,
    base: &Option<Located<T>>,
    default: T,
    rank: impl Fn(T) -> u8,
) -> Option<&'p Origin> {
    let own = own.as_ref()?;
    let before = base.as_ref().map_or(default, |base| base.value);
    (rank(own.value) > rank(before)).then_some(&own.origin)
}

fn reach(mode: NetworkMode) -> u8 {
    match mode {
        NetworkMode::None => 0,
        NetworkMode::Loopback => 1,
        NetworkMode::Host => 2,
    }
}

fn writes(overlay: Overlay) -> u8 {
    u8::from(overlay != Overlay::None)
}

type Bound<'p> = Option<(u128, &'p Origin)>;

fn limits<'p>(own: &'p Policy, base: &'p Policy) -> Vec<(&'static str, Bound<'p>, Bound<'p>)> {
    fn number(value: &Option<Located<u64>>) -> Bound<'_> {
        value.as_ref().map(|value| (u128::from(value.value), &value.origin))
    }
    fn span(value: &Option<Located<std::time::Duration>>) -> Bound<'_> {
        value.as_ref().map(|value| (value.value.as_nanos(), &value.origin))
    }
    let (own, base) = (&own.limits, &base.limits);
    vec![
        ("memory", number(&own.memory), number(&base.memory)),
        ("processes", number(&own.pids), number(&base.pids)),
        ("processors", number(&own.cpus), number(&base.cpus)),
        ("processor time", span(&own.cpu_time), span(&base.cpu_time)),
        ("time", span(&own.timeout), span(&base.timeout)),
        ("disk space", number(&own.disk), number(&base.disk)),
        ("open files", number(&own.open_files), number(&base.open_files)),
    ]
}

/// Calls that are let through whatever their arguments and were refused before, by what decides now.
fn calls(own: &Syscalls, base: &Syscalls) -> BTreeMap<Origin, Vec<&'static str>> {
    let mut found: BTreeMap<Origin, Vec<&'static str>> = BTreeMap::new();
    for (name, call) in calls::all() {
        let (before, _) = plain(base, call);
        if let (now, Some(origin)) = plain(own, call) {
            if now.permits() && !before.permits() {
                found.entry(origin.clone()).or_default().push(name);
            }
        }
    }
    found
}

/// What happens to a call where no condition decides, and the line that says so.
fn plain(syscalls: &Syscalls, call: i64) -> (Action, Option<&Origin>) {
    let unconditional =
        |rule: &&crate::model::Rule| rule.when.is_empty() && rule.calls().any(|named| named == call);
    if let Some(rule) = syscalls.rules.iter().find(unconditional) {
        return (rule.action, Some(&rule.origin));
    }
    if let Some((_, entry)) = syscalls.group_entry(call) {
        return (entry.action, Some(&entry.origin));
    }
    (syscalls.default_action(), syscalls.default.as_ref().map(|default| &default.origin))
}

fn listed(calls: &[&str]) -> String {
    let shown: Vec<_> = calls.iter().take(NAMED).map(|call| format!("`{call}`")).collect();
    match calls.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more calls", shown.join(", ")),
    }
}
