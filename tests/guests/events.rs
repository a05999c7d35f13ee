//! Waiting for events: pipes, poll, select, epoll, eventfd, socket pairs.

use std::thread;

use libc::*;

use crate::kit::{child, end_of, get_fd, handle, nap, ok, pipe, put_fd, rest, ret, say, show, takes, z};

pub unsafe fn pipes() {
    let (r, w) = pipe();
    ret("ends", r * 10 + w);
    put_fd(w, "abcdef");
    say("part", get_fd(r, 2));
    let mut n = 0;
    ret("FIONREAD", ioctl(r, FIONREAD, &mut n));
    ret("waiting", n);
    say("rest", get_fd(r, 100));
    ret("read of the write end", read(w, [0u8; 1].as_mut_ptr().cast(), 1));
    ret("write to the read end", put_fd(r, "x"));
    fcntl(r, F_SETFL, O_NONBLOCK);
    fcntl(w, F_SETFL, O_NONBLOCK);
    say("empty", get_fd(r, 1));
    ret("zero bytes", read(r, [0u8; 1].as_mut_ptr().cast(), 0));
    let page = [b'x'; 4096];
    let mut total = 0;
    loop {
        let n = write(w, page.as_ptr().cast(), 4096);
        if n < 0 {
            break;
        }
        total += n;
    }
    show("capacity", total);
    ret("full", put_fd(w, "x"));
    get_fd(r, 4096);
    ret("atomic", write(w, page.as_ptr().cast(), 4096));
    get_fd(r, 100);
    ret("no room for a page", write(w, page.as_ptr().cast(), 4096));
    let big = vec![b'y'; 100_000];
    get_fd(r, 8192);
    show("big one goes in part", write(w, big.as_ptr().cast(), big.len()) > 0);
    close(w);
    let left = rest(r);
    show("rest after close", left.len() > 60_000);
    say("end", get_fd(r, 1));
    let (r, w) = pipe();
    close(r);
    handle(SIGPIPE, SIG_IGN, 0);
    ret("no reader", put_fd(w, "x"));
    let mut ends = [0; 2];
    ret("pipe2", pipe2(ends.as_mut_ptr(), O_CLOEXEC | O_NONBLOCK));
    ret("its flags", fcntl(ends[0], F_GETFL));
    ret("bad flags", pipe2(ends.as_mut_ptr(), O_APPEND));
    ret("packets", pipe2(ends.as_mut_ptr(), O_DIRECT));
    put_fd(ends[1], "one");
    put_fd(ends[1], "two");
    say("one packet", get_fd(ends[0], 100));
}

pub unsafe fn pipe_blocking() {
    let (r, w) = pipe();
    let pid = child(|| {
        nap(50);
        put_fd(w, "late");
        0
    });
    say("waits for data", get_fd(r, 10));
    end_of(pid);
    let pid = child(|| {
        close(r);
        let big = vec![b'z'; 300_000];
        write(w, big.as_ptr().cast(), big.len()) as i32 / 10_000
    });
    close(w);
    nap(50);
    show("all of a big write", rest(r).len());
    say("writer", end_of(pid));
    let (r, w) = pipe();
    let pid = child(|| {
        nap(30);
        0
    });
    close(w);
    say("end only after the last writer", takes(20, || show("read", get_fd(r, 1))));
    end_of(pid);
}

fn revents(p: &[pollfd]) -> Vec<i16> {
    p.iter().map(|p| p.revents).collect()
}

pub unsafe fn polls() {
    let (r, w) = pipe();
    let at = |fd: i32, events: i16| pollfd { fd, events, revents: 77 };
    let mut p = [at(r, POLLIN), at(w, POLLOUT), at(-1, POLLIN), at(99, POLLIN)];
    ret("poll", poll(p.as_mut_ptr(), 4, 0));
    show("events", revents(&p));
    put_fd(w, "x");
    ret("poll", poll(p.as_mut_ptr(), 2, -1));
    show("events", revents(&p));
    ret("nothing asked", poll([at(r, 0)].as_mut_ptr(), 1, 0));
    close(w);
    let mut q = [at(r, POLLIN)];
    poll(q.as_mut_ptr(), 1, 0);
    show("data and hangup", revents(&q));
    get_fd(r, 5);
    poll(q.as_mut_ptr(), 1, 0);
    show("hangup", revents(&q));
    let (r, w) = pipe();
    close(r);
    let mut q = [at(w, POLLOUT)];
    poll(q.as_mut_ptr(), 1, 0);
    show("no reader", revents(&q));
    let file = libc::open(c"/etc/passwd".as_ptr(), O_RDONLY);
    let mut q = [at(file, POLLIN | POLLOUT)];
    ret("file", poll(q.as_mut_ptr(), 1, 0));
    show("always", revents(&q));
    let (r, w) = pipe();
    let t = thread::spawn(move || {
        nap(50);
        put_fd(w, "x")
    });
    let mut q = [at(r, POLLIN)];
    ret("wakes up", poll(q.as_mut_ptr(), 1, 5000));
    t.join().ok();
    get_fd(r, 1);
    say("time", takes(50, || drop(ret("poll", poll(q.as_mut_ptr(), 1, 50)))));
    ret("too many", poll(q.as_mut_ptr(), u64::MAX, 0));
    let bad = timespec { tv_sec: 0, tv_nsec: -5 };
    ret("bad time", ppoll(q.as_mut_ptr(), 1, &bad, std::ptr::null()));
}

