//! The symbolic constants of policies and filter files: families, flags, requests, error numbers, capabilities.

mod names;

use std::collections::HashMap;
use std::sync::LazyLock;

/// Constants that go together.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What they are for, with the calls that take them.
    pub about: &'static str,
    constants: &'static [(&'static str, i64)],
}

impl Family {
    /// Name and value of each.
    pub fn constants(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.constants.iter().map(|(name, value)| (*name, value_of(name, *value)))
    }
}

/// All constants by family.
pub fn families() -> impl Iterator<Item = &'static Family> {
    names::FAMILIES.iter().chain(BY_HAND)
}

/// What the `libc` crate does not carry, or not as the kernel has it (include/uapi).
const BY_HAND: &[Family] = &[
    // linux/net.h; what is or-ed to it are flags.
    Family { about: "socket types, without flags (socket)", constants: &[("SOCK_TYPE_MASK", 0xf)] },
    // asm-generic/fcntl.h; the C library's is 0, since it always opens so.
    Family { about: "open flags of other C libraries", constants: &[("O_LARGEFILE", 0o100_000)] },
    Family {
        about: "waiting for clones (wait4, waitid)",
        constants: &[("__WNOTHREAD", 0x2000_0000), ("__WALL", 0x4000_0000), ("__WCLONE", 0x8000_0000)],
    },
    // linux/sched.h: beyond 32 bits
    Family {
        about: "flags of clone3 alone",
        constants: &[("CLONE_CLEAR_SIGHAND", 0x1_0000_0000), ("CLONE_INTO_CGROUP", 0x2_0000_0000)],
    },
    // linux/personality.h
    Family {
        about: "personalities (personality)",
        constants: &[("PER_LINUX", 0), ("PER_LINUX32", 8), ("PER_MASK", 0xff)],
    },
    // asm-generic/mman-common.h
    Family {
        about: "rights of protection keys (pkey_alloc)",
        constants: &[("PKEY_DISABLE_ACCESS", 1), ("PKEY_DISABLE_WRITE", 2)],
    },
    // linux/pidfd.h: the size of what is asked for is part of the number, and grows with the kernel.
    Family { about: "ioctl: pidfd, as of Linux 6.16", constants: &[("PIDFD_GET_INFO", 0xc050_ff0b)] },
    // linux/userfaultfd.h
    Family { about: "userfaultfd", constants: &[("UFFD_USER_MODE_ONLY", 1)] },
    // asm/prctl.h
    Family {
        about: "architecture control (arch_prctl)",
        constants: &[
            ("ARCH_SET_GS", 0x1001),
            ("ARCH_SET_FS", 0x1002),
            ("ARCH_GET_FS", 0x1003),
            ("ARCH_GET_GS", 0x1004),
            ("ARCH_GET_CPUID", 0x1011),
            ("ARCH_SET_CPUID", 0x1012),
            ("ARCH_GET_XCOMP_SUPP", 0x1021),
            ("ARCH_GET_XCOMP_PERM", 0x1022),
            ("ARCH_REQ_XCOMP_PERM", 0x1023),
            ("ARCH_SHSTK_ENABLE", 0x5001),
            ("ARCH_SHSTK_DISABLE", 0x5002),
        ],
    },
];

/// Those of which the kernel takes a negative number as such; all others are bits.
fn is_signed(name: &str) -> bool {
    name == "AT_FDCWD" || ["KEY_SPEC_", "RUSAGE_"].iter().any(|prefix| name.starts_with(prefix))
}

fn value_of(name: &str, value: i64) -> u64 {
    if value < 0 && !is_signed(name) {
        // The top bit of an `int` in the header.
        value as u64 & 0xffff_ffff
    } else {
        value as u64
    }
}

static BY_NAME: LazyLock<HashMap<&'static str, u64>> =
    LazyLock::new(|| families().flat_map(Family::constants).collect());

