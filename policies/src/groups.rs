//! Named groups of calls (`@mount`), as a policy's `groups` and rules use them.
//!
//! Names and meaning follow systemd's sets (systemd.exec(5), `SystemCallFilter=`) where there is one, so that what
//! people know carries over. Together they hold every call of x86-64.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::calls;

/// A group: its name with the `@`, what it is for, and its calls, by name or as a group within.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub name: &'static str,
    pub about: &'static str,
    members: &'static str,
}

/// All groups, by name.
#[must_use]
pub fn all() -> &'static [Group] {
    GROUPS
}

/// Whether there is a group of this name (with the `@`).
#[must_use]
pub fn exists(name: &str) -> bool {
    NUMBERS.contains_key(name)
}

/// The numbers of a group's calls, ascending. Empty where there is no such group.
#[must_use]
pub fn members(name: &str) -> &'static [i64] {
    NUMBERS.get(name).map_or(&[], Vec::as_slice)
}

/// Whether a group holds a call.
#[must_use]
pub fn contains(name: &str, call: i64) -> bool {
    members(name).binary_search(&call).is_ok()
}

static NUMBERS: LazyLock<BTreeMap<&'static str, Vec<i64>>> = LazyLock::new(|| {
    let expand = |group: &Group| {
        let mut numbers = Vec::new();
        collect(group, &mut numbers, 0);
        numbers.sort_unstable();
        numbers.dedup();
        (group.name, numbers)
    };
    GROUPS.iter().map(expand).collect()
});

/// Groups nest two deep at most; a cycle would be a mistake in the table below, which a test finds.
const DEEPEST: usize = 4;

fn collect(group: &Group, numbers: &mut Vec<i64>, depth: usize) {
    for member in group.members.split_whitespace() {
        if !member.starts_with('@') {
            numbers.extend(calls::number(member));
        } else if let Some(inner) = GROUPS.iter().find(|inner| inner.name == member) {
            if depth < DEEPEST {
                collect(inner, numbers, depth + 1);
            }
        }
    }
}

