//! Extended attributes (xattr(7)). Who may see which name space is the VFS's to check.

use linux_abi::{Errno, Result};

use super::TmpInode;

/// Names and values of one inode, added up.
const TOTAL_MAX: usize = 128 << 10;

impl TmpInode {
    pub(super) fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        supported(name)?;
        let m = self.meta.lock();
        m.xattrs.as_ref().and_then(|x| x.get(name)).cloned().ok_or(Errno::ENODATA)
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        supported(name)?;
        let mut m = self.meta.lock();
        let all = m.xattrs.get_or_insert_default();
        let there = all.get(name).map(|v| v.len() + name.len());
        match there {
            Some(_) if flags & libc::XATTR_CREATE as u32 != 0 => return Err(Errno::EEXIST),
            None if flags & libc::XATTR_REPLACE as u32 != 0 => return Err(Errno::ENODATA),
            _ => {}
        }
        let used: usize = all.iter().map(|(k, v)| k.len() + v.len()).sum();
        if used - there.unwrap_or(0) + name.len() + value.len() > TOTAL_MAX {
            return Err(Errno::ENOSPC);
        }
        all.insert(name.to_vec(), value.to_vec());
        m.ctime = super::now();
        Ok(())
    }

    pub(super) fn list_xattr(&self) -> Vec<Vec<u8>> {
        self.meta.lock().xattrs.as_ref().map_or_else(Vec::new, |x| x.keys().cloned().collect())
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        supported(name)?;
        let mut m = self.meta.lock();
        m.xattrs.as_mut().and_then(|x| x.remove(name)).ok_or(Errno::ENODATA)?;
        m.ctime = super::now();
        Ok(())
    }
}

/// The name spaces that we keep; POSIX ACLs are not among them.
fn supported(name: &[u8]) -> Result<()> {
    let known = [b"user.".as_slice(), b"trusted.", b"security."];
    if known.iter().any(|p| name.len() > p.len() && name.starts_with(p)) {
        Ok(())
    } else if known.contains(&name) {
        Err(Errno::EINVAL)
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}
