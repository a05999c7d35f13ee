//! A kernel in miniature: puts hand-made machine code into a fresh address space and hands every event to a closure.

#![allow(dead_code, reason = "each test file uses another part")]

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use platform::{
    Action, ArgShape, CallShape, Config, Event, GuestKernel, Platform, Regs, Reply, Space, SpaceEnd, Syscall,
    Thread, CALLS,
};

pub const CODE: u64 = 0x40_0000;
pub const DATA: u64 = 0x50_0000;
pub const STACK: u64 = 0x60_0000;
pub const STACK_TOP: u64 = STACK + 0x1_0000;

pub const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;

/// What the test hears.
#[derive(Debug)]
pub enum Said {
    Gone(u64, SpaceEnd),
    Word(String),
    Number(i64),
}

impl Said {
    /// Leaves a trace for the failure message.
    pub fn show(self) -> Said {
        eprintln!("heard {self:?}");
        self
    }
}

type Handler = dyn Fn(&Arc<Thread>, Event, &Sender<Said>) + Send + Sync;

struct Kernel {
    /// By space id; a fork child is added by the test itself.
    handler: Mutex<Option<Arc<Handler>>>,
    said: Sender<Said>,
}

impl GuestKernel for Kernel {
    fn event(&self, thread: &Arc<Thread>, event: Event) {
        let handler = self.handler.lock().unwrap().clone();
        if let Some(handler) = handler {
            handler(thread, event, &self.said);
        }
    }
    fn space_gone(&self, space: &Arc<Space>, end: SpaceEnd) {
        let _ = self.said.send(Said::Gone(space.id(), end));
    }
    fn run_ready(&self) {}
}

/// One platform for a whole test process: a test file has one `main`-like test, or uses this in turn.
pub struct Mini {
    pub platform: Platform,
    kernel: Arc<Kernel>,
    pub said: Receiver<Said>,
}

pub fn shapes() -> Box<[CallShape; CALLS]> {
    use ArgShape::{In, InIov, OutIov, Str, Value};
    let mut shapes = vec![CallShape::default(); CALLS];
    let mut set = |nr: i64, args: &[ArgShape], flags: u8| {
        let row = &mut shapes[nr as usize];
        row.args[..args.len()].copy_from_slice(args);
        row.flags = flags;
    };
    set(libc::SYS_write, &[Value, In { len_arg: 2 }], 0);
    set(libc::SYS_open, &[Str], 0);
    set(libc::SYS_writev, &[Value, InIov { count_arg: 2 }], 0);
    set(libc::SYS_readv, &[Value, OutIov { count_arg: 2 }], 0);
    set(libc::SYS_rt_sigreturn, &[], CallShape::SIGFRAME);
    for nr in [
        libc::SYS_futex,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_sched_yield,
        libc::SYS_arch_prctl,
        libc::SYS_clock_gettime,
    ] {
        set(nr, &[], CallShape::LOCAL);
    }
    shapes.into_boxed_slice().try_into().unwrap()
}

/// Boots on a thread that lives as long as the process, since the zygote dies with it.
pub fn boot() -> Mini {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        tx.send(Platform::boot(Config { shapes: shapes(), cpus: 2, gated: false, joins: Vec::new() }))
            .unwrap();
        loop {
            std::thread::park();
        }
    });
    let platform = rx.recv_timeout(Duration::from_secs(20)).unwrap().expect("boot");
    let (said_tx, said) = channel();
    let kernel = Arc::new(Kernel { handler: Mutex::new(None), said: said_tx });
    platform.start(kernel.clone()).expect("start");
    Mini { platform, kernel, said }
}

/// The one platform of this test process, used by one test at a time.
pub fn shared() -> std::sync::MutexGuard<'static, Mini> {
    static MINI: OnceLock<Mutex<Mini>> = OnceLock::new();
    let mini = MINI.get_or_init(|| Mutex::new(boot()));
    let guard = mini.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while guard.said.try_recv().is_ok() {}
    guard
}

impl Mini {
    /// Runs `code` in a fresh address space; `handler` gets all events but those of the start.
    pub fn run(
        &self,
        code: &'static [u8],
        handler: impl Fn(&Arc<Thread>, Event, &Sender<Said>) + Send + Sync + 'static,
    ) -> Arc<Thread> {
        let first = Mutex::new(true);
        let handler: Arc<Handler> =
            Arc::new(move |thread: &Arc<Thread>, event: Event, said: &Sender<Said>| {
                let is_first = std::mem::take(&mut *first.lock().unwrap());
                if is_first {
                    match event {
                        Event::ActionsDone(Ok(())) => thread.reply(Reply::Enter(Box::new(start_regs()))),
                        other => said.send(Said::Word(format!("start: {other:?}"))).unwrap(),
                    }
                } else {
                    handler(thread, event, said);
                }
            });
        *self.kernel.handler.lock().unwrap() = Some(handler);
        let (tx, rx) = channel();
        self.platform.fresh_thread(Box::new(move |thread| tx.send(thread).unwrap()));
        let thread = rx.recv_timeout(Duration::from_secs(10)).expect("a stub comes").expect("a stub");
        thread.reply(Reply::Act(load_actions(code)));
        thread
    }

    pub fn hear(&self) -> Said {
        self.said.recv_timeout(Duration::from_secs(10)).expect("the guest says something")
    }
}

pub fn load_actions(code: &[u8]) -> Vec<Action> {
    let map = |addr, len, prot| Action::Map {
        addr,
        len,
        prot,
        flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        file: None,
    };
    vec![
        map(CODE, 0x1_0000, RW),
        Action::Store { addr: CODE, bytes: code.to_vec() },
        Action::Protect { addr: CODE, len: 0x1_0000, prot: RX },
        map(DATA, 0x4_0000, RW),
        map(STACK, 0x1_0000, RW),
    ]
}

pub fn start_regs() -> Regs {
    Regs { rip: CODE, rsp: STACK_TOP - 64, eflags: 0x202, ..Regs::default() }
}

/// Answers exit by ending the thread, tells the test the argument of "say" (call 500), and panics at nothing.
pub fn usual(thread: &Arc<Thread>, call: &Syscall, said: &Sender<Said>) -> bool {
    match call.nr as i64 {
        libc::SYS_exit | libc::SYS_exit_group => thread.reply(Reply::ExitThread { clear_tid: 0 }),
        500 => {
            // In this order: a test that interrupts when it hears must find the thread running.
            thread.reply(Reply::Return(0));
            said.send(Said::Number(call.args[0] as i64)).unwrap();
        }
        _ => return false,
    }
    true
}

/// Machine code for a guest, assembled by the compiler: `code!(NAME, "nop", …)`.
#[macro_export]
macro_rules! code {
    ($name:ident, $($line:expr),* $(,)?) => {
        core::arch::global_asm!(
            ".pushsection .rodata",
            concat!(".globl guest_", stringify!($name)),
            concat!(".globl guest_end_", stringify!($name)),
            ".balign 256",
            concat!("guest_", stringify!($name), ":"),
            $($line,)*
            concat!("guest_end_", stringify!($name), ":"),
            ".popsection",
        );
        fn $name() -> &'static [u8] {
            extern "C" {
                #[link_name = concat!("guest_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("guest_end_", stringify!($name))]
                static END: u8;
            }
            // SAFETY: two labels around bytes that are only read.
            unsafe {
                let (start, end) = (&raw const START, &raw const END);
                core::slice::from_raw_parts(start, end.offset_from(start) as usize)
            }
        }
    };
}
