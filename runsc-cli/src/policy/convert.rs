//! `runsc policy convert`: from and to other tools' formats.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use policies::foreign::{self, Written};
use policies::write::{self, Comments};
use policies::Context;
use serde_json::json;

use crate::failure::{Failure, While};
use crate::log;

/// What a policy can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A policy file of ours
    Toml,
    /// The same, as JSON
    Json,
    /// The OCI runtime's seccomp profile, as Docker and Podman take it
    Oci,
    /// The JSON of the crate seccompiler
    Seccompiler,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A policy in any of these formats, or a shipped profile by name
    #[arg(value_name = "FILE|NAME")]
    policy: OsString,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    to: Format,
    /// Where to (standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A capability that the program will have, for entries of an OCI profile that depend on it
    #[arg(long = "cap", value_name = "CAP")]
    capabilities: Vec<String>,
    /// Which filter of a file with several
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Print text and notes as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let known =
        foreign::Options { capabilities: options.capabilities.clone(), filter: options.filter.clone() };
    let loaded = policies::load_any(&options.policy, &Context::of_caller(), &known)
        .map_err(|errors| Failure::new(errors.to_string()))?;
    let mut notes: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let policy = &loaded.policy;
    let plain = |text| Written { text, notes: Vec::new() };
    let written = match options.to {
        Format::Toml => plain(write::to_toml(policy, Comments::None)),
        Format::Json => {
            let document = policies::document::Document::from(policy);
            plain(serde_json::to_string_pretty(&document).while_doing("the policy as JSON")? + "\n")
        }
        Format::Oci => foreign::to_oci(policy),
        Format::Seccompiler => foreign::to_seccompiler(policy, "main"),
    };
    notes.extend(written.notes);
    if options.json {
        super::print_json(&json!({ "text": written.text, "notes": notes }));
        return Ok(());
    }
    for note in &notes {
        log::error(note);
    }
    match &options.output {
        Some(path) => std::fs::write(path, written.text).while_doing(&format!("{}", path.display())),
        None => {
            log::print(&written.text);
            Ok(())
        }
    }
}
