//! The donated standard streams: descriptors 0, 1 and 2 of the launcher, used as they are. A file keeps the position and
//! the append mode that it shares with the caller's shell; a pipe, socket or terminal is read and written only when it
//! is ready, since a worker of ours must never sleep in one (and `O_NONBLOCK` would reach the shell as well).

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use rustix::fs::{FileType, OFlags, SeekFrom};

use super::convert::{self, errno};
use super::poller::{self, HostPoller, Watch};
use super::{tty, watch};
use crate::mm::{Mappable, Sink, Source};
use crate::vfs::file::{File, FileOps, Ioctl, Positioning};
use crate::vfs::inode::{Attrs, CachePolicy, FileKind, Inode, InodeRef, SetAttrs};
use crate::wait_queue::{PollEvents, WaitQueue};

/// How much goes into a terminal at a time: writing more than it has room for would put the worker to sleep.
const TTY_CHUNK: usize = 512;

/// A donated descriptor as an open file.
pub struct HostStream {
    fd: Arc<OwnedFd>,
    kind: Kind,
    access: OFlags,
    queue: WaitQueue,
    watch: Watch,
    /// Its device number, where it is a terminal.
    terminal: Option<u64>,
    /// The host does not know `RWF_NOWAIT` on it (terminals, some devices).
    no_nowait: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Has a position; always ready.
    Regular,
    /// Pipe, socket.
    Stream,
    /// A terminal, or another character device.
    Device,
}

impl HostStream {
    /// Takes a descriptor over. A directory is refused (`EISDIR`): through one the sentry, or a guest that owns it,
    /// could reach the host's files.
    pub fn new(fd: OwnedFd, poller: &Arc<HostPoller>) -> Result<Arc<HostStream>> {
        let stat = rustix::fs::fstat(&fd).map_err(errno)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::BlockDevice => Kind::Regular,
            FileType::Directory => return Err(Errno::EISDIR),
            FileType::CharacterDevice => Kind::Device,
            _ => Kind::Stream,
        };
        let access = rustix::fs::fcntl_getfl(&fd).map_err(errno)?;
        if access.contains(OFlags::PATH) {
            return Err(Errno::EBADF);
        }
        let terminal = (kind == Kind::Device && rustix::termios::isatty(&fd)).then_some(stat.st_rdev);
        let fd = Arc::new(fd);
        let queue = WaitQueue::new();
        let watch = poller.watch(fd.clone(), queue.clone());
        Ok(Arc::new(HostStream {
            fd,
            kind,
            access,
            queue,
            watch,
            terminal,
            no_nowait: AtomicBool::new(false),
        }))
    }

    /// The open(2) flags of the description, as the launcher's shell opened it.
    pub fn flags(&self) -> u32 {
        (self.access & (OFlags::ACCMODE | OFlags::APPEND | OFlags::NONBLOCK)).bits()
    }

    /// A file description for the guest's descriptor table.
    pub fn file(self: &Arc<HostStream>) -> Arc<File> {
        let inode = Arc::new(StreamInode { stream: self.clone() });
        let label = match self.kind {
            Kind::Stream => self.label(),
            Kind::Regular | Kind::Device => format!("host:[{}]", self.number()),
        };
        File::anonymous(self.clone(), Some(inode), self.flags(), label)
    }

    /// As [`HostStream::file`], for a terminal that has a node of its own in `/dev`.
    pub fn terminal_file(self: &Arc<HostStream>, inode: InodeRef, name: String) -> Arc<File> {
        File::anonymous(self.clone(), Some(inode), self.flags(), name)
    }

    /// What fstat(2) says of it.
    pub fn attrs(&self) -> Result<Attrs> {
        convert::attrs_of_stat(&rustix::fs::fstat(&*self.fd).map_err(errno)?)
    }

    /// Its device number, where it is a terminal.
    pub fn terminal(&self) -> Option<u64> {
        self.terminal
    }

    /// Whether a background process must not write to it (`TOSTOP`).
    pub fn stops_writers(&self) -> bool {
        rustix::termios::tcgetattr(&*self.fd)
            .is_ok_and(|t| t.local_modes.contains(rustix::termios::LocalModes::TOSTOP))
    }

    fn number(&self) -> u64 {
        rustix::fs::fstat(&*self.fd).map_or(0, |s| s.st_ino)
    }

    fn label(&self) -> String {
        let is_fifo =
            rustix::fs::fstat(&*self.fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
        format!("{}:[{}]", if is_fifo { "pipe" } else { "socket" }, self.number())
    }

    fn readable(&self) -> bool {
        self.access & OFlags::ACCMODE != OFlags::WRONLY
    }

    fn writable(&self) -> bool {
        self.access & OFlags::ACCMODE != OFlags::RDONLY
    }

    /// `EAGAIN`, with the poller told where somebody waits.
    fn not_ready(&self, wanted: PollEvents) -> Errno {
        if self.queue.has_waiters() {
            self.watch.arm(wanted);
        }
        Errno::EAGAIN
    }

    /// Runs a transfer that must not sleep: with `RWF_NOWAIT` where the host knows it, else plainly after poll(2)
    /// has said that it is ready.
    fn transfer(&self, wanted: PollEvents, mut run: impl FnMut(bool) -> Result<usize>) -> Result<usize> {
        let ready = poller::ready(self.fd.as_fd(), wanted)?;
        if ready.is_empty() {
            return Err(self.not_ready(wanted));
        }
        let result = if self.no_nowait.load(Ordering::Relaxed) {
            run(false)
        } else {
            match run(true) {
                Err(Errno::EOPNOTSUPP) => {
                    self.no_nowait.store(true, Ordering::Relaxed);
                    run(false)
                }
                other => other,
            }
        };
        match result {
            Err(Errno::EAGAIN) => Err(self.not_ready(wanted)),
            Ok(n) => {
                // Who waits for an edge (epoll's `EPOLLET`) must hear of the next one without asking again; a task that
                // is just being served asks by itself.
                if self.queue.waits_for_all(PollEvents::all()) {
                    self.watch.arm(wanted);
                }
                Ok(n)
            }
            Err(e) => Err(e),
        }
    }

    /// A terminal takes what there is room for, in small pieces; a full one is left for later.
    fn write_device(&self, from: &mut dyn Source) -> Result<usize> {
        let mut done = 0;
        let mut piece = [0u8; TTY_CHUNK];
        loop {
            let n = match from.take(&mut piece) {
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => return Ok(done),
            };
            let mut rest = piece.get(..n).unwrap_or(&[]);
            while !rest.is_empty() {
                match rustix::io::write(&*self.fd, rest) {
                    Ok(k) => {
                        done += k;
                        rest = rest.get(k..).unwrap_or(&[]);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) if done == 0 => return Err(errno(e)),
                    Err(_) => return Ok(done),
                }
            }
            if from.remaining() == 0 || n == 0 {
                return Ok(done);
            }
            if !poller::ready(self.fd.as_fd(), PollEvents::OUT)?.contains(PollEvents::OUT) {
                return Ok(done);
            }
        }
    }
}

