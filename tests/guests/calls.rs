//! Calls on files in their less used forms: openat2(2), statx(2), preadv2(2), fallocate(2), close_range(2), O_TMPFILE,
//! utimensat(2), renameat2(2), xattrs, faccessat2(2), the sync family, what is refused.

use libc::*;

use crate::kit::{
    c, child, end_of, errno_name, get, get_fd, handle, ok, open, pipe, put, put_fd, rest, ret, say, show, z,
};

unsafe fn open2(dir: i32, path: &str, flags: i32, mode: u64, resolve: u64) -> i32 {
    let how = [flags as u32 as u64, mode, resolve];
    syscall(SYS_openat2, dir, c(path).as_ptr(), &how, 24) as i32
}

pub unsafe fn openat2s() {
    for d in ["d", "d/e", "d/e/f"] {
        mkdir(c(d).as_ptr(), 0o755);
    }
    put("top", b"top");
    put("d/file", b"file");
    symlink(c"file".as_ptr(), c"d/link".as_ptr());
    symlink(c"../top".as_ptr(), c"d/up".as_ptr());
    symlink(c"/file".as_ptr(), c"d/abs".as_ptr());
    symlink(c"../../../d/file".as_ptr(), c"d/e/deep".as_ptr());
    symlink(c"loop".as_ptr(), c"d/loop".as_ptr());
    symlink(c"e".as_ptr(), c"d/dirlink".as_ptr());
    let d = open("d", O_PATH | O_DIRECTORY);
    let paths = [
        "file",
        "link",
        "up",
        "abs",
        "e/deep",
        "loop",
        "dirlink/../file",
        "e/../file",
        "../top",
        "/file",
        "/",
        ".",
        "..",
        "e/../../top",
        "none",
        "file/",
        "",
        "e/f/../../../d/file",
        "link/x",
        "dirlink/",
    ];
    let names =
        [(0, "plain"), (8, "beneath"), (16, "in root"), (4, "no links"), (1, "no crossing"), (2, "no magic")];
    for (resolve, name) in names {
        for path in paths {
            ok(&format!("{name} {path}"), open2(d, path, O_RDONLY, 0, resolve));
        }
    }
    let proc = open("/proc/self", O_PATH | O_DIRECTORY);
    let fd = open("top", O_RDONLY);
    for (resolve, name) in names {
        ok(&format!("{name} magic"), open2(proc, &format!("fd/{fd}"), O_RDONLY, 0, resolve));
        ok(&format!("{name} cwd"), open2(proc, "cwd/top", O_RDONLY, 0, resolve));
    }
    ok("link itself", open2(d, "link", O_PATH | O_NOFOLLOW, 0, 4));
    ret("both roots", open2(d, "file", O_RDONLY, 0, 8 | 16));
    ret("unknown resolve", open2(d, "file", O_RDONLY, 0, 0x1000));
    ret("mode without creation", open2(d, "file", O_RDONLY, 0o600, 0));
    ret("bad mode", open2(d, "new", O_RDWR | O_CREAT, 0o170000, 0));
    ok("create", open2(d, "new", O_RDWR | O_CREAT, 0o600, 8));
    ret("create above", open2(d, "../new", O_RDWR | O_CREAT, 0o600, 8));
    ok("create in root", open2(d, "/new2", O_RDWR | O_CREAT | O_EXCL, 0o600, 16));
    show("there", get("d/new2"));
    ret("path with more", open2(d, "file", O_PATH | O_RDWR, 0, 0));
    ret("unknown flag", open2(d, "file", 0x4000_0000, 0, 0));
    ok("temporary", open2(d, ".", O_TMPFILE | O_RDWR, 0o600, 8));
    let how = [0u64, 0, 0, 0];
    ret("longer", syscall(SYS_openat2, d, c"file".as_ptr(), &how, 32) - syscall(SYS_dup, 0));
    let how = [0u64, 0, 0, 1];
    ret("longer and set", syscall(SYS_openat2, d, c"file".as_ptr(), &how, 32));
    ret("shorter", syscall(SYS_openat2, d, c"file".as_ptr(), &how, 16));
    ret("much longer", syscall(SYS_openat2, d, c"file".as_ptr(), &how, 8192));
    ret("bad pointer", syscall(SYS_openat2, d, c"file".as_ptr(), 8, 24));
    // What has just been looked up is known.
    close(open("d/file", O_RDONLY));
    ok("cached", open2(d, "file", O_RDONLY, 0, 32));
    ret("cached with truncation", open2(d, "file", O_RDWR | O_TRUNC, 0, 32));
    ret("cached creation", open2(d, "file", O_RDWR | O_CREAT, 0o600, 32));
}

