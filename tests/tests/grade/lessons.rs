//! The checks of the learner's tasks, `cargo xtask try`, where they use commands that only
//! this course's programs have. The checks of a container are those of `capabilities`.

mod first;
mod groups;
mod images;
mod kernel;
mod lives;
mod networks;
mod registries;
mod whiteout;

use crate::Entry;

/// All the checks, in the order of the book.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    let parts = [lives::ALL, networks::ALL, registries::ALL];
    let kernel = first::ALL.iter().chain(kernel::all());
    kernel.chain(images::all()).chain(parts.into_iter().flatten())
}
