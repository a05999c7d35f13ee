//! mount(2), umount2(2), pivot_root(2), and the old questions ustat(2) and sysfs(2).
//!
//! What is mounted is the sandbox's own: tmpfs, what is mounted already, and the same again elsewhere. Nothing of it
//! reaches the host.

use linux_abi::Errno;

use crate::cred::cap;
use crate::fsimpl::tmpfs::{Options, TmpFs};
use crate::fsimpl::FILE_SYSTEMS;
use crate::kernel::{Ctx, SysResult};
use crate::vfs::inode::Owner;
use crate::vfs::mount::Propagation;
use crate::vfs::namespace::{Reach, Unmount};
use crate::vfs::walk::PATH_MAX;
use crate::vfs::{FileKind, MountFlags, MountOptions, VfsPath};

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
const MS_SILENT: u64 = 32768;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
const MS_STRICTATIME: u64 = 1 << 24;
const MS_NOUSER: u64 = 1 << 31;
/// What old programs put into the upper half.
const MS_MGC_VAL: u64 = 0xc0ed_0000;
const MS_MGC_MSK: u64 = 0xffff_0000;
/// The longest text of options: a page.
const DATA_MAX: usize = 4096;

/// A text argument that may be null.
fn text(cx: &Ctx<'_>, addr: u64) -> Result<Option<Vec<u8>>, Errno> {
    match addr {
        0 => Ok(None),
        _ => match cx.mem.read_cstr(addr, PATH_MAX) {
            Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
            other => other.map(Some),
        },
    }
}

/// The flags of the mount itself.
fn mount_flags(flags: u64) -> MountFlags {
    let mut own = MountFlags::from_bits_truncate(flags as u32) - MountFlags::RELATIME;
    if !own.contains(MountFlags::NOATIME) {
        own |= MountFlags::RELATIME;
    }
    if flags & MS_STRICTATIME != 0 {
        own -= MountFlags::RELATIME | MountFlags::NOATIME;
    }
    own
}

pub fn mount(cx: &mut Ctx<'_>, source: u64, target: u64, kind: u64, flags: u64, data: u64) -> SysResult {
    let kind = text(cx, kind)?;
    let source = text(cx, source)?;
    let data = match data {
        0 => Vec::new(),
        addr => match cx.mem.read_cstr(addr, DATA_MAX) {
            Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
            other => other?,
        },
    };
    let path = cx.path(target)?;
    let at = cx.lookup().resolve(&path, true)?;
    let flags = if flags & MS_MGC_MSK == MS_MGC_VAL { flags & !MS_MGC_MSK } else { flags };
    if flags & MS_NOUSER != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.task.cred().require(cap::SYS_ADMIN)?;
    let tree = cx.task.fs().mounts();
    let reach = if flags & MS_REC != 0 { Reach::Tree } else { Reach::One };
    let from = |cx: &Ctx<'_>| -> Result<VfsPath, Errno> {
        let source = source.clone().filter(|s| !s.is_empty()).ok_or(Errno::EINVAL)?;
        cx.lookup().resolve(&source, true)
    };
    if flags & MS_REMOUNT != 0 {
        let mut own = mount_flags(flags);
        let times = MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::RELATIME;
        if flags & (u64::from(times.bits()) | MS_STRICTATIME) == 0 {
            own = (own - times) | at.mount.flags() & times;
        }
        let whole = flags & MS_BIND == 0;
        let extra = if whole && at.mount.fs.name() == "tmpfs" && !data.is_empty() {
            Some(parse(&data)?.text)
        } else {
            None
        };
        tree.remount(&at, own, whole, extra)?;
    } else if flags & MS_BIND != 0 {
        tree.bind(&from(cx)?, &at, reach)?;
    } else if flags & (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED) != 0 {
        let how = match flags & !(MS_REC | MS_SILENT) {
            MS_UNBINDABLE => Propagation::Unbindable,
            // A mount that has no peers is none's slave, and sharing it shows nowhere else.
            MS_PRIVATE | MS_SLAVE | MS_SHARED => Propagation::Private,
            _ => return Err(Errno::EINVAL.into()),
        };
        tree.propagate(&at, how, reach)?;
    } else if flags & MS_MOVE != 0 {
        tree.relocate(&from(cx)?, &at)?;
    } else {
        new_mount(cx, &at, kind.ok_or(Errno::EINVAL)?, source, flags, &data)?;
    }
    Ok(0)
}

