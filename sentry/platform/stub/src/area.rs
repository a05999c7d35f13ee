//! The private area of a thread: alternate stack, with a header at its start. Private, so that fork copies it.

use core::arch::asm;
use core::sync::atomic::AtomicU32;

use crate::slot::{Slot, AREAS, AREA_LEN, DATA_LEN, PAGE, SLOTS, SLOT_STRIDE};

#[repr(C)]
pub struct Area {
    pub index: u64,
    /// 1 where the host lets us use rdfsbase and its like.
    pub fsgsbase: u64,
    /// The token that a new host thread shows at its first doorbell.
    pub token: u64,
    /// 1 while a local call runs with the interrupt signal open.
    pub in_local: AtomicU32,
    /// Set by the interrupt signal during a local call.
    pub interrupted: AtomicU32,
}

pub fn base(index: u64) -> u64 {
    AREAS + index * AREA_LEN as u64
}

pub fn top(index: u64) -> u64 {
    base(index) + AREA_LEN as u64
}

/// The area of the running thread.
#[inline(always)]
pub fn current() -> &'static Area {
    let sp: u64;
    // SAFETY: reads the stack pointer.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    // SAFETY: handlers run on the alternate stack, inside an area. Where a guest jumped here with another stack
    // pointer, this reads what lies there or faults: its own loss.
    unsafe { &*((sp & !(AREA_LEN as u64 - 1)) as *const Area) }
}

impl Area {
    #[inline(always)]
    pub fn slot(&self) -> &'static Slot {
        // SAFETY: slots of all indices are mapped from the start of the process on.
        unsafe { &*((SLOTS + self.index * SLOT_STRIDE as u64) as *const Slot) }
    }
    #[inline(always)]
    pub fn data(&self) -> u64 {
        SLOTS + self.index * SLOT_STRIDE as u64 + PAGE as u64
    }
    pub fn fsgsbase(&self) -> bool {
        self.fsgsbase != 0
    }
}

const _: () = assert!(core::mem::size_of::<Slot>() <= PAGE && DATA_LEN < 1 << 20);
