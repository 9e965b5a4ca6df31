//! The poll loop: what the host side does while the program runs.

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
use crate::process::pidfd::Process;
use crate::process::poll::poll;
use crate::process::signals::{Signals, ends};
use crate::state::Home;

/// How long a program has for its end, once asked for it, before SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that is served by the poll loop while the program runs.
pub trait Watch {
    /// The descriptors that it waits for now; asked before every poll(2).
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>);

    /// What came of it, in the same order.
    ///
    /// # Errors
    /// Ends the run; the program is killed.
    fn ready(&mut self, events: &[PollFlags]) -> Result<()>;

    /// A signal of the host side.
    fn signal(&mut self, _signal: Signal) {}

    /// The program is gone: finish what it left in pipes.
    ///
    /// # Errors
    /// Told to the user.
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

    /// Id, name, own directory.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The process id of the container's first process on the host.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Others may want to join it, though it does not stay: once all parts are started,
    /// the process is noted.
    pub fn let_join(&mut self) {
        self.joinable = true;
    }

    /// The first process is an init, and the program is the one that this pidfd holds:
    /// note it, for those who join.
    ///
    /// # Errors
    /// Those of read(2) and write(2).
    pub fn program_is(&mut self, pidfd: OwnedFd) -> Result<()> {
        // One that has ended by now is joined by nobody.
        if let Some(program) = Process::held_by(pidfd)? {
            self.home.note_program(program.pid)?;
            self.program = Some(program);
        }
        Ok(())
    }

    /// The descriptor that the part of this name sent up.
    ///
    /// # Errors
    /// It sent none.
    pub fn take(&mut self, part: &str) -> Result<OwnedFd> {
        self.fds
            .remove(part)
            .with_context(|| format!("{part} sent no descriptor up"))
    }

    /// Join the poll loop.
    pub fn watch(&mut self, watch: impl Watch + 'static) {
        self.watches.push(Box::new(watch));
    }

    /// Serve all watches until the program ends: how it ended, and whether all that it
    /// printed was written.
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
                for watch in &mut self.watches {
                    watch.signal(signal);
                }
                // Ctrl-C goes to every process of the terminal's foreground group,
                // and without a session of its own the program is one of them.
                if !(by_kernel && keys_reach_child) && signal != Signal::SIGWINCH {
                    child.signal(signal);
                }
                if !ends(signal) || self.spared(signal) {
                    continue;
                }
                // The kernel drops what PID 1 of a namespace has no handler for,
                // so asking may be in vain.
                match deadline {
                    Some(_) => child.kill(),
                    None => deadline = Some(Instant::now() + PATIENCE),
                }
            }
        }
    }

    /// Ctrl-C in a shell is no wish for its end: a program that handles SIGINT decides
    /// itself.
    fn spared(&self, signal: Signal) -> bool {
        let pid = self.program.as_ref().map_or(self.pid, |program| program.pid);
        signal == Signal::SIGINT
            && fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|status| handles(&status, signal))
    }
}

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
