//! Path walk (path_resolution(7)): from a text to a place.
//!
//! [`Lookup`] is what a walk starts from; [`Walker`] is one walk. The walker stops at the last name without looking it
//! up, so that the same code serves those who want what is there and those who want to make it.

use std::borrow::Cow;
use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::context::FsInner;
use super::dentry::{Dentry, NAME_MAX};
use super::inode::{FileKind, LinkTarget};
use super::mount::MountFlags;
use super::notes;
use super::path::VfsPath;
use super::permission;
use crate::cred::Cred;

/// The longest path with its NUL (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Links that one walk follows before `ELOOP`.
pub const MAX_LINKS: u32 = 40;
/// How many names a walk tells the file system ahead.
const AHEAD: usize = 16;

bitflags::bitflags! {
    /// What openat2(2) forbids a walk.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Resolve: u64 {
        const NO_XDEV = 1;
        const NO_MAGICLINKS = 2;
        const NO_SYMLINKS = 4;
        const BENEATH = 8;
        const IN_ROOT = 16;
        const CACHED = 32;
    }
}

/// What a path walk starts from, and for whom it goes.
#[derive(Clone)]
pub struct Lookup {
    pub fs: FsInner,
    pub cred: Arc<Cred>,
    /// Where relative paths begin; the working directory where `None`.
    pub base: Option<VfsPath>,
}

impl Lookup {
    /// The kernel's own look-ups: all rights, from this root.
    pub fn kernel(root: VfsPath) -> Lookup {
        let fs = FsInner { cwd: root.clone(), root, umask: 0 };
        Lookup { fs, cred: Arc::new(Cred::login(0, 0, Vec::new())), base: None }
    }

    /// Where relative paths begin.
    pub fn start(&self) -> &VfsPath {
        self.base.as_ref().unwrap_or(&self.fs.cwd)
    }

    /// The place of a path; the last component's link is followed or not.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<VfsPath> {
        self.resolve_with(path, follow_last, Resolve::empty())
    }

    pub fn resolve_with(&self, path: &[u8], follow_last: bool, how: Resolve) -> Result<VfsPath> {
        let mut w = Walker::new(self, path, how)?;
        loop {
            match w.to_last()? {
                Last::Here => {
                    notes::used(&w.at, notes::Use::Read);
                    return Ok(w.at);
                }
                Last::Name { name, trailing } => {
                    let child = w.child(&name)?.ok_or(Errno::ENOENT)?;
                    let kind = child.inode().kind();
                    if kind == FileKind::Symlink && (follow_last || trailing) {
                        w.follow(child)?;
                        continue;
                    }
                    if trailing && kind != FileKind::Dir {
                        return Err(Errno::ENOTDIR);
                    }
                    notes::used(&child, notes::Use::Read);
                    return Ok(child);
                }
            }
        }
    }

    /// The directory of the last component, that component, and whether slashes follow it. A path that ends in `.`,
    /// `..` or the root has no last name: the name is then `.`, `..` or empty.
    pub fn parent(&self, path: &[u8]) -> Result<(VfsPath, Vec<u8>, bool)> {
        let mut w = Walker::new(self, path, Resolve::empty())?;
        w.keep_dots = true;
        match w.to_last()? {
            Last::Here => Ok((w.at, w.dots.to_vec(), true)),
            Last::Name { name, trailing } => {
                permission::search(&w.at, &self.cred)?;
                Ok((w.at, name, trailing))
            }
        }
    }
}

/// Where a walk has stopped.
pub enum Last {
    /// The place itself: the path ended in `.`, `..`, a root or a magic link.
    Here,
    /// Before this name.
    Name { name: Vec<u8>, trailing: bool },
}

/// One walk.
pub struct Walker<'a> {
    look: &'a Lookup,
    /// Where it has come to.
    pub at: VfsPath,
    text: Cow<'a, [u8]>,
    pos: usize,
    /// What is to be walked once `text` is done: remainders of texts whose links are being followed.
    rest: Vec<(Cow<'a, [u8]>, usize)>,
    links: u32,
    how: Resolve,
    /// The root that `..` and absolute links do not leave.
    root: VfsPath,
    /// Stop before a last `.` or `..` instead of taking it; `dots` is then which.
    keep_dots: bool,
    dots: &'static [u8],
    /// Whether the root has been looked at: Linux lets `NO_XDEV` follow an absolute link only then (nd_jump_root).
    root_known: bool,
}

