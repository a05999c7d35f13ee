//! Reads seccompiler's JSON: a table of filters, each with an action for what matches and one for what does not.

use std::collections::BTreeSet;

use super::node::get;
use super::{condition, section, Options, Reading, Result};
use crate::calls;
use crate::model::{Action, Condition, Located, Operator, Policy, Rule, Width};
use crate::read::tree::{Node, Value};

pub(super) fn read(r: &mut Reading<'_>, root: &Node, options: &Options) -> Result<Policy> {
    let filters = r.table(root)?;
    let names: Vec<&str> = filters.iter().map(|f| f.key.as_str()).collect();
    // `NAME+ACTION` goes with `NAME`: filters that are installed together, as `to_seccompiler` writes them.
    let base_of = |name: &str| name.split_once('+').map_or(name, |(base, _)| base).to_owned();
    let wanted = match &options.filter {
        Some(wanted) => wanted.clone(),
        None => {
            let bases: BTreeSet<String> = names.iter().map(|name| base_of(name)).collect();
            match bases.iter().next() {
                Some(one) if bases.len() == 1 => one.clone(),
                _ => {
                    return r.error(root, format!("several filters; say which one: {}", names.join(", ")));
                }
            }
        }
    };
    let (mut rules, mut default) = (Vec::new(), None);
    let mut found = false;
    for filter in filters.iter().filter(|f| base_of(&f.key) == wanted && f.key != wanted) {
        found = true;
        let (mismatch, mut more) = one(r, &filter.node)?;
        if mismatch.value != Action::Allow {
            return r.error(&filter.node, "a filter beside another one has to allow what it does not match");
        }
        rules.append(&mut more);
    }
    if let Some(filter) = filters.iter().find(|f| f.key == wanted) {
        found = true;
        let (mismatch, mut more) = one(r, &filter.node)?;
        rules.append(&mut more);
        default = Some(mismatch);
    }
    if !found {
        return r.error(root, format!("no filter `{wanted}`; there are {}", names.join(", ")));
    }
    let left: Vec<_> = names.iter().filter(|name| base_of(name) != wanted).copied().collect();
    if !left.is_empty() {
        r.note(root, format!("other filters are not carried over: {}", left.join(", ")));
    }
    Ok(Policy { syscalls: section(default, rules), ..Policy::default() })
}

/// The action of what does not match, and the rules.
fn one(r: &mut Reading<'_>, node: &Node) -> Result<(Located<Action>, Vec<Rule>)> {
    r.others(node, &["mismatch_action", "default_action", "match_action", "filter_action", "filter"])?;
    let (Some(mismatch), Some(matched)) = (
        get(node, "mismatch_action").or_else(|| get(node, "default_action")),
        get(node, "match_action").or_else(|| get(node, "filter_action")),
    ) else {
        return r.error(node, "the key `mismatch_action` or `match_action` is missing");
    };
    let default = Located::new(action(r, mismatch)?, r.origin(mismatch));
    let matched = action(r, matched)?;
    let list = r.list(r.must(node, "filter")?)?;
    let mut read = Vec::new();
    let mut with_arguments = BTreeSet::new();
    for node in list {
        r.others(node, &["syscall", "args", "comment"])?;
        let at = r.must(node, "syscall")?;
        let name = r.text(at)?.to_owned();
        if calls::number(&name).is_none() {
            return r.error(at, format!("no call is named `{name}`"));
        }
        let mut when = Vec::new();
        if let Some(args) = get(node, "args") {
            for arg in r.list(args)? {
                when.push(argument(r, arg, &name)?);
            }
            if when.is_empty() {
                return r.error(args, "an empty list of arguments; leave the key out");
            }
            with_arguments.insert(name.clone());
        }
        read.push((node, name, when));
    }
    let mut rules = Vec::new();
    for (node, name, when) in read {
        // seccompiler: rules with arguments push one without aside.
        if when.is_empty() && with_arguments.contains(&name) {
            r.note(node, format!("without effect beside a rule of `{name}` with arguments"));
            continue;
        }
        rules.push(r.rule(&[name], when, matched, node)?);
    }
    Ok((default, rules))
}

fn argument(r: &mut Reading<'_>, node: &Node, call: &str) -> Result<Condition> {
    r.others(node, &["index", "type", "op", "val", "comment"])?;
    let arg = r.argument(r.must(node, "index")?)?;
    let value = r.number(r.must(node, "val")?)?;
    let kind = r.must(node, "type")?;
    let width = match r.text(kind)? {
        "dword" => Width::Bits32,
        "qword" => Width::Bits64,
        other => return r.error(kind, format!("`{other}` is neither `dword` nor `qword`")),
    };
    let natural = calls::number(call).map(|nr| calls::width(nr, arg));
    let width = (natural != Some(width)).then_some(width);
    let op = r.must(node, "op")?;
    if let Some(mask) = get(op, "masked_eq") {
        let mask = r.number(mask)?;
        return Ok(condition(arg, width, Some(mask), Operator::Equal, value & mask));
    }
    let operator = match r.text(op)? {
        "eq" => Operator::Equal,
        "ne" => Operator::NotEqual,
        "lt" => Operator::Less,
        "le" => Operator::LessOrEqual,
        "gt" => Operator::Greater,
        "ge" => Operator::GreaterOrEqual,
        other => return r.error(op, format!("unknown comparison `{other}`")),
    };
    Ok(condition(arg, width, None, operator, value))
}

fn action(r: &mut Reading<'_>, node: &Node) -> Result<Action> {
    if let Some(errno) = get(node, "errno") {
        return match r.number(errno)? {
            0 => r.error(errno, "an errno of 0 would pretend that the call succeeded"),
            n => Ok(Action::Errno(n.min(crate::constants::LARGEST_ERRNO) as i32)),
        };
    }
    if get(node, "trace").is_some() {
        r.note(node, "`trace`: nobody is there to ask, so the call fails with ENOSYS");
        return Ok(Action::Errno(libc::ENOSYS));
    }
    let Value::String(text) = &node.value else { return r.error(node, "expected an action") };
    Ok(match text.as_str() {
        "allow" => Action::Allow,
        "log" => Action::Log,
        "trap" => Action::Trap,
        "kill_process" => Action::Kill,
        "kill_thread" => {
            r.note(node, "`kill_thread` ends one thread; here it ends the process");
            Action::Kill
        }
        other => return r.error(node, format!("unknown action `{other}`")),
    })
}
