//! Open directories. A listing comes with the entries' attributes, which are kept for the stat(2) calls that so often
//! follow.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use gofer_protocol::Entries;
use linux_abi::Result;
use parking_lot::Mutex;

use super::inode::{HostInode, Ready};
use crate::mm::Sink;
use crate::time::monotonic;
use crate::vfs::file::{File, FileOps};
use crate::vfs::inode::{DirEntry, FileKind, Inode};

/// The cookies that are the VFS's own; the host's are used as they are above.
const RESERVED: u64 = 2;

/// An open directory of the host.
pub(super) struct HostDir {
    inode: Arc<HostInode>,
    ahead: Mutex<Ahead>,
}

/// Entries that have come but were not asked for yet.
#[derive(Default)]
struct Ahead {
    /// The cookie that the first of them is behind.
    at: u64,
    entries: VecDeque<DirEntry>,
    end: bool,
}

impl HostDir {
    pub fn new(inode: Arc<HostInode>) -> HostDir {
        HostDir { inode, ahead: Mutex::new(Ahead::default()) }
    }

    /// Asks for what follows `cookie`; whether that is the end.
    fn fetch(&self, cookie: u64, out: &mut VecDeque<DirEntry>) -> Result<bool> {
        let at = monotonic();
        self.inode.will_be_listed();
        let reply = self.inode.shared.client.readdir(self.inode.node, cookie, Entries::WithNodes)?;
        for entry in reply.entries {
            let kind = match &entry.made {
                Some(made) => FileKind::from_mode(made.attr.mode),
                None => FileKind::from_mode(u32::from(entry.d_type) << 12),
            };
            if let Some(made) = entry.made {
                self.inode.keep_ready(&entry.name, Ready::new(at, made));
            }
            // An entry that could not be looked at, on a file system that tells no types: any answer will do.
            let kind = kind.unwrap_or(FileKind::Regular);
            out.push_back(DirEntry { name: entry.name, ino: entry.ino, kind, cookie: entry.next_cookie });
        }
        Ok(reply.end)
    }
}

impl FileOps for HostDir {
    fn read(&self, _: &File, _: u64, _: &mut dyn Sink) -> Result<usize> {
        Err(linux_abi::Errno::EISDIR)
    }

    fn readdir(&self, _: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let cookie = if cookie <= RESERVED { 0 } else { cookie };
        let mut ahead = std::mem::take(&mut *self.ahead.lock());
        if cookie == 0 || ahead.at != cookie {
            ahead = Ahead { at: cookie, ..Ahead::default() };
        }
        let mut next = cookie;
        let mut out = Vec::new();
        while out.len() < max {
            if let Some(entry) = ahead.entries.pop_front() {
                next = entry.cookie;
                out.push(entry);
            } else if ahead.end {
                // Said once; whoever asks again may find new entries.
                ahead.end = !out.is_empty();
                break;
            } else {
                ahead.end = self.fetch(next, &mut ahead.entries)?;
            }
        }
        ahead.at = next;
        *self.ahead.lock() = ahead;
        Ok(out)
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }

    fn size(&self, _: &File) -> Result<u64> {
        Ok(self.inode.attrs()?.size)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
