//! A network namespace of the benchmark.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::thread;

use anyhow::Result;
use ch02_net::Route;
use common::step::Step;
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It exists as long as this value, or a process or device in
/// it.
pub(super) struct Space(File);

impl Space {
    /// Create a new one, with `lo` up.
    pub(super) fn new() -> Result<Space> {
        apart(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .step(|| "unshare(2) of the net namespace")?;
            Route::open()?.set_up("lo")?;
            Space::at("/proc/thread-self/ns/net")
        })
    }

    /// The network namespace of a process.
    pub(super) fn of(pid: &str) -> Result<Space> {
        Space::at(&format!("/proc/{pid}/ns/net"))
    }

    fn at(path: &str) -> Result<Space> {
        File::open(path).map(Space).step(|| format!("open(2) {path}"))
    }

    /// Run `work` in it; programs that the work starts also run in it.
    pub(super) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        apart(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)
                .step(|| "setns(2) the network namespace")?;
            work()
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Run `work` in a new thread.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
