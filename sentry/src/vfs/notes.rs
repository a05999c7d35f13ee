//! What a call met on its way through the tree, kept for whoever runs the call: the answer to a guest is an errno, but
//! its user wants to know what stood in the way, and a policy that is being learnt, what was used.
//!
//! A handler runs on one thread from begin to return, so the notes are that thread's.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use super::path::VfsPath;

/// What the policy refused.
#[derive(Clone)]
pub enum Refused {
    /// This path is hidden.
    Hidden(Arc<[u8]>),
    /// This place may not be written to.
    ReadOnly(VfsPath),
    /// This address may not be reached; the name that it was resolved from, where there was one.
    Network(SocketAddr, Vec<u8>),
}

/// How a place was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    Read,
    Write,
}

/// The most uses that one call is kept for.
const MAX_USES: usize = 64;

static LEARNING: AtomicBool = AtomicBool::new(false);
/// Threads that have run a call, and one.
static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static CALL: Cell<u64> = const { Cell::new(0) };
    static MET: Cell<bool> = const { Cell::new(false) };
    static REFUSED: RefCell<Option<Refused>> = const { RefCell::new(None) };
    static USED: RefCell<Vec<(VfsPath, Use)>> = const { RefCell::new(Vec::new()) };
}

/// A call begins on this thread, or is tried again: what was looked up for the one before may have changed since.
pub fn call_begins() {
    let last = match CALL.get() {
        // Each thread has numbers of its own, so that none is ever used twice.
        0 => THREADS.fetch_add(1, Ordering::Relaxed) << 40,
        last => last,
    };
    CALL.set(last + 1);
}

/// The number of the present call on this thread, which no other call has; 0 where none has begun.
pub fn call_number() -> u64 {
    CALL.get()
}

/// The last refusal counts: it is what the call failed of.
pub(super) fn refused(what: Refused) {
    MET.set(true);
    REFUSED.with_borrow_mut(|kept| *kept = Some(what));
}

/// An address outside was refused.
pub fn refused_network(to: SocketAddr, name: &[u8]) {
    refused(Refused::Network(to, name.to_vec()));
}

/// Takes what was refused since the last time.
pub fn take_refused() -> Option<Refused> {
    if !MET.replace(false) {
        return None;
    }
    REFUSED.take()
}

/// From now on, uses are kept.
pub fn learn() {
    LEARNING.store(true, Ordering::Relaxed);
}

pub(super) fn used(place: &VfsPath, how: Use) {
    if LEARNING.load(Ordering::Relaxed) {
        USED.with_borrow_mut(|used| {
            if used.len() < MAX_USES {
                used.push((place.clone(), how));
            }
        });
    }
}

/// Takes what was used since the last time.
pub fn take_used() -> Vec<(VfsPath, Use)> {
    USED.take()
}
