//! Runs one command to its end or to a time limit, and collects all that it said.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The exit code as a shell would give it: 128+N after a signal. `None` where the time ran out.
    pub code: Option<i32>,
}

impl Outcome {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    /// All of it as one text, as the comparison wants it.
    pub fn text(&self) -> String {
        let end = match self.code {
            Some(code) => format!("exit code {code}"),
            None => "timed out".to_owned(),
        };
        let stderr = self.err().lines().map(|l| format!("stderr: {l}\n")).collect::<String>();
        format!("{}{stderr}{end}\n", self.out())
    }
}

/// A shell's view of a status.
pub fn shell_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs `command` with empty standard input; kills its process group at `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    run_with_input(command, b"", limit)
}

/// Runs `command` with `input` on standard input; kills its process group at `limit`.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Outcome {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // What this process was given by accident is not the program's: some list their descriptors.
    // SAFETY: close_range is a plain system call on numbers, fit for a forked child.
    unsafe {
        command.pre_exec(|| match libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = collect(child.stdout.take().expect("piped above"));
    let stderr = collect(child.stderr.take().expect("piped above"));
    let deadline = Instant::now() + limit;
    let code = wait_until(&mut child, deadline).map(shell_code);
    if code.is_none() {
        // SAFETY: kill takes two numbers; the group is the one made for this child, which is not reaped yet.
        unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
        let _ = child.wait();
    }
    // A process that was left behind may hold the pipe: do not wait for it for ever.
    let grace = deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(2);
    let stdout = stdout.recv_timeout(grace).unwrap_or_else(|_| b"(output still open)\n".to_vec());
    let stderr = stderr.recv_timeout(grace).unwrap_or_else(|_| b"(output still open)\n".to_vec());
    Outcome { stdout, stderr, code }
}

/// Waits for `child` until `deadline`.
pub fn wait_until(child: &mut std::process::Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("wait for our own child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        let _ = sender.send(all);
    });
    receiver
}

/// The lines of `native` and `inside` side by side in unified form; empty where they are equal.
pub fn diff(native: &str, inside: &str) -> String {
    if native == inside {
        return String::new();
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (native.lines().collect(), inside.lines().collect());
    // Longest common subsequence by the table: outputs here are at most some hundred lines.
    let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i][j] =
                if a[i] == b[j] { table[i + 1][j + 1] + 1 } else { table[i + 1][j].max(table[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::from("--- native\n+++ inside\n"));
    while i < a.len() || j < b.len() {
        let (sign, line) = if i < a.len() && j < b.len() && a[i] == b[j] {
            i += 1;
            j += 1;
            (' ', a[i - 1])
        } else if j == b.len() || (i < a.len() && table[i + 1][j] >= table[i][j + 1]) {
            i += 1;
            ('-', a[i - 1])
        } else {
            j += 1;
            ('+', b[j - 1])
        };
        text.push_str(&format!("{sign}{line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_cut() {
        let started = Instant::now();
        let outcome = run(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert_eq!(outcome.code, None);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn codes_are_a_shells() {
        let limit = Duration::from_secs(10);
        assert_eq!(run(Command::new("sh").args(["-c", "exit 7"]), limit).code, Some(7));
        assert_eq!(run(Command::new("sh").args(["-c", "kill -SEGV $$"]), limit).code, Some(139));
    }

    #[test]
    fn differences_are_shown_line_by_line() {
        assert_eq!(diff("a\nb\nc\n", "a\nb\nc\n"), "");
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\n"), "--- native\n+++ inside\n a\n-b\n+x\n c\n");
    }
}
