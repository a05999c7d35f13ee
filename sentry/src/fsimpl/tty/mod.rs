//! Pseudo-terminals (pts(4), pty(7)): a [`Pty`] is what both sides share, an [`End`] is what a description of either
//! side has. `devpts` gives them names, `line` and `output` are the line discipline, `ioctl` the requests that need no
//! task; those of job control are in `syscalls::terminal`.
//!
//! The lock of a pty is a leaf: waiters are told and signals sent after it is released.

mod devpts;
mod ioctl;
mod line;
mod output;
mod termios;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use linux_abi::{Errno, Result};
use parking_lot::Mutex;

pub use self::devpts::{pty_of, DevPts, MAX};
pub use self::ioctl::request;
use self::line::{Flow, Line, INPUT_MAX};
use self::termios::{cc, flag};
use super::clock::make_dev;
use crate::kernel::terminal::{self, Tty};
use crate::kernel::Kernel;
use crate::mm::{Sink, Source};
use crate::vfs::{File, FileOps, Ioctl, Positioning};
use crate::wait_queue::{PollEvents, WaitQueue};

/// The major number of the slaves; each major has 256 minors.
pub const PTS_MAJOR: u32 = 136;
/// How much the master may have typed ahead of the line discipline.
const TYPED_MAX: usize = 8192;
/// Tenths of a second, the unit of `VTIME`, in nanoseconds.
const TENTH: u64 = 100_000_000;

/// Which side of a pseudo-terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Master,
    Slave,
}

#[derive(Default)]
struct State {
    line: Line,
    /// What the master has written and the discipline had no room for.
    typed: VecDeque<u8>,
    /// rows, columns, and two in pixels.
    winsize: [u16; 4],
    /// tcflow(3) on the master.
    master_flow: Flow,
    /// `TIOCSPTLCK`; a new one is locked.
    unlocked: bool,
    /// `TIOCEXCL`.
    exclusive: bool,
    /// Descriptions of the slave.
    slaves: usize,
    /// The last description of the slave has been closed, and none opened since.
    slave_closed: bool,
    master_gone: bool,
    /// How often the line was hung up; descriptions from before are dead.
    hangups: u64,
}

/// A pseudo-terminal.
pub struct Pty {
    pub index: u32,
    pub tty: Arc<Tty>,
    kernel: Weak<Kernel>,
    names: Weak<DevPts>,
    state: Mutex<State>,
    master_queue: WaitQueue,
    slave_queue: WaitQueue,
}

const ALL_IN: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const ALL_OUT: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

impl State {
    /// Lets the line discipline have what was typed, as far as it has room.
    fn pump(&mut self) {
        let before = self.typed.len();
        self.line.arrived = self.line.shown.len();
        while !self.typed.is_empty() && self.line.make_room() {
            if let Some(c) = self.typed.pop_front() {
                self.line.receive(c);
            }
        }
        // Echoes that had to wait wait on until something is typed or written (`process_echoes` of Linux).
        if self.typed.len() < before && self.line.termios.local(flag::ECHO | flag::ECHONL) {
            self.line.show_echoes();
        }
    }

    fn master_room(&self) -> usize {
        if self.master_flow.stopped {
            0
        } else {
            TYPED_MAX.saturating_sub(self.typed.len())
        }
    }
}

impl Pty {
    fn new(index: u32, kernel: Weak<Kernel>, names: Weak<DevPts>) -> Arc<Pty> {
        Arc::new(Pty {
            index,
            tty: Tty::new(make_dev(PTS_MAJOR + (index >> 8), index & 0xff)),
            kernel,
            names,
            state: Mutex::default(),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
        })
    }

