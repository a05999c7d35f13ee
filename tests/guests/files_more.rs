//! Files, second part: attributes, permissions, descriptors, locks, copying in the kernel, special files.

use std::collections::BTreeSet;

use libc::*;

use crate::kit::{
    c, child, end_of, errno_name, get, get_fd, handle, nap, ok, open, pipe, put, put_fd, rest, ret, say,
    show, z,
};

fn mode_of(path: &str) -> String {
    let mut st: stat = z();
    match unsafe { lstat(c(path).as_ptr(), &mut st) } {
        0 => format!("{:o} {}:{}", st.st_mode, st.st_uid, st.st_gid),
        _ => errno_name(),
    }
}

/// Runs `f` as an ordinary user in a child (where the test runs as one already, the ids do not change).
unsafe fn as_nobody(f: impl FnOnce()) {
    let pid = child(|| {
        if geteuid() == 0 {
            setgroups(0, std::ptr::null());
            setresgid(65534, 65534, 65534);
            setresuid(65534, 65534, 65534);
        }
        f();
        0
    });
    say("child", end_of(pid));
}

pub unsafe fn permissions() {
    put("secret", b"S");
    chmod(c"secret".as_ptr(), 0o600);
    put("readable", b"R");
    mkdir(c"closed".as_ptr(), 0o700);
    put("closed/f", b"F");
    mkdir(c"open".as_ptr(), 0o755);
    mkdir(c"sticky".as_ptr(), 0o755);
    chmod(c"sticky".as_ptr(), 0o1777);
    put("sticky/theirs", b"T");
    put("noexec", b"#!/bin/sh\n");
    as_nobody(|| {
        ok("read of a secret", open("secret", O_RDONLY));
        ok("read of a readable", open("readable", O_RDONLY));
        ok("write of a readable", open("readable", O_WRONLY));
        ok("in a closed directory", open("closed/f", O_RDONLY));
        ok("create in another's directory", open("open/x", O_CREAT | O_WRONLY));
        ok("unlink in another's directory", unlink(c"closed/f".as_ptr()));
        ok("mkdir in another's directory", mkdir(c"open/d".as_ptr(), 0o755));
        ok("create in sticky", open("sticky/mine", O_CREAT | O_WRONLY));
        ok("unlink another's in sticky", unlink(c"sticky/theirs".as_ptr()));
        ok("rename another's in sticky", rename(c"sticky/theirs".as_ptr(), c"sticky/x".as_ptr()));
        ok("unlink own in sticky", unlink(c"sticky/mine".as_ptr()));
        ok("chmod of another's", chmod(c"readable".as_ptr(), 0o777));
        ok("chown of another's", chown(c"readable".as_ptr(), 65534, 65534));
        ok("truncate of another's", truncate(c"readable".as_ptr(), 0));
        ok("utimes of another's", utimes(c"readable".as_ptr(), std::ptr::null()));
        ok("access write", access(c"readable".as_ptr(), W_OK));
        ok("access read", access(c"readable".as_ptr(), R_OK));
        ok("access execute", access(c"noexec".as_ptr(), X_OK));
        // The default profile hides /etc/shadow; any error will do.
        show("/etc/shadow is closed", open("/etc/shadow", O_RDONLY) < 0);
        ok("/root", open("/root/x", O_CREAT | O_WRONLY));
        let none = [std::ptr::null()];
        ok("exec without x", execve(c"noexec".as_ptr(), none.as_ptr(), none.as_ptr()));
    });
}

pub unsafe fn umasks() {
    ret("first", umask(0o077));
    ok("file", creat(c"a".as_ptr(), 0o666));
    say("mode", mode_of("a"));
    ret("second", umask(0o027));
    ok("directory", mkdir(c"d".as_ptr(), 0o777));
    say("mode", mode_of("d"));
    ret("high bits are dropped", umask(0o7777));
    ret("read back", umask(0o022));
    let pid = child(|| {
        ret("inherited", umask(0));
        0
    });
    end_of(pid);
    ret("own stays", umask(0));
    ok("fifo", mkfifo(c"p".as_ptr(), 0o666));
    say("mode", mode_of("p"));
}

