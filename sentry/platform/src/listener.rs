//! The seccomp listener: receiving notifications and answering them (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// The waker expects to sleep soon: run the other side on this processor (Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;
const ADDFD_SETFD: u32 = 1;
const CONTINUE: u32 = 1;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notif {
    pub id: u64,
    /// The host TID, as this process sees it.
    pub pid: u32,
    flags: u32,
    pub nr: i32,
    arch: u32,
    ip: u64,
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Resp {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    srcfd: u32,
    newfd: u32,
    newfd_flags: u32,
}

pub struct Listener(OwnedFd);

impl Listener {
    pub fn new(fd: OwnedFd) -> Listener {
        let listener = Listener(fd);
        // SAFETY: takes a number. Refused by older kernels, where wake-ups are merely slower.
        unsafe { libc::ioctl(listener.0.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        listener
    }

    /// Waits for the next notification.
    pub fn receive(&self) -> io::Result<Notif> {
        let mut notif = Notif::default();
        // SAFETY: the kernel fills a zeroed seccomp_notif.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_RECV, &raw mut notif) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(notif)
    }

    /// Lets the call return 0. That the caller is gone is no error of ours, here and below.
    pub fn answer(&self, id: u64) {
        self.send(Resp { id, val: 0, error: 0, flags: 0 });
    }

    pub fn refuse(&self, id: u64, errno: i32) {
        self.send(Resp { id, val: 0, error: -errno, flags: 0 });
    }

    /// Lets the host's kernel make the call, with the registers that were compared: the caller's thread is in the
    /// call, so they cannot change.
    pub fn proceed(&self, id: u64) {
        self.send(Resp { id, val: 0, error: 0, flags: CONTINUE });
    }

    fn send(&self, resp: Resp) {
        // SAFETY: a complete seccomp_notif_resp.
        unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_SEND, &raw const resp) };
    }

    /// Whether the caller still waits: then its TID is still its own.
    pub fn valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads the id.
        unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// Installs a descriptor at a fixed number in the caller.
    pub fn add_fd(&self, id: u64, fd: BorrowedFd<'_>, at: u32) -> io::Result<()> {
        let add = AddFd {
            id,
            flags: ADDFD_SETFD,
            srcfd: fd.as_raw_fd() as u32,
            newfd: at,
            newfd_flags: libc::O_CLOEXEC as u32,
        };
        // SAFETY: a complete seccomp_notif_addfd.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_ADDFD, &raw const add) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
