//! The kernel proper: tasks, thread groups, their signals, their families.
//!
//! Lock order, outermost first: `Task::run` (held while a handler runs) > `Kernel::pids` > `ThreadGroup::state` >
//! `ThreadGroup::sighand` > `Task::sig`. No lock but `Task::run` is held over a call into a file.

pub mod async_io;
pub mod clone;
pub mod core_dump;
pub mod cpu;
pub mod current;
pub mod exec;
pub mod exit;
pub mod extras;
pub mod fs_context;
pub mod hooks;
pub mod ipc;
pub mod memory;
pub mod mm_ops;
pub mod pi;
pub mod ptrace;
pub mod ready;
pub mod robust;
pub mod seccomp;
pub mod signals;
pub mod task;
pub mod terminal;
pub mod thread_group;
pub mod wait;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use parking_lot::Mutex;
use platform::Platform;

pub use current::{Ctx, Restart, Stop};
pub use fs_context::FsContext;
pub use ready::ReadyList;
pub use task::{Outcome, Task};
pub use thread_group::{ExitStatus, ThreadGroup};

use crate::denials::Denials;
use crate::guard::Guard;
use crate::learnt::Learner;
use crate::time::Timers;

/// Takes one line of the trace of calls.
pub type TraceSink = Box<dyn Fn(&str) + Send + Sync>;

/// What a handler returns: the value for `rax`, or why there is none (yet).
pub type SysResult = Result<u64, Stop>;

/// The sandbox's init: a group without threads that inherits and reaps orphans.
pub const INIT_PID: i32 = 1;
/// The command that the user asked for.
pub const FIRST_PID: i32 = 2;

/// The most tasks in one sandbox (`kernel.pid_max` of a small machine).
pub const PID_MAX: i32 = 32768;

/// Task and thread group numbers.
#[derive(Default)]
pub struct Pids {
    pub tasks: BTreeMap<i32, Arc<Task>>,
    pub groups: BTreeMap<i32, Arc<ThreadGroup>>,
    pub last: i32,
}

/// One sandbox's kernel.
pub struct Kernel {
    pub platform: Platform,
    pub pids: Mutex<Pids>,
    pub ready: ReadyList,
    pub timers: Arc<Timers>,
    /// Processors that guests see.
    pub cpus: usize,
    /// What the whole sandbox may use.
    pub limits: crate::config::Limits,
    /// Signals that wait, by the user whose process they wait for (`RLIMIT_SIGPENDING`).
    pub queued_signals: crate::signal::queue::Users,
    /// Signals from outside that came before the command was there.
    pub early_signals: Mutex<Vec<(crate::signal::Signo, signals::Outside)>>,
    /// Clones under way, and clones that `--pids` refused.
    pub cloning: AtomicU64,
    pub clones_refused: AtomicU64,
    /// `CLOCK_MONOTONIC` at start.
    pub started: u64,
    /// Processes ever made, for `/proc/stat`.
    pub forks: AtomicU64,
    pub hostname: Mutex<Vec<u8>>,
    /// What is mounted where.
    pub mounts: Arc<crate::vfs::Namespace>,
    /// The donated terminal, and whose foreground the signals are for that the launcher relays (also where no standard
    /// stream is a terminal; it has no number then).
    pub console: Arc<terminal::Tty>,
    /// How the first process ended, once it has.
    pub end: (std::sync::Mutex<Option<ExitStatus>>, std::sync::Condvar),
    /// Told when the first process is stopped, with the signal: the launcher stops too.
    pub stopped: Box<dyn Fn(i32) + Send + Sync>,
    /// Where the lines of the trace go.
    pub trace: Option<TraceSink>,
    /// System V IPC.
    pub ipc: ipc::Ipc,
    /// PI futexes that are waited for.
    pub pi: pi::PiTable,
    /// The policy's rules on calls, where there are any.
    pub guard: Option<Guard>,
    /// What the program uses, where a policy is learnt.
    pub learner: Option<Learner>,
    /// What the policy refused.
    pub denials: Denials,
    /// Calls that are not implemented: how often each was made.
    pub missing: Mutex<BTreeMap<u64, u64>>,
}

impl Kernel {
    /// The task of a number.
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.pids.lock().tasks.get(&tid).cloned()
    }
    /// The thread group of a process number (zombies included).
    pub fn group(&self, pid: i32) -> Option<Arc<ThreadGroup>> {
        self.pids.lock().groups.get(&pid).cloned()
    }

    /// The process that a number names, be it its own or that of one of its threads.
    pub fn group_of(&self, tid: i32) -> Option<Arc<ThreadGroup>> {
        self.group(tid).or_else(|| self.task(tid).map(|t| t.group.clone()))
    }

    /// The first process has ended, and with it the sandbox.
    pub fn ended(&self, status: ExitStatus) {
        let mut end = self.end.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        end.get_or_insert(status);
        self.end.1.notify_all();
    }

    /// Waits for the end of the first process.
    pub fn wait_for_end(&self) -> ExitStatus {
        let mut end = self.end.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(status) = *end {
                return status;
            }
            end = self.end.1.wait(end).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
