//! Reads `[syscalls]`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::condition::{self, Mistake};
use super::keys;
use super::limits;
use super::reader::{cut, Reader};
use super::tree::{Node, Value};
use crate::model::{Action, ActionName, CallName, Condition, GroupEntry, Located, Rule, Syscalls};
use crate::{calls, constants, groups};

/// Stands for the `errno` that is not known before all files are joined: see `Syscalls::settle`.
const UNSETTLED: i32 = libc::EPERM;

pub(super) fn syscalls(reader: &mut Reader<'_>, node: &Node) -> Syscalls {
    let table = reader.table(node, &keys::SYSCALLS);
    let default = table.get("default").and_then(|node| action(reader, node));
    let default_errno = table.get("default-errno").and_then(|node| errno(reader, node));
    let groups = table.get("groups").map(|node| group_entries(reader, node)).unwrap_or_default();
    let rules = reader.all(table.get("rule"), "a list of rules, written `[[syscalls.rule]]`", rule);
    if rules.len() > limits::RULES {
        reader.error(&node.span, format!("more than {} rules", limits::RULES), None);
    }
    Syscalls {
        default: default.map(|name| Located::new(name.value.with_errno(UNSETTLED), name.origin)),
        default_errno,
        groups,
        rules,
    }
}

fn action(reader: &mut Reader<'_>, node: &Node) -> Option<Located<ActionName>> {
    reader.word(node)
}

/// By name, or by number for those that have none.
fn errno(reader: &mut Reader<'_>, node: &Node) -> Option<Located<i32>> {
    if let Value::Integer(_) = node.value {
        let number = reader.number(node, 1, constants::LARGEST_ERRNO)?;
        return i32::try_from(number.value).ok().map(|value| Located::new(value, number.origin));
    }
    let name = reader.text(node, "an error's name, such as \"EPERM\"")?;
    match constants::errno(name) {
        Some(value) => Some(reader.located(node, value)),
        None => {
            let hint = reader.nearest(name, constants::errnos());
            reader.error(&node.span, format!("unknown error number `{}`", cut(name)), hint);
            None
        }
    }
}

fn group_entries(reader: &mut Reader<'_>, node: &Node) -> BTreeMap<String, GroupEntry> {
    let mut all = BTreeMap::new();
    for entry in reader.any_table(node, "a table of groups, such as { \"@mount\" = \"errno\" }") {
        if !groups::exists(&entry.key) {
            unknown_group(reader, &entry.key, &entry.key_span);
        }
        if let Some(name) = action(reader, &entry.node) {
            let origin = reader.source.origin(entry.key_span.start);
            let action: Action = name.value.with_errno(UNSETTLED);
            all.insert(entry.key.clone(), GroupEntry { action, origin });
        }
    }
    all
}

fn unknown_group(reader: &mut Reader<'_>, name: &str, span: &Range<usize>) {
    let (what, hint) = if name.starts_with('@') {
        let hint = reader.nearest(name, groups::all().iter().map(|group| group.name));
        (format!("unknown group `{}`", cut(name)), hint)
    } else if calls::number(name).is_some() {
        let hint = format!("a single call needs a rule: [[syscalls.rule]] with names = [\"{name}\"]");
        (format!("`{name}` is a call, not a group"), Some(hint))
    } else {
        let with_at = format!("@{name}");
        let hint = reader.nearest(&with_at, groups::all().iter().map(|group| group.name));
        (format!("`{}` is not a group: groups begin with `@`", cut(name)), hint)
    };
    let hint = hint.or_else(|| Some("`runsc policy list --groups` shows all".to_owned()));
    reader.error(span, what, hint);
}

fn rule(reader: &mut Reader<'_>, node: &Node) -> Option<Rule> {
    let table = reader.table(node, &keys::RULE);
    let names = reader.all(table.get("names"), "a list of calls, such as [\"socket\"]", call_name);
    let when = reader.all(table.get("when"), "a list of conditions, such as [\"arg0 == AF_NETLINK\"]", when);
    let action = table.get("action").and_then(|node| self::action(reader, node));
    let errno = table.get("errno").and_then(|node| self::errno(reader, node));
    if table.get("action").is_none() {
        let hint = "add `action = \"errno\"`, or allow, log, trap, kill";
        reader.error(&node.span, "the rule has no `action`", Some(hint.to_owned()));
    }
    match table.get("names") {
        None => {
            let hint = "add `names = [\"…\"]`";
            reader.error(&node.span, "the rule has no `names`", Some(hint.to_owned()));
        }
        Some(Node { value: Value::Array(items), span }) if items.is_empty() => {
            reader.error(span, "the list is empty: the rule names no call", None);
        }
        Some(_) => {}
    }
    if when.len() > limits::CONDITIONS {
        reader.error(&node.span, format!("more than {} conditions", limits::CONDITIONS), None);
    }
    if let (Some(action), Some(_), Some(at)) = (&action, &errno, table.get("errno")) {
        if action.value != ActionName::Errno {
            let what = format!("`errno` goes with the action `errno`, not with `{}`", action.value);
            reader.error(&at.span, what, None);
        }
    }
    let action = action?.value.with_errno(errno.as_ref().map_or(UNSETTLED, |errno| errno.value));
    Some(Rule { names, when, action, errno, origin: reader.source.origin(node.span.start) })
}

fn call_name(reader: &mut Reader<'_>, node: &Node) -> Option<Located<CallName>> {
    let text = reader.text(node, "a call's name, such as \"socket\"")?;
    let calls = if text.starts_with('@') {
        if !groups::exists(text) {
            unknown_group(reader, text, &node.span);
        }
        groups::members(text).to_vec()
    } else {
        calls::number(text).into_iter().collect()
    };
    if calls.is_empty() && !text.starts_with('@') {
        let hint = reader.nearest(text, calls::all().map(|(name, _)| name));
        reader.warning(&node.span, format!("unknown call `{}`: it is passed over", cut(text)), hint);
    }
    reader.calls = reader.calls.saturating_add(calls.len());
    if reader.calls > limits::CALLS {
        let what = format!("the rules up to here name more than {} calls", limits::CALLS);
        reader.error(&node.span, what, Some("use groups in `groups`, not in each rule".to_owned()));
        return None;
    }
    Some(reader.located(node, CallName { text: text.to_owned(), calls }))
}

fn when(reader: &mut Reader<'_>, node: &Node) -> Option<Located<Condition>> {
    let text = reader.text(node, "a condition, such as \"arg0 == AF_NETLINK\"")?;
    match condition::parse(text) {
        Ok(condition) => Some(reader.located(node, condition)),
        Err(Mistake { span, message, hint }) => {
            reader.error(&within(reader, node, text, span), message, hint);
            None
        }
    }
}

/// The place of a part of a string: exact where the file has the string without escapes.
fn within(reader: &Reader<'_>, node: &Node, text: &str, part: Range<usize>) -> Range<usize> {
    let start = node.span.start + 1;
    let literal = reader.source.text.get(start..start + text.len()) == Some(text);
    if literal && !part.is_empty() {
        start + part.start..start + part.end
    } else {
        node.span.clone()
    }
}

impl Syscalls {
    /// Puts the error number in wherever none of its own was given, once it is known.
    pub(crate) fn settle(&mut self) {
        let errno = self.default_errno();
        let settled = |action: Action| action.name().with_errno(errno);
        if let Some(default) = &mut self.default {
            default.value = settled(default.value);
        }
        for entry in self.groups.values_mut() {
            entry.action = settled(entry.action);
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.errno.is_none()) {
            rule.action = settled(rule.action);
        }
    }
}
