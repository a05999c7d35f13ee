//! The end of threads and processes: what is let go, who is told, who inherits the children (exit(2), wait(2)).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::task::Task;
use super::thread_group::{ExitStatus, ThreadGroup};
use super::Kernel;
use super::{signals, terminal};
use crate::signal::info::SI_USER;
use crate::signal::{SigInfo, SigSet, SA_NOCLDSTOP, SA_NOCLDWAIT, SIG_IGN};
use crate::time::NSEC;
use crate::wait_queue::PollEvents;

/// Takes a thread out of everything. `status` is the group's, should this be its last thread. Returns the address of
/// the word to clear (`CLONE_CHILD_CLEARTID`), or 0.
pub fn leave(kernel: &Arc<Kernel>, task: &Arc<Task>, status: ExitStatus) -> u64 {
    let group = &task.group;
    kernel.pi.owner_left(task.tid());
    kernel.pids.lock().tasks.remove(&task.tid());
    let (last, status) = {
        let mut s = group.state.lock();
        s.threads.retain(|t| !Arc::ptr_eq(t, task));
        s.last_uid = task.cred().uid;
        (s.threads.is_empty(), s.exiting.unwrap_or(status))
    };
    if last {
        group.keep_cpu_time(task);
    }
    kernel.trace_ended(task, status, last);
    finish_vfork(task);
    // Signals that nobody will take give their places back.
    task.sig.lock().pending.discard(SigSet(u64::MAX));
    // Dropped here and not with the task: whoever still holds the task must not keep files open.
    let empty = Arc::new(crate::vfs::FdTable::new());
    let files = std::mem::replace(&mut *task.files.write(), empty);
    drop(files);
    group.exit_wait.wake(PollEvents::IN);
    if last {
        end_group(kernel, group, status);
    } else {
        hand_over(group, task);
    }
    let clear = task.clear_child_tid.swap(0, Ordering::SeqCst);
    // With nobody left to see the word, writing it is only work (and Linux does not either, for the last user of it).
    let mm = task.mm();
    if Arc::strong_count(&mm) <= 2 && last {
        // What was mapped is let go now: the stub ends later, and attachments of shared memory are counted meanwhile.
        let table = mm.change_table(std::mem::take);
        drop(table);
        0
    } else {
        clear
    }
}

/// A thread leaves whose process goes on: its children are another thread's now, and hear of it if they asked to
/// (prctl(2), `PR_SET_PDEATHSIG`: "the thread that created this process").
fn hand_over(group: &Arc<ThreadGroup>, task: &Task) {
    let (children, heir) = {
        let s = group.state.lock();
        if s.children.is_empty() {
            return;
        }
        (s.children.clone(), s.threads.first().map_or(group.pid, |t| t.tid()))
    };
    for child in children {
        let signal = {
            let mut s = child.state.lock();
            if s.maker != task.tid() {
                continue;
            }
            s.maker = heir;
            s.pdeath_signal
        };
        if signal != 0 {
            signals::send_to_group(&child, SigInfo::user(signal, SI_USER, group.pid, task.cred().uid));
        }
    }
}

/// Lets a vfork parent go on.
pub fn finish_vfork(task: &Arc<Task>) {
    if let Some(w) = task.vfork_done.lock().take() {
        w.finish();
    }
}

fn end_group(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, status: ExitStatus) {
    group.extras.stop_timers();
    group.pending.lock().discard(SigSet(u64::MAX));
    let undo = std::mem::take(&mut *group.extras.sem_undo.lock());
    kernel.undo_semaphores(group.pid, undo);
    // A zombie runs no program any more: its file may be written again.
    let program = group.exe.lock().take();
    drop(program);
    terminal::ends(kernel, group);
    let children = {
        let mut s = group.state.lock();
        s.zombie = Some(status);
        s.stopped = None;
        std::mem::take(&mut s.children)
    };
    if !children.is_empty() {
        inherit(kernel, group, children.clone());
    }
    children.iter().for_each(|c| terminal::tell_orphans(kernel, c, group, false));
    let parent = group.state.lock().parent.upgrade();
    if let Some(parent) = parent {
        terminal::tell_orphans(kernel, group, &parent, true);
    }
    if group.pid == super::FIRST_PID {
        kernel.ended(status);
    }
    let (code, value) = status.child_code();
    tell_parent(group, code, value);
    group.exit_wait.wake(PollEvents::IN);
}

