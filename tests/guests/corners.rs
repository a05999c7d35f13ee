//! Corners that outside suites look into: each was once answered otherwise than Linux does.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;

use libc::*;

use crate::kit::{c, child, end_of, handle, ok, ret, say, show, z};

/// Thread numbers name their process in kill(2) and rt_sigqueueinfo(2); a descriptor of /proc/PID is a pidfd.
pub unsafe fn who_is_meant() {
    static CAME: AtomicU32 = AtomicU32::new(0);
    extern "C" fn came(_: c_int) {
        CAME.fetch_add(1, SeqCst);
    }
    handle(SIGUSR1, came as *const () as usize, 0);
    let (tx, rx) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    let t = std::thread::spawn(move || {
        tx.send(syscall(SYS_gettid) as i32).ok();
        wait.recv().ok();
    });
    let tid = rx.recv().unwrap_or(0);
    // One at a time, since two that wait are one.
    let settled = |n: u32| {
        while CAME.load(SeqCst) < n {
            std::thread::yield_now();
        }
    };
    ret("kill a thread's number", kill(tid, SIGUSR1));
    settled(1);
    let mut info: siginfo_t = z();
    info.si_code = SI_QUEUE;
    ret("queue to a thread's number", syscall(SYS_rt_sigqueueinfo, tid, SIGUSR1, &raw const info));
    settled(2);
    done.send(()).ok();
    t.join().ok();
    let fd = open(c("/proc/self").as_ptr(), O_DIRECTORY | O_RDONLY);
    ret("to /proc/self", syscall(SYS_pidfd_send_signal, fd, SIGUSR1, 0, 0));
    let other = open(c("/proc").as_ptr(), O_DIRECTORY | O_RDONLY);
    ret("to /proc", syscall(SYS_pidfd_send_signal, other, SIGUSR1, 0, 0));
    show("came", CAME.load(SeqCst));
}

/// unshare(2) of what needs no namespace.
pub unsafe fn unshares() {
    let pid = child(|| {
        ret("flags", unshare(0x1));
        ret("nothing", unshare(0));
        ret("files and fs", unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM));
        ret("alone", unshare(CLONE_THREAD));
        exit(0);
    });
    show("end", end_of(pid));
    let (tx, rx) = mpsc::channel();
    let fd = dup(1);
    let t = std::thread::spawn(move || {
        ret("not alone", unshare(CLONE_SIGHAND));
        ret("own table", unshare(CLONE_FILES));
        ret("own copy closed", close(fd));
        umask(0o22);
        ret("own fs", unshare(CLONE_FS));
        umask(0o77);
        ret("chdir", chdir(c("/").as_ptr()));
        tx.send(()).ok();
    });
    rx.recv().ok();
    t.join().ok();
    ret("still open", fcntl(fd, F_GETFD));
    show("umask", format!("{:o}", umask(0o22)));
    let mut buf = [0u8; 4096];
    show("elsewhere", !getcwd(buf.as_mut_ptr().cast(), buf.len()).is_null() && &buf[..2] != b"/\0");
}

