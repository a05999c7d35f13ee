//! `runsc-bench`: the same work natively, in the sandbox and in its peers, alternating; prints a Markdown table of
//! medians, spread and ratios.
//!
//! `cargo run --release -p runsc-tests --bin runsc-bench [-- --quick] [--row NAME]…`
//! `RUNSC_BENCH_PEERS="bwrap=bwrap --dev-bind / / --; gvisor=/path/runsc … do --"` runs others beside us.
//!
//! Each row stands twice: with the other processor idle, and with all busy (one spinning process pinned to each
//! processor, in the native run too). Rows are warm inside one sandbox, their first iteration dropped, unless they say
//! *whole process*. A ratio is the median of the ratios of pairs (native, other) run one after the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runsc_tests::run::{run, wait_until};
use runsc_tests::sandbox::bench_guest;
use runsc_tests::{procs, runsc, TempDir};

/// (name for `--row` and for `bench-guest`, title).
const ROWS: [(&str, &str); 29] = [
    ("start-up", "start-up of `/bin/true`, whole process"),
    ("memory", "private memory of all our processes while `sleep` runs"),
    ("getppid", "getppid"),
    ("read-1", "read 1 B"),
    ("read-4k", "read 4 KiB"),
    ("read-1m", "read 1 MiB"),
    ("write-1", "write 1 B"),
    ("write-4k", "write 4 KiB"),
    ("write-1m", "write 1 MiB"),
    ("stat", "stat"),
    ("stat-missing", "failing stat"),
    ("open-close", "open and close"),
    ("pipe", "pipe in one process, write and read"),
    ("round-trip", "socketpair round trip between two processes"),
    ("fork-wait", "fork and wait"),
    ("fork-resident", "fork and wait with 512 MiB resident"),
    ("fork-exec-wait", "fork, exec of `/bin/true`, wait"),
    ("spawn", "spawn `/bin/true`"),
    ("page-fault", "64 page faults"),
    ("page-faults-only", "4,096 page faults"),
    ("mmap-munmap", "mmap and munmap"),
    ("thread", "thread start and join"),
    ("futex", "futex hand-over between two threads, there and back"),
    ("compute", "computing on all processors, one thread each"),
    ("create-write-unlink", "create, write, unlink"),
    ("program-find", "`find /usr -xdev`, warm"),
    ("program-git", "`git status` on 20,000 files, warm"),
    ("program-tar", "`tar cf - /usr/lib` into a pipe, warm"),
    ("program-ls", "`ls -l` of 50,000 entries, warm"),
];

/// Rows of whole programs over many files: measured with the other processor idle only.
fn is_program(row: &str) -> bool {
    row.starts_with("program-")
}

/// The name for `--row` of the rows about policies.
const POLICY: &str = "policy";

struct Options {
    quick: bool,
    rows: Vec<String>,
}

/// A way to run a program: natively (no words), or the words before it.
struct Runner {
    name: String,
    words: Vec<String>,
}

fn main() {
    let options = options();
    let mut runners = vec![
        Runner { name: "native".into(), words: Vec::new() },
        Runner {
            name: "runsc".into(),
            words: vec![runsc().display().to_string(), "do".into(), "-q".into(), "--".into()],
        },
    ];
    for peer in std::env::var("RUNSC_BENCH_PEERS").unwrap_or_default().split(';') {
        if let Some((name, words)) = peer.trim().split_once('=') {
            let words = words.split_whitespace().map(str::to_owned).collect();
            runners.push(Runner { name: name.trim().into(), words });
        }
    }
    let others: Vec<&str> = runners[1..].iter().map(|r| r.name.as_str()).collect();
    let mut table = String::from("| row | load | native |");
    for name in &others {
        let _ = write!(table, " {name} | ratio |");
    }
    table.push_str("\n| --- | --- | --- |");
    table.push_str(&" --- | --- |".repeat(others.len()));
    println!("{table}");
    for (row, title) in ROWS {
        let asked = options.rows.iter().any(|r| r == row);
        // A quick look is one at the calls: what the others take depends on how much this machine has on its disk.
        if !asked && (!options.rows.is_empty() || options.quick && is_program(row)) {
            continue;
        }
        for busy in [false, true] {
            if busy && (row == "memory" || is_program(row)) {
                continue;
            }
            let load = busy.then(Spinners::start);
            println!("{}", line(row, title, busy, &runners, &options));
            drop(load);
        }
    }
    if options.rows.is_empty() || options.rows.iter().any(|row| row == POLICY) {
        policies(&options);
    }
}

