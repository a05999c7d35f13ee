//! ptrace(2): what a tracer asks of the threads that it traces. The stops are `run::traced`'s.

use std::sync::Arc;

use linux_abi::{Errno, Result};
use platform::Regs;

use crate::kernel::ptrace::{self, option, words, Trace, View, Why, REGS};
use crate::kernel::{signals, Ctx, Restart, SysResult, Task};
use crate::signal::{SigInfo, SigSet};
use crate::wait_queue::PollEvents;

mod request {
    pub const TRACEME: u64 = 0;
    pub const PEEKTEXT: u64 = 1;
    pub const PEEKDATA: u64 = 2;
    pub const PEEKUSER: u64 = 3;
    pub const POKETEXT: u64 = 4;
    pub const POKEDATA: u64 = 5;
    pub const POKEUSER: u64 = 6;
    pub const CONT: u64 = 7;
    pub const KILL: u64 = 8;
    pub const SINGLESTEP: u64 = 9;
    pub const GETREGS: u64 = 12;
    pub const SETREGS: u64 = 13;
    pub const GETFPREGS: u64 = 14;
    pub const SETFPREGS: u64 = 15;
    pub const ATTACH: u64 = 16;
    pub const DETACH: u64 = 17;
    pub const SYSCALL: u64 = 24;
    pub const SETOPTIONS: u64 = 0x4200;
    pub const GETEVENTMSG: u64 = 0x4201;
    pub const GETSIGINFO: u64 = 0x4202;
    pub const SETSIGINFO: u64 = 0x4203;
    pub const GETREGSET: u64 = 0x4204;
    pub const SETREGSET: u64 = 0x4205;
    pub const SEIZE: u64 = 0x4206;
    pub const INTERRUPT: u64 = 0x4207;
    pub const LISTEN: u64 = 0x4208;
    pub const GETSIGMASK: u64 = 0x420a;
    pub const SETSIGMASK: u64 = 0x420b;
    pub const GET_SYSCALL_INFO: u64 = 0x420e;
}

/// `struct user_regs_struct`, in words, and `struct user` in bytes.
const REGS_LEN: usize = REGS * 8;
const USER_LEN: u64 = 912;
const NT_PRSTATUS: u64 = 1;
const NT_PRFPREG: u64 = 2;
const NT_X86_XSTATE: u64 = 0x202;
const FP_LEN: usize = 512;
/// Where software keeps its own words in the floating-point state: the frame's, and the mask of features.
const SW_BYTES: std::ops::Range<usize> = 464..512;
/// What a guest may change of its flags, as Linux allows it to a tracer.
const FLAGS: u64 = 0x0005_0dd5 | 0x0020_0000 | ptrace::TRAP_FLAG;

