//! The address space: the VMA table under its lock, and the protocol by which it changes.
//!
//! An operation is planned against the table, its ranges are marked busy, the stub carries it out with no lock held,
//! and what came of it is committed. Operations that touch a busy range wait; placement passes busy ranges by; fork
//! waits for all and holds new ones back, so that table and host map are copied at the same moment. The busy mark is a
//! guard in the closure that commits: where the task dies first, dropping the closure takes the mark away.

use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use platform::{Action, Space};

use super::account;
use super::vma::{Totals, Vma, VmaTable};
use crate::wait_queue::{PollEvents, WaitQueue};

/// A guest's address space; shared by tasks made with `CLONE_VM`.
pub struct AddressSpace {
    /// The stub process that carries it.
    pub space: Arc<Space>,
    state: Mutex<State>,
    /// Told when an operation, or a fork, has ended.
    pub queue: WaitQueue,
}

#[derive(Default)]
struct State {
    table: VmaTable,
    next_op: u64,
    forking: bool,
    /// What the account knows of the table's charge.
    told: u64,
}

impl State {
    /// Tells the account what the table now takes.
    fn settle(&mut self) {
        let now = self.table.charged();
        if now >= self.told {
            account::add(now - self.told);
        } else {
            account::give(self.told - now);
        }
        self.told = now;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        account::give(self.told);
    }
}

/// What an operation is to do.
pub struct Plan {
    /// What it changes, and nobody else may until it is done.
    pub ranges: Vec<(u64, u64)>,
    /// What the stub is to do. Where this is empty the operation is committed at once.
    pub actions: Vec<Action>,
    /// Bytes that it takes of the sandbox's memory beyond what is paid for: `ENOMEM` where they are not there.
    pub cost: u64,
    /// Changes the table once the stub has acted; gives the call's value.
    pub commit: Commit,
    /// Which of the actions only fill pages in.
    pub fill: Fill,
}

/// The last actions of a plan that only fill pages in: the table is right whatever becomes of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    pub count: usize,
    /// What the call answers where they fail; `None`: as if they had not.
    pub failed: Option<Errno>,
}

/// The last step of an operation.
pub type Commit = Box<dyn FnOnce(&mut VmaTable) -> Result<u64> + Send>;

impl Plan {
    /// Nothing for the stub to do.
    pub fn done(value: u64) -> Plan {
        Plan {
            ranges: Vec::new(),
            actions: Vec::new(),
            cost: 0,
            commit: Box::new(move |_| Ok(value)),
            fill: Fill::default(),
        }
    }
}

/// How an attempt to begin an operation came out.
pub enum Begun {
    /// There was nothing for the stub to do.
    Done(Result<u64>),
    /// Let the stub act, then finish.
    Act(Vec<Action>, Operation),
    /// Another operation, or a fork, is in the way: wait on [`AddressSpace::queue`].
    Busy,
}

/// An operation under way. Dropping it unfinished frees its ranges and leaves the table as it was.
pub struct Operation {
    mm: Arc<AddressSpace>,
    id: u64,
    commit: Option<Commit>,
    /// The first action that only fills in, and what becomes of the call where it fails.
    fills_from: usize,
    fill_failed: Option<Errno>,
    /// Given back once the table says what it takes.
    _reserved: account::Reserved,
}

impl Operation {
    /// Commits where the action that failed was only to fill pages in; gives the operation back where it was more.
    pub fn finish_unfilled(self, failed: usize, why: Errno) -> std::result::Result<Result<u64>, Operation> {
        if failed < self.fills_from {
            return Err(self);
        }
        // A host that does not know the advice fills nothing in, and nothing is wrong.
        let answer = self.fill_failed.filter(|_| why != Errno::EINVAL);
        let done = self.finish();
        Ok(answer.map_or(done, Err))
    }

    /// Commits what the stub has done.
    pub fn finish(mut self) -> Result<u64> {
        let commit = self.commit.take().ok_or(Errno::EIO)?;
        let mut state = self.mm.state.lock();
        let done = commit(&mut state.table);
        state.settle();
        drop(state);
        done
    }
}

