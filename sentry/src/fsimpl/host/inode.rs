//! Inodes of the host, and what is remembered of them. [`names`]: what is in a directory.

mod names;

use std::any::Any;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use gofer_protocol::{Attr, Found, Made, NodeId, Watch, WatchId, Xattrs, MAX_LOOK};
use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::convert::{self, errno};
use super::dir::HostDir;
use super::file::HostFile;
use super::known::{Known, Moment, Ready};
use super::watch::{self, Event, MOMENT};
use super::Shared;
use crate::time::monotonic;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{Attrs, CachePolicy, FileKind, Inode, InodeRef, NewNode, Owner, SetAttrs, StatFs};
use crate::vfs::notes;

/// How many answers that nobody has asked for yet are kept for a directory.
const MAX_READY: usize = 4096;
/// How many extended attributes of a file are remembered, absent ones among them, and how long they may be.
const MAX_XATTRS: usize = 8;
const MAX_XATTR: usize = 1024;
/// How many names are asked for one at a time before a directory is read.
const MANY: usize = 5;

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
    /// It has been moved from there: the directory's watch tells nothing of it any more.
    moved: AtomicBool,
    /// Its place in the directory's line of files.
    in_line: u64,
    /// How many answers have named the node; given back when the inode goes.
    lookups: AtomicU64,
    /// The directory's clock when it was last seen at its place.
    seen: AtomicU64,
    state: Mutex<State>,
    known: Mutex<Known>,
}

/// No time of a directory's clock.
const NEVER: u64 = u64::MAX;

struct State {
    attr: Attr,
    /// Since when they are known; `None`: they were not asked for under a watch.
    known: Option<Stamp>,
    /// The call in which they were asked for: for that they hold anyway.
    call: u64,
    /// The read-only descriptor, kept for whoever opens the file next.
    reader: Option<Arc<OwnedFd>>,
    link: Option<Vec<u8>>,
    xattrs: Option<Box<Remembered>>,
}

/// When something was true of a file.
#[derive(Clone, Copy)]
struct Stamp {
    /// Of the directory that it is in; of a directory, its own count of changes.
    clock: u64,
    at: u64,
    heard: u64,
}

/// What is known of a file's extended attributes.
struct Remembered {
    since: u64,
    values: HashMap<Box<[u8]>, Result<Vec<u8>>>,
    list: Option<Vec<u8>>,
}

impl HostInode {
    /// The inode of an answer that names a file: the live one of that number, or a new one, and whether it is new.
    /// `seen` is the directory's clock at the answer, where that was under a watch.
    pub fn new(
        shared: Arc<Shared>,
        made: &Made,
        link: Option<Vec<u8>>,
        place: Option<(Arc<HostInode>, Box<[u8]>)>,
        seen: Option<u64>,
    ) -> Result<(Arc<HostInode>, bool)> {
        let kind = convert::kind(&made.attr)?;
        let known = seen.filter(|_| kind != FileKind::Dir).map(Stamp::at_clock);
        let mut inodes = shared.inodes.lock();
        if let Some(inode) = inodes.get(&made.node).and_then(Weak::upgrade) {
            drop(inodes);
            let here = match (&place, &inode.place) {
                (Some((a, n)), Some((b, m))) => Arc::ptr_eq(a, b) && n == m,
                (a, b) => a.is_none() && b.is_none(),
            };
            if !here {
                inode.moved.store(true, Ordering::Relaxed);
            }
            inode.lookups.fetch_add(1, Ordering::Relaxed);
            inode.seen.store(seen.unwrap_or(NEVER), Ordering::Relaxed);
            inode.learn(made.attr, known);
            if link.is_some() {
                inode.state.lock().link = link;
            }
            return Ok((inode, false));
        }
        let in_line = match &place {
            Some((dir, _)) if kind != FileKind::Dir => dir.next_place(),
            _ => NEVER,
        };
        let inode = Arc::new_cyclic(|me| HostInode {
            shared: shared.clone(),
            me: me.clone(),
            node: made.node,
            kind,
            dev: made.attr.dev(),
            ino: made.attr.ino,
            place,
            moved: AtomicBool::new(false),
            in_line,
            lookups: AtomicU64::new(1),
            seen: AtomicU64::new(seen.unwrap_or(NEVER)),
            state: Mutex::new(State {
                attr: made.attr,
                known,
                call: notes::call_number(),
                reader: None,
                link,
                xattrs: None,
            }),
            known: Mutex::default(),
        });
        inodes.insert(made.node, inode.me.clone());
        drop(inodes);
        if let Some((dir, _)) = inode.place.as_ref().filter(|_| in_line != NEVER) {
            dir.known.lock().line.insert(in_line, inode.me.clone());
        }
        Ok((inode, true))
    }

