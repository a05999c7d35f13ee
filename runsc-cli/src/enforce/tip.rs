//! What to write to allow what was refused: exact lines of a policy file, and where they go.

use policies::foreign::{self, Kind};
use policies::read::Format;
use sentry::denials::{Cause, Denial};
use serde_json::json;

use super::rules::{By, Place};

/// Lines to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// In the policy's own format where it can be said there, else in ours.
    pub(crate) lines: String,
    /// Where they go.
    pub(crate) place: String,
}

/// The policy of a run, as far as tips need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// As the user named it: a file, or a shipped profile.
    pub(crate) policy: String,
    /// Whether it is a file, which the user can add to.
    pub(crate) is_file: bool,
    pub(crate) dialect: Dialect,
}

/// What a policy file is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    Toml,
    /// Ours, as JSON.
    Json,
    /// An OCI seccomp profile.
    Oci,
    /// The filters of the crate seccompiler: lists of calls with one action, so that what to write depends on it.
    Seccompiler,
}

impl Dialect {
    /// Of a file of this name and text.
    pub(crate) fn of(name: &str, text: &str) -> Dialect {
        match (foreign::detect(text), Format::of(name, text)) {
            (Some(Kind::Oci), _) => Dialect::Oci,
            (Some(Kind::Seccompiler), _) => Dialect::Seccompiler,
            (None, Format::Json) => Dialect::Json,
            (None, Format::Toml) => Dialect::Toml,
        }
    }
}

