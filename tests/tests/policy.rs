//! `--policy`: what a file says is what happens, and whoever is refused is told what to write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{is_root, native_command, runnable};
use runsc_tests::{have, run, runsc, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);

/// Everybody who can run programs here.
fn everybody() -> &'static [Who] {
    if is_root() {
        &[Who::Caller, Who::Nobody]
    } else {
        &[Who::Caller]
    }
}

fn runsc_command(who: Who, dir: &Path, words: &[&str]) -> Command {
    let mut command = native_command(who, runnable(runsc(), who).as_os_str());
    command.args(words).current_dir(dir).env("HOME", dir);
    command
}

/// A policy file in a directory, and what ran under it.
struct Case {
    dir: TempDir,
    who: Who,
}

impl Case {
    fn new(who: Who) -> Case {
        Case { dir: TempDir::new(), who }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("a file in our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod of our own file");
        path
    }

    /// `runsc do --policy p.toml OPTIONS -- PROGRAM` with this text in `p.toml`.
    fn run(&self, policy: &str, options: &[&str], program: &[&str]) -> Outcome {
        self.file("p.toml", policy);
        let words = [&["do", "--policy", "p.toml"], options, &["--"], program].concat();
        run(&mut runsc_command(self.who, self.dir.path(), &words), LIMIT)
    }

    fn sh(&self, policy: &str, options: &[&str], script: &str) -> Outcome {
        self.run(policy, options, &["sh", "-c", script])
    }
}

/// The text of a field of our JSON lines, those of the first line that has it and holds `about`.
fn field(outcome: &Outcome, about: &str, key: &str) -> Option<String> {
    // The guest may have written the first half of a line to the same place.
    let line = outcome.err().lines().find(|l| l.contains("{\"args\":") && l.contains(about))?.to_owned();
    let at = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    let mut text = String::new();
    let mut chars = line[at..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            c => text.push(c),
        }
    }
}

const DENY_MKDIR: &str = "[[syscalls.rule]]\nnames = [\"mkdir\", \"mkdirat\"]\naction = ";

#[test]
fn an_errno_is_answered_counted_and_explained() {
    for who in everybody() {
        let case = Case::new(*who);
        let policy = format!("{DENY_MKDIR}\"errno\"\nerrno = \"EXDEV\"\n");
        let outcome = case.sh(&policy, &[], "mkdir a; mkdir b; test -e a || echo none");
        assert_eq!(outcome.out(), "none\n", "{}", outcome.text());
        assert!(outcome.err().contains("cross-device"), "{}", outcome.text());
        assert!(
            outcome.err().contains("runsc: 2 calls denied (mkdir 2); run with -v for details\n"),
            "{}",
            outcome.text()
        );

        let outcome = case.sh(&policy, &["-v"], "mkdir a");
        for part in [
            "runsc: denied: mkdir(\"a\", ",
            " = EXDEV by mkdir",
            "rule at p.toml:1",
            "above line 1 of p.toml",
        ] {
            assert!(outcome.err().contains(part), "no {part}: {}", outcome.text());
        }
        let outcome = case.sh(&policy, &["-q"], "mkdir a 2>/dev/null");
        assert_eq!(outcome.err(), "");

        let outcome = case.sh(&policy, &["--log-format", "json"], "mkdir a");
        let tip = field(&outcome, "denied: mkdir", "tip").expect("a tip");
        assert_eq!(field(&outcome, "denied: mkdir", "by").as_deref(), Some("rule at p.toml:1"));
        let outcome = case.sh(&format!("{tip}\n{policy}"), &[], "mkdir a; test -e a && echo made");
        assert_eq!((outcome.out(), outcome.err()), ("made\n".into(), String::new()));
    }
}

