//! The command line from outside: exit codes, and who says what where. Nothing here needs a guest to run.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

fn runsc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runsc")).args(args).stdin(Stdio::null()).output().expect("runsc starts")
}

/// Fails with 125, says nothing on standard output, and prefixes every line.
fn refused(args: &[&str]) -> String {
    let output = runsc(args);
    let text = String::from_utf8(output.stderr).expect("readable");
    assert_eq!(output.status.code(), Some(125), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(!text.is_empty(), "{args:?} says nothing");
    for line in text.lines() {
        assert!(line.starts_with("runsc: "), "{args:?}: {line}");
        assert!(!line.contains("panicked"), "{args:?}: {line}");
    }
    text
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["do", "--help"], &["--version"], &["do", "-h"]] {
        let output = runsc(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let help = String::from_utf8(runsc(&["do", "--help"]).stdout).expect("readable");
    for option in [
        "--ro",
        "--rw",
        "--hide",
        "--overlay",
        "--cwd",
        "--env",
        "--pass-env",
        "--user",
        "--hostname",
        "--trace",
        "--platform",
        "--timeout",
        "--status-fd",
        "--require-full-isolation",
        "--log-format",
        "--verbose",
        "--quiet",
    ] {
        assert!(help.contains(option), "{option} is not in the help");
    }
}

#[test]
fn bad_command_lines_exit_with_125_and_a_way_out() {
    for (args, word) in [
        (&[][..], "runsc do -- COMMAND"),
        (&["undo"], "undo"),
        (&["do", "--bogus"], "runsc do --help"),
        (&["do", "--overlay", "cloud", "true"], "memory"),
        (&["do", "--overlay", "none", "--diff", "true"], "--overlay memory"),
        (&["do", "--export", "/no/such/dir/x.tar", "true"], "--export"),
        (&["do", "--platform", "ptrace", "true"], "systrap"),
        (&["do", "--timeout", "soon", "true"], "--timeout"),
        (&["do", "--env", "NOVALUE", "true"], "--pass-env"),
        (&["do", "--pass-env", "A=1", "true"], "--env"),
        (&["do", "--user", "no-such-user-here", "true"], "UID[:GID]"),
        (&["do", "--ro", "/no/such/path", "true"], "/no/such/path"),
        (&["do", "--rw", "/usr:/", "true"], "root"),
        (&["do", "--hide", "/", "true"], "hidden"),
        (&["do", "--status-fd", "77", "true"], "--status-fd 77"),
        (&["do", "--trace", "/no/such/directory/trace", "true"], "/no/such/directory/trace"),
        (&["do", "--hostname", "", "true"], "--hostname"),
        (&["do", "-q", "-v", "true"], "--verbose"),
        (&["do", "--memory", "much", "true"], "--memory"),
        (&["ci", "true"], "not available"),
        (&["__sentry"], "runsc do"),
        (&["__gofer"], "runsc do"),
    ] {
        let text = refused(args);
        assert!(text.contains(word), "{args:?} does not mention {word}: {text}");
    }
}

#[test]
fn messages_can_be_json() {
    let output = runsc(&["do", "--log-format", "json", "--ro", "/no/such/path", "true"]);
    assert_eq!(output.status.code(), Some(125));
    for line in String::from_utf8(output.stderr).expect("readable").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["level"], "ERROR");
        assert!(line["message"].is_string());
    }
}

#[test]
fn a_failed_set_up_shows_on_the_status_descriptor() {
    let output = runsc(&["do", "--status-fd", "1", "--overlay", "none", "--diff", "true"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(line, serde_json::json!({ "outcome": "setup-failed", "code": 125 }));
}

#[test]
fn survives_closed_standard_streams() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let line = format!("exec \"$0\" do --bogus {closed}");
        let status =
            Command::new("sh").args(["-c", &line, env!("CARGO_BIN_EXE_runsc")]).status().expect("sh");
        assert_eq!(status.code(), Some(125), "{closed}");
    }
}

#[test]
fn runs_though_its_file_is_gone() {
    let directory = std::env::temp_dir().join(format!("runsc-cli-test-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory");
    let copy = directory.join("runsc");
    std::fs::copy(env!("CARGO_BIN_EXE_runsc"), &copy).expect("a copy");
    // The shell opens the file before it removes it, and executes what it holds.
    let line =
        "exec 9<\"$0\"; rm \"$0\"; exec /proc/self/fd/9 do --require-full-isolation --cwd / -- /bin/true";
    let mut command = Command::new("sh");
    let output = command.args(["-c", line]).arg(&copy).arg0("sh").output();
    std::fs::remove_dir_all(&directory).expect("removed");
    let output = output.expect("sh");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("execute itself again"), "{text}");
}
