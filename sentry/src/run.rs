//! Runs tasks: from an event to a handler to a reply.
//!
//! A worker brings an event; the task's `run` lock is taken, the handler runs, and what it returns is settled: a value
//! goes back to the guest (signals first), a wait leaves the task where its queues find it, an action goes to the stub.
//! The reply is given after the lock is released, since the guest may be back with its next call before we look up.

mod traced;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;
use platform::{Action, Ending, Event, Fault, GuestKernel, Reply, Resume, Space, SpaceEnd, Syscall, Thread};

use crate::admit;
use crate::kernel::mm_ops::{self, Growth};
use crate::kernel::seccomp::{self, Refusal};
use crate::kernel::signals::{self, Next};
use crate::kernel::task::{BlockState, Point, RunState, Then};
use crate::kernel::{
    current, exit, robust, Ctx, ExitStatus, Kernel, Outcome, Restart, Stop, SysResult, Task,
};
use crate::signal::{SigAction, SigInfo, SigSet, SA_RESTART, SA_RESTORER};
use crate::syscalls::table;
use crate::trace;

/// The kernel as the platform calls it.
pub struct Runner(pub Arc<Kernel>);

impl GuestKernel for Runner {
    fn event(&self, thread: &Arc<Thread>, event: Event) {
        match thread.cookie().and_then(|c| c.downcast::<Task>().ok()) {
            Some(task) => {
                // After exec the old thread has nothing more to say.
                if task.thread().id() == thread.id() {
                    go(&self.0, &task, Some(event));
                }
            }
            None => thread.space().kill(),
        }
    }

    fn space_gone(&self, space: &Arc<Space>, end: SpaceEnd) {
        let tasks: Vec<_> = self.0.pids.lock().tasks.values().cloned().collect();
        if end != SpaceEnd::Expected {
            tracing::debug!(?space, ?end, "a stub has ended by itself");
        }
        let of_it = |t: &&Arc<Task>| t.thread().space().id() == space.id();
        if let (SpaceEnd::Signal(libc::SIGKILL), Some(task)) = (end, tasks.iter().find(of_it)) {
            crate::kernel::memory::killed_by_host(&task.group);
        }
        for task in tasks.iter().filter(of_it) {
            let signo = match end {
                SpaceEnd::Signal(s) => s,
                SpaceEnd::Expected | SpaceEnd::Tampered | SpaceEnd::Exit(_) => libc::SIGKILL,
            };
            lost(&self.0, task, ExitStatus::Signal(signo, false));
        }
    }

    fn run_ready(&self) {
        run_ready(&self.0);
    }
}

/// Runs every task whose wait has ended.
pub fn run_ready(kernel: &Arc<Kernel>) {
    while let Some(task) = kernel.ready.pop() {
        go(kernel, &task, None);
    }
}

/// The host thread of a task is gone.
fn lost(kernel: &Arc<Kernel>, task: &Arc<Task>, status: ExitStatus) {
    signals::begin_exit(&task.group, status);
    let mut run = task.run.lock();
    if !run.dead {
        run.dead = true;
        run.block = BlockState::default();
        run.then = None;
        exit::leave(kernel, task, status);
    }
}

/// One step of a task: an event, or (None) another try of the call that waits.
fn go(kernel: &Arc<Kernel>, task: &Arc<Task>, event: Option<Event>) {
    let mut run = task.run.lock();
    if run.dead {
        if let Some(Event::Cloned(Ok(thread))) = event {
            // Its maker is gone, and nobody else knows it.
            thread.reply(Reply::ExitThread { clear_tid: 0 });
        }
        return;
    }
    task.set_running();
    crate::vfs::notes::call_begins();
    // A panic in a handler is our mistake, but it must cost only the process that met it.
    current::set_current_tid(Some(task.tid()));
    let reply = catch_unwind(AssertUnwindSafe(|| step(kernel, task, &mut run, event))).unwrap_or_else(|_| {
        tracing::error!(call = ?run.call, "internal error in a call; its process is killed");
        signals::begin_exit(&task.group, ExitStatus::Signal(libc::SIGKILL, false));
        leave(kernel, task, &mut run, ExitStatus::Signal(libc::SIGKILL, false))
    });
    current::set_current_tid(None);
    let dead = run.dead;
    drop(run);
    if let Some(reply) = reply {
        let thread = task.thread();
        // More is pending (behind a handler, or let through by a frame's mask): the guest must not run an instruction
        // before it is looked at.
        let early = !dead && task.attention.load(Ordering::SeqCst);
        if early {
            thread.interrupt_on_return();
        }
        thread.reply(reply);
        // A signal that came between the last look and the reply found nobody to interrupt.
        if !dead && !early && task.attention.load(Ordering::SeqCst) {
            thread.interrupt();
        }
    }
}

