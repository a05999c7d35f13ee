//! Files: opening, reading, writing, names, directories.

use libc::*;

use crate::kit::{c, errno_name, get, get_fd, ok, open, put, put_fd, rest, ret, say, show, z};

pub unsafe fn open_flags() {
    ret("missing", open("none", O_RDONLY));
    ret("create", open("a", O_CREAT | O_WRONLY));
    ret("read of a write-only", read(3, [0u8; 4].as_mut_ptr().cast(), 4));
    ret("write", put_fd(3, "hello"));
    ret("read-only", open("a", O_RDONLY));
    ret("write to a read-only", put_fd(4, "x"));
    say("content", get_fd(4, 10));
    ret("directory for writing", open(".", O_WRONLY));
    ret("directory for reading", open(".", O_RDONLY));
    say("read of a directory", get_fd(5, 10));
    ret("O_DIRECTORY on a file", open("a", O_RDONLY | O_DIRECTORY));
    ret("file as directory", open("a/b", O_RDONLY));
    ret("trailing slash on a file", open("a/", O_RDONLY));
    ret("create with trailing slash", open("b/", O_CREAT | O_WRONLY));
    ret("O_CREAT on a directory", open(".", O_CREAT | O_WRONLY));
    ret("empty path", open("", O_RDONLY));
    ret("O_CREAT in a missing directory", open("d/x", O_CREAT | O_WRONLY));
    ret("fcntl GETFL", fcntl(3, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    ret("close", close(3));
    ret("close again", close(3));
    ret("lowest descriptor is taken", open("a", O_RDWR));
}

pub unsafe fn excl() {
    ok("first", open("f", O_CREAT | O_EXCL | O_WRONLY));
    ok("second", open("f", O_CREAT | O_EXCL | O_WRONLY));
    ok("symlink", symlink(c"nowhere".as_ptr(), c"s".as_ptr()));
    ok("on a dangling link", open("s", O_CREAT | O_EXCL | O_WRONLY));
    ok("through a dangling link", open("s", O_CREAT | O_WRONLY));
    say("target now", get("nowhere"));
    ok("nofollow", open("s", O_RDONLY | O_NOFOLLOW));
}

pub unsafe fn trunc() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR | O_TRUNC);
    say("content", get("f"));
    put_fd(fd, "abc");
    say("content", get("f"));
    ret("offset", lseek(fd, 0, SEEK_CUR));
    let other = open("f", O_WRONLY | O_TRUNC);
    put_fd(fd, "def");
    show("hole in front", get("f"));
    close(other);
}

pub unsafe fn append() {
    put("f", b"one\n");
    let a = open("f", O_WRONLY | O_APPEND);
    let b = open("f", O_WRONLY | O_APPEND);
    put_fd(a, "two\n");
    put_fd(b, "three\n");
    put_fd(a, "four\n");
    say("content", get("f").replace('\n', " "));
    ret("offset", lseek(a, 0, SEEK_CUR));
    lseek(a, 0, SEEK_SET);
    put_fd(a, "five\n");
    ret("offset", lseek(a, 0, SEEK_CUR));
    ret("pwrite appends too", pwrite(a, c"six\n".as_ptr().cast(), 4, 0));
    say("content", get("f").replace('\n', " "));
    ok("clear O_APPEND", fcntl(a, F_SETFL, 0));
    lseek(a, 0, SEEK_SET);
    put_fd(a, "ONE");
    say("content", get("f").replace('\n', " "));
}

pub unsafe fn seeks() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    ret("set", lseek(fd, 4, SEEK_SET));
    ret("cur", lseek(fd, 3, SEEK_CUR));
    ret("end", lseek(fd, -2, SEEK_END));
    ret("past", lseek(fd, 100, SEEK_SET));
    say("read past", get_fd(fd, 5));
    ret("negative", lseek(fd, -1, SEEK_SET));
    ret("bad whence", lseek(fd, 0, 77));
    ret("overflow", lseek(fd, i64::MAX, SEEK_END));
    let (r, _w) = crate::kit::pipe();
    ret("pipe", lseek(r, 0, SEEK_CUR));
    lseek(fd, 8, SEEK_SET);
    let twin = dup(fd);
    say("shared offset", get_fd(twin, 1) + &get_fd(fd, 1));
    lseek(fd, 20, SEEK_SET);
    put_fd(fd, "x");
    show("sparse", get("f"));
}

