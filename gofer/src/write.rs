//! Handlers of the requests that change something, in trees that the policy made writable.

use std::os::fd::{AsFd, OwnedFd};

use gofer_protocol::{Attr, FileKind, Made, NodeId, Owner, SetAttr, SetTime};
use linux_abi::Errno;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::host::{self, errno, FileId, Result};
use crate::read::open_flags;
use crate::state::State;

impl State {
    /// The directory may be changed, and `name` in it is neither hidden, masked, nor on the way to such a place.
    fn may_change(&mut self, dir: NodeId, name: &[u8]) -> Result<()> {
        if !self.tree(dir)?.writable {
            return Err(Errno::EROFS);
        }
        self.nodes.dir(dir)?;
        match self.rule_for(dir, name) {
            Ok(None) => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }

    /// As [`State::may_change`], for a name that must exist: what is hidden does not.
    fn may_remove(&mut self, dir: NodeId, name: &[u8]) -> Result<()> {
        self.may_change(dir, name)?;
        let attr = host::stat_at(self.nodes.opened(dir)?, name)?;
        if self.tree(dir)?.hidden.contains(&FileId::of(&attr)) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, node: NodeId, whole: bool) -> Result<()> {
        if !self.tree(node)?.writable {
            return Err(Errno::EROFS);
        }
        let dir = host::open_self(self.nodes.dir(node)?)?;
        if whole { rustix::fs::syncfs(&dir) } else { rustix::fs::fsync(&dir) }.map_err(errno)
    }

    pub(crate) fn create(
        &mut self,
        dir: NodeId,
        name: &[u8],
        mode: u32,
        flags: u32,
        owner: Owner,
    ) -> Result<(Made, OwnedFd)> {
        let flags = open_flags(flags)?;
        self.may_change(dir, name)?;
        let always = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let parent = self.nodes.opened(dir)?;
        let fd =
            rustix::fs::openat(parent, name, flags | always, Mode::from_raw_mode(mode)).map_err(errno)?;
        if let Err(e) = give_to(&fd, owner, mode) {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            return Err(e);
        }
        let attr = host::stat_fd(fd.as_fd())?;
        Ok((self.admit(dir, name, attr)?, fd))
    }

    pub(crate) fn mkdir(&mut self, dir: NodeId, name: &[u8], mode: u32, owner: Owner) -> Result<Made> {
        self.may_change(dir, name)?;
        let parent = self.nodes.opened(dir)?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)).map_err(errno)?;
        if let Err(e) = give_name_to(parent, name, owner) {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
            return Err(e);
        }
        self.lookup(dir, name)
    }

    pub(crate) fn symlink(&mut self, dir: NodeId, name: &[u8], target: &[u8], owner: Owner) -> Result<Made> {
        self.may_change(dir, name)?;
        let parent = self.nodes.opened(dir)?;
        rustix::fs::symlinkat(target, parent, name).map_err(errno)?;
        if let Err(e) = give_name_to(parent, name, owner) {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            return Err(e);
        }
        self.lookup(dir, name)
    }

    /// FIFOs and sockets' names only: a device node would be the host's device.
    pub(crate) fn mknod(&mut self, dir: NodeId, name: &[u8], mode: u32, owner: Owner) -> Result<Made> {
        self.may_change(dir, name)?;
        let kind = match FileKind::from_mode(mode) {
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            _ => return Err(Errno::EPERM),
        };
        let parent = self.nodes.opened(dir)?;
        rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode & 0o7777), 0).map_err(errno)?;
        if let Err(e) = give_name_to(parent, name, owner) {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            return Err(e);
        }
        self.lookup(dir, name)
    }

    pub(crate) fn link(&mut self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<Made> {
        self.may_change(dir, name)?;
        let source = self.nodes.get(node)?;
        // Never from one tree into another: what is read-only there must not become writable here.
        if source.tree != self.nodes.get(dir)?.tree {
            return Err(Errno::EXDEV);
        }
        let file = source.file;
        if file.kind() == FileKind::Directory {
            return Err(Errno::EPERM);
        }
        let (old_dir, old_name) = source.place.clone().ok_or(Errno::EPERM)?;
        self.stat(node)?;
        self.nodes.dir(old_dir)?;
        self.nodes.dir(dir)?;
        let (from, to) = (self.nodes.opened(old_dir)?, self.nodes.opened(dir)?);
        rustix::fs::linkat(from, &*old_name, to, name, AtFlags::empty()).map_err(errno)?;
        let attr = host::stat_at(to, name)?;
        if FileId::of(&attr) != file {
            // Another file took the old name between the check and the link.
            let _ = rustix::fs::unlinkat(to, name, AtFlags::empty());
            return Err(Errno::ESTALE);
        }
        self.admit(dir, name, attr)
    }

    pub(crate) fn unlink(&mut self, dir: NodeId, name: &[u8], flags: AtFlags) -> Result<()> {
        self.may_remove(dir, name)?;
        rustix::fs::unlinkat(self.nodes.opened(dir)?, name, flags).map_err(errno)?;
        self.nodes.vacate(dir, name);
        Ok(())
    }

    pub(crate) fn rename(
        &mut self,
        dir: NodeId,
        name: &[u8],
        new_dir: NodeId,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        let flags = RenameFlags::from_bits_retain(flags);
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::EINVAL);
        }
        if self.nodes.get(dir)?.tree != self.nodes.get(new_dir)?.tree {
            return Err(Errno::EXDEV);
        }
        self.may_remove(dir, name)?;
        match self.may_remove(new_dir, new_name) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        self.nodes.dir(dir)?;
        let (from, to) = (self.nodes.opened(dir)?, self.nodes.opened(new_dir)?);
        rustix::fs::renameat_with(from, name, to, new_name, flags).map_err(errno)?;
        let (here, there) = (self.nodes.child(dir, name), self.nodes.child(new_dir, new_name));
        if here.is_some() && here == there && dir == new_dir && name == new_name {
            return Ok(());
        }
        self.nodes.vacate(dir, name);
        self.nodes.vacate(new_dir, new_name);
        if let Some(node) = here {
            self.nodes.moved(node, new_dir, new_name);
        }
        if let (Some(node), true) = (there, flags.contains(RenameFlags::EXCHANGE)) {
            self.nodes.moved(node, dir, name);
        }
        Ok(())
    }

    pub(crate) fn set_attr(&mut self, node: NodeId, set: SetAttr) -> Result<Attr> {
        if !self.tree(node)?.writable {
            return Err(Errno::EROFS);
        }
        if let Some(size) = set.size {
            let (fd, _) = self.open_regular(node, OFlags::WRONLY)?;
            rustix::fs::ftruncate(&fd, size).map_err(errno)?;
        }
        let (path, _) = self.open_node(node, OFlags::PATH)?;
        // chown(2) clears the set-id bits, so the mode comes behind it.
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            rustix::fs::chownat(&path, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(errno)?;
        }
        if let Some(mode) = set.mode {
            let fd = self.open_for_mode(node)?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(errno)?;
        }
        if set.atime != SetTime::Omit || set.mtime != SetTime::Omit {
            let times =
                Timestamps { last_access: timespec(set.atime), last_modification: timespec(set.mtime) };
            rustix::fs::utimensat(&path, c"", &times, AtFlags::EMPTY_PATH).map_err(errno)?;
        }
        host::stat_fd(path.as_fd())
    }

    /// fchmod(2) wants a descriptor that is not `O_PATH`, and chmod by name would follow a link put there meanwhile.
    /// So a file that its owner may neither read nor write keeps its mode (`EACCES`), as does what opening would
    /// touch (devices, sockets).
    fn open_for_mode(&mut self, node: NodeId) -> Result<OwnedFd> {
        match self.nodes.get(node)?.file.kind() {
            FileKind::Regular | FileKind::Directory | FileKind::Fifo => {}
            FileKind::Symlink => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::EPERM),
        }
        match self.open_node(node, OFlags::RDONLY) {
            Ok((fd, _)) => Ok(fd),
            Err(Errno::EACCES) => Ok(self.open_node(node, OFlags::WRONLY)?.0),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn set_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let fd = self.open_for_xattr_change(node)?;
        rustix::fs::fsetxattr(&fd, name, value, flags).map_err(errno)
    }

    pub(crate) fn remove_xattr(&mut self, node: NodeId, name: &[u8]) -> Result<()> {
        let fd = self.open_for_xattr_change(node)?;
        rustix::fs::fremovexattr(&fd, name).map_err(errno)
    }

    fn open_for_xattr_change(&mut self, node: NodeId) -> Result<OwnedFd> {
        if !self.tree(node)?.writable {
            return Err(Errno::EROFS);
        }
        match self.nodes.get(node)?.file.kind() {
            FileKind::Regular | FileKind::Directory => self.open_for_mode(node),
            _ => Err(Errno::EPERM),
        }
    }

    fn open_regular(&mut self, node: NodeId, flags: OFlags) -> Result<(OwnedFd, Attr)> {
        match self.nodes.get(node)?.file.kind() {
            FileKind::Regular => self.open_node(node, flags),
            FileKind::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Gives a new file its owner, then its whole mode (a chown clears the set-id bits).
fn give_to(fd: &OwnedFd, owner: Owner, mode: u32) -> Result<()> {
    if owner == Owner::default() {
        return Ok(());
    }
    let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
    rustix::fs::fchown(fd, uid, gid).map_err(errno)?;
    if mode & 0o6000 != 0 {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(errno)?;
    }
    Ok(())
}

fn give_name_to(dir: std::os::fd::BorrowedFd<'_>, name: &[u8], owner: Owner) -> Result<()> {
    if owner == Owner::default() {
        return Ok(());
    }
    let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
    rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
}

fn timespec(t: SetTime) -> Timespec {
    match t {
        SetTime::Omit => Timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        SetTime::To(sec, nsec) => Timespec { tv_sec: sec, tv_nsec: i64::from(nsec) },
    }
}
