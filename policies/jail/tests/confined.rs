//! Confines processes as `runsc` does, and looks at them from outside, through `/proc`: once as whoever runs the
//! test, and where that is root, once as an ordinary user.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use jail::spawn::{self, Program};
use jail::{Layer, Layers, Mismatch, Role};
use nix::sys::signal::Signal;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{geteuid, Pid};

const SOCKET: i32 = 3;
/// What a filter must answer with SIGSYS.
const FATAL: [(&str, &str); 7] = [
    ("sentry", "open"),
    ("sentry", "socket"),
    ("sentry", "fork"),
    ("sentry", "exec"),
    ("gofer", "socket"),
    ("gofer", "follow"),
    ("gofer", "exec"),
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("__sentry") => child(Role::Sentry),
        Some("__gofer") => child(Role::Gofer),
        Some("__launcher") => launcher(),
        // What `cargo test` may pass on (filters, `--list`) chooses nothing here.
        _ => parent(),
    }
    ExitCode::SUCCESS
}

fn parent() {
    posture_of_the_sentry();
    posture_of_the_gofer();
    posture_of_the_launcher();
    refused_calls_are_fatal();
    threads_still_start();
    the_sentry_dies_with_its_launcher();
    println!("confined: ok as uid {}", geteuid());
    if geteuid().is_root() {
        as_ordinary_user();
    }
}

fn as_ordinary_user() {
    let directory = std::env::temp_dir().join(format!("jail-test-{}", std::process::id()));
    let copy = directory.join("confined");
    fs::create_dir(&directory).expect("a directory for the copy");
    fs::copy(std::env::current_exe().expect("own path"), &copy).expect("a copy");
    let status = Command::new(&copy).uid(jail::NOBODY).gid(jail::NOBODY).current_dir("/").status();
    fs::remove_dir_all(&directory).expect("removed");
    assert!(status.expect("started").success(), "the same tests as an ordinary user");
}

/// A confined process and the socket to it.
struct Confined {
    pid: Pid,
    socket: UnixStream,
    layers: Layers,
}

impl Confined {
    fn start(role: Role) -> Confined {
        let (mine, theirs) = UnixStream::pair().expect("a socket pair");
        let mut layers = Layers::probe();
        let name = if role == Role::Sentry { "__sentry" } else { "__gofer" };
        let args = [c"jail-test".to_owned(), CString::new(name).expect("no NUL")];
        let fds = [theirs.as_fd()];
        let program = Program { args: &args, fds: &fds };
        let pid = match role {
            Role::Sentry => {
                spawn::sentry(&mut layers, &program).and_then(spawn::Waiting::go).expect("starts")
            }
            _ => spawn::gofer(&program).expect("starts"),
        };
        drop(theirs);
        let mut confined = Confined { pid, socket: mine, layers };
        let text = serde_json::to_string(&confined.layers).expect("layers as text");
        assert_eq!(confined.ask(&text), "ready");
        confined
    }

    fn ask(&mut self, word: &str) -> String {
        writeln!(self.socket, "{word}").expect("it listens");
        line(&mut self.socket).expect("it answers")
    }

    fn order_to_death(mut self, word: &str) -> WaitStatus {
        writeln!(self.socket, "{word}").expect("it listens");
        if let Some(answer) = line(&mut self.socket) {
            panic!("{word}: survived with {answer}");
        }
        waitpid(self.pid, None).expect("its end")
    }

    fn end(mut self) {
        writeln!(self.socket, "end").expect("it listens");
        assert_eq!(waitpid(self.pid, None), Ok(WaitStatus::Exited(self.pid, 0)));
    }
}

fn line(socket: &mut UnixStream) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte).ok()? == 1 {
        if byte[0] == b'\n' {
            return String::from_utf8(text).ok();
        }
        text.push(byte[0]);
    }
    None
}

