//! What a run leaves: `--diff`, `--export`, `--overlay disk`, `--root`, and the room that `--disk` gives.

use std::fs;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, is_root};
use runsc_tests::{have, run, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);
const OVERLAYS: [&str; 2] = ["memory", "disk"];

fn everyone() -> Vec<Who> {
    if is_root() {
        vec![Who::Caller, Who::Nobody]
    } else {
        vec![Who::Caller]
    }
}

/// A directory that anybody may write, with a small tree in it, as the lower layer.
fn lower(who: Who) -> TempDir {
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("our own directory");
    fs::create_dir_all(dir.join("tree/deep/er")).expect("our own directory");
    fs::create_dir(dir.join("tree/gone")).expect("our own directory");
    for (name, text) in [
        ("tree/kept", "kept"),
        ("tree/changed", "before"),
        ("tree/removed", "removed"),
        ("tree/old-name", "moved"),
        ("tree/deep/file", "file"),
        ("tree/deep/er/file", "deeper"),
        ("tree/gone/inner", "inner"),
        ("tree/mode", "mode"),
    ] {
        fs::write(dir.join(name), text).expect("our own directory");
    }
    give(&dir.join("tree"), who);
    dir
}

/// Makes `who` the owner of a tree.
fn give(path: &Path, who: Who) {
    if who == Who::Nobody {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("root may do so");
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), who);
    }
}

fn shell(who: Who, dir: &Path, options: &[&str], script: &str) -> Outcome {
    let mut command = do_command_with(who, options);
    command.args(["sh", "-ec", script]).current_dir(dir);
    run(&mut command, LIMIT)
}

