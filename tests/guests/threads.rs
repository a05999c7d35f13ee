//! Threads: start and join, locks, thread-local state, ends of every kind.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;

use libc::*;

use crate::kit::{c, child, end_of, get, handle, nap, pipe, put_fd, ret, say, set_of, show, takes, z};

pub unsafe fn joins() {
    let handles: Vec<_> = (0..10).map(|i| thread::spawn(move || i * i)).collect();
    let sum: i32 = handles.into_iter().map(|h| h.join().unwrap_or(-1)).sum();
    show("sum", sum);
    let panicked = thread::Builder::new().spawn(|| std::panic::resume_unwind(Box::new(5)));
    show("unwound", panicked.map(|h| h.join().is_err()).ok());
    let pid = getpid();
    let same = thread::spawn(move || (getpid() == pid, syscall(SYS_gettid) as i32 != pid)).join();
    show("same process, other thread", same.ok());
    show("main tid", syscall(SYS_gettid) as i32 == pid);
}

pub unsafe fn locks() {
    let m = Arc::new(Mutex::new(0u64));
    let handles: Vec<_> = (0..4)
        .map(|_| {
            let m = m.clone();
            thread::spawn(move || {
                for _ in 0..5000 {
                    *m.lock().unwrap_or_else(|e| e.into_inner()) += 1;
                }
            })
        })
        .collect();
    for h in handles {
        h.join().ok();
    }
    show("mutex", *m.lock().unwrap_or_else(|e| e.into_inner()));
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let other = pair.clone();
    let t = thread::spawn(move || {
        for i in 1..=100 {
            let mut g = other.0.lock().unwrap_or_else(|e| e.into_inner());
            while *g != i * 2 - 1 {
                g = other.1.wait(g).unwrap_or_else(|e| e.into_inner());
            }
            *g += 1;
            other.1.notify_all();
        }
    });
    for i in 0..100 {
        let mut g = pair.0.lock().unwrap_or_else(|e| e.into_inner());
        while *g != i * 2 {
            g = pair.1.wait(g).unwrap_or_else(|e| e.into_inner());
        }
        *g += 1;
        pair.1.notify_all();
    }
    t.join().ok();
    show("ping-pong", *pair.0.lock().unwrap_or_else(|e| e.into_inner()));
    let (tx, rx) = mpsc::channel();
    for i in 0..3u64 {
        let tx = tx.clone();
        thread::spawn(move || (0..1000).for_each(|k| drop(tx.send(i * 1000 + k))));
    }
    drop(tx);
    show("channel", rx.iter().sum::<u64>());
    let b = Arc::new(Barrier::new(5));
    let leaders = Arc::new(AtomicI32::new(0));
    let hs: Vec<_> = (0..5)
        .map(|_| {
            let (b, l) = (b.clone(), leaders.clone());
            thread::spawn(move || {
                for _ in 0..20 {
                    if b.wait().is_leader() {
                        l.fetch_add(1, SeqCst);
                    }
                }
            })
        })
        .collect();
    for h in hs {
        h.join().ok();
    }
    show("barrier", leaders.load(SeqCst));
    let rw = RwLock::new(5);
    show("rwlock", rw.read().map(|v| *v).ok());
    let guard = Mutex::new(());
    let held = guard.lock();
    let wait = Condvar::new();
    if let Ok(held) = held {
        say(
            "timed wait",
            takes(50, || {
                let r = wait.wait_timeout(held, std::time::Duration::from_millis(50));
                show("timed out", r.map(|r| r.1.timed_out()).ok());
            }),
        );
    }
}

thread_local!(static OWN: Cell<i32> = const { Cell::new(1) });

pub unsafe fn locals() {
    OWN.set(5);
    let other = thread::spawn(|| {
        let fresh = OWN.get();
        OWN.set(9);
        *__errno_location() = 77;
        (fresh, OWN.get())
    });
    show("other", other.join().ok());
    show("own", OWN.get());
    let pid = child(|| OWN.get());
    say("forked", end_of(pid));
    let in_thread = thread::spawn(|| {
        OWN.set(30);
        let pid = child(|| OWN.get());
        end_of(pid)
    });
    say("forked from a thread", in_thread.join().unwrap_or_default());
}

