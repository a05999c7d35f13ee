//! System V message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use linux_abi::{Errno, Result};

use super::ipc::{put, put_perm};
use crate::cred::cap;
use crate::kernel::ipc::msg::{self, Message, Queue};
use crate::kernel::ipc::{seconds, Perm, READ, WRITE};
use crate::kernel::{Ctx, Restart, SysResult};
use crate::wait_queue::PollEvents;

const MSG_NOERROR: i32 = 0o10000;
const MSG_EXCEPT: i32 = 0o20000;
const MSG_COPY: i32 = 0o40000;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;

/// msgget(2).
pub fn msgget(cx: &mut Ctx<'_>, key: i32, flags: i32) -> SysResult {
    let cred = cx.task.cred();
    let fits = |found: &std::sync::Arc<Queue>| found.state.lock().perm.check(&cred, flags as u32);
    let id = cx.kernel.ipc.msg.lock().open(key, flags, msg::MOST, fits, |_, seq| {
        Ok(Queue::new(Perm { seq, ..Perm::new(key, &cred, flags) }))
    })?;
    Ok(id as u64)
}

/// The queue of a call that may wait: one that is removed meanwhile is `EIDRM`.
fn queue(cx: &Ctx<'_>, id: i32) -> Result<std::sync::Arc<Queue>> {
    let gone = if cx.block.runs == 0 { Errno::EINVAL } else { Errno::EIDRM };
    cx.kernel.ipc.msg.lock().get(id).map_err(|_| gone)
}

/// msgsnd(2).
pub fn msgsnd(cx: &mut Ctx<'_>, id: i32, from: u64, size: u64, flags: i32) -> SysResult {
    let mut kind = [0; 8];
    cx.mem.read(from, &mut kind)?;
    let kind = i64::from_le_bytes(kind);
    let size = usize::try_from(size).ok().filter(|s| *s <= msg::MAX_SIZE).ok_or(Errno::EINVAL)?;
    if id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut data = vec![0; size];
    cx.mem.read(from.wrapping_add(8), &mut data)?;
    let mut message = Some(Message::new(kind, data)?);
    let queue = queue(cx, id)?;
    loop {
        {
            let mut s = queue.state.lock();
            if s.removed {
                return Err(Errno::EIDRM.into());
            }
            s.perm.check(&cx.task.cred(), WRITE)?;
            if s.has_room(size) {
                if let Some(m) = message.take() {
                    s.push(m, cx.task.group.pid);
                }
                drop(s);
                queue.wake();
                return Ok(0);
            }
        }
        if flags & libc::IPC_NOWAIT != 0 {
            return Err(Errno::EAGAIN.into());
        }
        cx.wait(&[(&queue.queue, PollEvents::IN)], Restart::NoHand)?;
    }
}

/// msgrcv(2).
pub fn msgrcv(cx: &mut Ctx<'_>, id: i32, to: u64, size: i64, kind: i64, flags: i32) -> SysResult {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || flags & libc::IPC_NOWAIT == 0) {
        return Err(Errno::EINVAL.into());
    }
    let queue = queue(cx, id)?;
    loop {
        {
            let mut s = queue.state.lock();
            if s.removed {
                return Err(Errno::EIDRM.into());
            }
            s.perm.check(&cx.task.cred(), READ)?;
            let found = if flags & MSG_COPY != 0 {
                usize::try_from(kind).ok().filter(|n| *n < s.list.len())
            } else {
                s.wanted(kind, flags & MSG_EXCEPT != 0)
            };
            if let Some(at) = found {
                let m = s.list.get(at).ok_or(Errno::ENOMSG)?;
                if m.data.len() > size && flags & MSG_NOERROR == 0 {
                    return Err(Errno::E2BIG.into());
                }
                let n = m.data.len().min(size);
                // As on Linux, a message whose buffer is bad is lost.
                let written = cx
                    .mem
                    .write(to, &m.kind.to_le_bytes())
                    .and_then(|()| cx.mem.write(to.wrapping_add(8), &m.data[..n]));
                if flags & MSG_COPY == 0 {
                    drop(s.take(at, cx.task.group.pid));
                }
                drop(s);
                queue.wake();
                written?;
                return Ok(n as u64);
            }
        }
        if flags & libc::IPC_NOWAIT != 0 {
            return Err(Errno::ENOMSG.into());
        }
        cx.wait(&[(&queue.queue, PollEvents::IN)], Restart::NoHand)?;
    }
}