/// The lines of the list, relative to the directory.
fn listed(outcome: &Outcome, dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    let lines = outcome.err();
    let lines = lines.lines().filter_map(|l| l.strip_prefix("runsc:   "));
    lines.map(|l| l.replace(&prefix, "").split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

const CHANGES: &str = "cd tree
    echo after >changed; rm removed; mv old-name new-name; rm -r gone; chmod 600 mode
    touch kept; : >>kept; cat deep/file >/dev/null
    mkdir -p made/sub; echo x >made/sub/f; ln made/sub/f made/link; ln -s ../kept made/sym
    mv deep moved; echo more >>moved/er/file; rm -r moved/er; mkdir moved/er";

#[test]
fn the_list_is_like_git_status() {
    for overlay in OVERLAYS {
        for who in everyone() {
            let dir = lower(who);
            let outcome = shell(who, dir.path(), &["--overlay", overlay, "--diff"], CHANGES);
            assert_eq!(outcome.code, Some(0), "{}", outcome.text());
            let expected = [
                "modified: tree/changed",
                "deleted: tree/gone/",
                "new file: tree/made/",
                "new file: tree/made/link",
                "new file: tree/made/sub/",
                "new file: tree/made/sub/f",
                "new file: tree/made/sym",
                "modified: tree/mode",
                "renamed: tree/deep/ -> tree/moved/",
                "new file: tree/moved/er/",
                "renamed: tree/old-name -> tree/new-name",
                "deleted: tree/removed",
            ];
            let mut listed = listed(&outcome, dir.path());
            // `er` in the moved directory was replaced by another directory.
            listed.iter_mut().for_each(|l| *l = l.replace("typechange: tree/moved", "new file: tree/moved"));
            let mut expected: Vec<String> = expected.iter().map(|l| (*l).to_owned()).collect();
            listed.sort();
            expected.sort();
            assert_eq!(listed, expected, "{overlay} {who:?}: {}", outcome.text());
            assert_eq!(fs::read_to_string(dir.join("tree/changed")).expect("ours"), "before");
        }
    }
}

#[test]
fn nothing_changed_is_said_and_the_order_is_that_of_names() {
    let dir = lower(Who::Caller);
    let outcome = shell(Who::Caller, dir.path(), &["--diff"], "cat tree/kept >/dev/null");
    assert_eq!(outcome.err(), "runsc: no file was changed\n");
    let script = "for n in z a m b; do echo >tree/$n; done; mv tree/a tree/a1; rm tree/b";
    let outcome = shell(Who::Caller, dir.path(), &["--diff"], script);
    let names = ["new file: tree/a1", "new file: tree/m", "new file: tree/z"];
    assert_eq!(listed(&outcome, dir.path()), names, "{}", outcome.text());
    let outcome = shell(Who::Caller, dir.path(), &["--diff", "--log-format", "json"], "rm tree/kept");
    let line: serde_json::Value = serde_json::from_str(outcome.err().trim()).expect("a line of JSON");
    assert_eq!((line["event"].as_str(), line["change"].as_str()), (Some("changed"), Some("deleted")));
}

#[test]
fn names_in_the_list_do_not_talk_to_the_terminal() {
    let dir = lower(Who::Caller);
    let script =
        "cd tree; : >\"$(printf 'a\\033[2Jb')\"; : >\"$(printf 'c\\nrunsc: d')\"; : >\"$(printf '\\377')\"";
    let outcome = shell(Who::Caller, dir.path(), &["--diff"], script);
    let text = outcome.err();
    assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text:?}");
    assert!(text.contains("a\\033[2Jb\"") && text.contains("c\\nrunsc: d\"") && text.contains("\\377\""));
    assert_eq!(text.lines().count(), 4, "{text}");
}

/// What `tar` says of an archive.
fn tar(args: &[&str], archive: &Path) -> String {
    let mut command = Command::new("tar");
    command
        .args(args)
        .arg("--warning=no-timestamp")
        .arg("-f")
        .arg(archive)
        .env("TZ", "UTC")
        .env("LC_ALL", "C");
    let outcome = run(&mut command, LIMIT);
    assert_eq!((outcome.code, outcome.err().as_str()), (Some(0), ""), "{}", outcome.text());
    outcome.out()
}

#[test]
fn the_archive_is_an_oci_layer() {
    if !have("tar") {
        return;
    }
    for overlay in OVERLAYS {
        for who in everyone() {
            let dir = lower(who);
            let archive = dir.join("changes.tar");
            let options = ["--overlay", overlay, "--export", archive.to_str().expect("our own name")];
            let script = format!("{CHANGES}; rm -r made; mkdir made; : >made/.wh.x; mkdir -p kept.d");
            // A directory of the lower layer that another one takes the place of.
            let script = format!("{script}; rm -r moved; mkdir deep; echo new >deep/only");
            let outcome = shell(who, dir.path(), &options, &script);
            assert_eq!(outcome.code, Some(0), "{}", outcome.text());
            let base = dir.path().strip_prefix("/").expect("absolute").display().to_string();
            let listing = tar(&["-t"], &archive);
            let below: Vec<&str> = listing
                .lines()
                .filter_map(|l| l.strip_prefix(&format!("{base}/tree/")))
                .filter(|l| !l.is_empty())
                .collect();
            let expected = [
                ".wh.gone",
                ".wh.old-name",
                ".wh.removed",
                "changed",
                "deep/",
                "deep/.wh..wh..opq",
                "deep/only",
                "kept",
                "kept.d/",
                "made/",
                "mode",
                "new-name",
            ];
            let mut sorted = below.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, expected, "{overlay} {who:?}\n{listing}");
            let at = |name: &str| below.iter().position(|l| *l == name);
            assert!(at("deep/") < at("deep/.wh..wh..opq") && at("deep/.wh..wh..opq") < at("deep/only"));
        }
    }
}

