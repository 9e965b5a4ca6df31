//! A small init process as PID 1.

#![forbid(unsafe_code)]

mod init;
mod run;

pub use init::Init;
pub use run::Run;