/// What a policy costs a call that it allows: the same row without rules and with some.
fn policies(options: &Options) {
    let dir = TempDir::new();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a file in our own directory");
        path.display().to_string()
    };
    let under = |policy: String| Runner {
        name: policy.clone(),
        words: [runsc().display().to_string().as_str(), "do", "-q", "--policy", &policy, "--"]
            .map(str::to_owned)
            .to_vec(),
    };
    let rules: String = (0..100)
        .map(|port| {
            format!(
                "[[syscalls.rule]]\nnames = [\"prctl\", \"socket\"]\nwhen = [\"arg1 == {}\"]\naction = \"errno\"\n",
                port + 1000
            )
        })
        .collect();
    let none = file("none.toml", "");
    println!("\n| row | load | no policy | policy | ratio |\n| --- | --- | --- | --- | --- |");
    for (title, policy) in [
        ("getppid under `untrusted`", "untrusted".to_owned()),
        ("getppid, 100 argument rules on other calls", file("rules.toml", &rules)),
    ] {
        let runners = [under(none.clone()), under(policy)];
        for busy in [false, true] {
            let load = busy.then(Spinners::start);
            println!("{}", line("getppid", title, busy, &runners, options));
            drop(load);
        }
    }
}

fn options() -> Options {
    let mut options = Options { quick: false, rows: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--row" => match args.next() {
                Some(row) if row == POLICY || ROWS.iter().any(|(name, _)| *name == row) => {
                    options.rows.push(row)
                }
                _ => usage(),
            },
            _ => usage(),
        }
    }
    options
}

fn usage() -> ! {
    let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    eprintln!("usage: runsc-bench [--quick] [--row NAME]…\nrows: {} {POLICY}", names.join(" "));
    std::process::exit(64);
}

/// One line of the table: every runner measured in turn, `pairs` times.
fn line(row: &str, title: &str, busy: bool, runners: &[Runner], options: &Options) -> String {
    let pairs = match (options.quick, row) {
        (true, "start-up") => 3,
        (true, _) => 1,
        (false, "start-up") => 30,
        (false, "memory") => 3,
        (false, row) if is_program(row) => 3,
        (false, _) => 7,
    };
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); runners.len()];
    let mut trouble: BTreeMap<usize, String> = BTreeMap::new();
    // One round is thrown away: caches of the host fill in it.
    let rounds = if options.quick { pairs } else { pairs + 1 };
    for round in 0..rounds {
        for (at, runner) in runners.iter().enumerate() {
            match measure(row, runner, options) {
                _ if round == 0 && rounds > pairs => {}
                Ok(value) => values[at].push(value),
                Err(error) => drop(trouble.insert(at, error)),
            }
        }
    }
    let unit = if row == "memory" { bytes } else { time };
    let mut text =
        format!("| {title} | {} | {} |", if busy { "busy" } else { "idle" }, cell(&values[0], unit));
    for at in 1..runners.len() {
        if let Some(error) = trouble.get(&at) {
            let _ = write!(text, " failed: {} | |", error.replace(['|', '\n'], " "));
            continue;
        }
        let ratios: Vec<f64> = values[at].iter().zip(&values[0]).map(|(a, b)| a / b).collect();
        // Memory of a native `sleep` is no yardstick; start-up counts by the difference, too.
        let ratio = match row {
            "memory" => "–".to_owned(),
            "start-up" => {
                let extra: Vec<f64> = values[at].iter().zip(&values[0]).map(|(a, b)| a - b).collect();
                format!("{} (+{})", cell(&ratios, times), time(median(&extra)))
            }
            _ => cell(&ratios, times),
        };
        let _ = write!(text, " {} | {ratio} |", cell(&values[at], unit));
    }
    text
}

