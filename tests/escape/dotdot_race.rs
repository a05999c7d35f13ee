//! A host-side writer moves directories out of the tree and in again while we walk `..` out of them.

use std::time::{Duration, Instant};

pub unsafe fn attack(directory: &str) {
    let start = Instant::now();
    let paths =
        ["a/b/../../secret/key", "a/b/c/../../../secret/key", "a/b/../../../secret/key", "a/b/c/../../key"];
    let mut tries = 0u32;
    let mut kept = std::collections::VecDeque::new();
    while start.elapsed() < Duration::from_millis(1500) {
        for path in paths {
            if let Ok(text) = std::fs::read_to_string(format!("{directory}/{path}")) {
                if text.contains("host secret") {
                    println!("ESCAPED: {path} gave {text:?}");
                    return;
                }
            }
        }
        // From a directory that is open while it is moved.
        if let Ok(dir) = std::fs::File::open(format!("{directory}/a/b/c")) {
            kept.push_back(dir);
        }
        if kept.len() > 32 {
            kept.pop_front();
        }
        for dir in &kept {
            use std::os::fd::AsRawFd;
            for path in [c"../../../secret/key", c"../../secret/key", c"../../../../secret/key"] {
                let fd = libc::openat(dir.as_raw_fd(), path.as_ptr(), libc::O_RDONLY);
                let mut text = [0u8; 64];
                let n = libc::read(fd, text.as_mut_ptr().cast(), text.len());
                if n > 0 && text.starts_with(b"host secret") {
                    println!("ESCAPED: from an open directory");
                    return;
                }
                libc::close(fd);
            }
        }
        tries += 1;
    }
    println!("tried: {}", tries > 10);
}
