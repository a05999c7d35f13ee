//! Programs that read `/proc`: inside they show the sandbox's processes as they show the machine's outside.
//!
//! Each script runs natively and inside and prints only what cannot differ: columns of processes that it made itself.

use std::process::Command;
use std::time::Duration;

use runsc_tests::run::diff;
use runsc_tests::sandbox::{do_command_with, native_command};
use runsc_tests::{have, run, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(60);

/// What every script has: a process to look at, `$p`, that nobody else has made.
const HEAD: &str = "exec 2>&1; export LC_ALL=C TERM=xterm; sleep 98765 & p=$!; \
                    until grep -q sleep /proc/$p/comm; do :; done; sleep 0.1; trap 'kill $p' EXIT\n";

fn script(inside: bool, text: &str) -> Outcome {
    let dir = TempDir::new();
    let mut command: Command = if inside {
        let mut command = do_command_with(Who::Caller, &[]);
        command.arg("bash");
        command
    } else {
        native_command(Who::Caller, "bash".as_ref())
    };
    run(command.args(["-c", &format!("{HEAD}{text}")]).current_dir(dir.path()), LIMIT)
}

fn same(program: &str, text: &str) {
    if !have(program) {
        return;
    }
    let native = script(false, text);
    assert_eq!(native.code, Some(0), "the script itself fails on Linux:\n{}", native.text());
    let inside = script(true, text);
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "differs:\n{difference}");
    assert!(
        native.out().lines().count() > 1,
        "a script that prints nothing tests nothing:\n{}",
        native.text()
    );
}

#[test]
fn ps() {
    same(
        "ps",
        "ps -o stat=,ni=,pri=,nlwp=,tty=,comm=,args=,cls=,rtprio=,psr= -p $p | sed 's/ [0-9]*$//'
         test $(ps -o ppid= -p $p) = $$ && echo parent
         test $(ps -o pgid= -p $p) = $(ps -o pgid= -p $$) && echo group
         ps -o uid=,euid=,ruser=,gid= -p $p
         ps -o etimes= -p $p | awk '{print ($1 >= 0 && $1 < 30)}'
         ps -o lstart= -p $p | awk '{print NF}'
         ps -o vsz=,rss= -p $p | awk '{print ($1 >= $2 && $2 > 0 && $1 < 1000000)}'
         ps -o time=,cputime= -p $p
         ps -ef | awk '$2 == '$p | grep -c 'sleep 98765'
         ps aux | awk 'NR == 1 || $2 == '$p' {print NR == 1 ? $0 : $1 \" \" $8 \" \" $11 \" \" $12}' | tr -s ' '
         ps -T -o lwp= -p $p | wc -l
         ps -o pid= --ppid $$ | grep -c $p
         ps -C sleep -o pid= | grep -cw $p
         renice -n 3 -p $p >/dev/null; ps -o ni= -p $p | tr -d ' ' | grep -c .
         kill -STOP $p; sleep 0.1; ps -o stat= -p $p | cut -c1; kill -CONT $p
         sh -c 'exit 3' & sleep 0.1; ps -o stat= -p $! | cut -c1
         ps -o wchan= -p $p | wc -l; ps -o blocked=,caught=,ignored= -p $p | awk '{print NF}'
         ps -o environ= -p $p | wc -l; ps e -p $p | grep -c TERM=xterm
         ps -o cgroup= -p $p | wc -l; ps -o sess= -p $p | wc -l; ps -o pidns= -p $p | grep -c '[0-9]'
         ps -e -o pid= | wc -l | awk '{print ($1 > 2)}'
         ps -p 99999999; echo $?; ps -H -o args= -g $(ps -o sid= -p $$) | grep -c 'sleep 98765' | awk '{print ($1 > 0)}'",
    );
}

#[test]
fn pgrep_and_kin() {
    same(
        "pgrep",
        "pgrep -P $$ sleep | grep -cw $p; pgrep -f 'sleep 9876[5]' | grep -cw $p; pgrep -a -P $$ sleep | cut -d' ' -f2-
         pgrep -n -P $$ -x sleep | grep -cw $p; pgrep -l -P $$ sleep | cut -d' ' -f2; pgrep -c -P $$ sleep
         pgrep no-such-program; echo $?; pgrep -u $(id -u) -P $$ sleep | grep -cw $p; pgrep -P 99999999; echo $?
         pidof sleep | tr ' ' '\\n' | grep -cw $p; pidof -s bash | grep -c .
         pwdx $p | cut -d' ' -f2- | grep -c \"^$PWD$\"
         sleep 87654 & q=$!; sleep 0.1; pkill -P $$ -f 'sleep 8765[4]'; wait $q; echo $?",
    );
}

#[test]
fn pstree() {
    same("pstree", "pstree -A $$; pstree -A -a $p; pstree -A -s $p | grep -c sleep; pstree -A -T -p $$ | grep -c \"sleep($p)\"");
}

#[test]
fn top() {
    same(
        "top",
        "top -b -n 1 -w 200 -p $p >out; awk '/PID USER/ {print $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12}' out
         awk '$1 == '$p' {print $2, $3, $4, $8, $9, $11, $12; print ($5 > 0), ($6 > 0)}' out
         awk '/^Tasks:/ {print $1, $2, $3, $5, $7, $9, $11}' out; grep -c '^%Cpu(s):' out; grep -c 'Mem :.*total.*free.*used' out
         grep -c 'load average' out; top -b -n 1 | awk '/^Tasks:/ {print ($2 > 1)}'; top -b -n 1 -H -p $p | grep -c sleep",
    );
}