pub unsafe fn statxs() {
    put("f", b"12345");
    symlink(c"f".as_ptr(), c"l".as_ptr());
    let mut x: statx = z();
    let sx = |dir: i32, path: &str, flags: i32, mask: u32, x: &mut statx| {
        syscall(SYS_statx, dir, c(path).as_ptr(), flags, mask, x as *mut statx)
    };
    // Not what a file system adds of its own: alignment, subvolumes.
    let kept = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
    for mask in [0, STATX_SIZE, STATX_BASIC_STATS, STATX_BTIME, STATX_ALL, STATX_MNT_ID, STATX_MNT_ID_UNIQUE]
    {
        x = z();
        ret("statx", sx(AT_FDCWD, "f", 0, mask, &mut x));
        say(&format!("{mask:#x}"), format!("{:#x}", x.stx_mask & kept));
        show("size", (x.stx_size, x.stx_nlink, x.stx_btime.tv_sec != 0, x.stx_mnt_id != 0));
    }
    for flags in
        [AT_STATX_SYNC_AS_STAT, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC, AT_STATX_SYNC_TYPE, AT_NO_AUTOMOUNT]
    {
        ret(&format!("{flags:#x}"), sx(AT_FDCWD, "f", flags, STATX_SIZE, &mut x));
    }
    ret("nofollow", sx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &mut x));
    show("link", u32::from(x.stx_mode) & S_IFMT == S_IFLNK);
    let fd = open("f", O_RDONLY);
    ret("by descriptor", sx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &mut x));
    ret("empty without the flag", sx(fd, "", 0, STATX_SIZE, &mut x));
    ret("null path", syscall(SYS_statx, fd, std::ptr::null::<u8>(), AT_EMPTY_PATH, STATX_SIZE, &mut x));
    ret("null path without the flag", syscall(SYS_statx, fd, std::ptr::null::<u8>(), 0, STATX_SIZE, &mut x));
    ret(
        "null path of fstatat",
        syscall(SYS_newfstatat, fd, std::ptr::null::<u8>(), z::<[u64; 18]>().as_mut_ptr(), AT_EMPTY_PATH),
    );
    ret("bad flag", sx(AT_FDCWD, "f", 0x1, STATX_SIZE, &mut x));
    ret("bad pointer", syscall(SYS_statx, AT_FDCWD, c"f".as_ptr(), 0, STATX_SIZE, 8));
    ret("root", sx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &mut x));
    show("is a mount's root", x.stx_attributes & STATX_ATTR_MOUNT_ROOT as u64 != 0);
    show("mask says so", x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT as u64 != 0);
    let (r, _w) = pipe();
    ret("of a pipe", sx(r, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &mut x));
    show("mode", x.stx_mode);
}

