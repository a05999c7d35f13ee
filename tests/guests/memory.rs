//! Memory: mappings of every kind, protection, faults, the break, `/proc/self/maps`.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, errno_name, get, handle, ok, open, put, ret, say, show, z};

pub const P: usize = 4096;
pub const RW: i32 = PROT_READ | PROT_WRITE;

pub unsafe fn anon(pages: usize) -> *mut u8 {
    mmap(std::ptr::null_mut(), pages * P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).cast()
}

/// Prints "ok" or errno of an mmap-like call; gives the address back.
fn map(step: &str, p: *mut c_void) -> *mut u8 {
    ok(step, p as isize);
    p.cast()
}

static FAULT_ADDR: AtomicUsize = AtomicUsize::new(0);
static FAULT_CODE: AtomicI32 = AtomicI32::new(0);
static FAULT_SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" {
    fn __sigsetjmp(env: *mut c_void, save: c_int) -> c_int;
    fn siglongjmp(env: *mut c_void, value: c_int) -> !;
}
static mut JUMP: [u64; 64] = [0; 64];

unsafe extern "C" fn on_fault(signal: i32, info: *mut siginfo_t, _: *mut c_void) {
    FAULT_ADDR.store((*info).si_addr() as usize, SeqCst);
    FAULT_CODE.store((*info).si_code, SeqCst);
    FAULT_SIGNAL.store(signal, SeqCst);
    siglongjmp((&raw mut JUMP).cast(), 1);
}

/// Tries `f` (which owns nothing that must be dropped) and says how it faulted, addresses relative to `base`.
#[inline(never)]
pub unsafe fn attempt(step: &str, base: *const u8, f: unsafe fn(*mut u8), at: *mut u8) {
    handle(SIGSEGV, on_fault as usize, SA_SIGINFO);
    handle(SIGBUS, on_fault as usize, SA_SIGINFO);
    FAULT_SIGNAL.store(0, SeqCst);
    if __sigsetjmp((&raw mut JUMP).cast(), 1) == 0 {
        f(at);
    }
    match FAULT_SIGNAL.load(SeqCst) {
        0 => say(step, "no fault"),
        signal => {
            let offset = FAULT_ADDR.load(SeqCst) as i64 - base as i64;
            say(step, format!("signal {signal} code {} at +{offset}", FAULT_CODE.load(SeqCst)));
        }
    }
}

pub unsafe fn peek(at: *mut u8) {
    std::ptr::read_volatile(at);
}
pub unsafe fn poke(at: *mut u8) {
    std::ptr::write_volatile(at, 1);
}

pub unsafe fn map_private() {
    put("f", b"file content");
    let fd = open("f", O_RDWR);
    let p = map("map", mmap(std::ptr::null_mut(), P, RW, MAP_PRIVATE, fd, 0));
    say("read", String::from_utf8_lossy(std::slice::from_raw_parts(p, 12)));
    show("zeros after the end", *p.add(100));
    *p = b'X';
    say("file unchanged", get("f"));
    pwrite(fd, c"Z".as_ptr().cast(), 1, 0);
    show("own copy stays", *p as char);
    close(fd);
    show("after close", *p.add(1) as char);
    ret("unmap", munmap(p.cast(), P));
    attempt("after unmap", p, peek, p);
}

pub unsafe fn map_shared() {
    put("f", &[b'.'; 10000]);
    let fd = open("f", O_RDWR);
    let p = map("map", mmap(std::ptr::null_mut(), 3 * P, RW, MAP_SHARED, fd, 0));
    let q = map("second", mmap(std::ptr::null_mut(), P, PROT_READ, MAP_SHARED, fd, P as i64));
    *p.add(P) = b'A';
    show("seen by the other", *q as char);
    let mut b = [0u8; 1];
    pread(fd, b.as_mut_ptr().cast(), 1, P as i64);
    show("seen by read", b[0] as char);
    pwrite(fd, c"B".as_ptr().cast(), 1, P as i64 + 1);
    show("write seen", *q.add(1) as char);
    let pid = child(|| {
        *p.add(2) = b'C';
        0
    });
    end_of(pid);
    show("child's write seen", *p.add(2) as char);
    ret("msync", msync(p.cast(), 3 * P, MS_SYNC));
    ret("msync bad flags", msync(p.cast(), P, MS_SYNC | MS_ASYNC));
    attempt("write to the read-only one", q, poke, q);
    munmap(p.cast(), 3 * P);
    munmap(q.cast(), P);
    show("stays in the file", get("f").contains("AB"));
    unlink(c"f".as_ptr());
    let r = map("of an unlinked file", mmap(std::ptr::null_mut(), P, RW, MAP_SHARED, fd, 0));
    show("content", *r.add(2) as char);
}