fn step(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, event: Option<Event>) -> Option<Reply> {
    let delivered = run.delivered.take();
    if !matches!(event, None | Some(Event::ActionsDone(_) | Event::Cloned(_))) {
        // What would have been done, had the stub not been able to act.
        run.then = None;
    }
    match event {
        None if run.point.is_some() => traced::woken(kernel, task, run),
        None if stays_stopped(task) => None,
        None => match run.parked.take() {
            Some(outcome) => finish(kernel, task, run, outcome),
            None => {
                let result = again(kernel, task, run);
                settle(kernel, task, run, result)
            }
        },
        Some(Event::Syscall(call)) => {
            run.call = call;
            run.block = BlockState::default();
            if task.ptrace.is_on() {
                if let Some(step) = traced::at_call(kernel, task, run) {
                    return step;
                }
            }
            self::call(kernel, task, run)
        }
        Some(Event::Fault(f)) => {
            if let Some(reply) = grow(task, run, &f) {
                return reply.map_or_else(|| finish(kernel, task, run, Outcome::Continue), Some);
            }
            tracing::debug!(?f, tid = task.tid(), "fault");
            signals::force(task, SigInfo::fault(f.signo, f.code, f.addr));
            finish(kernel, task, run, Outcome::Continue)
        }
        Some(Event::Interrupted) => {
            if std::mem::take(&mut run.sigreturning) {
                return traced::at_sigreturn(kernel, task, run);
            }
            finish(kernel, task, run, Outcome::Continue)
        }
        Some(Event::LocalDone { call, ret, interrupted }) => {
            run.call = call;
            if interrupted {
                finish(kernel, task, run, Outcome::Local)
            } else {
                trace::exit(kernel, task, &call, Ok(ret));
                finish(kernel, task, run, Outcome::Return(ret))
            }
        }
        Some(Event::ActionsDone(done)) => {
            if let Some(step) = traced::acted(kernel, task, run, done.is_err()) {
                return step;
            }
            let result = match run.then.take() {
                Some(Then::Actions(then)) => with_ctx(kernel, task, run, |cx| then(cx, done)),
                _ => Err(Stop::Errno(Errno::EIO)),
            };
            settle(kernel, task, run, result)
        }
        Some(Event::Cloned(made)) => {
            let result = match run.then.take() {
                Some(Then::Clone(then)) => with_ctx(kernel, task, run, |cx| then(cx, made)),
                _ => Err(Stop::Errno(Errno::EIO)),
            };
            settle(kernel, task, run, result)
        }
        Some(Event::BadFrame) => {
            signals::bad_frame(task, delivered);
            finish(kernel, task, run, Outcome::Continue)
        }
    }
}

/// A fault below a mapping that grows down: what lets it grow, or (inside) `None` where the thread just tries again.
fn grow(task: &Arc<Task>, run: &mut RunState, f: &Fault) -> Option<Option<Reply>> {
    const SEGV_MAPERR: i32 = 1;
    if f.signo != libc::SIGSEGV || f.code != SEGV_MAPERR {
        return None;
    }
    let info = SigInfo::fault(f.signo, f.code, f.addr);
    match mm_ops::growth(task, f.addr) {
        Growth::No => None,
        Growth::Again => Some(None),
        Growth::Act(actions, operation) => {
            run.then = Some(Then::Actions(Box::new(move |cx, done| {
                if done.is_err() || operation.finish().is_err() {
                    signals::force(cx.task, info);
                }
                Err(Stop::Resume)
            })));
            Some(Some(Reply::Act(actions)))
        }
    }
}