pub unsafe fn read_write_flags() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let mut b = [0u8; 16];
    let v = iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 4 };
    let rd = |step: &str, fd: i32, at: i64, flags: i32| ret(step, preadv2(fd, &v, 1, at, flags));
    let wr = |step: &str, fd: i32, at: i64, flags: i32| ret(step, pwritev2(fd, &v, 1, at, flags));
    for flags in
        [0, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_APPEND, RWF_NOAPPEND, RWF_APPEND | RWF_NOAPPEND, 0x4000]
    {
        rd(&format!("read {flags:#x}"), fd, 0, flags);
    }
    ret("position", lseek(fd, 0, SEEK_CUR));
    rd("at the position", fd, -1, 0);
    ret("position", lseek(fd, 0, SEEK_CUR));
    rd("negative", fd, -2, 0);
    let text = iovec { iov_base: c"ABCD".as_ptr() as *mut c_void, iov_len: 4 };
    let w = |step: &str, fd: i32, at: i64, flags: i32| ret(step, pwritev2(fd, &text, 1, at, flags));
    for flags in [0, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_DSYNC | RWF_SYNC, 0x4000] {
        w(&format!("write {flags:#x}"), fd, 2, flags);
    }
    w("append", fd, 0, RWF_APPEND);
    w("append at the position", fd, -1, RWF_APPEND);
    ret("position", lseek(fd, 0, SEEK_CUR));
    let app = open("f", O_WRONLY | O_APPEND);
    w("to an appending", app, 0, 0);
    w("not appending", app, 0, RWF_NOAPPEND);
    w("both", app, 0, RWF_NOAPPEND | RWF_APPEND);
    say("content", get("f"));
    let (r, p) = pipe();
    wr("to a pipe", p, -1, 0);
    rd("of a pipe", r, -1, RWF_NOWAIT);
    rd("of an empty pipe", r, -1, RWF_NOWAIT);
    rd("of a pipe at an offset", r, 0, 0);
    w("synchronous to a pipe", p, -1, RWF_SYNC);
    let sync = open("f", O_RDWR | O_SYNC | O_TRUNC);
    put_fd(sync, "synchronous");
    let dsync = open("f", O_RDWR | O_DSYNC);
    put_fd(dsync, "data");
    say(
        "flags",
        format!(
            "{:o} {:o}",
            fcntl(sync, F_GETFL) & (O_SYNC | O_DSYNC),
            fcntl(dsync, F_GETFL) & (O_SYNC | O_DSYNC)
        ),
    );
    say("content", get("f"));
}

/// Blocks of 4096 bytes, each of one letter, with holes as dots.
unsafe fn picture(fd: i32) -> String {
    let mut st: stat = z();
    fstat(fd, &mut st);
    let size = st.st_size;
    let mut out = String::new();
    let mut at = 0;
    while at < size {
        let mut b = [0u8; 4096];
        let n = pread(fd, b.as_mut_ptr().cast(), 4096, at);
        let same = b[..n.max(0) as usize].iter().all(|x| *x == b[0]);
        out.push(match (same, b[0]) {
            (false, _) => '?',
            (_, 0) => '.',
            (_, x) => x as char,
        });
        at += 4096;
    }
    format!("{size} {out}")
}

pub unsafe fn allocations() {
    let fresh = |name: &str| {
        let fd = open(name, O_CREAT | O_RDWR | O_TRUNC);
        for i in 0..8u8 {
            let block = [b'a' + i; 4096];
            write(fd, block.as_ptr().cast(), 4096);
        }
        fd
    };
    let fd = fresh("f");
    let modes = [
        (0, "plain"),
        (FALLOC_FL_KEEP_SIZE, "keep"),
        (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"),
        (FALLOC_FL_ZERO_RANGE, "zero"),
        (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero and keep"),
        (FALLOC_FL_COLLAPSE_RANGE, "collapse"),
        (FALLOC_FL_INSERT_RANGE, "insert"),
        (FALLOC_FL_UNSHARE_RANGE, "unshare"),
        (FALLOC_FL_PUNCH_HOLE, "punch alone"),
        (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, "collapse and keep"),
        (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE, "zero and punch"),
        (0x400, "unknown"),
    ];
    let ranges =
        [(4096, 8192), (100, 5000), (0, 4096), (28672, 8192), (32768, 4096), (40960, 4096), (20480, 12288)];
    for (mode, name) in modes {
        for (at, len) in ranges {
            let fd = fresh("g");
            ret(&format!("{name} {at} {len}"), fallocate(fd, mode, at, len));
            say("now", picture(fd));
            close(fd);
        }
    }
    ret("punch a small file", {
        put("s", b"0123456789");
        let s = open("s", O_RDWR);
        fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3)
    });
    show("left", get("s").replace('\0', "0"));
    ret("of a read-only", fallocate(open("f", O_RDONLY), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1));
    ret("of a directory", fallocate(open(".", O_RDONLY), 0, 0, 1));
    ret("of a device", fallocate(open("/dev/null", O_RDWR), 0, 0, 1));
    ret("too big", fallocate(fd, 0, i64::MAX - 10, 100));
    ret("negative", fallocate(fd, 0, 0, -1));
    // The positions of what is there and what is not.
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192);
    ret("hole", lseek(fd, 0, SEEK_HOLE));
    ret("data", lseek(fd, 8192, SEEK_DATA));
    let log = open("a", O_CREAT | O_WRONLY | O_APPEND);
    put_fd(log, "0123456789");
    ret("appending", fallocate(log, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1));
    ret("appending, insert", fallocate(log, FALLOC_FL_INSERT_RANGE, 0, 4096));
}

