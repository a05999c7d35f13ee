//! Writes the calls of a policy as an OCI seccomp profile.
//!
//! libseccomp compares all 64 bits of an argument, ours those that the call takes; `SCMP_CMP_EQ` and its like are
//! written for both alike, as the profiles of Docker and Podman do.

use serde::Serialize;

use super::regions::{self, All, Term, Test};
use super::Written;
use crate::calls;
use crate::constants;
use crate::model::{Action, Policy, Width};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<i32>,
    architectures: [&'static str; 1],
    syscalls: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    names: Vec<&'static str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u8,
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: &'static str,
}

/// The profile, and what it does not say.
#[must_use]
pub fn write(policy: &Policy) -> Written {
    let normal = regions::normal(&policy.syscalls, |call, all| args(call, all).is_some());
    let mut notes = regions::sections(policy, "an OCI seccomp profile");
    notes.extend(normal.notes);
    let entry = |(names, all, action): (Vec<&'static str>, All, Action)| {
        let call = names.first().and_then(|name| calls::number(name)).unwrap_or(-1);
        let (action, errno_ret) = word(action);
        let comment = errno_ret.and_then(constants::errno_name).map(str::to_owned);
        Entry { names, action, errno_ret, comment, args: args(call, &all).unwrap_or_default() }
    };
    let (default_action, default_errno_ret) = word(normal.default);
    let profile = Profile {
        default_action,
        default_errno_ret,
        architectures: ["SCMP_ARCH_X86_64"],
        syscalls: normal.entries.into_iter().map(entry).collect(),
    };
    let text = serde_json::to_string_pretty(&profile).unwrap_or_default() + "\n";
    Written { text, notes }
}

fn word(action: Action) -> (&'static str, Option<i32>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Errno(n) => ("SCMP_ACT_ERRNO", Some(n)),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Kill => ("SCMP_ACT_KILL_PROCESS", None),
    }
}

/// At most one comparison of each argument, as wide as the call takes it.
fn args(call: i64, all: &All) -> Option<Vec<Arg>> {
    let repeated = all.windows(2).any(|w| matches!(w, [a, b] if a.arg == b.arg));
    if repeated {
        return None;
    }
    all.iter().map(|term| arg(call, term)).collect()
}

fn arg(call: i64, term: &Term) -> Option<Arg> {
    let index = term.arg;
    let plain = |op, value| Arg { index, value, value_two: None, op };
    let masked = |mask, value| Arg { index, value: mask, value_two: Some(value), op: "SCMP_CMP_MASKED_EQ" };
    Some(match (calls::width(call, index), term.width, term.test) {
        // The lower half of what the call takes whole.
        (Width::Bits64, Width::Bits32, Test::Equal(v)) => masked(Width::Bits32.mask(), v),
        (Width::Bits64, Width::Bits32, Test::Masked(mask, v)) => masked(mask, v),
        (natural, width, _) if natural != width => return None,
        (_, _, Test::Equal(v)) => plain("SCMP_CMP_EQ", v),
        (_, _, Test::NotEqual(v)) => plain("SCMP_CMP_NE", v),
        (_, _, Test::AtMost(v)) => plain("SCMP_CMP_LE", v),
        (_, _, Test::AtLeast(v)) => plain("SCMP_CMP_GE", v),
        (_, _, Test::Masked(mask, v)) => masked(mask, v),
    })
}