pub unsafe fn accesses() {
    put("f", b"");
    ret("exists", access(c"f".as_ptr(), F_OK));
    ret("missing", access(c"none".as_ptr(), F_OK));
    ret("execute", access(c"f".as_ptr(), X_OK));
    ret("bad mode", access(c"f".as_ptr(), 0o70));
    ret("shell", access(c"/bin/sh".as_ptr(), X_OK));
    ret("eaccess", faccessat(AT_FDCWD, c"f".as_ptr(), R_OK, AT_EACCESS));
    let two =
        |path: &std::ffi::CStr, flags: i32| syscall(SYS_faccessat2, AT_FDCWD, path.as_ptr(), R_OK, flags);
    symlink(c"none".as_ptr(), c"s".as_ptr());
    ret("faccessat2 follows", two(c"s", 0));
    ret("faccessat2 nofollow", two(c"s", AT_SYMLINK_NOFOLLOW));
    ret("faccessat2 bad flag", two(c"s", 1));
}

pub unsafe fn chmods() {
    put("f", b"");
    ret("chmod", chmod(c"f".as_ptr(), 0o4755));
    say("mode", mode_of("f"));
    let fd = open("f", O_RDWR);
    ret("fchmod", fchmod(fd, 0o640));
    say("mode", mode_of("f"));
    ret("type bits are ignored", fchmod(fd, 0o177777));
    say("mode", mode_of("f"));
    ret("missing", chmod(c"none".as_ptr(), 0o644));
    ret("bad descriptor", fchmod(99, 0o644));
    chmod(c"f".as_ptr(), 0o6755);
    as_nobody(|| {
        ok("not the owner", chmod(c"f".as_ptr(), 0o644));
    });
    if geteuid() == 0 {
        ret("chown", chown(c"f".as_ptr(), 65534, 65534));
        say("set-id bits after chown", mode_of("f"));
        ret("chown of one id", chown(c"f".as_ptr(), u32::MAX, 0));
        say("mode", mode_of("f"));
        symlink(c"f".as_ptr(), c"s".as_ptr());
        ret("lchown", lchown(c"s".as_ptr(), 1, 2));
        say("link", mode_of("s"));
        say("file", mode_of("f"));
        ret("fchown", fchown(fd, 3, 4));
        say("file", mode_of("f"));
    }
    put("w", b"x");
    chmod(c"w".as_ptr(), 0o4777);
    as_nobody(|| {
        let fd = open("w", O_WRONLY);
        put_fd(fd, "y");
    });
    say("write clears set-uid", mode_of("w"));
}

pub unsafe fn times() {
    put("f", b"");
    let set = |a: (i64, i64), m: (i64, i64)| {
        let ts = [timespec { tv_sec: a.0, tv_nsec: a.1 }, timespec { tv_sec: m.0, tv_nsec: m.1 }];
        utimensat(AT_FDCWD, c"f".as_ptr(), ts.as_ptr(), 0)
    };
    let now = |step: &str| {
        let mut st: stat = z();
        stat(c"f".as_ptr(), &mut st);
        say(step, format!("{}.{} {}.{}", st.st_atime, st.st_atime_nsec, st.st_mtime, st.st_mtime_nsec));
    };
    ret("set", set((1000, 5), (2000, 999_999_999)));
    now("times");
    ret("omit", set((0, UTIME_OMIT), (3000, 1)));
    now("times");
    ret("before 1970", set((-5, 0), (-1, 7)));
    now("times");
    ret("bad nanoseconds", set((0, 1_000_000_000), (0, 0)));
    ret("now", set((0, UTIME_NOW), (1, 1)));
    let mut st: stat = z();
    stat(c"f".as_ptr(), &mut st);
    show("recent", (time(std::ptr::null_mut()) - st.st_atime).abs() < 5);
    let fd = open("f", O_RDWR);
    let ts = [timespec { tv_sec: 7, tv_nsec: 0 }; 2];
    ret("futimens", futimens(fd, ts.as_ptr()));
    now("times");
    put_fd(fd, "x");
    stat(c"f".as_ptr(), &mut st);
    show("write moves mtime", (time(std::ptr::null_mut()) - st.st_mtime).abs() < 5);
    symlink(c"f".as_ptr(), c"s".as_ptr());
    ret("link itself", utimensat(AT_FDCWD, c"s".as_ptr(), ts.as_ptr(), AT_SYMLINK_NOFOLLOW));
    lstat(c"s".as_ptr(), &mut st);
    ret("its mtime", st.st_mtime);
}

