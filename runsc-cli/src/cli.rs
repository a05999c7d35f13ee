//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use sentry::config::Limits;

use crate::failure::Failure;
use crate::policy::PolicyCommand;

/// Run programs you do not trust, on a kernel of their own.
#[derive(Debug, Parser)]
#[command(name = "runsc", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run an untrusted program over a copy-on-write view of this machine
    ///
    /// The program sees this machine's files; what it writes stays aside and is gone afterwards. Every system
    /// call is answered by runsc's own kernel. Without COMMAND, your shell is started.
    #[command(after_help = EXIT_CODES)]
    Do(Box<DoOptions>),
    /// Write and understand policies
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// What this machine offers, which layers a sandbox gets here, and what to change
    ///
    /// Everything is found out by trying. Exits with 0 where a sandbox runs here, else with 1.
    Doctor {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

const EXIT_CODES: &str = "\
Exit codes: the command's own; 128+N if signal N ended it; 124 it ran past --timeout;
125 runsc failed (bad option, could not start); 126 the command cannot be run; 127 not found.";

/// The options of `runsc do`.
#[derive(Debug, Args)]
pub(crate) struct DoOptions {
    /// What the program may do: a policy file, or a shipped profile by name
    #[arg(long, value_name = "FILE|NAME", default_value = "untrusted")]
    pub(crate) policy: OsString,
    /// Show a host path inside, read-only [at DEST]
    #[arg(long, value_name = "SRC[:DEST]", action = ArgAction::Append)]
    pub(crate) ro: Vec<OsString>,
    /// Show a host path inside, writable for real [at DEST]
    #[arg(long, value_name = "SRC[:DEST]", action = ArgAction::Append)]
    pub(crate) rw: Vec<OsString>,
    /// Let a path not exist inside
    #[arg(long, value_name = "PATH", action = ArgAction::Append)]
    pub(crate) hide: Vec<PathBuf>,
    /// Where writes go; `none` makes the root read-only, `disk` keeps them in files without a name below TMPDIR or
    /// /var/tmp (otherwise the policy says; memory)
    #[arg(long, value_name = "WHERE", value_enum)]
    pub(crate) overlay: Option<Overlay>,
    /// The directory that becomes `/`
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The network inside; `loopback` is the sandbox's own, and `host` lets it reach all that this machine reaches
    #[arg(long, value_name = "NETWORK", value_enum)]
    pub(crate) net: Option<Net>,
    /// Let it reach this: a name (`*.` before it for all below), an address or a network, IPv6 in brackets
    #[arg(long, value_name = "HOST[:PORT]|CIDR[:PORT]", action = ArgAction::Append, value_parser = policies::read::destination)]
    pub(crate) allow_net: Vec<policies::model::Destination>,
    /// A port of this machine that leads to a listener inside; on all IPv4 addresses without ADDR
    #[arg(long, value_name = "[ADDR:]HOSTPORT:PORT", action = ArgAction::Append, value_parser = policies::read::publish)]
    pub(crate) publish: Vec<policies::model::Publish>,
    /// The working directory inside
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable of the environment
    #[arg(long, value_name = "K=V", action = ArgAction::Append)]
    pub(crate) env: Vec<OsString>,
    /// Pass a variable that is otherwise withheld (agents, D-Bus, display)
    #[arg(long, value_name = "K", action = ArgAction::Append)]
    pub(crate) pass_env: Vec<OsString>,
    /// Who the program is inside; 0 has root's rights there, and none outside
    #[arg(long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// The machine's name inside
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Write one line per system call, in strace's form
    #[arg(long, value_name = "FILE|-")]
    pub(crate) trace: Option<PathBuf>,
    /// List afterwards what the run changed, like `git status`
    #[arg(long)]
    pub(crate) diff: bool,
    /// Write what the run changed as a tar archive (deletions as OCI whiteouts)
    #[arg(long, value_name = "FILE.tar")]
    pub(crate) export: Option<PathBuf>,
    /// How the program is run
    #[arg(long, value_name = "PLATFORM", value_enum, default_value_t = PlatformName::Systrap)]
    pub(crate) platform: PlatformName,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    /// Refuse to run where a layer of isolation is missing
    #[arg(long)]
    pub(crate) require_full_isolation: bool,
    /// Write one JSON line on how it ended to this descriptor
    #[arg(long, value_name = "N")]
    pub(crate) status_fd: Option<i32>,
    /// Where what the program uses is told, for `policy learn`
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) learn_fd: Option<i32>,
    /// Say less: errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; repeat for more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The form of our own messages
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

/// What the whole sandbox may use; each has a twin key in a policy's `[limits]`.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Memory of all processes, and of files kept in memory (512M, 4G)
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<u64>,
    /// Processes and threads at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) pids: Option<u64>,
    /// Processors to run on, and to show
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cpus: Option<u64>,
    /// Processor time of all processes together (90s, 20m; a bare number is seconds)
    #[arg(long, value_name = "DUR", value_parser = span)]
    pub(crate) cpu_time: Option<Duration>,
    /// End the program after this time (10s, 5m, 1h; a bare number is seconds)
    #[arg(long, value_name = "DUR", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
    /// Bytes that written files may take (100M, 8G)
    #[arg(long, value_name = "SIZE", value_parser = policies::units::size)]
    pub(crate) disk: Option<u64>,
    /// Open files of one process
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) open_files: Option<u64>,
}

