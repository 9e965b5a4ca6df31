//! A container that a command ends or waits for. Open files identify it, not only
//! its name.

use std::fs::File;

use anyhow::{Result, bail};
use ch02_cgroups::{Group, freeze};
use common::state::{End, FoundContainer, Name, State, Status, Watched, record};
use common::step::{Hint, Step};
use common::{Exit, Home, NotedProcess, Process, rights};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::process::pidfd_send_signal;

use crate::stopped::Continuing;

/// A container, with the user's name for it and its status.
#[derive(Debug)]
pub struct Target {
    /// The name, ID or ID prefix that the user gave.
    pub word: String,
    /// The container's files.
    pub home: Home,
    /// The signal for `stop`, as the image specifies it.
    pub(crate) stop_signal: Option<String>,
    watched: Option<Watched>,
    status: Status,
    /// Its first process, with a pidfd, if it is running.
    process: Option<Process>,
    /// The noted first process of the container, even if it is about to end.
    pub(crate) first: Option<NotedProcess>,
    /// Its end, if it had ended when it was found.
    end: Option<End>,
}

impl Target {
    /// Find the container with this name, ID, or unique ID prefix.
    ///
    /// # Errors
    /// No container or several containers match the word (see
    /// [`FoundContainer::find`]); the container's files cannot be read.
    pub fn find(state: &State, word: &str) -> Result<Target> {
        let FoundContainer { home, record } = FoundContainer::find(state, word)?;
        // Open the lock file before the status is read: from here on, the end is
        // written to this file.
        let watched = home.watch()?;
        let by_lock = Status::by_lock(&home)?;
        let process = match by_lock {
            Status::Running(noted) => {
                noted.open().untraced(|| format!("pidfd_open(2) {}", noted.pid))?
            }
            _ => None,
        };
        // Read the end now: a removal deletes the file and does not write the end to
        // the lock file.
        let end = match by_lock {
            // A damaged file means that the container has ended, but no process can
            // read how.
            Status::Starting | Status::Dead => {
                End::read(state, &home.id).unwrap_or_default()
            }
            _ => None,
        };
        let status = match by_lock {
            // A process that removes a container takes its lock again.
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
            // A removal may have deleted the lock file.
            Status::Ending => home.notes().unwrap_or_default().process(),
            _ => None,
        };
        Ok(Target { word, home, stop_signal, watched, status, process, first, end })
    }

    /// Returns a guard. While the guard exists, stopped processes do not prevent the
    /// container from ending.
    #[must_use]
    pub fn continuing(&self) -> Continuing {
        Continuing::parents_of(self.first.into_iter().collect())
    }

    /// The name, or else the ID.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.home.name.as_ref().map_or(self.home.id.as_str(), Name::as_str)
    }

    /// The container's first process. `None` if the program has ended.
    ///
    /// # Errors
    /// The container is starting.
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
    /// Send a signal to the first process. Returns whether the process existed.
    ///
    /// # Errors
    /// The container is starting; EPERM if it belongs to another user.
    /// # Source
    /// pidfd_send_signal(2)
    pub fn send(&self, signal: Signal) -> Result<bool> {
        let Some(process) = self.process()? else { return Ok(false) };
        let named = rustix::process::Signal::from_named_raw(signal as i32);
        let Some(named) = named else { return Ok(false) };
        match pidfd_send_signal(&process.fd, named) {
            // The process has ended. Its PID may be in use again, but a pidfd always
            // refers to the original process.
            Err(rustix::io::Errno::SRCH) => Ok(false),
            sent => sent
                .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
                .untraced(|| {
                    format!("pidfd_send_signal(2) {signal} to {}", process.pid)
                })
                .hint(|errno| {
                    let foreign = errno == Errno::EPERM;
                    foreign
                        .then(|| "the container belongs to another user".to_owned())
                })
                .map(|()| true),
        }
    }
    // ANCHOR_END: send

    // ANCHOR: thaw
    /// Thaw the container if it is frozen, because a frozen process handles no
    /// signals. A process that copies the container's files has frozen it and thaws
    /// it afterwards. While such a process exists, this does nothing unless
    /// `even_if_read` is set.
    ///
    /// # Errors
    /// The group cannot be thawed.
    pub fn thaw(&self, even_if_read: bool) -> Result<()> {
        let read = File::open(self.home.dir());
        let read = read.is_ok_and(|directory| directory.try_lock().is_err());
        if !rights::privileged() || (read && !even_if_read) {
            return Ok(());
        }
        let Ok(group) = Group::find(self.home.id.as_str()) else { return Ok(()) };
        let file = group.file("freezer.state").or(group.file("cgroup.freeze"));
        if file.is_err() {
            return Ok(());
        }
        match freeze(&group, false) {
            // The group is removed together with the container.
            Err(_) if self.process()?.is_none_or(Process::has_ended) => Ok(()),
            thawed => thawed,
        }
    }
    // ANCHOR_END: thaw

    // ANCHOR: wait
    /// Sleep until the supervisor has cleaned up and released the container's lock.
    /// Returns how the program ended, or `None` if no process saw its end.
    ///
    /// # Errors
    /// An errno of flock(2) or read(2).
    pub fn wait_until_cleaned_up(self, state: &State) -> Result<Option<Exit>> {
        // A container that is removed with its program (`--rm`) has its end only in
        // its lock file.
        let noted = match self.watched {
            Some(watched) => End::noted(&watched.wait_until_released()?)?,
            None => None,
        };
        let end = match noted.or(self.end) {
            Some(end) => Some(end),
            None => End::read(state, &self.home.id).unwrap_or_default(),
        };
        Ok(end.map(|end| end.how).filter(|how| *how != Exit::Unseen))
    }
    // ANCHOR_END: wait
}
