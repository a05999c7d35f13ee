//! Controlling terminals: which session a terminal belongs to, which process group is in its foreground, and what both
//! mean for signals (credentials(7), tty_ioctl(4)). The devices themselves are file systems' affairs; this holds alike
//! for a terminal of the guest's own and for the one that was donated.
//!
//! Lock order: `Tty::ids` is a leaf, and never held while a signal is sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use linux_abi::Errno;
use parking_lot::Mutex;

use super::signals::{kernel_signal, send_to_group, send_to_pgrp};
use super::thread_group::ThreadGroup;
use super::{Ctx, Kernel, Restart, Stop, FIRST_PID, INIT_PID};
use crate::signal::SIG_IGN;

/// A terminal as job control knows it. A process has at most one as its controlling terminal.
#[derive(Default)]
pub struct Tty {
    number: AtomicU64,
    ids: Mutex<Ids>,
}

/// Whose terminal it is; 0 where it is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub session: i32,
    pub foreground: i32,
}

/// What a process asks of its controlling terminal, and in the background pays for with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    /// Write (under `TOSTOP`), or change modes.
    Change,
}

impl Tty {
    /// A terminal with this device number that is nobody's yet.
    pub fn new(number: u64) -> Arc<Tty> {
        Arc::new(Tty { number: AtomicU64::new(number), ids: Mutex::default() })
    }
    /// The device number (`tty_nr` of proc(5)).
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
    /// Known only once the standard streams have been looked at.
    pub fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }
    pub fn ids(&self) -> Ids {
        *self.ids.lock()
    }
    pub fn set_foreground(&self, pgid: i32) {
        self.ids.lock().foreground = pgid;
    }
    pub fn set_ids(&self, ids: Ids) {
        *self.ids.lock() = ids;
    }
    /// Sends a signal of the kernel's own to the foreground.
    pub fn signal(&self, kernel: &Arc<Kernel>, signo: i32) {
        let pgid = self.ids().foreground;
        if pgid != 0 {
            send_to_pgrp(kernel, pgid, kernel_signal(signo));
        }
    }
}

/// The controlling terminal of a process.
pub fn of(group: &ThreadGroup) -> Option<Arc<Tty>> {
    group.state.lock().tty.clone()
}

fn is(group: &ThreadGroup, tty: &Arc<Tty>) -> bool {
    group.state.lock().tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty))
}

/// Whether a process leads its session.
fn leads(group: &ThreadGroup) -> bool {
    group.state.lock().sid == group.pid
}

/// Whether who asks may use the terminal now. A process of the background gets SIGTTIN or SIGTTOU with its whole group,
/// or `EIO` where that would stop it for good (`tty_check_change` of Linux; tcsetpgrp(3)).
pub fn check(cx: &Ctx<'_>, tty: &Arc<Tty>, purpose: Use) -> Result<(), Stop> {
    let group = &cx.task.group;
    let pgid = {
        let s = group.state.lock();
        if !s.tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty)) {
            return Ok(());
        }
        s.pgid
    };
    let foreground = tty.ids().foreground;
    if foreground == 0 || foreground == pgid {
        return Ok(());
    }
    let signo = match purpose {
        Use::Read => libc::SIGTTIN,
        Use::Change => libc::SIGTTOU,
    };
    let deaf = cx.task.sig.lock().mask.contains(signo) || group.action(signo).handler == SIG_IGN;
    match purpose {
        Use::Read if deaf => return Err(Errno::EIO.into()),
        Use::Change if deaf => return Ok(()),
        _ => {}
    }
    if orphaned(cx.kernel, pgid, None) {
        return Err(Errno::EIO.into());
    }
    send_to_pgrp(cx.kernel, pgid, kernel_signal(signo));
    Err(Stop::Interrupt(Restart::Sys))
}

