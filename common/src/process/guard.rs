//! A process that outlives this process, to run one function after its death.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, dup2_stdout, pipe2, read, setpgid};

use crate::cli::step::Step;
use crate::process::child::Child;
use crate::process::sys::{self, Side};

/// A process that runs a function on standard input if this process is killed.
///
/// No code of a process runs after its own SIGKILL; only another process can clean
/// up. When the guard is dropped, it ends without running the function.
pub struct Guard {
    _process: Child,
    _alive: OwnedFd,
}

impl Guard {
    /// Start the guard. `work` runs in a process of its own, which keeps no
    /// descriptor of this process except standard input.
    ///
    /// # Errors
    /// pipe2(2) or clone3(2) fails.
    pub fn after_death(work: impl FnOnce()) -> Result<Guard> {
        let (death, alive) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe2(2)")?;
        sys::assert_one_thread()?;
        let none = CloneFlags::empty();
        match sys::clone3(none, none, None).step(|| "clone3(2) of the guard")? {
            Side::Parent(pid, pidfd) => {
                Ok(Guard { _process: Child::new(pid, pidfd), _alive: alive })
            }
            Side::Child => {
                // Leave the terminal's foreground process group, and block every
                // signal. Otherwise the terminal would stop this background process
                // by SIGTTOU when it sets the terminal's modes.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let _ = SigSet::all().thread_set_mask();
                drop(alive);
                // read(2) returns end of file when the last copy of the other end is
                // closed. Close the copies that this process inherited; the
                // container's lock is closed as well.
                let quiet = dup2_stdout(death.as_fd()).is_ok();
                if quiet && sys::close_from(2).is_ok() {
                    let _ = read(std::io::stdout(), &mut [0]);
                    work();
                }
                sys::exit_now(0)
            }
        }
    }
}
