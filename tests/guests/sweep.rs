//! Every system call with wild arguments: bad descriptors, pointers, lengths, flags and ids, one at a time, in pairs (which
//! shows the order of the checks) and all at once. One line a call, `name(arguments): errno or ok`.
//!
//! This runs on the host too, as root perhaps: what could harm it has arguments that only fail, or runs without any
//! privilege ([`How::Weak`]). Each call number has a child of its own, in a directory of its own, and after each the
//! guest shows that the kernel still answers.

mod table;
mod values;

use std::sync::atomic::{AtomicU32, Ordering};

use libc::*;

use crate::kit::{child, errno_name, name, put, put_fd, say, status_text};

use table::{Call, How};
use values::{Arg, BASE};

/// How long one call number may take.
const LIMIT_MS: u64 = 15_000;
/// After how long a call that blocks is interrupted, in microseconds.
const WATCHDOG_US: i64 = 20_000;
/// The output of one call number, in memory that the child shares: what is there when it dies is printed.
const PAGE_OUT: usize = 4 << 20;

/// A growing text in shared memory.
struct Page {
    len: &'static AtomicU32,
    bytes: *mut u8,
}

impl Page {
    unsafe fn new() -> Page {
        let flags = MAP_SHARED | MAP_ANONYMOUS;
        let at = mmap(std::ptr::null_mut(), PAGE_OUT, PROT_READ | PROT_WRITE, flags, -1, 0);
        assert!(at != MAP_FAILED, "{}", errno_name());
        Page { len: &*at.cast::<AtomicU32>(), bytes: at.cast::<u8>().add(64) }
    }

    unsafe fn add(&self, text: &str) {
        let at = self.len.load(Ordering::Relaxed) as usize;
        if at + text.len() < PAGE_OUT - 64 {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.bytes.add(at), text.len());
            self.len.store((at + text.len()) as u32, Ordering::Relaxed);
        }
    }

    unsafe fn print(&self) {
        let text = std::slice::from_raw_parts(self.bytes, self.len.load(Ordering::Relaxed) as usize);
        let mut done = 0;
        while done < text.len() {
            match write(1, text[done..].as_ptr().cast(), text.len() - done) {
                n if n > 0 => done += n as usize,
                _ => exit(3),
            }
        }
        self.len.store(0, Ordering::Relaxed);
    }
}

/// The call itself, without the C library: no errno, no wrapper, any number.
unsafe fn raw(nr: i64, a: &[u64; 6]) -> i64 {
    let r: i64;
    std::arch::asm!(
        "syscall", inlateout("rax") nr => r, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
        in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _,
    );
    r
}

extern "C" fn nothing(_: c_int) {}

/// One set of arguments: asks, and writes down the answer.
unsafe fn one(page: &Page, call: &Call, chosen: &[&Arg]) {
    let mut args = [0; 6];
    for (at, arg) in chosen.iter().enumerate() {
        args[at] = arg.value;
    }
    let texts: Vec<&str> = chosen.iter().map(|arg| arg.text.as_str()).collect();
    values::refresh(call.args);
    page.add(&format!("{}({}): ", call.name, texts.join(", ")));
    if call.how == How::Blocks {
        let tick = timeval { tv_sec: 0, tv_usec: WATCHDOG_US };
        setitimer(ITIMER_REAL, &itimerval { it_interval: tick, it_value: tick }, std::ptr::null_mut());
    }
    let r = raw(call.nr, &args);
    let text = match r {
        -4095..=-1 => name(-r as i32),
        0 if call.how == How::Forks => _exit(0),
        pid if call.how == How::Forks => {
            waitpid(pid as i32, std::ptr::null_mut(), __WALL);
            "ok".to_owned()
        }
        _ => "ok".to_owned(),
    };
    if call.how == How::Blocks {
        setitimer(ITIMER_REAL, &crate::kit::z(), std::ptr::null_mut());
    }
    page.add(&text);
    page.add("\n");
    if r >= 0 {
        undo(call, r);
    }
}

/// Puts away what a call that went well has made.
unsafe fn undo(call: &Call, r: i64) {
    match call.how {
        How::GivesFd if r > 2 && !values::is_ours(r) => {
            close(r as i32);
        }
        How::GivesShm => {
            shmctl(r as i32, IPC_RMID, std::ptr::null_mut());
        }
        How::GivesSem => {
            semctl(r as i32, 0, IPC_RMID);
        }
        How::GivesMsg => {
            msgctl(r as i32, IPC_RMID, std::ptr::null_mut());
        }
        How::GivesQueue => {
            close(r as i32);
            mq_unlink(c"/sweep-made".as_ptr());
        }
        _ => {}
    }
}

/// All sets of one call: everything good; each argument in each bad form; pairs; the same wild number everywhere.
unsafe fn sets(page: &Page, call: &Call) {
    let all: Vec<Vec<Arg>> = call.args.iter().enumerate().map(|(at, kind)| kind.values(at)).collect();
    let good: Vec<&Arg> = all.iter().map(|values| &values[0]).collect();
    one(page, call, &good);
    for (i, values) in all.iter().enumerate() {
        for value in &values[1..] {
            let mut chosen = good.clone();
            chosen[i] = value;
            one(page, call, &chosen);
        }
    }
    for i in 0..all.len() {
        for j in i + 1..all.len() {
            for a in &all[i][1..] {
                for b in &all[j][1..] {
                    if a.in_pairs && b.in_pairs {
                        let mut chosen = good.clone();
                        (chosen[i], chosen[j]) = (a, b);
                        one(page, call, &chosen);
                    }
                }
            }
        }
    }
    if matches!(call.how, How::Careful | How::Forks | How::GivesShm) || call.args.is_empty() {
        return;
    }
    // Cut to an `int` the last three may be 0, which is nobody's business where privilege could be left.
    let all = [u64::MAX, 0x8000_0000, 0x3fff_fff0, 0x8000_0000_0000_0000, values::KERNEL, BASE];
    for &wild in if call.how == How::Weak { &all[..3] } else { &all[..] } {
        let arg = Arg { text: format!("{wild:#x}"), value: wild, in_pairs: false };
        one(page, call, &vec![&arg; call.args.len()]);
    }
}

