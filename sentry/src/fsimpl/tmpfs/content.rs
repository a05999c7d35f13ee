//! The bytes of a regular file: on the heap while small and unmapped, else in a memfd (or a file on disk, which is
//! treated as one), whose holes are the file's holes. A file that went to a memfd stays there, so a reader needs no lock to find it.
//!
//! Pages are charged to the file system's [`Quota`] before they are written, so that a full one answers `ENOSPC` and
//! never costs more memory than it was given. Pages that come by a store into a mapping are seen, and charged, at the
//! next write or truncation.

mod ranges;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use linux_abi::{Errno, Result};
use parking_lot::RwLock;
use rustix::fs::{FallocateFlags, SealFlags, SeekFrom};

use super::store::{self, Counted, Store};
use crate::mm::{account, Sink, Source};

const PAGE: u64 = 4096;
/// The largest file (`MAX_LFS_FILESIZE`).
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// How much of a file system's room is taken, in pages and inodes.
pub struct Quota {
    pub pages: u64,
    pub inodes: u64,
    used_pages: AtomicU64,
    used_inodes: AtomicU64,
    counted: Counted,
}

impl Quota {
    pub fn new(pages: u64, inodes: u64, counted: Counted) -> Quota {
        Quota { pages, inodes, used_pages: AtomicU64::new(0), used_inodes: AtomicU64::new(0), counted }
    }
    pub fn used_pages(&self) -> u64 {
        self.used_pages.load(Ordering::Relaxed)
    }
    pub fn used_inodes(&self) -> u64 {
        self.used_inodes.load(Ordering::Relaxed)
    }
    /// Pages that can still be taken: of its own, of those of all files, and of those of all files in our memory
    /// together (a guest may fill the overlay, `/dev/shm` and memfds, which have no file system to bound them).
    pub fn free_pages(&self) -> u64 {
        let own = self.pages.saturating_sub(self.used_pages()).min(store::free_of_all());
        match self.counted {
            Counted::AsMemory => own.min(account::free_file_pages()),
            Counted::AsDisk => own,
        }
    }
    fn take(counter: &AtomicU64, n: u64, limit: u64) -> bool {
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(n).filter(|total| *total <= limit)
            })
            .is_ok()
    }
    fn take_pages(&self, n: u64) -> bool {
        if n == 0 {
            return true;
        }
        if !store::take_of_all(n) {
            return false;
        }
        if self.counted == Counted::AsMemory && !account::take_file_pages(n) {
            store::settle_of_all(n, 0);
            return false;
        }
        let own = Quota::take(&self.used_pages, n, self.pages);
        if !own {
            self.settle_outside(n, 0);
        }
        own
    }
    fn settle_outside(&self, charged: u64, real: u64) {
        store::settle_of_all(charged, real);
        if self.counted == Counted::AsMemory {
            account::settle_file_pages(charged, real);
        }
    }
    fn settle_pages(&self, charged: u64, real: u64) {
        if real >= charged {
            self.used_pages.fetch_add(real - charged, Ordering::Relaxed);
        } else {
            self.used_pages.fetch_sub(charged - real, Ordering::Relaxed);
        }
        self.settle_outside(charged, real);
    }
    /// Counts one more inode, or `ENOSPC`.
    pub fn take_inode(&self) -> Result<()> {
        Quota::take(&self.used_inodes, 1, self.inodes).then_some(()).ok_or(Errno::ENOSPC)
    }
    pub fn give_inode(&self) {
        self.used_inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    size: u64,
    /// The first bytes of the file while it is on the heap; what lies between here and `size` is a hole.
    bytes: Vec<u8>,
    /// Pages charged.
    charged: u64,
    /// The memfd has all pages below this offset.
    dense: u64,
    /// The memfd may have pages above `dense` that no write has counted.
    sparse: bool,
    /// Guests may store into it through a mapping, and nothing but the mapping is counted: all of it is charged.
    paid_whole: bool,
    seals: u32,
}

