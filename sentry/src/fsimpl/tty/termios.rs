//! Terminal modes: `struct termio`, `termios` and `termios2` of the kernel (asm-generic/termbits.h, termios(3)).

/// asm-generic/termbits.h, as far as a pseudo-terminal acts on it.
pub mod flag {
    pub const ISTRIP: u32 = 0o40;
    pub const INLCR: u32 = 0o100;
    pub const IGNCR: u32 = 0o200;
    pub const ICRNL: u32 = 0o400;
    pub const IUCLC: u32 = 0o1000;
    pub const IXON: u32 = 0o2000;
    pub const IXANY: u32 = 0o4000;
    pub const PARMRK: u32 = 0o10;
    pub const IUTF8: u32 = 0o40000;

    pub const OPOST: u32 = 0o1;
    pub const OLCUC: u32 = 0o2;
    pub const ONLCR: u32 = 0o4;
    pub const OCRNL: u32 = 0o10;
    pub const ONOCR: u32 = 0o20;
    pub const ONLRET: u32 = 0o40;
    pub const TABDLY: u32 = 0o14000;
    pub const XTABS: u32 = 0o14000;

    pub const CSIZE: u32 = 0o60;
    pub const CS8: u32 = 0o60;
    pub const CREAD: u32 = 0o200;
    pub const PARENB: u32 = 0o400;
    pub const CBAUD: u32 = 0o10017;
    pub const BOTHER: u32 = 0o10000;
    pub const IBSHIFT: u32 = 16;

    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHOE: u32 = 0o20;
    pub const ECHOK: u32 = 0o40;
    pub const ECHONL: u32 = 0o100;
    pub const NOFLSH: u32 = 0o200;
    pub const TOSTOP: u32 = 0o400;
    pub const ECHOCTL: u32 = 0o1000;
    pub const ECHOPRT: u32 = 0o2000;
    pub const ECHOKE: u32 = 0o4000;
    pub const IEXTEN: u32 = 0o100000;
    pub const EXTPROC: u32 = 0o200000;
}

/// Indices of `c_cc`.
pub mod cc {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
    pub const COUNT: usize = 19;
}

/// Which structure a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `struct termio` of System V: 16 bits a word, 8 codes.
    Termio,
    Termios,
    Termios2,
}

impl Form {
    /// Its size; none is larger than [`Form::MAX`].
    pub fn size(self) -> usize {
        match self {
            Form::Termio => 18,
            Form::Termios => 36,
            Form::Termios2 => Form::MAX,
        }
    }
    pub const MAX: usize = 44;
}

/// The modes of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; cc::COUNT],
    pub ispeed: u32,
    pub ospeed: u32,
}

/// Bits per second by number (termios(3), `B0` …), without and with `CBAUDEX`.
const SPEEDS: [u32; 16] =
    [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
const MORE_SPEEDS: [u32; 16] = [
    0, 57600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000,
    2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

fn speed(code: u32, other: u32) -> u32 {
    if code == flag::BOTHER {
        return other;
    }
    let table = if code & flag::BOTHER != 0 { &MORE_SPEEDS } else { &SPEEDS };
    table.get((code & 0o17) as usize).copied().unwrap_or(0)
}

impl Default for Termios {
    /// A new pseudo-terminal's (`tty_std_termios` of Linux, without `HUPCL`).
    fn default() -> Termios {
        use flag::*;
        let mut cc = [0; cc::COUNT];
        let set = [
            (cc::VINTR, 3),
            (cc::VQUIT, 0x1c),
            (cc::VERASE, 0x7f),
            (cc::VKILL, 0x15),
            (cc::VEOF, 4),
            (cc::VMIN, 1),
            (cc::VSTART, 0x11),
            (cc::VSTOP, 0x13),
            (cc::VSUSP, 0x1a),
            (cc::VREPRINT, 0x12),
            (13, 0x0f),
            (cc::VWERASE, 0x17),
            (cc::VLNEXT, 0x16),
        ];
        for (i, c) in set {
            cc[i] = c;
        }
        Termios {
            iflag: ICRNL | IXON,
            oflag: OPOST | ONLCR,
            cflag: 0o17 | CS8 | CREAD,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc,
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

impl Termios {
    pub fn input(&self, bits: u32) -> bool {
        self.iflag & bits != 0
    }
    pub fn output(&self, bits: u32) -> bool {
        self.oflag & bits != 0
    }
    pub fn local(&self, bits: u32) -> bool {
        self.lflag & bits != 0
    }
    pub fn code(&self, index: usize) -> u8 {
        self.cc.get(index).copied().unwrap_or(0)
    }
    /// Whether `c` is the control character of this index; 0 switches one off.
    pub fn is_code(&self, c: u8, index: usize) -> bool {
        c != 0 && self.code(index) == c
    }
    /// Lines are edited and given out whole.
    pub fn canonical(&self) -> bool {
        self.local(flag::ICANON)
    }

    pub fn to_bytes(&self, form: Form) -> [u8; Form::MAX] {
        let mut out = [0; Form::MAX];
        let words = [self.iflag, self.oflag, self.cflag, self.lflag];
        if form == Form::Termio {
            out.chunks_exact_mut(2)
                .zip(words)
                .for_each(|(o, w)| o.copy_from_slice(&(w as u16).to_le_bytes()));
            out[8] = self.line;
            out[9..17].copy_from_slice(&self.cc[..8]);
            return out;
        }
        out.chunks_exact_mut(4).zip(words).for_each(|(o, w)| o.copy_from_slice(&w.to_le_bytes()));
        out[16] = self.line;
        out[17..36].copy_from_slice(&self.cc);
        out[36..40].copy_from_slice(&self.ispeed.to_le_bytes());
        out[40..44].copy_from_slice(&self.ospeed.to_le_bytes());
        out
    }

    /// These modes with what a request brings; speeds as the control modes have them, and what a pseudo-terminal
    /// cannot be without (8 bits, a receiver).
    pub fn with(&self, form: Form, b: &[u8; Form::MAX]) -> Termios {
        let mut new = self.clone();
        let word = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        if form == Form::Termio {
            let low =
                |old: u32, i: usize| old & 0xffff_0000 | u32::from(u16::from_le_bytes([b[i], b[i + 1]]));
            new.iflag = low(self.iflag, 0);
            new.oflag = low(self.oflag, 2);
            new.cflag = low(self.cflag, 4);
            new.lflag = low(self.lflag, 6);
            new.line = b[8];
            new.cc[..8].copy_from_slice(&b[9..17]);
        } else {
            (new.iflag, new.oflag, new.cflag, new.lflag) = (word(0), word(4), word(8), word(12));
            new.line = b[16];
            new.cc.copy_from_slice(&b[17..36]);
            if form == Form::Termios2 {
                (new.ispeed, new.ospeed) = (word(36), word(40));
            }
        }
        let out = speed(new.cflag & flag::CBAUD, new.ospeed);
        let code = new.cflag >> flag::IBSHIFT & flag::CBAUD;
        new.ispeed = if code == 0 { out } else { speed(code, new.ispeed) };
        new.ospeed = out;
        new.cflag = new.cflag & !(flag::CSIZE | flag::PARENB) | flag::CS8 | flag::CREAD;
        new
    }
}
