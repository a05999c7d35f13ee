//! Places: a dentry on a mount.

use std::sync::Arc;

use linux_abi::{Errno, Result};

pub use super::dentry::Dentry;
use super::inode::InodeRef;
pub use super::mount::Mount;
use super::mount::MountFlags;
use super::notes;

/// A place in the tree: mount and dentry.
#[derive(Clone)]
pub struct VfsPath {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl VfsPath {
    pub fn inode(&self) -> &InodeRef {
        self.dentry.inode()
    }

    /// Whether both are the same place.
    pub fn same(&self, other: &VfsPath) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether it is a file without a place (a memfd, a pipe) that a link of `/proc/PID/fd` led to: the mount is the
    /// link's.
    pub fn is_detached(&self) -> bool {
        self.dentry.parent().is_none() && !Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// Whether it lies on a mount from which nothing is run.
    pub fn noexec(&self) -> bool {
        self.mount.flags().contains(MountFlags::NOEXEC) && !self.is_detached()
    }

    /// `EROFS` where nothing may change.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.read_only() {
            if self.mount.by_policy {
                notes::refused(notes::Refused::ReadOnly(self.clone()));
            }
            return Err(Errno::EROFS);
        }
        notes::used(self, notes::Use::Write);
        Ok(())
    }

    /// The directory above; a mount's root has its mount point's. The root of everything is its own parent.
    pub fn up(&self) -> VfsPath {
        let mut at = self.clone();
        while Arc::ptr_eq(&at.dentry, at.mount.root()) {
            match at.mount.at() {
                Some(point) => at = point,
                None => return at,
            }
        }
        if let Some(p) = at.dentry.parent() {
            at.dentry = p;
        }
        at
    }

    /// What is mounted here, if anything is, else the place itself.
    pub fn top(mut self) -> VfsPath {
        while self.dentry.mounted() {
            match self.mount.child_at(&self.dentry) {
                Some(m) => {
                    let root = m.root().clone();
                    self = VfsPath { mount: m, dentry: root };
                }
                None => break,
            }
        }
        self
    }
}

/// What leads to a place, seen from a root.
#[derive(Debug, PartialEq, Eq)]
pub enum PathText {
    /// The name is still there.
    Live(Vec<u8>),
    /// The name is gone; the text is what it was.
    Deleted(Vec<u8>),
    /// The place does not lie below that root.
    Outside(Vec<u8>),
}

/// The path of a place as seen from `root`.
pub fn locate(place: &VfsPath, root: &VfsPath) -> PathText {
    let deleted = place.dentry.unlinked();
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    let mut at = place.clone();
    let mut inside = true;
    while !at.same(root) {
        if Arc::ptr_eq(&at.dentry, at.mount.root()) {
            match at.mount.at() {
                Some(point) => {
                    at = point;
                    continue;
                }
                None => {
                    inside = false;
                    break;
                }
            }
        }
        names.push(at.dentry.name());
        match at.dentry.parent() {
            Some(p) => at.dentry = p,
            None => {
                // A detached dentry: its label is all there is.
                return PathText::Live(names.pop().map_or_else(Vec::new, |n| n.to_vec()));
            }
        }
    }
    let mut text = Vec::new();
    for n in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(n);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    match (deleted, inside) {
        (true, _) => PathText::Deleted(text),
        (false, true) => PathText::Live(text),
        (false, false) => PathText::Outside(text),
    }
}

/// What readlink(2) of `/proc/PID/{cwd,exe,fd/N}` shows.
pub fn path_text(place: &VfsPath, root: &VfsPath) -> Vec<u8> {
    match locate(place, root) {
        PathText::Live(t) | PathText::Outside(t) => t,
        PathText::Deleted(mut t) => {
            t.extend_from_slice(b" (deleted)");
            t
        }
    }
}
