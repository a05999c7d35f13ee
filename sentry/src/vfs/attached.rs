//! What the kernel keeps for a file whatever way leads to it (hard links, mounts): the pipe of a FIFO, the socket bound to a
//! name, locks. Kept by (device, inode number) for as long as somebody holds it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use linux_abi::Result;
use parking_lot::Mutex;

use super::inode::InodeRef;

/// A table of such things.
pub struct Attached<T>(Mutex<Table<T>>);

struct Table<T> {
    by_file: HashMap<(u64, u64), Weak<T>>,
    /// Size at which entries whose thing is gone are swept out.
    sweep_at: usize,
}

impl<T> Default for Attached<T> {
    fn default() -> Attached<T> {
        Attached(Mutex::new(Table { by_file: HashMap::new(), sweep_at: 64 }))
    }
}

impl<T> Attached<T> {
    /// What is attached to a file, if anything is.
    pub fn get(&self, inode: &InodeRef) -> Result<Option<Arc<T>>> {
        let a = inode.attrs()?;
        Ok(self.0.lock().by_file.get(&(a.dev, a.ino)).and_then(Weak::upgrade))
    }

    /// What is attached to a file, made now where there is nothing.
    pub fn get_or_make(&self, inode: &InodeRef, make: impl FnOnce() -> Arc<T>) -> Result<Arc<T>> {
        let a = inode.attrs()?;
        let mut t = self.0.lock();
        if let Some(found) = t.by_file.get(&(a.dev, a.ino)).and_then(Weak::upgrade) {
            return Ok(found);
        }
        if t.by_file.len() >= t.sweep_at {
            t.by_file.retain(|_, w| w.strong_count() > 0);
            t.sweep_at = (t.by_file.len() * 2).max(64);
        }
        let new = make();
        t.by_file.insert((a.dev, a.ino), Arc::downgrade(&new));
        Ok(new)
    }
}
