//! `siginfo_t` (sigaction(2)): what came with a signal, and its 128 bytes.

use super::Signo;

pub const SI_USER: i32 = 0;
pub const SI_KERNEL: i32 = 0x80;
pub const SI_QUEUE: i32 = -1;
pub const SI_TIMER: i32 = -2;
pub const SI_TKILL: i32 = -6;
pub const SYS_SECCOMP: i32 = 1;
pub const CLD_EXITED: i32 = 1;
pub const CLD_KILLED: i32 = 2;
pub const CLD_DUMPED: i32 = 3;
pub const CLD_TRAPPED: i32 = 4;
pub const CLD_STOPPED: i32 = 5;
pub const CLD_CONTINUED: i32 = 6;

/// One signal with what is known of it, kept as the bytes the guest will see.
#[derive(Clone, Copy, Debug)]
pub struct SigInfo {
    pub signo: Signo,
    pub code: i32,
    pub bytes: [u8; 128],
}

impl SigInfo {
    /// Number, `si_errno` 0 and code; all else zero.
    pub fn new(signo: Signo, code: i32) -> SigInfo {
        let mut bytes = [0; 128];
        bytes[0..4].copy_from_slice(&signo.to_le_bytes());
        bytes[8..12].copy_from_slice(&code.to_le_bytes());
        SigInfo { signo, code, bytes }
    }
    /// The bytes that rt_sigqueueinfo(2) was given, with the number put right.
    pub fn from_bytes(signo: Signo, mut bytes: [u8; 128]) -> SigInfo {
        bytes[0..4].copy_from_slice(&signo.to_le_bytes());
        let code = i32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        SigInfo { signo, code, bytes }
    }
    fn put(&mut self, at: usize, v: &[u8]) {
        self.bytes[at..at + v.len()].copy_from_slice(v);
    }
    /// kill(2), tgkill(2): `si_pid`, `si_uid`.
    pub fn user(signo: Signo, code: i32, pid: i32, uid: u32) -> SigInfo {
        let mut i = SigInfo::new(signo, code);
        i.put(16, &pid.to_le_bytes());
        i.put(20, &uid.to_le_bytes());
        i
    }
    /// With a value, as sigqueue(3) and mq_notify(3) send it: `si_pid`, `si_uid`, `si_value`.
    pub fn value(signo: Signo, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        let mut i = SigInfo::user(signo, code, pid, uid);
        i.put(24, &value.to_le_bytes());
        i
    }
    /// SIGCHLD: `si_pid`, `si_uid`, `si_status`, times in clock ticks.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> SigInfo {
        let mut i = SigInfo::user(libc::SIGCHLD, code, pid, uid);
        i.put(24, &status.to_le_bytes());
        i.put(32, &utime.to_le_bytes());
        i.put(40, &stime.to_le_bytes());
        i
    }
    /// SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP: `si_addr`.
    pub fn fault(signo: Signo, code: i32, addr: u64) -> SigInfo {
        let mut i = SigInfo::new(signo, code);
        i.put(16, &addr.to_le_bytes());
        i
    }
    /// A descriptor that became ready (fcntl(2), `F_SETSIG`): `si_band`, `si_fd`.
    pub fn poll(signo: Signo, code: i32, band: i64, fd: i32) -> SigInfo {
        let mut i = SigInfo::new(signo, code);
        i.put(16, &band.to_le_bytes());
        i.put(24, &fd.to_le_bytes());
        i
    }
    /// SIGSYS of a seccomp filter: `si_errno` (its data), `si_call_addr`, `si_syscall`, `si_arch`.
    pub fn seccomp(data: u16, ip: u64, nr: i32, arch: u32) -> SigInfo {
        let mut i = SigInfo::new(libc::SIGSYS, SYS_SECCOMP);
        i.put(4, &i32::from(data).to_le_bytes());
        i.put(16, &ip.to_le_bytes());
        i.put(24, &nr.to_le_bytes());
        i.put(28, &arch.to_le_bytes());
        i
    }
    /// A timer of timer_create(2): `si_timerid`, `si_overrun`, `si_value`.
    pub fn timer(signo: Signo, id: i32, overrun: i32, value: u64) -> SigInfo {
        let mut i = SigInfo::new(signo, SI_TIMER);
        i.put(16, &id.to_le_bytes());
        i.put(20, &overrun.to_le_bytes());
        i.put(24, &value.to_le_bytes());
        i
    }
}
