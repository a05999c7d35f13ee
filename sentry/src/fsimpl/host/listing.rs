//! The entries of a directory as they were read, kept while nothing in it comes or goes.

use crate::vfs::inode::{DirEntry, FileKind};

/// The most entries of a directory that are kept.
pub(super) const MAX_ENTRIES: usize = 128 << 10;

struct Entry {
    ino: u64,
    cookie: u64,
    /// Where the name begins.
    at: u32,
    len: u16,
    kind: FileKind,
}

/// A whole directory, in the order of the host.
#[derive(Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

impl Listing {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds one behind the others; `false` where there is no more room.
    pub fn push(&mut self, entry: &DirEntry) -> bool {
        let (Ok(at), Ok(len)) = (u32::try_from(self.names.len()), u16::try_from(entry.name.len())) else {
            return false;
        };
        if self.entries.len() >= MAX_ENTRIES {
            return false;
        }
        self.names.extend_from_slice(&entry.name);
        self.entries.push(Entry { ino: entry.ino, cookie: entry.cookie, at, len, kind: entry.kind });
        true
    }

    pub fn name(&self, index: usize) -> &[u8] {
        self.entries.get(index).and_then(|e| self.name_of(e)).unwrap_or_default()
    }

    fn name_of(&self, e: &Entry) -> Option<&[u8]> {
        self.names.get(e.at as usize..e.at as usize + usize::from(e.len))
    }

    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.entries.iter().position(|e| self.name_of(e) == Some(name))
    }

    /// Where to go on behind a cookie.
    pub fn behind(&self, cookie: u64) -> Option<usize> {
        self.entries.iter().position(|e| e.cookie == cookie).map(|i| i + 1)
    }

    pub fn entry(&self, index: usize) -> Option<DirEntry> {
        let e = self.entries.get(index)?;
        Some(DirEntry { name: self.name_of(e)?.to_vec(), ino: e.ino, kind: e.kind, cookie: e.cookie })
    }
}
