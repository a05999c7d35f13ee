//! From a locked-down process to the end of the first program: the tree of mounts, the first task, the threads that
//! wake what waits.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gofer_protocol::Client;
use linux_abi::Errno;
use parking_lot::Mutex;
use platform::{Platform, Reply, Thread};

use crate::afterwards::{tell_changes, Mounted, Wanted};
use crate::boot::Start;
use crate::config::{Mount, MountMode, SentryConfig, Stream};
use crate::control::{Command, Control, Outcome, Report};
use crate::cred::exec::Steered;
use crate::cred::{Cred, ALL_CAPS};
use crate::denials::{Denials, Sink};
use crate::fsimpl::host::outside::{Broker, Loopback};
use crate::fsimpl::host::{
    poller::HostPoller, stream::HostStream, HostFs, HostOptions, HostScratch, Watcher,
};
use crate::fsimpl::overlay::OverlayFs;
use crate::fsimpl::proc::ProcFs;
use crate::fsimpl::tmpfs::{self, Store, TmpFs};
use crate::fsimpl::tty::DevPts;
use crate::fsimpl::{dev, pidfd};
use crate::guard::Guard;
use crate::kernel::signals::Outside;
use crate::kernel::task::{NewTask, TaskSignals, Then};
use crate::kernel::terminal::{Ids, Tty};
use crate::kernel::thread_group::{GroupState, NewGroup, SigHand};
use crate::kernel::{
    hooks, signals, ExitStatus, FsContext, Kernel, Stop, Task, ThreadGroup, TraceSink, FIRST_PID, INIT_PID,
};
use crate::learnt::{Learner, Peaks};
use crate::limits::{resource, Limit, Limits};
use crate::loader::{self, ExecArgs, ExecEnv, Loaded};
use crate::mm::{account, AddressSpace};
use crate::run::{run_ready, Runner};
use crate::signal::SIG_IGN;
use crate::time::Timers;
use crate::vfs::{FdTable, FileKind, FileSystem, Lookup, MountOptions, Namespace, VfsPath};

/// How long the making of the first address space may take.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Runs the first program to its end.
pub fn run(mut start: Start) -> Outcome {
    let (control, learnt) = (start.control.clone(), start.learnt.take());
    let wanted = Wanted { diff: start.config.diff, json: start.config.log.json, export: start.export.take() };
    match set_up(start) {
        Ok((kernel, overlays)) => {
            let status = kernel.wait_for_end();
            tell_missing(&kernel);
            kernel.platform.shutdown();
            tell_denials(&kernel, &control);
            if let Some(to) = learnt {
                tell_learnt(&kernel, to);
            }
            let outcome = match status {
                ExitStatus::Code(c) => Outcome::exited(c as i32),
                ExitStatus::Signal(s, _) => Outcome::signaled(s),
            };
            tell_changes(wanted, &overlays, &control, outcome)
        }
        Err(outcome) => outcome,
    }
}

fn failed(what: &str) -> impl Fn(Errno) -> Outcome + '_ {
    move |e| Outcome::setup_failed(format!("{what}: {e}"))
}

fn set_up(start: Start) -> Result<(Arc<Kernel>, Vec<Mounted>), Outcome> {
    let Start { config, platform, gofer, control, guard, trace, broker, proc_files, memory, .. } = start;
    let client = Client::connect(gofer)
        .map_err(|e| Outcome::setup_failed(format!("the gofer does not answer: {e}")))?;
    crate::host_facts::host_facts_capture(proc_files);
    account::configure(config.limits.memory, file_bound(&config), memory);
    if config.fds.learnt.is_some() {
        crate::vfs::notes::learn();
    }
    if config.offline {
        crate::net::names::go_offline();
    }
    let poller = HostPoller::new().map_err(failed("cannot make the poller of host descriptors"))?;
    let (mounts, overlays) = mount_tree(&config, Arc::new(client))?;
    let kernel = make_kernel(&config, platform, mounts, (trace, guard), &control);
    if let Some(socket) = broker {
        open_way_out(&kernel, &config, &poller, socket)
            .map_err(|e| Outcome::setup_failed(format!("the net broker cannot be used: {e}")))?;
    }
    let names = mount_virtual(&kernel, &config).map_err(failed("cannot mount /proc, /dev and /sys"))?;
    overlays.iter().for_each(|(_, overlay)| overlay.settle());
    hooks::set_pidfd(make_pidfd, pidfd_target);

    start_threads(&kernel, &poller, &control)
        .map_err(|e| Outcome::setup_failed(format!("cannot start the sentry's threads: {e}")))?;
    let files = standard_streams(&kernel, &config, &poller, &names)
        .map_err(failed("cannot use the standard streams"))?;
    first_program(&kernel, &config, files)?;
    crate::kernel::memory::watch(&kernel);
    if let Some(limit) = config.limits.cpu_time {
        crate::kernel::cpu::watch_sandbox(&kernel, limit);
    }
    Ok((kernel, overlays))
}

