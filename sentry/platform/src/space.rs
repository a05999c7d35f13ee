//! A guest address space: one stub process on the host, its slots, and which of them are in use.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::core::Core;
use crate::slot::{Slot, MAX_THREADS, PAGE, SLOTS_LEN, SLOT_STRIDE};
use crate::{Page, SpaceEnd, Thread};

/// The sentry's mapping of one stub's slots.
pub(crate) struct Slots {
    base: *mut u8,
}

// SAFETY: the mapping is plain shared memory, reached through atomics and raw copies, valid until dropped.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// Makes the memory file and maps it; pages come as they are used.
    pub(crate) fn new() -> io::Result<(Slots, OwnedFd)> {
        // SAFETY: a fresh descriptor or an error.
        let fd = unsafe { libc::memfd_create(c"slots".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain call.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), SLOTS_LEN as i64) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the host's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), SLOTS_LEN, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok((Slots { base: base.cast() }, fd))
    }

    pub(crate) fn slot(&self, index: usize) -> &Slot {
        debug_assert!(index < MAX_THREADS);
        // SAFETY: inside the mapping; all fields are atomics, for which any bytes are valid.
        unsafe { &*self.base.add(index * SLOT_STRIDE).cast::<Slot>() }
    }

    /// The start of a slot's data area.
    pub(crate) fn data(&self, index: usize) -> *mut u8 {
        debug_assert!(index < MAX_THREADS);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(index * SLOT_STRIDE + PAGE) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; references into it do not outlive `self`.
        unsafe { libc::munmap(self.base.cast(), SLOTS_LEN) };
    }
}

/// A guest address space: one stub process on the host.
pub struct Space {
    id: u64,
    /// 0 until the process has come.
    pid: AtomicI32,
    core: Arc<Core>,
    pub(crate) slots: Slots,
    pub(crate) state: Mutex<State>,
    /// The kernel asked for the end.
    killed: AtomicBool,
    /// It broke the protocol, and was killed for that.
    tampered: AtomicBool,
}

#[derive(Default)]
pub(crate) struct State {
    /// The slots' descriptor, until the stub has mapped it.
    pub(crate) fd: Option<OwnedFd>,
    /// Threads by index, until they leave.
    threads: Vec<Option<Arc<Thread>>>,
    /// Indices whose private area is mapped in the stub.
    mapped: Vec<bool>,
    /// Indices given to a clone under way, or left by a thread whose host thread may still be there.
    reserved: Vec<usize>,
    leaving: Vec<usize>,
    /// Reaped: the process id may belong to another.
    dead: bool,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({}, pid {})", self.id, self.pid())
    }
}

impl Space {
    pub(crate) fn new(core: &Arc<Core>) -> io::Result<Space> {
        let (slots, fd) = Slots::new()?;
        Ok(Space::with_slots(core, slots, Some(fd)))
    }

    pub(crate) fn with_slots(core: &Arc<Core>, slots: Slots, fd: Option<OwnedFd>) -> Space {
        Space {
            id: core.next_id(),
            pid: AtomicI32::new(0),
            core: core.clone(),
            slots,
            state: Mutex::new(State { fd, ..State::default() }),
            killed: AtomicBool::new(false),
            tampered: AtomicBool::new(false),
        }
    }

