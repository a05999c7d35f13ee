//! The symbolic constants that a filter file may compare arguments with.

macro_rules! constants {
    ($($name:ident),* $(,)?) => {
        /// The value of a symbolic constant, from the C library's headers.
        fn from_libc(name: &str) -> Option<u64> {
            $(if name == stringify!($name) { return Some(u64::from(libc::$name as u32)); })*
            None
        }
    };
}

constants! {
    AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR,
    CLONE_THREAD, CLONE_VM, CLONE_SIGHAND,
    F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_OFD_GETLK,
    F_OFD_SETLK, F_GET_SEALS, F_GETPIPE_SZ, F_SETPIPE_SZ,
    FIONREAD, FIONBIO, FIOCLEX,
    MADV_DONTNEED, MADV_FREE,
    MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED, MAP_PRIVATE,
    MFD_CLOEXEC,
    O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_TRUNC, O_CLOEXEC, O_ACCMODE, O_RDONLY, O_RDWR, O_WRONLY,
    PROT_EXEC,
    PR_GET_NAME, PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_TIMERSLACK, PR_SET_VMA, PR_SET_DUMPABLE,
    RLIMIT_NOFILE,
    SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGABRT,
    TCGETS, TCSETS, TCSETSW, TCSETSF, TCGETS2, TCSETS2, TCSETSW2, TCSETSF2, TCSBRK, TCXONC, TCFLSH, TCSBRKP,
    TIOCGWINSZ, TIOCSWINSZ, TIOCOUTQ, TIOCGPTN, TIOCGSID, TIOCGPGRP,
}

/// The value of a constant by name, or of a number in decimal or `0x` hexadecimal.
pub(crate) fn value(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok();
    }
    from_libc(text).or_else(|| by_hand(text))
}

/// What the `libc` crate does not carry (include/uapi/linux/seccomp.h, ioctl encoding in asm-generic/ioctl.h).
fn by_hand(name: &str) -> Option<u64> {
    Some(match name {
        "SECCOMP_IOCTL_NOTIF_RECV" => 0xc050_2100,
        "SECCOMP_IOCTL_NOTIF_SEND" => 0xc018_2101,
        "SECCOMP_IOCTL_NOTIF_ID_VALID" => 0x4008_2102,
        "SECCOMP_IOCTL_NOTIF_ADDFD" => 0x4018_2103,
        "SECCOMP_IOCTL_NOTIF_SET_FLAGS" => 0x4008_2104,
        "PIDFD_GET_INFO" => 0xc050_ff0b,
        _ => return None,
    })
}

/// The error number with this name, for `name: errno NAME`.
pub(crate) fn errno(name: &str) -> Option<u32> {
    Some(match name {
        "ENOSYS" => libc::ENOSYS as u32,
        "EPERM" => libc::EPERM as u32,
        "EACCES" => libc::EACCES as u32,
        "EINVAL" => libc::EINVAL as u32,
        _ => return None,
    })
}
