//! The IPC namespace: the container's own message queues, semaphore sets and shared
//! memory.

#![forbid(unsafe_code)]

pub mod commands;
mod objects;

pub use objects::{Kind, list, make, remove};

use common::{CloneArgs, Part};
use nix::sched::CloneFlags;

/// An IPC namespace. It isolates System V IPC objects and POSIX message queues.
///
/// # Source
/// ipc_namespaces(7)
#[derive(Debug)]
pub struct Ipc;

// ANCHOR: part
impl Part for Ipc {
    fn name(&self) -> &'static str {
        "ipc"
    }

    fn clone_args(&self, args: &mut CloneArgs) {
        args.namespaces |= CloneFlags::CLONE_NEWIPC;
    }
}
// ANCHOR_END: part
