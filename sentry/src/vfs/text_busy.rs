//! Programs that run are not written, and files open for writing are not run: `ETXTBSY` of open(2) and execve(2).

use std::sync::{Arc, LazyLock};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::attached::Attached;
use super::inode::{FileKind, InodeRef};

/// Descriptions open for writing (positive), or programs running (negative), of one file.
#[derive(Default)]
struct Uses(Mutex<i64>);

static TABLE: LazyLock<Attached<Uses>> = LazyLock::new(Attached::default);

/// One use of a file, for as long as it is kept.
pub struct Claim {
    uses: Arc<Uses>,
    step: i64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        *self.uses.0.lock() -= self.step;
    }
}

fn claim(inode: &InodeRef, step: i64) -> Result<Claim> {
    let uses = TABLE.get_or_make(inode, Arc::default)?;
    {
        let mut n = uses.0.lock();
        if *n * step < 0 {
            return Err(Errno::ETXTBSY);
        }
        *n += step;
    }
    Ok(Claim { uses, step })
}

/// For a description open for writing, or a file being cut; `None` where the rule does not apply.
pub fn writing(inode: &InodeRef) -> Result<Option<Claim>> {
    match inode.kind() {
        FileKind::Regular => claim(inode, 1).map(Some),
        _ => Ok(None),
    }
}

/// For a program.
pub fn running(inode: &InodeRef) -> Result<Claim> {
    claim(inode, -1)
}