#[test]
fn kill_trap_and_log() {
    for who in everybody() {
        let case = Case::new(*who);
        let outcome = case.sh(&format!("{DENY_MKDIR}\"kill\"\n"), &[], "exec mkdir a");
        assert_eq!(outcome.code, Some(159), "{}", outcome.text());
        let outcome = case.sh(&format!("{DENY_MKDIR}\"kill\"\n"), &[], "mkdir a; echo $?");
        assert!(outcome.out().starts_with("159"), "only the process that called dies: {}", outcome.text());
        let outcome = case.sh(&format!("{DENY_MKDIR}\"trap\"\n"), &[], "exec mkdir a");
        assert_eq!(outcome.code, Some(159), "{}", outcome.text());
        if have("perl") {
            let script =
                "$SIG{SYS} = sub { print \"trapped\\n\" }; mkdir 'a'; print -e 'a' ? 'made' : 'none';";
            let outcome = case.run(&format!("{DENY_MKDIR}\"trap\"\n"), &[], &["perl", "-e", script]);
            assert_eq!(outcome.out(), "trapped\nnone", "{}", outcome.text());
        }
        let outcome = case.sh(&format!("{DENY_MKDIR}\"log\"\n"), &["-v"], "mkdir a; test -e a && echo made");
        assert_eq!(outcome.out(), "made\n");
        assert!(outcome.err().contains("runsc: logged: mkdir("), "{}", outcome.text());
        assert!(!outcome.err().contains("calls denied"), "{}", outcome.text());
    }
}

/// Calls that are otherwise answered without asking the kernel come to it where the policy has a word in them.
#[test]
fn calls_served_beside_the_kernel_are_no_way_round() {
    for who in everybody() {
        let case = Case::new(*who);
        let policy = "[[syscalls.rule]]\nnames = [\"nanosleep\", \"clock_nanosleep\"]\naction = \"errno\"\n";
        let outcome = case.sh(policy, &[], "sleep 60 && echo slept");
        assert!(outcome.out().is_empty() && outcome.err().contains("nanosleep 1"), "{}", outcome.text());
        let policy = "[[syscalls.rule]]\nnames = [\"sched_yield\"]\naction = \"kill\"\n";
        if have("python3") {
            let outcome = case.run(policy, &[], &["python3", "-c", "import os; os.sched_yield()"]);
            assert_eq!(outcome.code, Some(159), "{}", outcome.text());
        }
    }
}

#[test]
fn arguments_decide() {
    if !have("python3") {
        return;
    }
    for who in everybody() {
        let case = Case::new(*who);
        let policy = "[[syscalls.rule]]\nnames = [\"socket\"]\nwhen = [\"arg0 == AF_INET\"]\naction = \"errno\"\nerrno = \"EAFNOSUPPORT\"\n";
        let script = "import socket, ctypes\n\
            socket.socket(socket.AF_UNIX)\n\
            try: socket.socket(socket.AF_INET)\n\
            except OSError as e: print(e.errno)\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            libc.syscall.argtypes = [ctypes.c_long] * 4\n\
            # What the kernel ignores is no way round the rule.\n\
            print(libc.syscall(41, 2 + (1 << 32), 1, 0), ctypes.get_errno())";
        let outcome = case.run(policy, &[], &["python3", "-c", script]);
        assert_eq!(outcome.out(), "97\n-1 97\n", "{}", outcome.text());
        assert!(outcome.err().contains("2 calls denied (socket 2)"), "{}", outcome.text());
    }
}

#[test]
fn a_flood_is_counted_exactly_and_told_in_bounds() {
    if !have("python3") {
        return;
    }
    let case = Case::new(Who::Caller);
    let policy = format!("{DENY_MKDIR}\"errno\"\n");
    let script = "import os\nfor i in range(20000):\n try: os.mkdir('x')\n except PermissionError: pass";
    let outcome = case.run(&policy, &["-v"], &["python3", "-c", script]);
    assert!(outcome.err().contains("runsc: 20000 calls denied (mkdir 20000)"), "{}", outcome.text());
    let told = outcome.err().matches("denied: mkdir(").count();
    assert!((1..200).contains(&told), "told {told} times");
}

