//! `policies`: what programs may call, as data.
//!
//! Today this crate holds the filters that our own processes install on themselves: [`filter`] reads the files of
//! `policies/filters` (one line per call, each with its reason) and compiles them with `seccompiler`. It installs
//! nothing; that is the `jail` crate's part.

#![forbid(unsafe_code)]

pub mod bpf;
pub mod calls;
mod constants;
pub mod filter;
pub mod units;

pub use filter::{own_filter, Filter, Mismatch, OwnProcess};
