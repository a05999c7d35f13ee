//! `runsc policy` from outside: what goes where, and with which exit code.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A directory that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runsc-policy-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    fn policy(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runsc"));
        command
            .arg("policy")
            .args(args)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .expect("runsc starts")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("readable")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("readable")
}

#[test]
fn check_shows_the_line_and_a_caret() {
    let scratch = Scratch::new("check");
    scratch.file("good.toml", "extends = [\"ci\"]\n");
    scratch.file("bad.toml", "[limits]\nmemroy = \"4G\"\n");
    let good = scratch.policy(&["check", "good.toml", "strict"]);
    assert_eq!(
        (good.status.code(), out(&good).as_str()),
        (Some(0), "good.toml: good\nstrict: good\n"),
        "{}",
        err(&good)
    );
    let bad = scratch.policy(&["check", "good.toml", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(125));
    assert_eq!(out(&bad), "good.toml: good\nbad.toml: 1 error\n");
    let expected = "runsc: bad.toml:2:1: unknown key `memroy`\nrunsc:    |\nrunsc:  2 | memroy = \"4G\"\n\
                    runsc:    | ^^^^^^ did you mean `memory`?\n";
    assert_eq!(err(&bad), expected);
    let json = scratch.policy(&["check", "--json", "bad.toml"]);
    assert_eq!((json.status.code(), err(&json).as_str()), (Some(125), ""));
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let finding = &report[0]["findings"][0];
    assert_eq!((&finding["line"], &finding["column"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(report[0]["valid"], false);
    assert_eq!(scratch.policy(&["check"]).status.code(), Some(125));
    let missing = scratch.policy(&["check", "no/such.toml"]);
    assert_eq!(missing.status.code(), Some(125));
    assert!(err(&missing).starts_with("runsc: no/such.toml:1:1: cannot read"), "{}", err(&missing));
}

#[test]
fn show_gives_one_policy_that_reads_the_same() {
    let scratch = Scratch::new("show");
    scratch.file("own.toml", "extends = [\"build\"]\n[limits]\npids = 7\n");
    let shown = scratch.policy(&["show", "own.toml"]);
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    let text = out(&shown);
    assert!(
        text.starts_with("# own.toml, which extends build, which extends ci, which extends untrusted\n"),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.starts_with("pids = 7") && line.ends_with("# own.toml:3:8")),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.starts_with("timeout = \"1h\"") && line.contains("# ci:")),
        "{text}"
    );
    let json = scratch.policy(&["show", "--json", "own.toml"]);
    scratch.file("flat.toml", &text);
    scratch.file("flat.json", &out(&json));
    let of = |name: &str| out(&scratch.policy(&["show", "--json", name]));
    assert_eq!(of("flat.toml"), out(&json));
    assert_eq!(of("flat.json"), out(&json));
    let unknown = scratch.policy(&["show", "untursted"]);
    assert_eq!(unknown.status.code(), Some(125));
    assert!(err(&unknown).contains("did you mean `untrusted`?"), "{}", err(&unknown));
}

#[test]
fn list_and_schema() {
    let scratch = Scratch::new("list");
    let profiles = out(&scratch.policy(&["list"]));
    let names: Vec<_> = profiles.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["build", "ci", "permissive", "strict", "untrusted"]);
    assert!(out(&scratch.policy(&["list", "--groups"])).contains("\n@mount: "));
    assert!(out(&scratch.policy(&["list", "--constants"])).contains("AF_NETLINK"));
    for args in [
        &["list", "--json"][..],
        &["list", "--groups", "--json"],
        &["list", "--constants", "--json"],
        &["schema"],
    ] {
        let output = scratch.policy(args);
        assert_eq!(output.status.code(), Some(0));
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}"));
    }
    assert_eq!(scratch.policy(&["list", "--groups", "--constants"]).status.code(), Some(125));
}
