//! Data from one descriptor to another: sendfile(2), copy_file_range(2), splice(2).
//!
//! It goes through a buffer of the sentry. What was taken from a pipe and could not yet be written is kept with the
//! call ([`Carry`]) while it waits.

use std::sync::Arc;

use linux_abi::Errno;

use crate::kernel::{Ctx, Stop, SysResult};
use crate::mm::{SliceSource, Source, UserPtr, VecSink};
use crate::syscalls::fs_io::{
    raise, read_file, read_once, wait_ready, write_file, write_once, At, Ranges, MAX_RW,
};
use crate::syscalls::Fd;
use crate::vfs::{attr, File, FileKind, Positioning};
use crate::wait_queue::PollEvents;

/// Bytes that go in one step.
const CHUNK: usize = 64 << 10;
/// Bytes that a pipe takes whole if it takes any (`PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// Bytes taken from a stream and not yet written.
struct Carry(Vec<u8>);

/// One side of a transfer: a file, and the guest's offset where it gave one.
struct Side {
    file: Arc<File>,
    /// Where the guest keeps the offset; null for the description's own position.
    at: UserPtr<i64>,
    start: Option<u64>,
}

impl Side {
    fn new(cx: &Ctx<'_>, fd: Fd, at: UserPtr<i64>) -> Result<Side, Errno> {
        let file = cx.file(fd.0)?;
        let start = match at.read_opt(&cx.mem)? {
            None => None,
            Some(o) => {
                if file.ops.positioning() == Positioning::Stream {
                    return Err(Errno::ESPIPE);
                }
                Some(u64::try_from(o).map_err(|_| Errno::EINVAL)?)
            }
        };
        Ok(Side { file, at, start })
    }
    fn place(&self, done: u64) -> At {
        match self.start {
            Some(o) => At::Offset(o.saturating_add(done)),
            None => At::Position,
        }
    }
    fn finish(&self, cx: &Ctx<'_>, done: u64) -> Result<(), Errno> {
        match self.start {
            Some(o) => self.at.write(&cx.mem, &(o.saturating_add(done) as i64)),
            None => Ok(()),
        }
    }
    fn is(&self, kind: FileKind) -> bool {
        self.file.inode().is_some_and(|i| i.kind() == kind)
    }
    fn seeks(&self) -> bool {
        self.file.ops.positioning() == Positioning::Offset
    }
}

/// Moves up to `len` bytes. A seekable input is read without moving its position until the bytes are written.
fn transfer(cx: &mut Ctx<'_>, from: &Side, to: &Side, len: usize, nowait: bool) -> SysResult {
    if !from.file.readable() || !to.file.writable() {
        return Err(Errno::EBADF.into());
    }
    attr::on_write(&to.file, &cx.task.cred())?;
    let mut carry = match cx.block.scratch.take().map(|s| s.downcast::<Carry>()) {
        Some(Ok(c)) => c.0,
        _ => Vec::new(),
    };
    let result = move_bytes(cx, from, to, len, nowait, &mut carry);
    let done = cx.block.progress;
    match result {
        Err(stop @ Stop::Block(_)) => {
            cx.block.scratch = Some(Box::new(Carry(carry)));
            // A signal that ends the wait returns the progress: the offsets must say the same.
            from.finish(cx, done)?;
            to.finish(cx, done)?;
            Err(stop)
        }
        Err(e) if done == 0 => Err(e),
        _ => {
            from.finish(cx, done)?;
            to.finish(cx, done)?;
            Ok(done)
        }
    }
}

fn move_bytes(
    cx: &mut Ctx<'_>,
    from: &Side,
    to: &Side,
    len: usize,
    nowait: bool,
    carry: &mut Vec<u8>,
) -> Result<(), Stop> {
    let stream = !from.seeks();
    while (cx.block.progress as usize) < len {
        let left = len - cx.block.progress as usize;
        if carry.is_empty() {
            // A pipe that is ready takes PIPE_BUF bytes: no more is taken from a stream than surely goes on.
            if stream && !to.seeks() && !to.file.ops.poll(&to.file).contains(PollEvents::OUT) {
                wait(cx, &to.file, PollEvents::WRITABLE, nowait)?;
                continue;
            }
            let most = if stream && !to.seeks() { PIPE_BUF } else { CHUNK };
            let mut sink = VecSink::new(left.min(most));
            let at = match from.place(cx.block.progress) {
                At::Position if !stream => At::Offset(*from.file.pos.lock()),
                at => at,
            };
            match read_once(&from.file, at, &mut sink) {
                Ok(0) => return Ok(()),
                Ok(_) => *carry = sink.data,
                Err(Errno::EAGAIN) if cx.block.progress == 0 => {
                    wait(cx, &from.file, PollEvents::READABLE, nowait)?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            }
        }
        let append = to.file.flags() & libc::O_APPEND as u32 != 0;
        let place = to.place(cx.block.progress);
        let mut source = SliceSource(carry);
        match write_once(&to.file, place, append, &mut source) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                let n = n.max(carry.len() - source.remaining());
                carry.drain(..n);
                cx.block.progress += n as u64;
                if !stream {
                    // What was not written is read again.
                    carry.clear();
                    if from.start.is_none() {
                        *from.file.pos.lock() += n as u64;
                    }
                } else if carry.is_empty() {
                    // One go is enough for a stream: more may take for ever to come.
                    return Ok(());
                }
            }
            Err(Errno::EAGAIN) => {
                if !stream {
                    carry.clear();
                }
                wait(cx, &to.file, PollEvents::WRITABLE, nowait && carry.is_empty())?;
            }
            Err(e) => {
                if e == Errno::EPIPE && to.file.ops.sigpipe() {
                    raise(cx, libc::SIGPIPE);
                }
                return Err(e.into());
            }
        }
    }
    Ok(())
}

