//! The checks of the tasks of chapters 2 and 3: namespaces, cgroups, unions and limits.

mod cgroups;
mod limits;
mod setns;
mod unions;

use crate::Entry;

/// All the checks, in the order of the book.
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [setns::ALL, cgroups::ALL, unions::ALL, limits::ALL];
    parts.into_iter().flatten()
}
