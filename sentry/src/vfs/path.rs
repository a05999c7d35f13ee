//! Places: a dentry on a mount, and the dentry cache.

use std::sync::Arc;

use super::inode::InodeRef;

/// A mounted file system.
pub struct Mount {
    pub id: u64,
}

/// A name in a directory, with what it leads to.
pub struct Dentry {
    pub name: Vec<u8>,
    pub inode: InodeRef,
}

/// A place in the tree: mount and dentry.
#[derive(Clone)]
pub struct VfsPath {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}

impl VfsPath {
    pub fn inode(&self) -> &InodeRef {
        &self.dentry.inode
    }
}
