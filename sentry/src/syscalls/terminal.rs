//! Terminals as a task meets them (tty(4), tty_ioctl(4)): opening one may make it the controlling terminal, reading and
//! writing in the background costs a signal, and the requests of job control. For pseudo-terminals of the guest's own
//! and for the donated terminal alike; the host's own foreground group and session are never touched, and the launcher
//! relays what its terminal sends.

use std::sync::Arc;

use linux_abi::Errno;

use super::fs_io::{self, At, Ranges};
use crate::fsimpl::dev;
use crate::fsimpl::host::stream::HostStream;
use crate::fsimpl::tty::{self, end_of, request, DevPts, Side};
use crate::kernel::terminal::{self, Tty, Use};
use crate::kernel::{Ctx, Restart, Stop, SysResult};
use crate::mm::UserPtr;
use crate::vfs::open::{describe, Located};
use crate::vfs::{File, FileOps, Lookup};
use crate::wait_queue::PollEvents;

const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCNOTTY: u32 = 0x5422;
const TIOCGSID: u32 = 0x5429;
const TIOCGPTPEER: u32 = 0x5441;

/// The terminal of a description, and whether it is that terminal itself: a master stands for its slave's. `None` for a
/// donated terminal that is not the command's controlling one.
fn tty_of(cx: &Ctx<'_>, file: &File) -> Option<(Arc<Tty>, bool)> {
    if let Some(end) = end_of(file) {
        return Some((end.pty.tty.clone(), end.side == Side::Slave));
    }
    let console = &cx.kernel.console;
    let rdev = file.downcast::<HostStream>()?.terminal()?;
    (rdev == console.number()).then(|| (console.clone(), true))
}

/// open(2) of a character device: `/dev/tty` is the caller's terminal, `ptmx` a new one each time.
pub fn open(cx: &mut Ctx<'_>, found: Located) -> Result<Arc<File>, Stop> {
    let inode = found.place.inode().clone();
    let flags = found.flags;
    let noctty = flags & libc::O_NOCTTY as u32 != 0;
    let ops: Arc<dyn FileOps> = match inode.attrs()?.rdev {
        dev::PTMX => {
            let names = DevPts::get().ok_or(Errno::ENODEV)?;
            return Ok(describe(found.place, names.create(&cx.task.cred())?, flags));
        }
        dev::TTY => {
            let tty = terminal::of(&cx.task.group).ok_or(Errno::ENXIO)?;
            if Arc::ptr_eq(&tty, &cx.kernel.console) {
                dev::terminal()?
            } else {
                let pty = DevPts::get().and_then(|n| n.of_tty(&tty)).ok_or(Errno::EIO)?;
                check_exclusive(cx, &pty)?;
                pty.open_slave()?
            }
        }
        _ => match tty::pty_of(&inode) {
            Some(pty) => {
                check_exclusive(cx, &pty)?;
                pty.open_slave()?
            }
            None => return Ok(found.open()?),
        },
    };
    let file = describe(found.place, ops, flags);
    if let (false, Some((tty, true))) = (noctty, tty_of(cx, &file)) {
        terminal::opened(&cx.task.group, &tty, file.readable());
    }
    Ok(file)
}

