//! Real programs from Debian's packages: `runsc do -- CMD` behaves as `CMD` does.
//!
//! Each test is a script that runs natively and inside, in fresh directories, and must end and print the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use runsc_tests::run::{diff, run_with_input};
use runsc_tests::sandbox::{do_command_with, is_root, native_command, require_confinement};
use runsc_tests::{have, run, skip, Outcome, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(120);

/// The script's outcome by `shell`, natively or inside, in a directory with these files.
fn script(who: Who, inside: bool, shell: &str, text: &str, files: &[(&str, &str)]) -> Outcome {
    let dir = TempDir::new();
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("a file in our own directory");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o644))
            .expect("chmod of our own file");
    }
    let mut command = if inside {
        let mut command = do_command_with(who, &[]);
        command.arg(shell);
        command
    } else {
        native_command(who, shell.as_ref())
    };
    command.env("HOME", dir.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GOCACHE", dir.join("cache"));
    run(command.args(["-c", text]).current_dir(dir.path()), LIMIT)
}

fn same_as(who: Who, shell: &str, text: &str, files: &[(&str, &str)]) {
    let native = script(who, false, shell, text, files);
    assert_eq!(native.code, Some(0), "the script itself fails on Linux:\n{}", native.text());
    assert!(!native.stdout.is_empty(), "a script that prints nothing tests nothing");
    let inside = script(who, true, shell, text, files);
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "differs:\n{difference}");
}

/// By `dash`, as the caller.
fn same(text: &str) {
    same_as(Who::Caller, "sh", text, &[]);
}

mod shells {
    use super::{do_command_with, have, is_root, run, same, same_as, Who, LIMIT};

    #[test]
    fn dash() {
        if have("dash") {
            same_as(
                Who::Caller,
                "dash",
                "echo a | cat; x=$(echo sub); echo $x; (cd /; pwd); for i in 1 2 3; do echo $i; done | tail -1
                 cat <<E\nhere $x\nE\n true && echo yes || echo no; false; echo $?; set -- a b; echo $#; umask
                 f() { return 5; }; f; echo $?; sh -c 'exit 7'; echo $?; echo *; : >f; echo *; wait; test -f f && echo f",
                &[],
            );
        }
    }

    fn bash(text: &str) {
        if have("bash") {
            same_as(Who::Caller, "bash", text, &[]);
        }
    }

