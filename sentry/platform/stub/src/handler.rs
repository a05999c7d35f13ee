//! The signal handlers in which guest calls, faults and interrupts arrive. Each posts an event and then serves
//! replies until one lets the guest go on; returning restores the guest's registers from the context.

use core::sync::atomic::Ordering::Relaxed;

use crate::area::{self, Area};
use crate::frame::{self, Ucontext};
use crate::slot::*;
use crate::{local, marshal, serve, sys};

/// While a handler runs, only faults (of the guarded copies) come through.
pub const HANDLER_MASK: u64 = !(bit(SIGSEGV) | bit(SIGBUS));
/// The same with the interrupt signal open: while a local call may sleep.
pub const LOCAL_MASK: u64 = HANDLER_MASK & !bit(SIGINTERRUPT);

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;
const SA_FLAGS: u64 = 0x4 | 0x0800_0000 | 0x4000_0000 | 0x0400_0000; // SIGINFO, ONSTACK, NODEFER, RESTORER
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// `SI_KERNEL`, and what `int 0x80` pushes where its gate may not be used: vector 0x80 in the IDT.
const SI_KERNEL: u64 = 0x80;
const TRAP_GP: u64 = 13;
const INT80_ERROR: u64 = 0x80 << 3 | 2;

const fn bit(signo: i32) -> u64 {
    1 << (signo - 1)
}

/// `struct kernel_sigaction`.
#[repr(C)]
struct SigAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Installs the handlers; false where the host refuses.
pub fn install() -> bool {
    let set = |signo: i32, handler: u64| {
        let action = SigAction { handler, flags: SA_FLAGS, restorer: sys::restorer(), mask: HANDLER_MASK };
        // SAFETY: a complete kernel_sigaction; the handlers below keep the contract of SA_SIGINFO.
        unsafe { sys::call6(sys::RT_SIGACTION, signo as u64, &raw const action as u64, 0, 8, 0, 0) == 0 }
    };
    set(SIGSYS, on_call as *const () as u64)
        && [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP].iter().all(|&s| set(s, on_fault as *const () as u64))
        && set(SIGINTERRUPT, on_interrupt as *const () as u64)
}

/// The fields of `siginfo_t` that we read (sigaction(2)).
#[repr(C)]
pub struct SigInfo {
    signo: i32,
    errno: i32,
    code: i32,
    _pad: i32,
    /// `si_addr`, or `si_call_addr`.
    addr: u64,
    _syscall: i32,
    arch: u32,
}

/// A guest made a call.
extern "C" fn on_call(_signo: i32, info: &SigInfo, uc: &mut Ucontext) {
    let area = area::current();
    let slot = area.slot();
    if info.arch != AUDIT_ARCH_X86_64 {
        // int 0x80: as on a kernel without 32-bit emulation, a general protection fault at the instruction.
        uc.restart();
        uc.store(area, slot);
        post_fault(slot, [SIGSEGV as u64, SI_KERNEL, 0, TRAP_GP, INT80_ERROR]);
        return serve::run(area, slot, uc);
    }
    let nr = uc.g[frame::G_RAX] & 0xffff_ffff;
    if let Some(row) = marshal::row(nr) {
        if row.flags & ROW_LOCAL != 0 && slot.ask.load(Relaxed) == 0 && local::is_untold(nr, uc) {
            if let Some(call) = local::Call::of(nr, uc) {
                if local::at_once(area, slot, uc, &call) {
                    return;
                }
                return serve::run(area, slot, uc);
            }
        }
        uc.store(area, slot);
        marshal::inputs(area, slot, row, uc);
    } else {
        uc.store(area, slot);
        slot.in_count.store(0, Relaxed);
        slot.in_len.store(0, Relaxed);
    }
    slot.kind.store(EV_SYSCALL, Relaxed);
    serve::post(slot);
    serve::run(area, slot, uc)
}

/// A processor exception in guest code, or in one of our guarded copies.
extern "C" fn on_fault(signo: i32, info: &SigInfo, uc: &mut Ucontext) {
    let rip = uc.g[frame::G_RIP];
    if let Some(next) = sys::fixup(rip) {
        uc.g[frame::G_RIP] = next;
        return;
    }
    if in_text(rip) {
        // The guest jumped into the stub, or the stub has a bug: either way this process is lost.
        sys::exit_group(128 + signo as u64);
    }
    let area = area::current();
    let slot = area.slot();
    uc.store(area, slot);
    let words = [signo as u64, info.code as u64, info.addr, uc.g[frame::G_TRAPNO], uc.g[frame::G_ERR]];
    post_fault(slot, words);
    serve::run(area, slot, uc)
}

/// The sentry wants this thread.
extern "C" fn on_interrupt(_signo: i32, _info: &SigInfo, uc: &mut Ucontext) {
    let area = area::current();
    if area.in_local.load(Relaxed) != 0 {
        local::interrupt(area, uc);
        return;
    }
    let slot = area.slot();
    post_plain(area, slot, uc, EV_INTERRUPTED);
    serve::run(area, slot, uc)
}

/// Posts an event that is nothing but the registers (and `ev`, if the caller filled it).
pub fn post_plain(area: &Area, slot: &Slot, uc: &Ucontext, kind: u32) {
    uc.store(area, slot);
    slot.in_count.store(0, Relaxed);
    slot.in_len.store(0, Relaxed);
    slot.kind.store(kind, Relaxed);
    serve::post(slot);
}

fn post_fault(slot: &Slot, words: [u64; 5]) {
    for (to, word) in slot.ev.iter().zip(words) {
        to.store(word, Relaxed);
    }
    slot.in_count.store(0, Relaxed);
    slot.in_len.store(0, Relaxed);
    slot.kind.store(EV_FAULT, Relaxed);
    serve::post(slot);
}

fn in_text(rip: u64) -> bool {
    (TEXT..TABLE).contains(&rip)
}
