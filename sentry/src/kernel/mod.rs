//! The kernel proper: tasks, thread groups, their signals, their families.
//!
//! Lock order, outermost first: `Task::run` (held while a handler runs) > `Kernel::pids` > `ThreadGroup::state` >
//! `ThreadGroup::sighand` > `Task::sig`. No lock but `Task::run` is held over a call into a file.

pub mod current;
pub mod fs_context;
pub mod mm_ops;
pub mod ready;
pub mod task;
pub mod thread_group;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use parking_lot::Mutex;
use platform::Platform;

pub use current::{Ctx, Restart, Stop};
pub use fs_context::FsContext;
pub use ready::ReadyList;
pub use task::Task;
pub use thread_group::ThreadGroup;

use crate::time::Timers;

/// What a handler returns: the value for `rax`, or why there is none (yet).
pub type SysResult = Result<u64, Stop>;

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
    /// `CLOCK_MONOTONIC` at start.
    pub started: u64,
    /// Processes ever made, for `/proc/stat`.
    pub forks: AtomicU64,
    pub hostname: Mutex<Vec<u8>>,
    /// What is mounted where.
    pub mounts: Arc<crate::vfs::Namespace>,
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
}