/// Whether a process group is orphaned: nobody who could continue its members, in their session but in another group,
/// is the parent of one (POSIX; `will_become_orphaned_pgrp` of Linux). `but` is left out of account.
pub fn orphaned(kernel: &Kernel, pgid: i32, but: Option<&Arc<ThreadGroup>>) -> bool {
    let all: Vec<_> = kernel.pids.lock().groups.values().cloned().collect();
    !all.iter().any(|g| {
        if g.pid == INIT_PID || but.is_some_and(|b| Arc::ptr_eq(b, g)) {
            return false;
        }
        let (sid, parent) = {
            let s = g.state.lock();
            if s.pgid != pgid || s.zombie.is_some() {
                return false;
            }
            (s.sid, s.parent.upgrade())
        };
        // Whoever started the sandbox can continue the command (the launcher stops and goes on with it).
        if g.pid == FIRST_PID && pgid == FIRST_PID && sid == FIRST_PID {
            return true;
        }
        let Some(parent) = parent.filter(|p| p.pid != INIT_PID) else { return false };
        let p = parent.state.lock();
        p.pgid != pgid && p.sid == sid
    })
}

/// A group that an end has orphaned while members are stopped: SIGHUP and SIGCONT (POSIX, _exit()). `family` is a
/// member and its parent, between whom the tie was; `ends` is who ends.
pub fn tell_orphans(kernel: &Arc<Kernel>, member: &Arc<ThreadGroup>, parent: &Arc<ThreadGroup>, ends: bool) {
    let (pgid, sid) = {
        let s = member.state.lock();
        (s.pgid, s.sid)
    };
    let tied = {
        let p = parent.state.lock();
        parent.pid != INIT_PID && p.pgid != pgid && p.sid == sid
    };
    if !tied || !orphaned(kernel, pgid, ends.then_some(member)) {
        return;
    }
    let stopped = |s: &super::thread_group::GroupState| s.pgid == pgid && s.stopped.is_some();
    if !kernel.groups_where(stopped).is_empty() {
        send_to_pgrp(kernel, pgid, kernel_signal(libc::SIGHUP));
        send_to_pgrp(kernel, pgid, kernel_signal(libc::SIGCONT));
    }
}

/// Makes a terminal the caller's controlling one.
fn take(group: &ThreadGroup, tty: &Arc<Tty>) {
    let ids = {
        let mut s = group.state.lock();
        s.tty = Some(tty.clone());
        s.old_foreground = 0;
        Ids { session: s.sid, foreground: s.pgid }
    };
    tty.set_ids(ids);
}

/// open(2) of a terminal without `O_NOCTTY`: the leader of a session without a terminal takes one that is nobody's,
/// provided that it may read there.
pub fn opened(group: &ThreadGroup, tty: &Arc<Tty>, readable: bool) {
    let free = group.state.lock().tty.is_none() && tty.ids().session == 0;
    if readable && free && leads(group) {
        take(group, tty);
    }
}

/// `TIOCSCTTY`. `steals`: the caller may and wants to take it from another session.
pub fn acquire(cx: &Ctx<'_>, tty: &Arc<Tty>, readable: bool, steals: bool) -> Result<(), Errno> {
    let group = &cx.task.group;
    let (leader, sid, has) = {
        let s = group.state.lock();
        (s.sid == group.pid, s.sid, s.tty.is_some())
    };
    let session = tty.ids().session;
    if leader && session == sid {
        return Ok(());
    }
    let admin = cx.task.cred().has(crate::cred::cap::SYS_ADMIN);
    if !leader || has || (session != 0 && !(steals && admin)) || (!readable && !admin) {
        return Err(Errno::EPERM);
    }
    if session != 0 {
        clear(cx.kernel, session);
    }
    take(group, tty);
    Ok(())
}

/// Takes the terminal from all of a session.
fn clear(kernel: &Kernel, session: i32) {
    for g in kernel.groups_where(|s| s.sid == session) {
        g.state.lock().tty = None;
    }
}

