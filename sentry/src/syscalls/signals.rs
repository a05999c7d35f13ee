//! Signal calls: actions, masks, sending, waiting (signal(7)).

use std::collections::BTreeSet;
use std::sync::Arc;

use linux_abi::Errno;

use crate::kernel::{signals, Ctx, Restart, Stop, SysResult, ThreadGroup};
use crate::mm::UserPtr;
use crate::signal::info::{SI_TKILL, SI_USER};
use crate::signal::{AltStack, SigAction, SigInfo, SigSet, Signo, NSIG, SIG_IGN};
use crate::time::NSEC;
use crate::wait_queue::PollEvents;

/// The only size of a signal set that the kernel takes.
const SETSIZE: usize = 8;

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SETSIZE {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// `EINVAL` for what is no signal number; 0 only tests. Looked at once it is known whom it is for.
fn sendable(signo: i32) -> Result<(), Errno> {
    if (0..=NSIG as i32).contains(&signo) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// rt_sigaction(2).
pub fn rt_sigaction(
    cx: &mut Ctx<'_>,
    signo: i32,
    new: UserPtr<[u64; 4]>,
    old: UserPtr<[u64; 4]>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let new = new.read_opt(&cx.mem)?;
    if !(1..=NSIG as i32).contains(&signo) {
        return Err(Errno::EINVAL.into());
    }
    if new.is_some() && (signo == libc::SIGKILL || signo == libc::SIGSTOP) {
        return Err(Errno::EINVAL.into());
    }
    let hand = cx.task.group.sighand.read().clone();
    let before = {
        let mut hand = hand.lock();
        let slot = hand.actions.get_mut(signo as usize - 1).ok_or(Errno::EINVAL)?;
        let before = *slot;
        if let Some([handler, flags, restorer, mask]) = new {
            *slot = SigAction { handler, flags: flags & KNOWN_FLAGS, restorer, mask: SigSet(mask).as_mask() };
        }
        before
    };
    if let Some([handler, ..]) = new {
        let default_ignored =
            handler == 0 && crate::signal::default_action(signo) == crate::signal::DefaultAction::Ignore;
        if handler == SIG_IGN || default_ignored {
            let set = SigSet::of(signo);
            cx.task.group.pending.lock().discard(set);
            cx.task.group.threads().iter().for_each(|t| t.sig.lock().pending.discard(set));
        }
    }
    old.write_opt(&cx.mem, &[before.handler, before.flags, before.restorer, before.mask.0])?;
    Ok(0)
}

/// All `SA_*` that Linux keeps; unknown bits are cleared, so that a program can find out (sigaction(2)).
const KNOWN_FLAGS: u64 = 0xdc00_0807;

/// rt_sigprocmask(2).
pub fn rt_sigprocmask(
    cx: &mut Ctx<'_>,
    how: i32,
    new: UserPtr<u64>,
    old: UserPtr<u64>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let new = new.read_opt(&cx.mem)?;
    let before = cx.task.sig.lock().mask;
    if let Some(set) = new {
        let set = SigSet(set);
        let mask = match how {
            libc::SIG_BLOCK => before.union(set),
            libc::SIG_UNBLOCK => before.minus(set),
            libc::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        signals::set_mask(cx.task, mask);
    }
    old.write_opt(&cx.mem, &before.0)?;
    Ok(0)
}

/// rt_sigpending(2).
pub fn rt_sigpending(cx: &mut Ctx<'_>, set: UserPtr<u64>, size: usize) -> SysResult {
    if size > SETSIZE {
        return Err(Errno::EINVAL.into());
    }
    let of_group = cx.task.group.pending.lock().set();
    let pending = {
        let sig = cx.task.sig.lock();
        SigSet(sig.pending.set().union(of_group).0 & sig.mask.0)
    };
    // A smaller size takes the beginning only.
    cx.mem.write(set.addr(), &pending.0.to_le_bytes()[..size])?;
    Ok(0)
}

/// rt_sigsuspend(2).
pub fn rt_sigsuspend(cx: &mut Ctx<'_>, set: UserPtr<u64>, size: usize) -> SysResult {
    check_size(size)?;
    if cx.block.runs == 0 {
        let mask = set.read(&cx.mem)?;
        signals::set_temporary_mask(cx.task, SigSet(mask));
    }
    pause(cx)
}

/// restart_syscall(2): what is made again here never comes by this number.
pub fn restart_syscall(_cx: &mut Ctx<'_>) -> SysResult {
    Err(Errno::EINTR.into())
}

/// pause(2).
pub fn pause(_cx: &mut Ctx<'_>) -> SysResult {
    Err(Stop::Block(Restart::NoHand))
}

/// rt_sigreturn(2): mask and alternate stack come from the frame here, registers in the stub.
pub fn rt_sigreturn(cx: &mut Ctx<'_>) -> SysResult {
    // struct ucontext: flags 8, link 8, stack 24, mcontext 256, sigmask 8.
    let mut uc = [0u8; 304];
    let sp = cx.call.sp;
    if cx.mem.read(sp, &mut uc).is_err() {
        signals::force(cx.task, signals::kernel_signal(libc::SIGSEGV));
        return Ok(0);
    }
    let word = |at: usize| u64::from_le_bytes(uc[at..at + 8].try_into().unwrap_or_default());
    let stack = AltStack { sp: word(16), flags: word(24) as i32, size: word(32) };
    let _ = set_altstack(cx, stack, true);
    signals::set_mask(cx.task, SigSet(word(296)));
    Err(Stop::Sigreturn)
}

const SS_AUTODISARM: i32 = 1 << 31;

fn set_altstack(cx: &Ctx<'_>, new: AltStack, restoring: bool) -> Result<(), Errno> {
    let mode = new.flags & !SS_AUTODISARM;
    if mode != 0 && mode != libc::SS_ONSTACK && mode != libc::SS_DISABLE {
        return Err(Errno::EINVAL);
    }
    let mut sig = cx.task.sig.lock();
    if !restoring && sig.altstack.contains(cx.call.sp) {
        return Err(Errno::EPERM);
    }
    sig.altstack = if mode == libc::SS_DISABLE {
        AltStack { flags: new.flags, ..AltStack::default() }
    } else {
        if new.size < libc::MINSIGSTKSZ as u64 {
            return Err(Errno::ENOMEM);
        }
        AltStack { flags: new.flags & SS_AUTODISARM, ..new }
    };
    Ok(())
}

/// sigaltstack(2).
pub fn sigaltstack(cx: &mut Ctx<'_>, new: UserPtr<[u64; 3]>, old: UserPtr<[u64; 3]>) -> SysResult {
    let new = new.read_opt(&cx.mem)?;
    let before = cx.task.sig.lock().altstack;
    if let Some([sp, flags, size]) = new {
        set_altstack(cx, AltStack { sp, flags: flags as i32, size }, false)?;
    }
    let shown = if before.flags & libc::SS_DISABLE != 0 {
        before.flags
    } else if before.contains(cx.call.sp) {
        before.flags | libc::SS_ONSTACK
    } else {
        before.flags
    };
    old.write_opt(&cx.mem, &[before.sp, shown as u32 as u64, before.size])?;
    Ok(0)
}

fn own_info(cx: &Ctx<'_>, signo: Signo, code: i32) -> SigInfo {
    SigInfo::user(signo, code, cx.task.group.pid, cx.task.cred().uid)
}

fn send(cx: &Ctx<'_>, group: &Arc<ThreadGroup>, info: SigInfo) -> Result<(), Errno> {
    sendable(info.signo)?;
    signals::may_signal(&cx.task.cred(), &cx.task.group, group, info.signo)?;
    if info.signo != 0 && !signals::send_to_group(group, info) {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// kill(2).
pub fn kill(cx: &mut Ctx<'_>, pid: i32, signo: i32) -> SysResult {
    let info = own_info(cx, signo, SI_USER);
    let mut result = Err(Errno::ESRCH);
    let mut told = BTreeSet::new();
    // On Linux nobody is born while many are signalled. Here whoever was born meanwhile is looked for once more; no one
    // who was killed has children afterwards.
    for _ in 0..MAX_ROUNDS {
        let mut targets = targets(cx, pid)?;
        targets.retain(|t| told.insert(t.pid));
        for t in &targets {
            match send(cx, t, info) {
                Ok(()) => result = Ok(0),
                Err(e) if result == Err(Errno::ESRCH) => result = Err(e),
                Err(_) => {}
            }
        }
        if targets.is_empty() || pid > 0 {
            break;
        }
    }
    Ok(result?)
}

/// How often kill(2) of many looks for more of them.
const MAX_ROUNDS: usize = 64;

/// Whom the number of kill(2) means now.
fn targets(cx: &Ctx<'_>, pid: i32) -> Result<Vec<Arc<ThreadGroup>>, Errno> {
    Ok(match pid {
        // The number of any thread will do (kill_pid_info).
        1.. => vec![cx.kernel.group_of(pid).ok_or(Errno::ESRCH)?],
        -1 => {
            let me = cx.task.group.pid;
            cx.kernel.groups_where(|s| s.zombie.is_none()).into_iter().filter(|g| g.pid != me).collect()
        }
        i32::MIN => return Err(Errno::ESRCH),
        p => {
            let pgid = if p == 0 { cx.task.group.state.lock().pgid } else { -p };
            cx.kernel.groups_where(|s| s.pgid == pgid)
        }
    })
}

fn send_to_thread(cx: &Ctx<'_>, tgid: Option<i32>, tid: i32, info: SigInfo) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|g| g <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let Some(task) = cx.kernel.task(tid) else {
        // A zombie takes signals, to no effect.
        let zombie = cx.kernel.group(tid).filter(|g| tgid.is_none_or(|t| t == g.pid));
        let group = zombie.ok_or(Errno::ESRCH)?;
        signals::may_signal(&cx.task.cred(), &cx.task.group, &group, info.signo)?;
        return Ok(0);
    };
    if tgid.is_some_and(|g| g != task.group.pid) {
        return Err(Errno::ESRCH.into());
    }
    sendable(info.signo)?;
    signals::may_signal(&cx.task.cred(), &cx.task.group, &task.group, info.signo)?;
    if info.signo != 0 && !signals::send_to_task(&task, info) {
        return Err(Errno::EAGAIN.into());
    }
    Ok(0)
}

/// tkill(2).
pub fn tkill(cx: &mut Ctx<'_>, tid: i32, signo: i32) -> SysResult {
    let info = own_info(cx, signo, SI_TKILL);
    send_to_thread(cx, None, tid, info)
}

/// tgkill(2).
pub fn tgkill(cx: &mut Ctx<'_>, tgid: i32, tid: i32, signo: i32) -> SysResult {
    let info = own_info(cx, signo, SI_TKILL);
    send_to_thread(cx, Some(tgid), tid, info)
}

fn queued_info(signo: i32, bytes: [u8; 128], to_self: bool) -> Result<SigInfo, Errno> {
    let info = SigInfo::from_bytes(signo, bytes);
    // Nobody pretends to be the kernel or kill(2) towards others.
    if (info.code >= 0 || info.code == SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

/// rt_sigqueueinfo(2).
pub fn rt_sigqueueinfo(cx: &mut Ctx<'_>, pid: i32, signo: i32, info: u64) -> SysResult {
    let mut bytes = [0; 128];
    cx.mem.read(info, &mut bytes)?;
    let info = queued_info(signo, bytes, pid == cx.task.group.pid)?;
    let group = cx.kernel.group_of(pid).ok_or(Errno::ESRCH)?;
    send(cx, &group, info)?;
    Ok(0)
}

/// rt_tgsigqueueinfo(2).
pub fn rt_tgsigqueueinfo(cx: &mut Ctx<'_>, tgid: i32, tid: i32, signo: i32, info: u64) -> SysResult {
    let mut bytes = [0; 128];
    cx.mem.read(info, &mut bytes)?;
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = queued_info(signo, bytes, tgid == cx.task.group.pid)?;
    send_to_thread(cx, Some(tgid), tid, info)
}

/// rt_sigtimedwait(2).
pub fn rt_sigtimedwait(
    cx: &mut Ctx<'_>,
    set: UserPtr<u64>,
    info: u64,
    timeout: UserPtr<[i64; 2]>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let wanted = SigSet(set.read(&cx.mem)?).as_mask();
    if cx.block.runs == 0 {
        if let Some([sec, nsec]) = timeout.read_opt(&cx.mem)? {
            if sec < 0 || !(0..NSEC as i64).contains(&nsec) {
                return Err(Errno::EINVAL.into());
            }
            let span = (sec as u64).saturating_mul(NSEC).saturating_add(nsec as u64);
            cx.block.deadline = Some(crate::time::monotonic().saturating_add(span));
        }
    }
    let group = cx.task.group.clone();
    loop {
        cx.task.sig.lock().awaited = wanted;
        let got = cx.task.sig.lock().pending.take(wanted);
        let got = got.or_else(|| group.pending.lock().take(wanted));
        if let Some(i) = got {
            cx.task.sig.lock().awaited = SigSet::EMPTY;
            if info != 0 {
                cx.mem.write(info, &i.bytes)?;
            }
            return Ok(i.signo as u64);
        }
        if cx.timed_out() {
            cx.task.sig.lock().awaited = SigSet::EMPTY;
            return Err(Errno::EAGAIN.into());
        }
        cx.wait(&[(&group.signal_wait, PollEvents::IN)], Restart::Never)?;
    }
}
