//! seccomp(2), and its forms of prctl(2): a guest puts filters upon itself. All but a listener for user notification,
//! which is refused as by a kernel without it.

use linux_abi::{Errno, Result};
use policies::bpf::{ret, Program, SockFilter, MAX_LEN};

use crate::cred::cap;
use crate::kernel::{seccomp, Ctx, SysResult};
use crate::mm::UserPtr;

const SET_MODE_STRICT: u32 = 0;
const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;
const GET_NOTIF_SIZES: u32 = 3;

const FLAG_TSYNC: u32 = 1;
const FLAG_LOG: u32 = 2;
/// Keeps a processor's speculation mitigations off; there is nothing to do for it here.
const FLAG_SPEC_ALLOW: u32 = 4;
const FLAG_TSYNC_ESRCH: u32 = 16;

/// Sizes of `struct seccomp_notif`, `seccomp_notif_resp`, `seccomp_data`.
const NOTIF_SIZES: [u16; 3] = [80, 24, 64];

/// seccomp(2).
pub fn seccomp(cx: &mut Ctx<'_>, operation: u32, flags: u32, args: u64) -> SysResult {
    match operation {
        SET_MODE_STRICT if flags == 0 && args == 0 => strict(cx),
        SET_MODE_FILTER => add_filter(cx, flags, args),
        GET_ACTION_AVAIL if flags == 0 => {
            let action = UserPtr::<u32>::new(args).read(&cx.mem)?;
            match action {
                ret::KILL_PROCESS
                | ret::KILL_THREAD
                | ret::TRAP
                | ret::ERRNO
                | ret::TRACE
                | ret::LOG
                | ret::ALLOW => Ok(0),
                _ => Err(Errno::EOPNOTSUPP.into()),
            }
        }
        GET_NOTIF_SIZES if flags == 0 => {
            UserPtr::<[u16; 3]>::new(args).write(&cx.mem, &NOTIF_SIZES)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_SET_SECCOMP`.
pub fn by_prctl(cx: &mut Ctx<'_>, mode: u64, args: u64) -> SysResult {
    match u32::try_from(mode) {
        Ok(libc::SECCOMP_MODE_STRICT) => strict(cx),
        Ok(libc::SECCOMP_MODE_FILTER) => add_filter(cx, 0, args),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn strict(cx: &Ctx<'_>) -> SysResult {
    seccomp::set_strict(cx.task)?;
    Ok(0)
}

/// The checks in the kernel's order: flags, length, privilege, program, and only then what is there already.
fn add_filter(cx: &Ctx<'_>, flags: u32, args: u64) -> SysResult {
    if flags & !(FLAG_TSYNC | FLAG_LOG | FLAG_SPEC_ALLOW | FLAG_TSYNC_ESRCH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let program = read_program(cx, args)?;
    match seccomp::add(cx.task, program, flags & FLAG_LOG != 0, flags & FLAG_TSYNC != 0) {
        Ok(()) => Ok(0),
        Err(Err(e)) => Err(e.into()),
        Err(Ok(_)) if flags & FLAG_TSYNC_ESRCH != 0 => Err(Errno::ESRCH.into()),
        Err(Ok(tid)) => Ok(u64::try_from(tid).unwrap_or(0)),
    }
}

/// Reads `struct sock_fprog` and its program, once, and checks the copy.
fn read_program(cx: &Ctx<'_>, args: u64) -> Result<Program> {
    let [len, at] = UserPtr::<[u64; 2]>::new(args).read(&cx.mem)?;
    let len = usize::from(len as u16);
    if len == 0 || len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let cred = cx.task.cred();
    if !cred.no_new_privs && !cred.has(cap::SYS_ADMIN) {
        return Err(Errno::EACCES);
    }
    if at == 0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len * SockFilter::SIZE];
    cx.mem.read(at, &mut bytes)?;
    let whole = bytes.chunks_exact(SockFilter::SIZE).filter_map(|b| b.try_into().ok());
    let instructions: Vec<_> = whole.map(SockFilter::from_bytes).collect();
    Program::new(&instructions).map_err(|_| Errno::EINVAL)
}
