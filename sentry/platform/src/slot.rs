//! What the stub and the sentry share: addresses of the platform's own range, and the layout of a slot.
//!
//! The stub includes this very file. A slot lies in memory that the guest can write at any time, so every field is
//! an atomic that the sentry loads once and checks; none is ever trusted.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Where the stub's text is linked; the start of `STUB_RANGE`.
pub const TEXT: u64 = 0x7000_0000_0000;
/// The end of the platform's own range.
pub const RANGE_END: u64 = 0x7010_0000_0000;
/// The marshalling table (private, read-only), an array of [`Row`].
pub const TABLE: u64 = 0x7000_1000_0000;
/// The slots of this stub process, shared with the sentry; never inherited by fork.
pub const SLOTS: u64 = 0x7001_0000_0000;
/// The private areas (alternate stacks) of this stub's threads.
pub const AREAS: u64 = 0x7002_0000_0000;

pub const PAGE: usize = 4096;
/// Threads of one stub process, alive at a time: the named limit of this platform.
pub const MAX_THREADS: usize = 8192;
/// The marshalling buffer: 64 KiB for one full `read` or `write`, and a page for headers beside it.
pub const DATA_LEN: usize = 17 * PAGE;
pub const SLOT_STRIDE: usize = PAGE + DATA_LEN;
pub const SLOTS_LEN: usize = MAX_THREADS * SLOT_STRIDE;
pub const AREA_LEN: usize = 64 * 1024;
/// The end of the data area is kept for the `siginfo_t` of a signal frame.
pub const SIGINFO_AT: usize = DATA_LEN - 128;
/// Where outputs and actions must end.
pub const OUT_END: usize = SIGINFO_AT;

/// The call number of the doorbell: no Linux call has it.
pub const DOORBELL: u64 = 0x3f00;
/// The signal of `Thread::interrupt`. A standard signal, so that several merge into one.
pub const SIGINTERRUPT: i32 = 23; // SIGURG
/// Descriptors that the zygote inherits.
pub const FD_SLOTS: i32 = 3;
pub const FD_TABLE: i32 = 4;
/// Records of one call: more are left to the sentry's own reads.
pub const MAX_RECORDS: usize = 64;
/// `sizeof(struct ucontext)` of x86-64.
pub const UCONTEXT_LEN: usize = 304;

// `Slot::state`.
pub const RUNNING: u32 = 0;
pub const POSTED: u32 = 1;
pub const ANSWERED: u32 = 2;
/// The sentry has the event, and owns the slot until it answers.
pub const TAKEN: u32 = 3;

// `Slot::kind`: what the stub posted.
pub const EV_SYSCALL: u32 = 1;
/// `ev`: signal, code, address, trap number, error code.
pub const EV_FAULT: u32 = 2;
pub const EV_INTERRUPTED: u32 = 3;
/// `ev`: result, interrupted.
pub const EV_LOCAL_DONE: u32 = 4;
/// `ev`: entry that failed (or the count), errno.
pub const EV_ACTIONS_DONE: u32 = 5;
/// `ev`: result of clone(2).
pub const EV_CLONED: u32 = 6;
pub const EV_BAD_FRAME: u32 = 7;
/// The zygote is ready. `ev`: listener's descriptor, vDSO start, length, ELF header, host has FSGSBASE.
pub const EV_HELLO: u32 = 8;
/// The zygote could not start. `ev`: step, errno.
pub const EV_BOOT_FAILED: u32 = 9;

// `Slot::reply`: what the sentry answered, with the meaning of `args`.
/// value
pub const RE_RETURN: u32 = 1;
pub const RE_CONTINUE: u32 = 2;
pub const RE_RESTART: u32 = 3;
/// signo, handler, restorer, has stack top, stack top, ss_sp, ss_flags, ss_size, mask, resume, value; `siginfo_t` at
/// [`SIGINFO_AT`]
pub const RE_SIGNAL: u32 = 4;
pub const RE_SIGRETURN: u32 = 5;
/// registers in `regs`
pub const RE_ENTER: u32 = 6;
/// count, offset in the data area, what follows (`THEN_*`), value to return
pub const RE_ACT: u32 = 7;
/// flags, index of the child, token, map its area, stack pointer (0: the parent's), has tls, tls
pub const RE_CLONE: u32 = 8;
/// report
pub const RE_LOCAL: u32 = 9;
/// clear_tid
pub const RE_EXIT: u32 = 10;
/// registers in `regs`
pub const RE_SET_REGS: u32 = 11;

