//! COMPATIBILITY.md is made, never written by hand: `RUNSC_BLESS=1 cargo test -p sentry --test compatibility` writes it,
//! the test fails where it is not what the sources say. Which calls there are comes from the call table; what is refused
//! from the list that the sweep over all calls is held to (so that each errno here was seen); what shows a call from the
//! guests that make it, which print the same on Linux and inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use runsc_tests::refused;
use sentry::syscalls::table::ENTRIES;

/// What is missing of a call that is there.
const PARTLY: &[(&str, &str)] = &[
    ("adjtimex", "reads the clock's state; sets nothing"),
    ("arch_prctl", "FS and GS only"),
    ("clock_adjtime", "reads the clock's state; sets nothing"),
    ("clock_settime", "`EPERM`: the clock is the host's"),
    ("clone", "no namespaces, no `CLONE_INTO_CGROUP`"),
    ("clone3", "no namespaces, no `CLONE_INTO_CGROUP`"),
    ("execveat", "no `AT_EXECVE_CHECK`"),
    ("fcntl", "no leases, no `F_NOTIFY`, no write hints"),
    ("get_mempolicy", "one node; the default policy"),
    ("getsockopt", "the options of sockets, TCP and IP that programs set"),
    ("ioctl", "terminals, descriptors, pipes, sockets; `TIOCSTI` is refused, file attributes and cloning are not there"),
    ("mbind", "one node; the default policy"),
    ("membarrier", "no commands for restartable sequences"),
    ("memfd_create", "no huge pages"),
    ("mmap", "`MAP_HUGETLB` is refused; no `MAP_SYNC`"),
    ("mount", "tmpfs, binds and moves; no other file systems, nothing of the host's"),
    ("openat2", "`RESOLVE_CACHED` is `EAGAIN`"),
    ("personality", "the number is kept; only the default has effects"),
    ("pkey_alloc", "as on a processor without protection keys"),
    ("pkey_free", "as on a processor without protection keys"),
    ("pkey_mprotect", "key -1 only, as on a processor without protection keys"),
    ("prctl", "what concerns the sandbox itself; no `PR_SET_MM`, `PR_SET_SYSCALL_USER_DISPATCH`, core scheduling"),
    ("sched_setattr", "policies and priorities are kept and told; the host's scheduler runs all alike"),
    ("sched_setparam", "kept and told; the host's scheduler runs all alike"),
    ("sched_setscheduler", "kept and told; the host's scheduler runs all alike"),
    ("seccomp", "no user notification (`SECCOMP_FILTER_FLAG_NEW_LISTENER`)"),
    ("sendmsg", "no `MSG_OOB` on UNIX sockets"),
    ("sendto", "no `MSG_OOB` on UNIX sockets"),
    ("set_mempolicy", "one node; the default policy"),
    ("setsockopt", "the options of sockets, TCP and IP that programs set"),
    ("settimeofday", "`EPERM`: the clock is the host's"),
    ("socket", "UNIX, IPv4 and IPv6 streams and datagrams; no raw, packet or netlink sockets"),
    ("syslog", "an empty log"),
    ("unshare", "files and file system attributes; no namespaces"),
    ("vhangup", "the terminal that runsc was started from stays"),
];

/// Calls that Linux itself answers with `ENOSYS`, whatever its configuration.
const GONE: &[&str] = &[
    "_sysctl",
    "afs_syscall",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "getpmsg",
    "lookup_dcookie",
    "nfsservctl",
    "putpmsg",
    "query_module",
    "security",
    "set_thread_area",
    "tuxcall",
    "uprobe",
    "uretprobe",
    "vserver",
];

/// How the C library calls what has another name in the kernel.
const WRAPPERS: &[(&str, &str)] = &[
    ("_exit", "exit_group"),
    ("msgsnd", "msgsnd"),
    ("posix_fadvise", "fadvise64"),
    ("pread", "pread64"),
    ("pwrite", "pwrite64"),
    ("ptsname", "ioctl"),
    ("sigaction", "rt_sigaction"),
    ("sigpending", "rt_sigpending"),
    ("sigprocmask", "rt_sigprocmask"),
    ("pthread_sigmask", "rt_sigprocmask"),
    ("sigqueue", "rt_sigqueueinfo"),
    ("sigsuspend", "rt_sigsuspend"),
    ("sigtimedwait", "rt_sigtimedwait"),
    ("sigwaitinfo", "rt_sigtimedwait"),
    ("tcgetattr", "ioctl"),
    ("tcsetattr", "ioctl"),
    ("waitpid", "wait4"),
    ("wait", "wait4"),
    ("fstatat", "newfstatat"),
    ("mq_send", "mq_timedsend"),
    ("mq_receive", "mq_timedreceive"),
    ("mq_getattr", "mq_getsetattr"),
    ("mq_setattr", "mq_getsetattr"),
    ("umount", "umount2"),
    ("prlimit", "prlimit64"),
    ("pselect", "pselect6"),
    ("signalfd", "signalfd4"),
    ("eventfd", "eventfd2"),
    ("vfork_and", "vfork"),
];

