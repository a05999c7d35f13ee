//! Who wants to hear of what happens to a file (inotify(7)). Calls that use or change files tell of it here; while nobody
//! watches anything that costs one load.
//!
//! A [`Mark`] is one watch on one inode, which it keeps alive, so that the inode's address names it. What a listener does
//! with an event is its own: it is told with no lock of this module held, and must take none but its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::RwLock;

use super::dentry::Dentry;
use super::file::File;
use super::inode::{FileKind, InodeRef};
use super::path::VfsPath;

/// Events, with the values of inotify(7).
pub const ACCESS: u32 = libc::IN_ACCESS;
pub const MODIFY: u32 = libc::IN_MODIFY;
pub const ATTRIB: u32 = libc::IN_ATTRIB;
pub const CLOSE_WRITE: u32 = libc::IN_CLOSE_WRITE;
pub const CLOSE_NOWRITE: u32 = libc::IN_CLOSE_NOWRITE;
pub const OPEN: u32 = libc::IN_OPEN;
pub const MOVED_FROM: u32 = libc::IN_MOVED_FROM;
pub const MOVED_TO: u32 = libc::IN_MOVED_TO;
pub const CREATE: u32 = libc::IN_CREATE;
pub const DELETE: u32 = libc::IN_DELETE;
pub const DELETE_SELF: u32 = libc::IN_DELETE_SELF;
pub const MOVE_SELF: u32 = libc::IN_MOVE_SELF;
const UNMOUNT: u32 = libc::IN_UNMOUNT;
const ISDIR: u32 = libc::IN_ISDIR;

/// One event as a listener is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub mask: u32,
    /// Ties the two events of a rename together; else 0.
    pub cookie: u32,
    /// The name in the watched directory; empty for what happened to the watched file itself.
    pub name: &'a [u8],
}

/// Who has set marks.
pub trait Listener: Send + Sync {
    fn event(&self, mark: &Mark, event: Event<'_>);
    /// The mark has come to its end by itself: its file is gone, or it was for one event.
    fn over(&self, mark: &Mark);
}

/// One watch on one inode.
pub struct Mark {
    /// The listener's own number for it.
    pub number: i32,
    inode: InodeRef,
    /// Wanted events, with `IN_ONESHOT` and `IN_EXCL_UNLINK`.
    mask: AtomicU32,
    listener: Weak<dyn Listener>,
}

impl Mark {
    pub fn new(number: i32, inode: InodeRef, mask: u32, listener: Weak<dyn Listener>) -> Arc<Mark> {
        Arc::new(Mark { number, inode, mask: AtomicU32::new(mask), listener })
    }
    pub fn inode(&self) -> &InodeRef {
        &self.inode
    }
    pub fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }
    pub fn set_mask(&self, mask: u32) {
        self.mask.store(mask, Ordering::Relaxed);
    }
}

/// How many marks there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Marks by their inode's address.
static MARKS: LazyLock<RwLock<HashMap<usize, Vec<Arc<Mark>>>>> = LazyLock::new(RwLock::default);

fn address(inode: &InodeRef) -> usize {
    Arc::as_ptr(inode).cast::<()>() as usize
}

/// Whether anything is watched at all.
pub fn watched() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}

