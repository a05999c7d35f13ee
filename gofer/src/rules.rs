//! Hidden and masked places of one tree, as a trie over names. Each node of the tree carries its position in the
//! trie, so that a look-up costs one map access on ruled directories and nothing elsewhere.

use std::collections::HashMap;
use std::path::{Component, Path};

/// What a place in the tree is to the sentry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It does not exist.
    Hide,
    /// An empty directory.
    Mask,
}

/// A position in the trie.
pub type Place = usize;

/// The trie of a tree; place 0 is the tree's root.
#[derive(Debug)]
pub struct Rules {
    places: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    rule: Option<Rule>,
    below: HashMap<Box<[u8]>, Place>,
}

impl Rules {
    pub const ROOT: Place = 0;

    pub fn new() -> Rules {
        Rules { places: vec![Entry::default()] }
    }

    /// Adds a rule for `path`, relative to the tree's root. Hiding wins over masking.
    pub fn add(&mut self, path: &Path, rule: Rule) {
        use std::os::unix::ffi::OsStrExt;
        let mut at = Rules::ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let next = self.places.len();
            at = *self.places[at].below.entry(name.as_bytes().into()).or_insert(next);
            if at == next {
                self.places.push(Entry::default());
            }
        }
        let entry = &mut self.places[at];
        if entry.rule != Some(Rule::Hide) {
            entry.rule = Some(rule);
        }
    }

    /// The place of `name` below `at`.
    pub fn below(&self, at: Option<Place>, name: &[u8]) -> Option<Place> {
        self.places.get(at?)?.below.get(name).copied()
    }

    pub fn rule(&self, at: Option<Place>) -> Option<Rule> {
        self.places.get(at?)?.rule
    }
}
