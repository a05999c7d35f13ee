//! open(2): from a path and flags to an open file description.

use std::any::Any;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::create;
use super::dentry::Naming;
use super::file::{File, FileOps, Mark, Positioning};
use super::inode::{FileKind, NewNode, SetAttrs};
use super::mount::MountFlags;
use super::path::VfsPath;
use super::permission::{self, Access};
use super::text_busy;
use super::walk::{Last, Lookup, Resolve, Walker};
use super::{notes, notify};
use crate::cred::Cred;

const O_CREAT: u32 = libc::O_CREAT as u32;
const O_EXCL: u32 = libc::O_EXCL as u32;
const O_TRUNC: u32 = libc::O_TRUNC as u32;
const O_PATH: u32 = libc::O_PATH as u32;
const O_DIRECTORY: u32 = libc::O_DIRECTORY as u32;
const O_NOFOLLOW: u32 = libc::O_NOFOLLOW as u32;
const O_NOATIME: u32 = libc::O_NOATIME as u32;
/// `__O_TMPFILE`, without the `O_DIRECTORY` that libc's constant carries along.
const TMPFILE: u32 = 0o20000000;
/// Set on every file that a 64-bit program opens; libc's constant is 0 there.
const O_LARGEFILE: u32 = 0o100000;
/// Flags that act at open only and are not kept.
const AT_OPEN: u32 = O_CREAT | O_EXCL | O_TRUNC | (libc::O_NOCTTY | libc::O_CLOEXEC) as u32;

/// What a path and flags have led to: an inode that may be opened, all checks done.
pub struct Located {
    pub place: VfsPath,
    /// The flags to open with; truncation is still to be done where they say so.
    pub flags: u32,
    /// The file was made for this.
    pub made: bool,
}

impl Lookup {
    /// Opens what needs no one else's help. FIFOs and devices are opened by `syscalls::fs_open`, which knows their
    /// drivers; here they give `ENXIO`.
    pub fn open(&self, path: &[u8], flags: u32, mode: u32) -> Result<Arc<File>> {
        let found = self.locate(path, flags, mode, Resolve::empty())?;
        found.open()
    }

    /// The walk, the checks and the creation of open(2).
    pub fn locate(&self, path: &[u8], flags: u32, mode: u32, how: Resolve) -> Result<Located> {
        let mut flags = flags;
        if flags & O_PATH != 0 {
            flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | libc::O_CLOEXEC as u32;
        }
        if flags & TMPFILE != 0 {
            return self.locate_unnamed(path, flags, mode, how);
        }
        if flags & O_CREAT != 0 && flags & O_DIRECTORY != 0 {
            return Err(Errno::EINVAL);
        }
        let follow = flags & O_NOFOLLOW == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
        let mut w = Walker::new(self, path, how)?;
        loop {
            let (name, trailing) = match w.to_last()? {
                Last::Here if flags & O_CREAT != 0 => {
                    let dir = w.at.inode().kind() == FileKind::Dir;
                    if flags & O_EXCL != 0 {
                        return Err(Errno::EEXIST);
                    }
                    if dir {
                        return Err(Errno::EISDIR);
                    }
                    return self.existing(w.at, flags);
                }
                Last::Here => return self.existing(w.at, flags),
                Last::Name { name, trailing } => (name, trailing),
            };
            if flags & O_CREAT != 0 && trailing {
                return Err(Errno::EISDIR);
            }
            let Some(child) = w.child(&name)? else {
                if flags & O_CREAT == 0 {
                    return Err(Errno::ENOENT);
                }
                match create::make_in(self, &w.at, &name, &NewNode::Regular, mode) {
                    // Someone else was faster: look again.
                    Err(Errno::EEXIST) if flags & O_EXCL == 0 && !w.at.dentry.hides(&name) => {
                        let child = w.child(&name)?.ok_or(Errno::ENOENT)?;
                        return self.existing(child, flags);
                    }
                    Err(e) => return Err(e),
                    // Its own permission bits do not bind who makes it, and there is nothing to cut.
                    Ok(place) => return Ok(Located { place, flags: flags & !O_TRUNC, made: true }),
                }
            };
            if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
                return Err(Errno::EEXIST);
            }
            if child.inode().kind() == FileKind::Symlink && (follow || trailing) {
                w.follow(child)?;
                continue;
            }
            if trailing && child.inode().kind() != FileKind::Dir {
                return Err(Errno::ENOTDIR);
            }
            if child.inode().kind() == FileKind::Dir && flags & O_CREAT != 0 {
                return Err(Errno::EISDIR);
            }
            return self.existing(child, flags);
        }
    }

    fn existing(&self, place: VfsPath, flags: u32) -> Result<Located> {
        check_open(&place, flags, &self.cred)?;
        notes::used(&place, notes::Use::Read);
        Ok(Located { place, flags, made: false })
    }

    fn locate_unnamed(&self, path: &[u8], flags: u32, mode: u32, how: Resolve) -> Result<Located> {
        // O_TMPFILE needs O_DIRECTORY and write access (open(2)).
        let reads = flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32;
        if flags & O_DIRECTORY == 0 || flags & O_CREAT != 0 || reads {
            return Err(Errno::EINVAL);
        }
        let dir = self.resolve_with(path, flags & O_NOFOLLOW == 0, how)?;
        if dir.inode().kind() != FileKind::Dir {
            return Err(Errno::ENOTDIR);
        }
        let naming = if flags & O_EXCL == 0 { Naming::Later } else { Naming::Never };
        let place = create::make_unnamed(self, &dir, mode, naming)?;
        Ok(Located { place, flags: flags & !(O_DIRECTORY | O_TRUNC), made: true })
    }
}

