//! From rules to programs: the conditions of a policy's rules as a chain of seccomp filters.
//!
//! `seccompiler` knows one match action in a filter, so each run of neighbouring rules with one action becomes a
//! program of its own (more where it would be too long for one), which says "matched" or "next"; the first that
//! matches decides. What needs no conditions is no part of the chain: [`crate::decide`] has a table for that.
//!
//! `argN & MASK != VALUE` has no like in `seccompiler`. Such a rule becomes two programs: a *guard* for the opposite,
//! behind which the rule is passed over, and what else the rule asks for.

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::bpf::{ret, Invalid, Program, SeccompData, SockFilter};
use crate::model::{Action, Operator, Rule, Width};

/// Instructions of one program: below the kernel's 4,096, so that an estimate may err a little.
const ROOM: usize = 3500;
/// `seccompiler`'s instructions for one condition, one rule and one call, at most, with the jumps between.
const PER_CONDITION: usize = 11;
const PER_RULE: usize = 6;
const PER_CALL: usize = 4;

/// What cannot happen with rules that were read from a file; a bug is reported rather than hidden.
#[derive(Debug)]
pub enum CompileError {
    Backend(BackendError),
    Program(Invalid),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Backend(e) => write!(f, "the rules do not compile: {e}"),
            CompileError::Program(e) => write!(f, "the rules compile to a bad program: {e}"),
        }
    }
}

impl std::error::Error for CompileError {}

impl From<BackendError> for CompileError {
    fn from(e: BackendError) -> CompileError {
        CompileError::Backend(e)
    }
}

/// One link of the chain.
#[derive(Debug)]
pub struct Segment {
    /// What happens where it matches.
    pub action: Action,
    /// Where this matches, the rule does not.
    guard: Option<Program>,
    /// None: whatever the arguments.
    program: Option<Program>,
}

impl Segment {
    /// Whether one of its rules decides the call.
    #[must_use]
    pub fn matches(&self, data: &SeccompData) -> bool {
        let hit = |p: &Program| p.run(data) != ret::ALLOW;
        !self.guard.as_ref().is_some_and(hit) && self.program.as_ref().is_none_or(hit)
    }

    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        [&self.guard, &self.program].into_iter().flatten().map(Program::len).sum()
    }

    /// Whether it matches without a look at the call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a rule asks of one call.
enum Wanted {
    /// It can never match.
    Never,
    /// It matches whatever the arguments.
    Always,
    /// All of the first, and none of the second.
    Conditions(Vec<SeccompCondition>, Vec<SeccompCondition>),
}

fn wanted(rule: &Rule, call: i64) -> Result<Wanted, CompileError> {
    let (mut all, mut none) = (Vec::new(), Vec::new());
    for condition in &rule.when {
        let condition = &condition.value;
        let (len, bits) = match condition.width(call) {
            Width::Bits32 => (SeccompCmpArgLen::Dword, Width::Bits32.mask()),
            Width::Bits64 => (SeccompCmpArgLen::Qword, Width::Bits64.mask()),
        };
        let value = condition.value & bits;
        let mask = condition.mask.map(|m| m & bits);
        let new = |operator| SeccompCondition::new(condition.arg, len.clone(), operator, value);
        // `x & MASK == VALUE` with bits outside the mask is never true; seccompiler would drop those bits.
        let impossible = mask.is_some_and(|m| value & !m != 0);
        match (condition.operator, mask) {
            (Operator::Equal, Some(_)) if impossible => return Ok(Wanted::Never),
            (Operator::NotEqual, Some(_)) if impossible => {}
            (Operator::Equal, Some(mask)) => all.push(new(SeccompCmpOp::MaskedEq(mask))?),
            (Operator::NotEqual, Some(mask)) => none.push(new(SeccompCmpOp::MaskedEq(mask))?),
            (operator, _) => all.push(new(plain(operator))?),
        }
    }
    Ok(if all.is_empty() && none.is_empty() { Wanted::Always } else { Wanted::Conditions(all, none) })
}