/// At most so many tests are named for a call.
const SHOWN: usize = 4;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests")
}

/// The words of a source that are called, or given by number (`SYS_name`).
fn called(source: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    while let Some(start) = source[at..].find(word).map(|n| at + n) {
        let end = source[start..].find(|c| !word(c)).map_or(source.len(), |n| start + n);
        let name = &source[start..end];
        let method = source[..start].ends_with('.');
        if let Some(call) = name.strip_prefix("SYS_") {
            found.insert(call);
        } else if source[end..].starts_with('(') && !method {
            found.insert(name);
        }
        at = end;
    }
    found
}

/// The functions of a guest family: name, body, whether it is a case.
fn functions(source: &str) -> Vec<(&str, &str, bool)> {
    let mut starts = Vec::new();
    for (at, line) in source.match_indices('\n').map(|(at, _)| (at + 1, &source[at + 1..])) {
        let line = line.lines().next().unwrap_or_default();
        if let Some((head, rest)) = line.split_once("fn ") {
            if !line.starts_with(' ') && !head.contains("//") {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                starts.push((at, name, line.starts_with("pub ")));
            }
        }
    }
    let ends = starts.iter().skip(1).map(|s| s.0).chain([source.len()]);
    starts.iter().zip(ends).map(|((at, name, case), end)| (*name, &source[*at..end], *case)).collect()
}

/// For every call, the differential cases that make it, by itself or by a function of their file.
fn shown_by() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |call: &str, case: String| {
        all.entry(call.to_owned()).or_default().insert(case);
    };
    for file in std::fs::read_dir(guests()).expect("the guests' sources").flatten() {
        let path = file.path();
        let family = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_none_or(|e| e != "rs") || ["main", "kit", "sweep"].contains(&family.as_str()) {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a guest's source");
        let functions: BTreeMap<&str, (BTreeSet<&str>, bool)> =
            functions(&source).into_iter().map(|(name, body, case)| (name, (called(body), case))).collect();
        for (case, _) in functions.iter().filter(|(_, (_, case))| *case) {
            let (mut seen, mut open) = (BTreeSet::new(), vec![*case]);
            while let Some(name) = open.pop() {
                for word in functions.get(name).map(|f| &f.0).into_iter().flatten() {
                    if seen.insert(*word) && functions.contains_key(word) && !functions[word].1 {
                        open.push(word);
                    }
                }
            }
            for word in seen.into_iter().filter(|word| !functions.contains_key(word)) {
                add(word, format!("{family}::{case}"));
                for (_, call) in WRAPPERS.iter().filter(|(wrapper, _)| *wrapper == word) {
                    add(call, format!("{family}::{case}"));
                }
            }
        }
    }
    all
}

/// The list of the sweep that each call number stands in.
fn swept() -> BTreeMap<i64, String> {
    let source = std::fs::read_to_string(guests().join("sweep/table.rs")).expect("the sweep's table");
    let (mut list, mut all) = (String::new(), BTreeMap::new());
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("    ").and_then(|l| l.strip_suffix(" {")) {
            if name.chars().all(|c| c.is_ascii_uppercase()) {
                list = name.to_lowercase();
            }
        }
        let entry = line.strip_prefix("        ").and_then(|l| l.split_once(' '));
        if let Some(nr) = entry.and_then(|(nr, _)| nr.parse().ok()) {
            all.entry(nr).or_insert_with(|| list.clone());
        }
    }
    all
}

struct Row {
    nr: i64,
    name: &'static str,
    status: &'static str,
    note: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let (by, swept) = (shown_by(), swept());
    let mut calls: Vec<_> = policies::calls::all().collect();
    calls.sort_unstable_by_key(|(_, nr)| *nr);
    let row = |(name, nr): (&'static str, i64)| {
        let there = ENTRIES.iter().any(|e| i64::from(e.nr) == nr);
        let refused = refused::CALLS.iter().find(|r| r.name == name);
        let partly = PARTLY.iter().find(|(call, _)| *call == name);
        let (status, note) = match (refused, partly) {
            (Some(r), _) => ("refused", format!("`{}`: {}", r.errno, r.why)),
            (None, Some((_, missing))) => ("partly", (*missing).to_owned()),
            (None, None) if there => ("supported", String::new()),
            (None, None) => ("refused", "`ENOSYS`, as on Linux".to_owned()),
        };
        let mut tests: Vec<String> = by.get(name).into_iter().flatten().cloned().collect();
        let more = tests.len().saturating_sub(SHOWN);
        tests.truncate(SHOWN);
        if more > 0 {
            tests.push(format!("{more} more"));
        }
        tests.push(format!("sweep::{}", swept.get(&nr).map_or("numbers", String::as_str)));
        Row { nr, name, status, note, tests }
    };
    calls.into_iter().map(row).collect()
}

