//! The files that the sentry knows, by number. A node is a *place*: a name in a parent node; directories that were
//! walked through also have an `O_PATH` descriptor, opened by that name and verified to be the file that the sentry
//! was told of. At most [`Nodes::budget`] such descriptors are open at a time; the least recently used go first and
//! are opened again, name by name, when needed.
//!
//! A node lives as long as the sentry holds it (`lookups`, counted as in FUSE's protocol) or a node below it lives.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gofer_protocol::{FileKind, NodeId};
use linux_abi::Errno;
use rustix::fs::OFlags;

use crate::host::{self, FileId, Result};
use crate::rules::Place;

/// How many nodes the sentry may hold; past it, look-ups are `ENOMEM`.
pub const MAX_NODES: usize = 1 << 20;

/// A file that the sentry knows.
#[derive(Debug)]
pub struct Node {
    pub tree: usize,
    pub file: FileId,
    /// Where it stands; `None` for the root directory of a tree.
    pub place: Option<(NodeId, Box<[u8]>)>,
    /// Where the tree's rules know it.
    pub rule: Option<Place>,
    /// An empty directory to the sentry, whatever is in it.
    pub masked: bool,
    /// How many times an answer has named it; roots are never let go.
    lookups: u64,
    root: bool,
    /// How many nodes have this one as their parent.
    dependents: u64,
    children: HashMap<Box<[u8]>, NodeId>,
    dir: Option<OwnedFd>,
    recently_used: bool,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    map: HashMap<NodeId, Node>,
    next: NodeId,
    /// Nodes with an open directory, in the order of a clock's hand.
    open: VecDeque<NodeId>,
    budget: usize,
}

impl Nodes {
    pub fn new(budget: usize) -> Nodes {
        Nodes { map: HashMap::new(), next: 1, open: VecDeque::new(), budget: budget.max(16) }
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.map.contains_key(&id)
    }

    pub fn get(&self, id: NodeId) -> Result<&Node> {
        self.map.get(&id).ok_or(Errno::EBADF)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[cfg(test)]
    pub fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
    }

    #[cfg(test)]
    pub fn open_dirs(&self) -> usize {
        self.open.len()
    }

    /// The root of a tree: an open directory, or (hidden from the sentry) the one that holds a single exposed file.
    pub fn add_root(
        &mut self,
        tree: usize,
        file: FileId,
        dir: OwnedFd,
        rule: Option<Place>,
        masked: bool,
    ) -> NodeId {
        self.insert(Node {
            tree,
            file,
            place: None,
            rule,
            masked,
            lookups: 0,
            root: true,
            dependents: 0,
            children: HashMap::new(),
            dir: Some(dir),
            recently_used: false,
        })
    }

    /// Keeps a node for ever, as the root of a tree.
    pub fn pin(&mut self, id: NodeId) {
        if let Some(node) = self.map.get_mut(&id) {
            node.root = true;
        }
    }

    /// Counts one more answer that names the file at `name` in `parent`: the node that stands there, or a new one
    /// where there is none or another file has taken the place.
    pub fn found(
        &mut self,
        parent: NodeId,
        name: &[u8],
        file: FileId,
        rule: Option<Place>,
        masked: bool,
    ) -> Result<NodeId> {
        let dir = self.map.get_mut(&parent).ok_or(Errno::EBADF)?;
        let tree = dir.tree;
        if let Some(&id) = dir.children.get(name) {
            match self.map.get_mut(&id) {
                Some(node) if node.file == file => {
                    node.lookups += 1;
                    return Ok(id);
                }
                // Left to those who hold it; what it stood for answers `ESTALE`.
                _ => self.vacate(parent, name),
            }
        }
        if self.map.len() >= MAX_NODES {
            return Err(Errno::ENOMEM);
        }
        let id = self.insert(Node {
            tree,
            file,
            place: Some((parent, name.into())),
            rule,
            masked,
            lookups: 1,
            root: false,
            dependents: 0,
            children: HashMap::new(),
            dir: None,
            recently_used: false,
        });
        if let Some(dir) = self.map.get_mut(&parent) {
            dir.dependents += 1;
            dir.children.insert(name.into(), id);
        }
        Ok(id)
    }

    fn insert(&mut self, node: Node) -> NodeId {
        let id = self.next;
        self.next += 1;
        self.map.insert(id, node);
        id
    }

