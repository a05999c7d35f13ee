//! `platform`: runs guest code. Owns stub processes, slots, and copies in and out of guest memory; knows no task
//! and no file. The one crate (with its stub) in which `unsafe` lives on the sentry's side.
//!
//! [`boot`] makes the zygote under its [`filter`]; [`worker`]s take notifications from the [`listener`]; [`core`]
//! has the tables; [`thread`] takes events from slots and writes replies ([`actions`], [`clone`] and [`mem`] are
//! parts of that); [`space`] is a stub process; [`slot`] is what we share with the stub; [`spin`] watches hot slots.

mod actions;
pub mod api;
mod boot;
mod clone;
mod core;
mod doorbell;
mod filter;
mod listener;
mod mem;
#[expect(dead_code, reason = "some of it is the stub's side")]
mod slot;
mod space;
mod spin;
mod thread;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::Arc;

use linux_abi::{Errno, Result};

pub use api::*;
pub use mem::Mem;
pub use space::Space;
pub use thread::Thread;

/// What the platform is started with.
pub struct Config {
    /// The marshalling table, indexed by call number.
    pub shapes: Box<[CallShape; CALLS]>,
    /// How many processors guests may use.
    pub cpus: usize,
    /// Ask the kernel before every mapping, so that no guest has memory that it does not know of: where nothing on
    /// the host holds guests to a limit.
    pub gated: bool,
    /// `cgroup.procs` of the control groups that stubs are to be in; closed once the zygote is there.
    pub joins: Vec<std::os::fd::OwnedFd>,
}

/// The systrap platform.
pub struct Platform {
    core: Arc<core::Core>,
    vdso: boot::Vdso,
}

impl Platform {
    /// Makes the zygote and the listener. Called once, while the sentry is still single-threaded and not yet
    /// locked down; afterwards nothing is opened, executed or forked by the sentry itself. The calling thread must
    /// live as long as the sandbox: the zygote is killed when it ends.
    pub fn boot(config: Config) -> std::io::Result<Platform> {
        let (core, vdso) = boot::boot(&config)?;
        Ok(Platform { core, vdso })
    }

    /// Starts the workers; called after lockdown.
    pub fn start(&self, kernel: Arc<dyn GuestKernel>) -> std::io::Result<()> {
        if self.core.kernel.set(kernel).is_err() {
            return Err(std::io::Error::other("the platform was started before"));
        }
        worker::start(&self.core)
    }

    /// A thread in a fresh, empty address space, from the pool or made for this; the callback is given it once it
    /// waits for its first reply (`Act`, then `Enter`). It runs in this call, or later on a worker.
    pub fn fresh_thread(&self, then: Box<dyn FnOnce(Result<Arc<Thread>>) + Send>) {
        if self.core.stop.load(Ordering::Relaxed) {
            return then(Err(Errno::EAGAIN));
        }
        self.core.fresh(then);
    }

    /// Where the host's vDSO lies in every guest: (start, length) of vvar and vdso together, and the address of the
    /// ELF header (`AT_SYSINFO_EHDR`).
    pub fn vdso(&self) -> (u64, u64, u64) {
        self.vdso
    }

    /// Processor time in nanoseconds of all stubs that are and that were, and of this process, which works for them.
    pub fn cpu_time(&self) -> u64 {
        let used = |who: libc::c_int| {
            // SAFETY: all zero is a valid rusage.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: fills the local.
            unsafe { libc::getrusage(who, &raw mut usage) };
            let of = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
            of(usage.ru_utime) + of(usage.ru_stime)
        };
        // Stubs are this process's own children, wherever they were forked, and have been counted when they are reaped.
        let alive: u64 = self.core.all_spaces().iter().map(|s| s.cpu_time()).map(|(u, s)| u + s).sum();
        alive + used(libc::RUSAGE_CHILDREN) + used(libc::RUSAGE_SELF)
    }

    /// Kills all stubs, the zygote too.
    pub fn shutdown(&self) {
        self.core.stop.store(true, Ordering::Relaxed);
        for space in self.core.all_spaces() {
            space.kill();
        }
        self.core.refill.notify_all();
        self.core.spinner.stop();
        self.core.doorbell.stop();
    }
}
