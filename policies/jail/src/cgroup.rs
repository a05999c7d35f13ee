//! A control group for the guests of one sandbox, so that the host itself holds them to a limit on memory that they
//! cannot get around (cgroups(7)). The launcher makes it while it still may; the zygote enters it; [`Cleaner`] removes
//! it, whoever dies first.
//!
//! The second version is looked at first: a new group goes below the nearest ancestor of our own that passes the memory
//! controller on and lets us make one, so that whatever holds us holds the guests too. Else the first version's memory
//! hierarchy is used, where a group may lie right below our own.

mod cleaner;
mod place;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{open, OFlag};
use nix::sys::stat::Mode;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::Pid;

pub use cleaner::Cleaner;
pub use place::{place, Place, Version};

use crate::spawn::raw_clone;

/// Names of groups begin like this; process id and start time of the launcher follow.
const PREFIX: &str = "runsc-";
/// What our own parts of a sandbox cost in its group, so that guests get what they were promised.
const OVERHEAD: u64 = 8 << 20;
/// The zygote and the pool of stubs, and stubs that are on their way.
const OVERHEAD_PIDS: u64 = 16;

/// What a group is to hold its guests to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub memory: Option<u64>,
    pub pids: Option<u64>,
}

/// A group that was made, entered for trial, and is empty again.
#[derive(Debug)]
pub struct Group {
    /// `cgroup.procs` of each directory: who writes 0 there enters.
    pub joins: Vec<OwnedFd>,
    /// What its processes use of memory, in bytes.
    pub usage: OwnedFd,
    /// Has a line `oom_kill N`: how many of its processes the host has killed for want of memory.
    pub kills: OwnedFd,
    /// The directory that it was made in.
    pub parent: PathBuf,
    pub cleaner: Cleaner,
}

/// Makes a group with these limits. The error says, for each version of control groups, why there can be none.
pub fn make(wanted: &Wanted) -> Result<Group, String> {
    make_in(Version::Two, wanted)
        .or_else(|two| make_in(Version::One, wanted).map_err(|one| format!("{two}; {one}")))
}

/// As [`make`], in the hierarchy of one version.
pub fn make_in(version: Version, wanted: &Wanted) -> Result<Group, String> {
    make_at(&place(version)?, wanted).map_err(|error| error.to_string())
}

fn make_at(place: &Place, wanted: &Wanted) -> io::Result<Group> {
    let name = format!("{PREFIX}{}-{}", std::process::id(), start_time(std::process::id()).unwrap_or(0));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for parent in &place.parents {
        sweep(parent);
        let dir = parent.join(&name);
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) => {
                last = said(parent, &error);
                continue;
            }
        }
        // From here on the cleaner removes it again, also when we fail.
        let mut dirs = vec![dir.clone()];
        if place.version == Version::One && wanted.pids.is_some() {
            dirs.extend(own_pids_group(&name));
        }
        let cleaner = Cleaner::start(&dirs)?;
        match limit(place.version, &dirs, wanted).and_then(|()| try_to_enter(&dirs)) {
            Ok(joins) => {
                let [usage, kills] = files(place.version)
                    .map(|name| open(&dir.join(name), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()));
                return Ok(Group { joins, usage: usage?, kills: kills?, parent: parent.clone(), cleaner });
            }
            Err(error) => {
                last = said(&dir, &error);
                drop(cleaner);
            }
        }
    }
    Err(last)
}

fn said(path: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// What is used, and who was killed for it.
fn files(version: Version) -> [&'static str; 2] {
    match version {
        Version::One => ["memory.usage_in_bytes", "memory.oom_control"],
        Version::Two => ["memory.current", "memory.events"],
    }
}

/// In the first version the number of processes has a hierarchy of its own. Only a second line of defence: the sentry
/// counts by itself.
fn own_pids_group(name: &str) -> Option<PathBuf> {
    let parent = place::first_version("pids").ok()?;
    sweep(&parent);
    let dir = parent.join(name);
    fs::create_dir(&dir).is_ok().then_some(dir)
}

fn limit(version: Version, dirs: &[PathBuf], wanted: &Wanted) -> io::Result<()> {
    let memory = wanted.memory.map(|bytes| bytes.saturating_add(OVERHEAD).to_string());
    let pids = wanted.pids.map(|n| n.saturating_mul(3).saturating_add(OVERHEAD_PIDS).to_string());
    let Some(dir) = dirs.first() else { return Ok(()) };
    if let Some(memory) = memory {
        match version {
            Version::One => {
                fs::write(dir.join("memory.limit_in_bytes"), &memory)?;
                // Without a count of swapped pages swapping is not limited, as on a kernel without swap.
                let _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), &memory);
            }
            Version::Two => {
                fs::write(dir.join("memory.max"), &memory)?;
                let _ = fs::write(dir.join("memory.swap.max"), "0");
            }
        }
    }
    if let Some(pids) = pids {
        for dir in dirs {
            let _ = fs::write(dir.join("pids.max"), &pids);
        }
    }
    Ok(())
}

/// Opens what the zygote will write to, and has a child of ours try: a group may exist that nobody may enter.
fn try_to_enter(dirs: &[PathBuf]) -> io::Result<Vec<OwnedFd>> {
    let open_one = |dir: &PathBuf| {
        open(&dir.join("cgroup.procs"), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
    };
    let joins = dirs.iter().map(open_one).collect::<io::Result<Vec<_>>>()?;
    // SAFETY: the child writes to descriptors of ours and ends; it allocates nothing.
    let pid = unsafe {
        let pid = raw_clone(0);
        if pid == 0 {
            let entered = joins.iter().all(|group| rustix::io::write(group, b"0") == Ok(1));
            libc::_exit(i32::from(!entered));
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match waitpid(Pid::from_raw(pid), None)? {
        WaitStatus::Exited(_, 0) => Ok(joins),
        _ => Err(io::Error::other("a process of ours cannot be put into it")),
    }
}

/// Removes groups whose launcher is gone (it was killed, and its cleaner too). One with processes in it stays.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split_once('-'));
        let Some((Ok(pid), Ok(started))) = owner.map(|(pid, at)| (pid.parse::<u32>(), at.parse::<u64>()))
        else {
            continue;
        };
        // The launcher may live in a process namespace that we do not see: only what has stood for a while is stale.
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age.as_secs() > 60));
        if old && start_time(pid) != Some(started) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// When a process was started, in ticks since boot (proc(5), `/proc/PID/stat`, field 22): with its id it is unique.
fn start_time(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
