//! Open files and directories of the overlay.

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{Change, OvlInode};
use crate::fsimpl::clock::full_path;
use crate::fsimpl::tmpfs::TmpInode;
use crate::mm::{Mappable, Sink, Source};
use crate::vfs::inode::DirEntry;
use crate::vfs::{File, FileKind, FileOps, Inode, Ioctl, VfsPath};

impl OvlInode {
    pub(super) fn open_ovl(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            FileKind::Regular if self.bytes_below() => {
                let below = self.below()?.clone().open(flags & !WRITES | libc::O_RDONLY as u32)?;
                Ok(Arc::new(OvlFile { inode: self, below }))
            }
            FileKind::Regular => Ok(self),
            FileKind::Dir => Ok(Arc::new(OvlDir { inode: self, list: Mutex::default() })),
            FileKind::Char => crate::fsimpl::dev::open_char(self.attrs()?.rdev, flags),
            FileKind::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    /// The upper file, with all bytes copied to it.
    fn whole(&self) -> Result<&Arc<TmpInode>> {
        if self.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.copy_bytes(u64::MAX)?;
        self.to_upper()
    }
}

/// What never goes to the lower file: it is opened for reading only.
const WRITES: u32 = (libc::O_ACCMODE | libc::O_TRUNC | libc::O_CREAT | libc::O_EXCL | libc::O_APPEND) as u32;

/// A file that was opened while its bytes were the lower file's. Reads follow to the upper one once they moved.
struct OvlFile {
    inode: Arc<OvlInode>,
    below: Arc<dyn FileOps>,
}

impl FileOps for OvlFile {
    fn read(&self, file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if self.inode.bytes_below() {
            self.below.read(file, pos, to)
        } else {
            FileOps::read(&*self.inode, file, pos, to)
        }
    }
    fn write(&self, file: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        FileOps::write(&*self.inode, file, pos, from)
    }
    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        FileOps::append(&*self.inode, file, from)
    }
    fn size(&self, _file: &File) -> Result<u64> {
        self.inode.attrs().map(|a| a.size)
    }
    fn seek(&self, file: &File, offset: i64, whence: u32) -> Result<u64> {
        if self.inode.bytes_below() {
            self.below.seek(file, offset, whence)
        } else {
            FileOps::seek(&*self.inode, file, offset, whence)
        }
    }
    fn ioctl(&self, file: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        FileOps::ioctl(&*self.inode, file, io)
    }
    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        let below = if self.inode.bytes_below() { Some(self.below.mappable(file)?) } else { None };
        Ok(Arc::new(OvlMap { inode: self.inode.clone(), below, place: file.path.clone() }))
    }
    fn truncate(&self, file: &File, size: u64) -> Result<()> {
        FileOps::truncate(&*self.inode, file, size)
    }
    fn allocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        FileOps::allocate(&*self.inode, file, mode, offset, len)
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.inode.bytes_below() {
            self.below.host_fd()
        } else {
            FileOps::host_fd(&*self.inode)
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileOps for OvlInode {
    fn read(&self, file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        self.whole()?.read(file, pos, to)
    }
    fn write(&self, file: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        self.whole()?.write(file, pos, from)
    }
    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        self.whole()?.append(file, from)
    }
    fn size(&self, _file: &File) -> Result<u64> {
        self.attrs().map(|a| a.size)
    }
    fn seek(&self, file: &File, offset: i64, whence: u32) -> Result<u64> {
        self.whole()?.seek(file, offset, whence)
    }
    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        Ok(Arc::new(OvlMap { inode: self.me()?, below: None, place: file.path.clone() }))
    }
    fn truncate(&self, _file: &File, size: u64) -> Result<()> {
        let set = crate::vfs::inode::SetAttrs { size: Some(size), ..Default::default() };
        self.set_attrs(&set)
    }
    fn allocate(&self, file: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.whole()?.allocate(file, mode, offset, len)
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        self.upper.get().filter(|_| !self.bytes_below()).and_then(|u| FileOps::host_fd(&**u))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A file of the overlay as mmap(2) sees it. A mapping that only reads shows the lower file; one made before the bytes
/// are copied up goes on showing it, as with overlayfs.
struct OvlMap {
    inode: Arc<OvlInode>,
    below: Option<Arc<dyn Mappable>>,
    place: Option<VfsPath>,
}

impl Mappable for OvlMap {
    fn descriptor(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>> {
        if let Some(below) = &self.below {
            if !(shared && writable) && self.inode.bytes_below() {
                return below.descriptor(shared, writable);
            }
        }
        self.inode.whole()?.content().ok_or(Errno::ENODEV)?.map_fd(shared, writable)
    }
    fn identity(&self) -> (u64, u64) {
        (self.inode.dev, self.inode.ino)
    }
    fn name(&self) -> String {
        full_path(self.place.as_ref())
    }
    fn in_memory(&self) -> bool {
        !self.inode.bytes_below()
    }
}

/// An open directory. It lists what was there when the reading began, less what has been removed since; an entry's
/// cookie is its place in that list.
struct OvlDir {
    inode: Arc<OvlInode>,
    list: Mutex<Option<Vec<(DirEntry, bool)>>>,
}

/// Cookies below this are the VFS's.
const FIRST: u64 = 3;

impl FileOps for OvlDir {
    fn read(&self, _file: &File, _pos: u64, _to: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn size(&self, _file: &File) -> Result<u64> {
        Ok(i64::MAX as u64)
    }
    fn readdir(&self, _file: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let mut list = self.list.lock();
        if cookie < FIRST || list.is_none() {
            *list = Some(self.inode.entries()?);
        }
        let all = list.as_deref().unwrap_or_default();
        let first = usize::try_from(cookie.saturating_sub(FIRST)).unwrap_or(usize::MAX);
        let st = self.inode.dir_state()?.lock();
        let there = |e: &DirEntry, listed: bool| match st.changes.get(&e.name) {
            Some(Change::Entry { .. }) => true,
            Some(Change::Whiteout) => false,
            None => !listed,
        };
        let numbered = all.iter().enumerate().skip(first);
        let picked = numbered.filter(|(_, (e, listed))| there(e, *listed)).take(max);
        Ok(picked.map(|(i, (e, _))| DirEntry { cookie: i as u64 + FIRST + 1, ..e.clone() }).collect())
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