    fn next_place(&self) -> u64 {
        let mut known = self.known.lock();
        known.next_place += 1;
        known.next_place
    }

    /// Takes newer attributes in.
    fn learn(&self, attr: Attr, known: Option<Stamp>) {
        let mut state = self.state.lock();
        // Where numbers are used again and nobody says when a file was made, it may be another one by now.
        if state.attr.ctime != attr.ctime {
            state.link = None;
        }
        state.attr = attr;
        state.known = known;
        state.call = notes::call_number();
    }

    /// We have changed the file ourselves, through a descriptor: its size and times are not what they were.
    pub fn written(&self) {
        let mut state = self.state.lock();
        state.known = None;
        state.call = 0;
    }

    /// What the directory is told by its watch.
    pub fn hear(&self, watch: WatchId, event: Event<'_>) {
        self.known.lock().hear(watch, event);
    }

    /// Now, for a question that is about to be asked.
    pub fn moment(&self) -> Moment {
        let lost = self.shared.watcher.lost();
        self.known.lock().moment(lost)
    }

    fn is_watched(&self) -> bool {
        self.known.lock().is_watched(self.shared.watcher.lost())
    }

    /// Takes in the watch that an answer has named: the moment from which what the answer says counts, where it is under
    /// a watch at all.
    pub fn note_watch(&self, watch: WatchId, asked: Moment) -> Option<Moment> {
        let since = {
            let mut known = self.known.lock();
            if watch == 0 {
                known.not_watched();
                return None;
            }
            match known.begin_watch(watch, asked) {
                None => return Some(asked),
                Some(since) => since,
            }
        };
        let early = self.shared.watcher.register(watch, &self.me);
        self.known.lock().end_watch(watch, asked, early);
        Some(since)
    }

    /// We have changed the directory ourselves: what is known of the name does not hold.
    fn changed(&self, name: &[u8]) {
        self.state.lock().known = None;
        let gone = {
            let mut known = self.known.lock();
            known.touched(name, true);
            known.ready.remove(name)
        };
        self.give_back(gone);
    }

    /// The file of this name is elsewhere now, by our own hand.
    fn moved_away(&self, name: &[u8]) {
        let line: Vec<_> = self.known.lock().line.values().cloned().collect();
        for inode in line.iter().filter_map(Weak::upgrade) {
            if inode.place.as_ref().is_some_and(|(_, n)| **n == *name) {
                inode.moved.store(true, Ordering::Relaxed);
            }
        }
    }

    fn give_back(&self, ready: impl IntoIterator<Item = Ready>) {
        let mut nodes = Vec::new();
        ready.into_iter().for_each(|r| r.nodes(&mut nodes));
        if !nodes.is_empty() {
            self.shared.forget(nodes);
        }
    }

