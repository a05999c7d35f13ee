//! `/etc/resolv.conf` where guests may look up names: the host's would lead to servers that they cannot reach.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::tmpfs::{Shared, Store, TmpInode};
use crate::mm::SliceSource;
use crate::net::outside::RESOLVER;
use crate::vfs::inode::{NewNode, Owner};
use crate::vfs::{FileSystem, InodeRef};

/// Where the file lies.
pub const PATH: &[u8] = b"/etc/resolv.conf";

struct OneFile(InodeRef);

impl FileSystem for OneFile {
    fn name(&self) -> &'static str {
        "tmpfs"
    }
    fn root(&self) -> InodeRef {
        self.0.clone()
    }
}

/// A file system that is this one file.
pub fn file_system() -> Result<Arc<dyn FileSystem>> {
    let shared = Shared::new(Some(64 << 10), 2, Store::Memory);
    let owner = Owner { uid: 0, gid: 0, perm: 0o644 };
    let file = TmpInode::make(&shared, &NewNode::Regular, owner)?;
    file.set_nlink(1);
    let text = format!("nameserver {}\n", RESOLVER.ip());
    file.content().ok_or(Errno::EIO)?.write_at(0, &mut SliceSource(text.as_bytes()))?;
    Ok(Arc::new(OneFile(file)))
}
