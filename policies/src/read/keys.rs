//! The keys of each table of a policy file.

/// A table and its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// As it is written in a message.
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [&'static str],
}

pub(crate) const TOP: Table = Table {
    name: "a policy",
    keys: &["description", "extends", "syscalls", "files", "network", "limits", "env", "process", "ci"],
};
pub(crate) const SYSCALLS: Table =
    Table { name: "[syscalls]", keys: &["default", "default-errno", "groups", "rule"] };
pub(crate) const RULE: Table =
    Table { name: "[[syscalls.rule]]", keys: &["names", "when", "action", "errno"] };
pub(crate) const FILES: Table = Table { name: "[files]", keys: &["root", "overlay", "hide", "mount"] };
pub(crate) const MOUNT: Table = Table { name: "[[files.mount]]", keys: &["source", "at", "mode", "size"] };
pub(crate) const NETWORK: Table = Table { name: "[network]", keys: &["mode", "allow", "publish"] };
pub(crate) const LIMITS: Table = Table {
    name: "[limits]",
    keys: &["memory", "pids", "cpus", "cpu-time", "timeout", "disk", "open-files"],
};
pub(crate) const ENV: Table = Table { name: "[env]", keys: &["clear", "pass", "set"] };
pub(crate) const PROCESS: Table =
    Table { name: "[process]", keys: &["user", "hostname", "cwd", "capabilities"] };
pub(crate) const CI: Table = Table { name: "[ci]", keys: &["artifacts", "cache", "fail-on"] };

/// All tables whose keys are fixed.
pub(crate) const ALL: &[Table] = &[TOP, SYSCALLS, RULE, FILES, MOUNT, NETWORK, LIMITS, ENV, PROCESS, CI];
