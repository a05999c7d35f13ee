//! Much at a time: what a sandbox does while one of its programs takes all that it may, and what it gives back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use runsc_tests::sandbox::do_command_with;
use runsc_tests::{have, procs, Who};

/// A shell inside that answers lines.
struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Session {
    fn start(options: &[&str], script: &str) -> Session {
        let mut command: Command = do_command_with(Who::Caller, options);
        command.args(["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the sandbox starts");
        let to = child.stdin.take().expect("piped above");
        let from = BufReader::new(child.stdout.take().expect("piped above"));
        Session { child, to, from }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("our own pipe");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.to, "{question}").expect("our own pipe");
        self.line()
    }

    /// Kilobytes of memory of the sentry's own, from outside.
    fn sentry_memory(&self) -> u64 {
        let root = i32::try_from(self.child.id()).expect("a process number");
        let mut found = 0;
        for p in procs::tree(root) {
            if p.line.contains("__sentry") {
                let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", p.pid)).unwrap_or_default();
                let private = text.lines().filter(|l| l.starts_with("Private_"));
                let sum: u64 = private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
                found = found.max(sum);
            }
        }
        assert!(found > 0, "no sentry below the command");
        found
    }

    fn end(mut self) {
        drop(self.to);
        let status = self.child.wait().expect("our own child");
        assert!(status.success(), "{status:?}");
    }
}

/// A bomb meets its limit while another process in the same sandbox goes on serving; when the bomb is gone, so is
/// what the sentry had taken for it.
#[test]
fn a_fork_bomb_leaves_others_served_and_no_memory_taken() {
    if !have("python3") {
        return;
    }
    // The shell serves; the bomb is in its background, and burns out once a file is there.
    let script = r#"
while read -r word rest; do
  case $word in
    echo) echo "$rest" ;;
    bomb) sh -c 'b() { [ -e /tmp/stop ] || b 2>/dev/null | b 2>/dev/null & }; b 2>/dev/null' >/dev/null 2>&1 & echo lit ;;
    count) read -r n </sys/fs/cgroup/pids.current; echo $n ;;
    defuse) : >/tmp/stop; echo out ;;
  esac
done"#;
    let mut session = Session::start(&["--pids", "300"], script);
    assert_eq!(session.ask("echo up"), "up");
    let before = session.sentry_memory();
    assert_eq!(session.ask("bomb"), "lit");
    let (mut most, mut slowest) = (0, Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let asked = Instant::now();
        assert_eq!(session.ask("echo still here"), "still here");
        slowest = slowest.max(asked.elapsed());
        most = most.max(session.ask("count").parse::<u32>().expect("a number"));
        thread::sleep(Duration::from_millis(50));
    }
    let during = session.sentry_memory();
    assert!((100..=310).contains(&most), "the bomb had {most} processes");
    assert!(slowest < Duration::from_secs(10), "an answer took {slowest:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert_eq!(session.ask("defuse"), "out");
        if session.ask("count").parse::<u32>().expect("a number") < 5 {
            break;
        }
        assert!(Instant::now() < deadline, "the bomb goes on");
    }
    let mut after = session.sentry_memory();
    while after > before + 8192 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200));
        after = session.sentry_memory();
    }
    println!("sentry's own memory: {before} kB, {during} kB under {most} processes, {after} kB afterwards");
    assert!(after <= before + 8192, "{before} kB before, {during} kB during, {after} kB afterwards");
    assert_eq!(session.ask("echo and on"), "and on");
    session.end();
}
