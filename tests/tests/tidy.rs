//! Reads the sources: where `unsafe` may stand, who may import whom, what must not be left behind.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// Every Rust file of the workspace, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> =
        ["sentry", "gofer", "policies", "runsc-cli", "tests"].iter().map(|dir| root.join(dir)).collect();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if entry.file_name() != "target" {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source can be read")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn report(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

/// Code without its comments and strings, roughly: enough to look for words.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => drop(chars.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if !in_string => out.push(c),
            _ => {}
        }
    }
    out
}

/// Only these may hold `unsafe`: the platform with its stub, the jail, and tests.
fn may_be_unsafe(name: &str) -> bool {
    ["sentry/platform/", "policies/jail/", "policies/tests/", "tests/"]
        .iter()
        .any(|dir| name.starts_with(dir))
}

/// Words that open an unsafe block, function or impl.
fn is_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|w| line.contains(w))
}

#[test]
fn unsafe_stays_in_its_crates() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        if may_be_unsafe(&name) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if is_unsafe(&code(line)) {
                findings.push(format!("{name}:{}", number + 1));
            }
        }
    }
    report("unsafe outside the platform, stub and jail crates", &findings);
}

#[test]
fn crates_without_unsafe_forbid_it() {
    let mut findings = Vec::new();
    for root_file in [
        "sentry/src/lib.rs",
        "sentry/abi/src/lib.rs",
        "gofer/src/lib.rs",
        "gofer/protocol/src/lib.rs",
        "gofer/broker/src/lib.rs",
        "policies/src/lib.rs",
        "runsc-cli/src/main.rs",
    ] {
        let text = fs::read_to_string(root().join(root_file)).unwrap_or_default();
        if !text.contains("#![forbid(unsafe_code)]") {
            findings.push(root_file.to_owned());
        }
    }
    report("no #![forbid(unsafe_code)]", &findings);
}

#[test]
fn every_unsafe_block_says_why() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        // Guests and attacks are wrong on purpose; their crates say so once. So does the benchmark's guest.
        if ["tests/guests/", "tests/escape/", "tests/benches/guest.rs"]
            .iter()
            .any(|own| name.starts_with(own))
        {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if !code(line).contains("unsafe {") {
                continue;
            }
            // The reason stands on the line, or above the statement, at most some lines up.
            let from = i.saturating_sub(8);
            if !lines[from..=i].iter().any(|l| l.contains("SAFETY:")) {
                findings.push(format!("{name}:{}", i + 1));
            }
        }
    }
    report("an unsafe block without a SAFETY comment", &findings);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = code(line);
            let allow = code.contains("#[allow(") || code.contains("#![allow(");
            let bare = allow && !lines[number..].iter().take(4).any(|l| l.contains("reason ="));
            if code.contains("todo!(") || code.contains("unimplemented!(") || code.contains("dbg!(") || bare {
                findings.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report("left unfinished, or a bare allow (use expect with a reason)", &findings);
}

#[test]
fn no_path_of_one_machine() {
    // Put together here, so that this file does not find itself.
    let words = [format!("/{}/", "work"), format!("{}_jobs", "/bash")];
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w.as_str())) {
                findings.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report("a path of one machine", &findings);
}

/// Which layer a module of the sentry is in, from the bottom; the same numbers as in ARCHITECTURE.md.
const LAYERS: [(&str, u32); 28] = [
    ("main", 70),
    ("afterwards", 70),
    ("boot", 70),
    ("lockdown", 70),
    ("run", 60),
    ("trace", 60),
    ("admit", 60),
    ("syscalls", 50),
    ("fsimpl", 45),
    ("kernel", 40),
    ("loader", 30),
    ("net", 30),
    ("vfs", 20),
    ("mm", 10),
    ("signal", 10),
    ("time", 10),
    ("wait_queue", 0),
    ("cred", 0),
    ("limits", 0),
    ("config", 0),
    ("control", 0),
    ("guard", 0),
    ("denials", 0),
    ("learnt", 0),
    ("ids", 0),
    ("sync", 0),
    ("errno", 0),
    ("util", 0),
];

fn layer(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The modules that `line` imports from its own crate.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("crate::") {
        let before = rest[..at].chars().last();
        rest = &rest[at + 7..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(list) => {
                found.extend(list.split(',').map(|m| m.split("::").next().unwrap_or("").to_owned()))
            }
            None => found.push(rest.to_owned()),
        }
    }
    let name =
        |m: String| m.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    found.into_iter().map(name).filter(|m| !m.is_empty()).collect()
}

#[test]
fn the_sentrys_layers_import_downwards() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let Some(inner) = name.strip_prefix("sentry/src/") else { continue };
        // Tests of a layer may stand on the ones above.
        if inner.ends_with("tests.rs") || inner.contains("/tests/") {
            continue;
        }
        let own = inner.split(['/', '.']).next().unwrap_or("");
        let Some(own_layer) = layer(own) else { continue };
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("#[cfg(test)]") {
                break;
            }
            for other in imports(&code(line)) {
                let Some(other_layer) = layer(&other) else { continue };
                if other != own && other_layer > own_layer {
                    findings.push(format!("{name}:{}: {own} imports {other}", number + 1));
                }
            }
        }
    }
    report("an import upwards", &findings);
}

#[test]
fn the_sentry_never_links_the_gofer() {
    let manifest = fs::read_to_string(root().join("sentry/Cargo.toml")).expect("the sentry's manifest");
    assert!(!manifest
        .lines()
        .any(|l| l.trim_start().starts_with("gofer.") || l.trim_start().starts_with("gofer =")));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 800)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    report("past 800 lines: split", &long);
}
