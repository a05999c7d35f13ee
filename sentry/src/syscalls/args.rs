//! From registers to types: the one place where arguments are cast.

use linux_abi::{Errno, Result};

use crate::mm::UserPtr;

/// What an argument register becomes. The cut to a narrower type is what the kernel's own C signature does.
pub trait FromArg {
    fn from_arg(raw: u64) -> Self;
}

macro_rules! cut {
    ($($t:ty),*) => { $(impl FromArg for $t { fn from_arg(raw: u64) -> $t { raw as $t } })* };
}
cut!(u64, i64, u32, i32, usize, u16);

impl<T> FromArg for UserPtr<T> {
    fn from_arg(raw: u64) -> UserPtr<T> {
        UserPtr::new(raw)
    }
}

/// A file descriptor argument (an `int`; the upper half is ignored, as Linux does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

impl FromArg for Fd {
    fn from_arg(raw: u64) -> Fd {
        Fd(raw as i32)
    }
}

/// Where guest addresses end (`TASK_SIZE_MAX`).
const GUEST_END: u64 = 0x7fff_ffff_f000;

/// `EFAULT` for a range that no program can have, which Linux says before it looks at anything else (`access_ok`).
pub fn user_range(addr: u64, len: u64) -> Result<()> {
    match addr.checked_add(len) {
        Some(end) if end <= GUEST_END => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}
