//! The overlay over a tmpfs.

use super::*;
use crate::fsimpl::tmpfs::{Options, TmpFs};
use crate::mm::{SliceSource, VecSink};
use crate::vfs::File;

const ME: Owner = Owner { uid: 1, gid: 2, perm: 0o755 };
const RDWR: u32 = libc::O_RDWR as u32;

fn open(i: &InodeRef) -> Arc<File> {
    File::new(i.clone().open(RDWR).unwrap(), None, Some(i.clone()), RDWR)
}

fn read(f: &File) -> Vec<u8> {
    let mut sink = VecSink::new(1 << 20);
    f.ops.read(f, 0, &mut sink).unwrap();
    sink.data
}

fn text(i: &InodeRef) -> Vec<u8> {
    read(&open(i))
}

fn write(f: &File, pos: u64, data: &[u8]) {
    assert_eq!(f.ops.write(f, pos, &mut SliceSource(data)), Ok(data.len()));
}

fn names(i: &InodeRef) -> Vec<String> {
    let f = File::new(i.clone().open(0).unwrap(), None, Some(i.clone()), 0);
    let mut out = Vec::new();
    let mut cookie = 0;
    loop {
        let batch = f.ops.readdir(&f, cookie, 2).unwrap();
        let Some(last) = batch.last() else { break };
        cookie = last.cookie;
        out.extend(batch.into_iter().map(|e| String::from_utf8(e.name).unwrap()));
    }
    out.sort();
    out
}

/// Lower: `f` ("lower"), `g` a hard link to it, `d/x`, `d/e/y`, `s` -> f.
fn both() -> (InodeRef, InodeRef) {
    let lower = TmpFs::new(Options::default()).unwrap();
    let root = lower.root();
    let f = root.create(b"f", &NewNode::Regular, ME).unwrap();
    write(&open(&f), 0, b"lower");
    root.link(b"g", &f).unwrap();
    let d = root.create(b"d", &NewNode::Dir, ME).unwrap();
    write(&open(&d.create(b"x", &NewNode::Regular, ME).unwrap()), 0, b"x");
    let e = d.create(b"e", &NewNode::Dir, ME).unwrap();
    write(&open(&e.create(b"y", &NewNode::Regular, ME).unwrap()), 0, b"y");
    root.create(b"s", &NewNode::Symlink(b"f".to_vec()), ME).unwrap();
    let ovl = OverlayFs::new(&*lower, None, Store::Memory).unwrap();
    (root, ovl.root())
}

#[test]
fn copy_up_keeps_identity_and_open_files() {
    let (lower, root) = both();
    let i = root.lookup(b"f").unwrap();
    let before = i.attrs().unwrap();
    let reader = open(&i);
    i.set_attrs(&SetAttrs { perm: Some(0o600), ..Default::default() }).unwrap();
    assert_eq!((i.attrs().unwrap().perm, i.attrs().unwrap().size), (0o600, 5));
    assert_eq!(i.attrs().unwrap().mtime, before.mtime);
    write(&open(&i), 5, b"+upper");
    assert_eq!(read(&reader), b"lower+upper");
    let after = root.lookup(b"f").unwrap().attrs().unwrap();
    assert_eq!((after.dev, after.ino, after.nlink), (before.dev, before.ino, 2));
    assert_eq!(text(&root.lookup(b"g").unwrap()), b"lower+upper");
    assert_eq!(text(&lower.lookup(b"f").unwrap()), b"lower");
    assert_eq!(lower.lookup(b"f").unwrap().attrs().unwrap().perm, 0o755);
}

#[test]
fn changes_below_are_found_again() {
    let (_, root) = both();
    let y = root.lookup(b"d").unwrap().lookup(b"e").unwrap().lookup(b"y").unwrap();
    write(&open(&y), 0, b"Z");
    drop(y);
    let y = root.lookup(b"d").unwrap().lookup(b"e").unwrap().lookup(b"y").unwrap();
    assert_eq!(text(&y), b"Z");
    assert_eq!(names(&root.lookup(b"d").unwrap()), ["e", "x"]);
}

