//! `runsc policy`: writing and understanding policies. One file per sub-command.

mod check;
mod convert;
mod diff;
mod explain;
mod learn;
mod list;
mod show;

use std::ffi::OsStr;

use clap::Subcommand;
use policies::diagnostic::Diagnostics;
use policies::{Context, Loaded};

use crate::failure::Failure;
use crate::log;

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what is wrong with policy files, or probably not meant so
    Check(check::Options),
    /// Run a program with everything logged, and write the smallest policy that lets it through
    Learn(learn::LearnOptions),
    /// List the shipped profiles, the groups of calls, or the constants that conditions know
    List(list::Options),
    /// Print what a policy comes to with all that it extends, and where each line is from
    Show(show::Options),
    /// Say which rule decides a call, and where it was written
    Explain(explain::Options),
    /// Say what the second policy newly lets through and newly denies
    Diff(diff::Options),
    /// Read and write other tools' formats: OCI (Docker, Podman), seccompiler
    Convert(convert::Options),
    /// Print the JSON Schema of policy files, for editors
    Schema,
}

/// Runs a sub-command; gives the exit code.
pub(crate) fn run(command: &PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Check(options) => check::run(options),
        PolicyCommand::Learn(options) => learn::run(options),
        PolicyCommand::List(options) => {
            list::run(options);
            Ok(0)
        }
        PolicyCommand::Show(options) => show::run(options).map(|()| 0),
        PolicyCommand::Explain(options) => explain::run(options).map(|()| 0),
        PolicyCommand::Diff(options) => diff::run(options),
        PolicyCommand::Convert(options) => convert::run(options).map(|()| 0),
        PolicyCommand::Schema => {
            log::print(&format!("{:#}\n", policies::document::schema().as_value()));
            Ok(0)
        }
    }
}

/// A policy by file (of whatever format) or name; what is wrong with it ends the command.
fn load(name: &OsStr) -> Result<Loaded, Failure> {
    policies::load_any(name, &Context::of_caller(), &policies::foreign::Options::default())
        .map_err(|errors: Diagnostics| Failure::new(errors.to_string()))
}

/// Prints a value for scripts.
fn print_json(value: &serde_json::Value) {
    log::print(&format!("{value:#}\n"));
}
