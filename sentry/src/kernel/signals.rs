//! Signals at work: sending, choosing the thread, and what a thread does with the next one (signal(7)).
//!
//! A signal is queued, then its thread is told ([`Task::kick`]); the thread looks when it is about to go back to the
//! guest or to wait. `attention` says that looking is worth it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use platform::{Resume, SignalFrame};

use super::task::Task;
use super::thread_group::{ExitStatus, ThreadGroup};
use super::Kernel;
use crate::cred::{cap, Cred};
use crate::signal::info::SI_USER;
use crate::signal::queue::{Charge, Origin, PendingQueue};
use crate::signal::{
    self, DefaultAction, SigAction, SigInfo, SigSet, Signo, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SIG_DFL,
    SIG_IGN,
};
use crate::wait_queue::{PollEvents, Waiter};

/// The stop signals, which a SIGCONT takes out of the queues.
const STOPS: SigSet = SigSet(
    1 << (libc::SIGSTOP - 1) | 1 << (libc::SIGTSTP - 1) | 1 << (libc::SIGTTIN - 1) | 1 << (libc::SIGTTOU - 1),
);

/// What the next pending signal makes a thread do.
pub enum Next {
    /// Nothing is to be done.
    None,
    Handler(SigInfo, SigAction),
    /// The whole group ends.
    Exit(ExitStatus),
    /// This thread alone leaves.
    Leave,
    /// The group is stopped.
    Stop,
    /// The tracer is to say what becomes of a signal.
    Traced(SigInfo),
    /// The tracer is to see the thread stopped: by its group's stop, or because it asked.
    TracedStop(Option<Signo>),
}

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Queued,
    /// Ignored, or merged with one of its kind.
    Nothing,
    /// No place in the queue (`EAGAIN`).
    Full,
}

/// A signal on its way: with its place in the queue, and who wants to know when it is taken.
type Parcel = (SigInfo, Option<Charge>, Option<Arc<dyn Origin>>);

/// Sends a signal to one thread (tgkill, faults, timers with a thread). `false` where a queue was full.
pub fn send_to_task(task: &Arc<Task>, info: SigInfo) -> bool {
    send_to_thread(task, info, None) != Sent::Full
}

/// As [`send_to_task`], for who wants to be told when the signal is taken.
pub fn send_to_thread(task: &Arc<Task>, info: SigInfo, origin: Option<Arc<dyn Origin>>) -> Sent {
    if !prepare(&task.group, info.signo) {
        return Sent::Nothing;
    }
    if ignored(&task.group, info.signo, task.sig.lock().mask) {
        return Sent::Nothing;
    }
    let charge = match charge(&task.group, Some(task), &info, origin.is_some()) {
        Ok(c) => c,
        Err(()) => return Sent::Full,
    };
    let wanted = {
        let mut sig = task.sig.lock();
        put(&mut sig.pending, (info, charge, origin));
        !sig.mask.contains(info.signo) || sig.awaited.contains(info.signo)
    };
    if wanted {
        task.kick();
    }
    task.group.signal_wait.wake(PollEvents::IN);
    Sent::Queued
}

/// A place in the queue of the user whose process it is. Without one, a standard signal, and one of kill(2), is still
/// sent; a queued one is not (sigqueue(3), "EAGAIN").
fn charge(
    group: &ThreadGroup,
    task: Option<&Task>,
    info: &SigInfo,
    paid: bool,
) -> std::result::Result<Option<Charge>, ()> {
    let Some(kernel) = group.kernel.upgrade().filter(|_| !paid) else { return Ok(None) };
    let uid = match task {
        Some(t) => t.cred().uid,
        None => group.threads().first().map_or(0, |t| t.cred().uid),
    };
    let standard = info.signo < libc::SIGSYS + 1 && info.code >= 0;
    let limit = if standard { u64::MAX } else { group.limit(crate::limits::resource::SIGPENDING) };
    match kernel.queued_signals.charge(uid, limit) {
        Some(c) => Ok(Some(c)),
        None if info.signo > libc::SIGSYS && info.code != SI_USER => Err(()),
        None => Ok(None),
    }
}

/// Puts a signal into a queue; without a place of its own only its number is kept.
fn put(queue: &mut PendingQueue, (info, charge, origin): Parcel) {
    if charge.is_none() && origin.is_none() {
        queue.mark(info.signo);
    } else {
        queue.queue(info, charge, origin);
    }
}

