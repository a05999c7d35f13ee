//! Makes the zygote: the stub, executed once from memory; every guest process is a fork of it.

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{ArgShape, CallShape, CALLS};
use crate::core::Core;
use crate::filter;
use crate::listener::Listener;
use crate::slot::*;
use crate::space::{Slots, Space};
use crate::thread::Thread;
use crate::Config;

/// The exit code of a zygote that may not enter its control group.
const NOT_IN_GROUP: i32 = 106;

static STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub"));

/// How long the zygote may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
const MFD_EXEC: libc::c_uint = 0x10;
const SYS_PIDFD_GETFD: libc::c_long = 438;

/// Where the vDSO lies: start and length of vvar and vDSO together, address of the ELF header.
pub(crate) type Vdso = (u64, u64, u64);

/// Starts the zygote and takes its listener.
pub(crate) fn boot(config: &Config) -> io::Result<(Arc<Core>, Vdso)> {
    limit_processors(config.cpus);
    // Where the caller ignores SIGCHLD, ended children would vanish before we look.
    // SAFETY: sets a default disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let program = filter::program(text_range()?, fsgsbase(), config.gated);
    let (slots, slots_fd) = Slots::new()?;
    let slot = slots.slot(0);
    slot.ev[0].store(program.len() as u64, Relaxed);
    slot.tid.store(1, Relaxed);
    let bytes = std::mem::size_of_val(program.as_slice());
    // SAFETY: the program is a few hundred instructions of eight bytes; the data area is 68 KiB.
    unsafe {
        std::ptr::copy_nonoverlapping(program.as_ptr().cast::<u8>(), slots.data(0), bytes.min(DATA_LEN))
    };
    let table = table(&config.shapes)?;
    let stub = memfd(c"stub", STUB)?;
    let pid = spawn(&stub, &slots_fd, &table, &config.joins)?;
    let listener = match hello(pid, slot) {
        Ok(listener) => listener,
        Err(e) => {
            // SAFETY: our child, not reaped yet.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
            return Err(e);
        }
    };
    let vdso = (slot.ev[1].load(Relaxed), slot.ev[2].load(Relaxed), slot.ev[3].load(Relaxed));
    slot.state.store(ANSWERED, Release);
    // SAFETY: wakes the zygote.
    unsafe { libc::syscall(libc::SYS_futex, slot.state.as_ptr(), libc::FUTEX_WAKE, 1) };
    let core = Arc::new(Core::new(listener, config.cpus, config.gated));
    let space = Arc::new(Space::with_slots(&core, slots, None));
    space.bind(pid);
    let zygote = Thread::new(&space, 0, pid, false);
    core.admit(&zygote);
    // It was just made, so this is the first word.
    let _ = core.zygote.set(zygote);
    Ok((core, vdso))
}

/// Leaves this process, and so all stubs, with so many processors, any of those that it has: sandboxes that run side by
/// side shall not all take the same. A failure leaves it with more, which harms nobody.
fn limit_processors(cpus: usize) {
    // SAFETY: all zero is an empty set.
    let (mut all, mut some): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of::<libc::cpu_set_t>();
    // SAFETY: fills the local.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut all) } != 0 {
        return;
    }
    // SAFETY: looks at bits of a set of ours; the numbers are below its size.
    let mut mine: Vec<usize> =
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &all) }).collect();
    if cpus == 0 || cpus >= mine.len() {
        return;
    }
    let mut chance = 0u32;
    // SAFETY: fills the local; where it does not, any start will do.
    unsafe { libc::getrandom((&raw mut chance).cast(), 4, 0) };
    let start = chance as usize % mine.len();
    mine.rotate_left(start);
    for cpu in mine.into_iter().take(cpus) {
        // SAFETY: as above.
        unsafe { libc::CPU_SET(cpu, &mut some) };
    }
    // SAFETY: reads the local.
    unsafe { libc::sched_setaffinity(0, size, &raw const some) };
}

/// The stub's executable segment, from its program headers: what the filter lets make calls.
fn text_range() -> io::Result<Range<u64>> {
    let word = |at: usize, n: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..n)?.copy_from_slice(STUB.get(at..at + n)?);
        Some(u64::from_le_bytes(bytes))
    };
    let find = || {
        let (at, size, count) = (word(32, 8)? as usize, word(54, 2)? as usize, word(56, 2)? as usize);
        (0..count).map(|i| at + i * size).find_map(|h| {
            let (kind, flags) = (word(h, 4)?, word(h + 4, 4)?);
            let (start, len) = (word(h + 16, 8)?, word(h + 40, 8)?);
            (kind == 1 && flags & 1 != 0).then_some(start..start + len)
        })
    };
    find().ok_or_else(|| io::Error::other("the embedded stub is no ELF file"))
}

/// Whether guests and stub may use rdfsbase and its like (AT_HWCAP2, bit 1).
fn fsgsbase() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & 2 != 0 }
}

