//! The filters that a guest puts upon itself (seccomp(2)): what a task carries, how they are passed on, and what they
//! say to a call.
//!
//! Filters form a tree: each points to the one that was there before it, a child shares its parent's. All of a task's
//! filters look at each call, and the strictest answer wins. A task without any pays one load of a flag a call.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;
use platform::{Syscall, Thread};
use policies::bpf::{self, ret, Program, SeccompData};

use super::task::Task;
use super::ThreadGroup;
use crate::signal::{SigInfo, Signo};

/// As `PR_GET_SECCOMP` and `/proc/PID/status` show them.
const MODE_NONE: u8 = 0;
const MODE_STRICT: u8 = 1;
const MODE_FILTER: u8 = 2;

/// Instructions of all filters in the sandbox together: 64 MiB decoded. (Linux counts them to the memory cgroup.)
const MAX_INSTRUCTIONS: usize = 8 << 20;

/// Calls whose answer is looked up in a bitmap, where no filter looks at their arguments.
const NUMBERS: usize = platform::CALLS;

static INSTRUCTIONS: AtomicUsize = AtomicUsize::new(0);

/// One filter, and the ones before it.
pub struct Filter {
    program: Program,
    /// Told apart in the log only (`SECCOMP_FILTER_FLAG_LOG`).
    log: bool,
    before: Option<Arc<Filter>>,
    /// How many there are, with this one.
    count: usize,
    /// What they cost together, each with [`bpf::COST_PER_FILTER`].
    cost: usize,
    /// Calls that all of them allow whatever the arguments.
    allowed: [u64; NUMBERS / 64],
}

impl Filter {
    /// A filter upon the ones before: `ENOMEM` past the kernel's limit for one task, or ours for all.
    pub fn new(program: Program, log: bool, before: Option<Arc<Filter>>) -> Result<Arc<Filter>> {
        let below = before.as_ref().map_or(0, |b| b.cost);
        let cost = below.saturating_add(program.cost());
        if cost > bpf::MAX_PATH_COST {
            return Err(Errno::ENOMEM);
        }
        let len = program.len();
        if INSTRUCTIONS.fetch_add(len, Ordering::Relaxed).saturating_add(len) > MAX_INSTRUCTIONS {
            INSTRUCTIONS.fetch_sub(len, Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        }
        let mut allowed = before.as_ref().map_or([u64::MAX; NUMBERS / 64], |b| b.allowed);
        for (i, word) in allowed.iter_mut().enumerate() {
            for bit in 0..64 {
                let nr = (i * 64 + bit) as u32;
                if *word & 1 << bit != 0 && program.by_number(nr) != Some(ret::ALLOW) {
                    *word &= !(1 << bit);
                }
            }
        }
        let count = before.as_ref().map_or(0, |b| b.count) + 1;
        Ok(Arc::new(Filter { program, log, before, count, cost: cost + bpf::COST_PER_FILTER, allowed }))
    }

    fn allows(&self, nr: u64) -> bool {
        let word = usize::try_from(nr / 64).ok().and_then(|i| self.allowed.get(i));
        word.is_some_and(|w| w & 1 << (nr % 64) != 0)
    }

    /// The strictest answer; the newest filter's where several are as strict (seccomp(2)).
    fn answer(&self, call: &Syscall) -> (u32, bool) {
        let data = SeccompData::x86_64(call.nr as u32, call.ip, &call.args);
        let (mut answer, mut log) = (ret::ALLOW, false);
        let mut next = Some(self);
        while let Some(filter) = next {
            let this = filter.program.run(&data);
            let strictest = ret::stricter(answer, this);
            if strictest != answer {
                (answer, log) = (strictest, filter.log);
            }
            next = filter.before.as_deref();
        }
        (answer, log)
    }
}

impl Drop for Filter {
    /// One after the other: a long chain must not become a deep recursion.
    fn drop(&mut self) {
        INSTRUCTIONS.fetch_sub(self.program.len(), Ordering::Relaxed);
        let mut next = self.before.take();
        while let Some(filter) = next {
            next = Arc::into_inner(filter).and_then(|mut f| f.before.take());
        }
    }
}

/// Whether `old` is `new`, or one of those before it.
fn is_before(old: Option<&Arc<Filter>>, new: Option<&Arc<Filter>>) -> bool {
    let Some(old) = old else { return true };
    let mut next = new;
    while let Some(filter) = next {
        if Arc::ptr_eq(old, filter) {
            return true;
        }
        next = filter.before.as_ref();
    }
    false
}

/// What one task carries.
#[derive(Default)]
pub struct Seccomp {
    mode: AtomicU8,
    filter: Mutex<Option<Arc<Filter>>>,
}

impl Seccomp {
    /// Whether a call must be looked at.
    pub fn is_on(&self) -> bool {
        self.mode.load(Ordering::Acquire) != MODE_NONE
    }
    /// 0, 1 (strict) or 2 (filters).
    pub fn mode(&self) -> u8 {
        self.mode.load(Ordering::Acquire)
    }
    /// How many filters there are.
    pub fn filters(&self) -> usize {
        self.filter.lock().as_ref().map_or(0, |f| f.count)
    }

