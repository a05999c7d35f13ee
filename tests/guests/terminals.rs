//! Pseudo-terminals and their line discipline: names, modes, editing, echo, output, flow, packets (termios(3), pts(4)).
//!
//! Linux lets the discipline work on its own time, so each step [`settle`]s before it looks.

use libc::*;

use crate::kit::{c, end_of, get_fd, nap, ok, put_fd, ret, say, show, takes, z};

const TIOCGPTLCK: u64 = 0x8004_5439;
const TIOCGPKT: u64 = 0x8004_5438;
const TIOCGEXCL: u64 = 0x8004_5440;
const TCGETS2: u64 = 0x802c_542a;
const TCSETS2: u64 = 0x402c_542b;

/// A new pair: (master, slave), neither of which becomes anyone's terminal.
pub unsafe fn pair() -> (i32, i32) {
    let master = posix_openpt(O_RDWR | O_NOCTTY);
    unlock(master);
    (master, slave_of(master))
}

unsafe fn unlock(master: i32) -> i32 {
    ioctl(master, TIOCSPTLCK, &mut 0)
}

/// Another description of the slave.
pub unsafe fn slave_of(master: i32) -> i32 {
    open(c(&name_of(master)).as_ptr(), O_RDWR | O_NOCTTY)
}

/// The slave's path.
pub unsafe fn name_of(master: i32) -> String {
    let mut number = -1;
    ioctl(master, TIOCGPTN, &mut number);
    format!("/dev/pts/{number}")
}

/// Waits until the discipline has worked on all that was typed, where it had nothing to give out before: poll lets it
/// begin, and modes change when it is done.
pub unsafe fn settle(slave: i32) {
    let mut p = pollfd { fd: slave, events: POLLIN, revents: 0 };
    poll(&mut p, 1, 0);
    tcsetattr(slave, TCSANOW, &modes(slave));
}

pub unsafe fn modes(fd: i32) -> termios {
    let mut t: termios = z();
    tcgetattr(fd, &mut t);
    t
}

/// Changes modes by a function.
pub unsafe fn set_modes(fd: i32, change: impl FnOnce(&mut termios)) {
    let mut t = modes(fd);
    change(&mut t);
    ok("tcsetattr", tcsetattr(fd, TCSANOW, &t));
}

pub unsafe fn nonblocking(fd: i32, on: bool) {
    let flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, if on { flags | O_NONBLOCK } else { flags & !O_NONBLOCK });
}

/// All that can be read now, piece by piece.
pub unsafe fn drain(fd: i32, at_once: usize) -> String {
    nonblocking(fd, true);
    // What a master reads at a time is chance on Linux, but for packets; what a slave does is not.
    let (mut number, mut packets) = (0i32, 0i32);
    let whole =
        ioctl(fd, TIOCGPTN, &mut number) == 0 && ioctl(fd, 0x8004_5438, &mut packets) == 0 && packets == 0;
    let mut seen: Vec<String> = Vec::new();
    let mut buffer = vec![0u8; at_once];
    for _ in 0..200 {
        let n = read(fd, buffer.as_mut_ptr().cast(), at_once);
        if n < 0 {
            seen.push(crate::kit::errno_name());
            break;
        }
        let text = buffer[..n as usize].escape_ascii().to_string();
        match seen.last_mut() {
            Some(last) if whole => *last += &text,
            _ => seen.push(text),
        }
    }
    nonblocking(fd, false);
    seen.join("|")
}

/// Types and shows what comes of it at both ends.
unsafe fn types(step: &str, (master, slave): (i32, i32), keys: &[u8]) {
    write(master, keys.as_ptr().cast(), keys.len());
    settle(slave);
    say(&format!("{step} shows"), drain(master, 4000));
    say(&format!("{step} gives"), drain(slave, 4000));
}

