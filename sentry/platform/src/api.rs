//! The seam between the kernel and the way guests are run: what a platform offers, and what it asks of the kernel.
//!
//! The platform knows threads, address spaces and registers; it knows no task and no file. It calls
//! [`GuestKernel::event`] on one of its worker threads when a guest thread needs an answer; the kernel answers with
//! [`Thread::reply`](crate::Thread::reply), at once or later and from any thread, exactly once an event.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::Errno;

use crate::{Space, Thread};

/// The general registers of a guest thread, named as in `struct user_regs_struct` (sys/user.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub eflags: u64,
    pub fs_base: u64,
}

/// A system call as the guest made it: number, six arguments, address after the instruction, stack pointer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syscall {
    pub nr: u64,
    pub args: [u64; 6],
    pub ip: u64,
    pub sp: u64,
}

/// What the host has of a page of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nothing yet.
    Absent,
    /// The page of zeros that all share.
    Zero,
    /// A page of its own, or of a file.
    Present,
}

/// A processor exception in guest code, as the host's signal handler saw it (sigaction(2), `siginfo_t`).
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP.
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `REG_TRAPNO`, `REG_ERR` of the ucontext.
    pub trapno: u64,
    pub error: u64,
    pub ip: u64,
    pub sp: u64,
}

/// Why a guest thread asks for an answer.
#[derive(Debug)]
pub enum Event {
    /// It made a system call.
    Syscall(Syscall),
    /// It faulted; its registers stand at the faulting instruction.
    Fault(Fault),
    /// It answers [`Thread::interrupt`](crate::Thread::interrupt): it stands between two guest instructions.
    Interrupted,
    /// A call handed back with [`Reply::Local`] has ended in the stub. `interrupted` says that it was cut short by
    /// [`Thread::interrupt`](crate::Thread::interrupt) (then `ret` is `-EINTR`), otherwise it comes only where
    /// `report` was asked for. Also comes without a `Reply::Local` for calls whose shape says
    /// [`CallShape::LOCAL`], when they are interrupted: `call` is the call that was cut short.
    LocalDone { call: Syscall, ret: i64, interrupted: bool },
    /// The actions of [`Reply::Act`] are done: `Ok`, or the index of the one that failed (those before it were
    /// done, those behind it were not) and why.
    ActionsDone(Result<(), (usize, Errno)>),
    /// The host clone of [`Reply::Clone`] is done, reported on the *parent*. Both threads now wait for a reply: the
    /// child for `Return(0)` (fork, or a thread, whose registers are the parent's but for `sp` and `tls`).
    Cloned(Result<Arc<Thread>, Errno>),
    /// A signal frame could not be written, or the frame of [`Reply::Sigreturn`] not be read: the guest's stack is
    /// bad there. The registers are as before the reply.
    BadFrame,
}

/// A signal frame to build on the guest's stack (signal(7); arch/x86 `struct rt_sigframe`).
#[derive(Clone, Debug)]
pub struct SignalFrame {
    pub signo: i32,
    pub handler: u64,
    /// `sa_restorer`, the return address of the handler.
    pub restorer: u64,
    /// The top of the alternate stack where the frame goes, or `None` for the current stack (below its red zone).
    pub stack_top: Option<u64>,
    /// Goes into `uc_stack` (`ss_sp`, `ss_flags`, `ss_size`) and `uc_sigmask`.
    pub saved_stack: (u64, i32, u64),
    pub saved_mask: u64,
    /// The 128 bytes of `siginfo_t`.
    pub siginfo: [u8; 128],
    /// What the interrupted context becomes before it is saved in the frame.
    pub resume: Resume,
}

/// How the context that a signal interrupts goes on once the handler has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// As it is: the thread stood between two instructions, or faulted.
    AsIs,
    /// The call it made returns this (`-EINTR` for one).
    Return(i64),
    /// The call is made again (`SA_RESTART`): `rip` back over the instruction, `rax` the number.
    Restart,
}

