//! execve: the task moves to a fresh address space and a fresh host thread (execve(2)).
//!
//! In order: load (all errors that the caller can still see), wait until the other threads of the group have left, get
//! a fresh thread, then the point of no return: the old host thread ends, the new one maps the program and enters it.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use platform::{Reply, Thread};

use super::current::{Ctx, Restart, Stop};
use super::task::Task;
use super::thread_group::ExitStatus;
use super::{exit, signals, SysResult};
use crate::cred::cap;
use crate::cred::exec::{AfterExec, Steered};
use crate::loader::Loaded;
use crate::mm::AddressSpace;
use crate::signal::{AltStack, SIG_DFL, SIG_IGN};
use crate::wait_queue::PollEvents;

type Fresh = Arc<FreshThread>;

/// Where the thread that was asked for arrives.
#[derive(Default)]
struct FreshThread(Mutex<Option<Result<Arc<Thread>>>>);

impl Drop for FreshThread {
    /// Nobody came for it: the task died meanwhile.
    fn drop(&mut self) {
        if let Some(Ok(thread)) = self.0.get_mut().take() {
            thread.space().kill();
        }
    }
}

/// An exec under way, kept between the runs of the handler.
struct Pending {
    loaded: Loaded,
    fresh: Option<Fresh>,
}

