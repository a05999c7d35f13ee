//! Signals of descriptors that became ready (fcntl(2): `O_ASYNC`, `F_SETOWN`, `F_SETSIG`), and of sockets with urgent
//! data's kin.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, get_fd, handle, nap, open, pipe, put_fd, ret, say, set_of, show, z};

const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;

#[repr(C)]
struct Owner {
    kind: i32,
    pid: i32,
}

unsafe fn block(signals: &[i32]) -> sigset_t {
    let set = set_of(signals);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    set
}

/// What came: signal, code, band, whether the descriptor is `fd`.
unsafe fn come(set: &sigset_t, fd: i32) -> String {
    let mut info: siginfo_t = z();
    let short = timespec { tv_sec: 0, tv_nsec: 30_000_000 };
    if sigtimedwait(set, &mut info, &short) < 0 {
        return "nothing".to_owned();
    }
    // `si_band` and `si_fd` of struct siginfo.
    let p = (&raw const info).cast::<u8>();
    let band = p.add(16).cast::<i64>().read_unaligned();
    let at = p.add(24).cast::<i32>().read_unaligned();
    if info.si_code == SI_KERNEL {
        return format!("signal {} from the kernel", info.si_signo);
    }
    format!("signal {} code {} band {band:#x} ours {}", info.si_signo, info.si_code, at == fd)
}

unsafe fn set_async(fd: i32, signal: i32) {
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETSIG, signal);
    ret("async", fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
}

pub unsafe fn owners() {
    let (r, w) = pipe();
    ret("first", fcntl(r, F_GETOWN));
    ret("own", fcntl(r, F_SETOWN, getpid()));
    show("own", fcntl(r, F_GETOWN) == getpid());
    ret("group", fcntl(r, F_SETOWN, -getpgrp()));
    show("group", fcntl(r, F_GETOWN) == -getpgrp());
    ret("nobody", fcntl(r, F_SETOWN, 99_999_999));
    ret("no group", fcntl(r, F_SETOWN, -99_999_999));
    ret("least", fcntl(r, F_SETOWN, i32::MIN));
    ret("none", fcntl(r, F_SETOWN, 0));
    ret("none", fcntl(r, F_GETOWN));
    let mut o = Owner { kind: 9, pid: 9 };
    ret("get", fcntl(r, F_GETOWN_EX, &mut o));
    show("who", (o.kind, o.pid));
    for (step, kind, pid) in [
        ("thread", 0, syscall(SYS_gettid) as i32),
        ("process", 1, getpid()),
        ("group", 2, getpgrp()),
        ("bad kind", 3, 1),
        ("nobody", 1, 99_999_999),
        ("nobody's thread", 0, 99_999_999),
        ("taken back", 1, 0),
    ] {
        ret(step, fcntl(r, F_SETOWN_EX, &Owner { kind, pid }));
        ret(step, fcntl(r, F_GETOWN_EX, &mut o));
        show(step, (o.kind, o.pid == pid));
    }
    ret("nowhere", fcntl(r, F_GETOWN_EX, 8));
    ret("from nowhere", fcntl(r, F_SETOWN_EX, 8));
    ret("signal", fcntl(r, F_GETSIG));
    for signal in [0, 1, SIGRTMIN(), 64, 65, -1] {
        ret(&format!("signal {signal}"), fcntl(r, F_SETSIG, signal));
        ret("signal", fcntl(r, F_GETSIG));
    }
    // Who ends owns nothing any more.
    let pid = child(|| {
        nap(20);
        0
    });
    fcntl(r, F_SETOWN, pid);
    end_of(pid);
    ret("after its end", fcntl(r, F_GETOWN));
    // By ioctl, and on what knows no signals.
    let on = 1;
    ret("FIOASYNC", ioctl(r, FIOASYNC, &on));
    show("flag", fcntl(r, F_GETFL) & O_ASYNC != 0);
    ret("off", ioctl(r, FIOASYNC, &0));
    show("flag", fcntl(r, F_GETFL) & O_ASYNC != 0);
    ret("nowhere", ioctl(r, FIOASYNC, 8));
    let file = open("f", O_CREAT | O_RDWR);
    ret("regular file", fcntl(file, F_SETFL, O_ASYNC));
    show("its flag", fcntl(file, F_GETFL) & O_ASYNC != 0);
    ret("its ioctl", ioctl(file, FIOASYNC, &on));
    let e = eventfd(0, 0);
    ret("eventfd", fcntl(e, F_SETFL, O_ASYNC));
    show("its flag", fcntl(e, F_GETFL) & O_ASYNC != 0);
    ret("its ioctl", ioctl(e, FIOASYNC, &on));
    let null = open("/dev/null", O_RDWR);
    ret("null", fcntl(null, F_SETFL, O_ASYNC));
    ret("its ioctl", ioctl(null, FIOASYNC, &on));
    let path = open("/tmp", O_PATH);
    ret("path", fcntl(path, F_SETOWN, getpid()));
    ret("path", fcntl(path, F_GETOWN));
    ret("path", fcntl(path, F_SETSIG, 10));
    // SIOCSPGRP and FIOSETOWN on sockets.
    let s = socket(AF_UNIX, SOCK_STREAM, 0);
    let me = getpid();
    ret("FIOSETOWN", ioctl(s, 0x8901, &me));
    show("owner", fcntl(s, F_GETOWN) == me);
    let mut who = 0;
    ret("SIOCGPGRP", ioctl(s, 0x8904, &mut who));
    show("owner", who == me);
    ret("not on a pipe", ioctl(w, 0x8901, &me));
}