/// What the kernel tells a thread that waits for an answer. Pending writes made through
/// [`Mem::write`](crate::Mem::write) reach guest memory first; where that faults, `Return` becomes `-EFAULT`.
pub enum Reply {
    /// Put the value in `rax` and go on.
    Return(i64),
    /// Go on with the registers as they are (after `Interrupted`, or a fault whose cause is mended).
    Continue,
    /// Make the interrupted call again.
    Restart,
    /// Build a frame and enter the handler.
    Signal(Box<SignalFrame>),
    /// Take registers and floating-point state from the frame at the guest's stack pointer. (The kernel has read
    /// `uc_sigmask` and `uc_stack` from the frame itself.)
    Sigreturn,
    /// Start a new program: these registers, fresh floating-point state. Used with a fresh thread.
    Enter(Box<Regs>),
    /// Put these registers in place of the thread's; floating-point state stays. Reports `ActionsDone`.
    SetRegs(Box<Regs>),
    /// Carry these out in order, stop at the first that fails, report `ActionsDone`.
    Act(Vec<Action>),
    /// The same, but go on to the guest without a report where all of them are done: what comes next from the thread
    /// says that they are, unless it is an `ActionsDone` with the one that failed.
    ActThen(Vec<Action>, Ending),
    /// Make a thread or a process; reports `Cloned`.
    Clone(CloneSpec),
    /// Make the call (futex wait/wake/requeue, futex_waitv, nanosleep, clock_nanosleep, sched_yield, membarrier, clock_gettime)
    /// in the stub, on the host kernel, and put its result in `rax`. With `report`, tell
    /// [`Event::LocalDone`] first and wait.
    Local { report: bool },
    /// End this host thread; `clear_tid` is set to zero and woken (futex) first where it is not 0
    /// (`CLONE_CHILD_CLEARTID`). Where it was the last of its space, the process ends. No event follows but
    /// [`GuestKernel::space_gone`].
    ExitThread { clear_tid: u64 },
}

/// How a thread goes on once it has acted.
#[derive(Clone, Debug)]
pub enum Ending {
    /// As [`Reply::Return`].
    Return(i64),
    /// As [`Reply::Enter`].
    Enter(Box<Regs>),
}

/// Something that the stub does on the host for its own address space. All addresses and lengths are multiples of
/// the page size (but `Store`, `Zero` and those of futex words), chosen by the kernel, outside the platform's own ranges.
#[derive(Debug, Clone)]
pub enum Action {
    /// mmap(2) with `MAP_FIXED`. `flags` are the kernel's: `MAP_PRIVATE` or `MAP_SHARED`, `MAP_ANONYMOUS`,
    /// `MAP_NORESERVE`, `MAP_GROWSDOWN`. A file comes with its offset in bytes.
    Map {
        addr: u64,
        len: u64,
        prot: i32,
        flags: i32,
        file: Option<(Arc<OwnedFd>, u64)>,
    },
    Unmap {
        addr: u64,
        len: u64,
    },
    Protect {
        addr: u64,
        len: u64,
        prot: i32,
    },
    /// mremap(2) with `MREMAP_MAYMOVE | MREMAP_FIXED`; `keep_old` adds `MREMAP_DONTUNMAP`.
    /// With `new` equal to `old` it is resized where it is (no flags).
    Remap {
        old: u64,
        old_len: u64,
        new: u64,
        new_len: u64,
        keep_old: bool,
    },
    Advise {
        addr: u64,
        len: u64,
        advice: i32,
    },
    /// Write bytes (the stack image and headers of a new program). Respects page protection: map writable first.
    Store {
        addr: u64,
        bytes: Vec<u8>,
    },
    Zero {
        addr: u64,
        len: u64,
    },
    /// futex(FUTEX_WAKE) of `count` waiters on a shared or private word.
    Wake {
        addr: u64,
        count: i32,
        private: bool,
    },
    /// Atomically replaces a 32-bit word that is `old`. Fails with `EAGAIN` where it is something else, with `EFAULT`
    /// where it cannot be written.
    CompareExchange {
        addr: u64,
        old: u32,
        new: u32,
    },
    /// Atomically marks a futex word that thread `tid` owns as left behind (`FUTEX_OWNER_DIED`), and wakes a waiter,
    /// but of a `pi` one. A `pending` one that is free is woken only. Never fails.
    OwnerDied {
        addr: u64,
        tid: u32,
        pending: bool,
        pi: bool,
    },
}

