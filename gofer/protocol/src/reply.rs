//! What the gofer answers.

use linux_abi::Errno;

use crate::attr::Attr;
use crate::wire::{Malformed, Reader, Wire, Writer};
use crate::{NodeId, MAX_MESSAGE, MAX_WALK};

/// The head of every answer: which request, how it went, how many descriptors came along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    pub id: u64,
    pub result: Result<(), Errno>,
    pub fds: u32,
}

impl ReplyHeader {
    pub fn decode(r: &mut Reader<'_>) -> Result<ReplyHeader, Malformed> {
        let id = r.u64()?;
        let errno = r.u32()?;
        let fds = r.u32()?;
        let result = match errno {
            0 => Ok(()),
            1..=4095 => Err(Errno(errno as i32)),
            _ => return Err(Malformed("error number")),
        };
        if fds as usize > crate::MAX_FDS {
            return Err(Malformed("descriptor count"));
        }
        Ok(ReplyHeader { id, result, fds })
    }
}

/// Where [`finish_reply`] puts the outcome.
const ERRNO_AT: usize = 8;
const FDS_AT: usize = 12;
const HEADER: usize = 16;

/// Starts an answer in an empty writer; the body follows, then [`finish_reply`].
pub fn begin_reply(w: &mut Writer, id: u64) {
    w.clear();
    w.u64(id);
    w.u32(0);
    w.u32(0);
}

/// Ends an answer: notes the descriptors, or drops the body in favour of an error.
pub fn finish_reply(w: &mut Writer, result: Result<u32, Errno>) {
    match result {
        Ok(fds) => w.patch_u32(FDS_AT, fds),
        Err(e) => {
            w.truncate(HEADER);
            w.patch_u32(ERRNO_AT, u32::try_from(e.0).ok().filter(|n| (1..4096).contains(n)).unwrap_or(5));
        }
    }
}

/// A file that was made: its node and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub node: NodeId,
    pub attr: Attr,
}

impl Wire for Made {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.node);
        self.attr.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Made, Malformed> {
        let made = Made { node: r.u64()?, attr: Attr::decode(r)? };
        if made.node == 0 {
            return Err(Malformed("node 0"));
        }
        Ok(made)
    }
}

/// An exposed tree, in the order of the gofer's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    pub root: Made,
    pub writable: bool,
}

/// The answer to [`crate::Request::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees(pub Vec<Tree>);

impl Wire for Trees {
    fn encode(&self, w: &mut Writer) {
        w.u32(crate::VERSION);
        w.u32(self.0.len() as u32);
        for tree in &self.0 {
            w.u8(u8::from(tree.writable));
            tree.root.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Trees, Malformed> {
        if r.u32()? != crate::VERSION {
            return Err(Malformed("version"));
        }
        let count = r.count(9 + Attr::SIZE, MAX_MESSAGE)?;
        let mut trees = Vec::with_capacity(count);
        for _ in 0..count {
            let writable = match r.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed("mode of a tree")),
            };
            trees.push(Tree { root: Made::decode(r)?, writable });
        }
        Ok(Trees(trees))
    }
}

/// The number of a watch, as the events of inotify(7) name it; 0 where there is none.
pub type WatchId = u32;

/// One file that a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub made: Made,
    /// The watch on this directory, where the walk went on in it.
    pub watch: WatchId,
}

/// The answer to [`crate::Request::Walk`]: the files found, in order. Where there are fewer than names, either
/// `stop` says why the next name gave nothing, or the last one found is not a directory. Where the last one found is
/// a symbolic link, `link` is its target.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WalkReply {
    /// The watch on the directory in which the walk began.
    pub watch: WatchId,
    pub found: Vec<Step>,
    pub stop: Option<Errno>,
    pub link: Option<Vec<u8>>,
}

impl Wire for WalkReply {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.watch);
        w.u32(self.stop.map_or(0, |e| e.0 as u32));
        w.u32(self.found.len() as u32);
        self.found.iter().for_each(|step| {
            step.made.encode(w);
            w.u32(step.watch);
        });
        w.bytes(self.link.as_deref().unwrap_or(&[]));
    }
    fn decode(r: &mut Reader<'_>) -> Result<WalkReply, Malformed> {
        let watch = r.u32()?;
        let stop = error(r)?;
        let count = r.count(12 + Attr::SIZE, MAX_WALK)?;
        let mut found = Vec::with_capacity(count);
        for _ in 0..count {
            found.push(Step { made: Made::decode(r)?, watch: r.u32()? });
        }
        let link = r.bytes(crate::MAX_LINK)?;
        if link.contains(&0) {
            return Err(Malformed("link target"));
        }
        let link = if link.is_empty() { None } else { Some(link.to_vec()) };
        Ok(WalkReply { watch, found, stop, link })
    }
}

fn error(r: &mut Reader<'_>) -> Result<Option<Errno>, Malformed> {
    match r.u32()? {
        0 => Ok(None),
        e @ 1..=4095 => Ok(Some(Errno(e as i32))),
        _ => Err(Malformed("error number")),
    }
}

