//! ELF headers as elf(5) has them: 64-bit, little-endian, x86-64. Everything read is a claim of the file.

use linux_abi::{Errno, Result};

pub const EHDR_LEN: usize = 64;
pub const PHDR_LEN: usize = 56;
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

pub const PT_LOAD: u32 = 1;
pub const PT_INTERP: u32 = 3;
pub const PT_PHDR: u32 = 6;
pub const PT_GNU_STACK: u32 = 0x6474_e551;

pub const PF_X: u32 = 1;
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;

/// `Elf64_Ehdr`, what of it counts.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub dynamic: bool,
    pub entry: u64,
    pub phoff: u64,
    pub phnum: usize,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|s| s.try_into().ok()).map_or(0, u16::from_le_bytes)
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|s| s.try_into().ok()).map_or(0, u32::from_le_bytes)
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    b.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Header {
    /// `bad` is what is not a program for this machine. As on Linux the machine decides: class and byte order in the
    /// identification are not looked at.
    pub fn parse(b: &[u8], bad: Errno) -> Result<Header> {
        let good = b.len() >= EHDR_LEN
            && b.starts_with(b"\x7fELF")
            && u16_at(b, 18) == EM_X86_64
            && u16_at(b, 54) as usize == PHDR_LEN;
        if !good {
            return Err(bad);
        }
        let dynamic = match u16_at(b, 16) {
            ET_EXEC => false,
            ET_DYN => true,
            _ => return Err(bad),
        };
        let phnum = u16_at(b, 56) as usize;
        if phnum == 0 || phnum > 65536 / PHDR_LEN {
            return Err(bad);
        }
        Ok(Header { dynamic, entry: u64_at(b, 24), phoff: u64_at(b, 32), phnum })
    }
}

impl Segment {
    pub fn parse(b: &[u8]) -> Segment {
        Segment {
            kind: u32_at(b, 0),
            flags: u32_at(b, 4),
            offset: u64_at(b, 8),
            vaddr: u64_at(b, 16),
            filesz: u64_at(b, 32),
            memsz: u64_at(b, 40),
            align: u64_at(b, 48),
        }
    }
    pub fn prot(&self) -> i32 {
        let bit = |flag, prot| if self.flags & flag != 0 { prot } else { 0 };
        bit(PF_R, libc::PROT_READ) | bit(PF_W, libc::PROT_WRITE) | bit(PF_X, libc::PROT_EXEC)
    }
}
