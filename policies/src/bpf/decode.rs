//! Checks a program as `bpf_check_classic` (net/core/filter.c) and `seccomp_check_filter` (kernel/seccomp.c) do
//! together, and decodes it. What the kernel refuses is refused here, and nothing else.

use std::fmt;

use super::opcode::{self, ALU, JMP, X};
use super::{SockFilter, MAX_LEN};

/// `sizeof(struct seccomp_data)`.
pub(super) const DATA_SIZE: u32 = 64;
/// The cells of scratch memory (`BPF_MEMWORDS`).
pub(super) const CELLS: usize = 16;

/// A program that the kernel would refuse, with the instruction that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub at: usize,
    pub why: Why,
}

/// What is wrong with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The program has no instruction, or more than [`MAX_LEN`].
    Length,
    /// The code is none that a seccomp filter may use.
    Code,
    DivisionByZero,
    Shift,
    /// A jump leads behind the end.
    Jump,
    /// A load is not aligned, or reaches behind `struct seccomp_data`.
    Load,
    /// There is no such cell of scratch memory.
    Cell,
    /// A cell of scratch memory is read before it is written, on some way to here.
    Uninitialised,
    /// The last instruction does not return.
    NoReturn,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Length => "the program is empty or too long",
            Why::Code => "not an instruction of a seccomp filter",
            Why::DivisionByZero => "division by zero",
            Why::Shift => "shift by more than 31",
            Why::Jump => "jump behind the end",
            Why::Load => "load that is not aligned or behind the data",
            Why::Cell => "no such cell of memory",
            Why::Uninitialised => "cell of memory that was not written",
            Why::NoReturn => "the last instruction does not return",
        };
        write!(f, "instruction {}: {why}", self.at)
    }
}

impl std::error::Error for Invalid {}

/// Where the second operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Xor,
}

/// An instruction that was checked: eight bytes, one match away from being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The word of the data, 0 to 15.
    Load(u8),
    Imm(u32),
    ImmX(u32),
    Mem(u8),
    MemX(u8),
    Store(u8),
    StoreX(u8),
    AluK(Operation, u32),
    AluX(Operation),
    Neg,
    Tax,
    Txa,
    Jump(u32),
    EqK(u8, u8, u32),
    GtK(u8, u8, u32),
    GeK(u8, u8, u32),
    SetK(u8, u8, u32),
    EqX(u8, u8),
    GtX(u8, u8),
    GeX(u8, u8),
    SetX(u8, u8),
    RetK(u32),
    RetA,
}

const _: () = assert!(std::mem::size_of::<Op>() == 8);

/// Checks and decodes.
pub(super) fn decode(program: &[SockFilter]) -> Result<Box<[Op]>, Invalid> {
    if program.is_empty() || program.len() > MAX_LEN {
        return Err(Invalid { at: 0, why: Why::Length });
    }
    let mut ops = Vec::with_capacity(program.len());
    for (at, f) in program.iter().enumerate() {
        ops.push(one(f, program.len() - at - 1).map_err(|why| Invalid { at, why })?);
    }
    match ops.last() {
        Some(Op::RetK(_) | Op::RetA) => {}
        _ => return Err(Invalid { at: program.len() - 1, why: Why::NoReturn }),
    }
    cells(&ops)?;
    Ok(ops.into_boxed_slice())
}

/// One instruction, with `behind` others behind it.
fn one(f: &SockFilter, behind: usize) -> Result<Op, Why> {
    let k = f.k;
    let cell = || match u8::try_from(k) {
        Ok(n) if usize::from(n) < CELLS => Ok(n),
        _ => Err(Why::Cell),
    };
    if let Some(op) = alu(f)? {
        return Ok(op);
    }
    if let Some(op) = jump(f, behind)? {
        return Ok(op);
    }
    Ok(match f.code {
        opcode::LD_ABS if k.is_multiple_of(4) && k < DATA_SIZE => Op::Load((k / 4) as u8),
        opcode::LD_ABS => return Err(Why::Load),
        opcode::LD_IMM => Op::Imm(k),
        opcode::LD_LEN => Op::Imm(DATA_SIZE),
        opcode::LDX_IMM => Op::ImmX(k),
        opcode::LDX_LEN => Op::ImmX(DATA_SIZE),
        opcode::LD_MEM => Op::Mem(cell()?),
        opcode::LDX_MEM => Op::MemX(cell()?),
        opcode::ST => Op::Store(cell()?),
        opcode::STX => Op::StoreX(cell()?),
        opcode::TAX => Op::Tax,
        opcode::TXA => Op::Txa,
        opcode::RET_K => Op::RetK(k),
        opcode::RET_A => Op::RetA,
        _ => return Err(Why::Code),
    })
}

