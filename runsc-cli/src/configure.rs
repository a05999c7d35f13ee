//! From options to what gofer and sentry are told: everything is resolved here, while the launcher still sees the
//! machine as the user does.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gofer::GoferConfig;
use policies::model::{Located, Policy};
use rustix::fs::{Mode, OFlags};
use rustix::process::{getrlimit, Resource};
use sentry::config::{Descriptors, Limits, Log, Mount, MountMode, SentryConfig, Stream};
use sentry::guard::Guard;

use crate::cli::{DoOptions, LogFormat, PlatformName};
use crate::enforce::denied::Denied;
use crate::enforce::rules;
use crate::enforce::source;
use crate::enforce::tip::Context;
use crate::environment::{self, Identity};
use crate::failure::{Failure, While};
use crate::network::{self, Network, WayOut};
use crate::paths;
use crate::view::{self, View};

/// Set to `trap`, a call that a filter of ours refuses is named and answered `ENOSYS`, instead of being fatal.
const DEBUG_VARIABLE: &str = "RUNSC_FILTERS";

/// A run, ready to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Without descriptors and layers, which are known once the process exists.
    pub(crate) sentry: SentryConfig,
    pub(crate) gofer: GoferConfig,
    /// What the net broker is told, where one is needed.
    pub(crate) way_out: Option<WayOut>,
    pub(crate) trace: Option<OwnedFd>,
    /// Where what was learnt goes.
    pub(crate) learnt: Option<OwnedFd>,
    /// Where the changes go as an archive.
    pub(crate) export: Option<OwnedFd>,
    /// Changes are kept on disk: where the directory for that is made.
    pub(crate) scratch: bool,
    pub(crate) denied: Denied,
    /// Somebody asked for a limit on memory, so that a control group is worth its while: to enter one can take the
    /// host twenty milliseconds. The limit of a shipped profile is held by counting mappings.
    pub(crate) host_group: bool,
}

/// What our own messages look like.
pub(crate) fn log(options: &DoOptions) -> Log {
    let verbosity = if options.quiet { -1 } else { i8::try_from(options.verbose).unwrap_or(i8::MAX) };
    Log { verbosity, json: options.log_format == LogFormat::Json }
}

/// Resolves the options.
pub(crate) fn plan(options: &DoOptions) -> Result<Plan, Failure> {
    if options.platform == PlatformName::Ptrace {
        return Err(Failure::new("`--platform ptrace` is not available in this version")
            .hint("leave the option out: systrap needs no more than seccomp"));
    }
    let (policy, context) = policy(options)?;
    let trace = options.trace.as_deref().map(trace_stream).transpose()?;
    let identity = identity(options, &policy)?;
    let View { gofer, mounts, hide, root, on_disk } = view::resolve(options, &policy)?;
    let export = changes(options, &mounts)?;
    let Network { offline, way_out } = network::resolve(options, &policy)?;
    let learnt = options.learn_fd.map(jail::fds::take).transpose().while_doing("--learn-fd")?;
    // What is learnt is what the program would do if it were let.
    let calls = match learnt.is_some() || rules::all_allowed(&policy.syscalls) {
        true => None,
        false => Some(policy.syscalls.clone()),
    };
    if let Some(calls) = calls.clone().filter(|calls| !calls.rules.is_empty()) {
        Guard::new(calls).while_doing("the policy")?;
    }
    let places = rules::places(&policy.syscalls);
    let argv = match options.command.as_slice() {
        [] => vec![environment::shell()],
        command => command.to_vec(),
    };
    let limits = options.limits.limits().or(limits_of(&policy));
    let cpus = processors();
    let env = environment::variables(std::env::vars_os(), &policy.env, &options.env, &options.pass_env)?;
    let sentry = SentryConfig {
        argv: argv.into_iter().map(std::os::unix::ffi::OsStringExt::into_vec).collect(),
        env,
        cwd: paths::bytes(working_directory(options, &policy, &root)?),
        cwd_explicit: options.cwd.is_some() || policy.process.cwd.is_some(),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        capabilities: capabilities(&policy),
        umask: umask(),
        nice: nice(),
        hostname: hostname(options, &policy)?,
        mounts,
        calls,
        describe_denials: options.verbose > 0 || options.log_format == LogFormat::Json,
        offline,
        outside: way_out.as_ref().map(WayOut::for_sentry),
        hide: hide.into_iter().map(paths::bytes).collect(),
        ignored_signals: jail::inherited::ignored_signals(),
        rlimits: rlimits(&limits),
        limits,
        streams: streams(),
        foreground: foreground(),
        diff: options.diff,
        cpus: limits.cpus.and_then(|n| usize::try_from(n).ok()).map_or(cpus, |n| n.min(cpus)),
        log: log(options),
        layers: jail::Layers::default(),
        trap_refused_calls: std::env::var_os(DEBUG_VARIABLE).is_some_and(|value| value == "trap"),
        fds: Descriptors::default(),
    };
    let host_group = limits.memory.is_some() && (options.limits.memory.is_some() || context.is_file);
    let denied = Denied::new(places, context);
    Ok(Plan { sentry, gofer, way_out, trace, learnt, export, scratch: on_disk, denied, host_group })
}

