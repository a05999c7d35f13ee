//! Which files the guest sees: the gofer's trees, the mounts made of them, and what is hidden. The command line wins
//! over the policy.

use std::path::{Path, PathBuf};

use gofer::{GoferConfig, TreeConfig};
use policies::model::{self, Policy};
use sentry::config::{Mount, MountMode};

use crate::cli::{DoOptions, Overlay};
use crate::failure::{Failure, While};
use crate::paths::{self, Shown};

/// The files of a sandbox.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) gofer: GoferConfig,
    pub(crate) mounts: Vec<Mount>,
    /// Absolute paths inside.
    pub(crate) hide: Vec<PathBuf>,
    /// The directory of the host that is `/` inside.
    pub(crate) root: PathBuf,
    /// Changes are kept on disk.
    pub(crate) on_disk: bool,
}

/// A mount as it was asked for.
struct Asked {
    /// None for a tmpfs.
    source: Option<PathBuf>,
    dest: PathBuf,
    mode: MountMode,
    size: Option<u64>,
}

/// Resolves what options and policy say of files.
pub(crate) fn resolve(options: &DoOptions, policy: &Policy) -> Result<View, Failure> {
    let root = root(options, policy)?;
    let overlay = overlay(options, policy);
    let mode = match overlay {
        Overlay::None => MountMode::Ro,
        Overlay::Memory => MountMode::Overlay,
        Overlay::Disk => MountMode::OverlayOnDisk,
    };
    let asked = mounts(options, policy, overlay)?;
    let mut hide = hidden(options, policy, &root)?;
    let on_host = |path: &PathBuf| root.join(path.strip_prefix("/").unwrap_or(path));

    // What is shown by name at its own place is not hidden; where the gofer alone hides it, the place can be made.
    let shown_there = |path: &PathBuf| {
        asked.iter().any(|mount| mount.dest == *path && mount.source.as_ref() == Some(&on_host(path)))
    };
    let hide_on_host: Vec<PathBuf> = hide.iter().filter(|path| !shown_there(path)).map(on_host).collect();
    // What the policy hides for the case that it is there is no secret where it is not: the guest may make its own,
    // and what appears on the host later the gofer hides.
    let asked_for = |path: &PathBuf| options.hide.iter().any(|asked| path.ends_with(asked));
    hide.retain(|path| asked_for(path) || on_host(path).symlink_metadata().is_ok());
    hide.retain(|path| !asked.iter().any(|mount| mount.dest.starts_with(path)));

    let tree = TreeConfig {
        source: root.clone(),
        writable: false,
        hide: hide_on_host.clone(),
        mask: ["proc", "sys", "dev"].into_iter().map(|name| root.join(name)).collect(),
    };
    let mut gofer = GoferConfig { trees: vec![tree], scratch: None };
    let mut mounts = vec![Mount { tree: 0, dest: b"/".to_vec(), mode, size: None }];
    for Asked { source, dest, mode, size } in asked {
        mounts.push(Mount { tree: gofer.trees.len(), dest: paths::bytes(dest), mode, size });
        let Some(source) = source else {
            if let Some(mount) = mounts.last_mut() {
                mount.tree = 0;
            }
            continue;
        };
        // What the user names outright is shown, though it lies in what is hidden.
        let hide = hide_on_host
            .iter()
            .filter(|path| path.starts_with(&source) && **path != source)
            .cloned()
            .collect();
        gofer.trees.push(TreeConfig { source, writable: mode == MountMode::Rw, hide, mask: Vec::new() });
    }
    // A mount lies over those that its place is in, whatever the order of the options.
    mounts.sort_by_key(|mount| mount.dest.len());
    let on_disk = mounts.iter().any(|mount| mount.mode == MountMode::OverlayOnDisk);
    Ok(View { gofer, mounts, hide, root, on_disk })
}

