//! The dentry cache: names in directories with what they lead to, names that are known to be absent among them.
//!
//! A [`Dentry`] always has an inode; absence is an entry in its directory's table. How long an entry may be believed is
//! the file system's word ([`CachePolicy`]). Locks: `dir` (one directory's changes and slow look-ups, held over calls
//! into the inode, as Linux holds `i_rwsem`) is taken before `entries` and `link`, which are held for moments only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::inode::{CachePolicy, FileKind, InodeRef};
use super::{notes, notify};

/// How many entries the cache holds before unused ones are thrown out.
pub const MAX_CACHED: usize = 100_000;
/// The longest name (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Entries in all directories' tables.
static CACHED: AtomicUsize = AtomicUsize::new(0);

/// The name was removed or replaced while somebody still holds the dentry.
const UNLINKED: u8 = 1;
/// A file made without a name (`O_TMPFILE`), to which linkat(2) may give one.
const LINKABLE: u8 = 4;

/// Whether a file made without a name may be given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    Later,
    /// `O_EXCL`.
    Never,
}

/// What the policy hides, as a tree of names below a directory.
#[derive(Default)]
pub struct HideNode {
    below: HashMap<Vec<u8>, Arc<HideNode>>,
    /// The whole path, where it is hidden.
    hidden: Option<Arc<[u8]>>,
}

