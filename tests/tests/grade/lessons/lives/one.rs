//! The container of a check, which is named `one`.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use blackbox::living;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::ended::Ended;
use crate::outcome::{Outcome, Trouble};
use crate::process::{field, groups};
use crate::room::Room;

/// The time within which an expected event must happen. A container of these checks needs less
/// than a second; a check of a wrong program must not take long.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// The time that the processes of a container have to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The containers of a check. They are ended and removed when this is dropped, also if the
/// check fails.
pub(super) struct One<'a> {
    pub(super) room: &'a Room,
}

impl<'a> One<'a> {
    /// Remove all containers of this check at the end.
    pub(super) fn guard(room: &'a Room) -> One<'a> {
        One { room }
    }

    /// Start a detached container with these flags, which runs this script.
    pub(super) fn detached(
        room: &'a Room,
        flags: &[&str],
        script: &str,
    ) -> Result<One<'a>, Trouble> {
        let one = One::guard(room);
        one.run(&[&["-d"], flags].concat(), script)?.succeeds()?;
        Ok(one)
    }

    /// Run this script in the container `one` with these flags, to the end of `run`.
    fn run(&self, flags: &[&str], script: &str) -> Result<Ended, Trouble> {
        let (run, program) =
            (["run", "--name", "one"], ["busybox", "sh", "-c", script]);
        self.room.words(&[&run[..], flags, &program].concat()).end()
    }

    /// Run a script to its end in a container with these flags.
    pub(super) fn ended(
        room: &'a Room,
        flags: &[&str],
        script: &str,
    ) -> Result<One<'a>, Trouble> {
        let one = One::guard(room);
        one.run(flags, script)?;
        match room.container() {
            Some(_) => Ok(one),
            None => Err(Trouble::fail("a container that has ended", "none")),
        }
    }

    /// The PID on the host of the first process in the container.
    pub(super) fn pid(&self) -> Result<i32, Trouble> {
        let mut pid = None;
        until(
            "a process that is PID 1 of a container",
            || "no process".into(),
            || {
                pid = first();
                pid.is_some()
            },
        )?;
        Ok(pid.unwrap_or_default())
    }

    /// The PID of the supervisor, the parent of the first process.
    pub(super) fn supervisor(&self) -> Result<i32, Trouble> {
        let parent = field(self.pid()?, "PPid").parse();
        parent.map_err(|_| Trouble::fail("a parent of PID 1", "it has ended"))
    }

    /// Send the first process a signal, without the commands of the program.
    pub(super) fn signal(&self, signal: Signal) -> Outcome {
        let _ = kill(Pid::from_raw(self.pid()?), signal);
        Ok(())
    }

    /// Wait until no process of the container and no supervisor is left.
    pub(super) fn ends(&self) -> Outcome {
        let left = || format!("these processes run: {:?}", living());
        until("the container to end", left, || {
            reap();
            living().is_empty()
        })
    }

    /// The files of the container in the state directory that exist.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let directories = ["containers", "running", "names"];
        let directories = directories.map(|it| self.room.lab.state().join(it));
        let entries = directories.iter().filter_map(|it| fs::read_dir(it).ok());
        entries.flatten().flatten().map(|entry| entry.path()).collect()
    }
}

/// Wait until the condition holds.
pub(super) fn until(
    expected: &str,
    actual: impl Fn() -> String,
    mut holds: impl FnMut() -> bool,
) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            let seconds = PATIENCE.as_secs();
            let actual = format!("{} after {seconds} s", actual());
            return Err(Trouble::fail(expected, actual));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The first process of a container: it has the PID 1 in another PID namespace.
fn first() -> Option<i32> {
    let is_first = |pid: &i32| {
        field(*pid, "NSpid").split_whitespace().skip(1).last() == Some("1")
    };
    living().into_keys().find(is_first)
}

/// Reap the children that have ended. The first process of a PID namespace ends only after
/// all others were reaped.
fn reap() {
    let flag = Some(WaitPidFlag::WNOHANG);
    while waitpid(None, flag).is_ok_and(|it| it != WaitStatus::StillAlive) {}
}

/// In cgroup v1, not even SIGKILL ends a frozen process.
fn thaw(pid: i32) {
    for group in groups(pid) {
        let file = group.join("freezer.state");
        if file.exists() {
            let _ = fs::write(file, "THAWED");
        }
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        // The commands of this clean-up are not those of the check.
        let ran = self.room.commands.borrow().len();
        let (end, mut killed) = (Instant::now() + FAREWELL, false);
        while !living().is_empty() && Instant::now() < end + FAREWELL {
            // The supervisors end by themselves and clean up after their programs.
            if let Some(pid) = first() {
                thaw(pid);
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if Instant::now() > end && !killed {
                killed = true;
                for pid in living().into_keys() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            reap();
            sleep(Duration::from_millis(10));
        }
        let containers = fs::read_dir(self.room.lab.state().join("containers"));
        for id in containers.into_iter().flatten().flatten() {
            let id = id.file_name().to_string_lossy().into_owned();
            if let Ok(rm) = self.room.words(&["rm", &id]).start() {
                let _ = rm.end_within(FAREWELL);
            }
        }
        self.room.commands.borrow_mut().truncate(ran);
    }
}
