//! eventfd(2), timerfd_create(2), signalfd(2), pidfd_open(2) and what goes with them.

use std::sync::Arc;

use linux_abi::Errno;

use super::args::Fd;
use super::readiness::timespec;
use crate::cred::cap;
use crate::fsimpl::timerfd::{Setting, TimerFd};
use crate::fsimpl::{eventfd, inotify, pidfd, proc, signalfd, timerfd};
use crate::kernel::{Ctx, SysResult, ThreadGroup};
use crate::mm::UserPtr;
use crate::signal::SigSet;
use crate::time::NSEC;
use crate::vfs::{permission, Access, FileKind};

const NONBLOCK: u32 = libc::O_NONBLOCK as u32;
const CLOEXEC: u32 = libc::O_CLOEXEC as u32;
/// `CAP_WAKE_ALARM`.
const WAKE_ALARM: u32 = 35;

fn only(flags: u32, known: u32) -> Result<(), Errno> {
    if flags & !known == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

pub fn eventfd(cx: &mut Ctx<'_>, initial: u32) -> SysResult {
    eventfd2(cx, initial, 0)
}

pub fn eventfd2(cx: &mut Ctx<'_>, initial: u32, flags: u32) -> SysResult {
    only(flags, NONBLOCK | CLOEXEC | libc::EFD_SEMAPHORE as u32)?;
    let semaphore = flags & libc::EFD_SEMAPHORE as u32 != 0;
    let file = eventfd::create(&cx.task.cred(), initial.into(), semaphore, flags & NONBLOCK);
    Ok(cx.install(file, flags & CLOEXEC != 0)? as u64)
}

pub fn timerfd_create(cx: &mut Ctx<'_>, clock: i32, flags: u32) -> SysResult {
    only(flags, NONBLOCK | CLOEXEC)?;
    let cred = cx.task.cred();
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME => {}
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => cred.require(WAKE_ALARM)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    let file = timerfd::create(&cred, &cx.kernel.timers, clock, flags & NONBLOCK);
    Ok(cx.install(file, flags & CLOEXEC != 0)? as u64)
}

/// `struct itimerspec`: interval, then value.
type Itimerspec = [i64; 4];

fn to_guest(s: Setting) -> Itimerspec {
    let split = |ns: u64| [(ns / NSEC) as i64, (ns % NSEC) as i64];
    let ([a, b], [c, d]) = (split(s.interval), split(s.value));
    [a, b, c, d]
}

pub fn timerfd_settime(
    cx: &mut Ctx<'_>,
    fd: Fd,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    let [isec, insec, vsec, vnsec] = new.read(&cx.mem)?;
    // TFD_TIMER_CANCEL_ON_SET is taken; the guest cannot set the clock, so nothing cancels.
    only(flags, (libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) as u32)?;
    let interval = timespec([isec, insec])?;
    let value = timespec([vsec, vnsec])?;
    let file = cx.file(fd.0)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    let before = timer.set(Setting { value, interval }, flags & libc::TFD_TIMER_ABSTIME as u32 != 0);
    old.write_opt(&cx.mem, &to_guest(before))?;
    Ok(0)
}

pub fn timerfd_gettime(cx: &mut Ctx<'_>, fd: Fd, current: UserPtr<Itimerspec>) -> SysResult {
    let file = cx.file(fd.0)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    current.write(&cx.mem, &to_guest(timer.get()))?;
    Ok(0)
}

pub fn signalfd(cx: &mut Ctx<'_>, fd: Fd, mask: UserPtr<u64>, size: usize) -> SysResult {
    signalfd4(cx, fd, mask, size, 0)
}

pub fn signalfd4(cx: &mut Ctx<'_>, fd: Fd, mask: UserPtr<u64>, size: usize, flags: u32) -> SysResult {
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask = SigSet(mask.read(&cx.mem)?);
    only(flags, NONBLOCK | CLOEXEC)?;
    if fd.0 == -1 {
        let file = signalfd::create(cx.kernel, cx.task, mask, flags & NONBLOCK);
        return Ok(cx.install(file, flags & CLOEXEC != 0)? as u64);
    }
    let file = cx.file(fd.0)?;
    file.downcast::<signalfd::SignalFd>().ok_or(Errno::EINVAL)?.set_mask(mask);
    Ok(fd.0 as u64)
}

pub fn inotify_init(cx: &mut Ctx<'_>) -> SysResult {
    inotify_init1(cx, 0)
}

pub fn inotify_init1(cx: &mut Ctx<'_>, flags: u32) -> SysResult {
    only(flags, NONBLOCK | CLOEXEC)?;
    let file = inotify::create(&cx.task.cred(), flags & NONBLOCK)?;
    Ok(cx.install(file, flags & CLOEXEC != 0)? as u64)
}

pub fn inotify_add_watch(cx: &mut Ctx<'_>, fd: Fd, path: u64, mask: u32) -> SysResult {
    use libc::{IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT, IN_ONLYDIR};
    const KNOWN: u32 = libc::IN_ALL_EVENTS
        | libc::IN_UNMOUNT
        | libc::IN_Q_OVERFLOW
        | libc::IN_IGNORED
        | libc::IN_ISDIR
        | IN_ONLYDIR
        | IN_DONT_FOLLOW
        | IN_EXCL_UNLINK
        | IN_MASK_ADD
        | IN_MASK_CREATE
        | IN_ONESHOT;
    if mask & !KNOWN != 0 || mask & KNOWN == 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd.0)?;
    if mask & (IN_MASK_ADD | IN_MASK_CREATE) == IN_MASK_ADD | IN_MASK_CREATE {
        return Err(Errno::EINVAL.into());
    }
    let instance = file.downcast::<inotify::Inotify>().ok_or(Errno::EINVAL)?;
    let text = cx.path(path)?;
    let place = cx.lookup().resolve(&text, mask & IN_DONT_FOLLOW == 0)?;
    if mask & IN_ONLYDIR != 0 && place.inode().kind() != FileKind::Dir {
        return Err(Errno::ENOTDIR.into());
    }
    permission(&place.inode().attrs()?, &cx.task.cred(), Access::READ)?;
    Ok(instance.watch(place.inode(), mask)? as u64)
}