/// The root and what the command line laid over it.
fn mount_tree(config: &SentryConfig, client: Arc<Client>) -> Result<(Arc<Namespace>, Vec<Mounted>), Outcome> {
    if let Some(bytes) = config.limits.disk {
        tmpfs::bound_all_files(bytes);
    }
    let watcher = Watcher::new(client.watches().ok());
    let mut tree: Option<Arc<Namespace>> = None;
    let mut overlays = Vec::new();
    for m in &config.mounts {
        let place = String::from_utf8_lossy(&m.dest);
        mount_one(config, (&client, &watcher), m, &mut tree, &mut overlays)
            .map_err(failed(&format!("cannot mount {place}")))?;
    }
    Ok((tree.ok_or_else(|| Outcome::setup_failed("there is no root to mount"))?, overlays))
}

fn mount_one(
    config: &SentryConfig,
    (client, watcher): (&Arc<Client>, &Arc<Watcher>),
    m: &Mount,
    tree: &mut Option<Arc<Namespace>>,
    overlays: &mut Vec<Mounted>,
) -> Result<(), Errno> {
    let host = || {
        let options = HostOptions { mounted_at: m.dest.clone(), ..HostOptions::default() };
        HostFs::new(client.clone(), m.tree, options, watcher.clone())
    };
    let fs: Arc<dyn FileSystem> = match m.mode {
        MountMode::Overlay | MountMode::OverlayOnDisk => {
            let store = match m.mode {
                MountMode::OverlayOnDisk => Store::Disk(Arc::new(HostScratch(client.clone()))),
                _ => Store::Memory,
            };
            let overlay = OverlayFs::new(&host()?, m.size.or(config.limits.disk), store)?;
            overlays.push((m.dest.clone(), overlay.clone()));
            overlay
        }
        MountMode::Tmpfs => {
            let size = m.size.or_else(|| file_bound(config));
            TmpFs::new(tmpfs::Options { size, ..Default::default() })?
        }
        MountMode::Ro | MountMode::Rw => Arc::new(host()?),
    };
    let read_only = m.mode == MountMode::Ro;
    let options = MountOptions { read_only, by_policy: true, ..MountOptions::default() };
    match tree {
        None => *tree = Some(Namespace::new(fs, options, &config.hide)),
        Some(t) => drop(t.mount_at(&m.dest, fs, options)?),
    }
    Ok(())
}

/// The most bytes that all files in our memory may take, and what `/dev/shm` shows as its size: what `--disk` says, and
/// at most half of the machine's memory, as tmpfs(5) has it, and three quarters of the sandbox's. `None` where the machine does not say how much that is.
fn file_bound(config: &SentryConfig) -> Option<u64> {
    let machine = crate::host_facts::get().meminfo("MemTotal").map(|kib| kib.saturating_mul(1024) / 2);
    // Some is left to run the program that removes them again.
    let memory = config.limits.memory.map(|bytes| bytes - bytes / 4);
    [config.limits.disk, memory, machine].into_iter().flatten().min()
}

