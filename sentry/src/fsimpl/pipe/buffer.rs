//! The bytes in a pipe. Linux keeps them in page-sized buffers, of which a pipe has a fixed number, and programs can
//! see that (when a write no longer fits, what F_SETPIPE_SZ refuses), so the fill of each buffer is kept; the bytes
//! themselves lie in one ring that grows as it is used.

use std::collections::VecDeque;

use linux_abi::Result;

use crate::mm::{Sink, SliceSource, Source};

/// One buffer of a pipe is one page (pipe(7)).
pub const PAGE: usize = 4096;

struct Slot {
    /// Where in its page the first unread byte stands; a page is not filled up from the front again.
    offset: u16,
    len: u16,
    /// Written with `O_DIRECT`: read whole or cut, never joined.
    packet: bool,
    /// Came as a page (splice(2) and the like): nothing is added to it.
    page: bool,
}

pub struct Buffer {
    ring: Vec<u8>,
    head: usize,
    len: usize,
    slots: VecDeque<Slot>,
    /// How many slots there may be.
    max: usize,
}

impl Buffer {
    pub fn new(max: usize) -> Buffer {
        Buffer { ring: Vec::new(), head: 0, len: 0, slots: VecDeque::new(), max }
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }
    pub fn max_slots(&self) -> usize {
        self.max
    }
    /// Changes the number of slots; `false` where more are in use.
    pub fn set_max_slots(&mut self, max: usize) -> bool {
        if self.slots.len() > max {
            return false;
        }
        self.max = max;
        true
    }

