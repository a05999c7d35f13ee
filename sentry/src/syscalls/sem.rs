//! System V semaphores: semget(2), semop(2), semctl(2).

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::ipc::{put, put_perm};
use crate::kernel::ipc::sem::{self, Blocked, Op, Set};
use crate::kernel::ipc::{seconds, Perm, READ, WRITE};
use crate::kernel::{Ctx, Restart, SysResult};
use crate::mm::UserPtr;
use crate::time::{monotonic, NSEC};
use crate::wait_queue::PollEvents;

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

/// semget(2).
pub fn semget(cx: &mut Ctx<'_>, key: i32, count: i32, flags: i32) -> SysResult {
    let count = usize::try_from(count).ok().filter(|n| *n <= sem::MAX_IN_SET).ok_or(Errno::EINVAL)?;
    let cred = cx.task.cred();
    let mut table = cx.kernel.ipc.sem.lock();
    let in_use: usize = table.all().iter().map(|s| s.1.state.lock().sems.len()).sum();
    let fits = |found: &Arc<Set>| {
        let s = found.state.lock();
        s.perm.check(&cred, flags as u32)?;
        if count > s.sems.len() {
            return Err(Errno::EINVAL);
        }
        Ok(())
    };
    let id = table.open(key, flags, sem::MOST, fits, |id, seq| {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        if in_use + count > sem::MAX_ALL {
            return Err(Errno::ENOSPC);
        }
        Ok(Set::new(id, Perm { seq, ..Perm::new(key, &cred, flags) }, count))
    })?;
    Ok(id as u64)
}

/// semop(2).
pub fn semop(cx: &mut Ctx<'_>, id: i32, ops: u64, count: u32) -> SysResult {
    semtimedop(cx, id, ops, count, UserPtr::new(0))
}

/// semtimedop(2).
pub fn semtimedop(cx: &mut Ctx<'_>, id: i32, ops: u64, count: u32, limit: UserPtr<[i64; 2]>) -> SysResult {
    let first = cx.block.runs == 0;
    let limit = limit.read_opt(&cx.mem)?;
    let count = count as usize;
    if count > sem::MAX_OPS {
        return Err(Errno::E2BIG.into());
    }
    let list = read_ops(cx, ops, count)?;
    if first {
        if let Some([sec, nsec]) = limit {
            if sec < 0 || !(0..NSEC as i64).contains(&nsec) {
                return Err(Errno::EINVAL.into());
            }
            let wait = (sec as u64).saturating_mul(NSEC).saturating_add(nsec as u64);
            cx.block.deadline = Some(monotonic().saturating_add(wait));
        }
    }
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    // A set that is removed while we wait is no longer in the table.
    let gone = if first { Errno::EINVAL } else { Errno::EIDRM };
    let set = cx.kernel.ipc.sem.lock().get(id).map_err(|_| gone)?;
    // The mark of the last run, if any.
    cx.block.scratch = None;
    loop {
        let blocked = {
            let mut s = set.state.lock();
            if s.removed {
                return Err(Errno::EIDRM.into());
            }
            if list.iter().any(|o| usize::from(o.num) >= s.sems.len()) {
                return Err(Errno::EFBIG.into());
            }
            let alters = list.iter().any(|o| o.by != 0);
            s.perm.check(&cx.task.cred(), if alters { WRITE } else { READ })?;
            let mut undo = cx.task.group.extras.sem_undo.lock();
            let tried = s.apply(&list, cx.task.group.pid, id, &mut undo);
            drop(undo);
            match tried {
                Ok(()) => None,
                Err(Blocked::Fail(e)) => return Err(e.into()),
                Err(Blocked::Wait(_, _, true)) => return Err(Errno::EAGAIN.into()),
                Err(Blocked::Wait(num, zero, false)) => Some((num, zero)),
            }
        };
        let Some((num, zero)) = blocked else {
            set.wake();
            return Ok(0);
        };
        if cx.timed_out() {
            return Err(Errno::EAGAIN.into());
        }
        let waited = cx.wait(&[(&set.queue, PollEvents::IN)], Restart::Never);
        if let Err(stop) = waited {
            set.state.lock().waiting.push((cx.task.tid(), num, zero));
            // It is counted as long as it waits.
            cx.block.scratch = Some(Box::new(Place(set.clone(), cx.task.tid())));
            return Err(stop);
        }
    }
}

/// A thread's mark as waiting, taken back when dropped.
struct Place(Arc<Set>, i32);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().waiting.retain(|w| w.0 != self.1);
    }
}

fn read_ops(cx: &Ctx<'_>, at: u64, count: usize) -> Result<Vec<Op>> {
    let mut raw = vec![0u8; count * 6];
    if count > 0 {
        cx.mem.read(at, &mut raw)?;
    }
    let half = |c: &[u8], i: usize| i16::from_le_bytes([c[i], c[i + 1]]);
    Ok(raw
        .chunks_exact(6)
        .map(|c| Op { num: half(c, 0) as u16, by: half(c, 2), flags: half(c, 4) })
        .collect())
}

/// `struct semid64_ds`.
fn stat(set: &Set) -> [u8; 104] {
    let s = set.state.lock();
    let mut b = [0; 104];
    put_perm(&mut b, &s.perm);
    put(&mut b, 48, &s.used_at.to_le_bytes());
    put(&mut b, 64, &s.changed_at.to_le_bytes());
    put(&mut b, 80, &(s.sems.len() as u64).to_le_bytes());
    b
}

