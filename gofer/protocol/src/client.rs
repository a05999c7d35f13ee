//! The sentry's end: one method per request, each of which sends a message and waits for its answer.
//!
//! A call takes one of the client's connections for its duration, a free one if there is any, so that as many
//! threads can ask at once as there are connections. An answer that does not fit its question (wrong number, wrong
//! count of descriptors, more files than were asked for) makes the connection dead: the gofer is either broken or
//! taken over, and every later call on it is `EIO`.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use linux_abi::Errno;

use crate::attr::Attr;
use crate::channel::{Channel, Fds, Received};
use crate::reply::{Bytes, DirEntries, Looked, Made, ReplyHeader, Stated, Statfs, Trees, WalkReply};
use crate::request::{Entries, Owner, Request, SetAttr, Watch, Xattrs};
use crate::wire::{Reader, Wire, Writer};
use crate::{NodeId, Tree, MAX_FORGET, MAX_MESSAGE, MAX_WALK};

/// Why a client could not be set up.
#[derive(Debug)]
pub enum ClientError {
    NoConnection,
    Hello(Errno),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoConnection => f.write_str("no connection to the gofer"),
            ClientError::Hello(e) => write!(f, "the gofer did not answer the greeting: {e}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection with its buffers.
struct Line {
    channel: Channel,
    out: Writer,
    buf: Box<[u8]>,
    fds: Fds,
    next_id: u64,
}

/// The sentry's view of the gofer. All methods block until the gofer has answered.
pub struct Client {
    lines: Vec<Mutex<Line>>,
    turn: AtomicUsize,
    dead: AtomicBool,
    trees: Vec<Tree>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("lines", &self.lines.len()).field("trees", &self.trees).finish()
    }
}

impl Client {
    /// Greets the gofer on each connection.
    pub fn connect(sockets: Vec<OwnedFd>) -> Result<Client, ClientError> {
        if sockets.is_empty() {
            return Err(ClientError::NoConnection);
        }
        let lines = sockets.into_iter().map(|s| Mutex::new(Line::new(Channel::new(s)))).collect();
        let mut client =
            Client { lines, turn: AtomicUsize::new(0), dead: AtomicBool::new(false), trees: Vec::new() };
        for i in 0..client.lines.len() {
            let Some(line) = client.lines.get(i) else { break };
            let mut line = lock(line);
            let hello = Request::Hello { version: crate::VERSION };
            let (trees, _) = line.ask::<Trees>(&hello, 0).map_err(ClientError::Hello)?;
            drop(line);
            if i == 0 {
                client.trees = trees.0;
            }
        }
        Ok(client)
    }

    /// The exposed trees, in the order of the gofer's configuration.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// The gofer has gone or has broken the protocol; nothing more will come from it.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Looks `names` up below `node`; splits what is longer than one message carries.
    pub fn walk(&self, node: NodeId, watch: Watch, names: &[&[u8]]) -> Result<WalkReply, Errno> {
        let mut all = WalkReply::default();
        let mut from = node;
        for part in names.chunks(MAX_WALK) {
            let request = Request::Walk { node: from, watch, names: part.to_vec() };
            let (reply, _) = match self.ask::<WalkReply>(&request, 0) {
                Ok(answer) => answer,
                Err(e) if all.found.is_empty() => return Err(e),
                Err(e) => {
                    all.stop = Some(e);
                    return Ok(all);
                }
            };
            if !walk_fits(&reply, part.len()) {
                return Err(self.broken());
            }
            let complete = reply.found.len() == part.len();
            // The first directory of a further part is the last of the one before.
            match all.found.last_mut() {
                Some(last) => last.watch = reply.watch,
                None => all.watch = reply.watch,
            }
            if let Some(last) = reply.found.last() {
                from = last.made.node;
            }
            all.found.extend(reply.found);
            all.stop = reply.stop;
            all.link = reply.link;
            if !complete || all.stop.is_some() || all.link.is_some() {
                break;
            }
        }
        Ok(all)
    }

    pub fn stat(&self, node: NodeId) -> Result<Attr, Errno> {
        Ok(self.ask::<Stated>(&Request::Stat { node, watch: Watch::No }, 0)?.0.attr)
    }

    /// As [`Client::stat`] of a directory, which is watched from then on.
    pub fn stat_and_watch(&self, node: NodeId) -> Result<Stated, Errno> {
        Ok(self.ask(&Request::Stat { node, watch: Watch::Yes }, 0)?.0)
    }

