//! Changes on the host by other hands (inotify(7)). The gofer sets the watches; the descriptor on which they report goes
//! to the sentry, which looks into it before it believes what it remembers. So a change is known as soon as it has
//! happened, without a message, and nobody is woken for it.
//!
//! What the sentry learns from it: the names that come and go in directories that it asked to be watched, hidden ones
//! among them. It cannot set a watch of its own.
//!
//! inotify wants a path: the gofer changes into the directory's descriptor and names it `.`.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{NodeId, Watch, WatchId};
use linux_abi::Errno;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::host::{errno, Result};
use crate::state::State;

/// How many directories are watched at a time; past it the sentry has to ask.
const MAX_WATCHES: usize = 1 << 17;

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

/// The directories that are watched.
#[derive(Debug)]
pub struct Watches {
    inotify: Option<OwnedFd>,
    /// How many nodes there are of each watched directory (bind mounts give it several).
    nodes: HashMap<WatchId, u32>,
    by_node: HashMap<NodeId, WatchId>,
    most: usize,
    /// It was said that some are not to be had.
    told: bool,
}

impl Watches {
    /// Before the process confines itself: how many watches a user may have is the host's setting, and half of them are
    /// left to others.
    pub fn new() -> Watches {
        let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => Some(fd),
            Err(error) => {
                tracing::info!("no inotify instance ({error}): what is cached of files is asked for again");
                None
            }
        };
        let setting = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
        let allowed = setting.ok().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(8192);
        let most = MAX_WATCHES.min(allowed / 2);
        Watches { inotify, nodes: HashMap::new(), by_node: HashMap::new(), most, told: false }
    }

    fn add(&mut self, node: NodeId, dir: BorrowedFd<'_>) -> Option<WatchId> {
        let inotify = self.inotify.as_ref()?;
        if self.by_node.len() >= self.most && !self.by_node.contains_key(&node) {
            self.none_left("the most that we take");
            return None;
        }
        let kind = rustix::fs::fstatfs(dir).ok()?.f_type as u64;
        if BLIND.contains(&kind) {
            return None;
        }
        rustix::process::fchdir(dir).ok()?;
        let changes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ATTRIB
            | WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let how = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW | WatchFlags::EXCL_UNLINK;
        let watch = match inotify::add_watch(inotify, c".", changes | how) {
            Ok(watch) => WatchId::try_from(watch).ok()?,
            Err(error) => {
                self.none_left(&error.to_string());
                return None;
            }
        };
        if self.by_node.insert(node, watch) != Some(watch) {
            *self.nodes.entry(watch).or_insert(0) += 1;
        }
        Some(watch)
    }

    fn none_left(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!(
                "no more inotify watches ({why}): what is cached of further files is asked for again"
            );
        }
    }

    fn remove(&mut self, node: NodeId) {
        let Some(watch) = self.by_node.remove(&node) else { return };
        let Some(nodes) = self.nodes.get_mut(&watch) else { return };
        *nodes = nodes.saturating_sub(1);
        if *nodes == 0 {
            self.nodes.remove(&watch);
            if let (Some(inotify), Ok(watch)) = (&self.inotify, i32::try_from(watch)) {
                // Fails where the directory itself is gone, and its watch with it.
                let _ = inotify::remove_watch(inotify, watch);
            }
        }
    }
}

impl State {
    /// The descriptor on which the watches report.
    pub(crate) fn watches(&self) -> Result<OwnedFd> {
        let inotify = self.watches.inotify.as_ref().ok_or(Errno::EMFILE)?;
        rustix::io::fcntl_dupfd_cloexec(inotify.as_fd(), 0).map_err(errno)
    }

    /// Watches a directory, where that is asked for: the watch's number, or 0 where there is none.
    pub(crate) fn watch(&mut self, node: NodeId, watch: Watch) -> WatchId {
        if watch == Watch::No {
            return 0;
        }
        match self.nodes.dir(node) {
            Ok(dir) => self.watches.add(node, dir).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// The sentry lets go of so many answers' worth of a node.
    pub(crate) fn forget(&mut self, node: NodeId, count: u32) {
        self.nodes.forget(node, count);
        if !self.nodes.contains(node) {
            self.watches.remove(node);
        }
    }
}
