//! The requests to a pseudo-terminal that need no task (tty_ioctl(4), ioctl_tty(2)): modes, sizes, queues, flow, packets.
//! What types into a terminal on another's behalf (`TIOCSTI`, `TIOCLINUX`) is refused.

use linux_abi::{Errno, Result};

use super::termios::{cc, Form, Termios};
use super::{End, Side, State};
use crate::vfs::Ioctl;

/// asm-generic/ioctls.h.
pub mod request {
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCGETA: u32 = 0x5405;
    pub const TCSETA: u32 = 0x5406;
    pub const TCSETAW: u32 = 0x5407;
    pub const TCSETAF: u32 = 0x5408;
    pub const TCSBRK: u32 = 0x5409;
    pub const TCXONC: u32 = 0x540a;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCEXCL: u32 = 0x540c;
    pub const TIOCNXCL: u32 = 0x540d;
    pub const TIOCOUTQ: u32 = 0x5411;
    pub const TIOCSTI: u32 = 0x5412;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const FIONREAD: u32 = 0x541b;
    pub const TIOCLINUX: u32 = 0x541c;
    pub const TIOCPKT: u32 = 0x5420;
    pub const TIOCSETD: u32 = 0x5423;
    pub const TIOCGETD: u32 = 0x5424;
    pub const TCSBRKP: u32 = 0x5425;
    pub const TIOCSBRK: u32 = 0x5427;
    pub const TIOCCBRK: u32 = 0x5428;
    pub const TIOCGLCKTRMIOS: u32 = 0x5456;
    pub const TIOCSLCKTRMIOS: u32 = 0x5457;
    pub const TCGETS2: u32 = 0x802c_542a;
    pub const TCSETS2: u32 = 0x402c_542b;
    pub const TCSETSW2: u32 = 0x402c_542c;
    pub const TCSETSF2: u32 = 0x402c_542d;
    pub const TIOCGPTN: u32 = 0x8004_5430;
    pub const TIOCSPTLCK: u32 = 0x4004_5431;
    pub const TIOCGDEV: u32 = 0x8004_5432;
    pub const TIOCSIG: u32 = 0x4004_5436;
    pub const TIOCGPKT: u32 = 0x8004_5438;
    pub const TIOCGPTLCK: u32 = 0x8004_5439;
    pub const TIOCGEXCL: u32 = 0x8004_5440;

    /// Those that a process of the background may make only at the price of a SIGTTOU.
    pub const CHANGES: [u32; 15] = [
        TCSETS, TCSETSW, TCSETSF, TCSETA, TCSETAW, TCSETAF, TCSETS2, TCSETSW2, TCSETSF2, TCSBRK, TCSBRKP,
        TCXONC, TCFLSH, TIOCSETD, TIOCSBRK,
    ];
}

