//! Descriptors in messages that nobody has received yet (`SCM_RIGHTS`, unix(7)): counted, since sockets that lie in each
//! other's queues are never closed, and let go one after the other, since a chain of them can be deeper than our stack.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use crate::vfs::File;

/// The most of the whole sandbox, whoever sends: Linux lets a privileged sender go on and collects the loops later.
const MAX: usize = 16_384;

/// In all queues.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether `more` descriptors are too many (`ETOOMANYREFS`) for a sender with this `RLIMIT_NOFILE`.
pub fn full(more: usize, limit: u64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(MAX).min(MAX);
    COUNT.load(Ordering::Relaxed).saturating_add(more) > limit
}

/// The descriptions that one message carries.
pub struct InFlight(Vec<Arc<File>>);

impl InFlight {
    pub fn new(files: Vec<Arc<File>>) -> InFlight {
        COUNT.fetch_add(files.len(), Ordering::Relaxed);
        InFlight(files)
    }
    pub fn list(&self) -> &[Arc<File>] {
        &self.0
    }
    /// They have arrived.
    pub fn take(&mut self) -> Vec<Arc<File>> {
        COUNT.fetch_sub(self.0.len(), Ordering::Relaxed);
        std::mem::take(&mut self.0)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let_go(self.take());
        }
    }
}

thread_local! {
    /// What waits to be closed while one further out in the chain is being closed by this thread.
    static WAITING: RefCell<Option<Vec<Arc<File>>>> = const { RefCell::new(None) };
}

/// Closes descriptions without going deeper for those that lie in their queues.
fn let_go(files: Vec<Arc<File>>) {
    let mut files = Some(files);
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(list) => list.extend(files.take().into_iter().flatten()),
        None => *waiting = Some(Vec::new()),
    });
    let Some(mut batch) = files else { return };
    loop {
        batch.into_iter().for_each(drop);
        batch = WAITING.with_borrow_mut(|waiting| waiting.as_mut().map(std::mem::take).unwrap_or_default());
        if batch.is_empty() {
            break;
        }
    }
    WAITING.set(None);
}
