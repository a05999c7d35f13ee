//! The system call table and the handlers, one file a family. A handler takes types, checks flags, looks up, delegates.

pub mod args;
pub mod epoll;
pub mod event_fds;
pub mod fs_attr;
pub mod fs_copy;
pub mod fs_dir;
pub mod fs_fcntl;
pub mod fs_io;
pub mod fs_open;
pub mod fs_path;
pub mod fs_stat;
pub mod fs_xattr;
pub mod futex;
pub mod identity;
pub mod ipc;
pub mod memory;
pub mod mqueue;
pub mod msg;
pub mod pipe;
pub mod prctl;
pub mod process;
pub mod readiness;
pub mod sched;
pub mod seccomp;
pub mod sem;
pub mod shm;
pub mod signals;
pub mod socket;
pub mod socket_msg;
pub mod sockopt;
pub mod system;
pub mod table;
pub mod terminal;
pub mod time;

pub use args::{Fd, FromArg};
pub use table::{lookup, Entry};