pub unsafe fn selects() {
    let (r, w) = pipe();
    let mut reads: fd_set = z();
    let mut writes: fd_set = z();
    let go = |n: i32, reads: *mut fd_set, writes: *mut fd_set, millis: i64| {
        let mut tv = timeval { tv_sec: 0, tv_usec: millis * 1000 };
        select(n, reads, writes, std::ptr::null_mut(), &mut tv)
    };
    FD_SET(r, &mut reads);
    FD_SET(w, &mut writes);
    ret("writable", go(w + 1, &mut reads, &mut writes, 0));
    show("sets", (FD_ISSET(r, &reads), FD_ISSET(w, &writes)));
    put_fd(w, "x");
    FD_SET(r, &mut reads);
    ret("both", go(w + 1, &mut reads, &mut writes, 0));
    show("sets", (FD_ISSET(r, &reads), FD_ISSET(w, &writes)));
    get_fd(r, 1);
    FD_SET(r, &mut reads);
    ret("time out", go(r + 1, &mut reads, std::ptr::null_mut(), 20));
    show("cleared", FD_ISSET(r, &reads));
    FD_SET(500, &mut reads);
    ret("closed descriptor", go(501, &mut reads, std::ptr::null_mut(), 0));
    ret("negative", go(-1, std::ptr::null_mut(), std::ptr::null_mut(), 0));
    reads = z();
    FD_SET(r, &mut reads);
    let t = thread::spawn(move || {
        nap(30);
        put_fd(w, "x")
    });
    ret("wakes up", go(r + 1, &mut reads, std::ptr::null_mut(), 900));
    t.join().ok();
    let zero = timespec { tv_sec: 0, tv_nsec: 0 };
    ret(
        "pselect",
        pselect(r + 1, &mut reads, std::ptr::null_mut(), std::ptr::null_mut(), &zero, std::ptr::null()),
    );
    close(w);
}

unsafe fn wait_for(e: i32, millis: i32) -> String {
    let mut events: [epoll_event; 8] = z();
    let n = epoll_wait(e, events.as_mut_ptr(), 8, millis);
    let mut got: Vec<(u64, u32)> = events[..n.max(0) as usize].iter().map(|e| (e.u64, e.events)).collect();
    got.sort_unstable();
    format!("{n} {got:x?}")
}