pub unsafe fn pipes() {
    let first = SIGRTMIN();
    let set = block(&[first, SIGIO]);
    let (r, w) = pipe();
    set_async(r, first);
    put_fd(w, "x");
    say("data", come(&set, r));
    put_fd(w, "y");
    say("more data", come(&set, r));
    get_fd(r, 10);
    say("read", come(&set, r));
    let copy = dup(r);
    put_fd(w, "x");
    say("with a copy", come(&set, r));
    close(copy);
    fcntl(r, F_SETSIG, 0);
    put_fd(w, "x");
    say("plain SIGIO", come(&set, r));
    fcntl(r, F_SETSIG, first);
    close(w);
    say("closed", come(&set, r));
    close(r);
    // The other end: room.
    let (r, w) = pipe();
    set_async(w, first);
    while put_fd(w, &"x".repeat(4096)) > 0 {}
    while come(&set, w) != "nothing" {}
    get_fd(r, 4096);
    say("room", come(&set, w));
    close(r);
    say("no reader", come(&set, w));
    // Nobody owns it; nobody is told.
    let (r, w) = pipe();
    fcntl(r, F_SETFL, O_ASYNC);
    put_fd(w, "x");
    say("no owner", come(&set, r));
    fcntl(r, F_SETOWN, getpid());
    fcntl(r, F_SETFL, 0);
    put_fd(w, "x");
    say("no flag", come(&set, r));
    // A whole group.
    let (r, w) = pipe();
    let (ready, tell) = pipe();
    let (result, report) = pipe();
    let kid = child(|| {
        setpgid(0, 0);
        let inner = child(|| {
            put_fd(tell, "x");
            let long = timespec { tv_sec: 5, tv_nsec: 0 };
            let got = sigtimedwait(&set, std::ptr::null_mut(), &long);
            i32::from(got == SIGIO)
        });
        put_fd(tell, "x");
        let long = timespec { tv_sec: 5, tv_nsec: 0 };
        let got = sigtimedwait(&set, std::ptr::null_mut(), &long);
        put_fd(report, &end_of(inner));
        i32::from(got == SIGIO)
    });
    get_fd(ready, 2);
    fcntl(r, F_SETOWN, -kid);
    fcntl(r, F_SETFL, O_ASYNC);
    put_fd(w, "x");
    say("leader", end_of(kid));
    say("member", get_fd(result, 100));
    // The description, not the descriptor, is watched: a child's write is told, too.
    let (r, w) = pipe();
    set_async(r, first);
    let kid = child(|| {
        put_fd(w, "x");
        0
    });
    end_of(kid);
    say("written by a child", come(&set, r));
    // A queue that is full falls back to SIGIO.
    handle(SIGIO, SIG_DFL, 0);
    let pid = child(|| {
        let (r, w) = pipe();
        fcntl(r, F_SETOWN, getpid());
        fcntl(r, F_SETFL, O_ASYNC);
        sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
        put_fd(w, "x");
        0
    });
    say("without a handler", end_of(pid));
}

