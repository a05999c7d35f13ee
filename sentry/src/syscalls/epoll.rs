//! epoll_create(2), epoll_ctl(2), epoll_wait(2) and its forms.

use std::sync::Arc;

use linux_abi::Errno;

use super::args::{user_range, Fd};
use super::readiness::{set_mask, set_timeout, timespec, unset_mask, Pair};
use crate::fsimpl::epoll::{self, Epoll, Interest};
use crate::kernel::{Ctx, Restart, SysResult};
use crate::mm::UserPtr;
use crate::vfs::File;
use crate::wait_queue::PollEvents;

/// `struct epoll_event` is packed: 4 bytes of events, 8 of data.
type Event = [u8; 12];
const MAX_EVENTS: i32 = i32::MAX / 12;

pub fn epoll_create(cx: &mut Ctx<'_>, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    epoll_create1(cx, 0)
}

pub fn epoll_create1(cx: &mut Ctx<'_>, flags: u32) -> SysResult {
    if flags & !(libc::EPOLL_CLOEXEC as u32) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = epoll::create(&cx.task.cred());
    Ok(cx.install(file, flags != 0)? as u64)
}

pub fn epoll_ctl(cx: &mut Ctx<'_>, epfd: Fd, op: i32, fd: Fd, event: UserPtr<Event>) -> SysResult {
    let interest = if op == libc::EPOLL_CTL_DEL {
        Interest { events: 0, data: 0 }
    } else {
        let e = event.read(&cx.mem)?;
        let [a, b, c, d, data @ ..] = e;
        Interest { events: u32::from_le_bytes([a, b, c, d]), data: u64::from_le_bytes(data) }
    };
    let watcher = cx.file(epfd.0)?;
    let target = cx.file(fd.0)?;
    if target.ops.wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    let ep = epoll_of(&watcher)?;
    if Arc::ptr_eq(&watcher, &target) {
        return Err(Errno::EINVAL.into());
    }
    match op {
        libc::EPOLL_CTL_ADD => ep.add(&target, fd.0, interest)?,
        libc::EPOLL_CTL_MOD => ep.modify(&target, fd.0, interest)?,
        libc::EPOLL_CTL_DEL => ep.remove(&target, fd.0)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn epoll_of(file: &File) -> Result<&Epoll, Errno> {
    file.downcast::<Epoll>().ok_or(Errno::EINVAL)
}

pub fn epoll_wait(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserPtr<Event>,
    max: i32,
    timeout_ms: i32,
) -> SysResult {
    if cx.block.runs == 0 {
        set_timeout(cx, u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000));
    }
    wait(cx, epfd, events, max)
}

pub fn epoll_pwait(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserPtr<Event>,
    max: i32,
    timeout_ms: i32,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    if cx.block.runs == 0 {
        set_mask(cx, mask, mask_size)?;
    }
    let r = epoll_wait(cx, epfd, events, max, timeout_ms);
    unset_mask(cx, r)
}

pub fn epoll_pwait2(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserPtr<Event>,
    max: i32,
    timeout: UserPtr<Pair>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    if cx.block.runs == 0 {
        let duration = timeout.read_opt(&cx.mem)?.map(timespec).transpose()?;
        set_timeout(cx, duration);
        set_mask(cx, mask, mask_size)?;
    }
    let r = wait(cx, epfd, events, max);
    unset_mask(cx, r)
}

fn wait(cx: &mut Ctx<'_>, epfd: Fd, events: UserPtr<Event>, max: i32) -> SysResult {
    let file = cx.file(epfd.0)?;
    let max = usize::try_from(max).ok().filter(|m| *m > 0).ok_or(Errno::EINVAL)?;
    if max > MAX_EVENTS as usize {
        return Err(Errno::EINVAL.into());
    }
    user_range(events.addr(), max as u64 * 12)?;
    let ep = epoll_of(&file)?;
    loop {
        let ready = ep.take_ready(max);
        if !ready.is_empty() || cx.timed_out() {
            let mut out = Vec::with_capacity(ready.len() * 12);
            for i in &ready {
                out.extend_from_slice(&i.events.to_le_bytes());
                out.extend_from_slice(&i.data.to_le_bytes());
            }
            if !out.is_empty() {
                cx.mem.write(events.addr(), &out)?;
            }
            return Ok(ready.len() as u64);
        }
        match file.ops.wait_queue() {
            Some(q) => cx.wait(&[(q, PollEvents::IN)], Restart::Never)?,
            None => return Err(Errno::EINVAL.into()),
        }
    }
}
