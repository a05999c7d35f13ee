//! From an executed process to a running kernel, as a straight story.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use platform::Platform;

use crate::config::SentryConfig;
use crate::control::{Control, Outcome};
use crate::guard::Guard;
use crate::mm::account::HostMemory;
use crate::{lockdown, syscalls};

/// The longest configuration: arguments and environment have at most 2 MiB, and escapes double them.
const MAX_CONFIG: u64 = 16 << 20;

/// What the kernel starts with: the process is locked down, the zygote stands, no worker runs yet.
pub struct Start {
    pub config: SentryConfig,
    pub platform: Platform,
    /// Connections to the gofer.
    pub gofer: Vec<OwnedFd>,
    pub control: Arc<Control>,
    /// Where `--trace` goes.
    pub trace: Option<OwnedFd>,
    /// The rules on calls, compiled.
    pub guard: Option<Guard>,
    /// Where what was learnt goes.
    pub learnt: Option<OwnedFd>,
    /// Where the changes go as an archive.
    pub export: Option<OwnedFd>,
    /// The connection to the net broker.
    pub broker: Option<OwnedFd>,
    /// The host's `/proc/NAME`, read-only.
    pub proc_files: Vec<(String, OwnedFd)>,
    /// What the guests' control group says of memory.
    pub memory: Option<HostMemory>,
}

/// Reads the configuration; the caller starts its log with it before it calls [`main`].
pub fn read_config(fd: i32) -> io::Result<SentryConfig> {
    let mut text = String::new();
    File::from(jail::fds::take(fd)?).take(MAX_CONFIG).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

/// The sentry's whole life: confine, make the zygote, seal, run, report. Returns the exit code of this process, which
/// says nothing about the guest (the launcher hears that as a [`crate::control::Report`]).
pub fn main(config: SentryConfig) -> i32 {
    jail::set_process_name("runsc-sentry");
    jail::one_heap();
    let control = match jail::fds::take(config.fds.control) {
        Ok(socket) => Arc::new(Control::new(socket)),
        Err(error) => {
            tracing::error!("the sentry has no connection to its launcher: {error}");
            return 125;
        }
    };
    let outcome = match start(config, &control) {
        Ok(start) => crate::start::run(start),
        Err(message) => Outcome::setup_failed(message),
    };
    match control.done(outcome) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("the sentry cannot report the end of the run: {error}");
            125
        }
    }
}

fn start(config: SentryConfig, control: &Arc<Control>) -> Result<Start, String> {
    let take =
        |fd| jail::fds::take(fd).map_err(|error| format!("the sentry got a wrong descriptor: {error}"));
    let gofer = config.fds.gofer.iter().map(|fd| take(*fd)).collect::<Result<_, _>>()?;
    let trace = config.fds.trace.map(take).transpose()?;
    let learnt = config.fds.learnt.map(take).transpose()?;
    let export = config.fds.export.map(take).transpose()?;
    let broker = config.fds.broker.map(take).transpose()?;
    let memory = match config.fds.memory {
        Some((usage, kills)) => Some(HostMemory { usage: take(usage)?, kills: take(kills)? }),
        None => None,
    };
    let joins = config.fds.joins.iter().map(|fd| take(*fd)).collect::<Result<Vec<_>, _>>()?;
    let proc_files = config
        .fds
        .proc_files
        .iter()
        .map(|(name, fd)| Ok((name.clone(), take(*fd)?)))
        .collect::<Result<_, String>>()?;

    crate::loader::auxv::capture();
    // The first look at a clock reads the auxiliary vector, which the filter no longer lets us.
    crate::time::monotonic();
    lockdown::before_zygote(&config).map_err(|error| format!("cannot confine the sentry: {error}"))?;
    // What the policy has a word in is not for the stub alone.
    let guard = config.calls.clone().map(Guard::new).transpose()?;
    let all = trace.is_some() || learnt.is_some();
    let watched = |nr| all || guard.as_ref().is_some_and(|guard| !guard.always_allows(nr));
    let shapes = syscalls::table::shapes(watched);
    let guests = platform::Config {
        shapes,
        cpus: config.cpus,
        gated: config.limits.memory.is_some() && memory.is_none(),
        joins,
    };
    let platform =
        Platform::boot(guests).map_err(|error| format!("cannot start the systrap platform: {error}"))?;
    lockdown::after_zygote(&config)
        .map_err(|error| format!("cannot install the sentry's filter: {error}"))?;

    Ok(Start {
        config,
        platform,
        gofer,
        control: control.clone(),
        guard,
        trace,
        learnt,
        export,
        broker,
        proc_files,
        memory,
    })
}
