//! What is wrong with a policy, and where: the place, the line with a caret below it, and what to do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::model::Origin;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// One line, without a full stop.
    pub message: String,
    #[serde(flatten)]
    pub place: Place,
    /// What to do, or what comes nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How the file was reached, where that matters: `a.toml:1 extends b.toml`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

/// A place in a file, with the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    #[serde(flatten)]
    pub origin: Origin,
    /// How many characters it spans in its line.
    pub length: u32,
    /// The line, cut to what fits a screen; empty where there is none to show.
    #[serde(rename = "text")]
    pub line: String,
    /// How far the caret is from the start of `line`, in characters.
    #[serde(skip)]
    pub caret: u32,
}

impl Diagnostic {
    #[must_use]
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), place, hint: None, chain: Vec::new() }
    }

    #[must_use]
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Place {
    /// A place of which only file, line and column are known.
    #[must_use]
    pub fn bare(origin: Origin) -> Self {
        Self { origin, length: 1, line: String::new(), caret: 0 }
    }

    /// A file as a whole.
    #[must_use]
    pub fn file(name: &str) -> Self {
        Self::bare(Origin { file: Arc::from(name), line: 1, column: 1 })
    }
}

impl fmt::Display for Diagnostic {
    /// ```text
    /// policy.toml:5:10: unknown key `memroy`
    ///    |
    ///  5 | memroy = "4G"
    ///    | ^^^^^^ did you mean `memory`?
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", Visible(&self.place.origin.to_string()), Visible(&self.message))?;
        let hint = self.hint.as_deref().unwrap_or_default();
        if self.place.line.is_empty() {
            if !hint.is_empty() {
                write!(f, "\n  {}", Visible(hint))?;
            }
        } else {
            let number = self.place.origin.line.to_string();
            let gap = " ".repeat(number.len());
            // Tabs keep their width, so that the caret stays below what it points at.
            let indent: String = self.place.line.chars().take(self.place.caret as usize).map(blank).collect();
            let carets = "^".repeat(self.place.length.max(1) as usize);
            write!(f, "\n {gap} |\n {number} | {}\n {gap} | {indent}{carets}", Visible(&self.place.line))?;
            if !hint.is_empty() {
                write!(f, " {}", Visible(hint))?;
            }
        }
        for link in &self.chain {
            write!(f, "\n  {}", Visible(link))?;
        }
        Ok(())
    }
}

fn blank(c: char) -> char {
    if c == '\t' {
        '\t'
    } else {
        ' '
    }
}

/// Text of which each control character is one visible sign: a file must not steer the terminal that shows it.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.0.chars() {
            f.write_char(if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })?;
        }
        Ok(())
    }
}

/// All that is wrong with a policy: at least one error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// A hint that names what comes nearest to a mistyped word.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|known| format!("did you mean `{known}`?"))
}

/// Long words are no slips of the finger, and comparing them with all others takes long.
const LONGEST_WORD: usize = 48;

fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let folded = word.to_lowercase().replace('_', "-");
    let distance = |known: &str| {
        if known.len().abs_diff(word.len()) > LARGEST_SLIP {
            return usize::MAX;
        }
        strsim::damerau_levenshtein(&folded, &known.to_lowercase().replace('_', "-"))
    };
    let bound = (word.chars().count() / 3).clamp(1, LARGEST_SLIP);
    let best = known.into_iter().map(|known| (distance(known), known)).min();
    best.filter(|(distance, _)| *distance <= bound).map(|(_, known)| known)
}

/// How many letters may differ.
const LARGEST_SLIP: usize = 4;

/// A file's text, in which byte offsets become lines and columns.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
    lines: Vec<usize>,
    /// How many characters come before each multiple of `STEP` bytes: a column is found without reading a long line.
    characters: Vec<u32>,
    /// Most files: a byte is a character.
    ascii: bool,
}

const STEP: usize = 256;
/// How much of a long line is shown.
const WIDEST_LINE: usize = 120;

impl Source {
    pub(crate) fn new(name: &str, text: String) -> Self {
        let mut lines = vec![0];
        let mut characters = vec![0];
        let mut count = 0;
        for (offset, byte) in text.bytes().enumerate() {
            if offset > 0 && offset % STEP == 0 {
                characters.push(count);
            }
            count += u32::from(is_start(byte));
            if byte == b'\n' {
                lines.push(offset + 1);
            }
        }
        let ascii = text.is_ascii();
        Self { name: Arc::from(name), text, lines, characters, ascii }
    }

    /// How many characters start before this offset.
    fn characters_before(&self, offset: usize) -> u32 {
        let offset = offset.min(self.text.len());
        if self.ascii {
            return u32::try_from(offset).unwrap_or(u32::MAX);
        }
        let step = (offset / STEP).min(self.characters.len().saturating_sub(1));
        let known = self.characters.get(step).copied().unwrap_or(0);
        let rest = self.text.as_bytes().get(step * STEP..offset).unwrap_or_default();
        known.saturating_add(rest.iter().filter(|byte| is_start(**byte)).count() as u32)
    }

