//! Descriptors that came with the process: taking them by number, closing the others.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{fcntl, FcntlArg, FdFlag};

static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes a descriptor that the parent process put at this number. Each can be taken once, so that it has one owner.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::other(format!("descriptor {fd} is a standard stream")));
    }
    if !is_open(fd) {
        return Err(io::Error::other(format!("descriptor {fd} is not open")));
    }
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(fd) {
        return Err(io::Error::other(format!("descriptor {fd} is already taken")));
    }
    set_close_on_exec(fd)?;
    // SAFETY: the descriptor is open, and it is handed out once; nobody in this process opened it, since descriptors
    // at these numbers are put there before the program starts.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a duplicate of a standard stream (0, 1 or 2), close-on-exec. The stream itself stays.
pub fn duplicate_standard(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_DUPFD_CLOEXEC touches no memory.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Whether a descriptor is open.
#[must_use]
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: fcntl(2) with F_GETFD touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes all descriptors but the standard streams and `keep`, and marks those close-on-exec.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut next = 3;
    for fd in keep {
        if fd > next {
            close_range(next, fd - 1, 0)?;
        }
        next = fd + 1;
    }
    close_range(next, RawFd::MAX, 0)?;
    close_range(0, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: closing a descriptor that somebody owns would be unsound; the callers run before anything but the
    // kept descriptors has an owner (first thing in a process), or only set a flag.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Linux before 5.9 (or 5.11 for the flag): one by one.
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) {
        return Err(error);
    }
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    let end = RawFd::try_from(limit).unwrap_or(RawFd::MAX).min(last.saturating_add(1)).min(1 << 20);
    for fd in first..end {
        if flags & libc::CLOSE_RANGE_CLOEXEC == 0 {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        } else if is_open(fd) {
            set_close_on_exec(fd)?;
        }
    }
    Ok(())
}

fn set_close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: the callers have seen that the descriptor is open, and it stays so during this call.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}
