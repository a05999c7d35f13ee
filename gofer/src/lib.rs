//! `gofer`: the broker of real files. A process of its own that opens host files below the exposed trees and hands
//! descriptors to the sentry; it has no network, executes nothing, and follows no symbolic link.
//!
//! The caller (the launcher's hidden subcommand) does three things in a row: [`open_trees`], confine itself, then
//! [`serve`] until every connection is closed. What is opened between the first and the last is opened *one name at
//! a time* below a directory that is already open ([`nodes`]); paths exist only in the configuration.
//!
//! - [`config`]: what is exposed, what of it is hidden or masked.
//! - [`rules`]: hidden and masked places of a tree, as a trie walked along with the nodes.
//! - [`nodes`]: the files that the sentry knows by number, and their directories' descriptors.
//! - [`serve`](mod@serve), [`read`], [`write`]: the loop, and the handlers of reading and changing requests.
//! - [`watch`]: watches for what changes on the host by other hands.
//! - [`host`]: the host calls that these use, with the flags that keep them inside the tree.
//!
//! One thread, no locks. Calls used on the host, for the process's filter: recvmsg, sendmsg, poll, openat, statx,
//! close, readlinkat, getdents64, lseek, fstatfs, fcntl (`F_SETFL`), fgetxattr, flistxattr, inotify_init1,
//! inotify_add_watch, inotify_rm_watch, fchdir, read; with a writable tree also mkdirat, symlinkat, linkat,
//! unlinkat, renameat2, mknodat, fchmod, fchownat, utimensat, ftruncate, fsetxattr, fremovexattr.
#![forbid(unsafe_code)]

pub mod config;
mod host;
mod nodes;
mod read;
mod rules;
mod serve;
mod state;
mod watch;
mod write;

pub use config::{GoferConfig, TreeConfig};
pub use serve::serve;
pub use state::{open_trees, OpenError, State};

#[cfg(test)]
mod tests;
