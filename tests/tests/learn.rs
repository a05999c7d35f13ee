//! `runsc policy learn`: what was learnt from a program lets it run, and lets it do nothing more; a tip of a refusal,
//! written into the file, lets that through.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{is_root, native_command, runnable};
use runsc_tests::{have, run, runsc, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(180);
/// How many refusals may have to be answered until one thing more goes through.
const TIPS: usize = 40;

fn runsc_command(who: Who, dir: &Path, words: &[&str]) -> Command {
    let mut command = native_command(who, runnable(runsc(), who).as_os_str());
    command.args(words).current_dir(dir).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new();
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("a file in our own directory");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o644))
            .expect("chmod of our own file");
    }
    dir
}

fn learn(who: Who, dir: &TempDir, program: &[&str]) -> Outcome {
    let words = [&["policy", "learn", "-o", "learnt.toml", "--"], program].concat();
    run(&mut runsc_command(who, dir.path(), &words), LIMIT)
}

fn under(who: Who, dir: &TempDir, options: &[&str], program: &[&str]) -> Outcome {
    let words = [&["do", "--policy", "learnt.toml"], options, &["--"], program].concat();
    run(&mut runsc_command(who, dir.path(), &words), LIMIT)
}

/// All tips of an outcome's JSON lines, each once.
fn tips(outcome: &Outcome) -> Vec<String> {
    let mut tips = Vec::new();
    // The guest may have written the first half of a line to the same place.
    for line in outcome.err().lines().filter(|line| line.contains("{\"args\":")) {
        let Some(at) = line.find("\"tip\":\"") else { continue };
        let text = line[at + 7..].split("\",\"").next().unwrap_or_default();
        let tip = text.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\");
        if !tips.contains(&tip) {
            tips.push(tip);
        }
    }
    tips
}

/// Learns from a script, runs it again, has it do one thing more, and answers the refusals with their own tips.
fn learnt_and_one_thing_more(who: Who, shell: &str, script: &str, more: &str, files: &[(&str, &str)]) {
    let dir = directory(files);
    let first = learn(who, &dir, &[shell, "-c", script]);
    assert_eq!(first.code, Some(0), "learning: {}", first.text());
    assert!(!first.stdout.is_empty(), "a script that prints nothing tests nothing");
    let policy = || fs::read_to_string(dir.join("learnt.toml")).unwrap_or_default();

    let second = under(who, &dir, &[], &[shell, "-c", script]);
    assert_eq!((second.code, second.out()), (Some(0), first.out()), "{}\n{}", second.text(), policy());
    assert_eq!(second.err(), first.err().lines().filter(|l| !l.starts_with("runsc:")).collect::<String>());

    let script = format!("{script}\n{more} && echo one thing more");
    let refused = under(who, &dir, &["--log-format", "json"], &[shell, "-c", &script]);
    assert!(
        !refused.out().contains("one thing more"),
        "it was let through: {}\n{}",
        refused.text(),
        policy()
    );
    let mut outcome = refused;
    for _ in 0..TIPS {
        let tips = tips(&outcome);
        assert!(!tips.is_empty(), "refused without a tip: {}", outcome.text());
        fs::write(dir.join("learnt.toml"), format!("{}\n{}", policy(), tips.join("\n")))
            .expect("our own file");
        outcome = under(who, &dir, &["--log-format", "json"], &[shell, "-c", &script]);
        if outcome.out().contains("one thing more") {
            return;
        }
    }
    panic!("the tips do not lead there: {}\n{}", outcome.text(), policy());
}

fn everybody(needs: &[&str], script: &str, more: &str, files: &[(&str, &str)]) {
    if !needs.iter().all(|program| have(program)) {
        return;
    }
    learnt_and_one_thing_more(Who::Caller, "bash", script, more, files);
    if is_root() {
        learnt_and_one_thing_more(Who::Nobody, "bash", script, more, files);
    }
}

const HELLO: (&str, &str) =
    ("hello.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n");

#[test]
fn gcc() {
    everybody(&["gcc"], "gcc -o hello hello.c && ./hello", "ln -s hello.c link", &[HELLO]);
}

#[test]
fn git() {
    let script = "git init -q repo && cd repo && cp ../hello.c . && git add hello.c && \
        git -c user.name=a -c user.email=a@b commit -q -m first && git log --format=%s";
    everybody(&["git"], script, "mkfifo fifo", &[HELLO]);
}

