//! From a name to a policy: finds the file, reads it and what it extends, and joins them.
//!
//! A name with a `/`, or that ends in `.toml` or `.json`, is a path; else it is a shipped profile. A file counts once
//! however many ways lead to it, before the first file that extends it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{did_you_mean, Diagnostic, Diagnostics, Place, Source, Sources};
use crate::model::Policy;
use crate::read::limits;
use crate::read::{self, Context, Extends, Format, Layer};
use crate::{merge, profiles};

/// A policy, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub policy: Policy,
    /// The layers of each policy that the file extends directly.
    bases: Vec<Vec<Arc<Policy>>>,
    /// What is probably not meant so, but can be read.
    pub warnings: Vec<Diagnostic>,
    /// The texts of its files.
    pub sources: Sources,
}

impl Loaded {
    /// A policy that extends nothing.
    pub(crate) fn alone(policy: Policy, warnings: Vec<Diagnostic>, sources: Sources) -> Self {
        Self { policy, bases: Vec::new(), warnings, sources }
    }

    /// What each policy that the file extends directly comes to by itself, in the file's order.
    pub fn extends(&self) -> impl Iterator<Item = Policy> + '_ {
        self.bases.iter().map(|layers| joined(layers.clone()))
    }
}

/// Loads a policy file or a shipped profile.
pub fn load(name: &OsStr, context: &Context) -> Result<Loaded, Diagnostics> {
    let shown = name.to_string_lossy();
    let mut loader = Loader::new(context);
    let found = if is_path(&shown) {
        let path = context.directory.join(name);
        loader.file(Named { shown: shown.clone().into_owned(), path }, None)
    } else if let Some(profile) = profiles::find(&shown) {
        loader.shipped(profile, None)
    } else {
        let names = profiles::ALL.map(|profile| profile.name);
        let hint = did_you_mean(&shown, names).unwrap_or_else(|| {
            format!("shipped are {}; a file of your own is named with its path: ./{shown}", names.join(", "))
        });
        Err(Diagnostic::error(Place::file(&shown), "no shipped profile has this name").hint(hint).into())
    };
    loader.finish(found?)
}

/// Loads a policy from its text. `name` stands for it in messages; what it extends is looked for in the context's
/// directory.
pub fn load_text(name: &str, text: &str, format: Format, context: &Context) -> Result<Loaded, Diagnostics> {
    let mut loader = Loader::new(context);
    let source = Source::new(name, text.to_owned());
    let layer = read::layer(&source, format, context).map_err(Diagnostics)?;
    loader.take(source, &layer)?;
    let base = Base { shown: PathBuf::from(name), directory: Some(context.directory.clone()) };
    loader.chain.push((Key::Text, name.to_owned()));
    let root = loader.add(Key::Text, layer, &base)?;
    loader.finish(root)
}

/// Whether a name is one of a file rather than of a shipped profile.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml") || name.ends_with(".json")
}

/// What a file is known by, whatever name led to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Shipped(&'static str),
    File(PathBuf),
    Text,
}

/// A file as users name it, and where it is.
struct Named {
    shown: String,
    path: PathBuf,
}

/// What the relative names in a file start from.
struct Base {
    shown: PathBuf,
    /// None for a shipped profile, which has no place in the file system.
    directory: Option<PathBuf>,
}

struct Loader<'c> {
    context: &'c Context,
    files: Vec<(Arc<Policy>, Vec<usize>)>,
    known: HashMap<Key, usize>,
    /// From the first file to the one that is being read.
    chain: Vec<(Key, String)>,
    warnings: Vec<Diagnostic>,
    sources: Sources,
    /// What all files so far come to together: their bytes, their rules, the calls that those name.
    bytes: usize,
    rules: usize,
    calls: usize,
}

impl<'c> Loader<'c> {
    fn new(context: &'c Context) -> Self {
        Self {
            context,
            files: Vec::new(),
            known: HashMap::new(),
            chain: Vec::new(),
            warnings: Vec::new(),
            sources: Sources::default(),
            bytes: 0,
            rules: 0,
            calls: 0,
        }
    }

