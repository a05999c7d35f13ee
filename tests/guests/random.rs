//! Random walks: a seed decides a row of operations on a few files, or processes, signals and pipes; each result is
//! printed. Mappings have a walk of their own (`random_memory`).
//! The same seed gives the same walk, natively and inside.

use libc::*;

use crate::kit::{c, child, end_of, get_fd, handle, ret, say, show, z};
use crate::random_memory;

/// xorshift64*: enough for choosing.
pub struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
    /// Another one, whose rolls do not depend on how often this one is rolled from now on.
    pub fn split(&mut self) -> Dice {
        Dice(self.roll(1 << 31) << 20 | 1)
    }
    fn name(&mut self) -> String {
        let part = ["a", "b", "c", "d/a", "d/b", "d", "e", "e/a", "s", "d/../b", "./c", "e/d/a"];
        part[self.roll(part.len() as u64) as usize].to_owned()
    }
}

/// Spreads near seeds apart (the constant is splitmix64's).
fn spread(seed: u64) -> u64 {
    seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// `guests random-memory SEED STEPS`.
pub unsafe fn walk_memory(seed: u64, steps: u32) {
    crate::kit::start("random-memory");
    random_memory::walk(&mut Dice(spread(seed).rotate_left(17) | 1), steps);
}

/// `guests random SEED STEPS`.
pub unsafe fn walk(seed: u64, steps: u32) {
    crate::kit::start("random");
    // A zero state would stay zero.
    let spread = spread(seed);
    files(&mut Dice((spread ^ (spread >> 31)) | (1 << 63)), steps);
    processes(&mut Dice(spread.rotate_left(34) | 1), steps);
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
            9 => {
                let mut whence = [SEEK_SET, SEEK_CUR, SEEK_END][dice.roll(3) as usize];
                // Where a directory ends is each file system's own: its size, 0, a hash, or EINVAL.
                let mut s: stat = z();
                if fstat(fd, &mut s) == 0 && s.st_mode & S_IFMT == S_IFDIR {
                    whence = SEEK_SET;
                }
                ret(&format!("{i} seek {number}"), lseek(fd, number, whence));
            }
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

static mut TAKEN: [u32; 65] = [0; 65];

extern "C" fn take(signal: i32) {
    unsafe { TAKEN[signal as usize] += 1 };
}

#[derive(Clone, Copy, PartialEq)]
enum Life {
    None,
    Runs,
    Stopped,
}

/// What a wait for one child tells: the state must have changed by then.
unsafe fn waited(pid: i32, options: i32) -> String {
    let mut info: siginfo_t = z();
    match waitid(P_PID, pid as id_t, &mut info, options) {
        -1 => crate::kit::errno_name(),
        _ => format!("{} {} {}", info.si_code, info.si_status(), info.si_pid() == pid),
    }
}

unsafe fn processes(dice: &mut Dice, steps: u32) {
    const ANY: i32 = WEXITED | WSTOPPED | WCONTINUED;
    let own = [SIGUSR1, SIGUSR2, SIGURG, SIGRTMIN(), SIGRTMIN() + 1];
    own.iter().for_each(|s| drop(handle(*s, take as *const () as usize, SA_RESTART)));
    let mut children = [(0, Life::None); 4];
    let mut pipes = [[-1i32; 2]; 3];
    for i in 0..steps {
        let which = dice.roll(4) as usize;
        let (pid, life) = children[which];
        let signal = own[dice.roll(5) as usize];
        let set = crate::kit::set_of(&[signal, own[dice.roll(5) as usize]]);
        let p = dice.roll(3) as usize;
        let mut bytes = vec![i as u8; 1 + dice.roll(9000) as usize];
        match dice.roll(28) {
            0 | 1 if life == Life::None => {
                let code = dice.roll(3) as i32;
                let (ready, tell) = crate::kit::pipe();
                let pid = child(|| {
                    // Not the parent's handlers: what is sent to it ends it.
                    own.iter().for_each(|s| drop(handle(*s, SIG_DFL, 0)));
                    let none = crate::kit::set_of(&[]);
                    sigprocmask(SIG_SETMASK, &none, std::ptr::null_mut());
                    if code > 0 {
                        return code;
                    }
                    crate::kit::put_fd(tell, "x");
                    loop {
                        pause();
                    }
                });
                if code > 0 {
                    say(&format!("{i} ends"), waited(pid, ANY | WNOWAIT));
                    say(&format!("{i} taken"), end_of(pid));
                } else {
                    get_fd(ready, 1);
                    children[which] = (pid, Life::Runs);
                }
                close(ready);
                close(tell);
            }
            2 | 3 if life == Life::Runs => {
                let deadly = [SIGTERM, SIGKILL, SIGUSR1, SIGRTMIN() + 1][dice.roll(4) as usize];
                ret(&format!("{i} end by {deadly}"), kill(pid, deadly));
                say(&format!("{i} gone"), waited(pid, WEXITED));
                ret(&format!("{i} again"), kill(pid, 0));
                children[which] = (0, Life::None);
            }
            4 if life == Life::Runs => {
                ret(&format!("{i} stop"), kill(pid, SIGSTOP));
                say(&format!("{i} stopped"), waited(pid, ANY));
                say(&format!("{i} told once"), waited(pid, ANY | WNOHANG));
                children[which] = (pid, Life::Stopped);
            }
            5 if life == Life::Stopped => {
                let harmless = dice.roll(2) == 0;
                if harmless {
                    kill(pid, SIGURG);
                }
                ret(&format!("{i} continue"), kill(pid, SIGCONT));
                say(&format!("{i} continued"), waited(pid, ANY));
                children[which] = (pid, Life::Runs);
            }
            6 if life == Life::Stopped => {
                kill(pid, SIGKILL);
                say(&format!("{i} killed while stopped"), waited(pid, WEXITED));
                children[which] = (0, Life::None);
            }
            7 if life != Life::None => {
                ret(&format!("{i} own group"), setpgid(pid, 0));
                show(&format!("{i} group"), getpgid(pid) == pid);
                ret(&format!("{i} signal group"), kill(-pid, 0));
            }
            8 => drop(ret(&format!("{i} nobody"), waitpid(pid.max(1) + 20_000_000, std::ptr::null_mut(), 0))),
            9 => {
                let how = [SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK][dice.roll(3) as usize];
                ret(&format!("{i} mask {how}"), sigprocmask(how, &set, std::ptr::null_mut()));
            }
            10 | 11 => {
                ret(&format!("{i} raise {signal}"), raise(signal));
            }
            12 => {
                let mut pending: sigset_t = z();
                sigpending(&mut pending);
                show(&format!("{i} pending"), own.map(|s| sigismember(&pending, s)));
                let now: timespec = z();
                let mut info: siginfo_t = z();
                ret(&format!("{i} take pending"), sigtimedwait(&set, &mut info, &now));
            }
            13 => {
                pipes[p].iter().filter(|fd| **fd >= 0).for_each(|fd| drop(close(*fd)));
                ret(&format!("{i} pipe"), pipe2(pipes[p].as_mut_ptr(), O_NONBLOCK));
            }
            14 => drop(ret(&format!("{i} fill"), write(pipes[p][1], bytes.as_ptr().cast(), bytes.len()))),
            15 => drop(ret(&format!("{i} drain"), read(pipes[p][0], bytes.as_mut_ptr().cast(), bytes.len()))),
            16 => {
                let end = dice.roll(2) as usize;
                signal_pipe(pipes[p][end]);
                pipes[p][end] = -1;
            }
            17 if life != Life::None => {
                let fd = syscall(SYS_pidfd_open, pid, 0) as i32;
                let mut ended = pollfd { fd, events: POLLIN, revents: 0 };
                ret(&format!("{i} pidfd"), poll(&mut ended, 1, 0));
                ret(&format!("{i} signal by it"), syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
                let mut info: siginfo_t = z();
                let wait = waitid(P_PIDFD, fd as id_t, &mut info, WEXITED | WNOHANG);
                ret(&format!("{i} not over"), wait);
                close(fd);
            }
            18 if life == Life::Runs => {
                // Stops and ends of a whole group, seen with and without taking them.
                setpgid(pid, 0);
                kill(-pid, SIGTSTP);
                say(&format!("{i} group stopped, left"), waited(pid, ANY | WNOWAIT));
                say(&format!("{i} group stopped"), waited(pid, WSTOPPED));
                kill(-pid, SIGCONT);
                say(&format!("{i} group continued"), waited(pid, WCONTINUED));
            }
            19 => {
                let value = sigval { sival_ptr: dice.roll(1000) as *mut c_void };
                ret(&format!("{i} queue {signal}"), sigqueue(getpid(), signal, value));
                let now: timespec = z();
                let mut info: siginfo_t = z();
                let got = sigtimedwait(&set, &mut info, &now);
                let details = (got > 0).then(|| (info.si_code, info.si_value().sival_ptr as usize));
                show(&format!("{i} taken {got}"), details.filter(|d| d.0 == SI_QUEUE));
            }
            21 => {
                let pages = 1 << dice.roll(6);
                ret(&format!("{i} room {pages}"), fcntl(pipes[p][1], F_SETPIPE_SZ, pages * 4096));
                ret(&format!("{i} has"), fcntl(pipes[p][0], F_GETPIPE_SZ));
            }
            22 => {
                let v = [
                    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() / 3 },
                    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() / 2 },
                ];
                if dice.roll(2) == 0 {
                    ret(&format!("{i} gather"), writev(pipes[p][1], v.as_ptr(), 2));
                } else {
                    ret(&format!("{i} scatter"), readv(pipes[p][0], v.as_ptr(), 2));
                }
            }
            23 => {
                let (from, to) = (pipes[p][0], pipes[(p + 1) % 3][1]);
                let none = std::ptr::null_mut();
                let n = 1 + dice.roll(9000) as usize;
                ret(&format!("{i} move {n}"), splice(from, none, to, none, n, SPLICE_F_NONBLOCK));
            }
            24 => {
                let fd = dup(pipes[p][dice.roll(2) as usize]);
                show(&format!("{i} copy"), fd >= 0);
                close(fd);
            }
            25 => {
                // A program that writes to the pipe, and ends.
                let pid = child(|| {
                    dup2(pipes[p][1], 1);
                    let argv = [c"echo".as_ptr(), c"from a program".as_ptr(), std::ptr::null()];
                    execv(c"/bin/echo".as_ptr(), argv.as_ptr());
                    9
                });
                say(&format!("{i} program"), end_of(pid));
            }
            _ => {
                let mut there = -1;
                ret(&format!("{i} there"), ioctl(pipes[p][0], FIONREAD, &mut there));
                let mut polled = pipes[p].map(|fd| pollfd { fd, events: POLLIN | POLLOUT, revents: 0 });
                ret(&format!("{i} poll"), poll(polled.as_mut_ptr(), 2, 0));
                show(&format!("{i} events"), (there, polled[0].revents, polled[1].revents));
            }
        }
        let taken = std::ptr::addr_of!(TAKEN).read_volatile();
        if i % 10 == 9 {
            show(&format!("{i} handled"), own.map(|s| taken[s as usize]));
        }
    }
    for (pid, life) in children {
        if life != Life::None {
            kill(pid, SIGKILL);
            say("last", waited(pid, WEXITED));
        }
    }
}

/// Closes one end; SIGPIPE is not what these walks are about.
unsafe fn signal_pipe(fd: i32) {
    handle(SIGPIPE, SIG_IGN, 0);
    if fd >= 0 {
        close(fd);
    }
}
