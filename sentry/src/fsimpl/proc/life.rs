//! What `/proc/PID` shows of a process's life: scheduling, the call it waits in, its children, its namespaces.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use linux_abi::{Errno, Result};

use super::Subject;
use crate::kernel::current::current_tid;

/// The namespaces that everybody in the sandbox is in, with the numbers that Linux gives its first ones.
pub(super) const NAMESPACES: [(&str, &str, u64); 10] = [
    ("cgroup", "cgroup", 0xeffffffb),
    ("ipc", "ipc", 0xefffffff),
    ("mnt", "mnt", 0xeffffff8),
    ("net", "net", 0xeffffff9),
    ("pid", "pid", 0xeffffffc),
    ("pid_for_children", "pid", 0xeffffffc),
    ("time", "time", 0xeffffffa),
    ("time_for_children", "time", 0xeffffffa),
    ("user", "user", 0xeffffffd),
    ("uts", "uts", 0xeffffffe),
];

/// What a link in `ns` reads as.
pub(super) fn namespace_text(index: usize) -> Result<Vec<u8>> {
    let (_, kind, number) = NAMESPACES.get(index).ok_or(Errno::ENOENT)?;
    Ok(format!("{kind}:[{number}]").into_bytes())
}

/// The call that a thread waits in: number, arguments, stack pointer, instruction pointer.
pub(super) fn syscall(s: &Subject) -> Result<Vec<u8>> {
    let Ok(task) = s.task() else { return Ok(Vec::new()) };
    if current_tid() == Some(task.tid()) {
        // The asker's own: its handler runs, so that its registers stand.
        let r = task.thread().regs();
        let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
        return Ok(call_line(r.rax, &args, r.rsp, r.rip));
    }
    let Some(run) = task.run.try_lock() else { return Ok(b"running\n".to_vec()) };
    if !task.is_blocked() || run.dead {
        return Ok(b"running\n".to_vec());
    }
    let c = &run.call;
    Ok(call_line(c.nr, &c.args, c.sp, task.thread().regs().rip))
}

fn call_line(nr: u64, args: &[u64; 6], sp: u64, ip: u64) -> Vec<u8> {
    let mut line = nr.to_string();
    for v in args.iter().chain([&sp, &ip]) {
        let _ = write!(line, " 0x{v:x}");
    }
    line.push('\n');
    line.into_bytes()
}

/// Children that this thread made, as proc(5) lists them.
pub(super) fn children(s: &Subject) -> Result<Vec<u8>> {
    let children = s.group()?.state.lock().children.clone();
    let made = |c: &&std::sync::Arc<crate::kernel::ThreadGroup>| c.state.lock().maker == s.tid;
    Ok(children.iter().filter(made).map(|c| format!("{} ", c.pid)).collect::<String>().into_bytes())
}

/// Processor time in nanoseconds; how long it waited for a processor, and how often it ran, only the host knows.
pub(super) fn schedstat(s: &Subject) -> Result<Vec<u8>> {
    let (user, system) = s.task().map_or((0, 0), |t| t.thread().cpu_time());
    Ok(format!("{} 0 0\n", user + system).into_bytes())
}

/// The rows of `sched` that we know.
pub(super) fn sched(s: &Subject) -> Result<Vec<u8>> {
    let task = s.task()?;
    let name = String::from_utf8_lossy(&task.name.lock()).into_owned();
    let threads = s.group()?.threads().len();
    let (user, system) = task.thread().cpu_time();
    let millis = (user + system) as f64 / 1e6;
    let mut out = format!("{name} ({}, #threads: {threads})\n", s.tid);
    let _ = writeln!(out, "-------------------------------------------------------------------");
    let _ = writeln!(out, "{:<45}:{millis:>21.6}", "se.sum_exec_runtime");
    let mut row = |key: &str, value: i64| {
        let _ = writeln!(out, "{key:<45}:{value:>21}");
    };
    let (policy, nice) = (task.extras.policy.load(Relaxed), task.extras.nice.load(Relaxed));
    row("policy", policy.into());
    row("prio", i64::from(super::status::priority(&task)) + 100);
    row("nice", nice.into());
    Ok(out.into_bytes())
}

pub(super) fn timer_slack(s: &Subject) -> Result<Vec<u8>> {
    s.check_access()?;
    Ok(format!("{}\n", s.task()?.extras.slack()).into_bytes())
}

/// Nought is the default again (prctl(2), `PR_SET_TIMERSLACK`).
pub(super) fn set_timer_slack(s: &Subject, text: &[u8]) -> Result<()> {
    s.check_access()?;
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let slack: u64 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    s.task()?.extras.slack.store(slack, Relaxed);
    Ok(())
}
