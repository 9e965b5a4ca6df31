//! `run -d`: a container in the background, whose supervisor keeps what it prints.

#![forbid(unsafe_code)]

mod entry;
mod log;
mod logged;
mod run;

pub use entry::{Entry, Stream};
pub use log::{Log, path};
pub use logged::Logged;
pub use run::{Flags, Run};
