//! Call a function in another network namespace.

use std::os::fd::BorrowedFd;
use std::thread;

use anyhow::{Result, anyhow};
use common::step::Step;
use nix::sched::{CloneFlags, setns};

/// Call a function in another network namespace.
///
/// A separate thread enters the namespace and ends there. setns(2) affects only the
/// calling thread, so the rest of this process stays in its own namespace.
///
/// # Errors
/// An errno of setns(2); any error of the function.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let thread = || {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .untraced(|| "setns(2) the container's network namespace")?;
        work()
    };
    thread::scope(|scope| scope.spawn(thread).join()).unwrap_or_else(|_| {
        Err(anyhow!("the thread in the other namespace panicked"))
    })
}
