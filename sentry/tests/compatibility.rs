//! COMPATIBILITY.md is made from the call table and never written by hand: `RUNSC_BLESS=1 cargo test -p sentry --test
//! compatibility` writes it, the test fails where it is not what the table says.

use std::fmt::Write;
use std::path::Path;

use sentry::syscalls::table::ENTRIES;

fn page() -> String {
    let mut calls: Vec<_> = ENTRIES.iter().map(|e| (e.nr, e.name)).collect();
    calls.sort_unstable();
    let mut out = String::from(
        "# Linux system calls answered by runsc\n\n\
         Made from `sentry/src/syscalls/table.rs` by a test; do not edit. A call that is not here returns `ENOSYS` and is\n\
         counted (`-v` names it). Being here means that the call has a handler; forms of it that are not implemented\n\
         return the errno of a kernel without them.\n\n",
    );
    let _ = writeln!(out, "{} calls of Linux x86-64.\n\n| number | call |\n| --- | --- |", calls.len());
    for (nr, name) in calls {
        let _ = writeln!(out, "| {nr} | `{name}` |");
    }
    out
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../COMPATIBILITY.md");
    let page = page();
    if std::env::var_os("RUNSC_BLESS").is_some() {
        std::fs::write(&path, &page).expect("COMPATIBILITY.md can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there, page,
        "COMPATIBILITY.md is old: RUNSC_BLESS=1 cargo test -p sentry --test compatibility"
    );
}

#[test]
fn every_number_stands_once() {
    let mut numbers: Vec<_> = ENTRIES.iter().map(|e| e.nr).collect();
    numbers.sort_unstable();
    let twice: Vec<_> = numbers.windows(2).filter(|w| w[0] == w[1]).collect();
    assert!(twice.is_empty(), "declared twice: {twice:?}");
}