pub unsafe fn epolls() {
    let e = epoll_create1(EPOLL_CLOEXEC);
    let ctl = |op: i32, fd: i32, events: i32, data: u64| {
        let mut event = epoll_event { events: events as u32, u64: data };
        epoll_ctl(e, op, fd, &mut event)
    };
    let (r, w) = pipe();
    ret("add", ctl(EPOLL_CTL_ADD, r, EPOLLIN, 1));
    ret("again", ctl(EPOLL_CTL_ADD, r, EPOLLIN, 1));
    say("nothing", wait_for(e, 0));
    put_fd(w, "ab");
    say("level", wait_for(e, 1000));
    say("level again", wait_for(e, 1000));
    get_fd(r, 1);
    say("still", wait_for(e, 0));
    get_fd(r, 1);
    say("drained", wait_for(e, 0));
    ret("edge", ctl(EPOLL_CTL_MOD, r, EPOLLIN | EPOLLET, 2));
    put_fd(w, "a");
    say("edge", wait_for(e, 0));
    say("no second", wait_for(e, 0));
    put_fd(w, "b");
    say("new data", wait_for(e, 0));
    ret("one shot", ctl(EPOLL_CTL_MOD, r, EPOLLIN | EPOLLONESHOT, 3));
    say("once", wait_for(e, 0));
    put_fd(w, "c");
    say("not again", wait_for(e, 0));
    ret("rearm", ctl(EPOLL_CTL_MOD, r, EPOLLIN | EPOLLONESHOT, 4));
    say("again", wait_for(e, 0));
    ret("delete", ctl(EPOLL_CTL_DEL, r, 0, 0));
    ret("delete again", ctl(EPOLL_CTL_DEL, r, 0, 0));
    ret("modify missing", ctl(EPOLL_CTL_MOD, r, EPOLLIN, 0));
    let file = libc::open(c"/etc/passwd".as_ptr(), O_RDONLY);
    ret("file", ctl(EPOLL_CTL_ADD, file, EPOLLIN, 0));
    ret("itself", ctl(EPOLL_CTL_ADD, e, EPOLLIN, 0));
    ret("bad descriptor", ctl(EPOLL_CTL_ADD, 99, EPOLLIN, 0));
    ret("bad operation", ctl(9, r, EPOLLIN, 0));
    ret("no room", epoll_wait(e, &mut z(), 0, 0));
    ret("not an epoll", epoll_wait(r, &mut z(), 1, 0));
    ctl(EPOLL_CTL_ADD, w, EPOLLOUT, 5);
    say("writable", wait_for(e, 0));
    close(r);
    say("reader gone", wait_for(e, 0));
    close(w);
    say("closed ones leave", wait_for(e, 0));
    let (r, w) = pipe();
    ctl(EPOLL_CTL_ADD, r, EPOLLIN, 6);
    let t = thread::spawn(move || {
        nap(40);
        put_fd(w, "x");
    });
    say("wakes up", wait_for(e, 5000));
    t.join().ok();
    get_fd(r, 4);
    say("time", takes(40, || say("wait", wait_for(e, 40))));
    let outer = epoll_create1(0);
    let mut event = epoll_event { events: EPOLLIN as u32, u64: 7 };
    ret("nested", epoll_ctl(outer, EPOLL_CTL_ADD, e, &mut event));
    put_fd(w, "y");
    say("through both", wait_for(outer, 1000));
    let mut p = pollfd { fd: outer, events: POLLIN, revents: 0 };
    ret("poll of an epoll", poll(&mut p, 1, 0));
    let twin = dup(r);
    close(r);
    say("lives on with its twin", wait_for(e, 0));
    close(twin);
    say("gone", wait_for(e, 0));
}

pub unsafe fn event_fds() {
    let fd = eventfd(3, EFD_NONBLOCK);
    let take = || {
        let mut n = 0u64;
        match read(fd, (&raw mut n).cast(), 8) {
            -1 => crate::kit::errno_name(),
            _ => n.to_string(),
        }
    };
    let add = |n: u64| write(fd, (&raw const n).cast(), 8);
    say("first", take());
    say("empty", take());
    ret("add", add(5));
    ret("add", add(7));
    say("sum", take());
    ret("largest", add(u64::MAX - 1));
    ret("too much", add(1));
    ret("all ones", add(u64::MAX));
    let mut p = pollfd { fd, events: POLLIN | POLLOUT, revents: 0 };
    poll(&mut p, 1, 0);
    show("full", p.revents);
    say("take", take());
    poll(&mut p, 1, 0);
    show("empty", p.revents);
    ret("short", write(fd, (&raw const p).cast(), 4));
    let s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    let mut n = 0u64;
    for _ in 0..3 {
        ret("semaphore", read(s, (&raw mut n).cast(), 8));
        show("value", n);
    }
    ret("bad flags", eventfd(0, 77));
    let b = eventfd(0, 0);
    let t = thread::spawn(move || {
        nap(30);
        let one = 1u64;
        write(b, (&raw const one).cast(), 8)
    });
    ret("waits", read(b, (&raw mut n).cast(), 8));
    t.join().ok();
}

