//! The overlay: a lower file system that is never written (the host's files) under changes kept in memory or on disk
//! ([`Store`]), in the sense of overlayfs. The default root of a sandbox.
//!
//! A directory keeps what became of names in a table of its own ([`Change`]): a whiteout, or an inode that was made,
//! changed, linked or moved. Names not in the table are the lower directory's, also those that appear on the host later.
//! An [`OvlInode`] keeps its identity (the same object, device and inode number) when its attributes, and then its
//! bytes, are copied up, so open descriptions and cached dentries go on with the new content. Attributes and bytes are
//! copied apart: chmod of a large file copies no byte of it. A lower directory that is renamed moves as it is.
//!
//! Locks: `Ovl::moves` (rename, rmdir) > `OvlInode::copy` > `OvlInode::dir` > `place`, `Ovl::known`, `Ovl::kept`. Nobody
//! holds the `dir` lock of two directories but under `moves`, parent before child. The lower file system is called
//! under these locks and never calls back.

mod changes;
mod copy_up;
pub mod diff;
mod dir;
pub mod export;
mod file;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::tmpfs::{self, Store, TmpInode};
use crate::vfs::inode::{Attrs, CachePolicy, NewNode, Owner, SetAttrs, StatFs};
use crate::vfs::{FileKind, FileOps, FileSystem, Inode, InodeRef};

/// `OVERLAYFS_SUPER_MAGIC` of statfs(2).
const MAGIC: u64 = 0x794c_7630;
/// Inode numbers of what the sandbox made start here, above those of common host file systems.
const FIRST_INO: u64 = 1 << 40;

/// What tells one lower inode from all others, one that reuses a number included.
type Key = (u64, u64, i64, u32);

fn key_of(a: &Attrs) -> Key {
    (a.dev, a.ino, a.btime.sec, a.btime.nsec)
}

/// What became of a name.
#[derive(Clone)]
enum Change {
    /// Gone, although the lower directory has it.
    Whiteout,
    /// Leads to this inode. `covers`: the lower directory has the name too.
    Entry { inode: Arc<OvlInode>, covers: bool },
}

/// A directory's table.
#[derive(Default)]
struct DirState {
    changes: BTreeMap<Vec<u8>, Change>,
    /// A name that was just looked up and is not in the lower directory, so that creating it needs no second look.
    absent: Vec<u8>,
    /// Removed: nothing can be made in it any more.
    dead: bool,
}

/// Where an inode can be found again.
enum Place {
    Root,
    /// By this name in the lower directory; the directory's table does not mention it.
    Lower(Arc<OvlInode>, Vec<u8>),
    /// In the table of this directory.
    Listed(Weak<OvlInode>, Vec<u8>),
    /// Its last known name is gone, or it never had one.
    Nowhere,
}

/// What all inodes of one overlay share.
struct Ovl {
    upper: Arc<tmpfs::Shared>,
    upper_limited: bool,
    next_ino: AtomicU64,
    /// What the set-up made has numbers below this one.
    first_guest_ino: AtomicU64,
    /// Inodes in use that have a lower one, so that each lower inode has one object, hard links included.
    known: Mutex<HashMap<Key, Weak<OvlInode>>>,
    /// Changed inodes with several lower names: found by whichever name is asked for.
    kept: Mutex<HashMap<Key, Arc<OvlInode>>>,
    moves: Mutex<()>,
}

/// A mountable overlay.
pub struct OverlayFs {
    root: Arc<OvlInode>,
}

impl OverlayFs {
    /// Over `lower`; `size` bounds the bytes that changes may take, `store` is where they lie.
    pub fn new(lower: &dyn FileSystem, size: Option<u64>, store: Store) -> Result<Arc<OverlayFs>> {
        let fs = Arc::new(Ovl {
            upper: tmpfs::Shared::new(size, 8 << 20, store),
            upper_limited: size.is_some(),
            next_ino: AtomicU64::new(FIRST_INO),
            first_guest_ino: AtomicU64::new(FIRST_INO),
            known: Mutex::default(),
            kept: Mutex::default(),
            moves: Mutex::new(()),
        });
        let root = OvlInode::over(&fs, lower.root(), Place::Root)?;
        Ok(Arc::new(OverlayFs { root }))
    }
}

