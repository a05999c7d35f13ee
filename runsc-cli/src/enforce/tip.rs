//! What to write to allow what was refused: exact lines of a policy file, and where they go.

use sentry::denials::{Cause, Denial};

use super::rules::{By, Place};

/// Lines to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// TOML.
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

/// The condition that narrows a rule for this call to what was asked; empty where none is worth it.
pub(crate) fn condition(call: &str, args: &[u64; 6]) -> Option<String> {
    let [first, ..] = args;
    match call {
        "socket" | "socketpair" => {
            // The kernel takes an int.
            let family = first & 0xffff_ffff;
            let name = FAMILIES.iter().find(|(number, _)| *number == family).map(|(_, name)| *name);
            Some(format!("arg0 == {}", name.map_or_else(|| family.to_string(), str::to_owned)))
        }
        _ => None,
    }
}

/// A rule that allows a call.
pub(crate) fn rule(names: &str, condition: Option<&str>) -> String {
    let when = condition.map(|condition| format!("when = [{}]\n", quoted(condition))).unwrap_or_default();
    format!("[[syscalls.rule]]\nnames = [{names}]\n{when}action = \"allow\"\n")
}

/// The tip for a refusal, where there is anything to write.
pub(crate) fn of(denial: &Denial, place: Option<&Place>, context: &Context) -> Option<Tip> {
    let path = String::from_utf8(denial.path.clone()).ok();
    let lines = match denial.kind.cause {
        Cause::Rules => {
            // A call without a name cannot be allowed by one.
            if denial.name.contains(' ') {
                return None;
            }
            rule(&quoted(&denial.name), condition(&denial.name, &denial.args).as_deref())
        }
        Cause::Hidden => mount(&path?, "ro"),
        Cause::ReadOnly => match path?.as_str() {
            "/" => "[files]\noverlay = \"memory\"\n".to_owned(),
            path => mount(path, "overlay"),
        },
    };
    let own_rule = place.filter(|place| {
        place.by == By::Rule && place.origin.as_ref().is_some_and(|origin| *origin.file == *context.policy)
    });
    let (lines, place) = match own_rule.and_then(|place| place.origin.as_ref()) {
        // The first rule that matches decides.
        Some(origin) => (lines, format!("above line {} of {}", origin.line, context.policy)),
        None if context.is_file => (lines, format!("at the end of {}", context.policy)),
        None => (
            format!("extends = [{}]\n{lines}", quoted(&context.policy)),
            "in a file of yours, given with --policy FILE".to_owned(),
        ),
    };
    Some(Tip { lines, place })
}

/// A mount of a host path at its own place.
pub(crate) fn mount(path: &str, mode: &str) -> String {
    format!("[[files.mount]]\nsource = {}\nmode = \"{mode}\"\n", quoted(path))
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

    use super::{of, quoted, By, Context, Place};

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
        let own = Context { policy: "my.toml".into(), is_file: true };
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
        let shipped = Context { policy: "untrusted".into(), is_file: false };
        let tip = of(&denial("open", Cause::Hidden, b"/root/a\"b"), None, &shipped).unwrap();
        assert!(tip
            .lines
            .starts_with("extends = [\"untrusted\"]\n[[files.mount]]\nsource = \"/root/a\\\"b\"\n"));
        assert_eq!(of(&denial("open", Cause::Hidden, b"\xff"), None, &shipped), None);
        assert_eq!(of(&denial("call 4000", Cause::Rules, b""), None, &shipped), None);
    }

    #[test]
    fn strings_are_one_line() {
        assert_eq!(quoted("a\n\u{1b}[2J\u{9b}\"\\"), "\"a\\u000A\\u001B[2J\\u009B\\\"\\\\\"");
    }
}
