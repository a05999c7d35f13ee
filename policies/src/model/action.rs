//! What happens to a call.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What happens to a call, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call is made, and reported.
    Log,
    /// The call is not made and fails with this error number (1 to 4095).
    Errno(i32),
    /// The call is not made; the thread gets `SIGSYS`, which it may handle.
    Trap,
    /// The process ends with `SIGSYS`.
    Kill,
}

/// An action as a file names it: `errno` says which one elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionName {
    // From the mildest to the strictest: the order decides between groups.
    Allow,
    Log,
    Errno,
    Trap,
    Kill,
}

impl ActionName {
    /// All of them, from the mildest to the strictest.
    pub const ALL: [ActionName; 5] =
        [ActionName::Allow, ActionName::Log, ActionName::Errno, ActionName::Trap, ActionName::Kill];

    /// The word in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ActionName::Allow => "allow",
            ActionName::Log => "log",
            ActionName::Errno => "errno",
            ActionName::Trap => "trap",
            ActionName::Kill => "kill",
        }
    }

    /// The whole action, where `errno` is this one.
    #[must_use]
    pub fn with_errno(self, errno: i32) -> Action {
        match self {
            ActionName::Allow => Action::Allow,
            ActionName::Log => Action::Log,
            ActionName::Errno => Action::Errno(errno),
            ActionName::Trap => Action::Trap,
            ActionName::Kill => Action::Kill,
        }
    }
}

impl Action {
    /// Without the error number.
    #[must_use]
    pub fn name(self) -> ActionName {
        match self {
            Action::Allow => ActionName::Allow,
            Action::Log => ActionName::Log,
            Action::Errno(_) => ActionName::Errno,
            Action::Trap => ActionName::Trap,
            Action::Kill => ActionName::Kill,
        }
    }

    /// Whether the call is made.
    #[must_use]
    pub fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
