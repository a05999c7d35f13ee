//! `/dev`: a tmpfs with the device nodes that programs expect, and the character devices behind the numbers (null(4),
//! random(4), full(4), tty(4)). Nothing here is a device of the host but the terminal that was donated to us.

mod memory;

use std::sync::{Arc, OnceLock};

use linux_abi::{Errno, Result};

use self::memory::Device;
use super::clock::make_dev;
use super::tmpfs::{Options, TmpFs, TmpInode};
use crate::vfs::inode::{NewNode, Owner};
use crate::vfs::FileOps;

/// The terminal that `/dev/tty` is: the first donated standard stream that is one.
static TERMINAL: OnceLock<Arc<dyn FileOps>> = OnceLock::new();

/// Makes `/dev/tty` lead to this terminal. Called once at boot; without it, opening gives `ENXIO` (tty(4)).
pub fn set_terminal(ops: Arc<dyn FileOps>) {
    let _ = TERMINAL.set(ops);
}

/// Opens a character device by number, wherever its node lies; `ENXIO` for numbers without a device.
pub fn open_char(rdev: u64, _flags: u32) -> Result<Arc<dyn FileOps>> {
    const DEVICES: [(u32, Device); 5] =
        [(3, Device::Null), (5, Device::Zero), (7, Device::Full), (8, Device::Random), (9, Device::Random)];
    if rdev == make_dev(5, 0) {
        return TERMINAL.get().cloned().ok_or(Errno::ENXIO);
    }
    let found = DEVICES.iter().find(|(minor, _)| make_dev(1, *minor) == rdev);
    found.map(|(_, d)| Arc::new(*d) as Arc<dyn FileOps>).ok_or(Errno::ENXIO)
}

fn owned(perm: u32) -> Owner {
    Owner { uid: 0, gid: 0, perm }
}

fn node(dir: &Arc<TmpInode>, name: &str, major: u32, minor: u32) -> Result<()> {
    dir.create_tmp(name.as_bytes(), &NewNode::Char(make_dev(major, minor)), owned(0o666)).map(drop)
}

/// A fresh `/dev`. `shm` and `pts` are empty directories to mount on.
pub fn file_system() -> Result<Arc<TmpFs>> {
    let fs = TmpFs::new(Options { size: Some(64 << 20), inodes: 4096, owner: owned(0o755) })?;
    let root = fs.tmp_root();
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        node(root, name, 1, minor)?;
    }
    node(root, "tty", 5, 0)?;
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, text) in links {
        root.create_tmp(name.as_bytes(), &NewNode::Symlink(text.into()), owned(0o777))?;
    }
    root.create_tmp(b"pts", &NewNode::Dir, owned(0o755))?;
    root.create_tmp(b"shm", &NewNode::Dir, owned(0o1777))?;
    Ok(fs)
}
