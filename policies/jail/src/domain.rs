//! Landlock: which files a process may reach by name, and whom it may signal.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, RestrictionStatus, Ruleset,
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
    /// As that, but not TCP: for the process that is there for it.
    AllButTcp,
}

/// No file by name at all.
pub(crate) fn deny_files(scope: Scope) -> io::Result<()> {
    let created = ruleset(scope)?.create().map_err(io::Error::other)?;
    check(created.restrict_self().map_err(io::Error::other)?)
}

/// What a process may do below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Read,
    /// Also change.
    Change,
    /// Read and write files, but make, remove and list none by name.
    Scratch,
    /// Remove directories that are empty.
    RemoveDir,
}

impl Reach {
    fn access(self) -> BitFlags<AccessFs> {
        match self {
            Reach::Read => AccessFs::ReadFile | AccessFs::ReadDir,
            Reach::Change => AccessFs::from_all(NEWEST) & !AccessFs::Execute & !AccessFs::IoctlDev,
            // Whether a file may be cut is decided by who opens it.
            Reach::Scratch => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
            Reach::RemoveDir => AccessFs::RemoveDir.into(),
        }
    }
}

/// Nothing by name but the removal of empty directories in this one.
pub(crate) fn deny_files_but(scope: Scope, removable: BorrowedFd<'_>) -> io::Result<()> {
    let created = ruleset(scope)?.create().map_err(io::Error::other)?;
    let created =
        created.add_rule(PathBeneath::new(removable, Reach::RemoveDir.access())).map_err(io::Error::other)?;
    check(created.restrict_self().map_err(io::Error::other)?)
}

/// Below each tree what it is marked with; executing nowhere.
pub(crate) fn allow_trees(trees: &[(BorrowedFd<'_>, Reach)]) -> io::Result<()> {
    let mut created = ruleset(Scope::FilesAndSignals)?.create().map_err(io::Error::other)?;
    for (tree, reach) in trees {
        let mut access = reach.access();
        if !is_directory(*tree)? {
            access &= AccessFs::from_file(NEWEST);
        }
        created = created.add_rule(PathBeneath::new(tree, access)).map_err(io::Error::other)?;
    }
    check(created.restrict_self().map_err(io::Error::other)?)
}

fn ruleset(scope: Scope) -> io::Result<Ruleset> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(io::Error::other)?;
    if scope != Scope::AllButTcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(io::Error::other)?;
    }
    match scope {
        Scope::FilesOnly => Ok(ruleset),
        Scope::FilesAndSignals | Scope::AllButTcp => {
            ruleset.scope(LandlockScope::from_all(NEWEST)).map_err(io::Error::other)
        }
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