    /// A number that is never given twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn bind(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Kills the stub process with all its threads; [`GuestKernel::space_gone`](crate::GuestKernel::space_gone)
    /// follows.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.signal_process(libc::SIGKILL);
    }

    /// Kills it because it broke the protocol.
    pub(crate) fn kill_tampered(&self, what: &str) {
        tracing::debug!(space = self.id, what, "stub killed");
        self.tampered.store(true, Ordering::Relaxed);
        self.signal_process(libc::SIGKILL);
    }

    fn signal_process(&self, signo: i32) {
        let state = self.state.lock();
        let pid = self.pid();
        if !state.dead && pid > 0 {
            // SAFETY: our child, not reaped yet, so the id is its own.
            unsafe { libc::kill(pid, signo) };
        }
    }

    /// Sends a signal to one host thread of this process.
    pub(crate) fn signal_thread(&self, tid: i32, signo: i32) {
        let state = self.state.lock();
        let pid = self.pid();
        if !state.dead && pid > 0 {
            // SAFETY: the thread is in our child's thread group, or the call fails.
            unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signo) };
        }
    }

    /// Reads guest memory from outside of a call (`/proc/PID/cmdline`, process_vm_readv): any thread may ask.
    /// Returns how many bytes came; 0 bytes of a non-empty request is `EFAULT`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize> {
        let tid = self.any_tid().ok_or(Errno::ESRCH)?;
        match crate::mem::vm_read(tid, addr, buf) {
            0 if !buf.is_empty() => Err(Errno::EFAULT),
            n => Ok(n),
        }
    }

    /// Writes guest memory from outside of a call, as [`Space::read`] reads it. Respects page protection.
    pub fn write(&self, addr: u64, buf: &[u8]) -> Result<usize> {
        let tid = self.any_tid().ok_or(Errno::ESRCH)?;
        match crate::mem::vm_write(tid, addr, buf) {
            0 if !buf.is_empty() => Err(Errno::EFAULT),
            n => Ok(n),
        }
    }

    /// A thread that has the address space still (a first thread that left has not).
    fn any_tid(&self) -> Option<i32> {
        let state = self.state.lock();
        if state.dead {
            return None;
        }
        state.threads.iter().flatten().next().map(|t| t.tid())
    }

    /// CPU time (user, system) that the stub process has used, in nanoseconds.
    pub fn cpu_time(&self) -> (u64, u64) {
        let state = self.state.lock();
        if state.dead {
            return (0, 0);
        }
        cpu_time(self.pid())
    }

    /// What the host has of the pages at these guest addresses; `None` where it does not say (no NUMA support, the
    /// process is gone).
    pub fn pages(&self, addrs: &[u64]) -> Option<Vec<Page>> {
        crate::mem::pages(self.any_tid()?, addrs)
    }

    /// Whether `thread` is the only one that has this address space, host threads that were told to end included: those
    /// may still touch guest memory on their way out.
    pub fn is_alone(&self, thread: &Thread) -> bool {
        let mut state = self.state.lock();
        state.leaving.retain(|&i| self.slots.slot(i).tid.load(Ordering::Acquire) != 0);
        !state.dead
            && state.leaving.is_empty()
            && state.reserved.is_empty()
            && state.threads.iter().flatten().all(|t| t.id() == thread.id())
    }

    /// Takes a free index for a new thread; `true` with it where its private area must be mapped first.
    pub(crate) fn reserve_index(&self) -> Option<(usize, bool)> {
        let mut state = self.state.lock();
        let state = &mut *state;
        // An index is free again once the host's kernel has cleared the thread's TID word.
        state.leaving.retain(|&i| self.slots.slot(i).tid.load(Ordering::Acquire) != 0);
        let taken = |i: usize| {
            state.threads.get(i).is_some_and(Option::is_some)
                || state.reserved.contains(&i)
                || state.leaving.contains(&i)
        };
        let index = (0..MAX_THREADS).find(|&i| !taken(i))?;
        state.reserved.push(index);
        let map = !state.mapped.get(index).copied().unwrap_or(false);
        Some((index, map))
    }

    pub(crate) fn release_index(&self, index: usize) {
        self.state.lock().reserved.retain(|&i| i != index);
    }

    /// A fork child starts with its parent's thread at the same index, and copies of all mapped areas.
    pub(crate) fn inherit_areas(&self, parent: &Space) {
        let mapped = parent.state.lock().mapped.clone();
        self.state.lock().mapped = mapped;
    }

    /// A thread has come to the index that was reserved for it.
    pub(crate) fn add(&self, thread: &Arc<Thread>) {
        let index = thread.index();
        let mut state = self.state.lock();
        state.reserved.retain(|&i| i != index);
        if state.threads.len() <= index {
            state.threads.resize(index + 1, None);
        }
        if state.mapped.len() <= index {
            state.mapped.resize(index + 1, false);
        }
        state.mapped[index] = true;
        state.threads[index] = Some(thread.clone());
    }

    /// A thread has been told to end.
    pub(crate) fn leave(&self, index: usize) {
        let mut state = self.state.lock();
        if let Some(thread) = state.threads.get_mut(index) {
            if thread.take().is_some() {
                state.leaving.push(index);
            }
        }
    }

    /// The process ended: its id is about to be free. Returns the threads that it still had, and whether that end
    /// was asked for.
    pub(crate) fn end(&self, how: SpaceEnd) -> (Vec<Arc<Thread>>, SpaceEnd) {
        let mut state = self.state.lock();
        state.dead = true;
        let threads: Vec<_> = std::mem::take(&mut state.threads).into_iter().flatten().collect();
        let expected = threads.is_empty() || self.killed.load(Ordering::Relaxed);
        // A signal that the host sent by itself is to be told from ours.
        let how = if self.tampered.load(Ordering::Relaxed) { SpaceEnd::Tampered } else { how };
        (threads, if expected { SpaceEnd::Expected } else { how })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// User and system time of a process, from its CPU clocks (clock_getcpuclockid(3); the kinds are the kernel's
/// CPUCLOCK_SCHED, which is exact, and CPUCLOCK_VIRT, which counts ticks).
pub(crate) fn cpu_time(pid: i32) -> (u64, u64) {
    let read = |kind: i32| {
        let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the local; fails for a process that is gone.
        match unsafe { libc::clock_gettime((!pid << 3) | kind, &raw mut ts) } {
            0 => ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64,
            _ => 0,
        }
    };
    let all = read(2);
    let user = read(1).min(all);
    (user, all - user)
}