/// The file systems that are ours alone. Gives that of `/dev/pts`.
fn mount_virtual(kernel: &Arc<Kernel>, config: &SentryConfig) -> Result<Arc<DevPts>, Errno> {
    let plain = MountOptions::default;
    let tree = &kernel.mounts;
    tree.mount_at(b"/dev", dev::file_system()?, plain())?;
    let names = DevPts::set_up(kernel);
    let options =
        MountOptions { nosuid: true, noexec: true, extra: "gid=5,mode=620,ptmxmode=666".into(), ..plain() };
    tree.mount_at(b"/dev/pts", names.clone(), options)?;
    let shm = tmpfs::Options { size: file_bound(config), ..Default::default() };
    tree.mount_at(b"/dev/shm", TmpFs::new(shm)?, plain())?;
    let proc = ProcFs::new();
    proc.set_kernel(kernel);
    tree.mount_at(b"/proc", proc, MountOptions { nosuid: true, noexec: true, nodev: true, ..plain() })?;
    let sys = crate::fsimpl::sys::file_system(kernel.cpus)?;
    tree.mount_at(
        b"/sys",
        sys,
        MountOptions { read_only: true, nosuid: true, noexec: true, nodev: true, ..plain() },
    )?;
    let group = crate::fsimpl::cgroup::CgroupFs::new(kernel);
    let options = MountOptions { read_only: true, nosuid: true, noexec: true, nodev: true, ..plain() };
    tree.mount_at(b"/sys/fs/cgroup", group, options)?;
    Ok(names)
}

fn make_kernel(
    config: &SentryConfig,
    platform: Platform,
    mounts: Arc<Namespace>,
    (trace, guard): (Option<std::os::fd::OwnedFd>, Option<Guard>),
    control: &Arc<Control>,
) -> Arc<Kernel> {
    let (to_launcher, describe) = (control.clone(), config.describe_denials);
    let on_stop = control.clone();
    let kernel = Arc::new(Kernel {
        platform,
        pids: Mutex::default(),
        ready: Default::default(),
        timers: Timers::new(),
        cpus: config.cpus,
        limits: config.limits,
        queued_signals: Default::default(),
        early_signals: Default::default(),
        cloning: Default::default(),
        clones_refused: Default::default(),
        started: crate::time::monotonic(),
        forks: Default::default(),
        hostname: Mutex::new(config.hostname.clone()),
        mounts,
        console: console(),
        end: Default::default(),
        stopped: Box::new(move |signal| {
            // Without a launcher to hear it nobody would continue us, but then our end is near anyway.
            let _ = on_stop.send(&Report::Stopped(signal));
        }),
        trace: trace.map(trace_to),
        ipc: Default::default(),
        pi: Default::default(),
        guard,
        learner: config.fds.learnt.map(|_| Learner::default()),
        denials: Denials::new(describe.then(|| {
            Box::new(move |denial| to_launcher.try_send(&Report::Denied(Box::new(denial)))) as Sink
        })),
        missing: Mutex::default(),
    });
    let init = new_group(&kernel, config, INIT_PID, Weak::new());
    kernel.pids.lock().groups.insert(INIT_PID, init);
    kernel
}

/// The terminal that the command's session has, should a standard stream be one.
fn console() -> Arc<Tty> {
    let tty = Tty::new(0);
    tty.set_ids(Ids { session: FIRST_PID, foreground: FIRST_PID });
    tty
}

fn trace_to(fd: std::os::fd::OwnedFd) -> TraceSink {
    use std::io::Write;
    let file = Mutex::new(std::fs::File::from(fd));
    // A reader that is gone ends the trace, not the run.
    Box::new(move |line| drop(file.lock().write_all(format!("{line}\n").as_bytes())))
}

fn start_threads(
    kernel: &Arc<Kernel>,
    poller: &Arc<HostPoller>,
    control: &Arc<Control>,
) -> std::io::Result<()> {
    let after = |k: &Arc<Kernel>| {
        let k = k.clone();
        Box::new(move || run_ready(&k)) as Box<dyn Fn() + Send + Sync>
    };
    kernel.timers.start(after(kernel))?;
    poller.start(after(kernel))?;
    let (k, c) = (kernel.clone(), control.clone());
    std::thread::Builder::new().name("control".into()).stack_size(256 << 10).spawn(move || obey(&k, &c))?;
    kernel.platform.start(Arc::new(Runner(kernel.clone())))
}

