//! What becomes of credentials when a program is run (capabilities(7), "Transformation of capabilities during
//! execve()"; execve(2), "Effect of set-user-ID"; prctl(2), `PR_SET_NO_NEW_PRIVS`).

use linux_abi::{Errno, Result};

use super::{cap, Cred, ALL_CAPS};

/// securebits(7 in capabilities): uid 0 means nothing.
const SECBIT_NOROOT: u32 = 1;
const SECBIT_KEEP_CAPS: u32 = 1 << 4;

/// What the program's file asks for, where its mount lets it ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The owner of a set-user-ID file.
    pub set_uid: Option<u32>,
    /// The group of a set-group-ID file.
    pub set_gid: Option<u32>,
    pub caps: Option<FileCaps>,
}

/// The attribute `security.capability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCaps {
    pub permitted: u64,
    pub inheritable: u64,
    pub effective: bool,
}

impl FileCaps {
    /// The name of the attribute.
    pub const NAME: &'static [u8] = b"security.capability";

    /// Reads the attribute (linux/capability.h, `struct vfs_ns_cap_data`). `None` where it is of a user namespace that
    /// is not ours; `EINVAL` where it is of no known form.
    pub fn parse(raw: &[u8]) -> Result<Option<FileCaps>> {
        let word = |at: usize| {
            let bytes = raw.get(at * 4..at * 4 + 4).and_then(|b| b.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(Errno::EINVAL)
        };
        let magic = word(0)?;
        let (words, owner) = match (magic >> 24, raw.len()) {
            (1, 12) => (1, 0),
            (2, 20) => (2, 0),
            (3, 24) => (2, word(5)?),
            _ => return Err(Errno::EINVAL),
        };
        if owner != 0 {
            return Ok(None);
        }
        let (mut permitted, mut inheritable) = (0u64, 0u64);
        for n in 0..words {
            permitted |= u64::from(word(1 + 2 * n)?) << (32 * n);
            inheritable |= u64::from(word(2 + 2 * n)?) << (32 * n);
        }
        Ok(Some(FileCaps {
            permitted: permitted & ALL_CAPS,
            inheritable: inheritable & ALL_CAPS,
            effective: magic & 1 != 0,
        }))
    }
}

/// Whether somebody with fewer rights could steer the program: a tracer without `CAP_SYS_PTRACE`, or a process that
/// shares its root and working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    No,
    Yes,
}

/// Credentials of the new program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterExec {
    pub cred: Cred,
    /// It has rights that its caller did not have: `AT_SECURE`, no parent-death signal.
    pub secure: bool,
    /// Whether others of the same user may look into it (`PR_GET_DUMPABLE`).
    pub dumpable: bool,
}

impl Cred {
    /// What these credentials become in `program`. `EPERM` where its file has capabilities in force that the bounding
    /// set keeps from it.
    pub fn after_exec(&self, program: &Program, steered: Steered) -> Result<AfterExec> {
        let old = self;
        let mut new = old.clone();
        if !old.no_new_privs {
            new.euid = program.set_uid.unwrap_or(old.euid);
            new.egid = program.set_gid.unwrap_or(old.egid);
        }
        // Under no_new_privs what they give is taken away below, but they are looked at.
        let file = program.caps;
        let mut effective = false;
        new.permitted = 0;
        if let Some(file) = file {
            new.permitted = file.permitted & old.bounding | file.inheritable & old.inheritable;
            effective = file.effective;
            if effective && file.permitted & !new.permitted != 0 {
                return Err(Errno::EPERM);
            }
        }
        let root_counts = old.securebits & SECBIT_NOROOT == 0;
        // A set-user-ID-root program that has capabilities of its own gets those only.
        let file_decides = file.is_some() && new.euid == 0 && new.uid != 0;
        let by_root = root_counts && !file_decides && (new.euid == 0 || new.uid == 0);
        if by_root {
            new.permitted = old.bounding | old.inheritable;
        }
        effective |= root_counts && !file_decides && new.euid == 0;

        let other_ids = new.euid != old.euid || new.egid != old.egid && !old.in_group(new.egid);
        let gained = new.permitted & !old.permitted != 0;
        if (other_ids || gained) && (steered == Steered::Yes || old.no_new_privs) {
            if old.no_new_privs || !old.has(cap::SETUID) {
                (new.euid, new.egid) = (new.uid, new.gid);
            }
            new.permitted &= old.permitted;
        }
        (new.suid, new.fsuid) = (new.euid, new.euid);
        (new.sgid, new.fsgid) = (new.egid, new.egid);
        if file.is_some() || other_ids {
            new.ambient = 0;
        }
        new.permitted |= new.ambient;
        new.effective = if effective { new.permitted } else { new.ambient };
        new.securebits &= !SECBIT_KEEP_CAPS;

        let more = effective || new.permitted & !new.ambient != 0;
        let secure = other_ids || new.euid != old.uid || new.egid != old.gid || new.uid != 0 && more;
        let dumpable = old.euid == old.uid && old.egid == old.gid && !old.is_other(&new);
        Ok(AfterExec { cred: new, secure, dumpable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(revision: u32, words: &[u32]) -> Vec<u8> {
        let all = std::iter::once(revision << 24 | 1).chain(words.iter().copied());
        all.flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn attributes_of_every_revision() {
        let one = FileCaps::parse(&attribute(1, &[1 << 10, 2])).unwrap().unwrap();
        assert_eq!(one, FileCaps { permitted: 1 << 10, inheritable: 2, effective: true });
        let two = FileCaps::parse(&attribute(2, &[1, 0, 1, 0])).unwrap().unwrap();
        assert_eq!(two.permitted, 1 | 1 << 32);
        assert!(FileCaps::parse(&attribute(3, &[1, 0, 0, 0, 0])).unwrap().is_some());
        assert_eq!(FileCaps::parse(&attribute(3, &[1, 0, 0, 0, 1000])), Ok(None));
        for bad in [&b""[..], b"\x01\0\0", &attribute(2, &[1, 0, 1]), &attribute(4, &[1, 0, 1, 0])] {
            assert_eq!(FileCaps::parse(bad), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn nothing_is_gained_under_no_new_privs_or_a_weak_tracer() {
        let mut user = Cred::login(1000, 1000, vec![]);
        let program = Program { set_uid: Some(0), set_gid: Some(5), caps: None };
        let free = user.after_exec(&program, Steered::No).unwrap();
        assert_eq!((free.cred.euid, free.cred.egid, free.cred.effective), (0, 5, ALL_CAPS));
        assert!(free.secure && !free.dumpable);
        let held = user.after_exec(&program, Steered::Yes).unwrap();
        assert_eq!((held.cred.euid, held.cred.egid, held.cred.effective), (1000, 1000, 0));
        user.no_new_privs = true;
        let held = user.after_exec(&program, Steered::No).unwrap();
        assert_eq!((held.cred.euid, held.cred.egid, held.cred.effective), (1000, 1000, 0));
        assert!(!held.secure);
    }
}
