//! Reads an OCI seccomp profile as runc and libseccomp do together.
//!
//! Where one entry names a call without conditions, it alone counts, whatever stands beside it (libseccomp drops the
//! narrower ones); an entry that says what the default says is left out (runc); conditions on one argument are
//! alternatives (runc), on several they must all hold. Arguments are compared as wide as the call takes them.

use std::collections::{BTreeMap, BTreeSet};

use super::node::get;
use super::{condition, section, Options, Reading, Result};
use crate::calls;
use crate::constants;
use crate::model::{Action, Condition, Located, Operator, Policy, Rule};
use crate::read::tree::Node;

/// Entries with a higher `minKernel` are left out.
const KERNEL: (u32, u32) = (6, 1);

/// One entry of `syscalls` that applies here.
struct Entry<'n> {
    node: &'n Node,
    names: Vec<String>,
    /// Alternatives; each is a list of what must hold. One empty list: no conditions.
    when: Vec<Vec<Condition>>,
    action: Action,
}

pub(super) fn read(r: &mut Reading<'_>, root: &Node, options: &Options) -> Result<Policy> {
    const KEYS: [&str; 7] = [
        "defaultAction",
        "defaultErrnoRet",
        "defaultErrno",
        "architectures",
        "archMap",
        "syscalls",
        "comment",
    ];
    r.others(root, &KEYS)?;
    architectures(r, root)?;
    let at = r.must(root, "defaultAction")?;
    let default_errno = match (get(root, "defaultErrnoRet"), get(root, "defaultErrno")) {
        (Some(n), _) => Some(errno(r, n)?),
        (None, Some(n)) => Some(errno_named(r, n)?),
        (None, None) => None,
    };
    let default = action(r, at, default_errno)?;
    let mut entries = Vec::new();
    let mut foreign = BTreeSet::new();
    if let Some(list) = get(root, "syscalls") {
        for node in r.list(list)? {
            if let Some(entry) = entry(r, node, options, &mut foreign)? {
                entries.push(entry);
            }
        }
    }
    if !foreign.is_empty() {
        let names: Vec<_> = foreign.iter().map(String::as_str).collect();
        r.note(root, format!("not calls of x86-64, not carried over: {}", names.join(", ")));
    }
    let default_origin = r.origin(at);
    let rules = rules(r, entries, default)?;
    let default = Some(Located::new(default, default_origin));
    Ok(Policy { syscalls: section(default, rules), ..Policy::default() })
}

fn architectures(r: &mut Reading<'_>, root: &Node) -> Result<()> {
    const OURS: &str = "SCMP_ARCH_X86_64";
    let mut named: Vec<String> = r.strings(root, "architectures")?;
    let mut at = get(root, "architectures");
    if let Some(map) = get(root, "archMap") {
        at = at.or(Some(map));
        for entry in r.list(map)? {
            named.push(r.text(r.must(entry, "architecture")?)?.to_owned());
            named.extend(r.strings(entry, "subArchitectures")?);
        }
    }
    let Some(at) = at else { return Ok(()) };
    let others: BTreeSet<_> = named.iter().map(String::as_str).filter(|name| *name != OURS).collect();
    if !named.iter().any(|name| name == OURS) && !named.is_empty() {
        r.note(at, format!("{OURS} is not among the architectures; the rules are taken for it all the same"));
    }
    if !others.is_empty() {
        let others: Vec<_> = others.into_iter().collect();
        r.note(at, format!("other architectures are not carried over: {}", others.join(", ")));
    }
    Ok(())
}

fn entry<'n>(
    r: &mut Reading<'_>,
    node: &'n Node,
    options: &Options,
    foreign: &mut BTreeSet<String>,
) -> Result<Option<Entry<'n>>> {
    const KEYS: [&str; 9] =
        ["names", "name", "action", "errnoRet", "errno", "args", "includes", "excludes", "comment"];
    r.others(node, &KEYS)?;
    let mut names = r.strings(node, "names")?;
    if let Some(name) = get(node, "name") {
        names.push(r.text(name)?.to_owned());
    }
    if !applies(r, node, &names, options)? {
        return Ok(None);
    }
    let errno = match (get(node, "errnoRet"), get(node, "errno")) {
        (Some(n), _) => Some(errno(r, n)?),
        (None, Some(n)) => Some(errno_named(r, n)?),
        (None, None) => None,
    };
    let action = action(r, r.must(node, "action")?, errno)?;
    let (ours, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| calls::number(name).is_some());
    foreign.extend(others);
    let mut conditions = Vec::new();
    if let Some(args) = get(node, "args") {
        for arg in r.list(args)? {
            conditions.push(argument(r, arg)?);
        }
    }
    let mut seen = BTreeSet::new();
    let alternatives = conditions.iter().any(|c| !seen.insert(c.arg));
    let when =
        if alternatives { conditions.into_iter().map(|c| vec![c]).collect() } else { vec![conditions] };
    Ok(Some(Entry { node, names: ours, when, action }))
}