pub unsafe fn seek_data() {
    let fd = open("f", O_CREAT | O_RDWR);
    put_fd(fd, "data");
    ret("data at 0", lseek(fd, 0, SEEK_DATA));
    ret("hole after", lseek(fd, 0, SEEK_HOLE));
    ret("data past the end", lseek(fd, 4, SEEK_DATA));
    ret("hole past the end", lseek(fd, 5, SEEK_HOLE));
}

pub unsafe fn pread_pwrite() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let mut b = [0u8; 4];
    ret("pread", pread(fd, b.as_mut_ptr().cast(), 4, 3));
    say("got", String::from_utf8_lossy(&b));
    ret("pread at the end", pread(fd, b.as_mut_ptr().cast(), 4, 8));
    ret("pread past", pread(fd, b.as_mut_ptr().cast(), 4, 80));
    ret("pread negative", pread(fd, b.as_mut_ptr().cast(), 4, -1));
    ret("pwrite", pwrite(fd, c"XY".as_ptr().cast(), 2, 12));
    show("content", get("f"));
    ret("offset", lseek(fd, 0, SEEK_CUR));
    let (r, w) = crate::kit::pipe();
    ret("pread of a pipe", pread(r, b.as_mut_ptr().cast(), 1, 0));
    ret("pwrite of a pipe", pwrite(w, b.as_mut_ptr().cast(), 1, 0));
}

pub unsafe fn vectors() {
    let fd = open("f", O_CREAT | O_RDWR);
    let parts = ["one ", "", "two ", "three"];
    let iov: Vec<iovec> =
        parts.iter().map(|p| iovec { iov_base: p.as_ptr() as *mut _, iov_len: p.len() }).collect();
    ret("writev", writev(fd, iov.as_ptr(), 4));
    say("content", get("f"));
    let (mut a, mut b) = ([0u8; 5], [0u8; 20]);
    let into = [
        iovec { iov_base: a.as_mut_ptr().cast(), iov_len: 5 },
        iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 20 },
    ];
    ret("preadv", preadv(fd, into.as_ptr(), 2, 2));
    say("first", String::from_utf8_lossy(&a));
    say("second", String::from_utf8_lossy(&b[..6]));
    ret("pwritev", pwritev(fd, iov.as_ptr(), 1, 4));
    say("content", get("f"));
    ret("no vectors", writev(fd, iov.as_ptr(), 0));
    ret("too many", writev(fd, iov.as_ptr(), 1025));
    ret("negative count", readv(fd, into.as_ptr(), -1));
    let huge = [iovec { iov_base: a.as_mut_ptr().cast(), iov_len: usize::MAX }];
    ret("negative length", readv(fd, huge.as_ptr(), 1));
    lseek(fd, 0, SEEK_SET);
    ret("readv", readv(fd, into.as_ptr(), 2));
    say("first", String::from_utf8_lossy(&a));
}

pub unsafe fn truncates() {
    put("f", b"0123456789");
    ret("shrink", truncate(c"f".as_ptr(), 3));
    say("content", get("f"));
    ret("grow", truncate(c"f".as_ptr(), 6));
    show("content", get("f"));
    let fd = open("f", O_RDWR);
    ret("ftruncate", ftruncate(fd, 1));
    say("content", get("f"));
    ret("negative", ftruncate(fd, -1));
    ret("directory", truncate(c".".as_ptr(), 0));
    ret("missing", truncate(c"none".as_ptr(), 0));
    let ro = open("f", O_RDONLY);
    ret("read-only descriptor", ftruncate(ro, 0));
    let (r, _) = crate::kit::pipe();
    ret("pipe", ftruncate(r, 0));
    ret("huge", ftruncate(fd, 1 << 40));
    let mut st: stat = z();
    fstat(fd, &mut st);
    ret("size", st.st_size);
}

unsafe fn rn(step: &str, from: &str, to: &str) {
    ret(step, rename(c(from).as_ptr(), c(to).as_ptr()));
}