impl FileSystem for OverlayFs {
    fn name(&self) -> &'static str {
        "overlay"
    }
    fn root(&self) -> InodeRef {
        self.root.clone()
    }
}

/// An inode of the overlay. It is also the operations of an open file whose bytes are all in memory.
pub struct OvlInode {
    me: Weak<OvlInode>,
    fs: Arc<Ovl>,
    dev: u64,
    ino: u64,
    kind: FileKind,
    key: Option<Key>,
    lower: Option<InodeRef>,
    /// Holds the attributes once they have changed, and the bytes once `bytes_below` is false.
    upper: OnceLock<Arc<TmpInode>>,
    bytes_below: AtomicBool,
    copy: Mutex<()>,
    place: Mutex<Place>,
    /// Names (or subdirectories) made and removed, against the base that the lower or upper inode says.
    links: AtomicI64,
    dir: Option<Mutex<DirState>>,
}

impl OvlInode {
    /// The object for a lower inode: the one in use, or a new one.
    fn over(fs: &Arc<Ovl>, lower: InodeRef, place: Place) -> Result<Arc<OvlInode>> {
        let a = lower.attrs()?;
        let key = key_of(&a);
        // Declared before the guard, so that it is dropped after it: the end of an inode takes the same lock.
        let old;
        let mut known = fs.known.lock();
        old = known.get(&key).and_then(|w| w.upgrade());
        if let Some(old) = old.as_ref().filter(|o| o.kind == a.kind).cloned() {
            drop(known);
            let mut at = old.place.lock();
            let before =
                if matches!(*at, Place::Lower(..)) { Some(std::mem::replace(&mut *at, place)) } else { None };
            drop(at);
            drop(before);
            return Ok(old);
        }
        let new = OvlInode::make(fs, a.kind, (a.dev, a.ino), Some(key), Some(lower), place);
        known.insert(key, new.me.clone());
        Ok(new)
    }

    /// Something new, with no name yet.
    fn fresh(fs: &Arc<Ovl>, dev: u64, node: &NewNode, owner: Owner, place: Place) -> Result<Arc<OvlInode>> {
        let upper = TmpInode::make(&fs.upper, node, owner)?;
        let kind = upper.kind();
        upper.set_nlink(if kind == FileKind::Dir { 2 } else { 0 });
        let ino = fs.next_ino.fetch_add(1, Ordering::Relaxed);
        let new = OvlInode::make(fs, kind, (dev, ino), None, None, place);
        let _ = new.upper.set(upper);
        Ok(new)
    }

    fn make(
        fs: &Arc<Ovl>,
        kind: FileKind,
        (dev, ino): (u64, u64),
        key: Option<Key>,
        lower: Option<InodeRef>,
        place: Place,
    ) -> Arc<OvlInode> {
        Arc::new_cyclic(|me| OvlInode {
            me: me.clone(),
            fs: fs.clone(),
            dev,
            ino,
            kind,
            key,
            bytes_below: AtomicBool::new(lower.is_some() && kind == FileKind::Regular),
            lower,
            upper: OnceLock::new(),
            copy: Mutex::new(()),
            place: Mutex::new(place),
            links: AtomicI64::new(0),
            dir: (kind == FileKind::Dir).then(Mutex::default),
        })
    }

    fn me(&self) -> Result<Arc<OvlInode>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    fn dir_state(&self) -> Result<&Mutex<DirState>> {
        self.dir.as_ref().ok_or(Errno::ENOTDIR)
    }

    /// Whether the bytes are still the lower file's.
    fn bytes_below(&self) -> bool {
        self.bytes_below.load(Ordering::Acquire)
    }

    fn below(&self) -> Result<&InodeRef> {
        self.lower.as_ref().ok_or(Errno::ESTALE)
    }

    fn cast(inode: &InodeRef) -> Option<&OvlInode> {
        inode.as_any().downcast_ref::<OvlInode>()
    }
}