#[test]
fn names_do_not_talk_to_the_terminal() {
    let case = Case::new(Who::Caller);
    let policy = format!("{DENY_MKDIR}\"errno\"\n");
    let script = "p=$(printf 'a\\033]0;x\\007\\202b'); mkdir \"$p\" 2>/dev/null";
    for options in [&["-v"][..], &["--log-format", "json"]] {
        let outcome = case.sh(&policy, options, script);
        assert!(outcome.err().contains("mkdir"), "{}", outcome.text());
        assert!(!outcome.err().chars().any(|c| c.is_control() && c != '\n'), "{}", outcome.text());
    }
}

#[test]
fn hidden_and_read_only_paths_come_with_a_tip() {
    for who in everybody() {
        let case = Case::new(*who);
        case.file("secret", "s");
        let dir = case.dir.path().canonicalize().expect("our own directory");
        let dir = dir.display();
        let policy = format!("[files]\nhide = [\"{dir}/secret\"]\n");
        let outcome = case.sh(&policy, &["--log-format", "json"], "cat secret");
        assert_eq!(outcome.out(), "");
        let tip = field(&outcome, "denied: openat", "tip").unwrap_or_else(|| panic!("{}", outcome.text()));
        let outcome = case.sh(&format!("{policy}{tip}"), &[], "cat secret");
        assert_eq!((outcome.out(), outcome.err()), ("s".into(), String::new()));

        let policy = "[files]\noverlay = \"none\"\n";
        let outcome = case.sh(policy, &["--log-format", "json"], "echo x >new");
        let tip = field(&outcome, "denied: openat", "tip").unwrap_or_else(|| panic!("{}", outcome.text()));
        let outcome = case.sh(&format!("{policy}{tip}"), &[], "echo x >new; cat new");
        assert_eq!((outcome.out(), outcome.err()), ("x\n".into(), String::new()));
        assert!(!case.dir.join("new").exists(), "the tip keeps writes inside");
    }
}

#[test]
fn mounts_root_and_hidden_paths() {
    for who in everybody() {
        let case = Case::new(*who);
        for name in ["ro", "rw", "over"] {
            fs::create_dir(case.dir.join(name)).expect("a directory of ours");
            fs::set_permissions(case.dir.join(name), fs::Permissions::from_mode(0o777)).expect("chmod");
        }
        case.file("ro/f", "r");
        let policy = "[[files.mount]]\nsource = \"./ro\"\nmode = \"ro\"\n\
            [[files.mount]]\nsource = \"rw\"\nmode = \"rw\"\n\
            [[files.mount]]\nsource = \"over\"\nat = \"/mnt/deep/over\"\nmode = \"overlay\"\n\
            [[files.mount]]\nat = \"/mnt/scratch\"\nmode = \"tmpfs\"\nsize = \"1M\"\n";
        let script =
            "cat ro/f; (echo x >ro/f) 2>/dev/null || echo ' kept'; echo w >rw/f; echo o >/mnt/deep/over/f;
            cat /mnt/deep/over/f; echo t >/mnt/scratch/f; cat /mnt/scratch/f;
            head -c 3000000 /dev/zero 2>/dev/null >/mnt/scratch/big || echo full";
        let outcome = case.sh(policy, &["-q"], script);
        assert_eq!(outcome.out(), "r kept\no\nt\nfull\n", "{}", outcome.text());
        assert_eq!(fs::read_to_string(case.dir.join("rw/f")).ok().as_deref(), Some("w\n"));
        assert!(!case.dir.join("over/f").exists());
        assert_eq!(fs::read_to_string(case.dir.join("ro/f")).ok().as_deref(), Some("r"));

        if have("busybox") {
            fs::create_dir_all(case.dir.join("root/bin")).expect("a root of ours");
            let busybox =
                ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
            fs::copy(busybox.expect("it was found"), case.dir.join("root/bin/busybox")).expect("a copy");
            let policy = "[files]\nroot = \"./root\"\n[process]\ncwd = \"/bin\"\n";
            let outcome = case.run(policy, &["-q"], &["/bin/busybox", "sh", "-c", "pwd; echo /*"]);
            assert!(outcome.out().starts_with("/bin\n/bin"), "{}", outcome.text());
            assert!(!outcome.out().contains("/usr"), "{}", outcome.text());
        }
    }
}

