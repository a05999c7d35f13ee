//! File systems, and files without one.

pub mod host;
