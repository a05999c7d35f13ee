//! Tests that others wrote for their own programs, by name: what passes natively passes inside.
//!
//! CI runs whole modules and packages where they are quick, a fixed choice of the others; `RUNSC_TEST_ALL=1` runs all of
//! each. A test that fails inside is run once more by itself, since many have a time that they must be done in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use runsc_tests::compare::prepared;
use runsc_tests::{have, skip, Outcome, Script};

const LIMIT: Duration = Duration::from_secs(900);
const PASSED: &str = "passed";

/// What became of each test.
type Results = BTreeMap<String, String>;

fn all() -> bool {
    std::env::var_os("RUNSC_TEST_ALL").is_some_and(|v| v == "1")
}

/// Fails where a test that passes natively does not inside; `again` runs some of them inside.
fn judge(
    (native, inside): (Outcome, Outcome),
    read: fn(&Outcome) -> Results,
    again: impl FnOnce(&[String]) -> Outcome,
) {
    let (on_linux, ours) = (read(&native), read(&inside));
    let passing = |r: &Results, name: &String| r.get(name).is_some_and(|v| v == PASSED);
    let expected: Vec<String> = on_linux.keys().filter(|n| passing(&on_linux, n)).cloned().collect();
    assert!(!expected.is_empty(), "no test passes on Linux:\n{}", native.text());
    let missing: Vec<String> = expected.iter().filter(|n| !passing(&ours, n)).cloned().collect();
    println!("{} pass natively, {} of them inside", expected.len(), expected.len() - missing.len());
    if missing.is_empty() {
        return;
    }
    assert!(inside.code.is_some(), "these had not passed when the time was over: {missing:#?}");
    println!("once more: {missing:?}");
    let second = again(&missing);
    let results = read(&second);
    let failed: Vec<&String> = missing.iter().filter(|n| !passing(&results, n)).collect();
    assert!(failed.is_empty(), "these pass on Linux alone: {failed:#?}\n{}{}", inside.text(), second.text());
}

mod python {
    use super::{all, judge, skip, Command, Outcome, Results, Script, LIMIT, PASSED};

    /// Debian's own, which the package of tests belongs to.
    const PYTHON: &str = "/usr/bin/python3";

    /// Runs tests, then prints what the report says of each.
    const RUN: &str = r#"
"$0" -m test -v --junit-xml report.xml "$@" >log 2>&1
"$0" - <<'E'
import xml.etree.ElementTree as tree
try: cases = tree.parse('report.xml').iter('testcase')
except Exception: print(open('log', errors='replace').read()[-20000:]); raise
for case in cases:
    kinds = [c.tag for c in case]
    bad = [c for c in case if c.tag in ('failure', 'error')]
    print('RESULT', case.get('name'), 'failed' if bad else 'skipped' if 'skipped' in kinds else 'passed')
    for b in bad: print(b.text)
E
"#;

    fn results(outcome: &Outcome) -> Results {
        let mut found = Results::new();
        for line in outcome.out().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["RESULT", name, what] = words[..] {
                // A name can come twice (a class that is imported by another module); all of them are to pass.
                let was = found.entry(name.to_owned()).or_insert_with(|| what.to_owned());
                if what != PASSED {
                    what.clone_into(was);
                }
            }
        }
        found
    }

    fn script<'a>(args: &'a [&str]) -> Script<'a> {
        args.iter().fold(Script::sh(RUN).arg(PYTHON), |s, a| s.arg(*a)).limit(LIMIT)
    }

    fn module(name: &str, sample: &[&str]) {
        let there = Command::new(PYTHON).args(["-c", &format!("import test.{name}")]).output();
        if !there.is_ok_and(|o| o.status.success()) {
            return skip("package libpython3.11-testsuite");
        }
        let mut args = if all() { Vec::new() } else { sample.to_vec() };
        args.push(name);
        judge(script(&args).outcomes(), results, |failed| {
            let mut args: Vec<&str> = failed.iter().flat_map(|n| ["-m", n]).collect();
            args.push(name);
            script(&args).inside()
        });
    }

    macro_rules! modules {
        ($($name:ident [$($sample:literal)*])*) => { $(
            #[test]
            fn $name() {
                module(stringify!($name), &[$($sample),*]);
            }
        )* };
    }
    modules! {
        test_pty []
        test_fork1 []
        test_mmap []
        test_thread []
        test_os []
        test_posix []
        test_threading []
        // It waits for half a minute.
        test_signal ["-i" "test_siginterrupt_off"]
        // The same tests again with another way to wait.
        test_subprocess ["-i" "ProcessTestCaseNoPoll"]
        test_multiprocessing_fork ["-m" "WithProcessesTest*" "-m" "TestStartMethod" "-m" "TestInvalidFamily"]
    }
}

mod go {
    use super::{all, have, judge, prepared, skip, Outcome, PathBuf, Results, Script, LIMIT, PASSED};

    /// Tests of the runtime that ask something of a kernel; those that build programs with C take long.
    const RUNTIME: &str =
        "^Test(Async|Block|Breakpoint|Chan|Crash|Deadlock|Debug|EINTR|Epoll|GCFair|Goroutine|LockOS\
         |Mincore|Mmap|Netpoll|NewOS|Nonblock|Page|Panic|Phys|Preempt|Scaveng|Segv|Select|Sema|SetPanic|Sig|Simple\
         |Spurious|StackGrowth|StackMem|StackOverflow|Thread|Time|Yield)";

    fn results(outcome: &Outcome) -> Results {
        let mut found = Results::new();
        // What the tests' programs print may come before it on the same line.
        for line in outcome.out().lines() {
            let Some((_, rest)) = line.split_once("--- ") else { continue };
            let words: Vec<&str> = rest.split(' ').collect();
            if let [what @ ("PASS:" | "FAIL:" | "SKIP:"), name, ..] = words[..] {
                let what = if what == "PASS:" { PASSED } else { what };
                found.insert(name.to_owned(), what.to_owned());
            }
        }
        found
    }

    /// `file` is one of the package's tests, to see that they are there.
    fn package(name: &str, file: &str, sample: &str) {
        if !have("go") {
            return;
        }
        let source = PathBuf::from("/usr/share/go-1.19/src").join(name);
        if !source.join(file).exists() {
            return skip("package golang-src");
        }
        let built = prepared(&format!("go test -c -o tests {name}"), &[]);
        let (program, cache) = (built.join("tests"), built.join("cache"));
        let text = "cd \"$SOURCE\" && exec \"$PROGRAM\" -test.short -test.v -test.run \"$PATTERN\" 2>&1";
        let script = Script::sh(text).env("SOURCE", &source).env("PROGRAM", &program).env("GOCACHE", &cache);
        let script = script.env("GO111MODULE", "off").limit(LIMIT);
        let pattern = if all() { "." } else { sample };
        judge(script.clone().env("PATTERN", pattern).outcomes(), results, |failed| {
            let tops: Vec<&str> = failed.iter().map(|n| n.split('/').next().unwrap_or(n)).collect();
            script.env("PATTERN", &format!("^({})$", tops.join("|"))).inside()
        });
    }

    #[test]
    fn os() {
        package("os", "os_test.go", ".");
    }
    #[test]
    fn os_exec() {
        package("os/exec", "exec_test.go", ".");
    }
    #[test]
    fn os_signal() {
        package("os/signal", "signal_test.go", ".");
    }
    #[test]
    fn syscall() {
        package("syscall", "syscall_test.go", ".");
    }
    #[test]
    fn runtime() {
        package("runtime", "proc_test.go", RUNTIME);
    }
}
