//! `runsc`: runs a program on a kernel of its own. This binary is the launcher, and, started again by itself under
//! hidden names, the gofer and the sentry.

#![forbid(unsafe_code)]

mod cli;
mod configure;
mod doctor;
mod enforce;
mod environment;
mod failure;
mod launch;
mod log;
mod network;
mod paths;
mod policy;
mod roles;
mod scratch;
mod status;
mod supervise;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::Invocation;
use crate::failure::Failure;

fn main() -> ExitCode {
    log::panics_read_as_messages();
    let args: Vec<OsString> = std::env::args_os().collect();
    let run = || match args.get(1).and_then(|arg| arg.to_str()) {
        Some(launch::GOFER_ROLE) => roles::gofer(),
        Some(launch::SENTRY_ROLE) => roles::sentry(),
        Some(launch::BROKER_ROLE) => roles::broker(),
        _ => user_command(args),
    };
    let code = std::panic::catch_unwind(run).unwrap_or(failure::OUR_FAILURE);
    ExitCode::from(code)
}

fn user_command(args: Vec<OsString>) -> u8 {
    let result = match cli::parse(args) {
        Ok(Invocation::Do(options)) => launch::run(&options),
        Ok(Invocation::Policy(command)) => policy::run(&command),
        Ok(Invocation::Doctor { json }) => doctor::run(json),
        Ok(Invocation::Show(text)) => {
            log::print(&text);
            Ok(0)
        }
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(Failure::report)
}
