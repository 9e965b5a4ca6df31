//! How a container ends, and the exit codes that say so.

use std::error::Error;
use std::fmt;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

/// Our own failure: the program did not run.
pub const OURS: u8 = 125;
/// The program is there but can't be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
pub const NOT_FOUND: u8 = 127;

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The program ended by itself, with this code.
    Code(i32),
    /// A signal ended it.
    Signal(Signal),
    /// It was never started: a part failed.
    NotStarted,
    /// No process of ours saw the end: the host side was killed, or it left the program.
    Unseen,
}

impl Exit {
    /// The code that a shell would report: the program's own, or 128 + signal.
    ///
    /// # Source
    /// bash(1), "Exit status"
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code as u8,
            Exit::Signal(signal) => 128 + signal as u8,
            Exit::NotStarted | Exit::Unseen => OURS,
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

/// An error that has an exit code of its own; all others have [`OURS`].
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What was wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

/// The exit code that an error asks for.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    failure.map_or(OURS, |failure| failure.code)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn exit_codes_are_the_shells() {
        assert_eq!(Exit::Code(7).code(), 7);
        assert_eq!(Exit::Signal(Signal::SIGKILL).code(), 137);
        assert_eq!(Exit::NotStarted.code(), 125);
    }

    #[test]
    fn a_failures_code_survives_its_context() {
        let failure = Failure { code: NOT_FOUND, text: "no such program".into() };
        let error = Err::<(), _>(failure).context("exec").unwrap_err();
        assert_eq!(code_of(&error), 127);
        assert_eq!(code_of(&anyhow::anyhow!("mount")), 125);
    }
}
