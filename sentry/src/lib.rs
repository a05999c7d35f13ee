//! `sentry`: the user-space kernel. It answers every system call of the guest from its own tables.
//!
//! Layers, lowest first (a `tidy` test checks the imports): `wait_queue cred limits guard denials learnt` < `mm signal time` < `vfs` <
//! `loader net` < `kernel` < `fsimpl` < `syscalls` < `run admit trace` < `boot lockdown afterwards`.
#![forbid(unsafe_code)]

pub mod admit;
mod afterwards;
pub mod boot;
pub mod config;
pub mod control;
pub mod cred;
pub mod denials;
pub mod fsimpl;
pub mod guard;
pub mod host_facts;
pub mod kernel;
pub mod learnt;
pub mod limits;
pub mod loader;
mod lockdown;
pub mod mm;
pub mod net;
pub mod run;
pub mod signal;
mod start;
pub mod syscalls;
pub mod time;
pub mod trace;
pub mod vfs;
pub mod wait_queue;
