//! The sentry's worker threads: those of the doorbell (`doorbell`); one that spins where that pays (`spin`); one that
//! reaps processes; one that refills the pool.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::core::Core;
use crate::doorbell;
use crate::SpaceEnd;

/// Starts all of them.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
    for me in 0..doorbell::WORKERS {
        spawn("doorbell", core, move |core| doorbell::run(core, me))?;
    }
    if core.cpus > 1 && core.spinner.possible() {
        spawn("spinner", core, crate::spin::run)?;
    }
    spawn("reaper", core, reaper)?;
    spawn("refill", core, |core: &Arc<Core>| core.refill_loop())
}

fn spawn(name: &str, core: &Arc<Core>, body: impl FnOnce(&Arc<Core>) + Send + 'static) -> io::Result<()> {
    let core = core.clone();
    thread::Builder::new().name(name.into()).spawn(move || body(&core)).map(drop)
}

/// Waits for stubs to end. The process id stays theirs until the tables are clean.
fn reaper(core: &Arc<Core>) {
    while !core.stop.load(Ordering::Relaxed) {
        // SAFETY: all zero is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: fills the local.
        let ret = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
        if ret != 0 {
            if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
                thread::sleep(Duration::from_millis(1));
            }
            continue;
        }
        // SAFETY: filled by waitid for a child that ended.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let how =
            if info.si_code == libc::CLD_EXITED { SpaceEnd::Exit(status) } else { SpaceEnd::Signal(status) };
        let ended = core.take_space(pid).map(|space| {
            let (threads, end) = space.end(how);
            for thread in threads {
                core.forget(&thread);
                thread.gone();
            }
            core.clones_of(&space);
            (space, end)
        });
        // SAFETY: takes the child that was just looked at.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        match ended {
            Some((space, end)) => {
                if let Some(kernel) = core.kernel.get() {
                    kernel.space_gone(&space, end);
                }
            }
            None => core.orphan(pid),
        }
        core.run_ready();
    }
}
