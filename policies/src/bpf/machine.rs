//! Runs a checked program.

use super::decode::{self, Invalid, Op, Operation, CELLS};
use super::{ret, SockFilter, ARCH_X86_64};

/// What a filter looks at (`struct seccomp_data`), as the sixteen words that its loads see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompData {
    words: [u32; 16],
}

impl SeccompData {
    /// Number, architecture, address behind the instruction, arguments.
    #[must_use]
    pub fn new(nr: u32, arch: u32, ip: u64, args: &[u64; 6]) -> SeccompData {
        let (low, high) = (|v: u64| v as u32, |v: u64| (v >> 32) as u32);
        let [a, b, c, d, e, f] = *args;
        SeccompData {
            words: [
                nr,
                arch,
                low(ip),
                high(ip),
                low(a),
                high(a),
                low(b),
                high(b),
                low(c),
                high(c),
                low(d),
                high(d),
                low(e),
                high(e),
                low(f),
                high(f),
            ],
        }
    }

    /// A call of a 64-bit program.
    #[must_use]
    pub fn x86_64(nr: u32, ip: u64, args: &[u64; 6]) -> SeccompData {
        SeccompData::new(nr, ARCH_X86_64, ip, args)
    }
}

/// A program that was checked.
#[derive(Clone, Debug)]
pub struct Program {
    ops: Box<[Op]>,
    cost: usize,
}

impl Program {
    /// Checks a program as the kernel does.
    pub fn new(program: &[SockFilter]) -> Result<Program, Invalid> {
        let ops = decode::decode(program)?;
        let cost = decode::cost(&ops);
        Ok(Program { ops, cost })
    }

    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Never: a program has an instruction at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What it counts in the kernel's limit for all filters of a thread.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// The answer for a call.
    #[must_use]
    pub fn run(&self, data: &SeccompData) -> u32 {
        let (mut a, mut x) = (0u32, 0u32);
        let mut cells = [0u32; CELLS];
        let mut at = 0usize;
        // Each step goes forward, so there are at most as many as instructions.
        while let Some(op) = self.ops.get(at) {
            at += 1;
            let skip = |yes: bool, t: u8, e: u8| usize::from(if yes { t } else { e });
            match *op {
                Op::Load(n) => a = data.words[usize::from(n) & 15],
                Op::Imm(k) => a = k,
                Op::ImmX(k) => x = k,
                Op::Mem(n) => a = cells[usize::from(n) & 15],
                Op::MemX(n) => x = cells[usize::from(n) & 15],
                Op::Store(n) => cells[usize::from(n) & 15] = a,
                Op::StoreX(n) => cells[usize::from(n) & 15] = x,
                // Division by an X of nought ends the program with nought.
                Op::AluX(Operation::Div) if x == 0 => return ret::KILL_THREAD,
                Op::AluX(operation) => a = compute(operation, a, x),
                Op::AluK(operation, k) => a = compute(operation, a, k),
                Op::Neg => a = a.wrapping_neg(),
                Op::Tax => x = a,
                Op::Txa => a = x,
                Op::Jump(k) => at += k as usize,
                Op::EqK(t, e, k) => at += skip(a == k, t, e),
                Op::GtK(t, e, k) => at += skip(a > k, t, e),
                Op::GeK(t, e, k) => at += skip(a >= k, t, e),
                Op::SetK(t, e, k) => at += skip(a & k != 0, t, e),
                Op::EqX(t, e) => at += skip(a == x, t, e),
                Op::GtX(t, e) => at += skip(a > x, t, e),
                Op::GeX(t, e) => at += skip(a >= x, t, e),
                Op::SetX(t, e) => at += skip(a & x != 0, t, e),
                Op::RetK(k) => return k,
                Op::RetA => return a,
            }
        }
        // Not reached: the last instruction returns. If it were, the strictest answer is the safe one.
        ret::KILL_PROCESS
    }

    /// The answer for a number of a 64-bit call, if it depends on nothing but the number: what the kernel finds out,
    /// too, when a filter is installed, to answer such calls from a bitmap (`seccomp_is_const_allow`). `None` where the
    /// program looks at more, or does more than compare.
    #[must_use]
    pub fn by_number(&self, nr: u32) -> Option<u32> {
        let mut a = 0u32;
        let mut at = 0usize;
        while let Some(op) = self.ops.get(at) {
            at += 1;
            let skip = |yes: bool, t: u8, e: u8| usize::from(if yes { t } else { e });
            match *op {
                Op::Load(0) => a = nr,
                Op::Load(1) => a = ARCH_X86_64,
                Op::Imm(k) => a = k,
                Op::AluK(operation, k) => a = compute(operation, a, k),
                Op::Jump(k) => at += k as usize,
                Op::EqK(t, e, k) => at += skip(a == k, t, e),
                Op::GtK(t, e, k) => at += skip(a > k, t, e),
                Op::GeK(t, e, k) => at += skip(a >= k, t, e),
                Op::SetK(t, e, k) => at += skip(a & k != 0, t, e),
                Op::RetK(k) => return Some(k),
                Op::RetA => return Some(a),
                _ => return None,
            }
        }
        None
    }
}

/// 32-bit arithmetic; shifts take the low five bits of their count, as the processor's do. A divisor of nought is the
/// caller's to rule out.
fn compute(operation: Operation, a: u32, b: u32) -> u32 {
    match operation {
        Operation::Add => a.wrapping_add(b),
        Operation::Sub => a.wrapping_sub(b),
        Operation::Mul => a.wrapping_mul(b),
        Operation::Div => a.checked_div(b).unwrap_or(0),
        Operation::Or => a | b,
        Operation::And => a & b,
        Operation::Lsh => a.wrapping_shl(b),
        Operation::Rsh => a.wrapping_shr(b),
        Operation::Xor => a ^ b,
    }
}