/// Runs the handler: `load` is called once, on the first run.
pub fn exec(
    cx: &mut Ctx<'_>,
    load: impl FnOnce(&mut Ctx<'_>) -> std::result::Result<Loaded, Stop>,
) -> SysResult {
    let scratch = cx.block.scratch.take().and_then(|s| s.downcast::<Pending>().ok());
    let mut pending = match scratch {
        Some(p) => p,
        None => {
            let loaded = load(cx)?;
            let before = cx.task.mm().with_table(crate::mm::VmaTable::charged);
            if !crate::mm::account::fits(loaded.table.charged(), before) {
                return Err(Errno::ENOMEM.into());
            }
            Box::new(Pending { loaded, fresh: None })
        }
    };
    if let Err(stop) = only_thread(cx) {
        cx.block.scratch = Some(pending);
        return Err(stop);
    }
    let slot = pending.fresh.get_or_insert_with(|| ask_for_thread(cx)).clone();
    loop {
        let got = slot.0.lock().take();
        match got {
            Some(Ok(thread)) => return leave_old(cx, pending.loaded, thread),
            Some(Err(e)) => return Err(Stop::Errno(e)),
            None => {
                if let Err(stop) = cx.wait(&[], Restart::Killable) {
                    cx.block.scratch = Some(pending);
                    return Err(stop);
                }
            }
        }
    }
}

fn ask_for_thread(cx: &Ctx<'_>) -> Fresh {
    let slot: Fresh = Arc::default();
    let (there, task) = (slot.clone(), cx.task.clone());
    cx.kernel.platform.fresh_thread(Box::new(move |r| {
        *there.0.lock() = Some(r);
        drop(there);
        task.wake();
    }));
    slot
}

/// Makes the other threads of the group leave, and waits until they have.
fn only_thread(cx: &mut Ctx<'_>) -> std::result::Result<(), Stop> {
    let group = cx.task.group.clone();
    loop {
        let told: Vec<_> = {
            // Under the group's lock: of two threads that exec at once, one wins and the other leaves.
            let s = group.state.lock();
            if s.exiting.is_some() || cx.task.must_leave.load(Ordering::SeqCst) {
                return Err(Stop::Interrupt(Restart::Killable));
            }
            if s.threads.iter().all(|t| Arc::ptr_eq(t, cx.task)) {
                return Ok(());
            }
            let others = s.threads.iter().filter(|t| !Arc::ptr_eq(t, cx.task));
            others.filter(|t| !t.must_leave.swap(true, Ordering::SeqCst)).cloned().collect()
        };
        told.iter().for_each(Task::kick);
        cx.wait(&[(&group.exit_wait, PollEvents::IN)], Restart::Killable)?;
    }
}

/// The old program's robust futexes are marked by its own stub, then it is left.
fn leave_old(cx: &mut Ctx<'_>, loaded: Loaded, fresh: Arc<Thread>) -> SysResult {
    let marks = super::robust::release(cx.task);
    if marks.is_empty() {
        return enter(cx, loaded, fresh);
    }
    // Should the task die meanwhile, the fresh thread ends with this.
    let held = FreshThread(Mutex::new(Some(Ok(fresh))));
    Err(Stop::Act(
        marks,
        Box::new(move |cx, _| match held.0.lock().take() {
            Some(Ok(fresh)) => enter(cx, loaded, fresh),
            _ => Err(linux_abi::Errno::EAGAIN.into()),
        }),
    ))
}

/// The point of no return.
fn enter(cx: &mut Ctx<'_>, loaded: Loaded, fresh: Arc<Thread>) -> SysResult {
    let task = cx.task;
    let Loaded { actions, table, regs, comm, exe, cred } = loaded;
    fresh.set_cookie(task.clone());
    task.group.keep_cpu_time(task);
    let old = std::mem::replace(&mut *task.thread.write(), fresh.clone());
    // Filters outlive the program (seccomp(2)).
    fresh.ask_always(task.seccomp.is_on() || task.ptrace.is_on());
    let clear_tid = task.clear_child_tid.swap(0, Ordering::SeqCst);
    let new_mm = AddressSpace::new(fresh.space().clone(), table);
    let old_mm = std::mem::replace(&mut *task.mm.write(), new_mm);
    // Nobody is left to see the word where the address space ends with this thread.
    let shared = Arc::strong_count(&old_mm) > 1;
    if !shared {
        let (utime, stime) = old.cpu_time();
        task.group.dead_utime.fetch_add(utime, Ordering::Relaxed);
        task.group.dead_stime.fetch_add(stime, Ordering::Relaxed);
    }
    old.reply(Reply::ExitThread { clear_tid: if shared { clear_tid } else { 0 } });
    drop(old_mm);
    exit::finish_vfork(task);

    task.unshare_files();
    drop(task.files().take_cloexec());
    *task.name.lock() = comm;
    let before = task.group.exe.lock().replace(exe);
    drop(before);
    task.robust_list.store(0, Ordering::SeqCst);
    reset_signals(cx);
    task.group.extras.on_exec();
    become_who(task, cred);
    let former = task.tid();
    leader_number(cx);
    task.group.state.lock().has_execed = true;

    let task = task.clone();
    Err(Stop::Act(
        actions,
        Box::new(move |_cx, done| match done {
            Ok(()) => {
                tell_tracer(&task, former);
                Err(Stop::Enter(Box::new(regs)))
            }
            Err((at, e)) => {
                tracing::debug!(at, error = %e, "exec: the new program could not be mapped");
                signals::begin_exit(&task.group, ExitStatus::Signal(libc::SIGKILL, false));
                Ok(0)
            }
        }),
    ))
}

/// Whether somebody with fewer rights could steer a program that this task runs (ptrace(2), clone(2) on `CLONE_FS`).
pub fn steered(cx: &Ctx<'_>) -> Steered {
    let task = cx.task;
    let tracer = task.ptrace.lock().map(|t| t.tracer.clone());
    if let Some(tracer) = tracer {
        let leader = tracer.upgrade().and_then(|group| group.state.lock().threads.first().cloned());
        if !leader.is_some_and(|leader| leader.cred().has(cap::SYS_PTRACE)) {
            return Steered::Yes;
        }
    }
    let fs = task.fs();
    let shared = |t: &Arc<Task>| !Arc::ptr_eq(&t.group, &task.group) && Arc::ptr_eq(&t.fs(), &fs);
    let others = Arc::strong_count(&fs) > 2 && cx.kernel.pids.lock().tasks.values().any(shared);
    if others {
        Steered::Yes
    } else {
        Steered::No
    }
}

/// The new program's credentials; with more rights than its caller's, it does not end with its parent (prctl(2)).
fn become_who(task: &Task, new: AfterExec) {
    let AfterExec { cred, secure, dumpable } = new;
    task.group.extras.undumpable.store(!dumpable, Ordering::Relaxed);
    if secure || task.cred().is_other(&cred) {
        task.group.state.lock().pdeath_signal = 0;
    }
    *task.cred.write() = Arc::new(cred);
}

/// A tracer sees the new program before its first instruction: as an event, or as a SIGTRAP (ptrace(2)).
fn tell_tracer(task: &Arc<Task>, former: i32) {
    let plain = task.ptrace.lock().is_some_and(|mut t| {
        if t.has(super::ptrace::option::EXEC) {
            t.due = Some((super::ptrace::event::EXEC, former as u64));
            return false;
        }
        !t.seized
    });
    if plain {
        let info = crate::signal::SigInfo::user(libc::SIGTRAP, 0, task.group.pid, task.cred().uid);
        signals::send_to_task(task, info);
    }
}

/// Handlers go back to the default, ignored signals stay so; the alternate stack is gone.
fn reset_signals(cx: &Ctx<'_>) {
    let group = &cx.task.group;
    let mut hand = group.sighand.read().lock().clone();
    for a in &mut hand.actions {
        let handler = if a.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
        *a = crate::signal::SigAction { handler, ..Default::default() };
    }
    *group.sighand.write() = Arc::new(Mutex::new(hand));
    let mut sig = cx.task.sig.lock();
    sig.altstack = AltStack::default();
}

/// The one thread that is left leads the group, under the group's number (execve(2), "the PID of the process").
fn leader_number(cx: &Ctx<'_>) {
    let task = cx.task;
    let mut pids = cx.kernel.pids.lock();
    let before = task.tid();
    if before != task.group.pid {
        pids.tasks.remove(&before);
        task.set_tid(task.group.pid);
        pids.tasks.insert(task.group.pid, task.clone());
        drop(pids);
        super::current::set_current_tid(Some(task.group.pid));
    }
}
