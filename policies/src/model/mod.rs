//! A whole policy as types.
//!
//! [`Policy`] is both what one file says and what a chain of files comes to: whatever is not said is absent, and the
//! accessors know the defaults. Each value carries its [`Origin`], so that a denial, `policy show` and `policy explain`
//! can name the line that decided. `crate::load` makes policies from files and merges them; nothing here reads text.

mod action;
mod condition;
mod sections;
mod syscalls;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use action::{Action, ActionName};
pub use condition::{Condition, Operator, Width};
pub use sections::{
    Cache, Ci, Destination, DestinationHost, Env, FailOn, Files, HostPath, Limits, Mount, MountMode, Network,
    NetworkMode, Overlay, Process, Publish,
};
pub use syscalls::{CallName, GroupEntry, Rule, Syscalls};

/// A policy: one file's, or, once loaded, everything that its chain of files comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What it is for, in a line.
    pub description: Option<Located<String>>,
    /// The files that it came through: the one that was asked for first, then what it extends, in order of precedence.
    pub sources: Vec<Arc<str>>,
    pub syscalls: Syscalls,
    pub files: Files,
    pub network: Network,
    pub limits: Limits,
    pub env: Env,
    pub process: Process,
    pub ci: Ci,
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file as it was named; a shipped profile is its bare name.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Located<T> {
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A closed set of words in a file.
pub trait Word: Copy + PartialEq + 'static {
    /// Each word and what it stands for.
    const WORDS: &'static [(&'static str, Self)];

    /// The word in a file.
    #[must_use]
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| *word)
    }
}
