//! Semantics of directories, content and renames.

use super::*;
use crate::mm::{SliceSource, VecSink};
use crate::vfs::File;

const ME: Owner = Owner { uid: 1, gid: 2, perm: 0o755 };

fn fs() -> Arc<TmpFs> {
    TmpFs::new(Options { size: Some(1 << 20), inodes: 1000, owner: ME }).unwrap()
}

fn file(root: &InodeRef, name: &[u8]) -> (InodeRef, Arc<File>) {
    let i = root.create(name, &NewNode::Regular, ME).unwrap();
    let ops = i.clone().open(libc::O_RDWR as u32).unwrap();
    (i.clone(), File::new(ops, None, Some(i), libc::O_RDWR as u32))
}

fn read(f: &File, pos: u64, n: usize) -> Vec<u8> {
    let mut sink = VecSink::new(n);
    f.ops.read(f, pos, &mut sink).unwrap();
    sink.data
}

fn write(f: &File, pos: u64, data: &[u8]) -> Result<usize> {
    f.ops.write(f, pos, &mut SliceSource(data))
}

#[test]
fn bytes_stay_across_the_move_to_a_memfd() {
    let root = fs().root();
    let (i, f) = file(&root, b"f");
    assert_eq!(write(&f, 10, b"hello"), Ok(5));
    assert_eq!(read(&f, 0, 100), b"\0\0\0\0\0\0\0\0\0\0hello");
    assert!(f.ops.host_fd().is_none());
    assert_eq!(write(&f, 100_000, b"far"), Ok(3));
    assert!(f.ops.host_fd().is_some());
    assert_eq!(read(&f, 10, 5), b"hello");
    assert_eq!(read(&f, 100_000, 10), b"far");
    assert_eq!(i.attrs().unwrap().size, 100_003);
    assert_eq!(f.ops.seek(&f, 20_000, 3), Ok(98_304));
    assert_eq!(f.ops.append(&f, &mut SliceSource(b"end")), Ok((3, 100_006)));
    f.ops.truncate(&f, 12).unwrap();
    assert_eq!(read(&f, 10, 5), b"he");
    f.ops.truncate(&f, 20).unwrap();
    assert_eq!(read(&f, 10, 10), b"he\0\0\0\0\0\0\0\0");
}

#[test]
fn a_full_file_system_writes_what_fits() {
    let fs = fs();
    let root = fs.root();
    let (_, f) = file(&root, b"f");
    let mib = vec![7; 1 << 20];
    assert_eq!(write(&f, 4096, &mib), Ok(1 << 20));
    assert_eq!(write(&f, 8192, &mib[..10]), Ok(10));
    assert_eq!(write(&f, 0, &mib[..10]), Err(Errno::ENOSPC));
    assert_eq!(fs.tmp_root().shared.quota.used_pages(), 256);
    f.ops.truncate(&f, 0).unwrap();
    assert_eq!(fs.tmp_root().shared.quota.used_pages(), 0);
    assert_eq!(write(&f, 0, &mib), Ok(1 << 20));
    assert_eq!(write(&f, (1 << 20) - 5, &mib[..10]), Ok(5));
    root.unlink(b"f").unwrap();
    assert_eq!(read(&f, 5, 1), [7]);
    drop(f);
    assert_eq!(fs.tmp_root().shared.quota.used_pages(), 0);
}

#[test]
fn sparse_offsets_and_limits() {
    let root = fs().root();
    let (i, f) = file(&root, b"f");
    assert_eq!(write(&f, 5 << 30, b"x"), Ok(1));
    assert_eq!(i.attrs().unwrap().blocks, 8);
    assert_eq!(read(&f, (5 << 30) - 1, 9), b"\0x");
    assert_eq!(write(&f, i64::MAX as u64, b"x"), Err(Errno::EFBIG));
    f.ops.allocate(&f, 3, 5 << 30, 4096).unwrap();
    assert_eq!(i.attrs().unwrap().blocks, 0);
}

#[test]
fn readdir_goes_on_while_entries_are_removed() {
    let root = fs().root();
    for n in 0..10 {
        root.create(format!("{n}").as_bytes(), &NewNode::Regular, ME).unwrap();
    }
    let f = File::new(root.clone().open(0).unwrap(), None, Some(root.clone()), 0);
    let mut cookie = 0;
    let mut seen = Vec::new();
    loop {
        let batch = f.ops.readdir(&f, cookie, 3).unwrap();
        let Some(last) = batch.last() else { break };
        cookie = last.cookie;
        for e in &batch {
            root.unlink(&e.name).unwrap();
            seen.push(e.name.clone());
        }
    }
    assert_eq!(seen.len(), 10);
    assert_eq!(root.attrs().unwrap().size, 40);
}

