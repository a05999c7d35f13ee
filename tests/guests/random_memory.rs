//! Random walks over mappings: every kind of memory in one window, and the heap; contents and rights are checked page by
//! page, before and after fork, in parent and child.
//!
//! The window lies far below everything else, so that its holes stay holes: new mappings are placed from the top.

use std::fmt::Write;

use libc::*;

use crate::kit::{child, end_of, errno_name, get, open, ret, say};
use crate::memory::{attempt, peek, poke, P};
use crate::random::Dice;

const PAGES: usize = 40;
const BASE: usize = 0x2000_0000_0000;
/// Pages of the heap that the walk moves its end over.
const HEAP: usize = 8;
/// What malloc gets first, and keeps, so that it never asks for the heap while the walk plays with its end.
const SLACK: usize = 8 << 20;
const RIGHTS: [i32; 6] = [
    PROT_NONE,
    PROT_READ,
    PROT_READ | PROT_WRITE,
    PROT_READ | PROT_WRITE,
    PROT_READ | PROT_EXEC,
    PROT_READ | PROT_WRITE | PROT_EXEC,
];
/// Advice whose effect shows at once, or never.
const ADVICE: [i32; 14] = [
    MADV_DONTNEED,
    MADV_DONTNEED,
    MADV_REMOVE,
    MADV_DONTFORK,
    MADV_DOFORK,
    MADV_WIPEONFORK,
    MADV_KEEPONFORK,
    MADV_DONTDUMP,
    MADV_WILLNEED,
    22,  // POPULATE_READ
    23,  // POPULATE_WRITE
    20,  // COLD
    102, // GUARD_INSTALL
    103, // GUARD_REMOVE
];

struct Walk {
    ends: [i32; 2],
    /// Writable descriptors of a file and of a memfd, and read-only ones of the same.
    files: [[i32; 2]; 2],
    heap: usize,
}

fn at(page: usize) -> *mut u8 {
    (BASE + page * P) as *mut u8
}

/// `guests random-memory SEED STEPS`.
pub unsafe fn walk(dice: &mut Dice, steps: u32) {
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, i32::MAX);
    free(std::hint::black_box(malloc(SLACK)));
    let mut ends = [0; 2];
    pipe2(ends.as_mut_ptr(), O_NONBLOCK);
    let file = open("mapped", O_CREAT | O_RDWR);
    let memfd = memfd_create(c"memory".as_ptr(), 0);
    for fd in [file, memfd] {
        for page in 0..PAGES / 2 {
            pwrite(fd, [0x40 + page as u8; P].as_ptr().cast(), P, (page * P) as i64);
        }
    }
    let of_memfd = open(&format!("/proc/self/fd/{memfd}"), O_RDONLY);
    let heap = (syscall(SYS_brk, 0) as usize + P - 1) & !(P - 1);
    let w = Walk { ends, files: [[file, open("mapped", O_RDONLY)], [memfd, of_memfd]], heap };
    for i in 0..steps {
        w.step(dice, &i.to_string(), 0);
        if i % 12 == 11 {
            w.look(&i.to_string());
        }
    }
    w.look("last");
}

