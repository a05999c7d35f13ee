//! Futexes that know their owner: PI locks, robust lists, requeueing, and waiting for several words.

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::thread;

use libc::*;

use crate::kit::{c, child, end_of, handle, nap, ret, say, show, takes, z};

const LOCK_PI2: i32 = 13;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

fn me() -> u32 {
    unsafe { syscall(SYS_gettid) as u32 }
}

unsafe fn pi(word: &AtomicU32, op: i32) -> i64 {
    syscall(SYS_futex, word.as_ptr(), op | FUTEX_PRIVATE_FLAG, 0, null::<timespec>(), 0, 0)
}

/// The word as flags and whose it is, without the number.
fn describe(word: u32, names: &[(&str, u32)]) -> String {
    let tid = word & 0x3fff_ffff;
    let who = names.iter().find(|n| n.1 == tid).map_or("somebody", |n| n.0);
    let who = if tid == 0 { "nobody" } else { who };
    format!(
        "{who}{}{}",
        if word & WAITERS != 0 { " waiters" } else { "" },
        if word & OWNER_DIED != 0 { " died" } else { "" }
    )
}

unsafe fn shared<T>() -> &'static T {
    let p = mmap(null_mut(), 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    &*p.cast::<T>()
}

pub unsafe fn pi_words() {
    let w = AtomicU32::new(0);
    let names = [("me", me())];
    ret("lock", pi(&w, FUTEX_LOCK_PI));
    say("held", describe(w.load(SeqCst), &names));
    ret("again", pi(&w, FUTEX_LOCK_PI));
    ret("try again", pi(&w, FUTEX_TRYLOCK_PI));
    ret("unlock", pi(&w, FUTEX_UNLOCK_PI));
    say("free", describe(w.load(SeqCst), &names));
    ret("unlock free", pi(&w, FUTEX_UNLOCK_PI));
    ret("try", pi(&w, FUTEX_TRYLOCK_PI));
    ret("unlock", pi(&w, FUTEX_UNLOCK_PI));
    ret("lock 2", pi(&w, LOCK_PI2));
    ret("unlock", pi(&w, FUTEX_UNLOCK_PI));
    w.store(0x3fff_fff0, SeqCst);
    ret("of nobody alive", pi(&w, FUTEX_LOCK_PI));
    ret("unlock another's", pi(&w, FUTEX_UNLOCK_PI));
    w.store(OWNER_DIED, SeqCst);
    ret("left behind", pi(&w, FUTEX_LOCK_PI));
    say("taken over", describe(w.load(SeqCst), &names));
    ret("null", syscall(SYS_futex, 0, FUTEX_LOCK_PI, 0, 0, 0, 0));
    ret("odd", syscall(SYS_futex, w.as_ptr() as usize + 1, FUTEX_LOCK_PI, 0, 0, 0, 0));
    let ro = mmap(null_mut(), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ret("read-only", syscall(SYS_futex, ro, FUTEX_LOCK_PI, 0, 0, 0, 0));
    ret("unknown", syscall(SYS_futex, w.as_ptr(), 77, 0, 0, 0, 0));
}

pub unsafe fn pi_waiters() {
    static W: AtomicU32 = AtomicU32::new(0);
    static ORDER: AtomicI32 = AtomicI32::new(0);
    pi(&W, FUTEX_LOCK_PI);
    let mut all = Vec::new();
    for i in 1..=3 {
        all.push(thread::spawn(move || {
            let r = pi(&W, FUTEX_LOCK_PI);
            let mine = W.load(SeqCst) & 0x3fff_ffff == me();
            ORDER.store(ORDER.load(SeqCst) * 10 + i, SeqCst);
            let u = pi(&W, FUTEX_UNLOCK_PI);
            (r, mine, u)
        }));
        nap(60);
    }
    say("held", describe(W.load(SeqCst), &[("me", me())]));
    ret("unlock", pi(&W, FUTEX_UNLOCK_PI));
    for t in all {
        show("waiter", t.join().ok());
    }
    show("order", ORDER.load(SeqCst));
    show("free", W.load(SeqCst));
}

pub unsafe fn pi_limits() {
    static W: AtomicU32 = AtomicU32::new(0);
    extern "C" fn nothing(_: i32) {}
    pi(&W, FUTEX_LOCK_PI);
    let t = thread::spawn(|| {
        let mut now: timespec = z();
        clock_gettime(CLOCK_REALTIME, &mut now);
        now.tv_nsec += 50_000_000;
        if now.tv_nsec >= 1_000_000_000 {
            now.tv_sec += 1;
            now.tv_nsec -= 1_000_000_000;
        }
        say(
            "limit",
            takes(50, || {
                ret("late", syscall(SYS_futex, W.as_ptr(), FUTEX_LOCK_PI, 0, &now, 0, 0));
            }),
        );
        let past: timespec = z();
        ret("past", syscall(SYS_futex, W.as_ptr(), FUTEX_LOCK_PI, 0, &past, 0, 0));
        let bad = timespec { tv_sec: 0, tv_nsec: 2_000_000_000 };
        ret("bad", syscall(SYS_futex, W.as_ptr(), FUTEX_LOCK_PI, 0, &bad, 0, 0));
        clock_gettime(CLOCK_MONOTONIC, &mut now);
        ret("monotonic", syscall(SYS_futex, W.as_ptr(), LOCK_PI2, 0, &now, 0, 0));
    });
    t.join().ok();
    // A handler does not end the wait.
    handle(SIGUSR1, nothing as usize, 0);
    let (tx, rx) = std::sync::mpsc::channel();
    let t = thread::spawn(move || {
        tx.send(pthread_self()).ok();
        pi(&W, FUTEX_LOCK_PI)
    });
    let id = rx.recv().unwrap_or(0);
    nap(50);
    pthread_kill(id, SIGUSR1);
    nap(50);
    ret("unlock", pi(&W, FUTEX_UNLOCK_PI));
    show("after a handler", t.join().ok());
}

pub unsafe fn pi_owner_dies() {
    let w: &'static AtomicU32 = shared();
    let pid = child(|| {
        syscall(SYS_futex, w.as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0);
        nap(100);
        0
    });
    nap(40);
    ret("taken over", syscall(SYS_futex, w.as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0));
    say("word", describe(w.load(SeqCst) & !WAITERS, &[("me", me())]));
    say("child", end_of(pid));
}

unsafe fn mutex(m: *mut pthread_mutex_t, protocol: i32, robust: bool, process: bool) -> i32 {
    let mut attr: pthread_mutexattr_t = z();
    pthread_mutexattr_init(&mut attr);
    let mut r = pthread_mutexattr_setprotocol(&mut attr, protocol);
    if robust {
        r |= pthread_mutexattr_setrobust(&mut attr, PTHREAD_MUTEX_ROBUST);
    }
    if process {
        r |= pthread_mutexattr_setpshared(&mut attr, PTHREAD_PROCESS_SHARED);
    }
    r | pthread_mutex_init(m, &attr)
}

pub unsafe fn pi_mutexes() {
    let m: *mut pthread_mutex_t = (shared::<pthread_mutex_t>() as *const pthread_mutex_t).cast_mut();
    let n: &'static AtomicI32 = shared();
    ret("init", mutex(m, PTHREAD_PRIO_INHERIT, true, true));
    let address = m as usize;
    let count = move |times: i32| {
        let m = address as *mut pthread_mutex_t;
        for _ in 0..times {
            pthread_mutex_lock(m);
            // Not atomic on purpose: the lock is what makes it whole.
            n.store(n.load(SeqCst) + 1, SeqCst);
            pthread_mutex_unlock(m);
        }
    };
    let pids: Vec<i32> = (0..2)
        .map(|_| {
            child(|| {
                let other = thread::spawn(move || count(300));
                count(300);
                other.join().ok();
                0
            })
        })
        .collect();
    count(300);
    for pid in pids {
        say("child", end_of(pid));
    }
    show("count", n.load(SeqCst));
    let pid = child(|| {
        pthread_mutex_lock(m);
        kill(getpid(), SIGKILL);
        0
    });
    say("owner", end_of(pid));
    show("dead owner", pthread_mutex_lock(m) == EOWNERDEAD);
    show("consistent", pthread_mutex_consistent(m));
    show("unlock", pthread_mutex_unlock(m));
    show("lock", pthread_mutex_lock(m));
}

pub unsafe fn requeues() {
    static FROM: AtomicU32 = AtomicU32::new(7);
    static TO: AtomicU32 = AtomicU32::new(0);
    let private = FUTEX_PRIVATE_FLAG;
    let wait = |value: u32| {
        syscall(
            SYS_futex,
            FROM.as_ptr(),
            FUTEX_WAIT_REQUEUE_PI | private,
            value,
            null::<timespec>(),
            TO.as_ptr(),
            0,
        )
    };
    ret("other value", wait(8));
    let all: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                let r = syscall(
                    SYS_futex,
                    FROM.as_ptr(),
                    FUTEX_WAIT_REQUEUE_PI | private,
                    7,
                    null::<timespec>(),
                    TO.as_ptr(),
                    0,
                );
                let mine = TO.load(SeqCst) & 0x3fff_ffff == me();
                (r, mine, pi(&TO, FUTEX_UNLOCK_PI))
            })
        })
        .collect();
    nap(150);
    let requeue = |wake: u32, more: usize, expected: u32| {
        syscall(SYS_futex, FROM.as_ptr(), FUTEX_CMP_REQUEUE_PI | private, wake, more, TO.as_ptr(), expected)
    };
    ret("expected", requeue(1, 9, 6));
    ret("wake 2", requeue(2, 9, 7));
    ret("requeued", requeue(1, 9, 7));
    for t in all {
        show("waiter", t.join().ok());
    }
    show("free", TO.load(SeqCst));
    ret("nobody", requeue(1, 9, 7));
    let mut soon: timespec = z();
    clock_gettime(CLOCK_MONOTONIC, &mut soon);
    ret(
        "limit",
        syscall(SYS_futex, FROM.as_ptr(), FUTEX_WAIT_REQUEUE_PI | private, 7, &soon, TO.as_ptr(), 0),
    );
}

