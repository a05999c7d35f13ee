//! What the sentry asks.

use crate::wire::{Malformed, Reader, Writer};
use crate::{NodeId, MAX_FORGET, MAX_LINK, MAX_LOOK, MAX_NAME, MAX_WALK, MAX_XATTR};

/// Whether a directory listing carries nodes and attributes of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    Names,
    WithNodes,
}

/// Whether a directory is to be watched from before it is looked at: its changes then come as events of the descriptor
/// that [`Request::Watches`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    No,
    Yes,
}

/// Whether an answer says which files have no extended attributes at all. Each file is opened for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xattrs {
    Leave,
    Tell,
}

/// Who a new file belongs to; `None` leaves what the host gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Owner {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// A time to set (utimensat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetTime {
    #[default]
    Omit,
    Now,
    To(i64, u32),
}

/// The attributes to change; those that are `None` stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission bits, `07777`.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SetTime,
    pub mtime: SetTime,
}

/// A request. Those that change something are refused with `EROFS` in a tree that is not writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Must come first on a connection. Answer: [`crate::Trees`].
    Hello {
        version: u32,
    },
    /// Looks `names` up one below the other, following no symbolic link. `watch` asks for a watch of the directories in
    /// which names are looked up. Answer: [`crate::WalkReply`].
    Walk {
        node: NodeId,
        watch: Watch,
        names: Vec<&'a [u8]>,
    },
    /// Answer: [`crate::Stated`]; `ESTALE` where another file has taken the name. `watch` is for directories.
    Stat {
        node: NodeId,
        watch: Watch,
    },
    /// Looks all `names` up in one directory, and, where asked for, whether they have extended attributes. Answer:
    /// [`crate::Looked`].
    Look {
        dir: NodeId,
        watch: Watch,
        xattrs: Xattrs,
        names: Vec<&'a [u8]>,
    },
    /// Answer: the descriptor on which all watches report (inotify(7)); it can be read, and nothing else.
    Watches,
    /// Opens a regular file: an access mode with `O_TRUNC`, `O_APPEND`, `O_DSYNC`, `O_SYNC`, `O_NOATIME`.
    /// Answer: [`crate::Attr`] and a descriptor.
    Open {
        node: NodeId,
        flags: u32,
    },
    /// Lists a directory from a cookie on (0: the start), as much as fits. Answer: [`crate::DirEntries`].
    Readdir {
        node: NodeId,
        cookie: u64,
        entries: Entries,
        watch: Watch,
    },
    /// Answer: [`crate::Bytes`].
    Readlink {
        node: NodeId,
    },
    /// Answer: [`crate::Statfs`].
    Statfs {
        node: NodeId,
    },
    /// Answer: [`crate::Bytes`].
    GetXattr {
        node: NodeId,
        name: &'a [u8],
    },
    /// Answer: [`crate::Bytes`], the NUL-terminated names.
    ListXattr {
        node: NodeId,
    },
    /// Makes a regular file that must not exist and opens it. Answer: [`crate::Made`] and a descriptor.
    Create {
        dir: NodeId,
        name: &'a [u8],
        mode: u32,
        flags: u32,
        owner: Owner,
    },
    /// Answer: [`crate::Made`].
    Mkdir {
        dir: NodeId,
        name: &'a [u8],
        mode: u32,
        owner: Owner,
    },
    /// Answer: [`crate::Made`].
    Symlink {
        dir: NodeId,
        name: &'a [u8],
        target: &'a [u8],
        owner: Owner,
    },
    /// A FIFO or a socket's name, by the type bits of `mode`. Answer: [`crate::Made`].
    Mknod {
        dir: NodeId,
        name: &'a [u8],
        mode: u32,
        owner: Owner,
    },
    /// Answer: [`crate::Made`].
    Link {
        node: NodeId,
        dir: NodeId,
        name: &'a [u8],
    },
    Unlink {
        dir: NodeId,
        name: &'a [u8],
    },
    Rmdir {
        dir: NodeId,
        name: &'a [u8],
    },
    /// `flags`: `RENAME_NOREPLACE` or `RENAME_EXCHANGE` (renameat2(2)).
    Rename {
        dir: NodeId,
        name: &'a [u8],
        new_dir: NodeId,
        new_name: &'a [u8],
        flags: u32,
    },
    /// Answer: [`crate::Attr`] afterwards.
    SetAttr {
        node: NodeId,
        set: SetAttr,
    },
    SetXattr {
        node: NodeId,
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
    },
    RemoveXattr {
        node: NodeId,
        name: &'a [u8],
    },
    /// A file without a name in the scratch directory; `EOPNOTSUPP` where there is none. Answer: a descriptor.
    Scratch,
    /// Brings a directory (or, with `whole`, all of its file system) to the disk: fsync(2), syncfs(2). Refused with
    /// `EROFS` in a tree that is not writable.
    Sync {
        node: NodeId,
        whole: bool,
    },
    /// Gives nodes back, with how many of the answers that named them. Has no answer.
    Forget {
        nodes: Vec<(NodeId, u32)>,
    },
}