/// Whether `includes` and `excludes` hold here.
fn applies(r: &mut Reading<'_>, node: &Node, names: &[String], options: &Options) -> Result<bool> {
    let mut out = true;
    for (key, wanted) in [("includes", true), ("excludes", false)] {
        let Some(filter) = get(node, key) else { continue };
        r.others(filter, &["arches", "caps", "minKernel"])?;
        let arches = r.strings(filter, "arches")?;
        let caps = r.strings(filter, "caps")?;
        let has = |cap: &String| options.capabilities.contains(cap);
        let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        if !arches.is_empty() && arches.iter().any(|a| a == "amd64") != wanted {
            r.note(filter, format!("for other architectures, not carried over: {shown} …"));
            return Ok(false);
        }
        if !caps.is_empty() {
            // All of `includes` must be there, none of `excludes` may be.
            let holds = if wanted { caps.iter().all(has) } else { !caps.iter().any(has) };
            let word = if holds { "taken" } else { "left out" };
            let caps = caps.join(", ");
            r.note(filter, format!("depends on {caps}, {word} for a program as asked for: {shown} …"));
            out &= holds;
        }
        if let Some(kernel) = get(filter, "minKernel") {
            let text = r.text(kernel)?;
            let mut parts = text.split('.').map(|p| p.parse::<u32>().ok());
            let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
                return r.error(kernel, "a kernel's version is written as `4.8`");
            };
            out &= (KERNEL >= (major, minor)) == wanted;
        }
    }
    Ok(out)
}

fn argument(r: &mut Reading<'_>, node: &Node) -> Result<Condition> {
    r.others(node, &["index", "value", "valueTwo", "op"])?;
    let arg = r.argument(r.must(node, "index")?)?;
    let value = r.number(r.must(node, "value")?)?;
    let two = get(node, "valueTwo").map_or(Ok(0), |n| r.number(n))?;
    let op = r.must(node, "op")?;
    Ok(match r.text(op)? {
        "SCMP_CMP_NE" => condition(arg, None, None, Operator::NotEqual, value),
        "SCMP_CMP_LT" => condition(arg, None, None, Operator::Less, value),
        "SCMP_CMP_LE" => condition(arg, None, None, Operator::LessOrEqual, value),
        "SCMP_CMP_EQ" => condition(arg, None, None, Operator::Equal, value),
        "SCMP_CMP_GE" => condition(arg, None, None, Operator::GreaterOrEqual, value),
        "SCMP_CMP_GT" => condition(arg, None, None, Operator::Greater, value),
        // libseccomp drops the bits of the value that the mask does not have.
        "SCMP_CMP_MASKED_EQ" => condition(arg, None, Some(value), Operator::Equal, two & value),
        other => return r.error(op, format!("unknown comparison `{other}`")),
    })
}

fn errno(r: &Reading<'_>, node: &Node) -> Result<i32> {
    // runc masks nothing; the kernel caps at 4,095.
    match r.number(node)? {
        0 => {
            r.error(node, "an errno of 0 would pretend that the call succeeded; there is no such action here")
        }
        n => Ok(n.min(constants::LARGEST_ERRNO) as i32),
    }
}

fn errno_named(r: &Reading<'_>, node: &Node) -> Result<i32> {
    let name = r.text(node)?;
    constants::errno(name).map_or_else(|| r.error(node, format!("unknown error number `{name}`")), Ok)
}

fn action(r: &mut Reading<'_>, node: &Node, errno: Option<i32>) -> Result<Action> {
    let text = r.text(node)?;
    Ok(match text {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(libc::EPERM)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL_PROCESS" => Action::Kill,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => {
            r.note(node, format!("`{text}` ends one thread; here it ends the process"));
            Action::Kill
        }
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => {
            r.note(node, format!("`{text}`: nobody is there to ask, so the call fails with ENOSYS"));
            Action::Errno(libc::ENOSYS)
        }
        other => return r.error(node, format!("unknown action `{other}`")),
    })
}

fn rules(r: &mut Reading<'_>, entries: Vec<Entry<'_>>, default: Action) -> Result<Vec<Rule>> {
    // The first entry without conditions decides a call.
    let mut whole: BTreeMap<String, (usize, Action)> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.when.iter().any(Vec::is_empty) && entry.action != default {
            for name in &entry.names {
                whole.entry(name.clone()).or_insert((index, entry.action));
            }
        }
    }
    let mut out = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if entry.action == default {
            continue;
        }
        let (names, beaten): (Vec<_>, Vec<_>) =
            entry.names.into_iter().partition(|n| whole.get(n).is_none_or(|(at, _)| *at == index));
        let beaten: Vec<_> =
            beaten.into_iter().filter(|n| whole.get(n).is_some_and(|(_, a)| *a != entry.action)).collect();
        if !beaten.is_empty() {
            let names = beaten.join(", ");
            r.note(entry.node, format!("without effect beside an entry without conditions: {names}"));
        }
        if names.is_empty() {
            continue;
        }
        for when in entry.when {
            out.push(r.rule(&names, when, entry.action, entry.node)?);
        }
    }
    Ok(out)
}
