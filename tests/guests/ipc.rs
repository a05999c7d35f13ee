//! System V IPC and POSIX message queues.

use std::ptr::{null, null_mut};
use std::thread;

use libc::*;

use crate::kit::{c, child, end_of, errno_name, get_fd, handle, nap, ret, say, show, z};

unsafe fn shm_stat(id: i32) -> shmid_ds {
    let mut s: shmid_ds = z();
    if shmctl(id, IPC_STAT, &mut s) != 0 {
        say("stat", errno_name());
    }
    s
}

pub unsafe fn segments() {
    let id = shmget(IPC_PRIVATE, 10_000, IPC_CREAT | 0o600);
    show("made", id >= 0);
    let s = shm_stat(id);
    show("new", (s.shm_segsz, s.shm_nattch, s.shm_perm.mode, s.shm_cpid == getpid(), s.shm_lpid));
    let p = shmat(id, null(), 0).cast::<u8>();
    *p = 7;
    *p.add(9_999) = 8;
    let q = shmat(id, null(), SHM_RDONLY).cast::<u8>();
    show("both places", (*q, *q.add(9_999), p != q));
    show("attached", shm_stat(id).shm_nattch);
    ret("read-only stays", mprotect(q.cast(), 4096, PROT_READ | PROT_WRITE));
    let pid = child(|| {
        show("child", (*p, shm_stat(id).shm_nattch));
        *p = 9;
        ret("child detaches", shmdt(p.cast()));
        show("child left", shm_stat(id).shm_nattch);
        0
    });
    say("child", end_of(pid));
    show("written by child", (*p, *q, shm_stat(id).shm_nattch));
    ret("detach", shmdt(q.cast()));
    ret("detach again", shmdt(q.cast()));
    ret("detach inside", shmdt(p.add(4096).cast()));
    ret("remove", shmctl(id, IPC_RMID, null_mut()));
    let s = shm_stat(id);
    show("removed, attached", (s.shm_perm.mode, s.shm_nattch, s.shm_perm.__key));
    show("still there", *p.add(9_999));
    ret("detach last", shmdt(p.cast()));
    ret("gone", shmctl(id, IPC_STAT, &mut z()));
    show("attach gone", (shmat(id, null(), 0) as isize, errno_name()));
}

/// What the calls for mappings do to attached segments.
pub unsafe fn segment_mappings() {
    const P: usize = 4096;
    let id = shmget(IPC_PRIVATE, 8 * P, IPC_CREAT | 0o600);
    let p = shmat(id, null(), 0).cast::<u8>();
    for i in 0..8 {
        *p.add(i * P) = i as u8;
    }
    let attached = |step: &str| show(step, shm_stat(id).shm_nattch);
    let room = mmap(null_mut(), 32 * P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).cast::<u8>();
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    show("moved", mremap(p.cast(), 8 * P, 8 * P, flags, room) == room.cast());
    attached("as before");
    show("content", *room.add(3 * P));
    ret("cut", munmap(room.add(6 * P).cast(), 2 * P));
    attached("as before");
    ret("hole", munmap(room.add(2 * P).cast(), P));
    attached("two pieces");
    ret("forget", madvise(room.cast(), 2 * P, MADV_DONTNEED));
    show("content stays", *room.add(P));
    ret("punch", madvise(room.add(P).cast(), P, MADV_REMOVE));
    show("punched", *room.add(P));
    let second = mremap(room.cast(), 0, 8 * P, flags, room.add(16 * P)).cast::<u8>();
    show("second", second == room.add(16 * P));
    *second.add(5 * P) = 55;
    show("the same memory", *room.add(5 * P));
    attached("three pieces");
    ret("detach in the middle", shmdt(room.add(3 * P).cast()));
    ret("detach the first", shmdt(room.cast()));
    attached("one left");
    ret("detach the second", shmdt(second.cast()));
    attached("none");
    let q = shmat(id, null(), 0).cast::<u8>();
    show("kept", (*q.add(5 * P), *q.add(3 * P)));
    ret("remove", shmctl(id, IPC_RMID, null_mut()));
    let text = crate::kit::get("/proc/self/maps");
    show("named", text.lines().any(|l| l.ends_with("/SYSV00000000 (deleted)")));
    ret("detach", shmdt(q.cast()));
}