    fn line_of(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        (line, self.lines.get(line).copied().unwrap_or(0))
    }

    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let (line, start) = self.line_of(offset);
        let column = self.characters_before(offset).saturating_sub(self.characters_before(start));
        Origin {
            file: Arc::clone(&self.name),
            line: u32::try_from(line).unwrap_or(u32::MAX).saturating_add(1),
            column: column.saturating_add(1),
        }
    }

    /// The place of an origin in this file, up to the end of the word or string that begins there.
    fn place_of(&self, origin: &Origin) -> Place {
        let start =
            self.lines.get((origin.line as usize).saturating_sub(1)).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..).unwrap_or_default();
        let column = (origin.column as usize).saturating_sub(1);
        let start = start + line.char_indices().nth(column).map_or(0, |(offset, _)| offset);
        let rest = self.text.get(start..).unwrap_or_default();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let inner = rest.get(quote.map_or(0, char::len_utf8)..).unwrap_or_default();
        let length = match quote {
            Some(quote) => inner.find([quote, '\n']).map_or(inner.len(), |end| end + 1) + 1,
            None => {
                inner.find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | '=')).unwrap_or(inner.len())
            }
        };
        self.place(&(start..start + length.max(1)))
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let origin = self.origin(span.start);
        let (line, start) = self.line_of(span.start);
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let whole = self.text.get(start..end).unwrap_or_default().trim_end_matches('\r');
        let spanned = self.text.get(span.start..span.end.min(end)).map_or(1, |text| text.chars().count());
        let column = origin.column.saturating_sub(1) as usize;
        // The window of a long line begins a little before the place.
        let skip =
            if whole.chars().nth(WIDEST_LINE).is_some() { column.saturating_sub(WIDEST_LINE / 4) } else { 0 };
        let line: String = whole.chars().skip(skip).take(WIDEST_LINE).collect();
        let caret = column - skip;
        let room = line.chars().count().saturating_sub(caret).max(1);
        Place { origin, length: spanned.clamp(1, room) as u32, line, caret: caret as u32 }
    }
}

/// The texts of a policy's files, to show what an origin names.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

impl Sources {
    pub(crate) fn add(&mut self, source: Source) {
        self.0.push(Arc::new(source));
    }

    /// The text of a file, by the name that it is known by in messages.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|source| *source.name == *name).map(|source| source.text.as_str())
    }

    /// The place that an origin names, with its line where the file is among these.
    #[must_use]
    pub fn place(&self, origin: &Origin) -> Place {
        let source = self.0.iter().find(|source| source.name == origin.file);
        source.map_or_else(|| Place::bare(origin.clone()), |source| source.place_of(origin))
    }

    /// The line that an origin names.
    #[must_use]
    pub fn line(&self, origin: &Origin) -> Option<String> {
        Some(self.place(origin).line).filter(|line| !line.is_empty())
    }
}

fn is_start(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, Diagnostic, Source};

    #[test]
    fn a_place_is_shown_with_its_line_and_a_caret() {
        let source = Source::new("a.toml", "x = 1\n\tmemroy = \"4G\"\n".to_owned());
        let found =
            Diagnostic::error(source.place(&(7..13)), "unknown key `memroy`").hint("did you mean `memory`?");
        assert_eq!(
            found.to_string(),
            "a.toml:2:2: unknown key `memroy`\n   |\n 2 | \tmemroy = \"4G\"\n   | \t^^^^^^ did you mean `memory`?"
        );
    }

    #[test]
    fn columns_count_characters_and_long_lines_are_cut() {
        let text = format!("{} here", "ä".repeat(3000));
        let source = Source::new("a", text);
        let place = source.place(&(6001..6005));
        assert_eq!((place.origin.line, place.origin.column, place.length), (1, 3002, 4));
        assert!(place.line.chars().count() <= 120 && place.line.ends_with("here"));
        assert_eq!(place.line.chars().skip(place.caret as usize).collect::<String>(), "here");
        // Past the end is the end.
        assert_eq!(source.place(&(9000..9001)).origin.line, 1);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let source = Source::new("a\x1b[2J", "\x1b]0;x\x07 = 1".to_owned());
        let shown = Diagnostic::error(source.place(&(0..6)), "bad \x1b[0m").to_string();
        assert!(!shown.contains('\x1b') && !shown.contains('\x07'), "{shown:?}");
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(
            did_you_mean("sokcet", ["socket", "socketpair"]).as_deref(),
            Some("did you mean `socket`?")
        );
        assert_eq!(did_you_mean("open_files", ["open-files"]).as_deref(), Some("did you mean `open-files`?"));
        assert_eq!(did_you_mean("zebra", ["socket"]), None);
    }
}
