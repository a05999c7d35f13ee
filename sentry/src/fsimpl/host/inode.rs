//! Inodes of the host, and what is cached of them.
//!
//! A directory has a *generation*: it goes up when the directory's times changed since they were last asked, which
//! happens at most once in [`HostOptions::ttl`](super::HostOptions). A child, present or absent, that was seen in the
//! present generation needs no question; one of an older generation is asked for by name.

use std::any::Any;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use gofer_protocol::{Attr, Made, NodeId, Stated, Timestamp};
use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::convert::{self, errno};
use super::dir::HostDir;
use super::file::HostFile;
use super::Shared;
use crate::time::{monotonic, realtime};
use crate::vfs::file::FileOps;
use crate::vfs::inode::{Attrs, CachePolicy, FileKind, Inode, InodeRef, NewNode, Owner, SetAttrs, StatFs};

/// How many absent names are remembered for a directory.
const MAX_ABSENT: usize = 4096;
/// How many answers that nobody has asked for yet are kept for a directory.
const MAX_READY: usize = 4096;
/// A directory whose times are this young (nanoseconds) may change again without their changing, since the host's
/// clock for them ticks every few milliseconds.
const RACY: u64 = 50_000_000;

/// A file of the host.
pub(super) struct HostInode {
    pub shared: Arc<Shared>,
    me: Weak<HostInode>,
    pub node: NodeId,
    kind: FileKind,
    dev: u64,
    ino: u64,
    /// Where it was found; `None` for the tree's root.
    place: Option<(Arc<HostInode>, Box<[u8]>)>,
    /// How many answers have named the node; given back when the inode goes.
    lookups: AtomicU64,
    /// The generation of the directory in which it was last seen at its place.
    seen: AtomicU64,
    state: Mutex<State>,
    cache: Mutex<Cache>,
}

struct State {
    attr: Attr,
    /// When the attributes were asked (monotonic); 0: not to be trusted.
    checked: u64,
    /// The watch of the directory under which they were asked.
    epoch: Option<u64>,
    /// The read-only descriptor, kept for whoever opens the file next.
    reader: Option<Arc<OwnedFd>>,
    link: Option<Vec<u8>>,
}

/// What is known of a directory's names.
#[derive(Default)]
struct Cache {
    generation: u64,
    /// The times of the generation.
    stamp: Option<(Timestamp, Timestamp)>,
    checked: u64,
    /// The watch that is on the directory (0: none), and the last that has come to its end.
    watch: u64,
    over: u64,
    /// Absent names, with the generation that they were absent in.
    absent: HashMap<Box<[u8]>, u64>,
    /// Answers that came ahead of their question.
    ready: HashMap<Box<[u8]>, Ready>,
    /// Whether the tree's list of such directories has this one.
    listed: bool,
}

impl Cache {
    fn is_watched(&self, shared: &Shared) -> bool {
        self.watch > self.over && self.watch > shared.lost.load(Ordering::Relaxed)
    }
}

/// An answer that came along with another: from a walk of several names, or a listing.
pub(super) struct Ready {
    at: u64,
    /// `None`: there is no such name.
    found: Option<Made>,
    link: Option<Vec<u8>>,
    /// The next name of the walk, below this one.
    next: Option<(Box<[u8]>, Box<Ready>)>,
}

impl Ready {
    pub fn new(at: u64, made: Made) -> Ready {
        Ready { at, found: Some(made), link: None, next: None }
    }
    fn nodes(&self, out: &mut Vec<NodeId>) {
        let mut at = Some(self);
        while let Some(ready) = at {
            out.extend(ready.found.map(|m| m.node));
            at = ready.next.as_ref().map(|n| &*n.1);
        }
    }
}

impl HostInode {
    /// The inode of an answer that names a file: the live one of that number, or a new one.
    pub fn new(
        shared: Arc<Shared>,
        made: &Made,
        link: Option<Vec<u8>>,
        place: Option<(Arc<HostInode>, Box<[u8]>)>,
        seen: u64,
    ) -> Result<Arc<HostInode>> {
        let kind = convert::kind(&made.attr)?;
        let now = monotonic();
        let mut inodes = shared.inodes.lock();
        if let Some(inode) = inodes.get(&made.node).and_then(Weak::upgrade) {
            drop(inodes);
            inode.lookups.fetch_add(1, Ordering::Relaxed);
            inode.seen.store(seen, Ordering::Relaxed);
            inode.learn(made.attr, now, None);
            return Ok(inode);
        }
        let inode = Arc::new_cyclic(|me| HostInode {
            shared: shared.clone(),
            me: me.clone(),
            node: made.node,
            kind,
            dev: made.attr.dev(),
            ino: made.attr.ino,
            place,
            lookups: AtomicU64::new(1),
            seen: AtomicU64::new(seen),
            state: Mutex::new(State { attr: made.attr, checked: now, epoch: None, reader: None, link }),
            cache: Mutex::new(Cache::default()),
        });
        inodes.insert(made.node, inode.me.clone());
        drop(inodes);
        if kind == FileKind::Dir {
            inode.compare_stamp(&made.attr, now);
        }
        Ok(inode)
    }

