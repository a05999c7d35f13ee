//! A program on a terminal of its own: the harness holds the other end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child whose standard streams and controlling terminal are a pty of ours.
#[derive(Debug)]
pub struct OnTerminal {
    pub child: Child,
    master: File,
    seen: String,
}

impl OnTerminal {
    /// Starts `command` as the leader of a session on a new terminal of 24 by 80.
    pub fn spawn(command: &mut Command) -> OnTerminal {
        let (mut master, mut slave) = (-1, -1);
        let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the two numbers and the size are ours; the absent arguments may be null.
        let made =
            unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
        assert_eq!(made, 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: openpty gave us these two, and nobody else has them.
        let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        // SAFETY: one flag on a descriptor of ours: the child must not inherit our end.
        unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        let end = || Stdio::from(slave.try_clone().expect("a second descriptor of the terminal"));
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: setsid and ioctl are async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // Whoever runs the tests in the background may have them ignore what a terminal sends.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                libc::setsid();
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        };
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        // The command object keeps our copies of the slave end until it is changed.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        OnTerminal { child, master: File::from(master), seen: String::new() }
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Reads until `text` has been shown; says what was shown instead where it does not come.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while !self.seen.contains(text) {
            if !self.read_some(deadline) {
                return Err(format!("{text:?} was not shown; the terminal has {:?}", self.seen));
            }
        }
        let end = self.seen.find(text).expect("seen above") + text.len();
        self.seen.drain(..end);
        Ok(())
    }

    /// All that is shown until the program ends or `limit` is over, and its exit code.
    pub fn finish(mut self, limit: Duration) -> (String, Option<i32>) {
        let deadline = Instant::now() + limit;
        while self.read_some(deadline) {}
        let status = crate::run::wait_until(&mut self.child, deadline);
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        (std::mem::take(&mut self.seen), status.map(crate::run::shell_code))
    }

    /// The terminal's local-mode flags as the harness sees them.
    pub fn local_flags(&self) -> u32 {
        // SAFETY: termios is plain data; tcgetattr fills it or fails.
        let mut termios: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: a descriptor of ours and a place for the answer.
        unsafe { libc::tcgetattr(self.master.as_raw_fd(), &mut termios) };
        termios.c_lflag
    }

    fn read_some(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
        let mut ready = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd of ours.
        if unsafe { libc::poll(&mut ready, 1, left) } <= 0 {
            return false;
        }
        let mut buffer = [0u8; 4096];
        // EIO is how a terminal says that nobody has its other end.
        let Ok(count @ 1..) = self.master.read(&mut buffer) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_sees_a_terminal_of_the_given_size() {
        let terminal = OnTerminal::spawn(Command::new("sh").args(["-c", "test -t 0 && stty size"]));
        assert_eq!(terminal.finish(LIMIT), ("24 80\r\n".to_owned(), Some(0)));
    }

    #[test]
    fn control_c_reaches_the_foreground() {
        let mut terminal = OnTerminal::spawn(Command::new("sh").args(["-c", "echo ready; exec sleep 60"]));
        terminal.expect("ready", LIMIT).unwrap();
        terminal.send("\x03");
        assert_eq!(terminal.finish(LIMIT).1, Some(130));
    }

    #[test]
    fn what_does_not_come_is_told() {
        let mut terminal = OnTerminal::spawn(Command::new("echo").arg("other"));
        assert!(terminal.expect("this", Duration::from_millis(300)).unwrap_err().contains("other"));
        terminal.finish(LIMIT);
    }
}