/// Enters a mark.
pub fn add(mark: Arc<Mark>) {
    let mut marks = MARKS.write();
    marks.entry(address(&mark.inode)).or_default().push(mark);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Takes a mark out; `false` where somebody else has done so.
pub fn remove(mark: &Mark) -> bool {
    let mut marks = MARKS.write();
    let key = address(&mark.inode);
    let Some(list) = marks.get_mut(&key) else { return false };
    let Some(at) = list.iter().position(|m| std::ptr::eq(&**m, mark)) else { return false };
    let gone = list.swap_remove(at);
    if list.is_empty() {
        marks.remove(&key);
    }
    COUNT.fetch_sub(1, Ordering::Relaxed);
    drop(marks);
    // Its inode may go with it, which must not happen under our lock.
    drop(gone);
    true
}

fn marks_of(inode: &InodeRef) -> Vec<Arc<Mark>> {
    MARKS.read().get(&address(inode)).cloned().unwrap_or_default()
}

fn deliver(mark: &Mark, event: Event<'_>) {
    let want = mark.mask();
    if want & event.mask & libc::IN_ALL_EVENTS == 0 {
        return;
    }
    let Some(listener) = mark.listener.upgrade() else { return };
    listener.event(mark, event);
    if want & libc::IN_ONESHOT != 0 && remove(mark) {
        listener.over(mark);
    }
}

fn is_dir(inode: &InodeRef) -> u32 {
    if inode.kind() == FileKind::Dir {
        ISDIR
    } else {
        0
    }
}

/// Something was done with what this dentry names: its directory's watches hear of it by name, then its own.
pub fn on_dentry(dentry: &Dentry, mask: u32) {
    if watched() {
        tell_both(dentry, mask, Through::Name);
    }
}

/// As [`on_dentry`], at a place.
pub fn on_place(place: &VfsPath, mask: u32) {
    on_dentry(&place.dentry, mask);
}

/// As [`on_dentry`], by an open description: watches with `IN_EXCL_UNLINK` do not want to hear of it once its name is gone.
pub fn on_file(file: &File, mask: u32) {
    if !watched() || file.is_path() {
        return;
    }
    if let Some(place) = &file.path {
        tell_both(&place.dentry, mask, Through::File);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Name,
    File,
}

fn tell_both(dentry: &Dentry, mask: u32, through: Through) {
    let mask = mask | is_dir(dentry.inode());
    if let Some(parent) = dentry.parent() {
        let marks = marks_of(parent.inode());
        if !marks.is_empty() {
            let name = dentry.name();
            let gone = through == Through::File && dentry.unlinked();
            for m in marks.iter().filter(|m| !gone || m.mask() & libc::IN_EXCL_UNLINK == 0) {
                deliver(m, Event { mask, cookie: 0, name: &name });
            }
        }
    }
    for m in marks_of(dentry.inode()) {
        deliver(&m, Event { mask, cookie: 0, name: b"" });
    }
}

/// Something happened to an inode that its directory is not told of.
pub fn on_inode(inode: &InodeRef, mask: u32) {
    if !watched() {
        return;
    }
    // That something moved or went is told without what it was (inotify_handle_inode_event of Linux).
    let kind = if mask & (MOVE_SELF | DELETE_SELF) == 0 { is_dir(inode) } else { 0 };
    for m in marks_of(inode) {
        deliver(&m, Event { mask: mask | kind, cookie: 0, name: b"" });
    }
}

/// A name came to, or went from, a directory.
pub fn in_dir(dir: &Dentry, mask: u32, name: &[u8], child: &InodeRef) {
    if watched() {
        let mask = mask | is_dir(child);
        marks_of(dir.inode()).iter().for_each(|m| deliver(m, Event { mask, cookie: 0, name }));
    }
}

/// A name moved.
pub fn moved(from: &Dentry, old: &[u8], to: &Dentry, new: &[u8], child: &InodeRef) {
    static COOKIE: AtomicU32 = AtomicU32::new(1);
    if !watched() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    let dir = is_dir(child);
    for (at, mask, name) in [(from, MOVED_FROM, old), (to, MOVED_TO, new)] {
        marks_of(at.inode()).iter().for_each(|m| deliver(m, Event { mask: mask | dir, cookie, name }));
    }
}

/// A file is gone, with its last name and the last who had it by that name.
pub(super) fn gone(inode: &InodeRef) {
    on_inode(inode, DELETE_SELF);
    end(marks_of(inode), None);
}

/// The file system with this device number was unmounted and is gone.
pub(super) fn unmounted(dev: u64) {
    if !watched() {
        return;
    }
    let all: Vec<Arc<Mark>> = MARKS.read().values().flatten().cloned().collect();
    let lost = all.into_iter().filter(|m| m.inode.attrs().is_ok_and(|a| a.dev == dev)).collect();
    end(lost, Some(Event { mask: UNMOUNT, cookie: 0, name: b"" }));
}

fn end(marks: Vec<Arc<Mark>>, last: Option<Event<'_>>) {
    for m in marks {
        if let (true, Some(listener)) = (remove(&m), m.listener.upgrade()) {
            if let Some(event) = last {
                listener.event(&m, event);
            }
            listener.over(&m);
        }
    }
}
