//! A process that outlives this one, to do one thing after its death.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, dup2_stdout, pipe2, read, setpgid};

use crate::cli::step::Step;
use crate::process::child::Child;
use crate::process::sys::{self, Side};

/// Does something to standard input should this process be killed.
///
/// Nothing that a process does survives its own SIGKILL; only another process can
/// clean up after that. Dropped, the guard goes without having done anything.
pub struct Guard {
    _process: Child,
    _alive: OwnedFd,
}

impl Guard {
    /// Start it. `work` runs in a process of its own, which holds nothing of this
    /// one but standard input.
    ///
    /// # Errors
    /// Those of pipe(2) and clone(2).
    pub fn after_death(work: impl FnOnce()) -> Result<Guard> {
        let (death, alive) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)")?;
        sys::assert_one_thread()?;
        let none = CloneFlags::empty();
        match sys::clone3(none, none, None).step(|| "clone3(2) of the guard")? {
            Side::Parent(pid, pidfd) => {
                Ok(Guard { _process: Child::new(pid, pidfd), _alive: alive })
            }
            Side::Child => {
                // Out of the terminal's foreground group and deaf to every signal
                // that can be blocked, SIGTTOU among them, with which the terminal
                // would stop a background process that sets its modes.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let _ = SigSet::all().thread_set_mask();
                drop(alive);
                // The end of file comes when the last copy of the other end is
                // closed. The copies that this process inherited go here; so does
                // the container's lock.
                let quiet = dup2_stdout(death.as_fd()).is_ok();
                if quiet && sys::close_from(2).is_ok() {
                    let _ = read(std::io::stdout(), &mut [0]);
                    work();
                }
                sys::leave(0)
            }
        }
    }
}