pub unsafe fn temporary_files() {
    mkdir(c"d".as_ptr(), 0o755);
    let tmp = |flags: i32| libc::open(c"d".as_ptr(), O_TMPFILE | flags, 0o640);
    let fd = tmp(O_RDWR);
    ok("made", fd);
    ret("read-only", tmp(O_RDONLY));
    put_fd(fd, "content");
    let mut st: stat = z();
    fstat(fd, &mut st);
    show("links and mode", (st.st_nlink, format!("{:o}", st.st_mode)));
    show("nothing to see", std::fs::read_dir("d").map(|d| d.count()).ok());
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    show("its name", link.to_string_lossy().ends_with(" (deleted)"));
    let magic = c(&format!("/proc/self/fd/{fd}"));
    ret("named", linkat(AT_FDCWD, magic.as_ptr(), AT_FDCWD, c"d/named".as_ptr(), AT_SYMLINK_FOLLOW));
    ret("named again", linkat(AT_FDCWD, magic.as_ptr(), AT_FDCWD, c"d/named".as_ptr(), AT_SYMLINK_FOLLOW));
    ret("another name", linkat(AT_FDCWD, magic.as_ptr(), AT_FDCWD, c"d/two".as_ptr(), AT_SYMLINK_FOLLOW));
    say("content", get("d/named"));
    fstat(fd, &mut st);
    ret("links", st.st_nlink as i64);
    let fd = tmp(O_RDWR);
    put_fd(fd, "by descriptor");
    ret("named", linkat(fd, c"".as_ptr(), AT_FDCWD, c"d/three".as_ptr(), AT_EMPTY_PATH));
    say("content", get("d/three"));
    let fd = tmp(O_RDWR | O_EXCL);
    ret("exclusive", linkat(fd, c"".as_ptr(), AT_FDCWD, c"d/four".as_ptr(), AT_EMPTY_PATH));
    let gone = open("d/two", O_RDWR);
    unlink(c"d/two".as_ptr());
    unlink(c"d/named".as_ptr());
    ret("once named, gone for ever", linkat(gone, c"".as_ptr(), AT_FDCWD, c"d/five".as_ptr(), AT_EMPTY_PATH));
    ret("no directory", libc::open(c"d/three".as_ptr(), O_TMPFILE | O_RDWR, 0o600));
    ret("nowhere", libc::open(c"none".as_ptr(), O_TMPFILE | O_RDWR, 0o600));
    ret("with creation", libc::open(c"d".as_ptr(), O_TMPFILE | O_RDWR | O_CREAT, 0o600));
    let pid = child(|| {
        chmod(c"d".as_ptr(), 0o555);
        setresuid(65534, 65534, 65534);
        ret("no permission", tmp(O_RDWR));
        0
    });
    end_of(pid);
}