    /// Looks names up in one directory, at most [`crate::MAX_LOOK`].
    pub fn look(&self, dir: NodeId, watch: Watch, xattrs: Xattrs, names: &[&[u8]]) -> Result<Looked, Errno> {
        if names.len() > crate::MAX_LOOK {
            return Err(Errno::E2BIG);
        }
        let (reply, _) =
            self.ask::<Looked>(&Request::Look { dir, watch, xattrs, names: names.to_vec() }, 0)?;
        if reply.found.len() != names.len() {
            return Err(self.broken());
        }
        Ok(reply)
    }

    /// The descriptor on which watches report.
    pub fn watches(&self) -> Result<OwnedFd, Errno> {
        let ((), fd) = self.ask(&Request::Watches, 1)?;
        fd.ok_or(Errno::EIO)
    }

    /// A file without a name on disk, readable and writable; `EOPNOTSUPP` where there is no place for such.
    pub fn scratch(&self) -> Result<OwnedFd, Errno> {
        let ((), fd) = self.ask(&Request::Scratch, 1)?;
        fd.ok_or(Errno::EIO)
    }

    /// Opens a regular file with the descriptor's own rights being no more than `flags` asks for.
    pub fn open(&self, node: NodeId, flags: u32) -> Result<(OwnedFd, Attr), Errno> {
        let (attr, fd) = self.ask(&Request::Open { node, flags }, 1)?;
        Ok((fd.ok_or(Errno::EIO)?, attr))
    }

    pub fn readdir(
        &self,
        node: NodeId,
        cookie: u64,
        entries: Entries,
        watch: Watch,
    ) -> Result<DirEntries, Errno> {
        Ok(self.ask(&Request::Readdir { node, cookie, entries, watch }, 0)?.0)
    }

    pub fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let (Bytes(target), _) = self.ask(&Request::Readlink { node }, 0)?;
        if target.is_empty() || target.len() > crate::MAX_LINK || target.contains(&0) {
            return Err(self.broken());
        }
        Ok(target)
    }

    pub fn statfs(&self, node: NodeId) -> Result<Statfs, Errno> {
        Ok(self.ask(&Request::Statfs { node }, 0)?.0)
    }

    pub fn get_xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, Errno> {
        Ok(self.ask::<Bytes>(&Request::GetXattr { node, name }, 0)?.0 .0)
    }

    pub fn list_xattr(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        Ok(self.ask::<Bytes>(&Request::ListXattr { node }, 0)?.0 .0)
    }

    /// Makes a regular file that did not exist, and opens it.
    pub fn create(
        &self,
        dir: NodeId,
        name: &[u8],
        mode: u32,
        flags: u32,
        owner: Owner,
    ) -> Result<(Made, OwnedFd), Errno> {
        let (made, fd) = self.ask(&Request::Create { dir, name, mode, flags, owner }, 1)?;
        Ok((made, fd.ok_or(Errno::EIO)?))
    }

    pub fn mkdir(&self, dir: NodeId, name: &[u8], mode: u32, owner: Owner) -> Result<Made, Errno> {
        Ok(self.ask(&Request::Mkdir { dir, name, mode, owner }, 0)?.0)
    }

    pub fn symlink(&self, dir: NodeId, name: &[u8], target: &[u8], owner: Owner) -> Result<Made, Errno> {
        Ok(self.ask(&Request::Symlink { dir, name, target, owner }, 0)?.0)
    }

    pub fn mknod(&self, dir: NodeId, name: &[u8], mode: u32, owner: Owner) -> Result<Made, Errno> {
        Ok(self.ask(&Request::Mknod { dir, name, mode, owner }, 0)?.0)
    }

    pub fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<Made, Errno> {
        Ok(self.ask(&Request::Link { node, dir, name }, 0)?.0)
    }

    pub fn unlink(&self, dir: NodeId, name: &[u8]) -> Result<(), Errno> {
        self.ask::<()>(&Request::Unlink { dir, name }, 0).map(drop)
    }

    pub fn rmdir(&self, dir: NodeId, name: &[u8]) -> Result<(), Errno> {
        self.ask::<()>(&Request::Rmdir { dir, name }, 0).map(drop)
    }

    pub fn rename(
        &self,
        dir: NodeId,
        name: &[u8],
        new_dir: NodeId,
        new_name: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        self.ask::<()>(&Request::Rename { dir, name, new_dir, new_name, flags }, 0).map(drop)
    }

    pub fn set_attr(&self, node: NodeId, set: SetAttr) -> Result<Attr, Errno> {
        Ok(self.ask(&Request::SetAttr { node, set }, 0)?.0)
    }

