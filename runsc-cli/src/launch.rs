//! Starts a sandbox: the gofer and the sentry side by side, then this process gives up what it no longer needs and
//! waits ([`crate::supervise`]).

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use jail::cgroup::{self, Group, Wanted};
use jail::spawn::{self, Program};
use jail::{Layer, Layers, Mismatch, Role};
use nix::unistd::Pid;
use rustix::fs::{memfd_create, MemfdFlags, Mode, OFlags};
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
use sentry::config::{Descriptors, Limits, SentryConfig};
use sentry::control::{Control, Outcome};
use serde::Serialize;

use crate::cli::DoOptions;
use crate::configure::{self, Plan};
use crate::failure::{Failure, While};
use crate::network::WayOut;
use crate::roles::{BrokerProcess, GoferProcess, CONFIG_FD};
use crate::scratch::Scratch;
use crate::supervise::{Children, Signals, Supervisor};
use crate::{log, status};

/// The hidden names of our other processes.
pub(crate) const GOFER_ROLE: &str = "__gofer";
pub(crate) const SENTRY_ROLE: &str = "__sentry";
pub(crate) const BROKER_ROLE: &str = "__broker";

/// Files of the host's `/proc` that the sentry reads.
const PROC_FILES: [&str; 4] = ["cpuinfo", "meminfo", "stat", "loadavg"];

/// `runsc do`: gives the exit code.
pub(crate) fn run(options: &DoOptions) -> Result<u8, Failure> {
    log::start(configure::log(options));
    jail::begin_launcher().while_doing("cannot prepare the launcher")?;
    let status = options.status_fd.map(configure::status_stream).transpose()?;
    let mut scratch = None;
    let planned = configure::plan(options).and_then(|mut plan| {
        let timeout = plan.sentry.limits.timeout;
        if plan.scratch {
            let made = scratch.insert(Scratch::make()?);
            plan.gofer.scratch = Some(made.path.clone());
        }
        Ok((start(plan, options, scratch.as_ref())?, timeout))
    });
    let outcome = match planned {
        Ok((supervisor, timeout)) => {
            let outcome = supervisor.run(timeout);
            scratch.into_iter().for_each(Scratch::remove);
            outcome
        }
        Err(failure) => {
            scratch.into_iter().for_each(Scratch::remove);
            if let Some(status) = status {
                status::write_line(status, &Outcome::setup_failed(""));
            }
            return Err(failure);
        }
    };
    if let Some(message) = &outcome.message {
        log::error(message);
    }
    if let Some(status) = status {
        status::write_line(status, &outcome);
    }
    Ok(status::exit_code(&outcome))
}

fn start(plan: Plan, options: &DoOptions, scratch: Option<&Scratch>) -> Result<Supervisor, Failure> {
    const DOING: &str = "cannot start the sandbox";
    let signals = Signals::catch(plan.sentry.ignored_signals).while_doing(DOING)?;
    let inherited = File::open(format!("/proc/self/task/{}/children", std::process::id())).ok();
    let (to_sentry, to_launcher) = pair().while_doing(DOING)?;
    let (sentry_line, gofer_line) = pair().while_doing(DOING)?;

    // The sentry's process first: what the machine grants shows when it is made. It waits for its configuration.
    let mut layers = Layers::probe();
    let sentry_config = memfd("sentry-config").while_doing(DOING)?;
    let mut fds = vec![sentry_config.as_fd(), to_launcher.as_fd(), sentry_line.as_fd()];
    let mut numbers =
        Descriptors { control: CONFIG_FD + 1, gofer: vec![CONFIG_FD + 2], ..Default::default() };
    let mut next = CONFIG_FD + 3;
    let group = control_group(&plan);
    if let Some(group) = &group {
        for join in &group.joins {
            fds.push(join.as_fd());
            numbers.joins.push(next);
            next += 1;
        }
        fds.push(group.usage.as_fd());
        fds.push(group.kills.as_fd());
        numbers.memory = Some((next, next + 1));
        next += 2;
    }
    if let Some(trace) = &plan.trace {
        fds.push(trace.as_fd());
        numbers.trace = Some(next);
        next += 1;
    }
    if let Some(learnt) = &plan.learnt {
        fds.push(learnt.as_fd());
        numbers.learnt = Some(next);
        next += 1;
    }
    if let Some(export) = &plan.export {
        fds.push(export.as_fd());
        numbers.export = Some(next);
        next += 1;
    }
    let broker_line = plan.way_out.is_some().then(pair).transpose().while_doing(DOING)?;
    if let Some((to_broker, _)) = &broker_line {
        fds.push(to_broker.as_fd());
        numbers.broker = Some(next);
        next += 1;
    }
    let proc_files = proc_files();
    for (name, file) in &proc_files {
        fds.push(file.as_fd());
        numbers.proc_files.push(((*name).to_owned(), next));
        next += 1;
    }
    let waiting = spawn::sentry(&mut layers, &Program { args: &arguments(SENTRY_ROLE), fds: &fds })
        .while_doing("cannot start the sentry")?;
    check_isolation(&layers, options)?;
    let mut sentry = plan.sentry;
    sentry.fds = numbers;
    sentry.layers = layers.clone();
    write_config(sentry_config, &sentry).while_doing(DOING)?;
    let sentry_pid = waiting.go().while_doing(DOING)?;

    let gofer_config = memfd("gofer-config").while_doing(DOING)?;
    let gofer_process = GoferProcess {
        gofer: plan.gofer,
        layers: layers.clone(),
        log: sentry.log,
        trap_refused_calls: sentry.trap_refused_calls,
        sockets: vec![CONFIG_FD + 1],
    };
    let fds = [gofer_config.as_fd(), gofer_line.as_fd()];
    let program = Program { args: &arguments(GOFER_ROLE), fds: &fds };
    write_config_of(&gofer_config, &gofer_process).while_doing(DOING)?;
    let gofer_pid = spawn::gofer(&program).while_doing("cannot start the gofer")?;

    let broker = match (plan.way_out, &broker_line) {
        (Some(way_out), Some((_, line))) => Some(start_broker(way_out, line, &sentry).while_doing(DOING)?),
        _ => None,
    };
    confine(&layers, sentry.trap_refused_calls, scratch).while_doing("cannot confine the launcher")?;
    let cleaner = group.map(|group| group.cleaner);
    let children = Children { sentry: sentry_pid, gofer: gofer_pid, broker, cleaner, inherited };
    Ok(Supervisor::new(signals, Control::new(to_sentry), children, plan.denied))
}