    /// A file; `from` is the entry that named it.
    fn file(&mut self, named: Named, from: Option<&Extends>) -> Result<usize, Diagnostics> {
        let Named { shown, path } = named;
        let place = || from.map_or_else(|| Place::file(&shown), |from| from.place.clone());
        let cannot = |what: String| Diagnostics::from(Diagnostic::error(place(), what));
        let real = path.canonicalize().map_err(|error| cannot(format!("cannot read `{shown}`: {error}")))?;
        let key = Key::File(real.clone());
        if let Some(known) = self.known(&key, &shown, from)? {
            return Ok(known);
        }
        let bytes = contents(&real, from.is_some())
            .map_err(|error| cannot(format!("cannot read `{shown}`: {error}")))?;
        let (text, bad) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
            }
        };
        let source = Source::new(&shown, text);
        if let Some(at) = bad {
            let error = Diagnostic::error(source.place(&(at..at + 1)), "not UTF-8 from here on");
            return Err(self.with_chain(vec![error]));
        }
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.chain.push((key.clone(), shown.clone()));
        let format = Format::of(&shown, &source.text);
        let layer = read::layer(&source, format, &self.context.below(&directory));
        let layer = layer.map_err(|errors| self.with_chain(errors))?;
        self.take(source, &layer)?;
        let index =
            self.add(key, layer, &Base { shown: PathBuf::from(&shown), directory: Some(directory) })?;
        self.chain.pop();
        Ok(index)
    }

    fn shipped(&mut self, profile: profiles::Profile, from: Option<&Extends>) -> Result<usize, Diagnostics> {
        let key = Key::Shipped(profile.name);
        if let Some(known) = self.known(&key, profile.name, from)? {
            return Ok(known);
        }
        self.chain.push((key.clone(), profile.name.to_owned()));
        let source = Source::new(profile.name, profile.text.to_owned());
        let layer = read::layer(&source, Format::Toml, self.context);
        let layer = layer.map_err(|errors| self.with_chain(errors))?;
        self.take(source, &layer)?;
        let index = self.add(key, layer, &Base { shown: PathBuf::from(profile.name), directory: None })?;
        self.chain.pop();
        Ok(index)
    }

    /// Whether a file is there already; it must not be one of those that led here.
    fn known(&self, key: &Key, shown: &str, from: Option<&Extends>) -> Result<Option<usize>, Diagnostics> {
        let Some(from) = from else { return Ok(None) };
        let error = |what: String| Err(Diagnostics::from(Diagnostic::error(from.place.clone(), what)));
        if let Some(start) = self.chain.iter().position(|(open, _)| open == key) {
            let mut links: Vec<_> = self.chain.iter().skip(start).map(|(_, name)| name.as_str()).collect();
            links.push(shown);
            return error(format!("`extends` goes in a circle: {}", links.join(" → ")));
        }
        if self.chain.len() >= limits::CHAIN {
            let links: Vec<_> = self.chain.iter().map(|(_, name)| name.as_str()).collect();
            return error(format!("more than {} files in a row: {} → …", limits::CHAIN, links.join(" → ")));
        }
        if !self.known.contains_key(key) && self.known.len() >= limits::FILES {
            return error(format!("more than {} files", limits::FILES));
        }
        Ok(self.known.get(key).copied())
    }

    /// Counts a file that has been read, and keeps its text.
    fn take(&mut self, source: Source, layer: &Layer) -> Result<(), Diagnostics> {
        let rules = &layer.policy.syscalls.rules;
        self.bytes = self.bytes.saturating_add(source.text.len());
        self.rules = self.rules.saturating_add(rules.len());
        self.calls = self.calls.saturating_add(rules.iter().map(|rule| rule.calls().count()).sum());
        let over = [
            (self.bytes, limits::ALL_FILES, "bytes"),
            (self.rules, limits::RULES, "rules"),
            (self.calls, limits::CALLS, "calls named by rules"),
        ];
        let over = over.into_iter().find(|(count, most, _)| count > most);
        if let Some((_, most, what)) = over {
            let what = format!("with this file there are more than {most} {what} in all files together");
            return Err(self.with_chain(vec![Diagnostic::error(source.place(&(0..0)), what)]));
        }
        self.sources.add(source);
        Ok(())
    }

    /// Takes a layer in, after what it extends.
    fn add(&mut self, key: Key, layer: Layer, base: &Base) -> Result<usize, Diagnostics> {
        let mut edges = Vec::new();
        for extends in &layer.extends {
            let edge = self.extended(extends, base)?;
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
        self.warnings.extend(layer.warnings);
        let index = self.files.len();
        self.files.push((Arc::new(layer.policy), edges));
        self.known.insert(key, index);
        Ok(index)
    }

    fn extended(&mut self, extends: &Extends, base: &Base) -> Result<usize, Diagnostics> {
        let name = extends.name.value.as_str();
        let error = |what: String, hint: Option<String>| {
            let mut error = Diagnostic::error(extends.place.clone(), what);
            error.hint = hint;
            Err(error.into())
        };
        if let Some(profile) = profiles::find(name) {
            return self.shipped(profile, Some(extends));
        }
        if !is_path(name) {
            let names = profiles::ALL.map(|profile| profile.name);
            let hint = did_you_mean(name, names).unwrap_or_else(|| {
                format!("shipped are {}; write a file as `./{name}.toml`", names.join(", "))
            });
            return error(format!("no shipped profile is named `{name}`"), Some(hint));
        }
        let Some(directory) = &base.directory else {
            return error("a shipped profile extends shipped profiles only".to_owned(), None);
        };
        if Path::new(name).is_absolute() {
            let hint = "write the path from this file's directory, so that both can be moved".to_owned();
            return error(format!("`{name}` is not a relative path"), Some(hint));
        }
        let shown = base.shown.parent().unwrap_or(Path::new("")).join(name.trim_start_matches("./"));
        let named = Named { shown: shown.to_string_lossy().into_owned(), path: directory.join(name) };
        self.file(named, Some(extends))
    }

    /// Says, for mistakes in a file that another extends, how it was reached.
    fn with_chain(&self, mut errors: Vec<Diagnostic>) -> Diagnostics {
        let links: Vec<_> = self.chain.iter().map(|(_, name)| name.as_str()).collect();
        if let (true, Some(last)) = (links.len() > 1, errors.last_mut()) {
            last.chain.push(format!("extended through {}", links.join(" → ")));
        }
        Diagnostics(errors)
    }

    fn finish(self, root: usize) -> Result<Loaded, Diagnostics> {
        let edges = self.files.get(root).map(|(_, edges)| edges.as_slice()).unwrap_or_default();
        let bases = edges.iter().map(|edge| self.layers(*edge)).collect();
        let layers = self.layers(root);
        // What nobody else holds need not be copied.
        drop(self.files);
        let policy = joined(layers);
        Ok(Loaded { policy, bases, warnings: self.warnings, sources: self.sources })
    }

    /// A file and all that it extends, the earliest first.
    fn layers(&self, root: usize) -> Vec<Arc<Policy>> {
        let mut order = Vec::new();
        self.in_order(root, &mut order);
        order
            .into_iter()
            .filter_map(|index| self.files.get(index))
            .map(|(policy, _)| Arc::clone(policy))
            .collect()
    }

    /// What a file extends comes before it. As deep as the longest chain, which is bounded.
    fn in_order(&self, index: usize, order: &mut Vec<usize>) {
        if order.contains(&index) {
            return;
        }
        let edges = self.files.get(index).map(|(_, edges)| edges.as_slice()).unwrap_or_default();
        for edge in edges {
            self.in_order(*edge, order);
        }
        order.push(index);
    }
}

fn joined(layers: Vec<Arc<Policy>>) -> Policy {
    let layers = layers.into_iter().map(Arc::unwrap_or_clone);
    let mut policy = layers.reduce(merge::over).unwrap_or_default();
    policy.syscalls.settle();
    policy
}

/// A file's bytes, one more than allowed at most. What a policy extends must be a plain file: opening a FIFO would wait.
pub(crate) fn contents(path: &Path, plain: bool) -> std::io::Result<Vec<u8>> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::Error::other("it is a directory"));
    }
    if plain && !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
