//! A guest thread: its state between events, and how replies are written to its slot.
//!
//! Lock order: `Thread::inner`, then `Thread::io`, then the tables of [`Core`] or `Space::state`. No lock is held
//! while the kernel is called.

use std::any::Any;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::Arc;

use linux_abi::Errno;
use parking_lot::{Mutex, MutexGuard};

use crate::actions::{Progress, Step};
use crate::core::Core;
use crate::listener::Notif;
use crate::mem::{Io, Mem};
use crate::slot::*;
use crate::{Ending, Event, Fault, Regs, Reply, Resume, SignalFrame, Space, Syscall};

/// The legacy part of the floating-point state, and more than any processor has in all.
const FP_MIN: usize = 512;
const FP_MAX: usize = 16 * 1024;
const RW: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;

/// A guest thread: a host thread of a stub, its slot, its registers.
pub struct Thread {
    id: u64,
    space: Arc<Space>,
    index: usize,
    tid: i32,
    /// It holds this thread in its turn, so it is let go when the thread has gone: else neither would ever be freed.
    cookie: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    inner: Mutex<Inner>,
    io: Mutex<Io>,
    /// Recent doorbells, for the spinning worker.
    pub(crate) rings: crate::spin::Rings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The guest, or the stub, runs; it owns the slot.
    Running,
    /// It posted an event and waits; we own the slot.
    Waiting,
    /// It was told to end, or its process ended.
    Gone,
}

/// What the stub was told to do besides going on.
pub(crate) enum Op {
    None,
    Act(Progress),
    /// The token of the clone under way.
    Clone(u64),
    /// A clone that could not even be tried.
    NoClone(Errno),
}

struct Inner {
    phase: Phase,
    /// The doorbell that waits with the thread, if it did not spin.
    notif: Option<u64>,
    op: Op,
}

/// What an event that was taken from a slot leads to.
pub(crate) enum Taken {
    /// Nothing: it was handled here, or there was none.
    Nothing,
    Deliver(Event),
    /// The parent of a clone is back with this result.
    Cloned(u64, i64),
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({}, tid {})", self.id, self.tid)
    }
}

impl Thread {
    /// A thread whose host thread runs (the zygote), or waits for its first reply.
    pub(crate) fn new(space: &Arc<Space>, index: usize, tid: i32, waiting: bool) -> Arc<Thread> {
        let phase = if waiting { Phase::Waiting } else { Phase::Running };
        if !waiting {
            space.core().ran(1);
        }
        space.slots.slot(index).ask.store(0, Relaxed);
        Arc::new(Thread {
            id: space.core().next_id(),
            space: space.clone(),
            index,
            tid,
            cookie: Mutex::new(None),
            inner: Mutex::new(Inner { phase, notif: None, op: Op::None }),
            io: Mutex::new(Io::default()),
            rings: crate::spin::Rings::default(),
        })
    }

    /// A number that is never given twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// The kernel's own word on this thread (its task), set once after creation.
    pub fn set_cookie(&self, cookie: Arc<dyn Any + Send + Sync>) {
        // A second word is ignored, as documented.
        self.cookie.lock().get_or_insert(cookie);
    }

    pub fn cookie(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.cookie.lock().clone()
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    pub(crate) fn slot(&self) -> &Slot {
        self.space.slots.slot(self.index)
    }

    pub(crate) fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock()
    }

    fn core(&self) -> &Arc<Core> {
        self.space.core()
    }

    /// Registers as they stood at the last event. Only between an event and its reply.
    pub fn regs(&self) -> Regs {
        let mut io = self.io.lock();
        *io.regs.get_or_insert_with(|| load_regs(self.slot()))
    }

    /// The floating-point state as the guest's processor has it (the layout of `XSAVE` in a signal frame), where there
    /// is any. Only between an event and its reply.
    pub fn fp_state(&self) -> Option<Vec<u8>> {
        let mut state = vec![0; FP_MAX];
        let at = self.fp_place(FP_MIN)?;
        let room = (crate::slot::AREAS + ((self.index + 1) * crate::slot::AREA_LEN) as u64 - at) as usize;
        let len = state.len().min(room);
        let n = crate::mem::vm_read_own(self.tid, at, &mut state[..len]);
        state.truncate(n);
        (n >= FP_MIN).then_some(state)
    }

    /// Changes the first bytes of what [`Thread::fp_state`] gave.
    pub fn set_fp_state(&self, state: &[u8]) -> bool {
        let place = self.fp_place(state.len());
        state.len() <= FP_MAX && place.is_some_and(|at| crate::mem::vm_write_own(self.tid, at, state))
    }

