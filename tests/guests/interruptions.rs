//! Every call that signal(7) lists under "Interruption of system calls": what a handler does to it, with `SA_RESTART`
//! and without. All calls wait at once, each in a process of its own.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{c, child, errno_name, get_fd, handle, nap, open, pipe, put_fd, rest, say, set_of, z};

static COUNT: AtomicI32 = AtomicI32::new(0);
extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, SeqCst);
}

type Wait = unsafe fn() -> i64;

unsafe fn sock() -> (i32, i32) {
    let mut ends = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends.as_mut_ptr());
    (ends[0], ends[1])
}

/// A socket pair whose first end times out after a minute.
unsafe fn sock_with_timeout(option: i32) -> (i32, i32) {
    let s = sock();
    let t = timeval { tv_sec: 60, tv_usec: 0 };
    setsockopt(s.0, SOL_SOCKET, option, (&raw const t).cast(), 16);
    s
}

unsafe fn fill(fd: i32) {
    let block = [0u8; 4096];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while write(fd, block.as_ptr().cast(), block.len()) > 0 {}
    fcntl(fd, F_SETFL, 0);
}

unsafe fn listener(name: &str) -> (i32, sockaddr_un) {
    let mut at: sockaddr_un = z();
    at.sun_family = AF_UNIX as u16;
    for (to, from) in at.sun_path.iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    let s = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(s, (&raw const at).cast(), std::mem::size_of_val(&at) as u32);
    listen(s, 0);
    (s, at)
}

unsafe fn locked(kind: i32) -> i32 {
    // Held by another process, which ends with this one.
    let name = format!("lock{kind}");
    let fd = open(&name, O_CREAT | O_RDWR);
    let (r, w) = pipe();
    child(|| {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        handle(SIGUSR1, SIG_IGN, 0);
        handle(SIGUSR2, SIG_IGN, 0);
        let own = open(&name, O_RDWR);
        let mut l: flock = z();
        l.l_type = F_WRLCK as i16;
        if kind == 0 {
            flock(own, LOCK_EX);
        } else {
            fcntl(own, F_SETLK, &l);
        }
        put_fd(w, "x");
        loop {
            pause();
        }
    });
    get_fd(r, 1);
    fd
}

unsafe fn byte(fd: i32) -> i64 {
    let mut b = [0u8; 8];
    read(fd, b.as_mut_ptr().cast(), 8) as i64
}

const LONG: timespec = timespec { tv_sec: 60, tv_nsec: 0 };

