//! Resource limits of a thread group (getrlimit(2)).

/// One resource: the soft and the hard limit; `u64::MAX` is `RLIM_INFINITY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// Resource numbers (asm-generic/resource.h).
pub mod resource {
    pub const CPU: usize = 0;
    pub const FSIZE: usize = 1;
    pub const DATA: usize = 2;
    pub const STACK: usize = 3;
    pub const CORE: usize = 4;
    pub const RSS: usize = 5;
    pub const NPROC: usize = 6;
    pub const NOFILE: usize = 7;
    pub const MEMLOCK: usize = 8;
    pub const AS: usize = 9;
    pub const LOCKS: usize = 10;
    pub const SIGPENDING: usize = 11;
    pub const MSGQUEUE: usize = 12;
    pub const NICE: usize = 13;
    pub const RTPRIO: usize = 14;
    pub const RTTIME: usize = 15;
    pub const COUNT: usize = 16;
}

/// All limits of a thread group, indexed by [`resource`].
#[derive(Clone, Debug)]
pub struct Limits(pub [Limit; resource::COUNT]);

impl Limits {
    /// The soft limit of a resource.
    pub fn soft(&self, resource: usize) -> u64 {
        self.0.get(resource).map_or(u64::MAX, |l| l.soft)
    }
}

impl Default for Limits {
    /// What a login shell on Debian has, memory and processes unlimited.
    fn default() -> Limits {
        let inf = Limit { soft: u64::MAX, hard: u64::MAX };
        let mut l = [inf; resource::COUNT];
        l[resource::STACK] = Limit { soft: 8 << 20, hard: u64::MAX };
        l[resource::CORE] = Limit { soft: 0, hard: u64::MAX };
        l[resource::NOFILE] = Limit { soft: 1024, hard: 1 << 20 };
        l[resource::MEMLOCK] = Limit { soft: 8 << 20, hard: 8 << 20 };
        l[resource::MSGQUEUE] = Limit { soft: 819_200, hard: 819_200 };
        l[resource::NICE] = Limit { soft: 0, hard: 0 };
        l[resource::RTPRIO] = Limit { soft: 0, hard: 0 };
        Limits(l)
    }
}
