//! Trees of mounts (mount_namespaces(7)). One lock for each orders all changes of its shape; path walks go without it.
//!
//! What was mounted before the guest came is locked, as what a user namespace inherits is on Linux (`MNT_LOCKED`): it is
//! not unmounted, moved or looked under, and what the policy made read-only stays so.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::{Mutex, RwLock};

use super::dentry::{same_inode, Dentry, HideNode};
use super::inode::{FileKind, FileSystem, NewNode, Owner};
use super::mount::{Mount, MountFlags, MountOptions, Propagation};
use super::path::{locate, PathText, VfsPath};
use super::walk::Lookup;

/// The most mounts of one tree (`fs.mount-max`).
pub const MAX_MOUNTS: usize = 8192;

/// How much of a tree of mounts is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    One,
    /// What is mounted below, too.
    Tree,
}

/// How umount2(2) lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Only what nobody uses.
    Idle,
    /// Out of sight at once; gone when nobody uses it any more.
    Detach,
    /// The second time, where nobody uses it.
    Expire,
}

/// All mounts that some tasks see, in the order in which they were made.
pub struct Namespace {
    root: RwLock<VfsPath>,
    list: Mutex<Vec<Arc<Mount>>>,
}

type Children = HashMap<usize, Vec<Arc<Mount>>>;

fn key(m: &Arc<Mount>) -> usize {
    Arc::as_ptr(m) as usize
}

/// Who hangs on whom.
fn children(list: &[Arc<Mount>]) -> Children {
    let mut all = Children::new();
    for m in list {
        if let Some(at) = m.at() {
            all.entry(key(&at.mount)).or_default().push(m.clone());
        }
    }
    all
}

/// A mount with all below it, upper ones first.
fn subtree(list: &[Arc<Mount>], top: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let below = children(list);
    let mut all = vec![top.clone()];
    let mut i = 0;
    while let Some(m) = all.get(i) {
        all.extend(below.get(&key(m)).into_iter().flatten().cloned().collect::<Vec<_>>());
        i += 1;
    }
    all
}

fn contains(list: &[Arc<Mount>], m: &Arc<Mount>) -> bool {
    list.iter().any(|other| Arc::ptr_eq(other, m))
}

/// Whether a place is what is mounted there, not something in it.
fn is_mount_root(place: &VfsPath) -> bool {
    Arc::ptr_eq(&place.dentry, place.mount.root())
}

