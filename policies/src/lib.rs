//! `policies`: what programs may call, as data.
//!
//! [`model`] is a user's policy as types, with [`groups`] and [`calls`] as its vocabulary. Beside it stand the
//! filters that our own processes install on themselves: [`filter`] reads the files of `policies/filters` (one line per
//! call, each with its reason) and compiles them with `seccompiler`. The crate installs nothing; that is the `jail`
//! crate's part.

#![forbid(unsafe_code)]

pub mod bpf;
pub mod calls;
mod check;
pub mod compile;
pub mod constants;
pub mod decide;
pub mod diagnostic;
pub mod diff;
pub mod document;
pub mod explain;
pub mod filter;
pub mod foreign;
pub mod groups;
mod load;
mod merge;
pub mod model;
pub mod profiles;
pub mod read;
pub mod units;
pub mod write;

pub use check::check;
pub use filter::{own_filter, Filter, Mismatch, OwnProcess};
pub use foreign::load_any;
pub use load::{load, load_text, Loaded};
pub use read::Context;
