//! How a run begins and ends: exit codes, messages, and that nothing is left, whoever is killed when.
//!
//! The test process makes itself the reaper of orphans, so that whatever a run leaves behind becomes its own child and
//! can be counted. Tests here therefore take turns.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use runsc_tests::procs;
use runsc_tests::run::{shell_code, wait_until};
use runsc_tests::sandbox::do_command_with;
use runsc_tests::{do_command, run, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(20);

static TURN: Mutex<()> = Mutex::new(());

/// Takes the turn and makes this process the parent of whatever is orphaned.
fn turn() -> MutexGuard<'static, ()> {
    let guard = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: a flag of this process; no memory is passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    guard
}

fn inside(program: &[&str]) -> Outcome {
    run(&mut do_command(Who::Caller, program), LIMIT)
}

/// Our own errors: prefixed, saying something, never a panic.
fn assert_message(outcome: &Outcome) {
    let text = outcome.err();
    assert!(text.lines().any(|l| l.starts_with("runsc:")), "no message of ours: {}", outcome.text());
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "a panic: {}", outcome.text());
}

#[test]
fn the_commands_own_code() {
    let _turn = turn();
    for code in [0, 1, 7, 125, 126, 127, 255] {
        assert_eq!(inside(&["sh", "-c", &format!("exit {code}")]).code, Some(code));
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    let _turn = turn();
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("INT", 130), ("SEGV", 139), ("ABRT", 134)] {
        let outcome = inside(&["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")]);
        assert_eq!(outcome.code, Some(code), "{signal}: {}", outcome.text());
    }
}

#[test]
fn a_crash_is_139_and_nothing_else_dies() {
    let _turn = turn();
    let outcome = inside(&["sh", "-c", "ulimit -c 0; sh -c 'kill -SEGV $$'; echo $?; echo still here"]);
    assert!(outcome.out().contains("139\nstill here"), "{}", outcome.text());
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn a_missing_command_is_127() {
    let _turn = turn();
    for name in ["no-such-command-here", "/no/such/command", "./none"] {
        let outcome = inside(&[name]);
        assert_eq!(outcome.code, Some(127), "{}", outcome.text());
        assert_message(&outcome);
        assert!(outcome.err().contains(name), "the name is not told: {}", outcome.text());
    }
}

#[test]
fn what_cannot_be_run_is_126() {
    let _turn = turn();
    let dir = TempDir::new();
    let path = |name: &str| dir.join(name).to_str().expect("our own name").to_owned();
    let elf = fs::read("/bin/true").expect("there is /bin/true");
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    fs::write(path("cut"), &elf[..100]).expect("a file in our own directory");
    fs::write(path("short"), &elf[..elf.len() / 2]).expect("a file in our own directory");
    fs::write(path("noise"), noise).expect("a file in our own directory");
    fs::write(path("plain"), "#!/bin/sh\n").expect("a file in our own directory");
    for name in ["cut", "short", "noise"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).expect("chmod of our own file");
    }
    for program in ["/tmp", "/etc", &path("cut"), &path("noise"), &path("plain")] {
        let outcome = inside(&[program]);
        assert_eq!(outcome.code, Some(126), "{program}: {}", outcome.text());
        assert_message(&outcome);
    }
    // Cut behind its headers: Linux maps what there is, so that it may also die of a signal.
    let outcome = inside(&[&path("short")]);
    assert!(matches!(outcome.code, Some(126 | 135 | 139)), "{}", outcome.text());
}

#[test]
fn a_bad_option_is_125() {
    let _turn = turn();
    for options in
        [&["--no-such-option"][..], &["--cwd"], &["--overlay", "sideways"], &["--ro", "/no/such/dir"]]
    {
        let outcome = run(do_command_with(Who::Caller, options).arg("true"), LIMIT);
        assert_eq!(outcome.code, Some(125), "{options:?}: {}", outcome.text());
        assert_message(&outcome);
    }
}

