//! The policy file that is being learnt, edited in place: what stands there stays, comments too; what is new comes with
//! a comment on who needed it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use policies::units;
use sentry::learnt::{Learnt, Peaks};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Formatted, Item, Table, TableLike, Value};

use super::places::Places;
use crate::enforce::tip;

/// Calls whose rules name the address family.
const BY_FAMILY: [&str; 2] = ["socket", "socketpair"];
/// Whether a program makes these is a matter of timing, of memory and of signals: one run does not tell. They concern
/// nobody but the program.
const BY_CHANCE: [&str; 18] = [
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "exit",
    "exit_group",
    "futex",
    "getrandom",
    "gettid",
    "madvise",
    "mremap",
    "munmap",
    "restart_syscall",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_yield",
    "tgkill",
];
/// Lines of names are at most this long.
const WIDTH: usize = 100;
/// The longest text of a command in a description.
const LONGEST_COMMAND: usize = 120;

/// A policy as text that can be added to.
#[derive(Debug)]
pub(crate) struct Document {
    toml: DocumentMut,
    is_new: bool,
}

/// What was added.
#[derive(Debug, Default)]
pub(crate) struct News {
    calls: usize,
    directories: usize,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s =
            |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        write!(
            f,
            "{} and {}",
            s(self.calls, "call", "calls"),
            s(self.directories, "directory to write in", "directories to write in")
        )
    }
}

impl Document {
    pub(crate) fn read(text: &str) -> Result<Document, toml_edit::TomlError> {
        Ok(Document { toml: text.parse()?, is_new: text.trim().is_empty() })
    }

    pub(crate) fn text(&self) -> String {
        self.toml.to_string()
    }

    /// Adds what was used.
    pub(crate) fn learn(
        &mut self,
        learnt: &Learnt,
        places: &Places,
        command: &[OsString],
        base: Option<&str>,
    ) -> News {
        if self.is_new {
            let mut words: String =
                command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = words.char_indices().nth(LONGEST_COMMAND) {
                words.truncate(end);
                words.push('…');
            }
            self.toml.insert("description", string(&format!("Learnt from: {words}")));
            if let Some(base) = base {
                self.toml.insert("extends", Item::Value(Value::Array(Array::from_iter([base]))));
            }
        }
        let calls = self.calls(learnt);
        let directories = self.files(places);
        self.network(learnt);
        self.limits(&learnt.peaks);
        News { calls, directories }
    }

    fn table(&mut self, name: &str) -> Option<&mut dyn TableLike> {
        if !self.toml.contains_key(name) {
            self.toml.insert(name, Item::Table(Table::new()));
        }
        self.toml.get_mut(name)?.as_table_like_mut()
    }

