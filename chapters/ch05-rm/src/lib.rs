//! What is left of a container, removed: of one, or of all that no process holds.

#![forbid(unsafe_code)]

mod all;
mod commands;
mod prune;
mod rm;

pub use all::Commands;
pub use commands::{Prune, Removal, Rm};
pub use prune::prune;
pub use rm::rm;