pub unsafe fn names() {
    let master = posix_openpt(O_RDWR | O_NOCTTY);
    show("ptmx", master >= 0);
    let mut lock = -1;
    ret("lock", ioctl(master, TIOCGPTLCK, &mut lock));
    show("locked", lock);
    ret("open while locked", slave_of(master));
    ret("grantpt", grantpt(master));
    ret("unlockpt", unlockpt(master));
    ioctl(master, TIOCGPTLCK, &mut lock);
    show("locked", lock);
    let slave = slave_of(master);
    show("slave", slave >= 0);
    show("ptsname", std::ffi::CStr::from_ptr(ptsname(master)).to_string_lossy() == name_of(master));
    show("ttyname", std::ffi::CStr::from_ptr(ttyname(slave)).to_string_lossy() == name_of(master));
    let (mut by_fd, mut by_name): (stat, stat) = (z(), z());
    fstat(slave, &mut by_fd);
    stat(c(&name_of(master)).as_ptr(), &mut by_name);
    show(
        "one file",
        (by_fd.st_ino, by_fd.st_dev, by_fd.st_rdev) == (by_name.st_ino, by_name.st_dev, by_name.st_rdev),
    );
    show("kind", (by_fd.st_mode & S_IFMT == S_IFCHR, major(by_fd.st_rdev), by_fd.st_uid == geteuid()));
    fstat(master, &mut by_fd);
    show("master", (by_fd.st_mode & S_IFMT == S_IFCHR, major(by_fd.st_rdev), minor(by_fd.st_rdev)));
    ret("isatty master", isatty(master));
    ret("isatty slave", isatty(slave));
    ret("seek", lseek(slave, 0, SEEK_SET));
    ret("mmap", mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_SHARED, slave, 0) as i64);
    let peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    show("peer", peer >= 0);
    show("peer's name", std::ffi::CStr::from_ptr(ttyname(peer)).to_string_lossy() == name_of(master));
    ret("peer of slave", ioctl(slave, TIOCGPTPEER, O_RDWR | O_NOCTTY));
    ret("number of slave", ioctl(slave, TIOCGPTN, &mut lock));
    let mut fs: statfs = z();
    statfs(c"/dev/pts".as_ptr(), &mut fs);
    say("file system", format!("{:#x}", fs.f_type));
    ret("exclusive", ioctl(slave, TIOCEXCL));
    ret("get", ioctl(slave, TIOCGEXCL, &mut lock));
    show("is", lock);
    ret("not exclusive", ioctl(slave, TIOCNXCL));
    ret("getd", ioctl(slave, TIOCGETD, &mut lock));
    show("discipline", lock);
    ret("bad setd", ioctl(slave, TIOCSETD, &29));
    ret("unknown", ioctl(slave, 0x54ff, 0));
    let name = name_of(master);
    close(peer);
    close(slave);
    close(master);
    ret("gone", open(c(&name).as_ptr(), O_RDWR | O_NOCTTY));
    let (a, b) = (pair(), pair());
    show("two", name_of(a.0) != name_of(b.0));
    let first = name_of(a.0);
    close(a.0);
    close(a.1);
    let again = pair();
    show("lowest number again", name_of(again.0) == first);
    ret("/dev/tty without one", {
        setsid();
        open(c"/dev/tty".as_ptr(), O_RDWR)
    });
}

unsafe fn all_modes(step: &str, fd: i32) {
    let mut raw = [0u32; 11];
    let r = ioctl(fd, TCGETS2, raw.as_mut_ptr());
    say(step, format!("{r} {raw:x?}"));
}

