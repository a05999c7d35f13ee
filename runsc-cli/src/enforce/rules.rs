//! From a policy's `[syscalls]` to the numbers that the sentry decides by, and back from a decision to the line that
//! made it.

use std::collections::BTreeMap;

use policies::model::{Action, Located, Operator, Origin, Rule, Syscalls};
use sentry::guard::{CallPolicy, CallRule, Compare, Condition, Verdict};

/// Calls have numbers below this one.
const CALLS: u16 = 512;

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Rule,
    Group(String),
    Default,
}

/// Where a decision was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) by: By,
    /// `None` where no file says it.
    pub(crate) origin: Option<Origin>,
}

/// The rules as the sentry takes them, and where each was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// `None` where every call is allowed.
    pub(crate) calls: Option<CallPolicy>,
    pub(crate) places: Vec<Place>,
}

/// Resolves names, groups and widths.
pub(crate) fn resolve(syscalls: &Syscalls) -> Rules {
    let mut places = Vec::new();
    let mut rules = Vec::new();
    for rule in &syscalls.rules {
        let place = next(&places);
        places.push(Place { by: By::Rule, origin: Some(rule.origin.clone()) });
        rules.extend(split(rule, place));
    }
    // A call that several groups name goes to the strictest, so that no call stands in two of these.
    let mut groups: BTreeMap<String, (Vec<u16>, Action, Origin)> = BTreeMap::new();
    for nr in 0..CALLS {
        if let Some((name, entry)) = syscalls.group_entry(i64::from(nr)) {
            let group = groups
                .entry(name.to_owned())
                .or_insert_with(|| (Vec::new(), entry.action, entry.origin.clone()));
            group.0.push(nr);
        }
    }
    for (name, (calls, action, origin)) in groups {
        let place = next(&places);
        places.push(Place { by: By::Group(name), origin: Some(origin) });
        rules.push(CallRule { calls, when: Vec::new(), action, place });
    }
    let default = Verdict { action: syscalls.default_action(), place: next(&places) };
    places.push(Place {
        by: By::Default,
        origin: syscalls.default.as_ref().map(|default| default.origin.clone()),
    });
    let all_allowed =
        default.action == Action::Allow && rules.iter().all(|rule| rule.action == Action::Allow);
    Rules { calls: (!all_allowed).then_some(CallPolicy { rules, default }), places }
}

fn next(places: &[Place]) -> u32 {
    u32::try_from(places.len()).unwrap_or(u32::MAX)
}

/// One rule for each set of its calls whose arguments are compared alike: how many bits of an argument count is the
/// call's own.
fn split(rule: &Rule, place: u32) -> Vec<CallRule> {
    let mut alike: Vec<CallRule> = Vec::new();
    for call in rule.calls() {
        let Ok(nr) = u16::try_from(call) else { continue };
        let when: Vec<Condition> = rule
            .when
            .iter()
            .map(|Located { value: condition, .. }| {
                let bits = condition.width(call).mask();
                Condition {
                    arg: condition.arg,
                    mask: bits & condition.mask.unwrap_or(u64::MAX),
                    compare: compare(condition.operator),
                    value: condition.value & bits,
                }
            })
            .collect();
        match alike.iter_mut().find(|known| known.when == when) {
            Some(known) => known.calls.push(nr),
            None => alike.push(CallRule { calls: vec![nr], when, action: rule.action, place }),
        }
    }
    alike
}

fn compare(operator: Operator) -> Compare {
    match operator {
        Operator::Equal => Compare::Eq,
        Operator::NotEqual => Compare::Ne,
        Operator::Less => Compare::Lt,
        Operator::LessOrEqual => Compare::Le,
        Operator::Greater => Compare::Gt,
        Operator::GreaterOrEqual => Compare::Ge,
    }
}
