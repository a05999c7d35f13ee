//! Bad pointers: `EFAULT`, never a crash, and what was asked for is not half done.

use libc::*;

use crate::kit::{child, end_of, get_fd, open, pipe, put, put_fd, ret, say};

const BAD: [usize; 4] = [8, 0x1000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000];

pub unsafe fn paths() {
    for (i, &bad) in BAD.iter().enumerate() {
        let p = bad as *const c_char;
        ret(&format!("open {i}"), libc::open(p, O_RDONLY));
        ret(&format!("stat {i}"), syscall(SYS_newfstatat, AT_FDCWD, p, p, 0));
        ret(&format!("mkdir {i}"), mkdir(p, 0));
        ret(&format!("rename {i}"), rename(c"x".as_ptr(), p));
        ret(&format!("readlink {i}"), readlink(p, std::ptr::null_mut(), 5));
        ret(&format!("chdir {i}"), chdir(p));
        ret(&format!("execve {i}"), execve(p, std::ptr::null(), std::ptr::null()));
        ret(&format!("unlink {i}"), unlink(p));
        ret(&format!("symlink {i}"), symlink(p, c"s".as_ptr()));
    }
    // A string that runs into an unmapped page.
    let page = mmap(std::ptr::null_mut(), 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        as *mut u8;
    munmap(page.add(4096).cast(), 4096);
    std::ptr::copy_nonoverlapping(b"abc".as_ptr(), page.add(4093), 3);
    ret("unterminated", libc::open(page.add(4093).cast(), O_RDONLY));
    std::ptr::copy_nonoverlapping(c"/".as_ptr().cast(), page.add(4094), 2);
    ret("ends just before", access(page.add(4094).cast(), F_OK));
}

pub unsafe fn buffers() {
    put("f", b"0123456789");
    let fd = open("f", O_RDWR);
    let (r, w) = pipe();
    for (i, &bad) in BAD.iter().enumerate() {
        let p = bad as *mut c_void;
        ret(&format!("read {i}"), read(fd, p, 4));
        ret(&format!("write {i}"), write(fd, p, 4));
        ret(&format!("pread {i}"), pread(fd, p, 4, 0));
        ret(&format!("write to a pipe {i}"), write(w, p, 4));
        ret(&format!("pipe {i}"), libc::pipe(p.cast()));
        ret(&format!("fstat {i}"), syscall(SYS_fstat, fd, p));
        ret(&format!("getcwd {i}"), syscall(SYS_getcwd, p, 4096));
        ret(&format!("uname {i}"), uname(p.cast()));
        ret(&format!("nanosleep {i}"), syscall(SYS_nanosleep, p, 0));
        ret(&format!("clock {i}"), syscall(SYS_clock_gettime, CLOCK_REALTIME, p));
        ret(&format!("sigaction {i}"), syscall(SYS_rt_sigaction, SIGUSR1, p, 0, 8));
        ret(&format!("sigprocmask {i}"), syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, 0, 8));
        ret(&format!("poll {i}"), poll(p.cast(), 1, 0));
        ret(&format!("select {i}"), syscall(SYS_select, 8, p, 0, 0, 0));
        ret(&format!("epoll_ctl {i}"), epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, r, p.cast()));
        ret(&format!("getdents {i}"), syscall(SYS_getdents64, open(".", O_RDONLY), p, 4096));
        ret(&format!("rlimit {i}"), syscall(SYS_getrlimit, RLIMIT_CORE, p));
        ret(&format!("sigaltstack {i}"), syscall(SYS_sigaltstack, p, 0));
        ret(&format!("writev {i}"), writev(fd, p.cast(), 1));
        ret(&format!("gettimeofday {i}"), syscall(SYS_gettimeofday, p, 0));
        ret(&format!("wait4 without child {i}"), syscall(SYS_wait4, -1, p, 0, 0));
    }
    put_fd(w, "kept");
    ret("read of a pipe", read(r, 8 as *mut c_void, 4));
    fcntl(r, F_SETFL, O_NONBLOCK);
    say("after", get_fd(r, 10));
    let pid = child(|| 3);
    ret("wait4 with a bad status", i32::from(syscall(SYS_wait4, pid, 8, 0, 0) != -1));
    say("reaped?", end_of(pid));
    let iov = [
        iovec { iov_base: c"good".as_ptr() as *mut c_void, iov_len: 4 },
        iovec { iov_base: 8 as *mut c_void, iov_len: 4 },
    ];
    lseek(fd, 0, SEEK_SET);
    ret("writev with a bad second part", writev(fd, iov.as_ptr(), 2));
}

pub unsafe fn edges() {
    let page = mmap(std::ptr::null_mut(), 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        as *mut u8;
    munmap(page.add(4096).cast(), 4096);
    put("f", &[b'x'; 10_000]);
    let fd = open("f", O_RDWR);
    ret("read up to the edge", read(fd, page.cast(), 4096));
    ret("read across the edge", read(fd, page.cast(), 8192));
    ret("write up to the edge", write(fd, page.add(4000).cast(), 96));
    let zero = open("/dev/zero", O_RDONLY);
    ret("zero across the edge", read(zero, page.add(4000).cast(), 200));
    let null = open("/dev/null", O_WRONLY);
    ret("null does not look", write(null, 8 as *const c_void, 10));
    let ro = mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lseek(fd, 0, SEEK_SET);
    ret("read into read-only memory", read(fd, ro, 10));
    ret("uname into read-only memory", uname(ro.cast()));
    ret("write from it", write(fd, ro, 10));
    let none = mmap(std::ptr::null_mut(), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ret("write from inaccessible memory", write(fd, none, 10));
    ret("count beyond the address space", read(fd, page.cast(), usize::MAX));
    // Where the sandbox keeps its own things, there is nothing for the guest.
    for address in [0x7000_0000_0000usize, 0x7000_0000_1000, 0x7000_0010_0000] {
        ret("read into the reserved range", read(zero, address as *mut c_void, 16));
        ret("write from the reserved range", write(fd, address as *const c_void, 16));
    }
}
