//! poll(2), ppoll(2), select(2), pselect(2), and the pieces that epoll_wait(2) shares with them: timeouts and the
//! signal mask for the time of the wait.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;

use crate::kernel::{signals, Ctx, Restart, Stop, SysResult};
use crate::limits::resource;
use crate::mm::UserPtr;
use crate::signal::SigSet;
use crate::syscalls::args::user_range;
use crate::time::{monotonic, NSEC};
use crate::vfs::File;
use crate::wait_queue::{PollEvents, WaitQueue};

/// `struct timespec` or `struct timeval`: seconds and a fraction.
pub type Pair = [i64; 2];

/// poll(2).
pub fn poll(cx: &mut Ctx<'_>, fds: UserPtr<u8>, count: u32, timeout_ms: i32) -> SysResult {
    if cx.block.runs == 0 {
        set_timeout(cx, u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000));
    }
    poll_files(cx, fds, count)
}

/// ppoll(2).
pub fn ppoll(
    cx: &mut Ctx<'_>,
    fds: UserPtr<u8>,
    count: u32,
    timeout: UserPtr<Pair>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> SysResult {
    if cx.block.runs == 0 {
        let duration = timeout.read_opt(&cx.mem)?.map(timespec).transpose()?;
        set_timeout(cx, duration);
        set_mask(cx, mask, mask_size)?;
    }
    let r = poll_files(cx, fds, count);
    let r = write_remaining(cx, timeout, 1, r);
    unset_mask(cx, r)
}

fn poll_files(cx: &mut Ctx<'_>, fds: UserPtr<u8>, count: u32) -> SysResult {
    if u64::from(count) > cx.limit(resource::NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    user_range(fds.addr(), u64::from(count) * 8)?;
    let mut raw = vec![0u8; count as usize * 8];
    if !raw.is_empty() {
        cx.mem.read(fds.addr(), &mut raw)?;
    }
    let mut watched = Vec::with_capacity(count as usize);
    for (i, e) in raw.chunks_exact(8).enumerate() {
        let fd = i32::from_le_bytes([e[0], e[1], e[2], e[3]]);
        let want = u32::from(u16::from_le_bytes([e[4], e[5]]));
        let file = if fd < 0 { None } else { cx.file(fd).ok() };
        let fixed = if fd >= 0 && file.is_none() { PollEvents::NVAL.bits() } else { 0 };
        watched.push(Polled { at: fds.addr().wrapping_add(i as u64 * 8 + 6), want, file, fixed });
    }
    loop {
        let mut ready = 0;
        let found: Vec<u32> = watched.iter().map(Polled::now).collect();
        for bits in &found {
            ready += (*bits != 0) as u64;
        }
        if ready == 0 {
            signals_first(cx)?;
        }
        if ready > 0 || cx.timed_out() {
            for (p, bits) in watched.iter().zip(&found) {
                cx.mem.write(p.at, &(*bits as u16).to_le_bytes())?;
            }
            return Ok(ready);
        }
        let queues = queues(watched.iter().map(|p| (&p.file, p.want)));
        cx.wait(&queues, Restart::NoHand)?;
    }
}

struct Polled {
    /// Where `revents` goes.
    at: u64,
    want: u32,
    file: Option<Arc<File>>,
    /// What is answered without asking.
    fixed: u32,
}

impl Polled {
    fn now(&self) -> u32 {
        let always = PollEvents::ERR.bits() | PollEvents::HUP.bits();
        match &self.file {
            Some(f) => f.ops.poll(f).bits() & (self.want | always),
            None => self.fixed,
        }
    }
}

fn queues<'a>(files: impl Iterator<Item = (&'a Option<Arc<File>>, u32)>) -> Vec<(&'a WaitQueue, PollEvents)> {
    files
        .filter_map(|(f, want)| Some((f.as_ref()?.ops.wait_queue()?, PollEvents::from_bits_truncate(want))))
        .collect()
}

/// select(2).
pub fn select(
    cx: &mut Ctx<'_>,
    n: i32,
    reads: UserPtr<u8>,
    writes: UserPtr<u8>,
    excepts: UserPtr<u8>,
    timeout: UserPtr<Pair>,
) -> SysResult {
    if cx.block.runs == 0 {
        let duration = match timeout.read_opt(&cx.mem)? {
            Some([sec, usec]) => {
                let sec = sec.checked_add(usec / 1_000_000).ok_or(Errno::EINVAL)?;
                Some(timespec([sec, usec % 1_000_000 * 1000])?)
            }
            None => None,
        };
        set_timeout(cx, duration);
    }
    let r = select_files(cx, n, [reads, writes, excepts]);
    write_remaining(cx, timeout, 1000, r)
}

/// pselect6(2): the sixth argument points to the mask's address and size.
pub fn pselect6(
    cx: &mut Ctx<'_>,
    n: i32,
    reads: UserPtr<u8>,
    writes: UserPtr<u8>,
    excepts: UserPtr<u8>,
    timeout: UserPtr<Pair>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    if cx.block.runs == 0 {
        let mask = mask.read_opt(&cx.mem)?;
        let duration = timeout.read_opt(&cx.mem)?.map(timespec).transpose()?;
        set_timeout(cx, duration);
        if let Some([at, size]) = mask {
            set_mask(cx, UserPtr::new(at), usize::try_from(size).unwrap_or(0))?;
        }
    }
    let r = select_files(cx, n, [reads, writes, excepts]);
    let r = write_remaining(cx, timeout, 1, r);
    unset_mask(cx, r)
}

