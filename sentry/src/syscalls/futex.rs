//! Futexes. Waiting, waking and requeueing are the host's, made by the stub; PI futexes are `kernel::pi`'s.

use linux_abi::{Errno, Result};

use crate::kernel::pi::{self, Key, Mode, Requeue};
use crate::kernel::{Ctx, Stop, SysResult};
use crate::mm::UserPtr;
use crate::time::{monotonic, realtime, NSEC};

const PRIVATE: i32 = 128;
const CLOCK_REALTIME: i32 = 256;
/// `FUTEX_LOCK_PI2`, which knows both clocks.
const LOCK_PI2: i32 = 13;

/// futex(2).
pub fn futex(
    cx: &mut Ctx<'_>,
    word: u64,
    op: i32,
    value: u32,
    timeout: u64,
    word2: u64,
    value3: u32,
) -> SysResult {
    let command = op & !(PRIVATE | CLOCK_REALTIME);
    let clock_known = matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET | 11 | LOCK_PI2);
    match command {
        libc::FUTEX_WAIT
        | libc::FUTEX_WAKE
        | libc::FUTEX_REQUEUE
        | libc::FUTEX_CMP_REQUEUE
        | libc::FUTEX_WAKE_OP
        | libc::FUTEX_WAIT_BITSET
        | libc::FUTEX_WAKE_BITSET => return Err(Stop::Local),
        libc::FUTEX_LOCK_PI..=libc::FUTEX_CMP_REQUEUE_PI | LOCK_PI2 => {}
        _ => return Err(Errno::ENOSYS.into()),
    }
    if op & CLOCK_REALTIME != 0 && !clock_known {
        return Err(Errno::ENOSYS.into());
    }
    let private = op & PRIVATE != 0;
    if matches!(command, libc::FUTEX_LOCK_PI | LOCK_PI2 | libc::FUTEX_WAIT_REQUEUE_PI) {
        // FUTEX_LOCK_PI is always in real time (futex(2)).
        limit(cx, timeout, command == libc::FUTEX_LOCK_PI || op & CLOCK_REALTIME != 0)?;
    }
    if command == libc::FUTEX_UNLOCK_PI {
        // Whose lock it is is asked first, at whatever address.
        let owner = UserPtr::<u32>::new(word).read(&cx.mem)? & libc::FUTEX_TID_MASK;
        if owner != cx.task.tid() as u32 {
            return Err(Errno::EPERM.into());
        }
    }
    let key = key(cx, word, private)?;
    match command {
        libc::FUTEX_LOCK_PI | LOCK_PI2 => pi::lock(cx, key, word, Mode::Wait),
        libc::FUTEX_TRYLOCK_PI => pi::lock(cx, key, word, Mode::Try),
        libc::FUTEX_UNLOCK_PI => pi::unlock(cx, key, word),
        libc::FUTEX_WAIT_REQUEUE_PI => {
            let target = self::key(cx, word2, private)?;
            pi::wait_requeue(cx, key, word, value, target)
        }
        _ => {
            if value != 1 {
                return Err(Errno::EINVAL.into());
            }
            let to = self::key(cx, word2, private)?;
            // `val2`, how many to requeue, comes in the place of the time limit.
            let more = timeout as u32;
            pi::requeue(cx, Requeue { from: key, addr: word, to, target: word2, more, expected: value3 })
        }
    }
}

/// An absolute time limit, on the first run.
fn limit(cx: &mut Ctx<'_>, timeout: u64, real: bool) -> Result<()> {
    if timeout == 0 || cx.block.runs > 0 {
        return Ok(());
    }
    let [sec, nsec] = UserPtr::<[i64; 2]>::new(timeout).read(&cx.mem)?;
    if sec < 0 || !(0..NSEC as i64).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    let at = (sec as u64).saturating_mul(NSEC).saturating_add(nsec as u64);
    let at = if real { monotonic().saturating_add(at.saturating_sub(realtime())) } else { at };
    cx.block.deadline = Some(at);
    Ok(())
}

/// Which futex a word is.
fn key(cx: &Ctx<'_>, addr: u64, private: bool) -> Result<Key> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mm = cx.task.mm();
    let vma = mm.find(addr).ok_or(Errno::EFAULT)?;
    match &vma.file {
        Some(file) if !private && vma.shared() => {
            let object = std::sync::Arc::as_ptr(&file.map).cast::<()>() as usize;
            let (dev, ino) = file.map.identity();
            let object = if file.anonymous { object } else { 0 };
            Ok(Key::Shared(dev, ino, object, file.offset.wrapping_add(addr - vma.start)))
        }
        _ => Ok(Key::Private(mm.space.id(), addr)),
    }
}

/// futex_waitv(2): the stub makes it.
pub fn futex_waitv(
    _cx: &mut Ctx<'_>,
    _list: u64,
    _count: u32,
    _flags: u32,
    _limit: u64,
    _clock: i32,
) -> SysResult {
    Err(Stop::Local)
}
