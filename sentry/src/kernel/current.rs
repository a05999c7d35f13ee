//! The running task's side: what a handler is given ([`Ctx`]) and what it gives back ([`SysResult`]).

use std::sync::Arc;

use linux_abi::Errno;
use platform::{Action, CloneSpec, Ending, Regs, Syscall, Thread};

use super::task::{BlockState, Task};
use super::{Kernel, SysResult};
use crate::mm::Mem;
use crate::vfs::{File, Lookup};
use crate::wait_queue::{PollEvents, WaitQueue};

/// How a wait that a signal ends is answered (signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Made again after a handler with `SA_RESTART`, else `EINTR` (read, wait4, flock, …).
    Sys,
    /// Made again after any handler (`ERESTARTNOINTR`: the PI locks of futex(2)).
    Always,
    /// `EINTR` after any handler (poll, select, epoll_wait, nanosleep, sigtimedwait, …).
    NoHand,
    /// As `NoHand`, and a stop with a continuation ends it, too (epoll_wait, semop, sigtimedwait, sockets with a time
    /// limit: signal(7), "Interruption of system calls and library functions by stop signals").
    Never,
    /// Only the end of the task ends the wait (a vfork parent, exec waiting for its threads).
    Killable,
}

pub type ThenActions = Box<dyn FnOnce(&mut Ctx<'_>, Result<(), (usize, Errno)>) -> SysResult + Send>;
pub type ThenClone = Box<dyn FnOnce(&mut Ctx<'_>, Result<Arc<Thread>, Errno>) -> SysResult + Send>;

/// Why a handler has no value to return.
pub enum Stop {
    Errno(Errno),
    /// It waits where [`Ctx::wait`] has put it; it is called again.
    Block(Restart),
    /// What is pending for the thread comes first; without a handler that ends the call, it is called again.
    Interrupt(Restart),
    /// The stub is to act; then the function goes on with what came of it.
    Act(Vec<Action>, ThenActions),
    /// The stub is to act and to go on like that; the function is called where it could not, or was to report.
    ActThen(Vec<Action>, Ending, ThenActions),
    Clone(CloneSpec, ThenClone),
    /// An event that the tracer wants to see is due; then the handler is called again.
    Traced,
    /// Let the stub make the call on the host.
    Local,
    /// The thread goes on where it stands: a fault has been served.
    Resume,
    /// Return by the signal frame at the stack pointer.
    Sigreturn,
    /// The program starts with these registers (exec).
    Enter(Box<Regs>),
    /// The task has left (exit): its thread ends; the word at the address, if any, is cleared and woken.
    Exit {
        clear_tid: u64,
    },
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Stop {
        Stop::Errno(e)
    }
}

/// What a handler works with. Made anew for each run.
pub struct Ctx<'a> {
    pub kernel: &'a Arc<Kernel>,
    pub task: &'a Arc<Task>,
    pub mem: Mem<'a>,
    pub call: Syscall,
    /// Kept between the runs of one call.
    pub block: &'a mut BlockState,
    /// Whether this run has registered already (see [`Ctx::wait`]).
    pub(crate) armed: bool,
}

impl Ctx<'_> {
    /// The file behind a descriptor; `EBADF` also for `O_PATH` ones, as read(2) and most calls have it.
    pub fn file(&self, fd: i32) -> Result<Arc<File>, Errno> {
        let f = self.task.files.read().get(fd)?;
        if f.is_path() {
            return Err(Errno::EBADF);
        }
        Ok(f)
    }

    /// The file behind a descriptor, `O_PATH` ones too (fstat, fchdir, *at).
    pub fn file_any(&self, fd: i32) -> Result<Arc<File>, Errno> {
        self.task.files.read().get(fd)
    }

    /// Waits on a queue. The first time in a run it registers and returns `Ok`: look at the condition again, it may
    /// have come true before; the second time it ends the run with [`Stop::Block`]:
    ///
    /// ```ignore
    /// loop {
    ///     match try_it() {
    ///         Err(Errno::EAGAIN) if !nonblocking => cx.wait(&[(queue, PollEvents::READABLE)], Restart::Sys)?,
    ///         other => return other,
    ///     }
    /// }
    /// ```
    /// A deadline in `block.deadline` also ends the wait: the handler is called again and looks at
    /// [`Ctx::timed_out`] itself, after its condition.
    pub fn wait(&mut self, queues: &[(&WaitQueue, PollEvents)], restart: Restart) -> Result<(), Stop> {
        if self.armed {
            return Err(Stop::Block(restart));
        }
        self.armed = true;
        for (queue, events) in queues {
            self.block.places.push(queue.register(*events, self.task.waker()));
        }
        if let Some(deadline) = self.block.deadline {
            self.block.timer = Some(self.kernel.timers.arm(deadline, self.task.waker()));
        }
        Ok(())
    }

    /// How waits on a socket end that has a time limit of its own, or none (signal(7)).
    pub fn socket_restart(&self) -> Restart {
        if self.block.deadline.is_some() {
            Restart::Never
        } else {
            Restart::Sys
        }
    }

    /// Whether `block.deadline` has passed.
    pub fn timed_out(&self) -> bool {
        self.block.deadline.is_some_and(|d| crate::time::monotonic() >= d)
    }

    /// The soft limit of a resource of this thread group.
    pub fn limit(&self, resource: usize) -> u64 {
        self.task.group.limit(resource)
    }

    /// A path argument (`EFAULT`, `ENAMETOOLONG`).
    pub fn path(&self, addr: u64) -> Result<Vec<u8>, Errno> {
        self.mem.read_cstr(addr, crate::vfs::walk::PATH_MAX)
    }

    /// Path walks of this task, from its working directory.
    pub fn lookup(&self) -> Lookup {
        Lookup { fs: self.task.fs().get(), cred: self.task.cred(), base: None }
    }

    /// Path walks of this task for the `*at` calls: a relative path begins at `dirfd` (`EBADF`, `ENOTDIR`).
    pub fn lookup_at(&self, dirfd: i32, path: &[u8]) -> Result<Lookup, Errno> {
        let mut look = self.lookup();
        // An empty path is ENOENT whatever the descriptor.
        if dirfd != libc::AT_FDCWD && !path.is_empty() && path[0] != b'/' {
            let file = self.file_any(dirfd)?;
            // A file without a place is no directory either.
            look.base = Some(file.path.clone().ok_or(Errno::ENOTDIR)?);
        }
        Ok(look)
    }

    /// Puts a file into the descriptor table at the lowest number.
    pub fn install(&self, file: Arc<File>, cloexec: bool) -> Result<i32, Errno> {
        let limit = self.limit(crate::limits::resource::NOFILE);
        self.task.files().insert(file, cloexec, 0, limit)
    }
}

thread_local! {
    static CURRENT: std::cell::Cell<Option<i32>> = const { std::cell::Cell::new(None) };
}

/// The run loop says whose handler this worker runs.
pub fn set_current_tid(tid: Option<i32>) {
    CURRENT.set(tid);
}

/// The task whose handler runs on this worker: what `/proc/self` leads to.
pub fn current_tid() -> Option<i32> {
    CURRENT.get()
}