    #[test]
    fn bash_pipelines() {
        bash("set -o pipefail; seq 1 2000 | sort -n -r | tail -3; echo ${PIPESTATUS[@]}; yes | head -2; seq 5 | while read x; do echo $((x*x)); done | tail -1");
    }
    #[test]
    fn bash_here_documents() {
        bash("cat <<'A'; cat <<-B; cat <<<'here string'\nplain $x\nA\n\ttabs\n\tB\nread a b <<<'one two'; echo $b $a");
    }
    #[test]
    fn bash_subshells() {
        bash("x=1; (x=2; echo $x; exit 3); echo $? $x; echo $(echo $(echo deep)); { echo group; } | cat; coproc cat; echo hi >&${COPROC[1]}; read l <&${COPROC[0]}; echo $l");
    }
    #[test]
    fn bash_traps() {
        bash("trap 'echo exit' EXIT; trap 'echo usr1' USR1; kill -USR1 $$; trap 'echo term; exit 0' TERM; (sleep 0.1; kill -TERM $$) & while :; do sleep 0.02; done");
    }
    #[test]
    fn bash_process_substitution() {
        bash("diff <(seq 3) <(seq 4); cat <(echo a) <(echo b); echo to | tee >(tr a-z A-Z >out; : >done) >/dev/null; while ! [ -e done ]; do sleep 0.01; done; cat out");
    }
    #[test]
    fn bash_wait_n() {
        bash("(sleep 0.5; exit 3) & (sleep 0.2; exit 4) & wait -n; echo $?; wait -n; echo $?; wait -n; echo $?; sleep 0.05 & wait $!; echo $?; jobs");
    }
    #[test]
    fn bash_job_control() {
        bash("set -m; exec 2>/dev/null; sleep 0.1 & wait $!; echo $?; sleep 10 & p=$!; kill -STOP $p; until grep -q '^State:.T' /proc/$p/status; do sleep 0.02; done; sleep 0.1; jobs | grep -c Stopped; kill -CONT $p; until grep -q '^State:.S' /proc/$p/status; do sleep 0.02; done; kill $p; wait $p; sleep 10 & kill %1 || kill %2; sleep 0.05 & fg %+ >/dev/null; echo $?; (exit 9) & wait %%; echo $?");
    }
    #[test]
    fn shell_as_nobody() {
        super::nobody("sh", "id -u; id -g; echo hi >f; cat f; ls -ln f | cut -d' ' -f1-4; cat /etc/shadow >/dev/null 2>&1 || echo denied; echo a | tr a b");
    }
    #[test]
    fn a_missing_command_in_a_closed_path_is_127() {
        // PATH of who became an ordinary user often holds directories of root's.
        if is_root() {
            let mut command = do_command_with(Who::Nobody, &["--env", "PATH=/root/bin:/root:/usr/bin:/bin"]);
            let outcome = run(command.arg("no-such-command-here"), LIMIT);
            assert_eq!(outcome.code, Some(127), "{}", outcome.text());
            let mut command = do_command_with(Who::Nobody, &["--env", "PATH=/etc:/usr/bin"]);
            let outcome = run(command.arg("passwd-"), LIMIT);
            assert!(matches!(outcome.code, Some(126 | 127)), "{}", outcome.text());
        }
    }
    #[test]
    fn environment_and_arguments() {
        same("env -i A=1 B='two words' sh -c 'echo $A $B \"$0\" \"$@\"' zero 'a b' '' c; printenv LC_ALL; env | grep -v ^_= | sort | cut -d= -f1");
    }
    #[test]
    fn timeouts_and_signals() {
        same("timeout 0.2 sleep 10; echo $?; timeout -s KILL 0.2 sleep 10; echo $?; sh -c 'kill -TERM $$'; echo $?; sh -c 'kill -SEGV $$'; echo $?; nohup true; echo $?");
    }
}

fn nobody(shell: &str, text: &str) {
    if is_root() {
        same_as(Who::Nobody, shell, text, &[]);
    } else {
        skip("acting as another user needs root");
    }
}

mod tools {
    use super::{have, nobody, same, same_as, Who};

