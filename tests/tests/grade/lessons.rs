//! The checks of the learner's tasks, `cargo xtask try`, where they use commands that only
//! this course's programs have. The checks of a container are those of `capabilities`.

mod first;
mod groups;
mod images;
mod kernel;
mod lives;
mod whiteout;

use crate::Entry;

/// All the checks, in the order of the book.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    let kernel = first::ALL.iter().chain(kernel::all());
    kernel.chain(images::all()).chain(lives::ALL)
}
