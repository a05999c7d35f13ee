//! Reads one policy file: text to [`Layer`], with every mistake named where it stands.
//!
//! [`tree`] makes TOML and JSON one, [`reader`] takes values out of it, and the sections follow in files of their own.
//! Everything is bounded ([`limits`]): a policy may come from a repository that nobody looked at.

mod condition;
pub(crate) mod keys;
mod reader;
mod sections;
mod syscalls;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Source};
use crate::model::{Located, Policy};

use reader::Reader;
pub use sections::{destination, publish};
pub use tree::Format;

/// What can grow, and how far.
pub(crate) mod limits {
    /// Of one file, in bytes.
    pub(crate) const FILE: usize = 1 << 20;
    /// Of all files of one policy, in bytes.
    pub(crate) const ALL_FILES: usize = 4 << 20;
    /// Nested tables and lists.
    pub(crate) const DEPTH: usize = 12;
    /// Entries of one list.
    pub(crate) const LIST: usize = 10_000;
    /// Rules of one policy, over all its files.
    pub(crate) const RULES: usize = 10_000;
    /// Calls that the names of its rules stand for, over all its files: groups are long.
    pub(crate) const CALLS: usize = 200_000;
    /// Conditions of one rule: more than one on each argument is rare.
    pub(crate) const CONDITIONS: usize = 32;
    /// Bytes of one name or path.
    pub(crate) const TEXT: usize = 4096;
    /// Errors that are worth reading at once.
    pub(crate) const DIAGNOSTICS: usize = 20;
    /// Files of one policy.
    pub(crate) const FILES: usize = 64;
    /// Files that extend each other in a row.
    pub(crate) const CHAIN: usize = 16;
}

/// Where a policy is read: what its relative paths and `~` mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// What a shipped profile's relative paths start from; those of a file start from the file's directory.
    pub directory: PathBuf,
}

impl Context {
    /// As the caller sees it.
    #[must_use]
    pub fn of_caller() -> Self {
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { home: std::env::home_dir().filter(|home| home.is_absolute()), directory }
    }

    pub(crate) fn below(&self, directory: &Path) -> Self {
        Self { home: self.home.clone(), directory: directory.to_owned() }
    }
}

/// One file, read: not yet joined with what it extends.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) policy: Policy,
    pub(crate) extends: Vec<Extends>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// One entry of `extends`, with its place for what is wrong with the file behind it.
#[derive(Debug)]
pub(crate) struct Extends {
    pub(crate) name: Located<String>,
    pub(crate) place: crate::diagnostic::Place,
}

/// Reads a file's text.
pub(crate) fn layer(source: &Source, format: Format, context: &Context) -> Result<Layer, Vec<Diagnostic>> {
    if source.text.len() > limits::FILE {
        let what = format!("the file is larger than {} KiB", limits::FILE >> 10);
        return Err(vec![Diagnostic::error(source.place(&(0..0)), what)]);
    }
    let root = tree::parse(source, format)?;
    let mut reader = Reader::new(source, context);
    let (mut policy, extends) = sections::policy(&mut reader, &root);
    policy.sources = vec![source.name.clone()];
    let (errors, warnings) = reader.finish();
    if errors.is_empty() {
        Ok(Layer { policy, extends, warnings })
    } else {
        Err(errors)
    }
}
