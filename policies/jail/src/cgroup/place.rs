//! Where a new control group can lie: read from `/proc/self/cgroup` and `/proc/self/mountinfo`.

use std::fs;
use std::path::{Path, PathBuf};

/// The version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// Where a group with a limit on memory may be made.
#[derive(Clone, Debug)]
pub struct Place {
    pub version: Version,
    /// Directories below which to try, the nearest to our own group first.
    pub parents: Vec<PathBuf>,
}

/// Finds it; the error says what is missing.
pub fn place(version: Version) -> Result<Place, String> {
    match version {
        Version::One => Ok(Place { version, parents: vec![first_version("memory")?] }),
        Version::Two => second_version().map(|parents| Place { version, parents }),
    }
}

/// Our own directory in the hierarchy of a controller of the first version.
pub(super) fn first_version(controller: &str) -> Result<PathBuf, String> {
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(|e| format!("/proc/self/cgroup: {e}"))?;
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (list, path) = rest.split_once(':')?;
        has(list).then_some(path)
    });
    let own = own.ok_or_else(|| format!("cgroup v1: no hierarchy has the {controller} controller"))?;
    mounted("cgroup", has)
        .and_then(|(root, at)| below(&at, &root, own))
        .ok_or_else(|| format!("cgroup v1: the hierarchy of the {controller} controller is not mounted here"))
}

fn second_version() -> Result<Vec<PathBuf>, String> {
    const NAME: &str = "cgroup v2";
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(|e| format!("/proc/self/cgroup: {e}"))?;
    let own =
        groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or(format!("{NAME}: not in use"))?;
    let (root, top) = mounted("cgroup2", |_| true).ok_or(format!("{NAME}: not mounted here"))?;
    let own =
        below(&top, &root, own).ok_or(format!("{NAME}: our own group does not show where it is mounted"))?;
    if !controllers(&top, "cgroup.controllers") {
        return Err(format!("{NAME}: {} has no memory controller", top.display()));
    }
    let parents: Vec<_> = own
        .ancestors()
        .take_while(|dir| dir.starts_with(&top))
        .filter(|dir| controllers(dir, "cgroup.subtree_control"))
        .map(Path::to_path_buf)
        .collect();
    if parents.is_empty() {
        return Err(format!(
            "{NAME}: no group from {} up passes the memory controller on (cgroup.subtree_control)",
            own.display()
        ));
    }
    Ok(parents)
}

fn controllers(dir: &Path, file: &str) -> bool {
    fs::read_to_string(dir.join(file))
        .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == "memory"))
}

/// Root and place of the first mount of a kind whose own options fit (proc(5), `/proc/PID/mountinfo`).
fn mounted(kind: &str, fits: impl Fn(&str) -> bool) -> Option<(String, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    text.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (fs, _, options) = (right.next()?, right.next()?, right.next()?);
        let mut left = left.split(' ').skip(3);
        let (root, at) = (left.next()?, left.next()?);
        (fs == kind && fits(options)).then(|| (root.to_owned(), PathBuf::from(at)))
    })
}

/// A group's path as a directory of a mount that shows the hierarchy from `root` on.
fn below(at: &Path, root: &str, path: &str) -> Option<PathBuf> {
    // A group outside of our namespace reads as `/../…` (cgroup_namespaces(7)).
    let rest = Path::new(path).strip_prefix(root).ok()?;
    let plain = rest.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| at.join(rest))
}

#[cfg(test)]
mod tests {
    use super::below;
    use std::path::Path;

    #[test]
    fn paths_of_groups_become_directories() {
        let at = Path::new("/sys/fs/cgroup");
        assert_eq!(below(at, "/", "/a/b").as_deref(), Some(Path::new("/sys/fs/cgroup/a/b")));
        assert_eq!(below(at, "/a", "/a/b").as_deref(), Some(Path::new("/sys/fs/cgroup/b")));
        assert_eq!(below(at, "/", "/").as_deref(), Some(at));
        assert_eq!(below(at, "/c", "/a/b"), None);
        assert_eq!(below(at, "/", "/../a"), None);
    }
}
