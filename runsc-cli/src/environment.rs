//! The environment and the identity that the command starts with.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::unistd::{getgid, getgroups, getuid, Group, User};

use policies::model::Env;

use crate::failure::Failure;

/// Variables that lead to agents, to D-Bus or to a display of the host, all of which are hidden.
const WITHHELD: [&str; 8] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "SESSION_MANAGER",
    "PULSE_SERVER",
];

fn is_withheld(key: &[u8]) -> bool {
    key.starts_with(b"DBUS_") || WITHHELD.iter().any(|name| name.as_bytes() == key)
}

/// The caller's variables but those withheld (where the policy clears them, only those that are passed), then what the
/// policy sets, then what the options say.
pub(crate) fn variables(
    caller: impl Iterator<Item = (OsString, OsString)>,
    policy: &Env,
    set: &[OsString],
    pass: &[OsString],
) -> Result<Vec<Vec<u8>>, Failure> {
    let clear = policy.clear.as_ref().is_some_and(|clear| clear.value);
    let passes = |key: &[u8]| {
        pass.iter().any(|passed| passed.as_bytes() == key)
            || policy.pass.iter().any(|passed| passed.value.as_bytes() == key)
    };
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = caller
        .map(|(key, value)| (key.into_vec(), value.into_vec()))
        .filter(|(key, _)| passes(key) || !clear && !is_withheld(key))
        .collect();
    for (key, value) in &policy.set {
        all.retain(|(known, _)| known != key.as_bytes());
        all.push((key.clone().into_bytes(), value.value.clone().into_bytes()));
    }
    if let Some(name) = pass.iter().find(|name| name.is_empty() || name.as_bytes().contains(&b'=')) {
        return Err(Failure::new(format!("--pass-env: `{}` is not a variable's name", name.display()))
            .hint("to set a variable use --env NAME=VALUE"));
    }
    for assignment in set {
        let bytes = assignment.as_bytes();
        let equals =
            bytes.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0).ok_or_else(|| {
                Failure::new(format!("--env: `{}` has no NAME=VALUE form", assignment.display()))
                    .hint("to pass a variable of yours use --pass-env NAME")
            })?;
        let (key, value) = bytes.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        all.retain(|(known, _)| known != key);
        all.push((key.to_vec(), value.to_vec()));
    }
    Ok(all
        .into_iter()
        .map(|(mut key, value)| {
            key.push(b'=');
            key.extend(value);
            key
        })
        .collect())
}

/// Who the command is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    /// The caller's own.
    pub(crate) fn of_caller() -> Identity {
        let groups = getgroups().unwrap_or_default();
        Identity {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        }
    }

    /// `UID[:GID]`, in numbers or names. Without a group it is the user's own, and no others.
    pub(crate) fn parse(text: &str) -> Result<Identity, Failure> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str, name: &str| {
            Failure::new(format!("--user: no {what} `{name}`")).hint("the form is --user UID[:GID]")
        };
        let (uid, own_group) = match user.parse::<u32>() {
            Ok(uid) if uid != u32::MAX => {
                let known = User::from_uid(uid.into()).ok().flatten();
                (uid, known.map_or(uid, |known| known.gid.as_raw()))
            }
            _ => {
                let known = User::from_name(user).ok().flatten().ok_or_else(|| unknown("user", user))?;
                (known.uid.as_raw(), known.gid.as_raw())
            }
        };
        let gid = match group {
            None => own_group,
            Some(group) => match group.parse::<u32>() {
                Ok(gid) if gid != u32::MAX => gid,
                _ => Group::from_name(group)
                    .ok()
                    .flatten()
                    .ok_or_else(|| unknown("group", group))?
                    .gid
                    .as_raw(),
            },
        };
        Ok(Identity { uid, gid, groups: Vec::new() })
    }
}

/// The shell to start where no command is given.
pub(crate) fn shell() -> OsString {
    std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(|| OsStr::new("/bin/sh").to_owned())
}

#[cfg(test)]
mod tests {
    use super::{variables, Env, Identity};
    use std::ffi::OsString;

    fn run(set: &[&str], pass: &[&str]) -> Result<Vec<String>, String> {
        let caller = [("A", "1"), ("SSH_AUTH_SOCK", "/x"), ("DBUS_SESSION_BUS_ADDRESS", "y")];
        let caller = caller.into_iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
        let own = |names: &[&str]| names.iter().map(OsString::from).collect::<Vec<_>>();
        variables(caller, &Env::default(), &own(set), &own(pass))
            .map(|all| all.into_iter().map(|one| String::from_utf8_lossy(&one).into_owned()).collect())
            .map_err(|failure| failure.what)
    }

    #[test]
    fn agents_are_withheld_unless_passed() {
        assert_eq!(run(&[], &[]).unwrap(), ["A=1"]);
        assert_eq!(run(&["A=2", "B=x=y"], &["SSH_AUTH_SOCK"]).unwrap(), ["SSH_AUTH_SOCK=/x", "A=2", "B=x=y"]);
        assert!(run(&["A"], &[]).unwrap_err().contains("NAME=VALUE"));
        assert!(run(&["=A"], &[]).is_err());
        assert!(run(&[], &["A=1"]).unwrap_err().contains("--pass-env"));
    }

    #[test]
    fn identities() {
        let root = Identity { uid: 0, gid: 0, groups: vec![] };
        assert_eq!(Identity::parse("0").unwrap(), root);
        assert_eq!(Identity::parse("root:root").unwrap(), root);
        assert_eq!(Identity::parse("12345:7").unwrap(), Identity { uid: 12345, gid: 7, groups: vec![] });
        for bad in ["", "nobody-of-this-name", "0:nothing-of-this-name", "-1", "4294967295", ":1"] {
            assert!(Identity::parse(bad).is_err(), "{bad}");
        }
    }
}
