//! The work that the benchmark times from within: `bench-guest ROW MILLISECONDS` warms up, then prints nanoseconds
//! for one iteration, several times, one number a line.
#![expect(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    reason = "plain system calls; each row is what a C program would do"
)]

use std::ffi::CString;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::*;

/// How many samples each run prints.
const SAMPLES: u32 = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let row = args.get(1).map_or("", String::as_str);
    let millis = args.get(2).and_then(|a| a.parse().ok()).unwrap_or(20);
    if let Some(line) = program(row) {
        return run_program(line);
    }
    let Some(mut work) = (unsafe { work(row) }) else {
        eprintln!("bench-guest: no such row: {row}");
        std::process::exit(64);
    };
    let budget = Duration::from_millis(millis);
    // Warm up, and find how many iterations fill the budget.
    work();
    let start = Instant::now();
    let mut count = 0u64;
    while start.elapsed() < budget / 4 || count == 0 {
        work();
        count += 1;
    }
    let count = (count * 4).max(1);
    for _ in 0..SAMPLES {
        let start = Instant::now();
        for _ in 0..count {
            work();
        }
        println!("{:.1}", start.elapsed().as_nanos() as f64 / count as f64);
    }
}

/// Whole programs over many files.
fn program(row: &str) -> Option<&'static str> {
    Some(match row {
        "program-find" => "find /usr -xdev | wc -l",
        "program-git" => "git -c safe.directory='*' --no-optional-locks -C repo status",
        "program-tar" => "tar cf - /usr/lib 2>/dev/null | cat",
        "program-ls" => "ls -l many",
        _ => return None,
    })
}

/// Twice to warm up, then as often as is worth its while.
fn run_program(line: &str) {
    for round in 0..4 {
        let start = Instant::now();
        let mut command = std::process::Command::new("sh");
        let status = command.args(["-c", line]).stdout(std::process::Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            std::process::exit(1);
        }
        if round > 1 {
            println!("{:.1}", start.elapsed().as_nanos() as f64);
        }
    }
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL in our names")
}

fn must(r: i64) -> i64 {
    if r < 0 {
        eprintln!("bench-guest: {}", std::io::Error::last_os_error());
        std::process::exit(1);
    }
    r
}

unsafe fn file(size: usize) -> i32 {
    let name = c(&format!("bench-{size}"));
    let fd = must(open(name.as_ptr(), O_CREAT | O_RDWR | O_TRUNC, 0o644).into()) as i32;
    let block = vec![b'x'; size];
    must(write(fd, block.as_ptr().cast(), size) as i64);
    fd
}

fn size_of_row(row: &str) -> usize {
    match row.rsplit('-').next() {
        Some("1") => 1,
        Some("4k") => 4096,
        _ => 1 << 20,
    }
}