    pub fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        self.ask::<()>(&Request::SetXattr { node, name, value, flags }, 0).map(drop)
    }

    pub fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<(), Errno> {
        self.ask::<()>(&Request::RemoveXattr { node, name }, 0).map(drop)
    }

    /// fsync(2) of a directory.
    pub fn sync_dir(&self, node: NodeId) -> Result<(), Errno> {
        self.ask::<()>(&Request::Sync { node, whole: false }, 0).map(drop)
    }

    /// syncfs(2) of the file system of a directory.
    pub fn sync_all(&self, node: NodeId) -> Result<(), Errno> {
        self.ask::<()>(&Request::Sync { node, whole: true }, 0).map(drop)
    }

    /// Gives nodes back. There is no answer to wait for; a dead gofer has forgotten them anyway.
    pub fn forget(&self, nodes: &[(NodeId, u32)]) {
        for part in nodes.chunks(MAX_FORGET) {
            let mut line = self.line();
            if line.tell(&Request::Forget { nodes: part.to_vec() }).is_err() {
                self.dead.store(true, Ordering::Relaxed);
            }
        }
    }

    fn ask<R: Wire>(&self, request: &Request<'_>, fds: usize) -> Result<(R, Option<OwnedFd>), Errno> {
        if self.is_dead() {
            return Err(Errno::EIO);
        }
        let mut line = self.line();
        let answer = line.ask(request, fds);
        if line.next_id == 0 {
            drop(line);
            return Err(self.broken());
        }
        answer
    }

    /// A free connection, or the next one in turn.
    fn line(&self) -> MutexGuard<'_, Line> {
        for line in &self.lines {
            match line.try_lock() {
                Ok(free) => return free,
                Err(TryLockError::Poisoned(p)) => return p.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.lines.len().max(1);
        // `connect` refuses an empty list, and nothing shortens it.
        lock(&self.lines[turn])
    }

    fn broken(&self) -> Errno {
        self.dead.store(true, Ordering::Relaxed);
        Errno::EIO
    }
}

/// A walk's answer names no more files than asked; all but the last are directories; a reason or a link only where
/// it belongs.
fn walk_fits(reply: &WalkReply, asked: usize) -> bool {
    let Some((last, before)) = reply.found.split_last() else {
        return reply.link.is_none() && (reply.stop.is_some() || asked == 0);
    };
    let last = &last.made;
    let is_link = last.attr.kind() == crate::FileKind::Symlink;
    reply.found.len() <= asked
        && before.iter().all(|step| step.made.attr.is_dir())
        && (reply.stop.is_none() || (reply.found.len() < asked && last.attr.is_dir()))
        && (reply.stop.is_some() || reply.found.len() == asked || !last.attr.is_dir())
        && (reply.link.is_none() || is_link)
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(|p| p.into_inner())
}

impl Line {
    fn new(channel: Channel) -> Line {
        let buf = vec![0; MAX_MESSAGE].into_boxed_slice();
        Line { channel, out: Writer::default(), buf, fds: Fds::new(), next_id: 1 }
    }

    fn tell(&mut self, request: &Request<'_>) -> Result<(), Errno> {
        self.out.clear();
        request.encode(self.next_id, &mut self.out);
        self.next_id += 1;
        self.channel.send(self.out.as_bytes(), &[])
    }

    /// Sends and waits. A broken connection is marked by `next_id` 0; an error that the gofer reports is only that.
    fn ask<R: Wire>(&mut self, request: &Request<'_>, fds: usize) -> Result<(R, Option<OwnedFd>), Errno> {
        if self.next_id == 0 {
            return Err(Errno::EIO);
        }
        let id = self.next_id;
        match self.tell(request) {
            Ok(()) => {}
            Err(Errno::EMSGSIZE) => return Err(Errno::E2BIG),
            Err(_) => return Err(self.give_up()),
        }
        let Ok(Received::Message(len)) = self.channel.recv(&mut self.buf, &mut self.fds) else {
            return Err(self.give_up());
        };
        let mut r = Reader::new(self.buf.get(..len).unwrap_or(&[]));
        let Ok(header) = ReplyHeader::decode(&mut r) else { return Err(self.give_up()) };
        let expected = if header.result.is_ok() { fds } else { 0 };
        if header.id != id || header.fds as usize != expected || self.fds.len() != expected {
            return Err(self.give_up());
        }
        if let Err(e) = header.result {
            return if r.end().is_ok() { Err(e) } else { Err(self.give_up()) };
        }
        match R::decode(&mut r).and_then(|body| r.end().map(|()| body)) {
            Ok(body) => Ok((body, self.fds.pop())),
            Err(_) => Err(self.give_up()),
        }
    }

    fn give_up(&mut self) -> Errno {
        self.fds.clear();
        self.next_id = 0;
        Errno::EIO
    }
}
