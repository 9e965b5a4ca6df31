//! The three calls: clone(2) makes a process in new namespaces, unshare(2) moves this
//! one into new ones, setns(2) into somebody else's.

#![forbid(unsafe_code)]

mod become_program;
pub mod commands;
mod enter;
mod hold;
mod kind;
mod list;
mod run;
mod unshare;

pub use become_program::become_program;
pub use enter::enter;
pub use hold::{hold, release};
pub use kind::{Choice, KINDS, Kind};
pub use list::list;
pub use run::Namespaces;
pub use unshare::unshare;
