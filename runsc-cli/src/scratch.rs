//! The directory of an overlay on disk: private, empty at every moment (its files have no names), removed at the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags};

use crate::failure::Failure;

/// How many names are tried.
const TRIES: u32 = 16;

/// A directory of ours in one of the user's.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The directory that it lies in.
    pub(crate) parent: OwnedFd,
    name: String,
    pub(crate) path: PathBuf,
}

impl Scratch {
    /// Makes one below `TMPDIR`, `/var/tmp` or `/tmp`, wherever files without a name can be made and run.
    pub(crate) fn make() -> Result<Scratch, Failure> {
        let asked = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let mut last = String::new();
        for dir in asked.into_iter().chain(["/var/tmp", "/tmp"].map(PathBuf::from)) {
            match make_in(&dir) {
                Ok(scratch) => return Ok(scratch),
                Err(why) => {
                    tracing::info!("no overlay on disk in {}: {why}", dir.display());
                    last = format!("{}: {why}", dir.display());
                }
            }
        }
        Err(Failure::new(format!("there is no place for an overlay on disk ({last})"))
            .hint("set TMPDIR to a directory on a file system with O_TMPFILE, or use --overlay memory"))
    }

    /// Removes it; called when nobody uses it any more.
    pub(crate) fn remove(self) {
        if let Err(error) = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
            tracing::debug!("{} stays behind: {error}", self.path.display());
        }
    }
}

fn make_in(dir: &Path) -> rustix::io::Result<Scratch> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(dir, flags, Mode::empty())?;
    // Programs are run from there.
    if rustix::fs::fstatvfs(&parent)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(rustix::io::Errno::ACCESS);
    }
    let mut name = String::new();
    for turn in 1..=TRIES {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        name = format!("runsc-{:016x}", u64::from_le_bytes(random));
        match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) if turn < TRIES => {}
            made => {
                made?;
                break;
            }
        }
    }
    let scratch = Scratch { parent, path: dir.join(&name), name };
    let tried = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(&scratch.path, tried, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(scratch),
        Err(error) => {
            scratch.remove();
            Err(error)
        }
    }
}
