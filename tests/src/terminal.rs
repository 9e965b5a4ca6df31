//! A real pseudo-terminal, on which a test runs a program and types.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use expectrl::session::OsSession;
use expectrl::{Error, Expect, Session};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, tcgetpgrp};

use crate::until::list_processes;

/// The time limit for expected output.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The user's side.
pub struct Terminal {
    session: OsSession,
}

impl Terminal {
    /// Run a command on a new terminal of 80 columns and 24 rows.
    ///
    /// # Panics
    /// The command cannot be started.
    #[must_use]
    pub fn run(command: Command) -> Terminal {
        let session = Session::spawn(command).expect("a program on a terminal");
        let mut terminal = Terminal { session };
        terminal.resize(80, 24);
        terminal
    }

    /// Type keys; `\n` is the Enter key.
    ///
    /// # Panics
    /// The terminal is closed.
    pub fn type_keys(&mut self, keys: &str) {
        self.session.send(keys.replace('\n', "\r")).expect("keys can be typed");
    }

    /// Wait until the screen shows this text; returns the output before it.
    ///
    /// # Panics
    /// The text does not appear within two minutes.
    #[track_caller]
    pub fn see(&mut self, text: &str) -> String {
        self.see_until(text, Instant::now() + TIMEOUT)
    }

    /// Wait for a text with another time limit.
    ///
    /// # Panics
    /// The text does not appear within this time.
    #[track_caller]
    pub fn see_within(&mut self, text: &str, seconds: u64) -> String {
        self.see_until(text, Instant::now() + Duration::from_secs(seconds))
    }

    #[track_caller]
    fn see_until(&mut self, text: &str, end: Instant) -> String {
        let mut closed = false;
        loop {
            let why = match self.session.check(text) {
                Ok(found) if found.get(0).is_some() => {
                    return String::from_utf8_lossy(found.before()).into_owned();
                }
                Ok(_) if Instant::now() < end => None,
                Ok(_) => Some("the time is over".to_owned()),
                // A program may write and end while the kernel, in read(2), has already
                // looked for output and not yet for the end. The output is still there.
                Err(Error::Eof) if !closed => {
                    closed = true;
                    continue;
                }
                Err(e) => Some(e.to_string()),
            };
            if let Some(why) = why {
                let screen = self.look().unwrap_or_default();
                let screen = String::from_utf8_lossy(&screen);
                panic!("no {text:?} on the screen: {why}; it shows {screen:?}");
            }
            self.wait_for_output();
        }
    }

    /// Sleep until there is output, the program's side is closed, or 100 ms are over.
    fn wait_for_output(&self) {
        let terminal = self.session.get_stream().as_fd();
        let _ = poll(&mut [PollFd::new(terminal, PollFlags::POLLIN)], 100u8);
    }

    /// The new output, as raw bytes; `None` if the program's side is closed.
    pub(crate) fn look(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 64 << 10];
        match self.session.try_read(&mut bytes) {
            // EIO of a terminal corresponds to end of file of a pipe.
            Ok(0) => None,
            Ok(count) => Some(bytes[..count].to_vec()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Change the window's size.
    ///
    /// # Panics
    /// The terminal is closed.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let resized = self.session.get_process_mut().set_window_size(columns, rows);
        resized.expect("ioctl(2) TIOCSWINSZ");
    }

    /// The terminal's modes: raw or not, echo or not.
    ///
    /// # Panics
    /// The terminal is closed.
    #[must_use]
    pub fn modes(&self) -> Termios {
        let handle = self.session.get_process().get_raw_handle().expect("a handle");
        tcgetattr(handle).expect("tcgetattr(3)")
    }

    /// The PID of the leader of the foreground process group.
    ///
    /// # Panics
    /// The terminal is closed.
    /// # Source
    /// ioctl_tty(2), "TIOCGPGRP"
    #[must_use]
    pub fn foreground(&self) -> i32 {
        let handle = self.session.get_process().get_raw_handle().expect("a handle");
        tcgetpgrp(handle).expect("tcgetpgrp(3)").as_raw()
    }

    /// The PID of the program.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.session.get_process().pid().as_raw()
    }

    /// Wait for the end of the program; returns its exit status, or 128 + signal.
    ///
    /// # Panics
    /// The program does not end within two minutes.
    #[track_caller]
    pub fn end(self) -> i32 {
        let pid = Pid::from_raw(self.pid());
        let end = Instant::now() + TIMEOUT;
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).expect("waitpid(2)") {
                WaitStatus::Exited(_, code) => return code,
                WaitStatus::Signaled(_, signal, _) => return 128 + signal as i32,
                _ if Instant::now() > end => {
                    panic!("the program does not end; {}", list_processes())
                }
                _ => sleep(Duration::from_millis(2)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_program_that_has_ended_is_seen() {
        for _ in 0..20 {
            let mut command = Command::new("echo");
            command.arg("hello");
            let mut terminal = Terminal::run(command);
            assert_eq!(terminal.see("lo"), "hel");
            assert_eq!(terminal.end(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "hello")]
    fn a_text_that_never_appears_ends_the_test() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello; exec sleep 1000"]);
        Terminal::run(command).see_within("bye", 1);
    }
}