fn root(options: &DoOptions, policy: &Policy) -> Result<PathBuf, Failure> {
    let (root, refused): (&Path, Box<dyn Fn(String) -> Failure>) = match (&options.root, &policy.files.root) {
        (Some(root), _) => (root, Box::new(|what| Failure::new(format!("--root: {what}")))),
        (None, Some(root)) => (&root.path, Box::new(|what| Failure::at(&root.origin, what))),
        (None, None) => return Ok(PathBuf::from("/")),
    };
    let shown = root.display();
    let canonical = root.canonicalize().map_err(|error| refused(format!("cannot use `{shown}`: {error}")))?;
    match canonical.is_dir() {
        true => Ok(canonical),
        false => Err(refused(format!("`{shown}` is not a directory"))),
    }
}

fn overlay(options: &DoOptions, policy: &Policy) -> Overlay {
    match (options.overlay, &policy.files.overlay) {
        (Some(asked), _) => asked,
        (None, None) => Overlay::Memory,
        (None, Some(asked)) => match asked.value {
            model::Overlay::Memory => Overlay::Memory,
            model::Overlay::None => Overlay::None,
            model::Overlay::Disk => Overlay::Disk,
        },
    }
}

fn mounts(options: &DoOptions, policy: &Policy, overlay: Overlay) -> Result<Vec<Asked>, Failure> {
    let mut asked: Vec<Asked> = Vec::new();
    let mut add = |mount: Asked| {
        asked.retain(|earlier| earlier.dest != mount.dest);
        asked.push(mount);
    };
    for mount in &policy.files.mounts {
        let mode = match mount.mode.value {
            model::MountMode::Ro => MountMode::Ro,
            model::MountMode::Rw => MountMode::Rw,
            model::MountMode::Tmpfs => MountMode::Tmpfs,
            model::MountMode::Overlay if overlay == Overlay::Disk => MountMode::OverlayOnDisk,
            model::MountMode::Overlay => MountMode::Overlay,
        };
        let source = match &mount.source {
            Some(source) if mode != MountMode::Tmpfs => {
                Some(source.path.canonicalize().map_err(|error| {
                    Failure::at(&source.origin, format!("cannot show `{}`: {error}", source.path.display()))
                        .hint("a source must exist when the run begins")
                })?)
            }
            _ => None,
        };
        if mount.at.value == Path::new("/") {
            return Err(Failure::at(&mount.at.origin, "the root itself cannot be mounted over")
                .hint("files.root and files.overlay say what it is"));
        }
        if let Some(size) = &mount.size {
            if matches!(mode, MountMode::Ro | MountMode::Rw) {
                return Err(Failure::at(&size.origin, "only what is kept aside has a size")
                    .hint("use mode tmpfs or overlay, or leave the size out"));
            }
        }
        let size = mount.size.as_ref().map(|size| size.value);
        add(Asked { source, dest: mount.at.value.clone(), mode, size });
    }
    let ro = options.ro.iter().map(|spec| (spec, "--ro", MountMode::Ro));
    let rw = options.rw.iter().map(|spec| (spec, "--rw", MountMode::Rw));
    for (spec, option, mode) in ro.chain(rw) {
        let Shown { source, dest } = paths::shown(option, spec)?;
        if dest == Path::new("/") {
            return Err(Failure::new(format!("{option}: the root itself cannot be replaced"))
                .hint("show a directory below it"));
        }
        add(Asked { source: Some(source), dest, mode, size: None });
    }
    Ok(asked)
}

/// Paths inside that are hidden, with what they lead to.
fn hidden(options: &DoOptions, policy: &Policy, root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    for path in &options.hide {
        let path = std::path::absolute(path).while_doing("--hide")?;
        if paths::normal(&path).is_none_or(|path| path == Path::new("/")) {
            return Err(Failure::new(format!("--hide: `{}` cannot be hidden", path.display()))
                .hint("name a path below /, without `..`"));
        }
        candidates.push(path);
    }
    for path in &policy.files.hide {
        if path.path == Path::new("/") {
            return Err(Failure::at(&path.origin, "the root cannot be hidden"));
        }
        candidates.push(path.path.clone());
    }
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| {
        Path::new(socket).is_absolute() && !options.pass_env.iter().any(|key| key == "SSH_AUTH_SOCK")
    });
    let uid = nix::unistd::getuid().as_raw();
    candidates.extend(paths::hidden_unasked(uid, agent.as_deref()));
    let mut hide = Vec::new();
    for path in candidates {
        paths::with_target(root, &path, &mut hide);
    }
    Ok(hide)
}
