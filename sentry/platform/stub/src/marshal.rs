//! Copies the inputs of a call into the slot, as the table says, so that the sentry works on one snapshot. What does
//! not fit, or faults, is left out: the sentry then reads (and finds the fault) by itself.

use core::sync::atomic::Ordering::Relaxed;

use crate::area::Area;
use crate::frame::{Ucontext, G_R8, G_RDI, G_RDX, G_RSI, G_RSP};
use crate::slot::*;
use crate::sys;

const IOV_MAX: u64 = 1024;
const IOV_LEN: u64 = 16;

/// The table's line for a call.
#[inline(always)]
pub fn row(nr: u64) -> Option<&'static Row> {
    if nr >= ROWS as u64 {
        return None;
    }
    // SAFETY: the table has ROWS lines and is mapped from the start of the process on.
    Some(unsafe { &*(TABLE as *const Row).add(nr as usize) })
}

/// The six arguments of a call.
#[inline(always)]
pub fn args(uc: &Ucontext) -> [u64; 6] {
    [uc.g[G_RDI], uc.g[G_RSI], uc.g[G_RDX], uc.g[G_R8 + 2], uc.g[G_R8], uc.g[G_R8 + 1]]
}

/// Records, appended to the data area.
struct Records {
    data: u64,
    len: usize,
    count: usize,
}

impl Records {
    /// Whether a record of `n` bytes fits.
    fn room(&self, n: u64) -> bool {
        self.count < MAX_RECORDS
            && n <= (DATA_LEN - RECORD_HEADER - 8) as u64
            && self.len + RECORD_HEADER + 8 + n as usize <= OUT_END
    }
    fn buffer(&self) -> u64 {
        self.data + (self.len + RECORD_HEADER) as u64
    }
    fn finish(&mut self, addr: u64, n: usize) {
        let header = (self.data + self.len as u64) as *mut u64;
        // SAFETY: `room` was asked: inside the data area, which is 8-aligned.
        unsafe {
            header.write_volatile(addr);
            header.add(1).write_volatile(n as u64);
        }
        self.len += RECORD_HEADER + n.next_multiple_of(8);
        self.count += 1;
    }
    fn bytes(&mut self, addr: u64, n: u64) -> bool {
        if addr == 0 || n == 0 || !self.room(n) || !sys::copy(self.buffer(), addr, n as usize) {
            return false;
        }
        self.finish(addr, n as usize);
        true
    }
    fn string(&mut self, addr: u64) {
        if addr == 0 || !self.room(STR_MAX as u64) {
            return;
        }
        if let Some(n) = sys::copy_str(self.buffer(), addr, STR_MAX) {
            self.finish(addr, n);
        }
    }
    /// An iovec array, and the buffers that it names as far as they fit.
    fn iov(&mut self, addr: u64, count: u64, buffers: bool) {
        if count > IOV_MAX {
            return;
        }
        let array = self.buffer();
        if !self.bytes(addr, count * IOV_LEN) || !buffers {
            return;
        }
        for i in 0..count {
            // SAFETY: the array was copied whole to this place. A racing guest changes only its own snapshot.
            let (base, len) = unsafe {
                let entry = (array + i * IOV_LEN) as *const u64;
                (entry.read_volatile(), entry.add(1).read_volatile())
            };
            if len != 0 && !self.bytes(base, len) {
                return;
            }
        }
    }
}

/// Copies what the line names and writes the record counts to the slot.
pub fn inputs(area: &Area, slot: &Slot, row: &Row, uc: &Ucontext) {
    let mut records = Records { data: area.data(), len: 0, count: 0 };
    let args = args(uc);
    for (shape, &addr) in row.args.iter().zip(&args) {
        if shape.kind == SHAPE_NONE {
            continue;
        }
        let n = args[usize::from(shape.arg) % 6];
        match shape.kind {
            SHAPE_STR => records.string(addr),
            SHAPE_IN => {
                records.bytes(addr, n);
            }
            SHAPE_STRUCT => {
                records.bytes(addr, u64::from(shape.size));
            }
            SHAPE_ARRAY => {
                records.bytes(addr, n.saturating_mul(u64::from(shape.size)));
            }
            SHAPE_IN_IOV => records.iov(addr, n, true),
            SHAPE_OUT_IOV => records.iov(addr, n, false),
            _ => {}
        }
    }
    if row.flags & ROW_SIGFRAME != 0 {
        records.bytes(uc.g[G_RSP], UCONTEXT_LEN as u64);
    }
    slot.in_len.store(records.len as u32, Relaxed);
    slot.in_count.store(records.count as u32, Relaxed);
}

/// Copies out what the sentry wrote; false where the guest's memory is bad.
pub fn outputs(area: &Area, slot: &Slot) -> bool {
    let mut at = slot.out_off.load(Relaxed) as usize;
    let end = slot.out_end.load(Relaxed) as usize;
    let mut good = true;
    while at + RECORD_HEADER <= end && end <= DATA_LEN {
        let header = (area.data() + at as u64) as *const u64;
        // SAFETY: inside the data area, 8-aligned as the sentry writes it.
        let (addr, n) = unsafe { (header.read_volatile(), header.add(1).read_volatile() as usize) };
        good &= sys::copy(addr, header as u64 + RECORD_HEADER as u64, n);
        at += RECORD_HEADER + n.next_multiple_of(8);
    }
    good
}
