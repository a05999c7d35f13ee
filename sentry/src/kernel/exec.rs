//! execve: the task gets a new program in an empty address space (execve(2)).
//!
//! In order: load (all errors that the caller can still see), wait until the other threads of the group have left, then
//! the point of no return. Who has its address space for itself keeps its stub, which unmaps the old program before it
//! maps the new one: no process is made and none ends. Who shares it (a vfork child) moves to a fresh stub, and its old
//! host thread ends.
//!
//! A stub that stays is one that the old program may have tampered with, and the new one runs with what the old one left
//! there. So it stays only where the new program has the same credentials, and others of its user may look into it: the
//! old one could do as much to it by ptrace(2).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use platform::{Action, Ending, Reply, Thread, GUEST_HIGHEST, STUB_RANGE};

use super::current::{Ctx, Restart, Stop};
use super::task::Task;
use super::thread_group::ExitStatus;
use super::{exit, signals, SysResult};
use crate::cred::cap;
use crate::cred::exec::{AfterExec, Steered};
use crate::loader::Loaded;
use crate::mm::vma::{VmFlags, VmName, Vma, VmaTable, PAGE};
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
            let before = cx.task.mm().with_table(VmaTable::charged);
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
    if pending.fresh.is_none() && can_stay(cx, &pending.loaded) {
        return leave_old(cx, pending.loaded, Seat::Same);
    }
    let slot = pending.fresh.get_or_insert_with(|| ask_for_thread(cx)).clone();
    loop {
        let got = slot.0.lock().take();
        match got {
            Some(Ok(thread)) => return leave_old(cx, pending.loaded, Seat::Fresh(thread)),
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

/// Where the new program runs.
enum Seat {
    /// In the stub of the old one.
    Same,
    Fresh(Arc<Thread>),
}

impl Drop for Seat {
    /// The task died before it took its seat.
    fn drop(&mut self) {
        if let Seat::Fresh(thread) = self {
            // Nothing but a stub that is not anybody's is without a word of the kernel's.
            if thread.cookie().is_none() {
                thread.space().kill();
            }
        }
    }
}

/// Whether the task has its address space for itself, on the host too, the vDSO lies in it as every program finds it,
/// and the new program has no rights that the old one has not.
fn can_stay(cx: &Ctx<'_>, loaded: &Loaded) -> bool {
    let new = &loaded.cred;
    if new.secure || !new.dumpable || new.cred != *cx.task.cred() {
        return false;
    }
    let thread = cx.task.thread();
    let mm = cx.task.mm();
    // This one, and the task's own.
    let alone = Arc::strong_count(&mm) <= 2 && cx.task.vfork_done.lock().is_none();
    alone && thread.space().is_alone(&thread) && mm.with_table(|old| vdso(old) == vdso(&loaded.table))
}

/// The vDSO's mappings: where, and with which rights.
fn vdso(table: &VmaTable) -> Vec<(u64, u64, i32, VmFlags)> {
    let is_vdso = |v: &&Vma| matches!(v.name, VmName::Vdso | VmName::Vvar);
    table.iter().filter(is_vdso).map(|v| (v.start, v.end, v.prot, v.flags)).collect()
}

/// Unmaps all that a guest can have mapped, but for the vDSO: also what is in no table, should the old program have made
/// its stub map something.
fn clear(vdso: &[(u64, u64, i32, VmFlags)]) -> Vec<Action> {
    let kept = std::iter::once((STUB_RANGE.start, STUB_RANGE.end)).chain(vdso.iter().map(|v| (v.0, v.1)));
    let mut kept: Vec<(u64, u64)> = kept.collect();
    kept.sort_unstable();
    kept.push((GUEST_HIGHEST, GUEST_HIGHEST));
    let mut at = PAGE;
    let mut actions = Vec::new();
    for (start, end) in kept {
        if start > at {
            actions.push(Action::Unmap { addr: at, len: start - at });
        }
        at = at.max(end);
    }
    actions
}

/// The old program's robust futexes are marked by its own stub, then it is left.
fn leave_old(cx: &mut Ctx<'_>, loaded: Loaded, seat: Seat) -> SysResult {
    let marks = super::robust::release(cx.task);
    if marks.is_empty() {
        return enter(cx, loaded, seat);
    }
    Err(Stop::Act(marks, Box::new(move |cx, _| enter(cx, loaded, seat))))
}

/// The point of no return.
fn enter(cx: &mut Ctx<'_>, loaded: Loaded, seat: Seat) -> SysResult {
    let task = cx.task;
    let Loaded { mut actions, table, regs, comm, exe, cred } = loaded;
    let clear_tid = task.clear_child_tid.swap(0, Ordering::SeqCst);
    match &seat {
        Seat::Same => {
            actions.splice(0..0, clear(&vdso(&table)));
            let new_mm = AddressSpace::new(task.thread().space().clone(), table);
            let old_mm = std::mem::replace(&mut *task.mm.write(), new_mm);
            drop(old_mm);
        }
        Seat::Fresh(fresh) => {
            fresh.set_cookie(task.clone());
            task.group.keep_cpu_time(task);
            let old = std::mem::replace(&mut *task.thread.write(), fresh.clone());
            let new_mm = AddressSpace::new(fresh.space().clone(), table);
            let old_mm = std::mem::replace(&mut *task.mm.write(), new_mm);
            // Nobody is left to see the word where the address space ends with this thread.
            let shared = Arc::strong_count(&old_mm) > 1;
            old.reply(Reply::ExitThread { clear_tid: if shared { clear_tid } else { 0 } });
            drop(old_mm);
        }
    }
    // Filters outlive the program (seccomp(2)).
    task.thread().ask_always(task.seccomp.is_on() || task.ptrace.is_on());
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
    Err(Stop::ActThen(
        actions,
        Ending::Enter(Box::new(regs)),
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
