//! Memory that is locked, sealed, or another process's: mlock and its limit, memfd seals, mseal, process_vm calls,
//! membarrier, protection keys.

use libc::*;

use crate::kit::{child, end_of, get, ok, open, pipe, put, ret, say, show};
use crate::memory::{anon, attempt, peek, poke, P, RW};
use crate::memory_more::{maps_of, row, smaps_of};

const NULL: *mut c_void = std::ptr::null_mut();
const PRIVATE: i32 = MAP_PRIVATE | MAP_ANONYMOUS;
const LOCK_ROWS: &[&str] = &["Size", "Rss", "Private_Dirty", "Anonymous", "Locked"];

/// Runs as a user who may lock `pages` pages.
unsafe fn limited_to(name: &str, pages: u64, f: impl FnOnce()) {
    let pid = child(|| {
        let limit = rlimit { rlim_cur: pages * P as u64, rlim_max: pages * P as u64 };
        setrlimit(RLIMIT_MEMLOCK, &limit);
        setresuid(65534, 65534, 65534);
        // What a change of credentials hides from oneself otherwise.
        prctl(PR_SET_DUMPABLE, 1);
        f();
        0
    });
    say(name, end_of(pid));
}

unsafe fn locked() -> String {
    row("/proc/self/status", "VmLck")
}

pub unsafe fn locks() {
    let p = anon(16);
    *p = 1;
    ret("lock", mlock(p.add(5).cast(), P));
    say("two pages", locked());
    say("rows", smaps_of(p, LOCK_ROWS));
    ret("again", mlock(p.cast(), 4 * P));
    say("four pages", locked());
    ret("unlock the middle", munlock(p.add(P).cast(), P));
    say("three pages", locked());
    ret("unlock all", munlock(p.cast(), 16 * P));
    say("none", locked());
    ret("nothing", mlock(p.cast(), 0));
    ret("wraps", mlock(p.cast(), usize::MAX - P));
    ret("on fault", syscall(SYS_mlock2, p, 2 * P, 1));
    ret("unknown flag", syscall(SYS_mlock2, p, P, 2));
    say("on fault counts", locked());
    let holed = anon(3);
    munmap(holed.add(P).cast(), P);
    ret("over a hole", mlock(holed.cast(), 3 * P));
    say("what comes before the hole", locked());
    ret("unlock over a hole", munlock(holed.cast(), 3 * P));
    ret("unlock a hole", munlock(holed.add(P).cast(), P));
    let none = mmap(NULL, 2 * P, PROT_NONE, PRIVATE, -1, 0) as *mut u8;
    ret("no access", mlock(none.cast(), 2 * P));
    say("counts all the same", locked());
    munlock(none.cast(), 2 * P);
    munlock(p.cast(), 16 * P);
    put("f", &[b'f'; P]);
    let fd = open("f", O_RDWR);
    let past = mmap(NULL, 3 * P, RW, MAP_SHARED, fd, 0) as *mut u8;
    ret("past the end of a file", mlock(past.cast(), 3 * P));
    ret("a file's page", mlock(past.cast(), P));
    munmap(past.cast(), 3 * P);
    say("unmapped", locked());
    let q = mmap(NULL, 2 * P, RW, PRIVATE | MAP_LOCKED, -1, 0) as *mut u8;
    say("mapped locked", locked());
    say("rows", smaps_of(q, LOCK_ROWS));
    let q = mremap(q.cast(), 2 * P, 6 * P, MREMAP_MAYMOVE) as *mut u8;
    say("grown locked", locked());
    say("rows", smaps_of(q, LOCK_ROWS));
    let pid = child(|| {
        say("child's", locked());
        0
    });
    end_of(pid);
    ret("all", mlockall(MCL_CURRENT | MCL_ONFAULT));
    show("more than before", locked() != "24 kB");
    ret("none", munlockall());
    say("none", locked());
    ret("no flag", mlockall(0));
    ret("only on fault", mlockall(MCL_ONFAULT));
    ret("unknown", mlockall(8));
    ret("in future", mlockall(MCL_FUTURE));
    let r = anon(4);
    say("a new mapping", locked());
    say("rows", smaps_of(r, LOCK_ROWS));
    let pid = child(|| {
        anon(2);
        say("not in a child", locked());
        0
    });
    end_of(pid);
    ret("in future, on fault", mlockall(MCL_FUTURE | MCL_ONFAULT));
    let r = anon(2);
    say("a new mapping", locked());
    say("rows", smaps_of(r, LOCK_ROWS));
    ret("no more", munlockall());
    anon(2);
    say("none", locked());
}

