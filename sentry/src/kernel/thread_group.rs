//! A thread group: what the threads of a process share, and its place among the others (credentials(7), wait(2)).

use std::sync::atomic::{AtomicI32, AtomicU64};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::task::Task;
use super::Kernel;
use crate::limits::Limits;
use crate::signal::info::{CLD_DUMPED, CLD_EXITED, CLD_KILLED};
use crate::signal::{PendingQueue, SigAction, NSIG};
use crate::wait_queue::WaitQueue;

/// Signal actions; shared by `CLONE_SIGHAND`.
#[derive(Clone)]
pub struct SigHand {
    pub actions: [SigAction; NSIG],
}

impl Default for SigHand {
    fn default() -> SigHand {
        SigHand { actions: [SigAction::default(); NSIG] }
    }
}

/// How a process ended, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u8),
    /// Signal number, and whether a core was "dumped".
    Signal(i32, bool),
}

impl ExitStatus {
    /// The status word of wait4(2).
    pub fn to_wait(self) -> i32 {
        match self {
            ExitStatus::Code(c) => (c as i32) << 8,
            ExitStatus::Signal(s, core) => s | if core { 0x80 } else { 0 },
        }
    }
    /// `si_code` and `si_status` of SIGCHLD and waitid(2).
    pub fn child_code(self) -> (i32, i32) {
        match self {
            ExitStatus::Code(c) => (CLD_EXITED, c.into()),
            ExitStatus::Signal(s, false) => (CLD_KILLED, s),
            ExitStatus::Signal(s, true) => (CLD_DUMPED, s),
        }
    }
}

/// Job-control and family state, under one lock.
#[derive(Default)]
pub struct GroupState {
    pub threads: Vec<Arc<Task>>,
    pub children: Vec<Arc<ThreadGroup>>,
    pub parent: Weak<ThreadGroup>,
    pub pgid: i32,
    pub sid: i32,
    /// The controlling terminal.
    pub tty: Option<Arc<super::terminal::Tty>>,
    /// Of a session leader whose terminal was hung up: the group that was in the foreground then.
    pub old_foreground: i32,
    /// Set once the group is to end: every thread leaves with this.
    pub exiting: Option<ExitStatus>,
    /// Set when the last thread is gone; the group is a zombie until waited for.
    pub zombie: Option<ExitStatus>,
    /// The signal that stopped the group, until it is continued.
    pub stopped: Option<i32>,
    /// State changes that wait4 has not yet reported: stopped by, continued.
    pub report_stop: Option<i32>,
    pub report_continue: bool,
    /// The parent has not been told yet that the group was continued.
    pub tell_continue: bool,
    /// Sent to the parent at the end; 0 for none (clone(2)).
    pub exit_signal: i32,
    pub child_subreaper: bool,
    /// Sent to this group when its parent thread ends (`PR_SET_PDEATHSIG`).
    pub pdeath_signal: i32,
    pub has_execed: bool,
    /// The thread that made it: whose end `pdeath_signal` is for, and whose child it is for `__WNOTHREAD`.
    pub maker: i32,
    /// The user of its last thread, for who is told of its end.
    pub last_uid: u32,
    /// Times of waited-for children, in nanoseconds (user, system).
    pub child_times: (u64, u64),
}

pub struct ThreadGroup {
    pub pid: i32,
    pub kernel: Weak<Kernel>,
    pub state: Mutex<GroupState>,
    pub sighand: RwLock<Arc<Mutex<SigHand>>>,
    /// Signals for the group as a whole.
    pub pending: Mutex<PendingQueue>,
    pub limits: RwLock<Limits>,
    /// Told when a child changed state (wait4), with `IN`.
    pub child_wait: WaitQueue,
    /// Told when a signal arrives (signalfd).
    pub signal_wait: WaitQueue,
    /// Told when this group becomes a zombie (pidfd) or all other threads have left (exec).
    pub exit_wait: WaitQueue,
    /// `CLOCK_MONOTONIC` and boot time at start, for /proc/PID/stat.
    pub started: u64,
    /// CPU time (user, system) of threads that have left, in nanoseconds.
    pub dead_utime: AtomicU64,
    pub dead_stime: AtomicU64,
    /// `oom_score_adj` as set.
    pub oom_score_adj: AtomicI32,
    /// The program's file (`/proc/PID/exe`).
    pub exe: Mutex<Option<Arc<crate::vfs::File>>>,
    /// When a group that must end is ended by force.
    pub overdue: Mutex<Option<crate::time::Armed>>,
    /// What calls remember that only ask for it back; timers.
    pub extras: super::extras::GroupExtras,
}

/// What a new thread group is made of.
pub struct NewGroup {
    pub pid: i32,
    pub sighand: Arc<Mutex<SigHand>>,
    pub limits: Limits,
    pub state: GroupState,
    /// One queue for a whole family: a signalfd that a child inherits tells of the child's signals.
    pub signal_wait: WaitQueue,
}

impl ThreadGroup {
    pub fn new(kernel: Weak<Kernel>, new: NewGroup) -> Arc<ThreadGroup> {
        Arc::new(ThreadGroup {
            pid: new.pid,
            kernel,
            state: Mutex::new(new.state),
            sighand: RwLock::new(new.sighand),
            pending: Mutex::default(),
            limits: RwLock::new(new.limits),
            child_wait: WaitQueue::new(),
            signal_wait: new.signal_wait,
            exit_wait: WaitQueue::new(),
            started: crate::time::boottime(),
            dead_utime: AtomicU64::new(0),
            dead_stime: AtomicU64::new(0),
            oom_score_adj: AtomicI32::new(0),
            exe: Mutex::default(),
            overdue: Mutex::default(),
            extras: Default::default(),
        })
    }

    /// The action for a signal.
    pub fn action(&self, signo: i32) -> SigAction {
        let hand = self.sighand.read().clone();
        let hand = hand.lock();
        usize::try_from(signo - 1).ok().and_then(|i| hand.actions.get(i).copied()).unwrap_or_default()
    }
    /// The parent's process number, 0 without one.
    pub fn ppid(&self) -> i32 {
        self.state.lock().parent.upgrade().map_or(0, |p| p.pid)
    }
    /// The soft limit of a resource.
    pub fn limit(&self, resource: usize) -> u64 {
        self.limits.read().soft(resource)
    }
    /// The threads that have not left yet.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.state.lock().threads.clone()
    }
}
