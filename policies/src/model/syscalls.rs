//! `[syscalls]`: which calls do what.
//!
//! The first rule that matches decides; else the strictest entry of those groups that hold the call; else the default.
//! Over a chain of files, the rules of a later file come before those of an earlier one, and a group that a later file
//! names replaces the earlier entry of the same group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Action, Condition, Located, Origin};
use crate::groups;

/// The section `[syscalls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscalls {
    /// What happens to a call that nothing else names. Absent: allow.
    pub default: Option<Located<Action>>,
    /// The error number of each `errno` that has none of its own. Absent: `EPERM`.
    pub default_errno: Option<Located<i32>>,
    /// By name, with the `@`.
    pub groups: BTreeMap<String, GroupEntry>,
    /// In order of precedence.
    pub rules: Vec<Rule>,
}

/// `"@group" = "action"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    pub action: Action,
    pub origin: Origin,
}

/// `[[syscalls.rule]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Calls, or groups (`@mount`) that stand for all their calls.
    pub names: Vec<Located<CallName>>,
    /// All must hold. Empty: any arguments.
    pub when: Vec<Located<Condition>>,
    pub action: Action,
    /// Where `errno = …` was given for this rule alone; `action` already holds it.
    pub errno: Option<Located<i32>>,
    /// Where the rule begins.
    pub origin: Origin,
}

/// A name in a rule, and which calls it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallName {
    pub text: String,
    /// Numbers on x86-64. Empty for a name that this version does not know (a warning of `policy check`).
    pub calls: Vec<i64>,
}

impl Rule {
    /// The numbers of all calls it concerns.
    pub fn calls(&self) -> impl Iterator<Item = i64> + '_ {
        self.names.iter().flat_map(|name| name.calls.iter().copied())
    }

    /// Whether it decides this call.
    #[must_use]
    pub fn matches(&self, call: i64, args: &[u64; 6]) -> bool {
        self.calls().any(|named| named == call)
            && self.when.iter().all(|condition| condition.holds(call, args))
    }
}

impl Syscalls {
    /// What happens to a call that neither rule nor group names.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default.as_ref().map_or(Action::Allow, |action| action.value)
    }

    /// The error number where none is given.
    #[must_use]
    pub fn default_errno(&self) -> i32 {
        self.default_errno.as_ref().map_or(libc::EPERM, |errno| errno.value)
    }

    /// The strictest entry of those groups that hold the call, with the group's name.
    #[must_use]
    pub fn group_entry(&self, call: i64) -> Option<(&str, &GroupEntry)> {
        let of_call = self.groups.iter().filter(|(name, _)| groups::contains(name, call));
        of_call.max_by_key(|(_, entry)| entry.action.name()).map(|(name, entry)| (name.as_str(), entry))
    }
}
