//! Limits: that they hold, for guests that respect the kernel's count and for those that go around it, that programs see
//! them and size themselves to them, and that nothing of them stays behind on the host. As the caller and as nobody, who
//! can rarely have a control group.

use std::fs;
use std::time::{Duration, Instant};

use runsc_tests::sandbox::{
    do_command_with, is_root, native_command, require_confinement, runnable, sibling,
};
use runsc_tests::{have, run, runsc, Outcome, Who};

const LIMIT: Duration = Duration::from_secs(60);

fn everyone() -> Vec<Who> {
    if is_root() {
        vec![Who::Caller, Who::Nobody]
    } else {
        vec![Who::Caller]
    }
}

fn inside(who: Who, options: &[&str], program: &[&str]) -> Outcome {
    run(do_command_with(who, options).args(program), LIMIT)
}

fn shell(who: Who, options: &[&str], script: &str) -> Outcome {
    inside(who, options, &["sh", "-c", script])
}

/// `runsc do` without `-q`, to read its messages.
fn loud(who: Who, options: &[&str], program: &[&str]) -> Outcome {
    let mut command = native_command(who, runnable(runsc(), who).as_os_str());
    run(command.arg("do").args(options).arg("--").args(program), LIMIT)
}

/// Numbers of a text, one a line.
fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|l| l.trim().parse().unwrap_or_else(|_| panic!("no number: {l:?} in {text}"))).collect()
}

/// Control groups of ours anywhere on this machine.
fn groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("runsc-") {
                    found.push(entry.path().display().to_string());
                }
                todo.push(entry.path());
            }
        }
    }
    found
}

/// Those of a launcher.
fn groups_of(pid: u32) -> Vec<String> {
    groups().into_iter().filter(|path| path.contains(&format!("runsc-{pid}-"))).collect()
}

#[test]
fn bad_limits_are_refused_before_anything_runs() {
    for (option, value) in [
        ("--memory", "lots"),
        ("--memory", "1K"),
        ("--pids", "0"),
        ("--cpus", "0.5"),
        ("--cpu-time", "soon"),
        ("--timeout", "-1"),
        ("--disk", "1Q"),
        ("--open-files", "0"),
        ("--hostname", ""),
        ("--user", "no-such-user-here"),
    ] {
        let outcome = inside(Who::Caller, &[&format!("{option}={value}")], &["echo", "ran"]);
        assert_eq!((outcome.code, outcome.out().as_str()), (Some(125), ""), "{option} {value}");
        assert!(outcome.err().contains(option), "{option} is not named: {}", outcome.err());
    }
}

