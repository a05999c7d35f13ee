//! Handlers of the requests that only look.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{
    Attr, Bytes, DirEntries, DirEntry, Entries, FileKind, Found, Looked, NodeId, Statfs, Step, WalkReply,
    Watch, Xattrs, MAX_LINK, MAX_MESSAGE, MAX_XATTR,
};
use linux_abi::Errno;
use rustix::fs::{OFlags, RawDir, SeekFrom};

use crate::host::{self, errno, Result};
use crate::state::State;

/// How many directories are kept open for listing.
const MAX_LISTINGS: usize = 8;
/// What one getdents64(2) may fill.
const LISTING_BUFFER: usize = 32 * 1024;
/// What of a message is left to the entries of a listing.
const LISTING_ROOM: usize = MAX_MESSAGE - 64;

/// Directories that are being listed, the most recent last.
#[derive(Debug, Default)]
pub struct Listings {
    open: Vec<(NodeId, OwnedFd)>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl State {
    pub(crate) fn walk(&mut self, node: NodeId, watch: Watch, names: &[&[u8]]) -> Result<WalkReply> {
        let mut reply = WalkReply { found: Vec::with_capacity(names.len()), ..WalkReply::default() };
        let mut dir = node;
        for name in names {
            // Watched first, then looked at, so that no change falls in between.
            let watch = self.watch(dir, watch);
            match reply.found.last_mut() {
                Some(step) => step.watch = watch,
                None => reply.watch = watch,
            }
            match self.lookup(dir, name) {
                Ok(made) => {
                    reply.found.push(Step { made, watch: 0 });
                    if made.attr.kind() == FileKind::Symlink {
                        reply.link = self.readlink(made.node).ok().map(|b| b.0);
                    }
                    if !made.attr.is_dir() {
                        break;
                    }
                    dir = made.node;
                }
                // The first directory itself is at fault: nothing was looked up.
                Err(e) if reply.found.is_empty() && matches!(e, Errno::EBADF | Errno::ESTALE) => {
                    return Err(e)
                }
                Err(e) => {
                    reply.stop = Some(e);
                    break;
                }
            }
        }
        Ok(reply)
    }

    pub(crate) fn look(
        &mut self,
        dir: NodeId,
        watch: Watch,
        xattrs: Xattrs,
        names: &[&[u8]],
    ) -> Result<Looked> {
        self.nodes.dir(dir)?;
        let watch = self.watch(dir, watch);
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(self.lookup(dir, name).map(|made| {
                let plain =
                    xattrs == Xattrs::Tell && self.list_xattr(made.node).is_ok_and(|l| l.0.is_empty());
                Found { made, plain }
            }));
        }
        Ok(Looked { watch, found })
    }

