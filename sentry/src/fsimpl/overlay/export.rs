//! `--export`: the upper layer as a tar archive (pax interchange format, POSIX.1-2001), deletions as whiteouts of the
//! OCI image layer format: `.wh.NAME` for a name that is gone, `.wh..wh..opq` in a directory that hides all that was in
//! it. Times with their nanoseconds, extended attributes as `SCHILY.xattr.*`, holes as GNU's sparse format 1.0.
//!
//! The bytes go to a descriptor that the launcher opened: nothing is opened by name here. All names come from the
//! directories' tables, so no path leads out of the archive's root.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use linux_abi::Errno;
use tar::{Builder, EntryType, Header};

use super::changes::{look_into, xattrs, Finding};
use super::{OverlayFs, OvlInode};
use crate::mm::VecSink;
use crate::vfs::inode::{Attrs, FileTime};
use crate::vfs::{File, FileKind, Inode};

/// What marks a name as gone.
const WHITEOUT: &[u8] = b".wh.";
/// What marks a directory as hiding all that the layers below have in it.
const OPAQUE: &[u8] = b".wh..wh..opq";
const BLOCK: u64 = 512;
/// What a name or a link's text may have in a header; longer ones go into extended records.
const FIELD: usize = 100;
/// The largest numbers that a header's fields hold (POSIX.1): ids, and sizes.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The most pieces that a sparse file is kept in.
const MAX_PIECES: usize = 1 << 20;
const CHUNK: usize = 256 << 10;

/// Why nothing, or not all, was written.
#[derive(Debug)]
pub enum ExportError {
    /// Of the archive's file.
    Write(io::Error),
    /// Of the file system.
    Look(Errno),
}

impl From<Errno> for ExportError {
    fn from(e: Errno) -> ExportError {
        ExportError::Look(e)
    }
}

impl From<io::Error> for ExportError {
    fn from(e: io::Error) -> ExportError {
        ExportError::Write(e)
    }
}

impl std::fmt::Display for ExportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExportError::Write(e) => e.fmt(f),
            ExportError::Look(e) => e.fmt(f),
        }
    }
}

/// What an archive cannot say, by how many files are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Sockets: tar has no type for them.
    pub sockets: u64,
    /// Names that would read as a deletion.
    pub reserved: u64,
    /// Paths beyond all bounds.
    pub too_deep: u64,
    /// Files of the host that could not be read again.
    pub unreadable: u64,
}

/// An archive that is being written.
pub struct Export<W: Write> {
    out: Builder<W>,
    /// By inode, under which name it is in the archive already.
    linked: HashMap<usize, Vec<u8>>,
    /// Directories above the present one that are not in the archive yet, the outermost first.
    above: Vec<(Vec<u8>, Arc<OvlInode>)>,
    left: Left,
}

impl<W: Write> Export<W> {
    pub fn new(out: W) -> Export<W> {
        Export { out: Builder::new(out), linked: HashMap::new(), above: Vec::new(), left: Left::default() }
    }