#[test]
fn one_mapping_beyond_the_memory_is_refused() {
    for who in everyone() {
        let script = "try:\n  bytearray(300 << 20)\n  print('had')\nexcept MemoryError:\n  print('refused')";
        let outcome = inside(who, &["--memory", "96M"], &["python3", "-c", script]);
        assert_eq!(outcome.out(), "refused\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn memory_taken_in_small_steps_ends_at_the_limit() {
    for who in everyone() {
        let script = "l = []\ntry:\n  for i in range(300): l.append(b'x' * (1 << 20))\n  print('had all')\nexcept MemoryError:\n  l = None; print('refused')";
        let outcome = loud(who, &["--memory", "96M"], &["python3", "-c", script]);
        let killed = outcome.code == Some(137) && outcome.err().contains("out of memory: `python3`");
        assert!(killed || outcome.out() == "refused\n", "{who:?}: {}", outcome.text());
        assert_eq!(outcome.err().matches("out of memory").count(), usize::from(killed), "{}", outcome.text());
    }
}

#[test]
fn who_is_killed_for_memory_is_not_the_whole_sandbox() {
    for who in everyone() {
        let hog = "python3 -c 'l = [b\"x\" * (1 << 20) for i in range(300)]' 2>/dev/null";
        let outcome = shell(
            who,
            &["--memory", "96M"],
            &format!("{hog}; test $? -ne 0 && echo ended; ls / >/dev/null && echo fine"),
        );
        assert_eq!(outcome.out(), "ended\nfine\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn files_in_memory_count_as_memory() {
    for who in everyone() {
        let script = "cd /tmp && dd if=/dev/zero of=big bs=1M count=200 2>&1 | grep -c 'No space left'; test $(stat -c %s big) -le $((64 << 20)) && echo bounded";
        let outcome = shell(who, &["--memory", "64M"], script);
        assert_eq!(outcome.out(), "1\nbounded\n", "{who:?}: {}", outcome.text());
        // Stored into a mapping, which no write announces.
        let program = "import mmap, os\nf = open('/dev/shm/x', 'wb+')\ntry:\n  os.ftruncate(f.fileno(), 300 << 20)\n  m = mmap.mmap(f.fileno(), 300 << 20)\n  for i in range(0, 300 << 20, 4096): m[i] = 1\n  print('had')\nexcept (OSError, MemoryError):\n  print('refused')";
        let outcome = inside(who, &["--memory", "64M"], &["python3", "-c", program]);
        assert!(outcome.out() == "refused\n" || outcome.code == Some(137), "{who:?}: {}", outcome.text());
    }
}

#[test]
fn shared_memory_counts_as_memory() {
    for who in everyone() {
        let program = "import mmap\ntry:\n  m = mmap.mmap(-1, 300 << 20)\n  for i in range(0, 300 << 20, 4096): m[i] = 1\n  print('had')\nexcept (OSError, MemoryError):\n  print('refused')";
        let outcome = inside(who, &["--memory", "64M"], &["python3", "-c", program]);
        assert!(outcome.out() == "refused\n" || outcome.code == Some(137), "{who:?}: {}", outcome.text());
    }
}

#[test]
fn memory_behind_the_kernels_back_ends_at_the_limit_too() {
    require_confinement();
    for who in everyone() {
        let attack = runnable(&sibling("attack"), who);
        let attack = attack.to_str().expect("our own name");
        let outcome = inside(who, &["--memory", "64M"], &[attack, "stub_memory"]);
        let text = outcome.text();
        assert!(!text.contains("ESCAPED") && text.contains("site found"), "{who:?}: {text}");
        assert!(outcome.out().contains("alive true"), "{who:?}: the sandbox did not survive: {text}");
        for how in ["mmap: ", "shared mmap: refused", "mprotect: ", "mremap: "] {
            assert!(text.contains(how), "{who:?}: {how} was not tried: {text}");
        }
    }
}

#[test]
fn ordinary_programs_run_in_little_memory() {
    for who in everyone() {
        let script = "import subprocess, threading, multiprocessing\nts = [threading.Thread(target=lambda: sum(range(1000))) for _ in range(8)]\n[t.start() for t in ts]; [t.join() for t in ts]\nprint(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout, end='')";
        let outcome = inside(who, &["--memory", "128M"], &["python3", "-c", script]);
        assert_eq!(outcome.out(), "child\n", "{who:?}: {}", outcome.text());
        let outcome = shell(
            who,
            &["--memory", "64M"],
            "for i in 1 2 3 4 5; do (echo $i | cat) & done | sort | tr -d '\\n'; wait; echo",
        );
        assert_eq!(outcome.out(), "12345\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn memory_shows_as_the_limit() {
    for who in everyone() {
        let script = "awk '/^(MemTotal|SwapTotal):/ {print $2}' /proc/meminfo; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.swap.max; echo $(($(getconf _PHYS_PAGES) * 4096)); free -b | awk '/^Mem:/ {print $2}'; awk '/^MemAvailable:/ {print $2 * 1024}' /proc/meminfo; cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory.peak";
        let outcome = shell(who, &["--memory", "300M"], script);
        let seen = numbers(&outcome.out());
        assert_eq!(
            seen[..6],
            [300 << 10, 0, 300 << 20, 0, 300 << 20, 300 << 20],
            "{who:?}: {}",
            outcome.text()
        );
        let [available, current, peak] = seen[6..] else { panic!("{}", outcome.text()) };
        assert!(available <= 300 << 20 && available > 200 << 20, "{available}");
        assert!(current > 0 && current < 100 << 20 && peak >= current.min(peak), "{current} {peak}");
    }
    let outcome = shell(
        Who::Caller,
        &[],
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max",
    );
    // The default profile has a limit on processes.
    assert_eq!(outcome.out(), "max\n4096\nmax 100000\n", "{}", outcome.text());
}

#[test]
fn memory_in_use_shows() {
    for who in everyone() {
        let script = "x = bytearray(100 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nprint(int(open('/sys/fs/cgroup/memory.current').read()))\nprint(int([l for l in open('/proc/meminfo') if l.startswith('MemFree')][0].split()[1]) << 10)";
        let outcome = inside(who, &["--memory", "300M"], &["python3", "-c", script]);
        let seen = numbers(&outcome.out());
        assert!(seen[0] >= 100 << 20 && seen[0] < 300 << 20 && seen[1] <= 200 << 20, "{who:?}: {seen:?}");
    }
}

#[test]
fn tasks_end_at_the_limit() {
    for who in everyone() {
        let script = "import os, threading, time\nn = 0\ntry:\n  while n < 100:\n    if os.fork() == 0: time.sleep(30); os._exit(0)\n    n += 1\nexcept BlockingIOError: pass\nprint(n)\nprint(int(open('/sys/fs/cgroup/pids.current').read()))\nprint(int(open('/sys/fs/cgroup/pids.max').read()))\nprint(int(open('/sys/fs/cgroup/pids.events').read().split()[1]))\ntry: threading.Thread(target=print).start(); print('thread')\nexcept RuntimeError: print(0)";
        let outcome = inside(who, &["--pids", "20"], &["python3", "-c", script]);
        assert_eq!(numbers(&outcome.out()), [19, 20, 20, 1, 0], "{who:?}: {}", outcome.text());
    }
}

#[test]
fn those_that_nobody_waited_for_count() {
    let script = "import os\nn = 0\ntry:\n  while n < 100:\n    if os.fork() == 0: os._exit(0)\n    n += 1\nexcept BlockingIOError: pass\nprint(n)\nos.wait()\nprint(1 if os.fork() else '')";
    let outcome = inside(Who::Caller, &["--pids", "10"], &["python3", "-c", script]);
    assert_eq!(outcome.out().lines().next(), Some("9"), "{}", outcome.text());
}

#[test]
fn a_fork_bomb_ends() {
    require_confinement();
    for who in everyone() {
        let script = "b() { b | b & }; b 2>/dev/null; sleep 1; echo alive";
        let outcome = inside(who, &["--pids", "50", "--timeout", "20s"], &["bash", "-c", script]);
        assert!(matches!(outcome.code, Some(0 | 1 | 124 | 254)), "{who:?}: {}", outcome.text());
    }
}

#[test]
fn processors_show_as_the_limit() {
    for who in everyone() {
        let script = "nproc; getconf _NPROCESSORS_ONLN; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l; python3 -c 'import os; print(os.cpu_count()); print(len(os.sched_getaffinity(0)))'";
        let outcome = shell(who, &["--cpus", "1"], script);
        assert_eq!(numbers(&outcome.out()), [1; 7], "{who:?}: {}", outcome.text());
        let outcome =
            shell(who, &["--cpus", "1"], "cat /sys/fs/cgroup/cpu.max /sys/devices/system/cpu/online");
        assert_eq!(outcome.out(), "100000 100000\n0\n", "{who:?}");
    }
}

#[test]
fn processors_are_held_to_the_limit() {
    // Two busy loops of which one processor does half each: together they use no more time than passes.
    let script = "import os, time\nt = time.time()\nfor _ in range(3):\n  if os.fork() == 0:\n    while time.time() - t < 1: pass\n    os._exit(0)\nfor _ in range(3): os.wait()\nc = os.times()\nprint(int((c.children_user + c.children_system) * 1000)); print(int((time.time() - t) * 1000))";
    for who in everyone() {
        let outcome = inside(who, &["--cpus", "1"], &["python3", "-c", script]);
        let seen = numbers(&outcome.out());
        assert!(seen[0] <= seen[1] * 5 / 4, "{who:?}: {} ms of processor time in {} ms", seen[0], seen[1]);
    }
}

#[test]
fn processor_time_ends_the_command() {
    for who in everyone() {
        let started = Instant::now();
        let outcome = loud(who, &["--cpu-time", "700ms"], &["sh", "-c", "while :; do :; done"]);
        assert_eq!(outcome.code, Some(128 + 24), "{who:?}: {}", outcome.text());
        assert!(outcome.err().contains("--cpu-time"), "{who:?}: {}", outcome.text());
        assert!(started.elapsed() < Duration::from_secs(30));
        // All of them together, though each is short.
        let script = "while :; do sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done";
        let outcome = shell(who, &["--cpu-time", "700ms", "--timeout", "40s"], script);
        assert_eq!(outcome.code, Some(152), "{who:?}: {}", outcome.text());
        // A handler has a second, not for ever.
        let outcome = shell(
            who,
            &["--cpu-time", "700ms", "--timeout", "40s"],
            "trap 'echo told' XCPU; while :; do :; done",
        );
        assert!(outcome.out().starts_with("told"), "{who:?}: {}", outcome.text());
        assert_eq!(outcome.code, Some(152), "{who:?}: {}", outcome.text());
        // Sleeping costs nothing.
        let outcome = shell(who, &["--cpu-time", "2s"], "sleep 2.5; echo slept");
        assert_eq!(outcome.out(), "slept\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn time_on_the_clock_ends_the_command() {
    let dir = runsc_tests::TempDir::new();
    let status = dir.join("status");
    let script = format!(
        "exec 5>'{}'; '{}' do -q --timeout 500ms --status-fd 5 -- sh -c 'trap \"echo told; exit 3\" TERM; sleep 30 & wait'",
        status.display(),
        runsc().display()
    );
    let outcome = run(std::process::Command::new("sh").args(["-c", &script]), LIMIT);
    assert_eq!((outcome.code, outcome.out().as_str()), (Some(124), "told\n"), "{}", outcome.text());
    let line = fs::read_to_string(&status).unwrap_or_default();
    assert!(line.contains("\"outcome\":\"timeout\"") && line.contains("124"), "{line}");
    // Who does not listen is killed after some seconds.
    for who in everyone() {
        let started = Instant::now();
        let outcome = shell(who, &["--timeout", "300ms"], "trap '' TERM; while :; do sleep 0.1; done");
        assert_eq!(outcome.code, Some(124), "{who:?}: {}", outcome.text());
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn written_files_end_at_the_limit() {
    for who in everyone() {
        let script = "cd /var/tmp; dd if=/dev/zero of=x bs=64k count=300 2>/dev/null; stat -c %s x; df -B1 --output=size,avail . | tail -1 | tr -s ' ' '\\n' | grep .; dd if=/dev/zero of=/dev/shm/y bs=64k count=300 2>/dev/null; stat -c %s /dev/shm/y; rm x; dd if=/dev/zero of=z bs=64k count=40 2>/dev/null; stat -c %s z";
        let outcome = shell(who, &["--disk", "8M"], script);
        let seen = numbers(&outcome.out());
        let [x, size, avail, y, z] = seen[..] else { panic!("{}", outcome.text()) };
        assert!((7 << 20..=8 << 20).contains(&x), "{who:?}: {x}");
        assert_eq!((size, avail), (8 << 20, 0), "{who:?}");
        assert!(y < 1 << 20, "{who:?}: both together have one limit: {y}");
        assert_eq!(z, 40 << 16, "{who:?}: what was removed can be used again");
        // Copying a file up is writing, too.
        let outcome = shell(who, &["--disk", "1M"], "cp /bin/bash /tmp/b 2>&1 | grep -c 'No space left'");
        assert_eq!(outcome.out(), "1\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn open_files_end_at_the_limit() {
    for who in everyone() {
        let script = "ulimit -n; ulimit -Hn; cat /proc/sys/fs/nr_open; (ulimit -n 100) 2>/dev/null || echo 0; python3 -c '\nl = []\ntry:\n  while len(l) < 1000: l.append(open(\"/dev/null\"))\nexcept OSError as e: print(e.errno)\nprint(len(l) + 3)'";
        let outcome = shell(who, &["--open-files", "40"], script);
        assert_eq!(numbers(&outcome.out()), [40, 40, 40, 0, 24, 40], "{who:?}: {}", outcome.text());
    }
}

#[test]
fn name_and_identity() {
    for who in everyone() {
        let options = ["--hostname", "some-box", "--user", "1234:567"];
        let outcome =
            shell(who, &options, "hostname; uname -n; cat /proc/sys/kernel/hostname; id -u; id -g; id -G");
        assert_eq!(
            outcome.out(),
            "some-box\nsome-box\nsome-box\n1234\n567\n567\n",
            "{who:?}: {}",
            outcome.text()
        );
        let outcome = shell(who, &["--user", "0"], "id -u; echo x >/etc/motd && echo wrote");
        assert_eq!(outcome.out(), "0\nwrote\n", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn the_control_group_reads_as_one() {
    for who in everyone() {
        let script = "cat /proc/self/cgroup; grep -c ' /sys/fs/cgroup .* cgroup2 ' /proc/self/mountinfo; stat -f -c %t /sys/fs/cgroup; grep -o memory /sys/fs/cgroup/cgroup.controllers; grep -c memory /proc/cgroups; grep -c . /sys/fs/cgroup/cgroup.procs; ls /sys/fs/cgroup | wc -l; (echo 1 >/sys/fs/cgroup/memory.max) 2>/dev/null || echo kept";
        let outcome = shell(who, &["--memory", "200M"], script);
        let text = outcome.out();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..5], ["0::/", "1", "63677270", "memory", "1"], "{who:?}: {}", outcome.text());
        assert!(
            lines[5].parse::<u32>().is_ok_and(|n| n >= 1) && lines[6].parse::<u32>().is_ok_and(|n| n > 20)
        );
        assert_eq!(lines[7], "kept", "{who:?}: {}", outcome.text());
    }
}

#[test]
fn node_sizes_itself_to_the_sandbox() {
    if !have("node") {
        return;
    }
    let script = "const os = require('os'); console.log(os.totalmem()); console.log(os.cpus().length); console.log(process.constrainedMemory ? process.constrainedMemory() : 536870912); console.log(require('v8').getHeapStatistics().heap_size_limit)";
    for who in everyone() {
        let outcome = inside(who, &["--memory", "512M", "--cpus", "1"], &["node", "-e", script]);
        let seen = numbers(&outcome.out());
        assert_eq!(seen[..3], [512 << 20, 1, 512 << 20], "{who:?}: {}", outcome.text());
        assert!(seen[3] <= 512 << 20, "{who:?}: a heap of {} in 512 MiB", seen[3]);
    }
}

#[test]
fn java_sizes_itself_to_the_sandbox() {
    if !have("java") {
        return;
    }
    for who in everyone() {
        let options = ["--memory", "512M", "--cpus", "1"];
        let outcome = inside(who, &options, &["java", "-XX:+PrintFlagsFinal", "-version"]);
        let text = outcome.out();
        let flag = |name: &str| {
            let line = text.lines().find(|l| l.split_whitespace().nth(1) == Some(name));
            line.and_then(|l| l.split_whitespace().nth(3)?.parse::<u64>().ok())
        };
        // A quarter of the memory, and half of little.
        let heap = flag("MaxHeapSize");
        assert!(heap.is_some_and(|h| h <= 256 << 20), "{who:?}: {heap:?} {}", outcome.err());
        assert_eq!(outcome.code, Some(0), "{who:?}: {}", outcome.err());
    }
}

#[test]
fn a_missing_group_of_the_host_is_no_obstacle_and_is_told() {
    if !is_root() {
        return;
    }
    let outcome = loud(Who::Nobody, &["-v", "--memory", "64M"], &["true"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    assert!(outcome.err().contains("no control group") || outcome.err().is_empty(), "{}", outcome.text());
}

#[test]
fn nothing_of_a_group_stays() {
    let mut command = do_command_with(Who::Caller, &["--memory", "64M", "--pids", "30"]);
    let mut child =
        command.args(["sleep", "60"]).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let until = Instant::now() + Duration::from_secs(10);
    let made = loop {
        let made = groups_of(child.id());
        if !made.is_empty() || Instant::now() > until {
            break made;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if made.is_empty() {
        runsc_tests::skip("no control group to be had");
    }
    std::thread::sleep(Duration::from_millis(300));
    for group in &made {
        let procs = fs::read_to_string(format!("{group}/cgroup.procs")).unwrap_or_default();
        assert!(procs.lines().count() >= 2, "the guests are not in {group}: {procs:?}");
        // Our own processes are not held to the guests' limit.
        for pid in procs.lines() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            assert!(!name.starts_with("runsc"), "{name} is in {group}");
        }
    }
    // Who removes it can do that and no more.
    if !made.is_empty() {
        let own = format!("/proc/{0}/task/{0}/children", child.id());
        let children = fs::read_to_string(own).unwrap_or_default();
        let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let cleaner = children.split_whitespace().find(|pid| status(pid).contains("Name:\trunsc-cleaner"));
        let cleaner = cleaner.unwrap_or_else(|| panic!("no cleaner among {children}"));
        let field = |name: &str| {
            let text = status(cleaner);
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').trim().to_owned()
        };
        assert_eq!((field("Seccomp").as_str(), field("NoNewPrivs").as_str()), ("2", "1"));
        let capabilities = u64::from_str_radix(&field("CapPrm"), 16).expect("a mask");
        assert_eq!(capabilities & !0b10, 0, "more than CAP_DAC_OVERRIDE: {capabilities:x}");
        let files = fs::read_dir(format!("/proc/{cleaner}/fd")).map_or(0, Iterator::count);
        assert!(files <= 1 + made.len(), "{files} descriptors");
    }
    // The worst end: the launcher is killed, and can do nothing about it.
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    let until = Instant::now() + Duration::from_secs(15);
    while !groups_of(child.id()).is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(groups_of(child.id()).is_empty(), "left behind: {:?}", groups_of(child.id()));
    // The usual one.
    let mut child = do_command_with(Who::Caller, &["--memory", "64M"]).arg("true").spawn().expect("starts");
    let id = child.id();
    assert!(child.wait().expect("our own child").success());
    assert!(groups_of(id).is_empty(), "left behind: {:?}", groups_of(id));
}
