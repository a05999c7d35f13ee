//! Starts one of our own processes: clone(2) with namespaces, descriptors at fixed numbers, and this same executable
//! again (also when its file was replaced or deleted meanwhile).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{open, OFlag};
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{getegid, geteuid, pipe2, Pid};

use crate::layers::{user_namespace_hint, Layer, Layers};
use crate::{limits, NOBODY};

/// The namespaces a process can get, with the flag that makes each.
const NAMESPACES: [(Layer, i32); 6] = [
    (Layer::UserNamespace, libc::CLONE_NEWUSER),
    (Layer::PidNamespace, libc::CLONE_NEWPID),
    (Layer::MountNamespace, libc::CLONE_NEWNS),
    (Layer::NetworkNamespace, libc::CLONE_NEWNET),
    (Layer::IpcNamespace, libc::CLONE_NEWIPC),
    (Layer::UtsNamespace, libc::CLONE_NEWUTS),
];

/// What to start.
pub struct Program<'a> {
    /// Arguments, the name first.
    pub args: &'a [CString],
    /// Descriptors that the process gets beside its standard streams: the first at 3, and so on.
    pub fds: &'a [BorrowedFd<'a>],
}

/// Starts the gofer: it keeps the caller's user and mount namespace, since it sees and stats the host's files as the
/// caller does. Root's gofer gets the others; an ordinary user cannot make them without a user namespace.
pub fn gofer(program: &Program<'_>) -> io::Result<Pid> {
    let wanted = if geteuid().is_root() {
        libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS
    } else {
        0
    };
    let prepared = Prepared::new(program)?;
    match prepared.clone_and_exec(wanted) {
        Err(_) if wanted != 0 => prepared.clone_and_exec(0),
        result => result,
    }
}

/// Starts the net broker: it keeps the caller's user and network namespace, whose network it is there to reach. Root's
/// gets the others that it has no use for.
pub fn broker(program: &Program<'_>) -> io::Result<Pid> {
    let wanted =
        if geteuid().is_root() { libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS } else { 0 };
    let prepared = Prepared::new(program)?;
    match prepared.clone_and_exec(wanted) {
        Err(_) if wanted != 0 => prepared.clone_and_exec(0),
        result => result,
    }
}

/// Starts the sentry in all namespaces that the machine grants, and adds to `layers` which those are. The process waits
/// until it is told to go, so that the caller can write down for it what it got.
///
/// An ordinary user is mapped to itself in the new user namespace. Root's sentry has nobody as the only user that
/// exists there, and becomes it in [`crate::enter_sentry`]: who breaks out of it owns no file of root's.
pub fn sentry(layers: &mut Layers, program: &Program<'_>) -> io::Result<Waiting> {
    let prepared = Prepared::new(program)?;
    let all = NAMESPACES.iter().fold(0, |flags, (_, flag)| flags | flag);
    // The common machine grants everything, so that is what the first trial asks for.
    let (granted, started) = match prepared.clone_waiting(all) {
        Ok(waiting) => (all, Ok(waiting)),
        Err(_) => {
            let granted = grantable(layers);
            (granted, prepared.clone_waiting(granted))
        }
    };
    hold(layers, granted);
    let started = started?;
    if started.foreign {
        layers.hold(Layer::ForeignIdentity);
    }
    Ok(started)
}

/// Enters into `layers` which namespaces there are.
pub(crate) fn hold(layers: &mut Layers, granted: i32) {
    for (layer, flag) in NAMESPACES {
        if granted & flag != 0 {
            layers.hold(layer);
        } else if !layers.missing.iter().any(|missing| missing.layer == layer) {
            layers.miss(layer, NEEDS_USER_NAMESPACE);
        }
    }
}

/// What [`sentry`] would find, with a process that ends at once.
pub(crate) fn probe(layers: &mut Layers) {
    let granted = grantable(layers);
    hold(layers, granted);
    let foreign = if granted & libc::CLONE_NEWUSER != 0 {
        geteuid().is_root() && may_map_nobody()
    } else {
        may_become_nobody()
    };
    if foreign {
        layers.hold(Layer::ForeignIdentity);
    }
}

/// Whether a user namespace of ours can have nobody in it: root of a namespace may map what exists there.
fn may_map_nobody() -> bool {
    let text = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    maps_nobody(&text)
        && caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SETUID).unwrap_or(false)
}

