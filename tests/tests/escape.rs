//! Isolation, looked at from outside: attacks run inside, and this test watches what they did to the host; and the
//! posture of our own processes, read from the host's `/proc`.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runsc_tests::procs::{self, status_field, Proc};
use runsc_tests::pty::OnTerminal;
use runsc_tests::sandbox::{
    do_command_with, is_root, native_command, require_confinement, runnable, sibling,
};
use runsc_tests::{run, runsc, skip, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);

fn attack_command(options: &[&str], args: &[&str]) -> Command {
    require_confinement();
    let mut command = do_command_with(Who::Caller, options);
    command.arg(sibling("attack")).args(args);
    command
}

/// The attack came to its end, saw no success, and the sandbox still served it.
fn assert_failed(outcome: &Outcome) {
    let text = outcome.text();
    assert!(!text.contains("ESCAPED"), "{text}");
    assert!(outcome.out().contains("alive true"), "the sandbox did not survive:\n{text}");
    assert_eq!(outcome.code, Some(0), "{text}");
}

fn attack(args: &[&str]) -> Outcome {
    let dir = TempDir::new();
    let outcome = run(attack_command(&[], args).current_dir(dir.path()), LIMIT);
    assert_failed(&outcome);
    outcome
}

#[test]
fn jumps_into_the_stub_reach_nothing() {
    let dir = TempDir::new();
    fs::write(dir.join("victim"), "v").expect("a file in our own directory");
    let path = dir.path().to_str().expect("our own name");
    // The tree is writable for real where the gofer writes it: only the overlay's view is given here.
    attack(&["stub_jump", path]);
    let left: Vec<String> = fs::read_dir(dir.path())
        .expect("our own directory")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["victim"], "the host's directory was changed");
}

#[test]
fn floods_end_in_errors() {
    attack(&["floods"]);
}

#[test]
fn foreign_entries_reach_nothing() {
    let dir = TempDir::new();
    attack(&["foreign_entries", dir.path().to_str().expect("our own name")]);
    assert_eq!(
        fs::read_dir(dir.path()).expect("our own directory").count(),
        0,
        "the host's directory was changed"
    );
}

#[test]
fn forged_slots_harm_nobody_else() {
    attack(&["shadow_slots"]);
}

#[test]
fn forged_frames_harm_nobody_else() {
    attack(&["sigreturn"]);
}

#[test]
fn the_stub_cannot_be_mapped_over() {
    let outcome = attack(&["unmap_stub"]);
    assert!(!outcome.out().contains("wrong answers"), "{}", outcome.text());
}

#[test]
fn calls_do_not_reach_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener on the host");
    listener.set_nonblocking(true).expect("a flag of our own socket");
    let port = listener.local_addr().expect("bound above").port().to_string();
    let mut command = attack_command(&["--env", &format!("HOST_PORT={port}")], &["host_calls"]);
    let outcome = run(&mut command, LIMIT);
    assert_failed(&outcome);
    assert!(listener.accept().is_err(), "a connection came to the host's listener");
}

#[test]
fn host_processes_are_out_of_reach() {
    let mut target = Command::new("sleep").arg("120").spawn().expect("a process to aim at");
    let outcome = run(&mut attack_command(&[], &["host_processes", &target.id().to_string()]), LIMIT);
    let alive = target.try_wait().expect("our own child").is_none();
    let _ = target.kill();
    let _ = target.wait();
    assert!(alive, "the guest killed a process of the host");
    assert_failed(&outcome);
}

#[test]
fn our_program_and_the_root_stay_ours() {
    let before = fs::read(runsc()).expect("the binary under test");
    attack(&["own_program"]);
    assert!(before == fs::read(runsc()).expect("the binary under test"), "the binary was changed");
    assert!(!Path::new("/marker-of-the-guest").exists());
}

#[test]
fn leaked_descriptors_do_not_arrive() {
    let dir = fs::File::open("/").expect("the root can be opened");
    let raw = dir.as_raw_fd();
    let mut command = attack_command(&[], &["descriptors"]);
    // SAFETY: dup2 is async-signal-safe; it makes descriptors that stay open over exec.
    unsafe {
        command.pre_exec(move || {
            for to in [7, 9, 1500] {
                libc::dup2(raw, to);
            }
            Ok(())
        })
    };
    assert_failed(&run(&mut command, LIMIT));
}

#[test]
fn the_terminal_cannot_be_typed_into() {
    let terminal = OnTerminal::spawn(&mut attack_command(&[], &["terminal_input"]));
    let (text, code) = terminal.finish(LIMIT);
    assert!(!text.contains("ESCAPED") && !text.contains("echo escaped"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn swapped_links_do_not_lead_out() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("secret")).expect("a directory in our own");
    fs::write(dir.join("secret/key"), "host secret").expect("a file in our own directory");
    fs::create_dir(dir.join("plain")).expect("a directory in our own");
    fs::write(dir.join("plain/key"), "nothing").expect("a file in our own directory");
    fs::create_dir(dir.join("tree")).expect("a directory in our own");
    let hidden = dir.join("secret");
    let tree = dir.join("tree");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swapped, spare) = (tree.join("swapped"), tree.join("spare"));
            while !done.load(Ordering::Relaxed) {
                for target in ["../plain", "../secret"] {
                    let _ = std::os::unix::fs::symlink(target, &spare);
                    let _ = fs::rename(&spare, &swapped);
                }
            }
        });
        let options = ["--hide", hidden.to_str().expect("our own name")];
        let args = ["link_race", tree.to_str().expect("our own name")];
        let outcome = run(&mut attack_command(&options, &args), LIMIT);
        done.store(true, Ordering::Relaxed);
        assert_failed(&outcome);
    });
}

