//! A classic-BPF machine for seccomp: checks a program exactly as the kernel does, and runs it on a call.
//!
//! The sentry runs two kinds of programs through it: those that a policy compiles to, and those that a guest installs
//! by itself with seccomp(2). The latter are hostile, so nothing here panics, allocates while it runs, or runs for
//! more than one step per instruction: all jumps go forward.
//!
//! [`opcode`] names the instructions, [`decode`] checks and decodes them, [`machine`] runs what came out.

mod decode;
mod machine;
pub mod opcode;

pub use decode::{Invalid, Why};
pub use machine::{Program, SeccompData};

/// The length of the longest program (`BPF_MAXINSNS`, linux/bpf_common.h).
pub const MAX_LEN: usize = 4096;
/// What all filters of one thread may cost together (`MAX_INSNS_PER_PATH`, kernel/seccomp.c).
pub const MAX_PATH_COST: usize = (1 << 18) / SockFilter::SIZE;
/// What each filter that a new one is put upon costs besides its own length.
pub const COST_PER_FILTER: usize = 4;
/// `AUDIT_ARCH_X86_64` (linux/audit.h).
pub const ARCH_X86_64: u32 = 0xc000_003e;

/// What a seccomp filter answers: an action in the upper half, data in the lower (seccomp(2)).
pub mod ret {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The bits of the action.
    pub const ACTION: u32 = 0xffff_0000;
    /// The bits of the data.
    pub const DATA: u32 = 0x0000_ffff;
    /// The highest error number; higher data of `ERRNO` counts as this.
    pub const MAX_ERRNO: u32 = 4095;

    /// Of two answers of a chain, the one that wins: the strictest action, and the first where they are equal. The
    /// kernel compares actions as signed numbers, so that `KILL_PROCESS` is the lowest.
    #[must_use]
    pub fn stricter(first: u32, second: u32) -> u32 {
        if ((second & ACTION) as i32) < ((first & ACTION) as i32) {
            second
        } else {
            first
        }
    }
}

/// An instruction as programs bring it (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockFilter {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl SockFilter {
    /// `sizeof(struct sock_filter)`.
    pub const SIZE: usize = 8;

    #[must_use]
    pub fn new(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    /// Reads one from guest memory's bytes.
    #[must_use]
    pub fn from_bytes(b: [u8; 8]) -> SockFilter {
        SockFilter {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        }
    }
}

impl From<&seccompiler::sock_filter> for SockFilter {
    fn from(f: &seccompiler::sock_filter) -> SockFilter {
        SockFilter { code: f.code, jt: f.jt, jf: f.jf, k: f.k }
    }
}
