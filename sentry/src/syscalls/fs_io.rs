//! read(2), write(2) and their kin, lseek(2), sync.
//!
//! The operations of a file never block; the loops that wait for it to become ready are here.

use std::sync::Arc;

use linux_abi::fs::Iovec;
use linux_abi::Errno;

use crate::fsimpl::proc::mem::ProcMem;
use crate::kernel::{Ctx, Stop, SysResult};
use crate::limits::resource;
use crate::mm::{is_reserved, AddressSpace, Mem, Nowhere, Sink, Source, UserBuf, UserPtr};
use crate::signal::info::SI_KERNEL;
use crate::signal::SigInfo;
use crate::syscalls::args::{user_range, Fd};
use crate::vfs::{attr, notify, File, FileKind, Positioning};
use crate::wait_queue::PollEvents;

/// The most bytes that one call moves (read(2): "at most 0x7ffff000").
pub const MAX_RW: usize = 0x7fff_f000;
/// The most ranges of readv(2).
pub const IOV_MAX: usize = 1024;

const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 16;
const RWF_NOAPPEND: u32 = 32;

/// The guest ranges of a call, kept to be tried more than once.
pub enum Ranges {
    One(u64, usize),
    Many(Vec<(u64, usize)>),
}

impl Ranges {
    /// One range; `EFAULT` where it reaches beyond what any program can have.
    pub fn one(addr: u64, len: usize) -> Result<Ranges, Errno> {
        user_range(addr, len as u64)?;
        Ok(Ranges::One(addr, len.min(MAX_RW)))
    }

    /// As [`Ranges::one`] for the calls on sockets, which cut the length before they look at the range.
    pub fn cut(addr: u64, len: usize) -> Result<Ranges, Errno> {
        Ranges::one(addr, len.min(MAX_RW))
    }

    /// Reads an array of `struct iovec` (readv(2): `EINVAL` for a bad count or sum).
    pub fn many(mem: &Mem<'_>, addr: u64, count: usize) -> Result<Ranges, Errno> {
        // Whatever a call's own signature says, the number of ranges is an `unsigned int` (`import_iovec`).
        let count = count as u32 as usize;
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut left = MAX_RW;
        let mut list = Vec::with_capacity(count);
        for i in 0..count {
            let v: Iovec = UserPtr::<Iovec>::new(addr).nth(i).read(mem)?;
            if v.len > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            let len = usize::try_from(v.len).unwrap_or(usize::MAX).min(left);
            left -= len;
            list.push((v.base, len));
        }
        Ok(Ranges::Many(list))
    }

    pub fn total(&self) -> usize {
        match self {
            Ranges::One(_, len) => *len,
            Ranges::Many(l) => l.iter().map(|s| s.1).sum(),
        }
    }

    /// The ranges.
    pub fn list(&self) -> Vec<(u64, usize)> {
        match self {
            Ranges::One(addr, len) => vec![(*addr, *len)],
            Ranges::Many(l) => l.clone(),
        }
    }

    /// An array without a byte in it, which asks for nothing: not even a directory says anything against it.
    fn is_no_range(&self) -> bool {
        matches!(self, Ranges::Many(_)) && self.total() == 0
    }

    fn each(&self, mut f: impl FnMut(u64, usize) -> bool) {
        match self {
            Ranges::One(addr, len) => {
                f(*addr, *len);
            }
            Ranges::Many(l) => {
                let _ = l.iter().all(|(addr, len)| f(*addr, *len));
            }
        }
    }

    /// How many bytes, from the first on, a read may put.
    fn writable(&self, mm: &AddressSpace) -> usize {
        let mut total = 0;
        self.each(|addr, len| {
            let n = if len == 0 { 0 } else { mm.writable_len(addr, len) };
            total += n;
            n == len
        });
        total
    }

    /// How many bytes, from the first on, a write can take.
    fn readable(&self, mm: &AddressSpace) -> usize {
        let mut total = 0;
        self.each(|addr, len| {
            let n = if len == 0 { 0 } else { mm.readable_len(addr, len) };
            total += n;
            n == len
        });
        total
    }