pub unsafe fn mode_calls() {
    let (master, slave) = pair();
    all_modes("new", slave);
    all_modes("by the master", master);
    let mut t = modes(slave);
    t.c_cflag = B9600 | CS7 | PARENB;
    t.c_cc[VMIN] = 7;
    t.c_iflag |= 0x8000_0000;
    ret("set", tcsetattr(slave, TCSANOW, &t));
    all_modes("what is kept", slave);
    cfsetispeed(&mut t, B1200);
    cfsetospeed(&mut t, B230400);
    ret("speeds", tcsetattr(slave, TCSADRAIN, &t));
    all_modes("speeds", slave);
    let mut raw = [0u32; 11];
    ioctl(slave, TCGETS2, raw.as_mut_ptr());
    raw[2] = raw[2] & !0o10017 & !(0o10017 << 16) | 0o10000;
    raw[9] = 777;
    raw[10] = 12345;
    ret("other speed", ioctl(master, TCSETS2, raw.as_ptr()));
    all_modes("other speed", slave);
    let mut old = [0u16; 9];
    ret("termio", ioctl(slave, TCGETA, old.as_mut_ptr()));
    say("termio", format!("{old:x?}"));
    old[0] = 0x502;
    old[4] = 0x0500;
    ret("set termio", ioctl(slave, TCSETA, old.as_ptr()));
    all_modes("after termio", slave);
    ret("bad pointer", ioctl(slave, TCGETS, 8));
    ret("bad pointer", ioctl(slave, TCSETS, 8));
    let mut w: winsize = z();
    ret("size", ioctl(slave, TIOCGWINSZ, &mut w));
    show("size", (w.ws_row, w.ws_col));
    w = winsize { ws_row: 10, ws_col: 20, ws_xpixel: 30, ws_ypixel: 40 };
    ret("set size", ioctl(master, TIOCSWINSZ, &w));
    ioctl(slave, TIOCGWINSZ, &mut w);
    show("size", (w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel));
    ret("drain", tcdrain(slave));
    ret("break", tcsendbreak(slave, 0));
    let mut n = -1;
    ret("outq", ioctl(slave, TIOCOUTQ, &mut n));
    show("outq", n);
    ret("bad flush", ioctl(slave, TCFLSH, 9));
    ret("bad flow", ioctl(slave, TCXONC, 9));
    close(slave);
    // Modes and size outlive the slave's last description.
    let slave = slave_of(master);
    all_modes("kept", slave);
}

pub unsafe fn editing() {
    let p = pair();
    types("line", p, b"hello\n");
    types("two lines", p, b"a\nbc\n");
    types("cr", p, b"x\r");
    types("erase", p, b"abc\x7f\x7fd\n");
    types("erase nothing", p, b"\x7fa\n");
    types("kill", p, b"one two\x15three\n");
    types("word", p, b"one two  \x17three_4-5\x17\n");
    types("tab", p, b"ab\tc\x7f\x7f\x7fd\n");
    types("tab from a prompt", p, b"\t\x7f\tx\t\x7f\n");
    types("control", p, b"a\x01b\x7f\x7fc\n");
    types("literal", p, b"a\x16\x03b\x16\x16\x16\x7fc\n");
    types("literal newline", p, b"a\x16\nb\n");
    types("reprint", p, b"abc\x12d\n");
    types("eof alone", p, b"\x04");
    types("eof behind", p, b"abc\x04");
    types("eof twice", p, b"abc\x04\x04de\n");
    types("unfinished", p, b"abc");
    types("finished", p, b"\n");
    types("nul", p, b"a\0b\n");
    types("eight bits", p, "h\u{e9}llo \u{4e2d}\x7f\n".as_bytes());
    set_modes(p.1, |t| t.c_iflag |= IUTF8);
    types("utf8", p, "h\u{e9}\x7fllo \u{4e2d}\x7f\x7f\u{4e2d}\n".as_bytes());
    set_modes(p.1, |t| {
        t.c_cc[VEOL] = b';';
        t.c_cc[VEOL2] = b'!';
    });
    types("eol", p, b"a;b!c\n");
    set_modes(p.1, |t| t.c_lflag &= !IEXTEN);
    types("not extended", p, b"a b\x17\x16!\x12\n");
    set_modes(p.1, |t| t.c_lflag &= !ECHO);
    types("silent", p, b"ab\x7fc\n");
    set_modes(p.1, |t| t.c_lflag |= ECHONL);
    types("silent but for newlines", p, b"ab\x15c\n");
    set_modes(p.1, |t| t.c_lflag |= ECHO | IEXTEN | ECHOPRT);
    types("printer", p, b"abc\x7f\x7fd\x7f\x7f\x7f\n");
    set_modes(p.1, |t| t.c_lflag &= !(ECHOPRT | ECHOKE));
    types("kill without ECHOKE", p, b"abc\x15d\n");
    set_modes(p.1, |t| t.c_lflag &= !(ECHOK | ECHOE | ECHOCTL));
    types("plain echo", p, b"abc\x7f\x15d\x01\n");
}