fn wait(cx: &mut Ctx<'_>, file: &Arc<File>, events: PollEvents, nowait: bool) -> Result<(), Stop> {
    if nowait || file.nonblocking() {
        return Err(Errno::EAGAIN.into());
    }
    wait_ready(cx, file, events)
}

pub fn sendfile(cx: &mut Ctx<'_>, out: Fd, input: Fd, offset: UserPtr<i64>, count: usize) -> SysResult {
    let from = Side::new(cx, input, offset)?;
    let to = Side::new(cx, out, UserPtr::new(0))?;
    // sendfile(2): the input must be something that can be mapped, or a pipe's like since Linux 5.12 it is not.
    if !from.seeks() || from.is(FileKind::Dir) {
        return Err(Errno::EINVAL.into());
    }
    if to.file.flags() & libc::O_APPEND as u32 != 0 && to.seeks() {
        return Err(Errno::EINVAL.into());
    }
    transfer(cx, &from, &to, count.min(MAX_RW), false)
}

pub fn copy_file_range(
    cx: &mut Ctx<'_>,
    input: Fd,
    in_off: UserPtr<i64>,
    out: Fd,
    out_off: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let from = Side::new(cx, input, in_off)?;
    let to = Side::new(cx, out, out_off)?;
    if from.is(FileKind::Dir) || to.is(FileKind::Dir) {
        return Err(Errno::EISDIR.into());
    }
    if !from.is(FileKind::Regular) || !to.is(FileKind::Regular) {
        return Err(Errno::EINVAL.into());
    }
    if to.file.flags() & libc::O_APPEND as u32 != 0 {
        return Err(Errno::EBADF.into());
    }
    let pos = |s: &Side| s.start.unwrap_or_else(|| *s.file.pos.lock());
    let (a, b) = (pos(&from), pos(&to));
    let len = len.min(MAX_RW);
    let same = match (from.file.inode(), to.file.inode()) {
        (Some(x), Some(y)) => crate::vfs::dentry::same_inode(x, y),
        _ => false,
    };
    if same && a < b.saturating_add(len as u64) && b < a.saturating_add(len as u64) {
        return Err(Errno::EINVAL.into());
    }
    transfer(cx, &from, &to, len, false)
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_FLAGS: u32 = 15;

fn is_pipe(file: &File) -> bool {
    crate::fsimpl::pipe::pipe_of(file).is_some()
}

pub fn splice(
    cx: &mut Ctx<'_>,
    input: Fd,
    in_off: UserPtr<i64>,
    out: Fd,
    out_off: UserPtr<i64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let from = Side::new(cx, input, in_off)?;
    let to = Side::new(cx, out, out_off)?;
    if !is_pipe(&from.file) && !is_pipe(&to.file) {
        return Err(Errno::EINVAL.into());
    }
    if to.seeks() && to.file.flags() & libc::O_APPEND as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if let (Some(a), Some(b)) =
        (crate::fsimpl::pipe::pipe_of(&from.file), crate::fsimpl::pipe::pipe_of(&to.file))
    {
        if Arc::ptr_eq(a, b) {
            return Err(Errno::EINVAL.into());
        }
    }
    transfer(cx, &from, &to, len.min(CHUNK), flags & SPLICE_F_NONBLOCK != 0)
}

/// vmsplice(2): as writev or readv on the pipe, since pages cannot be given away.
pub fn vmsplice(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd.0)?;
    if !is_pipe(&file) {
        return Err(Errno::EBADF.into());
    }
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    let nowait = flags & SPLICE_F_NONBLOCK != 0;
    if file.writable() {
        write_file(cx, &file, &ranges, At::Position, false, nowait)
    } else {
        read_file(cx, &file, &ranges, At::Position, nowait)
    }
}
