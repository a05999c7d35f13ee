//! Mounted file systems and how they hang together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::dentry::Dentry;
use super::inode::FileSystem;
use super::path::VfsPath;

/// How something is mounted.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    /// The policy had it mounted so: what is refused here is told.
    pub by_policy: bool,
    /// The first field of `/proc/mounts`; the file system's name where empty.
    pub source: String,
    /// The file system's own options for `/proc/mounts` ("size=65536k").
    pub extra: String,
}

impl MountOptions {
    /// The option field of `/proc/mounts`.
    pub fn text(&self) -> String {
        let mut t = String::from(if self.read_only { "ro" } else { "rw" });
        for (on, name) in [(self.nosuid, ",nosuid"), (self.nodev, ",nodev"), (self.noexec, ",noexec")] {
            if on {
                t.push_str(name);
            }
        }
        t.push_str(",relatime");
        t
    }
}

/// A mounted file system.
pub struct Mount {
    pub id: u64,
    pub fs: Arc<dyn FileSystem>,
    pub options: MountOptions,
    root: Arc<Dentry>,
    /// The mount and the dentry that it covers; `None` for the root of everything. Weak, since the upper mount owns
    /// those that hang on it.
    at: Option<(Weak<Mount>, Arc<Dentry>)>,
    /// What is mounted on dentries of this one, by the dentry's address.
    below: RwLock<HashMap<usize, Arc<Mount>>>,
}

impl Mount {
    pub(super) fn new(
        id: u64,
        fs: Arc<dyn FileSystem>,
        options: MountOptions,
        root: Arc<Dentry>,
        at: Option<&VfsPath>,
    ) -> Arc<Mount> {
        let at = at.map(|p| (Arc::downgrade(&p.mount), p.dentry.clone()));
        Arc::new(Mount { id, fs, options, root, at, below: RwLock::default() })
    }

    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// The place that it covers.
    pub fn at(&self) -> Option<VfsPath> {
        let (mount, dentry) = self.at.as_ref()?;
        Some(VfsPath { mount: mount.upgrade()?, dentry: dentry.clone() })
    }

    /// What is mounted on a dentry of this mount.
    pub fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.below.read().get(&(Arc::as_ptr(dentry) as usize)).cloned()
    }

    pub(super) fn attach(&self, dentry: &Arc<Dentry>, child: Arc<Mount>) {
        self.below.write().insert(Arc::as_ptr(dentry) as usize, child);
        dentry.set_mounted(true);
    }
}
