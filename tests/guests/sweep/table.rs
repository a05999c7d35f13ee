//! The calls: number, name, what the arguments are, and what must be taken care of.

use super::values::{self, Kind};

use Kind::{At, Count, Fd, Flags, Id, In, InOut, Iov, Len, Num, Offset, Out, Path, Pid, Signal, Str, Time};

/// What must be taken care of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    Plain,
    /// Not with the same wild number in every argument.
    Careful,
    /// May block where it finds nothing wrong: interrupted by a signal.
    Blocks,
    /// As nobody, without any capability.
    Weak,
    /// What it returns is a new descriptor.
    GivesFd,
    /// What it returns is a new segment, semaphore set, message queue.
    GivesShm,
    GivesSem,
    GivesMsg,
    /// It makes a POSIX message queue of this name.
    GivesQueue,
    /// It makes a process, which ends at once.
    Forks,
}

pub struct Call {
    pub nr: i64,
    pub name: &'static str,
    pub args: &'static [Kind],
    pub how: How,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $list:ident { $($nr:literal $name:ident [$($kind:expr),*] $($how:ident)?;)* })*) => {
        $($(#[$doc])* pub static $list: &[Call] = &[
            $(Call { nr: $nr, name: stringify!($name), args: &[$($kind),*], how: how!($($how)?) }),*
        ];)*
        /// All lists, for the check that no number is missing.
        pub static ALL: &[&[Call]] = &[$($list),*];
    };
}
/// Calls that the guest makes in a way of its own.
pub const ENDING: [i64; 4] = [libc::SYS_rt_sigreturn, libc::SYS_vfork, libc::SYS_exit, libc::SYS_exit_group];
/// `uretprobe` and `uprobe`: for a trampoline that the kernel writes; from elsewhere some versions kill.
pub const NOT_TO_BE_MADE: [i64; 2] = [335, 336];

/// Whether a number has a line below.
pub fn is_swept(nr: i64) -> bool {
    ALL.iter().any(|list| list.iter().any(|call| call.nr == nr))
}

macro_rules! how {
    () => {
        How::Plain
    };
    ($how:ident) => {
        How::$how
    };
}

const FD: Kind = Fd(values::FILE);
const F: Kind = Path("f");
const NEW: Kind = Path("new");
const MODE: Kind = Num(&[0o644, -1, 0]);
const LENGTHS: Kind = Num(&[4096, 0, -1, 1, i32::MAX as i64, i64::MAX, i64::MIN, 5000]);
/// Places in memory for calls that change mappings.
const ADDR: Kind = Num(&[
    values::TARGET as i64,
    values::KERNEL as i64,
    values::TARGET as i64 + 1,
    0x7fff_ffff_f000,
    values::TARGET as i64 + 0x10_0000,
    0x7000_0000_0000,
    0x123_4567_89ab_c000,
    -4096,
    -1,
]);
const OWN: Kind = Num(&[0]);

