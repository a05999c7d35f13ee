//! Descriptors of POSIX message queues (mq_overview(7)): they can be polled, and read for the queue's state.

use std::any::Any;
use std::sync::Arc;

use linux_abi::Result;

use crate::cred::Cred;
use crate::fsimpl::anon::{NodeAttrs, DEV_MQUEUE};
use crate::kernel::ipc::mq::Queue;
use crate::mm::Sink;
use crate::vfs::inode::SetAttrs;
use crate::vfs::{Attrs, File, FileKind, FileOps, Inode};
use crate::wait_queue::{PollEvents, WaitQueue};

/// An open queue.
pub struct MessageQueue(pub Arc<Queue>);

/// What fstat(2) tells of it.
struct Node(NodeAttrs);

/// `FILENT_SIZE`: as large as the text is said to be.
const SIZE: u64 = 80;

/// A description of a queue.
pub fn create(cred: &Cred, queue: Arc<Queue>, name: &[u8], flags: u32) -> Arc<File> {
    let mode = queue.state.lock().perm.mode;
    let node = Node(NodeAttrs::new(FileKind::Regular, mode, DEV_MQUEUE, cred));
    let label = format!("/{}", String::from_utf8_lossy(name));
    File::anonymous(Arc::new(MessageQueue(queue)), Some(Arc::new(node)), flags, label)
}

impl Inode for Node {
    fn attrs(&self) -> Result<Attrs> {
        Ok(Attrs { size: SIZE, ..self.0.get() })
    }
    fn kind(&self) -> FileKind {
        FileKind::Regular
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        self.0.set(set)
    }
    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn FileOps>> {
        Err(linux_abi::Errno::ENXIO)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileOps for MessageQueue {
    fn read(&self, _file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let (held, notify) = {
            let s = self.0.state.lock();
            (s.held, s.notify.as_ref().map(|n| (n.pid, n.signal)))
        };
        let (pid, kind, signo) = match notify {
            Some((pid, Some((signo, _)))) => (pid, 0, signo),
            Some((pid, None)) => (pid, 1, 0),
            None => (0, 0, 0),
        };
        let text = format!("QSIZE:{held:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n");
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(text.len());
        to.put(&text.as_bytes()[from..])
    }
    fn poll(&self, _file: &File) -> PollEvents {
        let count = self.0.state.lock().count;
        let mut ev = PollEvents::empty();
        if count > 0 {
            ev |= PollEvents::IN | PollEvents::RDNORM;
        }
        if count < self.0.max {
            ev |= PollEvents::OUT | PollEvents::WRNORM;
        }
        ev
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