pub unsafe fn conversions() {
    let p = pair();
    let plain = modes(p.1);
    let with = |step: &str, i: u32, o: u32, l: u32, keys: &[u8]| {
        let mut t = plain;
        (t.c_iflag, t.c_oflag, t.c_lflag) = (i, o, l);
        tcsetattr(p.1, TCSANOW, &t);
        types(step, p, keys);
        put_fd(p.1, "o\tp\r\nq\u{8}r\nS");
        say(&format!("{step} written"), drain(p.0, 4000));
        tcflush(p.1, TCIOFLUSH);
    };
    with("raw", 0, 0, 0, b"a\r\nb\x03\x04\x7f");
    with("raw echo", 0, 0, ECHO, b"a\r\nb\x03\t");
    with("INLCR", INLCR, OPOST, ICANON | ECHO, b"a\rb\nc\x04");
    with("IGNCR", IGNCR | ICRNL, OPOST | ONLCR, ICANON | ECHO, b"a\rb\nc\n");
    with("ICRNL", ICRNL, OPOST | OCRNL, ICANON | ECHO, b"a\rb\n");
    with("ISTRIP", ISTRIP, OPOST | ONLRET, ICANON | ECHO, b"a\xe1\xff\n");
    with("PARMRK", PARMRK, OPOST | ONOCR, ICANON | ECHO, b"a\xffb\n");
    with("IUCLC", IUCLC, OPOST | OLCUC, ICANON | ECHO | IEXTEN, b"aBC\n");
    with("XTABS", 0, OPOST | TAB3 | ONLCR, ICANON | ECHO | ECHOE, b"a\tb\t\x7f\n");
    with("raw signals", 0, OPOST, ISIG | ECHO | ECHOCTL, b"ab\x03cd");
    with("raw signals, no flush", 0, OPOST, ISIG | NOFLSH | ECHO, b"ab\x1ccd");
}

pub unsafe fn long_lines() {
    let p = pair();
    set_modes(p.1, |t| t.c_lflag &= !ECHO);
    let types_many = |n: usize| {
        // In pieces, so that all is accepted whatever waits.
        for part in vec![b'x'; n].chunks(100) {
            write(p.0, part.as_ptr().cast(), part.len());
            settle(p.1);
        }
    };
    types_many(5000);
    put_fd(p.0, "yz\n");
    settle(p.1);
    let mut n = 0;
    ioctl(p.1, FIONREAD, &mut n);
    show("line is cut", n);
    let line = get_fd(p.1, 8000);
    show("read", (line.len(), line.ends_with("x\n")));
    types_many(100);
    put_fd(p.0, "\n");
    settle(p.1);
    ioctl(p.1, FIONREAD, &mut n);
    show("the next", n);
    say("in two", get_fd(p.1, 60).len());
    say("in two", get_fd(p.1, 60).len());
    // A line just as long as the reader's room, then an end of input behind it.
    put_fd(p.0, "abc\x04def\x04");
    settle(p.1);
    ioctl(p.1, FIONREAD, &mut n);
    show("ends are not counted", n);
    say("exact", get_fd(p.1, 3));
    say("its end is gone", get_fd(p.1, 2));
    say("rest", get_fd(p.1, 5));
    put_fd(p.0, "\x04");
    settle(p.1);
    say("end", get_fd(p.1, 5));
    // From raw to lines and back, with something waiting.
    set_modes(p.1, |t| t.c_lflag &= !ICANON);
    put_fd(p.0, "some\x04thing");
    settle(p.1);
    set_modes(p.1, |t| t.c_lflag |= ICANON);
    put_fd(p.0, "more\n");
    settle(p.1);
    say("what was there is a line", get_fd(p.1, 100));
    say("then", get_fd(p.1, 100));
    put_fd(p.0, "unfinished");
    settle(p.1);
    set_modes(p.1, |t| t.c_lflag &= !ICANON);
    say("now it can be read", get_fd(p.1, 100));
    nonblocking(p.1, true);
    let big = [b'o'; 4096];
    let mut total = 0;
    while total < 1 << 20 {
        let n = write(p.1, big.as_ptr().cast(), big.len());
        if n < 0 {
            break;
        }
        total += n;
    }
    show("a writer is stopped", (4096..200_000).contains(&total));
    let mut q = pollfd { fd: p.1, events: POLLOUT, revents: 0 };
    ret("not writable", poll(&mut q, 1, 0));
    drain(p.0, 4096);
    ret("writable", poll(&mut q, 1, 1000));
}

