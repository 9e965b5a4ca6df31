//! The state directory: its path, and the files of each container.

mod claim;
mod directory;
pub mod fields;
mod find;
mod home;
mod id;
mod lock;
mod name;
mod names;
mod notes;
mod opened;
mod own_files;
mod published;
pub mod record;
mod remove;
mod spread;
mod status;
mod summary;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
mod tree;
mod undo;

pub use directory::State;
pub use find::{FoundContainer, Readable};
pub use home::Home;
pub use id::Id;
pub use lock::{Lock, LockState, Watched};
pub use name::Name;
pub use notes::Notes;
pub use own_files::OWN_FILES;
pub use published::{Protocol, Published};
pub use record::{End, Record};
pub use status::Status;
pub use summary::Summary;
pub use sweep::{Dead, sweep_holder};
pub use tree::remove_tree;
pub use undo::{Table, Undo};
