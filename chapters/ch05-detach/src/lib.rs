//! `run -d`: a detached container, whose supervisor writes the output to a log.

#![forbid(unsafe_code)]

mod entry;
mod log;
mod logged;
mod run;

pub use entry::{Entry, Stream};
pub use log::{Log, path};
pub use logged::Logged;
pub use run::{Flags, Run};
