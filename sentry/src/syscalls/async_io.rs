//! The forms in which fcntl(2) and ioctl(2) ask for signals of descriptions that become ready.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::fsimpl::pipe;
use crate::kernel::async_io::{self, AsyncIo, HangUp, Kind};
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::syscalls::Fd;
use crate::vfs::File;

const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;

pub fn of(cx: &Ctx<'_>, file: &File) -> Arc<AsyncIo> {
    let hang_up = if pipe::pipe_of(file).is_some() { HangUp::AsReady } else { HangUp::Told };
    async_io::of(cx.kernel, file, hang_up)
}

/// `F_GETOWN`: a group is negative.
pub fn plain_owner(cx: &Ctx<'_>, file: &File) -> u64 {
    match of(cx, file).owner() {
        (Kind::Group, id) => -i64::from(id) as u64,
        (_, id) => id as u64,
    }
}

/// `F_SETOWN`.
pub fn set_plain_owner(cx: &Ctx<'_>, file: &File, id: i32) -> SysResult {
    let (kind, id) = match id {
        i32::MIN => return Err(Errno::EINVAL.into()),
        id if id < 0 => (Kind::Group, -id),
        id => (Kind::Process, id),
    };
    of(cx, file).set_owner(kind, id, &cx.task.cred())?;
    Ok(0)
}

/// `F_SETOWN_EX` and `F_GETOWN_EX`: `struct f_owner_ex`.
pub fn owner(cx: &Ctx<'_>, file: &File, set: bool, at: UserPtr<[i32; 2]>) -> SysResult {
    let io = of(cx, file);
    if !set {
        let (kind, id) = io.owner();
        at.write(&cx.mem, &[kind as i32, id])?;
        return Ok(0);
    }
    let [kind, id] = at.read(&cx.mem)?;
    let kind = match kind {
        0 => Kind::Thread,
        1 => Kind::Process,
        2 => Kind::Group,
        _ => return Err(Errno::EINVAL.into()),
    };
    io.set_owner(kind, id, &cx.task.cred())?;
    Ok(0)
}

/// Begins or ends telling, as `O_ASYNC` now says.
pub fn follow_flag(cx: &Ctx<'_>, fd: Fd, file: &File) {
    let on = file.flags() & libc::O_ASYNC as u32 != 0;
    match file.ops.wait_queue() {
        Some(queue) if on => of(cx, file).begin(queue, fd.0),
        _ if file.async_io.lock().is_some() => of(cx, file).end(),
        _ => {}
    }
}

pub fn is_owner_request(request: u32) -> bool {
    (FIOSETOWN..=SIOCGPGRP).contains(&request)
}

/// The owner of a socket, as BSD has it: a group is negative.
pub fn socket_owner(cx: &Ctx<'_>, file: &File, request: u32, at: UserPtr<i32>) -> Result<()> {
    match request {
        FIOSETOWN | SIOCSPGRP => {
            let id = at.read(&cx.mem)?;
            set_plain_owner(cx, file, id).map(drop).map_err(|_| Errno::ESRCH)
        }
        FIOGETOWN | SIOCGPGRP => at.write(&cx.mem, &(plain_owner(cx, file) as i32)),
        _ => Err(Errno::ENOTTY),
    }
}
