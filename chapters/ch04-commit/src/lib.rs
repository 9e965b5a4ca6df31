//! Create an image from a container: copy its write layer while it is frozen.

#![forbid(unsafe_code)]

mod as_root;
mod command;
mod commit;
mod draft;
mod frozen;
pub mod layer;
mod locked_container;
mod new_image;

pub use as_root::become_root;
pub use command::{Commit, name};
pub use commit::commit;
pub use draft::Draft;
pub use frozen::Frozen;
pub use locked_container::LockedContainer;
pub use new_image::{NewImage, refuse_busybox};
