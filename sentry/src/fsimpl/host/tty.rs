//! The ioctls that reach a donated terminal: an allow-list. Foreground groups and sessions are the kernel's own and
//! never come here; what types into the terminal on another's behalf (`TIOCSTI`, `TIOCLINUX`) is refused, in any width of
//! the request, since only its 32 bits are looked at, as in Linux.

use std::os::fd::BorrowedFd;

use linux_abi::{Errno, Result};
use rustix::termios::{self, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, Winsize};
use rustix::termios::{ControlModes, LocalModes, OutputModes};

use super::convert::errno;
use crate::vfs::file::Ioctl;

/// asm-generic/ioctls.h.
mod request {
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCSBRK: u32 = 0x5409;
    pub const TCXONC: u32 = 0x540a;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCSTI: u32 = 0x5412;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const FIONREAD: u32 = 0x541b;
    pub const TIOCLINUX: u32 = 0x541c;
    pub const TIOCGETD: u32 = 0x5424;
    pub const TCSBRKP: u32 = 0x5425;
    pub const TCGETS2: u32 = 0x802c_542a;
    pub const TCSETS2: u32 = 0x402c_542b;
    pub const TCSETSW2: u32 = 0x402c_542c;
    pub const TCSETSF2: u32 = 0x402c_542d;
}

/// `struct termios` and `struct termios2` of the kernel (asm-generic/termbits.h): four words, a byte, 19 codes; the
/// second has two speeds behind.
const TERMIOS: usize = 36;
const TERMIOS2: usize = 44;

/// `c_cc`, by index.
const CODES: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];
/// Where `c_cc` starts.
const CODES_AT: usize = 17;

/// Carries out an ioctl of a donated descriptor.
pub fn ioctl(fd: BorrowedFd<'_>, io: &Ioctl<'_, '_>) -> Result<i64> {
    match io.request {
        request::TCGETS => get(fd, io, TERMIOS),
        request::TCGETS2 => get(fd, io, TERMIOS2),
        request::TCSETS => set(fd, io, TERMIOS, OptionalActions::Now),
        request::TCSETSW => set(fd, io, TERMIOS, OptionalActions::Drain),
        request::TCSETSF => set(fd, io, TERMIOS, OptionalActions::Flush),
        request::TCSETS2 => set(fd, io, TERMIOS2, OptionalActions::Now),
        request::TCSETSW2 => set(fd, io, TERMIOS2, OptionalActions::Drain),
        request::TCSETSF2 => set(fd, io, TERMIOS2, OptionalActions::Flush),
        request::TIOCGWINSZ => {
            let w = termios::tcgetwinsize(fd).map_err(errno)?;
            let mut out = [0u8; 8];
            let words = [w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel];
            out.chunks_exact_mut(2).zip(words).for_each(|(o, v)| o.copy_from_slice(&v.to_le_bytes()));
            io.mem.write(io.arg, &out)?;
            Ok(0)
        }
        request::TIOCSWINSZ => {
            let mut raw = [0u8; 8];
            io.mem.read(io.arg, &mut raw)?;
            let [a, b, c, d, e, f, g, h] = raw;
            let (ws_row, ws_col) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            let (ws_xpixel, ws_ypixel) = (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
            termios::tcsetwinsize(fd, Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel }).map_err(errno)?;
            Ok(0)
        }
        request::FIONREAD => {
            let n = rustix::io::ioctl_fionread(fd).map_err(errno)?;
            io.mem.write(io.arg, &(n.min(i32::MAX as u64) as i32).to_le_bytes())?;
            Ok(0)
        }
        request::TIOCGETD => {
            let line = termios::tcgetattr(fd).map_err(errno)?.line_discipline;
            io.mem.write(io.arg, &i32::from(line).to_le_bytes())?;
            Ok(0)
        }
        request::TCFLSH => {
            let queue = match io.arg {
                0 => QueueSelector::IFlush,
                1 => QueueSelector::OFlush,
                2 => QueueSelector::IOFlush,
                _ => return Err(Errno::EINVAL),
            };
            termios::tcflush(fd, queue).map_err(errno)?;
            Ok(0)
        }
        request::TCXONC => {
            let action = match io.arg {
                0 => termios::Action::OOff,
                1 => termios::Action::OOn,
                2 => termios::Action::IOff,
                3 => termios::Action::IOn,
                _ => return Err(Errno::EINVAL),
            };
            termios::tcflow(fd, action).map_err(errno)?;
            Ok(0)
        }
        // tcdrain(3), and no break is ever sent.
        request::TCSBRK | request::TCSBRKP => {
            if io.arg != 0 {
                termios::tcdrain(fd).map_err(errno)?;
            }
            Ok(0)
        }
        // As a kernel with `dev.tty.legacy_tiocsti` off answers.
        request::TIOCSTI => Err(Errno::EIO),
        request::TIOCLINUX => Err(Errno::EPERM),
        _ => Err(Errno::ENOTTY),
    }
}

fn get(fd: BorrowedFd<'_>, io: &Ioctl<'_, '_>, len: usize) -> Result<i64> {
    let bytes = to_bytes(&termios::tcgetattr(fd).map_err(errno)?);
    io.mem.write(io.arg, bytes.get(..len).unwrap_or(&bytes))?;
    Ok(0)
}

fn set(fd: BorrowedFd<'_>, io: &Ioctl<'_, '_>, len: usize, when: OptionalActions) -> Result<i64> {
    let mut current = termios::tcgetattr(fd).map_err(errno)?;
    let mut bytes = to_bytes(&current);
    io.mem.read(io.arg, bytes.get_mut(..len).ok_or(Errno::EINVAL)?)?;
    from_bytes(&bytes, &mut current);
    termios::tcsetattr(fd, when, &current).map_err(errno)?;
    Ok(0)
}

fn to_bytes(t: &Termios) -> [u8; TERMIOS2] {
    let mut out = [0u8; TERMIOS2];
    let words = [t.input_modes.bits(), t.output_modes.bits(), t.control_modes.bits(), t.local_modes.bits()];
    out.chunks_exact_mut(4).zip(words).for_each(|(o, v)| o.copy_from_slice(&v.to_le_bytes()));
    out[16] = t.line_discipline;
    out[CODES_AT..].iter_mut().zip(CODES).for_each(|(o, i)| *o = t.special_codes[i]);
    out[TERMIOS..TERMIOS + 4].copy_from_slice(&t.input_speed().to_le_bytes());
    out[TERMIOS + 4..].copy_from_slice(&t.output_speed().to_le_bytes());
    out
}

fn from_bytes(bytes: &[u8; TERMIOS2], t: &mut Termios) {
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    // Speeds that are no number of a modem are ignored; the kernel goes by the control modes.
    let _ = t.set_input_speed(word(TERMIOS));
    let _ = t.set_output_speed(word(TERMIOS + 4));
    t.input_modes = InputModes::from_bits_retain(word(0));
    t.output_modes = OutputModes::from_bits_retain(word(4));
    t.control_modes = ControlModes::from_bits_retain(word(8));
    t.local_modes = LocalModes::from_bits_retain(word(12));
    t.line_discipline = bytes[16];
    CODES.into_iter().zip(&bytes[CODES_AT..]).for_each(|(i, v)| t.special_codes[i] = *v);
}
