//! A container that is to end, held by more than its name.

use std::fs::File;

use anyhow::{Result, bail};
use ch02_cgroups::{Group, freeze};
use common::state::{End, Found, Name, State, Status, Watched, record};
use common::step::{Hint, Step};
use common::{Exit, Home, Noted, Process, rights};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::process::pidfd_send_signal;

use crate::stopped::Continuing;

/// A container, what it is called by, and how far it is.
#[derive(Debug)]
pub struct Target {
    /// What the user called it.
    pub word: String,
    /// Where its files are.
    pub home: Home,
    /// The signal that asks its program to end, as the image names it.
    pub(crate) stop_signal: Option<String>,
    watched: Option<Watched>,
    status: Status,
    /// Its first process, held by a pidfd while it runs.
    process: Option<Process>,
    /// Its first process, as noted, also if it is about to end.
    pub(crate) first: Option<Noted>,
    /// How it ended, if it had when it was found.
    end: Option<End>,
}

impl Target {
    /// The container of this name, this id, or what only its id begins with.
    ///
    /// # Errors
    /// As [`Found::find`].
    pub fn find(state: &State, word: &str) -> Result<Target> {
        let Found { home, record } = Found::find(state, word)?;
        // Opened before it is looked at: whatever ends it from here on is noted in it.
        let watched = home.watch()?;
        let by_lock = Status::by_lock(&home)?;
        let process = match by_lock {
            Status::Running(noted) => {
                noted.hold().look(|| format!("pidfd_open(2) {}", noted.pid))?
            }
            _ => None,
        };
        // Read now: a removal takes the file away and does not note the end.
        let end = match by_lock {
            // A damaged file tells of an end that no process can read.
            Status::Starting | Status::Dead => {
                End::read(state, &home.id).unwrap_or_default()
            }
            _ => None,
        };
        let status = match by_lock {
            // The process that removes a container holds its lock anew.
            Status::Starting if end.is_some() || !record::exists(&home) => {
                Status::Ending
            }
            Status::Running(_) if process.is_none() => Status::Ending,
            status => status,
        };
        let word = word.to_owned();
        let stop_signal = record.and_then(|record| record.stop_signal);
        let first = match status {
            Status::Running(noted) => Some(noted),
            Status::Ending => home.notes()?.process(),
            _ => None,
        };
        Ok(Target { word, home, stop_signal, watched, status, process, first, end })
    }

    /// Until the answer is dropped, stopped processes do not keep the container from ending.
    #[must_use]
    pub fn continuing(&self) -> Continuing {
        Continuing::parents_of(self.first.into_iter().collect())
    }

    /// The name, or else the ID.
    #[must_use]
    pub fn called(&self) -> &str {
        self.home.name.as_ref().map_or(self.home.id.as_str(), Name::as_str)
    }

    /// Its first process; `None` if its program has ended.
    ///
    /// # Errors
    /// It is just being started.
    pub fn process(&self) -> Result<Option<&Process>> {
        if self.status == Status::Starting && self.home.notes()?.are_damaged() {
            bail!(
                "the lock file of container {} is damaged ({}): end its program with \
                 kill(1), then remove the container",
                self.word,
                self.home.state.running().join(self.home.id.as_str()).display()
            );
        }
        if self.status == Status::Starting {
            bail!(
                "container {} is just being started: try again when `ps` lists it as up",
                self.word
            );
        }
        Ok(self.process.as_ref())
    }

    // ANCHOR: send
    /// Send its first process a signal; true if there was one to get it.
    ///
    /// # Errors
    /// EPERM of another user's.
    /// # Source
    /// pidfd_send_signal(2)
    pub fn send(&self, signal: Signal) -> Result<bool> {
        let Some(process) = self.process()? else { return Ok(false) };
        let named = rustix::process::Signal::from_named_raw(signal as i32);
        let Some(named) = named else { return Ok(false) };
        match pidfd_send_signal(&process.fd, named) {
            // It has ended meanwhile, and its number may be another's: the descriptor
            // never is.
            Err(rustix::io::Errno::SRCH) => Ok(false),
            sent => sent
                .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
                .look(|| format!("pidfd_send_signal(2) {signal} to {}", process.pid))
                .hint(|errno| {
                    let foreign = errno == Errno::EPERM;
                    foreign.then(|| "it is another user's container".to_owned())
                })
                .map(|()| true),
        }
    }
    // ANCHOR_END: send

    // ANCHOR: thaw
    /// Let it go on, should it be frozen: it gets no signal before. Not while somebody
    /// copies its files, who froze it, and thaws it afterwards; unless it must be.
    ///
    /// # Errors
    /// Its group can't be thawed.
    pub fn thaw(&self, whoever_reads: bool) -> Result<()> {
        let read = File::open(self.home.dir());
        let read = read.is_ok_and(|directory| directory.try_lock().is_err());
        if !rights::privileged() || (read && !whoever_reads) {
            return Ok(());
        }
        let Ok(group) = Group::find(self.home.id.as_str()) else { return Ok(()) };
        let file = group.file("freezer.state").or(group.file("cgroup.freeze"));
        if file.is_err() {
            return Ok(());
        }
        match freeze(&group, false) {
            // Its group goes with it.
            Err(_) if self.process()?.is_none_or(Process::has_ended) => Ok(()),
            thawed => thawed,
        }
    }
    // ANCHOR_END: thaw

    // ANCHOR: outlast
    /// Sleep until its host side has undone all, and let go of its lock: how it ended,
    /// `None` if nobody saw that.
    ///
    /// # Errors
    /// Those of flock(2) and read(2).
    pub fn outlast(self, state: &State) -> Result<Option<Exit>> {
        // A container that goes with its program has told its end in its lock file only.
        let noted = match self.watched {
            Some(watched) => End::noted(&watched.outlast()?)?,
            None => None,
        };
        let end = match noted.or(self.end) {
            Some(end) => Some(end),
            None => End::read(state, &self.home.id).unwrap_or_default(),
        };
        Ok(end.map(|end| end.how).filter(|how| *how != Exit::Unseen))
    }
    // ANCHOR_END: outlast
}
