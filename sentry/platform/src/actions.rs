//! `Reply::Act`: the list is handed to the stub in batches that fit its data area, large `Store`s in pieces.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::Errno;

use crate::slot::{
    ACTION_WORDS, DO_CAS, DO_MADVISE, DO_MMAP, DO_MMAP_MORE, DO_MPROTECT, DO_MREMAP, DO_MUNMAP,
    DO_OWNER_DIED, DO_STORE, DO_WAKE, DO_ZERO, OUT_END,
};
use crate::{Action, Ending, STUB_RANGE};

/// The most entries of one batch.
const BATCH: usize = 256;
const HEADER: usize = ACTION_WORDS * 8;
/// A piece of a `Store` is not made smaller than this, unless it is the last.
const PIECE_MIN: usize = 512;

/// A call that the stub will ask for next: its number and six arguments must be these.
pub(crate) struct Asked {
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
    /// What it maps, where that is to be installed first.
    pub(crate) file: Option<Arc<OwnedFd>>,
}

/// How far a list has been carried out.
pub(crate) struct Progress {
    actions: Vec<Action>,
    /// The action to send next, and how much of it (a `Store`) has been sent.
    next: usize,
    sent: usize,
    /// The action that each entry of the batch under way belongs to.
    entries: Vec<usize>,
    pub(crate) asked: VecDeque<Asked>,
    /// Not only mappings of descriptors are asked for.
    gated: bool,
    /// Where the stub goes on without a report.
    pub(crate) ending: Option<Ending>,
}

/// What comes after a batch.
pub(crate) enum Step {
    /// Send the next one.
    More,
    Done(Result<(), (usize, Errno)>),
}

impl Progress {
    pub(crate) fn new(actions: Vec<Action>, gated: bool, ending: Option<Ending>) -> Progress {
        Progress { actions, next: 0, sent: 0, entries: Vec::new(), asked: VecDeque::new(), gated, ending }
    }

    /// Whether the batch just encoded is the last.
    pub(crate) fn is_last(&self) -> bool {
        self.next == self.actions.len()
    }

    /// Whether the next mapping of a file is of this one: its descriptor is left in the stub until then, or to the end
    /// of the batch.
    fn maps_next(&self, file: &Arc<OwnedFd>) -> bool {
        let next = self.actions.iter().skip(self.next + 1).find_map(|action| match action {
            Action::Map { file: Some((next, _)), .. } => Some(next),
            _ => None,
        });
        next.is_some_and(|next| Arc::ptr_eq(next, file))
    }