/// Has the broker asked for what leads out, and guests ask it for names.
fn open_way_out(
    kernel: &Arc<Kernel>,
    config: &SentryConfig,
    poller: &Arc<HostPoller>,
    socket: std::os::fd::OwnedFd,
) -> std::io::Result<()> {
    let loopback = match config.outside {
        Some(outside) if outside.loopback => Loopback::Reached,
        _ => Loopback::Closed,
    };
    let k = kernel.clone();
    let broker = Broker::start(socket, poller, kernel, loopback, Box::new(move || run_ready(&k)))?;
    crate::net::outside::open(Box::new(broker));
    let file = crate::fsimpl::resolv::file_system();
    let options = MountOptions { read_only: true, ..MountOptions::default() };
    if let Err(e) = file.and_then(|file| kernel.mounts.mount_at(crate::fsimpl::resolv::PATH, file, options)) {
        tracing::warn!("names cannot be looked up inside: /etc/resolv.conf cannot be made: {e}");
    }
    Ok(())
}

/// Does what the launcher says; its end is ours.
fn obey(kernel: &Arc<Kernel>, control: &Control) {
    loop {
        match control.receive::<Command>() {
            Ok(Some(Command::Signal { signal, from_terminal })) => {
                let to = if from_terminal { Outside::Foreground } else { Outside::Command };
                signals::from_outside(kernel, signal, to);
            }
            Ok(Some(Command::Kill)) => {
                kernel.platform.shutdown();
                kernel.ended(ExitStatus::Signal(libc::SIGKILL, false));
            }
            Ok(None) | Err(_) => {
                kernel.platform.shutdown();
                std::process::exit(125);
            }
        }
        run_ready(kernel);
    }
}

fn make_pidfd(cx: &mut crate::kernel::Ctx<'_>, group: &Arc<ThreadGroup>) -> Result<i32, Errno> {
    cx.install(pidfd::create(&cx.task.cred(), group.clone(), None, 0), true)
}

fn pidfd_target(cx: &crate::kernel::Ctx<'_>, fd: i32) -> Result<(i32, bool), Errno> {
    let file = cx.file(fd)?;
    let group = pidfd::group_of(&file).ok_or(Errno::EBADF)?;
    Ok((group.pid, file.nonblocking()))
}

fn standard_streams(
    kernel: &Arc<Kernel>,
    config: &SentryConfig,
    poller: &Arc<HostPoller>,
    names: &DevPts,
) -> Result<FdTable, Errno> {
    let files = FdTable::new();
    for (n, stream) in config.streams.iter().enumerate() {
        if *stream == Stream::Closed {
            continue;
        }
        let fd = match n {
            0 => rustix::io::dup(rustix::stdio::stdin()),
            1 => rustix::io::dup(rustix::stdio::stdout()),
            _ => rustix::io::dup(rustix::stdio::stderr()),
        };
        let fd = fd.map_err(|e| Errno(e.raw_os_error()))?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|e| Errno(e.raw_os_error()))?;
        let stream = HostStream::new(fd, poller)?;
        // There is one controlling terminal, and only that has a name.
        let ours = stream.terminal().filter(|rdev| dev::set_terminal(stream.clone(), *rdev));
        let node = match ours {
            Some(rdev) => {
                kernel.console.set_number(rdev);
                names.add_donated(&stream.attrs()?, stream.clone())
            }
            None => None,
        };
        let file = match node {
            Some((inode, name)) => stream.terminal_file(inode, name),
            None => stream.file(),
        };
        files.replace(n as i32, file, false, u64::MAX)?;
    }
    Ok(files)
}

fn new_group(
    kernel: &Arc<Kernel>,
    config: &SentryConfig,
    pid: i32,
    parent: Weak<ThreadGroup>,
) -> Arc<ThreadGroup> {
    let mut limits = Limits::default();
    for (slot, (soft, hard)) in limits.0.iter_mut().zip(&config.rlimits) {
        *slot = Limit { soft: *soft, hard: *hard };
    }
    let stack = &mut limits.0[resource::STACK];
    stack.soft = stack.soft.min(account::stack_max());
    let mut hand = SigHand::default();
    for (i, a) in hand.actions.iter_mut().enumerate() {
        if config.ignored_signals & (1 << i) != 0 && pid != INIT_PID {
            a.handler = SIG_IGN;
        }
    }
    let state =
        GroupState { parent, pgid: pid, sid: pid, exit_signal: libc::SIGCHLD, ..GroupState::default() };
    ThreadGroup::new(
        Arc::downgrade(kernel),
        NewGroup { pid, sighand: Arc::new(Mutex::new(hand)), limits, state, signal_wait: Default::default() },
    )
}

