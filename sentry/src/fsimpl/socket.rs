//! A socket as a file.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::kernel::{current, Kernel};
use crate::mm::{Sink, Source};
use crate::net::queue::DEFAULT_BUFFER;
use crate::net::socket::Status;
use crate::net::transfer::{Destination, NotSent, Outgoing};
use crate::net::{Socket, Ucred};
use crate::vfs::{File, FileOps, Ioctl, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

/// The description's side of a socket.
pub struct SocketFile {
    pub socket: Arc<Socket>,
    kernel: std::sync::Weak<Kernel>,
}

pub fn create(kernel: &Arc<Kernel>, cred: &Cred, socket: Arc<Socket>, flags: u32) -> Arc<File> {
    let (inode, ino) = AnonInode::socket(cred);
    let ops = SocketFile { socket, kernel: Arc::downgrade(kernel) };
    File::anonymous(Arc::new(ops), Some(inode), libc::O_RDWR as u32 | flags, format!("socket:[{ino}]"))
}

/// The socket behind a description; `ENOTSOCK`.
pub fn of(file: &File) -> Result<&Arc<Socket>> {
    file.downcast::<SocketFile>().map(|s| &s.socket).ok_or(Errno::ENOTSOCK)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.close();
    }
}

impl SocketFile {
    /// Who writes: the task whose handler runs.
    fn writer(&self) -> Ucred {
        let task = current::current_tid().and_then(|t| self.kernel.upgrade()?.task(t));
        task.map_or(Ucred::NOBODY, |t| {
            let c = t.cred();
            Ucred { pid: t.group.pid, uid: c.uid, gid: c.gid }
        })
    }
}

impl FileOps for SocketFile {
    fn tells_by_signal(&self) -> bool {
        true
    }

    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if to.remaining() == 0 && self.socket.is_stream() {
            return Ok(0);
        }
        let got = self.socket.receive(to, false)?;
        Ok(got.map_or(0, |g| g.count))
    }

    fn write(&self, _file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        let cred = if self.socket.is_unix() { self.writer() } else { Ucred::NOBODY };
        let mut out = Outgoing { cred, files: Vec::new(), to: Destination::Connected };
        match self.socket.send(from, &mut out) {
            Ok(n) => Ok(n),
            Err(NotSent::Errno(e)) => Err(e),
            Err(NotSent::Full(_)) => Err(Errno::EAGAIN),
        }
    }

    fn write_all_semantics(&self) -> bool {
        self.socket.is_stream()
    }

    fn sigpipe(&self) -> bool {
        self.socket.is_stream()
    }

    fn io_timeout(&self, writing: bool) -> Option<u64> {
        let o = &self.socket.options;
        let ns = if writing { &o.send_timeout } else { &o.receive_timeout };
        Some(ns.load(Ordering::Relaxed)).filter(|n| *n > 0)
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.socket.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.queue)
    }

    fn ioctl(&self, _file: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        let n = match u64::from(io.request) {
            libc::FIONREAD if self.socket.status() == Status::Listening => return Err(Errno::EINVAL),
            libc::FIONREAD => self.socket.available(),
            libc::TIOCOUTQ => self.socket.unsent().min(DEFAULT_BUFFER * 4),
            _ => return Err(Errno::ENOTTY),
        };
        io.mem.write(io.arg, &(n as i32).to_le_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