pub unsafe fn listing() {
    for i in 0..300 {
        put(&format!("file-with-a-name-{i:03}"), b"");
    }
    mkdir(c"dir".as_ptr(), 0o755);
    symlink(c"x".as_ptr(), c"link".as_ptr());
    mkfifo(c"fifo".as_ptr(), 0o644);
    let fd = open(".", O_RDONLY | O_DIRECTORY);
    let mut all = BTreeSet::new();
    let mut calls = 0;
    loop {
        let mut buffer = [0u8; 2048];
        let n = syscall(SYS_getdents64, fd, buffer.as_mut_ptr(), 2048);
        if n <= 0 {
            ret("end", n);
            break;
        }
        calls += 1;
        let mut at = 0;
        while at < n as usize {
            let record = &buffer[at..];
            let len = u16::from_le_bytes([record[16], record[17]]) as usize;
            let name = &record[19..len];
            let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
            let fresh = all.insert((String::from_utf8_lossy(&name[..end]).into_owned(), record[18]));
            if !fresh {
                say("twice", String::from_utf8_lossy(&name[..end]));
            }
            at += len;
        }
    }
    show("several calls", calls > 2);
    show("count", all.len());
    for (name, kind) in all.iter().filter(|(n, _)| !n.starts_with("file-")) {
        say(name, kind);
    }
    let mut small = [0u8; 10];
    lseek(fd, 0, SEEK_SET);
    ret("too small", syscall(SYS_getdents64, fd, small.as_mut_ptr(), 10));
    lseek(fd, 0, SEEK_SET);
    let again = std::fs::read_dir(".").map(Iterator::count);
    show("read_dir", again.ok());
    let f = open("file-with-a-name-000", O_RDONLY);
    ret("of a file", syscall(SYS_getdents64, f, small.as_mut_ptr(), 10));
    for i in 0..300 {
        unlink(c(&format!("file-with-a-name-{i:03}")).as_ptr());
    }
    show("after unlinks", std::fs::read_dir(".").map(Iterator::count).ok());
}

pub unsafe fn stats() {
    put("f", b"12345");
    let mut st: stat = z();
    ret("stat", stat(c"f".as_ptr(), &mut st));
    say("fields", format!("{:o} {} {} {}", st.st_mode, st.st_nlink, st.st_size, st.st_rdev));
    show("ids", (st.st_uid == geteuid(), st.st_gid == getegid()));
    let fd = open("f", O_RDONLY);
    let mut by_fd: stat = z();
    ret("fstat", fstat(fd, &mut by_fd));
    show("same inode", st.st_ino == by_fd.st_ino && st.st_dev == by_fd.st_dev);
    ret("missing", stat(c"none".as_ptr(), &mut st));
    ret("below a file", stat(c"f/x".as_ptr(), &mut st));
    ret("bad descriptor", fstat(99, &mut st));
    let mut sx: statx = z();
    ret("statx", statx(AT_FDCWD, c"f".as_ptr(), 0, STATX_BASIC_STATS, &mut sx));
    say("fields", format!("{:o} {} {}", sx.stx_mode, sx.stx_nlink, sx.stx_size));
    show("basic mask", sx.stx_mask & STATX_BASIC_STATS == STATX_BASIC_STATS);
    show("same inode", sx.stx_ino == by_fd.st_ino);
    ret("statx of a descriptor", statx(fd, c"".as_ptr(), AT_EMPTY_PATH, STATX_SIZE, &mut sx));
    ret("statx bad flags", statx(AT_FDCWD, c"f".as_ptr(), 0x0800_0000, 0, &mut sx));
    ret("statx reserved mask", statx(AT_FDCWD, c"f".as_ptr(), 0, 0x8000_0000, &mut sx));
    for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/tty"] {
        stat(c(path).as_ptr(), &mut st);
        say(path, format!("{:o} {}:{}", st.st_mode & S_IFMT, major(st.st_rdev), minor(st.st_rdev)));
    }
    stat(c"/etc/passwd".as_ptr(), &mut st);
    say("/etc/passwd", format!("{:o} {} {} {}", st.st_mode, st.st_uid, st.st_gid, st.st_size));
    say("mtime", st.st_mtime);
    let mut fs: statfs = z();
    ret("statfs", statfs(c".".as_ptr(), &mut fs));
    show("sensible", fs.f_bsize > 0 && fs.f_namelen >= 255);
    ret("fstatfs", fstatfs(fd, &mut fs));
    ret("statfs of proc", statfs(c"/proc".as_ptr(), &mut fs));
    say("proc magic", format!("{:#x}", fs.f_type));
}

