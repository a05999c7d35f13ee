//! A task: one guest thread, as others see it. What only the running handler may touch is in [`RunState`].

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use platform::{Syscall, Thread};

use super::current::{ThenActions, ThenClone};
use super::fs_context::FsContext;
use super::thread_group::ThreadGroup;
use super::Kernel;
use crate::cred::Cred;
use crate::mm::AddressSpace;
use crate::signal::{AltStack, PendingQueue, SigSet, Signo};
use crate::time::Armed;
use crate::vfs::FdTable;
use crate::wait_queue::{PollEvents, Registration, Waiter};

/// Signal state of one thread.
#[derive(Default)]
pub struct TaskSignals {
    pub pending: PendingQueue,
    pub mask: SigSet,
    /// The mask to come back to once a signal has been delivered (sigsuspend, ppoll, pselect, epoll_pwait).
    pub saved_mask: Option<SigSet>,
    pub altstack: AltStack,
    /// What sigtimedwait waits for: these are wanted although blocked.
    pub awaited: SigSet,
}

/// Where a task is in its life with the ready list.
const RUNNING: u8 = 0;
const BLOCKED: u8 = 1;
const WOKEN: u8 = 2;
const QUEUED: u8 = 3;

/// State of a call that waits, kept between the runs of its handler.
#[derive(Default)]
pub struct BlockState {
    /// `CLOCK_MONOTONIC` at which the wait ends; set by the first run.
    pub deadline: Option<u64>,
    /// What the handler has done so far (bytes written, say).
    pub progress: u64,
    /// Whatever else a handler keeps between runs.
    pub scratch: Option<Box<dyn Any + Send>>,
    /// How often the handler has run for this call before.
    pub runs: u32,
    pub(crate) places: Vec<Registration>,
    pub(crate) timer: Option<Armed>,
}

/// What is to be done when the platform reports.
pub enum Then {
    Actions(ThenActions),
    Clone(ThenClone),
}

/// How a task goes back to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Return(i64),
    /// Registers as they are.
    Continue,
    /// Make the call again.
    Restart,
    Sigreturn,
    /// Let the stub make the call again (a local one that was cut short for nothing).
    Local,
}

/// What a traced thread was about to do when it stopped.
#[derive(Debug)]
pub enum Point {
    /// Make the call.
    Call,
    /// Go back to the guest.
    Back(Outcome),
    /// Look at the signals that interrupted a waiting call, then go on waiting or not.
    Interrupted(super::current::Restart),
    /// Call the handler again.
    Again,
    /// Start the new program.
    Enter(Box<platform::Regs>),
    /// End.
    Leave(super::thread_group::ExitStatus),
}

/// What belongs to whoever runs the task's handler; at most one thread does.
#[derive(Default)]
pub struct RunState {
    pub call: Syscall,
    pub block: BlockState,
    pub then: Option<Then>,
    /// How the guest goes on once its group, now stopped, is continued.
    pub parked: Option<Outcome>,
    /// The signal whose frame the last reply asked for, and the mask before it.
    pub delivered: Option<(Signo, SigSet)>,
    /// The task has left; late events are dropped.
    pub dead: bool,
    /// Where a traced thread goes on once its tracer lets it.
    pub point: Option<Point>,
    /// The stub puts registers in place first, then that is where it goes on.
    pub prepared: Option<Point>,
    /// The stub writes what the tracer wants written.
    pub poking: bool,
    /// The stub puts a call's results in place; then the traced thread stops at the call's exit.
    pub flushed: Option<i64>,
    /// A traced thread has returned from a handler; it stops once its registers are back.
    pub sigreturning: bool,
    /// A traced thread is in a call whose exit its tracer has not seen.
    pub in_call: bool,
}

pub struct Task {
    /// Changes once at most: a thread that execs becomes the leader of its group.
    tid: AtomicI32,
    pub kernel: Weak<Kernel>,
    pub group: Arc<ThreadGroup>,
    /// The host thread that runs it; another one after exec.
    pub thread: RwLock<Arc<Thread>>,
    pub mm: RwLock<Arc<AddressSpace>>,
    pub files: RwLock<Arc<FdTable>>,
    pub fs: RwLock<Arc<FsContext>>,
    pub cred: RwLock<Arc<Cred>>,
    pub sig: Mutex<TaskSignals>,
    /// Set where signals (or an end, or a stop) may have to be looked at before the guest goes on.
    pub attention: AtomicBool,
    /// `sig.saved_mask` is set.
    pub mask_saved: AtomicBool,
    /// The thread is to leave although its group goes on (another thread execs).
    pub must_leave: AtomicBool,
    pub run: Mutex<RunState>,
    /// `comm`: at most 15 bytes.
    pub name: Mutex<Vec<u8>>,
    pub clear_child_tid: AtomicU64,
    pub robust_list: AtomicU64,
    /// The filters that it has put upon itself, or was born with.
    pub seccomp: super::seccomp::Seccomp,
    /// Scheduling parameters and the like.
    pub extras: super::extras::TaskExtras,
    pub ptrace: super::ptrace::Tracing,
    /// Registers that a tracer changed before it detached.
    pub left_view: Mutex<Option<super::ptrace::View>>,
    /// A vfork parent that waits for this child to exec or end.
    pub vfork_done: Mutex<Option<Arc<super::clone::VforkWait>>>,
    sched: AtomicU8,
    waker: Arc<TaskWaker>,
}

