//! `stub`: the freestanding program in the guest's address space. It starts as the zygote, and every guest address
//! space is a fork of it. It owns the signal handlers in which guest calls and faults arrive, carries out what the
//! sentry answers, and knows nothing else; it is as untrusted as the guest, which may jump into it anywhere.
//!
//! `entry` starts it; `handler` takes traps; `marshal` copies arguments; `serve` carries out replies; `actions`,
//! `frame` and `local` are the longer ones of these. No global is writable: state lives in the private area of each
//! thread, found by rounding the stack pointer, and in its slot.
#![cfg_attr(freestanding, no_std, no_main)]
#![cfg_attr(not(freestanding), expect(dead_code, reason = "only the freestanding build runs this"))]

mod actions;
mod area;
mod entry;
mod frame;
mod handler;
mod local;
mod marshal;
mod serve;
#[path = "../../src/slot.rs"]
#[expect(dead_code, reason = "some of it is the sentry's side")]
mod slot;
mod sys;

#[cfg(freestanding)]
mod runtime;

#[cfg(not(freestanding))]
fn main() {}