pub unsafe fn counts_and_times() {
    let (master, slave) = pair();
    let raw = |min: u8, time: u8| {
        let mut t = modes(slave);
        cfmakeraw(&mut t);
        t.c_cc[VMIN] = min;
        t.c_cc[VTIME] = time;
        tcsetattr(slave, TCSANOW, &t);
    };
    let types_later = |pieces: &'static [&'static str]| {
        crate::kit::child(move || {
            for piece in pieces {
                nap(100);
                put_fd(master, piece);
            }
            0
        })
    };
    let mut p = pollfd { fd: slave, events: POLLIN, revents: 0 };
    raw(0, 0);
    say("polling read", get_fd(slave, 10));
    put_fd(master, "ab");
    settle(slave);
    say("polling read", get_fd(slave, 10));
    raw(0, 3);
    say("timed read", takes(300, || say("nothing", get_fd(slave, 10))));
    let pid = types_later(&["x"]);
    say("timed read", get_fd(slave, 10));
    end_of(pid);
    raw(3, 0);
    let pid = types_later(&["a", "b", "cd"]);
    say("three", get_fd(slave, 10));
    end_of(pid);
    put_fd(master, "ef");
    settle(slave);
    ret("poll wants three", poll(&mut p, 1, 0));
    say("no more than asked", get_fd(slave, 1));
    nonblocking(slave, true);
    say("nonblocking", get_fd(slave, 10));
    say("nonblocking", get_fd(slave, 10));
    nonblocking(slave, false);
    raw(5, 2);
    let pid = types_later(&["a"]);
    say("between bytes", takes(250, || say("some", get_fd(slave, 10))));
    end_of(pid);
    put_fd(master, "gh");
    settle(slave);
    ret("poll with a time wants one", poll(&mut p, 1, 0));
    say("rest", get_fd(slave, 10));
    let mut two = [0u8; 2];
    let mut three = [0u8; 3];
    let parts = [
        iovec { iov_base: two.as_mut_ptr().cast(), iov_len: 2 },
        iovec { iov_base: three.as_mut_ptr().cast(), iov_len: 3 },
    ];
    raw(1, 0);
    put_fd(master, "12345");
    settle(slave);
    ret("readv", readv(slave, parts.as_ptr(), 2));
    show("parts", (two, three));
}

pub unsafe fn packets() {
    let p = pair();
    let mut n = 7;
    ret("get", ioctl(p.0, TIOCGPKT, &mut n));
    show("off", n);
    ret("on", ioctl(p.0, TIOCPKT, &1));
    ret("on a slave", ioctl(p.1, TIOCPKT, &1));
    ioctl(p.0, TIOCGPKT, &mut n);
    show("on", n);
    put_fd(p.1, "data");
    let mut q = pollfd { fd: p.0, events: POLLIN | POLLPRI, revents: 0 };
    nap(20);
    poll(&mut q, 1, 1000);
    say("poll", format!("{:#x}", q.revents));
    say("data", drain(p.0, 100));
    tcflush(p.1, TCIFLUSH);
    poll(&mut q, 1, 1000);
    say("poll", format!("{:#x}", q.revents));
    say("flush in", drain(p.0, 100));
    tcflush(p.1, TCOFLUSH);
    say("flush out", drain(p.0, 100));
    tcflush(p.1, TCIOFLUSH);
    say("flush both", drain(p.0, 100));
    tcflow(p.1, TCOOFF);
    say("stop", drain(p.0, 100));
    tcflow(p.1, TCOON);
    say("start", drain(p.0, 100));
    set_modes(p.1, |t| t.c_iflag &= !IXON);
    say("no flow control", drain(p.0, 100));
    set_modes(p.1, |t| t.c_iflag |= IXON);
    say("flow control", drain(p.0, 100));
    types("stop typed", p, b"\x13");
    types("start typed", p, b"\x11");
    set_modes(p.1, |t| t.c_lflag |= 0o200000);
    say("external processing", drain(p.0, 100));
    types("unprocessed", p, b"a\x7f\x03\n");
    set_modes(p.1, |t| t.c_lflag &= !0o200000);
    tcflush(p.1, TCIFLUSH);
    drain(p.0, 100);
    types("interrupt", p, b"abc\x03");
    put_fd(p.1, "x");
    nap(20);
    say("one byte of room", drain(p.0, 1));
    ret("off", ioctl(p.0, TIOCPKT, &0));
    put_fd(p.1, "plain");
    nap(20);
    say("plain", drain(p.0, 100));
}

