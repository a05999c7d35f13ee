//! The line discipline of a pseudo-terminal's slave (termios(3), `n_tty` of Linux): what is typed is edited, echoed and
//! turned into signals here; what is shown is processed in `output`. No locks and no waiting; a [`Line`] is data.
//!
//! All queues are bounded: see the constants.

use std::collections::VecDeque;

use super::termios::{cc, flag, Termios};

/// What the discipline holds of typed characters (`N_TTY_BUF_SIZE`).
pub const INPUT_MAX: usize = 4096;
/// What is shown and not yet read, before a writer waits: the reader's side of the discipline and the buffer before it.
pub const SHOWN_MAX: usize = INPUT_MAX + 8192;
/// What waits to be echoed; older echoes give way.
const ECHO_MAX: usize = 4096;
/// A typed character that ends a line, in the queue.
const END: u16 = 0x100;

/// Bits of a packet's first byte (tty_ioctl(4), `TIOCPKT`).
pub mod packet {
    pub const FLUSH_READ: u8 = 1;
    pub const FLUSH_WRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NO_STOP: u8 = 16;
    pub const DO_STOP: u8 = 32;
    pub const IOCTL: u8 = 64;
}

/// What is to be echoed; the column that it depends on is known when it is its turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Echo {
    /// As if it were written.
    Byte(u8),
    /// `^C`.
    Control(u8),
    /// Back over a tab, which followed so many columns; whether those are counted from the tab before.
    EraseTab { columns: usize, after_tab: bool },
    /// A line begins in this column.
    NoteColumn,
    /// The last byte took no column.
    BackColumn,
}

/// Whether output stands still.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    pub stopped: bool,
    /// By tcflow(3) and not by a typed character.
    pub by_call: bool,
}

/// The slave's side.
#[derive(Default)]
pub struct Line {
    pub termios: Termios,
    /// Typed characters, with [`END`] marked.
    input: VecDeque<u16>,
    /// How many of them belong to finished lines.
    finished: usize,
    literal_next: bool,
    /// Between the `\` and the `/` of `ECHOPRT`.
    erasing: bool,
    pub(super) column: usize,
    pub(super) canon_column: usize,
    /// Echoes that wait for room or for output to go on.
    pub(super) echo: VecDeque<Echo>,
    /// What the master reads.
    pub(super) shown: VecDeque<u8>,
    /// How much of it was there before the characters that are being worked on: the rest is still under way.
    pub(super) arrived: usize,
    pub flow: Flow,
    /// `TIOCPKT`.
    pub packet: bool,
    pub status: u8,
    /// Signals for the foreground, to be sent when the lock is released.
    pub signals: Vec<i32>,
}

fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// Letters as the kernel has them (lib/ctype.c): Latin 1.
pub(super) mod latin1 {
    fn is_upper(c: u8) -> bool {
        c.is_ascii_uppercase() || ((0xc0..=0xde).contains(&c) && c != 0xd7)
    }
    fn is_lower(c: u8) -> bool {
        c.is_ascii_lowercase() || (c >= 0xdf && c != 0xf7)
    }
    /// Part of a word, for `VWERASE`.
    pub fn is_word(c: u8) -> bool {
        is_upper(c) || is_lower(c) || c.is_ascii_digit() || c == b'_'
    }
    pub fn upper(c: u8) -> u8 {
        if is_lower(c) {
            c - 0x20
        } else {
            c
        }
    }
    pub fn lower(c: u8) -> u8 {
        if is_upper(c) {
            c + 0x20
        } else {
            c
        }
    }
}

impl Line {
    /// How many characters a read may have now.
    pub fn readable(&self) -> usize {
        if self.by_line() {
            self.finished
        } else {
            self.input.len()
        }
    }

    fn by_line(&self) -> bool {
        self.termios.canonical() && !self.termios.local(flag::EXTPROC)
    }

    /// `FIONREAD`: without the marks of ended input.
    pub fn count(&self) -> usize {
        if self.by_line() {
            self.input.iter().take(self.finished).filter(|c| **c != END).count()
        } else {
            self.input.len()
        }
    }

    /// Room for a typed character; an unfinished line that fills the buffer drops its last one, so that its end can
    /// still come.
    pub fn make_room(&mut self) -> bool {
        let len = self.input.len();
        let room = (INPUT_MAX - 1).saturating_sub(len);
        if if self.termios.input(flag::PARMRK) { room.div_ceil(3) } else { room } > 0 {
            return true;
        }
        let stuck = self.termios.canonical() && self.finished == 0;
        if stuck && len >= INPUT_MAX {
            self.input.pop_back();
        }
        stuck
    }

