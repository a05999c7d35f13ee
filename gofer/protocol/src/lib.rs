//! `gofer-protocol`: what the sentry and the gofer say to each other about host files.
//!
//! Messages are single datagrams on a `SOCK_SEQPACKET` UNIX socket (unix(7)), at most [`MAX_MESSAGE`] bytes,
//! little-endian and of fixed layout; a descriptor travels with its message (`SCM_RIGHTS`), and the header says how
//! many must have come. A file is named by the gofer's node number or by a node and *one* name in it: no message
//! holds a path, so neither `..` nor a symbolic link is ever resolved by the gofer.
//!
//! Either side takes the other for hostile: every decoder checks lengths, counts, names and left-over bytes, and an
//! answer that does not fit its request ends the connection.
//!
//! - [`Request`] and the reply types ([`Attr`], [`WalkReply`], …): the vocabulary, each with its codec.
//! - [`Channel`]: one socket, messages with descriptors.
//! - [`Client`]: the sentry's end, a method per request, callable from any thread.
//! - [`net`]: what is said to the net broker, on a connection of its own.
#![forbid(unsafe_code)]

mod attr;
mod channel;
mod client;
pub mod net;
mod reply;
mod request;
mod wire;

pub use attr::{Attr, FileKind, Timestamp};
pub use channel::{Channel, Fds, Received, MAX_FDS};
pub use client::{Client, ClientError};
pub use reply::{
    begin_reply, finish_reply, Bytes, DirEntries, DirEntry, Found, Looked, Made, ReplyHeader, Stated, Statfs,
    Step, Tree, Trees, WalkReply, WatchId,
};
pub use request::{Entries, Owner, Request, SetAttr, SetTime, Watch, Xattrs};
pub use wire::{Malformed, Reader, Wire, Writer};

/// The version that both sides must have; they are one executable, so there is no negotiation.
pub const VERSION: u32 = 2;
/// The largest message in either direction.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// How many names one [`Request::Walk`] may carry; the client splits longer walks.
pub const MAX_WALK: usize = 256;
/// How many names one [`Request::Look`] may carry: what their answers need fits a message.
pub const MAX_LOOK: usize = 256;
/// `NAME_MAX` (limits.h).
pub const MAX_NAME: usize = 255;
/// `PATH_MAX` without its NUL: the longest target of a symbolic link.
pub const MAX_LINK: usize = 4095;
/// The longest value or list of extended attributes that is carried; Linux allows 64 KiB (xattr(7)).
pub const MAX_XATTR: usize = 60 * 1024;
/// How many nodes one [`Request::Forget`] may name.
pub const MAX_FORGET: usize = 4096;

/// A number that the gofer gave to a file it has shown. 0 is never given.
pub type NodeId = u64;

/// Whether `name` is one ordinary component of a path: not empty, `.`, `..`, too long, and without `/` and NUL.
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != b"."
        && name != b".."
        && !name.iter().any(|&b| b == b'/' || b == 0)
}

#[cfg(test)]
mod tests;
