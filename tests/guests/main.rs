//! Guest programs: `guests FAMILY CASE` prints one line a step, `case: step: result`, the same on every run on
//! Linux: no process ids, no addresses, no times. Written against Linux first; the sandbox has to agree.
//!
//! One file a family; `runsc_tests::cases` names every case once.
#![expect(
    unsafe_op_in_unsafe_fn,
    function_casts_as_integer,
    dropping_copy_types,
    clippy::undocumented_unsafe_blocks,
    reason = "guests use the raw system interface on purpose, wrongly at times: that is what they test"
)]

mod async_io;
mod calls;
mod calls_more;
mod clocks;
mod corners;
mod creds;
mod events;
mod exec_creds;
mod files;
mod files_more;
mod futexes;
mod inotify;
mod interruptions;
mod ipc;
mod kit;
mod memory;
mod memory_locks;
mod memory_more;
mod mounts;
mod pointers;
mod proc_files;
mod process_facts;
mod processes;
mod processes_more;
mod programs;
mod random;
mod random_memory;
mod resources;
mod seccomp;
mod signals;
mod signals_deep;
mod signals_more;
mod splices;
mod sweep;
mod terminal_jobs;
mod terminals;
mod threads;
mod time;
mod tracing;
mod trees;

macro_rules! dispatch {
    ($($family:ident in $test:ident { $($case:ident)* })*) => {
        fn dispatch(family: &str, case: &str) -> bool {
            $($(if family == stringify!($family) && case == stringify!($case) {
                kit::start(stringify!($case));
                unsafe { $family::$case() };
                return true;
            })*)*
            false
        }
    };
}
runsc_tests::with_cases!(dispatch);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("random") if args.len() == 4 => match (args[2].parse(), args[3].parse()) {
            (Ok(seed), Ok(steps)) => unsafe { random::walk(seed, steps) },
            _ => std::process::exit(64),
        },
        Some("random-memory") if args.len() == 4 => match (args[2].parse(), args[3].parse()) {
            (Ok(seed), Ok(steps)) => unsafe { random::walk_memory(seed, steps) },
            _ => std::process::exit(64),
        },
        Some("trees") if args.len() == 4 => match (args[2].parse(), args[3].parse()) {
            (Ok(seed), Ok(steps)) => unsafe { trees::walk(seed, steps) },
            _ => std::process::exit(64),
        },
        Some("exercise") if args.len() == 4 => match (args[2].parse(), args[3].parse()) {
            (Ok(seed), Ok(steps)) => unsafe { trees::exercise(seed, steps) },
            _ => std::process::exit(64),
        },
        Some("thousands") if args.len() == 3 => {
            kit::start("thousands");
            if args[2] == "threads" {
                unsafe { threads::thousands() }
            } else {
                unsafe { processes::thousands() }
            }
        }
        Some("helper") => processes::helper(&args[2..]),
        Some(family) if args.len() == 3 && dispatch(family, &args[2]) => {}
        _ => {
            eprintln!("usage: guests FAMILY CASE");
            std::process::exit(64);
        }
    }
}
