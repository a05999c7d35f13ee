//! Open regular files: everything goes straight through the descriptor that the gofer handed over, at explicit
//! offsets, so that one descriptor serves all who have the file open.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom};

use super::convert::errno;
use super::inode::HostInode;
use crate::mm::{Mappable, Sink, Source};
use crate::vfs::file::{File, FileOps};

/// An open regular file.
pub(super) struct HostFile {
    inode: Arc<HostInode>,
    /// What it was opened with: readable, writable, or both.
    main: Arc<OwnedFd>,
    access: Access,
    /// Made when the file is first appended to.
    appender: Mutex<Option<Arc<OwnedFd>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Both,
}

impl HostFile {
    pub fn open(inode: Arc<HostInode>, flags: u32) -> Result<HostFile> {
        let (main, access) = match flags as i32 & libc::O_ACCMODE {
            libc::O_RDONLY => (inode.reader()?, Access::Read),
            libc::O_WRONLY => (inode.open_fd(libc::O_WRONLY)?, Access::Write),
            libc::O_RDWR => (inode.open_fd(libc::O_RDWR)?, Access::Both),
            _ => return Err(Errno::EINVAL),
        };
        Ok(HostFile { inode, main, access, appender: Mutex::new(None) })
    }

    fn writer(&self) -> Result<&OwnedFd> {
        if self.access == Access::Read {
            Err(Errno::EBADF)
        } else {
            Ok(&self.main)
        }
    }

    fn appender(&self) -> Result<Arc<OwnedFd>> {
        self.writer()?;
        if let Some(fd) = &*self.appender.lock() {
            return Ok(fd.clone());
        }
        let fd = self.inode.open_fd(libc::O_WRONLY | libc::O_APPEND)?;
        *self.appender.lock() = Some(fd.clone());
        Ok(fd)
    }
}

impl FileOps for HostFile {
    fn read(&self, _: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        to.put_from_fd(self.main.as_fd(), Some(pos), false)
    }

    fn write(&self, _: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        let done = from.take_to_fd(self.writer()?.as_fd(), Some(pos), false);
        self.inode.written();
        done
    }

    fn append(&self, _: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        let fd = self.appender()?;
        let done = from.take_to_fd(fd.as_fd(), None, false);
        self.inode.written();
        let n = done?;
        Ok((n, rustix::fs::tell(&fd).map_err(errno)?))
    }

    fn size(&self, _: &File) -> Result<u64> {
        Ok(self.inode.attrs_by(&self.main)?.size)
    }

    fn seek(&self, _: &File, offset: i64, whence: u32) -> Result<u64> {
        let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let to = match whence {
            3 => SeekFrom::Data(at),
            4 => SeekFrom::Hole(at),
            _ => return Err(Errno::EINVAL),
        };
        // Moves the descriptor's own position, which nothing else uses.
        rustix::fs::seek(&self.main, to).map_err(errno)
    }

    fn mappable(&self, _: &File) -> Result<Arc<dyn Mappable>> {
        if self.access == Access::Write {
            return Err(Errno::EACCES);
        }
        let writer = if self.access == Access::Both { Some(self.main.clone()) } else { None };
        let reader = if self.access == Access::Read { Some(self.main.clone()) } else { None };
        Ok(Arc::new(HostMapping { inode: self.inode.clone(), reader, writer }))
    }

    fn truncate(&self, _: &File, size: u64) -> Result<()> {
        let fd = self.writer().map_err(|_| Errno::EINVAL)?;
        let done = rustix::fs::ftruncate(fd, size).map_err(errno);
        self.inode.written();
        done
    }

    fn allocate(&self, _: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        let done = rustix::fs::fallocate(self.writer()?, flags, offset, len).map_err(errno);
        self.inode.written();
        done
    }

    fn sync(&self, _: &File, data_only: bool) -> Result<()> {
        if self.access == Access::Read && !self.inode.shared.writable {
            return Ok(());
        }
        let done = if data_only { rustix::fs::fdatasync(&self.main) } else { rustix::fs::fsync(&self.main) };
        done.map_err(errno)
    }

    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.access != Access::Write).then(|| self.main.as_fd())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What mmap(2) maps of a host file.
struct HostMapping {
    inode: Arc<HostInode>,
    reader: Option<Arc<OwnedFd>>,
    writer: Option<Arc<OwnedFd>>,
}

impl Mappable for HostMapping {
    fn descriptor(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>> {
        if shared && writable {
            return self.writer.clone().ok_or(Errno::EACCES);
        }
        // A shared mapping of a writable descriptor could be made writable by the guest behind our back, so all
        // others are of a read-only one.
        match (&self.reader, &self.writer) {
            (Some(fd), _) => Ok(fd.clone()),
            // Removed since: no second descriptor can be had, and the guest could write to the file anyway.
            (None, Some(writer)) => self.inode.reader().or_else(|_| Ok(writer.clone())),
            (None, None) => self.inode.reader(),
        }
    }

    fn identity(&self) -> (u64, u64) {
        self.inode.identity()
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.inode.path()).into_owned()
    }
}
