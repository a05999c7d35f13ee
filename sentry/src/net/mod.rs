//! Sockets. In memory are UNIX sockets, and TCP and UDP over loopback as streams and messages without packets; what leads
//! further goes over sockets of the host that a broker connects, where the policy has one.
//!
//! - [`addr`]: addresses and their bytes.
//! - [`queue`]: what has arrived and not been read, and what a sender has under way.
//! - [`names`]: who is bound to what.
//! - [`outside`]: the way out of the sandbox.
//! - [`socket`]: the socket itself; [`connect`], [`transfer`], [`readiness`] are its verbs.
//!
//! No lock is held while another socket's is taken, and waiters are told with no lock held.

pub mod addr;
pub mod connect;
pub mod in_flight;
pub mod names;
pub mod outside;
pub mod queue;
pub mod readiness;
pub mod socket;
pub mod transfer;

pub use addr::Addr;
pub use queue::Ucred;
pub use socket::Socket;
