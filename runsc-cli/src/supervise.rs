//! The launcher's life while the sandbox runs: it relays signals to the sentry, keeps time, reaps, and sees to it that
//! nothing is left when either of its children is gone.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::enforce::denied::Denied;
use jail::cgroup::Cleaner;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{getpid, Pid};
use sentry::control::{Command, Control, Kind, Outcome, Report};

/// How long a command may take to end after SIGTERM once its time is up.
const GRACE: Duration = Duration::from_secs(5);
/// How long the sentry may take to end once it was told to, or has said that it is done.
const PATIENCE: Duration = Duration::from_secs(2);
/// What `--timeout` exits with.
const TIMED_OUT: i32 = 124;
/// How many bytes of process numbers are read at once; more are found the next time.
const MAX_CHILDREN: u64 = 64 * 1024;

/// Signals that are passed on to the guest.
const RELAYED: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGPWR,
];

/// Signals as a descriptor, so that one poll waits for all there is.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks and catches them; those that the caller ignores stay ignored.
    pub(crate) fn catch(ignored: u64) -> nix::Result<Signals> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        for signal in RELAYED {
            if ignored & (1 << (signal as i32 - 1)) == 0 {
                set.add(signal);
            }
        }
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }
}

/// The processes that the launcher started.
#[derive(Debug)]
pub(crate) struct Children {
    pub(crate) sentry: Pid,
    pub(crate) gofer: Pid,
    /// Where the policy lets guests out.
    pub(crate) broker: Option<Pid>,
    /// Removes the guests' control group when all else is over.
    pub(crate) cleaner: Option<Cleaner>,
    /// The kernel's list of our children: where there is no process namespace, orphaned stubs come to us.
    pub(crate) inherited: Option<File>,
}

/// Waits for the end of a run.
#[derive(Debug)]
pub(crate) struct Supervisor {
    signals: Signals,
    control: Control,
    children: Children,
    denied: Denied,
    outcome: Option<Outcome>,
    sentry_alive: bool,
    gofer_alive: bool,
    broker_alive: bool,
    hung_up: bool,
    /// The command is over, and what it changed is being written.
    over: bool,
    clock: Clock,
}

/// What time limit comes next.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Unlimited,
    /// SIGTERM then.
    Limit(Instant),
    /// It was told to end; the kernel kills all guests then.
    Grace(Instant),
    /// The sentry itself is killed then.
    Last(Instant),
}

impl Supervisor {
    pub(crate) fn new(signals: Signals, control: Control, children: Children, denied: Denied) -> Supervisor {
        let broker_alive = children.broker.is_some();
        Supervisor {
            signals,
            control,
            children,
            denied,
            outcome: None,
            sentry_alive: true,
            gofer_alive: true,
            broker_alive,
            hung_up: false,
            over: false,
            clock: Clock::Unlimited,
        }
    }

