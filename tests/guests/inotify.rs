//! inotify(7): what is told of which calls, in which order, and how it is read.

use libc::*;

use crate::kit::{c, child, end_of, errno_name, get_fd, nap, ok, open, pipe, put, put_fd, ret, say, show, z};

/// The names of what a mask says.
fn words(mask: u32) -> String {
    let names = [
        (IN_ACCESS, "ACCESS"),
        (IN_MODIFY, "MODIFY"),
        (IN_ATTRIB, "ATTRIB"),
        (IN_CLOSE_WRITE, "CLOSE_WRITE"),
        (IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"),
        (IN_OPEN, "OPEN"),
        (IN_MOVED_FROM, "MOVED_FROM"),
        (IN_MOVED_TO, "MOVED_TO"),
        (IN_CREATE, "CREATE"),
        (IN_DELETE, "DELETE"),
        (IN_DELETE_SELF, "DELETE_SELF"),
        (IN_MOVE_SELF, "MOVE_SELF"),
        (IN_UNMOUNT, "UNMOUNT"),
        (IN_Q_OVERFLOW, "Q_OVERFLOW"),
        (IN_IGNORED, "IGNORED"),
        (IN_ISDIR, "ISDIR"),
    ];
    let mut left = mask;
    let mut out: Vec<String> = Vec::new();
    for (bit, name) in names {
        if left & bit != 0 {
            out.push(name.to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        out.push(format!("{left:#x}"));
    }
    out.join("|")
}

/// One instance, which does not block.
struct Notifier {
    fd: i32,
    cookies: Vec<u32>,
}

impl Notifier {
    unsafe fn new() -> Notifier {
        Notifier { fd: inotify_init1(IN_NONBLOCK | IN_CLOEXEC), cookies: Vec::new() }
    }
    unsafe fn watch(&self, path: &str, mask: u32) -> i32 {
        ret(&format!("watch {path} {mask:#x}"), inotify_add_watch(self.fd, c(path).as_ptr(), mask))
    }
    /// Prints all that is queued.
    unsafe fn tell(&mut self, after: &str) {
        let mut b = vec![0u8; 65536];
        let n = read(self.fd, b.as_mut_ptr().cast(), b.len());
        if n < 0 {
            return say(after, errno_name());
        }
        let (mut at, mut all) = (0, Vec::new());
        while at < n as usize {
            let word = |i: usize| u32::from_le_bytes(b[at + i..at + i + 4].try_into().unwrap_or_default());
            let (wd, mask, cookie, len) = (word(0) as i32, word(4), word(8), word(12) as usize);
            let name = String::from_utf8_lossy(&b[at + 16..at + 16 + len]).trim_end_matches('\0').to_owned();
            let cookie = match cookie {
                0 => String::new(),
                n => {
                    let known = self.cookies.iter().position(|c| *c == n);
                    let i = known.unwrap_or_else(|| {
                        self.cookies.push(n);
                        self.cookies.len() - 1
                    });
                    format!(" cookie {i}")
                }
            };
            let name = if len > 0 { format!(" {name}({len})") } else { name };
            all.push(format!("{wd}:{}{cookie}{name}", words(mask)));
            at += 16 + len;
        }
        say(after, all.join(", "));
    }
}

const ALL: u32 = IN_ALL_EVENTS;

pub unsafe fn masks_and_errors() {
    let n = Notifier::new();
    ok("init", inotify_init());
    ret("init with a bad flag", inotify_init1(1));
    put("f", b"x");
    mkdir(c"d".as_ptr(), 0o755);
    symlink(c"f".as_ptr(), c"l".as_ptr());
    symlink(c"nowhere".as_ptr(), c"dangling".as_ptr());
    n.watch("f", 0);
    n.watch("f", 0x1000_0000);
    n.watch("f", IN_IGNORED);
    n.watch("f", IN_ISDIR);
    n.watch("f", IN_MASK_ADD | IN_MASK_CREATE | IN_OPEN);
    n.watch("none", ALL);
    n.watch("", ALL);
    n.watch("f/x", ALL);
    n.watch("dangling", ALL);
    n.watch("f", IN_ONLYDIR | ALL);
    n.watch("d", IN_ONLYDIR | ALL);
    let f = n.watch("f", IN_OPEN);
    n.watch("l", IN_OPEN);
    n.watch("l", IN_OPEN | IN_DONT_FOLLOW);
    n.watch("f", IN_MASK_CREATE | IN_OPEN);
    n.watch("d", IN_MASK_CREATE);
    let fd = open("f", O_RDONLY);
    ret("not an instance", inotify_add_watch(fd, c"f".as_ptr(), ALL));
    ret("not open", inotify_add_watch(77, c"f".as_ptr(), ALL));
    ret("bad path", inotify_add_watch(n.fd, std::ptr::null(), ALL));
    ret("remove of nothing", inotify_rm_watch(n.fd, 99));
    ret("remove by a file", inotify_rm_watch(fd, f));
    ret("remove", inotify_rm_watch(n.fd, f));
    ret("again", inotify_rm_watch(n.fd, f));
    n.watch("f", IN_OPEN);
    let mut b = [0u8; 8];
    ret("small buffer", read(n.fd, b.as_mut_ptr().cast(), 8));
    ret("write", write(n.fd, b.as_ptr().cast(), 8));
    ret("seek", lseek(n.fd, 0, SEEK_SET));
    let mut st: stat = z();
    fstat(n.fd, &mut st);
    say("mode", format!("{:o}", st.st_mode));
    say("link", std::fs::read_link(format!("/proc/self/fd/{}", n.fd)).unwrap_or_default().display());
    if geteuid() == 0 {
        let pid = child(|| {
            chmod(c"f".as_ptr(), 0o200);
            setresuid(65534, 65534, 65534);
            n.watch("f", ALL);
            0
        });
        end_of(pid);
    }
}

pub unsafe fn of_files() {
    let mut n = Notifier::new();
    put("f", b"0123456789");
    n.watch(".", ALL);
    n.watch("f", ALL);
    let fd = open("f", O_RDWR);
    n.tell("open");
    let mut b = [0u8; 16];
    read(fd, b.as_mut_ptr().cast(), 4);
    n.tell("read");
    pread(fd, b.as_mut_ptr().cast(), 4, 100);
    n.tell("read at the end");
    let v = [iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 4 }];
    preadv(fd, v.as_ptr(), 1, 100);
    n.tell("readv at the end");
    readv(fd, v.as_ptr(), 1);
    n.tell("readv");
    put_fd(fd, "x");
    n.tell("write");
    write(fd, b.as_ptr().cast(), 0);
    n.tell("empty write");
    put_fd(fd, "x");
    put_fd(fd, "y");
    n.tell("equal events are one");
    ftruncate(fd, 3);
    n.tell("ftruncate");
    truncate(c"f".as_ptr(), 2);
    n.tell("truncate");
    fallocate(fd, 0, 0, 100);
    n.tell("fallocate");
    fsync(fd);
    n.tell("fsync");
    fchmod(fd, 0o600);
    n.tell("fchmod");
    chmod(c"f".as_ptr(), 0o644);
    n.tell("chmod");
    chown(c"f".as_ptr(), getuid(), u32::MAX);
    n.tell("chown");
    fchown(fd, u32::MAX, u32::MAX);
    n.tell("chown of nothing");
    let t = |sec| timespec { tv_sec: sec, tv_nsec: 0 };
    let omit = timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(fd, [t(1), t(2)].as_ptr());
    n.tell("both times");
    futimens(fd, [t(1), omit].as_ptr());
    n.tell("access time");
    futimens(fd, [omit, t(3)].as_ptr());
    n.tell("modification time");
    futimens(fd, [omit, omit].as_ptr());
    n.tell("no time");
    utimensat(AT_FDCWD, c"f".as_ptr(), std::ptr::null(), 0);
    n.tell("now");
    fsetxattr(fd, c"user.a".as_ptr(), c"v".as_ptr().cast(), 1, 0);
    n.tell("setxattr");
    fremovexattr(fd, c"user.a".as_ptr());
    n.tell("removexattr");
    fremovexattr(fd, c"user.a".as_ptr());
    n.tell("removexattr that fails");
    let map = mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    munmap(map, 4096);
    n.tell("mmap");
    let other = dup(fd);
    close(fd);
    n.tell("close of one of two");
    close(other);
    n.tell("close");
    close(open("f", O_RDONLY));
    n.tell("read-only");
    close(open("f", O_WRONLY | O_TRUNC));
    n.tell("truncating open");
    close(open("f", O_PATH));
    n.tell("O_PATH");
    close(open("g", O_CREAT | O_WRONLY));
    n.tell("creating open");
    close(open("g", O_CREAT | O_RDONLY));
    n.tell("open of what is there");
    access(c"f".as_ptr(), R_OK);
    let mut st: stat = z();
    stat(c"f".as_ptr(), &mut st);
    n.tell("stat and access");
    put("f", b"0123");
    put("g", b"");
    let (from, to) = (open("f", O_RDONLY), open("g", O_RDWR));
    n.tell("opens");
    sendfile(to, from, std::ptr::null_mut(), 2);
    n.tell("sendfile");
    copy_file_range(from, std::ptr::null_mut(), to, std::ptr::null_mut(), 1, 0);
    n.tell("copy_file_range");
    let (r, w) = pipe();
    splice(from, std::ptr::null_mut(), w, std::ptr::null_mut(), 1, 0);
    n.tell("splice from a file");
    splice(r, std::ptr::null_mut(), to, std::ptr::null_mut(), 1, 0);
    n.tell("splice to a file");
}

pub unsafe fn of_names() {
    let mut n = Notifier::new();
    mkdir(c"d".as_ptr(), 0o755);
    mkdir(c"e".as_ptr(), 0o755);
    n.watch("d", ALL);
    n.watch("e", ALL);
    put("d/f", b"");
    n.tell("make a file");
    n.watch("d/f", ALL);
    mkdir(c"d/s".as_ptr(), 0o755);
    n.tell("mkdir");
    symlink(c"f".as_ptr(), c"d/l".as_ptr());
    n.tell("symlink");
    mkfifo(c"d/p".as_ptr(), 0o644);
    n.tell("mkfifo");
    link(c"d/f".as_ptr(), c"e/g".as_ptr());
    n.tell("link");
    rename(c"d/f".as_ptr(), c"d/h".as_ptr());
    n.tell("rename in one directory");
    rename(c"d/h".as_ptr(), c"e/f".as_ptr());
    n.tell("rename to another");
    rename(c"e/f".as_ptr(), c"e/g".as_ptr());
    n.tell("rename to another name of it");
    rename(c"d/s".as_ptr(), c"e/s".as_ptr());
    n.tell("rename of a directory");
    put("e/a-longer-name-for-padding", b"");
    n.tell("name of 26");
    put("e/name-of-fifteen", b"");
    n.tell("name of 15");
    put("e/name-of-sixteen", b"");
    n.tell("name of 16");
    n.watch("e/name-of-sixteen", ALL);
    rename(c"e/name-of-fifteen".as_ptr(), c"e/name-of-sixteen".as_ptr());
    n.tell("rename over");
    put("d/x", b"");
    put("e/y", b"");
    n.tell("two files");
    syscall(SYS_renameat2, AT_FDCWD, c"d/x".as_ptr(), AT_FDCWD, c"e/y".as_ptr(), RENAME_EXCHANGE);
    n.tell("exchange");
    syscall(SYS_renameat2, AT_FDCWD, c"d/x".as_ptr(), AT_FDCWD, c"e/y".as_ptr(), RENAME_NOREPLACE);
    n.tell("rename that fails");
    unlink(c"e/g".as_ptr());
    n.tell("unlink of one of two names");
    unlink(c"e/f".as_ptr());
    n.tell("unlink of the last");
    n.watch("e/s", ALL);
    rmdir(c"e/s".as_ptr());
    n.tell("rmdir");
    drop(std::fs::read_dir("d").map(|d| d.count()));
    n.tell("list");
    chmod(c"d".as_ptr(), 0o700);
    n.tell("chmod of the watched");
    rename(c"d".as_ptr(), c"dd".as_ptr());
    n.tell("rename of the watched");
    for name in ["l", "p", "x"] {
        unlink(c(&format!("dd/{name}")).as_ptr());
    }
    n.tell("emptied");
    rmdir(c"dd".as_ptr());
    n.tell("rmdir of the watched");
    n.tell("nothing");
}

pub unsafe fn open_and_gone() {
    let mut n = Notifier::new();
    put("f", b"x");
    n.watch(".", ALL & !(IN_OPEN | IN_ACCESS));
    n.watch("f", ALL);
    let fd = open("f", O_RDWR);
    unlink(c"f".as_ptr());
    n.tell("unlink while open");
    put_fd(fd, "y");
    n.tell("write to it");
    close(fd);
    n.tell("close");
    let mut n = Notifier::new();
    put("f", b"x");
    n.watch(".", IN_ALL_EVENTS | IN_EXCL_UNLINK);
    let fd = open("f", O_RDWR);
    n.tell("open");
    unlink(c"f".as_ptr());
    put_fd(fd, "y");
    close(fd);
    n.tell("excluded once unlinked");
    let pid = child(|| {
        mkdir(c"cwd".as_ptr(), 0o755);
        chdir(c"cwd".as_ptr());
        let mut n = Notifier::new();
        n.watch(".", ALL);
        rmdir(c"../cwd".as_ptr());
        n.tell("own directory removed");
        chdir(c"/".as_ptr());
        n.tell("left");
        0
    });
    end_of(pid);
}

pub unsafe fn once_and_again() {
    let mut n = Notifier::new();
    put("f", b"x");
    n.watch("f", IN_OPEN | IN_ONESHOT);
    close(open("f", O_RDONLY));
    close(open("f", O_RDONLY));
    n.tell("once");
    n.watch("f", IN_OPEN);
    n.watch("f", IN_CLOSE_NOWRITE);
    close(open("f", O_RDONLY));
    n.tell("replaced");
    n.watch("f", IN_OPEN | IN_MASK_ADD);
    close(open("f", O_RDONLY));
    n.tell("added");
    link(c"f".as_ptr(), c"g".as_ptr());
    n.watch("g", IN_MODIFY);
    close(open("g", O_WRONLY | O_TRUNC));
    n.tell("another name");
    let wd = n.watch("g", IN_OPEN);
    close(open("g", O_RDONLY));
    inotify_rm_watch(n.fd, wd);
    n.tell("removed with an event queued");
    // Two instances do not disturb each other.
    let mut m = Notifier::new();
    n.watch("f", IN_OPEN);
    m.watch("f", IN_CLOSE);
    close(open("f", O_RDONLY));
    n.tell("first");
    m.tell("second");
    close(m.fd);
    close(open("f", O_RDONLY));
    n.tell("first alone");
}

pub unsafe fn reading() {
    let mut n = Notifier::new();
    put("f", b"x");
    n.watch(".", IN_OPEN | IN_CLOSE);
    let mut p = pollfd { fd: n.fd, events: POLLIN | POLLOUT | POLLRDNORM, revents: 0 };
    ret("poll of nothing", poll(&mut p, 1, 0));
    let mut left = 7;
    ret("FIONREAD", ioctl(n.fd, FIONREAD, &mut left));
    ret("is", left);
    let fd = open("f", O_RDONLY);
    ret("poll", poll(&mut p, 1, 0));
    show("events", p.revents);
    ioctl(n.fd, FIONREAD, &mut left);
    ret("to read", left);
    close(fd);
    ioctl(n.fd, FIONREAD, &mut left);
    ret("to read", left);
    let mut b = [0u8; 40];
    ret("room for one", read(n.fd, b.as_mut_ptr().cast(), 40));
    ret("too small", read(n.fd, b.as_mut_ptr().cast(), 31));
    ret("the other", read(n.fd, b.as_mut_ptr().cast(), 32));
    ret("none", read(n.fd, b.as_mut_ptr().cast(), 40));
    let ep = epoll_create1(0);
    let mut ev = epoll_event { events: (EPOLLIN | EPOLLET) as u32, u64: 5 };
    ret("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, n.fd, &mut ev));
    ret("epoll_wait", epoll_wait(ep, &mut ev, 1, 0));
    close(open("f", O_RDONLY));
    ret("epoll_wait", epoll_wait(ep, &mut ev, 1, 1000));
    ret("edge", epoll_wait(ep, &mut ev, 1, 0));
    n.tell("events");
    let flags = fcntl(n.fd, F_GETFL);
    fcntl(n.fd, F_SETFL, flags & !O_NONBLOCK);
    let pid = child(|| {
        nap(50);
        close(open("f", O_RDONLY));
        0
    });
    ret("blocks", read(n.fd, b.as_mut_ptr().cast(), 40));
    end_of(pid);
    fcntl(n.fd, F_SETFL, flags);
    n.tell("close");
    let info = crate::kit::get(&format!("/proc/self/fdinfo/{}", n.fd));
    let line = info.lines().find(|l| l.starts_with("inotify")).unwrap_or("none");
    let kept = line.split(' ').filter(|w| !w.starts_with("ino:") && !w.starts_with("sdev:"));
    say(
        "fdinfo",
        kept.filter(|w| !w.starts_with("fhandle") && !w.starts_with("f_handle"))
            .collect::<Vec<_>>()
            .join(" ")
            .trim_end(),
    );
}

pub unsafe fn limits() {
    let number = |name: &str| -> i64 {
        crate::kit::get(&format!("/proc/sys/fs/inotify/{name}")).trim().parse().unwrap_or(-1)
    };
    show("settings", number("max_queued_events") > 0 && number("max_user_watches") > 0);
    let mut n = Notifier::new();
    put("f", b"x");
    put("g", b"x");
    n.watch("f", IN_OPEN);
    n.watch("g", IN_OPEN);
    let most = number("max_queued_events").clamp(0, 100_000);
    for _ in 0..most / 2 + 10 {
        close(open("f", O_RDONLY));
        close(open("g", O_RDONLY));
    }
    let mut b = vec![0u8; 16 * (most as usize + 64)];
    let got = read(n.fd, b.as_mut_ptr().cast(), b.len()) / 16;
    show("as many as may be, and one", got - most as isize);
    let last = &b[(got as usize - 1) * 16..];
    show("the last", (i32::from_le_bytes([last[0], last[1], last[2], last[3]]), last[5] == 0x40));
    n.tell("then");
    // A file that is not told of twice: two at a time can be told apart again.
    close(open("f", O_RDONLY));
    n.tell("and again");
}

/// A reader that learns only from events what another process does.
pub unsafe fn two_processes() {
    let mut n = Notifier::new();
    mkdir(c"d".as_ptr(), 0o755);
    n.watch("d", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE);
    let pid = child(|| {
        for i in 0..200 {
            put(&format!("d/{i}"), b"x");
            if i % 3 == 0 {
                rename(c(&format!("d/{i}")).as_ptr(), c(&format!("d/n{i}")).as_ptr());
            }
            if i % 5 == 0 {
                unlink(c(&format!("d/{i}")).as_ptr());
            }
        }
        0
    });
    let mut seen = std::collections::BTreeMap::new();
    let mut b = vec![0u8; 4096];
    let mut done = false;
    loop {
        let got = read(n.fd, b.as_mut_ptr().cast(), b.len());
        if got <= 0 {
            if done {
                break;
            }
            done = waitpid(pid, std::ptr::null_mut(), WNOHANG) == pid;
            if !done {
                nap(1);
            }
            continue;
        }
        let mut at = 0;
        while at < got as usize {
            let word = |i: usize| u32::from_le_bytes(b[at + i..at + i + 4].try_into().unwrap_or_default());
            *seen.entry(words(word(4))).or_insert(0) += 1;
            at += 16 + word(12) as usize;
        }
    }
    show("counts", seen);
    n.tell("rest");
    show("no data", get_fd(n.fd, 16));
}