pub fn inotify_rm_watch(cx: &mut Ctx<'_>, fd: Fd, number: i32) -> SysResult {
    let file = cx.file(fd.0)?;
    file.downcast::<inotify::Inotify>().ok_or(Errno::EINVAL)?.unwatch(number)?;
    Ok(0)
}
/// A thread, not its process (pidfd_open(2), `PIDFD_THREAD`).
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

pub fn pidfd_open(cx: &mut Ctx<'_>, pid: i32, flags: u32) -> SysResult {
    only(flags, NONBLOCK | PIDFD_THREAD)?;
    if pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let thread = match flags & PIDFD_THREAD {
        0 => None,
        _ => Some(cx.kernel.task(pid).ok_or(Errno::ESRCH)?),
    };
    let group = match &thread {
        Some(t) => t.group.clone(),
        None => match cx.kernel.group(pid) {
            Some(g) => g,
            // A thread that leads no group cannot be meant.
            None if cx.kernel.task(pid).is_some() => return Err(Errno::ENOENT.into()),
            None => return Err(Errno::ESRCH.into()),
        },
    };
    let file = pidfd::create(&cx.task.cred(), group, thread.as_ref(), flags & NONBLOCK);
    Ok(cx.install(file, true)? as u64)
}

/// The process that a pidfd stands for, if it is still there.
pub(super) fn pidfd_group(cx: &Ctx<'_>, fd: i32) -> Result<Arc<ThreadGroup>, Errno> {
    let file = cx.file(fd)?;
    let meant = pidfd::group_of(&file).ok_or(Errno::EBADF)?;
    // The number may belong to another process by now.
    cx.kernel.group(meant.pid).filter(|g| Arc::ptr_eq(g, meant)).ok_or(Errno::ESRCH)
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(cx: &mut Ctx<'_>, fd: Fd, signo: i32, info: u64, flags: u32) -> SysResult {
    // To a thread, to a process, to a process group: one of them, else as the descriptor was made.
    const SCOPES: u32 = 7;
    if flags & !SCOPES != 0 || flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(fd.0)?;
    // A descriptor of /proc/PID will do as well (pidfd_send_signal(2)).
    let of_proc = || file.inode().and_then(proc::process_of);
    let meant = pidfd::group_of(&file).cloned().or_else(of_proc).ok_or(Errno::EBADF)?;
    let pid = meant.pid;
    // The number may belong to another process by now.
    if !cx.kernel.group(pid).is_some_and(|g| Arc::ptr_eq(&g, &meant)) {
        return Err(Errno::ESRCH.into());
    }
    if info != 0 && UserPtr::<i32>::new(info).read(&cx.mem)? != signo {
        return Err(Errno::EINVAL.into());
    }
    const THREAD: u32 = 1;
    const GROUP: u32 = 4;
    if flags == GROUP {
        if info != 0 {
            // The details are another sender's than kill(2)'s: not for a whole group.
            return Err(Errno::EINVAL.into());
        }
        return super::signals::kill(cx, -pid, signo);
    }
    let thread = match pidfd::thread_of(&file) {
        Some(t) if flags == 0 || flags == THREAD => Some(t?.tid()),
        _ if flags == THREAD => Some(pid),
        _ => None,
    };
    if let Some(tid) = thread {
        return if info == 0 {
            super::signals::tgkill(cx, pid, tid, signo)
        } else {
            super::signals::rt_tgsigqueueinfo(cx, pid, tid, signo, info)
        };
    }
    if info == 0 {
        super::signals::kill(cx, pid, signo)
    } else {
        super::signals::rt_sigqueueinfo(cx, pid, signo, info)
    }
}

/// pidfd_getfd(2): needs what ptrace(2) would need.
pub fn pidfd_getfd(cx: &mut Ctx<'_>, fd: Fd, target: i32, flags: u32) -> SysResult {
    only(flags, 0)?;
    let file = cx.file(fd.0)?;
    let group = pidfd::group_of(&file).ok_or(Errno::EBADF)?;
    let task = group.threads().first().cloned().ok_or(Errno::ESRCH)?;
    let (mine, theirs) = (cx.task.cred(), task.cred());
    let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == mine.fsuid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == mine.fsgid);
    if !same && !mine.has(cap::SYS_PTRACE) {
        return Err(Errno::EPERM.into());
    }
    let wanted = task.files().get(target)?;
    Ok(cx.install(wanted, true)? as u64)
}
