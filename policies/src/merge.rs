//! Joins the files of a chain: what a later one says wins.
//!
//! Single values: the later one. Lists add up, what stands there already is not added again. Tables (`groups`, `set`,
//! mounts by their place): by key. Rules: the later file's come first, since the first match wins.

use std::collections::HashSet;

use crate::model::{Env, Files, Limits, Located, Network, Policy, Process, Syscalls};

/// Lays a later file over what came before.
pub(crate) fn over(base: Policy, later: Policy) -> Policy {
    let mut sources = later.sources;
    sources.extend(base.sources);
    Policy {
        description: later.description.or(base.description),
        sources,
        syscalls: syscalls(base.syscalls, later.syscalls),
        files: files(base.files, later.files),
        network: Network {
            mode: later.network.mode.or(base.network.mode),
            allow: both(base.network.allow, later.network.allow),
            publish: both(base.network.publish, later.network.publish),
        },
        limits: limits(base.limits, later.limits),
        env: env(base.env, later.env),
        process: Process {
            user: later.process.user.or(base.process.user),
            hostname: later.process.hostname.or(base.process.hostname),
            cwd: later.process.cwd.or(base.process.cwd),
            capabilities: later.process.capabilities.or(base.process.capabilities),
        },
        ci: crate::model::Ci {
            artifacts: both(base.ci.artifacts, later.ci.artifacts),
            cache: both(base.ci.cache, later.ci.cache),
            fail_on: later.ci.fail_on.or(base.ci.fail_on),
        },
    }
}

fn syscalls(base: Syscalls, later: Syscalls) -> Syscalls {
    let mut groups = base.groups;
    groups.extend(later.groups);
    let mut rules = later.rules;
    rules.extend(base.rules);
    Syscalls {
        default: later.default.or(base.default),
        default_errno: later.default_errno.or(base.default_errno),
        groups,
        rules,
    }
}

fn files(base: Files, later: Files) -> Files {
    let replaced: HashSet<_> = later.mounts.iter().map(|mount| mount.at.value.as_path()).collect();
    let kept = base.mounts.into_iter().filter(|mount| !replaced.contains(mount.at.value.as_path()));
    let mut mounts: Vec<_> = kept.collect();
    drop(replaced);
    mounts.extend(later.mounts);
    Files {
        root: later.root.or(base.root),
        overlay: later.overlay.or(base.overlay),
        hide: both(base.hide, later.hide),
        mounts,
    }
}

fn limits(base: Limits, later: Limits) -> Limits {
    Limits {
        memory: later.memory.or(base.memory),
        pids: later.pids.or(base.pids),
        cpus: later.cpus.or(base.cpus),
        cpu_time: later.cpu_time.or(base.cpu_time),
        timeout: later.timeout.or(base.timeout),
        disk: later.disk.or(base.disk),
        open_files: later.open_files.or(base.open_files),
    }
}

fn env(base: Env, later: Env) -> Env {
    let mut set = base.set;
    set.extend(later.set);
    Env { clear: later.clear.or(base.clear), pass: both(base.pass, later.pass), set }
}

/// The longest list in which a value is looked for before it is added: beyond it, one more copy costs less.
const LONGEST_COMPARED: usize = 1000;

fn both<T: PartialEq>(mut base: Vec<Located<T>>, later: Vec<Located<T>>) -> Vec<Located<T>> {
    for item in later {
        let compared = base.len() <= LONGEST_COMPARED;
        if !(compared && base.iter().any(|known| known.value == item.value)) {
            base.push(item);
        }
    }
    base
}
