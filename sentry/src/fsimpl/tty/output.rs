//! Output processing of the line discipline (termios(3), `c_oflag`), and the queue that the master reads.

use linux_abi::{Errno, Result};

use super::line::{latin1, Echo, Line, SHOWN_MAX};
use super::termios::flag;
use crate::mm::Source;

/// How much is taken from a writer at a time; its processed form may go over the bound by what this becomes.
const CHUNK: usize = 256;

impl Line {
    /// What becomes of a character under `OPOST`: the count of bytes in `out`. Keeps the column.
    pub(super) fn process(&mut self, c: u8, out: &mut [u8; 8]) -> usize {
        let t = &self.termios;
        let mut c = c;
        match c {
            b'\n' => {
                if t.output(flag::ONLRET) {
                    self.column = 0;
                }
                if t.output(flag::ONLCR) {
                    (self.column, self.canon_column) = (0, 0);
                    out[..2].copy_from_slice(b"\r\n");
                    return 2;
                }
                self.canon_column = self.column;
            }
            b'\r' if t.output(flag::ONOCR) && self.column == 0 => return 0,
            b'\r' if t.output(flag::OCRNL) => {
                c = b'\n';
                if t.output(flag::ONLRET) {
                    (self.column, self.canon_column) = (0, 0);
                }
            }
            b'\r' => (self.column, self.canon_column) = (0, 0),
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                self.column += spaces;
                if t.oflag & flag::TABDLY == flag::XTABS {
                    *out = [b' '; 8];
                    return spaces;
                }
            }
            b'\x08' => self.column = self.column.saturating_sub(1),
            _ if c >= 0x20 && c != 0x7f => {
                if t.output(flag::OLCUC) {
                    c = latin1::upper(c);
                }
                if !(t.input(flag::IUTF8) && c & 0xc0 == 0x80) {
                    self.column += 1;
                }
            }
            _ => {}
        }
        out[0] = c;
        1
    }

    /// How many more bytes may be shown before a writer must wait.
    pub fn room(&self) -> usize {
        if self.flow.stopped {
            0
        } else {
            SHOWN_MAX.saturating_sub(self.shown.len())
        }
    }

    /// Lets waiting echoes out, as far as there is room for the longest.
    pub fn show_echoes(&mut self) {
        while self.room() > 8 {
            let Some(op) = self.echo.pop_front() else { break };
            match op {
                // Linux keeps this one apart in its echo buffer, and passes it through.
                Echo::Byte(0xff) => {
                    self.column += 1;
                    self.shown.push_back(0xff);
                }
                Echo::Byte(c) if self.termios.output(flag::OPOST) => {
                    let mut out = [0; 8];
                    let n = self.process(c, &mut out);
                    self.shown.extend(out.iter().take(n));
                }
                Echo::Byte(c) => self.shown.push_back(c),
                Echo::Control(c) => {
                    self.shown.extend([b'^', c ^ 0o100]);
                    self.column += 2;
                }
                Echo::EraseTab { columns, after_tab } => {
                    let columns = if after_tab { columns } else { columns + self.canon_column };
                    let back = 8 - (columns & 7);
                    self.shown.extend(std::iter::repeat_n(b'\x08', back));
                    self.column = self.column.saturating_sub(back);
                }
                Echo::NoteColumn => self.canon_column = self.column,
                Echo::BackColumn => self.column = self.column.saturating_sub(1),
            }
        }
    }

    /// Takes what a writer has, as far as there is room; `EAGAIN` where there is none.
    pub fn write(&mut self, from: &mut dyn Source) -> Result<usize> {
        self.show_echoes();
        let mut done = 0;
        while from.remaining() > 0 {
            if self.room() == 0 {
                return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
            }
            let mut chunk = [0; CHUNK];
            let n = match from.take(&mut chunk) {
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => return Ok(done),
            };
            let bytes = chunk.get(..n).unwrap_or(&[]);
            if self.termios.output(flag::OPOST) {
                for c in bytes {
                    let mut out = [0; 8];
                    let k = self.process(*c, &mut out);
                    self.shown.extend(out.iter().take(k));
                }
            } else {
                self.shown.extend(bytes);
            }
            done += n;
            if n < CHUNK {
                break;
            }
        }
        Ok(done)
    }

    /// `tty_send_xchar`: goes out whether output stands still or not.
    pub fn send_now(&mut self, c: u8) {
        if c != 0 && self.shown.len() < SHOWN_MAX {
            self.shown.push_back(c);
        }
    }
}
