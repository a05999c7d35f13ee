//! File descriptions: what open(2) makes and descriptors share. The trait [`FileOps`] is what differs between kinds.

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::inode::{DirEntry, InodeRef};
use super::notify;
use super::path::VfsPath;
use super::text_busy::Claim;
use crate::mm::{Mappable, Mem, Sink, Source};
use crate::wait_queue::{PollEvents, WaitQueue};

/// Who keeps the file position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positioning {
    /// The description has an offset, kept by the VFS (regular files, directories).
    Offset,
    /// There is none: lseek gives `ESPIPE` (pipes, sockets, terminals).
    Stream,
    /// A donated host descriptor whose position other host processes share.
    Host,
}

/// What ioctl(2) gives to a file.
pub struct Ioctl<'a, 'm> {
    pub mem: &'a Mem<'m>,
    /// The request, 32 bits (the kernel ignores the rest).
    pub request: u32,
    pub arg: u64,
}

/// What a kind of file does. Calls never block: what would wait returns `EAGAIN`, and the caller waits on
/// [`FileOps::wait_queue`]. `pos` is the offset for [`Positioning::Offset`], else 0.
pub trait FileOps: Send + Sync + Any {
    fn positioning(&self) -> Positioning {
        Positioning::Offset
    }
    fn read(&self, _file: &File, _pos: u64, _to: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    fn write(&self, _file: &File, _pos: u64, _from: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// pread(2): reads at an offset whatever the position is; `ESPIPE` for streams. A donated file that can seek
    /// overrides it.
    fn read_at(&self, file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        match self.positioning() {
            Positioning::Offset => self.read(file, pos, to),
            _ => Err(Errno::ESPIPE),
        }
    }
    /// pwrite(2), as [`FileOps::read_at`].
    fn write_at(&self, file: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        match self.positioning() {
            Positioning::Offset => self.write(file, pos, from),
            _ => Err(Errno::ESPIPE),
        }
    }
    /// Writes at the end (`O_APPEND`), atomically; returns the count and the new position.
    fn append(&self, _file: &File, _from: &mut dyn Source) -> Result<(usize, u64)> {
        Err(Errno::EINVAL)
    }
    /// The size that `SEEK_END` counts from.
    fn size(&self, file: &File) -> Result<u64> {
        match file.inode() {
            Some(i) => i.attrs().map(|a| a.size),
            None => Err(Errno::ESPIPE),
        }
    }
    /// `SEEK_DATA` and `SEEK_HOLE` (whence 3, 4), and all seeks of [`Positioning::Host`].
    fn seek(&self, file: &File, offset: i64, whence: u32) -> Result<u64> {
        let size = self.size(file)?;
        let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        match whence {
            3 if at < size => Ok(at),
            4 if at < size => Ok(size),
            3 | 4 => Err(Errno::ENXIO),
            _ => Err(Errno::EINVAL),
        }
    }
    /// What is ready now (poll(2)); regular files are always ready.
    fn poll(&self, _file: &File) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }
    /// Told when `poll` may have changed; `None` for what is always ready (epoll refuses it with `EPERM`).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }
    /// Whether a blocking write(2) goes on until all is written (pipes and stream sockets: a short count of `write`
    /// means "wait and go on", with the count so far in `block.progress`).
    fn write_all_semantics(&self) -> bool {
        false
    }
    /// Whether `EPIPE` comes with SIGPIPE (not so for datagram and packet sockets).
    fn sigpipe(&self) -> bool {
        true
    }
    /// Whether job control and the timing of termios(3) rule its reads and writes.
    /// Whether its readiness can be told by signals (fcntl(2), `O_ASYNC`).
    fn tells_by_signal(&self) -> bool {
        false
    }
    fn is_terminal(&self) -> bool {
        false
    }
    /// How long a blocking read (or write) may wait at most, in nanoseconds: `SO_RCVTIMEO`, `SO_SNDTIMEO`. When that
    /// has passed the call returns `EAGAIN` (socket(7)).
    fn io_timeout(&self, _writing: bool) -> Option<u64> {
        None
    }
    fn ioctl(&self, _file: &File, _io: &Ioctl<'_, '_>) -> Result<i64> {
        Err(Errno::ENOTTY)
    }
    /// What mmap(2) maps.
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        Err(Errno::ENODEV)
    }
    /// Entries from `cookie` on (0 is the start), at most `max` of them, `.` and `..` not among them; empty at the end.
    /// Cookies 0, 1, 2 are the VFS's own (for `.` and `..`).
    fn readdir(&self, _file: &File, _cookie: u64, _max: usize) -> Result<Vec<DirEntry>> {
        Err(Errno::ENOTDIR)
    }
    fn truncate(&self, file: &File, size: u64) -> Result<()> {
        let set = super::inode::SetAttrs { size: Some(size), ..Default::default() };
        file.inode().ok_or(Errno::EINVAL)?.set_attrs(&set)
    }
    fn allocate(&self, _file: &File, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// fcntl(F_GET_SEALS): files that can be sealed only.
    fn seals(&self) -> Result<u32> {
        Err(Errno::EINVAL)
    }
    /// fcntl(F_ADD_SEALS).
    fn add_seals(&self, _seals: u32) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// The last descriptor is gone.
    fn release(&self, _file: &File) {}
    /// A host descriptor whose bytes at an offset are this file's bytes, where there is one (sendfile, loader).
    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// `lines` of `/proc/PID/fdinfo/N` beyond pos, flags and mnt_id.
    fn fdinfo(&self) -> String {
        String::new()
    }
    fn as_any(&self) -> &dyn Any;
}

/// An open file description (open(2)).
pub struct File {
    pub ops: Arc<dyn FileOps>,
    /// Where it was opened; `None` for pipes, sockets and anonymous files.
    pub path: Option<VfsPath>,
    /// Its inode, also for files without a place where they have one.
    inode: Option<InodeRef>,
    /// `O_*` flags; the access mode never changes.
    flags: AtomicU32,
    /// The position; its lock makes read(2) and write(2) of one description atomic to each other.
    pub pos: Mutex<u64>,
    /// What `/proc/PID/fd/N` shows for a file without a place ("pipe:[12]").
    pub label: String,
    /// Something happened to it that its end must undo or that is done once: see [`Mark`].
    marks: AtomicU32,
    /// What keeps it from being run while it is written, or written while it is run.
    claim: OnceLock<Claim>,
    /// How long what is written will live, as fcntl(2) was told (`F_SET_RW_HINT`).
    pub hint: AtomicU64,
    /// Whom signals tell of its readiness (`O_ASYNC`): the kernel's own.
    pub async_io: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

/// Once-only facts of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mark {
    /// It has held a lock of flock(2) or fcntl(2) `F_OFD_SETLK`.
    Locked = 1,
    /// A write has taken away the set-id bits.
    SetIdsDropped = 2,
    /// Its open(2) made the file (`F_CREATED_QUERY`).
    Created = 4,
    /// Watchers of the file have been told that it was opened, and are to be told that it is closed.
    Opened = 8,
}

impl File {
    pub fn new(
        ops: Arc<dyn FileOps>,
        path: Option<VfsPath>,
        inode: Option<InodeRef>,
        flags: u32,
    ) -> Arc<File> {
        Arc::new(File {
            ops,
            path,
            inode,
            flags: AtomicU32::new(flags),
            pos: Mutex::new(0),
            label: String::new(),
            marks: AtomicU32::new(0),
            claim: OnceLock::new(),
            hint: AtomicU64::new(0),
            async_io: Mutex::default(),
        })
    }
    /// A file that has no place in the tree (pipe, eventfd, socket, …).
    pub fn anonymous(ops: Arc<dyn FileOps>, inode: Option<InodeRef>, flags: u32, label: String) -> Arc<File> {
        Arc::new(File {
            ops,
            path: None,
            inode,
            flags: AtomicU32::new(flags),
            pos: Mutex::new(0),
            label,
            marks: AtomicU32::new(0),
            claim: OnceLock::new(),
            hint: AtomicU64::new(0),
            async_io: Mutex::default(),
        })
    }
    /// Keeps a claim for as long as the description lives.
    pub fn keep(&self, claim: Claim) {
        // Each description is opened once.
        let _ = self.claim.set(claim);
    }
    pub fn inode(&self) -> Option<&InodeRef> {
        self.inode.as_ref()
    }
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    /// fcntl(F_SETFL): replaces the changeable flags.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }
    pub fn nonblocking(&self) -> bool {
        self.flags() & libc::O_NONBLOCK as u32 != 0
    }
    /// Opened for reading and not `O_PATH`.
    pub fn readable(&self) -> bool {
        self.flags() & (libc::O_ACCMODE | libc::O_PATH) as u32 != libc::O_WRONLY as u32 && !self.is_path()
    }
    pub fn writable(&self) -> bool {
        self.flags() & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 && !self.is_path()
    }
    pub fn is_path(&self) -> bool {
        self.flags() & libc::O_PATH as u32 != 0
    }
    /// Sets a mark; whether it was set before.
    pub fn mark(&self, mark: Mark) -> bool {
        let bit = mark as u32;
        self.marks.load(Ordering::Relaxed) & bit != 0
            || self.marks.fetch_or(bit, Ordering::Relaxed) & bit != 0
    }
    /// Tells watchers that it was opened; its end will be told too.
    pub fn opened(&self) {
        self.mark(Mark::Opened);
        notify::on_file(self, notify::OPEN);
    }
    /// As the owner of locks that go with it.
    pub fn lock_owner(&self) -> super::locks::Owner {
        super::locks::Owner::File(std::ptr::from_ref(self) as usize)
    }
    pub fn marked(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Relaxed) & mark as u32 != 0
    }
    /// The ops as their own type.
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref::<T>()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Its own end is no news to whom it tells by signals.
        drop(self.async_io.get_mut().take());
        if self.marked(Mark::Locked) {
            super::locks::release_owner(self.lock_owner());
        }
        if self.marked(Mark::Opened) {
            let how = if self.writable() { notify::CLOSE_WRITE } else { notify::CLOSE_NOWRITE };
            notify::on_file(self, how);
        }
        let ops = self.ops.clone();
        ops.release(self);
    }
}
