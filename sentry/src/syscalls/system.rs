//! The system as a whole: uname, sysinfo, getrandom, and calls that only the machine's owner may make.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::LazyLock;

use linux_abi::Errno;
use parking_lot::Mutex;

use crate::cred::cap;
use crate::kernel::extras::personality;
use crate::kernel::{Ctx, SysResult};
use crate::mm::UserPtr;
use crate::syscalls::args::user_range;

/// `__NEW_UTS_LEN`.
const NAME_MAX: usize = 64;
const FIELD: usize = NAME_MAX + 1;

static DOMAIN: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(|| Mutex::new(b"(none)".to_vec()));

/// uname(2): the host's release, since programs choose features by it, under the sandbox's names.
pub fn uname(cx: &mut Ctx<'_>, buf: UserPtr<[[u8; FIELD]; 6]>) -> SysResult {
    let host = rustix::system::uname();
    let mut out = [[0u8; FIELD]; 6];
    let mut put = |at: usize, text: &[u8]| {
        let n = text.len().min(NAME_MAX);
        out[at][..n].copy_from_slice(&text[..n]);
    };
    put(0, b"Linux");
    put(1, &cx.kernel.hostname.lock());
    let persona = cx.task.group.extras.personality.load(Relaxed);
    if persona & personality::UNAME26 != 0 {
        put(2, &old_release(host.release().to_bytes()));
    } else {
        put(2, host.release().to_bytes());
    }
    put(3, host.version().to_bytes());
    let narrow = persona & personality::PER_MASK == personality::PER_LINUX32;
    put(4, if narrow { b"i686" } else { b"x86_64" });
    put(5, &DOMAIN.lock());
    buf.write(&cx.mem, &out)?;
    Ok(0)
}

/// `UNAME26` of personality(2): 6.18 is shown as 2.6.78, and what follows the third number stays.
fn old_release(release: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(release);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let minor = text.split('.').nth(1).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    format!("2.6.{}{}", minor.saturating_add(60), &text[end..]).into_bytes()
}

fn new_name(cx: &Ctx<'_>, addr: u64, len: i32) -> Result<Vec<u8>, Errno> {
    cx.task.cred().require(cap::SYS_ADMIN)?;
    let len = usize::try_from(len).ok().filter(|n| *n <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut name = vec![0; len];
    cx.mem.read(addr, &mut name)?;
    Ok(name)
}

/// sethostname(2).
pub fn sethostname(cx: &mut Ctx<'_>, addr: u64, len: i32) -> SysResult {
    let name = new_name(cx, addr, len)?;
    *cx.kernel.hostname.lock() = name;
    Ok(0)
}

/// setdomainname(2).
pub fn setdomainname(cx: &mut Ctx<'_>, addr: u64, len: i32) -> SysResult {
    let name = new_name(cx, addr, len)?;
    *DOMAIN.lock() = name;
    Ok(0)
}

/// The domain name, for `/proc/sys/kernel/domainname`.
pub fn domain_name() -> Vec<u8> {
    DOMAIN.lock().clone()
}

/// sysinfo(2).
pub fn sysinfo(cx: &mut Ctx<'_>, buf: UserPtr<[u8; 112]>) -> SysResult {
    let host = rustix::system::sysinfo();
    let unit = u64::from(host.mem_unit).max(1);
    let bytes = |v: u64| v.saturating_mul(unit);
    let up = (crate::time::boottime() / crate::time::NSEC) as i64;
    let procs = cx.kernel.pids.lock().tasks.len().min(u16::MAX as usize) as u16;
    let mut out = [0u8; 112];
    let mut word = |at: usize, v: u64| out[at..at + 8].copy_from_slice(&v.to_le_bytes());
    word(0, up as u64);
    for (i, load) in host.loads.iter().enumerate() {
        word(8 + 8 * i, *load);
    }
    match crate::host_facts::get().limited_memory() {
        Some(m) => {
            word(32, m.total);
            word(40, m.total.saturating_sub(m.used));
            word(48, crate::mm::account::file_bytes());
        }
        None => {
            word(32, bytes(host.totalram));
            word(40, bytes(host.freeram));
            word(48, bytes(host.sharedram));
            word(56, bytes(host.bufferram));
            word(64, bytes(host.totalswap));
            word(72, bytes(host.freeswap));
        }
    }
    out[80..82].copy_from_slice(&procs.to_le_bytes());
    out[104..108].copy_from_slice(&1u32.to_le_bytes());
    buf.write(&cx.mem, &out)?;
    Ok(0)
}

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;
/// The most that one call gives; more is a short count (getrandom(2) has 32 MiB - 1).
const MAX_RANDOM: usize = 32 << 20;

/// getrandom(2).
pub fn getrandom(cx: &mut Ctx<'_>, addr: u64, len: usize, flags: u32) -> SysResult {
    let both = GRND_RANDOM | GRND_INSECURE;
    if flags & !(GRND_NONBLOCK | both) != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(MAX_RANDOM - 1);
    user_range(addr, len as u64)?;
    if len == 0 {
        return Ok(0);
    }
    // What lies before a bad address is filled.
    let len = match cx.task.mm().writable_len(addr, len) {
        0 => return Err(Errno::EFAULT.into()),
        good => good,
    };
    let mut buf = vec![0u8; len.min(64 << 10)];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(buf.len());
        let n = rustix::rand::getrandom(&mut buf[..want], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Errno(e.raw_os_error()))?;
        match cx.mem.write(addr.wrapping_add(done as u64), &buf[..n]) {
            Err(e) if done == 0 => return Err(e.into()),
            Err(_) => break,
            Ok(()) => done += n,
        }
    }
    Ok(done as u64)
}

/// getcpu(2): guests usually ask the vDSO; here it is the processor that answers.
pub fn getcpu(cx: &mut Ctx<'_>, cpu: UserPtr<u32>, node: UserPtr<u32>, _cache: u64) -> SysResult {
    let here = rustix::thread::sched_getcpu() % cx.kernel.cpus.max(1);
    cpu.write_opt(&cx.mem, &(here as u32))?;
    node.write_opt(&cx.mem, &0)?;
    Ok(0)
}

/// syslog(2): the kernel's log has nothing in it.
pub fn syslog(cx: &mut Ctx<'_>, action: i32, _buf: u64, _len: i32) -> SysResult {
    const READ_ALL: i32 = 3;
    const SIZE_BUFFER: i32 = 10;
    if action != READ_ALL && action != SIZE_BUFFER {
        cx.task.cred().require(cap::SYSLOG)?;
    }
    match action {
        SIZE_BUFFER => Ok(1 << 16),
        0..SIZE_BUFFER => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// What belongs to the machine and not to a sandbox: reboot, modules, clocks, swap, accounting, quotas, kexec, ports,
/// keys, and the like.
pub fn not_permitted(_cx: &mut Ctx<'_>) -> SysResult {
    Err(Errno::EPERM.into())
}
