//! splice(2), tee(2), vmsplice(2), sendfile(2), copy_file_range(2): how much goes, what waits, which errors.

use libc::*;

use crate::kit::{child, end_of, get, get_fd, handle, name, nap, open, pipe, put, put_fd, ret, say, show};

const NULL: *mut i64 = std::ptr::null_mut();

unsafe fn filled(bytes: usize) -> (i32, i32) {
    let (r, w) = pipe();
    let data: Vec<u8> = (0..bytes).map(|i| b'a' + (i % 23) as u8).collect();
    write(w, data.as_ptr().cast(), bytes);
    (r, w)
}

unsafe fn left(fd: i32) -> i32 {
    let mut n = -1;
    ioctl(fd, FIONREAD, &mut n);
    n
}

pub unsafe fn errors() {
    put("f", b"0123456789");
    let f = open("f", O_RDWR);
    let ro = open("f", O_RDONLY);
    let wo = open("f", O_WRONLY);
    let app = open("f", O_RDWR | O_APPEND);
    let dir = open(".", O_RDONLY | O_DIRECTORY);
    let path = open("f", O_PATH);
    let (r, w) = filled(10);
    let event = eventfd(0, EFD_NONBLOCK);
    let s = |step: &str, a: i32, ao: *mut i64, b: i32, bo: *mut i64, n: usize, flags: u32| {
        ret(step, splice(a, ao, b, bo, n, flags))
    };
    let mut at = 0i64;
    let mut bad = -1i64;
    s("nothing", 99, NULL, 98, NULL, 0, 99);
    s("bad flags", r, NULL, f, NULL, 1, 64);
    s("no descriptor", 99, NULL, f, NULL, 1, 0);
    s("no second", r, NULL, 99, NULL, 1, 0);
    s("no pipe", ro, NULL, f, NULL, 1, 0);
    s("path", path, NULL, w, NULL, 1, 0);
    s("offset of a pipe", r, &mut at, f, NULL, 1, 0);
    s("offset of the other pipe", ro, NULL, w, &mut at, 1, 0);
    s("negative offset", ro, &mut bad, w, NULL, 1, 0);
    s("bad pointer", ro, std::ptr::dangling_mut(), w, NULL, 1, 0);
    s("write end as input", w, NULL, f, NULL, 1, 0);
    s("read end as output", ro, NULL, r, NULL, 1, 0);
    s("file not to be read", wo, NULL, w, NULL, 1, 0);
    s("file not to be written", r, NULL, ro, NULL, 1, 0);
    s("appending", r, NULL, app, NULL, 1, 0);
    s("directory", dir, NULL, w, NULL, 1, 0);
    s("to an eventfd", r, NULL, event, NULL, 8, 0);
    s("from an eventfd", event, NULL, w, NULL, 8, SPLICE_F_NONBLOCK);
    s("same pipe", r, NULL, w, NULL, 1, 0);
    ret("tee nothing", tee(r, w, 0, 0));
    ret("tee bad flags", tee(r, w, 0, 64));
    ret("tee same", tee(r, w, 1, 0));
    ret("tee of a file", tee(f, w, 1, 0));
    ret("tee to a file", tee(r, f, 1, 0));
    ret("tee of none", tee(99, w, 1, 0));
    ret("tee of a write end", tee(w, w, 1, 0));
    let mut b = [1u8; 8];
    let v = iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 8 };
    ret("vmsplice to a file", vmsplice(f, &v, 1, 0));
    ret("vmsplice bad flags", vmsplice(w, &v, 1, 64));
    ret("vmsplice of none", vmsplice(w, &v, 0, 0));
    ret("vmsplice nowhere", vmsplice(99, &v, 1, 0));
    ret("vmsplice too many", vmsplice(w, &v, 1025, 0));
    let wild = iovec { iov_base: 8 as *mut c_void, iov_len: 8 };
    ret("vmsplice of bad memory", vmsplice(w, &wild, 1, 0));
    ret("vmsplice", vmsplice(w, &v, 1, 0));
    ret("left", left(r));
    ret("sendfile of a directory", sendfile(w, dir, NULL, 1));
    ret("sendfile of a write-only", sendfile(w, wo, NULL, 1));
    ret("sendfile to a read-only", sendfile(ro, f, NULL, 1));
    ret("sendfile of a pipe", sendfile(f, r, NULL, 1));
    ret("sendfile with a pipe's offset", sendfile(f, r, &mut at, 1));
    ret("sendfile to an appending", sendfile(app, f, NULL, 1));
    ret("sendfile from below", sendfile(w, f, &mut bad, 1));
    ret("sendfile to an eventfd", sendfile(event, f, NULL, 8));
    let c = |step: &str, a: i32, ao: *mut i64, b: i32, bo: *mut i64, n: usize, flags: u32| {
        ret(step, copy_file_range(a, ao, b, bo, n, flags))
    };
    c("copy of a directory", dir, NULL, f, NULL, 1, 0);
    c("copy of a pipe", r, NULL, f, NULL, 1, 0);
    c("copy to a pipe", f, NULL, w, NULL, 1, 0);
    c("copy to an appending", ro, NULL, app, NULL, 1, 0);
    c("copy of a write-only", wo, NULL, f, NULL, 1, 0);
    c("copy to a read-only", f, NULL, ro, NULL, 1, 0);
    c("copy with flags", ro, NULL, f, NULL, 1, 1);
    let mut five = 5i64;
    c("copy over itself", f, &mut at, f, &mut five, 6, 0);
    c("copy within", f, &mut at, f, &mut five, 5, 0);
    let mut far = i64::MAX - 3;
    c("copy too far", f, &mut at, f, &mut far, 10, 0);
    c("copy of nothing", f, NULL, f, NULL, 0, 0);
    show("offsets", (at, five));
    say("content", get("f"));
}

