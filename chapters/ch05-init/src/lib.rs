//! A small process 1 above the program.

#![forbid(unsafe_code)]

mod init;
mod run;

pub use init::Init;
pub use run::Run;
