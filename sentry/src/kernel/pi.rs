//! PI futexes (futex(2), "Priority-inheritance futexes"): the sentry keeps owners and queues, the stub of the caller
//! does the compare-and-exchange on the word. Nothing inherits a priority, since how guests share the processors is the
//! host's business; what is visible is the word, who gets the lock next, and the errors.
//!
//! The word changes under our eyes, but only in two ways that do not come by here: 0 becomes an owner, and an owner
//! without `FUTEX_WAITERS` becomes 0. All else is done by one call at a time: a call on a futex holds its [`Turn`].
//!
//! Lock order: `PiTable`'s map, then `PiFutex::state`; neither is held over an action.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use platform::Action;

use super::current::{Ctx, Restart, Stop};
use super::{SysResult, Task};
use crate::wait_queue::{PollEvents, WaitQueue};

pub const TID_MASK: u32 = 0x3fff_ffff;
pub const OWNER_DIED: u32 = 0x4000_0000;
pub const WAITERS: u32 = 0x8000_0000;

/// What makes two words the same futex (futex(2), "FUTEX_PRIVATE_FLAG").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An address space, by the number of its stub, and the address.
    Private(u64, u64),
    /// A file or shared memory: device, inode, object, offset.
    Shared(u64, u64, usize, u64),
}

/// The futexes that somebody waits for, or that a call is at work on.
#[derive(Default)]
pub struct PiTable(Mutex<HashMap<Key, Weak<PiFutex>>>);

/// One futex.
pub struct PiFutex {
    state: Mutex<State>,
    /// Told when a turn has ended.
    turns: WaitQueue,
}

#[derive(Default)]
struct State {
    /// A call is at work on the word.
    taken: bool,
    /// Who has the lock, as far as we have seen.
    owner: i32,
    /// That thread has ended.
    owner_left: bool,
    /// Who has been given the lock and does not know yet.
    granted: Option<i32>,
    /// In the order in which they get the lock.
    waiters: Vec<Waiting>,
    /// Who waits to be requeued (`FUTEX_WAIT_REQUEUE_PI`), with the futex to come to.
    parked: Vec<(Waiting, Key)>,
}

#[derive(Clone)]
struct Waiting {
    tid: i32,
    /// Higher goes first (sched(7)).
    priority: i32,
    queue: WaitQueue,
}

impl State {
    fn enqueue(&mut self, w: Waiting) {
        let at = self.waiters.iter().position(|o| o.priority < w.priority).unwrap_or(self.waiters.len());
        self.waiters.insert(at, w);
    }

    fn waiters_bit(&self) -> u32 {
        if self.waiters.is_empty() {
            0
        } else {
            WAITERS
        }
    }
}

impl PiTable {
    fn get(&self, key: Key) -> Arc<PiFutex> {
        let mut map = self.0.lock();
        if let Some(found) = map.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        // What nobody holds any more goes, now and then, so that the table is as large as what is in use.
        if map.len().is_power_of_two() {
            map.retain(|_, f| f.strong_count() > 0);
        }
        let made = Arc::new(PiFutex { state: Mutex::default(), turns: WaitQueue::new() });
        map.insert(key, Arc::downgrade(&made));
        made
    }

    /// A thread has ended: who waits first for a lock of its takes it over.
    pub fn owner_left(&self, tid: i32) {
        let all: Vec<_> = {
            let map = self.0.lock();
            if map.is_empty() {
                return;
            }
            map.values().filter_map(Weak::upgrade).collect()
        };
        for futex in all {
            let first = {
                let mut s = futex.state.lock();
                if s.owner != tid {
                    continue;
                }
                s.owner_left = true;
                s.granted = s.granted.filter(|t| *t != tid);
                s.waiters.first().map(|w| w.queue.clone())
            };
            if let Some(queue) = first {
                queue.wake(PollEvents::IN);
            }
        }
    }
}

/// The right to change the word; dropping it lets the next call go on.
struct Turn(Arc<PiFutex>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state.lock().taken = false;
        self.0.turns.wake(PollEvents::IN);
    }
}

