//! prctl(2) and arch_prctl(2).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::identity::{self, SECBIT_KEEP_CAPS, SECBIT_NO_CAP_AMBIENT_RAISE};
use crate::cred::{cap, ALL_CAPS};
use crate::kernel::{Ctx, Stop, SysResult};
use crate::mm::vma::{page_up, VmName, PAGE};
use crate::mm::UserPtr;

const PR_GET_AUXV: i32 = 0x4155_5856;
const PR_MCE_KILL_GET: i32 = 34;
const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_GET_TID_ADDRESS: i32 = 40;
/// `TASK_COMM_LEN`, with its NUL.
const COMM: usize = 16;
const LAST_CAP: u64 = 40;

/// prctl(2).
pub fn prctl(cx: &mut Ctx<'_>, option: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    let group = cx.task.group.clone();
    let unused = |list: &[u64]| if list.iter().any(|v| *v != 0) { Err(Errno::EINVAL) } else { Ok(()) };
    match option {
        libc::PR_SET_NAME => {
            *cx.task.name.lock() = name(cx, a)?;
            Ok(0)
        }
        libc::PR_GET_NAME => {
            let mut out = [0u8; COMM];
            let name = cx.task.name.lock().clone();
            let n = name.len().min(COMM - 1);
            out[..n].copy_from_slice(&name[..n]);
            cx.mem.write(a, &out)?;
            Ok(0)
        }
        libc::PR_SET_DUMPABLE => {
            if a > 1 {
                return Err(Errno::EINVAL.into());
            }
            group.extras.undumpable.store(a == 0, Relaxed);
            Ok(0)
        }
        libc::PR_GET_DUMPABLE => Ok(u64::from(!group.extras.undumpable.load(Relaxed))),
        libc::PR_SET_NO_NEW_PRIVS => {
            unused(&[b, c, d])?;
            if a != 1 {
                return Err(Errno::EINVAL.into());
            }
            identity::change(cx, |cred| {
                cred.no_new_privs = true;
                Ok(())
            })
        }
        libc::PR_GET_NO_NEW_PRIVS => {
            unused(&[a, b, c, d])?;
            Ok(cx.task.cred().no_new_privs.into())
        }
        libc::PR_SET_KEEPCAPS => match a {
            0 | 1 => identity::change(cx, |cred| {
                cred.securebits &= !SECBIT_KEEP_CAPS;
                cred.securebits |= if a == 1 { SECBIT_KEEP_CAPS } else { 0 };
                Ok(())
            }),
            _ => Err(Errno::EINVAL.into()),
        },
        libc::PR_GET_KEEPCAPS => Ok(u64::from(cx.task.cred().securebits & SECBIT_KEEP_CAPS != 0)),
        libc::PR_GET_SECUREBITS => Ok(cx.task.cred().securebits.into()),
        libc::PR_SET_SECUREBITS => {
            let bits = u32::try_from(a).ok().filter(|v| *v <= 0xff).ok_or(Errno::EPERM)?;
            identity::change(cx, |cred| {
                cred.require(cap::SETPCAP)?;
                // The upper bit of each pair locks the lower one and itself.
                let locked = cred.securebits & 0xaa;
                if (locked | locked >> 1) & (cred.securebits ^ bits) != 0 {
                    return Err(Errno::EPERM);
                }
                cred.securebits = bits;
                Ok(())
            })
        }
        libc::PR_CAPBSET_READ => {
            if a > LAST_CAP {
                return Err(Errno::EINVAL.into());
            }
            Ok(cx.task.cred().bounding >> a & 1)
        }
        libc::PR_CAPBSET_DROP => {
            if a > LAST_CAP {
                return Err(Errno::EINVAL.into());
            }
            identity::change(cx, |cred| {
                cred.require(cap::SETPCAP)?;
                cred.bounding &= !(1 << a);
                Ok(())
            })
        }
        libc::PR_CAP_AMBIENT => ambient(cx, a, b, c, d),
        libc::PR_SET_PDEATHSIG => {
            let signo = i32::try_from(a).ok().filter(|s| (0..=64).contains(s)).ok_or(Errno::EINVAL)?;
            group.state.lock().pdeath_signal = signo;
            Ok(0)
        }
        libc::PR_GET_PDEATHSIG => {
            let signo = group.state.lock().pdeath_signal;
            UserPtr::<i32>::new(a).write(&cx.mem, &signo)?;
            Ok(0)
        }
        libc::PR_SET_CHILD_SUBREAPER => {
            group.state.lock().child_subreaper = a != 0;
            Ok(0)
        }
        libc::PR_GET_CHILD_SUBREAPER => {
            let on = group.state.lock().child_subreaper;
            UserPtr::<i32>::new(a).write(&cx.mem, &i32::from(on))?;
            Ok(0)
        }
        libc::PR_SET_TIMERSLACK => {
            cx.task.extras.slack.store(a, Relaxed);
            Ok(0)
        }
        libc::PR_GET_TIMERSLACK => Ok(cx.task.extras.slack()),
        libc::PR_SET_THP_DISABLE => {
            unused(&[b, c, d])?;
            group.extras.thp_disabled.store(a != 0, Relaxed);
            Ok(0)
        }
        libc::PR_GET_THP_DISABLE => {
            unused(&[a, b, c, d])?;
            Ok(group.extras.thp_disabled.load(Relaxed).into())
        }
        libc::PR_GET_SECCOMP => Ok(cx.task.seccomp.mode().into()),
        libc::PR_SET_SECCOMP => super::seccomp::by_prctl(cx, a, b),
        libc::PR_GET_TSC => {
            UserPtr::<i32>::new(a).write(&cx.mem, &libc::PR_TSC_ENABLE)?;
            Ok(0)
        }
        libc::PR_SET_TSC if a == libc::PR_TSC_ENABLE as u64 => Ok(0),
        libc::PR_GET_TIMING => Ok(0),
        libc::PR_SET_TIMING if a == 0 => Ok(0),
        PR_GET_TID_ADDRESS => {
            let at = cx.task.clear_child_tid.load(Relaxed);
            UserPtr::<u64>::new(a).write(&cx.mem, &at)?;
            Ok(0)
        }
        PR_GET_AUXV => {
            unused(&[c, d])?;
            let auxv = cx.task.mm().auxv();
            let n = auxv.len().min(usize::try_from(b).unwrap_or(usize::MAX));
            cx.mem.write(a, &auxv[..n])?;
            Ok(auxv.len() as u64)
        }
        PR_SET_VMA if a == 0 => name_mapping(cx, b, c, d),
        libc::PR_SET_MM => Err(Errno::EPERM.into()),
        // There is no machine check here; its policy is the default's.
        PR_MCE_KILL_GET => {
            unused(&[a, b, c, d])?;
            Ok(2)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// At most 15 bytes of a string.
fn name(cx: &Ctx<'_>, addr: u64) -> Result<Vec<u8>> {
    match cx.mem.read_cstr(addr, COMM) {
        Err(Errno::ENAMETOOLONG) => {
            let mut raw = [0u8; COMM - 1];
            cx.mem.read(addr, &mut raw)?;
            Ok(raw.to_vec())
        }
        r => r.map(|mut n| {
            n.truncate(COMM - 1);
            n
        }),
    }
}

fn ambient(cx: &mut Ctx<'_>, what: u64, capability: u64, c: u64, d: u64) -> SysResult {
    if c != 0 || d != 0 {
        return Err(Errno::EINVAL.into());
    }
    let clear_all = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    if what == clear_all {
        if capability != 0 {
            return Err(Errno::EINVAL.into());
        }
        return identity::change(cx, |cred| {
            cred.ambient = 0;
            Ok(())
        });
    }
    if capability > LAST_CAP {
        return Err(Errno::EINVAL.into());
    }
    let bit = (1u64 << capability) & ALL_CAPS;
    match what as i32 {
        libc::PR_CAP_AMBIENT_IS_SET => Ok(u64::from(cx.task.cred().ambient & bit != 0)),
        libc::PR_CAP_AMBIENT_RAISE => identity::change(cx, |cred| {
            if cred.permitted & cred.inheritable & bit == 0
                || cred.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0
            {
                return Err(Errno::EPERM);
            }
            cred.ambient |= bit;
            Ok(())
        }),
        libc::PR_CAP_AMBIENT_LOWER => identity::change(cx, |cred| {
            cred.ambient &= !bit;
            Ok(())
        }),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_SET_VMA_ANON_NAME`.
fn name_mapping(cx: &mut Ctx<'_>, start: u64, len: u64, text: u64) -> SysResult {
    const MAX_NAME: usize = 80;
    let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::EINVAL)?;
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let name = if text == 0 {
        VmName::None
    } else {
        let raw = cx.mem.read_cstr(text, MAX_NAME).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::EINVAL,
            e => e,
        })?;
        let good = |b: &u8| (0x20..0x7f).contains(b) && !b"\\`$[]".contains(b);
        if !raw.iter().all(good) {
            return Err(Errno::EINVAL.into());
        }
        VmName::Anon(Arc::from(String::from_utf8_lossy(&raw).as_ref()))
    };
    cx.task.mm().change_table(|t| {
        t.change(start, end, |v| {
            if v.file.is_none() && matches!(v.name, VmName::None | VmName::Anon(_)) {
                v.name = name.clone();
            }
        });
    });
    Ok(0)
}

const ARCH_SET_GS: i32 = 0x1001;
const ARCH_GET_GS: i32 = 0x1004;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;

/// arch_prctl(2): FS and GS are the stub's to set; they are its thread's own registers.
pub fn arch_prctl(_cx: &mut Ctx<'_>, code: i32, value: u64) -> SysResult {
    match code {
        ARCH_SET_GS..=ARCH_GET_GS => Err(Stop::Local),
        ARCH_GET_CPUID => Ok(1),
        ARCH_SET_CPUID if value != 0 => Ok(0),
        ARCH_SET_CPUID => Err(Errno::ENODEV.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