    fn calls(&mut self, learnt: &Learnt) -> usize {
        let Some(section) = self.table("syscalls") else { return 0 };
        if !section.contains_key("default") {
            section.insert("default", string("errno"));
        }
        if !section.contains_key("rule") {
            section.insert("rule", Item::ArrayOfTables(ArrayOfTables::new()));
        }
        let Some(rules) = section.get_mut("rule").and_then(Item::as_array_of_tables_mut) else { return 0 };
        let mut added = 0;
        for family in &learnt.families {
            let args = [u64::from(family.family), 0, 0, 0, 0, 0];
            let Some(condition) = tip::condition(&family.call, &args) else { continue };
            if rules.iter().any(|rule| allows(rule, &family.call, Some(&condition))) {
                continue;
            }
            let mut rule = Table::new();
            rule.decor_mut().set_prefix(format!("\n{}", by(&family.by, "")));
            rule.insert("names", Item::Value(Value::Array(Array::from_iter([family.call.as_str()]))));
            rule.insert("when", Item::Value(Value::Array(Array::from_iter([condition.as_str()]))));
            rule.insert("action", string("allow"));
            rules.push(rule);
            added += 1;
        }
        let chance = ["may or may not be made, by chance".to_owned()];
        let by_chance = BY_CHANCE
            .iter()
            .filter(|name| !learnt.calls.iter().any(|call| call.name == **name))
            .map(|name| (*name, chance.as_slice()));
        let used = learnt.calls.iter();
        let new: Vec<(&str, &[String])> = used
            // A call that has no name cannot be allowed by one.
            .filter(|call| policies::calls::number(&call.name).is_some())
            .filter(|call| !BY_FAMILY.contains(&call.name.as_str()))
            .map(|call| (call.name.as_str(), call.by.as_slice()))
            .chain(by_chance)
            .filter(|(name, _)| !rules.iter().any(|rule| allows(rule, name, None)))
            .collect();
        if new.is_empty() {
            return added;
        }
        added += new.len();
        let of_ours = rules.iter().position(|rule| is_plain_allow(rule) && rule.contains_key("names"));
        match of_ours.and_then(|at| rules.get_mut(at)).and_then(|rule| rule.get_mut("names")?.as_array_mut())
        {
            Some(names) => add_names(names, &new),
            None => {
                let mut names = Array::new();
                add_names(&mut names, &new);
                let mut rule = Table::new();
                rule.insert("names", Item::Value(Value::Array(names)));
                rule.insert("action", string("allow"));
                rules.push(rule);
            }
        }
        added
    }

    fn files(&mut self, places: &Places) -> usize {
        let (is_new, root_written) = (self.is_new, places.written.contains_key(Path::new("/")));
        let Some(section) = self.table("files") else { return 0 };
        let overlay = section.get("overlay").and_then(Item::as_str).map(str::to_owned);
        if overlay.is_none() && is_new || overlay.as_deref() == Some("none") && root_written {
            section.insert("overlay", string(if root_written { "memory" } else { "none" }));
        }
        let read_only = section.get("overlay").and_then(Item::as_str) == Some("none");
        if is_new {
            let mut hide = Array::new();
            for path in places.unused() {
                if let Some(path) = path.to_str() {
                    hide.push(path);
                }
            }
            if !hide.is_empty() {
                lines(&mut hide);
                section.insert("hide", Item::Value(Value::Array(hide)));
                if let Some(mut key) = section.key_mut("hide") {
                    key.leaf_decor_mut().set_prefix("# Never looked at.\n");
                }
            }
        } else if let Some(hide) = section.get_mut("hide").and_then(Item::as_array_mut) {
            // What is used now is no longer hidden; what a person wrote with `~` stays.
            hide.retain(|path| !path.as_str().is_some_and(|path| places.uses(Path::new(path))));
        }
        if !read_only {
            return 0;
        }
        let mut known: Vec<PathBuf> = Vec::new();
        if let Some(mounts) = section.get("mount").and_then(Item::as_array_of_tables) {
            for mount in mounts {
                let at = mount.get("at").or_else(|| mount.get("source")).and_then(Item::as_str);
                let writes = mount.get("mode").and_then(Item::as_str).is_some_and(|mode| mode != "ro");
                known.extend(at.filter(|_| writes).map(PathBuf::from));
            }
        }
        let new: Vec<_> = places
            .written
            .iter()
            .filter(|(path, _)| !known.iter().any(|known| path.starts_with(known)))
            .filter_map(|(path, by)| Some((path.to_str()?, by)))
            .collect();
        if new.is_empty() {
            return 0;
        }
        if !section.contains_key("mount") {
            section.insert("mount", Item::ArrayOfTables(ArrayOfTables::new()));
        }
        let Some(mounts) = section.get_mut("mount").and_then(Item::as_array_of_tables_mut) else { return 0 };
        for (path, who) in &new {
            let mut mount = Table::new();
            mount.decor_mut().set_prefix(format!("\n{}", by(who, "written by ")));
            mount.insert("source", string(path));
            mount.insert("mode", string("overlay"));
            mounts.push(mount);
        }
        new.len()
    }

