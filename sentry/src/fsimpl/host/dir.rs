//! Open directories. A listing that was read whole is kept for whoever reads the directory next.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use gofer_protocol::{Entries, Watch};
use linux_abi::Result;
use parking_lot::Mutex;

use super::inode::HostInode;
use super::known::Moment;
use super::listing::Listing;
use crate::mm::Sink;
use crate::vfs::file::{File, FileOps};
use crate::vfs::inode::{DirEntry, FileKind, Inode};

/// The cookies that are the VFS's own; the host's are used as they are above.
const RESERVED: u64 = 2;

/// An open directory of the host.
pub(super) struct HostDir {
    inode: Arc<HostInode>,
    reading: Mutex<Reading>,
}

/// How far it has been read.
#[derive(Default)]
struct Reading {
    /// The cookie behind which the next entries are.
    at: u64,
    /// What is remembered of the directory, and the index of the next entry in it.
    whole: Option<(Arc<Listing>, usize)>,
    /// Entries that have come but were not asked for yet.
    ahead: VecDeque<DirEntry>,
    end: bool,
    /// What has come so far, from the first entry on, and when the reading began.
    so_far: Option<(Listing, Moment)>,
}

impl HostDir {
    pub fn new(inode: Arc<HostInode>) -> HostDir {
        HostDir { inode, reading: Mutex::default() }
    }

    /// Asks for what follows `cookie`.
    fn fetch(&self, cookie: u64, r: &mut Reading) -> Result<()> {
        let asked = self.inode.moment();
        let watch = if cookie == 0 { Watch::Yes } else { Watch::No };
        let reply = self.inode.shared.client.readdir(self.inode.node, cookie, Entries::Names, watch)?;
        if cookie == 0 {
            let since = self.inode.note_watch(reply.watch, asked);
            r.so_far = since.map(|since| (Listing::default(), since));
        }
        for entry in reply.entries {
            // On a file system that tells no types any answer will do.
            let kind = FileKind::from_mode(u32::from(entry.d_type) << 12).unwrap_or(FileKind::Regular);
            let entry = DirEntry { name: entry.name, ino: entry.ino, kind, cookie: entry.next_cookie };
            if r.so_far.as_mut().is_some_and(|(listing, _)| !listing.push(&entry)) {
                r.so_far = None;
            }
            r.ahead.push_back(entry);
        }
        r.end = reply.end;
        if let Some((listing, began)) = r.so_far.take_if(|_| reply.end) {
            self.inode.keep_listing(listing, began);
        }
        Ok(())
    }

    fn remembered(&self, r: &mut Reading, cookie: u64, max: usize) -> Option<Vec<DirEntry>> {
        let listing = self.inode.listing()?;
        let index = match &r.whole {
            _ if cookie == 0 => 0,
            Some((known, index)) if r.at == cookie && Arc::ptr_eq(known, &listing) => *index,
            _ => listing.behind(cookie)?,
        };
        let out: Vec<_> = (index..).map_while(|i| listing.entry(i)).take(max).collect();
        r.at = out.last().map_or(cookie, |e| e.cookie);
        r.whole = Some((listing, index + out.len()));
        r.ahead.clear();
        r.end = false;
        r.so_far = None;
        Some(out)
    }
}

impl FileOps for HostDir {
    fn read(&self, _: &File, _: u64, _: &mut dyn Sink) -> Result<usize> {
        Err(linux_abi::Errno::EISDIR)
    }

    fn readdir(&self, _: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        let cookie = if cookie <= RESERVED { 0 } else { cookie };
        let mut r = self.reading.lock();
        if r.ahead.is_empty() || cookie == 0 || r.at != cookie {
            if let Some(out) = self.remembered(&mut r, cookie, max) {
                return Ok(out);
            }
        }
        if cookie == 0 || r.at != cookie {
            *r = Reading { at: cookie, ..Reading::default() };
        }
        let mut next = cookie;
        let mut out = Vec::new();
        while out.len() < max {
            if let Some(entry) = r.ahead.pop_front() {
                next = entry.cookie;
                out.push(entry);
            } else if r.end {
                // Said once; whoever asks again may find new entries.
                r.end = !out.is_empty();
                break;
            } else {
                self.fetch(next, &mut r)?;
            }
        }
        r.at = next;
        Ok(out)
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        // What cannot be changed has nothing to be written.
        if self.inode.shared.writable {
            self.inode.shared.client.sync_dir(self.inode.node)?;
        }
        Ok(())
    }

    fn size(&self, _: &File) -> Result<u64> {
        Ok(self.inode.attrs()?.size)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
