//! What one call costs: `cargo run --release -p platform --example getppid [busy]`. With `busy`, one spinning process
//! is pinned to each processor. Prints nanoseconds for one call, natively and through the platform.

#[path = "../tests/mini/mod.rs"]
mod mini;

use std::time::{Duration, Instant};

use mini::{usual, Said};
use platform::{Event, Reply};

const CALLS: i64 = 100_000;

code!(
    calls,
    "9: mov ebx, 100000",
    "2: mov eax, 110",
    "syscall",
    "dec ebx",
    "jne 2b",
    "mov edi, 1",
    "mov eax, 500",
    "syscall",
    "jmp 9b",
);

fn native() -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: asks only.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn spinner(cpu: usize) -> libc::pid_t {
    // SAFETY: the child pins itself and spins until it is killed, or its parent ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
            loop {
                std::hint::spin_loop();
            }
        }
        pid
    }
}

fn main() {
    let busy = std::env::args().nth(1).is_some_and(|a| a == "busy");
    let spinners: Vec<_> = if busy { (0..2).map(spinner).collect() } else { Vec::new() };
    let mini = mini::boot();
    let thread = mini.run(calls(), |thread, event, said| match event {
        Event::Syscall(call) if call.nr == 110 => thread.reply(Reply::Return(1)),
        Event::Syscall(call) => assert!(usual(thread, &call, said)),
        other => said.send(Said::Word(format!("{other:?}"))).unwrap(),
    });
    for _ in 0..8 {
        while mini.said.try_recv().is_ok() {}
        mini.hear();
        let start = Instant::now();
        let before = thread.space().cpu_time();
        mini.hear();
        let wall = start.elapsed().as_nanos() as f64 / CALLS as f64;
        let after = thread.space().cpu_time();
        let own = (after.0 + after.1 - before.0 - before.1) as f64 / CALLS as f64;
        println!("call {wall:.0} ns (of that on the guest's thread {own:.0} ns)");
    }
    thread.space().kill();
    std::thread::sleep(Duration::from_millis(50));
    println!("native {:.0} ns", (0..5).map(|_| native()).fold(f64::MAX, f64::min));
    mini.platform.shutdown();
    for pid in spinners {
        // SAFETY: our own child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}