    #[test]
    fn coreutils() {
        same(
            "mkdir -p a/b/c; seq 100 >a/n; cp -r a z; mv z/b z/d; ln -s n a/s; ln a/n a/h; ls -1 a z; wc -l a/n; sort -rn a/n | head -1
             md5sum a/n; sha256sum a/n; od -c a/n | head -2; cut -c1 a/n | uniq -c | head -3; tac a/n | head -1; stat -c '%a %h %s %F' a/n a/s a
             chmod 640 a/n; stat -c %a a/n; touch -d 2020-01-02 a/n; date -u -r a/n +%F; du -s --apparent-size -b a/n; readlink -f a/s | grep -o 'a/n'
             dd if=/dev/zero of=big bs=64k count=20 2>/dev/null; stat -c %s big; truncate -s 5 big; wc -c <big; split -l 30 a/n p; ls p*; cat p* | cmp - a/n
             rm -r z; rmdir a/b/c; test -d z || echo gone; mktemp -d XXXX >/dev/null; basename $PWD >/dev/null; expr 6 \\* 7; tr -d 0-4 <a/n | tail -1
             paste -d, a/n a/n | tail -1; join a/n a/n 2>/dev/null | wc -l; seq 3 | xargs -n1 echo x; tee t <a/n | tail -1; install -m 600 a/n i; stat -c %a i; nproc >/dev/null && echo nproc; shuf -i 1-5 | sort | tr '\\n' ' '; df . >/dev/null && echo df; sync t && echo sync; factor 84",
        );
    }
    #[test]
    fn findutils() {
        same(
            "mkdir -p d/e/f; touch -d 2020-01-02 d/a.txt; touch -d 2020-01-03 d/e/b.txt d/e/f/c.log; find d | sort; find d -name '*.txt' -print0 | sort -z | xargs -0 -n1 echo
             find d -type f -newer d/a.txt | wc -l; find d -type d -empty; find d -name '*.log' -delete; find d -type f | wc -l; find d -maxdepth 1 | sort; find /etc -maxdepth 1 -name passwd; find d -exec echo {} + | tr ' ' '\\n' | sort | head -2",
        );
    }
    #[test]
    fn editors_and_pagers() {
        if have("vim") && have("less") {
            same("vim -es -u NONE -c 'normal ihello' -c 'w! v.txt' -c q </dev/null; cat v.txt; printf 'one\\ntwo\\n' >w; vim -es -u NONE -c '%s/two/three/' -c wq w </dev/null; cat w; seq 100 | less | tail -1; less w; seq 3 | more; echo a >x; ed -s x <<E 2>/dev/null || echo no ed\n1s/a/b/\nw\nq\nE\ndiff -u w x | tail -2; cmp w x; echo $?");
        }
    }
    #[test]
    fn text_tools() {
        if have("awk") {
            same("seq 1000 >n; grep -c 7 n; grep -n '^99' n | tail -1; grep -r 999 . ; sed -n '5p;$p' n; sed 's/1/x/g' n | head -11 | tail -1; sed -i 's/^5$/five/' n; sed -n 5p n; awk '{s+=$1} END {print s}' n; awk 'BEGIN{while((\"echo sub\"|getline l)>0) print l; print length(\"abc\")}'; awk -F: '/^root/{print $7}' /etc/passwd");
        }
    }
    #[test]
    fn archives() {
        if have("xz") && have("gzip") {
            same("mkdir d; seq 50000 >d/n; ln -s n d/s; chmod 600 d/n; tar czf a.tgz d; tar cJf a.txz d; mkdir x y; tar xzf a.tgz -C x; tar xJf a.txz -C y; cmp x/d/n d/n && readlink y/d/s; stat -c '%a %s' y/d/n; tar tzf a.tgz | sort; gzip -k d/n; gunzip -c d/n.gz | md5sum; xz -T2 -k d/n; xz -dc d/n.xz | md5sum; xz -t a.txz && echo fine; tar c d | tar t | wc -l");
        }
    }
    #[test]
    fn git() {
        if have("git") {
            same(GIT);
        }
    }
    #[test]
    fn git_as_nobody() {
        if have("git") {
            nobody("sh", GIT);
        }
    }
    const GIT: &str = "set -e; export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
        git init -q -b main r; cd r; seq 100 >f; mkdir d; echo x >d/g; git add .; git commit -q -m one; echo y >>f; git commit -qam two; git log --format='%H %s'; git status --short; git diff HEAD~1 --stat; cd ..
        git clone -q r c; cd c; git log --oneline | cat; git checkout -q -b other; echo z >z; git add z; git commit -qm three; git push -q origin other; cd ../r; git branch --list | cat; git merge -q other; ls; git fsck 2>/dev/null; git gc -q; git count-objects -v | grep in-pack; git grep -c x";

    #[test]
    fn perl() {
        if have("perl") {
            same("perl -e 'my %h=(a=>1,b=>2); print join(\",\", map {\"$_=$h{$_}\"} sort keys %h), \"\\n\"; open F, \">f\"; print F \"line\\n\" x 3; close F; open F, \"f\"; print scalar(@{[<F>]}), \"\\n\"; print `echo sub`; my $p=fork; if(!$p){exit 5} waitpid $p,0; print $?>>8, \"\\n\"; local $SIG{ALRM}=sub{print \"alarm\\n\"}; alarm 1; select undef,undef,undef,3; print -s \"f\", \"\\n\"; use POSIX; print POSIX::strftime(\"%Y\", gmtime 0), \"\\n\"'");
        }
    }