static CALLS: &[(&str, Wait)] = &[
    ("read of a pipe", || unsafe { byte(pipe().0) }),
    ("write to a full pipe", || unsafe {
        let (_r, w) = pipe();
        fill(w);
        put_fd(w, "x") as i64
    }),
    ("readv of a pipe", || unsafe {
        let mut b = 0u8;
        let v = iovec { iov_base: (&raw mut b).cast(), iov_len: 1 };
        readv(pipe().0, &v, 1) as i64
    }),
    ("read of a terminal", || unsafe { byte(posix_openpt(O_RDWR | O_NOCTTY)) }),
    ("read of a socket", || unsafe { byte(sock().0) }),
    ("read of an eventfd", || unsafe { byte(eventfd(0, 0)) }),
    ("write to a full eventfd", || unsafe {
        let e = eventfd(0, 0);
        write(e, (u64::MAX - 1).to_le_bytes().as_ptr().cast(), 8);
        write(e, 1u64.to_le_bytes().as_ptr().cast(), 8) as i64
    }),
    ("read of a timerfd", || unsafe { byte(timerfd_create(CLOCK_MONOTONIC, 0)) }),
    ("read of a signalfd", || unsafe {
        let mut b = [0u8; 128];
        read(signalfd(-1, &set_of(&[SIGHUP]), 0), b.as_mut_ptr().cast(), 128) as i64
    }),
    ("open of a FIFO", || unsafe {
        mkfifo(c"fifo".as_ptr(), 0o600);
        open("fifo", O_RDONLY).into()
    }),
    ("splice from a pipe", || unsafe {
        let (a, b) = (pipe(), pipe());
        splice(a.0, std::ptr::null_mut(), b.1, std::ptr::null_mut(), 10, 0) as i64
    }),
    ("wait4", || unsafe {
        child(|| loop {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pause();
        });
        wait4(-1, std::ptr::null_mut(), 0, std::ptr::null_mut()).into()
    }),
    ("waitid", || unsafe {
        child(|| loop {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pause();
        });
        waitid(P_ALL, 0, &mut z(), WEXITED).into()
    }),
    ("accept", || unsafe { accept(listener("accept").0, std::ptr::null_mut(), std::ptr::null_mut()).into() }),
    ("connect", || unsafe {
        let (_s, at) = listener("connect");
        let mut last = 0;
        for _ in 0..3 {
            let s = socket(AF_UNIX, SOCK_STREAM, 0);
            last = connect(s, (&raw const at).cast(), std::mem::size_of_val(&at) as u32);
            if last < 0 {
                break;
            }
        }
        last.into()
    }),
    ("recv", || unsafe {
        let mut b = 0u8;
        recv(sock().0, (&raw mut b).cast(), 1, 0) as i64
    }),
    ("recvmsg", || unsafe {
        let mut m: msghdr = z();
        recvmsg(sock().0, &mut m, 0) as i64
    }),
    ("recvmmsg", || unsafe {
        let mut m: mmsghdr = z();
        syscall(SYS_recvmmsg, sock().0, &mut m, 1, 0, 0)
    }),
    ("send", || unsafe {
        let s = sock();
        fill(s.0);
        send(s.0, c"x".as_ptr().cast(), 1, 0) as i64
    }),
    ("UDP recv", || unsafe {
        let s = socket(AF_INET, SOCK_DGRAM, 0);
        let mut at: sockaddr_in = z();
        at.sin_family = AF_INET as u16;
        at.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        bind(s, (&raw const at).cast(), 16);
        let mut b = 0u8;
        recv(s, (&raw mut b).cast(), 1, 0) as i64
    }),
    ("TCP accept", || unsafe {
        let s = socket(AF_INET, SOCK_STREAM, 0);
        let mut at: sockaddr_in = z();
        at.sin_family = AF_INET as u16;
        at.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        bind(s, (&raw const at).cast(), 16);
        listen(s, 1);
        accept(s, std::ptr::null_mut(), std::ptr::null_mut()).into()
    }),
    ("recv with a time limit", || unsafe {
        let mut b = 0u8;
        recv(sock_with_timeout(SO_RCVTIMEO).0, (&raw mut b).cast(), 1, 0) as i64
    }),
    ("read with a time limit", || unsafe { byte(sock_with_timeout(SO_RCVTIMEO).0) }),
    ("send with a time limit", || unsafe {
        let s = sock_with_timeout(SO_SNDTIMEO);
        fill(s.0);
        send(s.0, c"x".as_ptr().cast(), 1, 0) as i64
    }),
    ("accept with a time limit", || unsafe {
        let (s, _) = listener("accept2");
        let t = timeval { tv_sec: 60, tv_usec: 0 };
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (&raw const t).cast(), 16);
        accept(s, std::ptr::null_mut(), std::ptr::null_mut()).into()
    }),
    ("flock", || unsafe { flock(locked(0), LOCK_EX).into() }),
    ("record lock", || unsafe {
        let fd = locked(1);
        let mut l: flock = z();
        l.l_type = F_WRLCK as i16;
        fcntl(fd, F_SETLKW, &l).into()
    }),
    ("description lock", || unsafe {
        let fd = locked(2);
        let mut l: flock = z();
        l.l_type = F_WRLCK as i16;
        fcntl(fd, 38, &l).into()
    }),
    ("mq_receive", || unsafe {
        let name = c(&format!("/i{}", getpid()));
        let mut a: mq_attr = z();
        (a.mq_maxmsg, a.mq_msgsize) = (1, 8);
        let q = mq_open(name.as_ptr(), O_CREAT | O_RDWR, 0o600, &a);
        mq_unlink(name.as_ptr());
        let mut b = [0u8; 8];
        mq_receive(q, b.as_mut_ptr().cast(), 8, std::ptr::null_mut()) as i64
    }),
    ("mq_send", || unsafe {
        let name = c(&format!("/o{}", getpid()));
        let mut a: mq_attr = z();
        (a.mq_maxmsg, a.mq_msgsize) = (1, 8);
        let q = mq_open(name.as_ptr(), O_CREAT | O_RDWR, 0o600, &a);
        mq_unlink(name.as_ptr());
        mq_send(q, c"x".as_ptr(), 1, 0);
        mq_send(q, c"x".as_ptr(), 1, 0).into()
    }),
    ("futex wait", || unsafe { syscall(SYS_futex, &0u32, FUTEX_WAIT, 0, 0, 0, 0) }),
    ("futex wait, private", || unsafe {
        syscall(SYS_futex, &0u32, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0)
    }),
    ("futex wait with a time limit", || unsafe { syscall(SYS_futex, &0u32, FUTEX_WAIT, 0, &LONG, 0, 0) }),
    ("futex wait by bits", || unsafe { syscall(SYS_futex, &0u32, FUTEX_WAIT_BITSET, 0, 0, 0, -1i32) }),
    ("futex wait by bits until", || unsafe {
        let mut t: timespec = z();
        clock_gettime(CLOCK_MONOTONIC, &mut t);
        t.tv_sec += 60;
        syscall(SYS_futex, &0u32, FUTEX_WAIT_BITSET, 0, &t, 0, -1i32)
    }),
    ("futex_waitv", || unsafe {
        let word = 0u32;
        let v = [0u64, &raw const word as u64, 2];
        syscall(449, &v, 1, 0, 0, 0)
    }),
    ("pause", || unsafe { pause().into() }),
    ("sigsuspend", || unsafe { sigsuspend(&set_of(&[])).into() }),
    ("sigtimedwait", || unsafe { sigtimedwait(&set_of(&[SIGHUP]), std::ptr::null_mut(), &LONG).into() }),
    ("sigwaitinfo", || unsafe { sigwaitinfo(&set_of(&[SIGHUP]), std::ptr::null_mut()).into() }),
    ("epoll_wait", || unsafe { epoll_wait(epoll_create1(0), &mut z(), 1, -1).into() }),
    ("epoll_pwait", || unsafe { epoll_pwait(epoll_create1(0), &mut z(), 1, -1, &set_of(&[])).into() }),
    ("epoll_pwait2", || unsafe { syscall(441, epoll_create1(0), &mut z::<epoll_event>(), 1, &LONG, 0, 8) }),
    ("poll", || unsafe { poll(std::ptr::null_mut(), 0, -1).into() }),
    ("poll with a time limit", || unsafe { poll(std::ptr::null_mut(), 0, 60_000).into() }),
    ("ppoll", || unsafe { ppoll(std::ptr::null_mut(), 0, std::ptr::null(), &set_of(&[])).into() }),
    ("select", || unsafe {
        let n = std::ptr::null_mut();
        select(0, n, n, n, std::ptr::null_mut()).into()
    }),
    ("pselect", || unsafe {
        let n = std::ptr::null_mut();
        pselect(0, n, n, n, &LONG, &set_of(&[])).into()
    }),
    ("msgrcv", || unsafe {
        let q = msgget(IPC_PRIVATE, 0o600);
        let mut b = [0u64; 4];
        let r = msgrcv(q, b.as_mut_ptr().cast(), 8, 0, 0) as i64;
        let e = *__errno_location();
        msgctl(q, IPC_RMID, std::ptr::null_mut());
        *__errno_location() = e;
        r
    }),
    ("semop", || unsafe {
        let s = semget(IPC_PRIVATE, 1, 0o600);
        let mut op = sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
        let r = semop(s, &mut op, 1).into();
        let e = *__errno_location();
        semctl(s, 0, IPC_RMID);
        *__errno_location() = e;
        r
    }),
    ("semtimedop", || unsafe {
        let s = semget(IPC_PRIVATE, 1, 0o600);
        let mut op = sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
        let r = syscall(SYS_semtimedop, s, &mut op, 1, &LONG);
        let e = *__errno_location();
        semctl(s, 0, IPC_RMID);
        *__errno_location() = e;
        r
    }),
    ("nanosleep", || unsafe { nanosleep(&LONG, std::ptr::null_mut()).into() }),
    ("clock_nanosleep", || unsafe { syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &LONG, 0) }),
    ("clock_nanosleep until", || unsafe {
        let mut t: timespec = z();
        clock_gettime(CLOCK_MONOTONIC, &mut t);
        t.tv_sec += 60;
        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0)
    }),
    ("vfork's child", || unsafe {
        // The parent waits until its child has ended, signals or not.
        let long = [c"sleep".as_ptr(), c"0.4".as_ptr(), std::ptr::null()];
        let mut status = 0;
        let pid = crate::kit::vfork_and(&mut 0, SYS_exit, 3, 0, 0);
        let _ = long;
        waitpid(pid, &mut status, 0);
        i64::from(WEXITSTATUS(status))
    }),
    ("write of much to a pipe", || unsafe {
        let (_r, w) = pipe();
        let much = vec![0u8; 200_000];
        write(w, much.as_ptr().cast(), much.len()) as i64
    }),
    ("readers of a pipe that has some", || unsafe {
        let (r, w) = pipe();
        put_fd(w, "some");
        let mut b = [0u8; 100];
        let n = read(r, b.as_mut_ptr().cast(), 100) as i64;
        pause();
        n
    }),
    ("MSG_WAITALL with some", || unsafe {
        let s = sock();
        put_fd(s.1, "some");
        let mut b = [0u8; 100];
        recv(s.0, b.as_mut_ptr().cast(), 100, MSG_WAITALL) as i64
    }),
];

