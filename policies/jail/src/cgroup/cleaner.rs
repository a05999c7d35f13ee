//! Removes a sandbox's control groups once it is over. A process of its own, since the launcher gives up the right to
//! touch files, and may be killed: the cleaner waits for the end of a pipe that only the launcher holds.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landlock::{
    Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, ABI,
};
use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{pipe2, unlinkat, Pid, UnlinkatFlags};

use crate::spawn::raw_clone;
use crate::{fds, limits, privileges, Mismatch, Role};

/// How long it tries: guests die when the launcher does, but not at the same moment.
const TRIES: u32 = 2000;
/// The launcher waits for us, so the first tries are close together.
const EARLY: u32 = 40;
const SHORT: Duration = Duration::from_micros(500);
const PAUSE: Duration = Duration::from_millis(5);

/// The cleaner, which acts when this is finished or dropped.
#[derive(Debug)]
pub struct Cleaner {
    pid: Pid,
    alive: Option<OwnedFd>,
}

impl Cleaner {
    /// Starts it for these directories.
    pub(super) fn start(dirs: &[PathBuf]) -> io::Result<Cleaner> {
        let (wait, alive) = pipe2(OFlag::O_CLOEXEC)?;
        let places = dirs.iter().map(|dir| place(dir)).collect::<io::Result<Vec<_>>>()?;
        // SAFETY: the launcher has one thread, so the child may go on as it is, in a copy of all memory.
        let pid = unsafe { raw_clone(0) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            let done = clean(&wait, alive, &places);
            // SAFETY: ends the process without running what is the launcher's to run.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        Ok(Cleaner { pid: Pid::from_raw(pid), alive: Some(alive) })
    }

    /// Its process id: a child of the launcher that is not to be killed.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        drop(self.alive.take());
        // Somebody else may have taken its end already.
        while waitpid(self.pid, None) == Err(nix::errno::Errno::EINTR) {}
    }
}

type Directory = (OwnedFd, CString);

fn place(dir: &Path) -> io::Result<Directory> {
    let (parent, name) = dir.parent().zip(dir.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let parent = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok((parent, CString::new(name.as_bytes())?))
}

fn clean(wait: &OwnedFd, alive: OwnedFd, places: &[Directory]) -> io::Result<()> {
    drop(alive);
    confine(wait, places)?;
    let mut byte = [0u8; 1];
    while nix::unistd::read(wait, &mut byte) == Err(nix::errno::Errno::EINTR) {}
    let mut left: Vec<&Directory> = places.iter().collect();
    for tried in 0..TRIES {
        let gone = |result| !matches!(result, Err(nix::errno::Errno::EBUSY));
        left.retain(|(parent, name)| !gone(unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)));
        if left.is_empty() {
            break;
        }
        std::thread::sleep(if tried < EARLY { SHORT } else { PAUSE });
    }
    Ok(())
}

/// It removes directories below these parents, and can do nothing else.
fn confine(wait: &OwnedFd, places: &[Directory]) -> io::Result<()> {
    let _ = nix::unistd::setsid();
    crate::set_process_name("runsc-cleaner");
    let mut keep = vec![wait.as_raw_fd()];
    keep.extend(places.iter().map(|(parent, _)| parent.as_raw_fd()));
    fds::close_all_but(&keep)?;
    // The caller's pipes end with the sandbox, not with us.
    for stream in 0..3 {
        // SAFETY: nothing in this process uses the standard streams from here on.
        unsafe { libc::close(stream) };
    }
    nix::sys::prctl::set_no_new_privs()?;
    // The top directory of a hierarchy is writable for nobody but by this capability.
    privileges::keep_only(&[caps::Capability::CAP_DAC_OVERRIDE])?;
    limits::no_core_dump()?;
    let remove = AccessFs::RemoveDir;
    let mut domain = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.create())
        .map_err(io::Error::other)?;
    for (parent, _) in places {
        domain = domain.add_rule(PathBeneath::new(parent.as_fd(), remove)).map_err(io::Error::other)?;
    }
    domain.restrict_self().map_err(io::Error::other)?;
    crate::seal(Role::Cleaner, Mismatch::Kill)
}