/// Sends a signal to a process: any thread that does not block it takes it.
pub fn send_to_group(group: &Arc<ThreadGroup>, info: SigInfo) -> bool {
    send_to_process(group, info, None) != Sent::Full
}

/// As [`send_to_group`], for who wants to be told when the signal is taken.
pub fn send_to_process(group: &Arc<ThreadGroup>, info: SigInfo, origin: Option<Arc<dyn Origin>>) -> Sent {
    if !prepare(group, info.signo) {
        return Sent::Nothing;
    }
    let threads = group.threads();
    let main_mask = threads.first().map(|t| t.sig.lock().mask).unwrap_or_default();
    if ignored(group, info.signo, main_mask) {
        return Sent::Nothing;
    }
    let charge = match charge(group, None, &info, origin.is_some()) {
        Ok(c) => c,
        Err(()) => return Sent::Full,
    };
    put(&mut group.pending.lock(), (info, charge, origin));
    // Looked at again: a new process's first thread comes after the process, and looks for what was queued before.
    let threads = group.threads();
    let wants = |t: &&Arc<Task>| {
        let sig = t.sig.lock();
        !sig.mask.contains(info.signo) || sig.awaited.contains(info.signo)
    };
    let taker = super::cpu::who_runs(&threads, &info).filter(wants).or_else(|| threads.iter().find(wants));
    if info.signo == libc::SIGKILL {
        threads.iter().for_each(Task::kick);
    } else if let Some(t) = taker {
        t.kick();
    }
    group.signal_wait.wake(PollEvents::IN);
    Sent::Queued
}

/// A signal that the kernel itself sends (SIGPIPE, SIGXFSZ, SIGCHLD without details).
pub fn kernel_signal(signo: Signo) -> SigInfo {
    SigInfo::new(signo, crate::signal::info::SI_KERNEL)
}

/// Sends a signal that the thread cannot escape (a fault): a blocked or ignored one gets its default effect.
pub fn force(task: &Arc<Task>, info: SigInfo) {
    let hand = task.group.sighand.read().clone();
    {
        let mut hand = hand.lock();
        let mut sig = task.sig.lock();
        if let Some(action) = hand.actions.get_mut(info.signo as usize - 1) {
            if action.handler == SIG_IGN || sig.mask.contains(info.signo) {
                action.handler = SIG_DFL;
            }
        }
        sig.mask.remove(info.signo);
        sig.pending.push(info);
    }
    task.attention.store(true, Ordering::SeqCst);
}

/// A frame could not be written, or (`delivered` is `None`) not be read by rt_sigreturn(2): SIGSEGV, for which the
/// handler is asked unless it was SIGSEGV's own frame. The mask is as if the signal had not been delivered.
pub fn bad_frame(task: &Arc<Task>, delivered: Option<(Signo, SigSet)>) {
    if let Some((signo, mask)) = delivered {
        task.sig.lock().mask = mask;
        if signo == libc::SIGSEGV {
            let hand = task.group.sighand.read().clone();
            let mut hand = hand.lock();
            if let Some(action) = hand.actions.get_mut(signo as usize - 1) {
                action.handler = SIG_DFL;
            }
        }
    }
    force(task, kernel_signal(libc::SIGSEGV));
}

/// Stop and continue signals undo each other when they are sent, whatever becomes of them later. `false` where the
/// group takes no signals (the sandbox's init).
fn prepare(group: &Arc<ThreadGroup>, signo: Signo) -> bool {
    if group.pid == super::INIT_PID || signo == 0 {
        return false;
    }
    let threads = group.threads();
    if signo == libc::SIGCONT {
        group.pending.lock().discard(STOPS);
        threads.iter().for_each(|t| t.sig.lock().pending.discard(STOPS));
        let was_stopped = {
            let mut s = group.state.lock();
            let was = s.stopped.take().is_some();
            if was {
                s.report_stop = None;
                s.report_continue = true;
                s.tell_continue = true;
            }
            was
        };
        if was_stopped {
            threads.iter().for_each(Task::kick);
        }
    } else if STOPS.contains(signo) {
        let cont = SigSet::of(libc::SIGCONT);
        group.pending.lock().discard(cont);
        threads.iter().for_each(|t| t.sig.lock().pending.discard(cont));
    } else if signo == libc::SIGKILL {
        // A stopped process is killed all the same.
        group.state.lock().stopped = None;
        expect_end(group);
    }
    true
}

