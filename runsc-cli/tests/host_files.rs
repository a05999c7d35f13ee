//! The sentry's view of host files over a real gofer, and the donated streams, without a guest.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

use gofer::{GoferConfig, TreeConfig};
use linux_abi::Errno;
use sentry::fsimpl::host::poller::HostPoller;
use sentry::fsimpl::host::stream::HostStream;
use sentry::fsimpl::host::{HostFs, HostOptions, Watcher};
use sentry::mm::{SliceSource, VecSink};
use sentry::vfs::file::{File, Positioning};
use sentry::vfs::inode::{FileSystem, InodeRef, NewNode, Owner, SetAttrs};
use sentry::vfs::FileKind;
use sentry::wait_queue::{PollEvents, Waiter};

/// A directory, shown by a gofer that runs on a thread of this process.
struct Shown {
    dir: PathBuf,
    root: InodeRef,
}

impl Shown {
    fn new() -> Shown {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("host-files-{}-{n}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let tree = TreeConfig { source: dir.clone(), writable: true, ..TreeConfig::default() };
        let state = gofer::open_trees(&GoferConfig { trees: vec![tree], scratch: None }).unwrap();
        let (ours, theirs) = socketpair();
        std::thread::spawn(move || gofer::serve(state, vec![theirs]).unwrap());
        let client = Arc::new(gofer_protocol::Client::connect(vec![ours]).unwrap());
        let watcher = Watcher::new(client.watches().ok());
        let options = HostOptions { mounted_at: b"/mnt".to_vec(), ..HostOptions::default() };
        let fs = HostFs::new(client, 0, options, watcher).unwrap();
        Shown { dir, root: fs.root() }
    }
    fn file(&self, name: &str, content: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fn open(&self, inode: &InodeRef, flags: i32) -> Arc<File> {
        let ops = inode.clone().open(flags as u32).unwrap();
        File::new(ops, None, Some(inode.clone()), flags as u32)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn socketpair() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn read(file: &File, pos: u64) -> Vec<u8> {
    let mut sink = VecSink::new(64);
    file.ops.read(file, pos, &mut sink).unwrap();
    sink.data
}

#[test]
fn names_attributes_and_contents() {
    let s = Shown::new();
    s.file("a/b/c", "content");
    std::os::unix::fs::symlink("b/c", s.dir.join("a/link")).unwrap();
    s.root.prefetch(&[b"a", b"b", b"c"]);
    let a = s.root.lookup(b"a").unwrap();
    let c = a.lookup(b"b").unwrap().lookup(b"c").unwrap();
    assert_eq!((c.kind(), c.attrs().unwrap().size), (FileKind::Regular, 7));
    assert_eq!(a.lookup(b"link").unwrap().readlink().unwrap(), b"b/c");
    assert_eq!(a.lookup(b"none").err(), Some(Errno::ENOENT));
    let file = s.open(&c, libc::O_RDONLY);
    assert_eq!(read(&file, 3), b"tent");
    assert_eq!(read(&file, 7), b"");
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(b"x")), Err(Errno::EBADF));
    let map = file.ops.mappable(&file).unwrap();
    assert_eq!(map.name(), "/mnt/a/b/c");
    assert_eq!(map.descriptor(true, true).err(), Some(Errno::EACCES));
    let fd = map.descriptor(true, false).unwrap();
    let flags = rustix::fs::fcntl_getfl(&*fd).unwrap();
    assert!(!flags.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR));
    // The size of an open file is the host's, at once.
    s.file("a/b/c", "content grown");
    assert_eq!(c.attrs().unwrap().size, 13);
}

#[test]
fn what_is_cached_holds_until_the_directory_changes() {
    let s = Shown::new();
    s.file("f", "1");
    let f = s.root.lookup(b"f").unwrap();
    assert_eq!(s.root.lookup(b"new").err(), Some(Errno::ENOENT));
    assert!(s.root.revalidate(b"f", Some(&f)) && s.root.revalidate(b"new", None));
    s.file("new", "");
    assert!(s.root.revalidate(b"f", Some(&f)), "still the same file");
    assert!(!s.root.revalidate(b"new", None));
    assert!(s.root.lookup(b"new").is_ok());
    fs::rename(s.dir.join("new"), s.dir.join("f")).unwrap();
    assert!(!s.root.revalidate(b"f", Some(&f)), "another file");
}

#[test]
fn a_file_replaced_under_a_cached_name_is_opened_as_it_is_now() {
    let s = Shown::new();
    s.file("f", "old");
    let f = s.root.lookup(b"f").unwrap();
    s.file("tmp", "new");
    fs::rename(s.dir.join("tmp"), s.dir.join("f")).unwrap();
    assert_eq!(read(&s.open(&f, libc::O_RDONLY), 0), b"new");
    fs::remove_file(s.dir.join("f")).unwrap();
    let g = s.root.lookup(b"f");
    assert_eq!(g.err(), Some(Errno::ENOENT));
}

#[test]
fn listings_go_on_where_they_stopped() {
    let s = Shown::new();
    (0..700).for_each(|i| s.file(&format!("d/{i}"), ""));
    let d = s.root.lookup(b"d").unwrap();
    let file = s.open(&d, libc::O_RDONLY | libc::O_DIRECTORY);
    let mut names = std::collections::HashSet::new();
    let mut cookie = 2;
    loop {
        let part = file.ops.readdir(&file, cookie, 33).unwrap();
        let Some(last) = part.last() else { break };
        assert!(part.len() <= 33);
        cookie = last.cookie;
        for entry in part {
            assert_eq!(entry.kind, FileKind::Regular);
            assert!(names.insert(entry.name), "twice");
        }
    }
    assert_eq!(names.len(), 700);
    assert!(file.ops.readdir(&file, cookie, 33).unwrap().is_empty());
    assert_eq!(file.ops.readdir(&file, 0, 9).unwrap().len(), 9, "rewound");
}

#[test]
fn a_writable_tree_is_changed() {
    let s = Shown::new();
    let owner = Owner { uid: 0, gid: 0, perm: 0o640 };
    let f = s.root.create(b"f", &NewNode::Regular, owner).unwrap();
    let file = s.open(&f, libc::O_RDWR);
    assert_eq!(file.ops.write(&file, 2, &mut SliceSource(b"cd")), Ok(2));
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(b"ab")), Ok(2));
    assert_eq!(file.ops.append(&file, &mut SliceSource(b"e")), Ok((1, 5)));
    assert_eq!(read(&file, 0), b"abcde");
    file.ops.truncate(&file, 3).unwrap();
    assert_eq!(file.ops.size(&file), Ok(3));
    f.set_attrs(&SetAttrs { perm: Some(0o600), ..SetAttrs::default() }).unwrap();
    assert_eq!(f.attrs().unwrap().mode(), libc::S_IFREG | 0o600);
    let d = s.root.create(b"d", &NewNode::Dir, Owner { perm: 0o700, ..owner }).unwrap();
    s.root.rename(b"f", &d, b"g", 0).unwrap();
    assert_eq!(s.root.lookup(b"f").err(), Some(Errno::ENOENT));
    s.root.link(b"h", &d.lookup(b"g").unwrap()).unwrap();
    assert_eq!(s.root.lookup(b"h").unwrap().attrs().unwrap().nlink, 2);
    assert_eq!(fs::read_to_string(s.dir.join("h")).unwrap(), "abc");
    assert_eq!(s.root.rmdir(b"d"), Err(Errno::ENOTEMPTY));
    d.unlink(b"g").unwrap();
    s.root.rmdir(b"d").unwrap();
    s.root.unlink(b"h").unwrap();
    assert_eq!(read(&file, 0), b"abc", "unlinked, still open");
    assert_eq!(s.root.create(b"c", &NewNode::Char(0x103), owner).err(), Some(Errno::EPERM));
}