mod kind {
    pub const HELLO: u32 = 1;
    pub const WALK: u32 = 2;
    pub const STAT: u32 = 3;
    pub const OPEN: u32 = 4;
    pub const READDIR: u32 = 5;
    pub const READLINK: u32 = 6;
    pub const STATFS: u32 = 7;
    pub const GET_XATTR: u32 = 8;
    pub const LIST_XATTR: u32 = 9;
    pub const CREATE: u32 = 10;
    pub const MKDIR: u32 = 11;
    pub const SYMLINK: u32 = 12;
    pub const MKNOD: u32 = 13;
    pub const LINK: u32 = 14;
    pub const UNLINK: u32 = 15;
    pub const RMDIR: u32 = 16;
    pub const RENAME: u32 = 17;
    pub const SET_ATTR: u32 = 18;
    pub const SET_XATTR: u32 = 19;
    pub const REMOVE_XATTR: u32 = 20;
    pub const FORGET: u32 = 21;
    pub const SCRATCH: u32 = 22;
    pub const LOOK: u32 = 23;
    pub const WATCHES: u32 = 24;
    pub const SYNC: u32 = 25;
}

impl Request<'_> {
    /// Whether the gofer answers.
    pub fn has_answer(&self) -> bool {
        !matches!(self, Request::Forget { .. })
    }

    /// Writes the whole message: number, kind, reserved word, body.
    pub fn encode(&self, id: u64, w: &mut Writer) {
        let start = |w: &mut Writer, kind: u32| {
            w.u64(id);
            w.u32(kind);
            w.u32(0);
        };
        match self {
            Request::Hello { version } => {
                start(w, kind::HELLO);
                w.u32(*version);
            }
            Request::Walk { node, watch, names } => {
                start(w, kind::WALK);
                w.u64(*node);
                watch.encode(w);
                w.u32(names.len() as u32);
                names.iter().for_each(|n| w.bytes(n));
            }
            Request::Stat { node, watch } => {
                start(w, kind::STAT);
                w.u64(*node);
                watch.encode(w);
            }
            Request::Look { dir, watch, xattrs, names } => {
                start(w, kind::LOOK);
                w.u64(*dir);
                watch.encode(w);
                w.u32(u32::from(*xattrs == Xattrs::Tell));
                w.u32(names.len() as u32);
                names.iter().for_each(|n| w.bytes(n));
            }
            Request::Watches => start(w, kind::WATCHES),
            Request::Open { node, flags } => {
                start(w, kind::OPEN);
                w.u64(*node);
                w.u32(*flags);
            }
            Request::Readdir { node, cookie, entries, watch } => {
                start(w, kind::READDIR);
                w.u64(*node);
                w.u64(*cookie);
                w.u32(u32::from(*entries == Entries::WithNodes));
                watch.encode(w);
            }
            Request::Readlink { node } => {
                start(w, kind::READLINK);
                w.u64(*node);
            }
            Request::Statfs { node } => {
                start(w, kind::STATFS);
                w.u64(*node);
            }
            Request::GetXattr { node, name } => {
                start(w, kind::GET_XATTR);
                w.u64(*node);
                w.bytes(name);
            }
            Request::ListXattr { node } => {
                start(w, kind::LIST_XATTR);
                w.u64(*node);
            }
            Request::Create { dir, name, mode, flags, owner } => {
                start(w, kind::CREATE);
                w.u64(*dir);
                w.bytes(name);
                w.u32(*mode);
                w.u32(*flags);
                owner.encode(w);
            }
            Request::Mkdir { dir, name, mode, owner } => {
                start(w, kind::MKDIR);
                w.u64(*dir);
                w.bytes(name);
                w.u32(*mode);
                owner.encode(w);
            }
            Request::Symlink { dir, name, target, owner } => {
                start(w, kind::SYMLINK);
                w.u64(*dir);
                w.bytes(name);
                w.bytes(target);
                owner.encode(w);
            }
            Request::Mknod { dir, name, mode, owner } => {
                start(w, kind::MKNOD);
                w.u64(*dir);
                w.bytes(name);
                w.u32(*mode);
                owner.encode(w);
            }
            Request::Link { node, dir, name } => {
                start(w, kind::LINK);
                w.u64(*node);
                w.u64(*dir);
                w.bytes(name);
            }
            Request::Unlink { dir, name } => {
                start(w, kind::UNLINK);
                w.u64(*dir);
                w.bytes(name);
            }
            Request::Rmdir { dir, name } => {
                start(w, kind::RMDIR);
                w.u64(*dir);
                w.bytes(name);
            }
            Request::Rename { dir, name, new_dir, new_name, flags } => {
                start(w, kind::RENAME);
                w.u64(*dir);
                w.bytes(name);
                w.u64(*new_dir);
                w.bytes(new_name);
                w.u32(*flags);
            }
            Request::SetAttr { node, set } => {
                start(w, kind::SET_ATTR);
                w.u64(*node);
                set.encode(w);
            }
            Request::SetXattr { node, name, value, flags } => {
                start(w, kind::SET_XATTR);
                w.u64(*node);
                w.bytes(name);
                w.bytes(value);
                w.u32(*flags);
            }
            Request::RemoveXattr { node, name } => {
                start(w, kind::REMOVE_XATTR);
                w.u64(*node);
                w.bytes(name);
            }
            Request::Scratch => start(w, kind::SCRATCH),
            Request::Sync { node, whole } => {
                start(w, kind::SYNC);
                w.u64(*node);
                w.u32(u32::from(*whole));
            }
            Request::Forget { nodes } => {
                start(w, kind::FORGET);
                w.u32(nodes.len() as u32);
                nodes.iter().for_each(|(node, count)| {
                    w.u64(*node);
                    w.u32(*count);
                });
            }
        }
    }

    /// Takes a message apart: its number and the request.
    pub fn decode(message: &[u8]) -> Result<(u64, Request<'_>), Malformed> {
        let mut r = Reader::new(message);
        let id = r.u64()?;
        let kind = r.u32()?;
        if r.u32()? != 0 {
            return Err(Malformed("reserved word"));
        }
        let request = match kind {
            kind::HELLO => Request::Hello { version: r.u32()? },
            kind::WALK => {
                let (node, watch) = (r.u64()?, Watch::decode(&mut r)?);
                let count = r.count(5, MAX_WALK)?;
                let names = (0..count).map(|_| r.name()).collect::<Result<_, _>>()?;
                Request::Walk { node, watch, names }
            }
            kind::STAT => Request::Stat { node: r.u64()?, watch: Watch::decode(&mut r)? },
            kind::LOOK => {
                let (dir, watch) = (r.u64()?, Watch::decode(&mut r)?);
                let xattrs = match r.u32()? {
                    0 => Xattrs::Leave,
                    1 => Xattrs::Tell,
                    _ => return Err(Malformed("extended attributes")),
                };
                let count = r.count(5, MAX_LOOK)?;
                let names = (0..count).map(|_| r.name()).collect::<Result<_, _>>()?;
                Request::Look { dir, watch, xattrs, names }
            }
            kind::WATCHES => Request::Watches,
            kind::OPEN => Request::Open { node: r.u64()?, flags: r.u32()? },
            kind::READDIR => Request::Readdir {
                node: r.u64()?,
                cookie: r.u64()?,
                entries: match r.u32()? {
                    0 => Entries::Names,
                    1 => Entries::WithNodes,
                    _ => return Err(Malformed("kind of listing")),
                },
                watch: Watch::decode(&mut r)?,
            },
            kind::READLINK => Request::Readlink { node: r.u64()? },
            kind::STATFS => Request::Statfs { node: r.u64()? },
            kind::GET_XATTR => Request::GetXattr { node: r.u64()?, name: xattr_name(&mut r)? },
            kind::LIST_XATTR => Request::ListXattr { node: r.u64()? },
            kind::CREATE => Request::Create {
                dir: r.u64()?,
                name: r.name()?,
                mode: permissions(&mut r)?,
                flags: r.u32()?,
                owner: Owner::decode(&mut r)?,
            },
            kind::MKDIR => Request::Mkdir {
                dir: r.u64()?,
                name: r.name()?,
                mode: permissions(&mut r)?,
                owner: Owner::decode(&mut r)?,
            },
            kind::SYMLINK => Request::Symlink {
                dir: r.u64()?,
                name: r.name()?,
                target: link_target(&mut r)?,
                owner: Owner::decode(&mut r)?,
            },
            kind::MKNOD => Request::Mknod {
                dir: r.u64()?,
                name: r.name()?,
                mode: r.u32()?,
                owner: Owner::decode(&mut r)?,
            },
            kind::LINK => Request::Link { node: r.u64()?, dir: r.u64()?, name: r.name()? },
            kind::UNLINK => Request::Unlink { dir: r.u64()?, name: r.name()? },
            kind::RMDIR => Request::Rmdir { dir: r.u64()?, name: r.name()? },
            kind::RENAME => Request::Rename {
                dir: r.u64()?,
                name: r.name()?,
                new_dir: r.u64()?,
                new_name: r.name()?,
                flags: r.u32()?,
            },
            kind::SET_ATTR => Request::SetAttr { node: r.u64()?, set: SetAttr::decode(&mut r)? },
            kind::SET_XATTR => Request::SetXattr {
                node: r.u64()?,
                name: xattr_name(&mut r)?,
                value: r.bytes(MAX_XATTR)?,
                flags: r.u32()?,
            },
            kind::REMOVE_XATTR => Request::RemoveXattr { node: r.u64()?, name: xattr_name(&mut r)? },
            kind::SCRATCH => Request::Scratch,
            kind::SYNC => Request::Sync {
                node: r.u64()?,
                whole: match r.u32()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed("how much to sync")),
                },
            },
            kind::FORGET => {
                let count = r.count(12, MAX_FORGET)?;
                let one = |_| Ok((r.u64()?, r.u32()?));
                Request::Forget { nodes: (0..count).map(one).collect::<Result<_, Malformed>>()? }
            }
            _ => return Err(Malformed("unknown request")),
        };
        r.end()?;
        Ok((id, request))
    }
}

