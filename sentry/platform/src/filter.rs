//! The seccomp filter of every stub, as classic BPF.
//!
//! The guest can jump into the stub's text, so the filter assumes that the guest itself issues these calls, with any
//! arguments: it lets through what harms nobody but the caller, hands over what the sentry must compare first, and
//! traps everything else, from everywhere. seccompiler knows neither instruction pointers nor user notification,
//! which is why these few instructions are ours.

use std::ops::Range;

use crate::slot::DOORBELL;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;

const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JGT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const RET: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP_LOW: u32 = 8;
const IP_HIGH: u32 = 12;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// A condition on the low word of an argument (where Linux takes an `int`, that is all of it).
enum Cond {
    /// No bit but these.
    Mask(u32, u32),
    /// After removing these bits, one of these values.
    OneOf(u32, u32, &'static [u32]),
}

use Cond::{Mask, OneOf};

/// The program for a stub whose text is at `text`. With `gated` whatever can give a guest memory is asked about first.
pub fn program(text: Range<u64>, fsgsbase: bool, gated: bool) -> Vec<Insn> {
    let mut p = Program { insns: Vec::new() };
    p.preamble(text);
    p.call(DOORBELL as u32, &[], RET_NOTIFY);
    p.call(libc::SYS_rt_sigreturn as u32, &[], RET_ALLOW);
    // Waiting, waking, requeueing; no PI, whose owners are the sentry's to know.
    p.call(libc::SYS_futex as u32, &[OneOf(1, 128 | 256, &[0, 1, 3, 4, 5, 9, 10])], RET_ALLOW);
    p.call(libc::SYS_futex_waitv as u32, &[], RET_ALLOW);
    p.call(libc::SYS_rt_sigprocmask as u32, &[], RET_ALLOW);
    p.call(libc::SYS_clone as u32, &[], RET_NOTIFY);
    // Anonymous memory: PRIVATE, FIXED, ANONYMOUS, GROWSDOWN, NORESERVE, STACK. With a descriptor: asked.
    if !gated {
        p.call(libc::SYS_mmap as u32, &[OneOf(4, 0, &[u32::MAX]), Mask(2, 7), Mask(3, 0x2_4132)], RET_ALLOW);
    }
    p.call(libc::SYS_mmap as u32, &[], RET_NOTIFY);
    p.call(libc::SYS_munmap as u32, &[], RET_ALLOW);
    // PROT_READ, WRITE, EXEC, GROWSDOWN. What was not writable costs nothing until it is.
    p.call(libc::SYS_mprotect as u32, &[Mask(2, if gated { 0x0100_0005 } else { 0x0100_0007 })], RET_ALLOW);
    if gated {
        p.call(libc::SYS_mprotect as u32, &[Mask(2, 0x0100_0007)], RET_NOTIFY);
    }
    p.call(libc::SYS_mremap as u32, &[Mask(3, 7)], if gated { RET_NOTIFY } else { RET_ALLOW });
    // No REMOVE, DOFORK (slots must not be inherited), MERGEABLE, HWPOISON, COLLAPSE. GUARD_INSTALL and GUARD_REMOVE (102,
    // 103) mark page tables of this process alone: over a slot they keep the stub itself out, not the sentry's mapping.
    p.call(
        libc::SYS_madvise as u32,
        &[OneOf(2, 0, &[0, 1, 2, 3, 4, 8, 10, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 102, 103])],
        RET_ALLOW,
    );
    p.call(libc::SYS_close as u32, &[], RET_ALLOW);
    p.call(libc::SYS_exit as u32, &[], RET_ALLOW);
    p.call(libc::SYS_exit_group as u32, &[], RET_ALLOW);
    let clocks = || OneOf(0, 0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    p.call(libc::SYS_clock_nanosleep as u32, &[clocks(), Mask(1, 1)], RET_ALLOW);
    // No negative numbers: those are CPU clocks of other processes.
    p.call(libc::SYS_clock_gettime as u32, &[clocks()], RET_ALLOW);
    p.call(libc::SYS_sched_yield as u32, &[], RET_ALLOW);
    p.call(libc::SYS_restart_syscall as u32, &[], RET_ALLOW);
    p.call(libc::SYS_membarrier as u32, &[OneOf(0, 0, &[0, 1, 8, 16, 32, 64]), Mask(1, 0)], RET_ALLOW);
    // PR_SET_PDEATHSIG, SIGKILL: a fork child asks to die with the sentry, which fork does not inherit.
    p.call(libc::SYS_prctl as u32, &[OneOf(0, 0, &[1]), OneOf(1, 0, &[9])], RET_ALLOW);
    if !fsgsbase {
        p.call(libc::SYS_arch_prctl as u32, &[OneOf(0, 0, &[0x1001, 0x1002, 0x1003, 0x1004])], RET_ALLOW);
    }
    p.ret(RET_TRAP);
    p.insns
}

struct Program {
    insns: Vec<Insn>,
}

impl Program {
    fn op(&mut self, code: u16, k: u32) {
        self.insns.push(Insn { code, jt: 0, jf: 0, k });
    }
    fn jump(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.insns.push(Insn { code, jt, jf, k });
    }
    fn ret(&mut self, action: u32) {
        self.op(RET, action);
    }

    /// Traps what does not come from 64-bit code in the stub's text. The instruction pointer stands behind the
    /// two-byte instruction.
    fn preamble(&mut self, text: Range<u64>) {
        let (high, low) = ((text.start >> 32) as u32, text.start as u32);
        self.op(LD, ARCH);
        self.jump(JEQ, AUDIT_ARCH_X86_64, 1, 0);
        self.ret(RET_TRAP);
        self.op(LD, IP_HIGH);
        self.jump(JEQ, high, 1, 0);
        self.ret(RET_TRAP);
        self.op(LD, IP_LOW);
        self.jump(JGT, low, 0, 1);
        self.jump(JGT, text.end as u32, 0, 1);
        self.ret(RET_TRAP);
    }

    /// The call `nr`, where all conditions hold, gets `action`; where not, the next block is asked.
    fn call(&mut self, nr: u32, conds: &[Cond], action: u32) {
        let mut body = Vec::new();
        for cond in conds {
            let (arg, keep, values): (u32, u32, &[u32]) = match *cond {
                Mask(arg, mask) => (arg, !mask, &[0]),
                OneOf(arg, ignore, values) => (arg, !ignore, values),
            };
            body.push(Insn { code: LD, jt: 0, jf: 0, k: 16 + 8 * arg });
            if keep != u32::MAX {
                body.push(Insn { code: AND, jt: 0, jf: 0, k: keep });
            }
            for (i, &value) in values.iter().enumerate() {
                // A hit skips the other values and the jump out.
                body.push(Insn { code: JEQ, jt: (values.len() - i) as u8, jf: 0, k: value });
            }
            body.push(OUT);
        }
        body.push(Insn { code: RET, jt: 0, jf: 0, k: action });
        let len = body.len();
        for (i, insn) in body.iter_mut().enumerate() {
            if *insn == OUT {
                // BPF_JMP | BPF_JA, over the rest of the block.
                *insn = Insn { code: 0x05, jt: 0, jf: 0, k: (len - i - 1) as u32 };
            }
        }
        self.op(LD, NR);
        self.jump(JEQ, nr, 0, len as u8);
        self.insns.append(&mut body);
    }
}

/// Stands for the jump out of a block until its length is known.
const OUT: Insn = Insn { code: 0x05, jt: 255, jf: 255, k: u32::MAX };
