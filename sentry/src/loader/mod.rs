//! The ELF loader and the start of a program (execve(2), elf(5)).
//!
//! [`load`] runs on a task that still has its old program: it reads headers, resolves `#!` lines and the interpreter,
//! lays out the new address space, and returns what the stub is to do in the fresh one. Every error it returns is one
//! that the caller of execve can still be told. Neighbours: `kernel::exec`, which carries it out.

pub mod auxv;
mod elf;
mod image;
mod script;
mod stack;

use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::{Action, Regs, GUEST_HIGHEST};

use crate::cred::exec::{AfterExec, FileCaps, Program, Steered};
use crate::cred::Cred;
use crate::mm::vma::{page_down, page_up, VmFlags, VmName, Vma, VmaTable, PAGE};
use crate::vfs::{File, MountFlags};

/// What to run.
pub struct ExecArgs {
    pub file: Arc<File>,
    /// The path as it was given (`AT_EXECFN`, and what a script's interpreter is told).
    pub path: Vec<u8>,
    /// The task's new name comes from the file's own where the path is only a descriptor's.
    pub name: Option<Vec<u8>>,
    /// The path leads through a descriptor that exec closes: a script's interpreter could not open it.
    pub closes: bool,
    pub argv: Vec<Vec<u8>>,
    pub envp: Vec<Vec<u8>>,
}

/// For whom, and with what around it.
pub struct ExecEnv<'a> {
    /// Opens an interpreter for execution: looks it up and checks its permission.
    pub open: &'a dyn Fn(&[u8]) -> Result<Arc<File>>,
    pub cred: &'a Cred,
    /// As [`platform::Platform::vdso`] has it.
    pub vdso: (u64, u64, u64),
    /// The soft `RLIMIT_STACK`.
    pub stack_limit: u64,
    /// Whether somebody with fewer rights could steer the program.
    pub steered: Steered,
    /// `ADDR_NO_RANDOMIZE` of personality(2).
    pub fixed_places: bool,
    /// `READ_IMPLIES_EXEC` of personality(2).
    pub read_implies_exec: bool,
}

/// A program ready to start.
pub struct Loaded {
    pub actions: Vec<Action>,
    pub table: VmaTable,
    pub regs: Regs,
    /// What `/proc/PID/exe` leads to.
    pub exe: Arc<File>,
    pub comm: Vec<u8>,
    /// Who the program runs as.
    pub cred: AfterExec,
}

/// The longest single argument or environment string (`MAX_ARG_STRLEN`).
const MAX_STRING: usize = 128 << 10;
/// What arguments and environment may have at least (`ARG_MAX`).
const MIN_ARG_SPACE: u64 = 128 << 10;
/// And at most, whatever the stack limit is (three quarters of 8 MiB).
const MAX_ARG_SPACE: u64 = 6 << 20;
/// The stack is reserved whole at the start, without reserving memory for it: nothing needs to grow later. Limits
/// beyond this reserve this much.
const MAX_STACK: u64 = 64 << 20;
const MIN_STACK: u64 = 256 << 10;
/// Unmapped space between the stack and what lies below it (`stack_guard_gap`).
const STACK_GAP: u64 = 1 << 20;
/// Room below the stack's top for one whose limit is raised later (`MIN_GAP` of Linux).
const STACK_ROOM: u64 = 128 << 20;
/// How far the stack's top, the mappings' base and the heap's start are moved by chance: as far as Linux moves them.
const STACK_RANDOM: u64 = 1 << 34;
const MMAP_RANDOM: u64 = 1 << 40;
const BRK_RANDOM: u64 = 32 << 20;