    fn push(&mut self, c: u8) {
        self.input.push_back(c.into());
    }

    fn push_end(&mut self, c: u8) {
        self.input.push_back(u16::from(c) | END);
        self.finished = self.input.len();
    }

    /// Takes one character that was typed.
    pub fn receive(&mut self, c: u8) {
        let t = &self.termios;
        if self.plain() {
            return self.push(c);
        }
        let c = if t.input(flag::ISTRIP) { c & 0x7f } else { c };
        let c = if t.input(flag::IUCLC) && t.local(flag::IEXTEN) { latin1::lower(c) } else { c };
        if std::mem::take(&mut self.literal_next) {
            return self.ordinary(c, false);
        }
        if self.termios.local(flag::EXTPROC) {
            return self.push(c);
        }
        if self.special(c) {
            return;
        }
        self.go_on_by_any();
        let t = &self.termios;
        let (c, made) = match c {
            b'\r' if t.input(flag::IGNCR) => return,
            b'\r' if t.input(flag::ICRNL) => (b'\n', true),
            b'\n' if t.input(flag::INLCR) => (b'\r', false),
            c => (c, false),
        };
        if t.canonical() && self.edit(c) {
            return;
        }
        self.ordinary(c, made);
    }

    /// No mode that would do anything to what is typed.
    fn plain(&self) -> bool {
        let t = &self.termios;
        let input =
            flag::ISTRIP | flag::IUCLC | flag::IGNCR | flag::ICRNL | flag::INLCR | flag::IXON | flag::PARMRK;
        !t.input(input) && !t.local(flag::ICANON | flag::ISIG | flag::ECHO)
    }

    fn go_on_by_any(&mut self) {
        let t = &self.termios;
        if self.flow.stopped && !self.flow.by_call && t.input(flag::IXON) && t.input(flag::IXANY) {
            self.start();
            self.show_echoes();
        }
    }

    /// A character that only goes into the queue, with its echo. `newline`: one that a carriage return was made into, and
    /// is echoed as such; any other is shown as a control character.
    fn ordinary(&mut self, c: u8, newline: bool) {
        self.go_on_by_any();
        if self.termios.local(flag::ECHO) {
            self.finish_erasing();
            if newline {
                self.echo_byte(c);
            } else {
                self.note_column();
                self.echo_char(c);
            }
        }
        if c == 0xff && self.termios.input(flag::PARMRK) {
            self.push(c);
        }
        self.push(c);
    }

    /// Flow control and signals.
    fn special(&mut self, c: u8) -> bool {
        let t = &self.termios;
        if t.input(flag::IXON) {
            if t.is_code(c, cc::VSTART) {
                self.start();
                self.show_echoes();
                return true;
            }
            if t.is_code(c, cc::VSTOP) {
                self.stop();
                return true;
            }
        }
        if !t.local(flag::ISIG) {
            return false;
        }
        let signals = [(cc::VINTR, libc::SIGINT), (cc::VQUIT, libc::SIGQUIT), (cc::VSUSP, libc::SIGTSTP)];
        let Some((_, signo)) = signals.into_iter().find(|(i, _)| t.is_code(c, *i)) else { return false };
        self.raise(signo);
        if !self.termios.local(flag::NOFLSH) {
            self.echo.clear();
            self.shown.truncate(self.arrived);
            self.flush_output();
            self.flush_input();
        }
        if self.termios.input(flag::IXON) {
            self.start();
        }
        if self.termios.local(flag::ECHO) {
            self.echo_char(c);
        } else {
            self.show_echoes();
        }
        true
    }

    /// Notes a signal for the foreground; each at most once at a time.
    pub fn raise(&mut self, signo: i32) {
        if !self.signals.contains(&signo) {
            self.signals.push(signo);
        }
    }

