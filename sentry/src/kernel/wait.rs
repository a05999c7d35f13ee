//! wait4 and waitid: a parent learns what became of its children (wait(2)).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Errno;

use super::current::{Ctx, Restart};
use super::thread_group::{GroupState, ThreadGroup};
use super::Stop;
use crate::signal::info::{CLD_CONTINUED, CLD_STOPPED, CLD_TRAPPED};
use crate::wait_queue::PollEvents;

/// Which children a wait is for.
#[derive(Clone, Debug)]
pub enum Which {
    Any,
    Pid(i32),
    Pgrp(i32),
    Group(i32),
    /// The process of a pidfd that does not block.
    Try(i32),
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub pid: i32,
    pub uid: u32,
    /// `CLD_*`.
    pub code: i32,
    /// Exit code or signal number.
    pub value: i32,
    /// The status word of wait4.
    pub status: i32,
    /// CPU time of the child (user, system), nanoseconds.
    pub times: (u64, u64),
}

const WUNTRACED: i32 = libc::WUNTRACED;

/// Waits for a child; `None` under `WNOHANG` where none has changed. `ECHILD` where there is none to wait for.
pub fn wait(cx: &mut Ctx<'_>, which: &Which, options: i32) -> Result<Option<Found>, Stop> {
    let parent = cx.task.group.clone();
    loop {
        let mut any = false;
        let children = parent.state.lock().children.clone();
        for child in &children {
            if !matches(cx, child, which, options) {
                continue;
            }
            any = true;
            if let Some(found) = look(cx, child, options) {
                return Ok(Some(found));
            }
        }
        if let Some(found) = tracee(cx, which, options, &mut any) {
            return Ok(Some(found));
        }
        if !any {
            return Err(Stop::Errno(Errno::ECHILD));
        }
        if options & libc::WNOHANG != 0 {
            return Ok(None);
        }
        if matches!(which, Which::Try(_)) {
            return Err(Stop::Errno(Errno::EAGAIN));
        }
        cx.wait(&[(&parent.child_wait, PollEvents::IN)], Restart::Sys)?;
    }
}

fn matches(cx: &Ctx<'_>, child: &ThreadGroup, which: &Which, options: i32) -> bool {
    let s = child.state.lock();
    let fits = match which {
        Which::Any => true,
        Which::Pid(p) | Which::Group(p) | Which::Try(p) => child.pid == *p,
        Which::Pgrp(g) => s.pgid == *g,
    };
    let ours = options & libc::__WNOTHREAD == 0 || s.maker == cx.task.tid();
    // Nothing but its end can be told of a zombie.
    let fits = fits && ours && (s.zombie.is_none() || options & libc::WEXITED != 0);
    let clone_child = s.exit_signal != libc::SIGCHLD;
    let kind = options & libc::__WALL != 0 || (options & libc::__WCLONE != 0) == clone_child;
    fits && kind
}

/// What a thread that the caller traces has to tell: a stop, or its end. `any` is set where there is one to wait for.
fn tracee(cx: &Ctx<'_>, which: &Which, options: i32, any: &mut bool) -> Option<Found> {
    let tracer = &cx.task.group.extras.tracer;
    let keep = options & libc::WNOWAIT != 0;
    let fits = |tid: i32, group: Option<&ThreadGroup>| match which {
        Which::Any => true,
        Which::Pid(p) | Which::Group(p) | Which::Try(p) => tid == *p,
        Which::Pgrp(g) => group.is_some_and(|o| o.state.lock().pgid == *g),
    };
    let all: Vec<_> = tracer.tracees.lock().iter().filter_map(std::sync::Weak::upgrade).collect();
    for task in all.iter().filter(|t| fits(t.tid(), Some(&t.group))) {
        *any = true;
        let Some(mut t) = task.ptrace.lock() else { continue };
        let Some(stop) = t.stop.as_mut().filter(|s| !s.reported) else { continue };
        stop.reported = !keep;
        let code = stop.code;
        drop(t);
        let uid = task.cred().uid;
        return Some(Found {
            pid: task.tid(),
            uid,
            code: CLD_TRAPPED,
            value: code,
            status: code << 8 | 0x7f,
            times: (0, 0),
        });
    }
    let mut dead = tracer.dead.lock();
    let at = dead.iter().position(|d| fits(d.tid, None))?;
    if options & libc::WEXITED == 0 {
        return None;
    }
    *any = true;
    let d = if keep { dead.get(at).copied()? } else { dead.remove(at) };
    let (code, value) = d.status.child_code();
    Some(Found { pid: d.tid, uid: d.uid, code, value, status: d.status.to_wait(), times: (0, 0) })
}

fn look(cx: &Ctx<'_>, child: &Arc<ThreadGroup>, options: i32) -> Option<Found> {
    let keep = options & libc::WNOWAIT != 0;
    let mut s = child.state.lock();
    let uid = s.threads.first().map_or(s.last_uid, |t| t.cred().uid);
    let times = (
        s.child_times.0 + child.dead_utime.load(Ordering::Relaxed),
        s.child_times.1 + child.dead_stime.load(Ordering::Relaxed),
    );
    let found = |code, value, status| Found { pid: child.pid, uid, code, value, status, times };
    if options & libc::WEXITED != 0 {
        if let Some(status) = s.zombie {
            let (code, value) = status.child_code();
            drop(s);
            if !keep {
                cx.kernel.reap(child);
            }
            return Some(found(code, value, status.to_wait()));
        }
    }
    if s.threads.first().is_some_and(|t| t.ptrace.is_traced_by(&cx.task.group)) {
        // Its tracer hears of its stops as a tracer does.
        return None;
    }
    changed(&mut s, options, keep).map(|(code, value, status)| found(code, value, status))
}

/// A stop or continuation that has not been reported.
fn changed(s: &mut GroupState, options: i32, keep: bool) -> Option<(i32, i32, i32)> {
    if options & WUNTRACED != 0 {
        if let Some(sig) = s.report_stop {
            if !keep {
                s.report_stop = None;
            }
            return Some((CLD_STOPPED, sig, sig << 8 | 0x7f));
        }
    }
    if options & libc::WCONTINUED != 0 && s.report_continue {
        s.report_continue = keep;
        return Some((CLD_CONTINUED, libc::SIGCONT, 0xffff));
    }
    None
}
