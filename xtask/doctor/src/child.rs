//! Running an attempt in its own process: a hang or a crash is a finding too.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use provision::command::run;
use serde::{Deserialize, Serialize};

/// The first argument of a program that is called to make an attempt. The program
/// passes the other arguments to [`crate::attempt`].
pub const VERB: &str = "doctor-attempt";

/// The time limit of an attempt. No attempt needs a tenth of it.
const LIMIT: Duration = Duration::from_secs(10);

/// The outcome of an attempt, as the child reports it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The error, if the attempt failed.
    pub(crate) error: Option<String>,
    /// The errno of the error.
    errno: Option<i32>,
}

impl Outcome {
    pub(crate) fn failed(error: &anyhow::Error) -> Outcome {
        let errno = error.root_cause().downcast_ref::<Errno>();
        Outcome {
            error: Some(common::step::report(error)),
            errno: errno.map(|errno| *errno as i32),
        }
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }
}

/// Make an attempt in a child, which executes this program with [`VERB`].
pub(crate) fn attempt<S: AsRef<OsStr>>(words: &[S]) -> Outcome {
    let program = env::current_exe().unwrap_or("/proc/self/exe".into());
    let mut command = Command::new(program);
    command.arg(VERB).args(words);
    told(&mut command, LIMIT)
}

fn told(command: &mut Command, limit: Duration) -> Outcome {
    let said = match run(command, limit) {
        Ok(said) => said,
        Err(error) => return Outcome::failed(&error),
    };
    serde_json::from_slice(&said.out).unwrap_or_else(|error| Outcome {
        error: Some(format!("the attempt printed no outcome: {error}")),
        errno: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(script: &str) -> String {
        let mut command = Command::new("sh");
        let outcome = told(command.args(["-c", script]), Duration::from_millis(300));
        assert_eq!(outcome.errno(), None);
        outcome.error.unwrap()
    }

    #[test]
    fn a_hang_a_crash_and_no_output_are_errors() {
        assert!(error("exec sleep 1000").contains("timed out"));
        assert!(error("kill -SEGV $$").contains("signal: 11"));
        assert!(error("true").contains("printed no outcome"));
    }

    #[test]
    fn the_errno_of_the_kernel_is_received() {
        let mut command = Command::new("echo");
        command.arg(r#"{"error":"mount(2): EPERM","errno":1}"#);
        let outcome = told(&mut command, LIMIT);
        assert_eq!(outcome.errno(), Some(Errno::EPERM));
    }
}
