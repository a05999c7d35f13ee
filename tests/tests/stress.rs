//! `stress-ng --verify`, one stressor at a time for one second each: what succeeds natively succeeds inside.
//!
//! A stressor is named by its class (`stress-ng --class NAME?` lists it). CI runs a fixed sample; with
//! `RUNSC_TEST_ALL=1` every stressor of every class runs, and `RUNSC_TEST_STRESSORS="vm mlock"` runs just these. Both
//! sides run as an ordinary user: root's stressors would take memory and processors of the machine away.

use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, is_root, native_command};
use runsc_tests::{have, run, skip, Outcome, TempDir, Who};

/// A stressor works for one second; a loaded machine may make of that what it likes.
const LIMIT: Duration = Duration::from_secs(60);

/// A class is one word here, and stressors of it in [`SAMPLE`].
macro_rules! classes {
    ($($class:ident)*) => {
        const CLASSES: &[&str] = &[$(stringify!($class)),*];
        $(#[test]
        fn $class() {
            class(stringify!($class));
        })*
    };
}
classes! { memory vm scheduler os }

/// What CI runs: of each class some that ask for much.
const SAMPLE: &[&str] = &[
    "affinity",
    "clone",
    "daemon",
    "exec",
    "exit-group",
    "fork",
    "futex",
    "hrtimers",
    "kill",
    "nice",
    "poll",
    "pthread",
    "schedpolicy",
    "session",
    "sigq",
    "sigrt",
    "vfork",
    "wait",
    "zombie",
    "madvise",
    "malloc",
    "memfd",
    "mlock",
    "mmap",
    "mmapfork",
    "mprotect",
    "mremap",
    "msync",
    "numa",
    "remap",
    "shm",
    "stack",
    "vm",
    "vm-segv",
];

/// Stressors that are not compared, and why.
const EXCLUDED: &[(&str, &str)] = &[
    ("aiol", "refused: io_setup(2) and its kin are not implemented"),
    ("dnotify", "refused: F_NOTIFY is, as in a kernel without CONFIG_DNOTIFY"),
    ("fiemap", "refused: where a file's blocks lie on the host is nobody's business"),
    ("handle", "refused: name_to_handle_at(2)"),
    ("io-uring", "refused: io_uring"),
    ("key", "the default policy refuses the kernel's keyrings"),
    ("landlock", "refused: a guest's own Landlock domains"),
    ("pci", "there are no devices to see"),
    ("sockdiag", "refused: netlink is"),
    ("usersyscall", "refused: PR_SET_SYSCALL_USER_DISPATCH"),
    ("userfaultfd", "refused: pages are the host's to give"),
    ("watchdog", "natively it arms the machine's watchdog"),
];

#[derive(Debug, PartialEq)]
enum End {
    Success,
    /// The machine, or the user, does not have what it needs.
    Skipped,
    Failure,
}

fn end(outcome: &Outcome) -> End {
    let text = outcome.text();
    let skipped =
        ["will be skipped", "No stress workers", "skipping stressor", "stressor skipped", "not implemented"];
    if outcome.code != Some(0)
        || text.contains(" fail: ")
        || text.contains(" error: ") && !text.contains("No stress workers")
    {
        End::Failure
    } else if skipped.iter().any(|s| text.contains(s)) {
        End::Skipped
    } else {
        End::Success
    }
}

fn stress(who: Who, stressor: &str, inside: bool) -> Outcome {
    let dir = TempDir::new();
    let mut command = if inside {
        let mut command = do_command_with(who, &[]);
        command.arg("stress-ng");
        command
    } else {
        native_command(who, "stress-ng".as_ref())
    };
    command.args(["--verify", &format!("--{stressor}"), "1", "--timeout", "1"]);
    run(command.current_dir(dir.path()), LIMIT)
}

/// The stressors of a class that no class before it has.
fn stressors(class: &str) -> Vec<String> {
    let list = |class: &str| -> Vec<String> {
        let outcome = run(Command::new("stress-ng").args(["--class", &format!("{class}?")]), LIMIT);
        let text = outcome.out() + &outcome.err();
        let names = text.lines().find_map(|line| line.split_once("stressors:")).map(|(_, names)| names);
        names.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let earlier: Vec<String> = CLASSES.iter().take_while(|c| **c != class).flat_map(|c| list(c)).collect();
    let own = list(class);
    assert!(!own.is_empty(), "stress-ng knows no class {class}");
    own.into_iter().filter(|name| !earlier.contains(name)).collect()
}

fn class(class: &str) {
    if !have("stress-ng") {
        return;
    }
    let who = if is_root() { Who::Nobody } else { Who::Caller };
    let all = std::env::var("RUNSC_TEST_ALL").is_ok_and(|v| v == "1");
    let only = std::env::var("RUNSC_TEST_STRESSORS").ok();
    let mut failed = Vec::new();
    for name in stressors(class) {
        let chosen = match &only {
            Some(names) => names.split_whitespace().any(|n| n == name),
            None => all || SAMPLE.contains(&name.as_str()),
        };
        if !chosen {
            continue;
        }
        if let Some((_, why)) = EXCLUDED.iter().find(|(excluded, _)| *excluded == name) {
            println!("{name}: excluded: {why}");
            continue;
        }
        let native = stress(who, &name, false);
        let there = end(&native);
        if there != End::Success {
            println!("{name}: natively {there:?}, not compared");
            if SAMPLE.contains(&name.as_str()) {
                skip(&format!("{name} does not succeed natively:\n{}", native.text()));
            }
            continue;
        }
        let inside = stress(who, &name, true);
        match end(&inside) {
            End::Success => println!("{name}: success"),
            other => {
                println!("{name}: {other:?} inside:\n{}", inside.text());
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "succeed natively and not inside: {}", failed.join(" "));
}
