//! The gofer over a temporary tree, asked through the protocol.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use gofer_protocol::{Channel, Client, Entries, FileKind, NodeId, Owner, SetAttr, SetTime, Watch, Xattrs};
use linux_abi::Errno;

use crate::{open_trees, serve, GoferConfig, TreeConfig};

/// A directory that goes when the test does.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Temp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gofer-test-{}-{n}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Temp(dir.canonicalize().unwrap())
    }
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tree(source: &Path, writable: bool) -> TreeConfig {
    TreeConfig { source: source.into(), writable, ..TreeConfig::default() }
}

fn start(trees: Vec<TreeConfig>) -> (Client, NodeId) {
    let state = open_trees(&GoferConfig { trees, scratch: None }).unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let own = |c: &Channel| -> OwnedFd { c.as_fd().try_clone_to_owned().unwrap() };
    let sockets = vec![own(&theirs)];
    std::thread::spawn(move || serve(state, sockets).unwrap());
    let client = Client::connect(vec![own(&ours)]).unwrap();
    let root = client.trees()[0].root.node;
    (client, root)
}

fn walk(client: &Client, root: NodeId, path: &str) -> Result<NodeId, Errno> {
    let names: Vec<_> = path.split('/').map(str::as_bytes).collect();
    let reply = client.walk(root, Watch::No, &names)?;
    match reply.found.last() {
        Some(last) if reply.found.len() == names.len() => Ok(last.made.node),
        _ => Err(reply.stop.unwrap_or(Errno::ENOTDIR)),
    }
}

fn read(fd: OwnedFd) -> String {
    let mut s = String::new();
    fs::File::from(fd).read_to_string(&mut s).unwrap();
    s
}

#[test]
fn walks_reads_and_lists() {
    let t = Temp::new();
    t.file("a/b/c", "content");
    symlink("b/c", t.0.join("a/link")).unwrap();
    let (client, root) = start(vec![tree(&t.0, false)]);
    let node = walk(&client, root, "a/b/c").unwrap();
    let (fd, attr) = client.open(node, 0).unwrap();
    assert_eq!(attr.size, 7);
    let flags = rustix::fs::fcntl_getfl(&fd).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "the guest's file would be non-blocking");
    assert_eq!(read(fd), "content");
    assert_eq!(walk(&client, root, "a/b/c").unwrap(), node, "one place, one node");
    assert_eq!(client.walk(root, Watch::No, &[b"a", b"x", b"y"]).unwrap().stop, Some(Errno::ENOENT));
    let reply = client.walk(root, Watch::No, &[b"a", b"link", b"y"]).unwrap();
    assert_eq!((reply.found.len(), reply.stop, reply.link), (2, None, Some(b"b/c".to_vec())));
    let a = walk(&client, root, "a").unwrap();
    for kind in [Entries::Names, Entries::WithNodes] {
        let list = client.readdir(a, 0, kind, Watch::No).unwrap();
        let mut names: Vec<_> = list.entries.iter().map(|e| String::from_utf8_lossy(&e.name)).collect();
        names.sort();
        assert_eq!(names, ["b", "link"]);
        assert!(list.end);
        assert!(list.entries.iter().all(|e| e.made.is_some() == (kind == Entries::WithNodes)));
    }
    assert!(client.statfs(node).unwrap().bsize > 0);
    assert_eq!(client.stat(999_999), Err(Errno::EBADF));
}

#[test]
fn big_directories_come_in_pages_without_loss() {
    let t = Temp::new();
    (0..3000).for_each(|i| drop(t.file(&format!("d/file-with-a-longer-name-{i}"), "")));
    let (client, root) = start(vec![tree(&t.0, false)]);
    let d = walk(&client, root, "d").unwrap();
    let mut names = std::collections::HashSet::new();
    let (mut cookie, mut pages) = (0, 0);
    loop {
        let list = client.readdir(d, cookie, Entries::WithNodes, Watch::No).unwrap();
        pages += 1;
        for e in list.entries {
            cookie = e.next_cookie;
            assert!(names.insert(e.name), "listed twice");
        }
        if list.end {
            break;
        }
    }
    assert_eq!(names.len(), 3000);
    assert!(pages > 1);
}

