//! Every message survives the round trip; nothing else is taken for a message, and nothing panics.

use super::*;
use linux_abi::Errno;
use std::os::fd::AsFd;

fn attr() -> Attr {
    let at = |sec| Timestamp { sec, nsec: 999_999_999 };
    Attr {
        ino: 7,
        size: 1 << 40,
        blocks: 9,
        attributes: 16,
        dev_major: 8,
        dev_minor: 1,
        rdev_major: 1,
        rdev_minor: 3,
        mode: libc::S_IFREG | 0o4755,
        nlink: 2,
        uid: 1000,
        gid: 1001,
        blksize: 4096,
        atime: at(-1),
        mtime: at(2),
        ctime: at(3),
        btime: at(4),
    }
}

fn stated() -> Stated {
    Stated { attr: attr(), watch: 0 }
}

fn requests() -> Vec<Request<'static>> {
    let owner = Owner { uid: Some(0), gid: None };
    let set = SetAttr {
        mode: Some(0o7777),
        uid: Some(3),
        gid: None,
        size: Some(12),
        atime: SetTime::Now,
        mtime: SetTime::To(-5, 7),
    };
    vec![
        Request::Hello { version: VERSION },
        Request::Walk { node: 3, watch: Watch::Yes, names: vec![b"usr", b"lib", &[0xff; MAX_NAME]] },
        Request::Walk { node: 3, watch: Watch::Yes, names: vec![] },
        Request::Stat { node: 4, watch: Watch::Yes },
        Request::Look { dir: 4, watch: Watch::No, xattrs: Xattrs::Tell, names: vec![b"a", b"b"] },
        Request::Watches,
        Request::Scratch,
        Request::Open { node: 5, flags: 2 },
        Request::Readdir { node: 6, cookie: u64::MAX, entries: Entries::WithNodes, watch: Watch::Yes },
        Request::Readlink { node: 7 },
        Request::Statfs { node: 8 },
        Request::GetXattr { node: 9, name: b"user.a/b" },
        Request::ListXattr { node: 10 },
        Request::Create { dir: 1, name: b"a", mode: 0o644, flags: 1, owner },
        Request::Mkdir { dir: 1, name: b"b", mode: 0o755, owner },
        Request::Symlink { dir: 1, name: b"c", target: b"../x", owner },
        Request::Mknod { dir: 1, name: b"d", mode: libc::S_IFIFO | 0o600, owner },
        Request::Link { node: 2, dir: 1, name: b"e" },
        Request::Unlink { dir: 1, name: b"f" },
        Request::Rmdir { dir: 1, name: b"g" },
        Request::Rename { dir: 1, name: b"h", new_dir: 2, new_name: b"i", flags: 1 },
        Request::SetAttr { node: 1, set },
        Request::SetXattr { node: 1, name: b"user.x", value: b"\0\x01", flags: 2 },
        Request::RemoveXattr { node: 1, name: b"user.x" },
        Request::Sync { node: 1, whole: true },
        Request::Forget { nodes: vec![(1, 1), (2, u32::MAX), (u64::MAX, 0)] },
    ]
}

#[test]
fn requests_survive_the_round_trip() {
    for request in requests() {
        let mut w = Writer::default();
        request.encode(77, &mut w);
        assert_eq!(Request::decode(w.as_bytes()), Ok((77, request)));
    }
}

#[test]
fn every_truncation_and_extension_of_a_request_is_an_error() {
    for request in requests() {
        let mut w = Writer::default();
        request.encode(1, &mut w);
        let whole = w.as_bytes();
        for len in 0..whole.len() {
            assert!(Request::decode(&whole[..len]).is_err(), "{request:?} cut to {len}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(Request::decode(&longer).is_err(), "{request:?} with a byte more");
    }
}

/// Flipping any byte gives an error or another well-formed request, never a panic.
#[test]
fn damaged_requests_do_not_panic() {
    for request in requests() {
        let mut w = Writer::default();
        request.encode(1, &mut w);
        for at in 0..w.len() {
            for value in [0, 1, 0x2f, 0x7f, 0x80, 0xff] {
                let mut bytes = w.as_bytes().to_vec();
                bytes[at] = value;
                let _ = Request::decode(&bytes);
            }
        }
    }
}

#[test]
fn names_that_are_paths_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; MAX_NAME + 1]] {
        assert!(!valid_name(name));
        let mut w = Writer::default();
        Request::Unlink { dir: 1, name }.encode(1, &mut w);
        assert!(Request::decode(w.as_bytes()).is_err(), "{name:?}");
        w.clear();
        Request::Walk { node: 1, watch: Watch::No, names: vec![b"ok", name] }.encode(1, &mut w);
        assert!(Request::decode(w.as_bytes()).is_err(), "{name:?}");
    }
    assert!(valid_name(&[b'x'; MAX_NAME]) && valid_name(b"...") && valid_name(b"\xff\n"));
}

