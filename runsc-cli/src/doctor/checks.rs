//! The looks at the machine, one function each.

use std::fs;
use std::io;

use jail::{probe, Layer};

use super::settings::{number, set, sysctl};
use super::{memory, Check, State};

/// Fewer watches than this, and the gofer soon asks instead of being told.
const FEW_INSTANCES: i64 = 16;
const FEW_WATCHES: i64 = 8192;
/// The version of Landlock that also keeps processes from signalling out of their domain.
const LANDLOCK_SCOPES: i64 = 6;

/// All of them, what everything rests on first.
pub(super) fn all() -> Vec<Check> {
    let mut all = vec![seccomp(), user_notification()];
    all.extend(child_access());
    all.push(fsgsbase());
    all.extend(namespaces());
    all.extend(restrictions());
    all.push(landlock());
    all.extend(memory::checks());
    all.push(inotify());
    all
}

fn check(
    id: &'static str,
    name: &'static str,
    gives: &'static str,
    found: io::Result<String>,
    change: &[&str],
) -> Check {
    let (state, detail) = match found {
        Ok(detail) => (State::Present, detail),
        Err(error) => (State::Missing, error.to_string()),
    };
    let change = match state {
        State::Present => Vec::new(),
        _ => change.iter().map(|&c| c.to_owned()).collect(),
    };
    Check { id, name, state, detail, gives, required: false, change }
}

fn seccomp() -> Check {
    let found = probe::seccomp().map(|()| "filters of calls can be installed".to_owned());
    let gives = "guests are caught by it, and our own processes confined";
    let change = ["a kernel with CONFIG_SECCOMP_FILTER=y"];
    Check { required: true, ..check("seccomp", "seccomp", gives, found, &change) }
}

fn user_notification() -> Check {
    let gives = "a guest's call reaches the sentry";
    let found = probe::user_notification();
    let sync = matches!(found, Ok(true));
    let busy = matches!(&found, Err(error) if error.raw_os_error() == Some(libc::EBUSY));
    let changes: &[&str] = if busy {
        &["run outside of the supervisor that already listens here (a container with user-notify, another runsc)"]
    } else {
        &["Linux 5.5 or later, and a container profile that allows seccomp(2)"]
    };
    let found = found.map(|sync| {
        if sync {
            "with wake-up on the same processor".to_owned()
        } else {
            "without wake-up on the same processor: calls are slower".to_owned()
        }
    });
    let mut check = check("user-notify", "user notification", gives, found, changes);
    check.required = true;
    if check.state == State::Present && !sync {
        check.state = State::Limited;
        check.change = vec!["Linux 6.6 or later".to_owned()];
    }
    check
}

fn child_access() -> Vec<Check> {
    let change = match number("kernel.yama.ptrace_scope") {
        Some(scope) if scope > 1 => vec![set("kernel.yama.ptrace_scope", "1")],
        _ => vec![
            "a container profile that allows process_vm_readv(2), process_vm_writev(2) and pidfd_getfd(2)"
                .to_owned(),
        ],
    };
    let change: Vec<&str> = change.iter().map(String::as_str).collect();
    let (memory, descriptor) = match probe::child_access() {
        Ok(access) => (access.memory, access.descriptor),
        Err(error) => (Err(io::Error::other(error.to_string())), Err(error)),
    };
    let memory = memory.map(|()| "of a child can be read and written".to_owned());
    let descriptor = descriptor.map(|()| "can be taken out of a child".to_owned());
    vec![
        Check {
            required: true,
            ..check(
                "process-vm",
                "memory (process_vm_*)",
                "the sentry reads what a call did not bring along",
                memory,
                &change,
            )
        },
        Check {
            required: true,
            ..check(
                "pidfd-getfd",
                "descriptors (pidfd_getfd)",
                "the sentry takes the listener of its guests",
                descriptor,
                &change,
            )
        },
    ]
}

fn fsgsbase() -> Check {
    let gives = "thread pointers are set without a call of the kernel";
    let found = if probe::fsgsbase() {
        Ok("may be used by programs".to_owned())
    } else {
        Err(io::Error::other("not offered: the slower calls are used"))
    };
    let change = ["Linux 5.9 or later on a processor that has it, without `nofsgsbase`"];
    check("fsgsbase", "FSGSBASE instructions", gives, found, &change)
}

/// Each kind, tried in a child.
fn namespaces() -> Vec<Check> {
    const KINDS: [(Layer, &str, &str); 6] = [
        (
            Layer::UserNamespace,
            "user-namespace",
            "an ordinary user can have all the others, and root's sentry a stranger's identity",
        ),
        (
            Layer::PidNamespace,
            "pid-namespace",
            "guests cannot name a process of the host, and all end with the sandbox",
        ),
        (
            Layer::MountNamespace,
            "mount-namespace",
            "the sentry has an empty root: no file of the host can be named",
        ),
        (
            Layer::NetworkNamespace,
            "network-namespace",
            "the sentry and the guests have no network of the host",
        ),
        (Layer::IpcNamespace, "ipc-namespace", "no shared memory or queue of the host can be named"),
        (Layer::UtsNamespace, "uts-namespace", "the host's name cannot be changed"),
    ];
    let found = probe::namespaces();
    let changes = user_namespace_changes();
    KINDS
        .into_iter()
        .map(|(layer, id, gives)| {
            let why = found
                .missing
                .iter()
                .find(|missing| missing.layer == layer)
                .map(|missing| missing.why.clone());
            let result = match why {
                None => Ok("can be made".to_owned()),
                Some(why) => Err(io::Error::other(why)),
            };
            let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
            check(id, layer.name(), gives, result, &changes)
        })
        .collect()
}

