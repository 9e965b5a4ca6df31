//! Download images from a registry and upload them: `pull`, `push`, and `run` of an
//! image that is missing.

#![forbid(unsafe_code)]

mod commands;
mod compress;
mod download;
mod progress;
mod pull;
mod push;
mod room;
mod run;
mod upload;

pub use commands::{Pull, Push};
pub use progress::{Progress, Stream};
pub use pull::{Pulling, pull};
pub use push::push;
pub use run::{PullPolicy, Run};
