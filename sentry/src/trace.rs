//! The trace of calls (`--trace`): one line per call, in strace's form. Costs one load of a flag while off.

use std::sync::Arc;

use linux_abi::Errno;
use platform::{ArgShape, Syscall};

use crate::kernel::{Kernel, Task};
use crate::syscalls::table;

/// Whether calls are traced.
pub fn on(kernel: &Kernel) -> bool {
    kernel.trace.is_some()
}

/// Calls that never return are shown when they are made.
pub fn enter(kernel: &Arc<Kernel>, task: &Arc<Task>, call: &Syscall) {
    let ends = call.nr == libc::SYS_exit as u64 || call.nr == libc::SYS_exit_group as u64;
    if let (true, Some(sink)) = (ends, &kernel.trace) {
        sink(&format!("{} {} = ?", task.tid(), show(task, call)));
    }
}

/// A call has its result.
pub fn exit(kernel: &Arc<Kernel>, task: &Arc<Task>, call: &Syscall, result: Result<i64, Errno>) {
    let Some(sink) = &kernel.trace else { return };
    let result = match result {
        Ok(v) if (-4095..0).contains(&v) => format!("-1 {}", Errno(-v as i32).name()),
        Ok(v) if v.unsigned_abs() > 1 << 32 => format!("{v:#x}"),
        Ok(v) => v.to_string(),
        Err(e) => format!("-1 {}", e.name()),
    };
    sink(&format!("{} {} = {result}", task.tid(), show(task, call)));
}

/// Name and arguments. Strings are read now: after the call they may have changed, as with strace's own output.
fn show(task: &Arc<Task>, call: &Syscall) -> String {
    let args = arguments(task, call).join(", ");
    match table::lookup(call.nr) {
        Some(entry) => format!("{}({args})", entry.name),
        None => format!("syscall_{:#x}({args})", call.nr),
    }
}

/// The arguments of a call, one text each; those of a call that does not exist here in hexadecimal.
pub fn arguments(task: &Arc<Task>, call: &Syscall) -> Vec<String> {
    let Some(entry) = table::lookup(call.nr) else {
        return call.args.iter().take(3).map(|arg| format!("{arg:#x}")).collect();
    };
    let thread = task.thread();
    entry
        .args
        .iter()
        .zip(call.args)
        .map(|(shape, v)| match shape {
            ArgShape::Str if v == 0 => "NULL".into(),
            ArgShape::Str => match thread.mem().read_cstr(v, 4096) {
                Ok(s) => quote(&s),
                Err(_) => format!("{v:#x}"),
            },
            ArgShape::In { len_arg } => {
                let len = call.args.get(*len_arg as usize).copied().unwrap_or(0);
                let mut buf = vec![0; len.min(32) as usize];
                match thread.mem().read(v, &mut buf) {
                    Ok(()) => quote(&buf) + if len > 32 { "..." } else { "" },
                    Err(_) => format!("{v:#x}"),
                }
            }
            ArgShape::Value if (v as i32) < 0 && v >> 32 == 0 || (v as i64) < 0 && (v as i64) > -4096 => {
                (v as i32).to_string()
            }
            ArgShape::Value if v < 4096 => v.to_string(),
            _ if v == 0 => "NULL".into(),
            _ => format!("{v:#x}"),
        })
        .collect()
}

/// A C string literal; control bytes are escaped, so that a guest cannot talk to the user's terminal.
fn quote(s: &[u8]) -> String {
    let mut out = String::from("\"");
    for b in s {
        out.extend(std::ascii::escape_default(*b).map(char::from));
    }
    out.push('"');
    out
}
