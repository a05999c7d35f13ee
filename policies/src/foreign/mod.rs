//! Other tools' policies for calls: the OCI (Docker, Podman) seccomp profile, and seccompiler's JSON; in and out.
//!
//! Both know less than ours (one default, no order) or something else (capabilities, architectures, tracers). What has
//! no like on the other side is named in a note, with its place, and never dropped without a word.
//!
//! [`oci`] and [`seccompiler`] read and write; [`regions`] takes the order out of our rules, which neither has.

mod from_oci;
mod from_seccompiler;
mod node;
mod regions;
mod to_oci;
mod to_seccompiler;

use std::path::Path;

use crate::calls;
use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source, Sources};
use crate::load::{self, Loaded};
use crate::model::{Action, CallName, Condition, Located, Operator, Origin, Rule, Syscalls, Width};
use crate::read::tree::{self, Node};
use crate::read::{limits, Context, Format};

pub use to_oci::write as to_oci;
pub use to_seccompiler::write as to_seccompiler;

/// A format that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The OCI runtime specification's `linux.seccomp`, and the profiles of Docker and Podman.
    Oci,
    /// The JSON of the crate `seccompiler`.
    Seccompiler,
}

/// What a foreign file leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Capabilities that the program will have (`CAP_CHOWN`), for entries that depend on them. None: those entries are
    /// read for a program without any.
    pub capabilities: Vec<String>,
    /// Which filter of a file with several.
    pub filter: Option<String>,
}

/// A text in another format, and what was left behind on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// A line each.
    pub notes: Vec<String>,
}

/// Which foreign format a text is in, by the keys at its top.
#[must_use]
pub fn detect(text: &str) -> Option<Kind> {
    if !text.trim_start().starts_with('{') || text.len() > limits::FILE {
        return None;
    }
    let root = tree::parse(&Source::new("", text.to_owned()), Format::Json).ok()?;
    kind_of(&root)
}

fn kind_of(root: &Node) -> Option<Kind> {
    if node::get(root, "defaultAction").is_some() {
        return Some(Kind::Oci);
    }
    let filters = node::entries(root)?;
    let is_filter = |n: &Node| {
        node::get(n, "filter").is_some()
            && ["mismatch_action", "default_action"].iter().any(|key| node::get(n, key).is_some())
    };
    (!filters.is_empty() && filters.iter().all(|entry| is_filter(&entry.node))).then_some(Kind::Seccompiler)
}

/// Reads a foreign text. `name` stands for it in messages.
pub fn read(name: &str, text: &str, options: &Options) -> Result<Loaded, Diagnostics> {
    let source = Source::new(name, text.to_owned());
    if text.len() > limits::FILE {
        let what = format!("the file is larger than {} KiB", limits::FILE >> 10);
        return Err(Diagnostic::error(Place::file(name), what).into());
    }
    let root = tree::parse(&source, Format::Json).map_err(Diagnostics)?;
    let mut reading = Reading { source: &source, notes: Vec::new(), rules: 0 };
    let policy = match kind_of(&root) {
        Some(Kind::Oci) => from_oci::read(&mut reading, &root, options),
        Some(Kind::Seccompiler) => from_seccompiler::read(&mut reading, &root, options),
        None => {
            let what = "neither an OCI seccomp profile (`defaultAction`) nor a filter of seccompiler's";
            return Err(Diagnostic::error(Place::file(name), what).into());
        }
    };
    let mut policy = policy?;
    policy.sources = vec![source.name.clone()];
    let warnings = reading.notes;
    let mut sources = Sources::default();
    sources.add(source);
    Ok(Loaded::alone(policy, warnings, sources))
}

/// Loads a policy in whatever format: a shipped profile by its name, a file of ours, or a foreign one.
pub fn load_any(name: &std::ffi::OsStr, context: &Context, options: &Options) -> Result<Loaded, Diagnostics> {
    let shown = name.to_string_lossy();
    let path = context.directory.join(Path::new(name));
    if load::is_path(&shown) {
        // What cannot be read, or is too large, is the other reader's to report.
        let text = load::contents(&path, false).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(text) = text {
            if detect(&text).is_some() {
                return read(&shown, &text, options);
            }
            // A pipe has given its text away.
            if !path.is_file() {
                return load::load_text(&shown, &text, Format::of(&shown, &text), context);
            }
        }
    }
    load::load(name, context)
}

/// What the readers share.
struct Reading<'s> {
    source: &'s Source,
    notes: Vec<Diagnostic>,
    /// How many were made.
    rules: usize,
}

type Result<T, E = Diagnostics> = std::result::Result<T, E>;

impl Reading<'_> {
    fn error<T>(&self, at: &Node, what: impl Into<String>) -> Result<T> {
        Err(Diagnostic::error(self.source.place(&at.span), what).into())
    }
    fn note(&mut self, at: &Node, what: impl Into<String>) {
        self.notes.push(Diagnostic::warning(self.source.place(&at.span), what));
    }
    fn origin(&self, at: &Node) -> Origin {
        self.source.origin(at.span.start)
    }

    /// A rule for these calls.
    fn rule(&mut self, names: &[String], when: Vec<Condition>, action: Action, at: &Node) -> Result<Rule> {
        self.rules += 1;
        if self.rules > limits::RULES {
            return self.error(at, format!("more than {} rules", limits::RULES));
        }
        let origin = self.origin(at);
        let located = |name: &String| {
            let calls = calls::number(name).into_iter().collect();
            Located::new(CallName { text: name.clone(), calls }, origin.clone())
        };
        Ok(Rule {
            names: names.iter().map(located).collect(),
            when: when.into_iter().map(|condition| Located::new(condition, origin.clone())).collect(),
            action,
            errno: match action {
                Action::Errno(n) => Some(Located::new(n, origin.clone())),
                _ => None,
            },
            origin: origin.clone(),
        })
    }
}

/// The whole section; each action has its own errno already.
fn section(default: Option<Located<Action>>, rules: Vec<Rule>) -> Syscalls {
    let default_errno = default.as_ref().and_then(|default| match default.value {
        Action::Errno(n) => Some(Located::new(n, default.origin.clone())),
        _ => None,
    });
    Syscalls { default, default_errno, rules, ..Syscalls::default() }
}

/// A condition, with the text that stands for it in a file of ours.
fn condition(arg: u8, width: Option<Width>, mask: Option<u64>, operator: Operator, value: u64) -> Condition {
    let suffix = match width {
        None => "",
        Some(Width::Bits32) => ".32",
        Some(Width::Bits64) => ".64",
    };
    let number = |n: u64| if n < 4096 { n.to_string() } else { format!("{n:#x}") };
    let mask_text = mask.map(|m| format!(" & {m:#x}")).unwrap_or_default();
    let text = format!("arg{arg}{suffix}{mask_text} {} {}", operator.symbol(), number(value));
    Condition { arg, explicit_width: width, mask, operator, value, text }
}