#[test]
fn environment_identity_and_limits() {
    for who in everybody() {
        let case = Case::new(*who);
        let policy = "[env]\nclear = true\npass = [\"PATH\"]\nset = { A = \"1\", B = \"2\" }\n\
            [process]\nuser = \"0:7\"\nhostname = \"box\"\ncwd = \"/usr\"\n[limits]\nopen-files = 99\n";
        let script = "echo $A $B ${HOME:-none}; id -u; id -g; uname -n; pwd; ulimit -n";
        let outcome = case.sh(policy, &[], script);
        assert_eq!(outcome.out(), "1 2 none\n0\n7\nbox\n/usr\n99\n", "{}", outcome.text());
        // The command line wins.
        let options = [
            "--hostname",
            "other",
            "--user",
            "5:6",
            "--cwd",
            "/etc",
            "--env",
            "A=x",
            "--open-files",
            "77",
            "--pass-env",
            "HOME",
        ];
        let outcome = case.sh(policy, &options, script);
        let home = case.dir.path().display().to_string();
        assert_eq!(outcome.out(), format!("x 2 {home}\n5\n6\nother\n/etc\n77\n"), "{}", outcome.text());
        let outcome = case.sh("[limits]\ntimeout = \"300ms\"\n", &["-q"], "sleep 60");
        assert_eq!(outcome.code, Some(124), "{}", outcome.text());
        let outcome = case.sh("[files]\noverlay = \"none\"\n", &["--overlay", "memory"], "echo x >f; cat f");
        assert_eq!(outcome.out(), "x\n", "{}", outcome.text());
    }
}

#[test]
fn capabilities_are_narrowed_and_never_widened() {
    for who in everybody() {
        let case = Case::new(*who);
        let policy = |user: &str| {
            format!("[process]\nuser = \"{user}\"\ncapabilities = [\"CAP_CHOWN\", \"net_bind_service\"]\n")
        };
        // What exec gives back to root is no more than that.
        let sets = "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | tr '\\n' ' '";
        let outcome =
            case.sh(&policy("0"), &[], &format!("{sets}; touch f && chmod 000 f && chown 7 f; cat f"));
        let set = "0000000000000401 ".repeat(3);
        assert_eq!(outcome.out(), set, "{}", outcome.text());
        assert!(outcome.err().contains("f: Permission denied"), "no CAP_DAC_OVERRIDE: {}", outcome.text());
        let outcome = case.sh(&policy("5:5"), &[], sets);
        let none = "0000000000000000 ".repeat(2);
        assert_eq!(outcome.out(), format!("{none}0000000000000401 "), "{}", outcome.text());
        let outcome = case.sh("[process]\nuser = \"0\"\ncapabilities = []\n", &[], sets);
        assert_eq!(outcome.out(), "0000000000000000 ".repeat(3), "{}", outcome.text());
    }
}

/// The tip for a policy in JSON, or in another tool's, is in its language, and lets the call through.
#[test]
fn tips_speak_the_language_of_the_file() {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let ours = r#"{ "syscalls": { "rule": [{ "names": ["mkdir"], "action": "errno" }] } }"#;
    let oci = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }"#;
    for who in everybody() {
        let case = Case::new(*who);
        let run_with = |text: &str, script: &str| {
            case.file("p.json", text);
            let words = ["do", "--policy", "p.json", "--log-format", "json", "--", "sh", "-c", script];
            run(&mut runsc_command(case.who, case.dir.path(), &words), LIMIT)
        };
        for (text, path) in [(ours, "/syscalls/rule"), (oci, "/syscalls")] {
            let outcome = run_with(text, "mkdir a");
            let tip = field(&outcome, "denied: mkdir", "tip").unwrap_or_else(|| panic!("{}", outcome.text()));
            let place = field(&outcome, "denied: mkdir", "tip-place").unwrap_or_default();
            assert!(place.contains("line 1") && place.contains("p.json"), "{place}");
            let mut whole = parse(text);
            let list = whole.pointer_mut(path).and_then(|list| list.as_array_mut()).expect("the list");
            list.insert(0, parse(&tip));
            if path == "/syscalls" {
                list.truncate(1);
            }
            let outcome = run_with(&whole.to_string(), "mkdir a && test -e a && echo made");
            assert_eq!((outcome.out(), outcome.err()), ("made\n".into(), String::new()));
        }
    }
}

