//! Making threads and processes: the operation that a parent has open, and the newcomer that shows its token.
//!
//! A `clone` is let through only as the parent was told to make it, and the new host thread is bound to its slot at
//! its first doorbell, by a random token that only parent and child know. [`Event::Cloned`] comes when both sides
//! have come back.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use crate::core::Core;
use crate::listener::Notif;
use crate::slot::{AREAS, AREA_LEN, SLOTS, SLOT_STRIDE};
use crate::{CloneSpec, Event, Space, Thread};

const SIGCHLD: u64 = libc::SIGCHLD as u64;
const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_CHILD_CLEARTID) as u64;
const FORK_FLAGS: u64 = (libc::CLONE_PARENT | libc::CLONE_CHILD_CLEARTID) as u64 | SIGCHLD;
/// Process ids of children that died before they were known; more than this many at a time are forgotten.
const ORPHANS: usize = 64;
/// How often one clone is let through: a host-side stop makes the kernel start it again and ask again, but a stub that
/// made it over and over would leave as many processes that nobody counts.
const LET_THROUGH: u32 = 3;

/// A clone under way.
pub(crate) struct Pending {
    /// Found by id: the parent's thread holds the token, not the other way round.
    parent: Arc<Thread>,
    /// The child's space: the parent's, or a new one.
    space: Arc<Space>,
    index: usize,
    flags: u64,
    tls: u64,
    share_vm: bool,
    /// How often the call has been let through.
    let_through: u32,
    child: Option<Arc<Thread>>,
    returned: Option<i64>,
}

impl Pending {
    /// Whether the bearer of the token is a thread of the parent's process, or a process of its own: a token that one
    /// guest gave to another binds nothing.
    fn fits(&self, tid: i32) -> bool {
        let process = if self.share_vm { self.space.pid() } else { tid };
        // SAFETY: signal 0 only asks whether that thread is in that thread group (tgkill(2)); it waits for us, so its
        // id is its own.
        unsafe { libc::syscall(libc::SYS_tgkill, process, tid, 0) == 0 }
    }
}

#[derive(Default)]
pub(crate) struct Clones {
    pending: std::collections::HashMap<u64, Pending>,
    orphans: std::collections::VecDeque<i32>,
}

impl Core {
    /// Opens the operation and writes its arguments to the parent's slot; returns the token.
    pub(crate) fn clone_begin(self: &Arc<Core>, parent: &Thread, spec: CloneSpec) -> Result<u64> {
        let this = self.thread(parent.tid()).ok_or(Errno::EAGAIN)?;
        let (space, index, map, mut flags) = if spec.share_vm {
            let (index, map) = parent.space().reserve_index().ok_or(Errno::EAGAIN)?;
            (parent.space().clone(), index, map, THREAD_FLAGS)
        } else {
            let space = Space::new(self).map_err(|_| Errno::EAGAIN)?;
            space.inherit_areas(parent.space());
            (Arc::new(space), parent.index(), false, FORK_FLAGS)
        };
        // A fork child sets its own FS base.
        let tls = if spec.share_vm { spec.tls } else { None };
        if tls.is_some() {
            flags |= libc::CLONE_SETTLS as u64;
        }
        let token = self.random();
        let child_slot = space.slots.slot(index);
        child_slot.tid.store(1, Relaxed);
        child_slot.state.store(0, Relaxed);
        child_slot.watched.store(0, Relaxed);
        let words = [
            flags,
            index as u64,
            token,
            u64::from(map),
            spec.sp,
            u64::from(spec.tls.is_some()),
            spec.tls.unwrap_or(0),
        ];
        for (to, word) in parent.slot().args.iter().zip(words) {
            to.store(word, Relaxed);
        }
        let pending = Pending {
            parent: this,
            space,
            index,
            flags,
            tls: spec.tls.unwrap_or(0),
            share_vm: spec.share_vm,
            let_through: 0,
            child: None,
            returned: None,
        };
        self.clones.lock().pending.insert(token, pending);
        Ok(token)
    }

    /// Whether these are the arguments of the clone that `token` stands for.
    pub(crate) fn clone_allowed(&self, token: u64, args: &[u64; 6]) -> bool {
        let mut clones = self.clones.lock();
        let Some(p) = clones.pending.get_mut(&token) else { return false };
        let [flags, stack, parent_tid, child_tid, tls, _] = *args;
        let word =
            SLOTS + (p.index * SLOT_STRIDE) as u64 + std::mem::offset_of!(crate::slot::Slot, tid) as u64;
        let area = AREAS + (p.index * AREA_LEN) as u64;
        let stack_good = if p.share_vm { stack > area && stack < area + AREA_LEN as u64 } else { stack == 0 };
        let good = p.child.is_none()
            && p.let_through < LET_THROUGH
            && flags == p.flags
            && stack_good
            && parent_tid == 0
            && child_tid == word
            && tls == p.tls;
        p.let_through += u32::from(good);
        good
    }

