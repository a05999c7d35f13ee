//! Descriptors that the caller leaked into us must not be there.

pub unsafe fn attack() {
    for fd in 3..4096 {
        if libc::fcntl(fd, libc::F_GETFD) >= 0 {
            println!("ESCAPED: descriptor {fd} is open");
        }
    }
    for fd in [7, 9, 1500] {
        let opened = libc::openat(fd, c"..".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
        if opened >= 0 {
            println!("ESCAPED: {fd} is a directory");
        }
        if libc::chdir(std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default().as_ptr())
            == 0
        {
            println!("ESCAPED: chdir through {fd}");
        }
    }
}
