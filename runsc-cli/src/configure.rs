//! From options to what gofer and sentry are told: everything is resolved here, while the launcher still sees the
//! machine as the user does.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gofer::{GoferConfig, TreeConfig};
use rustix::fs::{Mode, OFlags};
use rustix::process::{getrlimit, Resource};
use sentry::config::{Descriptors, Limits, Log, Mount, MountMode, SentryConfig, Stream};

use crate::cli::{DoOptions, LogFormat, Overlay, PlatformName};
use crate::environment::{self, Identity};
use crate::failure::{Failure, While};
use crate::paths::{self, Shown};

/// Set to `trap`, a call that a filter of ours refuses is named and answered `ENOSYS`, instead of being fatal.
const DEBUG_VARIABLE: &str = "RUNSC_FILTERS";

/// A run, ready to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Without descriptors and layers, which are known once the process exists.
    pub(crate) sentry: SentryConfig,
    pub(crate) gofer: GoferConfig,
    pub(crate) trace: Option<OwnedFd>,
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
    if options.overlay == Overlay::Disk {
        return Err(Failure::new("`--overlay disk` is not available in this version")
            .hint("use --overlay memory, or --rw DIR for what is to be kept"));
    }
    let trace = options.trace.as_deref().map(trace_stream).transpose()?;
    let identity = options.user.as_deref().map_or_else(|| Ok(Identity::of_caller()), Identity::parse)?;
    let (gofer, mounts, hide) = trees(options)?;
    let argv = match options.command.as_slice() {
        [] => vec![environment::shell()],
        command => command.to_vec(),
    };
    let limits = options.limits.limits();
    let cpus = processors();
    let env = environment::variables(std::env::vars_os(), &options.env, &options.pass_env)?;
    let sentry = SentryConfig {
        argv: argv.into_iter().map(std::os::unix::ffi::OsStringExt::into_vec).collect(),
        env,
        cwd: paths::bytes(working_directory(options)?),
        cwd_explicit: options.cwd.is_some(),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        umask: umask(),
        hostname: hostname(options)?,
        mounts,
        hide: hide.into_iter().map(paths::bytes).collect(),
        ignored_signals: jail::inherited::ignored_signals(),
        rlimits: rlimits(&limits),
        limits,
        streams: streams(),
        foreground: foreground(),
        cpus: limits.cpus.and_then(|n| usize::try_from(n).ok()).map_or(cpus, |n| n.min(cpus)),
        log: log(options),
        layers: jail::Layers::default(),
        trap_refused_calls: std::env::var_os(DEBUG_VARIABLE).is_some_and(|value| value == "trap"),
        fds: Descriptors::default(),
    };
    Ok(Plan { sentry, gofer, trace })
}

/// The gofer's trees, the mounts made of them, and what is hidden.
fn trees(options: &DoOptions) -> Result<(GoferConfig, Vec<Mount>, Vec<PathBuf>), Failure> {
    let mut hide = Vec::new();
    for path in &options.hide {
        let path = std::path::absolute(path).while_doing("--hide")?;
        if paths::normal(&path).is_none_or(|path| path == Path::new("/")) {
            return Err(Failure::new(format!("--hide: `{}` cannot be hidden", path.display()))
                .hint("name a path below /, without `..`"));
        }
        paths::with_target(&path, &mut hide);
    }
    let home = std::env::home_dir();
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| {
        Path::new(socket).is_absolute() && !options.pass_env.iter().any(|key| key == "SSH_AUTH_SOCK")
    });
    let uid = nix::unistd::getuid().as_raw();
    for path in paths::hidden_unasked(home.as_deref(), uid, agent.as_deref()) {
        if !hide.contains(&path) {
            hide.push(path);
        }
    }

    let root = TreeConfig {
        source: PathBuf::from("/"),
        writable: false,
        hide: hide.clone(),
        mask: ["/proc", "/sys", "/dev"].into_iter().map(PathBuf::from).collect(),
    };
    let root_mode = if options.overlay == Overlay::None { MountMode::Ro } else { MountMode::Overlay };
    let mut gofer = GoferConfig { trees: vec![root] };
    let mut mounts = vec![Mount { tree: 0, dest: b"/".to_vec(), mode: root_mode }];
    let ro = options.ro.iter().map(|spec| (spec, "--ro", MountMode::Ro));
    let rw = options.rw.iter().map(|spec| (spec, "--rw", MountMode::Rw));
    for (spec, option, mode) in ro.chain(rw) {
        let Shown { source, dest } = paths::shown(option, spec)?;
        if dest == Path::new("/") {
            return Err(Failure::new(format!("{option}: the root itself cannot be replaced"))
                .hint("show a directory below it"));
        }
        mounts.push(Mount { tree: gofer.trees.len(), dest: paths::bytes(dest), mode });
        // What the user names outright is shown, though it lies in what is hidden.
        let hide =
            hide.iter().filter(|path| path.starts_with(&source) && **path != source).cloned().collect();
        gofer.trees.push(TreeConfig { source, writable: mode == MountMode::Rw, hide, mask: Vec::new() });
    }
    // A mount lies over those that its place is in, whatever the order of the options.
    mounts.sort_by_key(|mount| mount.dest.len());
    Ok((gofer, mounts, hide))
}

fn working_directory(options: &DoOptions) -> Result<PathBuf, Failure> {
    let Some(cwd) = &options.cwd else {
        return std::env::current_dir().map_err(|error| {
            Failure::new(format!("the working directory cannot be named: {error}"))
                .hint("choose one with --cwd DIR")
        });
    };
    std::path::absolute(cwd).while_doing("--cwd")
}

fn umask() -> u32 {
    // Asking sets it; nothing is created in between.
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn hostname(options: &DoOptions) -> Result<Vec<u8>, Failure> {
    match &options.hostname {
        Some(name) if name.is_empty() || name.len() > 64 => {
            Err(Failure::new("--hostname: a name has 1 to 64 bytes"))
        }
        Some(name) => Ok(name.clone().into_bytes()),
        None => Ok(rustix::system::uname().nodename().to_bytes().to_vec()),
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

/// Where `--status-fd` goes.
pub(crate) fn status_stream(fd: i32) -> Result<OwnedFd, Failure> {
    let stream = if fd > 2 { jail::fds::take(fd) } else { jail::fds::duplicate_standard(fd) };
    stream.map_err(|error| {
        Failure::new(format!("--status-fd {fd}: {error}"))
            .hint("open it for runsc, as in `--status-fd 3 3>status`")
    })
}
