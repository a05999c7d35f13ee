//! Guest memory as handlers see it: typed pointers that are allegations until read, and byte sinks and sources that a
//! file reads into and writes from without knowing whose memory it is.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use linux_abi::{Errno, Result};
pub use platform::Mem;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The address of a `T` in guest memory, as the guest claims. Each `read` is one snapshot.
pub struct UserPtr<T> {
    addr: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> UserPtr<T> {
    pub fn new(addr: u64) -> UserPtr<T> {
        UserPtr { addr, of: PhantomData }
    }
    pub fn addr(self) -> u64 {
        self.addr
    }
    pub fn is_null(self) -> bool {
        self.addr == 0
    }
    /// The pointer to element `i` of an array that starts here.
    pub fn nth(self, i: usize) -> UserPtr<T> {
        UserPtr::new(self.addr.wrapping_add((i as u64).wrapping_mul(size_of::<T>() as u64)))
    }
}

impl<T: FromBytes + IntoBytes + Immutable> UserPtr<T> {
    /// Copies the value in, or `EFAULT`.
    pub fn read(self, mem: &Mem<'_>) -> Result<T> {
        let mut v = T::new_zeroed();
        mem.read(self.addr, v.as_mut_bytes())?;
        Ok(v)
    }
    /// Copies the value in unless the pointer is null.
    pub fn read_opt(self, mem: &Mem<'_>) -> Result<Option<T>> {
        if self.is_null() {
            Ok(None)
        } else {
            self.read(mem).map(Some)
        }
    }
    /// Copies the value out, or `EFAULT`.
    pub fn write(self, mem: &Mem<'_>, v: &T) -> Result<()> {
        mem.write(self.addr, v.as_bytes())
    }
    /// Copies the value out unless the pointer is null.
    pub fn write_opt(self, mem: &Mem<'_>, v: &T) -> Result<()> {
        if self.is_null() {
            Ok(())
        } else {
            self.write(mem, v)
        }
    }
}

/// Where the bytes of a read go.
pub trait Sink {
    /// How many more bytes are wanted.
    fn remaining(&self) -> usize;
    /// Takes up to `remaining` bytes of `data`; returns how many. `EFAULT` only where not one byte could go.
    fn put(&mut self, data: &[u8]) -> Result<usize>;
    /// Reads from a host descriptor (at an offset, or at its own position) with one host call where possible.
    fn put_from_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, nowait: bool) -> Result<usize>;
    /// Takes `n` zero bytes (at most `remaining`).
    fn put_zeros(&mut self, n: usize) -> Result<usize> {
        let zeros = [0u8; 4096];
        let mut done = 0;
        while done < n && self.remaining() > 0 {
            let k = self.put(&zeros[..(n - done).min(zeros.len())])?;
            if k == 0 {
                break;
            }
            done += k;
        }
        Ok(done)
    }
}

/// Where the bytes of a write come from.
pub trait Source {
    /// How many bytes are left.
    fn remaining(&self) -> usize;
    /// Fills `buf` with up to its length; returns how many. `EFAULT` only where not one byte came.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// Writes to a host descriptor with one host call where possible.
    fn take_to_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, nowait: bool) -> Result<usize>;
}

/// A list of guest ranges (one for read(2), many for readv(2)), as sink or source.
pub struct UserBuf<'a, 'm> {
    mem: &'a Mem<'m>,
    segs: Vec<(u64, usize)>,
    left: usize,
}

impl<'a, 'm> UserBuf<'a, 'm> {
    /// One range. A length over `MAX_RW_COUNT` is cut, as Linux does (read(2)).
    pub fn one(mem: &'a Mem<'m>, addr: u64, len: usize) -> UserBuf<'a, 'm> {
        let len = len.min(0x7fff_f000);
        UserBuf { mem, segs: vec![(addr, len)], left: len }
    }
    /// Several ranges in order.
    pub fn many(mem: &'a Mem<'m>, mut segs: Vec<(u64, usize)>) -> UserBuf<'a, 'm> {
        segs.reverse();
        let left = segs.iter().map(|s| s.1).sum();
        UserBuf { mem, segs, left }
    }