    fn ttl(&self) -> u64 {
        self.shared.options.ttl.as_nanos() as u64
    }

    fn is_fresh(&self, checked: u64, now: u64) -> bool {
        checked != 0 && now.saturating_sub(checked) < self.ttl()
    }

    /// Takes newer attributes in. `epoch` is that of the directory before they were asked for, if it was watched.
    fn learn(&self, attr: Attr, now: u64, epoch: Option<u64>) {
        {
            let mut state = self.state.lock();
            state.attr = attr;
            state.checked = now;
            state.epoch = epoch;
        }
        if self.kind == FileKind::Dir {
            self.compare_stamp(&attr, now);
        }
    }

    /// Starts a new generation where the directory's times are not those of the present one.
    fn compare_stamp(&self, attr: &Attr, now: u64) -> u64 {
        let stamp = (attr.mtime, attr.ctime);
        let youngest = attr.mtime.max(attr.ctime);
        let age =
            realtime().saturating_sub(youngest.sec.max(0) as u64 * 1_000_000_000 + u64::from(youngest.nsec));
        let mut cache = self.cache.lock();
        if cache.stamp != Some(stamp) {
            cache.generation += 1;
            cache.absent.clear();
        }
        cache.stamp = if age < RACY { None } else { Some(stamp) };
        cache.checked = now;
        cache.generation
    }

    /// The directory's generation, asked anew where the last answer is too old.
    fn generation(&self) -> u64 {
        let now = monotonic();
        {
            let cache = self.cache.lock();
            if cache.is_watched(&self.shared) || self.is_fresh(cache.checked, now) {
                return cache.generation;
            }
        }
        let asked = if self.shared.options.watch {
            self.shared.client.stat_and_watch(self.node)
        } else {
            self.shared.client.stat(self.node).map(|attr| Stated { attr, watch: 0 })
        };
        match asked {
            Ok(Stated { attr, watch }) => {
                self.learn(attr, now, None);
                let mut cache = self.cache.lock();
                cache.watch = watch;
                cache.generation
            }
            Err(_) => {
                let mut cache = self.cache.lock();
                cache.stamp = None;
                cache.generation += 1;
                cache.generation
            }
        }
    }

    /// A directory that is watched has the attributes that it had when it was last asked.
    fn is_known_by_watch(&self) -> bool {
        self.cache.lock().is_watched(&self.shared)
    }

    /// The gofer has told of a change: this watch says nothing any more.
    pub fn watch_is_over(&self, watch: u64) {
        let mut cache = self.cache.lock();
        cache.over = cache.over.max(watch);
        cache.checked = 0;
        cache.stamp = None;
        drop(cache);
        self.state.lock().checked = 0;
    }

    /// How many watches have come to their end, while one is on; what was learnt under another number is old.
    fn epoch(&self) -> Option<u64> {
        let cache = self.cache.lock();
        cache.is_watched(&self.shared).then_some(cache.over)
    }

    /// We have changed the directory ourselves: nothing that is cached of its attributes holds.
    fn changed(&self, name: &[u8]) {
        self.state.lock().checked = 0;
        let gone = {
            let mut cache = self.cache.lock();
            cache.checked = 0;
            cache.over = cache.watch.max(cache.over);
            cache.absent.remove(name);
            cache.ready.remove(name)
        };
        self.give_back(gone);
    }

    fn give_back(&self, ready: impl IntoIterator<Item = Ready>) {
        let mut nodes = Vec::new();
        ready.into_iter().for_each(|r| r.nodes(&mut nodes));
        if !nodes.is_empty() {
            self.shared.forget(nodes);
        }
    }

    /// Answers of a listing are about to come.
    pub fn will_be_listed(&self) {
        let known = std::mem::replace(&mut self.cache.lock().listed, true);
        if !known {
            self.shared.keeps_answers(self.me.clone());
        }
    }

