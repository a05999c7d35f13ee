//! Waiting for the sentry's answer and carrying it out. `run` returns when the context is to be resumed.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::area::{self, Area};
use crate::frame::{self, Ucontext, G_RAX, G_RSP};
use crate::handler::{self, HANDLER_MASK};
use crate::slot::*;
use crate::{actions, local, marshal, sys};

/// How long a stub spins for a worker that watches its slot: about 200 µs, since a timer's tick on the worker's
/// processor may take half of that in a virtual machine. Then the doorbell serves as well.
const SPIN_TICKS: u64 = 500_000;
const CLONE_VM: u64 = 0x100;
const MAP_SHARED_FIXED: u64 = 0x11;
const MAP_PRIVATE_FIXED_ANON: u64 = 0x32;
const PROT_RW: u64 = 3;
const MADV_DONTFORK: u64 = 10;
const FUTEX_WAKE: u64 = 1;
/// Exit codes of a stub that cannot go on; they show in `SpaceEnd::Exit`.
const EXIT_NO_SLOTS: u64 = 102;

/// Posts the event that was written to the slot.
#[inline(always)]
pub fn post(slot: &Slot) {
    slot.state.store(POSTED, SeqCst);
}

/// Waits until the sentry has answered.
#[inline]
fn wait(area: &Area, slot: &Slot) {
    if slot.watched.load(SeqCst) != 0 {
        let start = sys::ticks();
        loop {
            for _ in 0..16 {
                if slot.state.load(Acquire) == ANSWERED {
                    return;
                }
                core::hint::spin_loop();
            }
            if slot.watched.load(Relaxed) == 0 || sys::ticks().wrapping_sub(start) > SPIN_TICKS {
                break;
            }
        }
    }
    while slot.state.load(Acquire) != ANSWERED {
        ring(area.index, 0);
    }
}

/// Rings the doorbell. Where nobody listens any more the sentry is gone, and so is this process.
pub fn ring(index: u64, token: u64) {
    // SAFETY: no Linux call has this number; the filter hands it to the sentry.
    if unsafe { sys::call(DOORBELL, index, token, 0) } == -sys::ENOSYS {
        sys::exit_group(0);
    }
}

/// Serves replies until one resumes the guest.
pub fn run(area: &Area, slot: &'static Slot, uc: &mut Ucontext) {
    loop {
        wait(area, slot);
        let reply = slot.reply.load(Relaxed);
        let faulted = slot.out_end.load(Relaxed) != 0 && !marshal::outputs(area, slot);
        match reply {
            RE_RETURN => {
                uc.g[G_RAX] = if faulted { -sys::EFAULT as u64 } else { slot.ret.load(Relaxed) };
                return;
            }
            RE_CONTINUE => return,
            RE_RESTART => return uc.restart(),
            RE_SIGNAL => {
                if frame::deliver(area, slot, uc, faulted) {
                    return;
                }
                handler::post_plain(area, slot, uc, EV_BAD_FRAME);
            }
            RE_SIGRETURN => {
                if frame::sigreturn(uc) {
                    return;
                }
                handler::post_plain(area, slot, uc, EV_BAD_FRAME);
            }
            RE_ENTER => return uc.enter(area, slot),
            RE_SET_REGS => {
                uc.load(area, slot);
                slot.ev[0].store(0, Relaxed);
                slot.ev[1].store(0, Relaxed);
                handler::post_plain(area, slot, uc, EV_ACTIONS_DONE);
            }
            RE_ACT => {
                let (at, errno) = match actions::run(area, slot) {
                    Ok(count) => match slot.args[2].load(Relaxed) {
                        THEN_RETURN => {
                            uc.g[G_RAX] = slot.args[3].load(Relaxed);
                            return;
                        }
                        THEN_ENTER => return uc.enter(area, slot),
                        _ => (count, 0),
                    },
                    Err((at, errno)) => (at, errno),
                };
                slot.ev[0].store(at, Relaxed);
                slot.ev[1].store(errno as u64, Relaxed);
                handler::post_plain(area, slot, uc, EV_ACTIONS_DONE);
            }
            RE_CLONE => {
                let ret = clone(area, slot, uc);
                // A fork child comes by here too, and waits for its own first reply.
                if ret != 0 {
                    slot.ev[0].store(ret as u64, Relaxed);
                    handler::post_plain(area, slot, uc, EV_CLONED);
                }
            }
            RE_LOCAL => {
                if local::on_reply(area, slot, uc, slot.args[0].load(Relaxed) != 0) {
                    return;
                }
            }
            RE_EXIT => {
                let clear = slot.args[0].load(Relaxed);
                if clear != 0 && sys::zero(clear, 4) {
                    // SAFETY: wakes waiters; the host checks the address.
                    unsafe { sys::call(sys::FUTEX, clear, FUTEX_WAKE, 1) };
                }
                sys::exit_thread()
            }
            _ => sys::exit_group(0),
        }
    }
}

