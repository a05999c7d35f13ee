//! The plain build of this member is an ordinary program that does nothing, so that `cargo build`, `clippy` and
//! `test` see every line; platform's build script sets `freestanding` for the one that is embedded.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(freestanding)");
}
