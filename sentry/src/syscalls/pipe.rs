//! pipe(2), pipe2(2).

use std::sync::Arc;

use linux_abi::Errno;

use crate::fsimpl::pipe;
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::vfs::File;

pub fn pipe(cx: &mut Ctx<'_>, fds: UserPtr<[i32; 2]>) -> SysResult {
    pipe2(cx, fds, 0)
}

pub fn pipe2(cx: &mut Ctx<'_>, fds: UserPtr<[i32; 2]>, flags: u32) -> SysResult {
    let known = (libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT) as u32;
    // `O_NOTIFICATION_PIPE`, as a kernel without watch queues.
    if flags & !known == libc::O_EXCL as u32 {
        return Err(Errno(libc::ENOPKG).into());
    }
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (r, w) = pipe::create(&cx.task.cred(), flags);
    install_pair(cx, r, w, flags & libc::O_CLOEXEC as u32 != 0, fds)
}

/// Gives two files their numbers and tells the guest (also for socketpair).
pub(super) fn install_pair(
    cx: &mut Ctx<'_>,
    first: Arc<File>,
    second: Arc<File>,
    cloexec: bool,
    at: UserPtr<[i32; 2]>,
) -> SysResult {
    let a = cx.install(first, cloexec)?;
    let told = cx.install(second, cloexec).and_then(|b| match at.write(&cx.mem, &[a, b]) {
        Ok(()) => Ok(()),
        Err(e) => cx.task.files().remove(b).and(Err(e)),
    });
    if let Err(e) = told {
        // The files are dropped here, with no lock held.
        let _gone = cx.task.files().remove(a);
        return Err(e.into());
    }
    Ok(0)
}
