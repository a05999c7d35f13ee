//! Memory: the truth about a guest's address space (the VMA table) and how handlers reach guest memory.

pub mod account;
pub mod maps;
pub mod placement;
pub mod plan;
pub mod resident;
pub mod space;
pub mod user;
pub mod vma;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::Result;
pub use maps::Statm;
pub use platform::Action;
pub use space::{AddressSpace, Begun, Fill, Plan};
pub use user::{is_reserved, Mem, Nowhere, Sink, SliceSource, Source, UserBuf, UserPtr, VecSink};

pub use vma::{Vma, VmaTable};

/// Something that mmap(2) can map: a host descriptor stands behind it.
pub trait Mappable: Send + Sync {
    /// The descriptor to map for a range. It must have no more rights than `writable` says where the mapping is
    /// shared; a private mapping takes any readable descriptor.
    fn descriptor(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>>;
    /// (device, inode) for `/proc/PID/maps`.
    fn identity(&self) -> (u64, u64);
    /// What `/proc/PID/maps` shows as the path; empty for anonymous.
    fn name(&self) -> String;
    /// The file's pages are our own memory: what of it there is, its holes tell.
    fn in_memory(&self) -> bool {
        false
    }
}
