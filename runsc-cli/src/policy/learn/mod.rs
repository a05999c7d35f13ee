//! `runsc policy learn`: runs a program in a sandbox that refuses no call, hears what it used, and writes (or adds to)
//! the smallest policy that would have let it through.
//!
//! The run is a process of its own, `runsc do` with a hidden option: it confines itself, while this one must still be
//! able to write the file afterwards.

mod document;
mod places;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{ArgAction, Args};
use nix::sys::signal::{SigSet, Signal};
use rustix::io::FdFlags;
use sentry::learnt::Learnt;

use crate::failure::{Failure, While};
use crate::log;

/// What one run can have to tell.
const LONGEST_REPORT: u64 = 64 << 20;
/// The longest policy file that is added to.
const LONGEST_FILE: u64 = 1 << 20;

/// The options of `runsc policy learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnOptions {
    /// The policy file to write, or to add to where there is one
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What holds but for the calls: a policy file, or a shipped profile; the new policy extends a profile
    #[arg(long, value_name = "FILE|NAME", default_value = "untrusted")]
    pub(crate) policy: OsString,
    /// Say less: errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; repeat for more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Learns; gives the command's exit code.
pub(crate) fn run(options: &LearnOptions) -> Result<u8, Failure> {
    let verbosity = if options.quiet { -1 } else { i8::try_from(options.verbose).unwrap_or(i8::MAX) };
    log::start(sentry::config::Log { verbosity, json: false });
    let old = existing(&options.output)?;
    let mut document = document::Document::read(old.as_deref().unwrap_or_default())
        .while_doing(&format!("cannot add to `{}`", options.output.display()))?;

    let (learnt, code) = observe(options)?;
    let Some(learnt) = learnt else {
        log::error("nothing was learnt: the run did not come to its end");
        return Ok(code);
    };
    if learnt.places_cut {
        log::notice("more directories were used than are remembered; the policy may lack some");
    }
    let places = places::Places::new(&learnt.places, &options.command);
    let base = crate::enforce::source::is_shipped(&options.policy.to_string_lossy())
        .then(|| options.policy.to_string_lossy().into_owned());
    let news = document.learn(&learnt, &places, &options.command, base.as_deref());
    let text = document.text();
    policies::load_text(
        &options.output.display().to_string(),
        &text,
        policies::read::Format::Toml,
        &policies::Context::of_caller(),
    )
    .while_doing("what was learnt makes no policy, which is a bug in runsc")?;
    write(&options.output, &text).while_doing(&format!("cannot write `{}`", options.output.display()))?;
    let verb = if old.is_some() { "added to" } else { "learnt, written to" };
    log::notice(&format!("{news} {verb} {}", options.output.display()));
    Ok(code)
}

/// The file's present text, where there is one.
fn existing(path: &Path) -> Result<Option<String>, Failure> {
    let doing = format!("cannot read `{}`", path.display());
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => {
            file.take(LONGEST_FILE).read_to_string(&mut text).while_doing(&doing)?;
            Ok(Some(text).filter(|text| !text.trim().is_empty()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).while_doing(&doing),
    }
}

/// Runs the command, and hears what it used; `None` where the run never came to its end.
fn observe(options: &LearnOptions) -> Result<(Option<Learnt>, u8), Failure> {
    const DOING: &str = "cannot start the run";
    let (hear, tell) = std::io::pipe().while_doing(DOING)?;
    // A key of the terminal is for the command; what was learnt until then is worth keeping. (The child starts with
    // nothing blocked.)
    let mut keys = SigSet::empty();
    keys.add(Signal::SIGINT);
    keys.add(Signal::SIGQUIT);
    keys.thread_block().while_doing(DOING)?;

    let mut command = Command::new("/proc/self/exe");
    command.arg("do").arg("--policy").arg(&options.policy);
    command.arg("--learn-fd").arg(tell.as_raw_fd().to_string());
    if options.quiet {
        command.arg("-q");
    }
    command.args(std::iter::repeat_n("-v", usize::from(options.verbose)));
    command.arg("--").args(&options.command);
    rustix::io::fcntl_setfd(&tell, FdFlags::empty()).while_doing(DOING)?;
    let mut child = command.spawn().while_doing(DOING)?;
    drop(tell);

    let mut report = Vec::new();
    let heard = hear.take(LONGEST_REPORT).read_to_end(&mut report);
    let status = child.wait().while_doing("the run was lost")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let code = u8::try_from(code).unwrap_or(crate::failure::OUR_FAILURE);
    let learnt = heard.ok().and_then(|_| serde_json::from_slice(&report).ok());
    Ok((learnt, code))
}

/// The whole file or, if anything goes wrong, the old one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
