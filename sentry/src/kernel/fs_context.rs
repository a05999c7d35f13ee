//! What path walk starts from: root, working directory, umask (`CLONE_FS` shares it), and the tree of mounts.

use std::sync::Arc;

use parking_lot::Mutex;

pub use crate::vfs::FsInner;
use crate::vfs::{Namespace, VfsPath};

pub struct FsContext {
    pub inner: Mutex<FsInner>,
    /// The mounts that the task sees.
    mounts: Mutex<Arc<Namespace>>,
}

impl FsContext {
    pub fn new(mounts: Arc<Namespace>, root: VfsPath, cwd: VfsPath, umask: u32) -> FsContext {
        FsContext { inner: Mutex::new(FsInner { root, cwd, umask }), mounts: Mutex::new(mounts) }
    }
    pub fn get(&self) -> FsInner {
        self.inner.lock().clone()
    }
    pub fn mounts(&self) -> Arc<Namespace> {
        self.mounts.lock().clone()
    }
    pub fn duplicate(&self) -> FsContext {
        FsContext { inner: Mutex::new(self.get()), mounts: Mutex::new(self.mounts()) }
    }
    /// Goes on in a copy of the tree of mounts (unshare(2), `CLONE_NEWNS`).
    pub fn unshare_mounts(&self) {
        let mut mounts = self.mounts.lock();
        let mut inner = self.inner.lock();
        let FsInner { root, cwd, .. } = &mut *inner;
        let own = mounts.duplicate(&mut [root, cwd]);
        *mounts = own;
    }
    /// pivot_root(2) has put `new` where `old` was.
    pub fn pivoted(&self, old: &VfsPath, new: &VfsPath) {
        let mut inner = self.inner.lock();
        let FsInner { root, cwd, .. } = &mut *inner;
        let mut before = Vec::new();
        for place in [root, cwd] {
            if place.same(old) {
                before.push(std::mem::replace(place, new.clone()));
            }
        }
        drop(inner);
        drop(before);
    }
}