    /// Works on the state; then signals are sent that the line discipline has made, and all waiters look again.
    fn with<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        let (result, signals) = {
            let mut s = self.state.lock();
            let result = run(&mut s);
            (result, std::mem::take(&mut s.line.signals))
        };
        if let (false, Some(kernel)) = (signals.is_empty(), self.kernel.upgrade()) {
            signals.into_iter().for_each(|signo| self.tty.signal(&kernel, signo));
        }
        result
    }

    /// As [`Pty::with`], and both sides are told that something may be ready.
    fn change<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        let (result, master, slave) = self.with(|s| {
            let result = run(s);
            s.pump();
            let mut master = PollEvents::empty();
            let mut slave = PollEvents::empty();
            if !s.line.shown.is_empty() || s.line.status != 0 {
                master |= ALL_IN;
            }
            if s.line.status != 0 {
                master |= PollEvents::PRI;
            }
            if s.master_room() > 0 {
                master |= ALL_OUT;
            }
            if s.line.readable() > 0 {
                slave |= ALL_IN;
            }
            if s.line.room() > 0 {
                slave |= ALL_OUT;
            }
            (result, master, slave)
        });
        self.master_queue.wake(master);
        self.slave_queue.wake(slave);
        result
    }

    /// A description of the slave: `EIO` while it is locked or once the master is gone (`pty_open` of Linux).
    pub fn open_slave(self: &Arc<Pty>) -> Result<Arc<End>> {
        let hangups = {
            let mut s = self.state.lock();
            if s.master_gone || !s.unlocked {
                return Err(Errno::EIO);
            }
            s.slaves += 1;
            s.slave_closed = false;
            s.hangups
        };
        Ok(Arc::new(End { pty: self.clone(), side: Side::Slave, hangups }))
    }

    fn open_master(self: &Arc<Pty>) -> Arc<End> {
        Arc::new(End { pty: self.clone(), side: Side::Master, hangups: 0 })
    }

    /// Whether `TIOCEXCL` keeps others out.
    pub fn is_exclusive(&self) -> bool {
        self.state.lock().exclusive
    }

    /// Whether a background process must not write (`TOSTOP`).
    pub fn stops_writers(&self) -> bool {
        self.state.lock().line.termios.local(flag::TOSTOP)
    }

    /// vhangup(2), and the end of the master: all descriptions of the slave are dead, the session hears of it.
    pub fn hang_up(&self) {
        {
            let mut s = self.state.lock();
            s.hangups += 1;
            s.line.flush_input();
            s.line.status = 0;
        }
        if let Some(kernel) = self.kernel.upgrade() {
            terminal::hang_up(&kernel, &self.tty);
        }
        self.slave_queue.wake(PollEvents::all());
        self.master_queue.wake(PollEvents::all());
    }
}

/// How a read waits (termios(3), "Canonical and noncanonical mode"), in bytes and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What satisfies it.
    pub minimum: usize,
    /// How long it waits from its start: nought for not at all, `None` without end.
    pub first: Option<u64>,
    /// How long it waits after each byte.
    pub between: Option<u64>,
}

/// One description's side of a pseudo-terminal.
pub struct End {
    pub pty: Arc<Pty>,
    pub side: Side,
    /// The count of hang-ups when it was opened.
    hangups: u64,
}

impl End {
    /// Whether the line has been hung up since this was opened.
    pub fn is_hung_up(&self) -> bool {
        self.side == Side::Slave && self.pty.state.lock().hangups != self.hangups
    }

    /// How a read waits now.
    pub fn timing(&self) -> Timing {
        let line = Timing { minimum: 1, first: None, between: None };
        if self.side == Side::Master {
            return line;
        }
        let s = self.pty.state.lock();
        let t = &s.line.termios;
        if t.canonical() {
            return line;
        }
        let (minimum, tenths) = (usize::from(t.code(cc::VMIN)), u64::from(t.code(cc::VTIME)));
        match (minimum, tenths) {
            (0, t) => Timing { minimum: 1, first: Some(t * TENTH), between: None },
            (n, 0) => Timing { minimum: n, first: None, between: None },
            (n, t) => Timing { minimum: n, first: None, between: Some(t * TENTH) },
        }
    }

    fn read_slave(&self, to: &mut dyn Sink) -> Result<usize> {
        let taken = self.pty.change(|s| {
            if s.hangups != self.hangups {
                return Ok(Some(Vec::new()));
            }
            // By the size of the buffer: a reader that faults loses what it asked for, as on Linux.
            match s.line.take(to.remaining().min(INPUT_MAX)) {
                None if s.master_gone => Err(Errno::EIO),
                other => Ok(other),
            }
        })?;
        let bytes = taken.ok_or(Errno::EAGAIN)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        to.put(&bytes)
    }

