//! Carries out `Reply::Act`: what the sentry wants done to this address space.

use core::sync::atomic::Ordering::Relaxed;

use crate::area::Area;
use crate::slot::*;
use crate::sys;

const MAP_ANONYMOUS: u64 = 0x20;
const FUTEX_WAKE: u64 = 1;

/// Runs the list in the data area. `Err` is the entry that failed and its errno; `Ok` how many were done.
pub fn run(area: &Area, slot: &Slot) -> Result<u64, (u64, i64)> {
    let count = slot.args[0].load(Relaxed);
    let mut at = area.data() + slot.args[1].load(Relaxed);
    for i in 0..count {
        let header = at as *const [u64; ACTION_WORDS];
        // SAFETY: inside the data area, 8-aligned as the sentry writes it.
        let word = unsafe { header.read_volatile() };
        let data = at + (ACTION_WORDS * 8) as u64;
        let errno = one(area, word, data);
        if errno != 0 {
            return Err((i, errno));
        }
        at = data + word[7].next_multiple_of(8);
    }
    Ok(count)
}

fn one(area: &Area, word: [u64; ACTION_WORDS], data: u64) -> i64 {
    let [kind, a, b, c, d, e, f, n] = word;
    let ret = match kind {
        DO_MMAP => {
            // SAFETY: a fixed mapping at an address that the kernel chose for the guest.
            let ret = unsafe { sys::call6(sys::MMAP, a, b, c, d, e, f) };
            if d & MAP_ANONYMOUS == 0 {
                sys::close(area.index);
            }
            ret
        }
        // SAFETY: (this and the next) addresses that the kernel gave the guest.
        DO_MUNMAP => unsafe { sys::call(sys::MUNMAP, a, b, 0) },
        // SAFETY: as above.
        DO_MPROTECT => unsafe { sys::call(sys::MPROTECT, a, b, c) },
        // SAFETY: as above.
        DO_MREMAP => unsafe { sys::call6(sys::MREMAP, a, b, c, d, e, 0) },
        // SAFETY: as above.
        DO_MADVISE => unsafe { sys::call(sys::MADVISE, a, b, c) },
        DO_STORE => result(sys::copy(a, data, n as usize)),
        DO_ZERO => result(sys::zero(a, b as usize)),
        // SAFETY: wakes waiters; the host checks the address.
        DO_WAKE => unsafe { sys::call(sys::FUTEX, a, FUTEX_WAKE | c, b) },
        _ => -sys::EINVAL,
    };
    if (-4095..0).contains(&ret) {
        -ret
    } else {
        0
    }
}

fn result(good: bool) -> i64 {
    if good {
        0
    } else {
        -sys::EFAULT
    }
}
