//! Clocks and timers, second part: every clock, processor time of others, overruns, absolute sleeps.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering::SeqCst};

use libc::*;

use crate::kit::{child, end_of, errno_name, handle, nap, pipe, ret, say, set_of, show, takes, z};

static COUNT: AtomicI32 = AtomicI32::new(0);
static WHO: AtomicI64 = AtomicI64::new(0);
extern "C" fn count(_: i32) {
    WHO.store(unsafe { syscall(SYS_gettid) }, SeqCst);
    COUNT.fetch_add(1, SeqCst);
}

const fn ms(n: i64) -> timespec {
    timespec { tv_sec: n / 1000, tv_nsec: n % 1000 * 1_000_000 }
}

fn nanos(t: &timespec) -> i64 {
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

unsafe fn read_clock(id: i32) -> Option<i64> {
    let mut t: timespec = z();
    (syscall(SYS_clock_gettime, id, &mut t) == 0).then(|| nanos(&t))
}

/// Uses processor time.
fn spin(millis: i64) {
    let mut t: timespec = z();
    let mut used = || {
        unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut t) };
        nanos(&t)
    };
    let start = used();
    while used() - start < millis * 1_000_000 {}
}

pub unsafe fn every_clock() {
    for id in [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 99, i32::MAX, i32::MIN] {
        let mut t: timespec = z();
        ret(&format!("{id} gettime"), syscall(SYS_clock_gettime, id, &mut t));
        let r = syscall(SYS_clock_getres, id, &mut t);
        say(
            &format!("{id} getres"),
            if r < 0 { errno_name() } else { format!("{:?}", (t.tv_sec, t.tv_nsec)) },
        );
        ret(&format!("{id} getres, null"), syscall(SYS_clock_getres, id, 0));
        ret(&format!("{id} gettime nowhere"), syscall(SYS_clock_gettime, id, 8));
        // By processor time nobody wakes who does not run.
        if id != CLOCK_PROCESS_CPUTIME_ID {
            ret(&format!("{id} sleep"), syscall(SYS_clock_nanosleep, id, 0, &ms(1), 0));
        }
        ret(&format!("{id} sleep until"), syscall(SYS_clock_nanosleep, id, TIMER_ABSTIME, &ms(0), 0));
        ret(
            &format!("{id} bad sleep"),
            syscall(SYS_clock_nanosleep, id, 0, &timespec { tv_sec: 0, tv_nsec: -1 }, 0),
        );
        ret(&format!("{id} sleep, null"), syscall(SYS_clock_nanosleep, id, 0, 0, 0));
        let mut timer = 0i32;
        ret(&format!("{id} timer"), syscall(SYS_timer_create, id, 0, &mut timer).min(0));
        ret(&format!("{id} timerfd"), timerfd_create(id, 0).min(0));
    }
    // How they stand to each other.
    let near = |a: Option<i64>, b: Option<i64>, by: i64| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= by,
        _ => false,
    };
    let second = 1_000_000_000;
    show(
        "boot is not before monotonic",
        read_clock(CLOCK_BOOTTIME) >= read_clock(CLOCK_MONOTONIC).map(|t| t - second),
    );
    show("coarse", near(read_clock(CLOCK_REALTIME_COARSE), read_clock(CLOCK_REALTIME), second));
    show("monotonic coarse", near(read_clock(CLOCK_MONOTONIC_COARSE), read_clock(CLOCK_MONOTONIC), second));
    show("TAI", near(read_clock(CLOCK_TAI), read_clock(CLOCK_REALTIME), 60 * second));
    show("alarm clocks", near(read_clock(CLOCK_REALTIME_ALARM), read_clock(CLOCK_REALTIME), second));
}

