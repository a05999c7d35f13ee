//! Copy-up: attributes first, bytes when they are about to change, and the places of both.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::{Change, OvlInode, Place};
use crate::fsimpl::tmpfs::TmpInode;
use crate::mm::{SliceSource, VecSink};
use crate::vfs::inode::{NewNode, Owner};
use crate::vfs::{File, FileKind};

/// How much is copied at a time.
const CHUNK: usize = 256 << 10;

impl OvlInode {
    /// The upper inode, with the attributes copied to it where that has not happened yet.
    pub(super) fn to_upper(&self) -> Result<&Arc<TmpInode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let _copy = self.copy.lock();
        self.to_upper_locked()
    }

    fn to_upper_locked(&self) -> Result<&Arc<TmpInode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let lower = self.below()?;
        let a = lower.attrs()?;
        let node = match a.kind {
            FileKind::Dir => NewNode::Dir,
            FileKind::Symlink => NewNode::Symlink(lower.readlink()?),
            FileKind::Fifo => NewNode::Fifo,
            FileKind::Socket => NewNode::Socket,
            FileKind::Char => NewNode::Char(a.rdev),
            FileKind::Block => NewNode::Block(a.rdev),
            _ => NewNode::Regular,
        };
        let owner = Owner { uid: a.uid, gid: a.gid, perm: a.perm };
        let upper = TmpInode::make(&self.fs.upper, &node, owner)?;
        upper.copy_attrs(&a);
        let mut xattrs = BTreeMap::new();
        for name in lower.listxattr().unwrap_or_default() {
            if !name.starts_with(b"system.") {
                if let Ok(value) = lower.getxattr(&name) {
                    xattrs.insert(name, value);
                }
            }
        }
        upper.copy_xattrs(xattrs);
        self.list_place();
        let _ = self.upper.set(upper);
        self.upper.get().ok_or(Errno::EIO)
    }

    /// Enters the inode, and the directories above it, in their directories' tables, so that it is found again by
    /// its name for as long as the overlay lives.
    pub(super) fn list_place(&self) {
        let Some(mut at) = self.me.upgrade() else { return };
        loop {
            let (parent, name) = match &*at.place.lock() {
                Place::Lower(parent, name) => (parent.clone(), name.clone()),
                _ => return,
            };
            if let Some(dir) = &parent.dir {
                let mut st = dir.lock();
                let mut place = at.place.lock();
                let same = matches!(&*place, Place::Lower(p, n) if Arc::ptr_eq(p, &parent) && *n == name);
                if same && !st.changes.contains_key(&name) {
                    st.changes.insert(name.clone(), Change::Entry { inode: at.clone(), covers: true });
                    *place = Place::Listed(Arc::downgrade(&parent), name);
                } else if same {
                    // The name leads elsewhere by now.
                    *place = Place::Nowhere;
                }
            }
            at.keep_linked();
            at = parent;
        }
    }

    /// Remembers an inode with several lower names by its identity.
    pub(super) fn keep_linked(&self) {
        let (Some(key), Some(lower), false) = (self.key, &self.lower, self.is_dir()) else { return };
        if lower.attrs().is_ok_and(|a| a.nlink > 1) {
            if let Some(me) = self.me.upgrade() {
                self.fs.kept.lock().insert(key, me);
            }
        }
    }

    /// Copies the first `limit` bytes up (fewer where a truncation follows); `u64::MAX` for all.
    pub(super) fn copy_bytes(&self, limit: u64) -> Result<()> {
        if !self.bytes_below() {
            return Ok(());
        }
        let _copy = self.copy.lock();
        if !self.bytes_below() {
            return Ok(());
        }
        let upper = self.to_upper_locked()?;
        let content = upper.content().ok_or(Errno::EINVAL)?;
        let lower = self.below()?;
        let size = lower.attrs()?.size;
        let want = size.min(limit);
        let copied = if want == 0 { Ok(()) } else { self.copy_range(content, want) };
        // What lies behind the last byte written, up to the size, is a hole.
        let copied = copied.and_then(|()| content.truncate(if limit < size { want } else { size }));
        if let Err(e) = copied {
            let _ = content.truncate(0);
            return Err(e);
        }
        self.bytes_below.store(false, Ordering::Release);
        Ok(())
    }

    fn copy_range(&self, content: &crate::fsimpl::tmpfs::content::Content, want: u64) -> Result<()> {
        let lower = self.below()?;
        let ops = lower.clone().open(libc::O_RDONLY as u32)?;
        let file = File::new(ops, None, Some(lower.clone()), libc::O_RDONLY as u32);
        let mut at = 0;
        while at < want {
            let mut sink = VecSink::new(CHUNK.min((want - at) as usize));
            let n = file.ops.read(&file, at, &mut sink)?;
            if n == 0 {
                break;
            }
            // Runs of zeros stay holes: a sparse image must not fill the memory.
            if sink.data.iter().any(|b| *b != 0) {
                let mut from = SliceSource(&sink.data);
                let mut done = 0;
                while done < sink.data.len() {
                    match content.write_at(at + done as u64, &mut from)? {
                        0 => return Err(Errno::EIO),
                        k => done += k,
                    }
                }
            }
            at += n as u64;
        }
        Ok(())
    }
}