impl FileOps for HostStream {
    fn tells_by_signal(&self) -> bool {
        true
    }

    fn positioning(&self) -> Positioning {
        match self.kind {
            Kind::Regular => Positioning::Host,
            Kind::Stream | Kind::Device => Positioning::Stream,
        }
    }

    fn read(&self, _: &File, _: u64, to: &mut dyn Sink) -> Result<usize> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        if to.remaining() == 0 {
            return Ok(0);
        }
        let got = match self.kind {
            Kind::Regular => to.put_from_fd(self.fd.as_fd(), None, false),
            _ => self.transfer(PollEvents::IN, |nowait| to.put_from_fd(self.fd.as_fd(), None, nowait)),
        };
        if got.is_ok() {
            watch::hear();
        }
        got
    }

    fn write(&self, _: &File, _: u64, from: &mut dyn Source) -> Result<usize> {
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        match self.kind {
            Kind::Regular => from.take_to_fd(self.fd.as_fd(), None, false),
            _ if from.remaining() == 0 => Ok(0),
            Kind::Stream => {
                self.transfer(PollEvents::OUT, |nowait| from.take_to_fd(self.fd.as_fd(), None, nowait))
            }
            Kind::Device => {
                if poller::ready(self.fd.as_fd(), PollEvents::OUT)?.is_empty() {
                    return Err(self.not_ready(PollEvents::OUT));
                }
                self.write_device(from)
            }
        }
    }

    /// `O_APPEND` is the host description's own affair.
    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        let n = self.write(file, 0, from)?;
        let at = if self.kind == Kind::Regular { rustix::fs::tell(&*self.fd).map_err(errno)? } else { 0 };
        Ok((n, at))
    }

    fn read_at(&self, _: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        match self.kind {
            Kind::Regular if self.readable() => {
                watch::hear();
                to.put_from_fd(self.fd.as_fd(), Some(pos), false)
            }
            Kind::Regular => Err(Errno::EBADF),
            _ => Err(Errno::ESPIPE),
        }
    }

    fn write_at(&self, _: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        match self.kind {
            Kind::Regular if self.writable() => from.take_to_fd(self.fd.as_fd(), Some(pos), false),
            Kind::Regular => Err(Errno::EBADF),
            _ => Err(Errno::ESPIPE),
        }
    }

    fn write_all_semantics(&self) -> bool {
        self.kind != Kind::Regular
    }

    fn size(&self, _: &File) -> Result<u64> {
        Ok(rustix::fs::fstat(&*self.fd).map_err(errno)?.st_size as u64)
    }

    fn seek(&self, _: &File, offset: i64, whence: u32) -> Result<u64> {
        if self.kind != Kind::Regular {
            return Err(Errno::ESPIPE);
        }
        let unsigned = || u64::try_from(offset);
        let to = match whence {
            0 => SeekFrom::Start(unsigned().map_err(|_| Errno::EINVAL)?),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            3 => SeekFrom::Data(unsigned().map_err(|_| Errno::ENXIO)?),
            4 => SeekFrom::Hole(unsigned().map_err(|_| Errno::ENXIO)?),
            _ => return Err(Errno::EINVAL),
        };
        rustix::fs::seek(&*self.fd, to).map_err(errno)
    }

    fn poll(&self, _: &File) -> PollEvents {
        let all =
            PollEvents::IN | PollEvents::OUT | PollEvents::PRI | PollEvents::RDNORM | PollEvents::WRNORM;
        let mut wanted = PollEvents::RDHUP | all;
        if !self.readable() {
            wanted -= PollEvents::IN | PollEvents::RDNORM;
        }
        if !self.writable() {
            wanted -= PollEvents::OUT | PollEvents::WRNORM;
        }
        let Ok(ready) = poller::ready(self.fd.as_fd(), wanted) else { return PollEvents::ERR };
        if ready.contains(PollEvents::IN) {
            watch::hear();
        }
        let missing = wanted & ((PollEvents::IN | PollEvents::OUT) - ready);
        if self.kind != Kind::Regular && !missing.is_empty() && self.queue.has_waiters() {
            self.watch.arm(missing);
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        (self.kind != Kind::Regular).then_some(&self.queue)
    }

    fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    fn ioctl(&self, _: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        tty::ioctl(self.fd.as_fd(), io)
    }

    fn mappable(&self, _: &File) -> Result<Arc<dyn Mappable>> {
        if self.kind != Kind::Regular {
            return Err(Errno::ENODEV);
        }
        if !self.readable() {
            return Err(Errno::EACCES);
        }
        let stat = rustix::fs::fstat(&*self.fd).map_err(errno)?;
        let writable = self.writable() && !self.access.contains(OFlags::APPEND);
        Ok(Arc::new(StreamMapping { fd: self.fd.clone(), identity: (stat.st_dev, stat.st_ino), writable }))
    }

    fn truncate(&self, _: &File, size: u64) -> Result<()> {
        if self.kind != Kind::Regular || !self.writable() {
            return Err(Errno::EINVAL);
        }
        rustix::fs::ftruncate(&*self.fd, size).map_err(errno)
    }

    fn allocate(&self, _: &File, mode: u32, offset: u64, len: u64) -> Result<()> {
        if self.kind != Kind::Regular {
            return Err(Errno::ESPIPE);
        }
        let mode = rustix::fs::FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        rustix::fs::fallocate(&*self.fd, mode, offset, len).map_err(errno)
    }

    fn sync(&self, _: &File, data_only: bool) -> Result<()> {
        if data_only { rustix::fs::fdatasync(&*self.fd) } else { rustix::fs::fsync(&*self.fd) }.map_err(errno)
    }

    fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.kind == Kind::Regular && self.readable()).then(|| self.fd.as_fd())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether an inode is that of a donated stream: opening one that is a pipe of the host takes no part in our FIFOs.