    /// Whether these are the arguments with which the parent maps the area of the thread that `token` stands for.
    pub(crate) fn area_allowed(&self, token: u64, args: &[u64; 6]) -> bool {
        let clones = self.clones.lock();
        let Some(p) = clones.pending.get(&token).filter(|p| p.share_vm && p.child.is_none()) else {
            return false;
        };
        let area = AREAS + (p.index * AREA_LEN) as u64;
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS) as u64;
        *args == [area, AREA_LEN as u64, prot, flags, u64::MAX, 0]
    }

    /// A host thread that we do not know rings the doorbell: it must show the token of an open clone.
    pub(crate) fn newcomer(self: &Arc<Core>, notif: &Notif) {
        let [index, token, ..] = notif.args;
        let tid = notif.pid as i32;
        let mut clones = self.clones.lock();
        let child = match clones.pending.get_mut(&token) {
            Some(p) if p.child.is_none() && index == p.index as u64 && p.fits(tid) => {
                if !p.share_vm {
                    p.space.bind(tid);
                }
                let child = Thread::new(&p.space, p.index, tid, true);
                p.child = Some(child.clone());
                let share_vm = p.share_vm;
                Some((child, share_vm))
            }
            _ => None,
        };
        drop(clones);
        let Some((child, share_vm)) = child else {
            if self.listener.valid(notif.id) {
                // SAFETY: a thread under our own filter, alive, since it waits for us: it runs in a stub.
                unsafe { libc::kill(tid, libc::SIGKILL) };
            }
            return;
        };
        self.admit(&child);
        if share_vm {
            child.hold(notif.id);
        } else {
            self.listener.answer(notif.id);
        }
        self.clone_step(token);
    }

    /// The parent is back with the host's result.
    pub(crate) fn clone_returned(self: &Arc<Core>, token: u64, result: i64) {
        let mut clones = self.clones.lock();
        let orphaned = i32::try_from(result).is_ok_and(|pid| clones.orphans.contains(&pid));
        if let Some(p) = clones.pending.get_mut(&token) {
            let lost = orphaned && !p.share_vm && p.child.is_none();
            p.returned = Some(if lost { -i64::from(libc::EAGAIN) } else { result });
        }
        drop(clones);
        self.clone_step(token);
    }

    /// Reports the clone if both sides have come, or if it failed.
    fn clone_step(self: &Arc<Core>, token: u64) {
        let mut clones = self.clones.lock();
        let over = clones.pending.get(&token).is_some_and(|p| match p.returned {
            Some(result) => result < 0 || p.child.is_some(),
            None => false,
        });
        if !over {
            return;
        }
        let Some(p) = clones.pending.remove(&token) else { return };
        drop(clones);
        let result = match (p.child, p.returned) {
            (Some(child), _) => Ok(child),
            (None, returned) => {
                if p.share_vm {
                    p.space.release_index(p.index);
                }
                let errno = returned.and_then(|r| i32::try_from(-r).ok()).filter(|e| (1..4096).contains(e));
                Err(Errno(errno.unwrap_or(libc::EAGAIN)))
            }
        };
        p.parent.clone_over();
        self.deliver(&p.parent, Event::Cloned(result));
    }

    /// A child that we do not know has died: the clone that made it, if its parent is back, has failed.
    pub(crate) fn orphan(self: &Arc<Core>, pid: i32) {
        let mut clones = self.clones.lock();
        let of = |p: &Pending| p.child.is_none() && !p.share_vm && p.returned == Some(i64::from(pid));
        let token = clones.pending.iter().find(|(_, p)| of(p)).map(|(&t, _)| t);
        match token.and_then(|t| clones.pending.get_mut(&t)) {
            Some(p) => p.returned = Some(-i64::from(libc::EAGAIN)),
            None => {
                if clones.orphans.len() == ORPHANS {
                    clones.orphans.pop_front();
                }
                clones.orphans.push_back(pid);
            }
        }
        drop(clones);
        if let Some(token) = token {
            self.clone_step(token);
        }
    }

    /// A process has ended: clones that its threads had open are over, and nobody is told.
    pub(crate) fn clones_of(&self, space: &Arc<Space>) {
        let mut children = Vec::new();
        self.clones.lock().pending.retain(|_, p| {
            let over = Arc::ptr_eq(p.parent.space(), space);
            if over && !p.share_vm {
                // One that has not come yet will show a token that nobody knows.
                children.extend(p.child.take());
            }
            !over
        });
        children.iter().for_each(|child| child.space().kill());
    }
}