    fn python(text: &str) {
        if have("python3") {
            same_as(Who::Caller, "sh", "python3 -B p.py", &[("p.py", text)]);
        }
    }

    #[test]
    fn python_imports() {
        python("import os, sys, json, re, math, random, datetime, collections, hashlib, socket, threading, ctypes, decimal, zlib, lzma, email, http.client, xml.dom.minidom, unittest, ssl, argparse, logging\nprint(json.dumps({'a': [1, 2.5, None]}), math.pi, hashlib.sha256(b'x').hexdigest(), sys.version_info[:2], os.getcwd() == os.path.realpath('.'))");
    }
    #[test]
    fn python_subprocess() {
        python("import subprocess, sys\nprint(subprocess.run(['echo', 'hi'], capture_output=True).stdout)\nprint(subprocess.run('exit 3', shell=True).returncode)\np = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\nprint(p.communicate(b'through')[0])\ntry:\n  subprocess.run(['sleep', '10'], timeout=0.2)\nexcept subprocess.TimeoutExpired as e: print('timeout')\ntry:\n  subprocess.run(['/nonexistent'])\nexcept FileNotFoundError as e: print(e.errno)\nprint(subprocess.check_output([sys.executable, '-c', 'import sys; print(sys.stdin.read()[::-1])'], input=b'abc'))");
    }
    #[test]
    fn python_multiprocessing() {
        python("import multiprocessing as m, os\ndef f(x): return x * x\ndef g(q): q.put(os.getpid() != os.getppid())\nif __name__ == '__main__':\n  with m.Pool(3) as p: print(p.map(f, range(20)))\n  q = m.Queue(); p = m.Process(target=g, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)\n  v = m.Value('i', 0)\n  l = m.Lock(); l.acquire(); l.release(); print(v.value)\n  c = m.get_context('spawn')\n  p = c.Process(target=f, args=(2,)); p.start(); p.join(); print(p.exitcode)\n  a, b = m.Pipe(); a.send({'x': 1}); print(b.recv())");
    }
    #[test]
    fn python_threading() {
        python("import threading, queue, time\nq = queue.Queue()\ndef w():\n  while True:\n    x = q.get()\n    if x is None: return\n    r.append(x * 2)\nr = []\nt = [threading.Thread(target=w) for _ in range(4)]\n[x.start() for x in t]\n[q.put(i) for i in range(100)]\n[q.put(None) for _ in t]\n[x.join() for x in t]\nprint(sum(r), len(r))\ne = threading.Event(); threading.Timer(0.05, e.set).start(); print(e.wait(5))\nprint(e.is_set(), threading.Condition().acquire(timeout=1))\nimport signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('usr1')); os.kill(os.getpid(), signal.SIGUSR1)");
    }
    #[test]
    fn python_asyncio() {
        python("import asyncio, time\nasync def f(n):\n  await asyncio.sleep(n / 50)\n  return n\nasync def main():\n  print(await asyncio.gather(*[f(i) for i in range(5)]))\n  p = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)\n  print((await p.communicate())[0], p.returncode)\n  try: await asyncio.wait_for(asyncio.sleep(5), 0.05)\n  except asyncio.TimeoutError: print('timeout')\n  l = asyncio.get_running_loop()\n  print(await l.run_in_executor(None, lambda: 42))\nt = time.time(); asyncio.run(main()); print(time.time() - t < 20)");
    }
    #[test]
    fn python_tempfile() {
        python("import tempfile, os, shutil\nwith tempfile.TemporaryDirectory() as d:\n  p = os.path.join(d, 'x'); open(p, 'w').write('hi'); print(open(p).read(), os.stat(p).st_size)\nprint(os.path.exists(d))\nf = tempfile.TemporaryFile(); f.write(b'abc'); f.seek(1); print(f.read())\nn = tempfile.NamedTemporaryFile(delete=False); n.write(b'z'); n.close(); print(os.path.getsize(n.name), oct(os.stat(n.name).st_mode)); os.unlink(n.name)\nos.makedirs('a/b'); shutil.copytree('a', 'c'); print(sorted(os.listdir('.'))); shutil.rmtree('a')\nimport mmap\nwith open('m', 'w+b') as f:\n  f.write(b'0' * 5000); f.flush(); m = mmap.mmap(f.fileno(), 0); m[10:13] = b'abc'; m.flush(); m.close(); f.seek(9); print(f.read(5))");
    }
    #[test]
    fn python_sqlite3() {
        python("import sqlite3\nfor name in ('f.db', ':memory:'):\n  c = sqlite3.connect(name); c.execute('create table t (a, b)'); c.executemany('insert into t values (?, ?)', [(i, str(i)) for i in range(1000)]); c.commit(); print(c.execute('select sum(a), count(*) from t').fetchone()); c.execute('pragma journal_mode=wal').fetchone(); c.execute('delete from t where a > 500'); c.commit(); print(c.execute('select count(*) from t').fetchall()); c.close()\nc = sqlite3.connect('f.db', timeout=1); d = sqlite3.connect('f.db', timeout=0.1); c.execute('begin immediate')\ntry: d.execute('begin immediate')\nexcept sqlite3.OperationalError as e: print(e)");
    }
}