pub unsafe fn fcntls() {
    let fd = open("f", O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC);
    say("GETFL", format!("{:#o}", fcntl(fd, F_GETFL) & !O_LARGEFILE & !0o100000));
    ret("SETFL", fcntl(fd, F_SETFL, O_NONBLOCK));
    say("GETFL", format!("{:#o}", fcntl(fd, F_GETFL) & !0o100000));
    ret("GETFD", fcntl(fd, F_GETFD));
    ret("SETFD", fcntl(fd, F_SETFD, 0));
    ret("GETFD", fcntl(fd, F_GETFD));
    ret("DUPFD", fcntl(fd, F_DUPFD, 10));
    ret("DUPFD again", fcntl(fd, F_DUPFD, 10));
    ret("DUPFD_CLOEXEC", fcntl(fd, F_DUPFD_CLOEXEC, 10));
    ret("its flag", fcntl(12, F_GETFD));
    ret("DUPFD too high", fcntl(fd, F_DUPFD, 1 << 30));
    ret("bad descriptor", fcntl(77, F_GETFD));
    ret("bad command", fcntl(fd, 7777));
    let (r, _w) = pipe();
    ret("pipe flags", fcntl(r, F_GETFL));
    ret("pipe size", fcntl(r, F_GETPIPE_SZ));
    ret("set pipe size", fcntl(r, F_SETPIPE_SZ, 8192));
    ret("pipe size of a file", fcntl(fd, F_GETPIPE_SZ));
    ret("owner", fcntl(r, F_GETOWN));
}

pub unsafe fn dups() {
    let fd = open("f", O_CREAT | O_RDWR);
    ret("dup", dup(fd));
    ret("dup2", dup2(fd, 20));
    ret("dup2 to itself", dup2(fd, fd));
    ret("dup2 of a bad one", dup2(99, 21));
    ret("dup2 of a bad one to itself", dup2(99, 99));
    ret("dup2 too high", dup2(fd, 1 << 30));
    ret("dup2 negative", dup2(fd, -1));
    ret("dup3", dup3(fd, 22, O_CLOEXEC));
    ret("flag", fcntl(22, F_GETFD));
    ret("dup3 to itself", dup3(fd, fd, 0));
    ret("dup3 bad flag", dup3(fd, 23, O_NONBLOCK));
    put_fd(20, "abc");
    ret("shared offset", lseek(fd, 0, SEEK_CUR));
    ret("dup2 closes the target", dup2(fd, 22));
    ret("flag is cleared", fcntl(22, F_GETFD));
    ret("close_range", syscall(SYS_close_range, 20, 22, 0));
    ret("gone", fcntl(20, F_GETFD));
    ret("close_range reversed", syscall(SYS_close_range, 22, 20, 0));
    ret("close_range cloexec", syscall(SYS_close_range, 3, !0u32, CLOSE_RANGE_CLOEXEC));
    ret("flag", fcntl(fd, F_GETFD));
}

