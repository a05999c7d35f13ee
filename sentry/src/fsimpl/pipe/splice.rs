//! What splice(2), tee(2) and vmsplice(2) do to pipes: whole buffers, not bytes.

use std::sync::Arc;

use linux_abi::{Errno, Result};

use super::buffer::PAGE;
use super::{Pipe, State};
use crate::wait_queue::PollEvents;

/// Whether what goes into the second pipe leaves the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// splice(2).
    Away,
    /// tee(2).
    Copy,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// So many bytes; none at the end of the first pipe.
    Moved(usize),
    /// The first pipe is empty, but may be filled.
    NothingYet,
    /// The second pipe is full.
    NoRoom,
}

/// Up to `len` bytes from one pipe to another, each buffer into one of its own; `EPIPE` where nobody reads the second.
pub fn between(from: &Arc<Pipe>, to: &Arc<Pipe>, len: usize, taking: Taking) -> Result<Between> {
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL);
    }
    // One order for all who hold two.
    let (mut a, mut b);
    if Arc::as_ptr(from) < Arc::as_ptr(to) {
        a = from.state.lock();
        b = to.state.lock();
    } else {
        b = to.state.lock();
        a = from.state.lock();
    }
    let was_full = a.buf.is_full();
    let moved = step(&mut a, &mut b, len, taking)?;
    let has_room = was_full && !a.buf.is_full();
    drop((a, b));
    if has_room {
        from.queue.wake(PollEvents::OUT | PollEvents::WRNORM);
    }
    if matches!(moved, Between::Moved(n) if n > 0) {
        to.queue.wake(PollEvents::IN | PollEvents::RDNORM);
    }
    Ok(moved)
}

fn step(a: &mut State, b: &mut State, len: usize, taking: Taking) -> Result<Between> {
    if a.buf.is_empty() && a.writers > 0 {
        return Ok(Between::NothingYet);
    }
    if b.readers == 0 {
        return Err(Errno::EPIPE);
    }
    // Also where the first is at its end.
    if b.buf.is_full() {
        return Ok(Between::NoRoom);
    }
    let (mut done, mut slot) = (0, 0);
    while done < len && !b.buf.is_full() {
        let next = match taking {
            Taking::Away => a.buf.take(len - done),
            Taking::Copy => a.buf.peek(slot, len - done),
        };
        let Some((bytes, packet)) = next else { break };
        slot += 1;
        done += bytes.len();
        b.buf.push_page(&bytes, packet)?;
    }
    Ok(Between::Moved(done))
}

/// How many buffers are free; `EPIPE` where nobody reads.
pub fn room(pipe: &Pipe) -> Result<usize> {
    let s = pipe.state.lock();
    if s.readers == 0 {
        return Err(Errno::EPIPE);
    }
    Ok(s.buf.free_slots())
}

/// Puts bytes in by pages, the first one cut as where they come from is (`offset` in its page); how many went in.
pub fn push_pages(pipe: &Pipe, bytes: &[u8], offset: usize) -> Result<usize> {
    let mut s = pipe.state.lock();
    if s.readers == 0 {
        return Err(Errno::EPIPE);
    }
    let mut done = 0;
    let mut room = PAGE - offset % PAGE;
    while done < bytes.len() {
        let n = room.min(bytes.len() - done);
        if !s.buf.push_page(&bytes[done..done + n], false)? {
            break;
        }
        done += n;
        room = PAGE;
    }
    drop(s);
    if done > 0 {
        pipe.queue.wake(PollEvents::IN | PollEvents::RDNORM);
    }
    Ok(done)
}