/// The command: looked up, loaded, and let go.
fn first_program(kernel: &Arc<Kernel>, config: &SentryConfig, files: FdTable) -> Result<(), Outcome> {
    let login = Cred::login(config.uid, config.gid, config.groups.clone());
    let login = Arc::new(login.narrowed(config.capabilities.unwrap_or(ALL_CAPS)));
    let root = kernel.mounts.root();
    let fs = working_directory(&kernel.mounts, &root, config)?;
    let init = kernel.group(INIT_PID);
    let group = new_group(kernel, config, FIRST_PID, init.as_ref().map(Arc::downgrade).unwrap_or_default());
    crate::kernel::cpu::watch_limit(kernel, &group);
    let loaded = find_and_load(kernel, config, &fs, &login, group.limit(resource::STACK))?;

    let thread = first_thread(kernel)?;
    let Loaded { actions, table, regs, comm, exe, cred } = loaded;
    let mm = AddressSpace::new(thread.space().clone(), table);
    let task = Task::new(
        kernel,
        NewTask {
            tid: FIRST_PID,
            group: group.clone(),
            thread: thread.clone(),
            mm,
            files: Arc::new(files),
            fs: Arc::new(fs),
            cred: Arc::new(cred.cred),
            sig: TaskSignals::default(),
            name: comm,
        },
    );
    task.extras.nice.store(config.nice, Ordering::Relaxed);
    group.state.lock().threads.push(task.clone());
    {
        let mut s = group.state.lock();
        s.has_execed = true;
        // The command is not told of a terminal that it has no stream of.
        s.tty = (kernel.console.number() != 0).then(|| kernel.console.clone());
    }
    *group.exe.lock() = Some(exe);
    {
        let mut pids = kernel.pids.lock();
        pids.last = FIRST_PID;
        pids.groups.insert(FIRST_PID, group.clone());
        pids.tasks.insert(FIRST_PID, task.clone());
    }
    if let Some(init) = init {
        init.state.lock().children.push(group);
    }
    signals::told_early(kernel);
    task.run.lock().then = Some(Then::Actions(Box::new(move |cx, done| match done {
        Ok(()) => Err(Stop::Enter(Box::new(regs))),
        Err((at, error)) => {
            tracing::error!(at, %error, "the program could not be mapped");
            signals::begin_exit(&cx.task.group, ExitStatus::Signal(libc::SIGKILL, false));
            Ok(0)
        }
    })));
    thread.set_cookie(task);
    thread.reply(Reply::Act(actions));
    Ok(())
}

fn first_thread(kernel: &Arc<Kernel>) -> Result<Arc<Thread>, Outcome> {
    let (tell, hear) = mpsc::channel();
    kernel.platform.fresh_thread(Box::new(move |t| {
        // Nobody listens any more only where we have given up.
        let _ = tell.send(t);
    }));
    match hear.recv_timeout(START_LIMIT) {
        Ok(t) => t.map_err(failed("cannot make an address space")),
        Err(_) => Err(Outcome::setup_failed("the first address space was not made in time")),
    }
}

fn working_directory(
    mounts: &Arc<Namespace>,
    root: &VfsPath,
    config: &SentryConfig,
) -> Result<FsContext, Outcome> {
    let look = Lookup::kernel(root.clone());
    let cwd = match look.resolve(&config.cwd, true) {
        Ok(p) if p.inode().kind() == FileKind::Dir => p,
        _ if !config.cwd_explicit => root.clone(),
        other => {
            let error = other.err().unwrap_or(Errno::ENOTDIR);
            let name = String::from_utf8_lossy(&config.cwd).into_owned();
            return Err(Outcome::setup_failed(format!("cannot start in {name}: {error}")));
        }
    };
    Ok(FsContext::new(mounts.clone(), root.clone(), cwd, config.umask))
}