/// The marshalling table as the stub reads it.
fn table(shapes: &[CallShape; CALLS]) -> io::Result<OwnedFd> {
    let mut bytes = Vec::with_capacity(CALLS * std::mem::size_of::<Row>());
    for shape in shapes {
        for arg in &shape.args {
            let (kind, n, size) = match *arg {
                ArgShape::Value | ArgShape::Out { .. } | ArgShape::OutStruct { .. } => (SHAPE_NONE, 0, 0),
                ArgShape::Str => (SHAPE_STR, 0, 0),
                ArgShape::In { len_arg } => (SHAPE_IN, len_arg, 0),
                ArgShape::InStruct { size } => (SHAPE_STRUCT, 0, size),
                ArgShape::InArray { count_arg, elem } => (SHAPE_ARRAY, count_arg, elem),
                ArgShape::InIov { count_arg } => (SHAPE_IN_IOV, count_arg, 0),
                ArgShape::OutIov { count_arg } => (SHAPE_OUT_IOV, count_arg, 0),
            };
            bytes.extend_from_slice(&[kind, n]);
            bytes.extend_from_slice(&size.to_le_bytes());
        }
        bytes.extend_from_slice(&u32::from(shape.flags).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
    }
    memfd(c"table", &bytes)
}

fn memfd(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    // The flag says that it may be executed; kernels before 6.3 do not know it.
    // SAFETY: a fresh descriptor or an error.
    let mut fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | MFD_EXEC) };
    if fd < 0 {
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the bytes are readable.
        let n = unsafe { libc::write(fd.as_raw_fd(), rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(n) {
            Ok(n) => rest = &rest[n..],
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(fd)
}

/// Forks and executes the stub, with nothing open but what it maps.
fn spawn(stub: &OwnedFd, slots: &OwnedFd, table: &OwnedFd, joins: &[OwnedFd]) -> io::Result<i32> {
    let (stub, slots, table) = (stub.as_raw_fd(), slots.as_raw_fd(), table.as_raw_fd());
    // SAFETY: the child makes only async-signal-safe calls until it executes or ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            for group in joins {
                // 0 is who writes (cgroups(7)); what counts is who opened the file.
                // SAFETY: one byte of a constant.
                if unsafe { libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) } != 1 {
                    // SAFETY: ends the child at once.
                    unsafe { libc::_exit(NOT_IN_GROUP) }
                }
            }
            // SAFETY: in the child, single-threaded.
            unsafe { execute(stub, slots, table) };
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(105) }
        }
        pid => Ok(pid),
    }
}

/// # Safety
/// Only in a child between fork and exec. Returns on failure.
unsafe fn execute(stub: RawFd, slots: RawFd, table: RawFd) {
    const STUB_FD: RawFd = 5;
    const ABOVE: RawFd = 16;
    // SAFETY: plain calls on the child's own state; strings and arrays live through execveat.
    unsafe {
        libc::setsid();
        // 1: 0 does not stop a piped core_pattern (core(5)).
        let core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const core);
        // Descriptors are installed at the number of their thread.
        let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files);
        files.rlim_cur = files.rlim_max.min(MAX_THREADS as u64);
        files.rlim_max = files.rlim_cur;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return;
        }
        // First out of the way of each other, then to their places.
        let copies = [stub, slots, table].map(|fd| libc::fcntl(fd, libc::F_DUPFD, ABOVE));
        if copies.contains(&-1)
            || libc::dup2(copies[1], FD_SLOTS) < 0
            || libc::dup2(copies[2], FD_TABLE) < 0
            || libc::dup2(copies[0], STUB_FD) < 0
        {
            return;
        }
        for fd in 0..3 {
            libc::close(fd);
        }
        libc::fcntl(STUB_FD, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::syscall(libc::SYS_close_range, STUB_FD + 1, u32::MAX, 0);
        let argv = [c"stub".as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null::<libc::c_char>()];
        libc::syscall(
            libc::SYS_execveat,
            STUB_FD,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
}

/// Waits until the zygote says that it is ready, and takes its listener.
fn hello(pid: i32, slot: &Slot) -> io::Result<Listener> {
    let started = Instant::now();
    while slot.state.load(Acquire) != POSTED {
        // SAFETY: all zero is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: fills the local; leaves the child to be reaped.
        let ret = unsafe { libc::waitid(libc::P_PID, pid as u32, &raw mut info, flags) };
        // SAFETY: filled by waitid, or zero.
        if ret == 0 && unsafe { info.si_pid() } == pid && slot.state.load(Acquire) != POSTED {
            // SAFETY: as above.
            let status = unsafe { info.si_status() };
            if status == NOT_IN_GROUP {
                return Err(io::Error::other("guests cannot be put into their control group"));
            }
            return Err(io::Error::other(format!("the stub ended while starting (status {status})")));
        }
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other("the stub does not start"));
        }
        let wait = libc::timespec { tv_sec: 0, tv_nsec: 500_000 };
        // SAFETY: sleeps half a millisecond at most, while the word is as it was.
        unsafe {
            libc::syscall(libc::SYS_futex, slot.state.as_ptr(), libc::FUTEX_WAIT, RUNNING, &raw const wait)
        };
    }
    if slot.kind.load(Relaxed) != EV_HELLO {
        let (step, errno) = (slot.ev[0].load(Relaxed), slot.ev[1].load(Relaxed) as i32);
        if step == 2 && errno == libc::EBUSY {
            return Err(io::Error::other(
                "another supervisor holds the seccomp listener of this process tree (EBUSY); run outside of it",
            ));
        }
        let cause = io::Error::from_raw_os_error(errno);
        return Err(io::Error::new(cause.kind(), format!("the stub cannot start (step {step}): {cause}")));
    }
    take_fd(pid, slot.ev[0].load(Relaxed) as RawFd).map(Listener::new)
}

/// Takes a descriptor out of a child (pidfd_getfd(2)): no socket to be inherited by every stub.
fn take_fd(pid: i32, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a fresh descriptor or an error.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if pidfd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as RawFd) };
    // SAFETY: a fresh descriptor or an error.
    let taken = unsafe { libc::syscall(SYS_PIDFD_GETFD, pidfd.as_raw_fd(), fd, 0) };
    if taken < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as RawFd) })
}
