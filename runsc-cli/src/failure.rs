//! What the user reads when we fail: what happened on the first line, what to do on the next.

use policies::model::Origin;

use crate::enforce::source;
use crate::log;

/// Our own failures: bad option, could not start, internal error.
pub(crate) const OUR_FAILURE: u8 = 125;

/// A failure of ours, not of the command.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { code: OUR_FAILURE, what: what.into(), hint: None }
    }

    /// Something in a policy: its place, the line and a caret below it.
    pub(crate) fn at(origin: &Origin, what: impl Into<String>) -> Failure {
        Failure::new(source::diagnostic(origin, &what.into()))
    }

    /// What the user can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error, and gives the exit code.
    pub(crate) fn report(self) -> u8 {
        log::error(&self.what);
        if let Some(hint) = &self.hint {
            log::error(hint);
        }
        self.code
    }
}

/// Turns any error into a failure that begins with what was being done.
pub(crate) trait While<T> {
    fn while_doing(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> While<T> for Result<T, E> {
    fn while_doing(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}
