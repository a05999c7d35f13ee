//! Where the decisions of a policy's `[syscalls]` were written: the sentry names them by number.

use policies::model::{Action, Origin, Syscalls};

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

/// All of them, in the order of [`sentry::guard::place`].
pub(crate) fn places(syscalls: &Syscalls) -> Vec<Place> {
    let rules = syscalls.rules.iter().map(|rule| Place { by: By::Rule, origin: Some(rule.origin.clone()) });
    let groups = syscalls
        .groups
        .iter()
        .map(|(name, entry)| Place { by: By::Group(name.clone()), origin: Some(entry.origin.clone()) });
    let default =
        Place { by: By::Default, origin: syscalls.default.as_ref().map(|default| default.origin.clone()) };
    rules.chain(groups).chain([default]).collect()
}

/// Whether every call is allowed: then there is nothing to decide.
pub(crate) fn all_allowed(syscalls: &Syscalls) -> bool {
    syscalls.default_action() == Action::Allow
        && syscalls.rules.iter().all(|rule| rule.action == Action::Allow)
        && syscalls.groups.values().all(|entry| entry.action == Action::Allow)
}

#[cfg(test)]
mod tests {
    use super::{places, By};
    use policies::decide;
    use policies::model::Action;
    use policies::Context;

    #[test]
    fn numbers_lead_to_lines() {
        let text = "[syscalls]\ndefault = \"errno\"\n[syscalls.groups]\n\"@mount\" = \"kill\"\n\"@clock\" = \"trap\"\n\
            [[syscalls.rule]]\nnames = [\"read\"]\naction = \"allow\"\n";
        let format = policies::read::Format::Toml;
        let loaded = policies::load_text("p.toml", text, format, &Context::of_caller()).expect("a policy");
        let syscalls = loaded.policy.syscalls;
        let places = places(&syscalls);
        for (nr, action, line) in [
            (libc::SYS_read, Action::Allow, 6),
            (libc::SYS_mount, Action::Kill, 4),
            (libc::SYS_clock_settime, Action::Trap, 5),
            (libc::SYS_write, Action::Errno(1), 2),
        ] {
            let decision = decide::interpret(&syscalls, nr as u64, &[0; 6]);
            let place = &places[sentry::guard::place(&syscalls, &decision.by) as usize];
            assert_eq!(decision.action, action);
            assert_eq!(place.origin.as_ref().map(|origin| origin.line), Some(line));
            assert_eq!(place.by == By::Default, nr == libc::SYS_write);
        }
    }
}