/// Waits for the turn. Short, and so not interrupted.
fn turn(cx: &mut Ctx<'_>, futex: &Arc<PiFutex>) -> std::result::Result<Turn, Stop> {
    loop {
        if !std::mem::replace(&mut futex.state.lock().taken, true) {
            return Ok(Turn(futex.clone()));
        }
        cx.wait(&[(&futex.turns, PollEvents::IN)], Restart::Killable)?;
    }
}

/// A place among the waiters, kept between the runs of a call; dropping it leaves the queue.
struct Place {
    futex: Arc<PiFutex>,
    tid: i32,
    queue: WaitQueue,
}

impl Drop for Place {
    fn drop(&mut self) {
        let tid = self.tid;
        let mut s = self.futex.state.lock();
        s.waiters.retain(|w| w.tid != tid);
        s.parked.retain(|w| w.0.tid != tid);
    }
}

fn read(task: &Task, addr: u64) -> Result<u32> {
    let mut b = [0; 4];
    task.mm().read_exact(addr, &mut b)?;
    Ok(u32::from_le_bytes(b))
}

/// Has the stub replace the word, then goes on with `then`; a word that changed meanwhile is `again`'s.
fn exchange(
    turn: Turn,
    addr: u64,
    old: u32,
    new: u32,
    then: impl FnOnce(&mut Ctx<'_>, Turn) -> SysResult + Send + 'static,
    again: impl FnOnce(&mut Ctx<'_>, Turn) -> SysResult + Send + 'static,
) -> SysResult {
    let act = vec![Action::CompareExchange { addr, old, new }];
    Err(Stop::Act(
        act,
        Box::new(move |cx, done| match done {
            Ok(()) => then(cx, turn),
            Err((_, Errno::EAGAIN)) => again(cx, turn),
            Err((_, e)) => Err(e.into()),
        }),
    ))
}

/// Whether a call waits for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Wait,
    Try,
}

/// `FUTEX_LOCK_PI` and `FUTEX_TRYLOCK_PI`. A time limit is in `block.deadline`.
pub fn lock(cx: &mut Ctx<'_>, key: Key, addr: u64, mode: Mode) -> SysResult {
    let futex = cx.kernel.pi.get(key);
    let me = cx.task.tid();
    if let Some(place) = cx.block.scratch.take().and_then(|s| s.downcast::<Place>().ok()) {
        let first_of_dead = {
            let s = futex.state.lock();
            s.granted != Some(me) && s.owner_left && s.waiters.first().is_some_and(|w| w.tid == me)
        };
        if !first_of_dead {
            return wait(cx, *place);
        }
        drop(place);
    }
    if take_grant(&futex, me) {
        return Ok(0);
    }
    let turn = turn(cx, &futex)?;
    try_lock(cx, turn, addr, mode)
}

fn take_grant(futex: &PiFutex, me: i32) -> bool {
    let mut s = futex.state.lock();
    let mine = s.granted == Some(me);
    if mine {
        s.granted = None;
    }
    mine
}

fn try_lock(cx: &mut Ctx<'_>, turn: Turn, addr: u64, mode: Mode) -> SysResult {
    let me = cx.task.tid();
    let word = read(cx.task, addr)?;
    let owner = (word & TID_MASK) as i32;
    let (left, bit) = {
        let s = turn.0.state.lock();
        (s.owner_left && s.owner == owner, s.waiters_bit())
    };
    if owner == 0 || left {
        let died = if left { OWNER_DIED } else { word & OWNER_DIED };
        let new = me as u32 | died | bit;
        return exchange(
            turn,
            addr,
            word,
            new,
            move |_, turn| {
                let mut s = turn.0.state.lock();
                (s.owner, s.owner_left) = (me, false);
                Ok(0)
            },
            move |cx, turn| try_lock(cx, turn, addr, mode),
        );
    }
    if owner == me {
        return Err(Errno::EDEADLK.into());
    }
    if mode == Mode::Try {
        return Err(Errno::EAGAIN.into());
    }
    if cx.kernel.task(owner).is_none() {
        return Err(Errno::ESRCH.into());
    }
    if word & WAITERS == 0 {
        return exchange(
            turn,
            addr,
            word,
            word | WAITERS,
            move |cx, turn| enqueue(cx, turn, owner),
            move |cx, turn| try_lock(cx, turn, addr, mode),
        );
    }
    enqueue(cx, turn, owner)
}

fn waiting(task: &Task) -> Waiting {
    let real_time = matches!(
        task.extras.policy.load(std::sync::atomic::Ordering::Relaxed),
        libc::SCHED_FIFO | libc::SCHED_RR
    );
    let priority = task.extras.priority.load(std::sync::atomic::Ordering::Relaxed);
    Waiting { tid: task.tid(), priority: if real_time { priority } else { 0 }, queue: WaitQueue::new() }
}

/// Joins the queue of a lock that `owner` has, whose word says so.
fn enqueue(cx: &mut Ctx<'_>, turn: Turn, owner: i32) -> SysResult {
    let w = waiting(cx.task);
    let place = Place { futex: turn.0.clone(), tid: w.tid, queue: w.queue.clone() };
    {
        let mut s = turn.0.state.lock();
        s.owner = owner;
        // It may have ended between the look at the word and here: its end is told to those who wait by then.
        s.owner_left = cx.kernel.task(owner).is_none();
        s.enqueue(w);
    }
    drop(turn);
    wait(cx, place)
}

fn wait(cx: &mut Ctx<'_>, place: Place) -> SysResult {
    loop {
        let (granted, take_over) = {
            let s = place.futex.state.lock();
            let first = s.waiters.first().is_some_and(|w| w.tid == place.tid);
            (s.granted == Some(place.tid), s.owner_left && first)
        };
        if granted {
            take_grant(&place.futex, place.tid);
            return Ok(0);
        }
        if cx.timed_out() {
            return Err(Errno::ETIMEDOUT.into());
        }
        let queue = place.queue.clone();
        let kind = if take_over { Restart::Killable } else { Restart::Always };
        if let Err(stop) = cx.wait(&[(&queue, PollEvents::IN)], kind) {
            cx.block.scratch = Some(Box::new(place));
            if take_over {
                // The handler runs again at once, and takes the lock over.
                cx.task.wake();
            }
            return Err(stop);
        }
    }
}

/// `FUTEX_UNLOCK_PI`.
pub fn unlock(cx: &mut Ctx<'_>, key: Key, addr: u64) -> SysResult {
    let futex = cx.kernel.pi.get(key);
    let turn = turn(cx, &futex)?;
    try_unlock(cx, turn, addr)
}

fn try_unlock(cx: &mut Ctx<'_>, turn: Turn, addr: u64) -> SysResult {
    let word = read(cx.task, addr)?;
    if (word & TID_MASK) as i32 != cx.task.tid() {
        return Err(Errno::EPERM.into());
    }
    let next = turn.0.state.lock().waiters.first().cloned();
    let new = next.as_ref().map_or(0, |w| w.tid as u32 | WAITERS);
    exchange(
        turn,
        addr,
        word,
        new,
        move |cx, turn| {
            if let Some(next) = next {
                give(cx, &turn, &next);
            }
            Ok(0)
        },
        move |cx, turn| try_unlock(cx, turn, addr),
    )
}

/// The word names `to` by now: tells it.
fn give(cx: &Ctx<'_>, turn: &Turn, to: &Waiting) {
    {
        let mut s = turn.0.state.lock();
        s.waiters.retain(|w| w.tid != to.tid);
        s.granted = Some(to.tid);
        s.owner = to.tid;
        // One that has gone meanwhile leaves the lock to the next.
        s.owner_left = cx.kernel.task(to.tid).is_none();
        if s.owner_left {
            s.granted = None;
            if let Some(w) = s.waiters.first().cloned() {
                drop(s);
                w.queue.wake(PollEvents::IN);
            }
            return;
        }
    }
    to.queue.wake(PollEvents::IN);
}

/// `FUTEX_WAIT_REQUEUE_PI`: waits on one futex until it is requeued to another, and has that one when it returns.
pub fn wait_requeue(cx: &mut Ctx<'_>, key: Key, addr: u64, value: u32, target: Key) -> SysResult {
    let to = cx.kernel.pi.get(target);
    let me = cx.task.tid();
    if let Some(parked) = cx.block.scratch.take().and_then(|s| s.downcast::<Parked>().ok()) {
        return wait_parked(cx, *parked);
    }
    if take_grant(&to, me) {
        return Ok(0);
    }
    if key == target {
        return Err(Errno::EINVAL.into());
    }
    let futex = cx.kernel.pi.get(key);
    let turn = turn(cx, &futex)?;
    if read(cx.task, addr)? != value {
        return Err(Errno::EAGAIN.into());
    }
    let w = waiting(cx.task);
    let queue = w.queue.clone();
    turn.0.state.lock().parked.push((w, target));
    drop(turn);
    let from = Place { futex, tid: me, queue: queue.clone() };
    let to = Place { futex: to, tid: me, queue };
    wait_parked(cx, Parked { from, to })
}

/// Both places of a wait that is requeued.
struct Parked {
    from: Place,
    to: Place,
}

fn wait_parked(cx: &mut Ctx<'_>, parked: Parked) -> SysResult {
    loop {
        if take_grant(&parked.to.futex, parked.to.tid) {
            return Ok(0);
        }
        if cx.timed_out() {
            return Err(Errno::ETIMEDOUT.into());
        }
        // Before the requeue a handler ends the wait for good (futex_wait_requeue_pi: `EWOULDBLOCK`, made again).
        let here = parked.from.futex.state.lock().parked.iter().any(|w| w.0.tid == parked.from.tid);
        let kind = if here { Restart::Sys } else { Restart::Always };
        let queue = parked.to.queue.clone();
        if let Err(stop) = cx.wait(&[(&queue, PollEvents::IN)], kind) {
            cx.block.scratch = Some(Box::new(parked));
            return Err(stop);
        }
    }
}

/// The words and numbers of `FUTEX_CMP_REQUEUE_PI`.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    pub from: Key,
    pub addr: u64,
    pub to: Key,
    pub target: u64,
    /// How many more than the one that may get the lock.
    pub more: u32,
    pub expected: u32,
}

