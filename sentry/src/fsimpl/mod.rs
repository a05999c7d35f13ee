//! File systems, and files without one.

pub mod anon;
pub mod cgroup;
pub mod clock;
pub mod dev;
pub mod epoll;
pub mod eventfd;
pub mod host;
pub mod mqueue;
pub mod overlay;
pub mod pidfd;
pub mod pipe;
pub mod proc;
pub mod signalfd;
pub mod socket;
pub mod sys;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;
