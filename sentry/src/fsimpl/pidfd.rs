//! pidfd_open(2): a descriptor for a process, readable once the process has ended.

use std::any::Any;
use std::sync::Arc;

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::kernel::ThreadGroup;
use crate::vfs::{File, FileOps, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

struct PidFd {
    group: Arc<ThreadGroup>,
}

pub fn create(cred: &Cred, group: Arc<ThreadGroup>, flags: u32) -> Arc<File> {
    let flags = libc::O_RDWR as u32 | flags;
    File::anonymous(
        Arc::new(PidFd { group }),
        Some(AnonInode::plain(cred)),
        flags,
        "anon_inode:[pidfd]".into(),
    )
}

/// Whom a pidfd stands for; `None` where the file is none.
pub fn group_of(file: &File) -> Option<&Arc<ThreadGroup>> {
    file.downcast::<PidFd>().map(|p| &p.group)
}

impl PidFd {
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
