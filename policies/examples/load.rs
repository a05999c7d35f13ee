//! How long a policy of 2,000 rules takes to be read: `cargo run --release -p policies --example load [RULES]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use policies::read::Format;
use policies::{load_text, Context};

fn main() {
    let rules = std::env::args().nth(1).and_then(|rules| rules.parse().ok()).unwrap_or(2000);
    let calls = ["socket", "ioctl", "openat", "clone", "mprotect", "fcntl", "prctl", "setsockopt"];
    let rule = |number: usize| {
        let call = calls[number % calls.len()];
        format!(
            "[[syscalls.rule]]\nnames = [\"{call}\"]\nwhen = [\"arg0 == AF_NETLINK\", \"arg1 & SOCK_TYPE_MASK == {number}\"]\n\
             action = \"errno\"\nerrno = \"EAFNOSUPPORT\"\n\n"
        )
    };
    let text: String = (0..rules).map(rule).collect();
    let context = Context { home: None, directory: PathBuf::from("/") };
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        match load_text("rules.toml", &text, Format::Toml, &context) {
            Ok(loaded) => assert_eq!(loaded.policy.syscalls.rules.len(), rules),
            Err(errors) => return eprintln!("{errors}"),
        }
        best = best.min(start.elapsed());
    }
    println!("{rules} rules, {} KiB: {:.2} ms", text.len() >> 10, best.as_secs_f64() * 1e3);
}
