//! The network of a run, from options and policy: whether there is one, what leads out, which ports lead in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use net_broker::{BrokerConfig, Listener};
use policies::model::{Destination, DestinationHost, NetworkMode, Policy, Publish};
use rustix::net::{sockopt, AddressFamily, SocketFlags, SocketType};
use sentry::config::Outside;

use crate::cli::{DoOptions, Net};
use crate::failure::Failure;

/// How many connections wait on a published port.
const BACKLOG: i32 = 511;

/// The network inside.
#[derive(Debug)]
pub(crate) struct Network {
    /// Not even loopback is there.
    pub(crate) offline: bool,
    pub(crate) way_out: Option<WayOut>,
}

/// What the net broker is there for.
#[derive(Debug)]
pub(crate) struct WayOut {
    pub(crate) broker: BrokerConfig,
    pub(crate) listeners: Vec<Listener>,
}

impl WayOut {
    /// What the sentry is told of it.
    pub(crate) fn for_sentry(&self) -> Outside {
        let loopback = |destination: &Destination| match destination.host {
            DestinationHost::Net(ip, _) => ip.to_canonical().is_loopback(),
            DestinationHost::Name(_) => false,
        };
        Outside { loopback: self.broker.everything || self.broker.allow.iter().any(loopback) }
    }
}

/// Resolves the options, over which the policy does not win. Published ports are listened on from here on, as the user.
pub(crate) fn resolve(options: &DoOptions, policy: &Policy) -> Result<Network, Failure> {
    let mode = match (options.net, &policy.network.mode) {
        (Some(Net::None), _) => NetworkMode::None,
        (Some(Net::Loopback), _) => NetworkMode::Loopback,
        (Some(Net::Host), _) => NetworkMode::Host,
        (None, Some(mode)) => mode.value,
        (None, None) => NetworkMode::Loopback,
    };
    if mode == NetworkMode::None {
        for (option, given) in
            [("--allow-net", !options.allow_net.is_empty()), ("--publish", !options.publish.is_empty())]
        {
            if given {
                return Err(Failure::new(format!("{option}: there is no network, by the mode `none`"))
                    .hint("add --net loopback, or leave the option out"));
            }
        }
        return Ok(Network { offline: true, way_out: None });
    }
    let allow: Vec<Destination> = policy
        .network
        .allow
        .iter()
        .map(|allowed| allowed.value.clone())
        .chain(options.allow_net.iter().cloned())
        .collect();
    let mut listeners = Vec::new();
    for published in &policy.network.publish {
        let listener = listen(&published.value).map_err(|what| Failure::at(&published.origin, what))?;
        listeners.push(listener);
    }
    for published in &options.publish {
        listeners.push(listen(published).map_err(|what| Failure::new(format!("--publish: {what}")))?);
    }
    let everything = mode == NetworkMode::Host;
    let needed = everything || !allow.is_empty() || !listeners.is_empty();
    let broker = BrokerConfig { allow, everything };
    Ok(Network { offline: false, way_out: needed.then_some(WayOut { broker, listeners }) })
}

fn listen(published: &Publish) -> Result<Listener, String> {
    let address = published.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let at = SocketAddr::new(address, published.host_port);
    let made = || -> rustix::io::Result<OwnedFd> {
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &at)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    let socket = made().map_err(|error| format!("cannot listen on {at}: {}", std::io::Error::from(error)))?;
    Ok(Listener { socket, port: published.port })
}
