//! Attacks: `attack NAME [ARG]…` runs inside and tries one thing against the host; `tests/escape.rs` looks from
//! outside. One attack a file. An attack prints `ESCAPED: …` where it sees for itself that it got through.
//!
//! Never to be run outside of the sandbox: the tests prove first that the binary under test confines.
#![expect(
    unsafe_op_in_unsafe_fn,
    function_casts_as_integer,
    clippy::undocumented_unsafe_blocks,
    reason = "attacks use the raw system interface on purpose, wrongly at times: that is what they test"
)]

mod descriptors;
mod dotdot_race;
mod floods;
mod foreign_entries;
mod host_calls;
mod host_processes;
mod link_race;
mod own_program;
mod paths;
mod shadow_slots;
mod sigreturn;
mod sites;
mod stub_jump;
mod stub_memory;
mod terminal_input;
mod unmap_stub;

use sites::stub_sites;

/// Forks; the child runs `f`. Waits at most two seconds, then kills it. Gives the wait status.
unsafe fn try_in_child(f: impl FnOnce()) -> i32 {
    try_for(400, f)
}

/// As [`try_in_child`], for this many times 5 ms.
unsafe fn try_for(steps: u32, f: impl FnOnce()) -> i32 {
    let pid = libc::fork();
    if pid == 0 {
        f();
        libc::_exit(0);
    }
    let mut status = 0;
    for _ in 0..steps {
        if libc::waitpid(pid, &mut status, libc::WNOHANG) != 0 {
            return status;
        }
        libc::usleep(5000);
    }
    libc::kill(pid, libc::SIGKILL);
    libc::waitpid(pid, &mut status, 0);
    status
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rest = args.get(2..).unwrap_or(&[]);
    unsafe {
        match args.get(1).map(String::as_str) {
            Some("descriptors") => descriptors::attack(),
            Some("floods") => floods::attack(),
            Some("foreign_entries") => foreign_entries::attack(&rest[0]),
            Some("host_calls") => host_calls::attack(),
            Some("host_processes") => host_processes::attack(&rest[0]),
            Some("link_race") => link_race::attack(&rest[0]),
            Some("dotdot_race") => dotdot_race::attack(&rest[0]),
            Some("paths") => paths::attack(&rest[0], &rest[1]),
            Some("own_program") => own_program::attack(),
            Some("shadow_slots") => shadow_slots::attack(),
            Some("sigreturn") => sigreturn::attack(),
            Some("stub_jump") => stub_jump::attack(&rest[0]),
            Some("stub_memory") => stub_memory::attack(),
            Some("terminal_input") => terminal_input::attack(),
            Some("unmap_stub") => unmap_stub::attack(),
            _ => {
                eprintln!("usage: attack NAME [ARG]");
                std::process::exit(64);
            }
        }
    }
    // The sandbox still serves: a plain call after the attack.
    println!("alive {}", std::fs::read("/etc/passwd").is_ok());
}