impl Walk {
    unsafe fn step(&self, dice: &mut Dice, i: &str, depth: u32) {
        let page = dice.roll(PAGES as u64) as usize;
        let pages = (1 + dice.roll(6) as usize).min(PAGES - page);
        let (p, len) = (at(page), pages * P);
        let prot = RIGHTS[dice.roll(6) as usize];
        let to = dice.roll(PAGES as u64) as usize;
        let which = dice.roll(2) as usize;
        let fd = self.files[which][0];
        let offset = (dice.roll(PAGES as u64 / 2 + 4) as usize * P) as i64;
        let here = format!("{page}+{pages}");
        let placed = |step: String, r: *mut c_void, p: *mut u8| {
            say(&step, if r == MAP_FAILED { errno_name() } else { (r == p.cast()).to_string() });
        };
        let map = |step: &str, flags: i32, fd: i32, offset: i64| {
            let r = mmap(p.cast(), len, prot, flags | MAP_FIXED, fd, offset);
            placed(format!("{i} {step} {here} {prot} {offset:#x}"), r, p);
        };
        match dice.roll(32) {
            0..=2 => map("anonymous", MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            3 => map("anonymous populated", MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0),
            4 => map("shared memory", MAP_SHARED | MAP_ANONYMOUS, -1, 0),
            5 | 6 => map("private file", MAP_PRIVATE, self.files[which][dice.roll(2) as usize], offset),
            7 | 8 => map("shared file", MAP_SHARED, fd, offset),
            9 => map("shared read-only file", MAP_SHARED, self.files[which][1], offset),
            10 => {
                let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
                placed(format!("{i} free place {here}"), mmap(p.cast(), len, prot, flags, -1, 0), p);
            }
            11..=13 => drop(ret(&format!("{i} protect {here} {prot}"), mprotect(p.cast(), len, prot))),
            14 => drop(ret(&format!("{i} unmap {here}"), munmap(p.cast(), len))),
            15 | 16 => {
                let advice = ADVICE[dice.roll(ADVICE.len() as u64) as usize];
                ret(&format!("{i} advise {here} {advice}"), madvise(p.cast(), len, advice));
            }
            17 => {
                let r = mremap(p.cast(), P, P, MREMAP_MAYMOVE | MREMAP_FIXED, at(to));
                placed(format!("{i} move {page} {to}"), r, at(to));
            }
            18 => {
                let flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
                placed(
                    format!("{i} move and keep {page} {to}"),
                    mremap(p.cast(), P, P, flags, at(to)),
                    at(to),
                );
            }
            19 => {
                let new = (1 + dice.roll(4) as usize).min(PAGES - to) * P;
                let r = mremap(p.cast(), 0, new, MREMAP_MAYMOVE | MREMAP_FIXED, at(to));
                placed(format!("{i} twice {page} {to} {new:#x}"), r, at(to));
            }
            20 => {
                // Of one page: neighbours that are alike are not one mapping in Linux where they have been apart.
                let new = (1 + dice.roll(8) as usize).min(PAGES - page) * P;
                placed(format!("{i} grow {page} {new:#x}"), mremap(p.cast(), P, new, 0), p);
                let cut = dice.roll(pages as u64 + 1) as usize * P;
                placed(format!("{i} shrink {here} {cut:#x}"), mremap(p.cast(), len, cut, 0), p);
            }
            21 => {
                // Moved away while it grows, and back while it shrinks.
                let away = at(2 * PAGES);
                let r = mremap(p.cast(), P, 3 * P, MREMAP_MAYMOVE | MREMAP_FIXED, away);
                placed(format!("{i} away {page}"), r, away);
                if r != MAP_FAILED {
                    let r = mremap(r, 3 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, at(to));
                    placed(format!("{i} and back {to}"), r, at(to));
                    munmap(away.cast(), 3 * P);
                }
            }
            22 => {
                let size = dice.roll(PAGES as u64 / 2 + 2) as usize * P;
                ret(&format!("{i} truncate {which} {size:#x}"), ftruncate(fd, size as i64));
            }
            23 => {
                // Whole pages: what is stored behind the end of a file, and then found there, is each file system's own.
                let mark = [dice.roll(256) as u8; P];
                ret(&format!("{i} write {which} {offset:#x}"), pwrite(fd, mark.as_ptr().cast(), P, offset));
            }
            24 => {
                let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
                ret(&format!("{i} punch {which} {offset:#x}"), fallocate(fd, mode, offset, P as i64));
            }
            25 => {
                let flags = [MS_SYNC, MS_ASYNC, MS_INVALIDATE][dice.roll(3) as usize];
                ret(&format!("{i} sync {here} {flags}"), msync(p.cast(), len, flags));
            }
            26 => match dice.roll(3) {
                0 => drop(ret(&format!("{i} lock {here}"), mlock(p.cast(), len))),
                1 => drop(ret(&format!("{i} lock on fault {here}"), syscall(SYS_mlock2, p, len, 1))),
                _ => drop(ret(&format!("{i} unlock {here}"), munlock(p.cast(), len))),
            },
            27 => {
                let end = self.heap + dice.roll(HEAP as u64 + 1) as usize * P;
                let now = syscall(SYS_brk, end) as usize;
                say(&format!("{i} heap"), now as i64 - self.heap as i64);
            }
            28 => {
                let f = if dice.roll(2) == 0 { peek } else { poke };
                attempt(
                    &format!("{i} touch {page}"),
                    BASE as *const u8,
                    f,
                    p.add(dice.roll(P as u64) as usize),
                );
            }
            29 if depth == 0 => {
                let mut own = dice.split();
                let pid = child(|| {
                    self.look(&format!("{i} child"));
                    for k in 0..6 {
                        self.step(&mut own, &format!("{i} child {k}"), 1);
                    }
                    self.mark_all(0xc0);
                    self.look(&format!("{i} child at its end"));
                    0
                });
                say(&format!("{i} fork"), end_of(pid));
                self.look(&format!("{i} parent"));
            }
            _ => {
                // Stored by the kernel, where it may.
                let mark = [dice.roll(256) as u8; 16];
                let p = p.add(dice.roll(P as u64 - 16) as usize);
                write(self.ends[1], mark.as_ptr().cast(), 16);
                if ret(&format!("{i} mark {page}"), read(self.ends[0], p.cast(), 16)) != 16 {
                    self.drain();
                }
            }
        }
    }

    unsafe fn drain(&self) {
        let mut rest = [0u8; P];
        while read(self.ends[0], rest.as_mut_ptr().cast(), P) > 0 {}
    }

    /// Stores a byte of its own into every page that takes one.
    unsafe fn mark_all(&self, base: u8) {
        for page in 0..PAGES {
            write(self.ends[1], [base + page as u8].as_ptr().cast(), 1);
            if read(self.ends[0], at(page).add(7).cast(), 1) != 1 {
                self.drain();
            }
        }
    }

    /// The state of all pages: what is in them, whether they can be read and written, and what the maps file says.
    unsafe fn look(&self, step: &str) {
        let maps = get("/proc/self/maps");
        for page in 0..PAGES {
            let text = self.page(at(page), Some(&maps));
            if text != "-" {
                say(&format!("{step}: page {page}"), text);
            }
        }
        let end = syscall(SYS_brk, 0) as usize;
        for page in 0..HEAP {
            let p = (self.heap + page * P) as *mut u8;
            if (p as usize) < end {
                say(&format!("{step}: heap {page}"), self.page(p, None));
            }
        }
    }

    /// One page: a sum of its content, or how reading it fails; `w` where it can be written; its line of the maps file.
    unsafe fn page(&self, p: *mut u8, maps: Option<&str>) -> String {
        let mut out = String::new();
        let mapped = maps.map(|maps| line_of(maps, p as usize));
        if mapped.as_deref() == Some("") {
            return "-".to_owned();
        }
        let mut copy = [0u8; P];
        if write(self.ends[1], p.cast(), P) == P as isize {
            read(self.ends[0], copy.as_mut_ptr().cast(), P);
            // FNV-1a.
            let sum = copy.iter().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
            let _ = write!(out, "{sum:08x}");
            write(self.ends[1], copy.as_ptr().cast(), 1);
            if read(self.ends[0], p.cast(), 1) == 1 {
                out.push('w');
            }
        } else {
            out.push_str(&errno_name());
        }
        self.drain();
        let mapped = mapped.unwrap_or_default();
        let _ = write!(out, " {mapped}");
        // What of private memory is there is the same everywhere; of files it depends on who keeps them.
        if mapped.len() == 4 && mapped.ends_with('p') {
            let mut there = 0u8;
            mincore(p.cast(), P, &mut there);
            let _ = write!(out, " {}", there & 1);
        }
        out
    }
}

/// Rights, and for files page offset and name, of the mapping that holds an address.
fn line_of(maps: &str, addr: usize) -> String {
    let number = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let Some((a, b)) = fields.next().and_then(|f| f.split_once('-')) else { continue };
        let (a, b) = (number(a), number(b));
        if !(a..b).contains(&addr) {
            continue;
        }
        let rights = fields.next().unwrap_or("");
        let offset = number(fields.next().unwrap_or("")) + (addr - a);
        return match fields.nth(2) {
            Some(name) => format!("{rights} {:x} {}", offset / P, name.rsplit('/').next().unwrap_or("")),
            None => rights.to_owned(),
        };
    }
    String::new()
}