pub unsafe fn processor_time() {
    // Clock numbers of processes and threads (clock_getcpuclockid(3)).
    let mut id = 0;
    ret("of itself", clock_getcpuclockid(0, &mut id));
    ret("number", id);
    let (r, w) = pipe();
    let pid = child(|| {
        close(r);
        spin(80);
        write(w, c"x".as_ptr().cast(), 1);
        pause();
        0
    });
    close(w);
    let mut b = 0u8;
    read(r, (&raw mut b).cast(), 1);
    ret("of a child", clock_getcpuclockid(pid, &mut id));
    show("number", id == (!pid) << 3 | 2);
    let used = read_clock(id).unwrap_or(0) / 1_000_000;
    show("child's time", (20..2000).contains(&used));
    for kind in 0..4 {
        let id = (!pid) << 3 | kind;
        show(&format!("kind {kind}"), read_clock(id).is_some());
        let id = (!pid) << 3 | 4 | kind;
        show(&format!("thread, kind {kind}"), read_clock(id).is_some());
        let own = (!0) << 3 | kind;
        show(&format!("own, kind {kind}"), read_clock(own).is_some());
        let own = (!0) << 3 | 4 | kind;
        show(&format!("own thread, kind {kind}"), read_clock(own).is_some());
    }
    ret("of nobody", clock_getcpuclockid(99_999_999, &mut id));
    show("number of nobody", read_clock((!99_999_999) << 3 | 2).is_some());
    kill(pid, SIGKILL);
    let mut info: siginfo_t = z();
    waitid(P_PID, pid as id_t, &mut info, WEXITED | WNOWAIT);
    show("of a zombie", read_clock((!pid) << 3 | 2).is_some());
    end_of(pid);
    show("gone", read_clock((!pid) << 3 | 2).is_some());
    // Threads: each its own, together the process's.
    let clock = std::thread::spawn(|| {
        spin(60);
        let mut id = 0;
        pthread_getcpuclockid(pthread_self(), &mut id);
        (read_clock(id).unwrap_or(0), read_clock(CLOCK_THREAD_CPUTIME_ID).unwrap_or(0))
    })
    .join()
    .unwrap_or_default();
    show("thread", clock.0 > 0 && (10..2000).contains(&(clock.1 / 1_000_000)));
    let own = read_clock(CLOCK_THREAD_CPUTIME_ID).unwrap_or(0);
    let all = read_clock(CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0);
    show("process has both", all >= own && all - own >= clock.1 - 30_000_000);
    // Sleeping by processor time: the process must use it.
    let start = std::time::Instant::now();
    let spinner = std::thread::spawn(|| spin(400));
    ret("sleep", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &ms(50), std::ptr::null_mut()));
    show("took", (40..3000).contains(&start.elapsed().as_millis()));
    spinner.join().ok();
    let now = read_clock(CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0);
    let t = ms(now / 1_000_000 - 60);
    ret("until the past", clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &t, std::ptr::null_mut()));
    // getrusage and times agree with the clock.
    let mut u: rusage = z();
    getrusage(RUSAGE_SELF, &mut u);
    let micros =
        (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1_000_000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
    let clock = read_clock(CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0) / 1000;
    show("rusage agrees", (micros - clock).abs() < 50_000);
    show("mostly user", u.ru_utime.tv_sec * 1_000_000 + u.ru_utime.tv_usec > micros / 2);
    let mut used: tms = z();
    times(&mut used);
    show("times agree", ((used.tms_utime + used.tms_stime) * 10_000 - clock).abs() < 60_000);
    getrusage(RUSAGE_THREAD, &mut u);
    show("thread's is less", u.ru_utime.tv_sec * 1_000_000 + u.ru_utime.tv_usec <= clock);
    ret("rusage nowhere", syscall(SYS_getrusage, 0, 8));
    ret("times nowhere", syscall(SYS_times, 8));
}

unsafe fn timer(clock: i32, notify: i32, signo: i32, tid: i64) -> Result<i32, String> {
    let mut event: sigevent = z();
    event.sigev_notify = notify;
    event.sigev_signo = signo;
    event.sigev_value.sival_ptr = 77 as *mut c_void;
    event.sigev_notify_thread_id = tid as i32;
    let mut id = -1i32;
    match syscall(SYS_timer_create, clock, &mut event, &mut id) {
        0 => Ok(id),
        _ => Err(errno_name()),
    }
}