    /// The node that stands at `name`, if the sentry knows one.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.map.get(&parent)?.children.get(name).copied()
    }

    /// No node stands at `name` any more (it was removed or replaced).
    pub fn vacate(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(dir) = self.map.get_mut(&parent) {
            dir.children.remove(name);
        }
    }

    /// Notes that what stood at one place now stands at another.
    pub fn moved(&mut self, id: NodeId, new_parent: NodeId, new_name: &[u8]) {
        let Some(node) = self.map.get_mut(&id) else { return };
        let old = node.place.replace((new_parent, new_name.into()));
        node.rule = None;
        if let Some(dir) = self.map.get_mut(&new_parent) {
            dir.dependents += 1;
            dir.children.insert(new_name.into(), id);
        }
        if let Some((old_parent, _)) = old {
            self.drop_dependent(old_parent);
        }
    }

    /// The sentry lets go of so many answers' worth of `id`.
    pub fn forget(&mut self, id: NodeId, count: u32) {
        let Some(node) = self.map.get_mut(&id) else { return };
        node.lookups = node.lookups.saturating_sub(u64::from(count));
        self.drop_unused(id);
    }

    fn drop_dependent(&mut self, id: NodeId) {
        if let Some(node) = self.map.get_mut(&id) {
            node.dependents = node.dependents.saturating_sub(1);
        }
        self.drop_unused(id);
    }

    /// Removes `id`, and upwards what lived only for it, where nobody holds it.
    fn drop_unused(&mut self, mut id: NodeId) {
        loop {
            match self.map.get(&id) {
                Some(n) if n.lookups == 0 && n.dependents == 0 && !n.root => {}
                _ => return,
            }
            let Some(node) = self.map.remove(&id) else { return };
            let Some((parent, name)) = node.place else { return };
            let Some(dir) = self.map.get_mut(&parent) else { return };
            dir.dependents = dir.dependents.saturating_sub(1);
            if dir.children.get(&name) == Some(&id) {
                dir.children.remove(&name);
            }
            id = parent;
        }
    }

    /// The descriptor of a directory, opened if need be. Whether the directory is masked shows only afterwards.
    pub fn dir(&mut self, id: NodeId) -> Result<BorrowedFd<'_>> {
        // Upwards to the first that is open, then down again.
        let mut chain = Vec::new();
        let mut at = id;
        loop {
            let node = self.map.get_mut(&at).ok_or(Errno::EBADF)?;
            if node.file.kind() != FileKind::Directory {
                return Err(Errno::ENOTDIR);
            }
            if node.dir.is_some() {
                node.recently_used = true;
                break;
            }
            chain.push(at);
            at = node.place.as_ref().ok_or(Errno::ESTALE)?.0;
        }
        for &child in chain.iter().rev() {
            self.open_dir(at, child)?;
            at = child;
        }
        self.opened(id)
    }

    /// The descriptor of a directory that [`Nodes::dir`] has opened.
    pub fn opened(&self, id: NodeId) -> Result<BorrowedFd<'_>> {
        self.map.get(&id).and_then(|n| n.dir.as_ref()).map(|d| d.as_fd()).ok_or(Errno::ESTALE)
    }

    /// The directory and the name by which a node is reached; a tree's root has neither.
    pub fn place(&mut self, id: NodeId) -> Result<Option<(BorrowedFd<'_>, &[u8])>> {
        let Some((parent, _)) = &self.get(id)?.place else { return Ok(None) };
        let parent = *parent;
        self.dir(parent)?;
        let name = match &self.get(id)?.place {
            Some((_, name)) => &**name,
            None => return Ok(None),
        };
        Ok(Some((self.opened(parent)?, name)))
    }

    fn open_dir(&mut self, parent: NodeId, child: NodeId) -> Result<()> {
        self.make_room();
        let parent_dev = self.get(parent)?.file.dev;
        let node = self.get(child)?;
        let (_, name) = node.place.as_ref().ok_or(Errno::ESTALE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let (fd, _) = host::open_same(self.opened(parent)?, name, &node.file, flags)?;
        let pseudo = node.file.dev != parent_dev && host::is_pseudo_fs(fd.as_fd());
        if let Some(node) = self.map.get_mut(&child) {
            node.dir = Some(fd);
            node.recently_used = true;
            node.masked |= pseudo;
            self.open.push_back(child);
        }
        Ok(())
    }

    /// Closes directories until one more may be opened: each gets a second chance if it was used since the hand
    /// last passed.
    fn make_room(&mut self) {
        while self.open.len() >= self.budget {
            let Some(id) = self.open.pop_front() else { return };
            let Some(node) = self.map.get_mut(&id) else { continue };
            if node.recently_used {
                node.recently_used = false;
                self.open.push_back(id);
            } else {
                node.dir = None;
            }
        }
    }
}
