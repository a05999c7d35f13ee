//! Writes the calls of a policy as seccompiler's JSON.
//!
//! A filter there has one action for what matches and one for the rest, so a policy with more becomes several, which
//! are meant to be installed together (the kernel takes the strictest answer): `NAME` for the default, and
//! `NAME+ACTION` for each other action that is not "allow".

use std::collections::BTreeMap;

use serde_json::{json, Value};

use super::regions::{self, All, Term, Test};
use super::Written;
use crate::model::{Action, Policy, Width};

/// The filters under this name, and what they do not say.
#[must_use]
pub fn write(policy: &Policy, name: &str) -> Written {
    let normal = regions::normal(&policy.syscalls, |_, _| true);
    let mut notes = regions::sections(policy, "seccompiler's JSON");
    notes.extend(normal.notes);
    let mut filters = BTreeMap::new();
    let mut actions: Vec<Action> = Vec::new();
    for (_, _, action) in &normal.entries {
        if *action != Action::Allow && !actions.contains(action) {
            actions.push(*action);
        }
    }
    let rules = |wanted: &dyn Fn(Action) -> bool| -> Vec<Value> {
        let of = normal.entries.iter().filter(|(_, _, action)| wanted(*action));
        of.flat_map(|(names, all, _)| names.iter().map(|name| rule(name, all))).collect()
    };
    if normal.default == Action::Allow {
        if actions.is_empty() {
            filters.insert(name.to_owned(), filter(Action::Allow, Action::Kill, vec![]));
        }
    } else {
        filters.insert(name.to_owned(), filter(normal.default, Action::Allow, rules(&|_| true)));
    }
    let alone = filters.is_empty() && actions.len() == 1;
    for action in &actions {
        let key = if alone { name.to_owned() } else { format!("{name}+{}", key(*action)) };
        filters.insert(key, filter(Action::Allow, *action, rules(&|a| a == *action)));
    }
    if filters.len() > 1 {
        let names: Vec<_> = filters.keys().map(String::as_str).collect();
        notes.push(format!("one policy, several filters, to be installed together: {}", names.join(", ")));
    }
    Written { text: serde_json::to_string_pretty(&filters).unwrap_or_default() + "\n", notes }
}

fn filter(mismatch: Action, matched: Action, rules: Vec<Value>) -> Value {
    json!({ "mismatch_action": word(mismatch), "match_action": word(matched), "filter": rules })
}

fn key(action: Action) -> String {
    match action {
        Action::Errno(n) => format!("errno-{n}"),
        other => other.name().to_string(),
    }
}

fn word(action: Action) -> Value {
    match action {
        Action::Allow => json!("allow"),
        Action::Log => json!("log"),
        Action::Errno(n) => json!({ "errno": n }),
        Action::Trap => json!("trap"),
        Action::Kill => json!("kill_process"),
    }
}

fn rule(name: &str, all: &All) -> Value {
    if all.is_empty() {
        return json!({ "syscall": name });
    }
    json!({ "syscall": name, "args": all.iter().map(argument).collect::<Vec<_>>() })
}

fn argument(term: &Term) -> Value {
    let kind = match term.width {
        Width::Bits32 => "dword",
        Width::Bits64 => "qword",
    };
    let (op, val) = match term.test {
        Test::Equal(v) => (json!("eq"), v),
        Test::NotEqual(v) => (json!("ne"), v),
        Test::AtMost(v) => (json!("le"), v),
        Test::AtLeast(v) => (json!("ge"), v),
        Test::Masked(mask, v) => (json!({ "masked_eq": mask }), v),
    };
    json!({ "index": term.arg, "type": kind, "op": op, "val": val })
}
