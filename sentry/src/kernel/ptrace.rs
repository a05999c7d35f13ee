//! ptrace(2) as state: who traces a thread, where it stands, and what its tracer asked for. The stops themselves are the
//! run loop's (`run::traced`), the requests `syscalls::ptrace`'s.
//!
//! A tracer is a thread group here: any of its threads may make requests (Linux asks for the thread that attached).
//!
//! Lock order: `Task::run` > `GroupState` > [`Tracing`]'s; nothing is called with the latter held.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use platform::{Action, Regs};

use super::signals;
use super::task::Task;
use super::thread_group::{ExitStatus, ThreadGroup};
use super::Kernel;
use crate::cred::{cap, Cred};
use crate::mm::AddressSpace;
use crate::signal::info::CLD_TRAPPED;
use crate::signal::{SigInfo, Signo};
use crate::wait_queue::{PollEvents, WaitQueue};

/// `PTRACE_O_*`.
pub mod option {
    pub const SYSGOOD: u32 = 1;
    pub const FORK: u32 = 2;
    pub const VFORK: u32 = 4;
    pub const CLONE: u32 = 8;
    pub const EXEC: u32 = 0x10;
    pub const VFORK_DONE: u32 = 0x20;
    pub const EXIT: u32 = 0x40;
    pub const SECCOMP: u32 = 0x80;
    pub const EXITKILL: u32 = 0x10_0000;
    pub const ALL: u32 = 0xff | EXITKILL;
}

/// `PTRACE_EVENT_*`.
pub mod event {
    pub const FORK: i32 = 1;
    pub const VFORK: i32 = 2;
    pub const CLONE: i32 = 3;
    pub const EXEC: i32 = 4;
    pub const VFORK_DONE: i32 = 5;
    pub const EXIT: i32 = 6;
    pub const STOP: i32 = 128;
}

/// The single-step flag of the processor.
pub const TRAP_FLAG: u64 = 0x100;

/// A task's part in being traced.
#[derive(Default)]
pub struct Tracing {
    on: AtomicBool,
    state: Mutex<Option<Trace>>,
}

/// What a tracer and its tracee have between them.
pub struct Trace {
    pub tracer: Weak<ThreadGroup>,
    pub tracer_pid: i32,
    pub seized: bool,
    pub options: u32,
    /// Where it stands, while it is stopped.
    pub stop: Option<Stopped>,
    /// It was let go with `PTRACE_SYSCALL`, `PTRACE_SINGLESTEP`.
    pub syscalls: bool,
    pub stepping: bool,
    /// The next instruction is not to be run: a step ended with the call that just returned, or at a handler.
    pub step_over: bool,
    /// A signal that the tracer let through.
    pub inject: Option<SigInfo>,
    /// `PTRACE_GETEVENTMSG`.
    pub message: u64,
    /// An event that is due before the call returns.
    pub due: Option<(i32, u64)>,
    /// `PTRACE_INTERRUPT`, or the first stop of a child that was seized with its parent.
    pub interrupt: bool,
    /// The group's stop was told; the thread may run on although the group is stopped.
    pub group_stop_seen: bool,
    /// `PTRACE_LISTEN`.
    pub listening: bool,
    /// `PTRACE_EVENT_EXIT` was told.
    pub exit_seen: bool,
    /// The registers as the tracer sees and changes them.
    pub view: View,
    pub dirty: bool,
    /// Writes to memory that the guest itself may not write (breakpoints in text).
    pub pokes: VecDeque<(u64, Vec<u8>)>,
    pub poke_failed: bool,
    /// Told when pokes are done.
    pub poked: WaitQueue,
}

/// Registers with what belongs to the call.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    pub regs: Regs,
    /// The call's number; -1 outside of calls.
    pub orig_rax: u64,
}

/// `struct user_regs_struct`, in words.
pub const REGS: usize = 27;
const CS: u64 = 0x33;
const SS: u64 = 0x2b;

/// The words of `struct user_regs_struct`, in order.
pub fn words(v: &View) -> [u64; REGS] {
    let r = &v.regs;
    [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi,
        r.rdi, v.orig_rax, r.rip, CS, r.eflags, r.rsp, SS, r.fs_base, 0, 0, 0, 0, 0,
    ]
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug)]
pub enum Why {
    Enter,
    Exit,
    Signal(SigInfo),
    Group(Signo),
    Event(i32),
}