/// The call in `run`, from its beginning: rules and filters, then the handler.
fn call(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> Option<Reply> {
    let call = run.call;
    if let Some(refusal) = admit::ask(kernel, task, &call) {
        trace::enter(kernel, task, &call);
        return refuse(kernel, task, run, refusal);
    }
    if task.seccomp.is_on() {
        if let Some(refusal) = seccomp::check(task, &call) {
            trace::enter(kernel, task, &call);
            return refuse(kernel, task, run, refusal);
        }
    }
    let result = handle(kernel, task, run);
    settle(kernel, task, run, result)
}

/// Whether the task goes on waiting because its group is stopped; SIGCONT, or the end, wakes it. A traced thread stops
/// for its tracer instead, and may run on when that lets it.
fn stays_stopped(task: &Arc<Task>) -> bool {
    if task.ptrace.is_on() {
        return false;
    }
    loop {
        {
            let s = task.group.state.lock();
            if s.stopped.is_none() || s.exiting.is_some() || task.must_leave.load(Ordering::SeqCst) {
                return false;
            }
        }
        task.attention.store(true, Ordering::SeqCst);
        if task.set_blocked() {
            return true;
        }
        task.set_running();
    }
}

fn with_ctx(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    f: impl FnOnce(&mut Ctx<'_>) -> SysResult,
) -> SysResult {
    let thread = task.thread();
    let mut cx = Ctx { kernel, task, mem: thread.mem(), call: run.call, block: &mut run.block, armed: false };
    let result = f(&mut cx);
    let error = match &result {
        Err(Stop::Errno(error)) => Some(*error),
        _ => None,
    };
    admit::after(kernel, task, &run.call, error);
    result
}

/// What a filter says instead of the handler.
fn refuse(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, refusal: Refusal) -> Option<Reply> {
    match refusal {
        Refusal::Return(value) => {
            trace::exit(kernel, task, &run.call, Ok(value));
            finish(kernel, task, run, Outcome::Return(value))
        }
        Refusal::Trap(info) => {
            trace::exit(kernel, task, &run.call, Err(Errno::ENOSYS));
            signals::force(task, info);
            // The handler finds the registers as the call had them.
            finish(kernel, task, run, Outcome::Continue)
        }
        Refusal::KillThread(signo) => leave(kernel, task, run, ExitStatus::Signal(signo, false)),
        Refusal::KillProcess(signo) => {
            let status = signals::begin_exit(&task.group, ExitStatus::Signal(signo, false));
            leave(kernel, task, run, status)
        }
    }
}

/// Calls the handler for the first time.
fn handle(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> SysResult {
    let nr = run.call.nr;
    trace::enter(kernel, task, &run.call);
    match table::lookup(nr) {
        Some(entry) => with_ctx(kernel, task, run, entry.run),
        None => {
            *kernel.missing.lock().entry(nr).or_insert(0) += 1;
            Err(Stop::Errno(Errno::ENOSYS))
        }
    }
}

/// Calls the handler again after a wait.
fn again(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState) -> SysResult {
    run.block.places.clear();
    run.block.timer = None;
    run.block.runs = run.block.runs.saturating_add(1);
    match table::lookup(run.call.nr) {
        Some(entry) => with_ctx(kernel, task, run, entry.run),
        None => Err(Stop::Errno(Errno::ENOSYS)),
    }
}

/// What a handler's result means for the thread; `None` where it goes on waiting.
fn settle(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, result: SysResult) -> Option<Reply> {
    let mut result = result;
    loop {
        match result {
            Ok(v) => {
                trace::exit(kernel, task, &run.call, Ok(v as i64));
                return finish(kernel, task, run, Outcome::Return(v as i64));
            }
            Err(Stop::Errno(e)) => {
                trace::exit(kernel, task, &run.call, Err(e));
                return finish(kernel, task, run, Outcome::Return(e.to_ret()));
            }
            Err(Stop::Block(kind)) => {
                if task.attention.swap(false, Ordering::SeqCst) {
                    if let Some(reply) = interrupt(kernel, task, run, kind) {
                        return reply;
                    }
                }
                if task.set_blocked() {
                    return None;
                }
                task.set_running();
                result = again(kernel, task, run);
            }
            Err(Stop::Interrupt(kind)) => {
                task.attention.store(false, Ordering::SeqCst);
                if let Some(reply) = interrupt(kernel, task, run, kind) {
                    return reply;
                }
                if stays_stopped(task) {
                    return None;
                }
                if task.ptrace.is_on() {
                    if let Some(step) = traced::recalled(kernel, task, run) {
                        return step;
                    }
                }
                result = again(kernel, task, run);
            }
            Err(Stop::Resume) => return finish(kernel, task, run, Outcome::Continue),
            Err(Stop::Act(actions, then)) => {
                run.then = Some(Then::Actions(then));
                return Some(Reply::Act(actions));
            }
            Err(Stop::ActThen(actions, ending, then)) => {
                run.then = Some(Then::Actions(then));
                return Some(act_then(kernel, task, run, actions, ending));
            }
            Err(Stop::Clone(spec, then)) => {
                run.then = Some(Then::Clone(then));
                return Some(Reply::Clone(spec));
            }
            Err(Stop::Local) => return Some(local(kernel, task)),
            Err(Stop::Traced) => {
                if let Some(step) = traced::due(kernel, task, run, Point::Again) {
                    return step;
                }
                result = again(kernel, task, run);
            }
            Err(Stop::Sigreturn) => return finish(kernel, task, run, Outcome::Sigreturn),
            Err(Stop::Enter(regs)) => {
                trace::exit(kernel, task, &run.call, Ok(0));
                run.block = BlockState::default();
                if task.ptrace.is_on() {
                    return traced::enter(kernel, task, run, regs);
                }
                return Some(Reply::Enter(regs));
            }
            Err(Stop::Exit { clear_tid }) => {
                run.dead = true;
                run.block = BlockState::default();
                return Some(Reply::ExitThread { clear_tid });
            }
        }
    }
}

/// Lets the stub act and go on by itself, where nothing is to be looked at or told before the guest runs again.
fn act_then(kernel: &Kernel, task: &Task, run: &mut RunState, actions: Vec<Action>, ending: Ending) -> Reply {
    if task.attention.load(Ordering::SeqCst) || task.ptrace.is_on() || trace::on(kernel) {
        return Reply::Act(actions);
    }
    run.block = BlockState::default();
    Reply::ActThen(actions, ending)
}

/// Signals have come for a task that waits. `None`: it goes on waiting; `Some(reply)`: the wait is over, with that.
fn interrupt(
    kernel: &Arc<Kernel>,
    task: &Arc<Task>,
    run: &mut RunState,
    kind: Restart,
) -> Option<Option<Reply>> {
    if kind == Restart::Killable {
        let exiting = task.group.state.lock().exiting;
        let leaves = task.must_leave.load(Ordering::SeqCst).then_some(ExitStatus::Code(0));
        if let Some(status) = exiting.or(leaves) {
            return Some(leave(kernel, task, run, status));
        }
        // Looked at when the wait is over.
        task.attention.store(true, Ordering::SeqCst);
        return None;
    }
    if task.ptrace.is_on() && signals::deliverable(task) {
        if let Some(step) = traced::interrupted(kernel, task, run, kind) {
            return Some(step);
        }
    }
    match signals::next(task) {
        Next::None => None,
        Next::Traced(info) => Some(traced::at_signal(kernel, task, run, info, Point::Interrupted(kind))),
        Next::TracedStop(signo) => Some(traced::at_stop(kernel, task, run, signo, Point::Interrupted(kind))),
        // What it has done so far, or that it did nothing, is told once it goes on.
        Next::Stop if run.block.progress > 0 || kind == Restart::Never => {
            let value = match run.block.progress {
                0 => Errno::EINTR.to_ret(),
                n => n as i64,
            };
            trace::exit(kernel, task, &run.call, Err(Errno::EINTR));
            task.sig.lock().awaited = SigSet::EMPTY;
            task.attention.store(true, Ordering::SeqCst);
            Some(finish(kernel, task, run, Outcome::Return(value)))
        }
        Next::Stop => {
            // It stays where it waits; SIGCONT calls the handler again. Should the wait end before, the stop comes first.
            task.attention.store(true, Ordering::SeqCst);
            None
        }
        Next::Exit(status) => Some(leave(kernel, task, run, status)),
        Next::Leave => Some(leave(kernel, task, run, ExitStatus::Code(0))),
        Next::Handler(info, action) => {
            let resume = if run.block.progress > 0 {
                Resume::Return(run.block.progress as i64)
            } else if kind == Restart::Always || kind == Restart::Sys && action.flags & SA_RESTART != 0 {
                Resume::Restart
            } else {
                Resume::Return(Errno::EINTR.to_ret())
            };
            trace::exit(kernel, task, &run.call, Err(Errno::EINTR));
            run.block = BlockState::default();
            if action.flags & SA_RESTORER == 0 {
                signals::bad_frame(task, Some((info.signo, task.sig.lock().mask)));
                let outcome = match resume {
                    Resume::Return(v) => Outcome::Return(v),
                    _ => Outcome::Restart,
                };
                return Some(finish(kernel, task, run, outcome));
            }
            let sp = task.thread().regs().rsp;
            Some(Some(deliver(task, run, &info, &action, sp, resume)))
        }
    }
}

/// Back to the guest, unless a signal, a stop or the end comes first.
fn finish(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, outcome: Outcome) -> Option<Reply> {
    if run.block.runs > 0 || run.block.scratch.is_some() || !run.block.places.is_empty() {
        run.block = BlockState::default();
    }
    if outcome == Outcome::Sigreturn {
        if std::mem::take(&mut run.in_call) && task.ptrace.is_on() {
            traced::sigreturning(task, run);
        }
        return Some(Reply::Sigreturn);
    }
    if let (Outcome::Return(value), true) = (outcome, task.ptrace.is_on()) {
        if let Some(step) = traced::returning(kernel, task, run, value) {
            return step;
        }
    }
    while task.attention.swap(false, Ordering::SeqCst) {
        match signals::next(task) {
            Next::None => signals::restore_mask(task),
            Next::Traced(info) => {
                return traced::at_signal(kernel, task, run, info, Point::Back(outcome));
            }
            Next::TracedStop(signo) => {
                return traced::at_stop(kernel, task, run, signo, Point::Back(outcome));
            }
            Next::Stop => {
                if stays_stopped(task) {
                    run.parked = Some(outcome);
                    return None;
                }
                task.attention.store(true, Ordering::SeqCst);
            }
            Next::Exit(status) => return leave(kernel, task, run, status),
            Next::Leave => return leave(kernel, task, run, ExitStatus::Code(0)),
            // x86-64 has no place of its own for what a handler returns to.
            Next::Handler(info, action) if action.flags & SA_RESTORER == 0 => {
                let mask = task.sig.lock().mask;
                signals::bad_frame(task, Some((info.signo, mask)));
            }
            Next::Handler(info, action) => {
                let resume = match outcome {
                    Outcome::Return(v) => Resume::Return(v),
                    Outcome::Continue | Outcome::Sigreturn => Resume::AsIs,
                    Outcome::Restart => Resume::Restart,
                    Outcome::Local => local_resume(&run.call, action.flags),
                };
                let sp = task.thread().regs().rsp;
                return Some(deliver(task, run, &info, &action, sp, resume));
            }
        }
    }
    Some(match outcome {
        Outcome::Return(v) => Reply::Return(v),
        Outcome::Continue | Outcome::Sigreturn => Reply::Continue,
        Outcome::Restart => Reply::Restart,
        Outcome::Local => local(kernel, task),
    })
}

/// The stub makes the call; its end is told where somebody watches.
fn local(kernel: &Kernel, task: &Task) -> Reply {
    Reply::Local { report: trace::on(kernel) || task.ptrace.is_on() }
}

/// How a local call goes on after a handler: a futex wait without a time limit is made again under `SA_RESTART`
/// (signal(7)); all else, sleeps above all, ends with `EINTR`.
fn local_resume(call: &Syscall, flags: u64) -> Resume {
    let wait_without_limit =
        call.nr == libc::SYS_futex as u64 && call.args[3] == 0 || call.nr == libc::SYS_futex_waitv as u64;
    if wait_without_limit && flags & SA_RESTART != 0 {
        Resume::Restart
    } else {
        Resume::Return(Errno::EINTR.to_ret())
    }
}

/// The thread leaves for good; its stub marks its robust futexes first.
fn leave(kernel: &Arc<Kernel>, task: &Arc<Task>, run: &mut RunState, status: ExitStatus) -> Option<Reply> {
    if task.ptrace.is_on() {
        if let Some(step) = traced::at_end(kernel, task, run, status) {
            return step;
        }
    }
    let marks = robust::release(task);
    if !marks.is_empty() {
        run.block = BlockState::default();
        run.then = Some(Then::Actions(Box::new(move |cx, _| {
            Err(Stop::Exit { clear_tid: exit::leave(cx.kernel, cx.task, status) })
        })));
        return Some(Reply::Act(marks));
    }
    run.dead = true;
    run.block = BlockState::default();
    run.then = None;
    let clear_tid = exit::leave(kernel, task, status);
    Some(Reply::ExitThread { clear_tid })
}

/// The reply that enters a handler; what it was is kept until the next event, which tells if its frame did not fit.
fn deliver(
    task: &Arc<Task>,
    run: &mut RunState,
    info: &SigInfo,
    action: &SigAction,
    sp: u64,
    resume: Resume,
) -> Reply {
    let frame = signals::frame(task, info, action, sp, resume);
    run.delivered = Some((info.signo, SigSet(frame.saved_mask)));
    Reply::Signal(frame)
}