/// `XATTR_NAME_MAX` is 255; a name may hold anything but NUL (xattr(7)).
fn xattr_name<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let name = r.bytes(MAX_NAME)?;
    if name.is_empty() || name.contains(&0) {
        return Err(Malformed("attribute name"));
    }
    Ok(name)
}

fn link_target<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let target = r.bytes(MAX_LINK)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Malformed("link target"));
    }
    Ok(target)
}

fn permissions(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    let mode = r.u32()?;
    if mode & !0o7777 != 0 {
        return Err(Malformed("mode"));
    }
    Ok(mode)
}

fn encode_option(w: &mut Writer, v: Option<u64>) {
    w.u32(u32::from(v.is_some()));
    w.u64(v.unwrap_or(0));
}

fn decode_option(r: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    match (r.u32()?, r.u64()?) {
        (0, 0) => Ok(None),
        (1, v) => Ok(Some(v)),
        _ => Err(Malformed("option")),
    }
}

fn decode_option_u32(r: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    decode_option(r)?.map(u32::try_from).transpose().map_err(|_| Malformed("number"))
}

impl Watch {
    fn encode(self, w: &mut Writer) {
        w.u32(u32::from(self == Watch::Yes));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Watch, Malformed> {
        match r.u32()? {
            0 => Ok(Watch::No),
            1 => Ok(Watch::Yes),
            _ => Err(Malformed("watch")),
        }
    }
}

impl Owner {
    fn encode(&self, w: &mut Writer) {
        encode_option(w, self.uid.map(u64::from));
        encode_option(w, self.gid.map(u64::from));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Owner, Malformed> {
        let owner = Owner { uid: decode_option_u32(r)?, gid: decode_option_u32(r)? };
        if owner.uid == Some(u32::MAX) || owner.gid == Some(u32::MAX) {
            return Err(Malformed("owner"));
        }
        Ok(owner)
    }
}

impl SetTime {
    fn encode(self, w: &mut Writer) {
        let (kind, sec, nsec) = match self {
            SetTime::Omit => (0, 0, 0),
            SetTime::Now => (1, 0, 0),
            SetTime::To(sec, nsec) => (2, sec, nsec),
        };
        w.u32(kind);
        w.i64(sec);
        w.u32(nsec);
    }
    fn decode(r: &mut Reader<'_>) -> Result<SetTime, Malformed> {
        match (r.u32()?, r.i64()?, r.u32()?) {
            (0, 0, 0) => Ok(SetTime::Omit),
            (1, 0, 0) => Ok(SetTime::Now),
            (2, sec, nsec) if nsec < 1_000_000_000 => Ok(SetTime::To(sec, nsec)),
            _ => Err(Malformed("time")),
        }
    }
}

impl SetAttr {
    fn encode(&self, w: &mut Writer) {
        for v in [self.mode, self.uid, self.gid] {
            encode_option(w, v.map(u64::from));
        }
        encode_option(w, self.size);
        self.atime.encode(w);
        self.mtime.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<SetAttr, Malformed> {
        let mode = decode_option_u32(r)?;
        let owner = Owner::decode(r)?;
        let size = decode_option(r)?;
        let set = SetAttr {
            mode,
            uid: owner.uid,
            gid: owner.gid,
            size,
            atime: SetTime::decode(r)?,
            mtime: SetTime::decode(r)?,
        };
        if set.mode.is_some_and(|m| m & !0o7777 != 0) || set.size.is_some_and(|s| s > i64::MAX as u64) {
            return Err(Malformed("attributes to set"));
        }
        Ok(set)
    }
}
