//! System V shared memory: segments (shmget(2), shmat(2), shmctl(2)). A segment is a memfd; each mapping of it holds the
//! segment, so how often it is attached is how often it is held, as Linux counts mappings.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{seconds, Perm};
use crate::mm::Mappable;

/// `SHMMNI`.
pub const MOST: usize = 4096;
/// `SHMMAX` and `SHMALL` (in bytes and pages): no less than any program asks for, and no overflow in sums.
pub const MAX_SIZE: u64 = 1 << 40;
/// The mode bits that `IPC_STAT` shows of a segment: to be destroyed, locked.
pub const DEST: u32 = 0o1000;
pub const LOCKED: u32 = 0o2000;

/// One segment.
pub struct Segment {
    pub id: i32,
    pub size: u64,
    pub creator: i32,
    fd: Arc<OwnedFd>,
    pub state: Mutex<State>,
    dev: u64,
}

/// What changes of a segment.
#[derive(Default)]
pub struct State {
    pub perm: Perm,
    pub attached_at: i64,
    pub detached_at: i64,
    pub changed_at: i64,
    pub last: i32,
}

/// A place in the table: a segment that was removed lives as long as it is attached.
#[derive(Clone)]
pub enum Entry {
    Alive(Arc<Segment>),
    Removed(Weak<Segment>),
}

impl Entry {
    /// The segment, and how often it is attached.
    pub fn segment(&self) -> Result<(Arc<Segment>, u64)> {
        match self {
            Entry::Alive(s) => {
                // One is the table's, one this copy of the entry's.
                let held = (Arc::strong_count(s) as u64).saturating_sub(2);
                Ok((s.clone(), held))
            }
            Entry::Removed(s) => {
                let held = s.strong_count() as u64;
                Ok((s.upgrade().ok_or(Errno::EINVAL)?, held))
            }
        }
    }
}

impl Segment {
    pub fn new(id: i32, perm: Perm, size: u64, creator: i32) -> Result<Arc<Segment>> {
        let pages = crate::mm::vma::page_up(size).ok_or(Errno::EINVAL)?;
        let fd = rustix::fs::memfd_create("sysv", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(|e| Errno(e.raw_os_error()))?;
        rustix::fs::ftruncate(&fd, pages).map_err(|e| Errno(e.raw_os_error()))?;
        let state = State { perm, changed_at: seconds(), ..State::default() };
        Ok(Arc::new(Segment { id, size, creator, fd: Arc::new(fd), state: Mutex::new(state), dev: DEVICE }))
    }
}

/// The device number by which a mapping is known as one of a segment; no file system has it.
pub const DEVICE: u64 = 0x5;

impl Mappable for Segment {
    fn descriptor(&self, _shared: bool, _writable: bool) -> Result<Arc<OwnedFd>> {
        Ok(self.fd.clone())
    }
    fn identity(&self) -> (u64, u64) {
        (self.dev, self.id as u64)
    }
    fn name(&self) -> String {
        format!("/SYSV{:08x} (deleted)", self.state.lock().perm.key)
    }
    fn in_memory(&self) -> bool {
        true
    }
}