/// Whatever the host does, the next look sees it: ten thousand times of each kind.
#[test]
fn a_change_on_the_host_is_seen_at_once() {
    let s = Shown::new();
    s.file("d/f", "");
    let d = s.root.lookup(b"d").unwrap();
    let f = d.lookup(b"f").unwrap();
    let host = s.dir.join("d");
    for i in 1..=10_000u64 {
        // Longer.
        fs::OpenOptions::new().append(true).open(host.join("f")).unwrap().write_all(b"x").unwrap();
        assert_eq!(f.attrs().unwrap().size, i);
        // There, and gone again.
        fs::write(host.join("new"), "").unwrap();
        assert!(!d.revalidate(b"new", None) && d.lookup(b"new").is_ok(), "{i}");
        fs::remove_file(host.join("new")).unwrap();
        assert_eq!(d.lookup(b"new").err(), Some(Errno::ENOENT), "{i}");
        assert!(d.revalidate(b"new", None));
    }
    assert!(d.revalidate(b"f", Some(&f)));
}

#[test]
fn attributes_of_links_and_directories_are_seen_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let s = Shown::new();
    s.file("d/f", "");
    s.file("elsewhere/x", "");
    fs::hard_link(s.dir.join("d/f"), s.dir.join("elsewhere/f")).unwrap();
    let d = s.root.lookup(b"d").unwrap();
    let f = d.lookup(b"f").unwrap();
    for i in 1..500u32 {
        fs::write(s.dir.join("elsewhere/f"), vec![0; i as usize]).unwrap();
        assert_eq!(f.attrs().unwrap().size, u64::from(i), "by another name");
        let mode = 0o700 | (i & 0o77);
        fs::set_permissions(s.dir.join("d"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(d.attrs().unwrap().perm, mode);
        fs::create_dir(s.dir.join(format!("d/{i}"))).unwrap();
        assert_eq!(d.attrs().unwrap().nlink, u64::from(i) + 2);
    }
}

/// More happens than the host's kernel keeps: all that was known is asked for anew.
#[test]
fn lost_events_are_not_missed() {
    let s = Shown::new();
    s.file("d/f", "");
    let d = s.root.lookup(b"d").unwrap();
    let f = d.lookup(b"f").unwrap();
    f.attrs().unwrap();
    for i in 0..40_000 {
        let name = s.dir.join(format!("d/{}", i % 7));
        fs::write(&name, "").unwrap();
    }
    s.file("d/f", "changed");
    s.file("d/last", "");
    assert_eq!(f.attrs().unwrap().size, 7);
    assert!(d.lookup(b"last").is_ok() && d.lookup(b"6").is_ok());
    let before = d.lookup(b"last").unwrap();
    fs::remove_file(s.dir.join("d/last")).unwrap();
    assert!(!d.revalidate(b"last", Some(&before)), "watched again");
}

#[test]
fn a_write_through_a_mapping_shows_within_a_moment() {
    let s = Shown::new();
    s.file("f", &"x".repeat(8192));
    let f = s.root.lookup(b"f").unwrap();
    let before = f.attrs().unwrap().mtime;
    let host = fs::OpenOptions::new().read(true).write(true).open(s.dir.join("f")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    f.attrs().unwrap();
    // As a store into a mapping would: the host tells of neither.
    rustix::fs::futimens(&host, &now()).unwrap();
    let start = std::time::Instant::now();
    while f.attrs().unwrap().mtime == before {
        assert!(start.elapsed() < Duration::from_millis(100));
    }
}

fn now() -> rustix::fs::Timestamps {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
}

#[test]
fn a_moved_file_is_known_by_its_new_place() {
    let s = Shown::new();
    s.file("a/f", "1");
    s.file("b/x", "");
    let (a, b) = (s.root.lookup(b"a").unwrap(), s.root.lookup(b"b").unwrap());
    let f = a.lookup(b"f").unwrap();
    f.attrs().unwrap();
    a.rename(b"f", &b, b"g", 0).unwrap();
    assert_eq!((f.attrs().unwrap().size, f.attrs().unwrap().nlink), (1, 1));
    let g = b.lookup(b"g").unwrap();
    for i in 2..200 {
        s.file("b/g", &"x".repeat(i));
        assert_eq!((f.attrs().unwrap().size, g.attrs().unwrap().size), (i as u64, i as u64));
    }
    assert_eq!(a.lookup(b"f").err(), Some(Errno::ENOENT));
}

#[test]
fn extended_attributes_are_remembered_and_seen_to_change() {
    let s = Shown::new();
    s.file("f", "");
    let f = s.root.lookup(b"f").unwrap();
    if f.setxattr(b"user.a", b"0", 0) == Err(Errno::EOPNOTSUPP) {
        return;
    }
    let host = fs::File::open(s.dir.join("f")).unwrap();
    for i in 0..500 {
        let value = format!("{i}");
        rustix::fs::fsetxattr(&host, "user.a", value.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(f.getxattr(b"user.a").unwrap(), value.as_bytes());
        assert_eq!(f.getxattr(b"user.a").unwrap(), value.as_bytes());
        assert_eq!(f.getxattr(b"user.b"), Err(Errno::ENODATA));
    }
    assert_eq!(f.listxattr().unwrap(), [b"user.a".to_vec()]);
    rustix::fs::fremovexattr(&host, "user.a").unwrap();
    assert!(f.listxattr().unwrap().is_empty());
}

#[test]
fn a_large_directory_is_read_again_from_memory_until_it_changes() {
    let s = Shown::new();
    (0..3000).for_each(|i| s.file(&format!("d/{i}"), ""));
    let d = s.root.lookup(b"d").unwrap();
    let list = || {
        let file = s.open(&d, libc::O_RDONLY | libc::O_DIRECTORY);
        let (mut cookie, mut names) = (0, Vec::new());
        loop {
            let part = file.ops.readdir(&file, cookie, 100).unwrap();
            let Some(last) = part.last() else { return names };
            cookie = last.cookie;
            names.extend(part.into_iter().map(|e| e.name));
        }
    };
    let first = list();
    assert_eq!(first.len(), 3000);
    assert_eq!(list(), first);
    // In the order of the listing, many at a time.
    assert!(first.iter().all(|n| d.lookup(n).unwrap().attrs().is_ok()));
    fs::remove_file(s.dir.join("d/17")).unwrap();
    s.file("d/new", "");
    let names = list();
    assert!(names.len() == 3000 && names.iter().any(|n| n == b"new") && !names.iter().any(|n| n == b"17"));
    // A change in the middle of a reading loses no entry that stays.
    let file = s.open(&d, libc::O_RDONLY | libc::O_DIRECTORY);
    let part = file.ops.readdir(&file, 0, 1500).unwrap();
    s.file("d/another", "");
    let mut seen: std::collections::HashSet<_> = part.iter().map(|e| e.name.clone()).collect();
    let mut cookie = part.last().unwrap().cookie;
    loop {
        let part = file.ops.readdir(&file, cookie, 100).unwrap();
        let Some(last) = part.last() else { break };
        cookie = last.cookie;
        seen.extend(part.into_iter().map(|e| e.name));
    }
    assert!(names.iter().all(|n| seen.contains(n)));
}

struct Tell(Mutex<mpsc::Sender<PollEvents>>);

impl Waiter for Tell {
    fn notify(&self, events: PollEvents) {
        let _ = self.0.lock().unwrap().send(events);
    }
}

#[test]
fn a_pipe_never_blocks_and_tells_when_it_is_ready() {
    let poller = HostPoller::new().unwrap();
    poller.start(Box::new(|| {})).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let file = HostStream::new(reader, &poller).unwrap().file();
    assert_eq!(file.ops.positioning(), Positioning::Stream);
    let mut sink = VecSink::new(16);
    assert_eq!(file.ops.read(&file, 0, &mut sink), Err(Errno::EAGAIN));
    let (tell, told) = mpsc::channel();
    let queue = file.ops.wait_queue().unwrap();
    let place = queue.register(PollEvents::READABLE, Arc::new(Tell(Mutex::new(tell))));
    assert_eq!(file.ops.read(&file, 0, &mut sink), Err(Errno::EAGAIN));
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    rustix::io::write(&writer, b"hello").unwrap();
    assert!(told.recv_timeout(Duration::from_secs(5)).unwrap().contains(PollEvents::IN));
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "told once");
    drop(place);
    assert!(file.ops.poll(&file).contains(PollEvents::IN));
    assert_eq!(file.ops.read(&file, 0, &mut sink), Ok(5));
    drop(writer);
    assert_eq!(file.ops.read(&file, 0, &mut sink), Ok(0), "the end");
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(b"x")), Err(Errno::EBADF));
}