pub unsafe fn renames() {
    put("a", b"A");
    put("b", b"B");
    rn("over existing", "a", "b");
    say("b", get("b"));
    say("a", get("a"));
    rn("to itself", "b", "b");
    rn("missing", "none", "x");
    rn("into a missing directory", "b", "none/x");
    mkdir(c"d".as_ptr(), 0o755);
    rn("file over directory", "b", "d");
    rn("directory over file", "d", "b");
    rn("directory into itself", "d", "d/sub");
    rn("into directory", "b", "d/b");
    say("there", get("d/b"));
    mkdir(c"e".as_ptr(), 0o755);
    rn("directory over non-empty", "e", "d");
    rn("directory over empty", "d", "e");
    say("moved along", get("e/b"));
    rn("dot", ".", "x");
    rn("dot dot", "e/..", "x");
    put("l1", b"L");
    link(c"l1".as_ptr(), c"l2".as_ptr());
    rn("two names of one file", "l1", "l2");
    say("both stay", get("l1"));
    let nor = syscall(SYS_renameat2, AT_FDCWD, c"l1".as_ptr(), AT_FDCWD, c"l2".as_ptr(), RENAME_NOREPLACE);
    ret("NOREPLACE", nor);
    let swap = syscall(SYS_renameat2, AT_FDCWD, c"l1".as_ptr(), AT_FDCWD, c"e".as_ptr(), RENAME_EXCHANGE);
    ret("EXCHANGE", swap);
    say("file has the directory's name", get("e"));
    say("directory has the file's name", get("l1/b"));
    let bad = syscall(SYS_renameat2, AT_FDCWD, c"l1".as_ptr(), AT_FDCWD, c"e".as_ptr(), 0x80);
    ret("bad flag", bad);
    rn("trailing slash on a file", "e", "y/");
}

pub unsafe fn rename_open() {
    put("a", b"A");
    put("b", b"B");
    let old = open("b", O_RDONLY);
    rename(c"a".as_ptr(), c"b".as_ptr());
    say("replaced file lives on", rest(old));
    let mut st: stat = z();
    fstat(old, &mut st);
    show("its links", st.st_nlink);
    let fd = open("b", O_RDWR);
    rename(c"b".as_ptr(), c"c".as_ptr());
    put_fd(fd, "new");
    say("write follows the file", get("c"));
    mkdir(c"d".as_ptr(), 0o755);
    let dir = open("d", O_RDONLY | O_DIRECTORY);
    rename(c"d".as_ptr(), c"e".as_ptr());
    ok("create in a renamed directory", openat(dir, c"x".as_ptr(), O_CREAT | O_WRONLY, 0o644));
    ret("seen there", access(c"e/x".as_ptr(), F_OK));
}

pub unsafe fn links() {
    put("a", b"A");
    ret("link", link(c"a".as_ptr(), c"b".as_ptr()));
    let mut st: stat = z();
    stat(c"b".as_ptr(), &mut st);
    show("count", st.st_nlink);
    put("b", b"changed");
    say("a", get("a"));
    ret("exists", link(c"a".as_ptr(), c"b".as_ptr()));
    ret("missing", link(c"none".as_ptr(), c"c".as_ptr()));
    ret("directory", link(c".".as_ptr(), c"c".as_ptr()));
    symlink(c"a".as_ptr(), c"s".as_ptr());
    ret("of a symlink", link(c"s".as_ptr(), c"s2".as_ptr()));
    lstat(c"s2".as_ptr(), &mut st);
    show("is a link", st.st_mode & S_IFMT == S_IFLNK);
    ret("following", linkat(AT_FDCWD, c"s".as_ptr(), AT_FDCWD, c"f".as_ptr(), AT_SYMLINK_FOLLOW));
    lstat(c"f".as_ptr(), &mut st);
    show("is a file", st.st_mode & S_IFMT == S_IFREG);
    ret("unlink", unlink(c"a".as_ptr()));
    say("b", get("b"));
    stat(c"b".as_ptr(), &mut st);
    show("count", st.st_nlink);
}

pub unsafe fn symlinks() {
    put("a", b"A");
    ret("symlink", symlink(c"a".as_ptr(), c"s".as_ptr()));
    say("through", get("s"));
    let mut b = [0u8; 64];
    ret("readlink", readlink(c"s".as_ptr(), b.as_mut_ptr().cast(), 64));
    ret("readlink cut", readlink(c"s".as_ptr(), b.as_mut_ptr().cast(), 0));
    ret("readlink of a file", readlink(c"a".as_ptr(), b.as_mut_ptr().cast(), 64));
    ret("exists", symlink(c"x".as_ptr(), c"s".as_ptr()));
    ret("empty target", symlink(c"".as_ptr(), c"t".as_ptr()));
    let mut st: stat = z();
    lstat(c"s".as_ptr(), &mut st);
    ret("size", st.st_size);
    say("mode", format!("{:o}", st.st_mode));
    mkdir(c"d".as_ptr(), 0o755);
    put("d/f", b"F");
    symlink(c"d".as_ptr(), c"sd".as_ptr());
    say("directory link", get("sd/f"));
    symlink(c"../a".as_ptr(), c"d/up".as_ptr());
    say("up", get("d/up"));
    say("dot dot after a link", get("sd/../a"));
    lstat(c"sd/".as_ptr(), &mut st);
    show("trailing slash follows", st.st_mode & S_IFMT == S_IFDIR);
    ret("unlink of the link", unlink(c"s".as_ptr()));
    say("target stays", get("a"));
    ret("rmdir of a link", rmdir(c"sd".as_ptr()));
    let long = "x".repeat(4096);
    ret("long target", symlink(c(&long).as_ptr(), c"l".as_ptr()));
    let fits = "x".repeat(3000);
    ret("long but fits", symlink(c(&fits).as_ptr(), c"l".as_ptr()));
    ret("to it", open("l", O_RDONLY));
}

