//! Calls that the stub makes on the host by itself: waiting, and what concerns this process alone. Only forms that
//! the stub's filter allows are taken; the rest goes to the sentry.

use core::arch::global_asm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::area::Area;
use crate::frame::{Ucontext, G_RAX, G_RIP};
use crate::handler::{self, HANDLER_MASK, LOCAL_MASK};
use crate::slot::*;
use crate::{marshal, sys};

global_asm!(
    // stub_local(nr, args, flag): makes the call, unless the flag is set or becomes set before the instruction; an
    // interrupt that comes between check and call is moved to stub_local_cut.
    ".globl stub_local, stub_local_check, stub_local_call, stub_local_cut",
    "stub_local:",
    "mov eax, edi",
    "mov rcx, rdx",
    "mov rdi, [rsi]",
    "mov rdx, [rsi + 16]",
    "mov r10, [rsi + 24]",
    "mov r8, [rsi + 32]",
    "mov r9, [rsi + 40]",
    "mov rsi, [rsi + 8]",
    "stub_local_check:",
    "cmp dword ptr [rcx], 0",
    "jne stub_local_cut",
    "stub_local_call:",
    "syscall",
    "ret",
    "stub_local_cut:",
    "mov rax, -4",
    "ret",
);

extern "C" {
    fn stub_local(nr: u64, args: *const u64, flag: *const u32) -> i64;
    fn stub_local_check();
    fn stub_local_call();
    fn stub_local_cut();
}

const FUTEX_FLAGS: u64 = 128 | 256;
const CLOCK_MONOTONIC: u64 = 1;
const MAX_CLOCK: u64 = 11;
/// What is the platform's in every address space.
const OWN: core::ops::Range<u64> = TEXT..TEXT + 0x10_0000_0000;

/// A call as the stub makes it.
pub struct Call {
    nr: u64,
    args: [u64; 6],
    sleeps: bool,
}

impl Call {
    /// The host call for a guest's call, if it is one that the filter lets the stub make.
    pub fn of(nr: u64, uc: &Ucontext) -> Option<Call> {
        let args = marshal::args(uc);
        let (nr, args, sleeps) = match nr {
            sys::FUTEX => match args[1] & 0xffff_ffff & !FUTEX_FLAGS {
                0 | 9 => (nr, args, true),
                1 | 3 | 4 | 5 | 10 => (nr, args, false),
                _ => return None,
            },
            sys::FUTEX_WAITV => (nr, args, true),
            sys::NANOSLEEP => (sys::CLOCK_NANOSLEEP, [CLOCK_MONOTONIC, 0, args[0], args[1], 0, 0], true),
            // Of its flags Linux looks at the lowest bit only, and so need the filter.
            sys::CLOCK_NANOSLEEP if args[0] & 0xffff_ffff <= MAX_CLOCK => {
                (nr, [args[0], args[1] & 1, args[2], args[3], 0, 0], true)
            }
            sys::SCHED_YIELD => (nr, args, false),
            // Negative numbers are clocks of processes, which only the sentry knows.
            sys::CLOCK_GETTIME if args[0] & 0xffff_ffff <= MAX_CLOCK => (nr, args, false),
            sys::MEMBARRIER if args[1] & 0xffff_ffff == 0 => match args[0] & 0xffff_ffff {
                1 | 8 | 16 | 32 | 64 => (nr, args, false),
                // The global one by interrupts is made as the global one that waits, which bothers no other process.
                2 => (nr, [1, 0, 0, 0, 0, 0], false),
                _ => return None,
            },
            sys::ARCH_PRCTL if (0x1001..=0x1004).contains(&(args[0] & 0xffff_ffff)) => (nr, args, false),
            _ => return None,
        };
        Some(Call { nr, args, sleeps })
    }
}

/// Whether the sentry need not know that the guest makes this call: it keeps count of what registers for membarrier(2).
pub fn is_untold(nr: u64, uc: &Ucontext) -> bool {
    nr != sys::MEMBARRIER || matches!(marshal::args(uc)[0] & 0xffff_ffff, 1 | 2 | 8 | 32)
}

/// Makes a call without asking the sentry. True: the guest goes on with its result. False: it was interrupted, which
/// has been posted.
pub fn at_once(area: &Area, slot: &Slot, uc: &mut Ucontext, call: &Call) -> bool {
    let (ret, interrupted) = make(area, slot, call);
    if !interrupted {
        uc.g[G_RAX] = ret as u64;
        return true;
    }
    post_cut(area, slot, uc, ret);
    false
}

