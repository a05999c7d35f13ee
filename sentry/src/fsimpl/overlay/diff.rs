//! `--diff`: what the run changed, as a list in the manner of `git status`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use linux_abi::Errno;

use super::changes::{differs, Finding};
use super::{key_of, Key, OverlayFs};
use crate::vfs::inode::Attrs;
use crate::vfs::{FileKind, Inode};

/// How many changes are listed; more are counted.
const MAX_LISTED: usize = 10_000;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    New,
    /// Bytes, mode, owner or extended attributes. A new time alone is no change.
    Modified,
    Deleted,
    /// From this path.
    Renamed(Vec<u8>),
    /// Another type of file, or another directory, stands there.
    Replaced,
}

/// The changes of one or more overlays, by path.
#[derive(Default)]
pub struct Changes {
    by_path: BTreeMap<Vec<u8>, (Kind, bool)>,
    too_deep: u64,
}

impl Changes {
    /// Adds those of an overlay that is mounted at `at`.
    pub fn add(&mut self, at: &[u8], fs: &OverlayFs) -> Result<(), Errno> {
        let full = |path: &[u8]| match (at, path) {
            (at, b"") => at.to_vec(),
            (b"/", path) => [b"/", path].concat(),
            (at, path) => [at, b"/", path].concat(),
        };
        // For what was moved: where lower files were that are gone, and where files are that came from below.
        let mut gone: HashMap<Key, Vec<u8>> = HashMap::new();
        let mut come: Vec<(Key, Vec<u8>)> = Vec::new();
        self.too_deep += fs.changes::<Errno>(&mut |path, finding| {
            match finding {
                Finding::Gone { lower } => {
                    let attrs = lower.and_then(|l| l.attrs().ok());
                    let path = full(path);
                    gone.extend(attrs.as_ref().map(|a| (key_of(a), path.clone())));
                    self.put(path, Kind::Deleted, attrs.as_ref());
                }
                Finding::Kept(inode) | Finding::New { inode, carried: true, .. } => {
                    let differs = inode.differs_from_lower()?;
                    if differs.attributes || differs.bytes {
                        self.put(full(path), Kind::Modified, Some(&inode.attrs()?));
                    }
                }
                Finding::New { inode, over, carried: false } => {
                    let attrs = inode.attrs()?;
                    let below = match &over {
                        Some(over) => Some((over, over.attrs()?)),
                        None => None,
                    };
                    let kind = match below {
                        Some((over, b)) if b.kind == attrs.kind && attrs.kind != FileKind::Dir => {
                            let differs = differs(inode, over, true)?;
                            if !differs.attributes && !differs.bytes {
                                return Ok(());
                            }
                            Kind::Modified
                        }
                        Some(_) => Kind::Replaced,
                        None => {
                            come.extend(inode.lower_key().map(|key| (key, full(path))));
                            Kind::New
                        }
                    };
                    self.put(full(path), kind, Some(&attrs));
                }
            }
            Ok(())
        })?;
        for (key, path) in come {
            let Some(from) = gone.remove(&key) else { continue };
            self.by_path.remove(&from);
            if let Some((kind, _)) = self.by_path.get_mut(&path) {
                *kind = Kind::Renamed(from);
            }
        }
        Ok(())
    }

    fn put(&mut self, path: Vec<u8>, kind: Kind, attrs: Option<&Attrs>) {
        self.by_path.insert(path, (kind, attrs.is_some_and(|a| a.kind == FileKind::Dir)));
    }

    /// The lines for a person, in the order of paths.
    pub fn text(&self) -> Vec<String> {
        if self.by_path.is_empty() && self.too_deep == 0 {
            return vec!["no file was changed".to_owned()];
        }
        let mut lines = vec!["changed files:".to_owned()];
        for (path, (kind, dir)) in self.by_path.iter().take(MAX_LISTED) {
            let slash = if *dir { "/" } else { "" };
            let from = match kind {
                Kind::Renamed(from) => format!("{} -> ", quoted(from, slash)),
                _ => String::new(),
            };
            lines.push(format!("  {:<12}{from}{}", format!("{}:", word(kind)), quoted(path, slash)));
        }
        lines.extend(self.rest());
        lines
    }

    /// The same for programs, one object each.
    pub fn json(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, (kind, dir)) in self.by_path.iter().take(MAX_LISTED) {
            let mut line = serde_json::json!({
                "level": "INFO",
                "message": format!("{}: {}", word(kind), quoted(path, "")),
                "event": "changed",
                "change": word(kind),
                "path": quoted(path, ""),
                "directory": dir,
            });
            if let (Kind::Renamed(from), Some(line)) = (kind, line.as_object_mut()) {
                line.insert("from".to_owned(), quoted(from, "").into());
            }
            lines.push(line.to_string());
        }
        lines.extend(
            self.rest().map(|rest| serde_json::json!({ "level": "INFO", "message": rest }).to_string()),
        );
        lines
    }

    fn rest(&self) -> Option<String> {
        let more = self.by_path.len().saturating_sub(MAX_LISTED) as u64 + self.too_deep;
        (more > 0).then(|| format!("  and {more} more"))
    }
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::New => "new file",
        Kind::Modified => "modified",
        Kind::Deleted => "deleted",
        Kind::Renamed(_) => "renamed",
        Kind::Replaced => "typechange",
    }
}

/// A guest's name as `git status` shows it: as it is where it holds nothing but letters, digits and ASCII's signs, else
/// in quotes with escapes, so that it can neither talk to a terminal nor pass for another one.
fn quoted(path: &[u8], slash: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || (' '..='~').contains(&c) && c != '"' && c != '\\';
    if let Ok(text) = std::str::from_utf8(path) {
        let ends = text.starts_with(' ') || text.ends_with(' ');
        if text.chars().all(plain) && !text.contains(" -> ") && !ends {
            return format!("{text}{slash}");
        }
    }
    let mut out = String::from("\"");
    for &byte in path {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push_str(slash);
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_do_not_talk() {
        assert_eq!(quoted("/tmp/größe".as_bytes(), "/"), "/tmp/größe/");
        assert_eq!(quoted(b"/a\x1b[2Jb", ""), "\"/a\\033[2Jb\"");
        assert_eq!(quoted(b"/a\nrunsc: x", ""), "\"/a\\nrunsc: x\"");
        assert_eq!(quoted(b"/q\"\\\xff", ""), "\"/q\\\"\\\\\\377\"");
        assert_eq!(quoted("/a\u{202e}b".as_bytes(), ""), "\"/a\\342\\200\\256b\"");
        assert_eq!(quoted(b"/a -> /b", ""), "\"/a -> /b\"");
    }
}
