//! Loading: shipped profiles, chains of files, and what is said about mistakes in them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use policies::model::{Action, NetworkMode, Overlay, Policy};
use policies::read::Format;
use policies::{load, load_text, profiles, Context};

/// A directory that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runsc-policies-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn load(&self, name: &str) -> Result<Policy, String> {
        let context = Context { home: Some(PathBuf::from("/home/ann")), directory: self.0.clone() };
        load(OsStr::new(name), &context).map(|loaded| loaded.policy).map_err(|errors| errors.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn context() -> Context {
    Context { home: Some(PathBuf::from("/home/ann")), directory: PathBuf::from("/work") }
}

fn text(text: &str) -> Result<Policy, String> {
    let loaded = load_text("test.toml", text, Format::Toml, &context());
    loaded.map(|loaded| loaded.policy).map_err(|errors| errors.to_string())
}

#[test]
fn shipped_profiles_load_without_a_word() {
    for profile in profiles::ALL {
        let loaded = load(OsStr::new(profile.name), &context()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.warnings, [], "{}", profile.name);
        assert!(loaded.policy.description.is_some());
        assert_eq!(&*loaded.policy.sources[0], profile.name);
    }
}

#[test]
fn profiles_build_on_each_other() {
    let build = load(OsStr::new("build"), &context()).expect("loads").policy;
    let sources: Vec<_> = build.sources.iter().map(|source| &**source).collect();
    assert_eq!(sources, ["build", "ci", "untrusted"]);
    assert_eq!(build.network.mode.map(|mode| mode.value), Some(NetworkMode::None));
    assert!(build.files.hide.iter().any(|hidden| hidden.path == Path::new("/home/ann/.ssh")));
    assert_eq!(build.limits.pids.map(|pids| (pids.value, &*pids.origin.file == "ci")), Some((1024, true)));
}

#[test]
fn later_wins_lists_add_up_and_rules_come_first() {
    let scratch = Scratch::new("merge");
    scratch.file(
        "base.toml",
        r#"
        [syscalls]
        default = "errno"
        groups = { "@mount" = "kill", "@debug" = "trap" }
        [[syscalls.rule]]
        names = ["socket"]
        action = "allow"
        [files]
        overlay = "memory"
        hide = ["/a", "~/b"]
        [[files.mount]]
        source = "data"
        at = "/data"
        mode = "ro"
        [env]
        set = { A = "1", B = "2" }
        "#,
    );
    scratch.file(
        "sub/own.toml",
        r#"
        extends = ["../base.toml"]
        [syscalls]
        default-errno = "ENOSYS"
        groups = { "@mount" = "errno" }
        [[syscalls.rule]]
        names = ["socket"]
        action = "errno"
        errno = "EAFNOSUPPORT"
        [files]
        overlay = "none"
        hide = ["/c", "/a"]
        [[files.mount]]
        source = "data"
        at = "/data"
        mode = "rw"
        [env]
        set = { B = "3" }
        "#,
    );
    let policy = scratch.load("sub/own.toml").unwrap_or_else(|errors| panic!("{errors}"));
    // The default of the base file takes the error number of the later one.
    assert_eq!(policy.syscalls.default_action(), Action::Errno(libc::ENOSYS));
    assert_eq!(policy.syscalls.groups["@mount"].action, Action::Errno(libc::ENOSYS));
    assert_eq!(policy.syscalls.groups["@debug"].action, Action::Trap);
    let actions: Vec<_> = policy.syscalls.rules.iter().map(|rule| rule.action).collect();
    assert_eq!(actions, [Action::Errno(libc::EAFNOSUPPORT), Action::Allow]);
    assert_eq!(policy.syscalls.rules[1].origin.to_string(), "sub/../base.toml:5:9");
    assert_eq!(policy.files.overlay.map(|overlay| overlay.value), Some(Overlay::None));
    let hidden: Vec<_> = policy.files.hide.iter().map(|hidden| hidden.path.to_str().expect("text")).collect();
    assert_eq!(hidden, ["/a", "/home/ann/b", "/c"]);
    assert_eq!(policy.files.mounts.len(), 1);
    let source = policy.files.mounts[0].source.as_ref().expect("a source");
    assert_eq!(source.path, scratch.0.join("sub/data"), "from the directory of the file that says so");
    let set: Vec<_> =
        policy.env.set.iter().map(|(name, value)| (name.as_str(), value.value.as_str())).collect();
    assert_eq!(set, [("A", "1"), ("B", "3")]);
}

#[test]
fn a_file_counts_once_though_two_ways_lead_to_it() {
    let scratch = Scratch::new("diamond");
    scratch
        .file("base.toml", "[limits]\npids = 1\n[[syscalls.rule]]\nnames = [\"read\"]\naction = \"log\"\n");
    scratch.file("left.toml", "extends = [\"base.toml\"]\n[limits]\npids = 2\n");
    scratch.file("right.toml", "extends = [\"./base.toml\"]\n");
    scratch.file("top.toml", "extends = [\"left.toml\", \"right.toml\"]\n");
    let policy = scratch.load("top.toml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(policy.syscalls.rules.len(), 1);
    assert_eq!(policy.limits.pids.map(|pids| pids.value), Some(2));
}

#[test]
fn circles_and_long_chains_are_shown() {
    let scratch = Scratch::new("circle");
    scratch.file("a.toml", "extends = [\"b.toml\"]\n");
    scratch.file("b.toml", "\nextends = [\"sub/../a.toml\"]\n");
    scratch.file("sub/x", "");
    let errors = scratch.load("a.toml").expect_err("a circle");
    assert!(
        errors.starts_with("b.toml:2:12: `extends` goes in a circle: a.toml → b.toml → sub/../a.toml"),
        "{errors}"
    );
    scratch.file("self.toml", "extends = [\"self.toml\"]\n");
    assert!(scratch.load("self.toml").expect_err("a circle").contains("self.toml → self.toml"));
    for number in 0..40 {
        scratch.file(&format!("{number}.toml"), &format!("extends = [\"{}.toml\"]\n", number + 1));
    }
    scratch.file("40.toml", "");
    let errors = scratch.load("0.toml").expect_err("too long");
    assert!(errors.contains("more than 16 files in a row: 0.toml → 1.toml"), "{errors}");
    let wide: Vec<_> = (0..100).map(|number| format!("\"w{number}.toml\"")).collect();
    for number in 0..100 {
        scratch.file(&format!("w{number}.toml"), "");
    }
    scratch.file("wide.toml", &format!("extends = [{}]\n", wide.join(", ")));
    assert!(scratch.load("wide.toml").expect_err("too many").contains("more than 64 files"));
}

#[test]
fn all_files_together_are_bounded() {
    let scratch = Scratch::new("together");
    let rule = "[[syscalls.rule]]\nnames = [\"read\"]\naction = \"log\"\n";
    for number in 0..5 {
        scratch.file(&format!("rules{number}.toml"), &rule.repeat(2500));
        scratch.file(&format!("text{number}.toml"), &"#".repeat(1 << 20));
        let names = "\"@system-service\", ".repeat(200);
        scratch.file(
            &format!("names{number}.toml"),
            &format!("[[syscalls.rule]]\nnames = [{names}]\naction = \"log\"\n"),
        );
    }
    for (what, said) in [
        ("rules", "rules4.toml:1:1: with this file there are more than 10000 rules"),
        ("text", "text3.toml:1:1: with this file there are more than 4194304 bytes"),
        ("names", ".toml:1:1: with this file there are more than 200000 calls"),
    ] {
        let names: Vec<_> = (0..5).map(|number| format!("\"{what}{number}.toml\"")).collect();
        scratch.file("top.toml", &format!("extends = [{}]\n", names.join(", ")));
        let errors = scratch.load("top.toml").expect_err(what);
        assert!(errors.contains(said), "{errors}");
    }
    // The same file a hundred times is one.
    scratch.file("top.toml", &format!("extends = [{}]\n", "\"rules0.toml\", ".repeat(100)));
    assert_eq!(scratch.load("top.toml").map(|policy| policy.syscalls.rules.len()), Ok(2500));
}

#[test]
fn mistakes_in_extended_files_name_both() {
    let scratch = Scratch::new("chain");
    scratch.file("a.toml", "extends = [\"b.toml\"]\n");
    scratch.file("b.toml", "[limits]\nmemroy = \"4G\"\n");
    let errors = scratch.load("a.toml").expect_err("a mistake");
    assert!(errors.starts_with("b.toml:2:1: unknown key `memroy`"), "{errors}");
    assert!(errors.contains("did you mean `memory`?") && errors.contains("a.toml → b.toml"), "{errors}");
    for (entry, said) in [
        ("c.toml", "a.toml:1:12: cannot read `c.toml`: No such file"),
        ("untursted", "did you mean `untrusted`?"),
        ("mine", "write a file as `./mine.toml`"),
        ("/etc/passwd.toml", "not a relative path"),
        (".", "no shipped profile is named `.`"),
        ("./", "directory"),
    ] {
        scratch.file("a.toml", &format!("extends = [\"{entry}\"]\n"));
        let errors = scratch.load("a.toml").expect_err(entry);
        assert!(errors.contains(said), "{entry}: {errors}");
    }
    rustix_fifo(&scratch.0.join("fifo.toml"));
    scratch.file("a.toml", "extends = [\"fifo.toml\"]\n");
    assert!(scratch.load("a.toml").expect_err("would wait").contains("not a regular file"));
}

fn rustix_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

#[test]
fn names_that_lead_nowhere() {
    let scratch = Scratch::new("nowhere");
    assert!(scratch.load("no/such.toml").expect_err("missing").starts_with("no/such.toml:1:1: cannot read"));
    assert!(scratch.load("unrusted").expect_err("unknown").contains("did you mean `untrusted`?"));
    assert!(scratch.load("zzz").expect_err("unknown").contains("./zzz"));
    fs::write(scratch.0.join("bad.toml"), b"description = \"a\xff\"\n").expect("a file");
    assert!(scratch.load("bad.toml").expect_err("not text").starts_with("bad.toml:1:17: not UTF-8"));
    scratch.file("big.toml", &"#".repeat((1 << 20) + 1));
    assert!(scratch.load("big.toml").expect_err("too large").contains("larger than 1024 KiB"));
}

#[test]
fn json_of_the_same_shape_is_read_as_well() {
    let scratch = Scratch::new("json");
    scratch.file(
        "p.json",
        r#"{ "extends": ["strict"], "syscalls": { "default": "allow", "groups": { "@mount": "kill" },
             "rule": [ { "names": ["socket"], "when": ["arg0 == AF_UNIX"], "action": "errno", "errno": 5 } ] },
             "limits": { "memory": "1G", "timeout": 30 } }"#,
    );
    let policy = scratch.load("p.json").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(policy.syscalls.rules[0].action, Action::Errno(5));
    assert_eq!(policy.syscalls.rules[0].when[0].origin.to_string(), "p.json:2:56");
    assert_eq!(policy.limits.timeout.map(|span| span.value.as_secs()), Some(30));
    for (text, said) in [
        ("{ \"limits\": { \"pids\": 1, \"pids\": 2 } }", "p.json:1:26: the key `pids` stands twice"),
        ("{ \"limits\": { \"pids\": null } }", "expected a number, found null"),
        ("{ \"limits\": { \"pids\": 1.5 } }", "found a fraction"),
        ("{ \"limits\": ", "p.json:1:"),
        ("{ \"limits\": { // x\n } }", "p.json:1:"),
        ("", "the file is empty"),
        ("[]", "expected the table a policy, found a list"),
    ] {
        scratch.file("p.json", text);
        let errors = scratch.load("p.json").expect_err(text);
        assert!(errors.contains(said), "{text}: {errors}");
    }
}

