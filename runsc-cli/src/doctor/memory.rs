//! Control groups, and which limit a sandbox with `--memory` has here: found out by making one.

use jail::cgroup::{self, Version, Wanted};

use super::{Check, MemoryLimit, State};

const GIVES: &str = "the host itself holds guests to --memory, counting what they really use";
const WEAKNESS: &str = "memory is counted as it is mapped, used or not: programs that reserve much and use little get \
                        ENOMEM early, a fork pays for its copy at once, and each mapping asks first, which takes some \
                        microseconds";

/// The memory that the trial asks for.
const TRIAL: u64 = 64 << 20;

pub(super) fn checks() -> [Check; 2] {
    [
        check("cgroup-v2", "control groups, version 2", Version::Two),
        check("cgroup-v1", "control groups, version 1", Version::One),
    ]
}

fn check(id: &'static str, name: &'static str, version: Version) -> Check {
    let (state, detail) = match cgroup::make_in(version, &wanted()) {
        Ok(group) => (State::Present, format!("guests can be put below {}", group.parent.display())),
        Err(why) => (State::Missing, why),
    };
    let change = match state {
        State::Present => Vec::new(),
        _ => changes(version),
    };
    Check { id, name, state, detail, gives: GIVES, required: false, change }
}

fn wanted() -> Wanted {
    Wanted { memory: Some(TRIAL), pids: None }
}

fn changes(version: Version) -> Vec<String> {
    let root = nix::unistd::geteuid().is_root();
    match version {
        Version::Two if root => vec![
            "where cgroup.controllers has memory: echo '+memory +pids' >/sys/fs/cgroup/cgroup.subtree_control".to_owned(),
            "where version 1 has it: boot with cgroup_no_v1=all (or systemd.unified_cgroup_hierarchy=1)".to_owned(),
        ],
        Version::Two => vec![
            "systemd-run --user --scope -p Delegate=yes runsc do --memory SIZE -- COMMAND".to_owned(),
            "for services: Delegate=memory pids in the unit".to_owned(),
        ],
        Version::One if root => {
            vec!["mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory (only where version 2 is not in use)".to_owned()]
        }
        Version::One => vec![
            "as root: give this user a group of its own below /sys/fs/cgroup/memory (mkdir, chown -R), and start runsc in it"
                .to_owned(),
        ],
    }
}

/// What holds guests to `--memory` here.
pub(super) fn limit() -> MemoryLimit {
    let mut reasons = Vec::new();
    for (by, version) in [("cgroup-v2", Version::Two), ("cgroup-v1", Version::One)] {
        match cgroup::make_in(version, &wanted()) {
            Ok(group) => {
                let detail = format!(
                    "a control group of its own below {} (the limit of a shipped profile, which nobody asked for, \
                     by counting mappings)",
                    group.parent.display()
                );
                return MemoryLimit { by, detail, weakness: None, change: Vec::new() };
            }
            Err(why) => reasons.push(why),
        }
    }
    MemoryLimit {
        by: "mappings",
        detail: format!(
            "every mapping is asked about and counted, since there is no control group ({})",
            reasons.join("; ")
        ),
        weakness: Some(WEAKNESS),
        change: changes(Version::Two),
    }
}