#[test]
fn tar() {
    everybody(&["tar"], "tar cf a.tar hello.c && tar tvf a.tar | wc -l", "mkfifo fifo", &[HELLO]);
}

#[test]
fn sqlite_through_python() {
    // With a pipeline before it, so that making processes and waiting for them is learnt: bash never stops asking for a child
    // when wait4(2) is refused.
    let script = "true | cat; python3 -c \"import sqlite3
c = sqlite3.connect('db')
c.execute('create table t (x)')
c.executemany('insert into t values (?)', [(i,) for i in range(100)])
c.commit()
print(c.execute('select sum(x) from t').fetchone())\"";
    everybody(&["python3"], script, "python3 -c 'import socket; socket.socket(socket.AF_INET)'", &[]);
}

#[test]
fn a_bash_job() {
    let script =
        "for i in 1 2 3; do (sleep 0.05; echo $i >out.$i) & done; wait; cat out.* | sort | tr '\\n' ' '";
    everybody(&["bash"], script, "ln -s a link", &[]);
}

#[test]
fn make() {
    let rules = ("Makefile", "all: hello\n\t./hello\nhello: hello.c\n\tgcc -o $@ $<\n");
    everybody(&["make", "gcc"], "make -s -j2", "chmod 600 hello", &[HELLO, rules]);
}

#[test]
fn perl() {
    let script =
        "true | cat; perl -e 'my $p = fork; if (!$p) { exit 3 } waitpid $p, 0; print $? >> 8, \"\\n\"'";
    everybody(&["perl"], script, "perl -e 'symlink \"a\", \"b\" or die'", &[]);
}

#[test]
fn python_with_threads() {
    let script = "true | cat; python3 -c \"import threading, queue
q = queue.Queue()
t = [threading.Thread(target=lambda: q.put(1)) for _ in range(8)]
[x.start() for x in t]; [x.join() for x in t]
print(q.qsize())\"";
    everybody(&["python3"], script, "python3 -c 'import os; os.symlink(\"a\", \"b\")'", &[]);
}

#[test]
fn find() {
    everybody(
        &["find"],
        "find /usr/share/doc -maxdepth 1 -name 'b*' | sort | head -3; find . -name '*.c'",
        "mkdir d",
        &[HELLO],
    );
}

#[test]
fn xz() {
    everybody(
        &["xz"],
        "cp hello.c my.c && xz -k my.c && xz -dc my.c.xz | cmp - my.c && echo same",
        "mkdir d",
        &[HELLO],
    );
}

#[test]
fn learning_again_adds() {
    let dir = directory(&[HELLO]);
    for who in [Who::Caller] {
        assert_eq!(learn(who, &dir, &["cat", "hello.c"]).code, Some(0));
        let text = fs::read_to_string(dir.join("learnt.toml")).expect("it was written");
        let marked = text.replacen("[syscalls]", "# mine\n[syscalls]", 1);
        fs::write(dir.join("learnt.toml"), marked).expect("our own file");
        let refused = under(who, &dir, &[], &["mkdir", "d"]);
        assert_ne!(refused.code, Some(0), "{}", refused.text());
        assert_eq!(learn(who, &dir, &["mkdir", "d"]).code, Some(0));
        let text = fs::read_to_string(dir.join("learnt.toml")).expect("it was written");
        assert!(text.contains("# mine") && text.contains("# mkdir") && text.contains("# cat"), "{text}");
        for program in [&["cat", "hello.c"][..], &["mkdir", "d"]] {
            let outcome = under(who, &dir, &[], program);
            assert_eq!((outcome.code, outcome.err()), (Some(0), String::new()), "{text}");
        }
    }
}

#[test]
fn the_commands_own_end_is_told_and_nothing_is_written_without_a_run() {
    let dir = directory(&[]);
    assert_eq!(learn(Who::Caller, &dir, &["sh", "-c", "exit 7"]).code, Some(7));
    fs::remove_file(dir.join("learnt.toml")).expect("written all the same");
    let outcome = learn(Who::Caller, &dir, &["no-such-command-here"]);
    assert_eq!(outcome.code, Some(127), "{}", outcome.text());
    assert!(!dir.join("learnt.toml").exists());
    fs::write(dir.join("learnt.toml"), "not = [toml").expect("our own file");
    let outcome = learn(Who::Caller, &dir, &["true"]);
    assert_eq!(outcome.code, Some(125), "{}", outcome.text());
    assert_eq!(fs::read_to_string(dir.join("learnt.toml")).ok().as_deref(), Some("not = [toml"));
}