pub unsafe fn map_shared_anon() {
    let p = mmap(std::ptr::null_mut(), P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as *mut u8;
    let private = anon(1);
    *private = 1;
    let pid = child(|| {
        *p = 42;
        *private = 2;
        0
    });
    end_of(pid);
    show("shared", *p);
    show("private", *private);
    let pid = child(|| {
        let q = mremap(p.cast(), P, P, MREMAP_MAYMOVE) as *mut u8;
        *q.add(1) = 43;
        0
    });
    end_of(pid);
    show("still shared", *p.add(1));
}

pub unsafe fn munmap_split() {
    let p = anon(5);
    for i in 0..5 {
        *p.add(i * P) = i as u8;
    }
    ret("middle", munmap(p.add(2 * P).cast(), P));
    attempt("hole", p, peek, p.add(2 * P));
    show("before", *p.add(P));
    show("after", *p.add(3 * P));
    ret("hole again", munmap(p.add(2 * P).cast(), P));
    ret("unaligned", munmap(p.add(1).cast(), P));
    ret("nothing", munmap(p.cast(), 0));
    ret("all, across the hole", munmap(p.cast(), 5 * P));
    attempt("gone", p, peek, p);
    ret("outside", munmap((1usize << 62) as *mut c_void, P));
}

pub unsafe fn protect() {
    let p = anon(3);
    ret("read-only", mprotect(p.add(P).cast(), P, PROT_READ));
    attempt("write", p, poke, p.add(P + 5));
    attempt("read", p, peek, p.add(P + 5));
    attempt("neighbour", p, poke, p.add(2 * P));
    ret("none", mprotect(p.add(P).cast(), P, PROT_NONE));
    attempt("read", p, peek, p.add(P));
    ret("back", mprotect(p.add(P).cast(), P, RW));
    attempt("write", p, poke, p.add(P));
    ret("unaligned", mprotect(p.add(1).cast(), P, PROT_READ));
    ret("bad bits", mprotect(p.cast(), P, 0x40));
    ret("nothing", mprotect(p.cast(), 0, PROT_READ));
    let q = anon(3);
    munmap(q.add(P).cast(), P);
    ret("across a hole", mprotect(q.cast(), 3 * P, PROT_READ));
    attempt("part before the hole changed", q, poke, q);
    let code: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];
    let x = anon(1);
    std::ptr::copy_nonoverlapping(code.as_ptr(), x, 6);
    ret("executable", mprotect(x.cast(), P, PROT_READ | PROT_EXEC));
    let f: extern "C" fn() -> i32 = std::mem::transmute(x);
    ret("made code", f());
    put("ro", &[b'x'; P]);
    let fd = open("ro", O_RDONLY);
    let m = mmap(std::ptr::null_mut(), P, PROT_READ, MAP_SHARED, fd, 0);
    ret("write access to a shared read-only file", mprotect(m, P, RW));
}