pub unsafe fn sockets_and_terminals() {
    let first = SIGRTMIN();
    let set = block(&[first, SIGIO, SIGURG]);
    let mut s = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, s.as_mut_ptr());
    set_async(s[0], first);
    put_fd(s[1], "x");
    say("socket: data", come(&set, s[0]));
    get_fd(s[0], 10);
    while come(&set, s[0]) != "nothing" {}
    close(s[1]);
    say("socket: closed", come(&set, s[0]));
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s.as_mut_ptr());
    set_async(s[0], first);
    put_fd(s[1], "x");
    say("datagram", come(&set, s[0]));
    // UDP and TCP.
    let u = socket(AF_INET, SOCK_DGRAM, 0);
    let mut at: sockaddr_in = z();
    at.sin_family = AF_INET as u16;
    at.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    bind(u, (&raw const at).cast(), 16);
    let mut len = 16;
    getsockname(u, (&raw mut at).cast(), &mut len);
    set_async(u, first);
    sendto(u, c"x".as_ptr().cast(), 1, 0, (&raw const at).cast(), 16);
    let got = come(&set, u);
    show("UDP", got.contains("ours true"));
    let l = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_port = 0;
    bind(l, (&raw const at).cast(), 16);
    listen(l, 4);
    getsockname(l, (&raw mut at).cast(), &mut len);
    set_async(l, first);
    let c = socket(AF_INET, SOCK_STREAM, 0);
    connect(c, (&raw const at).cast(), 16);
    show("TCP: connection", come(&set, l).contains("ours true"));
    while come(&set, l) != "nothing" {}
    let a = accept(l, std::ptr::null_mut(), std::ptr::null_mut());
    show("accepted has no flag", fcntl(a, F_GETFL) & O_ASYNC != 0);
    set_async(a, first);
    put_fd(c, "x");
    show("TCP: data", come(&set, a).contains("ours true"));
    // A terminal.
    let m = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(m);
    unlockpt(m);
    let mut name = [0; 64];
    ptsname_r(m, name.as_mut_ptr(), 64);
    let t = libc::open(name.as_ptr(), O_RDWR | O_NOCTTY);
    set_async(t, first);
    put_fd(m, "line\n");
    say("terminal", come(&set, t));
    let own = set_of(&[first]);
    while come(&own, t) != "nothing" {}
    set_async(m, first);
    put_fd(t, "out");
    say("master", come(&set, m));
}

static COUNT: AtomicI32 = AtomicI32::new(0);
static BAND: AtomicI32 = AtomicI32::new(0);
unsafe extern "C" fn on_io(_: i32, info: *mut siginfo_t, _: *mut c_void) {
    COUNT.fetch_add(1, SeqCst);
    let band = info.cast::<u8>().add(16).cast::<i64>().read_unaligned();
    BAND.store(band as i32, SeqCst);
    if band & i64::from(POLLIN) != 0 {
        let fd = info.cast::<u8>().add(24).cast::<i32>().read_unaligned();
        let mut b = [0u8; 100];
        read(fd, b.as_mut_ptr().cast(), 100);
    }
}

/// A loop as programs have it: everything happens in the handler.
pub unsafe fn in_handlers() {
    handle(SIGRTMIN(), on_io as usize, SA_SIGINFO);
    let (r, w) = pipe();
    set_async(r, SIGRTMIN());
    let writer = child(|| {
        for _ in 0..5 {
            put_fd(w, "tick");
            nap(20);
        }
        0
    });
    let start = std::time::Instant::now();
    while COUNT.load(SeqCst) < 5 && start.elapsed().as_secs() < 3 {
        pause();
    }
    show("handled", COUNT.load(SeqCst));
    show("band", BAND.load(SeqCst) & i32::from(POLLIN) != 0);
    end_of(writer);
    // One thread alone (F_OWNER_TID).
    let told = std::thread::spawn(move || {
        let (r, w) = pipe();
        let set = block(&[SIGIO]);
        fcntl(r, F_SETOWN_EX, &Owner { kind: 0, pid: syscall(SYS_gettid) as i32 });
        fcntl(r, F_SETFL, O_ASYNC);
        put_fd(w, "x");
        come(&set, r)
    });
    show("thread", told.join().unwrap_or_default());
    // Another user's process is not told.
    if geteuid() == 0 {
        let set = block(&[SIGIO]);
        let (r, w) = pipe();
        let owner = getpid();
        let kid = child(|| {
            setresuid(1000, 1000, 1000);
            ret("set", fcntl(r, F_SETOWN, owner));
            fcntl(r, F_SETFL, O_ASYNC);
            0
        });
        end_of(kid);
        put_fd(w, "x");
        say("set by a stranger", come(&set, r));
    }
}
