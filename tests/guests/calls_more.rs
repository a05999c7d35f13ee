//! Calls on files in their less used forms, continued: utimensat(2), xattrs, faccessat2(2), the sync family.

use libc::*;

use crate::kit::{c, child, end_of, open, pipe, put, ret, show, z};

pub unsafe fn times_by_rule() {
    put("f", b"x");
    let at = |sec, nsec| timespec { tv_sec: sec, tv_nsec: nsec };
    let (now, omit) = (at(0, UTIME_NOW), at(0, UTIME_OMIT));
    let set = |step: &str, a: timespec, b: timespec| {
        ret(step, utimensat(AT_FDCWD, c"f".as_ptr(), [a, b].as_ptr(), 0))
    };
    let told = |step: &str| {
        let mut st: stat = z();
        stat(c"f".as_ptr(), &mut st);
        let far = |t: i64| if t > 1_000_000_000 { -1 } else { t };
        show(
            step,
            (far(st.st_atime), st.st_atime_nsec * i64::from(st.st_atime < 1_000_000_000), far(st.st_mtime)),
        );
    };
    set("both", at(100, 5), at(200, 7));
    told("both");
    set("access only", at(101, 6), omit);
    told("access only");
    set("modification now", omit, now);
    told("modification now");
    set("too many nanoseconds", at(0, 1_000_000_000), at(0, 0));
    set("negative nanoseconds", at(0, 0), at(0, -1));
    set("before 1970", at(-100, 3), at(-200, 0));
    told("before 1970");
    ret("nothing at all, nowhere", utimensat(AT_FDCWD, c"none".as_ptr(), [omit, omit].as_ptr(), 0));
    ret("nowhere", utimensat(AT_FDCWD, c"none".as_ptr(), [now, omit].as_ptr(), 0));
    ret("null path", syscall(SYS_utimensat, AT_FDCWD, 0usize, 0usize, 0));
    let fd = open("f", O_RDONLY);
    ret("null path of a descriptor", syscall(SYS_utimensat, fd, 0usize, [at(1, 0), at(2, 0)].as_ptr(), 0));
    ret("with a flag", syscall(SYS_utimensat, fd, 0usize, 0usize, AT_SYMLINK_NOFOLLOW));
    ret("empty path", syscall(SYS_utimensat, fd, c"".as_ptr(), [at(3, 0), at(4, 0)].as_ptr(), AT_EMPTY_PATH));
    told("empty path");
    ret("bad flag", syscall(SYS_utimensat, fd, c"".as_ptr(), 0usize, 1));
    ret("bad times", syscall(SYS_utimensat, AT_FDCWD, c"f".as_ptr(), 8, 0));
    symlink(c"f".as_ptr(), c"l".as_ptr());
    ret(
        "of the link",
        utimensat(AT_FDCWD, c"l".as_ptr(), [at(9, 0), at(9, 0)].as_ptr(), AT_SYMLINK_NOFOLLOW),
    );
    told("not the file");
    let path = open("f", O_PATH);
    ret("O_PATH", syscall(SYS_utimensat, path, 0usize, 0usize, 0));
    ret("O_PATH, empty path", syscall(SYS_utimensat, path, c"".as_ptr(), 0usize, AT_EMPTY_PATH));
    if geteuid() == 0 {
        for (mode, name) in [(0o644, "readable"), (0o666, "writable")] {
            chmod(c"f".as_ptr(), mode);
            let pid = child(|| {
                setresuid(65534, 65534, 65534);
                set(&format!("{name}: both now"), now, now);
                set(&format!("{name}: one now"), now, omit);
                set(&format!("{name}: given"), at(1, 0), at(1, 0));
                set(&format!("{name}: none"), omit, omit);
                ret(&format!("{name}: null"), utimensat(AT_FDCWD, c"f".as_ptr(), std::ptr::null(), 0));
                0
            });
            end_of(pid);
        }
    }
}

