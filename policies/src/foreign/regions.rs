//! Rules without their order: for one call, which arguments lead to which action.
//!
//! Our first rule that matches decides; other formats have no order, so what an earlier rule takes away is written into
//! the later ones: `if arg0 == 16 → errno, else allow` becomes `arg0 == 16 → errno` and `arg0 != 16 → allow`.

use crate::model::{Action, Operator, Syscalls, Width};

/// Alternatives of one call; what grows past it is too complex to be written out.
const MOST: usize = 64;

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    AtMost(u64),
    AtLeast(u64),
    /// Mask, and the value of those bits.
    Masked(u64, u64),
}

/// A comparison, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) arg: u8,
    pub(super) width: Width,
    pub(super) test: Test,
}

/// All must hold; none: whatever the arguments.
pub(super) type All = Vec<Term>;

/// What happens to a call, by its arguments.
pub(super) type Parts = Vec<(All, Action)>;

/// It cannot be written without order.
pub(super) struct TooComplex;

/// What happens to a call where it is not the default, in parts that do not contradict each other.
pub(super) fn of(syscalls: &Syscalls, call: i64) -> Result<Parts, TooComplex> {
    let default = syscalls.default_action();
    let mut units: Vec<(Vec<All>, Action)> = Vec::new();
    let mut last = syscalls.group_entry(call).map_or(default, |(_, entry)| entry.action);
    for rule in syscalls.rules.iter().filter(|rule| rule.calls().any(|c| c == call)) {
        if rule.when.is_empty() {
            last = rule.action;
            break;
        }
        let mut alternatives: Vec<All> = vec![Vec::new()];
        for condition in &rule.when {
            let condition = &condition.value;
            let bits = condition.width(call).mask();
            let terms =
                terms(condition.operator, condition.mask.map(|m| m & bits), condition.value & bits, bits);
            let terms =
                terms.into_iter().map(|test| Term { arg: condition.arg, width: condition.width(call), test });
            alternatives = product(&alternatives, &terms.collect::<Vec<_>>())?;
        }
        units.push((alternatives, rule.action));
    }
    units.push((vec![Vec::new()], last));
    if units.iter().all(|(_, action)| *action == last) {
        units = vec![(vec![Vec::new()], last)];
    }
    let mut out = Vec::new();
    for (index, (alternatives, action)) in units.iter().enumerate() {
        if *action == default {
            continue;
        }
        let mut left = alternatives.clone();
        let before = units.iter().take(index).filter(|(_, other)| other != action);
        for taken in before.flat_map(|(alternatives, _)| alternatives) {
            left = without(&left, taken)?;
        }
        out.extend(left.into_iter().map(|all| (all, *action)));
        if out.len() > MOST {
            return Err(TooComplex);
        }
    }
    // What holds anyway makes its alternatives superfluous; other actions have nothing left beside it.
    match out.iter().position(|(all, _)| all.is_empty()) {
        Some(at) => Ok(vec![out.swap_remove(at)]),
        None => Ok(out),
    }
}

/// A condition as alternatives; none: it never holds. An always true one is `AtLeast(0)`.
fn terms(operator: Operator, mask: Option<u64>, value: u64, bits: u64) -> Vec<Test> {
    const ALWAYS: Test = Test::AtLeast(0);
    match (operator, mask) {
        (Operator::Equal, Some(mask)) if value & !mask != 0 => vec![],
        (Operator::NotEqual, Some(mask)) if value & !mask != 0 => vec![ALWAYS],
        (Operator::Equal, Some(mask)) => vec![masked(mask, value, bits)],
        (Operator::NotEqual, Some(mask)) => opposite(Test::Masked(mask, value), bits),
        (Operator::Equal, None) => vec![Test::Equal(value)],
        (Operator::NotEqual, None) => vec![Test::NotEqual(value)],
        (Operator::LessOrEqual, _) => vec![Test::AtMost(value)],
        (Operator::GreaterOrEqual, _) => vec![Test::AtLeast(value)],
        (Operator::Less, _) => value.checked_sub(1).map(Test::AtMost).into_iter().collect(),
        (Operator::Greater, _) if value == bits => vec![],
        (Operator::Greater, _) => vec![Test::AtLeast(value.saturating_add(1))],
    }
}