pub unsafe fn timers() {
    let first = SIGRTMIN();
    let set = set_of(&[first, SIGALRM]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let mut info: siginfo_t = z();
    let long = ms(3000);
    let now: timespec = z();
    let arm = |id: i32, first: i64, every: i64, flags: i32| {
        let v = itimerspec { it_interval: ms(every), it_value: ms(first) };
        syscall(SYS_timer_settime, id, flags, &v, 0)
    };
    for (name, clock) in [
        ("realtime", CLOCK_REALTIME),
        ("monotonic", CLOCK_MONOTONIC),
        ("boottime", CLOCK_BOOTTIME),
        ("TAI", CLOCK_TAI),
    ] {
        let id = timer(clock, SIGEV_SIGNAL, first, 0).unwrap_or(-1);
        ret(&format!("{name}: arm"), arm(id, 10, 0, 0));
        show("fires", sigtimedwait(&set, &mut info, &long) == first);
        show("info", (info.si_code, info.si_value().sival_ptr as usize, info.si_errno));
        // Until a moment that has passed.
        arm(id, 1, 0, TIMER_ABSTIME);
        show("past", sigtimedwait(&set, &mut info, &long) == first);
        ret("delete", syscall(SYS_timer_delete, id));
    }
    for (name, clock) in [("process", CLOCK_PROCESS_CPUTIME_ID), ("thread", CLOCK_THREAD_CPUTIME_ID)] {
        let id = timer(clock, SIGEV_SIGNAL, first, 0).unwrap_or(-1);
        ret(&format!("{name}: arm"), arm(id, 20, 0, 0));
        nap(30);
        show("not while sleeping", sigtimedwait(&set, &mut info, &now) == first);
        spin(200);
        show("while running", sigtimedwait(&set, &mut info, &now) == first);
        syscall(SYS_timer_delete, id);
    }
    // Nobody is told.
    let id = timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0).unwrap_or(-1);
    arm(id, 20, 0, 0);
    let mut v: itimerspec = z();
    syscall(SYS_timer_gettime, id, &mut v);
    show("counts down", v.it_value.tv_nsec > 0 && v.it_value.tv_nsec <= 20_000_000);
    nap(40);
    syscall(SYS_timer_gettime, id, &mut v);
    show("over", (v.it_value.tv_sec, v.it_value.tv_nsec));
    arm(id, 20, 15, 0);
    nap(100);
    syscall(SYS_timer_gettime, id, &mut v);
    show("goes on", v.it_value.tv_nsec > 0 && v.it_value.tv_nsec <= 15_000_000);
    ret("overrun of none", syscall(SYS_timer_getoverrun, id));
    // One thread alone.
    sigprocmask(SIG_UNBLOCK, &set, std::ptr::null_mut());
    handle(first, count as usize, 0);
    let told = std::thread::spawn(move || {
        let me = syscall(SYS_gettid);
        let id = timer(CLOCK_MONOTONIC, SIGEV_THREAD_ID, first, me).unwrap_or(-1);
        arm(id, 10, 0, 0);
        let start = std::time::Instant::now();
        while COUNT.load(SeqCst) == 0 && start.elapsed().as_secs() < 3 {
            nap(5);
        }
        let right = WHO.load(SeqCst) == me;
        syscall(SYS_timer_delete, id);
        right
    });
    show("told the thread", told.join().unwrap_or(false));
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    show(
        "thread of another process",
        timer(CLOCK_MONOTONIC, SIGEV_THREAD_ID, first, i64::from(getppid())).err(),
    );
    show("no such thread", timer(CLOCK_MONOTONIC, SIGEV_THREAD_ID, first, 99_999_999).err());
    show("bad way", timer(CLOCK_MONOTONIC, 9, first, 0).err());
    show("thread function", timer(CLOCK_MONOTONIC, SIGEV_THREAD, first, 0).is_ok());
    show("bad signal", timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, 65, 0).err());
    show("signal 0", timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0).err());
    ret("nowhere", syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, 8));
    ret("event nowhere", syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &mut 0i32));
    // Without an event: SIGALRM with the number.
    let mut id = -1i32;
    ret("plain", syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &mut id));
    arm(id, 5, 0, 0);
    show("fires", sigtimedwait(&set, &mut info, &long) == SIGALRM);
    show("value is its number", info.si_value().sival_ptr as usize as i32 == id);
    for (step, id) in [("unknown", 99_999), ("negative", -1)] {
        ret(&format!("{step}: settime"), arm(id, 1, 0, 0));
        ret(&format!("{step}: gettime"), syscall(SYS_timer_gettime, id, &mut v));
        ret(&format!("{step}: overrun"), syscall(SYS_timer_getoverrun, id));
        ret(&format!("{step}: delete"), syscall(SYS_timer_delete, id));
    }
    ret("no time", syscall(SYS_timer_settime, id, 0, 0, 0));
    let bad = itimerspec { it_interval: ms(0), it_value: timespec { tv_sec: 0, tv_nsec: 1_000_000_000 } };
    ret("bad time", syscall(SYS_timer_settime, id, 0, &bad, 0));
    let bad = itimerspec { it_interval: ms(0), it_value: timespec { tv_sec: -1, tv_nsec: 0 } };
    ret("negative time", syscall(SYS_timer_settime, id, 0, &bad, 0));
    let bad = itimerspec { it_interval: timespec { tv_sec: 0, tv_nsec: -1 }, it_value: ms(0) };
    ret("bad interval", syscall(SYS_timer_settime, id, 0, &bad, 0));
    let far = itimerspec { it_interval: ms(0), it_value: timespec { tv_sec: i64::MAX, tv_nsec: 0 } };
    let mut old: itimerspec = z();
    ret("far", syscall(SYS_timer_settime, id, 0, &far, 0));
    ret("old", syscall(SYS_timer_settime, id, 0, &z::<itimerspec>(), &mut old));
    show("was far", old.it_value.tv_sec > 1 << 31);
    ret("gettime nowhere", syscall(SYS_timer_gettime, id, 8));
    // A child has none.
    let pid = child(|| {
        let mut v: itimerspec = z();
        ret("child's", syscall(SYS_timer_gettime, id, &mut v));
        0
    });
    end_of(pid);
    // A signal that waits is taken back with its timer's new setting or end.
    arm(id, 1, 0, 0);
    nap(20);
    syscall(SYS_timer_delete, id);
    show("after delete", sigtimedwait(&set, &mut info, &now));
}

