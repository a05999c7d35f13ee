//! The table of system calls: each is declared once, in the line that gives its number, name, argument shapes and
//! handler. The shapes tell the stub what to copy in, and the trace how to print; the handler's signature gives the types.

use platform::{ArgShape, CallShape, CALLS};

use crate::kernel::{Ctx, SysResult};
use crate::syscalls::args::FromArg;
use crate::syscalls::{
    fs_attr, fs_copy, fs_dir, fs_fcntl, fs_io, fs_mount, fs_open, fs_path, fs_stat, fs_xattr,
};
use crate::syscalls::{futex, identity, prctl, sched, system, terminal, time, timers};
use crate::syscalls::{mqueue, msg, process, sem, shm, signals};

/// One system call.
pub struct Entry {
    pub nr: u16,
    pub name: &'static str,
    pub args: &'static [ArgShape],
    pub flags: u8,
    pub run: fn(&mut Ctx<'_>) -> SysResult,
}

// Short names for the shapes.
const V: ArgShape = ArgShape::Value;
const S: ArgShape = ArgShape::Str;
const fn inb(len_arg: u8) -> ArgShape {
    ArgShape::In { len_arg }
}
const fn outb(len_arg: u8) -> ArgShape {
    ArgShape::Out { len_arg }
}
const fn ins(size: u16) -> ArgShape {
    ArgShape::InStruct { size }
}
const fn outs(size: u16) -> ArgShape {
    ArgShape::OutStruct { size }
}
const fn ina(count_arg: u8, elem: u16) -> ArgShape {
    ArgShape::InArray { count_arg, elem }
}
const fn iniov(count_arg: u8) -> ArgShape {
    ArgShape::InIov { count_arg }
}
const fn outiov(count_arg: u8) -> ArgShape {
    ArgShape::OutIov { count_arg }
}

/// `call!(number, name, [shapes], handler)`: makes the entry; the number of shapes is the number of arguments.
macro_rules! call {
    ($nr:literal, $name:ident, [$($shape:expr),*], $handler:path) => { call!($nr, $name, [$($shape),*], $handler, 0) };
    ($nr:literal, $name:ident, [$($shape:expr),*], $handler:path, $flags:expr) => {
        Entry {
            nr: $nr,
            name: stringify!($name),
            args: &[$($shape),*],
            flags: $flags,
            run: call!(@run $handler, $($shape),*),
        }
    };
    (@run $h:path,) => { |cx| $h(cx) };
    (@run $h:path, $a:expr) => { |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0])) } };
    (@run $h:path, $a:expr, $b:expr) => {
        |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1])) }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr) => {
        |cx| { let a = cx.call.args; $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2])) }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]), FromArg::from_arg(a[3]))
        }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(
                cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]),
                FromArg::from_arg(a[3]), FromArg::from_arg(a[4]),
            )
        }
    };
    (@run $h:path, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        |cx| {
            let a = cx.call.args;
            $h(
                cx, FromArg::from_arg(a[0]), FromArg::from_arg(a[1]), FromArg::from_arg(a[2]),
                FromArg::from_arg(a[3]), FromArg::from_arg(a[4]), FromArg::from_arg(a[5]),
            )
        }
    };
}

