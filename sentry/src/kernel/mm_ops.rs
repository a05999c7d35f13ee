//! Memory operations as a running task makes them: begin, let the stub act, finish; wait where another one is in the way.

use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::Ending;

use super::current::{Ctx, Restart, Stop};
use super::{SysResult, Task};
use crate::cred::cap;
use crate::limits::resource;
use crate::mm::plan::MemLimits;
use crate::mm::space::{Operation, Unfilled};
use crate::mm::{Action, AddressSpace, Begun, Plan, VmaTable};
use crate::wait_queue::PollEvents;

/// The limits of a task that count for its memory.
pub fn limits(task: &Task) -> MemLimits {
    let of = |resource: usize| task.group.limit(resource);
    MemLimits {
        address_space: of(resource::AS),
        data: of(resource::DATA),
        lock: if task.cred().has(cap::IPC_LOCK) { u64::MAX } else { of(resource::MEMLOCK) },
        stack: of(resource::STACK),
    }
}

/// A fault where nothing is mapped: whether a mapping grows down to it.
pub enum Growth {
    /// It is a fault.
    No,
    /// The thread tries again.
    Again,
    /// Let the stub act, then the thread tries again; a failure makes it a fault after all.
    Act(Vec<Action>, Operation),
}

/// Looks whether a fault asks a mapping that grows down (a stack) to grow.
pub fn growth(task: &Task, addr: u64) -> Growth {
    let limits = limits(task);
    match task.mm().begin(|t| t.plan_growth(addr, &limits)) {
        Begun::Act(actions, operation) => Growth::Act(actions, operation),
        Begun::Busy => Growth::Again,
        Begun::Done(_) => Growth::No,
    }
}

/// Waiting for another thread's operation is not interrupted by handlers: it is short, and mmap(2) knows no `EINTR`.
const UNINTERRUPTIBLE: Restart = Restart::Killable;

/// What is done where the stub's part failed.
pub type OnError = Box<dyn FnOnce(&mut Ctx<'_>, Errno) -> SysResult + Send>;

/// Runs an operation on the caller's address space; a failure of the host is the call's.
pub fn run(cx: &mut Ctx<'_>, plan: impl FnMut(&mut VmaTable) -> Result<Plan>) -> SysResult {
    run_or(cx, plan, Box::new(|_, e| Err(e.into())))
}

/// Runs an operation; `on_error` answers where the host refuses.
pub fn run_or(
    cx: &mut Ctx<'_>,
    mut plan: impl FnMut(&mut VmaTable) -> Result<Plan>,
    on_error: OnError,
) -> SysResult {
    let mm = cx.task.mm();
    // This one, and the task's own: nobody else can ask for the same addresses.
    let alone = Arc::strong_count(&mm) <= 2;
    loop {
        match mm.begin(&mut plan) {
            Begun::Done(r) => return r.map_err(Stop::from),
            Begun::Busy => cx.wait(&[(&mm.queue, PollEvents::IN)], UNINTERRUPTIBLE)?,
            Begun::Act(actions, operation) if alone => {
                let (value, undo) = operation.foresee();
                let value = value.map_or_else(Errno::to_ret, |v| v as i64);
                return Err(Stop::ActThen(
                    actions,
                    Ending::Return(value),
                    Box::new(move |cx, done| match done {
                        Ok(()) => Ok(value as u64),
                        Err((at, e)) => match undo.apply(at, e) {
                            Unfilled::Answer(None) => Ok(value as u64),
                            Unfilled::Answer(Some(e)) => Err(e.into()),
                            Unfilled::Undone => on_error(cx, e),
                        },
                    }),
                ));
            }
            Begun::Act(actions, operation) => {
                return Err(Stop::Act(
                    actions,
                    Box::new(move |cx, done| match done {
                        Ok(()) => operation.finish().map_err(Stop::from),
                        Err((at, e)) => match operation.finish_unfilled(at, e) {
                            Ok(done) => done.map_err(Stop::from),
                            Err(operation) => {
                                drop(operation);
                                on_error(cx, e)
                            }
                        },
                    }),
                ))
            }
        }
    }
}

impl AddressSpace {
    /// Waits until no operation is under way and holds new ones back, as long as what it returns lives.
    pub fn begin_fork(self: &Arc<Self>, cx: &mut Ctx<'_>) -> std::result::Result<Forking, Stop> {
        while !self.try_begin_fork() {
            cx.wait(&[(&self.queue, PollEvents::IN)], UNINTERRUPTIBLE)?;
        }
        Ok(Forking(self.clone()))
    }
}

/// A fork under way. A task that dies in the middle of one drops it too, so that other threads' operations go on.
pub struct Forking(Arc<AddressSpace>);

impl Drop for Forking {
    fn drop(&mut self) {
        self.0.end_fork();
    }
}