pub unsafe fn renames_with_flags() {
    mkdir(c"d".as_ptr(), 0o755);
    mkdir(c"e".as_ptr(), 0o755);
    put("a", b"a");
    put("b", b"b");
    put("d/in", b"in");
    let rn = |step: &str, a: &str, b: &str, flags: u32| {
        ret(step, syscall(SYS_renameat2, AT_FDCWD, c(a).as_ptr(), AT_FDCWD, c(b).as_ptr(), flags))
    };
    rn("no replacing", "a", "b", RENAME_NOREPLACE);
    rn("nothing to replace", "a", "c", RENAME_NOREPLACE);
    rn("exchange", "c", "b", RENAME_EXCHANGE);
    show("exchanged", (get("c"), get("b")));
    rn("file and directory", "c", "d", RENAME_EXCHANGE);
    show("exchanged", (get("d"), get("c/in")));
    rn("with nothing", "b", "none", RENAME_EXCHANGE);
    rn("from nothing", "none", "b", RENAME_EXCHANGE);
    rn("with itself", "b", "b", RENAME_EXCHANGE);
    rn("with what it holds", "c", "c/in", RENAME_EXCHANGE);
    rn("with what holds it", "c/in", "c", RENAME_EXCHANGE);
    rn("into itself", "c", "c/x", 0);
    rn("over what holds it", "c/in", "c", 0);
    rn("both flags", "b", "x", RENAME_NOREPLACE | RENAME_EXCHANGE);
    rn("unknown flag", "b", "x", 8);
    rn("whiteout and exchange", "b", "d", RENAME_WHITEOUT | RENAME_EXCHANGE);
    rn("onto a dot", "b", "e/.", 0);
    rn("onto a dot, no replacing", "b", "e/.", RENAME_NOREPLACE);
    rn("of a dot", "e/.", "x", 0);
    rn("slash after a file", "b/", "x", 0);
    rn("slash after the new name", "b", "x/", 0);
    rn("directory to a name with a slash", "e", "ee/", 0);
    if geteuid() == 0 {
        rn("whiteout", "b", "w", RENAME_WHITEOUT);
        let mut st: stat = z();
        ret("is there", lstat(c"b".as_ptr(), &mut st));
        show("as", (format!("{:o}", st.st_mode & S_IFMT), st.st_rdev, get("w")));
        ret("opened", open("b", O_RDONLY));
        ret("removed", unlink(c"b".as_ptr()));
        rn("whiteout over another", "w", "d", RENAME_WHITEOUT);
        show(
            "names",
            std::fs::read_dir(".")
                .map(|d| {
                    let mut v: Vec<_> = d.flatten().map(|e| e.file_name()).collect();
                    v.sort();
                    v
                })
                .ok(),
        );
        let pid = child(|| {
            chmod(c".".as_ptr(), 0o777);
            setresuid(65534, 65534, 65534);
            put("own", b"");
            rn("whiteout without the right", "own", "own2", RENAME_WHITEOUT);
            ret("device without the right", mknod(c"dev".as_ptr(), S_IFCHR | 0o600, makedev(1, 3)));
            ret("whiteout device", mknod(c"wh".as_ptr(), S_IFCHR | 0o600, 0));
            0
        });
        end_of(pid);
        ret("block device", mknod(c"block".as_ptr(), S_IFBLK | 0o600, makedev(250, 200)));
        ret("opened", open("block", O_RDONLY));
        ret("character device of nobody", mknod(c"char".as_ptr(), S_IFCHR | 0o600, makedev(250, 200)));
        ret("opened", open("char", O_RDONLY));
        lstat(c"char".as_ptr(), &mut st);
        show("numbers", (major(st.st_rdev), minor(st.st_rdev)));
        ret("socket", mknod(c"socket".as_ptr(), S_IFSOCK | 0o600, 0));
        ret("opened", open("socket", O_RDONLY));
        ret("bad kind", mknod(c"bad".as_ptr(), S_IFLNK | 0o600, 0));
        ret("worse kind", mknod(c"bad".as_ptr(), 0o030000 | 0o600, 0));
    }
}

