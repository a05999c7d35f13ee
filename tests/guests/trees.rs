//! Random work on files, replayable by its seed: two processes on trees of their own and on common files, handing a turn
//! to each other (`guests trees SEED STEPS`), and one file read, written, mapped, cut and punched against a copy in memory
//! (`guests exercise SEED STEPS`), in the manner of fsx.

use std::collections::BTreeMap;

use libc::*;

use crate::kit::{c, child, end_of, errno_name, handle, ok, pipe, ret, say, show, z};

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice((seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
    /// A path: mostly in a small tree that both processes share.
    fn path(&mut self) -> String {
        let dirs = ["", "", "a/", "b/", "a/c/", "b/d/", "a/../b/", "l/"];
        let names = ["x", "y", "z", "a", "b", "c", "d", "l", "."];
        let dir = dirs[self.roll(dirs.len() as u64) as usize];
        format!("{dir}{}", names[self.roll(names.len() as u64) as usize])
    }
}

/// What can be told of a path and does not depend on the file system.
unsafe fn told(path: &str) -> String {
    let mut st: stat = z();
    if lstat(c(path).as_ptr(), &mut st) != 0 {
        return errno_name();
    }
    let kind = st.st_mode & S_IFMT;
    if kind == S_IFDIR {
        return format!("{:o} {}", st.st_mode, st.st_uid);
    }
    format!("{:o} {} {} {}", st.st_mode, st.st_uid, st.st_nlink, if kind == S_IFREG { st.st_size } else { 0 })
}

/// Names below a directory with what they are, in order.
unsafe fn census(path: &str, into: &mut Vec<String>) {
    let Ok(dir) = std::fs::read_dir(path) else { return };
    let mut names: Vec<String> =
        dir.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for n in names {
        let full = format!("{path}/{n}");
        let mut st: stat = z();
        if lstat(c(&full).as_ptr(), &mut st) != 0 {
            continue;
        }
        let mut line = format!("{full} {}", told(&full));
        match st.st_mode & S_IFMT {
            S_IFREG => line += &format!(" {:x}", digest(&full)),
            S_IFLNK => line += &format!(" {}", std::fs::read_link(&full).unwrap_or_default().display()),
            _ => {}
        }
        into.push(line);
        if st.st_mode & S_IFMT == S_IFDIR {
            census(&full, into);
        }
    }
}

fn digest(path: &str) -> u64 {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The size of a file, and how many of its pages are zero.
unsafe fn stretches(fd: i32) -> String {
    let mut st: stat = z();
    fstat(fd, &mut st);
    let mut zero = 0;
    let mut at = 0;
    while at < st.st_size {
        let mut b = [0u8; 4096];
        let n = pread(fd, b.as_mut_ptr().cast(), 4096, at).max(1);
        zero += i32::from(b.iter().all(|x| *x == 0));
        at += n as i64;
    }
    // Where holes are is the file system's to say.
    format!("{} {zero}", st.st_size)
}

struct Worker {
    dice: Dice,
    fds: [i32; 4],
    me: usize,
}

impl Worker {
    unsafe fn step(&mut self, i: u32) {
        let d = &mut self.dice;
        let (a, b) = (d.path(), d.path());
        let (ca, cb) = (c(&a), c(&b));
        let slot = d.roll(4) as usize;
        let number = d.roll(20_000) as i64;
        let fd = self.fds[slot];
        let tag = |what: &str| format!("{}.{i} {what}", self.me);
        match d.roll(34) {
            0..=3 => {
                let flags = [
                    O_RDWR,
                    O_RDWR | O_CREAT,
                    O_RDWR | O_CREAT | O_TRUNC,
                    O_RDWR | O_CREAT | O_EXCL,
                    O_RDWR | O_APPEND | O_CREAT,
                    O_RDONLY | O_NOFOLLOW,
                    O_PATH,
                    O_RDONLY | O_DIRECTORY,
                ];
                let flags = flags[d.roll(8) as usize];
                close(fd);
                // Not a FIFO: its other end would be waited for.
                self.fds[slot] =
                    ok(&tag(&format!("open {a} {flags:#x}")), open(ca.as_ptr(), flags | O_NONBLOCK, 0o644));
            }
            4..=6 => {
                let text = vec![b'a' + (i % 26) as u8; 1 + number as usize / 4];
                ret(&tag("write"), write(fd, text.as_ptr().cast(), text.len()));
            }
            7 => {
                let text = [b'A' + (i % 26) as u8; 300];
                ret(&tag(&format!("pwrite {number}")), pwrite(fd, text.as_ptr().cast(), 300, number * 7));
            }
            8 => drop(ret(&tag(&format!("ftruncate {number}")), ftruncate(fd, number))),
            9 => drop(ret(&tag(&format!("truncate {a}")), truncate(ca.as_ptr(), number * 3))),
            10..=12 => drop(ret(&tag(&format!("rename {a} {b}")), rename(ca.as_ptr(), cb.as_ptr()))),
            13 => {
                let flags = [RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE][d.roll(3) as usize];
                let r = syscall(SYS_renameat2, AT_FDCWD, ca.as_ptr(), AT_FDCWD, cb.as_ptr(), flags);
                ret(&tag(&format!("rename {flags} {a} {b}")), r);
            }
            14 | 15 => drop(ret(&tag(&format!("link {a} {b}")), link(ca.as_ptr(), cb.as_ptr()))),
            16 => drop(ret(&tag(&format!("symlink {a} {b}")), symlink(ca.as_ptr(), cb.as_ptr()))),
            17 => drop(ret(&tag(&format!("unlink {a}")), unlink(ca.as_ptr()))),
            18 | 19 => drop(ret(&tag(&format!("mkdir {a}")), mkdir(ca.as_ptr(), 0o755))),
            20 => drop(ret(&tag(&format!("rmdir {a}")), rmdir(ca.as_ptr()))),
            21 => drop(ret(&tag(&format!("chmod {a}")), chmod(ca.as_ptr(), 0o600 | (number as u32 & 0o177)))),
            22 => {
                let name = c(["user.one", "user.two", "trusted.t"][d.roll(3) as usize]);
                let value = vec![7u8; number as usize % 100];
                let flags = [0, 0, XATTR_CREATE, XATTR_REPLACE][d.roll(4) as usize];
                ret(
                    &tag(&format!("setxattr {a}")),
                    lsetxattr(ca.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags),
                );
            }
            23 => {
                let mut b = [0u8; 256];
                let name = c(["user.one", "user.two", "trusted.t"][d.roll(3) as usize]);
                ret(
                    &tag(&format!("getxattr {a}")),
                    lgetxattr(ca.as_ptr(), name.as_ptr(), b.as_mut_ptr().cast(), 256),
                );
                ret("list", llistxattr(ca.as_ptr(), b.as_mut_ptr().cast(), 256));
            }
            24 => {
                drop(ret(&tag(&format!("removexattr {a}")), lremovexattr(ca.as_ptr(), c"user.one".as_ptr())))
            }
            25 => {
                let mut l: flock = z();
                l.l_type = [F_RDLCK, F_WRLCK, F_UNLCK][d.roll(3) as usize] as i16;
                l.l_start = number % 100;
                l.l_len = number % 30;
                let command = [F_SETLK, 37][d.roll(2) as usize];
                ret(&tag(&format!("lock {command} {}", l.l_type)), fcntl(fd, command, &l));
            }
            26 => {
                let op = [LOCK_SH, LOCK_EX, LOCK_UN][d.roll(3) as usize];
                ret(&tag(&format!("flock {op}")), flock(fd, op | LOCK_NB));
            }
            27 => {
                let mode = [
                    0,
                    FALLOC_FL_KEEP_SIZE,
                    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    FALLOC_FL_ZERO_RANGE,
                    FALLOC_FL_COLLAPSE_RANGE,
                    FALLOC_FL_INSERT_RANGE,
                ][d.roll(6) as usize];
                let (at, len) = (d.roll(6) as i64 * 4096, (1 + d.roll(4) as i64) * 4096);
                ret(&tag(&format!("fallocate {mode} {at} {len}")), fallocate(fd, mode, at, len));
                if fd >= 0 && fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH) == O_RDWR {
                    say("stretches", stretches(fd));
                }
            }
            28 => {
                let other = self.fds[d.roll(4) as usize];
                let mut at = number / 2;
                ret(
                    &tag("copy_file_range"),
                    copy_file_range(fd, std::ptr::null_mut(), other, &mut at, 5000, 0),
                );
            }
            29 => {
                let times =
                    [timespec { tv_sec: number, tv_nsec: 5 }, timespec { tv_sec: number * 2, tv_nsec: 0 }];
                ret(
                    &tag(&format!("utimens {a}")),
                    utimensat(AT_FDCWD, ca.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW),
                );
                let mut st: stat = z();
                if lstat(ca.as_ptr(), &mut st) == 0 {
                    show("mtime", st.st_mtime);
                }
            }
            30 => {
                let mut all = Vec::new();
                census(&a, &mut all);
                show(&tag(&format!("census {a}")), all);
            }
            31 => drop(ret(&tag(&format!("mkfifo {a}")), mkfifo(ca.as_ptr(), 0o644))),
            _ => say(&tag(&format!("stat {a}")), told(&a)),
        }
    }
}

/// `guests trees SEED STEPS`: the two take turns as the seed says, so that the order is the same everywhere.
pub unsafe fn walk(seed: u64, steps: u32) {
    crate::kit::start("trees");
    handle(SIGPIPE, SIG_IGN, 0);
    mkdir(c"a".as_ptr(), 0o755);
    mkdir(c"b".as_ptr(), 0o755);
    mkdir(c"a/c".as_ptr(), 0o755);
    symlink(c"b".as_ptr(), c"l".as_ptr());
    let ends = [pipe(), pipe()];
    let work = |me: usize| {
        let mut w = Worker { dice: Dice::new(seed.rotate_left(me as u32 * 21)), fds: [-1; 4], me };
        let mut turns = Dice::new(seed ^ 0x5555);
        let mut token = [0u8; 1];
        let mut whose = 0;
        for i in 0..steps {
            let next = turns.roll(2) as usize;
            if next != whose {
                // The other's turn: hand over, or wait for it.
                match whose == me {
                    true => drop(write(ends[1 - me].1, token.as_ptr().cast(), 1)),
                    false => drop(read(ends[me].0, token.as_mut_ptr().cast(), 1)),
                }
                whose = next;
            }
            if whose == me {
                w.step(i);
            }
        }
        w.fds.iter().for_each(|fd| drop(close(*fd)));
        0
    };
    let other = child(|| work(1));
    work(0);
    say("other", end_of(other));
    let mut all = Vec::new();
    census(".", &mut all);
    for line in all {
        say("left", line);
    }
}

/// `guests exercise SEED STEPS`: says nothing but what goes wrong, and a digest at the end.
pub unsafe fn exercise(seed: u64, steps: u32) {
    crate::kit::start("exercise");
    let mut d = Dice::new(seed);
    let fd = open(c"file".as_ptr(), O_CREAT | O_RDWR, 0o644);
    let most = 1usize << 18;
    let mut model: Vec<u8> = Vec::new();
    let mut counts = BTreeMap::new();
    for i in 0..steps {
        let at = d.roll(most as u64) as usize;
        let len = 1 + d.roll(40_000) as usize;
        let byte = 1 + (i % 255) as u8;
        let what = match d.roll(12) {
            0..=2 => {
                let data: Vec<u8> = (0..len).map(|k| byte ^ (k as u8)).collect();
                let n = pwrite(fd, data.as_ptr().cast(), len, at as i64);
                if n != len as isize {
                    say("short write", format!("step {i}: {n} of {len}: {}", errno_name()));
                    return;
                }
                if model.len() < at + len {
                    model.resize(at + len, 0);
                }
                model[at..at + len].copy_from_slice(&data);
                "write"
            }
            3..=5 => {
                let mut b = vec![0xeeu8; len];
                let n = pread(fd, b.as_mut_ptr().cast(), len, at as i64).max(0) as usize;
                let want = model.get(at..(at + len).min(model.len()).max(at)).unwrap_or_default();
                if b[..n] != *want {
                    let first = b[..n].iter().zip(want).position(|(x, y)| x != y);
                    say(
                        "read differs",
                        format!("step {i} at {at} len {len}: {n} of {}, first {first:?}", want.len()),
                    );
                    return;
                }
                "read"
            }
            6 | 7 if !model.is_empty() => {
                // Through a shared mapping, to and fro.
                let at = at % model.len();
                let len = len.min(model.len() - at);
                let page = at / 4096 * 4096;
                let size = at + len - page;
                let m = mmap(std::ptr::null_mut(), size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page as i64);
                if m == MAP_FAILED {
                    say("mmap", errno_name());
                    return;
                }
                let there = std::slice::from_raw_parts_mut((m as *mut u8).add(at - page), len);
                if *there != model[at..at + len] {
                    let first = there.iter().zip(&model[at..]).position(|(x, y)| x != y);
                    say("mapping differs", format!("step {i} at {at} len {len} first {first:?}"));
                    return;
                }
                if d.roll(2) == 0 {
                    there.fill(byte);
                    model[at..at + len].fill(byte);
                    if d.roll(3) == 0 {
                        msync(m, size, MS_SYNC);
                    }
                }
                munmap(m, size);
                "map"
            }
            8 => {
                ftruncate(fd, at as i64);
                model.resize(at, 0);
                "truncate"
            }
            9 => {
                if fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at as i64, len as i64) != 0 {
                    say("punch", errno_name());
                    return;
                }
                let end = (at + len).min(model.len());
                if at < end {
                    model[at..end].fill(0);
                }
                "punch"
            }
            10 => {
                let (from, n) = (at / 4096 * 4096, (1 + d.roll(5) as usize) * 4096);
                match d.roll(3) {
                    0 if fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, from as i64, n as i64) == 0 => {
                        model.drain(from..from + n);
                        "collapse"
                    }
                    1 if model.len() < most
                        && fallocate(fd, FALLOC_FL_INSERT_RANGE, from as i64, n as i64) == 0 =>
                    {
                        model.splice(from..from, std::iter::repeat_n(0, n));
                        "insert"
                    }
                    2 if fallocate(fd, FALLOC_FL_ZERO_RANGE, at as i64, len as i64) == 0 => {
                        if model.len() < at + len {
                            model.resize(at + len, 0);
                        }
                        model[at..at + len].fill(0);
                        "zero"
                    }
                    _ => "none",
                }
            }
            _ => {
                let mut st: stat = z();
                fstat(fd, &mut st);
                if st.st_size != model.len() as i64 {
                    say("size differs", format!("step {i}: {} for {}", st.st_size, model.len()));
                    return;
                }
                "size"
            }
        };
        *counts.entry(what).or_insert(0) += 1;
    }
    show("did", counts);
    let all = std::fs::read("file").unwrap_or_default();
    show("equal", all == model);
    say("digest", format!("{:x} {}", digest("file"), all.len()));
}
