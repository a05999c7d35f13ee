//! Guest memory as the handler of one call sees it: what the stub marshalled, pending outputs, and the rest through
//! process_vm_readv(2) and process_vm_writev(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use linux_abi::{Errno, Result};

use crate::slot::{DATA_LEN, MAX_RECORDS, OUT_END, RECORD_HEADER};
use crate::{Page, Regs, Thread, STUB_RANGE};

/// One host call moves at most this much through the sentry's own buffer.
const CHUNK: usize = 256 * 1024;
/// A stream is read and written with one host call, of at most this much.
const STREAM_MAX: usize = 1024 * 1024;
/// Guest addresses end here; also keeps `addr + len` from wrapping.
const ADDRESS_END: u64 = 1 << 47;

/// A piece of guest memory that the stub copied into the slot.
struct Record {
    addr: u64,
    len: usize,
    /// Where its bytes lie in the data area.
    at: usize,
}

/// What one event brought along and what its reply will carry: the sentry's own book on the data area.
#[derive(Default)]
pub(crate) struct Io {
    records: Vec<Record>,
    /// Outputs lie from `out_start` to `out_end`.
    pub(crate) out_start: usize,
    pub(crate) out_end: usize,
    pub(crate) regs: Option<Regs>,
}

impl Io {
    /// Takes the records of a new event from the slot: each header is read once, then checked.
    pub(crate) fn reset(&mut self, data: *const u8, in_len: usize, in_count: usize) {
        self.records.clear();
        self.regs = None;
        let in_len = in_len.min(OUT_END) & !7;
        let mut at = 0;
        for _ in 0..in_count.min(MAX_RECORDS) {
            if at + RECORD_HEADER > in_len {
                break;
            }
            // SAFETY: inside the data area (checked), 8-aligned; volatile, since the guest may write it meanwhile.
            let (addr, len) = unsafe {
                let header = data.add(at).cast::<u64>();
                (header.read_volatile(), header.add(1).read_volatile())
            };
            at += RECORD_HEADER;
            if len > (in_len - at) as u64 || addr >= ADDRESS_END {
                break;
            }
            let len = len as usize;
            // A record that is not the guest's memory is none: who asks for it meets EFAULT below.
            if in_range(addr, len) {
                self.records.push(Record { addr, len, at });
            }
            at += len.next_multiple_of(8);
        }
        self.out_start = in_len;
        self.out_end = in_len;
    }

    /// Where `[addr, addr + len)` lies in the data area, if the stub copied all of it.
    fn find(&self, addr: u64, len: usize) -> Option<usize> {
        self.records.iter().find_map(|r| {
            let off = addr.checked_sub(r.addr)?;
            (off <= r.len as u64 && len <= r.len - off as usize).then(|| r.at + off as usize)
        })
    }

    /// How many bytes of `addr` on the stub copied, and where they lie.
    fn find_from(&self, addr: u64) -> Option<(usize, usize)> {
        self.records.iter().find_map(|r| {
            let off = addr.checked_sub(r.addr)?;
            (off < r.len as u64).then(|| (r.at + off as usize, r.len - off as usize))
        })
    }

    /// Room for an output of `len` bytes: where its bytes go.
    fn room(&self, len: usize) -> Option<usize> {
        let at = self.out_end + RECORD_HEADER;
        (len <= DATA_LEN && at + len.next_multiple_of(8) <= OUT_END).then_some(at)
    }

    /// Writes the header of an output whose bytes are in place.
    fn finish(&mut self, data: *mut u8, addr: u64, len: usize) {
        // SAFETY: `room` said that it fits; 8-aligned, since all lengths are rounded up.
        unsafe {
            let header = data.add(self.out_end).cast::<u64>();
            header.write_volatile(addr);
            header.add(1).write_volatile(len as u64);
        }
        self.out_end += RECORD_HEADER + len.next_multiple_of(8);
    }
}

/// Guest memory as seen by the handler of one call. Reads of what the stub marshalled come from the slot's
/// snapshot; everything else goes through `process_vm_readv`. Writes are collected and reach the guest with the
/// reply (or go at once where they are large); a read does not see a write that is still pending.
pub struct Mem<'a> {
    pub(crate) thread: &'a Thread,
}

