//! `runsc policy show`.

use std::ffi::OsString;

use clap::Args;
use policies::document::Document;
use policies::write::{self, Comments};

use crate::failure::{Failure, While};
use crate::log;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A policy file, or a shipped profile by name
    #[arg(value_name = "FILE|NAME")]
    policy: OsString,
    /// As JSON, without the origins
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let policy = super::load(&options.policy)?.policy;
    if options.json {
        let document = serde_json::to_value(Document::from(&policy)).while_doing("the policy as JSON")?;
        super::print_json(&document);
        return Ok(());
    }
    let sources: Vec<_> = policy.sources.iter().map(|source| log::plain(source)).collect();
    log::print(&format!("# {}\n", sources.join(", which extends ")));
    log::print(&write::to_toml(&policy, Comments::Origins));
    Ok(())
}
