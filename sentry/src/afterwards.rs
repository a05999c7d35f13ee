//! What is done with a run's changes once it is over: listed (`--diff`), packed (`--export`). No guest runs any more.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::control::{Control, Outcome, Report};
use crate::fsimpl::overlay::diff::Changes;
use crate::fsimpl::overlay::export::{Export, ExportError, Left};
use crate::fsimpl::overlay::OverlayFs;

/// An overlay and where it is mounted.
pub(crate) type Mounted = (Vec<u8>, Arc<OverlayFs>);

/// What is wanted.
pub(crate) struct Wanted {
    pub(crate) diff: bool,
    /// As JSON, not as text.
    pub(crate) json: bool,
    pub(crate) export: Option<OwnedFd>,
}

/// Does it; the outcome of the run, or that of what went wrong here.
pub(crate) fn tell_changes(
    wanted: Wanted,
    overlays: &[Mounted],
    control: &Control,
    outcome: Outcome,
) -> Outcome {
    let Wanted { diff, json, export } = wanted;
    if !diff && export.is_none() {
        return outcome;
    }
    if let Err(error) = control.send(&Report::Over) {
        tracing::debug!("the launcher could not be told of the end: {error}");
    }
    if diff {
        if let Err(error) = list(overlays, json) {
            return Outcome::setup_failed(format!("--diff: the changes cannot be listed: {error}"));
        }
    }
    match export.map(|to| pack(overlays, to)) {
        None => outcome,
        Some(Ok(left)) => {
            warn_of(left);
            outcome
        }
        Some(Err(error)) => Outcome::setup_failed(format!("--export: the archive is not complete: {error}")),
    }
}

fn list(overlays: &[Mounted], json: bool) -> Result<(), linux_abi::Errno> {
    let mut changes = Changes::default();
    for (at, overlay) in overlays {
        changes.add(at, overlay)?;
    }
    let mut out = io::BufWriter::new(io::stderr().lock());
    // Nobody is left to hear that nobody listens.
    if json {
        changes.json().iter().for_each(|line| drop(writeln!(out, "{line}")));
    } else {
        changes.text().iter().for_each(|line| drop(writeln!(out, "runsc: {line}")));
    }
    drop(out.flush());
    Ok(())
}

fn pack(overlays: &[Mounted], to: OwnedFd) -> Result<Left, ExportError> {
    let file = File::from(to);
    // It may have held something before; the launcher saw to it that it is a file of the caller's.
    file.set_len(0)?;
    let mut export = Export::new(BufWriter::with_capacity(1 << 20, &file));
    for (at, overlay) in overlays {
        export.add(at, overlay)?;
    }
    let (out, left) = export.finish()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(left)
}

fn warn_of(left: Left) {
    for (count, what) in [
        (left.sockets, "sockets, for which an archive has no form"),
        (left.reserved, "files whose names begin with `.wh.` and would read as deletions"),
        (left.too_deep, "files whose paths are too long"),
        (left.unreadable, "files of this machine that could not be read again (they are empty or missing)"),
    ] {
        if count > 0 {
            tracing::warn!("--export: the archive leaves out {count} {what}");
        }
    }
}