/// Puts its task on the ready list when told.
struct TaskWaker(Weak<Task>);

impl Waiter for TaskWaker {
    fn notify(&self, _events: PollEvents) {
        if let Some(t) = self.0.upgrade() {
            t.wake();
        }
    }
}

/// What a new task is made of.
pub struct NewTask {
    pub tid: i32,
    pub group: Arc<ThreadGroup>,
    pub thread: Arc<Thread>,
    pub mm: Arc<AddressSpace>,
    pub files: Arc<FdTable>,
    pub fs: Arc<FsContext>,
    pub cred: Arc<Cred>,
    pub sig: TaskSignals,
    pub name: Vec<u8>,
}

impl Task {
    pub fn new(kernel: &Arc<Kernel>, new: NewTask) -> Arc<Task> {
        Arc::new_cyclic(|me| Task {
            tid: AtomicI32::new(new.tid),
            kernel: Arc::downgrade(kernel),
            group: new.group,
            thread: RwLock::new(new.thread),
            mm: RwLock::new(new.mm),
            files: RwLock::new(new.files),
            fs: RwLock::new(new.fs),
            cred: RwLock::new(new.cred),
            sig: Mutex::new(new.sig),
            attention: AtomicBool::new(false),
            mask_saved: AtomicBool::new(false),
            must_leave: AtomicBool::new(false),
            run: Mutex::new(RunState::default()),
            name: Mutex::new(new.name),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            seccomp: Default::default(),
            extras: Default::default(),
            ptrace: Default::default(),
            left_view: Mutex::new(None),
            vfork_done: Mutex::new(None),
            sched: AtomicU8::new(RUNNING),
            waker: Arc::new(TaskWaker(me.clone())),
        })
    }

    /// The thread's number.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }
    /// It takes over another number; the tables are the caller's to mend.
    pub(super) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    pub fn cred(&self) -> Arc<Cred> {
        self.cred.read().clone()
    }
    /// Gives the task a descriptor table of its own. One that is its own already stays the same: record locks belong
    /// to it (fcntl(2): "preserved across an execve").
    pub fn unshare_files(&self) {
        let before = {
            let mut files = self.files.write();
            (Arc::strong_count(&files) > 1).then(|| {
                let private = Arc::new(files.duplicate());
                std::mem::replace(&mut *files, private)
            })
        };
        drop(before);
    }
    /// Gives the task a root, a working directory and a umask of its own.
    pub fn unshare_fs(&self) {
        let mut fs = self.fs.write();
        if Arc::strong_count(&fs) > 1 {
            let private = Arc::new(fs.duplicate());
            *fs = private;
        }
    }
    pub fn files(&self) -> Arc<FdTable> {
        self.files.read().clone()
    }
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }
    pub fn mm(&self) -> Arc<AddressSpace> {
        self.mm.read().clone()
    }
    pub fn thread(&self) -> Arc<Thread> {
        self.thread.read().clone()
    }
    /// What queues tell.
    pub fn waker(&self) -> Arc<dyn Waiter> {
        self.waker.clone()
    }

    /// Ends a wait: the handler will be called again. Harmless at any time.
    pub fn wake(self: &Arc<Task>) {
        loop {
            match self.sched.load(Ordering::SeqCst) {
                BLOCKED => {
                    if self
                        .sched
                        .compare_exchange(BLOCKED, QUEUED, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                    {
                        if let Some(k) = self.kernel.upgrade() {
                            k.ready.push(self.clone());
                        }
                        return;
                    }
                }
                RUNNING => {
                    if self.sched.compare_exchange(RUNNING, WOKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
                    {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// The handler begins (again).
    pub(crate) fn set_running(&self) {
        self.sched.store(RUNNING, Ordering::SeqCst);
    }

    /// The handler wants to wait: `false` where it was woken meanwhile and must run again at once.
    pub(crate) fn set_blocked(&self) -> bool {
        self.sched.compare_exchange(RUNNING, BLOCKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether it waits in a call.
    pub fn is_blocked(&self) -> bool {
        self.sched.load(Ordering::SeqCst) == BLOCKED
    }

    /// Makes the task look at its signals soon, wherever it is.
    pub fn kick(self: &Arc<Task>) {
        self.attention.store(true, Ordering::SeqCst);
        self.wake();
        self.thread().interrupt();
    }
}
