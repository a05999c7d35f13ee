//! Core dumps (core(5)): an ELF file `core` in the working directory of a process that a signal ends, as large as
//! `RLIMIT_CORE` allows. It has what a debugger asks for: memory, registers, what is mapped where.
//!
//! Written by the thread that dies, from its handler; memory that holds nothing becomes a hole.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::ptrace::{words, View};
use super::task::Task;
use crate::limits::resource;
use crate::mm::vma::{VmFlags, Vma, PAGE};
use crate::mm::{AddressSpace, SliceSource};
use crate::signal::SigInfo;
use crate::time::NSEC;
use crate::vfs::{File, FileKind, Lookup};

/// Less than this holds nothing that is of use (`ELF_EXEC_PAGESIZE`).
const LEAST: u64 = 4096;
/// The most that is written, whatever the limit is.
const MOST: u64 = 16 << 30;
/// How much is copied at once.
const PIECE: usize = 256 << 10;
/// Threads and mappings beyond this are left out.
const MAX_THREADS: usize = 4096;
const MAX_MAPPINGS: usize = 60_000;

const EHDR: usize = 64;
const PHDR: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// Writes the core of a process that ends by this signal. Whether there is one, as wait(2) tells (`WCOREDUMP`).
pub fn dump(task: &Arc<Task>, info: &SigInfo) -> bool {
    let limit = task.group.limit(resource::CORE).min(MOST);
    if limit < LEAST || task.group.extras.undumpable.load(Relaxed) {
        return false;
    }
    match create(task).and_then(|file| write(task, info, &file, limit)) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "no core was written");
            false
        }
    }
}

/// The file: its owner's alone, and never through a link.
fn create(task: &Task) -> Result<Arc<File>> {
    let cred = task.cred();
    let look = Lookup { fs: task.fs().get(), cred: cred.clone(), base: None };
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_NOFOLLOW;
    let file = look.open(b"core", flags as u32, 0o600)?;
    let a = file.inode().ok_or(Errno::EINVAL)?.attrs()?;
    if a.kind != FileKind::Regular || a.nlink != 1 || a.uid != cred.fsuid {
        return Err(Errno::EPERM);
    }
    file.ops.truncate(&file, 0)?;
    Ok(file)
}

fn write(task: &Arc<Task>, info: &SigInfo, file: &File, limit: u64) -> Result<()> {
    let memory = task.mm();
    let mappings: Vec<Vma> = memory.with_table(|t| t.iter().take(MAX_MAPPINGS).cloned().collect());
    let notes = notes(task, info, &memory, &mappings);
    let headers = (EHDR + PHDR * (1 + mappings.len())) as u64;
    let first = (headers + notes.len() as u64).next_multiple_of(PAGE);

    let mut head = elf_header(1 + mappings.len());
    head.extend(program_header(PT_NOTE, 0, headers, 0, notes.len() as u64, 0));
    let mut at = first;
    for v in &mappings {
        let size = if is_dumped(v) { v.len() } else { 0 };
        head.extend(program_header(PT_LOAD, rights(v.prot), at, v.start, size, v.len()));
        at += size;
    }
    head.extend(notes);
    let mut out = Output { file, limit };
    out.put(0, &head)?;
    let mut at = first;
    for v in mappings.iter().filter(|v| is_dumped(v)) {
        copy(&mut out, &memory, v, at)?;
        at += v.len();
    }
    out.end_at(at)
}

/// Everything but what was asked to be left out, and what is only a file's (core(5), "coredump_filter": bits 0, 1, 4, 5).
fn is_dumped(v: &Vma) -> bool {
    let of_file =
        v.file.as_ref().is_some_and(|f| !f.anonymous) && (v.shared() || v.prot & libc::PROT_WRITE == 0);
    !v.flags.contains(VmFlags::DONTDUMP) && !of_file && v.prot != libc::PROT_NONE
}

struct Output<'a> {
    file: &'a File,
    limit: u64,
}

impl Output<'_> {
    /// What lies beyond the limit is left out.
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let room = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut rest = &bytes[..bytes.len().min(room)];
        let mut at = at;
        while !rest.is_empty() {
            let n = self.file.ops.write_at(self.file, at, &mut SliceSource(rest))?;
            if n == 0 {
                return Err(Errno::ENOSPC);
            }
            rest = &rest[n..];
            at += n as u64;
        }
        Ok(())
    }

    /// A hole at the end is part of the file.
    fn end_at(&mut self, end: u64) -> Result<()> {
        let end = end.min(self.limit);
        if self.file.ops.size(self.file)? < end {
            self.file.ops.truncate(self.file, end)?;
        }
        Ok(())
    }
}

fn copy(out: &mut Output<'_>, memory: &AddressSpace, v: &Vma, at: u64) -> Result<()> {
    let mut piece = vec![0; PIECE.min(v.len() as usize)];
    let mut done = 0;
    while done < v.len() && at + done < out.limit {
        let want = piece.len().min((v.len() - done) as usize);
        // What cannot be read (the end of a file that was cut) stays a hole.
        let n = memory.space.read(v.start + done, &mut piece[..want]).unwrap_or(0);
        for (i, page) in piece[..n].chunks(PAGE as usize).enumerate() {
            if page.iter().any(|b| *b != 0) {
                out.put(at + done + i as u64 * PAGE, page)?;
            }
        }
        done += if n == 0 { PAGE } else { n as u64 };
    }
    Ok(())
}

