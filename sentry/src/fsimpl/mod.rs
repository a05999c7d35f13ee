//! File systems, and files without one.

pub mod host;
pub mod anon;
pub mod epoll;
pub mod pipe;