    /// Encodes the next batch at `from` in the data area; returns how many entries it has. `fd` is the fixed
    /// descriptor number of the thread.
    pub(crate) fn encode(&mut self, data: *mut u8, from: usize, fd: u64) -> usize {
        self.entries.clear();
        self.asked.clear();
        let mut at = from;
        // What the stub has at its number when it comes to the next entry.
        let mut open: Option<Arc<OwnedFd>> = None;
        while self.entries.len() < BATCH && at + HEADER <= OUT_END {
            let Some(action) = self.actions.get(self.next) else { break };
            if bad(action) {
                break;
            }
            let room = OUT_END - at - HEADER;
            let mut bytes: &[u8] = &[];
            let [kind, a, b, c, d, e, f] = match action {
                Action::Map { addr, len, prot, flags, file } => {
                    let flags = *flags as u32 as u64 | libc::MAP_FIXED as u64;
                    let (flags, fd, off) = match file {
                        Some((_, off)) => (flags & !(libc::MAP_ANONYMOUS as u64), fd, *off),
                        None => (flags | libc::MAP_ANONYMOUS as u64, u64::MAX, 0),
                    };
                    let args = [*addr, *len, *prot as u32 as u64, flags, fd, off];
                    let file = file.as_ref().map(|(file, _)| file);
                    if file.is_some() || self.gated {
                        let there = file.is_some_and(|f| open.as_ref().is_some_and(|o| Arc::ptr_eq(o, f)));
                        let file = if there { None } else { file.cloned() };
                        self.asked.push_back(Asked { nr: libc::SYS_mmap as u64, args, file });
                    }
                    let more = file.filter(|file| self.maps_next(file));
                    if file.is_some() {
                        open = more.cloned();
                    }
                    let [a, b, c, d, e, f] = args;
                    [if more.is_some() { DO_MMAP_MORE } else { DO_MMAP }, a, b, c, d, e, f]
                }
                Action::Unmap { addr, len } => [DO_MUNMAP, *addr, *len, 0, 0, 0, 0],
                Action::Protect { addr, len, prot } => {
                    if self.gated && prot & libc::PROT_WRITE != 0 {
                        let args = [*addr, *len, *prot as u32 as u64, 0, 0, 0];
                        self.asked.push_back(Asked { nr: libc::SYS_mprotect as u64, args, file: None });
                    }
                    [DO_MPROTECT, *addr, *len, *prot as u32 as u64, 0, 0, 0]
                }
                Action::Remap { old, old_len, new, new_len, keep_old } => {
                    let keep = if *keep_old { libc::MREMAP_DONTUNMAP } else { 0 };
                    let flags = match old == new {
                        true => 0,
                        false => libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | keep,
                    };
                    if self.gated {
                        let args = [*old, *old_len, *new_len, flags as u64, *new, 0];
                        self.asked.push_back(Asked { nr: libc::SYS_mremap as u64, args, file: None });
                    }
                    [DO_MREMAP, *old, *old_len, *new_len, flags as u64, *new, 0]
                }
                Action::Advise { addr, len, advice } => {
                    [DO_MADVISE, *addr, *len, *advice as u32 as u64, 0, 0, 0]
                }
                Action::Store { addr, bytes: all } => {
                    let rest = &all[self.sent..];
                    if rest.len() > room && room < PIECE_MIN {
                        break;
                    }
                    bytes = &rest[..rest.len().min(room & !7)];
                    [DO_STORE, addr + self.sent as u64, 0, 0, 0, 0, 0]
                }
                Action::Zero { addr, len } => [DO_ZERO, *addr, *len, 0, 0, 0, 0],
                Action::Wake { addr, count, private } => {
                    let private = if *private { libc::FUTEX_PRIVATE_FLAG as u64 } else { 0 };
                    [DO_WAKE, *addr, *count as u32 as u64, private, 0, 0, 0]
                }
                Action::CompareExchange { addr, old, new } => {
                    [DO_CAS, *addr, u64::from(*old), u64::from(*new), 0, 0, 0]
                }
                Action::OwnerDied { addr, tid, pending, pi } => {
                    [DO_OWNER_DIED, *addr, u64::from(*tid), u64::from(*pending), u64::from(*pi), 0, 0]
                }
            };
            let words = [kind, a, b, c, d, e, f, bytes.len() as u64];
            // SAFETY: header and bytes fit before OUT_END (`room`), inside the data area; `at` stays 8-aligned.
            unsafe {
                data.add(at).cast::<[u64; ACTION_WORDS]>().write_volatile(words);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.add(at + HEADER), bytes.len());
            }
            at += HEADER + bytes.len().next_multiple_of(8);
            self.entries.push(self.next);
            match action {
                Action::Store { bytes: all, .. } if self.sent + bytes.len() < all.len() => {
                    self.sent += bytes.len();
                }
                _ => {
                    self.sent = 0;
                    self.next += 1;
                }
            }
        }
        self.entries.len()
    }

    /// The stub reports on a batch: `errno` 0, or the entry that failed.
    pub(crate) fn report(&mut self, entry: u64, errno: u64) -> Step {
        self.asked.clear();
        if errno != 0 {
            let at = usize::try_from(entry).ok().and_then(|e| self.entries.get(e).copied()).unwrap_or(0);
            let errno = i32::try_from(errno).ok().filter(|e| (1..4096).contains(e)).unwrap_or(libc::EINVAL);
            return Step::Done(Err((at, Errno(errno))));
        }
        match self.actions.get(self.next) {
            None => Step::Done(Ok(())),
            Some(action) if bad(action) => Step::Done(Err((self.next, Errno::EINVAL))),
            Some(_) => Step::More,
        }
    }
}

/// Nothing that the kernel asks for may touch the platform's own range.
fn bad(action: &Action) -> bool {
    let overlaps = |addr: u64, len: u64| match addr.checked_add(len) {
        Some(end) => addr < STUB_RANGE.end && end > STUB_RANGE.start,
        None => true,
    };
    match *action {
        Action::Map { addr, len, .. }
        | Action::Unmap { addr, len }
        | Action::Protect { addr, len, .. }
        | Action::Advise { addr, len, .. }
        | Action::Zero { addr, len } => overlaps(addr, len),
        Action::Remap { old, old_len, new, new_len, .. } => overlaps(old, old_len) || overlaps(new, new_len),
        Action::Store { addr, ref bytes } => overlaps(addr, bytes.len() as u64),
        Action::Wake { addr, .. } | Action::CompareExchange { addr, .. } | Action::OwnerDied { addr, .. } => {
            overlaps(addr, 4)
        }
    }
}