fn rights(prot: i32) -> u32 {
    let bit = |p: i32, f: u32| if prot & p != 0 { f } else { 0 };
    bit(libc::PROT_READ, 4) | bit(libc::PROT_WRITE, 2) | bit(libc::PROT_EXEC, 1)
}

fn elf_header(segments: usize) -> Vec<u8> {
    let mut h = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    h.resize(16, 0);
    // ET_CORE, EM_X86_64.
    h.extend([4, 0, 62, 0]);
    h.extend(1u32.to_le_bytes());
    h.extend(0u64.to_le_bytes());
    h.extend((EHDR as u64).to_le_bytes());
    h.extend(0u64.to_le_bytes());
    h.extend(0u32.to_le_bytes());
    for n in [EHDR, PHDR, segments, 0, 0, 0] {
        h.extend((n as u16).to_le_bytes());
    }
    h
}

fn program_header(kind: u32, flags: u32, offset: u64, addr: u64, size: u64, span: u64) -> Vec<u8> {
    let mut h = Vec::with_capacity(PHDR);
    h.extend(kind.to_le_bytes());
    h.extend(flags.to_le_bytes());
    let align = if kind == PT_LOAD { PAGE } else { 4 };
    for v in [offset, addr, 0, size, span, align] {
        h.extend(v.to_le_bytes());
    }
    h
}

fn note(out: &mut Vec<u8>, kind: u32, content: &[u8]) {
    out.extend(5u32.to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(b"CORE\0\0\0\0");
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn notes(task: &Arc<Task>, info: &SigInfo, memory: &AddressSpace, mappings: &[Vma]) -> Vec<u8> {
    let mut out = Vec::new();
    note(&mut out, NT_PRSTATUS, &status(task, info.signo));
    note(&mut out, NT_PRPSINFO, &process(task, memory));
    note(&mut out, NT_SIGINFO, &info.bytes);
    note(&mut out, NT_AUXV, &memory.auxv());
    note(&mut out, NT_FILE, &files(mappings));
    if let Some(state) = task.thread().fp_state() {
        note(&mut out, NT_FPREGSET, &state[..state.len().min(512)]);
    }
    let others = task.group.threads();
    for other in others.iter().filter(|t| !Arc::ptr_eq(t, task)).take(MAX_THREADS) {
        note(&mut out, NT_PRSTATUS, &status(other, 0));
    }
    out
}

/// `struct elf_prstatus`.
fn status(task: &Task, signo: i32) -> Vec<u8> {
    let group = &task.group;
    let (ppid, pgid, sid) = {
        let ppid = group.ppid();
        let s = group.state.lock();
        (ppid, s.pgid, s.sid)
    };
    let (pending, mask) = {
        let sig = task.sig.lock();
        (sig.pending.set().0, sig.mask.0)
    };
    let mut out = Vec::new();
    for v in [signo, 0, 0] {
        out.extend(v.to_le_bytes());
    }
    out.extend((signo as u32).to_le_bytes());
    out.extend(pending.to_le_bytes());
    out.extend(mask.to_le_bytes());
    for v in [task.tid(), ppid, pgid, sid] {
        out.extend(v.to_le_bytes());
    }
    let (user, system) = task.thread().cpu_time();
    for t in [user, system, 0, 0] {
        out.extend((t / NSEC).to_le_bytes());
        out.extend((t % NSEC / 1000).to_le_bytes());
    }
    let view = View { regs: task.thread().regs(), orig_rax: u64::MAX };
    words(&view).iter().for_each(|w| out.extend(w.to_le_bytes()));
    out.extend(1u64.to_le_bytes());
    out
}

/// `struct elf_prpsinfo`.
fn process(task: &Task, memory: &AddressSpace) -> Vec<u8> {
    let group = &task.group;
    let cred = task.cred();
    let (ppid, pgid, sid) = {
        let ppid = group.ppid();
        let s = group.state.lock();
        (ppid, s.pgid, s.sid)
    };
    let mut out = vec![0, b'R', 0, task.extras.nice.load(Relaxed) as u8, 0, 0, 0, 0];
    out.extend(0u64.to_le_bytes());
    for v in [cred.uid, cred.gid] {
        out.extend(v.to_le_bytes());
    }
    for v in [group.pid, ppid, pgid, sid] {
        out.extend(v.to_le_bytes());
    }
    let mut text = |bytes: &[u8], len: usize| {
        let n = bytes.len().min(len - 1);
        out.extend(&bytes[..n]);
        out.resize(out.len() + len - n, 0);
    };
    text(&task.name.lock(), 16);
    let mut args = memory.cmdline();
    args.iter_mut().filter(|b| **b == 0).for_each(|b| *b = b' ');
    text(args.trim_ascii_end(), 80);
    out
}

/// What is mapped from files: start, end, page in the file; then the names.
fn files(mappings: &[Vma]) -> Vec<u8> {
    let of_file = |v: &&Vma| v.file.as_ref().is_some_and(|f| !f.anonymous);
    let all: Vec<&Vma> = mappings.iter().filter(of_file).collect();
    let mut out = Vec::new();
    out.extend((all.len() as u64).to_le_bytes());
    out.extend(PAGE.to_le_bytes());
    let mut names = Vec::new();
    for v in all {
        let Some(f) = &v.file else { continue };
        for n in [v.start, v.end, f.offset / PAGE] {
            out.extend(n.to_le_bytes());
        }
        names.extend(f.map.name().into_bytes());
        names.push(0);
    }
    out.extend(names);
    out
}
