//! `linux-abi`: the numbers, flags and structures of the Linux x86-64 system call interface, as plain data.
//!
//! One file per family. Structures are little-endian byte layouts with `to_bytes`/`from_bytes`; nothing here
//! makes a call. Constants that the `libc` crate has under the kernel's own name are used from there.
#![forbid(unsafe_code)]

pub mod errno;
pub mod fs;
pub use errno::{Errno, Result};
