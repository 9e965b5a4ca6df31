//! The PID namespace: the container's first process is PID 1.

#![forbid(unsafe_code)]

use common::{CloneArgs, Part};
use nix::sched::CloneFlags;

/// A PID namespace. Its first process is PID 1. When PID 1 ends, the kernel kills
/// all other processes of the namespace. A signal from inside the namespace reaches
/// PID 1 only if it has a handler for this signal.
///
/// # Source
/// pid_namespaces(7)
#[derive(Debug)]
pub struct Pid;

// ANCHOR: part
impl Part for Pid {
    fn name(&self) -> &'static str {
        "pid"
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= CloneFlags::CLONE_NEWPID;
    }
}
// ANCHOR_END: part
