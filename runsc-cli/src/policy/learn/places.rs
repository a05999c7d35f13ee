//! Directories that a program used, brought down to few: what must be writable, and what it never looked at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use sentry::learnt::PlaceUse;

/// Directories of the sandbox's own: no policy is about them.
const VIRTUAL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Made for files that come and go, under names that are others the next time.
const PASSING: [&str; 2] = ["/tmp", "/var/tmp"];
/// What any program may need: never hidden.
const SYSTEM: [&str; 12] =
    ["/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/tmp", "/usr"];
/// In these each entry is somebody's own.
const SHARED: [&str; 5] = ["/home", "/media", "/mnt", "/opt", "/srv"];
/// More directories to write in than this, side by side, are one: the one that they are in.
const SIDE_BY_SIDE: usize = 4;
/// The most paths that are hidden.
const MAX_HIDDEN: usize = 64;

/// What was used, by directory.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Directories of the host to write in, none within another, and who did.
    pub(crate) written: BTreeMap<PathBuf, Vec<String>>,
    /// All directories used.
    pub(crate) used: Vec<PathBuf>,
}

impl Places {
    pub(crate) fn new(uses: &[PlaceUse], command: &[OsString]) -> Places {
        let mut used: Vec<PathBuf> = Vec::new();
        let mut written: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for place in uses {
            let path = PathBuf::from(OsString::from_vec(place.path.clone()));
            if !path.is_absolute() || VIRTUAL.iter().any(|own| path.starts_with(own)) {
                continue;
            }
            if place.written {
                note(&mut written, on_host(&path), &place.by);
            }
            used.push(path);
        }
        // The first program is looked up before anything is learnt.
        used.extend(std::env::current_dir());
        used.extend(command.first().and_then(|program| std::path::absolute(program).ok()));
        Places { written: few(written), used }
    }

    /// Whether anything in a directory, or in what it is in, was used.
    pub(crate) fn uses(&self, path: &Path) -> bool {
        self.used.iter().any(|used| used.starts_with(path))
    }

    /// Directories of this machine that no use was made of, as wide as can be said.
    pub(crate) fn unused(&self) -> Vec<PathBuf> {
        let mut unused = Vec::new();
        for path in entries(Path::new("/")) {
            if SYSTEM.iter().any(|system| path == Path::new(system)) || path.is_symlink() {
                continue;
            }
            if !self.uses(&path) {
                unused.push(path);
            } else if SHARED.iter().any(|shared| path == Path::new(shared)) {
                unused.extend(entries(&path).into_iter().filter(|path| !self.uses(path)));
            }
        }
        unused.truncate(MAX_HIDDEN);
        unused
    }
}

fn note(written: &mut BTreeMap<PathBuf, Vec<String>>, path: PathBuf, by: &[String]) {
    let known = written.entry(path).or_default();
    known.extend(by.iter().filter(|name| !known.contains(name)).cloned().collect::<Vec<_>>());
}

/// The directory of the host that stands for one inside: what the run itself made is not there.
fn on_host(path: &Path) -> PathBuf {
    if let Some(passing) = PASSING.iter().find(|passing| path.starts_with(passing)) {
        return PathBuf::from(passing);
    }
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// None within another, and not many side by side.
fn few(mut written: BTreeMap<PathBuf, Vec<String>>) -> BTreeMap<PathBuf, Vec<String>> {
    loop {
        // A directory comes before what is in it.
        let mut tops: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for (path, by) in written {
            let top = tops.keys().find(|top| path.starts_with(top)).cloned().unwrap_or(path);
            note(&mut tops, top, &by);
        }
        let mut beside: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for parent in tops.keys().filter_map(|path| path.parent()) {
            *beside.entry(parent.to_owned()).or_default() += 1;
        }
        let crowded = beside
            .into_iter()
            .find(|(path, count)| *count > SIDE_BY_SIDE && path.components().count() > 2)
            .map(|(path, _)| path);
        let Some(crowded) = crowded else { return tops };
        let by: Vec<String> = tops
            .iter()
            .filter(|(path, _)| path.starts_with(&crowded))
            .flat_map(|(_, by)| by.clone())
            .collect();
        note(&mut tops, crowded, &by);
        written = tops;
    }
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        path.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.retain(|path| path.is_dir());
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::few;
    use std::path::PathBuf;

    #[test]
    fn few_directories() {
        let paths = ["/a/b", "/a/b/c", "/x/y/1", "/x/y/2", "/x/y/3", "/x/y/4", "/x/y/5", "/z"];
        let all = paths.iter().map(|path| (PathBuf::from(path), vec!["p".to_owned()])).collect();
        let kept: Vec<_> = few(all).into_keys().collect();
        assert_eq!(kept, ["/a/b", "/x/y", "/z"].map(PathBuf::from));
    }
}
