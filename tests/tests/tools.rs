//! Tools that do more than read and write: debuggers, emulators, builds, shells, buses, keys.

use runsc_tests::{have, Script};

#[test]
fn gdb_debugs_a_child() {
    if have("gdb") && have("gcc") {
        Script::sh(include_str!("../programs/gdb.sh")).same();
    }
}

#[test]
fn strace_follows_forks() {
    if have("strace") {
        let text = "strace -f -o log sh -c 'sh -c \"exit 3\"; echo $?; sleep 0.1 & wait; true | cat'; echo $?
                    grep -c '+++ exited with 3 +++' log; grep -c 'execve(\"/usr/bin/sleep\"' log; grep -o 'SIGCHLD {.*' log | sed 's/si_pid=[0-9]*/PID/; s/si_[us]time=[0-9]*/T/g' | head -2
                    strace -c -f sh -c 'ls / >/dev/null' 2>&1 | grep -c execve; strace -e inject=getuid:retval=77 id -ru 2>/dev/null
                    strace -e trace=write -e fault=write:error=ENOSPC echo x 2>&1 | grep -c INJECTED";
        Script::sh(text).same();
    }
}

#[test]
fn valgrind_finds_what_is_wrong() {
    if have("valgrind") && have("gcc") {
        Script::sh(include_str!("../programs/valgrind.sh")).same();
    }
}

#[test]
fn cmake_ninja_and_make() {
    if have("cmake") && have("ninja") && have("gcc") && have("make") {
        Script::sh(include_str!("../programs/cmake.sh")).same();
    }
}

#[test]
fn git_with_many_processes() {
    if have("git") {
        Script::sh(include_str!("../programs/git.sh")).same();
    }
}

#[test]
fn zsh_with_its_modules() {
    if have("zsh") {
        Script::sh("zsh -f t.zsh").file("t.zsh", include_str!("../programs/zsh.zsh")).same();
    }
}

#[test]
fn socat_between_everything() {
    if have("socat") {
        Script::sh(include_str!("../programs/socat.sh")).same();
    }
}

#[test]
fn keys_and_certificates() {
    if have("ssh-keygen") && have("openssl") {
        Script::sh(include_str!("../programs/keys.sh")).same();
    }
}

#[test]
fn busybox_is_a_shell_with_jobs() {
    if have("busybox") {
        let text = "busybox ash -c 'sleep 0.2 & jobs | grep -c Running; wait %1; echo $?; (trap \"echo int; exit 4\" INT; kill -INT $(sh -c \"echo \\$PPID\")); echo $?
                    busybox sleep 50 & busybox kill -STOP $!; busybox kill -CONT $!; busybox kill $!; wait $!; echo $?; busybox seq 3 | busybox xargs -P 3 -n 1 busybox echo | busybox sort; busybox timeout 0.2 busybox sleep 9; echo $?
                    busybox setsid busybox sh -c \"echo session\"; busybox mkfifo f; (busybox echo fifo >f &); busybox cat f' 2>/dev/null";
        // Whether a shell still tells of a job that it was waited for is chance.
        Script::sh(text).same();
    }
}

#[test]
fn curl_asks_a_server_that_is_short_of_room() {
    if have("curl") && have("python3") {
        Script::sh(include_str!("../programs/web.sh")).same();
    }
}
