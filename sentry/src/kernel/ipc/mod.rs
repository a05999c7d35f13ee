//! System V IPC (sysvipc(7)): shared memory, semaphores, message queues; and POSIX message queues. Each System V kind has a [`Table`] of what was made, by
//! number and by key; each object has a lock of its own, taken after its table's is given back.

pub mod mq;
pub mod msg;
pub mod sem;
pub mod shm;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::cred::{cap, Cred};
use crate::time::{realtime, NSEC};

/// All IPC of a sandbox.
#[derive(Default)]
pub struct Ipc {
    pub shm: Mutex<Table<shm::Entry>>,
    pub sem: Mutex<Table<std::sync::Arc<sem::Set>>>,
    pub msg: Mutex<Table<std::sync::Arc<msg::Queue>>>,
    pub mq: mq::Queues,
}

/// Seconds of the wall clock, for the time fields.
pub fn seconds() -> i64 {
    (realtime() / NSEC) as i64
}

/// `struct ipc64_perm`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
}

/// What a caller wants with an object: read (and attach), or alter.
pub const READ: u32 = 0o444;
pub const WRITE: u32 = 0o222;

impl Perm {
    pub fn new(key: i32, cred: &Cred, flags: i32) -> Perm {
        let (uid, gid) = (cred.euid, cred.egid);
        Perm { key, uid, gid, cuid: uid, cgid: gid, mode: flags as u32 & 0o777, seq: 0 }
    }

    /// `ipcperms` of Linux: whether these rights are there.
    pub fn check(&self, cred: &Cred, want: u32) -> Result<()> {
        let wanted = (want >> 6) | (want >> 3) | want;
        let granted = if cred.euid == self.cuid || cred.euid == self.uid {
            self.mode >> 6
        } else if cred.in_group(self.cgid) || cred.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 != 0 && !cred.has(cap::IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Whether the caller may change or remove it.
    pub fn check_owner(&self, cred: &Cred) -> Result<()> {
        if cred.euid == self.cuid || cred.euid == self.uid || cred.has(cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// `IPC_SET`: owner and mode from the structure that the caller gave.
    pub fn set(&mut self, raw: &[u8; 48]) {
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        (self.uid, self.gid) = (word(4), word(8));
        self.mode = self.mode & !0o777 | word(20) & 0o777;
    }

    pub fn bytes(&self) -> [u8; 48] {
        let mut b = [0; 48];
        let words = [self.key as u32, self.uid, self.gid, self.cuid, self.cgid, self.mode];
        for (i, w) in words.iter().enumerate() {
            b[i * 4..i * 4 + 4].copy_from_slice(&w.to_le_bytes());
        }
        b[24..26].copy_from_slice(&self.seq.to_le_bytes());
        b
    }
}

/// How many numbers a table has (`IPCMNI`); a number is an index and a sequence number, so that it is not soon given
/// again.
const INDICES: i32 = 32768;

/// Objects of one kind.
pub struct Table<T> {
    slots: Vec<Option<Slot<T>>>,
    seq: u16,
}

struct Slot<T> {
    id: i32,
    key: i32,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { slots: Vec::new(), seq: 0 }
    }
}

impl<T: Clone> Table<T> {
    /// The object of a number; `EINVAL`.
    pub fn get(&self, id: i32) -> Result<T> {
        self.slot(id).map(|s| s.value.clone()).ok_or(Errno::EINVAL)
    }

    fn slot(&self, id: i32) -> Option<&Slot<T>> {
        let index = usize::try_from(id).ok()? % INDICES as usize;
        self.slots.get(index)?.as_ref().filter(|s| s.id == id)
    }

    /// The object in a place, for `*_STAT` and its like; with its number.
    pub fn at(&self, index: i32) -> Result<(i32, T)> {
        let found = usize::try_from(index).ok().and_then(|i| self.slots.get(i)?.as_ref());
        found.map(|s| (s.id, s.value.clone())).ok_or(Errno::EINVAL)
    }

    /// The object of a key other than `IPC_PRIVATE`.
    pub fn find(&self, key: i32) -> Option<(i32, T)> {
        self.slots.iter().flatten().find(|s| s.key == key && key != 0).map(|s| (s.id, s.value.clone()))
    }

    /// The `*get` calls: the object of a key, or a new one. `fits` checks one that is there; `most` is how many there
    /// may be.
    pub fn open(
        &mut self,
        key: i32,
        flags: i32,
        most: usize,
        fits: impl FnOnce(&T) -> Result<()>,
        make: impl FnOnce(i32, u16) -> Result<T>,
    ) -> Result<i32> {
        if let Some((id, found)) = self.find(key) {
            if flags & libc::IPC_CREAT != 0 && flags & libc::IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            fits(&found)?;
            return Ok(id);
        }
        if key != libc::IPC_PRIVATE && flags & libc::IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if self.count() >= most {
            return Err(Errno::ENOSPC);
        }
        let index = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        let seq = self.seq;
        let id = i32::from(seq) * INDICES + index as i32;
        let value = make(id, seq)?;
        // As on Linux: the sequence goes on with each object made.
        self.seq = (self.seq + 1) % 0x7fff;
        self.slots[index] = Some(Slot { id, key, value });
        Ok(id)
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<T> {
        self.slot(id)?;
        let index = id as usize % INDICES as usize;
        self.slots.get_mut(index)?.take().map(|s| s.value)
    }

    /// Puts something else in an object's place; nobody finds it by its key any more.
    pub fn replace(&mut self, id: i32, value: T) {
        if self.slot(id).is_some() {
            self.slots[id as usize % INDICES as usize] = Some(Slot { id, key: 0, value });
        }
    }

    pub fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// All objects with their numbers.
    pub fn all(&self) -> Vec<(i32, T)> {
        self.slots.iter().flatten().map(|s| (s.id, s.value.clone())).collect()
    }

    /// The highest place in use (`IPC_INFO`), 0 where there is none.
    pub fn highest(&self) -> i32 {
        self.slots.iter().rposition(Option::is_some).unwrap_or(0) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keys_and_places() {
        let mut t: Table<u32> = Table::default();
        let flags = libc::IPC_CREAT | 0o600;
        let a = t.open(5, flags, 9, |_| Ok(()), |_, _| Ok(1)).unwrap();
        assert_eq!(t.open(5, flags, 9, |_| Ok(()), |_, _| Ok(2)), Ok(a));
        assert_eq!(t.open(5, flags | libc::IPC_EXCL, 9, |_| Ok(()), |_, _| Ok(2)), Err(Errno::EEXIST));
        assert_eq!(t.open(6, 0, 9, |_| Ok(()), |_, _| Ok(2)), Err(Errno::ENOENT));
        let b = t.open(0, 0, 9, |_| Ok(()), |_, _| Ok(3)).unwrap();
        assert_ne!(a, b);
        assert_eq!(t.open(0, 0, 2, |_| Ok(()), |_, _| Ok(3)), Err(Errno::ENOSPC));
        assert_eq!(t.remove(a), Some(1));
        assert_eq!((t.remove(a), t.get(a)), (None, Err(Errno::EINVAL)));
        let c = t.open(7, flags, 9, |_| Ok(()), |_, _| Ok(4)).unwrap();
        assert_ne!(a, c, "an old number is not given again at once");
        assert_eq!(t.get(-1), Err(Errno::EINVAL));
    }
}
