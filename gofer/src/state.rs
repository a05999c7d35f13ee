//! The exposed trees, and how they are opened at the start: the only place where a path is used.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gofer_protocol::{Attr, FileKind, Made, NodeId, Tree, Trees};
use linux_abi::Errno;
use rustix::fs::{Mode, OFlags, CWD};
use rustix::process::{Resource, Rlimit};

use crate::config::{GoferConfig, TreeConfig};
use crate::host::{self, FileId, Result};
use crate::nodes::Nodes;
use crate::read::Listings;
use crate::rules::{Place, Rule, Rules};
use crate::watch::Watches;

/// Descriptors that are not directories of nodes: sockets, listings, files on their way out.
const RESERVED_FDS: u64 = 64;
/// More open directories than this are of no use.
const MAX_OPEN_DIRS: u64 = 65_536;

/// Why a tree cannot be exposed.
#[derive(Debug)]
pub struct OpenError {
    pub path: PathBuf,
    pub errno: Errno,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = std::io::Error::from_raw_os_error(self.errno.0);
        write!(f, "cannot open {} to show it inside: {why}", self.path.display())
    }
}

impl std::error::Error for OpenError {}

/// All that the gofer knows.
#[derive(Debug)]
pub struct State {
    pub(crate) nodes: Nodes,
    pub(crate) trees: Vec<OpenTree>,
    pub(crate) listings: Listings,
    /// Where files without a name are made.
    scratch: Option<OwnedFd>,
    pub(crate) watches: Watches,
}

/// One exposed tree.
#[derive(Debug)]
pub(crate) struct OpenTree {
    root: NodeId,
    pub writable: bool,
    pub rules: Rules,
    /// The files that stood at the hidden paths, wherever else they are found.
    pub hidden: HashSet<FileId>,
}

/// Opens every tree of the configuration and raises the limit on open files. What follows needs no path any more.
pub fn open_trees(config: &GoferConfig) -> std::result::Result<State, OpenError> {
    // Modes of new files are the sentry's to decide.
    rustix::process::umask(Mode::empty());
    let mut state = State {
        nodes: Nodes::new(dir_budget()),
        trees: Vec::new(),
        listings: Listings::default(),
        scratch: None,
        watches: Watches::new(),
    };
    for tree in &config.trees {
        state.open_tree(tree).map_err(|errno| OpenError { path: tree.source.clone(), errno })?;
    }
    if let Some(path) = &config.scratch {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| OpenError { path: path.clone(), errno: host::errno(e) })?;
        state.scratch = Some(dir);
    }
    Ok(state)
}

fn dir_budget() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    now.unwrap_or(MAX_OPEN_DIRS).saturating_sub(RESERVED_FDS).min(MAX_OPEN_DIRS) as usize
}

impl State {
    fn open_tree(&mut self, config: &TreeConfig) -> Result<()> {
        let index = self.trees.len();
        let (rules, hidden) = rules_of(config);
        let (top, single) = open_top(&config.source)?;
        let attr = host::stat_fd(top.as_fd())?;
        let file = FileId::of(&attr);
        let masked =
            rules.rule(Some(Rules::ROOT)).is_some() || (single.is_none() && host::is_pseudo_fs(top.as_fd()));
        let rule = if single.is_some() { None } else { Some(Rules::ROOT) };
        let top = self.nodes.add_root(index, file, top, rule, masked);
        self.trees.push(OpenTree { root: top, writable: config.writable, rules, hidden });
        if let Some(name) = single {
            let made = self.lookup(top, &name)?;
            self.nodes.pin(made.node);
            if let Some(tree) = self.trees.get_mut(index) {
                tree.root = made.node;
            }
        }
        Ok(())
    }

    /// The answer to the greeting.
    pub(crate) fn trees(&mut self) -> Result<Trees> {
        let roots: Vec<_> = self.trees.iter().map(|t| (t.root, t.writable)).collect();
        let mut trees = Vec::with_capacity(roots.len());
        for (node, writable) in roots {
            trees.push(Tree { root: Made { node, attr: self.stat(node)? }, writable });
        }
        Ok(Trees(trees))
    }

    /// A file in the scratch directory, which has no name and can be given none.
    pub(crate) fn scratch(&self) -> Result<OwnedFd> {
        let dir = self.scratch.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, c".", flags, Mode::RUSR | Mode::WUSR).map_err(host::errno)
    }

    /// The tree that a node is in.
    pub(crate) fn tree(&self, id: NodeId) -> Result<&OpenTree> {
        self.trees.get(self.nodes.get(id)?.tree).ok_or(Errno::EBADF)
    }

    /// What the rules say of `name` in the directory: its place, or `ENOENT` where it is hidden or the directory
    /// is masked.
    pub(crate) fn rule_for(&self, dir: NodeId, name: &[u8]) -> Result<Option<Place>> {
        let node = self.nodes.get(dir)?;
        if node.masked {
            return Err(Errno::ENOENT);
        }
        let rules = &self.tree(dir)?.rules;
        let place = rules.below(node.rule, name);
        match rules.rule(place) {
            Some(Rule::Hide) => Err(Errno::ENOENT),
            _ => Ok(place),
        }
    }

    /// Finds `name` in a directory and counts the answer.
    pub(crate) fn lookup(&mut self, dir: NodeId, name: &[u8]) -> Result<Made> {
        let attr = host::stat_at(self.nodes.dir(dir)?, name)?;
        self.admit(dir, name, attr)
    }

    /// Gives a node to a file that was found at `name`, unless it is hidden.
    pub(crate) fn admit(&mut self, dir: NodeId, name: &[u8], attr: Attr) -> Result<Made> {
        let rule = self.rule_for(dir, name)?;
        let file = FileId::of(&attr);
        let tree = self.tree(dir)?;
        if tree.hidden.contains(&file) || attr.kind() == FileKind::Unknown {
            return Err(Errno::ENOENT);
        }
        let masked = tree.rules.rule(rule) == Some(Rule::Mask);
        let node = self.nodes.found(dir, name, file, rule, masked)?;
        Ok(Made { node, attr })
    }
}

/// Opens a tree's directory, or a single file's parent with the file's name.
fn open_top(source: &Path) -> Result<(OwnedFd, Option<Vec<u8>>)> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path: &Path, flags| rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(host::errno);
    match open(source, flags | OFlags::DIRECTORY) {
        Ok(dir) => Ok((dir, None)),
        Err(Errno::ENOTDIR) => {
            let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else {
                return Err(Errno::ENOTDIR);
            };
            Ok((open(parent, flags | OFlags::DIRECTORY)?, Some(name.as_bytes().to_vec())))
        }
        Err(e) => Err(e),
    }
}

/// The rules of a tree, and which files its hidden paths stand for now, following a link at their end.
fn rules_of(config: &TreeConfig) -> (Rules, HashSet<FileId>) {
    let mut rules = Rules::new();
    let mut hidden = HashSet::new();
    for path in &config.hide {
        let Ok(relative) = path.strip_prefix(&config.source) else { continue };
        rules.add(relative, Rule::Hide);
    }
    // A file that is hidden in one place is hidden everywhere, so paths outside of this tree count as well.
    for path in &config.hide {
        for follow in [OFlags::empty(), OFlags::NOFOLLOW] {
            let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
            let Ok(fd) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else { continue };
            if let Ok(attr) = host::stat_fd(fd.as_fd()) {
                hidden.insert(FileId::of(&attr));
            }
        }
    }
    for path in &config.mask {
        let Ok(relative) = path.strip_prefix(&config.source) else { continue };
        rules.add(relative, Rule::Mask);
    }
    (rules, hidden)
}