/// `TIOCNOTTY`: the caller gives its terminal up; a leader does so for its session.
pub fn give_up(cx: &Ctx<'_>, tty: &Arc<Tty>) -> Result<(), Errno> {
    let group = &cx.task.group;
    if !is(group, tty) {
        return Err(Errno::ENOTTY);
    }
    if leads(group) {
        tty.signal(cx.kernel, libc::SIGHUP);
        tty.signal(cx.kernel, libc::SIGCONT);
        tty.set_ids(Ids::default());
        clear(cx.kernel, group.pid);
    }
    group.state.lock().tty = None;
    Ok(())
}

/// A process ends. With the leader its session loses the terminal, whose foreground gets SIGHUP (setsid(2), _exit(2)).
pub fn ends(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>) {
    if !leads(group) {
        return;
    }
    let (tty, old) = {
        let mut s = group.state.lock();
        (s.tty.clone(), std::mem::take(&mut s.old_foreground))
    };
    match tty {
        Some(tty) => {
            tty.signal(kernel, libc::SIGHUP);
            tty.set_ids(Ids::default());
            clear(kernel, group.pid);
        }
        // Its terminal was hung up before; the group that was in the foreground then hears of the end.
        None if old != 0 => {
            send_to_pgrp(kernel, old, kernel_signal(libc::SIGHUP));
            send_to_pgrp(kernel, old, kernel_signal(libc::SIGCONT));
        }
        None => {}
    }
}

/// The line is gone: nobody's terminal any more, and the leader of the session hears of it (tty_vhangup of Linux).
pub fn hang_up(kernel: &Arc<Kernel>, tty: &Arc<Tty>) {
    let ids = std::mem::take(&mut *tty.ids.lock());
    if ids.session == 0 {
        return;
    }
    for g in kernel.groups_where(|s| s.sid == ids.session) {
        {
            let mut s = g.state.lock();
            if s.tty.as_ref().is_some_and(|t| Arc::ptr_eq(t, tty)) {
                s.tty = None;
            }
            if g.pid == ids.session {
                s.old_foreground = ids.foreground;
            }
        }
        if g.pid == ids.session {
            send_to_group(&g, kernel_signal(libc::SIGHUP));
            send_to_group(&g, kernel_signal(libc::SIGCONT));
        }
    }
}

/// `TIOCGPGRP`. `direct`: asked at the terminal itself, not at a pseudo-terminal's other side.
pub fn foreground(cx: &Ctx<'_>, tty: &Arc<Tty>, direct: bool) -> Result<i32, Errno> {
    if direct && !is(&cx.task.group, tty) {
        return Err(Errno::ENOTTY);
    }
    Ok(tty.ids().foreground)
}

/// `TIOCGSID`, as [`foreground`].
pub fn session(cx: &Ctx<'_>, tty: &Arc<Tty>, direct: bool) -> Result<i32, Errno> {
    let session = tty.ids().session;
    if session == 0 || (direct && !is(&cx.task.group, tty)) {
        return Err(Errno::ENOTTY);
    }
    Ok(session)
}

/// `TIOCSPGRP`: puts a group of the caller's session into the foreground. `read` gives the group's number.
pub fn set_foreground(
    cx: &Ctx<'_>,
    tty: &Arc<Tty>,
    read: impl FnOnce() -> Result<i32, Errno>,
) -> Result<(), Stop> {
    match check(cx, tty, Use::Change) {
        Err(Stop::Errno(Errno::EIO)) => return Err(Errno::ENOTTY.into()),
        other => other?,
    }
    let pgid = read()?;
    if pgid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let sid = cx.task.group.state.lock().sid;
    if !is(&cx.task.group, tty) || tty.ids().session != sid {
        return Err(Errno::ENOTTY.into());
    }
    // The number of a group, or, where there is no such group, of a process.
    let of_group = cx.kernel.groups_where(|s| s.pgid == pgid);
    let named = match of_group.first() {
        Some(g) => Some(g.clone()),
        None => cx.kernel.group(pgid).or_else(|| cx.kernel.task(pgid).map(|t| t.group.clone())),
    };
    let named = named.ok_or(Errno::ESRCH)?;
    if named.state.lock().sid != sid {
        return Err(Errno::EPERM.into());
    }
    tty.set_foreground(pgid);
    Ok(())
}
