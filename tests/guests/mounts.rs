//! mount(2), umount2(2), pivot_root(2), chroot(2), in a private tree of mounts. Needs the capability for it: who has it not
//! only sees that.

use libc::*;

use crate::kit::{c, child, end_of, errno_name, get, ok, open, put, put_fd, ret, say, show, z};

/// A tree of mounts of our own. Nothing is mounted without it: natively this is somebody's machine.
unsafe fn private() -> bool {
    if ret("own tree", unshare(CLONE_NEWNS)) != 0 {
        return false;
    }
    let none = std::ptr::null::<c_char>();
    ret("private", mount(none, c"/".as_ptr(), none, MS_REC | MS_PRIVATE, std::ptr::null())) == 0
}

unsafe fn mnt(step: &str, source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> i32 {
    let opt = |t: &str| if t.is_empty() { None } else { Some(c(t)) };
    let (s, k, d) = (opt(source), opt(kind), opt(data));
    let ptr = |t: &Option<std::ffi::CString>| t.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    ret(step, mount(ptr(&s), c(target).as_ptr(), ptr(&k), flags, ptr(&d).cast()))
}

unsafe fn umnt(step: &str, target: &str, flags: i32) -> i32 {
    ret(step, umount2(c(target).as_ptr(), flags))
}

/// The lines of mountinfo below this directory: root, place, options, kind, source, and options of the file system
/// (those that we set).
unsafe fn shown(step: &str) {
    let mut buf = [0u8; 4096];
    getcwd(buf.as_mut_ptr().cast(), buf.len());
    let here = String::from_utf8_lossy(&buf).trim_end_matches('\0').to_owned();
    let mut lines = Vec::new();
    for line in get("/proc/self/mountinfo").lines() {
        let w: Vec<&str> = line.split(' ').collect();
        let Some(place) = w[4].strip_prefix(&here) else { continue };
        let dash = w.iter().position(|x| *x == "-").unwrap_or(0);
        let bound = w[3].strip_prefix(&here).unwrap_or(w[3]);
        let bound = if bound.contains("/tmp") || bound == "/" { "ROOT" } else { bound };
        // Of a bound directory of the surrounding file system only what the mount says is ours to tell.
        let (kind, source, whole) = match w[dash + 1] {
            "tmpfs" => {
                let kept =
                    w[dash + 3].split(',').filter(|o| !o.starts_with("inode") && !o.starts_with("huge"));
                (w[dash + 1], w[dash + 2], kept.collect::<Vec<_>>().join(","))
            }
            _ => ("other", "", String::new()),
        };
        let tags = w[6..dash].join(" ");
        lines.push(format!("{bound} {place} {} {tags} {kind} {source} {whole}", w[5]));
    }
    show(step, lines);
}

pub unsafe fn tmpfs() {
    if !private() {
        return;
    }
    mkdir(c"m".as_ptr(), 0o755);
    put("m/below", b"covered");
    mnt("mount", "name", "m", "tmpfs", 0, "size=64k,mode=711");
    shown("shown");
    say("covered", get("m/below"));
    let mut st: stat = z();
    stat(c"m".as_ptr(), &mut st);
    say("mode", format!("{:o}", st.st_mode));
    let mut sx: statx = z();
    syscall(SYS_statx, AT_FDCWD, c"m".as_ptr(), 0, STATX_BASIC_STATS, &mut sx);
    show("is a mount's root", sx.stx_attributes & STATX_ATTR_MOUNT_ROOT as u64 != 0);
    // Kind, block size, blocks, longest name, flags.
    let statfs = |path: &std::ffi::CStr| {
        let mut f = [0u64; 15];
        syscall(SYS_statfs, path.as_ptr(), f.as_mut_ptr());
        (f[0], f[1], f[2], f[8], f[10] & !0x20)
    };
    show("statfs", statfs(c"m"));
    put("m/f", b"x");
    let fd = open("m/big", O_CREAT | O_RDWR);
    let block = [7u8; 4096];
    let mut wrote = 0;
    while write(fd, block.as_ptr().cast(), 4096) == 4096 {
        wrote += 1;
    }
    show("room for pages", (wrote, errno_name()));
    umnt("busy", "m", 0);
    close(fd);
    ret("rmdir", rmdir(c"m".as_ptr()));
    ret("rename", rename(c"m".as_ptr(), c"n".as_ptr()));
    ret("link out", link(c"m/f".as_ptr(), c"f".as_ptr()));
    ret("rename out", rename(c"m/f".as_ptr(), c"f".as_ptr()));
    umnt("umount", "m", 0);
    say("seen again", get("m/below"));
    umnt("again", "m", 0);
    shown("gone");
    mnt("flags", "x y", "m", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RDONLY, "");
    shown("flags");
    ret("write", open("m/f", O_CREAT | O_RDWR));
    show("flags", statfs(c"m").4);
    mnt("remount", "", "m", "", MS_REMOUNT, "");
    ok("write", open("m/f", O_CREAT | O_RDWR));
    shown("remounted");
    mnt("second on top", "top", "m", "tmpfs", 0, "");
    show("hidden", get("m/f"));
    shown("both");
    umnt("top", "m", 0);
    show("there again", get("m/f"));
    umnt("detach", "m", MNT_DETACH);
    mkdir(c"dir".as_ptr(), 0o755);
    mnt("device", "t", "dir", "tmpfs", 0, "");
    ret("null", mknod(c"dir/null".as_ptr(), S_IFCHR | 0o666, makedev(1, 3)));
    ret("null works", put_fd(open("dir/null", O_WRONLY), "abc"));
    mnt("nodev", "", "dir", "", MS_REMOUNT | MS_BIND | MS_NODEV, "");
    ret("no more", open("dir/null", O_WRONLY));
    umnt("umount", "dir", 0);
}

pub unsafe fn binds() {
    if !private() {
        return;
    }
    for d in ["a", "a/sub", "b", "c", "d"] {
        mkdir(c(d).as_ptr(), 0o755);
    }
    put("a/f", b"of a");
    put("file", b"file");
    put("other", b"other");
    mnt("bind", "a", "b", "", MS_BIND, "");
    show("same", get("b/f"));
    shown("bound");
    put("b/g", b"made there");
    show("seen here", get("a/g"));
    ret("link across", link(c"a/f".as_ptr(), c"b/l".as_ptr()));
    ret("rename across", rename(c"a/f".as_ptr(), c"b/l".as_ptr()));
    mnt("read-only", "", "b", "", MS_REMOUNT | MS_BIND | MS_RDONLY, "");
    shown("read-only");
    ret("write through it", open("b/h", O_CREAT | O_RDWR));
    ret("truncate", truncate(c"b/f".as_ptr(), 1));
    ret("chmod", chmod(c"b/f".as_ptr(), 0o600));
    ret("unlink", unlink(c"b/f".as_ptr()));
    ret("access", access(c"b/f".as_ptr(), W_OK));
    ok("write beside it", open("a/h", O_CREAT | O_RDWR));
    mnt("a file", "file", "other", "", MS_BIND, "");
    show("the file", get("other"));
    ret("unlink of a mount point", unlink(c"other".as_ptr()));
    umnt("file", "other", 0);
    show("other", get("other"));
    mnt("directory on a file", "a", "file", "", MS_BIND, "");
    mnt("file on a directory", "file", "a", "", MS_BIND, "");
    mnt("nothing", "none", "c", "", MS_BIND, "");
    mnt("no source", "", "c", "", MS_BIND, "");
    mnt("on nothing", "a", "none", "", MS_BIND, "");
    mnt("below", "t", "a/sub", "tmpfs", 0, "");
    put("a/sub/in", b"below");
    mnt("bind of one", "a", "c", "", MS_BIND, "");
    show("not below", get("c/sub/in"));
    mnt("bind of a tree", "a", "d", "", MS_BIND | MS_REC, "");
    show("below", get("d/sub/in"));
    shown("all");
    umnt("has mounts below", "d", 0);
    umnt("detach", "d", MNT_DETACH);
    show("gone below", get("d/sub/in"));
    show("the first stays", get("a/sub/in"));
    umnt("not a mount", "a", 0);
    umnt("no such", "none", 0);
    umnt("bad flag", "b", 64);
    umnt("expire with force", "b", MNT_EXPIRE | MNT_FORCE);
    umnt("expire", "c", MNT_EXPIRE);
    umnt("expire again", "c", MNT_EXPIRE);
    symlink(c"b".as_ptr(), c"l".as_ptr());
    umnt("through a link", "l", 8);
    umnt("through a link", "l", 0);
    // Up and out of a bound directory is where it is bound.
    mnt("deep", "a/sub", "c", "", MS_BIND, "");
    let at = open("c", O_PATH | O_DIRECTORY);
    ok("up", openat(at, c"../file".as_ptr(), O_RDONLY));
    let how = [0u64, 0, 0x01];
    ret("not across", syscall(SYS_openat2, at, c"../file".as_ptr(), &how, 24));
    ret("nor down", syscall(SYS_openat2, AT_FDCWD, c"c/in".as_ptr(), &how, 24));
    close(at);
    umnt("umount", "c", 0);
}

pub unsafe fn moves_and_kinds() {
    if !private() {
        return;
    }
    for d in ["a", "b", "c", "c/d"] {
        mkdir(c(d).as_ptr(), 0o755);
    }
    mnt("tmpfs", "t", "a", "tmpfs", 0, "");
    put("a/f", b"moves");
    mnt("move", "a", "b", "", MS_MOVE, "");
    show("there", (get("a/f"), get("b/f")));
    shown("moved");
    mnt("not a mount", "a", "c", "", MS_MOVE, "");
    mkdir(c"b/in".as_ptr(), 0o755);
    mnt("into itself", "b", "b/in", "", MS_MOVE, "");
    mnt("shared and private", "", "b", "", MS_SHARED | MS_PRIVATE, "");
    mnt("private", "", "b", "", MS_PRIVATE, "");
    mnt("slave of nobody", "", "b", "", MS_SLAVE | MS_REC, "");
    mnt("of no mount", "", "c", "", MS_PRIVATE, "");
    mnt("unbindable", "", "b", "", MS_UNBINDABLE, "");
    shown("unbindable");
    mnt("bind of it", "b", "c", "", MS_BIND, "");
    mnt("private again", "", "b", "", MS_PRIVATE, "");
    mnt("remount of no mount", "", "c", "", MS_REMOUNT, "");
    mnt("unknown kind", "x", "c", "nosuchfs", 0, "");
    mnt("no kind", "x", "c", "", 0, "");
    mnt("bad option", "x", "c", "tmpfs", 0, "nosuchoption=1");
    mnt("bad size", "x", "c", "tmpfs", 0, "size=abc");
    mnt("on a file", "x", "b/f", "tmpfs", 0, "");
    mnt("old magic", "x", "c", "tmpfs", 0xc0ed_0000, "");
    umnt("umount", "c", 0);
    ret("bad data", mount(c"x".as_ptr(), c"c".as_ptr(), c"tmpfs".as_ptr(), 0, 8 as *const _));
    ret("bad target", mount(c"x".as_ptr(), 8 as *const _, c"tmpfs".as_ptr(), 0, std::ptr::null()));
    let pid = child(|| {
        setresuid(65534, 65534, 65534);
        mnt("without the right", "x", "c", "tmpfs", 0, "");
        umnt("without the right", "b", 0);
        mnt("without the right, nowhere", "x", "none", "tmpfs", 0, "");
        ret("chroot without the right", chroot(c".".as_ptr()));
        0
    });
    end_of(pid);
    // A child's tree is its own once it says so.
    let pid = child(|| {
        ret("own", unshare(CLONE_NEWNS));
        mnt("only here", "mine", "c", "tmpfs", 0, "");
        put("c/f", b"x");
        umnt("not there", "b", 0);
        shown("child");
        0
    });
    end_of(pid);
    shown("parent");
    show("its file", get("c/f"));
    let pid = child(|| {
        mnt("for both", "ours", "c", "tmpfs", 0, "");
        0
    });
    end_of(pid);
    shown("shared with a child");
    umnt("umount", "c", 0);
    let n = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(n, c"b/f".as_ptr(), IN_ALL_EVENTS);
    umnt("umount", "b", 0);
    let mut b = [0u32; 16];
    let got = read(n, b.as_mut_ptr().cast(), 64);
    show("told", (got, format!("{:#x} {:#x}", b[1], b[5])));
}

pub unsafe fn roots() {
    if !private() {
        return;
    }
    for d in ["r", "r/in", "r/proc", "outside"] {
        mkdir(c(d).as_ptr(), 0o755);
    }
    put("r/f", b"inside");
    put("secret", b"outside");
    symlink(c"/f".as_ptr(), c"r/abs".as_ptr());
    symlink(c"../../../../f".as_ptr(), c"r/in/rel".as_ptr());
    let pid = child(|| {
        let out = open("outside", O_RDONLY | O_DIRECTORY);
        ret("chroot to a file", chroot(c"secret".as_ptr()));
        ret("chroot to nothing", chroot(c"none".as_ptr()));
        ret("chroot", chroot(c"r".as_ptr()));
        let mut buf = [0u8; 4096];
        let n = syscall(SYS_getcwd, buf.as_mut_ptr(), buf.len());
        show("cwd is outside", n > 0 && buf.starts_with(b"(unreachable)"));
        ok("still there", open("secret", O_RDONLY));
        ret("chdir", chdir(c"/".as_ptr()));
        show("file", (get("/f"), get("/../../f"), get("/abs"), get("/in/rel"), get("secret")));
        ret("out by a descriptor", fchdir(out));
        ok("outside", open("../secret", O_RDONLY));
        ok("not by a root", open("/secret", O_RDONLY));
        0
    });
    say("chroot", end_of(pid));
    let pid = child(|| {
        mnt("new root", "root", "r", "tmpfs", 0, "");
        mkdir(c"r/old".as_ptr(), 0o755);
        put("r/f", b"new");
        ret("pivot to no mount", syscall(SYS_pivot_root, c"outside".as_ptr(), c"outside".as_ptr()));
        ret("old one outside", syscall(SYS_pivot_root, c"r".as_ptr(), c"outside".as_ptr()));
        ret("a file", syscall(SYS_pivot_root, c"secret".as_ptr(), c"r/old".as_ptr()));
        ret("pivot", syscall(SYS_pivot_root, c"r".as_ptr(), c"r/old".as_ptr()));
        show("root", get("/f"));
        ret("chdir", chdir(c"/".as_ptr()));
        show("old", std::fs::read_dir("/old").map(|d| d.count() > 3).unwrap_or(false));
        umnt("the old one is in use", "/old", 0);
        umnt("let go", "/old", MNT_DETACH);
        show(
            "alone",
            std::fs::read_dir("/")
                .map(|d| d.flatten().map(|e| e.file_name()).collect::<Vec<_>>())
                .map(|mut v| {
                    v.sort();
                    v
                })
                .ok(),
        );
        0
    });
    say("pivot", end_of(pid));
}

pub unsafe fn old_questions() {
    let mut st: stat = z();
    stat(c".".as_ptr(), &mut st);
    let mut u = [0u8; 32];
    ret("ustat", syscall(SYS_ustat, st.st_dev, u.as_mut_ptr()));
    ret("of no device", syscall(SYS_ustat, 0xffffu64, u.as_mut_ptr()));
    ret("bad pointer", syscall(SYS_ustat, st.st_dev, 8));
    show("sysfs count", syscall(SYS_sysfs, 3) > 3);
    let at = syscall(SYS_sysfs, 1, c"tmpfs".as_ptr());
    let mut name = [0u8; 64];
    ret("name", syscall(SYS_sysfs, 2, at, name.as_mut_ptr()));
    say("is", String::from_utf8_lossy(&name).trim_end_matches('\0'));
    ret("unknown", syscall(SYS_sysfs, 1, c"nosuchfs".as_ptr()));
    ret("out of range", syscall(SYS_sysfs, 2, 9999, name.as_mut_ptr()));
    ret("bad option", syscall(SYS_sysfs, 9));
}
