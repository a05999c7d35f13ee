//! The test harness: runs one program natively and inside `runsc do`, under a time limit, and compares.
//!
//! The host kernel is the oracle: a guest program (`guests/`) must print the same, end the same and leave the same
//! on standard error in both places. [`cases`] names every case once, for the guests' dispatcher and for the tests.
//! Neighbours: `tests/` (the tests that use this), `escape/` (attacks), `benches/` (times).

pub mod cases;
pub mod compare;
pub mod procs;
pub mod pty;
pub mod refused;
pub mod run;
pub mod sandbox;
pub mod tempdir;

pub use compare::Script;
pub use run::{run, Outcome};
pub use sandbox::{do_command, runsc, Who};
pub use tempdir::TempDir;

/// Fails where `RUNSC_TEST_REQUIRE=1` (CI), says that the test was skipped otherwise.
pub fn skip(why: &str) {
    if std::env::var_os("RUNSC_TEST_REQUIRE").is_some_and(|v| v == "1") {
        panic!("required but missing: {why}");
    }
    println!("SKIPPED: {why}");
}

/// Whether `program` can be found in [`sandbox::PATH`]; where it cannot, [`skip`]s.
pub fn have(program: &str) -> bool {
    let found = sandbox::PATH.split(':').any(|dir| std::path::Path::new(dir).join(program).is_file());
    if !found {
        skip(&format!("program {program}"));
    }
    found
}
