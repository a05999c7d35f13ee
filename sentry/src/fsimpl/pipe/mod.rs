//! Pipes and FIFOs (pipe(7), fifo(7)). A [`Pipe`] is what both ends share; a [`PipeEnd`] is what a description has.
//! The lock of a pipe is a leaf: waiters are told after it is released.

mod buffer;
mod fifo;
mod splice;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use self::buffer::{Buffer, PAGE};
pub use self::fifo::open_fifo;
pub use self::splice::{between, push_pages, room, Between, Taking};
use crate::cred::Cred;
use crate::fsimpl::anon::{NodeAttrs, DEV_PIPE};
use crate::mm::{Sink, Source};
use crate::vfs::inode::SetAttrs;
use crate::vfs::{Attrs, File, FileKind, FileOps, Inode, InodeRef, Ioctl, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

/// `fs.pipe-max-size`: what a process without `CAP_SYS_RESOURCE` may ask for.
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// The most that anybody gets; Linux stops at 2 GiB, we at what a guest may make us hold.
const PIPE_HARD_MAX: usize = 64 << 20;
const DEFAULT_SLOTS: usize = 16;

struct State {
    buf: Buffer,
    readers: u32,
    writers: u32,
    /// How many ends of each sort there have ever been; an open that waits for a partner watches them.
    reader_opens: u64,
    writer_opens: u64,
}

/// What the ends of a pipe share.
pub struct Pipe {
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        let state = State {
            buf: Buffer::new(DEFAULT_SLOTS),
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
        };
        Arc::new(Pipe { state: Mutex::new(state), queue: WaitQueue::new() })
    }

    /// `F_GETPIPE_SZ`.
    pub fn capacity(&self) -> usize {
        self.state.lock().buf.max_slots() * PAGE
    }

    /// `F_SETPIPE_SZ`; returns the new size.
    pub fn set_capacity(&self, size: u64, cred: &Cred) -> Result<usize> {
        let size = usize::try_from(size).ok().filter(|s| *s < 1 << 31).ok_or(Errno::EINVAL)?;
        let size = size.max(PAGE).next_power_of_two();
        let mut s = self.state.lock();
        let privileged = cred.has(crate::cred::cap::SYS_RESOURCE);
        if size > s.buf.max_slots() * PAGE && size > PIPE_MAX_SIZE && !privileged {
            return Err(Errno::EPERM);
        }
        if size > PIPE_HARD_MAX {
            return Err(Errno::ENOMEM);
        }
        let was_full = s.buf.is_full();
        if !s.buf.set_max_slots(size / PAGE) {
            return Err(Errno::EBUSY);
        }
        let has_room = was_full && !s.buf.is_full();
        drop(s);
        if has_room {
            self.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
        }
        Ok(size)
    }

    /// A new end for an open with these flags; it counts at once.
    fn end(self: &Arc<Pipe>, flags: u32) -> Arc<PipeEnd> {
        let access = flags & libc::O_ACCMODE as u32;
        let reads = access != libc::O_WRONLY as u32;
        let writes = access != libc::O_RDONLY as u32;
        let mut s = self.state.lock();
        s.readers += reads as u32;
        s.writers += writes as u32;
        s.reader_opens += reads as u64;
        s.writer_opens += writes as u64;
        drop(s);
        self.queue.wake(PollEvents::all());
        Arc::new(PipeEnd { pipe: self.clone(), reads, writes, no_hup_at: AtomicU64::new(0) })
    }
}

/// One description's side of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// A FIFO opened without a writer reports no hang-up until one has come: the count of writers seen at that open.
    no_hup_at: AtomicU64,
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut s = self.pipe.state.lock();
        s.readers -= self.reads as u32;
        s.writers -= self.writes as u32;
        let tell = (s.readers == 0) != (s.writers == 0);
        drop(s);
        if tell {
            self.pipe.queue.wake(PollEvents::all());
        }
    }
}

impl FileOps for PipeEnd {
    fn tells_by_signal(&self) -> bool {
        true
    }

    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if !self.reads {
            return Err(Errno::EBADF);
        }
        if to.remaining() == 0 {
            return Ok(0);
        }
        let mut s = self.pipe.state.lock();
        if s.buf.is_empty() {
            return if s.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let was_full = s.buf.is_full();
        let n = s.buf.drain(to)?;
        let has_room = was_full && !s.buf.is_full();
        drop(s);
        if has_room {
            self.pipe.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
        }
        Ok(n)
    }

    fn write(&self, file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        if !self.writes {
            return Err(Errno::EBADF);
        }
        if from.remaining() == 0 {
            return Ok(0);
        }
        let packet = file.flags() & libc::O_DIRECT as u32 != 0;
        let mut s = self.pipe.state.lock();
        if s.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let n = s.buf.fill(from, packet)?;
        drop(s);
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        // Edge-triggered watchers are told of each write, not only of the first into an empty pipe (epoll(7)).
        self.pipe.queue.wake(PollEvents::IN | PollEvents::RDNORM);
        Ok(n)
    }

    fn write_all_semantics(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let s = self.pipe.state.lock();
        let mut ev = PollEvents::empty();
        if self.reads {
            if !s.buf.is_empty() {
                ev |= PollEvents::IN | PollEvents::RDNORM;
            }
            if s.writers == 0 && self.no_hup_at.load(Ordering::Relaxed) != s.writer_opens {
                ev |= PollEvents::HUP;
            }
        }
        if self.writes {
            if !s.buf.is_full() {
                ev |= PollEvents::OUT | PollEvents::WRNORM;
            }
            if s.readers == 0 {
                ev |= PollEvents::ERR;
            }
        }
        ev
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn ioctl(&self, _file: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        if u64::from(io.request) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = self.pipe.state.lock().buf.len() as i32;
        io.mem.write(io.arg, &n.to_le_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The inode of a nameless pipe: opening it through `/proc/PID/fd` gives another end, without waiting.
pub struct PipeInode {
    pipe: Arc<Pipe>,
    attrs: NodeAttrs,
}

impl Inode for PipeInode {
    fn attrs(&self) -> Result<Attrs> {
        Ok(self.attrs.get())
    }
    fn kind(&self) -> FileKind {
        FileKind::Fifo
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        self.attrs.set(set)
    }
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        Ok(self.pipe.end(flags))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// pipe2(2): the read end and the write end. `flags` may hold `O_NONBLOCK` and `O_DIRECT`.
pub fn create(cred: &Cred, flags: u32) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe::new();
    let attrs = NodeAttrs::new(FileKind::Fifo, 0o600, DEV_PIPE, cred);
    let label = format!("pipe:[{}]", attrs.ino());
    let inode: InodeRef = Arc::new(PipeInode { pipe: pipe.clone(), attrs });
    let keep = flags & (libc::O_NONBLOCK | libc::O_DIRECT) as u32;
    let rflags = libc::O_RDONLY as u32 | keep & libc::O_NONBLOCK as u32;
    let wflags = libc::O_WRONLY as u32 | keep;
    let (r, w) = (pipe.end(rflags), pipe.end(wflags));
    (
        File::anonymous(r, Some(inode.clone()), rflags, label.clone()),
        File::anonymous(w, Some(inode), wflags, label),
    )
}

/// The pipe behind a description, for fcntl(2); `None` where it is no pipe.
pub fn pipe_of(file: &File) -> Option<&Arc<Pipe>> {
    file.downcast::<PipeEnd>().map(|e| &e.pipe)
}