pub unsafe fn symlink_loops() {
    symlink(c"b".as_ptr(), c"a".as_ptr());
    symlink(c"a".as_ptr(), c"b".as_ptr());
    ret("open", open("a", O_RDONLY));
    ret("through", open("a/x", O_RDONLY));
    put("l0", b"end");
    for i in 1..=41 {
        symlink(c(&format!("l{}", i - 1)).as_ptr(), c(&format!("l{i}")).as_ptr());
    }
    say("40 links", get("l40"));
    say("41 links", get("l41"));
    symlink(c"self".as_ptr(), c"self".as_ptr());
    ret("create through a loop", open("self", O_CREAT | O_WRONLY));
}

pub unsafe fn unlink_open() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    ret("unlink", unlink(c"f".as_ptr()));
    ret("gone", open("f", O_RDONLY));
    say("still readable", get_fd(fd, 4));
    ret("still writable", put_fd(fd, "XY"));
    lseek(fd, 0, SEEK_SET);
    say("content", rest(fd));
    let mut st: stat = z();
    fstat(fd, &mut st);
    show("links", st.st_nlink);
    put("f", b"new");
    lseek(fd, 0, SEEK_SET);
    say("old", rest(fd));
    say("new", get("f"));
    let mut b = [0u8; 256];
    let n = readlink(c(&format!("/proc/self/fd/{fd}")).as_ptr(), b.as_mut_ptr().cast(), 256);
    let link = String::from_utf8_lossy(&b[..n.max(0) as usize]).into_owned();
    show("name in /proc/self/fd", link.rsplit('/').next());
    ret("unlink of a directory", unlink(c".".as_ptr()));
    ret("unlink of a missing", unlink(c"none".as_ptr()));
    mkdir(c"d".as_ptr(), 0o755);
    ret("unlink of a real directory", unlink(c"d".as_ptr()));
}

pub unsafe fn directories() {
    let mk = |step: &str, path: &str| ret(step, mkdir(c(path).as_ptr(), 0o755));
    let rm = |step: &str, path: &str| ret(step, rmdir(c(path).as_ptr()));
    mk("mkdir", "d");
    mk("again", "d");
    mk("nested", "none/d");
    mk("trailing slash", "t/");
    mk("dot", "d/.");
    mk("root", "/");
    put("f", b"");
    mk("below a file", "f/d");
    rm("file", "f");
    put("d/f", b"");
    rm("not empty", "d");
    rm("dot", "d/.");
    rm("dot dot", "d/..");
    rm("missing", "none");
    unlink(c"d/f".as_ptr());
    rm("empty", "d");
    rm("root", "/");
    mk("for the working directory", "w");
    chdir(c"w".as_ptr());
    ret("rmdir of the working directory", rmdir(c"../w".as_ptr()));
    ret("create in it", open("x", O_CREAT | O_WRONLY));
    ret("open dot", open(".", O_RDONLY));
    let mut b = [0i8; 4096];
    let cwd = getcwd(b.as_mut_ptr(), 4096);
    say("getcwd", if cwd.is_null() { errno_name() } else { "ok".into() });
    ret("parent", chdir(c"..".as_ptr()));
    mk("link count of directories", "n");
    let mut st: stat = z();
    mkdir(c"n/a".as_ptr(), 0o755);
    stat(c"n".as_ptr(), &mut st);
    say("mode", format!("{:o}", st.st_mode));
}