/// The first signal's handler has these flags, the second's has none: what ends by the first was not made again.
unsafe fn table(flags: i32) {
    let mut all = Vec::new();
    for (step, wait) in CALLS {
        let (ready, told) = pipe();
        let (result, tell) = pipe();
        let pid = child(|| {
            handle(SIGUSR1, count as usize, flags);
            handle(SIGUSR2, count as usize, 0);
            close(ready);
            close(result);
            put_fd(told, "x");
            let r = wait();
            let e = errno_name();
            let how = if r < 0 { e } else { r.to_string() };
            put_fd(tell, &format!("{how} after {}", COUNT.load(SeqCst)));
            0
        });
        close(told);
        close(tell);
        get_fd(ready, 1);
        close(ready);
        all.push((*step, pid, result));
    }
    nap(400);
    for signal in [SIGUSR1, SIGUSR2] {
        all.iter().for_each(|(_, pid, _)| drop(kill(*pid, signal)));
        nap(400);
    }
    for (step, pid, result) in all {
        say(step, rest(result));
        close(result);
        kill(pid, SIGKILL);
        waitpid(pid, std::ptr::null_mut(), 0);
    }
}

pub unsafe fn with_restart() {
    table(SA_RESTART);
}

pub unsafe fn without_restart() {
    table(0);
}

/// A stop and a continuation, without any handler: what goes on and what does not.
pub unsafe fn stops() {
    let mut all = Vec::new();
    for (step, wait) in CALLS {
        let (ready, told) = pipe();
        let (result, tell) = pipe();
        let pid = child(|| {
            handle(SIGUSR2, count as usize, 0);
            close(ready);
            close(result);
            put_fd(told, "x");
            let r = wait();
            let e = errno_name();
            let how = if r < 0 { e } else { r.to_string() };
            put_fd(tell, &format!("{how} after {}", COUNT.load(SeqCst)));
            0
        });
        close(told);
        close(tell);
        get_fd(ready, 1);
        close(ready);
        all.push((*step, pid, result));
    }
    nap(400);
    for signal in [SIGSTOP, SIGCONT, SIGUSR2] {
        all.iter().for_each(|(_, pid, _)| drop(kill(*pid, signal)));
        nap(300);
    }
    for (step, pid, result) in all {
        say(step, rest(result));
        close(result);
        kill(pid, SIGKILL);
        waitpid(pid, std::ptr::null_mut(), 0);
    }
}
