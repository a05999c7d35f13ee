//! The policy's word on calls: the table and the chain of programs that `policies` compiles its rules to. A call whose
//! answer does not depend on its arguments costs one look at the table, whether it is allowed or not.

use std::sync::Arc;

use platform::CALLS;
use policies::decide::{By, Decider};
pub use policies::model::Action;
use policies::model::{Policy, Syscalls};

/// Decides calls.
#[derive(Debug)]
pub struct Guard(Decider);

impl Guard {
    /// Compiles the rules. The launcher has done so before, so that an error here is one of ours.
    pub fn new(syscalls: Syscalls) -> Result<Guard, String> {
        let policy = Policy { syscalls, ..Policy::default() };
        Decider::new(Arc::new(policy)).map(Guard).map_err(|error| error.to_string())
    }

    /// What becomes of a call.
    #[inline]
    #[must_use]
    pub fn decide(&self, nr: u64, args: &[u64; 6]) -> Action {
        self.0.action(nr, args)
    }

    /// What says so, as [`place`] numbers it: slower, for what is told to somebody.
    #[must_use]
    pub fn place(&self, nr: u64, args: &[u64; 6]) -> u32 {
        place(&self.0.policy().syscalls, &self.0.decide(nr, args).by)
    }

    /// Whether a call is allowed whatever its arguments: then nobody need be asked.
    #[must_use]
    pub fn always_allows(&self, nr: u16) -> bool {
        usize::from(nr) < CALLS && self.0.fixed(u64::from(nr)) == Some(Action::Allow)
    }
}

/// A number for what decides: the rules in their order, then the groups by name, then the default.
#[must_use]
pub fn place(syscalls: &Syscalls, by: &By) -> u32 {
    let rules = syscalls.rules.len();
    let at = match by {
        By::Rule(at) => *at,
        By::Group(name) => {
            rules + syscalls.groups.keys().position(|known| known == name).unwrap_or(syscalls.groups.len())
        }
        By::Default => rules + syscalls.groups.len(),
    };
    u32::try_from(at).unwrap_or(u32::MAX)
}
