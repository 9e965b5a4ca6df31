//! The child as its parent holds it.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use rustix::process::pidfd_send_signal;

use crate::cli::step::Step;
use crate::process::exit::{Exit, Failure, OURS};

/// The child as its parent holds it. Dropped, it is killed and reaped.
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<Exit>,
    _intermediate: Option<Box<Child>>,
}

impl Child {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Child {
        Child { pid, pidfd, ended: None, _intermediate: None }
    }

    /// The child that an intermediate has made, which is on its way out. That it is gone
    /// nobody waits for before the child's end: taking a process' memory down takes time.
    pub(crate) fn born_of(pid: Pid, pidfd: OwnedFd, intermediate: Child) -> Child {
        let mut child = Child::new(pid, pidfd);
        child._intermediate = Some(Box::new(intermediate));
        child
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the child has ended.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Send it a signal; a child that has ended takes none, and that is fine.
    pub(crate) fn signal(&self, signal: Signal) {
        let named = rustix::process::Signal::from_named_raw(signal as i32);
        let _ = named.map(|signal| pidfd_send_signal(&self.pidfd, signal));
    }

    pub(crate) fn kill(&self) {
        if self.ended.is_none() {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Let it live on, as somebody else's child one day.
    pub(crate) fn leave(mut self) {
        // Nothing that is dropped kills it from here on.
        self.ended = Some(Exit::Unseen);
    }

    /// Wait for its end.
    pub(crate) fn reap(&mut self) -> Result<Exit> {
        loop {
            if let Some(how) = self.ended {
                return Ok(how);
            }
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Err(Errno::EINTR) => {}
                ended => self.ended = Some(ended.step(|| "waitid(2)")?.into()),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.reap();
    }
}

/// The child ended before exec and did not say why.
pub(crate) fn lost(how: Exit) -> Error {
    let how = match how {
        Exit::Signal(signal) => format!("{signal} ended it"),
        how => format!("it ended with {}", how.code()),
    };
    let text = format!("the child was lost before its program started: {how}");
    let hint = "run it again with --trace to see the last step";
    Failure { code: OURS, text: format!("{text}\nhint: {hint}") }.into()
}