/// The content of one regular file.
pub struct Content {
    quota: Arc<Quota>,
    memfd: OnceLock<Arc<OwnedFd>>,
    state: RwLock<State>,
    store: Store,
    /// Room was taken behind the end (`FALLOC_FL_KEEP_SIZE`).
    reserved: AtomicBool,
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

fn host(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

/// A source cut to a number of bytes.
struct Cut<'a> {
    inner: &'a mut dyn Source,
    left: usize,
}

impl Source for Cut<'_> {
    fn remaining(&self) -> usize {
        self.left.min(self.inner.remaining())
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.left);
        let n = self.inner.take(&mut buf[..n])?;
        self.left -= n;
        Ok(n)
    }
    fn take_to_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, nowait: bool) -> Result<usize> {
        if self.left >= self.inner.remaining() {
            let n = self.inner.take_to_fd(fd, offset, nowait)?;
            self.left = self.left.saturating_sub(n);
            return Ok(n);
        }
        let mut done = 0;
        let mut buf = vec![0; self.left.min(64 << 10)];
        while self.left > 0 {
            let want = buf.len().min(self.left);
            let n = match self.take(&mut buf[..want]) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            let at = offset.map(|o| o + done as u64).ok_or(Errno::EINVAL)?;
            rustix::io::pwrite(fd, &buf[..n], at).map_err(host)?;
            done += n;
        }
        Ok(done)
    }
}

impl Content {
    pub fn new(quota: Arc<Quota>, seals: u32, store: Store) -> Content {
        let state = RwLock::new(State { seals, ..State::default() });
        Content { quota, memfd: OnceLock::new(), state, store, reserved: AtomicBool::new(false) }
    }

    pub fn size(&self) -> u64 {
        self.state.read().size
    }

    /// Pages in use.
    pub fn pages(&self) -> u64 {
        match self.memfd.get() {
            Some(fd) => rustix::fs::fstat(fd).map_or(0, |s| {
                let blocks = s.st_blocks as u64 / (PAGE / 512);
                // A disk may keep room in advance behind what is written, and a block for the map of it all.
                let all = self.reserved.load(Ordering::Relaxed);
                if all {
                    blocks
                } else {
                    blocks.min(pages(s.st_size as u64))
                }
            }),
            None => self.state.read().charged,
        }
    }