/// Whether a signal has no effect now and so is not even queued. A blocked one is kept: its action may change. A tracer
/// sees all.
fn ignored(group: &ThreadGroup, signo: Signo, mask: SigSet) -> bool {
    let traced = || group.state.lock().threads.iter().any(|t| t.ptrace.is_on());
    if mask.contains(signo) || traced() {
        return false;
    }
    let a = group.action(signo);
    a.handler == SIG_IGN
        || (a.handler == SIG_DFL
            && matches!(signal::default_action(signo), DefaultAction::Ignore | DefaultAction::Continue))
}

/// What the thread is to do next. Takes a signal out of the queue.
pub fn next(task: &Arc<Task>) -> Next {
    let group = &task.group;
    tell_continued(group);
    {
        let s = group.state.lock();
        if let Some(status) = s.exiting {
            return Next::Exit(status);
        }
        if task.must_leave.load(Ordering::SeqCst) {
            return Next::Leave;
        }
        let stopped = s.stopped;
        drop(s);
        if let Some(next) = traced_stop(task, stopped) {
            return next;
        }
        if stopped.is_some() && !task.ptrace.is_on() {
            return Next::Stop;
        }
    }
    loop {
        let injected = task.ptrace.lock().and_then(|mut t| t.inject.take());
        let Some(info) = injected.or_else(|| dequeue(task)) else { return Next::None };
        if injected.is_none() && info.signo != libc::SIGKILL && task.ptrace.is_on() {
            return Next::Traced(info);
        }
        let action = take_action(group, info.signo);
        match action.handler {
            SIG_IGN => continue,
            SIG_DFL => match signal::default_action(info.signo) {
                DefaultAction::Ignore | DefaultAction::Continue => continue,
                // Nobody could continue it (POSIX: such signals do nothing to an orphaned group).
                DefaultAction::Stop if info.signo != libc::SIGSTOP && is_orphan(group) => continue,
                DefaultAction::Stop => {
                    stop_group(group, info.signo);
                    return traced_stop(task, Some(info.signo)).unwrap_or(Next::Stop);
                }
                DefaultAction::Terminate => {
                    return Next::Exit(begin_exit(group, ExitStatus::Signal(info.signo, false)))
                }
                DefaultAction::Core => {
                    let core = super::core_dump::dump(task, &info);
                    return Next::Exit(begin_exit(group, ExitStatus::Signal(info.signo, core)));
                }
            },
            _ => {
                // More may wait behind this one.
                task.attention.store(true, Ordering::SeqCst);
                return Next::Handler(info, action);
            }
        }
    }
}

/// Whether a traced thread stops now for its tracer to see: asked to, or with its group.
fn traced_stop(task: &Task, stopped: Option<Signo>) -> Option<Next> {
    let mut t = task.ptrace.lock()?;
    if std::mem::take(&mut t.interrupt) {
        return Some(Next::TracedStop(None));
    }
    if std::mem::take(&mut t.step_over) {
        return Some(Next::Traced(SigInfo::new(libc::SIGTRAP, 1)));
    }
    match stopped {
        Some(signo) if !t.group_stop_seen => {
            t.group_stop_seen = true;
            Some(Next::TracedStop(Some(signo)))
        }
        Some(_) => None,
        None => {
            t.group_stop_seen = false;
            None
        }
    }
}

/// A group that goes on tells its parent itself, as the first thing that it does.
fn tell_continued(group: &Arc<ThreadGroup>) {
    let tell = {
        let mut s = group.state.lock();
        std::mem::take(&mut s.tell_continue) && s.exiting.is_none()
    };
    if tell {
        super::exit::tell_parent(group, crate::signal::info::CLD_CONTINUED, libc::SIGCONT);
    }
}

fn is_orphan(group: &Arc<ThreadGroup>) -> bool {
    let pgid = group.state.lock().pgid;
    group.kernel.upgrade().is_some_and(|k| super::terminal::orphaned(&k, pgid, None))
}

fn dequeue(task: &Arc<Task>) -> Option<SigInfo> {
    let mut sig = task.sig.lock();
    let wanted = SigSet(!sig.mask.0).minus(sig.awaited);
    if let Some(i) = sig.pending.take(wanted) {
        return Some(i);
    }
    drop(sig);
    task.group.pending.lock().take(wanted)
}

