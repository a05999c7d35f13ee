//! What one policy lets through that another does not, and the other way round.
//!
//! Calls are compared by what happens to them, not by how it is written: with rules on arguments, at the values where
//! one of the conditions changes its mind. The other sections are compared key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::calls;
use crate::decide::interpret;
use crate::document::Document;
use crate::model::{Action, Condition, Limits, Policy, Rule, Syscalls};

/// Combinations of arguments that are tried for one call.
const TRIES: usize = 4_000;
/// Values of one argument.
const VALUES: usize = 48;

/// What a change means for who runs under the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Something is newly let through.
    Allows,
    /// Something is newly denied.
    Denies,
    /// Neither, or it cannot be said.
    Changes,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub effect: Effect,
    /// A call, or a key such as `files.hide`.
    pub what: String,
    pub is_call: bool,
    /// Arguments for which it is so, where not for all.
    pub example: Option<[u64; 6]>,
    pub before: String,
    pub after: String,
}

/// The differences from `a` to `b`: calls first, by name, then the other sections.
#[must_use]
pub fn diff(a: &Policy, b: &Policy) -> Vec<Change> {
    let mut known: Vec<_> = calls::all().collect();
    known.sort_unstable();
    let mut out = Vec::new();
    for (name, call) in known {
        compare_call(&mut out, name, call, &a.syscalls, &b.syscalls);
    }
    let (before, after) = (a.syscalls.default_action(), b.syscalls.default_action());
    if before != after {
        out.push(change(effect(before, after), "all other calls", true, None, before, after));
    }
    limits(&mut out, &a.limits, &b.limits);
    let (before, after) = (keys(a), keys(b));
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        compare_key(&mut out, key, before.get(key), after.get(key));
    }
    out
}

/// An action in a line: `errno EPERM`.
#[must_use]
pub fn show(action: Action) -> String {
    match action {
        Action::Errno(n) => match crate::constants::errno_name(n) {
            Some(name) => format!("errno {name}"),
            None => format!("errno {n}"),
        },
        other => other.name().to_string(),
    }
}

fn effect(before: Action, after: Action) -> Effect {
    match (before.permits(), after.permits()) {
        (false, true) => Effect::Allows,
        (true, false) => Effect::Denies,
        _ => Effect::Changes,
    }
}

fn change(
    effect: Effect,
    what: &str,
    is_call: bool,
    example: Option<[u64; 6]>,
    before: Action,
    after: Action,
) -> Change {
    let (before, after) = (show(before), show(after));
    Change { effect, what: what.to_owned(), is_call, example, before, after }
}

/// The rules that a call meets, up to the first without conditions.
fn met(syscalls: &Syscalls, call: i64) -> Vec<&Rule> {
    let mut out = Vec::new();
    for rule in syscalls.rules.iter().filter(|rule| rule.calls().any(|named| named == call)) {
        out.push(rule);
        if rule.when.is_empty() {
            break;
        }
    }
    out
}

fn compare_call(out: &mut Vec<Change>, name: &str, call: i64, a: &Syscalls, b: &Syscalls) {
    let (left, right) = (met(a, call), met(b, call));
    let conditions: Vec<&Condition> =
        left.iter().chain(&right).flat_map(|rule| rule.when.iter().map(|when| &when.value)).collect();
    let nr = u64::try_from(call).unwrap_or(u64::MAX);
    // One example of each kind of change, and whether it is so for all arguments.
    let mut seen: Vec<(Action, Action, [u64; 6])> = Vec::new();
    let mut everywhere = true;
    for args in points(&conditions, call) {
        let (before, after) = (interpret(a, nr, &args).action, interpret(b, nr, &args).action);
        if before == after {
            everywhere = false;
        } else if !seen.iter().any(|(x, y, _)| (*x, *y) == (before, after)) {
            seen.push((before, after, args));
        }
    }
    everywhere &= seen.len() == 1;
    for (before, after, args) in seen {
        let example = (!everywhere).then_some(args);
        out.push(change(effect(before, after), name, true, example, before, after));
    }
}

/// Arguments at which the conditions may differ.
fn points(conditions: &[&Condition], call: i64) -> Vec<[u64; 6]> {
    let mut values: [BTreeSet<u64>; 6] = std::array::from_fn(|_| BTreeSet::from([0]));
    for condition in conditions {
        let Some(values) = values.get_mut(usize::from(condition.arg)) else { continue };
        let bits = condition.width(call).mask();
        let (v, mask) = (condition.value & bits, condition.mask.map_or(bits, |m| m & bits));
        let near = [v, v.wrapping_add(1) & bits, v.wrapping_sub(1) & bits, v | (bits & !mask), bits];
        let flipped =
            (0..64).map(|bit| 1u64 << bit).filter(|bit| condition.mask.is_some() && mask & bit != 0);
        let flipped: Vec<u64> = flipped.take(8).map(|bit| v ^ bit).collect();
        let joined: Vec<u64> = values.iter().map(|other| other & !mask | v & mask).collect();
        values.extend(near.into_iter().chain(flipped).chain(joined).take(VALUES));
        if bits != u64::MAX {
            // What a program leaves in the upper half must not matter; another policy may look at it.
            values.insert(v | 1 << 32);
        }
        while values.len() > VALUES {
            values.pop_last();
        }
    }
    let mut out = vec![[0u64; 6]];
    for (arg, values) in values.iter().enumerate() {
        let mut more = Vec::new();
        for args in &out {
            for value in values.iter().take((TRIES / out.len()).max(2)) {
                let mut args = *args;
                if let Some(place) = args.get_mut(arg) {
                    *place = *value;
                }
                more.push(args);
            }
        }
        out = more;
    }
    out
}