#[test]
fn the_archive_keeps_what_files_are() {
    if !have("tar") || !have("python3") || !have("setfattr") {
        return;
    }
    let long = "n".repeat(200);
    let script = format!(
        "cd tree; mkdir {long} && mkdir {long}/{long} && echo deep >{long}/{long}/f
        ln -s {long}/{long}/f long-link; mkfifo pipe; echo one >a; ln a b; chmod 4751 a
        touch -d '1969-12-31 23:59:58.25 UTC' old; touch -d '2031-02-03 04:05:06.123456789 UTC' new
        truncate -s 1T sparse; echo end | dd of=sparse bs=1 seek=500000000000 conv=notrunc 2>/dev/null
        head -c 3000000 /dev/zero | tr '\\0' 'x' >large; setfattr -n user.colour -v blue a
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'"
    );
    for overlay in OVERLAYS {
        let dir = lower(Who::Caller);
        let archive = dir.join("changes.tar");
        let options =
            ["--overlay", overlay, "--user", "0", "--export", archive.to_str().expect("our own name")];
        let outcome = shell(Who::Caller, dir.path(), &options, &script);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        assert!(fs::metadata(&archive).expect("written").len() < 8 << 20, "holes are not written");
        let out = TempDir::new();
        tar(&["-x", "--xattrs", "-C", out.path().to_str().expect("our own name")], &archive);
        let tree = out.join(dir.join("tree").strip_prefix("/").expect("absolute").to_str().expect("ours"));
        let meta = |name: &str| fs::symlink_metadata(tree.join(name)).expect(name);
        assert_eq!(fs::read_to_string(tree.join("long-link")).expect("a link that leads on"), "deep\n");
        assert_eq!(meta("a").ino(), meta("b").ino());
        assert_eq!(meta("a").mode() & 0o7777, 0o4751);
        assert_eq!((meta("old").mtime(), meta("old").mtime_nsec()), (-2, 250_000_000));
        assert_eq!((meta("new").mtime(), meta("new").mtime_nsec()), (1_927_857_906, 123_456_789));
        assert_eq!(meta("sparse").len(), 1 << 40);
        assert!(meta("sparse").blocks() < 100);
        assert_eq!(meta("pipe").mode() & libc::S_IFMT, libc::S_IFIFO);
        assert_eq!(fs::read(tree.join("large")).expect("ours"), vec![b'x'; 3_000_000]);
        let names = "import sys, tarfile
t = tarfile.open(sys.argv[1])
for m in t:
    if m.name.endswith('/a'): print(m.pax_headers.get('SCHILY.xattr.user.colour'))
    if m.name.endswith('/sparse'): print(m.size, t.extractfile(m).seek(500000000000), m.issparse())";
        let seen = run(Command::new("python3").args(["-c", names]).arg(&archive), LIMIT);
        assert_eq!(seen.out(), "blue\n1099511627776 500000000000 True\n", "{}", seen.text());
    }
}

#[test]
fn the_archive_goes_nowhere_but_to_its_file() {
    let dir = lower(Who::Caller);
    let victim = dir.join("victim");
    fs::write(&victim, "untouched").expect("our own directory");
    symlink(&victim, dir.join("link.tar")).expect("our own directory");
    fs::hard_link(&victim, dir.join("hard.tar")).expect("our own directory");
    for name in ["link.tar", "hard.tar", "tree", "no/such/dir.tar"] {
        let path = dir.join(name);
        let options = ["--export", path.to_str().expect("our own name")];
        let outcome = shell(Who::Caller, dir.path(), &options, "echo ran; rm tree/kept");
        assert_eq!((outcome.code, outcome.out().as_str()), (Some(125), ""), "{name}: {}", outcome.text());
        assert!(outcome.err().contains("--export"), "{}", outcome.text());
    }
    assert_eq!(fs::read_to_string(&victim).expect("ours"), "untouched");
    // A file of one's own is written over, and keeps its old bytes until the run is over.
    let own = dir.join("own.tar");
    fs::write(&own, vec![b'x'; 100_000]).expect("our own directory");
    let options = ["--export", own.to_str().expect("our own name")];
    let outcome = shell(Who::Caller, dir.path(), &options, "wc -c <own.tar; rm tree/kept");
    assert_eq!((outcome.code, outcome.out().trim()), (Some(0), "100000"), "{}", outcome.text());
    assert!(tar(&["-t"], &own).contains("tree/.wh.kept"));
    // What cannot be written is an error of ours.
    if Path::new("/dev/full").exists() {
        let outcome = shell(Who::Caller, dir.path(), &["--export", "/dev/full"], "rm tree/kept");
        assert_eq!(outcome.code, Some(125), "{}", outcome.text());
    }
}

#[test]
fn an_overlay_on_disk_holds_what_memory_would_not() {
    for who in everyone() {
        let dir = lower(who);
        // A place of this test's own, since others make such directories meanwhile.
        let place = TempDir::new();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).expect("chmod of our own");
        let script = "dd if=/dev/zero of=big bs=1M count=300 2>/dev/null; stat -c '%s %b' big; rm big
            head -c 200000 /dev/urandom >f; cp f g; cmp f g && echo same; cp /bin/ls l && ./l -d . && mv l m && ./m -d .
            python3 -c 'import mmap; f = open(\"f\", \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[100000:100003] = b\"abc\"; m.flush(); print(open(\"f\", \"rb\").read()[100000:100003])'
            fallocate -l 1M a && fallocate -p -o 0 -l 524288 a && stat -c %b a";
        let options = ["--overlay", "disk", "--memory", "256M"];
        let mut command = do_command_with(who, &options);
        command.args(["sh", "-ec", script]).current_dir(dir.path()).env("TMPDIR", place.path());
        let outcome = run(&mut command, LIMIT);
        let expected = "314572800 614400\nsame\n.\n.\nb'abc'\n1024\n";
        assert_eq!(outcome.out(), expected, "{who:?}: {}", outcome.text());
        let left = fs::read_dir(place.path()).expect("our own").count();
        assert_eq!(left, 0, "a directory stayed behind");
        assert!(!dir.join("f").exists());
    }
}

