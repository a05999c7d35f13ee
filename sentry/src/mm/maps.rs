//! The address space as text: `/proc/PID/maps`, `smaps`, `statm` (proc(5)).

use std::fmt::Write;

use super::space::AddressSpace;
use super::vma::{VmName, Vma, VmaTable, PAGE, PROT_EXEC, PROT_READ, PROT_WRITE};

/// The seven numbers of `/proc/PID/statm`, in pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statm {
    pub size: u64,
    pub resident: u64,
    pub shared: u64,
    pub text: u64,
    pub lib: u64,
    pub data: u64,
    pub dirty: u64,
}

impl AddressSpace {
    /// `/proc/PID/maps`.
    pub fn maps_text(&self) -> String {
        self.with_table(|t| {
            let mut out = String::with_capacity(t.count() * 96);
            for v in t.iter() {
                line(&mut out, t, v);
            }
            out
        })
    }

    /// `/proc/PID/smaps`: sizes and flags are ours; what is resident only the host knows, so it is given as nought but
    /// for the sum, which is put on the first mapping.
    pub fn smaps_text(&self) -> String {
        let mut rss = self.space.resident_pages() * (PAGE / 1024);
        self.with_table(|t| {
            let mut out = String::new();
            for v in t.iter() {
                line(&mut out, t, v);
                let kb = v.len() / 1024;
                let part = rss.min(kb);
                rss -= part;
                let zero = [
                    "Shared_Clean",
                    "Shared_Dirty",
                    "Private_Clean",
                    "Private_Dirty",
                    "Referenced",
                    "Anonymous",
                    "LazyFree",
                    "AnonHugePages",
                    "ShmemPmdMapped",
                    "FilePmdMapped",
                    "Shared_Hugetlb",
                    "Private_Hugetlb",
                    "Swap",
                    "SwapPss",
                    "Locked",
                ];
                let mut row = |name: &str, kb: u64| {
                    let _ = writeln!(out, "{:<16}{kb:>8} kB", format!("{name}:"));
                };
                row("Size", kb);
                row("KernelPageSize", 4);
                row("MMUPageSize", 4);
                row("Rss", part);
                row("Pss", part);
                for name in zero {
                    row(name, if name == "Private_Dirty" { part } else { 0 });
                }
                let _ = writeln!(out, "THPeligible:           0");
                let _ = writeln!(out, "VmFlags: {}", vm_flags(v));
            }
            out
        })
    }

    /// `/proc/PID/statm`.
    pub fn statm(&self) -> Statm {
        let t = self.totals();
        let resident = self.space.resident_pages();
        Statm {
            size: t.all / PAGE,
            resident,
            shared: (t.shared / PAGE).min(resident),
            text: t.exec / PAGE,
            data: (t.data + t.stack) / PAGE,
            ..Statm::default()
        }
    }
}

fn line(out: &mut String, table: &VmaTable, v: &Vma) {
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
    let _ = table;
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
    for (bit, name) in [(PROT_READ, "rd "), (PROT_WRITE, "wr "), (PROT_EXEC, "ex ")] {
        if v.prot & bit != 0 {
            s.push_str(name);
        }
    }
    if v.shared() {
        s.push_str("sh ");
    }
    for (bit, name) in [(PROT_READ, "mr "), (PROT_WRITE, "mw "), (PROT_EXEC, "me ")] {
        if v.max_prot & bit != 0 {
            s.push_str(name);
        }
    }
    if v.name == VmName::Stack {
        s.push_str("gd ");
    }
    s
}
