//! Between a guest's call and its handler: the policy's word, and what is told of a refusal. An allowed call pays one
//! look at a table; a refused one is answered at once.

use std::sync::Arc;

use linux_abi::Errno;
use platform::{ArgShape, Syscall};

use crate::denials::{Cause, Denial, Kind};
use crate::guard::Action;
use crate::kernel::seccomp::Refusal;
use crate::kernel::{Kernel, Task};
use crate::learnt::Learner;
use crate::signal::SigInfo;
use crate::syscalls::table;
use crate::trace;
use crate::vfs::notes::{self, Refused, Use};
use crate::vfs::{path_text, FileKind, VfsPath};

/// The longest path that is told.
const MAX_PATH: usize = 1024;
/// The longest text of one argument.
const MAX_SHOWN: usize = 256;

/// Asks the policy: what is said instead of the handler, if anything is.
pub fn ask(kernel: &Arc<Kernel>, task: &Arc<Task>, call: &Syscall) -> Option<Refusal> {
    if let Some(learner) = &kernel.learner {
        learn_call(learner, task, call);
    }
    let guard = kernel.guard.as_ref()?;
    let action = guard.decide(call.nr, &call.args);
    if action == Action::Allow {
        return None;
    }
    let kind = Kind { call: call.nr, cause: Cause::Rules, action };
    tell(kernel, kind, || {
        let place = Some(guard.place(call.nr, &call.args));
        Denial { place, ..describe(task, call, path_argument(task, call)) }
    });
    match action {
        Action::Allow | Action::Log => None,
        Action::Errno(number) => Some(Refusal::Return(errno(number).to_ret())),
        Action::Trap => {
            let info = SigInfo::seccomp(0, call.ip, call.nr as i32, policies::bpf::ARCH_X86_64);
            Some(Refusal::Trap(info))
        }
        Action::Kill => Some(Refusal::KillProcess(libc::SIGSYS)),
    }
}

/// An errno that a call can return, whatever the policy said.
fn errno(number: i32) -> Errno {
    Errno(if (1..4096).contains(&number) { number } else { libc::EPERM })
}

/// A handler has answered with an errno: if it met something that the policy hides or keeps from being written, that
/// is told. To be called after every handler, since what was met is kept until it is asked for.
pub fn after(kernel: &Arc<Kernel>, task: &Arc<Task>, call: &Syscall, error: Option<Errno>) {
    if let Some(learner) = &kernel.learner {
        learn_use(learner, kernel, task);
    }
    let (Some(refused), Some(error)) = (notes::take_refused(), error) else { return };
    let cause = match refused {
        Refused::Hidden(_) => Cause::Hidden,
        Refused::ReadOnly(_) if error == Errno::EROFS => Cause::ReadOnly,
        // The call failed of something else.
        Refused::ReadOnly(_) => return,
        Refused::Network(..) => Cause::Network,
    };
    let kind = Kind { call: call.nr, cause, action: Action::Errno(error.0) };
    tell(kernel, kind, || {
        let path = match &refused {
            Refused::Hidden(path) => path.to_vec(),
            Refused::Network(to, name) if name.is_empty() => to.to_string().into_bytes(),
            Refused::Network(to, name) => {
                format!("{}:{} ({})", String::from_utf8_lossy(name), to.port(), to.ip()).into_bytes()
            }
            Refused::ReadOnly(place) => path_text(&directory(place), &kernel.mounts.root()),
        };
        describe(task, call, path)
    });
}

/// The directory of a place, or itself where it is one.
fn directory(place: &VfsPath) -> VfsPath {
    match place.inode().kind() {
        FileKind::Dir => place.clone(),
        _ => place.up(),
    }
}

fn learn_call(learner: &Learner, task: &Arc<Task>, call: &Syscall) {
    let by = task.name.lock().clone();
    learner.call(call.nr, platform::CALLS as u64, &by);
    if call.nr == libc::SYS_socket as u64 || call.nr == libc::SYS_socketpair as u64 {
        // The kernel takes an int.
        learner.family(call.nr, call.args[0] as u32, &by);
    }
}

fn learn_use(learner: &Learner, kernel: &Arc<Kernel>, task: &Arc<Task>) {
    let used = notes::take_used();
    if !used.is_empty() {
        let (root, by) = (kernel.mounts.root(), task.name.lock().clone());
        for (place, how) in used {
            learner.place(path_text(&directory(&place), &root), how == Use::Write, &by);
        }
    }
    // The highest number counts: that is what the limit is about.
    let files = task.files.read().numbers().last().map_or(0, |last| *last as u64 + 1);
    learner.sizes(kernel.task_count(), files);
}

fn tell(kernel: &Arc<Kernel>, kind: Kind, describe: impl FnOnce() -> Denial) {
    kernel.denials.tell(kind, crate::time::monotonic(), |kind| Denial { kind, ..describe() });
}

fn describe(task: &Arc<Task>, call: &Syscall, mut path: Vec<u8>) -> Denial {
    path.truncate(MAX_PATH);
    Denial {
        kind: Kind { call: call.nr, cause: Cause::Hidden, action: Action::Allow },
        name: name(call.nr),
        shown: trace::arguments(task, call).into_iter().map(short).collect(),
        args: call.args,
        place: None,
        path,
        pid: task.group.pid,
        comm: task.name.lock().clone(),
    }
}

/// An argument, cut where it is long. All of it is ASCII.
fn short(mut text: String) -> String {
    if text.len() > MAX_SHOWN {
        text.truncate(MAX_SHOWN);
        text.push_str("...");
    }
    text
}

/// The name of a call, implemented or not.
pub fn name(nr: u64) -> String {
    let known = table::lookup(nr)
        .map(|entry| entry.name)
        .or_else(|| i64::try_from(nr).ok().and_then(policies::calls::name));
    known.map_or_else(|| format!("call {nr}"), str::to_owned)
}

/// The first path among the arguments, as the guest wrote it, from its working directory where it is relative.
fn path_argument(task: &Arc<Task>, call: &Syscall) -> Vec<u8> {
    let Some(entry) = table::lookup(call.nr) else { return Vec::new() };
    let mut texts = entry.args.iter().enumerate().filter(|(_, shape)| **shape == ArgShape::Str);
    // What a symbolic link says is no path that is looked at.
    let found = if entry.name.starts_with("symlink") { texts.next_back() } else { texts.next() };
    let Some((at, _)) = found else { return Vec::new() };
    let address = call.args.get(at).copied().unwrap_or(0);
    let Ok(path) = task.thread().mem().read_cstr(address, 4096) else { return Vec::new() };
    if path.first().is_none_or(|first| *first == b'/') {
        return path;
    }
    let fs = task.fs().get();
    [path_text(&fs.cwd, &fs.root), b"/".to_vec(), path].concat()
}