    /// How many bytes, from the first on, lie outside the platform's own memory.
    fn outside_reserved(&self) -> usize {
        let mut total = 0;
        self.each(|addr, len| {
            let inside = is_reserved(addr, len);
            total += if inside { 0 } else { len };
            !inside
        });
        total
    }

    /// The first `len` bytes but for `skip`, as a sink or source.
    pub fn buf<'a, 'm>(&self, mem: &'a Mem<'m>, mut skip: usize, len: usize) -> UserBuf<'a, 'm> {
        match self {
            Ranges::One(addr, all) => {
                let end = (*all).min(len);
                let skip = skip.min(end);
                UserBuf::one(mem, addr.wrapping_add(skip as u64), end - skip)
            }
            Ranges::Many(list) => {
                let mut left = len;
                let mut out = Vec::with_capacity(list.len());
                for &(addr, n) in list {
                    let n = n.min(left);
                    left -= n;
                    let k = skip.min(n);
                    skip -= k;
                    out.push((addr.wrapping_add(k as u64), n - k));
                }
                UserBuf::many(mem, out)
            }
        }
    }
}

/// Sends a signal that the task has brought on itself.
pub fn raise(cx: &Ctx<'_>, signo: i32) {
    crate::kernel::signals::send_to_task(cx.task, SigInfo::new(signo, SI_KERNEL));
}

/// Where a transfer happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the description's position, which moves.
    Position,
    Offset(u64),
}

/// Waits until a file may be ready, or `EAGAIN` where it cannot be waited for or has waited for long enough.
pub fn wait_ready(cx: &mut Ctx<'_>, file: &Arc<File>, events: PollEvents) -> Result<(), Stop> {
    let Some(queue) = file.ops.wait_queue() else { return Err(Errno::EAGAIN.into()) };
    if cx.block.deadline.is_none() {
        if let Some(ns) = file.ops.io_timeout(events.contains(PollEvents::OUT)) {
            cx.block.deadline = Some(crate::time::monotonic().saturating_add(ns));
        }
    }
    if cx.timed_out() {
        return Err(Errno::EAGAIN.into());
    }
    let restart = cx.socket_restart();
    cx.wait(&[(queue, events)], restart)
}

/// One try to read.
pub fn read_once(file: &File, at: At, to: &mut dyn Sink) -> Result<usize, Errno> {
    let ops = &file.ops;
    match at {
        At::Offset(pos) => ops.read_at(file, pos, to),
        At::Position if ops.positioning() == Positioning::Offset => {
            let mut pos = file.pos.lock();
            let n = ops.read(file, *pos, to)?;
            *pos += n as u64;
            Ok(n)
        }
        At::Position => ops.read(file, 0, to),
    }
}

/// One try to write; `append` as `O_APPEND` has it.
pub fn write_once(file: &File, at: At, append: bool, from: &mut dyn Source) -> Result<usize, Errno> {
    let ops = &file.ops;
    let positioned = ops.positioning() == Positioning::Offset;
    match at {
        _ if append && positioned => {
            let mut pos = file.pos.lock();
            let (n, end) = ops.append(file, from)?;
            if at == At::Position {
                *pos = end;
            }
            Ok(n)
        }
        At::Offset(pos) => ops.write_at(file, pos, from),
        At::Position if positioned => {
            let mut pos = file.pos.lock();
            let n = ops.write(file, *pos, from)?;
            *pos += n as u64;
            Ok(n)
        }
        At::Position => ops.write(file, 0, from),
    }
}

/// `EBADF` where a description is not open for this; said before the guest's memory is looked at.
fn may_read(file: &File) -> Result<(), Errno> {
    file.readable().then_some(()).ok_or(Errno::EBADF)
}

/// See [`may_read`].
fn may_write(file: &File) -> Result<(), Errno> {
    file.writable().then_some(()).ok_or(Errno::EBADF)
}