pub unsafe fn amounts() {
    handle(SIGPIPE, SIG_IGN, 0);
    let data: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
    put("big", &data);
    let f = open("big", O_RDONLY);
    let (r, w) = pipe();
    ret("file to an empty pipe", splice(f, NULL, w, NULL, 200_000, 0));
    ret("left", left(r));
    ret("position", lseek(f, 0, SEEK_CUR));
    ret("full", splice(f, NULL, w, NULL, 1, SPLICE_F_NONBLOCK));
    let mut b = vec![0u8; 200_000];
    ret("read", read(r, b.as_mut_ptr().cast(), 5000));
    show("right", b[..5000] == data[..5000]);
    ret("room for one page", splice(f, NULL, w, NULL, 200_000, SPLICE_F_NONBLOCK));
    let mut at = 100i64;
    ret("drain", read(r, b.as_mut_ptr().cast(), 200_000));
    ret("from an odd place", splice(f, &mut at, w, NULL, 200_000, 0));
    ret("offset", at);
    ret("position stays", lseek(f, 0, SEEK_CUR));
    let to = open("to", O_CREAT | O_RDWR);
    ret("to a file", splice(r, NULL, to, NULL, 200_000, 0));
    ret("size", lseek(to, 0, SEEK_END));
    ret("empty", splice(r, NULL, to, NULL, 1, SPLICE_F_NONBLOCK));
    at = 3;
    put_fd(w, "abc");
    ret("at an offset", splice(r, NULL, to, &mut at, 2, 0));
    ret("offset", at);
    let (r2, w2) = pipe();
    ret("between pipes", splice(r, NULL, w2, NULL, 10, 0));
    say("through", get_fd(r2, 10));
    let (r, w) = filled(10_000);
    ret("all of three pages", splice(r, NULL, w2, NULL, 100_000, 0));
    ret("left", left(r2));
    ret("tee", tee(r2, w, 6000, 0));
    ret("both", left(r2) + left(r) * 100_000);
    ret("tee again", tee(r2, w, 100_000, 0));
    ret("first", read(r, b.as_mut_ptr().cast(), 200_000));
    show("text", (b[0], b[5999], b[6000], b[15_999]));
    for _ in 0..16 {
        put_fd(w, "x");
        tee(r, w2, 1, SPLICE_F_NONBLOCK);
    }
    ret("slots", left(r2));
    ret("no slot", tee(r, w2, 1, SPLICE_F_NONBLOCK));
    // All of it: a slot is free only when its last byte is read.
    ret("drained", read(r2, b.as_mut_ptr().cast(), 200_000));
    close(w);
    ret("rest", splice(r, NULL, to, NULL, 100, 0));
    ret("end", splice(r, NULL, to, NULL, 100, 0));
    ret("end for tee", tee(r, w2, 100, 0));
    close(r2);
    let (r, w) = filled(10);
    ret("nobody reads", splice(r, NULL, w2, NULL, 10, 0));
    ret("nobody reads a tee", tee(r, w2, 10, 0));
    ret("nobody reads a file", splice(f, NULL, w2, NULL, 10, 0));
    let v = [
        iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 10 },
        iovec { iov_base: b.as_mut_ptr().add(20).cast(), iov_len: 10 },
    ];
    ret("nobody reads memory", vmsplice(w2, v.as_ptr(), 2, 0));
    ret("memory", vmsplice(w, v.as_ptr(), 2, 0));
    ret("left", left(r));
    ret("into memory", vmsplice(r, v.as_ptr(), 2, 0));
    ret("left", left(r));
    let big = iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 200_000 };
    show("more than there is room for", vmsplice(w, &big, 1, 0) < 65_537);
    ret("full", vmsplice(w, &big, 1, SPLICE_F_NONBLOCK));
}

