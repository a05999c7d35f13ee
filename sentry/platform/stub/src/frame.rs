//! Signal contexts: the host's own (`Ucontext`, in which a guest's registers stand while it is in a handler), and
//! the frames that we write to and read from the guest's stack (arch/x86, `struct rt_sigframe`).

use crate::area::Area;
use crate::slot::*;
use crate::sys;

/// `struct ucontext` of x86-64.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ucontext {
    pub flags: u64,
    pub link: u64,
    pub ss_sp: u64,
    pub ss_flags: u64,
    pub ss_size: u64,
    pub g: [u64; 23],
    pub fpstate: u64,
    pub reserved: [u64; 8],
    pub sigmask: u64,
}

const _: () = assert!(core::mem::size_of::<Ucontext>() == UCONTEXT_LEN);

// Indices of `Ucontext::g`.
pub const G_R8: usize = 0;
pub const G_RDI: usize = 8;
pub const G_RSI: usize = 9;
pub const G_RBP: usize = 10;
pub const G_RBX: usize = 11;
pub const G_RDX: usize = 12;
pub const G_RAX: usize = 13;
pub const G_RCX: usize = 14;
pub const G_RSP: usize = 15;
pub const G_RIP: usize = 16;
pub const G_EFLAGS: usize = 17;
pub const G_SEG: usize = 18;
pub const G_ERR: usize = 19;
pub const G_TRAPNO: usize = 20;
pub const G_OLDMASK: usize = 21;

/// UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 6;
/// CS 0x33, SS 0x2b, packed as in `struct sigcontext`.
pub const SEGMENTS: u64 = 0x33 | 0x2b << 48;

const FP_MAGIC1: u32 = 0x4650_5853;
const FP_MAGIC2: u32 = 0x4650_5845;
/// Where `struct _fpx_sw_bytes` lies in the legacy area, and how large that area is.
const SW_BYTES: u64 = 464;
const LEGACY_LEN: usize = 512;
/// No extended state is larger than this (AMX: about 11 KiB).
const FP_MAX: usize = 16 * 1024;
const FRAME_LEN: u64 = 8 + UCONTEXT_LEN as u64 + 128;
const RED_ZONE: u64 = 128;
const RESET_FLAGS: u64 = 0x400 | 0x100 | 0x1_0000; // DF, TF, RF

/// The order of `Slot::regs` against that of `Ucontext::g`.
const ORDER: [(usize, usize); 18] = [
    (RAX, G_RAX),
    (RDI, G_RDI),
    (RSI, G_RSI),
    (RDX, G_RDX),
    (R10, G_R8 + 2),
    (R8, G_R8),
    (R9, G_R8 + 1),
    (RIP, G_RIP),
    (RSP, G_RSP),
    (RBX, G_RBX),
    (RBP, G_RBP),
    (R12, G_R8 + 4),
    (R13, G_R8 + 5),
    (R14, G_R8 + 6),
    (R15, G_R8 + 7),
    (R11, G_R8 + 3),
    (RCX, G_RCX),
    (EFLAGS, G_EFLAGS),
];

impl Ucontext {
    /// The context of a thread that has never run: the alternate stack of its area, nothing blocked.
    pub fn fresh(index: u64) -> Ucontext {
        let mut uc = Ucontext {
            flags: UC_FLAGS,
            link: 0,
            ss_sp: crate::area::base(index),
            ss_flags: 0,
            ss_size: AREA_LEN as u64,
            g: [0; 23],
            fpstate: 0,
            reserved: [0; 8],
            sigmask: 0,
        };
        uc.g[G_SEG] = SEGMENTS;
        uc.g[G_EFLAGS] = 0x202;
        uc
    }

    /// Writes the registers to the slot.
    #[inline]
    pub fn store(&self, area: &Area, slot: &Slot) {
        for (to, from) in ORDER {
            slot.regs[to].store(self.g[from], Relaxed);
        }
        slot.regs[FS_BASE].store(sys::fs_base(area.fsgsbase()), Relaxed);
        slot.fpstate.store(self.fpstate, Relaxed);
    }

    /// Takes registers from the slot; floating-point state stays.
    pub fn load(&mut self, area: &Area, slot: &Slot) {
        for (from, to) in ORDER {
            self.g[to] = slot.regs[from].load(Relaxed);
        }
        sys::set_fs_base(area.fsgsbase(), slot.regs[FS_BASE].load(Relaxed));
    }

    /// Takes registers from the slot, with fresh floating-point state.
    pub fn enter(&mut self, area: &Area, slot: &Slot) {
        for (from, to) in ORDER {
            self.g[to] = slot.regs[from].load(Relaxed);
        }
        self.g[G_SEG] = SEGMENTS;
        self.fpstate = 0;
        sys::set_fs_base(area.fsgsbase(), slot.regs[FS_BASE].load(Relaxed));
        sys::set_gs_base(area.fsgsbase(), 0);
    }