/// All calls that are implemented, by family. What is not here returns `ENOSYS` and is counted.
pub static ENTRIES: &[Entry] = &[
    // --- files: descriptors and data (syscalls/fs_io.rs, fs_open.rs, fs_fcntl.rs, fs_copy.rs)
    call!(0, read, [V, outb(2), V], fs_io::read),
    call!(1, write, [V, inb(2), V], fs_io::write),
    call!(2, open, [S, V, V], fs_open::open),
    call!(3, close, [V], fs_open::close),
    call!(8, lseek, [V, V, V], fs_io::lseek),
    call!(16, ioctl, [V, V, V], fs_fcntl::ioctl),
    call!(17, pread64, [V, outb(2), V, V], fs_io::pread64),
    call!(18, pwrite64, [V, inb(2), V, V], fs_io::pwrite64),
    call!(19, readv, [V, outiov(2), V], fs_io::readv),
    call!(20, writev, [V, iniov(2), V], fs_io::writev),
    call!(32, dup, [V], fs_open::dup),
    call!(33, dup2, [V, V], fs_open::dup2),
    call!(40, sendfile, [V, V, ins(8), V], fs_copy::sendfile),
    call!(72, fcntl, [V, V, V], fs_fcntl::fcntl),
    call!(73, flock, [V, V], fs_fcntl::flock),
    call!(74, fsync, [V], fs_io::fsync),
    call!(75, fdatasync, [V], fs_io::fdatasync),
    call!(77, ftruncate, [V, V], fs_io::ftruncate),
    call!(85, creat, [S, V], fs_open::creat),
    call!(162, sync, [], fs_io::sync),
    call!(187, readahead, [V, V, V], fs_io::readahead),
    call!(221, fadvise64, [V, V, V, V], fs_io::fadvise64),
    call!(257, openat, [V, S, V, V], fs_open::openat),
    call!(275, splice, [V, ins(8), V, ins(8), V, V], fs_copy::splice),
    call!(276, tee, [V, V, V, V], fs_copy::tee),
    call!(277, sync_file_range, [V, V, V, V], fs_io::sync_file_range),
    call!(278, vmsplice, [V, iniov(2), V, V], fs_copy::vmsplice),
    call!(285, fallocate, [V, V, V, V], fs_io::fallocate),
    call!(292, dup3, [V, V, V], fs_open::dup3),
    call!(295, preadv, [V, outiov(2), V, V], fs_io::preadv),
    call!(296, pwritev, [V, iniov(2), V, V], fs_io::pwritev),
    call!(306, syncfs, [V], fs_io::syncfs),
    call!(319, memfd_create, [S, V], fs_fcntl::memfd_create),
    call!(326, copy_file_range, [V, ins(8), V, ins(8), V, V], fs_copy::copy_file_range),
    call!(327, preadv2, [V, outiov(2), V, V, V, V], fs_io::preadv2),
    call!(328, pwritev2, [V, iniov(2), V, V, V, V], fs_io::pwritev2),
    call!(436, close_range, [V, V, V], fs_open::close_range),
    call!(437, openat2, [V, S, ins(24), V], fs_open::openat2),
    // --- files: names and attributes (syscalls/fs_path.rs, fs_stat.rs, fs_attr.rs, fs_dir.rs, fs_xattr.rs)
    call!(4, stat, [S, outs(144)], fs_stat::stat),
    call!(5, fstat, [V, outs(144)], fs_stat::fstat),
    call!(6, lstat, [S, outs(144)], fs_stat::lstat),
    call!(21, access, [S, V], fs_stat::access),
    call!(76, truncate, [S, V], fs_attr::truncate),
    call!(78, getdents, [V, outb(2), V], fs_dir::getdents),
    call!(79, getcwd, [outb(1), V], fs_dir::getcwd),
    call!(80, chdir, [S], fs_dir::chdir),
    call!(81, fchdir, [V], fs_dir::fchdir),
    call!(82, rename, [S, S], fs_path::rename),
    call!(83, mkdir, [S, V], fs_path::mkdir),
    call!(84, rmdir, [S], fs_path::rmdir),
    call!(86, link, [S, S], fs_path::link),
    call!(87, unlink, [S], fs_path::unlink),
    call!(88, symlink, [S, S], fs_path::symlink),
    call!(89, readlink, [S, outb(2), V], fs_stat::readlink),
    call!(90, chmod, [S, V], fs_attr::chmod),
    call!(91, fchmod, [V, V], fs_attr::fchmod),
    call!(92, chown, [S, V, V], fs_attr::chown),
    call!(93, fchown, [V, V, V], fs_attr::fchown),
    call!(94, lchown, [S, V, V], fs_attr::lchown),
    call!(95, umask, [V], fs_attr::umask),
    call!(132, utime, [S, ins(16)], fs_attr::utime),
    call!(133, mknod, [S, V, V], fs_path::mknod),
    call!(137, statfs, [S, outs(120)], fs_stat::statfs),
    call!(138, fstatfs, [V, outs(120)], fs_stat::fstatfs),
    call!(136, ustat, [V, outs(32)], fs_mount::ustat),
    call!(139, sysfs, [V, V, V], fs_mount::sysfs),
    call!(155, pivot_root, [S, S], fs_mount::pivot_root),
    call!(161, chroot, [S], fs_dir::chroot),
    call!(165, mount, [V, S, V, V, V], fs_mount::mount),
    call!(166, umount2, [S, V], fs_mount::umount2),
    call!(188, setxattr, [S, S, inb(3), V, V], fs_xattr::setxattr),
    call!(189, lsetxattr, [S, S, inb(3), V, V], fs_xattr::lsetxattr),
    call!(190, fsetxattr, [V, S, inb(3), V, V], fs_xattr::fsetxattr),
    call!(191, getxattr, [S, S, outb(3), V], fs_xattr::getxattr),
    call!(192, lgetxattr, [S, S, outb(3), V], fs_xattr::lgetxattr),
    call!(193, fgetxattr, [V, S, outb(3), V], fs_xattr::fgetxattr),
    call!(194, listxattr, [S, outb(2), V], fs_xattr::listxattr),
    call!(195, llistxattr, [S, outb(2), V], fs_xattr::llistxattr),
    call!(196, flistxattr, [V, outb(2), V], fs_xattr::flistxattr),
    call!(197, removexattr, [S, S], fs_xattr::removexattr),
    call!(198, lremovexattr, [S, S], fs_xattr::lremovexattr),
    call!(199, fremovexattr, [V, S], fs_xattr::fremovexattr),
    call!(217, getdents64, [V, outb(2), V], fs_dir::getdents64),
    call!(235, utimes, [S, ins(32)], fs_attr::utimes),
    call!(258, mkdirat, [V, S, V], fs_path::mkdirat),
    call!(259, mknodat, [V, S, V, V], fs_path::mknodat),
    call!(260, fchownat, [V, S, V, V, V], fs_attr::fchownat),
    call!(261, futimesat, [V, S, ins(32)], fs_attr::futimesat),
    call!(262, newfstatat, [V, S, outs(144), V], fs_stat::newfstatat),
    call!(263, unlinkat, [V, S, V], fs_path::unlinkat),
    call!(264, renameat, [V, S, V, S], fs_path::renameat),
    call!(265, linkat, [V, S, V, S, V], fs_path::linkat),
    call!(266, symlinkat, [S, V, S], fs_path::symlinkat),
    call!(267, readlinkat, [V, S, outb(3), V], fs_stat::readlinkat),
    call!(268, fchmodat, [V, S, V], fs_attr::fchmodat),
    call!(269, faccessat, [V, S, V], fs_stat::faccessat),
    call!(280, utimensat, [V, S, ins(32), V], fs_attr::utimensat),
    call!(303, name_to_handle_at, [], fs_path::no_handles),
    call!(316, renameat2, [V, S, V, S, V], fs_path::renameat2),
    call!(332, statx, [V, S, V, V, outs(256)], fs_stat::statx),
    call!(439, faccessat2, [V, S, V, V], fs_stat::faccessat2),
    call!(452, fchmodat2, [V, S, V, V], fs_attr::fchmodat2),
    // --- memory (syscalls/memory.rs)
    call!(9, mmap, [V, V, V, V, V, V], crate::syscalls::memory::mmap),
    call!(10, mprotect, [V, V, V], crate::syscalls::memory::mprotect),
    call!(11, munmap, [V, V], crate::syscalls::memory::munmap),
    call!(12, brk, [V], crate::syscalls::memory::brk),
    call!(25, mremap, [V, V, V, V, V], crate::syscalls::memory::mremap),
    call!(26, msync, [V, V, V], crate::syscalls::memory_advice::msync),
    call!(27, mincore, [V, V, V], crate::syscalls::memory_advice::mincore),
    call!(28, madvise, [V, V, V], crate::syscalls::memory_advice::madvise),
    call!(149, mlock, [V, V], crate::syscalls::memory_advice::mlock),
    call!(150, munlock, [V, V], crate::syscalls::memory_advice::munlock),
    call!(151, mlockall, [V], crate::syscalls::memory_advice::mlockall),
    call!(152, munlockall, [], crate::syscalls::memory_advice::munlockall),
    call!(237, mbind, [V, V, V, V, V, V], crate::syscalls::memory_advice::mbind),
    call!(238, set_mempolicy, [V, V, V], crate::syscalls::memory_advice::set_mempolicy),
    call!(239, get_mempolicy, [V, V, V, V, V], crate::syscalls::memory_advice::get_mempolicy),
    call!(
        310,
        process_vm_readv,
        [V, ina(2, 16), V, ina(4, 16), V, V],
        crate::syscalls::memory_peer::process_vm_readv
    ),
    call!(
        311,
        process_vm_writev,
        [V, ina(2, 16), V, ina(4, 16), V, V],
        crate::syscalls::memory_peer::process_vm_writev
    ),
    call!(324, membarrier, [V, V], crate::syscalls::memory_advice::membarrier, CallShape::LOCAL),
    call!(325, mlock2, [V, V, V], crate::syscalls::memory_advice::mlock2),
    call!(216, remap_file_pages, [V, V, V, V, V], crate::syscalls::memory::remap_file_pages),
    call!(440, process_madvise, [V, ina(2, 16), V, V, V], crate::syscalls::memory_advice::process_madvise),
    call!(462, mseal, [V, V, V], crate::syscalls::memory::mseal),
    call!(329, pkey_mprotect, [V, V, V, V], crate::syscalls::memory::pkey_mprotect),
    call!(330, pkey_alloc, [V, V], crate::syscalls::memory::pkey_alloc),
    call!(331, pkey_free, [V], crate::syscalls::memory::pkey_free),
    // --- processes and threads (syscalls/process.rs)
    call!(39, getpid, [], process::getpid),
    call!(56, clone, [V, V, V, V, V], process::clone),
    call!(57, fork, [], process::fork),
    call!(58, vfork, [], process::vfork),
    call!(59, execve, [S, V, V], process::execve),
    call!(60, exit, [V], process::exit),
    call!(61, wait4, [V, outs(4), V, outs(144)], process::wait4),
    call!(101, ptrace, [V, V, V, V], crate::syscalls::ptrace::ptrace),
    call!(109, setpgid, [V, V], process::setpgid),
    call!(110, getppid, [], process::getppid),
    call!(111, getpgrp, [], process::getpgrp),
    call!(112, setsid, [], process::setsid),
    call!(121, getpgid, [V], process::getpgid),
    call!(124, getsid, [V], process::getsid),
    call!(186, gettid, [], process::gettid),
    call!(218, set_tid_address, [V], process::set_tid_address),
    call!(231, exit_group, [V], process::exit_group),
    call!(247, waitid, [V, V, outs(128), V, outs(144)], process::waitid),
    call!(322, execveat, [V, S, V, V, V], process::execveat),
    call!(435, clone3, [inb(1), V], process::clone3),
    // --- identity and limits (syscalls/identity.rs)
    call!(97, getrlimit, [V, V], identity::getrlimit),
    call!(98, getrusage, [V, V], identity::getrusage),
    call!(100, times, [V], identity::times),
    call!(102, getuid, [], identity::getuid),
    call!(104, getgid, [], identity::getgid),
    call!(105, setuid, [V], identity::setuid),
    call!(106, setgid, [V], identity::setgid),
    call!(107, geteuid, [], identity::geteuid),
    call!(108, getegid, [], identity::getegid),
    call!(113, setreuid, [V, V], identity::setreuid),
    call!(114, setregid, [V, V], identity::setregid),
    call!(115, getgroups, [V, V], identity::getgroups),
    call!(116, setgroups, [V, ina(0, 4)], identity::setgroups),
    call!(117, setresuid, [V, V, V], identity::setresuid),
    call!(118, getresuid, [V, V, V], identity::getresuid),
    call!(119, setresgid, [V, V, V], identity::setresgid),
    call!(120, getresgid, [V, V, V], identity::getresgid),
    call!(122, setfsuid, [V], identity::setfsuid),
    call!(123, setfsgid, [V], identity::setfsgid),
    call!(125, capget, [ins(8), V], identity::capget),
    call!(126, capset, [ins(8), ins(24)], identity::capset),
    call!(135, personality, [V], identity::personality),
    call!(140, getpriority, [V, V], identity::getpriority),
    call!(141, setpriority, [V, V, V], identity::setpriority),
    call!(160, setrlimit, [V, ins(16)], identity::setrlimit),
    call!(302, prlimit64, [V, V, ins(16), V], identity::prlimit64),
    call!(157, prctl, [V, V, V, V, V], prctl::prctl),
    call!(158, arch_prctl, [V, V], prctl::arch_prctl, CallShape::LOCAL),
    call!(317, seccomp, [V, V, V], crate::syscalls::seccomp::seccomp),
    // --- System V IPC (syscalls/shm.rs, sem.rs, msg.rs)
    call!(29, shmget, [V, V, V], shm::shmget),
    call!(30, shmat, [V, V, V], shm::shmat),
    call!(31, shmctl, [V, V, V], shm::shmctl),
    call!(64, semget, [V, V, V], sem::semget),
    call!(65, semop, [V, ina(2, 6), V], sem::semop),
    call!(66, semctl, [V, V, V, V], sem::semctl),
    call!(67, shmdt, [V], shm::shmdt),
    call!(68, msgget, [V, V], msg::msgget),
    call!(69, msgsnd, [V, V, V, V], msg::msgsnd),
    call!(70, msgrcv, [V, V, V, V, V], msg::msgrcv),
    call!(71, msgctl, [V, V, V], msg::msgctl),
    call!(220, semtimedop, [V, ina(2, 6), V, ins(16)], sem::semtimedop),
    // --- POSIX message queues (syscalls/mqueue.rs)
    call!(240, mq_open, [S, V, V, ins(64)], mqueue::mq_open),
    call!(241, mq_unlink, [S], mqueue::mq_unlink),
    call!(242, mq_timedsend, [V, inb(2), V, V, ins(16)], mqueue::mq_timedsend),
    call!(243, mq_timedreceive, [V, outb(2), V, V, ins(16)], mqueue::mq_timedreceive),
    call!(244, mq_notify, [V, ins(64)], mqueue::mq_notify),
    call!(245, mq_getsetattr, [V, ins(64), outs(64)], mqueue::mq_getsetattr),
    // --- signals (syscalls/signals.rs)
    call!(13, rt_sigaction, [V, ins(32), outs(32), V], signals::rt_sigaction),
    call!(14, rt_sigprocmask, [V, ins(8), outs(8), V], signals::rt_sigprocmask),
    call!(15, rt_sigreturn, [], signals::rt_sigreturn, CallShape::SIGFRAME),
    call!(34, pause, [], signals::pause),
    call!(62, kill, [V, V], signals::kill),
    call!(127, rt_sigpending, [outs(8), V], signals::rt_sigpending),
    call!(128, rt_sigtimedwait, [ins(8), outs(128), ins(16), V], signals::rt_sigtimedwait),
    call!(129, rt_sigqueueinfo, [V, V, ins(128)], signals::rt_sigqueueinfo),
    call!(130, rt_sigsuspend, [ins(8), V], signals::rt_sigsuspend),
    call!(131, sigaltstack, [ins(24), outs(24)], signals::sigaltstack),
    call!(200, tkill, [V, V], signals::tkill),
    call!(219, restart_syscall, [], signals::restart_syscall),
    call!(234, tgkill, [V, V, V], signals::tgkill),
    call!(297, rt_tgsigqueueinfo, [V, V, V, ins(128)], signals::rt_tgsigqueueinfo),
    // --- time (syscalls/time.rs)
    call!(35, nanosleep, [ins(16), V], time::nanosleep, CallShape::LOCAL),
    call!(36, getitimer, [V, V], timers::getitimer),
    call!(37, alarm, [V], timers::alarm),
    call!(38, setitimer, [V, ins(32), V], timers::setitimer),
    call!(96, gettimeofday, [V, V], time::gettimeofday),
    call!(159, adjtimex, [V], time::adjtimex),
    call!(164, settimeofday, [V, V], time::settimeofday),
    call!(201, time, [V], time::time),
    call!(222, timer_create, [V, ins(64), V], timers::timer_create),
    call!(223, timer_settime, [V, V, ins(32), V], timers::timer_settime),
    call!(224, timer_gettime, [V, V], timers::timer_gettime),
    call!(225, timer_getoverrun, [V], timers::timer_getoverrun),
    call!(226, timer_delete, [V], timers::timer_delete),
    call!(227, clock_settime, [V, ins(16)], time::clock_settime),
    call!(228, clock_gettime, [V, V], time::clock_gettime, CallShape::LOCAL),
    call!(229, clock_getres, [V, V], time::clock_getres),
    call!(230, clock_nanosleep, [V, V, ins(16), V], time::clock_nanosleep, CallShape::LOCAL),
    call!(305, clock_adjtime, [V, V], time::clock_adjtime),
    // --- futex and scheduling (syscalls/sched.rs)
    call!(24, sched_yield, [], sched::sched_yield, CallShape::LOCAL),
    call!(142, sched_setparam, [V, V], sched::sched_setparam),
    call!(143, sched_getparam, [V, V], sched::sched_getparam),
    call!(144, sched_setscheduler, [V, V, V], sched::sched_setscheduler),
    call!(145, sched_getscheduler, [V], sched::sched_getscheduler),
    call!(146, sched_get_priority_max, [V], sched::sched_get_priority_max),
    call!(147, sched_get_priority_min, [V], sched::sched_get_priority_min),
    call!(148, sched_rr_get_interval, [V, V], sched::sched_rr_get_interval),
    call!(202, futex, [V, V, V, V, V, V], futex::futex, CallShape::LOCAL),
    call!(449, futex_waitv, [V, V, V, V, V], futex::futex_waitv, CallShape::LOCAL),
    call!(203, sched_setaffinity, [V, V, V], sched::sched_setaffinity),
    call!(204, sched_getaffinity, [V, V, V], sched::sched_getaffinity),
    call!(251, ioprio_set, [V, V, V], sched::ioprio_set),
    call!(252, ioprio_get, [V, V], sched::ioprio_get),
    call!(272, unshare, [V], process::unshare),
    call!(273, set_robust_list, [V, V], sched::set_robust_list),
    call!(274, get_robust_list, [V, V, V], sched::get_robust_list),
    call!(314, sched_setattr, [V, V, V], sched::sched_setattr),
    call!(315, sched_getattr, [V, V, V, V], sched::sched_getattr),
    // --- readiness: poll, select, epoll, eventfd (syscalls/readiness.rs)
    call!(7, poll, [ina(1, 8), V, V], crate::syscalls::readiness::poll),
    call!(271, ppoll, [ina(1, 8), V, ins(16), ins(8), V], crate::syscalls::readiness::ppoll),
    call!(23, select, [V, V, V, V, ins(16)], crate::syscalls::readiness::select),
    call!(270, pselect6, [V, V, V, V, ins(16), ins(16)], crate::syscalls::readiness::pselect6),
    call!(213, epoll_create, [V], crate::syscalls::epoll::epoll_create),
    call!(291, epoll_create1, [V], crate::syscalls::epoll::epoll_create1),
    call!(233, epoll_ctl, [V, V, V, ins(12)], crate::syscalls::epoll::epoll_ctl),
    call!(232, epoll_wait, [V, V, V, V], crate::syscalls::epoll::epoll_wait),
    call!(281, epoll_pwait, [V, V, V, V, ins(8), V], crate::syscalls::epoll::epoll_pwait),
    call!(441, epoll_pwait2, [V, V, V, ins(16), ins(8), V], crate::syscalls::epoll::epoll_pwait2),
    call!(284, eventfd, [V], crate::syscalls::event_fds::eventfd),
    call!(290, eventfd2, [V, V], crate::syscalls::event_fds::eventfd2),
    call!(283, timerfd_create, [V, V], crate::syscalls::event_fds::timerfd_create),
    call!(286, timerfd_settime, [V, V, ins(32), outs(32)], crate::syscalls::event_fds::timerfd_settime),
    call!(287, timerfd_gettime, [V, outs(32)], crate::syscalls::event_fds::timerfd_gettime),
    call!(282, signalfd, [V, ins(8), V], crate::syscalls::event_fds::signalfd),
    call!(289, signalfd4, [V, ins(8), V, V], crate::syscalls::event_fds::signalfd4),
    call!(253, inotify_init, [], crate::syscalls::event_fds::inotify_init),
    call!(254, inotify_add_watch, [V, S, V], crate::syscalls::event_fds::inotify_add_watch),
    call!(255, inotify_rm_watch, [V, V], crate::syscalls::event_fds::inotify_rm_watch),
    call!(294, inotify_init1, [V], crate::syscalls::event_fds::inotify_init1),
    call!(434, pidfd_open, [V, V], crate::syscalls::event_fds::pidfd_open),
    call!(438, pidfd_getfd, [V, V, V], crate::syscalls::event_fds::pidfd_getfd),
    // --- pipes (syscalls/pipe.rs)
    call!(22, pipe, [outs(8)], crate::syscalls::pipe::pipe),
    call!(293, pipe2, [outs(8), V], crate::syscalls::pipe::pipe2),
    call!(424, pidfd_send_signal, [V, V, V, V], crate::syscalls::event_fds::pidfd_send_signal),
    // --- sockets (syscalls/socket.rs)
    call!(41, socket, [V, V, V], crate::syscalls::socket::socket),
    call!(53, socketpair, [V, V, V, outs(8)], crate::syscalls::socket::socketpair),
    call!(49, bind, [V, inb(2), V], crate::syscalls::socket::bind),
    call!(50, listen, [V, V], crate::syscalls::socket::listen),
    call!(42, connect, [V, inb(2), V], crate::syscalls::socket::connect),
    call!(43, accept, [V, V, ins(4)], crate::syscalls::socket::accept),
    call!(288, accept4, [V, V, ins(4), V], crate::syscalls::socket::accept4),
    call!(51, getsockname, [V, V, ins(4)], crate::syscalls::socket::getsockname),
    call!(52, getpeername, [V, V, ins(4)], crate::syscalls::socket::getpeername),
    call!(48, shutdown, [V, V], crate::syscalls::socket::shutdown),
    call!(44, sendto, [V, inb(2), V, V, inb(5), V], crate::syscalls::socket_msg::sendto),
    call!(45, recvfrom, [V, outb(2), V, V, V, ins(4)], crate::syscalls::socket_msg::recvfrom),
    call!(46, sendmsg, [V, ins(56), V], crate::syscalls::socket_msg::sendmsg),
    call!(47, recvmsg, [V, ins(56), V], crate::syscalls::socket_msg::recvmsg),
    call!(307, sendmmsg, [V, V, V, V], crate::syscalls::socket_msg::sendmmsg),
    call!(299, recvmmsg, [V, V, V, V, ins(16)], crate::syscalls::socket_msg::recvmmsg),
    call!(54, setsockopt, [V, V, V, inb(4), V], crate::syscalls::sockopt::setsockopt),
    call!(55, getsockopt, [V, V, V, V, ins(4)], crate::syscalls::sockopt::getsockopt),
    // --- the system (syscalls/system.rs)
    call!(63, uname, [V], system::uname),
    call!(99, sysinfo, [V], system::sysinfo),
    call!(103, syslog, [V, V, V], system::syslog),
    call!(170, sethostname, [inb(1), V], system::sethostname),
    call!(171, setdomainname, [inb(1), V], system::setdomainname),
    call!(309, getcpu, [V, V, V], system::getcpu),
    call!(318, getrandom, [V, V, V], system::getrandom),
    call!(153, vhangup, [], terminal::vhangup),
    call!(163, acct, [], system::not_permitted),
    call!(167, swapon, [], system::not_permitted),
    call!(168, swapoff, [], system::not_permitted),
    call!(169, reboot, [], system::not_permitted),
    call!(172, iopl, [], system::not_permitted),
    call!(173, ioperm, [], system::not_permitted),
    call!(175, init_module, [], system::not_permitted),
    call!(176, delete_module, [], system::not_permitted),
    call!(246, kexec_load, [], system::not_permitted),
    call!(313, finit_module, [], system::not_permitted),
    call!(320, kexec_file_load, [], system::not_permitted),
];

/// The entry of a call number.
pub fn lookup(nr: u64) -> Option<&'static Entry> {
    static BY_NR: std::sync::LazyLock<Vec<Option<&'static Entry>>> = std::sync::LazyLock::new(|| {
        let mut v = vec![None; CALLS];
        for e in ENTRIES {
            if let Some(slot) = v.get_mut(e.nr as usize) {
                *slot = Some(e);
            }
        }
        v
    });
    BY_NR.get(usize::try_from(nr).ok()?).copied().flatten()
}

/// The marshalling table for the stub. A call that is `watched` is not made without the kernel's knowing.
pub fn shapes(watched: impl Fn(u16) -> bool) -> Box<[CallShape; CALLS]> {
    let mut table = Box::new([CallShape::default(); CALLS]);
    for e in ENTRIES {
        if let Some(slot) = table.get_mut(e.nr as usize) {
            slot.args[..e.args.len()].copy_from_slice(e.args);
            slot.flags = if watched(e.nr) { e.flags & !CallShape::LOCAL } else { e.flags };
        }
    }
    table
}
