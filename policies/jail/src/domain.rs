//! Landlock: which files a process may reach by name, and whom it may signal.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope as LandlockScope, ABI,
};

/// The newest interface whose rights we name; older kernels take what they know of it.
const NEWEST: ABI = ABI::V6;

/// What a domain cuts off beside files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Files and TCP; the launcher still signals its children, which stand outside of its domain.
    FilesOnly,
    /// Also signals and abstract sockets of processes outside of the domain.
    FilesAndSignals,
}

/// No file by name at all.
pub(crate) fn deny_files(scope: Scope) -> io::Result<()> {
    let created = ruleset(scope)?.create().map_err(io::Error::other)?;
    check(created.restrict_self().map_err(io::Error::other)?)
}

/// Reading below each tree, changing below those marked writable, executing nowhere.
pub(crate) fn allow_trees(trees: &[(BorrowedFd<'_>, bool)]) -> io::Result<()> {
    let mut created = ruleset(Scope::FilesAndSignals)?.create().map_err(io::Error::other)?;
    for (tree, writable) in trees {
        let mut access = AccessFs::ReadFile | AccessFs::ReadDir;
        if *writable {
            access = AccessFs::from_all(NEWEST) & !AccessFs::Execute & !AccessFs::IoctlDev;
        }
        if !is_directory(*tree)? {
            access &= AccessFs::from_file(NEWEST);
        }
        created = created.add_rule(PathBeneath::new(tree, access)).map_err(io::Error::other)?;
    }
    check(created.restrict_self().map_err(io::Error::other)?)
}

fn ruleset(scope: Scope) -> io::Result<Ruleset> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .map_err(io::Error::other)?;
    match scope {
        Scope::FilesOnly => Ok(ruleset),
        Scope::FilesAndSignals => ruleset.scope(LandlockScope::from_all(NEWEST)).map_err(io::Error::other),
    }
}

fn check(status: RestrictionStatus) -> io::Result<()> {
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(io::Error::other("Landlock was promised, and did nothing")),
    }
}

fn is_directory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
}