pub unsafe fn dotdot_root() {
    let (mut a, mut b): (stat, stat) = (z(), z());
    ret("root", stat(c"/".as_ptr(), &mut a));
    ret("dot dot", stat(c"/..".as_ptr(), &mut b));
    show("same", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    stat(c"/../../..".as_ptr(), &mut b);
    show("same", a.st_ino == b.st_ino);
    ret("down again", access(c"/../etc/../../etc/passwd".as_ptr(), R_OK));
    ret("slashes", access(c"///etc////passwd".as_ptr(), R_OK));
    ret("through a file", access(c"/etc/passwd/../passwd".as_ptr(), R_OK));
    ret("through a missing directory", access(c"/none/../etc/passwd".as_ptr(), R_OK));
    ret("chdir", chdir(c"/..".as_ptr()));
    show("getcwd", std::env::current_dir());
}

pub unsafe fn path_limits() {
    let name255 = "n".repeat(255);
    ok("name of 255", open(&name255, O_CREAT | O_WRONLY));
    ok("name of 256", open(&"n".repeat(256), O_CREAT | O_WRONLY));
    ok("path of 4095", open(&format!("{}{name255}", "./".repeat(1920)), O_RDONLY));
    ok("path of 4096", open(&format!("{}{name255}/", "./".repeat(1920)), O_RDONLY));
    ok("path of 5000", open(&"./".repeat(2500), O_RDONLY));
    ok("name with strange bytes", open("a\n\u{7f}\u{e9}", O_CREAT | O_WRONLY));
    for i in 0..40 {
        mkdir(c(&"d/".repeat(i + 1)).as_ptr(), 0o755);
    }
    ok("deep", open(&format!("{}f", "d/".repeat(40)), O_CREAT | O_WRONLY));
}

pub unsafe fn chdirs() {
    mkdir(c"d".as_ptr(), 0o755);
    put("d/f", b"F");
    let fd = open("d", O_RDONLY);
    let file = open("d/f", O_RDONLY);
    ret("fchdir", fchdir(fd));
    say("relative", get("f"));
    ret("fchdir of a file", fchdir(file));
    ret("chdir to a file", chdir(c"f".as_ptr()));
    ret("missing", chdir(c"none".as_ptr()));
    let cwd = std::env::current_dir().unwrap_or_default();
    show("last", cwd.file_name());
    let mut b = [0u8; 4];
    let small = syscall(SYS_getcwd, b.as_mut_ptr(), 4);
    ret("getcwd with a small buffer", small);
    rename(c"../d".as_ptr(), c"../e".as_ptr());
    let cwd = std::env::current_dir().unwrap_or_default();
    show("renamed under us", cwd.file_name());
    let p = std::fs::read_link("/proc/self/cwd").unwrap_or_default();
    show("proc agrees", p == cwd);
}

pub unsafe fn at_calls() {
    mkdir(c"d".as_ptr(), 0o755);
    let d = open("d", O_RDONLY | O_DIRECTORY);
    ok("openat", openat(d, c"f".as_ptr(), O_CREAT | O_WRONLY, 0o600));
    ret("mkdirat", mkdirat(d, c"sub".as_ptr(), 0o700));
    ret("symlinkat", symlinkat(c"f".as_ptr(), d, c"s".as_ptr()));
    ret("linkat", linkat(d, c"f".as_ptr(), d, c"g".as_ptr(), 0));
    ret("renameat", renameat(d, c"g".as_ptr(), d, c"h".as_ptr()));
    ret("faccessat", faccessat(d, c"h".as_ptr(), R_OK, 0));
    let mut st: stat = z();
    ret("fstatat", fstatat(d, c"s".as_ptr(), &mut st, AT_SYMLINK_NOFOLLOW));
    say("mode", format!("{:o}", st.st_mode));
    ret("empty path", fstatat(d, c"".as_ptr(), &mut st, AT_EMPTY_PATH));
    say("mode", format!("{:o}", st.st_mode));
    ret("empty path without the flag", fstatat(d, c"".as_ptr(), &mut st, 0));
    ret("bad flag", fstatat(d, c"f".as_ptr(), &mut st, 0x4000_0000));
    ret("unlinkat", unlinkat(d, c"h".as_ptr(), 0));
    ret("unlinkat of a directory", unlinkat(d, c"sub".as_ptr(), 0));
    ret("REMOVEDIR", unlinkat(d, c"sub".as_ptr(), AT_REMOVEDIR));
    ret("bad descriptor", openat(99, c"f".as_ptr(), O_RDONLY));
    let f = openat(d, c"f".as_ptr(), O_RDONLY);
    ret("not a directory", openat(f, c"x".as_ptr(), O_RDONLY));
    ok("absolute ignores it", openat(99, c"/etc/passwd".as_ptr(), O_RDONLY));
}
