//! Memory in breadth: flags and orders of checks of mmap, mremap, madvise and their kin; guards, populating, residency.

use libc::*;

use crate::kit::{child, end_of, get, handle, ok, open, pipe, put, ret, say, show, z};
use crate::memory::{anon, attempt, peek, poke, P, RW};

const NULL: *mut c_void = std::ptr::null_mut();
const PRIVATE: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

/// The content of a page as its first byte, asked of the kernel, or how that failed.
unsafe fn byte_at(at: *const u8) -> String {
    let (r, w) = pipe();
    let mut byte = 0u8;
    let text = if write(w, at.cast(), 1) == 1 {
        read(r, (&raw mut byte).cast(), 1);
        format!("{byte:x}")
    } else {
        crate::kit::errno_name()
    };
    close(r);
    close(w);
    text
}

/// Which pages are resident.
unsafe fn resident(at: *mut u8, pages: usize) -> String {
    let mut vec = vec![0xffu8; pages];
    match mincore(at.cast(), pages * P, vec.as_mut_ptr()) {
        0 => vec.iter().map(|b| if b & 1 == 1 { 'x' } else { '.' }).collect(),
        _ => crate::kit::errno_name(),
    }
}

/// The mappings between two addresses as `/proc/self/maps` has them: relative start and end in pages, rights, file name.
pub unsafe fn maps_of(base: *const u8, pages: usize) -> String {
    let (from, to) = (base as usize, base as usize + pages * P);
    let mut out = Vec::new();
    for line in get("/proc/self/maps").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some((a, b)) = fields.first().and_then(|f| f.split_once('-')) else { continue };
        let number = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
        let (a, b) = (number(a).max(from), number(b).min(to));
        if a < b {
            let name = fields.get(5).map_or("", |n| n.rsplit('/').next().unwrap_or(""));
            out.push(
                format!("{}+{} {} {name}", (a - from) / P, (b - a) / P, fields[1]).trim_end().to_owned(),
            );
        }
    }
    out.join(", ")
}