pub unsafe fn remap() {
    let p = anon(4);
    *p = 7;
    ret("shrink in place", i32::from(mremap(p.cast(), 4 * P, 2 * P, 0) != p.cast()));
    attempt("cut off", p, peek, p.add(2 * P));
    let q = mremap(p.cast(), 2 * P, 100 * P, MREMAP_MAYMOVE) as *mut u8;
    show("content moved along", *q);
    *q.add(99 * P) = 1;
    let space = anon(4);
    let r = mremap(q.cast(), 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, space) as *mut u8;
    show("fixed", r == space);
    show("content", *r);
    attempt("old place", q, peek, q);
    ok("no room in place", mremap(r.cast(), P, 1 << 40, 0) as isize);
    ok("unaligned", mremap(r.add(1).cast(), P, P, 0) as isize);
    ok("unmapped", mremap(q.cast(), P, 2 * P, MREMAP_MAYMOVE) as isize);
    ok("fixed without maymove", mremap(r.cast(), P, P, MREMAP_FIXED, space) as isize);
    ok("new size 0", mremap(r.cast(), P, 0, MREMAP_MAYMOVE) as isize);
    ok("overlap", mremap(r.cast(), 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, r.add(P)) as isize);
    put("f", &[b'f'; 3 * P]);
    let fd = open("f", O_RDWR);
    let m = mmap(std::ptr::null_mut(), P, RW, MAP_SHARED, fd, 0);
    let m = mremap(m, P, 3 * P, MREMAP_MAYMOVE) as *mut u8;
    show("file mapping grows", *m.add(2 * P) as char);
}

pub unsafe fn advise() {
    let p = anon(2);
    *p = 9;
    *p.add(P) = 9;
    ret("DONTNEED", madvise(p.cast(), P, MADV_DONTNEED));
    show("zero again", *p);
    show("neighbour stays", *p.add(P));
    put("f", &[b'f'; P]);
    let fd = open("f", O_RDWR);
    let m = mmap(std::ptr::null_mut(), P, RW, MAP_PRIVATE, fd, 0) as *mut u8;
    *m = b'X';
    ret("DONTNEED of a file", madvise(m.cast(), P, MADV_DONTNEED));
    show("file's content again", *m as char);
    ret("FREE", madvise(p.cast(), P, MADV_FREE));
    ret("WILLNEED", madvise(p.cast(), P, MADV_WILLNEED));
    ret("NORMAL", madvise(p.cast(), P, MADV_NORMAL));
    ret("RANDOM", madvise(p.cast(), P, MADV_RANDOM));
    ret("HUGEPAGE", madvise(p.cast(), P, MADV_HUGEPAGE));
    ret("unknown", madvise(p.cast(), P, 9999));
    ret("unaligned", madvise(p.add(1).cast(), P, MADV_NORMAL));
    munmap(p.add(P).cast(), P);
    ret("unmapped", madvise(p.cast(), 2 * P, MADV_DONTNEED));
    *p = 5;
    ret("DONTFORK", madvise(p.cast(), P, MADV_DONTFORK));
    let pid = child(|| {
        handle(SIGSEGV, SIG_DFL, 0);
        *p as i32
    });
    say("child", end_of(pid));
    *m = 3;
    ret("WIPEONFORK on a file", madvise(m.cast(), P, MADV_WIPEONFORK));
    let mut vec = [0u8; 1];
    ret("mincore", mincore(p.cast(), P, vec.as_mut_ptr()));
    show("resident", vec[0] & 1);
    ret("mincore unmapped", mincore(p.add(P).cast(), P, vec.as_mut_ptr()));
    ret("mlock", mlock(p.cast(), P));
    ret("munlock", munlock(p.cast(), P));
}

pub unsafe fn breaks() {
    let now = syscall(SYS_brk, 0) as usize;
    let up = syscall(SYS_brk, now + 10 * P) as usize;
    show("grown", up - now);
    *(now as *mut u8).add(9 * P) = 1;
    let down = syscall(SYS_brk, now + P) as usize;
    show("shrunk", down - now);
    attempt("past", now as *const u8, poke, (now as *mut u8).add(5 * P));
    let again = syscall(SYS_brk, now + 10 * P) as usize;
    show("grown again", again - now);
    show("zero", *(now as *mut u8).add(9 * P));
    let bad = syscall(SYS_brk, 1usize << 60) as usize;
    show("too far", bad == again);
    let low = syscall(SYS_brk, 4096usize) as usize;
    show("too low", low == again);
    show("odd", syscall(SYS_brk, now + 123) as usize - now);
}