    fn read_master(&self, to: &mut dyn Sink) -> Result<usize> {
        let bytes = self.pty.change(|s| {
            let mut out = Vec::new();
            let status = std::mem::take(&mut s.line.status);
            if s.line.packet && status != 0 {
                return Ok(vec![status]);
            }
            if s.line.shown.is_empty() {
                return Err(if s.slave_closed { Errno::EIO } else { Errno::EAGAIN });
            }
            let mut room = to.remaining().min(INPUT_MAX);
            if s.line.packet {
                // `TIOCPKT_DATA`.
                out.push(0);
                room -= 1;
            }
            let n = room.min(s.line.shown.len());
            out.extend(s.line.shown.drain(..n));
            Ok(out)
        })?;
        to.put(&bytes)
    }

    fn write_master(&self, from: &mut dyn Source) -> Result<usize> {
        self.pty.change(|s| {
            let mut done = 0;
            while from.remaining() > 0 {
                s.pump();
                let room = s.master_room().min(512);
                if room == 0 {
                    break;
                }
                let mut chunk = [0; 512];
                let n = match from.take(chunk.get_mut(..room).unwrap_or(&mut [])) {
                    Ok(n) => n,
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => break,
                };
                s.typed.extend(chunk.iter().take(n));
                done += n;
                if n < room {
                    break;
                }
            }
            if done == 0 {
                return Err(Errno::EAGAIN);
            }
            Ok(done)
        })
    }

    fn write_slave(&self, from: &mut dyn Source) -> Result<usize> {
        self.pty.change(|s| {
            if s.hangups != self.hangups || s.master_gone {
                return Err(Errno::EIO);
            }
            s.line.write(from)
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let pty = &self.pty;
        match self.side {
            Side::Master => {
                pty.state.lock().master_gone = true;
                if let Some(names) = pty.names.upgrade() {
                    names.remove(pty.index);
                }
                pty.hang_up();
            }
            Side::Slave => {
                let last = {
                    let mut s = pty.state.lock();
                    s.slaves = s.slaves.saturating_sub(1);
                    s.slave_closed = s.slaves == 0;
                    s.slave_closed
                };
                if last {
                    pty.master_queue.wake(PollEvents::all());
                }
            }
        }
    }
}

impl FileOps for End {
    fn tells_by_signal(&self) -> bool {
        true
    }

    fn positioning(&self) -> Positioning {
        Positioning::Stream
    }

    fn read(&self, _file: &File, _pos: u64, to: &mut dyn Sink) -> Result<usize> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        match self.side {
            Side::Master => self.read_master(to),
            Side::Slave => self.read_slave(to),
        }
    }

    fn write(&self, _file: &File, _pos: u64, from: &mut dyn Source) -> Result<usize> {
        if from.remaining() == 0 {
            return if self.is_hung_up() { Err(Errno::EIO) } else { Ok(0) };
        }
        match self.side {
            Side::Master => self.write_master(from),
            Side::Slave => self.write_slave(from),
        }
    }

    fn write_all_semantics(&self) -> bool {
        true
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let s = self.pty.state.lock();
        let mut ev = PollEvents::empty();
        match self.side {
            Side::Master => {
                if !s.line.shown.is_empty() {
                    ev |= ALL_IN;
                }
                if s.line.packet && s.line.status != 0 {
                    ev |= ALL_IN | PollEvents::PRI;
                }
                if s.slave_closed {
                    ev |= PollEvents::HUP;
                }
                if s.master_room() > 0 {
                    ev |= ALL_OUT;
                }
            }
            Side::Slave => {
                if s.hangups != self.hangups {
                    return ALL_IN | ALL_OUT | PollEvents::ERR | PollEvents::HUP;
                }
                let t = &s.line.termios;
                let min = usize::from(t.code(cc::VMIN));
                let wanted = if t.canonical() || t.code(cc::VTIME) != 0 || min == 0 { 1 } else { min };
                if s.line.readable() >= wanted {
                    ev |= ALL_IN;
                }
                if s.line.room() > 0 {
                    ev |= ALL_OUT;
                }
            }
        }
        ev
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(match self.side {
            Side::Master => &self.pty.master_queue,
            Side::Slave => &self.pty.slave_queue,
        })
    }

    fn is_terminal(&self) -> bool {
        true
    }

    fn ioctl(&self, _file: &File, io: &Ioctl<'_, '_>) -> Result<i64> {
        ioctl::ioctl(self, io)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The end behind a description; `None` where it is no pseudo-terminal.
pub fn end_of(file: &File) -> Option<&End> {
    file.downcast::<End>()
}
