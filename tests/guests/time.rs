//! Time: sleeping, clocks, timers.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::*;

use crate::kit::{handle, nap, ok, ret, say, set_of, show, takes, z};

static COUNT: AtomicI32 = AtomicI32::new(0);
extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, SeqCst);
}

const fn ms(n: i64) -> timespec {
    timespec { tv_sec: n / 1000, tv_nsec: n % 1000 * 1_000_000 }
}

pub unsafe fn sleeps() {
    say("nanosleep", takes(50, || drop(nanosleep(&ms(50), std::ptr::null_mut()))));
    say("zero", takes(0, || drop(nanosleep(&ms(0), std::ptr::null_mut()))));
    ret("negative", nanosleep(&timespec { tv_sec: -1, tv_nsec: 0 }, std::ptr::null_mut()));
    ret("bad nanoseconds", nanosleep(&timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, std::ptr::null_mut()));
    say(
        "clock_nanosleep",
        takes(30, || drop(clock_nanosleep(CLOCK_MONOTONIC, 0, &ms(30), std::ptr::null_mut()))),
    );
    let mut now: timespec = z();
    clock_gettime(CLOCK_MONOTONIC, &mut now);
    now.tv_nsec += 30_000_000;
    if now.tv_nsec >= 1_000_000_000 {
        now.tv_nsec -= 1_000_000_000;
        now.tv_sec += 1;
    }
    say(
        "until",
        takes(30, || drop(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &now, std::ptr::null_mut()))),
    );
    say(
        "until the past",
        takes(0, || drop(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ms(1), std::ptr::null_mut()))),
    );
    ret("bad clock", clock_nanosleep(77, 0, &ms(1), std::ptr::null_mut()));
    say("poll", takes(40, || drop(poll(std::ptr::null_mut(), 0, 40))));
    say(
        "select",
        takes(40, || {
            let mut tv = timeval { tv_sec: 0, tv_usec: 40_000 };
            select(0, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), &mut tv);
            show("rest", (tv.tv_sec, tv.tv_usec));
        }),
    );
    say("usleep", takes(5, || drop(usleep(5000))));
    ret("sched_yield", sched_yield());
}

pub unsafe fn clocks() {
    for (name, clock) in [
        ("realtime", CLOCK_REALTIME),
        ("monotonic", CLOCK_MONOTONIC),
        ("raw", CLOCK_MONOTONIC_RAW),
        ("coarse", CLOCK_MONOTONIC_COARSE),
        ("boottime", CLOCK_BOOTTIME),
        ("process", CLOCK_PROCESS_CPUTIME_ID),
        ("thread", CLOCK_THREAD_CPUTIME_ID),
    ] {
        let (mut a, mut b): (timespec, timespec) = (z(), z());
        let mut steady = true;
        ret(name, clock_gettime(clock, &mut a));
        for _ in 0..1000 {
            clock_gettime(clock, &mut b);
            steady &= (b.tv_sec, b.tv_nsec) >= (a.tv_sec, a.tv_nsec);
            a = b;
        }
        show("does not go back", steady);
        ret("resolution", clock_getres(clock, &mut a));
        // By the system call, past the vDSO.
        let (mut c, mut d): (timespec, timespec) = (z(), z());
        clock_gettime(clock, &mut c);
        ret("system call", syscall(SYS_clock_gettime, clock, &mut d));
        show("agrees", (d.tv_sec - c.tv_sec).abs() <= 1);
    }
    ret("bad clock", clock_gettime(99, &mut z()));
    let mut tv: timeval = z();
    ret("gettimeofday", gettimeofday(&mut tv, std::ptr::null_mut()));
    show("agrees with time", (syscall(SYS_time, 0) - tv.tv_sec).abs() <= 1);
    let mut t: tms = z();
    show("times", libc::times(&mut t) > 0);
    let mut u: rusage = z();
    ret("getrusage", getrusage(RUSAGE_SELF, &mut u));
    ret("children", getrusage(RUSAGE_CHILDREN, &mut u));
    ret("thread", getrusage(RUSAGE_THREAD, &mut u));
    ret("bad who", getrusage(77, &mut u));
    let start = std::time::Instant::now();
    let (mut a, mut b): (timespec, timespec) = (z(), z());
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut a);
    while start.elapsed().as_millis() < 100 {}
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut b);
    let used = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1_000_000;
    show("processor time passes", (10..2000).contains(&used));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut a);
    nap(100);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut b);
    let used = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1_000_000;
    show("not while sleeping", used < 50);
}

