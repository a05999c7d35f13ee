//! What the caller gave this process and the language's runtime changes before `main`: it ignores SIGPIPE and opens
//! `/dev/null` in place of closed standard streams. A guest must find both as the caller left them.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};

static IGNORED: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU8 = AtomicU8::new(0b111);

/// Signals that the caller has ignored, as a mask: bit N-1 is signal N.
#[must_use]
pub fn ignored_signals() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Which of the standard streams 0, 1, 2 the caller left open.
#[must_use]
pub fn open_streams() -> [bool; 3] {
    let open = OPEN.load(Ordering::Relaxed);
    [open & 1 != 0, open & 2 != 0, open & 4 != 0]
}

extern "C" fn look() {
    let mut ignored = 0u64;
    for signal in 1..=64 {
        // The kernel's own structure: handler, flags, restorer, mask. The library's call refuses signals 32 and 33.
        let mut action = [0u64; 4];
        let none = std::ptr::null::<u64>();
        // SAFETY: rt_sigaction(2) with a null new action only writes the old one, 32 bytes, into live memory.
        let found =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), 8) == 0 };
        if found && action[0] == libc::SIG_IGN as u64 {
            ignored |= 1 << (signal - 1);
        }
    }
    IGNORED.store(ignored, Ordering::Relaxed);
    let mut open = 0u8;
    for fd in 0..3 {
        if crate::fds::is_open(fd) {
            open |= 1 << fd;
        }
    }
    OPEN.store(open, Ordering::Relaxed);
}

/// Run by the C library before `main`, hence before the runtime (elf(5), `.init_array`). `look` uses nothing but
/// system calls and atomics, so it needs no initialised runtime.
#[used]
// SAFETY: entries of this section are called as functions with C linkage, which this is.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
