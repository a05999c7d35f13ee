//! `/proc/PID/{stat,status,statm}` and what `exe` leads to.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use linux_abi::{Errno, Result};

use super::Subject;
use crate::fsimpl::sys::cpu_mask;
use crate::kernel::current::current_tid;
use crate::kernel::{Task, ThreadGroup};
use crate::signal::{NSIG, SIG_DFL, SIG_IGN};
use crate::vfs::VfsPath;

/// Nanoseconds of one clock tick (`sysconf(_SC_CLK_TCK)` is 100).
const TICK: u64 = 10_000_000;

/// The program's file.
pub(super) fn exe(s: &Subject) -> Result<VfsPath> {
    s.task().map_err(|_| Errno::ENOENT)?;
    s.group()?.exe.lock().as_ref().and_then(|f| f.path.clone()).ok_or(Errno::ENOENT)
}

/// The letter and the word of a state.
fn state(s: &Subject, group: &ThreadGroup) -> (char, &'static str) {
    let st = group.state.lock();
    // A first thread that has left, too, while others go on.
    if st.zombie.is_some() || !st.threads.iter().any(|t| t.tid() == s.tid) {
        ('Z', "zombie")
    } else if st.stopped.is_some() {
        ('T', "stopped")
    } else {
        drop(st);
        match s.task() {
            Ok(t) if current_tid() == Some(t.tid()) => ('R', "running"),
            _ => ('S', "sleeping"),
        }
    }
}

/// User and system time in ticks, of the thread or of all threads.
fn times(s: &Subject, group: &ThreadGroup) -> (u64, u64) {
    let sum = match s.task() {
        Ok(t) if s.thread => t.thread().cpu_time(),
        _ => group.cpu_times(),
    };
    (sum.0 / TICK, sum.1 / TICK)
}

/// Signals that are ignored and that have handlers.
fn actions(group: &ThreadGroup) -> (u64, u64) {
    let hand = group.sighand.read().clone();
    let hand = hand.lock();
    let mut sets = (0, 0);
    for (i, a) in hand.actions.iter().enumerate().take(NSIG) {
        match a.handler {
            SIG_DFL => {}
            SIG_IGN => sets.0 |= 1u64 << i,
            _ => sets.1 |= 1u64 << i,
        }
    }
    sets
}

fn name(s: &Subject) -> String {
    s.task().map_or_else(|_| String::new(), |t| String::from_utf8_lossy(&t.name.lock()).into_owned())
}

pub(super) fn stat(s: &Subject) -> Result<Vec<u8>> {
    let group = s.group()?;
    let task = s.task().ok();
    let (letter, _) = state(s, &group);
    let (utime, stime) = times(s, &group);
    let (tty, foreground) = match crate::kernel::terminal::of(&group) {
        Some(tty) => (tty.number() as i32, tty.ids().foreground),
        None => (0, -1),
    };
    let (ppid, pgid, sid, threads, children, exit_signal, exit_code) = {
        let ppid = group.ppid();
        let st = group.state.lock();
        let code = st.zombie.map_or(0, |z| z.to_wait());
        (ppid, st.pgid, st.sid, st.threads.len(), st.child_times, st.exit_signal, code)
    };
    let (ignored, caught) = actions(&group);
    let (pending, blocked) = match &task {
        Some(t) => {
            let sig = t.sig.lock();
            (sig.pending.set().0, sig.mask.0)
        }
        None => (0, 0),
    };
    let (size, rss, layout) = match &task {
        Some(t) => {
            let mm = t.mm();
            (mm.totals().all, mm.statm().resident, mm.with_table(|t| t.layout.clone()))
        }
        None => Default::default(),
    };
    // Where things lie is not for everybody.
    let seen = s.check_access().is_ok();
    let hide = |v: u64| if seen { v } else { 0 };
    let rss_limit = group.limit(crate::limits::resource::RSS);
    let brk = layout.brk_start;
    let mut out = format!("{} ({}) {letter} {ppid} {pgid} {sid} ", s.tid, name(s));
    let _ = write!(out, "{tty} {foreground} 4194304 0 0 0 0 ");
    let _ = write!(out, "{utime} {stime} {} {} ", children.0 / TICK, children.1 / TICK);
    let (priority, nice, realtime, policy) = task.as_ref().map_or((20, 0, 0, 0), |t| {
        let x = &t.extras;
        (priority(t), x.nice.load(Relaxed), x.priority.load(Relaxed), x.policy.load(Relaxed))
    });
    let _ = write!(out, "{priority} {nice} {threads} 0 {} {size} {rss} {rss_limit} ", group.started / TICK);
    let code = if task.is_some() && !seen { (1, 1) } else { layout.code };
    let _ = write!(out, "{} {} {} 0 0 ", code.0, code.1, hide(layout.stack_top));
    let _ = write!(out, "{} {} {} {} ", low(pending), low(blocked), low(ignored), low(caught));
    let _ = write!(out, "0 0 0 {exit_signal} 0 {realtime} {policy} 0 0 0 ");
    let _ = write!(out, "{} {} {} ", hide(layout.data.0), hide(layout.data.1), hide(brk));
    let _ = write!(out, "{} {} ", hide(layout.args.0), hide(layout.args.1));
    let _ = writeln!(out, "{} {} {exit_code}", hide(layout.env.0), hide(layout.env.1));
    Ok(out.into_bytes())
}

