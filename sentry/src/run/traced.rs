//! The stops of a traced thread (ptrace(2)): at calls, at signals, at events. A stopped task waits like one that waits in
//! a call; what it was about to do is its [`Point`], and its tracer's resumption calls that.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;
use platform::{Regs, Reply};

use super::{again, call, finish, leave, settle};
use crate::kernel::ptrace::{self, event, option, Stopped, View, Why, TRAP_FLAG};
use crate::kernel::task::{BlockState, Point, RunState};
use crate::kernel::{ExitStatus, Kernel, Outcome, Restart, Stop, Task};
use crate::signal::{SigInfo, Signo};

const NO_CALL: u64 = u64::MAX;
/// What a call that a signal interrupts shows in `rax` (`ERESTARTSYS`, `ERESTARTNOHAND`).
const RESTART_SYS: i64 = -512;
const RESTART_NO_HAND: i64 = -514;

type Step = Option<Reply>;

/// Stops the thread, unless it is to end; what is at `point` comes when the tracer lets it go.
fn stop(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    why: Why,
    view: View,
    point: Point,
) -> Step {
    if let Some(mut t) = task.ptrace.lock() {
        let code = match why {
            Why::Enter | Why::Exit => libc::SIGTRAP | if t.has(option::SYSGOOD) { 0x80 } else { 0 },
            Why::Signal(info) => info.signo,
            Why::Group(signo) => signo | if t.seized { event::STOP << 8 } else { 0 },
            Why::Event(e) => libc::SIGTRAP | e << 8,
        };
        t.view = view;
        t.view.regs.eflags &= !TRAP_FLAG;
        // The step is over, whether it ended here or not.
        t.dirty = std::mem::take(&mut t.stepping);
        t.step_over = false;
        t.stop = Some(Stopped { why, code, reported: false });
    }
    run.point = Some(point);
    ptrace::tell(task);
    woken(kernel, task, run)
}