impl Mem<'_> {
    fn data(&self) -> *mut u8 {
        self.thread.space().slots.data(self.thread.index())
    }

    /// Fills `buf` whole or fails with `EFAULT`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let io = self.thread.io();
        if let Some(at) = io.find(addr, buf.len()) {
            // SAFETY: `find` gives only places whose bytes lie inside the data area.
            unsafe { std::ptr::copy_nonoverlapping(self.data().add(at), buf.as_mut_ptr(), buf.len()) };
            return Ok(());
        }
        drop(io);
        if vm_read(self.thread.tid(), addr, buf) == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL (`ENAMETOOLONG` past it), without the NUL.
    pub fn read_cstr(&self, addr: u64, max: usize) -> Result<Vec<u8>> {
        let io = self.thread.io();
        if let Some((at, len)) = io.find_from(addr) {
            let mut bytes = vec![0; len.min(max)];
            // SAFETY: `find_from` gives only places inside the data area.
            unsafe { std::ptr::copy_nonoverlapping(self.data().add(at), bytes.as_mut_ptr(), bytes.len()) };
            if let Some(end) = bytes.iter().position(|&b| b == 0) {
                bytes.truncate(end);
                return Ok(bytes);
            }
            if bytes.len() == max {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        drop(io);
        let mut bytes = Vec::new();
        while bytes.len() < max {
            let at = addr.checked_add(bytes.len() as u64).ok_or(Errno::EFAULT)?;
            // To the end of a page at a time: the next may not be there.
            let want = (4096 - (at & 4095) as usize).min(max - bytes.len());
            let start = bytes.len();
            bytes.resize(start + want, 0);
            let got = vm_read(self.thread.tid(), at, &mut bytes[start..]);
            bytes.truncate(start + got);
            if let Some(end) = bytes[start..].iter().position(|&b| b == 0) {
                bytes.truncate(start + end);
                return Ok(bytes);
            }
            if got < want {
                return Err(Errno::EFAULT);
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Writes all or fails with `EFAULT`.
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !in_range(addr, bytes.len()) {
            return Err(Errno::EFAULT);
        }
        let mut io = self.thread.io();
        if let Some(at) = io.room(bytes.len()) {
            // SAFETY: `room` gives only places inside the data area.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data().add(at), bytes.len()) };
            io.finish(self.data(), addr, bytes.len());
            return Ok(());
        }
        drop(io);
        if vm_write(self.thread.tid(), addr, bytes) == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Reads from a host descriptor straight into guest memory, at a file offset or (None) the current position.
    /// One host call for at most what fits; short counts as read(2) has them. `nowait`: `RWF_NOWAIT`.
    pub fn read_from_fd(
        &self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        addr: u64,
        len: usize,
        nowait: bool,
    ) -> Result<usize> {
        if !in_range(addr, len) {
            return Err(Errno::EFAULT);
        }
        let mut io = self.thread.io();
        if let Some(at) = io.room(len) {
            // SAFETY: `room` gives only places inside the data area; the guest may write there meanwhile, which
            // changes nothing but its own data.
            let n = unsafe { preadv(fd, self.data().add(at), len, offset, nowait)? };
            if n > 0 {
                io.finish(self.data(), addr, n);
            }
            return Ok(n);
        }
        drop(io);
        let mut buf = vec![0u8; len.min(if offset.is_some() { CHUNK } else { STREAM_MAX })];
        let mut done = 0;
        while done < len {
            let want = buf.len().min(len - done);
            let at = offset.map(|o| o + done as u64);
            // SAFETY: the buffer has `want` bytes.
            let n = match unsafe { preadv(fd, buf.as_mut_ptr(), want, at, nowait) } {
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            let stored = vm_write(self.thread.tid(), addr + done as u64, &buf[..n]);
            done += stored;
            if stored < n {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
            if n < want || offset.is_none() {
                break;
            }
        }
        Ok(done)
    }

    /// Writes guest memory straight to a host descriptor; as [`Mem::read_from_fd`].
    pub fn write_to_fd(
        &self,
        fd: BorrowedFd<'_>,
        offset: Option<u64>,
        addr: u64,
        len: usize,
        nowait: bool,
    ) -> Result<usize> {
        if !in_range(addr, len) {
            return Err(Errno::EFAULT);
        }
        let io = self.thread.io();
        if let Some(at) = io.find(addr, len) {
            // SAFETY: `find` gives only places inside the data area; a guest that writes there meanwhile changes
            // nothing but its own data.
            return unsafe { pwritev(fd, self.data().add(at), len, offset, nowait) };
        }
        drop(io);
        let mut buf = vec![0u8; len.min(if offset.is_some() { CHUNK } else { STREAM_MAX })];
        let mut done = 0;
        loop {
            let want = buf.len().min(len - done);
            let got = vm_read(self.thread.tid(), addr + done as u64, &mut buf[..want]);
            if got == 0 && want > 0 {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
            let at = offset.map(|o| o + done as u64);
            // SAFETY: the buffer has `got` bytes.
            let n = match unsafe { pwritev(fd, buf.as_ptr(), got, at, nowait) } {
                Ok(n) => n,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            };
            done += n;
            if n < want || offset.is_none() || done == len {
                return Ok(done);
            }
        }
    }
}

/// Whether all of it can be the guest's: below the end, and clear of the platform's own range, in which text, tables
/// and slots of the stub lie for whoever asks the host, but nothing for a call of the guest.
fn in_range(addr: u64, len: usize) -> bool {
    if len as u64 > ADDRESS_END || addr > ADDRESS_END - len as u64 {
        return false;
    }
    addr >= STUB_RANGE.end || addr + len as u64 <= STUB_RANGE.start
}

/// # Safety
/// `buf` is writable for `len` bytes.
unsafe fn preadv(
    fd: BorrowedFd<'_>,
    buf: *mut u8,
    len: usize,
    at: Option<u64>,
    nowait: bool,
) -> Result<usize> {
    let iov = libc::iovec { iov_base: buf.cast(), iov_len: len };
    // SAFETY: the caller's promise; an offset of -1 is the current position (preadv2(2)).
    result(unsafe { libc::preadv2(fd.as_raw_fd(), &raw const iov, 1, position(at)?, flags(nowait)) })
}

/// # Safety
/// `buf` is readable for `len` bytes.
unsafe fn pwritev(
    fd: BorrowedFd<'_>,
    buf: *const u8,
    len: usize,
    at: Option<u64>,
    nowait: bool,
) -> Result<usize> {
    let iov = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
    // SAFETY: the caller's promise; the kernel only reads through the pointer.
    result(unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const iov, 1, position(at)?, flags(nowait)) })
}

fn position(at: Option<u64>) -> Result<i64> {
    match at {
        None => Ok(-1),
        Some(at) => i64::try_from(at).map_err(|_| Errno::EINVAL),
    }
}

fn flags(nowait: bool) -> i32 {
    if nowait {
        libc::RWF_NOWAIT
    } else {
        0
    }
}

fn result(n: isize) -> Result<usize> {
    usize::try_from(n).map_err(|_| Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
}

/// Reads another process's memory; how many bytes came.
pub(crate) fn vm_read(tid: i32, addr: u64, buf: &mut [u8]) -> usize {
    if !in_range(addr, buf.len()) {
        return 0;
    }
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: buf.len() };
    // SAFETY: the local buffer is ours; the remote one is checked by the host.
    let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0).min(buf.len())
}

/// Reads what the stub keeps in the platform's own range; the caller has checked the place.
pub(crate) fn vm_read_own(tid: i32, addr: u64, buf: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: buf.len() };
    // SAFETY: the local buffer is ours; the remote one is checked by the host.
    let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0).min(buf.len())
}

/// Writes what the stub keeps in the platform's own range; the caller has checked the place.
pub(crate) fn vm_write_own(tid: i32, addr: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: bytes.len() };
    // SAFETY: the local buffer is only read; the remote one is checked by the host.
    let n = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).is_ok_and(|n| n == bytes.len())
}