/// How the table was before an operation whose end was foreseen.
pub struct Undo {
    mm: Arc<AddressSpace>,
    ranges: Vec<(u64, u64)>,
    before: Vec<Vma>,
    brk: u64,
    fills_from: usize,
    fill_failed: Option<Errno>,
}

/// What the failure of an operation means whose end was foreseen.
pub enum Unfilled {
    /// Only pages were not filled in: this error, if any, is the call's.
    Answer(Option<Errno>),
    /// The table is as it was.
    Undone,
}

impl Undo {
    /// The stub could not act: the table goes back, unless the action that failed was only to fill pages in.
    pub fn apply(self, failed: usize, why: Errno) -> Unfilled {
        if failed >= self.fills_from {
            return Unfilled::Answer(self.fill_failed.filter(|_| why != Errno::EINVAL));
        }
        let mut state = self.mm.state.lock();
        for (start, end) in self.ranges {
            drop(state.table.remove(start, end));
        }
        for vma in self.before {
            state.table.insert(vma);
        }
        state.table.layout.brk = self.brk;
        state.settle();
        Unfilled::Undone
    }
}

impl Operation {
    /// Commits what the stub is about to do, and says how to take it back. Only where the one thread that has the
    /// address space waits for the stub: another's operation could be carried out before this one.
    pub fn foresee(self) -> (Result<u64>, Undo) {
        let undo = {
            let state = self.mm.state.lock();
            let mine = state.table.busy.iter().filter(|b| b.0 == self.id).map(|b| (b.1, b.2));
            let ranges: Vec<(u64, u64)> = mine.collect();
            let there = |r: &(u64, u64)| state.table.overlapping(r.0, r.1).cloned().collect::<Vec<_>>();
            let before = ranges.iter().flat_map(there).collect();
            Undo {
                mm: self.mm.clone(),
                ranges,
                before,
                brk: state.table.layout.brk,
                fills_from: self.fills_from,
                fill_failed: self.fill_failed,
            }
        };
        (self.finish(), undo)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        {
            let mut state = self.mm.state.lock();
            let mine: Vec<(u64, u64)> =
                state.table.busy.iter().filter(|b| b.0 == self.id).map(|b| (b.1, b.2)).collect();
            state.table.busy.retain(|b| b.0 != self.id);
            if self.commit.is_some() {
                for (start, end) in mine {
                    state.table.note_hole(start, end);
                }
            }
        }
        self.mm.queue.wake(PollEvents::IN);
    }
}

impl AddressSpace {
    pub fn new(space: Arc<Space>, table: VmaTable) -> Arc<AddressSpace> {
        let mut state = State { table, ..State::default() };
        state.settle();
        Arc::new(AddressSpace { space, state: Mutex::new(state), queue: WaitQueue::new() })
    }

    /// Looks at the table.
    pub fn with_table<R>(&self, f: impl FnOnce(&VmaTable) -> R) -> R {
        f(&self.state.lock().table)
    }

    /// How many bytes of a range, from its start, the guest may write. What it may not is known here before a file gives
    /// bytes away that nobody then receives: the stub copies results out only with the reply.
    pub fn writable_len(&self, addr: u64, len: usize) -> usize {
        self.allowed_len(addr, len, libc::PROT_WRITE)
    }

    /// How many bytes of a range, from its start, the guest may read.
    pub fn readable_len(&self, addr: u64, len: usize) -> usize {
        self.allowed_len(addr, len, libc::PROT_READ)
    }

    fn allowed_len(&self, addr: u64, len: usize, prot: i32) -> usize {
        let end = addr.saturating_add(len as u64);
        let state = self.state.lock();
        let mut at = addr;
        for v in state.table.overlapping(addr, end) {
            if v.start > at || v.prot & prot == 0 {
                break;
            }
            at = v.end;
        }
        (at.min(end) - addr) as usize
    }

    /// Changes what only the table knows (names, marks).
    pub fn change_table<R>(&self, f: impl FnOnce(&mut VmaTable) -> R) -> R {
        let mut state = self.state.lock();
        let done = f(&mut state.table);
        state.settle();
        done
    }