/// `EINVAL` where a transfer would go past the last offset there is (`rw_verify_area`).
fn within_offsets(at: At, ranges: &Ranges) -> Result<(), Errno> {
    match at {
        At::Offset(pos) if pos.saturating_add(ranges.total() as u64) > i64::MAX as u64 => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// Reads into guest memory, waiting where the file may be waited for.
pub fn read_file(cx: &mut Ctx<'_>, file: &Arc<File>, ranges: &Ranges, at: At, nowait: bool) -> SysResult {
    may_read(file)?;
    if ranges.is_no_range() {
        return Ok(0);
    }
    within_offsets(at, ranges)?;
    let room = ranges.writable(&cx.task.mm());
    let nowhere = room == 0 && ranges.total() > 0;
    if file.ops.is_terminal() {
        super::terminal::may_read(cx, file)?;
        if !nowhere && room > 0 {
            return super::terminal::read(cx, file, ranges, room, nowait);
        }
    }
    loop {
        let tried = if nowhere {
            read_once(file, at, &mut Nowhere(ranges.total()))
        } else {
            read_once(file, at, &mut ranges.buf(&cx.mem, 0, room))
        };
        match tried {
            Ok(n) => {
                // Of a read of several ranges that came to the end, watchers hear too.
                if n > 0 || matches!(ranges, Ranges::Many(_)) {
                    notify::on_file(file, notify::ACCESS);
                }
                return Ok(n as u64);
            }
            Err(Errno::EAGAIN) if !nowait && !file.nonblocking() => {
                wait_ready(cx, file, PollEvents::READABLE)?;
            }
            Err(Errno::EINVAL) if file.inode().is_some_and(|i| i.kind() == FileKind::Dir) => {
                return Err(Errno::EISDIR.into());
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// How many of `len` bytes the file size limit lets through at a place; `EFBIG` with SIGXFSZ where none.
pub fn within_size_limit(
    cx: &Ctx<'_>,
    file: &File,
    at: At,
    append: bool,
    len: usize,
) -> Result<usize, Errno> {
    let limit = cx.limit(resource::FSIZE);
    if limit == u64::MAX || file.inode().is_none_or(|i| i.kind() != FileKind::Regular) || len == 0 {
        return Ok(len);
    }
    let start = match at {
        _ if append => file.ops.size(file)?,
        At::Offset(pos) => pos,
        At::Position if file.ops.positioning() == Positioning::Host => file.ops.seek(file, 0, 1)?,
        At::Position => *file.pos.lock(),
    };
    if start >= limit {
        raise(cx, libc::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(usize::try_from(limit - start).unwrap_or(usize::MAX).min(len))
}

/// Writes from guest memory, waiting where the file may be waited for.
pub fn write_file(
    cx: &mut Ctx<'_>,
    file: &Arc<File>,
    ranges: &Ranges,
    at: At,
    append: bool,
    nowait: bool,
) -> SysResult {
    may_write(file)?;
    if ranges.is_no_range() {
        return Ok(0);
    }
    within_offsets(at, ranges)?;
    attr::on_write(file, &cx.task.cred())?;
    if file.ops.is_terminal() {
        super::terminal::may_write(cx, file)?;
    }
    let len = within_size_limit(cx, file, at, append, ranges.total())?;
    let nowait = nowait || file.nonblocking();
    let there = ranges.outside_reserved().min(len);
    let nowhere = there == 0 && len > 0;
    let mut len = if nowhere { len } else { there };
    let regular = file.inode().is_some_and(|i| i.kind() == FileKind::Regular);
    loop {
        let done = cx.block.progress as usize;
        let tried = if nowhere {
            write_once(file, at, append, &mut Nowhere(len))
        } else {
            write_once(file, at, append, &mut ranges.buf(&cx.mem, done, len))
        };
        match tried {
            Ok(n) if n > 0 && done + n < len && !nowait && file.ops.write_all_semantics() => {
                cx.block.progress += n as u64;
            }
            Ok(n) => {
                if done + n > 0 {
                    notify::on_file(file, notify::MODIFY);
                    // O_SYNC is O_DSYNC and more.
                    let synced = file.flags() & libc::O_SYNC as u32;
                    if synced != 0 && file.inode().is_some_and(|i| i.kind() == FileKind::Regular) {
                        file.ops.sync(file, synced == libc::O_DSYNC as u32)?;
                    }
                }
                return Ok((done + n) as u64);
            }
            Err(Errno::EAGAIN) if !nowait => match wait_ready(cx, file, PollEvents::WRITABLE) {
                Err(Stop::Errno(_)) if done > 0 => return Ok(done as u64),
                other => other?,
            },
            Err(Errno::EIO) if file.downcast::<ProcMem>().is_some() => {
                return super::proc_mem::force(cx, file, ranges, at);
            }
            // A file takes what there is in front of the bad address; pipes and sockets take whole pages or nothing.
            Err(Errno::EFAULT) if done == 0 && regular && !nowhere => {
                let good = ranges.readable(&cx.task.mm()).min(len);
                if good == 0 || good == len {
                    return Err(Errno::EFAULT.into());
                }
                len = good;
            }
            Err(e) => {
                if e == Errno::EPIPE && file.ops.sigpipe() {
                    raise(cx, libc::SIGPIPE);
                }
                return if done > 0 { Ok(done as u64) } else { Err(e.into()) };
            }
        }
    }
}

fn appends(file: &File) -> bool {
    file.flags() & libc::O_APPEND as u32 != 0
}

pub fn read(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: usize) -> SysResult {
    let file = cx.file(fd.0)?;
    may_read(&file)?;
    read_file(cx, &file, &Ranges::one(addr, len)?, At::Position, false)
}

pub fn write(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: usize) -> SysResult {
    let file = cx.file(fd.0)?;
    may_write(&file)?;
    let append = appends(&file);
    write_file(cx, &file, &Ranges::one(addr, len)?, At::Position, append, false)
}

pub fn readv(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize) -> SysResult {
    let file = cx.file(fd.0)?;
    may_read(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    read_file(cx, &file, &ranges, At::Position, false)
}

pub fn writev(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize) -> SysResult {
    let file = cx.file(fd.0)?;
    may_write(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    let append = appends(&file);
    write_file(cx, &file, &ranges, At::Position, append, false)
}

/// An offset argument; `EINVAL` where negative.
fn offset(pos: i64) -> Result<At, Errno> {
    u64::try_from(pos).map(At::Offset).map_err(|_| Errno::EINVAL)
}

/// The file of a call with an offset: `ESPIPE` comes before the checks on the access mode.
fn seekable(cx: &Ctx<'_>, fd: Fd, pos: i64) -> Result<(Arc<File>, At), Errno> {
    let at = offset(pos)?;
    let file = cx.file(fd.0)?;
    if file.ops.positioning() == Positioning::Stream {
        return Err(Errno::ESPIPE);
    }
    Ok((file, at))
}

pub fn pread64(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: usize, pos: i64) -> SysResult {
    let (file, at) = seekable(cx, fd, pos)?;
    may_read(&file)?;
    read_file(cx, &file, &Ranges::one(addr, len)?, at, false)
}

/// pwrite(2); with `O_APPEND` the data goes to the end whatever the offset (BUGS there).
pub fn pwrite64(cx: &mut Ctx<'_>, fd: Fd, addr: u64, len: usize, pos: i64) -> SysResult {
    let (file, at) = seekable(cx, fd, pos)?;
    may_write(&file)?;
    let append = appends(&file);
    write_file(cx, &file, &Ranges::one(addr, len)?, at, append, false)
}

pub fn preadv(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize, pos: i64) -> SysResult {
    let (file, at) = seekable(cx, fd, pos)?;
    may_read(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    read_file(cx, &file, &ranges, at, false)
}

pub fn pwritev(cx: &mut Ctx<'_>, fd: Fd, iov: u64, count: usize, pos: i64) -> SysResult {
    let (file, at) = seekable(cx, fd, pos)?;
    may_write(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    let append = appends(&file);
    write_file(cx, &file, &ranges, at, append, false)
}

/// The place of preadv2(2): -1 is the current position.
fn place2(cx: &Ctx<'_>, fd: Fd, pos: i64) -> Result<(Arc<File>, At), Errno> {
    if pos == -1 {
        return Ok((cx.file(fd.0)?, At::Position));
    }
    seekable(cx, fd, pos)
}

/// The flags of preadv2(2), which reading and writing take alike. `RWF_ATOMIC` and `RWF_DONTCACHE` are for file systems
/// that have them.
fn check_rwf(file: &File, flags: u32) -> Result<(), Errno> {
    let known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 && flags & RWF_NOAPPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let waits = matches!(file.inode().map(|i| i.kind()), Some(FileKind::Dir | FileKind::Char));
    if flags & RWF_NOWAIT != 0 && waits {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

pub fn preadv2(
    cx: &mut Ctx<'_>,
    fd: Fd,
    iov: u64,
    count: usize,
    pos: i64,
    _pos_high: u64,
    flags: u32,
) -> SysResult {
    let (file, at) = place2(cx, fd, pos)?;
    may_read(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    if ranges.is_no_range() {
        return Ok(0);
    }
    within_offsets(at, &ranges)?;
    check_rwf(&file, flags)?;
    read_file(cx, &file, &ranges, at, flags & RWF_NOWAIT != 0)
}

pub fn pwritev2(
    cx: &mut Ctx<'_>,
    fd: Fd,
    iov: u64,
    count: usize,
    pos: i64,
    _pos_high: u64,
    flags: u32,
) -> SysResult {
    let (file, at) = place2(cx, fd, pos)?;
    may_write(&file)?;
    let ranges = Ranges::many(&cx.mem, iov, count)?;
    if ranges.is_no_range() {
        return Ok(0);
    }
    within_offsets(at, &ranges)?;
    check_rwf(&file, flags)?;
    let append = (appends(&file) && flags & RWF_NOAPPEND == 0) || flags & RWF_APPEND != 0;
    let n = write_file(cx, &file, &ranges, at, append, flags & RWF_NOWAIT != 0)?;
    let stays = matches!(file.inode().map(|i| i.kind()), Some(FileKind::Regular | FileKind::Block));
    if stays && flags & (RWF_DSYNC | RWF_SYNC) != 0 {
        file.ops.sync(&file, flags & RWF_SYNC == 0)?;
    }
    Ok(n)
}

pub fn lseek(cx: &mut Ctx<'_>, fd: Fd, offset: i64, whence: u32) -> SysResult {
    const SEEK_MAX: u32 = 4;
    let file = cx.file(fd.0)?;
    if whence > SEEK_MAX {
        return Err(Errno::EINVAL.into());
    }
    match file.ops.positioning() {
        // What has a file's number and no file stays where it is (noop_llseek of Linux); a pidfd has no positions.
        Positioning::Stream if file.label.starts_with("anon_inode:") && !file.label.contains("pidfd") => {
            return Ok(0);
        }
        Positioning::Stream => return Err(Errno::ESPIPE.into()),
        Positioning::Host => return Ok(file.ops.seek(&file, offset, whence)?),
        Positioning::Offset => {}
    }
    let kind = file.inode().map(|i| i.kind());
    // The devices that have a position at all (null, zero, random) stay at 0 wherever they are sent.
    if kind == Some(FileKind::Char) {
        return Ok(0);
    }
    let is_dir = kind == Some(FileKind::Dir);
    let mut pos = file.pos.lock();
    let base = match whence as i32 {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => *pos as i64,
        libc::SEEK_END if !is_dir => file.ops.size(&file)? as i64,
        libc::SEEK_DATA | libc::SEEK_HOLE if !is_dir => {
            *pos = file.ops.seek(&file, offset, whence)?;
            return Ok(*pos);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    // What overflows is negative, and no position is (lseek(2)).
    let to = base.wrapping_add(offset);
    *pos = u64::try_from(to).map_err(|_| Errno::EINVAL)?;
    Ok(*pos)
}

fn sync_file(cx: &Ctx<'_>, fd: Fd, data_only: bool) -> SysResult {
    let file = cx.file(fd.0)?;
    // Directories and what lives in memory have nothing to wait for.
    match (file.ops.sync(&file, data_only), file.inode().map(|i| i.kind())) {
        (Err(Errno::EINVAL), Some(FileKind::Dir | FileKind::Regular | FileKind::Block)) => Ok(0),
        (r, _) => r.map(|()| 0).map_err(Stop::from),
    }
}

pub fn fsync(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    sync_file(cx, fd, false)
}

pub fn fdatasync(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    sync_file(cx, fd, true)
}

pub fn sync(cx: &mut Ctx<'_>) -> SysResult {
    cx.task.fs().mounts().sync();
    Ok(0)
}

pub fn syncfs(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let file = cx.file(fd.0)?;
    if let Some(inode) = file.inode() {
        inode.sync_all()?;
    }
    Ok(0)
}

pub fn sync_file_range(cx: &mut Ctx<'_>, fd: Fd, offset: i64, len: i64, flags: u32) -> SysResult {
    let file = cx.file(fd.0)?;
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().map(|i| i.kind()) {
        // More than is asked for: all of the file's data.
        Some(FileKind::Regular) if flags != 0 => Ok(file.ops.sync(&file, true).map(|()| 0)?),
        Some(FileKind::Regular | FileKind::Dir | FileKind::Block | FileKind::Symlink) => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}

pub fn fadvise64(cx: &mut Ctx<'_>, fd: Fd, _offset: i64, len: i64, advice: i32) -> SysResult {
    let file = cx.file(fd.0)?;
    if file.inode().is_some_and(|i| i.kind() == FileKind::Fifo) {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || !(0..=5).contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub fn readahead(cx: &mut Ctx<'_>, fd: Fd, _offset: i64, len: i64) -> SysResult {
    let file = cx.file(fd.0)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    match file.inode().map(|i| i.kind()) {
        Some(FileKind::Regular | FileKind::Block) if len >= 0 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Whether a mode of fallocate(2) is one, on whatever file system.
fn is_allocation(mode: i32) -> bool {
    const WRITE_ZEROES: i32 = 0x80;
    let keeps = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 | libc::FALLOC_FL_UNSHARE_RANGE | libc::FALLOC_FL_ZERO_RANGE => true,
        libc::FALLOC_FL_PUNCH_HOLE => keeps,
        libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE | WRITE_ZEROES => !keeps,
        _ => false,
    }
}

pub fn fallocate(cx: &mut Ctx<'_>, fd: Fd, mode: u32, offset: i64, len: i64) -> SysResult {
    let file = cx.file(fd.0)?;
    let (Ok(start), Ok(count)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(Errno::EINVAL.into());
    };
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if !is_allocation(mode as i32) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    match file.inode().map(|i| i.kind()) {
        Some(FileKind::Regular) => {}
        Some(FileKind::Fifo) => return Err(Errno::ESPIPE.into()),
        Some(FileKind::Dir) => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
    if end > cx.limit(resource::FSIZE) && mode & libc::FALLOC_FL_KEEP_SIZE as u32 == 0 {
        raise(cx, libc::SIGXFSZ);
        return Err(Errno::EFBIG.into());
    }
    file.ops.allocate(&file, mode, start, count)?;
    notify::on_file(&file, notify::MODIFY);
    Ok(0)
}

pub fn ftruncate(cx: &mut Ctx<'_>, fd: Fd, size: i64) -> SysResult {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let file = cx.file(fd.0)?;
    let regular = file.inode().is_some_and(|i| i.kind() == FileKind::Regular);
    if !regular || !file.writable() {
        return Err(Errno::EINVAL.into());
    }
    check_size(cx, size)?;
    attr::on_write(&file, &cx.task.cred())?;
    file.ops.truncate(&file, size)?;
    notify::on_file(&file, notify::MODIFY);
    Ok(0)
}

/// `EFBIG` with SIGXFSZ for a new size over the limit.
pub fn check_size(cx: &Ctx<'_>, size: u64) -> Result<(), Errno> {
    if size > cx.limit(resource::FSIZE) {
        raise(cx, libc::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(())
}
