//! `runsc doctor`: what this machine offers for a sandbox, found out by trying, what each part is good for, and which
//! setting to change where one is missing. [`checks`] tries; this file puts it together and says it.

mod checks;
mod memory;
mod settings;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::Layers;
use serde::Serialize;

use crate::failure::Failure;
use crate::log;

/// What one look at the machine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Present,
    /// There, but less than what could be.
    Limited,
    Missing,
}

/// One thing that a sandbox uses.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// For scripts; never changes.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// What was found.
    pub(crate) detail: String,
    /// What it is good for.
    pub(crate) gives: &'static str,
    /// Without it nothing runs.
    pub(crate) required: bool,
    /// What to change, where it is not all there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) change: Vec<String>,
}

/// Which limit stands under `--memory`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemoryLimit {
    /// `cgroup-v2`, `cgroup-v1`, or `mappings`.
    pub(crate) by: &'static str,
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weakness: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) change: Vec<String>,
}

/// A sandbox that was started for trial.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) works: bool,
    pub(crate) detail: String,
}

#[derive(Clone, Debug, Serialize)]
struct Findings {
    uid: u32,
    kernel: String,
    checks: Vec<Check>,
    /// The layers that a sandbox gets here, and those that it does not.
    layers: Layers,
    memory_limit: MemoryLimit,
    trial: Trial,
}

/// Looks, and says what it found. 0 where a sandbox runs here, else 1.
pub(crate) fn run(json: bool) -> Result<u8, Failure> {
    let findings = look();
    let works = findings.trial.works;
    if json {
        let text = serde_json::to_string_pretty(&findings)
            .map_err(|error| Failure::new(format!("cannot write the findings: {error}")))?;
        log::print(&format!("{text}\n"));
    } else {
        log::print(&text(&findings));
    }
    Ok(u8::from(!works))
}

fn look() -> Findings {
    let kernel = rustix::system::uname();
    Findings {
        uid: nix::unistd::geteuid().as_raw(),
        kernel: kernel.release().to_string_lossy().into_owned(),
        checks: checks::all(),
        layers: jail::probe::layers(),
        memory_limit: memory::limit(),
        trial: trial(),
    }
}

/// Starts this very program as a user would.
fn trial() -> Trial {
    const PATIENCE: Duration = Duration::from_secs(20);
    let started = Instant::now();
    let command = Command::new("/proc/self/exe")
        .args(["do", "-q", "--timeout", "10s", "--", "/bin/sh", "-c", "exit 7"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match command {
        Ok(child) => child,
        Err(error) => return Trial { works: false, detail: format!("it cannot be started: {error}") },
    };
    loop {
        match child.try_wait() {
            Ok(None) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Trial { works: false, detail: "it did not end in time".to_owned() };
            }
            Ok(Some(status)) if status.code() == Some(7) => {
                return Trial { works: true, detail: format!("in {} ms", started.elapsed().as_millis()) }
            }
            Ok(Some(status)) => {
                let mut said = String::new();
                if let Some(errors) = child.stderr.take() {
                    use std::io::Read;
                    // What cannot be read is not told; the exit code is.
                    let _ = errors.take(4096).read_to_string(&mut said);
                }
                let said = said.trim().trim_start_matches("runsc: ").replace('\n', "; ");
                return Trial { works: false, detail: format!("{status}: {said}") };
            }
        }
    }
}

fn text(f: &Findings) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let _ = writeln!(out, "Linux {}, as user {}\n", f.kernel, f.uid);
    for check in &f.checks {
        let mark = match check.state {
            State::Present => "yes ",
            State::Limited => "part",
            State::Missing if check.required => "NO  ",
            State::Missing => "no  ",
        };
        let _ = writeln!(out, "{mark} {:<28} {}", check.name, check.detail);
        if check.state != State::Present {
            let _ = writeln!(out, "{:33} gives: {}", "", check.gives);
            for change in &check.change {
                let _ = writeln!(out, "{:33} change: {change}", "");
            }
        }
    }
    let names: Vec<&str> = f.layers.held.iter().map(|layer| layer.name()).collect();
    let _ = writeln!(out, "\nA sandbox gets here: {}", names.join(", "));
    match f.layers.notice() {
        Some(notice) => {
            let _ = writeln!(out, "It is {notice}; with --require-full-isolation it does not start.");
        }
        None => out.push_str("No layer is missing.\n"),
    }
    let _ = writeln!(out, "--memory is held by {}: {}", f.memory_limit.by, f.memory_limit.detail);
    if let Some(weakness) = f.memory_limit.weakness {
        let _ = writeln!(out, "    weakness: {weakness}");
    }
    for change in &f.memory_limit.change {
        let _ = writeln!(out, "    change: {change}");
    }
    let verdict = if f.trial.works { "starts" } else { "DOES NOT START" };
    let _ = writeln!(out, "A sandbox {verdict} here: {}", f.trial.detail);
    out
}
