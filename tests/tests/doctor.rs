//! `runsc doctor`, as the caller and as nobody: that it says what there is, what to change, and what a sandbox then
//! really gets.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, is_root, native_command, runnable};
use runsc_tests::{run, runsc, Outcome, Who};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn everyone() -> Vec<Who> {
    if is_root() {
        vec![Who::Caller, Who::Nobody]
    } else {
        vec![Who::Caller]
    }
}

fn doctor(who: Who, options: &[&str]) -> Outcome {
    let mut command: Command = native_command(who, runnable(runsc(), who).as_os_str());
    run(command.arg("doctor").args(options), LIMIT)
}

fn findings(who: Who) -> Value {
    let outcome = doctor(who, &["--json"]);
    assert_eq!(outcome.code, Some(0), "{who:?}: {}", outcome.text());
    serde_json::from_slice(&outcome.stdout)
        .unwrap_or_else(|e| panic!("{who:?}: no JSON ({e}): {}", outcome.text()))
}

/// State and the whole of each check, by its id.
fn checks(findings: &Value) -> BTreeMap<String, (String, Value)> {
    let all = findings["checks"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    all.iter().map(|check| (text(&check["id"]), (text(&check["state"]), check.clone()))).collect()
}

#[test]
fn everything_that_a_sandbox_uses_is_looked_at() {
    for who in everyone() {
        let findings = findings(who);
        let checks = checks(&findings);
        for id in [
            "seccomp",
            "user-notify",
            "process-vm",
            "pidfd-getfd",
            "fsgsbase",
            "user-namespace",
            "pid-namespace",
            "mount-namespace",
            "network-namespace",
            "ipc-namespace",
            "uts-namespace",
            "max-user-namespaces",
            "unprivileged-userns-clone",
            "apparmor-userns",
            "security-modules",
            "landlock",
            "cgroup-v2",
            "cgroup-v1",
            "inotify",
        ] {
            let (state, check) = checks.get(id).unwrap_or_else(|| panic!("{who:?}: no {id}"));
            assert!(["present", "limited", "missing"].contains(&state.as_str()), "{id}: {state}");
            for key in ["name", "detail", "gives"] {
                assert!(check[key].as_str().is_some_and(|text| text.len() > 2), "{who:?}: {id} has no {key}");
            }
            let change = check["change"].as_array().map_or(0, Vec::len);
            assert_eq!(change > 0, state != "present", "{who:?}: {id} is {state} with {change} changes");
        }
    }
}

#[test]
fn what_it_says_of_settings_is_so() {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok();
    for who in everyone() {
        let findings = findings(who);
        let checks = checks(&findings);
        let uid = findings["uid"].as_u64();
        assert_eq!(uid, Some(if who == Who::Nobody { 65534 } else { nix_uid() }), "{who:?}");
        if let Some(most) = setting("user/max_user_namespaces") {
            assert_eq!(checks["max-user-namespaces"].0 == "missing", most.trim() == "0");
        }
        if setting("kernel/apparmor_restrict_unprivileged_userns").is_none() {
            assert_eq!(checks["apparmor-userns"].0, "present");
        }
    }
}

fn nix_uid() -> u64 {
    // SAFETY: takes nothing, reads one number.
    u64::from(unsafe { libc::geteuid() })
}

#[test]
fn the_layers_are_those_that_a_sandbox_gets() {
    for who in everyone() {
        let findings = findings(who);
        let missing = findings["layers"]["missing"].as_array().expect("a list").len();
        let outcome = run(do_command_with(who, &["--require-full-isolation"]).arg("true"), LIMIT);
        assert_eq!(
            outcome.code,
            Some(if missing == 0 { 0 } else { 125 }),
            "{who:?}: {findings}\n{}",
            outcome.text()
        );
        assert_eq!(findings["trial"]["works"], true, "{who:?}");
    }
}

#[test]
fn the_memory_limit_is_the_one_in_force() {
    for who in everyone() {
        let limit = &findings(who)["memory_limit"];
        let by = limit["by"].as_str().expect("a text");
        let weak = limit["weakness"].is_string();
        assert_eq!(weak, by == "mappings", "{who:?}: {limit}");
        assert_eq!(limit["change"].is_array(), weak, "{who:?}: {limit}");
        // Where mappings are counted, Linux's name for that shows inside.
        let outcome = run(
            do_command_with(who, &["--memory", "100M"]).args(["cat", "/proc/sys/vm/overcommit_memory"]),
            LIMIT,
        );
        assert_eq!(outcome.out(), if weak { "2\n" } else { "0\n" }, "{who:?}: {by}");
    }
}

#[test]
fn the_text_says_it_in_words() {
    for who in everyone() {
        let outcome = doctor(who, &[]);
        assert_eq!(outcome.code, Some(0), "{who:?}: {}", outcome.text());
        let text = outcome.out();
        for word in
            ["seccomp", "Landlock", "A sandbox gets here: ", "--memory is held by ", "A sandbox starts here"]
        {
            assert!(text.contains(word), "{who:?}: {word} is not said: {text}");
        }
        assert!(text.lines().all(|line| !line.contains('\u{1b}')), "colours in a pipe: {text}");
    }
}

#[test]
fn nothing_of_its_trials_stays() {
    for who in everyone() {
        let mut command = native_command(who, runnable(runsc(), who).as_os_str());
        let mut child = command.arg("doctor").stdout(std::process::Stdio::null()).spawn().expect("starts");
        let name = format!("runsc-{}-*", child.id());
        assert!(child.wait().expect("our own child").success(), "{who:?}");
        let left = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &name]).output();
        let left = String::from_utf8_lossy(&left.expect("find runs").stdout).into_owned();
        assert_eq!(left, "", "{who:?}");
    }
}
