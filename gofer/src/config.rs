//! What the gofer is started with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The trees to expose; the sentry knows each by its index here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoferConfig {
    pub trees: Vec<TreeConfig>,
    /// A private directory for files without a name, which hold what an overlay on disk keeps.
    #[serde(default)]
    pub scratch: Option<PathBuf>,
}

/// One exposed tree. All paths are absolute paths of the host, resolved by the launcher (no links, no `..`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeConfig {
    /// A directory, or a single file.
    pub source: PathBuf,
    /// Whether the sentry may change anything in it.
    #[serde(default)]
    pub writable: bool,
    /// Paths that do not exist for the sentry; neither do the files that they name now under other names (hard
    /// links, bind mounts).
    #[serde(default)]
    pub hide: Vec<PathBuf>,
    /// Directories that are shown empty: the host's `/proc`, `/sys`, `/dev`, over which the sentry mounts its own.
    #[serde(default)]
    pub mask: Vec<PathBuf>,
}