pub unsafe fn overruns() {
    let first = SIGRTMIN();
    let set = set_of(&[first]);
    sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut());
    let id = timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, first, 0).unwrap_or(-1);
    let mut info: siginfo_t = z();
    let long = ms(3000);
    let v = itimerspec { it_interval: ms(10), it_value: ms(10) };
    syscall(SYS_timer_settime, id, 0, &v, 0);
    nap(105);
    show("one signal", sigtimedwait(&set, &mut info, &long) == first);
    // `si_overrun` lies behind the timer's number.
    let overrun = *(&raw const info).cast::<i32>().add(5);
    show("overrun in it", (6..60).contains(&overrun));
    show("by the call", syscall(SYS_timer_getoverrun, id) == i64::from(overrun));
    syscall(SYS_timer_settime, id, 0, &z::<itimerspec>(), 0);
    let now: timespec = z();
    sigtimedwait(&set, &mut info, &now);
    // More than fit into an int: it stays at the most.
    let mut t: timespec = z();
    clock_gettime(CLOCK_MONOTONIC, &mut t);
    let id = timer(CLOCK_REALTIME, SIGEV_SIGNAL, first, 0).unwrap_or(-1);
    let v = itimerspec {
        it_interval: timespec { tv_sec: 0, tv_nsec: 1 },
        it_value: timespec { tv_sec: 1, tv_nsec: 0 },
    };
    ret("since 1970", syscall(SYS_timer_settime, id, TIMER_ABSTIME, &v, 0));
    show("signal", sigtimedwait(&set, &mut info, &long) == first);
    ret("overrun", syscall(SYS_timer_getoverrun, id));
    syscall(SYS_timer_delete, id);
    // timerfd counts in 64 bits.
    let fd = timerfd_create(CLOCK_REALTIME, 0);
    let v = itimerspec {
        it_interval: timespec { tv_sec: 0, tv_nsec: 1000 },
        it_value: timespec { tv_sec: 1, tv_nsec: 0 },
    };
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &v, std::ptr::null_mut());
    let mut n = 0u64;
    ret("timerfd", read(fd, (&raw mut n).cast(), 8));
    show("many", n > 1 << 32);
}