/// `struct msqid64_ds`.
fn stat(queue: &Queue) -> [u8; 120] {
    let s = queue.state.lock();
    let mut b = [0; 120];
    put_perm(&mut b, &s.perm);
    let words = [
        s.sent_at as u64,
        s.received_at as u64,
        s.changed_at as u64,
        s.bytes,
        s.list.len() as u64,
        s.max_bytes,
    ];
    for (i, w) in words.iter().enumerate() {
        put(&mut b, 48 + i * 8, &w.to_le_bytes());
    }
    put(&mut b, 96, &s.sender.to_le_bytes());
    put(&mut b, 100, &s.receiver.to_le_bytes());
    b
}

/// msgctl(2).
pub fn msgctl(cx: &mut Ctx<'_>, id: i32, command: i32, buf: u64) -> SysResult {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let cred = cx.task.cred();
    match command {
        libc::IPC_INFO | MSG_INFO => info(cx, command, buf),
        libc::IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let (id, queue) = {
                let table = cx.kernel.ipc.msg.lock();
                if command == libc::IPC_STAT {
                    (0, table.get(id)?)
                } else {
                    table.at(id)?
                }
            };
            if command != MSG_STAT_ANY {
                queue.state.lock().perm.check(&cred, READ)?;
            }
            cx.mem.write(buf, &stat(&queue))?;
            Ok(id as u64)
        }
        libc::IPC_SET => {
            let mut raw = [0; 120];
            cx.mem.read(buf, &mut raw)?;
            let mut perm = [0; 48];
            perm.copy_from_slice(&raw[..48]);
            let mut word = [0; 8];
            word.copy_from_slice(&raw[88..96]);
            let max_bytes = u64::from_le_bytes(word);
            let queue = cx.kernel.ipc.msg.lock().get(id)?;
            {
                let mut s = queue.state.lock();
                s.perm.check_owner(&cred)?;
                if max_bytes > msg::DEFAULT_BYTES {
                    cred.require(cap::SYS_RESOURCE)?;
                }
                s.perm.set(&perm);
                s.max_bytes = max_bytes;
                s.changed_at = seconds();
            }
            queue.wake();
            Ok(0)
        }
        libc::IPC_RMID => {
            let mut table = cx.kernel.ipc.msg.lock();
            let queue = table.get(id)?;
            queue.state.lock().perm.check_owner(&cred)?;
            drop(table.remove(id));
            drop(table);
            queue.remove();
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct msginfo`.
fn info(cx: &Ctx<'_>, command: i32, buf: u64) -> SysResult {
    let (all, highest) = {
        let table = cx.kernel.ipc.msg.lock();
        (table.all(), table.highest())
    };
    let bytes = msg::DEFAULT_BYTES as i32;
    let (pool, map, total) = if command == MSG_INFO {
        let (mut count, mut size) = (0, 0);
        for (_, q) in &all {
            let s = q.state.lock();
            (count, size) = (count + s.list.len(), size + s.bytes);
        }
        (all.len() as i32, count as i32, size as i32)
    } else {
        (512_000, bytes, bytes)
    };
    let words = [pool, map, msg::MAX_SIZE as i32, bytes, msg::MOST as i32, 16, total, 0xffff];
    cx.mem.write(buf, &words.map(i32::to_le_bytes).concat())?;
    Ok(highest as u64)
}