/// A field of `/proc/PID/status`.
fn status(pid: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

fn assert_no_rights(pid: Pid, kept: u64) {
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2");
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    for set in ["CapPrm", "CapEff"] {
        let held = u64::from_str_radix(&status(pid, set), 16).expect("a mask");
        assert_eq!(held & !kept, 0, "{set} has {held:x}");
    }
}

/// Descriptors of a process, each of which must be close-on-exec.
fn descriptors(pid: Pid) -> Vec<i32> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors") {
        let entry = entry.expect("an entry");
        let info = fs::read_to_string(entry.path()).expect("its flags");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
        let flags = i32::from_str_radix(flags, 8).expect("octal");
        assert_ne!(flags & libc::O_CLOEXEC, 0, "descriptor {:?} survives an exec", entry.file_name());
        all.push(entry.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number"));
    }
    all.sort_unstable();
    all
}

fn posture_of_the_sentry() {
    let sentry = Confined::start(Role::Sentry);
    let pid = sentry.pid;
    assert_no_rights(pid, 0);
    let root = geteuid().is_root();
    let uid = if sentry.layers.holds(Layer::ForeignIdentity) { jail::NOBODY } else { geteuid().as_raw() };
    assert_eq!(status(pid, "Uid").split_whitespace().next(), Some(uid.to_string().as_str()));
    for (layer, name) in [
        (Layer::UserNamespace, "user"),
        (Layer::PidNamespace, "pid"),
        (Layer::MountNamespace, "mnt"),
        (Layer::NetworkNamespace, "net"),
        (Layer::IpcNamespace, "ipc"),
        (Layer::UtsNamespace, "uts"),
    ] {
        if !sentry.layers.holds(layer) {
            println!("confined: no {} here", layer.name());
            continue;
        }
        // An ordinary user may not look at the namespaces of a process that changed its rights.
        if let Ok(theirs) = fs::read_link(format!("/proc/{pid}/ns/{name}")) {
            assert_ne!(theirs, fs::read_link(format!("/proc/self/ns/{name}")).expect("own"), "{name}");
        }
    }
    if sentry.layers.holds(Layer::PidNamespace) {
        assert!(status(pid, "NSpid").ends_with("\t1"), "it is the first process of its namespace");
    }
    if root {
        assert_eq!(descriptors(pid), [0, 1, 2, SOCKET]);
        if sentry.layers.holds(Layer::MountNamespace) {
            let entries = fs::read_dir(format!("/proc/{pid}/root/")).expect("its root").count();
            assert_eq!(entries, 0, "its root is empty");
            assert_eq!(fs::read_to_string(format!("/proc/{pid}/mounts")).expect("mounts").lines().count(), 1);
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("core");
        let core: Vec<_> = core.split_whitespace().skip(4).collect();
        assert!(core[0] <= "1" && core[1] <= "1", "{core:?}");
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).expect("its environment"), b"");
    }
    sentry.end();
}

fn posture_of_the_gofer() {
    const DAC_READ_SEARCH: u64 = 1 << 2;
    let mut gofer = Confined::start(Role::Gofer);
    assert_no_rights(gofer.pid, if geteuid().is_root() { DAC_READ_SEARCH } else { 0 });
    if gofer.layers.holds(Layer::Landlock) {
        assert_eq!(gofer.ask("inside"), "opened", "a file of its tree");
        assert_eq!(gofer.ask("write"), "Permission denied (os error 13)", "its tree is read-only");
        assert_eq!(gofer.ask("outside"), "Permission denied (os error 13)", "a file beside its tree");
    }
    gofer.end();
}

fn posture_of_the_launcher() {
    let (mut mine, theirs) = UnixStream::pair().expect("a socket pair");
    let mut command = Command::new("/proc/self/exe");
    command.arg("__launcher").stdin(OwnedFd::from(theirs));
    let mut launcher = command.spawn().expect("starts");
    drop(command);
    assert_eq!(line(&mut mine).as_deref(), Some("ready"));
    assert_no_rights(Pid::from_raw(launcher.id() as i32), 0);
    drop(mine);
    assert!(launcher.wait().expect("its end").success());
}

fn refused_calls_are_fatal() {
    for (role, call) in FATAL {
        let role = if role == "sentry" { Role::Sentry } else { Role::Gofer };
        let confined = Confined::start(role);
        let pid = confined.pid;
        match confined.order_to_death(call) {
            WaitStatus::Signaled(_, Signal::SIGSYS, _) => {}
            other => panic!("{role:?}: {call}: {other:?} of {pid}"),
        }
    }
}

