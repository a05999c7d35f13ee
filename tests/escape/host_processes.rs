//! The host's processes by number: signals, reading and writing their memory, tracing.

pub unsafe fn attack(host_pid: &str) {
    let host: i32 = host_pid.parse().unwrap_or(0);
    // The test's own sacrificial process, the processes near it, and the first ones.
    let near = (host - 40).max(2)..host + 40;
    let secret = [0x5au8; 16];
    for pid in (2..64).chain(near).filter(|&p| p != libc::getpid()) {
        if libc::kill(pid, 0) == 0 {
            println!("ESCAPED: process {pid} is there");
        }
        let mut local = [0u8; 16];
        let mine = libc::iovec { iov_base: local.as_mut_ptr().cast(), iov_len: 16 };
        let theirs = libc::iovec { iov_base: secret.as_ptr() as *mut _, iov_len: 16 };
        if libc::process_vm_readv(pid, &mine, 1, &theirs, 1, 0) > 0 {
            println!("ESCAPED: memory of {pid} read");
        }
        if libc::syscall(libc::SYS_pidfd_open, pid, 0) >= 0 {
            println!("ESCAPED: pidfd of {pid}");
        }
    }
    // Only this one, which the test started for it, is ever traced or sent a real signal.
    if libc::ptrace(libc::PTRACE_ATTACH, host, 0, 0) == 0 {
        println!("ESCAPED: {host} traced");
    }
    libc::kill(host, libc::SIGKILL);
    libc::syscall(libc::SYS_tgkill, host, host, libc::SIGKILL);
}
