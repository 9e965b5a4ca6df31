//! The checks of each capability, in the order of the book.

mod limits_and_files;
mod namespaces;
mod program;

use crate::Entry;

// No script here uses /dev/null: not every container has one, and a redirection that
// fails is easily taken for what was asked.

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [program::ALL, namespaces::ALL, limits_and_files::ALL];
    parts.into_iter().flatten()
}

/// Where volumes are shown: most root file systems have it.
const GUEST: &str = "/mnt";

const WAITS: &str = "echo ready; while :; do sleep 0.1; done";