    fn network(&mut self, learnt: &Learnt) {
        let inet = |family: u32| family == libc::AF_INET as u32 || family == libc::AF_INET6 as u32;
        let users = learnt.families.iter().filter(|used| inet(used.family));
        let by: BTreeSet<&str> = users.flat_map(|used| used.by.iter().map(String::as_str)).collect();
        let wanted = if by.is_empty() { "none" } else { "loopback" };
        let Some(section) = self.table("network") else { return };
        match section.get("mode").and_then(Item::as_str) {
            None if section.contains_key("mode") => return,
            None => {}
            Some("none") if wanted == "loopback" => {}
            Some(_) => return,
        }
        let comment = by.into_iter().map(plain).collect::<Vec<_>>().join(", ");
        section.insert("mode", with_comment(Value::from(wanted), &comment));
    }

    fn limits(&mut self, peaks: &Peaks) {
        const MIB: u64 = 1 << 20;
        const SECOND: u64 = 1_000_000_000;
        let count = |seen: u64, least: u64| seen.saturating_mul(2).max(least).next_power_of_two();
        let minutes = |nanos: u64, times: u64| (nanos / SECOND).saturating_mul(times).div_ceil(60).max(1);
        let Some(section) = self.table("limits") else { return };
        let number = |value: u64| Value::from(i64::try_from(value).unwrap_or(i64::MAX));
        let mut raise = |key: &str, wanted: u64, value: Value, seen: String| {
            let present = section.get(key).and_then(|item| present(key, item));
            if present.is_none_or(|present| present < wanted) {
                section.insert(key, with_comment(value, &format!("{seen} seen")));
            }
        };
        let pids = count(peaks.tasks, 16);
        raise("pids", pids, number(pids), peaks.tasks.to_string());
        let files = count(peaks.open_files, 64);
        raise("open-files", files, number(files), peaks.open_files.to_string());
        if peaks.memory > 0 {
            // It is looked at now and then only, and what a process touches first may not be what it needs next.
            let memory = count(peaks.memory.saturating_mul(2), 512 * MIB);
            let seen = format!("{}M", peaks.memory.div_ceil(MIB));
            raise("memory", memory, Value::from(format!("{}M", memory / MIB)), seen);
        }
        let shown = |nanos: u64| format!("{:.1}s", nanos as f64 / SECOND as f64);
        let cpu = minutes(peaks.cpu_time, 5);
        raise("cpu-time", cpu * 60, Value::from(format!("{cpu}m")), shown(peaks.cpu_time));
        let time = minutes(peaks.time, 10);
        raise("timeout", time * 60, Value::from(format!("{time}m")), shown(peaks.time));
    }
}

/// A limit as it stands in the file, in bytes, seconds or pieces.
fn present(key: &str, item: &Item) -> Option<u64> {
    if let Some(number) = item.as_integer() {
        return u64::try_from(number).ok();
    }
    let text = item.as_str()?;
    match key {
        "memory" => units::size(text).ok(),
        _ => units::duration(text).ok().map(|duration| duration.as_secs()),
    }
}

fn string(text: &str) -> Item {
    Item::Value(Value::String(Formatted::new(text.to_owned())))
}

fn with_comment(mut value: Value, comment: &str) -> Item {
    if !comment.is_empty() {
        value.decor_mut().set_suffix(format!(" # {comment}"));
    }
    Item::Value(value)
}

fn is_plain_allow(rule: &Table) -> bool {
    rule.get("action").and_then(Item::as_str) == Some("allow") && !rule.contains_key("when")
}

/// Whether a rule allows a call: whatever its arguments, or with just this condition.
fn allows(rule: &Table, call: &str, condition: Option<&str>) -> bool {
    let list = |key: &str| rule.get(key).and_then(Item::as_array);
    let names = list("names").is_some_and(|names| names.iter().any(|name| name.as_str() == Some(call)));
    let allowed = rule.get("action").and_then(Item::as_str) == Some("allow");
    let when = match (list("when"), condition) {
        (None, _) => !rule.contains_key("when"),
        (Some(_), None) => false,
        (Some(when), Some(condition)) => {
            when.len() == 1 && when.get(0).and_then(Value::as_str) == Some(condition)
        }
    };
    names && allowed && when
}