    /// Supervises until the sentry is gone, and everything else with it.
    pub(crate) fn run(mut self, timeout: Option<Duration>) -> Outcome {
        if let Some(limit) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            self.clock = Clock::Limit(limit);
        }
        let mut timed_out = false;
        while self.sentry_alive {
            if let Err(error) = self.step(&mut timed_out) {
                self.fail(format!("the launcher cannot wait: {error}"));
                self.end(self.children.sentry);
                self.sentry_alive = false;
            }
        }
        // Its last word may still be on the way when its end is already known.
        self.hear();
        self.sweep();
        self.denied.sum_up();
        let outcome =
            self.outcome.unwrap_or_else(|| Outcome::setup_failed("the sentry ended without a word"));
        match outcome.outcome {
            Kind::Exited | Kind::Signaled if timed_out => Outcome {
                outcome: Kind::Timeout,
                code: TIMED_OUT,
                message: Some("the time limit has passed; the command was ended".to_owned()),
            },
            _ => outcome,
        }
    }

    /// One wait, and what came of it.
    fn step(&mut self, timed_out: &mut bool) -> nix::Result<()> {
        let mut waits = vec![PollFd::new(self.signals.0.as_fd(), PollFlags::POLLIN)];
        if !self.hung_up {
            waits.push(PollFd::new(self.control.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut waits, self.until_deadline()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let heard = waits.get(1).and_then(PollFd::any).unwrap_or(false);
        if heard {
            self.hear_one();
        }
        while let Some(info) = self.signals.0.read_signal()? {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            if signal == Signal::SIGCHLD {
                self.reap();
            } else if self.over && matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT) {
                self.fail("interrupted while the changes were being written".to_owned());
                self.end(self.children.sentry);
                self.sentry_alive = false;
            } else {
                // Positive codes are the kernel's own (sigaction(2), `si_code`): a key of the terminal.
                self.tell(Command::Signal { signal: signal as i32, from_terminal: info.ssi_code > 0 });
            }
        }
        self.look_at_clock(timed_out);
        Ok(())
    }

    fn until_deadline(&self) -> PollTimeout {
        let deadline = match self.clock {
            Clock::Unlimited => return PollTimeout::NONE,
            Clock::Limit(at) | Clock::Grace(at) | Clock::Last(at) => at,
        };
        // Rounded up, so that the deadline has passed when the wait ends.
        let rest = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        i32::try_from(rest.as_millis())
            .ok()
            .and_then(|ms| PollTimeout::try_from(ms).ok())
            .unwrap_or(PollTimeout::MAX)
    }

    fn look_at_clock(&mut self, timed_out: &mut bool) {
        let now = Instant::now();
        match self.clock {
            Clock::Limit(at) if now >= at => {
                *timed_out = true;
                self.tell(Command::Signal { signal: Signal::SIGTERM as i32, from_terminal: false });
                // A stopped command hears nothing else.
                self.tell(Command::Signal { signal: Signal::SIGCONT as i32, from_terminal: false });
                self.clock = Clock::Grace(now + GRACE);
            }
            Clock::Grace(at) if now >= at => {
                self.tell(Command::Kill);
                self.clock = Clock::Last(now + PATIENCE);
            }
            Clock::Last(at) if now >= at => {
                if *timed_out && self.outcome.is_none() {
                    self.outcome = Some(Outcome::signaled(Signal::SIGKILL as i32));
                }
                self.end(self.children.sentry);
                self.sentry_alive = false;
            }
            _ => {}
        }
    }

    fn tell(&mut self, command: Command) {
        if let Err(error) = self.control.send(&command) {
            tracing::debug!("the sentry could not be told: {error}");
        }
    }

    /// Everything that the sentry has said.
    fn hear(&mut self) {
        while !self.hung_up {
            let mut waits = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waits, PollTimeout::ZERO).unwrap_or(0) == 0 {
                return;
            }
            self.hear_one();
        }
    }

    fn hear_one(&mut self) {
        match self.control.receive::<Report>() {
            Ok(Some(Report::Done(outcome))) => {
                self.outcome.get_or_insert(outcome);
                self.clock = Clock::Last(Instant::now() + PATIENCE);
            }
            Ok(Some(Report::Over)) => {
                self.over = true;
                self.clock = Clock::Unlimited;
            }
            Ok(Some(Report::Denied(denial))) => self.denied.one(&denial),
            Ok(Some(Report::Denials(counts))) => self.denied.add(counts),
            Ok(Some(Report::Stopped(_))) => {
                // The caller's shell is to see that its job has stopped. SIGCONT wakes us, and is passed on.
                let _ = kill(getpid(), Signal::SIGSTOP);
            }
            Ok(None) => {
                // It holds its end as long as it lives, so it is on its way out.
                self.hung_up = true;
                self.clock = Clock::Last(Instant::now() + PATIENCE);
            }
            Err(error) => {
                self.fail(format!("the sentry speaks nonsense: {error}"));
                self.hung_up = true;
                self.clock = Clock::Last(Instant::now());
            }
        }
    }

    /// Takes the end of every process that has ended.
    fn reap(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status,
                Err(_) => continue,
            };
            let Some(pid) = status.pid() else { continue };
            let ended = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
            if ended && pid == self.children.sentry {
                self.sentry_alive = false;
                self.hear();
                if self.outcome.is_none() {
                    self.fail(end_of("sentry", status));
                }
            } else if ended && pid == self.children.gofer {
                self.gofer_alive = false;
                self.broken("gofer", status);
            } else if ended && Some(pid) == self.children.broker {
                self.broker_alive = false;
                self.broken("net broker", status);
            }
        }
    }

    /// A process that the sentry needs is gone. It ends by itself when the sentry has let go of it: its end counts only
    /// while that one runs. Where it was killed, what the command made of what failed is no outcome.
    fn broken(&mut self, name: &str, status: WaitStatus) {
        self.hear();
        let killed = matches!(status, WaitStatus::Signaled(..));
        if killed {
            self.outcome = None;
        } else if self.outcome.is_some() || !self.sentry_alive || self.hung_up {
            return;
        }
        self.fail(end_of(name, status));
        if self.sentry_alive {
            self.end(self.children.sentry);
            self.sentry_alive = false;
        }
    }

    fn fail(&mut self, what: String) {
        self.outcome.get_or_insert_with(|| Outcome::setup_failed(what));
    }

    /// Kills a child and waits for its end.
    fn end(&self, child: Pid) {
        let _ = kill(child, Signal::SIGKILL);
        while waitpid(child, None) == Err(Errno::EINTR) {}
    }

    /// Nothing of ours outlives the run: the gofer, the net broker, and what was inherited where no process namespace ends it.
    fn sweep(&mut self) {
        if self.gofer_alive {
            self.end(self.children.gofer);
            self.gofer_alive = false;
        }
        if let Some(broker) = self.children.broker.filter(|_| self.broker_alive) {
            self.end(broker);
            self.broker_alive = false;
        }
        // New ones can come as long as one lives, so until there is none.
        let cleaner = self.children.cleaner.take();
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD)) {
            match inherited(&mut self.children.inherited) {
                Ok(pids) if pids.is_empty() => {}
                // It ends by itself, and only once the guests are gone.
                Ok(pids) if cleaner.as_ref().is_some_and(|cleaner| pids == [cleaner.pid()]) => break,
                Ok(pids) => {
                    let others =
                        pids.into_iter().filter(|pid| cleaner.as_ref().is_none_or(|c| c.pid() != *pid));
                    others.for_each(|pid| self.end(pid));
                }
                Err(_) => break,
            }
        }
        drop(cleaner);
    }
}

/// The children of this process (proc(5), `/proc/PID/task/TID/children`).
fn inherited(list: &mut Option<File>) -> io::Result<Vec<Pid>> {
    let list = list.as_mut().ok_or(io::ErrorKind::NotFound)?;
    list.rewind()?;
    let mut text = String::new();
    list.take(MAX_CHILDREN).read_to_string(&mut text)?;
    Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect())
}

/// What the user reads when one of our processes has ended by itself.
fn end_of(name: &str, status: WaitStatus) -> String {
    match status {
        WaitStatus::Signaled(_, Signal::SIGSYS, _) => format!(
            "the {name} was ended by its own seccomp filter; the command was ended with it\n\
             this is a bug in runsc: RUNSC_FILTERS=trap names the call, please report it"
        ),
        WaitStatus::Signaled(_, signal, _) => format!(
            "the {name} was ended by {signal}; the command was ended with it\n\
             if nobody sent that signal, the machine may be out of memory (see dmesg)"
        ),
        WaitStatus::Exited(_, code) => {
            format!("the {name} ended unexpectedly (exit code {code}); the command was ended with it")
        }
        _ => format!("the {name} is gone; the command was ended with it"),
    }
}
