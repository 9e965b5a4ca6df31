//! The IPC namespace: message queues, semaphores and shared memory of one's own.

#![forbid(unsafe_code)]

pub mod commands;
mod objects;

pub use objects::{Kind, list, make, remove};

use common::{Birth, Part};
use nix::sched::CloneFlags;

/// An IPC namespace: System V objects and POSIX message queues.
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

    fn birth(&self, birth: &mut Birth) {
        birth.namespaces |= CloneFlags::CLONE_NEWIPC;
    }
}
// ANCHOR_END: part