/// A stop.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    pub why: Why,
    /// What wait4(2) shows in bits 8 and up: signal, event.
    pub code: i32,
    /// wait(2) has told it.
    pub reported: bool,
}

impl Trace {
    pub fn new(tracer: &Arc<ThreadGroup>, seized: bool, options: u32) -> Trace {
        Trace {
            tracer: Arc::downgrade(tracer),
            tracer_pid: tracer.pid,
            seized,
            options,
            stop: None,
            syscalls: false,
            stepping: false,
            step_over: false,
            inject: None,
            message: 0,
            due: None,
            interrupt: false,
            group_stop_seen: false,
            listening: false,
            exit_seen: false,
            view: View::default(),
            dirty: false,
            pokes: VecDeque::new(),
            poke_failed: false,
            poked: WaitQueue::new(),
        }
    }

    pub fn has(&self, option: u32) -> bool {
        self.options & option != 0
    }
}

impl Tracing {
    /// One load, for the way that everybody goes.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub fn lock(&self) -> Option<MappedMutexGuard<'_, Trace>> {
        if !self.is_on() {
            return None;
        }
        MutexGuard::try_map(self.state.lock(), Option::as_mut).ok()
    }

    fn set(&self, trace: Trace) -> Result<()> {
        let mut state = self.state.lock();
        if state.is_some() {
            return Err(Errno::EPERM);
        }
        *state = Some(trace);
        self.on.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn take(&self) -> Option<Trace> {
        let mut state = self.state.lock();
        self.on.store(false, Ordering::SeqCst);
        state.take()
    }

    /// The tracer's process number, 0 without one.
    pub fn tracer_pid(&self) -> i32 {
        self.lock().map_or(0, |t| t.tracer_pid)
    }

    pub fn is_traced_by(&self, group: &Arc<ThreadGroup>) -> bool {
        self.lock().is_some_and(|t| t.tracer.upgrade().is_some_and(|g| Arc::ptr_eq(&g, group)))
    }
}

/// A traced thread that has ended and whose tracer has not been told.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    pub tid: i32,
    pub uid: u32,
    pub status: ExitStatus,
}

/// What a thread group has as a tracer.
#[derive(Default)]
pub struct Tracer {
    pub tracees: Mutex<Vec<Weak<Task>>>,
    pub dead: Mutex<Vec<Dead>>,
}

/// Makes `tracer` trace `task`.
pub fn attach(tracer: &Arc<ThreadGroup>, task: &Arc<Task>, trace: Trace) -> Result<()> {
    task.ptrace.set(trace)?;
    tracer.extras.tracer.tracees.lock().push(Arc::downgrade(task));
    // Calls that the stub makes by itself come by the kernel, as long as somebody watches.
    task.thread().ask_always(true);
    Ok(())
}

/// Ends the tracing; the task goes on where it stands.
pub fn detach(task: &Arc<Task>) {
    let Some(trace) = task.ptrace.take() else { return };
    if let Some(tracer) = trace.tracer.upgrade() {
        let me = Arc::as_ptr(task);
        tracer.extras.tracer.tracees.lock().retain(|t| t.as_ptr() != me && t.strong_count() > 0);
    }
    task.thread().ask_always(task.seccomp.is_on());
    task.run_as_untraced(trace);
    task.attention.store(true, Ordering::SeqCst);
    task.wake();
}

