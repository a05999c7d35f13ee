//! File systems, and files without one.

pub mod anon;
pub mod clock;
pub mod dev;
pub mod epoll;
pub mod host;
pub mod overlay;
pub mod pipe;
pub mod tmpfs;
pub mod eventfd;
pub mod pidfd;
pub mod signalfd;
pub mod timerfd;
