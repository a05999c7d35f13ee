//! Writes the calls of a policy as a file of ours.

use std::fmt::Write;

use super::{condition, regions, Written};
use crate::constants;
use crate::model::{Action, Condition, Policy, Rule};

/// The file, and what it does not say: the sections but `[syscalls]`.
#[must_use]
pub fn write(policy: &Policy) -> Written {
    let syscalls = &policy.syscalls;
    let mut notes = regions::sections(policy, "this file");
    let mut o = String::new();
    if let Some(description) = &policy.description {
        notes.retain(|note| !note.starts_with("`description`"));
        let _ = writeln!(o, "description = {}\n", quote(&description.value));
    }
    o.push_str("[syscalls]\n");
    let default = syscalls.default_action();
    let _ = writeln!(o, "default = {}", quote(default.name().word()));
    if let Action::Errno(n) = default {
        let _ = writeln!(o, "default-errno = {}", errno(n));
    }
    let mut rules: Vec<String> = syscalls.rules.iter().map(rule).collect();
    // The groups come after all rules, so they may be rules themselves; that keeps an errno of their own.
    for (name, entry) in groups(policy) {
        rules.push(format!("\n[[syscalls.rule]]\nnames = [{}]\n{}", quote(&name), action(entry)));
    }
    rules.iter().for_each(|rule| o.push_str(rule));
    Written { text: o, notes }
}

/// The strictest first: of groups that hold one call, that one decides.
fn groups(policy: &Policy) -> Vec<(String, Action)> {
    let mut all: Vec<_> =
        policy.syscalls.groups.iter().map(|(name, entry)| (name.clone(), entry.action)).collect();
    // Where two are as strict, the model takes the last by name.
    all.reverse();
    all.sort_by_key(|(_, action)| std::cmp::Reverse(action.name()));
    all
}

fn rule(rule: &Rule) -> String {
    let mut o = String::from("\n[[syscalls.rule]]\n");
    let names: Vec<String> = rule.names.iter().map(|name| quote(&name.text)).collect();
    let one_line = format!("names = [{}]", names.join(", "));
    if one_line.len() <= 100 {
        let _ = writeln!(o, "{one_line}");
    } else {
        o.push_str("names = [\n");
        let mut line = String::new();
        for name in names {
            if line.len() + name.len() > 96 {
                let _ = writeln!(o, "   {line}");
                line.clear();
            }
            let _ = write!(line, " {name},");
        }
        let _ = writeln!(o, "   {line}\n]");
    }
    if !rule.when.is_empty() {
        let when: Vec<String> = rule.when.iter().map(|c| quote(&text(&c.value))).collect();
        let _ = writeln!(o, "when = [{}]", when.join(", "));
    }
    o.push_str(&action(rule.action));
    o
}

/// As it was written, or as it would be.
pub(crate) fn text(c: &Condition) -> String {
    if c.text.is_empty() {
        condition(c.arg, c.explicit_width, c.mask, c.operator, c.value).text
    } else {
        c.text.clone()
    }
}

fn action(action: Action) -> String {
    let mut o = format!("action = {}\n", quote(action.name().word()));
    if let Action::Errno(n) = action {
        let _ = writeln!(o, "errno = {}", errno(n));
    }
    o
}

fn errno(n: i32) -> String {
    constants::errno_name(n).map_or_else(|| n.to_string(), quote)
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut o = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => o.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(o, "\\u{:04X}", c as u32);
            }
            c => o.push(c),
        }
    }
    o.push('"');
    o
}