fn threads_still_start() {
    let mut sentry = Confined::start(Role::Sentry);
    assert_eq!(sentry.ask("thread"), "42");
    assert_eq!(sentry.ask("thread"), "42");
    sentry.end();
}

fn the_sentry_dies_with_its_launcher() {
    let mut launcher = Command::new("/proc/self/exe");
    launcher.arg("__launcher").env("WITH_SENTRY", "1");
    let (mut mine, theirs) = UnixStream::pair().expect("a socket pair");
    launcher.stdin(OwnedFd::from(theirs));
    let mut process = launcher.spawn().expect("starts");
    drop(launcher);
    let pid: i32 = line(&mut mine).and_then(|line| line.parse().ok()).expect("its sentry");
    process.kill().expect("killed");
    process.wait().expect("its end");
    for _ in 0..200 {
        // An orphan that has ended may wait for a lazy init; it is dead all the same.
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the sentry {pid} outlives its launcher");
}

/// The launcher under test: its standard input is the socket to the test.
fn launcher() {
    let socket = jail::fds::duplicate_standard(0).expect("a socket");
    let mut socket = UnixStream::from(socket);
    jail::begin_launcher().expect("begins");
    if std::env::var_os("WITH_SENTRY").is_some() {
        let sentry = Confined::start(Role::Sentry);
        if sentry.layers.holds(Layer::PidNamespace) {
            writeln!(socket, "{}", sentry.pid).expect("heard");
        }
        let _ = socket.read(&mut [0]);
        return;
    }
    let layers = Layers::probe();
    jail::enter_launcher(&layers, false, None).expect("enters");
    jail::seal(Role::Launcher, Mismatch::Kill).expect("seals");
    writeln!(socket, "ready").expect("heard");
    let _ = socket.read(&mut [0]);
}

/// A confined process under test: it does what it is told.
fn child(role: Role) {
    let mut socket = UnixStream::from(jail::fds::take(SOCKET).expect("a socket"));
    let layers: Layers = serde_json::from_str(&line(&mut socket).expect("layers")).expect("layers");
    match role {
        Role::Sentry => jail::enter_sentry(&layers, &[socket.as_raw_fd()]).expect("enters"),
        _ => {
            let tree = fs::File::open("/usr/bin").expect("a tree");
            jail::enter_gofer(&layers, &[(tree.as_fd(), jail::Reach::Read)]).expect("enters");
        }
    }
    jail::seal(role, Mismatch::Kill).expect("seals");
    writeln!(socket, "ready").expect("heard");
    while let Some(order) = line(&mut socket) {
        let answer = obey(&order);
        if order == "end" {
            break;
        }
        writeln!(socket, "{answer}").expect("heard");
    }
}

fn obey(order: &str) -> String {
    let open = |path: &str, flags: i32| {
        let path = CString::new(path).expect("no NUL");
        // SAFETY: the path is a live C string.
        let fd = unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC) };
        if fd < 0 {
            return std::io::Error::last_os_error().to_string();
        }
        "opened".to_owned()
    };
    match order {
        "open" | "follow" => open("/", libc::O_RDONLY),
        "inside" => open("/usr/bin/env", libc::O_RDONLY | libc::O_NOFOLLOW),
        "write" => open("/usr/bin/jail-test", libc::O_RDWR | libc::O_CREAT | libc::O_NOFOLLOW),
        "outside" => open("/etc/passwd", libc::O_RDONLY | libc::O_NOFOLLOW),
        // SAFETY: no memory is involved.
        "socket" => unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) }.to_string(),
        // SAFETY: the child, if there is one against all expectation, ends at once.
        "fork" => unsafe {
            let pid = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
            if pid == 0 {
                libc::_exit(1);
            }
            pid.to_string()
        },
        "exec" => {
            let path = c"/bin/true";
            let args = [path.as_ptr(), std::ptr::null()];
            // SAFETY: all pointers are live and NULL-terminated.
            unsafe { libc::execv(path.as_ptr(), args.as_ptr()) }.to_string()
        }
        "thread" => std::thread::spawn(|| 42).join().expect("it ends").to_string(),
        _ => String::new(),
    }
}
