//! Changes on the host under a running sandbox: who learns of one by anything but time sees it, each time; by time
//! alone, within 50 ms. And what was synced stays, whatever becomes of us.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, is_root};
use runsc_tests::{have, procs, TempDir, Who};

/// A program inside that is told of each round by a line, and answers with one.
struct Guest {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Guest {
    fn start(who: Who, options: &[&str], dir: &TempDir, script: &str) -> Guest {
        let mut command: Command = do_command_with(who, options);
        command.args(["python3", "-uc", script]).current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("runsc can be started");
        let to = child.stdin.take().expect("piped above");
        let from = BufReader::new(child.stdout.take().expect("piped above"));
        let mut guest = Guest { child, to, from };
        assert_eq!(guest.hear(), "ready");
        guest
    }

    fn tell(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).expect("the guest listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the guest speaks");
        line.trim_end().to_owned()
    }

    fn end(mut self) {
        drop(self.to);
        assert_eq!(self.child.wait().expect("our own child").code(), Some(0));
    }
}

/// Rounds of each kind: what the issue asks for where all is run, a tenth of it else.
fn rounds() -> u64 {
    if std::env::var_os("RUNSC_TEST_ALL").is_some_and(|v| v == "1") {
        10_000
    } else {
        1_000
    }
}

const TOLD: &str = "
import os, sys
print('ready')
for line in sys.stdin:
    a = os.stat('d/f')
    text = open('d/f').read()
    print(a.st_size, text[-8:], os.path.exists('d/new'), len(os.listdir('d')), os.stat('d').st_nlink,
          oct(os.lstat('d/g').st_mode), os.readlink('d/l') if os.path.islink('d/l') else '-')
";

fn told(who: Who, options: &[&str]) {
    let dir = TempDir::new();
    let d = dir.join("d");
    fs::create_dir(&d).expect("our own directory");
    fs::write(d.join("f"), "").expect("our own directory");
    fs::write(d.join("g"), "").expect("our own directory");
    let mut guest = Guest::start(who, options, &dir, TOLD);
    let mut file = fs::OpenOptions::new().append(true).open(d.join("f")).expect("our own file");
    for i in 0..rounds() {
        file.write_all(format!("{i:08}").as_bytes()).expect("our own file");
        let new = i % 2 == 0;
        let _ = if new { fs::write(d.join("new"), "") } else { fs::remove_file(d.join("new")) };
        let sub = i % 3 == 0;
        let _ = if sub { fs::create_dir(d.join("sub")) } else { fs::remove_dir(d.join("sub")) };
        let mode = 0o600 | (i as u32 & 0o77);
        fs::set_permissions(d.join("g"), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("our own file");
        let _ = fs::remove_file(d.join("l"));
        let link = i % 5 != 0;
        if link {
            std::os::unix::fs::symlink(format!("t{i}"), d.join("l")).expect("our own directory");
        }
        guest.tell("look");
        let entries = 2 + usize::from(new) + usize::from(sub) + usize::from(link);
        let expected = format!(
            "{} {i:08} {} {entries} {} 0o{:o} {}",
            (i + 1) * 8,
            if new { "True" } else { "False" },
            2 + u64::from(sub),
            0o100_000 | mode,
            if link { format!("t{i}") } else { "-".into() },
        );
        assert_eq!(guest.hear(), expected, "round {i}");
    }
    guest.end();
}

#[test]
fn who_is_told_by_a_pipe_sees_it() {
    if have("python3") {
        told(Who::Caller, &[]);
    }
}

#[test]
fn who_is_told_by_a_pipe_sees_it_in_a_writable_tree() {
    if have("python3") {
        let here = std::env::temp_dir();
        told(Who::Caller, &["--rw", here.to_str().expect("a plain name")]);
    }
}

/// All inotify instances of a user are taken: then the host is asked each time, and a line of `-v` says so.
#[test]
fn without_watches_the_host_is_asked() {
    if !is_root() || !have("python3") {
        return;
    }
    let take = "import ctypes, os, sys
os.setgid(65534); os.setuid(65534)
libc = ctypes.CDLL(None)
n = 0
while libc.inotify_init() >= 0: n += 1
print(n, flush=True)
sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", take])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python can be started");
    let mut line = String::new();
    let mut out = BufReader::new(holder.stdout.take().expect("piped above"));
    out.read_line(&mut line).expect("it says how many");
    told(Who::Nobody, &[]);
    let mut command = do_command_with(Who::Nobody, &["-v"]);
    let program = command.get_program().to_owned();
    let mut args: Vec<_> = command.get_args().map(|a| a.to_owned()).filter(|a| a != "-q").collect();
    args.push("true".into());
    command = Command::new(program);
    let output = command.args(args).output().expect("runsc can be started");
    drop(holder.stdin.take());
    holder.wait().expect("our own child");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("inotify"), "{text}");
}