/// Without a mask, which goes with `==` and `!=` only.
fn plain(operator: Operator) -> SeccompCmpOp {
    match operator {
        Operator::Equal => SeccompCmpOp::Eq,
        Operator::NotEqual => SeccompCmpOp::Ne,
        Operator::Less => SeccompCmpOp::Lt,
        Operator::LessOrEqual => SeccompCmpOp::Le,
        Operator::Greater => SeccompCmpOp::Gt,
        Operator::GreaterOrEqual => SeccompCmpOp::Ge,
    }
}

/// What the rules come to for each call.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) segments: Vec<Segment>,
    /// By call: the segments to ask, in order.
    pub(crate) steps: BTreeMap<i64, Vec<u32>>,
    /// By call: the first rule that matches whatever the arguments, if any.
    pub(crate) always: BTreeMap<i64, usize>,
}

/// A program that is being filled.
struct Open {
    action: Action,
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    size: usize,
}

pub(crate) fn compile(rules: &[Rule]) -> Result<Chain, CompileError> {
    let mut chain = Chain::default();
    let mut open: Option<Open> = None;
    for (index, rule) in rules.iter().enumerate() {
        for call in rule.calls() {
            if chain.always.contains_key(&call) {
                continue;
            }
            let (all, none) = match wanted(rule, call)? {
                Wanted::Never => continue,
                Wanted::Always => {
                    chain.always.insert(call, index);
                    continue;
                }
                Wanted::Conditions(all, none) => (all, none),
            };
            if !none.is_empty() {
                chain.close(&mut open)?;
                chain.guarded(rule.action, call, all, none)?;
                continue;
            }
            let size = PER_CALL + PER_RULE + PER_CONDITION * all.len();
            if open.as_ref().is_some_and(|o| o.action != rule.action || o.size + size > ROOM) {
                chain.close(&mut open)?;
            }
            let o = open.get_or_insert_with(|| Open { action: rule.action, calls: BTreeMap::new(), size: 0 });
            o.size += size;
            o.calls.entry(call).or_default().push(SeccompRule::new(all)?);
        }
    }
    chain.close(&mut open)?;
    Ok(chain)
}

impl Chain {
    fn push(&mut self, segment: Segment, calls: impl Iterator<Item = i64>) {
        let index = self.segments.len() as u32;
        self.segments.push(segment);
        for call in calls {
            self.steps.entry(call).or_default().push(index);
        }
    }

    fn close(&mut self, open: &mut Option<Open>) -> Result<(), CompileError> {
        let Some(o) = open.take() else { return Ok(()) };
        let calls: Vec<i64> = o.calls.keys().copied().collect();
        let program = Some(program(o.calls)?);
        self.push(Segment { action: o.action, guard: None, program }, calls.into_iter());
        Ok(())
    }

    fn guarded(
        &mut self,
        action: Action,
        call: i64,
        all: Vec<SeccompCondition>,
        none: Vec<SeccompCondition>,
    ) -> Result<(), CompileError> {
        let any = none.into_iter().map(|c| SeccompRule::new(vec![c])).collect::<Result<Vec<_>, _>>()?;
        let guard = Some(program(BTreeMap::from([(call, any)]))?);
        let program = match all.is_empty() {
            true => None,
            false => Some(program(BTreeMap::from([(call, vec![SeccompRule::new(all)?])]))?),
        };
        self.push(Segment { action, guard, program }, std::iter::once(call));
        Ok(())
    }
}

/// A program that answers `ALLOW` for "next", and something else where a rule matches.
fn program(calls: BTreeMap<i64, Vec<SeccompRule>>) -> Result<Program, CompileError> {
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, SeccompAction::Trap, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    let program: Vec<SockFilter> = program.iter().map(SockFilter::from).collect();
    Program::new(&program).map_err(CompileError::Program)
}
