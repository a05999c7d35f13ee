//! The start of the zygote: map what is shared, install handlers and filter, tell the sentry, drop everything that
//! is not the stub or the vDSO, and wait to be forked.

use core::arch::global_asm;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::area::{self, Area};
use crate::frame::Ucontext;
use crate::slot::*;
use crate::{handler, serve, sys};

#[cfg(freestanding)]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call stub_start",
    "ud2",
);

global_asm!(
    // stub_move(stack, argument): goes on in stub_zygote on another stack.
    ".globl stub_move",
    "stub_move:",
    "mov rsp, rdi",
    "mov rdi, rsi",
    "xor ebp, ebp",
    "call stub_zygote",
    "ud2",
);

extern "C" {
    fn stub_move(stack: u64, start: *const Start) -> !;
}

const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const HWCAP2_FSGSBASE: u64 = 2;
const PROT_READ: u64 = 1;
const PROT_RW: u64 = 3;
const MAP_SHARED_FIXED: u64 = 0x11;
const MAP_PRIVATE_FIXED: u64 = 0x12;
const MAP_PRIVATE_FIXED_ANON: u64 = 0x32;
const MADV_DONTFORK: u64 = 10;
const SECCOMP_SET_MODE_FILTER: u64 = 1;
/// NEW_LISTENER | WAIT_KILLABLE_RECV.
const SECCOMP_FLAGS: u64 = 8 | 32;
const FUTEX_WAIT: u64 = 0;
const FUTEX_WAKE: u64 = 1;
const LOWEST: u64 = 0x1000;
const HIGHEST: u64 = 0x7fff_ffff_f000;
/// No vvar is larger than this.
const VVAR_PAGES: u64 = 16;
const VDSO_PAGES: u64 = 16;

/// What the initial stack says, copied to the area before that stack goes.
#[repr(C)]
struct Start {
    vdso: u64,
    /// The end of the initial stack.
    stack_end: u64,
    stack: u64,
}

#[no_mangle]
extern "C" fn stub_start(sp: *const u64) -> ! {
    // SAFETY: the zygote's own address space, in which nothing but the stub lies yet.
    let maps = unsafe {
        sys::call6(sys::MMAP, SLOTS, SLOTS_LEN as u64, PROT_RW, MAP_SHARED_FIXED, FD_SLOTS as u64, 0) as u64
            == SLOTS
            && sys::call(sys::MADVISE, SLOTS, SLOTS_LEN as u64, MADV_DONTFORK) == 0
            && sys::call6(sys::MMAP, TABLE, table_len(), PROT_READ, MAP_PRIVATE_FIXED, FD_TABLE as u64, 0)
                as u64
                == TABLE
            && sys::call6(sys::MMAP, AREAS, AREA_LEN as u64, PROT_RW, MAP_PRIVATE_FIXED_ANON, !0, 0) as u64
                == AREAS
    };
    if !maps {
        sys::exit_group(103);
    }
    let (mut vdso, mut execfn, mut hwcap2) = (0, 0, 0);
    // SAFETY: the initial stack as the kernel lays it out: argc, argv, 0, envp, 0, auxv.
    unsafe {
        let mut at = sp.add(1 + *sp as usize + 1);
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != 0 {
            match *at {
                AT_SYSINFO_EHDR => vdso = *at.add(1),
                AT_EXECFN => execfn = *at.add(1),
                AT_HWCAP2 => hwcap2 = *at.add(1),
                _ => {}
            }
            at = at.add(2);
        }
        // The file name and eight bytes of zero are the last things on the stack.
        while *(execfn as *const u8) != 0 {
            execfn += 1;
        }
    }
    let fsgsbase = u64::from(hwcap2 & HWCAP2_FSGSBASE != 0);
    let start = area::top(0) - 4096;
    // SAFETY: the area was just mapped.
    unsafe {
        (AREAS as *mut Area).write(Area {
            index: 0,
            fsgsbase,
            token: 0,
            in_local: 0.into(),
            interrupted: 0.into(),
        });
        let page = PAGE as u64 - 1;
        let stack_end = (execfn + 9 + page) & !page;
        (start as *mut Start).write(Start { vdso, stack_end, stack: sp as u64 });
        stub_move(start - 64, start as *const Start)
    }
}

fn table_len() -> u64 {
    (ROWS * core::mem::size_of::<Row>()) as u64
}

