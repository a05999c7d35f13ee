//! Writes a whole policy as TOML, with the origin of each line beside it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::constants;
use crate::model::{
    Cache, Ci, Destination, DestinationHost, Env, Files, HostPath, Limits, Located, Mount, Network, Origin,
    Policy, Process, Publish, Rule, Syscalls, Word,
};

/// What stands beside each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    None,
    /// The place that the line comes from.
    Origins,
}

/// A policy as TOML. Reading it again gives the same policy, but for the origins.
#[must_use]
pub fn to_toml(policy: &Policy, comments: Comments) -> String {
    let mut out = Out::default();
    if let Some(description) = &policy.description {
        out.value("description", quoted(description), &description.origin);
    }
    syscalls(&mut out, &policy.syscalls);
    files(&mut out, &policy.files);
    network(&mut out, &policy.network);
    limits(&mut out, &policy.limits);
    env(&mut out, &policy.env);
    process(&mut out, &policy.process);
    ci(&mut out, &policy.ci);
    out.text(comments)
}

/// A number with a name, where it has one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Number {
    Named(&'static str),
    Plain(i32),
}

pub(crate) fn errno(number: i32) -> Number {
    constants::errno_name(number).map_or(Number::Plain(number), Number::Named)
}

/// With `~` where it was written so: it means the reader's home. Other paths are whole, since a relative one means
/// another place in another file.
pub(crate) fn host_path(path: &HostPath) -> String {
    if path.text.starts_with('~') {
        path.text.clone()
    } else {
        path.path.display().to_string()
    }
}

pub(crate) fn size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let unit = units.iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(shift, letter)| format!("{}{letter}", bytes >> shift))
}

pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    if span.subsec_nanos() != 0 {
        return format!("{}s", span.as_secs_f64());
    }
    let units = [(86400, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(length, letter)| format!("{}{letter}", seconds / length))
}

/// Lines, and where they come from.
#[derive(Default)]
struct Out {
    lines: Vec<(String, Option<String>)>,
    /// A table's header, which is written with its first line.
    header: Option<(&'static str, Option<String>)>,
}

impl Out {
    fn table(&mut self, header: &'static str) {
        self.header = Some((header, None));
    }

    /// An entry of a list of tables: written though it were empty.
    fn entry(&mut self, header: &'static str, origin: &Origin) {
        self.header = Some((header, Some(origin.to_string())));
    }

    fn line(&mut self, text: String, origin: Option<&Origin>) {
        if let Some((header, origin)) = self.header.take() {
            if !self.lines.is_empty() {
                self.lines.push((String::new(), None));
            }
            self.lines.push((header.to_owned(), origin));
        }
        self.lines.push((text, origin.map(ToString::to_string)));
    }

    fn value(&mut self, key: &str, value: String, origin: &Origin) {
        self.line(format!("{key} = {value}"), Some(origin));
    }

    fn maybe<T>(&mut self, key: &str, value: &Option<Located<T>>, text: impl Fn(&T) -> String) {
        if let Some(value) = value {
            self.value(key, text(&value.value), &value.origin);
        }
    }

    /// A list: in one line where all of it comes from one line.
    fn list<T>(&mut self, key: &str, items: &[Located<T>], text: impl Fn(&T) -> String) {
        const WIDEST: usize = 80;
        let Some(first) = items.first() else { return };
        let texts: Vec<_> = items.iter().map(|item| quoted(&text(&item.value))).collect();
        let short = format!("{key} = [{}]", texts.join(", "));
        let one_line = |item: &Located<T>| {
            (&item.origin.file, item.origin.line) == (&first.origin.file, first.origin.line)
        };
        if short.len() <= WIDEST && items.iter().all(one_line) {
            self.line(short, Some(&first.origin));
            return;
        }
        self.line(format!("{key} = ["), None);
        for (item, text) in items.iter().zip(texts) {
            self.line(format!("    {text},"), Some(&item.origin));
        }
        self.line("]".to_owned(), None);
    }

    fn text(self, comments: Comments) -> String {
        const COLUMN: usize = 56;
        let lines = self.lines.into_iter().map(|(text, origin)| match origin {
            Some(origin) if comments == Comments::Origins => {
                format!("{text:<COLUMN$} # {}\n", visible(&origin))
            }
            _ => text + "\n",
        });
        lines.collect()
    }
}

/// A comment must not end early, nor steer a terminal: a file's name is not ours.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key as it is, or quoted.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn number(number: i32) -> String {
    match errno(number) {
        Number::Named(name) => quoted(name),
        Number::Plain(number) => number.to_string(),
    }
}