    /// The editing of a line; `false` for a character that goes into it.
    fn edit(&mut self, c: u8) -> bool {
        let t = &self.termios;
        let (extended, echo) = (t.local(flag::IEXTEN), t.local(flag::ECHO));
        if t.is_code(c, cc::VERASE) || t.is_code(c, cc::VKILL) || (extended && t.is_code(c, cc::VWERASE)) {
            self.erase(c);
        } else if extended && t.is_code(c, cc::VLNEXT) {
            self.literal_next = true;
            if echo {
                self.finish_erasing();
                if self.termios.local(flag::ECHOCTL) {
                    self.echo_byte(b'^');
                    self.echo_byte(b'\x08');
                }
            }
        } else if extended && echo && t.is_code(c, cc::VREPRINT) {
            self.finish_erasing();
            self.echo_char(c);
            self.echo_byte(b'\n');
            let line: Vec<u8> = self.input.iter().skip(self.finished).map(|c| *c as u8).collect();
            line.into_iter().for_each(|c| self.echo_char(c));
        } else if c == b'\n' {
            if t.local(flag::ECHO | flag::ECHONL) {
                self.echo_byte(c);
            }
            self.push_end(c);
        } else if t.is_code(c, cc::VEOF) {
            self.push_end(0);
        } else if t.is_code(c, cc::VEOL) || (extended && t.is_code(c, cc::VEOL2)) {
            if echo {
                self.note_column();
                self.echo_char(c);
            }
            if c == 0xff && self.termios.input(flag::PARMRK) {
                self.push(c);
            }
            self.push_end(c);
        } else {
            return false;
        }
        true
    }

    fn unfinished(&self) -> usize {
        self.input.len().saturating_sub(self.finished)
    }

    fn continues(&self, c: u8) -> bool {
        self.termios.input(flag::IUTF8) && c & 0xc0 == 0x80
    }

    fn erase(&mut self, by: u8) {
        if self.unfinished() == 0 {
            return;
        }
        let t = &self.termios;
        let echo = t.local(flag::ECHO);
        let one = t.is_code(by, cc::VERASE);
        let word = !one && t.is_code(by, cc::VWERASE) && t.local(flag::IEXTEN);
        if !one && !word {
            if !echo {
                self.input.truncate(self.finished);
                return;
            }
            let all = [flag::ECHOK, flag::ECHOKE, flag::ECHOE];
            if !all.into_iter().all(|f| t.local(f)) {
                let newline = t.local(flag::ECHOK);
                self.input.truncate(self.finished);
                self.finish_erasing();
                self.echo_char(by);
                if newline {
                    self.echo_byte(b'\n');
                }
                return;
            }
        }
        let mut seen_word = false;
        while self.unfinished() > 0 {
            // One character, of several bytes perhaps.
            let mut n = 0;
            let mut c;
            loop {
                n += 1;
                c = self.input.iter().rev().nth(n - 1).map_or(0, |c| *c as u8);
                if !self.continues(c) || n == self.unfinished() {
                    break;
                }
            }
            if self.continues(c) {
                break;
            }
            if word {
                if latin1::is_word(c) {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
            }
            let gone: Vec<u8> =
                self.input.drain(self.input.len().saturating_sub(n)..).map(|c| c as u8).collect();
            if echo {
                self.echo_erasure(&gone, by, one);
            }
            if one {
                break;
            }
        }
        if self.unfinished() == 0 && echo {
            self.finish_erasing();
        }
    }

    fn echo_erasure(&mut self, gone: &[u8], by: u8, one: bool) {
        let Some((&c, rest)) = gone.split_first() else { return };
        let t = &self.termios;
        if t.local(flag::ECHOPRT) {
            if !self.erasing {
                self.echo_byte(b'\\');
                self.erasing = true;
            }
            self.echo_char(c);
            for c in rest {
                self.echo_byte(*c);
                self.echo_op(Echo::BackColumn);
            }
        } else if one && !t.local(flag::ECHOE) {
            self.echo_char(by);
        } else if c == b'\t' {
            self.echo_tab_erasure();
        } else {
            let shown = if is_control(c) { 2 * usize::from(t.local(flag::ECHOCTL)) } else { 1 };
            for _ in 0..shown {
                [b'\x08', b' ', b'\x08'].into_iter().for_each(|c| self.echo_byte(c));
            }
        }
    }

    /// Back to where the tab began: the columns since the start of the line or the tab before, in steps of eight.
    fn echo_tab_erasure(&mut self) {
        let mut columns = 0;
        let mut after_tab = false;
        for c in self.input.iter().skip(self.finished).rev().map(|c| *c as u8) {
            if c == b'\t' {
                after_tab = true;
                break;
            }
            if is_control(c) {
                columns += 2 * usize::from(self.termios.local(flag::ECHOCTL));
            } else if !self.continues(c) {
                columns += 1;
            }
        }
        self.echo_op(Echo::EraseTab { columns, after_tab });
    }

    fn finish_erasing(&mut self) {
        if std::mem::take(&mut self.erasing) {
            self.echo_byte(b'/');
        }
    }

    /// Where a line begins on the screen.
    fn note_column(&mut self) {
        if self.unfinished() == 0 {
            self.echo_op(Echo::NoteColumn);
        }
    }

    fn echo_char(&mut self, c: u8) {
        if self.termios.local(flag::ECHOCTL) && is_control(c) && c != b'\t' {
            self.echo_op(Echo::Control(c));
        } else {
            self.echo_byte(c);
        }
    }

    /// Echoes as output is processed.
    fn echo_byte(&mut self, c: u8) {
        self.echo_op(Echo::Byte(c));
    }

    fn echo_op(&mut self, op: Echo) {
        if self.echo.len() >= ECHO_MAX {
            self.echo.pop_front();
        }
        self.echo.push_back(op);
    }

    /// tcflow(3), Ctrl-S.
    pub fn stop(&mut self) {
        if !self.flow.stopped {
            self.flow.stopped = true;
            self.tell(packet::START, packet::STOP);
        }
    }

    pub fn start(&mut self) {
        if self.flow.stopped && !self.flow.by_call {
            self.flow.stopped = false;
            self.tell(packet::STOP, packet::START);
        }
    }

    /// Changes what the next packet says, in packet mode.
    pub fn tell(&mut self, clear: u8, set: u8) {
        if self.packet {
            self.status = self.status & !clear | set;
        }
    }

    /// What was typed and not read is forgotten.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.finished = 0;
        self.literal_next = false;
        self.erasing = false;
        self.tell(0, packet::FLUSH_READ);
    }