/// Rows of `/proc/self/smaps` for the mapping that holds an address.
pub unsafe fn smaps_of(at: *const u8, names: &[&str]) -> String {
    let text = get("/proc/self/smaps");
    let (mut inside, mut out) = (false, Vec::new());
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or("");
        if let Some((a, b)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let number = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
            inside = (number(a)..number(b)).contains(&(at as usize));
        } else if inside && names.contains(&first.trim_end_matches(':')) {
            out.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    out.join(", ")
}

/// One row of a file of `name: value` lines.
pub unsafe fn row(file: &str, name: &str) -> String {
    let text = get(file);
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or("none").split_whitespace().collect::<Vec<_>>().join(" ")
}

pub unsafe fn map_order() {
    put("f", &[b'x'; 2 * P]);
    let (rw, ro) = (open("f", O_RDWR), open("f", O_RDONLY));
    let closed = dup(ro);
    close(closed);
    let raw = |step: &str, len: usize, prot: i32, flags: i32, fd: i32, offset: usize| {
        let r = syscall(SYS_mmap, 0usize, len, prot, flags, fd, offset);
        ok(step, r);
        if r != -1 {
            munmap(r as *mut c_void, len);
        }
    };
    raw("closed", P, PROT_WRITE, MAP_SHARED, closed, 0);
    raw("closed and no length", 0, PROT_READ, MAP_SHARED, closed, 0);
    raw("closed and odd offset", P, PROT_READ, MAP_SHARED, closed, 1);
    raw("closed and huge pages", P, PROT_READ, MAP_SHARED | MAP_HUGETLB, closed, 0);
    raw("closed and no type", P, PROT_READ, 0, closed, 0);
    raw("no length and no type", 0, PROT_READ, 0, ro, 0);
    raw("no length, shared write of a read-only", 0, RW, MAP_SHARED, ro, 0);
    raw("huge pages of a file", P, PROT_READ, MAP_SHARED | MAP_HUGETLB, ro, 0);
    raw("huge pages of a file, no length", 0, PROT_READ, MAP_SHARED | MAP_HUGETLB, ro, 0);
    raw("length wraps", usize::MAX - 10, PROT_READ, MAP_SHARED, ro, 0);
    raw("length wraps, bad type", usize::MAX - 10, PROT_READ, 0, ro, 0);
    raw("too long", 1 << 47, PROT_READ, MAP_SHARED, ro, 0);
    raw("offset wraps", P, PROT_READ, MAP_SHARED, ro, usize::MAX & !(P - 1));
    raw("offset past the largest file", P, PROT_READ, MAP_SHARED, ro, 1 << 63);
    raw("offset at the largest file", P, PROT_READ, MAP_SHARED, ro, (1 << 63) - P);
    raw("offset just fits", P, PROT_READ, MAP_SHARED, ro, (1 << 63) - 2 * P);
    raw("private offset past the largest file", P, PROT_READ, MAP_PRIVATE, ro, 1 << 63);
    raw("anonymous with an offset", P, RW, PRIVATE, -1, 7 * P);
    raw("anonymous with an offset that wraps", 2 * P, RW, PRIVATE, -1, usize::MAX & !(P - 1));
    raw("anonymous with an odd offset", P, RW, PRIVATE, -1, 1);
    raw("anonymous with a descriptor", P, RW, PRIVATE, ro, 0);
    raw("anonymous, shared and validated", P, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0);
    raw("anonymous without a type", P, RW, MAP_ANONYMOUS, -1, 0);
    raw("type 4", P, RW, 4 | MAP_ANONYMOUS, -1, 0);
    raw("type 4 of a file", P, PROT_READ, 4, ro, 0);
    raw("sync", P, RW, MAP_SHARED_VALIDATE | MAP_SYNC, rw, 0);
    raw("unknown flag, not validated", P, RW, MAP_SHARED | 0x80_0000, rw, 0);
    raw("unknown flag", P, RW, MAP_SHARED_VALIDATE | 0x80_0000, rw, 0);
    raw("size of huge pages", P, RW, MAP_SHARED_VALIDATE | MAP_HUGE_1GB, rw, 0);
    raw("above 4 GiB", P, RW, MAP_SHARED_VALIDATE | 0x80, rw, 0);
    raw("unknown flag, write-only", P, RW, MAP_SHARED_VALIDATE | 0x80_0000, open("f", O_WRONLY), 0);
    let there = mmap(NULL, P, RW, PRIVATE, -1, 0);
    munmap(there, P);
    let validated = MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE;
    ok("free place, validated", mmap(there, P, RW, validated, rw, 0) as isize);
    raw("validated", P, RW, MAP_SHARED_VALIDATE | MAP_POPULATE, rw, 0);
    raw("unknown protection", P, 0x70 | PROT_READ, MAP_SHARED, ro, 0);
    raw("grows down, shared", P, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
    raw("grows down, of a file", P, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, ro, 0);
    raw("grows down", P, RW, PRIVATE | MAP_GROWSDOWN, -1, 0);
    raw("populate", 2 * P, RW, PRIVATE | MAP_POPULATE, -1, 0);
    raw("populate past the end", 4 * P, PROT_READ, MAP_SHARED | MAP_POPULATE, ro, 0);
    raw("populate, no access", P, PROT_NONE, PRIVATE | MAP_POPULATE, -1, 0);
    raw("populate, not blocking", P, RW, PRIVATE | MAP_POPULATE | MAP_NONBLOCK, -1, 0);
    raw("stack", P, RW, PRIVATE | MAP_STACK | MAP_NORESERVE, -1, 0);
    raw("deny write, executable", P, PROT_READ, MAP_PRIVATE | MAP_DENYWRITE | MAP_EXECUTABLE, ro, 0);
    let low = mmap(NULL, P, RW, PRIVATE | MAP_32BIT, -1, 0) as usize;
    show("in the low two gigabytes", low < 1 << 31);
    let wo = open("f", O_WRONLY);
    raw("write-only, private", P, PROT_WRITE, MAP_PRIVATE, wo, 0);
    raw("write-only, shared, no access", P, PROT_NONE, MAP_SHARED, wo, 0);
    let append = open("f", O_RDWR | O_APPEND);
    raw("append-only descriptor", P, RW, MAP_SHARED, append, 0);
    let path = ::libc::open(c"f".as_ptr(), O_PATH);
    raw("path descriptor", P, PROT_READ, MAP_PRIVATE, path, 0);
    let proc = open("/proc/self/maps", O_RDONLY);
    raw("file that cannot be mapped", P, PROT_READ, MAP_PRIVATE, proc, 0);
    raw("code from a mount without programs", P, PROT_READ | PROT_EXEC, MAP_PRIVATE, proc, 0);
    let fixed = |step: &str, at: usize, flags: i32| {
        let r = mmap(at as *mut c_void, P, RW, PRIVATE | flags, -1, 0);
        say(step, if r == MAP_FAILED { crate::kit::errno_name() } else { (r as usize == at).to_string() });
    };
    fixed("fixed past the end", 0x7fff_ffff_f000, MAP_FIXED);
    fixed("fixed far past the end", 1 << 62, MAP_FIXED);
    fixed("fixed free, past the end", 1 << 62, MAP_FIXED_NOREPLACE);
    fixed("fixed free, odd", 0x1_0001, MAP_FIXED_NOREPLACE);
    fixed("hint past the end", 1 << 62, 0);
}

pub unsafe fn remap_more() {
    let whole = mmap(NULL, 64 * P, PROT_NONE, PRIVATE, -1, 0) as *mut u8;
    let at = |page: usize| whole.add(page * P);
    let fresh = |page: usize, pages: usize| {
        let flags = PRIVATE | MAP_FIXED;
        let p = mmap(at(page).cast(), pages * P, RW, flags, -1, 0) as *mut u8;
        for i in 0..pages {
            *p.add(i * P) = (page + i) as u8;
        }
        p
    };
    let call = |step: &str, old: *mut u8, len: usize, new_len: usize, flags: i32, new: *mut u8| {
        let r = syscall(SYS_mremap, old, len, new_len, flags, new);
        ok(step, r);
        r as *mut u8
    };
    const MAY: i32 = MREMAP_MAYMOVE;
    const FIX: i32 = MREMAP_MAYMOVE | MREMAP_FIXED;
    const KEEP: i32 = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    let p = fresh(0, 4);
    call("odd address", p.add(1), P, P, MAY, p);
    call("unknown flag", p, P, P, 8, p);
    call("fixed without may-move", p, P, P, MREMAP_FIXED, at(10));
    call("keep without may-move", p, P, P, MREMAP_DONTUNMAP, at(10));
    call("keep and grow", p, P, 2 * P, KEEP, at(10));
    call("new length 0", p, P, 0, MAY, p);
    call("fixed, odd target", p, P, P, FIX, at(10).add(1));
    call("fixed, target past the end", p, P, P, FIX, 0x7fff_ffff_f000 as *mut u8);
    call("fixed, overlap", p, 2 * P, 2 * P, FIX, at(1));
    call("new length huge", p, P, 1 << 47, MAY, p);
    call("new length wraps", p, P, usize::MAX, MAY, p);
    call("old length wraps", p, usize::MAX, P, MAY, p);
    call("old length past the mapping", p, 70 * P, 80 * P, MAY, p);
    call("private, old length 0", p, 0, P, MAY, p);
    call("keep, odd hint", p, P, P, KEEP, at(10).add(1));
    call("keep, hint overlaps", p, P, P, KEEP, p);
    say("nothing happened", maps_of(whole, 6));

    let q = call("keep", p, 2 * P, 2 * P, KEEP, std::ptr::null_mut());
    say("old is empty", format!("{} {}", byte_at(p), byte_at(p.add(P))));
    say("new has it", format!("{} {}", byte_at(q), byte_at(q.add(P))));
    *p = 9;
    say("old is usable", byte_at(p));
    let p = fresh(8, 2);
    let q = call("keep, fixed", p, 2 * P, 2 * P, KEEP | MREMAP_FIXED, at(20));
    show("there", q == at(20));
    say("moved", format!("{} {}", byte_at(p), byte_at(q.add(P))));
    say("map", maps_of(whole, 24));

    put("f", &[b'f'; 4 * P]);
    let fd = open("f", O_RDWR);
    let m = mmap(NULL, 2 * P, RW, MAP_PRIVATE, fd, 0) as *mut u8;
    *m = b'X';
    let n = call("keep, private file", m, 2 * P, 2 * P, KEEP, std::ptr::null_mut());
    if n as isize != -1 {
        say("old", byte_at(m));
        say("new", byte_at(n));
    }
    let m = mmap(NULL, 2 * P, RW, MAP_SHARED, fd, P as i64) as *mut u8;
    let n = call("keep, shared file", m, 2 * P, 2 * P, KEEP, std::ptr::null_mut());
    if n as isize != -1 {
        *n = b'S';
        say("both show it", format!("{} {}", byte_at(m), byte_at(n)));
    }
    let d = call("shared file twice", m, 0, 2 * P, MAY, std::ptr::null_mut());
    show("elsewhere", d != m);
    *d = b'T';
    say("all show it", format!("{} {}", byte_at(m), byte_at(n)));
    call("twice without may-move", m, 0, P, 0, std::ptr::null_mut());
    call("twice to a place", m, 0, P, FIX, at(40));
    say("there", byte_at(at(40)));
    let s = mmap(NULL, 2 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    *s.add(P) = 0x33;
    let d = call("shared memory twice, from the middle", s.add(P), 0, P, MAY, std::ptr::null_mut());
    say("content", byte_at(d));
    let d = call("shared memory twice, longer", s, 0, 4 * P, MAY, std::ptr::null_mut());
    if d as isize != -1 {
        say("content", byte_at(d.add(P)));
        attempt("past the object", d, peek, d.add(3 * P));
    }

    fresh(30, 6);
    munmap(at(36).cast(), P);
    mprotect(at(32).cast(), P, PROT_READ);
    call("grow over two mappings", at(31), 2 * P, 4 * P, MAY, std::ptr::null_mut());
    call("shrink over two mappings", at(31), 3 * P, P, 0, std::ptr::null_mut());
    say("map", maps_of(at(30), 7));
    call("shrink to the same over a hole", at(35), 2 * P, 2 * P, 0, std::ptr::null_mut());
    call("shrink over a hole", at(35), 3 * P, P, 0, std::ptr::null_mut());
    call("from a hole", at(36), P, 2 * P, MAY, std::ptr::null_mut());
    call("from a hole to a place", at(36), P, P, FIX, at(50));
    let r = call("grow in place into the hole", at(35), P, 2 * P, 0, std::ptr::null_mut());
    show("same place", r == at(35));
    call("no room in place", at(35), 2 * P, 3 * P, 0, std::ptr::null_mut());
    let r = call("several to a place", at(30), 7 * P, 7 * P, FIX, at(54));
    show("there", r == at(54));
    say("map", maps_of(at(30), 34));
    call("several and back, kept", at(54), 7 * P, 7 * P, KEEP | MREMAP_FIXED, at(30));
    say("map", maps_of(at(30), 34));
    call("several, more", at(30), 7 * P, 8 * P, FIX, at(54));
    call("several over a hole first", at(36), 2 * P, 2 * P, FIX, at(54));
    let r = call("shrink and move", at(35), 2 * P, P, FIX, at(52));
    show("there", r == at(52));
    say("content", byte_at(r));
    say("map", maps_of(at(30), 24));
}

/// What each advice answers on each kind of memory.
pub unsafe fn advice_table() {
    put("f", &[b'f'; 4 * P]);
    let (rw, ro) = (open("f", O_RDWR), open("f", O_RDONLY));
    let plain = anon(2);
    let locked = anon(2);
    mlock(locked.cast(), 2 * P);
    let none = mmap(NULL, 2 * P, PROT_NONE, PRIVATE, -1, 0) as *mut u8;
    let readable = mmap(NULL, 2 * P, PROT_READ, PRIVATE, -1, 0) as *mut u8;
    let holed = anon(3);
    munmap(holed.add(P).cast(), P);
    let shared = mmap(NULL, 2 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    let private_file = mmap(NULL, 2 * P, RW, MAP_PRIVATE, ro, 0) as *mut u8;
    let shared_file = mmap(NULL, 2 * P, RW, MAP_SHARED, rw, 0) as *mut u8;
    let read_file = mmap(NULL, 2 * P, PROT_READ, MAP_SHARED, ro, 0) as *mut u8;
    let past = mmap(NULL, 2 * P, RW, MAP_SHARED, rw, 4 * P as i64) as *mut u8;
    let kinds = [
        ("plain", plain, 2 * P),
        ("locked", locked, 2 * P),
        ("no access", none, 2 * P),
        ("read-only", readable, 2 * P),
        ("with a hole", holed, 3 * P),
        ("hole first", holed.add(P), 2 * P),
        ("only a hole", holed.add(P), P),
        ("shared", shared, 2 * P),
        ("private file", private_file, 2 * P),
        ("shared file", shared_file, 2 * P),
        ("read-only file", read_file, 2 * P),
        ("past the end", past, 2 * P),
        ("odd address", plain.add(1), P),
        ("nothing", plain, 0),
        ("wraps", plain, usize::MAX - P),
        ("wraps to nothing", plain, usize::MAX),
        ("odd length", plain, 1),
    ];
    let advices = [
        (0, "NORMAL"),
        (1, "RANDOM"),
        (2, "SEQUENTIAL"),
        (3, "WILLNEED"),
        (4, "DONTNEED"),
        (8, "FREE"),
        (9, "REMOVE"),
        (10, "DONTFORK"),
        (11, "DOFORK"),
        (16, "DONTDUMP"),
        (17, "DODUMP"),
        (18, "WIPEONFORK"),
        (19, "KEEPONFORK"),
        (20, "COLD"),
        (21, "PAGEOUT"),
        (22, "POPULATE_READ"),
        (23, "POPULATE_WRITE"),
        (102, "GUARD_INSTALL"),
        (103, "GUARD_REMOVE"),
        (5, "5"),
        (6, "6"),
        (7, "7"),
        (24, "DONTNEED_LOCKED"),
        (26, "26"),
        (99, "99"),
        (104, "104"),
        (-1, "-1"),
    ];
    for (kind, at, len) in kinds {
        let mut answers = Vec::new();
        for (advice, name) in advices {
            let answer = match madvise(at.cast(), len, advice) {
                0 => "ok".to_owned(),
                _ => crate::kit::errno_name(),
            };
            answers.push(format!("{name} {answer}"));
        }
        say(kind, answers.join(", "));
    }
    ret("REMOVE over two", madvise(shared_file.cast(), 2 * P, MADV_REMOVE));
    show("hole in the file", get("f").bytes().all(|b| b == 0 || b == b'f'));
    for advice in [MADV_HUGEPAGE, MADV_NOHUGEPAGE] {
        ret("huge pages", madvise(plain.cast(), 2 * P, advice));
    }
}

const GUARD_INSTALL: i32 = 102;
const GUARD_REMOVE: i32 = 103;

pub unsafe fn guards() {
    let p = anon(6);
    for i in 0..6 {
        *p.add(i * P) = 0x10 + i as u8;
    }
    ret("install", madvise(p.add(P).cast(), 2 * P, GUARD_INSTALL));
    attempt("read", p, peek, p.add(P));
    attempt("write", p, poke, p.add(2 * P + 5));
    say("by the kernel", byte_at(p.add(P)));
    say("neighbours", format!("{} {}", byte_at(p), byte_at(p.add(3 * P))));
    ret("again", madvise(p.add(P).cast(), 2 * P, GUARD_INSTALL));
    ret("forget", madvise(p.cast(), 3 * P, MADV_DONTNEED));
    say("still there", format!("{} {}", byte_at(p), byte_at(p.add(P))));
    ret("populate over it", madvise(p.cast(), 3 * P, 23));
    let pid = child(|| {
        handle(SIGSEGV, SIG_DFL, 0);
        say("child", format!("{} {}", byte_at(p), byte_at(p.add(P))));
        *p.add(P) as i32
    });
    say("inherited", end_of(pid));
    ret("protect", mprotect(p.cast(), 6 * P, PROT_READ));
    ret("protect back", mprotect(p.cast(), 6 * P, RW));
    say("still there", byte_at(p.add(P)));
    let space = anon(6);
    let q = mremap(p.cast(), 3 * P, 3 * P, MREMAP_MAYMOVE | MREMAP_FIXED, space) as *mut u8;
    say("moved along", format!("{} {}", byte_at(q), byte_at(q.add(2 * P))));
    ret("remove", madvise(q.cast(), 3 * P, GUARD_REMOVE));
    say("empty", format!("{} {}", byte_at(q), byte_at(q.add(2 * P))));
    *q.add(P) = 1;
    ret("install before unmapping", madvise(q.cast(), P, GUARD_INSTALL));
    munmap(q.cast(), P);
    mmap(q.cast(), P, RW, PRIVATE | MAP_FIXED, -1, 0);
    say("gone with the mapping", byte_at(q));
    let locked = anon(1);
    mlock(locked.cast(), P);
    ret("locked", madvise(locked.cast(), P, GUARD_INSTALL));
    put("f", &[b'f'; 2 * P]);
    let fd = open("f", O_RDWR);
    let m = mmap(NULL, 2 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    ret("shared file", madvise(m.cast(), P, GUARD_INSTALL));
    say("pages", format!("{} {}", byte_at(m), byte_at(m.add(P))));
    ret("remove", madvise(m.cast(), P, GUARD_REMOVE));
    say("content is back", byte_at(m));
    let s = mmap(NULL, P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    *s = 5;
    ret("shared memory", madvise(s.cast(), P, GUARD_INSTALL));
    say("page", byte_at(s));
    ret("remove", madvise(s.cast(), P, GUARD_REMOVE));
    say("page", byte_at(s));
}

pub unsafe fn residency() {
    let p = anon(8);
    say("fresh", resident(p, 8));
    *p.add(P) = 1;
    *p.add(5 * P) = 1;
    say("touched", resident(p, 8));
    ret("populate", madvise(p.add(2 * P).cast(), 2 * P, 23));
    say("populated", resident(p, 8));
    madvise(p.add(5 * P).cast(), P, MADV_DONTNEED);
    say("forgotten", resident(p, 8));
    ret("lock", mlock(p.add(6 * P).cast(), 2 * P));
    say("locked", resident(p, 8));
    let q = mmap(NULL, 4 * P, RW, PRIVATE | MAP_POPULATE, -1, 0) as *mut u8;
    say("mapped populated", resident(q, 4));
    let q = mmap(NULL, 4 * P, RW, PRIVATE | MAP_POPULATE | MAP_NONBLOCK, -1, 0) as *mut u8;
    say("mapped, not blocking", resident(q, 4));
    let q = mmap(NULL, 4 * P, RW, PRIVATE | MAP_LOCKED, -1, 0) as *mut u8;
    say("mapped locked", resident(q, 4));
    let q = anon(4);
    ret("lock on fault", syscall(SYS_mlock2, q, 4 * P, 1));
    *q.add(P) = 1;
    say("locked on fault", resident(q, 4));
    let s = mmap(NULL, 4 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    *s.add(3 * P) = 1;
    say("shared memory", resident(s, 4));
    let pid = child(|| {
        *s = 1;
        say("child's", resident(p, 8));
        0
    });
    end_of(pid);
    say("shared memory touched by the child", resident(s, 4));
    let m = memfd_create(c"m".as_ptr(), 0);
    ftruncate(m, 24 * P as i64);
    pwrite(m, c"x".as_ptr().cast(), 1, 22 * P as i64);
    let f = mmap(NULL, 6 * P, RW, MAP_SHARED, m, 20 * P as i64) as *mut u8;
    say("memory file", resident(f, 6));
    put("f", &[b'f'; 2 * P]);
    let fd = open("f", O_RDWR);
    let f = mmap(NULL, 2 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    say("a file just written", resident(f, 2));
    let f = mmap(NULL, 2 * P, RW, MAP_PRIVATE, fd, 0) as *mut u8;
    say("privately", resident(f, 2));
    let mut vec = [0u8; 8];
    let null = std::ptr::null_mut();
    ret("odd", mincore(p.add(1).cast(), P, vec.as_mut_ptr()));
    ret("nothing", mincore(p.cast(), 0, null));
    ret("no vector", mincore(p.cast(), P, null));
    ret("wraps", mincore(p.cast(), usize::MAX - P, vec.as_mut_ptr()));
    ret("too far", mincore((1usize << 62) as *mut c_void, P, vec.as_mut_ptr()));
    munmap(p.add(4 * P).cast(), P);
    ret("hole", mincore(p.cast(), 8 * P, vec.as_mut_ptr()));
}

pub unsafe fn grows_down() {
    // Room below, then the mapping, as wide as the kernel's guard gap (256 pages) asks for and more.
    const ROOM: usize = 600;
    let room = mmap(NULL, (ROOM + 4) * P, PROT_NONE, PRIVATE, -1, 0) as *mut u8;
    munmap(room.cast(), (ROOM + 4) * P);
    let at = room.add(ROOM * P);
    let flags = PRIVATE | MAP_FIXED | MAP_GROWSDOWN | MAP_STACK;
    let p = mmap(at.cast(), 2 * P, RW, flags, -1, 0) as *mut u8;
    show("mapped", p == at);
    attempt("just below", p, poke, p.sub(1));
    say("map", maps_of(p.sub(4 * P), 6));
    attempt("further below", p, poke, p.sub(3 * P));
    say("map", maps_of(p.sub(4 * P), 6));
    attempt("read below", p, peek, p.sub(4 * P));
    say("flags", smaps_of(p, &["Size", "Locked"]));
    ret("protect down", mprotect(p.cast(), P, PROT_READ | PROT_GROWSDOWN));
    say("map", maps_of(p.sub(4 * P), 6));
    ret("protect back", mprotect(p.sub(4 * P).cast(), 6 * P, RW));
    let other = mmap(p.sub(300 * P).cast(), P, RW, PRIVATE | MAP_FIXED, -1, 0) as *mut u8;
    show("neighbour", other == p.sub(300 * P));
    attempt("down to the gap", p, poke, p.sub(20 * P));
    attempt("into the gap", p, poke, p.sub(100 * P));
    attempt("neighbour", p, poke, other);
    let pid = child(|| {
        *p.sub(25 * P) = 7;
        say("child's map", maps_of(p.sub(30 * P), 32));
        0
    });
    say("child", end_of(pid));
    say("parent's map", maps_of(p.sub(30 * P), 32));
    let q = anon(2);
    munmap(q.cast(), P);
    attempt("below one that does not grow", q, poke, q);
    ret("protect down one that does not grow", mprotect(q.add(P).cast(), P, RW | PROT_GROWSDOWN));
    ret("protect up", mprotect(q.add(P).cast(), P, RW | PROT_GROWSUP));
}

pub unsafe fn rearranged() {
    put("f", &[0; 4 * P]);
    let fd = open("f", O_RDWR);
    for i in 0..4u8 {
        pwrite(fd, [b'a' + i].as_ptr().cast(), 1, i64::from(i) * P as i64);
    }
    let m = mmap(NULL, 4 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    let show_all =
        |step: &str| say(step, (0..4).map(|i| byte_at(m.add(i * P))).collect::<Vec<_>>().join(" "));
    let call = |step: &str, at: *mut u8, len: usize, prot: i32, page: usize, flags: i32| {
        ret(step, syscall(SYS_remap_file_pages, at, len, prot, page, flags))
    };
    call("first shows the last", m, P, 0, 3, 0);
    show_all("pages");
    call("two shift", m.add(P).cast(), 2 * P, 0, 0, MAP_NONBLOCK);
    show_all("pages");
    std::ptr::write(m, b'Z');
    show_all("written through");
    call("protection", m, P, PROT_READ, 0, 0);
    call("odd address is rounded", m.add(5), P, 0, 0, 0);
    call("nothing", m, 10, 0, 0, 0);
    call("wraps", m, usize::MAX - P, 0, 0, 0);
    call("offset wraps", m, P, 0, usize::MAX, 0);
    call("past the mapping", m.add(3 * P), 2 * P, 0, 0, 0);
    show_all("pages");
    let p = mmap(NULL, P, RW, MAP_PRIVATE, fd, 0) as *mut u8;
    call("private", p, P, 0, 1, 0);
    call("anonymous", anon(1), P, 0, 1, 0);
    munmap(p.cast(), P);
    call("hole", p, P, 0, 1, 0);
    let s = mmap(NULL, 2 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    *s = 1;
    *s.add(P) = 2;
    call("shared memory", s, P, 0, 1, 0);
    say("page", byte_at(s));
    let ro = open("f", O_RDONLY);
    let r = mmap(NULL, 2 * P, PROT_READ, MAP_SHARED, ro, 0) as *mut u8;
    call("read-only", r, P, 0, 1, 0);
    say("page", byte_at(r));
}

pub unsafe fn limited() {
    let under = |name: &str, resource: u32, bytes: u64, f: &dyn Fn()| {
        let pid = child(|| {
            let limit = rlimit { rlim_cur: bytes, rlim_max: bytes };
            setrlimit(resource, &limit);
            f();
            0
        });
        say(name, end_of(pid));
    };
    const MIB: usize = 1 << 20;
    let map = |step: &str, len: usize, prot: i32, flags: i32| {
        let p = mmap(NULL, len, prot, flags, -1, 0);
        ok(step, p as isize);
        p as *mut u8
    };
    under("data", RLIMIT_DATA, 64 << 20, &|| {
        map("private within", 16 * MIB, RW, PRIVATE);
        map("private beyond", 64 * MIB, RW, PRIVATE);
        map("shared beyond", 64 * MIB, RW, MAP_SHARED | MAP_ANONYMOUS);
        map("stack-like beyond", 64 * MIB, RW, PRIVATE | MAP_GROWSDOWN);
        let p = map("read-only beyond", 64 * MIB, PROT_READ, PRIVATE);
        ret("made writable", mprotect(p.cast(), 64 * MIB, RW));
        ret("a part made writable", mprotect(p.cast(), 16 * MIB, RW));
        ok("grown", mremap(p.cast(), 16 * MIB, 64 * MIB, MREMAP_MAYMOVE) as isize);
        let now = syscall(SYS_brk, 0) as usize;
        show("break", syscall(SYS_brk, now + 64 * MIB) as usize == now);
    });
    under("space", RLIMIT_AS, 1 << 30, &|| {
        map("beyond", 1 << 30, PROT_NONE, PRIVATE);
        let p = map("within", 256 * MIB, PROT_NONE, PRIVATE);
        ok("in place of it", mmap(p.cast(), 256 * MIB, RW, PRIVATE | MAP_FIXED, -1, 0) as isize);
        ok("grown beyond", mremap(p.cast(), 256 * MIB, 1 << 30, MREMAP_MAYMOVE) as isize);
        ok(
            "kept twice",
            mremap(p.cast(), 256 * MIB, 256 * MIB, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0) as isize,
        );
        let now = syscall(SYS_brk, 0) as usize;
        show("break", syscall(SYS_brk, now + (1 << 30)) as usize == now);
    });
}

pub unsafe fn synced() {
    put("f", &[b'f'; 4 * P]);
    let fd = open("f", O_RDWR);
    let m = mmap(NULL, 4 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    let p = anon(3);
    munmap(p.add(P).cast(), P);
    ret("sync", msync(m.cast(), 4 * P, MS_SYNC));
    ret("later", msync(m.cast(), 4 * P, MS_ASYNC));
    ret("no flag", msync(m.cast(), 4 * P, 0));
    ret("invalidate", msync(m.cast(), 4 * P, MS_INVALIDATE));
    ret("both", msync(m.cast(), P, MS_SYNC | MS_ASYNC));
    ret("unknown", msync(m.cast(), P, 8));
    ret("odd", msync(m.add(1).cast(), P, MS_SYNC));
    ret("odd length", msync(m.cast(), 1, MS_SYNC));
    ret("nothing", msync(m.cast(), 0, MS_SYNC));
    ret("nothing, in a hole", msync(p.add(P).cast(), 0, MS_SYNC));
    ret("anonymous", msync(p.cast(), P, MS_SYNC));
    ret("over a hole", msync(p.cast(), 3 * P, MS_SYNC));
    ret("over a hole, later", msync(p.cast(), 3 * P, MS_ASYNC));
    ret("wraps", msync(m.cast(), usize::MAX - P, MS_SYNC));
    ret("too far", msync((1usize << 62) as *mut c_void, P, MS_SYNC));
    mlock(m.cast(), P);
    ret("invalidate locked", msync(m.cast(), 4 * P, MS_INVALIDATE));
    ret("sync locked", msync(m.cast(), 4 * P, MS_SYNC));
}

/// A reader's mappings, and a writer that comes later; truncation under both.
pub unsafe fn later_writer() {
    put("f", &[b'a'; 3 * P]);
    let ro = open("f", O_RDONLY);
    let private = mmap(NULL, 3 * P, RW, MAP_PRIVATE, ro, 0) as *mut u8;
    let shared = mmap(NULL, 3 * P, PROT_READ, MAP_SHARED, ro, 0) as *mut u8;
    *private.add(P) = b'X';
    let look = |step: &str| {
        let of = |m: *mut u8| (0..3).map(|i| byte_at(m.add(i * P))).collect::<Vec<_>>().join(" ");
        say(step, format!("private {}, shared {}", of(private), of(shared)));
    };
    look("before");
    let rw = open("f", O_RDWR);
    pwrite(rw, [b'b'; 3 * P].as_ptr().cast(), 3 * P, 0);
    look("written");
    let m = mmap(NULL, 3 * P, RW, MAP_SHARED, rw, 0) as *mut u8;
    *m = b'c';
    *m.add(P) = b'c';
    look("stored");
    ftruncate(rw, P as i64);
    look("cut");
    attempt("private past the end", private, peek, private.add(2 * P));
    ftruncate(rw, 3 * P as i64);
    look("grown again");
    let mut st: stat = z();
    fstat(ro, &mut st);
    show("size", st.st_size);
    fallocate(rw, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, P as i64);
    look("punched");
    let t = open("f", O_RDWR | O_TRUNC);
    look("truncated by open");
    close(t);
    unlink(c"f".as_ptr());
    put("f", &[b'n'; 3 * P]);
    look("another file of that name");
}

/// Where mappings go that ask for no place, or for one that cannot be had.
pub unsafe fn placed() {
    // So small that none is aligned for huge pages.
    const UNIT: usize = 4 * P;
    let map = |hint: usize, len: usize, flags: i32| {
        mmap(hint as *mut c_void, len, RW, PRIVATE | flags, -1, 0) as usize
    };
    let a = map(0, 64 * UNIT, 0);
    let b = map(0, 64 * UNIT, 0);
    show("each below the one before", a - b);
    munmap(a as *mut c_void, 64 * UNIT);
    show("the hole is filled again", map(0, 64 * UNIT, 0) == a);
    munmap((b + 8 * UNIT) as *mut c_void, 16 * UNIT);
    show("from its top", map(0, 8 * UNIT, 0) == b + 16 * UNIT);
    show("too large for it", map(0, 16 * UNIT, 0) < b);
    show("hint that is free", map(b + 8 * UNIT, P, 0) == b + 8 * UNIT);
    show("hint that is taken", map(b + 8 * UNIT, P, 0) == b + 8 * UNIT);
    show("odd hint", map(b + 9 * UNIT + 5, P, 0) - b == 9 * UNIT);
    // vm.mmap_min_addr is a machine's own.
    let low = map(P, P, 0);
    show("hint below the lowest", low <= 1 << 16);
    munmap(low as *mut c_void, P);
    let high = 0x7fff_ffff_e000;
    show("hint too high", map(high, 64 * UNIT, 0) == high);
    let first = map(0, P, MAP_32BIT);
    show("low", (0x4000_0000..0x8000_0000).contains(&first));
    let end = syscall(SYS_brk, 0) as usize;
    show("the heap is not below the program", end > placed as usize || end < 1 << 32);
    // Three programs, one after the other: nothing stays where it was.
    let places = || {
        let out = std::process::Command::new("cat").arg("/proc/self/maps").output().expect("cat runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let start = |end: &str| {
            let line = text.lines().find(|l| l.ends_with(end)).unwrap_or("");
            line.split('-').next().unwrap_or("").to_owned()
        };
        [start("/cat"), start("[heap]"), start("libc.so.6"), start("[stack]")]
    };
    let three = [places(), places(), places()];
    for (i, what) in ["program", "heap", "library", "stack"].iter().enumerate() {
        let moved = three[0][i] != three[1][i] && three[1][i] != three[2][i];
        show(what, moved && !three[0][i].is_empty());
    }
}

/// As many mappings as there may be, and one more.
pub unsafe fn many_mappings() {
    let pid = child(|| {
        let pages = 140_000;
        let p = mmap(NULL, pages * P, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0) as *mut u8;
        let mut done = 0;
        let failed = loop {
            if done == pages / 2 {
                break "nothing".to_owned();
            }
            if mprotect(p.add((2 * done + 1) * P).cast(), P, PROT_READ) != 0 {
                break crate::kit::errno_name();
            }
            done += 1;
        };
        say("in the end", failed);
        show("about half the limit", (32_600..32_768).contains(&done));
        ret("unmapping in the middle of one", munmap(p.add((2 * done + 10) * P).cast(), P));
        ret("unmapping a whole one", munmap(p.add(P).cast(), P));
        ret("everything", munmap(p.cast(), pages * P));
        ok("and again", mmap(NULL, P, RW, PRIVATE, -1, 0) as isize);
        0
    });
    say("child", end_of(pid));
}

/// Threads that map, grow, move, protect and unmap at once, while the process forks: each finds its own memory as it
/// left it.
pub unsafe fn parallel() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 250;
    let wrong = || -> usize {
        let work = |thread: usize| unsafe {
            let mut wrong = 0;
            for round in 0..ROUNDS {
                let pages = 1 + (round * 7 + thread) % 20;
                let mark = (thread * 64 + round % 64) as u8;
                let mut check = |good: bool| wrong += usize::from(!good);
                let flags = if round % 3 == 0 { MAP_SHARED | MAP_ANONYMOUS } else { PRIVATE };
                let p = mmap(NULL, pages * P, RW, flags, -1, 0) as *mut u8;
                (0..pages).for_each(|i| *p.add(i * P) = mark);
                check(mprotect(p.cast(), P, PROT_READ) == 0);
                check(*p == mark);
                check(mprotect(p.cast(), P, RW) == 0);
                let q = mremap(p.cast(), pages * P, (pages + 3) * P, MREMAP_MAYMOVE) as *mut u8;
                check(q as isize != -1 && (0..pages).all(|i| *q.add(i * P) == mark));
                check(munmap(q.add(pages * P).cast(), 3 * P) == 0);
                check(mlock(q.cast(), P) == 0 && munlock(q.cast(), P) == 0);
                if flags == PRIVATE {
                    check(madvise(q.cast(), P, MADV_DONTNEED) == 0 && *q == 0);
                }
                check((1..pages).all(|i| *q.add(i * P) == mark));
                check(munmap(q.cast(), pages * P) == 0);
            }
            wrong
        };
        let threads: Vec<_> = (0..THREADS).map(|t| std::thread::spawn(move || work(t))).collect();
        for round in 0..20 {
            let own = anon(4);
            *own = round;
            let pid = child(|| {
                let same = *own == round;
                munmap(own.cast(), 4 * P);
                let fresh = anon(2);
                i32::from(!same || *fresh != 0)
            });
            if end_of(pid) != "exited 0" {
                return usize::MAX;
            }
            munmap(own.cast(), 4 * P);
        }
        threads.into_iter().map(|t| t.join().unwrap_or(1)).sum()
    };
    show("wrong", wrong());
    say("locked in the end", row("/proc/self/status", "VmLck"));
}
