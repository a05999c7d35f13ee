//! What `check` warns of: one text for each kind, and what must not be warned of.

use std::path::PathBuf;

use policies::read::Format;
use policies::{check, load_text, Context};

fn warnings(text: &str) -> Vec<String> {
    let context = Context { home: Some(PathBuf::from("/home/ann")), directory: PathBuf::from("/work") };
    let loaded =
        load_text("t.toml", text, Format::Toml, &context).unwrap_or_else(|errors| panic!("{errors}"));
    check(&loaded).iter().map(ToString::to_string).collect()
}

fn rule(names: &str, when: &str, action: &str) -> String {
    format!("[[syscalls.rule]]\nnames = [{names}]\nwhen = [{when}]\naction = \"{action}\"\n")
}

#[test]
fn rules_that_never_match() {
    for (when, said) in [
        ("\"arg0 == 1\", \"arg0 == 2\"", "`arg0 == 2` never holds together with"),
        ("\"arg0 > 5\", \"arg0 <= 5\"", "`arg0 <= 5` never holds together with"),
        ("\"arg0 == 5\", \"arg0 != 5\"", "`arg0 != 5` never holds together with"),
        ("\"arg0 < 0\"", "`arg0 < 0` never holds"),
        ("\"arg0 > 0xffff_ffff\"", "`arg0 > 0xffff_ffff` never holds"),
        ("\"arg0 & 6 == 1\"", "`arg0 & 6 == 1` never holds"),
        ("\"arg0 == 0x1_0000_0000\"", "arg0 of `socket` has 32 bits"),
    ] {
        let found = warnings(&rule("\"socket\"", when, "log"));
        assert_eq!(found.len(), 1, "{when}: {found:?}");
        assert!(found[0].contains(said) && found[0].starts_with("t.toml:3:"), "{when}: {found:?}");
    }
    for when in [
        "\"arg0 == -1\"",
        "\"arg0 >= 5\", \"arg0 <= 5\"",
        "\"arg0 != 5\", \"arg0 != 6\"",
        "\"arg0 & 6 != 1\"",
        "\"arg0.64 == 0x1_0000_0000\"",
        "\"arg0 == 1\", \"arg1 == 2\"",
    ] {
        assert_eq!(warnings(&rule("\"socket\"", when, "log")), [""; 0], "{when}");
    }
}

#[test]
fn rules_behind_others() {
    let first = rule("\"@network-io\"", "", "errno");
    let found = warnings(&(first.clone() + &rule("\"socket\", \"bind\"", "\"arg0 == 1\"", "allow")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("t.toml:5:1: warning: the rule never matches: t.toml:1:1 takes"),
        "{found:?}"
    );
    // One call is left to it.
    assert_eq!(warnings(&(first + &rule("\"socket\", \"read\"", "", "allow"))), [""; 0]);
    let narrow = rule("\"socket\"", "\"arg0 == 1\"", "errno");
    assert_eq!(warnings(&(narrow.clone() + &rule("\"socket\"", "", "allow"))), [""; 0]);
    let found = warnings(&(narrow + &rule("\"socket\"", "\"arg1 == 2\", \"arg0 == 1\"", "allow")));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn hidden_paths_below_writable_mounts() {
    let mount = |source: &str, mode: &str| {
        format!("[files]\nhide = [\"~/.ssh\", \"~/.aws\"]\n[[files.mount]]\nsource = \"{source}\"\nmode = \"{mode}\"\n")
    };
    let found = warnings(&mount("~", "rw"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("t.toml:3:1: warning: `~/.ssh` (and 1 more) is hidden"), "{found:?}");
    assert_eq!(warnings(&mount("~", "ro")), [""; 0]);
    assert_eq!(warnings(&mount("~/project", "rw")), [""; 0]);
}

#[test]
fn wider_than_what_is_extended() {
    for (text, said) in [
        ("[syscalls]\ndefault = \"allow\"", "t.toml:3:11: warning: wider: allows `ioctl`, `socket`"),
        ("[syscalls.groups]\n\"@network-io\" = \"allow\"", "t.toml:3:1: warning: wider: allows"),
        (
            "[[syscalls.rule]]\nnames = [\"bpf\"]\naction = \"log\"",
            "t.toml:2:1: warning: wider: allows `bpf`, which `strict`",
        ),
        ("[network]\nmode = \"loopback\"", "reaches more of the network than `strict`"),
        ("[files]\noverlay = \"memory\"", "makes read-only"),
        ("[limits]\nmemory = \"64G\"", "a higher limit on memory than in `strict`"),
        ("[limits]\ncpu-time = \"1d\"", "a higher limit on processor time"),
        ("[env]\nclear = false", "passes the whole environment"),
    ] {
        let found = warnings(&format!("extends = [\"strict\"]\n{text}\n"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(said), "{text}: {found:?}");
    }
    let narrower = "extends = [\"ci\"]\n[network]\nmode = \"none\"\n[limits]\npids = 3\n[syscalls]\ngroups = { \"@ipc\" = \"kill\" }\n";
    assert_eq!(warnings(narrower), [""; 0]);
}