impl<'a> Walker<'a> {
    pub fn new(look: &'a Lookup, path: &'a [u8], how: Resolve) -> Result<Walker<'a>> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let rooted = how.intersects(Resolve::BENEATH | Resolve::IN_ROOT);
        let root = if rooted { look.start().clone() } else { look.fs.root.clone() };
        if path[0] == b'/' && how.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let at = if path[0] == b'/' { root.clone() } else { look.start().clone() };
        Ok(Walker {
            look,
            at,
            text: Cow::Borrowed(path),
            pos: 0,
            rest: Vec::new(),
            links: 0,
            how,
            root,
            keep_dots: false,
            dots: b"",
            root_known: path[0] == b'/' || rooted,
        })
    }

    /// Walks up to the last component.
    pub fn to_last(&mut self) -> Result<Last> {
        loop {
            let Some((from, to)) = self.component() else {
                return Ok(Last::Here);
            };
            let (last, trailing) = self.is_last();
            match &self.text[from..to] {
                b"." => {
                    permission::search(&self.at, &self.look.cred)?;
                    if last && self.keep_dots {
                        self.dots = b".";
                        return Ok(Last::Here);
                    }
                }
                b".." => {
                    permission::search(&self.at, &self.look.cred)?;
                    if last && self.keep_dots {
                        self.dots = b"..";
                        return Ok(Last::Here);
                    }
                    self.up()?;
                }
                name if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                name if last => {
                    if self.at.inode().kind() != FileKind::Dir {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(Last::Name { name: name.to_vec(), trailing });
                }
                _ => {
                    let child = self.child_in_text(from, to)?.ok_or(Errno::ENOENT)?;
                    match child.inode().kind() {
                        FileKind::Dir => self.at = child,
                        FileKind::Symlink => self.follow(child)?,
                        _ => return Err(Errno::ENOTDIR),
                    }
                }
            }
        }
    }

    /// The next component's range in `text`.
    fn component(&mut self) -> Option<(usize, usize)> {
        loop {
            let t = &self.text[self.pos..];
            if let Some(skip) = t.iter().position(|b| *b != b'/') {
                let from = self.pos + skip;
                let len = self.text[from..].iter().position(|b| *b == b'/').unwrap_or(self.text.len() - from);
                self.pos = from + len;
                return Some((from, from + len));
            }
            let (text, pos) = self.rest.pop()?;
            self.text = text;
            self.pos = pos;
        }
    }

    /// Whether nothing but slashes is left, and whether there are any.
    fn is_last(&self) -> (bool, bool) {
        let mut slashes = false;
        for t in std::iter::once(&self.text[self.pos..]).chain(self.rest.iter().map(|(t, p)| &t[*p..])) {
            slashes |= !t.is_empty();
            if t.iter().any(|b| *b != b'/') {
                return (false, true);
            }
        }
        (true, slashes)
    }

    /// One directory up; the root's parent is the root.
    fn up(&mut self) -> Result<()> {
        self.root_known = true;
        if self.at.same(&self.root) {
            if self.how.contains(Resolve::BENEATH) {
                return Err(Errno::EXDEV);
            }
            return Ok(());
        }
        let up = self.at.up();
        self.check_crossing(&up)?;
        self.at = up.top();
        Ok(())
    }

    fn check_crossing(&self, to: &VfsPath) -> Result<()> {
        if self.how.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// What a name in the present directory leads to, mounts crossed; `None` where there is nothing.
    pub fn child(&mut self, name: &[u8]) -> Result<Option<VfsPath>> {
        permission::search(&self.at, &self.look.cred)?;
        let dentry = match self.how.contains(Resolve::CACHED) {
            true => self.at.dentry.cached(name)?,
            false => self.at.dentry.child(name, Vec::new)?,
        };
        self.enter(dentry)
    }

    fn child_in_text(&mut self, from: usize, to: usize) -> Result<Option<VfsPath>> {
        permission::search(&self.at, &self.look.cred)?;
        let text = &self.text;
        if self.how.contains(Resolve::CACHED) {
            return self.enter(self.at.dentry.cached(&text[from..to])?);
        }
        let ahead = || {
            let names = text[from..].split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".");
            names.take_while(|n| *n != b".." && n.len() <= NAME_MAX).take(AHEAD).collect()
        };
        let dentry = self.at.dentry.child(&text[from..to], ahead)?;
        self.enter(dentry)
    }

    fn enter(&self, dentry: Option<Arc<Dentry>>) -> Result<Option<VfsPath>> {
        let Some(dentry) = dentry else {
            // That it was looked for there is a use of the directory.
            notes::used(&self.at, notes::Use::Read);
            return Ok(None);
        };
        let place = VfsPath { mount: self.at.mount.clone(), dentry }.top();
        self.check_crossing(&place)?;
        Ok(Some(place))
    }

    /// Goes on where a symbolic link leads.
    pub fn follow(&mut self, link: VfsPath) -> Result<()> {
        self.links += 1;
        let refused =
            self.how.contains(Resolve::NO_SYMLINKS) || link.mount.flags().contains(MountFlags::NOSYMFOLLOW);
        if self.links > MAX_LINKS || refused {
            return Err(Errno::ELOOP);
        }
        // The walk may end far from here, where nobody sees that it came this way.
        notes::used(&link, notes::Use::Read);
        match link.inode().follow()? {
            LinkTarget::Text(t) => {
                let Some(first) = t.first() else { return Err(Errno::ENOENT) };
                if *first == b'/' {
                    if self.how.contains(Resolve::BENEATH) {
                        return Err(Errno::EXDEV);
                    }
                    if self.how.contains(Resolve::NO_XDEV) && !std::mem::replace(&mut self.root_known, true) {
                        return Err(Errno::EXDEV);
                    }
                    self.check_crossing(&self.root)?;
                    self.at = self.root.clone();
                }
                let old = std::mem::replace(&mut self.text, Cow::Owned(t));
                self.rest.push((old, self.pos));
                self.pos = 0;
                Ok(())
            }
            LinkTarget::Place(p) => {
                self.check_magic()?;
                self.check_crossing(&p)?;
                self.at = p;
                self.after_magic()
            }
            LinkTarget::Node(inode) => {
                self.check_magic()?;
                let label = link.inode().readlink().unwrap_or_default();
                self.at = VfsPath { mount: link.mount, dentry: Dentry::detached(inode, &label) };
                self.after_magic()
            }
        }
    }

    fn check_magic(&self) -> Result<()> {
        if self.how.contains(Resolve::NO_MAGICLINKS) {
            return Err(Errno::ELOOP);
        }
        if self.how.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    /// A magic link with more path behind it must have led to a directory.
    fn after_magic(&self) -> Result<()> {
        let (last, slashes) = self.is_last();
        if (!last || slashes) && self.at.inode().kind() != FileKind::Dir {
            return Err(Errno::ENOTDIR);
        }
        Ok(())
    }
}
