//! Data from one descriptor to another: sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2).
//!
//! It goes through a buffer of the sentry. What was taken from a pipe and could not yet be written is kept with the
//! call ([`Carry`]) while it waits.

use std::sync::Arc;

use linux_abi::Errno;

use crate::fsimpl::pipe::{self, Between, Pipe, Taking};
use crate::kernel::{Ctx, Stop, SysResult};
use crate::mm::{SliceSource, Source, UserPtr, VecSink};
use crate::syscalls::fs_io::{
    raise, read_file, read_once, wait_ready, within_size_limit, write_once, At, Ranges, MAX_RW,
};
use crate::syscalls::Fd;
use crate::vfs::{attr, notify, File, FileKind, Positioning};
use crate::wait_queue::PollEvents;

/// Bytes that go in one step.
const CHUNK: usize = 64 << 10;
/// One buffer of a pipe.
const PAGE: usize = 4096;

/// Bytes taken from a pipe and not yet written.
struct Carry(Vec<u8>);

/// Whether a transfer waits for what is not ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// One side of a transfer: a file, and the guest's offset where it gave one.
struct Side {
    file: Arc<File>,
    /// Where the guest keeps the offset; null for the description's own position.
    at: UserPtr<i64>,
    start: Option<u64>,
}

impl Side {
    fn new(cx: &Ctx<'_>, file: Arc<File>, at: UserPtr<i64>) -> Result<Side, Errno> {
        let start = at.read_opt(&cx.mem)?;
        // The offset of what has none is not looked at, and never used.
        let start = start.map(|o| u64::try_from(o).map_err(|_| Errno::EINVAL)).transpose()?;
        Ok(Side { file, at, start })
    }
    fn plain(file: Arc<File>) -> Side {
        Side { file, at: UserPtr::new(0), start: None }
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
    fn pipe(&self) -> Option<&Arc<Pipe>> {
        pipe::pipe_of(&self.file)
    }
    fn appends(&self) -> bool {
        self.file.flags() & libc::O_APPEND as u32 != 0
    }
    /// Whether splice(2) knows what to do with such a file.
    fn splices(&self) -> bool {
        let kinds = [FileKind::Regular, FileKind::Char, FileKind::Block, FileKind::Socket, FileKind::Fifo];
        kinds.iter().any(|k| self.is(*k))
    }
}

/// Runs one step function until it is done, and writes the offsets back.
fn transfer(
    cx: &mut Ctx<'_>,
    from: &Side,
    to: &Side,
    run: impl FnOnce(&mut Ctx<'_>, &mut Vec<u8>) -> Result<(), Stop>,
) -> SysResult {
    if !from.file.readable() || !to.file.writable() {
        return Err(Errno::EBADF.into());
    }
    attr::on_write(&to.file, &cx.task.cred())?;
    let mut carry = match cx.block.scratch.take().map(|s| s.downcast::<Carry>()) {
        Some(Ok(c)) => c.0,
        _ => Vec::new(),
    };
    let result = run(cx, &mut carry);
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
            if done > 0 {
                notify::on_file(&from.file, notify::ACCESS);
                notify::on_file(&to.file, notify::MODIFY);
            }
            Ok(done)
        }
    }
}

fn wait(cx: &mut Ctx<'_>, file: &Arc<File>, events: PollEvents, how: Wait) -> Result<(), Stop> {
    if how == Wait::No {
        return Err(Errno::EAGAIN.into());
    }
    wait_ready(cx, file, events)
}

fn broken(cx: &mut Ctx<'_>, e: Errno, to: &Side) -> Stop {
    if e == Errno::EPIPE && to.file.ops.sigpipe() {
        raise(cx, libc::SIGPIPE);
    }
    e.into()
}

