//! `platform`: runs guest code. Owns stub processes, slots, and copies in and out of guest memory; knows no task
//! and no file. The one crate (with its stub) in which `unsafe` lives on the sentry's side.

pub mod api;

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use api::*;
use linux_abi::Result;

/// A guest address space: one stub process on the host.
#[derive(Debug)]
pub struct Space {}

impl Space {
    /// A number that is never given twice.
    pub fn id(&self) -> u64 {
        unimplemented!()
    }
    /// Kills the stub process with all its threads; [`GuestKernel::space_gone`] follows.
    pub fn kill(&self) {
        unimplemented!()
    }
    /// Reads guest memory from outside of a call (`/proc/PID/cmdline`, process_vm_readv): any thread may ask.
    /// Returns how many bytes came; 0 bytes of a non-empty request is `EFAULT`.
    pub fn read(&self, _addr: u64, _buf: &mut [u8]) -> Result<usize> {
        unimplemented!()
    }
    /// Writes guest memory from outside of a call, as [`Space::read`] reads it. Respects page protection.
    pub fn write(&self, _addr: u64, _buf: &[u8]) -> Result<usize> {
        unimplemented!()
    }
    /// CPU time (user, system) that the stub process has used, in nanoseconds.
    pub fn cpu_time(&self) -> (u64, u64) {
        unimplemented!()
    }
    /// The host's resident pages of this process, for `/proc/PID/statm`.
    pub fn resident_pages(&self) -> u64 {
        unimplemented!()
    }
}

/// A guest thread: a host thread of a stub, its slot, its registers.
#[derive(Debug)]
pub struct Thread {}

impl Thread {
    /// A number that is never given twice.
    pub fn id(&self) -> u64 {
        unimplemented!()
    }
    pub fn space(&self) -> &Arc<Space> {
        unimplemented!()
    }
    /// The kernel's own word on this thread (its task), set once after creation.
    pub fn set_cookie(&self, _cookie: Arc<dyn Any + Send + Sync>) {
        unimplemented!()
    }
    pub fn cookie(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        unimplemented!()
    }
    /// Answers the event that this thread waits on.
    pub fn reply(&self, _reply: Reply) {
        unimplemented!()
    }
    /// Registers as they stood at the last event. Only between an event and its reply.
    pub fn regs(&self) -> Regs {
        unimplemented!()
    }
    /// Makes the thread come to the kernel soon: [`Event::Interrupted`] if it runs guest code,
    /// [`Event::LocalDone`] if it sleeps in a local call, nothing if it already waits for a reply (the kernel looks
    /// at its signals before it replies). May be called at any time, from any thread; calls are merged.
    pub fn interrupt(&self) {
        unimplemented!()
    }
    /// Access to guest memory for the call that the thread waits on.
    pub fn mem(&self) -> Mem<'_> {
        unimplemented!()
    }
    /// CPU time (user, system) of this host thread in nanoseconds.
    pub fn cpu_time(&self) -> (u64, u64) {
        unimplemented!()
    }
}

/// Guest memory as seen by the handler of one call. Reads of what the stub marshalled come from the slot's
/// snapshot; everything else goes through `process_vm_readv`. Writes are collected and reach the guest with the
/// reply (or go at once where they are large).
pub struct Mem<'a> {
    _thread: std::marker::PhantomData<&'a ()>,
}

impl Mem<'_> {
    /// Fills `buf` whole or fails with `EFAULT`.
    pub fn read(&self, _addr: u64, _buf: &mut [u8]) -> Result<()> {
        unimplemented!()
    }
    /// Reads a NUL-terminated string of at most `max` bytes with its NUL (`ENAMETOOLONG` past it), without the NUL.
    pub fn read_cstr(&self, _addr: u64, _max: usize) -> Result<Vec<u8>> {
        unimplemented!()
    }
    /// Writes all or fails with `EFAULT`.
    pub fn write(&self, _addr: u64, _data: &[u8]) -> Result<()> {
        unimplemented!()
    }
    /// Reads from a host descriptor straight into guest memory, at a file offset or (None) the current position.
    /// One host call for at most what fits; short counts as read(2) has them. `nowait`: `RWF_NOWAIT`.
    pub fn read_from_fd(
        &self,
        _fd: BorrowedFd<'_>,
        _offset: Option<u64>,
        _addr: u64,
        _len: usize,
        _nowait: bool,
    ) -> Result<usize> {
        unimplemented!()
    }
    /// Writes guest memory straight to a host descriptor; as [`Mem::read_from_fd`].
    pub fn write_to_fd(
        &self,
        _fd: BorrowedFd<'_>,
        _offset: Option<u64>,
        _addr: u64,
        _len: usize,
        _nowait: bool,
    ) -> Result<usize> {
        unimplemented!()
    }
}

/// What the platform is started with.
pub struct Config {
    /// The marshalling table, indexed by call number.
    pub shapes: Box<[CallShape; CALLS]>,
    /// How many processors guests may use.
    pub cpus: usize,
}

/// The systrap platform.
pub struct Platform {}

impl Platform {
    /// Makes the zygote and the listener. Called once, while the sentry is still single-threaded and not yet
    /// locked down; afterwards nothing is opened, executed or forked by the sentry itself.
    pub fn boot(_config: Config) -> std::io::Result<Platform> {
        unimplemented!()
    }
    /// Starts the workers; called after lockdown.
    pub fn start(&self, _kernel: Arc<dyn GuestKernel>) -> std::io::Result<()> {
        unimplemented!()
    }
    /// A thread in a fresh, empty address space, from the pool or made for this; the callback is given it once it
    /// waits for its first reply (`Act`, then `Enter`).
    pub fn fresh_thread(&self, _then: Box<dyn FnOnce(Result<Arc<Thread>>) + Send>) {
        unimplemented!()
    }
    /// Where the host's vDSO lies in every guest: (start, length) of vvar and vdso together, and the address of the
    /// ELF header (`AT_SYSINFO_EHDR`).
    pub fn vdso(&self) -> (u64, u64, u64) {
        unimplemented!()
    }
    /// Kills all stubs, the zygote too.
    pub fn shutdown(&self) {
        unimplemented!()
    }
}
