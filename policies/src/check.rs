//! What can be read and is probably not meant so: rules that never decide, hidden paths that can be made anew, policies
//! wider than what they extend.

mod shadow;
mod wider;

use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::load::Loaded;
use crate::model::{MountMode, Policy};

/// All warnings about a policy, those of reading it among them, in the order of its files.
#[must_use]
pub fn check(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut found = loaded.warnings.clone();
    found.extend(shadow::rules(loaded));
    found.extend(hidden_below_writable(loaded, &loaded.policy));
    for base in loaded.extends() {
        found.extend(wider::than(loaded, &base));
    }
    found.dedup();
    found
}

/// What is hidden below a writable mount does not exist inside, so the program may make it, for real.
fn hidden_below_writable(loaded: &Loaded, policy: &Policy) -> Vec<Diagnostic> {
    /// Each is compared with each.
    const COMPARED: usize = 1000;
    let writable = policy.files.mounts.iter().filter(|mount| mount.mode.value == MountMode::Rw);
    let mut found = Vec::new();
    for mount in writable.take(COMPARED) {
        let Some(source) = &mount.source else { continue };
        let below = |path: &Path| path.starts_with(&source.path) || path.starts_with(&mount.at.value);
        let hidden: Vec<_> =
            policy.files.hide.iter().take(COMPARED).filter(|hidden| below(&hidden.path)).collect();
        let Some(first) = hidden.first() else { continue };
        let others = match hidden.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let what = format!(
            "`{}`{others} is hidden, and below this writable mount: the program can put another file there",
            first.text
        );
        let found_here = Diagnostic::warning(loaded.sources.place(&mount.origin), what);
        found.push(found_here.hint("mount the directories beside it instead"));
    }
    found
}
