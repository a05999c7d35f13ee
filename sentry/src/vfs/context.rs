//! What path walk starts from: root, working directory, umask.

use super::path::VfsPath;

#[derive(Clone)]
pub struct FsInner {
    pub root: VfsPath,
    pub cwd: VfsPath,
    pub umask: u32,
}