/// A frame that does not fit its stack is SIGSEGV, for which there may be a handler on another stack.
pub unsafe fn frames_that_do_not_fit() {
    static SEGV: AtomicU32 = AtomicU32::new(0);
    static STACK: AtomicBool = AtomicBool::new(false);
    static mut ALT: [u8; 65536] = [0; 65536];
    extern "C" fn segv(_: c_int) {
        SEGV.fetch_add(1, SeqCst);
        if STACK.load(SeqCst) {
            unsafe { _exit(3) };
        }
    }
    extern "C" fn hup(_: c_int) {
        say("hup", "came");
    }
    let base = (&raw mut ALT) as usize;
    let start = (base + 4095) & !4095;
    let st = stack_t { ss_sp: start as *mut c_void, ss_flags: 0, ss_size: 40960 };
    ret("stack", sigaltstack(&raw const st, std::ptr::null_mut()));
    handle(SIGSEGV, segv as *const () as usize, 0);
    handle(SIGHUP, hup as *const () as usize, SA_ONSTACK);
    ret("readable only", mprotect(start as *mut c_void, 40960, PROT_READ));
    ret("raised", syscall(SYS_tkill, getpid(), SIGHUP));
    show("segv", SEGV.load(SeqCst));
    let mut mask: sigset_t = z();
    sigprocmask(SIG_BLOCK, std::ptr::null(), &raw mut mask);
    show("hup is blocked", sigismember(&raw const mask, SIGHUP));
    ret("writable", mprotect(start as *mut c_void, 40960, PROT_READ | PROT_WRITE));
    ret("again", syscall(SYS_tkill, getpid(), SIGHUP));
    let pid = child(|| {
        handle(SIGSEGV, segv as *const () as usize, SA_ONSTACK);
        mprotect(start as *mut c_void, 40960, PROT_READ);
        syscall(SYS_tkill, getpid(), SIGHUP);
        exit(0)
    });
    show("its own frame", end_of(pid));
    let pid = child(|| {
        STACK.store(true, SeqCst);
        // rt_sigreturn(2) with a stack pointer that points nowhere.
        std::arch::asm!("mov rsp, 16", "mov eax, 15", "syscall", options(noreturn));
    });
    show("no frame to return from", end_of(pid));
}

/// Odds and ends of socket options, timers, timer slack and new files.
pub unsafe fn odds() {
    let tcp = socket(AF_INET, SOCK_STREAM, 0);
    let (mut v, mut len) = (0i32, 4u32);
    let mut get = |step: &str, fd: i32, level: i32, name: i32| {
        len = 4;
        ret(step, getsockopt(fd, level, name, (&raw mut v).cast(), &raw mut len));
    };
    get("unknown level", tcp, 500, 1);
    get("another's level", tcp, IPPROTO_UDP, 1);
    get("unknown name", tcp, IPPROTO_TCP, -1);
    get("unknown name of IP", tcp, IPPROTO_IP, -1);
    ret("set unknown level", setsockopt(tcp, 500, 1, (&raw const v).cast(), 4));
    let udp = socket(AF_INET, SOCK_DGRAM, 0);
    let mut buf = [0u8; 8];
    ret("no errors queued", recv(udp, buf.as_mut_ptr().cast(), 8, MSG_ERRQUEUE));
    ret("raw without protocol", socket(AF_INET, SOCK_RAW, 0));

    let fd = open(c("/dev/null").as_ptr(), O_RDONLY);
    ret("not made", fcntl(fd, 1028, 0));
    let fd = open(c("made").as_ptr(), O_CREAT | O_RDONLY, 0o600);
    ret("made", fcntl(fd, 1028, 0));
    let fd = open(c("made").as_ptr(), O_CREAT | O_RDONLY, 0o600);
    ret("was there", fcntl(fd, 1028, 0));
    unlink(c("made").as_ptr());

    ret("slack", prctl(PR_SET_TIMERSLACK, 70_000));
    let pid = child(|| {
        ret("inherited", prctl(PR_GET_TIMERSLACK));
        prctl(PR_SET_TIMERSLACK, 1);
        prctl(PR_SET_TIMERSLACK, 0);
        ret("its default", prctl(PR_GET_TIMERSLACK));
        exit(0)
    });
    end_of(pid);
    prctl(PR_SET_TIMERSLACK, 0);
    ret("first default", prctl(PR_GET_TIMERSLACK));

    let mut id: timer_t = std::ptr::null_mut();
    ok("timer", timer_create(CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut id));
    ret("no setting", syscall(SYS_timer_settime, id, 0, 0, 0));
    ret("bad setting", syscall(SYS_timer_settime, id, 0, 8, 0));
    timer_delete(id);
}
