//! POSIX message queues: mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2).

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::args::Fd;
use crate::fsimpl::mqueue::{self, MessageQueue};
use crate::kernel::ipc::mq::{Notify, Open, Queue, PRIORITIES};
use crate::kernel::{Ctx, Restart, SysResult};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::time::{monotonic, realtime, NSEC};
use crate::vfs::File;
use crate::wait_queue::PollEvents;

/// `struct mq_attr`: flags, most messages, message size, messages there; the rest is reserved.
type Attr = [i64; 8];

fn name(cx: &Ctx<'_>, addr: u64) -> Result<Vec<u8>> {
    let name = cx.path(addr)?;
    match name.as_slice() {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        n if n.contains(&b'/') => Err(Errno::EACCES),
        n if n.len() > 255 => Err(Errno::ENAMETOOLONG),
        _ => Ok(name),
    }
}

/// mq_open(2), the raw call: the name comes without its slash.
pub fn mq_open(cx: &mut Ctx<'_>, path: u64, flags: i32, mode: u32, attr: UserPtr<Attr>) -> SysResult {
    let attr = attr.read_opt(&cx.mem)?.filter(|_| flags & libc::O_CREAT != 0);
    let name = name(cx, path)?;
    let cred = cx.task.cred();
    let mode = mode & 0o7777 & !cx.task.fs().get().umask;
    let limit = cx.limit(resource::MSGQUEUE);
    let open = Open { name: &name, flags, mode, attr: attr.map(|a| (a[1], a[2])), limit };
    let queue = cx.kernel.ipc.mq.open(&cred, &open)?;
    let keep = (libc::O_ACCMODE | libc::O_NONBLOCK) & flags;
    let file = mqueue::create(&cred, queue, &name, keep as u32);
    Ok(cx.install(file, true)? as u64)
}

/// mq_unlink(2).
pub fn mq_unlink(cx: &mut Ctx<'_>, path: u64) -> SysResult {
    let name = name(cx, path)?;
    cx.kernel.ipc.mq.unlink(&cx.task.cred(), &name)?;
    Ok(0)
}

fn queue(cx: &Ctx<'_>, fd: i32) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = cx.file(fd)?;
    let queue = file.downcast::<MessageQueue>().ok_or(Errno::EBADF)?.0.clone();
    Ok((file, queue))
}

/// An absolute time limit in real time, on the first run.
fn limit(cx: &mut Ctx<'_>, at: UserPtr<[i64; 2]>) -> Result<()> {
    if let Some([sec, nsec]) = at.read_opt(&cx.mem)? {
        if sec < 0 || !(0..NSEC as i64).contains(&nsec) {
            return Err(Errno::EINVAL);
        }
        let at = (sec as u64).saturating_mul(NSEC).saturating_add(nsec as u64);
        cx.block.deadline.get_or_insert(monotonic().saturating_add(at.saturating_sub(realtime())));
    }
    Ok(())
}

/// mq_timedsend(2).
pub fn mq_timedsend(
    cx: &mut Ctx<'_>,
    fd: Fd,
    from: u64,
    len: u64,
    priority: u32,
    at: UserPtr<[i64; 2]>,
) -> SysResult {
    limit(cx, at)?;
    if priority >= PRIORITIES {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = queue(cx, fd.0)?;
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    let most = u64::try_from(queue.size).unwrap_or(0);
    let len = usize::try_from(len).ok().filter(|l| *l as u64 <= most).ok_or(Errno::EMSGSIZE)?;
    let mut data = vec![0; len];
    cx.mem.read(from, &mut data)?;
    let me = (cx.task.group.pid, cx.task.cred().uid);
    loop {
        match queue.send(&data, priority, me) {
            Ok(()) => return Ok(0),
            Err(e) if file.nonblocking() => return Err(e.into()),
            Err(_) if cx.timed_out() => return Err(Errno::ETIMEDOUT.into()),
            Err(_) => cx.wait(&[(&queue.queue, PollEvents::OUT)], Restart::Sys)?,
        }
    }
}

/// A thread that waits for a message, counted until dropped.
struct Receiver(Arc<Queue>);

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut s = self.0.state.lock();
        s.receivers = s.receivers.saturating_sub(1);
    }
}

/// mq_timedreceive(2).
pub fn mq_timedreceive(
    cx: &mut Ctx<'_>,
    fd: Fd,
    to: u64,
    len: u64,
    priority: UserPtr<u32>,
    at: UserPtr<[i64; 2]>,
) -> SysResult {
    limit(cx, at)?;
    let (file, queue) = queue(cx, fd.0)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.size as u64 {
        return Err(Errno::EMSGSIZE.into());
    }
    // The mark of the last run, if any.
    cx.block.scratch = None;
    loop {
        match queue.receive() {
            Ok((data, prio)) => {
                priority.write_opt(&cx.mem, &prio)?;
                cx.mem.write(to, &data)?;
                return Ok(data.len() as u64);
            }
            Err(e) if file.nonblocking() => return Err(e.into()),
            Err(_) if cx.timed_out() => return Err(Errno::ETIMEDOUT.into()),
            Err(_) => {
                if let Err(stop) = cx.wait(&[(&queue.queue, PollEvents::IN)], Restart::Sys) {
                    queue.state.lock().receivers += 1;
                    cx.block.scratch = Some(Box::new(Receiver(queue)));
                    return Err(stop);
                }
            }
        }
    }
}

/// mq_notify(2). `SIGEV_THREAD` is made by the C library of a netlink socket, which there is none.
pub fn mq_notify(cx: &mut Ctx<'_>, fd: Fd, event: u64) -> SysResult {
    let mut raw = [0u8; 64];
    if event != 0 {
        cx.mem.read(event, &mut raw)?;
    }
    let word = |at: usize| i32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let value = (word(0) as u32 as u64) | (word(4) as u32 as u64) << 32;
    let (signo, kind) = (word(8), word(12));
    let signal = match kind {
        _ if event == 0 => None,
        libc::SIGEV_NONE => None,
        libc::SIGEV_SIGNAL if (0..=64).contains(&signo) => Some((signo, value)),
        _ => return Err(Errno::EINVAL.into()),
    };
    let (_, queue) = queue(cx, fd.0)?;
    let pid = cx.task.group.pid;
    let wish = Notify { group: Arc::downgrade(&cx.task.group), pid, signal };
    queue.notify(pid, (event != 0).then_some(wish))?;
    Ok(0)
}

/// mq_getsetattr(2).
pub fn mq_getsetattr(cx: &mut Ctx<'_>, fd: Fd, new: UserPtr<Attr>, old: UserPtr<Attr>) -> SysResult {
    let nonblock = i64::from(libc::O_NONBLOCK);
    let new = new.read_opt(&cx.mem)?;
    if new.is_some_and(|n| n[0] & !nonblock != 0) {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = queue(cx, fd.0)?;
    let flags = file.flags();
    let count = queue.state.lock().count;
    if let Some(n) = new {
        let bit = libc::O_NONBLOCK as u32;
        file.set_flags(flags & !bit | if n[0] & nonblock != 0 { bit } else { 0 });
    }
    old.write_opt(&cx.mem, &[i64::from(flags) & nonblock, queue.max, queue.size, count, 0, 0, 0, 0])?;
    Ok(0)
}