#[test]
fn a_walk_at_its_limit_passes_and_one_past_it_does_not() {
    for (count, ok) in [(MAX_WALK, true), (MAX_WALK + 1, false)] {
        let mut w = Writer::default();
        Request::Walk { node: 1, watch: Watch::No, names: vec![b"x"; count] }.encode(1, &mut w);
        assert_eq!(Request::decode(w.as_bytes()).is_ok(), ok);
    }
    for (count, ok) in [(MAX_FORGET, true), (MAX_FORGET + 1, false)] {
        let mut w = Writer::default();
        Request::Forget { nodes: vec![(1, 1); count] }.encode(1, &mut w);
        assert_eq!(Request::decode(w.as_bytes()).is_ok(), ok);
    }
}

fn round_trip<T: Wire + PartialEq + std::fmt::Debug>(value: T) {
    let mut w = Writer::default();
    value.encode(&mut w);
    let whole = w.as_bytes();
    let mut r = Reader::new(whole);
    assert_eq!(T::decode(&mut r), Ok(value));
    assert_eq!(r.end(), Ok(()));
    for len in 0..whole.len() {
        let mut r = Reader::new(&whole[..len]);
        assert!(T::decode(&mut r).is_err(), "cut to {len} of {}", whole.len());
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[at] = value;
            let _ = T::decode(&mut Reader::new(&bytes));
        }
    }
}

#[test]
fn replies_survive_the_round_trip_and_no_part_of_one_passes() {
    let made = Made { node: 5, attr: attr() };
    round_trip(attr());
    round_trip(made);
    round_trip(Trees(vec![Tree { root: made, writable: true }, Tree { root: made, writable: false }]));
    let step = |watch| Step { made, watch };
    round_trip(WalkReply { watch: 1, found: vec![step(2), step(0)], stop: Some(Errno::ENOENT), link: None });
    round_trip(WalkReply { watch: 0, found: vec![step(0)], stop: None, link: Some(b"../a".to_vec()) });
    round_trip(Looked { watch: 3, found: vec![Ok(Found { made, plain: true }), Err(Errno::ENOENT)] });
    let entry = |made| DirEntry { name: b"n".to_vec(), ino: 1, next_cookie: 2, d_type: 8, made };
    round_trip(DirEntries { entries: vec![entry(None), entry(Some(made))], end: false, watch: 7 });
    round_trip(Bytes(b"value".to_vec()));
    round_trip(Statfs { kind: 1, flags: 2, ..Statfs::default() });
    round_trip(Stated { attr: attr(), watch: 9 });
}

#[test]
fn a_full_listing_fits_a_message() {
    const { assert!(DirEntry::MAX_SIZE < MAX_MESSAGE / 64) };
}

/// A gofer that answers with whatever the closure writes.
fn false_gofer(answer: impl Fn(u64, &mut Writer, &Channel) + Send + 'static) -> Client {
    let (ours, theirs) = Channel::pair().unwrap();
    std::thread::spawn(move || {
        let mut buf = vec![0; MAX_MESSAGE];
        let mut fds = Fds::new();
        let mut w = Writer::default();
        while let Ok(Received::Message(len)) = theirs.recv(&mut buf, &mut fds) {
            let (id, request) = Request::decode(&buf[..len]).unwrap();
            w.clear();
            if let Request::Hello { .. } = request {
                begin_reply(&mut w, id);
                Trees(vec![]).encode(&mut w);
                theirs.send(w.as_bytes(), &[]).unwrap();
            } else {
                answer(id, &mut w, &theirs);
            }
        }
    });
    Client::connect(vec![ours.as_fd().try_clone_to_owned().unwrap()]).unwrap()
}

