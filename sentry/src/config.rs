//! What the launcher tells the sentry: one JSON document in a memfd. Byte strings (paths, arguments) need not be
//! UTF-8; they travel as text in which each character stands for the byte of its number.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use jail::Layers;

use policies::model::Syscalls;

/// A whole sandbox, resolved: no path here is relative, nothing is looked up any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SentryConfig {
    /// The command with its arguments; never empty. `argv[0]` is looked up in `PATH` of `env` unless it has a slash.
    #[serde(with = "byte_strings")]
    pub argv: Vec<Vec<u8>>,
    /// `KEY=VALUE` each.
    #[serde(with = "byte_strings")]
    pub env: Vec<Vec<u8>>,
    #[serde(with = "byte_string")]
    pub cwd: Vec<u8>,
    /// Whether `cwd` was asked for by `--cwd` (a missing one is then an error), or is the caller's.
    pub cwd_explicit: bool,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// The capabilities that the command may have at most, bit N for capability N; `None` narrows nothing.
    #[serde(default)]
    pub capabilities: Option<u64>,
    pub umask: u32,
    /// The priority that the command starts with (nice(2)).
    #[serde(default)]
    pub nice: i32,
    #[serde(with = "byte_string")]
    pub hostname: Vec<u8>,
    /// The first is the root, with `tree` 0 and `dest` "/"; later ones lie over earlier ones.
    pub mounts: Vec<Mount>,
    /// The rules on calls; `None` lets all be made.
    #[serde(default)]
    pub calls: Option<Syscalls>,
    /// Whether each refusal is to be described, and not only counted.
    #[serde(default)]
    pub describe_denials: bool,
    /// Whether there is no network at all, not even loopback.
    #[serde(default)]
    pub offline: bool,
    /// The way out through the net broker, where there is one.
    #[serde(default)]
    pub outside: Option<Outside>,
    /// Absolute guest paths that do not exist inside.
    #[serde(with = "byte_strings")]
    pub hide: Vec<Vec<u8>>,
    /// Signals (bit N-1 for signal N) that the caller ignores: the command starts with them ignored.
    pub ignored_signals: u64,
    /// Resource limits that the first process starts with (soft, hard), by resource number; `u64::MAX` is unlimited.
    pub rlimits: Vec<(u64, u64)>,
    /// What the whole sandbox may use.
    pub limits: Limits,
    /// Standard streams 0, 1, 2.
    pub streams: [Stream; 3],
    /// Whether the launcher's process group is in the foreground of its terminal.
    pub foreground: bool,
    /// Whether to list at the end what the run has changed.
    #[serde(default)]
    pub diff: bool,
    /// Processors that guests may use.
    pub cpus: usize,
    pub log: Log,
    pub layers: Layers,
    /// For those who work on the filters: name a refused call instead of dying.
    pub trap_refused_calls: bool,
    pub fds: Descriptors,
}

/// What the whole sandbox may use; what is `None` is as the machine gives it. Filled from the policy's `[limits]`, over
/// which the command line wins ([`Limits::or`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of all guest memory, files in memory included.
    pub memory: Option<u64>,
    /// Tasks (processes, threads, zombies) at a time.
    pub pids: Option<u64>,
    /// Processors.
    pub cpus: Option<u64>,
    /// Processor time of all guests together.
    pub cpu_time: Option<Duration>,
    /// Time on the clock; the launcher keeps it.
    pub timeout: Option<Duration>,
    /// Bytes of files that are written to the overlay and to tmpfs.
    pub disk: Option<u64>,
    /// Open files of one process: `RLIMIT_NOFILE`, which nobody inside can raise.
    pub open_files: Option<u64>,
}

impl Limits {
    /// These, and where they say nothing the others.
    #[must_use]
    pub fn or(self, other: Limits) -> Limits {
        Limits {
            memory: self.memory.or(other.memory),
            pids: self.pids.or(other.pids),
            cpus: self.cpus.or(other.cpus),
            cpu_time: self.cpu_time.or(other.cpu_time),
            timeout: self.timeout.or(other.timeout),
            disk: self.disk.or(other.disk),
            open_files: self.open_files.or(other.open_files),
        }
    }
}

/// One tree of the gofer in the guest's view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Which of the gofer's trees.
    pub tree: usize,
    /// Where it lies in the guest; absolute and normal.
    #[serde(with = "byte_string")]
    pub dest: Vec<u8>,
    pub mode: MountMode,
    /// The most bytes that an overlay or a tmpfs may take.
    #[serde(default)]
    pub size: Option<u64>,
}

/// How writes to a mount are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// `EROFS`.
    Ro,
    /// On the host, for real.
    Rw,
    /// Into a layer in the sentry's memory.
    Overlay,
    /// Into a layer in files without a name on disk.
    OverlayOnDisk,
    /// There is nothing but what is written, in the sentry's memory; no tree is looked at.
    Tmpfs,
}

/// What the sentry must know of the policy's allow-list, which is the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Whether addresses of the host's loopback are in it: they are asked for where nobody inside has the port.
    pub loopback: bool,
}

/// A standard stream as the caller left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The caller closed it: so it is for the command, whatever this process has there.
    Closed,
    Terminal,
    Other,
}

/// Our own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// -1 quiet, 0 normal, 1 and more with `-v`.
    pub verbosity: i8,
    pub json: bool,
}

/// Numbers of the descriptors that came with the process, to be taken with `jail::fds::take`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// The launcher's end: see [`crate::control`]. Its end of file means that the launcher is gone.
    pub control: i32,
    /// Connections to the gofer.
    pub gofer: Vec<i32>,
    /// Where `--trace` goes.
    pub trace: Option<i32>,
    /// `cgroup.procs` of the control groups that guests are to be in.
    pub joins: Vec<i32>,
    /// What that group uses of memory, and a text with `oom_kill N`, how many of it the host has killed. Without them,
    /// and with a limit, guests are held to what they map.
    pub memory: Option<(i32, i32)>,
    /// Where what was learnt goes, at the end.
    #[serde(default)]
    pub learnt: Option<i32>,
    /// Where the changes go as an archive, at the end.
    #[serde(default)]
    pub export: Option<i32>,
    /// The connection to the net broker.
    #[serde(default)]
    pub broker: Option<i32>,
    /// The host's `/proc/cpuinfo`, `meminfo`, `stat`, `loadavg`, read-only, by name.
    pub proc_files: Vec<(String, i32)>,
}

impl Descriptors {
    /// Every number in it.
    #[must_use]
    pub fn all(&self) -> Vec<i32> {
        let mut all = vec![self.control];
        all.extend(&self.gofer);
        all.extend(self.trace);
        all.extend(&self.joins);
        all.extend(self.memory.iter().flat_map(|(usage, kills)| [*usage, *kills]));
        all.extend(self.learnt);
        all.extend(self.export);
        all.extend(self.broker);
        all.extend(self.proc_files.iter().map(|(_, fd)| *fd));
        all
    }
}

/// A byte as the character of the same number, so that JSON can carry it.
pub(crate) mod byte_string {
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(super) fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| D::Error::custom("a character above 255 in a byte string"))
    }
}

mod byte_strings {
    use serde::{de::Error, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(strings: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(strings.iter().map(|bytes| super::byte_string::encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| super::byte_string::decode(text))
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("a character above 255 in a byte string"))
    }
}