fn page() -> String {
    let rows = rows();
    let count = |status: &str| rows.iter().filter(|r| r.status == status).count();
    let mut out = String::from(
        "# Linux system calls answered by runsc\n\n\
         Made by a test from the call table, the list of refusals and the sources of the tests; do not edit.\n\n\
         - **supported**: as Linux, as far as the tests show it.\n\
         - **partly**: as Linux, but for what is named; a form that is missing gets the errno of a kernel without it.\n\
         - **refused**: always the errno that is named, which is counted (`-v` names the calls).\n\n\
         The tests are guest programs of `tests/guests/` (`family::case`) that print the same on Linux and inside. Each call\n\
         stands in the sweep, too, which makes it with wild descriptors, pointers, lengths and flags and compares each errno\n\
         with the host's. A number that is not here is `ENOSYS`.\n\n",
    );
    let _ = writeln!(
        out,
        "{} calls of Linux x86-64: {} supported, {} partly, {} refused.\n\n\
         | number | call | | what is missing, or why | tests |\n| --- | --- | --- | --- | --- |",
        rows.len(),
        count("supported"),
        count("partly"),
        count("refused")
    );
    for r in rows {
        let _ =
            writeln!(out, "| {} | `{}` | {} | {} | {} |", r.nr, r.name, r.status, r.note, r.tests.join(", "));
    }
    out
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../COMPATIBILITY.md");
    let page = page();
    if std::env::var_os("RUNSC_BLESS").is_some() {
        std::fs::write(&path, &page).expect("COMPATIBILITY.md can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let old = "COMPATIBILITY.md is old: RUNSC_BLESS=1 cargo test -p sentry --test compatibility";
    let (what, named): (Vec<_>, Vec<_>) = there.lines().map(apart).unzip();
    assert!(what == page.lines().map(|line| apart(line).0).collect::<Vec<_>>(), "{old}");
    // A new test need not be named on the page; one that is named must be there.
    let all: BTreeSet<String> = shown_by().into_values().flatten().collect();
    for case in named.iter().flat_map(|tests| tests.split(", ")).filter(|case| case.contains("::")) {
        assert!(case.starts_with("sweep::") || all.contains(case), "{case} is gone. {old}");
    }
}

/// A line of the page without its tests, and those.
fn apart(line: &str) -> (&str, &str) {
    let cells = line.strip_suffix(" |").and_then(|line| line.rsplit_once(" | "));
    cells.filter(|_| line.starts_with("| ")).unwrap_or((line, ""))
}

#[test]
fn every_number_stands_once() {
    let mut numbers: Vec<_> = ENTRIES.iter().map(|e| e.nr).collect();
    numbers.sort_unstable();
    let twice: Vec<_> = numbers.windows(2).filter(|w| w[0] == w[1]).collect();
    assert!(twice.is_empty(), "declared twice: {twice:?}");
}

#[test]
fn every_call_has_its_own_name() {
    let wrong: Vec<_> =
        ENTRIES.iter().filter(|e| policies::calls::number(e.name) != Some(i64::from(e.nr))).collect();
    assert!(wrong.is_empty(), "{:?}", wrong.iter().map(|e| e.name).collect::<Vec<_>>());
}

#[test]
fn what_is_not_there_is_refused_with_a_reason() {
    let there = |name: &str| ENTRIES.iter().any(|e| e.name == name);
    for (name, nr) in policies::calls::all() {
        let refused = refused::CALLS.iter().filter(|r| r.name == name).collect::<Vec<_>>();
        assert!(refused.len() <= 1, "{name} is refused twice");
        match refused.first() {
            Some(r) => assert_eq!(
                r.errno == "ENOSYS",
                !there(name),
                "{name}: ENOSYS is for calls that are not in the table"
            ),
            None => {
                assert!(there(name) || GONE.contains(&name), "{name} ({nr}) is neither there nor refused");
            }
        }
    }
    for (name, _) in PARTLY {
        assert!(there(name), "{name} is not in the table");
        assert!(refused::CALLS.iter().all(|r| r.name != *name), "{name} is both");
    }
}

#[test]
fn every_call_is_swept() {
    let swept = swept();
    // Made in ways of their own.
    let other = ["rt_sigreturn", "vfork", "exit", "exit_group"];
    let missing: Vec<_> = policies::calls::all()
        .filter(|(name, nr)| !swept.contains_key(nr) && !other.contains(name) && !GONE.contains(name))
        .collect();
    assert!(missing.is_empty(), "not in tests/guests/sweep/table.rs: {missing:?}");
    assert!(swept.values().all(|list| !list.is_empty()));
}
