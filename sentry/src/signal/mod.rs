//! Signals as data: sets, information, actions, queues, default effects (signal(7)). Delivery is the kernel's.

pub mod info;
pub mod queue;
pub mod set;

pub use info::SigInfo;
pub use queue::PendingQueue;
pub use set::SigSet;

/// A signal number, 1 to 64.
pub type Signo = i32;

/// How many signals there are.
pub const NSIG: usize = 64;

/// What a thread group does on a signal (`struct kernel_sigaction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigAction {
    /// `SIG_DFL` (0), `SIG_IGN` (1) or the address of a function.
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: SigSet,
}

pub const SIG_DFL: u64 = 0;
pub const SIG_IGN: u64 = 1;

pub const SA_NOCLDSTOP: u64 = 1;
pub const SA_NOCLDWAIT: u64 = 2;
pub const SA_SIGINFO: u64 = 4;
pub const SA_RESTORER: u64 = 0x0400_0000;
pub const SA_ONSTACK: u64 = 0x0800_0000;
pub const SA_RESTART: u64 = 0x1000_0000;
pub const SA_NODEFER: u64 = 0x4000_0000;
pub const SA_RESETHAND: u64 = 0x8000_0000;

/// What happens where no handler is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    Terminate,
    /// Terminate, with a core dump where one is allowed (we make none, but wait(2) shows the flag as the limit has it).
    Core,
    Ignore,
    Stop,
    Continue,
}

/// The table of signal(7).
pub fn default_action(signo: Signo) -> DefaultAction {
    match signo {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH => DefaultAction::Ignore,
        libc::SIGCONT => DefaultAction::Continue,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => DefaultAction::Stop,
        libc::SIGQUIT
        | libc::SIGILL
        | libc::SIGABRT
        | libc::SIGFPE
        | libc::SIGSEGV
        | libc::SIGBUS
        | libc::SIGSYS
        | libc::SIGTRAP
        | libc::SIGXCPU
        | libc::SIGXFSZ => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// The alternate stack of a thread (sigaltstack(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AltStack {
    pub sp: u64,
    pub flags: i32,
    pub size: u64,
}

impl Default for AltStack {
    fn default() -> AltStack {
        AltStack { sp: 0, flags: libc::SS_DISABLE, size: 0 }
    }
}

impl AltStack {
    /// Whether a stack pointer lies on it.
    pub fn contains(&self, sp: u64) -> bool {
        self.flags & libc::SS_DISABLE == 0 && sp > self.sp && sp - self.sp <= self.size
    }
}