    /// A read-only descriptor of the file, from the cache or from the gofer.
    pub fn reader(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = &self.state.lock().reader {
            return Ok(fd.clone());
        }
        let (fd, attr) = self.shared.client.open(self.node, libc::O_RDONLY as u32)?;
        let fd = Arc::new(fd);
        {
            let mut state = self.state.lock();
            state.attr = attr;
            state.call = notes::call_number();
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
        self.learn(attr, None);
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
        convert::attrs(&state.attr)
    }

    /// Whether what was true of the file at that time still is, as far as its directory's watch can tell: not for a
    /// write through a mapping.
    fn unchanged_since(&self, state: &State, clock: u64) -> bool {
        let lost = self.shared.watcher.lost();
        if self.kind == FileKind::Dir {
            return self.known.lock().still_own(clock, lost);
        }
        // By another name it may be changed in a directory that is not watched.
        let Some((dir, name)) = &self.place else { return false };
        let here = !self.moved.load(Ordering::Relaxed);
        here && state.attr.nlink == 1 && dir.known.lock().still_file(name, clock, lost)
    }

    /// Whether the attributes can be believed without a question.
    fn is_known(&self, state: &State) -> bool {
        if state.call != 0 && state.call == notes::call_number() {
            return true;
        }
        let Some(stamp) = state.known else { return false };
        let by_mapping = self.kind == FileKind::Regular
            && (stamp.heard != watch::heard() || monotonic().saturating_sub(stamp.at) > MOMENT);
        !by_mapping && self.unchanged_since(state, stamp.clock)
    }

    fn dir_attrs(&self) -> Result<Attr> {
        let asked = self.moment();
        let stated = self.shared.client.stat_and_watch(self.node)?;
        let since = self.note_watch(stated.watch, asked);
        self.learn(stated.attr, since.map(|m| Stamp::at_clock(m.own)));
        Ok(stated.attr)
    }

    /// Asks for the attributes, and for those of the files that are likely to be asked for next.
    fn file_attrs(&self) -> Result<Attr> {
        let here = |dir: &HostInode| dir.is_watched() && !self.moved.load(Ordering::Relaxed);
        let Some((dir, _)) = self.place.as_ref().filter(|(dir, _)| here(dir)) else {
            let attr = self.shared.client.stat(self.node)?;
            self.learn(attr, None);
            return Ok(attr);
        };
        let asked = dir.moment();
        let stamp = Stamp::at_clock(asked.clock);
        let line = dir.known.lock().in_line(self.in_line, MAX_LOOK);
        let line: Vec<Arc<HostInode>> = line.iter().filter_map(Weak::upgrade).collect();
        if line.len() < 2 || line.first().is_none_or(|first| first.node != self.node) {
            let attr = self.shared.client.stat(self.node)?;
            self.learn(attr, Some(stamp));
            return Ok(attr);
        }
        let names: Vec<&[u8]> =
            line.iter().filter_map(|i| i.place.as_ref()).map(|(_, name)| &**name).collect();
        let reply = self.shared.client.look(dir.node, Watch::No, Xattrs::Leave, &names)?;
        let mut own = None;
        let mut strangers = Vec::new();
        for (inode, found) in line.iter().zip(reply.found) {
            let Ok(Found { made, .. }) = found else { continue };
            if made.node != inode.node {
                strangers.push((made.node, 1));
                continue;
            }
            inode.lookups.fetch_add(1, Ordering::Relaxed);
            inode.learn(made.attr, Some(stamp));
            if inode.node == self.node {
                own = Some(made.attr);
            }
        }
        self.shared.forget(strangers);
        match own {
            Some(attr) => Ok(attr),
            // It does not stand there any more.
            None => {
                let attr = self.shared.client.stat(self.node)?;
                self.learn(attr, None);
                Ok(attr)
            }
        }
    }

    fn xattrs_too(&self) -> Xattrs {
        if self.known.lock().xattrs_wanted {
            Xattrs::Tell
        } else {
            Xattrs::Leave
        }
    }

    /// It has no extended attributes. (Of a directory that is not known by its own watch nothing is kept.)
    fn note_plain(&self, since: u64) {
        if self.kind != FileKind::Dir {
            let none = Remembered { since, values: HashMap::new(), list: Some(Vec::new()) };
            self.state.lock().xattrs = Some(Box::new(none));
        }
    }

    /// An extended attribute, or the list of them, from what is remembered where that still holds.
    fn xattr<T: Clone>(
        &self,
        pick: impl Fn(&Remembered) -> Option<Result<T>>,
        ask: impl FnOnce() -> Result<T>,
        keep: impl FnOnce(&mut Remembered, &Result<T>),
    ) -> Result<T> {
        self.shared.watcher.catch_up();
        let since = {
            let mut state = self.state.lock();
            let holds = state.xattrs.as_ref().is_some_and(|x| self.unchanged_since(&state, x.since));
            match &state.xattrs {
                Some(xattrs) if holds => {
                    if let Some(known) = pick(xattrs) {
                        return known;
                    }
                }
                _ => state.xattrs = None,
            }
            match &self.place {
                _ if self.kind == FileKind::Dir => self.moment().own,
                Some((dir, _)) => dir.moment().clock,
                None => NEVER,
            }
        };
        if let Some((dir, _)) = &self.place {
            dir.known.lock().xattrs_wanted = true;
        }
        let answer = ask();
        let mut state = self.state.lock();
        if self.unchanged_since(&state, since) {
            let new = || Box::new(Remembered { since, values: HashMap::new(), list: None });
            keep(state.xattrs.get_or_insert_with(new), &answer);
        }
        answer
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

impl Stamp {
    fn at_clock(clock: u64) -> Stamp {
        Stamp { clock, at: monotonic(), heard: watch::heard() }
    }
}

impl Inode for HostInode {
    fn attrs(&self) -> Result<Attrs> {
        self.shared.watcher.catch_up();
        let (reader, before) = {
            let state = self.state.lock();
            if state.reader.is_none() && self.is_known(&state) {
                return convert::attrs(&state.attr);
            }
            (state.reader.clone(), state.attr.ctime)
        };
        if let Some(fd) = reader {
            // A change of owner shows in the change time alone; then the gofer has to be asked after all. So it has where
            // the descriptor's file has no name any more.
            let attrs = self.attrs_by(&fd)?;
            let mut state = self.state.lock();
            if attrs.nlink == 0 {
                state.reader = None;
            } else if state.attr.ctime == before {
                return Ok(attrs);
            }
        }
        let asked = if self.kind == FileKind::Dir { self.dir_attrs() } else { self.file_attrs() };
        match asked {
            Ok(attr) => convert::attrs(&attr),
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
        self.learn(attr, None);
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
        let asked = self.moment();
        let Ok(reply) = self.shared.client.walk(self.node, Watch::Yes, names) else { return };
        let since = self.note_watch(reply.watch, asked).map(|m| m.clock);
        // From the last answer to the first, each holding the one below it.
        let mut below: Option<Box<Ready>> = None;
        if reply.stop == Some(Errno::ENOENT) {
            below = Some(Box::new(self.answer(None, None)));
        }
        let mut link = reply.link;
        for (i, step) in reply.found.iter().enumerate().rev() {
            let next = below.take().and_then(|b| names.get(i + 1).map(|n| (Box::from(*n), b)));
            let answer = self.answer(Some(step.made), link.take());
            below = Some(Box::new(Ready { watch: step.watch, next, ..answer }));
        }
        if let (Some(mut first), Some(name)) = (below, names.first()) {
            first.since = since;
            self.keep_ready(name, *first);
        }
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Ask
    }

    fn revalidate(&self, name: &[u8], child: Option<&InodeRef>) -> bool {
        self.shared.watcher.catch_up();
        let child = match child {
            Some(inode) => match inode.as_any().downcast_ref::<HostInode>() {
                Some(host) => Some(host),
                None => return false,
            },
            None => None,
        };
        let lost = self.shared.watcher.lost();
        let known = {
            let known = self.known.lock();
            match child {
                Some(child) => {
                    let seen = child.seen.load(Ordering::Relaxed);
                    seen != NEVER && known.still_name(name, seen, lost)
                }
                None => known.still_absent(name, lost),
            }
        };
        if known {
            return true;
        }
        match (self.fetch(name), child) {
            (Ok(ready), Some(child)) if ready.found.is_some_and(|m| m.node == child.node) => {
                // Counts the answer, and notes the time.
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
        Ok(self.adopt(name, self.answer(Some(made), None))?)
    }

    fn link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let made = self.shared.client.link(same_tree(target)?.node, self.node, name)?;
        self.changed(name);
        same_tree(target)?.state.lock().known = None;
        self.keep_ready(name, self.answer(Some(made), None));
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
        self.moved_away(name);
        to.moved_away(new_name);
        self.changed(name);
        to.changed(new_name);
        Ok(())
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        if self.kind != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        // A link's text never changes; another text is another file.
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
        self.xattr(
            |known| match &known.list {
                Some(list) if list.is_empty() => Some(Err(Errno::ENODATA)),
                _ => known.values.get(name).cloned(),
            },
            || self.shared.client.get_xattr(self.node, name).map_err(gone),
            |known, answer| {
                let small = match answer {
                    Ok(value) => value.len() <= MAX_XATTR,
                    Err(e) => matches!(*e, Errno::ENODATA | Errno::EOPNOTSUPP),
                };
                if small && known.values.len() < MAX_XATTRS {
                    known.values.insert(name.into(), answer.clone());
                }
            },
        )
    }

    fn setxattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.state.lock().xattrs = None;
        self.shared.client.set_xattr(self.node, name, value, flags)
    }

    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        let list = self.xattr(
            |known| known.list.clone().map(Ok),
            || self.shared.client.list_xattr(self.node).map_err(gone),
            |known, answer| known.list = answer.as_ref().ok().filter(|l| l.len() <= MAX_XATTR).cloned(),
        )?;
        Ok(list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn removexattr(&self, name: &[u8]) -> Result<()> {
        self.state.lock().xattrs = None;
        self.shared.client.remove_xattr(self.node, name)
    }

    fn sync_all(&self) -> Result<()> {
        match (self.shared.writable, self.kind, &self.place) {
            (false, ..) => Ok(()),
            (true, FileKind::Dir, _) => self.shared.client.sync_all(self.node),
            (true, _, Some((dir, _))) => self.shared.client.sync_all(dir.node),
            (true, _, None) => Ok(()),
        }
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
        if let Some((dir, _)) = self.place.as_ref().filter(|_| self.in_line != NEVER) {
            dir.known.lock().line.remove(&self.in_line);
        }
        let mut nodes = Vec::new();
        let mut lookups = self.lookups.load(Ordering::Relaxed);
        while lookups > 0 {
            let count = u32::try_from(lookups).unwrap_or(u32::MAX);
            nodes.push((self.node, count));
            lookups -= u64::from(count);
        }
        self.known.get_mut().ready.values().for_each(|r| r.nodes(&mut nodes));
        self.shared.forget(nodes);
    }
}
