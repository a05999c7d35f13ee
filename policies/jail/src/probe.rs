//! What this machine offers, found out by trying: for `runsc doctor`. What could change or end a process is tried in a
//! child of its own. The caller must have one thread.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::Pid;

use crate::layers::{landlock_version, seccomp_filter_available, Layers};
use crate::spawn::{grantable, raw_clone};

/// The layers that a sandbox gets here.
#[must_use]
pub fn layers() -> Layers {
    let mut layers = Layers::probe();
    crate::spawn::probe(&mut layers);
    layers
}

/// Which kinds of namespaces can be made, each asked for with a user namespace where one can be had.
#[must_use]
pub fn namespaces() -> Layers {
    let mut layers = Layers::default();
    let granted = grantable(&mut layers);
    crate::spawn::hold(&mut layers, granted);
    layers
}

/// The version of Landlock's interface.
pub fn landlock() -> io::Result<i64> {
    landlock_version()
}

/// Whether filters of calls can be installed.
pub fn seccomp() -> io::Result<()> {
    seccomp_filter_available()
}

/// Whether a process can be supervised by a listener of its filter, and whether that wakes who waits on the same
/// processor (Linux 6.6).
pub fn user_notification() -> io::Result<bool> {
    const SYNC: i32 = 0;
    const PLAIN: i32 = 1;
    const NO_NEW_PRIVS: i32 = 2;
    /// Errnos follow; the largest is 133.
    const ERRNO: i32 = 100;
    const FILTER: u64 = 1;
    const NEW_LISTENER: u64 = 8;
    const SET_FLAGS: libc::c_ulong = 0x4008_2104;
    const ALLOW: u32 = 0x7fff_0000;
    let code = in_child(|| {
        let program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: ALLOW }];
        let program = libc::sock_fprog { len: 1, filter: program.as_ptr().cast_mut() };
        // SAFETY: the filter lives through the calls; the rest are numbers.
        unsafe {
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return NO_NEW_PRIVS;
            }
            let listener = libc::syscall(libc::SYS_seccomp, FILTER, NEW_LISTENER, &raw const program);
            if listener < 0 {
                return ERRNO + io::Error::last_os_error().raw_os_error().unwrap_or(0);
            }
            if libc::ioctl(listener as i32, SET_FLAGS, 1u64) == 0 {
                SYNC
            } else {
                PLAIN
            }
        }
    })?;
    match code {
        SYNC => Ok(true),
        PLAIN => Ok(false),
        code if code >= ERRNO => Err(io::Error::from_raw_os_error(code - ERRNO)),
        _ => Err(io::Error::other("the trial process could not give up its privileges")),
    }
}

/// Whether the memory of a child can be read, and a descriptor be taken out of it.
#[derive(Debug)]
pub struct ChildAccess {
    pub memory: io::Result<()>,
    pub descriptor: io::Result<()>,
}

/// Tries both on a child of ours, as the sentry does with a stub.
pub fn child_access() -> io::Result<ChildAccess> {
    static WORD: u64 = 0x0072_756e_7363;
    // SAFETY: the child only waits to be killed.
    let pid = unsafe {
        let pid = raw_clone(0);
        if pid == 0 {
            loop {
                libc::pause();
            }
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut word = 0u64;
    let local = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: (&raw const WORD).cast_mut().cast(), iov_len: 8 };
    // SAFETY: writes eight bytes to a live local; the child has the static where we have it.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let memory = match read {
        8 if word == WORD => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::other("it reads as something else")),
    };
    let descriptor = take_descriptor(pid);
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGKILL)?;
    waitpid(pid, None)?;
    Ok(ChildAccess { memory, descriptor })
}

fn take_descriptor(pid: i32) -> io::Result<()> {
    let made = |fd: libc::c_long| {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    // SAFETY: numbers only; a descriptor or an error.
    let process = made(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&process);
    // The child has what we have: whichever of the lowest is open.
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for fd in 0..16 {
        // SAFETY: as above.
        match made(unsafe { libc::syscall(libc::SYS_pidfd_getfd, number, fd, 0) }) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
        if last.raw_os_error() != Some(libc::EBADF) {
            break;
        }
    }
    Err(last)
}

/// Whether programs may read and write the FS and GS bases by themselves.
#[must_use]
pub fn fsgsbase() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & 2 != 0 }
}

/// Runs `f` in a child and gives what it returns as its exit code.
fn in_child(f: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller has one thread, so the child is a whole copy; it ends without running what is its parent's.
    let pid = unsafe {
        let pid = raw_clone(0);
        if pid == 0 {
            libc::_exit(f());
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match waitpid(Pid::from_raw(pid), None)? {
        WaitStatus::Exited(_, code) => Ok(code),
        other => Err(io::Error::other(format!("the trial process ended otherwise: {other:?}"))),
    }
}
