//! The words between launcher and sentry: one JSON document a packet, over a SOCK_SEQPACKET socket. Its end of file
//! tells either side that the other is gone.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::denials::{Count, Denial};

/// The longest packet; messages are cut to fit.
const MAX_PACKET: usize = 16 * 1024;
const MAX_MESSAGE: usize = 2 * 1024;

/// What the launcher tells the sentry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A signal that the launcher got: for the foreground process group where the terminal (the host's kernel) sent
    /// it, else for the first process.
    Signal { signal: i32, from_terminal: bool },
    /// End every guest process now; the outcome follows.
    Kill,
}

/// What the sentry tells the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The first process was stopped by this signal; the launcher stops itself so that the caller's shell sees it, and
    /// sends SIGCONT when it goes on.
    Stopped(i32),
    /// A call was refused by the policy (or allowed and logged).
    Denied(Box<Denial>),
    /// How often which calls were, told before the end; in as many words as it takes.
    Denials(Vec<Count>),
    /// The program has ended; what it changed is being written down, which takes as long as it takes.
    Over,
    /// The end.
    Done(Outcome),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub outcome: Kind,
    /// Exit code, or signal number where it was signaled.
    pub code: i32,
    /// A line for the user: what happened and, if it can be said, what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The words of `--status-fd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Exited,
    Signaled,
    Timeout,
    SetupFailed,
    Violation,
}

impl Outcome {
    #[must_use]
    pub fn exited(code: i32) -> Outcome {
        Outcome { outcome: Kind::Exited, code, message: None }
    }

    #[must_use]
    pub fn signaled(signal: i32) -> Outcome {
        Outcome { outcome: Kind::Signaled, code: signal, message: None }
    }

    /// Code 125: we failed.
    #[must_use]
    pub fn setup_failed(message: impl Into<String>) -> Outcome {
        Outcome { outcome: Kind::SetupFailed, code: 125, message: Some(message.into()) }
    }

    /// Code 126 or 127: the command cannot be run, or is not there.
    #[must_use]
    pub fn cannot_run(code: i32, message: impl Into<String>) -> Outcome {
        Outcome { outcome: Kind::Exited, code, message: Some(message.into()) }
    }
}

/// One end of the control socket.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    #[must_use]
    pub fn new(socket: OwnedFd) -> Control {
        Control(socket)
    }

    /// Sends one word where there is room for it now; `false` where there is none.
    pub fn try_send<T: Serialize>(&self, word: &T) -> bool {
        let Ok(packet) = serde_json::to_vec(word) else { return false };
        packet.len() <= MAX_PACKET
            && send(&self.0, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
    }

    /// Sends one word. That nobody hears it any more is not an error here: whoever listens for words learns it.
    pub fn send<T: Serialize>(&self, word: &T) -> io::Result<()> {
        let packet = serde_json::to_vec(word).map_err(io::Error::other)?;
        loop {
            match send(&self.0, &packet, SendFlags::NOSIGNAL) {
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for one word; `None` once the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let mut packet = vec![0; MAX_PACKET];
        loop {
            match recv(&self.0, packet.as_mut_slice(), RecvFlags::empty()) {
                Ok((0, _)) => return Ok(None),
                Ok((len, _)) => {
                    let packet = packet.get(..len).unwrap_or_default();
                    return serde_json::from_slice(packet).map(Some).map_err(io::Error::other);
                }
                // The other side left words of ours unread. That is told once, before what it has said itself: its
                // last word, or the end of file, comes next.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tells the launcher how the run ended.
    pub fn done(&self, mut outcome: Outcome) -> io::Result<()> {
        if let Some(message) = &mut outcome.message {
            let mut end = message.len().min(MAX_MESSAGE);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        self.send(&Report::Done(outcome))
    }
}

impl std::os::fd::AsFd for Control {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Control, Outcome, Report};
    use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

    #[test]
    fn the_last_word_is_heard_though_ours_was_not() {
        let (launcher, sentry) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a pair");
        let (launcher, sentry) = (Control::new(launcher), Control::new(sentry));
        launcher.send(&Command::Kill).expect("sent");
        sentry.done(Outcome::exited(7)).expect("sent");
        drop(sentry);
        assert_eq!(launcher.receive::<Report>().expect("heard"), Some(Report::Done(Outcome::exited(7))));
        assert_eq!(launcher.receive::<Report>().expect("heard"), None);
        launcher.send(&Command::Kill).expect("nobody hears it, which is no error");
    }
}