    /// Takes in as much as there is room for. What is at most a page goes in whole or not at all (`PIPE_BUF`).
    pub fn fill(&mut self, from: &mut dyn Source, packet: bool) -> Result<usize> {
        let mut done = 0;
        let tail = from.remaining() % PAGE;
        let room =
            self.slots.back().filter(|s| !s.packet && !s.page).map(|s| PAGE - (s.offset + s.len) as usize);
        if tail > 0 && room.is_some_and(|r| tail <= r) {
            let n = self.push_bytes(from, tail)?;
            if let Some(last) = self.slots.back_mut() {
                last.len += n as u16;
            }
            if n < tail {
                return Ok(n);
            }
            done = n;
        }
        while from.remaining() > 0 && !self.is_full() {
            let want = from.remaining().min(PAGE);
            let n = match self.push_bytes(from, want) {
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            if n > 0 {
                self.slots.push_back(Slot { offset: 0, len: n as u16, packet, page: false });
                done += n;
            }
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    pub fn free_slots(&self) -> usize {
        self.max.saturating_sub(self.slots.len())
    }

    /// The first `n` bytes of the slot with this number, and whether it is a packet; they stay.
    pub fn peek(&self, slot: usize, n: usize) -> Option<(Vec<u8>, bool)> {
        let s = self.slots.get(slot)?;
        let before: usize = self.slots.iter().take(slot).map(|s| s.len as usize).sum();
        let n = n.min(s.len as usize);
        let at = wrap(self.head + before, self.ring.len());
        let first = n.min(self.ring.len() - at);
        let mut bytes = self.ring[at..at + first].to_vec();
        bytes.extend_from_slice(&self.ring[..n - first]);
        Some((bytes, s.packet))
    }

    /// Takes out the first `n` bytes of the first slot, and whether it is a packet.
    pub fn take(&mut self, n: usize) -> Option<(Vec<u8>, bool)> {
        let (bytes, packet) = self.peek(0, n)?;
        self.head = wrap(self.head + bytes.len(), self.ring.len());
        self.len -= bytes.len();
        self.forget(bytes.len());
        Some((bytes, packet))
    }

    /// Puts at most a page into a slot of its own; `false` where there is none free.
    pub fn push_page(&mut self, bytes: &[u8], packet: bool) -> Result<bool> {
        if self.is_full() || bytes.len() > PAGE {
            return Ok(false);
        }
        let n = self.push_bytes(&mut SliceSource(bytes), bytes.len())?;
        self.slots.push_back(Slot { offset: 0, len: n as u16, packet, page: true });
        Ok(true)
    }

    /// Gives out as much as is wanted and there, up to the end of a packet; what is left of that packet is lost.
    pub fn drain(&mut self, to: &mut dyn Sink) -> Result<usize> {
        let want = to.remaining();
        let mut n = 0;
        let mut cut = 0;
        for s in &self.slots {
            let k = (s.len as usize).min(want - n);
            n += k;
            if s.packet {
                cut = s.len as usize - k;
                break;
            }
            if n == want {
                break;
            }
        }
        let got = self.pop_bytes(to, n)?;
        // A sink that faulted half-way keeps what it has; the rest stays in the pipe.
        let gone = if got == n { n + cut } else { got };
        self.head = wrap(self.head + (gone - got), self.ring.len());
        self.len -= gone - got;
        self.forget(gone);
        if self.len == 0 && self.ring.len() > 16 * PAGE {
            self.ring = Vec::new();
            self.head = 0;
        }
        Ok(got)
    }

    fn forget(&mut self, mut n: usize) {
        while let Some(s) = self.slots.front_mut() {
            let k = n.min(s.len as usize);
            s.len -= k as u16;
            s.offset += k as u16;
            n -= k;
            if s.len > 0 {
                break;
            }
            self.slots.pop_front();
        }
    }

    fn push_bytes(&mut self, from: &mut dyn Source, n: usize) -> Result<usize> {
        if self.len + n > self.ring.len() {
            self.grow(self.len + n);
        }
        let at = wrap(self.head + self.len, self.ring.len());
        let first = n.min(self.ring.len() - at);
        let mut got = from.take(&mut self.ring[at..at + first])?;
        if got == first && n > first {
            got += from.take(&mut self.ring[..n - first]).unwrap_or(0);
        }
        self.len += got;
        Ok(got)
    }

    fn pop_bytes(&mut self, to: &mut dyn Sink, n: usize) -> Result<usize> {
        if n == 0 {
            return Ok(0);
        }
        let first = n.min(self.ring.len() - self.head);
        let mut got = to.put(&self.ring[self.head..self.head + first])?;
        if got == first && n > first {
            got += to.put(&self.ring[..n - first]).unwrap_or(0);
        }
        self.head = wrap(self.head + got, self.ring.len());
        self.len -= got;
        Ok(got)
    }

    fn grow(&mut self, need: usize) {
        let mut bigger = vec![0; need.next_power_of_two().max(PAGE)];
        let first = self.len.min(self.ring.len() - self.head);
        bigger[..first].copy_from_slice(&self.ring[self.head..self.head + first]);
        bigger[first..self.len].copy_from_slice(&self.ring[..self.len - first]);
        self.ring = bigger;
        self.head = 0;
    }
}

/// `at` in a ring of a power of two (or none yet).
fn wrap(at: usize, size: usize) -> usize {
    if size == 0 {
        0
    } else {
        at & (size - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::VecSink;

    fn put(b: &mut Buffer, n: usize, packet: bool) -> usize {
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        b.fill(&mut SliceSource(&data), packet).unwrap()
    }
    fn get(b: &mut Buffer, n: usize) -> Vec<u8> {
        let mut s = VecSink::new(n);
        b.drain(&mut s).unwrap();
        s.data
    }

    #[test]
    fn holds_sixteen_pages_of_single_bytes() {
        let mut b = Buffer::new(16);
        for _ in 0..65536 {
            assert_eq!(put(&mut b, 1, false), 1);
        }
        assert_eq!(put(&mut b, 1, false), 0);
        assert_eq!(get(&mut b, 65536).len(), 65536);
        assert!(b.is_empty());
    }

    #[test]
    fn odd_writes_leave_gaps_as_on_linux() {
        let mut b = Buffer::new(16);
        let mut sum = 0;
        while put(&mut b, 4095, false) == 4095 {
            sum += 4095;
        }
        assert_eq!(sum, 16 * 4095);
    }

    #[test]
    fn packets_are_cut_and_order_is_kept() {
        let mut b = Buffer::new(16);
        put(&mut b, 10, true);
        put(&mut b, 3, true);
        assert_eq!(get(&mut b, 4), [0, 1, 2, 3]);
        assert_eq!(get(&mut b, 100), [0, 1, 2]);
        assert!(b.is_empty());
        assert_eq!(b.len(), 0);
    }

    #[test]
    fn wraps_and_grows() {
        let mut b = Buffer::new(16);
        let mut next = 0u8;
        let mut expect = 0u8;
        for round in 0..2000usize {
            let data: Vec<u8> = (0..round % 37)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            assert_eq!(b.fill(&mut SliceSource(&data), false).unwrap(), data.len());
            for x in get(&mut b, round % 41) {
                expect = expect.wrapping_add(1);
                assert_eq!(x, expect);
            }
        }
    }
}
