//! What path walk starts from: root, working directory, umask (`CLONE_FS` shares it).

use parking_lot::Mutex;

pub use crate::vfs::FsInner;
use crate::vfs::VfsPath;

pub struct FsContext {
    pub inner: Mutex<FsInner>,
}

impl FsContext {
    pub fn new(root: VfsPath, cwd: VfsPath, umask: u32) -> FsContext {
        FsContext { inner: Mutex::new(FsInner { root, cwd, umask }) }
    }
    pub fn get(&self) -> FsInner {
        self.inner.lock().clone()
    }
    pub fn duplicate(&self) -> FsContext {
        FsContext { inner: Mutex::new(self.get()) }
    }
}