pub unsafe fn segment_errors() {
    let key = 0x5eed_0000 | (getpid() & 0xffff);
    ret("none", shmget(key, 4096, 0));
    ret("size 0", shmget(key, 0, IPC_CREAT | 0o600));
    let id = shmget(key, 4096, IPC_CREAT | 0o640);
    show("same", shmget(key, 0, 0) == id);
    show("same, smaller", shmget(key, 100, IPC_CREAT) == id);
    ret("larger", shmget(key, 5000, 0));
    ret("excl", shmget(key, 4096, IPC_CREAT | IPC_EXCL));
    ret("bad command", shmctl(id, 99, null_mut()));
    ret("bad id", shmctl(-1, IPC_STAT, &mut z()));
    ret("bad buffer", shmctl(id, IPC_STAT, std::ptr::without_provenance_mut(8)));
    show("unaligned", (shmat(id, 0x12345 as *const _, 0) as isize, errno_name()));
    let room = mmap(null_mut(), 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    show("occupied", (shmat(id, room, 0) as isize, errno_name()));
    show("remap", shmat(id, room, SHM_REMAP) == room);
    show("rounded", shmat(id, room.add(4096 + 77), SHM_RND | SHM_REMAP) == room.add(4096));
    show("attached", shm_stat(id).shm_nattch);
    let mut s = shm_stat(id);
    s.shm_perm.mode = 0o600;
    ret("set", shmctl(id, IPC_SET, &mut s));
    show("mode", shm_stat(id).shm_perm.mode);
    if geteuid() == 0 {
        let pid = child(|| {
            setresgid(65534, 65534, 65534);
            setresuid(65534, 65534, 65534);
            ret("stranger get", shmget(key, 4096, 0o400));
            show("stranger attach", (shmat(id, null(), SHM_RDONLY) as isize, errno_name()));
            ret("stranger remove", shmctl(id, IPC_RMID, null_mut()));
            0
        });
        say("stranger", end_of(pid));
    }
    ret("remove", shmctl(id, IPC_RMID, null_mut()));
    ret("key is free", shmget(key, 4096, 0));
}

unsafe fn op(id: i32, num: u16, by: i16, flags: i32) -> i32 {
    let mut o = sembuf { sem_num: num, sem_op: by, sem_flg: flags as i16 };
    semop(id, &mut o, 1)
}

unsafe fn value(id: i32, num: i32) -> i32 {
    semctl(id, num, 12)
}

pub unsafe fn semaphores() {
    let id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0o600);
    show("made", id >= 0);
    show("new", (value(id, 0), value(id, 2), value(id, 3), errno_name()));
    ret("up", op(id, 0, 2, 0));
    ret("down", op(id, 0, -1, 0));
    ret("no wait", op(id, 1, -1, IPC_NOWAIT));
    ret("zero wait", op(id, 0, 0, IPC_NOWAIT));
    ret("zero there", op(id, 1, 0, 0));
    ret("out of range", op(id, 3, 1, 0));
    ret("too large", op(id, 0, 32767, 0));
    ret("set too large", semctl(id, 0, 16, 40_000));
    ret("set", semctl(id, 0, 16, 5));
    show("pid", semctl(id, 0, 11) == getpid());
    let mut all: [u16; 3] = [1, 2, 3];
    ret("set all", semctl(id, 0, 17, all.as_mut_ptr()));
    all = [0; 3];
    ret("get all", semctl(id, 0, 13, all.as_mut_ptr()));
    show("all", all);
    // All or nothing.
    let mut two = [
        sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 },
        sembuf { sem_num: 1, sem_op: -9, sem_flg: IPC_NOWAIT as i16 },
    ];
    ret("both or none", semop(id, two.as_mut_ptr(), 2));
    show("unchanged", value(id, 0));
    let limit = timespec { tv_sec: 0, tv_nsec: 30_000_000 };
    let mut one = sembuf { sem_num: 0, sem_op: -9, sem_flg: 0 };
    ret("limit", syscall(SYS_semtimedop, id, &mut one, 1, &limit));
    ret("none", semop(id, &mut one, 0));
    ret("many", semop(id, &mut one, 501));
    let mut s: semid_ds = z();
    ret("stat", semctl(id, 0, IPC_STAT, &mut s));
    show("nsems", (s.sem_nsems, s.sem_perm.mode, s.sem_otime > 0));
    ret("remove", semctl(id, 0, IPC_RMID));
    ret("gone", op(id, 0, 1, 0));
}

