//! What a run has changed: a walk over the directories' tables, in the order of names, each directory before what is in
//! it. [`diff`](super::diff) lists what it finds, [`export`](super::export) packs it.
//!
//! The guests are gone when this runs; what they left is hostile still. A tree may be deeper than our stack, so the
//! walk keeps its own, and paths have a bound.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::Result;

use super::{key_of, Change, OverlayFs, OvlInode};
use crate::mm::VecSink;
use crate::vfs::inode::Attrs;
use crate::vfs::{File, FileKind, Inode, InodeRef};

/// The longest path that is followed, a multiple of what any call takes: names below are counted, not shown.
pub const MAX_PATH: usize = 16 << 10;
/// How much of a file is compared at a time.
const CHUNK: usize = 64 << 10;
/// Neither `atime` nor any other trace of our reading.
const LOOK: u32 = (libc::O_RDONLY | libc::O_NOATIME) as u32;

/// What became of a name.
pub enum Finding<'a> {
    /// The lower layer has it, and it is gone.
    Gone { lower: Option<InodeRef> },
    /// An inode at its own place below, of which something may have changed.
    Kept(&'a Arc<OvlInode>),
    /// Something that was not at this place: made, or moved here.
    New {
        inode: &'a Arc<OvlInode>,
        /// What the lower layer has by this name.
        over: Option<InodeRef>,
        /// It came along with a directory that was moved, in which it had this name before.
        carried: bool,
    },
}

/// Who is shown the changes, each with its path.
pub type Visit<'v, E> = dyn FnMut(&[u8], Finding<'_>) -> std::result::Result<(), E> + 'v;

/// A name of a directory, as the walk keeps it.
enum Found {
    Gone(Option<InodeRef>),
    Kept(Arc<OvlInode>),
    New { inode: Arc<OvlInode>, over: Option<InodeRef>, carried: bool },
}

/// What differs between an inode and what the lower layer has in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    /// Mode, owner, or extended attributes.
    pub attributes: bool,
    pub bytes: bool,
    /// The modification time. Of a directory it goes with what is in it.
    pub time: bool,
}

impl Differs {
    pub fn any(self) -> bool {
        self.attributes || self.bytes || self.time
    }
}

