//! `stop` and `kill`: end containers.

use std::time::{Duration, Instant};

use anyhow::Result;
use common::{Process, poll};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};

use crate::signal;
use crate::target::Target;

// ANCHOR: stop
/// Send all containers their stop signal, and kill those that are still running
/// after `timeout`. When this returns, their programs have ended, but their
/// supervisors may still be cleaning up.
///
/// # Errors
/// A container that belongs to another user or is starting has an error in the
/// result. The other containers are stopped anyway.
pub fn stop(targets: &[Target], timeout: Duration) -> Vec<Result<()>> {
    let asked: Vec<Result<()>> = targets
        .iter()
        .map(|target| {
            target.send(asking(target))?;
            target.thaw(false)
        })
        .collect();
    let sound = asked.iter().zip(targets).filter(|(asked, _)| asked.is_ok());
    let processes = sound.filter_map(|(_, target)| target.process().ok().flatten());
    all_end(processes.collect(), timeout);
    let killed =
        |(asked, target): (Result<()>, &Target)| asked.and_then(|()| kill(target));
    asked.into_iter().zip(targets).map(killed).collect()
}
// ANCHOR_END: stop

/// The stop signal: that of the image, or SIGTERM.
fn asking(target: &Target) -> Signal {
    let named = target.stop_signal.as_deref().map(signal::parse);
    // A real-time signal has no name here, so it is replaced by SIGTERM.
    named.and_then(Result::ok).unwrap_or(Signal::SIGTERM)
}

/// Kill a container if it is running.
///
/// # Errors
/// The errors of [`Target::send`] and [`Target::thaw`].
pub fn kill(target: &Target) -> Result<()> {
    if target.process()?.is_none_or(Process::has_ended) {
        return Ok(());
    }
    target.send(Signal::SIGKILL)?;
    // In cgroup v1, even SIGKILL does not end a frozen process.
    target.thaw(true)
}

/// Sleep until all processes have ended, but not longer than `timeout`.
fn all_end(mut living: Vec<&Process>, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    loop {
        living.retain(|process| !process.has_ended());
        let left = deadline.saturating_duration_since(Instant::now());
        if living.is_empty() || left.is_zero() {
            return;
        }
        let mut fds: Vec<PollFd> =
            living.iter().map(|it| PollFd::new(&it.fd, PollFlags::IN)).collect();
        // If poll(2) fails, this cannot wait: the caller kills the processes at
        // once.
        if poll(&mut fds, Some(left)).is_err() {
            return;
        }
    }
}
