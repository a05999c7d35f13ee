//! One script natively and inside at the same time, each in a fresh directory: the same must come of both.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::run::diff;
use crate::sandbox::{do_command_with, native_command};
use crate::{run, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);

/// A program with all that it needs; made by [`Script::sh`] and its like, run by [`Script::same`].
#[derive(Debug, Clone)]
pub struct Script<'a> {
    program: &'a OsStr,
    args: Vec<&'a OsStr>,
    files: Vec<(&'a str, &'a str)>,
    env: Vec<(&'a str, &'a OsStr)>,
    options: Vec<&'a str>,
    limit: Duration,
}

impl<'a> Script<'a> {
    /// `program` without arguments.
    pub fn new(program: &'a (impl AsRef<OsStr> + ?Sized)) -> Script<'a> {
        let program = program.as_ref();
        let (args, files, env, options) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Script { program, args, files, env, options, limit: LIMIT }
    }
    /// A shell with this text.
    pub fn sh(text: &'a str) -> Script<'a> {
        Script::new("sh").arg("-c").arg(text)
    }
    /// One more argument.
    pub fn arg(mut self, arg: &'a (impl AsRef<OsStr> + ?Sized)) -> Script<'a> {
        self.args.push(arg.as_ref());
        self
    }
    /// A file in the directory that it starts in.
    pub fn file(mut self, name: &'a str, text: &'a str) -> Script<'a> {
        self.files.push((name, text));
        self
    }
    /// A variable of its environment.
    pub fn env(mut self, name: &'a str, value: &'a (impl AsRef<OsStr> + ?Sized)) -> Script<'a> {
        self.env.push((name, value.as_ref()));
        self
    }
    /// An option of `runsc do`.
    pub fn option(mut self, option: &'a str) -> Script<'a> {
        self.options.push(option);
        self
    }
    /// The time it gets, in place of two minutes.
    pub fn limit(mut self, limit: Duration) -> Script<'a> {
        self.limit = limit;
        self
    }

    fn command(&self, inside: bool, dir: &Path) -> Command {
        for (name, text) in &self.files {
            fs::write(dir.join(name), text).expect("a file in our own directory");
        }
        let mut command = if inside {
            let mut command = do_command_with(Who::Caller, &self.options);
            command.arg(self.program);
            command
        } else {
            native_command(Who::Caller, self.program)
        };
        command.env("HOME", dir).args(&self.args).current_dir(dir);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        command
    }

    /// What comes of it natively and inside; both run at the same time.
    pub fn outcomes(&self) -> (Outcome, Outcome) {
        let (native, inside) = (TempDir::new(), TempDir::new());
        let mut first = self.command(false, native.path());
        let mut second = self.command(true, inside.path());
        thread::scope(|s| {
            let native = s.spawn(|| run(&mut first, self.limit));
            let inside = run(&mut second, self.limit);
            (native.join().expect("running a command does not panic"), inside)
        })
    }

    /// What comes of it inside.
    pub fn inside(&self) -> Outcome {
        let dir = TempDir::new();
        run(&mut self.command(true, dir.path()), self.limit)
    }

    /// Fails unless the program prints something, ends well on Linux, and does the same inside.
    pub fn same(&self) {
        let (native, inside) = self.outcomes();
        assert_eq!(native.code, Some(0), "the program itself fails on Linux:\n{}", native.text());
        assert!(!native.stdout.is_empty(), "a program that prints nothing tests nothing");
        let difference = diff(&native.text(), &inside.text());
        assert!(difference.is_empty(), "differs:\n{difference}");
    }
}

/// Runs a shell's `text` on the host in a new directory with these files: builds what is to run natively and inside.
pub fn prepared(text: &str, files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new();
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("a file in our own directory");
    }
    let mut make = native_command(Who::Caller, "sh".as_ref());
    make.env("HOME", dir.path()).env("GO111MODULE", "off").env("GOCACHE", dir.join("cache"));
    let made = run(make.args(["-c", text]).current_dir(dir.path()), 5 * LIMIT);
    assert_eq!(made.code, Some(0), "preparing on the host: {}", made.text());
    dir
}