/// A stopped thread was woken: by its tracer, for its end, or for nothing.
pub(super) fn woken(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Step {
    loop {
        let ends = task.group.state.lock().exiting.is_some() || task.must_leave.load(Ordering::SeqCst);
        if ends {
            if let Some(mut t) = task.ptrace.lock() {
                t.stop = None;
            }
            if let Some(Point::Leave(status)) = run.point.take() {
                return leave(kernel, task, run, status);
            }
            task.attention.store(true, Ordering::SeqCst);
            return finish(kernel, task, run, Outcome::Continue);
        }
        if let Some(poke) = next_poke(task) {
            run.poking = true;
            return Some(poke);
        }
        let stopped = task.ptrace.lock().is_some_and(|t| t.stop.is_some());
        if !stopped {
            return resumed(kernel, task, run);
        }
        if end_of_group_stop(task) {
            ptrace::tell(task);
        }
        if task.set_blocked() {
            return None;
        }
        task.set_running();
    }
}

/// A thread that listens hears of the end of its group's stop.
fn end_of_group_stop(task: &Arc<Task>) -> bool {
    let still = task.group.state.lock().stopped.is_some();
    let Some(mut t) = task.ptrace.lock() else { return false };
    if still || !std::mem::take(&mut t.listening) {
        return false;
    }
    let code = libc::SIGTRAP | event::STOP << 8;
    t.stop = Some(Stopped { why: Why::Event(event::STOP), code, reported: false });
    true
}

/// The tracee's stub writes what the tracer may write and the guest may not.
fn next_poke(task: &Arc<Task>) -> Option<Reply> {
    let (addr, bytes) = task.ptrace.lock()?.pokes.front().cloned()?;
    Some(Reply::Act(ptrace::store(&task.mm(), addr, bytes)))
}

/// What a reply that only prepared something leads to; `None` where it was none of ours.
pub(super) fn acted(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    failed: bool,
) -> Option<Step> {
    if std::mem::take(&mut run.poking) {
        if let Some(mut t) = task.ptrace.lock() {
            t.pokes.pop_front();
            t.poke_failed |= failed;
            let queue = t.poked.clone();
            drop(t);
            queue.wake(crate::wait_queue::PollEvents::IN);
        }
        return Some(woken(kernel, task, run));
    }
    if let Some(v) = run.flushed.take() {
        return Some(at_exit(kernel, task, run, v));
    }
    run.prepared.take().map(|point| go_on(kernel, task, run, point))
}

/// The tracer has let the thread go.
fn resumed(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Step {
    let Some(point) = run.point.take() else { return finish(kernel, task, run, Outcome::Continue) };
    let changed = match task.ptrace.lock() {
        Some(mut t) => {
            if t.stepping {
                t.view.regs.eflags |= TRAP_FLAG;
                t.dirty = true;
            }
            std::mem::take(&mut t.dirty).then_some(t.view)
        }
        None => task.left_view.lock().take(),
    };
    task.attention.store(true, Ordering::SeqCst);
    if let Point::Call = point {
        return resume_call(kernel, task, run, changed);
    }
    match (changed, point) {
        (Some(view), Point::Enter(_)) => go_on(kernel, task, run, Point::Enter(Box::new(view.regs))),
        (Some(view), Point::Interrupted(kind)) => {
            // The call is made again, with its number where the guest's instruction expects it.
            let mut regs = view.regs;
            if regs.rax as i64 == RESTART_SYS || regs.rax as i64 == RESTART_NO_HAND {
                regs.rax = run.call.nr;
                run.prepared = Some(Point::Interrupted(kind));
            } else {
                // The tracer put another state in its place: the call is given up.
                run.block = BlockState::default();
                run.prepared = Some(Point::Back(Outcome::Continue));
            }
            Some(Reply::SetRegs(Box::new(regs)))
        }
        (Some(view), point) => {
            run.prepared = Some(match point {
                // Made again by its number, whatever the tracer saw in its place.
                Point::Again => {
                    run.prepared = Some(Point::Again);
                    return Some(Reply::SetRegs(Box::new(Regs { rax: run.call.nr, ..view.regs })));
                }
                // The value is in the registers by now.
                Point::Back(Outcome::Return(_) | Outcome::Restart) => Point::Back(Outcome::Continue),
                other => other,
            });
            Some(Reply::SetRegs(Box::new(view.regs)))
        }
        (None, point) => go_on(kernel, task, run, point),
    }
}

/// A call goes on from its entry, as the tracer left number and arguments.
fn resume_call(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, changed: Option<View>) -> Step {
    let Some(view) = changed else { return call(kernel, task, run) };
    let r = view.regs;
    run.call.nr = view.orig_rax & 0xffff_ffff;
    run.call.args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
    let skip = (view.orig_rax as i64) < 0;
    // What stands in `rax` for a call that is not made is its result.
    let regs = Regs { rax: if skip { r.rax } else { view.orig_rax }, ..r };
    run.prepared = Some(if skip { Point::Back(Outcome::Return(r.rax as i64)) } else { Point::Call });
    Some(Reply::SetRegs(Box::new(regs)))
}

/// Goes on with what the stop came before.
fn go_on(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, point: Point) -> Step {
    match point {
        Point::Call => call(kernel, task, run),
        Point::Back(outcome) => finish(kernel, task, run, outcome),
        Point::Interrupted(kind) => settle(kernel, task, run, Err(Stop::Interrupt(kind))),
        Point::Again => {
            let result = again(kernel, task, run);
            settle(kernel, task, run, result)
        }
        Point::Enter(regs) => enter(kernel, task, run, regs),
        Point::Leave(status) => leave(kernel, task, run, status),
    }
}

/// A traced thread makes a call: where its tracer wants to see it, it stops before.
pub(super) fn at_call(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Option<Step> {
    run.in_call = true;
    let wanted = task.ptrace.lock().is_some_and(|t| t.syscalls);
    if !wanted {
        return None;
    }
    let regs = Regs { rax: Errno::ENOSYS.to_ret() as u64, ..task.thread().regs() };
    let view = View { regs, orig_rax: run.call.nr };
    Some(stop(kernel, task, run, Why::Enter, view, Point::Call))
}

/// A call that was interrupted, and seen to return, is made again: its tracer sees it begin. `None`: nothing is to be
/// seen.
pub(super) fn recalled(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Option<Step> {
    if std::mem::replace(&mut run.in_call, true) || !task.ptrace.lock().is_some_and(|t| t.syscalls) {
        return None;
    }
    let regs = Regs { rax: Errno::ENOSYS.to_ret() as u64, ..task.thread().regs() };
    let view = View { regs, orig_rax: run.call.nr };
    Some(stop(kernel, task, run, Why::Enter, view, Point::Again))
}

/// A traced thread's call returns: events that are due come first, then the stop at its exit. `None`: nothing is.
pub(super) fn returning(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    value: i64,
) -> Option<Step> {
    if let Some(step) = due(kernel, task, run, Point::Back(Outcome::Return(value))) {
        return Some(step);
    }
    if !std::mem::take(&mut run.in_call) {
        return None;
    }
    let wanted = task.ptrace.lock().is_some_and(|t| t.syscalls || t.stepping);
    if !wanted {
        return None;
    }
    // Results reach the guest's memory first, where the tracer reads them.
    run.flushed = Some(value);
    Some(Some(Reply::SetRegs(Box::new(Regs { rax: value as u64, ..task.thread().regs() }))))
}

fn at_exit(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, value: i64) -> Step {
    let regs = Regs { rax: value as u64, ..task.thread().regs() };
    let view = View { regs, orig_rax: run.call.nr };
    let syscalls = task.ptrace.lock().is_some_and(|t| t.syscalls);
    let why = if syscalls { Why::Exit } else { Why::Signal(step_signal()) };
    stop(kernel, task, run, why, view, Point::Back(Outcome::Continue))
}

/// rt_sigreturn of a traced thread: the registers are the stub's to put back, so the stop at its exit comes when that is
/// done, before the next instruction.
pub(super) fn sigreturning(task: &Arc<Task>, run: &mut RunState) {
    let Some(mut t) = task.ptrace.lock() else { return };
    if t.syscalls || t.stepping {
        run.sigreturning = true;
        // Makes the thread come back at once.
        task.attention.store(true, Ordering::SeqCst);
    }
    if std::mem::take(&mut t.stepping) {
        t.step_over = true;
    }
}

pub(super) fn at_sigreturn(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Step {
    if !task.ptrace.lock().is_some_and(|t| t.syscalls) {
        task.attention.store(true, Ordering::SeqCst);
        return finish(kernel, task, run, Outcome::Continue);
    }
    let view = View { regs: task.thread().regs(), orig_rax: run.call.nr };
    stop(kernel, task, run, Why::Exit, view, Point::Back(Outcome::Continue))
}

/// The SIGTRAP that ends a step (`TRAP_BRKPT`, as the kernel's own report of a step over a call).
fn step_signal() -> SigInfo {
    SigInfo::new(libc::SIGTRAP, 1)
}

/// An event that the call has brought about.
pub(super) fn due(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, point: Point) -> Option<Step> {
    let due = {
        let mut t = task.ptrace.lock()?;
        let due = t.due.take()?;
        t.message = due.1;
        due
    };
    let regs = match &point {
        Point::Enter(regs) => **regs,
        _ => Regs { rax: Errno::ENOSYS.to_ret() as u64, ..task.thread().regs() },
    };
    let view = View { regs, orig_rax: run.call.nr };
    Some(stop(kernel, task, run, Why::Event(due.0), view, point))
}

/// A signal is about to be acted upon: the tracer decides.
pub(super) fn at_signal(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    info: SigInfo,
    point: Point,
) -> Step {
    let view = view_at(task, run, &point);
    stop(kernel, task, run, Why::Signal(info), view, point)
}

/// The group is stopped, or the tracer asked for a stop.
pub(super) fn at_stop(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    signo: Option<Signo>,
    point: Point,
) -> Step {
    let view = view_at(task, run, &point);
    let why = signo.map_or(Why::Event(event::STOP), Why::Group);
    stop(kernel, task, run, why, view, point)
}

fn view_at(task: &Arc<Task>, run: &RunState, point: &Point) -> View {
    let regs = task.thread().regs();
    let in_call = |value: i64| View { regs: Regs { rax: value as u64, ..regs }, orig_rax: run.call.nr };
    match point {
        Point::Back(Outcome::Return(v)) => in_call(*v),
        Point::Back(Outcome::Restart | Outcome::Local) => in_call(RESTART_SYS),
        Point::Interrupted(Restart::NoHand) => in_call(RESTART_NO_HAND),
        Point::Interrupted(_) => in_call(RESTART_SYS),
        _ => View { regs, orig_rax: NO_CALL },
    }
}

/// A call that a signal interrupts returns, for its tracer, before the signal comes.
pub(super) fn interrupted(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    kind: Restart,
) -> Option<Step> {
    if !run.in_call || !task.ptrace.lock().is_some_and(|t| t.syscalls) {
        return None;
    }
    run.in_call = false;
    let point = Point::Interrupted(kind);
    let view = view_at(task, run, &point);
    Some(stop(kernel, task, run, Why::Exit, view, point))
}

/// The new program of an exec is about to start.
pub(super) fn enter(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, regs: Box<Regs>) -> Step {
    if let Some(step) = due(kernel, task, run, Point::Enter(regs.clone())) {
        return step;
    }
    let syscalls = task.ptrace.lock().is_some_and(|t| t.syscalls);
    if std::mem::take(&mut run.in_call) && syscalls {
        let view = View { regs: *regs, orig_rax: run.call.nr };
        return stop(kernel, task, run, Why::Exit, view, Point::Enter(regs));
    }
    Some(Reply::Enter(regs))
}

/// A thread is about to end: its tracer may want to see it once more.
pub(super) fn at_end(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    status: ExitStatus,
) -> Option<Step> {
    let killed = matches!(status, ExitStatus::Signal(libc::SIGKILL, _));
    {
        let mut t = task.ptrace.lock()?;
        if killed || !t.has(option::EXIT) || std::mem::replace(&mut t.exit_seen, true) {
            return None;
        }
        t.message = status.to_wait() as u64;
    }
    let view = View { regs: task.thread().regs(), orig_rax: run.call.nr };
    Some(stop(kernel, task, run, Why::Event(event::EXIT), view, Point::Leave(status)))
}