/// Children go to the nearest subreaper, or to init; zombies among them are told again.
fn inherit(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, children: Vec<Arc<ThreadGroup>>) {
    let mut heir = group.state.lock().parent.upgrade();
    while let Some(h) = &heir {
        let s = h.state.lock();
        if h.pid == super::INIT_PID || (s.child_subreaper && s.zombie.is_none()) {
            break;
        }
        let up = s.parent.upgrade();
        drop(s);
        heir = up;
    }
    let Some(heir) = heir.or_else(|| kernel.group(super::INIT_PID)) else { return };
    for child in children {
        let (signal, zombie) = {
            let mut s = child.state.lock();
            s.parent = Arc::downgrade(&heir);
            s.maker = heir.pid;
            s.exit_signal = libc::SIGCHLD;
            (s.pdeath_signal, s.zombie)
        };
        heir.state.lock().children.push(child.clone());
        if signal != 0 {
            let uid = group.state.lock().last_uid;
            signals::send_to_group(&child, SigInfo::user(signal, SI_USER, group.pid, uid));
        }
        if let Some(status) = zombie {
            let (code, value) = status.child_code();
            tell_parent(&child, code, value);
        }
    }
}

/// Tells the parent of an end, a stop or a continuation: its signal, and whoever waits. A parent that ignores SIGCHLD
/// has its dead children reaped at once.
pub fn tell_parent(group: &Arc<ThreadGroup>, code: i32, status: i32) {
    let (parent, signal, dead, last_uid) = {
        let s = group.state.lock();
        (s.parent.upgrade(), s.exit_signal, s.zombie.is_some(), s.last_uid)
    };
    let Some(parent) = parent else { return };
    let action = parent.action(libc::SIGCHLD);
    let signal = if dead { signal } else { libc::SIGCHLD };
    let uid = group.threads().first().map_or(last_uid, |t| t.cred().uid);
    let quiet = !dead && action.flags & SA_NOCLDSTOP != 0;
    let nobody_waits = parent.pid == super::INIT_PID
        || (signal == libc::SIGCHLD && (action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0));
    if dead && nobody_waits {
        if let Some(k) = group.kernel.upgrade() {
            k.reap(group);
        }
    }
    if signal != 0 && !quiet {
        let tick = NSEC / 100;
        let (u, s) = (group.dead_utime.load(Ordering::Relaxed), group.dead_stime.load(Ordering::Relaxed));
        let info = if signal == libc::SIGCHLD {
            SigInfo::child(code, group.pid, uid, status, u / tick, s / tick)
        } else {
            SigInfo { signo: signal, ..SigInfo::child(code, group.pid, uid, status, u / tick, s / tick) }
        };
        signals::send_to_group(&parent, SigInfo::from_bytes(signal, info.bytes));
    }
    parent.child_wait.wake(PollEvents::IN);
}

impl Kernel {
    /// Takes a zombie out of the tables; its times go to its parent.
    pub fn reap(&self, group: &Arc<ThreadGroup>) {
        self.pids.lock().groups.remove(&group.pid);
        let (parent, below) = {
            let s = group.state.lock();
            (s.parent.upgrade(), s.child_times)
        };
        if let Some(p) = parent {
            let mut s = p.state.lock();
            s.children.retain(|c| !Arc::ptr_eq(c, group));
            s.child_times.0 += below.0 + group.dead_utime.load(Ordering::Relaxed);
            s.child_times.1 += below.1 + group.dead_stime.load(Ordering::Relaxed);
        }
    }
}