#[test]
fn an_answer_that_does_not_fit_ends_the_connection() {
    type Answer = fn(u64, &mut Writer, &Channel);
    let bad: [Answer; 7] = [
        // Another question's number.
        |id, w, c| {
            begin_reply(w, id + 1);
            stated().encode(w);
            c.send(w.as_bytes(), &[]).unwrap();
        },
        // A body that is cut.
        |id, w, c| {
            begin_reply(w, id);
            stated().encode(w);
            w.truncate(w.len() - 1);
            c.send(w.as_bytes(), &[]).unwrap();
        },
        // Bytes left over.
        |id, w, c| {
            begin_reply(w, id);
            stated().encode(w);
            w.u8(0);
            c.send(w.as_bytes(), &[]).unwrap();
        },
        // A descriptor that nobody asked for.
        |id, w, c| {
            begin_reply(w, id);
            stated().encode(w);
            let file = std::fs::File::open("/dev/null").unwrap();
            c.send(w.as_bytes(), &[file.as_fd()]).unwrap();
        },
        // A descriptor announced, none sent.
        |id, w, c| {
            begin_reply(w, id);
            stated().encode(w);
            finish_reply(w, Ok(1));
            c.send(w.as_bytes(), &[]).unwrap();
        },
        // An error with a body.
        |id, w, c| {
            begin_reply(w, id);
            finish_reply(w, Err(Errno::ENOENT));
            w.u64(1);
            c.send(w.as_bytes(), &[]).unwrap();
        },
        // Impossible nanoseconds.
        |id, w, c| {
            begin_reply(w, id);
            let mut s = stated();
            s.attr.mtime.nsec = 1_000_000_000;
            s.encode(w);
            c.send(w.as_bytes(), &[]).unwrap();
        },
    ];
    for (i, answer) in bad.into_iter().enumerate() {
        let client = false_gofer(answer);
        assert_eq!(client.stat(1), Err(Errno::EIO), "answer {i}");
        assert!(client.is_dead(), "answer {i}");
        assert_eq!(client.stat(1), Err(Errno::EIO), "answer {i}, again");
    }
}

#[test]
fn an_error_is_only_an_error() {
    let client = false_gofer(|id, w, c| {
        begin_reply(w, id);
        finish_reply(w, Err(Errno::EACCES));
        c.send(w.as_bytes(), &[]).unwrap();
    });
    assert_eq!(client.stat(1), Err(Errno::EACCES));
    assert!(!client.is_dead());
}

#[test]
fn a_walk_that_finds_more_than_was_asked_is_refused() {
    let client = false_gofer(|id, w, c| {
        begin_reply(w, id);
        let mut dir = attr();
        dir.mode = libc::S_IFDIR;
        let made = Made { node: 2, attr: dir };
        let step = Step { made, watch: 0 };
        WalkReply { found: vec![step, step], ..WalkReply::default() }.encode(w);
        c.send(w.as_bytes(), &[]).unwrap();
    });
    assert_eq!(client.walk(1, Watch::No, &[b"a"]), Err(Errno::EIO));
    assert!(client.is_dead());
}

#[test]
fn a_look_that_answers_another_number_of_names_is_refused() {
    let client = false_gofer(|id, w, c| {
        begin_reply(w, id);
        Looked { watch: 0, found: vec![Err(Errno::ENOENT)] }.encode(w);
        c.send(w.as_bytes(), &[]).unwrap();
    });
    assert_eq!(client.look(1, Watch::No, Xattrs::Leave, &[b"a", b"b"]), Err(Errno::EIO));
    assert!(client.is_dead());
}

#[test]
fn the_answer_to_a_full_look_fits_a_message() {
    const { assert!(MAX_LOOK * (4 + 1 + 8 + Attr::SIZE) + 64 < MAX_MESSAGE) };
}

#[test]
fn a_message_past_the_limit_is_refused_on_both_ends() {
    let (a, b) = Channel::pair().unwrap();
    assert_eq!(a.send(&vec![0; MAX_MESSAGE + 1], &[]), Err(Errno::EMSGSIZE));
    a.send(&[1; 64], &[]).unwrap();
    assert_eq!(b.recv(&mut [0; 16], &mut Fds::new()), Err(Errno::EMSGSIZE));
    drop(a);
    assert_eq!(b.recv(&mut [0; 16], &mut Fds::new()), Ok(Received::Closed));
}
