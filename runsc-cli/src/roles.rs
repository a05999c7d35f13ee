//! The other processes: this executable, started again under a hidden name by [`crate::launch`].

use std::fs::File;
use std::io::Read;

use jail::Role;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, While, OUR_FAILURE};
use crate::log;

/// Where both find their configuration.
pub(crate) const CONFIG_FD: i32 = 3;

/// What the gofer process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GoferProcess {
    pub(crate) gofer: gofer::GoferConfig,
    pub(crate) layers: jail::Layers,
    pub(crate) log: sentry::config::Log,
    pub(crate) trap_refused_calls: bool,
    /// Connections to the sentry.
    pub(crate) sockets: Vec<i32>,
}

/// What the net broker is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BrokerProcess {
    pub(crate) broker: net_broker::BrokerConfig,
    pub(crate) layers: jail::Layers,
    pub(crate) log: sentry::config::Log,
    pub(crate) trap_refused_calls: bool,
    /// The connection to the sentry.
    pub(crate) sentry: i32,
    /// Published ports: listening sockets, and the port inside.
    pub(crate) listeners: Vec<(i32, u16)>,
}

/// The sentry. Its exit code says only whether it could report to the launcher.
pub(crate) fn sentry() -> u8 {
    match sentry::boot::read_config(CONFIG_FD) {
        Ok(config) => {
            log::start(config.log);
            u8::try_from(sentry::boot::main(config)).unwrap_or(OUR_FAILURE)
        }
        Err(_) => by_hand(),
    }
}

/// The gofer: opens the trees, confines itself, serves until the sentry is gone.
pub(crate) fn gofer() -> u8 {
    let Ok(config) = read_config::<GoferProcess>() else { return by_hand() };
    log::start(config.log);
    jail::set_process_name("runsc-gofer");
    jail::one_heap();
    match serve(config) {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}

/// The net broker: reads what the host knows of names, confines itself, serves until the sentry is gone.
pub(crate) fn broker() -> u8 {
    let Ok(config) = read_config::<BrokerProcess>() else { return by_hand() };
    log::start(config.log);
    jail::set_process_name("runsc-broker");
    jail::one_heap();
    match serve_network(config) {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}

fn serve_network(config: BrokerProcess) -> Result<(), Failure> {
    const DOING: &str = "cannot confine the net broker";
    let take = |fd: i32| jail::fds::take(fd).while_doing("the net broker got a wrong descriptor");
    let sentry = take(config.sentry)?;
    let listeners = config
        .listeners
        .iter()
        .map(|(fd, port)| Ok(net_broker::Listener { socket: take(*fd)?, port: *port }))
        .collect::<Result<Vec<_>, Failure>>()?;
    let broker = net_broker::Broker::new(&config.broker, listeners);
    jail::enter_broker(&config.layers).while_doing(DOING)?;
    if config.layers.holds(jail::Layer::Seccomp) {
        let mismatch = if config.trap_refused_calls { jail::Mismatch::Trap } else { jail::Mismatch::Kill };
        jail::seal(Role::Broker, mismatch).while_doing(DOING)?;
    }
    broker.serve(sentry).while_doing("the net broker stopped")
}

fn serve(config: GoferProcess) -> Result<(), Failure> {
    const DOING: &str = "cannot confine the gofer";
    let take = |fd: &i32| jail::fds::take(*fd).while_doing("the gofer got a wrong descriptor");
    let sockets = config.sockets.iter().map(take).collect::<Result<Vec<_>, _>>()?;
    let state = gofer::open_trees(&config.gofer).while_doing("cannot expose files")?;
    {
        let tops = config
            .gofer
            .trees
            .iter()
            .map(|tree| {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let top = rustix::fs::open(&tree.source, flags, Mode::empty()).while_doing(DOING)?;
                let reach = if tree.writable { jail::Reach::Change } else { jail::Reach::Read };
                Ok((top, reach))
            })
            .chain(config.gofer.scratch.iter().map(|scratch| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let top = rustix::fs::open(scratch, flags, Mode::empty()).while_doing(DOING)?;
                Ok((top, jail::Reach::Scratch))
            }))
            .collect::<Result<Vec<_>, Failure>>()?;
        let trees: Vec<_> = tops.iter().map(|(top, reach)| (std::os::fd::AsFd::as_fd(top), *reach)).collect();
        jail::enter_gofer(&config.layers, &trees).while_doing(DOING)?;
    }
    if config.layers.holds(jail::Layer::Seccomp) {
        let mismatch = if config.trap_refused_calls { jail::Mismatch::Trap } else { jail::Mismatch::Kill };
        jail::seal(Role::Gofer, mismatch).while_doing(DOING)?;
    }
    gofer::serve(state, sockets).while_doing("the gofer stopped")
}

fn read_config<T: serde::de::DeserializeOwned>() -> std::io::Result<T> {
    let mut text = String::new();
    File::from(jail::fds::take(CONFIG_FD)?).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(std::io::Error::other)
}

fn by_hand() -> u8 {
    Failure::new("this is a part of runsc that it starts by itself")
        .hint("try `runsc do -- COMMAND`")
        .report()
}
