//! Open files of proc: a text that is made anew at each read from the start, and directories.

use std::any::Any;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

use super::node::ProcInode;
use crate::mm::{Sink, Source};
use crate::vfs::inode::DirEntry;
use crate::vfs::{File, FileOps};

/// The most that one write is looked at.
const WRITE_MAX: usize = 4096;

pub(super) struct ProcText {
    inode: Arc<ProcInode>,
    text: Mutex<Option<Vec<u8>>>,
}

impl ProcText {
    pub fn new(inode: Arc<ProcInode>) -> ProcText {
        ProcText { inode, text: Mutex::new(None) }
    }
}

impl FileOps for ProcText {
    fn read(&self, _file: &File, pos: u64, to: &mut dyn Sink) -> Result<usize> {
        let mut text = self.text.lock();
        if pos == 0 || text.is_none() {
            *text = Some(self.inode.text()?);
        }
        let all = text.as_deref().unwrap_or_default();
        let rest = usize::try_from(pos).ok().and_then(|p| all.get(p..)).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        to.put(rest)
    }
    fn write(&self, _file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        let mut buf = vec![0; from.remaining().min(WRITE_MAX)];
        let n = from.take(&mut buf)?;
        self.inode.accept(&buf[..n])?;
        Ok(n)
    }
    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        self.write(file, 0, from).map(|n| (n, n as u64))
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) struct ProcDir(pub Arc<ProcInode>);

impl FileOps for ProcDir {
    fn read(&self, _file: &File, _pos: u64, _to: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn readdir(&self, _file: &File, cookie: u64, max: usize) -> Result<Vec<DirEntry>> {
        self.0.list(cookie, max)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
