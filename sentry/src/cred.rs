//! Credentials of a task (credentials(7), capabilities(7)). They are the sentry's own: nothing here grants anything on
//! the host.

pub mod exec;

use linux_abi::{Errno, Result};

/// All 41 capabilities of Linux 6.
pub const ALL_CAPS: u64 = (1 << 41) - 1;

/// Capability numbers that the kernel checks.
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const KILL: u32 = 5;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SETPCAP: u32 = 8;
    pub const NET_BIND_SERVICE: u32 = 10;
    pub const IPC_LOCK: u32 = 14;
    pub const IPC_OWNER: u32 = 15;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_RESOURCE: u32 = 24;
    pub const MKNOD: u32 = 27;
    pub const SYSLOG: u32 = 34;
}

/// Who a task is. Shared by `Arc`, replaced as a whole when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub securebits: u32,
    pub no_new_privs: bool,
}

impl Cred {
    /// The same, with no more than these capabilities, now or ever.
    pub fn narrowed(mut self, most: u64) -> Cred {
        self.effective &= most;
        self.permitted &= most;
        self.bounding &= most;
        self
    }

    /// The credentials of a login: uid 0 has every (virtual) capability, others none.
    pub fn login(uid: u32, gid: u32, groups: Vec<u32>) -> Cred {
        let caps = if uid == 0 { ALL_CAPS } else { 0 };
        Cred {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups,
            effective: caps,
            permitted: caps,
            inheritable: 0,
            bounding: ALL_CAPS,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether a process that takes these on is another's to look into than before: its effective ids change, or it gains
    /// capabilities (prctl(2), `PR_SET_DUMPABLE`).
    pub fn is_other(&self, new: &Cred) -> bool {
        let ids = |c: &Cred| (c.euid, c.egid, c.fsuid, c.fsgid);
        ids(self) != ids(new) || new.permitted & !self.permitted != 0
    }

    /// Whether the effective set has this capability.
    pub fn has(&self, cap: u32) -> bool {
        self.effective & (1 << cap) != 0
    }

    /// `EPERM` without the capability.
    pub fn require(&self, cap: u32) -> Result<()> {
        if self.has(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