/// From what can seek, up to `len` bytes. Its position moves as they are written.
fn from_file(cx: &mut Ctx<'_>, from: &Side, to: &Side, len: usize) -> Result<(), Stop> {
    while (cx.block.progress as usize) < len {
        let left = len - cx.block.progress as usize;
        let at = match from.place(cx.block.progress) {
            At::Position => At::Offset(*from.file.pos.lock()),
            at => at,
        };
        let mut sink = VecSink::new(left.min(CHUNK));
        if read_once(&from.file, at, &mut sink)? == 0 {
            return Ok(());
        }
        let place = to.place(cx.block.progress);
        let most = within_size_limit(cx, &to.file, place, to.appends(), sink.data.len())?;
        let mut source = SliceSource(&sink.data[..most]);
        match write_once(&to.file, place, to.appends(), &mut source) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                cx.block.progress += n as u64;
                if from.start.is_none() {
                    *from.file.pos.lock() += n as u64;
                }
            }
            // What was not written is read again.
            Err(Errno::EAGAIN) => {
                let how = if to.file.nonblocking() { Wait::No } else { Wait::Yes };
                wait(cx, &to.file, PollEvents::WRITABLE, how)?;
            }
            Err(e) => return Err(broken(cx, e, to)),
        }
    }
    Ok(())
}

pub fn sendfile(cx: &mut Ctx<'_>, out: Fd, input: Fd, offset: UserPtr<i64>, count: usize) -> SysResult {
    let start = offset.read_opt(&cx.mem)?;
    let sent = send_file(cx, out, input, offset, count);
    if let (Err(Stop::Errno(_)) | Ok(0), Some(start)) = (&sent, start) {
        // The offset is written back whatever came of it.
        offset.write(&cx.mem, &start)?;
    }
    sent
}

