//! Who a program is after exec: set-user-ID and set-group-ID files, capabilities of root, of files and ambient ones,
//! no_new_privs (capabilities(7), execve(2)). Needs root: the program that is run becomes somebody else.

use libc::*;

use crate::kit::{c, child, end_of, errno_name, ret, say, show};

const NOBODY: u32 = 1000;
const NET_BIND: u64 = 1 << 10;
const CHOWN: u64 = 1;

/// What the program that was run says of itself.
pub fn report() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field =
        |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    say("ids", format!("{} / {}", field("Uid:").replace('\t', " "), field("Gid:").replace('\t', " ")));
    // Root on the host may have been given less than all.
    let most = field("CapBnd:");
    let set = |name: &str| field(name).replace(&most, "all").trim_start_matches('0').to_owned();
    say("capabilities", ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].map(set).join(" / "));
    unsafe {
        show("secure", getauxval(AT_SECURE));
        show("euid as told", getauxval(AT_EUID) == geteuid().into());
        show("dumpable", prctl(PR_GET_DUMPABLE) == 1);
        show("securebits", prctl(PR_GET_SECUREBITS));
        let mut death = 0;
        prctl(PR_GET_PDEATHSIG, &mut death);
        show("parent-death signal", death);
    }
}

/// A copy of this program, of this owner and mode.
unsafe fn program(path: &str, uid: u32, gid: u32, mode: u32) {
    std::fs::copy("/proc/self/exe", path).expect("a copy of ourselves");
    ret("chown", chown(c(path).as_ptr(), uid, gid));
    ret("chmod", chmod(c(path).as_ptr(), mode));
}

unsafe fn run(step: &str, path: &str, first: impl FnOnce()) {
    say("run", step);
    let pid = child(|| {
        prctl(PR_SET_PDEATHSIG, SIGUSR1);
        first();
        let args = [c("x"), c("helper"), c("who")];
        let argv = [args[0].as_ptr(), args[1].as_ptr(), args[2].as_ptr(), std::ptr::null()];
        execve(c(path).as_ptr(), argv.as_ptr(), [std::ptr::null()].as_ptr());
        say("execve", errno_name());
        127
    });
    say("end", end_of(pid));
}

unsafe fn caps(effective: u64, permitted: u64, inheritable: u64) {
    let header = [0x2008_0522u32, 0];
    let word = |set: u64, n: u32| (set >> (32 * n)) as u32;
    let data: Vec<u32> =
        (0..2).flat_map(|n| [word(effective, n), word(permitted, n), word(inheritable, n)]).collect();
    ret("capset", syscall(SYS_capset, header.as_ptr(), data.as_ptr()));
}

unsafe fn user() {
    setgroups(0, std::ptr::null());
    setresgid(NOBODY, NOBODY, NOBODY);
    setresuid(NOBODY, NOBODY, NOBODY);
}

/// `security.capability` of revision 2.
unsafe fn file_caps(path: &str, permitted: u64, inheritable: u64, effective: u32) {
    let words = [0x0200_0000 | effective, permitted as u32, inheritable as u32, 0, 0];
    let raw: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let name = c("security.capability");
    ret("setxattr", setxattr(c(path).as_ptr(), name.as_ptr(), raw.as_ptr().cast(), raw.len(), 0));
}

unsafe fn here() -> bool {
    chmod(c(".").as_ptr(), 0o755);
    if geteuid() != 0 {
        say("skipped", "needs root");
    }
    geteuid() == 0
}

pub unsafe fn set_ids() {
    if !here() {
        return;
    }
    program("./u", 1234, 2345, 0o6755);
    run("as root", "./u", || {});
    run("as a user", "./u", || user());
    run("no_new_privs", "./u", || {
        user();
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    });
    run("root without new privileges", "./u", || {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    });
    program("./r", 0, 0, 0o4755);
    run("to root", "./r", || user());
    run("to root, real already", "./r", || {
        setresuid(0, NOBODY, NOBODY);
    });
    program("./g", 0, 2345, 0o2745);
    run("set-group-ID without the group's execute", "./g", || user());
    program("./o", NOBODY, 7, 0o4711);
    run("what the owner may not read", "./o", || {});
    std::fs::write("./s", "#!/bin/sh\nid -u\nid -g\n").expect("a script");
    chown(c("./s").as_ptr(), 1234, 2345);
    chmod(c("./s").as_ptr(), 0o6755);
    run("a script", "./s", || user());
    // Writing, and a change of owner, take the bits away.
    ret("chown", chown(c("./u").as_ptr(), 1235, 2345));
    run("after chown", "./u", || user());
}

pub unsafe fn root_and_bounds() {
    if !here() {
        return;
    }
    program("./p", 0, 0, 0o755);
    run("as root", "./p", || {});
    run("root that had dropped all", "./p", || caps(0, 0, 0));
    run("root with a smaller bounding set", "./p", || {
        ret("drop", prctl(PR_CAPBSET_DROP, 0, 0, 0, 0));
    });
    run("root that means nothing", "./p", || {
        ret("NOROOT", prctl(PR_SET_SECUREBITS, 1));
    });
    run("keepcaps ends", "./p", || {
        ret("keep", prctl(PR_SET_KEEPCAPS, 1));
        user();
        caps(CHOWN, CHOWN, 0);
    });
    run("ambient", "./p", || {
        prctl(PR_SET_KEEPCAPS, 1);
        user();
        caps(NET_BIND, NET_BIND, NET_BIND);
        ret("raise", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 10, 0, 0));
    });
    program("./u", 1234, 1234, 0o4755);
    run("ambient and set-user-ID", "./u", || {
        prctl(PR_SET_KEEPCAPS, 1);
        user();
        caps(NET_BIND, NET_BIND, NET_BIND);
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 10, 0, 0);
    });
    run("effective root, real user", "./p", || {
        setresuid(NOBODY, 0, 0);
    });
    run("real root, effective user", "./p", || {
        setresuid(0, NOBODY, NOBODY);
    });
}

pub unsafe fn file_capabilities() {
    if !here() {
        return;
    }
    program("./c", 0, 0, 0o755);
    file_caps("./c", NET_BIND, 0, 1);
    run("by a user", "./c", || user());
    run("by root", "./c", || {});
    run("no_new_privs", "./c", || {
        user();
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    });
    run("bounding set without it", "./c", || {
        prctl(PR_CAPBSET_DROP, 10, 0, 0, 0);
        user();
    });
    file_caps("./c", NET_BIND, 0, 0);
    run("not effective", "./c", || user());
    file_caps("./c", 0, CHOWN, 0);
    run("inherited", "./c", || {
        prctl(PR_SET_KEEPCAPS, 1);
        user();
        caps(0, 0, CHOWN);
        caps(CHOWN, CHOWN, CHOWN);
    });
    chmod(c("./c").as_ptr(), 0o4755);
    file_caps("./c", NET_BIND, 0, 1);
    run("set-user-ID root with capabilities", "./c", || user());
    // So does a write, and a change of owner.
    chmod(c("./c").as_ptr(), 0o755);
    let fd = open(c("./c").as_ptr(), O_WRONLY | O_APPEND);
    ret("write", write(fd, c("x").as_ptr().cast(), 1));
    close(fd);
    run("after a write", "./c", || user());
    file_caps("./c", NET_BIND, 0, 1);
    chown(c("./c").as_ptr(), 5, 5);
    chmod(c("./c").as_ptr(), 0o755);
    run("after chown", "./c", || user());
}