fn maps_nobody(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (Some(first), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(NOBODY))
    })
}

const NEEDS_USER_NAMESPACE: &str = "without a user namespace only for root";

/// Finds out, one trial process each, which namespaces can be had together.
pub(crate) fn grantable(layers: &mut Layers) -> i32 {
    let mut granted = 0;
    for (layer, flag) in NAMESPACES {
        match trial(granted | flag) {
            Ok(()) => granted |= flag,
            Err(error) if layer == Layer::UserNamespace => layers.miss(layer, user_namespace_hint(&error)),
            Err(error) if granted & libc::CLONE_NEWUSER == 0 && error.raw_os_error() == Some(libc::EPERM) => {
                layers.miss(layer, NEEDS_USER_NAMESPACE);
            }
            Err(error) => layers.miss(layer, error.to_string()),
        }
    }
    granted
}

/// Makes a process in these namespaces that ends at once.
fn trial(flags: i32) -> io::Result<()> {
    // SAFETY: the child calls _exit(2) and nothing else.
    let pid = unsafe {
        let pid = raw_clone(flags);
        if pid == 0 {
            libc::_exit(0);
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = Pid::from_raw(pid);
    if flags & libc::CLONE_NEWUSER != 0 {
        // The child may already be gone, and its files with it: then the trial has told what can be told.
        match map_ids(pid) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                waitpid(pid, None)?;
                return Err(error);
            }
            _ => {}
        }
    }
    waitpid(pid, None)?;
    Ok(())
}

/// A process that exists, in its namespaces, and waits to be told to execute its program.
#[derive(Debug)]
pub struct Waiting {
    pid: Pid,
    go: OwnedFd,
    /// It can become nobody.
    foreign: bool,
}

impl Waiting {
    /// Its process id, as the caller sees it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it go.
    pub fn go(self) -> io::Result<Pid> {
        rustix::io::write(&self.go, b"g")?;
        Ok(self.pid)
    }
}

/// All that the child needs, laid out before the clone: the child allocates nothing.
struct Prepared {
    exe: OwnedFd,
    args: Vec<*const libc::c_char>,
    _args: Vec<CString>,
    environment: [*const libc::c_char; 1],
    fds: Vec<RawFd>,
}

impl Prepared {
    fn new(program: &Program<'_>) -> io::Result<Prepared> {
        let exe =
            open("/proc/self/exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|error| {
                io::Error::other(format!("cannot find this executable again (is /proc mounted?): {error}"))
            })?;
        let owned = program.args.to_vec();
        let mut args: Vec<_> = owned.iter().map(|arg| arg.as_ptr()).collect();
        args.push(std::ptr::null());
        let fds = program.fds.iter().map(AsRawFd::as_raw_fd).collect();
        Ok(Prepared { exe, args, _args: owned, environment: [std::ptr::null()], fds })
    }

    fn clone_and_exec(&self, flags: i32) -> io::Result<Pid> {
        // SAFETY: the child only runs `child`, which is written for this state.
        let pid = unsafe {
            let pid = raw_clone(flags);
            if pid == 0 {
                self.child(None, flags & libc::CLONE_NEWPID != 0);
            }
            pid
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Pid::from_raw(pid))
    }

    fn clone_waiting(&self, flags: i32) -> io::Result<Waiting> {
        let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child only runs `child`, which is written for this state.
        let pid = unsafe {
            let pid = raw_clone(flags);
            if pid == 0 {
                libc::close(go.as_raw_fd());
                self.child(Some(wait.as_raw_fd()), flags & libc::CLONE_NEWPID != 0);
            }
            pid
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let pid = Pid::from_raw(pid);
        let foreign = if flags & libc::CLONE_NEWUSER != 0 { map_ids(pid) } else { Ok(may_become_nobody()) };
        match foreign {
            Ok(foreign) => Ok(Waiting { pid, go, foreign }),
            Err(error) => {
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(error)
            }
        }
    }

    /// The child, from clone to exec.
    ///
    /// # Safety
    ///
    /// To be called in a process that clone(2) has just made from a single-threaded one, with a copy of its memory.
    unsafe fn child(&self, wait: Option<RawFd>, own_pids: bool) -> ! {
        const CANNOT_START: &[u8] = b"runsc: cannot execute itself again\n";
        // SAFETY: all of these are plain system calls on numbers and on memory that `self` keeps alive; nothing
        // allocates, locks, or returns into the caller's frames.
        unsafe {
            libc::setsid();
            // Changes of identity clear this; the process sets it again once it has made them.
            if own_pids || wait.is_none() {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            if let Some(wait) = wait {
                let mut byte = 0u8;
                if libc::read(wait, (&raw mut byte).cast(), 1) != 1 {
                    libc::_exit(125);
                }
            }
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            keep_capabilities_for_setup();
            limits::all_descriptors();
            // First out of the way of each other, then each to its place, which clears close-on-exec.
            let exe = libc::fcntl(self.exe.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH);
            for (index, fd) in self.fds.iter().enumerate() {
                let high = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, HIGH);
                let _ = high == HIGH + 1 + index as RawFd || fail(CANNOT_START);
            }
            for index in 0..self.fds.len() as RawFd {
                let _ = libc::dup2(HIGH + 1 + index, 3 + index) >= 0 || fail(CANNOT_START);
            }
            libc::syscall(
                libc::SYS_execveat,
                exe,
                c"".as_ptr(),
                self.args.as_ptr(),
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            fail(CANNOT_START);
            libc::_exit(125)
        }
    }
}

/// Descriptors from here on are free while a child sorts its own.
const HIGH: RawFd = 200;

/// Says so on standard error and ends the process; async-signal-safe.
fn fail(message: &[u8]) -> bool {
    // SAFETY: write(2) reads live bytes; _exit(2) does not return.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.len());
        libc::_exit(125)
    }
}