pub unsafe fn fallocates() {
    let fd = open("f", O_CREAT | O_RDWR);
    let mut st: stat = z();
    ret("grow", fallocate(fd, 0, 0, 10_000));
    fstat(fd, &mut st);
    ret("size", st.st_size);
    ret("keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20_000));
    fstat(fd, &mut st);
    ret("size", st.st_size);
    ret("bad length", fallocate(fd, 0, 0, 0));
    ret("bad offset", fallocate(fd, 0, -1, 10));
    put_fd(fd, "0123456789");
    ret("posix_fallocate", posix_fallocate(fd, 0, 100));
    let (_r, w) = pipe();
    ret("pipe", fallocate(w, 0, 0, 10));
    let ro = open("f", O_RDONLY);
    ret("read-only", fallocate(ro, 0, 0, 10));
    ret("fsync", fsync(fd));
    ret("fdatasync", fdatasync(fd));
    ret("fsync of a pipe", fsync(w));
    ret("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    ret("readahead", readahead(fd, 0, 100) as i64);
}

pub unsafe fn sendfiles() {
    put("from", b"0123456789");
    let from = open("from", O_RDONLY);
    let to = open("to", O_CREAT | O_RDWR);
    ret("sendfile", sendfile(to, from, std::ptr::null_mut(), 4));
    ret("source offset", lseek(from, 0, SEEK_CUR));
    let mut at = 6;
    ret("with offset", sendfile(to, from, &mut at, 100));
    ret("offset now", at);
    ret("source offset stays", lseek(from, 0, SEEK_CUR));
    say("content", get("to"));
    let (r, w) = pipe();
    at = 0;
    ret("to a pipe", sendfile(w, from, &mut at, 3));
    say("through", get_fd(r, 10));
    ret("from a pipe", sendfile(to, r, std::ptr::null_mut(), 1));
    at = 2;
    let mut to_at = 1;
    ret("copy_file_range", copy_file_range(from, &mut at, to, &mut to_at, 3, 0));
    say("content", get("to"));
    ret("offsets", at * 100 + to_at);
    ret("at the end", copy_file_range(from, &mut 10, to, &mut to_at, 3, 0));
    ret("bad flag", copy_file_range(from, &mut at, to, &mut to_at, 3, 1));
    ret("to a read-only", copy_file_range(from, &mut at, from, &mut 20, 3, 0));
}

pub unsafe fn flocks() {
    let a = open("f", O_CREAT | O_RDWR);
    let b = open("f", O_RDWR);
    ret("exclusive", flock(a, LOCK_EX));
    ret("other description", flock(b, LOCK_EX | LOCK_NB));
    ret("shared", flock(b, LOCK_SH | LOCK_NB));
    ret("downgrade", flock(a, LOCK_SH));
    ret("shared now", flock(b, LOCK_SH | LOCK_NB));
    ret("upgrade fails", flock(a, LOCK_EX | LOCK_NB));
    ret("unlock", flock(b, LOCK_UN));
    ret("upgrade", flock(a, LOCK_EX | LOCK_NB));
    let pid = child(|| {
        ret("child by the same description", flock(a, LOCK_EX | LOCK_NB));
        close(a);
        ret("child by the other", flock(b, LOCK_EX | LOCK_NB));
        0
    });
    end_of(pid);
    let pid = child(|| {
        let own = open("f", O_RDWR);
        ret("waits", flock(own, LOCK_EX));
        0
    });
    nap(50);
    say("main", "unlocks");
    flock(a, LOCK_UN);
    end_of(pid);
    ret("bad operation", flock(a, 77));
}

pub unsafe fn record_locks() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let lock = |kind: i32, start: i64, len: i64| {
        let mut l: flock = z();
        l.l_type = kind as i16;
        l.l_start = start;
        l.l_len = len;
        l
    };
    ret("write lock", fcntl(fd, F_SETLK, &lock(F_WRLCK, 0, 5)));
    ret("own again", fcntl(fd, F_SETLK, &lock(F_RDLCK, 2, 2)));
    let pid = child(|| {
        let mut l = lock(F_WRLCK, 0, 0);
        ret("GETLK", fcntl(fd, F_GETLK, &mut l));
        say("found", format!("{} {} {} by parent {}", l.l_type, l.l_start, l.l_len, l.l_pid == getppid()));
        ret("conflict", fcntl(fd, F_SETLK, &lock(F_WRLCK, 4, 1)));
        ret("read beside read", fcntl(fd, F_SETLK, &lock(F_RDLCK, 2, 2)));
        ret("free part", fcntl(fd, F_SETLK, &lock(F_WRLCK, 5, 0)));
        0
    });
    end_of(pid);
    ret("freed by the child's end", fcntl(fd, F_SETLK, &lock(F_WRLCK, 5, 0)));
    let pid = child(|| {
        ret("waits", fcntl(fd, F_SETLKW, &lock(F_WRLCK, 0, 1)));
        0
    });
    nap(50);
    say("main", "closes another descriptor, which drops all");
    close(dup(fd));
    end_of(pid);
    ret("bad type", fcntl(fd, F_SETLK, &lock(9, 0, 1)));
    let ro = open("f", O_RDONLY);
    ret("write lock on read-only", fcntl(ro, F_SETLK, &lock(F_WRLCK, 0, 1)));
}

/// The owner of a file of the machine is the same before, while and after it is open.
pub unsafe fn owner_through_descriptor() {
    say("before", mode_of("/etc/passwd"));
    let fd = open("/etc/passwd", O_RDONLY);
    let mut byte = 0u8;
    ret("read", read(fd, (&raw mut byte).cast(), 1));
    let mut st: stat = z();
    fstat(fd, &mut st);
    show("by descriptor", (st.st_uid, st.st_gid));
    close(fd);
    say("after", mode_of("/etc/passwd"));
}

pub unsafe fn special_files() {
    let null = open("/dev/null", O_RDWR);
    ret("write to null", put_fd(null, "abc"));
    say("read of null", get_fd(null, 3));
    let zero = open("/dev/zero", O_RDWR);
    say("read of zero", get_fd(zero, 3));
    let full = open("/dev/full", O_RDWR);
    ret("write to full", put_fd(full, "abc"));
    say("read of full", get_fd(full, 3));
    let random = open("/dev/urandom", O_RDONLY);
    let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
    ret("random", read(random, a.as_mut_ptr().cast(), 32));
    read(random, b.as_mut_ptr().cast(), 32);
    show("differs", a != b);
    ret("lseek of null", lseek(null, 5, SEEK_SET));
    ret("isatty", isatty(null));
    mkfifo(c"p".as_ptr(), 0o644);
    ret("fifo for writing without a reader", open("p", O_WRONLY | O_NONBLOCK));
    let early = open("p", O_RDONLY | O_NONBLOCK);
    ok("fifo for reading", early);
    close(early);
    let pid = child(|| {
        let w = open("p", O_WRONLY);
        put_fd(w, "through a fifo");
        0
    });
    let r = open("p", O_RDONLY);
    say("read", rest(r));
    say("child", end_of(pid));
    ret("mknod of a file", mknod(c"m".as_ptr(), S_IFREG | 0o600, 0));
    ret("mknod of a directory", mknod(c"n".as_ptr(), S_IFDIR | 0o600, 0));
    put("f", b"x");
    say("/dev/fd", {
        let fd = open("f", O_RDONLY);
        get(&format!("/dev/fd/{fd}"))
    });
    let opath = open("f", O_PATH);
    say("read of O_PATH", get_fd(opath, 1));
    ret("fchmod of O_PATH", fchmod(opath, 0o600));
    let mut st: stat = z();
    ret("fstat of O_PATH", fstat(opath, &mut st));
    ok("reopen through proc", open(&format!("/proc/self/fd/{opath}"), O_RDONLY));
}

pub unsafe fn proc_self() {
    let status = get("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or("none");
        line.split_whitespace().nth(1).unwrap_or("").to_owned()
    };
    say("Name", field("Name:"));
    say("State", field("State:"));
    show("Pid", field("Pid:") == getpid().to_string());
    show("PPid", field("PPid:") == getppid().to_string());
    show("Uid", field("Uid:") == getuid().to_string());
    say("Threads", field("Threads:"));
    say("comm", get("/proc/self/comm").trim());
    let line = get("/proc/self/cmdline");
    show("cmdline", line.contains("files_more"));
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    show("exe", exe.file_name());
    show(
        "self",
        std::fs::read_link("/proc/self").unwrap_or_default().to_str() == Some(&getpid().to_string()),
    );
    let mut fds: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    fds.sort();
    show("fds", fds);
    let stat = get("/proc/self/stat");
    show("stat fields", stat.split_whitespace().count() >= 44);
    show("environ", get("/proc/self/environ").contains("LC_ALL=C"));
    ret("write of exe", open("/proc/self/exe", O_WRONLY));
    ok("missing pid", open("/proc/999999999/status", O_RDONLY));
    ret("create in proc", open("/proc/newfile", O_CREAT | O_WRONLY));
    for file in ["meminfo", "cpuinfo", "stat", "uptime", "loadavg", "filesystems", "mounts", "version"] {
        show(file, get(&format!("/proc/{file}")).len() > 8);
    }
    show("meminfo has MemTotal", get("/proc/meminfo").starts_with("MemTotal:"));
    for file in ["sys/kernel/ostype", "sys/vm/overcommit_memory", "sys/kernel/cap_last_cap"] {
        show(file, get(&format!("/proc/{file}")).trim().len() < 20);
    }
    show("task", std::fs::read_dir("/proc/self/task").map(Iterator::count).ok());
}

pub unsafe fn shm_tmpfs() {
    let fd = shm_open(c"/runsc-test".as_ptr(), O_CREAT | O_RDWR, 0o600);
    ok("shm_open", fd);
    ret("size", ftruncate(fd, 8192));
    let map = mmap(std::ptr::null_mut(), 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) as *mut u8;
    *map.add(5000) = b'X';
    let mut b = [0u8; 1];
    ret("pread", pread(fd, b.as_mut_ptr().cast(), 1, 5000));
    show("seen", b[0] as char);
    ret("unlink", shm_unlink(c"/runsc-test".as_ptr()));
    ret("again", shm_unlink(c"/runsc-test".as_ptr()));
    let m = memfd_create(c"name".as_ptr(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ok("memfd", m);
    put_fd(m, "memory");
    ret("seals", fcntl(m, F_GET_SEALS));
    ret("seal", fcntl(m, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
    ret("grow", ftruncate(m, 100));
    ret("shrink", ftruncate(m, 1));
    ret("write", pwrite(m, c"M".as_ptr().cast(), 1, 0));
    lseek(m, 0, SEEK_SET);
    say("content", rest(m));
}

pub unsafe fn big_files() {
    let fd = open("f", O_CREAT | O_RDWR);
    let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for i in 0..8 {
        ret("write", write(fd, block.as_ptr().cast(), block.len() - i));
    }
    let mut st: stat = z();
    fstat(fd, &mut st);
    ret("size", st.st_size);
    lseek(fd, 0, SEEK_SET);
    let mut back = vec![0u8; 9 << 20];
    let n = ret("one big read", read(fd, back.as_mut_ptr().cast(), back.len()));
    let sum = back[..n.max(0) as usize].iter().fold(0u64, |s, &b| s.wrapping_mul(31).wrapping_add(b.into()));
    show("sum", sum);
    show("copy", std::fs::copy("f", "g").ok());
    show("equal", std::fs::read("g").ok().as_deref() == Some(&back[..n.max(0) as usize]));
    ret("write at 4 GiB", pwrite(fd, c"end".as_ptr().cast(), 3, 1 << 32));
    ret("read at 4 GiB", pread(fd, back.as_mut_ptr().cast(), 10, 1 << 32));
    fstat(fd, &mut st);
    ret("size", st.st_size);
}

pub unsafe fn file_limits() {
    handle(SIGXFSZ, SIG_IGN, 0);
    let limit = rlimit { rlim_cur: 10, rlim_max: 10 };
    ret("setrlimit", setrlimit(RLIMIT_FSIZE, &limit));
    // Standard output may be a pipe: the limit is about regular files only.
    let fd = open("f", O_CREAT | O_RDWR);
    ret("up to the limit", write(fd, [b'x'; 20].as_ptr().cast(), 20));
    ret("past the limit", write(fd, [b'x'; 20].as_ptr().cast(), 20));
    ret("truncate past", ftruncate(fd, 11));
    let few = rlimit { rlim_cur: 8, rlim_max: 8 };
    ret("few descriptors", setrlimit(RLIMIT_NOFILE, &few));
    let mut last = 0;
    while last >= 0 {
        last = open("f", O_RDONLY);
    }
    say("out of descriptors", errno_name());
    ret("pipe", libc::pipe([0; 2].as_mut_ptr()));
    ret("dup2 past the limit", dup2(0, 8));
    ret("dup2 below", dup2(0, 7));
}

pub unsafe fn xattrs() {
    put("f", b"");
    let set = |name: &std::ffi::CStr, value: &str, flags| {
        setxattr(c"f".as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags)
    };
    ret("set", set(c"user.one", "value", 0));
    ret("create existing", set(c"user.one", "v", XATTR_CREATE));
    ret("replace missing", set(c"user.two", "v", XATTR_REPLACE));
    let mut b = [0u8; 64];
    ret("get", getxattr(c"f".as_ptr(), c"user.one".as_ptr(), b.as_mut_ptr().cast(), 64));
    ret("size only", getxattr(c"f".as_ptr(), c"user.one".as_ptr(), b.as_mut_ptr().cast(), 0));
    ret("too small", getxattr(c"f".as_ptr(), c"user.one".as_ptr(), b.as_mut_ptr().cast(), 2));
    ret("missing", getxattr(c"f".as_ptr(), c"user.none".as_ptr(), b.as_mut_ptr().cast(), 64));
    ret("remove", removexattr(c"f".as_ptr(), c"user.one".as_ptr()));
    ret("remove again", removexattr(c"f".as_ptr(), c"user.one".as_ptr()));
}