pub unsafe fn fixed() {
    let p = anon(4);
    *p.add(P) = 1;
    let q = mmap(p.add(P).cast(), P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    show("replaces", q == p.add(P).cast());
    show("fresh", *p.add(P));
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    ok("NOREPLACE taken", mmap(p.add(P).cast(), P, RW, flags, -1, 0) as isize);
    munmap(p.add(2 * P).cast(), P);
    let r = mmap(p.add(2 * P).cast(), P, RW, flags, -1, 0);
    show("NOREPLACE free", r == p.add(2 * P).cast());
    munmap(p.add(2 * P).cast(), P);
    let hint = mmap(p.add(2 * P).cast(), P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    show("hint", hint == p.add(2 * P).cast());
    ok(
        "fixed unaligned",
        mmap(p.add(1).cast(), P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) as isize,
    );
    let far = (1usize << 47) as *mut c_void;
    ok("fixed too high", mmap(far, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) as isize);
    let low = mmap(0x10000 as *mut c_void, P, RW, flags, -1, 0);
    show("low address", low == 0x10000 as *mut c_void);
}

pub unsafe fn map_errors() {
    put("f", b"x");
    let null = std::ptr::null_mut();
    let ro = open("f", O_RDONLY);
    let wo = open("f", O_WRONLY);
    ok("length 0", mmap(null, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) as isize);
    ok("no type", mmap(null, P, RW, MAP_ANONYMOUS, -1, 0) as isize);
    ok("bad descriptor", mmap(null, P, RW, MAP_PRIVATE, 99, 0) as isize);
    ok("odd offset", syscall(SYS_mmap, 0, P, RW, MAP_PRIVATE, ro, 100));
    ok("shared write of a read-only", mmap(null, P, RW, MAP_SHARED, ro, 0) as isize);
    ok("private write of a read-only", mmap(null, P, RW, MAP_PRIVATE, ro, 0) as isize);
    ok("write-only", mmap(null, P, PROT_WRITE, MAP_SHARED, wo, 0) as isize);
    ok("huge", mmap(null, 1 << 47, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) as isize);
    ok("wrapping", mmap(null, usize::MAX - 100, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) as isize);
    let dir = open(".", O_RDONLY);
    ok("directory", mmap(null, P, PROT_READ, MAP_PRIVATE, dir, 0) as isize);
    let (r, _w) = crate::kit::pipe();
    ok("pipe", mmap(null, P, PROT_READ, MAP_PRIVATE, r, 0) as isize);
    let zero = open("/dev/zero", O_RDWR);
    let p = map("/dev/zero private", mmap(null, P, RW, MAP_PRIVATE, zero, 0));
    *p = 1;
    ok(
        "shared validate, bad flag",
        mmap(null, P, PROT_READ, MAP_SHARED_VALIDATE | 0x40_0000, ro, 0) as isize,
    );
    ok(
        "reserve without backing",
        mmap(null, 1 << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) as isize,
    );
}

pub unsafe fn past_the_end() {
    put("f", &[b'x'; 100]);
    let fd = open("f", O_RDWR);
    let p = mmap(std::ptr::null_mut(), 3 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    attempt("first page", p, peek, p.add(200));
    attempt("second page", p, peek, p.add(P));
    ftruncate(fd, 2 * P as i64);
    attempt("after growing", p, peek, p.add(P));
    ftruncate(fd, 0);
    attempt("after shrinking", p, peek, p);
    ret("write(2) from there", write(fd, p.cast(), 10));
}

pub unsafe fn maps() {
    put("mapped-file", &[b'x'; 2 * P]);
    let fd = open("mapped-file", O_RDONLY);
    let p = mmap(std::ptr::null_mut(), P, PROT_READ, MAP_PRIVATE, fd, P as i64) as usize;
    let find = |at: usize| {
        let text = get("/proc/self/maps");
        let line = text.lines().find(|l| {
            let mut ends = l.split(' ').next().unwrap_or("").split('-');
            let mut next = || usize::from_str_radix(ends.next().unwrap_or("0"), 16).unwrap_or(0);
            let (a, b) = (next(), next());
            a <= at && at < b
        });
        let fields: Vec<String> = line.unwrap_or("").split_whitespace().map(str::to_owned).collect();
        let get = |i: usize| fields.get(i).cloned().unwrap_or_default();
        format!("{} {} {}", get(1), get(2), get(5).rsplit('/').next().unwrap_or(""))
    };
    say("file", find(p));
    munmap(p as *mut c_void, P);
    let local = 0u8;
    say("stack", find(&raw const local as usize));
    let brk = syscall(SYS_brk, 0) as usize;
    syscall(SYS_brk, brk + P);
    say("heap", find(brk + P - 1));
    say("code", find(maps as usize));
    let a = anon(4) as usize;
    mprotect((a + P) as *mut c_void, P, PROT_READ | PROT_EXEC);
    say("anonymous", find(a + P));
    mprotect((a + 2 * P) as *mut c_void, P, PROT_NONE);
    say("none", find(a + 2 * P));
    let s = mmap(std::ptr::null_mut(), P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
    say("shared", find(s).split(' ').next().unwrap_or("").to_owned());
    let text = get("/proc/self/maps");
    show("vdso", text.contains("[vdso]"));
    let mut last = 0;
    let mut ordered = true;
    for line in text.lines().filter(|l| !l.contains("[vsyscall]")) {
        let mut ends = line.split(' ').next().unwrap_or("").split('-');
        let start = usize::from_str_radix(ends.next().unwrap_or("0"), 16).unwrap_or(0);
        let end = usize::from_str_radix(ends.next().unwrap_or("0"), 16).unwrap_or(0);
        ordered &= start >= last && end > start;
        last = end;
    }
    show("ordered", ordered);
    show("no foreign executable", text.lines().any(|l| l.contains("stub") || l.contains("runsc-cli")));
}

fn deep(n: u32) -> u32 {
    let block = [n as u8; 1024];
    if n == 0 {
        return 0;
    }
    deep(n - 1) + u32::from(std::hint::black_box(block)[(n % 1024) as usize] == n as u8)
}

pub unsafe fn stack() {
    show("grows by 6 MiB", deep(5000));
    let pid = child(|| {
        handle(SIGSEGV, SIG_DFL, 0);
        deep(2_000_000) as i32
    });
    say("overflow", end_of(pid));
    let mut limit: rlimit = z();
    getrlimit(RLIMIT_STACK, &mut limit);
    show("limit", limit.rlim_cur);
    let pid = child(|| {
        let raised = rlimit { rlim_cur: 64 << 20, ..limit };
        ret("raised", setrlimit(RLIMIT_STACK, &raised));
        show("grows by 40 MiB", deep(36_000));
        handle(SIGSEGV, SIG_DFL, 0);
        deep(2_000_000) as i32
    });
    say("overflow of the raised one", end_of(pid));
}

pub unsafe fn address_limit() {
    let pid = child(|| {
        let limit = rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
        ret("setrlimit", setrlimit(RLIMIT_AS, &limit));
        let p = mmap(std::ptr::null_mut(), 2 << 30, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        say("2 GiB", if p == MAP_FAILED { errno_name() } else { "mapped".into() });
        let p = mmap(std::ptr::null_mut(), 1 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        say("1 MiB", if p == MAP_FAILED { errno_name() } else { "mapped".into() });
        0
    });
    say("child", end_of(pid));
}

pub unsafe fn fork_copies() {
    let p = anon(200);
    for i in 0..200 {
        *p.add(i * P) = i as u8;
    }
    for round in 0..5u8 {
        let pid = child(|| {
            let before = (0..200).all(|i| *p.add(i * P) == (i as u8).wrapping_add(round));
            for i in 0..200 {
                *p.add(i * P) = 0xee;
            }
            i32::from(before)
        });
        say("child saw the parent's", end_of(pid));
        for i in 0..200 {
            *p.add(i * P) = (*p.add(i * P)).wrapping_add(1);
        }
    }
    show("own", (0..200).all(|i| *p.add(i * P) == (i as u8).wrapping_add(5)));
}