/// Names by who needed them, several in a line, each group below a comment.
fn add_names(names: &mut Array, new: &[(&str, &[String])]) {
    let mut groups: Vec<(&[String], Vec<&str>)> = Vec::new();
    for (name, by) in new {
        match groups.iter_mut().find(|(known, _)| known == by) {
            Some((_, names)) => names.push(name),
            None => groups.push((by, vec![name])),
        }
    }
    for (by_whom, group) in groups {
        let mut column = WIDTH;
        for (at, name) in group.into_iter().enumerate() {
            let width = name.len() + 4;
            let prefix = match at {
                0 => format!("\n    {}    ", by(by_whom, "")),
                _ if column + width > WIDTH => "\n    ".to_owned(),
                _ => " ".to_owned(),
            };
            column = if prefix == " " { column + width } else { width + 4 };
            let mut value = Value::from(name);
            value.decor_mut().set_prefix(prefix);
            names.push_formatted(value);
        }
    }
    names.set_trailing_comma(true);
    names.set_trailing("\n");
}

/// One value in a line.
fn lines(array: &mut Array) {
    for value in array.iter_mut() {
        value.decor_mut().set_prefix("\n    ");
    }
    array.set_trailing_comma(true);
    array.set_trailing("\n");
}

/// A comment line that names programs; empty where none is known.
fn by(names: &[String], before: &str) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names = names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
    format!("# {before}{names}\n")
}

/// A program's name as it may stand in a comment: it can be anything.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::Document;
    use crate::policy::learn::places::Places;
    use sentry::learnt::{CallUse, FamilyUse, Learnt, Peaks};
    use std::path::PathBuf;

    fn learnt(calls: &[&str], by: &str, family: u32) -> Learnt {
        let by = vec![by.to_owned()];
        Learnt {
            calls: calls.iter().map(|name| CallUse { name: (*name).into(), by: by.clone() }).collect(),
            families: vec![FamilyUse { call: "socket".into(), family, by }],
            places: Vec::new(),
            places_cut: false,
            peaks: Peaks { tasks: 5, open_files: 20, memory: 0, cpu_time: 1, time: 90_000_000_000 },
        }
    }

    #[test]
    fn a_second_run_adds_and_keeps() {
        let mut document = Document::read("").unwrap();
        let mut places = Places { used: vec![PathBuf::from("/")], ..Places::default() };
        places.written.insert(PathBuf::from("/tmp"), vec!["cc\n1".into()]);
        let news =
            document.learn(&learnt(&["read", "write"], "a", 1), &places, &["a".into()], Some("untrusted"));
        assert_eq!(news.to_string(), "21 calls and 1 directory to write in");
        let text = document.text().replace("action", "action  ") + "# mine\n";
        let mut document = Document::read(&text).unwrap();
        let news =
            document.learn(&learnt(&["write", "close"], "b", 2), &places, &["b".into()], Some("untrusted"));
        assert_eq!(news.to_string(), "1 call and 0 directories to write in");
        let text = document.text();
        for part in
            ["# a\n", "# b\n", "\"read\"", "\"close\"", "# mine", "AF_UNIX", "AF_INET\"", "loopback", "15m"]
        {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert_eq!(text.matches("\"write\"").count(), 1, "{text}");
        assert!(text.contains("# written by cc\u{fffd}1"), "{text}");
        let again = document.learn(&learnt(&["write", "close"], "b", 2), &places, &["b".into()], None);
        assert_eq!(
            (again.to_string(), document.text()),
            ("0 calls and 0 directories to write in".into(), text)
        );
    }
}