impl HideNode {
    /// The tree for absolute paths; `None` where nothing is hidden.
    pub fn from_paths(paths: &[Vec<u8>]) -> Option<Arc<HideNode>> {
        let lists: Vec<Vec<&[u8]>> = paths
            .iter()
            .map(|p| p.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").collect())
            .filter(|l: &Vec<&[u8]>| !l.is_empty())
            .collect();
        let lists: Vec<&[&[u8]]> = lists.iter().map(|l| l.as_slice()).collect();
        HideNode::build(b"", &lists)
    }
    fn build(path: &[u8], lists: &[&[&[u8]]]) -> Option<Arc<HideNode>> {
        if lists.is_empty() {
            return None;
        }
        let mut by_name: HashMap<&[u8], Vec<&[&[u8]]>> = HashMap::new();
        let mut node = HideNode::default();
        for l in lists {
            match l.split_first() {
                Some((first, rest)) => by_name.entry(first).or_default().push(rest),
                None => node.hidden = Some(path.into()),
            }
        }
        for (name, rests) in by_name {
            if let Some(child) = HideNode::build(&[path, b"/", name].concat(), &rests) {
                node.below.insert(name.to_vec(), child);
            }
        }
        Some(Arc::new(node))
    }
}

/// Where a dentry hangs; changes with rename(2).
struct Link {
    name: Arc<[u8]>,
    parent: Option<Arc<Dentry>>,
}

#[derive(Clone)]
enum Entry {
    Present(Arc<Dentry>),
    Absent,
}

/// A name in a directory, with what it leads to.
pub struct Dentry {
    link: RwLock<Link>,
    inode: InodeRef,
    entries: Mutex<HashMap<Box<[u8]>, Entry>>,
    dir: Mutex<()>,
    state: AtomicU8,
    /// How many mounts, in all trees of them, cover this.
    mounts: AtomicU32,
    hide: Option<Arc<HideNode>>,
}

impl Dentry {
    fn make(
        name: &[u8],
        parent: Option<Arc<Dentry>>,
        inode: InodeRef,
        hide: Option<Arc<HideNode>>,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            link: RwLock::new(Link { name: name.into(), parent }),
            inode,
            entries: Mutex::default(),
            dir: Mutex::new(()),
            state: AtomicU8::new(0),
            mounts: AtomicU32::new(0),
            hide,
        })
    }

    /// The root of a mounted file system.
    pub fn root(inode: InodeRef, hide: Option<Arc<HideNode>>) -> Arc<Dentry> {
        Dentry::make(b"", None, inode, hide)
    }

    /// A dentry for an inode that has no name anywhere (what a magic link leads to).
    pub fn detached(inode: InodeRef, label: &[u8]) -> Arc<Dentry> {
        Dentry::make(label, None, inode, None)
    }

    /// A dentry for a file made in this directory without a name (`O_TMPFILE`).
    pub fn unnamed(self: &Arc<Dentry>, inode: InodeRef, label: &[u8], naming: Naming) -> Arc<Dentry> {
        let d = Dentry::make(label, Some(self.clone()), inode, None);
        let linkable = if naming == Naming::Later { LINKABLE } else { 0 };
        d.state.store(UNLINKED | linkable, Ordering::Relaxed);
        d
    }

    fn child_of(self: &Arc<Dentry>, name: &[u8], inode: InodeRef) -> Arc<Dentry> {
        let hide = self.hide.as_ref().and_then(|h| h.below.get(name)).cloned();
        Dentry::make(name, Some(self.clone()), inode, hide)
    }

    pub fn inode(&self) -> &InodeRef {
        &self.inode
    }
    /// The last component of its path; empty for a root.
    pub fn name(&self) -> Arc<[u8]> {
        self.link.read().name.clone()
    }
    /// The directory that it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.link.read().parent.clone()
    }
    /// Whether its name is gone.
    pub fn unlinked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & UNLINKED != 0
    }
    pub(super) fn set_unlinked(&self) {
        self.state.fetch_or(UNLINKED, Ordering::Relaxed);
    }
    /// Whether linkat(2) may give it a first name.
    pub fn linkable(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LINKABLE != 0
    }
    pub fn mounted(&self) -> bool {
        self.mounts.load(Ordering::Relaxed) > 0
    }
    pub(super) fn count_mount(&self, n: i32) {
        self.mounts.fetch_add(n as u32, Ordering::Relaxed);
    }
    pub(super) fn hide_node(&self) -> Option<Arc<HideNode>> {
        self.hide.clone()
    }
    /// Whether the policy hides this name in this directory.
    pub fn hides(&self, name: &[u8]) -> bool {
        self.hide.as_ref().and_then(|h| h.below.get(name)).is_some_and(|n| n.hidden.is_some())
    }
    /// As [`Dentry::hides`], for a guest that asks for that very name: it is told that there is nothing, and its user
    /// what it was that it asked for.
    pub(super) fn refuses(&self, name: &[u8]) -> bool {
        let hidden = self.hide.as_ref().and_then(|h| h.below.get(name)).and_then(|n| n.hidden.as_ref());
        if let Some(path) = hidden {
            notes::refused(notes::Refused::Hidden(path.clone()));
        }
        hidden.is_some()
    }
    /// Whether something hidden lies below: such a directory keeps its name, so that no other leads there.
    pub fn covers_hidden(&self) -> bool {
        self.hide.is_some()
    }
    /// Whether this is `other` or an ancestor of it.
    pub fn is_ancestor_of(self: &Arc<Dentry>, other: &Arc<Dentry>) -> bool {
        let mut at = Some(other.clone());
        while let Some(d) = at {
            if Arc::ptr_eq(self, &d) {
                return true;
            }
            at = d.parent();
        }
        false
    }

    /// Holds off other changes of this directory.
    pub(super) fn lock_dir(&self) -> MutexGuard<'_, ()> {
        self.dir.lock()
    }

    /// The child of this name, `None` where there is none. `ahead` are the names that the walk wants below it.
    pub fn child<'a>(
        self: &Arc<Dentry>,
        name: &[u8],
        ahead: impl FnOnce() -> Vec<&'a [u8]>,
    ) -> Result<Option<Arc<Dentry>>> {
        if self.refuses(name) {
            return Ok(None);
        }
        let policy = self.inode.cache_policy();
        if policy == CachePolicy::Never {
            return match self.inode.lookup(name) {
                Ok(inode) => Ok(Some(self.child_of(name, inode))),
                Err(Errno::ENOENT) => Ok(None),
                Err(e) => Err(e),
            };
        }
        if let Some(found) = self.believed(name, policy) {
            return Ok(found);
        }
        let names = ahead();
        if names.len() > 1 {
            self.inode.prefetch(&names);
        }
        let _dir = self.lock_dir();
        self.child_locked(name)
    }

    /// As [`Dentry::child`], but only what is known already; `EAGAIN` where that is nothing.
    pub(super) fn cached(self: &Arc<Dentry>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if self.refuses(name) {
            return Ok(None);
        }
        self.believed(name, self.inode.cache_policy()).ok_or(Errno::EAGAIN)
    }

    /// As [`Dentry::child`], by who holds the directory's lock.
    pub(super) fn child_locked(self: &Arc<Dentry>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if self.refuses(name) {
            return Ok(None);
        }
        let policy = self.inode.cache_policy();
        if let Some(found) = self.believed(name, policy) {
            return Ok(found);
        }
        match self.inode.lookup(name) {
            Ok(inode) => Ok(Some(self.found(name, inode, policy))),
            Err(Errno::ENOENT) => {
                self.absent(name, policy);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// What the cache says, where it may still be believed.
    fn believed(&self, name: &[u8], policy: CachePolicy) -> Option<Option<Arc<Dentry>>> {
        let entry = self.entries.lock().get(name).cloned()?;
        let child = match entry {
            Entry::Present(d) => Some(d),
            Entry::Absent => None,
        };
        let holds = match (policy, &child) {
            (CachePolicy::Forever, _) => true,
            (_, Some(d)) if d.mounted() => true,
            (CachePolicy::Never, _) => false,
            (CachePolicy::Ask, c) => self.inode.revalidate(name, c.as_ref().map(|d| &d.inode)),
        };
        holds.then_some(child)
    }

    /// Enters what a look-up or a creation found; a dentry of the same inode stays the same.
    pub(super) fn found(
        self: &Arc<Dentry>,
        name: &[u8],
        inode: InodeRef,
        policy: CachePolicy,
    ) -> Arc<Dentry> {
        let mut entries = self.entries.lock();
        if let Some(Entry::Present(old)) = entries.get(name) {
            if same_inode(&old.inode, &inode) {
                return old.clone();
            }
        }
        let d = self.child_of(name, inode);
        if policy != CachePolicy::Never {
            self.put(&mut entries, name, Entry::Present(d.clone()));
        }
        drop(entries);
        self.relieve();
        d
    }

    /// Enters that there is no such name.
    pub(super) fn absent(self: &Arc<Dentry>, name: &[u8], policy: CachePolicy) {
        if policy == CachePolicy::Never {
            return;
        }
        let mut entries = self.entries.lock();
        self.put(&mut entries, name, Entry::Absent);
        drop(entries);
        self.relieve();
    }

    fn put(&self, entries: &mut HashMap<Box<[u8]>, Entry>, name: &[u8], entry: Entry) {
        match entries.insert(name.into(), entry) {
            Some(Entry::Present(old)) => {
                old.state.fetch_or(UNLINKED, Ordering::Relaxed);
            }
            Some(Entry::Absent) => {}
            None => {
                CACHED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Throws out what nobody uses once the cache is full: here first, else from the root of the file system.
    fn relieve(self: &Arc<Dentry>) {
        if CACHED.load(Ordering::Relaxed) <= MAX_CACHED {
            return;
        }
        self.drop_unused();
        if CACHED.load(Ordering::Relaxed) > MAX_CACHED * 9 / 10 {
            let mut top = self.clone();
            while let Some(p) = top.parent() {
                top = p;
            }
            top.prune();
        }
    }

    fn drop_unused(&self) {
        let mut gone = Vec::new();
        self.entries.lock().retain(|_, e| {
            let keep = match e {
                Entry::Absent => false,
                Entry::Present(d) => Arc::strong_count(d) > 1 || d.hide.is_some(),
            };
            if !keep {
                CACHED.fetch_sub(1, Ordering::Relaxed);
                gone.push(e.clone());
            }
            keep
        });
        drop(gone);
    }

    /// Throws out unused entries in the whole tree, leaves first.
    fn prune(self: &Arc<Dentry>) {
        let mut order = vec![self.clone()];
        let mut at = 0;
        while let Some(d) = order.get(at).cloned() {
            at += 1;
            for e in d.entries.lock().values() {
                if let Entry::Present(c) = e {
                    order.push(c.clone());
                }
            }
        }
        drop(order.drain(..).rev().map(|d| d.drop_unused()).collect::<Vec<_>>());
    }

    /// The name was removed.
    pub(super) fn forget(self: &Arc<Dentry>, name: &[u8]) {
        let policy = self.inode.cache_policy();
        self.absent(name, policy);
    }

    /// The name moved (both directories are locked). What was at the new name is gone.
    pub(super) fn moved(self: &Arc<Dentry>, child: &Arc<Dentry>, to: &Arc<Dentry>, new_name: &[u8]) {
        let old_name = child.name();
        if let Some(Entry::Present(d)) = self.entries.lock().insert(old_name[..].into(), Entry::Absent) {
            debug_assert!(Arc::ptr_eq(&d, child));
        }
        {
            let mut link = child.link.write();
            link.name = new_name.into();
            link.parent = Some(to.clone());
        }
        if to.inode.cache_policy() != CachePolicy::Never {
            to.put(&mut to.entries.lock(), new_name, Entry::Present(child.clone()));
        }
    }

    /// Two names changed places (both directories are locked).
    pub(super) fn exchanged(a: &Arc<Dentry>, b: &Arc<Dentry>) {
        let (an, ap) = (a.name(), a.parent());
        let (bn, bp) = (b.name(), b.parent());
        for (d, name, parent) in [(a, bn, bp), (b, an, ap)] {
            {
                let mut link = d.link.write();
                link.name = name.clone();
                link.parent = parent.clone();
            }
            if let Some(p) = parent {
                p.entries.lock().insert(name[..].into(), Entry::Present(d.clone()));
            }
        }
    }
}

/// Whether two inodes are one object.
pub fn same_inode(a: &InodeRef, b: &InodeRef) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}

impl Drop for Dentry {
    fn drop(&mut self) {
        let last = notify::watched() && self.unlinked();
        if last && (self.inode.kind() == FileKind::Dir || self.inode.attrs().is_ok_and(|a| a.nlink == 0)) {
            notify::gone(&self.inode);
        }
        let entries = std::mem::take(self.entries.get_mut());
        CACHED.fetch_sub(entries.len(), Ordering::Relaxed);
        // A long chain of parents is let go one by one: a guest can make it deeper than our stack.
        let mut up = self.link.get_mut().parent.take();
        while let Some(p) = up {
            up = Arc::into_inner(p).and_then(|mut p| p.link.get_mut().parent.take());
        }
    }
}
