//! Remove one container, or all containers that have ended.

#![forbid(unsafe_code)]

mod all;
mod commands;
mod prune;
mod rm;

pub use all::Commands;
pub use commands::{Prune, RemoveCommands, Rm};
pub use prune::prune;
pub use rm::rm;
