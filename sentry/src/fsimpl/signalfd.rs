//! signalfd(2): pending signals of the *reading* task as records of 128 bytes.

use std::any::Any;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::fsimpl::anon::AnonInode;
use crate::kernel::{current, Kernel, Task};
use crate::mm::Sink;
use crate::signal::info::{SI_KERNEL, SI_QUEUE, SI_TIMER};
use crate::signal::{SigInfo, SigSet};
use crate::vfs::{File, FileOps, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

/// `struct signalfd_siginfo`.
const RECORD: usize = 128;

pub struct SignalFd {
    kernel: Weak<Kernel>,
    mask: Mutex<SigSet>,
    /// The handle that the whole family of processes shares (`ThreadGroup::signal_wait`).
    queue: WaitQueue,
}

pub fn create(kernel: &Arc<Kernel>, task: &Task, mask: SigSet, flags: u32) -> Arc<File> {
    let ops = SignalFd {
        kernel: Arc::downgrade(kernel),
        mask: Mutex::new(mask.as_mask()),
        queue: task.group.signal_wait.clone(),
    };
    let inode = AnonInode::plain(&task.cred());
    File::anonymous(Arc::new(ops), Some(inode), libc::O_RDWR as u32 | flags, "anon_inode:[signalfd]".into())
}

impl SignalFd {
    /// A second signalfd call on the descriptor.
    pub fn set_mask(&self, mask: SigSet) {
        *self.mask.lock() = mask.as_mask();
        self.queue.wake(PollEvents::IN);
    }

    fn reader(&self) -> Option<Arc<Task>> {
        self.kernel.upgrade()?.task(current::current_tid()?)
    }

    fn next(&self, task: &Task) -> Option<SigInfo> {
        let mask = *self.mask.lock();
        let own = task.sig.lock().pending.take(mask);
        own.or_else(|| task.group.pending.lock().take(mask))
    }
}

/// The fields that the code says are there (fs/signalfd.c: signalfd_copyinfo).
fn record(info: &SigInfo) -> [u8; RECORD] {
    let b = &info.bytes;
    let mut r = [0; RECORD];
    r[0..4].copy_from_slice(&info.signo.to_le_bytes());
    r[4..8].copy_from_slice(&b[4..8]);
    r[8..12].copy_from_slice(&info.code.to_le_bytes());
    let hardware = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];
    let from_kernel = info.code > 0 && info.code != SI_KERNEL;
    if info.code == SI_TIMER {
        r[24..28].copy_from_slice(&b[16..20]);
        r[32..36].copy_from_slice(&b[20..24]);
        r[44..48].copy_from_slice(&b[24..28]);
        r[48..56].copy_from_slice(&b[24..32]);
    } else if from_kernel && hardware.contains(&info.signo) {
        r[72..80].copy_from_slice(&b[16..24]);
    } else {
        r[12..16].copy_from_slice(&b[16..20]);
        r[16..20].copy_from_slice(&b[20..24]);
        if from_kernel && info.signo == libc::SIGCHLD {
            r[40..44].copy_from_slice(&b[24..28]);
            r[56..64].copy_from_slice(&b[32..40]);
            r[64..72].copy_from_slice(&b[40..48]);
        } else if info.code == SI_QUEUE || info.code < SI_TIMER {
            r[44..48].copy_from_slice(&b[24..28]);
            r[48..56].copy_from_slice(&b[24..32]);
        }
    }
    r
}

impl FileOps for SignalFd {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if to.remaining() < RECORD {
            return Err(Errno::EINVAL);
        }
        let task = self.reader().ok_or(Errno::EAGAIN)?;
        let mut done = 0;
        while to.remaining() >= RECORD {
            let Some(info) = self.next(&task) else { break };
            done += to.put(&record(&info))?;
        }
        if done == 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(done)
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let mask = *self.mask.lock();
        let pending = self.reader().map_or(SigSet::EMPTY, |t| {
            let own = t.sig.lock().pending.set();
            own.union(t.group.pending.lock().set())
        });
        if pending.0 & mask.0 != 0 {
            PollEvents::IN
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.lock().0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
