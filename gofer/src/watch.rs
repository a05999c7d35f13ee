//! Changes on the host by other hands (inotify(7)). A directory is watched when the sentry asks for it, for one event;
//! that event is told, and the sentry asks again when it next needs the directory. So there is at most one notice for
//! each question, whatever happens on the host.
//!
//! inotify wants a path: the gofer changes into the directory's descriptor and names it `.`.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{Channel, NodeId, Notice, Wire, Writer};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::state::State;

/// How many directories are watched at a time; past it the sentry has to ask.
const MAX_WATCHES: usize = 16_384;
/// `IN_Q_OVERFLOW`, `IN_IGNORED`.
const OVERFLOW: u32 = 0x4000;
const IGNORED: u32 = 0x8000;

/// File systems that others change without this host's hearing of it, or that tell nothing at all (statfs(2)).
const BLIND: &[u64] = &[
    0x6969,      // nfs
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x517b,      // smb
    0x6573_5546, // fuse
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x5346_414f, // afs
    0x7375_7245, // coda
];

/// The directories that are watched, and whom to tell.
#[derive(Debug)]
pub struct Watches {
    notices: Channel,
    inotify: Option<OwnedFd>,
    /// By watch descriptor: the nodes of that directory (bind mounts give it several), and their watch's number.
    by_wd: HashMap<i32, Vec<(NodeId, u64)>>,
    by_node: HashMap<NodeId, (i32, u64)>,
    last: u64,
}

impl Watches {
    pub fn new(notices: Channel) -> Watches {
        Watches { notices, inotify: None, by_wd: HashMap::new(), by_node: HashMap::new(), last: 0 }
    }

    fn add(&mut self, node: NodeId, dir: BorrowedFd<'_>) -> Option<u64> {
        if let Some((_, number)) = self.by_node.get(&node) {
            return Some(*number);
        }
        if self.by_node.len() >= MAX_WATCHES {
            return None;
        }
        let kind = rustix::fs::fstatfs(dir).ok()?.f_type as u64;
        if BLIND.contains(&kind) {
            return None;
        }
        if self.inotify.is_none() {
            self.inotify = Some(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?);
        }
        rustix::process::fchdir(dir).ok()?;
        let changes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ATTRIB
            | WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let how = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW | WatchFlags::ONESHOT;
        let wd = inotify::add_watch(self.inotify.as_ref()?, c".", changes | how).ok()?;
        self.last += 1;
        self.by_wd.entry(wd).or_default().push((node, self.last));
        self.by_node.insert(node, (wd, self.last));
        Some(self.last)
    }

    fn remove(&mut self, node: NodeId) {
        let Some((wd, _)) = self.by_node.remove(&node) else { return };
        let Some(nodes) = self.by_wd.get_mut(&wd) else { return };
        nodes.retain(|(n, _)| *n != node);
        if nodes.is_empty() {
            self.by_wd.remove(&wd);
            if let Some(inotify) = &self.inotify {
                // Fails where its event is already on the way.
                let _ = inotify::remove_watch(inotify, wd);
            }
        }
    }

    /// Takes the events off and tells of them; `None` where the sentry listens no more.
    fn tell(&mut self) -> Option<()> {
        let mut over = Vec::new();
        let mut lost = false;
        {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(self.inotify.as_ref()?.as_fd(), &mut buffer);
            while let Ok(event) = events.next() {
                let kind: ReadFlags = event.events();
                lost |= kind.bits() & OVERFLOW != 0;
                if kind.bits() & IGNORED == 0 {
                    over.push(event.wd());
                }
            }
        }
        if lost {
            self.by_wd.clear();
            self.by_node.clear();
            // With the descriptor go the watches that it still has.
            self.inotify = None;
            return self.send(Notice::Lost { watch: self.last });
        }
        for wd in over {
            for (node, watch) in self.by_wd.remove(&wd).unwrap_or_default() {
                self.by_node.remove(&node);
                self.send(Notice::Changed { node, watch })?;
            }
        }
        Some(())
    }

    fn send(&self, notice: Notice) -> Option<()> {
        let mut w = Writer::default();
        notice.encode(&mut w);
        self.notices.send(w.as_bytes(), &[]).ok()
    }
}

impl State {
    /// Has the next change of a directory told; the watch's number, or 0 where it cannot be.
    pub(crate) fn watch(&mut self, node: NodeId) -> u64 {
        let Some(watches) = &mut self.watches else { return 0 };
        match self.nodes.dir(node) {
            Ok(dir) => watches.add(node, dir).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// What to wait for besides requests, while anything is watched.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        let watches = self.watches.as_ref()?;
        watches.inotify.as_ref().filter(|_| !watches.by_wd.is_empty()).map(|fd| fd.as_fd())
    }

    /// Passes on what has changed.
    pub(crate) fn tell_changes(&mut self) {
        if self.watches.as_mut().is_some_and(|w| w.tell().is_none()) {
            self.watches = None;
        }
    }

    /// The sentry lets go of one answer's worth of a node.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.nodes.forget(node);
        if let Some(watches) = &mut self.watches {
            if !self.nodes.contains(node) {
                watches.remove(node);
            }
        }
    }
}