#[test]
fn whiteouts_and_opaque_directories() {
    let (lower, root) = both();
    let d = root.lookup(b"d").unwrap();
    assert_eq!(root.rmdir(b"d"), Err(Errno::ENOTEMPTY));
    d.unlink(b"x").unwrap();
    assert!(matches!(d.lookup(b"x"), Err(Errno::ENOENT)));
    d.lookup(b"e").unwrap().unlink(b"y").unwrap();
    d.rmdir(b"e").unwrap();
    root.rmdir(b"d").unwrap();
    assert_eq!(names(&root), ["f", "g", "s"]);
    let d = root.create(b"d", &NewNode::Dir, ME).unwrap();
    assert!(names(&d).is_empty());
    d.create(b"n", &NewNode::Regular, ME).unwrap();
    assert_eq!(names(&d), ["n"]);
    d.unlink(b"n").unwrap();
    root.rmdir(b"d").unwrap();
    assert!(root.lookup(b"d").is_err());
    assert_eq!(names(&lower), ["d", "f", "g", "s"]);
    // Something that appears below later is seen, a covered name is not.
    lower.create(b"late", &NewNode::Regular, ME).unwrap();
    assert!(root.lookup(b"late").is_ok() && root.lookup(b"d").is_err());
}

#[test]
fn lower_directories_move_as_they_are() {
    let (_, root) = both();
    let d = root.lookup(b"d").unwrap();
    let e = d.lookup(b"e").unwrap();
    assert_eq!(root.rename(b"d", &e, b"z", 0), Err(Errno::EINVAL));
    root.rename(b"d", &root, b"moved", 0).unwrap();
    assert!(root.lookup(b"d").is_err());
    let y = root.lookup(b"moved").unwrap().lookup(b"e").unwrap().lookup(b"y").unwrap();
    assert_eq!(text(&y), b"y");
    write(&open(&y), 0, b"Y");
    drop((y, e, d));
    root.lookup(b"moved").unwrap().rename(b"e", &root, b"e2", 0).unwrap();
    assert_eq!(text(&root.lookup(b"e2").unwrap().lookup(b"y").unwrap()), b"Y");
    assert_eq!(names(&root), ["e2", "f", "g", "moved", "s"]);
    assert_eq!(names(&root.lookup(b"moved").unwrap()), ["x"]);
    root.rename(b"e2", &root, b"moved", libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(names(&root.lookup(b"moved").unwrap()), ["y"]);
    assert_eq!(root.attrs().unwrap().nlink, 4);
}

#[test]
fn links_unlink_and_truncation() {
    let (_, root) = both();
    let f = root.lookup(b"f").unwrap();
    root.unlink(b"f").unwrap();
    assert_eq!(f.attrs().unwrap().nlink, 1);
    assert_eq!(text(&f), b"lower");
    assert_eq!(root.lookup(b"g").unwrap().attrs().unwrap().nlink, 1);
    root.link(b"h", &root.lookup(b"g").unwrap()).unwrap();
    assert_eq!(f.attrs().unwrap().nlink, 2);
    root.lookup(b"h").unwrap().set_attrs(&SetAttrs { size: Some(2), ..Default::default() }).unwrap();
    assert_eq!(text(&f), b"lo");
    root.rename(b"h", &root, b"s", 0).unwrap();
    assert_eq!(names(&root), ["d", "g", "s"]);
    let t = root.create_unnamed(ME).unwrap();
    root.link(b"t", &t).unwrap();
    assert_eq!(root.lookup(b"t").unwrap().attrs().unwrap().nlink, 1);
    assert_eq!(root.lookup(b"g").unwrap().lookup(b"x").err(), Some(Errno::ENOTDIR));
}

#[test]
fn names_come_and_go_while_a_directory_is_read() {
    let (_, root) = both();
    let f = File::new(root.clone().open(0).unwrap(), None, Some(root.clone()), 0);
    let first = f.ops.readdir(&f, 0, 1).unwrap();
    for n in [b"f".as_slice(), b"g", b"s"] {
        if n != first[0].name {
            root.unlink(n).unwrap();
        }
    }
    let rest = f.ops.readdir(&f, first[0].cookie, 10).unwrap();
    assert!(rest.len() <= 1);
    assert!(f.ops.readdir(&f, 50, 10).unwrap().is_empty());
}