pub unsafe fn attributes() {
    put("f", b"");
    mkdir(c"d".as_ptr(), 0o755);
    symlink(c"f".as_ptr(), c"l".as_ptr());
    let set = |path: &str, name: &str, value: &[u8], flags| {
        ret(
            &format!("set {path} {} {} {flags}", &name[..name.len().min(20)], value.len()),
            lsetxattr(c(path).as_ptr(), c(name).as_ptr(), value.as_ptr().cast(), value.len(), flags),
        )
    };
    let list = |path: &str| {
        let mut b = vec![0u8; 65536];
        let n = llistxattr(c(path).as_ptr(), b.as_mut_ptr().cast(), b.len());
        let mut names: Vec<String> = b[..n.max(0) as usize]
            .split(|x| *x == 0)
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect();
        names.retain(|n| !n.is_empty() && !n.starts_with("security.selinux"));
        names.sort();
        show(&format!("list {path}"), (n, names));
    };
    list("f");
    for name in [
        "user.a",
        "trusted.t",
        "security.s",
        "system.x",
        "other.x",
        "user.",
        "user",
        "",
        ".",
        "trusted.",
        "security.",
    ] {
        set("f", name, b"value", 0);
        set("d", name, b"value", 0);
        set("l", name, b"value", 0);
    }
    list("f");
    list("d");
    list("l");
    set("f", "user.a", b"other", XATTR_CREATE);
    set("f", "user.b", b"other", XATTR_REPLACE);
    set("f", "user.a", b"", XATTR_REPLACE);
    set("f", "user.b", b"x", XATTR_CREATE | XATTR_REPLACE);
    set("f", "user.b", b"x", 8);
    set("f", &format!("user.{}", "n".repeat(250)), b"x", 0);
    set("f", &format!("user.{}", "n".repeat(251)), b"x", 0);
    set("f", "user.huge", &vec![1; 65537], 0);
    let mut b = [0u8; 64];
    let mut get = |path: &str, name: &str, size: usize| {
        ret(
            &format!("get {path} {name} {size}"),
            lgetxattr(c(path).as_ptr(), c(name).as_ptr(), b.as_mut_ptr().cast(), size),
        )
    };
    get("f", "user.a", 64);
    get("f", "user.a", 0);
    get("f", "trusted.t", 64);
    get("f", "trusted.t", 2);
    get("f", "trusted.none", 64);
    get("f", "security.s", 64);
    get("f", "user.", 64);
    get("f", "other.x", 64);
    get("l", "user.a", 64);
    get("l", "trusted.t", 64);
    get("none", "user.a", 64);
    let fd = open("f", O_RDONLY);
    let path = open("f", O_PATH);
    ret("by descriptor", fgetxattr(fd, c"trusted.t".as_ptr(), std::ptr::null_mut(), 0));
    ret("set by a read-only descriptor", fsetxattr(fd, c"user.fd".as_ptr(), c"v".as_ptr().cast(), 1, 0));
    ret("by O_PATH", fgetxattr(path, c"user.a".as_ptr(), std::ptr::null_mut(), 0));
    ret("list size", flistxattr(fd, std::ptr::null_mut(), 0));
    let mut small = [0u8; 4];
    ret("list too small", flistxattr(fd, small.as_mut_ptr().cast(), 4));
    ret("remove", fremovexattr(fd, c"user.fd".as_ptr()));
    ret("remove none", lremovexattr(c"f".as_ptr(), c"user.none".as_ptr()));
    ret("remove of an unknown space", lremovexattr(c"f".as_ptr(), c"other.x".as_ptr()));
    ret("bad name", lgetxattr(c"f".as_ptr(), 8 as *const _, std::ptr::null_mut(), 0));
    ret("bad value", lsetxattr(c"f".as_ptr(), c"user.v".as_ptr(), 8 as *const _, 4, 0));
    let (r, _w) = pipe();
    ret("of a pipe", fgetxattr(r, c"user.a".as_ptr(), std::ptr::null_mut(), 0));
    if geteuid() == 0 {
        chmod(c"f".as_ptr(), 0o640);
        mkdir(c"sticky".as_ptr(), 0o1777);
        chmod(c"sticky".as_ptr(), 0o1777);
        let pid = child(|| {
            setresuid(65534, 65534, 65534);
            list("f");
            set("f", "user.mine", b"x", 0);
            set("f", "trusted.mine", b"x", 0);
            set("f", "security.mine", b"x", 0);
            set("sticky", "user.mine", b"x", 0);
            for name in [c"user.a", c"trusted.t", c"security.s"] {
                ret("get", lgetxattr(c"f".as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0));
                ret("remove", lremovexattr(c"f".as_ptr(), name.as_ptr()));
            }
            0
        });
        end_of(pid);
    }
}