/// ptrace(2).
pub fn ptrace(cx: &mut Ctx<'_>, request: u64, pid: i32, addr: u64, data: u64) -> SysResult {
    match request {
        request::TRACEME => return traceme(cx),
        request::ATTACH | request::SEIZE => return attach(cx, request, pid, addr, data),
        _ => {}
    }
    let task = cx.kernel.task(pid).ok_or(Errno::ESRCH)?;
    if !task.ptrace.is_traced_by(&cx.task.group) {
        return Err(Errno::ESRCH.into());
    }
    match request {
        request::KILL => {
            signals::send_to_task(&task, SigInfo::user(libc::SIGKILL, 0, cx.task.group.pid, 0));
            return Ok(0);
        }
        request::INTERRUPT => {
            trace(&task, |t| {
                t.interrupt = t.seized && t.stop.is_none();
                t.seized.then_some(()).ok_or(Errno::EIO)
            })?;
            task.kick();
            return Ok(0);
        }
        _ => {}
    }
    trace(&task, |t| if t.stop.is_some() { Ok(()) } else { Err(Errno::ESRCH) })?;
    match request {
        request::PEEKTEXT | request::PEEKDATA => {
            let mut word = [0; 8];
            task.mm().read_exact(addr, &mut word).map_err(|_| Errno::EIO)?;
            cx.mem.write(data, &word)?;
            Ok(0)
        }
        request::POKETEXT | request::POKEDATA => poke(cx, &task, addr, data),
        request::PEEKUSER => {
            let word = peek_user(&task, addr)?;
            cx.mem.write(data, &word.to_le_bytes())?;
            Ok(0)
        }
        request::POKEUSER => poke_user(&task, addr, data),
        request::GETREGS => {
            let view = trace(&task, |t| Ok(t.view))?;
            cx.mem.write(data, &to_bytes(&view))?;
            Ok(0)
        }
        request::SETREGS => {
            let mut raw = [0; REGS_LEN];
            cx.mem.read(data, &mut raw)?;
            set_regs(&task, &raw)
        }
        request::GETFPREGS => {
            cx.mem.write(data, &fp_state(&task)[..FP_LEN])?;
            Ok(0)
        }
        request::SETFPREGS => {
            let mut raw = vec![0; FP_LEN];
            cx.mem.read(data, &mut raw)?;
            set_fp(&task, &raw)
        }
        request::GETREGSET | request::SETREGSET => regset(cx, &task, request, addr, data),
        request::CONT | request::SYSCALL | request::SINGLESTEP | request::DETACH => {
            go_on(cx, &task, request, data)
        }
        request::LISTEN => {
            trace(&task, |t| {
                let group = matches!(t.stop.map(|s| s.why), Some(Why::Group(_)));
                if !t.seized || !group {
                    return Err(Errno::EIO);
                }
                t.listening = true;
                Ok(())
            })?;
            task.wake();
            Ok(0)
        }
        request::SETOPTIONS => {
            let options = u32::try_from(data).ok().filter(|o| o & !option::ALL == 0).ok_or(Errno::EINVAL)?;
            trace(&task, |t| {
                t.options = options;
                Ok(())
            })?;
            Ok(0)
        }
        request::GETEVENTMSG => {
            let message = trace(&task, |t| Ok(t.message))?;
            cx.mem.write(data, &message.to_le_bytes())?;
            Ok(0)
        }
        request::GETSIGINFO => {
            let info = trace(&task, |t| info_of(t, task.tid()))?;
            cx.mem.write(data, &info.bytes)?;
            Ok(0)
        }
        request::SETSIGINFO => {
            let mut raw = [0; 128];
            cx.mem.read(data, &mut raw)?;
            trace(&task, |t| match t.stop.as_mut().map(|s| &mut s.why) {
                Some(Why::Signal(info)) => {
                    *info = SigInfo::from_bytes(info.signo, raw);
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            })?;
            Ok(0)
        }
        request::GETSIGMASK | request::SETSIGMASK if addr != 8 => Err(Errno::EINVAL.into()),
        request::GETSIGMASK => {
            let mask = task.sig.lock().mask.0;
            cx.mem.write(data, &mask.to_le_bytes())?;
            Ok(0)
        }
        request::SETSIGMASK => {
            let mut raw = [0; 8];
            cx.mem.read(data, &mut raw)?;
            signals::set_mask(&task, SigSet(u64::from_le_bytes(raw)));
            Ok(0)
        }
        request::GET_SYSCALL_INFO => syscall_info(cx, &task, addr, data),
        _ => Err(Errno::EIO.into()),
    }
}

/// Looks at, or changes, what is between tracer and tracee; `ESRCH` where that has ended.
fn trace<R>(task: &Task, f: impl FnOnce(&mut Trace) -> Result<R>) -> Result<R> {
    f(&mut *task.ptrace.lock().ok_or(Errno::ESRCH)?)
}

fn traceme(cx: &Ctx<'_>) -> SysResult {
    let parent = cx.task.group.state.lock().parent.upgrade().ok_or(Errno::EPERM)?;
    if parent.pid == crate::kernel::INIT_PID {
        // Nobody there would let it go on again.
        return Err(Errno::EPERM.into());
    }
    ptrace::attach(&parent, cx.task, Trace::new(&parent, false, 0))?;
    Ok(0)
}

fn attach(cx: &Ctx<'_>, request: u64, pid: i32, addr: u64, data: u64) -> SysResult {
    let seize = request == request::SEIZE;
    let task = cx.kernel.task(pid).ok_or(Errno::ESRCH)?;
    if seize && (addr != 0 || data & !u64::from(option::ALL) != 0) {
        return Err(Errno::EIO.into());
    }
    if Arc::ptr_eq(&task.group, &cx.task.group) {
        return Err(Errno::EPERM.into());
    }
    ptrace::may_access(&cx.task.cred(), &task)?;
    let options = if seize { data as u32 } else { 0 };
    ptrace::attach(&cx.task.group, &task, Trace::new(&cx.task.group, seize, options))?;
    let stopped = task.group.state.lock().stopped.is_some();
    if stopped {
        // It stands in its group's stop, and comes to stand in its tracer's.
        task.kick();
    }
    if !seize && !stopped {
        signals::send_to_task(&task, SigInfo::user(libc::SIGSTOP, 0, cx.task.group.pid, cx.task.cred().uid));
    }
    Ok(0)
}

/// Lets a stopped thread go on, with the signal that the tracer wants it to have.
fn go_on(cx: &Ctx<'_>, task: &Arc<Task>, request: u64, data: u64) -> SysResult {
    let signo = i32::try_from(data).ok().filter(|s| (0..=64).contains(s)).ok_or(Errno::EIO)?;
    let (pid, uid) = (cx.task.group.pid, cx.task.cred().uid);
    let again = trace(task, |t| {
        let stop = t.stop.take();
        t.listening = false;
        t.syscalls = request == request::SYSCALL;
        t.stepping = request == request::SINGLESTEP;
        t.inject = None;
        let mut plain = None;
        match stop.map(|s| s.why) {
            Some(Why::Signal(info)) if signo == info.signo => t.inject = Some(info),
            Some(Why::Signal(_)) if signo != 0 => t.inject = Some(SigInfo::user(signo, 0, pid, uid)),
            Some(Why::Enter | Why::Exit) if signo != 0 => plain = Some(SigInfo::user(signo, 0, pid, uid)),
            _ => {}
        }
        Ok(plain)
    })?;
    if let Some(info) = again {
        signals::send_to_task(task, info);
    }
    if request == request::DETACH {
        ptrace::detach(task);
    } else {
        task.wake();
    }
    Ok(0)
}

fn info_of(t: &Trace, tid: i32) -> Result<SigInfo> {
    match t.stop.map(|s| (s.why, s.code)) {
        Some((Why::Signal(info), _)) => Ok(info),
        Some((Why::Group(_), _)) => Err(Errno::EINVAL),
        // As Linux: the code that wait(2) shows is `si_code`.
        Some((_, code)) => Ok(SigInfo::user(libc::SIGTRAP, code, tid, 0)),
        None => Err(Errno::ESRCH),
    }
}

fn from_words(w: &[u64; REGS], before: &View) -> View {
    let [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, _, flags, rsp, _, fs_base, ..] =
        *w;
    let eflags = before.regs.eflags & !FLAGS | flags & FLAGS;
    let regs = Regs {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags,
        fs_base,
    };
    View { regs, orig_rax }
}

fn to_bytes(view: &View) -> Vec<u8> {
    words(view).iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Addresses outside of user space are refused, as Linux refuses them (`putreg`).
fn check(view: &View) -> Result<()> {
    if view.regs.fs_base >= platform::GUEST_HIGHEST {
        return Err(Errno::EIO);
    }
    Ok(())
}

fn set_regs(task: &Task, raw: &[u8]) -> SysResult {
    trace(task, |t| {
        let mut w = words(&t.view);
        for (to, from) in w.iter_mut().zip(raw.chunks_exact(8)) {
            *to = from.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
        }
        let view = from_words(&w, &t.view);
        check(&view)?;
        (t.view, t.dirty) = (view, true);
        Ok(())
    })?;
    Ok(0)
}

fn peek_user(task: &Task, addr: u64) -> Result<u64> {
    if !addr.is_multiple_of(8) || addr >= USER_LEN {
        return Err(Errno::EIO);
    }
    // Debug registers and the rest of `struct user` are nought.
    trace(task, |t| Ok(words(&t.view).get(addr as usize / 8).copied().unwrap_or(0)))
}

fn poke_user(task: &Task, addr: u64, value: u64) -> SysResult {
    const DEBUG_REGISTERS: std::ops::Range<u64> = 848..912;
    if !addr.is_multiple_of(8) || addr >= USER_LEN {
        return Err(Errno::EIO.into());
    }
    if DEBUG_REGISTERS.contains(&addr) {
        // There are none: a debugger falls back to stepping.
        return if value == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) };
    }
    trace(task, |t| {
        let mut w = words(&t.view);
        *w.get_mut(addr as usize / 8).ok_or(Errno::EIO)? = value;
        let view = from_words(&w, &t.view);
        check(&view)?;
        (t.view, t.dirty) = (view, true);
        Ok(())
    })?;
    Ok(0)
}