/// What was not there when the sandbox began, and what a host-side writer does, while the guest walks `..`.
#[test]
fn directories_moved_away_do_not_lead_out() {
    let dir = TempDir::new();
    for path in ["secret", "tree/a/b/c", "out/secret", "tree/secret"] {
        fs::create_dir_all(dir.join(path)).expect("a directory in our own");
    }
    fs::write(dir.join("secret/key"), "host secret").expect("a file in our own directory");
    fs::write(dir.join("out/secret/key"), "host secret").expect("a file in our own directory");
    fs::write(dir.join("tree/secret/key"), "of the tree").expect("a file in our own directory");
    let (tree, out) = (dir.join("tree"), dir.join("out"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (from, to) in [("a/b", "b"), ("b", "a/b")] {
                    let (from, to) = if from == "b" {
                        (out.join(from), tree.join(to))
                    } else {
                        (tree.join(from), out.join(to))
                    };
                    let _ = fs::rename(from, to);
                }
            }
        });
        let (hidden, hidden_too) = (dir.join("secret"), dir.join("out"));
        let options = [
            "--hide",
            hidden.to_str().expect("our own name"),
            "--hide",
            hidden_too.to_str().expect("our own name"),
        ];
        let args = ["dotdot_race", tree.to_str().expect("our own name")];
        let outcome = run(&mut attack_command(&options, &args), LIMIT);
        done.store(true, Ordering::Relaxed);
        assert_failed(&outcome);
    });
}

#[test]
fn paths_stay_inside() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("tree")).expect("a directory in our own");
    fs::write(dir.join("secret"), "host secret").expect("a file in our own directory");
    let (tree, secret) = (dir.join("tree"), dir.join("secret"));
    let (tree_name, secret_name) =
        (tree.to_str().expect("our own name"), secret.to_str().expect("our own name"));
    for options in [&["--hide", secret_name][..], &["--hide", secret_name, "--rw", tree_name]] {
        let outcome = run(&mut attack_command(options, &["paths", tree_name, secret_name]), LIMIT);
        assert_failed(&outcome);
    }
    assert_eq!(fs::read_to_string(&secret).expect("ours"), "host secret");
    for entry in fs::read_dir(&tree).expect("ours").flatten() {
        use std::os::unix::fs::FileTypeExt;
        let kind = entry.file_type().expect("ours");
        assert!(!kind.is_char_device() && !kind.is_block_device(), "{entry:?}");
    }
    assert!(!tree.join("hard").exists());
}

/// The image is the attacker's: its directories for what we mount are links out of it.
#[test]
fn links_in_an_image_do_not_lead_out() {
    require_confinement();
    if !runsc_tests::have("busybox") {
        return;
    }
    let dir = TempDir::new();
    let image = dir.join("image");
    fs::create_dir_all(image.join("bin")).expect("our own directory");
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("our own directory");
    fs::create_dir(dir.join("outside")).expect("our own directory");
    fs::write(dir.join("outside/key"), "host secret").expect("our own directory");
    fs::create_dir(dir.join("shown")).expect("our own directory");
    let outside = dir.join("outside");
    for name in ["proc", "dev", "sys", "tmp", "job"] {
        std::os::unix::fs::symlink(&outside, image.join(name)).expect("our own directory");
    }
    std::os::unix::fs::symlink("../outside", image.join("relative")).expect("our own directory");
    let shown = format!("{}:/job/sub", dir.join("shown").display());
    let script = "for d in job relative proc dev tmp; do busybox cat /$d/key; done; echo x >/job/made; echo x >/relative/made; busybox echo alive true";
    let options = ["--root", image.to_str().expect("our own name"), "--rw", &shown];
    let mut command = do_command_with(Who::Caller, &options);
    command.args(["/bin/busybox", "sh", "-c", script]);
    let outcome = run(&mut command, LIMIT);
    assert!(!outcome.text().contains("host secret"), "{}", outcome.text());
    let left: Vec<_> = fs::read_dir(&outside).expect("ours").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["key"], "{}", outcome.text());
}