/// The action of a signal, reset first where it says so (`SA_RESETHAND`).
fn take_action(group: &ThreadGroup, signo: Signo) -> SigAction {
    let hand = group.sighand.read().clone();
    let mut hand = hand.lock();
    match hand.actions.get_mut(signo as usize - 1) {
        Some(a) => {
            let now = *a;
            if now.flags & SA_RESETHAND != 0 && now.handler > SIG_IGN {
                a.handler = SIG_DFL;
            }
            now
        }
        None => SigAction::default(),
    }
}

/// Whether a signal (or an end, or a stop) would be acted on now; takes nothing.
pub fn deliverable(task: &Arc<Task>) -> bool {
    let s = task.group.state.lock();
    if s.exiting.is_some() || s.stopped.is_some() || task.must_leave.load(Ordering::SeqCst) {
        return true;
    }
    drop(s);
    let group_set = task.group.pending.lock().set();
    let sig = task.sig.lock();
    !group_set.union(sig.pending.set()).minus(sig.mask).minus(sig.awaited).is_empty()
}

/// Begins the end of a group: every thread will leave. The first status wins and is returned.
pub fn begin_exit(group: &Arc<ThreadGroup>, status: ExitStatus) -> ExitStatus {
    let (status, threads) = {
        let mut s = group.state.lock();
        let status = *s.exiting.get_or_insert(status);
        s.stopped = None;
        (status, s.threads.clone())
    };
    threads.iter().for_each(Task::kick);
    // A thread that ends the group by itself is on its way; it is the others that may not answer.
    if threads.len() > 1 {
        expect_end(group);
    }
    status
}

/// How long the threads of a group that was killed may take to leave by themselves.
const PATIENCE: u64 = 1_000_000_000;

/// Told when the patience with a group is over: what has not left does not answer (its guest has led the stub astray),
/// and ends with its whole address space.
struct Overdue(Weak<ThreadGroup>);

impl Waiter for Overdue {
    fn notify(&self, _: PollEvents) {
        if let Some(group) = self.0.upgrade() {
            group.threads().iter().for_each(|t| t.thread().space().kill());
        }
    }
}

/// Sees to it that a group which must end does. The deadline is given up with the group.
fn expect_end(group: &Arc<ThreadGroup>) {
    let Some(kernel) = group.kernel.upgrade() else { return };
    let mut overdue = group.overdue.lock();
    if overdue.is_none() {
        let waiter = Arc::new(Overdue(Arc::downgrade(group)));
        *overdue = Some(kernel.timers.arm(crate::time::monotonic().saturating_add(PATIENCE), waiter));
    }
}

fn stop_group(group: &Arc<ThreadGroup>, signo: Signo) {
    let threads = {
        let mut s = group.state.lock();
        s.stopped = Some(signo);
        s.report_stop = Some(signo);
        s.report_continue = false;
        s.threads.clone()
    };
    threads.iter().for_each(Task::kick);
    super::exit::tell_parent(group, crate::signal::info::CLD_STOPPED, signo);
    if group.pid == super::FIRST_PID {
        if let Some(k) = group.kernel.upgrade() {
            (k.stopped)(signo);
        }
    }
}

/// The frame for a handler, with the thread's mask and alternate stack changed as delivery does.
pub fn frame(
    task: &Arc<Task>,
    info: &SigInfo,
    action: &SigAction,
    sp: u64,
    resume: Resume,
) -> Box<SignalFrame> {
    let mut sig = task.sig.lock();
    let saved_mask = sig.saved_mask.take().unwrap_or(sig.mask);
    task.mask_saved.store(false, Ordering::SeqCst);
    let mut mask = sig.mask.union(action.mask);
    if action.flags & SA_NODEFER == 0 {
        mask.insert(info.signo);
    }
    sig.mask = mask.as_mask();
    sig.awaited = SigSet::EMPTY;
    let alt = sig.altstack;
    let on_it = alt.contains(sp);
    let enabled = alt.flags & libc::SS_DISABLE == 0;
    let stack_top =
        (action.flags & SA_ONSTACK != 0 && enabled && !on_it).then(|| alt.sp.wrapping_add(alt.size));
    let shown = if !enabled {
        libc::SS_DISABLE
    } else if on_it {
        libc::SS_ONSTACK
    } else {
        0
    };
    const SS_AUTODISARM: i32 = 1 << 31;
    if stack_top.is_some() && alt.flags & SS_AUTODISARM != 0 {
        sig.altstack = Default::default();
    }
    if let Some(mut t) = task.ptrace.lock() {
        // A step ends at the handler's first instruction.
        if std::mem::take(&mut t.stepping) {
            t.step_over = true;
            task.attention.store(true, Ordering::SeqCst);
        }
    }
    Box::new(SignalFrame {
        signo: info.signo,
        handler: action.handler,
        restorer: action.restorer,
        stack_top,
        saved_stack: (alt.sp, shown | (alt.flags & SS_AUTODISARM), alt.size),
        saved_mask: saved_mask.0,
        siginfo: info.bytes,
        resume,
    })
}

