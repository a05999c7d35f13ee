//! The end of what uses more memory than the sandbox may: one process is chosen and killed, as the host's kernel does
//! for a control group, and the user reads one line about it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::thread_group::{ExitStatus, ThreadGroup};
use super::{signals, Kernel};
use crate::mm::account;
use crate::time::{Armed, NSEC};
use crate::wait_queue::{PollEvents, Waiter};

/// How often the host's count is looked at: it does not hold our files, so that both together may pass the limit.
const LOOK: u64 = NSEC / 5;
/// Lines about single processes; more are summed up at the end.
const LINES: u64 = 4;

/// Watches over the limit, where the host counts for us.
pub fn watch(kernel: &Arc<Kernel>) {
    if account::limit().is_some() && !account::strict() {
        Arc::new(Watch { kernel: Arc::downgrade(kernel), armed: Mutex::default() }).arm(kernel);
    }
}

struct Watch {
    kernel: Weak<Kernel>,
    armed: Mutex<Option<Armed>>,
}

impl Watch {
    fn arm(self: &Arc<Watch>, kernel: &Kernel) {
        let next =
            kernel.timers.arm(crate::time::monotonic().saturating_add(LOOK), Arc::new(Look(self.clone())));
        let before = self.armed.lock().replace(next);
        drop(before);
    }
}

struct Look(Arc<Watch>);

impl Waiter for Look {
    fn notify(&self, _: PollEvents) {
        let Some(kernel) = self.0.kernel.upgrade() else { return };
        if account::overdrawn() {
            kill_biggest(&kernel);
        }
        self.0.arm(&kernel);
    }
}

/// Kills the process that has mapped most, as far as its `oom_score_adj` lets it be chosen (proc(5)).
fn kill_biggest(kernel: &Arc<Kernel>) {
    let limit = account::limit().unwrap_or(u64::MAX);
    let size = |g: &ThreadGroup| -> Option<u64> {
        let adjust = g.oom_score_adj.load(Ordering::Relaxed);
        let task = g.threads().first().cloned().filter(|_| adjust > -1000)?;
        let mapped = task.mm().with_table(crate::mm::VmaTable::charged) as i128;
        let score = mapped + i128::from(limit) * i128::from(adjust) / 1000;
        Some(score.clamp(0, i128::from(u64::MAX)) as u64)
    };
    let alive = kernel.groups_where(|s| s.zombie.is_none() && s.exiting.is_none());
    let sized = alive.into_iter().filter_map(|g| Some((size(&g)?, g)));
    if let Some((_, victim)) = sized.max_by_key(|(size, _)| *size) {
        tell(&victim);
        signals::begin_exit(&victim, ExitStatus::Signal(libc::SIGKILL, false));
    }
}

/// The host has killed a stub that nobody asked it to kill: told where it was for want of memory.
pub fn killed_by_host(group: &ThreadGroup) {
    // One that we had chosen ourselves has been told.
    if group.state.lock().exiting.is_some() {
        return;
    }
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    if account::host_kills().is_some_and(|kills| kills > KNOWN.fetch_max(kills, Ordering::Relaxed)) {
        tell(group);
    }
}

fn tell(group: &ThreadGroup) {
    let (Some(limit), nth) = (account::limit(), account::note_kill()) else { return };
    if nth > LINES {
        return;
    }
    let name = group.threads().first().map(|t| t.name.lock().clone()).unwrap_or_default();
    let name: String = String::from_utf8_lossy(&name).chars().filter(|c| !c.is_control()).collect();
    let more = if nth == LINES { "; further ones are not named" } else { "" };
    tracing::warn!(
        "out of memory: `{name}` (process {}) was killed, since the sandbox has {} MiB (--memory){more}",
        group.pid,
        limit >> 20
    );
}
