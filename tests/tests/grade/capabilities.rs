//! The checks of each capability, in the order of the book.

mod limits_and_files;
mod namespaces;
mod program;

use crate::Entry;

// No script here uses /dev/null: not every container has one, and a failed redirection is
// easily mistaken for the result of the check.

/// All the checks.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [program::ALL, namespaces::ALL, limits_and_files::ALL];
    parts.into_iter().flatten()
}

/// The mount point of volumes: most root filesystems have this directory.
const GUEST: &str = "/mnt";

const WAITS: &str = "echo ready; while :; do sleep 0.1; done";
