//! The PID namespace: be process number 1.

#![forbid(unsafe_code)]

use common::{Birth, Part};
use nix::sched::CloneFlags;

/// A PID namespace. Its first process is number 1: when it ends, the kernel kills
/// all others, and signals that it has no handler for don't reach it.
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

    fn birth(&self, birth: &mut Birth) {
        birth.namespaces |= CloneFlags::CLONE_NEWPID;
    }
}
// ANCHOR_END: part