/// Whether `cred` may look into a task: same user and group, no more rights, or `CAP_SYS_PTRACE` (ptrace(2),
/// "Ptrace access mode checking").
pub fn may_access(cred: &Cred, task: &Task) -> Result<()> {
    let they = task.cred();
    let same = [they.uid, they.euid, they.suid].iter().all(|u| *u == cred.uid)
        && [they.gid, they.egid, they.sgid].iter().all(|g| *g == cred.gid)
        && they.permitted & !cred.permitted == 0
        && !task.group.extras.undumpable.load(Ordering::Relaxed);
    if same || cred.has(cap::SYS_PTRACE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// What the stub of an address space does to write what the guest itself may not: rights are back afterwards.
pub fn store(memory: &AddressSpace, addr: u64, bytes: Vec<u8>) -> Vec<Action> {
    let end = addr.saturating_add(bytes.len() as u64);
    let parts: Vec<(u64, u64, i32)> = memory.with_table(|t| {
        t.overlapping(addr, end)
            .map(|v| (v.start.max(addr & !4095), v.end.min((end + 4095) & !4095), v.prot))
            .collect()
    });
    let protect = |write: i32| {
        parts
            .iter()
            .filter(|p| p.2 & libc::PROT_WRITE == 0)
            .map(|p| Action::Protect { addr: p.0, len: p.1 - p.0, prot: p.2 | write })
            .collect::<Vec<_>>()
    };
    let mut actions = protect(libc::PROT_WRITE | libc::PROT_READ);
    actions.push(Action::Store { addr, bytes });
    actions.extend(protect(0));
    actions
}

/// Whether a range may be written by force: all of it is there, and a private copy of its own.
pub fn may_store(memory: &AddressSpace, addr: u64, len: usize) -> bool {
    let Some(end) = addr.checked_add(len as u64) else { return false };
    memory.with_table(|t| t.is_covered(addr, end) && t.overlapping(addr, end).all(|v| !v.shared()))
        && !crate::mm::is_reserved(addr, len)
}

/// Tells the tracer of a stop: SIGCHLD, and whoever waits.
pub fn tell(task: &Arc<Task>) {
    let Some((tracer, code)) =
        task.ptrace.lock().and_then(|t| Some((t.tracer.upgrade()?, t.stop.map_or(0, |s| s.code))))
    else {
        return;
    };
    let quiet = tracer.action(libc::SIGCHLD).flags & crate::signal::SA_NOCLDSTOP != 0;
    if !quiet {
        let info = SigInfo::child(CLD_TRAPPED, task.tid(), task.cred().uid, code & 0x7f, 0, 0);
        signals::send_to_group(&tracer, info);
    }
    tracer.child_wait.wake(PollEvents::IN);
}

impl Kernel {
    /// A task has left: its tracer is told, and what it traced itself goes on (its group's last thread only).
    pub(super) fn trace_ended(&self, task: &Arc<Task>, status: ExitStatus, last: bool) {
        if let Some(trace) = task.ptrace.take() {
            if let Some(tracer) = trace.tracer.upgrade() {
                let me = Arc::as_ptr(task);
                tracer.extras.tracer.tracees.lock().retain(|t| t.as_ptr() != me && t.strong_count() > 0);
                let is_parent =
                    task.group.state.lock().parent.upgrade().is_some_and(|p| Arc::ptr_eq(&p, &tracer));
                // A child's end is told as any child's; a thread's, or a stranger's, by us.
                if !(is_parent && last) {
                    let dead = Dead { tid: task.tid(), uid: task.cred().uid, status };
                    let mut list = tracer.extras.tracer.dead.lock();
                    // A tracer that never waits must not make us remember without bound.
                    if list.len() < super::PID_MAX as usize {
                        list.push(dead);
                    }
                    drop(list);
                    tracer.child_wait.wake(PollEvents::IN);
                }
            }
            trace.poked.wake(PollEvents::IN);
        }
        if last {
            let tracees = std::mem::take(&mut *task.group.extras.tracer.tracees.lock());
            for tracee in tracees.iter().filter_map(Weak::upgrade) {
                let kill = tracee.ptrace.lock().is_some_and(|t| t.has(option::EXITKILL));
                detach(&tracee);
                if kill {
                    signals::send_to_group(&tracee.group, signals::kernel_signal(libc::SIGKILL));
                }
            }
        }
    }
}

impl Task {
    /// What the tracer had let through and not been taken yet is a signal like any other.
    fn run_as_untraced(self: &Arc<Task>, trace: Trace) {
        if let Some(info) = trace.inject {
            self.sig.lock().pending.push(info);
        }
        *self.left_view.lock() = trace.dirty.then_some(trace.view);
        trace.poked.wake(PollEvents::IN);
    }
}
