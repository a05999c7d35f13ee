//! Other tools' formats: there and back is an equivalent policy, and what is left behind is named.

mod common;

use common::{policy, Random, CALLS};
use policies::decide::interpret;
use policies::foreign::{self, detect, Kind, Options, Written};
use policies::model::{Action, Policy};
use policies::read::Format;
use policies::write::{to_toml, Comments};
use policies::{calls, load_text, Context, Loaded};

fn read(text: &str) -> Loaded {
    foreign::read("test.json", text, &Options::default()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn notes(loaded: &Loaded) -> String {
    loaded.warnings.iter().map(|note| format!("{note}\n")).collect()
}

/// All calls with the arguments that make a difference somewhere, and random ones.
fn assert_same(random: &mut Random, a: &Policy, b: &Policy, but: &[String], what: &str) {
    for (name, nr) in calls::all() {
        if but.iter().any(|note| note.starts_with(&format!("{name}:"))) {
            continue;
        }
        let rounds = if CALLS.contains(&nr) { 60 } else { 4 };
        for _ in 0..rounds {
            let args: [u64; 6] = std::array::from_fn(|_| random.value());
            let (x, y) = (interpret(&a.syscalls, nr as u64, &args), interpret(&b.syscalls, nr as u64, &args));
            assert_eq!(x.action, y.action, "{name} {args:x?}: {what}\n{:#?}", a.syscalls);
        }
    }
}

#[test]
fn there_and_back_through_seccompilers_json() {
    let mut random = Random::seeded();
    let mut complex = 0;
    for _ in 0..150 {
        let count = random.of(&[0, 1, 2, 4, 8]);
        let policy = policy(&mut random, count);
        let Written { text, notes } = foreign::to_seccompiler(&policy, "main");
        if text.len() > 1 << 20 {
            continue;
        }
        assert_eq!(detect(&text), Some(Kind::Seccompiler), "{text}");
        complex += notes.iter().filter(|note| note.contains("cannot be written")).count();
        assert_same(&mut random, &policy, &read(&text).policy, &notes, &text);
        // seccompiler takes it, too.
        let filters: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(filters.as_object().is_some_and(|all| !all.is_empty()));
    }
    assert!(complex < 400, "too many calls were too complex: {complex}");
}

#[test]
fn there_and_back_through_an_oci_profile() {
    let mut random = Random::seeded();
    for _ in 0..150 {
        let count = random.of(&[0, 1, 2, 4]);
        let policy = policy(&mut random, count);
        let Written { text, notes } = foreign::to_oci(&policy);
        if text.len() > 1 << 20 {
            continue;
        }
        assert_eq!(detect(&text), Some(Kind::Oci));
        assert_same(&mut random, &policy, &read(&text).policy, &notes, &text);
    }
}

/// What could not be written is the strictest of what the rules say, never wider.
#[test]
fn what_cannot_be_written_is_not_wider() {
    let mut random = Random::seeded();
    let mut seen = 0;
    for _ in 0..100 {
        let policy = policy(&mut random, 4);
        let Written { text, notes } = foreign::to_oci(&policy);
        let back = read(&text).policy;
        for note in &notes {
            let Some(nr) = note.split(':').next().and_then(calls::number) else { continue };
            seen += 1;
            for _ in 0..20 {
                let args: [u64; 6] = std::array::from_fn(|_| random.value());
                let (x, y) = (
                    interpret(&policy.syscalls, nr as u64, &args),
                    interpret(&back.syscalls, nr as u64, &args),
                );
                assert!(x.action.name() <= y.action.name(), "{note}: {x:?} {y:?}");
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_file_of_ours_says_what_a_foreign_one_said() {
    let mut random = Random::seeded();
    let context = Context { home: None, directory: "/".into() };
    for _ in 0..60 {
        let count = random.of(&[0, 1, 3]);
        let foreign = foreign::to_seccompiler(&policy(&mut random, count), "main").text;
        if foreign.len() > 1 << 18 {
            continue;
        }
        let policy = read(&foreign).policy;
        let text = to_toml(&policy, Comments::None);
        let back = load_text("test.toml", &text, Format::Toml, &context);
        let back = back.unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_same(&mut random, &policy, &back.policy, &[], &text);
    }
}

/// The profile of Podman and Docker as Debian ships it.
#[test]
fn the_common_profile_round_trips() {
    let path = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read_to_string(path) else {
        if std::env::var_os("RUNSC_TEST_REQUIRE").is_some_and(|v| v == "1") {
            panic!("required but missing: {path}");
        }
        return println!("SKIPPED: {path} is missing");
    };
    let mut random = Random::seeded();
    for capabilities in [vec![], vec!["CAP_SYS_ADMIN".to_owned(), "CAP_AUDIT_WRITE".to_owned()]] {
        let options = Options { capabilities: capabilities.clone(), filter: None };
        let first = foreign::read(path, &text, &options).unwrap_or_else(|e| panic!("{e}"));
        let Written { text: again, notes: left } = foreign::to_oci(&first.policy);
        assert!(left.is_empty(), "{left:?}");
        let second = read(&again);
        assert!(second.warnings.is_empty(), "{}", notes(&second));
        assert_same(&mut random, &first.policy, &second.policy, &[], &again);
        let toml = to_toml(&first.policy, Comments::None);
        let context = Context { home: None, directory: "/".into() };
        let third = load_text("test.toml", &toml, Format::Toml, &context).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&mut random, &first.policy, &third.policy, &[], &toml);

        // What it is known to say.
        let says = |call: &str, args: [u64; 6]| {
            let nr = calls::number(call).unwrap_or(-1) as u64;
            interpret(&first.policy.syscalls, nr, &args).action
        };
        let privileged = !capabilities.is_empty();
        assert_eq!(says("read", [0; 6]), Action::Allow);
        assert_eq!(says("kexec_load", [0; 6]), Action::Errno(libc::EPERM));
        assert_eq!(says("personality", [8, 0, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(says("personality", [9, 0, 0, 0, 0, 0]), Action::Errno(libc::ENOSYS));
        let audit = if privileged { Action::Allow } else { Action::Errno(libc::EINVAL) };
        assert_eq!(says("socket", [16, 0, 9, 0, 0, 0]), audit);
        assert_eq!(says("socket", [16, 0, 8, 0, 0, 0]), Action::Allow);
        let bpf = if privileged { Action::Allow } else { Action::Errno(libc::EPERM) };
        assert_eq!(says("bpf", [0; 6]), bpf);
        let said = notes(&first);
        assert!(said.contains("SCMP_ARCH_AARCH64") && said.contains("CAP_SYS_CHROOT"), "{said}");
        assert!(said.contains("arm_fadvise64_64") || said.contains("other architectures"), "{said}");
    }
}

#[test]
fn what_has_no_like_here_is_named() {
    let loaded = read(
        r#"{
  "defaultAction": "SCMP_ACT_KILL",
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
  "listenerPath": "/run/x.sock",
  "syscalls": [
    {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["open"], "action": "SCMP_ACT_NOTIFY"},
    {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
     "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW"}
  ]
}"#,
    );
    let said = notes(&loaded);
    for part in [
        "test.json:2:20: warning: `SCMP_ACT_KILL` ends one thread",
        "SCMP_ARCH_X86",
        "`listenerPath` is not carried over",
        "no_such_call",
        "`SCMP_ACT_NOTIFY`",
        "without effect beside an entry without conditions: socket",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let rule = loaded.policy.syscalls.rules.first().map(|rule| rule.origin.to_string());
    assert_eq!(rule.as_deref(), Some("test.json:6:5"));
}

#[test]
fn all_usual_errnos_have_names() {
    for (name, number) in
        [("EINVAL", libc::EINVAL), ("EIO", libc::EIO), ("EMFILE", libc::EMFILE), ("ETIMEDOUT", 110)]
    {
        assert_eq!(policies::constants::errno(name), Some(number));
        assert_eq!(policies::constants::errno_name(number), Some(name));
    }
    // All of Linux' error numbers but the two that were never given (asm-generic/errno.h).
    for number in (1..=133).filter(|n| ![41, 58].contains(n)) {
        assert!(policies::constants::errno_name(number).is_some(), "{number}");
    }
}

#[test]
fn mistakes_have_a_place() {
    for (text, wanted) in [
        (r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, "test.json:1:19: unknown action `SCMP_ACT_MAYBE`"),
        (r#"{"defaultAction": 5}"#, "1:19: expected a string, found a number"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}"#, "1:49: expected a list"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}"#,
            "the key `action` is missing",
        ),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 0}"#, "an errno of 0 would pretend"),
        (r#"{"a": {"mismatch_action": "allow", "filter": []}}"#, "`match_action` is missing"),
        (
            r#"{"a": {"mismatch_action": "allow", "match_action": "trap", "filter": [{"syscall": "reed"}]}}"#,
            "no call is named `reed`",
        ),
        (
            r#"{"a": {"mismatch_action": "allow", "match_action": "trap", "filter": []},
                "b": {"mismatch_action": "allow", "match_action": "trap", "filter": []}}"#,
            "several filters; say which one: a, b",
        ),
        (r#"{"x": 1}"#, "neither an OCI seccomp profile"),
        ("[", "JSON"),
    ] {
        let error = foreign::read("test.json", text, &Options::default()).expect_err(text).to_string();
        assert!(error.contains(wanted), "{wanted}:\n{error}");
    }
}

/// Spoiled profiles end in errors, not in panics.
#[test]
fn spoiled_profiles_are_refused_or_read() {
    let good = [
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"minKernel":"4.8"}}]}"#,
        r#"{"main":{"mismatch_action":{"errno":1},"match_action":"allow","filter":[{"syscall":"ioctl","args":[{"index":1,"type":"dword","op":{"masked_eq":100},"val":4}]}]}}"#,
    ];
    let mut random = Random::seeded();
    for round in 0..4000 {
        let mut bytes = good[round % 2].as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes[at] = random.of(b"{}[]\",:0129-e. nx"),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.of(b"{}[]\",:0129-e. nx")),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(loaded) = foreign::read("test.json", &text, &Options::default()) {
            let _ = (foreign::to_oci(&loaded.policy), to_toml(&loaded.policy, Comments::Origins));
        }
    }
}