pub unsafe fn ranges_of_descriptors() {
    put("f", b"x");
    let base = open("f", O_RDONLY);
    for n in 40..50 {
        dup2(base, n);
    }
    let closed = || (40..50).filter(|n| unsafe { fcntl(*n, F_GETFD) } == -1).collect::<Vec<_>>();
    let marked = || (40..50).filter(|n| unsafe { fcntl(*n, F_GETFD) } == FD_CLOEXEC).collect::<Vec<_>>();
    let cr = |step: &str, a: u32, b: u32, flags: u32| ret(step, syscall(SYS_close_range, a, b, flags));
    cr("some", 42, 44, 0);
    show("closed", closed());
    cr("marked", 45, 46, CLOSE_RANGE_CLOEXEC);
    show("marked", marked());
    cr("reversed", 9, 8, 0);
    cr("bad flag", 40, 41, 8);
    cr("far away", 1 << 30, u32::MAX, 0);
    let pid = child(|| {
        cr("own table", 47, 48, CLOSE_RANGE_UNSHARE);
        show("closed", closed());
        cr("own table, marked", 49, u32::MAX, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC);
        show("marked", marked());
        0
    });
    end_of(pid);
    show("here", closed());
    // Threads share a table until one unshares it.
    let t = std::thread::spawn(move || unsafe { syscall(SYS_close_range, 47, 48, CLOSE_RANGE_UNSHARE) });
    show("thread", t.join().ok());
    show("still open", closed());
    ret("lowest", dup(base));
}

pub unsafe fn fcntl_in_full() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let (r, w) = pipe();
    ret("no owner", fcntl(r, F_GETOWN));
    ret("owner", fcntl(r, F_SETOWN, getpid()));
    show("is me", fcntl(r, F_GETOWN) == getpid());
    ret("no such process", fcntl(r, F_SETOWN, 99_999_999));
    show("still me", fcntl(r, F_GETOWN) == getpid());
    ret("group", fcntl(r, F_SETOWN, -getpgrp()));
    show("is my group", fcntl(r, F_GETOWN) == -getpgrp());
    ret("signal", fcntl(r, 11));
    ret("set signal", fcntl(r, 10, SIGUSR1));
    ret("signal", fcntl(r, 11));
    ret("bad signal", fcntl(r, 10, 65));
    ret("default again", fcntl(r, 10, 0));
    let mut ex = [0i32, 0];
    ret("owner_ex", fcntl(r, 16, ex.as_mut_ptr()));
    show("is", (ex[0], ex[1] == getpgrp()));
    ex = [0, gettid()];
    ret("set owner_ex", fcntl(r, 15, ex.as_mut_ptr()));
    ex = [7, 7];
    fcntl(r, 16, ex.as_mut_ptr());
    show("is me", (ex[0], ex[1] == gettid()));
    ex = [9, 0];
    ret("bad kind", fcntl(r, 15, ex.as_mut_ptr()));
    ret("nobody", fcntl(r, F_SETOWN, 0));
    ret("no owner", fcntl(r, F_GETOWN));
    let mut hint = 7u64;
    ret("hint", fcntl(fd, 1035, &mut hint));
    show("is", hint);
    hint = 2;
    ret("set hint", fcntl(fd, 1036, &hint));
    hint = 0;
    ret("hint", fcntl(fd, 1035, &mut hint));
    show("is", hint);
    hint = 99;
    ret("bad hint", fcntl(fd, 1036, &hint));
    let dup = dup(fd);
    ret("same description", fcntl(fd, 1027, dup));
    let other = open("f", O_RDWR);
    ret("other description", fcntl(fd, 1027, other));
    ret("no descriptor", fcntl(fd, 1027, 99));
    ret("created", fcntl(open("new", O_CREAT | O_RDWR), 1028, 0));
    ret("not created", fcntl(fd, 1028, 0));
    ret("append", fcntl(fd, F_SETFL, O_APPEND | O_WRONLY));
    say("flags", format!("{:o}", fcntl(fd, F_GETFL) & !0o100000));
    ret("seals of a file", fcntl(fd, F_GET_SEALS));
    ret("pipe size", fcntl(w, F_SETPIPE_SZ, 100));
    ret("too big a pipe", fcntl(w, F_SETPIPE_SZ, -1));
    ret("of O_PATH", fcntl(open("f", O_PATH), F_SETFL, 0));
    ret("packets", fcntl(w, F_SETFL, O_DIRECT));
    ret("cancel", fcntl(fd, 1029, 0));
    // A signal when there is something to read.
    static CAME: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    extern "C" fn note(n: i32) {
        CAME.store(n, std::sync::atomic::Ordering::SeqCst);
    }
    handle(SIGIO, note as *const () as usize, 0);
    handle(SIGUSR1, note as *const () as usize, 0);
    let came = || {
        for _ in 0..200 {
            let n = CAME.swap(0, std::sync::atomic::Ordering::SeqCst);
            if n != 0 {
                return n;
            }
            crate::kit::nap(1);
        }
        0
    };
    let mut pair = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr());
    for (name, input, output) in [("pipe", r, w), ("socket", pair[0], pair[1])] {
        ret(name, fcntl(input, F_SETOWN, getpid()));
        ret("asynchronous", fcntl(input, F_SETFL, O_ASYNC | O_NONBLOCK));
        put_fd(output, "x");
        show("told", came() == SIGIO);
        get_fd(input, 10);
        ret("another signal", fcntl(input, 10, SIGUSR1));
        put_fd(output, "x");
        show("told", came() == SIGUSR1);
        get_fd(input, 10);
        ret("no more", fcntl(input, F_SETFL, O_NONBLOCK));
        put_fd(output, "x");
        crate::kit::nap(20);
        show("not told", CAME.load(std::sync::atomic::Ordering::SeqCst));
    }
}

