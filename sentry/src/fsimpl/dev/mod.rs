//! `/dev`: a tmpfs with the device nodes that programs expect, and the character devices behind the numbers (null(4),
//! random(4), full(4), tty(4)). Nothing here is a device of the host but the terminal that was donated to us.

mod memory;

use std::sync::{Arc, OnceLock};

use linux_abi::{Errno, Result};

use self::memory::Device;
use super::clock::make_dev;
use super::tmpfs::{Options, TmpFs, TmpInode};
use crate::vfs::inode::{Attrs, Inode, InodeRef, NewNode, Owner};
use crate::vfs::FileOps;

/// The terminal that `/dev/tty` is, with its number: the first donated standard stream that is one.
static TERMINAL: OnceLock<(u64, Arc<dyn FileOps>)> = OnceLock::new();

/// The first major number of the slaves of `/dev/pts`, each of which has 256 minor ones; there are 8 (pts(4)).
const PTS_MAJOR: u32 = 136;

/// Makes `/dev/tty` lead to this terminal. Called once at boot; without it, opening gives `ENXIO` (tty(4)). Gives the
/// name of its node where it has one, `/dev/pts/N` as on the host, so that ttyname(3) finds it.
pub fn set_terminal(dev: &TmpFs, ops: Arc<dyn FileOps>, attrs: &Attrs) -> Result<Option<Terminal>> {
    let set = TERMINAL.set((attrs.rdev, ops)).is_ok();
    let (major, minor) = (rustix::fs::major(attrs.rdev), rustix::fs::minor(attrs.rdev));
    let number = match major.checked_sub(PTS_MAJOR) {
        Some(block @ 0..=7) if minor < 256 => block << 8 | minor,
        _ => return Ok(None),
    };
    let dir = dev.tmp_root().lookup(b"pts")?;
    let name = number.to_string();
    let inode = match dir.lookup(name.as_bytes()) {
        Ok(inode) => inode,
        Err(Errno::ENOENT) if set => {
            let owner = Owner { uid: attrs.uid, gid: attrs.gid, perm: attrs.perm };
            dir.create(name.as_bytes(), &NewNode::Char(attrs.rdev), owner)?
        }
        // A second terminal of the caller's: there is one controlling terminal, and only that can be opened by name.
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(Terminal { inode, name: format!("/dev/pts/{name}") }))
}

/// A donated terminal's node.
pub struct Terminal {
    pub inode: InodeRef,
    pub name: String,
}

/// Opens a character device by number, wherever its node lies; `ENXIO` for numbers without a device.
pub fn open_char(rdev: u64, _flags: u32) -> Result<Arc<dyn FileOps>> {
    const DEVICES: [(u32, Device); 5] =
        [(3, Device::Null), (5, Device::Zero), (7, Device::Full), (8, Device::Random), (9, Device::Random)];
    if rdev == make_dev(5, 0) {
        return TERMINAL.get().map(|(_, t)| t.clone()).ok_or(Errno::ENXIO);
    }
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