fn syscalls(out: &mut Out, section: &Syscalls) {
    out.table("[syscalls]");
    out.maybe("default", &section.default, |action| quoted(action.name().word()));
    out.maybe("default-errno", &section.default_errno, |errno| number(*errno));
    out.table("[syscalls.groups]");
    for (name, entry) in &section.groups {
        out.value(&key(name), quoted(entry.action.name().word()), &entry.origin);
    }
    section.rules.iter().for_each(|one| rule(out, one));
}

fn rule(out: &mut Out, rule: &Rule) {
    out.entry("[[syscalls.rule]]", &rule.origin);
    out.list("names", &rule.names, |name| name.text.clone());
    out.list("when", &rule.when, |condition| condition.text.clone());
    out.line(format!("action = {}", quoted(rule.action.name().word())), None);
    out.maybe("errno", &rule.errno, |errno| number(*errno));
}

fn files(out: &mut Out, section: &Files) {
    out.table("[files]");
    out.maybe("root", &section.root, |path| quoted(&host_path(path)));
    out.maybe("overlay", &section.overlay, |overlay| quoted(overlay.word()));
    out.list("hide", &section.hide, host_path);
    section.mounts.iter().for_each(|one| mount(out, one));
}

fn mount(out: &mut Out, mount: &Mount) {
    out.entry("[[files.mount]]", &mount.origin);
    out.maybe("source", &mount.source, |path| quoted(&host_path(path)));
    out.value("at", quoted(&mount.at.value.display().to_string()), &mount.at.origin);
    out.value("mode", quoted(mount.mode.value.word()), &mount.mode.origin);
    out.maybe("size", &mount.size, |bytes| quoted(&size(*bytes)));
}

fn network(out: &mut Out, section: &Network) {
    out.table("[network]");
    out.maybe("mode", &section.mode, |mode| quoted(mode.word()));
    out.list("allow", &section.allow, ToString::to_string);
    out.list("publish", &section.publish, ToString::to_string);
}

fn limits(out: &mut Out, section: &Limits) {
    out.table("[limits]");
    out.maybe("memory", &section.memory, |bytes| quoted(&size(*bytes)));
    out.maybe("pids", &section.pids, u64::to_string);
    out.maybe("cpus", &section.cpus, u64::to_string);
    out.maybe("cpu-time", &section.cpu_time, |span| quoted(&duration(*span)));
    out.maybe("timeout", &section.timeout, |span| quoted(&duration(*span)));
    out.maybe("disk", &section.disk, |bytes| quoted(&size(*bytes)));
    out.maybe("open-files", &section.open_files, u64::to_string);
}

fn env(out: &mut Out, section: &Env) {
    out.table("[env]");
    out.maybe("clear", &section.clear, bool::to_string);
    out.list("pass", &section.pass, Clone::clone);
    out.table("[env.set]");
    for (name, value) in &section.set {
        out.value(&key(name), quoted(value), &value.origin);
    }
}

fn process(out: &mut Out, section: &Process) {
    out.table("[process]");
    out.maybe("user", &section.user, |user| quoted(user));
    out.maybe("hostname", &section.hostname, |name| quoted(name));
    out.maybe("cwd", &section.cwd, |path| quoted(&path.display().to_string()));
    out.maybe("capabilities", &section.capabilities, |names| {
        let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    });
}

fn ci(out: &mut Out, section: &Ci) {
    out.table("[ci]");
    out.list("artifacts", &section.artifacts, Clone::clone);
    out.list("cache", &section.cache, ToString::to_string);
    out.maybe("fail-on", &section.fail_on, |outcome| quoted(outcome.word()));
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match (&self.host, self.port) {
            (DestinationHost::Net(address, _), Some(_)) if address.is_ipv6() => ("[", "]"),
            _ => ("", ""),
        };
        f.write_str(open)?;
        match &self.host {
            DestinationHost::Name(name) => f.write_str(name)?,
            DestinationHost::Net(address, bits) => {
                write!(f, "{address}")?;
                if *bits != if address.is_ipv4() { 32 } else { 128 } {
                    write!(f, "/{bits}")?;
                }
            }
        }
        f.write_str(close)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(std::net::IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}", self.host_port, self.port)
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", host_path(&self.path), if self.keep { ":rw" } else { "" })
    }
}