/// Calls that change attributes of what a descriptor leads to, device nodes included.
fn changes_attributes(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "fchmod",
        "fchmodat2",
        "fchown",
        "fchownat",
        "utimensat",
        "futimesat",
        "fsetxattr",
        "fremovexattr",
        "setxattrat",
        "removexattrat",
        "ioctl",
        "file_setattr",
        "ftruncate",
    ];
    NAMES.contains(&name)
}

/// What the child of one call number does.
unsafe fn body(page: &Page, call: &Call, place: usize) -> i32 {
    let dir = format!("{}-{place}\0", call.name);
    mkdir(dir.as_ptr().cast(), 0o755);
    chdir(dir.as_ptr().cast());
    values::prepare();
    if changes_attributes(call.name) {
        // Root would change the machine's own /dev/null.
        values::spare_the_device();
    }
    crate::kit::handle(SIGALRM, nothing as extern "C" fn(c_int) as usize, 0);
    if call.how == How::Weak {
        chmod(c".".as_ptr(), 0o777);
        syscall(SYS_setgroups, 0, 0);
        syscall(SYS_setresgid, 65534, 65534, 65534);
        syscall(SYS_setresuid, 65534, 65534, 65534);
        if geteuid() == 0 {
            page.add("not without privilege\n");
            return 2;
        }
    }
    sets(page, call);
    0
}

/// Whether the kernel answers on: a file, a pipe, a process.
unsafe fn answers(call: &Call) {
    put("alive", call.name.as_bytes());
    let (r, w) = crate::kit::pipe();
    let pid = child(|| {
        put_fd(w, &crate::kit::get("alive"));
        0
    });
    let mut status = 0;
    waitpid(pid, &mut status, 0);
    let text = crate::kit::get_fd(r, 100);
    close(r);
    close(w);
    if status != 0 || text != call.name {
        say(call.name, format!("no good answer afterwards: {text} {}", status_text(status)));
    }
}

/// Runs a child to its end; kills it where it takes for ever.
unsafe fn wait_for(pid: i32) -> String {
    let start = std::time::Instant::now();
    let mut status = 0;
    let mut pause = 20;
    loop {
        if waitpid(pid, &mut status, WNOHANG) == pid {
            return status_text(status);
        }
        if start.elapsed().as_millis() as u64 > LIMIT_MS {
            kill(pid, SIGKILL);
            waitpid(pid, &mut status, 0);
            return "stuck".to_owned();
        }
        usleep(pause);
        pause = (pause * 2).min(5_000);
    }
}

unsafe fn family(calls: &[Call]) {
    let page = Page::new();
    for (place, call) in calls.iter().enumerate() {
        let pid = child(|| body(&page, call, place));
        let end = wait_for(pid);
        page.print();
        say(call.name, end);
        answers(call);
    }
}

macro_rules! families {
    ($($case:ident $list:ident;)*) => {
        $(pub unsafe fn $case() {
            family(table::$list);
        })*
    };
}
families! {
    data DATA; names NAMES; attributes ATTRIBUTES; memory MEMORY; processes PROCESSES; identity IDENTITY;
    signals SIGNALS; time TIME; scheduling SCHEDULING; readiness READINESS; sockets SOCKETS; ipc IPC; system SYSTEM;
}

/// Calls that end the caller or take over its stack.
unsafe fn ending(nr: i64, args: [u64; 6]) {
    let pid = child(|| {
        if nr == SYS_rt_sigreturn {
            // A frame where nothing is mapped.
            std::arch::asm!("mov rsp, {0}", "syscall", in(reg) values::GONE, in("rax") nr, options(noreturn));
        }
        raw(nr, &args);
        99
    });
    say(&format!("call {nr} with {:#x}", args[0]), wait_for(pid));
}

/// Numbers that are no calls (or no more), those beyond the table, and those with upper bits; then those that end.
pub unsafe fn numbers() {
    let page = Page::new();
    let pid = child(|| {
        values::prepare();
        for nr in (0..=620).chain([
            1 << 30,
            (1 << 30) + 39,
            -1,
            i64::MIN,
            1 << 31,
            1 << 32,
            (1 << 32) + 39,
            -1 << 32,
        ]) {
            if !table::is_swept(nr) && !table::ENDING.contains(&nr) && !table::NOT_TO_BE_MADE.contains(&nr) {
                for wild in [0, u64::MAX, values::KERNEL] {
                    let text = match raw(nr, &[wild; 6]) {
                        r @ -4095..=-1 => name(-r as i32),
                        _ => "ok".to_owned(),
                    };
                    page.add(&format!("call {nr:#x} ({wild:#x}): {text}\n"));
                }
            }
        }
        0
    });
    let end = wait_for(pid);
    page.print();
    say("numbers", end);
    for wild in [0, u64::MAX, 0x1234_5678, 1 << 63] {
        ending(SYS_exit, [wild; 6]);
        ending(SYS_exit_group, [wild; 6]);
    }
    ending(SYS_rt_sigreturn, [0; 6]);
    let mut poke = 0;
    let pid = crate::kit::vfork_and(&mut poke, SYS_exit_group, 7, 0, 0);
    say("vfork", wait_for(pid));
}