#[test]
fn who_is_told_by_another_file_sees_it() {
    if !have("python3") {
        return;
    }
    let script = "
import os
flag = os.open('flags/flag', os.O_RDONLY)
print('ready')
last = b'0'
for i in range(ROUNDS):
    while True:
        now = os.pread(flag, 16, 0)
        if now != last: break
    last = now
    print(now.decode(), os.stat('d/f').st_size, os.path.exists('d/n' + now.decode()))
"
    .replace("ROUNDS", &rounds().to_string());
    let dir = TempDir::new();
    fs::create_dir(dir.join("d")).expect("our own directory");
    fs::create_dir(dir.join("flags")).expect("our own directory");
    fs::write(dir.join("d/f"), "").expect("our own directory");
    fs::write(dir.join("flags/flag"), "0").expect("our own directory");
    let flag = fs::OpenOptions::new().write(true).open(dir.join("flags/flag")).expect("our own file");
    let mut file = fs::OpenOptions::new().append(true).open(dir.join("d/f")).expect("our own file");
    let mut guest = Guest::start(Who::Caller, &[], &dir, &script);
    for i in 1..=rounds() {
        file.write_all(b"x").expect("our own file");
        fs::write(dir.join(&format!("d/n{i}")), "").expect("our own directory");
        let _ = fs::remove_file(dir.join(&format!("d/n{}", i - 1)));
        flag.write_all_at(format!("{i}").as_bytes(), 0).expect("our own file");
        assert_eq!(guest.hear(), format!("{i} {i} True"));
    }
    guest.end();
}

#[test]
fn by_time_alone_it_takes_less_than_a_moment() {
    if !have("python3") {
        return;
    }
    let script = "
import os, sys, time
print('ready')
for line in sys.stdin:
    os.stat('d/f'); os.path.exists('d/new'); os.listdir('d')
    print('now')
    time.sleep(0.06)
    print(os.stat('d/f').st_size, os.path.exists('d/new'))
";
    let dir = TempDir::new();
    fs::create_dir(dir.join("d")).expect("our own directory");
    fs::write(dir.join("d/f"), "").expect("our own directory");
    let mut guest = Guest::start(Who::Caller, &[], &dir, script);
    for i in 1..=30 {
        guest.tell("go");
        assert_eq!(guest.hear(), "now");
        fs::write(dir.join("d/f"), "x".repeat(i)).expect("our own file");
        let _ =
            if i % 2 == 0 { fs::remove_file(dir.join("d/new")) } else { fs::write(dir.join("d/new"), "") };
        assert_eq!(guest.hear(), format!("{i} {}", if i % 2 == 0 { "False" } else { "True" }));
    }
    guest.end();
}

/// A write through a mapping raises no event.
#[test]
fn sizes_and_times_are_right_where_a_mapping_is_written() {
    if !have("python3") {
        return;
    }
    let script = "
import os, sys
print('ready')
for line in sys.stdin:
    a = os.stat('d/f')
    print(a.st_size, a.st_mtime_ns)
";
    let dir = TempDir::new();
    fs::create_dir(dir.join("d")).expect("our own directory");
    fs::write(dir.join("d/f"), vec![0; 8192]).expect("our own directory");
    let writer = "
import mmap, os, sys
f = open('d/f', 'r+b')
m = mmap.mmap(f.fileno(), 4096)
for i, line in enumerate(sys.stdin):
    m[0] = i & 255
    m.flush()
    print('written', flush=True)
";
    let mut host = Command::new("python3")
        .args(["-c", writer])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python can be started");
    let mut to = host.stdin.take().expect("piped above");
    let mut from = BufReader::new(host.stdout.take().expect("piped above"));
    let mut guest = Guest::start(Who::Caller, &[], &dir, script);
    for i in 0..200 {
        to.write_all(b"write\n").expect("it listens");
        let mut line = String::new();
        from.read_line(&mut line).expect("it speaks");
        guest.tell("look");
        let meta = fs::metadata(dir.join("d/f")).expect("our own file");
        let time = meta.mtime() as i128 * 1_000_000_000 + i128::from(meta.mtime_nsec());
        assert_eq!(guest.hear(), format!("8192 {time}"), "round {i}");
    }
    drop(to);
    host.wait().expect("our own child");
    guest.end();
}

#[test]
fn what_was_synced_stays_when_all_of_us_are_killed() {
    if !have("python3") {
        return;
    }
    let script = "
import os
print('ready')
f = os.open('log', os.O_RDWR | os.O_CREAT | os.O_APPEND)
i = 0
while True:
    i += 1
    os.write(f, b'%07d\\n' % i)
    os.fdatasync(f)
    if i % 10 == 0:
        os.close(os.open('n%d' % i, os.O_RDWR | os.O_CREAT)); os.fsync(os.open('.', os.O_RDONLY))
    print(i)
";
    for _ in 0..3 {
        let dir = TempDir::new();
        let tree = dir.path().to_str().expect("our own name").to_owned();
        let mut guest = Guest::start(Who::Caller, &["--rw", &tree], &dir, script);
        let mut last = 0u64;
        for _ in 0..50 {
            last = guest.hear().parse().expect("a number");
        }
        let ours = procs::tree(guest.child.id() as i32);
        assert!(ours.len() >= 3, "launcher, gofer, sentry");
        for process in &ours {
            // SAFETY: plain numbers; these are processes that this test started.
            unsafe { libc::kill(process.pid, libc::SIGKILL) };
        }
        // What it said before it was killed counts, too.
        let mut line = String::new();
        while guest.from.read_line(&mut line).is_ok_and(|n| n > 0) {
            last = line.trim_end().parse().unwrap_or(last);
            line.clear();
        }
        guest.child.wait().expect("our own child");
        std::thread::sleep(Duration::from_millis(100));
        let log = fs::read_to_string(dir.join("log")).expect("it was made");
        let kept = log.lines().filter(|l| l.len() == 7).count() as u64;
        assert!(kept >= last, "{last} were synced, {kept} are there");
        assert!((10..=last).step_by(10).all(|i| dir.join(&format!("n{i}")).exists()));
    }
}