// What follows on `RE_ACT` where all was done.
pub const THEN_REPORT: u64 = 0;
pub const THEN_RETURN: u64 = 1;
/// registers in `regs`
pub const THEN_ENTER: u64 = 2;

// `RE_SIGNAL`'s resume.
pub const RESUME_AS_IS: u64 = 0;
pub const RESUME_RETURN: u64 = 1;
pub const RESUME_RESTART: u64 = 2;

// Actions: a header of `ACTION_WORDS` words (kind, six arguments, bytes that follow), then data padded to 8.
pub const ACTION_WORDS: usize = 8;
/// mmap arguments as they are; a descriptor is closed afterwards
pub const DO_MMAP: u64 = 1;
pub const DO_MUNMAP: u64 = 2;
pub const DO_MPROTECT: u64 = 3;
pub const DO_MREMAP: u64 = 4;
pub const DO_MADVISE: u64 = 5;
pub const DO_STORE: u64 = 6;
pub const DO_ZERO: u64 = 7;
pub const DO_WAKE: u64 = 8;
/// address, old, new
pub const DO_CAS: u64 = 9;
/// address, thread, pending, pi
pub const DO_OWNER_DIED: u64 = 10;
/// As [`DO_MMAP`], of a descriptor that a later entry maps, too.
pub const DO_MMAP_MORE: u64 = 11;

/// A record of the data area: address and length in guest memory, then the bytes, padded to 8.
pub const RECORD_HEADER: usize = 16;

// Indices of `Slot::regs`: a call's words come first, so that they share cache lines.
pub const RAX: usize = 0;
pub const RDI: usize = 1;
pub const RSI: usize = 2;
pub const RDX: usize = 3;
pub const R10: usize = 4;
pub const R8: usize = 5;
pub const R9: usize = 6;
pub const RIP: usize = 7;
pub const RSP: usize = 8;
pub const RBX: usize = 9;
pub const RBP: usize = 10;
pub const R12: usize = 11;
pub const R13: usize = 12;
pub const R14: usize = 13;
pub const R15: usize = 14;
pub const R11: usize = 15;
pub const RCX: usize = 16;
pub const EFLAGS: usize = 17;
pub const FS_BASE: usize = 18;
pub const REGS: usize = 19;

/// The first page of a slot; the data area follows.
#[repr(C, align(64))]
pub struct Slot {
    /// `RUNNING`, `POSTED`, `TAKEN`, `ANSWERED`.
    pub state: AtomicU32,
    /// Set by the sentry while a worker polls this slot.
    pub watched: AtomicU32,
    pub kind: AtomicU32,
    /// Records at the start of the data area: bytes and count.
    pub in_len: AtomicU32,
    pub in_count: AtomicU32,
    pub reply: AtomicU32,
    /// Output records in the data area.
    pub out_off: AtomicU32,
    pub out_end: AtomicU32,
    pub ret: AtomicU64,
    /// Set by the stub while it sleeps in a local call: a hint for the spinning worker.
    pub asleep: AtomicU32,
    /// Set by the sentry: calls that the stub could make by itself are posted, too. A guest that clears it spares only
    /// its own filters a look at its own futexes and sleeps, which it could as well make by jumping into the stub.
    pub ask: AtomicU32,
    pub _pad: [AtomicU32; 2],
    pub regs: [AtomicU64; REGS],
    pub ev: [AtomicU64; 6],
    pub args: [AtomicU64; 12],
    /// `CLONE_CHILD_CLEARTID` points here: 0 once the host thread has gone.
    pub tid: AtomicU32,
    /// Where the stub keeps the guest's floating-point state while it is in a handler.
    pub fpstate: AtomicU64,
}

/// One line of the marshalling table as the stub reads it. An argument is kind, length argument, element size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Row {
    pub args: [RowArg; 6],
    pub flags: u32,
    pub _pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RowArg {
    pub kind: u8,
    pub arg: u8,
    pub size: u16,
}

pub const ROWS: usize = 512;
pub const ROW_LOCAL: u32 = 1;
pub const ROW_SIGFRAME: u32 = 2;

pub const SHAPE_NONE: u8 = 0;
pub const SHAPE_STR: u8 = 1;
pub const SHAPE_IN: u8 = 2;
pub const SHAPE_STRUCT: u8 = 3;
pub const SHAPE_ARRAY: u8 = 4;
pub const SHAPE_IN_IOV: u8 = 5;
pub const SHAPE_OUT_IOV: u8 = 6;
pub const STR_MAX: usize = 4096;
