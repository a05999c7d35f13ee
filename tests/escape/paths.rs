//! Paths at and past their limits, magic links, and names for what must not be made.

use std::ffi::CString;

unsafe fn open(path: &str) -> i32 {
    let path = CString::new(path).expect("no NUL");
    let fd = libc::open(path.as_ptr(), libc::O_RDONLY);
    if fd < 0 {
        return *libc::__errno_location();
    }
    libc::close(fd);
    0
}

fn expect(what: &str, got: i32, wanted: &[i32]) {
    if !wanted.contains(&got) {
        println!("ESCAPED: {what} gave {got}, not {wanted:?}");
    }
}

fn same(a: &str, b: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// `directory` is writable for real; `secret` is a file outside of it that is hidden.
pub unsafe fn attack(directory: &str, secret: &str) {
    std::env::set_current_dir(directory).expect("it is there");
    // Links.
    std::fs::write("l0", "end").expect("ours");
    for i in 1..=41 {
        std::os::unix::fs::symlink(format!("l{}", i - 1), format!("l{i}")).expect("ours");
    }
    expect("40 links", open("l40"), &[0]);
    expect("41 links", open("l41"), &[libc::ELOOP]);
    // Lengths.
    expect("a name of 255", open(&"n".repeat(255)), &[libc::ENOENT]);
    expect("a name of 256", open(&"n".repeat(256)), &[libc::ENAMETOOLONG]);
    expect("a path of 4095", open(&format!("{}l0", "./".repeat(2046))), &[0]);
    expect("a path of 4096", open(&format!("{}/l0", "./".repeat(2047))), &[libc::ENAMETOOLONG]);
    expect("a file with a slash", open("l0/"), &[libc::ENOTDIR]);
    // Upwards, and through magic links.
    for up in [
        "/..",
        "/../..",
        "/proc/self/root",
        "/proc/self/root/..",
        "/proc/1/root",
        "/proc/self/cwd/../../../../..",
    ] {
        if std::fs::metadata(up).is_ok() && !same(up, "/") {
            println!("ESCAPED: {up} is not our root");
        }
    }
    // The hidden file by every way there is.
    let name = secret.trim_start_matches('/');
    for path in [
        secret.to_owned(),
        format!("/proc/self/root/{name}"),
        format!("/proc/1/root/{name}"),
        format!("/../{name}"),
    ] {
        expect(&path, open(&path), &[libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::ESRCH]);
    }
    std::os::unix::fs::symlink(secret, "to-secret").expect("ours");
    expect("a link to it", open("to-secret"), &[libc::ENOENT]);
    let (from, to) = (CString::new(secret).expect("no NUL"), c"hard");
    expect("a hard link to it", -libc::link(from.as_ptr(), to.as_ptr()), &[1]);
    // Nothing of the host's devices, and no pipe to its programs that we could make them open.
    for (kind, dev) in [(libc::S_IFCHR, libc::makedev(1, 3)), (libc::S_IFBLK, libc::makedev(8, 0))] {
        // In the overlay a name for one is harmless; whoever looks from outside sees whether it is on the host.
        libc::mknod(c"device".as_ptr(), kind | 0o666, dev);
    }
    // Deleting through links deletes the link.
    std::os::unix::fs::symlink("/etc/hostname", "victim").expect("ours");
    std::fs::remove_file("victim").expect("ours");
}
