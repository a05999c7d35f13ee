//! Builds the stub, a freestanding program at a fixed address, and leaves it in `OUT_DIR` to be embedded.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=stub/src");
    println!("cargo::rerun-if-changed=stub/stub.ld");
    println!("cargo::rerun-if-changed=src/slot.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo")).join("stub");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let script = root.join("stub/stub.ld");
    // Position-independent code, linked at one place: the place is above what absolute 32-bit code can reach.
    let status = Command::new(rustc)
        .args(["--edition", "2021", "--crate-name", "stub", "--crate-type", "bin", "--cfg", "freestanding"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["-C", "panic=abort", "-C", "opt-level=3", "-C", "codegen-units=1", "-C", "strip=symbols"])
        .args(["-C", "relocation-model=pic", "-C", "overflow-checks=off", "-C", "debug-assertions=off"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib"])
        .args(["-C", "link-arg=-static", "-C", "link-arg=-no-pie"])
        .arg("-C")
        .arg(format!("link-arg=-Wl,-T{},--build-id=none,-z,noexecstack,-z,norelro", script.display()))
        .arg(root.join("stub/src/main.rs"))
        .arg("-o")
        .arg(&out)
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the stub does not build: {status}");
}