/// The names of all constants.
pub fn names() -> impl Iterator<Item = &'static str> {
    BY_NAME.keys().copied()
}

/// The value of a constant by name, or of a number: decimal, `0x`, `0o`, `0b`, with `_` between digits, and negative.
#[must_use]
pub fn value(text: &str) -> Option<u64> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return number(text);
    }
    match text.strip_prefix('-') {
        Some(positive) => {
            let negative = 0_i64.checked_sub_unsigned(number(positive)?)?;
            Some(negative as u64)
        }
        None => BY_NAME.get(text).copied(),
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (text.get(2..)?, 16),
        Some("0o") => (text.get(2..)?, 8),
        Some("0b") => (text.get(2..)?, 2),
        _ => (text.as_str(), 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// The largest error number that a call can return (include/linux/err.h).
pub const LARGEST_ERRNO: u64 = 4095;

/// The error number with this name.
#[must_use]
pub fn errno(name: &str) -> Option<i32> {
    names::ERRNOS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The usual name of an error number.
#[must_use]
pub fn errno_name(number: i32) -> Option<&'static str> {
    names::ERRNOS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// The names of all error numbers.
pub fn errnos() -> impl Iterator<Item = &'static str> {
    names::ERRNOS.iter().map(|(name, _)| *name)
}

/// All capabilities, by number (linux/capability.h).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::{errno, errno_name, errnos, families, value, Family};

    #[test]
    fn a_name_has_one_value() {
        let mut seen = std::collections::HashMap::new();
        for (name, of) in families().flat_map(Family::constants) {
            assert_eq!(seen.insert(name, of), None, "{name} twice");
            assert_eq!(value(name), Some(of));
        }
        assert!(seen.len() > 1000);
    }

    #[test]
    fn values_are_the_kernels() {
        for (name, of) in [
            ("AF_NETLINK", 16),
            ("SOCK_RAW", 3),
            ("SOCK_TYPE_MASK", 0xf),
            ("CLONE_NEWUSER", 0x1000_0000),
            ("CLONE_IO", 0x8000_0000),
            ("TIOCSTI", 0x5412),
            ("O_LARGEFILE", 0o100_000),
            ("AT_FDCWD", -100_i64 as u64),
            ("LINUX_REBOOT_MAGIC1", 0xfee1_dead),
            ("SECCOMP_IOCTL_NOTIF_RECV", 0xc050_2100),
            ("SECCOMP_IOCTL_NOTIF_SET_FLAGS", 0x4008_2104),
            ("PIDFD_GET_INFO", 0xc050_ff0b),
            ("SIGKILL", 9),
            ("PTRACE_ATTACH", 16),
            ("KEY_SPEC_SESSION_KEYRING", -3_i64 as u64),
        ] {
            assert_eq!(value(name), Some(of), "{name}");
        }
    }

    #[test]
    fn numbers() {
        for (text, of) in
            [("0", 0), ("12", 12), ("0x1F", 31), ("0o755", 0o755), ("0b101", 5), ("1_000", 1000)]
        {
            assert_eq!(value(text), Some(of), "{text}");
        }
        assert_eq!(value("-1"), Some(u64::MAX));
        assert_eq!(value("-9223372036854775808"), Some(1 << 63));
        assert_eq!(value("18446744073709551615"), Some(u64::MAX));
        for bad in
            ["", "-", "0x", "0x+1", "1k", "18446744073709551616", "-9223372036854775809", "--1", "AF_", "0_x"]
        {
            assert_eq!(value(bad), None, "{bad}");
        }
    }

    #[test]
    fn error_numbers_go_there_and_back() {
        for name in errnos() {
            let number = errno(name).expect("known");
            assert_eq!(errno(errno_name(number).expect("known")), Some(number));
        }
        assert_eq!(errno_name(libc::EAGAIN), Some("EAGAIN"));
        assert_eq!(errno("EPREM"), None);
    }
}