/// Address families by number (linux/socket.h), those that programs ask for.
const FAMILIES: [(u64, &str); 9] = [
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (10, "AF_INET6"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (31, "AF_BLUETOOTH"),
    (38, "AF_ALG"),
    (40, "AF_VSOCK"),
    (44, "AF_XDP"),
];

/// The condition that narrows a rule for this call to what was asked; `None` where none is worth it.
pub(crate) fn condition(call: &str, args: &[u64; 6]) -> Option<String> {
    family(call, args).map(is_family)
}

/// The address family that a call asks for.
fn family(call: &str, args: &[u64; 6]) -> Option<u64> {
    let [first, ..] = args;
    // The kernel takes an int.
    matches!(call, "socket" | "socketpair").then_some(first & 0xffff_ffff)
}

fn is_family(family: u64) -> String {
    let name = FAMILIES.iter().find(|(number, _)| *number == family).map(|(_, name)| *name);
    format!("arg0 == {}", name.map_or_else(|| family.to_string(), str::to_owned))
}

/// What would have to be written, in no format yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// A rule that allows a call, at most for this address family.
    Allow { call: String, family: Option<u64> },
    /// A host path at its own place.
    Mount { path: String, mode: &'static str },
    /// The root's writes kept in memory.
    Overlay,
    /// A destination that may be reached.
    Reach { destination: String },
}

/// The tip for a refusal, where there is anything to write.
pub(crate) fn of(denial: &Denial, place: Option<&Place>, context: &Context) -> Option<Tip> {
    let entry = entry(denial)?;
    if let (Entry::Reach { destination }, false) = (&entry, context.is_file) {
        // The option is shorter than a file of one's own.
        return Some(Tip {
            lines: format!("extends = [{}]\n{}", quoted(&context.policy), toml(&entry)),
            place: format!(
                "`--allow-net {destination}` to the command line, or in a file of yours, given with --policy FILE"
            ),
        });
    }
    let own_rule = place.filter(|place| {
        place.by == By::Rule && place.origin.as_ref().is_some_and(|origin| *origin.file == *context.policy)
    });
    let line = own_rule.and_then(|place| place.origin.as_ref()).map(|origin| origin.line);
    if !context.is_file {
        return Some(Tip {
            lines: format!("extends = [{}]\n{}", quoted(&context.policy), toml(&entry)),
            place: "in a file of yours, given with --policy FILE".to_owned(),
        });
    }
    let policy = &context.policy;
    let tip = match (context.dialect, &entry) {
        (Dialect::Toml, _) => Tip {
            lines: toml(&entry),
            // The first rule that matches decides.
            place: line.map_or_else(
                || format!("at the end of {policy}"),
                |line| format!("above line {line} of {policy}"),
            ),
        },
        (Dialect::Json, _) => json(&entry, line, policy),
        (Dialect::Oci, Entry::Allow { call, family }) => Tip {
            lines: oci(call, *family),
            place: match line {
                // One entry for a call counts, whatever stands beside it.
                Some(line) => format!("to \"syscalls\" of {policy}, instead of {call} at line {line}"),
                None => format!("to \"syscalls\" of {policy}"),
            },
        },
        _ => Tip {
            lines: toml(&entry),
            place: match line {
                Some(_) => format!("at the beginning of what `runsc policy convert {policy}` prints"),
                None => format!("at the end of what `runsc policy convert {policy}` prints"),
            },
        },
    };
    Some(tip)
}

fn entry(denial: &Denial) -> Option<Entry> {
    let path = String::from_utf8(denial.path.clone()).ok();
    match denial.kind.cause {
        // A call without a name cannot be allowed by one.
        Cause::Rules if denial.name.contains(' ') => None,
        Cause::Rules => {
            Some(Entry::Allow { call: denial.name.clone(), family: family(&denial.name, &denial.args) })
        }
        Cause::Hidden => Some(Entry::Mount { path: path?, mode: "ro" }),
        Cause::Network | Cause::Name => {
            // With the name that the address was resolved from it ends in the address.
            let destination = path?.split(" (").next().unwrap_or_default().to_owned();
            Some(Entry::Reach { destination })
        }
        Cause::ReadOnly => Some(match path?.as_str() {
            "/" => Entry::Overlay,
            path => Entry::Mount { path: path.to_owned(), mode: "overlay" },
        }),
    }
}

/// As lines of a policy file.
fn toml(entry: &Entry) -> String {
    match entry {
        Entry::Allow { call, family } => {
            let when = family.map(|family| format!("when = [{}]\n", quoted(&is_family(family))));
            let when = when.unwrap_or_default();
            format!("[[syscalls.rule]]\nnames = [{}]\n{when}action = \"allow\"\n", quoted(call))
        }
        Entry::Mount { path, mode } => {
            format!("[[files.mount]]\nsource = {}\nmode = \"{mode}\"\n", quoted(path))
        }
        Entry::Overlay => "[files]\noverlay = \"memory\"\n".to_owned(),
        Entry::Reach { destination } => format!("[network]\nallow = [{}]\n", quoted(destination)),
    }
}

/// As an entry of a policy file in JSON, and the list that it goes to.
fn json(entry: &Entry, line: Option<u32>, policy: &str) -> Tip {
    let (value, list) = match entry {
        Entry::Allow { call, family } => {
            let mut rule = json!({ "names": [call], "action": "allow" });
            if let Some(family) = family {
                rule["when"] = json!([is_family(*family)]);
            }
            (rule, "the list \"rule\" of \"syscalls\"")
        }
        Entry::Mount { path, mode } => {
            (json!({ "source": path, "mode": mode }), "the list \"mount\" of \"files\"")
        }
        Entry::Reach { destination } => (json!(destination), "the list \"allow\" of \"network\""),
        Entry::Overlay => {
            let lines = "\"overlay\": \"memory\"\n".to_owned();
            return Tip { lines, place: format!("to \"files\" of {policy}") };
        }
    };
    let place = match line {
        Some(line) => format!("above line {line} of {policy}, in {list}"),
        None => format!("to {list} of {policy}"),
    };
    Tip { lines: format!("{value}\n"), place }
}

/// As an entry of an OCI seccomp profile.
fn oci(call: &str, family: Option<u64>) -> String {
    let mut entry = json!({ "names": [call], "action": "SCMP_ACT_ALLOW" });
    if let Some(family) = family {
        entry["args"] = json!([{ "index": 0, "value": family, "op": "SCMP_CMP_EQ" }]);
    }
    format!("{entry}\n")
}

/// A TOML string (toml.io, "String"): control characters and what ends it are escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use policies::model::{Action, Origin};
    use sentry::denials::{Cause, Denial, Kind};

    use super::{of, quoted, By, Context, Dialect, Place};

    fn denial(name: &str, cause: Cause, path: &[u8]) -> Denial {
        Denial {
            kind: Kind { call: 41, cause, action: Action::Errno(1) },
            name: name.into(),
            shown: Vec::new(),
            args: [2 | 7 << 32, 1, 0, 0, 0, 0],
            place: None,
            path: path.to_vec(),
            pid: 2,
            comm: Vec::new(),
        }
    }

    #[test]
    fn lines_and_where_they_go() {
        let own = Context { policy: "my.toml".into(), is_file: true, dialect: Dialect::Toml };
        let at =
            |by, file: &str| Place { by, origin: Some(Origin { file: file.into(), line: 9, column: 1 }) };
        let tip = of(&denial("socket", Cause::Rules, b""), Some(&at(By::Rule, "my.toml")), &own).unwrap();
        assert_eq!(tip.place, "above line 9 of my.toml");
        assert_eq!(
            tip.lines,
            "[[syscalls.rule]]\nnames = [\"socket\"]\nwhen = [\"arg0 == AF_INET\"]\naction = \"allow\"\n"
        );
        let tip = of(&denial("ptrace", Cause::Rules, b""), Some(&at(By::Rule, "ci")), &own).unwrap();
        assert_eq!(tip.place, "at the end of my.toml");
        let shipped = Context { policy: "untrusted".into(), is_file: false, dialect: Dialect::Toml };
        let tip = of(&denial("open", Cause::Hidden, b"/root/a\"b"), None, &shipped).unwrap();
        assert!(tip
            .lines
            .starts_with("extends = [\"untrusted\"]\n[[files.mount]]\nsource = \"/root/a\\\"b\"\n"));
        assert_eq!(of(&denial("open", Cause::Hidden, b"\xff"), None, &shipped), None);
        assert_eq!(of(&denial("call 4000", Cause::Rules, b""), None, &shipped), None);
    }

    #[test]
    fn lines_are_in_the_language_of_the_file() {
        let policy = |policy: &str, dialect| Context { policy: policy.into(), is_file: true, dialect };
        let at = |file: &str| Place {
            by: By::Rule,
            origin: Some(Origin { file: file.into(), line: 9, column: 1 }),
        };
        let socket = denial("socket", Cause::Rules, b"");
        let tip = of(&socket, Some(&at("p.json")), &policy("p.json", Dialect::Json)).unwrap();
        assert_eq!(
            tip.lines,
            "{\"action\":\"allow\",\"names\":[\"socket\"],\"when\":[\"arg0 == AF_INET\"]}\n"
        );
        assert_eq!(tip.place, "above line 9 of p.json, in the list \"rule\" of \"syscalls\"");
        let oci = policy("o.json", Dialect::Oci);
        let tip = of(&socket, None, &oci).unwrap();
        let args = "\"args\":[{\"index\":0,\"op\":\"SCMP_CMP_EQ\",\"value\":2}]";
        assert_eq!(tip.lines, format!("{{\"action\":\"SCMP_ACT_ALLOW\",{args},\"names\":[\"socket\"]}}\n"));
        assert_eq!(tip.place, "to \"syscalls\" of o.json");
        // What the format cannot say is said in ours.
        let tip = of(&denial("open", Cause::Hidden, b"/x"), None, &oci).unwrap();
        assert!(tip.lines.starts_with("[[files.mount]]"), "{tip:?}");
        assert_eq!(tip.place, "at the end of what `runsc policy convert o.json` prints");
    }

    #[test]
    fn strings_are_one_line() {
        assert_eq!(quoted("a\n\u{1b}[2J\u{9b}\"\\"), "\"a\\u000A\\u001B[2J\\u009B\\\"\\\\\"");
    }
}