fn alu(f: &SockFilter) -> Result<Option<Op>, Why> {
    if f.code == ALU + opcode::NEG {
        return Ok(Some(Op::Neg));
    }
    let operation = match f.code & !X {
        c if c == ALU + opcode::ADD => Operation::Add,
        c if c == ALU + opcode::SUB => Operation::Sub,
        c if c == ALU + opcode::MUL => Operation::Mul,
        c if c == ALU + opcode::DIV => Operation::Div,
        c if c == ALU + opcode::OR => Operation::Or,
        c if c == ALU + opcode::AND => Operation::And,
        c if c == ALU + opcode::LSH => Operation::Lsh,
        c if c == ALU + opcode::RSH => Operation::Rsh,
        c if c == ALU + opcode::XOR => Operation::Xor,
        _ => return Ok(None),
    };
    if f.code & X != 0 {
        return Ok(Some(Op::AluX(operation)));
    }
    match operation {
        Operation::Div if f.k == 0 => Err(Why::DivisionByZero),
        Operation::Lsh | Operation::Rsh if f.k >= 32 => Err(Why::Shift),
        _ => Ok(Some(Op::AluK(operation, f.k))),
    }
}

fn jump(f: &SockFilter, behind: usize) -> Result<Option<Op>, Why> {
    let (t, e, k) = (f.jt, f.jf, f.k);
    let op = match f.code {
        c if c == JMP + opcode::JA => {
            let fits = usize::try_from(k).is_ok_and(|k| k < behind);
            return if fits { Ok(Some(Op::Jump(k))) } else { Err(Why::Jump) };
        }
        c if c == JMP + opcode::JEQ => Op::EqK(t, e, k),
        c if c == JMP + opcode::JGT => Op::GtK(t, e, k),
        c if c == JMP + opcode::JGE => Op::GeK(t, e, k),
        c if c == JMP + opcode::JSET => Op::SetK(t, e, k),
        c if c == JMP + opcode::JEQ + X => Op::EqX(t, e),
        c if c == JMP + opcode::JGT + X => Op::GtX(t, e),
        c if c == JMP + opcode::JGE + X => Op::GeX(t, e),
        c if c == JMP + opcode::JSET + X => Op::SetX(t, e),
        _ => return Ok(None),
    };
    if usize::from(t) >= behind || usize::from(e) >= behind {
        return Err(Why::Jump);
    }
    Ok(Some(op))
}

/// Where an instruction may jump: (if true, if false), relative to the next one.
pub(super) fn targets(op: &Op) -> Option<(usize, usize)> {
    match *op {
        Op::Jump(k) => Some((k as usize, k as usize)),
        Op::EqK(t, e, _) | Op::GtK(t, e, _) | Op::GeK(t, e, _) | Op::SetK(t, e, _) => {
            Some((t.into(), e.into()))
        }
        Op::EqX(t, e) | Op::GtX(t, e) | Op::GeX(t, e) | Op::SetX(t, e) => Some((t.into(), e.into())),
        _ => None,
    }
}

/// No cell is read that was not written on every way there (`check_load_and_stores`). As the kernel, a jump leaves
/// "all written" to the instruction behind it, and what may come there by other jumps takes away from that.
fn cells(ops: &[Op]) -> Result<(), Invalid> {
    let mut masks = vec![u16::MAX; ops.len()];
    let mut written: u16 = 0;
    for (at, op) in ops.iter().enumerate() {
        written &= masks.get(at).copied().unwrap_or(0);
        match *op {
            Op::Store(n) | Op::StoreX(n) => written |= 1 << n,
            Op::Mem(n) | Op::MemX(n) if written & (1 << n) == 0 => {
                return Err(Invalid { at, why: Why::Uninitialised });
            }
            _ => {
                if let Some((t, e)) = targets(op) {
                    for target in [at + 1 + t, at + 1 + e] {
                        if let Some(mask) = masks.get_mut(target) {
                            *mask &= written;
                        }
                    }
                    written = u16::MAX;
                }
            }
        }
    }
    Ok(())
}

/// How many instructions the kernel's own translation of the program has (`bpf_convert_filter`, net/core/filter.c):
/// what its limit for all filters of a thread counts.
pub(super) fn cost(ops: &[Op]) -> usize {
    const PROLOGUE: usize = 3;
    let conditional = |t: u8, e: u8, negatable: bool| match (t, e) {
        (_, 0) => 1,
        (0, _) if negatable => 1,
        _ => 2,
    };
    let constant = |k: u32| usize::from(k > i32::MAX as u32);
    let each = ops.iter().map(|op| match *op {
        Op::RetK(_) => 2,
        Op::AluX(Operation::Div) => 5,
        Op::EqK(t, e, k) | Op::GtK(t, e, k) | Op::GeK(t, e, k) => conditional(t, e, true) + constant(k),
        Op::SetK(t, e, k) => conditional(t, e, false) + constant(k),
        Op::EqX(t, e) | Op::GtX(t, e) | Op::GeX(t, e) => conditional(t, e, true),
        Op::SetX(t, e) => conditional(t, e, false),
        _ => 1,
    });
    PROLOGUE + each.sum::<usize>()
}