pub unsafe fn accesses_and_syncs() {
    put("f", b"x");
    symlink(c"none".as_ptr(), c"dangling".as_ptr());
    let fd = open("f", O_RDWR);
    let (r, w) = pipe();
    let path = open("f", O_PATH);
    let dir = open(".", O_RDONLY | O_DIRECTORY);
    let fa = |step: &str, dir: i32, path: &str, mode: i32, flags: i32| {
        ret(step, syscall(SYS_faccessat2, dir, c(path).as_ptr(), mode, flags))
    };
    fa("plain", AT_FDCWD, "f", R_OK, 0);
    fa("mode", AT_FDCWD, "f", 8, 0);
    fa("flags", AT_FDCWD, "f", R_OK, 1);
    fa("effective", AT_FDCWD, "f", R_OK | W_OK, AT_EACCESS);
    fa("execute", AT_FDCWD, "f", X_OK, 0);
    fa("empty", fd, "", R_OK, AT_EMPTY_PATH);
    fa("empty without the flag", fd, "", R_OK, 0);
    fa("of O_PATH", path, "", F_OK, AT_EMPTY_PATH);
    fa("dangling", AT_FDCWD, "dangling", F_OK, 0);
    fa("the link", AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW);
    fa("of a pipe", r, "", R_OK, AT_EMPTY_PATH);
    ret("fsync", fsync(fd));
    ret("fdatasync", fdatasync(fd));
    ret("fsync of a directory", fsync(dir));
    ret("fdatasync of a directory", fdatasync(dir));
    ret("fsync of a pipe", fsync(w));
    ret("fsync of O_PATH", fsync(path));
    ret("fsync of a device", fsync(open("/dev/null", O_RDWR)));
    ret("fsync of a read-only", fsync(open("f", O_RDONLY)));
    ret("syncfs", syncfs(fd));
    ret("syncfs of a pipe", syncfs(r));
    ret("syncfs of O_PATH", syncfs(path));
    ret("syncfs of nothing", syncfs(99));
    for flags in [0, 1, 2, 4, 7, 8] {
        ret(&format!("range {flags}"), sync_file_range(fd, 0, 10, flags));
    }
    ret("range of a pipe", sync_file_range(r, 0, 10, 0));
    ret("range of a directory", sync_file_range(dir, 0, 10, 0));
    ret("negative range", sync_file_range(fd, -1, 10, 0));
    ret("overflow", sync_file_range(fd, i64::MAX, 10, 0));
    sync();
    ret("truncate of a directory", truncate(c".".as_ptr(), 0));
    ret("truncate negative", truncate(c"f".as_ptr(), -1));
    ret("truncate of nothing", truncate(c"none".as_ptr(), 0));
    ret("truncate of a device", truncate(c"/dev/null".as_ptr(), 0));
    ret("ftruncate of a read-only", ftruncate(open("f", O_RDONLY), 0));
    ret("ftruncate of a pipe", ftruncate(w, 0));
    ret("ftruncate of O_PATH", ftruncate(path, 0));
    ret("ftruncate of a directory", ftruncate(dir, 0));
    ret("far", ftruncate(fd, 1 << 40));
    let mut lease = fcntl(fd, F_GETLEASE);
    show("no lease", lease == F_UNLCK || lease == -1);
    lease = fcntl(w, F_GETPIPE_SZ);
    ret("pipe size", lease);
}