fn measure(row: &str, runner: &Runner, options: &Options) -> Result<f64, String> {
    match row {
        "start-up" => {
            // To the end of its output, as a shell's `$(…)` waits. `run` would ask now and then, and measure that.
            let mut command = command(runner, &["/bin/true"], None);
            let start = Instant::now();
            let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
            let took = start.elapsed().as_nanos() as f64;
            if output.status.success() {
                Ok(took)
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        }
        "memory" => memory(runner),
        _ => {
            let own = TempDir::new();
            let dir = if is_program(row) { trees() } else { &own };
            let guest = bench_guest().display().to_string();
            let millis = if options.quick { "5" } else { "40" };
            let outcome =
                run(&mut command(runner, &[&guest, row, millis], Some(dir)), Duration::from_secs(240));
            let samples: Vec<f64> = outcome.out().lines().filter_map(|l| l.parse().ok()).collect();
            if outcome.code == Some(0) && !samples.is_empty() {
                Ok(median(&samples))
            } else {
                Err(outcome.text())
            }
        }
    }
}

/// What programs over many files are run over, made once.
fn trees() -> &'static TempDir {
    static DIR: std::sync::OnceLock<TempDir> = std::sync::OnceLock::new();
    DIR.get_or_init(|| {
        let dir = TempDir::new();
        let made = "mkdir many; cd many; seq 50000 | sed 's/^/entry-/' | xargs touch; cd ..
            git init -q repo; cd repo; for d in $(seq 200); do mkdir -p d$((d % 20))/s$d; \\
            for f in $(seq 100); do echo $d $f >d$((d % 20))/s$d/f$f; done; done
            git add -A; git -c user.name=a -c user.email=a@example.org commit -qm one; git status >/dev/null";
        let made = Command::new("sh").args(["-ec", made]).current_dir(dir.path()).status();
        assert!(made.is_ok_and(|status| status.success()), "the trees could not be made");
        dir
    })
}

fn command(runner: &Runner, program: &[&str], dir: Option<&TempDir>) -> Command {
    let mut words = runner.words.iter().map(String::as_str).chain(program.iter().copied());
    let mut command = Command::new(words.next().expect("there is a program"));
    command.args(words);
    if let Some(dir) = dir {
        command.current_dir(dir.path());
    }
    command
}

/// Private pages of all processes that the runner started, while `sleep` runs.
fn memory(runner: &Runner) -> Result<f64, String> {
    let mut command = command(runner, &["sh", "-c", "echo ready; exec sleep 30"], None);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let mut line = [0u8; 6];
    let ready = child.stdout.as_mut().map(|out| out.read_exact(&mut line));
    std::thread::sleep(Duration::from_millis(300));
    let tree = procs::tree(child.id() as i32);
    let total = tree.iter().map(|p| private_bytes(p.pid)).sum::<u64>();
    // A polite end first: not every peer cleans up after a kill.
    // SAFETY: a child of ours that is not reaped yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    if wait_until(&mut child, Instant::now() + Duration::from_secs(3)).is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    if matches!(ready, Some(Ok(()))) {
        Ok(total as f64)
    } else {
        Err("did not start".into())
    }
}

fn private_bytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    text.lines()
        .filter(|l| l.starts_with("Private_Clean:") || l.starts_with("Private_Dirty:"))
        .map(kib)
        .sum::<u64>()
        * 1024
}

/// One ordinary spinning process pinned to each processor, ended when dropped.
struct Spinners(Vec<Child>);

impl Spinners {
    fn start() -> Spinners {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = |cpu: usize| {
            Command::new("taskset")
                .args(["-c", &cpu.to_string(), "sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("taskset (util-linux) is installed")
        };
        let spinners = Spinners((0..count).map(spin).collect());
        std::thread::sleep(Duration::from_millis(50));
        spinners
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Median, and the spread from the first to the third quartile.
fn cell(values: &[f64], unit: impl Fn(f64) -> String) -> String {
    if values.is_empty() {
        return "–".into();
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    if sorted.len() < 3 {
        return unit(median(values));
    }
    format!("{} ({}–{})", unit(median(values)), unit(at(0.25)), unit(at(0.75)))
}

fn time(nanos: f64) -> String {
    match nanos {
        n if n.abs() < 10_000.0 => format!("{n:.0} ns"),
        n if n.abs() < 1_000_000.0 => format!("{:.1} µs", n / 1e3),
        n => format!("{:.1} ms", n / 1e6),
    }
}

fn bytes(count: f64) -> String {
    format!("{:.1} MiB", count / f64::from(1 << 20))
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}×")
    } else {
        format!("{ratio:.0}×")
    }
}
