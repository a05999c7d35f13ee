//! Processes and threads.

use crate::kernel::{Ctx, SysResult};

/// getpid(2).
pub fn getpid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.group.pid as u64)
}