    pub(crate) fn stat(&mut self, node: NodeId) -> Result<Attr> {
        let file = self.nodes.get(node)?.file;
        let attr = match self.nodes.place(node)? {
            Some((dir, name)) => host::stat_at(dir, name).map_err(host::swapped)?,
            None => host::stat_fd(self.nodes.dir(node)?)?,
        };
        if host::FileId::of(&attr) == file {
            Ok(attr)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Opens a regular file for the sentry. No other kind is ever handed over: a directory would lead out of the
    /// tree, a device is the host's, a FIFO or socket leads to other programs.
    pub(crate) fn open(&mut self, node: NodeId, flags: u32) -> Result<(Attr, OwnedFd)> {
        let flags = open_flags(flags)?;
        match self.nodes.get(node)?.file.kind() {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Errno::EISDIR),
            FileKind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC);
        if writes && !self.tree(node)?.writable {
            return Err(Errno::EROFS);
        }
        // Truncated only once it is known to be the right file.
        let truncate = flags.contains(OFlags::TRUNC);
        let flags = flags - OFlags::TRUNC;
        let (fd, mut attr) = match self.open_node(node, flags) {
            // Only the owner may ask for O_NOATIME (open(2)).
            Err(Errno::EPERM) if flags.contains(OFlags::NOATIME) => {
                self.open_node(node, flags - OFlags::NOATIME)?
            }
            other => other?,
        };
        host::clear_nonblock(fd.as_fd(), flags)?;
        if truncate {
            rustix::fs::ftruncate(&fd, 0).map_err(errno)?;
            attr = host::stat_fd(fd.as_fd())?;
        }
        Ok((attr, fd))
    }

    /// Opens the file of a node, verified. The descriptor is non-blocking.
    pub(crate) fn open_node(&mut self, node: NodeId, flags: OFlags) -> Result<(OwnedFd, Attr)> {
        let file = self.nodes.get(node)?.file;
        match self.nodes.place(node)? {
            Some((dir, name)) => host::open_same(dir, name, &file, flags),
            None if flags.contains(OFlags::PATH) => {
                let fd = rustix::io::fcntl_dupfd_cloexec(self.nodes.dir(node)?, 0).map_err(errno)?;
                let attr = host::stat_fd(fd.as_fd())?;
                Ok((fd, attr))
            }
            None => {
                let fd = host::open_self(self.nodes.dir(node)?)?;
                let attr = host::stat_fd(fd.as_fd())?;
                Ok((fd, attr))
            }
        }
    }

    pub(crate) fn readlink(&mut self, node: NodeId) -> Result<Bytes> {
        if self.nodes.get(node)?.file.kind() != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        let (dir, name) = self.nodes.place(node)?.ok_or(Errno::EINVAL)?;
        let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|e| match errno(e) {
            Errno::EINVAL => Errno::ESTALE,
            e => host::swapped(e),
        })?;
        if target.as_bytes().is_empty() || target.as_bytes().len() > MAX_LINK {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(Bytes(target.into_bytes()))
    }

    pub(crate) fn statfs(&mut self, node: NodeId) -> Result<Statfs> {
        let is_dir = self.nodes.get(node)?.file.kind() == FileKind::Directory;
        let fd = if is_dir {
            self.nodes.dir(node)?
        } else {
            // A mount point that is a single file says what its directory says; rare, and harmless.
            self.nodes.place(node)?.ok_or(Errno::ESTALE)?.0
        };
        let s = rustix::fs::fstatfs(fd).map_err(errno)?;
        Ok(Statfs {
            kind: s.f_type as u64,
            bsize: s.f_bsize as u64,
            frsize: s.f_frsize as u64,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            namelen: s.f_namelen as u64,
            flags: s.f_flags as u64,
        })
    }

    pub(crate) fn readdir(
        &mut self,
        node: NodeId,
        cookie: u64,
        entries: Entries,
        watch: Watch,
    ) -> Result<DirEntries> {
        if i64::try_from(cookie).is_err() {
            return Err(Errno::EINVAL);
        }
        self.nodes.dir(node)?;
        if self.nodes.get(node)?.masked {
            return Ok(DirEntries { end: true, ..DirEntries::default() });
        }
        let watch = self.watch(node, watch);
        // Out of the list while entries are looked up, which needs the whole state.
        let fd = self.listing(node)?;
        let mut buffer = std::mem::take(&mut self.listings.buffer);
        buffer.resize(LISTING_BUFFER, MaybeUninit::uninit());
        let result = self.list(node, fd.as_fd(), cookie, entries, &mut buffer);
        self.listings.buffer = buffer;
        if self.listings.open.len() >= MAX_LISTINGS {
            self.listings.open.remove(0);
        }
        self.listings.open.push((node, fd));
        result.map(|reply| DirEntries { watch, ..reply })
    }

    fn listing(&mut self, node: NodeId) -> Result<OwnedFd> {
        match self.listings.open.iter().position(|(n, _)| *n == node) {
            Some(at) => Ok(self.listings.open.remove(at).1),
            None => host::open_self(self.nodes.dir(node)?),
        }
    }

    fn list(
        &mut self,
        node: NodeId,
        fd: BorrowedFd<'_>,
        cookie: u64,
        kind: Entries,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<DirEntries> {
        rustix::fs::seek(fd, SeekFrom::Start(cookie)).map_err(errno)?;
        let mut reply = DirEntries::default();
        let mut room = LISTING_ROOM;
        let mut dir = RawDir::new(fd, buffer);
        while room >= DirEntry::MAX_SIZE {
            let Some(entry) = dir.next() else {
                reply.end = true;
                break;
            };
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            if !gofer_protocol::valid_name(name) || !self.is_shown(node, name, entry.ino()) {
                continue;
            }
            // What cannot be looked at (deleted meanwhile, no permission) is still listed, as on the host.
            let made = match kind {
                Entries::Names => None,
                Entries::WithNodes => self.lookup(node, name).ok(),
            };
            let d_type = match made {
                Some(made) => made.attr.kind().d_type(),
                None => dirent_type(entry.file_type()),
            };
            let (ino, next_cookie) = (entry.ino(), entry.next_entry_cookie());
            reply.entries.push(DirEntry { name: name.to_vec(), ino, next_cookie, d_type, made });
            room -= DirEntry::MAX_SIZE - gofer_protocol::MAX_NAME + name.len();
        }
        Ok(reply)
    }

    fn is_shown(&self, dir: NodeId, name: &[u8], ino: u64) -> bool {
        if self.rule_for(dir, name).is_err() {
            return false;
        }
        let (Ok(node), Ok(tree)) = (self.nodes.get(dir), self.tree(dir)) else { return false };
        !tree.hidden.iter().any(|h| h.ino == ino && h.dev == node.file.dev)
    }

    pub(crate) fn get_xattr(&mut self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        let fd = self.open_for_xattr(node)?;
        sized(|buffer| rustix::fs::fgetxattr(&fd, name, buffer))
    }

    pub(crate) fn list_xattr(&mut self, node: NodeId) -> Result<Bytes> {
        let fd = match self.open_for_xattr(node) {
            Ok(fd) => fd,
            Err(Errno::ENODATA) => return Ok(Bytes::default()),
            Err(e) => return Err(e),
        };
        sized(|buffer| rustix::fs::flistxattr(&fd, buffer))
    }

    /// Extended attributes are read through an ordinary descriptor, since `O_PATH` does not serve and a path under
    /// /proc is never used: what cannot be opened for reading has none.
    fn open_for_xattr(&mut self, node: NodeId) -> Result<OwnedFd> {
        match self.nodes.get(node)?.file.kind() {
            FileKind::Regular | FileKind::Directory => {}
            _ => return Err(Errno::ENODATA),
        }
        match self.open_node(node, OFlags::RDONLY) {
            Ok((fd, _)) => Ok(fd),
            Err(Errno::EACCES | Errno::EPERM) => Err(Errno::ENODATA),
            Err(e) => Err(e),
        }
    }
}

/// What fills a buffer: most is short, so a small one is tried first.
fn sized(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Bytes> {
    let mut small = [0u8; 256];
    match read(&mut small) {
        Ok(len) => return Ok(Bytes(small.get(..len).unwrap_or_default().to_vec())),
        Err(rustix::io::Errno::RANGE) => {}
        Err(e) => return Err(errno(e)),
    }
    let mut large = vec![0u8; MAX_XATTR];
    let len = read(&mut large).map_err(errno)?;
    large.truncate(len);
    Ok(Bytes(large))
}

/// The flags that a request may ask for; anything else is refused, not dropped.
pub(crate) fn open_flags(flags: u32) -> Result<OFlags> {
    let allowed = OFlags::ACCMODE
        | OFlags::TRUNC
        | OFlags::APPEND
        | OFlags::SYNC
        | OFlags::DSYNC
        | OFlags::NOATIME
        | OFlags::DIRECT;
    let flags = OFlags::from_bits_retain(flags);
    if !allowed.contains(flags) || flags.contains(OFlags::ACCMODE) {
        return Err(Errno::EINVAL);
    }
    Ok(flags)
}

fn dirent_type(kind: rustix::fs::FileType) -> u8 {
    FileKind::from_mode(kind.as_raw_mode()).d_type()
}
