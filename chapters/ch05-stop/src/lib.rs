//! Stop a container, kill it, and wait for its end.

#![forbid(unsafe_code)]

mod all;
mod commands;
mod signal;
mod stop;
mod stopped;
mod target;
mod wait;

pub use all::Commands;
pub use commands::StopCommands;
pub use signal::parse;
pub use stop::{kill, stop};
pub use target::Target;
pub use wait::wait;
