//! Opening a FIFO (fifo(7)): all that open it share one pipe, and an open waits for the other side.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use linux_abi::Errno;

use super::{Pipe, PipeEnd, PipeInode};
use crate::kernel::{Ctx, Restart, Stop};
use crate::vfs::attached::Attached;
use crate::vfs::{FileOps, InodeRef};
use crate::wait_queue::PollEvents;

/// The pipes of FIFOs that are open somewhere.
static OPEN: LazyLock<Attached<Pipe>> = LazyLock::new(Default::default);

/// An end whose open still waits for a partner. Dropped with the call where a signal ends it.
struct Pending {
    end: Arc<PipeEnd>,
    /// How many partners had come before.
    seen: u64,
}

impl Pending {
    fn partners(&self) -> u64 {
        let s = self.end.pipe.state.lock();
        if self.end.reads {
            s.writer_opens
        } else {
            s.reader_opens
        }
    }
}

/// Opens a FIFO's inode for a task that may read and write it as `flags` say. Waits for the other side unless
/// `O_NONBLOCK` or `O_RDWR`; the handler is called again from its start and must come here again.
pub fn open_fifo(cx: &mut Ctx<'_>, inode: &InodeRef, flags: u32) -> Result<Arc<dyn FileOps>, Stop> {
    if let Some(p) = inode.as_any().downcast_ref::<PipeInode>() {
        return Ok(p.pipe.end(flags));
    }
    let pending = match take_pending(cx) {
        Some(p) => p,
        None => match begin(inode, flags)? {
            (end, None) => return Ok(end),
            (end, Some(seen)) => Pending { end, seen },
        },
    };
    let queue = pending.end.pipe.queue.clone();
    loop {
        if pending.partners() != pending.seen {
            return Ok(pending.end);
        }
        if let Err(stop) = cx.wait(&[(&queue, PollEvents::all())], Restart::Sys) {
            cx.block.scratch = Some(Box::new(pending));
            return Err(stop);
        }
    }
}

fn take_pending(cx: &mut Ctx<'_>) -> Option<Pending> {
    match cx.block.scratch.take()?.downcast::<Pending>() {
        Ok(p) => Some(*p),
        Err(other) => {
            cx.block.scratch = Some(other);
            None
        }
    }
}

/// The new end, and where it must wait, the count of partners so far.
fn begin(inode: &InodeRef, flags: u32) -> Result<(Arc<PipeEnd>, Option<u64>), Errno> {
    let pipe = OPEN.get_or_make(inode, Pipe::new)?;
    let access = flags & libc::O_ACCMODE as u32;
    let nonblock = flags & libc::O_NONBLOCK as u32 != 0;
    if access == libc::O_WRONLY as u32 && nonblock && pipe.state.lock().readers == 0 {
        return Err(Errno::ENXIO);
    }
    let end = pipe.end(flags);
    let s = pipe.state.lock();
    let wait = match access as i32 {
        libc::O_RDONLY if s.writers == 0 => {
            if nonblock {
                end.no_hup_at.store(s.writer_opens, Ordering::Relaxed);
                None
            } else {
                Some(s.writer_opens)
            }
        }
        libc::O_WRONLY if s.readers == 0 => Some(s.reader_opens),
        _ => None,
    };
    drop(s);
    Ok((end, wait))
}