/// Writes a word. What the guest itself may not write is written by its stub, which takes a moment.
fn poke(cx: &mut Ctx<'_>, task: &Arc<Task>, addr: u64, word: u64) -> SysResult {
    let bytes = word.to_le_bytes();
    if cx.block.runs == 0 && task.mm().space.write(addr, &bytes).is_ok_and(|n| n == bytes.len()) {
        return Ok(0);
    }
    force(cx, task, addr, &bytes)
}

/// Has the stub of a stopped thread that the caller traces write what the guest may not.
pub fn force(cx: &mut Ctx<'_>, task: &Arc<Task>, addr: u64, bytes: &[u8]) -> SysResult {
    if cx.block.runs == 0 {
        if !ptrace::may_store(&task.mm(), addr, bytes.len()) {
            return Err(Errno::EIO.into());
        }
        trace(task, |t| {
            t.poke_failed = false;
            t.pokes.push_back((addr, bytes.to_vec()));
            Ok(())
        })?;
        task.wake();
    }
    loop {
        let (done, failed, queue) =
            trace(task, |t| Ok((t.pokes.is_empty(), t.poke_failed, t.poked.clone())))?;
        if done {
            return if failed { Err(Errno::EIO.into()) } else { Ok(0) };
        }
        cx.wait(&[(&queue, PollEvents::IN)], Restart::Killable)?;
    }
}

