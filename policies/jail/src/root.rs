//! An empty root: in its mount namespace the sentry sees one empty, read-only directory.

use std::io;

use nix::mount::{mount, umount2, MntFlags, MsFlags};
use nix::unistd::{chdir, pivot_root};

/// Moves the process to an empty file system and forgets the host's (pivot_root(2), "pivot_root(".", ".")").
pub(crate) fn become_empty() -> io::Result<()> {
    const NONE: Option<&str> = None;
    // Nothing that is mounted here may show outside.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory serves as the place; these are there on every Linux.
    let place = ["/proc", "/tmp", "/dev"].into_iter().find(|place| {
        mount(Some("none"), *place, Some("tmpfs"), flags, Some("size=0,nr_inodes=1,mode=0555")).is_ok()
    });
    let place = place.ok_or_else(|| io::Error::other("no place for an empty root"))?;
    chdir(place)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount(NONE, "/", NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags, NONE)?;
    Ok(())
}
