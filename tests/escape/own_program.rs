//! Our own executable and magic links: never a way to the host's files.

pub unsafe fn attack() {
    for path in ["/proc/self/exe", "/proc/1/exe"] {
        let path = std::ffi::CString::new(path).unwrap_or_default();
        if libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_TRUNC) >= 0 {
            println!("opened for writing (inside, over the overlay)");
        }
    }
    // Whatever the links say, they lead back into the sandbox's own root: the marker is only there.
    std::fs::write("/marker-of-the-guest", "x").ok();
    for root in ["/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../../../../.."] {
        match std::fs::read_dir(root) {
            Ok(_) if !std::path::Path::new(&format!("{root}/marker-of-the-guest")).exists() => {
                println!("ESCAPED: {root} is another root");
            }
            _ => println!("{root}: own or closed"),
        }
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if exe.to_string_lossy().contains("runsc") {
            println!("ESCAPED: {} is one of ours", entry.path().display());
        }
    }
}
