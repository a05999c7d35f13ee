//! Reads a filter file and compiles it to seccomp programs.
//!
//! A file has one line per call, `name: condition && condition # why`; without conditions the call is allowed with
//! any arguments, several lines of one call are alternatives, and what no line names is fatal. The reason is not
//! optional. A condition is `argN == VALUE`, `argN != VALUE` or `argN & MASK == VALUE`, in 32 bits (the kernel looks
//! at no more of an `int`), or with `argN.64` in 64. `name: errno NAME # why` refuses a call softly, for callers
//! that fall back. `seccompiler` knows one match action in a filter, so each action makes a program of its own; the
//! kernel runs all of them and takes the strictest answer (seccomp(2)).

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::{calls, constants};

/// One of our own processes that installs a filter on itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnProcess {
    Launcher,
    Gofer,
    Sentry,
    /// Makes the sockets that lead out of the sandbox.
    Broker,
    /// Removes what the others leave on the host (control groups).
    Cleaner,
}

impl OwnProcess {
    fn source(self) -> &'static str {
        match self {
            OwnProcess::Launcher => include_str!("../filters/launcher.policy"),
            OwnProcess::Gofer => include_str!("../filters/gofer.policy"),
            OwnProcess::Sentry => include_str!("../filters/sentry.policy"),
            OwnProcess::Broker => include_str!("../filters/broker.policy"),
            OwnProcess::Cleaner => include_str!("../filters/cleaner.policy"),
        }
    }
}

/// What happens on a call that no line allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The process dies with SIGSYS: what our processes run with.
    Kill,
    /// SIGSYS is delivered to a handler, which can say which call it was: for those who work on the filters.
    Trap,
}

/// The filter file of one of our processes.
#[must_use]
pub fn own_filter(process: OwnProcess) -> &'static str {
    process.source()
}

/// A line that cannot be read, with its number in the file (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    pub line: usize,
    pub what: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for FilterError {}

/// A filter file, read and checked.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    allowed: BTreeMap<i64, Vec<SeccompRule>>,
    refused: BTreeMap<u32, BTreeMap<i64, Vec<SeccompRule>>>,
}

impl Filter {
    /// Reads a whole file.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                filter.line(line).map_err(|what| FilterError { line: index + 1, what })?;
            }
        }
        Ok(filter)
    }

    /// The programs to install, in this order.
    pub fn compile(&self, mismatch: Mismatch) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
        let fatal = match mismatch {
            Mismatch::Kill => SeccompAction::KillProcess,
            Mismatch::Trap => SeccompAction::Trap,
        };
        let mut programs = Vec::new();
        for (errno, calls) in &self.refused {
            programs.push(program(calls, SeccompAction::Allow, SeccompAction::Errno(*errno))?);
        }
        // Last, since it forbids to install another one.
        programs.push(program(&self.allowed, fatal, SeccompAction::Allow)?);
        Ok(programs)
    }

    /// Whether the file names this call as allowed in some form.
    #[must_use]
    pub fn names(&self, call: &str) -> bool {
        calls::number(call).is_some_and(|number| {
            self.allowed.contains_key(&number)
                && !self.refused.values().any(|calls| calls.contains_key(&number))
        })
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (rule, why) = line.split_once('#').ok_or("a rule needs its reason: `name: … # why`")?;
        if why.trim().is_empty() {
            return Err("the reason behind `#` is empty".to_owned());
        }
        let (name, conditions) = rule.split_once(':').ok_or("expected `name: conditions # why`")?;
        let name = name.trim();
        let number = calls::number(name).ok_or_else(|| format!("no system call is named `{name}`"))?;
        let conditions = conditions.trim();
        if let Some(errno) = conditions.strip_prefix("errno ") {
            let errno = errno.trim();
            let errno = constants::errno(errno).ok_or_else(|| format!("unknown error number `{errno}`"))?;
            let errno = errno.unsigned_abs();
            self.allowed.insert(number, Vec::new());
            self.refused.entry(errno).or_default().insert(number, Vec::new());
            return Ok(());
        }
        if conditions.is_empty() {
            if self.allowed.insert(number, Vec::new()).is_some() {
                return Err(format!("`{name}` is allowed as a whole, and has other lines"));
            }
            return Ok(());
        }
        let parsed = conditions.split("&&").map(condition).collect::<Result<Vec<_>, _>>()?;
        let rule = SeccompRule::new(parsed).map_err(|error| error.to_string())?;
        if self.allowed.get(&number).is_some_and(Vec::is_empty) {
            return Err(format!("`{name}` is already allowed as a whole"));
        }
        self.allowed.entry(number).or_default().push(rule);
        Ok(())
    }
}

fn program(
    calls: &BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(calls.clone(), mismatch, matched, TargetArch::x86_64)?.try_into()
}