/// The extended state as ptrace(2) gives it: the mask of features where signal frames have words of their own.
fn fp_state(task: &Task) -> Vec<u8> {
    let Some(mut state) = task.thread().fp_state() else {
        // A program that has just begun.
        let mut fresh = vec![0; FP_LEN];
        fresh[..2].copy_from_slice(&0x37fu16.to_le_bytes());
        fresh[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        return fresh;
    };
    const MAGIC: u32 = 0x4650_5853;
    let word = |s: &[u8], at: usize| u32::from_le_bytes([s[at], s[at + 1], s[at + 2], s[at + 3]]);
    let extended = word(&state, SW_BYTES.start) == MAGIC;
    let size = if extended { word(&state, SW_BYTES.start + 16) as usize } else { FP_LEN };
    let mut features = [0; 8];
    features.copy_from_slice(&state[SW_BYTES.start + 8..SW_BYTES.start + 16]);
    state[SW_BYTES].fill(0);
    if extended {
        state[SW_BYTES.start..SW_BYTES.start + 8].copy_from_slice(&features);
    }
    state.truncate(size.max(FP_LEN));
    state
}

fn set_fp(task: &Task, raw: &[u8]) -> SysResult {
    // What belongs to the frame stays the stub's.
    let head = &raw[..raw.len().min(SW_BYTES.start)];
    let mut good = task.thread().set_fp_state(head);
    if let (Some(tail), Some(now)) = (raw.get(SW_BYTES.end..), task.thread().fp_state()) {
        if good && !tail.is_empty() && now.len() >= raw.len() {
            let mut whole = now;
            whole.truncate(raw.len());
            whole[SW_BYTES.end..].copy_from_slice(tail);
            good = task.thread().set_fp_state(&whole);
        }
    }
    if good {
        Ok(0)
    } else {
        Err(Errno::EIO.into())
    }
}

/// `PTRACE_GETREGSET` and `PTRACE_SETREGSET`: `data` is a `struct iovec`.
fn regset(cx: &Ctx<'_>, task: &Task, request: u64, kind: u64, data: u64) -> SysResult {
    let mut raw = [0; 16];
    cx.mem.read(data, &mut raw)?;
    let word = |at: usize| raw[at..at + 8].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let (base, len) = (word(0), word(8));
    if !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let now = match kind {
        NT_PRSTATUS => to_bytes(&trace(task, |t| Ok(t.view))?),
        NT_PRFPREG => fp_state(task)[..FP_LEN].to_vec(),
        NT_X86_XSTATE => fp_state(task),
        _ => return Err(Errno::EINVAL.into()),
    };
    let n = (len as usize).min(now.len());
    if request == request::GETREGSET {
        cx.mem.write(base, &now[..n])?;
    } else {
        let mut new = vec![0; n];
        cx.mem.read(base, &mut new)?;
        if kind == NT_PRSTATUS {
            set_regs(task, &new)?;
        } else {
            set_fp(task, &new)?;
        }
    }
    cx.mem.write(data.wrapping_add(8), &(n as u64).to_le_bytes())?;
    Ok(0)
}

/// `struct ptrace_syscall_info`: what stop it is, and what of the call is known there.
fn syscall_info(cx: &Ctx<'_>, task: &Task, size: u64, to: u64) -> SysResult {
    const ARCH: u32 = 0xc000_003e;
    let (view, why) = trace(task, |t| Ok((t.view, t.stop.map(|s| s.why))))?;
    let r = view.regs;
    let mut b = vec![0u8; 8];
    b[4..].copy_from_slice(&ARCH.to_le_bytes());
    let mut put = |words: &[u64]| words.iter().for_each(|w| b.extend_from_slice(&w.to_le_bytes()));
    put(&[r.rip, r.rsp]);
    let op = match why {
        Some(Why::Enter) => {
            put(&[view.orig_rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]);
            1
        }
        Some(Why::Exit) => {
            put(&[r.rax]);
            b.push(u8::from((-4095..0).contains(&(r.rax as i64))));
            2
        }
        _ => 0,
    };
    b[0] = op;
    let n = b.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    cx.mem.write(to, &b[..n])?;
    Ok(b.len() as u64)
}
