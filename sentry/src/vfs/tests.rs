//! The VFS over tmpfs, as the manual pages have it.

use std::sync::Arc;

use linux_abi::Errno;

use super::inode::NewNode;
use super::path::{locate, PathText};
use super::walk::Resolve;
use super::{path_text, FileKind, Lookup, MountOptions, Namespace, VfsPath};
use crate::cred::Cred;
use crate::fsimpl::tmpfs::{Options, TmpFs};
use crate::mm::{SliceSource, VecSink};
use crate::vfs::inode::Owner;

fn tmpfs() -> Arc<TmpFs> {
    let owner = Owner { uid: 0, gid: 0, perm: 0o755 };
    TmpFs::new(Options { size: None, inodes: 1 << 20, owner }).unwrap()
}

struct World {
    ns: Arc<Namespace>,
    root: Lookup,
}

impl World {
    fn new(hidden: &[&[u8]]) -> World {
        let hidden: Vec<Vec<u8>> = hidden.iter().map(|h| h.to_vec()).collect();
        let ns = Namespace::new(tmpfs(), MountOptions::default(), &hidden);
        let root = Lookup::kernel(ns.root());
        World { ns, root }
    }
    fn user(&self, uid: u32) -> Lookup {
        Lookup { cred: Arc::new(Cred::login(uid, uid, vec![])), ..self.root.clone() }
    }
    fn dir(&self, path: &[u8], mode: u32) -> VfsPath {
        self.root.make(path, &NewNode::Dir, mode).unwrap()
    }
    fn file(&self, path: &[u8]) -> VfsPath {
        let flags = (libc::O_CREAT | libc::O_WRONLY) as u32;
        self.root.open(path, flags, 0o644).unwrap().path.clone().unwrap()
    }
    fn link(&self, text: &[u8], path: &[u8]) {
        self.root.make(path, &NewNode::Symlink(text.to_vec()), 0o777).unwrap();
    }
    fn err(&self, path: &[u8]) -> Errno {
        self.root.resolve(path, true).err().unwrap()
    }
}

const CREAT: u32 = (libc::O_CREAT | libc::O_RDWR) as u32;

#[test]
fn walks() {
    let w = World::new(&[]);
    w.dir(b"/a", 0o755);
    w.dir(b"/a/b", 0o755);
    let f = w.file(b"/a/b/f");
    assert!(w.root.resolve(b"//a/./b/../b//f", true).unwrap().same(&f));
    assert!(w.root.resolve(b"/../../a/b/f", true).unwrap().same(&f));
    assert_eq!(w.err(b"/a/b/f/"), Errno::ENOTDIR);
    assert_eq!(w.err(b"/a/b/f/x"), Errno::ENOTDIR);
    assert_eq!(w.err(b"/a/b/f/.."), Errno::ENOTDIR);
    assert_eq!(w.err(b"/a/nothing/x"), Errno::ENOENT);
    assert_eq!(w.err(b""), Errno::ENOENT);
    assert_eq!(w.err(&[b'x'; 256]), Errno::ENAMETOOLONG);
    assert_eq!(w.err(&[b'x'; 255]), Errno::ENOENT);
    assert_eq!(w.err(&[b'/'; 4096]), Errno::ENAMETOOLONG);
    assert!(w.root.resolve(&[b'/'; 4095], true).is_ok());
    assert_eq!(path_text(&f, &w.root.fs.root), b"/a/b/f");
}

#[test]
fn links() {
    let w = World::new(&[]);
    w.dir(b"/d", 0o755);
    let f = w.file(b"/d/f");
    w.link(b"d/f", b"/l");
    w.link(b"/d", b"/abs");
    w.link(b"loop", b"/loop");
    w.link(b"gone", b"/dangling");
    assert!(w.root.resolve(b"/l", true).unwrap().same(&f));
    assert_eq!(w.root.resolve(b"/l", false).unwrap().inode().kind(), FileKind::Symlink);
    assert!(w.root.resolve(b"/abs/f", false).unwrap().same(&f));
    assert_eq!(w.root.resolve(b"/abs/", false).unwrap().inode().kind(), FileKind::Dir);
    assert_eq!(w.err(b"/l/"), Errno::ENOTDIR);
    assert_eq!(w.err(b"/loop"), Errno::ELOOP);
    assert_eq!(w.err(b"/dangling"), Errno::ENOENT);
    // 40 links pass, 41 do not.
    w.link(b"d/f", b"/k0");
    for i in 1..=40 {
        w.link(format!("k{}", i - 1).as_bytes(), format!("/k{i}").as_bytes());
    }
    assert!(w.root.resolve(b"/k39", true).is_ok());
    assert_eq!(w.err(b"/k40"), Errno::ELOOP);
    // O_CREAT makes what a dangling link names; with O_EXCL it does not.
    assert_eq!(w.root.open(b"/dangling", CREAT | libc::O_EXCL as u32, 0o600).err(), Some(Errno::EEXIST));
    assert!(w.root.open(b"/dangling", CREAT, 0o600).is_ok());
    assert!(w.root.resolve(b"/gone", false).is_ok());
    assert_eq!(w.root.open(b"/l", libc::O_NOFOLLOW as u32, 0).err(), Some(Errno::ELOOP));
}

