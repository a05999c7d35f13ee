//! The host's files, through the gofer, and the donated standard streams.
//!
//! [`HostFs`] shows one exposed tree. Names and attributes are asked of the gofer and remembered; contents go straight
//! through the descriptors that it handed over. What is remembered is believed for as long as the host's kernel would
//! have told of a change ([`watch`]); of directories that cannot be watched nothing is remembered from one call to the
//! next.
//!
//! - [`inode`]: inodes. [`known`]: what is known of a directory. [`dir`], [`file`], [`listing`]: open directories and
//!   files, and directories read before.
//! - [`stream`]: descriptors 0, 1 and 2 of the launcher, with [`tty`] for their ioctls.
//! - [`outside`]: the net broker and the sockets that it hands over.
//! - [`poller`]: the thread that waits for them where a guest does.
//!
//! Locks: each inode has one for its cache and one for its state; they are leaves, never held while the gofer is
//! asked.

mod convert;
mod dir;
mod file;
mod inode;
mod known;
mod listing;
pub mod outside;
pub mod poller;
pub mod stream;
mod tty;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use gofer_protocol::{Client, NodeId};
use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use crate::fsimpl::tmpfs::Scratch;
use crate::vfs::inode::{FileSystem, InodeRef};
use inode::HostInode;
pub use watch::Watcher;

/// How the host's files are shown.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// How many read-only descriptors are kept for files that nobody has open.
    pub cached_descriptors: usize,
    /// Whether new files in a writable tree are given the guest's ids (a gofer with `CAP_CHOWN`) or keep those that
    /// the host gives them.
    pub chown_new: bool,
    /// Where the tree is mounted, for the names in `/proc/PID/maps`.
    pub mounted_at: Vec<u8>,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions { cached_descriptors: descriptors(), chown_new: false, mounted_at: Vec::new() }
    }
}

/// A quarter of the descriptors that this process may have, within bounds.
fn descriptors() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    (most / 4).clamp(64, MAX_DESCRIPTORS) as usize
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
    listings: Mutex<Listings>,
    watcher: Arc<Watcher>,
    /// Nodes to give back with the next message of that kind.
    forgotten: Mutex<Vec<(NodeId, u32)>>,
}

/// Directories whose entries are remembered.
#[derive(Default)]
struct Listings {
    /// With how many, the oldest first.
    kept: VecDeque<(Weak<HostInode>, usize)>,
    entries: usize,
}

/// How many directories keep the answers that came with their listing: as many as a tree walk has open at a time.
const MAX_LISTED: usize = 16;
/// How many nodes are given back at a time.
const FORGET_BATCH: usize = 128;
/// The most read-only descriptors that are kept for files that nobody has open.
const MAX_DESCRIPTORS: u64 = 16 << 10;
/// How many entries of directories are remembered in all.
const MAX_LISTED_ENTRIES: usize = 384 << 10;

impl HostFs {
    /// Shows tree number `tree` of the gofer; `ENOENT` where it exposes no such tree.
    pub fn new(
        client: Arc<Client>,
        tree: usize,
        options: HostOptions,
        watcher: Arc<Watcher>,
    ) -> Result<HostFs> {
        let tree = *client.trees().get(tree).ok_or(Errno::ENOENT)?;
        let shared = Arc::new(Shared {
            client,
            options,
            writable: tree.writable,
            inodes: Mutex::default(),
            descriptors: Mutex::default(),
            listed: Mutex::default(),
            listings: Mutex::default(),
            watcher,
            forgotten: Mutex::default(),
        });
        Ok(HostFs { root: HostInode::new(shared, &tree.root, None, None, None)?.0 })
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

impl Shared {
    /// Gives a node back, a few at a time.
    fn forget(&self, nodes: impl IntoIterator<Item = (NodeId, u32)>) {
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

    /// Notes that a directory's entries are remembered, and has the oldest forget theirs where there are too many.
    fn keeps_listing(&self, dir: Weak<HostInode>, entries: usize) {
        let mut over = Vec::new();
        {
            let mut all = self.listings.lock();
            all.kept.push_back((dir, entries));
            all.entries += entries;
            while all.entries > MAX_LISTED_ENTRIES {
                let Some((dir, entries)) = all.kept.pop_front() else { break };
                all.entries -= entries;
                over.push(dir);
            }
        }
        for dir in over.iter().filter_map(Weak::upgrade) {
            dir.drop_listing();
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
