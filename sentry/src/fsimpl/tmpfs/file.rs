//! Open tmpfs files and directories. An open description needs nothing beyond the inode, so the inode is its own
//! [`FileOps`].

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::content::SEAL_EXEC;
use super::{Body, TmpInode};
use crate::fsimpl::clock::full_path;
use crate::mm::{Mappable, Sink, Source};
use crate::vfs::inode::DirEntry;
use crate::vfs::{File, FileOps, Inode, VfsPath};

impl TmpInode {
    fn regular(&self) -> Result<&super::Content> {
        match &self.body {
            Body::Regular(c) => Ok(c),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl FileOps for TmpInode {
    fn read(&self, file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let n = self.regular()?.read_at(pos, to)?;
        if n > 0 && file.flags() & libc::O_NOATIME as u32 == 0 {
            self.touch_read();
        }
        Ok(n)
    }
    fn write(&self, _file: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        let n = self.regular()?.write_at(pos, from)?;
        if n > 0 {
            self.touch_modified();
        }
        Ok(n)
    }
    fn append(&self, _file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        let r = self.regular()?.append(from)?;
        if r.0 > 0 {
            self.touch_modified();
        }
        Ok(r)
    }
    fn size(&self, _file: &File) -> Result<u64> {
        match &self.body {
            Body::Regular(c) => Ok(c.size()),
            // Linux's SEEK_END in a tmpfs directory goes behind the last entry.
            Body::Dir(d) => Ok(d.lock().end()),
            _ => Err(Errno::EINVAL),
        }
    }
    fn seek(&self, _file: &File, offset: i64, whence: u32) -> Result<u64> {
        let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        match whence {
            3 | 4 => self.regular().map_err(|_| Errno::EINVAL)?.seek(at, whence),
            _ => Err(Errno::EINVAL),
        }
    }
    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        self.regular().map_err(|_| Errno::ENODEV)?;
        Ok(Arc::new(Mapped { inode: self.me()?, place: file.path.clone(), label: file.label.clone() }))
    }
    fn readdir(&self, _file: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let list = self.dir_ref()?.lock().list(cookie, max);
        self.touch_read();
        Ok(list)
    }
    fn truncate(&self, _file: &File, size: u64) -> Result<()> {
        self.regular().map_err(|_| Errno::EINVAL)?.truncate(size)?;
        self.touch_modified();
        Ok(())
    }
    fn allocate(&self, _file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.regular().map_err(|_| Errno::ENODEV)?.allocate(mode, offset, len)?;
        self.touch_modified();
        Ok(())
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn seals(&self) -> Result<u32> {
        Ok(self.regular().map_err(|_| Errno::EINVAL)?.seals())
    }
    fn add_seals(&self, seals: u32) -> Result<()> {
        let content = self.regular().map_err(|_| Errno::EINVAL)?;
        // What can be run, and must go on being so, must not change either (fcntl(2), F_SEAL_EXEC).
        let runs = seals & SEAL_EXEC != 0 && self.attrs().is_ok_and(|a| a.mode() & 0o111 != 0);
        content.add_seals(if runs { seals | RUN_SEALS } else { seals })
    }
    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        self.content().and_then(|c| c.fd())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Seals that come with `F_SEAL_EXEC`.
const RUN_SEALS: u32 =
    (libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) as u32;

/// A tmpfs file as mmap(2) sees it.
struct Mapped {
    inode: Arc<TmpInode>,
    place: Option<VfsPath>,
    /// The name of a file without a place (memfd_create(2)).
    label: String,
}

impl Mappable for Mapped {
    fn descriptor(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>> {
        // The memfd is always writable: a mapping that must not write is made as a private one by mm.
        self.inode.regular()?.map_fd(shared, writable)
    }
    fn identity(&self) -> (u64, u64) {
        self.inode.attrs().map_or((0, 0), |a| (a.dev, a.ino))
    }
    fn name(&self) -> String {
        match &self.place {
            Some(_) => full_path(self.place.as_ref()),
            None => self.label.clone(),
        }
    }
    fn in_memory(&self) -> bool {
        true
    }
}