    /// Where the stub says that it keeps it, if `len` bytes from there lie in this thread's own area.
    fn fp_place(&self, len: usize) -> Option<u64> {
        let at = self.slot().fpstate.load(Relaxed);
        let area = crate::slot::AREAS + (self.index * crate::slot::AREA_LEN) as u64;
        let end = at.checked_add(len as u64)?;
        (at >= area && end <= area + crate::slot::AREA_LEN as u64).then_some(at)
    }

    /// Access to guest memory for the call that the thread waits on.
    pub fn mem(&self) -> Mem<'_> {
        Mem { thread: self }
    }

    /// CPU time (user, system) of this host thread in nanoseconds. Of a process with several threads the host tells
    /// us only the sum, which is what each of them then gets.
    pub fn cpu_time(&self) -> (u64, u64) {
        self.space.cpu_time()
    }

    /// Whether calls with [`CallShape::LOCAL`](crate::CallShape::LOCAL) come as [`Event::Syscall`] as well (answer them
    /// with [`Reply::Local`]): for a thread whose calls are filtered. Holds from its next call on.
    pub fn ask_always(&self, yes: bool) {
        self.slot().ask.store(u32::from(yes), Relaxed);
    }

    /// Whether it seems to run guest code now, rather than to wait for a reply or to sleep in a local call: a hint, for
    /// the word is in the slot. A guest that lies deceives itself.
    pub fn in_guest(&self) -> bool {
        self.inner.lock().phase == Phase::Running && self.slot().asleep.load(Relaxed) == 0
    }

    /// Makes the thread come to the kernel soon: [`Event::Interrupted`] if it runs guest code,
    /// [`Event::LocalDone`] if it sleeps in a local call, nothing if it already waits for a reply (the kernel looks
    /// at its signals before it replies). May be called at any time, from any thread; calls are merged.
    pub fn interrupt(&self) {
        // Under the lock, so that it is not sent for a reply that is just being given up.
        let inner = self.inner.lock();
        if inner.phase == Phase::Running {
            self.space.signal_thread(self.tid, SIGINTERRUPT);
        }
    }

    /// As [`Thread::interrupt`], for a thread that waits for a reply: it comes back before its next guest instruction,
    /// since the interrupt stays blocked until the stub goes back to the guest. Nothing for a thread that runs.
    pub fn interrupt_on_return(&self) {
        let inner = self.inner.lock();
        if inner.phase == Phase::Waiting {
            self.space.signal_thread(self.tid, SIGINTERRUPT);
        }
    }

    /// The thread's doorbell rang, or its slot was seen posted (no notification then): takes the event, if there is
    /// a new one. Otherwise the doorbell is answered, or kept until the reply.
    pub(crate) fn take(&self, notif: Option<u64>) -> Taken {
        let mut inner = self.inner.lock();
        match inner.phase {
            Phase::Running if self.slot().state.load(Acquire) == POSTED => {
                inner.phase = Phase::Waiting;
                inner.notif = notif;
                self.slot().state.store(TAKEN, Relaxed);
                self.core().ran(-1);
                self.event(inner)
            }
            Phase::Waiting => {
                if notif.is_some() {
                    inner.notif = notif;
                }
                Taken::Nothing
            }
            // The other worker was faster: the stub looks at its slot again.
            Phase::Running | Phase::Gone => {
                drop(inner);
                if let Some(id) = notif {
                    self.core().listener.answer(id);
                }
                Taken::Nothing
            }
        }
    }

    /// Reads the posted event: each field once.
    fn event(&self, mut inner: MutexGuard<'_, Inner>) -> Taken {
        let slot = self.slot();
        let word = |i: usize| slot.ev[i].load(Relaxed);
        let kind = slot.kind.load(Relaxed);
        let went_on =
            matches!(&inner.op, Op::Act(progress) if progress.ending.is_some() && progress.is_last());
        if went_on && kind != EV_ACTIONS_DONE {
            inner.op = Op::None;
        }
        {
            let mut io = self.io.lock();
            let (len, count) = (slot.in_len.load(Relaxed) as usize, slot.in_count.load(Relaxed) as usize);
            io.reset(self.space.slots.data(self.index), len, count);
        }
        let event = match kind {
            EV_SYSCALL => Event::Syscall(load_call(slot)),
            EV_FAULT => Event::Fault(Fault {
                signo: word(0) as i32,
                code: word(1) as i32,
                addr: word(2),
                trapno: word(3),
                error: word(4),
                ip: slot.regs[RIP].load(Relaxed),
                sp: slot.regs[RSP].load(Relaxed),
            }),
            EV_INTERRUPTED => Event::Interrupted,
            EV_LOCAL_DONE => {
                Event::LocalDone { call: load_call(slot), ret: word(0) as i64, interrupted: word(1) != 0 }
            }
            EV_BAD_FRAME => Event::BadFrame,
            EV_ACTIONS_DONE => match &mut inner.op {
                Op::Act(progress) => match progress.report(word(0), word(1)) {
                    Step::More => {
                        self.send_batch(inner);
                        return Taken::Nothing;
                    }
                    Step::Done(result) => {
                        inner.op = Op::None;
                        Event::ActionsDone(result)
                    }
                },
                Op::NoClone(errno) => {
                    let errno = *errno;
                    inner.op = Op::None;
                    Event::Cloned(Err(errno))
                }
                _ => return self.tampered("actions done that nobody asked for"),
            },
            EV_CLONED => match inner.op {
                Op::Clone(token) => return Taken::Cloned(token, word(0) as i64),
                _ => return self.tampered("a clone that nobody asked for"),
            },
            _ => return self.tampered("unknown event"),
        };
        if !matches!(inner.op, Op::None) {
            return self.tampered("an event in the middle of an operation");
        }
        Taken::Deliver(event)
    }

    fn tampered(&self, what: &str) -> Taken {
        self.space.kill_tampered(what);
        Taken::Nothing
    }

    /// The clone under way is over, whatever came of it.
    pub(crate) fn clone_over(&self) {
        self.inner.lock().op = Op::None;
    }

    /// Whether this thread may make this call now, as the operation that it has open: `clone`, `mmap`, and where
    /// mappings are gated `mprotect` and `mremap`.
    pub(crate) fn allow(&self, notif: &Notif, nr: u64) {
        let core = self.core();
        let is_clone = nr == libc::SYS_clone as u64;
        if nr == libc::SYS_mmap as u64 && self.is_own_slots(&notif.args) {
            // A fork child maps its slots once, before or after its first reply is written there.
            if let Some(fd) = self.space.state.lock().fd.take() {
                return core.let_map(self, notif, fd.as_fd());
            }
        }
        let mut inner = self.inner.lock();
        match &mut inner.op {
            Op::Clone(token) if is_clone && core.clone_allowed(*token, &notif.args) => {
                core.listener.proceed(notif.id)
            }
            // A new thread's private area, which the parent maps before it clones.
            Op::Clone(token) if nr == libc::SYS_mmap as u64 && core.area_allowed(*token, &notif.args) => {
                core.listener.proceed(notif.id)
            }
            Op::Act(progress)
                if progress.asked.front().is_some_and(|a| a.nr == nr && a.args == notif.args) =>
            {
                match progress.asked.pop_front().and_then(|a| a.file) {
                    Some(file) => core.let_map(self, notif, file.as_fd()),
                    None => core.listener.proceed(notif.id),
                }
            }
            _ => core.listener.refuse(notif.id, libc::EPERM),
        }
    }

    fn is_own_slots(&self, args: &[u64; 6]) -> bool {
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        *args == [SLOTS, SLOTS_LEN as u64, RW, flags, self.index as u64, 0]
    }

    /// Answers the event that this thread waits on.
    pub fn reply(&self, reply: Reply) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Waiting {
            return;
        }
        let slot = self.slot();
        let kind = match reply {
            Reply::Return(value) => {
                slot.ret.store(value as u64, Relaxed);
                RE_RETURN
            }
            Reply::Continue => RE_CONTINUE,
            Reply::Restart => RE_RESTART,
            Reply::Signal(frame) => {
                self.write_signal(slot, &frame);
                RE_SIGNAL
            }
            Reply::Sigreturn => RE_SIGRETURN,
            Reply::Enter(regs) => {
                store_regs(slot, &regs);
                RE_ENTER
            }
            Reply::SetRegs(regs) => {
                store_regs(slot, &regs);
                // The registers are read back from the slot from now on.
                self.io.lock().regs = None;
                inner.op = Op::Act(Progress::new(Vec::new(), false, None));
                RE_SET_REGS
            }
            Reply::Act(actions) => {
                inner.op = Op::Act(Progress::new(actions, self.core().gated, None));
                return self.send_batch(inner);
            }
            Reply::ActThen(actions, ending) => {
                inner.op = Op::Act(Progress::new(actions, self.core().gated, Some(ending)));
                return self.send_batch(inner);
            }
            Reply::Clone(spec) => match self.core().clone_begin(self, spec) {
                Ok(token) => {
                    crate::spin::release(self.core(), self);
                    inner.op = Op::Clone(token);
                    RE_CLONE
                }
                Err(errno) => {
                    // An empty list of actions makes the thread come back, and only then is there an event.
                    inner.op = Op::NoClone(errno);
                    for arg in &slot.args[..3] {
                        arg.store(0, Relaxed);
                    }
                    RE_ACT
                }
            },
            Reply::Local { report } => {
                slot.args[0].store(u64::from(report), Relaxed);
                RE_LOCAL
            }
            Reply::ExitThread { clear_tid } => {
                slot.args[0].store(clear_tid, Relaxed);
                self.core().leave(self);
                self.space.leave(self.index);
                self.send(slot, RE_EXIT);
                inner.phase = Phase::Gone;
                self.wake(inner);
                return self.forget();
            }
        };
        self.send(slot, kind);
        inner.phase = Phase::Running;
        self.core().ran(1);
        self.wake(inner);
    }

    fn send_batch(&self, mut inner: MutexGuard<'_, Inner>) {
        let slot = self.slot();
        let Op::Act(progress) = &mut inner.op else { return };
        let from = self.io.lock().out_end;
        let count = progress.encode(self.space.slots.data(self.index), from, self.index as u64);
        let (then, value) = match &progress.ending {
            Some(Ending::Return(value)) if progress.is_last() => (THEN_RETURN, *value as u64),
            Some(Ending::Enter(regs)) if progress.is_last() => {
                store_regs(slot, regs);
                (THEN_ENTER, 0)
            }
            _ => (THEN_REPORT, 0),
        };
        for (to, word) in slot.args.iter().zip([count as u64, from as u64, then, value]) {
            to.store(word, Relaxed);
        }
        self.send(slot, RE_ACT);
        inner.phase = Phase::Running;
        self.core().ran(1);
        self.wake(inner);
    }

    /// Publishes a reply whose arguments are written.
    fn send(&self, slot: &Slot, kind: u32) {
        let io = self.io.lock();
        let end = if io.out_end > io.out_start { io.out_end } else { 0 };
        slot.out_off.store(io.out_start as u32, Relaxed);
        slot.out_end.store(end as u32, Relaxed);
        slot.reply.store(kind, Relaxed);
        slot.state.store(ANSWERED, Release);
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let notif = inner.notif.take();
        drop(inner);
        if let Some(id) = notif {
            self.core().listener.answer(id);
        }
    }

    fn write_signal(&self, slot: &Slot, frame: &SignalFrame) {
        let (resume, value) = match frame.resume {
            Resume::AsIs => (RESUME_AS_IS, 0),
            Resume::Return(value) => (RESUME_RETURN, value),
            Resume::Restart => (RESUME_RESTART, 0),
        };
        let words = [
            frame.signo as u64,
            frame.handler,
            frame.restorer,
            u64::from(frame.stack_top.is_some()),
            frame.stack_top.unwrap_or(0),
            frame.saved_stack.0,
            frame.saved_stack.1 as u32 as u64,
            frame.saved_stack.2,
            frame.saved_mask,
            resume,
            value as u64,
        ];
        for (to, word) in slot.args.iter().zip(words) {
            to.store(word, Relaxed);
        }
        // SAFETY: the end of the data area is kept for these 128 bytes.
        unsafe {
            let to = self.space.slots.data(self.index).add(SIGINFO_AT);
            std::ptr::copy_nonoverlapping(frame.siginfo.as_ptr(), to, frame.siginfo.len());
        }
    }

    /// Its process has ended.
    pub(crate) fn gone(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Running {
            self.core().ran(-1);
        }
        inner.phase = Phase::Gone;
        inner.op = Op::None;
        drop(inner);
        self.forget();
    }

    /// Lets the kernel's word go, with no lock held: it may be the last hold on much.
    fn forget(&self) {
        let word = self.cookie.lock().take();
        drop(word);
    }

    /// Keeps a first doorbell until the first reply.
    pub(crate) fn hold(&self, notif: u64) {
        self.inner.lock().notif = Some(notif);
    }

    /// Whether it has posted something that nobody took yet (for the spinning worker, which asks without lock).
    pub(crate) fn posted(&self) -> bool {
        self.slot().state.load(Relaxed) == POSTED
    }
}

fn load_call(slot: &Slot) -> Syscall {
    let reg = |i: usize| slot.regs[i].load(Relaxed);
    Syscall {
        // The kernel takes the number as an `int`.
        nr: reg(RAX) & 0xffff_ffff,
        args: [reg(RDI), reg(RSI), reg(RDX), reg(R10), reg(R8), reg(R9)],
        ip: reg(RIP),
        sp: reg(RSP),
    }
}

macro_rules! regs {
    ($($field:ident = $index:ident,)*) => {
        fn load_regs(slot: &Slot) -> Regs {
            Regs { $($field: slot.regs[$index].load(Relaxed),)* }
        }
        fn store_regs(slot: &Slot, regs: &Regs) {
            $(slot.regs[$index].store(regs.$field, Relaxed);)*
        }
    };
}

regs! {
    r8 = R8, r9 = R9, r10 = R10, r11 = R11, r12 = R12, r13 = R13, r14 = R14, r15 = R15, rdi = RDI, rsi = RSI,
    rbp = RBP, rbx = RBX, rdx = RDX, rax = RAX, rcx = RCX, rsp = RSP, rip = RIP, eflags = EFLAGS,
    fs_base = FS_BASE,
}
