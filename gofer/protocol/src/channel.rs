//! One connected `SOCK_SEQPACKET` socket: messages with the descriptors that belong to them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_abi::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// How many descriptors a message may carry.
pub const MAX_FDS: usize = 1;

/// The descriptors that came with a message; those not taken are closed.
pub type Fds = Vec<OwnedFd>;

/// What [`Channel::recv`] got.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes of the buffer.
    Message(usize),
    /// The other side has gone.
    Closed,
}

/// A connected socket.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    pub fn new(socket: OwnedFd) -> Channel {
        Channel { socket }
    }

    /// Two connected channels.
    pub fn pair() -> Result<(Channel, Channel), Errno> {
        use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(errno)?;
        Ok((Channel::new(a), Channel::new(b)))
    }

    /// Sends one message. A dead peer is `EPIPE`, never SIGPIPE.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        if message.len() > crate::MAX_MESSAGE || fds.len() > MAX_FDS {
            return Err(Errno::EMSGSIZE);
        }
        if fds.is_empty() {
            return self.send_plain(message);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::EMSGSIZE);
        }
        loop {
            match rustix::net::sendmsg(
                &self.socket,
                &[IoSlice::new(message)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        }
    }

    /// With a call that names no address in memory, so that a filter can see that there is none: the sentry's own
    /// knows no other.
    fn send_plain(&self, message: &[u8]) -> Result<(), Errno> {
        loop {
            match rustix::net::send(&self.socket, message, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        }
    }

    /// Receives one message into `buf` and its descriptors, close-on-exec, into `fds`. A message that is longer
    /// than the buffer or carries more descriptors than allowed is `EMSGSIZE`.
    pub fn recv(&self, buf: &mut [u8], fds: &mut Fds) -> Result<Received, Errno> {
        fds.clear();
        // Room for one more than allowed, so that too many are noticed as such.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut iov = [IoSliceMut::new(buf)];
            match rustix::net::recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
            fds.clear();
            return Err(Errno::EMSGSIZE);
        }
        // No message of this protocol is empty, so zero bytes are the end of the connection.
        Ok(if got.bytes == 0 { Received::Closed } else { Received::Message(got.bytes) })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// rustix's error number as ours.
pub(crate) fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}
