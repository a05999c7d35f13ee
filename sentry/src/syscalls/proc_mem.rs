//! Writes to `/proc/PID/mem` of what the process itself may not write (ptrace(2), `PTRACE_POKETEXT`): its stub acts.

use std::sync::Arc;

use linux_abi::Errno;

use super::fs_io::{At, Ranges};
use crate::fsimpl::proc::mem::ProcMem;
use crate::kernel::{ptrace, Ctx, Stop, SysResult, Task};
use crate::mm::Source;
use crate::vfs::File;

/// The most that is written at once.
const MOST: usize = 4096;

/// Writes the first part of what a write was given, by force: to the caller's own memory, or to that of a process of
/// which it traces a thread that stands still. `EIO` for others.
pub fn force(cx: &mut Ctx<'_>, file: &Arc<File>, ranges: &Ranges, at: At) -> SysResult {
    let memory = file.downcast::<ProcMem>().ok_or(Errno::EIO)?;
    let Some((task, memory)) = memory.target() else { return Ok(0) };
    let addr = match at {
        At::Offset(pos) => pos,
        At::Position => *file.pos.lock(),
    };
    // Not beyond the page that it begins in: the next may be one that can be written.
    let most = MOST - (addr % MOST as u64) as usize;
    let mut bytes = vec![0; ranges.total().min(most)];
    let n = ranges.buf(&cx.mem, 0, bytes.len()).take(&mut bytes)?;
    bytes.truncate(n);
    if !ptrace::may_store(&memory, addr, n) {
        return Err(Errno::EIO.into());
    }
    let moved = move |file: &File| {
        if at == At::Position {
            *file.pos.lock() = addr.wrapping_add(n as u64);
        }
        Ok(n as u64)
    };
    if Arc::ptr_eq(&memory, &cx.task.mm()) {
        let (actions, file) = (ptrace::store(&memory, addr, bytes), file.clone());
        let done = move |_: &mut Ctx<'_>, done: Result<(), (usize, Errno)>| match done {
            Ok(()) => moved(&file),
            Err(_) => Err(Errno::EIO.into()),
        };
        return Err(Stop::Act(actions, Box::new(done)));
    }
    // A debugger opens the file of one thread and goes on using it while others stand.
    let stands = |t: &Arc<Task>| {
        t.ptrace.is_traced_by(&cx.task.group) && t.ptrace.lock().is_some_and(|t| t.stop.is_some())
    };
    let standing = if stands(&task) {
        Some(task)
    } else {
        let threads = task.group.state.lock().threads.clone();
        threads.into_iter().find(|t| Arc::ptr_eq(&t.mm(), &memory) && stands(t))
    };
    let standing = standing.ok_or(Errno::EIO)?;
    super::ptrace::force(cx, &standing, addr, &bytes)?;
    moved(file)
}