calls! {
    /// Descriptors and what is read and written through them.
    DATA {
        0 read [FD, Out, Len];
        1 write [FD, In(&[]), Len];
        2 open [F, Flags(2), MODE] GivesFd;
        3 close [FD];
        8 lseek [FD, Offset, Num(&[0, -1, 5, 0x7fff_ffff, 1, 2, 3, 4])];
        16 ioctl [FD, Num(&[0x541b, 0, -1, 0x5412, 0x5401, 0x5413, 0x540f, 0x5421, 0x5451, 0x5450, 0x5452, 0x5460,
            0x8004_5430, 0x5422, 0x540e, 0x5411, 0x8903, 0x8905, 0x1_0000_541b]), Out];
        17 pread64 [FD, Out, Len, Offset];
        18 pwrite64 [FD, In(&[]), Len, Offset];
        19 readv [FD, Iov, Count];
        20 writev [FD, Iov, Count];
        22 pipe [Out];
        32 dup [FD] GivesFd;
        33 dup2 [FD, Num(&[160, -1, 0x1000_0000, i32::MIN as i64, 105])];
        40 sendfile [Fd(values::PIPE_W), Fd(values::READ), InOut(&[]), Len];
        // Numbers of commands that take a number, then of those that take memory, then one by one what could reach others.
        72 fcntl [FD, Num(&[1, -1, 99, 0, 2, 3, 9, 11, 13, 17, 1030, 1031, 1032, 1033, 1034, 1035, 1036]),
            Num(&[0, -1, i32::MIN as i64, 0x1000_0000])];
        72 fcntl [FD, Num(&[5, 6, 36, 37, 12, 16, 15, 1035, 1036, 1037, 1038, 1039]), InOut(&[])];
        72 fcntl [FD, Num(&[5, 6, 36, 37]), InOut(&[0xffff_ffff_0000_0063, u64::MAX])];
        72 fcntl [FD, Num(&[5, 6, 36, 37]), InOut(&[9])];
        72 fcntl [FD, Num(&[8]), Num(&[0, i32::MIN as i64, 0x3fff_fff0, -0x3fff_fff0])];
        72 fcntl [FD, Num(&[10, 1026]), Num(&[0, 65, -1, i32::MIN as i64])];
        72 fcntl [FD, Num(&[1024, 1025]), Num(&[99, -1])];
        73 flock [FD, Num(&[6, 0, -1, 3, 5, 8, 12, 32, 33, 64, 0x100])];
        74 fsync [FD];
        75 fdatasync [FD];
        77 ftruncate [FD, Num(&[8192, -1, i64::MIN, 0])];
        78 getdents [Fd(values::DIR), Out, Len];
        85 creat [NEW, MODE] GivesFd;
        162 sync [];
        187 readahead [FD, Offset, Len];
        217 getdents64 [Fd(values::DIR), Out, Len];
        221 fadvise64 [FD, Offset, Num(&[16, -1, 0, i64::MIN, i64::MAX]), Num(&[0, 6, -1, 5, 1, 2, 3, 4])];
        257 openat [At, F, Flags(2), MODE] GivesFd;
        275 splice [Fd(values::PIPE_R), InOut(&[]), FD, InOut(&[]), Len, Flags(2)];
        275 splice [FD, InOut(&[]), Fd(values::PIPE_W), InOut(&[]), Len, Flags(2)];
        276 tee [Fd(values::PIPE_R), Fd(values::PIPE_W), Len, Flags(2)];
        277 sync_file_range [FD, Offset, Num(&[16, -1, i64::MAX, 0]), Flags(2)];
        278 vmsplice [Fd(values::PIPE_W), Iov, Count, Flags(2)];
        285 fallocate [FD, Num(&[0, -1, 0x40, 4, 1, 3, 2, 8, 16, 17, 32, 33, 0x100, 0x80]), Num(&[0, -1, i64::MAX, i64::MIN]),
            Num(&[4096, 0, -1, i64::MAX, i64::MIN])];
        292 dup3 [FD, Num(&[160, -1, 0x1000_0000, 100, i32::MIN as i64]), Flags(0)];
        293 pipe2 [Out, Flags(0)];
        295 preadv [FD, Iov, Count, Offset, OWN];
        296 pwritev [FD, Iov, Count, Offset, OWN];
        306 syncfs [FD];
        319 memfd_create [Str("name"), Flags(0)] GivesFd;
        326 copy_file_range [Fd(values::READ), InOut(&[]), FD, InOut(&[8192]), Len, Flags(0)];
        327 preadv2 [FD, Iov, Count, Offset, OWN, Flags(0)];
        328 pwritev2 [FD, Iov, Count, Offset, OWN, Flags(0)];
        436 close_range [Num(&[160, -1, 0x8000_0000, 180]), Num(&[170, 0, -1, 0x7fff_ffff]), Flags(0)];
        437 openat2 [At, F, In(&[2]), Num(&[24, 0, 23, 4097, 25, 32, 4096, -1])] GivesFd;
        437 openat2 [At, F, In(&[2, 0o644, 0]), Num(&[24])] GivesFd;
        437 openat2 [At, F, In(&[2, 0, 0x40]), Num(&[24])] GivesFd;
        437 openat2 [At, F, In(&[1 << 40, 0, 0]), Num(&[24])] GivesFd;
        437 openat2 [At, F, In(&[0x40, 0o177_777, 0]), Num(&[24])] GivesFd;
        437 openat2 [At, F, In(&[2, 0, 0, 1]), Num(&[32])] GivesFd;
    }
    /// Names: what makes, moves and removes them.
    NAMES {
        21 access [F, Num(&[0, 8, -1, 7, 4])];
        79 getcwd [Out, Len];
        80 chdir [F];
        81 fchdir [FD];
        82 rename [F, NEW];
        83 mkdir [NEW, MODE];
        84 rmdir [Path("d")];
        86 link [F, NEW];
        87 unlink [F];
        88 symlink [F, NEW];
        89 readlink [Path("l"), Out, Num(&[16, 0, -1, 1, i32::MIN as i64, i32::MAX as i64])];
        133 mknod [NEW, Num(&[0o10_644, 0o40_644, 0o120_644, 0o170_644, 0o644, 0o140_644, -1]), OWN];
        161 chroot [F];
        258 mkdirat [At, NEW, MODE];
        259 mknodat [At, NEW, Num(&[0o10_644, 0o40_644, 0o120_644, 0o170_644, 0o644, 0o140_644, -1]), OWN];
        263 unlinkat [At, F, Flags(0)];
        264 renameat [At, F, At, NEW];
        265 linkat [At, F, At, NEW, Flags(0)];
        266 symlinkat [F, At, NEW];
        267 readlinkat [At, Path("l"), Out, Num(&[16, 0, -1, 1, i32::MIN as i64])];
        269 faccessat [At, F, Num(&[0, 8, -1, 7])];
        316 renameat2 [At, F, At, NEW, Flags(0)];
        439 faccessat2 [At, F, Num(&[0, 8, -1, 7]), Flags(0)];
    }
    /// What is known about a file, and its changes.
    ATTRIBUTES {
        4 stat [F, Out];
        5 fstat [FD, Out];
        6 lstat [F, Out];
        76 truncate [F, Num(&[8192, -1, i64::MIN, 0])];
        90 chmod [F, MODE];
        91 fchmod [FD, MODE];
        92 chown [F, Id, Id];
        93 fchown [FD, Id, Id];
        94 lchown [F, Id, Id];
        95 umask [MODE];
        132 utime [F, In(&[])];
        137 statfs [F, Out];
        138 fstatfs [FD, Out];
        188 setxattr [F, Str("user.x"), In(&[]), Len, Flags(0)];
        189 lsetxattr [F, Str("user.x"), In(&[]), Len, Flags(0)];
        190 fsetxattr [FD, Str("user.x"), In(&[]), Len, Flags(0)];
        191 getxattr [F, Str("user.x"), Out, Len];
        192 lgetxattr [F, Str("user.x"), Out, Len];
        193 fgetxattr [FD, Str("user.x"), Out, Len];
        194 listxattr [F, Out, Len];
        195 llistxattr [F, Out, Len];
        196 flistxattr [FD, Out, Len];
        197 removexattr [F, Str("user.x")];
        198 lremovexattr [F, Str("user.x")];
        199 fremovexattr [FD, Str("user.x")];
        235 utimes [F, Time];
        260 fchownat [At, F, Id, Id, Flags(0)];
        261 futimesat [At, F, Time];
        262 newfstatat [At, F, Out, Flags(0)];
        268 fchmodat [At, F, MODE];
        280 utimensat [At, F, Time, Flags(0)];
        303 name_to_handle_at [At, F, InOut(&[8]), Out, Flags(0)] Weak;
        304 open_by_handle_at [FD, In(&[8]), Flags(0)] Weak;
        332 statx [At, F, Flags(0), Num(&[0x7ff, -1, 1 << 31, 0, 0xfff]), Out];
        452 fchmodat2 [At, F, MODE, Flags(0)];
        463 setxattrat [At, F, Flags(0), Str("user.x"), In(&[]), Len];
        464 getxattrat [At, F, Flags(0), Str("user.x"), InOut(&[]), Len];
        465 listxattrat [At, F, Flags(0), Out, Len];
        466 removexattrat [At, F, Flags(0), Str("user.x")];
        468 file_getattr [At, F, Out, Len, Flags(0)];
        469 file_setattr [At, F, In(&[]), Num(&[0, -1, 4097, 1]), Flags(0)] Weak;
    }
    /// Mappings. What poisons pages of the machine (`madvise` 100 and 101) is not here.
    MEMORY {
        9 mmap [ADDR, LENGTHS, Flags(3), Num(&[0x22, 0, -1, 0x32, 0x21, 0x23, 0x24, 0x2, 0x10_0022, 0x4_0022, 0x102, 0x4022, 0x8022, 0x20022, 0x122, 0x80022,
            0x400_0022]), FD, Num(&[0, 1, -1, -4096, 4096, i64::MAX])];
        9 mmap [ADDR, LENGTHS, Num(&[1, 2, 4, 0, 3, 7, -1]), Num(&[2, 1, 3, 0x11, 0x8_0003]), FD, Num(&[0, 1, -1, -4096])];
        10 mprotect [ADDR, LENGTHS, Flags(1)];
        11 munmap [ADDR, LENGTHS];
        12 brk [Num(&[0, 1, -1, values::KERNEL as i64])];
        25 mremap [ADDR, LENGTHS, Num(&[8192, 0, -1, 1, i64::MAX, i64::MIN]), Flags(1), Num(&[values::TARGET as i64 + 0x10_0000, values::KERNEL as i64,
            values::TARGET as i64, values::TARGET as i64 + 1, -4096])];
        26 msync [ADDR, LENGTHS, Flags(4)];
        27 mincore [ADDR, LENGTHS, Out];
        28 madvise [ADDR, LENGTHS, Num(&[4, -1, 99, 5, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
            102, 103])];
        149 mlock [ADDR, LENGTHS];
        150 munlock [ADDR, LENGTHS];
        151 mlockall [Num(&[1, 0, -1, 8, 4, 5, 16])];
        152 munlockall [];
        216 remap_file_pages [ADDR, LENGTHS, Num(&[0, 1]), Offset, Flags(0)];
        237 mbind [ADDR, LENGTHS, Num(&[0, -1, 99, 1]), In(&[]), Num(&[0, -1, 64, 1]), Flags(0)];
        238 set_mempolicy [Num(&[0, -1, 99, 1]), In(&[]), Num(&[0, -1, 64, 1])];
        239 get_mempolicy [Out, Out, Num(&[0, -1, 64, 1024]), ADDR, Flags(0)];
        256 migrate_pages [Pid, Num(&[0, -1, 64]), In(&[]), In(&[])];
        279 move_pages [Pid, Num(&[1, 0, -1]), In(&[values::TARGET]), In(&[]), Out, Flags(2)];
        310 process_vm_readv [Pid, Iov, Count, Iov, Count, Flags(0)];
        311 process_vm_writev [Pid, Iov, Count, Iov, Count, Flags(0)];
        323 userfaultfd [Flags(1)] GivesFd;
        324 membarrier [Num(&[0, -1, 3, 99, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]), Flags(0)];
        325 mlock2 [ADDR, LENGTHS, Flags(0)];
        329 pkey_mprotect [ADDR, LENGTHS, Flags(1), Num(&[-1, 99, i32::MIN as i64, 16, 15])];
        330 pkey_alloc [Num(&[0, 1, -1]), Num(&[4, -1, 8])];
        331 pkey_free [Num(&[-1, 99, 16, 15])];
        440 process_madvise [Fd(values::EVENT), Iov, Count, Num(&[20, -1, 4]), Flags(0)];
        447 memfd_secret [Flags(0)] GivesFd;
        448 process_mrelease [Fd(values::EVENT), Flags(0)];
        450 set_mempolicy_home_node [ADDR, LENGTHS, Num(&[0, 99]), Flags(0)];
        451 cachestat [FD, In(&[]), Out, Flags(0)];
        453 map_shadow_stack [Num(&[0, 1, values::KERNEL as i64]), LENGTHS, Flags(0)];
        462 mseal [ADDR, LENGTHS, Flags(0)];
    }
    /// Processes, their groups, what they run. What makes them is tried in forms that fail or that end at once.
    PROCESSES {
        39 getpid [];
        57 fork [] Forks;
        56 clone [Num(&[17, 0x1_0011, 0x801, 0x800 | 0x1_0000, 0x1000 | 0x10_0000 | 17, 0x2_0200 | 17, 0x1000_0200 | 17, 17 | 0x40_0000, 17 | 0x80_0000, 0]), OWN, Out, Out, OWN] Forks;
        59 execve [Path("exe"), In(&[]), In(&[])] Careful;
        61 wait4 [Num(&[-1, 0x3fff_fff0, i32::MIN as i64, 0, -0x3fff_fff0]), Out, Flags(1), Out];
        101 ptrace [Num(&[1, 2, 16, 0x4206, 0x4200, 0x4201, 99, -1, 3, 4, 7, 8, 12, 17, 24]), Pid, In(&[]), Out] Careful;
        109 setpgid [Num(&[0, -1, 0x3fff_fff0, i32::MIN as i64, 1]), Num(&[0, -1, 0x3fff_fff0, i32::MIN as i64])];
        110 getppid [];
        111 getpgrp [];
        112 setsid [];
        121 getpgid [Pid];
        124 getsid [Pid];
        186 gettid [];
        218 set_tid_address [Out];
        247 waitid [Num(&[0, -1, 1, 2, 3, 4, 99]), Num(&[0x3fff_fff0, 0, -1, 10_000, values::EVENT as i64, values::FILE as i64]), Out, Flags(5), Out];
        272 unshare [Num(&[0, 0x1, -1, 0x200, 0x400, 0x100, 0x800, 0x1_0000])];
        273 set_robust_list [In(&[]), Num(&[24, 0, -1, 25])];
        274 get_robust_list [Pid, Out, Out];
        308 setns [FD, Num(&[0, 1, -1, 0x2000_0000])] Weak;
        312 kcmp [Pid, Pid, Num(&[0, 99, -1, 1, 7]), OWN, OWN];
        322 execveat [At, Path("exe"), In(&[]), In(&[]), Flags(0)] Careful;
        334 rseq [In(&[]), Num(&[32, 0, 31]), Flags(0), OWN];
        424 pidfd_send_signal [Fd(values::EVENT), Signal, In(&[]), Flags(0)];
        434 pidfd_open [Pid, Flags(0)] GivesFd;
        435 clone3 [In(&[0, 0, 0, 0, 17]), Num(&[64, 0, 63, 4097, 65, 88, 96, -1])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 65]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 17, 4096]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 17, 0, 4096]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0x800, 0, 0, 0, 17]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0x1_0800, 0, 0, 0, 0]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0x11, 0, 0, 0, 0]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[1 << 40, 0, 0, 0, 0]), Num(&[64, 88])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 17, 0, 0, 0, values::KERNEL, 1]), Num(&[80, 88])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 17, 0, 0, 0, 0, 1]), Num(&[80, 88])] Forks;
        435 clone3 [In(&[0, 0, 0, 0, 17, 0, 0, 0, values::KERNEL, 99]), Num(&[80, 88])] Forks;
        438 pidfd_getfd [Fd(values::EVENT), Num(&[0, -1]), Flags(0)];
    }
    /// Who a process is, and what it may use.
    IDENTITY {
        97 getrlimit [Num(&[4, 16, -1, i32::MIN as i64, 0, 7]), Out];
        98 getrusage [Num(&[0, 99, -2, -1, 1]), Out];
        100 times [Out];
        102 getuid [];
        104 getgid [];
        105 setuid [Id];
        106 setgid [Id];
        107 geteuid [];
        108 getegid [];
        113 setreuid [Id, Id];
        114 setregid [Id, Id];
        115 getgroups [Num(&[100, -1, 0, i32::MIN as i64, i32::MAX as i64]), Out];
        116 setgroups [Num(&[1, -1, 65_537, 0, i32::MAX as i64, i32::MIN as i64]), In(&[])];
        117 setresuid [Id, Id, Id];
        118 getresuid [Out, Out, Out];
        119 setresgid [Id, Id, Id];
        120 getresgid [Out, Out, Out];
        122 setfsuid [Id];
        123 setfsgid [Id];
        125 capget [InOut(&[0x2008_0522]), Out];
        125 capget [InOut(&[1]), Out];
        125 capget [InOut(&[0x3fff_fff0_2008_0522]), Out];
        125 capget [InOut(&[0xffff_ffff_2008_0522]), Out];
        126 capset [InOut(&[0x2008_0522]), In(&[])];
        126 capset [InOut(&[1]), In(&[])];
        126 capset [InOut(&[0x3fff_fff0_2008_0522]), In(&[])];
        135 personality [Num(&[-1])];
        140 getpriority [Num(&[0, 3, -1]), Num(&[0, 0x3fff_fff0, -1])];
        141 setpriority [Num(&[0, 3, -1]), Num(&[0, 0x3fff_fff0, -1]), Num(&[5, 100, -100])] Careful;
        160 setrlimit [Num(&[4, 16, -1]), In(&[1, 1])];
        160 setrlimit [Num(&[4, 16, -1]), In(&[2, 1])];
        302 prlimit64 [Pid, Num(&[4, 16, -1]), In(&[1, 1]), Out];
        302 prlimit64 [Pid, Num(&[4, 16, -1]), In(&[2, 1]), Out];
    }
    /// Signals that are never sent, only asked about.
    SIGNALS {
        13 rt_sigaction [Num(&[10, 0, 65, -1, 9, 19, i32::MIN as i64]), In(&[]), Out, Num(&[8, 0, -1, 16, 4])];
        14 rt_sigprocmask [Num(&[0, 3, -1, 1, 2]), In(&[]), Out, Num(&[8, 0, -1, 16, 4])];
        34 pause [] Blocks;
        62 kill [Num(&[0x3fff_fff0, i32::MIN as i64, -0x3fff_fff0]), Signal] Careful;
        62 kill [Pid, Num(&[65, -1, i32::MIN as i64])] Careful;
        127 rt_sigpending [Out, Num(&[8, 0, -1, 16, 4])];
        128 rt_sigtimedwait [In(&[]), Out, Time, Num(&[8, 0, -1, 16, 4])] Blocks;
        129 rt_sigqueueinfo [Num(&[0x3fff_fff0, i32::MIN as i64]), Signal, In(&[])] Careful;
        129 rt_sigqueueinfo [Pid, Num(&[65, -1]), In(&[0, 0xffff_ffff])] Careful;
        130 rt_sigsuspend [In(&[]), Num(&[8, 0, -1, 16, 4])] Blocks;
        131 sigaltstack [In(&[0, 2, 0]), Out];
        131 sigaltstack [In(&[values::BASE, 0, 100]), Out];
        131 sigaltstack [In(&[values::BASE, 0xff, 10_000]), Out];
        131 sigaltstack [In(&[values::BASE, 0x8000_0000, 10_000]), Out];
        200 tkill [Num(&[0x3fff_fff0, 0, -1, i32::MIN as i64]), Signal] Careful;
        234 tgkill [Num(&[0x3fff_fff0, 0, -1, i32::MIN as i64]), Num(&[0x3fff_fff0, 0, -1, i32::MIN as i64]), Signal] Careful;
        234 tgkill [Pid, Pid, Num(&[65, -1])] Careful;
        297 rt_tgsigqueueinfo [Num(&[0x3fff_fff0, 0, -1]), Num(&[0x3fff_fff0, 0, -1]), Signal, In(&[])] Careful;
        282 signalfd [Fd(values::SIGNAL), In(&[]), Num(&[8, 0, -1, 16, 4])];
        282 signalfd [Num(&[-1, -2]), In(&[]), Num(&[8, 0, -1, 16, 4])] GivesFd;
        289 signalfd4 [Fd(values::SIGNAL), In(&[]), Num(&[8, 0, -1, 16, 4]), Flags(0)];
        289 signalfd4 [Num(&[-1]), In(&[]), Num(&[8, 0, -1, 16, 4]), Flags(0)] GivesFd;
    }
    /// Time. What sets a clock is tried as nobody, and never with a time that could be set.
    TIME {
        35 nanosleep [Time, Out] Blocks;
        36 getitimer [Num(&[0, 3, -1, 1, 2]), Out];
        37 alarm [Num(&[0])];
        38 setitimer [Num(&[0, 3, -1, 1, 2]), Time, Out];
        96 gettimeofday [Out, Out];
        159 adjtimex [InOut(&[])] Weak;
        159 adjtimex [InOut(&[0xffff_ffff])] Weak;
        164 settimeofday [Num(&[1, values::KERNEL as i64]), Num(&[0, 1, values::KERNEL as i64])] Weak;
        201 time [Out];
        222 timer_create [CLOCK, InOut(&[]), Out] Careful;
        222 timer_create [CLOCK, InOut(&[0, 0xa]), Out] Careful;
        222 timer_create [CLOCK, InOut(&[0, 0x0063_0000_0001]), Out] Careful;
        222 timer_create [CLOCK, InOut(&[0, 0x0004_0000_000a, 0x3fff_fff0]), Out] Careful;
        222 timer_create [CLOCK, Num(&[0]), Out] Careful;
        223 timer_settime [Num(&[99, -1, i32::MIN as i64]), Flags(0), Time, Out];
        224 timer_gettime [Num(&[99, -1]), Out];
        225 timer_getoverrun [Num(&[99, -1])];
        226 timer_delete [Num(&[99, -1])];
        227 clock_settime [Num(&[1, 2, 99, -1, 4, 5, 6, 7]), Time] Weak;
        228 clock_gettime [CLOCK, Out];
        229 clock_getres [CLOCK, Out];
        230 clock_nanosleep [CLOCK, Flags(0), Time, Out] Blocks;
        283 timerfd_create [CLOCK, Flags(0)] GivesFd;
        286 timerfd_settime [Fd(values::TIMER), Flags(0), Time, Out];
        287 timerfd_gettime [Fd(values::TIMER), Out];
        305 clock_adjtime [CLOCK, InOut(&[])] Weak;
    }
    /// Scheduling, and futexes.
    SCHEDULING {
        24 sched_yield [];
        142 sched_setparam [PID, In(&[])] Careful;
        143 sched_getparam [PID, Out];
        144 sched_setscheduler [PID, Num(&[0, -1, 99, 4, 6, 3, 5]), In(&[])] Careful;
        144 sched_setscheduler [PID, Num(&[0, 1, 2, 3, 5]), In(&[200])] Careful;
        145 sched_getscheduler [PID];
        146 sched_get_priority_max [Num(&[0, -1, 4, 99, 1, 2, 3, 5, 6, 7])];
        147 sched_get_priority_min [Num(&[0, -1, 4, 99, 1, 2, 3, 5, 6, 7])];
        148 sched_rr_get_interval [PID, Out];
        202 futex [InOut(&[]), Num(&[1, 99, -1, 2, 3, 4, 5, 129, 7, 8, 10, 12, 0x101, 0x201, 6]), Num(&[0, 1, -1]), Time, InOut(&[]), OWN] Blocks;
        202 futex [InOut(&[]), Num(&[0, 128, 9, 137, 0x80 | 0x100]), Num(&[0, 1]), Time, InOut(&[]), Num(&[0, -1])] Blocks;
        202 futex [Num(&[values::BASE as i64 + 1, values::BASE as i64 + 2]), Num(&[0, 1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13]), Num(&[1]), Time,
            InOut(&[]), OWN] Blocks;
        203 sched_setaffinity [PID, Num(&[8, 0, -1, 1, 4]), In(&[1])] Careful;
        203 sched_setaffinity [PID, Num(&[8, 0, 1, 128]), In(&[])] Careful;
        204 sched_getaffinity [PID, Num(&[8, 0, -1, 1, 9, 128]), Out];
        251 ioprio_set [Num(&[1, 0, 4, -1]), PID, Num(&[0, -1, 0x1_0000, 0x6000, 0x4000, 0x4008])] Careful;
        252 ioprio_get [Num(&[1, 0, 4, -1]), PID];
        314 sched_setattr [PID, In(&[48]), Flags(0)] Careful;
        314 sched_setattr [PID, In(&[47]), Flags(0)] Careful;
        314 sched_setattr [PID, In(&[4097]), Flags(0)] Careful;
        314 sched_setattr [PID, In(&[0x63_0000_0030]), Flags(0)] Careful;
        314 sched_setattr [PID, In(&[0x1_0000_0030, 0, 200]), Flags(0)] Careful;
        314 sched_setattr [PID, In(&[48, 1 << 20]), Flags(0)] Careful;
        315 sched_getattr [PID, Out, Num(&[48, 0, 47, 4097, 56, -1]), Flags(0)];
        449 futex_waitv [In(&[]), Num(&[1, 0, -1, 129]), Flags(0), Time, Num(&[1, 0, 99])] Blocks;
        449 futex_waitv [In(&[1, values::BASE, 2]), Num(&[1, 0, -1, 129]), Flags(0), Time, Num(&[1, 0, 99])] Blocks;
        449 futex_waitv [In(&[0, values::BASE + 1, 2]), Num(&[1]), Flags(0), Time, Num(&[1])] Blocks;
        454 futex_wake [InOut(&[]), Num(&[0, 1]), Num(&[0, -1]), Flags(2)];
        455 futex_wait [InOut(&[]), Num(&[1, 0]), Num(&[1, -1]), Flags(2), Time, Num(&[1, 0, 99])] Blocks;
        456 futex_requeue [In(&[]), Flags(0), Num(&[0, -1]), Num(&[0, -1])];
    }
    /// Waiting for many things at once.
    READINESS {
        7 poll [In(&[0x0001_0000_0064]), Num(&[1, 0, -1, i32::MAX as i64, 2000]), Num(&[0, 1])] Blocks;
        7 poll [In(&[0x0001_ffff_ffff]), Num(&[1]), Num(&[0])] Blocks;
        23 select [Num(&[110, -1, 0, i32::MAX as i64, 0x1_0000, 1]), InOut(&[0, 1 << 36]), InOut(&[]), InOut(&[]), Time] Blocks;
        213 epoll_create [Num(&[1, 0, -1, i32::MIN as i64])] GivesFd;
        232 epoll_wait [Fd(values::EPOLL), Out, Num(&[1, 0, -1, i32::MAX as i64, i32::MIN as i64]), Num(&[0, 1])];
        233 epoll_ctl [Fd(values::EPOLL), Num(&[1, 0, 4, -1, 2, 3]), Fd(values::PIPE_R), In(&[1])];
        233 epoll_ctl [Fd(values::EPOLL), Num(&[1, 3, 2]), Fd(values::PIPE_W), In(&[0x1000_0004])];
        233 epoll_ctl [Fd(values::EPOLL), Num(&[1, 3]), Fd(values::EVENT), In(&[0xffff_ffff])];
        270 pselect6 [Num(&[110, -1, 0, i32::MAX as i64]), InOut(&[0, 1 << 36]), InOut(&[]), InOut(&[]), Time, In(&[0, 8])] Blocks;
        270 pselect6 [Num(&[110, -1, 0]), InOut(&[0, 1 << 36]), InOut(&[]), InOut(&[]), Time, In(&[values::KERNEL, 8])] Blocks;
        270 pselect6 [Num(&[110, -1, 0]), InOut(&[0, 1 << 36]), InOut(&[]), InOut(&[]), Time, In(&[values::BASE, 9])] Blocks;
        271 ppoll [In(&[0x0001_0000_0064]), Num(&[1, 0, -1, i32::MAX as i64, 2000]), Time, In(&[]), Num(&[8, 0, -1, 16])] Blocks;
        281 epoll_pwait [Fd(values::EPOLL), Out, Num(&[1, 0, -1, i32::MAX as i64]), Num(&[0]), In(&[]), Num(&[8, 0, -1, 16])];
        284 eventfd [Num(&[0, -1])] GivesFd;
        290 eventfd2 [Num(&[0, -1]), Flags(0)] GivesFd;
        291 epoll_create1 [Flags(0)] GivesFd;
        441 epoll_pwait2 [Fd(values::EPOLL), Out, Num(&[1, 0, -1, i32::MAX as i64]), Time, In(&[]), Num(&[8, 0, -1, 16])] Blocks;
        253 inotify_init [] GivesFd;
        254 inotify_add_watch [FD, F, Flags(2)];
        255 inotify_rm_watch [FD, Num(&[1, 0, -1])];
        294 inotify_init1 [Flags(0)] GivesFd;
        300 fanotify_init [Flags(0), Flags(0)] Weak;
        301 fanotify_mark [FD, Flags(1), Num(&[1, -1]), At, F] Weak;
    }
    /// Sockets, of the UNIX family where one is made.
    SOCKETS {
        41 socket [Num(&[1, -1, 46, 255, 0]), Num(&[1, 0, 99, -1, 2, 3, 5, 6, 0x801, 0x8_0001, 0x10_0001]), Num(&[0, -1, 1, 99, 2])] GivesFd;
        42 connect [Fd(values::STREAM), In(&[1]), Num(&[2, 0, -1, 129, 1, 110, 111, 3])];
        42 connect [Fd(values::STREAM), In(&[0x6e6f_6e65_0001]), Num(&[8, 2, 110, 111, -1])];
        42 connect [Fd(values::DGRAM), In(&[0x63]), Num(&[8, 1, 0, 16])];
        43 accept [Fd(values::LISTEN), Out, InOut(&[16])];
        43 accept [Fd(values::STREAM), Out, InOut(&[16])];
        44 sendto [Fd(values::PAIR), In(&[]), Len, Flags(0x4040), In(&[1]), Num(&[0, -1, 129, 2])];
        44 sendto [Fd(values::DGRAM), In(&[]), Len, Flags(0x4040), In(&[1]), Num(&[0, -1, 129, 2, 110])];
        45 recvfrom [Fd(values::PAIR), Out, Len, Flags(0x40), Out, InOut(&[16])];
        46 sendmsg [Fd(values::PAIR), In(&[]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[values::BASE, 0xffff_ffff]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[values::KERNEL, 4]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[0, 0, values::KERNEL, 1]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[0, 0, values::BASE, 1025]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[0, 0, 0, 0, values::KERNEL, 16]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[0, 0, 0, 0, values::BASE, u64::MAX]), Flags(0x4040)];
        46 sendmsg [Fd(values::PAIR), In(&[0, 0, 0, 0, values::BASE, 16]), Flags(0x4040)];
        47 recvmsg [Fd(values::PAIR), InOut(&[]), Flags(0x40)];
        47 recvmsg [Fd(values::PAIR), InOut(&[values::BASE, 0xffff_ffff]), Flags(0x40)];
        47 recvmsg [Fd(values::PAIR), InOut(&[0, 0, values::KERNEL, 1]), Flags(0x40)];
        47 recvmsg [Fd(values::PAIR), InOut(&[0, 0, values::BASE, 1025]), Flags(0x40)];
        48 shutdown [Fd(values::DGRAM), Num(&[2, 3, -1, 0, 1])];
        49 bind [Fd(values::STREAM), In(&[1]), Num(&[0, -1, 129, 1, 111])];
        49 bind [Fd(values::STREAM), In(&[0x66_0001]), Num(&[4, -1, 0, 1, 3, 110, 111])];
        49 bind [Fd(values::STREAM), In(&[0x66_0063]), Num(&[4, 16, 2, 1])];
        49 bind [Fd(values::STREAM), In(&[0x782f_662f_2e00_0001]), Num(&[8])];
        50 listen [Fd(values::STREAM), Num(&[1, -1, 0, i32::MAX as i64])];
        51 getsockname [Fd(values::STREAM), Out, InOut(&[16])];
        51 getsockname [Fd(values::STREAM), Out, InOut(&[0xffff_ffff])];
        52 getpeername [Fd(values::PAIR), Out, InOut(&[16])];
        52 getpeername [Fd(values::STREAM), Out, InOut(&[16])];
        53 socketpair [Num(&[1, -1, 46, 255, 0]), Num(&[1, 0, 99, -1, 2, 3, 5, 0x8_0002, 0x10_0001]), Num(&[0, -1, 99, 1]), Out];
        54 setsockopt [Fd(values::STREAM), Num(&[1, 0, -1, 99]), Num(&[2, 99, -1, 7, 8, 3, 16, 20, 4]), In(&[1]), Num(&[4, 0, -1, 1, 3, 16, i32::MIN as i64])];
        55 getsockopt [Fd(values::STREAM), Num(&[1, 0, -1, 99]), Num(&[3, 99, -1, 7, 4, 17, 39, 38, 30]), Out, InOut(&[4])];
        55 getsockopt [Fd(values::STREAM), Num(&[1]), Num(&[3, 4, 17, 20, 99]), Out, InOut(&[0xffff_ffff])];
        288 accept4 [Fd(values::LISTEN), Out, InOut(&[16]), Flags(0)];
        299 recvmmsg [Fd(values::PAIR), InOut(&[]), Num(&[1, 0, -1, 1025]), Flags(0x40), Time];
        307 sendmmsg [Fd(values::PAIR), InOut(&[]), Num(&[1, 0, -1, 1025]), Flags(0x4040)];
    }
    /// System V objects that the guest makes itself or that nobody has, and message queues.
    IPC {
        29 shmget [Num(&[0]), Num(&[4096, 0, -1, i64::MAX, i64::MIN]), Num(&[0o1600, 0, 0o3600])] GivesShm;
        29 shmget [Num(&[0x7ead_beef]), Num(&[4096, 0, -1]), Num(&[0, 0o2000, 0o600])] GivesShm;
        30 shmat [Num(&[0x7fff_ffff, -1, i32::MIN as i64]), Num(&[0, 1, values::KERNEL as i64]), Flags(0)] Careful;
        31 shmctl [Num(&[0x7fff_ffff, -1]), Num(&[2, 1, 0, 99, -1, 11, 12]), Out] Careful;
        64 semget [Num(&[0]), Num(&[1, 0, -1, 1 << 20]), Num(&[0o1600, 0, 0o3600])] GivesSem;
        64 semget [Num(&[0x7ead_beef]), Num(&[1, 0, -1]), Num(&[0, 0o2000, 0o600])] GivesSem;
        65 semop [Num(&[0x7fff_ffff, -1]), In(&[]), Num(&[1, 0, -1, 501])] Careful;
        66 semctl [Num(&[0x7fff_ffff, -1]), Num(&[0, -1, 99]), Num(&[12, 0, 1, 2, 13, 16, 17, 11, 14, 15, 99, -1]), Out] Careful;
        67 shmdt [Num(&[0, 1, values::TARGET as i64, values::KERNEL as i64])] Careful;
        68 msgget [Num(&[0]), Num(&[0o1600, 0, 0o3600])] GivesMsg;
        68 msgget [Num(&[0x7ead_beef]), Num(&[0, 0o2000, 0o600])] GivesMsg;
        69 msgsnd [Num(&[0x7fff_ffff, -1]), In(&[1]), Num(&[16, 0, -1, 1 << 20]), Flags(0o4000)] Careful;
        69 msgsnd [Num(&[0x7fff_ffff]), In(&[]), Num(&[16, 0, -1]), Flags(0o4000)] Careful;
        70 msgrcv [Num(&[0x7fff_ffff, -1]), Out, Num(&[16, 0, -1]), Num(&[0, -1, i64::MIN]), Flags(0o4000)] Careful;
        71 msgctl [Num(&[0x7fff_ffff, -1]), Num(&[2, 1, 0, 99, -1]), Out] Careful;
        220 semtimedop [Num(&[0x7fff_ffff, -1]), In(&[]), Num(&[1, 0, -1, 501]), Time] Careful;
        240 mq_open [Str("sweep-made"), Num(&[0o102, 0, 3, -1, 0o302]), MODE, In(&[0, 1, 16])] GivesQueue;
        240 mq_open [Str("sweep-made"), Num(&[0o102]), MODE, In(&[0, 0, 0])] GivesQueue;
        240 mq_open [Str("sweep-made"), Num(&[0o102]), MODE, In(&[0, u64::MAX, 16])] GivesQueue;
        240 mq_open [Str("/sweep-made"), Num(&[0o102]), MODE, In(&[0, 1, 16])] GivesQueue;
        241 mq_unlink [Str("sweep-missing")];
        242 mq_timedsend [FD, In(&[]), Len, Num(&[0, 32_768, -1]), Time];
        243 mq_timedreceive [FD, Out, Len, Out, Time];
        244 mq_notify [FD, In(&[])];
        244 mq_notify [FD, In(&[0, 0x0063_0000_0000])];
        244 mq_notify [FD, In(&[0, 0x0000_0000_0063])];
        245 mq_getsetattr [FD, In(&[]), Out];
        245 mq_getsetattr [FD, In(&[1]), Out];
    }
    /// The machine and its devices: as nobody. What only fails by its arguments is left out where privilege would let it
    /// do harm, should the child have kept any.
    SYSTEM {
        63 uname [Out];
        99 sysinfo [Out];
        103 syslog [Num(&[-1, 11, 99, i32::MIN as i64]), Out, Num(&[16, -1])] Weak;
        134 uselib [F] Weak;
        136 ustat [Num(&[-1, 0]), Out] Weak;
        139 sysfs [Num(&[99, -1, 2, 3]), Num(&[-1, 0]), Out] Weak;
        153 vhangup [] Weak;
        154 modify_ldt [Num(&[99, -1, 0, 1, 2]), Out, Len] Weak;
        155 pivot_root [Path("d"), Path("d")] Weak;
        157 prctl [PRCTLS, Num(&[-1, 0, values::KERNEL as i64, 99]), Num(&[0, -1]), Num(&[0, -1]), Num(&[0, -1])] Careful;
        158 arch_prctl [Num(&[0x1003, 0x1004, 0, -1]), Out];
        158 arch_prctl [Num(&[0x1001, 0x1002]), Num(&[values::KERNEL as i64, -1, 0x7fff_ffff_f000])] Careful;
        163 acct [Num(&[1, values::KERNEL as i64])] Weak;
        165 mount [Num(&[1, values::KERNEL as i64, 0]), Path("d"), Num(&[1, values::KERNEL as i64]), Flags(0), Num(&[0, 1])] Weak;
        166 umount2 [Path("d"), Flags(0)] Weak;
        167 swapon [F, Flags(0)] Weak;
        168 swapoff [F] Weak;
        169 reboot [Num(&[0, -1, 0xfee1]), Num(&[0, -1]), Num(&[99, -1]), OWN] Weak;
        170 sethostname [Num(&[1, values::KERNEL as i64]), Num(&[16, -1, 65])] Weak;
        171 setdomainname [Num(&[1, values::KERNEL as i64]), Num(&[16, -1, 65])] Weak;
        172 iopl [Num(&[3, 4, -1])] Weak;
        173 ioperm [Num(&[0, -1, 65_536]), Num(&[1, -1, 65_536]), Num(&[1])] Weak;
        175 init_module [In(&[]), Len, Out] Weak;
        176 delete_module [Str("no_such_module"), Flags(0x800)] Weak;
        179 quotactl [Num(&[-1, 0, 0x80_0100]), F, Num(&[0, -1]), Out] Weak;
        180 nfsservctl [OWN, OWN, OWN] Weak;
        206 io_setup [Num(&[0, -1, i32::MIN as i64]), InOut(&[])] Careful;
        206 io_setup [Num(&[1]), InOut(&[1])] Careful;
        207 io_destroy [Num(&[0, -1, 1])];
        208 io_getevents [Num(&[0, -1, 1]), Num(&[1, 0, -1]), Num(&[1, 0, -1]), Out, Time];
        209 io_submit [Num(&[0, -1, 1]), Num(&[1, 0, -1]), In(&[])];
        210 io_cancel [Num(&[0, -1, 1]), In(&[]), Out];
        212 lookup_dcookie [OWN, Out, Len] Weak;
        219 restart_syscall [];
        246 kexec_load [Num(&[0, -1]), Num(&[0, -1, 17]), In(&[]), Flags(0)] Weak;
        248 add_key [Str("user"), Str("sweep"), In(&[]), Num(&[1, -1, 0, 32_768]), Num(&[0x7fff_fff0, -99])] Weak;
        249 request_key [Str("user"), Str("sweep-missing"), Num(&[0, values::KERNEL as i64]), Num(&[0x7fff_fff0])] Weak;
        250 keyctl [Num(&[99, -1, 6, 11]), Num(&[0x7fff_fff0]), Out, Len, OWN] Weak;
        298 perf_event_open [In(&[]), Num(&[0x3fff_fff0]), Num(&[-1, -2]), Num(&[-1, 10_000]), Flags(0)] Weak;
        309 getcpu [Out, Out, OWN];
        313 finit_module [FD, Out, Flags(0)] Weak;
        317 seccomp [Num(&[1, 99, -1, 2, 3]), Flags(0), In(&[])] Careful;
        317 seccomp [Num(&[1]), Flags(0), In(&[0, values::BASE])] Careful;
        317 seccomp [Num(&[1]), Flags(0), In(&[1, values::KERNEL])] Careful;
        317 seccomp [Num(&[1]), Flags(0), In(&[4097, values::BASE])] Careful;
        317 seccomp [Num(&[0]), Num(&[1, -1]), Num(&[0, 1])] Careful;
        317 seccomp [Num(&[0]), Num(&[0]), Num(&[1, values::BASE as i64])] Careful;
        318 getrandom [Out, Len, Flags(0)];
        320 kexec_file_load [FD, FD, Num(&[0, -1]), Out, Flags(0)] Weak;
        321 bpf [Num(&[0, 99, -1, 5]), In(&[]), Num(&[0, 120, 4097, -1])] Weak;
        333 io_pgetevents [Num(&[0, -1, 1]), Num(&[1, 0, -1]), Num(&[1, 0, -1]), Out, Time, In(&[])];
        425 io_uring_setup [Num(&[0, -1, 1]), InOut(&[])] GivesFd;
        426 io_uring_enter [FD, Num(&[0, -1]), Num(&[0, -1]), Flags(0), OWN, OWN];
        427 io_uring_register [FD, Num(&[99, -1, 0]), Out, Num(&[0, -1])];
        428 open_tree [At, Path("d"), Flags(0)] Weak;
        429 move_mount [At, Path("d"), At, Path("missing"), Flags(0)] Weak;
        430 fsopen [Str("no-such-fs"), Flags(0)] Weak;
        431 fsconfig [FD, Num(&[99, -1, 0]), Str("key"), Out, OWN] Weak;
        432 fsmount [FD, Flags(0), Flags(0)] Weak;
        433 fspick [At, Path("missing"), Flags(0)] Weak;
        442 mount_setattr [At, Path("missing"), Flags(0), In(&[]), Num(&[32, 0, 31, 4097])] Weak;
        443 quotactl_fd [FD, Num(&[-1, 0]), Num(&[0, -1]), Out] Weak;
        444 landlock_create_ruleset [In(&[]), Num(&[8, 0, 7, 4097]), Flags(0)] GivesFd;
        445 landlock_add_rule [FD, Num(&[1, 0, 99]), In(&[]), Flags(0)];
        446 landlock_restrict_self [FD, Flags(0)] Weak;
        457 statmount [In(&[24]), Out, Len, Flags(0)] Weak;
        458 listmount [In(&[24]), Out, Num(&[1, 0, -1]), Flags(0)] Weak;
        459 lsm_get_self_attr [Num(&[100, 0, -1]), Out, InOut(&[16]), Flags(0)] Weak;
        460 lsm_set_self_attr [Num(&[99, 0, -1]), In(&[]), Num(&[0, 32, -1]), Flags(0)] Weak;
        461 lsm_list_modules [Out, InOut(&[16]), Flags(0)] Weak;
        467 open_tree_attr [At, Path("missing"), Flags(0), In(&[]), Num(&[0, 31, 4097])] Weak;
    }
}

/// Not the alarm clocks, 8 and 9: whether there are any depends on the machine's battery clock.
const CLOCK: Kind = Num(&[1, 99, -1, 16, 0, 2, 3, 4, 5, 6, 7, 10, 12, -6, -2, -0x7fff_ff82, i32::MIN as i64]);
/// The caller, and nobody: never 1, never a group.
const PID: Kind = Num(&[0, -1, 0x3fff_fff0, i32::MIN as i64]);
/// Questions, and settings of the child alone. Not here: what needs a machine's owner, and what would end the child.
const PRCTLS: Kind = Num(&[
    2, 99, -1, 1, 3, 4, 5, 6, 7, 8, 15, 16, 21, 23, 24, 25, 27, 28, 30, 34, 36, 37, 38, 39, 40, 42, 46, 47,
]);
