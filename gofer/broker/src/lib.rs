//! `net-broker`: the way out of the sandbox. A process of its own that makes the host sockets which the policy allows
//! and hands them to the sentry; what is sent over them does not pass through it. It answers the guests' questions for
//! names, so that a rule about a name holds for what that name was resolved to, by its own resolver.
//!
//! The caller (the launcher's hidden subcommand) reads the host's files ([`Broker::new`]), confines itself, then
//! [`serve`](Broker::serve)s until the sentry is gone. It assumes the sentry to be hostile: it connects sockets itself
//! and never hands over one that is not, and the sentry's filter knows neither socket(2) nor connect(2), nor a call that
//! sends to an address.
//!
//! - [`allow`]: the allow-list.
//! - [`dns`], [`host`], [`lookup`], [`learnt`]: messages of the name system; what the host knows; questions under way;
//!   which addresses were told for which names.
//! - [`serve`](mod@serve): the loop. One thread, no locks, never waiting for anything but in poll(2).
//!
//! Deviations from a resolver of Linux: answers hold addresses only; a name that is not allowed does not exist.
#![forbid(unsafe_code)]

pub mod allow;
mod dns;
mod host;
mod learnt;
mod lookup;
mod serve;
mod socket;

use serde::{Deserialize, Serialize};

pub use serve::{Broker, Listener};

/// What the broker is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BrokerConfig {
    /// What may be reached.
    pub allow: Vec<policies::model::Destination>,
    /// Whether everything may be reached, the host's own loopback included.
    pub everything: bool,
}

#[cfg(test)]
mod tests;
