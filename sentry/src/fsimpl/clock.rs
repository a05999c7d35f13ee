//! Time stamps and numbers that the in-memory file systems share.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::vfs::inode::FileTime;
use crate::vfs::{path_text, VfsPath};

/// The time that goes into inodes: the coarse clock, as Linux does (inode(7)).
pub fn now() -> FileTime {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    FileTime { sec: t.tv_sec, nsec: t.tv_nsec as u32 }
}

/// A device number of a file system without a device: major 0, a minor of its own (`get_anon_bdev` of Linux).
pub fn anonymous_dev() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(64);
    make_dev(0, NEXT.fetch_add(1, Ordering::Relaxed) as u32)
}

/// `makedev(3)`.
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xfff) << 8 | (minor & 0xff) | (minor & 0xffff_ff00) << 12 | (major & 0xffff_f000) << 32
}

/// The path of a place from the root of everything, as `/proc/PID/maps` shows it; empty where there is no place.
pub fn full_path(place: Option<&VfsPath>) -> String {
    let Some(place) = place else { return String::new() };
    // One that was opened again through /proc/PID/fd has no place, but a name.
    if place.is_detached() {
        return String::from_utf8_lossy(&place.dentry.name()).into_owned();
    }
    let mut root = place.clone();
    loop {
        let up = root.up();
        if up.same(&root) {
            return String::from_utf8_lossy(&path_text(place, &root)).into_owned();
        }
        root = up;
    }
}
