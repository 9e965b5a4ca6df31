//! A real pseudo-terminal, with a program on it and a user before it.

use std::io::ErrorKind;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use expectrl::session::OsSession;
use expectrl::{Expect, Session};
use nix::sys::termios::{Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::until::everybody;

/// What is to be seen comes within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user's side.
pub struct Terminal {
    session: OsSession,
}

impl Terminal {
    /// Run a command on a new terminal of 80 columns and 24 rows.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(command: Command) -> Terminal {
        let mut session = Session::spawn(command).expect("a program on a terminal");
        session.set_expect_timeout(Some(PATIENCE));
        let mut terminal = Terminal { session };
        terminal.resize(80, 24);
        terminal
    }

    /// Type; `\n` is the Enter key.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) {
        self.session.send(keys.replace('\n', "\r")).expect("keys can be typed");
    }

    /// Wait until the screen shows this; what came before it is given back.
    ///
    /// # Panics
    /// When it doesn't within 20 seconds.
    #[track_caller]
    pub fn see(&mut self, text: &str) -> String {
        let found = self.session.expect(text);
        let found =
            found.unwrap_or_else(|e| panic!("no {text:?} on the screen: {e}"));
        String::from_utf8_lossy(found.before()).into_owned()
    }

    /// The same, for what takes long to come.
    ///
    /// # Panics
    /// When it doesn't come within so many seconds.
    pub fn see_within(&mut self, text: &str, seconds: u64) -> String {
        self.session.set_expect_timeout(Some(Duration::from_secs(seconds)));
        let seen = self.see(text);
        self.session.set_expect_timeout(Some(PATIENCE));
        seen
    }

    /// What is new on the screen, as it came; `None` when the program's side is
    /// closed.
    pub(crate) fn look(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 64 << 10];
        match self.session.try_read(&mut bytes) {
            // The kernel says EIO where a pipe would say end of file.
            Ok(0) => None,
            Ok(count) => Some(bytes[..count].to_vec()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Change the window's size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let resized = self.session.get_process_mut().set_window_size(columns, rows);
        resized.expect("ioctl(2) TIOCSWINSZ");
    }

    /// The terminal's modes: raw or not, echo or not.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[must_use]
    pub fn modes(&self) -> Termios {
        let handle = self.session.get_process().get_raw_handle().expect("a handle");
        tcgetattr(handle).expect("tcgetattr(3)")
    }

    /// The process id of the program.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.session.get_process().pid().as_raw()
    }

    /// Wait for the end; its exit code, or 128 + signal.
    ///
    /// # Panics
    /// When it doesn't end within 20 seconds.
    #[track_caller]
    pub fn end(self) -> i32 {
        let pid = Pid::from_raw(self.pid());
        let end = Instant::now() + PATIENCE;
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).expect("waitpid(2)") {
                WaitStatus::Exited(_, code) => return code,
                WaitStatus::Signaled(_, signal, _) => return 128 + signal as i32,
                _ if Instant::now() > end => {
                    panic!("it doesn't end; {}", everybody())
                }
                _ => sleep(Duration::from_millis(2)),
            }
        }
    }
}
