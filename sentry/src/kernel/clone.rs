//! fork, vfork, clone, clone3: new tasks (clone(2)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use linux_abi::Errno;
use parking_lot::Mutex;
use platform::{Action, CloneSpec, Reply, Thread};

use super::current::{Ctx, Restart, Stop};
use super::task::{NewTask, Task, TaskSignals, Then};
use super::thread_group::{GroupState, NewGroup, ThreadGroup};
use super::{ptrace, Kernel, SysResult};
use crate::cred::cap;
use crate::limits::resource;
use crate::signal::{AltStack, SigInfo, SigSet, SIG_IGN};
use crate::wait_queue::{PollEvents, WaitQueue};

/// What clone3's `struct clone_args` says, from whichever call.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: i32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub sp: u64,
    pub tls: u64,
}

/// A vfork parent's wait for its child to exec or end.
#[derive(Default)]
pub struct VforkWait {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkWait {
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake(PollEvents::IN);
    }
}

/// Kept while a vfork parent waits: the child's number, to return.
struct Waiting(i32, Arc<VforkWait>);

const KNOWN: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_PIDFD
    | libc::CLONE_VFORK
    | libc::CLONE_PARENT
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED
    | libc::CLONE_UNTRACED
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_IO
    | libc::CLONE_PTRACE) as u32 as u64
    | CLONE_CLEAR_SIGHAND;
pub const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32 as u64;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

fn has(flags: u64, bit: i32) -> bool {
    flags & bit as u32 as u64 != 0
}

/// Makes the child; returns its number to the parent.
pub fn clone(cx: &mut Ctx<'_>, args: CloneArgs) -> SysResult {
    if let Some(w) = cx.block.scratch.as_ref().and_then(|s| s.downcast_ref::<Waiting>()) {
        let (pid, wait) = (w.0, w.1.clone());
        return wait_vfork(cx, pid, &wait);
    }
    check(cx, &args)?;
    let counted = cx.kernel.count_clone()?;
    let share_vm = has(args.flags, libc::CLONE_VM);
    let paid = if share_vm { Default::default() } else { cx.task.mm().reserve_copy()? };
    let forking = if share_vm { None } else { Some(cx.task.mm().begin_fork(cx)?) };
    let tls = has(args.flags, libc::CLONE_SETTLS).then_some(args.tls);
    let spec = CloneSpec { share_vm, sp: args.sp, tls };
    Err(Stop::Clone(
        spec,
        Box::new(move |cx, made| {
            let made = made.and_then(|thread| {
                born(cx, &args, &thread).inspect_err(|_| thread.reply(Reply::ExitThread { clear_tid: 0 }))
            });
            drop((forking, paid, counted));
            let (child, vfork) = made?;
            match vfork {
                Some(wait) => {
                    cx.block.scratch = Some(Box::new(Waiting(child, wait.clone())));
                    if cx.task.ptrace.lock().is_some_and(|t| t.due.is_some()) {
                        // The tracer sees the child before its parent waits for it.
                        return Err(Stop::Traced);
                    }
                    wait_vfork(cx, child, &wait)
                }
                None => Ok(child as u64),
            }
        }),
    ))
}

fn wait_vfork(cx: &mut Ctx<'_>, child: i32, wait: &VforkWait) -> SysResult {
    loop {
        if wait.done.load(Ordering::SeqCst) {
            if let Some(mut t) = cx.task.ptrace.lock() {
                if t.has(ptrace::option::VFORK_DONE) {
                    t.due = Some((ptrace::event::VFORK_DONE, child as u64));
                }
            }
            return Ok(child as u64);
        }
        cx.wait(&[(&wait.queue, PollEvents::IN)], Restart::Killable)?;
    }
}

/// What a kernel without namespaces says; with CLONE_FS or the like it is `EINVAL` elsewhere too.
pub fn no_namespaces(cx: &Ctx<'_>) -> Errno {
    if cx.task.cred().has(crate::cred::cap::SYS_ADMIN) {
        Errno::EINVAL
    } else {
        Errno::EPERM
    }
}

