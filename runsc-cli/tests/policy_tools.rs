//! `runsc policy explain`, `diff` and `convert` from outside.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A directory that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runsc-policy-tools-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    /// Exit code, standard output, standard error.
    fn policy(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runsc"));
        let command = command.arg("policy").args(args).current_dir(&self.0).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().expect("runsc starts");
        let text = |bytes| String::from_utf8(bytes).expect("readable");
        (status.code(), text(stdout), text(stderr))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const SOCKETS: &str = r#"[syscalls]
groups = { "@debug" = "kill" }

[[syscalls.rule]]
names = ["socket"]
when = ["arg0 == AF_NETLINK", "arg1 & SOCK_TYPE_MASK == SOCK_RAW"]
action = "errno"
errno = "EAFNOSUPPORT"
"#;

const OCI: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": 38,
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
  "syscalls": [
    {"names": ["read", "write", "_llseek"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}}
  ]
}
"#;

#[test]
fn explain_names_the_line_that_decides() {
    let scratch = Scratch::new("explain");
    scratch.file("p.toml", SOCKETS);
    let (code, out, err) =
        scratch.policy(&["explain", "p.toml", "socket", "AF_NETLINK", "SOCK_RAW|SOCK_CLOEXEC", "0"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("errno EAFNOSUPPORT") && out.contains("p.toml:4:1: this rule decides"), "{out}");
    let (_, out, _) = scratch.policy(&["explain", "p.toml", "socket", "AF_INET"]);
    assert!(out.contains("AF_INET): allow") && out.contains("passed over, not arg0 == AF_NETLINK"), "{out}");
    let (_, out, _) = scratch.policy(&["explain", "p.toml", "socket"]);
    assert!(out.contains("depends on its arguments") && out.contains("otherwise allow"), "{out}");
    let (_, out, _) = scratch.policy(&["explain", "p.toml", "ptrace"]);
    assert!(out.contains("ptrace: kill") && out.contains("the group @debug"), "{out}");
    let (_, out, _) = scratch.policy(&["explain", "--json", "p.toml", "ptrace"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["action"], "kill");
    assert_eq!(json["by"], "@debug");
    assert_eq!(json["origin"]["line"], 2);
    let (code, _, err) = scratch.policy(&["explain", "p.toml", "sokcet"]);
    assert!(code == Some(125) && err.contains("did you mean `socket`?"), "{err}");
    let (code, _, err) = scratch.policy(&["explain", "p.toml", "socket", "AF_INTE"]);
    assert!(code == Some(125) && err.contains("AF_INET"), "{err}");
}

#[test]
fn diff_says_what_is_newly_let_through() {
    let scratch = Scratch::new("diff");
    scratch.file("a.toml", SOCKETS);
    scratch.file("b.toml", "[limits]\npids = 5\n");
    assert_eq!(scratch.policy(&["diff", "a.toml", "a.toml"]), (Some(0), String::new(), String::new()));
    let (code, out, _) = scratch.policy(&["diff", "a.toml", "b.toml"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("+ kill → allow: ") && out.contains("ptrace"), "{out}");
    assert!(out.contains("errno EAFNOSUPPORT → allow: socket, for some arguments, such as (16, 3,"), "{out}");
    assert!(out.contains("- limits.pids: none → 5"), "{out}");
    let (_, out, _) = scratch.policy(&["diff", "--json", "b.toml", "a.toml"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(json
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["call"] == "ptrace" && c["effect"] == "denies")));
}

#[test]
fn convert_carries_over_or_names() {
    let scratch = Scratch::new("convert");
    scratch.file("oci.json", OCI);
    let (code, _, err) = scratch.policy(&["convert", "oci.json", "-o", "ours.toml"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains("SCMP_ARCH_X86") && err.contains("_llseek") && err.contains("CAP_SYS_CHROOT"),
        "{err}"
    );
    // The file says the same as the profile, which every command takes as it is.
    assert_eq!(scratch.policy(&["diff", "ours.toml", "oci.json"]).0, Some(0));
    let (_, out, _) = scratch.policy(&["explain", "oci.json", "read"]);
    assert!(out.contains("read: allow") && out.contains("oci.json:6:5"), "{out}");
    for format in ["oci", "seccompiler", "json"] {
        let (code, out, _) = scratch.policy(&["convert", "ours.toml", "--to", format]);
        assert_eq!(code, Some(0));
        scratch.file("again.json", &out);
        let (code, out, err) = scratch.policy(&["diff", "oci.json", "again.json"]);
        assert_eq!((code, out.as_str()), (Some(0), ""), "{format}: {err}");
    }
    let (_, out, _) = scratch.policy(&["convert", "oci.json", "--cap", "CAP_SYS_CHROOT"]);
    assert!(out.contains("chroot"), "{out}");
    let (_, _, err) = scratch.policy(&["convert", "strict", "--to", "oci"]);
    assert!(err.contains("[files] is not carried over"), "{err}");
}
