//! The good and the bad forms of arguments, and the memory, files and descriptors that they point to.

use libc::*;

use crate::kit::{open, put};

/// Where the arguments' memory is: far from all else, so that no length from here reaches anything.
pub const BASE: u64 = 0x10_0000_0000;
/// One readable and writable page an argument, with nothing behind it.
const STEP: u64 = 0x1_0000;
const PAGE: u64 = 4096;
const READ_ONLY: u64 = BASE + 0x10_0000;
const NO_ACCESS: u64 = BASE + 0x20_0000;
/// Was mapped, and is not any more.
pub const GONE: u64 = BASE + 0x30_0000;
/// What memory calls work on: four pages.
pub const TARGET: u64 = BASE + 0x1_0000_0000;
/// Far above every program, in the kernel's half.
pub const KERNEL: u64 = 0xffff_8000_1234_5000;
/// An address that no processor of today has.
const NOWHERE: u64 = 0x0123_4567_89ab_c000;
/// Where the sandbox keeps what is its own; on Linux nothing is there.
const RESERVED: u64 = 0x7000_0000_1000;
/// The first address that no program may have.
const END: u64 = 0x7fff_ffff_f000;

pub const FILE: i32 = 100;
pub const READ: i32 = 101;
pub const WRITE: i32 = 102;
pub const OPATH: i32 = 103;
pub const DIR: i32 = 104;
pub const DIR_OPATH: i32 = 105;
pub const PIPE_R: i32 = 106;
pub const PIPE_W: i32 = 107;
pub const STREAM: i32 = 108;
pub const PAIR: i32 = 109;
pub const EPOLL: i32 = 110;
pub const EVENT: i32 = 111;
pub const NULL: i32 = 112;
pub const TIMER: i32 = 113;
pub const SIGNAL: i32 = 114;
pub const MEMFD: i32 = 115;
pub const LISTEN: i32 = 116;
pub const DGRAM: i32 = 117;
pub const OTHER: i32 = 118;
const CLOSED: i32 = 150;

/// Descriptors by the names that are printed.
const FDS: [(&str, i32); 20] = [
    ("none", 10_000),
    ("opath", OPATH),
    ("pipe-r", PIPE_R),
    ("dir", DIR),
    ("file", FILE),
    ("minus", -1),
    ("min", i32::MIN),
    ("closed", CLOSED),
    ("read", READ),
    ("write", WRITE),
    ("pipe-w", PIPE_W),
    ("stream", STREAM),
    ("pair", PAIR),
    ("epoll", EPOLL),
    ("event", EVENT),
    ("null", NULL),
    ("timer", TIMER),
    ("signal", SIGNAL),
    ("memfd", MEMFD),
    ("listen", LISTEN),
];

/// One value of an argument: as it is printed, as it is passed.
pub struct Arg {
    pub text: String,
    pub value: u64,
    /// Whether it is also tried together with bad values of other arguments.
    pub in_pairs: bool,
}

