//! Processes and threads: making, ending, waiting, families, programs.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::Errno;
use platform::Mem;

use crate::kernel::clone::{self, CloneArgs};
use crate::kernel::extras::personality;
use crate::kernel::wait::{self, Found, Which};
use crate::kernel::{exec, exit, ptrace, robust, signals, Ctx, ExitStatus, Stop, SysResult, ThreadGroup};
use crate::loader::{self, ExecArgs, ExecEnv};
use crate::mm::UserPtr;
use crate::signal::SigInfo;
use crate::syscalls::args::Fd;
use crate::vfs::{File, Lookup};

/// getpid(2).
pub fn getpid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.group.pid as u64)
}

/// gettid(2).
pub fn gettid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.tid() as u64)
}

/// getppid(2).
pub fn getppid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.group.ppid() as u64)
}

/// set_tid_address(2).
pub fn set_tid_address(cx: &mut Ctx<'_>, addr: u64) -> SysResult {
    cx.task.clear_child_tid.store(addr, std::sync::atomic::Ordering::SeqCst);
    Ok(cx.task.tid() as u64)
}

/// fork(2).
pub fn fork(cx: &mut Ctx<'_>) -> SysResult {
    clone::clone(cx, CloneArgs { exit_signal: libc::SIGCHLD, ..Default::default() })
}

/// vfork(2).
pub fn vfork(cx: &mut Ctx<'_>) -> SysResult {
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    clone::clone(cx, CloneArgs { flags, exit_signal: libc::SIGCHLD, ..Default::default() })
}

/// An exit signal that is never sent, and yet not SIGCHLD: a "clone child" (wait(2), `__WCLONE`).
const NO_SIGNAL: i32 = 0;

/// clone(2), the x86-64 order of arguments.
pub fn clone(cx: &mut Ctx<'_>, flags: u64, sp: u64, parent_tid: u64, child_tid: u64, tls: u64) -> SysResult {
    // Of a signal that there is none of, nobody is told.
    let exit_signal = Some((flags & 0xff) as i32).filter(|s| *s <= 64).unwrap_or(NO_SIGNAL);
    let flags = flags & 0xffff_ff00;
    let beside_pidfd = (libc::CLONE_PARENT_SETTID | libc::CLONE_DETACHED) as u64;
    if flags & libc::CLONE_PIDFD as u64 != 0 && flags & beside_pidfd != 0 {
        return Err(Errno::EINVAL.into());
    }
    clone::clone(cx, CloneArgs { flags, pidfd: parent_tid, child_tid, parent_tid, exit_signal, sp, tls })
}

/// How deep process namespaces can be (`MAX_PID_NS_LEVEL`).
const MAX_NAMESPACES: u64 = 32;

