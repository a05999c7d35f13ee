//! Language runtimes, with what they do to a kernel: threads, children, timers, signals, files. The programs are in
//! `programs/`; each prints what it saw, natively and inside.

use runsc_tests::compare::prepared;
use runsc_tests::{have, skip, Script};

#[test]
fn node() {
    if have("node") {
        Script::sh("node node.js; echo $?").file("node.js", include_str!("../programs/node.js")).same();
    }
}

#[test]
fn go_with_a_thousand_goroutines_and_signals() {
    if have("go") {
        let built = prepared(
            "go build -o gophers gophers.go",
            &[("gophers.go", include_str!("../programs/gophers.go"))],
        );
        Script::sh("\"$GOPHERS\"; echo $?").env("GOPHERS", &built.join("gophers")).same();
    }
}

#[test]
fn java_version() {
    if have("java") {
        Script::sh("java -version 2>&1; java -Xshare:off -Xint -version 2>&1 | tail -1").same();
    }
}

#[test]
fn java_compiles_and_runs_threads() {
    if have("javac") {
        let text = "javac -nowarn Threads.java 2>/dev/null; java -Xmx64m Threads; echo $?";
        Script::sh(text).file("Threads.java", include_str!("../programs/Threads.java")).same();
    }
}

/// Two collectors that ask more of the kernel: barriers across processors, memory given back.
#[test]
fn java_collects_in_other_ways() {
    if have("javac") {
        let built = prepared(
            "javac -nowarn Threads.java 2>/dev/null",
            &[("Threads.java", include_str!("../programs/Threads.java"))],
        );
        let text = "java -Xmx128m -XX:+UseZGC -cp \"$CLASSES\" Threads; echo $?
                    java -Xmx96m -XX:+UseG1GC -XX:+AlwaysPreTouch -XX:G1PeriodicGCInterval=50 -cp \"$CLASSES\" Threads; echo $?";
        Script::sh(text).env("CLASSES", built.path()).same();
    }
}

#[test]
fn perl() {
    if have("perl") {
        Script::sh("perl t.pl").file("t.pl", include_str!("../programs/perl.pl")).same();
    }
}

#[test]
fn ruby() {
    if have("ruby") {
        Script::sh("ruby -W0 t.rb").file("t.rb", include_str!("../programs/ruby.rb")).same();
    }
}

#[test]
fn php() {
    if have("php") {
        Script::sh("php t.php").file("t.php", include_str!("../programs/php.php")).same();
    }
}

#[test]
fn lua() {
    if have("lua5.4") {
        Script::sh("lua5.4 t.lua; echo $?").file("t.lua", include_str!("../programs/lua.lua")).same();
    }
}

#[test]
fn jemalloc_preloaded() {
    if !std::path::Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2").exists() {
        return skip("package libjemalloc2");
    }
    if have("python3") && have("perl") {
        Script::sh(include_str!("../programs/jemalloc.sh")).same();
    }
}
