//! The state directory: where it is, and what is known of each container.

mod directory;
pub mod fields;
pub(crate) mod home;
mod id;

pub use directory::State;
pub use home::{Dead, Home, Life, Lock, Watched, remove_tree};
pub use id::{Id, Name};