/// The policy that the options name.
fn policy(options: &DoOptions) -> Result<(Policy, Context), Failure> {
    let (policy, dialect) = source::load(&options.policy)?;
    let name = options.policy.to_string_lossy().into_owned();
    let is_file = !source::is_shipped(&name);
    Ok((policy, Context { policy: name, is_file, dialect }))
}

fn identity(options: &DoOptions, policy: &Policy) -> Result<Identity, Failure> {
    match (&options.user, &policy.process.user) {
        (Some(user), _) => Identity::parse(user),
        (None, Some(user)) => Identity::parse(user).map_err(|failure| {
            let what = failure.what.strip_prefix("--user: ").unwrap_or(&failure.what);
            Failure::at(&user.origin, what).hint("the form is user = \"UID[:GID]\"")
        }),
        (None, None) => Ok(Identity::of_caller()),
    }
}

/// What the policy narrows capabilities to, as a set.
fn capabilities(policy: &Policy) -> Option<u64> {
    let named = policy.process.capabilities.as_ref()?;
    let number = |name: &String| policies::constants::CAPABILITIES.iter().position(|known| known == name);
    Some(named.value.iter().filter_map(number).fold(0, |set, number| set | 1 << number))
}

fn limits_of(policy: &Policy) -> Limits {
    fn value<T: Copy>(limit: &Option<Located<T>>) -> Option<T> {
        limit.as_ref().map(|limit| limit.value)
    }
    let limits = &policy.limits;
    Limits {
        memory: value(&limits.memory),
        pids: value(&limits.pids),
        cpus: value(&limits.cpus),
        cpu_time: value(&limits.cpu_time),
        timeout: value(&limits.timeout),
        disk: value(&limits.disk),
        open_files: value(&limits.open_files),
    }
}

fn working_directory(options: &DoOptions, policy: &Policy, root: &Path) -> Result<PathBuf, Failure> {
    if let Some(cwd) = &options.cwd {
        return std::path::absolute(cwd).while_doing("--cwd");
    }
    if let Some(cwd) = &policy.process.cwd {
        return Ok(cwd.value.clone());
    }
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::new(format!("the working directory cannot be named: {error}"))
            .hint("choose one with --cwd DIR")
    })?;
    // Inside it is where it lies below the root; elsewhere there is none, and the root serves.
    Ok(cwd.strip_prefix(root).map_or_else(|_| PathBuf::from("/"), |below| Path::new("/").join(below)))
}

/// The caller's priority: getpriority(2) cannot fail for oneself.
fn nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

