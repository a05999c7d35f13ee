//! Resource limits of our own processes.

use std::io;

use nix::sys::resource::{getrlimit, setrlimit, Resource};

/// No memory image of ours reaches a disk. The limit is 1, not 0: a `core_pattern` that is a pipe ignores 0 (core(5)).
pub(crate) fn no_core_dump() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    let limit = hard.min(1);
    Ok(setrlimit(Resource::RLIMIT_CORE, limit, limit)?)
}

/// Our own descriptors are not the guest's: the caller's soft limit does not bind us.
pub(crate) fn all_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        if soft < hard {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}
