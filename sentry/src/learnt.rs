//! What a program used, for `runsc policy learn`: calls, directories, socket families, and how much of what a policy can
//! limit. Collected while it runs, told as one document at its end. All of it is bounded: the program is not trusted.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::byte_string;

/// How many directories are remembered, and how many programs for each thing used.
const MAX_PLACES: usize = 20_000;
const MAX_PROGRAMS: usize = 6;

/// What was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    pub calls: Vec<CallUse>,
    pub families: Vec<FamilyUse>,
    pub places: Vec<PlaceUse>,
    /// There were more directories than are remembered.
    pub places_cut: bool,
    pub peaks: Peaks,
}

/// A call, and who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallUse {
    pub name: String,
    pub by: Vec<String>,
}

/// An address family of socket(2) or socketpair(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyUse {
    /// `socket` or `socketpair`.
    pub call: String,
    pub family: u32,
    pub by: Vec<String>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceUse {
    #[serde(with = "byte_string")]
    pub path: Vec<u8>,
    pub written: bool,
    pub by: Vec<String>,
}

/// The most there was at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    pub tasks: u64,
    pub open_files: u64,
    /// Bytes; 0 where nobody counted.
    pub memory: u64,
    /// Nanoseconds of processor time of all processes, and of the clock.
    pub cpu_time: u64,
    pub time: u64,
}

type Programs = BTreeSet<Vec<u8>>;

#[derive(Default)]
struct State {
    /// By number; their names are asked for at the end.
    calls: BTreeMap<u64, Programs>,
    families: BTreeMap<(u64, u32), Programs>,
    places: BTreeMap<Vec<u8>, (bool, Programs)>,
    places_cut: bool,
    tasks: u64,
    open_files: u64,
}

/// Collects.
#[derive(Default)]
pub struct Learner(Mutex<State>);

fn add(programs: &mut Programs, by: &[u8]) {
    if programs.len() < MAX_PROGRAMS && !programs.contains(by) {
        programs.insert(by.to_vec());
    }
}

impl Learner {
    /// A call was made. Numbers above `most` are one.
    pub fn call(&self, nr: u64, most: u64, by: &[u8]) {
        add(self.0.lock().calls.entry(nr.min(most)).or_default(), by);
    }

    /// socket(2) or socketpair(2) was called for this family.
    pub fn family(&self, nr: u64, family: u32, by: &[u8]) {
        let mut state = self.0.lock();
        // As many as there are, and some that there are not.
        if state.families.len() < 128 {
            add(state.families.entry((nr, family)).or_default(), by);
        }
    }

    /// A directory was used.
    pub fn place(&self, path: Vec<u8>, written: bool, by: &[u8]) {
        let mut state = self.0.lock();
        if state.places.len() >= MAX_PLACES && !state.places.contains_key(&path) {
            state.places_cut = true;
            return;
        }
        let (was_written, programs) = state.places.entry(path).or_default();
        // Who wrote is of more interest than who read.
        if written && !*was_written {
            *was_written = true;
            programs.clear();
        }
        if written || !*was_written {
            add(programs, by);
        }
    }

    /// There are so many tasks and open files now.
    pub fn sizes(&self, tasks: u64, open_files: u64) {
        let mut state = self.0.lock();
        state.tasks = state.tasks.max(tasks);
        state.open_files = state.open_files.max(open_files);
    }

    /// All of it.
    #[must_use]
    pub fn learnt(&self, name: impl Fn(u64) -> String, peaks: Peaks) -> Learnt {
        let state = self.0.lock();
        let text = |programs: &Programs| {
            programs.iter().map(|program| String::from_utf8_lossy(program).into_owned()).collect()
        };
        Learnt {
            calls: state
                .calls
                .iter()
                .map(|(nr, programs)| CallUse { name: name(*nr), by: text(programs) })
                .collect(),
            families: state
                .families
                .iter()
                .map(|((nr, family), programs)| FamilyUse {
                    call: name(*nr),
                    family: *family,
                    by: text(programs),
                })
                .collect(),
            places: state
                .places
                .iter()
                .map(|(path, (written, programs))| PlaceUse {
                    path: path.clone(),
                    written: *written,
                    by: text(programs),
                })
                .collect(),
            places_cut: state.places_cut,
            peaks: Peaks { tasks: state.tasks, open_files: state.open_files, ..peaks },
        }
    }
}
