//! What is left of a container, removed: of one, or of all that nobody holds.

#![forbid(unsafe_code)]

mod commands;
mod prune;
mod rm;
mod undo;

pub use commands::Removal;
pub use prune::prune;
pub use rm::rm;
pub use undo::{UNDO, Undo};