/// A running sandbox and its processes by role.
struct Posture {
    child: Child,
    processes: Vec<(&'static str, Proc)>,
}

impl Posture {
    fn start(who: Who) -> Posture {
        // With a way out, so that the net broker is there, too.
        let mut command = do_command_with(who, &["--allow-net", "192.0.2.1:9"]);
        command.args(["sh", "-c", "echo ready; sleep 30 & sleep 30"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("runsc can be started");
        let mut line = [0u8; 6];
        std::io::Read::read_exact(child.stdout.as_mut().expect("piped above"), &mut line).expect("ready");
        std::thread::sleep(Duration::from_millis(200));
        let launcher = child.id() as i32;
        let role = |p: &Proc| match () {
            () if p.pid == launcher => "launcher",
            () if p.line.contains("__gofer") => "gofer",
            () if p.line.contains("__sentry") => "sentry",
            () if p.line.contains("__broker") => "broker",
            () => "stub",
        };
        let processes = procs::tree(launcher).into_iter().map(|p| (role(&p), p)).collect();
        Posture { child, processes }
    }

    fn of(&self, role: &str) -> Vec<&Proc> {
        self.processes.iter().filter(|(r, _)| *r == role).map(|(_, p)| p).collect()
    }
}

impl Drop for Posture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn namespace(pid: i32, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).map(|p| p.display().to_string()).unwrap_or_default()
}

fn posture(who: Who) {
    let own = std::process::id() as i32;
    let run = Posture::start(who);
    let mut wrong = Vec::new();
    let mut check = |fine: bool, what: String| {
        if !fine {
            wrong.push(what);
        }
    };
    for role in ["launcher", "gofer", "sentry", "broker", "stub"] {
        check(!run.of(role).is_empty(), format!("no {role}"));
    }
    for (role, p) in &run.processes {
        let field = |name: &str| status_field(p.pid, name).unwrap_or_default();
        check(field("NoNewPrivs") == "1", format!("{role}: no_new_privs is {}", field("NoNewPrivs")));
        check(field("Seccomp") == "2", format!("{role}: seccomp is {}", field("Seccomp")));
        let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(u64::MAX);
        // CAP_DAC_READ_SEARCH, for the gofer of root alone.
        let allowed = if *role == "gofer" && who == Who::Caller && is_root() { 1 << 2 } else { 0 };
        check(effective & !allowed == 0, format!("{role}: capabilities {effective:#x}"));
        check(
            field("CapAmb").trim_start_matches('0').is_empty(),
            format!("{role}: ambient {}", field("CapAmb")),
        );
        let fds = fs::read_dir(format!("/proc/{}/fd", p.pid)).into_iter().flatten().flatten();
        for entry in fds {
            let number: i32 = entry.file_name().to_string_lossy().parse().unwrap_or(-1);
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", p.pid)).unwrap_or_default();
            let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap_or("0").trim().to_owned();
            let flags = u32::from_str_radix(&flags, 8).unwrap_or(0);
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if *role == "stub" {
                check(false, format!("stub holds descriptor {number}, {}", target.display()));
                continue;
            }
            // Beside the streams it has its connection to the sentry.
            check(
                *role != "broker" || number < 3 || target.to_string_lossy().starts_with("socket:"),
                format!("broker holds {number}, {}", target.display()),
            );
            check(
                number < 3 || flags & 0o2000000 != 0,
                format!("{role}: {number} ({}) stays over exec", target.display()),
            );
            let directory = fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
            check(
                !(directory && matches!(*role, "sentry" | "broker")),
                format!("{role} holds a directory, {}", target.display()),
            );
        }
    }
    for role in ["sentry", "stub"] {
        for p in run.of(role) {
            for name in ["user", "pid", "mnt", "net", "ipc", "uts"] {
                let fine = namespace(p.pid, name) != namespace(own, name);
                check(fine, format!("{role}: the caller's {name} namespace"));
            }
        }
    }
    let layout: Vec<String> =
        run.processes.iter().map(|(r, p)| format!("{r} {} {}", p.pid, p.line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\nof {layout:#?}");
}

#[test]
fn posture_as_the_caller() {
    posture(Who::Caller);
}

#[test]
fn posture_as_an_ordinary_user() {
    if is_root() {
        posture(Who::Nobody);
    } else {
        skip("acting as another user needs root");
    }
}

#[test]
fn idle_costs_nothing() {
    let run = Posture::start(Who::Caller);
    let ticks = || -> u64 {
        let of = |p: &Proc| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", p.pid)).unwrap_or_default();
            let after = stat.rfind(')').map(|at| stat[at + 2..].to_owned()).unwrap_or_default();
            let fields: Vec<u64> = after.split(' ').map(|f| f.parse().unwrap_or(0)).collect();
            fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)
        };
        run.processes.iter().map(|(_, p)| of(p)).sum()
    };
    let (before, start) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks() - before;
    assert!(used <= 4, "{used} ticks of processor time in {:?} of sleep", start.elapsed());
}

#[test]
fn an_ordinary_user_runs_it_without_privilege() {
    if !is_root() {
        return skip("acting as another user needs root");
    }
    let mut command = native_command(Who::Nobody, runnable(runsc(), Who::Nobody).as_os_str());
    command.args(["do", "-q", "--", "id", "-u"]);
    assert_eq!(run(&mut command, LIMIT).out(), "65534\n");
}
