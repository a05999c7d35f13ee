//! Programs that make terminals of their own, natively and inside.

use std::fs;
use std::process::Command;
use std::time::Duration;

use runsc_tests::run::diff;
use runsc_tests::sandbox::{do_command_with, native_command};
use runsc_tests::{have, run, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);

fn outcome(inside: bool, program: &str, args: &[&str], files: &[(&str, &str)]) -> Outcome {
    let dir = TempDir::new();
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("a file in our own directory");
    }
    let mut command: Command = if inside {
        let mut command = do_command_with(Who::Caller, &[]);
        command.arg(program);
        command
    } else {
        native_command(Who::Caller, program.as_ref())
    };
    command.env("BEFORE", "");
    command.env("HOME", dir.path()).env("TERM", "xterm").env("TMUX_TMPDIR", dir.path()).env("SCREENDIR", "");
    run(command.args(args).current_dir(dir.path()), LIMIT)
}

/// Runs it natively and inside; the same must come of it.
fn same(program: &str, args: &[&str], files: &[(&str, &str)]) {
    let native = outcome(false, program, args, files);
    assert_eq!(native.code, Some(0), "the program itself fails on Linux:\n{}", native.text());
    assert!(!native.stdout.is_empty(), "a program that prints nothing tests nothing");
    let inside = outcome(true, program, args, files);
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "differs:\n{difference}");
}

fn shell(text: &str, files: &[(&str, &str)]) {
    same("sh", &["-c", text], files);
}

#[test]
fn script_records_a_session() {
    if have("script") {
        shell(
            "script -qec 'test -t 0 && test -t 1 && echo terminal; stty -a | grep -c icanon; exit 3' log; echo $?
             grep -c terminal log; script -qc 'stty size; stty rows 5 cols 6; stty size; ps -o tty= -p $$ | grep -c pts' /dev/null",
            &[],
        );
    }
}

/// What is typed comes only when what it answers has been shown.
const JOBS: &str = r#"
log_user 0
set timeout 30
proc want {text} {
    expect {
        -ex $text { puts "saw: $text" }
        timeout { puts "missed: $text"; exit 1 }
        eof { puts "end before: $text"; exit 1 }
    }
}
set env(PS1) "ready> "
eval spawn -noecho $env(BEFORE) bash --norc --noprofile -i
want "ready> "
send "bind 'set enable-bracketed-paste off'\r"
want "ready> "
send "sleep 100\r"
want "sleep 100\r\n"
after 300
send "\x1a"
want "Stopped"
want "ready> "
send "jobs\r"
want "Stopped"
want "ready> "
send "bg\r"
want "sleep 100 &"
want "ready> "
send "fg\r"
want "sleep 100\r\n"
after 300
send "\x03"
want "ready> "
send "echo code \$?\r"
want "code 130"
want "ready> "
send "cat &\r"
want "ready> "
send "sleep 0.3; jobs\r"
want "Stopped"
want "ready> "
send "fg\r"
want "cat\r\n"
send "through cat\r"
want "through cat\r\nthrough cat\r\n"
send "\x04"
want "ready> "
send "stty tostop; echo held &\r"
want "ready> "
send "sleep 0.3; jobs\r"
want "Stopped"
want "ready> "
send "stty -tostop; fg\r"
want "held\r\n"
want "ready> "
stty rows 33 columns 44 < $spawn_out(slave,name)
send "stty size\r"
want "33 44"
want "ready> "
send "exit 5\r"
expect eof
puts [lrange [wait] 2 3]
"#;

#[test]
fn expect_drives_a_shell_with_jobs() {
    if have("expect") && have("bash") {
        same("expect", &["jobs.exp"], &[("jobs.exp", JOBS)]);
    }
}