    /// The memfd, where there is one already.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.memfd.get().map(|fd| fd.as_fd())
    }

    pub fn read_at(&self, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if let Some(fd) = self.memfd.get() {
            if pos >= MAX_SIZE {
                return Ok(0);
            }
            return to.put_from_fd(fd.as_fd(), Some(pos), false);
        }
        let st = self.state.read();
        if let Some(fd) = self.memfd.get() {
            drop(st);
            return to.put_from_fd(fd.as_fd(), Some(pos), false);
        }
        if pos >= st.size {
            return Ok(0);
        }
        let want = (to.remaining() as u64).min(st.size - pos) as usize;
        let from = st.bytes.get(usize::try_from(pos).unwrap_or(usize::MAX)..).unwrap_or_default();
        let n = want.min(from.len());
        let mut done = if n > 0 { to.put(&from[..n])? } else { 0 };
        if done == n && done < want {
            match to.put_zeros(want - done) {
                Ok(k) => done += k,
                Err(e) if done == 0 => return Err(e),
                Err(_) => {}
            }
        }
        Ok(done)
    }

    pub fn write_at(&self, pos: u64, from: &mut dyn Source) -> Result<usize> {
        self.write_locked(&mut self.state.write(), pos, from)
    }

    /// Writes at the end; the count and the position behind it.
    pub fn append(&self, from: &mut dyn Source) -> Result<(usize, u64)> {
        let mut st = self.state.write();
        let pos = st.size;
        let n = self.write_locked(&mut st, pos, from)?;
        Ok((n, pos + n as u64))
    }

    fn write_locked(&self, st: &mut State, pos: u64, from: &mut dyn Source) -> Result<usize> {
        let mut n = from.remaining() as u64;
        if n == 0 {
            return Ok(0);
        }
        if pos >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        n = n.min(MAX_SIZE - pos);
        if st.seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) as u32 != 0 {
            return Err(Errno::EPERM);
        }
        if st.seals & libc::F_SEAL_GROW as u32 != 0 && pos + n > st.size {
            // Linux writes what fits before the end (shmem_write_begin checks page by page).
            n = st.size.checked_sub(pos).filter(|room| *room > 0).ok_or(Errno::EPERM)?;
        }
        if self.memfd.get().is_none() && pos + n > self.store.heap_max() {
            self.spill(st)?;
        }
        let done = match self.memfd.get() {
            None => self.write_heap(st, pos, n, from)?,
            Some(fd) => self.write_memfd(st, fd.as_fd(), pos, n, from)?,
        };
        st.size = st.size.max(pos + done as u64);
        Ok(done)
    }

    fn write_heap(&self, st: &mut State, pos: u64, mut n: u64, from: &mut dyn Source) -> Result<usize> {
        let after = pages((st.bytes.len() as u64).max(pos + n));
        if !self.quota.take_pages(after.saturating_sub(st.charged)) {
            let room = (st.charged + self.quota.free_pages()) * PAGE;
            n = room.min(pos + n).checked_sub(pos).filter(|k| *k > 0).ok_or(Errno::ENOSPC)?;
            let after = pages((st.bytes.len() as u64).max(pos + n));
            if !self.quota.take_pages(after.saturating_sub(st.charged)) {
                return Err(Errno::ENOSPC);
            }
            st.charged = st.charged.max(after);
        } else {
            st.charged = st.charged.max(after);
        }
        // The bytes are taken before the file is touched: a fault leaves it as it was.
        let mut small = [0u8; 256];
        let mut large = Vec::new();
        let buf = if n <= 256 {
            &mut small[..n as usize]
        } else {
            large.resize(n as usize, 0);
            &mut large[..]
        };
        let taken = from.take(buf);
        if let Ok(k) = taken {
            let (at, end) = (pos as usize, pos as usize + k);
            if st.bytes.len() < end {
                st.bytes.resize(end, 0);
            }
            st.bytes[at..end].copy_from_slice(&buf[..k]);
        }
        self.settle_heap(st);
        taken
    }

    fn settle_heap(&self, st: &mut State) {
        let real = pages(st.bytes.len() as u64);
        self.quota.settle_pages(st.charged, real);
        st.charged = real;
    }

    fn settle_memfd(&self, st: &mut State) {
        let real = if st.paid_whole { self.pages().max(pages(st.size)) } else { self.pages() };
        self.quota.settle_pages(st.charged, real);
        st.charged = real;
    }

    fn write_memfd(
        &self,
        st: &mut State,
        fd: BorrowedFd<'_>,
        pos: u64,
        mut n: u64,
        from: &mut dyn Source,
    ) -> Result<usize> {
        let end = pos + n;
        let first_new = if pos <= st.dense { pages(st.dense) } else { pos / PAGE };
        let mut new = pages(end).saturating_sub(first_new);
        if !self.quota.take_pages(new) {
            self.settle_memfd(st);
            n = self.room(fd, pos, n);
            if n == 0 {
                return Err(Errno::ENOSPC);
            }
            new = self.holes(fd, pos, n);
            if !self.quota.take_pages(new) {
                return Err(Errno::ENOSPC);
            }
            st.sparse = true;
        }
        st.charged += new;
        let r = Cut { inner: from, left: n as usize }.take_to_fd(fd, Some(pos), false);
        let done = r.unwrap_or(0) as u64;
        if done > 0 && pos <= st.dense {
            st.dense = st.dense.max(pos + done);
        } else if done > 0 {
            st.sparse = true;
        }
        if st.sparse || done < n {
            self.settle_memfd(st);
        }
        r
    }

    /// How many pages of a range the memfd does not have yet.
    fn holes(&self, fd: BorrowedFd<'_>, pos: u64, n: u64) -> u64 {
        let (mut at, end) = (pos / PAGE * PAGE, pages(pos + n) * PAGE);
        let mut total = 0;
        while at < end {
            let data = rustix::fs::seek(fd, SeekFrom::Data(at)).unwrap_or(u64::MAX).min(end).max(at);
            total += (data - at) / PAGE;
            if data >= end {
                break;
            }
            at = rustix::fs::seek(fd, SeekFrom::Hole(data)).unwrap_or(end).max(data + PAGE);
        }
        total
    }

    /// How many bytes of a range can be written with the pages that are left.
    fn room(&self, fd: BorrowedFd<'_>, pos: u64, n: u64) -> u64 {
        let free = self.quota.free_pages();
        let (mut low, mut high) = (0, n);
        while low < high {
            let mid = low + (high - low).div_ceil(2);
            if self.holes(fd, pos, mid) <= free {
                low = mid;
            } else {
                high = mid - 1;
            }
        }
        low
    }

    /// Moves the bytes to a memfd. A failure leaves them where they are.
    fn spill(&self, st: &mut State) -> Result<()> {
        if self.memfd.get().is_some() {
            return Ok(());
        }
        let fd = self.store.file()?;
        rustix::fs::ftruncate(&fd, st.size).map_err(host)?;
        let mut at = 0;
        while at < st.bytes.len() {
            match rustix::io::pwrite(&fd, &st.bytes[at..], at as u64).map_err(host)? {
                0 => return Err(Errno::EIO),
                n => at += n,
            }
        }
        // Host seals follow those that were set while on the heap.
        let keep = st.seals & !(libc::F_SEAL_SEAL as u32 | SEAL_EXEC);
        if keep != 0 {
            rustix::fs::fcntl_add_seals(&fd, SealFlags::from_bits_retain(keep)).map_err(host)?;
        }
        st.dense = st.bytes.len() as u64;
        st.sparse = st.size > st.dense;
        st.bytes = Vec::new();
        let _ = self.memfd.set(Arc::new(fd));
        self.settle_memfd(st);
        Ok(())
    }

    /// The memfd, made now where there is none, for a mapping.
    pub fn map_fd(&self, shared: bool, writable: bool) -> Result<Arc<OwnedFd>> {
        let mut st = self.state.write();
        if shared && writable && st.seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) as u32 != 0 {
            return Err(Errno::EPERM);
        }
        self.spill(&mut st)?;
        st.sparse |= shared && writable;
        if shared && writable && account::strict() && !st.paid_whole {
            let more = pages(st.size).saturating_sub(st.charged);
            if !self.quota.take_pages(more) {
                return Err(Errno::ENOMEM);
            }
            st.charged += more;
            st.paid_whole = true;
        }
        self.memfd.get().cloned().ok_or(Errno::EIO)
    }

    pub fn truncate(&self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let mut st = self.state.write();
        if size < st.size && st.seals & libc::F_SEAL_SHRINK as u32 != 0
            || size > st.size && st.seals & libc::F_SEAL_GROW as u32 != 0
        {
            return Err(Errno::EPERM);
        }
        if size == st.size {
            return Ok(());
        }
        match self.memfd.get() {
            None => {
                if size < st.bytes.len() as u64 {
                    st.bytes.truncate(size as usize);
                    st.bytes.shrink_to_fit();
                    self.settle_heap(&mut st);
                }
            }
            Some(fd) => {
                if st.paid_whole && size > st.size {
                    let more = pages(size).saturating_sub(st.charged);
                    if !self.quota.take_pages(more) {
                        return Err(Errno::ENOSPC);
                    }
                    st.charged += more;
                }
                rustix::fs::ftruncate(fd, size).map_err(host)?;
                st.sparse |= size > st.size;
                st.dense = st.dense.min(size);
                self.settle_memfd(&mut st);
            }
        }
        st.size = size;
        Ok(())
    }

    /// fallocate(2). More than Linux's tmpfs has: the overlay shows files of file systems that have it.
    pub fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let keep = libc::FALLOC_FL_KEEP_SIZE as u32;
        let punch = libc::FALLOC_FL_PUNCH_HOLE as u32;
        if mode & !(keep | punch) != 0 {
            return ranges::allocate(self, mode, offset, len);
        }
        if mode & punch != 0 && mode & keep == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(len).filter(|e| *e <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        let mut st = self.state.write();
        if mode & punch != 0 {
            if st.seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) as u32 != 0 {
                return Err(Errno::EPERM);
            }
            return self.punch(&mut st, offset, end);
        }
        if end > st.size && mode & keep == 0 && st.seals & libc::F_SEAL_GROW as u32 != 0 {
            return Err(Errno::EPERM);
        }
        self.spill(&mut st)?;
        let fd = self.memfd.get().ok_or(Errno::EIO)?;
        let new = self.holes(fd.as_fd(), offset, len);
        if !self.quota.take_pages(new) {
            return Err(Errno::ENOSPC);
        }
        st.charged += new;
        st.sparse = true;
        let flags = FallocateFlags::from_bits_retain(mode);
        let r = rustix::fs::fallocate(fd, flags, offset, len).map_err(host);
        if mode & keep != 0 && end > st.size {
            self.reserved.store(true, Ordering::Relaxed);
        }
        self.settle_memfd(&mut st);
        r?;
        if mode & keep == 0 {
            st.size = st.size.max(end);
        }
        Ok(())
    }

    fn punch(&self, st: &mut State, offset: u64, end: u64) -> Result<()> {
        // A whole page becomes a hole, which only a memfd has.
        if self.memfd.get().is_none()
            && offset.next_multiple_of(PAGE) + PAGE <= end.min(pages(st.size) * PAGE)
        {
            self.spill(st)?;
        }
        match self.memfd.get() {
            None => {
                let len = st.bytes.len() as u64;
                let (from, to) = (offset.min(len) as usize, end.min(len) as usize);
                st.bytes[from..to].fill(0);
                Ok(())
            }
            Some(fd) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(fd, flags, offset, end - offset).map_err(host)?;
                if offset < st.dense {
                    st.dense = offset;
                    st.sparse = true;
                }
                self.settle_memfd(st);
                Ok(())
            }
        }
    }

    /// `SEEK_DATA` (3) and `SEEK_HOLE` (4).
    pub fn seek(&self, offset: u64, whence: u32) -> Result<u64> {
        let st = self.state.read();
        if offset >= st.size {
            return Err(Errno::ENXIO);
        }
        if let Some(fd) = self.memfd.get() {
            let to = if whence == 3 { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
            return rustix::fs::seek(fd, to).map_err(host);
        }
        let data_end = pages(st.bytes.len() as u64) * PAGE;
        match whence {
            3 if offset < data_end => Ok(offset),
            3 => Err(Errno::ENXIO),
            _ if offset < data_end => Ok(data_end.min(st.size)),
            _ => Ok(offset),
        }
    }

    pub fn seals(&self) -> u32 {
        self.state.read().seals
    }

    /// fcntl(F_ADD_SEALS). The host's own seals tell whether a writable shared mapping is in the way (`EBUSY`).
    pub fn add_seals(&self, seals: u32) -> Result<()> {
        const ALL: u32 = (libc::F_SEAL_SEAL
            | libc::F_SEAL_SHRINK
            | libc::F_SEAL_GROW
            | libc::F_SEAL_WRITE
            | libc::F_SEAL_FUTURE_WRITE) as u32
            | SEAL_EXEC;
        if seals & !ALL != 0 {
            return Err(Errno::EINVAL);
        }
        let mut st = self.state.write();
        if st.seals & libc::F_SEAL_SEAL as u32 != 0 {
            return Err(Errno::EPERM);
        }
        if let Some(fd) = self.memfd.get() {
            let keep = seals & !(libc::F_SEAL_SEAL as u32 | SEAL_EXEC);
            rustix::fs::fcntl_add_seals(fd, SealFlags::from_bits_retain(keep)).map_err(host)?;
        }
        st.seals |= seals;
        Ok(())
    }
}

/// `F_SEAL_EXEC`: the execute bits are fixed.
pub const SEAL_EXEC: u32 = 0x20;

impl Drop for Content {
    fn drop(&mut self) {
        let charged = self.state.get_mut().charged;
        self.quota.settle_pages(charged, 0);
    }
}
