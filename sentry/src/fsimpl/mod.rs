//! File systems, and files without one.

pub mod anon;
pub mod cgroup;
pub mod clock;
pub mod dev;
pub mod epoll;
pub mod eventfd;
pub mod host;
pub mod inotify;
pub mod mqueue;
pub mod overlay;
pub mod pidfd;
pub mod pipe;
pub mod proc;
pub mod resolv;
pub mod signalfd;
pub mod socket;
pub mod sys;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;

/// The kinds of file systems that there are, as `/proc/filesystems` and sysfs(2) number them.
pub const FILE_SYSTEMS: &[&str] =
    &["sysfs", "tmpfs", "proc", "devtmpfs", "sockfs", "pipefs", "devpts", "overlay", "mqueue", "cgroup2"];
