//! What real programs ran into: each case is named after what it shows, and is the smallest form of it.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, handle, nap, ok, ret, say, show, z};

static ENDED: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicI32 = AtomicI32::new(0);
static AT_BUSY: AtomicI32 = AtomicI32::new(0);
static ELSEWHERE: AtomicI32 = AtomicI32::new(0);

extern "C" fn tick(_: i32) {
    let tid = unsafe { gettid() };
    let count = if tid == BUSY.load(SeqCst) { &AT_BUSY } else { &ELSEWHERE };
    count.fetch_add(1, SeqCst);
}

extern "C" fn spin(_: *mut c_void) -> *mut c_void {
    BUSY.store(unsafe { gettid() }, SeqCst);
    // A loaded machine gives less than a whole second of processor time in a second.
    while AT_BUSY.load(SeqCst) + ELSEWHERE.load(SeqCst) < 40 && !ENDED.load(SeqCst) {
        std::hint::spin_loop();
    }
    std::ptr::null_mut()
}

/// A profiler's timer interrupts who uses the processor, be the others in a call that waits or on a futex.
pub unsafe fn profiled() {
    handle(SIGPROF, tick as *const () as usize, SA_RESTART);
    handle(SIGVTALRM, tick as *const () as usize, SA_RESTART);
    for (name, which, wait_in_poll) in [
        ("prof and poll", ITIMER_PROF, true),
        ("prof and futex", ITIMER_PROF, false),
        ("virtual and futex", ITIMER_VIRTUAL, false),
    ] {
        AT_BUSY.store(0, SeqCst);
        ELSEWHERE.store(0, SeqCst);
        let every = timeval { tv_sec: 0, tv_usec: 5000 };
        ret(name, setitimer(which, &itimerval { it_interval: every, it_value: every }, std::ptr::null_mut()));
        let mut thread: pthread_t = z();
        pthread_create(&mut thread, std::ptr::null(), spin, std::ptr::null_mut());
        if wait_in_poll {
            while AT_BUSY.load(SeqCst) + ELSEWHERE.load(SeqCst) < 40 {
                poll(std::ptr::null_mut(), 0, 2000);
            }
        }
        pthread_join(thread, std::ptr::null_mut());
        setitimer(which, &z(), std::ptr::null_mut());
        let (there, elsewhere) = (AT_BUSY.load(SeqCst), ELSEWHERE.load(SeqCst));
        if there >= 30 {
            say(name, "at the busy thread");
        } else {
            say(name, format!("{there} at the busy thread, {elsewhere} elsewhere"));
        }
    }
}

unsafe fn client(to: &sockaddr_in) -> i32 {
    let s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    let r = connect(s, std::ptr::from_ref(to).cast(), 16);
    if r == -1 && *__errno_location() != EINPROGRESS {
        ret("connect", r);
    }
    s
}

unsafe fn ready(s: i32, ms: i32) -> i16 {
    let mut p = pollfd { fd: s, events: POLLIN | POLLOUT, revents: 0 };
    poll(&mut p, 1, ms);
    p.revents
}

unsafe fn error_of(s: i32) -> i32 {
    let (mut e, mut len) = (0i32, 4u32);
    getsockopt(s, SOL_SOCKET, SO_ERROR, (&raw mut e).cast(), &mut len);
    e
}

/// More connects than a listener's backlog holds wait until there is room; none is refused.
pub unsafe fn full_backlog() {
    let listener = socket(AF_INET, SOCK_STREAM, 0);
    let mut at: sockaddr_in = z();
    at.sin_family = AF_INET as u16;
    at.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    ret("bind", bind(listener, (&raw const at).cast(), 16));
    let mut len = 16;
    getsockname(listener, (&raw mut at).cast(), &mut len);
    ret("listen", listen(listener, 1));
    let all: Vec<i32> = (0..5).map(|_| client(&at)).collect();
    show("connected at once", all.iter().map(|s| ready(*s, 0)).collect::<Vec<_>>());
    let last = all[4];
    ret("again", connect(last, (&raw const at).cast(), 16));
    let mut name: sockaddr_in = z();
    ret("peer's name", getpeername(last, (&raw mut name).cast(), &mut len));
    ret("own name", getsockname(last, (&raw mut name).cast(), &mut len));
    show("is loopback", name.sin_addr.s_addr == at.sin_addr.s_addr && name.sin_port != 0);
    for _ in 0..2 {
        ok("accept", accept(listener, std::ptr::null_mut(), std::ptr::null_mut()));
    }
    // Linux tries again after one second, then two.
    show("two more", ready(all[2], 20_000) != 0 && ready(all[3], 20_000) != 0);
    show("without error", error_of(all[2]) + error_of(all[3]));
    ret("and again", connect(all[2], (&raw const at).cast(), 16));
    close(listener);
    // Linux may have let it in meanwhile; then it is reset.
    show("no way for the last", ready(last, 20_000) & POLLERR != 0 && error_of(last) != 0);
}

/// A chain of processes, each of which forks and ends at once: one signal to the group ends it.
pub unsafe fn fleeing() {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    let began = std::time::Instant::now();
    let first = child(|| {
        setpgid(0, 0);
        while began.elapsed().as_secs() < 20 {
            if fork() != 0 {
                _exit(0);
            }
        }
        _exit(0)
    });
    setpgid(first, first);
    nap(100);
    ret("kill", kill(-first, SIGKILL));
    let gone = loop {
        match waitpid(-1, std::ptr::null_mut(), WNOHANG) {
            -1 => break true,
            0 if began.elapsed().as_secs() >= 10 => break false,
            0 => nap(10),
            _ => {}
        }
    };
    show("all gone", gone);
    ret("nobody", kill(-first, 0));
}
