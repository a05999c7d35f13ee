//! `jail`: confines one of our own processes, told as a straight story.
//!
//! The launcher [`spawn`]s gofer and sentry, the sentry in as many namespaces as the machine grants. Each process
//! then confines itself in two steps: `enter_*` gives up what it will never need (descriptors, root, identity,
//! capabilities, file system), and [`seal`] installs its seccomp filter once it has made what the filter forbids to
//! make. Which layers a machine offers is found out once, by the launcher ([`Layers`]); a layer that is promised
//! there and then fails is an error, never a silent downgrade.
//!
//! One of the few crates with `unsafe`: clone(2), exec and raw descriptors live here so that the launcher, the gofer
//! and the sentry do without.

pub mod cgroup;
mod domain;
pub mod fds;
pub mod inherited;
mod layers;
mod limits;
mod privileges;
pub mod probe;
mod root;
mod seal;
pub mod spawn;

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

pub use domain::Reach;
pub use layers::{Layer, Layers, Missing};
pub use policies::{Mismatch, OwnProcess as Role};
pub use seal::seal;

/// The unprivileged identity that the sentry of a privileged caller takes: nobody and nogroup.
pub const NOBODY: u32 = 65534;

/// The name of a process in `ps`, at most 15 bytes (prctl(2), `PR_SET_NAME`).
pub fn set_process_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Keeps the allocator to one heap. With more, glibc counts the processors when threads first meet in it, and asks for
/// `vm.overcommit_memory` before it gives memory back: both by opening a file, which a sealed process must not
/// (mallopt(3), `M_ARENA_MAX`).
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and touches only the allocator's own settings; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Before anything else in the launcher: its children are reaped here though their parents die, nothing executed
/// from here on gains rights, and no descriptor that the caller left open travels further by accident.
pub fn begin_launcher() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    fds::close_on_exec_from(3)?;
    Ok(())
}

/// The launcher, once both children run: it opens no file any more and has no rights but to end its children.
///
/// `keep_kill`: a root launcher without a user namespace needs `CAP_KILL` for a sentry that has become nobody (with
/// one, it owns the namespace and needs no capability). `removable`: a directory in which it still removes an empty
/// directory at the end.
pub fn enter_launcher(layers: &Layers, keep_kill: bool, removable: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let keep: &[caps::Capability] = if keep_kill { &[caps::Capability::CAP_KILL] } else { &[] };
    privileges::keep_only(keep)?;
    if layers.holds(Layer::Landlock) {
        match removable {
            Some(dir) => domain::deny_files_but(domain::Scope::FilesOnly, dir)?,
            None => domain::deny_files(domain::Scope::FilesOnly)?,
        }
    }
    Ok(())
}

/// The gofer, once its trees are open: it reaches files below `trees` only, and changes them only where writable.
pub fn enter_gofer(layers: &Layers, trees: &[(BorrowedFd<'_>, Reach)]) -> io::Result<()> {
    use caps::Capability::{CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID};
    nix::sys::prctl::set_no_new_privs()?;
    let writable = trees.iter().any(|(_, reach)| *reach == Reach::Change);
    // Only root has any to keep: what an ordinary user lacks is not there to be kept.
    let keep: &[caps::Capability] = if writable {
        &[CAP_DAC_READ_SEARCH, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID]
    } else {
        &[CAP_DAC_READ_SEARCH]
    };
    privileges::keep_only(keep)?;
    limits::no_core_dump()?;
    if layers.holds(Layer::Landlock) {
        domain::allow_trees(trees)?;
    }
    die_with_parent()
}

/// The net broker, once it has read the host's files: no file, no capability; it keeps the caller's network.
pub fn enter_broker(layers: &Layers) -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    privileges::keep_only(&[])?;
    limits::no_core_dump()?;
    if layers.holds(Layer::Landlock) {
        domain::deny_files(domain::Scope::AllButTcp)?;
    }
    die_with_parent()
}

/// The sentry, before it makes the zygote: descriptors, root, identity, capabilities, Landlock. The zygote and every
/// stub inherit all of this, and share the Landlock domain, without which the sentry could not reach their memory.
///
/// `keep` lists the descriptors that stay, beside the standard streams.
pub fn enter_sentry(layers: &Layers, keep: &[RawFd]) -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    fds::close_all_but(keep)?;
    if layers.holds(Layer::MountNamespace) {
        root::become_empty()?;
    }
    privileges::drop_bounding();
    if layers.holds(Layer::ForeignIdentity) {
        privileges::become_nobody()?;
    }
    privileges::keep_only(&[])?;
    limits::no_core_dump()?;
    if layers.holds(Layer::Landlock) {
        domain::deny_files(domain::Scope::FilesAndSignals)?;
    }
    // Without a process namespace nobody else would end the stubs: there the sentry notices the end of its control
    // socket and kills them itself.
    if layers.holds(Layer::PidNamespace) {
        die_with_parent()?;
    }
    Ok(())
}

/// Set last, since a change of identity clears it (prctl(2), `PR_SET_PDEATHSIG`).
fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
}
