//! Real programs over many files, natively and inside: both print the same. A sample; all of it where
//! `RUNSC_TEST_ALL=1`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use runsc_tests::sandbox::{do_command_with, native_command};
use runsc_tests::{have, run, TempDir, Who};

const LIMIT: Duration = Duration::from_secs(900);

fn all() -> bool {
    std::env::var_os("RUNSC_TEST_ALL").is_some_and(|v| v == "1")
}

/// The same script in a native directory and, over the overlay, in one of the same content; what it prints is compared.
fn same(what: &str, prepare: impl Fn(&Path), script: &str) {
    let (native, inside) = (TempDir::new(), TempDir::new());
    prepare(native.path());
    prepare(inside.path());
    let environment = |command: &mut Command| {
        command.env("TZ", "UTC").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_AUTHOR_NAME", "a").env("GIT_AUTHOR_EMAIL", "a@example.org");
        command.env("GIT_COMMITTER_NAME", "a").env("GIT_COMMITTER_EMAIL", "a@example.org");
        command
            .env("GIT_AUTHOR_DATE", "2020-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z");
        command.env("HOME", "/tmp/no-home");
    };
    let mut command = native_command(Who::Caller, "sh".as_ref());
    environment(command.args(["-ec", script]).current_dir(native.path()));
    let expected = run(&mut command, LIMIT);
    assert_eq!(expected.code, Some(0), "{what}, natively: {}", expected.text());
    for options in [&[][..], &["--overlay", "disk"], &["--rw", inside.path().to_str().expect("our own name")]]
    {
        let mut command = do_command_with(Who::Caller, options);
        environment(command.args(["sh", "-ec", script]).current_dir(inside.path()));
        let got = run(&mut command, LIMIT);
        assert_eq!(got.text(), expected.text(), "{what}, {options:?}");
        if !all() && options.is_empty() {
            break;
        }
    }
}

/// A tree of so many small files in directories of a hundred.
fn files(dir: &Path, count: usize) {
    for at in 0..count {
        let sub = dir.join(format!("src/d{}/s{}", at / 1000, at / 100));
        if at % 100 == 0 {
            fs::create_dir_all(&sub).expect("our own directory");
        }
        fs::write(sub.join(format!("file-{at}.txt")), format!("file {at}\n").repeat(at % 7 + 1))
            .expect("our own directory");
    }
}

#[test]
fn git_on_a_large_repository() {
    if !have("git") {
        return;
    }
    let count = if all() { 20_000 } else { 1_500 };
    let script = "git init -q -b main repo; mv src repo; cd repo; git add -A; git commit -qm one; git rev-parse HEAD
        git status --porcelain; echo changed >src/d0/s3/file-300.txt; rm src/d0/s4/file-400.txt; : >src/new
        git status --porcelain; git checkout -q -b other; git add -A; git commit -qm two; git rev-parse HEAD
        git checkout -q main; git status --porcelain; cat src/d0/s3/file-300.txt | head -1; git gc -q; git fsck
        cd ..; git clone -q repo copy; cd copy; git log --format=%H --all | sort; git status --porcelain
        git checkout -q other 2>&1; find . -path ./.git -prune -o -type f -print | sort | xargs cat | sha256sum";
    same("git", |dir| files(dir, count), script);
}

#[test]
fn rsync_with_links_attributes_and_holes() {
    if !have("rsync") || !have("setfattr") {
        return;
    }
    let script = "cd src; ln d0/s0/file-1.txt hard; ln -s d0/s0/file-2.txt soft; mkfifo pipe; chmod 4711 d0/s0/file-3.txt
        setfattr -n user.x -v y d0/s0/file-4.txt; truncate -s 10M sparse; find . -exec touch -hd @1000000000 {} +; touch -d '2001-02-03 04:05:06.789 UTC' d0/s0/file-5.txt; cd ..
        rsync -aHAXS src/ dst/; rsync -aHAXSni --delete src/ dst/
        cd dst; find . | sort | xargs stat -c '%n %s %a %h %F %Y' | grep -v directory; getfattr -n user.x d0/s0/file-4.txt
        rm d0/s0/file-7.txt; echo new >d0/s0/file-8.txt; cd ..; rsync -aHAXSni --delete src/ dst/";
    same("rsync", |dir| files(dir, if all() { 5_000 } else { 300 }), script);
}