    /// Adds the changes of an overlay that is mounted at `at`.
    pub fn add(&mut self, at: &[u8], fs: &OverlayFs) -> Result<(), ExportError> {
        let prefix: Vec<u8> = at.iter().copied().skip_while(|b| *b == b'/').collect();
        self.linked.clear();
        self.above.clear();
        let too_deep = fs.changes::<ExportError>(&mut |path, finding| {
            let full = match (&prefix[..], path) {
                (b"", path) => path.to_vec(),
                (prefix, b"") => prefix.to_vec(),
                (prefix, path) => [prefix, b"/", path].concat(),
            };
            self.one(full, finding)
        })?;
        self.left.too_deep += too_deep;
        Ok(())
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<(W, Left), ExportError> {
        let left = self.left;
        let mut out = self.out.into_inner()?;
        out.flush()?;
        Ok((out, left))
    }

    fn one(&mut self, path: Vec<u8>, finding: Finding<'_>) -> Result<(), ExportError> {
        while self.above.last().is_some_and(|(dir, _)| !is_below(dir, &path)) {
            self.above.pop();
        }
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if path.split(|b| *b == b'/').any(|name| name.starts_with(WHITEOUT)) {
            self.left.reserved += 1;
            return Ok(());
        }
        match finding {
            Finding::Gone { .. } => {
                self.flush_above()?;
                let dir = path.get(..path.len() - name.len()).unwrap_or_default();
                let mark = [dir, WHITEOUT, name].concat();
                self.mark(&mark)
            }
            Finding::Kept(inode) => {
                let differs = inode.differs_from_lower()?;
                if !inode.is_dir() {
                    if inode.is_stored() && differs.any() {
                        self.flush_above()?;
                        self.entry(&path, inode)?;
                    }
                    return Ok(());
                }
                self.above.push((path, inode.clone()));
                if differs.attributes {
                    self.flush_above()?;
                }
                Ok(())
            }
            Finding::New { inode, over, .. } => {
                self.flush_above()?;
                self.entry(&path, inode)?;
                if inode.is_dir() && over.is_some() {
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    self.mark(&[&path, slash, OPAQUE].concat())?;
                }
                Ok(())
            }
        }
    }

    /// The directories on the way to an entry come before it, as they are now.
    fn flush_above(&mut self) -> Result<(), ExportError> {
        for (path, inode) in std::mem::take(&mut self.above) {
            // The root of all needs no entry of its own, unless something of it has changed.
            if !path.is_empty() || inode.differs_from_lower()?.attributes {
                self.entry(&path, &inode)?;
            }
        }
        Ok(())
    }

    /// An empty file by whose name readers know what it means.
    fn mark(&mut self, path: &[u8]) -> Result<(), ExportError> {
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        header.set_mtime(0);
        let mut records = Vec::new();
        set_path(&mut header, path, &mut records);
        self.put(header, EntryType::Regular, 0, &records, &mut io::empty())
    }

    fn entry(&mut self, path: &[u8], inode: &Arc<OvlInode>) -> Result<(), ExportError> {
        let attrs = inode.attrs()?;
        let mut records = Vec::new();
        let mut header = header_of(&attrs, &mut records);
        if attrs.kind != FileKind::Dir && attrs.nlink > 1 {
            let id = Arc::as_ptr(inode) as usize;
            if let Some(first) = self.linked.get(&id) {
                let first = first.clone();
                set_path(&mut header, path, &mut records);
                set_link(&mut header, &first, &mut records);
                return self.put(header, EntryType::Link, 0, &records, &mut io::empty());
            }
            self.linked.insert(id, path.to_vec());
        }
        for (name, value) in xattrs(&**inode) {
            record(&mut records, &[b"SCHILY.xattr.", &escaped(&name)[..]].concat(), &value);
        }
        let (kind, path) = match attrs.kind {
            FileKind::Regular => return self.regular(path, inode, &attrs, header, records),
            FileKind::Dir if path.is_empty() => (EntryType::Directory, b"./".to_vec()),
            FileKind::Dir => (EntryType::Directory, [path, b"/"].concat()),
            FileKind::Symlink => (EntryType::Symlink, path.to_vec()),
            FileKind::Fifo => (EntryType::Fifo, path.to_vec()),
            FileKind::Char => (EntryType::Char, path.to_vec()),
            FileKind::Block => (EntryType::Block, path.to_vec()),
            FileKind::Socket | FileKind::Anon => {
                self.left.sockets += 1;
                return Ok(());
            }
        };
        if attrs.kind == FileKind::Symlink {
            set_link(&mut header, &inode.readlink()?, &mut records);
        }
        if matches!(attrs.kind, FileKind::Char | FileKind::Block) {
            header.set_device_major(libc::major(attrs.rdev))?;
            header.set_device_minor(libc::minor(attrs.rdev))?;
        }
        set_path(&mut header, &path, &mut records);
        self.put(header, kind, 0, &records, &mut io::empty())
    }

    fn regular(
        &mut self,
        path: &[u8],
        inode: &Arc<OvlInode>,
        attrs: &Attrs,
        mut header: Header,
        mut records: Vec<u8>,
    ) -> Result<(), ExportError> {
        let Ok(file) = look_into(inode.clone()) else {
            self.left.unreadable += 1;
            return Ok(());
        };
        let pieces = pieces(&file, attrs.size);
        let stored: u64 = pieces.iter().map(|(from, to)| to - from).sum();
        let map = map_text(&pieces, attrs.size);
        let map_size = (map.len() as u64).next_multiple_of(BLOCK);
        if stored.saturating_add(map_size) >= attrs.size {
            set_path(&mut header, path, &mut records);
            let mut bytes = Bytes::new(&file, vec![(0, attrs.size)], Vec::new());
            self.put(header, EntryType::Regular, attrs.size, &records, &mut bytes)?;
            self.left.unreadable += u64::from(bytes.failed);
            return Ok(());
        }
        let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], path),
        };
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", path);
        record(&mut records, b"GNU.sparse.realsize", attrs.size.to_string().as_bytes());
        set_path(&mut header, &[dir, b"GNUSparseFile.0/", name].concat(), &mut Vec::new());
        let mut head = map.into_bytes();
        head.resize(map_size as usize, 0);
        let mut bytes = Bytes::new(&file, pieces, head);
        self.put(header, EntryType::Regular, map_size + stored, &records, &mut bytes)?;
        self.left.unreadable += u64::from(bytes.failed);
        Ok(())
    }

    fn put(
        &mut self,
        mut header: Header,
        kind: EntryType,
        size: u64,
        records: &[u8],
        data: &mut dyn Read,
    ) -> Result<(), ExportError> {
        let mut records = records.to_vec();
        if size > MAX_SIZE {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_mode(0o644);
            extended.set_mtime(0);
            extended.set_size(records.len() as u64);
            set_path(&mut extended, b"PaxHeaders.0/entry", &mut Vec::new());
            extended.set_cksum();
            self.out.append(&extended, &records[..])?;
        }
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        Ok(self.out.append(&header, data)?)
    }
}