unsafe fn anonymous(size: usize) -> *mut u8 {
    let p = mmap(std::ptr::null_mut(), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if p == MAP_FAILED {
        must(-1);
    }
    madvise(p, size, MADV_NOHUGEPAGE);
    p.cast()
}

unsafe fn faults(pages: usize) -> Box<dyn FnMut()> {
    let p = anonymous(pages * 4096);
    Box::new(move || {
        madvise(p.cast(), pages * 4096, MADV_DONTNEED);
        for page in 0..pages {
            std::ptr::write_volatile(p.add(page * 4096), 1);
        }
    })
}

fn await_turn(turn: &AtomicU32, mine: u32) {
    while turn.load(Ordering::Acquire) != mine {
        unsafe {
            syscall(
                SYS_futex,
                turn.as_ptr(),
                FUTEX_WAIT | FUTEX_PRIVATE_FLAG,
                1 - mine,
                std::ptr::null::<u8>(),
            )
        };
    }
}

fn hand_over(turn: &AtomicU32, to: u32) {
    turn.store(to, Ordering::Release);
    unsafe { syscall(SYS_futex, turn.as_ptr(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1) };
}

/// Some ten milliseconds of arithmetic in memory that fits the nearest cache.
fn compute(seed: usize) -> u64 {
    let mut words = [seed as u64 | 1; 1024];
    for round in 0..8000u64 {
        for at in 0..words.len() {
            let before = words[(at + 511) % 1024];
            words[at] = words[at].wrapping_mul(6364136223846793005).wrapping_add(before ^ round);
        }
    }
    words.iter().fold(0, |sum, word| sum ^ word)
}

unsafe fn work(row: &str) -> Option<Box<dyn FnMut()>> {
    Some(match row {
        "getppid" => Box::new(|| {
            black_box(getppid());
        }),
        "read-1" | "read-4k" | "read-1m" => {
            let size = size_of_row(row);
            let fd = file(size);
            let mut buffer = vec![0u8; size];
            Box::new(move || {
                must(pread(fd, buffer.as_mut_ptr().cast(), size, 0) as i64);
            })
        }
        "write-1" | "write-4k" | "write-1m" => {
            let size = size_of_row(row);
            let fd = file(size);
            let buffer = vec![b'y'; size];
            Box::new(move || {
                must(pwrite(fd, buffer.as_ptr().cast(), size, 0) as i64);
            })
        }
        "stat" => {
            let name = c("/etc/passwd");
            let mut st: stat = std::mem::zeroed();
            Box::new(move || {
                must(stat(name.as_ptr(), &mut st).into());
            })
        }
        "stat-missing" => {
            let name = c("/usr/share/no-such-file");
            let mut st: stat = std::mem::zeroed();
            Box::new(move || {
                black_box(stat(name.as_ptr(), &mut st));
            })
        }
        "open-close" => {
            let name = c("/etc/passwd");
            Box::new(move || {
                let fd = must(open(name.as_ptr(), O_RDONLY).into()) as i32;
                close(fd);
            })
        }
        "pipe" => {
            let mut ends = [0; 2];
            must(pipe(ends.as_mut_ptr()).into());
            let mut byte = [0u8; 1];
            Box::new(move || {
                must(write(ends[1], byte.as_ptr().cast(), 1) as i64);
                must(read(ends[0], byte.as_mut_ptr().cast(), 1) as i64);
            })
        }
        "round-trip" => {
            let mut pair = [0; 2];
            must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr()).into());
            let mut byte = [0u8; 1];
            if must(fork().into()) == 0 {
                close(pair[0]);
                while read(pair[1], byte.as_mut_ptr().cast(), 1) == 1 {
                    write(pair[1], byte.as_ptr().cast(), 1);
                }
                _exit(0);
            }
            close(pair[1]);
            Box::new(move || {
                must(write(pair[0], byte.as_ptr().cast(), 1) as i64);
                must(read(pair[0], byte.as_mut_ptr().cast(), 1) as i64);
            })
        }
        "fork-wait" => Box::new(|| {
            let pid = must(fork().into()) as i32;
            if pid == 0 {
                _exit(0);
            }
            must(waitpid(pid, std::ptr::null_mut(), 0).into());
        }),
        "fork-resident" => {
            let size = 512 << 20;
            let p = anonymous(size);
            for page in 0..size / 4096 {
                std::ptr::write_volatile(p.add(page * 4096), 1);
            }
            return work("fork-wait");
        }
        "fork-exec-wait" => {
            let path = c("/bin/true");
            Box::new(move || {
                let argv = [path.as_ptr(), std::ptr::null()];
                let envp = [std::ptr::null()];
                let pid = must(fork().into()) as i32;
                if pid == 0 {
                    execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
                    _exit(127);
                }
                let mut status = 0;
                must(waitpid(pid, &mut status, 0).into());
                assert_eq!(status, 0, "/bin/true ran");
            })
        }
        "spawn" => {
            let path = c("/bin/true");
            Box::new(move || {
                let argv = [path.as_ptr() as *mut c_char, std::ptr::null_mut()];
                let envp = [std::ptr::null_mut()];
                let mut pid = 0;
                let r = posix_spawn(
                    &mut pid,
                    path.as_ptr(),
                    std::ptr::null(),
                    std::ptr::null(),
                    argv.as_ptr(),
                    envp.as_ptr(),
                );
                must(-i64::from(r));
                must(waitpid(pid, std::ptr::null_mut(), 0).into());
            })
        }
        // 64 fresh pages touched; the mapping is renewed by MADV_DONTNEED.
        "page-fault" => faults(64),
        // The same with so many that the call in between does not count.
        "page-faults-only" => faults(4096),
        "mmap-munmap" => Box::new(|| {
            let p =
                mmap(std::ptr::null_mut(), 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            must(munmap(p, 65536).into());
        }),
        "futex" => {
            // Each waits until the word says that it is its turn, and hands it back.
            static TURN: AtomicU32 = AtomicU32::new(0);
            std::thread::spawn(|| loop {
                await_turn(&TURN, 1);
                hand_over(&TURN, 0);
            });
            Box::new(|| {
                hand_over(&TURN, 1);
                await_turn(&TURN, 0);
            })
        }
        "compute" => {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            Box::new(move || {
                let threads: Vec<_> =
                    (0..count).map(|seed| std::thread::spawn(move || compute(seed))).collect();
                for thread in threads {
                    black_box(thread.join().expect("it only computes"));
                }
            })
        }
        "thread" => Box::new(|| drop(std::thread::spawn(|| ()).join())),
        "create-write-unlink" => {
            let name = c("bench-temporary");
            Box::new(move || {
                let fd = must(open(name.as_ptr(), O_CREAT | O_EXCL | O_WRONLY, 0o644).into()) as i32;
                must(write(fd, c"hello".as_ptr().cast(), 5) as i64);
                close(fd);
                must(unlink(name.as_ptr()).into());
            })
        }
        _ => return None,
    })
}