mod builds {
    use super::{have, nobody, same_as, Who};

    const HELLO: &str = "#include <stdio.h>\n#include <math.h>\nint main(int c, char **v) { printf(\"hello %d %.3f\\n\", c, sqrt(2.0)); return 0; }\n";

    #[test]
    fn gcc_hello() {
        if have("gcc") {
            same_as(Who::Caller, "sh", "gcc -O2 hello.c -lm && ./a.out x y && gcc -static hello.c -o s -lm && ./s && gcc -g -c hello.c && size hello.o | wc -l", &[("hello.c", HELLO)]);
        }
    }
    #[test]
    fn gcc_as_nobody() {
        if have("gcc") {
            nobody("sh", "printf 'int main(){return 0;}' >a.c; gcc a.c && ./a.out; echo $?");
        }
    }
    #[test]
    fn make_parallel() {
        if have("make") && have("gcc") {
            let mut makefile = String::from("all: prog\n\t./prog\n");
            let objects: Vec<String> = (0..12).map(|i| format!("f{i}.o")).collect();
            makefile += &format!(
                "prog: main.o {}\n\t@gcc -o $@ $^\n%.o: %.c\n\t@gcc -c -o $@ $<\n",
                objects.join(" ")
            );
            let names: Vec<String> = (0..12).map(|i| format!("f{i}.c")).collect();
            let bodies: Vec<String> =
                (0..12).map(|i| format!("int f{i}(void) {{ return {i}; }}\n")).collect();
            let declared: String = (0..12).map(|i| format!("int f{i}(void);\n")).collect();
            let sum: Vec<String> = (0..12).map(|i| format!("f{i}()")).collect();
            let main = format!(
                "#include <stdio.h>\n{declared}int main(void) {{ printf(\"%d\\n\", {}); return 0; }}\n",
                sum.join(" + ")
            );
            let mut files = vec![("Makefile", makefile.as_str()), ("main.c", main.as_str())];
            files.extend(names.iter().map(String::as_str).zip(bodies.iter().map(String::as_str)));
            same_as(
                Who::Caller,
                "sh",
                "make -s -j4; make -q && echo up to date; touch f3.c; make -s -j4; make -n | wc -l",
                &files,
            );
        }
    }
    #[test]
    fn busybox_static() {
        if have("busybox") {
            same_as(Who::Caller, "sh", "busybox sh -c 'echo a | busybox cat; busybox seq 5 | busybox tac; busybox ls /etc/passwd; echo $((3*4)); busybox true && echo t; busybox sleep 0.1; busybox find . | busybox sort'; busybox awk 'BEGIN{print 5}'", &[]);
        }
    }
    #[test]
    fn static_musl() {
        if have("musl-gcc") {
            let text = "#include <stdio.h>\n#include <pthread.h>\n#include <unistd.h>\n#include <sys/wait.h>\nstatic void *f(void *p) { *(int *)p = 5; return 0; }\nint main(void) { int x = 0; pthread_t t; pthread_create(&t, 0, f, &x); pthread_join(t, 0); printf(\"%d\\n\", x); fflush(stdout); if (!fork()) _exit(7); int s; wait(&s); printf(\"%d\\n\", WEXITSTATUS(s)); return 0; }\n";
            same_as(
                Who::Caller,
                "sh",
                "musl-gcc -static m.c -o m && ./m && musl-gcc -static-pie -fPIE m.c -o p && ./p; uname -s",
                &[("m.c", text)],
            );
        }
    }
    #[test]
    fn go_program() {
        if have("go") {
            let text = "package main\nimport (\"fmt\"; \"os\"; \"os/exec\"; \"sync\"; \"time\")\nfunc main() {\n\tvar wg sync.WaitGroup\n\tch := make(chan int, 100)\n\tfor i := 0; i < 20; i++ { wg.Add(1); go func(i int) { defer wg.Done(); time.Sleep(time.Millisecond * time.Duration(i)); ch <- i }(i) }\n\twg.Wait(); close(ch)\n\ts := 0\n\tfor x := range ch { s += x }\n\tfmt.Println(s)\n\to, e := exec.Command(\"echo\", \"sub\").Output(); fmt.Println(string(o), e)\n\tos.WriteFile(\"w\", []byte(\"x\"), 0644)\n\td, _ := os.ReadFile(\"w\"); fmt.Println(string(d))\n\t_, e = os.Open(\"none\"); fmt.Println(e)\n\ttime.AfterFunc(10*time.Millisecond, func() { fmt.Println(\"timer\"); os.Exit(0) })\n\tselect {}\n}\n";
            // Built on the host: the binary is what this is about.
            super::built_on_the_host(
                "CGO_ENABLED=0 go build -o prog main.go",
                &[("main.go", text)],
                "./prog",
            );
        }
    }
    #[test]
    fn go_build_inside() {
        if have("go") {
            let text = "package main\nimport \"fmt\"\nfunc main() { fmt.Println(\"hello from go\") }\n";
            let script = "export GO111MODULE=off GOFLAGS=-p=2; go build -o hello h.go && ./hello && go vet h.go && echo vetted";
            same_as(Who::Caller, "sh", script, &[("h.go", text)]);
        }
    }
    #[test]
    fn select_with_a_time_out() {
        if have("gcc") {
            super::select_program();
        }
    }
}

