//! Why a policy answers a call as it does: every rule that names it, in order, and which one decides.
//!
//! Arguments may be unknown; then several rules may decide, and all of them are told.

use crate::decide::{interpret, By, Decision};
use crate::model::{Policy, Rule};

/// Arguments of a call, as far as they are known.
pub type Args = [Option<u64>; 6];

/// Whether a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Decides,
    /// Conditions, by their index in the rule, are about arguments that are not known.
    Depends,
    /// The condition with this index does not hold.
    Fails(usize),
    /// An earlier rule decides whatever this one says.
    NotReached,
}

/// A rule that names the call.
#[derive(Clone, Debug)]
pub struct Step<'p> {
    pub index: usize,
    pub rule: &'p Rule,
    pub verdict: Verdict,
}

/// How a call is answered.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// The rules that name the call, in order.
    pub steps: Vec<Step<'p>>,
    /// The decision where no rule that depends on unknown arguments matches.
    pub otherwise: Decision,
    /// Whether it is the decision for sure.
    pub certain: bool,
}

/// Explains a call.
#[must_use]
pub fn explain<'p>(policy: &'p Policy, call: i64, args: &Args) -> Explanation<'p> {
    let syscalls = &policy.syscalls;
    let mut steps = Vec::new();
    let mut decided: Option<Decision> = None;
    let mut certain = true;
    for (index, rule) in syscalls.rules.iter().enumerate() {
        if !rule.calls().any(|named| named == call) {
            continue;
        }
        let verdict = if decided.is_some() { Verdict::NotReached } else { verdict(rule, call, args) };
        match verdict {
            Verdict::Decides => decided = Some(Decision { action: rule.action, by: By::Rule(index) }),
            Verdict::Depends => certain = false,
            Verdict::Fails(_) | Verdict::NotReached => {}
        }
        steps.push(Step { index, rule, verdict });
    }
    let otherwise = decided.unwrap_or_else(|| {
        // A policy without rules answers with its groups and its default.
        let mut bare = syscalls.clone();
        bare.rules.clear();
        interpret(&bare, u64::try_from(call).unwrap_or(u64::MAX), &[0; 6])
    });
    Explanation { steps, otherwise, certain }
}

fn verdict(rule: &Rule, call: i64, args: &Args) -> Verdict {
    let mut open = false;
    for (index, condition) in rule.when.iter().enumerate() {
        let arg = usize::from(condition.arg);
        let Some(value) = args.get(arg).copied().flatten() else {
            open = true;
            continue;
        };
        let mut known = [0; 6];
        if let Some(place) = known.get_mut(arg) {
            *place = value;
        }
        if !condition.holds(call, &known) {
            return Verdict::Fails(index);
        }
    }
    if open {
        Verdict::Depends
    } else {
        Verdict::Decides
    }
}