/// `FUTEX_CMP_REQUEUE_PI`: who waits on one futex comes to wait for a lock, the first with a chance to get it at once.
pub fn requeue(cx: &mut Ctx<'_>, r: Requeue) -> SysResult {
    if r.from == r.to {
        return Err(Errno::EINVAL.into());
    }
    let from = cx.kernel.pi.get(r.from);
    let to = cx.kernel.pi.get(r.to);
    // Always in the order of the words, so that two calls do not wait for each other.
    let swap = Arc::as_ptr(&from) > Arc::as_ptr(&to);
    let (first, second) = if swap { (&to, &from) } else { (&from, &to) };
    let a = turn(cx, first)?;
    let b = turn(cx, second)?;
    let (from_turn, to_turn) = if swap { (b, a) } else { (a, b) };
    if read(cx.task, r.addr)? != r.expected {
        return Err(Errno::EAGAIN.into());
    }
    try_requeue(cx, from_turn, to_turn, r)
}

fn try_requeue(cx: &mut Ctx<'_>, from: Turn, to: Turn, r: Requeue) -> SysResult {
    let all: Vec<Waiting> = {
        let s = from.0.state.lock();
        if s.parked.iter().any(|w| w.1 != r.to) {
            return Err(Errno::EINVAL.into());
        }
        s.parked.iter().map(|w| w.0.clone()).take((r.more as usize).saturating_add(1)).collect()
    };
    let Some(top) = all.first().cloned() else { return Ok(0) };
    let word = read(cx.task, r.target)?;
    let owner = (word & TID_MASK) as i32;
    if owner != 0 && cx.kernel.task(owner).is_none() {
        return Err(Errno::ESRCH.into());
    }
    let free = owner == 0;
    let new = if free { top.tid as u32 | word & OWNER_DIED | WAITERS } else { word | WAITERS };
    exchange(
        to,
        r.target,
        word,
        new,
        move |cx, to| {
            from.0.state.lock().parked.retain(|w| !all.iter().any(|a| a.tid == w.0.tid));
            {
                let mut s = to.0.state.lock();
                all.iter().skip(usize::from(free)).for_each(|w| s.enqueue(w.clone()));
                if !free {
                    s.owner = owner;
                }
            }
            if free {
                give(cx, &to, &top);
            }
            Ok(all.len() as u64)
        },
        // Both turns are given up, and the whole call made again.
        move |cx, to| {
            drop(to);
            requeue(cx, r)
        },
    )
}