/// The process that makes the sockets which lead out.
fn start_broker(way_out: WayOut, line: &OwnedFd, sentry: &SentryConfig) -> std::io::Result<Pid> {
    let config = memfd("broker-config")?;
    let first_listener = CONFIG_FD + 2;
    let broker = BrokerProcess {
        broker: way_out.broker,
        layers: sentry.layers.clone(),
        log: sentry.log,
        trap_refused_calls: sentry.trap_refused_calls,
        sentry: CONFIG_FD + 1,
        listeners: way_out
            .listeners
            .iter()
            .zip(first_listener..)
            .map(|(listener, number)| (number, listener.port))
            .collect(),
    };
    let mut fds = vec![config.as_fd(), line.as_fd()];
    fds.extend(way_out.listeners.iter().map(|listener| listener.socket.as_fd()));
    write_config_of(&config, &broker)?;
    spawn::broker(&Program { args: &arguments(BROKER_ROLE), fds: &fds })
}

/// A group of the host's for the guests, where somebody asked for a limit on memory. Without one memory is counted as
/// it is mapped.
fn control_group(plan: &Plan) -> Option<Group> {
    if !plan.host_group {
        return None;
    }
    let Limits { memory, pids, .. } = plan.sentry.limits;
    match cgroup::make(&Wanted { memory, pids }) {
        Ok(group) => Some(group),
        Err(why) => {
            tracing::info!("no control group for the limits, so memory is counted as it is mapped: {why}");
            None
        }
    }
}

/// Says what is missing, once, or refuses to go on.
fn check_isolation(layers: &Layers, options: &DoOptions) -> Result<(), Failure> {
    let Some(notice) = layers.notice() else { return Ok(()) };
    if options.require_full_isolation {
        return Err(Failure::new(format!(
            "this machine does not grant full isolation: {}",
            notice.trim_start_matches("running ")
        ))
        .hint("leave --require-full-isolation out to run with the layers that remain"));
    }
    tracing::warn!("{notice}");
    Ok(())
}

/// From here on the launcher opens no file and ends, signals and hears its children only.
fn confine(layers: &Layers, trap: bool, scratch: Option<&Scratch>) -> std::io::Result<()> {
    // Who owns the sentry's user namespace may signal it; without one, root's sentry has become somebody else.
    let keep_kill = !layers.holds(Layer::UserNamespace) && layers.holds(Layer::ForeignIdentity);
    jail::enter_launcher(layers, keep_kill, scratch.map(|scratch| scratch.parent.as_fd()))?;
    if layers.holds(Layer::Seccomp) {
        jail::seal(Role::Launcher, if trap { Mismatch::Trap } else { Mismatch::Kill })?;
    }
    Ok(())
}

fn arguments(role: &str) -> [CString; 2] {
    [c"runsc".to_owned(), CString::new(role).unwrap_or_default()]
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn memfd(name: &str) -> rustix::io::Result<OwnedFd> {
    memfd_create(name, MemfdFlags::CLOEXEC)
}

/// The file's position is shared with the process that reads it: it must stand at the start.
fn write_config_of<T: Serialize>(file: &OwnedFd, config: &T) -> std::io::Result<()> {
    write_config(file.try_clone()?, config)
}

fn write_config<T: Serialize>(file: OwnedFd, config: &T) -> std::io::Result<()> {
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()
}

fn proc_files() -> Vec<(&'static str, OwnedFd)> {
    PROC_FILES
        .into_iter()
        .filter_map(|name| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(format!("/proc/{name}"), flags, Mode::empty()).ok().map(|file| (name, file))
        })
        .collect()
}