/// Lays out a program.
pub fn load(args: ExecArgs, env: &ExecEnv<'_>) -> Result<Loaded> {
    let ExecArgs { file, path, name, closes, argv, envp } = args;
    check_sizes(&argv, &envp, env.stack_limit)?;
    let comm = base_name(name.as_deref().unwrap_or(&path));
    let found = script::resolve(file, path, argv, closes, env)?;
    let exe = found.file;
    let cred = env.cred.after_exec(&asked_by(&exe)?, env.steered)?;

    let mut seed = Random::new(env.fixed_places);
    let mut table = VmaTable::default();
    let mut actions = Vec::new();
    let (vdso_start, vdso_len, vdso_header) = env.vdso;
    reserve_vdso(&mut table, vdso_start, vdso_len, vdso_header);

    let stack_size = page_up(env.stack_limit.clamp(MIN_STACK, MAX_STACK)).ok_or(Errno::ENOMEM)?;
    let stack_top = stack_top(&table, stack_size, &mut seed)?;
    let below = (stack_size + STACK_GAP).max(STACK_ROOM);
    table.layout.mmap_top = page_down(stack_top - below - seed.below(MMAP_RANDOM));
    table.layout.stack_top = stack_top;

    let program = image::Program::read(&exe, Errno::ENOEXEC)?;
    let interpreter = match program.interpreter(&exe)? {
        Some(name) => {
            let file = (env.open)(&name)?;
            let elf = image::Program::read(&file, Errno::ELIBBAD)?;
            Some((file, elf))
        }
        None => None,
    };
    let main = program.map(&exe, image::Base::Program(seed.below(MMAP_RANDOM)), &mut table, &mut actions)?;
    table.layout.code = main.code;
    table.layout.data = main.data;
    let brk = page_up(main.end).ok_or(Errno::ENOMEM)?.saturating_add(page_down(seed.below(BRK_RANDOM)));
    let room = table.is_free(brk, brk + PAGE) && brk < GUEST_HIGHEST;
    table.layout.brk_start = if room { brk } else { page_up(main.end).ok_or(Errno::ENOMEM)? };
    table.layout.brk = table.layout.brk_start;
    let (entry, base) = match &interpreter {
        Some((file, elf)) => {
            let at = elf.map(file, image::Base::Anywhere, &mut table, &mut actions)?;
            (at.entry, at.bias)
        }
        None => (main.entry, 0),
    };

    let image = stack::build(&stack::Contents {
        top: stack_top,
        argv: &found.argv,
        envp: &envp,
        path: &found.path,
        random: seed.bytes(),
        cred: &cred.cred,
        secure: cred.secure,
        vdso: if vdso_len == 0 { 0 } else { vdso_header },
        headers: main.headers,
        header_count: main.header_count,
        entry: main.entry,
        base,
    });
    if (stack_top - image.sp) > stack_size - STACK_GAP.min(stack_size / 2) {
        return Err(Errno::E2BIG);
    }
    let mut stack = Vma::anonymous(stack_top - stack_size, stack_top, libc::PROT_READ | libc::PROT_WRITE);
    if program.executable_stack || env.read_implies_exec {
        stack.prot |= libc::PROT_EXEC;
    }
    stack.name = VmName::Stack;
    stack.flags = VmFlags::STACK | VmFlags::NORESERVE;
    actions.push(Action::Map {
        addr: stack.start,
        len: stack_size,
        prot: stack.prot,
        flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
        file: None,
    });
    actions.push(Action::Store { addr: image.sp, bytes: image.bytes });
    table.insert(stack);
    table.layout.args = image.args;
    table.layout.env = image.env;
    table.layout.auxv = image.auxv;

    let regs = Regs { rip: entry, rsp: image.sp, eflags: 0x202, ..Regs::default() };
    Ok(Loaded { actions, table, regs, exe, comm, cred })
}

/// The rights that a program's file asks for. Of a script nobody asks: its interpreter is the program.
fn asked_by(exe: &File) -> Result<Program> {
    let Some(place) = exe.path.as_ref().filter(|place| !place.mount.flags().contains(MountFlags::NOSUID))
    else {
        return Ok(Program::default());
    };
    let attrs = place.inode().attrs()?;
    let has = |bits: u32| attrs.perm & bits == bits;
    let caps = match place.inode().getxattr(FileCaps::NAME) {
        Ok(raw) => FileCaps::parse(&raw)?,
        Err(_) => None,
    };
    Ok(Program {
        set_uid: has(libc::S_ISUID).then_some(attrs.uid),
        // Without the group's right to run it, the bit once meant mandatory locks.
        set_gid: has(libc::S_ISGID | libc::S_IXGRP).then_some(attrs.gid),
        caps,
    })
}