#[test]
fn packages_are_built_and_unpacked() {
    if !have("dpkg-deb") {
        return;
    }
    let script = "mkdir -p p/DEBIAN p/usr; mv src p/usr/
        printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: d\\n' >p/DEBIAN/control
        SOURCE_DATE_EPOCH=1000000000 dpkg-deb --root-owner-group -Znone -b p p.deb; dpkg-deb -c p.deb | awk '{print $1, $2, $3, $6}' | sort | sha256sum
        dpkg-deb -R p.deb out; cd out; find . -type f | sort | xargs sha256sum | sha256sum; find . | wc -l";
    same("dpkg-deb", |dir| files(dir, if all() { 10_000 } else { 500 }), script);
}

#[test]
fn archives_byte_for_byte() {
    let what = if all() { "/usr" } else { "/usr/share/doc" };
    let script = format!("tar --sort=name -cf - --exclude='*.pyc' {what} 2>/dev/null | sha256sum");
    same("tar", |_| {}, &script);
}

#[test]
fn find_over_the_machine() {
    // The host's own /proc, /sys, /dev and what others change meanwhile are left out.
    let what = if all() { "/" } else { "/usr/lib" };
    let script = format!(
        "find {what} -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var -o -path /run \\
         -o -path /root -o -path /home -o -path /etc \\) -prune -o -printf '%p %s %m %u %g %n %y %i %l\\n' \\
         | sort | sha256sum"
    );
    same("find", |_| {}, &script);
}

#[test]
fn npm_from_a_local_cache() {
    if !have("npm") || !have("node") {
        return;
    }
    let prepare = |dir: &Path| {
        for name in ["left", "right"] {
            let package = dir.join(name);
            fs::create_dir_all(package.join("lib")).expect("our own directory");
            let text = format!("{{\"name\":\"{name}\",\"version\":\"1.0.0\",\"main\":\"lib/i.js\"}}");
            fs::write(package.join("package.json"), text).expect("our own directory");
            fs::write(package.join("lib/i.js"), format!("module.exports = '{name}'\n")).expect("ours");
            (0..100).for_each(|i| fs::write(package.join(format!("lib/{i}.js")), "").expect("ours"));
        }
    };
    let script = "export npm_config_cache=$PWD/cache npm_config_offline=true npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
        for p in left right; do (cd $p; npm pack --silent --pack-destination ..); done
        mkdir app; cd app; echo '{\"name\":\"app\",\"version\":\"1.0.0\",\"dependencies\":{\"left\":\"file:../left-1.0.0.tgz\",\"right\":\"file:../right-1.0.0.tgz\"}}' >package.json
        npm install --silent >/dev/null; rm -r node_modules; npm ci --silent >/dev/null
        node -p 'require(\"left\") + require(\"right\")'; find node_modules -type f | sort | grep -v package-lock | xargs sha256sum";
    same("npm", prepare, script);
}

#[test]
fn cargo_with_vendored_dependencies() {
    if !all() {
        return;
    }
    let Some(home) = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
    else {
        return;
    };
    let bin = home.join("bin").display().to_string();
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("app/src")).expect("our own directory");
        fs::write(
            dir.join("app/Cargo.toml"),
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\nryu = \"1\"\n",
        )
        .expect("our own directory");
        fs::write(
            dir.join("app/src/main.rs"),
            "fn main() { println!(\"{} {}\", itoa::Buffer::new().format(7), ryu::Buffer::new().format(1.5)); }\n",
        )
        .expect("our own directory");
        let mut vendor = Command::new(home.join("bin/cargo"));
        let output = vendor.args(["vendor", "-q"]).current_dir(dir.join("app")).output().expect("cargo");
        fs::create_dir(dir.join("app/.cargo")).expect("our own directory");
        fs::write(dir.join("app/.cargo/config.toml"), output.stdout).expect("our own directory");
    };
    let rustup =
        std::env::var("RUSTUP_HOME").unwrap_or_else(|_| home.join("../.rustup").display().to_string());
    let script = format!(
        "export PATH={bin}:$PATH RUSTUP_HOME={rustup} CARGO_HOME=$PWD/home; cd app; cargo build --offline -q; target/debug/app; ls target/debug"
    );
    same("cargo", prepare, &script);
}
