//! Random walks: a seed decides a row of file or memory operations on a few names or pages; each result is printed.
//! The same seed gives the same walk, natively and inside.

use libc::*;

use crate::kit::{c, get_fd, ret, say, show, z};

/// xorshift64*: enough for choosing.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
    fn name(&mut self) -> String {
        let part = ["a", "b", "c", "d/a", "d/b", "d", "e", "e/a", "s", "d/../b", "./c", "e/d/a"];
        part[self.roll(part.len() as u64) as usize].to_owned()
    }
}

/// `guests random SEED STEPS`.
pub unsafe fn walk(seed: u64, steps: u32) {
    crate::kit::start("random");
    // Spread near seeds apart (the constant is splitmix64's); a zero state would stay zero.
    let spread = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    files(&mut Dice((spread ^ (spread >> 31)) | (1 << 63)), steps);
    memory(&mut Dice(spread.rotate_left(17) | 1), steps);
}

unsafe fn files(dice: &mut Dice, steps: u32) {
    let mut fds = [-1i32; 5];
    for i in 0..steps {
        let (a, b) = (dice.name(), dice.name());
        let (ca, cb) = (c(&a), c(&b));
        let slot = dice.roll(5) as usize;
        let fd = fds[slot];
        let number = dice.roll(3000) as i64;
        let text = format!("{i}:{}", "x".repeat(dice.roll(200) as usize));
        match dice.roll(20) {
            0..=3 => {
                let flags = [
                    O_RDONLY,
                    O_RDWR,
                    O_RDWR | O_CREAT,
                    O_RDWR | O_CREAT | O_TRUNC,
                    O_RDWR | O_CREAT | O_EXCL,
                    O_WRONLY | O_APPEND | O_CREAT,
                ];
                let flags = flags[dice.roll(6) as usize];
                close(fd);
                fds[slot] = ret(&format!("{i} open {a} {flags:#x}"), open(ca.as_ptr(), flags, 0o644));
            }
            4 | 5 => drop(ret(&format!("{i} write"), write(fd, text.as_ptr().cast(), text.len()))),
            6 => drop(ret(
                &format!("{i} pwrite {number}"),
                pwrite(fd, text.as_ptr().cast(), text.len(), number),
            )),
            7 | 8 => say(&format!("{i} read"), get_fd(fd, 1 + number as usize / 10)),
            9 => drop(ret(
                &format!("{i} seek {number}"),
                lseek(fd, number, [SEEK_SET, SEEK_CUR, SEEK_END][dice.roll(3) as usize]),
            )),
            10 => drop(ret(&format!("{i} ftruncate {number}"), ftruncate(fd, number))),
            11 => drop(ret(&format!("{i} rename {a} {b}"), rename(ca.as_ptr(), cb.as_ptr()))),
            12 => drop(ret(&format!("{i} link {a} {b}"), link(ca.as_ptr(), cb.as_ptr()))),
            13 => drop(ret(&format!("{i} symlink {a} {b}"), symlink(ca.as_ptr(), cb.as_ptr()))),
            14 => drop(ret(&format!("{i} unlink {a}"), unlink(ca.as_ptr()))),
            15 => drop(ret(&format!("{i} mkdir {a}"), mkdir(ca.as_ptr(), 0o755))),
            16 => drop(ret(&format!("{i} rmdir {a}"), rmdir(ca.as_ptr()))),
            17 => {
                let mut st: stat = z();
                if ret(&format!("{i} lstat {a}"), lstat(ca.as_ptr(), &mut st)) == 0 {
                    let directory = st.st_mode & S_IFMT == S_IFDIR;
                    // Sizes and link counts of directories are the file system's own business.
                    let (links, size) = if directory { (0, 0) } else { (st.st_nlink, st.st_size) };
                    say("is", format!("{:o} {links} {size}", st.st_mode));
                }
            }
            18 => {
                let names = std::fs::read_dir(&a).map(|d| {
                    let mut names: Vec<_> = d.flatten().map(|e| e.file_name()).collect();
                    names.sort();
                    names
                });
                show(&format!("{i} list {a}"), names.map_err(|e| e.raw_os_error()));
            }
            _ => {
                let mut st: stat = z();
                if ret(&format!("{i} fstat"), fstat(fd, &mut st)) == 0 && st.st_mode & S_IFMT == S_IFREG {
                    say("is", format!("{} {}", st.st_nlink, st.st_size));
                }
            }
        }
    }
    for fd in fds {
        close(fd);
    }
}