/// `TIOCEXCL`: `EBUSY` for all but the administrator.
fn check_exclusive(cx: &Ctx<'_>, pty: &tty::Pty) -> Result<(), Errno> {
    let admin = cx.task.cred().has(crate::cred::cap::SYS_ADMIN);
    if pty.is_exclusive() && !admin {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// A read of the controlling terminal in the background: SIGTTIN.
pub fn may_read(cx: &Ctx<'_>, file: &File) -> Result<(), Stop> {
    match tty_of(cx, file) {
        Some((tty, true)) => terminal::check(cx, &tty, Use::Read),
        _ => Ok(()),
    }
}

/// A write to the controlling terminal in the background: SIGTTOU under `TOSTOP`.
pub fn may_write(cx: &Ctx<'_>, file: &File) -> Result<(), Stop> {
    let Some((tty, true)) = tty_of(cx, file) else { return Ok(()) };
    if tty.ids().foreground == cx.task.group.state.lock().pgid {
        return Ok(());
    }
    let stops = match end_of(file) {
        Some(end) => end.pty.stops_writers(),
        None => file.downcast::<HostStream>().is_some_and(HostStream::stops_writers),
    };
    if stops {
        terminal::check(cx, &tty, Use::Change)?;
    }
    Ok(())
}

/// Reads a terminal: the count of bytes and the time that termios(3) says, for a pseudo-terminal; a donated one has its
/// own on the host. `room` is what can be put.
pub fn read(cx: &mut Ctx<'_>, file: &Arc<File>, ranges: &Ranges, room: usize, nowait: bool) -> SysResult {
    let timing = end_of(file).map(|e| e.timing());
    let minimum = timing.map_or(1, |t| t.minimum);
    let nonblock = nowait || file.nonblocking();
    if let (0, Some(ns)) = (cx.block.runs, timing.and_then(|t| t.first)) {
        cx.block.deadline = Some(crate::time::monotonic().saturating_add(ns));
    }
    let at_once = timing.is_some_and(|t| t.first == Some(0));
    loop {
        let done = cx.block.progress as usize;
        match fs_io::read_once(file, At::Position, &mut ranges.buf(&cx.mem, done, room)) {
            Ok(n) => {
                let all = done + n;
                if n == 0 || all >= minimum || all >= room {
                    return Ok(all as u64);
                }
                cx.block.progress = all as u64;
                if let Some(ns) = timing.and_then(|t| t.between) {
                    let deadline = crate::time::monotonic().saturating_add(ns);
                    cx.block.deadline = Some(deadline);
                    // The wait may have begun already, without a limit or with an earlier one.
                    cx.block.timer = Some(cx.kernel.timers.arm(deadline, cx.task.waker()));
                }
            }
            Err(Errno::EAGAIN) if at_once || cx.timed_out() => return Ok(done as u64),
            Err(Errno::EAGAIN) if nonblock && done > 0 => return Ok(done as u64),
            Err(Errno::EAGAIN) if !nonblock => {
                let queue = file.ops.wait_queue().ok_or(Errno::EAGAIN)?;
                cx.wait(&[(queue, PollEvents::READABLE)], Restart::Sys)?;
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Answers the requests that concern the task as well as the terminal; `None` for those that the terminal answers.
pub fn ioctl(cx: &mut Ctx<'_>, file: &File, request: u32, arg: u64) -> Option<SysResult> {
    let job = matches!(request, TIOCSCTTY | TIOCGPGRP | TIOCSPGRP | TIOCNOTTY | TIOCGSID);
    let Some((tty, direct)) = tty_of(cx, file) else {
        return job.then_some(Err(Errno::ENOTTY.into()));
    };
    if end_of(file).is_some_and(|e| e.is_hung_up()) {
        return Some(Err(if request == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into()));
    }
    if job {
        return Some(job_control(cx, file, request, arg, &tty, direct));
    }
    if request == TIOCGPTPEER && end_of(file).is_some() {
        return Some(if direct { Err(Errno::EIO.into()) } else { open_peer(cx, file, arg as u32) });
    }
    // A master changes its slave's modes, but its own flow and queues.
    let modes = !matches!(request, request::TCSBRK | request::TCSBRKP | request::TCXONC | request::TCFLSH);
    if request::CHANGES.contains(&request) && (direct || modes) {
        if let Err(stop) = terminal::check(cx, &tty, Use::Change) {
            return Some(Err(stop));
        }
    }
    None
}

fn job_control(
    cx: &mut Ctx<'_>,
    file: &File,
    request: u32,
    arg: u64,
    tty: &Arc<Tty>,
    direct: bool,
) -> SysResult {
    let word = UserPtr::<i32>::new(arg);
    match request {
        TIOCSCTTY => terminal::acquire(cx, tty, file.readable(), arg == 1)?,
        TIOCNOTTY if direct => terminal::give_up(cx, tty)?,
        TIOCNOTTY => return Err(Errno::ENOTTY.into()),
        TIOCGPGRP => word.write(&cx.mem, &terminal::foreground(cx, tty, direct)?)?,
        TIOCGSID => word.write(&cx.mem, &terminal::session(cx, tty, direct)?)?,
        _ => terminal::set_foreground(cx, tty, || word.read(&cx.mem))?,
    }
    Ok(0)
}

/// `TIOCGPTPEER`: the slave of this very master, whatever its name leads to where the caller is.
fn open_peer(cx: &mut Ctx<'_>, file: &File, flags: u32) -> SysResult {
    let pty = end_of(file).ok_or(Errno::ENOTTY)?.pty.clone();
    let ops = pty.open_slave()?;
    let name = format!("/dev/pts/{}", pty.index);
    let look = Lookup::kernel(cx.kernel.mounts.root());
    let place = look.resolve(name.as_bytes(), false).ok();
    let kept =
        flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_CLOEXEC | libc::O_NOCTTY) as u32;
    let peer = match place.filter(|p| tty::pty_of(p.inode()).is_some_and(|q| Arc::ptr_eq(&q, &pty))) {
        Some(place) => describe(place, ops, kept),
        None => File::anonymous(ops, None, kept, name),
    };
    if flags & libc::O_NOCTTY as u32 == 0 {
        terminal::opened(&cx.task.group, &pty.tty, peer.readable());
    }
    Ok(cx.install(peer, flags & libc::O_CLOEXEC as u32 != 0)? as u64)
}

/// vhangup(2): the caller's terminal, as if its line had gone.
pub fn vhangup(cx: &mut Ctx<'_>) -> SysResult {
    const SYS_TTY_CONFIG: u32 = 26;
    if !cx.task.cred().has(SYS_TTY_CONFIG) {
        return Err(Errno::EPERM.into());
    }
    let tty = terminal::of(&cx.task.group);
    // The donated one is the caller's own, which we do not hang up.
    if let Some(pty) = tty.and_then(|t| DevPts::get()?.of_tty(&t)) {
        pty.hang_up();
    }
    Ok(0)
}