impl OverlayFs {
    /// What is in the overlay now is the set-up's (places to mount on), not a guest's.
    pub fn settle(&self) {
        let fs = &self.root.fs;
        fs.first_guest_ino.store(fs.next_ino.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Shows all changes with their paths, relative to the root, whose own is empty. Gives how many names were too deep
    /// to be shown.
    pub fn changes<E: From<linux_abi::Errno>>(
        &self,
        visit: &mut Visit<'_, E>,
    ) -> std::result::Result<u64, E> {
        let mut too_deep = 0;
        let mut path = Vec::new();
        visit(&path, Finding::Kept(&self.root))?;
        let mut open = vec![(0, children(&self.root, false)?.into_iter())];
        while let Some((len, names)) = open.last_mut() {
            path.truncate(*len);
            let Some((name, found)) = names.next() else {
                open.pop();
                continue;
            };
            if path.len() + 1 + name.len() > MAX_PATH {
                too_deep += 1;
                continue;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let below = match found {
                Found::Gone(lower) => {
                    visit(&path, Finding::Gone { lower })?;
                    None
                }
                Found::Kept(inode) => {
                    visit(&path, Finding::Kept(&inode))?;
                    // What the set-up made has no lower layer, and all that is in it is new.
                    inode.is_dir().then(|| children(&inode, false))
                }
                Found::New { inode, over, carried } => {
                    visit(&path, Finding::New { inode: &inode, over, carried })?;
                    inode.is_dir().then(|| children(&inode, true))
                }
            };
            if let Some(below) = below.transpose()? {
                open.push((path.len(), below.into_iter()));
            }
        }
        Ok(too_deep)
    }
}

/// The changed names of a directory. `whole`: the directory is not at its place below, so all that is in it counts.
fn children(dir: &Arc<OvlInode>, whole: bool) -> Result<BTreeMap<Vec<u8>, Found>> {
    let changes = dir.dir_state()?.lock().changes.clone();
    let mut all = BTreeMap::new();
    if whole {
        let mut lower = Vec::new();
        dir.each_lower(&mut |batch| {
            lower.extend(batch.into_iter().map(|e| e.name).filter(|n| !changes.contains_key(n)));
            true
        })?;
        for name in lower {
            // What went away on the host meanwhile is not there to be shown.
            if let Ok(inode) = dir.find(&name) {
                all.insert(name, Found::New { inode, over: None, carried: true });
            }
        }
    }
    for (name, change) in changes {
        let over = dir.lower.as_ref().and_then(|l| l.lookup(&name).ok());
        let found = match change {
            Change::Whiteout => Found::Gone(over),
            Change::Entry { inode, covers } => {
                let home = covers && inode.is_over(over.as_ref());
                let ours =
                    inode.lower.is_none() && inode.ino < dir.fs.first_guest_ino.load(Ordering::Relaxed);
                match (home, whole) {
                    _ if ours => Found::Kept(inode),
                    (true, false) => Found::Kept(inode),
                    (home, true) => Found::New { inode, over: None, carried: home },
                    (false, false) => Found::New { inode, over: over.filter(|_| covers), carried: false },
                }
            }
        };
        all.insert(name, found);
    }
    Ok(all)
}

impl OvlInode {
    /// Whether this is the object for that lower inode.
    fn is_over(&self, lower: Option<&InodeRef>) -> bool {
        let (Some(key), Some(lower)) = (self.key, lower) else { return false };
        lower.attrs().is_ok_and(|a| key_of(&a) == key)
    }

    /// What tells the lower inode, if there is one, from all others.
    pub(super) fn lower_key(&self) -> Option<super::Key> {
        self.key
    }

    /// Whether bytes or attributes of it are kept in the upper layer.
    pub(super) fn is_stored(&self) -> bool {
        self.upper.get().is_some()
    }

    /// What differs from the lower inode that this is the object of.
    pub(super) fn differs_from_lower(&self) -> Result<Differs> {
        let (Some(lower), Some(_)) = (&self.lower, self.upper.get()) else { return Ok(Differs::default()) };
        let me = self.me()?;
        differs(&me, lower, !self.bytes_below())
    }
}

/// Compares an inode with another one of the same kind; its bytes only where they may differ.
pub(super) fn differs(inode: &Arc<OvlInode>, other: &InodeRef, bytes: bool) -> Result<Differs> {
    let (a, b) = (inode.attrs()?, other.attrs()?);
    let attributes = (a.perm, a.uid, a.gid) != (b.perm, b.uid, b.gid) || xattrs(&**inode) != xattrs(&**other);
    let bytes = match a.kind {
        FileKind::Regular if bytes => a.size != b.size || !same_bytes(inode, other, &a)?,
        FileKind::Symlink => inode.readlink()? != other.readlink()?,
        FileKind::Char | FileKind::Block => a.rdev != b.rdev,
        _ => false,
    };
    Ok(Differs { attributes, bytes, time: a.mtime != b.mtime })
}

/// The extended attributes that copies carry along.
pub(super) fn xattrs(inode: &dyn Inode) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let names = inode.listxattr().unwrap_or_default().into_iter().filter(|n| !n.starts_with(b"system."));
    names.filter_map(|n| inode.getxattr(&n).ok().map(|v| (n, v))).collect()
}

/// A regular file opened for us to look at.
pub(super) fn look_into(inode: InodeRef) -> Result<Arc<File>> {
    Ok(File::new(inode.clone().open(LOOK)?, None, Some(inode), LOOK))
}

/// Whether two files of this size hold the same bytes. Ranges that are holes in both are not read.
fn same_bytes(inode: &Arc<OvlInode>, other: &InodeRef, attrs: &Attrs) -> Result<bool> {
    let (a, b) = (look_into(inode.clone())?, look_into(other.clone())?);
    let mut at = 0;
    while at < attrs.size {
        let data = |f: &File| f.ops.seek(f, i64::try_from(at).unwrap_or(i64::MAX), 3).unwrap_or(attrs.size);
        let next = data(&a).min(data(&b));
        if next > at {
            at = next;
            continue;
        }
        let want = CHUNK.min(usize::try_from(attrs.size - at).unwrap_or(CHUNK));
        let (mut left, mut right) = (VecSink::new(want), VecSink::new(want));
        let n = a.ops.read(&a, at, &mut left)?;
        b.ops.read(&b, at, &mut right)?;
        if left.data != right.data || n == 0 {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}
