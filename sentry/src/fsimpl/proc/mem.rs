//! `/proc/PID/mem` (proc(5)): a process's memory as a file, its addresses as positions. A description stays with the
//! address space that it was opened for: once that is left (exec, the end) it is empty.

use std::any::Any;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};

use super::Subject;
use crate::kernel::Task;
use crate::mm::{AddressSpace, Sink, Source};
use crate::vfs::{File, FileOps};

/// How much is copied at once.
const PIECE: usize = 64 << 10;

pub struct ProcMem {
    subject: Subject,
    memory: Weak<AddressSpace>,
}

impl ProcMem {
    pub(super) fn open(subject: &Subject) -> Result<ProcMem> {
        let memory = Arc::downgrade(&subject.task()?.mm());
        Ok(ProcMem { subject: subject.clone(), memory })
    }

    /// The task and the memory, as long as the one has the other.
    pub fn target(&self) -> Option<(Arc<Task>, Arc<AddressSpace>)> {
        let task = self.subject.task().ok()?;
        let memory = self.memory.upgrade().filter(|m| Arc::ptr_eq(m, &task.mm()))?;
        Some((task, memory))
    }
}

/// How much of a range, from its start, is mapped: the stub's own memory is not.
fn mapped(memory: &AddressSpace, at: u64, len: usize) -> usize {
    let end = at.saturating_add(len as u64);
    memory.with_table(|t| {
        let mut reached = at;
        for v in t.overlapping(at, end) {
            if v.start > reached {
                break;
            }
            reached = v.end;
        }
        (reached.min(end) - at) as usize
    })
}

impl FileOps for ProcMem {
    fn read(&self, _file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let Some((_, memory)) = self.target() else { return Ok(0) };
        let mut done = 0;
        let mut piece = vec![0; to.remaining().min(PIECE)];
        while to.remaining() > 0 {
            let at = pos.saturating_add(done as u64);
            let want = mapped(&memory, at, to.remaining().min(PIECE));
            let got = match want {
                0 => 0,
                n => memory.space.read(at, &mut piece[..n]).unwrap_or(0),
            };
            if got == 0 {
                break;
            }
            done += to.put(&piece[..got])?;
        }
        if done == 0 && to.remaining() > 0 {
            return Err(Errno::EIO);
        }
        Ok(done)
    }

    /// What the process itself may write. The rest is the calls' business, since its stub must act.
    fn write(&self, _file: &File, pos: u64, from: &mut dyn Source) -> Result<usize> {
        let Some((_, memory)) = self.target() else { return Ok(0) };
        let asked = from.remaining();
        let mut piece = vec![0; asked.min(PIECE)];
        let mut done = 0;
        while from.remaining() > 0 {
            let at = pos.saturating_add(done as u64);
            let room = mapped(&memory, at, from.remaining().min(PIECE));
            let room = memory.writable_len(at, room);
            if room == 0 {
                break;
            }
            let n = from.take(&mut piece[..room])?;
            let written = memory.space.write(at, &piece[..n]).unwrap_or(0);
            done += written;
            if written < n {
                break;
            }
        }
        if done == 0 && asked > 0 {
            return Err(Errno::EIO);
        }
        Ok(done)
    }

    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        self.write(file, 0, from).map(|n| (n, n as u64))
    }

    /// It has no end.
    fn size(&self, _file: &File) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