fn send_file(cx: &mut Ctx<'_>, out: Fd, input: Fd, offset: UserPtr<i64>, count: usize) -> SysResult {
    let source = cx.file(input.0)?;
    if !source.readable() {
        return Err(Errno::EBADF.into());
    }
    if !offset.is_null() && source.ops.positioning() == Positioning::Stream {
        return Err(Errno::ESPIPE.into());
    }
    let from = Side::new(cx, source, offset)?;
    // The count is a signed one by the time it is looked at (`rw_verify_area`).
    if i64::try_from(count).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let to = Side::plain(cx.file(out.0)?);
    if !to.file.writable() {
        return Err(Errno::EBADF.into());
    }
    if count == 0 {
        return Ok(0);
    }
    // The input must be something that has positions.
    if !from.seeks() || from.is(FileKind::Dir) || !to.splices() {
        return Err(Errno::EINVAL.into());
    }
    if to.appends() && to.seeks() {
        return Err(Errno::EINVAL.into());
    }
    let count = count.min(MAX_RW);
    match to.pipe() {
        // As splice(2): what there is room for.
        Some(pipe) => {
            let wait = how(0, to.file.nonblocking());
            transfer(cx, &from, &to, |cx, _| to_pipe(cx, &from, &to, pipe, count, wait))
        }
        None => transfer(cx, &from, &to, |cx, _| from_file(cx, &from, &to, count)),
    }
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
    let (source, target) = (cx.file(input.0)?, cx.file(out.0)?);
    let from = Side::new(cx, source, in_off)?;
    let to = Side::new(cx, target, out_off)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if from.is(FileKind::Dir) || to.is(FileKind::Dir) {
        return Err(Errno::EISDIR.into());
    }
    if !from.is(FileKind::Regular) || !to.is(FileKind::Regular) {
        return Err(Errno::EINVAL.into());
    }
    if to.appends() || !from.file.readable() || !to.file.writable() {
        return Err(Errno::EBADF.into());
    }
    // A memfd lies on a file system of its own.
    if from.file.path.is_some() != to.file.path.is_some() {
        return Err(Errno::EXDEV.into());
    }
    let pos = |s: &Side| s.start.unwrap_or_else(|| *s.file.pos.lock());
    let (a, b) = (pos(&from), pos(&to));
    if a.checked_add(len as u64).is_none() || b.checked_add(len as u64).is_none() {
        return Err(Errno::EOVERFLOW.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let there = from.file.ops.size(&from.file)?.saturating_sub(a);
    let len = len.min(MAX_RW).min(usize::try_from(there).unwrap_or(usize::MAX));
    let same = match (from.file.inode(), to.file.inode()) {
        (Some(x), Some(y)) => crate::vfs::dentry::same_inode(x, y),
        _ => false,
    };
    if same && a < b + len as u64 && b < a + len as u64 {
        return Err(Errno::EINVAL.into());
    }
    if b.saturating_add(len as u64) > i64::MAX as u64 {
        return Err(Errno::EFBIG.into());
    }
    transfer(cx, &from, &to, |cx, _| from_file(cx, &from, &to, len))
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_FLAGS: u32 = 15;

fn how(flags: u32, also: bool) -> Wait {
    if flags & SPLICE_F_NONBLOCK != 0 || also {
        Wait::No
    } else {
        Wait::Yes
    }
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
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (source, target) = (cx.file(input.0)?, cx.file(out.0)?);
    let pipes = (pipe::pipe_of(&source).is_some(), pipe::pipe_of(&target).is_some());
    if pipes.0 && !in_off.is_null() || pipes.1 && !out_off.is_null() {
        return Err(Errno::ESPIPE.into());
    }
    let from = Side::new(cx, source, in_off)?;
    let to = Side::new(cx, target, out_off)?;
    if !from.file.readable() || !to.file.writable() {
        return Err(Errno::EBADF.into());
    }
    // Between two pipes no range is looked at.
    if !(pipes.0 && pipes.1) && i64::try_from(len).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(MAX_RW);
    match (from.pipe(), to.pipe()) {
        (Some(a), Some(b)) => {
            let wait = how(flags, from.file.nonblocking() || to.file.nonblocking());
            pipe_to_pipe(cx, (&from.file, a), (&to.file, b), len, Taking::Away, wait)
        }
        (Some(_), None) => {
            let placed = to.start.is_some() && !to.seeks();
            if placed || to.seeks() && to.appends() || !to.splices() {
                return Err(Errno::EINVAL.into());
            }
            let wait = how(flags, from.file.nonblocking());
            transfer(cx, &from, &to, |cx, carry| from_pipe(cx, &from, &to, len, wait, carry))
        }
        (None, Some(pipe)) => {
            if from.start.is_some() && !from.seeks() || !from.splices() {
                return Err(Errno::EINVAL.into());
            }
            let wait = how(flags, to.file.nonblocking());
            transfer(cx, &from, &to, |cx, _| to_pipe(cx, &from, &to, pipe, len, wait))
        }
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

/// From a pipe to a file or socket: what the pipe holds, once it holds anything.
fn from_pipe(
    cx: &mut Ctx<'_>,
    from: &Side,
    to: &Side,
    len: usize,
    how: Wait,
    carry: &mut Vec<u8>,
) -> Result<(), Stop> {
    while (cx.block.progress as usize) < len {
        if carry.is_empty() {
            let mut sink = VecSink::new((len - cx.block.progress as usize).min(CHUNK));
            match read_once(&from.file, At::Position, &mut sink) {
                Ok(0) => return Ok(()),
                Ok(_) => *carry = sink.data,
                Err(Errno::EAGAIN) if cx.block.progress > 0 => return Ok(()),
                Err(Errno::EAGAIN) => {
                    wait(cx, &from.file, PollEvents::READABLE, how)?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            }
        }
        let place = to.place(cx.block.progress);
        let most = within_size_limit(cx, &to.file, place, false, carry.len())?;
        let mut source = SliceSource(&carry[..most]);
        match write_once(&to.file, place, false, &mut source) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                let n = n.max(most - source.remaining());
                carry.drain(..n);
                cx.block.progress += n as u64;
            }
            // What was taken goes on: it cannot be put back.
            Err(Errno::EAGAIN) => wait(cx, &to.file, PollEvents::WRITABLE, Wait::Yes)?,
            Err(e) => return Err(broken(cx, e, to)),
        }
    }
    Ok(())
}

/// From a file or socket to a pipe: as much as there is room for, once there is any.
fn to_pipe(
    cx: &mut Ctx<'_>,
    from: &Side,
    to: &Side,
    pipe: &Arc<Pipe>,
    len: usize,
    how: Wait,
) -> Result<(), Stop> {
    loop {
        let room = match pipe::room(pipe) {
            Ok(0) => {
                wait(cx, &to.file, PollEvents::WRITABLE, how)?;
                continue;
            }
            Ok(n) => n * PAGE,
            Err(e) => return Err(broken(cx, e, to)),
        };
        let at = match from.place(0) {
            At::Position if from.seeks() => At::Offset(*from.file.pos.lock()),
            at => at,
        };
        // A file goes by its own pages.
        let cut = match at {
            At::Offset(o) => (o % PAGE as u64) as usize,
            At::Position => 0,
        };
        let mut sink = VecSink::new(len.min(room - cut));
        match read_once(&from.file, at, &mut sink) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::EAGAIN) => {
                let how = if from.file.nonblocking() { Wait::No } else { how };
                wait(cx, &from.file, PollEvents::READABLE, how)?;
                continue;
            }
            Err(e) => return Err(e.into()),
        }
        let n = pipe::push_pages(pipe, &sink.data, cut).map_err(|e| broken(cx, e, to))?;
        cx.block.progress = n as u64;
        if from.seeks() && from.start.is_none() {
            *from.file.pos.lock() += n as u64;
        }
        return Ok(());
    }
}

fn pipe_to_pipe(
    cx: &mut Ctx<'_>,
    (source, from): (&Arc<File>, &Arc<Pipe>),
    (target, to): (&Arc<File>, &Arc<Pipe>),
    len: usize,
    taking: Taking,
    how: Wait,
) -> SysResult {
    loop {
        match pipe::between(from, to, len, taking) {
            Ok(Between::Moved(n)) => {
                if n > 0 {
                    notify::on_file(source, notify::ACCESS);
                    notify::on_file(target, notify::MODIFY);
                }
                return Ok(n as u64);
            }
            Ok(Between::NothingYet) => wait(cx, source, PollEvents::READABLE, how)?,
            Ok(Between::NoRoom) => wait(cx, target, PollEvents::WRITABLE, how)?,
            Err(e) => {
                if e == Errno::EPIPE {
                    raise(cx, libc::SIGPIPE);
                }
                return Err(e.into());
            }
        }
    }
}

pub fn tee(cx: &mut Ctx<'_>, input: Fd, out: Fd, len: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let (source, target) = (cx.file(input.0)?, cx.file(out.0)?);
    if !source.readable() || !target.writable() {
        return Err(Errno::EBADF.into());
    }
    let (Some(from), Some(to)) = (pipe::pipe_of(&source), pipe::pipe_of(&target)) else {
        return Err(Errno::EINVAL.into());
    };
    let wait = how(flags, source.nonblocking() || target.nonblocking());
    pipe_to_pipe(cx, (&source, from), (&target, to), len.min(MAX_RW), Taking::Copy, wait)
}

/// vmsplice(2). Pages cannot be given away here, so they are copied when the call is made.
pub fn vmsplice(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd.0)?;
    if !file.writable() && !file.readable() {
        return Err(Errno::EBADF.into());
    }
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    if ranges.total() == 0 {
        return Ok(0);
    }
    let Some(pipe) = pipe::pipe_of(&file) else { return Err(Errno::EBADF.into()) };
    let wait_how = how(flags, file.nonblocking());
    if !file.writable() {
        return read_file(cx, &file, &ranges, At::Position, wait_how == Wait::No);
    }
    loop {
        let room = match pipe::room(pipe) {
            Ok(0) => {
                wait(cx, &file, PollEvents::WRITABLE, wait_how)?;
                continue;
            }
            Ok(n) => n,
            Err(e) => {
                raise(cx, libc::SIGPIPE);
                return Err(e.into());
            }
        };
        let mut done = 0;
        let mut failed = None;
        // Each range goes by its own pages.
        for (addr, len) in ranges.list() {
            let cut = (addr % PAGE as u64) as usize;
            let mut bytes = vec![0; len.min(room * PAGE)];
            if let Err(e) = cx.mem.read(addr, &mut bytes) {
                failed = Some(e);
                break;
            }
            let n = pipe::push_pages(pipe, &bytes, cut)?;
            done += n;
            if n < len {
                break;
            }
        }
        return match failed {
            Some(e) if done == 0 => Err(e.into()),
            _ => Ok(done as u64),
        };
    }
}