/// Writes another process's memory, where it is writable; how many bytes went.
pub(crate) fn vm_write(tid: i32, addr: u64, bytes: &[u8]) -> usize {
    if !in_range(addr, bytes.len()) {
        return 0;
    }
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: bytes.len() };
    // SAFETY: the local buffer is only read; the remote one is checked by the host.
    let n = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0).min(bytes.len())
}

/// Asks where pages of another process are (move_pages(2) without a place to move them to, which changes nothing).
pub(crate) fn pages(tid: i32, addrs: &[u64]) -> Option<Vec<Page>> {
    if !addrs.iter().all(|&addr| in_range(addr, 1)) {
        return None;
    }
    let mut status = vec![0i32; addrs.len()];
    // SAFETY: the host reads as many addresses as there are, writes as many numbers, and touches nothing else of ours.
    let done = unsafe {
        let (nodes, flags) = (std::ptr::null::<i32>(), 0);
        libc::syscall(
            libc::SYS_move_pages,
            tid,
            addrs.len(),
            addrs.as_ptr(),
            nodes,
            status.as_mut_ptr(),
            flags,
        )
    };
    let page = |status: &i32| match *status {
        0.. => Page::Present,
        s if s == -libc::EFAULT => Page::Zero,
        _ => Page::Absent,
    };
    (done == 0).then(|| status.iter().map(page).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_own_range_is_no_guest_memory() {
        assert!(in_range(0x1000, 4096) && in_range(ADDRESS_END - 1, 1) && in_range(STUB_RANGE.end, 1));
        assert!(in_range(STUB_RANGE.start - 1, 1));
        assert!(!in_range(STUB_RANGE.start, 1) && !in_range(STUB_RANGE.start - 1, 2));
        assert!(!in_range(STUB_RANGE.end - 1, 1) && !in_range(ADDRESS_END, 1) && !in_range(u64::MAX, 2));
        assert!(!in_range(0x1000, STUB_RANGE.start as usize));
    }

    #[test]
    fn records_of_the_platforms_own_range_are_dropped() {
        let mut data = [0u64; 8];
        (data[0], data[1], data[3], data[4]) = (STUB_RANGE.start, 8, 0x5000, 8);
        let mut io = Io::default();
        io.reset(data.as_ptr().cast(), 48, 2);
        assert_eq!(io.find(STUB_RANGE.start, 8), None);
        assert_eq!(io.find(0x5000, 8), Some(40));
    }
}