#[test]
fn renames() {
    let root = fs().root();
    let a = root.create(b"a", &NewNode::Dir, ME).unwrap();
    let b = a.create(b"b", &NewNode::Dir, ME).unwrap();
    assert_eq!(root.attrs().unwrap().nlink, 3);
    assert_eq!(root.rename(b"a", &b, b"x", 0), Err(Errno::EINVAL));
    assert_eq!(a.rename(b"b", &root, b"a", 0), Err(Errno::ENOTEMPTY));
    file(&root, b"f");
    assert_eq!(root.rename(b"f", &root, b"a", 0), Err(Errno::EISDIR));
    assert_eq!(root.rename(b"a", &root, b"f", 0), Err(Errno::ENOTDIR));
    assert_eq!(root.rename(b"a", &root, b"f", libc::RENAME_NOREPLACE), Err(Errno::EEXIST));
    root.rename(b"f", &a, b"f", 0).unwrap();
    a.rename(b"f", &root, b"b", libc::RENAME_EXCHANGE).unwrap_err();
    a.rename(b"b", &root, b"b", 0).unwrap();
    assert_eq!((root.attrs().unwrap().nlink, a.attrs().unwrap().nlink), (4, 2));
    root.rename(b"b", &a, b"f", libc::RENAME_EXCHANGE).unwrap();
    assert_eq!((root.attrs().unwrap().nlink, a.attrs().unwrap().nlink), (3, 3));
    assert_eq!(root.lookup(b"b").unwrap().kind(), FileKind::Regular);
    assert_eq!(root.rmdir(b"a"), Err(Errno::ENOTEMPTY));
    a.rmdir(b"f").unwrap();
    root.rmdir(b"a").unwrap();
    assert!(matches!(a.create(b"x", &NewNode::Dir, ME), Err(Errno::ENOENT)));
}

#[test]
fn links_and_attributes() {
    let root = fs().root();
    let (i, _) = file(&root, b"f");
    root.link(b"g", &i).unwrap();
    assert_eq!(i.attrs().unwrap().nlink, 2);
    root.rename(b"f", &root, b"g", 0).unwrap();
    assert!(root.lookup(b"f").is_ok());
    i.setxattr(b"user.a", b"1", 0).unwrap();
    assert_eq!(i.setxattr(b"user.a", b"1", libc::XATTR_CREATE as u32), Err(Errno::EEXIST));
    assert_eq!(i.getxattr(b"user.b"), Err(Errno::ENODATA));
    assert_eq!(i.listxattr().unwrap(), [b"user.a".to_vec()]);
    let t = root.create_unnamed(ME).unwrap();
    assert_eq!(t.attrs().unwrap().nlink, 0);
    root.link(b"t", &t).unwrap();
    assert_eq!(t.attrs().unwrap().nlink, 1);
}

#[test]
fn seals() {
    let i = memfd(0, 0, libc::MFD_ALLOW_SEALING).unwrap();
    let f = File::new(i.clone(), None, Some(i.clone()), libc::O_RDWR as u32);
    write(&f, 0, b"abc").unwrap();
    let c = i.content().unwrap();
    c.add_seals((libc::F_SEAL_GROW | libc::F_SEAL_SHRINK) as u32).unwrap();
    assert_eq!(write(&f, 3, b"d"), Err(Errno::EPERM));
    assert_eq!(write(&f, 1, b"xyz"), Ok(2));
    assert_eq!(f.ops.truncate(&f, 1), Err(Errno::EPERM));
    let fd = c.map_fd(true, true).unwrap();
    drop(fd);
    c.add_seals((libc::F_SEAL_WRITE | libc::F_SEAL_SEAL) as u32).unwrap();
    assert!(c.map_fd(true, true).is_err());
    assert_eq!(c.add_seals(libc::F_SEAL_GROW as u32), Err(Errno::EPERM));
}

#[test]
fn deep_trees_are_dropped_without_deep_stacks() {
    let fs = TmpFs::new(Options { inodes: 200_000, ..Options::default() }).unwrap();
    let mut at = fs.root();
    for _ in 0..100_000 {
        at = at.create(b"d", &NewNode::Dir, ME).unwrap();
    }
}