pub unsafe fn refused() {
    put("f", b"x");
    let fd = open("f", O_RDWR);
    let mut handle = [0u8; 136];
    let mut id = 0i32;
    // What a kernel without these gives, and what this one does, differ: only that they do no harm is compared.
    show(
        "handle",
        syscall(SYS_name_to_handle_at, AT_FDCWD, c"f".as_ptr(), handle.as_mut_ptr(), &mut id, 0) == -1,
    );
    say("bad lease", {
        fcntl(fd, F_SETLEASE, 77);
        errno_name()
    });
    say("rest", rest(fd));
}

/// A position that telldir gave leads back to the same entry while other names come and go.
pub unsafe fn directory_positions() {
    mkdir(c"d".as_ptr(), 0o755);
    for i in 0..300 {
        put(&format!("d/f{i:03}"), b"");
    }
    let dir = opendir(c"d".as_ptr());
    let mut marks = Vec::new();
    for i in 0..200 {
        let at = telldir(dir);
        let e = readdir(dir);
        if e.is_null() {
            break;
        }
        let name = std::ffi::CStr::from_ptr((*e).d_name.as_ptr()).to_owned();
        if i % 20 == 7 {
            marks.push((at, name));
        }
    }
    let mut left = 300 + 2 + 100;
    for i in (0..300).step_by(3) {
        let name = format!("f{i:03}");
        if marks.iter().all(|(_, n)| n.to_bytes() != name.as_bytes()) {
            left -= unlink(c(&format!("d/{name}")).as_ptr()) + 1;
        }
    }
    for i in 0..100 {
        put(&format!("d/new{i}"), b"");
    }
    let mut right = 0;
    for (at, name) in marks.iter().rev() {
        seekdir(dir, *at);
        let e = readdir(dir);
        right += i32::from(!e.is_null() && std::ffi::CStr::from_ptr((*e).d_name.as_ptr()) == name.as_c_str());
    }
    ret("marks", marks.len() as i32);
    ret("led back", right);
    rewinddir(dir);
    let mut names = std::collections::BTreeMap::new();
    loop {
        let e = readdir(dir);
        if e.is_null() {
            break;
        }
        *names.entry(std::ffi::CStr::from_ptr((*e).d_name.as_ptr()).to_owned()).or_insert(0) += 1;
    }
    show("each once", names.values().all(|n| *n == 1));
    show("all there", names.len() as i32 == left);
    closedir(dir);
    // Removing while reading, as rm -r does, misses nothing.
    let dir = opendir(c"d".as_ptr());
    loop {
        let e = readdir(dir);
        if e.is_null() {
            break;
        }
        let name = std::ffi::CStr::from_ptr((*e).d_name.as_ptr());
        unlinkat(dirfd(dir), name.as_ptr(), 0);
    }
    closedir(dir);
    ret("emptied", rmdir(c"d".as_ptr()));
}