#[test]
fn only_regular_files_are_handed_over() {
    let t = Temp::new();
    t.file("dir/x", "");
    symlink("/etc/passwd", t.0.join("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        t.0.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let (client, root) = start(vec![tree(&t.0, true)]);
    let open = |name: &str| client.open(walk(&client, root, name).unwrap(), 0).unwrap_err();
    assert_eq!(open("dir"), Errno::EISDIR);
    assert_eq!(open("link"), Errno::ELOOP);
    assert_eq!(open("fifo"), Errno::ENXIO);
    assert_eq!(client.open(root, 0).unwrap_err(), Errno::EISDIR);
    let x = walk(&client, root, "dir/x").unwrap();
    for flags in [libc::O_NONBLOCK, libc::O_CREAT, libc::O_PATH, libc::O_ACCMODE, libc::O_DIRECTORY] {
        assert_eq!(client.open(x, flags as u32).unwrap_err(), Errno::EINVAL, "{flags:o}");
    }
}

#[test]
fn a_read_only_tree_is_read_only() {
    let t = Temp::new();
    t.file("f", "kept");
    t.file("d/x", "");
    let (client, root) = start(vec![tree(&t.0, false)]);
    let f = walk(&client, root, "f").unwrap();
    let owner = Owner::default();
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_TRUNC] {
        assert_eq!(client.open(f, flags as u32).unwrap_err(), Errno::EROFS);
    }
    assert_eq!(client.create(root, b"n", 0o644, 1, owner).unwrap_err(), Errno::EROFS);
    assert_eq!(client.mkdir(root, b"n", 0o755, owner), Err(Errno::EROFS));
    assert_eq!(client.symlink(root, b"n", b"x", owner), Err(Errno::EROFS));
    assert_eq!(client.link(f, root, b"n"), Err(Errno::EROFS));
    assert_eq!(client.unlink(root, b"f"), Err(Errno::EROFS));
    assert_eq!(client.rmdir(root, b"d"), Err(Errno::EROFS));
    assert_eq!(client.rename(root, b"f", root, b"n", 0), Err(Errno::EROFS));
    assert_eq!(client.set_attr(f, SetAttr { mode: Some(0), ..SetAttr::default() }), Err(Errno::EROFS));
    assert_eq!(client.set_xattr(f, b"user.x", b"1", 0), Err(Errno::EROFS));
    assert_eq!(fs::read_to_string(t.0.join("f")).unwrap(), "kept");
}

#[test]
fn a_writable_tree_is_written() {
    let t = Temp::new();
    let (client, root) = start(vec![tree(&t.0, true)]);
    let owner = Owner::default();
    let (made, fd) = client.create(root, b"f", 0o640, libc::O_RDWR as u32, owner).unwrap();
    fs::File::from(fd).write_all(b"hello").unwrap();
    assert_eq!(made.attr.mode, libc::S_IFREG | 0o640);
    assert_eq!(client.create(root, b"f", 0o640, 1, owner).unwrap_err(), Errno::EEXIST);
    let d = client.mkdir(root, b"d", 0o711, owner).unwrap().node;
    client.rename(root, b"f", d, b"g", 0).unwrap();
    assert_eq!(client.stat(made.node).unwrap().size, 5, "the node has moved along");
    client.link(made.node, d, b"h").unwrap();
    client.symlink(d, b"s", b"g", owner).unwrap();
    client.mknod(d, b"p", libc::S_IFIFO | 0o600, owner).unwrap();
    assert_eq!(client.mknod(d, b"z", libc::S_IFCHR | 0o600, owner), Err(Errno::EPERM));
    let set =
        SetAttr { mode: Some(0o4711), size: Some(2), mtime: SetTime::To(1_000, 5), ..SetAttr::default() };
    let attr = client.set_attr(made.node, set).unwrap();
    assert_eq!((attr.mode & 0o7777, attr.size, attr.mtime.sec, attr.nlink), (0o4711, 2, 1_000, 2));
    assert_eq!(fs::read_to_string(t.0.join("d/h")).unwrap(), "he");
    assert_eq!(fs::read_link(t.0.join("d/s")).unwrap(), Path::new("g"));
    let (fd, _) = client.open(made.node, (libc::O_WRONLY | libc::O_APPEND) as u32).unwrap();
    fs::File::from(fd).write_all(b"!").unwrap();
    assert_eq!(fs::read_to_string(t.0.join("d/g")).unwrap(), "he!");
    client.open(made.node, (libc::O_WRONLY | libc::O_TRUNC) as u32).unwrap();
    assert_eq!(client.stat(made.node).unwrap().size, 0);
    assert_eq!(client.rmdir(root, b"d"), Err(Errno::ENOTEMPTY));
    for name in [&b"g"[..], b"h", b"s", b"p"] {
        client.unlink(d, name).unwrap();
    }
    assert_eq!(client.stat(made.node), Err(Errno::ESTALE));
    client.rmdir(root, b"d").unwrap();
    assert_eq!(fs::read_dir(&t.0).unwrap().count(), 0);
}

#[test]
fn hidden_and_masked_places_do_not_exist() {
    let t = Temp::new();
    t.file("home/.ssh/id", "secret");
    let shadow = t.file("etc/shadow", "secret");
    t.file("etc/passwd", "");
    t.file("proc/1/environ", "secret");
    fs::hard_link(&shadow, t.0.join("etc/other-name")).unwrap();
    let mut config = tree(&t.0, true);
    config.hide = vec![t.0.join("home/.ssh"), shadow];
    config.mask = vec![t.0.join("proc")];
    let (client, root) = start(vec![config]);
    for path in ["home/.ssh", "home/.ssh/id", "etc/shadow", "etc/other-name", "proc/1"] {
        assert_eq!(walk(&client, root, path), Err(Errno::ENOENT), "{path}");
    }
    let names = |path: &str| {
        let list = client.readdir(walk(&client, root, path).unwrap(), 0, Entries::Names, Watch::No).unwrap();
        list.entries.into_iter().map(|e| String::from_utf8(e.name).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names("home"), [""; 0]);
    assert_eq!(names("etc"), ["passwd"]);
    assert_eq!(names("proc"), [""; 0]);
    // Nor can they be brought to light, replaced or destroyed.
    let etc = walk(&client, root, "etc").unwrap();
    let owner = Owner::default();
    assert_eq!(client.rename(root, b"home", root, b"moved", 0), Err(Errno::EPERM));
    assert_eq!(client.rename(root, b"proc", root, b"moved", 0), Err(Errno::EPERM));
    assert_eq!(client.rename(etc, b"other-name", etc, b"x", 0), Err(Errno::EPERM));
    assert_eq!(client.rename(etc, b"passwd", etc, b"shadow", 0), Err(Errno::EPERM));
    assert_eq!(client.unlink(etc, b"shadow"), Err(Errno::EPERM));
    assert_eq!(client.unlink(etc, b"other-name"), Err(Errno::EPERM));
    assert_eq!(client.create(etc, b"shadow", 0o600, 1, owner).unwrap_err(), Errno::EPERM);
    let proc = walk(&client, root, "proc").unwrap();
    assert!(client.mkdir(proc, b"x", 0o755, owner).is_err());
}

#[test]
fn the_hosts_proc_is_empty_without_being_named() {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let (client, root) = start(vec![tree(Path::new("/"), false)]);
    assert_eq!(walk(&client, root, "proc/self"), Err(Errno::ENOENT));
    let proc = walk(&client, root, "proc").unwrap();
    assert!(client.readdir(proc, 0, Entries::Names, Watch::No).unwrap().entries.is_empty());
}

#[test]
fn a_single_file_is_a_tree() {
    let t = Temp::new();
    let file = t.file("d/only", "this");
    t.file("d/neighbour", "not this");
    let (client, root) = start(vec![tree(&file, false)]);
    assert_eq!(client.trees()[0].root.attr.kind(), FileKind::Regular);
    assert_eq!(read(client.open(root, 0).unwrap().0), "this");
    assert_eq!(client.walk(root, Watch::No, &[b"neighbour"]).unwrap().stop, Some(Errno::ENOTDIR));
}

#[test]
fn what_was_replaced_is_stale_and_found_anew() {
    let t = Temp::new();
    t.file("d/f", "old");
    let (client, root) = start(vec![tree(&t.0, false)]);
    let old = walk(&client, root, "d/f").unwrap();
    t.file("d/new", "new");
    fs::rename(t.0.join("d/new"), t.0.join("d/f")).unwrap();
    assert_eq!(client.stat(old), Err(Errno::ESTALE));
    assert_eq!(client.open(old, 0).unwrap_err(), Errno::ESTALE);
    let new = walk(&client, root, "d/f").unwrap();
    assert_ne!(new, old);
    assert_eq!(read(client.open(new, 0).unwrap().0), "new");
}

/// A host-side writer swaps a directory for a link out of the tree while we walk through it.
#[test]
fn a_link_swapped_in_never_leads_out() {
    let t = Temp::new();
    let outside = Temp::new();
    outside.file("f", "outside");
    t.file("d/f", "inside");
    let (client, root) = start(vec![tree(&t.0, false)]);
    let (d, spare, link) = (t.0.join("d"), t.0.join("spare"), t.0.join("link"));
    symlink(&outside.0, &link).unwrap();
    static STOP: AtomicBool = AtomicBool::new(false);
    let swapper = std::thread::spawn(move || {
        while !STOP.load(Ordering::Relaxed) {
            fs::rename(&d, &spare).unwrap();
            fs::rename(&link, &d).unwrap();
            fs::rename(&d, &link).unwrap();
            fs::rename(&spare, &d).unwrap();
        }
    });
    let mut opened = 0;
    for _ in 0..20_000 {
        let Ok(node) = walk(&client, root, "d/f") else { continue };
        if let Ok((fd, _)) = client.open(node, 0) {
            assert_eq!(read(fd), "inside");
            opened += 1;
        }
        client.forget(&[(node, 1)]);
    }
    STOP.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(opened > 0);
}

/// A file is swapped for a FIFO: the open must not hang, nor hand the FIFO over.
#[test]
fn a_fifo_swapped_in_does_not_stop_the_gofer() {
    let t = Temp::new();
    t.file("f", "");
    let (client, root) = start(vec![tree(&t.0, false)]);
    let f = walk(&client, root, "f").unwrap();
    fs::remove_file(t.0.join("f")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, t.0.join("f"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(client.open(f, 0).unwrap_err(), Errno::ESTALE);
}

#[test]
fn a_hostile_client_is_cut_off() {
    let t = Temp::new();
    let state = open_trees(&GoferConfig { trees: vec![tree(&t.0, false)], scratch: None }).unwrap();
    let (ours, theirs) = Channel::pair().unwrap();
    let socket = theirs.as_fd().try_clone_to_owned().unwrap();
    let gofer = std::thread::spawn(move || serve(state, vec![socket]));
    // No greeting.
    let mut w = gofer_protocol::Writer::default();
    gofer_protocol::Request::Stat { node: 1, watch: Watch::No }.encode(1, &mut w);
    ours.send(w.as_bytes(), &[]).unwrap();
    gofer.join().unwrap().unwrap();
}

#[test]
fn hard_links_do_not_cross_trees() {
    let t = Temp::new();
    t.file("ro/f", "");
    t.file("rw/g", "");
    let (client, ro) = start(vec![tree(&t.0.join("ro"), false), tree(&t.0.join("rw"), true)]);
    let rw = client.trees()[1].root.node;
    let f = walk(&client, ro, "f").unwrap();
    assert_eq!(client.link(f, rw, b"f"), Err(Errno::EXDEV));
    assert_eq!(client.rename(ro, b"f", rw, b"f", 0), Err(Errno::EXDEV));
    assert_eq!(client.rename(rw, b"g", ro, b"g", 0), Err(Errno::EXDEV));
}

#[test]
fn nodes_are_given_back() {
    let t = Temp::new();
    t.file("a/b/c", "");
    let mut state = open_trees(&GoferConfig { trees: vec![tree(&t.0, false)], scratch: None }).unwrap();
    let root = state.trees().unwrap().0[0].root.node;
    let before = state.nodes.len();
    let held: Vec<_> = (0..3)
        .flat_map(|_| state.walk(root, Watch::No, &[b"a", b"b", b"c"]).unwrap().found)
        .map(|s| s.made.node)
        .collect();
    assert_eq!(state.nodes.len(), before + 3);
    held.into_iter().for_each(|n| state.nodes.forget(n, 1));
    assert_eq!(state.nodes.len(), before);
}

/// With few descriptors to spare, directories are closed and opened again.
#[test]
fn directories_share_a_budget_of_descriptors() {
    let t = Temp::new();
    (0..60).for_each(|i| drop(t.file(&format!("d{i}/e/f"), &i.to_string())));
    let mut state = open_trees(&GoferConfig { trees: vec![tree(&t.0, false)], scratch: None }).unwrap();
    state.nodes.set_budget(16);
    let root = state.trees().unwrap().0[0].root.node;
    let nodes: Vec<_> = (0..60)
        .map(|i| {
            let name = format!("d{i}");
            let reply = state.walk(root, Watch::No, &[name.as_bytes(), b"e", b"f"]).unwrap();
            reply.found.last().unwrap().made.node
        })
        .collect();
    assert!(state.nodes.open_dirs() <= 16);
    for (i, node) in nodes.into_iter().enumerate() {
        assert_eq!(read(state.open(node, 0).unwrap().1), i.to_string());
    }
    assert!(state.nodes.open_dirs() <= 16);
}

#[test]
fn extended_attributes() {
    let t = Temp::new();
    t.file("f", "");
    let (client, root) = start(vec![tree(&t.0, true)]);
    let f = walk(&client, root, "f").unwrap();
    match client.set_xattr(f, b"user.colour", b"blue", 0) {
        // A temporary directory on a file system without them.
        Err(Errno::EOPNOTSUPP) => return,
        other => other.unwrap(),
    }
    assert_eq!(client.get_xattr(f, b"user.colour").unwrap(), b"blue");
    assert_eq!(client.list_xattr(f).unwrap(), b"user.colour\0");
    client.remove_xattr(f, b"user.colour").unwrap();
    assert_eq!(client.get_xattr(f, b"user.colour"), Err(Errno::ENODATA));
    fs::set_permissions(t.0.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A sentry that was taken over asks for anything at all: whatever comes back is a regular file of the tree, not of what
/// is hidden, and nothing outside has changed.
#[test]
fn hostile_requests_reach_nothing_outside() {
    let t = Temp::new();
    let outside = Temp::new();
    let secret = outside.file("secret", "secret");
    t.file("tree/a/b/f", "f");
    t.file("tree/hidden/key", "key");
    t.file("ro/f", "ro");
    symlink(&outside.0, t.0.join("tree/out")).unwrap();
    symlink("..", t.0.join("tree/a/up")).unwrap();
    symlink(&secret, t.0.join("tree/to-secret")).unwrap();
    let (top, ro) = (t.0.join("tree"), t.0.join("ro"));
    let config = TreeConfig { hide: vec![top.join("hidden")], ..tree(&top, true) };
    let (client, root) = start(vec![config, tree(&ro, false)]);
    let names: [&[u8]; 9] = [b"a", b"b", b"f", b"out", b"up", b"to-secret", b"hidden", b"key", b"new"];
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let owner = Owner::default();
    let mut opened = 0;
    for _ in 0..30_000 {
        let node = root + random(40);
        let other = root + random(40);
        let name = names[random(9) as usize];
        let new = names[random(9) as usize];
        let fd = match random(16) {
            0 | 1 => client.walk(node, Watch::Yes, &[name, new, name]).ok().map(|_| None),
            2 => client.look(node, Watch::No, Xattrs::Tell, &[name, new]).ok().map(|_| None),
            3 | 4 => client.open(node, random(4) as u32).ok().map(|(fd, _)| Some(fd)),
            5 => client.create(node, name, 0o644, libc::O_RDWR as u32, owner).ok().map(|(_, fd)| Some(fd)),
            6 => client.mkdir(node, name, 0o755, owner).ok().map(|_| None),
            7 => client.symlink(node, name, b"../../../..", owner).ok().map(|_| None),
            8 => client.link(node, other, name).ok().map(|_| None),
            9 => client.rename(node, name, other, new, random(4) as u32).ok().map(|_| None),
            10 => client.unlink(node, name).ok().map(|_| None),
            11 => client.readdir(node, random(3), Entries::WithNodes, Watch::Yes).ok().map(|_| None),
            12 => {
                client.set_attr(node, SetAttr { mode: Some(0o755), ..SetAttr::default() }).ok().map(|_| None)
            }
            13 => client.mknod(node, name, libc::S_IFCHR | 0o666, owner).ok().map(|_| None),
            14 => client.scratch().ok().map(Some),
            _ => {
                client.forget(&[(node, 1)]);
                None
            }
        };
        let Some(Some(fd)) = fd else { continue };
        use std::os::fd::AsRawFd;
        let place = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd).unwrap().st_mode);
        assert_eq!(kind, rustix::fs::FileType::RegularFile);
        assert!(place.starts_with(&top) || place.starts_with(&ro), "{}", place.display());
        assert!(!place.starts_with(top.join("hidden")), "{}", place.display());
        let writes = rustix::fs::fcntl_getfl(&fd).unwrap() & rustix::fs::OFlags::ACCMODE;
        assert!(place.starts_with(&top) || writes == rustix::fs::OFlags::RDONLY);
        opened += 1;
    }
    assert!(opened > 100 && !client.is_dead());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(top.join("hidden/key")).unwrap(), "key");
    assert_eq!(fs::read_to_string(ro.join("f")).unwrap(), "ro");
    assert_eq!(fs::read_dir(&ro).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&t.0).unwrap().count(), 2);
}

#[test]
fn scratch_files_have_no_name_and_get_none() {
    let t = Temp::new();
    let config = GoferConfig { trees: vec![tree(&t.0, false)], scratch: Some(t.0.clone()) };
    let state = open_trees(&config).unwrap();
    let fd = match state.scratch() {
        // A file system without O_TMPFILE.
        Err(Errno::EOPNOTSUPP) => return,
        other => other.unwrap(),
    };
    rustix::io::write(&fd, b"x").unwrap();
    assert_eq!(fs::read_dir(&t.0).unwrap().count(), 0);
    use std::os::fd::AsRawFd;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let named = rustix::fs::linkat(
        rustix::fs::CWD,
        name,
        rustix::fs::CWD,
        t.0.join("n"),
        rustix::fs::AtFlags::SYMLINK_FOLLOW,
    );
    assert_eq!(named.err(), Some(rustix::io::Errno::NOENT));
}