/// Carries out a request.
pub fn ioctl(end: &End, io: &Ioctl<'_, '_>) -> Result<i64> {
    use request::*;
    if end.is_hung_up() {
        return Err(Errno::EIO);
    }
    let pty = &end.pty;
    match io.request {
        TCGETS => get(end, io, Form::Termios),
        TCGETS2 => get(end, io, Form::Termios2),
        TCGETA => get(end, io, Form::Termio),
        TCSETS | TCSETSW => set(end, io, Form::Termios, false),
        TCSETS2 | TCSETSW2 => set(end, io, Form::Termios2, false),
        TCSETA | TCSETAW => set(end, io, Form::Termio, false),
        TCSETSF => set(end, io, Form::Termios, true),
        TCSETSF2 => set(end, io, Form::Termios2, true),
        TCSETAF => set(end, io, Form::Termio, true),
        // What is written is with the other side at once, and no break can be sent.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => Ok(0),
        TCXONC => flow(end, io.arg),
        TCFLSH => flush(end, io.arg),
        // No mode is locked, and none can be: that is for who rules the machine.
        TIOCGLCKTRMIOS => {
            io.mem.write(io.arg, &[0; 36])?;
            Ok(0)
        }
        TIOCSLCKTRMIOS => Err(Errno::EPERM),
        TIOCEXCL | TIOCNXCL => {
            pty.state.lock().exclusive = io.request == TIOCEXCL;
            Ok(0)
        }
        TIOCGEXCL => put(io, i32::from(pty.state.lock().exclusive)),
        TIOCOUTQ => put(io, 0),
        TIOCGWINSZ => {
            let mut out = [0u8; 8];
            let size = pty.state.lock().winsize;
            out.chunks_exact_mut(2).zip(size).for_each(|(o, v)| o.copy_from_slice(&v.to_le_bytes()));
            io.mem.write(io.arg, &out)?;
            Ok(0)
        }
        TIOCSWINSZ => resize(end, io),
        FIONREAD => {
            let s = pty.state.lock();
            let n = match end.side {
                Side::Master => s.line.shown.len().min(super::INPUT_MAX - 1),
                Side::Slave => s.line.count(),
            };
            drop(s);
            put(io, n as i32)
        }
        TIOCGETD => put(io, 0),
        // There is the one line discipline.
        TIOCSETD => match get_int(io)? {
            0 => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        TIOCGDEV => {
            let dev = match end.side {
                Side::Master | Side::Slave => pty.tty.number(),
            };
            put(io, dev as i32)
        }
        // As a kernel with `dev.tty.legacy_tiocsti` off answers.
        TIOCSTI => Err(Errno::EIO),
        TIOCLINUX => Err(Errno::ENOTTY),
        _ if end.side == Side::Master => master(end, io),
        _ => Err(Errno::ENOTTY),
    }
}

/// The requests that only a master knows.
fn master(end: &End, io: &Ioctl<'_, '_>) -> Result<i64> {
    let pty = &end.pty;
    match io.request {
        request::TIOCGPTN => put(io, pty.index as i32),
        request::TIOCSPTLCK => {
            let lock = get_int(io)? != 0;
            pty.state.lock().unlocked = !lock;
            Ok(0)
        }
        request::TIOCGPTLCK => put(io, i32::from(!pty.state.lock().unlocked)),
        request::TIOCPKT => {
            let on = get_int(io)? != 0;
            let mut s = pty.state.lock();
            if on && !s.line.packet {
                s.line.status = 0;
            }
            s.line.packet = on;
            Ok(0)
        }
        request::TIOCGPKT => put(io, i32::from(pty.state.lock().line.packet)),
        request::TIOCSIG => {
            let signo = io.arg as i32;
            if ![libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP].contains(&signo) {
                return Err(Errno::EINVAL);
            }
            pty.with(|s| s.line.raise(signo));
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

fn put(io: &Ioctl<'_, '_>, value: i32) -> Result<i64> {
    io.mem.write(io.arg, &value.to_le_bytes())?;
    Ok(0)
}

fn get_int(io: &Ioctl<'_, '_>) -> Result<i32> {
    let mut raw = [0; 4];
    io.mem.read(io.arg, &mut raw)?;
    Ok(i32::from_le_bytes(raw))
}

fn get(end: &End, io: &Ioctl<'_, '_>, form: Form) -> Result<i64> {
    let bytes = end.pty.state.lock().line.termios.to_bytes(form);
    io.mem.write(io.arg, bytes.get(..form.size()).unwrap_or(&bytes))?;
    Ok(0)
}

/// Either side sets the slave's modes. Nothing is ever under way, so that there is nothing to wait for.
fn set(end: &End, io: &Ioctl<'_, '_>, form: Form, flush: bool) -> Result<i64> {
    let mut bytes = [0; Form::MAX];
    io.mem.read(io.arg, bytes.get_mut(..form.size()).ok_or(Errno::EINVAL)?)?;
    end.pty.change(|s| {
        if flush {
            s.line.flush_input();
        }
        let new: Termios = s.line.termios.with(form, &bytes);
        s.line.set_termios(new);
    });
    Ok(0)
}

fn resize(end: &End, io: &Ioctl<'_, '_>) -> Result<i64> {
    let mut raw = [0u8; 8];
    io.mem.read(io.arg, &mut raw)?;
    let mut size = [0; 4];
    size.iter_mut().zip(raw.chunks_exact(2)).for_each(|(s, b)| *s = u16::from_le_bytes([b[0], b[1]]));
    end.pty.with(|s| {
        if s.winsize != size {
            s.winsize = size;
            s.line.raise(libc::SIGWINCH);
        }
    });
    Ok(0)
}

/// tcflush(3): what was typed, what was written, or both, as the side that asks sees it.
fn flush(end: &End, which: u64) -> Result<i64> {
    let (input, output) = match which as u32 {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Errno::EINVAL),
    };
    end.pty.change(|s: &mut State| match end.side {
        Side::Slave => {
            if input {
                s.line.flush_input();
            }
            if output {
                s.line.flush_output();
            }
        }
        Side::Master => {
            if input {
                let n = s.line.shown.len().min(super::INPUT_MAX - 1);
                s.line.shown.drain(..n);
            }
            if output {
                s.typed.clear();
            }
        }
    });
    Ok(0)
}

/// tcflow(3).
fn flow(end: &End, action: u64) -> Result<i64> {
    if action > 3 {
        return Err(Errno::EINVAL);
    }
    end.pty.change(|s| match (end.side, action) {
        (Side::Slave, 0) => {
            if !s.line.flow.by_call {
                s.line.flow.by_call = true;
                s.line.stop();
            }
        }
        (Side::Slave, 1) => {
            if s.line.flow.by_call {
                s.line.flow.by_call = false;
                s.line.start();
            }
        }
        (Side::Master, 0) => s.master_flow.stopped = true,
        (Side::Master, 1) => s.master_flow.stopped = false,
        (Side::Slave, _) => {
            let c = s.line.termios.code(if action == 2 { cc::VSTOP } else { cc::VSTART });
            s.line.send_now(c);
        }
        // A master's own codes are those of a new terminal.
        (Side::Master, _) => s.typed.push_back(if action == 2 { 0x13 } else { 0x11 }),
    });
    Ok(0)
}
