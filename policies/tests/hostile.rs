//! Text that nobody would write: never a panic, every error with a place, all of it in bounded time.
//! `RUNSC_TEST_SEED` (any text) chooses what is tried.

use std::path::PathBuf;

use policies::diagnostic::Severity;
use policies::read::Format;
use policies::write::{self, Comments};
use policies::{check, load_text, profiles, Context};

const ROUNDS: usize = 2000;

/// xorshift64*: the same everywhere.
struct Random(u64);

impl Random {
    fn seeded(salt: u64) -> Self {
        let seed = std::env::var("RUNSC_TEST_SEED").unwrap_or_else(|_| "runsc".to_owned());
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325 ^ salt, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self(hash | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("fits") % bound.max(1)
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Reads it; errors must have places. Whatever can be read is checked and written, too.
fn swallow(text: &str, format: Format) {
    let context = Context { home: Some(PathBuf::from("/home/ann")), directory: PathBuf::from("/nowhere") };
    match load_text("fuzz", text, format, &context) {
        Ok(loaded) => {
            for finding in check(&loaded) {
                assert_eq!(finding.severity, Severity::Warning);
                assert!(finding.to_string().lines().count() < 10);
            }
            let written = write::to_toml(&loaded.policy, Comments::Origins);
            load_text("again", &written, Format::Toml, &context)
                .unwrap_or_else(|errors| panic!("{text:?} was written as\n{written}\n{errors}"));
        }
        Err(errors) => {
            assert!(!errors.0.is_empty() && errors.0.len() <= 20, "{text:?}");
            for error in &errors.0 {
                let place = &error.place.origin;
                assert_eq!(&*place.file, "fuzz", "{text:?}");
                assert!(place.line >= 1 && place.column >= 1, "{text:?}");
                assert!(place.line as usize <= text.lines().count() + 1, "{text:?}: {error}");
                assert!(!error.message.is_empty());
                let shown = error.to_string();
                assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
            }
        }
    }
}

const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\0",
    "\x1b",
    "ä",
    "\u{feff}",
    "\\u0000",
    "\\",
    "-",
    "1",
    "0x",
    "9223372036854775808",
    "1e400",
    "nan",
    "true",
    "1979-05-27",
    "syscalls",
    "rule",
    "groups",
    "names",
    "when",
    "action",
    "errno",
    "\"@mount\"",
    "\"kill\"",
    "\"arg0 == AF_UNIX\"",
    "\"arg0 & 1 != 2\"",
    "\"~\"",
    "\"~x\"",
    "\"/../\"",
    "files",
    "mount",
    "hide",
    "source",
    "mode",
    "\"rw\"",
    "limits",
    "memory",
    "\"4G\"",
    "\"0.0001s\"",
    "env",
    "set",
    "network",
    "allow",
    "\"[::1]:1\"",
    "\"1.2.3.4/33\"",
    "extends",
    "\"strict\"",
    "\"./x.toml\"",
    "process",
    "user",
    "\"a:b\"",
    ":",
    "null",
    "\"syscalls\"",
    "\"rule\"",
    "\"limits\"",
    "\"pids\"",
];

#[test]
fn random_pieces() {
    let mut random = Random::seeded(1);
    for _ in 0..ROUNDS {
        let count = random.below(40);
        let text: String = (0..count).map(|_| *random.pick(PIECES)).collect();
        swallow(&text, *random.pick(&[Format::Toml, Format::Json]));
    }
}

#[test]
fn damaged_profiles() {
    let mut random = Random::seeded(2);
    for _ in 0..ROUNDS / 4 {
        let mut text: Vec<char> = random.pick(&profiles::ALL).text.chars().collect();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            let end = (at + random.below(8)).min(text.len());
            let piece: Vec<char> = random.pick(PIECES).chars().collect();
            match random.below(3) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, piece)),
                _ => drop(text.splice(at..end, piece)),
            }
        }
        swallow(&text.into_iter().collect::<String>(), Format::Toml);
    }
}

/// A value of some kind, nested.
fn value(random: &mut Random, depth: usize) -> serde_json::Value {
    use serde_json::{json, Value};
    let kinds = if depth == 0 { 5 } else { 7 };
    match random.below(kinds) {
        0 => json!(random.below(5000)),
        1 => json!(random.below(2) == 0),
        2 => Value::Null,
        3 | 4 => json!(random.pick(PIECES).trim_matches('"')),
        5 => (0..random.below(4)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let entry = |random: &mut Random| {
                (random.pick(PIECES).trim_matches('"').to_owned(), value(random, depth - 1))
            };
            Value::Object((0..random.below(4)).map(|_| entry(random)).collect())
        }
    }
}

#[test]
fn random_trees() {
    let mut random = Random::seeded(3);
    for _ in 0..ROUNDS {
        swallow(&value(&mut random, 5).to_string(), Format::Json);
    }
}

#[test]
fn the_large_and_the_deep() {
    let deep = |open: &str, close: &str| format!("a = {}{}", open.repeat(50_000), close.repeat(50_000));
    swallow(&deep("[", "]"), Format::Toml);
    swallow(&deep("{a=", "}"), Format::Toml);
    swallow(&"[".repeat(200_000), Format::Json);
    swallow(&"{\"a\":".repeat(100_000), Format::Json);
    swallow(&format!("{}x = 1", "a.".repeat(100_000)), Format::Toml);
    swallow(&format!("[{}x]", "a.".repeat(100_000)), Format::Toml);
    swallow(&"[a]\n".repeat(100_000), Format::Toml);
    swallow(&"[[syscalls.rule]]\n".repeat(20_000), Format::Toml);
    swallow(&format!("description = \"{}\"", "ä".repeat(400_000)), Format::Toml);
    swallow(&"\0".repeat(1 << 20), Format::Toml);
    swallow(&"\n".repeat((1 << 20) + 1), Format::Toml);
    let names = "\"@system-service\",".repeat(9_000);
    swallow(&format!("[[syscalls.rule]]\nnames = [{names}]\naction = \"log\""), Format::Toml);
    let keys: String = (0..50_000).map(|number| format!("k{number} = 1\n")).collect();
    swallow(&keys, Format::Toml);
    let object: Vec<_> = (0..50_000).map(|number| format!("\"k{number}\":1")).collect();
    swallow(&format!("{{{}}}", object.join(",")), Format::Json);
}
