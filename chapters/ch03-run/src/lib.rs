//! `run`: all namespaces of chapter 2 together, a /proc for the container's own
//! processes, and a terminal.

#![forbid(unsafe_code)]

mod proc;
mod terminal;
mod walls;

pub use proc::Proc;
pub use terminal::{Flags, RawMode, Terminal, own_terminal};
pub use walls::walls;
