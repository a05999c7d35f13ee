//! What changes on the host by other hands. The gofer sets watches on the directories that are asked of it; the inotify
//! descriptor on which they report is ours to read. Before anything remembered is believed, a look into that descriptor
//! tells whether it still holds: the host's kernel puts an event there before the call that makes the change returns, so
//! whoever has heard of the change, however, finds it (inotify(7)).
//!
//! Two kinds of change raise no event in a watched directory: a write through a mapping, and one by another name of the
//! same file. So attributes of files that may change that way are believed for a moment only ([`MOMENT`]), and not
//! across anything that was heard from outside ([`heard`]).

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use gofer_protocol::WatchId;
use parking_lot::Mutex;
use rustix::fs::inotify::{self, ReadFlags};

use super::inode::HostInode;
use crate::vfs::notes;

/// How long the attributes of a file are believed without a descriptor of it, in nanoseconds.
pub(super) const MOMENT: u64 = 50_000_000;
/// How many watches may have reported before we knew of them.
const MAX_EARLY: usize = 4096;
const BUFFER: usize = 32 << 10;

const OVERFLOW: u32 = 0x4000;
const IGNORED: u32 = 0x8000;
/// A name came or went: `IN_MOVED_FROM`, `IN_MOVED_TO`, `IN_CREATE`, `IN_DELETE`.
const NAMES: u32 = 0x40 | 0x80 | 0x100 | 0x200;
/// The directory itself: `IN_DELETE_SELF`, `IN_MOVE_SELF`.
const SELF: u32 = 0x400 | 0x800;

/// What a watched directory is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// This name came, went, or leads elsewhere.
    Name(&'a [u8]),
    /// What this name leads to has changed.
    File(&'a [u8]),
    /// The directory's own attributes.
    Itself,
    /// Nothing that is known of it holds.
    All,
    /// The watch is gone.
    Over,
}

/// How often anything was heard from outside of the sandbox.
static HEARD: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The call in which this thread has looked last.
    static LOOKED: Cell<u64> = const { Cell::new(0) };
}

/// A guest has just heard something from outside (read a donated stream, say), and may know of changes by it.
pub(super) fn hear() {
    HEARD.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn heard() -> u64 {
    HEARD.load(Ordering::Relaxed)
}

/// The watches of all trees.
pub struct Watcher {
    inotify: Option<OwnedFd>,
    state: Mutex<State>,
    /// Somebody has taken events off and is passing them on.
    busy: AtomicU32,
    /// How often events were lost: what was watched before is not watched any more.
    lost: AtomicU64,
}

struct State {
    dirs: HashMap<WatchId, Vec<Weak<HostInode>>>,
    /// Watches that have reported before the answer that names them was looked at.
    early: HashSet<WatchId>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Watcher {
    /// `None` where the host gives no inotify instance: then nothing is ever watched.
    pub fn new(inotify: Option<OwnedFd>) -> Arc<Watcher> {
        let state = State { dirs: HashMap::new(), early: HashSet::new(), buffer: Vec::new() };
        Arc::new(Watcher {
            inotify,
            state: Mutex::new(state),
            busy: AtomicU32::new(0),
            lost: AtomicU64::new(0),
        })
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Passes on what has happened until now. Once in a call is enough: what comes later, the guest cannot know yet.
    pub(super) fn catch_up(&self) {
        let Some(inotify) = &self.inotify else { return };
        let call = notes::call_number();
        if call != 0 && LOOKED.replace(call) == call {
            return;
        }
        let waiting = rustix::io::ioctl_fionread(inotify).unwrap_or(1);
        if waiting > 0 || self.busy.load(Ordering::SeqCst) > 0 {
            self.pass_on(inotify);
        }
    }

    fn pass_on(&self, inotify: &OwnedFd) {
        // Dropped after the lock: the last handle of a directory may be among them.
        let mut kept = Vec::new();
        let mut state = self.state.lock();
        self.busy.fetch_add(1, Ordering::SeqCst);
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.resize(BUFFER, MaybeUninit::uninit());
        {
            let mut events = inotify::Reader::new(inotify.as_fd(), &mut buffer);
            while let Ok(event) = events.next() {
                let watch = WatchId::try_from(event.wd()).unwrap_or(0);
                let name = event.file_name().map(|n| n.to_bytes());
                self.one(&mut state, watch, event.events(), name, &mut kept);
            }
        }
        state.buffer = buffer;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        drop(state);
        drop(kept);
    }

    fn one(
        &self,
        state: &mut State,
        watch: WatchId,
        kind: ReadFlags,
        name: Option<&[u8]>,
        kept: &mut Vec<Arc<HostInode>>,
    ) {
        let kind = kind.bits();
        if kind & OVERFLOW != 0 {
            self.lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let event = match name {
            _ if kind & IGNORED != 0 => Event::Over,
            _ if kind & SELF != 0 => Event::All,
            Some(name) if kind & NAMES != 0 => Event::Name(name),
            Some(name) => Event::File(name),
            None => Event::Itself,
        };
        match state.dirs.get(&watch) {
            Some(dirs) => {
                for dir in dirs.iter().filter_map(Weak::upgrade) {
                    dir.hear(watch, event);
                    kept.push(dir);
                }
            }
            None if event == Event::Over => {}
            None => {
                if state.early.len() >= MAX_EARLY {
                    state.early.clear();
                    self.lost.fetch_add(1, Ordering::SeqCst);
                }
                state.early.insert(watch);
            }
        }
        if event == Event::Over {
            state.dirs.remove(&watch);
            state.early.remove(&watch);
        }
    }

    /// From now on the directory hears of this watch; whether it has reported already.
    pub(super) fn register(&self, watch: WatchId, dir: &Weak<HostInode>) -> bool {
        let mut state = self.state.lock();
        let dirs = state.dirs.entry(watch).or_default();
        dirs.retain(|d| d.strong_count() > 0);
        if !dirs.iter().any(|d| d.ptr_eq(dir)) {
            dirs.push(dir.clone());
        }
        state.early.remove(&watch)
    }
}
