//! Where the policy of a run comes from.

use std::ffi::OsStr;
use std::path::Path;

use policies::diagnostic::{Diagnostic, Place};
use policies::foreign::Options;
use policies::model::{Origin, Policy};
use policies::{profiles, Context};

use super::tip::Dialect;
use crate::failure::Failure;
use crate::log;

/// The longest line that is shown.
const WIDEST_LINE: usize = 120;
/// A longer policy file is not looked into again.
const LONGEST_FILE: u64 = 4 << 20;

/// The policy of this name: a shipped profile, or a file, foreign ones too; and what it is written in. What can be said
/// against it, is.
pub(crate) fn load(name: &OsStr) -> Result<(Policy, Dialect), Failure> {
    let loaded = policies::load_any(name, &Context::of_caller(), &Options::default())
        .map_err(|errors| Failure::new(errors.to_string()))?;
    for warning in &loaded.warnings {
        log::notice(&warning.to_string());
    }
    let shown = name.to_string_lossy();
    let dialect = loaded.sources.text(&shown).map_or(Dialect::Toml, |text| Dialect::of(&shown, text));
    Ok((loaded.policy, dialect))
}

/// Whether a shipped profile has this name.
pub(crate) fn is_shipped(name: &str) -> bool {
    profiles::find(name).is_some()
}

/// What is wrong at a place of a policy that could be read: the place, its line and a caret.
pub(crate) fn diagnostic(origin: &Origin, what: &str) -> String {
    let mut place = Place::bare(origin.clone());
    if let Some(line) = line(origin) {
        place.caret = origin.column.saturating_sub(1);
        place.line = line;
    }
    Diagnostic::error(place, what).to_string()
}

/// The line of an origin, where it can be read again and is not too long.
fn line(origin: &Origin) -> Option<String> {
    let text = match profiles::find(&origin.file) {
        Some(profile) => profile.text.to_owned(),
        None => {
            let path = Path::new(&*origin.file);
            // A pipe has been read already.
            let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            (metadata.len() <= LONGEST_FILE).then(|| std::fs::read_to_string(path).ok()).flatten()?
        }
    };
    let at = usize::try_from(origin.line).ok()?.checked_sub(1)?;
    text.lines().nth(at).filter(|line| line.chars().count() <= WIDEST_LINE).map(str::to_owned)
}
