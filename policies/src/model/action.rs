//! What happens to a call.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Word;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionName {
    // From the mildest to the strictest: the order decides between groups.
    /// The call is made.
    Allow,
    /// The call is made, and reported.
    Log,
    /// The call fails with an error.
    Errno,
    /// The thread gets SIGSYS, which it may handle.
    Trap,
    /// The process ends with SIGSYS.
    Kill,
}

impl Word for ActionName {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("allow", ActionName::Allow),
        ("log", ActionName::Log),
        ("errno", ActionName::Errno),
        ("trap", ActionName::Trap),
        ("kill", ActionName::Kill),
    ];
}

impl ActionName {
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