pub unsafe fn thousands() {
    const COUNT: u32 = 5000;
    let gate = Arc::new(Barrier::new(COUNT as usize + 1));
    let sum = Arc::new(AtomicU64::new(0));
    let mut handles = Vec::new();
    for i in 0..COUNT {
        let (gate, sum) = (gate.clone(), sum.clone());
        let made = thread::Builder::new().stack_size(32 * 1024).spawn(move || {
            gate.wait();
            sum.fetch_add(i.into(), SeqCst);
        });
        match made {
            Ok(h) => handles.push(h),
            Err(e) => return show("at", (i, e.raw_os_error())),
        }
    }
    gate.wait();
    show("joined", handles.into_iter().filter_map(|h| h.join().ok()).count());
    show("sum", sum.load(SeqCst));
}

pub unsafe fn many() {
    let total = Arc::new(AtomicU32::new(0));
    for _ in 0..5 {
        let handles: Vec<_> = (0..40)
            .map(|i| {
                let total = total.clone();
                thread::Builder::new().stack_size(64 * 1024).spawn(move || total.fetch_add(i, SeqCst))
            })
            .collect();
        for h in handles.into_iter().flatten() {
            h.join().ok();
        }
    }
    show("total", total.load(SeqCst));
    let gate = Arc::new(Barrier::new(101));
    let handles: Vec<_> = (0..100)
        .map(|_| {
            let gate = gate.clone();
            thread::Builder::new().stack_size(64 * 1024).spawn(move || gate.wait().is_leader())
        })
        .collect();
    let status = get("/proc/self/status");
    show("100 at once", status.lines().find(|l| l.starts_with("Threads:")).map(str::to_owned));
    gate.wait();
    show(
        "ended",
        handles
            .into_iter()
            .flatten()
            .filter(|_| true)
            .map(thread::JoinHandle::join)
            .filter(Result::is_ok)
            .count(),
    );
}

pub unsafe fn exits() {
    let pid = child(|| {
        thread::spawn(|| exit(5));
        loop {
            pause();
        }
    });
    say("exit_group from a thread", end_of(pid));
    let pid = child(|| {
        thread::spawn(|| {
            nap(50);
            say("thread", "outlives main");
            syscall(SYS_exit_group, 6);
        });
        syscall(SYS_exit, 3);
        0
    });
    say("main thread exits first", end_of(pid));
    let pid = child(|| {
        let t = thread::spawn(|| {
            syscall(SYS_exit, 9);
        });
        nap(30);
        drop(t);
        4
    });
    say("a thread's exit is not the process's", end_of(pid));
    let pid = child(|| {
        for _ in 0..5 {
            thread::spawn(|| loop {
                std::hint::spin_loop();
            });
        }
        nap(20);
        7
    });
    say("with busy threads", end_of(pid));
    let pid = child(|| {
        setrlimit(RLIMIT_CORE, &rlimit { rlim_cur: 0, rlim_max: 0 });
        handle(SIGSEGV, SIG_DFL, 0);
        let t = thread::spawn(|| std::ptr::read_volatile(16 as *const u8));
        t.join().ok();
        0
    });
    say("a fault in a thread", end_of(pid));
}

pub unsafe fn execs() {
    let exe = c(&std::env::current_exe().unwrap_or_default().to_string_lossy());
    let argv = [exe.as_ptr(), c"helper".as_ptr(), c"exit".as_ptr(), c"17".as_ptr(), std::ptr::null()];
    let argv = argv.map(|p| p as usize);
    let exe_at = exe.as_ptr() as usize;
    let pid = child(|| {
        thread::spawn(|| loop {
            std::hint::spin_loop();
        });
        thread::spawn(move || {
            execve(exe_at as *const c_char, argv.as_ptr().cast(), [std::ptr::null()].as_ptr());
        });
        loop {
            pause();
        }
    });
    say("from a thread", end_of(pid));
    let pid = child(|| {
        for _ in 0..3 {
            thread::spawn(move || {
                execve(exe_at as *const c_char, argv.as_ptr().cast(), [std::ptr::null()].as_ptr());
            });
        }
        loop {
            pause();
        }
    });
    say("from several at once", end_of(pid));
    let shell = [c"sh".as_ptr(), c"-c".as_ptr(), c"read pid rest </proc/self/stat; [ $pid = $$ ]".as_ptr()];
    let shell = [shell[0] as usize, shell[1] as usize, shell[2] as usize, 0];
    let pid = child(|| {
        thread::spawn(move || {
            execve(c"/bin/sh".as_ptr(), shell.as_ptr().cast(), [std::ptr::null()].as_ptr());
        });
        loop {
            pause();
        }
    });
    say("the number stays", end_of(pid));
    let pid = child(|| {
        for _ in 0..3 {
            thread::spawn(|| loop {
                nap(1);
            });
        }
        nap(10);
        execve(exe_at as *const c_char, argv.as_ptr().cast(), [std::ptr::null()].as_ptr());
        99
    });
    say("from main", end_of(pid));
}

