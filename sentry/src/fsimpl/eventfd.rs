//! eventfd(2): a counter that can be waited for.

use std::any::Any;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::Cred;
use crate::fsimpl::anon::AnonInode;
use crate::mm::{Sink, Source};
use crate::vfs::{File, FileOps, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

struct EventFd {
    count: Mutex<u64>,
    /// `EFD_SEMAPHORE`: a read takes one.
    semaphore: bool,
    queue: WaitQueue,
}

/// The most that the counter holds.
const MAX: u64 = u64::MAX - 1;

pub fn create(cred: &Cred, initial: u64, semaphore: bool, flags: u32) -> Arc<File> {
    let ops = EventFd { count: Mutex::new(initial), semaphore, queue: WaitQueue::new() };
    let flags = libc::O_RDWR as u32 | flags;
    File::anonymous(Arc::new(ops), Some(AnonInode::plain(cred)), flags, "anon_inode:[eventfd]".into())
}

impl FileOps for EventFd {
    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if to.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let out = if self.semaphore { 1 } else { *count };
        *count -= out;
        drop(count);
        self.queue.wake(PollEvents::OUT);
        to.put(&out.to_le_bytes())
    }

    fn write(&self, _file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        // Other sizes are refused (eventfd_write of Linux 6.x).
        if from.remaining() != 8 {
            return Err(Errno::EINVAL);
        }
        let mut raw = [0; 8];
        if from.take(&mut raw)? != raw.len() {
            return Err(Errno::EFAULT);
        }
        let add = u64::from_le_bytes(raw);
        if add == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        *count = count.checked_add(add).filter(|c| *c <= MAX).ok_or(Errno::EAGAIN)?;
        drop(count);
        self.queue.wake(PollEvents::IN);
        Ok(8)
    }

    fn write_all_semantics(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let count = *self.count.lock();
        let mut ev = PollEvents::empty();
        if count > 0 {
            ev |= PollEvents::IN;
        }
        if count < MAX {
            ev |= PollEvents::OUT;
        }
        ev
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn fdinfo(&self) -> String {
        format!("eventfd-count: {:16x}\neventfd-semaphore: {}\n", *self.count.lock(), self.semaphore as u8)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::{SliceSource, VecSink};

    fn add(f: &File, n: u64) -> Result<usize> {
        f.ops.write(f, 0, &mut SliceSource(&n.to_le_bytes()))
    }
    fn take(f: &File) -> Result<u64> {
        let mut s = VecSink::new(8);
        f.ops.read(f, 0, &mut s)?;
        Ok(u64::from_le_bytes(s.data.try_into().unwrap()))
    }

    #[test]
    fn counts_and_overflows() {
        let f = create(&Cred::login(0, 0, vec![]), 0, false, 0);
        assert_eq!(take(&f), Err(Errno::EAGAIN));
        assert_eq!(add(&f, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(add(&f, MAX), Ok(8));
        assert_eq!(add(&f, 1), Err(Errno::EAGAIN));
        assert!(!f.ops.poll(&f).contains(PollEvents::OUT));
        assert_eq!(take(&f), Ok(MAX));
    }

    #[test]
    fn semaphore_gives_one_at_a_time() {
        let f = create(&Cred::login(0, 0, vec![]), 2, true, 0);
        assert_eq!((take(&f), take(&f), take(&f)), (Ok(1), Ok(1), Err(Errno::EAGAIN)));
    }
}
