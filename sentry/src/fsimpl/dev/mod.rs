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

/// The donated terminal, with its number: the first standard stream that is one.
static TERMINAL: OnceLock<(u64, Arc<dyn FileOps>)> = OnceLock::new();

/// Makes the donated terminal the one that `/dev/tty` leads to for whoever has it as controlling terminal; `false` where
/// another came first. Called once at boot.
pub fn set_terminal(ops: Arc<dyn FileOps>, rdev: u64) -> bool {
    TERMINAL.get_or_init(|| (rdev, ops)).0 == rdev
}

/// The donated terminal, opened; `ENXIO` where there is none (tty(4)).
pub fn terminal() -> Result<Arc<dyn FileOps>> {
    TERMINAL.get().map(|(_, t)| t.clone()).ok_or(Errno::ENXIO)
}

/// `/dev/tty` and `/dev/ptmx`, which need to know who opens them.
pub const TTY: u64 = make_dev(5, 0);
pub const PTMX: u64 = make_dev(5, 2);

/// Opens a character device by number, wherever its node lies; `ENXIO` for numbers without a device.
pub fn open_char(rdev: u64, _flags: u32) -> Result<Arc<dyn FileOps>> {
    const DEVICES: [(u32, Device); 5] =
        [(3, Device::Null), (5, Device::Zero), (7, Device::Full), (8, Device::Random), (9, Device::Random)];
    if let Some((_, terminal)) = TERMINAL.get().filter(|(number, _)| *number == rdev) {
        return Ok(terminal.clone());
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
    node(root, "ptmx", 5, 2)?;
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
