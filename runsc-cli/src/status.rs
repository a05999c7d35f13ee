//! The end of a run, told to the caller: exit code, and the line of `--status-fd`.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use sentry::control::{Kind, Outcome};

/// The exit code of an outcome.
pub(crate) fn exit_code(outcome: &Outcome) -> u8 {
    let code = match outcome.outcome {
        Kind::Signaled => 128 + outcome.code,
        Kind::Exited | Kind::Timeout | Kind::SetupFailed | Kind::Violation => outcome.code,
    };
    // A wait status has eight bits of code; ours are made to fit.
    (code & 0xff) as u8
}

/// Writes the one line. Nobody is left to hear that it failed.
pub(crate) fn write_line(fd: OwnedFd, outcome: &Outcome) {
    let line = serde_json::json!({ "outcome": outcome.outcome, "code": outcome.code });
    let _ = writeln!(File::from(fd), "{line}");
}

#[cfg(test)]
mod tests {
    use super::exit_code;
    use sentry::control::Outcome;

    #[test]
    fn signals_count_from_128() {
        assert_eq!(exit_code(&Outcome::signaled(11)), 139);
        assert_eq!(exit_code(&Outcome::exited(7)), 7);
        assert_eq!(exit_code(&Outcome::cannot_run(127, "gone")), 127);
        assert_eq!(exit_code(&Outcome::setup_failed("no")), 125);
    }
}