pub unsafe fn interval_timers() {
    handle(SIGALRM, count as usize, 0);
    let mut value: itimerval = z();
    value.it_value.tv_usec = 20_000;
    value.it_interval.tv_usec = 20_000;
    ret("setitimer", setitimer(ITIMER_REAL, &value, std::ptr::null_mut()));
    let start = std::time::Instant::now();
    while COUNT.load(SeqCst) < 4 && start.elapsed().as_secs() < 5 {
        pause();
    }
    show("comes again", COUNT.load(SeqCst) >= 4);
    let mut old: itimerval = z();
    ret("getitimer", getitimer(ITIMER_REAL, &mut old));
    show("interval", old.it_interval.tv_usec);
    value = z();
    ret("stop", setitimer(ITIMER_REAL, &value, &mut old));
    COUNT.store(0, SeqCst);
    nap(50);
    show("stopped", COUNT.load(SeqCst));
    ret("alarm", alarm(10) as i32);
    ret("alarm again", alarm(0) as i32);
    value.it_value.tv_usec = 1_000_000;
    ret("bad microseconds", setitimer(ITIMER_REAL, &value, std::ptr::null_mut()));
    ret("bad timer", syscall(SYS_setitimer, 7, &value, 0));
    // One that is lost over fork and kept over exec.
    value.it_value.tv_usec = 30_000;
    setitimer(ITIMER_REAL, &value, std::ptr::null_mut());
    let pid = crate::kit::child(|| {
        let mut own: itimerval = z();
        getitimer(ITIMER_REAL, &mut own);
        i32::from(own.it_value.tv_usec != 0)
    });
    say("child has none", crate::kit::end_of(pid));
    pause();
    let pid = crate::kit::child(|| {
        handle(SIGALRM, SIG_DFL, 0);
        setitimer(ITIMER_REAL, &value, std::ptr::null_mut());
        execlp(c"sleep".as_ptr(), c"sleep".as_ptr(), c"5".as_ptr(), std::ptr::null::<c_char>());
        0
    });
    say("kept over exec", crate::kit::end_of(pid));
    handle(SIGVTALRM, count as usize, 0);
    COUNT.store(0, SeqCst);
    value.it_value.tv_usec = 20_000;
    setitimer(ITIMER_VIRTUAL, &value, std::ptr::null_mut());
    let start = std::time::Instant::now();
    while COUNT.load(SeqCst) == 0 && start.elapsed().as_secs() < 3 {
        std::hint::spin_loop();
    }
    show("virtual", COUNT.load(SeqCst));
}

pub unsafe fn timer_fd() {
    let fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    ok("create", fd);
    let mut n = 0u64;
    let read8 = |n: &mut u64| read(fd, (&raw mut *n).cast(), 8);
    ret("not armed", read8(&mut n));
    let mut value = itimerspec { it_interval: ms(10), it_value: ms(20) };
    ret("arm", timerfd_settime(fd, 0, &value, std::ptr::null_mut()));
    ret("not yet", read8(&mut n));
    let mut p = pollfd { fd, events: POLLIN, revents: 0 };
    ret("poll", poll(&mut p, 1, 2000));
    nap(50);
    ret("read", read8(&mut n));
    show("several", n >= 4);
    ret("small", read(fd, (&raw mut n).cast(), 4));
    ret("get", timerfd_gettime(fd, &mut value));
    show("interval", value.it_interval.tv_nsec);
    value = z();
    ret("disarm", timerfd_settime(fd, 0, &value, std::ptr::null_mut()));
    nap(20);
    ret("nothing", read8(&mut n));
    value.it_value = ms(1);
    ret("absolute past", timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, std::ptr::null_mut()));
    ret("fires at once", poll(&mut p, 1, 1000));
    ret("bad clock", timerfd_create(99, 0));
    ret("bad flags", timerfd_create(CLOCK_MONOTONIC, 1));
    ret("not a timer", timerfd_settime(0, 0, &value, std::ptr::null_mut()));
    let blocking = timerfd_create(CLOCK_REALTIME, 0);
    value.it_value = ms(20);
    timerfd_settime(blocking, 0, &value, std::ptr::null_mut());
    ret("blocking read", read(blocking, (&raw mut n).cast(), 8));
    show("once", n);
}

pub unsafe fn posix_timers() {
    let set = set_of(&[SIGRTMIN()]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let mut event: sigevent = z();
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMIN();
    event.sigev_value.sival_ptr = 55 as *mut c_void;
    let mut timer: timer_t = std::ptr::null_mut();
    ret("create", timer_create(CLOCK_MONOTONIC, &mut event, &mut timer));
    let value = itimerspec { it_interval: ms(0), it_value: ms(10) };
    ret("arm", timer_settime(timer, 0, &value, std::ptr::null_mut()));
    let mut info: siginfo_t = z();
    ret("signal", i32::from(sigtimedwait(&set, &mut info, &ms(2000)) == SIGRTMIN()));
    show("code and value", (info.si_code, info.si_value().sival_ptr as usize));
    ret("overrun", timer_getoverrun(timer));
    ret("delete", timer_delete(timer));
}