pub fn is_donated(inode: &InodeRef) -> bool {
    inode.as_any().is::<StreamInode>()
}

/// What fstat(2) of a donated stream shows, and what opening `/proc/self/fd/1` opens again.
struct StreamInode {
    stream: Arc<HostStream>,
}

impl Inode for StreamInode {
    fn attrs(&self) -> Result<Attrs> {
        self.stream.attrs()
    }
    fn kind(&self) -> FileKind {
        match self.stream.kind {
            Kind::Regular => FileKind::Regular,
            Kind::Device => FileKind::Char,
            Kind::Stream => self.attrs().map_or(FileKind::Fifo, |a| a.kind),
        }
    }
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
    /// `O_TRUNC` on `/dev/stdout`, and ftruncate(2).
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        let only_size = SetAttrs { size: set.size, ..Default::default() };
        match set.size {
            Some(size)
                if *set == only_size && self.stream.kind == Kind::Regular && self.stream.writable() =>
            {
                rustix::fs::ftruncate(&*self.stream.fd, size).map_err(errno)
            }
            _ => Err(Errno::EPERM),
        }
    }
    /// The host's description cannot be opened a second time, so this shares it, for no more than it was donated for.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        let stream = &self.stream;
        let allowed = match flags as i32 & libc::O_ACCMODE {
            libc::O_RDONLY => stream.readable(),
            libc::O_WRONLY => stream.writable(),
            _ => stream.readable() && stream.writable(),
        };
        if allowed {
            Ok(stream.clone())
        } else {
            Err(Errno::EACCES)
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A mapping of a file that was donated.
struct StreamMapping {
    fd: Arc<OwnedFd>,
    identity: (u64, u64),
    writable: bool,
}

impl Mappable for StreamMapping {
    fn descriptor(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>> {
        if shared && writable && !self.writable {
            return Err(Errno::EACCES);
        }
        Ok(self.fd.clone())
    }
    fn identity(&self) -> (u64, u64) {
        self.identity
    }
    fn name(&self) -> String {
        "/dev/stdin".into()
    }
}
