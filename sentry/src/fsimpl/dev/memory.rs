//! The devices of major number 1: null, zero, full, random and urandom.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use linux_abi::{Errno, Result};
use rustix::fs::MemfdFlags;
use rustix::rand::GetRandomFlags;

use crate::mm::{Mappable, Sink, Source};
use crate::vfs::{File, FileOps};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Null,
    Zero,
    Full,
    Random,
}

/// The most that one read of `/dev/urandom` gives (random(4)).
const RANDOM_MAX: usize = 32 << 20;

fn random(to: &mut dyn Sink) -> Result<usize> {
    let mut buf = [0; 4096];
    let mut done = 0;
    while to.remaining() > 0 && done < RANDOM_MAX - 1 {
        let n = to.remaining().min(buf.len()).min(RANDOM_MAX - 1 - done);
        let n = rustix::rand::getrandom(&mut buf[..n], GetRandomFlags::empty())
            .map_err(|e| Errno(e.raw_os_error()))?;
        match to.put(&buf[..n]) {
            Ok(0) => break,
            Ok(k) => done += k,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

impl FileOps for Device {
    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        match self {
            Device::Null => Ok(0),
            Device::Zero | Device::Full => to.put_zeros(to.remaining()),
            Device::Random => random(to),
        }
    }
    fn write(&self, _file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        match self {
            Device::Full => Err(Errno::ENOSPC),
            // Linux does not look at the bytes either, but for random, where they are of no use to us.
            _ => Ok(from.remaining()),
        }
    }
    fn append(&self, file: &File, from: &mut dyn Source) -> Result<(usize, u64)> {
        self.write(file, 0, from).map(|n| (n, n as u64))
    }
    fn size(&self, _file: &File) -> Result<u64> {
        Ok(0)
    }
    fn truncate(&self, _file: &File, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        if *self != Device::Zero {
            return Err(Errno::ENODEV);
        }
        // Each mapping of /dev/zero is fresh anonymous memory (zero(4)); a hole of the largest size serves all offsets.
        let host = |e: rustix::io::Errno| Errno(e.raw_os_error());
        let fd = rustix::fs::memfd_create("dev/zero", MemfdFlags::CLOEXEC).map_err(host)?;
        rustix::fs::ftruncate(&fd, i64::MAX as u64 & !0xfff).map_err(host)?;
        Ok(Arc::new(ZeroMap(Arc::new(fd))))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct ZeroMap(Arc<OwnedFd>);

impl Mappable for ZeroMap {
    fn descriptor(&self, _shared: bool, _writable: bool) -> Result<Arc<OwnedFd>> {
        Ok(self.0.clone())
    }
    fn identity(&self) -> (u64, u64) {
        (5, 0)
    }
    fn name(&self) -> String {
        "/dev/zero".into()
    }
}