impl Located {
    /// Truncates where asked and makes the description.
    pub fn open(self) -> Result<Arc<File>> {
        let Located { place, flags, made } = self;
        let access = flags & libc::O_ACCMODE as u32;
        let writes = flags & O_PATH == 0 && access != libc::O_RDONLY as u32;
        let claim = if writes || flags & (O_PATH | O_TRUNC) == O_TRUNC {
            text_busy::writing(place.inode())?
        } else {
            None
        };
        let mut cut = false;
        if flags & O_PATH == 0 && flags & O_TRUNC != 0 && place.inode().kind() == FileKind::Regular {
            place.inode().set_attrs(&SetAttrs { size: Some(0), ..Default::default() })?;
            cut = true;
        }
        let file = open_inode(place, flags)?;
        file.opened();
        if cut {
            notify::on_file(&file, notify::MODIFY);
        }
        if let Some(claim) = claim.filter(|_| writes) {
            file.keep(claim);
        }
        if made {
            file.mark(Mark::Created);
        }
        Ok(file)
    }
}

/// Makes a description of what is at a place. No checks but those of the inode's kind.
pub fn open_inode(place: VfsPath, flags: u32) -> Result<Arc<File>> {
    let inode = place.inode().clone();
    if flags & O_PATH != 0 {
        let kept = flags & !AT_OPEN;
        return Ok(File::new(Arc::new(PathOnly), Some(place), Some(inode), kept));
    }
    match inode.kind() {
        FileKind::Socket => Err(Errno::ENXIO),
        FileKind::Symlink => Err(Errno::ELOOP),
        _ => Ok(describe(place, inode.open(flags)?, flags)),
    }
}

/// The description of what a driver has opened.
pub fn describe(place: VfsPath, ops: Arc<dyn FileOps>, flags: u32) -> Arc<File> {
    let inode = place.inode().clone();
    File::new(ops, Some(place), Some(inode), flags & !AT_OPEN | O_LARGEFILE)
}

/// What access the flags ask for.
fn wanted(flags: u32) -> Access {
    let mut want = match (flags & libc::O_ACCMODE as u32) as i32 {
        libc::O_RDONLY => Access::READ,
        libc::O_WRONLY => Access::WRITE,
        _ => Access::READ | Access::WRITE,
    };
    if flags & O_TRUNC != 0 {
        want |= Access::WRITE;
    }
    want
}

/// The checks on something that exists (`may_open` of the kernel).
pub fn check_open(place: &VfsPath, flags: u32, cred: &Cred) -> Result<()> {
    let kind = place.inode().kind();
    if flags & O_DIRECTORY != 0 && kind != FileKind::Dir {
        return Err(Errno::ENOTDIR);
    }
    if flags & O_PATH != 0 {
        return Ok(());
    }
    let want = wanted(flags);
    match kind {
        FileKind::Symlink => return Err(Errno::ELOOP),
        FileKind::Dir if want.contains(Access::WRITE) => return Err(Errno::EISDIR),
        FileKind::Char | FileKind::Block if place.mount.flags().contains(MountFlags::NODEV) => {
            return Err(Errno::EACCES)
        }
        _ => {}
    }
    permission::permission_at(place, cred, want)?;
    if flags & O_NOATIME != 0 && !permission::owner_or_capable(&place.inode().attrs()?, cred) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// The operations of an `O_PATH` description: none.
struct PathOnly;

impl FileOps for PathOnly {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
