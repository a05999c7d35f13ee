//! The system call table and the handlers, one file a family. A handler takes types, checks flags, looks up, delegates.

pub mod args;
pub mod epoll;
pub mod pipe;
pub mod memory;
pub mod process;
pub mod readiness;
pub mod table;

pub use args::{Fd, FromArg};
pub use table::{lookup, Entry};
