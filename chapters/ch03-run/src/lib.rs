//! `run`: the walls of chapter 2 together, a /proc that tells the truth, and a
//! terminal of one's own.

#![forbid(unsafe_code)]

mod proc;
mod terminal;
mod walls;

pub use proc::Proc;
pub use terminal::{Flags, Raw, Terminal, own_terminal};
pub use walls::walls;