/// semctl(2).
pub fn semctl(cx: &mut Ctx<'_>, id: i32, num: i32, command: i32, arg: u64) -> SysResult {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        libc::IPC_INFO | SEM_INFO => return info(cx, command, arg),
        libc::IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let (id, set) = {
                let table = cx.kernel.ipc.sem.lock();
                if command == libc::IPC_STAT {
                    (0, table.get(id)?)
                } else {
                    table.at(id)?
                }
            };
            if command != SEM_STAT_ANY {
                set.state.lock().perm.check(&cx.task.cred(), READ)?;
            }
            cx.mem.write(arg, &stat(&set))?;
            return Ok(id as u64);
        }
        _ => {}
    }
    match command {
        libc::IPC_RMID | libc::IPC_SET => change(cx, id, command, arg),
        SETVAL | SETALL => set_values(cx, id, num, command, arg),
        GETALL | GETVAL | GETPID | GETNCNT | GETZCNT => get_values(cx, id, num, command, arg),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn info(cx: &Ctx<'_>, command: i32, arg: u64) -> SysResult {
    const MANY: i32 = 1_024_000_000;
    let (sets, sems, highest) = {
        let table = cx.kernel.ipc.sem.lock();
        let sems: usize = table.all().iter().map(|s| s.1.state.lock().sems.len()).sum();
        (table.count() as i32, sems as i32, table.highest())
    };
    let (used, all) = if command == SEM_INFO { (sets, sems) } else { (20, sem::MAX_VALUE) };
    let (most, ops) = (sem::MOST as i32, sem::MAX_OPS as i32);
    let words = [MANY, most, MANY, MANY, sem::MAX_IN_SET as i32, ops, ops, used, sem::MAX_VALUE, all];
    cx.mem.write(arg, &words.map(i32::to_le_bytes).concat())?;
    Ok(highest as u64)
}

fn change(cx: &Ctx<'_>, id: i32, command: i32, arg: u64) -> SysResult {
    let mut raw = [0; 48];
    if command == libc::IPC_SET {
        cx.mem.read(arg, &mut raw)?;
    }
    let mut table = cx.kernel.ipc.sem.lock();
    let set = table.get(id)?;
    set.state.lock().perm.check_owner(&cx.task.cred())?;
    if command == libc::IPC_RMID {
        drop(table.remove(id));
        drop(table);
        set.remove();
        cx.kernel.forget_undo(id, None);
    } else {
        let mut s = set.state.lock();
        s.perm.set(&raw);
        s.changed_at = seconds();
    }
    Ok(0)
}

fn set_values(cx: &Ctx<'_>, id: i32, num: i32, command: i32, arg: u64) -> SysResult {
    let one = if command == SETVAL { Some(sem::value(i64::from(arg as i32))?) } else { None };
    let set = cx.kernel.ipc.sem.lock().get(id)?;
    let pid = cx.task.group.pid;
    let len = set.state.lock().sems.len();
    let index = usize::try_from(num).ok().filter(|n| *n < len);
    if one.is_some() && index.is_none() {
        return Err(Errno::EINVAL.into());
    }
    set.state.lock().perm.check(&cx.task.cred(), WRITE)?;
    let mut raw = vec![0u8; if one.is_some() { 0 } else { len * 2 }];
    if one.is_none() {
        cx.mem.read(arg, &mut raw)?;
    }
    let values: Vec<i32> = raw.chunks_exact(2).map(|c| i32::from(u16::from_le_bytes([c[0], c[1]]))).collect();
    if values.iter().any(|v| *v > sem::MAX_VALUE) {
        return Err(Errno::ERANGE.into());
    }
    {
        let mut s = set.state.lock();
        s.changed_at = seconds();
        match (one, index) {
            (Some(value), Some(i)) => {
                if let Some(one) = s.sems.get_mut(i) {
                    *one = sem::Sem { value, pid };
                }
            }
            _ => s.sems.iter_mut().zip(values).for_each(|(s, value)| *s = sem::Sem { value, pid }),
        }
    }
    cx.kernel.forget_undo(id, one.map(|_| num as u16));
    set.wake();
    Ok(0)
}

fn get_values(cx: &Ctx<'_>, id: i32, num: i32, command: i32, arg: u64) -> SysResult {
    let set = cx.kernel.ipc.sem.lock().get(id)?;
    let s = set.state.lock();
    s.perm.check(&cx.task.cred(), READ)?;
    if command == GETALL {
        let all: Vec<u8> = s.sems.iter().flat_map(|v| (v.value as u16).to_le_bytes()).collect();
        cx.mem.write(arg, &all)?;
        return Ok(0);
    }
    let index = usize::try_from(num).map_err(|_| Errno::EINVAL)?;
    let one = s.sems.get(index).ok_or(Errno::EINVAL)?;
    let waiting = |zero: bool| s.waiting.iter().filter(|w| usize::from(w.1) == index && w.2 == zero).count();
    Ok(match command {
        GETVAL => one.value as u64,
        GETPID => one.pid as u64,
        GETNCNT => waiting(false) as u64,
        _ => waiting(true) as u64,
    })
}
