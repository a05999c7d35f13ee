//! System V semaphores: sets, operations on them, and what is undone when a process ends (semop(2), semctl(2)).

use std::collections::BTreeMap;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::{seconds, Perm};
use crate::kernel::Kernel;
use crate::wait_queue::{PollEvents, WaitQueue};

/// `SEMMNI`, `SEMMSL`, `SEMOPM`, `SEMVMX`.
pub const MOST: usize = 32000;
pub const MAX_IN_SET: usize = 32000;
pub const MAX_OPS: usize = 500;
pub const MAX_VALUE: i32 = 32767;
/// All semaphores of a sandbox together: a bound on the sentry's memory.
pub const MAX_ALL: usize = 1 << 20;

/// What a process's end gives back: by set, an adjustment for each semaphore.
pub type Undo = BTreeMap<i32, Vec<i16>>;

/// One semaphore.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sem {
    pub value: i32,
    /// Who changed it last.
    pub pid: i32,
}

/// A set.
pub struct Set {
    pub id: i32,
    pub state: Mutex<State>,
    pub queue: WaitQueue,
}

/// What changes of a set.
pub struct State {
    pub perm: Perm,
    pub sems: Vec<Sem>,
    pub used_at: i64,
    pub changed_at: i64,
    pub removed: bool,
    /// Who waits: thread, semaphore, whether for nought.
    pub waiting: Vec<(i32, u16, bool)>,
}

/// `struct sembuf`.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub num: u16,
    pub by: i16,
    pub flags: i16,
}

/// Why operations cannot be made now.
pub enum Blocked {
    /// On which semaphore, whether it waits for nought, and whether the caller will not wait.
    Wait(u16, bool, bool),
    Fail(Errno),
}

impl Set {
    pub fn new(id: i32, perm: Perm, count: usize) -> Arc<Set> {
        let sems = vec![Sem::default(); count];
        let state =
            State { perm, sems, used_at: 0, changed_at: seconds(), removed: false, waiting: Vec::new() };
        Arc::new(Set { id, state: Mutex::new(state), queue: WaitQueue::new() })
    }

    /// Whoever waits tries again.
    pub fn wake(&self) {
        self.queue.wake(PollEvents::IN);
    }

    pub fn remove(&self) {
        self.state.lock().removed = true;
        self.wake();
    }
}

impl State {
    /// Makes all operations, or none.
    pub fn apply(
        &mut self,
        ops: &[Op],
        pid: i32,
        id: i32,
        undo: &mut Undo,
    ) -> std::result::Result<(), Blocked> {
        let mut now: BTreeMap<u16, i32> = BTreeMap::new();
        let mut adjust: BTreeMap<u16, i32> = BTreeMap::new();
        for op in ops {
            let Some(sem) = self.sems.get(usize::from(op.num)) else {
                return Err(Blocked::Fail(Errno::EFBIG));
            };
            let value = now.entry(op.num).or_insert(sem.value);
            let nowait = op.flags & libc::IPC_NOWAIT as i16 != 0;
            if op.by == 0 && *value != 0 {
                return Err(Blocked::Wait(op.num, true, nowait));
            }
            let next = *value + i32::from(op.by);
            if next < 0 {
                return Err(Blocked::Wait(op.num, false, nowait));
            }
            if next > MAX_VALUE {
                return Err(Blocked::Fail(Errno::ERANGE));
            }
            *value = next;
            if op.flags & SEM_UNDO != 0 {
                let before =
                    undo.get(&id).and_then(|u| u.get(usize::from(op.num))).map_or(0, |v| i32::from(*v));
                let a = adjust.entry(op.num).or_insert(before);
                *a -= i32::from(op.by);
                if !(-MAX_VALUE - 1..=MAX_VALUE).contains(a) {
                    return Err(Blocked::Fail(Errno::ERANGE));
                }
            }
        }
        for (num, value) in now {
            if let Some(s) = self.sems.get_mut(usize::from(num)) {
                *s = Sem { value, pid };
            }
        }
        if !adjust.is_empty() {
            let list = undo.entry(id).or_insert_with(|| vec![0; self.sems.len()]);
            for (num, by) in adjust {
                if let Some(v) = list.get_mut(usize::from(num)) {
                    *v = by as i16;
                }
            }
        }
        self.used_at = seconds();
        Ok(())
    }
}

/// `SEM_UNDO`.
pub const SEM_UNDO: i16 = 0x1000;

impl Kernel {
    /// A process has ended: its adjustments are made (semop(2), "SEM_UNDO").
    pub fn undo_semaphores(&self, pid: i32, undo: Undo) {
        for (id, list) in undo {
            let Ok(set) = self.ipc.sem.lock().get(id) else { continue };
            {
                let mut s = set.state.lock();
                for (sem, by) in s.sems.iter_mut().zip(list).filter(|p| p.1 != 0) {
                    *sem = Sem { value: (sem.value + i32::from(by)).clamp(0, MAX_VALUE), pid };
                }
                s.used_at = seconds();
            }
            set.wake();
        }
    }

    /// Adjustments of one semaphore (or of all of a set) mean nothing any more: its value was set.
    pub fn forget_undo(&self, id: i32, num: Option<u16>) {
        let groups: Vec<_> = self.pids.lock().groups.values().cloned().collect();
        for g in groups {
            let mut undo = g.extras.sem_undo.lock();
            match (num, undo.get_mut(&id)) {
                (Some(n), Some(list)) => {
                    if let Some(v) = list.get_mut(usize::from(n)) {
                        *v = 0;
                    }
                }
                (None, Some(_)) => drop(undo.remove(&id)),
                (_, None) => {}
            }
        }
    }
}

/// A value as `SETVAL` and `SETALL` take it.
pub fn value(v: i64) -> Result<i32> {
    i32::try_from(v).ok().filter(|v| (0..=MAX_VALUE).contains(v)).ok_or(Errno::ERANGE)
}