    /// What was written and has not come as far as the master's own buffer is forgotten.
    pub fn flush_output(&mut self) {
        self.shown.truncate(INPUT_MAX - 1);
        self.tell(0, packet::FLUSH_WRITE);
    }

    /// New modes.
    pub fn set_termios(&mut self, new: Termios) {
        let old = std::mem::replace(&mut self.termios, new);
        self.tell_modes(&old);
        let t = &self.termios;
        if (old.lflag ^ t.lflag) & (flag::ICANON | flag::EXTPROC) != 0 {
            for c in &mut self.input {
                *c &= !END;
            }
            self.finished = 0;
            if t.canonical() {
                // What there is counts as a line.
                if let Some(last) = self.input.back_mut() {
                    *last |= END;
                }
                self.finished = self.input.len();
            }
            self.erasing = false;
            self.literal_next = false;
        }
        if old.input(flag::IXON) && !self.termios.input(flag::IXON) {
            self.start();
            self.show_echoes();
        }
    }

    fn tell_modes(&mut self, old: &Termios) {
        let flows =
            |t: &Termios| t.input(flag::IXON) && t.code(cc::VSTOP) == 0x13 && t.code(cc::VSTART) == 0x11;
        let (before, now) = (flows(old), flows(&self.termios));
        if before != now {
            let set = if now { packet::DO_STOP } else { packet::NO_STOP };
            self.tell(packet::DO_STOP | packet::NO_STOP, set);
        }
        if (old.lflag | self.termios.lflag) & flag::EXTPROC != 0 {
            self.tell(0, packet::IOCTL);
        }
    }

    /// Gives out what a read of at most `max` may have: up to the end of one line, or whatever there is. `None` where
    /// there is nothing yet; an empty answer is the end of input.
    pub fn take(&mut self, max: usize) -> Option<Vec<u8>> {
        if self.readable() == 0 {
            return None;
        }
        if !self.by_line() {
            let n = max.min(self.input.len());
            self.finished = self.finished.saturating_sub(n);
            return Some(self.input.drain(..n).map(|c| c as u8).collect());
        }
        let mut out = Vec::new();
        while out.len() < max && self.finished > 0 {
            let Some(c) = self.input.pop_front() else { break };
            self.finished -= 1;
            if c == END {
                return Some(out);
            }
            out.push(c as u8);
            if c & END != 0 {
                return Some(out);
            }
        }
        // An end of input just where the reader's room ends goes with what came before it.
        if max > 0 && self.finished > 0 && self.input.front() == Some(&END) {
            self.input.pop_front();
            self.finished -= 1;
        }
        Some(out)
    }
}
