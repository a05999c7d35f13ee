//! The tree of mounts that guests see.

use std::fmt::Write;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::dentry::{same_inode, Dentry, HideNode};
use super::inode::{FileKind, FileSystem, NewNode, Owner};
use super::mount::{Mount, MountOptions};
use super::path::{locate, PathText, VfsPath};
use super::walk::Lookup;

/// All mounts of a sandbox, in the order in which they were made.
pub struct Namespace {
    root: VfsPath,
    list: Mutex<Vec<Arc<Mount>>>,
}

impl Namespace {
    /// A tree with this file system as its root. `hidden` are absolute paths that do not exist for guests.
    pub fn new(fs: Arc<dyn FileSystem>, options: MountOptions, hidden: &[Vec<u8>]) -> Arc<Namespace> {
        let dentry = Dentry::root(fs.root(), HideNode::from_paths(hidden));
        let mount = Mount::new(1, fs, options, dentry.clone(), None);
        let root = VfsPath { mount: mount.clone(), dentry };
        Arc::new(Namespace { root, list: Mutex::new(vec![mount]) })
    }

    /// The root of everything.
    pub fn root(&self) -> VfsPath {
        self.root.clone().top()
    }

    /// Mounts a file system on a place; a directory on a directory, a file on a file.
    pub fn mount(&self, at: &VfsPath, fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<VfsPath> {
        let root_inode = fs.root();
        let is_dir = root_inode.kind() == FileKind::Dir;
        if is_dir != (at.inode().kind() == FileKind::Dir) {
            return Err(Errno::ENOTDIR);
        }
        let at = at.clone().top();
        let mut list = self.list.lock();
        // One file system mounted twice has one dentry tree, else its caches would not know of each other's changes.
        let shared =
            list.iter().find(|m| same_inode(m.root().inode(), &root_inode)).map(|m| m.root().clone());
        let dentry = shared.unwrap_or_else(|| Dentry::root(root_inode, at.dentry.hide_node()));
        let id = list.last().map_or(0, |m| m.id) + 1;
        let mount = Mount::new(id, fs, options, dentry.clone(), Some(&at));
        at.mount.attach(&at.dentry, mount.clone());
        list.push(mount.clone());
        Ok(VfsPath { mount, dentry })
    }

    /// Mounts at an absolute path, making what is missing of it where the file system there lets it.
    pub fn mount_at(&self, path: &[u8], fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<VfsPath> {
        let is_dir = fs.root().kind() == FileKind::Dir;
        let look = Lookup::kernel(self.root());
        let mut at = self.root();
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|c| !c.is_empty()).collect();
        for (i, name) in names.iter().enumerate() {
            let from = Lookup { base: Some(at.clone()), ..look.clone() };
            at = match from.resolve(name, true) {
                Err(Errno::ENOENT) => {
                    let last = i + 1 == names.len();
                    let node = if last && !is_dir { NewNode::Regular } else { NewNode::Dir };
                    let perm = if matches!(node, NewNode::Dir) { 0o755 } else { 0o644 };
                    let _dir = at.dentry.lock_dir();
                    let inode = at.inode().create(name, &node, Owner { uid: 0, gid: 0, perm })?;
                    let policy = at.inode().cache_policy();
                    VfsPath { mount: at.mount.clone(), dentry: at.dentry.found(name, inode, policy) }
                }
                other => other?,
            };
        }
        self.mount(&at, fs, options)
    }

    /// `/proc/PID/mounts` (fstab(5)), as seen from a root.
    pub fn mounts_text(&self, root: &VfsPath) -> String {
        self.each(root, |out, m, point| {
            let source = if m.options.source.is_empty() { m.fs.name() } else { &m.options.source };
            let comma = if m.options.extra.is_empty() { "" } else { "," };
            let (opts, extra) = (m.options.text(), &m.options.extra);
            let _ = writeln!(out, "{source} {point} {} {opts}{comma}{extra} 0 0", m.fs.name());
        })
    }

    /// `/proc/PID/mountinfo` (proc(5)).
    pub fn mountinfo_text(&self, root: &VfsPath) -> String {
        self.each(root, |out, m, point| {
            let dev = m.root().inode().attrs().map_or(0, |a| a.dev);
            let parent = m.at().map_or(m.id, |p| p.mount.id);
            let source = if m.options.source.is_empty() { m.fs.name() } else { &m.options.source };
            let rw = if m.options.read_only { "ro" } else { "rw" };
            let comma = if m.options.extra.is_empty() { "" } else { "," };
            let _ = writeln!(
                out,
                "{} {parent} {}:{} / {point} {} - {} {source} {rw}{comma}{}",
                m.id,
                libc::major(dev),
                libc::minor(dev),
                m.options.text(),
                m.fs.name(),
                m.options.extra,
            );
        })
    }

    fn each(&self, root: &VfsPath, line: impl Fn(&mut String, &Mount, &str)) -> String {
        let mut out = String::new();
        for m in self.list.lock().iter() {
            let place = VfsPath { mount: m.clone(), dentry: m.root().clone() };
            if let PathText::Live(p) = locate(&place, root) {
                line(&mut out, m, &escape(&p));
            }
        }
        out
    }
}

/// Spaces and the like as octal, as in fstab(5).
fn escape(path: &[u8]) -> String {
    let mut t = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' => {
                let _ = write!(t, "\\{:03o}", c as u32);
            }
            c => t.push(c),
        }
    }
    t
}