/// A directory goes on a directory, anything else on anything else; on what still has a name.
fn fits(root: &Dentry, at: &VfsPath) -> Result<()> {
    if (root.inode().kind() == FileKind::Dir) != (at.inode().kind() == FileKind::Dir) {
        return Err(Errno::ENOTDIR);
    }
    if at.dentry.unlinked() {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// Copies of a mount, shown from `from` on, and of what is mounted below it; by the copied ones' addresses.
fn copies(list: &[Arc<Mount>], from: &VfsPath, reach: Reach) -> Result<Vec<(Arc<Mount>, Option<VfsPath>)>> {
    let below = children(list);
    let top = Arc::new(from.mount.again(from.dentry.clone()));
    top.set_locked(false);
    let seen = |m: &Arc<Mount>| m.at().is_some_and(|at| from.dentry.is_ancestor_of(&at.dentry));
    let first: Vec<_> =
        below.get(&key(&from.mount)).into_iter().flatten().filter(|m| seen(m)).cloned().collect();
    let mut all = vec![(top.clone(), None)];
    if reach == Reach::One {
        // It would show what the locked one covers.
        return if first.iter().any(|m| m.is_locked()) { Err(Errno::EINVAL) } else { Ok(all) };
    }
    let mut todo: Vec<(Arc<Mount>, Arc<Mount>)> = first.into_iter().map(|m| (m, top.clone())).collect();
    while let Some((old, parent)) = todo.pop() {
        if old.is_unbindable() && !old.is_locked() {
            continue;
        }
        let Some(at) = old.at() else { continue };
        let new = Arc::new(old.again(old.root().clone()));
        all.push((new.clone(), Some(VfsPath { mount: parent, dentry: at.dentry })));
        if list.len() + all.len() > MAX_MOUNTS {
            return Err(Errno::ENOSPC);
        }
        todo.extend(below.get(&key(&old)).into_iter().flatten().map(|m| (m.clone(), new.clone())));
    }
    Ok(all)
}

impl Namespace {
    /// A tree with this file system as its root. `hidden` are absolute paths that do not exist for guests.
    pub fn new(fs: Arc<dyn FileSystem>, options: MountOptions, hidden: &[Vec<u8>]) -> Arc<Namespace> {
        let dentry = Dentry::root(fs.root(), HideNode::from_paths(hidden));
        let mount = Arc::new(Mount::new(fs, options, dentry.clone()));
        mount.set_locked(true);
        let root = RwLock::new(VfsPath { mount: mount.clone(), dentry });
        Arc::new(Namespace { root, list: Mutex::new(vec![mount]) })
    }

    /// The root of everything.
    pub fn root(&self) -> VfsPath {
        self.root.read().clone().top()
    }

    /// Mounts a file system on a place before there is a guest: it stays there.
    pub fn mount(&self, at: &VfsPath, fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<VfsPath> {
        let place = self.add(at, fs, options)?;
        place.mount.set_locked(true);
        Ok(place)
    }

    /// mount(2) of a file system; a directory on a directory, a file on a file.
    pub fn add(&self, at: &VfsPath, fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<VfsPath> {
        let root_inode = fs.root();
        let mut list = self.list.lock();
        let at = self.target(&list, at)?;
        // One file system mounted twice has one dentry tree, else its caches would not know of each other's changes.
        let twin = list.iter().find(|m| same_inode(m.root().inode(), &root_inode)).cloned();
        let mount = match twin {
            Some(twin) => {
                let new = twin.again(twin.root().clone());
                new.set_locked(false);
                new.set_flags(options.flags());
                new
            }
            None => Mount::new(fs, options, Dentry::root(root_inode, at.dentry.hide_node())),
        };
        fits(mount.root(), &at)?;
        let mount = Arc::new(mount);
        mount.attach(&at);
        list.push(mount.clone());
        let dentry = mount.root().clone();
        Ok(VfsPath { mount, dentry })
    }

    /// Where something is to be mounted: on top of what is there, in this tree.
    fn target(&self, list: &[Arc<Mount>], at: &VfsPath) -> Result<VfsPath> {
        let at = at.clone().top();
        if !contains(list, &at.mount) {
            return Err(Errno::EINVAL);
        }
        if list.len() >= MAX_MOUNTS {
            return Err(Errno::ENOSPC);
        }
        Ok(at)
    }

    /// `MS_BIND`: what is at one place also at another.
    pub fn bind(&self, from: &VfsPath, at: &VfsPath, reach: Reach) -> Result<()> {
        let mut list = self.list.lock();
        let at = self.target(&list, at)?;
        if !contains(&list, &from.mount) || from.mount.is_unbindable() {
            return Err(Errno::EINVAL);
        }
        let all = copies(&list, from, reach)?;
        fits(&from.dentry, &at)?;
        for (mount, place) in all {
            mount.attach(place.as_ref().unwrap_or(&at));
            list.push(mount);
        }
        Ok(())
    }

    /// `MS_MOVE`: what is mounted at one place to another.
    pub fn relocate(&self, from: &VfsPath, at: &VfsPath) -> Result<()> {
        let list = self.list.lock();
        let at = self.target(&list, at)?;
        let has_place = from.mount.at().is_some();
        if !is_mount_root(from) || !contains(&list, &from.mount) || from.mount.is_locked() || !has_place {
            return Err(Errno::EINVAL);
        }
        if (from.inode().kind() == FileKind::Dir) != (at.inode().kind() == FileKind::Dir) {
            return Err(Errno::EINVAL);
        }
        let mut up = Some(at.clone());
        while let Some(place) = up {
            if Arc::ptr_eq(&place.mount, &from.mount) {
                return Err(Errno::ELOOP);
            }
            up = place.mount.at();
        }
        from.mount.detach();
        from.mount.attach(&at);
        Ok(())
    }

    /// umount2(2).
    pub fn unmount(&self, place: &VfsPath, how: Unmount) -> Result<()> {
        let gone = {
            let mut list = self.list.lock();
            let m = &place.mount;
            if !is_mount_root(place) || !contains(&list, m) || m.is_locked() {
                return Err(Errno::EINVAL);
            }
            if m.at().is_none() {
                return Err(Errno::EBUSY);
            }
            let all = subtree(&list, m);
            if how != Unmount::Detach {
                // Held by this list, by the upper mount, by `all` and by who asks.
                if all.len() > 1 || Arc::strong_count(m) > 4 {
                    return Err(Errno::EBUSY);
                }
                if how == Unmount::Expire && !m.expire() {
                    return Err(Errno::EAGAIN);
                }
            }
            all.iter().rev().for_each(|m| m.detach());
            list.retain(|m| !contains(&all, m));
            all
        };
        // What it was the last of is taken apart without the lock.
        drop(gone);
        Ok(())
    }

    /// `MS_REMOUNT`: new flags for a mount (with `MS_BIND`), or for its whole file system.
    pub fn remount(
        &self,
        place: &VfsPath,
        flags: MountFlags,
        whole: bool,
        extra: Option<String>,
    ) -> Result<()> {
        let list = self.list.lock();
        let m = &place.mount;
        if !is_mount_root(place) || !contains(&list, m) {
            return Err(Errno::EINVAL);
        }
        if !m.allows(flags) {
            return Err(Errno::EPERM);
        }
        if whole {
            let read_only = flags.contains(MountFlags::RDONLY);
            m.shared.read_only.store(read_only, std::sync::atomic::Ordering::Relaxed);
            if let Some(extra) = extra {
                *m.shared.extra.lock() = extra;
            }
        }
        m.set_flags(flags);
        Ok(())
    }

    /// Whether mounts come and go with others'. There are no peers here that they could come to.
    pub fn propagate(&self, place: &VfsPath, how: Propagation, reach: Reach) -> Result<()> {
        let list = self.list.lock();
        if !is_mount_root(place) || !contains(&list, &place.mount) {
            return Err(Errno::EINVAL);
        }
        match reach {
            Reach::One => place.mount.set_propagation(how),
            Reach::Tree => subtree(&list, &place.mount).iter().for_each(|m| m.set_propagation(how)),
        }
        Ok(())
    }

    /// pivot_root(2): what is mounted at `new` becomes the root of everything, and the old root goes to `put_old`.
    pub fn pivot(&self, root: &VfsPath, new: &VfsPath, put_old: &VfsPath) -> Result<()> {
        let list = self.list.lock();
        let old = put_old.clone().top();
        if [&new.mount, &old.mount, &root.mount].iter().any(|m| !contains(&list, m)) {
            return Err(Errno::EINVAL);
        }
        if new.dentry.unlinked() || old.dentry.unlinked() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new.mount, &root.mount) || Arc::ptr_eq(&old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        if new.mount.is_locked() || !is_mount_root(root) || !is_mount_root(new) || new.mount.at().is_none() {
            return Err(Errno::EINVAL);
        }
        let mut up = Some(old.clone());
        while let Some(at) = up.take() {
            if Arc::ptr_eq(&at.mount, &new.mount) {
                up = Some(at);
                break;
            }
            up = at.mount.at();
        }
        if up.is_none() {
            return Err(Errno::EINVAL);
        }
        let above = root.mount.at();
        new.mount.detach();
        root.mount.detach();
        match above {
            Some(place) => new.mount.attach(&place),
            None => *self.root.write() = VfsPath { mount: new.mount.clone(), dentry: new.dentry.clone() },
        }
        root.mount.attach(&old);
        new.mount.set_locked(root.mount.is_locked());
        root.mount.set_locked(false);
        Ok(())
    }

    /// unshare(2) with `CLONE_NEWNS`: the same tree again, and `places` as they are in it.
    pub fn duplicate(&self, places: &mut [&mut VfsPath]) -> Arc<Namespace> {
        let list = self.list.lock();
        let root = self.root.read().clone();
        let below = children(&list);
        let mut new_of: HashMap<usize, Arc<Mount>> = HashMap::new();
        let mut made = Vec::new();
        let mut todo = vec![(root.mount.clone(), None::<VfsPath>)];
        while let Some((old, at)) = todo.pop() {
            let new = Arc::new(old.again(old.root().clone()));
            if old.is_unbindable() {
                new.set_propagation(Propagation::Unbindable);
            }
            if let Some(at) = &at {
                new.attach(at);
            }
            for child in below.get(&key(&old)).into_iter().flatten() {
                if let Some(place) = child.at() {
                    todo.push((child.clone(), Some(VfsPath { mount: new.clone(), dentry: place.dentry })));
                }
            }
            new_of.insert(key(&old), new);
        }
        // In the old order.
        made.extend(list.iter().filter_map(|m| new_of.get(&key(m)).cloned()));
        for place in places {
            if let Some(m) = new_of.get(&key(&place.mount)) {
                place.mount = m.clone();
            }
        }
        let mount = new_of.get(&key(&root.mount)).cloned().unwrap_or(root.mount);
        Arc::new(Namespace {
            root: RwLock::new(VfsPath { mount, dentry: root.dentry }),
            list: Mutex::new(made),
        })
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

    /// sync(2): every file system; errors are told to who asks for one of them.
    pub fn sync(&self) {
        let list = self.list.lock().clone();
        for m in list {
            let _ = m.root().inode().sync_all();
        }
    }

    /// The mount of this kind of file system, where there is one.
    pub fn find(&self, kind: &str) -> Option<Arc<Mount>> {
        self.list.lock().iter().find(|m| m.fs.name() == kind).cloned()
    }

    /// Any mount of the file system with this device number.
    pub fn by_device(&self, dev: u64) -> Option<Arc<Mount>> {
        let list = self.list.lock().clone();
        list.into_iter().find(|m| m.root().inode().attrs().is_ok_and(|a| a.dev == dev))
    }

    /// `/proc/PID/mounts` (fstab(5)), as seen from a root.
    pub fn mounts_text(&self, root: &VfsPath) -> String {
        self.each(root, |out, m, point| {
            let (opts, extra) = (flag_text(m.flags(), m.read_only()), m.shared.extra.lock());
            let comma = if extra.is_empty() { "" } else { "," };
            let _ = writeln!(out, "{} {point} {} {opts}{comma}{extra} 0 0", source(m), m.fs.name());
        })
    }

    /// `/proc/PID/mountinfo` (proc(5)).
    pub fn mountinfo_text(&self, root: &VfsPath) -> String {
        self.each(root, |out, m, point| {
            let dev = m.root().inode().attrs().map_or(0, |a| a.dev);
            let parent = m.at().map_or(m.id, |p| p.mount.id);
            let own = m.flags();
            let tag = if m.is_unbindable() { " unbindable" } else { "" };
            let whole = m.shared.read_only.load(std::sync::atomic::Ordering::Relaxed)
                || (m.by_policy && own.contains(MountFlags::RDONLY));
            let extra = m.shared.extra.lock();
            let _ = writeln!(
                out,
                "{} {parent} {}:{} {} {point} {}{tag} - {} {} {}{}{extra}",
                m.id,
                libc::major(dev),
                libc::minor(dev),
                escape(&inside(m.root())),
                flag_text(own, own.contains(MountFlags::RDONLY)),
                m.fs.name(),
                source(m),
                if whole { "ro" } else { "rw" },
                if extra.is_empty() { "" } else { "," },
            );
        })
    }

    fn each(&self, root: &VfsPath, line: impl Fn(&mut String, &Mount, &str)) -> String {
        let mut out = String::new();
        let list = self.list.lock().clone();
        for m in list {
            let place = VfsPath { mount: m.clone(), dentry: m.root().clone() };
            let text = match locate(&place, root) {
                PathText::Live(p) => escape(&p),
                PathText::Deleted(p) => escape(&p) + "//deleted",
                PathText::Outside(_) => continue,
            };
            line(&mut out, &m, &text);
        }
        out
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One by one: mounts may hang on each other deeper than our stack is.
        for m in self.list.get_mut().drain(..) {
            m.detach();
        }
    }
}

fn source(m: &Mount) -> String {
    if m.source.is_empty() {
        m.fs.name().into()
    } else {
        escape(m.source.as_bytes())
    }
}

/// What a mount shows, seen from its file system's root.
fn inside(root: &Arc<Dentry>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = root.clone();
    while let Some(up) = at.parent() {
        names.push(at.name());
        at = up;
    }
    let mut text: Vec<u8> = names.iter().rev().flat_map(|n| [b"/", &n[..]].concat()).collect();
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

/// The option field of `/proc/mounts`.
fn flag_text(flags: MountFlags, read_only: bool) -> String {
    let mut t = String::from(if read_only { "ro" } else { "rw" });
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
    ] {
        if flags.contains(flag) {
            t.push_str(name);
        }
    }
    t
}

/// Spaces and the like as octal, as in fstab(5).
fn escape(path: &[u8]) -> String {
    let mut t = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' | '#' => {
                let _ = write!(t, "\\{:03o}", c as u32);
            }
            c => t.push(c),
        }
    }
    t
}
