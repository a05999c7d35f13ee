//! `/sys`: the few files that the C library, language runtimes and tools such as lscpu read to learn how many processors
//! there are. A fixed tree, made at boot.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::tmpfs::{Options, TmpFs, TmpInode};
use crate::mm::SliceSource;
use crate::vfs::inode::{NewNode, Owner};
use crate::vfs::{FileKind, FileSystem, Inode, InodeRef};

/// The tree under the name that mount lists show.
pub struct SysFs(Arc<TmpFs>);

impl FileSystem for SysFs {
    fn name(&self) -> &'static str {
        "sysfs"
    }
    fn root(&self) -> InodeRef {
        self.0.root()
    }
}

/// The directory of a path below `at`, made where it is missing.
fn dir(at: &Arc<TmpInode>, path: &str) -> Result<Arc<TmpInode>> {
    let mut at = at.clone();
    for name in path.split('/').filter(|n| !n.is_empty()) {
        at = match at.lookup(name.as_bytes()) {
            Ok(next) => match next.as_any().downcast_ref::<TmpInode>() {
                Some(t) if t.kind() == FileKind::Dir => t.me()?,
                _ => return Err(Errno::ENOTDIR),
            },
            Err(_) => at.create_tmp(name.as_bytes(), &NewNode::Dir, Owner { uid: 0, gid: 0, perm: 0o755 })?,
        };
    }
    Ok(at)
}

fn file(root: &Arc<TmpInode>, path: &str, text: &str) -> Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let owner = Owner { uid: 0, gid: 0, perm: 0o444 };
    let f = dir(root, parent)?.create_tmp(name.as_bytes(), &NewNode::Regular, owner)?;
    let line = format!("{text}\n");
    f.content().ok_or(Errno::EIO)?.write_at(0, &mut SliceSource(line.as_bytes())).map(drop)
}

/// A list of processors as the kernel prints it: `0-3`, `0`.
pub fn cpu_list(cpus: usize) -> String {
    match cpus {
        0 | 1 => "0".to_owned(),
        n => format!("0-{}", n - 1),
    }
}

/// A mask of processors as the kernel prints it: words of 32 bits, the highest first.
pub fn cpu_mask(cpus: impl Fn(usize) -> bool, count: usize) -> String {
    let words = count.max(1).div_ceil(32);
    let word =
        |w: usize| (0..32).filter(|b| w * 32 + b < count && cpus(w * 32 + b)).fold(0u32, |m, b| m | 1 << b);
    let last = if words == 1 { count.clamp(1, 32).div_ceil(4) } else { 8 };
    let mut out = format!("{:0last$x}", word(words - 1));
    for w in (0..words - 1).rev() {
        out.push_str(&format!(",{:08x}", word(w)));
    }
    out
}

/// A fresh `/sys` that shows this many processors.
pub fn file_system(cpus: usize) -> Result<Arc<SysFs>> {
    let owner = Owner { uid: 0, gid: 0, perm: 0o555 };
    let fs = TmpFs::new(Options { size: Some(64 << 20), inodes: 1 << 20, owner })?;
    let root = fs.tmp_root();
    let all = cpu_list(cpus);
    let cpu = "devices/system/cpu";
    for name in ["online", "possible", "present"] {
        file(root, &format!("{cpu}/{name}"), &all)?;
    }
    for (name, text) in [("offline", ""), ("isolated", ""), ("kernel_max", "8191")] {
        file(root, &format!("{cpu}/{name}"), text)?;
    }
    for n in 0..cpus {
        if n > 0 {
            file(root, &format!("{cpu}/cpu{n}/online"), "1")?;
        }
        let own = cpu_mask(|c| c == n, cpus);
        let everyone = cpu_mask(|_| true, cpus);
        let topology = [
            ("core_id", n.to_string()),
            ("physical_package_id", "0".to_owned()),
            ("die_id", "0".to_owned()),
            ("cluster_id", n.to_string()),
            ("thread_siblings", own.clone()),
            ("thread_siblings_list", n.to_string()),
            ("core_cpus", own),
            ("core_cpus_list", n.to_string()),
            ("core_siblings", everyone.clone()),
            ("core_siblings_list", all.clone()),
            ("package_cpus", everyone),
            ("package_cpus_list", all.clone()),
        ];
        for (name, text) in topology {
            file(root, &format!("{cpu}/cpu{n}/topology/{name}"), &text)?;
        }
    }
    let node = "devices/system/node";
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        file(root, &format!("{node}/{name}"), "0")?;
    }
    file(root, &format!("{node}/node0/cpulist"), &all)?;
    file(root, &format!("{node}/node0/cpumap"), &cpu_mask(|_| true, cpus))?;
    file(root, &format!("{node}/node0/distance"), "10")?;
    let huge = "kernel/mm/transparent_hugepage";
    let modes = [
        ("enabled", "always [madvise] never"),
        ("defrag", "always defer defer+madvise [madvise] never"),
        ("shmem_enabled", "always within_size advise [never] deny force"),
        ("hpage_pmd_size", "2097152"),
        ("use_zero_page", "1"),
    ];
    for (name, text) in modes {
        file(root, &format!("{huge}/{name}"), text)?;
    }
    let empty = [
        "kernel/mm/hugepages",
        "fs/cgroup",
        "class/net",
        "class/block",
        "class/tty",
        "block",
        "bus",
        "dev/block",
        "dev/char",
        "firmware",
        "module",
        "power",
    ];
    for path in empty {
        dir(root, path)?;
    }
    Ok(Arc::new(SysFs(fs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_as_text() {
        assert_eq!((cpu_list(1), cpu_list(4)), ("0".to_owned(), "0-3".to_owned()));
        assert_eq!(cpu_mask(|_| true, 2), "3");
        assert_eq!(cpu_mask(|c| c == 33, 40), "00000002,00000000");
        let fs = file_system(2).unwrap();
        let cpu = dir(fs.0.tmp_root(), "devices/system/cpu/cpu1/topology").unwrap();
        assert!(cpu.lookup(b"core_id").is_ok());
    }
}
