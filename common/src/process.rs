//! A process that is held by more than its number.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, pidfd_open};

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
    /// Those of pidfd_open(2), but ESRCH.
    pub fn of(pid: Pid) -> nix::Result<Option<Process>> {
        let Some(named) = rustix::process::Pid::from_raw(pid.as_raw()) else {
            return Ok(None);
        };
        let fd = match pidfd_open(named, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            Ok(fd) => fd,
        };
        // Read after the descriptor was got: what ended before had another number.
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        Ok(started(&stat).map(|since| Process { pid, fd, since }))
    }

    /// Whether it has ended, though perhaps nobody has reaped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// Field 22 of /proc/PID/stat. The second, the name, may hold spaces and brackets.
///
/// # Source
/// proc_pid_stat(5), "starttime"
fn started(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[after..]).ok()?;
    rest.split_whitespace().nth(19)?.parse().ok()
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
    fn an_own_child_is_found_until_it_is_reaped() {
        let mut child =
            std::process::Command::new("sleep").arg("9").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let first = Process::of(pid).unwrap().unwrap();
        assert_eq!(Process::of(pid).unwrap().unwrap().since, first.since);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Process::of(pid).unwrap().is_none());
    }
}