    fn set(&self, mode: u8, filter: Option<Arc<Filter>>) {
        let old = std::mem::replace(&mut *self.filter.lock(), filter);
        self.mode.store(mode, Ordering::Release);
        drop(old);
    }
}

/// A new task has what its parent has. The caller holds the lock of the new task's group.
pub fn inherit(parent: &Arc<Task>, child: &Arc<Task>, thread: &Thread) {
    if !parent.seccomp.is_on() {
        return;
    }
    let filter = parent.seccomp.filter.lock().clone();
    child.seccomp.set(parent.seccomp.mode(), filter);
    thread.ask_always(true);
    // The parent may have been given this together with a filter, after its credentials were copied.
    if parent.cred().no_new_privs {
        forbid_new_privileges(child);
    }
}

fn forbid_new_privileges(task: &Task) {
    let mut cred = task.cred.write();
    if !cred.no_new_privs {
        Arc::make_mut(&mut cred).no_new_privs = true;
    }
}

/// `SECCOMP_SET_MODE_STRICT`: `EINVAL` where there are filters.
pub fn set_strict(task: &Arc<Task>) -> Result<()> {
    let _group = task.group.state.lock();
    if task.seccomp.mode() == MODE_FILTER {
        return Err(Errno::EINVAL);
    }
    task.seccomp.set(MODE_STRICT, None);
    task.thread().ask_always(true);
    Ok(())
}

/// Adds a filter to a task. With `all`, every thread of the group gets the task's filters: `Err(Ok(tid))` names one
/// whose own filters stand in the way.
pub fn add(
    task: &Arc<Task>,
    program: Program,
    log: bool,
    all: bool,
) -> std::result::Result<(), std::result::Result<i32, Errno>> {
    let group: &ThreadGroup = &task.group;
    let state = group.state.lock();
    if task.seccomp.mode() == MODE_STRICT {
        return Err(Err(Errno::EINVAL));
    }
    let before = task.seccomp.filter.lock().clone();
    let filter = Filter::new(program, log, before.clone()).map_err(Err)?;
    let others = || state.threads.iter().filter(|t| all && !Arc::ptr_eq(t, task));
    for other in others() {
        let theirs = other.seccomp.filter.lock().clone();
        if other.seccomp.mode() == MODE_STRICT || !is_before(theirs.as_ref(), before.as_ref()) {
            return Err(Ok(other.tid()));
        }
    }
    let privileges = !task.cred().no_new_privs;
    for t in others().chain(std::iter::once(task)) {
        t.seccomp.set(MODE_FILTER, Some(filter.clone()));
        if !privileges {
            forbid_new_privileges(t);
        }
        t.thread().ask_always(true);
    }
    Ok(())
}

/// What happens instead of a call.
pub enum Refusal {
    /// It returns this.
    Return(i64),
    /// SIGSYS, with the registers as the call had them.
    Trap(SigInfo),
    /// The thread ends, as by this signal.
    KillThread(Signo),
    /// The process ends by this signal.
    KillProcess(Signo),
}

/// Asks the task's filters, or strict mode. `None`: the call is made.
pub fn check(task: &Arc<Task>, call: &Syscall) -> Option<Refusal> {
    if task.seccomp.mode() == MODE_STRICT {
        // read, write, _exit, rt_sigreturn.
        let fine = [libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn];
        return (!fine.contains(&(call.nr as i64))).then_some(Refusal::KillThread(libc::SIGKILL));
    }
    let filter = task.seccomp.filter.lock().clone()?;
    if filter.allows(call.nr) {
        return None;
    }
    let (answer, log) = filter.answer(call);
    let data = answer & ret::DATA;
    if log && answer != ret::ALLOW {
        tracing::debug!(tid = task.tid(), nr = call.nr, answer, "a guest's own filter");
    }
    let nothing_there = || Refusal::Return(Errno::ENOSYS.to_ret());
    match answer & ret::ACTION {
        ret::ALLOW | ret::LOG => None,
        ret::ERRNO => Some(Refusal::Return(-i64::from(data.min(ret::MAX_ERRNO)))),
        ret::TRAP => {
            Some(Refusal::Trap(SigInfo::seccomp(data as u16, call.ip, call.nr as i32, bpf::ARCH_X86_64)))
        }
        // Without a tracer, and without a listener (there are none), seccomp(2) has ENOSYS.
        ret::TRACE | ret::USER_NOTIF => Some(nothing_there()),
        ret::KILL_THREAD if task.group.state.lock().threads.len() > 1 => {
            Some(Refusal::KillThread(libc::SIGSYS))
        }
        // Unknown actions, too.
        _ => Some(Refusal::KillProcess(libc::SIGSYS)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::sync::Arc;

    use policies::bpf::{opcode, ret, Program, SockFilter};

    use super::{is_before, Filter, INSTRUCTIONS};

    fn returns(k: u32) -> Program {
        Program::new(&[SockFilter::new(opcode::RET_K, 0, 0, k)]).expect("valid")
    }

    #[test]
    fn a_long_chain_is_dropped_without_recursion_and_gives_its_budget_back() {
        let before = INSTRUCTIONS.load(Ordering::Relaxed);
        let mut chain: Option<Arc<Filter>> = None;
        let mut count = 0;
        while let Ok(f) = Filter::new(returns(ret::ALLOW), false, chain.clone()) {
            count += 1;
            assert_eq!(f.count, count);
            chain = Some(f);
        }
        // 5 of the kernel's instructions and 4 for each one below.
        assert_eq!(count, (32768 - 5) / 9 + 1);
        let other = Filter::new(returns(ret::ALLOW), false, None).expect("fits");
        assert!(is_before(None, chain.as_ref()));
        assert!(!is_before(Some(&other), chain.as_ref()));
        let first = chain.as_ref().and_then(|c| c.before.clone());
        assert!(is_before(first.as_ref(), chain.as_ref()));
        assert!(!is_before(chain.as_ref(), first.as_ref()));
        drop((first, other));
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || drop(chain)).unwrap().join().unwrap();
        assert_eq!(INSTRUCTIONS.load(Ordering::Relaxed), before);
    }

    #[test]
    fn of_answers_that_are_as_strict_the_newest_wins() {
        let old = Filter::new(returns(ret::ERRNO | 1), false, None).expect("fits");
        let new = Filter::new(returns(ret::ERRNO | 2), false, Some(old)).expect("fits");
        assert_eq!(new.answer(&platform::Syscall::default()).0, ret::ERRNO | 2);
        assert!(!new.allows(0));
        let new = Filter::new(returns(ret::ALLOW), false, Some(new)).expect("fits");
        assert_eq!(new.answer(&platform::Syscall::default()).0, ret::ERRNO | 2);
        let open = Filter::new(returns(ret::ALLOW), false, None).expect("fits");
        assert!(open.allows(0) && open.allows(511) && !open.allows(512) && !open.allows(u64::MAX));
    }
}
