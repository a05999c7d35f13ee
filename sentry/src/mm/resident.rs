//! Which pages are there: mincore(2), the sizes in `/proc/PID/{statm,status,smaps}`. What of private memory there is only
//! the host knows, and is asked; what there is of our own files, their holes tell.

use linux_abi::{Errno, Result};
use platform::Page;
use rustix::fs::SeekFrom;

use super::space::AddressSpace;
use super::vma::{Backing, Vma, PAGE, PROT_NONE};

/// How many pages are looked at, over all mappings, for a process's size: beyond, every n-th stands for its
/// neighbours.
const SAMPLES: u64 = 4096;
/// The same for `smaps`, where each mapping is looked at by itself.
const SMAPS_SAMPLES: u64 = 1 << 20;
/// Addresses of one question to the host.
const BATCH: usize = 4096;

/// Sizes of one mapping, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rss {
    pub all: u64,
    /// Private memory that belongs to no file.
    pub anonymous: u64,
    /// Shared memory, and files that are memory of ours.
    pub memory: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Anonymous,
    Memory,
    File,
}

impl Kind {
    fn of(v: &Vma) -> Kind {
        match &v.file {
            None => Kind::Anonymous,
            Some(f) if f.map.in_memory() => Kind::Memory,
            Some(_) => Kind::File,
        }
    }
}

impl AddressSpace {
    /// One byte a page, as mincore(2) has it; `ENOMEM` over a hole.
    pub fn resident(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        let parts: Vec<Vma> = self.with_table(|t| {
            t.is_covered(start, end)
                .then(|| t.overlapping(start, end).cloned().collect())
                .ok_or(Errno::ENOMEM)
        })?;
        let mut bytes = Vec::with_capacity(((end - start) / PAGE) as usize);
        for v in parts {
            let (from, to) = (v.start.max(start), v.end.min(end));
            let addrs: Vec<u64> = (from..to).step_by(PAGE as usize).collect();
            let mapped = match &v.file {
                // Whether the host has cached a file of its own is no guest's business: as for who may not write it.
                Some(f) if !f.map.in_memory() => vec![1; addrs.len()],
                Some(f) if v.shared() => vec![0; addrs.len()],
                _ => match self.space.pages(&addrs) {
                    Some(pages) => pages.iter().map(|p| u8::from(*p != Page::Absent)).collect(),
                    None => vec![1; addrs.len()],
                },
            };
            let at = bytes.len();
            bytes.extend(mapped);
            if let Some(f) = v.file.as_ref().filter(|f| f.map.in_memory()) {
                mark_data(f, f.offset + (from - v.start), &mut bytes[at..])?;
            }
        }
        Ok(bytes)
    }

    /// How many pages are there, about: a large process is sampled.
    pub fn rss(&self) -> Rss {
        let parts: Vec<(u64, u64, Kind)> = self.with_table(|t| {
            t.iter().filter(|v| v.prot != PROT_NONE).map(|v| (v.start, v.end, Kind::of(v))).collect()
        });
        let total: u64 = parts.iter().map(|p| (p.1 - p.0) / PAGE).sum();
        let step = total.div_ceil(SAMPLES).max(1);
        // The last sample of a mapping stands for fewer pages.
        let weight = |at: u64, end: u64| ((end - at) / PAGE).min(step);
        let samples: Vec<(u64, u64, Kind)> = parts
            .iter()
            .flat_map(|p| (p.0..p.1).step_by((step * PAGE) as usize).map(|at| (at, weight(at, p.1), p.2)))
            .collect();
        let addrs: Vec<u64> = samples.iter().map(|s| s.0).collect();
        let there = self.present(&addrs);
        let mut rss = Rss::default();
        for (_, (_, pages, kind)) in there.iter().zip(&samples).filter(|(there, _)| **there) {
            rss.all += pages;
            match kind {
                Kind::Anonymous => rss.anonymous += pages,
                Kind::Memory => rss.memory += pages,
                Kind::File => {}
            }
        }
        rss
    }

    /// The sizes of each of these mappings.
    pub fn sizes(&self, parts: &[Vma]) -> Vec<Rss> {
        let total: u64 = parts.iter().map(|v| v.len() / PAGE).sum();
        let step = total.div_ceil(SMAPS_SAMPLES).max(1);
        parts
            .iter()
            .map(|v| {
                let addrs: Vec<u64> = (v.start..v.end).step_by((step * PAGE) as usize).collect();
                let there = self.present(&addrs).iter().filter(|there| **there).count() as u64;
                let all = (there * step).min(v.len() / PAGE);
                Rss { all, anonymous: if v.file.is_none() { all } else { 0 }, memory: 0 }
            })
            .collect()
    }

    fn present(&self, addrs: &[u64]) -> Vec<bool> {
        let mut there = Vec::with_capacity(addrs.len());
        for batch in addrs.chunks(BATCH) {
            match self.space.pages(batch) {
                Some(pages) => there.extend(pages.iter().map(|p| *p == Page::Present)),
                None => there.resize(there.len() + batch.len(), false),
            }
        }
        there
    }
}

/// Marks the pages, from `offset` on, that a file of ours has.
fn mark_data(file: &Backing, offset: u64, bytes: &mut [u8]) -> Result<()> {
    let fd = file.map.descriptor(false, false)?;
    let end = offset + bytes.len() as u64 * PAGE;
    let mut at = offset;
    while at < end {
        let Ok(data) = rustix::fs::seek(&*fd, SeekFrom::Data(at)) else { break };
        let hole = rustix::fs::seek(&*fd, SeekFrom::Hole(data)).unwrap_or(end);
        let (from, to) = (data.clamp(offset, end) - offset, hole.clamp(offset, end) - offset);
        if let Some(some) = bytes.get_mut((from / PAGE) as usize..to.div_ceil(PAGE) as usize) {
            some.fill(1);
        }
        at = hole.max(at + PAGE);
    }
    Ok(())
}
