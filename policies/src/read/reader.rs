//! Takes values out of a tree, and notes what is wrong on the way: one mistake does not hide the next.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::keys::{self, Table};
use super::tree::{Entry, Node, Value};
use super::{limits, Context};
use crate::diagnostic::{did_you_mean, Diagnostic, Place, Severity, Source};
use crate::model::{HostPath, Located, Word};

/// The state of reading one file.
pub(super) struct Reader<'s> {
    pub(super) source: &'s Source,
    pub(super) context: &'s Context,
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// How many calls the rules so far stand for.
    pub(super) calls: usize,
}

/// A table whose keys are all known.
pub(super) struct Keys<'n> {
    entries: &'n [Entry],
}

impl<'n> Keys<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source, context: &'s Context) -> Self {
        Self { source, context, found: Vec::new(), errors: 0, warnings: 0, calls: 0 }
    }

    /// Errors and warnings.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut errors, mut warnings): (Vec<_>, Vec<_>) =
            self.found.into_iter().partition(|one| one.severity == Severity::Error);
        for (list, all) in [(&mut errors, self.errors), (&mut warnings, self.warnings)] {
            let more = all.saturating_sub(list.len());
            if let (Some(last), true) = (list.last_mut(), more > 0) {
                last.chain.push(format!("… and {more} more"));
            }
        }
        (errors, warnings)
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        self.source.place(span)
    }

    pub(super) fn error(&mut self, span: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.errors += 1;
        if self.errors <= limits::DIAGNOSTICS {
            let mut error = Diagnostic::error(self.place(span), message);
            error.hint = hint;
            self.found.push(error);
        }
    }

    pub(super) fn warning(&mut self, span: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.warnings += 1;
        if self.warnings <= limits::DIAGNOSTICS {
            let mut warning = Diagnostic::warning(self.place(span), message);
            warning.hint = hint;
            self.found.push(warning);
        }
    }

    /// Whether another error would still be shown: looking for the nearest name is not worth it otherwise.
    fn listens(&self) -> bool {
        self.errors < limits::DIAGNOSTICS || self.warnings < limits::DIAGNOSTICS
    }

    pub(super) fn nearest<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
        self.listens().then(|| did_you_mean(word, known)).flatten()
    }

    pub(super) fn located<T>(&self, node: &Node, value: T) -> Located<T> {
        Located::new(value, self.source.origin(node.span.start))
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str) {
        self.error(&node.span, format!("expected {expected}, found {}", node.value.kind()), None);
    }

    /// A table with any keys.
    pub(super) fn any_table<'n>(&mut self, node: &'n Node, expected: &str) -> &'n [Entry] {
        match &node.value {
            Value::Table(entries) if entries.len() <= limits::LIST => entries,
            Value::Table(_) => {
                self.error(&node.span, format!("more than {} entries", limits::LIST), None);
                &[]
            }
            _ => {
                self.wrong_kind(node, expected);
                &[]
            }
        }
    }

    /// A table of the format; what is not a key of it is an error.
    pub(super) fn table<'n>(&mut self, node: &'n Node, table: &Table) -> Keys<'n> {
        let entries = self.any_table(node, &format!("the table {}", table.name));
        for entry in entries {
            if !table.keys.contains(&entry.key.as_str()) {
                let hint = self.nearest(&entry.key, table.keys.iter().copied());
                let hint = hint
                    .or_else(|| belongs(&entry.key))
                    .or_else(|| Some(format!("{} has {}", table.name, table.keys.join(", "))));
                self.error(&entry.key_span, format!("unknown key `{}`", cut(&entry.key)), hint);
            }
        }
        Keys { entries }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, expected: &str) -> &'n [Node] {
        match &node.value {
            Value::Array(items) if items.len() <= limits::LIST => items,
            Value::Array(_) => {
                self.error(&node.span, format!("more than {} entries", limits::LIST), None);
                &[]
            }
            _ => {
                self.wrong_kind(node, expected);
                &[]
            }
        }
    }

    /// A string without NUL, of bounded length; not empty.
    pub(super) fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        let Value::String(text) = &node.value else {
            self.wrong_kind(node, expected);
            return None;
        };
        if text.is_empty() {
            self.error(&node.span, format!("expected {expected}, found an empty string"), None);
        } else if text.len() > limits::TEXT {
            self.error(&node.span, format!("longer than {} bytes", limits::TEXT), None);
        } else if text.contains('\0') {
            self.error(&node.span, "a NUL character cannot be part of it", None);
        } else {
            return Some(text);
        }
        None
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<Located<bool>> {
        if let Value::Boolean(value) = node.value {
            return Some(self.located(node, value));
        }
        self.wrong_kind(node, "true or false");
        None
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&mut self, node: &Node, least: u64, most: u64) -> Option<Located<u64>> {
        let Value::Integer(number) = node.value else {
            self.wrong_kind(node, "a number");
            return None;
        };
        match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(self.located(node, number)),
            _ => {
                self.error(&node.span, format!("expected a number from {least} to {most}"), None);
                None
            }
        }
    }

    /// One of the words of a closed set.
    pub(super) fn word<T: Word>(&mut self, node: &Node) -> Option<Located<T>> {
        let names = || T::WORDS.iter().map(|(word, _)| *word);
        let listed = names().collect::<Vec<_>>().join(", ");
        let text = self.text(node, &format!("one of {listed}"))?;
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Some(self.located(node, *value));
        }
        let hint = self.nearest(text, names());
        self.error(&node.span, format!("`{}` is none of {listed}", cut(text)), hint);
        None
    }

    /// A string that another function understands.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let text = self.text(node, expected)?;
        match parse(text) {
            Ok(value) => Some(self.located(node, value)),
            Err(what) => {
                self.error(&node.span, what, None);
                None
            }
        }
    }

    /// A list of strings, each understood by a function.
    pub(super) fn all<T>(
        &mut self,
        node: Option<&Node>,
        expected: &str,
        mut each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let items = node.map_or(&[] as &[Node], |node| self.list(node, expected));
        items.iter().filter_map(|item| each(self, item)).collect()
    }

    /// A path of the host: absolute, from `~`, or relative to the file's directory.
    pub(super) fn host_path(&mut self, node: &Node) -> Option<Located<HostPath>> {
        let text = self.text(node, "a path")?;
        let path = self.expanded(node, text)?;
        Some(self.located(node, HostPath { text: text.to_owned(), path }))
    }

    /// A path of the host by its text, for those that stand in a longer string.
    pub(super) fn expanded(&mut self, node: &Node, text: &str) -> Option<PathBuf> {
        let path = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match &self.context.home {
                Some(home) => home.join(rest.trim_start_matches('/')),
                None => {
                    self.error(&node.span, "`~`: no home directory is known", Some("set HOME".to_owned()));
                    return None;
                }
            },
            Some(_) => {
                let hint = "only one's own home is known: `~/…`, or write the path out";
                self.error(
                    &node.span,
                    format!("`{}`: another user's home", cut(text)),
                    Some(hint.to_owned()),
                );
                return None;
            }
            None => self.context.directory.join(text),
        };
        match normal(&path) {
            Some(path) => Some(path),
            None => {
                self.error(&node.span, format!("`{}` leads above /", cut(text)), None);
                None
            }
        }
    }

    /// A place inside the sandbox.
    pub(super) fn inner_path(&mut self, node: &Node) -> Option<Located<PathBuf>> {
        let text = self.text(node, "an absolute path inside")?;
        let path = Path::new(text);
        if !path.is_absolute() {
            let hint = Some(format!("write `/{}`", cut(text.trim_start_matches("./"))));
            self.error(&node.span, format!("`{}` is not an absolute path", cut(text)), hint);
            return None;
        }
        let Some(path) = normal(path) else {
            self.error(&node.span, format!("`{}` leads above /", cut(text)), None);
            return None;
        };
        Some(self.located(node, path))
    }
}

/// Without `.` and `..`, as text: the links on the way are for those who open it.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if out.parent().is_some() => drop(out.pop()),
            Component::ParentDir => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

/// The table that has this key, for one that stands in the wrong one.
fn belongs(key: &str) -> Option<String> {
    let tables = keys::ALL.iter().skip(1);
    let mut holders = tables.filter(|table| table.keys.contains(&key)).map(|table| table.name);
    holders.next().map(|table| format!("`{key}` belongs in {table}"))
}

/// The beginning of a long text, for a message.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