fn umask() -> u32 {
    // Asking sets it; nothing is created in between.
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn hostname(options: &DoOptions, policy: &Policy) -> Result<Vec<u8>, Failure> {
    const LENGTH: &str = "a name has 1 to 64 bytes";
    let good = |name: &str| (1..=64).contains(&name.len());
    match (&options.hostname, &policy.process.hostname) {
        (Some(name), _) if !good(name) => Err(Failure::new(format!("--hostname: {LENGTH}"))),
        (None, Some(name)) if !good(name) => Err(Failure::at(&name.origin, LENGTH)),
        (Some(name), _) => Ok(name.clone().into_bytes()),
        (None, Some(name)) => Ok(name.value.clone().into_bytes()),
        (None, None) => Ok(rustix::system::uname().nodename().to_bytes().to_vec()),
    }
}

/// The caller's limits, by number (asm-generic/resource.h), with those that `--open-files` sets.
fn rlimits(limits: &Limits) -> Vec<(u64, u64)> {
    let mut all = [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ]
    .map(getrlimit)
    .map(|limit| (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX)))
    .to_vec();
    if let (Some(files), Some(limit)) = (limits.open_files, all.get_mut(Resource::Nofile as usize)) {
        *limit = (files, files);
    }
    all
}

fn streams() -> [Stream; 3] {
    use std::io::IsTerminal;
    let terminal =
        [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
    let open = jail::inherited::open_streams();
    std::array::from_fn(|stream| match (open.get(stream), terminal.get(stream)) {
        (Some(false), _) => Stream::Closed,
        (_, Some(true)) => Stream::Terminal,
        _ => Stream::Other,
    })
}

fn foreground() -> bool {
    let group = rustix::process::getpgrp();
    let of = |front: rustix::io::Result<rustix::process::Pid>| front.is_ok_and(|front| front == group);
    of(rustix::termios::tcgetpgrp(std::io::stdin()))
        || of(rustix::termios::tcgetpgrp(std::io::stdout()))
        || of(rustix::termios::tcgetpgrp(std::io::stderr()))
}

fn processors() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1) as usize)
}

fn trace_stream(path: &Path) -> Result<OwnedFd, Failure> {
    if path == Path::new("-") {
        return jail::fds::duplicate_standard(2).while_doing("--trace: standard error");
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))
        .while_doing(&format!("--trace: cannot write `{}`", path.display()))
}

/// What becomes of the changes: there must be some, and a place for them.
fn changes(options: &DoOptions, mounts: &[Mount]) -> Result<Option<OwnedFd>, Failure> {
    let kept = |mount: &Mount| matches!(mount.mode, MountMode::Overlay | MountMode::OverlayOnDisk);
    if (options.diff || options.export.is_some()) && !mounts.iter().any(kept) {
        let option = if options.diff { "--diff" } else { "--export" };
        return Err(Failure::new(format!("{option}: nothing is kept aside that could be told of"))
            .hint("use --overlay memory or --overlay disk"));
    }
    options.export.as_deref().map(export_stream).transpose()
}

/// The archive's file, opened while this process is still the user. Nothing is written before the end of the run.
///
/// What lies there already is written over only where it is the caller's own plain file, by its only name: not what a
/// link leads to, not a file that somebody else has put in the way.
fn export_stream(path: &Path) -> Result<OwnedFd, Failure> {
    let refused = |what: String| {
        Failure::new(format!("--export: cannot write `{}`: {what}", path.display()))
            .hint("name a new file, or a plain file of your own")
    };
    let always = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    match rustix::fs::open(path, always | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o666)) {
        Ok(fd) => return Ok(fd),
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(refused(std::io::Error::from(error).to_string())),
    }
    let fd = rustix::fs::open(path, always, Mode::empty()).map_err(|error| {
        refused(match error {
            rustix::io::Errno::LOOP => "it is a symbolic link".to_owned(),
            error => std::io::Error::from(error).to_string(),
        })
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| refused(std::io::Error::from(error).to_string()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(refused("it is no plain file".to_owned()));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to somebody else".to_owned()));
    }
    if stat.st_nlink != 1 {
        return Err(refused("it has other names".to_owned()));
    }
    Ok(fd)
}

/// Where `--status-fd` goes.
pub(crate) fn status_stream(fd: i32) -> Result<OwnedFd, Failure> {
    let stream = if fd > 2 { jail::fds::take(fd) } else { jail::fds::duplicate_standard(fd) };
    stream.map_err(|error| {
        Failure::new(format!("--status-fd {fd}: {error}"))
            .hint("open it for runsc, as in `--status-fd 3 3>status`")
    })
}
