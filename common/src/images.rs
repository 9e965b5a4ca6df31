//! Images: names for stacks of layers, stored by digest.

mod damaged;
mod digest;
mod durable;
mod image;
mod index;
mod layout;
mod reference;
mod registry;

pub use damaged::Stray;
pub use digest::Digest;
pub use durable::{remove_if_there, sync, write_durably};
pub use image::{Image, Settings, now, tree_size};
pub use layout::{Layout, LockGuard, Names};
pub use reference::Reference;
pub use registry::{HUB, registry};
