//! Images: a name for a stack of layers.

mod image;

pub use image::{Image, now, weigh};