fn limits(out: &mut Vec<Change>, a: &Limits, b: &Limits) {
    let seconds = |span: &Option<crate::model::Located<std::time::Duration>>| {
        span.as_ref().map(|span| u64::try_from(span.value.as_millis()).unwrap_or(u64::MAX))
    };
    let number = |value: &Option<crate::model::Located<u64>>| value.as_ref().map(|value| value.value);
    let all = |l: &Limits| {
        [
            ("limits.memory", number(&l.memory)),
            ("limits.pids", number(&l.pids)),
            ("limits.cpus", number(&l.cpus)),
            ("limits.cpu-time", seconds(&l.cpu_time)),
            ("limits.timeout", seconds(&l.timeout)),
            ("limits.disk", number(&l.disk)),
            ("limits.open-files", number(&l.open_files)),
        ]
    };
    for ((what, before), (_, after)) in all(a).into_iter().zip(all(b)) {
        if before == after {
            continue;
        }
        let unit = if matches!(what, "limits.cpu-time" | "limits.timeout") { " ms" } else { "" };
        let show = |v: Option<u64>| v.map_or_else(|| "none".to_owned(), |v| format!("{v}{unit}"));
        // No limit is the widest.
        let wider = after.unwrap_or(u64::MAX) > before.unwrap_or(u64::MAX);
        let effect = if wider { Effect::Allows } else { Effect::Denies };
        let (before, after) = (show(before), show(after));
        out.push(Change { effect, what: what.to_owned(), is_call: false, example: None, before, after });
    }
}

/// The other sections' keys, each with its entries: a list's, or the one value.
fn keys(policy: &Policy) -> BTreeMap<String, BTreeSet<String>> {
    let document = serde_json::to_value(Document::from(policy)).unwrap_or_default();
    let mut out = BTreeMap::new();
    for section in ["files", "network", "env", "process", "ci"] {
        let Some(Value::Object(keys)) = document.get(section) else { continue };
        for (key, value) in keys {
            let entries = match value {
                Value::Null => continue,
                Value::Array(items) => items.iter().map(text).collect(),
                Value::Object(items) => {
                    items.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
                }
                one => BTreeSet::from([text(one)]),
            };
            out.insert(format!("{section}.{key}"), entries);
        }
    }
    out
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn compare_key(
    out: &mut Vec<Change>,
    key: &str,
    before: Option<&BTreeSet<String>>,
    after: Option<&BTreeSet<String>>,
) {
    let none = BTreeSet::new();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let gone: Vec<_> = before.difference(after).cloned().collect();
    let come: Vec<_> = after.difference(before).cloned().collect();
    let mut push = |effect, before: String, after: String| {
        out.push(Change { effect, what: key.to_owned(), is_call: false, example: None, before, after });
    };
    // Entries of these stand by themselves: one more lets more through, or less.
    let more = match key {
        "files.mount" | "network.allow" | "network.publish" | "env.pass" | "process.capabilities" => {
            Some((Effect::Allows, Effect::Denies))
        }
        "files.hide" => Some((Effect::Denies, Effect::Allows)),
        _ => None,
    };
    // All capabilities are there where the key is not, for uid 0, and none otherwise: nothing can be said then.
    let more = more.filter(|_| key != "process.capabilities" || !(before.is_empty() || after.is_empty()));
    match more {
        Some((added, removed)) => {
            gone.into_iter().for_each(|entry| push(removed, entry, String::new()));
            come.into_iter().for_each(|entry| push(added, String::new(), entry));
        }
        None if gone.is_empty() && come.is_empty() => {}
        None => {
            let effect = match key {
                "network.mode" => ranked(&["none", "loopback", "host"], "loopback", &gone, &come),
                "files.overlay" => ranked(&["none", "memory", "disk"], "memory", &gone, &come),
                _ => Effect::Changes,
            };
            push(effect, gone.join(", "), come.join(", "));
        }
    }
}

/// By the place of the words in a list from narrow to wide.
fn ranked(order: &[&str], default: &str, gone: &[String], come: &[String]) -> Effect {
    let rank = |words: &[String]| {
        let word = words.first().map_or(default, String::as_str);
        order.iter().position(|known| *known == word)
    };
    match (rank(gone), rank(come)) {
        (Some(before), Some(after)) if after > before => Effect::Allows,
        (Some(before), Some(after)) if after < before => Effect::Denies,
        _ => Effect::Changes,
    }
}