extern "C" fn nothing(_: i32) {}

pub unsafe fn semaphore_waits() {
    let id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0o600);
    let t = thread::spawn(move || op(id, 0, -2, 0));
    nap(50);
    show("waiting", (semctl(id, 0, 14), semctl(id, 0, 15), semctl(id, 1, 14)));
    op(id, 0, 1, 0);
    nap(30);
    show("not yet", semctl(id, 0, 14));
    op(id, 0, 1, 0);
    show("woken", t.join().ok());
    show("value", value(id, 0));
    // Undone at the end of the process.
    op(id, 1, 5, 0);
    let pid = child(|| {
        op(id, 1, -3, SEM_UNDO);
        show("child has", value(id, 1));
        0
    });
    say("child", end_of(pid));
    show("undone", value(id, 1));
    let pid = child(|| {
        op(id, 1, -3, SEM_UNDO);
        kill(getpid(), SIGKILL);
        0
    });
    say("killed", end_of(pid));
    show("undone", value(id, 1));
    handle(SIGUSR1, nothing as usize, SA_RESTART);
    let pid = child(|| {
        ret("interrupted", op(id, 0, -1, 0));
        0
    });
    nap(100);
    kill(pid, SIGUSR1);
    say("child", end_of(pid));
    let pid = child(|| {
        ret("removed under it", op(id, 0, -1, 0));
        0
    });
    nap(100);
    semctl(id, 0, IPC_RMID);
    say("child", end_of(pid));
}

#[repr(C)]
struct Msg {
    kind: i64,
    text: [u8; 64],
}

unsafe fn send(id: i32, kind: i64, text: &str, flags: i32) -> i32 {
    let mut m = Msg { kind, text: [0; 64] };
    m.text[..text.len()].copy_from_slice(text.as_bytes());
    msgsnd(id, (&raw const m).cast(), text.len(), flags)
}

unsafe fn receive(id: i32, size: usize, kind: i64, flags: i32) -> String {
    let mut m: Msg = z();
    match msgrcv(id, (&raw mut m).cast(), size, kind, flags) {
        -1 => errno_name(),
        n => format!("{} {:?}", m.kind, String::from_utf8_lossy(&m.text[..n as usize])),
    }
}

pub unsafe fn messages() {
    let id = msgget(IPC_PRIVATE, IPC_CREAT | 0o600);
    for (kind, text) in [(3, "three"), (1, "one"), (2, "two"), (1, "uno"), (5, "five")] {
        ret("send", send(id, kind, text, 0));
    }
    let mut s: msqid_ds = z();
    ret("stat", msgctl(id, IPC_STAT, &mut s));
    show("queue", (s.msg_qnum, s.__msg_cbytes, s.msg_qbytes, s.msg_lspid == getpid(), s.msg_lrpid));
    say("first", receive(id, 64, 0, 0));
    say("of type", receive(id, 64, 2, 0));
    say("lowest", receive(id, 64, -4, 0));
    say("except", receive(id, 64, 1, 0o20000));
    say("too small", receive(id, 2, 1, 0));
    say("cut", receive(id, 2, 1, 0o10000));
    say("none", receive(id, 64, 0, IPC_NOWAIT));
    ret("type 0", send(id, 0, "x", 0));
    ret("too large", msgsnd(id, [1u64; 2000].as_ptr().cast(), 9000, 0));
    ret("empty", send(id, 9, "", 0));
    say("empty", receive(id, 64, 0, 0));
    let mut sent = 0;
    let big = vec![1u64; 600];
    while msgsnd(id, big.as_ptr().cast(), 4000, IPC_NOWAIT) == 0 {
        sent += 1;
    }
    show("full", (sent, errno_name()));
    let pid = child(|| {
        ret("waits for room", msgsnd(id, big.as_ptr().cast(), 4000, 0));
        0
    });
    nap(80);
    let mut buffer = vec![0u64; 600];
    // Told after the child's end, since it speaks as soon as there is room; so it is below.
    let got = msgrcv(id, buffer.as_mut_ptr().cast(), 4000, 0, 0);
    say("child", end_of(pid));
    ret("room", got);
    let pid = child(|| {
        say("removed under it", receive(id, 64, 77, 0));
        0
    });
    nap(80);
    let removed = msgctl(id, IPC_RMID, null_mut());
    say("child", end_of(pid));
    ret("remove", removed);
    say("gone", receive(id, 64, 0, 0));
}

