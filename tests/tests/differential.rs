//! The same guest program on the host and inside: the kernel is the oracle. One test a case.

use std::path::Path;
use std::time::{Duration, Instant};

use runsc_tests::refused::differences;
use runsc_tests::run::diff;
use runsc_tests::sandbox::{do_command_with, is_root, native_command, runnable, sibling};
use runsc_tests::{run, skip, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(30);

fn one(who: Who, args: &[&str], inside: bool) -> Outcome {
    // Thousands of tasks are more than the default policy lets a sandbox have.
    // The sweep asks the kernel, not the policy.
    let options: &[&str] =
        if matches!(args[0], "thousands" | "sweep") { &["--policy", "permissive"] } else { &[] };
    let dir = TempDir::new();
    let guests = runnable(&sibling("guests"), who);
    let mut command = if inside {
        let mut command = do_command_with(who, options);
        command.arg(&guests);
        command
    } else {
        native_command(who, guests.as_os_str())
    };
    run(command.args(args).current_dir(dir.path()), LIMIT)
}

/// Paths of fresh directories differ; nothing else may.
fn differential_as(who: Who, args: &[&str]) {
    let native = one(who, args, false);
    assert_eq!(native.code, Some(0), "the guest itself is wrong on Linux:\n{}", native.text());
    let inside = one(who, args, true);
    if args[0] == "sweep" {
        return swept(args[1], &native.text(), &inside.text());
    }
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "{} differs:\n{difference}", args.join(" "));
}

/// Of a sweep, which has thousands of lines, only those are shown that no refusal explains.
fn swept(case: &str, native: &str, inside: &str) {
    let found = differences(native, inside);
    let shown: String = found.iter().take(60).map(|(a, b)| format!("-{a}\n+{b}\n")).collect();
    assert!(found.is_empty(), "sweep {case} differs in {} lines:\n{shown}", found.len());
}

fn differential(family: &str, case: &str) {
    differential_as(Who::Caller, &[family, case]);
}

#[test]
fn thousands_of_threads() {
    differential_as(Who::Caller, &["thousands", "threads"]);
}

#[test]
fn thousands_of_processes() {
    differential_as(Who::Caller, &["thousands", "processes"]);
}

macro_rules! tests {
    ($($family:ident in $test:ident { $($case:ident)* })*) => {
        $(mod $test {
            $(#[test]
            fn $case() {
                super::differential(stringify!($family), stringify!($case));
            })*
        })*
    };
}
runsc_tests::with_cases!(tests);

/// A sample as an ordinary user, for whom the sandbox has fewer means.
mod nobody {
    use super::{differential_as, is_root, skip, Who};

    macro_rules! sample {
        ($($name:ident $family:ident $case:ident;)*) => {
            $(#[test]
            fn $name() {
                if is_root() {
                    differential_as(Who::Nobody, &[stringify!($family), stringify!($case)]);
                } else {
                    skip("acting as another user needs root");
                }
            })*
        };
    }
    sample! {
        open_flags files open_flags;
        renames files renames;
        unlink_open files unlink_open;
        stats files_more stats;
        owner_through_descriptor files_more owner_through_descriptor;
        permissions files_more permissions;
        map_shared memory map_shared;
        fork_copies memory fork_copies;
        interrupts signals interrupts;
        faults signals_more faults;
        forks processes forks;
        execs processes execs;
        pipelines processes pipelines;
        locks threads locks;
        epolls events epolls;
        ids creds ids;
        buffers pointers buffers;
    }
}

#[test]
fn guests_refuse_unknown_cases() {
    let outcome = run(std::process::Command::new(sibling("guests")).args(["no", "such"]), LIMIT);
    assert_eq!(outcome.code, Some(64));
    assert!(Path::new(&sibling("guests")).is_file());
}

/// The seeds of random walks, from `RUNSC_TEST_SEED` (any text; CI gives the tree's hash), so that one tree is tested one
/// way and each tree another.
fn seeds() -> impl Iterator<Item = String> {
    let seed = std::env::var("RUNSC_TEST_SEED").unwrap_or_else(|_| "runsc".to_owned());
    // FNV-1a: any text to a number.
    let seed =
        seed.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (0u64..).map(move |walk| seed.wrapping_add(walk.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_string())
}

/// Random walks over files, processes, signals and pipes.
#[test]
fn random_walks() {
    for number in seeds().take(12) {
        println!("guests random {number} 300");
        differential_as(Who::Caller, &["random", &number, "300"]);
    }
}

/// Two processes at random work on one tree of files, in turns that the seed gives.
#[test]
fn random_trees() {
    for number in seeds().take(12) {
        println!("guests trees {number} 400");
        differential_as(Who::Caller, &["trees", &number, "400"]);
    }
}

/// One file, against a copy of it in the guest's memory.
#[test]
fn random_file() {
    for number in seeds().take(4) {
        println!("guests exercise {number} 3000");
        differential_as(Who::Caller, &["exercise", &number, "3000"]);
    }
}

/// Random walks over mappings, for a bounded time; `RUNSC_TEST_ALL=1` makes it ten times as long.
#[test]
fn random_mappings() {
    let all = std::env::var("RUNSC_TEST_ALL").is_ok_and(|v| v == "1");
    let (walks, bound) = if all { (600, 200) } else { (60, 20) };
    let end = Instant::now() + Duration::from_secs(bound);
    for number in seeds().take(walks).take_while(|_| Instant::now() < end) {
        println!("guests random-memory {number} 400");
        differential_as(Who::Caller, &["random-memory", &number, "400"]);
    }
}