    /// Drops the answers that nobody has asked for.
    pub fn drop_answers(&self) {
        let ready = {
            let mut cache = self.cache.lock();
            cache.listed = false;
            std::mem::take(&mut cache.ready)
        };
        self.give_back(ready.into_values());
    }

    /// Keeps an answer for the question that is likely to follow.
    pub fn keep_ready(&self, name: &[u8], ready: Ready) {
        let gone = {
            let mut cache = self.cache.lock();
            if cache.ready.len() >= MAX_READY && !cache.ready.contains_key(name) {
                Some(ready)
            } else {
                cache.ready.insert(name.into(), ready)
            }
        };
        self.give_back(gone);
    }

    fn take_ready(&self, name: &[u8]) -> Option<Ready> {
        let ready = {
            let mut cache = self.cache.lock();
            if cache.ready.is_empty() {
                return None;
            }
            cache.ready.remove(name)?
        };
        if self.is_fresh(ready.at, monotonic()) {
            Some(ready)
        } else {
            self.give_back([ready]);
            None
        }
    }

    /// Asks the gofer for one name.
    fn fetch(&self, name: &[u8]) -> Result<Ready> {
        let at = monotonic();
        let reply = self.shared.client.walk(self.node, &[name]).map_err(gone)?;
        match (reply.found.first(), reply.stop) {
            (Some(made), _) => Ok(Ready { at, found: Some(*made), link: reply.link, next: None }),
            (None, Some(Errno::ENOENT)) => Ok(Ready { at, found: None, link: None, next: None }),
            (None, stop) => Err(gone(stop.unwrap_or(Errno::EIO))),
        }
    }

    /// Makes an inode of an answer, or notes the absence.
    fn adopt(&self, name: &[u8], ready: Ready) -> Result<Arc<HostInode>> {
        let generation = self.cache.lock().generation;
        let Some(made) = ready.found else {
            let mut cache = self.cache.lock();
            if cache.absent.len() >= MAX_ABSENT {
                cache.absent.clear();
            }
            cache.absent.insert(name.into(), generation);
            return Err(Errno::ENOENT);
        };
        let me = self.me.upgrade().ok_or(Errno::EIO)?;
        let inode =
            HostInode::new(self.shared.clone(), &made, ready.link, Some((me, name.into())), generation)?;
        if let Some((name, next)) = ready.next {
            inode.keep_ready(&name, *next);
        }
        Ok(inode)
    }

    fn child(&self, name: &[u8]) -> Result<Arc<HostInode>> {
        let ready = match self.take_ready(name) {
            Some(ready) => ready,
            None => self.fetch(name)?,
        };
        self.adopt(name, ready)
    }

    /// The file that now stands where this one was, after the gofer has said that it is another.
    fn successor(&self) -> Result<Arc<HostInode>> {
        let (parent, name) = self.place.as_ref().ok_or(Errno::ENOENT)?;
        parent.changed(name);
        let new = parent.child(name)?;
        if new.node == self.node {
            Err(Errno::ENOENT)
        } else {
            Ok(new)
        }
    }

    /// A read-only descriptor of the file, from the cache or from the gofer.
    pub fn reader(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = &self.state.lock().reader {
            return Ok(fd.clone());
        }
        let (fd, attr) = self.shared.client.open(self.node, libc::O_RDONLY as u32)?;
        let fd = Arc::new(fd);
        let now = monotonic();
        {
            let mut state = self.state.lock();
            state.attr = attr;
            state.checked = now;
            if let Some(other) = &state.reader {
                return Ok(other.clone());
            }
            state.reader = Some(fd.clone());
        }
        self.shared.keeps_descriptor(self.me.clone());
        Ok(fd)
    }

    /// A descriptor of its own with these flags (a writable tree).
    pub fn open_fd(&self, flags: i32) -> Result<Arc<OwnedFd>> {
        let (fd, attr) = self.shared.client.open(self.node, flags as u32)?;
        self.learn(attr, monotonic(), None);
        Ok(Arc::new(fd))
    }

    pub fn drop_descriptor(&self) {
        let fd = self.state.lock().reader.take();
        drop(fd);
    }