/// Builds natively in one directory, then runs `command` there natively and inside.
fn built_on_the_host(build: &str, files: &[(&str, &str)], command: &str) {
    let dir = TempDir::new();
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("a file in our own directory");
    }
    let mut make = native_command(Who::Caller, "sh".as_ref());
    make.env("HOME", dir.path()).env("GOCACHE", dir.join("cache")).env("GO111MODULE", "off");
    let built = run(make.args(["-c", build]).current_dir(dir.path()), LIMIT);
    assert_eq!(built.code, Some(0), "build on the host: {}", built.text());
    let native = run(native_command(Who::Caller, command.as_ref()).current_dir(dir.path()), LIMIT);
    let inside = run(do_command_with(Who::Caller, &[]).arg(command).current_dir(dir.path()), LIMIT);
    let difference = diff(&native.text(), &inside.text());
    assert!(difference.is_empty(), "differs:\n{difference}");
}

/// Loops on `select` over standard input, five seconds by default, printing what came and when the time ran out.
const SELECT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>
#include <unistd.h>
int main(int argc, char **argv) {
    long ms = argc > 1 ? atol(argv[1]) : 5000;
    setvbuf(stdout, 0, _IONBF, 0);
    for (;;) {
        fd_set set; FD_ZERO(&set); FD_SET(0, &set);
        struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
        int n = select(1, &set, 0, 0, &tv);
        if (n < 0) { perror("select"); return 1; }
        if (n == 0) { printf("no data within the time\n"); continue; }
        char b[100]; ssize_t r = read(0, b, sizeof b - 1);
        if (r <= 0) { printf("end\n"); return 0; }
        b[r] = 0; printf("received: %s", b);
    }
}
"#;