#[test]
fn a_full_pipe_takes_what_fits() {
    let poller = HostPoller::new().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let file = HostStream::new(writer, &poller).unwrap().file();
    let flags = rustix::fs::fcntl_getfl(reader.as_fd()).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    // A plain write(2) of a pipe's capacity and no more, since the source of a test knows no RWF_NOWAIT.
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(&[1; 65536])), Ok(65536));
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(b"x")), Err(Errno::EAGAIN));
    assert!(!file.ops.poll(&file).contains(PollEvents::OUT));
}

#[test]
fn a_file_as_output_keeps_position_and_append_mode() {
    let s = Shown::new();
    let mut host =
        fs::OpenOptions::new().create(true).append(true).read(true).open(s.dir.join("out")).unwrap();
    host.write_all(b"before ").unwrap();
    let poller = HostPoller::new().unwrap();
    let file = HostStream::new(host.as_fd().try_clone_to_owned().unwrap(), &poller).unwrap().file();
    assert_eq!(file.ops.positioning(), Positioning::Host);
    assert_ne!(file.flags() & libc::O_APPEND as u32, 0);
    assert_eq!(file.ops.write(&file, 0, &mut SliceSource(b"inside ")), Ok(7));
    host.write_all(b"after").unwrap();
    assert_eq!(file.ops.seek(&file, 0, 1), Ok(19));
    host.rewind().unwrap();
    let mut text = String::new();
    host.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before inside after");
    let mut sink = VecSink::new(6);
    assert_eq!(file.ops.read_at(&file, 7, &mut sink), Ok(6));
    assert_eq!(sink.data, b"inside");
}

#[test]
fn a_directory_as_standard_input_is_refused() {
    let poller = HostPoller::new().unwrap();
    let dir = OwnedFd::from(fs::File::open("/").unwrap());
    assert_eq!(HostStream::new(dir, &poller).err(), Some(Errno::EISDIR));
}
