//! The parts of fallocate(2) that move or clear bytes: `ZERO_RANGE`, `COLLAPSE_RANGE`, `INSERT_RANGE`. A memfd has none of
//! them, so bytes are copied; holes stay holes.

use std::os::fd::{AsFd, BorrowedFd};

use linux_abi::{Errno, Result};
use rustix::fs::{FallocateFlags, SeekFrom};

use super::{host, pages, Content, State, MAX_SIZE, PAGE};

const KEEP_SIZE: u32 = libc::FALLOC_FL_KEEP_SIZE as u32;
const COLLAPSE: u32 = libc::FALLOC_FL_COLLAPSE_RANGE as u32;
const ZERO: u32 = libc::FALLOC_FL_ZERO_RANGE as u32;
const INSERT: u32 = libc::FALLOC_FL_INSERT_RANGE as u32;
/// How much is copied at a time.
const CHUNK: u64 = 256 << 10;

pub(super) fn allocate(c: &Content, mode: u32, offset: u64, len: u64) -> Result<()> {
    let end = offset.checked_add(len).filter(|e| *e <= MAX_SIZE).ok_or(Errno::EFBIG)?;
    let mut st = c.state.write();
    let (seals, size) = (st.seals, st.size);
    let sealed = |which: i32| seals & which as u32 != 0;
    if sealed(libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) {
        return Err(Errno::EPERM);
    }
    let aligned = offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
    match mode {
        ZERO => {
            if end > size && sealed(libc::F_SEAL_GROW) {
                return Err(Errno::EPERM);
            }
            clear(c, &mut st, offset, end.min(size))?;
            drop(st);
            if end > c.size() {
                c.truncate(end)?;
            }
            Ok(())
        }
        m if m == ZERO | KEEP_SIZE => clear(c, &mut st, offset, end.min(size)),
        COLLAPSE if !aligned || end >= size => Err(Errno::EINVAL),
        COLLAPSE if sealed(libc::F_SEAL_SHRINK) => Err(Errno::EPERM),
        COLLAPSE => collapse(c, &mut st, offset, len),
        INSERT if !aligned || offset >= size => Err(Errno::EINVAL),
        INSERT if size.checked_add(len).is_none_or(|s| s > MAX_SIZE) => Err(Errno::EFBIG),
        INSERT if sealed(libc::F_SEAL_GROW) => Err(Errno::EPERM),
        INSERT => insert(c, &mut st, offset, len),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn clear(c: &Content, st: &mut State, offset: u64, end: u64) -> Result<()> {
    if offset < end {
        c.punch(st, offset, end)?;
    }
    Ok(())
}

/// The stretches of a memfd that hold data, from `offset` on.
fn data(fd: BorrowedFd<'_>, offset: u64) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let mut at = offset;
    while let Ok(from) = rustix::fs::seek(fd, SeekFrom::Data(at)) {
        let Ok(to) = rustix::fs::seek(fd, SeekFrom::Hole(from)) else { break };
        if to <= from {
            break;
        }
        all.push((from, to));
        at = to;
    }
    all
}

fn copy(fd: BorrowedFd<'_>, from: u64, to: u64, len: u64) -> Result<()> {
    let mut buf = vec![0; len as usize];
    let mut done = 0;
    while done < buf.len() {
        match rustix::io::pread(fd, &mut buf[done..], from + done as u64).map_err(host)? {
            0 => break,
            n => done += n,
        }
    }
    let mut put = 0;
    while put < done {
        match rustix::io::pwrite(fd, &buf[put..done], to + put as u64).map_err(host)? {
            0 => return Err(Errno::EIO),
            n => put += n,
        }
    }
    Ok(())
}

fn hole(fd: BorrowedFd<'_>, from: u64, to: u64) -> Result<()> {
    if from < to {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(fd, flags, from, to - from).map_err(host)?;
    }
    Ok(())
}

/// Takes a range out; what lies behind it comes down.
fn collapse(c: &Content, st: &mut State, offset: u64, len: u64) -> Result<()> {
    c.spill(st)?;
    let fd = c.memfd.get().ok_or(Errno::EIO)?.as_fd();
    let size = st.size;
    // Upwards: what is overwritten has been copied, or lies in the range.
    let mut below = offset;
    for (from, to) in data(fd, offset + len) {
        hole(fd, below, from - len)?;
        let mut at = from;
        while at < to {
            let n = CHUNK.min(to - at);
            copy(fd, at, at - len, n)?;
            at += n;
        }
        below = to - len;
    }
    hole(fd, below, size - len)?;
    rustix::fs::ftruncate(fd, size - len).map_err(host)?;
    settle(c, st, offset, size - len);
    Ok(())
}

/// Makes room for a range; what lies behind `offset` goes up.
fn insert(c: &Content, st: &mut State, offset: u64, len: u64) -> Result<()> {
    c.spill(st)?;
    let fd = c.memfd.get().ok_or(Errno::EIO)?.as_fd();
    let stretches = data(fd, offset);
    // While it is copied it takes room twice, at most.
    let more: u64 = stretches.iter().map(|(from, to)| pages(to - from)).sum();
    if !c.quota.take_pages(more) {
        return Err(Errno::ENOSPC);
    }
    st.charged += more;
    let size = st.size + len;
    let moved = rustix::fs::ftruncate(fd, size).map_err(host).and_then(|()| {
        // Downwards: what is overwritten has been copied.
        let mut above = size;
        for (from, to) in stretches.iter().rev() {
            let mut at = *to;
            while at > *from {
                let n = CHUNK.min(at - from);
                at -= n;
                copy(fd, at, at + len, n)?;
            }
            hole(fd, to + len, above)?;
            above = from + len;
        }
        hole(fd, offset, above)
    });
    settle(c, st, offset, size);
    moved
}

fn settle(c: &Content, st: &mut State, offset: u64, size: u64) {
    st.size = size;
    st.dense = st.dense.min(offset);
    st.sparse = true;
    c.settle_memfd(st);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Counted, Quota, Store};
    use super::*;
    use crate::mm::{SliceSource, VecSink};

    fn file(pattern: &[u8]) -> Content {
        let c = Content::new(Arc::new(Quota::new(1 << 20, 10, Counted::AsMemory)), 0, Store::Memory);
        for (i, b) in pattern.iter().enumerate() {
            if *b != b'.' {
                c.write_at(i as u64 * PAGE, &mut SliceSource(&[*b; PAGE as usize])).unwrap();
            }
        }
        c.truncate(pattern.len() as u64 * PAGE).unwrap();
        c
    }

    fn picture(c: &Content) -> String {
        let mut s = VecSink::new(c.size() as usize);
        c.read_at(0, &mut s).unwrap();
        s.data.chunks(PAGE as usize).map(|p| if p[0] == 0 { '.' } else { p[0] as char }).collect()
    }

    #[test]
    fn ranges_move_with_their_holes() {
        for pattern in ["abcdefgh", "a..d.f..", "..c....h", "a......."] {
            for at in 0..7u64 {
                for n in 1..(7 - at) {
                    let c = file(pattern.as_bytes());
                    allocate(&c, COLLAPSE, at * PAGE, n * PAGE).unwrap();
                    let mut want = pattern.to_owned();
                    want.replace_range(at as usize..(at + n) as usize, "");
                    assert_eq!(picture(&c), want, "collapse {pattern} {at} {n}");
                    let c = file(pattern.as_bytes());
                    allocate(&c, INSERT, at * PAGE, n * PAGE).unwrap();
                    let mut want = pattern.to_owned();
                    want.insert_str(at as usize, &".".repeat(n as usize));
                    assert_eq!(picture(&c), want, "insert {pattern} {at} {n}");
                    // What was small lay in one piece, its holes included, before it went into a file.
                    let data = want.bytes().filter(|b| *b != b'.').count() as u64;
                    assert!((data..=want.len() as u64).contains(&c.pages()));
                    assert_eq!(c.pages(), c.state.read().charged);
                }
            }
        }
    }
}