pub unsafe fn sleeps() {
    handle(SIGUSR1, count as usize, SA_RESTART);
    let parent = getpid();
    let signaller = || {
        child(|| {
            nap(50);
            kill(parent, SIGUSR1);
            0
        })
    };
    let mut left = ms(7);
    let pid = signaller();
    ret("relative, interrupted", clock_nanosleep(CLOCK_MONOTONIC, 0, &ms(5000), &mut left));
    show("left", left.tv_sec);
    end_of(pid);
    let mut at: timespec = z();
    clock_gettime(CLOCK_MONOTONIC, &mut at);
    at.tv_sec += 5;
    left = ms(7);
    let pid = signaller();
    ret("absolute, interrupted", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, &mut left));
    show("left untouched", nanos(&left) == 7_000_000);
    end_of(pid);
    let pid = signaller();
    ret("left nowhere", syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ms(5000), 8));
    end_of(pid);
    let pid = signaller();
    ret("nanosleep, left nowhere", syscall(SYS_nanosleep, &ms(5000), 8));
    end_of(pid);
    // Stopped and continued: the rest is slept.
    let sleeper = child(|| {
        let start = std::time::Instant::now();
        let r = clock_nanosleep(CLOCK_MONOTONIC, 0, &ms(200), std::ptr::null_mut());
        let t = start.elapsed().as_millis();
        i32::from(r != 0 || !(199..2000).contains(&t))
    });
    nap(30);
    kill(sleeper, SIGSTOP);
    nap(30);
    kill(sleeper, SIGCONT);
    say("relative across a stop", end_of(sleeper));
    let sleeper = child(|| {
        let mut at: timespec = z();
        clock_gettime(CLOCK_REALTIME, &mut at);
        at.tv_nsec += 100_000_000;
        if at.tv_nsec >= 1_000_000_000 {
            at.tv_sec += 1;
            at.tv_nsec -= 1_000_000_000;
        }
        clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, std::ptr::null_mut())
    });
    nap(30);
    kill(sleeper, SIGSTOP);
    nap(200);
    kill(sleeper, SIGCONT);
    say("absolute across a stop", end_of(sleeper));
    for (name, clock) in [("boottime", CLOCK_BOOTTIME), ("TAI", CLOCK_TAI), ("realtime", CLOCK_REALTIME)] {
        say(name, takes(20, || drop(clock_nanosleep(clock, 0, &ms(20), std::ptr::null_mut()))));
    }
    let mut v: itimerval = z();
    v.it_value.tv_sec = -1;
    ret("negative interval timer", setitimer(ITIMER_REAL, &v, std::ptr::null_mut()));
    ret("null", syscall(SYS_setitimer, ITIMER_REAL, 0, 0));
    ret("nowhere", syscall(SYS_setitimer, ITIMER_REAL, 8, 0));
    ret("getitimer nowhere", syscall(SYS_getitimer, ITIMER_REAL, 8));
    ret("getitimer 3", syscall(SYS_getitimer, 3, &mut v));
    v.it_value.tv_sec = i64::MAX;
    ret("far", setitimer(ITIMER_REAL, &v, std::ptr::null_mut()));
    let mut old: itimerval = z();
    getitimer(ITIMER_REAL, &mut old);
    show("was far", old.it_value.tv_sec > 1 << 31);
    show("alarm knows", alarm(0) > 0);
    v.it_value.tv_sec = 0;
    v.it_value.tv_usec = 30_000;
    handle(SIGPROF, count as usize, 0);
    COUNT.store(0, SeqCst);
    setitimer(ITIMER_PROF, &v, std::ptr::null_mut());
    spin(300);
    show("profiling", COUNT.load(SeqCst));
}