    fn step(&mut self, mut run: impl FnMut(&Mem<'m>, u64, usize) -> Result<usize>) -> Result<usize> {
        let mut done = 0;
        while let Some(&(addr, len)) = self.segs.last() {
            if len == 0 {
                self.segs.pop();
                continue;
            }
            let n = match run(self.mem, addr, len) {
                Ok(n) => n.min(len),
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            done += n;
            self.left -= n;
            if let Some(last) = self.segs.last_mut() {
                *last = (addr.wrapping_add(n as u64), len - n);
            }
            if n < len {
                break;
            }
        }
        Ok(done)
    }
}

impl Sink for UserBuf<'_, '_> {
    fn remaining(&self) -> usize {
        self.left
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let mut from = data;
        self.step(|mem, addr, len| {
            let n = len.min(from.len());
            if n > 0 {
                mem.write(addr, &from[..n])?;
                from = &from[n..];
            }
            Ok(n)
        })
    }
    fn put_from_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, nowait: bool) -> Result<usize> {
        let mut at = offset;
        self.step(|mem, addr, len| {
            let n = mem.read_from_fd(fd, at, addr, len, nowait)?;
            at = at.map(|o| o + n as u64);
            Ok(n)
        })
    }
}

impl Source for UserBuf<'_, '_> {
    fn remaining(&self) -> usize {
        self.left
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        self.step(|mem, addr, len| {
            let n = len.min(buf.len() - filled);
            if n > 0 {
                mem.read(addr, &mut buf[filled..filled + n])?;
                filled += n;
            }
            Ok(n)
        })
    }
    fn take_to_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, nowait: bool) -> Result<usize> {
        let mut at = offset;
        self.step(|mem, addr, len| {
            let n = mem.write_to_fd(fd, at, addr, len, nowait)?;
            at = at.map(|o| o + n as u64);
            Ok(n)
        })
    }
}

/// A sink in the sentry's own memory, for the loader, splices and copies.
pub struct VecSink {
    pub data: Vec<u8>,
    cap: usize,
}

impl VecSink {
    pub fn new(cap: usize) -> VecSink {
        VecSink { data: Vec::new(), cap }
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.cap - self.data.len()
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.data.extend_from_slice(&data[..n]);
        Ok(n)
    }
    fn put_from_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, _nowait: bool) -> Result<usize> {
        let start = self.data.len();
        self.data.resize(self.cap, 0);
        let mut done = start;
        let r = loop {
            let buf = &mut self.data[done..];
            if buf.is_empty() {
                break Ok(());
            }
            let r = match offset {
                Some(o) => rustix::io::pread(fd, buf, o + (done - start) as u64),
                None => rustix::io::read(fd, buf),
            };
            match r {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    done += n;
                    if offset.is_none() {
                        break Ok(());
                    }
                }
                Err(e) if done == start => break Err(Errno(e.raw_os_error())),
                Err(_) => break Ok(()),
            }
        };
        self.data.truncate(done);
        r.map(|()| done - start)
    }
}

/// A source in the sentry's own memory.
pub struct SliceSource<'a>(pub &'a [u8]);

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
    fn take_to_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, _nowait: bool) -> Result<usize> {
        let r = match offset {
            Some(o) => rustix::io::pwrite(fd, self.0, o),
            None => rustix::io::write(fd, self.0),
        };
        let n = r.map_err(|e| Errno(e.raw_os_error()))?;
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// A guest range in which there is nothing: it wants or has bytes, and each try is `EFAULT`.
pub struct Nowhere(pub usize);

impl Sink for Nowhere {
    fn remaining(&self) -> usize {
        self.0
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            Ok(0)
        } else {
            Err(Errno::EFAULT)
        }
    }
    fn put_from_fd(&mut self, fd: BorrowedFd<'_>, offset: Option<u64>, _nowait: bool) -> Result<usize> {
        // At the end of a file there is nothing to copy and so no fault.
        let mut probe = [0];
        match offset.map(|o| rustix::io::pread(fd, &mut probe, o)) {
            Some(Ok(0)) => Ok(0),
            _ => Err(Errno::EFAULT),
        }
    }
}

impl Source for Nowhere {
    fn remaining(&self) -> usize {
        self.0
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            Ok(0)
        } else {
            Err(Errno::EFAULT)
        }
    }
    fn take_to_fd(&mut self, _fd: BorrowedFd<'_>, _offset: Option<u64>, _nowait: bool) -> Result<usize> {
        Err(Errno::EFAULT)
    }
}

/// Whether a range touches what the platform keeps in each address space: for the guest there is nothing there.
pub fn is_reserved(addr: u64, len: usize) -> bool {
    addr < platform::STUB_RANGE.end && addr.saturating_add(len as u64) > platform::STUB_RANGE.start
}
