//! Rules that never decide anything: conditions that cannot hold, and rules behind others that take all they match.

use std::collections::HashMap;

use crate::calls;
use crate::diagnostic::Diagnostic;
use crate::load::Loaded;
use crate::model::{Condition, Operator, Origin, Rule, Width};

/// How many earlier rules of one call a rule is compared with: enough for what people write.
const COMPARED: usize = 64;

pub(super) fn rules(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // By call: the earlier rules that concern it.
    let mut earlier: HashMap<i64, Vec<&Rule>> = HashMap::new();
    for rule in &loaded.policy.syscalls.rules {
        let Some(first) = rule.calls().next() else {
            // Unknown names alone: said already.
            continue;
        };
        if let Some(finding) = impossible(loaded, rule, first) {
            found.push(finding);
        } else if let Some(before) = shadowing(rule, &earlier) {
            let what = format!("the rule never matches: {} takes all its calls first", before.origin);
            let hint = "move it before that rule, or remove it";
            found.push(Diagnostic::warning(loaded.sources.place(&rule.origin), what).hint(hint));
        }
        for call in rule.calls() {
            let rules = earlier.entry(call).or_default();
            if rules.len() < COMPARED && !rules.iter().any(|known| std::ptr::eq(*known, rule)) {
                rules.push(rule);
            }
        }
    }
    found
}

/// An earlier rule that matches whatever this one does, for every call; the last of them is named.
fn shadowing<'r>(rule: &Rule, earlier: &HashMap<i64, Vec<&'r Rule>>) -> Option<&'r Rule> {
    let mut last = None;
    for call in rule.calls() {
        let before = earlier.get(&call)?.iter().find(|before| covers(before, rule));
        last = Some(*before?);
    }
    last
}

/// Whether each of its conditions is one of the later rule's, too.
fn covers(before: &Rule, later: &Rule) -> bool {
    before.when.iter().all(|condition| later.when.iter().any(|other| same(condition, other)))
}

fn same(one: &Condition, other: &Condition) -> bool {
    (one.arg, one.explicit_width, one.mask, one.operator, one.value)
        == (other.arg, other.explicit_width, other.mask, other.operator, other.value)
}

/// Conditions that hold for no argument.
fn impossible(loaded: &Loaded, rule: &Rule, call: i64) -> Option<Diagnostic> {
    let warn = |place: &Origin, what: String| Some(Diagnostic::warning(loaded.sources.place(place), what));
    let mut ranges: HashMap<u8, Range> = HashMap::new();
    for located in &rule.when {
        let (condition, place) = (&located.value, &located.origin);
        let width = condition.width(call);
        if too_wide(condition.value, width) {
            let name = calls::name(call).unwrap_or("the call");
            let what = format!("arg{} of `{name}` has 32 bits, and the value has more", condition.arg);
            return warn(place, what);
        }
        if !alone(condition, width) {
            return warn(place, format!("`{condition}` never holds"));
        }
        if condition.mask.is_none() && !ranges.entry(condition.arg).or_default().narrow(condition, width) {
            return warn(place, format!("`{condition}` never holds together with the conditions before it"));
        }
    }
    None
}

/// Neither a number of 32 bits nor a negative one.
fn too_wide(value: u64, width: Width) -> bool {
    width == Width::Bits32 && value > width.mask() && i32::try_from(value as i64).is_err()
}

/// Whether some argument satisfies it.
fn alone(condition: &Condition, width: Width) -> bool {
    let value = condition.value & width.mask();
    match (condition.operator, condition.mask) {
        (Operator::Equal, Some(mask)) => value & !mask == 0,
        (Operator::NotEqual, Some(mask)) => mask & width.mask() != 0 || value != 0,
        (Operator::Less, _) => value > 0,
        (Operator::Greater, _) => value < width.mask(),
        _ => true,
    }
}

/// The values that an argument may still have.
struct Range {
    least: u64,
    most: u64,
    not: Vec<u64>,
}

impl Default for Range {
    fn default() -> Self {
        Self { least: 0, most: u64::MAX, not: Vec::new() }
    }
}

impl Range {
    /// Whether anything is left.
    fn narrow(&mut self, condition: &Condition, width: Width) -> bool {
        let value = condition.value & width.mask();
        match condition.operator {
            Operator::Equal => (self.least, self.most) = (self.least.max(value), self.most.min(value)),
            Operator::NotEqual => self.not.push(value),
            Operator::Less => self.most = self.most.min(value.saturating_sub(1)),
            Operator::LessOrEqual => self.most = self.most.min(value),
            Operator::Greater => self.least = self.least.max(value.saturating_add(1)),
            Operator::GreaterOrEqual => self.least = self.least.max(value),
        }
        self.least < self.most || (self.least == self.most && !self.not.contains(&self.least))
    }
}
