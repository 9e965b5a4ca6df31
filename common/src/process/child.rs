//! The parent's handle of the child.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::cli::step::Step;
use crate::process::exit::{Exit, Failure, RUNTIME_ERROR};
use crate::process::pidfd::send;

/// The parent's handle of the child. When it is dropped, it kills and reaps the
/// child.
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<Exit>,
    /// See [`CloneArgs::thawed`](crate::CloneArgs::thawed).
    pub(crate) thawed: Option<PathBuf>,
    _intermediate: Option<Box<Child>>,
}

impl Child {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Child {
        Child { pid, pidfd, ended: None, thawed: None, _intermediate: None }
    }

    /// The handle of a child that an intermediate process created. The intermediate
    /// is about to exit. It is reaped only after the child has ended, because
    /// releasing the memory of a process takes time.
    pub(crate) fn from_intermediate(
        pid: Pid,
        pidfd: OwnedFd,
        intermediate: Child,
    ) -> Child {
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

    /// Send a signal to the child. A child that has ended ignores it; this is not an
    /// error.
    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.pidfd, signal);
    }

    pub(crate) fn kill(&self) {
        if self.ended.is_some() {
            return;
        }
        self.signal(Signal::SIGKILL);
        if let Some(procs) = &self.thawed {
            // It may be gone, or the group: then there is nothing to thaw.
            let _ = fs::write(procs, self.pid.to_string());
        }
    }

    /// Give up the handle without killing the child. Another process will reap it.
    pub(crate) fn disown(mut self) {
        // From here on, drop() does not kill the child.
        self.ended = Some(Exit::Unseen);
    }

    /// Wait until the child has ended.
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

/// The error for a child that ended before execve(2) without sending a reason.
pub(crate) fn lost(how: Exit) -> Error {
    let how = match how {
        Exit::Signal(signal) => format!("killed by {signal}"),
        how => format!("exited with status {}", how.code()),
    };
    let text = format!("the child was lost before its program started: {how}");
    let hint = "run it again with --trace to see the last step";
    Failure { code: RUNTIME_ERROR, text: format!("{text}\nhint: {hint}") }.into()
}
