//! What a policy says to a call: a table of the calls whose answer does not depend on arguments, and the chain of
//! programs for the others ([`crate::compile`]). [`interpret`] is the same from the rules as they are written.

use std::sync::Arc;

use crate::bpf::SeccompData;
use crate::compile::{self, CompileError, Segment};
use crate::model::{Action, Origin, Policy, Syscalls};

/// Calls with a line of their own in the table; what is past it gets the default.
const CALLS: usize = 512;

/// What in the policy decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The rule with this index.
    Rule(usize),
    /// The group with this name.
    Group(String),
    /// Nothing names the call.
    Default,
}

/// What happens to a call, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub action: Action,
    pub by: By,
}

impl Decision {
    /// Where it is written; `None` for a default that no file gives.
    #[must_use]
    pub fn origin<'a>(&self, syscalls: &'a Syscalls) -> Option<&'a Origin> {
        match &self.by {
            By::Rule(index) => syscalls.rules.get(*index).map(|rule| &rule.origin),
            By::Group(name) => syscalls.groups.get(name).map(|entry| &entry.origin),
            By::Default => syscalls.default.as_ref().map(|default| &default.origin),
        }
    }
}

/// The plain reading of the rules: the first that matches, else the strictest group, else the default.
#[must_use]
pub fn interpret(syscalls: &Syscalls, nr: u64, args: &[u64; 6]) -> Decision {
    let Ok(call) = i64::try_from(nr) else { return default(syscalls) };
    match syscalls.rules.iter().position(|rule| rule.matches(call, args)) {
        Some(index) => {
            // The rule is there: its position was just found.
            let action = syscalls.rules.get(index).map_or(Action::Kill, |rule| rule.action);
            Decision { action, by: By::Rule(index) }
        }
        None => otherwise(syscalls, call),
    }
}

/// The answer where no rule matches.
fn otherwise(syscalls: &Syscalls, call: i64) -> Decision {
    match syscalls.group_entry(call) {
        Some((name, entry)) => Decision { action: entry.action, by: By::Group(name.to_owned()) },
        None => default(syscalls),
    }
}

fn default(syscalls: &Syscalls) -> Decision {
    Decision { action: syscalls.default_action(), by: By::Default }
}

/// What is known of a call before its arguments are.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The answer where the chain has none.
    action: Action,
    /// Where its steps are in [`Decider::steps`]; none for most calls.
    from: u32,
    to: u32,
}

/// A policy's calls, compiled. It holds no lock, allocates nothing while it decides, and may be shared.
#[derive(Debug)]
pub struct Decider {
    lines: Box<[Line]>,
    other: Action,
    segments: Vec<Segment>,
    steps: Vec<u32>,
    policy: Arc<Policy>,
}

impl Decider {
    /// Compiles the calls of a policy.
    pub fn new(policy: Arc<Policy>) -> Result<Decider, CompileError> {
        let syscalls = &policy.syscalls;
        let chain = compile::compile(&syscalls.rules)?;
        let mut steps = Vec::new();
        let mut lines = Vec::with_capacity(CALLS);
        for call in 0..CALLS as i64 {
            let always = chain.always.get(&call).and_then(|index| syscalls.rules.get(*index));
            let action = match always {
                Some(rule) => rule.action,
                None => otherwise(syscalls, call).action,
            };
            let from = steps.len() as u32;
            steps.extend(chain.steps.get(&call).into_iter().flatten());
            lines.push(Line { action, from, to: steps.len() as u32 });
        }
        let other = syscalls.default_action();
        Ok(Decider { lines: lines.into(), other, segments: chain.segments, steps, policy })
    }

    /// The policy that it was made of.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The answer for a number, where arguments do not matter.
    #[inline]
    #[must_use]
    pub fn fixed(&self, nr: u64) -> Option<Action> {
        match usize::try_from(nr).ok().and_then(|nr| self.lines.get(nr)) {
            Some(line) if line.from == line.to => Some(line.action),
            Some(_) => None,
            None => Some(self.other),
        }
    }

    /// What happens to a call: one look into the table, and the chain only for calls that rules with conditions name.
    #[inline]
    #[must_use]
    pub fn action(&self, nr: u64, args: &[u64; 6]) -> Action {
        match self.fixed(nr) {
            Some(action) => action,
            None => self.ask_chain(nr, args),
        }
    }

    fn ask_chain(&self, nr: u64, args: &[u64; 6]) -> Action {
        let Some(line) = usize::try_from(nr).ok().and_then(|nr| self.lines.get(nr)) else {
            return self.other;
        };
        let data = SeccompData::x86_64(nr as u32, 0, args);
        let steps = self.steps.get(line.from as usize..line.to as usize).unwrap_or_default();
        let mut segments = steps.iter().filter_map(|step| self.segments.get(*step as usize));
        segments.find(|segment| segment.matches(&data)).map_or(line.action, |segment| segment.action)
    }

    /// What happens to a call, and which rule, group or default says so: for those that are reported.
    #[must_use]
    pub fn decide(&self, nr: u64, args: &[u64; 6]) -> Decision {
        let action = self.action(nr, args);
        Decision { action, by: interpret(&self.policy.syscalls, nr, args).by }
    }

    /// Segments of the chain, and their instructions together.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.segments.len(), self.segments.iter().map(Segment::len).sum())
    }
}