/// The priority as proc(5) shows it: 0 to 39 by the nice value, below for real time.
pub(super) fn priority(task: &Task) -> i32 {
    let x = &task.extras;
    match x.policy.load(Relaxed) {
        libc::SCHED_FIFO | libc::SCHED_RR => -1 - x.priority.load(Relaxed),
        _ => 20 + x.nice.load(Relaxed),
    }
}

/// proc(5): these masks show the first 31 signals only.
fn low(set: u64) -> u64 {
    set & 0x7fff_ffff
}

pub(super) fn statm(s: &Subject) -> Result<Vec<u8>> {
    s.group()?;
    let m = s.task().map_or_else(|_| Default::default(), |t| t.mm().statm());
    let line = format!("{} {} {} {} 0 {} 0\n", m.size, m.resident, m.resident - m.anonymous, m.text, m.data);
    Ok(line.into_bytes())
}

pub(super) fn smaps_rollup(s: &Subject) -> Result<Vec<u8>> {
    Ok(s.task()?.mm().smaps_rollup_text().into_bytes())
}

pub(super) fn status(s: &Subject) -> Result<Vec<u8>> {
    let group = s.group()?;
    let kernel = group.kernel.upgrade().ok_or(Errno::ESRCH)?;
    let task = s.task().ok();
    let (letter, word) = state(s, &group);
    let mut o = String::with_capacity(1500);
    let _ = writeln!(o, "Name:\t{}", name(s).replace('\\', "\\\\").replace('\n', "\\n"));
    if let Some(t) = &task {
        let _ = writeln!(o, "Umask:\t{:04o}", t.fs().get().umask);
    }
    let ppid = group.ppid();
    let _ = writeln!(o, "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}", group.pid, s.tid);
    let _ = writeln!(o, "PPid:\t{ppid}\nTracerPid:\t{}", task.as_ref().map_or(0, |t| t.ptrace.tracer_pid()));
    let cred = task.as_ref().map(|t| t.cred());
    if let Some(c) = &cred {
        let _ = writeln!(o, "Uid:\t{}\t{}\t{}\t{}", c.uid, c.euid, c.suid, c.fsuid);
        let _ = writeln!(o, "Gid:\t{}\t{}\t{}\t{}", c.gid, c.egid, c.sgid, c.fsgid);
    } else {
        let _ = writeln!(o, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0");
    }
    if let (Some(t), Some(c)) = (&task, &cred) {
        let highest = t.files().numbers().last().map_or(0, |n| *n as usize + 1);
        let _ = writeln!(o, "FDSize:\t{}", highest.next_power_of_two().max(64));
        let groups: String = c.groups.iter().map(|g| format!("{g} ")).collect();
        let _ = writeln!(o, "Groups:\t{}", if groups.is_empty() { " " } else { &groups });
    }
    let (pgid, sid, threads) = {
        let st = group.state.lock();
        (st.pgid, st.sid, st.threads.len().max(1))
    };
    let _ =
        writeln!(o, "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{pgid}\nNSsid:\t{sid}\nKthread:\t0", group.pid, s.tid);
    if let Some(t) = &task {
        memory(&mut o, t);
    }
    let _ = writeln!(o, "Threads:\t{threads}");
    let (ignored, caught) = actions(&group);
    let shared = group.pending.lock().set().0;
    let (pending, blocked) = task.as_ref().map_or((0, 0), |t| {
        let sig = t.sig.lock();
        (sig.pending.set().0, sig.mask.0)
    });
    let queued = cred.as_ref().map_or(0, |c| kernel.queued_signals.count(c.uid));
    let queue_limit = group.limit(crate::limits::resource::SIGPENDING);
    let _ = writeln!(o, "SigQ:\t{queued}/{}", if queue_limit == u64::MAX { 96_365 } else { queue_limit });
    let _ = writeln!(o, "SigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}");
    let _ = writeln!(o, "SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}");
    if let Some(c) = &cred {
        let _ = writeln!(o, "CapInh:\t{:016x}\nCapPrm:\t{:016x}", c.inheritable, c.permitted);
        let _ = writeln!(o, "CapEff:\t{:016x}\nCapBnd:\t{:016x}", c.effective, c.bounding);
        let _ = writeln!(o, "CapAmb:\t{:016x}\nNoNewPrivs:\t{}", c.ambient, c.no_new_privs as u8);
    }
    let (mode, filters) = task.as_ref().map_or((0, 0), |t| (t.seccomp.mode(), t.seccomp.filters()));
    let _ = writeln!(o, "Seccomp:\t{mode}\nSeccomp_filters:\t{filters}");
    let _ = writeln!(o, "Speculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown");
    let allowed = task.as_ref().map_or(0, |t| t.extras.affinity.load(Relaxed));
    let may = |cpu: usize| allowed == 0 || cpu < 64 && allowed >> cpu & 1 != 0;
    let mask = cpu_mask(may, kernel.cpus);
    let mask = mask.trim_start_matches('0');
    let _ = writeln!(o, "Cpus_allowed:\t{}", if mask.is_empty() { "0" } else { mask });
    let _ = writeln!(o, "Cpus_allowed_list:\t{}", ranges((0..kernel.cpus).filter(|c| may(*c))));
    let _ = writeln!(o, "Mems_allowed:\t1\nMems_allowed_list:\t0");
    let _ = writeln!(o, "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0");
    Ok(o.into_bytes())
}

/// Numbers as the kernel lists them: "0-3,5".
fn ranges(numbers: impl Iterator<Item = usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for n in numbers {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == n => run.1 = n,
            _ => runs.push((n, n)),
        }
    }
    let text = |(a, b): &(usize, usize)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

fn memory(o: &mut String, task: &Task) {
    let mm = task.mm();
    let t = mm.totals();
    let m = mm.statm();
    let rows = [
        ("VmPeak", mm.with_table(|t| t.peak()) / 1024),
        ("VmSize", t.all / 1024),
        ("VmLck", t.locked / 1024),
        ("VmPin", 0),
        ("VmHWM", m.resident * 4),
        ("VmRSS", m.resident * 4),
        ("RssAnon", m.anonymous * 4),
        ("RssFile", (m.resident - m.anonymous - m.memory) * 4),
        ("RssShmem", m.memory * 4),
        ("VmData", t.data / 1024),
        ("VmStk", t.stack / 1024),
        ("VmExe", m.text * 4),
        ("VmLib", (t.exec / 1024).saturating_sub(m.text * 4)),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (key, kb) in rows {
        let _ = writeln!(o, "{key}:\t{kb:>8} kB");
    }
    let _ = writeln!(o, "CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff");
}