    /// Attributes by an open descriptor: always the present ones, and they hold for files without a name.
    pub fn attrs_by(&self, fd: &OwnedFd) -> Result<Attrs> {
        let stat = rustix::fs::fstat(fd).map_err(errno)?;
        let mut state = self.state.lock();
        convert::refresh(&mut state.attr, &stat);
        state.checked = monotonic();
        convert::attrs(&state.attr)
    }

    pub fn identity(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// The path by which it was found, as the guest sees it.
    pub fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some((parent, name)) = &at.place {
            names.push(&**name);
            at = parent;
        }
        let mut path = self.shared.options.mounted_at.clone();
        if path.last() == Some(&b'/') {
            path.pop();
        }
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }

    fn owner(&self, owner: &Owner) -> gofer_protocol::Owner {
        if self.shared.options.chown_new {
            gofer_protocol::Owner { uid: Some(owner.uid), gid: Some(owner.gid) }
        } else {
            gofer_protocol::Owner::default()
        }
    }
}

/// A directory that is gone from its place has no names any more.
fn gone(e: Errno) -> Errno {
    if e == Errno::ESTALE {
        Errno::ENOENT
    } else {
        e
    }
}

fn same_tree(inode: &InodeRef) -> Result<&HostInode> {
    inode.as_any().downcast_ref::<HostInode>().ok_or(Errno::EXDEV)
}

impl Inode for HostInode {
    fn attrs(&self) -> Result<Attrs> {
        let now = monotonic();
        if self.kind == FileKind::Dir && self.is_known_by_watch() {
            return convert::attrs(&self.state.lock().attr);
        }
        let epoch = self.place.as_ref().and_then(|(parent, _)| parent.epoch());
        let reader = {
            let state = self.state.lock();
            // A file with several names may have been changed through another, in a directory that is not watched.
            let by_watch = epoch.is_some() && state.epoch == epoch && state.attr.nlink == 1;
            match &state.reader {
                Some(fd) => Some(fd.clone()),
                None if by_watch || self.is_fresh(state.checked, now) => return convert::attrs(&state.attr),
                None => None,
            }
        };
        if let Some(fd) = reader {
            // A change of owner shows in the change time alone; then the gofer has to be asked after all.
            let before = self.state.lock().attr.ctime;
            let attrs = self.attrs_by(&fd)?;
            if self.state.lock().attr.ctime == before {
                return Ok(attrs);
            }
        }
        match self.shared.client.stat(self.node) {
            Ok(attr) => {
                self.learn(attr, now, epoch);
                convert::attrs(&attr)
            }
            // Removed or replaced a moment ago: as it last was, but without its name. The name itself is looked at
            // again when its directory is.
            Err(Errno::ESTALE) => {
                let mut attr = self.state.lock().attr;
                attr.nlink = attr.nlink.saturating_sub(1);
                convert::attrs(&attr)
            }
            Err(e) => Err(e),
        }
    }

    fn kind(&self) -> FileKind {
        self.kind
    }