#[test]
fn htop() {
    // It wants a terminal, and a key to end.
    same(
        "htop",
        "(sleep 1.5; printf q; sleep 0.5) | timeout 20 script -q -c 'stty cols 150 rows 40; htop -C -d 5 -p '$p /dev/null >out
         tr -d '\\r' <out | grep -o 'Tasks' | head -1; grep -o 'sleep 98765' out | head -1; grep -o 'Load average' out | head -1
         grep -o 'Uptime' out | head -1; grep -c 'rror' out; true",
    );
}

#[test]
fn lsof() {
    same(
        "lsof",
        "echo text >file; exec 7<file; exec 8> >(cat); lsof -w -p $$ -a -d 7,8 -F ftn | sed '/^p/d' | sed \"s,$PWD,HERE,\" | cut -d: -f1 | sed 's/pipe.*/pipe/'
         lsof -w -p $p -a -d cwd,txt,0 -F fn | grep -c \"^n$PWD$\"; lsof -w -t file | grep -cw $$; lsof -w -t +D . | grep -cw $$
         lsof -w -p $p | awk 'NR == 1 {print $1, $2, $3, $4, $5}'; lsof -w -c sleep -a -p $p -d txt -F n | tail -1
         fuser file 2>/dev/null | tr ' ' '\\n' | grep -cw $$; fuser -v file 2>&1 | grep -c bash; python3 -c '
import socket, os, subprocess
s = socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen()
print(os.readlink(\"/proc/self/fd/%d\" % s.fileno()).split(\":\")[0])'",
    );
}

#[test]
fn free_and_vmstat() {
    same(
        "vmstat",
        "free | awk 'NR == 1 {print} NR > 1 {print $1, NF}'; free -b | awk '/^Mem:/ {print ($2 > 0 && $3 > 0 && $4 >= 0 && $3 <= $2 && $7 <= $2)}'
         free -h -w | awk 'NR == 1 {print}'; vmstat | awk 'NR < 3 {print} NR == 3 {print NF, ($1 > 0), ($4 > 0)}'
         vmstat -s | sed 's/^ *[0-9]* //' | head -20; vmstat 1 2 | tail -1 | awk '{print NF, ($13 + $14 + $15 + $16 + $17 >= 99)}'
         uptime | grep -c 'up .*load average: [0-9.]*, [0-9.]*, [0-9.]*$'; uptime -p | cut -c1-2; tload -V | grep -c .
         nproc | awk '{print ($1 > 0)}'; lscpu | grep -c '^CPU(s):'; w -h | wc -l | awk '{print ($1 >= 0)}'; watch -v | grep -c .",
    );
}

#[test]
fn pmap() {
    same(
        "pmap",
        "pmap $p | head -1 | cut -d: -f2; pmap $p | tail -1 | awk '{print $1, ($2 > 100)}'; pmap -x $p | awk 'NR == 2 {print}'
         pmap -x $p | awk '/total/ {print ($3 > 0), ($4 > 0)}'; pmap $p | grep -c '\\[ stack \\]'; pmap -X $p | awk 'NR == 2 {print NF > 10}' | wc -l
         pmap $p | grep -c ' sleep$' | awk '{print ($1 > 1)}'; pmap -q $p | head -1 | cut -d: -f2",
    );
}

#[test]
fn python_psutil_like() {
    // What libraries read by themselves: every file of a process that has a fixed form.
    same(
        "python3",
        "python3 - $p <<'E'
import os, re, sys
pid = sys.argv[1]
def text(name): return open(f'/proc/{pid}/{name}').read()
stat = text('stat'); print(len(stat.rsplit(') ', 1)[1].split()))
status = dict(l.split(':\\t', 1) for l in text('status').splitlines() if ':\\t' in l)
print(status['Name'], status['State'], status['Threads'], status['Umask'], len(status['Uid'].split()))
print(int(status['VmRSS'].split()[0]) > 0, int(status['voluntary_ctxt_switches']) >= 0)
print(re.fullmatch(r'(\\d+ ){6}\\d+\\n', text('statm')) is not None, text('comm'), repr(text('cmdline')))
print(all(re.match(r'[0-9a-f]+-[0-9a-f]+ [r-][w-][x-][ps] [0-9a-f]{8} [0-9a-f]{2,}:[0-9a-f]{2,} \\d+', l) for l in text('maps').splitlines()))
print('TERM=xterm' in text('environ').split('\\0'), os.path.basename(os.readlink(f'/proc/{pid}/exe')), os.readlink(f'/proc/{pid}/root'))
print({'0', '1', '2'} <= set(os.listdir(f'/proc/{pid}/fd')), os.listdir(f'/proc/{pid}/task') == [pid])
print([l.split(':')[0] for l in open(f'/proc/{pid}/fdinfo/1')][:4])
print([l.split(':')[0] for l in text('io').splitlines()])
print(len(text('limits').splitlines()), text('oom_score_adj').strip(), len(open(f'/proc/{pid}/auxv', 'rb').read()) % 16)
print(text('cgroup').count(':') % 2, len(text('schedstat').split()), text('personality').strip(), text('syscall').split()[0] != '')
print(all(' - ' in l for l in text('mountinfo').splitlines()), len(text('mounts').splitlines()) > 0)
print(os.readlink(f'/proc/{pid}/ns/uts').startswith('uts:['), os.stat(f'/proc/{pid}').st_uid == os.getuid())
E
         echo $?",
    );
}