unsafe fn mq(name: &str, flags: i32, attr: Option<(i64, i64)>) -> i32 {
    let mut a: mq_attr = z();
    (a.mq_maxmsg, a.mq_msgsize) = attr.unwrap_or_default();
    let p = if attr.is_some() { &raw const a } else { null() };
    mq_open(c(name).as_ptr(), flags, 0o600, p)
}

unsafe fn take(q: i32, size: usize) -> String {
    let mut b = vec![0u8; size];
    let mut priority = 0;
    match mq_receive(q, b.as_mut_ptr().cast(), size, &mut priority) {
        -1 => errno_name(),
        n => format!("{priority} {:?}", String::from_utf8_lossy(&b[..n as usize])),
    }
}

pub unsafe fn posix_queues() {
    let name = format!("/guest-{}", getpid());
    ret("none", mq(&name, O_RDWR, None));
    ret("bad name", mq("/a/b", O_RDWR | O_CREAT, None));
    ret("too large", mq(&name, O_RDWR | O_CREAT, Some((0, 64))));
    let q = mq(&name, O_RDWR | O_CREAT | O_EXCL, Some((3, 64)));
    show("made", q >= 0);
    ret("excl", mq(&name, O_RDWR | O_CREAT | O_EXCL, Some((3, 64))));
    for (text, priority) in [("low", 1), ("high", 9), ("also low", 1)] {
        ret("send", mq_send(q, text.as_ptr().cast(), text.len(), priority));
    }
    let mut a: mq_attr = z();
    ret("attributes", mq_getattr(q, &mut a));
    show("attributes", (a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs));
    let soon = timespec { tv_sec: 1, tv_nsec: 0 };
    ret("full", mq_timedsend(q, c"x".as_ptr(), 1, 0, &soon));
    ret("long", mq_send(q, name.as_ptr().cast(), 65, 0));
    ret("priority", mq_send(q, c"x".as_ptr(), 1, 40_000));
    say("state", get_fd(q, 100));
    say("short buffer", take(q, 63));
    for _ in 0..3 {
        say("receive", take(q, 64));
    }
    a.mq_flags = O_NONBLOCK as i64;
    ret("no wait", mq_setattr(q, &a, null_mut()));
    say("empty", take(q, 64));
    a.mq_flags = 0;
    mq_setattr(q, &a, null_mut());
    let reader = mq(&name, O_RDONLY, None);
    ret("reader sends", mq_send(reader, c"x".as_ptr(), 1, 0));
    let mut p = pollfd { fd: q, events: POLLIN | POLLOUT, revents: 0 };
    ret("poll", poll(&mut p, 1, 0));
    show("events", p.revents);
    let t = thread::spawn(move || take(q, 64));
    nap(50);
    let pid = child(|| mq_send(q, c"child".as_ptr(), 5, 4));
    say("child", end_of(pid));
    show("woken", t.join().ok());
    // A signal where a message comes to an empty queue.
    let set = crate::kit::set_of(&[SIGUSR2]);
    sigprocmask(SIG_BLOCK, &set, null_mut());
    let mut event: sigevent = z();
    (event.sigev_notify, event.sigev_signo) = (SIGEV_SIGNAL, SIGUSR2);
    event.sigev_value.sival_ptr = 77 as *mut c_void;
    ret("notify", mq_notify(q, &event));
    let pid = child(|| {
        ret("busy", mq_notify(q, &event));
        mq_send(q, c"n".as_ptr(), 1, 0)
    });
    say("child", end_of(pid));
    let mut info: siginfo_t = z();
    ret("told", sigwaitinfo(&set, &mut info));
    show("info", (info.si_code, info.si_pid() == pid, info.si_value().sival_ptr as usize));
    ret("again", mq_notify(q, &event));
    ret("not any more", mq_notify(q, null()));
    ret("unlink", mq_unlink(c(&name).as_ptr()));
    ret("unlinked", mq_unlink(c(&name).as_ptr()));
    say("still there", take(q, 64));
}
