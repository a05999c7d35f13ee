//! The system call table and the handlers, one file a family. A handler takes types, checks flags, looks up, delegates.

pub mod args;
pub mod process;
pub mod table;

pub use args::{Fd, FromArg};
pub use table::{lookup, Entry};