const GROUPS: &[Group] = &[
    Group {
        name: "@aio",
        about: "asynchronous input and output (io_submit, io_uring)",
        members: "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit \
            io_uring_enter io_uring_register io_uring_setup",
    },
    Group {
        name: "@basic-io",
        about: "reading, writing, seeking and closing what is open",
        members: "close close_range dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv \
            write writev",
    },
    Group {
        name: "@chown",
        about: "changing who owns a file",
        members: "chown fchown fchownat lchown",
    },
    Group {
        name: "@clock",
        about: "changing the machine's clock",
        members: "adjtimex clock_adjtime clock_settime settimeofday",
    },
    Group {
        name: "@cpu-emulation",
        about: "features of old processors",
        members: "modify_ldt",
    },
    Group {
        name: "@debug",
        about: "looking into other processes: ptrace, performance counters",
        members: "lookup_dcookie perf_event_open pidfd_getfd process_vm_readv process_vm_writev ptrace \
            uprobe uretprobe kcmp",
    },
    Group {
        name: "@default",
        about: "what every program needs: its own memory, identity, time, end",
        members: "arch_prctl brk clock_getres clock_getres clock_gettime clock_nanosleep execve exit exit_group futex \
            futex_requeue futex_wait futex_waitv futex_wake get_robust_list get_thread_area getegid geteuid getgid \
            getgroups getpgid getpgrp getpid getppid getrandom getresgid getresuid getrlimit getsid gettid \
            gettimeofday getuid madvise map_shadow_stack membarrier mmap mprotect mremap mseal munmap nanosleep \
            pause prlimit64 restart_syscall rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list \
            set_thread_area set_tid_address sigaltstack time uname getcpu sysinfo",
    },
    Group {
        name: "@file-system",
        about: "opening, creating, listing, renaming and removing files",
        members: "access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 \
            fcntl fgetxattr file_getattr file_setattr flistxattr fremovexattr fsetxattr fstat fstatfs ftruncate \
            futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
            inotify_rm_watch lgetxattr link linkat listmount listxattr listxattrat llistxattr lremovexattr lsetxattr \
            lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 readlink readlinkat \
            removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat statfs statmount statx \
            symlink symlinkat truncate umask unlink unlinkat utime utimensat utimes flock cachestat fadvise64 \
            readahead copy_file_range",
    },
    Group {
        name: "@io-event",
        about: "waiting for events: poll, select, epoll, eventfd",
        members: "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
            epoll_wait_old eventfd eventfd2 poll ppoll pselect6 select",
    },
    Group {
        name: "@ipc",
        about: "pipes, shared memory, message queues and semaphores",
        members: "memfd_create memfd_secret mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink \
            msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv process_vm_writev semctl semget \
            semop semtimedop shmat shmctl shmdt shmget",
    },
    Group {
        name: "@keyring",
        about: "the kernel's key store",
        members: "add_key keyctl request_key",
    },
    Group {
        name: "@memlock",
        about: "keeping memory from being swapped out",
        members: "mlock mlock2 mlockall munlock munlockall",
    },
    Group {
        name: "@module",
        about: "kernel modules",
        members: "create_module delete_module finit_module get_kernel_syms init_module query_module",
    },
    Group {
        name: "@mount",
        about: "mounting, and changing the root directory",
        members: "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr \
            pivot_root umount2",
    },
    Group {
        name: "@network-io",
        about: "sockets of every kind, UNIX sockets among them",
        members: "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg \
            sendmmsg sendmsg sendto setsockopt shutdown socket socketpair",
    },
    Group {
        name: "@obsolete",
        about: "what no program of today uses, or what Linux no longer has",
        members: "_sysctl afs_syscall create_module get_kernel_syms getpmsg nfsservctl putpmsg query_module security \
            sysfs tuxcall uselib ustat vserver epoll_ctl_old epoll_wait_old lookup_dcookie",
    },
    Group {
        name: "@pkey",
        about: "memory protection keys",
        members: "pkey_alloc pkey_free pkey_mprotect",
    },
    Group {
        name: "@privileged",
        about: "what needs rights over the machine",
        members: "@chown @clock @module @raw-io @reboot @swap _sysctl acct bpf capset chroot fanotify_init \
            fanotify_mark nfsservctl open_by_handle_at pivot_root quotactl quotactl_fd setdomainname setfsuid \
            setfsgid setgroups sethostname setresuid setresgid setreuid setregid setuid setgid vhangup",
    },
    Group {
        name: "@process",
        about: "starting, waiting for and steering processes and threads",
        members: "capget clone clone3 execve execveat fork getrusage kill pidfd_open pidfd_send_signal prctl \
            process_mrelease rt_sigqueueinfo rt_tgsigqueueinfo setns setpgid setsid tgkill times tkill unshare vfork \
            wait4 waitid",
    },
    Group {
        name: "@raw-io",
        about: "the machine's ports and devices without a driver",
        members: "ioperm iopl",
    },
    Group {
        name: "@reboot",
        about: "restarting the machine, or starting another kernel",
        members: "kexec_file_load kexec_load reboot",
    },
    Group {
        name: "@resources",
        about: "priorities, processors, limits, where memory lies",
        members: "getpriority get_mempolicy ioprio_get ioprio_set mbind migrate_pages move_pages prlimit64 \
            sched_get_priority_max sched_get_priority_min sched_getattr sched_getparam sched_getscheduler \
            sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler set_mempolicy \
            set_mempolicy_home_node setpriority setrlimit",
    },
    Group {
        name: "@sandbox",
        about: "confining oneself: seccomp, Landlock",
        members: "landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr \
            lsm_list_modules lsm_set_self_attr seccomp",
    },
    Group {
        name: "@setuid",
        about: "becoming another user",
        members: "setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid",
    },
    Group {
        name: "@signal",
        about: "handling signals",
        members: "rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sigaltstack \
            signalfd signalfd4 pause",
    },
    Group {
        name: "@swap",
        about: "where the machine swaps to",
        members: "swapoff swapon",
    },
    Group {
        name: "@sync",
        about: "writing to the disk now",
        members: "fdatasync fsync msync sync sync_file_range syncfs",
    },
    Group {
        name: "@timer",
        about: "timers and alarms",
        members: "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_settime \
            timerfd_create timerfd_gettime timerfd_settime times",
    },
    Group {
        name: "@system-service",
        about: "all that an ordinary program needs, and nothing that reaches for the machine",
        members: "@aio @basic-io @chown @default @file-system @io-event @ipc @keyring @memlock @network-io @process \
            @resources @setuid @signal @sync @timer arch_prctl capget capset copy_file_range fadvise64 flock \
            getcpu getpriority ioctl ioprio_get ioprio_set kcmp madvise mincore mprotect mremap personality \
            readahead remap_file_pages sched_get_priority_max sched_get_priority_min sched_getattr sched_getparam \
            sched_getscheduler sched_rr_get_interval sched_yield sendfile setdomainname setfsgid sethostname splice \
            sysinfo tee umask uname userfaultfd vmsplice name_to_handle_at",
    },
    Group {
        name: "@move-data",
        about: "moving data between descriptors without copying it",
        members: "copy_file_range sendfile splice tee vmsplice",
    },
    Group {
        name: "@memory",
        about: "mapping memory and saying how it is used",
        members: "brk madvise map_shadow_stack mbind mincore mmap mprotect mremap mseal munmap process_madvise \
            remap_file_pages userfaultfd",
    },
    Group {
        name: "@file-handle",
        about: "files by handle instead of by path",
        members: "name_to_handle_at open_by_handle_at",
    },
    Group {
        name: "@device-control",
        about: "ioctl: whatever the file behind the descriptor offers",
        members: "ioctl",
    },
    Group {
        name: "@kernel-log",
        about: "the kernel's messages, and how it runs programs",
        members: "personality syslog",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{all, contains, exists, members, GROUPS};
    use crate::calls;

    #[test]
    fn every_member_is_known() {
        for group in GROUPS {
            assert!(group.name.starts_with('@') && !group.about.is_empty());
            for member in group.members.split_whitespace() {
                let known =
                    if member.starts_with('@') { exists(member) } else { calls::number(member).is_some() };
                assert!(known, "{}: {member}", group.name);
            }
            assert!(!members(group.name).is_empty(), "{}", group.name);
        }
        let names: BTreeSet<_> = all().iter().map(|group| group.name).collect();
        assert_eq!(names.len(), GROUPS.len(), "a name twice");
    }

    #[test]
    fn every_call_is_in_a_group() {
        let homeless: Vec<_> = calls::all()
            .filter(|(_, number)| !GROUPS.iter().any(|group| contains(group.name, *number)))
            .map(|(name, _)| name)
            .collect();
        assert!(homeless.is_empty(), "in no group: {homeless:?}");
    }

    #[test]
    fn groups_within_groups_are_expanded() {
        let chown = calls::number("chown").expect("a call");
        assert!(contains("@chown", chown) && contains("@privileged", chown));
        assert!(!contains("@mount", chown) && !contains("@nothing", chown));
    }
}