#[test]
fn no_network_at_all() {
    if !have("python3") {
        return;
    }
    for who in everybody() {
        let case = Case::new(*who);
        let script = "import socket\ns = socket.socket(socket.AF_INET)\n\
            for call in (lambda: s.bind(('127.0.0.1', 0)), lambda: s.connect(('127.0.0.1', 9))):\n\
            \ttry: print(call())\n\texcept OSError as e: print(e.errno)\n\
            a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))";
        let outcome = case.run("[network]\nmode = \"none\"\n", &[], &["python3", "-c", script]);
        assert_eq!(outcome.out(), "99\n101\nb'x'\n", "{}", outcome.text());
        let outcome =
            case.run("[network]\nmode = \"none\"\n", &["--net", "loopback"], &["python3", "-c", script]);
        assert!(outcome.out().starts_with("None\n111\n"), "{}", outcome.text());
    }
}

#[test]
fn what_cannot_be_served_is_an_error_with_its_line() {
    let case = Case::new(Who::Caller);
    for (line, says) in [
        ("[network]\nallow = [\"exa mple.org:443\"]", "p.toml:2:10: "),
        ("[network]\npublish = [\"192.0.2.1:8080:80\"]", "p.toml:2:12: cannot listen on 192.0.2.1:8080"),
        ("[[files.mount]]\nsource = \"/no/such\"\nmode = \"ro\"", "p.toml:2:10: cannot show"),
        ("[process]\nuser = \"no-such-user-here\"", "p.toml:2:8: no user"),
        ("[limits]\nmemroy = \"1G\"", "p.toml:2:1: unknown key"),
    ] {
        let outcome = case.run(line, &[], &["true"]);
        assert_eq!(outcome.code, Some(125), "{line}: {}", outcome.text());
        let text = outcome.err();
        assert!(text.contains(says) && text.contains('^'), "{line}: {}", outcome.text());
    }
    // The sections of other commands are not looked at.
    let outcome = case.run("[ci]\nfail-on = \"violation\"\nartifacts = [\"x\"]", &[], &["true"]);
    assert_eq!((outcome.code, outcome.err()), (Some(0), String::new()));
    let outcome =
        run(&mut runsc_command(Who::Caller, case.dir.path(), &["do", "--policy", "untrustd", "true"]), LIMIT);
    assert_eq!(outcome.code, Some(125));
    assert!(outcome.err().contains("did you mean `untrusted`?"), "{}", outcome.text());
}

#[test]
fn the_shipped_profiles_let_the_usual_through_and_refuse_the_rest() {
    for who in everybody() {
        for (profile, good, bad) in [
            ("untrusted", "mkdir d && echo x >d/f && cat d/f", "date -s 2020-01-01"),
            ("ci", "mkdir d && echo x >d/f && cat d/f", "date -s 2020-01-01"),
            ("build", "mkdir d && echo x >d/f && cat d/f", "date -s 2020-01-01"),
            ("permissive", "mkdir d && echo x >d/f && cat d/f", ""),
            ("strict", "echo x", "echo x >f"),
        ] {
            let case = Case::new(*who);
            let words = |script| ["do", "--policy", profile, "--", "sh", "-c", script];
            let outcome = run(&mut runsc_command(*who, case.dir.path(), &words(good)), LIMIT);
            assert_eq!(outcome.out(), "x\n", "{profile}: {}", outcome.text());
            assert_eq!(outcome.err(), "", "{profile}");
            if bad.is_empty() {
                continue;
            }
            let outcome = run(&mut runsc_command(*who, case.dir.path(), &words(bad)), LIMIT);
            assert_ne!(outcome.code, Some(0), "{profile}: {}", outcome.text());
            assert!(outcome.err().contains("denied ("), "{profile}: {}", outcome.text());
        }
    }
}