#[test]
fn several_mistakes_are_said_at_once() {
    let errors =
        text("[limits]\nmemory = 4.5\npids = 0\n[files]\noverlay = \"ram\"\n").expect_err("mistakes");
    for said in [
        "test.toml:2:10: expected a size",
        "test.toml:3:8: expected a number from 1",
        "`ram` is none of memory",
    ] {
        assert!(errors.contains(said), "{said}: {errors}");
    }
    let many: String = (0..50).map(|number| format!("key{number} = 1\n")).collect();
    let errors = text(&many).expect_err("mistakes");
    assert_eq!(errors.matches("unknown key").count(), 20);
    assert!(errors.contains("… and 30 more"), "{errors}");
}

#[test]
fn a_caret_points_into_a_condition() {
    let errors =
        text("[[syscalls.rule]]\nnames = [\"socket\"]\nwhen = [\"arg0 == AF_NETLNIK\"]\naction = \"log\"\n");
    let errors = errors.expect_err("a mistake");
    let expected = "test.toml:3:18: unknown constant `AF_NETLNIK`\n   |\n 3 | when = [\"arg0 == AF_NETLNIK\"]\n   |                  \
                    ^^^^^^^^^^ did you mean `AF_NETLINK`?";
    assert_eq!(errors, expected);
}

#[test]
fn unknown_calls_are_passed_over_with_a_warning() {
    let source = "[[syscalls.rule]]\nnames = [\"sokcet\", \"read\"]\naction = \"log\"\n";
    let loaded =
        load_text("test.toml", source, Format::Toml, &context()).unwrap_or_else(|errors| panic!("{errors}"));
    let warning = loaded.warnings[0].to_string();
    assert!(warning.contains("test.toml:2:10: warning: unknown call `sokcet`"), "{warning}");
    assert!(warning.contains("did you mean `socket`?"), "{warning}");
    assert_eq!(loaded.policy.syscalls.rules[0].calls().collect::<Vec<_>>(), [0]);
}

#[test]
fn without_a_home_nothing_in_it_is_hidden() {
    let context = Context { home: None, directory: PathBuf::from("/") };
    let loaded = load(OsStr::new("untrusted"), &context).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(!loaded.policy.files.hide.is_empty());
    assert!(loaded.policy.files.hide.iter().all(|hidden| hidden.path.is_absolute()));
    let mount = "[[files.mount]]\nsource = \"~/x\"\nmode = \"ro\"\n";
    assert!(load_text("t.toml", mount, Format::Toml, &context).is_err());
}