/// A file that was looked up among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub made: Made,
    /// It was looked whether it has extended attributes, and it has none.
    pub plain: bool,
}

/// The answer to [`crate::Request::Look`]: for each name, in order, what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Looked {
    /// The watch on the directory.
    pub watch: WatchId,
    pub found: Vec<Result<Found, Errno>>,
}

impl Wire for Looked {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.watch);
        w.u32(self.found.len() as u32);
        for one in &self.found {
            match one {
                Ok(found) => {
                    w.u32(0);
                    w.u8(u8::from(found.plain));
                    found.made.encode(w);
                }
                Err(e) => w.u32(u32::try_from(e.0).ok().filter(|n| (1..4096).contains(n)).unwrap_or(5)),
            }
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Looked, Malformed> {
        let watch = r.u32()?;
        let count = r.count(4, crate::MAX_LOOK)?;
        let mut found = Vec::with_capacity(count);
        for _ in 0..count {
            found.push(match error(r)? {
                None => {
                    let plain = match r.u8()? {
                        0 => false,
                        1 => true,
                        _ => return Err(Malformed("extended attributes")),
                    };
                    Ok(Found { plain, made: Made::decode(r)? })
                }
                Some(e) => Err(e),
            });
        }
        Ok(Looked { watch, found })
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u64,
    /// Where to go on behind this entry.
    pub next_cookie: u64,
    /// `d_type`.
    pub d_type: u8,
    /// With [`crate::Entries::WithNodes`], where the entry could be looked at.
    pub made: Option<Made>,
}

/// The answer to [`crate::Request::Readdir`], without `.` and `..`; empty at the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirEntries {
    /// The watch on the directory, where one was asked for.
    pub watch: WatchId,
    pub entries: Vec<DirEntry>,
    /// Nothing follows these.
    pub end: bool,
}

impl DirEntry {
    /// The most bytes that an entry takes.
    pub const MAX_SIZE: usize = Self::MIN_SIZE + 8 + Attr::SIZE + crate::MAX_NAME;
    const MIN_SIZE: usize = 8 + 8 + 1 + 1 + 4;
}

impl Wire for DirEntry {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.ino);
        w.u64(self.next_cookie);
        w.u8(self.d_type);
        w.u8(u8::from(self.made.is_some()));
        if let Some(made) = &self.made {
            made.encode(w);
        }
        w.bytes(&self.name);
    }
    fn decode(r: &mut Reader<'_>) -> Result<DirEntry, Malformed> {
        let ino = r.u64()?;
        let next_cookie = r.u64()?;
        let d_type = r.u8()?;
        let made = match r.u8()? {
            0 => None,
            1 => Some(Made::decode(r)?),
            _ => return Err(Malformed("entry")),
        };
        Ok(DirEntry { name: r.name()?.to_vec(), ino, next_cookie, d_type, made })
    }
}

impl Wire for DirEntries {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.watch);
        w.u32(u32::from(self.end));
        w.u32(self.entries.len() as u32);
        self.entries.iter().for_each(|e| e.encode(w));
    }
    fn decode(r: &mut Reader<'_>) -> Result<DirEntries, Malformed> {
        let watch = r.u32()?;
        let end = match r.u32()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("end of listing")),
        };
        let count = r.count(DirEntry::MIN_SIZE, MAX_MESSAGE)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(DirEntry::decode(r)?);
        }
        if entries.is_empty() && !end {
            return Err(Malformed("listing without progress"));
        }
        Ok(DirEntries { watch, entries, end })
    }
}

/// A link target, an extended attribute's value, or a list of attribute names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Wire for Bytes {
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Bytes, Malformed> {
        Ok(Bytes(r.bytes(MAX_MESSAGE)?.to_vec()))
    }
}

/// statfs(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Statfs {
    pub kind: u64,
    pub bsize: u64,
    pub frsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
    pub flags: u64,
}

impl Wire for Statfs {
    fn encode(&self, w: &mut Writer) {
        let all = [self.kind, self.bsize, self.frsize, self.blocks, self.bfree, self.bavail];
        all.into_iter().for_each(|v| w.u64(v));
        [self.files, self.ffree, self.namelen, self.flags].into_iter().for_each(|v| w.u64(v));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Statfs, Malformed> {
        Ok(Statfs {
            kind: r.u64()?,
            bsize: r.u64()?,
            frsize: r.u64()?,
            blocks: r.u64()?,
            bfree: r.u64()?,
            bavail: r.u64()?,
            files: r.u64()?,
            ffree: r.u64()?,
            namelen: r.u64()?,
            flags: r.u64()?,
        })
    }
}

/// The answer to [`crate::Request::Stat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    pub attr: Attr,
    /// The watch that has been on the directory since before the attributes were read.
    pub watch: WatchId,
}

impl Wire for Stated {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.watch);
        self.attr.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Stated, Malformed> {
        Ok(Stated { watch: r.u32()?, attr: Attr::decode(r)? })
    }
}