/// Whether `path` lies in the directory `dir`.
fn is_below(dir: &[u8], path: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn header_of(a: &Attrs, records: &mut Vec<u8>) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(a.perm);
    for (id, key, set) in [
        (a.uid, b"uid", Header::set_uid as fn(&mut Header, u64)),
        (a.gid, b"gid", Header::set_gid as fn(&mut Header, u64)),
    ] {
        if id > MAX_ID {
            record(records, key, id.to_string().as_bytes());
        }
        set(&mut header, u64::from(if id > MAX_ID { 0 } else { id }));
    }
    header.set_mtime(u64::try_from(a.mtime.sec).unwrap_or(0).min(MAX_SIZE));
    for (key, t) in [(&b"mtime"[..], a.mtime), (b"atime", a.atime)] {
        record(records, key, seconds(t).as_bytes());
    }
    header
}

/// A time as a decimal number of seconds.
fn seconds(t: FileTime) -> String {
    let nsec = i64::from(t.nsec);
    match t.nsec {
        0 => t.sec.to_string(),
        _ if t.sec >= 0 => format!("{}.{nsec:09}", t.sec),
        // -1.25 is three quarters after -2.
        _ => format!("-{}.{:09}", (t.sec + 1).unsigned_abs(), 1_000_000_000 - nsec),
    }
}

/// An extended record: its own length, the key, the value.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// An attribute's name in a key, where `=` ends the key (as GNU tar and star write it).
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(byte),
        }
    }
    out
}

fn set_path(header: &mut Header, path: &[u8], records: &mut Vec<u8>) {
    if path.len() > FIELD {
        record(records, b"path", path);
    }
    if let Some(ustar) = header.as_ustar_mut() {
        let n = path.len().min(FIELD);
        if let (Some(to), Some(from)) = (ustar.name.get_mut(..n), path.get(..n)) {
            to.copy_from_slice(from);
        }
    }
}

fn set_link(header: &mut Header, target: &[u8], records: &mut Vec<u8>) {
    if target.len() > FIELD {
        record(records, b"linkpath", target);
    }
    if let Some(ustar) = header.as_ustar_mut() {
        let n = target.len().min(FIELD);
        if let (Some(to), Some(from)) = (ustar.linkname.get_mut(..n), target.get(..n)) {
            to.copy_from_slice(from);
        }
    }
}

/// The pieces of a file that hold data; one for all of it where there are too many, or nobody can tell.
fn pieces(file: &File, size: u64) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < size {
        let seek = |from: u64, whence| file.ops.seek(file, i64::try_from(from).unwrap_or(i64::MAX), whence);
        let from = match seek(at, 3) {
            Ok(from) => from.max(at),
            Err(Errno::ENXIO) => break,
            Err(_) => return vec![(0, size)],
        };
        let to = seek(from, 4).unwrap_or(size).clamp(from, size);
        if to == from || all.len() >= MAX_PIECES {
            return vec![(0, size)];
        }
        all.push((from, to));
        at = to;
    }
    all
}

/// The map of GNU's sparse format 1.0: how many pieces, then where each begins and how long it is.
fn map_text(pieces: &[(u64, u64)], size: u64) -> String {
    use std::fmt::Write as _;
    let ends_in_hole = pieces.last().is_none_or(|(_, to)| *to < size);
    let mut text = format!("{}\n", pieces.len() + usize::from(ends_in_hole));
    for (from, to) in pieces {
        let _ = write!(text, "{from}\n{}\n", to - from);
    }
    if ends_in_hole {
        let _ = write!(text, "{size}\n0\n");
    }
    text
}

/// Pieces of a file, behind some bytes of our own. What cannot be read, or is no longer there, reads as zeros: the
/// header has promised the length.
struct Bytes<'a> {
    file: &'a File,
    head: Vec<u8>,
    pieces: std::vec::IntoIter<(u64, u64)>,
    now: (u64, u64),
    failed: bool,
}

impl<'a> Bytes<'a> {
    fn new(file: &'a File, pieces: Vec<(u64, u64)>, mut head: Vec<u8>) -> Bytes<'a> {
        head.reverse();
        Bytes { file, head, pieces: pieces.into_iter(), now: (0, 0), failed: false }
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            let n = buf.len().min(self.head.len());
            for (to, from) in buf.iter_mut().zip(self.head.drain(self.head.len() - n..).rev()) {
                *to = from;
            }
            return Ok(n);
        }
        while self.now.0 == self.now.1 {
            match self.pieces.next() {
                Some(piece) => self.now = piece,
                None => return Ok(0),
            }
        }
        let left = usize::try_from(self.now.1 - self.now.0).unwrap_or(CHUNK);
        let mut sink = VecSink::new(buf.len().min(left).min(CHUNK));
        let want = sink_room(&sink);
        let read = self.file.ops.read(self.file, self.now.0, &mut sink);
        if !matches!(read, Ok(n) if n == want) {
            self.failed |= read.is_err();
            sink.data.resize(want, 0);
        }
        for (to, from) in buf.iter_mut().zip(&sink.data) {
            *to = *from;
        }
        self.now.0 += want as u64;
        Ok(want)
    }
}

fn sink_room(sink: &VecSink) -> usize {
    use crate::mm::Sink;
    sink.remaining()
}