/// Replaces the mask until the call ends or a handler has run (sigsuspend, ppoll, pselect6, epoll_pwait).
pub fn set_temporary_mask(task: &Arc<Task>, mask: SigSet) {
    let mut sig = task.sig.lock();
    if sig.saved_mask.is_none() {
        sig.saved_mask = Some(sig.mask);
    }
    sig.mask = mask.as_mask();
    drop(sig);
    task.mask_saved.store(true, Ordering::SeqCst);
    task.attention.store(true, Ordering::SeqCst);
}

/// Puts the mask back that [`set_temporary_mask`] replaced.
pub fn restore_mask(task: &Arc<Task>) {
    if task.mask_saved.swap(false, Ordering::SeqCst) {
        let mut sig = task.sig.lock();
        if let Some(m) = sig.saved_mask.take() {
            sig.mask = m;
        }
        drop(sig);
        task.attention.store(true, Ordering::SeqCst);
    }
}

/// Sets the blocked mask; what it lets through is looked at before the guest goes on.
pub fn set_mask(task: &Arc<Task>, mask: SigSet) {
    task.sig.lock().mask = mask.as_mask();
    task.attention.store(true, Ordering::SeqCst);
}

/// Whether a task may signal a process (kill(2)): same real or saved user, CAP_KILL, or SIGCONT in one's session.
pub fn may_signal(from: &Cred, from_group: &ThreadGroup, to: &ThreadGroup, signo: Signo) -> Result<()> {
    if to.pid == super::INIT_PID {
        return from.require(cap::KILL);
    }
    let Some(target) = to.threads().first().map(|t| t.cred()) else { return Ok(()) };
    let same = [from.euid, from.uid].iter().any(|u| *u == target.uid || *u == target.suid);
    if same || from.has(cap::KILL) {
        return Ok(());
    }
    if signo == libc::SIGCONT && from_group.state.lock().sid == to.state.lock().sid {
        return Ok(());
    }
    Err(Errno::EPERM)
}

/// Sends to every process of a process group; how many there were.
pub fn send_to_pgrp(kernel: &Arc<Kernel>, pgid: i32, info: SigInfo) -> usize {
    let groups = kernel.groups_where(|s| s.pgid == pgid && s.zombie.is_none());
    groups.iter().for_each(|g| {
        send_to_group(g, info);
    });
    groups.len()
}

/// Whom a signal from outside is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// A key of the terminal: the foreground.
    Foreground,
    /// Sent to the launcher, which stands for the command.
    Command,
}

/// The most that is kept of what comes before the command.
const MAX_EARLY: usize = 64;

/// A signal from outside (the launcher relays what its terminal or its caller sent). One that comes before the command
/// is there waits for it.
pub fn from_outside(kernel: &Arc<Kernel>, signo: Signo, to: Outside) {
    let mut early = kernel.early_signals.lock();
    let Some(first) = kernel.group(super::FIRST_PID) else {
        if early.len() < MAX_EARLY {
            early.push((signo, to));
        }
        return;
    };
    drop(early);
    let info = SigInfo::user(signo, SI_USER, 0, 0);
    let pgid = kernel.console.ids().foreground;
    if to == Outside::Command || pgid == 0 || send_to_pgrp(kernel, pgid, info) == 0 {
        send_to_group(&first, info);
    }
}

/// The command is there: it is sent what came before.
pub fn told_early(kernel: &Arc<Kernel>) {
    let early = std::mem::take(&mut *kernel.early_signals.lock());
    early.into_iter().for_each(|(signo, to)| from_outside(kernel, signo, to));
}
