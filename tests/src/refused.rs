//! What the sandbox refuses where Linux would not, each with its reason: the only differences that the sweep over all
//! calls allows, and the word "refused" of `COMPATIBILITY.md`.
//!
//! A call here answers every caller and all arguments with the one errno. A form is a pattern over the lines that the
//! sweep prints (`*` is any text).

/// A call that is refused whatever its arguments.
pub struct Refused {
    pub name: &'static str,
    pub errno: &'static str,
    pub why: &'static str,
}

/// A form of a call that is answered otherwise than by the host.
pub struct Form {
    /// The lines that it stands for: `name(arguments)`, with `*` for any text.
    pub lines: &'static str,
    pub errno: &'static str,
    pub why: &'static str,
}

macro_rules! refused {
    ($($errno:ident $why:literal { $($name:ident)* })*) => {
        /// All refused calls, by reason.
        pub const CALLS: &[Refused] = &[
            $($(Refused { name: stringify!($name), errno: stringify!($errno), why: $why }),*),*
        ];
    };
}

refused! {
    EPERM "the machine belongs to who started the sandbox" {
        acct swapon swapoff reboot iopl ioperm init_module delete_module finit_module kexec_load kexec_file_load
    }
    EOPNOTSUPP "no file system here gives handles, which would go around the path walk" { name_to_handle_at }
    ENOSYS "namespaces are not made inside" { setns }
    ENOSYS "file handles, file system contexts and mount trees: mounts are the policy's" {
        open_by_handle_at open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr open_tree_attr statmount
        listmount
    }
    ENOSYS "as a kernel without CONFIG_QUOTA" { quotactl quotactl_fd }
    ENOSYS "kernel interfaces with a history of escapes; programs fall back" {
        bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl
    }
    ENOSYS "as a kernel without CONFIG_AIO; libraries fall back to threads" {
        io_setup io_destroy io_getevents io_submit io_cancel io_pgetevents
    }
    ENOSYS "as a kernel without fanotify, which watches whole mounts" { fanotify_init fanotify_mark }
    ENOSYS "as a kernel without CONFIG_CHECKPOINT_RESTORE, CONFIG_MODIFY_LDT_SYSCALL, CONFIG_RSEQ" {
        kcmp modify_ldt rseq
    }
    ENOSYS "as a kernel without NUMA migration" { migrate_pages move_pages set_mempolicy_home_node }
    ENOSYS "obsolete: as a kernel without CONFIG_USELIB" { uselib }
    ENOSYS "policies and filters confine inside; as a kernel without Landlock and CONFIG_SECURITY" {
        landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr lsm_set_self_attr
        lsm_list_modules
    }
    ENOSYS "the end of another process, which is quick enough here" { process_mrelease }
    ENOSYS "as a kernel without CONFIG_SECRETMEM and shadow stacks" { memfd_secret map_shadow_stack }
    ENOSYS "newer than the kernels that programs have to run on: they fall back" {
        cachestat futex_wake futex_wait futex_requeue setxattrat getxattrat listxattrat removexattrat file_getattr
        file_setattr
    }
}

macro_rules! forms {
    ($($errno:ident $why:literal { $($lines:literal)* })*) => {
        /// All forms that may differ.
        pub const FORMS: &[Form] = &[
            $($(Form { lines: $lines, errno: stringify!($errno), why: $why }),*),*
        ];
    };
}

