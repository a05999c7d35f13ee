//! The sections of a policy but `[syscalls]`. All that is absent means that the file does not say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Located, Origin, Word};

/// A path of the host: as written, and with `~` and the file's directory put in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPath {
    pub text: String,
    /// Absolute, and without `.` and `..`.
    pub path: PathBuf,
}

/// `[files]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The directory that becomes `/`. Absent: the host's.
    pub root: Option<Located<HostPath>>,
    /// Where writes go. Absent: memory.
    pub overlay: Option<Located<Overlay>>,
    /// Paths that do not exist inside. Adds up over a chain of files.
    pub hide: Vec<Located<HostPath>>,
    /// `[[files.mount]]`. Adds up over a chain of files; a later one at the same place replaces an earlier one.
    pub mounts: Vec<Mount>,
}

/// Where writes to the root go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// In memory, and gone afterwards.
    Memory,
    /// On disk.
    Disk,
    /// Nowhere: the root is read-only.
    None,
}

impl Word for Overlay {
    const WORDS: &'static [(&'static str, Self)] =
        &[("memory", Overlay::Memory), ("disk", Overlay::Disk), ("none", Overlay::None)];
}

/// `[[files.mount]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The host's path; none for a tmpfs only.
    pub source: Option<Located<HostPath>>,
    /// The place inside: absolute, without `.` and `..`. Absent in the file: where the source is.
    pub at: Located<PathBuf>,
    pub mode: Located<MountMode>,
    /// In bytes; for tmpfs and overlay.
    pub size: Option<Located<u64>>,
    pub origin: Origin,
}

/// How a mount is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// Read-only.
    Ro,
    /// Writable for real.
    Rw,
    /// A file system in memory, empty at first.
    Tmpfs,
    /// Writable inside; what is written is gone afterwards.
    Overlay,
}

impl Word for MountMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ro", MountMode::Ro),
        ("rw", MountMode::Rw),
        ("tmpfs", MountMode::Tmpfs),
        ("overlay", MountMode::Overlay),
    ];
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Absent: loopback.
    pub mode: Option<Located<NetworkMode>>,
    /// What may be reached outside. Adds up.
    pub allow: Vec<Located<Destination>>,
    /// Ports of the host that lead inside. Adds up.
    pub publish: Vec<Located<Publish>>,
}

/// What there is of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// No network, not even a loopback.
    None,
    /// A loopback of the sandbox's own.
    Loopback,
    /// The host's network.
    Host,
}

impl Word for NetworkMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", NetworkMode::None), ("loopback", NetworkMode::Loopback), ("host", NetworkMode::Host)];
}

/// `HOST[:PORT]` or `CIDR[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub host: DestinationHost,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationHost {
    Name(String),
    /// An address and how many of its bits count.
    Net(IpAddr, u8),
}

/// `[ADDR:]HOSTPORT:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub address: Option<IpAddr>,
    pub host_port: u16,
    pub port: u16,
}

/// `[limits]`; absent: no limit but the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<Located<u64>>,
    pub pids: Option<Located<u64>>,
    pub cpus: Option<Located<u64>>,
    pub cpu_time: Option<Located<Duration>>,
    pub timeout: Option<Located<Duration>>,
    /// Bytes.
    pub disk: Option<Located<u64>>,
    pub open_files: Option<Located<u64>>,
}

/// `[env]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Env {
    /// Whether only what `pass` and `set` name gets in. Absent: false.
    pub clear: Option<Located<bool>>,
    /// Adds up.
    pub pass: Vec<Located<String>>,
    /// Later wins, by name.
    pub set: BTreeMap<String, Located<String>>,
}

/// `[process]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `UID[:GID]`, by number or by the host's names.
    pub user: Option<Located<String>>,
    pub hostname: Option<Located<String>>,
    /// Inside; absolute.
    pub cwd: Option<Located<PathBuf>>,
    /// Names such as `CAP_CHOWN`. Absent: all for uid 0, none otherwise. Later wins as a whole.
    pub capabilities: Option<Located<Vec<String>>>,
}

/// `[ci]`; `runsc do` does not look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ci {
    /// Paths or patterns of what is kept after the run. Adds up.
    pub artifacts: Vec<Located<String>>,
    /// `PATH[:rw]`. Adds up.
    pub cache: Vec<Located<Cache>>,
    /// Absent: never.
    pub fail_on: Option<Located<FailOn>>,
}

/// A directory that runs share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub path: HostPath,
    /// Whether the job's writes are kept.
    pub keep: bool,
}

/// What makes a job fail that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailOn {
    /// The job's own exit code counts.
    Never,
    /// A job that was refused something fails.
    Violation,
}

impl Word for FailOn {
    const WORDS: &'static [(&'static str, Self)] =
        &[("never", FailOn::Never), ("violation", FailOn::Violation)];
}