/// clone3(2): `struct clone_args` of 64 to 88 bytes; larger ones must be zero behind.
pub fn clone3(cx: &mut Ctx<'_>, args: u64, size: usize) -> SysResult {
    if size < 64 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut raw = vec![0u8; size.max(88)];
    cx.mem.read(args, &mut raw[..size])?;
    if raw[88..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let word = |i: usize| u64::from_le_bytes(raw[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    let (stack, stack_size, tls) = (word(5), word(6), word(7));
    let (set_tid, set_tid_size, cgroup) = (word(8), word(9), word(10));
    let flags = word(0);
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    if flags & !(CLONE_INTO_CGROUP * 2 - 1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLONE_INTO_CGROUP != 0 {
        // There is one group only, and it has no descriptor that would do.
        if size < 88 || cgroup > i32::MAX as u64 {
            return Err(Errno::EINVAL.into());
        }
        cx.file(cgroup as i32)?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    let exit_signal = word(4);
    if flags & 0xff != 0
        || exit_signal > 64
        || (stack == 0) != (stack_size == 0)
        || set_tid_size > MAX_NAMESPACES
        || (set_tid == 0) != (set_tid_size == 0)
        || flags & libc::CLONE_DETACHED as u64 != 0
        || stack.checked_add(stack_size).is_none_or(|end| end > platform::GUEST_HIGHEST)
    {
        return Err(Errno::EINVAL.into());
    }
    if set_tid_size > 0 {
        // Numbers are not for processes to choose.
        cx.mem.read(set_tid, &mut vec![0; set_tid_size as usize * 4])?;
        return Err(Errno::EINVAL.into());
    }
    let thread_or_parent = (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64;
    if flags & thread_or_parent != 0 && exit_signal != 0 {
        return Err(Errno::EINVAL.into());
    }
    clone::clone(
        cx,
        CloneArgs {
            flags,
            pidfd: word(1),
            child_tid: word(2),
            parent_tid: word(3),
            exit_signal: exit_signal as i32,
            sp: if stack == 0 { 0 } else { stack.wrapping_add(stack_size) },
            tls,
        },
    )
}

/// exit(2): this thread alone.
pub fn exit(cx: &mut Ctx<'_>, code: i32) -> SysResult {
    see_end(cx, code)?;
    after_wakes(cx, move |cx| {
        let clear_tid = exit::leave(cx.kernel, cx.task, ExitStatus::Code(code as u8));
        Err(Stop::Exit { clear_tid })
    })
}

/// A tracer that wants to see a thread's end sees it before.
fn see_end(cx: &mut Ctx<'_>, code: i32) -> Result<(), Stop> {
    if let Some(mut t) = cx.task.ptrace.lock() {
        if t.has(ptrace::option::EXIT) && !std::mem::replace(&mut t.exit_seen, true) {
            t.due = Some((ptrace::event::EXIT, ExitStatus::Code(code as u8).to_wait() as u64));
            return Err(Stop::Traced);
        }
    }
    Ok(())
}

/// Wakes who waits for the caller's robust futexes, then goes on.
fn after_wakes(cx: &mut Ctx<'_>, then: impl FnOnce(&mut Ctx<'_>) -> SysResult + Send + 'static) -> SysResult {
    let wakes = robust::release(cx.task);
    if wakes.is_empty() {
        return then(cx);
    }
    Err(Stop::Act(wakes, Box::new(move |cx, _| then(cx))))
}

/// exit_group(2): the whole process.
pub fn exit_group(cx: &mut Ctx<'_>, code: i32) -> SysResult {
    see_end(cx, code)?;
    after_wakes(cx, move |cx| {
        let status = signals::begin_exit(&cx.task.group, ExitStatus::Code(code as u8));
        let clear_tid = exit::leave(cx.kernel, cx.task, status);
        Err(Stop::Exit { clear_tid })
    })
}

/// The most strings that are read for argv and envp together.
const MAX_STRINGS: usize = 0x7f_ffff;
/// The longest string (`MAX_ARG_STRLEN`).
const MAX_STRING: usize = 131_072;

/// Reads argv or envp; `budget` is what is left of the space for all strings.
fn read_strings(mem: &Mem<'_>, at: u64, budget: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut out = Vec::new();
    if at == 0 {
        return Ok(out);
    }
    let (mut pointers, mut strings) = (Page::default(), Page::default());
    for i in 0..MAX_STRINGS {
        let word = at.checked_add(8 * i as u64).ok_or(Errno::EFAULT)?;
        let p = match pointers.rest(mem, word)? {
            [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            // Not aligned, and on two pages.
            _ => UserPtr::<u64>::new(word).read(mem)?,
        };
        if p == 0 {
            return Ok(out);
        }
        let s = strings.string(mem, p)?;
        *budget = budget.checked_sub(s.len() + 1 + 8).ok_or(Errno::E2BIG)?;
        out.push(s);
    }
    Err(Errno::E2BIG)
}

/// The page of guest memory that was read last: pointers lie side by side, and so do most strings.
#[derive(Default)]
struct Page {
    at: u64,
    bytes: Vec<u8>,
}

impl Page {
    const LEN: u64 = 4096;

    /// What is at an address, to the end of its page.
    fn rest(&mut self, mem: &Mem<'_>, addr: u64) -> Result<&[u8], Errno> {
        let page = addr & !(Page::LEN - 1);
        if self.bytes.is_empty() || page != self.at {
            self.bytes.resize(Page::LEN as usize, 0);
            if let Err(e) = mem.read(page, &mut self.bytes) {
                self.bytes.clear();
                return Err(e);
            }
            self.at = page;
        }
        Ok(self.bytes.get((addr - page) as usize..).unwrap_or_default())
    }

    /// A string that may go on over pages.
    fn string(&mut self, mem: &Mem<'_>, addr: u64) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        while string.len() < MAX_STRING {
            let here = addr.checked_add(string.len() as u64).ok_or(Errno::EFAULT)?;
            let rest = self.rest(mem, here)?;
            match rest.iter().position(|b| *b == 0) {
                Some(end) => string.extend_from_slice(&rest[..end]),
                None => {
                    string.extend_from_slice(rest);
                    continue;
                }
            }
            return if string.len() < MAX_STRING { Ok(string) } else { Err(Errno::E2BIG) };
        }
        Err(Errno::E2BIG)
    }
}

/// execve(2).
pub fn execve(cx: &mut Ctx<'_>, path: u64, argv: u64, envp: u64) -> SysResult {
    execveat(cx, Fd(libc::AT_FDCWD), path, argv, envp, 0)
}

/// execveat(2).
pub fn execveat(cx: &mut Ctx<'_>, dir: Fd, path: u64, argv: u64, envp: u64, flags: u32) -> SysResult {
    exec::exec(cx, |cx| load(cx, dir, path, argv, envp, flags))
}

fn load(
    cx: &mut Ctx<'_>,
    dir: Fd,
    path: u64,
    argv: u64,
    envp: u64,
    flags: u32,
) -> Result<loader::Loaded, Stop> {
    let known = (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as u32;
    let path = cx.mem.read_cstr(path, 4096)?;
    if path.is_empty() && flags & libc::AT_EMPTY_PATH as u32 == 0 {
        return Err(Errno::ENOENT.into());
    }
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Too many of its new user's still.
    if cx.task.extras.over_nproc.swap(false, Relaxed) && clone::over_nproc(cx, 1) {
        return Err(Errno::EAGAIN.into());
    }
    let task = cx.task;
    let cred = task.cred();
    let base =
        if dir.0 == libc::AT_FDCWD || path.starts_with(b"/") { None } else { Some(cx.file_any(dir.0)?) };
    let open_flags = libc::O_RDONLY as u32
        | if flags & libc::AT_SYMLINK_NOFOLLOW as u32 != 0 { libc::O_NOFOLLOW as u32 } else { 0 };
    // Below a descriptor that exec closes, a script's interpreter would find nothing.
    let closes = base.is_some() && task.files().cloexec(dir.0)?;
    let mut own_name = None;
    let (file, name) = if path.is_empty() {
        let held = base.ok_or(Errno::EACCES)?;
        own_name = Some(file_name(&held));
        (crate::vfs::reopen_exec(&held, &cred)?, format!("/dev/fd/{}", dir.0).into_bytes())
    } else {
        let name = match &base {
            Some(_) => [format!("/dev/fd/{}/", dir.0).as_bytes(), &path].concat(),
            None => path.clone(),
        };
        let start = match &base {
            Some(f) => Some(f.path.clone().ok_or(Errno::ENOTDIR)?),
            None => None,
        };
        let look = Lookup { fs: task.fs().get(), cred: cred.clone(), base: start };
        (look.open_exec(&path, open_flags)?, name)
    };
    let stack_limit = cx.limit(crate::limits::resource::STACK);
    // A quarter of the stack, at least 32 pages, at most 6 MiB (execve(2), "Limits on size of arguments").
    let mut budget = (stack_limit / 4).clamp(32 * 4096, 6 << 20) as usize;
    let mut argv = read_strings(&cx.mem, argv, &mut budget)?;
    let envp = read_strings(&cx.mem, envp, &mut budget)?;
    if argv.is_empty() {
        argv.push(Vec::new());
    }
    let look = Lookup { fs: task.fs().get(), cred: cred.clone(), base: None };
    let persona = task.group.extras.personality.load(Relaxed);
    let env = ExecEnv {
        open: &|p| look.open_exec(p, libc::O_RDONLY as u32),
        cred: &cred,
        vdso: cx.kernel.platform.vdso(),
        stack_limit,
        steered: exec::steered(cx),
        fixed_places: persona & personality::ADDR_NO_RANDOMIZE != 0,
        read_implies_exec: persona & personality::READ_IMPLIES_EXEC != 0,
    };
    Ok(loader::load(ExecArgs { file, path: name, name: own_name, closes, argv, envp }, &env)?)
}

/// What a file is called where it lies, or as what it was made.
fn file_name(file: &File) -> Vec<u8> {
    let made = |label: &[u8]| {
        let label = label.strip_prefix(b"/").unwrap_or(label);
        label.strip_suffix(b" (deleted)").unwrap_or(label).to_vec()
    };
    match &file.path {
        Some(place) if place.is_detached() => made(&place.dentry.name()),
        Some(place) => place.dentry.name().to_vec(),
        None => made(file.label.as_bytes()),
    }
}

fn rusage(times: (u64, u64)) -> [u8; 144] {
    let mut out = [0; 144];
    for (i, t) in [times.0, times.1].into_iter().enumerate() {
        let at = i * 16;
        out[at..at + 8].copy_from_slice(&(t / 1_000_000_000).to_le_bytes());
        out[at + 8..at + 16].copy_from_slice(&(t / 1000 % 1_000_000).to_le_bytes());
    }
    out
}

/// wait4(2).
pub fn wait4(cx: &mut Ctx<'_>, pid: i32, status: UserPtr<i32>, options: i32, usage: u64) -> SysResult {
    let known = libc::WNOHANG
        | libc::WUNTRACED
        | libc::WCONTINUED
        | libc::__WALL
        | libc::__WCLONE
        | libc::__WNOTHREAD;
    if options & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => Which::Any,
        0 => Which::Pgrp(cx.task.group.state.lock().pgid),
        p if p < 0 => Which::Pgrp(-p),
        p => Which::Pid(p),
    };
    let Some(found) = wait::wait(cx, &which, options | libc::WEXITED)? else { return Ok(0) };
    status.write_opt(&cx.mem, &found.status)?;
    if usage != 0 {
        cx.mem.write(usage, &rusage(found.times))?;
    }
    Ok(found.pid as u64)
}

/// waitid(2).
pub fn waitid(cx: &mut Ctx<'_>, kind: i32, id: i32, info: u64, options: i32, usage: u64) -> SysResult {
    match waited(cx, kind, id, info, options, usage) {
        // The fields of a `siginfo_t` are written whatever comes out; where they cannot be, that is what comes out.
        Err(Stop::Errno(e)) if info != 0 => {
            cx.mem.write(info, &[0; 28])?;
            Err(e.into())
        }
        other => other,
    }
}

fn waited(cx: &mut Ctx<'_>, kind: i32, id: i32, info: u64, options: i32, usage: u64) -> SysResult {
    let states = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    let known = states | libc::WNOHANG | libc::WNOWAIT | libc::__WALL | libc::__WCLONE | libc::__WNOTHREAD;
    if options & !known != 0 || options & states == 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match kind {
        0 => Which::Any,
        1 if id > 0 => Which::Pid(id),
        2 if id > 0 => Which::Pgrp(id),
        2 if id == 0 => Which::Pgrp(cx.task.group.state.lock().pgid),
        3 if id >= 0 => match crate::kernel::hooks::pidfd_target(cx, id)? {
            (pid, true) => Which::Try(pid),
            (pid, false) => Which::Group(pid),
        },
        _ => return Err(Errno::EINVAL.into()),
    };
    let found = wait::wait(cx, &which, options)?;
    if info != 0 {
        let bytes = match found {
            Some(Found { pid, uid, code, value, .. }) => SigInfo::child(code, pid, uid, value, 0, 0).bytes,
            None => [0; 128],
        };
        cx.mem.write(info, &bytes)?;
    }
    if let (Some(f), true) = (found, usage != 0) {
        cx.mem.write(usage, &rusage(f.times))?;
    }
    Ok(0)
}

/// The group that a job-control call names: 0 is the caller's own.
fn named(cx: &Ctx<'_>, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    if pid == 0 || pid == cx.task.group.pid {
        return Ok(cx.task.group.clone());
    }
    cx.kernel.group(pid).ok_or(Errno::ESRCH)
}

/// unshare(2): what needs no namespace.
pub fn unshare(cx: &mut Ctx<'_>, flags: u64) -> SysResult {
    let alone = (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as u64;
    let known = (libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SYSVSEM) as u64;
    if flags & !(alone | known | clone::NAMESPACES) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & alone != 0 && cx.task.group.threads().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    // Not the address space of a process that another made with CLONE_VM: it can only be left by exec.
    if flags & libc::CLONE_VM as u64 != 0 && Arc::strong_count(&cx.task.mm()) > 2 {
        return Err(Errno::EINVAL.into());
    }
    let mounts = flags & libc::CLONE_NEWNS as u64 != 0;
    if flags & clone::NAMESPACES & !(libc::CLONE_NEWNS as u64) != 0 {
        return Err(clone::no_namespaces(cx).into());
    }
    if mounts {
        cx.task.cred().require(crate::cred::cap::SYS_ADMIN)?;
    }
    if mounts || flags & libc::CLONE_FS as u64 != 0 {
        cx.task.unshare_fs();
    }
    if mounts {
        cx.task.fs().unshare_mounts();
    }
    if flags & libc::CLONE_FILES as u64 != 0 {
        cx.task.unshare_files();
    }
    Ok(0)
}

/// setpgid(2).
pub fn setpgid(cx: &mut Ctx<'_>, pid: i32, pgid: i32) -> SysResult {
    if pgid < 0 || pgid == 0 && pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let me = cx.task.group.clone();
    let target = named(cx, pid)?;
    let own = Arc::ptr_eq(&me, &target);
    let my_sid = me.state.lock().sid;
    if !own {
        let s = target.state.lock();
        if !s.parent.upgrade().is_some_and(|p| Arc::ptr_eq(&p, &me)) {
            return Err(Errno::ESRCH.into());
        }
        if s.has_execed {
            return Err(Errno::EACCES.into());
        }
        if s.sid != my_sid {
            return Err(Errno::EPERM.into());
        }
    }
    if target.state.lock().sid == target.pid {
        return Err(Errno::EPERM.into());
    }
    let pgid = if pgid == 0 { target.pid } else { pgid };
    if pgid != target.pid && cx.kernel.groups_where(|s| s.pgid == pgid && s.sid == my_sid).is_empty() {
        return Err(Errno::EPERM.into());
    }
    target.state.lock().pgid = pgid;
    Ok(0)
}

/// getpgid(2).
pub fn getpgid(cx: &mut Ctx<'_>, pid: i32) -> SysResult {
    Ok(named(cx, pid)?.state.lock().pgid as u64)
}

/// getpgrp(2).
pub fn getpgrp(cx: &mut Ctx<'_>) -> SysResult {
    getpgid(cx, 0)
}

/// getsid(2).
pub fn getsid(cx: &mut Ctx<'_>, pid: i32) -> SysResult {
    Ok(named(cx, pid)?.state.lock().sid as u64)
}

/// setsid(2).
pub fn setsid(cx: &mut Ctx<'_>) -> SysResult {
    let pid = cx.task.group.pid;
    if !cx.kernel.groups_where(|s| s.pgid == pid).is_empty() {
        return Err(Errno::EPERM.into());
    }
    let mut s = cx.task.group.state.lock();
    s.sid = pid;
    s.pgid = pid;
    s.tty = None;
    Ok(pid as u64)
}