pub unsafe fn robust_killed() {
    let m: *mut pthread_mutex_t = (shared::<pthread_mutex_t>() as *const pthread_mutex_t).cast_mut();
    ret("init", mutex(m, PTHREAD_PRIO_NONE, true, true));
    let pid = child(|| {
        pthread_mutex_lock(m);
        nap(10_000);
        0
    });
    nap(50);
    let address = m as usize;
    let waiter = thread::spawn(move || {
        let r = pthread_mutex_lock(address as *mut pthread_mutex_t);
        pthread_mutex_consistent(address as *mut pthread_mutex_t);
        pthread_mutex_unlock(address as *mut pthread_mutex_t);
        r == EOWNERDEAD
    });
    nap(50);
    kill(pid, SIGKILL);
    say("owner", end_of(pid));
    show("waiter learns", waiter.join().ok());
    show("works on", pthread_mutex_lock(m));
}

pub unsafe fn robust_exec() {
    let m: *mut pthread_mutex_t = (shared::<pthread_mutex_t>() as *const pthread_mutex_t).cast_mut();
    ret("init", mutex(m, PTHREAD_PRIO_NONE, true, true));
    let pid = child(|| {
        pthread_mutex_lock(m);
        let path = c("/bin/sh");
        let (a, b) = (c("-c"), c("exit 3"));
        execv(path.as_ptr(), [path.as_ptr(), a.as_ptr(), b.as_ptr(), null()].as_ptr());
        9
    });
    say("program", end_of(pid));
    show("left behind", pthread_mutex_lock(m) == EOWNERDEAD);
}

#[repr(C)]
struct Waitv {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

pub unsafe fn waitv() {
    static A: AtomicU32 = AtomicU32::new(1);
    static B: AtomicU32 = AtomicU32::new(2);
    let one =
        |w: &AtomicU32, value: u64| Waitv { value, address: w.as_ptr() as u64, flags: 2 | 128, reserved: 0 };
    let call = |list: &[Waitv], limit: *const timespec| {
        syscall(449, list.as_ptr(), list.len(), 0, limit, CLOCK_MONOTONIC)
    };
    ret("other value", call(&[one(&A, 1), one(&B, 3)], null()));
    ret("none", call(&[], null()));
    let mut now: timespec = z();
    clock_gettime(CLOCK_MONOTONIC, &mut now);
    ret("limit", call(&[one(&A, 1), one(&B, 2)], &now));
    let t = thread::spawn(move || call(&[one(&A, 1), one(&B, 2)], null()));
    nap(60);
    ret("wake", syscall(SYS_futex, B.as_ptr(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1));
    show("index", t.join().ok());
}
