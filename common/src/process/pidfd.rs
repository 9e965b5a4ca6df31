//! A process, identified by its PID and a pidfd or its start time.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::cli::step::Step;
use crate::process::poll::poll;
use crate::read_whole;

/// A process. Its PID may be reused after its end; the pidfd always refers to it.
#[derive(Debug)]
pub struct Process {
    /// The PID.
    pub pid: Pid,
    /// The pidfd; readable when the process has ended.
    pub fd: OwnedFd,
    /// The start time of the process, in clock ticks after boot.
    pub since: u64,
}

impl Process {
    /// The process that has this PID now; `None` if no process has it.
    ///
    /// # Errors
    /// pidfd_open(2) fails, for example with EMFILE. A missing process is not an
    /// error.
    pub fn of(pid: Pid) -> nix::Result<Option<Process>> {
        Ok(Process::found(pid)?.map(|(process, _)| process))
    }

    /// The process, and the content of its /proc/PID/stat.
    fn found(pid: Pid) -> nix::Result<Option<(Process, Vec<u8>)>> {
        let Some(named) = rustix::process::Pid::from_raw(pid.as_raw()) else {
            return Ok(None);
        };
        let fd = match pidfd_open(named, PidfdFlags::empty()) {
            // No process has this PID. While a process is being reaped, or if a
            // thread has this ID, kernels before 6.15 return EINVAL and later ones
            // ENOENT.
            Err(
                rustix::io::Errno::SRCH
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOENT,
            ) => return Ok(None),
            Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            Ok(fd) => fd,
        };
        // Read it after pidfd_open(2): before that call, the PID may have belonged
        // to another process.
        let stat = stat_of(pid);
        Ok(started(&stat).map(|since| (Process { pid, fd, since }, stat)))
    }

    /// The process to which this pidfd refers; `None` if it has ended.
    ///
    /// # Errors
    /// read(2) fails.
    /// # Source
    /// pidfd_open(2), "fdinfo"
    pub fn from_pidfd(fd: OwnedFd) -> Result<Option<Process>> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let text =
            fs::read_to_string(&path).untraced(|| format!("read(2) {path}"))?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        let pid = pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or(-1);
        if pid <= 0 {
            return Ok(None);
        }
        let pid = Pid::from_raw(pid);
        Ok(started(&stat_of(pid)).map(|since| Process { pid, fd, since }))
    }

    /// Whether the process has ended or is exiting. An exiting process counts as
    /// ended because its namespaces disappear before its PID. If this returns false,
    /// every check of the PID since the pidfd was opened concerned this process.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended_by(&stat_of(self.pid))
    }

    /// Like [`Process::has_ended`], but with a /proc/PID/stat that was already read.
    fn ended_by(&self, stat: &[u8]) -> bool {
        // If the process has not ended yet, the PID was its own when `stat` was
        // read.
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        // A timeout of zero: check without waiting.
        let polled = poll(&mut fds, Some(Duration::ZERO));
        let gone = polled.is_ok() && !fds[0].revents().is_empty();
        gone || field(stat, 9).is_none_or(|flags| flags & EXITING != 0)
    }
}

/// Send a signal to the process of a pidfd. If it has ended, nothing happens.
pub(crate) fn send(pidfd: &OwnedFd, signal: Signal) {
    let named = rustix::process::Signal::from_named_raw(signal as i32);
    let _ = named.map(|signal| pidfd_send_signal(pidfd, signal));
}

/// A process as a note stores it: its PID may have been reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedProcess {
    /// The PID.
    pub pid: Pid,
    /// The start time of the process, in clock ticks after boot.
    pub since: u64,
}

impl NotedProcess {
    /// Whether exactly this process is alive. This needs one read of /proc and no
    /// pidfd.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let stat = stat_of(self.pid);
        started(&stat) == Some(self.since)
            && field(&stat, 9).is_some_and(|flags| flags & EXITING == 0)
    }

    /// Open the process; `None` if it has ended or is exiting.
    ///
    /// # Errors
    /// pidfd_open(2) fails, for example with EMFILE.
    pub fn open(self) -> nix::Result<Option<Process>> {
        let found = Process::found(self.pid)?;
        // A process that started later may have the same PID.
        let same = found.filter(|(process, stat)| {
            process.since == self.since && !process.ended_by(stat)
        });
        Ok(same.map(|(process, _)| process))
    }
}

/// Send SIGCONT to each stopped process (SIGSTOP, Ctrl-Z) that has a zombie child in
/// this PID namespace. The caller of `exec` can be such a process. The kernel ends a
/// PID namespace only after every process in it was reaped by its parent.
///
/// `first` is the namespace's first process. It may have ended, and its parent may
/// also be stopped. Processes that this user may not signal are left alone.
///
/// # Source
/// pid_namespaces(7); kernel/pid_namespace.c, "`zap_pid_ns_processes`"
pub fn continue_stopped_parents(first: NotedProcess) {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    // If the start time is the same, no other process has this PID.
    let same = started(&stat_of(first.pid)) == Some(first.since);
    let Some(ended) = namespace(first.pid).filter(|_| same) else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.map(Pid::from_raw) else { continue };
        let stat = stat_of(pid);
        if state(&stat) == Some(b'Z')
            && namespace(pid).as_ref() == Some(&ended)
            && let Some(parent) = field(&stat, 4).and_then(|it| it.try_into().ok())
            && state(&stat_of(Pid::from_raw(parent))) == Some(b'T')
        {
            // Ignore an error: the parent may have ended meanwhile.
            let _ = kill(Pid::from_raw(parent), Signal::SIGCONT);
        }
    }
}

/// The letter of the process state. It is the field after the name, and the name may
/// contain brackets.
///
/// # Source
/// proc_pid_stat(5), "state"
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

/// The content of /proc/PID/stat; empty if there is no such process.
fn stat_of(pid: Pid) -> Vec<u8> {
    read_whole::read(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// The flag of a process that is exiting.
///
/// # Source
/// include/linux/sched.h, "PF_EXITING"
const EXITING: u64 = 4;

/// The start time of a process.
///
/// # Source
/// proc_pid_stat(5), "starttime"
fn started(stat: &[u8]) -> Option<u64> {
    field(stat, 22)
}

/// A field of /proc/PID/stat after the second. The second field is the name, which
/// may contain spaces and brackets.
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
    fn the_start_time_is_found_after_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9876 20";
        for name in ["sh", "a b", "a) S 1", ")("] {
            let stat = format!("12 ({name}) {rest}");
            assert_eq!(started(stat.as_bytes()), Some(9876), "{name}");
        }
        assert_eq!(started(b""), None);
    }

    #[test]
    fn the_id_of_a_thread_is_not_a_process() {
        // A process that is being reaped gives the same errors, but only for a
        // moment that is too short for a test.
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
        let noted = NotedProcess { pid, since: first.since };
        let later = NotedProcess { pid, since: first.since + 1 };
        assert!(noted.open().unwrap().is_some() && noted.is_alive());
        assert!(later.open().unwrap().is_none() && !later.is_alive());
        child.kill().unwrap();
        // The process exists until it is reaped, but it is not alive.
        while !first.has_ended() {
            std::thread::yield_now();
        }
        assert!(noted.open().unwrap().is_none() && !noted.is_alive());
        child.wait().unwrap();
        assert!(first.has_ended());
        assert!(Process::of(pid).unwrap().is_none());
    }
}
