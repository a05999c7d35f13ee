//! Standard streams and the terminal: given to the guest as they are.

use std::fs;
use std::process::Command;
use std::time::Duration;

use runsc_tests::pty::OnTerminal;
use runsc_tests::run::run_with_input;
use runsc_tests::sandbox::native_command;
use runsc_tests::{do_command, have, run, runsc, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(20);

/// A host shell that finds the sandbox as `$RUNSC`.
fn shell(dir: &TempDir, text: &str) -> Command {
    let mut command = native_command(Who::Caller, "sh".as_ref());
    command.args(["-c", text]).env("RUNSC", runsc()).current_dir(dir.path());
    command
}

#[test]
fn a_file_as_output_keeps_its_offset() {
    let dir = TempDir::new();
    let outcome = run(&mut shell(&dir, "(echo a; \"$RUNSC\" do -q -- echo b; echo c) >f"), LIMIT);
    assert_eq!(fs::read_to_string(dir.join("f")).ok().as_deref(), Some("a\nb\nc\n"), "{}", outcome.text());
}

#[test]
fn a_file_as_output_keeps_append_mode() {
    let dir = TempDir::new();
    let text = "echo first >f; \"$RUNSC\" do -q -- sh -c 'echo a; echo b' >>f; (echo x; \"$RUNSC\" do -q -- sh -c 'echo y; sh -c \"echo z\"'; echo last) >>f";
    let outcome = run(&mut shell(&dir, text), LIMIT);
    let content = fs::read_to_string(dir.join("f")).ok();
    assert_eq!(content.as_deref(), Some("first\na\nb\nx\ny\nz\nlast\n"), "{}", outcome.text());
}

#[test]
fn input_is_shared_with_what_comes_after() {
    let dir = TempDir::new();
    fs::write(dir.join("in"), "one\ntwo\nthree\n").expect("a file in our own directory");
    let text = "(\"$RUNSC\" do -q -- sh -c 'read x; echo \"inside $x\"'; read y; echo \"after $y\") <in";
    let outcome = run(&mut shell(&dir, text), LIMIT);
    assert_eq!(outcome.out(), "inside one\nafter two\n", "{}", outcome.text());
}

#[test]
fn the_end_of_input_arrives() {
    let outcome = run_with_input(&mut do_command(Who::Caller, &["cat"]), b"a\nb", LIMIT);
    assert_eq!((outcome.out().as_str(), outcome.code), ("a\nb", Some(0)), "{}", outcome.text());
    let outcome = run(&mut do_command(Who::Caller, &["wc", "-c"]), LIMIT);
    assert_eq!(outcome.out().trim(), "0", "{}", outcome.text());
}

#[test]
fn megabytes_go_through_both_ways() {
    let input: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let outcome = run_with_input(&mut do_command(Who::Caller, &["cat"]), &input, LIMIT);
    assert!(outcome.stdout == input, "{} of {} bytes, {:?}", outcome.stdout.len(), input.len(), outcome.code);
}

#[test]
fn a_reader_that_leaves_ends_the_writer() {
    let dir = TempDir::new();
    let outcome = run(
        &mut shell(
            &dir,
            "\"$RUNSC\" do -q -- yes | head -2; \"$RUNSC\" do -q -- sh -c 'yes; echo $? >&2' 2>&1 | head -1",
        ),
        LIMIT,
    );
    assert_eq!(outcome.out(), "y\ny\ny\n", "{}", outcome.text());
}

#[test]
fn closed_streams_stay_closed() {
    let dir = TempDir::new();
    let outcome = run(&mut shell(&dir, "\"$RUNSC\" do -q -- sh -c 'echo x || echo failed >&2' >&-"), LIMIT);
    assert!(outcome.err().contains("failed"), "{}", outcome.text());
    let outcome = run(&mut shell(&dir, "\"$RUNSC\" do -q -- cat <&-; echo $?"), LIMIT);
    assert_eq!(outcome.out(), "1\n", "{}", outcome.text());
}

#[test]
fn the_callers_flags_are_left_alone() {
    // O_NONBLOCK set inside would break the shell that shares the descriptor.
    if have("python3") {
        let dir = TempDir::new();
        let text = "\"$RUNSC\" do -q -- python3 -c 'import os; os.set_blocking(0, False); os.set_blocking(1, False)'; python3 -c 'import os; print(os.get_blocking(0), os.get_blocking(1))'";
        let outcome = run_with_input(&mut shell(&dir, text), b"x", LIMIT);
        assert_eq!(outcome.out(), "True True\n", "{}", outcome.text());
    }
}

fn on_terminal(program: &[&str]) -> OnTerminal {
    let mut command = do_command(Who::Caller, program);
    OnTerminal::spawn(&mut command)
}

#[test]
fn a_terminal_is_one() {
    let terminal = on_terminal(&[
        "sh",
        "-c",
        "test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; tty | grep -c /dev/; echo x >/dev/tty",
    ]);
    let (text, code) = terminal.finish(LIMIT);
    assert_eq!((text.as_str(), code), ("yes\r\n24 80\r\n1\r\nx\r\n", Some(0)));
}

#[test]
fn the_terminal_has_its_name() {
    let script = "test \"$(tty)\" = \"$(readlink /proc/self/fd/0)\" && test -c \"$(tty)\" && echo same; sh -c 'echo x >\"$1\"' sh \"$(tty)\"; stty -F \"$(tty)\" size; stty -F /dev/tty size";
    let (text, code) = on_terminal(&["sh", "-c", script]).finish(LIMIT);
    assert_eq!((text.as_str(), code), ("same\r\nx\r\n24 80\r\n24 80\r\n", Some(0)));
}

#[test]
fn full_screen_programs_draw() {
    if have("vim") && have("less") {
        let script = "seq 100 >n; TERM=xterm less n; TERM=xterm vim -u NONE n; head -1 n";
        let dir = TempDir::new();
        let mut terminal =
            OnTerminal::spawn(do_command(Who::Caller, &["sh", "-c", script]).current_dir(dir.path()));
        terminal.expect("23", LIMIT).unwrap();
        terminal.send(" ");
        terminal.expect("46", LIMIT).unwrap();
        terminal.send("q");
        terminal.expect("100 lines", LIMIT).or_else(|_| terminal.expect("100L", LIMIT)).unwrap();
        terminal.send("ihello\x1b");
        std::thread::sleep(Duration::from_millis(500));
        terminal.send(":wq\r");
        let (text, code) = terminal.finish(LIMIT);
        assert_eq!(code, Some(0), "{text:?}");
        assert!(text.contains("hello1\r\n"), "{text:?}");
        assert!(!dir.join("n").exists());
    }
}

#[test]
fn python_reads_keys() {
    if have("python3") {
        let script = "import sys, termios, tty\nold = termios.tcgetattr(0); tty.setraw(0); print('ready', flush=True)\nk = sys.stdin.read(1); termios.tcsetattr(0, termios.TCSADRAIN, old); print('key', ord(k)); print(input('ask: '))";
        let mut terminal = on_terminal(&["python3", "-c", script]);
        terminal.expect("ready", LIMIT).unwrap();
        terminal.send("\x03");
        terminal.expect("key 3", LIMIT).unwrap();
        terminal.expect("ask: ", LIMIT).unwrap();
        terminal.send("word\n");
        terminal.expect("word", LIMIT).unwrap();
        assert_eq!(terminal.finish(LIMIT).1, Some(0));
    }
}

#[test]
fn jobs_stop_and_go_on_at_the_terminal() {
    if have("bash") {
        let mut terminal = on_terminal(&["bash", "--norc", "-i"]);
        terminal.send("PS1='$ '; echo one$((1+1))\n");
        terminal.expect("one2", LIMIT).unwrap();
        terminal.send("sleep 60\n");
        std::thread::sleep(Duration::from_millis(300));
        terminal.send("\x1a");
        terminal.expect("Stopped", LIMIT).unwrap();
        terminal.send("bg; jobs; kill %1; wait; echo next$((2+2))\n");
        terminal.expect("Running", LIMIT).unwrap();
        terminal.expect("next4", LIMIT).unwrap();
        terminal.send("cat\n");
        std::thread::sleep(Duration::from_millis(200));
        terminal.send("typed\n");
        std::thread::sleep(Duration::from_millis(200));
        terminal.send("\x04echo code$?; exit 4\n");
        terminal.expect("code0", LIMIT).unwrap();
        assert_eq!(terminal.finish(LIMIT).1, Some(4));
    }
}

#[test]
fn lines_typed_arrive() {
    let mut terminal = on_terminal(&["sh", "-c", "echo ready; read x; echo \"got $x\""]);
    terminal.expect("ready", LIMIT).unwrap();
    terminal.send("hello\n");
    terminal.expect("got hello", LIMIT).unwrap();
    assert_eq!(terminal.finish(LIMIT).1, Some(0));
}

#[test]
fn control_c_interrupts() {
    let mut terminal = on_terminal(&["sh", "-c", "echo ready; sleep 60; echo not reached"]);
    terminal.expect("ready", LIMIT).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    terminal.send("\x03");
    let (text, code) = terminal.finish(LIMIT);
    assert_eq!(code, Some(130), "{text:?}");
    assert!(!text.contains("not reached"), "{text:?}");
}

#[test]
fn control_c_can_be_handled() {
    let mut terminal =
        on_terminal(&["sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"]);
    terminal.expect("ready", LIMIT).unwrap();
    terminal.send("\x03");
    terminal.expect("caught", LIMIT).unwrap();
    assert_eq!(terminal.finish(LIMIT).1, Some(5));
}

#[test]
fn raw_mode_gives_each_key() {
    let script =
        "stty raw -echo; echo ready; dd bs=1 count=3 2>/dev/null | od -An -tx1; stty sane; echo after";
    let mut terminal = on_terminal(&["sh", "-c", script]);
    terminal.expect("ready", LIMIT).unwrap();
    terminal.send("\x03ab");
    terminal.expect("03 61 62", LIMIT).unwrap();
    terminal.expect("after", LIMIT).unwrap();
    assert_eq!(terminal.finish(LIMIT).1, Some(0));
}

#[test]
fn the_terminal_is_left_as_the_guest_left_it() {
    let terminal = on_terminal(&["sh", "-c", "stty -echo; echo done"]);
    let echo = |flags: u32| flags & libc::ECHO != 0;
    let mut terminal = terminal;
    terminal.expect("done", LIMIT).unwrap();
    assert!(!echo(terminal.local_flags()));
    assert_eq!(terminal.finish(LIMIT).1, Some(0));
}

#[test]
fn an_interactive_shell_works() {
    if have("bash") {
        let mut terminal = on_terminal(&["bash", "--norc", "-i"]);
        terminal.send("PS1='$ '; echo one$((1+1))\n");
        terminal.expect("one2", LIMIT).unwrap();
        terminal.send("sleep 60\n");
        std::thread::sleep(Duration::from_millis(300));
        terminal.send("\x03");
        terminal.send("echo code$?\n");
        terminal.expect("code130", LIMIT).unwrap();
        terminal.send("exit 3\n");
        assert_eq!(terminal.finish(LIMIT).1, Some(3));
    }
}