const P: usize = 4096;
const PAGES: u64 = 24;

/// Which pages of a window may be read and written, asked of the kernel through a pipe so that nothing faults.
unsafe fn look(window: *mut u8, ends: [i32; 2]) -> String {
    (0..PAGES as usize)
        .map(|page| {
            let at = window.add(page * P);
            if write(ends[1], at.cast(), 1) != 1 {
                return "-".to_owned();
            }
            let mut byte = 0u8;
            read(ends[0], (&raw mut byte).cast(), 1);
            // Read back into the page: fails where it is read-only.
            write(ends[1], (&raw const byte).cast(), 1);
            let writable = read(ends[0], at.cast(), 1) == 1;
            if !writable {
                read(ends[0], (&raw mut byte).cast(), 1);
            }
            format!("{byte:x}{}", if writable { "w" } else { "r" })
        })
        .collect::<Vec<_>>()
        .join(" ")
}

unsafe fn memory(dice: &mut Dice, steps: u32) {
    let mut ends = [0; 2];
    pipe2(ends.as_mut_ptr(), O_NONBLOCK);
    let size = PAGES as usize * P;
    let window = mmap(std::ptr::null_mut(), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) as *mut u8;
    let file = open(c"mapped".as_ptr(), O_CREAT | O_RDWR, 0o644);
    let content: Vec<u8> = (0..size).map(|i| (i / P + 1) as u8).collect();
    write(file, content.as_ptr().cast(), size);
    for i in 0..steps {
        let page = dice.roll(PAGES) as usize;
        let len = (1 + dice.roll(5) as usize).min(PAGES as usize - page) * P;
        let at = window.add(page * P);
        let prot =
            [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE][dice.roll(4) as usize];
        let fixed = |flags: i32, fd: i32, offset: i64| {
            i32::from(mmap(at.cast(), len, prot, flags | MAP_FIXED, fd, offset) != at.cast())
        };
        match dice.roll(9) {
            0 | 1 => drop(ret(&format!("{i} anonymous {page}"), fixed(MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
            2 => drop(ret(&format!("{i} file {page}"), fixed(MAP_PRIVATE, file, (page * P) as i64))),
            3 => drop(ret(&format!("{i} shared {page}"), fixed(MAP_SHARED, file, (page * P) as i64))),
            4 => drop(ret(&format!("{i} protect {page}"), mprotect(at.cast(), len, prot))),
            5 => {
                // A hole would be filled by a stranger's mapping: give the place back at once, without access.
                ret(&format!("{i} unmap {page}"), munmap(at.cast(), len));
                mmap(at.cast(), len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            }
            6 => drop(ret(&format!("{i} forget {page}"), madvise(at.cast(), len, MADV_DONTNEED))),
            7 => {
                let to = dice.roll(PAGES) as usize;
                let target = window.add(to * P);
                let r = mremap(at.cast(), P, P, MREMAP_MAYMOVE | MREMAP_FIXED, target);
                ret(&format!("{i} move {page} {to}"), i32::from(r != target.cast()));
                if r == target.cast() {
                    mmap(at.cast(), P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
                }
            }
            _ => {
                // Write where it is allowed, through the kernel.
                let mark = [dice.roll(256) as u8];
                write(ends[1], mark.as_ptr().cast(), 1);
                if ret(&format!("{i} mark {page}"), read(ends[0], at.cast(), 1)) != 1 {
                    read(ends[0], [0u8].as_mut_ptr().cast(), 1);
                }
            }
        }
        if i % 10 == 9 {
            say(&format!("{i} window"), look(window, ends));
        }
    }
    say("window", look(window, ends));
}