unsafe fn lock(fd: i32, command: i32, kind: i32, start: i64, len: i64) -> i32 {
    let mut l: flock = z();
    l.l_type = kind as i16;
    l.l_start = start;
    l.l_len = len;
    fcntl(fd, command, &l)
}

/// Who waits in a circle is told, who has waited in vain is forgotten.
pub unsafe fn deadlocks() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let (go_r, go_w) = pipe();
    let (done_r, done_w) = pipe();
    ret("mine", lock(fd, F_SETLK, F_WRLCK, 0, 1));
    let pid = child(|| {
        lock(fd, F_SETLK, F_WRLCK, 1, 1);
        put_fd(done_w, "x");
        // Waits for the parent.
        ret("child waits", lock(fd, F_SETLKW, F_WRLCK, 0, 1));
        0
    });
    get_fd(done_r, 1);
    crate::kit::nap(60);
    ret("a circle of two", lock(fd, F_SETLKW, F_WRLCK, 1, 1));
    ret("let go", lock(fd, F_SETLK, F_UNLCK, 0, 1));
    say("child", end_of(pid));
    // A wait that a signal ended is none any more.
    extern "C" fn note(_: i32) {}
    handle(SIGALRM, note as *const () as usize, 0);
    let pid = child(|| {
        lock(fd, F_SETLK, F_WRLCK, 1, 1);
        put_fd(done_w, "x");
        get_fd(go_r, 1);
        0
    });
    get_fd(done_r, 1);
    let tick = itimerval { it_interval: z(), it_value: timeval { tv_sec: 0, tv_usec: 40_000 } };
    setitimer(ITIMER_REAL, &tick, std::ptr::null_mut());
    ret("interrupted", lock(fd, F_SETLKW, F_WRLCK, 1, 1));
    let other = child(|| {
        lock(fd, F_SETLK, F_WRLCK, 0, 1);
        put_fd(go_w, "x");
        // No circle: the parent waits for nobody.
        ret("waits", lock(fd, F_SETLKW, F_WRLCK, 1, 1));
        0
    });
    say("other", end_of(other));
    say("child", end_of(pid));
    // Locks of descriptions know no circles, and stay when another descriptor closes.
    let (a, b) = (open("f", O_RDWR), open("f", O_RDWR));
    ret("of a description", lock(a, 37, F_WRLCK, 0, 5));
    ret("of another", lock(b, 37, F_WRLCK, 4, 1));
    ret("beside it", lock(b, 37, F_WRLCK, 5, 1));
    close(open("f", O_RDWR));
    ret("still held", lock(b, 37, F_WRLCK, 4, 1));
    ret("by a process", lock(fd, F_SETLK, F_RDLCK, 0, 1));
    let mut l: flock = z();
    l.l_type = F_WRLCK as i16;
    ret("who", fcntl(fd, F_GETLK, &mut l));
    show("is", (l.l_type, l.l_start, l.l_len, l.l_pid));
    l = z();
    l.l_pid = 1;
    ret("with a process's number", fcntl(a, 37, &l));
    close(a);
    ret("gone with it", lock(b, 37, F_WRLCK, 4, 1));
    l = z();
    l.l_type = F_WRLCK as i16;
    l.l_whence = SEEK_END as i16;
    l.l_start = -2;
    l.l_len = -3;
    ret("backwards from the end", fcntl(fd, F_SETLK, &l));
    l.l_len = -9;
    ret("before the beginning", fcntl(fd, F_SETLK, &l));
    l.l_whence = 7;
    ret("bad whence", fcntl(fd, F_SETLK, &l));
}