/// In a user namespace an exec as anyone but its root gives up all capabilities, unless they are ambient
/// (capabilities(7)): those that the confinement itself needs are made so.
fn keep_capabilities_for_setup() {
    const SYS_ADMIN: u32 = 21; // mount, pivot_root
    const SETPCAP: u32 = 8; // bounding set
    const SETGID: u32 = 6;
    const SETUID: u32 = 7;
    const NEEDED: u32 = 1 << SYS_ADMIN | 1 << SETPCAP | 1 << SETGID | 1 << SETUID;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: capget(2) and capset(2) read and write these two live structures, which have the layout of
    // linux/capability.h; prctl(2) gets numbers only.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) != 0 {
            return;
        }
        data[0].inheritable |= data[0].permitted & NEEDED;
        libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr());
        for capability in [SYS_ADMIN, SETPCAP, SETGID, SETUID] {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0);
        }
    }
}

/// clone(2) as fork(2) has it, with namespaces. 0 in the child, negative on error (with `errno`).
///
/// # Safety
///
/// The process must be single-threaded, or the child must restrict itself to async-signal-safe functions.
pub(crate) unsafe fn raw_clone(flags: i32) -> i32 {
    let flags = libc::c_ulong::from((flags | libc::SIGCHLD) as u32);
    // SAFETY: without CLONE_VM and with a null stack the child goes on in a copy of this memory.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) as i32 }
}

/// Gives the new user namespace of `pid` its one user and group (user_namespaces(7)): nobody where we are root and may
/// give that away, else ourselves. Says whether it is nobody.
fn map_ids(pid: Pid) -> io::Result<bool> {
    let file = |name: &str, text: String| fs::write(format!("/proc/{pid}/{name}"), text);
    if geteuid().is_root() && file("uid_map", format!("{NOBODY} {NOBODY} 1\n")).is_ok() {
        file("gid_map", format!("{NOBODY} {NOBODY} 1\n"))?;
        return Ok(true);
    }
    // Root of a namespace that knows no nobody, or root without CAP_SETUID, goes on as an ordinary user does.
    let (uid, gid) = (geteuid(), getegid());
    file("uid_map", format!("{uid} {uid} 1\n"))?;
    // An unprivileged map of groups is allowed only where setgroups(2) is not.
    file("setgroups", "deny".to_owned())?;
    file("gid_map", format!("{gid} {gid} 1\n"))?;
    Ok(false)
}

/// Whether this process could become nobody without a namespace of its own.
fn may_become_nobody() -> bool {
    let has = |capability| caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or(false);
    let known = |map: &str| maps_nobody(&fs::read_to_string(map).unwrap_or_default());
    geteuid().is_root()
        && has(caps::Capability::CAP_SETUID)
        && has(caps::Capability::CAP_SETGID)
        && known("/proc/self/uid_map")
        && known("/proc/self/gid_map")
        && fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow")
}

/// Borrows several descriptors at once.
#[must_use]
pub fn borrow_all(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