pub unsafe fn socket_pairs() {
    let mut s = [0; 2];
    ret("stream", socketpair(AF_UNIX, SOCK_STREAM, 0, s.as_mut_ptr()));
    put_fd(s[0], "hello ");
    put_fd(s[0], "there");
    say("joined", get_fd(s[1], 100));
    put_fd(s[1], "back");
    let mut b = [0u8; 16];
    ret("peek", recv(s[0], b.as_mut_ptr().cast(), 16, MSG_PEEK));
    say("both ways", get_fd(s[0], 100));
    ret("nothing", recv(s[0], b.as_mut_ptr().cast(), 16, MSG_DONTWAIT));
    ret("shutdown", shutdown(s[0], SHUT_WR));
    say("end", get_fd(s[1], 10));
    put_fd(s[1], "still");
    say("other way", get_fd(s[0], 10));
    close(s[1]);
    say("closed", get_fd(s[0], 10));
    handle(SIGPIPE, SIG_IGN, 0);
    ret("write", put_fd(s[0], "x"));
    ret("datagrams", socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s.as_mut_ptr()));
    put_fd(s[0], "one");
    put_fd(s[0], "");
    put_fd(s[0], "three");
    say("first", get_fd(s[1], 100));
    say("empty", get_fd(s[1], 100));
    say("cut", get_fd(s[1], 2));
    ret("cut rest is gone", recv(s[1], b.as_mut_ptr().cast(), 16, MSG_DONTWAIT));
    ret("packets", socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, s.as_mut_ptr()));
    put_fd(s[0], "one");
    put_fd(s[0], "two");
    say("one at a time", get_fd(s[1], 100));
    close(s[0]);
    say("last", get_fd(s[1], 100));
    say("end", get_fd(s[1], 100));
    let (mut kind, mut len) = (0, 4);
    ret("type", getsockopt(s[1], SOL_SOCKET, SO_TYPE, (&raw mut kind).cast(), &mut len));
    ret("is", kind);
    ret("bad family", socketpair(AF_INET, SOCK_STREAM, 0, s.as_mut_ptr()));
    ret("unknown family", socket(99, SOCK_STREAM, 0));
    ret("bad type", socketpair(AF_UNIX, 99, 0, s.as_mut_ptr()));
}

pub unsafe fn pass_descriptors() {
    let mut s = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, s.as_mut_ptr());
    let (r, w) = pipe();
    let mut control = [0u64; 8];
    let mut byte = *b"!";
    let mut iov = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut message: msghdr = z();
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CMSG_SPACE(8) as usize;
    let header = CMSG_FIRSTHDR(&message);
    (*header).cmsg_level = SOL_SOCKET;
    (*header).cmsg_type = SCM_RIGHTS;
    (*header).cmsg_len = CMSG_LEN(8) as usize;
    std::ptr::copy_nonoverlapping([w, r].as_ptr().cast::<u8>(), CMSG_DATA(header), 8);
    ret("send", sendmsg(s[0], &message, 0));
    close(w);
    message.msg_controllen = 64;
    ret("receive", recvmsg(s[1], &mut message, MSG_CMSG_CLOEXEC));
    let header = CMSG_FIRSTHDR(&message);
    let got: [i32; 2] = std::ptr::read_unaligned(CMSG_DATA(header).cast());
    show("descriptors", got);
    ret("flag", fcntl(got[0], F_GETFD));
    put_fd(got[0], "through a passed pipe");
    say("read", get_fd(r, 100));
    message.msg_controllen = CMSG_SPACE(8) as usize;
    let header = CMSG_FIRSTHDR(&message);
    (*header).cmsg_len = CMSG_LEN(8) as usize;
    std::ptr::copy_nonoverlapping([99, 98].as_ptr().cast::<u8>(), CMSG_DATA(header), 8);
    ret("bad descriptors", sendmsg(s[0], &message, 0));
    std::ptr::copy_nonoverlapping([r, r].as_ptr().cast::<u8>(), CMSG_DATA(header), 8);
    ret("send again", sendmsg(s[0], &message, 0));
    say("plain read drops them", get_fd(s[1], 4));
    let pid = child(|| {
        close(s[0]);
        message.msg_controllen = 64;
        let n = recvmsg(s[1], &mut message, 0);
        let header = CMSG_FIRSTHDR(&message);
        let got: i32 = std::ptr::read_unaligned(CMSG_DATA(header).cast());
        put_fd(got, "from the child");
        n as i32
    });
    let (r2, w2) = pipe();
    message.msg_controllen = CMSG_SPACE(4) as usize;
    let header = CMSG_FIRSTHDR(&message);
    (*header).cmsg_level = SOL_SOCKET;
    (*header).cmsg_type = SCM_RIGHTS;
    (*header).cmsg_len = CMSG_LEN(4) as usize;
    std::ptr::write_unaligned(CMSG_DATA(header).cast(), w2);
    ret("to a child", sendmsg(s[0], &message, 0));
    close(w2);
    say("child", end_of(pid));
    say("read", get_fd(r2, 100));
    ok("socket", socket(AF_UNIX, SOCK_STREAM, 0));
}
