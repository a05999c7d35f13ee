//! Mappings of the host's files: what is stored reaches them where it may, what the host changes is seen, and the
//! host serves the faults.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, native_command, sibling};
use runsc_tests::{have, run, runsc, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(30);
const PAGE: usize = 4096;

/// A Python program with `options`, in `dir`.
fn python(dir: &TempDir, options: &[&str], text: &str) -> Outcome {
    let mut command = do_command_with(Who::Caller, options);
    run(command.args(["python3", "-c", text]).current_dir(dir.path()), LIMIT)
}

fn writable(dir: &TempDir) -> [&str; 2] {
    ["--rw", dir.path().to_str().expect("our own name")]
}

#[test]
fn stores_reach_a_writable_tree() {
    if !have("python3") {
        return;
    }
    let dir = TempDir::new();
    fs::write(dir.join("f"), vec![b'a'; 3 * PAGE]).expect("a file in our own directory");
    let text = "import mmap, os
f = open('f', 'r+b'); m = mmap.mmap(f.fileno(), 0)
m[5000:5003] = b'XYZ'; f.seek(4999); print(f.read(5))
os.pwrite(f.fileno(), b'w', 0); print(m[0:2])
if os.fork() == 0: m[8192:8193] = b'C'; os._exit(0)
os.wait(); print(m[8192:8194]); m.flush()";
    let outcome = python(&dir, &writable(&dir), text);
    assert_eq!(outcome.out(), "b'aXYZa'\nb'wa'\nb'Ca'\n", "{}", outcome.text());
    let mut expected = vec![b'a'; 3 * PAGE];
    expected[5000..5003].copy_from_slice(b"XYZ");
    (expected[0], expected[8192]) = (b'w', b'C');
    assert!(fs::read(dir.join("f")).expect("a file in our own directory") == expected);
}

#[test]
fn stores_stay_in_the_overlay() {
    if !have("python3") {
        return;
    }
    let dir = TempDir::new();
    fs::write(dir.join("f"), vec![b'a'; 2 * PAGE]).expect("a file in our own directory");
    // A mapping of the lower file goes on showing it when the bytes are copied up, as overlayfs has it; what is mapped
    // and read from then on is the copy.
    let text = "import mmap, os
r = open('f', 'rb'); p = mmap.mmap(r.fileno(), 0, access=mmap.ACCESS_COPY); p[1:2] = b'P'
f = open('f', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0:1] = b'M'; os.pwrite(f.fileno(), b'w', 5000)
n = mmap.mmap(r.fileno(), 0, access=mmap.ACCESS_READ)
print(p[0:3], m[0:3], m[5000:5001], n[0:3], n[5000:5001], r.read(3))
os.ftruncate(f.fileno(), 4096); print(n[4095:4096], p[4096:4097], os.stat('f').st_size)";
    let outcome = python(&dir, &[], text);
    let expected = "b'aPa' b'Maa' b'w' b'Maa' b'w' b'Maa'\nb'a' b'a' 4096\n";
    assert_eq!(outcome.out(), expected, "{}", outcome.text());
    assert!(fs::read(dir.join("f")).expect("a file in our own directory") == vec![b'a'; 2 * PAGE]);
}

/// Runs a program that has mapped `f` and waits for a change, which `change` makes from outside once it says so.
fn changed_from_outside(options: &[&str], text: &str, change: impl FnOnce(&TempDir) + Send) -> Outcome {
    let dir = TempDir::new();
    fs::write(dir.join("f"), vec![b'a'; 2 * PAGE]).expect("a file in our own directory");
    // Where nothing else may be written, the program says by its output, a file, that it is ready.
    let said = dir.join("said");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1000 {
                if fs::read_to_string(&said).is_ok_and(|text| text.contains("ready")) {
                    return change(&dir);
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let mut command = native_command(Who::Caller, "sh".as_ref());
        let script = format!(
            "\"$RUNSC\" do -q {} -- python3 -c \"$TEXT\" >said; code=$?; cat said; exit $code",
            options.join(" ")
        );
        command.args(["-c", &script]).env("RUNSC", runsc()).env("TEXT", text);
        run(command.current_dir(dir.path()), LIMIT)
    })
}

const WAIT_FOR_CHANGE: &str = "import mmap, time
f = open('f', 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
print('ready', m[0:1], flush=True)
for _ in range(1000):
  if m[0:1] != b'a': break
  time.sleep(0.01)
print(m[0:2])";

fn write_in_place(dir: &TempDir) {
    let mut file = OpenOptions::new().write(true).open(dir.join("f")).expect("a file in our own directory");
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(b"h")).expect("a file in our own directory");
}

#[test]
fn what_the_host_writes_shows_in_a_mapping() {
    if have("python3") {
        let outcome = changed_from_outside(&[], WAIT_FOR_CHANGE, write_in_place);
        assert_eq!(outcome.out(), "ready b'a'\nb'ha'\n", "{}", outcome.text());
    }
}

#[test]
fn what_the_host_cuts_off_is_a_bus_error() {
    if !have("python3") {
        return;
    }
    let text = "import mmap, time
f = open('f', 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
print('ready', m[4096:4097], flush=True)
for _ in range(1000): m[4096:4097]; time.sleep(0.01)";
    let outcome = changed_from_outside(&[], text, |dir| {
        let file = OpenOptions::new().write(true).open(dir.join("f")).expect("a file in our own directory");
        file.set_len(PAGE as u64).expect("a file in our own directory");
    });
    assert_eq!((outcome.out().as_str(), outcome.code), ("ready b'a'\n", Some(135)), "{}", outcome.text());
}

/// A program that touches much, forks and copies on write: no fault of it is our business, and errors are.
#[test]
fn the_host_serves_faults() {
    let faults = |case: &str| {
        let dir = TempDir::new();
        let mut command = Command::new(runsc());
        command.args(["do", "-vv", "--"]).arg(sibling("guests")).args(["memory", case]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        outcome.err().lines().filter(|line| line.contains("Fault {")).count()
    };
    assert_eq!((faults("fork_copies"), faults("map_shared_anon")), (0, 0));
    assert_eq!(faults("past_the_end"), 2);
}