static RAN_ON: AtomicU64 = AtomicU64::new(0);
extern "C" fn note(_: i32) {
    RAN_ON.store(unsafe { syscall(SYS_gettid) } as u64, SeqCst);
}

pub unsafe fn signals() {
    handle(SIGUSR1, note as usize, 0);
    let (tx, rx) = mpsc::channel();
    let t = thread::spawn(move || {
        tx.send(syscall(SYS_gettid)).ok();
        nap(150);
    });
    let tid = rx.recv().unwrap_or(0);
    ret("tgkill", syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
    nap(50);
    show("ran there", RAN_ON.load(SeqCst) == tid as u64);
    t.join().ok();
    let set = set_of(&[SIGUSR1]);
    let (tx, rx) = mpsc::channel();
    let t = thread::spawn(move || {
        tx.send(syscall(SYS_gettid)).ok();
        nap(200);
    });
    let tid = rx.recv().unwrap_or(0);
    pthread_sigmask(SIG_BLOCK, &set, std::ptr::null_mut());
    RAN_ON.store(0, SeqCst);
    kill(getpid(), SIGUSR1);
    nap(50);
    show("goes to the thread that takes it", RAN_ON.load(SeqCst) == tid as u64);
    t.join().ok();
    let waiter = thread::spawn(move || {
        let mut got = 0;
        sigwait(&set_of(&[SIGUSR1]), &mut got);
        got
    });
    nap(30);
    kill(getpid(), SIGUSR1);
    show("sigwait in a thread", waiter.join().ok() == Some(SIGUSR1));
    let inherited = thread::spawn(|| {
        let mut mask = z();
        pthread_sigmask(SIG_SETMASK, std::ptr::null(), &mut mask);
        sigismember(&mask, SIGUSR1)
    });
    show("mask is inherited", inherited.join().ok());
}

pub unsafe fn shared_descriptors() {
    let (r, w) = pipe();
    let t = thread::spawn(move || {
        nap(20);
        put_fd(w, "from a thread")
    });
    say("read", crate::kit::get_fd(r, 20));
    t.join().ok();
    let t = thread::spawn(move || close(w));
    t.join().ok();
    say("closed by the other", crate::kit::get_fd(r, 20));
    thread::spawn(|| chdir(c"/".as_ptr())).join().ok();
    show("working directory is shared", std::env::current_dir().ok());
    let slow = thread::spawn(move || {
        let (r2, w2) = pipe();
        let t = thread::spawn(move || crate::kit::get_fd(r2, 5));
        nap(20);
        put_fd(w2, "hi");
        t.join().unwrap_or_default()
    });
    show("blocked in one, running in another", slow.join().ok());
}

pub unsafe fn futexes() {
    let word = Box::leak(Box::new(AtomicU32::new(1)));
    let at = word.as_ptr();
    let call = |op: i32, value: u32, time: *const timespec| syscall(SYS_futex, at, op, value, time, 0, !0u32);
    let short = timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    ret("other value", call(FUTEX_WAIT, 2, std::ptr::null()));
    ret("time", call(FUTEX_WAIT, 1, &short));
    ret("bad time", call(FUTEX_WAIT, 1, &timespec { tv_sec: 0, tv_nsec: 2_000_000_000 }));
    ret("nobody", call(FUTEX_WAKE, 1, std::ptr::null()));
    ret("odd address", syscall(SYS_futex, (at as usize) + 1, FUTEX_WAIT, 1, 0, 0, 0));
    ret("unmapped", syscall(SYS_futex, 4096, FUTEX_WAIT, 1, 0, 0, 0));
    ret("unknown operation", call(100, 1, std::ptr::null()));
    let addr = at as usize;
    let hs: Vec<_> = (0..3)
        .map(|_| thread::spawn(move || syscall(SYS_futex, addr, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0)))
        .collect();
    nap(50);
    ret("wake one", call(FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, std::ptr::null()));
    ret("wake the rest", call(FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 100, std::ptr::null()));
    for h in hs {
        show("returned", h.join().ok());
    }
    let page = mmap(std::ptr::null_mut(), 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    let pid = child(|| syscall(SYS_futex, page, FUTEX_WAIT, 0, 0, 0, 0) as i32);
    nap(50);
    ret("wake another process", syscall(SYS_futex, page, FUTEX_WAKE, 1, 0, 0, 0));
    say("child", end_of(pid));
    let mut head = 0usize;
    let mut len = 0usize;
    ret("robust list", syscall(SYS_get_robust_list, 0, &mut head, &mut len));
    show("length", len);
}
