//! fcntl(2), flock(2), ioctl(2), memfd_create(2): calls on descriptors and descriptions.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::fs::Flock;
use linux_abi::Errno;

use crate::fsimpl::socket::SocketFile;
use crate::fsimpl::{pipe, tmpfs};
use crate::kernel::{Ctx, Restart, Stop, SysResult};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::syscalls::{async_io, Fd};
use crate::vfs::file::Mark;
use crate::vfs::locks::{self, Kind, Owner, Range};
use crate::vfs::permission::owner_or_capable;
use crate::vfs::{File, FileKind, Ioctl, Positioning};
use crate::wait_queue::PollEvents;

const F_OFD_GETLK: i32 = 36;
const F_OFD_SETLK: i32 = 37;
const F_OFD_SETLKW: i32 = 38;
/// What the C library makes of `F_GETOWN`.
const F_GETOWN_EX: i32 = 16;
const F_SETOWN_EX: i32 = 15;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_GET_RW_HINT: i32 = 1035;
const F_SET_RW_HINT: i32 = 1036;
const RWH_WRITE_LIFE_EXTREME: u64 = 5;
const F_DUPFD_QUERY: i32 = 1027;
const F_CREATED_QUERY: i32 = 1028;

/// What `F_SETFL` changes (fcntl(2)).
const SETFL: u32 =
    (libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME | libc::O_NONBLOCK) as u32;

