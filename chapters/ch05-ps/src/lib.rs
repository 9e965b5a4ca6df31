//! List containers with their current status.

#![forbid(unsafe_code)]

mod all;
mod list;
mod ports;
mod ps;
mod words;

pub use all::Commands;
pub use list::{Damaged, Listed, listed};
pub use ps::{Ps, object};