/// The exit codes of a shell: 127 for what is not there, 126 for what cannot be run.
fn find_and_load(
    kernel: &Arc<Kernel>,
    config: &SentryConfig,
    fs: &FsContext,
    cred: &Arc<Cred>,
    stack_limit: u64,
) -> Result<Loaded, Outcome> {
    let name = config.argv.first().cloned().unwrap_or_default();
    let shown = String::from_utf8_lossy(&name).into_owned();
    let look = Lookup { fs: fs.get(), cred: cred.clone(), base: None };
    let (path, file) = find(&look, &name, &config.env).map_err(|e| match e {
        Errno::ENOENT if !name.contains(&b'/') => {
            Outcome::cannot_run(127, format!("{shown}: command not found"))
        }
        Errno::ENOENT | Errno::ENOTDIR => Outcome::cannot_run(127, format!("{shown}: {}", text(e))),
        e => Outcome::cannot_run(126, format!("{shown}: {}", text(e))),
    })?;
    let env = ExecEnv {
        open: &|p| look.open_exec(p, 0),
        cred,
        vdso: kernel.platform.vdso(),
        stack_limit,
        steered: Steered::No,
        fixed_places: false,
        read_implies_exec: false,
    };
    let args = ExecArgs {
        file,
        path,
        name: None,
        closes: false,
        argv: config.argv.clone(),
        envp: config.env.clone(),
    };
    loader::load(args, &env).map_err(|e| Outcome::cannot_run(126, format!("{shown}: {}", text(e))))
}

fn text(e: Errno) -> String {
    match e {
        Errno::ENOENT => "no such file or directory".into(),
        Errno::ENOTDIR => "not a directory".into(),
        Errno::EACCES => "permission denied".into(),
        Errno::ENOEXEC => "not a program that can be run here (ELF for x86-64, or a script with #!)".into(),
        Errno::ELIBBAD => "its interpreter is not a valid ELF program".into(),
        Errno::E2BIG => "the argument list is too long".into(),
        other => other.to_string(),
    }
}

/// As a shell: a name with a slash is a path; others are sought in `PATH`, and permission denied is told where nothing
/// better is found and there is such a file. (execvp(3) tells it also of a directory that may not be searched.)
fn find(look: &Lookup, name: &[u8], env: &[Vec<u8>]) -> Result<(Vec<u8>, Arc<crate::vfs::File>), Errno> {
    if name.contains(&b'/') {
        let place = look.resolve(name, true)?;
        if place.inode().kind() == FileKind::Dir {
            return Err(Errno::EACCES);
        }
        return Ok((name.to_vec(), look.open_exec(name, 0)?));
    }
    let path = env.iter().find_map(|e| e.strip_prefix(b"PATH=")).unwrap_or(b"/usr/local/bin:/bin:/usr/bin");
    let mut worst = Errno::ENOENT;
    for dir in path.split(|b| *b == b':') {
        let full = if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() };
        match look.open_exec(&full, 0) {
            Ok(file) => return Ok((full, file)),
            Err(Errno::EACCES) if look.resolve(&full, true).is_ok() => worst = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(worst)
}

/// Calls that were made but do not exist here, once, at the end and only for those who ask.
fn tell_missing(kernel: &Kernel) {
    for (nr, times) in kernel.missing.lock().iter() {
        tracing::info!(nr, times, "a call that is not implemented was made");
    }
}

/// How often the policy refused what; an end that nobody hears is the launcher's own.
fn tell_denials(kernel: &Kernel, control: &Control) {
    for counts in kernel.denials.counts(crate::admit::name) {
        if let Err(error) = control.send(&Report::Denials(counts)) {
            tracing::debug!("the launcher could not be told what was refused: {error}");
        }
    }
}

/// What the program used, as one document.
fn tell_learnt(kernel: &Kernel, to: std::os::fd::OwnedFd) {
    let Some(learner) = &kernel.learner else { return };
    let groups: Vec<_> = kernel.pids.lock().groups.values().cloned().collect();
    let times = groups.iter().map(|group| {
        let (own, children) = (group.cpu_times(), group.state.lock().child_times);
        own.0 + own.1 + children.0 + children.1
    });
    let peaks = Peaks {
        // Without a limit nobody counts what guests use.
        memory: account::limit().map_or(0, |_| account::peak()),
        cpu_time: times.max().unwrap_or(0),
        time: crate::time::monotonic().saturating_sub(kernel.started),
        ..Peaks::default()
    };
    // A reader that is gone wants no more.
    let learnt = learner.learnt(crate::admit::name, peaks);
    let _ = serde_json::to_writer(std::io::BufWriter::new(std::fs::File::from(to)), &learnt);
}
