//! A process that is held by more than its number.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::cli::step::Step;
use crate::process::poll::poll;
use crate::read_whole;

/// A process: its number may be another's one day, its descriptor never.
#[derive(Debug)]
pub struct Process {
    /// The number.
    pub pid: Pid,
    /// Readable when it has ended.
    pub fd: OwnedFd,
    /// When it was started, in clock ticks after boot.
    pub since: u64,
}

impl Process {
    /// The process that has this number now; `None` when none has.
    ///
    /// # Errors
    /// Those of pidfd_open(2), except those that say that no process has this number.
    pub fn of(pid: Pid) -> nix::Result<Option<Process>> {
        Ok(Process::found(pid)?.map(|(process, _)| process))
    }

    /// The process, and what /proc tells of it.
    fn found(pid: Pid) -> nix::Result<Option<(Process, Vec<u8>)>> {
        let Some(named) = rustix::process::Pid::from_raw(pid.as_raw()) else {
            return Ok(None);
        };
        let fd = match pidfd_open(named, PidfdFlags::empty()) {
            // The number is not a process's. While a process is being reaped, or if a
            // thread has the number, kernels before 6.15 say EINVAL and later ones ENOENT.
            Err(
                rustix::io::Errno::SRCH
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOENT,
            ) => return Ok(None),
            Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            Ok(fd) => fd,
        };
        // Read after the descriptor was got: what ended before had another number.
        let stat = stat_of(pid);
        Ok(started(&stat).map(|since| (Process { pid, fd, since }, stat)))
    }

    /// The process that this pidfd holds; `None` when it is gone.
    ///
    /// # Errors
    /// Those of read(2).
    /// # Source
    /// pidfd_open(2), "fdinfo"
    pub fn held_by(fd: OwnedFd) -> Result<Option<Process>> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let text = fs::read_to_string(&path).look(|| format!("read(2) {path}"))?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        let pid = pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or(-1);
        if pid <= 0 {
            return Ok(None);
        }
        let pid = Pid::from_raw(pid);
        Ok(started(&stat_of(pid)).map(|since| Process { pid, fd, since }))
    }

    /// Whether it has ended, or is about to: its namespaces go before its number. A
    /// number that was seen to be its own before this says no was its own.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended_by(&stat_of(self.pid))
    }

    /// The same, by what /proc told before.
    fn ended_by(&self, stat: &[u8]) -> bool {
        // As long as it has not ended, the number was its own when that was read.
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        // Looked at, not waited for.
        let looked = poll(&mut fds, Some(Duration::ZERO));
        let gone = looked.is_ok() && !fds[0].revents().is_empty();
        gone || field(stat, 9).is_none_or(|flags| flags & EXITING != 0)
    }
}

/// A process as a note tells of it: its number may be another's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The number.
    pub pid: Pid,
    /// When it was started, in clock ticks after boot.
    pub since: u64,
}

impl Noted {
    /// Whether this very process lives: one look at /proc, without a descriptor.
    #[must_use]
    pub fn lives(self) -> bool {
        let stat = stat_of(self.pid);
        started(&stat) == Some(self.since)
            && field(&stat, 9).is_some_and(|flags| flags & EXITING == 0)
    }

    /// Hold the process; `None` if it has ended, or is about to.
    ///
    /// # Errors
    /// As [`Process::of`].
    pub fn hold(self) -> nix::Result<Option<Process>> {
        let found = Process::found(self.pid)?;
        // The number may belong to a process that was started later.
        let same = found.filter(|(process, stat)| {
            process.since == self.since && !process.ended_by(stat)
        });
        Ok(same.map(|(process, _)| process))
    }
}

/// /proc/PID/stat; nothing, when there is no such process.
fn stat_of(pid: Pid) -> Vec<u8> {
    read_whole::read(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// Of a process that is on its way out.
///
/// # Source
/// include/linux/sched.h, "PF_EXITING"
const EXITING: u64 = 4;

/// When a process was started.
///
/// # Source
/// proc_pid_stat(5), "starttime"
fn started(stat: &[u8]) -> Option<u64> {
    field(stat, 22)
}

/// A field of /proc/PID/stat past the second, which is the name and may hold spaces and
/// brackets.
///
/// # Source
/// proc_pid_stat(5)
fn field(stat: &[u8], number: usize) -> Option<u64> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[after..]).ok()?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9876 20";
        for name in ["sh", "a b", "a) S 1", ")("] {
            let stat = format!("12 ({name}) {rest}");
            assert_eq!(started(stat.as_bytes()), Some(9876), "{name}");
        }
        assert_eq!(started(b""), None);
    }

    #[test]
    fn the_number_of_a_thread_is_no_process() {
        // A process that is being reaped gives the same errors, in a moment too short
        // for a test.
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).unwrap();
            let _ = ended.recv();
        });
        let number = told.recv().unwrap();
        assert_eq!(Process::of(number).map(|found| found.is_none()), Ok(true));
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn an_own_child_is_found_until_it_is_reaped() {
        let mut child =
            std::process::Command::new("sleep").arg("9").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let first = Process::of(pid).unwrap().unwrap();
        assert_eq!(Process::of(pid).unwrap().unwrap().since, first.since);
        assert!(!first.has_ended());
        let noted = Noted { pid, since: first.since };
        let later = Noted { pid, since: first.since + 1 };
        assert!(noted.hold().unwrap().is_some() && noted.lives());
        assert!(later.hold().unwrap().is_none() && !later.lives());
        child.kill().unwrap();
        // It is there until it is reaped, and does not live.
        while !first.has_ended() {
            std::thread::yield_now();
        }
        assert!(noted.hold().unwrap().is_none() && !noted.lives());
        child.wait().unwrap();
        assert!(first.has_ended());
        assert!(Process::of(pid).unwrap().is_none());
    }
}