impl LimitOptions {
    /// As the sandbox takes them.
    pub(crate) fn limits(&self) -> Limits {
        let LimitOptions { memory, pids, cpus, cpu_time, timeout, disk, open_files } = *self;
        Limits { memory, pids, cpus, cpu_time, timeout, disk, open_files }
    }
}

/// What a program needs before it does anything: below this no shell starts.
const MEMORY_MIN: u64 = 4 << 20;

fn memory(text: &str) -> Result<u64, String> {
    match policies::units::size(text)? {
        bytes if bytes < MEMORY_MIN => Err("no program runs in less than 4M".to_owned()),
        bytes => Ok(bytes),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    match policies::units::duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        span => Ok(span),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlay {
    Memory,
    Disk,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Net {
    None,
    Loopback,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlatformName {
    Auto,
    Systrap,
    Ptrace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Invocation {
    Do(Box<DoOptions>),
    Policy(PolicyCommand),
    Doctor {
        json: bool,
    },
    /// Help or version.
    Show(String),
}

/// Reads the command line, the program's name first.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Invocation, Failure> {
    match Cli::try_parse_from(&args) {
        Ok(Cli { command: Subcommands::Do(options) }) => Ok(Invocation::Do(options)),
        Ok(Cli { command: Subcommands::Policy { command } }) => Ok(Invocation::Policy(command)),
        Ok(Cli { command: Subcommands::Doctor { json } }) => Ok(Invocation::Doctor { json }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Invocation::Show(error.to_string())),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::new("no command").hint("try `runsc do -- COMMAND`, or `runsc --help`"))
            }
            _ => Err(refusal(&error, &args)),
        },
    }
}

/// Parts of the command line that are designed and not built.
const NOT_YET: [&str; 27] = [
    "--no-patching",
    "--cache",
    "--fail-on",
    "--report",
    "ci",
    "run",
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "exec",
    "ps",
    "list",
    "pause",
    "resume",
    "events",
    "spec",
    "features",
    "completions",
    "man",
    "checkpoint",
    "restore",
    "update",
    "wait",
    "stats",
    "top",
];

fn refusal(error: &clap::Error, args: &[OsString]) -> Failure {
    use clap::error::{ContextKind, ContextValue};
    let named = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter().find_map(|kind| {
        match error.get(kind) {
            Some(ContextValue::String(name)) => Some(name.clone()),
            _ => None,
        }
    });
    let unknown = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    if let Some(name) = named.as_deref().filter(|name| unknown && NOT_YET.contains(name)) {
        return Failure::new(format!("`{name}` is not available in this version"))
            .hint("see `runsc --help` and `runsc do --help` for what is");
    }
    // Clap's own text says what and where, and often what was meant; its first line begins with `error: `.
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let help = match args.get(1).and_then(|arg| arg.to_str()) {
        Some("do") => "runsc do --help",
        Some("policy") => "runsc policy --help",
        _ => "runsc --help",
    };
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("For more information"))
        .collect();
    Failure::new(lines.join("\n")).hint(format!("try `{help}`"))
}

#[cfg(test)]
mod tests {
    use super::{parse, Invocation};
    use std::time::Duration;

    fn refused(args: &[&str]) -> String {
        let failure = parse(args.iter().map(Into::into).collect()).expect_err("must be refused");
        assert_eq!(failure.code, 125);
        failure.what
    }

    #[test]
    fn everything_behind_the_command_is_the_commands() {
        for args in
            [&["runsc", "do", "-v", "ls", "-v", "--ro"][..], &["runsc", "do", "-v", "--", "ls", "-v", "--ro"]]
        {
            let Ok(Invocation::Do(options)) = parse(args.iter().map(Into::into).collect()) else {
                panic!("{args:?} must parse");
            };
            assert_eq!(options.command, ["ls", "-v", "--ro"]);
            assert_eq!(options.verbose, 1);
        }
    }

    #[test]
    fn later_options_are_named_as_such() {
        assert_eq!(
            refused(&["runsc", "do", "--report", "x.json", "true"]),
            "`--report` is not available in this version"
        );
        assert_eq!(refused(&["runsc", "ci"]), "`ci` is not available in this version");
        assert!(refused(&["runsc", "do", "--bogus", "true"]).contains("--bogus"));
        assert!(refused(&["runsc", "do", "--overlay", "cloud"]).contains("cloud"));
    }

    #[test]
    fn limits_are_read_and_checked() {
        let args =
            ["runsc", "do", "--memory", "1.5G", "--pids=64", "--cpu-time", "2m", "--disk", "10M", "true"];
        let Ok(Invocation::Do(options)) = parse(args.iter().map(Into::into).collect()) else {
            panic!("must parse");
        };
        let limits = options.limits.limits();
        assert_eq!((limits.memory, limits.pids, limits.disk), (Some(3 << 29), Some(64), Some(10 << 20)));
        assert_eq!((limits.cpu_time, limits.cpus), (Some(Duration::from_secs(120)), None));
        for (option, value, says) in [
            ("--memory", "12X", "unknown unit `X`"),
            ("--memory", "1M", "4M"),
            ("--pids", "0", "--pids"),
            ("--cpus", "many", "many"),
            ("--cpu-time", "0", "longer"),
            ("--timeout", "5y", "unknown unit `y`"),
            ("--disk", "lots", "unknown unit"),
            ("--open-files", "few", "few"),
        ] {
            let text = refused(&["runsc", "do", option, value, "true"]);
            assert!(text.contains(says) && text.contains(option), "{option} {value}: {text}");
        }
    }
}