fn new_mount(
    cx: &mut Ctx<'_>,
    at: &VfsPath,
    kind: Vec<u8>,
    source: Option<Vec<u8>>,
    flags: u64,
    data: &[u8],
) -> Result<(), Errno> {
    let tree = cx.task.fs().mounts();
    let source = source.map_or_else(|| "none".into(), |s| String::from_utf8_lossy(&s).into_owned());
    let options = MountOptions { flags: Some(mount_flags(flags)), source, ..MountOptions::default() };
    if kind == b"tmpfs" {
        let parsed = parse(data)?;
        let fs = TmpFs::new(parsed.options)?;
        tree.add(at, fs, MountOptions { extra: parsed.text, ..options })?;
        return Ok(());
    }
    // Of these there is one, which may be shown at more places.
    let kind = std::str::from_utf8(&kind).unwrap_or_default();
    let there = match kind {
        "proc" | "sysfs" | "devpts" | "cgroup2" | "devtmpfs" => cx.kernel.mounts.find(kind),
        _ => None,
    };
    let twin = there.ok_or(Errno::ENODEV)?;
    tree.add(at, twin.fs.clone(), options)?;
    Ok(())
}

/// The options of a tmpfs, and how they are shown.
struct Parsed {
    options: Options,
    text: String,
}

/// A number with `k`, `m` or `g` behind it.
fn amount(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// tmpfs(5).
fn parse(data: &[u8]) -> Result<Parsed, Errno> {
    const BLOCK: u64 = 4096;
    let bad = Errno::EINVAL;
    let memory = crate::host_facts::get().meminfo("MemTotal").map(|kib| kib.saturating_mul(1024));
    let mut o = Options { size: memory.map(|m| m / 2), ..Options::default() };
    let mut own_size = false;
    let mut inodes = None;
    for word in std::str::from_utf8(data).map_err(|_| bad)?.split(',').filter(|w| !w.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "size" => {
                let bytes = match value.strip_suffix('%') {
                    Some(part) => {
                        let part: u64 = part.parse().map_err(|_| bad)?;
                        memory.unwrap_or(0).checked_mul(part).ok_or(bad)? / 100
                    }
                    None => amount(value).ok_or(bad)?,
                };
                o.size = Some(bytes.next_multiple_of(BLOCK)).filter(|b| *b > 0);
                own_size = true;
            }
            "nr_blocks" => {
                o.size =
                    Some(amount(value).and_then(|n| n.checked_mul(BLOCK)).ok_or(bad)?).filter(|b| *b > 0);
                own_size = true;
            }
            "nr_inodes" => {
                let n = amount(value).ok_or(bad)?;
                inodes = Some(n);
                o.inodes = if n == 0 { o.inodes } else { n.min(o.inodes) };
            }
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| bad)?;
                o.owner = Owner { perm: mode & 0o7777, ..o.owner };
            }
            "uid" => o.owner = Owner { uid: value.parse().map_err(|_| bad)?, ..o.owner },
            "gid" => o.owner = Owner { gid: value.parse().map_err(|_| bad)?, ..o.owner },
            "huge" if ["never", "always", "within_size", "advise"].contains(&value) => {}
            "inode32" | "inode64" | "noswap" if value.is_empty() => {}
            _ => return Err(bad),
        }
    }
    let mut text = Vec::new();
    if let (true, Some(size)) = (own_size, o.size) {
        text.push(format!("size={}k", size >> 10));
    }
    if let Some(n) = inodes {
        text.push(format!("nr_inodes={n}"));
    }
    if o.owner.perm != 0o1777 {
        text.push(format!("mode={:03o}", o.owner.perm));
    }
    if o.owner.uid != 0 {
        text.push(format!("uid={}", o.owner.uid));
    }
    if o.owner.gid != 0 {
        text.push(format!("gid={}", o.owner.gid));
    }
    text.push("inode64".into());
    Ok(Parsed { options: o, text: text.join(",") })
}