#[test]
fn the_status_line_tells_set_up_from_command() {
    let _turn = turn();
    let dir = TempDir::new();
    for (program, want, code) in [("exit 126", "exited", 126), ("kill -9 $$", "signaled", 9)] {
        let file = dir.join("status");
        let text = format!("exec 5>\"$FILE\"; \"$RUNSC\" do -q --status-fd 5 -- sh -c '{program}'");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &text]).env("FILE", &file).env("RUNSC", runsc_tests::runsc());
        run(&mut command, LIMIT);
        let line = fs::read_to_string(&file).unwrap_or_default();
        assert!(line.contains(&format!("\"outcome\":\"{want}\"")), "{line:?}");
        assert!(line.contains(&format!("\"code\":{code}")), "{line:?}");
    }
}

#[test]
fn a_time_limit_is_124() {
    let _turn = turn();
    let started = Instant::now();
    let outcome = run(do_command_with(Who::Caller, &["--timeout", "1s"]).args(["sleep", "60"]), LIMIT);
    assert_eq!(outcome.code, Some(124), "{}", outcome.text());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_alone();
}

#[test]
fn background_processes_end_with_the_run() {
    let _turn = turn();
    let outcome =
        inside(&["sh", "-c", "sleep 300 >/dev/null 2>&1 & setsid sleep 300 >/dev/null 2>&1 & echo started"]);
    assert_eq!((outcome.out().as_str(), outcome.code), ("started\n", Some(0)), "{}", outcome.text());
    assert_alone();
}

