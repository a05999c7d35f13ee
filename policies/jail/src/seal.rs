//! The last step: the process installs its own seccomp filter on all its threads.

use std::io;

use policies::{own_filter, Filter, Mismatch};

use crate::Role;

/// Installs the filter of this role on every thread. From here on what its file does not name kills the process, or
/// with [`Mismatch::Trap`] is named on standard error and answered `ENOSYS`, for those who work on the filters.
pub fn seal(role: Role, mismatch: Mismatch) -> io::Result<()> {
    if mismatch == Mismatch::Trap {
        report_refused_calls()?;
    }
    let filter = Filter::parse(own_filter(role)).map_err(io::Error::other)?;
    for program in filter.compile(mismatch).map_err(io::Error::other)? {
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn report_refused_calls() -> io::Result<()> {
    use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
    let action = SigAction::new(
        SigHandler::SigAction(refused),
        SaFlags::SA_SIGINFO | SaFlags::SA_NODEFER | SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler uses only its arguments, its stack and write(2).
    unsafe { sigaction(Signal::SIGSYS, &action) }?;
    Ok(())
}

extern "C" fn refused(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: with SA_SIGINFO the kernel passes a live ucontext that nobody else uses during the handler.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let number = registers[libc::REG_RAX as usize];
    let name = policies::calls::name(number).unwrap_or("unknown call");
    let mut line = Line::default();
    line.text("runsc: filter: ");
    line.text(name);
    for register in [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10] {
        line.text(" ");
        line.hex(registers[register as usize] as u64);
    }
    line.text("\n");
    // SAFETY: the bytes are live for the call.
    unsafe { libc::syscall(libc::SYS_write, 2, line.bytes.as_ptr(), line.used) };
    registers[libc::REG_RAX as usize] = -i64::from(libc::ENOSYS);
}

/// A line put together without the allocator, which the interrupted code may be inside of.
struct Line {
    bytes: [u8; 160],
    used: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; 160], used: 0 }
    }
}

impl Line {
    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.used) {
                *place = byte;
                self.used += 1;
            }
        }
    }

    fn hex(&mut self, number: u64) {
        self.text("0x");
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = (number >> (digit * 4)) & 15;
            let text = &"0123456789abcdef"[nibble as usize..=nibble as usize];
            self.text(text);
        }
    }
}