    /// Back over the call instruction, which is made again.
    pub fn restart(&mut self) {
        self.g[G_RIP] = self.g[G_RIP].wrapping_sub(2);
    }
}

use core::sync::atomic::Ordering::Relaxed;

/// The bytes of floating-point state that a context of the host refers to.
pub fn fp_len(fpstate: u64) -> usize {
    if fpstate == 0 {
        return 0;
    }
    // SAFETY: written by the host's kernel next to the context that we run on.
    let (magic, len) = unsafe {
        (
            ((fpstate + SW_BYTES) as *const u32).read_volatile(),
            ((fpstate + SW_BYTES + 4) as *const u32).read_volatile(),
        )
    };
    if magic == FP_MAGIC1 {
        (len as usize).clamp(LEGACY_LEN, FP_MAX)
    } else {
        LEGACY_LEN
    }
}

/// Writes the frame of the signal described in the slot and turns the context into the handler's. False, with the
/// context as it was, where the guest's stack is bad.
pub fn deliver(area: &Area, slot: &Slot, uc: &mut Ucontext, faulted: bool) -> bool {
    let arg = |i: usize| slot.args[i].load(Relaxed);
    // In the context itself: should the frame not fit, the next signal finds the call's result there.
    match arg(9) {
        RESUME_RETURN => uc.g[G_RAX] = if faulted { -sys::EFAULT as u64 } else { arg(10) },
        RESUME_RESTART => uc.restart(),
        _ => {}
    }
    let mut saved = *uc;
    let fp = fp_len(uc.fpstate);
    let mut sp = if arg(3) != 0 { arg(4) } else { uc.g[G_RSP].wrapping_sub(RED_ZONE) };
    if fp != 0 {
        sp = sp.wrapping_sub(fp as u64) & !63;
        if !sys::copy(sp, uc.fpstate, fp) {
            return false;
        }
        saved.fpstate = sp;
    }
    let frame = (sp.wrapping_sub(FRAME_LEN) & !15).wrapping_sub(8);
    saved.link = 0;
    saved.ss_sp = arg(5);
    saved.ss_flags = arg(6) & 0xffff_ffff;
    saved.ss_size = arg(7);
    saved.sigmask = arg(8);
    saved.g[G_OLDMASK] = arg(8);
    let restorer = arg(2);
    let uc_at = frame.wrapping_add(8);
    let info_at = uc_at.wrapping_add(UCONTEXT_LEN as u64);
    if !sys::copy(frame, &raw const restorer as u64, 8)
        || !sys::copy(uc_at, &raw const saved as u64, UCONTEXT_LEN)
        || !sys::copy(info_at, area.data() + SIGINFO_AT as u64, 128)
    {
        return false;
    }
    uc.g[G_RDI] = arg(0);
    uc.g[G_RSI] = info_at;
    uc.g[G_RDX] = uc_at;
    uc.g[G_RAX] = 0;
    uc.g[G_RSP] = frame;
    uc.g[G_RIP] = arg(1);
    uc.g[G_EFLAGS] &= !RESET_FLAGS;
    // Linux enters handlers with fresh floating-point state too.
    uc.fpstate = 0;
    true
}

/// rt_sigreturn(2) of the guest: registers and floating-point state from the frame at its stack pointer.
pub fn sigreturn(uc: &mut Ucontext) -> bool {
    let mut saved = *uc;
    if !sys::copy(&raw mut saved as u64, uc.g[G_RSP], UCONTEXT_LEN) {
        return false;
    }
    let fp = if saved.fpstate == 0 { Some(0) } else { load_fp(saved.fpstate, uc.fpstate) };
    let Some(fpstate) = fp else { return false };
    let segments = uc.g[G_SEG];
    uc.g = saved.g;
    // Segments, stack and mask of the host context stay ours; eflags are cleaned by the host's rt_sigreturn.
    uc.g[G_SEG] = segments;
    uc.fpstate = fpstate;
    true
}

/// Copies the guest's floating-point state over the host frame's; returns where it is (0: fresh state).
fn load_fp(from: u64, to: u64) -> Option<u64> {
    let room = fp_len(to);
    if room == 0 {
        return Some(0);
    }
    let mut sw = [0u32; 5];
    if !sys::copy(&raw mut sw as u64, from.wrapping_add(SW_BYTES), 20) {
        return None;
    }
    let (magic, len, xstate) = (sw[0], sw[1] as usize, sw[4] as usize);
    if magic != FP_MAGIC1 || len > room || xstate + 4 > len || xstate < LEGACY_LEN {
        // No extended state: the legacy area alone, as Linux takes it.
        return sys::copy(to, from, LEGACY_LEN).then_some(to);
    }
    if !sys::copy(to, from, len) {
        return None;
    }
    // SAFETY: inside the host frame's area, which has room for `len` bytes.
    let magic2 = unsafe { ((to + xstate as u64) as *const u32).read_unaligned() };
    Some(if magic2 == FP_MAGIC2 { to } else { 0 })
}
