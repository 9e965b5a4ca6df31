//! How a container ends, and the exit status for each way.

use std::error::Error;
use std::fmt;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

/// The exit status of a failure of this runtime: the program did not run.
pub const RUNTIME_ERROR: u8 = 125;
/// The exit status if the program cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The exit status if the program was not found.
pub const NOT_FOUND: u8 = 127;

/// The way in which a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The program exited with this status.
    Code(i32),
    /// A signal killed the program.
    Signal(Signal),
    /// The program was never started, because a part failed.
    NotStarted,
    /// No process of this runtime saw the end: the supervisor was killed, or
    /// it no longer waited for the program.
    Unseen,
}

impl Exit {
    /// The exit status that a shell would report: the program's own, or 128 +
    /// signal.
    ///
    /// # Source
    /// bash(1), "Exit status"
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code as u8,
            Exit::Signal(signal) => 128 + signal as u8,
            Exit::NotStarted | Exit::Unseen => RUNTIME_ERROR,
        }
    }
}

impl From<WaitStatus> for Exit {
    fn from(status: WaitStatus) -> Exit {
        match status {
            WaitStatus::Exited(_, code) => Exit::Code(code),
            WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal),
            _ => Exit::Unseen,
        }
    }
}

/// An error with its own exit status; all other errors have [`RUNTIME_ERROR`].
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// The cause and the remedy.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

/// The exit status for an error.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    failure.map_or(RUNTIME_ERROR, |failure| failure.code)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn exit_statuses_are_those_of_a_shell() {
        assert_eq!(Exit::Code(7).code(), 7);
        assert_eq!(Exit::Signal(Signal::SIGKILL).code(), 137);
        assert_eq!(Exit::NotStarted.code(), 125);
    }

    #[test]
    fn a_failure_keeps_its_exit_status_in_a_context() {
        let failure = Failure { code: NOT_FOUND, text: "no such program".into() };
        let error = Err::<(), _>(failure).context("exec").unwrap_err();
        assert_eq!(code_of(&error), 127);
        assert_eq!(code_of(&anyhow::anyhow!("mount")), 125);
    }
}
