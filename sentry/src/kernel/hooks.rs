//! What the kernel needs of layers above it, put in by boot: functions, not types, so that no module circle arises.

use std::sync::{Arc, OnceLock};

use linux_abi::Errno;

use super::current::Ctx;
use super::thread_group::ThreadGroup;

/// Makes a pidfd for a group and returns its number (`CLONE_PIDFD`).
pub type MakePidfd = fn(&mut Ctx<'_>, &Arc<ThreadGroup>) -> Result<i32, Errno>;

/// The process that a pidfd stands for (`P_PIDFD`), and whether it is not to be waited for (`O_NONBLOCK`).
pub type PidfdTarget = fn(&Ctx<'_>, i32) -> Result<(i32, bool), Errno>;

static PIDFD: OnceLock<(MakePidfd, PidfdTarget)> = OnceLock::new();

/// Boot tells how pidfds are made, and whom they stand for.
pub fn set_pidfd(make: MakePidfd, target: PidfdTarget) {
    let _ = PIDFD.set((make, target));
}

/// `EINVAL` where no pidfds exist, as in a kernel without them.
pub fn pidfd(cx: &mut Ctx<'_>, group: &Arc<ThreadGroup>) -> Result<i32, Errno> {
    PIDFD.get().ok_or(Errno::EINVAL).and_then(|h| (h.0)(cx, group))
}

/// `EINVAL` where no pidfds exist.
pub fn pidfd_target(cx: &Ctx<'_>, fd: i32) -> Result<(i32, bool), Errno> {
    PIDFD.get().ok_or(Errno::EINVAL).and_then(|h| (h.1)(cx, fd))
}
