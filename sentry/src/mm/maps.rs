//! The address space as text: `/proc/PID/maps`, `smaps`, `statm` (proc(5)).

use std::fmt::Write;

use super::resident::Rss;
use super::space::AddressSpace;
use super::vma::{VmFlags, VmName, Vma, PAGE, PROT_EXEC, PROT_READ, PROT_WRITE};

/// What `/proc/PID/statm` and `status` say of sizes, in pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statm {
    pub size: u64,
    pub resident: u64,
    /// Of what is resident: private memory without a file, and memory of ours that is shared or a file.
    pub anonymous: u64,
    pub memory: u64,
    pub text: u64,
    pub data: u64,
}

impl AddressSpace {
    /// `/proc/PID/maps`.
    pub fn maps_text(&self) -> String {
        self.with_table(|t| {
            let mut out = String::with_capacity(t.count() * 96);
            for v in t.iter() {
                line(&mut out, v);
            }
            out
        })
    }

    /// `/proc/PID/smaps`. Whether a page of a file is dirty, and whether others have it too, the host does not say.
    pub fn smaps_text(&self) -> String {
        let parts: Vec<Vma> = self.with_table(|t| t.iter().cloned().collect());
        let sizes = self.sizes(&parts);
        let mut out = String::new();
        for (v, rss) in parts.iter().zip(sizes) {
            line(&mut out, v);
            rows(&mut out, &Sizes::of(v, rss), Some(v));
            let _ = writeln!(out, "THPeligible:           0");
            let _ = writeln!(out, "VmFlags: {}", vm_flags(v));
        }
        out
    }

    /// `/proc/PID/smaps_rollup`.
    pub fn smaps_rollup_text(&self) -> String {
        let parts: Vec<Vma> = self.with_table(|t| t.iter().cloned().collect());
        let sizes = self.sizes(&parts);
        let sum =
            parts.iter().zip(sizes).fold(Sizes::default(), |sum, (v, rss)| sum.plus(&Sizes::of(v, rss)));
        let first = parts.first().map_or(0, |v| v.start);
        let last = parts.last().map_or(0, |v| v.end);
        let mut out = format!("{:<73}[rollup]\n", format!("{first:08x}-{last:08x} ---p 00000000 00:00 0 "));
        rows(&mut out, &sum, None);
        out
    }

    /// `/proc/PID/statm`.
    pub fn statm(&self) -> Statm {
        let (t, code) = self.with_table(|t| (t.totals(), t.layout.code));
        let rss = self.rss();
        Statm {
            size: t.all / PAGE,
            resident: rss.all,
            anonymous: rss.anonymous,
            memory: rss.memory,
            text: code.1.div_ceil(PAGE).saturating_sub(code.0 / PAGE),
            data: (t.data + t.stack) / PAGE,
        }
    }
}

/// The sizes of a mapping, or of all, as `smaps` divides them, in KiB.
#[derive(Clone, Copy, Default)]
struct Sizes {
    rss: u64,
    anonymous: u64,
    shared: u64,
    locked: u64,
}

impl Sizes {
    fn of(v: &Vma, rss: Rss) -> Sizes {
        let kb = |pages: u64| pages * (PAGE / 1024);
        Sizes {
            rss: kb(rss.all),
            anonymous: kb(rss.anonymous),
            shared: if v.shared() { kb(rss.all) } else { 0 },
            locked: if v.flags.contains(VmFlags::LOCKED) { kb(rss.all) } else { 0 },
        }
    }
    fn plus(&self, other: &Sizes) -> Sizes {
        Sizes {
            rss: self.rss + other.rss,
            anonymous: self.anonymous + other.anonymous,
            shared: self.shared + other.shared,
            locked: self.locked + other.locked,
        }
    }
}

/// The rows of `smaps` with sizes.
fn rows(out: &mut String, s: &Sizes, of: Option<&Vma>) {
    let mut row = |name: &str, kb: u64| {
        let _ = writeln!(out, "{:<16}{kb:>8} kB", format!("{name}:"));
    };
    if let Some(v) = of {
        row("Size", v.len() / 1024);
        row("KernelPageSize", PAGE / 1024);
        row("MMUPageSize", PAGE / 1024);
    }
    row("Rss", s.rss);
    row("Pss", s.rss);
    row("Pss_Dirty", s.anonymous);
    row("Shared_Clean", s.shared);
    row("Shared_Dirty", 0);
    row("Private_Clean", s.rss - s.shared - s.anonymous);
    row("Private_Dirty", s.anonymous);
    row("Referenced", s.rss);
    row("Anonymous", s.anonymous);
    for name in ["KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb"] {
        row(name, 0);
    }
    for name in ["Private_Hugetlb", "Swap", "SwapPss"] {
        row(name, 0);
    }
    row("Locked", s.locked);
}

fn line(out: &mut String, v: &Vma) {
    let flag = |bit, c| if v.prot & bit != 0 { c } else { '-' };
    let (offset, (dev, ino), name) = match &v.file {
        Some(f) if f.anonymous => (f.offset, (1, 1024), "/dev/zero (deleted)".to_owned()),
        Some(f) => (f.offset, f.map.identity(), f.map.name()),
        None => (0, (0, 0), String::new()),
    };
    let name = match &v.name {
        VmName::None => name,
        VmName::Heap => "[heap]".to_owned(),
        VmName::Stack => "[stack]".to_owned(),
        VmName::Vvar => "[vvar]".to_owned(),
        VmName::Vdso => "[vdso]".to_owned(),
        VmName::Anon(n) => format!("[anon:{n}]"),
    };
    let mut head = String::with_capacity(80);
    let _ = write!(
        head,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        v.start,
        v.end,
        flag(PROT_READ, 'r'),
        flag(PROT_WRITE, 'w'),
        flag(PROT_EXEC, 'x'),
        if v.shared() { 's' } else { 'p' },
        offset,
        libc::major(dev),
        libc::minor(dev),
        ino
    );
    if name.is_empty() {
        out.push_str(&head);
    } else {
        // Names begin in column 73, and a newline in one is escaped, as the kernel does.
        let _ = write!(out, "{head:<73}{}", name.replace('\n', "\\012"));
    }
    out.push('\n');
}

fn vm_flags(v: &Vma) -> String {
    let mut s = String::new();
    let mut flag = |on: bool, name: &str| {
        if on {
            s.push_str(name);
            s.push(' ');
        }
    };
    flag(v.prot & PROT_READ != 0, "rd");
    flag(v.prot & PROT_WRITE != 0, "wr");
    flag(v.prot & PROT_EXEC != 0, "ex");
    // What is shared and can never be written counts as private (VM_SHARED is not VM_MAYSHARE).
    flag(v.shared() && v.max_prot & PROT_WRITE != 0, "sh");
    flag(v.max_prot & PROT_READ != 0, "mr");
    flag(v.max_prot & PROT_WRITE != 0, "mw");
    flag(v.max_prot & PROT_EXEC != 0, "me");
    flag(v.shared(), "ms");
    flag(v.flags.contains(VmFlags::STACK), "gd");
    flag(v.flags.contains(VmFlags::LOCKED), "lo");
    flag(v.flags.contains(VmFlags::DONTFORK), "dc");
    flag(v.flags.contains(VmFlags::NORESERVE) && v.name != VmName::Stack, "nr");
    flag(v.flags.contains(VmFlags::LOCKONFAULT), "lf");
    flag(v.flags.contains(VmFlags::WIPEONFORK), "wf");
    flag(v.flags.contains(VmFlags::DONTDUMP), "dd");
    flag(v.flags.contains(VmFlags::SEALED), "sl");
    s
}