    /// Plans an operation and marks its ranges busy. `plan` may be called again after a wait.
    pub fn begin(self: &Arc<Self>, plan: impl FnOnce(&mut VmaTable) -> Result<Plan>) -> Begun {
        let mut state = self.state.lock();
        if state.forking {
            return Begun::Busy;
        }
        let Plan { ranges, actions, cost, commit, fill } = match plan(&mut state.table) {
            Ok(p) => p,
            Err(e) => return Begun::Done(Err(e)),
        };
        if ranges.iter().any(|r| state.table.is_busy(r.0, r.1)) {
            return Begun::Busy;
        }
        let Some(reserved) = account::reserve(cost) else { return Begun::Done(Err(Errno::ENOMEM)) };
        if actions.is_empty() {
            let done = commit(&mut state.table);
            state.settle();
            return Begun::Done(done);
        }
        let id = state.next_op;
        state.next_op += 1;
        state.table.busy.extend(ranges.iter().map(|r| (id, r.0, r.1)));
        drop(state);
        let operation = Operation {
            mm: self.clone(),
            id,
            commit: Some(commit),
            fills_from: actions.len().saturating_sub(fill.count),
            fill_failed: fill.failed,
            _reserved: reserved,
        };
        Begun::Act(actions, operation)
    }

    /// Begins a fork: `false` while operations, or another fork, are under way (wait on [`AddressSpace::queue`]).
    pub fn try_begin_fork(&self) -> bool {
        let mut state = self.state.lock();
        if state.forking || !state.table.busy.is_empty() {
            return false;
        }
        state.forking = true;
        true
    }

    /// Pays for a copy of it (fork); given back when dropped, once the copy itself is counted.
    pub fn reserve_copy(&self) -> Result<account::Reserved> {
        let cost = if account::strict() { self.with_table(VmaTable::charged) } else { 0 };
        account::reserve(cost).ok_or(Errno::ENOMEM)
    }

    /// The address space of a fork child, which the stub `space` carries.
    pub fn fork_copy(&self, space: Arc<Space>) -> Arc<AddressSpace> {
        let table = self.state.lock().table.for_child();
        AddressSpace::new(space, table)
    }

    /// The fork is over: operations go on.
    pub fn end_fork(&self) {
        self.state.lock().forking = false;
        self.queue.wake(PollEvents::IN);
    }

    /// Sums for proc.
    pub fn totals(&self) -> Totals {
        self.state.lock().table.totals()
    }

    /// The mapping at an address.
    pub fn find(&self, addr: u64) -> Option<Vma> {
        self.state.lock().table.find(addr).cloned()
    }

    /// Reads guest memory whole; `EFAULT`. Any thread may ask.
    pub fn read_exact(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let n = self.space.read(addr.wrapping_add(done as u64), &mut buf[done..])?;
            if n == 0 {
                return Err(Errno::EFAULT);
            }
            done += n;
        }
        Ok(())
    }

    /// Reads as much of a guest range as can be read, at most 1 MiB (`/proc/PID/cmdline`, `environ`).
    pub fn read_range(&self, start: u64, end: u64) -> Vec<u8> {
        let len = end.saturating_sub(start).min(1 << 20) as usize;
        let mut buf = vec![0; len];
        let n = if len == 0 { 0 } else { self.space.read(start, &mut buf).unwrap_or(0) };
        buf.truncate(n);
        buf
    }

    /// `/proc/PID/cmdline`: the arguments, NUL-terminated.
    pub fn cmdline(&self) -> Vec<u8> {
        let (start, end) = self.with_table(|t| t.layout.args);
        self.read_range(start, end)
    }

    /// `/proc/PID/environ`.
    pub fn environ(&self) -> Vec<u8> {
        let (start, end) = self.with_table(|t| t.layout.env);
        self.read_range(start, end)
    }

    /// `/proc/PID/auxv`.
    pub fn auxv(&self) -> Vec<u8> {
        self.with_table(|t| t.layout.auxv.clone())
    }
}
