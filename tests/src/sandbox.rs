//! Finds (or builds, once) the `runsc` under test, and makes the commands that run something inside it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::TempDir;

/// Where programs are looked for, by tests and by what they start.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Caller,
    /// `nobody`; only where the tests run as root.
    Nobody,
}

/// The binary under test: `RUNSC_BIN`, else the workspace's release build, made here once.
pub fn runsc() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("RUNSC_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// The target directory that this test binary was built into.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of the test itself");
    // target/PROFILE/deps/test or target/PROFILE/program
    let profile = exe.ancestors().skip(1).find(|p| p.join("deps").is_dir()).expect("built by cargo");
    profile.parent().expect("a profile lies in a target directory").to_path_buf()
}

/// A program of this crate (`guests`, `attack`), next to the running test.
pub fn sibling(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the path of the test itself");
    let found = exe.ancestors().skip(1).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} was not built; run through cargo"))
}

/// What the benchmark times from within; built here, since `cargo run --bin` builds only what it runs.
pub fn bench_guest() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| cargo_build(&["--package", "runsc-tests", "--bin", "bench-guest"], "bench-guest"))
}

fn build() -> PathBuf {
    cargo_build(&["--package", "runsc-cli"], "runsc")
}

/// Builds one program of the workspace, optimised.
fn cargo_build(what: &[&str], name: &str) -> PathBuf {
    let target = target_dir();
    // Several test binaries may come here at once; cargo's own lock on the target directory orders them.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--release"])
        .args(what)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "building {name} failed; set RUNSC_BIN to test a runsc that is built");
    target.join("release").join(name)
}

/// Copies of our binaries that any user may run.
fn public_copy(path: &Path) -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(TempDir::new);
    let copy = dir.join(path.file_name().and_then(OsStr::to_str).expect("our binaries have plain names"));
    static ONCE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _once = ONCE.lock().expect("no test panics in here");
    if !copy.exists() {
        fs::copy(path, &copy).unwrap_or_else(|e| panic!("cannot copy {}: {e}", path.display()));
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("chmod of our own copy");
    }
    copy
}

/// A path to `binary` that `who` may run.
pub fn runnable(binary: &Path, who: Who) -> PathBuf {
    match who {
        Who::Caller => binary.to_path_buf(),
        Who::Nobody => public_copy(binary),
    }
}

/// A command as `who`, with the small environment that both sides of a comparison get.
pub fn native_command(who: Who, program: &OsStr) -> Command {
    let mut command = match who {
        Who::Caller => Command::new(program),
        Who::Nobody => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
            command
        }
    };
    command.env_clear();
    command.env("PATH", PATH).env("LC_ALL", "C").env("TERM", "dumb").env("HOME", "/nonexistent");
    command
}

/// `runsc do -q OPTIONS -- `, to which the caller adds the program.
pub fn do_command_with(who: Who, options: &[&str]) -> Command {
    let mut command = native_command(who, runnable(runsc(), who).as_os_str());
    command.args(["do", "-q"]).args(options).arg("--");
    command
}

/// `runsc do -q -- PROGRAM ARGS`.
pub fn do_command(who: Who, program: &[&str]) -> Command {
    let mut command = do_command_with(who, &[]);
    command.args(program);
    command
}

/// Whether tests can act as another user.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, reads one number.
    unsafe { libc::geteuid() == 0 }
}

/// Refuses to go on unless the binary under test has just shown, on files of ours, that what runs inside cannot
/// change the host. Every test whose program would do harm natively (writes to `/etc`, attacks) calls this first: a
/// broken sandbox, or a stand-in given as `RUNSC_BIN`, must fail the test and not damage the machine.
pub fn require_confinement() {
    static KEPT: OnceLock<bool> = OnceLock::new();
    let kept = *KEPT.get_or_init(|| {
        let dir = TempDir::new();
        let victim = dir.join("victim");
        fs::write(&victim, "v").expect("a file in our own directory");
        let script =
            "echo x >fresh; echo y >victim; rm victim; test -e fresh && ! test -e victim && echo done";
        let mut command = do_command(Who::Caller, &["sh", "-c", script]);
        let outcome = crate::run(command.current_dir(dir.path()), std::time::Duration::from_secs(30));
        outcome.out() == "done\n"
            && !dir.join("fresh").exists()
            && fs::read_to_string(&victim).is_ok_and(|content| content == "v")
    });
    assert!(
        kept,
        "{} does not keep writes inside: not running what would harm this machine",
        runsc().display()
    );
}
