//! What the sandbox uses of its memory limit (`--memory`), and what its files use of their bound (`--disk`).
//!
//! Two ways to hold guests to a limit. Where a host limit (a control group) stands under the stubs, the host counts
//! pages as they are touched and kills what goes beyond; here only single mappings that could never fit are refused, as
//! Linux does in its heuristic mode. Where there is none the count is strict (`vm.overcommit_memory` 2): every private
//! writable page is paid for when it is mapped, whether it is ever touched or not, and no guest can map behind our back,
//! since the platform asks before each mapping.
//!
//! One process runs one sandbox, so the account is a static; without a limit all of it is idle.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;

use super::vma::PAGE;

/// No limit.
const NONE: u64 = u64::MAX;
/// A stack is at most this part of a strict limit, since it is paid for whole.
const STACK_PART: u64 = 64;
const STACK_MIN: u64 = 256 << 10;
/// What the parts of a sandbox in the guests' group may cost: the host's limit is as much above ours.
const SLACK: u64 = 8 << 20;
/// The longest text of a control group's file that is looked at.
const MAX_TEXT: usize = 4096;

static LIMIT: AtomicU64 = AtomicU64::new(NONE);
static STRICT: AtomicBool = AtomicBool::new(false);
/// Bytes of private writable mappings, counted where there is a limit.
static MAPPED: AtomicU64 = AtomicU64::new(0);
/// Pages of files in our memory, and of shared memory, of all file systems together.
static FILES: AtomicU64 = AtomicU64::new(0);
static FILES_MAX: AtomicU64 = AtomicU64::new(NONE);
static PEAK: AtomicU64 = AtomicU64::new(0);
static KILLS: AtomicU64 = AtomicU64::new(0);
static HOST: OnceLock<HostMemory> = OnceLock::new();

/// What the host says of the guests' control group.
#[derive(Debug)]
pub struct HostMemory {
    /// `memory.current`: what they use, in bytes.
    pub usage: OwnedFd,
    /// `memory.events`: has a line `oom_kill N`.
    pub kills: OwnedFd,
}

/// Sets the limits at start: of all memory, of what files may take of it, and the host's own count of what the guests
/// use (`memory.current`), where a host limit stands.
pub fn configure(memory: Option<u64>, files: Option<u64>, host: Option<HostMemory>) {
    FILES_MAX.store(files.map_or(NONE, |bytes| bytes / PAGE), Relaxed);
    if let Some(limit) = memory {
        LIMIT.store(limit, Relaxed);
        STRICT.store(host.is_none(), Relaxed);
    }
    if let Some(file) = host {
        let _ = HOST.set(file);
    }
}

/// The limit in bytes.
pub fn limit() -> Option<u64> {
    Some(LIMIT.load(Relaxed)).filter(|limit| *limit != NONE)
}

/// Whether every mapping is paid for in advance.
pub fn strict() -> bool {
    STRICT.load(Relaxed)
}

/// The most that a stack may be.
pub fn stack_max() -> u64 {
    match limit() {
        Some(limit) if strict() => (limit / STACK_PART).max(STACK_MIN),
        _ => NONE,
    }
}

/// What the guests and their files use, in bytes.
pub fn used() -> u64 {
    let files = FILES.load(Relaxed) * PAGE;
    let used = guests().saturating_add(files);
    PEAK.fetch_max(used, Relaxed);
    used
}

/// The most that [`used`] has ever given.
pub fn peak() -> u64 {
    used().max(PEAK.load(Relaxed))
}

/// What guests use besides files.
fn guests() -> u64 {
    host_count().unwrap_or_else(|| MAPPED.load(Relaxed))
}

fn host_count() -> Option<u64> {
    text(&HOST.get()?.usage)?.trim().parse().ok()
}

/// How many of the guests' processes the host has killed for want of memory.
pub fn host_kills() -> Option<u64> {
    text(&HOST.get()?.kills)?.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn text(file: &OwnedFd) -> Option<String> {
    let mut buf = [0; MAX_TEXT];
    let n = rustix::io::pread(file, &mut buf, 0).ok()?;
    Some(String::from_utf8_lossy(buf.get(..n)?).into_owned())
}

/// Bytes of files in our memory.
pub fn file_bytes() -> u64 {
    FILES.load(Relaxed) * PAGE
}

/// How many processes were killed for want of memory.
pub fn kills() -> u64 {
    KILLS.load(Relaxed).max(host_kills().unwrap_or(0))
}

/// One more was; which one it is, counted from 1.
pub fn note_kill() -> u64 {
    KILLS.fetch_add(1, Relaxed) + 1
}

/// Whether the sandbox uses more than it may: only under a host limit, which holds guests by itself and does not count
/// our files.
pub fn overdrawn() -> bool {
    limit().is_some_and(|limit| !strict() && file_bytes() > 0 && used() > limit.saturating_add(SLACK))
}

/// Memory that is paid for before it is mapped; given back when dropped.
#[derive(Debug, Default)]
pub struct Reserved(u64);

impl Drop for Reserved {
    fn drop(&mut self) {
        give(self.0);
    }
}

/// Pays for `bytes` in advance. `None` where they do not fit.
pub fn reserve(bytes: u64) -> Option<Reserved> {
    if bytes == 0 || limit().is_none() {
        return Some(Reserved(0));
    }
    if !strict() {
        return (bytes <= LIMIT.load(Relaxed)).then(|| {
            add(bytes);
            Reserved(bytes)
        });
    }
    let most = LIMIT.load(Relaxed).saturating_sub(file_bytes());
    let taken = MAPPED
        .fetch_update(Relaxed, Relaxed, |mapped| mapped.checked_add(bytes).filter(|total| *total <= most));
    taken.ok().map(|_| Reserved(bytes))
}

/// Counts what is mapped already, or about to be whatever comes.
pub(super) fn add(bytes: u64) {
    MAPPED.fetch_add(bytes, Relaxed);
}

pub(super) fn give(bytes: u64) {
    MAPPED.fetch_sub(bytes, Relaxed);
}

/// Bytes that a program would need beyond those of the one that it replaces: whether they are there.
pub fn fits(bytes: u64, in_place_of: u64) -> bool {
    reserve(bytes.saturating_sub(in_place_of)).is_some()
}

/// The most bytes that files may take, where that is bounded.
pub fn files_max() -> Option<u64> {
    let pages = FILES_MAX.load(Relaxed);
    (pages != NONE).then(|| pages.saturating_mul(PAGE))
}

/// Pages that files can still take.
pub fn free_file_pages() -> u64 {
    let own = FILES_MAX.load(Relaxed).saturating_sub(FILES.load(Relaxed));
    match limit() {
        None => own,
        Some(limit) => own.min(limit.saturating_sub(used()) / PAGE),
    }
}

/// Takes pages for files, or says that there is no room.
pub fn take_file_pages(n: u64) -> bool {
    let limit = LIMIT.load(Relaxed);
    let most = match limit {
        NONE => FILES_MAX.load(Relaxed),
        _ => FILES_MAX.load(Relaxed).min(limit.saturating_sub(guests()) / PAGE),
    };
    FILES.fetch_update(Relaxed, Relaxed, |used| used.checked_add(n).filter(|total| *total <= most)).is_ok()
}

/// Corrects a charge that turned out otherwise.
pub fn settle_file_pages(charged: u64, real: u64) {
    if real >= charged {
        FILES.fetch_add(real - charged, Relaxed);
    } else {
        FILES.fetch_sub(charged - real, Relaxed);
    }
}
