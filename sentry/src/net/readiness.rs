//! What poll(2) says of a socket, bit for bit as unix_poll, unix_dgram_poll, tcp_poll and datagram_poll do.

use std::sync::atomic::Ordering;

use super::socket::{Socket, Status, SHUT_BOTH, SHUT_READ, SHUT_WRITE};
use crate::wait_queue::PollEvents;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

impl Socket {
    pub fn poll(&self) -> PollEvents {
        if !self.has_legs() {
            return self.poll_inside();
        }
        let outside = self.poll_legs();
        if self.is_dgram() {
            outside | self.poll_inside()
        } else {
            outside
        }
    }

    fn poll_inside(&self) -> PollEvents {
        let (status, pending) = {
            let s = self.state.lock();
            (s.status, !s.pending.is_empty())
        };
        let shut = self.shut.load(Ordering::SeqCst);
        let mut ev = PollEvents::empty();
        if status == Status::Listening && !self.is_unix() {
            return if pending { READABLE } else { ev };
        }
        if self.waits.load(Ordering::SeqCst) {
            return ev;
        }
        if self.error.load(Ordering::SeqCst) != 0 {
            ev |= PollEvents::ERR;
        }
        let never_connected = !self.is_dgram() && status == Status::Idle;
        if shut == SHUT_BOTH || never_connected {
            ev |= PollEvents::HUP;
        }
        if shut & SHUT_READ != 0 {
            ev |= PollEvents::RDHUP | READABLE;
        }
        if pending || !self.received.lock().is_empty() {
            ev |= READABLE;
        }
        if self.is_tcp() {
            if never_connected && self.in_progress.load(Ordering::SeqCst) {
                // A refused connect: the state behind it is CLOSE, both ways shut.
                ev |= READABLE | PollEvents::RDHUP;
            }
            if shut & SHUT_WRITE != 0 || self.send_buffer.mostly_free() {
                ev |= WRITABLE;
            }
        } else if status != Status::Listening && self.send_buffer.mostly_free() && !self.peer_is_full() {
            ev |= WRITABLE | PollEvents::WRBAND;
        }
        ev
    }

    /// A datagram peer that takes no more messages of ours.
    fn peer_is_full(&self) -> bool {
        if !(self.is_dgram() && self.is_unix()) {
            return false;
        }
        self.peer().is_some_and(|p| {
            let talks_back = p.peer().is_some_and(|q| std::ptr::eq(&*q, self));
            !talks_back && p.received.lock().len() > 10
        })
    }
}