/// The rules of clone(2), "ERRORS".
fn check(cx: &Ctx<'_>, args: &CloneArgs) -> Result<(), Errno> {
    let f = args.flags;
    if f & NAMESPACES != 0 {
        return Err(no_namespaces(cx));
    }
    let thread = has(f, libc::CLONE_THREAD);
    let bad = f & !KNOWN != 0
        || (has(f, libc::CLONE_SIGHAND) && !has(f, libc::CLONE_VM))
        || (thread && !has(f, libc::CLONE_SIGHAND))
        || (has(f, libc::CLONE_SIGHAND) && f & CLONE_CLEAR_SIGHAND != 0)
        || !(0..=64).contains(&args.exit_signal);
    if bad {
        return Err(Errno::EINVAL);
    }
    let tasks = cx.kernel.pids.lock().tasks.len() as u64;
    if tasks >= super::PID_MAX as u64 / 2 || over_nproc(cx, 0) {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// Whether the caller's user has used up `RLIMIT_NPROC`, or would with less than `spare` fewer tasks (getrlimit(2)): root
/// has no such limit, nor has who may go beyond limits.
pub fn over_nproc(cx: &Ctx<'_>, spare: u64) -> bool {
    let cred = cx.task.cred();
    let limit = cx.limit(resource::NPROC);
    if limit == u64::MAX || cred.uid == 0 || cred.has(cap::SYS_RESOURCE) || cred.has(cap::SYS_ADMIN) {
        return false;
    }
    let tasks: Vec<Arc<Task>> = cx.kernel.pids.lock().tasks.values().cloned().collect();
    tasks.iter().filter(|t| t.cred().uid == cred.uid).count() as u64 >= limit.saturating_add(spare)
}

type Born = (i32, Option<Arc<VforkWait>>);

/// Makes the task for a host thread that has come, and lets it go.
fn born(cx: &mut Ctx<'_>, args: &CloneArgs, thread: &Arc<Thread>) -> Result<Born, Errno> {
    let f = args.flags;
    let parent = cx.task;
    let kernel = cx.kernel;
    let share_vm = has(f, libc::CLONE_VM);
    let is_thread = has(f, libc::CLONE_THREAD);

    let tid = kernel.allocate_pid()?;
    let group = if is_thread { parent.group.clone() } else { new_group(cx, args, tid) };
    if !is_thread && dying(&parent.group) {
        // Whoever kills many looks for children of theirs, and must not miss one that comes now.
        unborn(kernel, &group);
        return Err(Errno::EAGAIN);
    }
    let mm = if share_vm { parent.mm() } else { parent.mm().fork_copy(thread.space().clone()) };
    let not_forked = if share_vm { Vec::new() } else { parent.mm().with_table(|t| t.not_forked()) };
    let files = if has(f, libc::CLONE_FILES) { parent.files() } else { Arc::new(parent.files().duplicate()) };
    let fs = if has(f, libc::CLONE_FS) { parent.fs() } else { Arc::new(parent.fs().duplicate()) };
    let (mask, altstack) = {
        let sig = parent.sig.lock();
        (sig.mask, sig.altstack)
    };
    // A thread that shares memory but is no vfork child starts without an alternate stack (sigaltstack(2)).
    let altstack = if share_vm && !has(f, libc::CLONE_VFORK) { AltStack::default() } else { altstack };
    let child = Task::new(
        kernel,
        NewTask {
            tid,
            group: group.clone(),
            thread: thread.clone(),
            mm,
            files,
            fs,
            cred: parent.cred(),
            sig: TaskSignals { mask, altstack, ..Default::default() },
            name: parent.name.lock().clone(),
        },
    );
    child.extras.inherit(&parent.extras);
    if !is_thread {
        group.extras.inherit(&parent.group.extras);
    }
    if has(f, libc::CLONE_CHILD_CLEARTID) {
        child.clear_child_tid.store(args.child_tid, Ordering::SeqCst);
    }
    let vfork = has(f, libc::CLONE_VFORK).then(|| Arc::new(VforkWait::default()));
    *child.vfork_done.lock() = vfork.clone();

    if has(f, libc::CLONE_PIDFD) {
        let made = crate::kernel::hooks::pidfd(cx, &group).and_then(|fd| {
            cx.mem.write(args.pidfd, &fd.to_le_bytes()).inspect_err(|_| drop(cx.task.files().remove(fd)))
        });
        if let Err(e) = made {
            if !is_thread {
                unborn(kernel, &group);
            }
            return Err(e);
        }
    }
    if has(f, libc::CLONE_PARENT_SETTID) {
        // A bad address is no error (kernel_clone), here and below. In shared memory the word is the child's as well
        // (glibc's join waits for its end there), so it is written at once: with the parent's reply it could come
        // after the child has run, ended and cleared it.
        let word = tid.to_le_bytes();
        let space = if share_vm { thread.space().clone() } else { parent.mm().space.clone() };
        let _ = space.write(args.parent_tid, &word);
    }
    if has(f, libc::CLONE_CHILD_SETTID) {
        // A bad address is the child's own trouble, and Linux tells nobody either.
        let _ = thread.mem().write(args.child_tid, &tid.to_le_bytes());
    }
    follow(parent, &child, args);
    let leaving = {
        let mut s = group.state.lock();
        // Under the lock that a thread holds which puts a filter upon all: none is missed.
        super::seccomp::inherit(parent, &child, thread);
        s.threads.push(child.clone());
        s.exiting.is_some() || s.stopped.is_some() || child.ptrace.is_on()
    };
    // A signal that was sent to the process before it had a thread found nobody to tell.
    let leaving = leaving || !is_thread && group.pending.lock().set() != SigSet::default();
    kernel.pids.lock().tasks.insert(tid, child.clone());
    if leaving {
        child.attention.store(true, Ordering::SeqCst);
    }
    kernel.forks.fetch_add(1, Ordering::Relaxed);
    let unmap: Vec<_> =
        not_forked.iter().map(|(start, end)| Action::Unmap { addr: *start, len: end - start }).collect();
    if !unmap.is_empty() {
        child.run.lock().then = Some(Then::Actions(Box::new(|_, done| match done {
            Ok(()) => Ok(0),
            Err((_, e)) => Err(e.into()),
        })));
    }
    thread.set_cookie(child.clone());
    thread.reply(if unmap.is_empty() { Reply::Return(0) } else { Reply::Act(unmap) });
    if leaving {
        child.kick();
    }
    Ok((tid, vfork))
}

/// Whether a process has been told to end.
fn dying(group: &ThreadGroup) -> bool {
    group.state.lock().exiting.is_some() || group.pending.lock().set().contains(libc::SIGKILL)
}

/// A child of a traced thread is traced too, where its tracer follows this kind of child (ptrace(2), `PTRACE_O_*`), and
/// stops before its first instruction.
fn follow(parent: &Arc<Task>, child: &Arc<Task>, args: &CloneArgs) {
    if has(args.flags, libc::CLONE_UNTRACED) {
        return;
    }
    let (option, event) = if has(args.flags, libc::CLONE_VFORK) {
        (ptrace::option::VFORK, ptrace::event::VFORK)
    } else if args.exit_signal == libc::SIGCHLD {
        (ptrace::option::FORK, ptrace::event::FORK)
    } else {
        (ptrace::option::CLONE, ptrace::event::CLONE)
    };
    let trace = parent.ptrace.lock().and_then(|mut t| {
        if !t.has(option) && !has(args.flags, libc::CLONE_PTRACE) {
            return None;
        }
        if t.has(option) {
            t.due = Some((event, child.tid() as u64));
        }
        let tracer = t.tracer.upgrade()?;
        let mut trace = ptrace::Trace::new(&tracer, t.seized, t.options);
        trace.interrupt = t.seized;
        Some((tracer, trace))
    });
    let Some((tracer, trace)) = trace else { return };
    let seized = trace.seized;
    // The child is ours alone still: nobody else can have attached.
    if ptrace::attach(&tracer, child, trace).is_ok() && !seized {
        child.sig.lock().pending.push(SigInfo::user(libc::SIGSTOP, 0, 0, 0));
    }
}

fn new_group(cx: &Ctx<'_>, args: &CloneArgs, pid: i32) -> Arc<ThreadGroup> {
    let old = &cx.task.group;
    let actions = old.sighand.read().clone();
    let sighand = if has(args.flags, libc::CLONE_SIGHAND) {
        actions
    } else {
        let mut copy = actions.lock().clone();
        if args.flags & CLONE_CLEAR_SIGHAND != 0 {
            copy.actions.iter_mut().filter(|a| a.handler != SIG_IGN).for_each(|a| *a = Default::default());
        }
        Arc::new(Mutex::new(copy))
    };
    let (pgid, sid, tty, grandparent, own_signal) = {
        let s = old.state.lock();
        (s.pgid, s.sid, s.tty.clone(), s.parent.clone(), s.exit_signal)
    };
    let sibling = has(args.flags, libc::CLONE_PARENT);
    let parent = if sibling { grandparent } else { Arc::downgrade(old) };
    // A sibling ends as its maker does (clone(2), `CLONE_PARENT`).
    let exit_signal = if sibling { own_signal } else { args.exit_signal };
    let state = GroupState {
        parent: parent.clone(),
        pgid,
        sid,
        tty,
        exit_signal,
        maker: if sibling { old.state.lock().maker } else { cx.task.tid() },
        ..Default::default()
    };
    let limits = old.limits.read().clone();
    let signal_wait = old.signal_wait.clone();
    let new = NewGroup { pid, sighand, limits, state, signal_wait };
    let group = ThreadGroup::new(Arc::downgrade(cx.kernel), new);
    *group.exe.lock() = cx.task.group.exe.lock().clone();
    super::cpu::watch_limit(cx.kernel, &group);
    cx.kernel.pids.lock().groups.insert(pid, group.clone());
    if let Some(p) = parent.upgrade() {
        p.state.lock().children.push(group.clone());
    }
    group
}

/// A group that gets no thread after all.
fn unborn(kernel: &Kernel, group: &Arc<ThreadGroup>) {
    let parent = group.state.lock().parent.upgrade();
    kernel.reap(group);
    if let Some(p) = parent {
        p.child_wait.wake(PollEvents::IN);
    }
}

/// A clone under way, which counts as a task until the task itself does.
struct Counted(Arc<Kernel>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.cloning.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Kernel {
    /// Tasks as `--pids` counts them: threads, and processes that nobody has waited for.
    pub fn task_count(&self) -> u64 {
        let pids = self.pids.lock();
        let zombies = pids.groups.values().filter(|g| g.state.lock().zombie.is_some()).count();
        (pids.tasks.len() + zombies) as u64
    }

    /// Counts one task that is about to be, or `EAGAIN` (as the pids controller of a control group has it).
    fn count_clone(self: &Arc<Kernel>) -> Result<Counted, Errno> {
        let under_way = self.cloning.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        match self.limits.pids {
            Some(most) if self.task_count() + under_way >= most => {
                self.clones_refused.fetch_add(1, Ordering::Relaxed);
                Err(Errno::EAGAIN)
            }
            _ => Ok(counted),
        }
    }

    /// A free number, rising and wrapping as Linux's do; `EAGAIN` where none is left.
    pub fn allocate_pid(&self) -> Result<i32, Errno> {
        let mut pids = self.pids.lock();
        for _ in 0..super::PID_MAX {
            let mut n = pids.last + 1;
            if n >= super::PID_MAX {
                n = 300;
            }
            pids.last = n;
            let session = pids.groups.values().any(|g| {
                let s = g.state.lock();
                s.pgid == n || s.sid == n
            });
            if !pids.tasks.contains_key(&n) && !pids.groups.contains_key(&n) && !session {
                return Ok(n);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// The thread groups whose state fits.
    pub fn groups_where(&self, fits: impl Fn(&GroupState) -> bool) -> Vec<Arc<ThreadGroup>> {
        let all: Vec<_> = self.pids.lock().groups.values().cloned().collect();
        all.into_iter().filter(|g| g.pid != super::INIT_PID && fits(&g.state.lock())).collect()
    }
}