    fn set_attrs(&self, set: &SetAttrs) -> Result<()> {
        let attr = self.shared.client.set_attr(self.node, convert::set_attr(set))?;
        self.learn(attr, monotonic(), None);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        if self.kind != FileKind::Dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.child(name)?)
    }

    fn prefetch(&self, names: &[&[u8]]) {
        if names.len() < 2 || self.kind != FileKind::Dir {
            return;
        }
        let at = monotonic();
        let Ok(reply) = self.shared.client.walk(self.node, names) else { return };
        // From the last answer to the first, each holding the one below it.
        let mut below: Option<Box<Ready>> = None;
        if reply.stop == Some(Errno::ENOENT) {
            below = Some(Box::new(Ready { at, found: None, link: None, next: None }));
        }
        let mut link = reply.link;
        for (i, made) in reply.found.iter().enumerate().rev() {
            let next = below.take().and_then(|b| names.get(i + 1).map(|n| (Box::from(*n), b)));
            below = Some(Box::new(Ready { at, found: Some(*made), link: link.take(), next }));
        }
        if let (Some(first), Some(name)) = (below, names.first()) {
            self.keep_ready(name, *first);
        }
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Ask
    }

    fn revalidate(&self, name: &[u8], child: Option<&InodeRef>) -> bool {
        let generation = self.generation();
        let child = match child {
            Some(inode) => match inode.as_any().downcast_ref::<HostInode>() {
                Some(host) => Some(host),
                None => return false,
            },
            None => None,
        };
        let known = match child {
            Some(child) => child.seen.load(Ordering::Relaxed) == generation,
            None => self.cache.lock().absent.get(name) == Some(&generation),
        };
        if known {
            return true;
        }
        match (self.fetch(name), child) {
            (Ok(ready), Some(child)) if ready.found.is_some_and(|m| m.node == child.node) => {
                // Counts the answer, and notes the generation.
                self.adopt(name, ready).is_ok()
            }
            (Ok(ready), None) if ready.found.is_none() => {
                self.adopt(name, ready).err() == Some(Errno::ENOENT)
            }
            (Ok(ready), _) => {
                self.keep_ready(name, ready);
                false
            }
            (Err(_), _) => false,
        }
    }

    fn create(&self, name: &[u8], node: &NewNode, owner: Owner) -> Result<InodeRef> {
        let client = &self.shared.client;
        let (to, perm) = (self.owner(&owner), owner.perm & 0o7777);
        let made = match node {
            NewNode::Regular => client.create(self.node, name, perm, libc::O_RDWR as u32, to)?.0,
            NewNode::Dir => client.mkdir(self.node, name, perm, to)?,
            NewNode::Symlink(target) => client.symlink(self.node, name, target, to)?,
            NewNode::Fifo => client.mknod(self.node, name, libc::S_IFIFO | perm, to)?,
            NewNode::Socket => client.mknod(self.node, name, libc::S_IFSOCK | perm, to)?,
            NewNode::Char(_) | NewNode::Block(_) => return Err(Errno::EPERM),
        };
        self.changed(name);
        let ready = Ready::new(monotonic(), made);
        Ok(self.adopt(name, ready)?)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let made = self.shared.client.link(same_tree(target)?.node, self.node, name)?;
        self.changed(name);
        same_tree(target)?.state.lock().checked = 0;
        self.keep_ready(name, Ready::new(monotonic(), made));
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.shared.client.unlink(self.node, name)?;
        self.changed(name);
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.shared.client.rmdir(self.node, name)?;
        self.changed(name);
        Ok(())
    }

    fn rename(&self, name: &[u8], new_dir: &InodeRef, new_name: &[u8], flags: u32) -> Result<()> {
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        let to = same_tree(new_dir)?;
        self.shared.client.rename(self.node, name, to.node, new_name, flags)?;
        self.changed(name);
        to.changed(new_name);
        Ok(())
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        if self.kind != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        // A link's text never changes; another text is another inode.
        if let Some(target) = &self.state.lock().link {
            return Ok(target.clone());
        }
        let target = self.shared.client.readlink(self.node).map_err(gone)?;
        self.state.lock().link = Some(target.clone());
        Ok(target)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            FileKind::Dir => Ok(Arc::new(HostDir::new(self))),
            FileKind::Regular => match HostFile::open(self.clone(), flags) {
                Ok(file) => Ok(Arc::new(file)),
                // Replaced since the name was looked up; what stands there now is what the guest asked for.
                Err(Errno::ESTALE) => {
                    let new = self.successor()?;
                    match new.kind {
                        FileKind::Regular => Ok(Arc::new(HostFile::open(new, flags).map_err(gone)?)),
                        _ => Err(Errno::ENOENT),
                    }
                }
                Err(e) => Err(e),
            },
            FileKind::Symlink => Err(Errno::ELOOP),
            // Other programs' pipes, sockets and the host's devices are out of reach (open(2), ENXIO).
            _ => Err(Errno::ENXIO),
        }
    }

    fn getxattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.shared.client.get_xattr(self.node, name).map_err(gone)
    }

    fn setxattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.shared.client.set_xattr(self.node, name, value, flags)
    }

    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        let list = self.shared.client.list_xattr(self.node).map_err(gone)?;
        Ok(list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn removexattr(&self, name: &[u8]) -> Result<()> {
        self.shared.client.remove_xattr(self.node, name)
    }

    fn statfs(&self) -> Result<StatFs> {
        Ok(convert::statfs(&self.shared.client.statfs(self.node).map_err(gone)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for HostInode {
    fn drop(&mut self) {
        {
            let mut inodes = self.shared.inodes.lock();
            // Another inode may have taken the number between our last handle's end and now.
            if inodes.get(&self.node).is_some_and(|w| w.ptr_eq(&self.me)) {
                inodes.remove(&self.node);
            }
        }
        let mut nodes = vec![self.node; self.lookups.load(Ordering::Relaxed) as usize];
        self.cache.get_mut().ready.values().for_each(|r| r.nodes(&mut nodes));
        self.shared.forget(nodes);
    }
}