fn select_program() {
    let dir = TempDir::new();
    fs::write(dir.join("s.c"), SELECT).expect("a file in our own directory");
    let built = run(Command::new("gcc").args(["s.c", "-o", "s"]).current_dir(dir.path()), LIMIT);
    assert_eq!(built.code, Some(0), "{}", built.text());
    let feed = "sleep 0.1; echo one; sleep 0.9; echo two";
    let outcome = |prefix: &str| {
        let text = format!("({feed}) | {prefix} ./s 600");
        let mut command = native_command(Who::Caller, "sh".as_ref());
        command.env("RUNSC", runsc_tests::runsc());
        run(command.args(["-c", &text]).current_dir(dir.path()), LIMIT)
    };
    let inside = outcome("\"$RUNSC\" do -q --");
    assert_eq!(
        inside.out(),
        "received: one\nno data within the time\nreceived: two\nend\n",
        "{}",
        inside.text()
    );
    assert_eq!(inside, outcome(""));
}

mod views {
    use super::{do_command_with, fs, is_root, require_confinement, run, run_with_input, skip, Who, LIMIT};

    /// `echo x >/etc/motd; rm -rf DIRECTORY; cat /etc/motd`: all of it stays inside. The directory is one of ours, so
    /// that a sandbox that fails this test takes nothing of the machine's with it.
    #[test]
    fn writes_stay_inside() {
        if !is_root() {
            return skip("writing to /etc as the guest's root needs root");
        }
        require_confinement();
        let dir = super::TempDir::new();
        fs::create_dir_all(dir.join("tree/deep")).expect("a directory in our own");
        fs::write(dir.join("tree/deep/file"), "kept").expect("a file in our own directory");
        let motd = fs::read("/etc/motd").ok();
        let mut command = do_command_with(Who::Caller, &[]);
        command.args(["sh", "-c", "echo x >/etc/motd; rm -rf \"$1\"; cat /etc/motd; ls \"$1\"", "sh"]);
        let outcome = run(command.arg(dir.join("tree")), LIMIT);
        assert_eq!(outcome.out(), "x\n", "{}", outcome.text());
        assert!(outcome.err().contains("No such file or directory"), "{}", outcome.text());
        assert_eq!(fs::read("/etc/motd").ok(), motd, "the host was changed");
        assert_eq!(fs::read_to_string(dir.join("tree/deep/file")).ok().as_deref(), Some("kept"));
    }

