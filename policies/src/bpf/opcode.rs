//! The codes of classic BPF that a seccomp filter may use (linux/bpf_common.h), whole: class, size or operation, mode
//! or source. The kernel compares whole codes, too, so a stray bit makes a code unknown.

/// `A = seccomp_data[k]`.
pub const LD_ABS: u16 = 0x20;
pub const LD_IMM: u16 = 0x00;
pub const LD_MEM: u16 = 0x60;
/// `A = sizeof(struct seccomp_data)`.
pub const LD_LEN: u16 = 0x80;
pub const LDX_IMM: u16 = 0x01;
pub const LDX_MEM: u16 = 0x61;
pub const LDX_LEN: u16 = 0x81;
pub const ST: u16 = 0x02;
pub const STX: u16 = 0x03;

/// The class of arithmetic; added to an operation and [`X`].
pub const ALU: u16 = 0x04;
pub const ADD: u16 = 0x00;
pub const SUB: u16 = 0x10;
pub const MUL: u16 = 0x20;
pub const DIV: u16 = 0x30;
pub const OR: u16 = 0x40;
pub const AND: u16 = 0x50;
pub const LSH: u16 = 0x60;
pub const RSH: u16 = 0x70;
pub const NEG: u16 = 0x80;
pub const XOR: u16 = 0xa0;

/// The class of jumps; added to a comparison and [`X`].
pub const JMP: u16 = 0x05;
pub const JA: u16 = 0x00;
pub const JEQ: u16 = 0x10;
pub const JGT: u16 = 0x20;
pub const JGE: u16 = 0x30;
pub const JSET: u16 = 0x40;

/// The other operand is X instead of `k`.
pub const X: u16 = 0x08;

pub const RET_K: u16 = 0x06;
pub const RET_A: u16 = 0x16;
pub const TAX: u16 = 0x07;
pub const TXA: u16 = 0x87;