#[test]
fn written_files_end_at_the_limit_wherever_they_lie() {
    for overlay in OVERLAYS {
        let dir = lower(Who::Caller);
        let script = "set +e; dd if=/dev/zero of=x bs=64k count=300 2>&1 | grep -o 'No space left on device'
            stat -c %s x; df -B1 --output=size,avail . | tail -1
            dd if=/dev/zero of=/dev/shm/y bs=64k count=300 2>&1 | grep -o 'No space left on device'
            stat -c %s /dev/shm/y; rm x; dd if=/dev/zero of=z bs=64k count=40 2>/dev/null; stat -c %s z";
        let outcome = shell(Who::Caller, dir.path(), &["--overlay", overlay, "--disk", "8M"], script);
        let text = outcome.out();
        let words: Vec<&str> = text.split('\n').collect();
        assert_eq!(words[0], "No space left on device", "{overlay}: {}", outcome.text());
        let x: u64 = words[1].parse().expect("a number");
        assert!((7 << 20..=8 << 20).contains(&x), "{overlay}: {}", outcome.text());
        assert_eq!(words[2].split_whitespace().collect::<Vec<_>>(), ["8388608", "0"], "{overlay}");
        assert_eq!(words[3], "No space left on device", "{overlay}: {}", outcome.text());
        assert!(words[4].parse::<u64>().expect("a number") < 1 << 20, "{overlay}: {}", outcome.text());
        assert_eq!(words[5], "2621440", "{overlay}: {}", outcome.text());
    }
}

#[test]
fn policies_say_where_the_overlay_lies() {
    let dir = lower(Who::Caller);
    let policy = dir.join("p.toml");
    fs::write(
        &policy,
        "[files]\noverlay = \"disk\"\n[[files.mount]]\nat = \"/mnt\"\nmode = \"tmpfs\"\nsize = \"1M\"\n",
    )
    .expect("our own directory");
    let script = "set +e; echo x >tree/kept; cat tree/kept; df -B1 --output=size /mnt | tail -1 | tr -d ' '
        dd if=/dev/zero of=/mnt/f bs=64k count=40 2>&1 | grep -o 'No space left'; stat -c %s /mnt/f";
    let options = ["--policy", policy.to_str().expect("our own name")];
    let outcome = shell(Who::Caller, dir.path(), &options, script);
    assert_eq!(outcome.out(), "x\n1048576\nNo space left\n1048576\n", "{}", outcome.text());
}

#[test]
fn another_root() {
    if !have("busybox") {
        return;
    }
    let dir = TempDir::new();
    fs::create_dir_all(dir.join("bin")).expect("our own directory");
    fs::copy("/bin/busybox", dir.join("bin/busybox")).expect("our own directory");
    symlink("busybox", dir.join("bin/sh")).expect("our own directory");
    fs::write(dir.join("marker"), "m").expect("our own directory");
    let root = dir.path().to_str().expect("our own name");
    let archive = dir.join("x.tar");
    let options = ["--root", root, "--diff", "--export", archive.to_str().expect("our own name")];
    let mut command = do_command_with(Who::Caller, &options);
    command.args(["/bin/sh", "-c", "busybox cat /marker; echo n >/new; busybox rm /marker; busybox ls /"]);
    let outcome = run(command.current_dir("/"), LIMIT);
    assert!(outcome.out().starts_with('m') && outcome.out().contains("new\n"), "{}", outcome.text());
    assert!(outcome.err().contains("deleted:    /marker\nrunsc:   new file:   /new\n"), "{}", outcome.text());
    assert_eq!(tar(&["-t"], &archive), ".wh.marker\nnew\n");
    assert!(dir.join("marker").exists() && !dir.join("new").exists());
}
