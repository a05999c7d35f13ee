//! Memory operations as a running task makes them: begin, let the stub act, finish; wait where another one is in the way.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::current::{Ctx, Restart, Stop};
use super::SysResult;
use crate::mm::{AddressSpace, Begun, Plan, VmaTable};
use crate::wait_queue::PollEvents;

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
    loop {
        match mm.begin(&mut plan) {
            Begun::Done(r) => return r.map_err(Stop::from),
            Begun::Busy => cx.wait(&[(&mm.queue, PollEvents::IN)], UNINTERRUPTIBLE)?,
            Begun::Act(actions, operation) => {
                return Err(Stop::Act(
                    actions,
                    Box::new(move |cx, done| match done {
                        Ok(()) => operation.finish().map_err(Stop::from),
                        Err((_, e)) => {
                            drop(operation);
                            on_error(cx, e)
                        }
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
