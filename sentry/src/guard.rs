//! The call rules of the sandbox's policy, as numbers: what the launcher resolved from names, groups and files, and the
//! table that decides a call. A call whose answer does not depend on its arguments costs one look at the table.
//!
//! Rules are tried in their order, the first that matches decides. Where a rule was written is the launcher's to know:
//! here it is a number, `place`.

use platform::CALLS;
pub use policies::model::Action;
use serde::{Deserialize, Serialize};

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// One condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub arg: u8,
    pub mask: u64,
    pub compare: Compare,
    pub value: u64,
}

impl Condition {
    fn holds(&self, args: &[u64; 6]) -> bool {
        let left = args.get(usize::from(self.arg)).copied().unwrap_or(0) & self.mask;
        match self.compare {
            Compare::Eq => left == self.value,
            Compare::Ne => left != self.value,
            Compare::Lt => left < self.value,
            Compare::Le => left <= self.value,
            Compare::Gt => left > self.value,
            Compare::Ge => left >= self.value,
        }
    }
}

/// One rule: calls, conditions that must all hold, and what then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRule {
    pub calls: Vec<u16>,
    pub when: Vec<Condition>,
    pub action: Action,
    pub place: u32,
}

/// The call rules of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPolicy {
    pub rules: Vec<CallRule>,
    pub default: Verdict,
}

/// A decision, and where what made it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub action: Action,
    pub place: u32,
}

/// What is known of a call before its arguments are looked at.
#[derive(Clone, Debug)]
enum Row {
    Always(Verdict),
    /// The rules that name it, first to last, and what holds where none matches.
    Asks(Box<[u32]>, Verdict),
}

/// The table of decisions.
#[derive(Debug)]
pub struct Guard {
    rows: Vec<Row>,
    rules: Vec<CallRule>,
    default: Verdict,
}

impl Guard {
    #[must_use]
    pub fn new(policy: CallPolicy) -> Guard {
        let CallPolicy { rules, default } = policy;
        let mut asks: Vec<Vec<u32>> = vec![Vec::new(); CALLS];
        let mut always: Vec<Option<Verdict>> = vec![None; CALLS];
        for (at, rule) in rules.iter().enumerate() {
            for nr in &rule.calls {
                let nr = usize::from(*nr);
                let (Some(asks), Some(always)) = (asks.get_mut(nr), always.get_mut(nr)) else { continue };
                if always.is_some() {
                    continue;
                }
                if rule.when.is_empty() {
                    *always = Some(Verdict { action: rule.action, place: rule.place });
                } else {
                    asks.push(u32::try_from(at).unwrap_or(u32::MAX));
                }
            }
        }
        let rows = asks
            .into_iter()
            .zip(always)
            .map(|(asks, always)| {
                let last = always.unwrap_or(default);
                if asks.is_empty() {
                    Row::Always(last)
                } else {
                    Row::Asks(asks.into(), last)
                }
            })
            .collect();
        Guard { rows, rules, default }
    }

    /// Decides a call.
    #[must_use]
    pub fn decide(&self, nr: u64, args: &[u64; 6]) -> Verdict {
        let row = usize::try_from(nr).ok().and_then(|nr| self.rows.get(nr));
        match row {
            Some(Row::Always(verdict)) => *verdict,
            Some(Row::Asks(asks, last)) => self.ask(asks, args).unwrap_or(*last),
            None => self.default,
        }
    }

    fn ask(&self, asks: &[u32], args: &[u64; 6]) -> Option<Verdict> {
        asks.iter().find_map(|at| {
            let rule = self.rules.get(*at as usize)?;
            let all = rule.when.iter().all(|condition| condition.holds(args));
            all.then_some(Verdict { action: rule.action, place: rule.place })
        })
    }

    /// Whether a call is allowed whatever its arguments: then nobody need be asked.
    #[must_use]
    pub fn always_allows(&self, nr: u16) -> bool {
        matches!(self.rows.get(usize::from(nr)), Some(Row::Always(Verdict { action: Action::Allow, .. })))
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, CallPolicy, CallRule, Compare, Condition, Guard, Verdict};

    fn rule(calls: &[u16], when: &[(u8, u64, Compare, u64)], action: Action, place: u32) -> CallRule {
        let when =
            when.iter().map(|&(arg, mask, compare, value)| Condition { arg, mask, compare, value }).collect();
        CallRule { calls: calls.to_vec(), when, action, place }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let guard = Guard::new(CallPolicy {
            rules: vec![
                rule(&[41], &[(0, u64::MAX, Compare::Eq, 16)], Action::Errno(97), 0),
                rule(&[41, 1], &[(1, 15, Compare::Eq, 3)], Action::Kill, 1),
                rule(&[41], &[], Action::Allow, 2),
                rule(&[41], &[], Action::Trap, 3),
            ],
            default: Verdict { action: Action::Errno(1), place: 4 },
        });
        let decide = |nr, a, b| guard.decide(nr, &[a, b, 0, 0, 0, 0]);
        assert_eq!(decide(41, 16, 3), Verdict { action: Action::Errno(97), place: 0 });
        assert_eq!(decide(41, 2, 0x80003), Verdict { action: Action::Kill, place: 1 });
        assert_eq!(decide(41, 2, 1), Verdict { action: Action::Allow, place: 2 });
        assert_eq!(decide(1, 0, 0), Verdict { action: Action::Errno(1), place: 4 });
        assert_eq!(decide(u64::MAX, 0, 0), Verdict { action: Action::Errno(1), place: 4 });
        assert!(!guard.always_allows(41) && !guard.always_allows(1) && !guard.always_allows(u16::MAX));
    }
}