pub unsafe fn lock_limits() {
    limited_to("eight pages", 8, || {
        let p = anon(32);
        ret("seven", mlock(p.cast(), 7 * P));
        ret("the same again", mlock(p.cast(), 7 * P));
        ret("two more", mlock(p.add(7 * P).cast(), 2 * P));
        ret("nine over them", mlock(p.cast(), 9 * P));
        ret("eight over them", mlock(p.cast(), 8 * P));
        say("locked", locked());
        ok("map one more", mmap(NULL, P, RW, PRIVATE | MAP_LOCKED, -1, 0) as isize);
        ok("grow a locked one", mremap(p.cast(), P, 2 * P, MREMAP_MAYMOVE) as isize);
        let r = mremap(p.cast(), 8 * P, 9 * P, MREMAP_MAYMOVE);
        ok("grow all of it", r as isize);
        ret("all current", mlockall(MCL_CURRENT));
        ret("all future", mlockall(MCL_FUTURE));
        ok("map", mmap(NULL, P, RW, PRIVATE, -1, 0) as isize);
        ok("map without access", mmap(NULL, P, PROT_NONE, PRIVATE, -1, 0) as isize);
        let now = syscall(SYS_brk, 0) as usize;
        show("break", syscall(SYS_brk, now + 16 * P) as usize == now);
        ret("none", munlockall());
        ok("map", mmap(NULL, P, RW, PRIVATE, -1, 0) as isize);
    });
    limited_to("none", 0, || {
        let p = anon(2);
        ret("lock", mlock(p.cast(), P));
        ret("lock nothing", mlock(p.cast(), 0));
        ret("lock on fault", syscall(SYS_mlock2, p, P, 1));
        ret("unlock", munlock(p.cast(), P));
        ret("all", mlockall(MCL_CURRENT));
        ret("all future", mlockall(MCL_FUTURE));
        ret("unlock all", munlockall());
        ok("map", mmap(NULL, P, RW, PRIVATE | MAP_LOCKED, -1, 0) as isize);
    });
    limited_to("all there is", 1 << 40, || {
        ret("all", mlockall(MCL_CURRENT));
        let p = anon(2);
        ret("unlock all", munlockall());
        ret("lock", mlock(p.cast(), 2 * P));
    });
}