/// What [`Reply::Clone`] makes.
#[derive(Clone, Copy, Debug)]
pub struct CloneSpec {
    /// Share the address space (`CLONE_VM`: a host thread in the same stub), or copy it (a host fork).
    pub share_vm: bool,
    /// The child's stack pointer; 0 keeps the parent's.
    pub sp: u64,
    /// The child's FS base (`CLONE_SETTLS`), if any.
    pub tls: Option<u64>,
}

/// How a stub process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceEnd {
    /// All its threads left with `ExitThread`, or the kernel killed it.
    Expected,
    /// It broke the protocol, and the platform killed it for that.
    Tampered,
    /// It ended by itself: the guest tampered with the stub, or the host killed it (signal number).
    Signal(i32),
    Exit(i32),
}

/// The kernel, as the platform sees it. Methods are called on worker threads, never two at a time for one thread,
/// and must not block.
pub trait GuestKernel: Send + Sync + 'static {
    /// `thread` waits for an answer to `event`. The answer may be given inside the call or later.
    fn event(&self, thread: &Arc<Thread>, event: Event);
    /// A stub process is gone; none of its threads will report or take a reply any more.
    fn space_gone(&self, space: &Arc<Space>, end: SpaceEnd);
    /// Called by a worker after each event that it has delivered: run what became ready meanwhile.
    fn run_ready(&self);
}

/// How one argument of a call is copied between guest memory and the slot by the stub. The stub copies inputs in
/// before it posts; outputs need nothing, since the kernel's [`Mem::write`](crate::Mem::write) names their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArgShape {
    /// A number, a descriptor, or a pointer that the kernel reads by itself if at all.
    #[default]
    Value,
    /// A NUL-terminated string of at most 4096 bytes (a path or a name).
    Str,
    /// A buffer whose length in bytes is argument `n`.
    In { len_arg: u8 },
    /// A structure of this size.
    InStruct { size: u16 },
    /// An array; its count is argument `n`.
    InArray { count_arg: u8, elem: u16 },
    /// A `struct iovec` array (count in argument `n`), with the buffers that it names.
    InIov { count_arg: u8 },
    /// A `struct iovec` array without its buffers.
    OutIov { count_arg: u8 },
    /// A buffer for output whose length is argument `n` (for the trace; not copied in).
    Out { len_arg: u8 },
    /// A structure for output.
    OutStruct { size: u16 },
}

/// The marshalling of one call, a line of the kernel's table.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallShape {
    pub args: [ArgShape; 6],
    pub flags: u8,
}

impl CallShape {
    /// The stub makes the call by itself where it is one of those that [`Reply::Local`] lists, in a form that the
    /// stub's filter allows; other forms of it come as [`Event::Syscall`].
    pub const LOCAL: u8 = 1;
    /// The call is rt_sigreturn: the `ucontext` at the guest's stack pointer is copied in.
    pub const SIGFRAME: u8 = 2;
}

/// How many calls the marshalling table has: numbers 0 to `CALLS - 1`.
pub const CALLS: usize = 512;

/// Guest addresses that a program may use: `[LOWEST, HIGHEST)`, outside [`STUB_RANGE`] and the vDSO.
pub const GUEST_LOWEST: u64 = 0x1_0000;
pub const GUEST_HIGHEST: u64 = 0x7fff_ffff_f000;
/// The platform's own range in every guest address space: stub text, private stacks, slots, tables. The kernel
/// reserves it in each VMA table, hidden from `/proc/PID/maps`.
pub const STUB_RANGE: std::ops::Range<u64> = 0x7000_0000_0000..0x7010_0000_0000;
