//! Host paths that the user named, and those that are hidden unasked.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::failure::Failure;

/// A host path and where it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Canonical.
    pub(crate) source: PathBuf,
    /// Absolute and normal.
    pub(crate) dest: PathBuf,
}

/// Reads `SRC[:DEST]`. A colon belongs to SRC unless an absolute path follows.
pub(crate) fn shown(option: &str, spec: &OsStr) -> Result<Shown, Failure> {
    let bytes = spec.as_bytes();
    let (source, dest) = match bytes.windows(2).position(|pair| pair == b":/") {
        Some(colon) => {
            let (source, dest) = bytes.split_at(colon);
            (source, Some(dest.get(1..).unwrap_or_default()))
        }
        None => (bytes, None),
    };
    let source = Path::new(OsStr::from_bytes(source));
    let canonical = source.canonicalize().map_err(|error| {
        Failure::new(format!("{option}: cannot show `{}`: {error}", source.display()))
            .hint(format!("the form is {option} SRC[:DEST]; SRC must exist, DEST is absolute"))
    })?;
    let dest = match dest {
        Some(dest) => normal(Path::new(OsStr::from_bytes(dest)))
            .ok_or_else(|| Failure::new(format!("{option}: DEST must not contain `..`")))?,
        None => canonical.clone(),
    };
    Ok(Shown { source: canonical, dest })
}

/// An absolute path without `.`; `None` where it has `..` or is not absolute.
pub(crate) fn normal(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::Normal(_) => clean.push(component),
            Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    clean.is_absolute().then_some(clean)
}

/// Sockets that lead out of the sandbox, or to who could be asked to do so.
const SYSTEM_SOCKETS: [&str; 8] = [
    "/run/dbus/system_bus_socket",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/systemd/private",
    "/tmp/.X11-unix",
    "/tmp/.ICE-unix",
];
const USER_SOCKETS: [&str; 9] =
    ["bus", "systemd", "gnupg", "keyring", "pulse", "pipewire-0", "wayland-0", "docker.sock", "podman"];

/// The paths that are hidden whatever the policy says, unless they are shown by name: those of the lists that exist.
pub(crate) fn hidden_unasked(uid: u32, agent: Option<&OsStr>) -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> = SYSTEM_SOCKETS.iter().map(PathBuf::from).collect();
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    if runtime.is_dir() {
        candidates.extend(USER_SOCKETS.iter().map(|name| runtime.join(name)));
    }
    candidates.extend(agent.map(PathBuf::from));
    candidates.retain(|path| path.symlink_metadata().is_ok());
    candidates
}

/// A path inside to hide, and the file that it leads to where that lies elsewhere. `root` is the directory of the host
/// that is `/` inside.
pub(crate) fn with_target(root: &Path, path: &Path, hidden: &mut Vec<PathBuf>) {
    let Some(path) = normal(path) else { return };
    let on_host = root.join(path.strip_prefix("/").unwrap_or(&path));
    let inside = |target: PathBuf| Some(Path::new("/").join(target.strip_prefix(root).ok()?));
    let target = on_host.canonicalize().ok().and_then(inside).filter(|target| {
        // A link to /dev/null says that there is nothing to see; the device is not a secret.
        *target != path && !["/dev", "/proc", "/sys"].iter().any(|own| target.starts_with(own))
    });
    for path in [Some(path), target].into_iter().flatten() {
        if path != Path::new("/") && !hidden.contains(&path) {
            hidden.push(path);
        }
    }
}

/// The bytes of a path.
pub(crate) fn bytes(path: PathBuf) -> Vec<u8> {
    OsString::from(path).into_vec()
}

#[cfg(test)]
mod tests {
    use super::{normal, shown};
    use std::ffi::OsStr;
    use std::path::{Path, PathBuf};

    #[test]
    fn destinations() {
        let spec = shown("--ro", OsStr::new("/usr:/opt/./usr/")).expect("exists");
        assert_eq!((spec.source, spec.dest), (PathBuf::from("/usr"), PathBuf::from("/opt/usr")));
        let spec = shown("--ro", OsStr::new("/usr")).expect("exists");
        assert_eq!(spec.source, spec.dest);
        assert!(shown("--ro", OsStr::new("/usr:/a/../b")).is_err());
        let failure = shown("--ro", OsStr::new("/no/such:/x")).expect_err("missing");
        assert!(failure.what.contains("--ro: cannot show `/no/such`"), "{}", failure.what);
    }

    #[test]
    fn normal_paths() {
        assert_eq!(normal(Path::new("/a//b/./c/")), Some(PathBuf::from("/a/b/c")));
        assert_eq!(normal(Path::new("a")), None);
        assert_eq!(normal(Path::new("/a/..")), None);
    }
}
