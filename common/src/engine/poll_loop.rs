//! The poll loop, which runs in the supervisor while the program runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};

use crate::cli::step;
use crate::process::child::Child;
use crate::process::exit::Exit;
use crate::process::pidfd::{self, Process};
use crate::process::poll::poll;
use crate::process::signals::{STOPPING, Signals, ends, stop_with};
use crate::state::Home;

/// The time limit for the program to end after a signal such as SIGTERM. Then the
/// program gets SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// An object that is served by the poll loop while the program runs.
pub trait Watch {
    /// Add the descriptors to wait for; called before every poll(2).
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>);

    /// Handle the events of these descriptors, in the same order.
    ///
    /// # Errors
    /// An error ends the run; the program is killed.
    fn ready(&mut self, events: &[PollFlags]) -> Result<()>;

    /// Handle a signal that the supervisor received.
    fn signal(&mut self, _signal: Signal) {}

    /// Called after the program has ended: copy the remaining bytes from pipes.
    ///
    /// # Errors
    /// Errors are reported to the user.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A container whose program runs, as its parts see it.
pub struct Running {
    home: Home,
    pid: Pid,
    program: Option<Process>,
    pub(crate) joinable: bool,
    fds: BTreeMap<String, OwnedFd>,
    watches: Vec<Box<dyn Watch>>,
}

impl Running {
    pub(crate) fn new(
        home: Home,
        pid: Pid,
        fds: BTreeMap<String, OwnedFd>,
    ) -> Running {
        let (program, joinable, watches) = (None, false, Vec::new());
        Running { home, pid, program, joinable, fds, watches }
    }

    /// ID, name and state directory.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The PID of the container's first process, on the host.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Note the process once all parts are started, so that other commands can join
    /// the container even though its files are removed at its end.
    pub fn allow_join(&mut self) {
        self.joinable = true;
    }

    /// Note the program to which this pidfd refers, for processes that join. A part
    /// calls this if the first process is an init process.
    ///
    /// # Errors
    /// read(2) or write(2) fails.
    pub fn set_program(&mut self, pidfd: OwnedFd) -> Result<()> {
        // A program that has already ended cannot be joined.
        if let Some(program) = Process::from_pidfd(pidfd)? {
            self.home.note_program(program.pid)?;
            self.program = Some(program);
        }
        Ok(())
    }

    /// The descriptor that the part of this name sent.
    ///
    /// # Errors
    /// The part sent no descriptor.
    pub fn take(&mut self, part: &str) -> Result<OwnedFd> {
        self.take_if_sent(part)
            .with_context(|| format!("{part} sent no descriptor to the supervisor"))
    }

    /// Like [`Running::take`], for a part that does not always send a descriptor.
    pub(crate) fn take_if_sent(&mut self, part: &str) -> Option<OwnedFd> {
        self.fds.remove(part)
    }

    /// Add an object to the poll loop.
    pub fn watch(&mut self, watch: impl Watch + 'static) {
        self.watches.push(Box::new(watch));
    }

    /// Serve all watches until the program ends. Returns how it ended, and whether
    /// all its output was written.
    pub(crate) fn wait(
        &mut self,
        child: &mut Child,
        signals: &Signals,
        keys_reach_child: bool,
    ) -> Result<(Exit, Result<()>)> {
        let mut deadline: Option<Instant> = None;
        loop {
            let mut fds = vec![
                PollFd::new(child.pidfd(), PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
            ];
            let mut borders = Vec::with_capacity(self.watches.len());
            for watch in &self.watches {
                watch.wants(&mut fds);
                borders.push(fds.len());
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            poll(&mut fds, left)?;
            let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);

            let mut from = 2;
            for (watch, to) in self.watches.iter_mut().zip(borders) {
                watch.ready(&events[from..to])?;
                from = to;
            }
            if !events[0].is_empty() {
                let how = child.reap()?;
                let finished = self.watches.iter_mut().map(|watch| watch.finish());
                return Ok((how, step::join_errors(finished)));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                child.kill();
                deadline = None;
            }
            while let Some((signal, by_kernel)) = signals.next()? {
                if STOPPING.contains(&signal) {
                    self.stop(child, signal)?;
                    continue;
                }
                for watch in &mut self.watches {
                    watch.signal(signal);
                }
                // Ctrl-C signals every process of the terminal's foreground process
                // group. Without its own session, the program is one of them.
                if !(by_kernel && keys_reach_child) && signal != Signal::SIGWINCH {
                    child.signal(signal);
                }
                if !ends(signal) || self.program_handles(signal) {
                    continue;
                }
                // The kernel discards a signal for which PID 1 of a namespace has no
                // handler, so the program may never end by itself.
                match deadline {
                    Some(_) => child.kill(),
                    None => deadline = Some(Instant::now() + STOP_TIMEOUT),
                }
            }
        }
    }

    // ANCHOR: stop
    /// Stop this process together with the program, as the caller's shell expects
    /// from a job. Later, continue both.
    fn stop(&self, child: &Child, signal: Signal) -> Result<()> {
        // If the first process is an init process, stop the program instead, which
        // is not PID 1.
        let send = |signal| match &self.program {
            Some(program) => pidfd::send(&program.fd, signal),
            None => child.signal(signal),
        };
        // Stop the program first. A PID 1 that reads the terminal in the background
        // would repeat read(2) and get SIGTTIN in an endless loop.
        send(Signal::SIGSTOP);
        let stopped = stop_with(signal);
        send(Signal::SIGCONT);
        stopped
    }
    // ANCHOR_END: stop

    /// Whether the program handles SIGINT itself. Ctrl-C in a shell does not mean
    /// that the shell must end.
    fn program_handles(&self, signal: Signal) -> bool {
        let pid = self.program.as_ref().map_or(self.pid, |program| program.pid);
        signal == Signal::SIGINT
            && fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|status| handles(&status, signal))
    }
}

/// Whether a process with this status has a handler for the signal.
///
/// # Source
/// proc_pid_status(5), "SigCgt"
fn handles(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal as u32 - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caught_signals_are_read_from_status() {
        let status = "SigIgn:\t0000000000000000\nSigCgt:\t0000000000000002\n";
        assert!(handles(status, Signal::SIGINT));
        assert!(!handles(status, Signal::SIGTERM));
    }
}