impl Drop for OvlInode {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut known = self.fs.known.lock();
            if known.get(&key).is_some_and(|w| w.strong_count() == 0) {
                known.remove(&key);
            }
        }
    }
}

impl Inode for OvlInode {
    fn attrs(&self) -> Result<Attrs> {
        let mut a = match self.upper.get() {
            Some(upper) => upper.attrs()?,
            None => self.below()?.attrs()?,
        };
        if self.upper.get().is_some() && self.bytes_below() {
            let low = self.below()?.attrs()?;
            (a.size, a.blocks, a.blksize) = (low.size, low.blocks, low.blksize);
        }
        if self.is_dir() && self.upper.get().is_some() {
            (a.size, a.blocks) = (4096, 8);
        }
        (a.dev, a.ino) = (self.dev, self.ino);
        // Some file systems give every directory one link (btrfs): that says nothing of subdirectories.
        if !self.is_dir() || a.nlink != 1 {
            a.nlink = a.nlink.saturating_add_signed(self.links.load(Ordering::Relaxed));
        }
        Ok(a)
    }
    fn kind(&self) -> FileKind {
        self.kind
    }
    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        if let (Some(size), true) = (set.size, self.bytes_below()) {
            self.copy_bytes(size)?;
        }
        self.to_upper()?.set_attrs(set)
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        self.find(name).map(|i| i as InodeRef)
    }
    fn prefetch(&self, names: &[&[u8]]) {
        if let Some(lower) = &self.lower {
            lower.prefetch(names);
        }
    }
    fn cache_policy(&self) -> CachePolicy {
        self.lower.as_ref().map_or(CachePolicy::Forever, |l| l.cache_policy())
    }
    fn revalidate(&self, name: &[u8], child: Option<&InodeRef>) -> bool {
        self.still_holds(name, child)
    }
    fn create(&self, name: &[u8], node: &NewNode, owner: Owner) -> Result<InodeRef> {
        self.create_ovl(name, node, owner).map(|i| i as InodeRef)
    }
    fn keeps_devices(&self) -> bool {
        true
    }
    fn create_unnamed(&self, owner: Owner) -> Result<InodeRef> {
        self.dir_state()?;
        let new = OvlInode::fresh(&self.fs, self.dev, &NewNode::Regular, owner, Place::Nowhere)?;
        Ok(new)
    }
    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let target = OvlInode::cast(target).filter(|t| Arc::ptr_eq(&t.fs, &self.fs)).ok_or(Errno::EXDEV)?;
        self.link_ovl(name, target)
    }
    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.unlink_ovl(name)
    }
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.rmdir_ovl(name)
    }
    fn rename(&self, name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: u32) -> Result<()> {
        let new_dir = OvlInode::cast(new_dir).filter(|d| Arc::ptr_eq(&d.fs, &self.fs)).ok_or(Errno::EXDEV)?;
        self.rename_ovl(name, new_dir, new_name, flags)
    }
    fn readlink(&self) -> Result<Vec<u8>> {
        match &self.lower {
            Some(lower) => lower.readlink(),
            None => self.to_upper()?.readlink(),
        }
    }
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        self.open_ovl(flags)
    }
    fn getxattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        match self.upper.get() {
            Some(upper) => upper.getxattr(name),
            None => self.below()?.getxattr(name),
        }
    }
    fn setxattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.to_upper()?.setxattr(name, value, flags)
    }
    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        match self.upper.get() {
            Some(upper) => upper.listxattr(),
            None => self.below()?.listxattr(),
        }
    }
    fn removexattr(&self, name: &[u8]) -> Result<()> {
        self.to_upper()?.removexattr(name)
    }
    fn statfs(&self) -> Result<StatFs> {
        let upper = self.fs.upper.statfs();
        if self.fs.upper_limited {
            return Ok(StatFs { magic: MAGIC, ..upper });
        }
        // Without a limit of our own the machine's room is what there is to show.
        let low = self.lower.as_ref().and_then(|l| l.statfs().ok()).unwrap_or(StatFs {
            blocks: 1 << 28,
            bfree: 1 << 28,
            bavail: 1 << 28,
            ..upper
        });
        Ok(StatFs { magic: MAGIC, ..low })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