pub unsafe fn flow() {
    let p = pair();
    write(p.0, c"\x13".as_ptr().cast(), 1);
    settle(p.1);
    nonblocking(p.1, true);
    ret("stopped", put_fd(p.1, "held"));
    let mut q = pollfd { fd: p.1, events: POLLOUT, revents: 0 };
    ret("not writable", poll(&mut q, 1, 0));
    types("echo waits", p, b"abc");
    types("until started", p, b"\x11");
    nonblocking(p.1, true);
    ret("written", put_fd(p.1, "held"));
    nap(20);
    say("shown", drain(p.0, 100));
    set_modes(p.1, |t| t.c_iflag |= IXANY);
    write(p.0, c"\x13".as_ptr().cast(), 1);
    types("any key", p, b"x\n");
    ret("stop by call", tcflow(p.1, TCOOFF));
    nonblocking(p.1, true);
    ret("stopped", put_fd(p.1, "held"));
    types("start does not help", p, b"\x11z\n");
    ret("go on by call", tcflow(p.1, TCOON));
    nap(20);
    say("shown", drain(p.0, 100));
    ret("xoff", tcflow(p.1, TCIOFF));
    ret("xon", tcflow(p.1, TCION));
    nap(20);
    say("sent", drain(p.0, 100));
    // A stopped terminal goes on when nothing could start it any more.
    write(p.0, c"\x13".as_ptr().cast(), 1);
    settle(p.1);
    set_modes(p.1, |t| t.c_iflag &= !IXON);
    nonblocking(p.1, true);
    ret("goes on", put_fd(p.1, "free"));
    nap(20);
    say("shown", drain(p.0, 100));
    put_fd(p.0, "typed");
    settle(p.1);
    drain(p.0, 100);
    ret("flush", tcflush(p.1, TCIFLUSH));
    types("forgotten", p, b"rest\n");
    // A blocked writer goes on when there is room.
    nonblocking(p.1, false);
    let pid = crate::kit::child(|| {
        let big = vec![b'w'; 100_000];
        (write(p.1, big.as_ptr().cast(), big.len()) == 100_000) as i32
    });
    let mut got = 0;
    while got < 100_000 {
        got += get_fd(p.0, 5000).len();
    }
    show("all of it", got);
    say("writer", end_of(pid));
    // The same towards the slave.
    set_modes(p.1, cfmakeraw_ref);
    let pid = crate::kit::child(|| {
        let big = vec![b'm'; 100_000];
        (write(p.0, big.as_ptr().cast(), big.len()) == 100_000) as i32
    });
    let mut got = 0;
    while got < 100_000 {
        got += get_fd(p.1, 5000).len();
    }
    show("all of it", got);
    say("writer", end_of(pid));
}

fn cfmakeraw_ref(t: &mut termios) {
    unsafe { cfmakeraw(t) }
}

