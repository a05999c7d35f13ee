//! Capabilities and identity.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid};

use crate::NOBODY;

/// Gives up all capabilities but these, of those that the process has.
pub(crate) fn keep_only(keep: &[Capability]) -> io::Result<()> {
    drop_bounding_but(keep);
    let held = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = keep.iter().copied().filter(|cap| held.contains(cap)).collect();
    // A kernel without ambient capabilities (before 4.3) has none to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)?;
    Ok(())
}

/// The bounding set is dropped while `CAP_SETPCAP` is still there. Who never had it cannot, and needs not: with
/// `no_new_privs` set no program that it executes gains anything from that set.
pub(crate) fn drop_bounding() {
    drop_bounding_but(&[]);
}

fn drop_bounding_but(keep: &[Capability]) {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        return;
    }
    for capability in caps::all() {
        if !keep.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
}

/// A sentry that root started has no use for root's identity, not even without capabilities: root owns most files.
pub(crate) fn become_nobody() -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    let gid = Gid::from_raw(NOBODY);
    nix::unistd::setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(NOBODY);
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}
