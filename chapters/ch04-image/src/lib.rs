//! Images with names, and containers that other commands can find.

#![forbid(unsafe_code)]

mod add;
mod commands;
mod directory;
mod from_image;
mod image_volumes;
mod images;
pub mod layer;
mod program_hint;
mod recorded;
mod run;
mod store;
mod sweep;

pub use commands::{Rm, Rmi};
pub use from_image::{FromImage, ImageAndCommand};
pub use image_volumes::ImageVolumes;
pub use images::Images;
pub use program_hint::program_hint;
pub use recorded::Recorded;
pub use run::{Run, RunAtTerminal, UNDO};
pub use store::{Damaged, Listed, Store};
pub use sweep::DRAFT;