/// What stands in the way of user namespaces, as far as settings tell.
fn user_namespace_changes() -> Vec<String> {
    let mut changes = Vec::new();
    if number("user.max_user_namespaces") == Some(0) {
        changes.push(set("user.max_user_namespaces", "15000"));
    }
    if number("kernel.unprivileged_userns_clone") == Some(0) {
        changes.push(set("kernel.unprivileged_userns_clone", "1"));
    }
    if number("kernel.apparmor_restrict_unprivileged_userns") == Some(1) {
        changes.push(profile());
        changes.push(format!(
            "or for all programs: {}",
            set("kernel.apparmor_restrict_unprivileged_userns", "0")
        ));
    }
    if changes.is_empty() {
        changes.push("in a container: a profile that allows unshare(2) and clone(2) with namespaces (docker: --security-opt seccomp=unconfined)".to_owned());
    }
    changes
}

/// An AppArmor profile that lets this program, and no other, make user namespaces.
fn profile() -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "/usr/local/bin/runsc".to_owned(), |p| p.display().to_string());
    format!(
        "write /etc/apparmor.d/runsc: `abi <abi/4.0>, include <tunables/global> profile runsc {program} flags=(unconfined) {{ userns, }}`, \
         then apparmor_parser -r /etc/apparmor.d/runsc"
    )
}

/// Settings that bind ordinary users.
fn restrictions() -> Vec<Check> {
    let mut all = Vec::new();
    let gives = "ordinary users may make user namespaces";
    let named = [
        ("user.max_user_namespaces", "max-user-namespaces", "15000", 0),
        ("kernel.unprivileged_userns_clone", "unprivileged-userns-clone", "1", 0),
        ("kernel.apparmor_restrict_unprivileged_userns", "apparmor-userns", "0", 1),
    ];
    for (name, id, good, bad) in named {
        let found = match number(name) {
            None => Ok("not a setting of this kernel: nothing in the way".to_owned()),
            Some(value) if value == bad => Err(io::Error::other(format!("is {value}"))),
            Some(value) => Ok(format!("is {value}")),
        };
        let mut change = vec![set(name, good)];
        if id == "apparmor-userns" {
            change.insert(0, profile());
        }
        let change: Vec<&str> = change.iter().map(String::as_str).collect();
        all.push(check(id, name, gives, found, &change));
    }
    let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let apparmor = if apparmor.is_ok_and(|text| text.trim() == "Y") { "on" } else { "off" };
    let scope = sysctl("kernel.yama.ptrace_scope");
    let detail = format!("AppArmor {apparmor}, ptrace scope {}", scope.as_deref().unwrap_or("not a setting"));
    let narrow = scope.and_then(|scope| scope.parse().ok()).is_some_and(|scope: i32| scope > 1);
    let found = if narrow { Err(io::Error::other(detail)) } else { Ok(detail) };
    let change = set("kernel.yama.ptrace_scope", "1");
    let gives = "the sentry may look into its own guests";
    all.push(check("security-modules", "security modules", gives, found, &[&change]));
    all
}

fn landlock() -> Check {
    let gives = "our own processes can open no file, and signal nobody outside, even if they are taken over";
    let version = probe::landlock();
    let few = matches!(version, Ok(version) if version < LANDLOCK_SCOPES);
    let found = version.map(|version| format!("version {version} of its interface"));
    let change =
        ["add `landlock` to the kernel's lsm= list (and CONFIG_SECURITY_LANDLOCK=y, Linux 5.13 or later)"];
    let mut check = check("landlock", "Landlock", gives, found, &change);
    if few {
        check.state = State::Limited;
        check.detail.push_str(": signals and abstract sockets are not covered");
        check.change = vec!["Linux 6.12 or later".to_owned()];
    }
    check
}

fn inotify() -> Check {
    let gives = "changes on the host show inside at once, not after a second";
    let (instances, watches) =
        (number("fs.inotify.max_user_instances"), number("fs.inotify.max_user_watches"));
    let detail = format!(
        "{} instances and {} watches for this user",
        instances.map_or("?".to_owned(), |n| n.to_string()),
        watches.map_or("?".to_owned(), |n| n.to_string())
    );
    let found = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC)
        .map(|_| detail.clone())
        .map_err(|error| io::Error::other(format!("{error}; {detail}")));
    let more = [set("fs.inotify.max_user_instances", "512"), set("fs.inotify.max_user_watches", "524288")];
    let change: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut check = check("inotify", "file notices (inotify)", gives, found, &change);
    let few = instances.is_some_and(|n| n < FEW_INSTANCES) || watches.is_some_and(|n| n < FEW_WATCHES);
    if check.state == State::Present && few {
        check.state = State::Limited;
        check.change = more.to_vec();
    }
    check
}
