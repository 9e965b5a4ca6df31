//! The result of a graded program that has ended.

use nix::sys::signal::Signal;

use crate::outcome::{Outcome, Trouble};

/// Signals of a program that crashed.
const CRASHES: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; 128 + n after signal n.
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    /// The exit code that the program has for errors of its own.
    pub(crate) own: i32,
}

impl Ended {
    /// It ended with 0 and printed exactly this.
    pub(crate) fn prints(&self, expected: &str) -> Outcome {
        match self.code == 0 && self.out == expected {
            true => Ok(()),
            false => Err(self.trouble(format!("{expected:?} on standard output"))),
        }
    }

    /// It ended with 0.
    pub(crate) fn succeeds(&self) -> Outcome {
        self.exits(0)
    }

    pub(crate) fn exits(&self, code: i32) -> Outcome {
        match self.code == code {
            true => Ok(()),
            false => Err(self.trouble(format!("exit code {code}"))),
        }
    }

    /// An error with what was expected, unless the condition holds.
    pub(crate) fn so(&self, holds: bool, expected: &str) -> Outcome {
        if holds { Ok(()) } else { Err(self.trouble(expected.to_owned())) }
    }

    /// The error for an unexpected result. A crash is reported as such.
    pub(crate) fn trouble(&self, expected: String) -> Trouble {
        let signal = self.signal.and_then(|n| Signal::try_from(n).ok());
        if let Some(signal) = signal.filter(|signal| CRASHES.contains(signal)) {
            return Trouble::error(expected, format!("crashed: {signal} ended it"));
        }
        // A line that begins with "error: " is more useful than the last line.
        let mut lines = self.err.lines().filter(|line| !line.trim().is_empty());
        let error = lines.clone().find(|line| line.starts_with("error: "));
        let last = error.or(lines.next_back());
        let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
        if self.code == self.own {
            let own = self.own;
            return Trouble::error(
                expected,
                format!("it gave up with its own exit code {own}{last}"),
            );
        }
        let is_usage = |line: &str| line.to_lowercase().starts_with("usage");
        if let Some(line) =
            self.err.lines().chain(self.out.lines()).find(|line| is_usage(line))
        {
            // Most programs print the reason before the usage.
            let why = self.err.lines().find(|line| !line.trim().is_empty());
            let why = why.unwrap_or(line).trim();
            return Trouble::error(
                expected,
                format!("it printed its usage, with exit code {}: {why}", self.code),
            );
        }
        let out = &self.out;
        Trouble::fail(expected, format!("{out:?}, exit code {}{last}", self.code))
    }
}
