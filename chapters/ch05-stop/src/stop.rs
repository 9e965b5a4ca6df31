//! `stop` and `kill`: first asked, then made to.

use std::time::{Duration, Instant};

use anyhow::Result;
use common::{Process, poll};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};

use crate::signal;
use crate::target::Target;

// ANCHOR: stop
/// Ask all of them for their end, and kill those that live after this time. Their
/// programs have ended then, and their host sides are undoing what they did.
///
/// # Errors
/// Another user's, one that is just being started: told with each, and the others are
/// ended all the same.
pub fn stop(targets: &[Target], patience: Duration) -> Vec<Result<()>> {
    let asked: Vec<Result<()>> = targets
        .iter()
        .map(|target| {
            target.send(asking(target))?;
            target.thaw(false)
        })
        .collect();
    let sound = asked.iter().zip(targets).filter(|(asked, _)| asked.is_ok());
    let processes = sound.filter_map(|(_, target)| target.process().ok().flatten());
    all_end(processes.collect(), patience);
    let killed =
        |(asked, target): (Result<()>, &Target)| asked.and_then(|()| kill(target));
    asked.into_iter().zip(targets).map(killed).collect()
}
// ANCHOR_END: stop

/// The signal that asks the program to end: the image's, or SIGTERM.
fn asking(target: &Target) -> Signal {
    let named = target.stop_signal.as_deref().map(signal::parse);
    // A real-time signal has no name here; SIGTERM asks as well.
    named.and_then(Result::ok).unwrap_or(Signal::SIGTERM)
}

/// End one at once, if it lives.
///
/// # Errors
/// As [`Target::send`].
pub fn kill(target: &Target) -> Result<()> {
    if target.process()?.is_none_or(Process::has_ended) {
        return Ok(());
    }
    target.send(Signal::SIGKILL)?;
    // In cgroup v1 not even SIGKILL reaches who is frozen.
    target.thaw(true)
}

/// Sleep until all have ended, or this time is over.
fn all_end(mut living: Vec<&Process>, patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        living.retain(|process| !process.has_ended());
        let left = deadline.saturating_duration_since(Instant::now());
        if living.is_empty() || left.is_zero() {
            return;
        }
        let mut fds: Vec<PollFd> =
            living.iter().map(|it| PollFd::new(&it.fd, PollFlags::IN)).collect();
        // Without poll(2) there is no wait: they are killed at once.
        if poll(&mut fds, Some(left)).is_err() {
            return;
        }
    }
}