pub fn fcntl(cx: &mut Ctx<'_>, fd: Fd, cmd: i32, arg: u64) -> SysResult {
    let file = cx.file_any(fd.0)?;
    let allowed_on_path =
        [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, F_DUPFD_QUERY];
    if file.is_path() && !allowed_on_path.contains(&cmd) {
        return Err(Errno::EBADF.into());
    }
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let limit = cx.limit(resource::NOFILE);
            let min = arg as u32 as i32;
            if min < 0 || min as u64 >= limit {
                return Err(Errno::EINVAL.into());
            }
            let cloexec = cmd == libc::F_DUPFD_CLOEXEC;
            Ok(cx.task.files().insert(file, cloexec, min as usize, limit)? as u64)
        }
        libc::F_GETFD => Ok(cx.task.files().cloexec(fd.0)? as u64),
        libc::F_SETFD => {
            cx.task.files().set_cloexec(fd.0, arg & libc::FD_CLOEXEC as u64 != 0)?;
            Ok(0)
        }
        libc::F_GETFL => Ok(file.flags() as u64),
        libc::F_SETFL => set_flags(cx, fd, &file, arg as u32),
        libc::F_GETLK | F_OFD_GETLK => get_lock(cx, &file, cmd, UserPtr::new(arg)),
        libc::F_SETLK | libc::F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => {
            set_lock(cx, fd, &file, cmd, UserPtr::new(arg))
        }
        libc::F_GETPIPE_SZ => {
            let p = pipe::pipe_of(&file).ok_or(Errno::EBADF)?;
            Ok(p.capacity() as u64)
        }
        libc::F_SETPIPE_SZ => {
            let p = pipe::pipe_of(&file).ok_or(Errno::EBADF)?;
            Ok(p.set_capacity(arg as u32 as u64, &cx.task.cred())? as u64)
        }
        libc::F_GET_SEALS => Ok(file.ops.seals()? as u64),
        libc::F_ADD_SEALS => {
            if !file.writable() {
                return Err(Errno::EPERM.into());
            }
            file.ops.add_seals(arg as u32)?;
            Ok(0)
        }
        libc::F_GETOWN => Ok(async_io::plain_owner(cx, &file)),
        libc::F_SETOWN => async_io::set_plain_owner(cx, &file, arg as i32),
        F_GETOWN_EX | F_SETOWN_EX => async_io::owner(cx, &file, cmd == F_SETOWN_EX, UserPtr::new(arg)),
        F_SETSIG => {
            async_io::of(cx, &file).set_signal(arg)?;
            Ok(0)
        }
        // No lease is ever given.
        libc::F_GETLEASE => Ok(libc::F_UNLCK as u64),
        F_GETSIG => Ok(async_io::of(cx, &file).signal() as u64),
        F_GET_RW_HINT => {
            UserPtr::<u64>::new(arg).write(&cx.mem, &file.hint.load(Ordering::Relaxed))?;
            Ok(0)
        }
        // Nothing here places data by it.
        F_SET_RW_HINT => {
            let hint = UserPtr::<u64>::new(arg).read(&cx.mem)?;
            if hint > RWH_WRITE_LIFE_EXTREME {
                return Err(Errno::EINVAL.into());
            }
            file.hint.store(hint, Ordering::Relaxed);
            Ok(0)
        }
        F_CREATED_QUERY => Ok(file.marked(Mark::Created).into()),
        F_DUPFD_QUERY => {
            let other = cx.file_any(arg as i32)?;
            Ok(Arc::ptr_eq(&file, &other) as u64)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_flags(cx: &mut Ctx<'_>, fd: Fd, file: &Arc<File>, flags: u32) -> SysResult {
    let old = file.flags();
    let noatime = libc::O_NOATIME as u32;
    if flags & !old & noatime != 0 {
        if let Some(i) = file.inode() {
            if !owner_or_capable(&i.attrs()?, &cx.task.cred()) {
                return Err(Errno::EPERM.into());
            }
        }
    }
    // What cannot tell by signal does not keep the flag, and that is no error.
    let told = libc::O_ASYNC as u32;
    let wanted = if file.ops.tells_by_signal() { flags & SETFL } else { flags & SETFL & !told };
    file.set_flags(old & !SETFL | wanted);
    async_io::follow_flag(cx, fd, file);
    Ok(0)
}

/// The bytes that a `struct flock` names: `EINVAL` for negative ones.
fn byte_range(file: &File, l: &Flock) -> Result<(u64, u64), Errno> {
    let base = match l.whence as i32 {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR if file.ops.positioning() == Positioning::Offset => *file.pos.lock() as i64,
        libc::SEEK_CUR => 0,
        libc::SEEK_END => file.ops.size(file)? as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(l.start).ok_or(Errno::EOVERFLOW)?;
    // A negative length reaches backwards from the start.
    let (start, end) = match l.len {
        0 => (start, i64::MAX),
        n if n > 0 => (start, start.checked_add(n).ok_or(Errno::EOVERFLOW)?),
        n => (start.checked_add(n).ok_or(Errno::EINVAL)?, start),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok((start, if end == i64::MAX { u64::MAX } else { end as u64 }))
}

fn is_ofd(cmd: i32) -> bool {
    matches!(cmd, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW)
}

fn owner(cx: &Ctx<'_>, file: &File, cmd: i32) -> (Owner, i32) {
    if is_ofd(cmd) {
        (file.lock_owner(), -1)
    } else {
        (Owner::Table(cx.task.files().id()), cx.task.group.pid)
    }
}

fn lock_kind(kind: i16) -> Result<Option<Kind>, Errno> {
    match kind as i32 {
        libc::F_RDLCK => Ok(Some(Kind::Shared)),
        libc::F_WRLCK => Ok(Some(Kind::Exclusive)),
        libc::F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

fn get_lock(cx: &mut Ctx<'_>, file: &Arc<File>, cmd: i32, at: UserPtr<Flock>) -> SysResult {
    let mut l = at.read(&cx.mem)?;
    let kind = lock_kind(l.kind)?.ok_or(Errno::EINVAL)?;
    if is_ofd(cmd) && l.pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = byte_range(file, &l)?;
    let (owner, pid) = owner(cx, file, cmd);
    let all = locks::of(file.inode().ok_or(Errno::EINVAL)?)?;
    match all.conflict(&Range { owner, kind, start, end, pid }) {
        None => l.kind = libc::F_UNLCK as i16,
        Some(r) => {
            l.kind = if r.kind == Kind::Shared { libc::F_RDLCK } else { libc::F_WRLCK } as i16;
            l.whence = libc::SEEK_SET as i16;
            l.start = r.start as i64;
            l.len = if r.end == u64::MAX { 0 } else { (r.end - r.start) as i64 };
            l.pid = r.pid;
        }
    }
    at.write(&cx.mem, &l)?;
    Ok(0)
}

fn set_lock(cx: &mut Ctx<'_>, fd: Fd, file: &Arc<File>, cmd: i32, at: UserPtr<Flock>) -> SysResult {
    let l = at.read(&cx.mem)?;
    let kind = lock_kind(l.kind)?;
    if is_ofd(cmd) && l.pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (start, end) = byte_range(file, &l)?;
    let (owner, pid) = owner(cx, file, cmd);
    let all = locks::of(file.inode().ok_or(Errno::EINVAL)?)?;
    let Some(kind) = kind else {
        all.unset(owner, start, end);
        return Ok(0);
    };
    let may = if kind == Kind::Shared { file.readable() } else { file.writable() };
    if !may {
        return Err(Errno::EBADF.into());
    }
    if is_ofd(cmd) {
        file.mark(Mark::Locked);
    }
    let waits = matches!(cmd, libc::F_SETLKW | F_OFD_SETLKW);
    loop {
        let Err(in_way) = all.set(Range { owner, kind, start, end, pid })? else {
            // Closed by another thread meanwhile: nobody would ever release it.
            if !is_ofd(cmd) && !cx.file_any(fd.0).is_ok_and(|f| Arc::ptr_eq(&f, file)) {
                all.unset(owner, start, end);
                return Err(Errno::EBADF.into());
            }
            return Ok(0);
        };
        if !waits {
            return Err(Errno::EAGAIN.into());
        }
        if !is_ofd(cmd) {
            cx.block.scratch = None;
            cx.block.scratch = Some(Box::new(locks::wait_for(owner, in_way.owner)?));
        }
        cx.wait(&[(&all.queue, PollEvents::IN)], Restart::Sys)?;
    }
}

pub fn flock(cx: &mut Ctx<'_>, fd: Fd, op: i32) -> SysResult {
    // `LOCK_MAND` is gone, and asking for it does nothing, on whatever it is.
    const LOCK_MAND: i32 = 32;
    if op & LOCK_MAND != 0 {
        return Ok(0);
    }
    let kind = match op & !libc::LOCK_NB {
        libc::LOCK_SH => Some(Kind::Shared),
        libc::LOCK_EX => Some(Kind::Exclusive),
        libc::LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = cx.file(fd.0)?;
    let all = locks::of(file.inode().ok_or(Errno::EBADF)?)?;
    file.mark(Mark::Locked);
    loop {
        match all.flock(file.lock_owner(), kind) {
            Err(Errno::EAGAIN) if op & libc::LOCK_NB == 0 => {
                cx.wait(&[(&all.queue, PollEvents::IN)], Restart::Sys)?;
            }
            r => return r.map(|()| 0).map_err(Stop::from),
        }
    }
}

pub fn ioctl(cx: &mut Ctx<'_>, fd: Fd, request: u32, arg: u64) -> SysResult {
    const FIGETBSZ: u32 = 2;
    const FIOQSIZE: u32 = 0x5460;
    let has_size = |kind| matches!(kind, FileKind::Regular | FileKind::Dir | FileKind::Symlink);
    const FICLONE: u32 = 0x4004_9409;
    const FICLONERANGE: u32 = 0x4020_940d;
    let file = cx.file(fd.0)?;
    if file.ops.is_terminal() {
        if let Some(done) = super::terminal::ioctl(cx, &file, request, arg) {
            return done;
        }
    }
    match request as u64 {
        libc::FIOCLEX => cx.task.files().set_cloexec(fd.0, true)?,
        libc::FIONCLEX => cx.task.files().set_cloexec(fd.0, false)?,
        libc::FIONBIO => {
            let on = UserPtr::<i32>::new(arg).read(&cx.mem)? != 0;
            let bit = libc::O_NONBLOCK as u32;
            file.set_flags(if on { file.flags() | bit } else { file.flags() & !bit });
        }
        libc::FIOASYNC => {
            let on = UserPtr::<i32>::new(arg).read(&cx.mem)? != 0;
            let bit = libc::O_ASYNC as u32;
            if on && !file.ops.tells_by_signal() {
                return Err(Errno::ENOTTY.into());
            }
            file.set_flags(if on { file.flags() | bit } else { file.flags() & !bit });
            async_io::follow_flag(cx, fd, &file);
        }
        _ if file.downcast::<SocketFile>().is_some() && async_io::is_owner_request(request) => {
            async_io::socket_owner(cx, &file, request, UserPtr::new(arg))?;
        }
        libc::FIONREAD if is_regular(&file) => {
            let left = file.ops.size(&file)?.saturating_sub(*file.pos.lock());
            UserPtr::<i32>::new(arg).write(&cx.mem, &(left as i32))?;
        }
        _ if request == FIOQSIZE && file.inode().is_some_and(|i| has_size(i.kind())) => {
            let size = file.inode().ok_or(Errno::ENOTTY)?.attrs()?.size;
            UserPtr::<i64>::new(arg).write(&cx.mem, &(size as i64))?;
        }
        _ if request == FIGETBSZ && file.inode().is_some() => {
            let size = file.inode().ok_or(Errno::ENOTTY)?.attrs()?.blksize;
            UserPtr::<i32>::new(arg).write(&cx.mem, &(size as i32))?;
        }
        // No file here shares blocks; programs then copy (ioctl_ficlonerange(2)).
        _ if matches!(request, FICLONE | FICLONERANGE) && is_regular(&file) => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return Ok(file.ops.ioctl(&file, &Ioctl { mem: &cx.mem, request, arg })? as u64),
    }
    Ok(0)
}

fn is_regular(file: &File) -> bool {
    file.inode().is_some_and(|i| i.kind() == FileKind::Regular)
}

/// memfd_create(2).
pub fn memfd_create(cx: &mut Ctx<'_>, name: u64, flags: u32) -> SysResult {
    const NAME_MAX: usize = 249;
    let known = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL | libc::MFD_EXEC;
    let both = libc::MFD_NOEXEC_SEAL | libc::MFD_EXEC;
    // Huge pages are not configured here.
    if flags & !known != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let name = match cx.mem.read_cstr(name, NAME_MAX + 1) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
        other => other?,
    };
    let cred = cx.task.cred();
    let inode = tmpfs::memfd(cred.fsuid, cred.fsgid, flags)?;
    let label = format!("/memfd:{} (deleted)", String::from_utf8_lossy(&name));
    let file = File::anonymous(inode.clone(), Some(inode), libc::O_RDWR as u32 | 0o100000, label);
    Ok(cx.install(file, flags & libc::MFD_CLOEXEC != 0)? as u64)
}