pub unsafe fn memory_files() {
    let make = |flags: u32| memfd_create(c"m".as_ptr(), flags);
    ret("unknown flag", make(0x100));
    ret("long name", memfd_create(crate::kit::c(&"x".repeat(249)).as_ptr(), 0).signum());
    ret("name too long", memfd_create(crate::kit::c(&"x".repeat(250)).as_ptr(), 0));
    ret("exec and no exec", make(0x8 | 0x10));
    let plain = make(MFD_CLOEXEC);
    ret("seals of one without", fcntl(plain, F_GET_SEALS));
    ret("seal one without", fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
    let no_exec = make(0x8);
    ret("no exec", fcntl(no_exec, F_GET_SEALS));
    ret("make executable", fchmod(no_exec, 0o777));
    ret("change the rest", fchmod(no_exec, 0o600));
    let m = make(MFD_ALLOW_SEALING | 0x10);
    ret("exec", fcntl(m, F_GET_SEALS));
    ret("unknown seal", fcntl(m, F_ADD_SEALS, 0x80));
    ftruncate(m, 4 * P as i64);
    let ro = open(&format!("/proc/self/fd/{m}"), O_RDONLY);
    ret("through a read-only descriptor", fcntl(ro, F_ADD_SEALS, F_SEAL_GROW));
    ret("grow", fcntl(m, F_ADD_SEALS, F_SEAL_GROW));
    ret("grows no more", ftruncate(m, 5 * P as i64));
    ret("shrinks", ftruncate(m, 3 * P as i64));
    ret("write past the end", pwrite(m, c"x".as_ptr().cast(), 1, 3 * P as i64));
    ret("write across the end", pwrite(m, [1u8; 8].as_ptr().cast(), 8, 3 * P as i64 - 4));
    ret("allocate past the end", fallocate(m, 0, 0, 4 * P as i64));
    ret("allocate, keep size", fallocate(m, FALLOC_FL_KEEP_SIZE, 0, 4 * P as i64));
    ret("shrink", fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK));
    ret("shrinks no more", ftruncate(m, P as i64));
    let map = mmap(NULL, P, RW, MAP_SHARED, m, 0) as *mut u8;
    ret("write under a mapping", fcntl(m, F_ADD_SEALS, F_SEAL_WRITE));
    ret("future writes under a mapping", fcntl(m, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    attempt("the mapping writes on", map, poke, map);
    show("seen", *map);
    ret("write", pwrite(m, c"x".as_ptr().cast(), 1, 0));
    ret("punch", fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, P as i64));
    ok("map shared, writable", mmap(NULL, P, RW, MAP_SHARED, m, 0) as isize);
    ok("map private, writable", mmap(NULL, P, RW, MAP_PRIVATE, m, 0) as isize);
    let only = mmap(NULL, P, PROT_READ, MAP_SHARED, m, 0);
    ok("map shared, read-only", only as isize);
    ret("make it writable", mprotect(only, P, RW));
    ret("make the old one read-only", mprotect(map.cast(), P, PROT_READ));
    ret("and writable again", mprotect(map.cast(), P, RW));
    munmap(map.cast(), P);
    ret("write seal now", fcntl(m, F_ADD_SEALS, F_SEAL_WRITE));
    ret("seal", fcntl(m, F_ADD_SEALS, F_SEAL_SEAL));
    ret("no more", fcntl(m, F_ADD_SEALS, F_SEAL_GROW));
    ret("seals", fcntl(m, F_GET_SEALS));
    let w = make(MFD_ALLOW_SEALING);
    ftruncate(w, 2 * P as i64);
    let map = mmap(NULL, P, PROT_READ, MAP_SHARED, w, 0);
    ret("write seal under a read-only mapping", fcntl(w, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(map, P);
    ret("write seal", fcntl(w, F_ADD_SEALS, F_SEAL_WRITE));
    let map = mmap(NULL, P, PROT_READ, MAP_SHARED, w, 0);
    ok("map sealed shared, read-only", map as isize);
    ret("make it writable", mprotect(map, P, RW));
    ok("map sealed shared, writable", mmap(NULL, P, RW, MAP_SHARED, w, 0) as isize);
    ok("map sealed private", mmap(NULL, P, RW, MAP_PRIVATE, w, 0) as isize);
    ret("truncate", ftruncate(w, P as i64));
    ret("write", pwrite(w, c"x".as_ptr().cast(), 1, 0));
    let e = make(MFD_ALLOW_SEALING | 0x10);
    ret("executable seal", fcntl(e, F_ADD_SEALS, 0x20));
    ret("seals that come with it", fcntl(e, F_GET_SEALS));
    ret("mode", fchmod(e, 0o600));
    let (r, _w) = pipe();
    ret("seals of a pipe", fcntl(r, F_GET_SEALS));
    ret("seal a pipe", fcntl(r, F_ADD_SEALS, F_SEAL_WRITE));
    put("f", b"f");
    ret("seals of a file", fcntl(open("f", O_RDWR), F_GET_SEALS));
    let a = make(0);
    ftruncate(a, 2 * P as i64);
    let map = mmap(NULL, 2 * P, RW, MAP_SHARED, a, 0) as *mut u8;
    *map = b'm';
    close(a);
    let pid = child(|| {
        *map.add(P) = b'c';
        0
    });
    end_of(pid);
    show("shared after close and fork", *map.add(P) as char);
}

pub unsafe fn sealing() {
    let seal =
        |step: &str, at: *mut u8, len: usize, flags: u64| ret(step, syscall(SYS_MSEAL, at, len, flags));
    const SYS_MSEAL: c_long = 462;
    let p = anon(8);
    *p.add(3 * P) = 7;
    seal("odd", p.add(1), P, 0);
    seal("flags", p, P, 1);
    seal("nothing", p, 0, 0);
    seal("wraps", p, usize::MAX - P, 0);
    seal("two pages", p.add(2 * P), 2 * P, 0);
    seal("again", p.add(2 * P), 2 * P, 0);
    ret("unmap", munmap(p.add(2 * P).cast(), P));
    ret("unmap around", munmap(p.cast(), 8 * P));
    show("nothing happened", *p.add(3 * P));
    ret("protect", mprotect(p.add(3 * P).cast(), P, PROT_READ));
    ret("protect to the same", mprotect(p.add(3 * P).cast(), P, RW));
    ret("protect around", mprotect(p.cast(), 8 * P, PROT_READ));
    attempt("what comes before", p, poke, p);
    ok("move", mremap(p.add(2 * P).cast(), P, P, MREMAP_MAYMOVE | MREMAP_FIXED, anon(1)) as isize);
    ok("grow", mremap(p.add(2 * P).cast(), 2 * P, 3 * P, MREMAP_MAYMOVE) as isize);
    ok("shrink", mremap(p.add(2 * P).cast(), 2 * P, P, 0) as isize);
    ok("same size", mremap(p.add(2 * P).cast(), 2 * P, 2 * P, 0) as isize);
    ok("onto it", mremap(anon(1).cast(), P, P, MREMAP_MAYMOVE | MREMAP_FIXED, p.add(3 * P)) as isize);
    ok("map over it", mmap(p.add(3 * P).cast(), P, RW, PRIVATE | MAP_FIXED, -1, 0) as isize);
    ret("forget what can be written", madvise(p.add(3 * P).cast(), P, MADV_DONTNEED));
    show("forgotten", *p.add(3 * P));
    ret("lock", mlock(p.add(3 * P).cast(), P));
    ret("unlock", munlock(p.add(3 * P).cast(), P));
    let r = mmap(NULL, 2 * P, PROT_READ, PRIVATE, -1, 0) as *mut u8;
    seal("read-only", r, P, 0);
    ret("forget read-only", madvise(r.cast(), P, MADV_DONTNEED));
    ret("free read-only", madvise(r.cast(), P, MADV_FREE));
    ret("wipe on fork", madvise(r.cast(), P, MADV_WIPEONFORK));
    ret("not into a child", madvise(r.cast(), P, MADV_DONTFORK));
    ret("cold", madvise(r.cast(), P, 20));
    ret("guard", madvise(r.cast(), P, 102));
    put("f", &[b'f'; P]);
    let fd = open("f", O_RDWR);
    let f = mmap(NULL, P, PROT_READ, MAP_PRIVATE, fd, 0) as *mut u8;
    seal("file", f, P, 0);
    ret("forget a file's", madvise(f.cast(), P, MADV_DONTNEED));
    let s = mmap(NULL, P, PROT_READ, MAP_SHARED, fd, 0) as *mut u8;
    seal("shared file", s, P, 0);
    ret("forget a shared file's", madvise(s.cast(), P, MADV_DONTNEED));
    let h = anon(3);
    munmap(h.add(P).cast(), P);
    seal("over a hole", h, 3 * P, 0);
    ret("nothing sealed", munmap(h.cast(), P));
    let pid = child(|| {
        ret("inherited", munmap(p.add(2 * P).cast(), P));
        0
    });
    end_of(pid);
    let now = syscall(SYS_brk, 0) as usize;
    let up = syscall(SYS_brk, now + 4 * P) as usize;
    let page = (now + P - 1) & !(P - 1);
    seal("heap", (page + P) as *mut u8, P, 0);
    show("break stays", syscall(SYS_brk, now) as usize == up);
    say("map", maps_of(p, 8));
}

pub unsafe fn barriers() {
    let call = |step: &str, command: i32, flags: u32| ret(step, syscall(SYS_membarrier, command, flags, 0));
    let offered = syscall(SYS_membarrier, 0, 0, 0);
    show("offered", offered & 0x7f);
    call("bad flag of a question", 0, 1);
    call("global", 1, 0);
    call("private, not registered", 8, 0);
    call("core, not registered", 32, 0);
    call("global expedited, not registered", 2, 0);
    call("register global expedited", 4, 0);
    call("global expedited", 2, 0);
    call("register private", 16, 0);
    call("private", 8, 0);
    call("core still not", 32, 0);
    call("register core", 64, 0);
    call("core", 32, 0);
    call("private on a processor", 8, 1);
    call("unknown", 1 << 20, 0);
    call("two at once", 3, 0);
    let pid = child(|| {
        call("child's private", 8, 0);
        call("child's core", 32, 0);
        0
    });
    end_of(pid);
    if offered & 512 != 0 {
        call("registrations", 512, 0);
        call("registrations with a flag", 512, 1);
    }
}

unsafe fn iov(at: *mut u8, len: usize) -> iovec {
    iovec { iov_base: at.cast(), iov_len: len }
}

pub unsafe fn other_process() {
    let p = anon(4);
    for i in 0..4 {
        *p.add(i * P) = b'a' + i as u8;
    }
    munmap(p.add(2 * P).cast(), P);
    mprotect(p.add(3 * P).cast(), P, PROT_READ);
    let (r, w) = pipe();
    let pid = child(|| {
        let mut byte = 0u8;
        *p = b'Z';
        read(r, (&raw mut byte).cast(), 1);
        say("child sees", *p as char);
        0
    });
    let local = anon(4);
    let mine = [iov(local, 10), iov(local.add(10), 2 * P)];
    let read_it = |step: &str, there: &[iovec], flags: u64| {
        ret(step, process_vm_readv(pid, mine.as_ptr(), 2, there.as_ptr(), there.len() as u64, flags));
    };
    while {
        process_vm_readv(pid, mine.as_ptr(), 1, [iov(p, 1)].as_ptr(), 1, 0);
        *local != b'Z'
    } {
        crate::kit::nap(2);
    }
    read_it("within", &[iov(p.add(P), 100)], 0);
    show("content", *local as char);
    read_it("two pieces", &[iov(p, 1), iov(p.add(P), 1)], 0);
    show("content", (*local as char, *local.add(1) as char));
    read_it("into a hole", &[iov(p.add(P), 2 * P)], 0);
    read_it("a hole", &[iov(p.add(2 * P), P)], 0);
    read_it("a piece and then a hole", &[iov(p, 5), iov(p.add(2 * P), P)], 0);
    read_it("nothing", &[], 0);
    read_it("empty pieces", &[iov(p, 0), iov(p.add(2 * P), 0), iov(p, 3)], 0);
    read_it("flags", &[iov(p, 1)], 1);
    read_it("negative length", &[iov(p, usize::MAX)], 0);
    ret("no local pieces", process_vm_readv(pid, mine.as_ptr(), 0, [iov(p, 1)].as_ptr(), 1, 0));
    ret("bad local pieces", process_vm_readv(pid, std::ptr::null(), 1, [iov(p, 1)].as_ptr(), 1, 0));
    ret("too many pieces", process_vm_readv(pid, mine.as_ptr(), 1025, [iov(p, 1)].as_ptr(), 1, 0));
    ret(
        "bad local memory",
        process_vm_readv(pid, [iov(8 as *mut u8, 1)].as_ptr(), 1, [iov(p, 1)].as_ptr(), 1, 0),
    );
    ret("nobody", process_vm_readv(999_999, mine.as_ptr(), 1, [iov(p, 1)].as_ptr(), 1, 0));
    ret("nobody, no pieces", process_vm_readv(999_999, mine.as_ptr(), 0, [iov(p, 1)].as_ptr(), 0, 0));
    *local = b'W';
    let write_it = |step: &str, there: &[iovec]| {
        ret(step, process_vm_writev(pid, mine.as_ptr(), 1, there.as_ptr(), there.len() as u64, 0));
    };
    write_it("write", &[iov(p, 1)]);
    write_it("write to read-only", &[iov(p.add(3 * P), 1)]);
    write_it("write to a hole", &[iov(p.add(2 * P), 1)]);
    let me = getpid();
    ret("own memory", process_vm_readv(me, mine.as_ptr(), 1, [iov(p.add(P), 1)].as_ptr(), 1, 0));

    let advise = |step: &str, fd: i32, there: &[iovec], advice: i32, flags: u32| {
        ret(step, syscall(SYS_PROCESS_MADVISE, fd, there.as_ptr(), there.len(), advice, flags))
    };
    const SYS_PROCESS_MADVISE: c_long = 440;
    let fd = syscall(SYS_pidfd_open, pid, 0) as i32;
    advise("cold", fd, &[iov(p, P)], 20, 0);
    advise("page out two", fd, &[iov(p, P), iov(p.add(P), P)], 21, 0);
    advise("will need", fd, &[iov(p, P)], 3, 0);
    advise("over a hole", fd, &[iov(p, P), iov(p.add(2 * P), P)], 20, 0);
    advise("in a hole", fd, &[iov(p.add(2 * P), P)], 20, 0);
    advise("forget another's", fd, &[iov(p, P)], MADV_DONTNEED, 0);
    advise("unknown advice", fd, &[iov(p, P)], 99, 0);
    advise("flags", fd, &[iov(p, P)], 20, 1);
    advise("odd", fd, &[iov(p.add(1), P)], 20, 0);
    advise("no process", 0, &[iov(p, P)], 20, 0);
    advise("bad descriptor", 99, &[iov(p, P)], 20, 0);
    advise("no pieces", fd, &[], 20, 0);
    let own = syscall(SYS_pidfd_open, me, 0) as i32;
    *local.add(P) = 9;
    advise("forget own", own, &[iov(local.add(P), P)], MADV_DONTNEED, 0);
    show("forgotten", *local.add(P));
    crate::kit::put_fd(w, "x");
    say("child", end_of(pid));
    advise("of one that is gone", fd, &[iov(p, P)], 20, 0);
}

pub unsafe fn keys_and_secrets() {
    let p = anon(1);
    ret("free no key", syscall(SYS_pkey_free, 5));
    ret("protect without a key", syscall(SYS_pkey_mprotect, p, P, PROT_READ, -1));
    attempt("read-only", p, poke, p);
    ret("protect with a key that is none", syscall(SYS_pkey_mprotect, p, P, RW, 9));
    ret("alloc with flags", syscall(SYS_pkey_alloc, 1, 0));
    ret("alloc with unknown rights", syscall(SYS_pkey_alloc, 0, 4));
}

/// What `/proc/self/smaps` says of mappings of several kinds.
pub unsafe fn accounts() {
    const ROWS: &[&str] = &[
        "Size",
        "KernelPageSize",
        "Rss",
        "Private_Dirty",
        "Anonymous",
        "LazyFree",
        "AnonHugePages",
        "Swap",
        "Locked",
    ];
    let p = anon(8);
    mprotect(p.cast(), P, PROT_READ);
    mprotect(p.add(7 * P).cast(), P, PROT_READ);
    *p.add(2 * P) = 1;
    *p.add(3 * P) = 1;
    say("two touched", smaps_of(p.add(2 * P), ROWS));
    madvise(p.add(2 * P).cast(), P, MADV_DONTNEED);
    say("one left", smaps_of(p.add(2 * P), ROWS));
    let flags_of = |step: &str, at: *mut u8| {
        let text = smaps_of(at, &["VmFlags"]);
        let known =
            ["rd", "wr", "ex", "sh", "mr", "mw", "me", "gd", "lo", "nr", "dc", "dd", "wf", "ms", "lf"];
        say(step, text.split_whitespace().filter(|f| known.contains(f)).collect::<Vec<_>>().join(" "));
    };
    flags_of("private", p.add(2 * P));
    madvise(p.add(2 * P).cast(), P, MADV_DONTFORK);
    madvise(p.add(2 * P).cast(), P, MADV_WIPEONFORK);
    madvise(p.add(2 * P).cast(), P, MADV_DONTDUMP);
    flags_of("advised", p.add(2 * P));
    mlock(p.add(3 * P).cast(), P);
    flags_of("locked", p.add(3 * P));
    flags_of("unreserved", mmap(NULL, P, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0) as *mut u8);
    flags_of("growing", mmap(NULL, P, RW, PRIVATE | MAP_GROWSDOWN, -1, 0) as *mut u8);
    put("f", &[b'f'; 4 * P]);
    let (rw, ro) = (open("f", O_RDWR), open("f", O_RDONLY));
    flags_of("shared file", mmap(NULL, P, RW, MAP_SHARED, rw, 0) as *mut u8);
    flags_of("read-only shared file", mmap(NULL, P, PROT_READ, MAP_SHARED, ro, 0) as *mut u8);
    flags_of("private file", mmap(NULL, P, PROT_READ | PROT_EXEC, MAP_PRIVATE, ro, 0) as *mut u8);
    let s = mmap(NULL, 4 * P, RW, MAP_SHARED, rw, 0) as *mut u8;
    attempt("touch", s, peek, s);
    show("rolled up", get("/proc/self/smaps_rollup").contains("[rollup]"));
    let big = anon(4096);
    let before = row("/proc/self/status", "VmRSS");
    for i in 0..4096 {
        *big.add(i * P) = 1;
    }
    let number = |s: String| s.split(' ').next().and_then(|n| n.parse::<i64>().ok()).unwrap_or(-1);
    let more = number(row("/proc/self/status", "VmRSS")) - number(before);
    show("16 MiB more", (16000..17500).contains(&more));
    let statm: Vec<i64> =
        get("/proc/self/statm").split_whitespace().map(|n| n.parse().unwrap_or(-1)).collect();
    show("so statm", statm[1] >= 4096 && statm[0] > statm[1]);
    let kb = |name: &str| number(row("/proc/self/status", name));
    show("sizes add up", kb("VmRSS") == kb("RssAnon") + kb("RssFile") + kb("RssShmem"));
    show("anonymous", (16_000..kb("VmRSS")).contains(&kb("RssAnon")));
    munmap(big.cast(), 4096 * P);
    show("peak", kb("VmPeak") - kb("VmSize") >= 16_000);
    show("code", kb("VmExe") > 0 && kb("VmLib") > 0);
    let big = anon(4096);
    for i in 0..4096 {
        *big.add(i * P) = 1;
    }
    show("so smaps", smaps_of(big.add(100 * P), &["Rss"]).len() > 12);
}
