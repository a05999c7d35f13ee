//! Where bytes lie that no longer fit the heap: in a memfd, or in a file on disk that has no name.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use rustix::fs::MemfdFlags;

/// The most bytes that a file keeps on the heap.
const HEAP_MAX: u64 = 64 << 10;
/// The same where there is a disk to put it on.
const HEAP_MAX_DISK: u64 = 16 << 10;

/// Gives files on disk: empty, without a name, readable and writable.
pub trait Scratch: Send + Sync {
    fn file(&self) -> Result<OwnedFd>;
}

/// Where the bytes of a file system lie.
#[derive(Clone)]
pub enum Store {
    Memory,
    Disk(Arc<dyn Scratch>),
}

/// What counts what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// As a part of the sandbox's memory.
    AsMemory,
    /// As a part of what it may write.
    AsDisk,
}

impl Store {
    pub(super) fn place(&self) -> Counted {
        match self {
            Store::Memory => Counted::AsMemory,
            Store::Disk(_) => Counted::AsDisk,
        }
    }

    pub(super) fn heap_max(&self) -> u64 {
        match self {
            Store::Memory => HEAP_MAX,
            Store::Disk(_) => HEAP_MAX_DISK,
        }
    }

    /// An empty file.
    pub(super) fn file(&self) -> Result<OwnedFd> {
        match self {
            Store::Memory => {
                rustix::fs::memfd_create("tmpfs", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
                    .map_err(|e| Errno(e.raw_os_error()))
            }
            Store::Disk(scratch) => scratch.file(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Store::Memory => "memory",
            Store::Disk(_) => "disk",
        })
    }
}

/// Pages of all files, wherever they lie, and how many there may be. One process runs one sandbox.
static ALL: AtomicU64 = AtomicU64::new(0);
static ALL_MAX: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets the most bytes that all files together may take (`--disk`).
pub fn bound_all_files(bytes: u64) {
    ALL_MAX.store(bytes / 4096, Ordering::Relaxed);
}

pub(super) fn free_of_all() -> u64 {
    ALL_MAX.load(Ordering::Relaxed).saturating_sub(ALL.load(Ordering::Relaxed))
}

pub(super) fn take_of_all(pages: u64) -> bool {
    let max = ALL_MAX.load(Ordering::Relaxed);
    ALL.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(pages).filter(|total| *total <= max)
    })
    .is_ok()
}

pub(super) fn settle_of_all(charged: u64, real: u64) {
    if real >= charged {
        ALL.fetch_add(real - charged, Ordering::Relaxed);
    } else {
        ALL.fetch_sub(charged - real, Ordering::Relaxed);
    }
}