/// Makes a thread or a process. 0 in a fork child, else the host's result.
fn clone(area: &Area, slot: &Slot, uc: &mut Ucontext) -> i64 {
    let arg = |i: usize| slot.args[i].load(Relaxed);
    let (flags, index, token, map, sp, has_tls, tls) =
        (arg(0), arg(1), arg(2), arg(3), arg(4), arg(5), arg(6));
    let child_tid = SLOTS + index * SLOT_STRIDE as u64 + core::mem::offset_of!(Slot, tid) as u64;
    let tls = if has_tls != 0 { tls } else { 0 };
    // A pending signal would make the kernel start the clone again, and ask the sentry twice.
    sys::set_mask(!0);
    let stack = if flags & CLONE_VM != 0 {
        match prepare(area, uc, index, token, map != 0, sp) {
            Ok(stack) => stack,
            Err(errno) => {
                sys::set_mask(HANDLER_MASK);
                return errno;
            }
        }
    } else {
        0
    };
    // SAFETY: the stack was prepared for `stub_child`, or is 0 and the child has a copy of this one.
    let ret = unsafe { sys::clone(flags, stack, child_tid, tls) };
    if ret == 0 {
        // Before the first ring: if the sentry is gone already, that says so.
        sys::die_with_parent();
        ring(area.index, token);
        own_slots(index);
        if sp != 0 {
            uc.g[G_RSP] = sp;
        }
        if has_tls != 0 {
            sys::set_fs_base(area.fsgsbase(), tls);
        }
    }
    sys::set_mask(HANDLER_MASK);
    ret
}

/// A fork child maps its slots; the sentry has the descriptor ready.
fn own_slots(index: u64) {
    // SAFETY: the parent's slots were not inherited, so nothing lies there.
    let ret = unsafe { sys::call6(sys::MMAP, SLOTS, SLOTS_LEN as u64, PROT_RW, MAP_SHARED_FIXED, index, 0) };
    sys::close(index);
    if ret as u64 != SLOTS {
        sys::exit_group(EXIT_NO_SLOTS);
    }
    // SAFETY: the mapping just made.
    unsafe { sys::call(sys::MADVISE, SLOTS, SLOTS_LEN as u64, MADV_DONTFORK) };
}

/// Lays out a new thread's area: its context (a copy of the parent's) at the top, its stack below. Returns the
/// stack pointer, at which the word for `stub_child` lies.
fn prepare(area: &Area, uc: &Ucontext, index: u64, token: u64, map: bool, sp: u64) -> Result<u64, i64> {
    let base = area::base(index);
    if map {
        // SAFETY: the area of an index that no thread has.
        let ret =
            unsafe { sys::call6(sys::MMAP, base, AREA_LEN as u64, PROT_RW, MAP_PRIVATE_FIXED_ANON, !0, 0) };
        if ret as u64 != base {
            return Err(ret);
        }
    }
    let fp = frame::fp_len(uc.fpstate);
    let fp_at = (area::top(index) - fp as u64) & !63;
    let uc_at = (fp_at - UCONTEXT_LEN as u64) & !63;
    let mut child = *uc;
    child.ss_sp = base;
    child.ss_flags = 0;
    child.ss_size = AREA_LEN as u64;
    if fp != 0 {
        sys::copy(fp_at, uc.fpstate, fp);
        child.fpstate = fp_at;
    }
    if sp != 0 {
        child.g[G_RSP] = sp;
    }
    // SAFETY: inside the new area, which no thread uses yet.
    unsafe {
        (uc_at as *mut Ucontext).write(child);
        (base as *mut Area).write(Area {
            index,
            fsgsbase: area.fsgsbase,
            token,
            in_local: 0.into(),
            interrupted: 0.into(),
        });
        let stack = uc_at - 64;
        ((stack - 8) as *mut u64).write(uc_at);
        Ok(stack - 8)
    }
}

/// Where a new host thread starts, on the stack of its own area, with every signal blocked and no alternate stack.
#[no_mangle]
extern "C" fn stub_child(uc: *mut Ucontext) -> ! {
    let area = area::current();
    let slot = area.slot();
    // The first ring shows the token, and comes back with the first reply.
    ring(area.index, area.token);
    sys::set_mask(HANDLER_MASK);
    // SAFETY: prepared by the parent in this thread's own area.
    run(area, slot, unsafe { &mut *uc });
    // SAFETY: a complete context.
    unsafe { sys::sigreturn(uc.cast()) }
}
