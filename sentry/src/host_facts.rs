//! What guests may know of the machine: processors, memory, load, release. Read through descriptors of the host's `/proc`
//! that the launcher opened, since the sentry opens nothing by path.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use crate::mm::account;

/// The most that is read of one file.
const MAX: usize = 1 << 20;

/// The facts, with the descriptors of those that change.
pub struct HostFacts {
    files: Vec<(String, OwnedFd)>,
    /// The host's release and version (uname(2)).
    pub release: String,
    pub version: String,
}

/// A sandbox's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub total: u64,
    pub used: u64,
}

static FACTS: OnceLock<HostFacts> = OnceLock::new();

/// Keeps the descriptors of `/proc/NAME` files and what never changes. Called once, before the process is locked down.
pub fn host_facts_capture(files: Vec<(String, OwnedFd)>) {
    let _ = FACTS.set(HostFacts::new(files));
}

/// The facts; without a capture those that need no file.
pub fn get() -> &'static HostFacts {
    FACTS.get_or_init(|| HostFacts::new(Vec::new()))
}

impl HostFacts {
    fn new(files: Vec<(String, OwnedFd)>) -> HostFacts {
        let u = rustix::system::uname();
        HostFacts {
            files,
            release: u.release().to_string_lossy().into_owned(),
            version: u.version().to_string_lossy().into_owned(),
        }
    }

    /// The present text of a file of the host's `/proc`; empty where it was not given.
    pub fn read(&self, name: &str) -> String {
        let Some((_, fd)) = self.files.iter().find(|(n, _)| n == name) else { return String::new() };
        let mut text = Vec::new();
        let mut buf = [0; 4096];
        while text.len() < MAX {
            match rustix::io::pread(fd, &mut buf, text.len() as u64) {
                Ok(0) | Err(_) => break,
                Ok(n) => text.extend_from_slice(&buf[..n]),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What there is and what is used of memory, in bytes, where the sandbox has less than the machine.
    pub fn limited_memory(&self) -> Option<Memory> {
        let machine = self.meminfo("MemTotal").map_or(u64::MAX, |kib| kib.saturating_mul(1024));
        let total = account::limit().filter(|limit| *limit < machine)?;
        Some(Memory { total, used: account::used().min(total) })
    }

    /// A number of `/proc/meminfo`, in KiB.
    pub fn meminfo(&self, key: &str) -> Option<u64> {
        let text = self.read("meminfo");
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }
}