/// Ends a launcher by SIGTERM after a while, and waits for the end.
fn terminated(program: &[&str], after: Duration) -> bool {
    let mut child = do_command(Who::Caller, program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("runsc can be started");
    std::thread::sleep(after);
    kill(child.id() as i32, libc::SIGTERM);
    let ended = wait_until(&mut child, Instant::now() + Duration::from_secs(10)).is_some();
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

/// A signal that came while the sandbox was being made found no command to send it to, and was lost: the command then ran
/// on for as long as it liked.
#[test]
fn a_signal_during_the_start_is_not_lost() {
    let _turn = turn();
    for millis in (0..200).step_by(8) {
        assert!(terminated(&["sleep", "300"], Duration::from_millis(millis)), "SIGTERM after {millis} ms");
    }
    assert_alone();
}

#[test]
fn a_tracer_inside_ends_by_sigterm() {
    let _turn = turn();
    if runsc_tests::have("strace") {
        for millis in [100, 300, 1000] {
            let strace = ["strace", "-f", "sh", "-c", "sleep 300; true"];
            assert!(terminated(&strace, Duration::from_millis(millis)), "SIGTERM after {millis} ms");
        }
        assert_alone();
    }
}

/// A run that is busy: it computes, sleeps, waits, forks.
const BUSY: &str = "sleep 300 & (while :; do :; done) & (while :; do true | cat; done) & echo ready; wait";

struct Run {
    child: Child,
    output: std::process::ChildStdout,
}

impl Run {
    fn start() -> Run {
        let mut command = do_command(Who::Caller, &["sh", "-c", BUSY]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runsc can be started");
        let output = child.stdout.take().expect("piped above");
        Run { child, output }
    }

    fn ready(&mut self) {
        let mut line = [0u8; 6];
        self.output.read_exact(&mut line).expect("the run says that it is ready");
        assert_eq!(&line, b"ready\n");
    }

    /// The process of a role: by its hidden subcommand.
    fn role(&self, name: &str) -> Option<i32> {
        procs::tree(self.child.id() as i32).iter().find(|p| p.line.contains(name)).map(|p| p.pid)
    }

    /// The launcher's exit code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let code = wait_until(&mut self.child, Instant::now() + Duration::from_secs(5)).map(shell_code);
        if code.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        (code, text)
    }
}

/// No descendant of this process is left after at most a second; kills what is, so that one failure stays one.
fn assert_alone() {
    let own = std::process::id() as i32;
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let left: Vec<procs::Proc> = procs::tree(own).into_iter().filter(|p| p.pid != own).collect();
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            for p in &left {
                // SAFETY: a process that descends from this test, found a moment ago.
                unsafe { libc::kill(p.pid, libc::SIGKILL) };
            }
            let pids: BTreeSet<i32> = left.iter().map(|p| p.pid).collect();
            procs::left_after(&pids, Duration::from_secs(2));
            panic!("left after a second: {left:#?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: takes two numbers; the process is a descendant of this test.
    unsafe { libc::kill(pid, signal) };
}

#[test]
fn killing_the_launcher_ends_all() {
    let _turn = turn();
    let mut run = Run::start();
    run.ready();
    kill(run.child.id() as i32, libc::SIGKILL);
    run.end();
    assert_alone();
}

fn killing_a_part_ends_all(role: &str) {
    let _turn = turn();
    let mut run = Run::start();
    run.ready();
    let pid = run.role(role).unwrap_or_else(|| {
        panic!("no process with {role} among {:#?}", procs::tree(run.child.id() as i32));
    });
    kill(pid, libc::SIGKILL);
    let (code, text) = run.end();
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("runsc:"), "no message: {text:?}");
    assert_alone();
}

#[test]
fn killing_the_sentry_ends_all() {
    killing_a_part_ends_all("__sentry");
}

#[test]
fn killing_the_gofer_ends_all() {
    killing_a_part_ends_all("__gofer");
}

/// While the gofer does not answer, only who asks it waits: others go on, and all is well once it answers.
#[test]
fn a_gofer_that_hangs_holds_up_who_asks_it() {
    let _turn = turn();
    let dir = TempDir::new();
    fs::write(dir.join("asked"), "came\n").expect("a file in our own directory");
    // The shell's own loop makes calls all the time, none of which concerns a file; `cat` cannot even start.
    let text =
        "echo ready; read go; cat asked & n=0; while [ $n -lt 2000 ]; do n=$((n+1)); umask >/dev/null; \
                echo; done; echo looped; wait";
    let mut command = do_command(Who::Caller, &["sh", "-c", text]);
    let mut child = command
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runsc can be started");
    let mut output = BufReader::new(child.stdout.take().expect("piped above"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the run says that it is ready");
    let tree = procs::tree(child.id() as i32);
    let gofer = tree.iter().find(|p| p.line.contains("__gofer")).expect("there is a gofer").pid;
    kill(gofer, libc::SIGSTOP);
    writeln!(child.stdin.as_mut().expect("piped above"), "go").expect("the run reads");
    let (said, looped) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = output.lines().map_while(Result::ok).filter(|l| !l.is_empty());
        let _ = said.send(lines.next());
        lines.collect::<Vec<_>>()
    });
    let first = looped.recv_timeout(Duration::from_secs(10)).ok().flatten();
    kill(gofer, libc::SIGCONT);
    let code = wait_until(&mut child, Instant::now() + Duration::from_secs(5)).map(shell_code);
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(first.as_deref(), Some("looped"));
    assert_eq!((reader.join().expect("it reads"), code), (vec!["came".to_owned()], Some(0)));
    assert_alone();
}

/// Start-up is where a part may be killed before the others watch it.
#[test]
fn killing_at_any_moment_leaves_nothing() {
    let _turn = turn();
    // Moments spread without a clock's help: a Weyl sequence over the first 40 ms.
    let mut moment = 0u32;
    for round in 0..24 {
        let run = Run::start();
        moment = moment.wrapping_add(2_654_435_769);
        std::thread::sleep(Duration::from_micros((u64::from(moment) * 40_000) >> 32));
        let target = match round % 3 {
            0 => Some(run.child.id() as i32),
            1 => run.role("__sentry"),
            _ => run.role("__gofer"),
        };
        // Before there is such a process, the launcher stands for it.
        kill(target.unwrap_or(run.child.id() as i32), libc::SIGKILL);
        let (code, text) = run.end();
        assert!(code == Some(137) || code == Some(125), "round {round}: {code:?} {text}");
        assert_alone();
    }
}

#[test]
fn a_polite_end_reaches_the_command() {
    let _turn = turn();
    let mut command = do_command(
        Who::Caller,
        &["sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.1; done"],
    );
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("runsc can be started");
    let mut output = child.stdout.take().expect("piped above");
    let mut line = [0u8; 6];
    output.read_exact(&mut line).expect("ready");
    kill(child.id() as i32, libc::SIGTERM);
    let code = wait_until(&mut child, Instant::now() + Duration::from_secs(5)).map(shell_code);
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut rest = String::new();
    let _ = output.read_to_string(&mut rest);
    assert_eq!((code, rest.as_str()), (Some(9), "got it\n"));
    assert_alone();
}