fn masked(mask: u64, value: u64, bits: u64) -> Test {
    match mask {
        0 => Test::AtLeast(0),
        m if m == bits => Test::Equal(value),
        _ => Test::Masked(mask, value),
    }
}

/// Alternatives that together hold where the test does not.
fn opposite(test: Test, bits: u64) -> Vec<Test> {
    match test {
        Test::Equal(v) => vec![Test::NotEqual(v)],
        Test::NotEqual(v) => vec![Test::Equal(v)],
        Test::AtMost(v) if v == bits => vec![],
        Test::AtMost(v) => vec![Test::AtLeast(v.saturating_add(1))],
        Test::AtLeast(v) => v.checked_sub(1).map(Test::AtMost).into_iter().collect(),
        Test::Masked(mask, value) => {
            let each = (0..64).map(|bit| 1u64 << bit).filter(|bit| mask & bit != 0);
            each.map(|bit| Test::Masked(bit, !value & bit)).collect()
        }
    }
}

/// Each of the first together with each of the second.
fn product(left: &[All], right: &[Term]) -> Result<Vec<All>, TooComplex> {
    let mut out: Vec<All> = Vec::new();
    for all in left {
        for term in right {
            if let Some(all) = and(all, *term) {
                if !out.contains(&all) {
                    out.push(all);
                }
            }
            if out.len() > MOST {
                return Err(TooComplex);
            }
        }
    }
    Ok(out)
}

/// What is left of the alternatives outside of `taken`.
fn without(left: &[All], taken: &All) -> Result<Vec<All>, TooComplex> {
    let mut out: Vec<All> = Vec::new();
    for all in left {
        let meet = taken.iter().try_fold(all.clone(), |all, term| and(&all, *term));
        if meet.is_none() {
            out.push(all.clone());
            continue;
        }
        let outside: Vec<Term> = taken
            .iter()
            .flat_map(|t| opposite(t.test, t.width.mask()).into_iter().map(|test| Term { test, ..*t }))
            .collect();
        out.extend(product(std::slice::from_ref(all), &outside)?);
        if out.len() > MOST {
            return Err(TooComplex);
        }
    }
    Ok(out)
}

enum Joined {
    Never,
    One(Test),
    Both,
}

/// Adds a term; `None` where the whole can no longer hold.
fn and(all: &All, term: Term) -> Option<All> {
    let mut rest = all.clone();
    let mut term = term;
    let mut at = 0;
    while let Some(other) = rest.get(at) {
        if (other.arg, other.width) == (term.arg, term.width) {
            match join(other.test, term.test) {
                Joined::Never => return None,
                Joined::One(test) => {
                    rest.remove(at);
                    term.test = test;
                    at = 0;
                    continue;
                }
                Joined::Both => {}
            }
        }
        at += 1;
    }
    if term.test != Test::AtLeast(0) {
        rest.push(term);
        rest.sort_by_key(|t| (t.arg, t.width == Width::Bits64, t.test));
    }
    Some(rest)
}

fn holds(test: Test, v: u64) -> bool {
    match test {
        Test::Equal(w) => v == w,
        Test::NotEqual(w) => v != w,
        Test::AtMost(w) => v <= w,
        Test::AtLeast(w) => v >= w,
        Test::Masked(mask, w) => v & mask == w,
    }
}

