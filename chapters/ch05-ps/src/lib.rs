//! The containers, and how each is now: true at the moment of the look.

#![forbid(unsafe_code)]

mod list;
mod now;
mod ps;

pub use list::{Listed, listed};
pub use now::Now;
pub use ps::Ps;