    #[test]
    fn an_ordinary_user_is_refused_as_on_the_host() {
        if !is_root() {
            return skip("acting as another user needs root");
        }
        super::same_as(Who::Nobody, "sh", "echo x >/etc/motd 2>/dev/null || echo refused; id -u", &[]);
        require_confinement();
        let mut command = do_command_with(Who::Nobody, &["--user", "0"]);
        command.args(["sh", "-c", "id -u; echo x >/etc/motd; cat /etc/motd"]);
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.out(), "0\nx\n", "{}", outcome.text());
    }

    #[test]
    fn the_working_directory_is_seen_and_kept() {
        let dir = super::TempDir::new();
        fs::write(dir.join("old"), "old content").expect("a file in our own directory");
        let mut command = do_command_with(Who::Caller, &[]);
        command.args(["sh", "-c", "cat old; echo new >old; cat old; echo x >fresh; rm old; ls"]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.out(), "old contentnew\nfresh\n", "{}", outcome.text());
        assert_eq!(fs::read_to_string(dir.join("old")).ok().as_deref(), Some("old content"));
        assert!(!dir.join("fresh").exists());
    }

    #[test]
    fn a_writable_tree_is_written_for_real() {
        let dir = super::TempDir::new();
        let path = dir.path().to_str().expect("our own name");
        let mut command = do_command_with(Who::Caller, &["--rw", path]);
        command.args([
            "sh",
            "-c",
            "mkdir d && echo real >d/f && mv d/f g && ln -s g s && cat s && stat -c %s g",
        ]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.out(), "real\n5\n", "{}", outcome.text());
        assert_eq!(fs::read_to_string(dir.join("g")).ok().as_deref(), Some("real\n"));
    }

    #[test]
    fn a_read_only_tree_refuses_writes() {
        let dir = super::TempDir::new();
        fs::write(dir.join("f"), "content").expect("a file in our own directory");
        let path = dir.path().to_str().expect("our own name");
        let mut command = do_command_with(Who::Caller, &["--ro", path]);
        command.args(["sh", "-c", "cat f; echo x >f || echo refused; rm f || echo refused"]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.out(), "contentrefused\nrefused\n", "{}", outcome.text());
        assert!(outcome.err().contains("Read-only file system"), "{}", outcome.text());
    }

    #[test]
    fn hidden_paths_do_not_exist() {
        let dir = super::TempDir::new();
        fs::create_dir(dir.join("secret")).expect("a directory in our own");
        fs::write(dir.join("secret/key"), "key").expect("a file in our own directory");
        let hidden = dir.join("secret");
        let mut command = do_command_with(Who::Caller, &["--hide", hidden.to_str().expect("our own name")]);
        command.args([
            "sh",
            "-c",
            "ls; cat secret/key 2>/dev/null || echo none; ln -s secret l; cat l/key 2>/dev/null || echo none",
        ]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.out(), "none\nnone\n", "{}", outcome.text());
    }

    #[test]
    fn no_overlay_means_read_only() {
        let dir = super::TempDir::new();
        let mut command = do_command_with(Who::Caller, &["--overlay", "none"]);
        command.args(["sh", "-c", "echo x >file || echo refused"]);
        let outcome = run(command.current_dir(dir.path()), LIMIT);
        assert_eq!(outcome.out(), "refused\n", "{}", outcome.text());
        assert!(outcome.err().contains("Read-only file system"), "{}", outcome.text());
    }

    #[test]
    fn options_that_set_the_scene() {
        let options = ["--cwd", "/usr", "--env", "A=b c", "--hostname", "inside"];
        let mut command = do_command_with(Who::Caller, &options);
        command.args(["sh", "-c", "pwd; echo \"$A\"; uname -n; read x; echo \"$x\""]);
        let outcome = run_with_input(&mut command, b"line\n", LIMIT);
        assert_eq!(outcome.out(), "/usr\nb c\ninside\nline\n", "{}", outcome.text());
    }

    #[test]
    fn trace_names_calls() {
        let dir = super::TempDir::new();
        let trace = dir.join("trace");
        let mut command = do_command_with(Who::Caller, &["--trace", trace.to_str().expect("our own name")]);
        command.args(["cat", "/etc/passwd"]);
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        let text = fs::read_to_string(&trace).unwrap_or_default();
        assert!(text.contains("/etc/passwd") && text.contains("openat("), "{text}");
    }
}