pub unsafe fn waits() {
    let (r, w) = pipe();
    let (r2, w2) = pipe();
    let writer = |text: &'static str| {
        child(move || {
            nap(40);
            put_fd(w, text);
            0
        })
    };
    let pid = writer("first");
    ret("splice waits", splice(r, NULL, w2, NULL, 100, 0));
    end_of(pid);
    let pid = writer("second");
    ret("tee waits", tee(r, w2, 100, 0));
    end_of(pid);
    say("through", get_fd(r2, 100));
    say("still there", get_fd(r, 100));
    let to = open("to", O_CREAT | O_RDWR);
    let pid = writer("third");
    ret("to a file", splice(r, NULL, to, NULL, 100, 0));
    end_of(pid);
    // A full pipe waits for its reader.
    put("big", &[7u8; 100_000]);
    let f = open("big", O_RDONLY);
    let pid = child(|| {
        nap(40);
        let mut b = vec![0u8; 100_000];
        let mut sum = 0;
        close(w);
        loop {
            let n = read(r, b.as_mut_ptr().cast(), b.len());
            if n <= 0 {
                break;
            }
            sum += n;
        }
        ret("read in all", sum);
        0
    });
    ret("sendfile goes on", sendfile(w, f, NULL, 100_000));
    close(w);
    end_of(pid);
    // Signals end a wait with nothing, and sendfile with what went.
    extern "C" fn note(_: i32) {}
    handle(SIGALRM, note as *const () as usize, 0);
    let (_r, w) = pipe();
    let tick = itimerval {
        it_interval: timeval { tv_sec: 0, tv_usec: 0 },
        it_value: timeval { tv_sec: 0, tv_usec: 50_000 },
    };
    setitimer(ITIMER_REAL, &tick, std::ptr::null_mut());
    lseek(f, 0, SEEK_SET);
    ret("sendfile interrupted", sendfile(w, f, NULL, 100_000));
    ret("position", lseek(f, 0, SEEK_CUR));
    setitimer(ITIMER_REAL, &tick, std::ptr::null_mut());
    ret("splice interrupted", splice(f, NULL, w, NULL, 1, 0));
    setitimer(ITIMER_REAL, &tick, std::ptr::null_mut());
    let (empty, _w) = pipe();
    ret("tee interrupted", tee(empty, w, 1, 0));
    let mut pair = [0; 2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair.as_mut_ptr());
    let (r, w) = pipe();
    put_fd(pair[0], "by a socket");
    ret("from a socket", splice(pair[1], NULL, w, NULL, 100, 0));
    ret("to a socket", splice(r, NULL, pair[1], NULL, 100, 0));
    say("came", get_fd(pair[0], 100));
    ret("nothing", splice(pair[1], NULL, w, NULL, 100, SPLICE_F_NONBLOCK));
    close(pair[0]);
    ret("end", splice(pair[1], NULL, w, NULL, 100, 0));
    say("last", name(0));
}
