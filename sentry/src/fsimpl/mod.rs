//! File systems, and files without one.

pub mod anon;
pub mod epoll;
pub mod host;
pub mod pipe;
