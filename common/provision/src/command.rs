//! Running other programs without output: the output is kept for the error.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use common::step::Step;
use common::{null, poll};

/// The output of a program.
#[derive(Debug)]
pub struct Said {
    /// The bytes on stdout.
    pub out: Vec<u8>,
    /// The text on stderr.
    pub err: String,
}

impl Said {
    /// The last line on stderr that starts with `start`.
    #[must_use]
    pub fn last(&self, start: &str) -> Option<&str> {
        self.err.lines().rfind(|line| line.starts_with(start))
    }
}

/// Run a command, at most for `limit`. If it fails, the last line of its stderr is
/// the error.
///
/// # Errors
/// The command cannot be started, fails, or exceeds the limit and is killed.
pub fn run(command: &mut Command, limit: Duration) -> Result<Said> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Output in memory: no pipe fills up, and a full disk cannot hide the reason.
    let (mut out, mut err) = (memory()?, memory()?);
    command.stdin(null()?).stdout(out.try_clone()?).stderr(err.try_clone()?);
    // English messages, because the errors contain them.
    let mut child = match command.env("LC_ALL", "C").spawn() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!("{name} not found"),
        child => child.step(|| format!("execve(2) {name}"))?,
    };
    let Some(status) = wait(&mut child, limit)? else {
        bail!("{name} timed out after {} seconds", limit.as_secs());
    };
    let mut said = Said { out: Vec::new(), err: String::new() };
    let mut words = Vec::new();
    out.rewind().and_then(|()| out.read_to_end(&mut said.out)).context("memfd")?;
    err.rewind().and_then(|()| err.read_to_end(&mut words)).context("memfd")?;
    said.err = String::from_utf8_lossy(&words).into_owned();
    if !status.success() {
        let last = said.err.lines().rfind(|line| !line.trim().is_empty());
        match last {
            Some(last) => bail!("{name}: {}", last.trim()),
            None => bail!("{name} failed and printed nothing: {status}"),
        }
    }
    Ok(said)
}

fn memory() -> Result<File> {
    let fd = memfd_create("said", MFdFlags::MFD_CLOEXEC);
    Ok(File::from(fd.step(|| "memfd_create(2)")?))
}

/// Wait for a child; `None` if the time expired and the child was killed.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .step(|| "pidfd_open(2)")?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut fds, Some(left))?;
        if !fds[0].revents().is_empty() {
            return Ok(Some(child.wait().step(|| "wait(2)")?));
        }
        if left.is_zero() {
            child.kill().step(|| "kill(2)")?;
            child.wait().step(|| "wait(2)")?;
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::busybox::turn;

    const SOON: Duration = Duration::from_secs(20);

    fn sh(script: &str, limit: Duration) -> Result<Said> {
        let _turn = turn();
        run(Command::new("/bin/sh").args(["-c", script]), limit)
    }

    #[test]
    fn the_last_line_of_stderr_is_the_error() {
        let error = sh("echo first >&2; echo last >&2; exit 3", SOON).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh: last");
    }

    #[test]
    fn output_larger_than_a_pipe_is_kept() {
        let said = sh("yes | head -c 300000; echo W: x >&2; echo y >&2", SOON);
        let said = said.unwrap();
        assert_eq!(said.out.len(), 300_000);
        assert_eq!(said.last("W: "), Some("W: x"));
    }

    #[test]
    fn a_program_that_never_ends_is_killed() {
        let limit = Duration::from_millis(200);
        let begun = Instant::now();
        let error = sh("exec sleep 60", limit).unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
        assert!(begun.elapsed() < SOON);
    }

    #[test]
    fn a_missing_program_is_named() {
        let _turn = turn();
        let error = run(&mut Command::new("no-such-program"), SOON).unwrap_err();
        assert_eq!(error.to_string(), "no-such-program not found");
    }
}