/// What each of the three sets stands for (fs/select.c: POLLIN_SET, POLLOUT_SET, POLLEX_SET).
const SETS: [u32; 3] = [0x1 | 0x40 | 0x80 | 0x10 | 0x8, 0x4 | 0x100 | 0x200 | 0x8, 0x2];

fn select_files(cx: &mut Ctx<'_>, n: i32, sets: [UserPtr<u8>; 3]) -> SysResult {
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    let files = cx.task.files();
    // Numbers beyond the descriptor table, which grows by powers of two, are not looked at.
    let top = files.numbers().last().map_or(0, |t| *t as usize);
    let n = n.min(if top < 64 { 64 } else { (top / 128 + 1).next_power_of_two() * 128 });
    // The sets are arrays of longs.
    let bytes = n.div_ceil(64) * 8;
    let mut asked = [const { Vec::new() }; 3];
    for (set, at) in asked.iter_mut().zip(sets) {
        if !at.is_null() {
            *set = vec![0u8; bytes];
            if bytes > 0 {
                cx.mem.read(at.addr(), set)?;
            }
        }
    }
    let bit = |set: &[u8], fd: usize| set.get(fd / 8).is_some_and(|b| b & (1 << (fd % 8)) != 0);
    let mut watched = Vec::new();
    for fd in 0..n {
        let want = (0..3).filter(|s| bit(&asked[*s], fd)).fold(0, |w, s| w | SETS[s]);
        if want != 0 {
            let file = cx.file(fd as i32)?;
            watched.push((fd, want, Some(file)));
        }
    }
    loop {
        let mut found = [const { Vec::new() }; 3];
        let mut ready = 0;
        for (set, ask) in found.iter_mut().zip(&asked) {
            *set = vec![0u8; ask.len()];
        }
        for (fd, _, file) in &watched {
            let Some(f) = file else { continue };
            let bits = f.ops.poll(f).bits();
            for s in 0..3 {
                if bit(&asked[s], *fd) && bits & SETS[s] != 0 {
                    found[s][fd / 8] |= 1 << (fd % 8);
                    ready += 1;
                }
            }
        }
        if ready == 0 {
            signals_first(cx)?;
        }
        if ready > 0 || cx.timed_out() {
            for (set, at) in found.iter().zip(sets) {
                if !set.is_empty() {
                    cx.mem.write(at.addr(), set)?;
                }
            }
            return Ok(ready);
        }
        let queues = queues(watched.iter().map(|w| (&w.2, w.1)));
        cx.wait(&queues, Restart::NoHand)?;
    }
}

/// A `timespec` as a duration in nanoseconds; `EINVAL` where it is none.
pub fn timespec([sec, nsec]: Pair) -> Result<u64, Errno> {
    if sec < 0 || !(0..NSEC as i64).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok((sec as u64).saturating_mul(NSEC).saturating_add(nsec as u64))
}

/// Sets the deadline of the wait; a timeout of zero has passed already.
pub fn set_timeout(cx: &mut Ctx<'_>, duration: Option<u64>) {
    cx.block.deadline = duration.map(|d| if d == 0 { 0 } else { monotonic().saturating_add(d) });
}

/// Writes the time that is left into the guest's timeout, in units of `unit` nanoseconds; a zero one stays.
fn write_remaining(cx: &mut Ctx<'_>, at: UserPtr<Pair>, unit: u64, r: SysResult) -> SysResult {
    if matches!(r, Err(Stop::Block(_) | Stop::Interrupt(_))) || at.is_null() {
        return r;
    }
    if let Some(deadline) = cx.block.deadline.filter(|d| *d != 0) {
        let left = deadline.saturating_sub(monotonic());
        // Where the timeout lies in read-only memory Linux says nothing either.
        let _ = at.write(&cx.mem, &[(left / NSEC) as i64, (left % NSEC / unit) as i64]);
    }
    r
}

/// Where the time is up, a signal that is pending still wins: `EINTR`, even with a timeout of zero (fs/select.c).
fn signals_first(cx: &Ctx<'_>) -> Result<(), Stop> {
    if cx.timed_out() && cx.task.attention.load(Ordering::SeqCst) && signals::deliverable(cx.task) {
        return Err(Stop::Interrupt(Restart::NoHand));
    }
    Ok(())
}

/// Puts a signal mask in place for the time of the call (first run only).
pub fn set_mask(cx: &mut Ctx<'_>, mask: UserPtr<u64>, size: usize) -> Result<(), Errno> {
    if mask.is_null() {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    signals::set_temporary_mask(cx.task, SigSet(mask.read(&cx.mem)?));
    Ok(())
}

/// Brings the mask back where the call returns by itself; after a signal its delivery does (and a wait goes on with it).
pub fn unset_mask(cx: &mut Ctx<'_>, r: SysResult) -> SysResult {
    if !matches!(r, Err(Stop::Block(_) | Stop::Interrupt(_))) {
        signals::restore_mask(cx.task);
    }
    r
}
