//! The host's files, through the gofer, and the donated standard streams.
//!
//! [`HostFs`] shows one exposed tree. Names and attributes are asked of the gofer and cached; contents go straight
//! through the descriptors that it handed over. What is cached is trusted for [`HostOptions::ttl`], then a directory
//! is asked whether it changed, and only if so its names are ([`inode`]). From then on the gofer watches the directory,
//! and it is not asked again before the gofer has told of a change ([`listen`]).
//!
//! - [`inode`]: inodes and what is cached of them. [`dir`], [`file`]: open directories and files.
//! - [`stream`]: descriptors 0, 1 and 2 of the launcher, with [`tty`] for their ioctls.
//! - [`poller`]: the thread that waits for them where a guest does.
//!
//! Locks: each inode has one for its cache and one for its state; they are leaves, never held while the gofer is
//! asked.

mod convert;
mod dir;
mod file;
mod inode;
pub mod poller;
pub mod stream;
mod tty;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gofer_protocol::{Client, NodeId, Notice, Notices};
use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::fsimpl::tmpfs::Scratch;
use crate::vfs::inode::{FileSystem, InodeRef};
use inode::HostInode;

/// How the host's files are shown.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// How long what was asked of the host holds before it is asked again.
    pub ttl: Duration,
    /// How many read-only descriptors are kept for files that nobody has open.
    pub cached_descriptors: usize,
    /// Whether new files in a writable tree are given the guest's ids (a gofer with `CAP_CHOWN`) or keep those that
    /// the host gives them.
    pub chown_new: bool,
    /// Whether the gofer's notices are listened to ([`listen`]), so that what is watched need not be asked again.
    pub watch: bool,
    /// Where the tree is mounted, for the names in `/proc/PID/maps`.
    pub mounted_at: Vec<u8>,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions {
            ttl: Duration::from_secs(1),
            cached_descriptors: 1024,
            chown_new: false,
            watch: false,
            mounted_at: Vec::new(),
        }
    }
}

/// One exposed tree of the gofer.
pub struct HostFs {
    root: Arc<HostInode>,
}

/// What all inodes of a tree share.
struct Shared {
    client: Arc<Client>,
    options: HostOptions,
    writable: bool,
    /// The live inodes by the gofer's numbers, so that a file found again is the same inode.
    inodes: Mutex<HashMap<NodeId, Weak<HostInode>>>,
    /// Inodes that keep a read-only descriptor, the oldest first.
    descriptors: Mutex<VecDeque<Weak<HostInode>>>,
    /// Directories that keep answers of a listing, the oldest first.
    listed: Mutex<VecDeque<Weak<HostInode>>>,
    /// Watches up to this number say nothing any more.
    lost: AtomicU64,
    /// Nodes to give back with the next message of that kind.
    forgotten: Mutex<Vec<NodeId>>,
}

/// How many directories keep the answers that came with their listing: as many as a tree walk has open at a time.
const MAX_LISTED: usize = 16;
/// How many nodes are given back at a time.
const FORGET_BATCH: usize = 128;

impl HostFs {
    /// Shows tree number `tree` of the gofer; `ENOENT` where it exposes no such tree.
    pub fn new(client: Arc<Client>, tree: usize, options: HostOptions) -> Result<HostFs> {
        let tree = *client.trees().get(tree).ok_or(Errno::ENOENT)?;
        let shared = Arc::new(Shared {
            client,
            options,
            writable: tree.writable,
            inodes: Mutex::default(),
            descriptors: Mutex::default(),
            listed: Mutex::default(),
            lost: AtomicU64::new(0),
            forgotten: Mutex::default(),
        });
        Ok(HostFs { root: HostInode::new(shared, &tree.root, None, None, 0)? })
    }

    /// Whether the gofer lets the tree be changed.
    pub fn writable(&self) -> bool {
        self.root.shared.writable
    }
}

/// Files without a name from the gofer's scratch directory, for an overlay on disk.
pub struct HostScratch(pub Arc<Client>);

impl Scratch for HostScratch {
    fn file(&self) -> Result<OwnedFd> {
        self.0.scratch()
    }
}

impl FileSystem for HostFs {
    fn name(&self) -> &'static str {
        "host"
    }
    fn root(&self) -> InodeRef {
        self.root.clone()
    }
}

/// Starts the thread that hears of changes on the host. For trees made with [`HostOptions::watch`].
pub fn listen(notices: OwnedFd, trees: &[&HostFs]) -> std::io::Result<()> {
    let trees: Vec<Weak<Shared>> = trees.iter().map(|t| Arc::downgrade(&t.root.shared)).collect();
    let mut notices = Notices::new(notices);
    let run = move || {
        while let Some(notice) = notices.recv() {
            trees.iter().filter_map(Weak::upgrade).for_each(|tree| tree.hear(&notice));
        }
        // No more will come: back to asking.
        trees.iter().filter_map(Weak::upgrade).for_each(|tree| tree.hear(&Notice::Lost { watch: u64::MAX }));
    };
    std::thread::Builder::new().name("host-notices".into()).stack_size(128 << 10).spawn(run).map(drop)
}

impl Shared {
    fn hear(&self, notice: &Notice) {
        match *notice {
            Notice::Changed { node, watch } => {
                let inode = self.inodes.lock().get(&node).and_then(Weak::upgrade);
                if let Some(inode) = inode {
                    inode.watch_is_over(watch);
                }
            }
            Notice::Lost { watch } => drop(self.lost.fetch_max(watch, Ordering::Relaxed)),
        }
    }

    /// Gives a node back, a few at a time.
    fn forget(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let batch = {
            let mut waiting = self.forgotten.lock();
            waiting.extend(nodes);
            if waiting.len() < FORGET_BATCH {
                return;
            }
            std::mem::take(&mut *waiting)
        };
        self.client.forget(&batch);
    }

    /// Notes that a directory keeps answers of a listing, and has the oldest drop theirs where there are too many.
    fn keeps_answers(&self, dir: Weak<HostInode>) {
        let oldest = {
            let mut list = self.listed.lock();
            list.push_back(dir);
            if list.len() > MAX_LISTED {
                list.pop_front()
            } else {
                None
            }
        };
        if let Some(dir) = oldest.and_then(|d| d.upgrade()) {
            dir.drop_answers();
        }
    }

    /// Notes that an inode keeps a descriptor, and has the oldest give theirs up where there are too many.
    fn keeps_descriptor(&self, inode: Weak<HostInode>) {
        let over = {
            let mut list = self.descriptors.lock();
            list.push_back(inode);
            let over = list.len().saturating_sub(self.options.cached_descriptors);
            list.drain(..over).collect::<Vec<_>>()
        };
        for inode in over.iter().filter_map(Weak::upgrade) {
            inode.drop_descriptor();
        }
    }
}
