//! pidfd_open(2): a descriptor for a process, readable once the process has ended.

use std::any::Any;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::kernel::{Task, ThreadGroup};
use crate::vfs::{File, FileOps, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

struct PidFd {
    group: Arc<ThreadGroup>,
    /// The thread that is meant, where it is one alone (`PIDFD_THREAD`).
    thread: Option<Weak<Task>>,
}

/// `thread`: the one thread that is meant (`PIDFD_THREAD`).
pub fn create(cred: &Cred, group: Arc<ThreadGroup>, thread: Option<&Arc<Task>>, flags: u32) -> Arc<File> {
    let flags = libc::O_RDWR as u32 | flags;
    let thread = thread.map(Arc::downgrade);
    File::anonymous(
        Arc::new(PidFd { group, thread }),
        Some(AnonInode::plain(cred)),
        flags,
        "anon_inode:[pidfd]".into(),
    )
}

/// Whom a pidfd stands for; `None` where the file is none.
pub fn group_of(file: &File) -> Option<&Arc<ThreadGroup>> {
    file.downcast::<PidFd>().map(|p| &p.group)
}

/// The thread that a pidfd of one stands for: `ESRCH` once it has ended.
pub fn thread_of(file: &File) -> Option<Result<Arc<Task>>> {
    let fd = file.downcast::<PidFd>()?;
    fd.thread.as_ref().map(|_| fd.alive().ok_or(Errno::ESRCH))
}

impl PidFd {
    /// The thread, while it is one of its process's.
    fn alive(&self) -> Option<Arc<Task>> {
        let task = self.thread.as_ref()?.upgrade()?;
        self.group.threads().iter().any(|t| Arc::ptr_eq(t, &task)).then_some(task)
    }

    /// Whether its parent has waited for it.
    fn reaped(&self) -> bool {
        let known = self.group.kernel.upgrade().and_then(|k| k.group(self.group.pid));
        !known.is_some_and(|g| Arc::ptr_eq(&g, &self.group))
    }
}

impl FileOps for PidFd {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let ended = PollEvents::IN | PollEvents::RDNORM;
        if self.thread.is_some() {
            return if self.alive().is_none() { ended } else { PollEvents::empty() };
        }
        if self.reaped() {
            ended | PollEvents::HUP
        } else if self.group.state.lock().zombie.is_some() {
            ended
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.exit_wait)
    }

    fn fdinfo(&self) -> String {
        let pid = if self.reaped() { -1 } else { self.group.pid };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