/// What an argument is; the first value of each is a good one.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A descriptor; the good one is named.
    Fd(i32),
    /// The directory of a relative path.
    At,
    /// A path; the good one is named, relative to the directory of the call.
    Path(&'static str),
    /// A name that is no path.
    Str(&'static str),
    /// Memory that the kernel writes to.
    Out,
    /// Memory that the kernel reads: these words, zeros behind them.
    In(&'static [u64]),
    /// Memory that is read and written.
    InOut(&'static [u64]),
    /// A `struct timespec` or `timeval`: nought, and wrong ones.
    Time,
    /// An array of one range of 16 bytes, and wrong ones.
    Iov,
    /// A length in bytes.
    Len,
    /// The number of elements of an array.
    Count,
    /// A file offset.
    Offset,
    /// Flags: the good ones, which are also tried with each of 32 bits flipped.
    Flags(i64),
    /// The id of a process: this one, and none.
    Pid,
    /// A user or group.
    Id,
    /// A signal number that can only fail, or 0.
    Signal,
    /// These numbers; the first is good, the first four go into pairs.
    Num(&'static [i64]),
}

fn slot(at: usize) -> u64 {
    BASE + at as u64 * STEP
}

struct List(Vec<Arg>);

impl List {
    fn add(&mut self, text: &str, value: u64) {
        self.0.push(Arg { text: text.to_owned(), value, in_pairs: false });
    }
    fn pair(&mut self, text: &str, value: u64) {
        self.0.push(Arg { text: text.to_owned(), value, in_pairs: true });
    }
    fn wild_pointers(&mut self, at: usize) {
        self.pair("null", 0);
        self.pair("gone", GONE);
        self.pair("kernel", KERNEL);
        self.add("1", 1);
        self.add("nowhere", NOWHERE);
        self.add("reserved", RESERVED);
        self.add("end", END);
        self.add("no-access", NO_ACCESS);
        self.add("last-bytes", slot(at) + PAGE - 4);
        self.add("last-address", u64::MAX - 7);
    }
}

impl Kind {
    /// All values for the argument at this place.
    pub fn values(self, at: usize) -> Vec<Arg> {
        let mut l = List(Vec::new());
        match self {
            Kind::Fd(good) => {
                l.add(&good.to_string(), good as u64);
                for (i, (text, fd)) in FDS.iter().enumerate() {
                    if *fd != good {
                        // An `int` in a register: the kernel ignores the upper half, which is wild here.
                        l.0.push(Arg {
                            text: (*text).to_owned(),
                            value: *fd as u32 as u64 | 0x5555_0000_0000_0000,
                            in_pairs: i < 4,
                        });
                    }
                }
            }
            Kind::At => {
                l.add("cwd", AT_FDCWD as u64);
                l.pair("none", 10_000);
                l.pair("file", FILE as u64);
                l.pair("dir", DIR as u64);
                l.add("minus", u64::MAX);
                l.add("opath", OPATH as u64);
                l.add("dir-opath", DIR_OPATH as u64);
                l.add("pipe", PIPE_R as u64);
                l.add("epoll", EPOLL as u64);
                l.add("min", i32::MIN as u64);
            }
            Kind::Path(_) => {
                l.add("path", slot(at));
                l.wild_pointers(at);
                l.pair("empty", slot(at) + 256);
                l.pair("missing", slot(at) + 320);
                l.pair("f/x", slot(at) + 384);
                l.add("loop", slot(at) + 448);
                l.add("dangling", slot(at) + 512);
                l.add("dir", slot(at) + 576);
                l.add("f/", slot(at) + 640);
                l.add("dot", slot(at) + 704);
                l.add("long-name", slot(at) + 768);
                l.add("unterminated", slot(at) + PAGE - 3);
                l.add("too-long", READ_ONLY + PAGE);
            }
            Kind::Str(_) => {
                l.add("name", slot(at));
                l.wild_pointers(at);
                l.pair("empty", slot(at) + 256);
                l.add("long-name", slot(at) + 768);
                l.add("unterminated", slot(at) + PAGE - 3);
                l.add("too-long", READ_ONLY + PAGE);
            }
            Kind::Out | Kind::InOut(_) => {
                l.add("out", slot(at));
                l.wild_pointers(at);
                l.pair("read-only", READ_ONLY);
            }
            Kind::In(_) => {
                l.add("in", slot(at));
                l.wild_pointers(at);
            }
            Kind::Time => {
                l.add("nought", slot(at));
                l.pair("bad-parts", slot(at) + 256);
                l.wild_pointers(at);
                l.add("negative-parts", slot(at) + 320);
                l.add("negative", slot(at) + 384);
            }
            Kind::Iov => {
                l.add("iov", slot(at));
                l.wild_pointers(at);
                l.pair("bad-base", slot(at) + 256);
                l.pair("bad-len", slot(at) + 320);
                l.add("kernel-base", slot(at) + 384);
                l.add("no-bytes", slot(at) + 448);
            }
            Kind::Len => {
                l.add("16", 16);
                l.pair("0", 0);
                l.pair("most", u64::MAX);
                l.pair("5000", 5000);
                l.add("int-max", i32::MAX as u64);
                l.add("int-min", 0x8000_0000);
                l.add("long-max", i64::MAX as u64);
                l.add("long-min", i64::MIN as u64);
                l.add("1", 1);
            }
            Kind::Count => {
                l.add("1", 1);
                l.pair("0", 0);
                l.pair("most", u64::MAX);
                l.pair("1025", 1025);
                l.add("int-max", i32::MAX as u64);
                l.add("int-min", 0x8000_0000);
                l.add("2^32+1", 0x1_0000_0001);
            }
            Kind::Offset => {
                l.add("0", 0);
                l.pair("-1", u64::MAX);
                l.pair("most", i64::MAX as u64);
                l.add("least", i64::MIN as u64);
                l.add("5", 5);
            }
            Kind::Flags(good) => {
                l.add(&format!("{good:#x}"), good as u64);
                l.pair("all", u64::MAX);
                l.pair("bit30", good as u64 | 1 << 30);
                for bit in (0..32).filter(|bit| *bit != 30) {
                    l.add(&format!("bit{bit}"), good as u64 ^ 1 << bit);
                }
            }
            Kind::Pid => {
                l.add("self", u64::from(std::process::id()));
                l.pair("-1", u64::MAX);
                l.pair("missing", 0x3fff_fff0);
                l.add("min", i32::MIN as u64);
                l.add("0", 0);
            }
            Kind::Id => {
                l.add("0", 0);
                l.pair("-1", u64::MAX);
                l.add("-2", u64::MAX - 1);
                l.add("min", i32::MIN as u64);
                l.add("12345", 12345);
            }
            Kind::Signal => {
                l.add("0", 0);
                l.pair("65", 65);
                l.pair("-1", u64::MAX);
                l.add("min", i32::MIN as u64);
                l.add("max", i32::MAX as u64);
            }
            Kind::Num(list) => {
                for (i, n) in list.iter().enumerate() {
                    let text = if n.unsigned_abs() < 10_000 { n.to_string() } else { format!("{n:#x}") };
                    l.0.push(Arg { text, value: *n as u64, in_pairs: i < 4 });
                }
            }
        }
        l.0
    }
}

unsafe fn string(at: u64, text: &str) {
    std::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, text.len());
    *((at + text.len() as u64) as *mut u8) = 0;
}

unsafe fn words(at: u64, words: &[u64]) {
    std::ptr::copy_nonoverlapping(words.as_ptr(), at as *mut u64, words.len());
}

/// Puts the memory of the arguments as it has to be before a call.
pub unsafe fn refresh(kinds: &[Kind]) {
    for (i, kind) in kinds.iter().enumerate() {
        let at = slot(i);
        std::ptr::write_bytes(at as *mut u8, 0, PAGE as usize);
        match kind {
            Kind::Path(text) | Kind::Str(text) => {
                string(at, text);
                for (place, text) in [
                    (320, "missing"),
                    (384, "f/x"),
                    (448, "loop"),
                    (512, "dangling"),
                    (576, "d"),
                    (640, "f/"),
                    (704, "."),
                ] {
                    string(at + place, text);
                }
                std::ptr::write_bytes((at + 768) as *mut u8, b'n', 256);
                std::ptr::copy_nonoverlapping(b"abc".as_ptr(), (at + PAGE - 3) as *mut u8, 3);
            }
            Kind::In(content) | Kind::InOut(content) => words(at, content),
            Kind::Time => {
                words(at + 256, &[0, 1_000_000_000, 0, 1_000_000_000]);
                words(at + 320, &[0, u64::MAX, 0, u64::MAX]);
                words(at + 384, &[u64::MAX, 0, u64::MAX, 0]);
            }
            Kind::Iov => {
                words(at, &[at + 1024, 16]);
                words(at + 256, &[GONE, 16]);
                words(at + 320, &[at + 1024, u64::MAX]);
                words(at + 384, &[KERNEL, 16]);
                words(at + 448, &[at + 1024, 0]);
            }
            // What was sent is taken out, so that the queue never fills up.
            Kind::Fd(PAIR) => {
                let mut buffer = [0u8; 8192];
                while recv(OTHER, buffer.as_mut_ptr().cast(), buffer.len(), MSG_DONTWAIT) > 0 {}
            }
            Kind::Num([first, ..]) if *first == TARGET as i64 => target(),
            _ => {}
        }
    }
}

unsafe fn map(at: u64, len: u64, prot: i32) {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    mmap(at as *mut c_void, len as usize, prot, flags, -1, 0);
}

/// Four pages at [`TARGET`] and nothing around them.
pub unsafe fn target() {
    munmap(TARGET as *mut c_void, 4 << 30);
    map(TARGET, 4 * PAGE, PROT_READ | PROT_WRITE);
}

pub fn is_ours(fd: i64) -> bool {
    (i64::from(FILE)..=i64::from(OTHER)).contains(&fd)
}

unsafe fn place(fd: i32, at: i32) {
    dup2(fd, at);
    close(fd);
}

/// Makes memory, files and descriptors, in an empty directory.
pub unsafe fn prepare() {
    for i in 0..6 {
        map(slot(i), PAGE, PROT_READ | PROT_WRITE);
    }
    map(READ_ONLY, 4 * PAGE, PROT_READ | PROT_WRITE);
    std::ptr::write_bytes((READ_ONLY + PAGE) as *mut u8, b'p', 2 * PAGE as usize);
    mprotect(READ_ONLY as *mut c_void, 4 * PAGE as usize, PROT_READ);
    map(NO_ACCESS, PAGE, PROT_NONE);
    map(GONE, PAGE, PROT_READ | PROT_WRITE);
    munmap(GONE as *mut c_void, PAGE as usize);
    target();
    put("f", &[b'x'; 8192]);
    put("exe", b"\x01\x02\x03\x04 no program");
    chmod(c"exe".as_ptr(), 0o755);
    mkdir(c"d".as_ptr(), 0o755);
    put("d/in", b"in");
    symlink(c"f".as_ptr(), c"l".as_ptr());
    symlink(c"loop".as_ptr(), c"loop".as_ptr());
    symlink(c"nothing".as_ptr(), c"dangling".as_ptr());
    place(open("f", O_RDWR), FILE);
    place(open("f", O_RDONLY), READ);
    place(open("f", O_WRONLY), WRITE);
    place(open("f", O_PATH), OPATH);
    place(open("d", O_RDONLY | O_DIRECTORY), DIR);
    place(open("d", O_PATH), DIR_OPATH);
    let mut two = [0; 2];
    pipe2(two.as_mut_ptr(), O_NONBLOCK);
    place(two[0], PIPE_R);
    place(two[1], PIPE_W);
    place(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), STREAM);
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, two.as_mut_ptr());
    place(two[0], PAIR);
    place(two[1], OTHER);
    place(epoll_create1(0), EPOLL);
    place(eventfd(0, EFD_NONBLOCK), EVENT);
    place(open("/dev/null", O_RDWR), NULL);
    // Wild numbers that are 0 as an `int` meet this, and not what somebody has passed on as standard input.
    dup2(NULL, 0);
    place(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), TIMER);
    let none: sigset_t = crate::kit::z();
    place(signalfd(-1, &none, SFD_NONBLOCK), SIGNAL);
    place(memfd_create(c"sweep".as_ptr(), MFD_ALLOW_SEALING), MEMFD);
    let listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    let mut address: sockaddr_un = crate::kit::z();
    address.sun_family = AF_UNIX as u16;
    address.sun_path[0] = b's' as c_char;
    bind(listener, std::ptr::from_ref(&address).cast(), 4);
    libc::listen(listener, 1);
    place(listener, LISTEN);
    place(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), DGRAM);
}

/// Puts a file of ours where the null device was.
pub unsafe fn spare_the_device() {
    place(open("f", O_RDWR), NULL);
    dup2(NULL, 0);
}