/// `argN[.64] [& MASK] ==|!= VALUE`.
fn condition(text: &str) -> Result<SeccompCondition, String> {
    let text = text.trim();
    let (left, negated, right) = match (text.split_once("!="), text.split_once("==")) {
        (Some((left, right)), _) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        (None, None) => return Err(format!("`{text}` has neither `==` nor `!=`")),
    };
    let value = constant(right)?;
    let (argument, mask) = match left.split_once('&') {
        Some((argument, mask)) => (argument.trim(), Some(constant(mask)?)),
        None => (left.trim(), None),
    };
    let (argument, width) = match argument.strip_suffix(".64") {
        Some(argument) => (argument, SeccompCmpArgLen::Qword),
        None => (argument, SeccompCmpArgLen::Dword),
    };
    let index = argument
        .strip_prefix("arg")
        .and_then(|index| index.parse::<u8>().ok())
        .filter(|index| *index < 6)
        .ok_or_else(|| format!("`{argument}` is none of arg0 to arg5"))?;
    let operator = match (mask, negated) {
        (None, false) => SeccompCmpOp::Eq,
        (None, true) => SeccompCmpOp::Ne,
        (Some(mask), false) => SeccompCmpOp::MaskedEq(mask),
        (Some(_), true) => return Err("a mask goes with `==` only".to_owned()),
    };
    SeccompCondition::new(index, width, operator, value).map_err(|error| error.to_string())
}

/// A constant, or several joined with `|`.
fn constant(text: &str) -> Result<u64, String> {
    text.split('|').try_fold(0, |all, part| {
        let part = part.trim();
        constants::value(part).map(|value| all | value).ok_or_else(|| format!("unknown constant `{part}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::{own_filter, Filter, Mismatch, OwnProcess};

    fn error(text: &str) -> String {
        Filter::parse(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn shipped_filters_compile() {
        for process in [
            OwnProcess::Launcher,
            OwnProcess::Gofer,
            OwnProcess::Sentry,
            OwnProcess::Broker,
            OwnProcess::Cleaner,
        ] {
            let filter = Filter::parse(own_filter(process)).unwrap_or_else(|e| panic!("{process:?}: {e}"));
            for mismatch in [Mismatch::Kill, Mismatch::Trap] {
                filter.compile(mismatch).unwrap_or_else(|e| panic!("{process:?}: {e}"));
            }
        }
    }

    #[test]
    fn no_process_of_ours_may_do_what_the_design_rules_out() {
        let never = [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "socket",
            "connect",
            "bind",
            "listen",
            "ptrace",
            "mount",
            "pivot_root",
            "chroot",
            "setns",
            "unshare",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "open_by_handle_at",
            "keyctl",
            "init_module",
            "kexec_load",
            "setuid",
            "capset",
            "open",
        ];
        for process in [OwnProcess::Launcher, OwnProcess::Gofer, OwnProcess::Sentry, OwnProcess::Cleaner] {
            let filter = Filter::parse(own_filter(process)).expect("parses");
            for call in never {
                assert!(!filter.names(call), "{process:?} allows {call}");
            }
        }
        let sentry = Filter::parse(own_filter(OwnProcess::Sentry)).expect("parses");
        for call in ["openat", "openat2", "readlinkat", "unlinkat", "getdents64", "name_to_handle_at"] {
            assert!(!sentry.names(call), "the sentry allows {call}");
        }
        // A socket that the broker connected stays connected to that: no call names an address in memory.
        for call in ["sendmsg", "sendmmsg", "accept", "accept4"] {
            assert!(!sentry.names(call), "the sentry allows {call}");
        }
        // Of all that, the broker makes and connects sockets, and nothing else.
        let broker = Filter::parse(own_filter(OwnProcess::Broker)).expect("parses");
        for call in never.iter().filter(|call| !matches!(**call, "socket" | "connect")) {
            assert!(!broker.names(call), "the broker allows {call}");
        }
        for call in ["openat", "openat2", "sendmmsg", "clone", "kill", "readlinkat", "setsockopt"] {
            assert!(!broker.names(call), "the broker allows {call}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert!(error("read: # ok\nreed: # why").contains("line 2: no system call is named `reed`"));
        assert!(error("read:").contains("needs its reason"));
        assert!(error("read: #  ").contains("empty"));
        assert!(error("ioctl: arg1 == TCGETZ # why").contains("unknown constant `TCGETZ`"));
        assert!(error("ioctl: arg7 == 1 # why").contains("arg7"));
        assert!(error("ioctl: arg1 # why").contains("neither"));
        assert!(error("ioctl: arg1 == 1 # a\nioctl: # b").contains("other lines"));
        assert!(error("ioctl: # a\nioctl: arg1 == 1 # b").contains("as a whole"));
    }
}