pub fn umount2(cx: &mut Ctx<'_>, target: u64, flags: u32) -> SysResult {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NOFOLLOW: u32 = 8;
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = cx.path(target)?;
    let place = cx.lookup().resolve(&path, flags & NOFOLLOW == 0)?;
    cx.task.cred().require(cap::SYS_ADMIN)?;
    if flags & EXPIRE != 0 && flags & (FORCE | DETACH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let how = match flags {
        f if f & DETACH != 0 => Unmount::Detach,
        f if f & EXPIRE != 0 => Unmount::Expire,
        _ => Unmount::Idle,
    };
    cx.task.fs().mounts().unmount(&place, how)?;
    Ok(0)
}

pub fn pivot_root(cx: &mut Ctx<'_>, new: u64, put_old: u64) -> SysResult {
    cx.task.cred().require(cap::SYS_ADMIN)?;
    let dir = |cx: &Ctx<'_>, addr| -> Result<VfsPath, Errno> {
        let path = cx.path(addr)?;
        let place = cx.lookup().resolve(&path, true)?;
        if place.inode().kind() != FileKind::Dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(place)
    };
    let (new, old) = (dir(cx, new)?, dir(cx, put_old)?);
    let fs = cx.task.fs();
    let root = fs.get().root;
    let tree = fs.mounts();
    tree.pivot(&root, &new, &old)?;
    // All who were at the old root go along.
    let tasks: Vec<_> = cx.kernel.pids.lock().tasks.values().cloned().collect();
    for task in tasks {
        let theirs = task.fs();
        if std::sync::Arc::ptr_eq(&theirs.mounts(), &tree) {
            theirs.pivoted(&root, &new);
        }
    }
    Ok(0)
}

/// ustat(2): free blocks and inodes of a mounted file system, by its device number.
pub fn ustat(cx: &mut Ctx<'_>, dev: u32, out: u64) -> SysResult {
    let dev = libc::makedev((dev >> 8) & 0xfff, (dev & 0xff) | (dev >> 12 & 0xf_ff00));
    let mount = cx.task.fs().mounts().by_device(dev).ok_or(Errno::EINVAL)?;
    let s = mount.root().inode().statfs()?;
    let mut b = [0u8; 32];
    b[0..4].copy_from_slice(&(s.bfree as u32).to_le_bytes());
    b[8..16].copy_from_slice(&s.ffree.to_le_bytes());
    cx.mem.write(out, &b)?;
    Ok(0)
}

/// sysfs(2): names and numbers of the kinds of file systems.
pub fn sysfs(cx: &mut Ctx<'_>, option: i32, arg: u64, out: u64) -> SysResult {
    match option {
        1 => {
            let name = cx.path(arg)?;
            let at = FILE_SYSTEMS.iter().position(|f| f.as_bytes() == name).ok_or(Errno::EINVAL)?;
            Ok(at as u64)
        }
        2 => {
            let name = FILE_SYSTEMS.get(arg as u32 as usize).ok_or(Errno::EINVAL)?;
            cx.mem.write(out, &[name.as_bytes(), b"\0"].concat())?;
            Ok(0)
        }
        3 => Ok(FILE_SYSTEMS.len() as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tmpfs() {
        let p = parse(b"size=1m,mode=755,uid=3,nr_inodes=100").unwrap();
        assert_eq!(p.text, "size=1024k,nr_inodes=100,mode=755,uid=3,inode64");
        assert_eq!((p.options.size, p.options.inodes, p.options.owner.uid), (Some(1 << 20), 100, 3));
        assert!(parse(b"").is_ok() && parse(b",size=4k,").is_ok());
        for bad in ["size=", "size=x", "mode=9", "what", "what=1", "size=99999999999999999999g"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
