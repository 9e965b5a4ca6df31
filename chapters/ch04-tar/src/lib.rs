//! Tar archives: export a container's tree, and import an image.

#![forbid(unsafe_code)]

mod all;
mod commands;
pub mod compression;
mod export;
mod import;
mod merged;
mod pack;

pub use all::Commands;
pub use commands::{Commit, Export, Import};
pub use export::export;
pub use import::import;