fn join(a: Test, b: Test) -> Joined {
    match (a, b) {
        (Test::Equal(v), other) | (other, Test::Equal(v)) => {
            if holds(other, v) {
                Joined::One(Test::Equal(v))
            } else {
                Joined::Never
            }
        }
        (a, b) if a == b => Joined::One(a),
        (Test::AtMost(v), Test::AtMost(w)) => Joined::One(Test::AtMost(v.min(w))),
        (Test::AtLeast(v), Test::AtLeast(w)) => Joined::One(Test::AtLeast(v.max(w))),
        (Test::AtLeast(low), Test::AtMost(high)) | (Test::AtMost(high), Test::AtLeast(low)) => {
            match low.cmp(&high) {
                std::cmp::Ordering::Greater => Joined::Never,
                std::cmp::Ordering::Equal => Joined::One(Test::Equal(low)),
                std::cmp::Ordering::Less => Joined::Both,
            }
        }
        (Test::Masked(m, v), Test::Masked(n, w)) => {
            if v & n == w & m {
                Joined::One(Test::Masked(m | n, v | w))
            } else {
                Joined::Never
            }
        }
        _ => Joined::Both,
    }
}

/// The calls of a policy without order, those alike together.
pub(super) struct Normal {
    pub(super) default: Action,
    /// Calls, which arguments, and what then.
    pub(super) entries: Vec<(Vec<&'static str>, All, Action)>,
    pub(super) notes: Vec<String>,
}

/// All calls, each with parts that `fits` takes. What does not fit gets the strictest of its actions as a whole, and a
/// note.
pub(super) fn normal(syscalls: &Syscalls, fits: impl Fn(i64, &All) -> bool) -> Normal {
    let default = syscalls.default_action();
    let mut out = Normal { default, entries: Vec::new(), notes: Vec::new() };
    let mut known: Vec<_> = crate::calls::all().collect();
    known.sort_unstable();
    // The same terms are written differently for calls that take their arguments differently.
    let mut alike: Vec<(Parts, Vec<Width>, Vec<&'static str>)> = Vec::new();
    for (name, call) in known {
        let parts = match of(syscalls, call) {
            Ok(parts) if parts.iter().all(|(all, _)| fits(call, all)) => parts,
            _ => {
                let strictest = strictest(syscalls, call);
                out.notes.push(format!(
                    "{name}: its rules cannot be written there; it gets the strictest action, {}, whatever the arguments",
                    strictest.name()
                ));
                if strictest == default {
                    vec![]
                } else {
                    vec![(vec![], strictest)]
                }
            }
        };
        if parts.is_empty() {
            continue;
        }
        let terms = parts.iter().flat_map(|(all, _)| all);
        let widths: Vec<_> = terms.map(|term| crate::calls::width(call, term.arg)).collect();
        match alike.iter_mut().find(|(known, same, _)| *known == parts && *same == widths) {
            Some((.., names)) => names.push(name),
            None => alike.push((parts, widths, vec![name])),
        }
    }
    // What depends on no arguments first.
    alike.sort_by_key(|(parts, ..)| parts.iter().any(|(all, _)| !all.is_empty()));
    for (parts, _, names) in alike {
        out.entries.extend(parts.into_iter().map(|(all, action)| (names.clone(), all, action)));
    }
    out
}

fn strictest(syscalls: &Syscalls, call: i64) -> Action {
    let mut worst = syscalls.group_entry(call).map_or(syscalls.default_action(), |(_, entry)| entry.action);
    for rule in syscalls.rules.iter().filter(|rule| rule.calls().any(|c| c == call)) {
        if rule.action.name() > worst.name() {
            worst = rule.action;
        }
    }
    worst
}

/// Names the sections that another format has no place for.
pub(super) fn sections(policy: &crate::model::Policy, format: &str) -> Vec<String> {
    let said = [
        ("files", policy.files != Default::default()),
        ("network", policy.network != Default::default()),
        ("limits", policy.limits != Default::default()),
        ("env", policy.env != Default::default()),
        ("process", policy.process != Default::default()),
        ("ci", policy.ci != Default::default()),
    ];
    let mut notes: Vec<String> = said
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| format!("[{name}] is not carried over: {format} is about calls only"))
        .collect();
    if policy.description.is_some() {
        notes.push(format!("`description` is not carried over to {format}"));
    }
    notes
}