/// Makes the call of `Reply::Local`. True: the guest goes on; false: an event was posted.
pub fn on_reply(area: &Area, slot: &Slot, uc: &mut Ucontext, report: bool) -> bool {
    let (ret, interrupted) = match Call::of(uc.g[G_RAX] & 0xffff_ffff, uc) {
        Some(call) => make(area, slot, &call),
        None => (-sys::ENOSYS, false),
    };
    if interrupted {
        post_cut(area, slot, uc, ret);
        false
    } else if report {
        post_done(area, slot, uc, ret, false);
        false
    } else {
        uc.g[G_RAX] = ret as u64;
        true
    }
}

/// The interrupt signal came while the call was made, or was about to be.
pub fn interrupt(area: &Area, uc: &mut Ucontext) {
    area.interrupted.store(1, SeqCst);
    let rip = uc.g[G_RIP];
    if (stub_local_check as *const () as u64..=stub_local_call as *const () as u64).contains(&rip) {
        uc.g[G_RIP] = stub_local_cut as *const () as u64;
    }
}

/// An interrupted call that had ended already keeps its result: the thread then stands behind it.
fn post_cut(area: &Area, slot: &Slot, uc: &mut Ucontext, ret: i64) {
    if ret == -sys::EINTR {
        post_done(area, slot, uc, ret, true);
    } else {
        uc.g[G_RAX] = ret as u64;
        handler::post_plain(area, slot, uc, EV_INTERRUPTED);
    }
}

fn post_done(area: &Area, slot: &Slot, uc: &Ucontext, ret: i64, interrupted: bool) {
    slot.ev[0].store(ret as u64, Relaxed);
    slot.ev[1].store(u64::from(interrupted), Relaxed);
    handler::post_plain(area, slot, uc, EV_LOCAL_DONE);
}

/// The arguments that are surely read or written (0 for none).
fn pointers(call: &Call) -> [u64; 2] {
    let a = call.args;
    match call.nr {
        sys::FUTEX if call.sleeps => [a[0], a[3]],
        sys::FUTEX if matches!(a[1] & 0xffff_ffff & !FUTEX_FLAGS, 3..=5) => [a[0], a[4]],
        sys::FUTEX => [a[0], 0],
        sys::FUTEX_WAITV => [a[0], a[3]],
        sys::CLOCK_NANOSLEEP => [a[2], 0],
        sys::CLOCK_GETTIME => [a[1], 0],
        _ => [0, 0],
    }
}

/// Result, and whether an interrupt came meanwhile.
fn make(area: &Area, slot: &Slot, call: &Call) -> (i64, bool) {
    if call.nr == sys::ARCH_PRCTL {
        return (arch_prctl(area, call.args), false);
    }
    let a = call.args;
    // The host would find memory where, for the guest, there is none.
    if pointers(call).iter().any(|v| OWN.contains(v)) {
        return (-sys::EFAULT, false);
    }
    if !call.sleeps {
        // SAFETY: one of the forms of `Call::of`; pointers are the guest's, and the host checks them.
        return (unsafe { sys::call6(call.nr, a[0], a[1], a[2], a[3], a[4], a[5]) }, false);
    }
    slot.asleep.store(1, Relaxed);
    area.interrupted.store(0, Relaxed);
    area.in_local.store(1, SeqCst);
    sys::set_mask(LOCAL_MASK);
    // SAFETY: as above; the flag lives in the area.
    let ret = unsafe { stub_local(call.nr, a.as_ptr(), area.interrupted.as_ptr()) };
    sys::set_mask(HANDLER_MASK);
    area.in_local.store(0, SeqCst);
    slot.asleep.store(0, Relaxed);
    (ret, area.interrupted.load(SeqCst) != 0)
}

/// FS and GS are this thread's own (arch_prctl(2)); the codes are ARCH_SET_GS, SET_FS, GET_FS, GET_GS.
fn arch_prctl(area: &Area, args: [u64; 6]) -> i64 {
    let base = match args[0] & 0xffff_ffff {
        0x1001 => return sys::set_gs_base(area.fsgsbase(), args[1]),
        0x1002 => return sys::set_fs_base(area.fsgsbase(), args[1]),
        0x1003 => sys::fs_base(area.fsgsbase()),
        _ => sys::gs_base(area.fsgsbase()),
    };
    if sys::copy(args[1], &raw const base as u64, 8) {
        0
    } else {
        -sys::EFAULT
    }
}