/// The terminal is the user's own: its keys, its size and its jobs reach the shell that runs inside.
#[test]
fn a_shell_inside_has_jobs_on_the_users_terminal() {
    if !(have("expect") && have("bash")) {
        return;
    }
    let session = |before: &str| {
        let dir = TempDir::new();
        fs::write(dir.join("jobs.exp"), JOBS).expect("a file in our own directory");
        let mut command = native_command(Who::Caller, "expect".as_ref());
        command.env("HOME", dir.path()).env("TERM", "xterm").env("BEFORE", before);
        run(command.arg("jobs.exp").current_dir(dir.path()), LIMIT)
    };
    let native = session("");
    assert_eq!(native.code, Some(0), "the session fails on Linux:\n{}", native.text());
    let inside = session(&format!("{} do -q --", runsc_tests::runsc().display()));
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "differs:\n{difference}");
}

#[test]
fn expect_sees_a_program_killed_by_its_hang_up() {
    if have("expect") {
        let text = "log_user 0\nspawn -noecho sh -c {trap 'echo hup >told; exit 0' HUP; echo up; while :; do sleep 0.1; done}\nexpect up\nclose\nwait\nputs [exec sh -c {for i in 1 2 3 4 5 6 7 8 9 10; do [ -s told ] && break; sleep 0.2; done; cat told}]\n";
        same("expect", &["close.exp"], &[("close.exp", text)]);
    }
}

#[test]
fn python_spawns_on_a_terminal() {
    let text = r#"
import os, pty, tty, termios, select, signal, sys
pid, fd = pty.fork()
if pid == 0:
    os.write(1, b"child %d %d\n" % (os.isatty(0), os.getsid(0) == os.getpid()))
    line = sys.stdin.readline()
    os.write(1, b"got " + line.encode())
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
seen = b""
def until(text):
    global seen
    while text not in seen:
        select.select([fd], [], [], 20)
        seen += os.read(fd, 100)
until(b"child")
os.write(fd, b"typed\n")
until(b"got typed")
pid, status = os.waitpid(pid, os.WUNTRACED)
print(os.WIFSTOPPED(status))
os.kill(pid, signal.SIGCONT)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen)
try:
    print(os.read(fd, 100))
except OSError as e:
    print(e)
m, s = os.openpty()
print(os.ttyname(s) == os.ptsname(m) if hasattr(os, "ptsname") else True, termios.tcgetattr(s)[:4])
tty.setraw(s)
os.write(m, b"\x03\r")
print(os.read(s, 10))
"#;
    if have("python3") {
        same("python3", &["-c", text], &[]);
    }
}

#[test]
fn tmux_shows_its_panes() {
    if have("tmux") {
        shell(
            "t='tmux -L test -f /dev/null'
             wait_for() { for i in $(seq 100); do $t capture-pane -p -t $1 | grep -q \"$2\" && return; sleep 0.1; done; echo missing $2; }
             $t new-session -d -s a -x 80 -y 24 'PS1=\"$ \" sh'
             $t send-keys -t a 'echo one$((1+1))three; stty size' Enter; wait_for a one2three; wait_for a '2[34] 80'
             $t split-window -t a -d 'PS1=\"$ \" sh'; $t list-panes -t a -F '#{pane_index} #{pane_width}'
             $t send-keys -t a.1 'sleep 50' Enter; sleep 0.5; $t send-keys -t a.1 C-c; $t send-keys -t a.1 'echo c$?c' Enter; wait_for a.1 c130c
             $t capture-pane -p -t a.0 | head -3; $t kill-session -t a; $t ls 2>&1 | grep -c -E 'no server|error'",
            &[],
        );
    }
}

#[test]
fn screen_runs_a_window() {
    if have("screen") {
        shell(
            "mkdir -m 700 dir; export SCREENDIR=$PWD/dir
             screen -dmS test sh -c 'stty size >size; exec sh'
             for i in $(seq 100); do [ -s size ] && break; sleep 0.1; done; cat size
             screen -S test -X stuff 'echo in window >out\n'
             for i in $(seq 100); do [ -s out ] && break; sleep 0.1; done; cat out
             screen -S test -X quit; echo done",
            &[],
        );
    }
}

#[test]
fn vim_edits_under_script() {
    if have("vim") && have("script") {
        shell(
            "printf 'one\\ntwo\\n' >f
             script -qc 'vim -u NONE -N --not-a-term -c \"normal! ggdwifirst\" -c wq f' /dev/null >/dev/null 2>&1 </dev/null; echo $?; cat f",
            &[],
        );
    }
}
