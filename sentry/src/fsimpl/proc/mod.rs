//! `/proc` (proc(5)): the kernel's state as files. Names come and go with the processes, so nothing of it is cached; a
//! file's text is made when it is read from its start.
//!
//! An inode holds its process weakly, so that a number given again never shows another process through an old
//! descriptor. Tables say what there is: [`global`] for the whole sandbox, [`process`] for one process or thread.

mod fd;
mod global;
mod life;
pub mod mem;
mod net;
mod node;
mod process;
mod status;
mod text;

use std::sync::{Arc, OnceLock, Weak};

use linux_abi::{Errno, Result};

use self::node::{Node, ProcInode};
use super::clock::{anonymous_dev, now};
use crate::kernel::current::current_tid;
use crate::kernel::{Kernel, Task, ThreadGroup};
use crate::vfs::inode::FileTime;
use crate::vfs::{FileSystem, InodeRef};

/// What all its inodes share.
pub(super) struct Shared {
    kernel: OnceLock<Weak<Kernel>>,
    dev: u64,
    made: FileTime,
    boot_id: String,
}

impl Shared {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.get().and_then(|k| k.upgrade()).ok_or(Errno::ENOENT)
    }
}

/// A mountable `/proc`. It is made before the kernel, which it is then given.
pub struct ProcFs {
    shared: Arc<Shared>,
    root: Arc<ProcInode>,
}

impl ProcFs {
    pub fn new() -> Arc<ProcFs> {
        let shared = Arc::new(Shared {
            kernel: OnceLock::new(),
            dev: anonymous_dev(),
            made: now(),
            boot_id: random_uuid(),
        });
        let root = ProcInode::new(&shared, Node::Root);
        Arc::new(ProcFs { shared, root })
    }

    /// Whose state it shows.
    pub fn set_kernel(&self, kernel: &Arc<Kernel>) {
        let _ = self.shared.kernel.set(Arc::downgrade(kernel));
    }
}

impl FileSystem for ProcFs {
    fn name(&self) -> &'static str {
        "proc"
    }
    fn root(&self) -> InodeRef {
        self.root.clone()
    }
}

/// A random UUID of version 4 in its usual form.
fn random_uuid() -> String {
    let mut b = [0u8; 16];
    let _ = rustix::rand::getrandom(&mut b, rustix::rand::GetRandomFlags::empty());
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = |r: std::ops::Range<usize>| b[r].iter().map(|x| format!("{x:02x}")).collect::<String>();
    format!("{}-{}-{}-{}-{}", h(0..4), h(4..6), h(6..8), h(8..10), h(10..16))
}

/// A process, or one thread of it, as an inode names it.
#[derive(Clone)]
pub(super) struct Subject {
    group: Weak<ThreadGroup>,
    tid: i32,
    /// Below `task/`, or named by a number that is not a process's.
    thread: bool,
}

/// The process whose `/proc/PID` an inode is; `None` for anything else, and once it has been waited for.
pub fn process_of(inode: &InodeRef) -> Option<Arc<ThreadGroup>> {
    match &inode.as_any().downcast_ref::<node::ProcInode>()?.node {
        node::Node::Process(s) if !s.thread => s.group.upgrade(),
        _ => None,
    }
}

impl Subject {
    /// The process or thread of a number.
    fn find(kernel: &Kernel, tid: i32) -> Option<Subject> {
        if let Some(group) = kernel.group(tid) {
            return Some(Subject { group: Arc::downgrade(&group), tid, thread: false });
        }
        let task = kernel.task(tid)?;
        Some(Subject { group: Arc::downgrade(&task.group), tid, thread: true })
    }

    /// The thread of a number below this process.
    fn thread(&self, tid: i32) -> Result<Subject> {
        let group = self.group()?;
        let there = group.threads().iter().any(|t| t.tid() == tid) || group.pid == tid;
        there.then(|| Subject { group: self.group.clone(), tid, thread: true }).ok_or(Errno::ENOENT)
    }

    /// `ESRCH` once the process has been waited for.
    fn group(&self) -> Result<Arc<ThreadGroup>> {
        let group = self.group.upgrade().ok_or(Errno::ESRCH)?;
        let kernel = group.kernel.upgrade().ok_or(Errno::ESRCH)?;
        let listed = kernel.group(group.pid).is_some_and(|g| Arc::ptr_eq(&g, &group));
        listed.then_some(group).ok_or(Errno::ESRCH)
    }

    /// The thread; for a process whose first thread has left, any. `ESRCH` for zombies.
    fn task(&self) -> Result<Arc<Task>> {
        let threads = self.group()?.threads();
        let exact = threads.iter().find(|t| t.tid() == self.tid);
        exact.or_else(|| threads.first().filter(|_| !self.thread)).cloned().ok_or(Errno::ESRCH)
    }

    /// Whether who asks may look into the process (ptrace(2), `PTRACE_MODE_READ`), else `EACCES`.
    fn check_access(&self) -> Result<()> {
        // A zombie has nothing left to see.
        let Ok(task) = self.task() else { return self.group().map(drop) };
        let kernel = task.kernel.upgrade().ok_or(Errno::ESRCH)?;
        let Some(asker) = current_tid().and_then(|t| kernel.task(t)) else { return Ok(()) };
        if Arc::ptr_eq(&asker.group, &task.group) {
            return Ok(());
        }
        let (me, it) = (asker.cred(), task.cred());
        let undumpable = task.group.extras.undumpable.load(std::sync::atomic::Ordering::Relaxed);
        let same_user = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.fsuid);
        let same_group = [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.fsgid);
        let covered = it.permitted & !me.permitted == 0;
        if same_user && same_group && covered && !undumpable || me.has(crate::cred::cap::SYS_PTRACE) {
            return Ok(());
        }
        Err(Errno::EACCES)
    }
}
