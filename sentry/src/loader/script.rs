//! `#!` lines (execve(2), "Interpreter scripts").

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::{read_at, ExecEnv};
use crate::vfs::File;

/// What the kernel reads of a file to know its kind (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// Scripts whose interpreter is a script.
const MAX_NESTED: usize = 5;

/// The program that a path leads to in the end, with the arguments that it gets.
pub struct Found {
    pub file: Arc<File>,
    pub path: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
}

/// Follows `#!` lines.
/// `closes`: the path names a descriptor that will not be there for the interpreter.
pub fn resolve(
    file: Arc<File>,
    path: Vec<u8>,
    argv: Vec<Vec<u8>>,
    closes: bool,
    env: &ExecEnv<'_>,
) -> Result<Found> {
    let mut found = Found { file, path, argv };
    // AT_EXECFN stays what was asked for; only the arguments know of the interpreter.
    let mut script = found.path.clone();
    for _ in 0..=MAX_NESTED {
        let head = read_at(&found.file, 0, HEAD)?;
        if !head.starts_with(b"#!") {
            if found.argv.is_empty() {
                // Linux starts a program with at least one argument since 5.18.
                found.argv.push(Vec::new());
            }
            return Ok(found);
        }
        let line = parse(&head)?;
        if closes {
            return Err(Errno::ENOENT);
        }
        let mut argv = vec![line.interpreter.clone()];
        argv.extend(line.argument);
        argv.push(script);
        argv.extend(found.argv.into_iter().skip(1));
        found.argv = argv;
        found.file = (env.open)(&line.interpreter)?;
        script = line.interpreter;
    }
    Err(Errno::ELOOP)
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    interpreter: Vec<u8>,
    argument: Option<Vec<u8>>,
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// The interpreter and its one optional argument. A line that does not end within the head is cut at the argument,
/// but an interpreter's name that is cut is none.
fn parse(head: &[u8]) -> Result<Line> {
    let text = head.get(2..).unwrap_or_default();
    let (line, whole) = match text.iter().position(|b| *b == b'\n' || *b == 0) {
        Some(end) => (&text[..end], true),
        None => (text, head.len() < HEAD),
    };
    let line = line.trim_ascii_start_blank();
    let name_end = line.iter().position(|b| is_blank(*b));
    let name = &line[..name_end.unwrap_or(line.len())];
    if name.is_empty() || (name_end.is_none() && !whole) {
        return Err(Errno::ENOEXEC);
    }
    let rest = line[name.len()..].trim_ascii_start_blank();
    let end = rest.iter().rposition(|b| !is_blank(*b)).map_or(0, |i| i + 1);
    let argument = (end > 0).then(|| rest[..end].to_vec());
    Ok(Line { interpreter: name.to_vec(), argument })
}

trait Blank {
    fn trim_ascii_start_blank(&self) -> &Self;
}

impl Blank for [u8] {
    fn trim_ascii_start_blank(&self) -> &[u8] {
        let start = self.iter().position(|b| !is_blank(*b)).unwrap_or(self.len());
        &self[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<(String, Option<String>)> {
        let l = parse(text.as_bytes())?;
        let s = |v: Vec<u8>| String::from_utf8(v).unwrap();
        Ok((s(l.interpreter), l.argument.map(s)))
    }

    #[test]
    fn one_argument_blanks_trimmed() {
        assert_eq!(line("#!/bin/sh\n"), Ok(("/bin/sh".into(), None)));
        assert_eq!(line("#! /bin/sh\t -e  x \nrest"), Ok(("/bin/sh".into(), Some("-e  x".into()))));
        assert_eq!(line("#!/bin/sh"), Ok(("/bin/sh".into(), None)));
    }

    #[test]
    fn empty_and_cut_lines() {
        assert_eq!(line("#!"), Err(Errno::ENOEXEC));
        assert_eq!(line("#!  \t\n"), Err(Errno::ENOEXEC));
        let long = format!("#!/{}", "a".repeat(HEAD - 3));
        assert_eq!(line(&long), Err(Errno::ENOEXEC));
        let cut = format!("#!/bin/sh {}", "a".repeat(HEAD - 12));
        assert_eq!(line(&cut).unwrap().0, "/bin/sh");
    }
}