pub unsafe fn readiness() {
    let (master, slave) = pair();
    let events = |fd| {
        let mut p = pollfd { fd, events: POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLRDHUP, revents: 0 };
        poll(&mut p, 1, 0);
        format!("{:#x}", p.revents)
    };
    say("master", events(master));
    say("slave", events(slave));
    put_fd(master, "abc");
    settle(slave);
    say("unfinished, master", events(master));
    say("unfinished, slave", events(slave));
    put_fd(master, "\n");
    settle(slave);
    say("finished, slave", events(slave));
    let poller = epoll_create1(0);
    for (fd, tag) in [(master, 1), (slave, 2)] {
        let mut event = epoll_event { events: (EPOLLIN | EPOLLET) as u32, u64: tag };
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &mut event);
    }
    let wait = |step: &str| {
        let mut list: [epoll_event; 4] = z();
        let n = epoll_wait(poller, list.as_mut_ptr(), 4, 500).max(0) as usize;
        let mut seen: Vec<(u64, u32)> = list[..n].iter().map(|e| (e.u64, e.events)).collect();
        seen.sort();
        say(step, format!("{seen:x?}"));
    };
    wait("epoll at first");
    drain(master, 100);
    drain(slave, 100);
    put_fd(slave, "out");
    wait("epoll of output");
    drain(master, 100);
    close(slave);
    nap(20);
    say("slave closed", events(master));
    say("read", get_fd(master, 10));
    ret("write", put_fd(master, "kept\n"));
    nap(50);
    let slave = slave_of(master);
    say("opened again", events(master));
    settle(slave);
    say("what was typed meanwhile", drain(slave, 100));
    drain(master, 100);
    put_fd(slave, "last words");
    close(slave);
    nap(20);
    say("data before the end", events(master));
    say("data", get_fd(master, 100));
    say("end", get_fd(master, 100));
    let slave = slave_of(master);
    close(master);
    nap(20);
    say("master closed", events(slave));
    say("read", get_fd(slave, 10));
    ret("write", put_fd(slave, "x"));
    ret("modes", tcgetattr(slave, &mut z()));
    ret("group", tcsetpgrp(slave, getpgrp()));
}

/// xorshift64*, as in `random`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides as u64) as usize
    }
}

/// Random modes and keys: what is echoed, what is given out.
pub unsafe fn random_keys() {
    let mut dice = Dice(0x7e27_11a1_90aa_55e1);
    let keys = b"aB3_ \t\n\r\x7f\x15\x17\x16\x12\x04\x03\x1c\x1a\x11\x13;!\x01\0\xe9\xff\x08";
    let inputs = [ICRNL, INLCR, IGNCR, ISTRIP, IUCLC, IXON, IXANY, PARMRK, IUTF8];
    let outputs = [OPOST, ONLCR, OCRNL, ONOCR, ONLRET, OLCUC, TAB3];
    let locals = [ISIG, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, ECHOCTL, ECHOPRT, ECHOKE, IEXTEN];
    for round in 0..150 {
        let p = pair();
        let mut t = modes(p.1);
        let canonical = dice.roll(4) > 0;
        let mut pick = |from: &[u32], most: usize| {
            from.iter().filter(|_| dice.roll(10) < most).fold(0, |all, bit| all | bit)
        };
        t.c_iflag = pick(&inputs, 3);
        t.c_oflag = pick(&outputs, 4);
        t.c_lflag = pick(&locals, 6) | if canonical { ICANON } else { 0 };
        t.c_cc[VEOL] = b';';
        t.c_cc[VEOL2] = b'!';
        tcsetattr(p.1, TCSANOW, &t);
        let mut log = Vec::new();
        for _ in 0..1 + dice.roll(3) {
            let typed: Vec<u8> = (0..1 + dice.roll(40)).map(|_| keys[dice.roll(keys.len())]).collect();
            write(p.0, typed.as_ptr().cast(), typed.len());
            settle(p.1);
            log.push(drain(p.0, 1000));
            // All of it: `settle` is sure only of a terminal that has nothing to give out.
            log.push(drain(p.1, [3, 8, 1000][dice.roll(3)]));
            if dice.roll(3) == 0 {
                nonblocking(p.1, true);
                let text = "w\tx\r\ny\u{8}z";
                log.push(put_fd(p.1, text).to_string());
                log.push(drain(p.0, 1000));
            }
        }
        let mut n = 0;
        ioctl(p.1, FIONREAD, &mut n);
        log.push(n.to_string());
        log.push(drain(p.1, 1000));
        say(&format!("{round} {:x} {:x} {:x}", t.c_iflag, t.c_oflag, t.c_lflag), log.join(" / "));
        close(p.0);
        close(p.1);
    }
}