/// `E2BIG` as execve(2), "Limits on size of arguments and environment".
fn check_sizes(argv: &[Vec<u8>], envp: &[Vec<u8>], stack_limit: u64) -> Result<()> {
    let limit = (stack_limit / 4).clamp(MIN_ARG_SPACE, MAX_ARG_SPACE);
    let mut total = 0u64;
    for s in argv.iter().chain(envp) {
        if s.len() >= MAX_STRING {
            return Err(Errno::E2BIG);
        }
        total = total.saturating_add(s.len() as u64 + 1 + 8);
    }
    if total > limit {
        return Err(Errno::E2BIG);
    }
    Ok(())
}

/// The host's vDSO is part of the map; nothing is placed over it.
fn reserve_vdso(table: &mut VmaTable, start: u64, len: u64, header: u64) {
    if len == 0 {
        return;
    }
    let end = start.saturating_add(len);
    let mut vvar = Vma::anonymous(start, header.clamp(start, end), libc::PROT_READ);
    vvar.name = VmName::Vvar;
    vvar.max_prot = libc::PROT_READ;
    table.insert(vvar);
    let mut vdso = Vma::anonymous(header.clamp(start, end), end, libc::PROT_READ | libc::PROT_EXEC);
    vdso.name = VmName::Vdso;
    vdso.max_prot = libc::PROT_READ | libc::PROT_EXEC;
    table.insert(vdso);
}

/// A random top for the stack with room below it, clear of the vDSO.
fn stack_top(table: &VmaTable, size: u64, seed: &mut Random) -> Result<u64> {
    let mut top = page_down(GUEST_HIGHEST - PAGE - seed.below(STACK_RANDOM));
    for _ in 0..4 {
        let (low, high) = (top - size - STACK_GAP, top + PAGE);
        let in_the_way = table.overlapping(low, high).next().map(|v| v.start);
        match in_the_way {
            None => return Ok(top),
            Some(start) => top = page_down(start - PAGE - seed.below(1 << 20)),
        }
    }
    Err(Errno::ENOMEM)
}

/// The last component, cut to 15 bytes: a task's name.
fn base_name(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    name.iter().take(15).copied().collect()
}

/// Numbers by chance, from the host: as many as a program needs, in one call.
struct Random {
    bytes: [u8; 128],
    used: usize,
    /// Places are not left to chance.
    fixed: bool,
}

impl Random {
    fn new(fixed: bool) -> Random {
        let mut random = Random { bytes: [0; 128], used: 0, fixed };
        random.fill();
        random
    }
    fn fill(&mut self) {
        // getrandom(2) fills up to 256 bytes whole once the host's pool is ready.
        let _ = rustix::rand::getrandom(&mut self.bytes, rustix::rand::GetRandomFlags::empty());
        self.used = 0;
    }
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > self.bytes.len() {
            self.fill();
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[self.used..self.used + N]);
        self.used += N;
        taken
    }
    fn bytes(&mut self) -> [u8; 16] {
        self.take()
    }
    fn below(&mut self, limit: u64) -> u64 {
        if self.fixed {
            return 0;
        }
        u64::from_be_bytes(self.take()) % limit.max(1)
    }
}

/// Reads up to `len` bytes of a file at an offset.
fn read_at(file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut out: Vec<u8> = Vec::new();
    while out.len() < len {
        let mut sink = crate::mm::VecSink::new(len - out.len());
        let n = file.ops.read(file, offset + out.len() as u64, &mut sink)?;
        if n == 0 || sink.data.is_empty() {
            break;
        }
        out.extend_from_slice(&sink.data);
    }
    Ok(out)
}
