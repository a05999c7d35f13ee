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
    let mut open = false;
    let done = (0..count).try_for_each(|i| {
        let header = at as *const [u64; ACTION_WORDS];
        // SAFETY: inside the data area, 8-aligned as the sentry writes it.
        let word = unsafe { header.read_volatile() };
        let data = at + (ACTION_WORDS * 8) as u64;
        let closes = word[0] == DO_MMAP && word[4] & MAP_ANONYMOUS == 0;
        open = word[0] == DO_MMAP_MORE || open && !closes;
        let errno = one(area, word, data);
        at = data + word[7].next_multiple_of(8);
        if errno == 0 {
            Ok(())
        } else {
            Err((i, errno))
        }
    });
    if open {
        // What a mapping further on was to be of, had all gone well.
        sys::close(area.index);
    }
    done.map(|()| count)
}

fn one(area: &Area, word: [u64; ACTION_WORDS], data: u64) -> i64 {
    let [kind, a, b, c, d, e, f, n] = word;
    let ret = match kind {
        DO_MMAP | DO_MMAP_MORE => {
            // SAFETY: a fixed mapping at an address that the kernel chose for the guest.
            let ret = unsafe { sys::call6(sys::MMAP, a, b, c, d, e, f) };
            if d & MAP_ANONYMOUS == 0 && kind == DO_MMAP {
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
        DO_CAS => match sys::compare_exchange(a, b as u32, c as u32) {
            Some(found) if found == b as u32 => 0,
            Some(_) => -sys::EAGAIN,
            None => -sys::EFAULT,
        },
        DO_OWNER_DIED => {
            owner_died(a, b as u32, c != 0, d != 0);
            0
        }
        _ => -sys::EINVAL,
    };
    if (-4095..0).contains(&ret) {
        -ret
    } else {
        0
    }
}

const TID_MASK: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const PRIVATE: u64 = 128;

/// `handle_futex_death` of Linux: the word of a robust futex whose owner ends.
fn owner_died(addr: u64, tid: u32, pending: bool, pi: bool) {
    let wake = || {
        // Waiters of process-private locks stand under another key.
        for key in [0, PRIVATE] {
            // SAFETY: wakes waiters; the host checks the address.
            unsafe { sys::call(sys::FUTEX, addr, FUTEX_WAKE | key, 1) };
        }
    };
    // Replaces nought by nought: only looks.
    let Some(mut found) = sys::compare_exchange(addr, 0, 0) else { return };
    if pending && !pi && found == 0 {
        return wake();
    }
    while found & TID_MASK == tid & TID_MASK {
        match sys::compare_exchange(addr, found, found & WAITERS | OWNER_DIED) {
            Some(now) if now == found => {
                if found & WAITERS != 0 && !pi {
                    wake();
                }
                return;
            }
            Some(now) => found = now,
            None => return,
        }
    }
}

fn result(good: bool) -> i64 {
    if good {
        0
    } else {
        -sys::EFAULT
    }
}