forms! {
    EINVAL "as a kernel without restartable sequences" {
        "membarrier(128, *)" "membarrier(256, *)" "membarrier(512, *)"
    }
    EINVAL "no user notification" { "seccomp(1, bit3, *)" }
    EINVAL "as a kernel before 6.14: AT_EXECVE_CHECK" { "execveat(cwd, path, in, in, bit16)" }
    EOPNOTSUPP "as a kernel without CONFIG_AF_UNIX_OOB" { "sendto(109, *, all, *)" "sendto(109, *, bit0, *)" }
    ok "a socket's own attribute, system.sockprotoname, is not listed" { "flistxattr(*, out, 16)" }
    EINVAL "no leases, no directory notification, no write hints" {
        "fcntl(*, 17, *)" "fcntl(*, 1026, *)" "fcntl(*, 1035, *)" "fcntl(*, 1036, *)"
    }
    EINVAL "no huge pages" { "memfd_create(name, bit2)" }
    ok "descriptors without a file do not share an inode, and so no lock" {
        "flock(event, *)" "flock(timer, *)" "flock(signal, *)"
    }
    ok "reading /dev/null ends at once by every way" { "sendfile(107, null, *)" "sendfile(0x1000000000, *)" }
    EOPNOTSUPP "files in memory, as tmpfs: no ranges are collapsed, inserted or zeroed" { "fallocate(100, *)" }
    ENOSPC "files in memory, as tmpfs: no end but that of the memory" { "fallocate(100, *)" }
    EOPNOTSUPP "as a kernel before 6.18: RWF_NOSIGNAL" { "preadv2(100, *, bit8)" "pwritev2(100, *, bit8)" }
    EOPNOTSUPP "RWF_DONTCACHE is for file systems that have it" { "preadv2(100, *, bit7)" "pwritev2(100, *, bit7)" }
    ok "every file can be written without waiting" { "pwritev2(100, *, bit3)" }
    ok "where a file has to end is its file system's to say" { "lseek(100, most, 0)" }
}

/// Whether `text` is what a pattern with `*` for any text describes.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = Some(part);
    }
    match last {
        Some(part) => text.len() >= first.len() + part.len() && text.ends_with(part),
        None => rest.is_empty(),
    }
}

/// The call, its line up to the result, and the result of a line like `name(arguments): result`.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (key, result) = line.rsplit_once(": ")?;
    let (name, _) = key.split_once('(')?;
    (!name.contains(' ')).then_some((name, key, result))
}

/// Whether a line may say this inside, given the host's.
fn allowed(name: &str, key: &str, native: &str, inside: &str) -> bool {
    match CALLS.iter().find(|refused| refused.name == name) {
        Some(refused) => inside == refused.errno,
        None => inside == native || FORMS.iter().any(|form| form.errno == inside && fits(form.lines, key)),
    }
}

/// The lines of the host's output and of the sandbox's that should be equal and are not, refusals taken into account.
/// A call that the host's kernel does not have at all is not compared.
pub fn differences(native: &str, inside: &str) -> Vec<(String, String)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (native.lines().collect(), inside.lines().collect());
    let mut there = std::collections::HashSet::new();
    for (name, _, result) in a.iter().filter_map(|line| parts(line)) {
        if result != "ENOSYS" {
            there.insert(name);
        }
    }
    let mut found = Vec::new();
    for at in 0..a.len().max(b.len()) {
        let (x, y) = (a.get(at).copied().unwrap_or("(nothing)"), b.get(at).copied().unwrap_or("(nothing)"));
        let same = match (parts(x), parts(y)) {
            (Some((name, key, native)), Some((_, other, inside))) if key == other => {
                let refused = CALLS.iter().any(|refused| refused.name == name);
                allowed(name, key, native, inside) || !(there.contains(name) || refused)
            }
            _ => x == y,
        };
        if !same {
            found.push((x.to_owned(), y.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(fits("f(*)", "f(1, 2)"));
        assert!(fits("f(*, 2)", "f(1, 2)"));
        assert!(fits("f(*, a, *)", "f(1, a, 2)"));
        assert!(fits("f(1)", "f(1)"));
        assert!(!fits("f(*, 2)", "f(1, 3)"));
        assert!(!fits("f(*)", "g(1)"));
        assert!(!fits("f(1)", "f(1))"));
    }

    #[test]
    fn only_what_is_refused_may_differ() {
        assert!(differences("swapon(1): EFAULT\n", "swapon(1): EPERM\n").is_empty());
        assert_eq!(differences("swapon(1): EFAULT\n", "swapon(1): ok\n").len(), 1);
        assert_eq!(differences("read(1): EFAULT\n", "read(1): EBADF\n").len(), 1);
        assert!(differences("read(1): ENOSYS\n", "read(1): EBADF\n").is_empty());
        assert_eq!(differences("swapon(1): ENOSYS\n", "swapon(1): ok\n").len(), 1);
        assert_eq!(differences("read(1): EFAULT\n", "").len(), 1);
    }
}