#[no_mangle]
extern "C" fn stub_zygote(start: &Start) -> ! {
    let area = area::current();
    let slot = area.slot();
    let altstack = [AREAS, 0, AREA_LEN as u64];
    // SAFETY: the area is the alternate stack; we run on it, which is why the kernel is told only now that it is one.
    unsafe { sys::call(sys::SIGALTSTACK, altstack.as_ptr() as u64, 0, 0) };
    sys::set_mask(handler::HANDLER_MASK);
    if !handler::install() {
        failed(slot, 1, 0);
    }
    sys::die_with_parent();
    unmap_stack(start);
    let (vdso, len) = find_vdso(start.vdso);
    // SAFETY: nothing that we use lies in these ranges: text, slots and areas are inside the platform's own.
    unsafe {
        sys::call(sys::MUNMAP, LOWEST, TEXT - LOWEST, 0);
        let end = if len == 0 { RANGE_END } else { vdso };
        sys::call(sys::MUNMAP, RANGE_END, end - RANGE_END, 0);
        sys::call(sys::MUNMAP, end + len, HIGHEST - end - len, 0);
    }
    // `struct sock_fprog`; the program lies in the data area of this slot.
    let program = [slot.ev[0].load(Relaxed), area.data()];
    // SAFETY: the sentry wrote that many instructions there.
    let listener =
        unsafe { sys::call(sys::SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FLAGS, program.as_ptr() as u64) };
    if listener < 0 {
        failed(slot, 2, -listener);
    }
    for (to, word) in slot.ev.iter().zip([listener as u64, vdso, len, start.vdso, area.fsgsbase]) {
        to.store(word, Relaxed);
    }
    slot.kind.store(EV_HELLO, Relaxed);
    announce(slot);
    // The sentry takes the listener from here; then this copy goes, else doorbells would hang without a sentry.
    while slot.state.load(Acquire) != ANSWERED {
        futex_wait(slot);
    }
    sys::close(listener as u64);
    sys::close(FD_SLOTS as u64);
    sys::close(FD_TABLE as u64);
    let mut uc = Ucontext::fresh(0);
    // The first reply is to a "return" that nobody looks at: from here on the zygote is a thread that clones.
    handler::post_plain(area, slot, &uc, EV_INTERRUPTED);
    serve::run(area, slot, &mut uc);
    // Reached by the children: their first `Enter`.
    // SAFETY: a complete context.
    unsafe { sys::sigreturn((&raw mut uc).cast()) }
}

/// Tells the sentry, which polls or sleeps on the state, that the slot is posted.
fn announce(slot: &Slot) {
    slot.state.store(POSTED, SeqCst);
    // SAFETY: wakes; the word is in the slot.
    unsafe { sys::call(sys::FUTEX, slot.state.as_ptr() as u64, FUTEX_WAKE, 1) };
}

fn futex_wait(slot: &Slot) {
    let millisecond = [0u64, 1_000_000];
    // SAFETY: sleeps while the word is POSTED, a millisecond at most.
    unsafe {
        let word = slot.state.as_ptr() as u64;
        sys::call6(sys::FUTEX, word, FUTEX_WAIT, u64::from(POSTED), millisecond.as_ptr() as u64, 0, 0);
    }
}

fn failed(slot: &Slot, step: u64, errno: i64) -> ! {
    slot.ev[0].store(step, Relaxed);
    slot.ev[1].store(errno as u64, Relaxed);
    slot.kind.store(EV_BOOT_FAILED, Relaxed);
    announce(slot);
    sys::exit_group(104)
}

/// The initial stack goes first, so that nothing is adjacent to the vDSO when that is measured.
fn unmap_stack(start: &Start) {
    const STACK_MAX: u64 = 8 << 20;
    let page = PAGE as u64 - 1;
    let from = (start.stack & !page).saturating_sub(STACK_MAX);
    // The vDSO may lie right above.
    let end = if start.vdso > start.stack { start.stack_end.min(start.vdso) } else { start.stack_end };
    // SAFETY: we run on the area's stack, and nothing else lies there; what lies below the stack goes anyway.
    unsafe { sys::call(sys::MUNMAP, from, end - from, 0) };
}

/// Start and length of vvar and vDSO together.
fn find_vdso(header: u64) -> (u64, u64) {
    if header == 0 {
        return (0, 0);
    }
    let mapped = |page: u64| {
        let mut vec = 0u8;
        // SAFETY: asks only; ENOMEM where nothing is mapped.
        unsafe { sys::call(sys::MINCORE, page, PAGE as u64, &raw mut vec as u64) == 0 }
    };
    let page = PAGE as u64;
    let (mut low, mut high) = (header, header + page);
    while header - low < VVAR_PAGES * page && mapped(low - page) {
        low -= page;
    }
    while high - header < VDSO_PAGES * page && mapped(high) {
        high += page;
    }
    (low, high - low)
}