#[test]
fn openat2_resolve() {
    let w = World::new(&[]);
    let d = w.dir(b"/d", 0o755);
    w.file(b"/d/f");
    w.file(b"/out");
    w.link(b"../out", b"/d/up");
    w.link(b"/f", b"/d/abs");
    let at = Lookup { base: Some(d), ..w.root.clone() };
    assert_eq!(at.resolve_with(b"up", true, Resolve::BENEATH).err(), Some(Errno::EXDEV));
    assert_eq!(at.resolve_with(b"/f", true, Resolve::BENEATH).err(), Some(Errno::EXDEV));
    assert!(at.resolve_with(b"abs", true, Resolve::IN_ROOT).is_ok());
    assert_eq!(at.resolve_with(b"up", true, Resolve::IN_ROOT).err(), Some(Errno::ENOENT));
    assert_eq!(at.resolve_with(b"abs", true, Resolve::NO_SYMLINKS).err(), Some(Errno::ELOOP));
}

#[test]
fn opens() {
    let w = World::new(&[]);
    w.dir(b"/d", 0o755);
    let open = |p: &[u8], f: i32| w.root.open(p, f as u32, 0o644).map(drop).err();
    assert_eq!(open(b"/f", libc::O_RDONLY), Some(Errno::ENOENT));
    assert_eq!(open(b"/f", libc::O_CREAT | libc::O_EXCL), None);
    assert_eq!(open(b"/f", libc::O_CREAT | libc::O_EXCL), Some(Errno::EEXIST));
    assert_eq!(open(b"/f", libc::O_DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(open(b"/f/", libc::O_CREAT), Some(Errno::EISDIR));
    assert_eq!(open(b"/d", libc::O_WRONLY), Some(Errno::EISDIR));
    assert_eq!(open(b"/d", libc::O_CREAT), Some(Errno::EISDIR));
    assert_eq!(open(b"/d", libc::O_RDONLY | libc::O_DIRECTORY), None);
    assert_eq!(open(b"/d", libc::O_TMPFILE | libc::O_RDWR), None);
    assert_eq!(open(b"/d", libc::O_TMPFILE), Some(Errno::EINVAL));
    let f = w.root.open(b"/f", libc::O_RDWR as u32, 0).unwrap();
    assert_eq!(f.ops.write(&f, 0, &mut SliceSource(b"hello")), Ok(5));
    let g = w.root.open(b"/f", (libc::O_RDWR | libc::O_TRUNC) as u32, 0).unwrap();
    assert_eq!(g.ops.read(&g, 0, &mut VecSink::new(9)), Ok(0));
}

#[test]
fn unlinked_while_open() {
    let w = World::new(&[]);
    let f = w.root.open(b"/f", CREAT, 0o600).unwrap();
    f.ops.write(&f, 0, &mut SliceSource(b"data")).unwrap();
    w.root.unlink(b"/f").unwrap();
    assert_eq!(w.err(b"/f"), Errno::ENOENT);
    let mut got = VecSink::new(9);
    assert_eq!(f.ops.read(&f, 0, &mut got), Ok(4));
    let place = f.path.clone().unwrap();
    assert_eq!(place.inode().attrs().unwrap().nlink, 0);
    assert_eq!(path_text(&place, &w.root.fs.root), b"/f (deleted)");
    assert_eq!(w.root.link(&place, b"/again"), Err(Errno::ENOENT));
}

#[test]
fn removal() {
    let w = World::new(&[]);
    let d = w.dir(b"/d", 0o755);
    w.file(b"/d/f");
    assert_eq!(w.root.rmdir(b"/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.root.unlink(b"/d"), Err(Errno::EISDIR));
    assert_eq!(w.root.rmdir(b"/d/f"), Err(Errno::ENOTDIR));
    assert_eq!(w.root.unlink(b"/d/f/"), Err(Errno::ENOTDIR));
    assert_eq!(w.root.rmdir(b"/d/."), Err(Errno::EINVAL));
    assert_eq!(w.root.rmdir(b"/d/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(w.root.rmdir(b"/"), Err(Errno::EBUSY));
    w.root.unlink(b"/d/f").unwrap();
    w.root.rmdir(b"/d/").unwrap();
    let at = Lookup { base: Some(d.clone()), ..w.root.clone() };
    assert_eq!(at.open(b"new", CREAT, 0o644).err(), Some(Errno::ENOENT));
    assert!(matches!(locate(&d, &w.root.fs.root), PathText::Deleted(_)));
}

#[test]
fn renames() {
    let w = World::new(&[]);
    let mv = |a: &[u8], b: &[u8]| w.root.rename(a, &w.root, b, 0);
    w.dir(b"/a", 0o755);
    w.dir(b"/a/b", 0o755);
    w.dir(b"/e", 0o755);
    let f = w.file(b"/f");
    let g = w.file(b"/g");
    assert_eq!(mv(b"/a", b"/a/b/c"), Err(Errno::EINVAL));
    assert_eq!(mv(b"/a/b", b"/a"), Err(Errno::ENOTEMPTY));
    assert_eq!(mv(b"/f", b"/a"), Err(Errno::EISDIR));
    assert_eq!(mv(b"/a", b"/f"), Err(Errno::ENOTDIR));
    assert_eq!(mv(b"/f", b"/h/"), Err(Errno::ENOTDIR));
    assert_eq!(mv(b"/a/.", b"/x"), Err(Errno::EBUSY));
    assert_eq!(mv(b"/none", b"/x"), Err(Errno::ENOENT));
    mv(b"/f", b"/g").unwrap();
    assert!(w.root.resolve(b"/g", true).unwrap().same(&f));
    assert!(g.dentry.unlinked());
    assert_eq!(w.err(b"/f"), Errno::ENOENT);
    mv(b"/a", b"/e").unwrap();
    assert_eq!(path_text(&w.root.resolve(b"/e/b", true).unwrap(), &w.root.fs.root), b"/e/b");
    w.file(b"/x");
    assert_eq!(w.root.rename(b"/g", &w.root, b"/x", 1), Err(Errno::EEXIST));
    w.root.rename(b"/g", &w.root, b"/x", 2).unwrap();
    assert!(w.root.resolve(b"/x", true).unwrap().same(&f));
    assert_eq!(path_text(&f, &w.root.fs.root), b"/x");
    // Two names of one file: nothing happens.
    w.root.link(&f, b"/y").unwrap();
    mv(b"/x", b"/y").unwrap();
    assert!(w.root.resolve(b"/x", true).is_ok());
}

#[test]
fn permissions() {
    let w = World::new(&[]);
    w.dir(b"/shut", 0o700);
    w.file(b"/shut/f");
    w.dir(b"/tmp", 0o1777);
    let (u, v) = (w.user(1000), w.user(2000));
    assert_eq!(u.resolve(b"/shut/f", true).err(), Some(Errno::EACCES));
    assert_eq!(u.open(b"/new", CREAT, 0o644).err(), Some(Errno::EACCES));
    u.open(b"/tmp/mine", CREAT, 0o666).unwrap();
    assert_eq!(v.unlink(b"/tmp/mine"), Err(Errno::EPERM));
    assert_eq!(v.rename(b"/tmp/mine", &v, b"/tmp/x", 0), Err(Errno::EPERM));
    u.open(b"/tmp/ro", CREAT, 0o444).unwrap();
    assert_eq!(u.open(b"/tmp/ro", libc::O_WRONLY as u32, 0).err(), Some(Errno::EACCES));
    assert!(w.root.open(b"/tmp/ro", libc::O_WRONLY as u32, 0).is_ok());
    u.unlink(b"/tmp/ro").unwrap();
    // A set-group-id directory gives its group and its bit on.
    let d = w.dir(b"/sg", 0o777);
    d.inode()
        .set_attrs(&super::inode::SetAttrs { gid: Some(7), perm: Some(0o2777), ..Default::default() })
        .unwrap();
    let made = u.make(b"/sg/d", &NewNode::Dir, 0o755).unwrap().inode().attrs().unwrap();
    assert_eq!((made.gid, made.perm), (7, 0o2755));
}

#[test]
fn mounts() {
    let w = World::new(&[]);
    w.dir(b"/m", 0o755);
    let at = w.root.resolve(b"/m", true).unwrap();
    w.ns.mount(&at, tmpfs(), MountOptions { read_only: true, ..Default::default() }).unwrap();
    w.ns.mount_at(b"/deep/er", tmpfs(), MountOptions::default()).unwrap();
    assert_eq!(w.root.open(b"/m/f", CREAT, 0o644).err(), Some(Errno::EROFS));
    w.file(b"/deep/er/f");
    let m = w.root.resolve(b"/deep/er", true).unwrap();
    assert_eq!(path_text(&m, &w.root.fs.root), b"/deep/er");
    assert!(w.root.resolve(b"/deep/er/..", true).unwrap().same(&w.root.resolve(b"/deep", true).unwrap()));
    assert_eq!(w.root.rmdir(b"/deep/er"), Err(Errno::EBUSY));
    assert_eq!(w.root.rename(b"/deep/er/f", &w.root, b"/f", 0), Err(Errno::EXDEV));
    assert!(w.ns.mounts_text(&w.root.fs.root).contains(" /m tmpfs ro"));
    assert_eq!(w.ns.mountinfo_text(&w.root.fs.root).lines().count(), 3);
}

#[test]
fn chroot_holds() {
    let w = World::new(&[]);
    let j = w.dir(b"/jail", 0o755);
    w.dir(b"/jail/d", 0o755);
    w.file(b"/secret");
    let mut look = w.root.clone();
    look.fs.root = j.clone();
    look.fs.cwd = j.clone();
    assert!(look.resolve(b"/../../d/..", true).unwrap().same(&j));
    assert_eq!(look.resolve(b"../secret", true).err(), Some(Errno::ENOENT));
    assert_eq!(path_text(&look.resolve(b"d", true).unwrap(), &j), b"/d");
}

#[test]
fn hidden_paths() {
    let w = World::new(&[b"/home/u/.ssh", b"/etc/shadow"]);
    for d in [&b"/home"[..], b"/home/u", b"/etc"] {
        w.dir(d, 0o755);
    }
    assert_eq!(w.root.make(b"/home/u/.ssh", &NewNode::Dir, 0o700).err(), Some(Errno::EACCES));
    assert_eq!(w.root.open(b"/etc/shadow", CREAT, 0o600).err(), Some(Errno::EACCES));
    // The file system has it; no name leads there.
    let etc = w.root.resolve(b"/etc", true).unwrap();
    etc.inode().create(b"shadow", &NewNode::Regular, Owner { uid: 0, gid: 0, perm: 0o600 }).unwrap();
    assert_eq!(w.err(b"/etc/shadow"), Errno::ENOENT);
    assert_eq!(w.root.rename(b"/etc", &w.root, b"/etc2", 0), Err(Errno::EBUSY));
    assert_eq!(w.root.rmdir(b"/home/u"), Err(Errno::ENOTEMPTY));
    w.file(b"/etc/passwd");
    assert_eq!(w.root.rename(b"/etc/passwd", &w.root, b"/etc/shadow", 0), Err(Errno::EACCES));
}

#[test]
fn deep_trees_do_not_overflow_the_stack() {
    let w = World::new(&[]);
    let mut at = w.root.clone();
    for _ in 0..50_000 {
        let d = at.make(b"d", &NewNode::Dir, 0o755).unwrap();
        at.base = Some(d);
    }
    drop(w);
    drop(at);
}

#[test]
fn record_locks() {
    use super::locks::{self, Kind, Owner, Range};
    let w = World::new(&[]);
    let f = w.file(b"/f");
    let all = locks::of(f.inode()).unwrap();
    let (a, b) = (Owner::Table(u64::MAX), Owner::Table(u64::MAX - 1));
    let lock = |owner, kind, start, end| {
        all.set(Range { owner, kind, start, end, pid: 1 }).unwrap().map_err(|r| (r.start, r.end))
    };
    assert_eq!(lock(a, Kind::Exclusive, 0, 100), Ok(()));
    all.unset(a, 40, 60);
    assert_eq!(lock(b, Kind::Exclusive, 40, 60), Ok(()));
    assert_eq!(lock(b, Kind::Shared, 30, 50), Err((0, 40)));
    assert_eq!(lock(a, Kind::Shared, 60, 100), Ok(()));
    assert_eq!(lock(b, Kind::Shared, 60, 100), Ok(()));
    let waits = locks::wait_for(a, b).unwrap();
    assert!(matches!(locks::wait_for(b, a), Err(Errno::EDEADLK)));
    drop(waits);
    locks::release_owner(a);
    assert_eq!(lock(b, Kind::Exclusive, 0, u64::MAX), Ok(()));
    locks::release_owner(b);
}
