//! One ELF file (program or interpreter): its headers checked, its segments laid into the table.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::Action;

use super::elf::{self, Header, Segment, EHDR_LEN, PHDR_LEN, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};
use super::read_at;
use crate::mm::placement::is_guest_range;
use crate::mm::vma::{page_down, page_up, Backing, VmName, Vma, VmaTable, PAGE, PROT_WRITE};
use crate::vfs::File;

/// Two thirds of the address space: where position-independent programs go (`ELF_ET_DYN_BASE`).
const DYN_BASE: u64 = 0x5555_5555_4000;
/// How much of a file that cannot be mapped is read at a time.
const PIECE: u64 = 32 << 10;
/// The most of a file that cannot be mapped that is read into memory.
const MAX_READ: u64 = 256 << 20;
/// `PATH_MAX`.
const PATH_MAX: u64 = 4096;

/// A file's program headers, checked.
pub struct Program {
    header: Header,
    segments: Vec<Segment>,
    /// The file's first page: headers, and mostly the interpreter's name.
    start: Vec<u8>,
    pub executable_stack: bool,
    bad: Errno,
}

/// Where a position-independent file goes.
pub enum Base {
    /// The programs' place, moved by this much.
    Program(u64),
    /// Among the mappings.
    Anywhere,
}

/// Where a file came to lie.
pub struct Placed {
    pub bias: u64,
    pub entry: u64,
    /// Guest address of the program headers (`AT_PHDR`), 0 where they are not mapped.
    pub headers: u64,
    pub header_count: u64,
    /// The highest address of any segment.
    pub end: u64,
    pub code: (u64, u64),
    pub data: (u64, u64),
}

impl Program {
    /// Reads and checks the headers. `bad` is what a file that is no program gives.
    pub fn read(file: &File, bad: Errno) -> Result<Program> {
        let start = read_at(file, 0, PAGE as usize)?;
        let header = Header::parse(&start[..start.len().min(EHDR_LEN)], bad)?;
        let table = match within(&start, header.phoff, header.phnum * PHDR_LEN) {
            Some(table) => table.to_vec(),
            None => read_at(file, header.phoff, header.phnum * PHDR_LEN)?,
        };
        if table.len() < header.phnum * PHDR_LEN {
            return Err(bad);
        }
        let segments: Vec<Segment> = table.chunks_exact(PHDR_LEN).map(Segment::parse).collect();
        let size = file.ops.size(file)?;
        let mut loads = 0;
        for s in segments.iter().filter(|s| s.kind == PT_LOAD) {
            loads += 1;
            let end_in_file = s.offset.checked_add(s.filesz).ok_or(bad)?;
            // Linux would start a program whose data the file no longer has, and kill it at the first touch: we say so
            // before the old program is gone.
            if s.memsz < s.filesz || end_in_file > size {
                return Err(bad);
            }
            if s.vaddr % PAGE != s.offset % PAGE {
                return Err(Errno::EINVAL);
            }
            if s.vaddr.checked_add(s.memsz).is_none_or(|e| e > platform::GUEST_HIGHEST) {
                return Err(Errno::ENOMEM);
            }
        }
        if loads == 0 {
            return Err(bad);
        }
        let executable_stack =
            segments.iter().find(|s| s.kind == PT_GNU_STACK).is_some_and(|s| s.flags & elf::PF_X != 0);
        Ok(Program { header, segments, start, executable_stack, bad })
    }

    /// The path in PT_INTERP.
    pub fn interpreter(&self, file: &File) -> Result<Option<Vec<u8>>> {
        let Some(s) = self.segments.iter().find(|s| s.kind == PT_INTERP) else { return Ok(None) };
        if s.filesz < 2 || s.filesz > PATH_MAX {
            return Err(Errno::ENOEXEC);
        }
        let mut name = match within(&self.start, s.offset, s.filesz as usize) {
            Some(name) => name.to_vec(),
            None => read_at(file, s.offset, s.filesz as usize)?,
        };
        if name.len() as u64 != s.filesz || name.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
        Ok(Some(name))
    }

    fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.kind == PT_LOAD && s.memsz > 0)
    }

    /// Lays the segments out: table entries, and actions for the stub.
    pub fn map(
        &self,
        file: &Arc<File>,
        base: Base,
        table: &mut VmaTable,
        actions: &mut Vec<Action>,
    ) -> Result<Placed> {
        let low = self.loads().map(|s| page_down(s.vaddr)).min().ok_or(self.bad)?;
        let high = self.loads().map(|s| s.vaddr + s.memsz).max().ok_or(self.bad)?;
        let total = page_up(high).ok_or(Errno::ENOMEM)? - low;
        let bias = if self.header.dynamic { self.place(base, total, table)?.wrapping_sub(low) } else { 0 };
        let mut placed = Placed {
            bias,
            entry: self.header.entry.wrapping_add(bias),
            headers: 0,
            header_count: self.header.phnum as u64,
            end: high.wrapping_add(bias),
            code: (u64::MAX, 0),
            data: (0, 0),
        };
        for s in self.loads() {
            self.map_segment(file, s, bias, table, actions)?;
            let (start, end) = (s.vaddr.wrapping_add(bias), s.vaddr.wrapping_add(bias) + s.filesz);
            if s.flags & elf::PF_X != 0 {
                placed.code = (placed.code.0.min(start), placed.code.1.max(end));
            }
            if start >= placed.data.0 {
                placed.data = (start, end);
            }
            let table_end = self.header.phoff.saturating_add((self.header.phnum * PHDR_LEN) as u64);
            if s.offset <= self.header.phoff && table_end <= s.offset + s.filesz {
                placed.headers = start + (self.header.phoff - s.offset);
            }
        }
        if let Some(p) = self.segments.iter().find(|s| s.kind == PT_PHDR) {
            placed.headers = p.vaddr.wrapping_add(bias);
        }
        if placed.code.0 > placed.code.1 {
            placed.code = (0, 0);
        }
        Ok(placed)
    }

    fn place(&self, base: Base, total: u64, table: &mut VmaTable) -> Result<u64> {
        let align = self.loads().map(|s| s.align).filter(|a| a.is_power_of_two()).max().unwrap_or(PAGE);
        let align = align.clamp(PAGE, 1 << 30);
        match base {
            Base::Program(by_chance) => {
                let at = (DYN_BASE + by_chance) & !(align - 1);
                if is_guest_range(at, total) && table.is_free(at, at + total) {
                    return Ok(at);
                }
            }
            Base::Anywhere => {}
        }
        table.place_aligned(total, align).ok_or(Errno::ENOMEM)
    }

    fn map_segment(
        &self,
        file: &Arc<File>,
        s: &Segment,
        bias: u64,
        table: &mut VmaTable,
        actions: &mut Vec<Action>,
    ) -> Result<()> {
        let start = s.vaddr.wrapping_add(bias);
        let (map_start, map_end) = (page_down(start), page_up(start + s.memsz).ok_or(Errno::ENOMEM)?);
        if !is_guest_range(map_start, map_end - map_start) {
            return Err(if map_start < platform::GUEST_LOWEST { Errno::EPERM } else { Errno::ENOMEM });
        }
        if !self.header.dynamic && table.overlapping(map_start, map_end).next().is_some() {
            return Err(Errno::EEXIST);
        }
        if table.overlapping(map_start, map_end).any(|v| matches!(v.name, VmName::Vdso | VmName::Vvar)) {
            return Err(Errno::EINVAL);
        }
        let file_end =
            if s.filesz == 0 { map_start } else { page_up(start + s.filesz).ok_or(Errno::ENOMEM)? };
        let prot = s.prot();
        if file_end > map_start {
            map_file(file, s, map_start, file_end, start, table, actions)?;
            if prot & PROT_WRITE != 0 && s.memsz > s.filesz && start + s.filesz < file_end {
                let zero_end = file_end.min(page_up(start + s.memsz).unwrap_or(file_end));
                actions.push(Action::Zero { addr: start + s.filesz, len: zero_end - (start + s.filesz) });
            }
        }
        if map_end > file_end {
            actions.push(anonymous(file_end, map_end, prot));
            table.insert(Vma::anonymous(file_end, map_end, prot));
        }
        Ok(())
    }
}

/// A piece of the file that lies in its first page.
fn within(start: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(offset).ok()?;
    start.get(from..from.checked_add(len)?)
}

fn anonymous(start: u64, end: u64, prot: i32) -> Action {
    Action::Map {
        addr: start,
        len: end - start,
        prot,
        flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        file: None,
    }
}

/// Makes the mapping of a segment that ends where this one begins, in memory and in the file, hold this one too: a
/// mapping of a descriptor costs the stub a question, a change of rights does not.
fn extend(actions: &mut [Action], start: u64, more: u64, file: &Arc<OwnedFd>, from: u64) -> bool {
    let last = actions.iter_mut().rev().find(|a| !matches!(a, Action::Protect { .. }));
    match last {
        Some(Action::Map { addr, len, file: Some((fd, offset)), .. })
            if Arc::ptr_eq(fd, file) && *addr + *len == start && offset.checked_add(*len) == Some(from) =>
        {
            *len += more;
            true
        }
        _ => false,
    }
}

/// The file's part of a segment: mapped, or where the file cannot be mapped, read into memory.
fn map_file(
    file: &Arc<File>,
    s: &Segment,
    map_start: u64,
    map_end: u64,
    start: u64,
    table: &mut VmaTable,
    actions: &mut Vec<Action>,
) -> Result<()> {
    let prot = s.prot();
    let mut vma = Vma::anonymous(map_start, map_end, prot);
    match file.ops.mappable(file).and_then(|m| m.descriptor(false, false).map(|fd| (m, fd))) {
        Ok((map, fd)) => {
            let offset = page_down(s.offset);
            let len = map_end - map_start;
            if extend(actions, map_start, len, &fd, offset) {
                actions.push(Action::Protect { addr: map_start, len, prot });
            } else {
                let file = Some((fd, offset));
                actions.push(Action::Map { addr: map_start, len, prot, flags: libc::MAP_PRIVATE, file });
            }
            vma.file = Some(Backing { map, offset, anonymous: false });
        }
        Err(_) => {
            if s.filesz > MAX_READ {
                return Err(Errno::ENOMEM);
            }
            actions.push(anonymous(map_start, map_end, libc::PROT_READ | libc::PROT_WRITE));
            let (mut at, end) = (page_down(s.offset), s.offset + s.filesz);
            let mut to = start - (s.offset - at);
            while at < end {
                let bytes = read_at(file, at, (end - at).min(PIECE) as usize)?;
                if bytes.is_empty() {
                    return Err(Errno::EIO);
                }
                at += bytes.len() as u64;
                let next = to + bytes.len() as u64;
                actions.push(Action::Store { addr: to, bytes });
                to = next;
            }
            if prot != libc::PROT_READ | libc::PROT_WRITE {
                actions.push(Action::Protect { addr: map_start, len: map_end - map_start, prot });
            }
        }
    }
    table.insert(vma);
    Ok(())
}
